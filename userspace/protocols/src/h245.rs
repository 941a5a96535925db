//! H.245 (its annex A): the messages that open, accept and close logical channels.
//!
//! A TPKT, and each string of h225's `h245_control`, holds one message. Those that open or close nothing are
//! recognised by name and not read.

mod modes;
mod names;
mod types;

use std::net::SocketAddr;

use crate::per::{Alternative, Preamble, Reader, Result};
pub use modes::{Mode, Modes};
use types::{
    NON_STANDARDS, TERMINAL_LABEL, data_type, is_traversal, other_multiplex, separate_stack,
    transport_address,
};

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
    /// The MC of a conference tells where media is to be sent, and is sent to.
    CommunicationMode(Modes),
    /// Of H.239: who may show a second picture, by its name there.
    H239(&'static str),
    /// Any other, by its name in the standard; `unknown` if that does not define it.
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
    /// The channel this one takes the place of (replacementFor).
    pub replaces: Option<u16>,
    /// It is to pass a NAT by H.460.19.
    pub traversal: bool,
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
    /// It is a second picture, such as a presentation (H.239's extendedVideoCapability).
    pub extended: bool,
    /// It is encrypted (h235Media); class and codec are those of what is inside.
    pub encrypted: bool,
    /// Bits per second of video at most, as signalled (maxBitRate); 0 where that is not said.
    pub bit_rate: u32,
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
    /// associatedSessionID: the session this one goes with, such as a voice with its lips.
    pub associated: Option<u8>,
    /// Where RTP is to be sent.
    pub media_channel: Option<SocketAddr>,
    /// Where RTCP is to be sent.
    pub media_control_channel: Option<SocketAddr>,
    /// dynamicRTPPayloadType, 96 to 127.
    pub payload_type: Option<u8>,
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
    /// It is to pass a NAT by H.460.19.
    pub traversal: bool,
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
            Alternative::Added(_) => r.skip_open().map(|()| Self::Other("unknown")),
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
            Self::CommunicationMode(_) => "communicationModeCommand",
            Self::H239(name) | Self::Other(name) => name,
        }
    }

    /// RequestMessage.
    fn request(r: &mut Reader<'_>) -> Result<Self> {
        Ok(match r.choice(11)? {
            Alternative::Root(2) => Self::terminal_capability_set(r)?,
            Alternative::Root(3) => Self::OpenLogicalChannel(OpenLogicalChannel::read(r)?),
            Alternative::Root(4) => Self::CloseLogicalChannel(numbered(r)?),
            Alternative::Root(5) => Self::RequestChannelClose(numbered(r)?),
            taken @ Alternative::Added(4) => Self::generic(r, taken, &names::REQUEST)?,
            taken => Self::Other(names::REQUEST.of(taken)),
        })
    }

    /// ResponseMessage.
    fn response(r: &mut Reader<'_>) -> Result<Self> {
        Ok(match r.choice(19)? {
            Alternative::Root(5) => Self::OpenLogicalChannelAck(OpenLogicalChannelAck::read(r)?),
            Alternative::Root(6) => Self::OpenLogicalChannelReject(numbered(r)?),
            Alternative::Root(7) => Self::CloseLogicalChannelAck(numbered(r)?),
            taken @ Alternative::Added(5) => Self::generic(r, taken, &names::RESPONSE)?,
            taken => Self::Other(names::RESPONSE.of(taken)),
        })
    }

    /// CommandMessage.
    fn command(r: &mut Reader<'_>) -> Result<Self> {
        Ok(match r.choice(7)? {
            Alternative::Root(5) => Self::EndSession,
            Alternative::Added(0) => Self::CommunicationMode(r.open(Modes::read)??),
            taken @ Alternative::Added(5) => Self::generic(r, taken, &names::COMMAND)?,
            taken => Self::Other(names::COMMAND.of(taken)),
        })
    }

    /// IndicationMessage.
    fn indication(r: &mut Reader<'_>) -> Result<Self> {
        Ok(match r.choice(14)? {
            Alternative::Root(4) => Self::OpenLogicalChannelConfirm(numbered(r)?),
            taken @ Alternative::Added(9) => Self::generic(r, taken, &names::INDICATION)?,
            taken => Self::Other(names::INDICATION.of(taken)),
        })
    }

    /// A GenericMessage: known by the name of its kind, unless it is one of H.239.
    fn generic(r: &mut Reader<'_>, taken: Alternative, names: &names::Names) -> Result<Self> {
        let name = r.open(h239_message)?.ok().flatten();
        Ok(name.map_or(Self::Other(names.of(taken)), Self::H239))
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
        let (forward, replaces) = forward_parameters(r)?;
        let reverse = if preamble.optional() { Some(reverse_parameters(r)?) } else { None };
        let mut open = Self { number, forward, reverse, separate_stack: None, replaces, traversal: false };
        for index in r.additions(preamble)? {
            match index {
                0 => open.separate_stack = r.open(separate_stack)??,
                2 => open.traversal = r.open(is_traversal)?.unwrap_or_default(),
                _ => r.skip_open()?,
            }
        }
        Ok(open)
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
            traversal: false,
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
                3 => ack.traversal = r.open(is_traversal)?.unwrap_or_default(),
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

/// forwardLogicalChannelParameters, and which channel is replaced.
fn forward_parameters(r: &mut Reader<'_>) -> Result<(Channel, Option<u16>)> {
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
    let mut replaces = None;
    for index in r.additions(preamble)? {
        match index {
            1 => replaces = r.open(channel_number)?.ok(),
            _ => r.skip_open()?,
        }
    }
    Ok((Channel { data, media }, replaces))
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

/// H2250LogicalChannelParameters, as far as it is needed.
fn media(r: &mut Reader<'_>) -> Result<Media> {
    let mut preamble = r.preamble(10)?;
    r.skip_if(preamble.optional(), &NON_STANDARDS)?;
    let mut media = Media { session: session(r, 255)?, ..Media::default() };
    if preamble.optional() {
        media.associated = Some(r.integer(254)? as u8 + 1);
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
    media.payload_type = payload_type(r, preamble).unwrap_or_default();
    Ok(media)
}

/// What follows the last address of H2250LogicalChannelParameters, as far as dynamicRTPPayloadType. It is for people
/// only, so that a fault harms nothing.
fn payload_type(r: &mut Reader<'_>, mut preamble: Preamble) -> Result<Option<u8>> {
    if preamble.optional() {
        r.bool()?; // mediaControlGuaranteedDelivery
    }
    if preamble.optional() {
        r.bool()?; // silenceSuppression
    }
    r.skip_if(preamble.optional(), &TERMINAL_LABEL)?; // destination
    if preamble.optional() { dynamic_type(r).map(Some) } else { Ok(None) }
}

/// INTEGER (96..127).
fn dynamic_type(r: &mut Reader<'_>) -> Result<u8> {
    Ok(r.integer(31)? as u8 + 96)
}

/// H2250LogicalChannelAckParameters, as far as dynamicRTPPayloadType.
fn ack_media(r: &mut Reader<'_>) -> Result<Media> {
    let mut preamble = r.preamble(5)?;
    r.skip_if(preamble.optional(), &NON_STANDARDS)?;
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
    if preamble.optional() {
        media.payload_type = dynamic_type(r).ok();
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

/// The name of a GenericMessage of H.239 (its table 4).
fn h239_message(r: &mut Reader<'_>) -> Result<Option<&'static str>> {
    /// itu-t(0) recommendation(0) h(8) 239 generic-message(2)
    const H239: [u8; 5] = [0x00, 0x08, 0x81, 0x6f, 0x02];
    let mut preamble = r.preamble(2)?;
    if r.choice(4)? != Alternative::Root(0) || r.bytes()? != H239 || !preamble.optional() {
        return Ok(None);
    }
    Ok(Some(names::H239.get(r.integer(127)? as usize).copied().unwrap_or("unknown")))
}

#[cfg(test)]
mod tests;
