//! Registrations (RFC 3261 section 10): who is registered where, for how long, and what follows from it.
//!
//! A REGISTER is watched to its 2xx, which lists the bindings there are now: one that was asked for is the client's
//! until it expires. Its address may be announced as the client's own, and its registrar may call it there: a pinhole
//! stands for that. What others have registered under the same name is listed too, and is none of the client's.
//!
//! A binding stands in the table of calls ([`Core::stands_until`]), so that it outlives a restart of the daemon.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::sip::{self, Message, Uri};
use callgate_shared::policy::Inspect;

use super::party;
use crate::action::{Context, EndReason, Time, Transport};
use crate::call::{Call, CallId, Medium, Party, State, StreamKey};
use crate::core::Core;
use crate::event::{Event, EventKind};

/// Most REGISTER requests waiting for their response.
const MAX_WAITING: usize = 16_384;
/// Most contacts of one request.
const MAX_CONTACTS: usize = 8;
/// Most bindings …
pub(crate) const MAX_BINDINGS: usize = 65_536;
/// … and most of one source.
const MAX_OF_SOURCE: usize = 4_096;
/// How long a response is waited for (RFC 3261 section 17.1.2: Timer F).
const PATIENCE: Duration = Duration::from_secs(32);
/// Seconds a binding lasts where nobody says how long (RFC 3261 section 10.2.1.1).
const DEFAULT_LIFE: u32 = 3_600;
/// Bytes of a name, a contact, a user agent, an account.
const MAX_TEXT: usize = 128;

/// A binding: an address of record and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The address of record: `user@host`.
    pub aor: String,
    /// The contact's URI.
    pub contact: String,
    /// Where that is, if it names an address.
    pub address: Option<SocketAddr>,
    /// What carries signalling to it; `None` where it cannot be read: TLS, WebSocket.
    pub transport: Option<Transport>,
    /// Where the client is seen.
    pub source: SocketAddr,
    /// Its registrar.
    pub registrar: SocketAddr,
    /// Its preference among the contacts of its address of record, in thousandths.
    pub q: Option<u16>,
    /// What the client says it is; may be empty.
    pub user_agent: String,
    /// Whose credentials it was made with; may be empty.
    pub account: String,
    /// Since when.
    pub since: Time,
    /// When it ends unless it is refreshed.
    pub until: Time,
    /// How long it lasts from one refreshment to the next.
    pub life: Duration,
    /// The call that stands for it in the core.
    call: Option<CallId>,
    slot: u32,
}

/// How the keys of calls begin that stand for a binding; no Call-ID has a blank.
const KEY: &str = "registration of ";

/// Whether a call is none, but stands for a registration.
pub fn is_binding(call: &Call) -> bool {
    call.protocol == Inspect::Sip && call.key.starts_with(KEY)
}

/// What a REGISTER asks for.
#[derive(Debug)]
struct Waiting {
    since: Time,
    number: u32,
    source: SocketAddr,
    aor: String,
    account: String,
    user_agent: String,
    /// `*`: no binding is to be left.
    all: bool,
    contacts: Vec<Contact>,
}

#[derive(Debug)]
struct Contact {
    uri: String,
    address: Option<SocketAddr>,
    transport: Option<Transport>,
    q: Option<u16>,
}

/// Bindings, and requests that wait for their response.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    waiting: HashMap<u64, Waiting>,
    /// By the client's address, and what [`key`] makes of address of record and contact.
    sources: HashMap<IpAddr, HashMap<u64, Binding>>,
    count: usize,
    /// Bindings with each registrar.
    registrars: HashMap<IpAddr, u32>,
    /// Bindings that let somebody announce an address.
    claims: HashMap<(IpAddr, IpAddr), u32>,
    hasher: RandomState,
}

impl Registrations {
    /// All bindings.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.sources.values().flat_map(HashMap::values)
    }

    /// Whether somebody is registered from there, or with it.
    pub(super) fn knows(&self, ip: IpAddr) -> bool {
        self.sources.contains_key(&ip) || self.registrars.contains_key(&ip)
    }

    /// Whether an account has been registered from there.
    pub(super) fn is_account_at(&self, account: &str, ip: IpAddr) -> bool {
        self.sources.get(&ip).is_some_and(|its| its.values().any(|binding| binding.account == account))
    }

    /// Addresses of record that are bound from there.
    pub(super) fn names_at(&self, ip: IpAddr) -> impl Iterator<Item = &str> {
        self.sources.get(&ip).into_iter().flat_map(HashMap::values).map(|binding| binding.aor.as_str())
    }

    /// A REGISTER: notes what it asks for.
    pub(super) fn request(&mut self, context: &Context, message: &Message, id: u64) {
        let contacts: Vec<_> = message.contacts().filter_map(Result::ok).take(MAX_CONTACTS).collect();
        if contacts.is_empty() {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            return;
        }
        let account = message.credentials().find_map(|credentials| credentials.username());
        let waiting = Waiting {
            since: context.now,
            number: message.cseq.number,
            source: context.source,
            aor: cut(&party(&message.to)),
            account: account.map(|name| cut(&String::from_utf8_lossy(name))).unwrap_or_default(),
            user_agent: message
                .user_agent()
                .map(|name| cut(&String::from_utf8_lossy(name)))
                .unwrap_or_default(),
            all: contacts.iter().any(|contact| contact.uri == "*"),
            contacts: contacts.iter().filter_map(Contact::read).collect(),
        };
        self.waiting.insert(id, waiting);
    }

    /// A response to one. A 2xx lists what is registered now (section 10.3 item 8); any other changes nothing: 423 is
    /// followed by another request (item 7), and a refused refreshment leaves what there is.
    pub(super) fn response(&mut self, core: &mut Core, context: &Context, message: &Message, id: u64) {
        let final_status = message.status().filter(|status| *status >= 200);
        let (Some(status), Some(waiting)) = (final_status, self.waiting.get(&id)) else { return };
        if waiting.number != message.cseq.number || waiting.source.ip() != context.destination.ip() {
            return;
        }
        let Some(waiting) = self.waiting.remove(&id) else { return };
        if status >= 300 {
            return;
        }
        if waiting.all {
            let all = |binding: &Binding| binding.aor == waiting.aor;
            return self.end(core, context.now, waiting.source.ip(), all, (EventKind::Unregistered, ""));
        }
        let policy = core.policy().sip(context.slot);
        let (shortest, longest) = (policy.registration_min, policy.registration_max);
        for contact in &waiting.contacts {
            let listed = message
                .contacts()
                .filter_map(Result::ok)
                .filter(|listed| same(listed.uri, &contact.uri))
                .map(|listed| listed.expires.or(message.expires()).unwrap_or(DEFAULT_LIFE))
                .max()
                .unwrap_or(0);
            let life = Duration::from_secs(listed.into()).max(shortest).min(longest);
            let key = self.key(&waiting.aor, &contact.uri);
            let known = self.sources.get(&waiting.source.ip()).and_then(|its| its.get(&key));
            let since = known.map(|known| known.since);
            if listed == 0 {
                if let Some(binding) = self.remove(core, waiting.source.ip(), key, EndReason::Unregistered) {
                    core.tell(event(context.now, EventKind::Unregistered, &binding, ""));
                }
                continue;
            }
            let binding = Binding {
                aor: waiting.aor.clone(),
                contact: contact.uri.clone(),
                address: contact.address,
                transport: contact.transport,
                source: waiting.source,
                registrar: context.source,
                q: contact.q,
                user_agent: waiting.user_agent.clone(),
                account: waiting.account.clone(),
                since: since.unwrap_or(context.now),
                until: context.now + life,
                life,
                call: None,
                slot: context.slot,
            };
            if since.is_none() {
                let text =
                    format!("{} with {} for {} s", binding.contact, binding.registrar.ip(), life.as_secs());
                core.tell(event(context.now, EventKind::Registered, &binding, &text));
            }
            self.insert(core, context.now, key, binding);
        }
    }

    /// The core has ended the call that stood for one.
    pub(super) fn ended(&mut self, call: &Call) {
        let its = self.sources.get_mut(&call.signalling[Party::Callee as usize].ip());
        for binding in
            its.into_iter().flat_map(HashMap::values_mut).filter(|binding| binding.call == Some(call.id))
        {
            binding.call = None;
        }
    }

    /// Takes up one of an earlier run, from the call that stands for it.
    pub(super) fn resume(&mut self, core: &mut Core, now: Time, call: &Call) {
        let Some(binding) = Binding::of_call(call).filter(|binding| binding.until > now) else {
            return core.end_call(call.id, EndReason::Expired);
        };
        let key = self.key(&binding.aor, &binding.contact);
        self.insert(core, now, key, binding);
    }

    /// Time passes: forgets requests that were never answered, and bindings that were not refreshed in time.
    pub(super) fn tick(&mut self, core: &mut Core, now: Time) {
        self.waiting.retain(|_, waiting| now.since(waiting.since) < PATIENCE);
        let over = |binding: &Binding| binding.until <= now;
        let late = |its: &HashMap<u64, Binding>| its.values().any(over);
        let sources: Vec<IpAddr> =
            self.sources.iter().filter(|(_, its)| late(its)).map(|(source, _)| *source).collect();
        for source in sources {
            let told = (EventKind::UnregisteredAbnormally, "not refreshed in time");
            self.end(core, now, source, over, told);
        }
    }

    /// Enters a binding, in place of what it was before.
    fn insert(&mut self, core: &mut Core, now: Time, key: u64, mut binding: Binding) {
        let source = binding.source.ip();
        let known = self.sources.get(&source).is_some_and(|its| its.contains_key(&key));
        let of_source = self.sources.get(&source).map_or(0, HashMap::len);
        if !known && (self.count >= MAX_BINDINGS || of_source >= MAX_OF_SOURCE) {
            return;
        }
        for (owner, ip) in binding.claims() {
            *self.claims.entry((owner, ip)).or_default() += 1;
            core.register(owner, ip, binding.until);
        }
        let before = self.sources.get_mut(&source).and_then(|its| its.get_mut(&key));
        if let Some(before) = before
            && before.place() == binding.place()
        {
            binding.call = before.call.take();
        }
        binding.stand(core, now);
        core.has_registered((now, Inspect::Sip), source, &binding.aor, binding.until.since(now));
        self.count += 1;
        *self.registrars.entry(binding.registrar.ip()).or_default() += 1;
        let before = self.sources.entry(source).or_default().insert(key, binding);
        if let Some(before) = before {
            self.let_go(core, &before, EndReason::Moved);
        }
    }

    fn remove(&mut self, core: &mut Core, source: IpAddr, key: u64, reason: EndReason) -> Option<Binding> {
        let its = self.sources.get_mut(&source)?;
        let binding = its.remove(&key)?;
        if its.is_empty() {
            self.sources.remove(&source);
        }
        self.let_go(core, &binding, reason);
        if !self.names_at(source).any(|aor| aor == binding.aor) {
            core.has_unregistered(Inspect::Sip, source, &binding.aor);
        }
        Some(binding)
    }

    /// Ends some bindings of a source.
    fn end(
        &mut self,
        core: &mut Core,
        now: Time,
        source: IpAddr,
        which: impl Fn(&Binding) -> bool,
        (kind, text): (EventKind, &str),
    ) {
        let reason = match kind {
            EventKind::Unregistered => EndReason::Unregistered,
            _ => EndReason::Expired,
        };
        let its = self.sources.get(&source).into_iter().flatten();
        let keys: Vec<u64> = its.filter(|(_, binding)| which(binding)).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(binding) = self.remove(core, source, key, reason) {
                core.tell(event(now, kind, &binding, text));
            }
        }
    }

    /// Takes back what a binding, which is out of the table already, has permitted.
    fn let_go(&mut self, core: &mut Core, binding: &Binding, reason: EndReason) {
        if let Some(call) = binding.call {
            core.end_call(call, reason);
        }
        self.count -= 1;
        count_down(&mut self.registrars, binding.registrar.ip());
        for (owner, ip) in binding.claims() {
            if count_down(&mut self.claims, (owner, ip)) {
                core.unregister(owner, ip);
            }
        }
    }

    /// Names a binding among those of its source. Contacts are compared as RFC 3261 section 19.1.4 says, where they
    /// are SIP URIs, but for parameters, which registrars add to and leave out.
    fn key(&self, aor: &str, contact: &str) -> u64 {
        match Uri::parse(contact) {
            Some(uri) => self.hasher.hash_one((aor, uri.user, uri.host.to_ascii_lowercase(), port_of(&uri))),
            None => self.hasher.hash_one((aor, contact)),
        }
    }
}

impl Binding {
    /// What its call depends on.
    fn place(&self) -> (Option<SocketAddr>, Option<Transport>, SocketAddr, IpAddr) {
        (self.address, self.transport, self.source, self.registrar.ip())
    }

    /// Has it stand in the core, and its registrar call it there.
    fn stand(&mut self, core: &mut Core, now: Time) {
        let registrar = Context {
            now,
            source: self.registrar,
            destination: self.source,
            transport: self.transport.unwrap_or(Transport::Udp),
            protocol: Inspect::Sip,
            slot: self.slot,
            link: None,
        };
        let known = self.call.filter(|id| core.call(*id).is_some());
        self.call = known.or_else(|| core.start_call(&registrar, &format!("{KEY}{}", self.aor)));
        let Some(id) = self.call else { return };
        if known.is_none() {
            core.set_state(now, id, State::Connected);
        }
        core.stands_until(now, id, self.until);
        if let (Some(address), Some(transport)) = (self.address, self.transport) {
            let client = Context { source: self.source, destination: self.registrar, ..registrar };
            core.announce(&client, id, StreamKey { branch: 0, index: 0 }, Party::Callee, |stream| {
                stream.medium = if transport == Transport::Udp { Medium::Sip } else { Medium::SipTcp };
                stream.ends[Party::Callee as usize].media = Some(address);
            });
        }
        let memo = self.memo();
        core.change_call(id, |call| {
            call.memo = memo;
            call.parties[Party::Callee as usize].clone_from(&self.aor);
        });
    }

    /// What outlives a restart of the daemon: items apart by line breaks, which no name has.
    fn memo(&self) -> String {
        let (since, until, life) = (self.since.0, self.until.0, self.life.as_secs());
        let mut memo = format!("s{}\ng{}\nt{since},{until},{life}\n", self.source, self.registrar);
        let mut item = |kind: char, text: &str| {
            if !text.is_empty() {
                memo.push(kind);
                memo.extend(text.chars().map(|c| if c == '\n' { ' ' } else { c }).chain(['\n']));
            }
        };
        item('n', &self.aor);
        item('c', &self.contact);
        item('a', &self.account);
        item('u', &self.user_agent);
        item('q', &self.q.map(|q| q.to_string()).unwrap_or_default());
        memo
    }

    /// One of an earlier run.
    fn of_call(call: &Call) -> Option<Self> {
        let item = |kind: char| call.memo.lines().find_map(|item| item.strip_prefix(kind));
        let mut times = item('t')?.split(',').map(str::parse::<u64>);
        let mut time = || times.next()?.ok();
        let (since, until, life) = (Time(time()?), Time(time()?), Duration::from_secs(time()?));
        let contact = item('c')?;
        let (address, transport) = place_of(contact);
        let text = |kind| item(kind).unwrap_or_default().to_owned();
        Some(Self {
            aor: text('n'),
            contact: contact.to_owned(),
            address,
            transport,
            source: item('s')?.parse().ok()?,
            registrar: item('g')?.parse().ok()?,
            q: item('q').and_then(|q| q.parse().ok()),
            user_agent: text('u'),
            account: text('a'),
            since,
            until,
            life,
            call: Some(call.id),
            slot: call.slot,
        })
    }

    /// Who may announce what for as long as it lasts: the client its contact, the registrar where its client is.
    fn claims(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> + use<> {
        let (client, registrar) = (self.source.ip(), self.registrar.ip());
        [(registrar, client)].into_iter().chain(self.address.map(|contact| (client, contact.ip())))
    }
}

/// Whether nothing is left of it.
fn count_down<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) -> bool {
    let Some(count) = counts.get_mut(&key) else { return false };
    *count -= 1;
    let none = *count == 0;
    if none {
        counts.remove(&key);
    }
    none
}

impl Contact {
    fn read(address: &sip::Address<'_>) -> Option<Self> {
        if address.uri.len() > MAX_TEXT || address.uri == "*" {
            return None;
        }
        let (place, transport) = place_of(address.uri);
        Some(Self { uri: address.uri.to_owned(), address: place, transport, q: address.q() })
    }
}

/// Where a contact is, if it names an address, and what carries signalling to it, if that can be read.
fn place_of(contact: &str) -> (Option<SocketAddr>, Option<Transport>) {
    let Some(uri) = Uri::parse(contact) else { return (None, None) };
    let transport = match uri.parameter("transport") {
        _ if uri.secure => None,
        None => Some(Transport::Udp),
        Some(name) if name.eq_ignore_ascii_case("udp") => Some(Transport::Udp),
        Some(name) if name.eq_ignore_ascii_case("tcp") => Some(Transport::Tcp),
        Some(_) => None,
    };
    (uri.ip().map(|ip| SocketAddr::new(ip, port_of(&uri))), transport)
}

/// Whether two URIs name the same contact: as RFC 3261 section 19.1.4 compares them, where both are SIP URIs, but for
/// parameters, which registrars add to and leave out.
fn same(one: &str, other: &str) -> bool {
    match (Uri::parse(one), Uri::parse(other)) {
        (Some(one), Some(other)) => {
            one.user == other.user
                && one.host.eq_ignore_ascii_case(other.host)
                && port_of(&one) == port_of(&other)
        }
        _ => one == other,
    }
}

/// The port of a URI, or its scheme's (RFC 3261 section 19.1.2).
fn port_of(uri: &Uri<'_>) -> u16 {
    uri.port.unwrap_or(if uri.secure { 5_061 } else { 5_060 })
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

fn event(time: Time, kind: EventKind, binding: &Binding, text: &str) -> Event {
    Event::at(time, kind, Inspect::Sip, binding.source, &binding.aor, text)
}
