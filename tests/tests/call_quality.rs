//! What is measured of calls, told of silent ones, and captured of one: against an independent reader of the
//! same packets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_alg::call::State;
use callgate_api::{LadderRow, MediaRow, Page, StreamRow};
use callgate_lab::baresip;
use callgate_lab::daemon::Firewall;
use callgate_lab::fixture::{Shared, Turn};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

/// The lab's rules, with an alarm that does not let a test wait.
static STAND: Shared = Shared::under(Lab::gateway, |lab| {
    let text = Policy::default().text(lab);
    let quick = text.replacen("[settings]\n", "[settings]\naudio_alarm = \"2s\"\n", 1);
    assert_ne!(quick, text, "the lab's rules are not what they were");
    quick
});

/// A direction of a stream as tshark sees it.
#[derive(Debug, PartialEq)]
struct Seen {
    to: String,
    packets: u64,
    lost: u64,
    /// Jitter in ms: the least, and the greatest.
    jitter: (f64, f64),
}

/// `tshark -z rtp,streams`.
fn streams(file: &Path) -> Result<Vec<Seen>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-q", "-o", "rtp.heuristic_rtp:TRUE", "-z", "rtp,streams"]);
    let output = command.output().context("tshark")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // start end source port destination port ssrc payload… packets lost (share%) deltas×3 jitters×3 …
        let share = words.iter().position(|word| word.starts_with('(') && word.ends_with("%)"))?;
        let number = |at: usize| words.get(at)?.parse().ok();
        let jitter = |at: usize| words.get(at)?.parse::<f64>().ok();
        Some(Seen {
            to: format!("{}:{}", words.get(4)?, words.get(5)?),
            packets: number(share - 2)?,
            lost: number(share - 1)?,
            jitter: (jitter(share + 4)?, jitter(share + 6)?),
        })
    });
    let rows: Vec<Seen> = rows.collect();
    ensure!(!rows.is_empty(), "no streams:\n{text}");
    Ok(rows)
}

/// The jitter of RFC 3550 section 6.4.1 after the last packet to a port, in units of its timestamp at 8 kHz:
/// by tshark's times and fields.
fn jitter(file: &Path, port: u16) -> Result<f64> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-d", &format!("udp.port=={port},rtp")]);
    command.args(["-Y", &format!("rtp && udp.dstport=={port}"), "-T", "fields"]);
    command.args(["-e", "frame.time_epoch", "-e", "rtp.timestamp"]);
    let output = command.output().context("tshark")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (mut jitter, mut before) = (0.0, None);
    for line in text.lines() {
        let (at, stamp) = line.split_once('\t').context("two fields")?;
        // Seconds of the epoch do not leave a double enough digits.
        let (seconds, rest) = at.split_once('.').context("a fraction")?;
        let seconds: f64 = (seconds.parse::<u64>()? % 100_000) as f64;
        let transit = (seconds + format!("0.{rest}").parse::<f64>()?) * 8_000.0 - stamp.parse::<f64>()?;
        if let Some(before) = before.replace(transit) {
            let difference: f64 = transit - before;
            jitter += (difference.abs() - jitter) / 16.0;
        }
    }
    Ok(jitter)
}

/// Drops every twentieth packet of media that the outside sends, before anybody else can see it.
struct Lossy<'a>(&'a Lab);

impl<'a> Lossy<'a> {
    fn start(lab: &'a Lab) -> Result<Self> {
        let rules = "table inet lossy { chain out { type filter hook output priority 0; \
            udp dport 16384-32767 udp dport & 1 == 0 numgen inc mod 20 == 7 drop; }; }";
        let output = lab.outside().output(Command::new("nft").arg(rules))?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(Self(lab))
    }
}

impl Drop for Lossy<'_> {
    fn drop(&mut self) {
        drop(self.0.outside().output(Command::new("nft").args(["delete", "table", "inet", "lossy"])));
    }
}

/// The streams of a call, living or over.
fn measured(firewall: &Firewall, call: &str) -> Result<Vec<StreamRow>> {
    let output = firewall.fwctl(&["--json", "calls", "--call", call])?;
    let page: Page<LadderRow> = serde_json::from_slice(&output.stdout)?;
    Ok(page.rows.into_iter().flat_map(|row| row.streams).collect())
}

fn directions(rows: &[StreamRow]) -> Result<[(u16, MediaRow); 2]> {
    let row = rows.first().context("a stream")?;
    let of = |to: Option<std::net::SocketAddr>, row: &Option<MediaRow>| {
        Ok::<_, anyhow::Error>((to.context("a place")?.port(), row.clone().context("figures")?))
    };
    Ok([of(row.caller, &row.to_caller)?, of(row.callee, &row.to_callee)?])
}

#[test]
fn figures_are_those_of_an_independent_reader() -> Result<()> {
    if !root_or_skip("figures_are_those_of_an_independent_reader") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let lossy = Lossy::start(lab)?;
    let file = lab.dir().join("outside.pcap");
    let mut tshark = Command::new("tshark");
    // As it leaves the phone and as it gets there: what XDP forwards by itself is seen nowhere else.
    tshark.args(["-q", "-i", "eth0", "-f", "udp", "-w"]).arg(&file);
    let tshark = lab.outside().spawn(&mut tshark, &lab.dir().join("tshark.log"))?;
    thread::sleep(Duration::from_secs(2));
    let run = baresip::Run::start(lab, Transport::Udp)?;
    let call = answered(firewall)?;
    let outcome = run.finish()?;
    thread::sleep(Duration::from_millis(500));
    tshark.stop(Duration::from_secs(5))?;
    drop(lossy);
    ensure!(outcome.forth.0 > 50 && outcome.back.0 > 50, "{outcome:?}");

    let rows = measured(firewall, &call)?;
    let seen = streams(&file)?;
    for (party, (port, row)) in ["caller", "callee"].into_iter().zip(directions(&rows)?) {
        let of_port = |seen: &&Seen| seen.to.ends_with(&format!(":{port}"));
        let seen = seen.iter().find(of_port).with_context(|| format!("{party} at {port} among {seen:?}"))?;
        // The phone may send one packet behind its BYE, when the pinhole is closed.
        let late = seen.packets - row.packets.min(seen.packets);
        ensure!(late <= 1, "{party}: {row:?} {seen:?}");
        ensure!(row.lost.abs_diff(seen.lost) <= late, "{party}: {row:?} {seen:?}");
        let expected = jitter(&file, port)? / 8.0;
        let found = row.jitter_ms.context("a clock")?;
        // The packets are the same, their times are not: half a millisecond of a busy machine.
        ensure!((found - expected).abs() < 0.5, "{party}: {found} ms, tshark {expected} ms; {seen:?}");
        ensure!(found >= seen.jitter.0 - 0.5 && found <= seen.jitter.1 + 0.5, "{party}: {found} {seen:?}");
        // The same code over the same packets at the same times: to a unit of the timestamp.
        let (packets, lost, replayed) = replayed(firewall, &file, port)?;
        ensure!((packets, lost) == (row.packets, row.lost), "{party}: {packets}, {lost} replayed; {row:?}");
        ensure!((replayed - expected).abs() * 8.0 <= 1.0, "{party}: {replayed} ms, tshark {expected} ms");
        let mos = row.mos.context("PCMU has one")?;
        let lossy = party == "callee";
        ensure!(lossy == (row.lost > 0), "{party}: {row:?}");
        ensure!(if lossy { (3.0..4.2).contains(&mos) } else { mos > 4.2 }, "{party}: {row:?}");
        println!(
            "{party}: {} packets, {} lost (tshark {}, {}); jitter {found:.3} ms (tshark {expected:.3} ms), MOS {mos:.2}",
            row.packets, row.lost, seen.packets, seen.lost
        );
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Replayed {
    event: String,
    to: Option<std::net::SocketAddr>,
    packets: Option<u64>,
    lost: Option<u64>,
    jitter_ms: Option<f64>,
}

/// What a replay of a capture measures at a port: at its very times, packets, lost, and the jitter.
fn replayed(firewall: &Firewall, file: &Path, port: u16) -> Result<(u64, u64, f64)> {
    let rules = firewall.rules_file().display().to_string();
    let file = file.display().to_string();
    let output = firewall.fwctl(&["--json", "replay", &file, "--rules", &rules])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut events = text.lines().filter_map(|line| serde_json::from_str::<Replayed>(line).ok());
    let at_port = |event: &Replayed| event.event == "media" && event.to.is_some_and(|to| to.port() == port);
    let found = events.find(at_port).with_context(|| format!("no media at {port}"))?;
    let jitter = found.jitter_ms.context("a clock")?;
    Ok((found.packets.context("packets")?, found.lost.context("lost")?, jitter))
}

/// The identifier of the call that baresip has made.
fn answered(firewall: &Firewall) -> Result<String> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let calls = firewall.calls()?;
        if let Some(call) = calls.iter().find(|call| call.state == State::Connected) {
            return Ok(call.key.clone());
        }
        ensure!(Instant::now() < until, "no call among {calls:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_call_is_captured_with_its_media() -> Result<()> {
    if !root_or_skip("a_call_is_captured_with_its_media") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    // Another call, which is nobody's business.
    let other = sip::place(lab.outside(), Family::V4.phone(1), &callee)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    let calls = firewall.calls()?;
    let phone = Family::V4.phone(0);
    let row = calls.iter().find(|row| row.caller.signalling.ip() == phone).context("the call")?;
    let file = lab.dir().join("call.pcap");
    let arguments =
        ["capture", "--call", &row.key, "--media", "--seconds", "20", file.to_str().context("a path")?];
    let output = thread::scope(|scope| {
        let capture = scope.spawn(|| firewall.fwctl(&arguments));
        thread::sleep(Duration::from_millis(1_500));
        let outcome = call.finish(Duration::from_millis(200))?;
        ensure!(outcome.is_whole(), "{outcome}");
        capture.join().map_err(|_| anyhow::anyhow!("fwctl panicked"))?
    })?;
    other.finish(Duration::from_millis(50))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("the call is over"), "{said}");
    let count = |wanted: &str| count(&file, wanted);
    // From before the capture began, and to its end; each message once.
    ensure!(count("sip.Method == INVITE")? == 1 && count("sip.Status-Code == 200")? == 2, "{said}");
    ensure!(count("sip.Method == BYE")? == 1, "{said}");
    ensure!(count(&format!("sip && !(sip.Call-ID == \"{}\")", row.key))? == 0, "another call's messages");
    let media =
        |direction: &str| count(&format!("udp && !sip && ip.{direction} == {phone} && udp.dstport >= 16384"));
    let (forth, back) = (media("src")?, media("dst")?);
    ensure!((50..=110).contains(&forth) && (50..=110).contains(&back), "{forth} and {back} packets in 1.7 s");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file)?);
    ensure!(mode & 0o077 == 0, "{mode:o}");
    Ok(())
}

/// Packets of a file that a display filter passes.
fn count(file: &PathBuf, wanted: &str) -> Result<usize> {
    let output =
        Command::new("tshark").arg("-r").arg(file).args(["-Y", wanted]).output().context("tshark")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().count())
}

#[test]
fn what_receivers_report_is_told_beside_what_is_measured() -> Result<()> {
    if !root_or_skip("what_receivers_report_is_told_beside_what_is_measured") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    let firewall = &turn.firewall;
    for family in [Family::V4, Family::V6] {
        let callee = Callee::listen(turn.lab.inside(), family.call_manager(0), Transport::Udp)?;
        let call = sip::place(turn.lab.outside(), family.phone(0), &callee)?;
        thread::sleep(Duration::from_millis(2_500));
        let key = firewall.calls()?.first().context("the call")?.key.clone();
        let rows = measured(firewall, &key)?;
        for (_, row) in directions(&rows)? {
            let reported = row.reported.with_context(|| format!("{family:?}: no report: {row:?}"))?;
            ensure!(
                (reported.loss, reported.lost, reported.jitter_ms) == (1.0 / 16.0, 3, Some(10.0)),
                "{reported:?}"
            );
            ensure!(row.lost == 0, "it did get here: {row:?}");
            let trip = row.round_trip_ms.context("both have reported")?;
            ensure!(trip < 100.0, "{trip} ms on one machine");
        }
        let outcome = call.finish(Duration::from_millis(100))?;
        ensure!(outcome.is_whole(), "{outcome}");
        firewall.settled()?;
    }
    Ok(())
}

#[test]
fn whoever_hears_nothing_is_told_of() -> Result<()> {
    if !root_or_skip("whoever_hears_nothing_is_told_of") {
        return Ok(());
    }
    let turn = STAND.turn()?;
    let firewall = &turn.firewall;
    let before = firewall.last_event()?;
    let callee = Callee::listen(turn.lab.inside(), Family::V4.call_manager(0), Transport::Udp)?;
    let call = sip::place(turn.lab.outside(), Family::V4.phone(0), &callee)?;
    call.callee.mute();
    let told = |kind: &str| told(&turn, before, kind);
    let text = told("one-way-audio")?;
    let caller = call.caller.local().to_string();
    ensure!(text.contains(&format!("at {caller} has received no audio for 2 s")), "{text}");
    call.caller.mute();
    told("no-audio")?;
    call.finish(Duration::from_millis(100))?;
    firewall.settled()
}

/// Waits for an event of this kind; its text.
fn told(turn: &Turn, after: u64, kind: &str) -> Result<String> {
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let events = turn.firewall.events(after)?;
        if let Some(event) = events.iter().find(|event| event.kind.name() == kind) {
            return Ok(event.text.clone());
        }
        ensure!(Instant::now() < until, "no {kind} among {events:?}");
        thread::sleep(Duration::from_millis(200));
    }
}
