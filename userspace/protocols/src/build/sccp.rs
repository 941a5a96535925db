//! Builds SCCP messages, for tests that speak it: registration, and calls in each form of address.

use std::net::{IpAddr, SocketAddr};

use crate::sccp::Channel;

/// A message of any id, from the octets behind it.
pub fn message(version: u32, id: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(12 + body.len());
    frame.extend_from_slice(&(body.len() as u32 + 4).to_le_bytes());
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&id.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// KeepAlive.
pub fn keep_alive() -> Vec<u8> {
    message(0, 0x0000, &[])
}

/// Register of a 7960 with two lines and MAC address 00:11:aa:bb:cc:dd that speaks protocol `version`.
pub fn register(name: &str, address: IpAddr, version: u8) -> Vec<u8> {
    let IpAddr::V4(v4) = address.to_canonical() else {
        return register(name, [0, 0, 0, 0].into(), version);
    };
    let mut body = Fields::new();
    body.text(12, name, 16).octets(36, &v4.octets()).word(40, 7).octets(52, &[version, 0, 0, 0]);
    body.octets(64, &[0x00, 0x11, 0xaa, 0xbb, 0xcc, 0xdd]).word(80, 2).text(104, "P0030801SR02", 32);
    message(0, 0x0001, &body.0)
}

/// RegisterTokenReq.
pub fn token_request(name: &str) -> Vec<u8> {
    let mut body = Fields::new();
    body.text(12, name, 16).word(32, 0).word(40, 7);
    message(0, 0x0029, &body.0)
}

/// RegisterAck.
pub fn register_ack(keepalive: u32, version: u8) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, keepalive).text(16, "D-M-Y", 8).word(24, keepalive).octets(28, &[version, 0, 0, 0]);
    message(header(version.into()), 0x0081, &body.0)
}

/// RegisterReject.
pub fn register_reject(text: &str) -> Vec<u8> {
    message(0, 0x009d, &Fields::new().text(12, text, 33).0)
}

/// Unregister.
pub fn unregister() -> Vec<u8> {
    message(0, 0x0027, &[])
}

/// UnregisterAck.
pub fn unregister_ack(status: u32) -> Vec<u8> {
    message(0, 0x0118, &status.to_le_bytes())
}

/// Reset.
pub fn reset(kind: u32) -> Vec<u8> {
    message(0, 0x009f, &kind.to_le_bytes())
}

/// Alarm.
pub fn alarm(text: &str) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, 2).text(16, text, 80).word(100, 0);
    message(0, 0x0020, &body.0)
}

/// OpenReceiveChannel, or its multimedia twin.
pub fn open_receive(version: u32, channel: Channel, codec: u32, video: bool) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, channel.conference).word(16, channel.party);
    match video {
        false => body.word(20, 20).word(24, codec).word(36, channel.call).word(76, 0),
        true => body.word(20, codec).word(28, channel.call).word(76, 0),
    };
    message(header(version), if video { 0x0131 } else { 0x0105 }, &body.0)
}

/// OpenReceiveChannelAck, or its multimedia twin.
pub fn open_receive_ack(version: u32, channel: Channel, address: SocketAddr, video: bool) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, 0);
    let shift = body.address(16, address, version >= 17);
    body.word(24 + shift, channel.party).word(28 + shift, channel.call);
    message(header(version), if video { 0x0031 } else { 0x0022 }, &body.0)
}

/// OpenReceiveChannelAck of a phone that could not.
pub fn open_receive_nak(version: u32, channel: Channel, status: u32) -> Vec<u8> {
    let mut frame = open_receive_ack(version, channel, SocketAddr::from(([0, 0, 0, 0], 0)), false);
    frame[12..16].copy_from_slice(&status.to_le_bytes());
    frame
}

/// StartMediaTransmission, or its multimedia twin.
pub fn start(version: u32, channel: Channel, address: SocketAddr, codec: u32, video: bool) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, channel.conference).word(16, channel.party);
    if video {
        let shift = body.word(20, codec).address(24, address, version >= 17);
        body.word(32 + shift, channel.call).word(80 + shift, 0);
        return message(header(version), 0x0132, &body.0);
    }
    let shift = body.address(20, address, version >= 17);
    body.word(28 + shift, 20).word(32 + shift, codec).word(52 + shift, channel.call).word(124 + shift, 0);
    message(header(version), 0x008a, &body.0)
}

/// StartMediaTransmissionAck, or its multimedia twin.
pub fn start_ack(version: u32, channel: Channel, address: SocketAddr, video: bool) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, channel.conference).word(16, channel.party).word(20, channel.call);
    let shift = body.address(24, address, version >= 17);
    body.word(32 + shift, 0);
    message(header(version), if video { 0x0155 } else { 0x0154 }, &body.0)
}

/// CloseReceiveChannel (0x106), StopMediaTransmission (0x8b), their twins, or StopMulticast… (0x103, 0x104).
pub fn close(version: u32, id: u32, channel: Channel) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, channel.conference).word(16, channel.party).word(20, channel.call).word(24, 0);
    message(header(version), id, &body.0)
}

/// StartMulticastMediaReception (0x101) or StartMulticastMediaTransmission (0x102).
pub fn multicast(version: u32, id: u32, channel: Channel, group: SocketAddr) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, channel.conference).word(16, channel.party);
    let shift = body.address(20, group, version >= 17);
    body.word(28 + shift, 20).word(32 + shift, 4);
    message(header(version), id, &body.0)
}

/// PortResponse.
pub fn port_response(version: u32, channel: Channel, address: SocketAddr, rtcp: u16) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, channel.conference).word(16, channel.call).word(20, channel.party);
    let shift = body.address(24, address, version >= 19);
    body.word(32 + shift, rtcp.into());
    message(header(version), 0x0045, &body.0)
}

/// MediaTransmissionFailure.
pub fn transmission_failure(version: u32, channel: Channel, address: SocketAddr) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, channel.conference).word(16, channel.party);
    let shift = body.address(20, address, version >= 16);
    body.word(28 + shift, channel.call);
    message(header(version), 0x002a, &body.0)
}

/// CallState on line 1.
pub fn call_state(version: u32, state: u32, call: u32) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, state).word(16, 1).word(20, call).word(32, 0);
    message(header(version), 0x0111, &body.0)
}

/// CallInfo up to version 16, CallInfoDynamic from then on.
pub fn call_info(version: u32, call: u32, calling: &str, called: &str) -> Vec<u8> {
    let mut body = Fields::new();
    if version < 17 {
        body.text(52, calling, 24).text(116, called, 24).word(140, 1).word(144, call);
        return message(header(version), 0x008f, &body.0);
    }
    let alternate = if version >= 18 { "\0" } else { "" };
    let strings = format!("{calling}\0{alternate}\0{called}\0");
    body.word(12, 1).word(16, call).word(40, 0).octets(44, strings.as_bytes());
    message(header(version), 0x014a, &body.0)
}

/// DialedNumber.
pub fn dialed(version: u32, number: &str, call: u32) -> Vec<u8> {
    let more = usize::from(version >= 18);
    let mut body = Fields::new();
    body.text(12, number, 24 + more).word(36 + more, 1).word(40 + more, call);
    message(header(version), 0x011d, &body.0)
}

/// IpPort.
pub fn ip_port(port: u16) -> Vec<u8> {
    message(0, 0x0002, &u32::from(port).to_le_bytes())
}

/// StartMediaReception (0x8c) or StopMediaReception (0x8d), of the oldest call managers.
pub fn oldest_reception(id: u32) -> Vec<u8> {
    message(0, id, &[0; 4])
}

/// StartMediaTransmission of the oldest call managers.
pub fn oldest_start(address: SocketAddr) -> Vec<u8> {
    let mut body = Fields::new();
    body.address(12, address, false);
    body.word(20, 30).word(24, 4).word(44, 0);
    message(0, 0x008a, &body.0)
}

/// KeypadButton.
pub fn keypad(version: u32, digit: u32, call: u32) -> Vec<u8> {
    let mut body = Fields::new();
    body.word(12, digit).word(16, 1).word(20, call);
    message(header(version), 0x0003, &body.0)
}

/// EnblocCall.
pub fn enbloc(version: u32, number: &str) -> Vec<u8> {
    message(header(version), 0x0004, &Fields::new().text(12, number, 24).0)
}

/// The header version of a negotiated one: none below 10.
fn header(version: u32) -> u32 {
    if version < 10 { 0 } else { version }
}

/// A body whose fields are put at their offsets from the header's first octet.
struct Fields(Vec<u8>);

impl Fields {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn octets(&mut self, at: usize, octets: &[u8]) -> &mut Self {
        let at = at - 12;
        self.0.resize(self.0.len().max(at + octets.len()), 0);
        self.0[at..at + octets.len()].copy_from_slice(octets);
        self
    }

    fn word(&mut self, at: usize, value: u32) -> &mut Self {
        self.octets(at, &value.to_le_bytes())
    }

    fn text(&mut self, at: usize, text: &str, length: usize) -> &mut Self {
        let mut field = text.as_bytes().to_vec();
        field.resize(length, 0);
        self.octets(at, &field)
    }

    /// An address in one of its forms; how far it moves what is behind it.
    fn address(&mut self, at: usize, address: SocketAddr, long: bool) -> usize {
        let mut octets = [0; 16];
        match address.ip() {
            IpAddr::V4(v4) => octets[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => octets = v6.octets(),
        }
        let port = address.port().into();
        if long {
            self.word(at, address.is_ipv6().into()).octets(at + 4, &octets).word(at + 20, port);
            16
        } else {
            self.octets(at, &octets[..4]).word(at + 4, port);
            0
        }
    }
}
