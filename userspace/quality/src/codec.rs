//! What codecs cost: equipment impairment factors and packet-loss robustness (ITU-T G.113, 11/2007, appendix
//! I).
//!
//! - Ie without loss: table I.1
//! - Bpl: table I.4; where it has none, the default of G.107, which is the value without concealment
//!
//! The factors are of narrow-band telephony. A wide-band codec has none on that scale: it is rated as the
//! best narrow-band one, G.711 with concealment, since it is not worse; [`Codec::assumed`] says so.

use crate::emodel::BPL;

/// A codec in the E-model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codec {
    /// Ie.
    pub impairment: f64,
    /// Bpl.
    pub robustness: f64,
    /// The values are not published for it, but taken from G.711 with concealment.
    pub assumed: bool,
}

/// Bpl of G.711 with the concealment of its appendix I (table I.4).
const CONCEALED: f64 = 25.1;

/// By encoding name (`PCMU`) or as H.245 and SCCP call it (`g711Ulaw64k`). Names are compared without regard
/// to case. `None`: it has no published values, and nothing it could be compared with.
pub fn by_name(name: &str) -> Option<Codec> {
    let published = |impairment, robustness| Some(Codec { impairment, robustness, assumed: false });
    let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    let begins =
        |start: &str| name.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start));
    match () {
        () if is(&["PCMU", "PCMA"]) || begins("G711") || begins("G.711") => published(0.0, CONCEALED),
        // With VAD, whose values are the ones that have a Bpl beside them.
        () if begins("G729") || begins("G.729") => published(11.0, 19.0),
        () if begins("G723") || begins("G.723") => published(15.0, 16.1),
        () if begins("GSM-EFR") || is(&["AMR", "gsmEnhancedFullRate"]) => published(5.0, 10.0),
        () if begins("GSM-HR") || is(&["gsmHalfRate"]) => published(23.0, BPL),
        () if is(&["GSM", "gsmFullRate"]) => published(20.0, BPL),
        () if begins("G728") || begins("G.728") => published(7.0, BPL),
        () if begins("G726-40") => published(2.0, BPL),
        () if begins("G726-24") => published(25.0, BPL),
        () if begins("G726-16") => published(50.0, BPL),
        () if begins("G726") || begins("G.726") || is(&["G721"]) => published(7.0, BPL),
        () if begins("G722") || begins("G.722") || begins("G7221") || is(WIDE) => {
            Some(Codec { impairment: 0.0, robustness: CONCEALED, assumed: true })
        }
        () => None,
    }
}

/// Wide-band codecs, whose decoders conceal losses.
const WIDE: &[&str] =
    &["opus", "AMR-WB", "EVS", "SILK", "MP4A-LATM", "mpeg4-generic", "AAC", "aac-ld", "L16"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emodel::{Connection, opinion_score, rating};

    #[test]
    fn names_of_every_protocol_are_known() {
        for same in ["PCMU", "pcma", "g711Ulaw64k", "G.711 A-law"] {
            assert_eq!(by_name(same), by_name("PCMU"), "{same}");
        }
        for same in ["G729", "g729AnnexA", "G729D"] {
            assert_eq!(by_name(same), by_name("G729"), "{same}");
        }
        assert_eq!(by_name("opus").map(|codec| codec.assumed), Some(true));
        assert_eq!(by_name("G722").map(|codec| codec.assumed), Some(true));
        assert_eq!(by_name("PCMU").map(|codec| codec.assumed), Some(false));
        for unknown in ["", "H264", "iLBC", "telephone-event", "é729"] {
            assert_eq!(by_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn codecs_without_loss_score_as_is_commonly_published() {
        // R = 93.2 − Ie: the ratings G.113 leads to, and the scores of G.107 annex B for them.
        for (name, score) in
            [("PCMU", 4.41), ("G729", 4.10), ("G723", 3.95), ("GSM-EFR", 4.29), ("GSM", 3.74)]
        {
            let codec = by_name(name).expect(name);
            let at = Connection {
                impairment: codec.impairment,
                robustness: codec.robustness,
                ..Connection::default()
            };
            let found = opinion_score(rating(&at));
            assert!((found - score).abs() < 0.02, "{name}: {found}");
        }
    }
}
