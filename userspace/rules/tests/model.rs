//! The model over reloads: what is swapped, and what stays.

use std::net::IpAddr;

use callgate_rules::{MemorySlots, Model, RuleSet, compile, model};
use callgate_shared::flow::{TCP, UDP};
use callgate_shared::packet::{Kind, Packet, tcp};
use callgate_shared::pinhole::{Pinhole, PinholeKey, Sender};
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
        compile(&set, &[(0, "eth0")], self.generation, &mut self.slots).expect("it fits")
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
    let mut pinhole = Pinhole { expires: 10 * SECOND, idle: SECOND, ..Pinhole::default() };
    pinhole.senders[0] = Sender { from: media.source, port: 0, pad: [0; 2] };
    pinhole.last_seen.store(SECOND, std::sync::atomic::Ordering::Relaxed);
    model.open(key, pinhole);
    assert_eq!(model.judge(&media, ZONE, SECOND).reason, Reason::PassPinhole);
    let other = Packet { source: address("198.51.100.8"), ..media };
    assert_eq!(model.judge(&other, ZONE, SECOND).reason, Reason::PinholeSender);
    assert_eq!(
        model.judge(&media, ZONE, 3 * SECOND).reason,
        Reason::PinholeExpired,
        "two seconds of silence"
    );

    let closed = model.close(&key).expect("it was open");
    assert_eq!(closed.packets.into_inner(), 1);
    assert_eq!(model.judge(&media, ZONE, SECOND).reason, Reason::NoPinhole);
}

#[test]
fn a_flood_of_new_flows_stays_within_bounds() {
    let mut bench = Bench { slots: MemorySlots::default(), generation: 0 };
    let rules = "[[rule]]\nname = \"all\"\nservice = \"tcp\"\naction = \"track\"\n";
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
