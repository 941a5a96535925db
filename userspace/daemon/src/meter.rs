//! Packets a second: the counters of the last seconds, and what has come since.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use callgate_alg::action::Time;
use callgate_api::{CounterRow, Rates, RefusalRow};

/// Samples that are kept: rates are over so many seconds at most.
const SAMPLES: usize = 6;
/// Two samples are at least so far apart.
const APART: Duration = Duration::from_millis(900);

/// Counters at one moment, over all interfaces.
#[derive(Clone, Debug, Default)]
struct Sample {
    at: Time,
    passed: u64,
    /// Dropped packets, by reason.
    dropped: BTreeMap<String, u64>,
}

/// The samples of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    samples: VecDeque<Sample>,
}

impl Meter {
    /// Whether it is time for another sample.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.samples.back().is_none_or(|last| now.since(last.at) >= APART)
    }

    /// Takes up the counters of this moment.
    pub(crate) fn sample(&mut self, now: Time, rows: &[CounterRow]) {
        let mut sample = Sample { at: now, ..Sample::default() };
        for row in rows {
            if row.dropped {
                *sample.dropped.entry(row.reason.clone()).or_default() += row.packets;
            } else {
                sample.passed += row.packets;
            }
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Packets a second between the first sample and the last.
    pub(crate) fn rates(&self) -> Rates {
        let Some((first, last, over)) = self.span() else { return Rates::default() };
        let sum = |sample: &Sample| sample.dropped.values().sum::<u64>();
        Rates {
            passed: per_second(first.passed, last.passed, over),
            dropped: per_second(sum(first), sum(last), over),
            over_s: over.as_secs_f64().round() as u64,
        }
    }

    /// Reasons of refusals, the most frequent of late first, then the most frequent ever; `most` of them.
    pub(crate) fn refusals(&self, most: usize) -> Vec<RefusalRow> {
        let Some(last) = self.samples.back() else { return Vec::new() };
        let rate = |reason: &str, packets| match self.span() {
            Some((first, _, over)) => {
                per_second(first.dropped.get(reason).copied().unwrap_or(0), packets, over)
            }
            None => 0,
        };
        let mut rows: Vec<RefusalRow> = last
            .dropped
            .iter()
            .filter(|(_, packets)| **packets > 0)
            .map(|(reason, packets)| RefusalRow {
                reason: reason.clone(),
                packets: *packets,
                per_s: rate(reason, *packets),
            })
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.per_s, row.packets)));
        rows.truncate(most);
        rows
    }

    fn span(&self) -> Option<(&Sample, &Sample, Duration)> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let over = last.at.since(first.at);
        (!over.is_zero()).then_some((first, last, over))
    }
}

/// A count can go back: an interface that is let go takes its counters with it.
fn per_second(before: u64, after: u64, over: Duration) -> u64 {
    (after.saturating_sub(before) as f64 / over.as_secs_f64()).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn row(reason: &str, dropped: bool, packets: u64) -> CounterRow {
        CounterRow { interface: "eth0".into(), reason: reason.into(), dropped, packets, bytes: 0 }
    }

    #[test]
    fn rates_are_over_the_last_seconds_only() {
        let mut meter = Meter::default();
        assert_eq!(meter.rates(), Rates::default());
        for second in 0..20_u64 {
            assert!(meter.is_due(Time(second * SECOND)));
            // 100 a second at first, then 1,000.
            let packets = if second < 10 { second * 100 } else { 1_000 + (second - 10) * 1_000 };
            meter.sample(
                Time(second * SECOND),
                &[row("rule", false, packets), row("scan", true, packets / 10)],
            );
            assert!(!meter.is_due(Time(second * SECOND + SECOND / 2)));
        }
        assert_eq!(meter.rates(), Rates { passed: 1_000, dropped: 100, over_s: 5 });
    }

    #[test]
    fn reasons_of_late_come_first() {
        let mut meter = Meter::default();
        let sample = |now: u64| [row("old", true, 9_000), row("new", true, now * 10), row("none", true, 0)];
        meter.sample(Time(0), &sample(0));
        meter.sample(Time(2 * SECOND), &sample(2));
        let rows = meter.refusals(8);
        let told: Vec<_> = rows.iter().map(|row| (row.reason.as_str(), row.packets, row.per_s)).collect();
        assert_eq!(told, [("new", 20, 10), ("old", 9_000, 0)]);
        assert_eq!(meter.refusals(1).len(), 1);
    }

    #[test]
    fn counters_that_go_back_are_no_rate() {
        let mut meter = Meter::default();
        meter.sample(Time(0), &[row("rule", false, 500)]);
        meter.sample(Time(SECOND), &[row("rule", false, 100)]);
        assert_eq!(meter.rates().passed, 0);
    }
}
