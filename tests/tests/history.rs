//! What calls through the firewall leave behind: in the database, in a file, and what `fwctl history` and `fwctl fraud`
//! say of it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_api::{Finding, HistoryTotal, Page, Record};
use callgate_lab::probe::{Shape, both_ways};
use callgate_lab::sip::Transport::Udp;
use callgate_lab::sip::stage::{Stage, under};
use callgate_lab::sip::talk::{Side, status};
use serde::de::DeserializeOwned;

/// Runs fwctl, and reads its JSON.
fn asked<T: DeserializeOwned>(stage: &Stage<'_>, arguments: &[&str]) -> Result<T> {
    let text = said(stage, &[arguments, &["--json"]].concat())?;
    serde_json::from_str(&text).with_context(|| text)
}

fn said(stage: &Stage<'_>, arguments: &[&str]) -> Result<String> {
    let output = stage.firewall().fwctl(arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The records a question brings, when there are so many.
fn records(stage: &Stage<'_>, arguments: &[&str], wanted: usize) -> Result<Vec<Record>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let page: Result<Page<Record>> = asked(stage, &[&["history"], arguments].concat());
        match page {
            Ok(page) if page.rows.len() == wanted => return Ok(page.rows),
            Ok(page) if Instant::now() > deadline => {
                anyhow::bail!(
                    "{arguments:?}: {} records instead of {wanted}: {:#?}",
                    page.rows.len(),
                    page.rows
                )
            }
            Err(error) if Instant::now() > deadline => return Err(error),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[test]
fn calls_leave_records() -> Result<()> {
    let directory = std::env::temp_dir().join(format!("callgate-lab-history-{}", std::process::id()));
    let result = leave_records(&directory);
    let _ = fs::remove_dir_all(&directory);
    result
}

fn leave_records(directory: &std::path::Path) -> Result<()> {
    let (database, lines) = (directory.join("calls.db"), directory.join("calls.json"));
    let tables = format!(
        "called_deny = [\"0900*\"]\n\n[history]\ndatabase = {database:?}\nfile = {lines:?}\n\n\
         [policy]\nemergency = [\"911\"]\nunmatched = \"permit\"\nstrangers = [\"long-distance\"]\n\
         [policy.permission.long-distance]\npatterns = [\"1\"]\n\
         [policy.permission.premium]\npatterns = [\"1900\"]"
    );
    under("calls_leave_records", &tables, "", |stage| {
        // One that is answered and lasts.
        let mut talk = stage.talk(Udp)?;
        // Long enough for a score.
        both_ways(&talk.near[0], &talk.far[0], Shape::Rtp, 60)?;
        talk.end()?;
        let key = talk.script.call.clone();
        let record = records(stage, &[], 1)?.remove(0);
        ensure!(record.key == key && record.protocol == "sip" && record.call > 0, "{record:#?}");
        ensure!(record.caller == "phone" && record.called == "desk", "{record:#?}");
        ensure!(record.caller_address.starts_with(&stage.phone.ip.to_string()), "{record:#?}");
        ensure!(record.connected_ms.is_some() && record.ended_ms >= record.started_ms, "{record:#?}");
        ensure!(record.reason == "bye" && !record.refused && record.verdict == "permitted", "{record:#?}");
        ensure!(record.rule.is_some(), "{record:#?}");
        // What the pinholes have counted, by direction.
        ensure!(record.packets_to_caller > 0 && record.packets_to_called > 0, "{record:#?}");
        ensure!(record.bytes_to_caller > record.packets_to_caller, "{record:#?}");
        let lost = [record.loss, record.loss_to_caller, record.loss_to_called];
        ensure!(lost == [Some(0.0); 3], "{record:#?}");
        let scores = [record.mos, record.mos_to_caller, record.mos_to_called];
        ensure!(scores.iter().all(|mos| mos.is_some_and(|mos| (4.0..4.5).contains(&mos))), "{record:#?}");
        let jitter = [record.jitter_ms, record.jitter_ms_to_caller, record.jitter_ms_to_called];
        ensure!(jitter.iter().all(|jitter| jitter.is_some_and(|ms| ms > 0.0)), "{record:#?}");

        // One that the other side declines, one that the policy refuses.
        let (mut line, mut script) = stage.line(Udp)?;
        script.users[1] = "12125551234".to_owned();
        let invite = script.first(Side::Near, "INVITE", "", "");
        line.say(Side::Near, &invite)?;
        line.say(Side::Far, &script.response(Side::Far, &invite, "486 Busy Here", "", ""))?;
        records(stage, &["--cause", "sip 486"], 1)?;
        let (mut line, mut script) = stage.line(Udp)?;
        script.users[1] = "19005551234".to_owned();
        let invite = script.first(Side::Near, "INVITE", "", "");
        let answer = line.say_in_vain(Side::Near, &invite)?.unwrap_or_default();
        ensure!(status(&answer) == "403", "{answer}");
        let refused = records(stage, &["--refused"], 1)?.remove(0);
        ensure!(refused.called.ends_with("19005551234") && refused.permission == "premium", "{refused:#?}");
        ensure!(
            refused.released_by.as_deref() == Some("firewall") && refused.verdict != "permitted",
            "{refused:#?}"
        );

        // One that a rule of its protocol refuses, before there is a call.
        let (mut line, mut script) = stage.line(Udp)?;
        script.users[1] = "0900123".to_owned();
        let invite = script.first(Side::Near, "INVITE", "", "");
        let answer = line.say_in_vain(Side::Near, &invite)?.unwrap_or_default();
        ensure!(status(&answer) == "403", "{answer}");
        let refused = records(stage, &["--cause", "inspection"], 1)?.remove(0);
        ensure!(refused.refused && refused.called == "0900123" && refused.call == 0, "{refused:#?}");

        // Who has tried 1-900, and what else this phone has called, in one command.
        let text = said(
            stage,
            &[
                "history", "--since", "7d", "--any", "--caller", "phone", "--called", "1-900*", "--by",
                "called", "--by", "caller",
            ],
        )?;
        for name in ["CALLED", "CALLER", "desk", "12125551234", "19005551234", "phone"] {
            ensure!(text.contains(name), "{name} is not in\n{text}");
        }
        let sums: serde_json::Map<String, serde_json::Value> = asked(stage, &["history", "--by", "verdict"])?;
        let sums: Page<HistoryTotal> = serde_json::from_value(sums["verdict"].clone())?;
        ensure!(sums.rows.iter().map(|row| row.refused).sum::<u64>() == 2, "{sums:?}");
        let csv = said(stage, &["history", "--csv"])?;
        ensure!(csv.lines().count() == 5 && csv.starts_with("host,"), "{csv}");
        let odd: Page<Finding> = asked(stage, &["fraud"])?;
        ensure!(odd.rows.is_empty(), "{odd:?}");

        let status = stage.firewall().status()?.history.context("its state")?;
        let written: Vec<_> =
            status.places.iter().map(|place| (place.kind.as_str(), place.written, place.lost)).collect();
        ensure!(written == [("database", 4, 0), ("file", 4, 0)], "{status:?}");
        let text = fs::read_to_string(&lines)?;
        ensure!(text.lines().all(|line| serde_json::from_str::<Record>(line).is_ok()), "{text}");
        ensure!(text.lines().count() == 4, "{text}");
        Ok(())
    })?;
    // Rules without the table keep nothing, and say so.
    under("calls_leave_records", "", "", |stage| {
        let output = stage.firewall().fwctl(&["history"])?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && told.contains("[history]"), "{told}");
        Ok(())
    })
}
