//! H.245 (its annex A): the messages that open, accept and close logical channels.
//!
//! A TPKT, and each string of h225's `h245_control`, holds one message. Those that open or close nothing are
//! recognised by name and not read.

mod types;

use std::net::SocketAddr;

use crate::per::{Alternative, Reader, Result};
use types::{NON_STANDARDS, data_type, other_multiplex, separate_stack, transport_address};

/// An H.245 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A channel is wanted.
    OpenLogicalChannel(OpenLogicalChannel),
    /// It is granted.
    OpenLogicalChannelAck(OpenLogicalChannelAck),
    /// It is not; the number of the forward channel.
    OpenLogicalChannelReject(u16),
    /// The opener of a bidirectional channel has seen the grant.
    OpenLogicalChannelConfirm(u16),
    /// The sender closes a channel it had opened.
    CloseLogicalChannel(u16),
    /// The close was seen.
    CloseLogicalChannelAck(u16),
    /// The sender asks its peer to close a channel the peer had opened.
    RequestChannelClose(u16),
    /// What the sender can receive.
    TerminalCapabilitySet {
        /// Nothing at all: the peer is to stop sending (H.323 8.4.6).
        empty: bool,
    },
    /// The sender has closed its control channel and stops sending media.
    EndSession,
    /// Any other, by its name in the standard.
    Other(&'static str),
}

/// Opens a channel from its sender, and for a bidirectional one another to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLogicalChannel {
    /// forwardLogicalChannelNumber, 1 to 65,535.
    pub number: u16,
    /// From the opener.
    pub forward: Channel,
    /// To the opener.
    pub reverse: Option<Channel>,
    /// Where the opener listens for a stack of its own (T.120).
    pub separate_stack: Option<SocketAddr>,
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What flows.
    pub data: DataType,
    /// Where; `None` where the multiplex parameters are `none` or absent.
    pub media: Option<Media>,
}

/// What flows in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataType {
    /// The kind of it.
    pub class: Class,
    /// Codec or format, for people.
    pub codec: &'static str,
}

/// Kinds of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// None: the direction that is not opened.
    Null,
    /// Audio over RTP.
    Audio,
    /// Video over RTP.
    Video,
    /// T.38 over UDPTL.
    Fax,
    /// T.120 over TCP.
    T120,
    /// Other data over a stream.
    Data,
    /// Anything else over RTP.
    Other,
}

/// The addresses of H2250LogicalChannelParameters and H2250LogicalChannelAckParameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// sessionID: 1 audio, 2 video, 3 data, others as the master says; 0 asks it to say.
    pub session: u8,
    /// Where RTP is to be sent.
    pub media_channel: Option<SocketAddr>,
    /// Where RTCP is to be sent.
    pub media_control_channel: Option<SocketAddr>,
}

/// Grants a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLogicalChannelAck {
    /// forwardLogicalChannelNumber, 1 to 65,535.
    pub number: u16,
    /// Number of the reverse channel of a bidirectional one.
    pub reverse_number: Option<u16>,
    /// The reverse channel's addresses.
    pub reverse: Option<Media>,
    /// Where the forward channel is received.
    pub forward: Option<Media>,
    /// Where the sender listens for a stack of its own (T.120).
    pub separate_stack: Option<SocketAddr>,
}

impl Message {
    /// Reads a MultimediaSystemControlMessage: a TPKT's payload, or a tunnelled string.
    ///
    /// What stands behind the message is not looked at, as nobody sends two in a row and it could open nothing.
    ///
    /// # Errors
    /// Anything that keeps an address, a channel's number or its session from being read, in the messages that are
    /// read; nothing in the others.
    pub fn parse(encoding: &[u8]) -> Result<Self> {
        let r = &mut Reader::new(encoding);
        match r.choice(4)? {
            Alternative::Root(0) => Self::request(r),
            Alternative::Root(1) => Self::response(r),
            Alternative::Root(2) => Self::command(r),
            Alternative::Root(_) => Self::indication(r),
            Alternative::Added(_) => Ok(Self::Other("unknown")),
        }
    }

    /// The message's name in the standard.
    pub fn name(&self) -> &'static str {
        match self {
            Self::OpenLogicalChannel(_) => "openLogicalChannel",
            Self::OpenLogicalChannelAck(_) => "openLogicalChannelAck",
            Self::OpenLogicalChannelReject(_) => "openLogicalChannelReject",
            Self::OpenLogicalChannelConfirm(_) => "openLogicalChannelConfirm",
            Self::CloseLogicalChannel(_) => "closeLogicalChannel",
            Self::CloseLogicalChannelAck(_) => "closeLogicalChannelAck",
            Self::RequestChannelClose(_) => "requestChannelClose",
            Self::TerminalCapabilitySet { .. } => "terminalCapabilitySet",
            Self::EndSession => "endSessionCommand",
            Self::Other(name) => name,
        }
    }

    /// RequestMessage.
    fn request(r: &mut Reader<'_>) -> Result<Self> {
        const NAMES: [&str; 11] = [
            "nonStandard",
            "masterSlaveDetermination",
            "terminalCapabilitySet",
            "openLogicalChannel",
            "closeLogicalChannel",
            "requestChannelClose",
            "multiplexEntrySend",
            "requestMultiplexEntry",
            "requestMode",
            "roundTripDelayRequest",
            "maintenanceLoopRequest",
        ];
        Ok(match r.choice(11)? {
            Alternative::Root(2) => Self::terminal_capability_set(r)?,
            Alternative::Root(3) => Self::OpenLogicalChannel(OpenLogicalChannel::read(r)?),
            Alternative::Root(4) => Self::CloseLogicalChannel(numbered(r)?),
            Alternative::Root(5) => Self::RequestChannelClose(numbered(r)?),
            other => Self::Other(name(&NAMES, other)),
        })
    }

    /// ResponseMessage.
    fn response(r: &mut Reader<'_>) -> Result<Self> {
        const NAMES: [&str; 19] = [
            "nonStandard",
            "masterSlaveDeterminationAck",
            "masterSlaveDeterminationReject",
            "terminalCapabilitySetAck",
            "terminalCapabilitySetReject",
            "openLogicalChannelAck",
            "openLogicalChannelReject",
            "closeLogicalChannelAck",
            "requestChannelCloseAck",
            "requestChannelCloseReject",
            "multiplexEntrySendAck",
            "multiplexEntrySendReject",
            "requestMultiplexEntryAck",
            "requestMultiplexEntryReject",
            "requestModeAck",
            "requestModeReject",
            "roundTripDelayResponse",
            "maintenanceLoopAck",
            "maintenanceLoopReject",
        ];
        Ok(match r.choice(19)? {
            Alternative::Root(5) => Self::OpenLogicalChannelAck(OpenLogicalChannelAck::read(r)?),
            Alternative::Root(6) => Self::OpenLogicalChannelReject(numbered(r)?),
            Alternative::Root(7) => Self::CloseLogicalChannelAck(numbered(r)?),
            other => Self::Other(name(&NAMES, other)),
        })
    }

    /// CommandMessage.
    fn command(r: &mut Reader<'_>) -> Result<Self> {
        const NAMES: [&str; 7] = [
            "nonStandard",
            "maintenanceLoopOffCommand",
            "sendTerminalCapabilitySet",
            "encryptionCommand",
            "flowControlCommand",
            "endSessionCommand",
            "miscellaneousCommand",
        ];
        Ok(match r.choice(7)? {
            Alternative::Root(5) => Self::EndSession,
            other => Self::Other(name(&NAMES, other)),
        })
    }

    /// IndicationMessage.
    fn indication(r: &mut Reader<'_>) -> Result<Self> {
        const NAMES: [&str; 14] = [
            "nonStandard",
            "functionNotUnderstood",
            "masterSlaveDeterminationRelease",
            "terminalCapabilitySetRelease",
            "openLogicalChannelConfirm",
            "requestChannelCloseRelease",
            "multiplexEntrySendRelease",
            "requestMultiplexEntryRelease",
            "requestModeRelease",
            "miscellaneousIndication",
            "jitterIndication",
            "h223SkewIndication",
            "newATMVCIndication",
            "userInput",
        ];
        Ok(match r.choice(14)? {
            Alternative::Root(4) => Self::OpenLogicalChannelConfirm(numbered(r)?),
            other => Self::Other(name(&NAMES, other)),
        })
    }

    fn terminal_capability_set(r: &mut Reader<'_>) -> Result<Self> {
        let mut preamble = r.preamble(3)?;
        let multiplex = preamble.optional();
        let table = preamble.optional();
        Ok(Self::TerminalCapabilitySet { empty: !multiplex && !table })
    }
}

impl OpenLogicalChannel {
    /// Reads one that stands on its own, as in `fastStart`.
    ///
    /// # Errors
    /// As [`Message::parse`].
    pub fn parse(encoding: &[u8]) -> Result<Self> {
        Self::read(&mut Reader::new(encoding))
    }

    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let mut preamble = r.preamble(1)?;
        let number = channel_number(r)?;
        let forward = forward_parameters(r)?;
        let reverse = if preamble.optional() { Some(reverse_parameters(r)?) } else { None };
        let mut stack = None;
        for index in r.additions(preamble)? {
            match index {
                0 => stack = r.open(separate_stack)??,
                _ => r.skip_open()?,
            }
        }
        Ok(Self { number, forward, reverse, separate_stack: stack })
    }
}

impl OpenLogicalChannelAck {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let mut preamble = r.preamble(1)?;
        let mut ack = Self {
            number: channel_number(r)?,
            reverse_number: None,
            reverse: None,
            forward: None,
            separate_stack: None,
        };
        if preamble.optional() {
            ack.reverse_parameters(r)?;
        }
        for index in r.additions(preamble)? {
            match index {
                0 => ack.separate_stack = r.open(separate_stack)??,
                // forwardMultiplexAckParameters: a CHOICE with a root of one.
                1 => {
                    ack.forward = r.open(|r| match r.choice(1)? {
                        Alternative::Root(_) => ack_media(r).map(Some),
                        Alternative::Added(_) => Ok(None),
                    })??
                }
                _ => r.skip_open()?,
            }
        }
        Ok(ack)
    }

    fn reverse_parameters(&mut self, r: &mut Reader<'_>) -> Result<()> {
        let mut preamble = r.preamble(2)?;
        self.reverse_number = Some(channel_number(r)?);
        if preamble.optional() {
            r.u16()?; // portNumber
        }
        if preamble.optional() {
            self.reverse = match r.choice(1)? {
                Alternative::Root(_) => other_multiplex(r)?,
                Alternative::Added(0) => Some(r.open(media)??),
                Alternative::Added(_) => r.skip_open().map(|()| None)?,
            };
        }
        r.skip_additions(preamble)
    }
}

/// forwardLogicalChannelParameters.
fn forward_parameters(r: &mut Reader<'_>) -> Result<Channel> {
    let mut preamble = r.preamble(1)?;
    if preamble.optional() {
        r.u16()?; // portNumber
    }
    let data = data_type(r)?;
    let media = match r.choice(3)? {
        Alternative::Root(_) => other_multiplex(r)?,
        Alternative::Added(0) => Some(r.open(media)??),
        Alternative::Added(_) => r.skip_open().map(|()| None)?,
    };
    r.skip_additions(preamble)?;
    Ok(Channel { data, media })
}

/// reverseLogicalChannelParameters of an OpenLogicalChannel.
fn reverse_parameters(r: &mut Reader<'_>) -> Result<Channel> {
    let mut preamble = r.preamble(1)?;
    let data = data_type(r)?;
    let mut addresses = None;
    if preamble.optional() {
        addresses = match r.choice(2)? {
            Alternative::Root(_) => other_multiplex(r)?,
            Alternative::Added(0) => Some(r.open(media)??),
            Alternative::Added(_) => r.skip_open().map(|()| None)?,
        };
    }
    r.skip_additions(preamble)?;
    Ok(Channel { data, media: addresses })
}

/// H2250LogicalChannelParameters, as far as the last address.
fn media(r: &mut Reader<'_>) -> Result<Media> {
    let mut preamble = r.preamble(10)?;
    if preamble.optional() {
        r.skip(&NON_STANDARDS)?;
    }
    let mut media = Media { session: session(r, 255)?, ..Media::default() };
    if preamble.optional() {
        r.integer(254)?; // associatedSessionID
    }
    if preamble.optional() {
        media.media_channel = transport_address(r)?;
    }
    if preamble.optional() {
        r.bool()?; // mediaGuaranteedDelivery
    }
    if preamble.optional() {
        media.media_control_channel = transport_address(r)?;
    }
    Ok(media)
}

/// H2250LogicalChannelAckParameters, as far as the last address.
fn ack_media(r: &mut Reader<'_>) -> Result<Media> {
    let mut preamble = r.preamble(5)?;
    if preamble.optional() {
        r.skip(&NON_STANDARDS)?;
    }
    let mut media = Media::default();
    if preamble.optional() {
        // sessionID, here INTEGER (1..255).
        media.session = session(r, 254)?.saturating_add(1);
    }
    if preamble.optional() {
        media.media_channel = transport_address(r)?;
    }
    if preamble.optional() {
        media.media_control_channel = transport_address(r)?;
    }
    Ok(media)
}

fn session(r: &mut Reader<'_>, span: u32) -> Result<u8> {
    Ok(r.integer(span)? as u8)
}

/// LogicalChannelNumber, INTEGER (1..65535).
fn channel_number(r: &mut Reader<'_>) -> Result<u16> {
    Ok(r.integer(65_534)? as u16 + 1)
}

/// The channel number at the start of a message that has no optional fields in its root.
fn numbered(r: &mut Reader<'_>) -> Result<u16> {
    r.preamble(0)?;
    channel_number(r)
}

fn name(names: &[&'static str], taken: Alternative) -> &'static str {
    match taken {
        Alternative::Root(index) => names.get(usize::from(index)).copied().unwrap_or("unknown"),
        Alternative::Added(_) => "extension",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::build;

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    fn places() -> [build::Media; 2] {
        [
            build::Media { rtp: at("192.0.2.1:17000"), rtcp: at("192.0.2.1:17001") },
            build::Media { rtp: at("[2001:db8::1]:17000"), rtcp: at("[2001:db8::1]:17001") },
        ]
    }

    const PCMU: DataType = DataType { class: Class::Audio, codec: "PCMU" };

    #[test]
    fn a_channel_is_opened_and_granted() {
        for media in places() {
            let open = Message::parse(&build::open_logical_channel(300, 1, media.rtcp));
            let forward = Media { session: 1, media_channel: None, media_control_channel: Some(media.rtcp) };
            let want = OpenLogicalChannel {
                number: 300,
                forward: Channel { data: PCMU, media: Some(forward) },
                reverse: None,
                separate_stack: None,
            };
            assert_eq!(open, Ok(Message::OpenLogicalChannel(want)));

            let ack = Message::parse(&build::open_logical_channel_ack(300, 2, media));
            let forward =
                Media { session: 2, media_channel: Some(media.rtp), media_control_channel: Some(media.rtcp) };
            let want = OpenLogicalChannelAck {
                number: 300,
                reverse_number: None,
                reverse: None,
                forward: Some(forward),
                separate_stack: None,
            };
            assert_eq!(ack, Ok(Message::OpenLogicalChannelAck(want)));
        }
    }

    #[test]
    fn proposals_in_both_directions() {
        let [media, _] = places();
        let read: Vec<_> = build::proposals(media).iter().map(|p| OpenLogicalChannel::parse(p)).collect();
        let [Ok(forward), Ok(reverse)] = read[..] else { panic!("{read:?}") };
        assert_eq!(forward.forward.media.map(|m| m.media_control_channel), Some(Some(media.rtcp)));
        assert_eq!(reverse.forward.data.class, Class::Null);
        let channel = reverse.reverse.expect("the caller receives");
        assert_eq!(channel.data, PCMU);
        assert_eq!(channel.media.map(|m| m.media_channel), Some(Some(media.rtp)));
    }

    #[test]
    fn the_others_by_name() {
        let messages = [
            (build::terminal_capability_set(true), Message::TerminalCapabilitySet { empty: true }),
            (build::terminal_capability_set(false), Message::TerminalCapabilitySet { empty: false }),
            (build::terminal_capability_set_ack(), Message::Other("terminalCapabilitySetAck")),
            (build::master_slave_determination(1), Message::Other("masterSlaveDetermination")),
            (build::master_slave_determination_ack(true), Message::Other("masterSlaveDeterminationAck")),
            (build::open_logical_channel_reject(9), Message::OpenLogicalChannelReject(9)),
            (build::close_logical_channel(65_535), Message::CloseLogicalChannel(65_535)),
            (build::close_logical_channel_ack(1), Message::CloseLogicalChannelAck(1)),
            (build::end_session(), Message::EndSession),
        ];
        for (encoding, want) in messages {
            assert_eq!(Message::parse(&encoding), Ok(want));
        }
    }

    #[test]
    fn t120_has_a_stack_of_its_own() {
        for stack in places().map(|media| media.rtp) {
            let read = Message::parse(&build::open_data_channel(7, stack));
            let Ok(Message::OpenLogicalChannel(open)) = read else { panic!("{read:?}") };
            assert_eq!(open.forward.data, DataType { class: Class::T120, codec: "T120" });
            assert_eq!(open.separate_stack, Some(stack));
        }
    }

    #[test]
    fn channel_number_0xffff_on_the_wire_is_out_of_range() {
        let mut encoding = build::close_logical_channel(65_535);
        let place = encoding.iter().position(|octet| *octet == 0xff).expect("the number");
        encoding[place + 1] = 0xff;
        assert_eq!(Message::parse(&encoding).expect_err("refused").fault, crate::per::Fault::Range);
    }

    /// An OpenLogicalChannel of fastStart whose data type is this, in bits, with H.225.0 parameters for session 2
    /// and RTCP at 192.0.2.1:17001.
    fn with_data_type(bits: &[u8]) -> Vec<u8> {
        let mut all = vec![0, 0]; // preamble
        all.resize(8, 0);
        all.extend([0; 16]); // number 1
        all.extend([0, 0]); // preamble of the parameters
        all.extend(bits);
        all.push(1); // h2250LogicalChannelParameters
        all.extend([0; 7]);
        all.resize(all.len().next_multiple_of(8), 0);
        let mut encoding: Vec<u8> =
            all.chunks(8).map(|octet| octet.iter().fold(0, |value, bit| value << 1 | bit)).collect();
        // preamble with mediaControlChannel, session, unicast iPAddress
        encoding.extend([11, 0b0000_0100, 0, 2, 0, 192, 0, 2, 1, 0x42, 0x69, 0]);
        encoding
    }

    /// `text` of 0 and 1; `|` pads to an octet, given that the type begins at bit 26.
    fn bits(text: &str) -> Vec<u8> {
        let mut bits = Vec::new();
        for sign in text.chars() {
            match sign {
                '|' => bits.resize((bits.len() + 26).next_multiple_of(8) - 26, 0),
                '0' | '1' => bits.push(u8::from(sign == '1')),
                _ => {}
            }
        }
        bits
    }

    #[test]
    fn data_types_are_stepped_over_to_the_address() {
        let cases = [
            // g7231: maxAl-sduAudioFrames, silenceSuppression
            ("0 011 0 1000 | 00000011 1", Class::Audio, "G723"),
            // gsmFullRate, an extension in an open type
            ("0 011 1 0000011 | 00000010 1010101010101010", Class::Audio, "GSM"),
            // h261: qcifMPI, cifMPI, trade-off, maxBitRate, still
            ("0 010 0 001 0 11 01 10 0 | 0001001000110100 1", Class::Video, "H261"),
            // h263: cifMPI only, maxBitRate in two octets, five flags
            ("0 010 0 011 0 0010000 00001 01 | 0000000100000000 00000", Class::Video, "H263"),
            // t38fax over udp; its maxBitRate
            ("0 100 0 1 0000010 | 00000011 10000110 00000001 00000000 00 | 11111111", Class::Fax, "T38"),
            // the same over tcp
            ("0 100 0 1 0000010 | 00000011 10000101 00000001 00000000 00 | 11111111", Class::Data, "T38"),
            // t120, separateLANStack
            ("0 100 0 0 0001 1 0000011 | 00000001 00000000 00 | 01100100", Class::T120, "T120"),
            // is11172 and is13818: their flags, and bitRate
            ("0 011 0 1100 0 10101010 | 00000000 01000000", Class::Audio, "MPEG-1"),
            ("0 011 0 1101 0 10101010101010101010 | 00000001 00000000", Class::Audio, "MPEG-2"),
            // h262 with all its optional fields: videoBitRate, vbvBufferSize, samplesPerLine, linesPerFrame,
            // framesPerSecond, luminanceSampleRate
            (
                "0 010 0 010 0 111111 10101010101 10 | 00000001 00000000 00000000 01 | 00000001 00000000 |
                 00000001 00000000 | 00000001 00000001 0101 11 | 00000001 00000010 00000011 00000100",
                Class::Video,
                "H262",
            ),
            // h263 with all of them
            (
                "0 010 0 011 0 1111111 00001 00010 00011 00100 00101 01 | 0000000100000000 10101 10 |
                 000000010000001000000011 | 0001001000110100",
                Class::Video,
                "H263",
            ),
            // t84 restricted, nlpid, h224
            ("0 100 0 0 0100 0 001 1 0 1010101010101010101 00 | 01100100", Class::Data, "T84"),
            ("0 100 0 0 0111 0 001 | 00000010 10101010 10101010 00 | 01100100", Class::Data, "NLPID"),
            ("0 100 0 0 0110 0 011 00 | 01100100", Class::Other, "H224"),
            // h235Media
            ("1 0000001 | 00000001 11111111", Class::Other, "H235"),
        ];
        for (text, class, codec) in cases {
            let open = OpenLogicalChannel::parse(&with_data_type(&bits(text)));
            let channel = open.unwrap_or_else(|error| panic!("{codec}: {error}")).forward;
            assert_eq!(channel.data, DataType { class, codec });
            let media = channel.media.expect("parameters");
            assert_eq!(
                (media.session, media.media_control_channel),
                (2, Some(at("192.0.2.1:17001"))),
                "{codec}"
            );
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let [media, _] = places();
        for whole in
            [build::open_logical_channel(3, 1, media.rtcp), build::open_logical_channel_ack(3, 1, media)]
        {
            for end in 0..whole.len() {
                assert!(Message::parse(&whole[..end]).is_err(), "{end} octets");
            }
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            which in 0_usize..4,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let [v4, v6] = places();
            let mut encoding = match which {
                0 => build::open_logical_channel(3, 1, v6.rtcp),
                1 => build::open_logical_channel_ack(3, 1, v4),
                2 => build::open_logical_channel_ack(3, 1, v6),
                _ => build::terminal_capability_set(false),
            };
            for (place, value) in damage {
                let place = place.index(encoding.len());
                encoding[place] = value;
            }
            let _ = Message::parse(&encoding);
            let _ = OpenLogicalChannel::parse(&encoding);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::parse(&noise);
            let _ = OpenLogicalChannel::parse(&noise);
        }
    }
}
