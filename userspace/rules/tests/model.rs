//! The model over reloads: what is swapped, and what stays.

use std::net::IpAddr;

use callgate_rules::{Machine, MemorySlots, Model, RuleSet, compile, model};
use callgate_shared::flow::{TCP, UDP};
use callgate_shared::packet::{Kind, Packet, tcp};
use callgate_shared::pinhole::{FurtherSenders, Pinhole, PinholeKey};
use callgate_shared::{Addr, Reason};

const ZONE: u8 = 2;
const SECOND: u64 = 1_000_000_000;
const ZONES: &str = "version = 1\n[zones]\noutside = \"eth0\"\n";
const WEB: &str = r#"
[[rule]]
name    = "web"
to      = "192.0.2.1"
service = "http"
action  = "track"
limit   = { new = "1/h", burst = 2 }
"#;
const SSH: &str = "[[rule]]\nname = \"ssh\"\nservice = \"ssh\"\naction = \"track\"\n";

fn address(text: &str) -> Addr {
    text.parse::<IpAddr>().expect("an address").into()
}

fn packet(protocol: u8, source_port: u16, destination_port: u16, tcp_flags: u8) -> Packet {
    Packet {
        kind: Kind::Ip,
        protocol,
        source: address("198.51.100.7"),
        destination: address("192.0.2.1"),
        source_port,
        destination_port,
        tcp_flags,
        length: 100,
        ..Packet::default()
    }
}

fn syn(source_port: u16) -> Packet {
    packet(TCP, source_port, 80, tcp::SYN)
}

struct Bench {
    slots: MemorySlots,
    generation: u32,
}

impl Bench {
    fn compile(&mut self, rules: &str) -> callgate_rules::Compiled {
        let set = RuleSet::parse("f.toml", &format!("{ZONES}{rules}")).expect("it is right");
        self.generation += 1;
        let machine = Machine { interfaces: &[(0, "eth0")], ..Machine::default() };
        compile(&set, &machine, self.generation, &mut self.slots).expect("it fits")
    }
}

#[test]
fn counters_and_limits_follow_the_name_over_a_reload() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let before = bench.compile(WEB);
    let slot = before.slots[0];
    let mut model = Model::new(before, model::Bounds::default());
    assert_eq!(model.judge(&syn(1), ZONE, SECOND).reason, Reason::PassRule);
    assert_eq!(model.judge(&syn(2), ZONE, SECOND).reason, Reason::PassRule);

    let after = bench.compile(&format!("{SSH}{WEB}"));
    assert_eq!(after.slots[1], slot, "another place, the same counter");
    model.reload(after);
    assert_eq!(model.policy().generation, 2);
    let verdict = model.judge(&syn(3), ZONE, SECOND);
    assert_eq!((verdict.reason, verdict.slot), (Reason::Limit, slot), "the bucket is as empty as before");
    let expected =
        model::Counters { passed_packets: 2, passed_bytes: 200, dropped_packets: 1, dropped_bytes: 100 };
    assert_eq!(model.counters(slot), expected);
}

#[test]
fn a_known_flow_is_judged_again_after_a_reload() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let mut model = Model::new(bench.compile(WEB), model::Bounds::default());
    let ack = packet(TCP, 1, 80, tcp::ACK);
    assert_eq!(model.judge(&syn(1), ZONE, SECOND).reason, Reason::PassRule);
    assert_eq!(model.judge(&ack, ZONE, SECOND).reason, Reason::PassFlow);
    assert_eq!(model.flows().count(), 1);
    model.reload(bench.compile(SSH));
    assert_eq!(model.judge(&ack, ZONE, SECOND).reason, Reason::Default);
}

#[test]
fn a_pinhole_admits_its_sender_until_it_is_closed() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let mut model = Model::new(bench.compile(WEB), model::Bounds::default());
    let media = packet(UDP, 30_000, 20_000, 0);
    assert_eq!(model.judge(&media, ZONE, SECOND).reason, Reason::NoPinhole);

    let key = PinholeKey { to: media.destination, port: 20_000, transport: UDP, pad: 0 };
    let pinhole = Pinhole { from: media.source, expires: 10 * SECOND, idle: 1_000, ..Pinhole::default() };
    pinhole.last_seen.store(SECOND, std::sync::atomic::Ordering::Relaxed);
    model.open(key, pinhole, FurtherSenders::default());
    assert_eq!(model.judge(&media, ZONE, SECOND).reason, Reason::PassPinhole);
    let other = Packet { source: address("198.51.100.8"), ..media };
    assert_eq!(model.judge(&other, ZONE, SECOND).reason, Reason::PinholeSender);
    assert_eq!(
        model.judge(&media, ZONE, 3 * SECOND).reason,
        Reason::PinholeExpired,
        "two seconds of silence"
    );

    let closed = model.close(&key).expect("it was open");
    assert_eq!(closed.measures().packets, 1);
    assert_eq!(model.judge(&media, ZONE, SECOND).reason, Reason::NoPinhole);
}

#[test]
fn a_flood_of_new_flows_stays_within_bounds() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let rules = "[settings]\nhalf_open = { source = 0, destination = 0 }\n\
        [[rule]]\nname = \"all\"\nservice = \"tcp\"\naction = \"track\"\n";
    let bounds = model::Bounds { flows: 64, ..model::Bounds::default() };
    let mut model = Model::new(bench.compile(rules), bounds);
    for port in 1..=1_000 {
        let now = SECOND + u64::from(port);
        assert_eq!(model.judge(&syn(port), ZONE, now).reason, Reason::PassRule);
        assert!(model.flows().count() <= 64);
    }
    let newest = packet(TCP, 1_000, 80, tcp::ACK);
    assert_eq!(model.judge(&newest, ZONE, 2 * SECOND).reason, Reason::PassFlow);
}

const TRACK: &str = "[[rule]]\nname = \"all\"\naction = \"track\"\n";

#[test]
fn a_completed_handshake_gives_a_half_open_connection_back() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let rules = format!("[settings]\nhalf_open = {{ source = 3, destination = 0 }}\n{TRACK}");
    let mut model = Model::new(bench.compile(&rules), model::Bounds::default());
    for port in 1..=3 {
        assert_eq!(model.judge(&syn(port), ZONE, SECOND).reason, Reason::PassRule);
    }
    assert_eq!(model.judge(&syn(4), ZONE, SECOND).reason, Reason::HalfOpen);

    let (asks, answers) = (syn(1), packet(TCP, 1, 80, tcp::SYN | tcp::ACK));
    let answers = Packet {
        source: asks.destination,
        destination: asks.source,
        source_port: 80,
        destination_port: 1,
        sequence: 500,
        acknowledgment: 1,
        window: 1_000,
        ..answers
    };
    let completes = Packet { tcp_flags: tcp::ACK, sequence: 1, acknowledgment: 501, window: 1_000, ..asks };
    assert_eq!(model.judge(&answers, 0, SECOND).reason, Reason::PassFlow);
    assert_eq!(model.judge(&completes, ZONE, SECOND).reason, Reason::PassFlow);
    assert_eq!(model.judge(&syn(4), ZONE, SECOND).reason, Reason::PassRule);
    assert_eq!(model.judge(&syn(5), ZONE, SECOND).reason, Reason::HalfOpen);
}

#[test]
fn a_block_outlives_a_reload_and_ends_in_time() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let mut model = Model::new(bench.compile(TRACK), model::Bounds::default());
    let source = syn(1).source;
    assert_eq!(model.judge(&syn(1), ZONE, SECOND).reason, Reason::PassRule);
    model.block(source, 5 * SECOND);
    assert_eq!(model.judge(&syn(1), ZONE, 2 * SECOND).reason, Reason::Blocked, "known flows included");
    model.reload(bench.compile(TRACK));
    assert_eq!(model.judge(&syn(2), ZONE, 3 * SECOND).reason, Reason::Blocked);
    assert_eq!(model.judge(&syn(2), ZONE, 5 * SECOND).reason, Reason::PassRule);
    model.block(source, 9 * SECOND);
    assert!(model.unblock(&source) && !model.unblock(&source));
    assert_eq!(model.judge(&syn(3), ZONE, 6 * SECOND).reason, Reason::PassRule);
}

#[test]
fn a_source_without_a_way_back_begins_nothing() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let rules = format!("[zone.outside]\nanti_spoof = \"loose\"\n{TRACK}");
    let mut model = Model::new(bench.compile(&rules), model::Bounds::default());
    assert_eq!(model.judge(&syn(1), ZONE, SECOND).reason, Reason::PassRule, "a route to everywhere");
    let routes = |prefix: &str| [prefix.parse().expect("a prefix")].into_iter().collect();
    model.set_routes(routes("192.0.2.0/24"));
    assert_eq!(model.judge(&syn(2), ZONE, SECOND).reason, Reason::NoRouteBack);
    model.set_routes(routes("198.51.100.0/24"));
    assert_eq!(model.judge(&syn(2), ZONE, SECOND).reason, Reason::PassRule);
}

#[test]
fn known_peers_have_a_budget_of_their_own() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let rules = format!("[settings]\nnew_flows = \"1/s\"\n{TRACK}");
    let mut model = Model::new(bench.compile(&rules), model::Bounds::default());
    assert_eq!(model.judge(&syn(1), ZONE, SECOND).reason, Reason::PassRule);
    assert_eq!(model.judge(&syn(2), ZONE, SECOND).reason, Reason::Challenge);
    assert_eq!(model.judge(&packet(UDP, 2, 53, 0), ZONE, SECOND).reason, Reason::NewFlowBudget);
    model.know(syn(2).source, 10 * SECOND);
    assert_eq!(model.judge(&syn(2), ZONE, SECOND).reason, Reason::PassRule);
}
