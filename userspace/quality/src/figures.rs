//! What was measured of a stream, in the figures that operators read.
//!
//! Listings, the history, alarms and replays all take them from [`Figures::of`], so that they cannot differ.

use std::time::Duration;

use crate::codec;
use crate::emodel::{Connection, opinion_score, rating};

/// What was measured of one direction of a stream, by RFC 3550.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Packets of RTP that arrived, duplicates left out.
    pub received: u64,
    /// Packets that were expected by their sequence numbers and did not arrive (appendix A.3).
    pub lost: u64,
    /// Packets that arrived behind a later one.
    pub out_of_order: u64,
    /// Packets that arrived once more.
    pub duplicates: u64,
    /// Interarrival jitter (appendix A.8), in units of the RTP timestamp.
    pub jitter: f64,
    /// Those units in a second; 0 where the codec's clock is not known.
    pub clock: u32,
    /// Speech in one packet, as signalled; 20 ms where nothing is said.
    pub packet_time: Option<Duration>,
    /// There and back again, as the parties' reports have it.
    pub round_trip: Option<Duration>,
}

/// The figures of one direction of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Share of packets lost, 0 to 1; `None` where none was expected.
    pub loss: Option<f64>,
    /// Interarrival jitter in ms; `None` where the codec's clock is not known.
    pub jitter_ms: Option<f64>,
    /// The mean opinion score that the E-model estimates, 1 to 4.5; `None` for what is no audio, and for
    /// codecs of which nothing is published.
    pub mos: Option<f64>,
    /// The rating R that it stands for.
    pub rating: Option<f64>,
}

/// Packets that are the least an estimate rests upon: a tenth of a second says nothing of a call.
pub const ENOUGH: u64 = 50;
/// Speech in a packet where signalling does not tell (RFC 3551 section 4.2).
const PACKET_TIME: Duration = Duration::from_millis(20);

impl Figures {
    /// Of what was measured; `codec` is the name of the audio codec, empty where it is none.
    pub fn of(measured: &Measured, codec: &str) -> Self {
        let expected = measured.received.saturating_add(measured.lost);
        let loss = (expected > 0).then(|| measured.lost as f64 / expected as f64);
        let jitter_ms = (measured.clock > 0).then(|| measured.jitter * 1_000.0 / f64::from(measured.clock));
        let known = codec::by_name(codec).zip(loss).filter(|_| expected >= ENOUGH);
        let rating = known.map(|(codec, loss)| {
            rating(&Connection {
                delay: mouth_to_ear(measured, jitter_ms),
                impairment: codec.impairment,
                robustness: codec.robustness,
                loss: 100.0 * loss,
                ..Connection::default()
            })
        });
        Self { loss, jitter_ms, mos: rating.map(opinion_score), rating }
    }
}

/// One-way delay in ms: half of the round trip where it is known, the time to fill a packet, and a jitter
/// buffer of twice the jitter (RFC 3550 has jitter as a mean deviation, and most packets are within two of
/// them).
fn mouth_to_ear(measured: &Measured, jitter_ms: Option<f64>) -> f64 {
    let ms = |span: Duration| span.as_secs_f64() * 1_000.0;
    ms(measured.packet_time.unwrap_or(PACKET_TIME))
        + 2.0 * jitter_ms.unwrap_or_default()
        + measured.round_trip.map_or(0.0, |trip| ms(trip) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(received: u64, lost: u64) -> Measured {
        Measured { received, lost, jitter: 80.0, clock: 8_000, ..Measured::default() }
    }

    #[test]
    fn figures_are_in_the_units_of_operators() {
        let figures = Figures::of(&measured(950, 50), "PCMU");
        assert_eq!((figures.loss, figures.jitter_ms), (Some(0.05), Some(10.0)));
        // 93.2 − 15.8 for the loss, less a little for 40 ms of delay.
        let rating = figures.rating.expect("known");
        assert!((75.5..77.5).contains(&rating), "{rating}");
        assert!((3.8..4.0).contains(&figures.mos.expect("known")));
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert_eq!(Figures::of(&Measured::default(), "PCMU"), Figures::default());
        assert_eq!(Figures::of(&Measured { clock: 0, ..measured(100, 0) }, "PCMU").jitter_ms, None);
        assert_eq!(Figures::of(&measured(100, 0), "H264").mos, None);
        assert_eq!(Figures::of(&measured(ENOUGH - 1, 0), "PCMU").mos, None, "too few");
        assert!(Figures::of(&measured(ENOUGH, 0), "PCMU").mos.is_some());
    }

    #[test]
    fn a_way_that_is_long_is_worse() {
        let near = Figures::of(&measured(1_000, 0), "PCMU").mos.expect("known");
        let far = Measured { round_trip: Some(Duration::from_millis(600)), ..measured(1_000, 0) };
        let far = Figures::of(&far, "PCMU").mos.expect("known");
        assert!(near > 4.3 && far < 3.8, "{near} {far}");
    }
}
