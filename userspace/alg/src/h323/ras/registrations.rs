//! Endpoints that are registered with a gatekeeper: what they may announce, and that their gatekeeper may call them.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::h225::{Aliases, Identifier};
use callgate_protocols::ras::PreGranted;
use callgate_shared::policy::Inspect;

use crate::action::{Context, EndReason, Time, Transport};
use crate::call::{Call, CallId, Medium, Party, State, Stream, StreamKey};
use crate::core::Core;
use crate::event::{Event, EventKind};
use crate::h323::leg;

/// Most registrations, and most of one host.
pub(crate) const MAX_REGISTRATIONS: usize = 65_536;
const MAX_OF_HOST: usize = 4_096;
/// Most aliases remembered of one, and most bytes of each.
const MAX_ALIASES: usize = 16;
const MAX_ALIAS: usize = 128;
/// Bytes a memo may take, see [`Call::memo`].
const MAX_MEMO: usize = 1024;
/// Life of a registration whose confirmation tells none, and the shortest that is believed.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
const SHORTEST_LIFE: Duration = Duration::from_secs(30);
/// How the keys of calls begin that stand for one.
pub(in crate::h323) const KEY: &str = "registration-";

/// A registration with a gatekeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The endpoint's RAS address, as it is seen.
    pub endpoint: SocketAddr,
    /// The gatekeeper's.
    pub gatekeeper: SocketAddr,
    /// endpointIdentifier, which the gatekeeper has given.
    pub identifier: String,
    /// Its names and numbers; at most 16.
    pub aliases: Vec<String>,
    /// Where it says it is called; at most 4.
    pub call_signal: Vec<SocketAddr>,
    /// Where it says it takes RAS messages; at most 4.
    pub ras: Vec<SocketAddr>,
    /// Since when.
    pub since: Time,
    /// When it ends unless it is refreshed.
    pub until: Time,
    /// How long it lasts from one refreshment to the next.
    pub life: Duration,
    /// It uses H.460.18.
    pub traversal: bool,
    /// What it may do without asking.
    pub(super) pre_granted: Option<PreGranted>,
    /// The call that stands for its pinholes.
    call: Option<CallId>,
    slot: u32,
}

/// What an endpoint wants to register.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) call_signal: Vec<SocketAddr>,
    pub(super) ras: Vec<SocketAddr>,
    pub(super) aliases: Vec<String>,
    pub(super) identifier: Option<String>,
    pub(super) life: Option<u32>,
    pub(super) keep_alive: bool,
    pub(super) traversal: bool,
}

/// What its gatekeeper makes of it.
#[derive(Debug)]
pub(super) struct Grant {
    /// Where the gatekeeper may call from besides its RAS address.
    pub(super) calls_from: Option<SocketAddr>,
    pub(super) aliases: Vec<String>,
    pub(super) identifier: String,
    pub(super) life: Option<u32>,
    pub(super) pre_granted: Option<PreGranted>,
}

/// Registrations by the endpoint's address.
#[derive(Debug, Default)]
pub(in crate::h323) struct Registrations {
    hosts: HashMap<IpAddr, Vec<Registration>>,
    count: usize,
}

impl Registrations {
    pub(in crate::h323) fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.hosts.values().flatten()
    }

    /// A gatekeeper (the sender of `context`) has registered what `endpoint` offered, or has refreshed it.
    pub(super) fn enter(
        &mut self,
        core: &mut Core,
        context: &Context,
        endpoint: SocketAddr,
        offer: Offer,
        grant: Grant,
    ) {
        let most = core.policy().h323(context.slot).registration_max;
        let told = grant.life.or(offer.life).map(|life| Duration::from_secs(life.into()));
        let life = told.unwrap_or(DEFAULT_LIFE).max(SHORTEST_LIFE).min(most);
        let known = self.remove(endpoint).or_else(|| self.moved(&offer, endpoint, context.source));
        let mut registration = Registration {
            endpoint,
            gatekeeper: context.source,
            identifier: grant.identifier,
            aliases: if grant.aliases.is_empty() { offer.aliases } else { grant.aliases },
            call_signal: offer.call_signal,
            ras: offer.ras,
            since: context.now,
            until: context.now + life,
            life,
            traversal: offer.traversal,
            pre_granted: grant.pre_granted,
            call: None,
            slot: context.slot,
        };
        match known {
            Some(known) if offer.keep_alive && known.gatekeeper.ip() == context.source.ip() => {
                registration = Registration {
                    endpoint,
                    gatekeeper: context.source,
                    until: registration.until,
                    life,
                    ..known
                };
            }
            Some(known) if known.gatekeeper.ip() == context.source.ip() => {
                registration.since = known.since;
                if known.call_signal == registration.call_signal {
                    registration.call = known.call;
                } else {
                    self.close(core, &known, EndReason::Moved);
                }
            }
            Some(known) => self.close(core, &known, EndReason::Moved),
            None => {}
        }
        if registration.since == context.now {
            let text = format!("with {} for {} s", context.source.ip(), life.as_secs());
            core.tell(event(context.now, EventKind::Registered, &registration, &text));
            if registration.traversal {
                core.tell(event(context.now, EventKind::Traversal, &registration, "H.460.18"));
            }
        }
        self.insert(core, context, registration, grant.calls_from);
    }

    /// Puts one back that was taken out, as its gatekeeper says that it goes on.
    pub(super) fn restore(&mut self, core: &mut Core, context: &Context, registration: Registration) {
        if registration.until > context.now {
            self.insert(core, context, Registration { call: None, ..registration }, None);
        }
    }

    /// Takes out what an unregistration between two hosts means: all of `identifier` or, without one, those that
    /// are called at one of `addresses`, or else at `endpoint`. Where only some of its aliases are meant it goes on.
    pub(super) fn leave(
        &mut self,
        core: &mut Core,
        context: &Context,
        identifier: Option<Identifier<'_>>,
        (addresses, aliases): (&[SocketAddr], &Aliases<'_>),
    ) -> Vec<Registration> {
        let (from, to) = (context.source, context.destination);
        let identifier = identifier.map(|identifier| text(&identifier));
        let between = |r: &Registration| {
            let ends = (r.endpoint.ip(), r.gatekeeper.ip());
            ends == (from.ip(), to.ip()) || ends == (to.ip(), from.ip())
        };
        let meant = |r: &Registration| match &identifier {
            Some(identifier) => r.identifier == *identifier,
            None if !addresses.is_empty() => r.call_signal.iter().any(|address| addresses.contains(address)),
            None => r.endpoint == from || r.endpoint == to,
        };
        let names = names(aliases);
        let mut gone = Vec::new();
        let hosts = [from.ip(), to.ip()];
        let theirs = hosts.iter().flat_map(|ip| self.of(*ip)).filter(|r| between(r) && meant(r));
        let places: Vec<_> = theirs.map(|r| r.endpoint).collect();
        for place in places {
            let Some(mut registration) = self.remove(place) else { continue };
            let left: Vec<_> =
                registration.aliases.iter().filter(|alias| !names.contains(alias)).cloned().collect();
            if !names.is_empty() && !left.is_empty() {
                registration.aliases = left;
                self.put(registration);
                continue;
            }
            self.close(core, &registration, EndReason::Unregistered);
            core.tell(event(context.now, EventKind::Unregistered, &registration, ""));
            gone.push(registration);
        }
        gone
    }

    /// Takes out the registrations of an endpoint whose gatekeeper has refused to refresh them.
    pub(super) fn rejected(
        &mut self,
        core: &mut Core,
        context: &Context,
        endpoint: SocketAddr,
        reason: &str,
    ) {
        let its = |r: &Registration| r.endpoint == endpoint && r.gatekeeper.ip() == context.source.ip();
        if !self.of(endpoint.ip()).any(its) {
            return;
        }
        if let Some(registration) = self.remove(endpoint) {
            self.close(core, &registration, EndReason::Unregistered);
            core.tell(event(context.now, EventKind::UnregisteredAbnormally, &registration, reason));
        }
    }

    /// Takes up one of an earlier run; whether `call` stands for one.
    pub(in crate::h323) fn resume(&mut self, core: &mut Core, now: Time, call: &Call) -> bool {
        let Some(registration) = call.key.strip_prefix(KEY).and_then(|_| Registration::of_call(call)) else {
            return false;
        };
        let (endpoint, gatekeeper) = (registration.endpoint, registration.gatekeeper);
        let context = Context {
            now,
            source: gatekeeper,
            destination: endpoint,
            transport: Transport::Udp,
            protocol: Inspect::Ras,
            slot: call.slot,
            link: None,
        };
        self.insert(core, &context, registration, None);
        true
    }

    /// Whether a registration lets `source` call `destination` without an admission: it is the gatekeeper of who is
    /// called, or has granted it beforehand.
    pub(in crate::h323) fn permit(&self, source: IpAddr, destination: SocketAddr) -> bool {
        let called = self.of(destination.ip()).any(|r| r.gatekeeper.ip() == source);
        called
            || self.of(source).any(|r| {
                r.pre_granted.is_some_and(|granted| {
                    let through = granted.make_through_gatekeeper;
                    granted.make_call && (!through || destination.ip() == r.gatekeeper.ip())
                })
            })
    }

    /// Whether somebody is registered there.
    pub(super) fn is_endpoint(&self, ip: IpAddr) -> bool {
        self.hosts.contains_key(&ip)
    }

    /// The core has ended the call that stood for one's pinholes.
    pub(in crate::h323) fn ended(&mut self, call: &Call) {
        let host = self.hosts.get_mut(&call.signalling[Party::Callee as usize].ip());
        for registration in host.into_iter().flatten().filter(|r| r.call == Some(call.id)) {
            registration.call = None;
        }
    }

    /// Takes out those that were not refreshed in time.
    pub(in crate::h323) fn tick(&mut self, core: &mut Core, now: Time) {
        let over: Vec<_> = self.iter().filter(|r| r.until <= now).map(|r| r.endpoint).collect();
        for endpoint in over {
            let Some(registration) = self.remove(endpoint) else { continue };
            self.close(core, &registration, EndReason::Expired);
            let text = "not refreshed in time";
            core.tell(event(now, EventKind::UnregisteredAbnormally, &registration, text));
        }
    }

    /// An earlier registration of the same identifier with the same gatekeeper, made from another port or address.
    fn moved(&mut self, offer: &Offer, endpoint: SocketAddr, gatekeeper: SocketAddr) -> Option<Registration> {
        let identifier = offer.identifier.as_ref()?;
        let same = |r: &&Registration| {
            let ends = (r.gatekeeper.ip(), r.endpoint.ip());
            ends == (gatekeeper.ip(), endpoint.ip()) && r.identifier == *identifier
        };
        let place = self.of(endpoint.ip()).find(same)?.endpoint;
        self.remove(place)
    }

    /// Those of one host.
    pub(in crate::h323) fn of(&self, host: IpAddr) -> impl Iterator<Item = &Registration> {
        self.hosts.get(&host).into_iter().flatten()
    }

    fn remove(&mut self, endpoint: SocketAddr) -> Option<Registration> {
        let host = self.hosts.get_mut(&endpoint.ip())?;
        let place = host.iter().position(|r| r.endpoint == endpoint)?;
        let registration = host.swap_remove(place);
        if host.is_empty() {
            self.hosts.remove(&endpoint.ip());
        }
        self.count -= 1;
        Some(registration)
    }

    /// Puts one in that is not there.
    fn put(&mut self, registration: Registration) {
        self.hosts.entry(registration.endpoint.ip()).or_default().push(registration);
        self.count += 1;
    }

    /// Enters one; the endpoint may announce the addresses it has registered, and its gatekeeper these and the
    /// endpoint's own. Its gatekeeper may call it there.
    fn insert(
        &mut self,
        core: &mut Core,
        context: &Context,
        mut registration: Registration,
        calls_from: Option<SocketAddr>,
    ) {
        let of_host = self.hosts.get(&registration.endpoint.ip()).map_or(0, Vec::len);
        if self.count >= MAX_REGISTRATIONS || of_host >= MAX_OF_HOST {
            return self.close(core, &registration, EndReason::Unregistered);
        }
        let (endpoint, gatekeeper) = (registration.endpoint, registration.gatekeeper);
        let life = registration.until.since(context.now);
        for alias in &registration.aliases {
            core.has_registered((context.now, Inspect::Ras), endpoint.ip(), alias, life);
        }
        core.register(gatekeeper.ip(), endpoint.ip(), registration.until);
        for address in registration.addresses() {
            core.register(endpoint.ip(), address, registration.until);
            core.register(gatekeeper.ip(), address, registration.until);
        }
        let known = registration.call.filter(|id| core.call(*id).is_some());
        if !registration.call_signal.is_empty() {
            let caller = calls_from.unwrap_or(gatekeeper);
            let its = Context {
                source: caller,
                destination: endpoint,
                protocol: Inspect::Ras,
                slot: registration.slot,
                ..*context
            };
            let key = || format!("{KEY}{}", registration.identifier);
            registration.call = known.or_else(|| core.start_call(&its, &key()));
        }
        if let Some(id) = registration.call.filter(|_| known.is_none()) {
            core.set_state(context.now, id, State::Connected);
            core.stands_until(context.now, id, registration.until);
            let own =
                Context { source: endpoint, destination: gatekeeper, slot: registration.slot, ..*context };
            for (place, address) in (0..).zip(&registration.call_signal) {
                let key = leg::signalling(Medium::H225, Party::Callee);
                let key = StreamKey { index: key.index + place, ..key };
                core.announce(&own, id, key, Party::Callee, |stream| {
                    stream.medium = Medium::H225;
                    stream.ends[Party::Callee as usize].media = Some(*address);
                });
            }
        } else if let Some(id) = registration.call {
            core.stands_until(context.now, id, registration.until);
        }
        if let Some(id) = registration.call {
            let memo = registration.memo();
            core.change_call(id, |call| call.memo = memo);
        }
        self.put(registration);
    }

    /// Takes back what one, which is out of the table already, has permitted.
    fn close(&self, core: &mut Core, registration: &Registration, reason: EndReason) {
        if let Some(id) = registration.call {
            core.end_call(id, reason);
        }
        let (endpoint, gatekeeper) = (registration.endpoint.ip(), registration.gatekeeper.ip());
        let others = || self.of(endpoint);
        if !others().any(|r| r.gatekeeper.ip() == gatekeeper) {
            core.unregister(gatekeeper, endpoint);
        }
        for address in registration.addresses() {
            if !others().any(|r| r.addresses().any(|other| other == address)) {
                core.unregister(endpoint, address);
                core.unregister(gatekeeper, address);
            }
        }
    }
}

impl Registration {
    /// Addresses it has registered besides the one it is seen from.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let own = self.endpoint.ip();
        self.call_signal.iter().chain(&self.ras).map(SocketAddr::ip).filter(move |ip| *ip != own)
    }

    /// What outlives a restart of the daemon: items apart by `;`, the least missed last.
    fn memo(&self) -> String {
        let mut memo = String::new();
        let mut item = |text: std::fmt::Arguments<'_>| {
            let before = memo.len();
            // Writing to a String cannot fail.
            let _ = write!(memo, "{text};");
            if memo.len() > MAX_MEMO {
                memo.truncate(before);
            }
        };
        item(format_args!("e{}", self.endpoint));
        item(format_args!("g{}", self.gatekeeper));
        item(format_args!("t{},{},{}", self.since.0, self.until.0, self.life.as_secs()));
        item(format_args!("i{}", self.identifier.replace(';', " ")));
        if self.traversal {
            item(format_args!("h"));
        }
        for address in &self.ras {
            item(format_args!("r{address}"));
        }
        for alias in &self.aliases {
            item(format_args!("a{}", alias.replace(';', " ")));
        }
        memo
    }

    /// One of an earlier run, from the call that stands for it.
    fn of_call(call: &Call) -> Option<Self> {
        let item = |kind: char| call.memo.split(';').find_map(move |item| item.strip_prefix(kind));
        let items = |kind: char| call.memo.split(';').filter_map(move |item| item.strip_prefix(kind));
        let mut times = item('t')?.split(',').map(str::parse::<u64>);
        let mut time = || times.next()?.ok();
        let (since, until, life) = (Time(time()?), Time(time()?), Duration::from_secs(time()?));
        let told = |stream: &Stream| stream.ends[Party::Callee as usize].media;
        Some(Self {
            endpoint: item('e')?.parse().ok()?,
            gatekeeper: item('g')?.parse().ok()?,
            identifier: item('i').unwrap_or_default().to_owned(),
            aliases: items('a').map(str::to_owned).collect(),
            call_signal: call.streams.values().filter_map(told).collect(),
            ras: items('r').filter_map(|address| address.parse().ok()).collect(),
            since,
            until,
            life,
            traversal: item('h').is_some(),
            pre_granted: None,
            call: Some(call.id),
            slot: call.slot,
        })
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        self.aliases.first().unwrap_or(&self.identifier)
    }
}

/// Aliases as texts, as many as are remembered.
pub(super) fn names(aliases: &Aliases<'_>) -> Vec<String> {
    aliases.iter().map(|alias| text(&alias)).filter(|alias| !alias.is_empty()).take(MAX_ALIASES).collect()
}

/// As much of a name as is remembered.
pub(super) fn text(name: &impl ToString) -> String {
    let mut name = name.to_string();
    name.truncate(name.floor_char_boundary(MAX_ALIAS));
    name
}

fn event(time: Time, kind: EventKind, registration: &Registration, text: &str) -> Event {
    Event::at(time, kind, Inspect::Ras, registration.endpoint, registration.name(), text)
}
