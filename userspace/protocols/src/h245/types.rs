//! H.245's types (its annex A) that surround an address: what is read of them, and how the rest is stepped over.
//!
//! Descriptions list the fields of a type's root in order, as in [`crate::h225`]'s.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{Class, DataType};
use crate::h225::types::socket;
use crate::per::Field::{May, Must};
use crate::per::Type::{self, Bits, Bytes, Choice, Integer, ListOf, Octets, OpenChoice, SizedList};
use crate::per::{Alternative, Fault, Reader, Result, open, sequence};

pub(super) const NON_STANDARD: Type = sequence(&[
    Must(Choice(&[Bytes, sequence(&[Must(Integer(255)), Must(Integer(255)), Must(Integer(65_535))])])),
    Must(Bytes), // data
]);

const UNICAST: [Type; 5] = [
    open(&[Must(Octets(4)), Must(Integer(65_535))]), // iPAddress
    open(&[Must(Octets(6)), Must(Octets(4)), Must(Bits(16))]), // iPXAddress
    open(&[Must(Octets(16)), Must(Integer(65_535))]), // iP6Address
    Octets(16),                                      // netBios
    open(&[
        Must(Choice(&[Bits(0), Bits(0)])), // routing
        Must(Octets(4)),                   // network
        Must(Integer(65_535)),             // tsapIdentifier
        Must(ListOf(&Octets(4))),          // route
    ]), // iPSourceRouteAddress
];

/// INTEGER (1..256), the frames or milliseconds of most audio capabilities.
const FRAMES: Type = Integer(255);
const BIT_RATE: Type = Integer((1 << 30) - 1);
const BUFFER: Type = Integer((1 << 18) - 1);
const LINES: Type = Integer((1 << 14) - 1);

const AUDIO: [Type; 14] = [
    NON_STANDARD,                                 // nonStandard
    FRAMES,                                       // g711Alaw64k
    FRAMES,                                       // g711Alaw56k
    FRAMES,                                       // g711Ulaw64k
    FRAMES,                                       // g711Ulaw56k
    FRAMES,                                       // g722-64k
    FRAMES,                                       // g722-56k
    FRAMES,                                       // g722-48k
    sequence(&[Must(FRAMES), Must(Bits(1))]),     // g7231
    FRAMES,                                       // g728
    FRAMES,                                       // g729
    FRAMES,                                       // g729AnnexA
    open(&[Must(Bits(8)), Must(Integer(447))]),   // is11172AudioCapability
    open(&[Must(Bits(20)), Must(Integer(1129))]), // is13818AudioCapability
];
const AUDIO_NAMES: [&str; 14] = [
    "non-standard",
    "PCMA",
    "PCMA-56",
    "PCMU",
    "PCMU-56",
    "G722",
    "G722-56",
    "G722-48",
    "G723",
    "G728",
    "G729",
    "G729A",
    "MPEG-1",
    "MPEG-2",
];
const ADDED_AUDIO_NAMES: [&str; 11] = [
    "G729B",
    "G729AB",
    "G723C",
    "GSM",
    "GSM-HR",
    "GSM-EFR",
    "generic",
    "G729-ext",
    "VBD",
    "telephone-event",
    "tone",
];

const VIDEO: [Type; 5] = [
    NON_STANDARD, // nonStandard
    open(&[
        May(Bits(2)),          // qcifMPI
        May(Bits(2)),          // cifMPI
        Must(Bits(1)),         // temporalSpatialTradeOffCapability
        Must(Integer(19_199)), // maxBitRate
        Must(Bits(1)),         // stillImageTransmission
    ]), // h261VideoCapability
    open(&[
        Must(Bits(11)),         // profilesAndLevels
        May(BIT_RATE),          // videoBitRate
        May(BUFFER),            // vbvBufferSize
        May(LINES),             // samplesPerLine
        May(LINES),             // linesPerFrame
        May(Bits(4)),           // framesPerSecond
        May(Integer(u32::MAX)), // luminanceSampleRate
    ]), // h262VideoCapability
    open(&[
        May(Bits(5)),                // sqcifMPI
        May(Bits(5)),                // qcifMPI
        May(Bits(5)),                // cifMPI
        May(Bits(5)),                // cif4MPI
        May(Bits(5)),                // cif16MPI
        Must(Integer(192_399)),      // maxBitRate
        Must(Bits(5)),               // unrestrictedVector to temporalSpatialTradeOffCapability
        May(Integer((1 << 19) - 1)), // hrd-B
        May(Integer(65_535)),        // bppMaxKb
    ]), // h263VideoCapability
    open(&[
        Must(Bits(1)),          // constrainedBitstream
        May(BIT_RATE),          // videoBitRate
        May(BUFFER),            // vbvBufferSize
        May(LINES),             // samplesPerLine
        May(LINES),             // linesPerFrame
        May(Bits(4)),           // pictureRate
        May(Integer(u32::MAX)), // luminanceSampleRate
    ]), // is11172VideoCapability
];
const VIDEO_NAMES: [&str; 5] = ["non-standard", "H261", "H262", "H263", "MPEG-1"];

const DATA_PROTOCOL: Type = OpenChoice(&[NON_STANDARD, Bits(0), Bits(0), Bits(0), Bits(0), Bits(0), Bits(0)]);

const DATA: [Type; 10] = [
    NON_STANDARD,                                                                        // nonStandard
    DATA_PROTOCOL,                                                                       // t120
    DATA_PROTOCOL,                                                                       // dsm-cc
    DATA_PROTOCOL,                                                                       // userData
    sequence(&[Must(DATA_PROTOCOL), Must(Choice(&[Bits(0), open(&[Must(Bits(19))])]))]), // t84
    DATA_PROTOCOL,                                                                       // t434
    DATA_PROTOCOL,                                                                       // h224
    sequence(&[Must(DATA_PROTOCOL), Must(Bytes)]),                                       // nlpid
    Bits(0),                                                                             // dsvdControl
    DATA_PROTOCOL, // h222DataPartitioning
];
const DATA_NAMES: [&str; 10] =
    ["non-standard", "T120", "DSM-CC", "user-data", "T84", "T434", "H224", "NLPID", "DSVD", "H222"];

/// Object identifiers of generic capabilities (their contents octets), by name.
const GENERIC: [(&[u8], &str); 6] = [
    (&[0x00, 0x08, 0x81, 0x71, 0x00, 0x00, 0x01], "H264"),
    (&[0x00, 0x08, 0x81, 0x75, 0x01, 0x00, 0x00], "MPEG-4"),
    (&[0x00, 0x08, 0x81, 0x75, 0x01, 0x01, 0x00], "AAC"),
    (&[0x00, 0x08, 0x81, 0x75, 0x01, 0x01, 0x01], "AMR"),
    (&[0x00, 0x07, 0xb8, 0x35, 0x01, 0x00], "G7221"),
    (&[0x00, 0x07, 0xb8, 0x36, 0x01, 0x00], "AMR-WB"),
];

/// Reads a TransportAddress, unicast or multicast. `None` for what is not IP, is routed by its source, or has
/// port 0.
pub(super) fn transport_address(r: &mut Reader<'_>) -> Result<Option<SocketAddr>> {
    let taken = match r.choice(2)? {
        Alternative::Root(0) => r.choice(5)?,
        // multicastAddress: iPAddress and iP6Address, as in a unicast one.
        Alternative::Root(_) => match r.choice(2)? {
            Alternative::Root(1) => Alternative::Root(2),
            other => other,
        },
        added => added,
    };
    let (preamble, address) = match taken {
        Alternative::Root(0) => {
            let preamble = r.preamble(0)?;
            let ip: [u8; 4] = r.array()?;
            (preamble, socket(IpAddr::from(ip), r.u16()?))
        }
        Alternative::Root(2) => {
            let preamble = r.preamble(0)?;
            let ip: [u8; 16] = r.array()?;
            (preamble, socket(Ipv6Addr::from(ip).to_canonical(), r.u16()?))
        }
        Alternative::Root(index) => return r.skip_alternative(&UNICAST, index).map(|()| None),
        Alternative::Added(_) => return r.skip_open().map(|()| None),
    };
    r.skip_additions(preamble)?;
    Ok(address)
}

/// Reads NetworkAccessParameters: the address at which a separate stack, such as T.120's, listens.
pub(super) fn separate_stack(r: &mut Reader<'_>) -> Result<Option<SocketAddr>> {
    let mut preamble = r.preamble(2)?;
    if preamble.optional() {
        r.skip(&OpenChoice(&[Bits(0), Bits(0)]))?; // distribution
    }
    match r.choice(3)? {
        Alternative::Root(2) => transport_address(r), // localAreaAddress
        // q2931Address and e164Address: not IP. What follows is not needed.
        _ => Ok(None),
    }
}

/// Reads GenericInformation, of which the first is looked at: whether it is H.460.19's.
pub(super) fn is_traversal(r: &mut Reader<'_>) -> Result<bool> {
    /// itu-t(0) recommendation(0) h(8) 460 19
    const H460_19: [u8; 5] = [0x00, 0x08, 0x83, 0x4c, 0x13];
    if r.length()? == 0 {
        return Ok(false);
    }
    r.preamble(2)?;
    Ok(r.choice(4)? == Alternative::Root(0) && r.bytes()?.starts_with(&H460_19))
}

pub(super) const TERMINAL_LABEL: Type = open(&[
    Must(Integer(192)), // mcuNumber
    Must(Integer(192)), // terminalNumber
]);

impl DataType {
    const fn of(class: Class, codec: &'static str) -> Self {
        Self { class, codec, extended: false, encrypted: false, bit_rate: 0 }
    }
}

/// Reads a DataType.
pub(super) fn data_type(r: &mut Reader<'_>) -> Result<DataType> {
    match r.choice(6)? {
        Alternative::Root(0) => {
            r.skip(&NON_STANDARD)?;
            Ok(DataType::of(Class::Other, "non-standard"))
        }
        Alternative::Root(1) => Ok(DataType::of(Class::Null, "")),
        Alternative::Root(2) => video(r),
        Alternative::Root(3) => Ok(DataType::of(Class::Audio, audio(r)?)),
        Alternative::Root(4) => data(r),
        Alternative::Root(_) => {
            r.skip(&OpenChoice(&[NON_STANDARD, Bits(0)]))?; // encryptionData
            Ok(DataType::of(Class::Other, "encryption"))
        }
        // What cannot be read in these is something over RTP: its addresses lie elsewhere.
        Alternative::Added(1) => {
            let inner = r.open(encrypted)?.unwrap_or(DataType::of(Class::Other, "H235"));
            Ok(DataType { encrypted: true, ..inner })
        }
        Alternative::Added(3) => Ok(r.open(redundant)?.unwrap_or(DataType::of(Class::Other, "redundancy"))),
        Alternative::Added(4) => {
            Ok(r.open(first_payload)?.unwrap_or(DataType::of(Class::Other, "composite")))
        }
        Alternative::Added(index) => {
            r.skip_open()?;
            let name = match index {
                0 => "H235",
                5 | 6 => "FEC",
                _ => "composite",
            };
            Ok(DataType::of(Class::Other, name))
        }
    }
}

/// Reads the dataType of a CommunicationModeTableEntry.
pub(super) fn mode_data_type(r: &mut Reader<'_>) -> Result<DataType> {
    match r.choice(3)? {
        Alternative::Root(0) => video(r),
        Alternative::Root(1) => Ok(DataType::of(Class::Audio, audio(r)?)),
        Alternative::Root(_) => data(r),
        Alternative::Added(_) => r.skip_open().map(|()| DataType::of(Class::Other, "unknown")),
    }
}

/// Reads H235Media.
fn encrypted(r: &mut Reader<'_>) -> Result<DataType> {
    r.preamble(0)?;
    r.skip(&SECURITY)?;
    match r.choice(4)? {
        Alternative::Root(0) => Ok(DataType::of(Class::Other, "non-standard")),
        Alternative::Root(1) => video(r),
        Alternative::Root(2) => Ok(DataType::of(Class::Audio, audio(r)?)),
        Alternative::Root(_) => data(r),
        Alternative::Added(_) => Ok(DataType::of(Class::Other, "composite")),
    }
}

/// EncryptionAuthenticationAndIntegrity.
const SECURITY: Type = open(&[
    May(SizedList(256, &OpenChoice(&[NON_STANDARD, Bytes]))), // encryptionCapability
    May(open(&[May(NON_STANDARD)])),                          // authenticationCapability
    May(open(&[May(NON_STANDARD)])),                          // integrityCapability
]);

/// Reads RedundancyEncoding, as far as its method.
fn redundant(r: &mut Reader<'_>) -> Result<DataType> {
    r.preamble(1)?;
    let class = match r.choice(2)? {
        Alternative::Root(1) => Class::Audio,
        Alternative::Added(0) => Class::Video,
        _ => Class::Other,
    };
    Ok(DataType::of(class, "redundancy"))
}

/// Reads MultiplePayloadStream, as far as the first of its elements that is neither composed nor encrypted.
fn first_payload(r: &mut Reader<'_>) -> Result<DataType> {
    r.preamble(0)?;
    for _ in 0..r.length()? {
        let mut preamble = r.preamble(1)?;
        // Elements may hold elements, but nobody needs to know.
        match r.choice(6)? {
            Alternative::Root(2) => return video(r),
            Alternative::Root(3) => return Ok(DataType::of(Class::Audio, audio(r)?)),
            Alternative::Root(4) => return data(r),
            Alternative::Root(1) => {}
            Alternative::Root(_) => break,
            Alternative::Added(_) => r.skip_open()?,
        }
        r.skip_if(preamble.optional(), &Integer(127))?; // payloadType
        r.skip_additions(preamble)?;
    }
    Ok(DataType::of(Class::Other, "composite"))
}

fn audio(r: &mut Reader<'_>) -> Result<&'static str> {
    match r.choice(14)? {
        Alternative::Root(index) => {
            r.skip_alternative(&AUDIO, index)?;
            Ok(name(&AUDIO_NAMES, index))
        }
        Alternative::Added(6) => Ok(generic(r)?.0),
        Alternative::Added(index) => r.skip_open().map(|()| name(&ADDED_AUDIO_NAMES, index)),
    }
}

fn video(r: &mut Reader<'_>) -> Result<DataType> {
    let (codec, bit_rate) = match r.choice(5)? {
        Alternative::Root(1) => ("H261", h261(r)?),
        Alternative::Root(3) => ("H263", h263(r)?),
        Alternative::Root(index) => {
            r.skip_alternative(&VIDEO, index)?;
            (name(&VIDEO_NAMES, index), 0)
        }
        Alternative::Added(0) => generic(r)?,
        Alternative::Added(1) => {
            let codec = r.open(extended_video)?.unwrap_or("H239");
            return Ok(DataType { extended: true, ..DataType::of(Class::Video, codec) });
        }
        Alternative::Added(_) => r.skip_open().map(|()| ("unknown", 0))?,
    };
    Ok(DataType { bit_rate, ..DataType::of(Class::Video, codec) })
}

/// Reads H261VideoCapability: its maxBitRate in bits per second.
fn h261(r: &mut Reader<'_>) -> Result<u32> {
    let mut preamble = r.preamble(2)?;
    for _ in 0..2 {
        r.skip_if(preamble.optional(), &Bits(2))?; // qcifMPI, cifMPI
    }
    r.skip(&Bits(1))?; // temporalSpatialTradeOffCapability
    let bit_rate = hundreds(r.integer(19_199)?);
    r.skip(&Bits(1))?; // stillImageTransmission
    r.skip_additions(preamble)?;
    Ok(bit_rate)
}

/// Reads H263VideoCapability, likewise.
fn h263(r: &mut Reader<'_>) -> Result<u32> {
    let mut preamble = r.preamble(7)?;
    for _ in 0..5 {
        r.skip_if(preamble.optional(), &Bits(5))?; // sqcifMPI to cif16MPI
    }
    let bit_rate = hundreds(r.integer(192_399)?);
    r.skip(&Bits(5))?; // unrestrictedVector to temporalSpatialTradeOffCapability
    r.skip_if(preamble.optional(), &Integer((1 << 19) - 1))?; // hrd-B
    r.skip_if(preamble.optional(), &Integer(65_535))?; // bppMaxKb
    r.skip_additions(preamble)?;
    Ok(bit_rate)
}

/// Bits per second of a maxBitRate from 1, in units of 100 of them.
fn hundreds(encoded: u32) -> u32 {
    encoded.saturating_add(1).saturating_mul(100)
}

/// Reads ExtendedVideoCapability, as far as the name of its first videoCapability.
fn extended_video(r: &mut Reader<'_>) -> Result<&'static str> {
    r.preamble(1)?;
    if r.length()? == 0 {
        return Ok("H239");
    }
    Ok(match r.choice(5)? {
        Alternative::Root(index) => name(&VIDEO_NAMES, index),
        Alternative::Added(0) => generic(r)?.0,
        Alternative::Added(_) => "H239",
    })
}

/// DataApplicationCapability.
fn data(r: &mut Reader<'_>) -> Result<DataType> {
    let preamble = r.preamble(0)?;
    let (class, codec) = match r.choice(10)? {
        Alternative::Root(index) => {
            r.skip_alternative(&DATA, index)?;
            let class = match index {
                1 => Class::T120,
                6 => Class::Other,
                _ => Class::Data,
            };
            (class, name(&DATA_NAMES, index))
        }
        Alternative::Added(2) => (r.open(t38_class)??, "T38"),
        Alternative::Added(index) => {
            r.skip_open()?;
            match index {
                0 => (Class::Data, "T30"),
                // T.140 text travels over RTP.
                1 => (Class::Other, "T140"),
                _ => (Class::Other, "generic"),
            }
        }
    };
    r.skip(&Integer(u32::MAX))?; // maxBitRate
    r.skip_additions(preamble)?;
    Ok(DataType::of(class, codec))
}

/// t38fax: over UDPTL, unless its protocol is tcp (extension 5 of DataProtocolCapability).
fn t38_class(r: &mut Reader<'_>) -> Result<Class> {
    Ok(if r.choice(7)? == Alternative::Added(5) { Class::Data } else { Class::Fax })
}

/// The name of a GenericCapability in its open type, and its maxBitRate in bits per second, 0 where it has none. A
/// fault within harms nothing else.
fn generic(r: &mut Reader<'_>) -> Result<(&'static str, u32)> {
    let told = r.open(|r| {
        let mut preamble = r.preamble(5)?;
        let identifier = match r.choice(4)? {
            Alternative::Root(0) => r.bytes()?,
            _ => return Err(r.error(Fault::Unsupported)),
        };
        // In units of 100 bits per second, from 0.
        let most = if preamble.optional() { r.integer(u32::MAX)?.saturating_mul(100) } else { 0 };
        Ok((identifier, most))
    })?;
    let Ok((identifier, most)) = told else { return Ok(("generic", 0)) };
    let known = GENERIC.iter().find(|(known, _)| *known == identifier);
    Ok((known.map_or("generic", |(_, name)| name), most))
}

fn name(names: &[&'static str], index: u8) -> &'static str {
    names.get(usize::from(index)).copied().unwrap_or("unknown")
}

/// NonStandardParameters in a SEQUENCE OF.
pub(super) const NON_STANDARDS: Type = ListOf(&NON_STANDARD);

/// The H.320, H.324 and V.76 multiplex parameters are not for packet networks: no H.323 endpoint sends them.
pub(super) fn other_multiplex<T>(r: &Reader<'_>) -> Result<T> {
    Err(r.error(Fault::Unsupported))
}
