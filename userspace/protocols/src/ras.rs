//! H.225.0 RAS (its section 7.6 on): messages between endpoints and gatekeepers, one to a UDP datagram.
//!
//! Reads the addresses at which calls are to be made, who asks for what, and the lives of registrations. A fault in
//! these makes the message unreadable; an extension that nobody here needs may hold anything.

mod alternates;
mod info;
mod read;
mod reason;

use std::net::SocketAddr;

use crate::h225::{Addresses, Aliases, Features, Guid, Identifier, Tokens};
use crate::per::List;
pub use alternates::Alternates;
pub use info::{Calls, PerCall};

/// A RAS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// requestSeqNum, 1 to 65,535; 0 for [`Body::Unknown`].
    pub sequence: u16,
    /// What it says.
    pub body: Body<'a>,
    /// H.235 tokens.
    pub tokens: Tokens,
    /// H.460 features.
    pub features: Features,
}

/// Which way calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallModel {
    /// From endpoint to endpoint.
    Direct,
    /// Through the gatekeeper.
    GatekeeperRouted,
    /// One that a later version has added.
    Unknown,
}

/// What an endpoint may do without asking (preGrantedARQ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreGranted {
    /// It may make calls.
    pub make_call: bool,
    /// But only to the gatekeeper's call signalling address.
    pub make_through_gatekeeper: bool,
    /// It may answer calls.
    pub answer_call: bool,
    /// But only from the gatekeeper's call signalling address.
    pub answer_through_gatekeeper: bool,
}

/// What a RAS message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// GRQ: which gatekeeper will serve?
    GatekeeperRequest {
        /// Where the endpoint takes the answer.
        ras: Option<SocketAddr>,
        /// endpointAlias.
        aliases: Aliases<'a>,
    },
    /// GCF: this one.
    GatekeeperConfirm {
        /// Where it takes further requests.
        ras: Option<SocketAddr>,
        /// Where others do that may take its place (alternateGatekeeper).
        alternates: Alternates<'a>,
    },
    /// GRJ: not this one.
    GatekeeperReject {
        /// Its name in the standard, as in all that follow.
        reason: &'static str,
    },
    /// RRQ: an endpoint tells its addresses.
    RegistrationRequest {
        /// callSignalAddress; may be empty in a refreshment.
        call_signal: Addresses<'a>,
        /// rasAddress.
        ras: Addresses<'a>,
        /// timeToLive, seconds.
        time_to_live: Option<u32>,
        /// It refreshes an earlier registration.
        keep_alive: bool,
        /// terminalAlias.
        aliases: Aliases<'a>,
        /// endpointIdentifier, of that earlier one.
        endpoint: Option<Identifier<'a>>,
    },
    /// RCF: they are registered.
    RegistrationConfirm {
        /// The gatekeeper's own callSignalAddress.
        call_signal: Addresses<'a>,
        /// timeToLive, seconds.
        time_to_live: Option<u32>,
        /// terminalAlias: what was registered.
        aliases: Aliases<'a>,
        /// endpointIdentifier.
        endpoint: Identifier<'a>,
        /// What needs no admission.
        pre_granted: Option<PreGranted>,
        /// RAS addresses of gatekeepers that may take this one's place.
        alternates: Alternates<'a>,
    },
    /// RRJ: they are not.
    RegistrationReject {
        /// Why.
        reason: &'static str,
    },
    /// URQ: a registration ends.
    UnregistrationRequest {
        /// callSignalAddress.
        call_signal: Addresses<'a>,
        /// endpointAlias; if there are any, only they are meant.
        aliases: Aliases<'a>,
        /// endpointIdentifier.
        endpoint: Option<Identifier<'a>>,
    },
    /// UCF: it has ended.
    UnregistrationConfirm,
    /// URJ: it goes on.
    UnregistrationReject {
        /// Why.
        reason: &'static str,
    },
    /// ARQ: may a call be made, or answered?
    AdmissionRequest {
        /// callIdentifier.
        call: Option<Guid>,
        /// conferenceID.
        conference: Guid,
        /// callReferenceValue.
        reference: u16,
        /// The call is an incoming one.
        answer: bool,
        /// What the endpoint would like.
        model: Option<CallModel>,
        /// endpointIdentifier.
        endpoint: Identifier<'a>,
        /// srcInfo.
        source: Aliases<'a>,
        /// destinationInfo.
        destination: Aliases<'a>,
        /// srcCallSignalAddress.
        source_address: Option<SocketAddr>,
        /// destCallSignalAddress.
        destination_address: Option<SocketAddr>,
        /// Both directions, in 100 bit/s.
        bandwidth: u32,
    },
    /// ACF: it may.
    AdmissionConfirm(Admission<'a>),
    /// Several ACFs, of which the endpoint may choose.
    AdmissionConfirmSequence(Admissions<'a>),
    /// ARJ: it may not.
    AdmissionReject {
        /// Why.
        reason: &'static str,
    },
    /// BRQ: may a call take so much?
    BandwidthRequest {
        /// callIdentifier.
        call: Option<Guid>,
        /// conferenceID.
        conference: Guid,
        /// callReferenceValue.
        reference: u16,
        /// endpointIdentifier.
        endpoint: Identifier<'a>,
        /// Both directions, in 100 bit/s.
        bandwidth: u32,
    },
    /// BCF: it may.
    BandwidthConfirm {
        /// In 100 bit/s.
        bandwidth: u32,
    },
    /// BRJ: it may not.
    BandwidthReject {
        /// Why.
        reason: &'static str,
    },
    /// DRQ: a call is over.
    DisengageRequest {
        /// callIdentifier.
        call: Option<Guid>,
        /// conferenceID.
        conference: Guid,
        /// callReferenceValue.
        reference: u16,
        /// endpointIdentifier.
        endpoint: Identifier<'a>,
    },
    /// DCF: so it is.
    DisengageConfirm,
    /// DRJ: it is not.
    DisengageReject {
        /// Why.
        reason: &'static str,
    },
    /// LRQ: where is this alias?
    LocationRequest {
        /// Where the answer is to be sent.
        reply: Option<SocketAddr>,
        /// destinationInfo.
        destination: Aliases<'a>,
        /// sourceInfo.
        source: Aliases<'a>,
    },
    /// LCF: there.
    LocationConfirm {
        /// Where calls to it are to be made.
        call_signal: Option<SocketAddr>,
        /// Its RAS address.
        ras: Option<SocketAddr>,
        /// Where else it may be called (alternateEndpoints).
        alternates: Alternates<'a>,
    },
    /// LRJ: nowhere.
    LocationReject {
        /// Why.
        reason: &'static str,
    },
    /// IRQ: how is a call, or (reference 0) each of them?
    InfoRequest {
        /// callIdentifier.
        call: Option<Guid>,
        /// callReferenceValue.
        reference: u16,
        /// Where the answer is to be sent, if not from where this came.
        reply: Option<SocketAddr>,
    },
    /// IRR: these calls go on.
    InfoRequestResponse {
        /// endpointIdentifier.
        endpoint: Identifier<'a>,
        /// rasAddress.
        ras: Option<SocketAddr>,
        /// callSignalAddress.
        call_signal: Addresses<'a>,
        /// endpointAlias.
        aliases: Aliases<'a>,
        /// perCallInfo.
        calls: Calls<'a>,
    },
    /// IACK.
    InfoRequestAck,
    /// INAK.
    InfoRequestNak {
        /// Why.
        reason: &'static str,
    },
    /// RIP: the answer takes longer.
    RequestInProgress {
        /// Milliseconds.
        delay: u16,
    },
    /// RAI: how much an endpoint can still do.
    ResourcesAvailableIndicate {
        /// Not much.
        almost_out: bool,
    },
    /// RAC.
    ResourcesAvailableConfirm,
    /// SCI; with H.460.18 an incoming call is told of by it.
    ServiceControlIndication,
    /// SCR.
    ServiceControlResponse,
    /// A manufacturer's own.
    NonStandardMessage,
    /// XRS: the message of this number was not understood.
    UnknownMessageResponse,
    /// One that a later version has added.
    Unknown,
}

/// What an ACF says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission<'a> {
    /// Where the call is to be made.
    pub destination: Option<SocketAddr>,
    /// What is at that address: the other endpoint, or the gatekeeper.
    pub model: CallModel,
    /// Both directions, in 100 bit/s.
    pub bandwidth: u32,
    /// Where else it may be made (alternateEndpoints).
    pub alternates: Alternates<'a>,
}

/// The ACFs of an AdmissionConfirmSequence.
#[derive(Clone, Copy, Debug)]
pub struct Admissions<'a>(List<'a>);

impl<'a> Admissions<'a> {
    /// What they say, the best first.
    pub fn iter(self) -> impl Iterator<Item = Admission<'a>> {
        self.0.iter(read::admission)
    }
}

impl PartialEq for Admissions<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Admissions<'_> {}

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

impl Body<'_> {
    /// The message's name in the standard.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GatekeeperRequest { .. } => NAMES[0],
            Self::GatekeeperConfirm { .. } => NAMES[1],
            Self::GatekeeperReject { .. } => NAMES[2],
            Self::RegistrationRequest { .. } => NAMES[3],
            Self::RegistrationConfirm { .. } => NAMES[4],
            Self::RegistrationReject { .. } => NAMES[5],
            Self::UnregistrationRequest { .. } => NAMES[6],
            Self::UnregistrationConfirm => NAMES[7],
            Self::UnregistrationReject { .. } => NAMES[8],
            Self::AdmissionRequest { .. } => NAMES[9],
            Self::AdmissionConfirm { .. } => NAMES[10],
            Self::AdmissionReject { .. } => NAMES[11],
            Self::BandwidthRequest { .. } => NAMES[12],
            Self::BandwidthConfirm { .. } => NAMES[13],
            Self::BandwidthReject { .. } => NAMES[14],
            Self::DisengageRequest { .. } => NAMES[15],
            Self::DisengageConfirm => NAMES[16],
            Self::DisengageReject { .. } => NAMES[17],
            Self::LocationRequest { .. } => NAMES[18],
            Self::LocationConfirm { .. } => NAMES[19],
            Self::LocationReject { .. } => NAMES[20],
            Self::InfoRequest { .. } => NAMES[21],
            Self::InfoRequestResponse { .. } => NAMES[22],
            Self::NonStandardMessage => NAMES[23],
            Self::UnknownMessageResponse => NAMES[24],
            Self::RequestInProgress { .. } => ADDED_NAMES[0],
            Self::ResourcesAvailableIndicate { .. } => ADDED_NAMES[1],
            Self::ResourcesAvailableConfirm => ADDED_NAMES[2],
            Self::InfoRequestAck => ADDED_NAMES[3],
            Self::InfoRequestNak { .. } => ADDED_NAMES[4],
            Self::ServiceControlIndication => ADDED_NAMES[5],
            Self::ServiceControlResponse => ADDED_NAMES[6],
            Self::AdmissionConfirmSequence(_) => ADDED_NAMES[7],
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests;
