//! Packet + tables → [`Verdict`]: the one judge of both halves.
//!
//! ```text
//!  link protocols, ND, path MTU ──► pass: builtin
//!  sanity ──► drop: land, bad-source, zero-port, tcp-flags
//!  later fragment ──► as its first fragment
//!  UDP to a media port: pinhole? ──► pass: pinhole │ drop: pinhole-sender, pinhole-expired
//!  known flow? ──► pass: flow
//!  TCP or UDP to a pinhole for signalling? ──► new flow
//!  rules ──► limit ──► new flow ──► pass: rule │ drop: rule-drop, limit
//!  no rule ──► media port? drop: no-pinhole, else the zone's default
//! ```
//!
//! Fail closed: whatever is not let by here is dropped, under a reason.

use core::sync::atomic::AtomicU64;

use crate::flow::{self, Flow, FlowKey, ICMP, ICMPV6, Side, Standing, TCP, UDP, flags, state};
use crate::limit::{Limit, LimitKey, Scope, Unit};
use crate::packet::{Fragment, Kind, Packet, is_echo, is_echo_request, tcp};
use crate::pinhole::{MAX_SENDERS, Pinhole, PinholeKey};
use crate::policy::{self, Action, NO_SLOT, Policy, RuleEntry, Timeouts, ZONE_NONE, ZONE_SELF, rule_flags};
use crate::{Addr, Reason};

/// Everything the judge looks up: kernel maps in the kernel, collections in the user-space model.
pub trait Tables {
    /// Class of a source address; 0 where no prefix covers it.
    fn source_class(&self, address: &Addr) -> u16;
    /// Class of a destination address; 0 where no prefix covers it.
    fn destination_class(&self, address: &Addr) -> u16;
    /// Class of a cell of the service table.
    fn service_class(&self, cell: u32) -> u16;
    /// Rule number in a cell of the action table; 0 where no rule matches.
    fn rule_number(&self, cell: u32) -> u16;
    /// A rule by its number.
    fn rule(&self, number: u16) -> Option<&RuleEntry>;
    /// A flow by its key.
    fn flow(&self, key: &FlowKey) -> Option<&Flow>;
    /// Enters a flow, replacing one of the same key.
    fn insert_flow(&mut self, key: &FlowKey, flow: Flow);
    /// Whether any address has a pinhole at this port: a cheap "no" that spares most packets the look-up.
    fn may_be_open(&self, transport: u8, port: u16) -> bool {
        let _ = (transport, port);
        true
    }
    /// A pinhole by its key.
    fn pinhole(&self, key: &PinholeKey) -> Option<&Pinhole>;
    /// [`policy::Inspect`] of a fragmented datagram whose first fragment was let by.
    fn fragment(&self, key: &FragmentKey) -> Option<u8>;
    /// Remembers that a datagram's first fragment was let by.
    fn insert_fragment(&mut self, key: &FragmentKey, inspect: u8);
    /// One event against a limit's bucket: whether it conforms.
    fn conform(&mut self, key: &LimitKey, limit: &Limit) -> bool;
    /// Counts a packet of `bytes` bytes under a rule's counter slot.
    fn count(&mut self, slot: u32, bytes: u64, passed: bool);
    /// Adds to a word other CPUs may be adding to.
    fn add(&self, word: &AtomicU64, n: u64);
    /// Reads a word other CPUs may be writing, in no order. (The BPF target lowers no atomic load or store.)
    fn load(&self, word: &AtomicU64) -> u64;
    /// Writes a word other CPUs may be reading, in no order.
    fn store(&self, word: &AtomicU64, value: u64);
}

/// Names a fragmented datagram (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Its source.
    pub source: Addr,
    /// Its destination.
    pub destination: Addr,
    /// Its identification.
    pub identification: u32,
    /// Its protocol; 0 for IPv6, where only the first fragment is sure to tell it.
    pub protocol: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 40);

/// What is to be done with a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why; [`Reason::is_drop`] tells what.
    pub reason: Reason,
    /// [`policy::Inspect`]: what is to be read in it before it goes on.
    pub inspect: u8,
    /// The rule is to be logged.
    pub log: bool,
    /// Counter slot of the rule that decided; [`NO_SLOT`] where none did.
    pub slot: u32,
}

impl Verdict {
    #[inline(always)]
    const fn of(reason: Reason) -> Self {
        Self { reason, inspect: 0, log: false, slot: NO_SLOT }
    }
}

/// Judges a packet that came from `zone` at monotonic time `now` (ns).
#[inline(always)]
pub fn judge<T: Tables>(tables: &mut T, policy: &Policy, packet: &Packet, zone: u8, now: u64) -> Verdict {
    if packet.kind == Kind::Link || is_builtin(packet) {
        return Verdict::of(Reason::PassBuiltin);
    }
    if let Some(reason) = insane(packet, zone) {
        return Verdict::of(reason);
    }
    if packet.fragment == Fragment::Later {
        return match tables.fragment(&fragment_key(packet)) {
            Some(inspect) => Verdict { inspect, ..Verdict::of(Reason::PassFragment) },
            None => Verdict::of(Reason::Fragment),
        };
    }
    let verdict = judge_whole(tables, policy, packet, zone, now);
    if packet.fragment == Fragment::First && !verdict.reason.is_drop() {
        tables.insert_fragment(&fragment_key(packet), verdict.inspect);
    }
    verdict
}

/// Judges a packet that has its transport header.
#[inline(always)]
fn judge_whole<T: Tables>(tables: &mut T, policy: &Policy, packet: &Packet, zone: u8, now: u64) -> Verdict {
    let port = packet.destination_port;
    let to_media = packet.protocol == UDP && port >= policy.media_first && port <= policy.media_last;
    let may_be_open =
        (packet.protocol == UDP || packet.protocol == TCP) && tables.may_be_open(packet.protocol, port);
    if to_media
        && may_be_open
        && let Some(pinhole) = tables.pinhole(&pinhole_key(packet))
        && pinhole.inspect == 0
    {
        let reason = through(tables, pinhole, packet, now);
        if reason == Reason::PassPinhole {
            tables.store(&pinhole.last_seen, now);
            tables.add(&pinhole.packets, 1);
            tables.add(&pinhole.bytes, packet.length as u64);
        }
        return Verdict::of(reason);
    }

    let (key, side) = FlowKey::of(
        (packet.source, packet.source_port),
        (packet.destination, packet.destination_port),
        packet.protocol,
    );
    if has_flow(packet)
        && let Some(known) = tables.flow(&key)
        && let Some(verdict) = continues(tables, policy, packet, known, side, now)
    {
        let limited = known.flags & flags::LIMITED != 0 && side as u8 == known.originator;
        if limited {
            return charge_packet(tables, policy, packet, zone, verdict);
        }
        tables.count(verdict.slot, packet.length as u64, true);
        return verdict;
    }
    let to = Destination { media: to_media, may_be_open };
    new_flow(tables, policy, packet, zone, now, &key, side, to)
}

/// A packet of a known flow: its verdict, or `None` where the flow is over or must be judged again.
#[inline(always)]
fn continues<T: Tables>(
    tables: &T,
    policy: &Policy,
    packet: &Packet,
    flow: &Flow,
    side: Side,
    now: u64,
) -> Option<Verdict> {
    let word = tables.load(&flow.standing);
    let Standing { generation, state: old } = Standing::unpack(word);
    let silent = now.saturating_sub(tables.load(&flow.last_seen));
    if silent > timeout(&policy.timeouts, packet.protocol, old, flow.inspect) {
        return None;
    }
    let by_originator = side as u8 == flow.originator;
    let opens = packet.protocol == TCP && packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
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
    let new = Standing { generation: judged_by, state: next_state(packet, old, by_originator) };
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
    Some(Verdict { inspect: flow.inspect, slot: flow.slot, ..Verdict::of(Reason::PassFlow) })
}

/// What is known of the port a packet goes to.
#[derive(Clone, Copy)]
struct Destination {
    /// It is a UDP port of the media range.
    media: bool,
    /// Some address has a pinhole at it.
    may_be_open: bool,
}

/// A packet that belongs to no known flow: signalling pinholes, then the rules, then the zone's default.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one place calls it, with what it has already computed")]
fn new_flow<T: Tables>(
    tables: &mut T,
    policy: &Policy,
    packet: &Packet,
    zone: u8,
    now: u64,
    key: &FlowKey,
    side: Side,
    to: Destination,
) -> Verdict {
    let mut flow = Flow {
        last_seen: AtomicU64::new(now),
        created: now,
        packets: [AtomicU64::new(0), AtomicU64::new(0)],
        bytes: [AtomicU64::new(0), AtomicU64::new(0)],
        standing: AtomicU64::new(
            Standing { generation: policy.generation, state: first_state(packet) }.pack(),
        ),
        slot: NO_SLOT,
        originator: side as u8,
        inspect: 0,
        zone,
        flags: 0,
    };
    match side {
        Side::Low => {
            flow.packets[0] = AtomicU64::new(1);
            flow.bytes[0] = AtomicU64::new(packet.length as u64);
        }
        Side::High => {
            flow.packets[1] = AtomicU64::new(1);
            flow.bytes[1] = AtomicU64::new(packet.length as u64);
        }
    }

    // H.245, T.120, TFTP and announced signalling ports: the pinhole admits the first packet, the flow the rest.
    if to.may_be_open
        && !cannot_begin(packet)
        && let Some(pinhole) = tables.pinhole(&pinhole_key(packet))
        && through(tables, pinhole, packet, now) == Reason::PassPinhole
    {
        tables.store(&pinhole.last_seen, now);
        tables.add(&pinhole.packets, 1);
        tables.add(&pinhole.bytes, packet.length as u64);
        flow.inspect = pinhole.inspect;
        flow.slot = pinhole.slot;
        flow.flags = flags::BY_PINHOLE;
        let verdict = Verdict { inspect: flow.inspect, slot: flow.slot, ..Verdict::of(Reason::PassPinhole) };
        tables.insert_flow(key, flow);
        return verdict;
    }

    let number = match_rules(tables, policy, packet, zone);
    let rule = match tables.rule(number) {
        Some(rule) if number != 0 => *rule,
        // Media nobody has announced never passes by a default: it would open the way back.
        _ if to.media => return Verdict::of(Reason::NoPinhole),
        _ => RuleEntry { action: policy.defaults[zone as usize % policy::MAX_ZONES], ..RuleEntry::default() },
    };
    let log = rule.flags & rule_flags::LOG != 0;
    let verdict = |reason| Verdict { reason, inspect: 0, log, slot: rule.slot };
    let bytes = packet.length as u64;

    if rule.action == Action::Drop as u8 {
        tables.count(rule.slot, bytes, false);
        return verdict(match number {
            0 => Reason::Default,
            _ if rule.flags & rule_flags::SPOOFED != 0 => Reason::Spoofed,
            _ => Reason::Rule,
        });
    }
    if rule.limit.unit != Unit::None as u8 && !conforms(tables, &rule, packet) {
        tables.count(rule.slot, bytes, false);
        return verdict(Reason::Limit);
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
    flow.inspect = rule.inspect;
    flow.slot = rule.slot;
    if rule.limit.unit == Unit::Packets as u8 {
        flow.flags = flags::LIMITED;
    }
    // The callee's side may speak first: a call manager's INVITE to a phone, a connection picked up in
    // mid-stream. What is read does not depend on who began.
    if flow.inspect == 0
        && let Some((inspect, slot)) = inspected_in_reverse(tables, policy, packet)
    {
        flow.inspect = inspect;
        flow.slot = slot;
    }
    let inspect = flow.inspect;
    let slot = flow.slot;
    tables.insert_flow(key, flow);
    tables.count(slot, bytes, true);
    Verdict { reason: passed, inspect, log, slot }
}

/// The first matching rule's number, 0 where none matches. Asked from four places: out of line, so that the
/// kernel's program stays small and the verifier's work short.
#[inline(never)]
fn match_rules<T: Tables>(tables: &T, policy: &Policy, packet: &Packet, zone: u8) -> u16 {
    let source = tables.source_class(&packet.source);
    let destination = tables.destination_class(&packet.destination);
    let service = tables.service_class(service_cell(packet));
    tables.rule_number(policy.cell(zone, source, destination, service))
}

/// A packet as its answer would look: ends exchanged.
#[inline(always)]
fn reversed(packet: &Packet) -> Packet {
    Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..*packet
    }
}

/// Whether a rule of every zone would read the conversation, had the other end begun it.
#[inline(always)]
fn inspected_in_reverse<T: Tables>(tables: &T, policy: &Policy, packet: &Packet) -> Option<(u8, u32)> {
    if packet.protocol != TCP && packet.protocol != UDP {
        return None;
    }
    let number = match_rules(tables, policy, &reversed(packet), ZONE_NONE);
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
    let asked = if by_originator { *packet } else { reversed(packet) };
    let number = match_rules(tables, policy, &asked, flow.zone);
    let (action, inspect) = match tables.rule(number) {
        Some(rule) if number != 0 => (rule.action, rule.inspect),
        _ => (policy.defaults[flow.zone as usize % policy::MAX_ZONES], 0),
    };
    if action == Action::Drop as u8 {
        Permission::Refused
    } else if inspect != 0 && inspect != flow.inspect {
        Permission::Otherwise
    } else {
        Permission::AsItIs
    }
}

/// A packet of a flow whose rule limits packets.
#[inline(always)]
fn charge_packet<T: Tables>(
    tables: &mut T,
    policy: &Policy,
    packet: &Packet,
    zone: u8,
    verdict: Verdict,
) -> Verdict {
    let number = match_rules(tables, policy, packet, zone);
    let conforming = match tables.rule(number) {
        // Found by the packet, not by the flow's slot: that may be the slot of the rule that reads the answers.
        // And a reload may have taken the limit away.
        Some(rule) if rule.limit.unit == Unit::Packets as u8 => {
            let rule = *rule;
            conforms(tables, &rule, packet)
        }
        _ => true,
    };
    tables.count(verdict.slot, packet.length as u64, conforming);
    if conforming { verdict } else { Verdict { reason: Reason::Limit, inspect: 0, ..verdict } }
}

/// One event against a rule's limit.
#[inline(always)]
fn conforms<T: Tables>(tables: &mut T, rule: &RuleEntry, packet: &Packet) -> bool {
    let addr = if rule.limit.scope == Scope::Source as u8 { packet.source } else { Addr::UNSPECIFIED };
    tables.conform(&LimitKey { addr, slot: rule.slot }, &rule.limit)
}

/// Whether a pinhole admits a packet.
#[inline(always)]
fn through<T: Tables>(tables: &T, pinhole: &Pinhole, packet: &Packet, now: u64) -> Reason {
    let silent = now.saturating_sub(tables.load(&pinhole.last_seen));
    if now >= pinhole.expires || silent > pinhole.idle {
        return Reason::PinholeExpired;
    }
    for i in 0..MAX_SENDERS {
        let sender = &pinhole.senders[i];
        if sender.from == packet.source && (sender.port == 0 || sender.port == packet.source_port) {
            return Reason::PassPinhole;
        }
    }
    Reason::PinholeSender
}

#[inline(always)]
fn pinhole_key(packet: &Packet) -> PinholeKey {
    PinholeKey { to: packet.destination, port: packet.destination_port, transport: packet.protocol, pad: 0 }
}

/// Names the datagram a fragment belongs to.
#[inline(always)]
pub fn fragment_key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        identification: packet.identification,
        protocol: if packet.source.is_v4() { packet.protocol as u32 } else { 0 },
    }
}

/// The cell of the service table a packet falls into.
#[inline(always)]
pub fn service_cell(packet: &Packet) -> u32 {
    match packet.protocol {
        TCP => policy::SERVICE_TCP + packet.destination_port as u32,
        UDP => policy::SERVICE_UDP + packet.destination_port as u32,
        ICMP => policy::SERVICE_ICMP + packet.icmp_type as u32,
        ICMPV6 => policy::SERVICE_ICMPV6 + packet.icmp_type as u32,
        other => policy::SERVICE_PROTOCOL + other as u32,
    }
}

/// What no rules file may switch off, lest the network itself stops: neighbour discovery (RFC 4861, only
/// from the link: hop limit 255) and what path-MTU discovery needs (RFC 1191, RFC 8201).
#[inline(always)]
fn is_builtin(packet: &Packet) -> bool {
    if packet.fragment != Fragment::Whole {
        return false;
    }
    match packet.protocol {
        ICMP => packet.source.is_v4() && packet.icmp_type == 3 && packet.icmp_code == 4,
        ICMPV6 if !packet.source.is_v4() => {
            packet.icmp_type == 2
                || (packet.icmp_type >= 133 && packet.icmp_type <= 136 && packet.hop_limit == 255)
        }
        _ => false,
    }
}

/// Packets no honest stack sends. A machine may speak to itself; on a link nobody does.
#[inline(always)]
fn insane(packet: &Packet, zone: u8) -> Option<Reason> {
    if zone != ZONE_SELF {
        if packet.source == packet.destination {
            return Some(Reason::Land);
        }
        if !can_send(packet) {
            return Some(Reason::BadSource);
        }
    }
    if packet.fragment == Fragment::Later {
        return None;
    }
    if (packet.protocol == TCP || packet.protocol == UDP)
        && (packet.source_port == 0 || packet.destination_port == 0)
    {
        return Some(Reason::ZeroPort);
    }
    if packet.protocol == TCP {
        let set = packet.tcp_flags & (tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK);
        let syn_with_more = set & tcp::SYN != 0 && set & (tcp::FIN | tcp::RST) != 0;
        if set == 0 || set & (tcp::FIN | tcp::ACK) == tcp::FIN || syn_with_more {
            return Some(Reason::TcpFlags);
        }
    }
    None
}

/// Whether the source address can be a sender's (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7).
#[inline(always)]
fn can_send(packet: &Packet) -> bool {
    let source = &packet.source;
    if source.is_v4() {
        let address = u32::from_be(source.v4_word());
        return match address >> 24 {
            // A client without an address asks for one (RFC 2131).
            0 => {
                address == 0
                    && packet.protocol == UDP
                    && packet.source_port == 68
                    && packet.destination_port == 67
            }
            127 | 224..=255 => false,
            _ => true,
        };
    }
    let first = u32::from_be(source.0[0]);
    if first >> 24 == 0xff {
        return false;
    }
    if source.0[0] == 0 && source.0[1] == 0 && source.0[2] == 0 {
        // `::` asks for its own address (RFC 4862) and joins groups (RFC 3810); `::1` never travels.
        return source.0[3] == 0 && packet.protocol == ICMPV6;
    }
    true
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
        && (packet.tcp_flags & tcp::RST != 0
            || packet.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK)
}

#[inline(always)]
fn first_state(packet: &Packet) -> u32 {
    match packet.protocol {
        TCP if packet.tcp_flags & tcp::SYN != 0 => state::SYN,
        // The end of a connection nobody knows: not to be kept as long as one that lives.
        TCP if packet.tcp_flags & tcp::FIN != 0 => state::REPLIED | state::FIN_ORIGINATOR,
        // Picked up in mid-stream.
        TCP => state::ESTABLISHED | state::REPLIED,
        _ => 0,
    }
}

#[inline(always)]
fn next_state(packet: &Packet, old: u32, by_originator: bool) -> u32 {
    let mut new = old;
    if !by_originator {
        new |= state::REPLIED;
    }
    if packet.protocol == TCP {
        let replied = old & state::REPLIED != 0;
        if by_originator && replied && packet.tcp_flags & tcp::ACK != 0 {
            new |= state::ESTABLISHED;
        }
        if packet.tcp_flags & tcp::FIN != 0 {
            new |= if by_originator { state::FIN_ORIGINATOR } else { state::FIN_RESPONDER };
        }
        if packet.tcp_flags & tcp::RST != 0 {
            new |= state::RESET;
        }
    }
    new
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
