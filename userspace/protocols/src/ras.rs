//! H.225.0 RAS (its section 7.6 on): messages between endpoints and gatekeepers, one to a UDP datagram.
//!
//! Reads the addresses at which calls are to be made and the lives of registrations; messages that tell neither are
//! recognised by name.

use std::net::SocketAddr;

use crate::h225::types::{
    ALIASES, CALL_MODEL, CALL_TYPE, ENDPOINT_TYPE, IDENTIFIER, NON_STANDARD, ONE_OF_THREE, QSERIES_OPTIONS,
    VENDOR, call_identifier, transport_address, transport_addresses,
};
use crate::h225::{Addresses, Guid};
use crate::per::{Alternative, Preamble, Reader, Result, Type};

/// A RAS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// requestSeqNum, 1 to 65,535; 0 for a message that is known by name only.
    pub sequence: u16,
    /// What it says.
    pub body: Body,
}

/// What a RAS message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// GRQ: which gatekeeper will serve?
    GatekeeperRequest {
        /// Where the endpoint takes the answer.
        ras: Option<SocketAddr>,
    },
    /// GCF: this one.
    GatekeeperConfirm {
        /// Where it takes further requests.
        ras: Option<SocketAddr>,
    },
    /// RRQ: an endpoint tells its addresses.
    RegistrationRequest {
        /// callSignalAddress; may be empty in a refreshment.
        call_signal: Addresses,
        /// rasAddress.
        ras: Addresses,
        /// timeToLive, seconds.
        time_to_live: Option<u32>,
        /// It refreshes an earlier registration.
        keep_alive: bool,
    },
    /// RCF: they are registered.
    RegistrationConfirm {
        /// The gatekeeper's own callSignalAddress.
        call_signal: Addresses,
        /// timeToLive, seconds.
        time_to_live: Option<u32>,
    },
    /// URQ: a registration ends.
    UnregistrationRequest {
        /// callSignalAddress.
        call_signal: Addresses,
    },
    /// ARQ: may a call be made, or answered?
    AdmissionRequest {
        /// callIdentifier.
        call: Option<Guid>,
        /// The call is an incoming one.
        answer: bool,
    },
    /// ACF: it may.
    AdmissionConfirm {
        /// Where it is to be made.
        destination: Option<SocketAddr>,
    },
    /// LRQ: where is this alias?
    LocationRequest {
        /// Where the answer is to be sent.
        reply: Option<SocketAddr>,
    },
    /// LCF: there.
    LocationConfirm {
        /// Where calls to it are to be made.
        call_signal: Option<SocketAddr>,
        /// Its RAS address.
        ras: Option<SocketAddr>,
    },
    /// DRQ: a call is over.
    DisengageRequest {
        /// callIdentifier.
        call: Option<Guid>,
    },
    /// Any other, by its name in the standard.
    Other(&'static str),
}

impl Message {
    /// Reads a RasMessage: a datagram's whole payload.
    ///
    /// # Errors
    /// Anything that keeps an address, a life or an identifier from being read, in the messages that are read.
    pub fn parse(encoding: &[u8]) -> Result<Self> {
        let r = &mut Reader::new(encoding);
        match r.choice(25)? {
            Alternative::Root(0) => gatekeeper_request(r),
            Alternative::Root(1) => gatekeeper_confirm(r),
            Alternative::Root(3) => registration_request(r),
            Alternative::Root(4) => registration_confirm(r),
            Alternative::Root(6) => unregistration_request(r),
            Alternative::Root(9) => admission_request(r),
            Alternative::Root(10) => admission_confirm(r),
            Alternative::Root(15) => disengage_request(r),
            Alternative::Root(18) => location_request(r),
            Alternative::Root(19) => location_confirm(r),
            Alternative::Root(index) => Ok(other(&NAMES, index)),
            Alternative::Added(index) => Ok(other(&ADDED_NAMES, index)),
        }
    }
}

impl Body {
    /// The message's name in the standard.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GatekeeperRequest { .. } => NAMES[0],
            Self::GatekeeperConfirm { .. } => NAMES[1],
            Self::RegistrationRequest { .. } => NAMES[3],
            Self::RegistrationConfirm { .. } => NAMES[4],
            Self::UnregistrationRequest { .. } => NAMES[6],
            Self::AdmissionRequest { .. } => NAMES[9],
            Self::AdmissionConfirm { .. } => NAMES[10],
            Self::DisengageRequest { .. } => NAMES[15],
            Self::LocationRequest { .. } => NAMES[18],
            Self::LocationConfirm { .. } => NAMES[19],
            Self::Other(name) => name,
        }
    }
}

const NAMES: [&str; 25] = [
    "gatekeeperRequest",
    "gatekeeperConfirm",
    "gatekeeperReject",
    "registrationRequest",
    "registrationConfirm",
    "registrationReject",
    "unregistrationRequest",
    "unregistrationConfirm",
    "unregistrationReject",
    "admissionRequest",
    "admissionConfirm",
    "admissionReject",
    "bandwidthRequest",
    "bandwidthConfirm",
    "bandwidthReject",
    "disengageRequest",
    "disengageConfirm",
    "disengageReject",
    "locationRequest",
    "locationConfirm",
    "locationReject",
    "infoRequest",
    "infoRequestResponse",
    "nonStandardMessage",
    "unknownMessageResponse",
];

const ADDED_NAMES: [&str; 8] = [
    "requestInProgress",
    "resourcesAvailableIndicate",
    "resourcesAvailableConfirm",
    "infoRequestAck",
    "infoRequestNak",
    "serviceControlIndication",
    "serviceControlResponse",
    "admissionConfirmSequence",
];

fn other(names: &[&'static str], index: u8) -> Message {
    Message { sequence: 0, body: Body::Other(names.get(usize::from(index)).copied().unwrap_or("unknown")) }
}

/// RequestSeqNum, INTEGER (1..65535).
fn sequence(r: &mut Reader<'_>) -> Result<u16> {
    Ok(r.integer(65_534)? as u16 + 1)
}

fn skip_if(r: &mut Reader<'_>, present: bool, ty: &Type) -> Result<()> {
    if present { r.skip(ty) } else { Ok(()) }
}

fn gatekeeper_request(r: &mut Reader<'_>) -> Result<Message> {
    let mut preamble = r.preamble(4)?;
    let sequence = sequence(r)?;
    r.skip(&Type::Bytes)?; // protocolIdentifier
    skip_if(r, preamble.optional(), &NON_STANDARD)?;
    let ras = transport_address(r)?;
    Ok(Message { sequence, body: Body::GatekeeperRequest { ras } })
}

fn gatekeeper_confirm(r: &mut Reader<'_>) -> Result<Message> {
    let mut preamble = r.preamble(2)?;
    let sequence = sequence(r)?;
    r.skip(&Type::Bytes)?; // protocolIdentifier
    skip_if(r, preamble.optional(), &NON_STANDARD)?;
    skip_if(r, preamble.optional(), &IDENTIFIER)?;
    let ras = transport_address(r)?;
    Ok(Message { sequence, body: Body::GatekeeperConfirm { ras } })
}

fn registration_request(r: &mut Reader<'_>) -> Result<Message> {
    let mut preamble = r.preamble(3)?;
    let sequence = sequence(r)?;
    r.skip(&Type::Bytes)?; // protocolIdentifier
    skip_if(r, preamble.optional(), &NON_STANDARD)?;
    r.bool()?; // discoveryComplete
    let call_signal = transport_addresses(r)?;
    let ras = transport_addresses(r)?;
    r.skip(&ENDPOINT_TYPE)?; // terminalType
    skip_if(r, preamble.optional(), &ALIASES)?; // terminalAlias
    skip_if(r, preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
    r.skip(&VENDOR)?; // endpointVendor
    let mut time_to_live = None;
    let mut keep_alive = false;
    for index in r.additions(preamble)? {
        match index {
            1 => time_to_live = Some(r.open(seconds)??),
            5 => keep_alive = r.open(Reader::bool)??,
            _ => r.skip_open()?,
        }
    }
    Ok(Message { sequence, body: Body::RegistrationRequest { call_signal, ras, time_to_live, keep_alive } })
}

fn registration_confirm(r: &mut Reader<'_>) -> Result<Message> {
    let mut preamble = r.preamble(3)?;
    let sequence = sequence(r)?;
    r.skip(&Type::Bytes)?; // protocolIdentifier
    skip_if(r, preamble.optional(), &NON_STANDARD)?;
    let call_signal = transport_addresses(r)?;
    skip_if(r, preamble.optional(), &ALIASES)?; // terminalAlias
    skip_if(r, preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
    r.skip(&IDENTIFIER)?; // endpointIdentifier
    let mut time_to_live = None;
    for index in r.additions(preamble)? {
        match index {
            1 => time_to_live = Some(r.open(seconds)??),
            _ => r.skip_open()?,
        }
    }
    Ok(Message { sequence, body: Body::RegistrationConfirm { call_signal, time_to_live } })
}

fn unregistration_request(r: &mut Reader<'_>) -> Result<Message> {
    r.preamble(3)?;
    let sequence = sequence(r)?;
    let call_signal = transport_addresses(r)?;
    Ok(Message { sequence, body: Body::UnregistrationRequest { call_signal } })
}

fn admission_request(r: &mut Reader<'_>) -> Result<Message> {
    let mut preamble = r.preamble(7)?;
    let sequence = sequence(r)?;
    r.skip(&CALL_TYPE)?;
    skip_if(r, preamble.optional(), &CALL_MODEL)?;
    r.skip(&IDENTIFIER)?; // endpointIdentifier
    skip_if(r, preamble.optional(), &ALIASES)?; // destinationInfo
    if preamble.optional() {
        transport_address(r)?; // destCallSignalAddress
    }
    skip_if(r, preamble.optional(), &ALIASES)?; // destExtraCallInfo
    r.skip(&ALIASES)?; // srcInfo
    if preamble.optional() {
        transport_address(r)?; // srcCallSignalAddress
    }
    r.skip(&BANDWIDTH)?;
    r.u16()?; // callReferenceValue
    skip_if(r, preamble.optional(), &NON_STANDARD)?;
    skip_if(r, preamble.optional(), &QSERIES_OPTIONS)?; // callServices
    r.skip(&Type::Octets(16))?; // conferenceID
    r.bool()?; // activeMC
    let answer = r.bool()?;
    let call = call_in_addition(r, preamble, 1)?;
    Ok(Message { sequence, body: Body::AdmissionRequest { call, answer } })
}

fn admission_confirm(r: &mut Reader<'_>) -> Result<Message> {
    r.preamble(2)?;
    let sequence = sequence(r)?;
    r.skip(&BANDWIDTH)?;
    r.skip(&CALL_MODEL)?;
    let destination = transport_address(r)?;
    Ok(Message { sequence, body: Body::AdmissionConfirm { destination } })
}

fn disengage_request(r: &mut Reader<'_>) -> Result<Message> {
    let mut preamble = r.preamble(1)?;
    let sequence = sequence(r)?;
    r.skip(&IDENTIFIER)?; // endpointIdentifier
    r.skip(&Type::Octets(16))?; // conferenceID
    r.u16()?; // callReferenceValue
    r.skip(&ONE_OF_THREE)?; // disengageReason
    skip_if(r, preamble.optional(), &NON_STANDARD)?;
    let call = call_in_addition(r, preamble, 0)?;
    Ok(Message { sequence, body: Body::DisengageRequest { call } })
}

fn location_request(r: &mut Reader<'_>) -> Result<Message> {
    let mut preamble = r.preamble(2)?;
    let sequence = sequence(r)?;
    skip_if(r, preamble.optional(), &IDENTIFIER)?; // endpointIdentifier
    r.skip(&ALIASES)?; // destinationInfo
    skip_if(r, preamble.optional(), &NON_STANDARD)?;
    let reply = transport_address(r)?;
    Ok(Message { sequence, body: Body::LocationRequest { reply } })
}

fn location_confirm(r: &mut Reader<'_>) -> Result<Message> {
    r.preamble(1)?;
    let sequence = sequence(r)?;
    let call_signal = transport_address(r)?;
    let ras = transport_address(r)?;
    Ok(Message { sequence, body: Body::LocationConfirm { call_signal, ras } })
}

/// BandWidth, INTEGER (0..4294967295).
const BANDWIDTH: Type = Type::Integer(u32::MAX);

/// TimeToLive, INTEGER (1..4294967295).
fn seconds(r: &mut Reader<'_>) -> Result<u32> {
    Ok(r.integer(u32::MAX - 1)? + 1)
}

/// The callIdentifier, where it is extension `wanted`.
fn call_in_addition(r: &mut Reader<'_>, preamble: Preamble, wanted: u8) -> Result<Option<Guid>> {
    let mut call = None;
    for index in r.additions(preamble)? {
        if index == wanted {
            call = Some(r.open(call_identifier)??);
        } else {
            r.skip_open()?;
        }
    }
    Ok(call)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::build::ras as build;

    const CALL: [u8; 16] = *b"0123456789abcdef";

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    /// Every message that is read, told by these addresses.
    fn messages(signal: SocketAddr, ras: SocketAddr) -> [Vec<u8>; 10] {
        [
            build::gatekeeper_request(1, ras),
            build::gatekeeper_confirm(1, ras),
            build::registration_request(2, signal, ras, 60),
            build::registration_confirm(2, 90),
            build::unregistration_request(3, signal),
            build::admission_request(4, CALL),
            build::admission_confirm(4, signal),
            build::disengage_request(5, CALL),
            build::location_request(65_535, ras),
            build::location_confirm(6, signal, ras),
        ]
    }

    #[test]
    fn every_message_that_is_read() {
        for (signal, ras) in
            [("192.0.2.1:1730", "192.0.2.1:1719"), ("[2001:db8::1]:1730", "[2001:db8::1]:1719")]
        {
            let (signal, ras) = (at(signal), at(ras));
            let read = messages(signal, ras).map(|encoding| Message::parse(&encoding).expect("a message"));
            assert_eq!(read.map(|message| message.sequence), [1, 1, 2, 2, 3, 4, 4, 5, 65_535, 6]);
            let [grq, gcf, rrq, rcf, urq, arq, acf, drq, lrq, lcf] = read.map(|message| message.body);
            assert_eq!(grq, Body::GatekeeperRequest { ras: Some(ras) });
            assert_eq!(gcf, Body::GatekeeperConfirm { ras: Some(ras) });
            let Body::RegistrationRequest {
                call_signal,
                ras: own,
                time_to_live: Some(60),
                keep_alive: false,
            } = rrq
            else {
                panic!("{rrq:?}")
            };
            assert!(call_signal.iter().eq([signal]) && own.iter().eq([ras]));
            assert!(matches!(rcf, Body::RegistrationConfirm { time_to_live: Some(90), .. }));
            assert_eq!(urq, Body::UnregistrationRequest { call_signal });
            assert_eq!(arq, Body::AdmissionRequest { call: Some(Guid(CALL)), answer: false });
            assert_eq!(acf, Body::AdmissionConfirm { destination: Some(signal) });
            assert_eq!(drq, Body::DisengageRequest { call: Some(Guid(CALL)) });
            assert_eq!(lrq, Body::LocationRequest { reply: Some(ras) });
            assert_eq!(lcf, Body::LocationConfirm { call_signal: Some(signal), ras: Some(ras) });
        }
    }

    #[test]
    fn the_others_by_name() {
        let name = |encoding: &[u8]| Message::parse(encoding).expect("a message").body.name();
        assert_eq!(name(&[2 << 2]), "gatekeeperReject");
        assert_eq!(name(&[24 << 2]), "unknownMessageResponse");
        assert_eq!(name(&[0x80]), "requestInProgress");
        assert_eq!(name(&[0x90]), "unknown");
        assert!(Message::parse(&[25 << 2]).is_err());
    }

    #[test]
    fn every_cut_is_refused() {
        for whole in messages(at("192.0.2.1:1730"), at("192.0.2.1:1719")) {
            for end in 0..whole.len() {
                // What follows the address in these is not read.
                let cut = Message::parse(&whole[..end]);
                assert!(
                    !matches!(cut, Ok(Message { body: Body::RegistrationRequest { .. }, .. })),
                    "{end} octets"
                );
                assert!(
                    !matches!(cut, Ok(Message { body: Body::AdmissionConfirm { .. }, .. })),
                    "{end} octets"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            which in 0_usize..10,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut encoding = messages(at("192.0.2.1:1730"), at("[2001:db8::1]:1719"))[which].clone();
            for (place, value) in damage {
                let place = place.index(encoding.len());
                encoding[place] = value;
            }
            let _ = Message::parse(&encoding);
        }
    }
}
