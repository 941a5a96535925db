//! The kernel half and its twin in user space, packet by packet: the XDP program as the verifier has accepted it
//! and the JIT has translated it, against [`Model`].
//!
//! Both get the same policy, the same pinholes and the same frames in the same order; every frame must be counted
//! under the same reason. What they remember is compared at the end: flows, pinholes, and counters by rule.

mod kernel_lab;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use callgate_alg::action::{PinholeSpec, Sender as AlgSender};
use callgate_alg::{CallId, Time, Transport};
use callgate_rules::{Model, model};
use callgate_shared::counters::Count;
use callgate_shared::flow::{FlowKey, Side, Standing, UDP};
use callgate_shared::packet;
use callgate_shared::pinhole::{Kind, Pinhole, PinholeKey, Sender};
use callgate_shared::policy::Inspect;
use callgate_shared::{Addr, Reason};
use callgated::firewall::now;
use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FragmentHeader,
    Ipv6Header, Ipv6RawExtHeader, PacketBuilder, VlanId,
};

use kernel_lab::{KernelLab, SLOT, root_or_skip};

/// Length of an Ethernet header: the shortest frame that can be run.
const ETHERNET: usize = 14;
const FRAMES: usize = 6_000;
/// A failure names the frame; the same seed makes the same frames.
const SEED: u64 = 0x5eed_ca11_6a7e_0001;

/// Every action, limits that a test's duration does not refill, both families, both kinds of signalling.
const RULES: &str = r#"
version = 1

[zones]
outside = "eth0"

[groups]
pbx    = ["10.0.0.1", "2001:db8::1"]
phones = ["10.0.0.0/30", "2001:db8::/126"]
own    = ["10.0.0.3"]

[settings]
default = { outside = "track" }

[settings.timeouts]
tcp_opening = "1h"
tcp_closing = "1h"
udp_opening = "1h"
icmp        = "1h"
other       = "1h"

[[rule]]
name   = "own addresses"
from   = "own"
to     = "pbx"
action = "drop"
reason = "spoofed"

[[rule]]
name    = "sip"
from    = "phones"
to      = "pbx"
service = "sip"
action  = "inspect"
inspect = "sip"
limit   = { new = "1/h", burst = 2, per = "source" }

[[rule]]
name    = "h323"
from    = "phones"
to      = "pbx"
service = ["h225", "ras"]
action  = "inspect"
inspect = "h323"

[[rule]]
name    = "web"
service = "tcp/80"
action  = "track"
limit   = { packets = "1/h", burst = 40 }

[[rule]]
name    = "one way"
service = "udp/7"
action  = "pass"

[[rule]]
name    = "no ssh"
service = "tcp/22"
action  = "drop"
log     = true

[[rule]]
name    = "echo"
service = "icmp/echo-request"
action  = "track"

[[rule]]
name    = "no other icmp"
service = ["icmp", "icmpv6"]
action  = "drop"
"#;

/// xorshift64* (Vigna 2016): the same frames on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Less than `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A frame of a conversation between few hosts and ports, so that packets meet flows, pinholes and limits.
fn conversation(random: &mut Random) -> Vec<u8> {
    const PORTS: [u16; 9] = [5_060, 1_720, 1_719, 80, 22, 7, 30_001, 40_000, 0];
    const MEDIA: [u16; 5] = [16_400, 16_401, 16_402, 16_403, 32_767];
    let media = random.one_in(4);
    let port = |random: &mut Random, media| if media { random.of(&MEDIA) } else { random.of(&PORTS) };
    let destination_port = port(random, media);
    let source_port = if random.one_in(3) { port(random, false) } else { 40_000 + random.below(6) as u16 };
    let (source, destination) = (1 + random.below(4) as u8, 1 + random.below(4) as u8);
    let fragment = random.one_in(6).then(|| {
        let offset = IpFragOffset::try_new(random.of(&[0, 0, 0, 2, 100])).expect("13 bits");
        (offset, random.one_in(2), random.below(8) as u8)
    });
    let step = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = ip_headers(random, source, destination, fragment);
    let v6 = matches!(ip, IpHeaders::Ipv6(..));
    let tag = |random: &mut Random| VlanId::try_new(random.below(4_096) as u16).expect("12 bits");
    let step = match random.below(8) {
        0 => step.single_vlan(tag(random)).ip(ip),
        1 => step.double_vlan(tag(random), tag(random)).ip(ip),
        _ => step.ip(ip),
    };
    let payload = vec![0x55; random.of(&[0, 1, 20, 160, 1_200])];
    let mut frame = Vec::new();
    match random.below(8) {
        0 | 1 => {
            let mut header = etherparse::TcpHeader::new(source_port, destination_port, 1, 1_024);
            let flags =
                random.of(&[0x02_u8, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0x03, 0x29, 0x01]);
            (header.fin, header.syn, header.rst) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
            (header.psh, header.ack, header.urg) = (flags & 8 != 0, flags & 16 != 0, flags & 32 != 0);
            step.tcp_header(header).write(&mut frame, &payload)
        }
        2 if v6 => step
            .icmpv6_raw(random.of(&[1, 2, 128, 129, 133, 135, 136]), 0, echo(random))
            .write(&mut frame, &payload),
        2 => {
            let code = random.of(&[0, 0, 4]);
            step.icmpv4_raw(random.of(&[0, 3, 5, 8, 8, 11]), code, echo(random)).write(&mut frame, &payload)
        }
        3 => step.write(&mut frame, IpNumber(random.of(&[47_u8, 50, 132, 1, 58])), &payload),
        _ => step.udp(source_port, destination_port).write(&mut frame, &payload),
    }
    .expect("it fits");
    frame
}

/// Identifier and sequence number of an echo.
fn echo(random: &mut Random) -> [u8; 4] {
    [0, random.below(3) as u8, 0, 1]
}

fn ip_headers(
    random: &mut Random,
    source: u8,
    destination: u8,
    fragment: Option<(IpFragOffset, bool, u8)>,
) -> IpHeaders {
    let hop_limit = random.of(&[64, 255]);
    if random.one_in(2) {
        let host = |last: u8, random: &mut Random| match random.below(60) {
            0 => [127, 0, 0, 1],
            1 => [224, 0, 0, last],
            _ => [10, 0, 0, last],
        };
        let (source, destination) = (host(source, random), host(destination, random));
        let mut header = Ipv4Header::new(0, hop_limit, IpNumber::UDP, source, destination).expect("a header");
        if random.one_in(5) {
            header.options = vec![1; 4 * (1 + random.below(10))].as_slice().try_into().expect("whole words");
        }
        if let Some((offset, more, identification)) = fragment {
            (header.fragment_offset, header.more_fragments) = (offset, more);
            header.identification = u16::from(identification);
        }
        return IpHeaders::Ipv4(header, Ipv4Extensions::default());
    }
    let host = |last: u8, random: &mut Random| match random.below(60) {
        0 => [0; 16],
        1 => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last],
        2 => [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last],
        _ => [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last],
    };
    let (source, destination) = (host(source, random), host(destination, random));
    let header = Ipv6Header { source, destination, hop_limit, ..Ipv6Header::default() };
    let raw = |random: &mut Random| {
        let octets = vec![0; 6 + 8 * random.below(5)];
        random.one_in(5).then(|| Ipv6RawExtHeader::new_raw(IpNumber::UDP, &octets).expect("whole units"))
    };
    let extensions = Ipv6Extensions {
        hop_by_hop_options: raw(random),
        destination_options: raw(random),
        routing: None,
        fragment: fragment.map(|(offset, more, identification)| {
            Ipv6FragmentHeader::new(IpNumber::UDP, offset, more, u32::from(identification))
        }),
        auth: random.one_in(8).then(|| {
            let icv = vec![0xaa; 4 * random.below(5)];
            etherparse::IpAuthHeader::new(IpNumber::UDP, 1, 1, &icv).expect("whole words")
        }),
    };
    IpHeaders::Ipv6(header, extensions)
}

/// A frame: of a conversation, damaged, cut short, tagged, padded, or nothing but noise behind an Ethernet type.
fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame = conversation(random);
    match random.below(10) {
        0 | 1 => {
            for _ in 0..=random.below(3) {
                // Mostly headers: damage to the payload changes nothing.
                let at = random.below(frame.len().min(90));
                frame[at] = random.next() as u8;
            }
        }
        2 => frame.truncate(random.below(frame.len()).max(ETHERNET)),
        // Up to two tags more.
        3 if random.one_in(2) => {
            for _ in 0..=random.below(2) {
                frame.splice(12..12, [0x88, 0xa8, 0, 7]);
            }
        }
        3 => frame.resize(frame.len() + random.below(60), 0xee),
        4 if random.one_in(2) => {
            frame.truncate(12);
            frame.extend(
                random.of(&[0x0800_u16, 0x86dd, 0x8100, 0x88a8, 0x0806, 0x88cc, 0x0026]).to_be_bytes(),
            );
            frame.extend((0..random.below(120)).map(|_| random.next() as u8));
        }
        4 => frame[..6].copy_from_slice(&random.of(&[
            [0x01, 0x80, 0xc2, 0, 0, 0x0e],
            [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc],
            [0xff; 6],
        ])),
        _ => {}
    }
    frame
}

/// The kernel half and the model, in step.
struct Pair {
    lab: KernelLab,
    model: Model,
    /// By reason, as the kernel half counts: whole IP packets, or the frame where it could not be read.
    counted: BTreeMap<Reason, Count>,
}

impl Pair {
    fn open(&mut self, to: SocketAddr, senders: &[AlgSender], opened: Opened) {
        let Opened { transport, kind, at, life, idle } = opened;
        let (senders, call) = (senders.to_vec(), CallId(1));
        let spec = PinholeSpec { to, transport, senders: senders.clone(), kind, idle, call, slot: 0 };
        self.lab.kernel.open_pinhole(&spec, at, life).expect("there is room");
        let nanoseconds = |span: Duration| u64::try_from(span.as_nanos()).expect("short");
        let mut pinhole = Pinhole {
            last_seen: AtomicU64::new(at.0),
            expires: at.0 + nanoseconds(life),
            idle: nanoseconds(idle),
            call: call.0,
            kind: kind as u8,
            inspect: if kind == Kind::H245 { Inspect::H245 } else { Inspect::None } as u8,
            ..Pinhole::default()
        };
        for (place, sender) in pinhole.senders.iter_mut().zip(senders) {
            *place = Sender { from: sender.ip.into(), port: sender.port.unwrap_or(0), pad: [0; 2] };
        }
        let key = PinholeKey { to: to.ip().into(), port: to.port(), transport: transport.number(), pad: 0 };
        self.model.open(key, pinhole);
    }

    /// One frame through both. Returns the reason they agree on.
    fn judge(&mut self, number: usize, frame: &[u8]) -> Reason {
        let (expected, bytes) = match packet::parse(&frame) {
            Ok(packet) => {
                let zone = self.model.policy().zones[SLOT as usize];
                (self.model.judge(&packet, zone, now().0).reason, u64::from(packet.length))
            }
            Err(reason) => (reason, frame.len() as u64),
        };
        let count = self.counted.entry(expected).or_default();
        *count = Count { packets: count.packets + 1, bytes: count.bytes + bytes };
        let found = self.lab.reason(frame);
        assert_eq!(found, expected, "frame {number}, {:?}: {frame:02x?}", packet::parse(&frame));
        found
    }
}

struct Opened {
    transport: Transport,
    kind: Kind,
    at: Time,
    life: Duration,
    idle: Duration,
}

#[test]
fn the_kernel_and_the_model_judge_alike() {
    if !root_or_skip("kernel_agrees::the_kernel_and_the_model_judge_alike") {
        return;
    }
    let mut lab = KernelLab::new("agrees");
    let compiled = lab.compile(RULES, 1);
    lab.kernel.load_policy(&compiled).expect("it loads");
    let slots = compiled.slots.clone();
    let model = Model::new(compiled, model::Bounds::default());
    let mut pair = Pair { lab, model, counted: BTreeMap::new() };
    open_pinholes(&mut pair);

    let mut random = Random(SEED);
    for number in 0..FRAMES / 2 {
        pair.judge(number, &frame(&mut random));
    }
    // Another daemon, other rules: flows are judged again, by the maps of the other slot.
    pair.lab.reopen();
    let again = pair.lab.compile(&RULES.replace("outside = \"track\"", "outside = \"drop\""), 2);
    pair.lab.kernel.load_policy(&again).expect("it loads");
    pair.model.reload(again);
    for number in FRAMES / 2..FRAMES {
        pair.judge(number, &frame(&mut random));
    }

    assert_eq!(pair.lab.counters(), pair.counted);
    for slot in slots.into_iter().chain([0]) {
        let (kernel, model) = (pair.lab.kernel.rule_count(slot), pair.model.counters(slot));
        let all = (model.passed_packets + model.dropped_packets, model.passed_bytes + model.dropped_bytes);
        assert_eq!((kernel.packets, kernel.bytes), all, "slot {slot}");
        assert_eq!(kernel.refused, model.dropped_packets, "slot {slot}");
    }
    assert_eq!(kernel_flows(&pair.lab), model_flows(&pair.model));
    for row in pair.lab.kernel.pinholes() {
        let key = PinholeKey {
            to: row.to.ip().into(),
            port: row.to.port(),
            transport: row.transport.number(),
            pad: 0,
        };
        let (_, twin) = pair.model.pinholes().find(|(other, _)| **other == key).expect("the same pinholes");
        assert_eq!(
            (row.packets, row.bytes),
            (twin.packets.load(Relaxed), twin.bytes.load(Relaxed)),
            "{row:?}"
        );
    }

    // The frames are worth something only where they get everywhere a frame can.
    let unseen: Vec<&str> = Reason::ALL
        .iter()
        .filter(|reason| **reason < Reason::NoPolicy || **reason == Reason::NoConnection)
        .filter(|reason| !pair.counted.contains_key(reason))
        .map(|reason| reason.name())
        .collect();
    assert_eq!(unseen, [""; 0], "no frame was judged so");
}

/// Pinholes of every fate: open, half known, for a connection, expired, gone silent.
fn open_pinholes(pair: &mut Pair) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let at = now();
    let sender = |text: &str, port| AlgSender { ip: text.parse().expect("an address"), port };
    let to = |text: &str| text.parse::<SocketAddr>().expect("an address and port");
    let rtp = || Opened { transport: Transport::Udp, kind: Kind::Rtp, at, life: HOUR, idle: HOUR };
    pair.open(to("10.0.0.1:16400"), &[sender("10.0.0.2", None), sender("10.0.0.4", Some(40_001))], rtp());
    pair.open(to("[2001:db8::1]:16400"), &[sender("2001:db8::2", None)], rtp());
    pair.open(to("10.0.0.2:16402"), &[sender("10.0.0.1", Some(40_000))], rtp());
    let past = Time(at.0 - 10_000_000_000);
    let second = Duration::from_secs(1);
    for host in ["10.0.0.3", "10.0.0.1", "[2001:db8::2]"] {
        let senders = ["10.0.0.1", "10.0.0.2", "10.0.0.4", "2001:db8::1"].map(|host| sender(host, None));
        pair.open(to(&format!("{host}:16403")), &senders, Opened { at: past, life: second, ..rtp() });
        pair.open(to(&format!("{host}:16401")), &senders, Opened { at: past, idle: second, ..rtp() });
    }
    let h245 = Opened { transport: Transport::Tcp, kind: Kind::H245, ..rtp() };
    pair.open(to("10.0.0.1:30001"), &[sender("10.0.0.2", None)], h245);
}

/// A flow as both sides can tell it, times left out.
type FlowFacts = (u8, [SocketAddr; 2], u32, u8, u32, u8, [u64; 2], [u64; 2]);

fn kernel_flows(lab: &KernelLab) -> Vec<FlowFacts> {
    let facts = lab.kernel.flows().map(|flow| {
        let inspect = flow.inspect as u8;
        (flow.protocol, flow.ends, flow.state, flow.zone, flow.slot, inspect, flow.packets, flow.bytes)
    });
    sorted(facts.collect())
}

fn model_flows(model: &Model) -> Vec<FlowFacts> {
    let end = |addr: Addr, port| SocketAddr::new(addr.into(), port);
    let facts = model.flows().map(|(key, flow): (&FlowKey, _)| {
        let counts = |words: &[AtomicU64; 2]| words.each_ref().map(|word| word.load(Relaxed));
        let (mut ends, mut packets, mut bytes) = (
            [end(key.low, key.low_port), end(key.high, key.high_port)],
            counts(&flow.packets),
            counts(&flow.bytes),
        );
        if flow.originator == Side::High as u8 {
            ends.reverse();
            packets.reverse();
            bytes.reverse();
        }
        let state = Standing::unpack(flow.standing.load(Relaxed)).state;
        (key.protocol, ends, state, flow.zone, flow.slot, flow.inspect, packets, bytes)
    });
    let facts = sorted(facts.collect());
    assert!(facts.iter().any(|flow| flow.0 == UDP && flow.6[1] > 0), "some have answers");
    facts
}

fn sorted(mut facts: Vec<FlowFacts>) -> Vec<FlowFacts> {
    facts.sort();
    facts
}
