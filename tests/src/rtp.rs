//! RTP and RTCP endpoints that know exactly what was lost.
//!
//! Every packet carries a sequence number from 0 on and the sender's SSRC (RFC 3550 §5.1); a receiver keeps
//! each number it has seen. What one end sent and the other has not seen is lost, from the first packet on:
//! nothing is forgiven as "before the stream was established".

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::netns::Netns;

/// First port of the media range of the lab's rules; even.
pub const FIRST_PORT: u16 = 16_384;
/// Last port of the media range.
pub const LAST_PORT: u16 = 32_767;
/// Time between packets: G.711 at 20 ms.
const PTIME: Duration = Duration::from_millis(20);
/// Bytes of G.711 in one packet.
const PAYLOAD: usize = 160;
/// RTP's fixed header (RFC 3550 §5.1).
const HEADER: usize = 12;
/// RTP packets for each RTCP report.
const REPORT_EVERY: u32 = 5;
/// How long an end keeps listening after both have stopped sending.
const DRAIN: Duration = Duration::from_millis(100);

/// A bound pair of sockets: RTP on an even port, RTCP on the next.
#[derive(Debug)]
pub struct Port {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    local: SocketAddr,
    payload_type: u8,
}

impl Port {
    /// The first free pair of the media range.
    ///
    /// # Errors
    /// When none is free, or the address is not the namespace's.
    pub fn bind(ns: &Netns, ip: IpAddr) -> Result<Self> {
        ns.run(|| {
            for port in (FIRST_PORT..LAST_PORT).step_by(2) {
                let local = SocketAddr::new(ip, port);
                let rtp = match UdpSocket::bind(local) {
                    Ok(socket) => socket,
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue,
                    Err(error) => return Err(error).with_context(|| format!("udp {local}")),
                };
                let Ok(rtcp) = UdpSocket::bind(SocketAddr::new(ip, port + 1)) else { continue };
                return Ok(Self { rtp, rtcp, local, payload_type: 0 });
            }
            bail!("no free media port on {ip}")
        })?
    }

    /// What it sends has this payload type; unless told, G.711's.
    #[must_use]
    pub fn sending(self, payload_type: u8) -> Self {
        Self { payload_type, ..self }
    }

    /// Where RTP is received.
    pub fn rtp(&self) -> SocketAddr {
        self.local
    }

    /// Where RTCP is received.
    pub fn rtcp(&self) -> SocketAddr {
        SocketAddr::new(self.local.ip(), self.local.port() + 1)
    }
}

/// What one end has sent and seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// RTP packets sent; their sequence numbers are `0..sent`.
    pub sent: u32,
    /// RTCP packets sent.
    pub reports_sent: u32,
    /// When the first was sent.
    pub first_sent: Option<Instant>,
    /// How often each sequence number was received.
    pub seen: BTreeMap<u16, u32>,
    /// RTCP packets received.
    pub reports_seen: u32,
    /// When the first RTP packet was received.
    pub first_seen: Option<Instant>,
}

/// One direction of a stream, after the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// RTP packets sent.
    pub sent: u32,
    /// Of these, received at least once.
    pub arrived: u32,
    /// Sequence numbers that never arrived.
    pub lost: Vec<u16>,
    /// Copies beyond the first.
    pub duplicates: u32,
    /// RTCP packets sent, and received.
    pub reports: (u32, u32),
}

impl Path {
    /// Compares what `from` sent with what `to` saw.
    pub fn of(from: &Tally, to: &Tally) -> Self {
        let numbers = 0..u16::try_from(from.sent).unwrap_or(u16::MAX);
        let lost: Vec<u16> = numbers.filter(|number| !to.seen.contains_key(number)).collect();
        Self {
            sent: from.sent,
            arrived: from.sent - u32::try_from(lost.len()).unwrap_or(u32::MAX),
            lost,
            duplicates: to.seen.values().map(|copies| copies - 1).sum(),
            reports: (from.reports_sent, to.reports_seen),
        }
    }

    /// Whether all that was sent arrived, exactly once, and something was sent.
    pub fn is_whole(&self) -> bool {
        self.sent > 0 && self.lost.is_empty() && self.duplicates == 0 && self.reports.0 == self.reports.1
    }
}

/// A running stream end; dropping it ends it.
#[derive(Debug)]
pub struct Media {
    control: Arc<Control>,
    thread: Option<JoinHandle<Tally>>,
    local: SocketAddr,
    peer: SocketAddr,
}

#[derive(Debug, Default)]
struct Control {
    /// Sends no more.
    muted: AtomicBool,
    /// Ends.
    stopped: AtomicBool,
}

impl Media {
    /// Starts sending to `peer` and counting what comes back. The first packet leaves before this returns.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn start(port: Port, peer: SocketAddr, ssrc: u32) -> Result<Self> {
        let control = Arc::new(Control::default());
        let local = port.local;
        let mut end = End::new(port, peer, ssrc);
        end.send().with_context(|| format!("first packet from {local} to {peer}"))?;
        let seen = Arc::clone(&control);
        let thread = thread::spawn(move || end.run(&seen));
        Ok(Self { control, thread: Some(thread), local, peer })
    }

    /// Where it receives.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Where it sends.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Stops sending; what is on the way is still counted.
    pub fn mute(&self) {
        self.control.muted.store(true, Ordering::Relaxed);
    }

    /// Closes the sockets and returns the tally.
    ///
    /// # Errors
    /// When its thread has panicked.
    pub fn finish(mut self) -> Result<Tally> {
        self.stop();
        let thread = self.thread.take().context("finished before")?;
        thread.join().map_err(|_| anyhow!("the media thread of {} panicked", self.local))
    }

    fn stop(&self) {
        self.mute();
        self.control.stopped.store(true, Ordering::Relaxed);
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Stops both ends without losing what is on the way.
pub fn mute_both(caller: &Media, callee: &Media) {
    caller.mute();
    callee.mute();
    thread::sleep(DRAIN);
}

/// The state of a running end, owned by its thread.
struct End {
    port: Port,
    peer: SocketAddr,
    ssrc: u32,
    tally: Tally,
    /// The other end's source.
    other: u32,
    /// The stamp of its last sender report, and when that came.
    heard: Option<(u32, Instant)>,
}

impl End {
    fn new(port: Port, peer: SocketAddr, ssrc: u32) -> Self {
        Self { port, peer, ssrc, tally: Tally::default(), other: 0, heard: None }
    }

    fn run(mut self, control: &Control) -> Tally {
        let mut next = Instant::now() + PTIME;
        while !control.stopped.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= next {
                // A refused packet is a lost one; `sent` counts it and the far end misses it.
                if !control.muted.load(Ordering::Relaxed) {
                    let _ = self.send();
                }
                next += PTIME;
            }
            self.receive(next.saturating_duration_since(Instant::now()));
        }
        self.receive(Duration::ZERO);
        self.tally
    }

    /// Sends the next packet, and a report from time to time.
    fn send(&mut self) -> io::Result<()> {
        self.tally.first_sent.get_or_insert_with(Instant::now);
        let number = self.tally.sent;
        self.tally.sent += 1;
        self.port.rtp.send_to(&packet(self.port.payload_type, number, self.ssrc), self.peer)?;
        if number.is_multiple_of(REPORT_EVERY) {
            self.tally.reports_sent += 1;
            let peer = SocketAddr::new(self.peer.ip(), self.peer.port() + 1);
            let report = self.report();
            self.port.rtcp.send_to(&report, peer)?;
        }
        Ok(())
    }

    /// Takes what arrives until `limit` has passed.
    fn receive(&mut self, limit: Duration) {
        let mut buffer = [0; 2_048];
        let wait = limit.max(Duration::from_micros(100));
        // A timeout above zero is always accepted.
        let _ = self.port.rtp.set_read_timeout(Some(wait));
        if let Ok(length) = self.port.rtp.recv(&mut buffer) {
            self.note(&buffer[..length]);
        }
        let _ = self.port.rtp.set_nonblocking(true);
        while let Ok(length) = self.port.rtp.recv(&mut buffer) {
            self.note(&buffer[..length]);
        }
        let _ = self.port.rtp.set_nonblocking(false);
        let _ = self.port.rtcp.set_nonblocking(true);
        while let Ok(length) = self.port.rtcp.recv(&mut buffer) {
            self.tally.reports_seen += 1;
            if let [_, 200, _, _, _, _, _, _, _, _, a, b, c, d, ..] = buffer[..length] {
                self.heard = Some((u32::from_be_bytes([a, b, c, d]), Instant::now()));
            }
        }
        let _ = self.port.rtcp.set_nonblocking(false);
    }

    /// A sender report, with a block about the other end where that has been heard (RFC 3550 section 6.4.1).
    fn report(&self) -> Vec<u8> {
        /// In 65,536ths of a second.
        fn units(span: Duration) -> u32 {
            (span.as_millis() * 65_536 / 1_000) as u32
        }
        let blocks = u8::from(self.other != 0);
        let mut bytes = vec![0x80 | blocks, 200, 0, 6 + 6 * blocks];
        bytes.extend(self.ssrc.to_be_bytes());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let stamp = units(Duration::from_millis((now.as_millis() % 65_000_000) as u64)).max(1);
        bytes.extend((u64::from(stamp) << 16).to_be_bytes());
        bytes.extend([0; 12]);
        if blocks > 0 {
            let (last, delay) = self.heard.map_or((0, 0), |(stamp, at)| (stamp, units(at.elapsed())));
            let highest = self.tally.seen.keys().next_back().copied().unwrap_or_default();
            // A sixteenth lost since the last report, three in all: what no firewall could know by itself.
            for word in [self.other, 16 << 24 | 3, highest.into(), 80, last, delay] {
                bytes.extend(word.to_be_bytes());
            }
        }
        bytes
    }

    fn note(&mut self, packet: &[u8]) {
        let [0x80, _, high, low, _, _, _, _, a, b, c, d, ..] = *packet else { return };
        self.other = u32::from_be_bytes([a, b, c, d]);
        self.tally.first_seen.get_or_insert_with(Instant::now);
        *self.tally.seen.entry(u16::from_be_bytes([high, low])).or_default() += 1;
    }
}

/// RTP packet number `number` of 160 bytes: of payload type 0, silence of G.711 µ-law (RFC 3550 §5.1, RFC 3551 §6).
pub fn packet(payload_type: u8, number: u32, ssrc: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + PAYLOAD);
    bytes.extend([0x80, payload_type]);
    bytes.extend((number as u16).to_be_bytes());
    bytes.extend(number.wrapping_mul(PAYLOAD as u32).to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes.resize(HEADER + PAYLOAD, 0xff);
    bytes
}

/// Sends RTP that belongs to no stream: `count` packets from one address to another.
///
/// # Errors
/// When the sender's address cannot be bound or the socket refuses a packet.
pub fn stray(ns: &Netns, from: SocketAddr, to: SocketAddr, count: u32) -> Result<()> {
    let socket = ns.udp(from)?;
    for number in 0..count {
        socket.send_to(&packet(0, number, 0x0bad_0bad), to).with_context(|| format!("{from} to {to}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Path, Tally};

    #[test]
    fn a_path_names_what_is_lost_and_what_came_twice() {
        let from = Tally { sent: 4, reports_sent: 1, ..Tally::default() };
        let mut to = Tally { reports_seen: 1, ..Tally::default() };
        to.seen.extend([(0, 1), (1, 2), (3, 1)]);
        let path = Path::of(&from, &to);
        assert_eq!(path, Path { sent: 4, arrived: 3, lost: vec![2], duplicates: 1, reports: (1, 1) });
        assert!(!path.is_whole());
        to.seen.extend([(1, 1), (2, 1)]);
        assert!(Path::of(&from, &to).is_whole());
        assert!(!Path::of(&Tally::default(), &Tally::default()).is_whole(), "nothing sent proves nothing");
    }
}
