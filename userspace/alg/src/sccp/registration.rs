//! Registrations: who may register, who is registered, and how that ends.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::refuse as words;
use callgate_protocols::sccp::{self, Body, Register, RegisterAck, Side};
use callgate_rules::{Admission, Mismatch};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use super::phone::{Phone, Standing};
use super::session::Session;
use super::{Tracker, refuse};
use crate::action::{Context, Denial, EndReason, Time, Verdict};
use crate::core::Core;
use crate::event::{Event, EventKind};

/// Most addresses whose attempts are counted; one that finds no room is not limited within its second.
const MAX_SOURCES: usize = 65_536;
/// Keep-alive intervals that are believed, in seconds.
const KEEPALIVES: std::ops::RangeInclusive<u32> = 5..=3_600;
/// Seconds after which a device may ask for a token again that was refused one.
const TOKEN_WAIT: u32 = 60;
/// How often a call manager is told anew that a phone is its own.
const VOUCHING: Duration = Duration::from_secs(10);

/// Counts of registrations, by address of the phone.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    /// Devices registered.
    devices: HashMap<IpAddr, u32>,
    /// Attempts within the second that began then.
    attempts: HashMap<IpAddr, (Time, u32)>,
}

impl Registrations {
    /// Counts an attempt; how many there were within its second.
    fn attempt(&mut self, source: IpAddr, now: Time) -> u32 {
        if self.attempts.len() >= MAX_SOURCES && !self.attempts.contains_key(&source) {
            return 1;
        }
        let (begun, count) = self.attempts.entry(source).or_insert((now, 0));
        if now.since(*begun) >= Duration::from_secs(1) {
            (*begun, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count
    }

    pub(super) fn tick(&mut self, now: Time) {
        self.attempts.retain(|_, (begun, _)| now.since(*begun) < Duration::from_secs(1));
    }

    fn devices(&self, source: IpAddr) -> u32 {
        self.devices.get(&source).copied().unwrap_or(0)
    }

    fn add(&mut self, source: IpAddr) {
        *self.devices.entry(source).or_default() += 1;
    }

    /// Takes one away; whether none is left.
    fn remove(&mut self, source: IpAddr) -> bool {
        let left = self.devices(source).saturating_sub(1);
        if left == 0 {
            self.devices.remove(&source);
        } else {
            self.devices.insert(source, left);
        }
        left == 0
    }
}

impl Tracker {
    /// Notes that a phone lives; one whose registration was not seen counts as registered.
    pub(super) fn heard(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        side: Side,
        body: &Body<'_>,
    ) {
        if side == Side::Phone {
            session.heard = context.now;
        }
        let begins = matches!(
            body,
            Body::Register(_)
                | Body::RegisterAck(_)
                | Body::RegisterReject(_)
                | Body::Alarm(_)
                | Body::TokenRequest(_)
                | Body::TokenAck
                | Body::TokenReject
        );
        let returns = session.standing == Standing::Lost && side == Side::Phone;
        let met = session.standing == Standing::Connected && !session.whole;
        if (returns || met) && !begins {
            self.enter(core, context, session, None);
        }
        self.vouch(core, context.now, session);
    }

    /// Register: may this device?
    pub(super) fn register(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        register: &Register<'_>,
    ) -> Verdict {
        let (name, connection) = (register.name, session.connection);
        let admission = match self.admit(core, context, session, name, false) {
            Ok(admission) => admission,
            Err(verdict) => return verdict,
        };
        let policy = &core.policy().sccp;
        let (told, seen) = (Some(policy.mismatch), policy.match_ethernet);
        let told = mismatches(register, connection.phone).map(|text| (told, text));
        let seen = other_frame(name, context.link).map(|text| (seen, text));
        for (outcome, text) in told.chain(seen) {
            match outcome {
                Some(Mismatch::Refuse) => return refuse(core, context, name, &text),
                Some(Mismatch::Event) => core.tell(Event::new(context, EventKind::Mismatch, name, &text)),
                None => {}
            }
        }
        session.standing = Standing::Registering;
        session.pending = Some(Box::new(Phone {
            name: name.to_owned(),
            model: sccp::device_name(register.device),
            protocol: register.version,
            address: connection.phone,
            announced: register.address,
            manager: connection.manager,
            lines: register.lines,
            load: printable(register.load),
            state: Standing::Registered,
            since: context.now,
            picked_up: false,
            unknown: admission == Admission::Flag,
        }));
        Verdict::Pass
    }

    /// RegisterTokenReq: what Register will be asked, before it is worth waiting for.
    pub(super) fn token(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        name: &str,
    ) -> Verdict {
        self.admit(core, context, session, name, true).err().unwrap_or(Verdict::Pass)
    }

    /// RegisterAck: the device is registered.
    pub(super) fn registered(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        ack: RegisterAck,
    ) {
        let seconds = ack.keepalive.clamp(*KEEPALIVES.start(), *KEEPALIVES.end());
        session.keepalive = Duration::from_secs(seconds.into());
        let pending = session.pending.take();
        if pending.is_some() || !session.whole {
            self.enter(
                core,
                context,
                session,
                pending.map(|phone| Phone { protocol: ack.version, ..*phone }),
            );
        }
    }

    /// RegisterReject, RegisterTokenReject.
    pub(super) fn rejected(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        text: &[u8],
    ) {
        let pending = session.pending.take();
        let name = pending.map_or_else(|| session.name.clone(), |phone| phone.name);
        let context = session.connection.context(context, true);
        core.tell(Event::new(&context, EventKind::Rejected, &name, &String::from_utf8_lossy(text)));
        if session.standing == Standing::Registering {
            self.leave(core, context.now, session, "registration rejected");
            session.standing = Standing::Connected;
            session.whole = true;
        }
    }

    /// Unregister.
    pub(super) fn unregister(&mut self, now: Time, session: &mut Session) {
        if session.standing == Standing::Registered {
            session.standing = Standing::Unregistering;
            self.phones.set(&session.name, session.connection.phone, session.standing, now);
        }
    }

    /// UnregisterAck: done, unless the call manager refuses because the phone talks.
    pub(super) fn unregistered(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &mut Session,
        status: u32,
    ) {
        if session.standing == Standing::Unregistering && status != 0 {
            session.standing = Standing::Registered;
            self.phones.set(&session.name, session.connection.phone, session.standing, context.now);
        } else if session.registered {
            session.standing = Standing::Unregistering;
            self.leave(core, context.now, session, "");
            self.end_calls(core, session);
        }
    }

    /// Reset: 1 (reset) and 2 (restart) make the phone start again; 3 has it read its configuration.
    pub(super) fn reset(&mut self, core: &mut Core, context: &Context, session: &mut Session, kind: u32) {
        let text = match kind {
            1 => "reset",
            2 => "restart",
            3 => "apply configuration",
            _ => "other",
        };
        let of_phone = session.connection.context(context, true);
        core.tell(Event::new(&of_phone, EventKind::Reset, &session.name, text));
        if matches!(kind, 1 | 2) {
            self.end_calls(core, session);
        }
    }

    /// The device is registered no more: it has unregistered, or it is lost for the reason that `text` tells.
    pub(super) fn leave(&mut self, core: &mut Core, now: Time, session: &mut Session, text: &str) {
        let (phone, manager) = (session.connection.phone, session.connection.manager);
        session.pending = None;
        if !std::mem::take(&mut session.registered) {
            return;
        }
        let (standing, kind) = match session.standing {
            Standing::Unregistering => (Standing::Unregistered, EventKind::Unregistered),
            _ => (Standing::Lost, EventKind::UnregisteredAbnormally),
        };
        session.standing = standing;
        session.vouched = None;
        core.has_unregistered(Inspect::Sccp, phone.ip(), &session.name);
        self.phones.set(&session.name, phone, standing, now);
        if self.registrations.remove(phone.ip()) {
            core.unregister(manager.ip(), phone.ip());
        }
        core.tell(Event::at(now, kind, Inspect::Sccp, phone, &session.name, text));
    }

    /// Asks policy whether a device may register.
    fn admit(
        &mut self,
        core: &mut Core,
        context: &Context,
        session: &Session,
        name: &str,
        token: bool,
    ) -> Result<Admission, Verdict> {
        let policy = &core.policy().sccp;
        let (per_second, per_source) = (policy.registrations_per_second, policy.registrations_per_source);
        let (admission, one_address) = (policy.admission(name), policy.one_address_per_device);
        let source = session.connection.phone;
        if let Err(why) = core.may_register(context, &[name]) {
            let text = format!("{} ({})", why.text(), why.name());
            core.tell(Event::new(context, EventKind::Refused, name, &text));
            let reply = match token {
                true => words::sccp_token_reject(TOKEN_WAIT),
                false => words::sccp_register_reject(why.text()),
            };
            let denial =
                Denial { reason: Reason::AlgRefused, reply: Some(reply), notify: None, sequence: None };
            return Err(denial.into());
        }
        let mut refused = |text: String| Err(refuse(core, context, name, &text));
        if self.registrations.attempt(source.ip(), context.now) > per_second {
            return refused(format!("more than {per_second} attempts to register in a second"));
        }
        if admission == Admission::Refuse {
            return refused("this device may not register".to_owned());
        }
        if let Some(other) = self.elsewhere(name, source).filter(|_| one_address) {
            return refused(format!("registered from {other} already"));
        }
        let again = session.registered
            || self
                .phones
                .named(name)
                .is_some_and(|phone| phone.state.is_registered() && super::same_host(phone.address, source));
        if !again && self.registrations.devices(source.ip()) >= per_source {
            return refused(format!("{per_source} devices are registered from this address"));
        }
        Ok(admission)
    }

    /// Where a device of this name is registered, if that is another host's address.
    fn elsewhere(&self, name: &str, source: SocketAddr) -> Option<IpAddr> {
        let phone = self.phones.named(name)?;
        let there = phone.state.is_registered() && !super::same_host(phone.address, source);
        there.then(|| phone.address.ip())
    }

    /// Enters a device as registered: as it introduced itself, or as one that was met in the middle.
    fn enter(&mut self, core: &mut Core, context: &Context, session: &mut Session, device: Option<Phone>) {
        let connection = session.connection;
        let picked_up = device.is_none();
        let known = self.phones.named(&session.name).filter(|_| !session.name.is_empty()).cloned();
        let mut phone = device.or(known).unwrap_or_else(|| Phone {
            name: String::new(),
            model: String::new(),
            protocol: 0,
            address: connection.phone,
            announced: None,
            manager: connection.manager,
            lines: 0,
            load: String::new(),
            state: Standing::Registered,
            since: context.now,
            picked_up,
            unknown: false,
        });
        (phone.state, phone.since) = (Standing::Registered, context.now);
        if !picked_up {
            self.supersede(core, session, &phone.name);
        }
        if session.registered && session.name != phone.name {
            self.phones.set(&session.name, connection.phone, Standing::Unregistered, context.now);
        }
        if !std::mem::replace(&mut session.registered, true) {
            self.registrations.add(connection.phone.ip());
        }
        session.standing = Standing::Registered;
        session.name.clone_from(&phone.name);
        let (name, model, unknown) = (phone.name.clone(), phone.model.clone(), phone.unknown);
        let new = self.phones.enter(phone);
        let of_phone = connection.context(context, true);
        let text = if picked_up { "met in the middle of its connection" } else { &model };
        core.tell(Event::new(&of_phone, EventKind::Registered, &name, text));
        if !picked_up && (new || unknown) {
            let text = if unknown { "not among the known phones" } else { "never seen before" };
            core.tell(Event::new(&of_phone, EventKind::NewlySeen, &name, text));
        }
        session.vouched = None;
        self.vouch(core, context.now, session);
    }

    /// The device registers anew: what it had on older connections is no longer its registration.
    fn supersede(&mut self, core: &mut Core, session: &Session, name: &str) {
        let Some(old) = self.phones.named(name).filter(|phone| phone.state.is_registered()) else { return };
        let connection = super::Connection { phone: old.address, manager: old.manager };
        if connection == session.connection {
            return;
        }
        if let Some(old) = self.sessions.get_mut(&connection).filter(|old| old.registered) {
            (old.standing, old.registered, old.vouched, old.whole) =
                (Standing::Unregistered, false, None, true);
            if self.registrations.remove(connection.phone.ip()) {
                core.unregister(connection.manager.ip(), connection.phone.ip());
            }
        }
    }

    /// The call manager may announce the address of a phone that is registered with it.
    fn vouch(&mut self, core: &mut Core, now: Time, session: &mut Session) {
        let due = session.vouched.is_none_or(|last| now.since(last) >= VOUCHING);
        if session.registered && due {
            session.vouched = Some(now);
            let until = now + session.patience() + VOUCHING;
            let (phone, life) = (session.connection.phone.ip(), until.since(now));
            core.has_registered((now, Inspect::Sccp), phone, &session.name, life);
            core.register(session.connection.manager.ip(), session.connection.phone.ip(), until);
        }
    }

    /// Ends all calls of a session.
    fn end_calls(&mut self, core: &mut Core, session: &mut Session) {
        let references: Vec<_> = session.calls.keys().copied().collect();
        for reference in references {
            self.end_call(core, session, reference, EndReason::Unregistered);
        }
    }
}

/// What a device says of itself that does not fit its name or the address it is seen from.
fn mismatches(register: &Register<'_>, source: SocketAddr) -> impl Iterator<Item = String> {
    let announced =
        register.address.filter(|address| source.is_ipv4() && IpAddr::V4(*address) != source.ip());
    let address = announced.map(|address| format!("it says its address is {address}"));
    let mac = register.mac.map(hex);
    let in_name = mac_in(register.name).filter(|rest| rest.len() == 12);
    let mac = mac.filter(|mac| in_name.is_some_and(|name| !name.eq_ignore_ascii_case(mac)));
    address.into_iter().chain(mac.map(|mac| format!("it says its MAC address is {mac}")))
}

/// What the frame says of a phone whose name is not SEP and the frame's source.
fn other_frame(name: &str, link: Option<[u8; 6]>) -> Option<String> {
    let source = hex(link?);
    let other = !mac_in(name)?.eq_ignore_ascii_case(&source);
    other.then(|| format!("its frames come from {source}"))
}

/// Where a name has a phone's MAC address: behind SEP, which call managers read in either case.
fn mac_in(name: &str) -> Option<&str> {
    let (prefix, rest) = name.split_at_checked(3)?;
    prefix.eq_ignore_ascii_case("SEP").then_some(rest)
}

/// A MAC address as names have it.
fn hex(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02X}")).concat()
}

/// Text a peer sent, as people may see it.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(32).collect()
}
