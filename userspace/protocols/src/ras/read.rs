//! Reads RAS messages, kind by kind.

use super::{Admission, Admissions, Alternates, Body, CallModel, Calls, Message, PreGranted, reason};
use crate::h225::generic::{ABSENT, Common};
use crate::h225::types::{
    ALIASES, ENDPOINT_TYPE, IDENTIFIER, NON_STANDARD, QSERIES_OPTIONS, SUPPORTED_PROTOCOLS, VENDOR,
    call_identifier, root_tokens, transport_address,
};
use crate::h225::{Addresses, Aliases, Features, Guid, Identifier, Tokens};
use crate::per::Field::Must;
use crate::per::{Alternative, Preamble, Reader, Result, Type, open, sequence};

/// Where a kind of message has tokens and features, if it has.
const fn common(tokens: u8, feature_set: u8, generic_data: u8) -> Common {
    // cryptoTokens always come next to tokens.
    Common { tokens, crypto_tokens: tokens + 1, feature_set, generic_data }
}

impl<'a> Message<'a> {
    /// Reads a RasMessage: a datagram's whole payload.
    ///
    /// # Errors
    /// Anything that keeps an address, a name, a life or an identifier from being read.
    pub fn parse(encoding: &'a [u8]) -> Result<Self> {
        let r = &mut Reader::new(encoding);
        match r.choice(25)? {
            Alternative::Root(index) => Self::root(r, index),
            Alternative::Added(index) => r.open(|r| Self::added(r, index))?,
        }
    }

    /// A message that tells nothing but its number, so far.
    fn new(sequence: u16, body: Body<'a>) -> Self {
        Self { sequence, body, tokens: Tokens::default(), features: Features::default() }
    }

    /// Reads one of the 25 kinds that version 1 has.
    fn root(r: &mut Reader<'a>, index: u8) -> Result<Self> {
        match index {
            0 => Self::gatekeeper_request(r),
            1 => Self::gatekeeper_confirm(r),
            2 => Self::gatekeeper_reject(r),
            3 => Self::registration_request(r),
            4 => Self::registration_confirm(r),
            5 => Self::registration_reject(r),
            6 => Self::unregistration_request(r),
            7 => Self::plain(r, Body::UnregistrationConfirm, common(0, ABSENT, 3)),
            8 => Self::unregistration_reject(r),
            9 => Self::admission_request(r),
            10 => Self::admission_confirm(r),
            11 => Self::admission_reject(r),
            12 => Self::bandwidth_request(r),
            13 => Self::bandwidth_confirm(r),
            14 => Self::bandwidth_reject(r),
            15 => Self::disengage_request(r),
            16 => Self::plain(r, Body::DisengageConfirm, common(0, ABSENT, 6)),
            17 => Self::disengage_reject(r),
            18 => Self::location_request(r),
            19 => Self::location_confirm(r),
            20 => Self::location_reject(r),
            21 => Self::info_request(r),
            22 => Self::info_request_response(r),
            23 => Self::non_standard_message(r),
            _ => Self::unknown_message_response(r),
        }
    }

    /// Reads one that a later version has added, from its open type.
    fn added(r: &mut Reader<'a>, index: u8) -> Result<Self> {
        match index {
            0 => Self::request_in_progress(r),
            1 => Self::resources_available_indicate(r),
            2 => Self::resources_available_confirm(r),
            3 => Self::info_request_ack(r),
            4 => Self::info_request_nak(r),
            5 => Self::service_control_indication(r),
            6 => Self::service_control_response(r),
            7 => Self::admission_confirm_sequence(r),
            _ => Ok(Self::new(0, Body::Unknown)),
        }
    }

    /// Reads the additions of a message that needs none of its own.
    #[inline]
    fn additions(mut self, r: &mut Reader<'a>, preamble: Preamble, common: Common) -> Result<Self> {
        for index in r.additions(preamble)? {
            self.addition(r, index, &common)?;
        }
        Ok(self)
    }

    fn addition(&mut self, r: &mut Reader<'a>, index: u8, common: &Common) -> Result<()> {
        common.read(r, index, &mut self.tokens, &mut self.features)
    }

    /// A confirmation that says no more than that.
    fn plain(r: &mut Reader<'a>, body: Body<'a>, common: Common) -> Result<Self> {
        let mut preamble = r.preamble(1)?;
        let sequence = number(r)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        Self::new(sequence, body).additions(r, preamble, common)
    }

    fn gatekeeper_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(4)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let ras = transport_address(r)?;
        r.skip(&ENDPOINT_TYPE)?;
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
        r.skip_if(preamble.optional(), &QSERIES_OPTIONS)?; // callServices
        let aliases = optional_aliases(r, preamble.optional())?;
        let body = Body::GatekeeperRequest { ras, aliases };
        Self::new(sequence, body).additions(r, preamble, common(1, 8, 9))
    }

    fn gatekeeper_confirm(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(2)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
        let ras = transport_address(r)?;
        let mut message = Self::new(sequence, Body::Unknown);
        let mut alternates = Alternates::default();
        for index in r.additions(preamble)? {
            match index {
                0 => alternates = Alternates::gatekeepers(r)?,
                _ => message.addition(r, index, &common(2, 7, 8))?,
            }
        }
        message.body = Body::GatekeeperConfirm { ras, alternates };
        Ok(message)
    }

    fn gatekeeper_reject(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(2)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
        let body = Body::GatekeeperReject { reason: reason::gatekeeper(r)? };
        Self::new(sequence, body).additions(r, preamble, common(1, 4, 5))
    }

    fn registration_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(3)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        r.bool()?; // discoveryComplete
        let call_signal = Addresses::read(r)?;
        let ras = Addresses::read(r)?;
        r.skip(&ENDPOINT_TYPE)?; // terminalType
        let aliases = optional_aliases(r, preamble.optional())?;
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
        r.skip(&VENDOR)?; // endpointVendor
        let mut message = Self::new(sequence, Body::Unknown);
        let (mut time_to_live, mut keep_alive, mut endpoint) = (None, false, None);
        for index in r.additions(preamble)? {
            match index {
                1 => time_to_live = Some(r.open(seconds)??),
                5 => keep_alive = r.open(Reader::bool)??,
                6 => endpoint = Some(r.open(Identifier::read)??),
                _ => message.addition(r, index, &common(2, 19, 20))?,
            }
        }
        message.body =
            Body::RegistrationRequest { call_signal, ras, time_to_live, keep_alive, aliases, endpoint };
        Ok(message)
    }

    fn registration_confirm(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(3)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let call_signal = Addresses::read(r)?;
        let aliases = optional_aliases(r, preamble.optional())?;
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
        let endpoint = Identifier::read(r)?;
        let mut message = Self::new(sequence, Body::Unknown);
        let (mut time_to_live, mut pre_granted, mut alternates) = (None, None, Alternates::default());
        for index in r.additions(preamble)? {
            match index {
                0 => alternates = Alternates::gatekeepers(r)?,
                1 => time_to_live = Some(r.open(seconds)??),
                // Whoever cannot read it has been granted nothing.
                6 => pre_granted = r.open(PreGranted::read)?.ok(),
                _ => message.addition(r, index, &common(2, 15, 16))?,
            }
        }
        message.body = Body::RegistrationConfirm {
            call_signal,
            time_to_live,
            aliases,
            endpoint,
            pre_granted,
            alternates,
        };
        Ok(message)
    }

    fn registration_reject(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(2)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let body = Body::RegistrationReject { reason: reason::registration(r)? };
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // gatekeeperIdentifier
        Self::new(sequence, body).additions(r, preamble, common(1, 4, 5))
    }

    fn unregistration_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(3)?;
        let sequence = number(r)?;
        let call_signal = Addresses::read(r)?;
        let aliases = optional_aliases(r, preamble.optional())?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let endpoint = if preamble.optional() { Some(Identifier::read(r)?) } else { None };
        let body = Body::UnregistrationRequest { call_signal, aliases, endpoint };
        Self::new(sequence, body).additions(r, preamble, common(2, ABSENT, 9))
    }

    fn unregistration_reject(r: &mut Reader<'a>) -> Result<Self> {
        let (sequence, preamble, reason) = reject(r, reason::unregistration)?;
        let body = Body::UnregistrationReject { reason };
        Self::new(sequence, body).additions(r, preamble, common(1, ABSENT, 4))
    }

    fn admission_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(7)?;
        let sequence = number(r)?;
        r.one_of(4)?; // callType
        let model = if preamble.optional() { Some(CallModel::read(r)?) } else { None };
        let endpoint = Identifier::read(r)?;
        let destination = optional_aliases(r, preamble.optional())?;
        let destination_address = if preamble.optional() { transport_address(r)? } else { None };
        r.skip_if(preamble.optional(), &ALIASES)?; // destExtraCallInfo
        let source = Aliases::read(r)?;
        let source_address = if preamble.optional() { transport_address(r)? } else { None };
        let bandwidth = r.integer(u32::MAX)?;
        let reference = r.u16()?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        r.skip_if(preamble.optional(), &QSERIES_OPTIONS)?; // callServices
        let conference = Guid(r.array()?);
        r.bool()?; // activeMC
        let answer = r.bool()?;
        let mut message = Self::new(sequence, Body::Unknown);
        let mut call = None;
        for index in r.additions(preamble)? {
            match index {
                1 => call = Some(r.open(call_identifier)??),
                _ => message.addition(r, index, &common(5, 16, 17))?,
            }
        }
        message.body = Body::AdmissionRequest {
            call,
            conference,
            reference,
            answer,
            model,
            endpoint,
            source,
            destination,
            source_address,
            destination_address,
            bandwidth,
        };
        Ok(message)
    }

    fn admission_confirm(r: &mut Reader<'a>) -> Result<Self> {
        let mut message = Self::new(0, Body::Unknown);
        let (sequence, admission) =
            admission_confirm(r, |r, index| message.addition(r, index, &common(5, 19, 20)))?;
        (message.sequence, message.body) = (sequence, Body::AdmissionConfirm(admission));
        Ok(message)
    }

    fn admission_confirm_sequence(r: &mut Reader<'a>) -> Result<Self> {
        let list = r.list(|r| admission_confirm(r, |r, _| r.skip_open()))?;
        let first = list.iter(|r| admission_confirm(r, |r, _| r.skip_open())).next();
        let sequence = first.map_or(0, |(sequence, _)| sequence);
        Ok(Self::new(sequence, Body::AdmissionConfirmSequence(Admissions(list))))
    }

    fn admission_reject(r: &mut Reader<'a>) -> Result<Self> {
        let (sequence, preamble, reason) = reject(r, reason::admission)?;
        let body = Body::AdmissionReject { reason };
        Self::new(sequence, body).additions(r, preamble, common(1, 6, 7))
    }

    fn bandwidth_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(2)?;
        let sequence = number(r)?;
        let endpoint = Identifier::read(r)?;
        let conference = Guid(r.array()?);
        let reference = r.u16()?;
        if preamble.optional() {
            r.one_of(4)?; // callType
        }
        let bandwidth = r.integer(u32::MAX)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let mut message = Self::new(sequence, Body::Unknown);
        let call = message.identified(r, preamble, &common(2, ABSENT, 10))?;
        message.body = Body::BandwidthRequest { call, conference, reference, endpoint, bandwidth };
        Ok(message)
    }

    fn bandwidth_confirm(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(1)?;
        let sequence = number(r)?;
        let body = Body::BandwidthConfirm { bandwidth: r.integer(u32::MAX)? };
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        Self::new(sequence, body).additions(r, preamble, common(0, ABSENT, 4))
    }

    fn bandwidth_reject(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(1)?;
        let sequence = number(r)?;
        let body = Body::BandwidthReject { reason: reason::bandwidth(r)? };
        r.integer(u32::MAX)?; // allowedBandWidth
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        Self::new(sequence, body).additions(r, preamble, common(1, ABSENT, 4))
    }

    fn disengage_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(1)?;
        let sequence = number(r)?;
        let endpoint = Identifier::read(r)?;
        let conference = Guid(r.array()?);
        let reference = r.u16()?;
        r.one_of(3)?; // disengageReason
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let mut message = Self::new(sequence, Body::Unknown);
        let call = message.identified(r, preamble, &common(2, ABSENT, 12))?;
        message.body = Body::DisengageRequest { call, conference, reference, endpoint };
        Ok(message)
    }

    fn disengage_reject(r: &mut Reader<'a>) -> Result<Self> {
        let (sequence, preamble, reason) = reject(r, reason::disengagement)?;
        let body = Body::DisengageReject { reason };
        Self::new(sequence, body).additions(r, preamble, common(1, ABSENT, 4))
    }

    fn location_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(2)?;
        let sequence = number(r)?;
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // endpointIdentifier
        let destination = Aliases::read(r)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let reply = transport_address(r)?;
        let mut message = Self::new(sequence, Body::Unknown);
        let mut source = Aliases::default();
        for index in r.additions(preamble)? {
            match index {
                0 => source = r.open(Aliases::read)??,
                _ => message.addition(r, index, &common(3, 8, 9))?,
            }
        }
        message.body = Body::LocationRequest { reply, destination, source };
        Ok(message)
    }

    fn location_confirm(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(1)?;
        let sequence = number(r)?;
        let call_signal = transport_address(r)?;
        let ras = transport_address(r)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let mut message = Self::new(sequence, Body::Unknown);
        let mut alternates = Alternates::default();
        for index in r.additions(preamble)? {
            match index {
                4 => alternates = Alternates::endpoints(r)?,
                _ => message.addition(r, index, &common(5, 11, 12))?,
            }
        }
        message.body = Body::LocationConfirm { call_signal, ras, alternates };
        Ok(message)
    }

    fn location_reject(r: &mut Reader<'a>) -> Result<Self> {
        let (sequence, preamble, reason) = reject(r, reason::location)?;
        let body = Body::LocationReject { reason };
        Self::new(sequence, body).additions(r, preamble, common(1, 4, 5))
    }

    fn info_request(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(2)?;
        let sequence = number(r)?;
        let reference = r.u16()?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let reply = if preamble.optional() { transport_address(r)? } else { None };
        let mut message = Self::new(sequence, Body::Unknown);
        let call = message.identified(r, preamble, &common(1, ABSENT, 10))?;
        message.body = Body::InfoRequest { call, reference, reply };
        Ok(message)
    }

    fn info_request_response(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(3)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let sequence = number(r)?;
        r.skip(&ENDPOINT_TYPE)?;
        let endpoint = Identifier::read(r)?;
        let ras = transport_address(r)?;
        let call_signal = Addresses::read(r)?;
        let aliases = optional_aliases(r, preamble.optional())?;
        let calls = if preamble.optional() { Calls::read(r)? } else { Calls::default() };
        let body = Body::InfoRequestResponse { endpoint, ras, call_signal, aliases, calls };
        Self::new(sequence, body).additions(r, preamble, common(0, ABSENT, 7))
    }

    fn non_standard_message(r: &mut Reader<'a>) -> Result<Self> {
        let preamble = r.preamble(0)?;
        let sequence = number(r)?;
        r.skip(&NON_STANDARD)?;
        Self::new(sequence, Body::NonStandardMessage).additions(r, preamble, common(0, 3, 4))
    }

    fn unknown_message_response(r: &mut Reader<'a>) -> Result<Self> {
        let preamble = r.preamble(0)?;
        let sequence = number(r)?;
        Self::new(sequence, Body::UnknownMessageResponse).additions(r, preamble, common(0, ABSENT, ABSENT))
    }

    fn request_in_progress(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(4)?;
        let sequence = number(r)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let tokens = root_tokens(r, preamble.optional(), preamble.optional())?;
        r.skip_if(preamble.optional(), &INTEGRITY_CHECK)?;
        let delay = r.integer(65_534)? as u16 + 1;
        Ok(Self { tokens, ..Self::new(sequence, Body::RequestInProgress { delay }) })
    }

    fn resources_available_indicate(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(4)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        r.skip(&IDENTIFIER)?; // endpointIdentifier
        r.skip(&Type::ListOf(&SUPPORTED_PROTOCOLS))?;
        let body = Body::ResourcesAvailableIndicate { almost_out: r.bool()? };
        let tokens = root_tokens(r, preamble.optional(), preamble.optional())?;
        Ok(Self { tokens, ..Self::new(sequence, body) })
    }

    fn resources_available_confirm(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(4)?;
        let sequence = number(r)?;
        r.bytes()?; // protocolIdentifier
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let tokens = root_tokens(r, preamble.optional(), preamble.optional())?;
        Ok(Self { tokens, ..Self::new(sequence, Body::ResourcesAvailableConfirm) })
    }

    fn info_request_ack(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(4)?;
        let sequence = number(r)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let tokens = root_tokens(r, preamble.optional(), preamble.optional())?;
        Ok(Self { tokens, ..Self::new(sequence, Body::InfoRequestAck) })
    }

    fn info_request_nak(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(5)?;
        let sequence = number(r)?;
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let body = Body::InfoRequestNak { reason: reason::info(r)? };
        Ok(Self::new(sequence, body))
    }

    fn service_control_indication(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(8)?;
        let sequence = number(r)?;
        let mut message = Self::new(sequence, Body::ServiceControlIndication);
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        // Sessions are not described here. H.460.18 has none (its section 6), and what follows is for people.
        if r.length()? == 0 {
            // A fault in what follows harms nothing.
            let _ = message.indicated(r, preamble);
        }
        Ok(message)
    }

    /// What follows serviceControl in a ServiceControlIndication.
    fn indicated(&mut self, r: &mut Reader<'a>, mut preamble: Preamble) -> Result<()> {
        r.skip_if(preamble.optional(), &IDENTIFIER)?; // endpointIdentifier
        r.skip_if(preamble.optional(), &CALL_SPECIFIC)?;
        self.controlled(r, preamble)
    }

    fn service_control_response(r: &mut Reader<'a>) -> Result<Self> {
        let mut preamble = r.preamble(7)?;
        let sequence = number(r)?;
        if preamble.optional() {
            r.one_of(5)?; // result
        }
        r.skip_if(preamble.optional(), &NON_STANDARD)?;
        let mut message = Self::new(sequence, Body::ServiceControlResponse);
        let _ = message.controlled(r, preamble);
        Ok(message)
    }

    /// What both messages of service control end with.
    fn controlled(&mut self, r: &mut Reader<'a>, mut preamble: Preamble) -> Result<()> {
        self.tokens = root_tokens(r, preamble.optional(), preamble.optional())?;
        r.skip_if(preamble.optional(), &INTEGRITY_CHECK)?;
        if preamble.optional() {
            self.features.feature_set(r)?;
        }
        if preamble.optional() {
            self.features.generic_data(r)?;
        }
        Ok(())
    }

    /// The additions of a message whose first one is its callIdentifier.
    fn identified(
        &mut self,
        r: &mut Reader<'a>,
        preamble: Preamble,
        common: &Common,
    ) -> Result<Option<Guid>> {
        let mut call = None;
        for index in r.additions(preamble)? {
            match index {
                0 => call = Some(r.open(call_identifier)??),
                _ => self.addition(r, index, common)?,
            }
        }
        Ok(call)
    }
}

impl CallModel {
    #[inline]
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        Ok(match r.one_of(2)? {
            Alternative::Root(0) => Self::Direct,
            Alternative::Root(_) => Self::GatekeeperRouted,
            Alternative::Added(_) => Self::Unknown,
        })
    }
}

impl PreGranted {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        r.preamble(0)?;
        Ok(Self {
            make_call: r.bool()?,
            make_through_gatekeeper: r.bool()?,
            answer_call: r.bool()?,
            answer_through_gatekeeper: r.bool()?,
        })
    }
}

/// Reads an ACF; `other` reads the additions that are not needed here.
fn admission_confirm<'a>(
    r: &mut Reader<'a>,
    mut other: impl FnMut(&mut Reader<'a>, u8) -> Result<()>,
) -> Result<(u16, Admission<'a>)> {
    let mut preamble = r.preamble(2)?;
    let sequence = number(r)?;
    let bandwidth = r.integer(u32::MAX)?;
    let model = CallModel::read(r)?;
    let destination = transport_address(r)?;
    if preamble.optional() {
        r.u16()?; // irrFrequency
    }
    r.skip_if(preamble.optional(), &NON_STANDARD)?;
    let mut alternates = Alternates::default();
    for index in r.additions(preamble)? {
        match index {
            4 => alternates = Alternates::endpoints(r)?,
            _ => other(r, index)?,
        }
    }
    Ok((sequence, Admission { destination, model, bandwidth, alternates }))
}

/// Reads one ACF of a sequence.
pub(super) fn admission<'a>(r: &mut Reader<'a>) -> Result<Admission<'a>> {
    admission_confirm(r, |r, _| r.skip_open()).map(|(_, admission)| admission)
}

/// The beginning of a rejection whose reason comes first.
fn reject<'a>(
    r: &mut Reader<'a>,
    reason: impl FnOnce(&mut Reader<'a>) -> Result<&'static str>,
) -> Result<(u16, Preamble, &'static str)> {
    let mut preamble = r.preamble(1)?;
    let sequence = number(r)?;
    let reason = reason(r)?;
    r.skip_if(preamble.optional(), &NON_STANDARD)?;
    Ok((sequence, preamble, reason))
}

/// RequestSeqNum, INTEGER (1..65535).
#[inline]
fn number(r: &mut Reader<'_>) -> Result<u16> {
    Ok(r.integer(65_534)? as u16 + 1)
}

/// TimeToLive, INTEGER (1..4294967295).
fn seconds(r: &mut Reader<'_>) -> Result<u32> {
    Ok(r.integer(u32::MAX - 1)? + 1)
}

#[inline]
fn optional_aliases<'a>(r: &mut Reader<'a>, present: bool) -> Result<Aliases<'a>> {
    if present { Aliases::read(r) } else { Ok(Aliases::default()) }
}

/// ICV.
const INTEGRITY_CHECK: Type = sequence(&[Must(Type::Bytes), Must(Type::BitString)]);

/// callSpecific of a ServiceControlIndication.
const CALL_SPECIFIC: Type = open(&[
    Must(open(&[Must(Type::Octets(16))])), // callIdentifier
    Must(Type::Octets(16)),                // conferenceID
    Must(Type::Bits(1)),                   // answeredCall
]);
