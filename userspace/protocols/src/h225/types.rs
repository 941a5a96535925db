//! H.225.0's types (its annex H) that call signalling and RAS share: what is read of them, and how the rest is
//! stepped over.
//!
//! A description lists the fields of a type's root in order, with their names beside them; what belongs behind an
//! extension marker needs no description, being open types.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Guid;
use super::generic::Tokens;
use crate::per::Field::{May, Must};
use crate::per::Type::{self, BitString, Bits, Bytes, Integer, ListOf, Octets, OpenChoice, Text};
use crate::per::{Alternative, List, Reader, Result, open, sequence};

/// dialedDigits: 13 different characters take 4 bits each.
const DIALED_DIGITS: Type = Text { least: 1, most: 128, bits: 4 };

/// GatekeeperIdentifier and EndpointIdentifier.
pub(crate) const IDENTIFIER: Type = Text { least: 1, most: 128, bits: 16 };

const H221_NON_STANDARD: Type = open(&[
    Must(Integer(255)),    // t35CountryCode
    Must(Integer(255)),    // t35Extension
    Must(Integer(65_535)), // manufacturerCode
]);

pub(crate) const NON_STANDARD: Type = sequence(&[
    Must(OpenChoice(&[Bytes, H221_NON_STANDARD])), // nonStandardIdentifier
    Must(Bytes),                                   // data
]);

const ONLY_NON_STANDARD: Type = open(&[May(NON_STANDARD)]);

const TRANSPORT_ADDRESS: [Type; 7] = [
    sequence(&[Must(Octets(4)), Must(Integer(65_535))]), // ipAddress
    open(&[
        Must(Octets(4)),                       // ip
        Must(Integer(65_535)),                 // port
        Must(ListOf(&Octets(4))),              // route
        Must(OpenChoice(&[Bits(0), Bits(0)])), // routing
    ]), // ipSourceRoute
    sequence(&[Must(Octets(6)), Must(Octets(4)), Must(Bits(16))]), // ipxAddress
    open(&[Must(Octets(16)), Must(Integer(65_535))]),    // ip6Address
    Octets(16),                                          // netBios
    Text { least: 1, most: 20, bits: 8 },                // nsap
    NON_STANDARD,                                        // nonStandardAddress
];

/// TransportAddress.
pub(crate) const TRANSPORT: Type = OpenChoice(&TRANSPORT_ADDRESS);

pub(crate) const ALIAS: Type = OpenChoice(&[DIALED_DIGITS, Text { least: 1, most: 256, bits: 16 }]);
pub(crate) const ALIASES: Type = ListOf(&ALIAS);

pub(crate) const VENDOR: Type = open(&[
    Must(H221_NON_STANDARD),                    // vendor
    May(Text { least: 1, most: 256, bits: 8 }), // productId
    May(Text { least: 1, most: 256, bits: 8 }), // versionId
]);

pub(crate) const SUPPORTED_PROTOCOLS: Type = OpenChoice(&[
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

pub(crate) const ENDPOINT_TYPE: Type = open(&[
    May(NON_STANDARD),                                                  // nonStandardData
    May(VENDOR),                                                        // vendor
    May(ONLY_NON_STANDARD),                                             // gatekeeper
    May(open(&[May(ListOf(&SUPPORTED_PROTOCOLS)), May(NON_STANDARD)])), // gateway
    May(ONLY_NON_STANDARD),                                             // mcu
    May(ONLY_NON_STANDARD),                                             // terminal
    Must(Bits(2)),                                                      // mc, undefinedNode
]);

pub(crate) const QSERIES_OPTIONS: Type = open(&[
    Must(Bits(7)),                // q932Full to q957Full
    Must(open(&[Must(Bits(2))])), // q954Info
]);

const CHALLENGE: Type = Text { least: 8, most: 128, bits: 8 };
const PASSWORD: Type = Text { least: 1, most: 128, bits: 16 };
/// BIT STRING (SIZE (0..2048)); a key's length is counted in bits.
const KEY_BITS: Type = Text { least: 0, most: 2048, bits: 1 };

/// H.235.0's ClearToken.
pub(crate) const CLEAR_TOKEN: Type = open(&[
    Must(Bytes),                                                  // tokenOID
    May(TIME_STAMP),                                              // timeStamp
    May(PASSWORD),                                                // password
    May(open(&[Must(KEY_BITS), Must(KEY_BITS), Must(KEY_BITS)])), // dhkey
    May(CHALLENGE),                                               // challenge
    May(Bytes),                                                   // random
    May(open(&[Must(Bytes), Must(Bytes)])),                       // certificate
    May(IDENTIFIER),                                              // generalID
    May(sequence(&[Must(Bytes), Must(Bytes)])),                   // nonStandard
]);

/// H.235.0's Params.
const PARAMS: Type = open(&[
    May(Bytes),     // ranInt
    May(Octets(8)), // iv8
]);
const HASHED: Type = sequence(&[
    Must(Bytes),     // algorithmOID
    Must(PARAMS),    // paramS
    Must(BitString), // hash
]);
const ENCRYPTED: Type = sequence(&[
    Must(Bytes),  // algorithmOID
    Must(PARAMS), // paramS
    Must(Bytes),  // encryptedData
]);
const SIGNED: Type = sequence(&[
    Must(Bytes),     // toBeSigned, an open type
    Must(Bytes),     // algorithmOID
    Must(PARAMS),    // paramS
    Must(BitString), // signature
]);

/// H.235.0's CryptoToken.
const NESTED_CRYPTO_TOKEN: Type = OpenChoice(&[
    sequence(&[Must(Bytes), Must(ENCRYPTED)]), // cryptoEncryptedToken
    sequence(&[Must(Bytes), Must(SIGNED)]),    // cryptoSignedToken
    sequence(&[Must(Bytes), Must(CLEAR_TOKEN), Must(HASHED)]), // cryptoHashedToken
    ENCRYPTED,                                 // cryptoPwdEncr
]);

const TIME_STAMP: Type = Integer(u32::MAX - 1);

/// CryptoH323Token.
pub(crate) const CRYPTO_TOKEN: Type = OpenChoice(&[
    sequence(&[Must(ALIAS), Must(TIME_STAMP), Must(HASHED)]), // cryptoEPPwdHash
    sequence(&[Must(IDENTIFIER), Must(TIME_STAMP), Must(HASHED)]), // cryptoGKPwdHash
    ENCRYPTED,                                                // cryptoEPPwdEncr
    ENCRYPTED,                                                // cryptoGKPwdEncr
    SIGNED,                                                   // cryptoEPCert
    SIGNED,                                                   // cryptoGKCert
    SIGNED,                                                   // cryptoFastStart
    NESTED_CRYPTO_TOKEN,                                      // nestedcryptoToken
]);

/// Reads the presence of tokens and cryptoTokens that lie in a root, and steps over them.
pub(crate) fn root_tokens(r: &mut Reader<'_>, clear: bool, crypto: bool) -> Result<Tokens> {
    let mut tokens = Tokens::default();
    if clear {
        let list = r.list(|r| r.skip(&CLEAR_TOKEN))?;
        tokens.clear = !list.is_empty();
    }
    if crypto {
        let list = r.list(|r| r.skip(&CRYPTO_TOKEN))?;
        tokens.crypto = !list.is_empty();
    }
    Ok(tokens)
}

/// A CHOICE of a NonStandardParameter and two NULLs: SecurityServiceMode.
const SECURITY_SERVICE: Type = OpenChoice(&[NON_STANDARD, Bits(0), Bits(0)]);

const SECURITY_CAPABILITIES: Type = open(&[
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

/// Transport addresses, in the order of the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Addresses<'a>(List<'a>);

impl<'a> Addresses<'a> {
    /// More than any endpoint has interfaces to call it on: those behind are left out.
    pub const MOST: usize = 4;

    /// Reads a SEQUENCE OF TransportAddress.
    #[inline]
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self> {
        r.list(transport_address).map(Self)
    }

    /// Reads a single one.
    pub(crate) fn read_one(r: &mut Reader<'a>) -> Result<Self> {
        let list = List::new(r, 1);
        transport_address(r)?;
        Ok(Self(list))
    }

    /// Those that are IP addresses with a port.
    pub fn iter(self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter(transport_address).flatten().take(Self::MOST)
    }
}

impl PartialEq for Addresses<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Addresses<'_> {}

/// Reads a CallIdentifier.
pub(crate) fn call_identifier(r: &mut Reader<'_>) -> Result<Guid> {
    let preamble = r.preamble(0)?;
    let guid = r.array().map(Guid)?;
    r.skip_additions(preamble)?;
    Ok(guid)
}
