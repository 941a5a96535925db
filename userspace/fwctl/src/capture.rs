//! Capture files: pcap and pcapng → Ethernet frames and their times.
//!
//! Frames of other link types are given an Ethernet header of zeros around what they carry, so that the one
//! parser of the firewall reads them all. Memory is bounded whatever the file says of its lengths.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use callgate_alg::Time;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use thiserror::Error;

use crate::progress::{Progress, WHOLE};

/// Bytes of the buffer: several frames.
const BUFFER: usize = 1 << 18;
/// Bytes of the greatest record: far beyond any frame, yet nothing a damaged file can hurt with.
const GREATEST_RECORD: usize = 1 << 24;
/// Interfaces of one section of a pcapng file.
const MAX_INTERFACES: usize = 4_096;
const NANOSECONDS: u128 = 1_000_000_000;

/// Why a capture could not be read (to its end).
#[derive(Debug, Error)]
pub(crate) enum CaptureError {
    /// The file system says no.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("neither pcap nor pcapng")]
    NotACapture,
    /// It ends within a record.
    #[error("truncated: it ends in the middle of the record after frame {0}")]
    Truncated(u64),
    /// A record contradicts itself.
    #[error("malformed: cannot make sense of the record after frame {0}")]
    Malformed(u64),
    /// A link type without Ethernet, IPv4 or IPv6 in a known place.
    #[error(
        "frame {frame} has link type {link}; known are Ethernet, Linux SLL and SLL2, raw IP, null and loopback"
    )]
    LinkType {
        /// The frame's number.
        frame: u64,
        /// As in the file: see <https://www.tcpdump.org/linktypes.html>.
        link: i32,
    },
}

/// A captured frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// When it was captured: since 1970.
    pub(crate) time: Time,
    /// From its Ethernet header on, as far as it was captured.
    pub(crate) bytes: &'a [u8],
}

/// Gives every frame of a capture to `each`, in the order of the file, until it breaks off: with what, or `None`
/// where it never did.
pub(crate) fn read<B>(
    path: &Path,
    each: impl FnMut(Frame<'_>) -> ControlFlow<B>,
) -> Result<Option<B>, CaptureError> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let file = Watched { file, size, read: 0, progress: Progress::behind_output("reading the capture") };
    Frames { each, links: Vec::new(), number: 0, time: Time::default(), frame: Vec::new() }.read(file)
}

/// A file of which it is shown how much has been read.
struct Watched {
    file: File,
    size: u64,
    read: u64,
    progress: Progress,
}

impl io::Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read += length as u64;
        // A pipe has no size.
        if let Some(done) = self.read.saturating_mul(WHOLE).checked_div(self.size) {
            self.progress.is_at(done);
        }
        Ok(length)
    }
}

/// What the reader needs next.
enum Step {
    Consume(usize),
    Refill,
    Grow,
    /// Nothing: the file has ended where it might not have.
    End,
}

/// What is known of the place where frames were captured.
#[derive(Clone, Copy, Debug)]
struct Link {
    kind: Linktype,
    /// Time stamps per second.
    resolution: u64,
    /// Added to each time stamp, in seconds.
    offset: i64,
}

struct Frames<F> {
    each: F,
    /// By interface number.
    links: Vec<Link>,
    number: u64,
    time: Time,
    /// A frame that was given an Ethernet header.
    frame: Vec<u8>,
}

impl<B, F: FnMut(Frame<'_>) -> ControlFlow<B>> Frames<F> {
    fn read(&mut self, file: impl io::Read + Send) -> Result<Option<B>, CaptureError> {
        let mut capacity = BUFFER;
        let mut reader: Box<dyn PcapReaderIterator + Send> =
            create_reader(capacity, file).map_err(|error| match error {
                PcapError::ReadError => CaptureError::Io(io::Error::other("reading failed")),
                _ => CaptureError::NotACapture,
            })?;
        loop {
            let step = match reader.next() {
                Ok((length, block)) => {
                    if let ControlFlow::Break(end) = self.block(block)? {
                        return Ok(Some(end));
                    }
                    Step::Consume(length)
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => Step::Refill,
                Err(PcapError::BufferTooSmall) if capacity < GREATEST_RECORD => Step::Grow,
                Err(PcapError::UnexpectedEof) => Step::End,
                Err(_) => return Err(CaptureError::Malformed(self.number)),
            };
            match step {
                Step::Consume(length) => reader.consume(length),
                Step::End if reader.data().is_empty() => return Ok(None),
                Step::End => return Err(CaptureError::Truncated(self.number)),
                Step::Grow => {
                    capacity *= 2;
                    reader.grow(capacity);
                }
                Step::Refill => {
                    reader.refill().map_err(|_| CaptureError::Io(io::Error::other("reading failed")))?;
                }
            }
        }
    }

    fn block(&mut self, block: PcapBlockOwned<'_>) -> Result<ControlFlow<B>, CaptureError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // The upper bits hold the length of a frame check sequence, not the type.
                let kind = Linktype(header.network.0 & 0xffff);
                self.links = vec![Link { kind, resolution, offset: 0 }];
                Ok(ControlFlow::Continue(()))
            }
            PcapBlockOwned::Legacy(record) => {
                let Some(link) = self.links.first().copied() else { return Ok(ControlFlow::Continue(())) };
                let stamp =
                    u128::from(record.ts_sec) * u128::from(link.resolution) + u128::from(record.ts_usec);
                self.frame(link, Some(stamp), record.data)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.links.clear();
                Ok(ControlFlow::Continue(()))
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.links.len() >= MAX_INTERFACES {
                    return Err(CaptureError::Malformed(self.number));
                }
                let resolution = interface.ts_resolution().filter(|resolution| *resolution > 0);
                self.links.push(Link {
                    kind: interface.linktype,
                    resolution: resolution.ok_or(CaptureError::Malformed(self.number))?,
                    offset: interface.ts_offset(),
                });
                Ok(ControlFlow::Continue(()))
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let link = usize::try_from(packet.if_id).ok().and_then(|place| self.links.get(place));
                let link = *link.ok_or(CaptureError::Malformed(self.number))?;
                let stamp = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                self.frame(link, Some(stamp), packet.packet_data())
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let link = *self.links.first().ok_or(CaptureError::Malformed(self.number))?;
                self.frame(link, None, packet.packet_data())
            }
            PcapBlockOwned::NG(_) => Ok(ControlFlow::Continue(())),
        }
    }

    /// A frame without a time stamp was captured when the one before was.
    fn frame(
        &mut self,
        link: Link,
        stamp: Option<u128>,
        bytes: &[u8],
    ) -> Result<ControlFlow<B>, CaptureError> {
        self.number += 1;
        if let Some(stamp) = stamp {
            let since = stamp.saturating_mul(NANOSECONDS) / u128::from(link.resolution);
            let offset = i128::from(link.offset) * NANOSECONDS as i128;
            let time = i128::try_from(since).unwrap_or(i128::MAX).saturating_add(offset);
            self.time = Time(u64::try_from(time.max(0)).unwrap_or(u64::MAX));
        }
        let bytes = match inside(link.kind, bytes) {
            Some(Inside::Ethernet) => bytes,
            Some(Inside::Protocol(ether_type, payload)) => {
                self.frame.clear();
                self.frame.extend([0; 12]);
                self.frame.extend(ether_type);
                self.frame.extend(payload);
                &self.frame
            }
            None => return Err(CaptureError::LinkType { frame: self.number, link: link.kind.0 }),
        };
        let frame = Frame { number: self.number, time: self.time, bytes };
        Ok((self.each)(frame))
    }
}

/// What a frame carries.
#[derive(Debug, PartialEq, Eq)]
enum Inside<'a> {
    /// It is an Ethernet frame.
    Ethernet,
    /// A payload of this EtherType, as it lies in the frame.
    Protocol([u8; 2], &'a [u8]),
}

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Nothing the firewall knows: such a frame is dropped as a live one would be.
const UNKNOWN: [u8; 2] = [0, 0];

/// Looks behind the link header; `None` for a link type that is not known. What ends too early carries nothing.
fn inside(link: Linktype, bytes: &[u8]) -> Option<Inside<'_>> {
    let nothing = Inside::Protocol(UNKNOWN, &[]);
    let seen = match link {
        Linktype::ETHERNET => Some(Inside::Ethernet),
        Linktype::LINUX_SLL => behind(bytes, 16, 14),
        Linktype::LINUX_SLL2 => behind(bytes, 20, 0),
        // 12 and 14 are what some systems write for 101.
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12 | 14) => {
            let ether_type = match bytes.first().map(|byte| byte >> 4) {
                Some(4) => IPV4,
                Some(6) => IPV6,
                _ => UNKNOWN,
            };
            Some(Inside::Protocol(ether_type, bytes))
        }
        // The address family, in the byte order of the capturing machine (null) or the network's (loop);
        // IPv6 has another number on each BSD, on macOS and on Linux.
        Linktype::NULL | Linktype::LOOP => bytes.split_first_chunk::<4>().map(|(family, payload)| {
            let family = u32::from_be_bytes(*family).min(u32::from_le_bytes(*family));
            let ether_type = match family {
                2 => IPV4,
                10 | 24 | 28 | 30 => IPV6,
                _ => UNKNOWN,
            };
            Inside::Protocol(ether_type, payload)
        }),
        _ => return None,
    };
    Some(seen.unwrap_or(nothing))
}

/// The payload behind a header of `length` bytes that has its EtherType at `at`.
fn behind(bytes: &[u8], length: usize, at: usize) -> Option<Inside<'_>> {
    let (header, payload) = bytes.split_at_checked(length)?;
    Some(Inside::Protocol([*header.get(at)?, *header.get(at + 1)?], payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pcap file of microseconds, little-endian.
    fn pcap(link: u32, frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
            file.extend(u32::to_le_bytes(word));
        }
        for (seconds, micros, bytes) in frames {
            for word in [*seconds, *micros, bytes.len() as u32, bytes.len() as u32] {
                file.extend(word.to_le_bytes());
            }
            file.extend(*bytes);
        }
        file
    }

    /// A pcapng block.
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes(), &length[..], body, &length].concat()
    }

    fn all(file: &[u8]) -> Result<Vec<(u64, u64, Vec<u8>)>, CaptureError> {
        let mut seen = Vec::new();
        let each = |frame: Frame<'_>| {
            seen.push((frame.number, frame.time.0, frame.bytes.to_vec()));
            ControlFlow::<()>::Continue(())
        };
        Frames { each, links: Vec::new(), number: 0, time: Time::default(), frame: Vec::new() }.read(file)?;
        Ok(seen)
    }

    #[test]
    fn pcap_frames_have_numbers_and_times() {
        let file = pcap(1, &[(7, 5, b"one"), (8, 0, b"two")]);
        let want = [(1, 7_000_005_000, b"one".to_vec()), (2, 8_000_000_000, b"two".to_vec())];
        assert_eq!(all(&file).expect("readable"), want);
        assert_eq!(all(&pcap(1, &[])).expect("empty but right"), []);
    }

    #[test]
    fn pcapng_frames_have_the_clock_of_their_interface() {
        let section =
            block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
        let milliseconds = [9, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        let interface = block(1, &[&[1, 0, 0, 0, 0, 0, 0, 0], &milliseconds[..]].concat());
        let packet = |stamp: u32| {
            let words = [0, 0, stamp, 3, 3].map(u32::to_le_bytes).concat();
            block(6, &[&words[..], b"one\0"].concat())
        };
        let unknown = block(0x0bad, &[0; 4]);
        let file = [section, interface, packet(1_500), unknown, packet(2_000)].concat();
        let want = [(1, 1_500_000_000, b"one".to_vec()), (2, 2_000_000_000, b"one".to_vec())];
        assert_eq!(all(&file).expect("readable"), want, "without the padding");
    }

    #[test]
    fn other_link_types_become_ethernet() {
        let ip = [0x45, 1, 2, 3];
        let framed = |ether_type: [u8; 2]| [&[0; 12], &ether_type[..], &ip].concat();
        let sll = [&[0; 14], &IPV4[..], &ip].concat();
        let sll2 = [&IPV4, &[0; 18][..], &ip].concat();
        let null = [&[2, 0, 0, 0], &ip[..]].concat();
        let loopback = [&[0, 0, 0, 30], &ip[..]].concat();
        for (link, bytes, ether_type) in [
            (113, &sll[..], IPV4),
            (276, &sll2, IPV4),
            (101, &ip, IPV4),
            (12, &ip, IPV4),
            (0, &null, IPV4),
            (108, &loopback, IPV6),
        ] {
            let seen = all(&pcap(link, &[(0, 0, bytes)])).expect("known");
            assert_eq!(seen, [(1, 0, framed(ether_type))], "link type {link}");
        }
        assert_eq!(all(&pcap(113, &[(0, 0, b"short")])).expect("known")[0].2, [0; 14], "carries nothing");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let file = pcap(1, &[(0, 0, b"one"), (0, 0, b"two")]);
        assert!(matches!(all(&file[..file.len() - 1]), Err(CaptureError::Truncated(1))));
        assert!(matches!(all(&file[..45]), Err(CaptureError::Truncated(1))), "within a record's header");
        assert!(matches!(all(b"PNG, perhaps, but no capture"), Err(CaptureError::NotACapture)));
        assert!(matches!(all(b""), Err(CaptureError::NotACapture)));
        assert!(matches!(
            all(&pcap(105, &[(0, 0, b"x")])),
            Err(CaptureError::LinkType { frame: 1, link: 105 })
        ));
    }

    #[test]
    fn a_length_beyond_the_file_costs_no_memory() {
        let mut file = pcap(1, &[(0, 0, b"one")]);
        file[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = all(&file).expect_err("no such frame");
        assert!(matches!(error, CaptureError::Truncated(0) | CaptureError::Malformed(0)), "{error}");
    }
}
