//! H.225.0 call signalling (its annex H): the message within the User-User element.
//!
//! Reads what opens channels and names calls, and steps over the rest. A fault in a field that is read makes the
//! message unreadable, and so does one in the root of a type, where nothing behind it could be found again; an
//! extension that nobody here needs may hold anything.

mod alias;
pub(crate) mod generic;
pub(crate) mod types;

use std::net::SocketAddr;

use crate::per::{Alternative, Fault, Reader, Result, Strings, Type};
pub use alias::{Alias, Aliases, Guid, Identifier};
use generic::{ABSENT, Common};
pub use generic::{Features, Tokens};
pub use types::Addresses;
use types::{
    ENDPOINT_TYPE, NON_STANDARD, QSERIES_OPTIONS, SECURITY_MODE, call_identifier, root_tokens,
    transport_address,
};

/// Which message of h323-message-body it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// A call is wanted.
    Setup,
    /// The call is on its way.
    CallProceeding,
    /// The call is answered.
    Connect,
    /// The callee is being alerted.
    Alerting,
    /// More digits.
    Information,
    /// The call is over.
    ReleaseComplete,
    /// Forwarding, H.245 procedures, supplementary services.
    Facility,
    /// Something has happened on the way.
    Progress,
    /// Nothing but what is beside the body: a carrier of tunnelled messages.
    Empty,
    /// Of the call.
    Status,
    /// Asks for a Status.
    StatusInquiry,
    /// More digits are wanted.
    SetupAcknowledge,
    /// Of the other party.
    Notify,
    /// One that a later version has added.
    #[default]
    Unknown,
}

impl Body {
    /// The message's name in the standard.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::CallProceeding => "callProceeding",
            Self::Connect => "connect",
            Self::Alerting => "alerting",
            Self::Information => "information",
            Self::ReleaseComplete => "releaseComplete",
            Self::Facility => "facility",
            Self::Progress => "progress",
            Self::Empty => "empty",
            Self::Status => "status",
            Self::StatusInquiry => "statusInquiry",
            Self::SetupAcknowledge => "setupAcknowledge",
            Self::Notify => "notify",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a Facility was sent (FacilityReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FacilityReason {
    /// The call is to be made to alternativeAddress, a gatekeeper.
    RouteCallToGatekeeper,
    /// The call is to be made to alternativeAddress, to which it is forwarded.
    CallForwarded,
    /// The call is to be made to alternativeAddress, an MC.
    RouteCallToMc,
    /// It is not said.
    Undefined,
    /// A conference is to be chosen.
    ConferenceListChoice,
    /// H.245 is to be started, at h245Address.
    StartH245,
    /// The sender does not do H.245.
    NoH245,
    /// New tokens are to be used.
    NewTokens,
    /// The features have changed.
    FeatureSetUpdate,
    /// Elements of another message are passed on.
    ForwardedElements,
    /// Something is carried along.
    TransportedInformation,
    /// Any other.
    Other,
}

impl FacilityReason {
    /// Its name in the standard.
    pub fn name(self) -> &'static str {
        match self {
            Self::RouteCallToGatekeeper => "routeCallToGatekeeper",
            Self::CallForwarded => "callForwarded",
            Self::RouteCallToMc => "routeCallToMC",
            Self::Undefined => "undefinedReason",
            Self::ConferenceListChoice => "conferenceListChoice",
            Self::StartH245 => "startH245",
            Self::NoH245 => "noH245",
            Self::NewTokens => "newTokens",
            Self::FeatureSetUpdate => "featureSetUpdate",
            Self::ForwardedElements => "forwardedElements",
            Self::TransportedInformation => "transportedInformation",
            Self::Other => "unknown",
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(match r.one_of(4)? {
            Alternative::Root(0) => Self::RouteCallToGatekeeper,
            Alternative::Root(1) => Self::CallForwarded,
            Alternative::Root(2) => Self::RouteCallToMc,
            Alternative::Root(_) => Self::Undefined,
            Alternative::Added(0) => Self::ConferenceListChoice,
            Alternative::Added(1) => Self::StartH245,
            Alternative::Added(2) => Self::NoH245,
            Alternative::Added(3) => Self::NewTokens,
            Alternative::Added(4) => Self::FeatureSetUpdate,
            Alternative::Added(5) => Self::ForwardedElements,
            Alternative::Added(6) => Self::TransportedInformation,
            Alternative::Added(_) => Self::Other,
        })
    }
}

/// An H.225.0 call signalling message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which it is.
    pub body: Body,
    /// callIdentifier: there since version 2.
    pub call: Option<Guid>,
    /// conferenceID.
    pub conference: Option<Guid>,
    /// Where the sender listens for an H.245 connection.
    pub h245_address: Option<SocketAddr>,
    /// The channels offered or accepted: each an [`OpenLogicalChannel`](crate::h245::OpenLogicalChannel) on its own.
    pub fast_start: Strings<'a>,
    /// The sender will accept none of the channels offered.
    pub fast_connect_refused: bool,
    /// h245Tunneling.
    pub tunnelling: bool,
    /// Tunnelled H.245 messages.
    pub h245_control: Strings<'a>,
    /// H.245 messages sent along with fastStart in a Setup (parallelH245Control).
    pub parallel_h245_control: Strings<'a>,
    /// Signalling of another protocol, such as QSIG, is tunnelled (tunnelledSignallingMessage).
    pub tunnelled_protocol: bool,
    /// sourceAddress.
    pub source: Aliases<'a>,
    /// destinationAddress.
    pub destination: Aliases<'a>,
    /// sourceCallSignalAddress.
    pub source_address: Option<SocketAddr>,
    /// destCallSignalAddress.
    pub destination_address: Option<SocketAddr>,
    /// Where a Facility asks the call to be made instead.
    pub alternative_address: Option<SocketAddr>,
    /// To whom a Facility asks the call to be made instead.
    pub alternative_alias: Aliases<'a>,
    /// Why a Facility was sent.
    pub facility: Option<FacilityReason>,
    /// Why a call was released, by the reason's name in the standard.
    pub release_reason: Option<&'static str>,
    /// The sender can have several calls on this connection.
    pub multiple_calls: Option<bool>,
    /// The sender can keep this connection when it has no call.
    pub maintain_connection: Option<bool>,
    /// H.235 tokens.
    pub tokens: Tokens,
    /// H.460 features.
    pub features: Features,
}

/// Where a kind of message has the extension additions that most kinds have; [`ABSENT`] if it has not.
struct Additions {
    call: u8,
    fast_start: u8,
    fast_connect_refused: u8,
    /// multipleCalls; maintainConnection is the next.
    multiple_calls: u8,
    common: Common,
}

const SETUP: Additions = Additions {
    call: 2,
    fast_start: 6,
    fast_connect_refused: ABSENT,
    multiple_calls: 10,
    common: Common { tokens: 4, crypto_tokens: 5, feature_set: ABSENT, generic_data: ABSENT },
};
const CALL_PROCEEDING: Additions = Additions {
    call: 0,
    fast_start: 4,
    fast_connect_refused: 7,
    multiple_calls: 5,
    common: Common { tokens: 2, crypto_tokens: 3, feature_set: 8, generic_data: ABSENT },
};
const ALERTING: Additions = Additions {
    fast_connect_refused: 10,
    common: Common { feature_set: 13, ..CALL_PROCEEDING.common },
    ..CALL_PROCEEDING
};
const CONNECT: Additions = Additions {
    fast_connect_refused: 11,
    common: Common { feature_set: 14, ..CALL_PROCEEDING.common },
    ..CALL_PROCEEDING
};
const INFORMATION: Additions = Additions {
    call: 0,
    fast_start: 3,
    fast_connect_refused: 4,
    multiple_calls: ABSENT,
    common: Common { tokens: 1, crypto_tokens: 2, feature_set: ABSENT, generic_data: ABSENT },
};
const RELEASE_COMPLETE: Additions = Additions {
    call: 0,
    fast_start: ABSENT,
    fast_connect_refused: ABSENT,
    multiple_calls: ABSENT,
    common: Common { tokens: 1, crypto_tokens: 2, feature_set: 8, generic_data: ABSENT },
};
const FACILITY: Additions = Additions {
    call: 0,
    fast_start: 7,
    fast_connect_refused: 10,
    multiple_calls: 8,
    common: Common { tokens: 3, crypto_tokens: 4, feature_set: 13, generic_data: ABSENT },
};
/// What the other kinds need of these lies in their roots.
const PROGRESS: Additions = Additions {
    call: ABSENT,
    fast_start: ABSENT,
    fast_connect_refused: 2,
    multiple_calls: 0,
    common: Common { tokens: ABSENT, crypto_tokens: ABSENT, feature_set: ABSENT, generic_data: ABSENT },
};

impl<'a> Message<'a> {
    /// Reads an H323-UserInformation.
    ///
    /// # Errors
    /// Anything that keeps the message body, an address in it, its identifiers, or the tunnelled messages from
    /// being read.
    pub fn parse(encoding: &'a [u8]) -> Result<Self> {
        let r = &mut Reader::new(encoding);
        let mut message = Self::default();
        // H323-UserInformation: h323-uu-pdu, then user-data, which nobody needs.
        r.preamble(1)?;
        // H323-UU-PDU
        let mut preamble = r.preamble(1)?;
        message.body(r)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        for index in r.additions(preamble)? {
            match index {
                1 => message.tunnelling = r.open(Reader::bool)??,
                2 => message.h245_control = r.open(Reader::strings)??,
                5 => {
                    r.skip_open()?;
                    message.tunnelled_protocol = true;
                }
                8 => message.features.list(r)?,
                _ => r.skip_open()?,
            }
        }
        Ok(message)
    }

    /// h323-message-body.
    fn body(&mut self, r: &mut Reader<'a>) -> Result<()> {
        match r.choice(7)? {
            Alternative::Root(0) => self.setup(r),
            Alternative::Root(1) => self.call_proceeding(r, Body::CallProceeding, &CALL_PROCEEDING),
            Alternative::Root(2) => self.connect(r),
            Alternative::Root(3) => self.call_proceeding(r, Body::Alerting, &ALERTING),
            Alternative::Root(4) => self.information(r),
            Alternative::Root(5) => self.release_complete(r),
            Alternative::Root(6) => self.facility(r),
            Alternative::Root(_) => Err(r.error(Fault::Range)),
            Alternative::Added(0) => r.open(|r| self.progress(r))?,
            Alternative::Added(index) => {
                self.body = match index {
                    1 => Body::Empty,
                    2 => Body::Status,
                    3 => Body::StatusInquiry,
                    4 => Body::SetupAcknowledge,
                    5 => Body::Notify,
                    _ => Body::Unknown,
                };
                match self.body {
                    Body::Empty | Body::Unknown => r.skip_open(),
                    _ => r.open(|r| self.identified(r))?,
                }
            }
        }
    }

    fn setup(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Setup;
        let mut preamble = r.preamble(7)?;
        r.bytes()?; // protocolIdentifier
        self.h245_address = optional_address(r, preamble.optional())?;
        if preamble.optional() {
            self.source = Aliases::read(r)?;
        }
        r.skip(&ENDPOINT_TYPE)?; // sourceInfo
        if preamble.optional() {
            self.destination = Aliases::read(r)?;
        }
        self.destination_address = optional_address(r, preamble.optional())?;
        if preamble.optional() {
            Aliases::read(r)?; // destExtraCallInfo
        }
        r.skip_if(preamble.optional(), &Type::ListOf(&Type::Integer(65_535)))?; // destExtraCRV
        r.bool()?; // activeMC
        self.conference = Some(Guid(r.array()?));
        r.one_of(3)?; // conferenceGoal
        r.skip_if(preamble.optional(), &QSERIES_OPTIONS)?; // callServices
        r.one_of(4)?; // callType
        for index in r.additions(preamble)? {
            match index {
                0 => self.source_address = r.open(transport_address)??,
                // neededFeatures, desiredFeatures, supportedFeatures
                21..=23 => self.features.list(r)?,
                24 => self.parallel_h245_control = r.open(Reader::strings)??,
                _ => self.addition(r, index, &SETUP)?,
            }
        }
        Ok(())
    }

    /// CallProceeding-UUIE, and Alerting-UUIE, which differs only in later extensions.
    fn call_proceeding(&mut self, r: &mut Reader<'a>, body: Body, additions: &Additions) -> Result<()> {
        self.body = body;
        let mut preamble = r.preamble(1)?;
        r.bytes()?; // protocolIdentifier
        r.skip(&ENDPOINT_TYPE)?; // destinationInfo
        self.h245_address = optional_address(r, preamble.optional())?;
        for index in r.additions(preamble)? {
            self.addition(r, index, additions)?;
        }
        Ok(())
    }

    fn connect(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Connect;
        let mut preamble = r.preamble(1)?;
        r.bytes()?; // protocolIdentifier
        self.h245_address = optional_address(r, preamble.optional())?;
        r.skip(&ENDPOINT_TYPE)?; // destinationInfo
        self.conference = Some(Guid(r.array()?));
        for index in r.additions(preamble)? {
            self.addition(r, index, &CONNECT)?;
        }
        Ok(())
    }

    fn information(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Information;
        let preamble = r.preamble(0)?;
        r.bytes()?; // protocolIdentifier
        for index in r.additions(preamble)? {
            self.addition(r, index, &INFORMATION)?;
        }
        Ok(())
    }

    fn release_complete(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::ReleaseComplete;
        let mut preamble = r.preamble(1)?;
        r.bytes()?; // protocolIdentifier
        if preamble.optional() {
            self.release_reason = Some(release_reason(r.one_of(12)?));
        }
        for index in r.additions(preamble)? {
            self.addition(r, index, &RELEASE_COMPLETE)?;
        }
        Ok(())
    }

    fn facility(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Facility;
        let mut preamble = r.preamble(3)?;
        r.bytes()?; // protocolIdentifier
        self.alternative_address = optional_address(r, preamble.optional())?;
        if preamble.optional() {
            self.alternative_alias = Aliases::read(r)?;
        }
        if preamble.optional() {
            self.conference = Some(Guid(r.array()?));
        }
        self.facility = Some(FacilityReason::read(r)?);
        for index in r.additions(preamble)? {
            match index {
                6 => self.h245_address = r.open(transport_address)??,
                _ => self.addition(r, index, &FACILITY)?,
            }
        }
        Ok(())
    }

    /// Progress-UUIE has more in its root than the others.
    fn progress(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Progress;
        let mut preamble = r.preamble(5)?;
        r.bytes()?; // protocolIdentifier
        r.skip(&ENDPOINT_TYPE)?; // destinationInfo
        self.h245_address = optional_address(r, preamble.optional())?;
        self.call = Some(call_identifier(r)?);
        r.skip_if(preamble.optional(), &SECURITY_MODE)?;
        self.tokens = root_tokens(r, preamble.optional(), preamble.optional())?;
        if preamble.optional() {
            self.fast_start = r.strings()?;
        }
        for index in r.additions(preamble)? {
            self.addition(r, index, &PROGRESS)?;
        }
        Ok(())
    }

    /// Status, StatusInquiry, SetupAcknowledge and Notify begin alike; what follows is not needed.
    fn identified(&mut self, r: &mut Reader<'a>) -> Result<()> {
        let mut preamble = r.preamble(2)?;
        r.bytes()?; // protocolIdentifier
        self.call = Some(call_identifier(r)?);
        self.tokens = root_tokens(r, preamble.optional(), preamble.optional()).unwrap_or_default();
        Ok(())
    }

    /// Extension `index` of a kind of message that has these.
    fn addition(&mut self, r: &mut Reader<'a>, index: u8, additions: &Additions) -> Result<()> {
        if index == additions.call {
            self.call = Some(r.open(call_identifier)??);
        } else if index == additions.fast_start {
            self.fast_start = r.open(Reader::strings)??;
        } else if index == additions.multiple_calls {
            self.multiple_calls = r.open(Reader::bool)?.ok();
        } else if additions.multiple_calls != ABSENT && index == additions.multiple_calls + 1 {
            self.maintain_connection = r.open(Reader::bool)?.ok();
        } else if index == additions.fast_connect_refused {
            // A NULL: that it is there is all it says.
            r.skip_open()?;
            self.fast_connect_refused = true;
        } else {
            additions.common.read(r, index, &mut self.tokens, &mut self.features)?;
        }
        Ok(())
    }
}

/// The name of a ReleaseCompleteReason.
fn release_reason(taken: Alternative) -> &'static str {
    const ROOT: [&str; 12] = [
        "noBandwidth",
        "gatekeeperResources",
        "unreachableDestination",
        "destinationRejection",
        "invalidRevision",
        "noPermission",
        "unreachableGatekeeper",
        "gatewayResources",
        "badFormatAddress",
        "adaptiveBusy",
        "inConf",
        "undefinedReason",
    ];
    const ADDED: [&str; 13] = [
        "facilityCallDeflection",
        "securityDenied",
        "calledPartyNotRegistered",
        "callerNotRegistered",
        "newConnectionNeeded",
        "nonStandardReason",
        "replaceWithConferenceInvite",
        "genericDataReason",
        "neededFeatureNotSupported",
        "tunnelledSignallingRejected",
        "invalidCID",
        "securityError",
        "hopCountExceeded",
    ];
    taken.name(&ROOT, &ADDED)
}

fn optional_address(r: &mut Reader<'_>, present: bool) -> Result<Option<SocketAddr>> {
    if present { transport_address(r) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
