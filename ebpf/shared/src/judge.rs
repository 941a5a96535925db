//! Packet + tables → [`Verdict`]: the one judge of both halves.
//!
//! ```text
//!  link protocols, ND, path MTU ──► pass: builtin │ drop: link-protocol
//!  sanity, blocks, source checks ──► drop: land, bad-source, zero-port, tcp-flags, blocked, spoofed
//!  later fragment ──► as its first fragment
//!  UDP to a media port: pinhole? ──► pass: pinhole │ drop: pinhole-sender, pinhole-expired
//!  known flow? ──► pass: flow │ drop: tcp-window
//!  ICMP error about a known flow or stream? ──► pass: related
//!  TCP or UDP to a pinhole for signalling? ──► new flow
//!  rules ──► limit ──► budget ──► new flow ──► pass: rule │ drop: rule-drop, reject, limit, new-flow-budget …
//!  no rule ──► media port? drop: no-pinhole, else the zone's default
//! ```
//!
//! Fail closed: whatever is not let by here is dropped, under a reason.

mod admission;
mod classify;
mod fragment;
mod media;
mod sanity;
mod tcp;

use core::sync::atomic::AtomicU64;

use crate::flow::{self, Flow, FlowKey, ICMP, ICMPV6, Side, Standing, TCP, UDP, flags, state};
use crate::limit::{self, LimitKey, Rate, Scope, Unit};
use crate::packet::{Fragment, Kind, Packet, is_echo, is_echo_request, tcp as tcp_bits};
use crate::pinhole::{FurtherSenders, Pinhole, PinholeKey};
use crate::policy::{
    self, Action, NO_SLOT, Policy, RuleEntry, Timeouts, Vector, ZONE_NONE, ZONE_SELF, policy_flags,
    rule_flags, source_checks,
};
use crate::{Addr, Reason};

pub use admission::cookie;
pub use classify::{Way, first_match, service_cell};
pub use fragment::{FirstFragment, FragmentKey, fragment_key};
pub use media::admit_media;

/// Everything the judge looks up: kernel maps in the kernel, collections in the user-space model.
pub trait Tables {
    /// Class of a source address; 0 where no prefix covers it.
    fn source_class(&self, address: &Addr) -> u16;
    /// Class of a destination address; 0 where no prefix covers it.
    fn destination_class(&self, address: &Addr) -> u16;
    /// Class of a cell of the service table.
    fn service_class(&self, cell: u32) -> u16;
    /// Class of a cell of the source port table: asked only where the policy has [`policy_flags::TAGS`].
    fn source_port_class(&self, cell: u32) -> u16;
    /// Class of a cell of the table of VLAN ids and DSCPs, likewise.
    fn tag_class(&self, cell: u32) -> u16;
    /// The first matching rule's number, 0 where none matches: [`first_match`] of these tables.
    fn first_match(&self, policy: &Policy, packet: &Packet, zone: u8, way: Way) -> u16;
    /// The same of a packet that begins a conversation. Most packets of a flood end there: in the kernel half the
    /// look-up is a part of the caller, for a call costs as much as a class.
    #[inline(always)]
    fn first_match_here(&self, policy: &Policy, packet: &Packet, zone: u8) -> u16 {
        self.first_match(policy, packet, zone, Way::There)
    }
    /// Rule number in a cell of the action table; 0 where no rule matches.
    fn rule_number(&self, cell: u32) -> u16;
    /// A vector by [`Policy::vector`].
    fn vector(&self, at: u32) -> Option<&Vector>;
    /// A rule by its number.
    fn rule(&self, number: u16) -> Option<&RuleEntry>;
    /// A bit per zone that may send from addresses of this class.
    fn source_zones(&self, class: u16) -> u16;
    /// Whether this machine has a route to the packet's source, and the source is not its own.
    fn route_back(&self, packet: &Packet) -> bool;
    /// A flow by its key.
    fn flow(&self, key: &FlowKey) -> Option<&Flow>;
    /// Enters a flow, replacing one of the same key; among those of known peers where it has [`flags::PEER`].
    fn insert_flow(&mut self, key: &FlowKey, flow: Flow);
    /// Whether any address has a pinhole at this port: a cheap "no" that spares most packets the look-up.
    fn may_be_open(&self, transport: u8, port: u16) -> bool {
        let _ = (transport, port);
        true
    }
    /// A pinhole by its key.
    fn pinhole(&self, key: &PinholeKey) -> Option<&Pinhole>;
    /// Who may send to a pinhole beside the sender it names itself: asked only where it says so.
    fn further_senders(&self, key: &PinholeKey) -> Option<&FurtherSenders>;
    /// Monotonic time in ns, exact where `now` may be that of the last tick.
    fn precise(&self, now: u64) -> u64 {
        now
    }
    /// What is known of a fragmented datagram whose first fragment was let by: [`FirstFragment`], packed.
    fn fragment(&self, key: &FragmentKey) -> Option<u64>;
    /// Remembers that a datagram's first fragment was let by.
    fn insert_fragment(&mut self, key: &FragmentKey, first: u64);
    /// `cost` ns worth of events against a bucket shared by all CPUs: whether they conform.
    fn conform(&mut self, key: &LimitKey, rate: &Rate, cost: u64) -> bool;
    /// Gives back what was taken from such a bucket.
    fn refund(&mut self, key: &LimitKey, cost: u64);
    /// One event against a budget of this CPU: whether it conforms.
    fn afford(&mut self, budget: Budget, rate: &Rate) -> bool;
    /// Whether an address is blocked.
    fn blocked(&self, address: &Addr, now: u64) -> bool;
    /// Whether an address is that of a known peer: configured, registered, or proven of late.
    fn is_peer(&self, address: &Addr, now: u64) -> bool;
    /// Remembers that whoever has this address receives what is sent there.
    fn vouch(&mut self, address: &Addr, now: u64);
    /// The key of [`cookie`]s: nobody else's to know.
    fn secret(&self) -> u64;
    /// Counts a packet of `bytes` bytes under a rule's counter slot.
    fn count(&mut self, slot: u32, bytes: u64, passed: bool);
    /// Adds to a word other CPUs may be adding to.
    fn add(&self, word: &AtomicU64, n: u64);
    /// Reads a word other CPUs may be writing, in no order. (The BPF target lowers no atomic load or store.)
    fn load(&self, word: &AtomicU64) -> u64;
    /// Writes a word other CPUs may be reading, in no order.
    fn store(&self, word: &AtomicU64, value: u64);
}

/// What each CPU has a budget of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Budget {
    /// New flows of strangers.
    NewFlows = 0,
    /// New flows of known peers.
    PeerFlows = 1,
    /// Answers to rejected packets and challenges.
    Replies = 2,
}

/// Budgets there are.
pub const BUDGETS: usize = 3;

/// What is to be done with a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why; [`Reason::is_drop`] tells what.
    pub reason: Reason,
    /// [`policy::Inspect`]: what is to be read in it before it goes on.
    pub inspect: u8,
    /// The rule is to be logged.
    pub log: bool,
    /// The source is to be blocked: it was above the limit of a rule that says so.
    pub block: bool,
    /// [`path`] bits: what becomes of media on its way.
    pub path: u8,
    /// Counter slot of the rule that decided; [`NO_SLOT`] where none did.
    pub slot: u32,
}

impl Verdict {
    /// A verdict no rule has decided.
    #[inline(always)]
    pub const fn of(reason: Reason) -> Self {
        Self { reason, inspect: 0, log: false, block: false, path: 0, slot: NO_SLOT }
    }
}

/// Bits of [`Verdict::path`].
pub mod path {
    /// It is forwarded past the stack, where that can be done.
    pub const FAST: u8 = 1;
    /// The DSCP in the uppermost bits is written into it.
    pub const REMARK: u8 = 2;
    /// Shift of that DSCP.
    pub const DSCP: u32 = 2;
}

/// Judges a packet that came from `zone` at monotonic time `now` (ns).
///
/// The kernel half takes the same steps one by one, for the sake of its small stack.
pub fn judge<T: Tables>(tables: &mut T, policy: &Policy, packet: &Packet, zone: u8, now: u64) -> Verdict {
    let mut stranger = Stranger::default();
    let mut recognised = recognise(tables, policy, packet, zone, now, &mut stranger);
    if recognised == Recognised::Media {
        recognised = match admit_media(tables, packet, now) {
            Some(verdict) => Recognised::Known(verdict),
            None => recognise_flow(tables, policy, packet, zone, now, &mut stranger),
        };
    }
    let verdict = match recognised {
        Recognised::Known(verdict) => verdict,
        Recognised::Limited(verdict) => charge(tables, policy, packet, zone, verdict),
        Recognised::Stranger | Recognised::Media => begin(tables, policy, packet, &stranger),
    };
    remember(tables, packet, verdict);
    verdict
}

/// What [`recognise`] makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// This is its verdict.
    Known(Verdict),
    /// So is this, unless its flow's rule, which limits packets or bytes, says otherwise: [`charge`].
    Limited(Verdict),
    /// A pinhole may be open for it: [`admit_media`] judges it, or [`recognise_flow`] goes on.
    Media,
    /// It belongs to no known flow: [`begin`] judges it.
    Stranger,
}

/// Judges a packet as far as no rule needs to be asked.
#[inline(always)]
pub fn recognise<T: Tables>(
    tables: &mut T,
    policy: &Policy,
    packet: &Packet,
    zone: u8,
    now: u64,
    stranger: &mut Stranger,
) -> Recognised {
    let zone_policy = policy.zones[zone as usize % policy::MAX_ZONES];
    if packet.kind == Kind::Link {
        return Recognised::Known(Verdict::of(sanity::link(packet.link, zone_policy.link)));
    }
    if sanity::is_builtin(packet) {
        return Recognised::Known(Verdict::of(Reason::PassBuiltin));
    }
    if let Some(reason) = sanity::insane(packet, zone) {
        return Recognised::Known(Verdict::of(reason));
    }
    if zone != ZONE_SELF {
        if policy.flags & policy_flags::BLOCKS != 0 && tables.blocked(&packet.source, now) {
            return Recognised::Known(Verdict::of(Reason::Blocked));
        }
        if zone_policy.sources & source_checks::LISTED != 0
            && tables.source_zones(tables.source_class(&packet.source)) >> zone & 1 == 0
            && !sanity::may_lack_address(packet)
        {
            return Recognised::Known(Verdict::of(Reason::Spoofed));
        }
    }
    match packet.fragment {
        Fragment::Whole => {}
        Fragment::First => {
            if let Some(reason) = fragment::refused_first(tables, packet, zone_policy.fragments) {
                return Recognised::Known(Verdict::of(reason));
            }
        }
        Fragment::Later => return Recognised::Known(fragment::later(tables, packet, zone_policy.fragments)),
    }
    let port = packet.destination_port;
    if is_to_media(policy, packet) && tables.may_be_open(UDP, port) {
        return Recognised::Media;
    }
    recognise_flow(tables, policy, packet, zone, now, stranger)
}

/// The last step: a datagram whose first fragment was let by is remembered, for those that follow.
#[inline(always)]
pub fn remember<T: Tables>(tables: &mut T, packet: &Packet, verdict: Verdict) {
    if packet.fragment == Fragment::First && !verdict.reason.is_drop() {
        let first = FirstFragment::of(packet, verdict.inspect);
        tables.insert_fragment(&fragment_key(packet), first.pack());
    }
}

/// Whether a packet with a transport header is UDP to the ports of media.
#[inline(always)]
const fn is_to_media(policy: &Policy, packet: &Packet) -> bool {
    let port = packet.destination_port;
    packet.protocol == UDP && port >= policy.media_first && port <= policy.media_last
}

/// The second half of [`recognise`]: a packet that has its transport header, and is no pinhole's.
#[inline(always)]
pub fn recognise_flow<T: Tables>(
    tables: &mut T,
    policy: &Policy,
    packet: &Packet,
    zone: u8,
    now: u64,
    stranger: &mut Stranger,
) -> Recognised {
    let (key, side) = FlowKey::of(
        (packet.source, packet.source_port),
        (packet.destination, packet.destination_port),
        packet.protocol,
    );
    if has_flow(packet)
        && let Some(known) = tables.flow(&key)
        && let Some((verdict, event)) = continues(tables, policy, packet, known, side, now)
    {
        let by_originator = side as u8 == known.originator;
        let limited = known.flags & flags::LIMITED != 0 && by_originator;
        if event != tcp::Event::None {
            let known_peer = known.flags & flags::PEER != 0;
            admission::settle(
                tables,
                policy,
                packet,
                admission::Settled { by_originator, event, known_peer },
                now,
            );
        }
        if limited && !verdict.reason.is_drop() {
            return Recognised::Limited(verdict);
        }
        tables.count(verdict.slot, packet.length as u64, !verdict.reason.is_drop());
        return Recognised::Known(verdict);
    }
    if packet.quoted.protocol != 0 && is_related(tables, policy, packet, now) {
        return Recognised::Known(Verdict::of(Reason::PassRelated));
    }
    let zone_policy = policy.zones[zone as usize % policy::MAX_ZONES];
    if zone_policy.sources & source_checks::ROUTE_BACK != 0 && !tables.route_back(packet) {
        return Recognised::Known(Verdict::of(Reason::NoRouteBack));
    }
    let may_be_open = (packet.protocol == UDP || packet.protocol == TCP)
        && tables.may_be_open(packet.protocol, packet.destination_port);
    let media = is_to_media(policy, packet);
    if media && !may_be_open && policy.flags & policy_flags::MEDIA_BY_PINHOLE != 0 {
        return Recognised::Known(Verdict::of(Reason::NoPinhole));
    }
    *stranger = Stranger { key, side, zone, media, may_be_open, now };
    Recognised::Stranger
}

/// A packet of a known flow: its verdict and what it did to its connection, or `None` where the flow is over or
/// must be judged again.
#[inline(always)]
fn continues<T: Tables>(
    tables: &T,
    policy: &Policy,
    packet: &Packet,
    flow: &Flow,
    side: Side,
    now: u64,
) -> Option<(Verdict, tcp::Event)> {
    let word = tables.load(&flow.standing);
    let Standing { generation, state: old } = Standing::unpack(word);
    let silent = now.saturating_sub(tables.load(&flow.last_seen));
    if silent > timeout(&policy.timeouts, packet.protocol, old, flow.inspect) {
        return None;
    }
    let by_originator = side as u8 == flow.originator;
    let opens = packet.protocol == TCP && packet.tcp_flags & (tcp_bits::SYN | tcp_bits::ACK) == tcp_bits::SYN;
    let over = state::RESET | state::FIN_ORIGINATOR | state::FIN_RESPONDER;
    if opens && old & over != 0 {
        return None;
    }
    // Judged under other rules: asked again, without charging a limit for a conversation that is known.
    let mut judged_by = policy.generation;
    if generation != policy.generation && flow.flags & flags::BY_PINHOLE == 0 {
        match still_permitted(tables, policy, packet, flow, by_originator) {
            Permission::AsItIs => {}
            // The rules are asked in the originator's direction: until it speaks, the flow stays what it was.
            Permission::Otherwise if !by_originator => judged_by = generation,
            Permission::Otherwise | Permission::Refused => return None,
        }
    }
    let of_flow = |reason| Verdict { inspect: flow.inspect, slot: flow.slot, ..Verdict::of(reason) };
    let (new, event) = if packet.protocol == TCP {
        match tcp::step(tables, packet, flow, side, old) {
            tcp::Step::Goes(state, event) => (state, event),
            tcp::Step::Misfit => {
                let verdict = Verdict { inspect: 0, ..of_flow(Reason::TcpWindow) };
                return Some((verdict, tcp::Event::None));
            }
        }
    } else if flow.flags & flags::RTP != 0 && !packet.is_rtp_shaped() {
        let verdict = Verdict { inspect: 0, ..of_flow(Reason::NotRtp) };
        return Some((verdict, tcp::Event::None));
    } else if by_originator {
        (old, tcp::Event::None)
    } else {
        (old | state::REPLIED, tcp::Event::None)
    };
    let new = Standing { generation: judged_by, state: new };
    if new.pack() != word {
        tables.store(&flow.standing, new.pack());
    }
    tables.store(&flow.last_seen, now);
    let (packets, bytes) = match side {
        Side::Low => (&flow.packets[0], &flow.bytes[0]),
        Side::High => (&flow.packets[1], &flow.bytes[1]),
    };
    tables.add(packets, 1);
    tables.add(bytes, packet.length as u64);
    Some((of_flow(Reason::PassFlow), event))
}

/// Whether an ICMP error speaks to the sender of a packet of a known flow or stream (RFC 5927 section 4).
#[inline(never)]
fn is_related<T: Tables>(tables: &T, policy: &Policy, packet: &Packet, now: u64) -> bool {
    let quoted = &packet.quoted;
    if quoted.source != packet.destination {
        return false;
    }
    let (key, _) = FlowKey::of(
        (quoted.source, quoted.source_port),
        (quoted.destination, quoted.destination_port),
        quoted.protocol,
    );
    if let Some(flow) = tables.flow(&key) {
        let state = Standing::unpack(tables.load(&flow.standing)).state;
        let silent = now.saturating_sub(tables.load(&flow.last_seen));
        return silent <= timeout(&policy.timeouts, quoted.protocol, state, flow.inspect);
    }
    let stream = PinholeKey {
        to: quoted.destination,
        port: quoted.destination_port,
        transport: quoted.protocol,
        pad: 0,
    };
    tables.may_be_open(stream.transport, stream.port)
        && tables.pinhole(&stream).is_some_and(|pinhole| {
            media::through(tables, &stream, pinhole, &quoted.source, quoted.source_port, now)
                == Reason::PassPinhole
        })
}

/// What is already known of a packet that belongs to no known flow.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Stranger {
    /// The key its flow would have.
    pub key: FlowKey,
    /// Which side of the key has sent it.
    pub side: Side,
    /// The zone it came from.
    pub zone: u8,
    /// It goes to a UDP port of the media range.
    pub media: bool,
    /// Some address has a pinhole at its port.
    pub may_be_open: bool,
    /// Monotonic time in ns.
    pub now: u64,
}

/// A packet that belongs to no known flow: signalling pinholes, then the rules, then the zone's default.
#[inline(always)]
pub fn begin<T: Tables>(tables: &mut T, policy: &Policy, packet: &Packet, stranger: &Stranger) -> Verdict {
    let &Stranger { zone, now, ref key, side, media, may_be_open } = stranger;
    let zone_policy = policy.zones[zone as usize % policy::MAX_ZONES];
    if admission::answers_challenge(tables, policy, packet, now) {
        tables.vouch(&packet.source, now);
        return Verdict::of(Reason::ChallengeAnswer);
    }

    // H.245, T.120, TFTP and announced signalling ports: the pinhole admits the first packet, the flow the rest. A
    // pinhole that has learnt its sender has noted the packet already.
    let at = pinhole_key(packet);
    if may_be_open
        && !cannot_begin(packet)
        && let Some(pinhole) = tables.pinhole(&at)
        && media::through(tables, &at, pinhole, &packet.source, packet.source_port, now)
            == Reason::PassPinhole
    {
        let (inspect, slot) = (pinhole.inspect, u32::from(pinhole.slot));
        if inspect != 0 || pinhole.latch == 0 {
            media::began(tables, pinhole, packet, now);
        }
        let (state, edges) = first_state(packet, side);
        let flow =
            Flow { inspect, slot, zone, flags: flags::BY_PINHOLE, ..first_of(packet, side, now, edges) };
        enter(tables, policy, key, flow, state);
        return Verdict { inspect, slot, ..Verdict::of(Reason::PassPinhole) };
    }

    if media && policy.flags & policy_flags::MEDIA_BY_PINHOLE != 0 {
        return Verdict::of(Reason::NoPinhole);
    }
    let number = tables.first_match_here(policy, packet, zone);
    let rule = match tables.rule(number) {
        Some(rule) if number != 0 => *rule,
        // Media nobody has announced never passes by a default: it would open the way back.
        _ if media => return Verdict::of(Reason::NoPinhole),
        _ => RuleEntry { action: zone_policy.default, ..RuleEntry::default() },
    };
    let log = rule.flags & rule_flags::LOG != 0;
    let verdict = |reason| Verdict { log, slot: rule.slot, ..Verdict::of(reason) };
    let bytes = packet.length as u64;

    if rule.action == Action::Drop as u8 || rule.action == Action::Reject as u8 {
        tables.count(rule.slot, bytes, false);
        return verdict(match number {
            0 => Reason::Default,
            _ if rule.action == Action::Reject as u8 => Reason::Reject,
            _ if rule.flags & rule_flags::SPOOFED != 0 => Reason::Spoofed,
            _ => Reason::Rule,
        });
    }
    // An error about nothing we know is let by only where a rule says so in as many words.
    if packet.quoted.protocol != 0 && (number == 0 || rule.action != Action::Pass as u8) {
        tables.count(rule.slot, bytes, false);
        return verdict(Reason::IcmpUnrelated);
    }
    if rule.limit.unit != Unit::None as u8 && !conforms(tables, &rule, packet) {
        tables.count(rule.slot, bytes, false);
        return Verdict { block: rule.flags & rule_flags::BLOCK != 0, ..verdict(Reason::Limit) };
    }
    let passed = if number == 0 { Reason::PassDefault } else { Reason::PassRule };
    if rule.action == Action::Pass as u8 || !starts_flow(packet) {
        tables.count(rule.slot, bytes, true);
        return verdict(passed);
    }
    if cannot_begin(packet) {
        tables.count(rule.slot, bytes, false);
        return verdict(Reason::NoConnection);
    }
    let rtp = rule.flags & rule_flags::RTP != 0;
    if rtp && !packet.is_rtp_shaped() {
        tables.count(rule.slot, bytes, false);
        return verdict(Reason::NotRtp);
    }
    // The callee's side may speak first: a call manager's INVITE to a phone, a connection picked up in
    // mid-stream. What is read does not depend on who began.
    let (inspect, slot) = match rule.inspect {
        0 => inspected_in_reverse(tables, policy, packet).unwrap_or((0, rule.slot)),
        inspect => (inspect, rule.slot),
    };
    let limited = rule.limit.unit == Unit::Packets as u8 || rule.limit.unit == Unit::Bytes as u8;
    let (mut state, edges) = first_state(packet, side);
    let mut flow = Flow {
        inspect,
        slot,
        zone,
        flags: if limited { flags::LIMITED } else { 0 } | if rtp { flags::RTP } else { 0 },
        ..first_of(packet, side, now, edges)
    };
    if let Err(reason) = admission::admit(tables, policy, packet, &mut flow, &mut state, now) {
        tables.count(slot, bytes, false);
        return Verdict { slot, ..verdict(reason) };
    }
    enter(tables, policy, key, flow, state);
    tables.count(slot, bytes, true);
    Verdict { inspect, slot, ..verdict(passed) }
}

/// A flow with nothing in it but its first packet.
#[inline(always)]
fn first_of(packet: &Packet, side: Side, now: u64, edges: [u64; 2]) -> Flow {
    let low = side as u8 == Side::Low as u8;
    let of_side = |value: u64| if low { [value, 0] } else { [0, value] };
    Flow {
        last_seen: AtomicU64::new(now),
        created: now,
        packets: of_side(1).map(AtomicU64::new),
        bytes: of_side(packet.length as u64).map(AtomicU64::new),
        standing: AtomicU64::new(0),
        edges: edges.map(AtomicU64::new),
        slot: NO_SLOT,
        originator: side as u8,
        inspect: 0,
        zone: 0,
        flags: 0,
    }
}

/// Enters a flow in a state.
#[inline(always)]
fn enter<T: Tables>(tables: &mut T, policy: &Policy, key: &FlowKey, flow: Flow, state: u32) {
    let standing = Standing { generation: policy.generation, state };
    tables.insert_flow(key, Flow { standing: AtomicU64::new(standing.pack()), ..flow });
}

/// Whether a rule of every zone would read the conversation, had the other end begun it.
#[inline(always)]
fn inspected_in_reverse<T: Tables>(tables: &T, policy: &Policy, packet: &Packet) -> Option<(u8, u32)> {
    if packet.protocol != TCP && packet.protocol != UDP {
        return None;
    }
    let number = tables.first_match(policy, packet, ZONE_NONE, Way::Back);
    match tables.rule(number) {
        Some(rule) if number != 0 && rule.action == Action::Inspect as u8 => Some((rule.inspect, rule.slot)),
        _ => None,
    }
}

/// What the rules in force say of a flow that others have admitted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Permission {
    /// It may go on.
    AsItIs,
    /// It may go on, but now its signalling is to be read.
    Otherwise,
    /// It is over.
    Refused,
}

#[inline(always)]
fn still_permitted<T: Tables>(
    tables: &T,
    policy: &Policy,
    packet: &Packet,
    flow: &Flow,
    by_originator: bool,
) -> Permission {
    let way = if by_originator { Way::There } else { Way::Back };
    let number = tables.first_match(policy, packet, flow.zone, way);
    let (action, inspect) = match tables.rule(number) {
        Some(rule) if number != 0 => (rule.action, rule.inspect),
        _ => (policy.zones[flow.zone as usize % policy::MAX_ZONES].default, 0),
    };
    if action == Action::Drop as u8 || action == Action::Reject as u8 {
        Permission::Refused
    } else if inspect != 0 && inspect != flow.inspect {
        Permission::Otherwise
    } else {
        Permission::AsItIs
    }
}

/// A packet of a flow whose rule limits packets or bytes.
#[inline(always)]
pub fn charge<T: Tables>(
    tables: &mut T,
    policy: &Policy,
    packet: &Packet,
    zone: u8,
    verdict: Verdict,
) -> Verdict {
    let number = tables.first_match(policy, packet, zone, Way::There);
    let mut block = false;
    let conforming = match tables.rule(number) {
        // Found by the packet, not by the flow's slot: that may be the slot of the rule that reads the answers.
        // And a reload may have taken the limit away.
        Some(rule) if rule.limit.unit == Unit::Packets as u8 || rule.limit.unit == Unit::Bytes as u8 => {
            let rule = *rule;
            block = rule.flags & rule_flags::BLOCK != 0;
            conforms(tables, &rule, packet)
        }
        _ => true,
    };
    tables.count(verdict.slot, packet.length as u64, conforming);
    if conforming { verdict } else { Verdict { reason: Reason::Limit, inspect: 0, block, ..verdict } }
}

/// One event against a rule's limit.
#[inline(always)]
fn conforms<T: Tables>(tables: &mut T, rule: &RuleEntry, packet: &Packet) -> bool {
    let limit = &rule.limit;
    let source = &packet.source;
    let addr = if limit.scope == Scope::Source as u8 {
        *source
    } else if limit.scope == Scope::SourcePrefix as u8 {
        source.prefix(if source.is_v4() { limit.prefix4 + 96 } else { limit.prefix6 })
    } else if limit.scope == Scope::Destination as u8 {
        packet.destination
    } else {
        Addr::UNSPECIFIED
    };
    let cost = limit::cost(limit, packet.length as u64);
    tables.conform(&LimitKey { addr, slot: rule.slot }, &limit.rate, cost)
}

/// The key of the pinhole at a packet's destination.
#[inline(always)]
pub fn pinhole_key(packet: &Packet) -> PinholeKey {
    PinholeKey { to: packet.destination, port: packet.destination_port, transport: packet.protocol, pad: 0 }
}

/// Whether a packet can belong to a flow: an echo with identifier 0 has the key of every other ICMP message.
#[inline(always)]
fn has_flow(packet: &Packet) -> bool {
    match packet.protocol {
        ICMP | ICMPV6 => is_echo(packet.protocol, packet.icmp_type),
        _ => true,
    }
}

/// Whether a permitted packet starts a flow, so that its answers come back.
#[inline(always)]
fn starts_flow(packet: &Packet) -> bool {
    match packet.protocol {
        ICMP | ICMPV6 => is_echo_request(packet.protocol, packet.icmp_type),
        _ => true,
    }
}

/// A reset or the second half of a handshake cannot begin a connection, whatever permits it.
#[inline(always)]
fn cannot_begin(packet: &Packet) -> bool {
    packet.protocol == TCP
        && (packet.tcp_flags & tcp_bits::RST != 0
            || packet.tcp_flags & (tcp_bits::SYN | tcp_bits::ACK) == tcp_bits::SYN | tcp_bits::ACK)
}

/// State and edges of a flow whose first packet is this.
#[inline(always)]
fn first_state(packet: &Packet, side: Side) -> (u32, [u64; 2]) {
    if packet.protocol == TCP { tcp::first(packet, side) } else { (0, [0; 2]) }
}

/// Silence after which a flow in this state is forgotten, in ns.
#[inline(always)]
pub fn timeout(timeouts: &Timeouts, protocol: u8, state: u32, inspect: u8) -> u64 {
    let both_fin = flow::state::FIN_ORIGINATOR | flow::state::FIN_RESPONDER;
    let seconds = match protocol {
        TCP if state & flow::state::RESET != 0 || state & both_fin == both_fin => timeouts.tcp_closing,
        TCP if state & flow::state::ESTABLISHED == 0 => timeouts.tcp_opening,
        TCP if inspect != 0 && timeouts.tcp_established < timeouts.signalling => timeouts.signalling,
        TCP => timeouts.tcp_established,
        UDP if state & flow::state::REPLIED == 0 => timeouts.udp_opening,
        UDP if inspect != 0 && timeouts.udp < timeouts.signalling => timeouts.signalling,
        UDP => timeouts.udp,
        ICMP | ICMPV6 => timeouts.icmp,
        _ => timeouts.other,
    };
    seconds as u64 * 1_000_000_000
}

#[cfg(test)]
mod tests;
