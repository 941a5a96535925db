//! TPKT (RFC 1006 section 6): the frames that carry H.225 and H.245 messages in a TCP stream.
//!
//! ```text
//!  0                   1                   2                   3
//! +---------------+---------------+-------------------------------+
//! | version = 3   | reserved      | length of the frame, octets   |
//! +---------------+---------------+-------------------------------+
//! ```
//!
//! Only splits; putting a stream together is left to the caller. A frame without payload (length 4), which some
//! gateways send to keep a connection alive, is a frame like any other here.

/// Octets of the header.
pub const HEADER: usize = 4;

/// The stream is not, or not any more, at the start of a TPKT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The version is not 3.
    #[error("TPKT version {0} instead of 3")]
    Version(u8),
    /// The length is less than the header's own.
    #[error("TPKT length {0} is below {HEADER}")]
    Length(u16),
}

/// The first frame of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub payload: &'a [u8],
    /// What is behind it.
    pub rest: &'a [u8],
}

/// Splits the first frame off a stream; `None` while it is incomplete.
///
/// # Errors
/// As soon as the octets that are there cannot begin a TPKT.
pub fn split(stream: &[u8]) -> Result<Option<Frame<'_>>, Error> {
    match length(stream)? {
        Some(length) if stream.len() >= length => {
            Ok(Some(Frame { payload: &stream[HEADER..length], rest: &stream[length..] }))
        }
        _ => Ok(None),
    }
}

/// Length of the first frame with its header, 4 to 65,535 octets. `None` while the header is incomplete.
///
/// # Errors
/// As [`split`].
pub fn length(stream: &[u8]) -> Result<Option<usize>, Error> {
    match stream {
        [3, _, high, low, ..] => match u16::from_be_bytes([*high, *low]) {
            length if usize::from(length) < HEADER => Err(Error::Length(length)),
            length => Ok(Some(usize::from(length))),
        },
        [] | [3, ..] => Ok(None),
        [version, ..] => Err(Error::Version(*version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_split_one_after_the_other() {
        let stream = [3, 0, 0, 6, 1, 2, 3, 0, 0, 4, 3];
        let first = split(&stream).expect("a TPKT").expect("whole");
        assert_eq!(first.payload, [1, 2]);
        let second = split(first.rest).expect("a TPKT").expect("whole");
        assert!(second.payload.is_empty());
        assert_eq!(split(second.rest), Ok(None));
    }

    #[test]
    fn every_beginning_is_incomplete_but_right() {
        let stream = [3, 0, 0, 6, 1, 2];
        for end in 0..stream.len() {
            assert_eq!(split(&stream[..end]), Ok(None), "{end} octets");
        }
    }

    #[test]
    fn what_cannot_begin_a_frame_is_refused_at_once() {
        assert_eq!(split(&[2]), Err(Error::Version(2)));
        assert_eq!(split(&[3, 0, 0, 3]), Err(Error::Length(3)));
    }
}
