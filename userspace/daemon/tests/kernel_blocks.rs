//! Blocked addresses, known peers and flows in the real kernel half: what the daemon writes takes effect with the next
//! packet, and stays when another daemon takes over.

mod kernel_lab;

use std::net::IpAddr;

use callgate_alg::action::Time;
use callgate_shared::Reason;
use callgate_shared::peer::block_bit;
use etherparse::PacketBuilder;

use kernel_lab::{KernelLab, root_or_skip};

const RULES: &str = "version = 1\n[zones]\noutside = \"eth0\"\n[settings]\ndefault = \"drop\"\n\
    [[rule]]\nname = \"sip\"\nservice = \"udp/5060\"\naction = \"track\"\n";
/// For ever, as the tests' clock goes.
const LATER: Time = Time(u64::MAX);

fn udp(source: [u8; 4], source_port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(source, [198, 51, 100, 7], 64)
        .udp(source_port, 5_060);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"hello").expect("it fits");
    frame
}

fn lab(test: &str) -> KernelLab {
    let mut lab = KernelLab::new(test);
    let compiled = lab.compile(RULES, 1);
    lab.trial.load_policy(&compiled).expect("it loads");
    lab
}

/// Another address of the same bit of the filter.
fn neighbour(of: [u8; 4]) -> [u8; 4] {
    let bit = |address: [u8; 4]| block_bit(&IpAddr::from(address).into());
    let found =
        (0x0a00_0000_u32..).map(u32::to_be_bytes).find(|other| *other != of && bit(*other) == bit(of));
    found.expect("there are 65,536 bits")
}

#[test]
fn a_blocked_address_is_dropped_known_flows_and_all_until_its_time_is_over() {
    if !root_or_skip("kernel_blocks::a_blocked_address_is_dropped_known_flows_and_all_until_its_time_is_over")
    {
        return;
    }
    let mut lab = lab("blocks");
    let bad = [192, 0, 2, 1];
    assert_eq!(lab.reason(&udp(bad, 1)), Reason::PassRule);
    lab.trial.kernel.block(bad.into(), LATER).expect("there is room");
    assert_eq!(lab.reason(&udp(bad, 1)), Reason::Blocked);
    assert_eq!(lab.reason(&udp([192, 0, 2, 2], 1)), Reason::PassRule);
    lab.trial.kernel.block(bad.into(), Time(1)).expect("it is there already");
    assert_eq!(lab.reason(&udp(bad, 1)), Reason::PassFlow, "its time is over");
}

#[test]
fn blocks_survive_the_daemon_and_end_one_by_one() {
    if !root_or_skip("kernel_blocks::blocks_survive_the_daemon_and_end_one_by_one") {
        return;
    }
    let mut lab = lab("blocks-kept");
    let bad = [192, 0, 2, 1];
    let other = neighbour(bad);
    for address in [bad, other, bad] {
        lab.trial.kernel.block(address.into(), LATER).expect("there is room");
    }
    lab.reopen();
    let mut blocks: Vec<_> = lab.trial.kernel.blocks().collect();
    blocks.sort();
    let mut expected = [(IpAddr::from(bad), LATER), (IpAddr::from(other), LATER)];
    expected.sort();
    assert_eq!(blocks, expected);
    assert_eq!((lab.reason(&udp(bad, 1)), lab.reason(&udp(other, 1))), (Reason::Blocked, Reason::Blocked));

    assert!(lab.trial.kernel.unblock(bad.into()).expect("it is taken out"));
    assert_eq!((lab.reason(&udp(bad, 1)), lab.reason(&udp(other, 1))), (Reason::PassRule, Reason::Blocked));
    assert!(!lab.trial.kernel.unblock(bad.into()).expect("it is not there any more"));
    assert_eq!(lab.reason(&udp(other, 1)), Reason::Blocked);
    assert!(lab.trial.kernel.unblock(other.into()).expect("it is taken out"));
    assert_eq!(lab.reason(&udp(other, 1)), Reason::PassRule);
    assert_eq!(lab.trial.kernel.blocks().count(), 0);
}

#[test]
fn a_known_peers_flow_lies_apart_and_any_flow_can_be_forgotten() {
    if !root_or_skip("kernel_blocks::a_known_peers_flow_lies_apart_and_any_flow_can_be_forgotten") {
        return;
    }
    let mut lab = lab("peers");
    let peer = [192, 0, 2, 1];
    lab.trial.kernel.set_peer(peer.into(), LATER).expect("there is room");
    lab.reopen();
    assert_eq!(lab.trial.kernel.peers().collect::<Vec<_>>(), [(peer.into(), LATER)]);
    assert_eq!(lab.reason(&udp(peer, 1)), Reason::PassRule);
    assert_eq!(lab.reason(&udp([192, 0, 2, 2], 1)), Reason::PassRule);
    for flow in lab.trial.kernel.flows().collect::<Vec<_>>() {
        assert_eq!(flow.peer, flow.ends[0].ip() == IpAddr::from(peer), "{flow:?}");
        assert!(lab.trial.kernel.forget_flow(&flow.key).expect("it is forgotten"));
        assert!(!lab.trial.kernel.forget_flow(&flow.key).expect("it is not known any more"));
    }
    assert_eq!(lab.trial.kernel.flows().count(), 0);

    lab.trial.kernel.remove_peer(peer.into()).expect("it is taken out");
    lab.trial.kernel.remove_peer(peer.into()).expect("nothing to be done");
    assert_eq!(lab.reason(&udp(peer, 1)), Reason::PassRule, "a stranger, as on the first day");
    assert!(lab.trial.kernel.flows().all(|flow| !flow.peer));
}

#[test]
fn the_key_of_challenges_is_made_once() {
    if !root_or_skip("kernel_blocks::the_key_of_challenges_is_made_once") {
        return;
    }
    let mut lab = lab("secret");
    lab.trial.kernel.ensure_secret().expect("the system has random bytes");
    let first =
        lab.trial.kernel.copies(Time(1)).map(|copies| callgate_shared::judge::Tables::secret(&copies));
    let first = first.expect("a policy is in force");
    lab.reopen();
    lab.trial.kernel.ensure_secret().expect("it is there already");
    let second =
        lab.trial.kernel.copies(Time(1)).map(|copies| callgate_shared::judge::Tables::secret(&copies));
    assert_eq!(second.expect("a policy is in force"), first);
    assert_ne!(first, 0);
}

/// How long it takes to put 10,000 rules in force: `cargo test --release --test kernel_blocks -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn reload_of_ten_thousand_rules() {
    let mut lab = KernelLab::new("reload-time");
    let rule = |n: u32, pairs: bool| {
        let [_, a, b, c] = n.to_be_bytes();
        let to = if pairs { format!("to = \"10.{a}.{b}.{c}\"\n") } else { String::new() };
        format!(
            "[[rule]]\nname = \"r{n}\"\nfrom = \"172.{}.{b}.{c}\"\n{to}service = \"tcp/{}\"\naction = \"track\"\n",
            16 + a,
            1_024 + n
        )
    };
    for (name, pairs) in [("one destination", false), ("10,000 pairs", true)] {
        let rules: String = (0..10_000).map(|n| rule(n, pairs)).collect();
        let text = format!("version = 1\n[zones]\noutside = \"eth0\"\n{rules}");
        let started = std::time::Instant::now();
        let compiled = lab.compile(&text, 2);
        let compiling = started.elapsed();
        for _ in 0..3 {
            let started = std::time::Instant::now();
            lab.trial.kernel.load_policy(&compiled).expect("it loads");
            println!("{name}: compiled {compiling:?}, loaded {:?}, {:?}", started.elapsed(), compiled.size());
        }
    }
}
