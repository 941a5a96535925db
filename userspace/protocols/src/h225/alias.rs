//! Names and numbers of parties, and identifiers that gatekeepers give.

use core::fmt::{self, Display, Formatter, Write};
use std::net::SocketAddr;

use super::types::transport_address;
use crate::per::{Alternative, List, Reader, Result};

/// Identifier of a call or conference: 16 octets that are one and the same on every leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(
    /// As on the wire.
    pub [u8; 16],
);

impl Display for Guid {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A name or number of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias<'a> {
    /// dialedDigits or a partyNumber: so many digits, packed two to an octet.
    Digits(usize, &'a [u8]),
    /// isupNumber: so many hexadecimal digits, packed two to an octet.
    IsupDigits(usize, &'a [u8]),
    /// h323-ID: UTF-16, high octet first.
    Utf16(&'a [u8]),
    /// url-ID or email-ID.
    Text(&'a [u8]),
    /// transportID.
    Transport(SocketAddr),
    /// Any other form.
    Other,
}

impl Display for Alias<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // The alphabets in the order of their codes (X.691 30.5.4).
        match *self {
            Self::Digits(length, octets) => digits(f, b"#*,0123456789", length, octets),
            Self::IsupDigits(length, octets) => digits(f, b"0123456789ABCDE", length, octets),
            Self::Utf16(octets) => utf16(f, octets),
            Self::Text(octets) => octets
                .iter()
                .try_for_each(|&octet| f.write_char(if octet.is_ascii() { char::from(octet) } else { '?' })),
            Self::Transport(address) => address.fmt(f),
            Self::Other => Ok(()),
        }
    }
}

fn digits(f: &mut Formatter<'_>, alphabet: &[u8], length: usize, octets: &[u8]) -> fmt::Result {
    let codes = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]).take(length);
    codes
        .filter_map(|code| alphabet.get(usize::from(code)))
        .try_for_each(|&digit| f.write_char(char::from(digit)))
}

fn utf16(f: &mut Formatter<'_>, octets: &[u8]) -> fmt::Result {
    let units = octets.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
    char::decode_utf16(units).try_for_each(|c| f.write_char(c.unwrap_or(char::REPLACEMENT_CHARACTER)))
}

/// The names and numbers of a party, in the order of the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aliases<'a>(List<'a>);

impl<'a> Aliases<'a> {
    /// Reads a SEQUENCE OF AliasAddress.
    #[inline]
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self> {
        r.list(alias).map(Self)
    }

    /// The first one, which is the one to show.
    pub fn first(&self) -> Option<Alias<'a>> {
        self.iter().next()
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Alias<'a>> {
        self.0.iter(alias)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Aliases<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Aliases<'_> {}

#[inline]
fn alias<'a>(r: &mut Reader<'a>) -> Result<Alias<'a>> {
    match r.choice(2)? {
        Alternative::Root(0) => number(r),
        Alternative::Root(_) => r.text(1, 256, 16).map(|(_, octets)| Alias::Utf16(octets)),
        // A fault within these harms nobody but who is to be named by it.
        Alternative::Added(index) => Ok(r.open(|r| added_alias(r, index))?.unwrap_or(Alias::Other)),
    }
}

fn added_alias<'a>(r: &mut Reader<'a>, index: u8) -> Result<Alias<'a>> {
    match index {
        0 | 2 => r.text(1, 512, 8).map(|(_, octets)| Alias::Text(octets)),
        1 => Ok(transport_address(r)?.map_or(Alias::Other, Alias::Transport)),
        3 => {
            // e164Number and privateNumber tell the type of number first.
            if let Alternative::Root(0 | 3) = r.choice(5)? {
                r.one_of(6)?;
            }
            number(r)
        }
        5 => {
            match r.choice(5)? {
                Alternative::Root(0) => typed(r, 8)?,
                Alternative::Root(3) => typed(r, 6)?,
                _ => {}
            }
            r.text(1, 128, 4).map(|(length, octets)| Alias::IsupDigits(length, octets))
        }
        _ => Ok(Alias::Other),
    }
}

/// The beginning of a number that tells its type, of so many.
fn typed(r: &mut Reader<'_>, types: u8) -> Result<()> {
    r.preamble(0)?;
    r.one_of(types).map(|_| ())
}

/// Digits: 13 different characters take 4 bits each.
#[inline]
fn number<'a>(r: &mut Reader<'a>) -> Result<Alias<'a>> {
    r.text(1, 128, 4).map(|(length, octets)| Alias::Digits(length, octets))
}

/// What a gatekeeper calls an endpoint, or is called itself: UTF-16, high octet first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identifier<'a>(&'a [u8]);

impl<'a> Identifier<'a> {
    #[inline]
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self> {
        r.text(1, 128, 16).map(|(_, octets)| Self(octets))
    }

    /// As on the wire: 2 to 256 octets.
    pub fn octets(&self) -> &'a [u8] {
        self.0
    }
}

impl Display for Identifier<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        utf16(f, self.0)
    }
}
