//! H.225.0 call signalling (its annex H): the message within the User-User element.
//!
//! Reads what opens channels and names calls, and steps over the rest. A fault in a field that is read makes the
//! message unreadable, and so does one in the root of a type, where nothing behind it could be found again; an
//! extension that nobody here needs may hold anything.

pub(crate) mod types;

use std::net::SocketAddr;

use crate::per::{Alternative, Fault, Reader, Result, Strings, Type};
use types::{
    ALIASES, CALL_TYPE, CLEAR_TOKEN, ENDPOINT_TYPE, NON_STANDARD, ONE_OF_THREE, QSERIES_OPTIONS,
    SECURITY_MODE, aliases, call_identifier, transport_address,
};
pub use types::{Addresses, Alias, Guid};

/// Which message of h323-message-body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    Unknown,
}

/// Why a Facility was sent (FacilityReason), as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FacilityReason {
    /// The call is to be made to alternativeAddress, a gatekeeper.
    RouteCallToGatekeeper,
    /// The call is to be made to alternativeAddress, to which it is forwarded.
    CallForwarded,
    /// The call is to be made to alternativeAddress, an MC.
    RouteCallToMc,
    /// H.245 is to be started, at h245Address.
    StartH245,
    /// Any other.
    Other,
}

/// An H.225.0 call signalling message.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// First of sourceAddress.
    pub source: Option<Alias<'a>>,
    /// First of destinationAddress.
    pub destination: Option<Alias<'a>>,
    /// sourceCallSignalAddress.
    pub source_address: Option<SocketAddr>,
    /// destCallSignalAddress.
    pub destination_address: Option<SocketAddr>,
    /// Where a Facility asks the call to be made instead.
    pub alternative_address: Option<SocketAddr>,
    /// Why a Facility was sent.
    pub facility: Option<FacilityReason>,
}

impl<'a> Message<'a> {
    /// Reads an H323-UserInformation.
    ///
    /// # Errors
    /// Anything that keeps the message body, an address in it, its identifiers, or the tunnelled messages from
    /// being read.
    pub fn parse(encoding: &'a [u8]) -> Result<Self> {
        let r = &mut Reader::new(encoding);
        let mut message = Self {
            body: Body::Unknown,
            call: None,
            conference: None,
            h245_address: None,
            fast_start: Strings::default(),
            fast_connect_refused: false,
            tunnelling: false,
            h245_control: Strings::default(),
            parallel_h245_control: Strings::default(),
            source: None,
            destination: None,
            source_address: None,
            destination_address: None,
            alternative_address: None,
            facility: None,
        };
        // H323-UserInformation: h323-uu-pdu, then user-data, which nobody needs.
        r.preamble(1)?;
        // H323-UU-PDU
        let mut preamble = r.preamble(1)?;
        message.body(r)?;
        if preamble.optional() {
            r.skip(&NON_STANDARD)?;
        }
        for index in r.additions(preamble)? {
            match index {
                1 => message.tunnelling = r.open(Reader::bool)??,
                2 => message.h245_control = r.open(Reader::strings)??,
                _ => r.skip_open()?,
            }
        }
        Ok(message)
    }

    /// h323-message-body.
    fn body(&mut self, r: &mut Reader<'a>) -> Result<()> {
        match r.choice(7)? {
            Alternative::Root(0) => self.setup(r),
            Alternative::Root(1) => self.call_proceeding(r, Body::CallProceeding),
            Alternative::Root(2) => self.connect(r),
            Alternative::Root(3) => self.call_proceeding(r, Body::Alerting),
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
        r.skip(&Type::Bytes)?; // protocolIdentifier
        self.h245_address = optional_address(r, preamble.optional())?;
        if preamble.optional() {
            self.source = aliases(r)?;
        }
        r.skip(&ENDPOINT_TYPE)?; // sourceInfo
        if preamble.optional() {
            self.destination = aliases(r)?;
        }
        self.destination_address = optional_address(r, preamble.optional())?;
        if preamble.optional() {
            r.skip(&ALIASES)?; // destExtraCallInfo
        }
        if preamble.optional() {
            r.skip(&Type::ListOf(&Type::Integer(65_535)))?; // destExtraCRV
        }
        r.bool()?; // activeMC
        self.conference = Some(Guid(r.array()?));
        r.skip(&ONE_OF_THREE)?; // conferenceGoal
        if preamble.optional() {
            r.skip(&QSERIES_OPTIONS)?; // callServices
        }
        r.skip(&CALL_TYPE)?;
        for index in r.additions(preamble)? {
            match index {
                0 => self.source_address = r.open(transport_address)??,
                2 => self.call = Some(r.open(call_identifier)??),
                6 => self.fast_start = r.open(Reader::strings)??,
                24 => self.parallel_h245_control = r.open(Reader::strings)??,
                _ => r.skip_open()?,
            }
        }
        Ok(())
    }

    /// CallProceeding-UUIE, and Alerting-UUIE, which differs only in later extensions.
    fn call_proceeding(&mut self, r: &mut Reader<'a>, body: Body) -> Result<()> {
        self.body = body;
        let mut preamble = r.preamble(1)?;
        r.skip(&Type::Bytes)?; // protocolIdentifier
        r.skip(&ENDPOINT_TYPE)?; // destinationInfo
        self.h245_address = optional_address(r, preamble.optional())?;
        let refused = if body == Body::Alerting { 10 } else { 7 };
        for index in r.additions(preamble)? {
            match index {
                0 => self.call = Some(r.open(call_identifier)??),
                4 => self.fast_start = r.open(Reader::strings)??,
                _ => self.refusal_or_other(r, index == refused)?,
            }
        }
        Ok(())
    }

    fn connect(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Connect;
        let mut preamble = r.preamble(1)?;
        r.skip(&Type::Bytes)?; // protocolIdentifier
        self.h245_address = optional_address(r, preamble.optional())?;
        r.skip(&ENDPOINT_TYPE)?; // destinationInfo
        self.conference = Some(Guid(r.array()?));
        for index in r.additions(preamble)? {
            match index {
                0 => self.call = Some(r.open(call_identifier)??),
                4 => self.fast_start = r.open(Reader::strings)??,
                _ => self.refusal_or_other(r, index == 11)?,
            }
        }
        Ok(())
    }

    fn information(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Information;
        let preamble = r.preamble(0)?;
        r.skip(&Type::Bytes)?; // protocolIdentifier
        for index in r.additions(preamble)? {
            match index {
                0 => self.call = Some(r.open(call_identifier)??),
                3 => self.fast_start = r.open(Reader::strings)??,
                _ => self.refusal_or_other(r, index == 4)?,
            }
        }
        Ok(())
    }

    fn release_complete(&mut self, r: &mut Reader<'a>) -> Result<()> {
        /// The twelve reasons of ReleaseCompleteReason's root are all NULL.
        const REASON: Type = Type::OpenChoice(&[Type::Bits(0); 12]);
        self.body = Body::ReleaseComplete;
        let mut preamble = r.preamble(1)?;
        r.skip(&Type::Bytes)?; // protocolIdentifier
        if preamble.optional() {
            r.skip(&REASON)?;
        }
        for index in r.additions(preamble)? {
            match index {
                0 => self.call = Some(r.open(call_identifier)??),
                _ => r.skip_open()?,
            }
        }
        Ok(())
    }

    fn facility(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Facility;
        let mut preamble = r.preamble(3)?;
        r.skip(&Type::Bytes)?; // protocolIdentifier
        self.alternative_address = optional_address(r, preamble.optional())?;
        if preamble.optional() {
            r.skip(&ALIASES)?; // alternativeAliasAddress
        }
        if preamble.optional() {
            self.conference = Some(Guid(r.array()?));
        }
        self.facility = Some(match r.choice(4)? {
            Alternative::Root(0) => FacilityReason::RouteCallToGatekeeper,
            Alternative::Root(1) => FacilityReason::CallForwarded,
            Alternative::Root(2) => FacilityReason::RouteCallToMc,
            Alternative::Root(_) => FacilityReason::Other,
            Alternative::Added(index) => {
                r.skip_open()?;
                if index == 1 { FacilityReason::StartH245 } else { FacilityReason::Other }
            }
        });
        for index in r.additions(preamble)? {
            match index {
                0 => self.call = Some(r.open(call_identifier)??),
                6 => self.h245_address = r.open(transport_address)??,
                7 => self.fast_start = r.open(Reader::strings)??,
                _ => self.refusal_or_other(r, index == 10)?,
            }
        }
        Ok(())
    }

    /// Progress-UUIE has more in its root than the others.
    fn progress(&mut self, r: &mut Reader<'a>) -> Result<()> {
        self.body = Body::Progress;
        let mut preamble = r.preamble(5)?;
        r.skip(&Type::Bytes)?; // protocolIdentifier
        r.skip(&ENDPOINT_TYPE)?; // destinationInfo
        self.h245_address = optional_address(r, preamble.optional())?;
        self.call = Some(call_identifier(r)?);
        if preamble.optional() {
            r.skip(&SECURITY_MODE)?;
        }
        if preamble.optional() {
            r.skip(&Type::ListOf(&CLEAR_TOKEN))?;
        }
        if preamble.optional() {
            // cryptoTokens are not described here, so that what follows cannot be found: it opens nothing.
            return Ok(());
        }
        if preamble.optional() {
            self.fast_start = r.strings()?;
        }
        for index in r.additions(preamble)? {
            self.refusal_or_other(r, index == 2)?;
        }
        Ok(())
    }

    /// Status, StatusInquiry, SetupAcknowledge and Notify begin alike; what follows is not needed.
    fn identified(&mut self, r: &mut Reader<'a>) -> Result<()> {
        r.preamble(2)?;
        r.skip(&Type::Bytes)?; // protocolIdentifier
        self.call = Some(call_identifier(r)?);
        Ok(())
    }

    /// fastConnectRefused, a NULL, or an extension that is not needed.
    fn refusal_or_other(&mut self, r: &mut Reader<'a>, refusal: bool) -> Result<()> {
        self.fast_connect_refused |= refusal;
        r.skip_open()
    }
}

fn optional_address(r: &mut Reader<'_>, present: bool) -> Result<Option<SocketAddr>> {
    if present { transport_address(r) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::build::{self, Call, Media, Parts};
    use crate::h245::OpenLogicalChannel;
    use crate::q931;

    const CALL: Call = Call { reference: 77, id: *b"0123456789abcdef" };

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    fn here() -> Media {
        Media { rtp: at("192.0.2.1:17000"), rtcp: at("192.0.2.1:17001") }
    }

    /// The H.225.0 part of a TPKT.
    fn user_user(frame: &[u8]) -> Vec<u8> {
        q931::Message::parse(&frame[4..]).expect("Q.931").user_user.expect("User-User").to_vec()
    }

    /// Everything that can be in a message.
    fn full(address: &str) -> Parts {
        Parts {
            h245_address: Some(at(address)),
            fast_start: build::proposals(here()),
            tunnelling: true,
            h245_control: vec![build::end_session(), build::terminal_capability_set(true)],
        }
    }

    #[test]
    fn every_message_that_tells_channels() {
        for address in ["198.51.100.7:41000", "[2001:db8::7]:41000"] {
            let parts = full(address);
            let messages = [
                (Body::Setup, build::setup(&CALL, &parts)),
                (Body::CallProceeding, build::call_proceeding(&CALL, &parts)),
                (Body::Alerting, build::alerting(&CALL, &parts)),
                (Body::Progress, build::progress(&CALL, &parts)),
                (Body::Connect, build::connect(&CALL, &parts)),
                (Body::Facility, build::facility(&CALL, true, &parts)),
            ];
            for (body, frame) in messages {
                let encoding = user_user(&frame);
                let message = Message::parse(&encoding).expect("a message");
                assert_eq!(message.body, body);
                assert_eq!(message.call, Some(Guid(CALL.id)));
                assert_eq!(message.h245_address, Some(at(address)), "{body:?}");
                assert!(message.tunnelling);
                assert!(message.fast_start.eq(parts.fast_start.iter().map(Vec::as_slice)), "{body:?}");
                assert!(message.h245_control.eq(parts.h245_control.iter().map(Vec::as_slice)), "{body:?}");
            }
        }
    }

    #[test]
    fn a_release_has_its_identifier() {
        let encoding = user_user(&build::release_complete(&CALL, false, &Parts::default()));
        let message = Message::parse(&encoding).expect("a message");
        assert_eq!((message.body, message.call), (Body::ReleaseComplete, Some(Guid(CALL.id))));
    }

    #[test]
    fn a_forwarding_tells_where_to() {
        for address in ["198.51.100.7:2720", "[2001:db8::7]:2720"] {
            let encoding = user_user(&build::forward(&CALL, at(address)));
            let message = Message::parse(&encoding).expect("a message");
            assert_eq!(message.facility, Some(FacilityReason::CallForwarded));
            assert_eq!((message.alternative_address, message.h245_address), (Some(at(address)), None));
        }
    }

    #[test]
    fn names_of_a_setup() {
        let encoding = user_user(&build::setup(&CALL, &Parts::default()));
        let message = Message::parse(&encoding).expect("a message");
        assert_eq!(message.source.map(|alias| alias.to_string()).as_deref(), Some("1000"));
        assert_eq!(message.destination.map(|alias| alias.to_string()).as_deref(), Some("2000"));
    }

    #[test]
    fn aliases_of_every_form() {
        assert_eq!(Alias::Digits(3, &[0x30, 0x1f]).to_string(), "0#*");
        assert_eq!(Alias::Utf16(&[0, b'a', 0xd8, 0, 0, b'b']).to_string(), "a\u{fffd}b");
        assert_eq!(Alias::Text(b"h323:a@b\xff").to_string(), "h323:a@b?");
        assert_eq!(Alias::Other.to_string(), "");
    }

    #[test]
    fn an_address_cut_short_makes_the_message_unreadable() {
        let whole = user_user(&build::facility(&CALL, true, &full("198.51.100.7:41000")));
        let place = whole.windows(4).position(|window| window == [198, 51, 100, 7]).expect("the address");
        // Two octets in front of it: the length of its open type, and the choice.
        let mut cut = whole.clone();
        assert_eq!(cut[place - 2], 7);
        cut[place - 2] = 4;
        assert!(Message::parse(&cut).is_err());
    }

    #[test]
    fn an_extension_nobody_needs_may_hold_anything() {
        let whole = user_user(&build::setup(&CALL, &Parts::default()));
        // The four BOOLEANs at the end of Setup's extensions, each in an open type of one octet.
        let place = whole.windows(8).position(|w| w == [1, 0, 1, 0, 1, 0, 1, 0]).expect("the flags");
        let mut odd = whole.clone();
        odd[place + 1] = 0xff;
        assert_eq!(Message::parse(&odd).expect("readable").call, Some(Guid(CALL.id)));
    }

    #[test]
    fn every_cut_is_refused() {
        let whole = user_user(&build::setup(&CALL, &full("198.51.100.7:41000")));
        for end in 0..whole.len() {
            assert!(Message::parse(&whole[..end]).is_err(), "{end} octets");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(
            which in 0_usize..7,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let parts = full("[2001:db8::7]:41000");
            let mut encoding = user_user(&match which {
                0 => build::setup(&CALL, &parts),
                1 => build::call_proceeding(&CALL, &parts),
                2 => build::alerting(&CALL, &parts),
                3 => build::connect(&CALL, &parts),
                4 => build::facility(&CALL, true, &parts),
                5 => build::progress(&CALL, &parts),
                _ => build::release_complete(&CALL, true, &parts),
            });
            for (place, value) in damage {
                let place = place.index(encoding.len());
                encoding[place] = value;
            }
            if let Ok(message) = Message::parse(&encoding) {
                prop_assert!(message.fast_start.count() < encoding.len());
                for channel in message.fast_start {
                    let _ = OpenLogicalChannel::parse(channel);
                }
            }
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::parse(&noise);
        }
    }
}
