//! Counted packets between two sockets: what is sent is compared with what arrives, one by one.
//!
//! For streams that go on by themselves there is [`crate::rtp`]; this is for tests that want to know, at one moment,
//! whether a way is open or shut.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::netns::Netns;
use crate::rtp::{self, FIRST_PORT, LAST_PORT};

/// How long the last packet may take.
const ARRIVAL: Duration = Duration::from_millis(500);
/// Time between packets that are to arrive: as fast as G.711 may come for any time (twice its rate).
const PACE: Duration = Duration::from_millis(10);
/// Silence after which nothing more is expected.
const QUIET: Duration = Duration::from_millis(80);

/// What packets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// RTP (RFC 3550 §5.1).
    Rtp,
    /// An RTCP receiver report (RFC 3550 §6.4.2).
    Rtcp,
    /// A STUN binding request (RFC 8489 §5).
    Stun,
    /// A DTLS handshake record (RFC 6347 §4.1).
    Dtls,
    /// A ZRTP packet (RFC 6189 §5).
    Zrtp,
    /// UDPTL of T.38, which begins with a sequence number.
    Udptl,
    /// Nothing of the kind.
    Text,
}

impl Shape {
    /// Packet number `number` of this shape; no two are alike.
    pub fn packet(self, number: u32) -> Vec<u8> {
        let [a, b, c, d] = number.to_be_bytes();
        match self {
            Self::Rtp => rtp::packet(0, number, 0x0051_0051),
            Self::Rtcp => vec![0x80, 201, 0, 1, a, b, c, d],
            Self::Stun => {
                let mut bytes = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
                bytes.extend([0x0c, 0x05, 0, 0, 0, 0, 0, 0, a, b, c, d]);
                bytes
            }
            Self::Dtls => {
                let mut bytes = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, a, b, c, d, 0, 12];
                bytes.resize(25, 1);
                bytes
            }
            Self::Zrtp => {
                let mut bytes = vec![0x10, 0, c, d, b'Z', b'R', b'T', b'P', a, b, c, d];
                bytes.resize(40, 0);
                bytes
            }
            Self::Udptl => vec![c, d, 1, 0, 0, 0, a, b],
            Self::Text => format!("packet {number} of no media").into_bytes(),
        }
    }
}

/// A UDP socket and its address.
#[derive(Debug)]
pub struct Socket {
    udp: UdpSocket,
    /// Where it receives.
    pub local: SocketAddr,
}

impl Socket {
    /// Binds this address.
    ///
    /// # Errors
    /// When it is taken, or not the namespace's.
    pub fn bind(ns: &Netns, local: SocketAddr) -> Result<Self> {
        Ok(Self { udp: ns.udp(local)?, local })
    }

    /// An even port of the media range, and the next one.
    ///
    /// # Errors
    /// When none is free.
    pub fn pair(ns: &Netns, ip: IpAddr) -> Result<[Self; 2]> {
        for port in (FIRST_PORT..LAST_PORT).step_by(2) {
            let bind = |port| Self::bind(ns, SocketAddr::new(ip, port));
            if let (Ok(even), Ok(odd)) = (bind(port), bind(port + 1)) {
                return Ok([even, odd]);
            }
        }
        bail!("no free media port on {ip}")
    }

    /// Sends so many packets.
    ///
    /// # Errors
    /// When the socket refuses one.
    pub fn send(&self, to: SocketAddr, shape: Shape, count: u32) -> Result<()> {
        (0..count).try_for_each(|number| self.send_one(to, shape, number))
    }

    fn send_one(&self, to: SocketAddr, shape: Shape, number: u32) -> Result<()> {
        let sent = self.udp.send_to(&shape.packet(number), to);
        sent.map(drop).with_context(|| format!("{} to {to}", self.local))
    }

    /// Forgets what has arrived; how many packets it was.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn drain(&self) -> Result<u32> {
        let mut count = 0;
        while self.next(QUIET)?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// The next packet and its sender; `None` when none came in time.
    fn next(&self, limit: Duration) -> Result<Option<(Vec<u8>, SocketAddr)>> {
        let mut buffer = [0; 2_048];
        self.udp.set_read_timeout(Some(limit))?;
        match self.udp.recv_from(&mut buffer) {
            Ok((length, peer)) => Ok(Some((buffer[..length].to_vec(), peer))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            // A port unreachable for something sent before.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
            Err(error) => Err(error).with_context(|| self.local.to_string()),
        }
    }
}

/// Every one of `count` packets arrives, in order, once, unchanged, and nothing else does.
///
/// # Errors
/// With the first that does not.
pub fn arrives(from: &Socket, to: &Socket, shape: Shape, count: u32) -> Result<()> {
    for number in 0..count {
        from.send_one(to.local, shape, number)?;
        thread::sleep(PACE);
    }
    let way = || format!("{shape:?} from {} to {}", from.local, to.local);
    for number in 0..count {
        let (packet, peer) =
            to.next(ARRIVAL)?.with_context(|| format!("{}: {number} of {count} arrived", way()))?;
        ensure!(peer == from.local, "{}: a packet of {peer}", way());
        ensure!(packet == shape.packet(number), "{}: {packet:02x?} instead of number {number}", way());
    }
    ensure!(to.next(Duration::from_millis(1))?.is_none(), "{}: more arrives than was sent", way());
    Ok(())
}

/// [`arrives`], in both directions.
///
/// # Errors
/// As [`arrives`].
pub fn both_ways(a: &Socket, b: &Socket, shape: Shape, count: u32) -> Result<()> {
    arrives(a, b, shape, count)?;
    arrives(b, a, shape, count)
}

/// None of `count` packets arrives.
///
/// # Errors
/// When one does.
pub fn is_shut(from: &Socket, to: &Socket, shape: Shape, count: u32) -> Result<()> {
    from.send(to.local, shape, count)?;
    let came = to.drain()?;
    ensure!(came == 0, "{came} of {count} {shape:?} from {} arrive at {}", from.local, to.local);
    Ok(())
}
