//! The kernel half and its twin in user space, packet by packet: the XDP program as the verifier has accepted it
//! and the JIT has translated it, against [`Model`].
//!
//! Both get the same policies, the same pinholes, the same time and the same frames in the same order; every frame
//! must have the same verdict, under the same rule, with the same signalling to be read. What they remember is
//! compared at the end: flows, pinholes, and counters by reason and by rule.

mod kernel_lab;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use callgate_alg::action::{PinholeSpec, Sender as AlgSender};
use callgate_alg::contract::{Contract, Nominal};
use callgate_alg::{CallId, Time, Transport};
use callgate_rules::compile::Caps;
use callgate_rules::{Compiled, Model, model};
use callgate_shared::counters::Count;
use callgate_shared::flow::{FlowKey, Side, Standing, UDP};
use callgate_shared::judge::{Verdict, cookie};
use callgate_shared::packet::{self, tcp};
use callgate_shared::pinhole::{Kind, PinholeKey};
use callgate_shared::policy::MAX_IFACES;
use callgate_shared::{Addr, Reason};

use kernel_lab::frames::{Frames, Random};
use kernel_lab::{KernelLab, SLOT, root_or_skip};

const FRAMES: usize = 100_000;
/// A failure names the frame; the same seed makes the same frames.
const SEED: u64 = 0x5eed_ca11_6a7e_0001;
/// Frames between two reloads.
const TURN: usize = 5_000;
/// Hosts that are known peers.
const KNOWN: [&str; 3] = ["10.0.0.2", "2001:db8::1", "2001:db8::2"];
const SECRET: u64 = 0x0dd5_ecae_7000_0001;

/// Every action, every field, every limit, both families, several kinds of signalling.
const RULES: &str = r#"
version = 1

[zones]
outside = "eth0"

[zone.outside]
networks   = ["10.0.0.0/8", "2001:db8::/32", "fe80::/10"]
anti_spoof = "strict"
fragments  = "track"

[groups]
pbx    = ["10.0.0.1", "2001:db8::1"]
phones = ["10.0.0.0/30", "2001:db8::/126"]
own    = ["10.0.0.3"]

[settings]
default    = { outside = "track" }
half_open  = { source = 2, destination = 3 }

[[rule]]
name   = "own addresses"
from   = "own"
to     = "pbx"
service = "udp"
action = "drop"
reason = "spoofed"

[[rule]]
name    = "sip"
from    = "phones"
to      = "pbx"
service = "sip"
action  = "inspect"
inspect = "sip"
media   = "observe"
limit   = { new = "1/min", burst = 3, per = "source" }

[[rule]]
name    = "h323"
from    = "phones"
to      = "pbx"
service = ["h225", "ras"]
action  = "inspect"
inspect = "h323"

[[rule]]
name    = "tagged web"
vlan    = [100]
service = "tcp/80 from 40000-40003"
action  = "pass"

[[rule]]
name    = "web"
service = "tcp/80"
action  = "track"
limit   = { packets = "10/s", burst = 40, per = { source_prefix = [30, 64] } }

[[rule]]
name    = "https"
service = "tcp/443"
action  = "track"
limit   = { bytes = "10KB/s", burst = "16KB", per = "destination" }

[[rule]]
name    = "expedited"
dscp    = ["ef"]
service = "udp/53"
action  = "track"
limit   = { packets = "5/s", burst = 5, per = "source", above = { block = "10m" } }

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
name    = "no isakmp"
service = "udp/500"
action  = "reject"

[[rule]]
name    = "echo"
service = ["icmp/echo-request", "icmpv6/echo-request"]
action  = "track"

[[rule]]
name    = "unreachable"
service = "icmp/destination-unreachable"
from    = "own"
action  = "pass"

[[rule]]
name    = "no other icmp"
from    = "10.0.0.4"
service = ["icmp", "icmpv6"]
action  = "drop"
"#;

/// The rules of a turn: variations, and the sizes of the tables they are compiled for.
fn rules(turn: usize) -> (String, Caps) {
    let swap = |from: &str, to: &str| {
        assert!(RULES.contains(from), "{from}");
        RULES.replace(from, to)
    };
    let text = match turn % 5 {
        0 => RULES.to_owned(),
        1 => swap("outside = \"track\"", "outside = \"drop\""),
        2 => {
            swap("fragments  = \"track\"", "fragments  = \"drop\"\nl2 = { cdp = \"drop\", lldp = \"drop\" }")
        }
        3 => swap("fragments  = \"track\"", "fragments  = \"pass\"\nbogons = \"drop\""),
        _ => swap("half_open ", "new_flows = \"2/s\"\nhalf_open "),
    };
    let small = Caps { cells: 1, chunks: 0 };
    (text, if turn.is_multiple_of(2) { Caps::KERNEL } else { small })
}

/// The kernel half and the model, in step.
struct Pair {
    lab: KernelLab,
    model: Model,
    now: u64,
    /// By reason, as the kernel half counts: whole IP packets, or the frame where it could not be read.
    counted: BTreeMap<Reason, Count>,
    /// Frames that answer challenges.
    answers: VecDeque<Vec<u8>>,
    /// Flows' packets and their verdicts, to be shown where the two differ.
    history: Vec<(FlowKey, String)>,
    /// Counter slot of a rule whose media is observed only.
    observed: u32,
}

impl Pair {
    fn new(compiled: &Compiled, mut lab: KernelLab) -> Self {
        lab.trial.load_policy(compiled).expect("it loads");
        lab.trial.kernel.set_secret(SECRET).expect("it is set");
        let mut model = Model::new(compiled.clone(), model::Bounds::default());
        model.set_secret(SECRET);
        let now = 1_000_000 * 1_000_000_000;
        let observes = compiled.handlings.iter().position(|handling| !handling.enforce);
        Self {
            lab,
            model,
            now,
            counted: BTreeMap::new(),
            answers: VecDeque::new(),
            history: Vec::new(),
            observed: compiled.slots[observes.expect("there is one")],
        }
    }

    fn open(&mut self, to: SocketAddr, senders: &[AlgSender], opened: Opened) {
        let Opened { transport, kind, at, life, idle, latch, slot } = opened;
        let (senders, call) = (senders.to_vec(), CallId(1));
        let contract = contract(kind);
        let spec = PinholeSpec { to, transport, senders, kind, idle, latch, call, slot, contract };
        let key = PinholeKey::new(to, transport.number());
        self.lab.trial.kernel.close_pinhole(to, transport).expect("it closes");
        self.model.close(&key);
        self.lab.trial.kernel.open_pinhole(&spec, at, life).expect("there is room");
        let pinhole = spec.pinhole(self.model.handling(slot), at, life);
        self.model.open(key, pinhole, spec.further_senders());
    }

    /// One frame through both. Returns the reason they agree on.
    fn judge(&mut self, number: usize, frame: &[u8]) -> Reason {
        let parsed = packet::parse(&frame);
        let (expected, bytes) = match &parsed {
            Ok(packet) => {
                let zone = self.model.policy().interfaces[SLOT as usize % MAX_IFACES];
                (self.model.judge(packet, zone, self.now), u64::from(packet.length))
            }
            Err(reason) => (Verdict::of(*reason), frame.len() as u64),
        };
        let count = self.counted.entry(expected.reason).or_default();
        *count = Count { packets: count.packets + 1, bytes: count.bytes + bytes };
        let found = self.lab.trial.judge(SLOT as usize, frame, self.now).expect("it is judged");
        let seen = |verdict: &Verdict| (verdict.reason, verdict.inspect_unless_dropped(), verdict.slot);
        if let Ok(packet) = &parsed {
            let (source, destination) =
                ((packet.source, packet.source_port), (packet.destination, packet.destination_port));
            let (key, side) = FlowKey::of(source, destination, packet.protocol);
            self.history.push((key, format!("{number}: {side:?} {:#04x} {expected:?}", packet.tcp_flags)));
            if seen(&found) != seen(&expected) {
                let of_flow = self.history.iter().filter(|(known, _)| *known == key);
                let before: Vec<&str> = of_flow.map(|(_, line)| line.as_str()).collect();
                panic!("{found:?}, frame {number}: {packet:?}\n{frame:02x?}\n{}", before.join("\n"));
            }
        }
        assert_eq!(seen(&found), seen(&expected), "frame {number}: {frame:02x?}");
        if let (Ok(packet), Reason::Challenge) = (parsed, expected.reason)
            && self.answers.len() < 16
        {
            let mut answer = frame.to_vec();
            let at = usize::from(packet.transport_at);
            answer[at + 4..at + 8].copy_from_slice(&cookie(&packet, SECRET, self.now).to_be_bytes());
            answer[at + 13] = tcp::RST;
            self.answers.push_back(answer);
        }
        found.reason
    }

    /// Some hosts are known peers, some are blocked for a while.
    fn know_and_block(&mut self, random: &mut Random) {
        let hour = 3_600 * 1_000_000_000;
        for host in KNOWN {
            let address: IpAddr = host.parse().expect("an address");
            self.lab.trial.kernel.set_peer(address, Time(self.now + hour)).expect("there is room");
            self.model.know(address.into(), self.now + hour);
        }
        let address: IpAddr = random.of(&["10.0.0.4", "2001:db8::3"]).parse().expect("an address");
        let until = self.now + random.within(0..5_000_000_000);
        self.lab.trial.kernel.block(address, Time(until)).expect("there is room");
        self.model.block(address.into(), until);
    }

    fn pass_time(&mut self, random: &mut Random) {
        self.now += match random.below(1_000) {
            0 => random.within(0..3 * 3_600 * 1_000_000_000),
            1..6 => random.within(0..60 * 1_000_000_000),
            6..60 => random.within(0..1_000_000_000),
            60..300 => random.within(0..1_000_000),
            _ => 0,
        };
    }
}

/// What of a verdict both halves can tell.
trait Told {
    fn inspect_unless_dropped(&self) -> u8;
}

impl Told for Verdict {
    fn inspect_unless_dropped(&self) -> u8 {
        if self.reason.is_drop() { 0 } else { self.inspect }
    }
}

/// A contract that some of the frames keep and others break.
fn contract(kind: Kind) -> Contract {
    Contract {
        stun: kind == Kind::RtcpMux,
        payload_types: [0, 8, 101].into_iter().collect(),
        clock: 8_000,
        nominal: Some(Nominal { packets: 5, bytes: 10_000 }),
        ..Contract::default()
    }
}

struct Opened {
    transport: Transport,
    kind: Kind,
    at: Time,
    life: Duration,
    idle: Duration,
    latch: Option<Duration>,
    slot: u32,
}

#[test]
fn the_kernel_and_the_model_judge_alike() {
    if !root_or_skip("kernel_agrees::the_kernel_and_the_model_judge_alike") {
        return;
    }
    let mut lab = KernelLab::new("agrees");
    let compile = |lab: &mut KernelLab, turn: usize| {
        let (text, caps) = rules(turn);
        lab.compile_within(&text, turn as u32 + 1, &caps)
    };
    let compiled = compile(&mut lab, 0);
    let slots = compiled.slots.clone();
    let mut pair = Pair::new(&compiled, lab);
    let mut frames = Frames::new(SEED);
    for number in 0..FRAMES {
        if number > 0 && number.is_multiple_of(TURN) {
            // Another daemon, other rules: flows are judged again, by the maps of the other slot.
            let turn = number / TURN;
            if turn % 3 == 1 {
                pair.lab.reopen();
            }
            let compiled = compile(&mut pair.lab, turn);
            pair.lab.trial.load_policy(&compiled).expect("it loads");
            pair.model.reload(compiled);
        }
        if number.is_multiple_of(TURN / 4) {
            open_pinholes(&mut pair);
            pair.know_and_block(&mut frames.random);
        }
        pair.pass_time(&mut frames.random);
        let frame = match frames.random.one_in(20).then(|| pair.answers.pop_front()).flatten() {
            Some(answer) => answer,
            None => frames.next(),
        };
        pair.judge(number, &frame);
    }

    assert_eq!(pair.lab.counters(), pair.counted);
    for slot in slots.into_iter().chain([0]) {
        let (kernel, model) = (pair.lab.trial.kernel.rule_count(slot), pair.model.counters(slot));
        let all = (model.passed_packets + model.dropped_packets, model.passed_bytes + model.dropped_bytes);
        assert_eq!((kernel.packets, kernel.bytes), all, "slot {slot}");
        assert_eq!(kernel.refused, model.dropped_packets, "slot {slot}");
    }
    let (kernel, model) = (kernel_flows(&pair.lab), model_flows(&pair.model));
    let differs = kernel.iter().zip(&model).find(|(kernel, model)| kernel != model);
    assert_eq!(differs, None, "{} flows, {} in the model", kernel.len(), model.len());
    assert_eq!(kernel.len(), model.len());
    for row in pair.lab.trial.kernel.pinholes() {
        let key = PinholeKey {
            to: row.to.ip().into(),
            port: row.to.port(),
            transport: row.transport.number(),
            pad: 0,
        };
        let (_, twin) = pair.model.pinholes().find(|(other, _)| **other == key).expect("the same pinholes");
        assert_eq!(row.measures, twin.measures(), "{row:?}");
    }

    // The frames are worth something only where they get everywhere a frame can. Routes are not for this test to
    // set up; what only the ALG or a missing policy says is not the judge's.
    let not_here = [Reason::NoRouteBack, Reason::NoPolicy];
    let unseen: Vec<&str> = Reason::ALL
        .iter()
        .filter(|reason| (**reason < Reason::AlgDown) && !not_here.contains(reason))
        .filter(|reason| !pair.counted.contains_key(reason))
        .map(|reason| reason.name())
        .collect();
    assert_eq!(unseen, [""; 0], "no frame was judged so");
}

/// Pinholes of every fate: open, half known, for a connection, expired, gone silent.
fn open_pinholes(pair: &mut Pair) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let at = Time(pair.now);
    let sender = |text: &str, port| AlgSender { ip: text.parse().expect("an address"), port };
    let to = |text: &str| text.parse::<SocketAddr>().expect("an address and port");
    let udp = Transport::Udp;
    let rtp = || Opened { transport: udp, kind: Kind::Rtp, at, life: HOUR, idle: HOUR, latch: None, slot: 0 };
    pair.open(to("10.0.0.1:16400"), &[sender("10.0.0.2", None), sender("10.0.0.4", Some(40_001))], rtp());
    pair.open(to("[2001:db8::1]:16400"), &[sender("2001:db8::2", None)], rtp());
    let observed = pair.observed;
    for (port, kind, slot) in [
        (16_402, Kind::Rtp, 0),
        (16_404, Kind::Rtcp, 0),
        (16_406, Kind::RtcpMux, 0),
        (16_408, Kind::Udptl, 0),
        (16_410, Kind::RtcpMux, observed),
        (16_412, Kind::Rtp, 0),
    ] {
        // The last one learns its sender's port.
        let known = Some(40_000).filter(|_| port != 16_412);
        let to = SocketAddr::new([10, 0, 0, 2].into(), port);
        pair.open(to, &[sender("10.0.0.1", known)], Opened { kind, slot, ..rtp() });
    }
    let past = Time(at.0 - 10_000_000_000);
    let second = Duration::from_secs(1);
    for host in ["10.0.0.3", "10.0.0.1", "[2001:db8::2]"] {
        let senders = ["10.0.0.1", "10.0.0.2", "10.0.0.4", "2001:db8::1"].map(|host| sender(host, None));
        pair.open(to(&format!("{host}:16403")), &senders, Opened { at: past, life: second, ..rtp() });
        pair.open(to(&format!("{host}:16401")), &senders, Opened { at: past, idle: second, ..rtp() });
    }
    // Behind address translation: within the window, and when it is over.
    let translated = |window| Opened { latch: Some(window), ..rtp() };
    pair.open(to("10.0.0.2:16400"), &[sender("10.0.0.1", None)], translated(HOUR));
    pair.open(to("[2001:db8::2]:16400"), &[sender("2001:db8::1", None)], translated(HOUR));
    pair.open(
        to("10.0.0.4:16400"),
        &[sender("10.0.0.1", None), sender("10.0.0.2", None)],
        translated(second),
    );
    let h245 = Opened { transport: Transport::Tcp, kind: Kind::H245, ..rtp() };
    pair.open(to("10.0.0.1:30001"), &[sender("10.0.0.2", None)], h245);
}

/// A flow as both sides can tell it, times left out.
type FlowFacts = (u8, [SocketAddr; 2], u32, u8, u32, u8, [u64; 2], [u64; 2]);

fn kernel_flows(lab: &KernelLab) -> Vec<FlowFacts> {
    let facts = lab.trial.kernel.flows().map(|flow| {
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
