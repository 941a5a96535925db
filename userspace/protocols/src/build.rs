//! Builds H.323 messages, for tests that speak it: just enough for a G.711 call in each of its forms. Those of
//! SCCP are in [`sccp`].
//!
//! Call signalling messages come as whole TPKTs. H.245 messages come bare: wrap them in [`tpkt`] for a connection
//! of their own, or put them into [`Parts::h245_control`] to tunnel them.

pub mod ras;
pub mod sccp;

use std::net::{IpAddr, SocketAddr};

use crate::refuse::{H225_VERSION, q931};
use crate::writer::{Writer, encode};

/// H.245 version 7.
const H245_VERSION: [u8; 6] = [0x00, 0x08, 0x81, 0x75, 0x00, 0x07];

/// What names a call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Call reference value, 15 bits.
    pub reference: u16,
    /// callIdentifier.
    pub id: [u8; 16],
}

/// What a call signalling message may carry.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Where the sender listens for H.245.
    pub h245_address: Option<SocketAddr>,
    /// Channels: [`proposals`] or [`acceptance`].
    pub fast_start: Vec<Vec<u8>>,
    /// h245Tunneling.
    pub tunnelling: bool,
    /// H.245 messages.
    pub h245_control: Vec<Vec<u8>>,
}

/// Where a party receives a stream.
#[derive(Clone, Copy, Debug)]
pub struct Media {
    /// RTP.
    pub rtp: SocketAddr,
    /// RTCP.
    pub rtcp: SocketAddr,
}

/// Setup from `1000` to `2000`; sent by the caller, as are Facility and others with `to_origin` false.
pub fn setup(call: &Call, parts: &Parts) -> Vec<u8> {
    let body = |w: &mut Writer| {
        w.choice(0, 3);
        w.preamble(true, &[parts.h245_address.is_some(), true, true, false, false, false, false]);
        w.bytes(&H225_VERSION);
        optional_address(w, parts.h245_address);
        alias(w, "1000");
        endpoint_type(w);
        alias(w, "2000");
        w.bool(false); // activeMC
        w.octets(&call.id); // conferenceID
        w.choice(0, 2); // conferenceGoal: create
        w.choice(0, 2); // callType: pointToPoint
        let off = encode(|w| _ = w.bool(false));
        let mut additions = vec![(2, call_identifier(call))];
        additions.extend(fast_start(6, parts));
        additions.extend([7, 8, 10, 11].map(|index| (index, off.clone())));
        w.additions(12, &additions);
    };
    // Bearer capability: unrestricted digital, packet mode, H.221.
    message(call, false, 0x05, &[0x04, 0x03, 0x88, 0x93, 0xa5], parts, body)
}

/// CallProceeding.
pub fn call_proceeding(call: &Call, parts: &Parts) -> Vec<u8> {
    message(call, true, 0x02, &[], parts, |w| answering(w, 1, 8, call, parts))
}

/// Alerting.
pub fn alerting(call: &Call, parts: &Parts) -> Vec<u8> {
    message(call, true, 0x01, &[], parts, |w| answering(w, 3, 11, call, parts))
}

/// Progress.
pub fn progress(call: &Call, parts: &Parts) -> Vec<u8> {
    message(call, true, 0x03, &[], parts, |w| {
        w.added(0, |w| {
            let fast = !parts.fast_start.is_empty();
            w.preamble(false, &[parts.h245_address.is_some(), false, false, false, fast]);
            w.bytes(&H225_VERSION);
            endpoint_type(w);
            optional_address(w, parts.h245_address);
            w.preamble(false, &[]).octets(&call.id); // callIdentifier
            if fast {
                w.octets(&strings(&parts.fast_start));
            }
        });
    })
}

/// Connect.
pub fn connect(call: &Call, parts: &Parts) -> Vec<u8> {
    message(call, true, 0x07, &[], parts, |w| {
        w.choice(2, 3);
        w.preamble(true, &[parts.h245_address.is_some()]);
        w.bytes(&H225_VERSION);
        optional_address(w, parts.h245_address);
        endpoint_type(w);
        w.octets(&call.id); // conferenceID
        let mut additions = vec![(0, call_identifier(call))];
        additions.extend(fast_start(4, parts));
        w.additions(12, &additions);
    })
}

/// Facility: startH245 where there is an H.245 address, else transportedInformation; `to_origin` when the callee
/// sends it.
pub fn facility(call: &Call, to_origin: bool, parts: &Parts) -> Vec<u8> {
    message(call, to_origin, 0x62, &[], parts, |w| {
        w.choice(6, 3);
        w.preamble(true, &[false; 3]);
        w.bytes(&H225_VERSION);
        w.added(if parts.h245_address.is_some() { 1 } else { 6 }, |_| {});
        let mut additions = vec![(0, call_identifier(call))];
        if let Some(address) = parts.h245_address {
            additions.push((6, encode(|w| h225_address(w, address))));
        }
        additions.extend(fast_start(7, parts));
        w.additions(11, &additions);
    })
}

/// Facility of the callee: the call is forwarded to `address`.
pub fn forward(call: &Call, address: SocketAddr) -> Vec<u8> {
    message(call, true, 0x62, &[], &Parts::default(), |w| {
        w.choice(6, 3);
        w.preamble(true, &[true, false, false]);
        w.bytes(&H225_VERSION);
        h225_address(w, address);
        w.choice(1, 2); // callForwarded
        w.additions(11, &[(0, call_identifier(call))]);
    })
}

/// ReleaseComplete, cause normal; `to_origin` when the callee sends it.
pub fn release_complete(call: &Call, to_origin: bool, parts: &Parts) -> Vec<u8> {
    message(call, to_origin, 0x5a, &[0x08, 0x02, 0x80, 0x90], parts, |w| {
        w.choice(5, 3);
        w.preamble(true, &[false]);
        w.bytes(&H225_VERSION);
        w.additions(3, &[(0, call_identifier(call))]);
    })
}

/// fastStart of a Setup: G.711 µ-law to and from `own`.
pub fn proposals(own: Media) -> Vec<Vec<u8>> {
    vec![
        channel(1, (g711, None), Some((None, own.rtcp)), None),
        channel(2, (g711, None), None, Some((Some(own.rtp), own.rtcp))),
    ]
}

/// fastStart of a Setup: `codecs` of them, seven at most, each to and from `own`, and with its payload type.
pub fn offer(own: Media, codecs: usize) -> Vec<Vec<u8>> {
    let mut offer = Vec::new();
    for ((codec, payload), number) in CODECS.into_iter().take(codecs).zip(0_u16..) {
        let codec = (codec, Some(payload));
        offer.push(channel(2 * number + 1, codec, Some((None, own.rtcp)), None));
        offer.push(channel(2 * number + 2, codec, None, Some((Some(own.rtp), own.rtcp))));
    }
    offer
}

/// fastStart of an answer: `own` sends to `caller` what [`proposals`] offered to receive there, and receives.
pub fn acceptance(own: Media, caller: SocketAddr) -> Vec<Vec<u8>> {
    vec![
        channel(1, (g711, None), Some((Some(own.rtp), own.rtcp)), None),
        channel(101, (g711, None), None, Some((Some(caller), own.rtcp))),
    ]
}

/// TerminalCapabilitySet: G.711 µ-law, or nothing at all.
pub fn terminal_capability_set(empty: bool) -> Vec<u8> {
    encode(|w| {
        request(w, 2).preamble(false, &[false, !empty, false]).u8(1).bytes(&H245_VERSION);
        if !empty {
            w.u8(0).bool(true).u16(0); // one entry, whose capability is there, number 1
            w.choice(4, 4); // receiveAudioCapability
            g711(w);
        }
    })
}

/// TerminalCapabilitySetAck.
pub fn terminal_capability_set_ack() -> Vec<u8> {
    encode(|w| _ = response(w, 3).preamble(false, &[]).u8(1))
}

/// MasterSlaveDetermination; the greater number becomes master.
pub fn master_slave_determination(number: u8) -> Vec<u8> {
    encode(|w| _ = request(w, 1).preamble(false, &[]).u8(50).bits(0, 2).u8(number))
}

/// MasterSlaveDeterminationAck, telling the receiver that it is master, or not.
pub fn master_slave_determination_ack(master: bool) -> Vec<u8> {
    encode(|w| _ = response(w, 1).preamble(false, &[]).bool(!master))
}

/// OpenLogicalChannel: G.711 µ-law from the sender, which takes RTCP at `rtcp`.
pub fn open_logical_channel(number: u16, session: u8, rtcp: SocketAddr) -> Vec<u8> {
    encode(|w| {
        request(w, 3).preamble(false, &[false]).u16(number - 1).preamble(false, &[false]);
        audio(w, g711);
        w.added(0, |w| h2250(w, session, None, rtcp, None));
    })
}

/// OpenLogicalChannel: T.120 in session 3, for which the sender listens at `stack`.
pub fn open_data_channel(number: u16, stack: SocketAddr) -> Vec<u8> {
    let separate_stack = encode(|w| {
        w.preamble(false, &[false; 2]).choice(2, 2); // localAreaAddress
        h245_address(w, stack);
        w.bool(false); // associateConference
    });
    encode(|w| {
        request(w, 3).preamble(true, &[false]).u16(number - 1).preamble(false, &[false]);
        w.choice(4, 3).preamble(false, &[]).choice(1, 4).added(3, |_| {}); // t120, separateLANStack
        w.bits(0, 2).u8(100); // maxBitRate
        w.added(0, |w| _ = w.preamble(false, &[false; 10]).u8(3));
        w.additions(3, &[(0, separate_stack)]);
    })
}

/// OpenLogicalChannelAck: the sender receives at `media`.
pub fn open_logical_channel_ack(number: u16, session: u8, media: Media) -> Vec<u8> {
    let parameters = encode(|w| {
        w.bool(false); // forwardMultiplexAckParameters: the only one of its root
        w.preamble(false, &[false, true, true, true, false]).bits(u32::from(session - 1), 8);
        h245_address(w, media.rtp);
        h245_address(w, media.rtcp);
    });
    encode(|w| _ = response(w, 5).preamble(true, &[false]).u16(number - 1).additions(2, &[(1, parameters)]))
}

/// OpenLogicalChannelReject, cause unspecified.
pub fn open_logical_channel_reject(number: u16) -> Vec<u8> {
    encode(|w| _ = response(w, 6).preamble(false, &[]).u16(number - 1).choice(0, 3))
}

/// CloseLogicalChannel.
pub fn close_logical_channel(number: u16) -> Vec<u8> {
    encode(|w| _ = request(w, 4).preamble(false, &[]).u16(number - 1).bool(false))
}

/// CloseLogicalChannelAck.
pub fn close_logical_channel_ack(number: u16) -> Vec<u8> {
    encode(|w| _ = response(w, 7).preamble(false, &[]).u16(number - 1))
}

/// EndSessionCommand: disconnect.
pub fn end_session() -> Vec<u8> {
    encode(|w| _ = w.choice(2, 2).choice(5, 3).choice(1, 2))
}

/// Puts a message into a TPKT.
pub fn tpkt(message: &[u8]) -> Vec<u8> {
    crate::refuse::tpkt(message)
}

/// A Q.931 message with `elements`, and the User-User element that `body` begins, as a TPKT.
fn message(
    call: &Call,
    to_origin: bool,
    kind: u8,
    elements: &[u8],
    parts: &Parts,
    body: impl FnOnce(&mut Writer),
) -> Vec<u8> {
    let user_user = encode(|w| {
        w.preamble(false, &[false]).preamble(true, &[false]);
        body(w);
        let mut additions = vec![(1, encode(|w| _ = w.bool(parts.tunnelling)))];
        if !parts.h245_control.is_empty() {
            additions.push((2, strings(&parts.h245_control)));
        }
        w.additions(3, &additions);
    });
    tpkt(&q931(call.reference, to_origin, kind, elements, &user_user))
}

/// CallProceeding-UUIE and Alerting-UUIE.
fn answering(w: &mut Writer, alternative: u32, known: u32, call: &Call, parts: &Parts) {
    w.choice(alternative, 3);
    w.preamble(true, &[parts.h245_address.is_some()]);
    w.bytes(&H225_VERSION);
    endpoint_type(w);
    optional_address(w, parts.h245_address);
    let mut additions = vec![(0, call_identifier(call))];
    additions.extend(fast_start(4, parts));
    w.additions(known, &additions);
}

fn fast_start(index: u32, parts: &Parts) -> Option<(u32, Vec<u8>)> {
    (!parts.fast_start.is_empty()).then(|| (index, strings(&parts.fast_start)))
}

/// A SEQUENCE OF OCTET STRING.
fn strings(strings: &[Vec<u8>]) -> Vec<u8> {
    encode(|w| {
        w.length(strings.len());
        for string in strings {
            w.bytes(string);
        }
    })
}

fn call_identifier(call: &Call) -> Vec<u8> {
    encode(|w| _ = w.preamble(false, &[]).octets(&call.id))
}

/// A terminal, of which nothing else is said.
fn endpoint_type(w: &mut Writer) {
    w.preamble(false, &[false, false, false, false, false, true]);
    w.preamble(false, &[false]); // TerminalInfo
    w.bits(0, 2); // mc, undefinedNode
}

/// One dialedDigits alias; decimal digits only.
fn alias(w: &mut Writer, digits: &str) {
    w.length(1).choice(0, 1).bits(digits.len() as u32 - 1, 7).octets(&[]);
    for digit in digits.bytes() {
        w.bits(u32::from(digit - b'0') + 3, 4);
    }
}

fn optional_address(w: &mut Writer, address: Option<SocketAddr>) {
    if let Some(address) = address {
        h225_address(w, address);
    }
}

/// H.225.0's TransportAddress.
fn h225_address(w: &mut Writer, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => w.choice(0, 3).octets(&ip.octets()),
        IpAddr::V6(ip) => w.choice(3, 3).preamble(false, &[]).octets(&ip.octets()),
    };
    w.u16(address.port());
}

/// H.245's TransportAddress, unicast.
fn h245_address(w: &mut Writer, address: SocketAddr) {
    w.choice(0, 1);
    match address.ip() {
        IpAddr::V4(ip) => w.choice(0, 3).preamble(false, &[]).octets(&ip.octets()),
        IpAddr::V6(ip) => w.choice(2, 3).preamble(false, &[]).octets(&ip.octets()),
    };
    w.u16(address.port());
}

/// The addresses of one direction: mediaChannel and mediaControlChannel.
type Addresses = (Option<SocketAddr>, SocketAddr);

/// Writes an AudioCapability.
type Codec = fn(&mut Writer);

/// G.711 µ-law and A-law, G.729A, G.729AB, G.723.1, GSM, G.722; and their payload types (RFC 3551).
const CODECS: [(Codec, u8); 7] = [
    (g711, 0),
    (|w| _ = w.choice(1, 4).u8(19), 8),
    (|w| _ = w.choice(11, 4).u8(5), 18),
    (|w| _ = w.added(1, |w| _ = w.u8(5)), 18),
    (|w| _ = w.choice(8, 4).u8(0).bool(true), 4),
    (|w| _ = w.added(3, |w| _ = w.preamble(false, &[]).u8(32).bits(0, 2)), 3),
    (|w| _ = w.choice(5, 4).u8(19), 9),
];

/// An OpenLogicalChannel of fastStart, in one direction.
fn channel(
    number: u16,
    (codec, payload): (Codec, Option<u8>),
    forward: Option<Addresses>,
    reverse: Option<Addresses>,
) -> Vec<u8> {
    encode(|w| {
        w.preamble(false, &[reverse.is_some()]).u16(number - 1).preamble(false, &[false]);
        match forward {
            Some((media, control)) => {
                audio(w, codec);
                w.added(0, |w| h2250(w, 1, media, control, payload));
            }
            None => {
                w.choice(1, 3); // nullData
                w.added(1, |_| {}); // none
            }
        }
        if let Some((media, control)) = reverse {
            w.preamble(false, &[true]);
            audio(w, codec);
            w.added(0, |w| h2250(w, 1, media, control, payload));
        }
    })
}

/// H2250LogicalChannelParameters.
fn h2250(w: &mut Writer, session: u8, media: Option<SocketAddr>, control: SocketAddr, payload: Option<u8>) {
    let told = payload.is_some();
    w.preamble(false, &[false, false, media.is_some(), false, true, false, told, false, false, told]);
    w.u8(session);
    if let Some(media) = media {
        h245_address(w, media);
    }
    h245_address(w, control);
    if let Some(payload) = payload {
        w.bool(true); // silenceSuppression
        // mediaPacketization: rtpPayloadType, by the number of its RFC
        w.added(0, |w| {
            w.preamble(false, &[true]).choice(1, 2).bool(false).u16(3551 - 1).bits(u32::from(payload), 7);
        });
    }
}

/// DataType: audioData.
fn audio(w: &mut Writer, codec: Codec) {
    w.choice(3, 3);
    codec(w);
}

/// AudioCapability: g711Ulaw64k, 20 ms.
fn g711(w: &mut Writer) {
    w.choice(3, 4).u8(19);
}

fn request(w: &mut Writer, index: u32) -> &mut Writer {
    w.choice(0, 2).choice(index, 4)
}

fn response(w: &mut Writer, index: u32) -> &mut Writer {
    w.choice(1, 2).choice(index, 5)
}
