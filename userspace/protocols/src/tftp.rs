//! TFTP packets (RFC 1350) with their options (RFC 2347, block size 2348, timeout and transfer size 2349,
//! window size 7440).
//!
//! ```text
//!  RRQ, WRQ   | 1, 2 | file name | 0 | mode | 0 | option | 0 | value | 0 | …
//!  DATA       | 3    | block     | at most one block of bytes
//!  ACK        | 4    | block     |
//!  ERROR      | 5    | code      | message | 0 |
//!  OACK       | 6    | option | 0 | value | 0 | …
//! ```
//!
//! [`Packet::parse`] checks the whole packet and borrows from it; lengths are those of the datagram.

/// Longest file name, in bytes: what a path may have on the servers phones load from.
pub const MAX_FILE: usize = 255;
/// Most options of one request.
pub const MAX_OPTIONS: usize = 16;
/// Block size where none is negotiated (RFC 1350 section 2).
pub const BLOCK: u16 = 512;

/// Why a packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends before its fields do.
    #[error("the packet is too short")]
    Short,
    /// An opcode other than 1 to 6.
    #[error("unknown opcode {0}")]
    Opcode(u16),
    /// A file name that is empty, too long, or not printable ASCII or UTF-8.
    #[error("malformed file name")]
    File,
    /// A mode other than `octet`, `netascii` or `mail`.
    #[error("unknown transfer mode")]
    Mode,
    /// More than [`MAX_OPTIONS`] options, one of them twice, or a value outside its range.
    #[error("malformed options")]
    Options,
    /// An acknowledgement with more than its block number.
    #[error("bytes after the end")]
    Trailing,
}

/// How a file is to be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// As asked for: 1 to [`MAX_FILE`] bytes without control characters.
    pub file: &'a str,
    /// What is asked of the transfer.
    pub options: Options,
}

/// Options, as far as they are known here; others are checked for their form alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a block, 8 to 65,464.
    pub block: Option<u16>,
    /// Bytes of the file; 0 in a read request, which asks for it.
    pub size: Option<u64>,
    /// Seconds before a packet is sent again, 1 to 255.
    pub timeout: Option<u8>,
    /// Blocks sent before an acknowledgement is awaited, 1 to 65,535.
    pub window: Option<u16>,
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A read request.
    Read(Request<'a>),
    /// A write request.
    Write(Request<'a>),
    /// A block of the file.
    Data {
        /// Its number: from 1 on, and around.
        block: u16,
        /// Its bytes; fewer than the block size in the last one.
        bytes: &'a [u8],
    },
    /// A block has arrived; block 0 acknowledges a write request or an option acknowledgement.
    Ack {
        /// Its number.
        block: u16,
    },
    /// The transfer is over.
    Error {
        /// Why (RFC 1350, appendix).
        code: u16,
        /// The same for people; empty where it cannot be read.
        text: &'a str,
    },
    /// The server agrees to these options.
    OptionAck(Options),
}

impl<'a> Packet<'a> {
    /// Reads a datagram's payload.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (opcode, rest) = word(bytes).ok_or(Error::Short)?;
        match opcode {
            1 => request(rest).map(Self::Read),
            2 => request(rest).map(Self::Write),
            3 => {
                let (block, bytes) = word(rest).ok_or(Error::Short)?;
                Ok(Self::Data { block, bytes })
            }
            4 => match word(rest).ok_or(Error::Short)? {
                (block, []) => Ok(Self::Ack { block }),
                _ => Err(Error::Trailing),
            },
            5 => {
                let (code, rest) = word(rest).ok_or(Error::Short)?;
                // Some servers forget the zero.
                let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                Ok(Self::Error { code, text: std::str::from_utf8(text).unwrap_or_default() })
            }
            6 => options(rest).map(Self::OptionAck),
            other => Err(Error::Opcode(other)),
        }
    }
}

fn word(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*word), rest))
}

/// A text and its terminating zero.
fn text(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(Error::Short)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

fn request(bytes: &[u8]) -> Result<Request<'_>, Error> {
    let (file, rest) = text(bytes)?;
    let file = std::str::from_utf8(file).map_err(|_| Error::File)?;
    if file.is_empty() || file.len() > MAX_FILE || file.chars().any(char::is_control) {
        return Err(Error::File);
    }
    let (mode, rest) = text(rest)?;
    let known = [&b"octet"[..], b"netascii", b"mail"];
    if !known.iter().any(|known| mode.eq_ignore_ascii_case(known)) {
        return Err(Error::Mode);
    }
    Ok(Request { file, options: options(rest)? })
}

/// Options and their values to the end of the packet.
fn options(mut bytes: &[u8]) -> Result<Options, Error> {
    let mut options = Options::default();
    for _ in 0..MAX_OPTIONS {
        // Some senders fill up with zeros.
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(options);
        }
        let (name, rest) = text(bytes)?;
        let (value, rest) = text(rest)?;
        bytes = rest;
        if name.is_empty() {
            return Err(Error::Options);
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
        if is("blksize") {
            // A server answers a size it does not support with a smaller one (RFC 2348): no upper bound here
            // but the type's.
            set(&mut options.block, number().and_then(|n| u16::try_from(n).ok()).filter(|n| *n >= 8))?;
        } else if is("tsize") {
            set(&mut options.size, number())?;
        } else if is("timeout") {
            set(&mut options.timeout, number().and_then(|n| u8::try_from(n).ok()).filter(|n| *n > 0))?;
        } else if is("windowsize") {
            set(&mut options.window, number().and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0))?;
        }
    }
    if bytes.is_empty() { Ok(options) } else { Err(Error::Options) }
}

/// An option may occur once (RFC 2347).
fn set<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Error> {
    match (place.is_none(), value) {
        (true, Some(value)) => {
            *place = Some(value);
            Ok(())
        }
        _ => Err(Error::Options),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READ: &[u8] = b"\0\x01SEP001122334455.cnf.xml\0octet\0blksize\x001428\0tsize\x000\0timeout\x005\0";

    fn refuses(bytes: &[u8], error: Error) {
        assert_eq!(Packet::parse(bytes), Err(error), "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_request_is_read_with_its_options() {
        let options = Options { block: Some(1428), size: Some(0), timeout: Some(5), window: None };
        let request = Request { file: "SEP001122334455.cnf.xml", options };
        assert_eq!(Packet::parse(READ), Ok(Packet::Read(request)));
        let plain = Request { file: "a", options: Options::default() };
        assert_eq!(Packet::parse(b"\0\x02a\0NetAscii\0"), Ok(Packet::Write(plain)));
        let padded = Packet::parse(b"\0\x01a\0octet\0\0\0\0");
        assert_eq!(padded, Ok(Packet::Read(plain)), "padded with zeros");
        let windowed = Packet::parse(b"\0\x06WindowSize\x0016\0x\0y\0");
        let options = Options { window: Some(16), ..Options::default() };
        assert_eq!(windowed, Ok(Packet::OptionAck(options)), "an unknown option is skipped");
    }

    #[test]
    fn the_packets_of_a_transfer_are_read() {
        assert_eq!(Packet::parse(b"\0\x03\x01\x02abc"), Ok(Packet::Data { block: 258, bytes: b"abc" }));
        assert_eq!(Packet::parse(b"\0\x03\0\x01"), Ok(Packet::Data { block: 1, bytes: b"" }));
        assert_eq!(Packet::parse(b"\0\x04\xff\xff"), Ok(Packet::Ack { block: 65_535 }));
        let error = Packet::Error { code: 1, text: "File not found" };
        assert_eq!(Packet::parse(b"\0\x05\0\x01File not found\0"), Ok(error));
        assert_eq!(Packet::parse(b"\0\x05\0\x01File not found"), Ok(error), "without its zero");
    }

    #[test]
    fn what_contradicts_the_standard_is_refused() {
        for end in [0, 1, 3, 10, 26, 30, READ.len() - 1] {
            refuses(&READ[..end], Error::Short);
        }
        refuses(b"\0\x07ab", Error::Opcode(7));
        refuses(b"\0\x01\0octet\0", Error::File);
        refuses(b"\0\x01a\nb\0octet\0", Error::File);
        refuses(&[b"\0\x01", &[b'a'; MAX_FILE + 1][..], b"\0octet\0"].concat(), Error::File);
        refuses(b"\0\x01a\0binary\0", Error::Mode);
        refuses(b"\0\x04\0\x01x", Error::Trailing);
        for options in [
            &b"blksize\x007\0"[..],
            b"blksize\x0065536\0",
            b"blksize\0-1\0",
            b"tsize\x0018446744073709551616\0",
            b"timeout\x000\0",
            b"blksize\x00512\0BLKSIZE\x00512\0",
            b"\0x\0",
        ] {
            refuses(&[b"\0\x01a\0octet\0", options].concat(), Error::Options);
        }
        let many = b"x\0y\0".repeat(MAX_OPTIONS + 1);
        refuses(&[b"\0\x06", &many[..]].concat(), Error::Options);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Packet::parse(&bytes);
        }

        #[test]
        fn no_damage_makes_it_panic(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = READ.to_vec();
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            bytes.truncate(end.index(READ.len() + 1));
            if let Ok(Packet::Read(request) | Packet::Write(request)) = Packet::parse(&bytes) {
                prop_assert!(!request.file.is_empty() && request.file.len() <= MAX_FILE);
                prop_assert!(!request.file.contains('\0'));
                prop_assert!(request.options.block.is_none_or(|block| block >= 8));
            }
        }
    }
}
