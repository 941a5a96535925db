//! Rules are replaced while packets flow: all at once, or not at all.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use callgate_lab::attack::{Attack, Source, Vector, Wire};
use callgate_lab::checks::clean_call;
use callgate_lab::craft::{ip, protocol, udp};
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::meter::{Direction, Meter};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

const SCAN: Attack = Attack::new(Vector::SccpScan, Source::Attacker, 200);

#[test]
fn a_bad_file_is_refused_and_the_old_rules_judge_on() -> Result<()> {
    if !root_or_skip("a_bad_file_is_refused_and_the_old_rules_judge_on") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let text = Policy::default().text(&lab);
    let firewall = Firewall::start(&lab, &text)?;
    let generation = firewall.status()?.rules.generation;
    for (bad, words) in [
        (text.replace("action   = \"drop\"", "action   = \"dorp\""), "dorp"),
        (text.replace("to      = \"callmanagers\"", "to      = \"callmanager\""), "callmanager"),
        (text.replace("[settings]", "[settings"), "rules.toml"),
    ] {
        assert_ne!(bad, text);
        fs::write(firewall.rules_file(), bad)?;
        let output = firewall.fwctl(&["reload"])?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "`{words}` is not named: {said}");
        let rules = firewall.status()?.rules;
        assert_eq!(rules.generation, generation);
        assert!(rules.last_error.is_some());

        let before = firewall.counters()?;
        assert_eq!(SCAN.run(&lab)?.arrived, 0);
        assert_eq!(firewall.counters()?.dropped_since(&before), [("rule-drop".to_owned(), 200)].into());
    }
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    clean_call(&firewall, || sip::place(lab.outside(), Family::V4.phone(0), &callee))?;
    Ok(())
}

#[test]
fn a_good_file_takes_effect_and_keeps_calls_and_counters() -> Result<()> {
    if !root_or_skip("a_good_file_takes_effect_and_keeps_calls_and_counters") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let text = Policy::default().text(&lab);
    let firewall = Firewall::start(&lab, &text)?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    assert_eq!(SCAN.run(&lab)?.arrived, 0);
    let hits = |firewall: &Firewall| -> Result<u64> {
        let rules = firewall.rules()?.rules;
        Ok(rules.iter().find(|rule| rule.name == "sccp from anyone else").map_or(0, |rule| rule.packets))
    };
    assert_eq!(hits(&firewall)?, 200);

    // The rule that stopped the scan moves up one place, and phone 1 may call no more.
    let rule = "[[rule]]\nname = \"phone 1 is out\"\nfrom = \"10.20.0.11\"\naction = \"drop\"\n\n[[rule]]\n";
    fs::write(firewall.rules_file(), text.replacen("[[rule]]\n", rule, 1))?;
    let generation = firewall.status()?.rules.generation;
    let output = firewall.fwctl(&["reload"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(firewall.status()?.rules.generation > generation);
    assert_eq!(hits(&firewall)?, 200, "a rule keeps its count when its place changes");
    assert_eq!(SCAN.run(&lab)?.arrived, 0);
    assert_eq!(hits(&firewall)?, 400);

    let refused = sip::place(lab.outside(), Family::V4.phone(1), &callee);
    assert!(refused.is_err(), "phone 1 is out");
    let outcome = call.finish(Duration::ZERO)?;
    assert!(outcome.is_whole(), "{outcome}");
    firewall.settled()
}

/// How long rules go back and forth.
const STORM: Duration = Duration::from_secs(6);
/// Between two volleys of a datagram from each source to each port.
const VOLLEY: Duration = Duration::from_micros(1_500);
/// Who may reach which port: the first pair by the one rule set, the second by the other, the third by both.
const SOURCES: [&str; 3] = ["203.0.113.66", "198.51.100.7", "192.0.2.9"];
const PORTS: [u16; 3] = [4_000, 5_000, 6_000];

/// One of two rule sets whose classes have the same numbers and another meaning: of sources, of ports, and of their
/// cells no table of the one fits one of the other.
fn one_of_two(text: &str, which: usize) -> String {
    let mut rules = String::new();
    let mut rule = |name: &str, from: &str, service: &str, action: &str| {
        let _ = writeln!(
            rules,
            "[[rule]]\nname = \"{name}\"\nfrom = \"{from}\"\nto = \"callmanagers\"\nservice = \"{service}\"\n\
             action = \"{action}\"\n"
        );
    };
    // What takes time to compile and to load, the other way round in the other one.
    for n in 0..60 {
        let n = if which == 0 { n } else { 59 - n };
        rule(&format!("other {n}"), &format!("100.64.0.{n}"), &format!("tcp/{}", 7_000 + n), "drop");
    }
    for n in [which, 2] {
        rule(&format!("datagrams {n}"), SOURCES[n], &format!("udp/{}", PORTS[n]), "pass");
    }
    text.replacen("[[rule]]\n", &format!("{rules}[[rule]]\n"), 1)
}

/// Datagrams from every source to every port, until it is told to end; how many volleys.
fn volleys(lab: &Lab, end: &AtomicBool) -> Result<u64> {
    let manager = Family::V4.call_manager(0);
    let mut packets = Vec::new();
    for source in SOURCES {
        let pair = (source.parse::<IpAddr>()?, manager);
        packets.extend(PORTS.map(|port| ip(pair, protocol::UDP, &udp(pair, 30_000, port, b"volley"))));
    }
    let (mut wire, mut count, started) = (Wire::open(lab)?, 0, Instant::now());
    while !end.load(Ordering::Relaxed) {
        for packet in &packets {
            wire.ip(packet)?;
        }
        count += 1;
        thread::sleep((VOLLEY * count).saturating_sub(started.elapsed()));
    }
    Ok(count.into())
}

#[test]
fn no_packet_is_judged_by_a_mixture() -> Result<()> {
    if !root_or_skip("no_packet_is_judged_by_a_mixture") {
        return Ok(());
    }
    let lab = Lab::gateway()?;
    let text = Policy::default().text(&lab);
    let sets = [0, 1].map(|which| one_of_two(&text, which));
    let firewall = Firewall::start(&lab, &sets[0])?;
    let manager = Family::V4.call_manager(0);
    let _open = PORTS
        .iter()
        .map(|port| lab.inside().udp(SocketAddr::new(manager, *port)))
        .collect::<Result<Vec<_>>>()?;
    let pairs: Vec<_> = SOURCES.iter().flat_map(|source| PORTS.map(|port| (*source, port))).collect();
    let counts: Vec<_> = pairs
        .iter()
        .map(|(source, port)| {
            (
                format!("from{}to{port}", source.replace('.', "x")),
                format!("ip saddr {source} udp dport {port}"),
            )
        })
        .collect();
    let borrowed: Vec<_> = counts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let arrivals = Meter::attach(lab.inside(), "eth0", Direction::In, &borrowed)?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(1), Transport::Udp)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    let before = firewall.counters_of("out0")?;

    let end = AtomicBool::new(false);
    let (sent, reloads) = thread::scope(|scope| -> Result<(u64, u32)> {
        let volleys = scope.spawn(|| volleys(&lab, &end));
        let started = Instant::now();
        let mut reloads = 0;
        let outcome = loop {
            if started.elapsed() > STORM {
                break Ok(());
            }
            reloads += 1;
            if let Err(error) = firewall.reload(&sets[reloads as usize % 2]) {
                break Err(error);
            }
        };
        end.store(true, Ordering::Relaxed);
        let sent = volleys.join().map_err(|_| anyhow!("the volleys have panicked"))?;
        outcome.and(Ok((sent?, reloads)))
    })?;
    thread::sleep(Duration::from_millis(100));
    let arrived = counts.iter().map(|(name, _)| arrivals.packets(name)).collect::<Result<Vec<_>>>()?;
    println!("{reloads} reloads, {sent} volleys; arrived {arrived:?}");
    ensure!(reloads >= 10 && sent > 1_000, "{reloads} reloads, {sent} volleys");
    for (place, arrived) in arrived.iter().enumerate() {
        let (source, port) = (place / 3, place % 3);
        let (what, arrived) = (&pairs[place], *arrived);
        match (source, port) {
            (2, 2) => ensure!(arrived == sent, "{what:?}: {arrived} of {sent} have arrived"),
            // By one set at a time.
            (0, 0) | (1, 1) => {
                ensure!(arrived > 100 && arrived + 100 < sent, "{what:?}: {arrived} of {sent}")
            }
            _ => ensure!(arrived == 0, "{what:?}: {arrived} of {sent} have arrived"),
        }
    }
    let dropped = firewall.counters_of("out0")?.dropped_since(&before);
    let refused = 9 * sent - arrived.iter().sum::<u64>();
    ensure!(dropped == [("default-drop".to_owned(), refused)].into(), "{dropped:?}, not {refused}");
    let outcome = call.finish(Duration::from_millis(200))?;
    ensure!(outcome.is_whole(), "{outcome}");
    firewall.settled()
}
