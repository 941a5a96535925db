//! SCCP on the wire, as far as the scripts need it.
//!
//! Written from the message layouts alone and shared with no decoder: what the firewall reads here, somebody else
//! has written. Integers are little-endian, ports 32 bits wide; offsets below count from the message's first byte.
//!
//! ```text
//!  0          4                8             12
//! | length   | header version | message id  | body …     length counts from the message id
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};

/// Bytes before the message id.
const PREFIX: usize = 8;
/// Where a Register has the phone's MAC address.
pub const MAC: usize = 64;
/// G.711 µ-law (Media_PayloadType).
const G711U: u32 = 4;
/// H.264.
const H264: u32 = 103;
/// Milliseconds of one packet.
const PTIME: u32 = 20;
/// Expedited forwarding, as the type of service.
const EXPEDITED: u32 = 0xb8;
/// Bytes of media encryption information.
const CRYPTO: usize = 48;

/// Message ids.
pub mod id {
    /// A phone is alive.
    pub const KEEP_ALIVE: u32 = 0x0000;
    /// A phone introduces itself.
    pub const REGISTER: u32 = 0x0001;
    /// A digit is pressed.
    pub const KEYPAD_BUTTON: u32 = 0x0003;
    /// The handset is lifted.
    pub const OFF_HOOK: u32 = 0x0006;
    /// It is put down.
    pub const ON_HOOK: u32 = 0x0007;
    /// What the phone can do.
    pub const CAPABILITIES_RES: u32 = 0x0010;
    /// Where the phone receives audio.
    pub const OPEN_RECEIVE_CHANNEL_ACK: u32 = 0x0022;
    /// A key beside the display is pressed.
    pub const SOFT_KEY_EVENT: u32 = 0x0026;
    /// The phone leaves.
    pub const UNREGISTER: u32 = 0x0027;
    /// Where the phone receives video.
    pub const OPEN_MULTIMEDIA_RECEIVE_CHANNEL_ACK: u32 = 0x0031;
    /// The phone is welcome.
    pub const REGISTER_ACK: u32 = 0x0081;
    /// How the phone rings.
    pub const SET_RINGER: u32 = 0x0085;
    /// Where the phone must send audio.
    pub const START_MEDIA_TRANSMISSION: u32 = 0x008a;
    /// It must send no more audio.
    pub const STOP_MEDIA_TRANSMISSION: u32 = 0x008b;
    /// Who calls whom, up to version 16.
    pub const CALL_INFO: u32 = 0x008f;
    /// The number of a line.
    pub const LINE_STAT: u32 = 0x0092;
    /// What can the phone do?
    pub const CAPABILITIES_REQ: u32 = 0x009b;
    /// An answer to [`KEEP_ALIVE`].
    pub const KEEP_ALIVE_ACK: u32 = 0x0100;
    /// The phone is to receive audio.
    pub const OPEN_RECEIVE_CHANNEL: u32 = 0x0105;
    /// It is to receive no more audio.
    pub const CLOSE_RECEIVE_CHANNEL: u32 = 0x0106;
    /// Where a call stands.
    pub const CALL_STATE: u32 = 0x0111;
    /// An answer to [`UNREGISTER`].
    pub const UNREGISTER_ACK: u32 = 0x0118;
    /// What was dialled.
    pub const DIALED_NUMBER: u32 = 0x011d;
    /// The phone is to receive video.
    pub const OPEN_MULTIMEDIA_RECEIVE_CHANNEL: u32 = 0x0131;
    /// Where the phone must send video.
    pub const START_MULTIMEDIA_TRANSMISSION: u32 = 0x0132;
    /// It must send no more video.
    pub const STOP_MULTIMEDIA_TRANSMISSION: u32 = 0x0133;
    /// It is to receive no more video.
    pub const CLOSE_MULTIMEDIA_RECEIVE_CHANNEL: u32 = 0x0136;
    /// Who calls whom, from version 17 on.
    pub const CALL_INFO_DYNAMIC: u32 = 0x014a;
    /// From where the phone sends audio.
    pub const START_MEDIA_TRANSMISSION_ACK: u32 = 0x0154;
    /// From where the phone sends video.
    pub const START_MULTIMEDIA_TRANSMISSION_ACK: u32 = 0x0155;
}

/// States of a call.
pub mod state {
    /// Handset lifted.
    pub const OFF_HOOK: u32 = 1;
    /// Released.
    pub const ON_HOOK: u32 = 2;
    /// The other end rings.
    pub const RING_OUT: u32 = 3;
    /// The phone rings.
    pub const RING_IN: u32 = 4;
    /// Answered.
    pub const CONNECTED: u32 = 5;
    /// Held.
    pub const HOLD: u32 = 8;
}

/// A protocol version, as a phone and its call manager have agreed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8);

impl Version {
    /// One of each layout.
    pub const ALL: [Self; 5] = [Self(3), Self(11), Self(17), Self(20), Self(22)];

    /// What the header says: nothing before version 10.
    pub fn header(self) -> u32 {
        if self.0 < 10 { 0 } else { u32::from(self.0) }
    }

    /// Whether addresses carry their type, and may be IPv6.
    pub fn is_typed(self) -> bool {
        self.0 >= 17
    }
}

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// G.711.
    Audio,
    /// H.264.
    Video,
}

impl Medium {
    /// Payload type of its RTP.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Audio => 0,
            Self::Video => 97,
        }
    }

    fn pick(self, audio: u32, video: u32) -> u32 {
        match self {
            Self::Audio => audio,
            Self::Video => video,
        }
    }
}

/// What ties the messages of one call's media together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Conference.
    pub conference: u32,
    /// Pass-through party.
    pub party: u32,
    /// Call reference.
    pub call: u32,
    /// What it carries.
    pub medium: Medium,
}

impl Channel {
    /// The video beside a call's audio.
    pub fn video(self) -> Self {
        Self { party: self.party | 0x8000_0000, medium: Medium::Video, ..self }
    }

    /// Open(MultiMedia)ReceiveChannel.
    pub fn open(self) -> u32 {
        self.medium.pick(id::OPEN_RECEIVE_CHANNEL, id::OPEN_MULTIMEDIA_RECEIVE_CHANNEL)
    }

    /// Open(MultiMedia)ReceiveChannelAck.
    pub fn open_ack(self) -> u32 {
        self.medium.pick(id::OPEN_RECEIVE_CHANNEL_ACK, id::OPEN_MULTIMEDIA_RECEIVE_CHANNEL_ACK)
    }

    /// Close(MultiMedia)ReceiveChannel.
    pub fn close(self) -> u32 {
        self.medium.pick(id::CLOSE_RECEIVE_CHANNEL, id::CLOSE_MULTIMEDIA_RECEIVE_CHANNEL)
    }

    /// Start(Multi)MediaTransmission.
    pub fn start(self) -> u32 {
        self.medium.pick(id::START_MEDIA_TRANSMISSION, id::START_MULTIMEDIA_TRANSMISSION)
    }

    /// Start(Multi)MediaTransmissionAck.
    pub fn start_ack(self) -> u32 {
        self.medium.pick(id::START_MEDIA_TRANSMISSION_ACK, id::START_MULTIMEDIA_TRANSMISSION_ACK)
    }

    /// Stop(Multi)MediaTransmission.
    pub fn stop(self) -> u32 {
        self.medium.pick(id::STOP_MEDIA_TRANSMISSION, id::STOP_MULTIMEDIA_TRANSMISSION)
    }
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One of [`id`].
    pub id: u32,
    /// All of it, from the length on.
    pub bytes: Vec<u8>,
}

impl Message {
    /// The first message of a stream, and how long it is; `None` while it is incomplete.
    ///
    /// # Errors
    /// When the length leaves no room for a message id.
    pub fn split(stream: &[u8]) -> Result<Option<(Self, usize)>> {
        let (Ok(length), Ok(id)) = (u32_at(stream, 0), u32_at(stream, PREFIX)) else { return Ok(None) };
        ensure!(length >= 4, "a message of length {length}");
        let end = PREFIX + length as usize;
        Ok(stream.get(..end).map(|bytes| (Self { id, bytes: bytes.to_vec() }, end)))
    }

    /// Where an OpenReceiveChannelAck says that the phone receives.
    ///
    /// # Errors
    /// When it is too short for that.
    pub fn receiver(&self, version: Version) -> Result<SocketAddr> {
        self.address(version, 16)
    }

    /// Where a StartMediaTransmission, or its multimedia twin, tells the phone to send.
    ///
    /// # Errors
    /// When it is too short for that.
    pub fn target(&self, version: Version) -> Result<SocketAddr> {
        self.address(version, if self.id == id::START_MULTIMEDIA_TRANSMISSION { 24 } else { 20 })
    }

    /// The integer at an offset.
    ///
    /// # Errors
    /// When it is too short for that.
    pub fn number(&self, at: usize) -> Result<u32> {
        u32_at(&self.bytes, at)
    }

    fn address(&self, version: Version, at: usize) -> Result<SocketAddr> {
        let short = || format!("no address in message {:#06x}", self.id);
        if !version.is_typed() {
            let ip: [u8; 4] =
                self.bytes.get(at..at + 4).and_then(|ip| ip.try_into().ok()).with_context(short)?;
            return Ok(SocketAddr::new(Ipv4Addr::from(ip).into(), port_at(&self.bytes, at + 4)?));
        }
        let field: [u8; 16] =
            self.bytes.get(at + 4..at + 20).and_then(|ip| ip.try_into().ok()).with_context(short)?;
        let ip = match (u32_at(&self.bytes, at)?, field) {
            (0, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
            _ => Ipv6Addr::from(field).into(),
        };
        Ok(SocketAddr::new(ip, port_at(&self.bytes, at + 20)?))
    }
}

/// A message with any header and body.
pub fn raw(length: u32, header: u32, id: u32, body: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), &header.to_le_bytes(), &id.to_le_bytes(), body].concat()
}

/// A message without a body.
pub fn bare(version: Version, id: u32) -> Vec<u8> {
    Writer::new(version, id).end()
}

/// A phone of this name asks to be registered; before the answer it speaks no version yet.
pub fn register(version: Version, name: &str, ip: IpAddr) -> Vec<u8> {
    let mut message = Writer::new(Version(0), id::REGISTER);
    message.text(name, 16).u32s(&[0, 1]);
    let (v4, v6) = match ip {
        IpAddr::V4(ip) => (ip, Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(ip) => (Ipv4Addr::UNSPECIFIED, ip),
    };
    // A 7970; two streams at most, none active.
    message.bytes(&v4.octets()).u32s(&[30_006, 2, 0]).bytes(&[version.0, 0, 0, 0x80]);
    message.pad(MAC).bytes(&mac_of(name)).pad(80).u32s(&[8]).bytes(&v6.octets());
    message.pad(104).text("SCCP70.9-4-2SR3-1S", 32);
    message.end()
}

/// The MAC address in a phone's name; zeros where there is none.
fn mac_of(name: &str) -> [u8; 6] {
    let digits = name.strip_prefix("SEP").filter(|digits| digits.len() == 12);
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let [_, _, mac @ ..] = number.to_be_bytes();
    mac
}

/// It is registered, and is to show that it lives every 30 s.
pub fn register_ack(version: Version) -> Vec<u8> {
    let mut message = Writer::new(version, id::REGISTER_ACK);
    message.u32s(&[30]).text("D/M/YA", 6).pad(24).u32s(&[30]).bytes(&[version.0, 0, 0, 0]);
    message.end()
}

/// It has left.
pub fn unregister_ack(version: Version) -> Vec<u8> {
    let mut message = Writer::new(version, id::UNREGISTER_ACK);
    message.u32s(&[0]);
    message.end()
}

/// A digit on line 1.
pub fn keypad_button(version: Version, digit: u32, call: u32) -> Vec<u8> {
    let mut message = Writer::new(version, id::KEYPAD_BUTTON);
    message.u32s(&[digit, 1, call]);
    message.end()
}

/// The number of line 1.
pub fn line_stat(version: Version, number: &str) -> Vec<u8> {
    let mut message = Writer::new(version, id::LINE_STAT);
    message.u32s(&[1]).text(number, 24).text("", 40).text("", 44);
    message.end()
}

/// What was dialled on line 1; from version 18 on the number has an odd length, and what follows is not aligned.
pub fn dialed_number(version: Version, number: &str, call: u32) -> Vec<u8> {
    let mut message = Writer::new(version, id::DIALED_NUMBER);
    message.text(number, if version.0 >= 18 { 25 } else { 24 }).u32s(&[1, call]);
    message.end()
}

/// A call on line 1 is in one of [`state`].
pub fn call_state(version: Version, state: u32, call: u32) -> Vec<u8> {
    let mut message = Writer::new(version, id::CALL_STATE);
    message.u32s(&[state, 1, call, 0, 4, 0]);
    message.end()
}

/// The phone can do G.711 alone; there is room for eighteen codecs.
pub fn capabilities(version: Version) -> Vec<u8> {
    let mut message = Writer::new(version, id::CAPABILITIES_RES);
    message.u32s(&[1, G711U, PTIME, 0, 0]).pad(16 + 18 * 16);
    message.end()
}

/// Who calls whom on line 1, the call coming in.
pub fn call_info(version: Version, calling: &str, called: &str, call: u32) -> Vec<u8> {
    const INBOUND: u32 = 1;
    if !version.is_typed() {
        let mut message = Writer::new(version, id::CALL_INFO);
        message.text("", 40).text(calling, 24).text("", 40).text(called, 24).u32s(&[1, call, INBOUND]);
        return message.end();
    }
    let mut message = Writer::new(version, id::CALL_INFO_DYNAMIC);
    message.u32s(&[1, call, INBOUND, 0, 0, 0, 0, 0]);
    let numbers: &[&str] =
        if version.0 >= 18 { &[calling, "", "", called, "", ""] } else { &[calling, "", called, ""] };
    for number in numbers {
        message.bytes(number.as_bytes()).zeros(1);
    }
    message.end()
}

/// The phone rings for a call on line 1.
pub fn ring(version: Version, call: u32) -> Vec<u8> {
    const INSIDE: u32 = 2;
    let mut message = Writer::new(version, id::SET_RINGER);
    message.u32s(&[INSIDE, 1, 1, call]);
    message.end()
}

/// The phone is to receive. For audio, call managers name port 4000 of their own as the source, whoever will send.
pub fn open_receive_channel(version: Version, channel: Channel, manager: IpAddr) -> Vec<u8> {
    let mut message = Writer::new(version, channel.open());
    message.u32s(&[channel.conference, channel.party]);
    if channel.medium == Medium::Video {
        // Line, call reference and RTP payload type stand before what the codec needs.
        message.u32s(&[H264, 1, channel.call, 97]).zeros(CRYPTO);
        return message.end();
    }
    message.u32s(&[PTIME, G711U, 0, 0, channel.call]).zeros(CRYPTO);
    message.u32s(&[0, 0, 101, 0]);
    if version.0 >= 11 {
        message.u32s(&[0, 0]).address(SocketAddr::new(manager, 4_000));
    }
    if version.is_typed() {
        message.u32s(&[0]);
    }
    message.end()
}

/// The phone receives here. Before version 11 the call reference is missing.
pub fn open_receive_channel_ack(version: Version, channel: Channel, receiver: SocketAddr) -> Vec<u8> {
    let mut message = Writer::new(version, channel.open_ack());
    message.u32s(&[0]).address(receiver).u32s(&[channel.party]);
    if version.0 >= 11 {
        message.u32s(&[channel.call]);
    }
    message.end()
}

/// The phone must send there.
pub fn start_media_transmission(version: Version, channel: Channel, target: SocketAddr) -> Vec<u8> {
    let mut message = Writer::new(version, channel.start());
    message.u32s(&[channel.conference, channel.party]);
    if channel.medium == Medium::Video {
        message.u32s(&[H264]).address(target).u32s(&[channel.call, 0, 97, EXPEDITED]);
        return message.end();
    }
    message.address(target);
    message.u32s(&[PTIME, G711U, EXPEDITED, 0, 1, 0, channel.call]).zeros(CRYPTO);
    // Stream ids, RFC 2833 payload type, DTMF, mixing, direction.
    message.u32s(&[0, 0, 101, 0, 0, 0]);
    message.end()
}

/// The phone sends from here.
pub fn start_media_transmission_ack(version: Version, channel: Channel, sender: SocketAddr) -> Vec<u8> {
    let mut message = Writer::new(version, channel.start_ack());
    message.u32s(&[channel.conference, channel.party, channel.call]).address(sender).u32s(&[0]);
    message.end()
}

/// [`Channel::close`] or [`Channel::stop`]: the same body.
pub fn end_channel(version: Version, id: u32, channel: Channel) -> Vec<u8> {
    let mut message = Writer::new(version, id);
    message.u32s(&[channel.conference, channel.party]);
    if version.0 >= 5 {
        message.u32s(&[channel.call, 0]);
    }
    message.end()
}

/// A message that grows; its length is filled in at the end.
struct Writer {
    bytes: Vec<u8>,
    version: Version,
}

impl Writer {
    fn new(version: Version, id: u32) -> Self {
        Self { bytes: raw(0, version.header(), id, &[]), version }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    fn u32s(&mut self, values: &[u32]) -> &mut Self {
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
        self
    }

    fn zeros(&mut self, count: usize) -> &mut Self {
        self.pad(self.bytes.len() + count)
    }

    /// Fills up to an offset.
    fn pad(&mut self, offset: usize) -> &mut Self {
        self.bytes.resize(offset, 0);
        self
    }

    /// Text in a field of this size, filled up with zeros.
    fn text(&mut self, text: &str, size: usize) -> &mut Self {
        let end = self.bytes.len() + size;
        self.bytes.extend(text.bytes().take(size));
        self.pad(end)
    }

    /// An address and its port, in the version's layout.
    fn address(&mut self, address: SocketAddr) -> &mut Self {
        let end = self.bytes.len() + 20;
        match (address.ip(), self.version.is_typed()) {
            (IpAddr::V4(ip), false) => self.bytes(&ip.octets()),
            (IpAddr::V4(ip), true) => self.u32s(&[0]).bytes(&ip.octets()).pad(end),
            (IpAddr::V6(ip), _) => self.u32s(&[1]).bytes(&ip.octets()),
        };
        self.u32s(&[u32::from(address.port())])
    }

    fn end(mut self) -> Vec<u8> {
        let length = (self.bytes.len() - PREFIX) as u32;
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let field = bytes.get(at..at + 4).and_then(|field| field.try_into().ok());
    Ok(u32::from_le_bytes(field.with_context(|| format!("no integer at {at}"))?))
}

fn port_at(bytes: &[u8], at: usize) -> Result<u16> {
    u16::try_from(u32_at(bytes, at)?).context("a port above 65535")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{Channel, Medium, Message, Version, id};

    const CHANNEL: Channel = Channel { conference: 7, party: 8, call: 9, medium: Medium::Audio };

    /// Lengths that were seen in captures of real phones and call managers.
    #[test]
    fn lengths_are_those_of_real_equipment() {
        let phone: SocketAddr = "10.20.0.10:16384".parse().expect("address");
        for (version, ack, start) in [(3, 0x14, 0x78), (11, 0x18, 0x78), (17, 0x28, 0x88), (22, 0x28, 0x88)] {
            let version = Version(version);
            let message = super::open_receive_channel_ack(version, CHANNEL, phone);
            assert_eq!(message[0], ack, "{version:?}");
            assert_eq!(message.len(), usize::from(ack) + 8);
            let message = super::start_media_transmission(version, CHANNEL, phone);
            assert_eq!(message[0], start, "{version:?}");
        }
    }

    #[test]
    fn a_phone_has_the_mac_address_of_its_name() {
        let at =
            |name| super::register(Version(17), name, [10, 20, 0, 10].into())[super::MAC..][..7].to_vec();
        assert_eq!(at("SEP0011AABBCCDD"), [0x00, 0x11, 0xaa, 0xbb, 0xcc, 0xdd, 0]);
        assert_eq!(at("ATA0011AABBCCDD"), [0; 7]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for address in ["10.20.0.10:19654", "[2001:db8::1]:16384"] {
            let address: SocketAddr = address.parse().expect("address");
            for version in Version::ALL.into_iter().filter(|version| version.is_typed() || address.is_ipv4())
            {
                let ack = super::open_receive_channel_ack(version, CHANNEL, address);
                let start = super::start_media_transmission(version, CHANNEL, address);
                let both = [ack.clone(), start].concat();
                let (message, length) = Message::split(&both).expect("sound").expect("whole");
                assert_eq!((message.id, length), (id::OPEN_RECEIVE_CHANNEL_ACK, ack.len()));
                assert_eq!(message.receiver(version).expect("address"), address);
                let (message, _) = Message::split(&both[length..]).expect("sound").expect("whole");
                assert_eq!(message.target(version).expect("address"), address);
                assert_eq!(Message::split(&both[..ack.len() - 1]).expect("sound"), None);
                let video = super::start_media_transmission(version, CHANNEL.video(), address);
                let (message, _) = Message::split(&video).expect("sound").expect("whole");
                assert_eq!(message.target(version).expect("address"), address);
            }
        }
    }
}
