//! Captures as seeds: frames of a pcap file, and the signalling they carry.

use std::net::SocketAddr;

use callgate_alg::Transport;
use callgate_protocols::{sccp, tpkt};
use callgate_shared::flow::TCP;
use callgate_shared::packet::{Kind, Packet, parse};
use callgate_shared::policy::Inspect;

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Message {
    /// How it is read.
    pub protocol: Inspect,
    /// What carries it.
    pub transport: Transport,
    /// Its sender.
    pub source: SocketAddr,
    /// Its receiver.
    pub destination: SocketAddr,
    /// A datagram's payload, or a piece of a stream.
    pub payload: Vec<u8>,
}

/// The frames of a capture in the format of `tcpdump` (little-endian, as nearly all are); `None` if it is another,
/// or cut short.
pub fn frames(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let header = bytes.split_off(..24)?;
    if !matches!(header[..4], [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) {
        return None;
    }
    let mut frames = Vec::new();
    while let Some(record) = bytes.split_off(..16) {
        let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
        frames.push(bytes.split_off(..usize::try_from(length).ok()?)?);
    }
    Some(frames)
}

/// How a packet is read, as far as its ports tell. H.245 and what follows a TFTP request go between any ports;
/// fragments have none.
pub fn protocol(packet: &Packet) -> Inspect {
    let either = |port| packet.source_port == port || packet.destination_port == port;
    match packet.protocol {
        TCP if either(1_720) => Inspect::H225,
        TCP if either(2_000) => Inspect::Sccp,
        TCP if !either(5_060) => Inspect::H245,
        _ if either(1_719) => Inspect::Ras,
        _ if either(2_427) || either(2_727) => Inspect::Mgcp,
        _ if either(5_060) || either(0) => Inspect::Sip,
        _ => Inspect::Tftp,
    }
}

/// The signalling a frame carries whole. Of TFTP only what goes to its own port: media has any other.
pub fn message(frame: &[u8]) -> Option<Message> {
    let packet = parse(&frame).ok()?;
    let at = usize::from(packet.payload_at);
    let payload = frame.get(at..at + usize::from(packet.payload_length))?;
    let protocol = protocol(&packet);
    let foreign = match protocol {
        Inspect::H245 => !matches!(tpkt::split(payload), Ok(Some(_))),
        Inspect::Sccp => !matches!(sccp::frame_length(payload), Ok(Some(_))),
        Inspect::Tftp => packet.destination_port != 69,
        _ => false,
    };
    if packet.kind != Kind::Ip || payload.is_empty() || foreign {
        return None;
    }
    Some(Message {
        protocol,
        transport: if packet.protocol == TCP { Transport::Tcp } else { Transport::Udp },
        source: SocketAddr::new(packet.source.into(), packet.source_port),
        destination: SocketAddr::new(packet.destination.into(), packet.destination_port),
        payload: payload.to_vec(),
    })
}
