use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU64;

use callgate_shared::Addr;
use callgate_shared::media;
use callgate_shared::pinhole::{self, FurtherSenders, Pinhole, PinholeKey};
use callgate_shared::policy::ZONE_SELF;

use jiff::Zoned;

use super::*;
use crate::{Compiled, Machine, MemorySlots, Model, model};

const RULES: &str = r#"version = 1

[zones]
outside = "eth0"

[settings]
media_ports = "16384-32767"

[groups]
pbx = "10.1.1.10"

[[rule]]
name    = "sip"
to      = "pbx"
service = "sip"
action  = "inspect"
inspect = "sip"
limit   = { new = "1/h", burst = 2, per = "source" }

# Not a part of the rule above.

[[rule]]
name    = "web"
to      = "pbx"
service = "tcp/80"
action  = "track"

[[rule]]
name    = "no telnet"
service = "tcp/23"
action  = "drop"
log     = true
"#;

const OUTSIDE: u8 = 2;
const SECOND: u64 = 1_000_000_000;
const PHONE: [u8; 4] = [192, 0, 2, 1];
const PBX: [u8; 4] = [10, 1, 1, 10];

struct Lab {
    set: RuleSet,
    compiled: Compiled,
    model: Model,
    now: u64,
}

impl Lab {
    fn new(rules: &str) -> Self {
        let set = RuleSet::parse("test.toml", rules).expect("good rules");
        let compiled = compile(&set, 1);
        let model = Model::new(compiled.clone(), model::Bounds::default());
        Self { set, compiled, model, now: 1_000 * SECOND }
    }

    fn explain(&mut self, frame: &[u8]) -> Explanation {
        self.explain_from(OUTSIDE, frame)
    }

    fn explain_from(&mut self, zone: u8, frame: &[u8]) -> Explanation {
        let names = Names { set: &self.set, slots: &self.compiled.slots, calls: &TheCall };
        let policy = *self.model.policy();
        self.model.set_clock(self.now);
        explain(frame, &mut self.model, &policy, &names, zone, self.now)
    }
}

fn compile(set: &RuleSet, generation: u32) -> Compiled {
    crate::compile(set, &Machine::at(Zoned::now()), generation, &mut MemorySlots::default()).expect("it fits")
}

/// Knows call 7.
struct TheCall;

impl Calls for TheCall {
    fn call(&self, number: u64) -> Option<String> {
        (number == 7).then(|| "sip the-call".to_owned())
    }

    fn pinhole(&self, _protocol: u8, to: SocketAddr) -> Option<u64> {
        (to.port() == 30_001).then_some(7)
    }
}

/// An IPv4 packet in an Ethernet frame: `fragment` as the header has it, flags above the offset.
fn frame(protocol: u8, from: [u8; 4], to: [u8; 4], fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [&[0; 12], &[8, 0, 0x45, 0][..]].concat();
    frame.extend((20 + body.len() as u16).to_be_bytes());
    frame.extend([0, 7]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, 0, 0]);
    frame.extend(from);
    frame.extend(to);
    frame.extend(body);
    frame
}

fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let words = [from.1, to.1, 8, 0].map(u16::to_be_bytes);
    frame(17, from.0, to.0, 0, &words.concat())
}

/// Of a connection whose ends both begin with sequence number 1.
fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> Vec<u8> {
    let ports = [from.1, to.1].map(u16::to_be_bytes).concat();
    let sequence = 2 - (flags >> 1 & 1);
    let rest = [0, 0, 0, sequence, 0, 0, 0, 2, 0x50, flags, 4, 0, 0, 0, 0, 0];
    frame(6, from.0, to.0, 0, &[&ports[..], &rest].concat())
}

fn stages(explanation: &Explanation) -> Vec<&'static str> {
    explanation.steps.iter().map(|step| step.stage.name()).collect()
}

/// The step of a stage: its line and its notes.
fn step(explanation: &Explanation, stage: Stage) -> String {
    let step = explanation.steps.iter().find(|step| step.stage == stage);
    let step = step.unwrap_or_else(|| panic!("no step {}: {:?}", stage.name(), stages(explanation)));
    format!("{}\n{}", step.text, step.notes.join("\n"))
}

#[test]
fn a_new_conversation_is_told_from_the_parser_to_the_verdict() {
    let mut lab = Lab::new(RULES);
    let told = lab.explain(&udp((PHONE, 5060), (PBX, 5060)));
    let expected =
        ["parse", "sanity", "blocks", "flow", "pinhole", "rules", "limit", "budget", "memory", "verdict"];
    assert_eq!(stages(&told), expected);
    let budget =
        "192.0.2.1 is a stranger: within the budget of new flows of strangers, 20000/s on each CPU\n";
    assert_eq!(step(&told, Stage::Budget), budget);
    let parsed = step(&told, Stage::Parse);
    assert_eq!(parsed, "IPv4 UDP 192.0.2.1:5060 → 10.1.1.10:5060, 28 bytes\nfrom zone outside");
    let rules = step(&told, Stage::Rules);
    assert!(
        rules.starts_with("the first that matches is rule `sip` (test.toml:13): inspect sip\n"),
        "{rules}"
    );
    assert!(rules.contains("\n| [[rule]]\n| name    = \"sip\"\n| to      = \"pbx\"\n"), "{rules}");
    assert!(!rules.contains("Not a part"), "{rules}");
    let limit = step(&told, Stage::Limit);
    assert!(limit.starts_with("within the limit of rule `sip`: "), "{limit}");
    assert!(limit.ends_with("bucket of 192.0.2.1: 2 of 2 left before this packet"), "{limit}");
    let verdict =
        "passes: rule\nPermitted by a rule.\nby rule `sip` (test.toml:13)\nits sip is read before it goes on";
    assert_eq!(step(&told, Stage::Verdict), verdict);
    assert_eq!(told.rule.expect("a rule").name, "sip");

    // Its answer, and a second phone's worth of conversations.
    lab.now += 2 * SECOND;
    let answer = lab.explain(&udp((PBX, 5060), (PHONE, 5060)));
    assert_eq!(stages(&answer), ["parse", "sanity", "blocks", "flow", "verdict"]);
    let flow = step(&answer, Stage::Flow);
    assert!(flow.starts_with("known: udp 192.0.2.1:5060 → 10.1.1.10:5060, not answered yet\n"), "{flow}");
    assert!(flow.contains("silent for 2 s of at most 30 s; 1 packets there, 0 back"), "{flow}");
    assert!(flow.ends_with("admitted by rule `sip` (test.toml:13)\nits sip is read"), "{flow}");
    assert_eq!(lab.explain(&udp((PHONE, 5061), (PBX, 5060))).verdict.reason, Reason::PassRule);
    let third = lab.explain(&udp((PHONE, 5062), (PBX, 5060)));
    assert_eq!(third.verdict.reason, Reason::Limit);
    let limit = step(&third, Stage::Limit);
    assert!(limit.starts_with("above the limit") && limit.contains("0 of 2 left"), "{limit}");
    assert!(step(&third, Stage::Verdict).starts_with("dropped: limit\n"));
}

#[test]
fn what_no_rule_decides_says_so() {
    let mut lab = Lab::new(RULES);
    let cases = [
        (udp((PHONE, 9), (PBX, 9)), Stage::Rules, "no rule matches: the default of zone outside is drop"),
        (
            udp((PHONE, 9), (PBX, 20_000)),
            Stage::Rules,
            "no rule matches, and media that no call has announced",
        ),
        (udp((PHONE, 0), (PBX, 9)), Stage::Sanity, "no honest stack sends this: zero-port"),
        (udp((PBX, 9), (PBX, 9)), Stage::Sanity, "no honest stack sends this: land"),
        (tcp((PHONE, 9), (PBX, 80), 0x03), Stage::Sanity, "no honest stack sends this: tcp-flags"),
        (frame(1, PHONE, PBX, 0, &[3, 4, 0, 0, 0, 0, 0, 0]), Stage::Sanity, "the network itself needs it"),
        (frame(17, PHONE, PBX, 100, &[0; 40]), Stage::Fragment, "no first fragment of this datagram"),
        (vec![0xff; 20], Stage::Parse, "20 bytes that cannot be read as a packet: ether-type"),
    ];
    for (frame, stage, text) in cases {
        let told = lab.explain(&frame);
        let said = step(&told, stage);
        assert!(said.starts_with(text), "{said}");
        assert_eq!(told.rule, None);
    }
    let arp = [&[0xff; 12], &[8, 6][..], &[0; 28]].concat();
    assert_eq!(stages(&lab.explain(&arp)), ["parse", "sanity", "verdict"]);
}

#[test]
fn a_drop_names_its_rule_and_that_it_is_logged() {
    let told = Lab::new(RULES).explain(&tcp((PHONE, 9), (PBX, 23), 2));
    let verdict = "dropped: rule-drop\nRefused by a rule.\nby rule `no telnet` (test.toml:29)\nit is logged";
    assert_eq!(step(&told, Stage::Verdict), verdict);
    assert_eq!(told.rule.expect("a rule").text.last().expect("lines"), "log     = true");
}

#[test]
fn a_connection_is_followed_to_its_end() {
    let mut lab = Lab::new(RULES);
    let (phone, pbx) = ((PHONE, 40_000), (PBX, 80));
    lab.explain(&tcp(phone, pbx, 0x02));
    lab.explain(&tcp(pbx, phone, 0x12));
    let opened = step(&lab.explain(&tcp(phone, pbx, 0x10)), Stage::Flow);
    assert!(
        opened.starts_with("known: tcp 192.0.2.1:40000 → 10.1.1.10:80, handshake answered\n"),
        "{opened}"
    );
    lab.explain(&tcp(phone, pbx, 0x11));
    let again = lab.explain(&tcp(phone, pbx, 0x02));
    assert!(step(&again, Stage::Flow).contains("closing"));
    assert!(step(&again, Stage::Flow).ends_with("that connection is over: this begins another"));
    assert_eq!(again.verdict.reason, Reason::PassRule);
    lab.now += 3_600 * SECOND;
    let late = step(&lab.explain(&tcp(phone, pbx, 0x10)), Stage::Flow);
    assert!(late.ends_with("it was silent for too long: forgotten"), "{late}");
    let stray = lab.explain(&tcp((PHONE, 40_001), pbx, 0x12));
    assert_eq!(
        step(&stray, Stage::Verdict),
        "dropped: no-connection\nA TCP segment that belongs to no known connection and opens none.\nby rule `web` (test.toml:23)"
    );
}

#[test]
fn other_rules_are_asked_again() {
    let mut lab = Lab::new(RULES);
    let frame = udp((PHONE, 5060), (PBX, 5060));
    lab.explain(&frame);
    lab.set = RuleSet::parse(
        "test.toml",
        &RULES
            .replace("action  = \"inspect\"\ninspect = \"sip\"", "action = \"drop\"")
            .replace("limit   =", "# limit"),
    )
    .expect("good");
    lab.compiled = compile(&lab.set, 2);
    lab.model.reload(lab.compiled.clone());
    let told = lab.explain(&frame);
    assert!(
        step(&told, Stage::Flow).ends_with("judged by the rules of generation 1; generation 2 is in force")
    );
    assert!(
        step(&told, Stage::Rules)
            .starts_with("asked again, for the flow: the first that matches is rule `sip`")
    );
    assert_eq!(told.verdict.reason, Reason::Rule);
}

#[test]
fn a_pinhole_names_its_call_and_who_may_send() {
    let mut lab = Lab::new(RULES);
    let open = |lab: &mut Lab, transport, port, kind, inspect, call| {
        let key = PinholeKey { to: address(PBX), port, transport, pad: 0 };
        let pinhole = Pinhole {
            last_seen: AtomicU64::new(lab.now),
            expires: lab.now + 3_600 * SECOND,
            idle: 60_000,
            call,
            from: address(PHONE),
            kind: kind as u8,
            inspect,
            flags: media::flags::ENFORCE,
            payload_types: [1 << 8, 1 << 37],
            ..Pinhole::default()
        };
        lab.model.open(key, pinhole, FurtherSenders::default());
    };
    open(&mut lab, 17, 20_000, pinhole::Kind::Rtp, 0, 7);
    open(&mut lab, 6, 30_001, pinhole::Kind::H245, 3, 7);
    open(&mut lab, 17, 20_002, pinhole::Kind::Rtp, 0, 8);
    let media = lab.explain(&udp((PHONE, 9_000), (PBX, 20_000)));
    assert_eq!(stages(&media), ["parse", "sanity", "blocks", "pinhole", "verdict"]);
    let told = step(&media, Stage::Pinhole);
    let fate = "rtp at 10.1.1.10:20000/udp: it admits this sender, but not this packet: not-rtp\n";
    assert!(told.starts_with(fate), "{told}");
    assert!(told.contains("for 192.0.2.1\npayload types 8, 101; enforced\n"), "{told}");
    assert!(told.ends_with("opened by call 7: sip the-call"), "{told}");
    let stranger = step(&lab.explain(&udp(([192, 0, 2, 9], 9_000), (PBX, 20_002))), Stage::Pinhole);
    assert!(stranger.contains("it does not admit this sender"), "{stranger}");
    assert!(stranger.ends_with("opened by call 8, which is over or not known here"), "{stranger}");
    assert_eq!(lab.explain(&tcp((PHONE, 9_000), (PBX, 30_001), 2)).verdict.reason, Reason::PassPinhole);
    let control = step(&lab.explain(&tcp((PBX, 30_001), (PHONE, 9_000), 0x12)), Stage::Flow);
    assert!(control.contains("admitted by a pinhole\nopened by call 7: sip the-call"), "{control}");
    // An ICMP error about the stream, from a router on the way.
    let quoted = &udp((PHONE, 9_000), (PBX, 20_000))[14..];
    let error = frame(1, [192, 0, 2, 254], PHONE, 0, &[&[3, 3, 0, 0, 0, 0, 0, 0], quoted].concat());
    let related = lab.explain(&error);
    assert_eq!(related.verdict.reason, Reason::PassRelated);
    assert!(related.steps.iter().filter(|step| step.stage == Stage::Related).count() >= 2);
    lab.now += 100 * SECOND;
    let late = step(&lab.explain(&udp((PHONE, 9_000), (PBX, 20_000))), Stage::Pinhole);
    assert!(late.contains("it was silent for too long"), "{late}");
}

#[test]
fn blocked_sources_and_this_machine_s_own_packets() {
    let mut lab = Lab::new(RULES);
    lab.model.block(address(PHONE), lab.now + SECOND);
    let told = lab.explain(&udp((PHONE, 5060), (PBX, 5060)));
    assert_eq!(stages(&told), ["parse", "sanity", "blocks", "verdict"]);
    assert_eq!(step(&told, Stage::Blocks), "192.0.2.1 is blocked\n");
    let own = lab.explain_from(ZONE_SELF, &udp((PHONE, 5060), (PBX, 9)));
    assert_eq!(own.verdict.reason, Reason::PassDefault);
}

/// Whoever looks on changes nothing: verdicts and memory are those of a judge nobody watches.
#[test]
fn watching_changes_nothing() {
    let (mut watched, mut alone) = (Lab::new(RULES), Lab::new(RULES));
    let mut seed = 0x5eed_u64;
    let mut random = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    for _ in 0..3_000 {
        let host = |n: u64| [10, 1, 1, 9 + n as u8];
        let (from, to) = ((host(random(3)), 5_060 + random(3) as u16), (host(random(3)), 80));
        let (from, to) = if random(2) == 0 { (from, to) } else { (to, from) };
        let to = (to.0, if random(2) == 0 { 5_060 } else { to.1 });
        let frame = match random(2) {
            0 => udp(from, to),
            _ => tcp(from, to, [2, 0x12, 0x10, 0x11, 4, 0][random(6) as usize]),
        };
        let wait = random(40) * SECOND / 10;
        (watched.now, alone.now) = (watched.now + wait, alone.now + wait);
        let verdict = match packet::parse(&&frame[..]) {
            Ok(packet) => alone.model.judge(&packet, OUTSIDE, alone.now),
            Err(reason) => Verdict::of(reason),
        };
        assert_eq!(watched.explain(&frame).verdict, verdict, "{frame:02x?}");
    }
    assert_eq!(watched.model.flows().count(), alone.model.flows().count());
    for slot in &watched.compiled.slots {
        assert_eq!(watched.model.counters(*slot), alone.model.counters(*slot));
    }
}

#[test]
fn a_rule_s_text_ends_where_the_rule_ends() {
    let text = "a = 1\n\n[[rule]]\nname = \"x\"\nfrom = [\n  \"10.0.0.0/8\",\n]\n\n# next\n[zones]\n";
    let lines = table_around(text, 4);
    assert_eq!(lines, ["[[rule]]", "name = \"x\"", "from = [", "  \"10.0.0.0/8\",", "]"]);
    assert_eq!(table_around("", 7), Vec::<String>::new());
}

fn address(octets: [u8; 4]) -> Addr {
    std::net::IpAddr::from(Ipv4Addr::from(octets)).into()
}
