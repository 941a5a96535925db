//! What a session description says of a stream, as the contract of whoever receives it (RFC 3264, RFC 4566).
//!
//! A description says what its author *receives*. Once it is answered, each party is bound to what the other
//! one has said: of an offer only those formats stay that the answer has too. What H.245 and SCCP say of a
//! channel is read into the same contracts by [`of_channel`].
//!
//! Rates are what a codec sends at its busiest. Where one format is of unknown rate, b= speaks for all (RFC
//! 8866 section 5.8); where that is missing too, there is no ceiling.

use callgate_protocols::sdp::{Media, Rtpmap, Security};

use crate::contract::{Contract, Nominal, PayloadTypes};

/// Most formats of one description that are looked at.
const MAX_FORMATS: usize = 64;
/// Packet time where nothing is said (RFC 3551 section 4.2), in ms.
const PACKET_MS: u32 = 20;
/// Longest packet time that is believed, in ms: a=ptime is a wish (RFC 8866 section 6.4), and who keeps to 20
/// ms in spite of it stays below twice the rate.
const MAX_PACKET_MS: u32 = 40;
/// Bytes of IPv6, UDP and RTP headers, and of IPv4's.
const HEADERS: [u32; 2] = [60, 40];
/// Bytes that SRTP adds to a packet at most: its tag and a key identifier (RFC 3711).
const SRTP: u32 = 16;
/// Comfort noise (RFC 3389), and what was meant for it before.
const COMFORT_NOISE: [u8; 2] = [13, 19];
/// Payload types without a static assignment (RFC 3551 section 6).
const DYNAMIC: std::ops::RangeInclusive<u8> = 96..=127;

/// What one party's media description says of what it receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// In order of preference; empty where nothing is known.
    formats: Box<[Format]>,
    /// But for payload types, clock and rate, which follow from the formats.
    said: Contract,
    /// The only source it sends from.
    ssrc: Option<u32>,
    /// What is sent at the busiest, of formats whose rate is not known: b=, in bits per second.
    bandwidth: Option<u32>,
    packet_ms: u32,
    /// Bytes around what the codec sends, in each packet.
    overhead: u32,
    /// What the other lines of its bundle send; `None`: not known.
    others: Option<Nominal>,
    /// They have another clock.
    mixed: bool,
}

/// One format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    payload_type: u8,
    /// Names the encoding: the same in both descriptions, whatever its number.
    encoding: u32,
    clock: u32,
    /// At its busiest, in bits per second; 0 where that is not known.
    bits: u32,
    /// It says something beside the codec: telephone events, comfort noise, redundancy.
    aside: bool,
}

impl Terms {
    /// What a description says; nothing where it is not of RTP.
    pub(crate) fn of(media: &Media) -> Self {
        let formats = media.payload_types().take(MAX_FORMATS);
        let formats: Vec<Format> = formats.map(|payload_type| Format::of(media, payload_type)).collect();
        if formats.is_empty() {
            return Self::default();
        }
        let mut sources = media.ssrcs();
        let grouped = media.attributes("ssrc-group").next().is_some();
        let ssrc = sources.next().filter(|_| !grouped && sources.next().is_none());
        let security = media.security();
        let secure = security != Security::None;
        let is_v4 =
            media.connection.and_then(|connection| connection.host.ip()).is_some_and(|ip| ip.is_ipv4());
        let said = Contract {
            stun: media.offers_ice(),
            dtls: security == Security::Dtls,
            zrtp: media.attribute("zrtp-hash").is_some(),
            reduced_rtcp: media.attribute("rtcp-rsize").is_some(),
            secure,
            ..Contract::default()
        };
        Self {
            formats: redundant(formats, media).into(),
            said,
            ssrc,
            bandwidth: media
                .bandwidth()
                .map(|bits| u32::try_from(bits).unwrap_or(u32::MAX))
                .filter(|bits| *bits > 0),
            packet_ms: media.ptime().unwrap_or(PACKET_MS).clamp(5, MAX_PACKET_MS),
            overhead: HEADERS[usize::from(is_v4)] + if secure { SRTP } else { 0 },
            others: Some(Nominal::default()),
            mixed: false,
        }
    }

    /// What is known of a stream whose descriptions are gone: the contract it has.
    pub(crate) fn restored(receives: Contract, ssrc: Option<u32>) -> Self {
        Self { said: receives, ssrc, ..Self::default() }
    }

    /// Another line shares its transport (RFC 9143): what that one receives comes here too.
    pub(crate) fn share(&mut self, other: &Self) {
        let clock = |terms: &Self| terms.first().map(|format| format.clock);
        self.mixed |= clock(self) != clock(other);
        let sum = |a: Nominal, b: Nominal| Nominal {
            packets: if a.packets == 0 || b.packets == 0 { 0 } else { a.packets.saturating_add(b.packets) },
            bytes: a.bytes.saturating_add(b.bytes),
        };
        let first = self.others == Some(Nominal::default());
        self.others = self
            .others
            .zip(other.nominal(&other.formats))
            .map(|(known, other)| if first { other } else { sum(known, other) });
        // Their rate is among the others' by now.
        let theirs = other.formats.iter().map(|format| Format { bits: 1, aside: true, ..*format });
        self.formats = self.formats.iter().copied().chain(theirs).take(MAX_FORMATS).collect();
        // Each line has a source of its own.
        self.ssrc = None;
        self.said.zrtp |= other.said.zrtp;
    }

    /// What its author receives while nobody has answered; `negotiation` tells this offer and its answer from
    /// others.
    pub(crate) fn alone(&self, negotiation: u32) -> Contract {
        Contract { negotiation, ..self.contract(&self.formats, self.first()) }
    }

    /// What whoever made the offer receives, and whoever answered it.
    pub(crate) fn agreed(offer: &Self, answer: &Self, negotiation: u32) -> [Contract; 2] {
        let answered =
            |format: &&Format| answer.formats.iter().any(|other| other.encoding == format.encoding);
        let mut kept: Vec<Format> = offer.formats.iter().filter(answered).copied().collect();
        if kept.is_empty() {
            kept = offer.formats.to_vec();
        }
        let clock = answer.first().or(offer.first());
        let both = |ours: Contract, source: Option<u32>| Contract {
            ssrc: source,
            stun: offer.said.stun && answer.said.stun,
            dtls: offer.said.dtls && answer.said.dtls,
            // It is found out within the media, if only one has the hash (RFC 6189 section 8).
            zrtp: offer.said.zrtp || answer.said.zrtp,
            reduced_rtcp: offer.said.reduced_rtcp && answer.said.reduced_rtcp,
            secure: offer.said.secure && answer.said.secure,
            negotiation,
            ..ours
        };
        [
            both(offer.contract(&kept, clock), answer.ssrc),
            both(answer.contract(&answer.formats, clock), offer.ssrc),
        ]
    }

    /// The only source its author sends from, where it tells.
    pub(crate) fn source(&self) -> Option<u32> {
        self.ssrc
    }

    /// The format that is used most likely.
    fn first(&self) -> Option<&Format> {
        self.formats.iter().find(|format| !format.aside).or(self.formats.first())
    }

    fn contract(&self, formats: &[Format], first: Option<&Format>) -> Contract {
        if formats.is_empty() {
            return self.said;
        }
        Contract {
            payload_types: formats.iter().map(|format| format.payload_type).collect(),
            clock: first.filter(|_| !self.mixed).map_or(0, |format| format.clock),
            nominal: self.nominal(formats),
            ..self.said
        }
    }

    /// What is sent at the busiest in these formats.
    fn nominal(&self, formats: &[Format]) -> Option<Nominal> {
        let others = self.others?;
        let known = formats.iter().all(|format| format.bits > 0);
        let own = if known {
            let bits = formats.iter().map(|format| format.bits).max()?;
            rate(bits.max(self.bandwidth.unwrap_or(0)), self.packet_ms, self.overhead)
        } else {
            // Headers on top: TIAS does not count them, and nobody knows how many there are.
            Nominal { packets: 0, bytes: self.bandwidth? / 8 + self.bandwidth? / 64 }
        };
        if others == Nominal::default() {
            return Some(own);
        }
        let packets = if own.packets == 0 || others.packets == 0 { 0 } else { own.packets + others.packets };
        Some(Nominal { packets, bytes: own.bytes.saturating_add(others.bytes) })
    }
}

impl Format {
    fn of(media: &Media, payload_type: u8) -> Self {
        let Some(Rtpmap { name, rate, channels }) = media.rtpmap(payload_type) else {
            // Nothing says what it is: it agrees with its own number only.
            return Self { payload_type, encoding: u32::from(payload_type), clock: 0, bits: 0, aside: false };
        };
        let video = media.kind == "video";
        let clock = if rate == 0 { clock_of(name, video) } else { rate };
        let fmtp = |key: &str| {
            let parameters = media.fmtp(payload_type)?;
            let named = parameters.split(';').filter_map(|pair| pair.trim().split_once('='));
            named.filter(|(name, _)| name.eq_ignore_ascii_case(key)).find_map(|(_, value)| value.parse().ok())
        };
        let bits = match fmtp("maxaveragebitrate") {
            Some(bits) if name.eq_ignore_ascii_case("opus") => bits,
            _ if video => 0,
            _ => bits_of(name, clock, channels),
        };
        let aside =
            ["telephone-event", "CN", "tone", "red", "rtx", "ulpfec", "flexfec", "flexfec-03", "parityfec"];
        Self {
            payload_type,
            encoding: encoding(name, clock),
            clock,
            bits,
            aside: aside.iter().any(|other| name.eq_ignore_ascii_case(other)),
        }
    }
}

/// Redundant data (RFC 2198) sends each of its levels in one packet.
fn redundant(mut formats: Vec<Format>, media: &Media) -> Vec<Format> {
    let most = formats.iter().map(|format| format.bits).max().unwrap_or(0);
    for format in &mut formats {
        let is_red =
            media.rtpmap(format.payload_type).is_some_and(|map| map.name.eq_ignore_ascii_case("red"));
        if is_red && media.kind != "video" {
            let levels =
                media.fmtp(format.payload_type).map_or(2, |levels| levels.split('/').count().clamp(2, 8));
            format.bits = most.saturating_mul(u32::try_from(levels).unwrap_or(8));
        }
    }
    formats
}

/// What a channel of H.245 or SCCP admits: the codec's own payload type, those for comfort noise, and every
/// dynamic one, since the one for telephone events is not told with the channel. `told`: the dynamic one that
/// is; `bits`: its bit rate, 0 where the codec says it.
pub(crate) fn of_channel(codec: &str, video: bool, told: Option<u8>, bits: u32) -> Contract {
    let fixed = static_type(codec);
    let payload_types: PayloadTypes = match (video, told) {
        (true, Some(told)) => fixed.into_iter().chain([told]).collect(),
        (true, None) => fixed.into_iter().chain(DYNAMIC).collect(),
        (false, _) => fixed.into_iter().chain(COMFORT_NOISE).chain(DYNAMIC).collect(),
    };
    let clock = clock_of(codec, video);
    let nominal = match (video, bits, bits_of(codec, clock, 1)) {
        (true, 0, _) | (false, _, 0) => None,
        (true, bits, _) => Some(Nominal { packets: 0, bytes: bits / 8 + bits / 64 }),
        (false, _, bits) => Some(rate(bits, PACKET_MS, HEADERS[1])),
    };
    // A codec that nobody here knows: neither is what it is carried in.
    let payload_types =
        if fixed.is_none() && told.is_none() && clock == 0 { PayloadTypes::default() } else { payload_types };
    Contract { payload_types, clock, nominal, ..Contract::default() }
}

/// Packets and bytes in a second.
fn rate(bits: u32, packet_ms: u32, overhead: u32) -> Nominal {
    let packets = 1_000_u32.div_ceil(packet_ms.max(1));
    Nominal { packets, bytes: (bits / 8).saturating_add(packets * overhead) }
}

/// The static payload type of a codec, by the names of H.245 and SCCP too.
fn static_type(codec: &str) -> Option<u8> {
    let begins = |start: &str| codec.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    Some(match () {
        () if begins("PCMU") || begins("G.711 u") => 0,
        () if begins("PCMA") || begins("G.711 A") => 8,
        () if begins("G7221") || begins("G.722.1") || begins("GSM-") || begins("GSM half") => return None,
        () if begins("GSM enhanced") => return None,
        () if begins("GSM") => 3,
        () if begins("G723") || begins("G.723") => 4,
        () if begins("G722") || begins("G.722") => 9,
        () if begins("G728") || begins("G.728") => 15,
        () if begins("G729") || begins("G.729") => 18,
        () if begins("H261") || begins("H.261") => 31,
        () if begins("H263") || begins("H.263") => 34,
        () => return None,
    })
}

/// The RTP clock of a codec by its name, where a description leaves it out; 0 where that is not known.
fn clock_of(codec: &str, video: bool) -> u32 {
    let begins = |start: &str| codec.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    match () {
        () if video => 90_000,
        () if begins("opus") => 48_000,
        () if begins("AMR-WB") || begins("G7221") || begins("G.722.1") || begins("iSAC") => 16_000,
        () if static_type(codec).is_some() || bits_of(codec, 8_000, 1) > 0 => 8_000,
        () => 0,
    }
}

/// Bits per second of a codec at its busiest; 0 where that is not known.
fn bits_of(name: &str, clock: u32, channels: u16) -> u32 {
    const RATES: [(&str, u32); 38] = [
        // The longer of two that begin alike stands first.
        ("PCMU", 64_000),
        ("PCMA", 64_000),
        ("G.711", 64_000),
        ("G7221", 32_000),
        ("G.722.1", 32_000),
        ("G722", 64_000),
        ("G.722", 64_000),
        ("G729E", 11_800),
        ("G729", 8_000),
        ("G.729", 8_000),
        ("G723", 6_400),
        ("G.723", 6_400),
        ("G728", 16_000),
        ("G.728", 16_000),
        ("G726-40", 40_000),
        ("G726", 32_000),
        ("AAL2-G726-40", 40_000),
        ("AAL2-G726", 32_000),
        ("G721", 32_000),
        ("G719", 128_000),
        ("GSM", 13_200),
        ("iLBC", 15_200),
        ("AMR-WB", 24_000),
        ("AMR", 13_000),
        ("EVS", 128_000),
        ("EVRC", 9_600),
        ("QCELP", 13_300),
        ("LPC", 5_600),
        ("SILK", 40_000),
        ("iSAC", 53_400),
        ("speex", 44_000),
        ("opus", 128_000),
        ("wideband 256k", 256_000),
        ("telephone-event", 8_000),
        ("CN", 8_000),
        ("tone", 8_000),
        ("t140", 8_000),
        ("red", 8_000),
    ];
    if name.eq_ignore_ascii_case("L16") {
        return clock.saturating_mul(16).saturating_mul(u32::from(channels));
    }
    if name.eq_ignore_ascii_case("DVI4") {
        return clock.saturating_mul(4);
    }
    let begins = |start: &str| name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    RATES.iter().find(|(known, _)| begins(known)).map_or(0, |(_, bits)| *bits)
}

/// FNV-1a of an encoding's name, whatever its case, and its clock; above every payload type.
fn encoding(name: &str, clock: u32) -> u32 {
    let bytes = name.bytes().map(|byte| byte.to_ascii_lowercase()).chain(clock.to_be_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash | 1 << 8
}

#[cfg(test)]
mod tests {
    use callgate_protocols::sdp::Session;

    use super::*;

    fn terms(lines: &str) -> Terms {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.1\r\n{}\r\n", lines.replace('|', "\r\n"));
        let session = Session::parse(text.as_bytes()).expect("a description");
        let mut all: Vec<Terms> = session.media.iter().map(Terms::of).collect();
        let rest = all.split_off(1);
        rest.iter().for_each(|other| all[0].share(other));
        all.remove(0)
    }

    fn types(contract: &Contract) -> Vec<u8> {
        (0..128).filter(|number| contract.payload_types.has(*number)).collect()
    }

    const OFFER: &str =
        "m=audio 20000 RTP/AVP 8 0 9 96 101 13|a=rtpmap:96 opus/48000/2|a=rtpmap:101 telephone-event/8000";

    #[test]
    fn an_answer_narrows_the_offer_by_what_the_formats_are() {
        let offer = terms(OFFER);
        assert_eq!(types(&offer.alone(0)), [0, 8, 9, 13, 96, 101]);
        // It numbers its telephone events otherwise, and is bound to receive by its own number.
        let answer = terms("m=audio 30000 RTP/AVP 0 97|a=rtpmap:97 Telephone-Event/8000|a=ssrc:7 cname:x");
        let [caller, callee] = Terms::agreed(&offer, &answer, 5);
        assert_eq!((types(&caller), types(&callee)), (vec![0, 101], vec![0, 97]));
        assert_eq!((caller.clock, callee.clock), (8_000, 8_000));
        assert_eq!((caller.ssrc, callee.ssrc), (Some(7), None), "what the callee sends the caller receives");
        assert_eq!((caller.negotiation, callee.negotiation), (5, 5));
        // Nothing in common: the offer stands as it was.
        let [caller, _] = Terms::agreed(&offer, &terms("m=audio 30000 RTP/AVP 3"), 6);
        assert_eq!(types(&caller), [0, 8, 9, 13, 96, 101]);
    }

    #[test]
    fn the_rate_is_that_of_the_busiest_format() {
        // 64 kbit/s in 50 packets with 40 bytes of headers each.
        let pcmu = terms("m=audio 20000 RTP/AVP 0").alone(0);
        assert_eq!(pcmu.nominal, Some(Nominal { packets: 50, bytes: 10_000 }));
        let slow = terms("m=audio 20000 RTP/AVP 18|a=ptime:10").alone(0);
        assert_eq!(slow.nominal, Some(Nominal { packets: 100, bytes: 5_000 }));
        assert_eq!(terms("m=audio 20000 RTP/AVP 0|a=ptime:60").alone(0).nominal.map(|n| n.packets), Some(25));
        let tiny =
            terms("m=audio 20000 RTP/AVP 96|a=rtpmap:96 opus/48000/2|a=fmtp:96 maxaveragebitrate=16000")
                .alone(0);
        assert_eq!(tiny.nominal.map(|nominal| nominal.bytes), Some(4_000));
        assert_eq!(terms("m=audio 20000 RTP/AVP 99").alone(0).nominal, None, "nobody knows what it is");
        let red = terms("m=audio 20000 RTP/AVP 97 0|a=rtpmap:97 red/8000|a=fmtp:97 0/0/0").alone(0);
        assert_eq!(red.nominal, Some(Nominal { packets: 50, bytes: 24_000 + 2_000 }));
        let v6 = "m=audio 20000 RTP/SAVP 0|c=IN IP6 2001:db8::1";
        assert_eq!(terms(v6).alone(0).nominal.map(|nominal| nominal.bytes), Some(8_000 + 50 * 76));
    }

    #[test]
    fn video_has_the_rate_that_is_signalled() {
        let at = |b: &str| terms(&format!("m=video 20000 RTP/AVP 96{b}|a=rtpmap:96 H264/90000")).alone(0);
        assert_eq!(at("|b=AS:512").nominal, Some(Nominal { packets: 0, bytes: 72_000 }));
        assert_eq!(at("|b=TIAS:64000").nominal, Some(Nominal { packets: 0, bytes: 9_000 }));
        assert_eq!((at("").nominal, at("").clock, types(&at(""))), (None, 90_000, vec![96]));
    }

    #[test]
    fn a_bundle_receives_what_any_of_its_lines_does() {
        let video = "m=video 20000 RTP/AVP 100|b=AS:512|a=rtpmap:100 VP8/90000";
        let bundle = terms(&format!("m=audio 20000 RTP/AVP 0|a=ssrc:1 cname:x|{video}"));
        let contract = bundle.alone(0);
        assert_eq!(types(&contract), [0, 100]);
        assert_eq!(contract.nominal, Some(Nominal { packets: 0, bytes: 82_000 }));
        assert_eq!((contract.clock, bundle.source()), (0, None));
        let open = terms("m=audio 20000 RTP/AVP 0|m=video 20000 RTP/AVP 100|a=rtpmap:100 VP8/90000").alone(0);
        assert_eq!(open.nominal, None, "the video's is not known");
    }

    #[test]
    fn what_is_not_rtp_comes_only_where_it_is_announced() {
        let plain = terms(OFFER);
        let ice = "|a=ice-ufrag:x|a=ice-pwd:y";
        let dtls =
            terms(&format!("m=audio 20000 UDP/TLS/RTP/SAVPF 0{ice}|a=fingerprint:sha-256 00|a=rtcp-rsize"));
        let of = |c: Contract| (c.stun, c.dtls, c.zrtp, c.secure, c.reduced_rtcp);
        assert_eq!(of(plain.alone(0)), (false, false, false, false, false));
        assert_eq!(of(dtls.alone(0)), (true, true, false, true, true));
        assert_eq!(of(Terms::agreed(&dtls, &dtls, 1)[0]), (true, true, false, true, true));
        assert_eq!(of(Terms::agreed(&dtls, &plain, 1)[1]), (false, false, false, false, false));
        let zrtp = terms("m=audio 20000 RTP/AVP 0|a=zrtp-hash:1.10 00");
        assert_eq!(of(Terms::agreed(&plain, &zrtp, 1)[0]), (false, false, true, false, false));
        assert_eq!(
            Terms::of(&Session::parse(b"v=0\nm=image 20000 udptl t38").expect("fax").media[0]),
            Terms::default()
        );
    }

    #[test]
    fn a_source_is_believed_where_there_is_one() {
        let with = |ssrc: &str| terms(&format!("m=audio 20000 RTP/AVP 0{ssrc}")).source();
        assert_eq!(with("|a=ssrc:7 cname:x|a=ssrc:7 msid:y"), Some(7));
        assert_eq!(with("|a=ssrc:7 cname:x|a=ssrc:8 cname:x"), None);
        assert_eq!(with("|a=ssrc-group:FID 7|a=ssrc:7 cname:x"), None);
        assert_eq!(with(""), None);
    }

    #[test]
    fn channels_have_the_types_of_their_codecs() {
        let audio = of_channel("PCMA", false, None, 0);
        assert!([8, 13, 19, 96, 101, 127].iter().all(|number| audio.payload_types.has(*number)));
        assert!(![0, 3, 18, 34, 72].iter().any(|number| audio.payload_types.has(*number)));
        assert_eq!((audio.clock, audio.nominal), (8_000, Some(Nominal { packets: 50, bytes: 10_000 })));
        let video = of_channel("H264", true, Some(109), 384_000);
        assert_eq!((types(&video), video.clock), (vec![109], 90_000));
        assert_eq!(video.nominal, Some(Nominal { packets: 0, bytes: 54_000 }));
        assert_eq!(of_channel("H263", true, None, 0).nominal, None);
        assert!(of_channel("H263", true, None, 0).payload_types.has(34));
        assert_eq!(of_channel("non-standard", false, None, 0), Contract::default());
        assert_eq!(of_channel("G.722 64k", false, None, 0).clock, 8_000);
        assert!(of_channel("G.729AB", false, None, 0).payload_types.has(18));
    }
}
