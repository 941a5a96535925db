//! Rules are replaced while packets flow: all at once, or not at all.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use callgate_lab::attack::{Attack, Source, Vector};
use callgate_lab::checks::clean_call;
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
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
