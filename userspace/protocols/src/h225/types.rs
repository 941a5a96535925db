//! H.225.0's types (its annex H) that call signalling and RAS share: what is read of them, and how the rest is
//! stepped over.
//!
//! A description lists the fields of a type's root in order, with their names beside them; what belongs behind an
//! extension marker needs no description, being open types.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::per::Field::{May, Must};
use crate::per::Type::{self, Bits, Bytes, Integer, ListOf, Octets, Open, OpenChoice, Sequence, Text};
use crate::per::{Alternative, Reader, Result};

/// Identifier of a call or conference: 16 octets that are one and the same on every leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(
    /// As on the wire.
    pub [u8; 16],
);

impl core::fmt::Display for Guid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A name or number of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alias<'a> {
    /// dialedDigits: so many digits, packed two to an octet.
    Digits(usize, &'a [u8]),
    /// h323-ID: UTF-16, high octet first.
    Utf16(&'a [u8]),
    /// url-ID or email-ID.
    Text(&'a [u8]),
    /// Any other form.
    Other,
}

impl core::fmt::Display for Alias<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        use core::fmt::Write;
        match *self {
            Self::Digits(length, octets) => {
                // The alphabet in the order of its codes (X.691 30.5.4).
                const DIGITS: &[u8; 13] = b"#*,0123456789";
                let nibbles = octets.iter().flat_map(|octet| [octet >> 4, octet & 15]).take(length);
                nibbles
                    .filter_map(|n| DIGITS.get(usize::from(n)))
                    .try_for_each(|&digit| f.write_char(char::from(digit)))
            }
            Self::Utf16(octets) => {
                let units = octets.as_chunks::<2>().0.iter().map(|unit| u16::from_be_bytes(*unit));
                char::decode_utf16(units)
                    .try_for_each(|c| f.write_char(c.unwrap_or(char::REPLACEMENT_CHARACTER)))
            }
            Self::Text(octets) => octets
                .iter()
                .try_for_each(|&octet| f.write_char(if octet.is_ascii() { char::from(octet) } else { '?' })),
            Self::Other => Ok(()),
        }
    }
}

/// dialedDigits: 13 different characters take 4 bits each.
const DIALED_DIGITS: Type = Text { least: 1, most: 128, bits: 4 };

/// GatekeeperIdentifier and EndpointIdentifier.
pub(crate) const IDENTIFIER: Type = Text { least: 1, most: 128, bits: 16 };

const H221_NON_STANDARD: Type = Open(&[
    Must(Integer(255)),    // t35CountryCode
    Must(Integer(255)),    // t35Extension
    Must(Integer(65_535)), // manufacturerCode
]);

pub(crate) const NON_STANDARD: Type = Sequence(&[
    Must(OpenChoice(&[Bytes, H221_NON_STANDARD])), // nonStandardIdentifier
    Must(Bytes),                                   // data
]);

const ONLY_NON_STANDARD: Type = Open(&[May(NON_STANDARD)]);

const TRANSPORT_ADDRESS: [Type; 7] = [
    Sequence(&[Must(Octets(4)), Must(Integer(65_535))]), // ipAddress
    Open(&[
        Must(Octets(4)),                       // ip
        Must(Integer(65_535)),                 // port
        Must(ListOf(&Octets(4))),              // route
        Must(OpenChoice(&[Bits(0), Bits(0)])), // routing
    ]), // ipSourceRoute
    Sequence(&[Must(Octets(6)), Must(Octets(4)), Must(Bits(16))]), // ipxAddress
    Open(&[Must(Octets(16)), Must(Integer(65_535))]),    // ip6Address
    Octets(16),                                          // netBios
    Text { least: 1, most: 20, bits: 8 },                // nsap
    NON_STANDARD,                                        // nonStandardAddress
];

pub(crate) const ALIAS: Type = OpenChoice(&[DIALED_DIGITS, Text { least: 1, most: 256, bits: 16 }]);
pub(crate) const ALIASES: Type = ListOf(&ALIAS);

pub(crate) const VENDOR: Type = Open(&[
    Must(H221_NON_STANDARD),                    // vendor
    May(Text { least: 1, most: 256, bits: 8 }), // productId
    May(Text { least: 1, most: 256, bits: 8 }), // versionId
]);

const SUPPORTED_PROTOCOLS: Type = OpenChoice(&[
    NON_STANDARD,      // nonStandardData
    ONLY_NON_STANDARD, // h310
    ONLY_NON_STANDARD, // h320
    ONLY_NON_STANDARD, // h321
    ONLY_NON_STANDARD, // h322
    ONLY_NON_STANDARD, // h323
    ONLY_NON_STANDARD, // h324
    ONLY_NON_STANDARD, // voice
    ONLY_NON_STANDARD, // t120-only
]);

pub(crate) const ENDPOINT_TYPE: Type = Open(&[
    May(NON_STANDARD),                                                  // nonStandardData
    May(VENDOR),                                                        // vendor
    May(ONLY_NON_STANDARD),                                             // gatekeeper
    May(Open(&[May(ListOf(&SUPPORTED_PROTOCOLS)), May(NON_STANDARD)])), // gateway
    May(ONLY_NON_STANDARD),                                             // mcu
    May(ONLY_NON_STANDARD),                                             // terminal
    Must(Bits(2)),                                                      // mc, undefinedNode
]);

pub(crate) const QSERIES_OPTIONS: Type = Open(&[
    Must(Bits(7)),                // q932Full to q957Full
    Must(Open(&[Must(Bits(2))])), // q954Info
]);

/// A CHOICE of four NULLs: CallType.
pub(crate) const CALL_TYPE: Type = OpenChoice(&[Bits(0), Bits(0), Bits(0), Bits(0)]);
/// A CHOICE of two NULLs: CallModel.
pub(crate) const CALL_MODEL: Type = OpenChoice(&[Bits(0), Bits(0)]);
/// A CHOICE of three NULLs: ConferenceGoal, DisengageReason.
pub(crate) const ONE_OF_THREE: Type = OpenChoice(&[Bits(0), Bits(0), Bits(0)]);

const CHALLENGE: Type = Text { least: 8, most: 128, bits: 8 };
const PASSWORD: Type = Text { least: 1, most: 128, bits: 16 };
/// BIT STRING (SIZE (0..2048)); a key's length is counted in bits.
const KEY_BITS: Type = Text { least: 0, most: 2048, bits: 1 };

/// H.235.0's ClearToken.
pub(crate) const CLEAR_TOKEN: Type = Open(&[
    Must(Bytes),                                                  // tokenOID
    May(Integer(u32::MAX - 1)),                                   // timeStamp
    May(PASSWORD),                                                // password
    May(Open(&[Must(KEY_BITS), Must(KEY_BITS), Must(KEY_BITS)])), // dhkey
    May(CHALLENGE),                                               // challenge
    May(Bytes),                                                   // random
    May(Open(&[Must(Bytes), Must(Bytes)])),                       // certificate
    May(IDENTIFIER),                                              // generalID
    May(Sequence(&[Must(Bytes), Must(Bytes)])),                   // nonStandard
]);

/// A CHOICE of a NonStandardParameter and two NULLs: SecurityServiceMode.
const SECURITY_SERVICE: Type = OpenChoice(&[NON_STANDARD, Bits(0), Bits(0)]);

const SECURITY_CAPABILITIES: Type = Open(&[
    May(NON_STANDARD),      // nonStandard
    Must(SECURITY_SERVICE), // encryption
    Must(SECURITY_SERVICE), // authenticaton
    Must(SECURITY_SERVICE), // integrity
]);

/// H245Security.
pub(crate) const SECURITY_MODE: Type =
    OpenChoice(&[NON_STANDARD, Bits(0), SECURITY_CAPABILITIES, SECURITY_CAPABILITIES]);

/// Reads a TransportAddress. `None` for what is not IP, is routed by its source, or has port 0: nothing can be
/// received there.
pub(crate) fn transport_address(r: &mut Reader<'_>) -> Result<Option<SocketAddr>> {
    match r.choice(7)? {
        Alternative::Root(0) => {
            let ip: [u8; 4] = r.array()?;
            Ok(socket(IpAddr::from(ip), r.u16()?))
        }
        Alternative::Root(3) => {
            let preamble = r.preamble(0)?;
            let ip: [u8; 16] = r.array()?;
            let port = r.u16()?;
            r.skip_additions(preamble)?;
            Ok(socket(Ipv6Addr::from(ip).to_canonical(), port))
        }
        Alternative::Root(index) => r.skip_alternative(&TRANSPORT_ADDRESS, index).map(|()| None),
        Alternative::Added(_) => r.skip_open().map(|()| None),
    }
}

/// An address, unless its port is 0.
pub(crate) fn socket(ip: IpAddr, port: u16) -> Option<SocketAddr> {
    (port != 0).then(|| SocketAddr::new(ip, port))
}

/// Reads a SEQUENCE OF TransportAddress; the first [`Addresses::MOST`] that are IP addresses are kept.
pub(crate) fn transport_addresses(r: &mut Reader<'_>) -> Result<Addresses> {
    let mut addresses = Addresses::default();
    for _ in 0..r.length()? {
        if let Some(address) = transport_address(r)?
            && let Some(place) = addresses.places.get_mut(addresses.count)
        {
            *place = Some(address);
            addresses.count += 1;
        }
    }
    Ok(addresses)
}

/// A few transport addresses, in the order of the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    places: [Option<SocketAddr>; Self::MOST],
    count: usize,
}

impl Addresses {
    /// More than any endpoint has interfaces to call it on.
    pub const MOST: usize = 4;

    /// The addresses.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.places.into_iter().flatten()
    }
}

/// Reads a SEQUENCE OF AliasAddress; the first one is kept.
pub(crate) fn aliases<'a>(r: &mut Reader<'a>) -> Result<Option<Alias<'a>>> {
    let mut first = None;
    for _ in 0..r.length()? {
        let alias = alias(r)?;
        first.get_or_insert(alias);
    }
    Ok(first)
}

fn alias<'a>(r: &mut Reader<'a>) -> Result<Alias<'a>> {
    match r.choice(2)? {
        Alternative::Root(0) => r.text(1, 128, 4).map(|(length, octets)| Alias::Digits(length, octets)),
        Alternative::Root(_) => r.text(1, 256, 16).map(|(_, octets)| Alias::Utf16(octets)),
        // url-ID and email-ID: for people to read, so that a fault within them harms nothing.
        Alternative::Added(0 | 2) => {
            Ok(r.open(|r| r.text(1, 512, 8))?.map_or(Alias::Other, |(_, octets)| Alias::Text(octets)))
        }
        Alternative::Added(_) => r.skip_open().map(|()| Alias::Other),
    }
}

/// Reads a CallIdentifier.
pub(crate) fn call_identifier(r: &mut Reader<'_>) -> Result<Guid> {
    let preamble = r.preamble(0)?;
    let guid = r.array().map(Guid)?;
    r.skip_additions(preamble)?;
    Ok(guid)
}
