//! RTCP reports, as they go by: read by packet sockets and a thread of their own.
//!
//! A filter in the kernel passes what looks like a sender or receiver report. What XDP has dropped never gets
//! there, nor does what it forwards by itself: RTCP on a port of its own always takes the stack for this.
//! Reports are taken up about every second; of more than [`MOST`] the later ones are let go.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use callgate_shared::flow::UDP;

use crate::capture::{Step, nanoseconds, packet_socket, receive, step};
use crate::tap::interface_index;

/// Reports that wait to be taken up.
const MOST: usize = 4_096;
/// Bytes of a frame that are read: its headers, and a report of several sources.
const SNAP: u32 = 256;

/// RTCP that went by.
#[derive(Debug)]
pub(crate) struct Heard {
    /// How long ago.
    pub(crate) age_ns: u64,
    /// Where it goes.
    pub(crate) to: SocketAddr,
    /// As much of it as was read.
    pub(crate) payload: Vec<u8>,
}

/// When it went by in ns since 1970, where to, and its payload.
type Timed = (u64, SocketAddr, Vec<u8>);

/// Whoever listens for reports.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    /// The interfaces that are listened to.
    on: Vec<String>,
    heard: Arc<Mutex<Vec<Timed>>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Ear {
    /// Listens on these interfaces, and no others. `own`: this machine's addresses.
    ///
    /// # Errors
    /// A socket or the thread cannot be had.
    pub(crate) fn tune<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        own: &[IpAddr],
    ) -> io::Result<()> {
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names == self.on {
            return Ok(());
        }
        // The thread before ends with what it has.
        *self = Self::default();
        self.on = names;
        let indices = self.on.iter().filter_map(|name| interface_index(name));
        let sockets: Vec<OwnedFd> =
            indices.map(|index| packet_socket(index, &filter())).collect::<io::Result<_>>()?;
        let (heard, stop, own) = (Arc::clone(&self.heard), Arc::clone(&self.stop), own.to_vec());
        let listen = move || listen(&sockets, &own, &heard, &stop);
        std::thread::Builder::new().name("reports".to_owned()).spawn(listen).map(drop)
    }

    /// What was heard since this was asked last.
    pub(crate) fn take(&self) -> Vec<Heard> {
        let now = nanoseconds(SystemTime::now());
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        let age = |(at, to, payload): (u64, _, _)| Heard { age_ns: now.saturating_sub(at), to, payload };
        heard.into_iter().map(age).collect()
    }
}

fn listen(sockets: &[OwnedFd], own: &[IpAddr], heard: &Mutex<Vec<Timed>>, stop: &AtomicBool) {
    let mut buffer = vec![0; SNAP as usize];
    let wanted =
        sockets.iter().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let mut wanted: Vec<_> = wanted.collect();
    while !stop.load(Ordering::Relaxed) {
        let count = libc::nfds_t::try_from(wanted.len()).unwrap_or(0);
        // SAFETY: a live array of so many entries.
        if unsafe { libc::poll(wanted.as_mut_ptr(), count, 200) } <= 0 {
            continue;
        }
        for socket in sockets {
            while let Some((length, outgoing, at)) = receive(socket, &mut buffer) {
                let Some((from, to, payload)) = report(&buffer[..length]) else { continue };
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                // What is forwarded goes out once more; what this machine sends goes out alone.
                if heard.len() < MOST && (!outgoing || own.contains(&from)) {
                    heard.push((at, to, payload.to_vec()));
                }
            }
        }
    }
}

/// Sender, receiver and payload of a datagram, as far as its frame was read.
fn report(frame: &[u8]) -> Option<(IpAddr, SocketAddr, &[u8])> {
    const ETHERNET: usize = 14;
    const UDP_HEADER: usize = 8;
    let ip = frame.get(ETHERNET..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?]));
    let (header, from, to): (usize, IpAddr, IpAddr) = match ip.first()? >> 4 {
        4 => {
            let address =
                |at: usize| ip.get(at..at + 4)?.try_into().ok().map(|octets: [u8; 4]| octets.into());
            (usize::from(ip[0] & 15) * 4, address(12)?, address(16)?)
        }
        6 => {
            let address =
                |at: usize| ip.get(at..at + 16)?.try_into().ok().map(|octets: [u8; 16]| octets.into());
            (40, address(8)?, address(24)?)
        }
        _ => return None,
    };
    let to = SocketAddr::new(to, word(header + 2)?);
    Some((from, to, ip.get(header + UDP_HEADER..)?))
}

/// Passes UDP whose payload has RTP's version and the type of a sender or receiver report: 200 or 201, which
/// are no payload types with a marker (RFC 5761 section 4).
fn filter() -> Vec<Step> {
    const IPV4: u32 = 0x0800;
    const IPV6: u32 = 0x86dd;
    use crate::capture::op::*;
    vec![
        step(LOAD_HALF, 0, 0, 12),
        step(IF_EQUAL, 0, 7, IPV4),
        step(LOAD_BYTE, 0, 0, 23),
        step(IF_EQUAL, 0, 13, UDP.into()),
        step(LOAD_HALF, 0, 0, 20),
        // Not of a later fragment.
        step(IF_ANY, 11, 0, 0x1fff),
        step(LOAD_HEADER, 0, 0, 14),
        step(LOAD_HALF_BEHIND, 0, 0, 22),
        step(JUMP, 0, 0, 4),
        step(IF_EQUAL, 0, 7, IPV6),
        step(LOAD_BYTE, 0, 0, 20),
        step(IF_EQUAL, 0, 5, UDP.into()),
        step(LOAD_HALF, 0, 0, 62),
        // The version, without padding and the number of blocks, and the type.
        step(AND, 0, 0, 0xc0ff),
        step(IF_EQUAL, 1, 0, 0x80c8),
        step(IF_EQUAL, 0, 1, 0x80c9),
        step(RETURN, 0, 0, SNAP),
        step(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use callgate_shared::packet;
    use etherparse::PacketBuilder;

    use super::*;
    use crate::capture::tests::passes;

    const REPORT: [u8; 8] = [0x81, 201, 0, 1, 0, 0, 0, 7];

    fn v4(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [198, 51, 100, 7], 64)
            .udp(9, 20_001);
        builder.write(&mut frame, payload).expect("a frame");
        frame
    }

    fn v6(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64).udp(9, 20_001);
        builder.write(&mut frame, payload).expect("a frame");
        frame
    }

    #[test]
    fn reports_are_told_from_all_else() {
        let program = filter();
        for kind in 0..=255 {
            let payload = [0x80, kind, 0, 1, 0, 0, 0, 7];
            let is_report = kind == 200 || kind == 201;
            assert_eq!(
                (passes(&program, &v4(&payload)), passes(&program, &v6(&payload))),
                (is_report, is_report),
                "{kind}"
            );
        }
        assert!(passes(&program, &v4(&[0xbf, 200, 0, 1, 0, 0, 0, 7])), "padded, with 31 blocks");
        assert!(!passes(&program, &v4(&[0x00, 201, 0, 1])), "another version");
        let mut fragment = v4(&REPORT);
        fragment[21] = 1;
        assert!(!passes(&program, &fragment));
        let mut tcp = v4(&REPORT);
        tcp[23] = 6;
        assert!(!passes(&program, &tcp));
        assert!(!passes(&program, &[0; 60]));
    }

    #[test]
    fn a_report_is_found_behind_either_header() {
        let (from, to, payload) = report(&v4(&REPORT)).map(|(a, b, c)| (a, b, c.to_vec())).expect("a report");
        assert_eq!(
            (from.to_string(), to.to_string()),
            ("192.0.2.1".to_owned(), "198.51.100.7:20001".to_owned())
        );
        assert_eq!(payload, REPORT);
        let frame = v6(&REPORT);
        let (_, to, payload) = report(&frame).expect("a report");
        assert_eq!((to.ip(), to.port(), payload), ([2; 16].into(), 20_001, &REPORT[..]));
        assert!((0..frame.len() - REPORT.len()).all(|length| report(&frame[..length]).is_none()));
        assert_eq!(packet::parse(&&frame[..]).map(|packet| packet.destination_port), Ok(20_001));
    }
}
