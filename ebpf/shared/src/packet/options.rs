//! Options of IPv4 (RFC 791 section 3.1) and TCP (RFC 9293 section 3.2) headers.
//!
//! Both lists are alike: 0 ends them, 1 fills up, and every other option has its length in its second byte.

use core::hint::black_box;

/// Bytes of options a header can have.
pub const MOST: usize = 40;

/// A header's options, and how far they have been read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The options, from the beginning.
    pub bytes: [u8; MOST],
    /// Where the next one begins.
    pub at: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { bytes: [0; MOST], at: 0 }
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wanted {
    /// IPv4: loose or strict source and record route.
    SourceRoute = 0,
    /// TCP: window scale (RFC 7323 section 2.2).
    WindowScale = 1,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no such option.
    Nothing,
    /// There is one; the byte behind its length.
    Value(u8),
    /// An option has no room for its length, or goes beyond the list.
    Malformed,
}

impl Found {
    /// As one number.
    #[inline(always)]
    pub const fn pack(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Malformed => 1,
            Self::Value(value) => 2 | (value as u32) << 8,
        }
    }

    /// From [`Self::pack`].
    #[inline(always)]
    pub const fn unpack(number: u32) -> Self {
        match number & 0xff {
            0 => Self::Nothing,
            1 => Self::Malformed,
            _ => Self::Value((number >> 8) as u8),
        }
    }
}

/// Looks for an option among the first `length` bytes.
#[inline(always)]
pub fn scan(options: &mut Options, length: usize, wanted: Wanted) -> Found {
    options.at = 0;
    for _ in 0..MOST {
        // Hidden, so that the verifier takes the place for unknown each time round and follows one way only.
        let options = black_box(&mut *options);
        let at = options.at as usize;
        if at >= length || at >= MOST {
            break;
        }
        match options.bytes[at] {
            0 => break,
            1 => options.at += 1,
            kind => {
                if at + 1 >= MOST {
                    return Found::Malformed;
                }
                let size = options.bytes[at + 1] as usize;
                if size < 2 || at + size > length {
                    return Found::Malformed;
                }
                let found = match wanted {
                    Wanted::SourceRoute => kind == 131 || kind == 137,
                    Wanted::WindowScale => kind == 3 && size == 3,
                };
                if found {
                    return Found::Value(if at + 2 < MOST { options.bytes[at + 2] } else { 0 });
                }
                options.at = (at + size) as u8;
            }
        }
    }
    Found::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8], wanted: Wanted) -> Found {
        let mut options = Options::default();
        options.bytes[..bytes.len()].copy_from_slice(bytes);
        let found = scan(&mut options, bytes.len(), wanted);
        assert_eq!(Found::unpack(found.pack()), found);
        found
    }

    #[test]
    fn an_option_is_found_behind_others_and_not_behind_the_end() {
        let syn = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(found(&syn, Wanted::WindowScale), Found::Value(7));
        assert_eq!(found(&[1, 1, 0, 3, 3, 3, 7, 0], Wanted::WindowScale), Found::Nothing);
        assert_eq!(found(&[1, 131, 3, 4], Wanted::SourceRoute), Found::Value(4));
        assert_eq!(found(&[148, 4, 0, 0], Wanted::SourceRoute), Found::Nothing, "router alert");
        assert_eq!(found(&[1; 40], Wanted::SourceRoute), Found::Nothing);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for bytes in [&[7, 0, 0, 0][..], &[7, 1, 0, 0], &[7, 5, 0, 0], &[1, 1, 1, 137], &[7, 255, 0, 0]] {
            assert_eq!(found(bytes, Wanted::SourceRoute), Found::Malformed, "{bytes:?}");
        }
    }
}
