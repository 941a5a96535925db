//! The E-model (ITU-T G.107, 06/2015): a transmission rating R from 0 to 100, and the mean opinion score it
//! stands for.
//!
//! R = Ro − Is − Id − Ie,eff + A (equation 7-1). What a firewall knows is the delay, the codec and the loss;
//! all else stands at the Recommendation's defaults (its table 2), which [`Connection`] names.

/// What the rating depends on, as far as it may differ from the defaults of G.107.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connection {
    /// One-way delay from mouth to ear, in ms: T and Ta, and half of Tr.
    pub delay: f64,
    /// The codec's equipment impairment, Ie.
    pub impairment: f64,
    /// The codec's robustness against packet loss, Bpl.
    pub robustness: f64,
    /// Packets lost, in percent: Ppl.
    pub loss: f64,
    /// Burst ratio of the losses, BurstR: 1 where they are random.
    pub burst: f64,
}

impl Default for Connection {
    /// The defaults of G.107, table 2.
    fn default() -> Self {
        Self { delay: 0.0, impairment: 0.0, robustness: BPL, loss: 0.0, burst: 1.0 }
    }
}

/// Packet-loss robustness where none is known (G.107 table 2): that of G.711 without concealment.
pub const BPL: f64 = 4.3;

// G.107 table 2. Loudness ratings, talker sidetone and echo loss in dB, noise in dBm0p, dBmp and dB(A).
const SLR: f64 = 8.0;
const RLR: f64 = 2.0;
const STMR: f64 = 15.0;
/// LSTR = STMR + Dr.
const LSTR: f64 = 18.0;
const DS: f64 = 3.0;
const TELR: f64 = 65.0;
const WEPL: f64 = 110.0;
/// Quantizing distortion units.
const QDU: f64 = 1.0;
const NC: f64 = -70.0;
const NFOR: f64 = -64.0;
const PS: f64 = 35.0;
const PR: f64 = 35.0;
/// Sensitivity to delay: sT and mT in ms.
const SENSITIVITY: f64 = 1.0;
const NOTICED: f64 = 100.0;
/// Advantage factor.
const A: f64 = 0.0;

/// The transmission rating R of a connection; at least 0.
pub fn rating(connection: &Connection) -> f64 {
    let noise = noise();
    let basic = 15.0 - 1.5 * (SLR + noise);
    let simultaneous = simultaneous(basic, noise);
    let delay = delay(connection.delay.max(0.0), basic, noise);
    (basic - simultaneous - delay - equipment(connection) + A).max(0.0)
}

/// The mean opinion score of conversational quality that a rating stands for, 1 to 4.5 (annex B, equation
/// B-4).
pub fn opinion_score(rating: f64) -> f64 {
    let rating = rating.clamp(0.0, 100.0);
    // Below R = 6.5 the polynomial dips under 1, which no opinion does.
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
}

/// No: the sum of all noise, in dBm0p (equations 7-3 to 7-7).
fn noise() -> f64 {
    let overall = SLR + RLR;
    let send_side = PS - SLR - DS - 100.0 + 0.004 * (PS - overall - DS - 14.0).powi(2);
    let effective = PR + 10.0 * (1.0 + power((10.0 - LSTR) / 10.0)).log10();
    let receive_side = RLR - 121.0 + effective + 0.008 * (effective - 35.0).powi(2);
    let floor = NFOR + RLR;
    10.0 * [NC, send_side, receive_side, floor].map(|level| power(level / 10.0)).iter().sum::<f64>().log10()
}

/// Is: what occurs together with the voice (equations 7-8 to 7-17).
fn simultaneous(basic: f64, noise: f64) -> f64 {
    let loudness = SLR + RLR + 0.2 * (64.0 + noise - RLR);
    let too_loud = 20.0 * ((1.0 + (loudness / 8.0).powi(8)).powf(1.0 / 8.0) - loudness / 8.0);
    // STMRo at the delay of the sidetone's path itself, 0.
    let sidetone = -10.0 * (power(-STMR / 10.0) + power(-TELR / 10.0)).log10();
    let sidetone = 12.0 * (1.0 + ((sidetone - 13.0) / 6.0).powi(8)).powf(1.0 / 8.0)
        - 28.0 * (1.0 + ((sidetone + 1.0) / 19.4).powi(35)).powf(1.0 / 35.0)
        - 13.0 * (1.0 + ((sidetone - 3.0) / 33.0).powi(13)).powf(1.0 / 13.0)
        + 29.0;
    let quality = 37.0 - 15.0 * QDU.log10();
    let g = 1.07 + 0.258 * quality + 0.0602 * quality * quality;
    let y = (basic - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
    let z = 46.0 / 30.0 - g / 40.0;
    let quantizing = 15.0 * (1.0 + power(y) + power(z)).log10();
    too_loud + sidetone + quantizing
}

/// Id: echo to the talker, echo to the listener, and delay too long to talk (equations 7-18 to 7-28).
fn delay(delay: f64, basic: f64, noise: f64) -> f64 {
    let talker_echo = if delay < 1.0 {
        0.0
    } else {
        let level = TELR - 40.0 * ((1.0 + delay / 10.0) / (1.0 + delay / 150.0)).log10()
            + 6.0 * (-0.3 * delay * delay).exp();
        let without = -1.5 * (noise - RLR);
        let with = 80.0 + 2.5 * (level - 14.0);
        let half = (without - with) / 2.0;
        (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-delay).exp())
    };
    let listener = 10.5 * (WEPL + 7.0) * (2.0 * delay + 1.0).powf(-0.25);
    let half = (basic - listener) / 2.0;
    let listener_echo = half + (half * half + 169.0).sqrt();
    let too_long = if delay <= NOTICED {
        0.0
    } else {
        let x = (delay / NOTICED).log2();
        let power = 6.0 * SENSITIVITY;
        let of = |x: f64| (1.0 + x.powf(power)).powf(1.0 / power);
        25.0 * (of(x) - 3.0 * of(x / 3.0) + 2.0)
    };
    talker_echo + listener_echo + too_long
}

/// Ie,eff: the codec, and what the loss makes of it (equation 7-29).
fn equipment(connection: &Connection) -> f64 {
    let Connection { impairment, robustness, loss, burst, .. } = *connection;
    let loss = loss.clamp(0.0, 100.0);
    impairment + (95.0 - impairment) * loss / (loss / burst.max(1.0) + robustness)
}

fn power(exponent: f64) -> f64 {
    10_f64.powf(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} is not {expected} ± {tolerance}");
    }

    #[test]
    fn the_defaults_rate_as_the_recommendation_says() {
        // G.107 clause 7.7: all parameters at their defaults give R = 93.2, which is MOS 4.41.
        let rating = rating(&Connection::default());
        near(rating, 93.2, 0.05);
        near(opinion_score(rating), 4.41, 0.005);
    }

    #[test]
    fn opinions_follow_ratings_as_in_annex_b() {
        // G.109 table 1 and G.107 table B.1: the limits of the categories of satisfaction.
        for (rating, score) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            near(opinion_score(rating), score, 0.007);
        }
        near(opinion_score(0.0), 1.0, 0.0);
        near(opinion_score(-5.0), 1.0, 0.0);
        near(opinion_score(5.0), 1.0, 0.0);
        near(opinion_score(100.0), 4.5, 1e-9);
        near(opinion_score(120.0), 4.5, 1e-9);
    }

    #[test]
    fn delay_costs_what_a_published_fit_of_the_model_says() {
        // Cole and Rosenbluth, "Voice over IP performance monitoring" (2001): Id = 0.024 d + 0.11 (d − 177.3)
        // H(d − 177.3) was fitted to the model's curve at these defaults.
        let at = |ms: f64| {
            rating(&Connection::default()) - rating(&Connection { delay: ms, ..Connection::default() })
        };
        for ms in [50.0_f64, 100.0, 150.0, 250.0, 300.0, 350.0] {
            let fit = 0.024 * ms + 0.11 * (ms - 177.3).max(0.0);
            near(at(ms), fit, 2.5);
        }
        assert!((0..60).map(f64::from).all(|step| at(step * 10.0 + 10.0) >= at(step * 10.0)), "never better");
    }

    #[test]
    fn loss_costs_what_the_codec_lets_it() {
        // Equation 7-29 by hand: G.711 with concealment (Bpl 25.1) at 5 %: 95 × 5 / 30.1 = 15.78.
        let with = |robustness, impairment, loss, burst| {
            rating(&Connection { robustness, impairment, loss, burst, ..Connection::default() })
        };
        let ideal = with(25.1, 0.0, 0.0, 1.0);
        near(ideal - with(25.1, 0.0, 5.0, 1.0), 15.78, 0.01);
        near(ideal - with(4.3, 0.0, 1.0, 1.0), 95.0 / 5.3, 0.01);
        near(ideal - with(19.0, 11.0, 0.0, 1.0), 11.0, 1e-9);
        near(ideal - with(19.0, 11.0, 2.0, 1.0), 11.0 + 84.0 * 2.0 / 21.0, 0.01);
        assert!(with(25.1, 0.0, 5.0, 4.0) < with(25.1, 0.0, 5.0, 1.0), "bursts are worse");
        near(with(4.3, 0.0, 100.0, 1.0), 93.2 - 95.0 * 100.0 / 104.3, 0.1);
        near(with(4.3, 40.0, 100.0, 1.0), 0.0, 1.0);
    }
}
