//! Media in pinholes: what a packet costs, among few and among many; what a pinhole takes; how long it takes to open.

use std::fs;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result, ensure};
use callgate_alg::Engine;
use callgate_alg::core::Bounds;
use callgate_alg::media::Policy;

use crate::Effort;
use crate::callgate::Callgate;
use crate::lineup::Selection;
use crate::prog_run::{self, Subject};
use crate::programs::{Receivers, Varied, XDP_PASS, XdpFilter};
use crate::report::{Case, rounded};
use crate::scenario::{RULES, callgate_rules, frames};
use crate::signalling::crowd;
use crate::sys::{self, InstructionCounter};

/// A thousand receivers, and a million: of as many addresses.
const THOUSAND: Receivers = Receivers { addresses: 128, ports: 8 };
const MILLION: Receivers = Receivers { addresses: 128, ports: 8_192 };
/// The same where it is only shown that it works.
const FEW: Receivers = Receivers { addresses: 128, ports: 64 };
/// Calls that are opened back to back.
const CALLS: u32 = 100_000;
/// Likewise.
const FEW_CALLS: u32 = 1_000;
/// A port of phones from which RTP comes: the one they receive at.
const PORT: u16 = crowd::MEDIA_PORT;

/// The cases of this module that are selected.
pub(crate) fn measure(
    selection: &Selection,
    effort: &Effort,
    counter: Option<&InstructionCounter>,
) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    if selection.has_any(&["xdp-filter-stream", "rtp-pinhole"]) {
        cases.extend(one(selection, effort, counter)?);
    }
    if selection.has_any(&["rtp-pinhole-1000", "rtp-pinhole-1m", "pinhole-bytes"]) {
        cases.extend(many(selection, effort, counter)?);
    }
    if selection.has("pinhole-open") {
        cases.push(opening(if effort.is_quick() { FEW_CALLS } else { CALLS })?);
    }
    Ok(cases)
}

/// One stream in its pinhole.
fn one(selection: &Selection, effort: &Effort, counter: Option<&InstructionCounter>) -> Result<Vec<Case>> {
    let mut callgate = Callgate::load(&callgate_rules(RULES)).context("loading Callgate")?;
    callgate.open_pinhole()?;
    let filter = XdpFilter::load();
    let mut cases = Vec::new();
    let mut streams = Vec::new();
    match &filter {
        Ok(filter) => streams.push(("xdp-filter-stream", Varied::stream(filter.program()?)?)),
        Err(error) => cases.push(Case::missing("xdp-filter-stream", &format!("{error:#}"))),
    }
    streams.push(("rtp-pinhole", Varied::stream(callgate.program()?)?));
    let subjects: Vec<_> = streams
        .iter()
        .filter(|(name, _)| selection.has(name))
        .map(|(name, stream)| Subject::new(name, stream.program(), frames::rtp(), XDP_PASS))
        .collect();
    cases.extend(prog_run::measure(&subjects, effort.rounds, effort.repeat, counter)?);
    Ok(cases)
}

/// The same packet to a random one of many, and what these take.
fn many(selection: &Selection, effort: &Effort, counter: Option<&InstructionCounter>) -> Result<Vec<Case>> {
    let large = if effort.is_quick() { FEW } else { MILLION };
    let mut tables = Vec::new();
    let mut bytes = 0.0;
    for (name, receivers) in [("rtp-pinhole-1000", THOUSAND), ("rtp-pinhole-1m", large)] {
        let mut callgate = Callgate::load(&callgate_rules(RULES)).context("loading Callgate")?;
        let before = slab()?;
        callgate.open_pinholes(receivers)?;
        let pinholes = u32::from(receivers.addresses) * u32::from(receivers.ports);
        bytes = slab()?.saturating_sub(before) as f64 / f64::from(pinholes);
        tables.push((name, Varied::receivers(callgate.program()?, receivers)?, callgate));
    }
    let subjects: Vec<_> = tables
        .iter()
        .filter(|(name, ..)| selection.has(name))
        .map(|(name, table, _)| Subject::new(name, table.program(), frames::rtp(), XDP_PASS))
        .collect();
    let mut cases = prog_run::measure(&subjects, effort.rounds, effort.repeat, counter)?;
    if selection.has("pinhole-bytes") {
        cases.push(Case {
            bytes: Some(rounded(bytes, 0)),
            note: Some(format!(
                "{bytes:.0} bytes of the kernel's slabs for each pinhole; the table of buckets (16 bytes for each that \
                 could be) is there from the start"
            )),
            ..Case::new("pinhole-bytes")
        });
    }
    Ok(cases)
}

/// Bytes in slabs that cannot be reclaimed.
fn slab() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("SUnreclaim:")).context("no slabs")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("kB")?;
    Ok(1_024 * kib)
}

/// Calls back to back, their signalling read and their pinholes opened as the daemon does it. As soon as a call is
/// answered, both phones' RTP must pass.
fn opening(calls: u32) -> Result<Case> {
    let mut callgate = Callgate::load(&callgate_rules(RULES)).context("loading Callgate")?;
    let mut engine = Engine::new(Policy::default(), Bounds::default());
    let mut times = Vec::new();
    let mut lost = 0;
    for number in 0..calls {
        let mut start = sys::monotonic_ns()?;
        crowd::place(&mut engine, number, |engine| {
            if callgate.carry_out(engine.take_actions())? > 0 {
                times.push(sys::monotonic_ns()? - start);
            }
            start = sys::monotonic_ns()?;
            Ok(())
        })?;
        let [caller, callee] = crowd::phones(number).map(|ip| SocketAddrV4::new(ip, PORT));
        for (from, to) in [(caller, callee), (callee, caller)] {
            let run = sys::test_run(callgate.program()?, &frames::rtp_between(from, to), 1)?;
            lost += u32::from(run.verdict != XDP_PASS);
        }
    }
    ensure!(times.len() >= 2 * calls as usize, "{} messages have opened pinholes", times.len());
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64;
    let mut case = Case::new("pinhole-open");
    case.ns = Some(at(0.5));
    case.runs = 1;
    case.note = Some(format!(
        "from a message to its pinholes in force, p50 {:.1} us, p99 {:.1} us; of {} RTP packets right behind the answers \
         of {calls} calls back to back {lost} were lost",
        at(0.5) / 1e3,
        at(0.99) / 1e3,
        2 * calls
    ));
    Ok(case)
}
