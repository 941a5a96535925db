//! Reloads in the real kernel half: each takes effect, what is remembered stays, and a policy that does not load
//! changes nothing.

mod kernel_lab;

use callgate_shared::Reason;
use callgate_shared::policy::{ACTION_CHUNKS, CHUNK};
use callgated::kernel::Error;
use etherparse::PacketBuilder;

use kernel_lab::{KernelLab, root_or_skip};

const HEAD: &str = "version = 1\n[zones]\noutside = \"eth0\"\n[settings]\ndefault = \"drop\"\n";
const SIP: &str = "[[rule]]\nname = \"sip\"\nservice = \"sip\"\naction = \"inspect\"\ninspect = \"sip\"\n";
const WEB: &str = "[[rule]]\nname = \"web\"\nservice = \"http\"\naction = \"track\"\nlimit = { new = \"1/h\", burst = 2 }\n";

fn udp(source_port: u16, destination_port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [198, 51, 100, 7], 64)
        .udp(source_port, destination_port);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"hello").expect("it fits");
    frame
}

fn syn(source_port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [198, 51, 100, 7], 64)
        .tcp(source_port, 80, 1, 1_024)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).expect("it fits");
    frame
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x06]);
    frame.resize(60, 0);
    frame
}

fn load(lab: &mut KernelLab, rules: &str, generation: u32) -> Result<(), Error> {
    let compiled = lab.compile(rules, generation);
    lab.trial.load_policy(&compiled)
}

#[test]
fn without_a_policy_only_the_link_stays_up() {
    if !root_or_skip("kernel_reload::without_a_policy_only_the_link_stays_up") {
        return;
    }
    let mut lab = KernelLab::new("no-policy");
    assert_eq!(lab.trial.kernel.generation(), 0);
    assert_eq!(lab.reason(&arp()), Reason::PassBuiltin);
    assert_eq!(lab.reason(&udp(5_060, 5_060)), Reason::NoPolicy);
    assert_eq!(lab.reason(&[0; 14]), Reason::NoPolicy);
}

#[test]
fn counters_flows_and_limits_survive_every_reload() {
    if !root_or_skip("kernel_reload::counters_flows_and_limits_survive_every_reload") {
        return;
    }
    let mut lab = KernelLab::new("reload");
    let both = format!("{HEAD}{SIP}{WEB}");
    let swapped = format!("{HEAD}{WEB}{SIP}");
    load(&mut lab, &both, 1).expect("it loads");
    let slots = lab.compile(&both, 1).slots;
    assert_eq!(lab.reason(&udp(40_000, 5_060)), Reason::PassRule);
    assert_eq!(lab.reason(&syn(1)), Reason::PassRule);
    assert_eq!(lab.reason(&syn(2)), Reason::PassRule);

    let mut generation = 1;
    for round in 0..6_u64 {
        for rules in [&swapped, &both] {
            generation += 1;
            load(&mut lab, rules, generation).expect("it loads");
            assert_eq!(lab.trial.kernel.generation(), generation);
            assert_eq!(lab.reason(&udp(40_000, 5_060)), Reason::PassFlow, "generation {generation}");
            assert_eq!(lab.reason(&syn(3)), Reason::Limit, "the bucket is as empty as before");
        }
        let flows: Vec<_> = lab.trial.kernel.flows().collect();
        assert_eq!(flows.len(), 3);
        let sip = flows.iter().find(|flow| flow.protocol == 17).expect("the flow of before");
        assert_eq!((sip.packets, sip.slot), ([3 + 2 * round, 0], slots[0]));
        let (sip, web) = (lab.trial.kernel.rule_count(slots[0]), lab.trial.kernel.rule_count(slots[1]));
        assert_eq!((sip.packets, sip.refused), (3 + 2 * round, 0));
        assert_eq!((web.packets, web.refused), (4 + 2 * round, 2 + 2 * round));
        lab.reopen();
    }
    let total: u64 = lab.counters().values().map(|count| count.packets).sum();
    assert_eq!(total, 3 + 6 * 4, "every packet under one reason");
}

#[test]
fn each_reload_takes_effect_with_the_next_packet() {
    if !root_or_skip("kernel_reload::each_reload_takes_effect_with_the_next_packet") {
        return;
    }
    let mut lab = KernelLab::new("flip");
    for generation in 1..=9 {
        let (rules, permitted) = match generation % 3 {
            0 => (format!("{HEAD}{SIP}"), Reason::PassRule),
            1 => (HEAD.to_owned(), Reason::Default),
            _ => (
                format!("{HEAD}{SIP}").replace("inspect = \"sip\"", "").replace("\"inspect\"", "\"drop\""),
                Reason::Rule,
            ),
        };
        load(&mut lab, &rules, generation).expect("it loads");
        assert_eq!(lab.reason(&udp(1_000 + generation as u16, 5_060)), permitted, "generation {generation}");
    }
}

#[test]
fn a_policy_that_does_not_load_changes_nothing() {
    if !root_or_skip("kernel_reload::a_policy_that_does_not_load_changes_nothing") {
        return;
    }
    let mut lab = KernelLab::new("refused");
    load(&mut lab, &format!("{HEAD}{SIP}"), 1).expect("it loads");
    assert_eq!(lab.reason(&udp(40_000, 5_060)), Reason::PassRule);
    let before = lab.counters();

    let mut too_large = lab.compile(&format!("{HEAD}{WEB}"), 2);
    too_large.actions = vec![1; (ACTION_CHUNKS as usize + 1) * CHUNK];
    for _ in 0..2 {
        let error = lab.trial.load_policy(&too_large).expect_err("the table has no room for it");
        assert!(matches!(error, Error::Map { name: "ACTIONS", .. }), "{error}");
        assert_eq!(lab.trial.kernel.generation(), 1);
    }
    assert_eq!(lab.counters(), before);
    assert_eq!(lab.reason(&udp(40_000, 5_060)), Reason::PassFlow);
    assert_eq!(lab.reason(&udp(40_001, 5_060)), Reason::PassRule);
    assert_eq!(lab.reason(&syn(1)), Reason::Default);

    load(&mut lab, &format!("{HEAD}{WEB}"), 3).expect("a right one still does");
    assert_eq!(lab.reason(&syn(1)), Reason::PassRule);
    assert_eq!(lab.reason(&udp(40_002, 5_060)), Reason::Default);
}
