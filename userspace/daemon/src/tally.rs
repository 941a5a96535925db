//! How calls have sounded, for metrics: what was measured of each direction of audio, once its call is over.

use callgate_alg::call::Medium;
use callgate_api::{MediaRow, StreamRow};

/// Upper bounds of the mean opinion scores that are told apart: those of ITU-T G.109 and annex B of G.107.
const SCORES: [f64; 6] = [2.58, 3.1, 3.6, 4.03, 4.34, 4.5];
/// Of shares lost.
const LOSSES: [f64; 7] = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1];
/// Of jitters, in seconds.
const JITTERS: [f64; 7] = [0.001, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1];

/// What was measured, sorted into buckets.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// Upper bounds, ascending.
    bounds: &'static [f64],
    /// How many are in each bucket, and not in one before; the last is for all above.
    counts: Vec<u64>,
    /// Their sum.
    pub(crate) sum: f64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn note(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// Upper bound of each bucket, and how many are not above it; of the last, which has none, how many there are.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((bound, *sum))
        })
    }
}

/// The directions of audio of calls that are over.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) mos: Histogram,
    pub(crate) loss: Histogram,
    /// In seconds.
    pub(crate) jitter: Histogram,
}

impl Default for Tally {
    fn default() -> Self {
        Self { mos: Histogram::new(&SCORES), loss: Histogram::new(&LOSSES), jitter: Histogram::new(&JITTERS) }
    }
}

impl Tally {
    /// A call is over: its streams, with what was measured of them.
    pub(crate) fn note(&mut self, streams: &[StreamRow]) {
        let audio = streams.iter().filter(|stream| stream.medium == Medium::Audio);
        for MediaRow { mos, loss, jitter_ms, .. } in
            audio.flat_map(|row| [&row.to_caller, &row.to_callee]).flatten()
        {
            mos.iter().for_each(|mos| self.mos.note(*mos));
            loss.iter().for_each(|loss| self.loss.note(*loss));
            jitter_ms.iter().for_each(|jitter| self.jitter.note(jitter / 1_000.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_of_its_bound_and_in_all_above() {
        let mut losses = Histogram::new(&LOSSES);
        for share in [0.0, 0.005, 0.006, 0.9] {
            losses.note(share);
        }
        let counts: Vec<_> = losses.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 2, 3, 3, 3, 3, 4]);
        assert_eq!(losses.buckets().last(), Some((None, 4)));
        assert!((losses.sum - 0.911).abs() < 1e-9);
    }
}
