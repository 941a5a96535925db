//! What messages say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Error, Reader, word};

/// What a message says, as far as a firewall needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// KeepAlive, of the phone.
    KeepAlive,
    /// Register.
    Register(Register<'a>),
    /// RegisterAck.
    RegisterAck(RegisterAck),
    /// RegisterReject, with its text.
    RegisterReject(&'a [u8]),
    /// RegisterTokenReq: the device's name, before it registers again.
    TokenRequest(&'a str),
    /// RegisterTokenAck.
    TokenAck,
    /// RegisterTokenReject.
    TokenReject,
    /// Unregister.
    Unregister,
    /// UnregisterAck: 0 if it was done.
    UnregisterAck(u32),
    /// Reset: 1 reset, 2 restart, 3 take the new configuration.
    Reset(u32),
    /// Alarm, with its text.
    Alarm(&'a [u8]),
    /// OpenReceiveChannel or OpenMultiMediaReceiveChannel: the phone shall receive.
    OpenReceive(Open),
    /// The answer to it: where the phone receives.
    OpenReceiveAck(OpenAck),
    /// StartMediaTransmission or StartMultiMediaTransmission: where the phone shall send.
    StartTransmission(Start),
    /// The answer to it: where the phone sends from.
    StartTransmissionAck(StartAck),
    /// CloseReceiveChannel or CloseMultiMediaReceiveChannel.
    CloseReceive(Channel),
    /// StopMediaTransmission or StopMultiMediaTransmission.
    StopTransmission(Channel),
    /// StartMulticastMediaReception: the group the phone shall listen to.
    StartMulticastReception(Start),
    /// StartMulticastMediaTransmission: the group the phone shall send to.
    StartMulticastTransmission(Start),
    /// StopMulticastMediaReception.
    StopMulticastReception(Channel),
    /// StopMulticastMediaTransmission.
    StopMulticastTransmission(Channel),
    /// PortResponse: the ports the phone has taken.
    Ports(Ports),
    /// PortClose: they are free again.
    PortClose(Channel),
    /// MediaTransmissionFailure: the phone cannot send.
    TransmissionFailure(Channel),
    /// CallState.
    CallState(CallState),
    /// CallInfo or CallInfoDynamic: who talks.
    CallInfo(CallInfo<'a>),
    /// DialedNumber.
    Dialed(Dialed<'a>),
    /// EnblocCall: a number dialled at once.
    Enbloc(&'a [u8]),
    /// IpPort: the port the oldest phones receive RTP on.
    IpPort(u16),
    /// StartMediaReception: the oldest phones shall receive on that port.
    StartReception,
    /// StopMediaReception.
    StopReception,
    /// KeypadButton.
    Keypad(Keypad),
    /// LineStat or LineStatDynamic: the number of one of the phone's lines.
    Line(Line<'a>),
    /// ServerRes: the call managers a phone may go to.
    Servers(Servers),
    /// Any other.
    Other,
}

/// Register: a device introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register<'a> {
    /// Device name, 1 to 15 printable characters: SEP and a MAC address for phones.
    pub name: &'a str,
    /// What it says its IPv4 address is, if it is not 0.0.0.0.
    pub address: Option<Ipv4Addr>,
    /// Device type, see [`super::device_name`].
    pub device: u32,
    /// Protocol version it speaks; 0 where it does not say.
    pub version: u8,
    /// Most lines; 0 where it does not say.
    pub lines: u32,
    /// Its MAC address; `None` where it does not say.
    pub mac: Option<[u8; 6]>,
    /// Firmware load, at most 32 octets; empty where it does not say.
    pub load: &'a [u8],
}

/// RegisterAck: a device is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterAck {
    /// Seconds between keep-alives.
    pub keepalive: u32,
    /// Protocol version that was agreed on.
    pub version: u8,
}

/// Names a channel, as far as a message does: 0 stands for what is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Conference.
    pub conference: u32,
    /// Pass-through party: the channel's own number on its connection.
    pub party: u32,
    /// Call reference.
    pub call: u32,
}

/// A channel is to be opened for receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Which.
    pub channel: Channel,
    /// Payload type, see [`super::codec_name`].
    pub codec: u32,
    /// Video.
    pub video: bool,
}

/// A channel is open for receiving, or could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenAck {
    /// Which; without a conference.
    pub channel: Channel,
    /// 0 if it is open.
    pub status: u32,
    /// Where RTP is received.
    pub address: Option<SocketAddr>,
    /// Video.
    pub video: bool,
}

/// Transmission, or reception from a group, is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which channel.
    pub channel: Channel,
    /// The receiver of RTP, or the group.
    pub address: Option<SocketAddr>,
    /// Payload type, see [`super::codec_name`].
    pub codec: u32,
    /// Video.
    pub video: bool,
}

/// Transmission has started, or could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartAck {
    /// Which channel.
    pub channel: Channel,
    /// 0 if it has started.
    pub status: u32,
    /// Where RTP is sent from.
    pub address: Option<SocketAddr>,
}

/// The ports a phone has taken for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Which channel.
    pub channel: Channel,
    /// Where RTP is received.
    pub address: Option<SocketAddr>,
    /// Port of RTCP at the same address; `None` where it is not told.
    pub rtcp: Option<u16>,
}

/// Where a call stands on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallState {
    /// 1 off hook, 2 on hook, 3 ring out, 4 ring in, 5 connected, 6 busy, 8 hold, 12 proceeding …
    pub state: u32,
    /// Line.
    pub line: u32,
    /// Call reference.
    pub call: u32,
}

/// Numbers (or names, where there are none) of a call's parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallInfo<'a> {
    /// Call reference; 0 where it is not told.
    pub call: u32,
    /// Calling party.
    pub calling: &'a [u8],
    /// Called party.
    pub called: &'a [u8],
}

/// The number of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Which of the phone's, from 1.
    pub line: u32,
    /// Directory number; empty where there is none.
    pub number: &'a [u8],
}

/// A number that was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialed<'a> {
    /// Digits.
    pub number: &'a [u8],
    /// Call reference; 0 where it is not told.
    pub call: u32,
}

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keypad {
    /// `0` to `9`, `*` and `#`; `None` for other keys.
    pub digit: Option<char>,
    /// Call reference; 0 where it is not told.
    pub call: u32,
}

/// Addresses of call managers; those not in use are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers(pub [Option<SocketAddr>; 5]);

/// The two forms of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Four octets.
    Short,
    /// A type and sixteen octets.
    Long,
}

impl Layout {
    /// How far fields behind the address have moved.
    fn shift(self) -> usize {
        if self == Self::Long { 16 } else { 0 }
    }
}

/// First version with long addresses; PortResponse has its own.
const LONG: u32 = 17;
const LONG_PORTS: u32 = 19;
const LONG_FAILURE: u32 = 16;
/// Octets of the oldest StartMediaTransmission: it begins with the address and names no channel.
const OLDEST_START: usize = 48;

impl<'a> Body<'a> {
    pub(super) fn parse(reader: &Reader<'a>, id: u32) -> Result<Self, Error> {
        Ok(match id {
            0x0000 => Self::KeepAlive,
            0x0001 => Self::Register(Register::parse(reader)?),
            0x0002 => Self::IpPort(reader.port(12)?),
            0x0003 => Self::Keypad(Keypad::parse(reader)?),
            0x0004 => Self::Enbloc(reader.text(12, 24)),
            0x0020 => Self::Alarm(reader.text(16, 80)),
            0x0022 => Self::OpenReceiveAck(OpenAck::parse(reader, false)?),
            0x0027 => Self::Unregister,
            0x0029 | 0x8000 => Self::TokenRequest(reader.device_name()?),
            0x002a => Self::TransmissionFailure(reader.failure()?),
            0x0031 => Self::OpenReceiveAck(OpenAck::parse(reader, true)?),
            0x0045 => Self::Ports(Ports::parse(reader)?),
            0x0081 => Self::RegisterAck(RegisterAck {
                keepalive: reader.need(12)?,
                version: reader.word(28).to_le_bytes()[0],
            }),
            0x008a => Self::StartTransmission(Start::parse(reader, false)?),
            0x008b => Self::StopTransmission(reader.channel()?),
            0x008c => Self::StartReception,
            0x008d => Self::StopReception,
            0x008f => Self::CallInfo(CallInfo::parse(reader)),
            0x0092 => Self::Line(Line { line: reader.need(12)?, number: reader.text(16, 24) }),
            0x0147 => Self::Line(Line { line: reader.need(12)?, number: reader.text(20, 25) }),
            0x009d => Self::RegisterReject(reader.text(12, 33)),
            0x009e => Self::Servers(Servers::parse(reader)?),
            0x009f => Self::Reset(reader.need(12)?),
            0x0101 => Self::StartMulticastReception(Start::multicast(reader)?),
            0x0102 => Self::StartMulticastTransmission(Start::multicast(reader)?),
            0x0103 => Self::StopMulticastReception(reader.channel()?),
            0x0104 => Self::StopMulticastTransmission(reader.channel()?),
            0x0105 => Self::OpenReceive(Open {
                channel: Channel { call: reader.word(36), ..reader.names()? },
                codec: reader.need(24)?,
                video: false,
            }),
            0x0106 => Self::CloseReceive(reader.channel()?),
            0x0111 => Self::CallState(CallState {
                state: reader.need(12)?,
                line: reader.need(16)?,
                call: reader.need(20)?,
            }),
            0x0118 => Self::UnregisterAck(reader.need(12)?),
            0x011a | 0x8100 => Self::TokenAck,
            0x011b | 0x8101 => Self::TokenReject,
            0x011d => Self::Dialed(Dialed::parse(reader)),
            0x0131 => Self::OpenReceive(Open {
                channel: Channel { call: reader.word(28), ..reader.names()? },
                codec: reader.need(20)?,
                video: true,
            }),
            0x0132 => Self::StartTransmission(Start::parse(reader, true)?),
            0x0133 => Self::StopTransmission(reader.channel()?),
            0x0136 => Self::CloseReceive(reader.channel()?),
            0x014a => Self::CallInfo(CallInfo::dynamic(reader)),
            0x014c => Self::PortClose(Channel {
                conference: reader.need(12)?,
                call: reader.need(16)?,
                party: reader.need(20)?,
            }),
            0x0154 | 0x0155 => Self::StartTransmissionAck(StartAck::parse(reader)?),
            _ => Self::Other,
        })
    }
}

impl<'a> Register<'a> {
    fn parse(reader: &Reader<'a>) -> Result<Self, Error> {
        let name = reader.device_name()?;
        let address = Ipv4Addr::from(reader.need(36)?.to_le_bytes());
        // Old phones, which end before their lines, have something else there.
        let mac = reader.frame.get(64..).filter(|rest| rest.len() >= 20).and_then(|rest| rest.first_chunk());
        Ok(Self {
            name,
            address: Some(address).filter(|address| !address.is_unspecified()),
            device: reader.need(40)?,
            version: reader.word(52).to_le_bytes()[0],
            lines: reader.word(80),
            mac: mac.copied().filter(|mac| *mac != [0; 6]),
            load: reader.text(104, 32),
        })
    }
}

impl OpenAck {
    fn parse(reader: &Reader<'_>, video: bool) -> Result<Self, Error> {
        let status = reader.need(12)?;
        let layout = reader.layout(LONG, 16, 8)?;
        let shift = layout.shift();
        let channel =
            Channel { conference: 0, party: reader.need(24 + shift)?, call: reader.word(28 + shift) };
        // A phone that could not open the channel may write anything there.
        let address = if status == 0 { reader.address(16, layout)? } else { None };
        Ok(Self { channel, status, address, video })
    }
}

impl Start {
    fn parse(reader: &Reader<'_>, video: bool) -> Result<Self, Error> {
        if !video && reader.version == 0 && reader.frame.len() == OLDEST_START {
            let (address, codec) = (reader.address(12, Layout::Short)?, reader.need(24)?);
            return Ok(Self { channel: Channel::default(), address, codec, video });
        }
        // The multimedia form has its codec before the address.
        let at = if video { 24 } else { 20 };
        let layout = reader.layout(LONG, at, 4)?;
        let shift = layout.shift();
        let call = reader.word(if video { 32 } else { 52 } + shift);
        let codec = reader.word(if video { 20 } else { 32 + shift });
        let address = reader.address(at, layout)?;
        Ok(Self { channel: Channel { call, ..reader.names()? }, address, codec, video })
    }

    fn multicast(reader: &Reader<'_>) -> Result<Self, Error> {
        let layout = reader.layout(LONG, 20, 0)?;
        let address = reader.address(20, layout)?;
        let codec = reader.word(32 + layout.shift());
        Ok(Self { channel: reader.names()?, address, codec, video: false })
    }
}

impl StartAck {
    fn parse(reader: &Reader<'_>) -> Result<Self, Error> {
        let layout = reader.layout(LONG, 24, 0)?;
        let status = reader.word(32 + layout.shift());
        let address = if status == 0 { reader.address(24, layout)? } else { None };
        Ok(Self { channel: Channel { call: reader.need(20)?, ..reader.names()? }, status, address })
    }
}

impl Ports {
    fn parse(reader: &Reader<'_>) -> Result<Self, Error> {
        let layout = reader.layout(LONG_PORTS, 24, 4)?;
        let channel =
            Channel { conference: reader.need(12)?, call: reader.need(16)?, party: reader.need(20)? };
        let rtcp = reader.port(32 + layout.shift())?;
        Ok(Self { channel, address: reader.address(24, layout)?, rtcp: Some(rtcp).filter(|port| *port != 0) })
    }
}

impl<'a> CallInfo<'a> {
    /// Fields of a fixed size: name and number of the calling party, then of the called one.
    fn parse(reader: &Reader<'a>) -> Self {
        let party = |name, number| match reader.text(number, 24) {
            [] => reader.text(name, 40),
            number => number,
        };
        Self { call: reader.word(144), calling: party(12, 52), called: party(76, 116) }
    }

    /// Strings one behind the other: the calling number, from version 18 on an alternate one, the calling
    /// voice mailbox, the called number.
    fn dynamic(reader: &Reader<'a>) -> Self {
        let strings = reader.frame.get(44..).unwrap_or_default();
        let mut strings = strings.split(|octet| *octet == 0);
        let calling = strings.next().unwrap_or_default();
        let called = strings.nth(if reader.version >= 18 { 2 } else { 1 }).unwrap_or_default();
        Self { call: reader.word(16), calling, called }
    }
}

impl<'a> Dialed<'a> {
    /// From version 18 on the number has one octet more, and nothing behind it is aligned.
    fn parse(reader: &Reader<'a>) -> Self {
        let more = usize::from(reader.version >= 18);
        Self { number: reader.text(12, 24 + more), call: reader.word(40 + more) }
    }
}

impl Keypad {
    fn parse(reader: &Reader<'_>) -> Result<Self, Error> {
        let digit = match reader.need(12)? {
            14 => Some('*'),
            15 => Some('#'),
            // Some phones send the character itself.
            key @ (0x23 | 0x2a | 0x30..=0x39) => char::from_u32(key),
            key => char::from_digit(key, 10),
        };
        Ok(Self { digit, call: reader.word(20) })
    }
}

impl Servers {
    /// Five names of 48 octets, five ports, five addresses.
    fn parse(reader: &Reader<'_>) -> Result<Self, Error> {
        let mut servers = [None; 5];
        for (index, server) in servers.iter_mut().enumerate() {
            let port = reader.port(252 + 4 * index)?;
            let ip = match reader.version {
                version if version >= LONG => reader.long_ip(272 + 20 * index),
                _ => reader.short_ip(272 + 4 * index),
            };
            *server = ip.filter(|ip| !ip.is_unspecified()).map(|ip| SocketAddr::new(ip, port));
        }
        Ok(Self(servers))
    }
}

impl<'a> Reader<'a> {
    /// A word that must be there.
    fn need(&self, at: usize) -> Result<u32, Error> {
        word(self.frame, at).ok_or(Error::Short { message: self.name, needed: at + 4 })
    }

    /// A word, 0 where the message ends before it.
    fn word(&self, at: usize) -> u32 {
        word(self.frame, at).unwrap_or(0)
    }

    /// Text up to a NUL or to its bound; what is there of it.
    fn text(&self, at: usize, bound: usize) -> &'a [u8] {
        let rest = self.frame.get(at..).unwrap_or_default();
        let field = &rest[..rest.len().min(bound)];
        field.split(|octet| *octet == 0).next().unwrap_or_default()
    }

    fn device_name(&self) -> Result<&'a str, Error> {
        self.need(24)?;
        let name = self.text(12, 16);
        let proper = !name.is_empty() && name.len() < 16 && name.iter().all(u8::is_ascii_graphic);
        std::str::from_utf8(name).ok().filter(|_| proper).ok_or(Error::Name(self.name))
    }

    /// Conference and pass-through party at their usual place.
    fn names(&self) -> Result<Channel, Error> {
        Ok(Channel { conference: self.need(12)?, party: self.need(16)?, call: 0 })
    }

    /// A channel that is to be closed; the oldest phones are told none, and what stands there means nothing.
    fn channel(&self) -> Result<Channel, Error> {
        let conference = self.need(12)?;
        let told = self.frame.len() >= 20;
        let channel = Channel { conference, party: self.word(16), call: self.word(20) };
        Ok(if told { channel } else { Channel::default() })
    }

    fn failure(&self) -> Result<Channel, Error> {
        let shift = if self.version >= LONG_FAILURE { 16 } else { 0 };
        Ok(Channel { call: self.word(28 + shift), ..self.names()? })
    }

    /// The form of the address at `at`, whose port must have `behind` octets behind it.
    fn layout(&self, long_since: u32, at: usize, behind: usize) -> Result<Layout, Error> {
        let fits = |octets| self.frame.len() >= at + octets + 4 + behind.min(4);
        if self.version >= long_since {
            return if fits(20) { Ok(Layout::Long) } else { Err(Error::Layout(self.name)) };
        }
        // Read in the wrong form, the port is an address, or the address an empty one.
        let port = |octets| self.word(at + octets) <= u16::MAX.into();
        let short = fits(4) && port(4) && self.word(at) != 0;
        let long = fits(20) && port(20) && self.word(at) <= 2 && self.word(at + 4) > u16::MAX.into();
        match (short, long) {
            (false, true) => Ok(Layout::Long),
            (true, true) => Err(Error::Layout(self.name)),
            _ if fits(4) => Ok(Layout::Short),
            _ => Err(Error::Short { message: self.name, needed: at + 8 + behind.min(4) }),
        }
    }

    /// The address at `at`; `None` if it is unspecified or has port 0.
    fn address(&self, at: usize, layout: Layout) -> Result<Option<SocketAddr>, Error> {
        let (ip, port) = match layout {
            Layout::Short => (self.short_ip(at), self.port(at + 4)?),
            Layout::Long if self.need(at)? > 2 => return Err(Error::Layout(self.name)),
            Layout::Long => (self.long_ip(at), self.port(at + 20)?),
        };
        Ok(ip.filter(|ip| !ip.is_unspecified() && port != 0).map(|ip| SocketAddr::new(ip, port)))
    }

    fn short_ip(&self, at: usize) -> Option<IpAddr> {
        Some(Ipv4Addr::from(word(self.frame, at)?.to_le_bytes()).into())
    }

    /// A type (0 IPv4, 1 IPv6, 2 both) and sixteen octets.
    fn long_ip(&self, at: usize) -> Option<IpAddr> {
        let octets: [u8; 16] = self.frame.get(at + 4..)?.first_chunk().copied()?;
        let [a, b, c, d, rest @ ..] = octets;
        let v6 = match word(self.frame, at)? {
            0 => false,
            1 => true,
            _ => rest != [0; 12],
        };
        // A mapped address is the IPv4 address it stands for.
        Some(if v6 { IpAddr::from(Ipv6Addr::from(octets)).to_canonical() } else { [a, b, c, d].into() })
    }

    fn port(&self, at: usize) -> Result<u16, Error> {
        let port = self.need(at)?;
        u16::try_from(port).map_err(|_| Error::Port { message: self.name, port })
    }
}
