//! The figures, for people and for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::lineup;
use crate::machine::Machine;

/// Spread of a case's runs above which the machine is called noisy.
pub(crate) const NOISY: f64 = 0.15;

/// A whole bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub(crate) machine: Machine,
    /// What, in the order of the manual.
    pub(crate) cases: Vec<Case>,
}

/// One measured case. What could not be measured is null, and `note` says why.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: &'static str,
    /// Time per packet or message, in ns: the median of the runs.
    pub(crate) ns: Option<f64>,
    /// Packets per second, for what was sent through a link.
    pub(crate) pps: Option<f64>,
    /// Calls per second, for what was signalled through a gateway.
    pub(crate) rate: Option<f64>,
    /// Bytes of user space per call.
    pub(crate) bytes: Option<f64>,
    /// Instructions the kernel retired per packet, or callgrind counted per message.
    pub(crate) instructions: Option<f64>,
    /// The case it is compared with.
    pub(crate) against: Option<&'static str>,
    /// Time per packet over that of `against`, the median over the rounds; instructions over those of
    /// [`lineup::KERNEL_H323`]. Below 1 is cheaper.
    pub(crate) ratio: Option<f64>,
    /// Greatest less least of the runs, over the median.
    pub(crate) spread: Option<f64>,
    /// How many runs.
    pub(crate) runs: usize,
    /// The runs, in the order of their rounds.
    #[serde(skip)]
    pub(crate) rounds: Vec<f64>,
    /// Size of the program after the verifier, in bytes.
    pub(crate) translated: Option<u32>,
    /// Size of the program as machine code, in bytes.
    pub(crate) jited: Option<u32>,
    /// What else a reader must know.
    pub(crate) note: Option<String>,
}

impl Case {
    /// A case without figures.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, against: lineup::against(name), ..Default::default() }
    }

    /// A case that could not be measured, and why.
    pub(crate) fn missing(name: &'static str, why: &str) -> Self {
        Self { note: Some(format!("not measured: {why}")), ..Self::new(name) }
    }

    /// Takes the runs, in ns per packet and in the order of their rounds.
    pub(crate) fn time(&mut self, rounds: Vec<f64>) {
        let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = rounds.iter().copied().fold(0.0, f64::max);
        let median = median(&rounds);
        self.ns = median.map(|median| rounded(median, 1));
        self.spread = median.map(|median| rounded((greatest - least) / median, 3));
        self.runs = rounds.len();
        self.rounds = rounds;
    }

    /// Time per packet over a peer's: the median of the rounds, in each of which both took their turn, so that a
    /// machine that slows down half way does not distort it.
    fn ratio_to(&self, peer: &Self) -> Option<f64> {
        let ratios: Vec<_> =
            self.rounds.iter().zip(&peer.rounds).map(|(ours, theirs)| ours / theirs).collect();
        median(&ratios).map(|ratio| rounded(ratio, if ratio < 0.1 { 4 } else { 2 }))
    }
}

/// The middle value; `None` of no values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().checked_sub(1)? / 2;
    Some(f64::midpoint(*values.get(lower)?, *values.get(upper)?))
}

/// `value` to so many decimals.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

impl Report {
    /// Puts figures and machine together: works out the ratios, and whether it was quiet.
    pub(crate) fn new(mut machine: Machine, mut cases: Vec<Case>) -> Self {
        for index in 0..cases.len() {
            let case = &cases[index];
            let peer = cases.iter().find(|peer| Some(peer.name) == case.against);
            cases[index].ratio = peer.and_then(|peer| case.ratio_to(peer)).or(case.ratio);
        }
        let place = |case: &Case| lineup::CASES.iter().position(|(name, _)| *name == case.name);
        cases.sort_by_key(place);
        machine.noisy = cases.iter().filter_map(|case| case.spread).any(|spread| spread > NOISY);
        Self { machine, cases }
    }

    /// Writes the table people read.
    pub(crate) fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        let machine = &self.machine;
        let load = |load: Option<f64>| load.map_or("?".to_owned(), |load| format!("{load:.2}"));
        writeln!(out, "{}, {} CPUs, Linux {}", machine.cpu, machine.cpus, machine.kernel)?;
        writeln!(
            out,
            "on CPU {}, load {} before, {} after\n",
            machine.pinned_to,
            load(machine.load_before),
            load(machine.load_after)
        )?;
        writeln!(
            out,
            "{:<22} {:>8} {:>7} {:>7} {:>8} {:>7} {:>7}  {:<18} {:>6}",
            "case", "ns", "spread", "Mpps", "instr", "eBPF B", "code B", "against", "ratio"
        )?;
        for case in &self.cases {
            writeln!(
                out,
                "{:<22} {:>8} {:>7} {:>7} {:>8} {:>7} {:>7}  {:<18} {:>6}",
                case.name,
                cell(case.ns.map(|ns| format!("{ns:.1}"))),
                cell(case.spread.map(|spread| format!("{:.0}%", spread * 100.0))),
                cell(case.pps.map(|pps| format!("{:.2}", pps / 1e6))),
                cell(case.instructions.map(|count| format!("{count:.0}"))),
                cell(case.translated.map(|bytes| bytes.to_string())),
                cell(case.jited.map(|bytes| bytes.to_string())),
                case.against.unwrap_or("-"),
                cell(case.ratio.map(|ratio| ratio.to_string())),
            )?;
        }
        writeln!(out)?;
        for case in &self.cases {
            if let Some(note) = &case.note {
                writeln!(out, "{}: {note}", case.name)?;
            }
        }
        if let Some(why) = &machine.no_instructions {
            writeln!(out, "instructions: not counted: {why}")?;
        }
        if let Some(why) = &machine.no_message_instructions {
            writeln!(out, "instructions per message: not counted: {why}")?;
        }
        if machine.noisy {
            let limit = NOISY * 100.0;
            writeln!(out, "The machine is noisy (a spread above {limit:.0}%): trust no smaller difference.")?;
        }
        Ok(())
    }
}

fn cell(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &'static str, against: Option<&'static str>, runs: &[f64]) -> Case {
        let mut case = Case { name, against, ..Default::default() };
        case.time(runs.to_vec());
        case
    }

    fn machine() -> Machine {
        Machine::survey(0)
    }

    #[test]
    fn median_and_spread() {
        let odd = case("odd", None, &[30.0, 10.0, 20.0]);
        assert_eq!((odd.ns, odd.spread, odd.runs), (Some(20.0), Some(1.0), 3));
        let even = case("even", None, &[10.0, 40.0, 20.0, 30.0]);
        assert_eq!((even.ns, even.spread), (Some(25.0), Some(1.2)));
        let none = case("none", None, &[]);
        assert_eq!((none.ns, none.spread, none.runs), (None, None, 0));
    }

    /// The machine was disturbed in two of the rounds: the ratio of the medians would be 0.83.
    #[test]
    fn ratio_compares_within_a_round() {
        let peer = case("peer", None, &[100.0, 120.0, 360.0]);
        let ours = case("ours", Some("peer"), &[40.0, 100.0, 180.0]);
        assert_eq!((ours.ns, peer.ns), (Some(100.0), Some(120.0)));
        let report = Report::new(machine(), vec![peer, ours]);
        assert_eq!(report.cases[1].ratio, Some(0.5));
    }

    #[test]
    fn ratio_is_over_the_peer() {
        let report = Report::new(
            machine(),
            vec![case("peer", None, &[100.0]), case("ours", Some("peer"), &[50.0]), {
                case("alone", Some("not measured"), &[1.0])
            }],
        );
        let ratios: Vec<_> = report.cases.iter().map(|case| case.ratio).collect();
        assert_eq!(ratios, [None, Some(0.5), None]);
        assert!(!report.machine.noisy);
    }

    #[test]
    fn wide_spread_is_noise() {
        let report = Report::new(machine(), vec![case("a", None, &[100.0, 116.0, 100.0])]);
        assert!(report.machine.noisy);
        let mut text = Vec::new();
        report.table(&mut text).expect("a Vec takes what is written to it");
        assert!(String::from_utf8_lossy(&text).contains("noisy"));
    }
}
