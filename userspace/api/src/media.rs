//! What was measured of media, in figures: the same in every listing.

use std::time::Duration;

use callgate_alg::action::Time;
use callgate_alg::call::{Medium, Stream};
use callgate_quality::{Figures, Measured};
use callgate_shared::media::Measures;
use serde::{Deserialize, Serialize};

/// One direction of a stream, as it was received here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MediaRow {
    /// Packets of RTP admitted (of what is no RTP: packets).
    pub packets: u64,
    /// Bytes admitted, whole IP packets, what comes beside RTP included.
    pub bytes: u64,
    /// Packets that are missing.
    pub lost: u64,
    /// Their share, 0 to 1; `None` where none was expected.
    pub loss: Option<f64>,
    /// Packets that came after one sent later.
    pub out_of_order: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Interarrival jitter in ms (RFC 3550); `None` where the codec's clock is not known.
    pub jitter_ms: Option<f64>,
    /// The longest time between two packets.
    pub longest_gap_ms: u32,
    /// The E-model's rating, 0 to 100; `None` for what is no audio, and where too little is known.
    pub rating: Option<f64>,
    /// The mean opinion score it stands for, 1 to 4.5.
    pub mos: Option<f64>,
    /// The DSCPs that were seen.
    pub dscps: Vec<u8>,
    /// Its source.
    pub ssrc: Option<u32>,
    /// Packets that broke the contract: dropped, where it is enforced.
    pub refused: u32,
    /// Why the last of them did.
    pub refused_last: Option<String>,
    /// What breaks the contract is dropped.
    pub enforced: bool,
    /// `fast`, where XDP forwards it; else `stack`.
    pub path: String,
    /// Packets that took the stack all the same.
    pub by_stack: u32,
    /// Since the last packet; `None` before the first.
    pub silent_s: Option<u64>,
    /// What its receiver has reported last.
    pub reported: Option<Reported>,
    /// There and back again between the parties, as their reports have it.
    pub round_trip_ms: Option<f64>,
}

/// What a receiver reports of a stream (RFC 3550 section 6.4): what is lost behind the firewall counts too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Share of packets lost between its last two reports, 0 to 1.
    pub loss: f64,
    /// Packets lost in all; negative where duplicates arrived.
    pub lost: i32,
    /// Interarrival jitter in ms; `None` where the clock is not known.
    pub jitter_ms: Option<f64>,
}

/// What is known of a direction beside what its pinhole has measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aside {
    /// What breaks the contract is dropped.
    pub enforced: bool,
    /// XDP forwards it.
    pub fast: bool,
    /// There and back again.
    pub round_trip: Option<Duration>,
    /// Reported last: share lost in 256ths, packets lost, jitter in units of the clock.
    pub reported: Option<(u8, i32, u32)>,
}

impl MediaRow {
    /// Of a direction of `stream`, at `now`.
    pub fn new(measures: &Measures, stream: &Stream, aside: Aside, now: Time) -> Self {
        let clock = measures.clock_hz;
        let measured = measured(measures, aside.round_trip);
        let codec = if stream.medium == Medium::Audio { stream.codec.as_str() } else { "" };
        let Figures { loss, jitter_ms, mos, rating } = Figures::of(&measured, codec);
        let ms = |units: u32| (clock > 0).then(|| f64::from(units) * 1_000.0 / f64::from(clock));
        let rtp = matches!(stream.medium, Medium::Audio | Medium::Video | Medium::Other);
        Self {
            packets: if rtp { measures.rtp() } else { measures.packets },
            bytes: measures.bytes,
            lost: measured.lost,
            loss: loss.filter(|_| rtp),
            out_of_order: measured.out_of_order,
            duplicates: measured.duplicates,
            jitter_ms: jitter_ms.filter(|_| measures.rtp() > 1),
            longest_gap_ms: measures.longest_gap_ms,
            rating,
            mos,
            dscps: (0..64).filter(|dscp| measures.dscps >> dscp & 1 != 0).collect(),
            ssrc: measures.ssrc,
            refused: measures.refused,
            refused_last: measures.refused_last.map(|reason| reason.name().to_owned()),
            enforced: aside.enforced,
            path: if aside.fast { "fast" } else { "stack" }.to_owned(),
            by_stack: measures.by_stack,
            silent_s: (measures.first > 0).then(|| now.since(Time(measures.last)).as_secs()),
            reported: aside.reported.map(|(share, lost, jitter)| Reported {
                loss: f64::from(share) / 256.0,
                lost,
                jitter_ms: ms(jitter),
            }),
            round_trip_ms: aside.round_trip.map(|trip| trip.as_secs_f64() * 1_000.0),
        }
    }
}

/// What a pinhole has measured, as the figures are computed of it.
pub fn measured(measures: &Measures, round_trip: Option<Duration>) -> Measured {
    Measured {
        received: measures.rtp().saturating_sub(measures.duplicates.into()),
        lost: measures.lost.into(),
        out_of_order: measures.out_of_order.into(),
        duplicates: measures.duplicates.into(),
        jitter: measures.jitter,
        clock: measures.clock_hz,
        packet_time: None,
        round_trip,
    }
}
