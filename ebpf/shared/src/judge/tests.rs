//! The judge over tables as small as can be: a rule per destination port, a class per field.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::HashMap;

use super::*;
use crate::limit::{self, Limit};
use crate::packet::NO_SCALE;
use crate::peer::VOUCHED;
use crate::pinhole::{FurtherSenders, Sender};
use crate::policy::{Classes, Form, Fragments, Inspect, MAX_IFACES, MAX_ZONES, ZonePolicy};

mod media;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_000 * SECOND;
/// The zone packets come from, and one whose default is to drop.
const TRACKED: u8 = 2;
const CLOSED: u8 = 3;

const A: [u8; 4] = [192, 0, 2, 1];
const B: [u8; 4] = [198, 51, 100, 7];
const A_PORT: u16 = 40_000;
const SIP: u16 = 5_060;
const WEB: u16 = 80;
const SSH: u16 = 22;
const MEDIA: u16 = 16_400;

/// Rules by protocol and destination port, in any order: no two match the same packet.
struct Small {
    policy: Policy,
    rules: Vec<((u8, u16), RuleEntry)>,
    flows: HashMap<FlowKey, Flow>,
    pinholes: HashMap<PinholeKey, Pinhole>,
    further: HashMap<PinholeKey, FurtherSenders>,
    fragments: HashMap<FragmentKey, u64>,
    buckets: HashMap<LimitKey, u64>,
    budgets: [u64; BUDGETS],
    blocks: HashMap<Addr, u64>,
    peers: HashMap<Addr, u64>,
    /// Zones every source may come from.
    zones: u16,
    /// Whether there is a route to every source.
    routed: bool,
    /// By slot: packets and bytes let by, and dropped.
    counted: HashMap<u32, [(u64, u64); 2]>,
    now: u64,
}

impl Small {
    fn new(rules: &[((u8, u16), RuleEntry)]) -> Self {
        let mut zones = [ZonePolicy { default: Action::Drop as u8, ..ZonePolicy::default() }; MAX_ZONES];
        zones[usize::from(TRACKED)].default = Action::Track as u8;
        let policy = Policy {
            generation: 1,
            flags: 0,
            form: Form::Product as u8,
            media_first: 16_384,
            media_last: 32_767,
            pad: 0,
            classes: Classes {
                vlans: 1,
                dscps: 1,
                source_ports: 1,
                sources: 1,
                destinations: 1,
                services: SERVICES,
            },
            timeouts: Timeouts::default(),
            flow_windows: [0; 2],
            new_flows: Rate::default(),
            peer_flows: Rate::default(),
            half_open_source: Rate::default(),
            half_open_destination: Rate::default(),
            replies: Rate::default(),
            zones,
            interfaces: [TRACKED; MAX_IFACES],
        };
        Self {
            policy,
            rules: rules.to_vec(),
            flows: HashMap::new(),
            pinholes: HashMap::new(),
            further: HashMap::new(),
            fragments: HashMap::new(),
            buckets: HashMap::new(),
            budgets: [0; BUDGETS],
            blocks: HashMap::new(),
            peers: HashMap::new(),
            zones: u16::MAX,
            routed: true,
            counted: HashMap::new(),
            now: NOW,
        }
    }

    /// Other rules, under another generation.
    fn reload(&mut self, rules: &[((u8, u16), RuleEntry)]) {
        self.rules = rules.to_vec();
        self.policy.generation += 1;
    }

    fn judge_from(&mut self, zone: u8, packet: &Packet) -> Verdict {
        let policy = self.policy;
        let now = self.now;
        judge(self, &policy, packet, zone, now)
    }

    fn reason(&mut self, packet: &Packet) -> Reason {
        self.judge_from(CLOSED, packet).reason
    }

    /// What was counted under a slot: packets let by, and dropped.
    fn packets(&self, slot: u32) -> (u64, u64) {
        let [passed, dropped] = self.counted.get(&slot).copied().unwrap_or_default();
        (passed.0, dropped.0)
    }

    fn open(&mut self, packet: &Packet, senders: &[(Addr, u16)], inspect: Inspect) {
        let mut all = senders.iter().map(|(from, port)| Sender { from: *from, port: *port, pad: [0; 2] });
        let Sender { from, port, .. } = all.next().unwrap_or_default();
        let further = [all.next(), all.next(), all.next()].map(Option::unwrap_or_default);
        let pinhole = Pinhole {
            from,
            port,
            last_seen: AtomicU64::new(self.now),
            expires: self.now + 60 * SECOND,
            idle: 20_000,
            inspect: inspect as u8,
            flags: if senders.len() > 1 { crate::media::flags::FURTHER } else { 0 },
            slot: 9,
            ..Pinhole::default()
        };
        self.pinholes.insert(pinhole_key(packet), pinhole);
        self.further.insert(pinhole_key(packet), further);
    }

    fn the_flow(&self) -> &Flow {
        assert_eq!(self.flows.len(), 1);
        self.flows.values().next().expect("a flow")
    }

    fn state(&self) -> u32 {
        Standing::unpack(self.the_flow().standing.load(Relaxed)).state & PROGRESS
    }
}

/// Service classes: one per cell that a test's rules can name.
const SERVICES: u32 = 4_096;

/// A class per cell, few enough for a rule table.
fn class_of(cell: u32) -> u16 {
    let port = |port: u32| port % 1_000 + 1;
    let class = match cell {
        policy::SERVICE_UDP..policy::SERVICE_ICMP => 1_000 + port(cell - policy::SERVICE_UDP),
        policy::SERVICE_ICMP.. => 2_000 + (cell - policy::SERVICE_ICMP),
        tcp => port(tcp),
    };
    u16::try_from(class).expect("small")
}

impl Tables for Small {
    fn first_match(&self, policy: &Policy, packet: &Packet, zone: u8, way: Way) -> u16 {
        first_match(self, policy, packet, zone, way)
    }
    fn source_port_class(&self, _: u32) -> u16 {
        0
    }
    fn tag_class(&self, _: u32) -> u16 {
        0
    }
    fn vector(&self, _: u32) -> Option<&Vector> {
        None
    }
    fn source_zones(&self, _: u16) -> u16 {
        self.zones
    }
    fn route_back(&self, _: &Packet) -> bool {
        self.routed
    }
    fn source_class(&self, _: &Addr) -> u16 {
        0
    }
    fn destination_class(&self, _: &Addr) -> u16 {
        0
    }
    fn service_class(&self, cell: u32) -> u16 {
        class_of(cell)
    }
    fn rule_number(&self, cell: u32) -> u16 {
        let class = cell % SERVICES;
        let matches = |((protocol, port), _): &((u8, u16), RuleEntry)| {
            let packet = Packet {
                protocol: *protocol,
                destination_port: *port,
                icmp_type: *port as u8,
                ..Packet::default()
            };
            u32::from(class_of(service_cell(&packet))) == class
        };
        self.rules.iter().position(matches).map_or(0, |place| place as u16 + 1)
    }
    fn rule(&self, number: u16) -> Option<&RuleEntry> {
        static NONE: RuleEntry = RuleEntry {
            limit: Limit {
                rate: Rate { interval: 0, tolerance: 0 },
                unit: 0,
                scope: 0,
                prefix4: 0,
                prefix6: 0,
                pad: 0,
            },
            slot: 0,
            action: 0,
            inspect: 0,
            flags: 0,
            pad: 0,
        };
        match number {
            0 => Some(&NONE),
            number => self.rules.get(usize::from(number) - 1).map(|(_, rule)| rule),
        }
    }
    fn flow(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(key)
    }
    fn insert_flow(&mut self, key: &FlowKey, flow: Flow) {
        self.flows.insert(*key, flow);
    }
    fn pinhole(&self, key: &PinholeKey) -> Option<&Pinhole> {
        self.pinholes.get(key)
    }
    fn further_senders(&self, key: &PinholeKey) -> Option<&FurtherSenders> {
        self.further.get(key)
    }
    fn fragment(&self, key: &FragmentKey) -> Option<u64> {
        self.fragments.get(key).copied()
    }
    fn insert_fragment(&mut self, key: &FragmentKey, first: u64) {
        self.fragments.insert(*key, first);
    }
    fn conform(&mut self, key: &LimitKey, rate: &Rate, cost: u64) -> bool {
        let bucket = self.buckets.entry(*key).or_default();
        let next = limit::conform(rate, *bucket, self.now, cost);
        *bucket = next.unwrap_or(*bucket);
        next.is_some()
    }
    fn refund(&mut self, key: &LimitKey, cost: u64) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            *bucket -= cost;
        }
    }
    fn afford(&mut self, budget: Budget, rate: &Rate) -> bool {
        let bucket = &mut self.budgets[budget as usize];
        let next = limit::conform(rate, *bucket, self.now, rate.interval);
        *bucket = next.unwrap_or(*bucket);
        next.is_some()
    }
    fn blocked(&self, address: &Addr, now: u64) -> bool {
        self.blocks.get(address).is_some_and(|until| now < *until)
    }
    fn is_peer(&self, address: &Addr, now: u64) -> bool {
        self.peers.get(address).is_some_and(|until| now < *until)
    }
    fn vouch(&mut self, address: &Addr, now: u64) {
        self.peers.insert(*address, now + VOUCHED);
    }
    fn secret(&self) -> u64 {
        0x5ec2_e75e_c2e7_5ec2
    }
    fn count(&mut self, slot: u32, bytes: u64, passed: bool) {
        let counted = &mut self.counted.entry(slot).or_default()[usize::from(!passed)];
        *counted = (counted.0 + 1, counted.1 + bytes);
    }
    fn add(&self, word: &AtomicU64, n: u64) {
        word.fetch_add(n, Relaxed);
    }
    fn load(&self, word: &AtomicU64) -> u64 {
        word.load(Relaxed)
    }
    fn store(&self, word: &AtomicU64, value: u64) {
        word.store(value, Relaxed);
    }
}

fn v4(octets: [u8; 4]) -> Addr {
    Addr::from_v4_word(u32::from_ne_bytes(octets))
}

/// `word::last` of IPv6.
fn v6(word: u32, last: u32) -> Addr {
    Addr([word.to_be(), 0, 0, last.to_be()])
}

fn rule(slot: u32, action: Action) -> RuleEntry {
    RuleEntry { slot, action: action as u8, ..RuleEntry::default() }
}

fn inspect(slot: u32, protocol: Inspect) -> RuleEntry {
    RuleEntry { inspect: protocol as u8, ..rule(slot, Action::Inspect) }
}

/// One event an hour, after `burst` of them.
fn limited(rule: RuleEntry, unit: Unit, scope: Scope, burst: u64) -> RuleEntry {
    let interval = 3_600 * SECOND;
    let limit = Limit {
        rate: Rate { interval, tolerance: interval * (burst - 1) },
        unit: unit as u8,
        scope: scope as u8,
        ..Limit::default()
    };
    RuleEntry { limit, ..rule }
}

/// From A to B.
fn sent(protocol: u8, port: u16) -> Packet {
    Packet {
        kind: Kind::Ip,
        protocol,
        source: v4(A),
        destination: v4(B),
        source_port: A_PORT,
        destination_port: port,
        hop_limit: 64,
        length: 100,
        ..Packet::default()
    }
}

/// A segment of a connection in which both ends began at 0 and have sent nothing yet.
fn segment(port: u16, tcp_flags: u8) -> Packet {
    let sequence = u32::from(tcp_flags & tcp_bits::SYN == 0);
    Packet {
        tcp_flags,
        sequence,
        acknowledgment: 1,
        window: WINDOW,
        window_scale: NO_SCALE,
        ..sent(TCP, port)
    }
}

const WINDOW: u16 = 1_000;
/// The bits of a state that say how far a conversation has come.
const PROGRESS: u32 = 0x3f;

/// A packet as its answer would look: ends exchanged.
fn reversed(packet: &Packet) -> Packet {
    Packet {
        source: packet.destination,
        destination: packet.source,
        source_port: packet.destination_port,
        destination_port: packet.source_port,
        ..*packet
    }
}

fn icmp(icmp_type: u8, identifier: u16) -> Packet {
    Packet { icmp_type, source_port: identifier, destination_port: identifier, ..sent(ICMP, 0) }
}

fn icmp6(icmp_type: u8, hop_limit: u8) -> Packet {
    Packet {
        icmp_type,
        hop_limit,
        source: v6(0xfe80_0000, 1),
        destination: v6(0xff02_0000, 1),
        source_port: 0,
        ..sent(ICMPV6, 0)
    }
}

const SYN_ACK: u8 = tcp_bits::SYN | tcp_bits::ACK;
const FIN_ACK: u8 = tcp_bits::FIN | tcp_bits::ACK;

// --- What always passes --------------------------------------------------------------------------------------

#[test]
fn the_link_and_path_mtu_discovery_pass_whatever_the_rules() {
    let mut small = Small::new(&[]);
    assert_eq!(small.reason(&Packet::default()), Reason::PassBuiltin);
    let needed = Packet { icmp_code: 4, ..icmp(3, 0) };
    assert_eq!(small.reason(&needed), Reason::PassBuiltin);
    assert_eq!(small.reason(&Packet { icmp_code: 3, ..needed }), Reason::Default, "port unreachable");
    assert_eq!(small.reason(&icmp6(2, 64)), Reason::PassBuiltin, "packet too big comes from far away");
    assert_eq!(small.reason(&Packet { fragment: Fragment::First, ..icmp6(2, 64) }), Reason::Default);
}

#[test]
fn neighbour_discovery_passes_only_from_the_link() {
    let mut small = Small::new(&[]);
    for icmp_type in 133..=136 {
        assert_eq!(small.reason(&icmp6(icmp_type, 255)), Reason::PassBuiltin, "type {icmp_type}");
        for hop_limit in [0, 1, 64, 254] {
            assert_eq!(small.reason(&icmp6(icmp_type, hop_limit)), Reason::Default, "hop limit {hop_limit}");
        }
        let fragment = Packet { fragment: Fragment::First, ..icmp6(icmp_type, 255) };
        assert_eq!(small.reason(&fragment), Reason::Default, "RFC 6980: never in fragments");
    }
    for icmp_type in [132, 137] {
        assert_eq!(small.reason(&icmp6(icmp_type, 255)), Reason::Default, "type {icmp_type}");
    }
}

/// Nobody speaks ICMPv6 over IPv4; what claims to would otherwise pass any rule.
#[test]
fn the_other_familys_icmp_is_no_builtin() {
    let mut small = Small::new(&[]);
    let over_v4 = |icmp_type| Packet { icmp_type, hop_limit: 255, source_port: 0, ..sent(ICMPV6, 0) };
    for icmp_type in [2, 133, 134, 135, 136] {
        assert_eq!(small.reason(&over_v4(icmp_type)), Reason::Default, "type {icmp_type}");
    }
    let over_v6 = Packet { protocol: ICMP, icmp_type: 3, icmp_code: 4, ..icmp6(3, 64) };
    assert_eq!(small.reason(&over_v6), Reason::Default);
}

// --- Sanity --------------------------------------------------------------------------------------------------

#[test]
fn a_packet_to_its_own_source_is_dropped_except_within_the_machine() {
    let mut small = Small::new(&[((UDP, SIP), rule(1, Action::Pass))]);
    let land = Packet { destination: v4(A), ..sent(UDP, SIP) };
    assert_eq!(small.reason(&land), Reason::Land);
    assert_eq!(small.judge_from(ZONE_SELF, &land).reason, Reason::PassRule);
    assert_eq!(small.reason(&Packet { fragment: Fragment::Later, ..land }), Reason::Land);
}

#[test]
fn sources_that_cannot_send_are_dropped() {
    let mut small = Small::new(&[((UDP, SIP), rule(1, Action::Pass))]);
    let from = |source| Packet { source, ..sent(UDP, SIP) };
    for octets in
        [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [239, 1, 1, 1], [240, 0, 0, 1], [255; 4]]
    {
        assert_eq!(small.reason(&from(v4(octets))), Reason::BadSource, "{octets:?}");
    }
    let far = v6(0x2001_0db8, 2);
    for source in [Addr::UNSPECIFIED, v6(0, 1), v6(0, 0x0102_0304), v6(0xff02_0000, 1)] {
        assert_eq!(
            small.reason(&Packet { destination: far, ..from(source) }),
            Reason::BadSource,
            "{source:?}"
        );
    }
    for source in [v4([1, 0, 0, 1]), v4([126, 0, 0, 1]), v4([128, 0, 0, 1]), v4([223, 255, 255, 255])] {
        assert_eq!(small.reason(&from(source)), Reason::PassRule, "{source:?}");
    }
    let odd = Packet { destination: far, ..from(Addr([0, 0, 2_u32.to_be(), 1_u32.to_be()])) };
    assert_eq!(small.reason(&odd), Reason::PassRule, "neither unspecified nor loopback");
    let own = from(v4([127, 0, 0, 1]));
    assert_eq!(small.judge_from(ZONE_SELF, &own).reason, Reason::PassRule, "a machine may speak to itself");
}

#[test]
fn a_client_without_an_address_may_ask_for_one() {
    let mut small = Small::new(&[((UDP, 67), rule(1, Action::Pass)), ((ICMPV6, 143), rule(2, Action::Pass))]);
    let discover = Packet { source: v4([0; 4]), destination: v4([255; 4]), source_port: 68, ..sent(UDP, 67) };
    assert_eq!(small.reason(&discover), Reason::PassRule);
    assert_eq!(small.reason(&Packet { source_port: 69, ..discover }), Reason::BadSource);
    assert_eq!(small.reason(&Packet { source: v4([0, 0, 0, 1]), ..discover }), Reason::BadSource);
    let report = Packet { source: Addr::UNSPECIFIED, ..icmp6(143, 1) };
    assert_eq!(small.reason(&report), Reason::PassRule, "a multicast report before an address (RFC 3810)");
}

#[test]
fn port_zero_is_dropped_where_there_are_ports() {
    let mut small = Small::new(&[((UDP, SIP), rule(1, Action::Pass)), ((50, 0), rule(2, Action::Pass))]);
    for protocol in [TCP, UDP] {
        let packet = Packet { tcp_flags: tcp_bits::SYN, ..sent(protocol, SIP) };
        assert_eq!(small.reason(&Packet { source_port: 0, ..packet }), Reason::ZeroPort);
        assert_eq!(small.reason(&Packet { destination_port: 0, ..packet }), Reason::ZeroPort);
    }
    assert_eq!(small.reason(&Packet { source_port: 0, ..sent(50, 0) }), Reason::PassRule, "ESP has no ports");
}

/// All 64 combinations: without one of SYN, ACK, RST, FIN; SYN with FIN or RST; FIN without ACK.
#[test]
fn tcp_flags_no_honest_stack_sends_are_dropped() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Pass))]);
    for flags in 0..64_u8 {
        let has = |flag| flags & flag != 0;
        let honest = match (has(tcp_bits::SYN), has(tcp_bits::FIN), has(tcp_bits::RST), has(tcp_bits::ACK)) {
            (true, fin, rst, _) => !fin && !rst,
            (false, true, _, ack) => ack,
            (false, false, rst, ack) => rst || ack,
        };
        let expected = if honest { Reason::PassRule } else { Reason::TcpFlags };
        assert_eq!(small.reason(&segment(WEB, flags)), expected, "{flags:#08b}");
    }
}

// --- Pinholes ------------------------------------------------------------------------------------------------

#[test]
fn a_pinhole_admits_its_senders_and_nobody_else() {
    let mut small = Small::new(&[]);
    let media = sent(UDP, MEDIA);
    small.open(&media, &[(v4(A), 0), (v4([192, 0, 2, 9]), 7_000)], Inspect::None);
    assert_eq!(small.reason(&media), Reason::PassPinhole);
    assert_eq!(small.reason(&Packet { source_port: 1, ..media }), Reason::PassPinhole, "any port is agreed");
    let other = Packet { source: v4([192, 0, 2, 9]), source_port: 7_000, ..media };
    assert_eq!(small.reason(&other), Reason::PassPinhole);
    assert_eq!(small.reason(&Packet { source_port: 7_001, ..other }), Reason::PinholeSender);
    assert_eq!(small.reason(&Packet { source: v4([192, 0, 2, 2]), ..media }), Reason::PinholeSender);
    assert_eq!(small.reason(&Packet { destination_port: MEDIA + 1, ..media }), Reason::NoPinhole);
    assert_eq!(small.reason(&Packet { destination: v4([198, 51, 100, 8]), ..media }), Reason::NoPinhole);
    let pinhole = &small.pinholes[&pinhole_key(&media)];
    let measures = pinhole.measures();
    assert_eq!((measures.packets, measures.bytes), (3, 300), "the admitted ones");
    assert!(small.flows.is_empty(), "media starts no flow, and opens no way back");
    let back = Packet { destination_port: A_PORT, ..reversed(&media) };
    assert_eq!(small.reason(&back), Reason::Default);
}

/// The unused places of the sender list hold the unspecified address.
#[test]
fn an_unused_place_for_a_sender_admits_nobody() {
    let mut small = Small::new(&[]);
    let media = Packet { source: Addr::UNSPECIFIED, destination: v6(0x2001_0db8, 2), ..sent(UDP, MEDIA) };
    small.open(&media, &[(v6(0x2001_0db8, 1), 0)], Inspect::None);
    assert_eq!(small.reason(&media), Reason::BadSource);
}

#[test]
fn a_pinhole_ends_by_its_expiry_and_by_silence() {
    let mut small = Small::new(&[]);
    let media = sent(UDP, MEDIA);
    small.open(&media, &[(v4(A), 0)], Inspect::None);
    small.now += 20 * SECOND;
    assert_eq!(small.reason(&media), Reason::PassPinhole, "just in time");
    small.now += 20 * SECOND + 1;
    assert_eq!(small.reason(&media), Reason::PinholeExpired, "20 s of silence");

    let mut small = Small::new(&[]);
    small.open(&media, &[(v4(A), 0)], Inspect::None);
    for _ in 0..5 {
        small.now += 10 * SECOND;
        assert_eq!(small.reason(&media), Reason::PassPinhole);
    }
    small.now += 10 * SECOND - 1;
    assert_eq!(small.reason(&media), Reason::PassPinhole);
    small.now += 1;
    assert_eq!(small.reason(&media), Reason::PinholeExpired, "busy, but its 60 s are over");
}

/// A packet of a stream, as RTP is.
fn rtp(port: u16) -> Packet {
    Packet { payload_head: 0x80, ..sent(UDP, port) }
}

fn small_that_learns(media: &Packet) -> Small {
    let mut small = Small::new(&[]);
    small.open(media, &[(v4(A), 0)], Inspect::None);
    let latch = small.now + 10 * SECOND;
    small.pinholes.values_mut().for_each(|pinhole| pinhole.latch = latch);
    small
}

#[test]
fn a_pinhole_that_learns_its_sender_lets_nobody_else_by_and_opens_the_way_back() {
    let media = rtp(MEDIA);
    let back = Packet { payload_head: 0x80, ..reversed(&media) };
    let mut small = small_that_learns(&media);
    assert_eq!(small.reason(&Packet { source: v4([192, 0, 2, 2]), ..media }), Reason::PinholeSender);
    assert_eq!(small.reason(&Packet { payload_head: 0x16, ..media }), Reason::NotRtp, "DTLS teaches nothing");
    assert_ne!(small.reason(&back), Reason::PassFlow, "there is no way back yet");
    assert_eq!(small.reason(&media), Reason::PassPinhole);
    assert_eq!(small.reason(&media), Reason::PassFlow);
    assert_eq!(small.reason(&back), Reason::PassFlow);
    assert_eq!(small.reason(&Packet { source_port: 7_001, ..media }), Reason::SecondSource);
    let pinhole = &small.pinholes[&pinhole_key(&media)];
    assert_eq!(pinhole.measures().packets, 2, "each packet is noted once");
}

#[test]
fn what_a_pinhole_has_learnt_outlives_the_flow_of_the_way_back() {
    let media = rtp(MEDIA);
    let mut small = small_that_learns(&media);
    assert_eq!(small.reason(&media), Reason::PassPinhole);
    small.flows.clear();
    assert_eq!(small.reason(&media), Reason::PassPinhole);
    assert_eq!(small.the_flow().flags, flags::BY_PINHOLE);
    assert_eq!(small.reason(&Packet { source_port: 7_001, ..media }), Reason::SecondSource);
}

#[test]
fn a_pinhole_learns_within_its_time_only() {
    let media = rtp(MEDIA);
    let mut small = small_that_learns(&media);
    small.now += 10 * SECOND + 1;
    assert_eq!(small.reason(&media), Reason::PinholeExpired);
}

#[test]
fn a_rule_for_rtp_lets_nothing_else_by() {
    let mut small =
        Small::new(&[((UDP, MEDIA), RuleEntry { flags: rule_flags::RTP, ..rule(1, Action::Track) })]);
    let stray = sent(UDP, MEDIA);
    assert_eq!(small.reason(&stray), Reason::NotRtp);
    assert!(small.flows.is_empty());
    assert_eq!(small.reason(&rtp(MEDIA)), Reason::PassRule);
    assert_eq!(small.reason(&stray), Reason::NotRtp, "nor in a flow that it has begun");
    assert_eq!(small.reason(&rtp(MEDIA)), Reason::PassFlow);
    assert_eq!(small.reason(&reversed(&stray)), Reason::NotRtp, "nor back");
    assert_eq!(small.packets(1), (2, 3));
}

#[test]
fn a_stranger_does_not_keep_a_pinhole_open() {
    let mut small = Small::new(&[]);
    let media = sent(UDP, MEDIA);
    small.open(&media, &[(v4(A), 0)], Inspect::None);
    small.now += 15 * SECOND;
    assert_eq!(small.reason(&Packet { source: v4([192, 0, 2, 2]), ..media }), Reason::PinholeSender);
    small.now += 10 * SECOND;
    assert_eq!(small.reason(&media), Reason::PinholeExpired);
}

#[test]
fn media_nobody_has_announced_never_passes_by_a_default() {
    let mut small = Small::new(&[((UDP, 20_000), rule(1, Action::Track))]);
    for port in [16_384, MEDIA, 32_767] {
        assert_eq!(small.judge_from(TRACKED, &sent(UDP, port)).reason, Reason::NoPinhole, "port {port}");
    }
    for port in [16_383, 32_768] {
        assert_eq!(small.judge_from(TRACKED, &sent(UDP, port)).reason, Reason::PassDefault, "port {port}");
    }
    let over_tcp = segment(MEDIA, tcp_bits::SYN);
    assert_eq!(small.judge_from(TRACKED, &over_tcp).reason, Reason::PassDefault);
    assert_eq!(small.judge_from(TRACKED, &sent(UDP, 20_000)).reason, Reason::PassRule, "a rule may say so");
}

#[test]
fn a_pinhole_whose_stream_is_read_starts_a_flow_at_a_media_port_too() {
    let mut small = Small::new(&[]);
    let data = sent(UDP, MEDIA);
    small.open(&data, &[(v4(A), 0)], Inspect::Tftp);
    let verdict = small.judge_from(CLOSED, &data);
    assert_eq!((verdict.reason, verdict.inspect), (Reason::PassPinhole, Inspect::Tftp as u8));
    small.pinholes.clear();
    let verdict = small.judge_from(CLOSED, &data);
    assert_eq!((verdict.reason, verdict.inspect), (Reason::PassFlow, Inspect::Tftp as u8));
    let other = Packet { source_port: data.source_port + 1, ..data };
    assert_eq!(small.reason(&other), Reason::NoPinhole, "the transfer is locked to its first sender");
}

#[test]
fn a_pinhole_for_a_connection_starts_a_flow_that_is_read() {
    let mut small = Small::new(&[]);
    let syn = segment(30_001, tcp_bits::SYN);
    small.open(&syn, &[(v4(A), 0)], Inspect::H245);
    assert_eq!(small.reason(&Packet { source: v4([192, 0, 2, 2]), ..syn }), Reason::Default);
    for flags in [SYN_ACK, tcp_bits::RST] {
        assert_eq!(
            small.reason(&Packet { tcp_flags: flags, ..syn }),
            Reason::Default,
            "{flags:#x} begins nothing"
        );
    }
    let verdict = small.judge_from(CLOSED, &syn);
    assert_eq!(
        (verdict.reason, verdict.inspect, verdict.slot),
        (Reason::PassPinhole, Inspect::H245 as u8, 9)
    );
    let answer = Packet { tcp_flags: SYN_ACK, ..reversed(&syn) };
    let verdict = small.judge_from(CLOSED, &answer);
    assert_eq!((verdict.reason, verdict.inspect), (Reason::PassFlow, Inspect::H245 as u8));
    small.pinholes.clear();
    small.reload(&[]);
    assert_eq!(small.reason(&segment(30_001, tcp_bits::ACK)), Reason::PassFlow, "no rule has admitted it");
}

// --- Flows ---------------------------------------------------------------------------------------------------

#[test]
fn answers_to_what_a_rule_tracks_come_back() {
    let mut small = Small::new(&[((UDP, SIP), rule(1, Action::Track)), ((UDP, WEB), rule(2, Action::Pass))]);
    let request = sent(UDP, SIP);
    let answer = reversed(&request);
    assert_eq!(small.reason(&answer), Reason::Default, "an answer to nothing");
    assert_eq!(small.reason(&request), Reason::PassRule);
    assert_eq!(small.reason(&answer), Reason::PassFlow);
    assert_eq!(small.reason(&request), Reason::PassFlow);
    assert_eq!(small.reason(&Packet { destination_port: A_PORT + 1, ..answer }), Reason::Default);
    let flow = small.the_flow();
    let packets = [flow.packets[0].load(Relaxed), flow.packets[1].load(Relaxed)];
    let mut ordered = packets;
    ordered.sort_unstable();
    assert_eq!(ordered, [1, 2]);
    assert_eq!(packets[usize::from(flow.originator)], 2);
    assert_eq!(small.packets(1), (3, 0), "all under the rule that admitted them");

    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassRule);
    assert_eq!(small.reason(&reversed(&sent(UDP, WEB))), Reason::Default, "`pass` remembers nothing");
    assert_eq!(small.packets(2), (1, 0));
}

#[test]
fn each_verdict_of_a_rule_is_counted_and_told() {
    let logged = RuleEntry { flags: rule_flags::LOG, ..rule(1, Action::Drop) };
    let spoofed = RuleEntry { flags: rule_flags::SPOOFED, ..rule(2, Action::Drop) };
    let mut small =
        Small::new(&[((UDP, 1), logged), ((UDP, 2), spoofed), ((UDP, SIP), inspect(3, Inspect::Sip))]);
    let dropped = Verdict { log: true, slot: 1, ..Verdict::of(Reason::Rule) };
    assert_eq!(small.judge_from(TRACKED, &sent(UDP, 1)), dropped);
    let spoof = Verdict { slot: 2, ..Verdict::of(Reason::Spoofed) };
    assert_eq!(small.judge_from(TRACKED, &sent(UDP, 2)), spoof);
    let read = Verdict { inspect: Inspect::Sip as u8, slot: 3, ..Verdict::of(Reason::PassRule) };
    assert_eq!(small.judge_from(TRACKED, &sent(UDP, SIP)), read);
    assert_eq!([1, 2, 3].map(|slot| small.packets(slot)), [(0, 1), (0, 1), (1, 0)]);
    assert_eq!(small.counted[&1][1].1, 100, "bytes too");
}

#[test]
fn a_flow_is_forgotten_after_the_silence_of_its_state() {
    let seconds = Timeouts {
        tcp_opening: 10,
        tcp_established: 100,
        tcp_closing: 5,
        udp_opening: 20,
        udp: 50,
        signalling: 200,
        icmp: 3,
        other: 30,
    };
    let rules = [
        ((TCP, WEB), rule(1, Action::Track)),
        ((TCP, SIP), inspect(2, Inspect::Sip)),
        ((UDP, SSH), rule(3, Action::Track)),
        ((UDP, SIP), inspect(4, Inspect::Sip)),
        ((ICMP, 8), rule(5, Action::Track)),
        ((47, 0), rule(6, Action::Track)),
    ];
    let handshake = |port| {
        let syn = segment(port, tcp_bits::SYN);
        vec![syn, Packet { tcp_flags: SYN_ACK, ..reversed(&syn) }, segment(port, tcp_bits::ACK)]
    };
    let closed = |port| {
        let back = reversed(&segment(port, FIN_ACK));
        [handshake(port), vec![segment(port, FIN_ACK), back]].concat()
    };
    let exchange = |packet: Packet| vec![packet, reversed(&packet)];
    let cases: Vec<(Vec<Packet>, u64)> = vec![
        (vec![segment(WEB, tcp_bits::SYN)], 10),
        (handshake(WEB)[..2].to_vec(), 10),
        (handshake(WEB), 100),
        (vec![segment(WEB, tcp_bits::ACK)], 100),
        ([handshake(WEB), vec![segment(WEB, FIN_ACK)]].concat(), 100),
        (closed(WEB), 5),
        ([handshake(WEB), vec![segment(WEB, tcp_bits::RST)]].concat(), 5),
        (handshake(SIP), 200),
        (closed(SIP), 5),
        (vec![sent(UDP, SSH)], 20),
        (exchange(sent(UDP, SSH)), 50),
        (vec![sent(UDP, SIP)], 20),
        (exchange(sent(UDP, SIP)), 200),
        (vec![icmp(8, 7)], 3),
        (vec![Packet { source_port: 0, ..sent(47, 0) }], 30),
    ];
    for (packets, silence) in cases {
        let last = *packets.last().expect("packets");
        // Whoever speaks next: a reply finds the flow or falls to the zone's default.
        let answer = match last.protocol {
            ICMP => Packet { icmp_type: 0, ..reversed(&last) },
            TCP => Packet { tcp_flags: tcp_bits::ACK, ..last },
            _ => reversed(&last),
        };
        let after = |wait: u64| {
            let mut small = Small::new(&rules);
            small.policy.timeouts = seconds;
            for packet in &packets {
                assert!(!small.reason(packet).is_drop(), "{packet:?}");
            }
            small.now += wait;
            small.reason(&answer)
        };
        assert_eq!(after(silence * SECOND), Reason::PassFlow, "{silence} s after {last:?}");
        assert_ne!(after(silence * SECOND + 1), Reason::PassFlow, "beyond {silence} s after {last:?}");
    }
}

#[test]
fn packets_of_either_side_keep_a_flow_alive() {
    let mut small = Small::new(&[((UDP, WEB), rule(1, Action::Track))]);
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassRule);
    for _ in 0..5 {
        for packet in [reversed(&sent(UDP, WEB)), sent(UDP, WEB)] {
            small.now += 25 * SECOND;
            assert_eq!(small.reason(&packet), Reason::PassFlow);
        }
    }
}

#[test]
fn a_connection_goes_through_its_states() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    let back = |flags| Packet { tcp_flags: flags, ..reversed(&segment(WEB, 0)) };
    let steps = [
        (segment(WEB, tcp_bits::SYN), state::SYN),
        (back(SYN_ACK), state::SYN | state::REPLIED),
        (back(SYN_ACK), state::SYN | state::REPLIED),
        (segment(WEB, tcp_bits::ACK), state::SYN | state::REPLIED | state::ESTABLISHED),
        (segment(WEB, FIN_ACK), state::SYN | state::REPLIED | state::ESTABLISHED | state::FIN_ORIGINATOR),
        (
            back(FIN_ACK),
            state::SYN | state::REPLIED | state::ESTABLISHED | state::FIN_ORIGINATOR | state::FIN_RESPONDER,
        ),
    ];
    for (packet, expected) in steps {
        assert!(!small.reason(&packet).is_drop());
        assert_eq!(small.state(), expected, "{packet:?}");
    }
    assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::PassFlow, "the last acknowledgement");
    // The same ports again: another connection, asked of the rules again.
    assert_eq!(small.reason(&segment(WEB, tcp_bits::SYN)), Reason::PassRule);
    assert_eq!(small.state(), state::SYN);
    assert_eq!(small.reason(&segment(WEB, tcp_bits::RST | tcp_bits::ACK)), Reason::PassFlow);
    assert_eq!(small.state(), state::SYN | state::RESET);
    assert_eq!(small.reason(&segment(WEB, tcp_bits::SYN)), Reason::PassRule, "and after a reset");
}

#[test]
fn what_cannot_begin_a_connection_is_dropped_even_where_a_rule_permits() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    for flags in [SYN_ACK, tcp_bits::RST, tcp_bits::RST | tcp_bits::ACK] {
        assert_eq!(small.reason(&segment(WEB, flags)), Reason::NoConnection, "{flags:#x}");
        assert_eq!(
            small.judge_from(TRACKED, &segment(SSH, flags)).reason,
            Reason::NoConnection,
            "by default"
        );
    }
    assert!(small.flows.is_empty());
    assert_eq!(small.packets(1), (0, 3));
}

#[test]
fn a_connection_is_picked_up_in_mid_stream() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::PassRule);
    assert_eq!(small.state(), state::ESTABLISHED | state::REPLIED);
    let back = Packet { tcp_flags: tcp_bits::ACK, ..reversed(&segment(WEB, 0)) };
    assert_eq!(small.reason(&back), Reason::PassFlow);
    assert_eq!(small.reason(&Packet { source_port: SSH, ..back }), Reason::Default);
}

#[test]
fn the_end_of_an_unknown_connection_is_not_kept_like_one_that_lives() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    assert_eq!(small.reason(&segment(WEB, tcp_bits::FIN | tcp_bits::ACK)), Reason::PassRule);
    assert_eq!(small.state() & state::ESTABLISHED, 0);
}

#[test]
fn an_echo_brings_back_its_reply() {
    let mut small = Small::new(&[((ICMP, 8), rule(1, Action::Track))]);
    let reply = |identifier| Packet { icmp_type: 0, ..reversed(&icmp(8, identifier)) };
    assert_eq!(small.reason(&icmp(8, 7)), Reason::PassRule);
    assert_eq!(small.reason(&reply(7)), Reason::PassFlow);
    assert_eq!(small.reason(&reply(8)), Reason::Default, "another identifier");
}

/// An echo with identifier 0 has the same key as messages that have no identifier at all.
#[test]
fn an_echo_lets_no_other_icmp_by() {
    let mut small = Small::new(&[((ICMP, 8), rule(1, Action::Track))]);
    assert_eq!(small.reason(&icmp(8, 0)), Reason::PassRule);
    let redirect = icmp(5, 0);
    assert_eq!(small.reason(&redirect), Reason::Default);
    assert_eq!(small.reason(&reversed(&redirect)), Reason::Default);
    assert_eq!(small.reason(&Packet { icmp_type: 0, ..reversed(&redirect) }), Reason::PassFlow, "the reply");
}

// --- Reloads -------------------------------------------------------------------------------------------------

#[test]
fn a_flow_the_new_rules_refuse_is_over() {
    let web = [((TCP, WEB), rule(1, Action::Track))];
    let mut small = Small::new(&web);
    let back = Packet { tcp_flags: tcp_bits::ACK, ..reversed(&segment(WEB, 0)) };
    assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::PassRule);
    assert_eq!(small.reason(&back), Reason::PassFlow);
    small.reload(&[((TCP, WEB), rule(1, Action::Drop))]);
    assert_eq!(small.reason(&back), Reason::Default, "its answers too");
    assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::Rule);
    small.reload(&[]);
    assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::Default, "nor does the default permit it");
    small.policy.zones[usize::from(CLOSED)].default = Action::Track as u8;
    assert_eq!(small.reason(&back), Reason::PassFlow, "now it does, from where the flow came");
}

#[test]
fn a_flow_the_new_rules_permit_lives_on_without_charge() {
    let web = [((TCP, WEB), limited(rule(1, Action::Track), Unit::New, Scope::Rule, 1))];
    let mut small = Small::new(&web);
    let back = Packet { tcp_flags: tcp_bits::ACK, ..reversed(&segment(WEB, 0)) };
    assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::PassRule);
    for _ in 0..3 {
        small.reload(&web);
        assert_eq!(small.reason(&back), Reason::PassFlow);
        assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::PassFlow);
    }
    assert_eq!(Standing::unpack(small.the_flow().standing.load(Relaxed)).generation, 4);
    let another = Packet { source_port: 1, ..segment(WEB, tcp_bits::SYN) };
    assert_eq!(small.reason(&another), Reason::Limit, "the burst of one is used up, by the first of all");
}

#[test]
fn a_flow_that_is_to_be_read_from_now_on_is_judged_anew() {
    let mut small = Small::new(&[((UDP, SIP), rule(1, Action::Track))]);
    assert_eq!(small.judge_from(CLOSED, &sent(UDP, SIP)).inspect, 0);
    small.reload(&[((UDP, SIP), inspect(1, Inspect::Sip))]);
    let early = small.judge_from(CLOSED, &reversed(&sent(UDP, SIP)));
    assert_eq!((early.reason, early.inspect), (Reason::PassFlow, 0), "the responder waits for nobody");
    let verdict = small.judge_from(CLOSED, &sent(UDP, SIP));
    assert_eq!((verdict.reason, verdict.inspect), (Reason::PassRule, Inspect::Sip as u8));
    assert_eq!(small.judge_from(CLOSED, &reversed(&sent(UDP, SIP))).inspect, Inspect::Sip as u8);
}

// --- Inspection in reverse -----------------------------------------------------------------------------------

#[test]
fn signalling_is_read_whoever_speaks_first() {
    // To phones anything may go; from phones SIP is read.
    let mut small =
        Small::new(&[((UDP, A_PORT), rule(1, Action::Track)), ((UDP, SIP), inspect(2, Inspect::Sip))]);
    let invite = reversed(&sent(UDP, SIP));
    let verdict = small.judge_from(CLOSED, &invite);
    assert_eq!((verdict.reason, verdict.inspect, verdict.slot), (Reason::PassRule, Inspect::Sip as u8, 2));
    let answer = small.judge_from(CLOSED, &sent(UDP, SIP));
    assert_eq!((answer.reason, answer.inspect), (Reason::PassFlow, Inspect::Sip as u8));
    small.reload(&[((UDP, A_PORT), rule(1, Action::Track)), ((UDP, SIP), inspect(2, Inspect::Sip))]);
    assert_eq!(small.reason(&invite), Reason::PassFlow);
    let web = reversed(&sent(UDP, WEB));
    small.reload(&[((UDP, A_PORT), rule(1, Action::Track)), ((UDP, WEB), rule(3, Action::Track))]);
    assert_eq!(small.judge_from(CLOSED, &web).slot, 1, "a rule that reads nothing takes nothing over");
    small.reload(&[((UDP, SIP), inspect(2, Inspect::Sip))]);
    let by_default = small.judge_from(TRACKED, &Packet { destination_port: A_PORT + 1, ..invite });
    assert_eq!((by_default.reason, by_default.inspect), (Reason::PassDefault, Inspect::Sip as u8));
}

// --- Limits --------------------------------------------------------------------------------------------------

#[test]
fn new_flows_are_limited_and_known_ones_are_not() {
    let mut small = Small::new(&[((UDP, SIP), limited(rule(1, Action::Track), Unit::New, Scope::Source, 2))]);
    let from = |port| Packet { source_port: port, ..sent(UDP, SIP) };
    assert_eq!(
        [1, 2, 3].map(|port| small.reason(&from(port))),
        [Reason::PassRule, Reason::PassRule, Reason::Limit]
    );
    assert_eq!(small.reason(&from(1)), Reason::PassFlow);
    assert_eq!(small.flows.len(), 2);
    let other = Packet { source: v4([192, 0, 2, 2]), ..from(3) };
    assert_eq!(small.reason(&other), Reason::PassRule, "a bucket of its own");
    assert_eq!(small.packets(1), (4, 1));
    small.now += 3_600 * SECOND;
    assert_eq!(
        [3, 4].map(|port| small.reason(&from(port))),
        [Reason::PassRule, Reason::Limit],
        "one an hour"
    );
}

#[test]
fn one_bucket_serves_all_sources_where_the_rule_says_so() {
    let mut small = Small::new(&[((UDP, SIP), limited(rule(1, Action::Track), Unit::New, Scope::Rule, 1))]);
    assert_eq!(small.reason(&sent(UDP, SIP)), Reason::PassRule);
    assert_eq!(small.reason(&Packet { source: v4([192, 0, 2, 2]), ..sent(UDP, SIP) }), Reason::Limit);
}

#[test]
fn packets_of_a_flow_are_limited_but_not_its_answers() {
    let mut small =
        Small::new(&[((UDP, SIP), limited(rule(1, Action::Track), Unit::Packets, Scope::Source, 3))]);
    let request = sent(UDP, SIP);
    let expected = [Reason::PassRule, Reason::PassFlow, Reason::PassFlow, Reason::Limit, Reason::Limit];
    assert_eq!([(); 5].map(|()| small.reason(&request)), expected);
    for _ in 0..5 {
        assert_eq!(small.reason(&reversed(&request)), Reason::PassFlow);
    }
    assert_eq!(small.packets(1), (8, 2));
}

/// Between equal ports the answer matches the rule as the question does.
#[test]
fn answers_between_equal_ports_are_not_charged() {
    let mut small =
        Small::new(&[((UDP, SIP), limited(rule(1, Action::Track), Unit::Packets, Scope::Rule, 2))]);
    let request = Packet { source_port: SIP, ..sent(UDP, SIP) };
    assert_eq!(small.reason(&request), Reason::PassRule);
    for _ in 0..5 {
        assert_eq!(small.reason(&reversed(&request)), Reason::PassFlow);
    }
    assert_eq!([(); 2].map(|()| small.reason(&request)), [Reason::PassFlow, Reason::Limit]);
}

#[test]
fn a_packet_limit_lifted_by_a_reload_no_longer_holds() {
    let packets = limited(rule(1, Action::Track), Unit::Packets, Scope::Rule, 2);
    for after in [rule(1, Action::Track), limited(rule(1, Action::Track), Unit::New, Scope::Rule, 1)] {
        let mut small = Small::new(&[((UDP, SIP), packets)]);
        for _ in 0..5 {
            small.reason(&sent(UDP, SIP));
        }
        assert_eq!(small.reason(&sent(UDP, SIP)), Reason::Limit);
        small.reload(&[((UDP, SIP), after)]);
        for _ in 0..5 {
            assert_eq!(small.reason(&sent(UDP, SIP)), Reason::PassFlow);
        }
    }
}

/// The flow is counted under the rule that reads it; its packets are those of the rule that limits them.
#[test]
fn a_packet_limit_holds_where_the_answers_are_read_under_another_rule() {
    let mut small = Small::new(&[
        ((UDP, A_PORT), limited(rule(1, Action::Track), Unit::Packets, Scope::Rule, 2)),
        ((UDP, SIP), inspect(2, Inspect::Sip)),
    ]);
    let invite = reversed(&sent(UDP, SIP));
    assert_eq!([(); 3].map(|()| small.reason(&invite)), [Reason::PassRule, Reason::PassFlow, Reason::Limit]);
}

// --- Fragments -----------------------------------------------------------------------------------------------

fn fragments(whole: Packet, identification: u32) -> (Packet, Packet) {
    let first = Packet { fragment: Fragment::First, fragment_length: 80, identification, ..whole };
    let later = Packet {
        fragment: Fragment::Later,
        fragment_offset: 80,
        source_port: 0,
        destination_port: 0,
        tcp_flags: 0,
        ..first
    };
    (first, later)
}

#[test]
fn later_fragments_follow_the_first() {
    let mut small = Small::new(&[((UDP, SIP), inspect(1, Inspect::Sip))]);
    let (first, later) = fragments(sent(UDP, SIP), 7);
    assert_eq!(small.reason(&later), Reason::Fragment, "before its first");
    assert_eq!(small.reason(&first), Reason::PassRule);
    let verdict = small.judge_from(CLOSED, &later);
    assert_eq!((verdict.reason, verdict.inspect), (Reason::PassFragment, Inspect::Sip as u8));
    assert_eq!(small.reason(&Packet { identification: 8, ..later }), Reason::Fragment);
    assert_eq!(small.reason(&Packet { protocol: TCP, ..later }), Reason::Fragment);
    assert_eq!(small.reason(&reversed(&later)), Reason::Fragment);

    let (refused, its_later) = fragments(sent(UDP, SSH), 9);
    assert_eq!(small.reason(&refused), Reason::Default);
    assert_eq!(small.reason(&its_later), Reason::Fragment);
}

/// The Fragment header of a later IPv6 fragment names the next header of its own part: it may differ.
#[test]
fn later_ipv6_fragments_follow_the_first_whatever_protocol_they_name() {
    let mut small = Small::new(&[((UDP, SIP), rule(1, Action::Track))]);
    let whole = Packet { source: v6(0x2001_0db8, 1), destination: v6(0x2001_0db8, 2), ..sent(UDP, SIP) };
    let (first, later) = fragments(whole, 7);
    assert_eq!(small.reason(&first), Reason::PassRule);
    assert_eq!(small.reason(&Packet { protocol: 60, ..later }), Reason::PassFragment);
}

#[test]
fn fragments_of_announced_media_pass_by_their_pinhole() {
    let mut small = Small::new(&[]);
    let (first, later) = fragments(sent(UDP, MEDIA), 7);
    assert_eq!(small.reason(&first), Reason::NoPinhole);
    assert_eq!(small.reason(&later), Reason::Fragment);
    small.open(&first, &[(v4(A), 0)], Inspect::None);
    assert_eq!(small.reason(&first), Reason::PassPinhole);
    assert_eq!(small.reason(&later), Reason::PassFragment);
}

#[test]
fn fragments_that_overlap_the_first_are_refused() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    let (first, later) = fragments(segment(WEB, tcp_bits::SYN), 7);
    let at = |fragment_offset| Packet { fragment_offset, ..later };
    assert_eq!(small.reason(&at(8)), Reason::TinyFragment, "over the flags, before its first");
    assert_eq!(small.reason(&first), Reason::PassRule);
    assert_eq!(small.reason(&at(16)), Reason::TinyFragment);
    assert_eq!(small.reason(&at(72)), Reason::FragmentOverlap);
    assert_eq!(small.reason(&at(80)), Reason::PassFragment);

    assert_eq!(small.reason(&first), Reason::PassFlow, "the same once more");
    let other = Packet { destination_port: SSH, ..first };
    assert_eq!(small.reason(&other), Reason::FragmentOverlap, "other ports over the same datagram");
    assert_eq!(small.reason(&Packet { fragment_length: 40, ..first }), Reason::FragmentOverlap);
}

#[test]
fn a_zone_says_what_becomes_of_fragments() {
    let mut small = Small::new(&[((UDP, SIP), rule(1, Action::Track))]);
    let (first, later) = fragments(sent(UDP, SIP), 7);
    small.policy.zones[usize::from(CLOSED)].fragments = Fragments::Drop as u8;
    assert_eq!([first, later].map(|packet| small.reason(&packet)), [Reason::FragmentRefused; 2]);
    small.policy.zones[usize::from(CLOSED)].fragments = Fragments::Pass as u8;
    assert_eq!(small.reason(&later), Reason::PassFragment, "without its first");
    assert_eq!(small.reason(&Packet { fragment_offset: 8, protocol: TCP, ..later }), Reason::TinyFragment);
}

// --- Windows -------------------------------------------------------------------------------------------------

/// A connection to the web, its handshake complete; both ends have a window of 1,000.
fn connected() -> Small {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    for packet in [
        segment(WEB, tcp_bits::SYN),
        Packet { sequence: 0, ..reversed(&segment(WEB, SYN_ACK)) },
        segment(WEB, tcp_bits::ACK),
    ] {
        assert!(!small.reason(&packet).is_drop());
    }
    small
}

#[test]
fn a_reset_is_believed_in_the_window_only() {
    for (sequence, believed) in [(0, false), (1, true), (1_001, true), (1_002, false), (0x8000_0000, false)] {
        let mut small = connected();
        let reset = Packet { sequence, ..segment(WEB, tcp_bits::RST) };
        for packet in [reset, Packet { sequence, ..reversed(&reset) }] {
            let mut small = connected();
            let reason = small.reason(&packet);
            assert_eq!(reason, if believed { Reason::PassFlow } else { Reason::TcpWindow }, "{sequence}");
            assert_eq!(small.state() & state::RESET != 0, believed);
        }
        assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::PassFlow);
    }
}

#[test]
fn a_fin_outside_the_window_passes_and_ends_nothing() {
    let mut small = connected();
    let fin = Packet { sequence: 0x4000_0000, ..segment(WEB, FIN_ACK) };
    assert_eq!(small.reason(&fin), Reason::PassFlow);
    assert_eq!(small.state() & state::FIN_ORIGINATOR, 0);
    assert_eq!(small.reason(&Packet { sequence: 500, ..fin }), Reason::PassFlow);
    assert_eq!(small.state() & state::FIN_ORIGINATOR, state::FIN_ORIGINATOR);
}

/// The window moves with what is acknowledged, and nobody can push it further than it reaches.
#[test]
fn the_window_follows_acknowledgments() {
    let mut small = connected();
    let ack = |acknowledgment| Packet { acknowledgment, ..reversed(&segment(WEB, tcp_bits::ACK)) };
    assert_eq!(small.reason(&ack(900)), Reason::PassFlow);
    let reset = |sequence| Packet { sequence, ..segment(WEB, tcp_bits::RST) };
    assert_eq!(small.reason(&reset(899)), Reason::TcpWindow, "acknowledged already");
    assert_eq!(small.reason(&ack(0x7000_0000)), Reason::PassFlow, "nobody has sent so much");
    assert_eq!(small.reason(&reset(0x7000_0000)), Reason::TcpWindow);
    let stray = Packet { sequence: 0x7000_0000, ..ack(1_500) };
    assert_eq!(small.reason(&stray), Reason::PassFlow, "out of the window itself: not believed");
    assert_eq!(small.reason(&reset(1_901)), Reason::TcpWindow);
    assert_eq!(small.reason(&reset(1_900)), Reason::PassFlow);
}

#[test]
fn windows_are_scaled_where_both_ends_offer_it() {
    let scaled = |offers: [u8; 2]| {
        let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
        let syn = Packet { window_scale: offers[0], ..segment(WEB, tcp_bits::SYN) };
        let answer =
            Packet { window_scale: offers[1], acknowledgment: 1, ..reversed(&segment(WEB, SYN_ACK)) };
        let ack = segment(WEB, tcp_bits::ACK);
        for packet in [syn, answer, ack, reversed(&ack)] {
            assert!(!small.reason(&packet).is_drop());
        }
        small.reason(&Packet { sequence: 100_000, ..segment(WEB, tcp_bits::RST) })
    };
    assert_eq!(scaled([2, 7]), Reason::PassFlow);
    assert_eq!(scaled([NO_SCALE, 7]), Reason::TcpWindow);
    assert_eq!(scaled([2, NO_SCALE]), Reason::TcpWindow);
    assert_eq!(scaled([7, 2]), Reason::TcpWindow, "4,000 bytes are the responder's window");
}

#[test]
fn only_the_acknowledged_opening_is_answered() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    let syn = Packet { sequence: 5_000, ..segment(WEB, tcp_bits::SYN) };
    assert_eq!(small.reason(&syn), Reason::PassRule);
    let answer = |tcp_flags, acknowledgment| Packet { acknowledgment, ..reversed(&segment(WEB, tcp_flags)) };
    assert_eq!(small.reason(&answer(SYN_ACK, 5_000)), Reason::TcpWindow);
    assert_eq!(small.reason(&answer(tcp_bits::RST, 5_001)), Reason::TcpWindow, "a refusal acknowledges");
    assert_eq!(small.reason(&answer(tcp_bits::RST | tcp_bits::ACK, 4_999)), Reason::TcpWindow);
    assert_eq!(small.reason(&answer(SYN_ACK, 5_001)), Reason::PassFlow);
}

// --- Errors --------------------------------------------------------------------------------------------------

#[test]
fn an_icmp_error_passes_only_about_what_is_known() {
    let mut small = Small::new(&[((UDP, WEB), rule(1, Action::Track)), ((ICMP, 3), rule(2, Action::Track))]);
    let quoting = |packet: &Packet| Packet {
        quoted: crate::packet::Quoted {
            source: packet.source,
            destination: packet.destination,
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            protocol: packet.protocol,
        },
        icmp_code: 3,
        ..reversed(&icmp(3, 0))
    };
    let error = quoting(&sent(UDP, WEB));
    assert_eq!(small.reason(&error), Reason::IcmpUnrelated);
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassRule);
    assert_eq!(small.reason(&error), Reason::PassRelated);
    assert_eq!(small.reason(&reversed(&error)), Reason::IcmpUnrelated, "not to whom it concerns");
    assert_eq!(small.reason(&quoting(&sent(UDP, SIP))), Reason::IcmpUnrelated);
    small.now += 31 * SECOND;
    assert_eq!(small.reason(&error), Reason::IcmpUnrelated, "the conversation is over");

    let media = sent(UDP, MEDIA);
    assert_eq!(small.reason(&quoting(&media)), Reason::IcmpUnrelated);
    small.open(&media, &[(v4(A), A_PORT)], Inspect::None);
    assert_eq!(small.reason(&quoting(&media)), Reason::PassRelated);

    small.reload(&[((ICMP, 3), rule(2, Action::Pass))]);
    assert_eq!(small.reason(&quoting(&sent(UDP, SIP))), Reason::PassRule, "a rule says so in as many words");
}

// --- Who may begin -------------------------------------------------------------------------------------------

fn rate(interval: u64, burst: u64) -> Rate {
    Rate { interval, tolerance: interval * (burst - 1) }
}

#[test]
fn strangers_share_a_budget_and_known_peers_have_their_own() {
    let mut small = Small::new(&[((UDP, WEB), rule(1, Action::Track))]);
    small.policy.new_flows = rate(SECOND, 2);
    small.policy.peer_flows = rate(SECOND, 1);
    let from = |last: u8| Packet { source: v4([192, 0, 2, last]), ..sent(UDP, WEB) };
    assert_eq!(small.reason(&from(1)), Reason::PassRule);
    assert_eq!(small.reason(&from(2)), Reason::PassRule);
    assert_eq!(small.reason(&from(3)), Reason::NewFlowBudget);
    assert_eq!(small.packets(1), (2, 1));
    small.peers.insert(v4([192, 0, 2, 3]), NOW + SECOND);
    assert_eq!(small.reason(&from(3)), Reason::PassRule);
    assert_eq!(small.reason(&from(1)), Reason::PassFlow, "a known flow costs nothing");
    let (key, _) = FlowKey::of((from(3).source, A_PORT), (v4(B), WEB), UDP);
    assert_ne!(small.flows[&key].flags & flags::PEER, 0);
}

/// A stranger that answers a challenge is known; a forger, who never sees it, is not.
#[test]
fn a_challenge_is_answered_by_who_receives_it() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    small.policy.new_flows = rate(1_000 * SECOND, 1);
    small.policy.flags |= policy_flags::CHALLENGE;
    let syn = segment(WEB, tcp_bits::SYN);
    let other = Packet { source: v4([192, 0, 2, 9]), ..syn };
    assert_eq!(small.reason(&other), Reason::PassRule);
    assert_eq!(small.reason(&syn), Reason::Challenge);
    assert_eq!(small.reason(&segment(WEB, tcp_bits::ACK)), Reason::NewFlowBudget, "nothing is opened by it");

    let answer = |sequence| Packet { sequence, ..segment(WEB, tcp_bits::RST) };
    let cookie = cookie(&syn, small.secret(), NOW);
    assert_eq!(small.reason(&answer(cookie ^ 1)), Reason::NoConnection);
    assert_eq!(small.reason(&Packet { source_port: 1, ..answer(cookie) }), Reason::NoConnection);
    assert_eq!(small.reason(&syn), Reason::Challenge, "still a stranger");
    small.now += 60 * SECOND;
    assert_eq!(small.reason(&answer(cookie)), Reason::ChallengeAnswer);
    assert_eq!(small.reason(&syn), Reason::PassRule);

    small.peers.clear();
    small.now += 200 * SECOND;
    assert_eq!(small.reason(&answer(cookie)), Reason::NoConnection, "too late");
}

#[test]
fn half_open_connections_are_limited_and_given_back() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    small.policy.half_open_source = rate(30 * SECOND, 2);
    let syn = |port: u16| Packet { source_port: port, ..segment(WEB, tcp_bits::SYN) };
    let rest = |port: u16| {
        let ack = Packet { tcp_flags: tcp_bits::ACK, sequence: 1, ..syn(port) };
        [Packet { tcp_flags: SYN_ACK, ..reversed(&ack) }, ack]
    };
    assert_eq!(small.reason(&syn(1_001)), Reason::PassRule);
    assert_eq!(small.reason(&syn(1_002)), Reason::PassRule);
    assert_eq!(small.reason(&syn(1_003)), Reason::HalfOpen);
    for packet in rest(1_001) {
        assert_eq!(small.reason(&packet), Reason::PassFlow);
    }
    assert_eq!(small.reason(&syn(1_003)), Reason::PassRule, "one has completed its handshake");
    assert_eq!(small.reason(&syn(1_004)), Reason::HalfOpen);
    let refused = Packet { tcp_flags: tcp_bits::RST | tcp_bits::ACK, ..reversed(&syn(1_002)) };
    assert_eq!(small.reason(&refused), Reason::PassFlow);
    assert_eq!(small.reason(&syn(1_004)), Reason::PassRule, "one was refused");
    assert!(small.is_peer(&v4(A), small.now), "who completes a handshake is known");
}

#[test]
fn the_half_open_limit_of_a_destination_does_not_count_known_peers() {
    let mut small = Small::new(&[((TCP, WEB), rule(1, Action::Track))]);
    small.policy.half_open_destination = rate(30 * SECOND, 1);
    let from = |last: u8| Packet { source: v4([192, 0, 2, last]), ..segment(WEB, tcp_bits::SYN) };
    assert_eq!(small.reason(&from(1)), Reason::PassRule);
    assert_eq!(small.reason(&from(2)), Reason::HalfOpen);
    small.peers.insert(v4([192, 0, 2, 3]), NOW + SECOND);
    assert_eq!(small.reason(&from(3)), Reason::PassRule);
}

#[test]
fn a_blocked_source_is_dropped_whatever_it_belongs_to() {
    let mut small = Small::new(&[((UDP, WEB), rule(1, Action::Track))]);
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassRule);
    small.blocks.insert(v4(A), NOW + SECOND);
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassFlow, "the policy does not ask");
    small.policy.flags |= policy_flags::BLOCKS;
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::Blocked);
    assert_eq!(small.judge_from(ZONE_SELF, &reversed(&sent(UDP, WEB))).reason, Reason::PassFlow);
    small.now += SECOND;
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassFlow, "its time is over");
}

#[test]
fn sources_a_zone_does_not_have_are_refused() {
    let mut small = Small::new(&[((UDP, WEB), rule(1, Action::Track))]);
    small.zones = 1 << TRACKED;
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassRule, "nothing is checked");
    small.policy.zones[usize::from(CLOSED)].sources = source_checks::LISTED;
    small.policy.zones[usize::from(TRACKED)].sources = source_checks::LISTED;
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::Spoofed);
    assert_eq!(small.judge_from(TRACKED, &sent(UDP, WEB)).reason, Reason::PassFlow);
    let asks = Packet { source: v4([0; 4]), source_port: 68, ..sent(UDP, 67) };
    assert_eq!(small.reason(&asks), Reason::Default, "has no address yet: left to the rules");

    small.policy.zones[usize::from(TRACKED)].sources = source_checks::ROUTE_BACK;
    small.routed = false;
    let other = Packet { source_port: 1, ..sent(UDP, WEB) };
    assert_eq!(small.judge_from(TRACKED, &other).reason, Reason::NoRouteBack);
    small.routed = true;
    assert_eq!(small.judge_from(TRACKED, &other).reason, Reason::PassRule);
}

#[test]
fn link_protocols_are_dropped_where_the_zone_says_so() {
    use crate::packet::LinkProtocol;
    let mut small = Small::new(&[]);
    small.policy.zones[usize::from(CLOSED)].link = crate::policy::link_drops::CDP;
    let frame = |link| Packet { link, ..Packet::default() };
    assert_eq!(small.reason(&frame(LinkProtocol::Cdp)), Reason::LinkProtocol);
    for other in [LinkProtocol::Arp, LinkProtocol::Lldp, LinkProtocol::Other] {
        assert_eq!(small.reason(&frame(other)), Reason::PassBuiltin, "{other:?}");
    }
    assert_eq!(small.judge_from(TRACKED, &frame(LinkProtocol::Cdp)).reason, Reason::PassBuiltin);
}

#[test]
fn a_rejected_packet_is_dropped_under_its_own_reason_and_ends_a_known_flow() {
    let mut small = Small::new(&[((UDP, WEB), rule(1, Action::Track))]);
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::PassRule);
    small.reload(&[((UDP, WEB), rule(1, Action::Reject))]);
    assert_eq!(small.reason(&sent(UDP, WEB)), Reason::Reject);
    assert_eq!(small.packets(1), (1, 1));
}

#[test]
fn bytes_are_limited_by_their_number() {
    let burst = 3 * limit::BYTES;
    let rate = Rate { interval: SECOND, tolerance: SECOND * 3 - 1 };
    let limit = Limit { rate, unit: Unit::Bytes as u8, scope: Scope::Destination as u8, ..Limit::default() };
    let mut small = Small::new(&[((UDP, WEB), RuleEntry { limit, ..rule(1, Action::Track) })]);
    let packet = Packet { length: 512, ..sent(UDP, WEB) };
    let passed = (0..20).filter(|_| !small.reason(&packet).is_drop()).count() as u64;
    assert_eq!(passed, burst / 512, "what fits the burst, by its length");
    let elsewhere = Packet { destination: v4([198, 51, 100, 8]), ..packet };
    assert_eq!(small.reason(&elsewhere), Reason::PassRule, "each destination has its own");
}

#[test]
fn sources_of_one_prefix_share_a_limit() {
    let mut entry = limited(rule(1, Action::Track), Unit::New, Scope::SourcePrefix, 1);
    (entry.limit.prefix4, entry.flags) = (24, rule_flags::BLOCK);
    let mut small = Small::new(&[((UDP, WEB), entry)]);
    let from = |source| Packet { source: v4(source), ..sent(UDP, WEB) };
    assert_eq!(small.reason(&from([10, 0, 0, 1])), Reason::PassRule);
    let above = small.judge_from(CLOSED, &from([10, 0, 0, 2]));
    assert_eq!((above.reason, above.block), (Reason::Limit, true));
    assert_eq!(small.reason(&from([10, 0, 1, 2])), Reason::PassRule);
}
