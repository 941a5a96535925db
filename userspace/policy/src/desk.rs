//! The desk: decides, and keeps what decisions depend on.
//!
//! Owns the calls that are up, rates, minutes of the day, scores, and who is registered. All of it is
//! bounded: callers beyond [`MOST_CALLERS`] share one account, calls beyond [`MOST_CALLS`] are refused
//! (emergency calls are permitted and not counted). It dies with the process, but for what is told to the next one
//! ([`Desk::remember`], [`Desk::recall`]).
//!
//! What refuses is asked in this order: is it an emergency call (nothing more is asked), is the caller
//! suspected, does it hold the permission, is the called party or trunk open to it, is the number blocked at
//! this time, is there room. The first no is the answer. Only calls that are permitted count towards limits.

mod accounts;
mod bucket;
mod destinations;
mod memory;
mod registrations;
mod score;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::decision::{
    Admission, Alarm, AlarmKind, Attempt, Decision, Now, Over, Registration, Ticket, Verdict, Why,
};
use crate::hash::BuildQuick;
use crate::number::Number;
use crate::plan::{Dialled, Plan};
use crate::spec::{Block, Caller, Fraud, Limits, PermissionSet};
use accounts::{Account, Accounts};
use bucket::{Bucket, Millis, Usage};
use destinations::Destinations;
use registrations::Registrations;
use score::Sign;

pub use accounts::MOST_CALLERS;
use memory::Changed;
pub use memory::{Memory, Used};

/// Calls that are counted at a time.
pub const MOST_CALLS: usize = 250_000;

/// Numbers that [`Desk::hopeless`] looks at.
pub const MOST_CONTINUATIONS: usize = 2_048;

/// Bells of calls that are over are kept until there are so many.
const SPARE_BELLS: usize = 65_536;

/// How a call came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, and is over.
    Answered,
    /// The far side refused it, or nobody answered for it in time.
    Failed,
    /// The caller gave up.
    Cancelled,
    /// It goes on under another ticket.
    Replaced,
}

/// Decides about calls and registrations.
#[derive(Debug)]
pub struct Desk {
    plan: Arc<Plan>,
    /// The machine's, where the plan names none.
    machine: TimeZone,
    clock: Clock,
    /// The latest moment it was told of.
    latest: Millis,
    all: Bucket,
    /// By the plan's callers.
    groups: Vec<Bucket>,
    /// By the plan's permissions, calls that are up.
    permissions: Vec<u32>,
    accounts: Accounts,
    calls: HashMap<Ticket, Call, BuildQuick>,
    last: u64,
    bells: BinaryHeap<Reverse<(Millis, Bell)>>,
    destinations: Destinations,
    registrations: Registrations,
    changed: Changed,
    /// Destinations that are not remembered yet.
    new_destinations: Vec<String>,
}

/// A call that is up.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// Whether it counts towards anything.
    counted: bool,
    account: u32,
    /// The caller's entry, and the trunk's it goes through.
    groups: [Option<u32>; 2],
    permission: Option<u8>,
    /// Since when it is answered.
    answered: Option<Millis>,
    longest: Option<Duration>,
    /// The prefix of what it called, where short calls to it count.
    prefix: Option<u64>,
    /// Its end has been told.
    over: bool,
}

/// What is to be looked at when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bell {
    Call(Ticket),
    All,
    Group(u32),
    Account(u32),
    AccountPermission(u32, u8),
}

/// What the clock on the wall shows, worked out once a minute.
#[derive(Debug)]
struct Clock {
    minute: i64,
    local: DateTime,
    /// Of blocks in other zones, by their places; empty where there is none.
    blocks: Vec<DateTime>,
    /// A number for the day.
    day: i32,
}

/// Which way a call is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Somebody makes it.
    Out,
    /// It comes to somebody. Who brings it is known by address alone: what it says of the caller is another's number,
    /// and that one has been asked for his call where he made it.
    In,
}

/// What an attempt comes down to.
struct Asked {
    /// The caller's number, if it has one.
    caller: Option<Dialled>,
    entry: Option<u32>,
    trunk: Option<u32>,
    callee: Option<u32>,
    account: u32,
}

impl Desk {
    /// An empty desk; `zone` is the machine's time zone.
    pub fn new(plan: Arc<Plan>, zone: TimeZone) -> Self {
        let spec = plan.spec();
        Self {
            groups: vec![Bucket::default(); spec.callers.len()],
            permissions: vec![0; spec.permissions.len()],
            machine: zone,
            clock: Clock { minute: i64::MIN, local: DateTime::ZERO, blocks: Vec::new(), day: 0 },
            latest: 0,
            all: Bucket::default(),
            accounts: Accounts::default(),
            calls: HashMap::default(),
            last: 0,
            bells: BinaryHeap::new(),
            destinations: Destinations::default(),
            registrations: Registrations::default(),
            changed: Changed::default(),
            new_destinations: Vec::new(),
            plan,
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Calls that are up.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Decides by another plan from now on. Calls that are up stay; entries and permissions keep their counts
    /// where the new plan has them by the same name.
    pub fn set_plan(&mut self, plan: Arc<Plan>) {
        let old = std::mem::replace(&mut self.plan, plan);
        let new = self.plan.spec();
        let by_name = |names: Vec<&Arc<str>>| -> HashMap<Arc<str>, usize> {
            names.into_iter().enumerate().map(|(place, name)| (name.clone(), place)).collect()
        };
        let callers = by_name(new.callers.iter().map(|caller| &caller.name).collect());
        let permissions = by_name(new.permissions.iter().map(|permission| &permission.name).collect());
        let groups: Vec<Option<u32>> = old
            .spec()
            .callers
            .iter()
            .map(|caller| callers.get(&caller.name).and_then(|place| u32::try_from(*place).ok()))
            .collect();
        let permission = |place: u8| -> Option<u8> {
            let name = &old.spec().permissions.get(usize::from(place))?.name;
            permissions.get(name).and_then(|place| u8::try_from(*place).ok())
        };
        let mut buckets = vec![Bucket::default(); new.callers.len()];
        for (bucket, place) in self.groups.iter().zip(&groups) {
            if let Some(place) = place.and_then(|place| buckets.get_mut(place as usize)) {
                *place = *bucket;
            }
        }
        self.groups = buckets;
        self.permissions = vec![0; new.permissions.len()];
        for call in self.calls.values_mut() {
            call.groups = call.groups.map(|group| groups.get(group? as usize).copied().flatten());
            call.permission = call.permission.and_then(permission);
            let Some(place) = call.permission.map(usize::from) else { continue };
            call.longest = new.permissions.get(place).and_then(|permission| permission.longest);
            if let Some(up) = self.permissions.get_mut(place) {
                *up += u32::from(call.counted);
            }
        }
        let entry = |place: u32| groups.get(place as usize).copied().flatten();
        self.accounts.renumber(entry, permission);
        self.registrations.reclassify(&self.plan.spec().registrations);
        // The zone may be another.
        self.clock.minute = i64::MIN;
        self.ring_all();
    }

    /// Decides about an attempt. Where it may go on it is counted until [`Self::ended`].
    pub fn decide(&mut self, attempt: &Attempt<'_>, now: Now) -> Decision {
        self.answer(attempt, Way::Out, now)
    }

    /// Decides about a call that comes to a party, whoever has dialled what: whether it takes calls from this number, and
    /// whether there is room. Needs no permission, as nobody can tell which. It counts towards the limits of who brings
    /// it, known by address; a refusal is no sign of fraud, since that one has dialled nothing.
    pub fn receive(&mut self, attempt: &Attempt<'_>, now: Now) -> Decision {
        self.answer(attempt, Way::In, now)
    }

    /// Decides, and counts what was decided.
    fn answer(&mut self, attempt: &Attempt<'_>, way: Way, now: Now) -> Decision {
        let at = self.at(now);
        let plan = self.plan.clone();
        let (mut decision, asked, needed) = self.weigh(&plan, attempt, way, at);
        if decision.emergency || decision.pin {
            decision.ticket = self.uncounted(asked.account);
            let account = self.accounts.get_mut(asked.account);
            if decision.emergency {
                let number = attempt.called.first().copied().unwrap_or_default();
                let text = format!("{} calls {}", account.label(), cut(number));
                decision.alarms.push(alarm(AlarmKind::Emergency, text));
            } else if asked.account != Accounts::SHARED {
                account.unlocked = at + millis(plan.spec().pin_life);
            }
            return decision;
        }
        match decision.verdict {
            Verdict::Permit => self.permitted(&plan, &mut decision, &asked, needed, at),
            Verdict::Refuse(why) if way == Way::Out => {
                self.refused(&plan, &mut decision, &asked, why, at);
            }
            Verdict::Refuse(_) => {}
        }
        decision
    }

    /// What [`Self::decide`] would say now. Nothing is counted, and there is neither ticket nor alarm.
    pub fn consult(&mut self, attempt: &Attempt<'_>, now: Now) -> Decision {
        let at = self.at(now);
        let plan = self.plan.clone();
        self.weigh(&plan, attempt, Way::Out, at).0
    }

    /// Why an attempt is refused whatever is dialled after what is called so far; `None` while some number
    /// that begins so would be permitted, or while that would take looking at more than
    /// [`MOST_CONTINUATIONS`].
    pub fn hopeless(&mut self, attempt: &Attempt<'_>, now: Now) -> Option<Why> {
        let at = self.at(now);
        let plan = self.plan.clone();
        let [dialled] = attempt.called else { return None };
        let mut left = MOST_CONTINUATIONS;
        let mut refusal = None;
        // What no pattern goes on from stands for all that begins with it.
        let mut numbers = vec![plan.dialled(dialled)?.raw.to_string()];
        while let Some(number) = numbers.pop() {
            let attempt = Attempt { called: &[&number], ..*attempt };
            match self.weigh(&plan, &attempt, Way::Out, at).0.verdict {
                // A single number's owner says no: the next is somebody else's.
                Verdict::Permit | Verdict::Refuse(Why::Incoming) => return None,
                Verdict::Refuse(why) => refusal = refusal.or(Some(why)),
            }
            if plan.goes_on(&plan.dialled(&number)?) {
                numbers.extend(b"0123456789*#".iter().map(|digit| format!("{number}{}", char::from(*digit))));
            }
            left -= 1;
            if left == 0 {
                return None;
            }
        }
        refusal
    }

    /// Counts a call that is up already, without judging it: one that was taken up after a restart. `None`
    /// where there are too many.
    pub fn adopt(&mut self, attempt: &Attempt<'_>, way: Way, answered: bool, now: Now) -> Option<Ticket> {
        let at = self.at(now);
        let plan = self.plan.clone();
        let called = attempt.called.iter().find_map(|name| plan.dialled(name));
        let asked = self.asked(&plan, attempt, way, called.as_ref(), at);
        let ticket = if plan.is_emergency(attempt.called) {
            self.uncounted(asked.account)?
        } else {
            let needed = if way == Way::In { None } else { plan.needs(called.as_ref()).ok().flatten() };
            self.count(&plan, &asked, needed, called.map(|called| called.normal), at)?
        };
        if answered {
            self.connected(ticket, now);
        }
        Some(ticket)
    }

    /// The call has been answered.
    pub fn connected(&mut self, ticket: Ticket, now: Now) {
        let at = self.at(now);
        let Some(call) = self.calls.get_mut(&ticket).filter(|call| call.answered.is_none()) else { return };
        call.answered = Some(at);
        let call = *call;
        if let Some(longest) = call.longest {
            self.bells.push(Reverse((at + millis(longest), Bell::Call(ticket))));
        }
        let day = self.clock.day;
        self.usages(&call, |usage| usage.start(day, at));
        self.ring(&call, at);
    }

    /// The call is over, however that came.
    pub fn ended(&mut self, ticket: Ticket, outcome: Outcome, now: Now) -> Vec<Alarm> {
        let at = self.at(now);
        let Some(call) = self.calls.remove(&ticket) else { return Vec::new() };
        if let Some(since) = call.answered {
            let day = self.clock.day;
            self.usages(&call, |usage| usage.stop(day, at, since));
            if call.counted {
                self.changed.all = true;
                self.changed.groups.extend(call.groups.into_iter().flatten());
                self.change(call.account);
            }
        }
        self.accounts.get_mut(call.account).calls -= 1;
        if !call.counted {
            return Vec::new();
        }
        self.accounts.get_mut(call.account).bucket.up -= 1;
        self.all.up -= 1;
        for group in call.groups.into_iter().flatten() {
            if let Some(bucket) = self.groups.get_mut(group as usize) {
                bucket.up = bucket.up.saturating_sub(1);
            }
        }
        if let Some(up) = call.permission.and_then(|place| self.permissions.get_mut(usize::from(place))) {
            *up = up.saturating_sub(1);
        }
        let plan = self.plan.clone();
        let Some(fraud) = &plan.spec().fraud else { return Vec::new() };
        let account = self.accounts.get_mut(call.account);
        let raised = match (outcome, call.answered, call.prefix) {
            (Outcome::Failed, None, _) => account.score.add(fraud, Sign::Failed, at),
            (Outcome::Answered, Some(since), Some(prefix)) if at - since <= millis(fraud.short) => {
                let again = account.score.short(fraud, prefix, at);
                if again { account.score.add(fraud, Sign::Short, at) } else { None }
            }
            _ => None,
        };
        let alarms = raised.map(|kind| account.suspicion(kind)).into_iter().collect();
        self.change(call.account);
        alarms
    }

    /// Calls whose limit has come: they are to be ended now. Each is told once, and counts until
    /// [`Self::ended`]. To be asked about once a second.
    pub fn tick(&mut self, now: Now) -> Vec<Over> {
        let at = self.at(now);
        let mut over = Vec::new();
        let mut exhausted = false;
        while let Some(Reverse((time, bell))) = self.bells.peek().copied()
            && time <= at
        {
            self.bells.pop();
            match bell {
                Bell::Call(ticket) => {
                    if let Some(call) = self.calls.get_mut(&ticket).filter(|call| !call.over) {
                        call.over = true;
                        over.push(Over { ticket, why: Why::Duration });
                    }
                }
                bell => exhausted |= self.rung(bell, time, at),
            }
        }
        if exhausted {
            self.exhausted(at, &mut over);
        }
        if self.bells.len() > SPARE_BELLS + 8 * self.calls.len() {
            self.ring_all();
        }
        self.registrations.tick(at);
        over
    }

    /// Decides about a registration; it counts when [`Self::registered`] says that it succeeded.
    pub fn admit(&mut self, registration: &Registration<'_>, now: Now) -> Admission {
        let at = self.at(now);
        self.registrations.admit(self.plan.spec(), registration, at)
    }

    /// The device has registered, for a time. Again: the time begins anew.
    pub fn registered(&mut self, registration: &Registration<'_>, life: Duration, now: Now) {
        let at = self.at(now);
        self.registrations.add(&self.plan.spec().registrations, registration, at + millis(life));
    }

    /// The device has gone.
    pub fn unregistered(&mut self, registration: &Registration<'_>) {
        self.registrations.remove(registration);
    }

    /// The time as a number, with the clock on the wall set to it.
    fn at(&mut self, now: Now) -> Millis {
        let minute = now.wall.as_second().div_euclid(60);
        if minute != self.clock.minute {
            let zone = self.plan.spec().time_zone.as_ref().unwrap_or(&self.machine);
            let local = zone.to_datetime(now.wall);
            let day = i32::from(local.year()) * 366 + i32::from(local.date().day_of_year());
            let blocks = &self.plan.spec().blocks;
            let elsewhere = blocks.iter().any(|block| block.time_zone.is_some());
            let told =
                |block: &Block| block.time_zone.as_ref().map_or(local, |zone| zone.to_datetime(now.wall));
            let blocks = if elsewhere { blocks.iter().map(told).collect() } else { Vec::new() };
            self.clock = Clock { minute, local, blocks, day };
        }
        self.latest = self.latest.max(millis(now.since));
        self.latest
    }

    /// The answer, who asks, and the place of the permission that is needed. Nothing is counted.
    fn weigh(
        &mut self,
        plan: &Plan,
        attempt: &Attempt<'_>,
        way: Way,
        at: Millis,
    ) -> (Decision, Asked, Option<usize>) {
        let mut numbers = attempt.called.iter().filter_map(|name| plan.dialled(name));
        let first = numbers.next();
        let asked = self.asked(plan, attempt, way, first.as_ref(), at);
        let spec = plan.spec();
        let mut decision = Decision {
            verdict: Verdict::Permit,
            ticket: None,
            permission: None,
            caller_entry: asked.entry.map(|place| place as usize),
            caller: asked.caller.map_or(Number::EMPTY, |caller| caller.normal),
            called: first.map_or(Number::EMPTY, |called| called.normal),
            emergency: false,
            pin: false,
            longest: None,
            alarms: Vec::new(),
        };
        if plan.is_emergency_call(first.as_ref(), attempt.called) {
            decision.emergency = true;
            decision.permission = Some(plan.emergency_name().clone());
            return (decision, asked, None);
        }
        if way == Way::Out && attempt.called.len() == 1 && first.is_some_and(|number| plan.is_pin(&number)) {
            decision.pin = true;
            decision.called = Number::EMPTY;
            return (decision, asked, None);
        }
        let (mut refusal, needed) = self.judge(plan, &asked, first.as_ref(), way, at);
        // Each of its numbers must be permitted; the first tells the permission.
        for number in numbers {
            refusal = refusal.or_else(|| self.judge(plan, &asked, Some(&number), way, at).0);
        }
        let permission = needed.and_then(|place| spec.permissions.get(place));
        decision.permission = permission.map(|permission| permission.name.clone());
        decision.longest = permission.and_then(|permission| permission.longest);
        if let Some(why) = refusal.or_else(|| self.room(plan, &asked, needed, at).err()) {
            decision.verdict = Verdict::Refuse(why);
        }
        (decision, asked, needed)
    }

    /// Who calls, and through what.
    fn asked(
        &mut self,
        plan: &Plan,
        attempt: &Attempt<'_>,
        way: Way,
        called: Option<&Dialled>,
        at: Millis,
    ) -> Asked {
        let party = &attempt.caller;
        // Most callers have one name, which is read once.
        let best = party.names.first().map(|name| (*name, plan.dialled(name)));
        let others = || party.names.iter().skip(1).map(|name| (*name, plan.dialled(name)));
        let numbers = || best.into_iter().chain(others());
        let caller = numbers().find_map(|(_, number)| number);
        let names = party.device.map(|device| (device, None)).into_iter().chain(numbers());
        let by_identity = names.filter(|_| way == Way::Out).find_map(|(name, number)| {
            let place = plan.callers().of_identity(name, number.as_ref(), party.address)?;
            Some((place, name, number))
        });
        let by_address = party.address.and_then(|address| plan.callers().of_address(address));
        let told_by_address =
            |(place, ..): &(u32, &str, Option<Dialled>)| by_address.is_some_and(|other| other < *place);
        let identity = by_identity.filter(|found| !told_by_address(found));
        let entry = identity.as_ref().map(|(place, ..)| *place).or(by_address);
        let account = match (&identity, party.address) {
            (Some((_, _, Some(number))), _) => {
                self.accounts.of_name(number.normal.as_str(), at, self.clock.day)
            }
            (Some((_, name, None)), _) => self.accounts.of_name(name, at, self.clock.day),
            (None, Some(address)) => self.accounts.of_address(address, at, self.clock.day),
            (None, None) => Accounts::SHARED,
        };
        let is_trunk =
            |place: &u32| plan.spec().callers.get(*place as usize).is_some_and(|entry| entry.trunk);
        let trunk = attempt.to.and_then(|address| plan.callers().of_address(address)).filter(is_trunk);
        let callee_of = |name: &str, number| plan.callers().of_identity_anywhere(name, number);
        let callee = || {
            let by_number = called.and_then(|number| callee_of("", Some(number)));
            by_number.or_else(|| attempt.called.iter().find_map(|name| callee_of(name, None)))
        };
        let callee = if plan.callers().screens { callee() } else { None };
        Asked { caller, entry, trunk: trunk.filter(|place| Some(*place) != entry), callee, account }
    }

    /// Whether the caller may call this number at this time, and the permission it needs.
    fn judge(
        &self,
        plan: &Plan,
        asked: &Asked,
        number: Option<&Dialled>,
        way: Way,
        at: Millis,
    ) -> (Option<Why>, Option<usize>) {
        let spec = plan.spec();
        let entry_of = |place: Option<u32>| place.and_then(|place| spec.callers.get(place as usize));
        let needed = if way == Way::In { Ok(None) } else { plan.needs(number) };
        let Ok(needed) = needed else { return (Some(Why::NoPattern), None) };
        let account = self.accounts.get(asked.account);
        if let Some(fraud) = &spec.fraud
            && let (Some(limit), Some(place)) = (fraud.refuse, needed)
            && fraud.permissions.has(place)
            && account.score.total(fraud, at) >= limit
        {
            return (Some(Why::Fraud), needed);
        }
        let entry = entry_of(asked.entry);
        let held =
            entry.map_or(spec.strangers, |entry| if entry.trunk { entry.incoming } else { entry.outgoing });
        if needed.is_some_and(|place| !held.has(place)) {
            return (Some(Why::NoPermission), needed);
        }
        if let (Some(trunk), Some(place)) = (entry_of(asked.trunk), needed)
            && !trunk.outgoing.has(place)
        {
            return (Some(Why::Trunk), needed);
        }
        if let Some(callee) = entry_of(asked.callee).filter(|callee| !callee.trunk)
            && !takes(plan, callee, asked.caller.as_ref())
        {
            return (Some(Why::Incoming), needed);
        }
        let blocked = number.filter(|_| way == Way::Out).is_some_and(|number| {
            let exempt = |block: &Block| {
                asked.entry.is_some_and(|entry| block.exempt.contains(&(entry as usize)))
                    || block.pin && account.unlocked > at
            };
            spec.blocks.iter().enumerate().any(|(place, block)| {
                let local = self.clock.blocks.get(place).copied().unwrap_or(self.clock.local);
                plan.blocks(place, number) && block.hours.contains(local) && !exempt(block)
            })
        });
        (blocked.then_some(Why::AfterHours), needed)
    }

    /// Whether one more call is within all limits.
    fn room(&self, plan: &Plan, asked: &Asked, needed: Option<usize>, at: Millis) -> Result<(), Why> {
        let spec = plan.spec();
        let day = self.clock.day;
        let account = self.accounts.get(asked.account);
        if let Some(entry) = asked.entry.and_then(|place| spec.callers.get(place as usize)) {
            let whys = [Why::CallerCalls, Why::CallerRate, Why::CallerMinutes];
            account.bucket.room(&entry.each, whys, day, at)?;
        }
        for place in [asked.entry, asked.trunk].into_iter().flatten() {
            if let (Some(entry), Some(bucket)) =
                (spec.callers.get(place as usize), self.groups.get(place as usize))
            {
                bucket.room(
                    &entry.together,
                    [Why::GroupCalls, Why::GroupRate, Why::GroupMinutes],
                    day,
                    at,
                )?;
            }
        }
        if let Some((place, permission)) =
            needed.and_then(|place| Some((place, spec.permissions.get(place)?)))
        {
            let up = self.permissions.get(place).copied().unwrap_or_default();
            if permission.calls.is_some_and(|most| up >= most) {
                return Err(Why::PermissionCalls);
            }
            let used = u8::try_from(place).map_or(0, |place| account.used(place, day, at));
            if permission.minutes_per_day.is_some_and(|most| used >= bucket::minutes(most)) {
                return Err(Why::PermissionMinutes);
            }
        }
        self.all.room(&spec.limits, [Why::AllCalls, Why::AllRate, Why::AllMinutes], day, at)?;
        if self.calls.len() >= MOST_CALLS { Err(Why::AllCalls) } else { Ok(()) }
    }

    fn refused(&mut self, plan: &Plan, decision: &mut Decision, asked: &Asked, why: Why, at: Millis) {
        use Why::{AfterHours, Incoming, NoPattern, NoPermission, Trunk};
        let counts = matches!(why, NoPermission | NoPattern | Trunk | Incoming | AfterHours);
        let Some(fraud) = plan.spec().fraud.as_ref().filter(|_| counts) else { return };
        let account = self.accounts.get_mut(asked.account);
        if let Some(kind) = account.score.add(fraud, Sign::Failed, at) {
            decision.alarms.push(account.suspicion(kind));
        }
        self.change(asked.account);
    }

    fn permitted(
        &mut self,
        plan: &Plan,
        decision: &mut Decision,
        asked: &Asked,
        needed: Option<usize>,
        at: Millis,
    ) {
        let spec = plan.spec();
        decision.ticket = self.count(plan, asked, needed, Some(decision.called), at);
        let Some(permission) = needed.and_then(|place| spec.permissions.get(place)) else { return };
        let account = self.accounts.get_mut(asked.account);
        if permission.first_seen
            && let Some(destination) = self.destinations.add(&decision.called)
        {
            let text =
                format!("{} calls {destination} ({}) for the first time", account.label(), permission.name);
            self.new_destinations.push(destination.to_owned());
            decision.alarms.push(alarm(AlarmKind::FirstSeen, text));
        }
        if let Some(fraud) = &spec.fraud
            && needed.is_some_and(|place| fraud.permissions.has(place))
            && fraud.night.contains(self.clock.local)
        {
            if let Some(kind) = account.score.add(fraud, Sign::Night, at) {
                decision.alarms.push(account.suspicion(kind));
            }
            self.change(asked.account);
        }
    }

    /// A ticket for a call that counts towards nothing.
    fn uncounted(&mut self, account: u32) -> Option<Ticket> {
        self.ticket(Call {
            counted: false,
            account,
            groups: [None; 2],
            permission: None,
            answered: None,
            longest: None,
            prefix: None,
            over: false,
        })
    }

    /// A ticket for a call that counts from now on.
    fn count(
        &mut self,
        plan: &Plan,
        asked: &Asked,
        needed: Option<usize>,
        called: Option<Number>,
        at: Millis,
    ) -> Option<Ticket> {
        let spec = plan.spec();
        let costs = |fraud: &&Fraud| needed.is_some_and(|place| fraud.permissions.has(place));
        let prefix = spec.fraud.as_ref().filter(costs).zip(called).map(|(fraud, called)| {
            let digits = called.as_bytes();
            self.accounts.hash(digits.get(..usize::from(fraud.prefix)).unwrap_or(digits))
        });
        let ticket = self.ticket(Call {
            counted: true,
            account: asked.account,
            groups: [asked.entry, asked.trunk],
            permission: needed.and_then(|place| u8::try_from(place).ok()),
            answered: None,
            longest: needed.and_then(|place| spec.permissions.get(place)?.longest),
            prefix,
            over: false,
        })?;
        let limits = |place: u32, of: fn(&Caller) -> &Limits| spec.callers.get(place as usize).map(of);
        let each = asked.entry.and_then(|place| limits(place, |entry| &entry.each));
        let account = self.accounts.get_mut(asked.account);
        account.entry = asked.entry;
        account.bucket.enter(each, at);
        for place in [asked.entry, asked.trunk].into_iter().flatten() {
            if let Some(bucket) = self.groups.get_mut(place as usize) {
                bucket.enter(limits(place, |entry| &entry.together), at);
            }
        }
        if let Some(up) = needed.and_then(|place| self.permissions.get_mut(place)) {
            *up += 1;
        }
        self.all.enter(Some(&spec.limits), at);
        Some(ticket)
    }

    fn ticket(&mut self, call: Call) -> Option<Ticket> {
        if self.calls.len() >= MOST_CALLS {
            return None;
        }
        self.last += 1;
        let ticket = Ticket(self.last);
        self.accounts.get_mut(call.account).calls += 1;
        self.calls.insert(ticket, call);
        Some(ticket)
    }

    /// Every account of minutes that a call is on.
    fn usages(&mut self, call: &Call, mut each: impl FnMut(&mut Usage)) {
        if !call.counted {
            return;
        }
        each(&mut self.all.usage);
        for group in call.groups.into_iter().flatten() {
            if let Some(bucket) = self.groups.get_mut(group as usize) {
                each(&mut bucket.usage);
            }
        }
        let account = self.accounts.get_mut(call.account);
        each(&mut account.bucket.usage);
        if let Some(permission) = call.permission {
            each(account.usage(permission));
        }
    }

    /// Has the limits of minutes of a call that was just answered looked at in time.
    fn ring(&mut self, call: &Call, at: Millis) {
        if !call.counted {
            return;
        }
        self.set(Bell::All, at);
        for group in call.groups.into_iter().flatten() {
            self.set(Bell::Group(group), at);
        }
        self.set(Bell::Account(call.account), at);
        if let Some(permission) = call.permission {
            self.set(Bell::AccountPermission(call.account, permission), at);
        }
    }

    /// The account of minutes that a bell is about, and its limit.
    fn rings(&mut self, bell: Bell) -> Option<(&mut Usage, u32)> {
        let spec = self.plan.spec();
        match bell {
            Bell::Call(_) => None,
            Bell::All => Some((&mut self.all.usage, spec.limits.minutes_per_day?)),
            Bell::Group(place) => {
                let limit = spec.callers.get(place as usize)?.together.minutes_per_day?;
                Some((&mut self.groups.get_mut(place as usize)?.usage, limit))
            }
            Bell::Account(slot) => {
                let account = self.accounts.get_mut(slot);
                let limit = spec.callers.get(account.entry? as usize)?.each.minutes_per_day?;
                Some((&mut account.bucket.usage, limit))
            }
            Bell::AccountPermission(slot, permission) => {
                let limit = spec.permissions.get(usize::from(permission))?.minutes_per_day?;
                Some((self.accounts.get_mut(slot).usage(permission), limit))
            }
        }
    }

    fn set(&mut self, bell: Bell, at: Millis) {
        let day = self.clock.day;
        let Some((usage, limit)) = self.rings(bell) else { return };
        if let Some(time) = usage.wakes(bucket::minutes(limit), day, at) {
            self.bells.push(Reverse((time, bell)));
        }
    }

    /// A bell has rung: whether the minutes are used up. If not, it is set anew.
    fn rung(&mut self, bell: Bell, time: Millis, at: Millis) -> bool {
        let day = self.clock.day;
        let Some((usage, limit)) = self.rings(bell) else { return false };
        if !usage.woken(time) {
            return false;
        }
        if usage.running() > 0 && usage.at(day, at) >= bucket::minutes(limit) {
            return true;
        }
        self.set(bell, at);
        false
    }

    /// Gathers the calls that are on an account of minutes which is used up.
    fn exhausted(&mut self, at: Millis, over: &mut Vec<Over>) {
        let day = self.clock.day;
        let spec = self.plan.spec();
        let full = |usage: &Usage, limit: Option<u32>| {
            limit.is_some_and(|limit| usage.at(day, at) >= bucket::minutes(limit))
        };
        for (ticket, call) in &mut self.calls {
            if !call.counted || call.over || call.answered.is_none() {
                continue;
            }
            let account = self.accounts.get(call.account);
            let entry = |place: &Option<u32>| place.and_then(|place| spec.callers.get(place as usize));
            let each = entry(&call.groups[0]).and_then(|entry| entry.each.minutes_per_day);
            let permission = call.permission.and_then(|place| spec.permissions.get(usize::from(place)));
            let of_permission = permission.and_then(|permission| permission.minutes_per_day);
            let used = call.permission.map_or(0, |place| account.used(place, day, at));
            let group = call.groups.iter().any(|group| {
                let bucket = group.and_then(|place| self.groups.get(place as usize));
                let limit = entry(group).and_then(|entry| entry.together.minutes_per_day);
                bucket.is_some_and(|bucket| full(&bucket.usage, limit))
            });
            let why = if full(&account.bucket.usage, each) {
                Why::CallerMinutes
            } else if group {
                Why::GroupMinutes
            } else if of_permission.is_some_and(|most| used >= bucket::minutes(most)) {
                Why::PermissionMinutes
            } else if full(&self.all.usage, spec.limits.minutes_per_day) {
                Why::AllMinutes
            } else {
                continue;
            };
            call.over = true;
            over.push(Over { ticket: *ticket, why });
        }
        over.sort_unstable_by_key(|over| over.ticket);
    }

    /// After another plan: every bell is set anew.
    fn ring_all(&mut self) {
        self.bells.clear();
        let calls = self.calls.iter().filter_map(|(ticket, call)| Some((*ticket, *call, call.answered?)));
        let calls: Vec<(Ticket, Call, Millis)> = calls.collect();
        for (ticket, call, since) in &calls {
            if let Some(longest) = call.longest.filter(|_| !call.over) {
                self.bells.push(Reverse((since + millis(longest), Bell::Call(*ticket))));
            }
            self.usages(call, Usage::forget_bell);
        }
        for (_, call, _) in calls {
            self.ring(&call, self.latest);
        }
    }
}

/// Whether a party takes calls from this number; where it says nothing of it, from everybody.
fn takes(plan: &Plan, callee: &Caller, caller: Option<&Dialled>) -> bool {
    callee.incoming == PermissionSet::ALL
        || plan.needs(caller).is_ok_and(|needed| needed.is_none_or(|place| callee.incoming.has(place)))
}

fn alarm(kind: AlarmKind, text: String) -> Alarm {
    Alarm { kind, text }
}

/// As much of a peer's text as is shown.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn millis(time: Duration) -> Millis {
    // Centuries are enough, and leave room for sums over all calls.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 44)
}

impl Account {
    fn suspicion(&self, kind: AlarmKind) -> Alarm {
        alarm(kind, format!("{}: {}", self.label(), self.score))
    }
}
