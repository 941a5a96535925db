//! RAS: what endpoints register, and the addresses at which gatekeepers say a call, or the gatekeeper, is found.
//!
//! - `requests`: a confirmation counts only as the answer to a request that was seen
//! - `registrations`: who is registered with which gatekeeper, and for how long
//! - `admissions`: addresses that were told, open until their calls are over

pub(super) mod admissions;
pub(super) mod registrations;
mod requests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::h225::{Aliases, Features, Guid};
use callgate_protocols::ras::{self, Body, CallModel, Message};
use callgate_rules::{Addresses, H323Policy, UnknownMessage};
use callgate_shared::Reason;

use super::policy::{self, Why};
use super::{H460_18, Tracker};
use crate::action::{Context, EndReason, Verdict};
use crate::call::Medium;
use crate::core::Core;
use crate::event::{Event, EventKind};
use registrations::{Grant, Offer};
pub(super) use requests::Requests;
use requests::{Request, What};

/// Port of RAS: rules speak of it, so that it needs no pinhole.
const RAS_PORT: u16 = 1719;

impl Tracker {
    /// Reads a RAS datagram.
    pub fn ras(&mut self, core: &mut Core, context: &Context, payload: &[u8]) -> Verdict {
        let Ok(message) = Message::parse(payload) else { return policy::undecodable(core, context) };
        if let Err(verdict) = self.check_ras(core, context, &message) {
            return verdict;
        }
        let sequence = message.sequence;
        match &message.body {
            Body::GatekeeperRequest { .. } => self.requests.ask(context, sequence, What::Discovery),
            Body::RegistrationRequest { call_signal, ras, time_to_live, keep_alive, aliases, endpoint } => {
                let offer = Offer {
                    call_signal: call_signal.iter().collect(),
                    ras: ras.iter().collect(),
                    aliases: registrations::names(aliases),
                    identifier: endpoint.as_ref().map(registrations::text),
                    life: *time_to_live,
                    keep_alive: *keep_alive,
                    traversal: message.features.has(H460_18),
                };
                self.requests.ask(context, sequence, What::Registration(Box::new(offer)));
            }
            Body::AdmissionRequest { call, answer, .. } => {
                let emergency = is_emergency(core, &message.body);
                let what = What::Admission { call: *call, makes: !answer, emergency };
                self.requests.ask(context, sequence, what);
            }
            Body::LocationRequest { .. } => self.requests.ask(context, sequence, What::Location),
            Body::BandwidthRequest { .. } | Body::InfoRequest { .. } => {
                self.requests.ask(context, sequence, What::Other);
            }
            Body::UnregistrationRequest { call_signal, aliases, endpoint } => {
                let addresses: Vec<_> = call_signal.iter().collect();
                let gone = self.registrations.leave(core, context, *endpoint, (&addresses, aliases));
                for one in &gone {
                    self.admissions.leave(core, one.endpoint.ip(), one.gatekeeper.ip());
                }
                self.requests.ask(context, sequence, What::Unregistration(gone));
            }
            Body::DisengageRequest { call, .. } => {
                if let Some(call) = call {
                    self.disengage(core, context, *call);
                }
                self.requests.ask(context, sequence, What::Other);
            }
            Body::InfoRequestResponse { calls, .. } => {
                for call in calls.iter().filter_map(|call| call.call) {
                    self.goes_on(core, context, call);
                }
            }
            Body::RequestInProgress { delay } => {
                self.requests.wait(context, sequence, Duration::from_millis((*delay).into()));
            }
            _ => return self.answer(core, context, &message),
        }
        Verdict::Pass
    }

    /// A message that answers a request, or says nothing that matters here.
    fn answer(&mut self, core: &mut Core, context: &Context, message: &Message<'_>) -> Verdict {
        if !is_answer(&message.body) {
            return Verdict::Pass;
        }
        let Some(Request { from, what, .. }) = self.requests.answered(context, message.sequence) else {
            return Verdict::Pass;
        };
        match (&message.body, what) {
            (Body::GatekeeperConfirm { ras: Some(address), .. }, What::Discovery)
                if address.port() != RAS_PORT =>
            {
                self.admissions.open(core, context, from, None, (*address, Medium::Ras));
            }
            (
                Body::RegistrationConfirm {
                    call_signal, time_to_live, aliases, endpoint, pre_granted, ..
                },
                What::Registration(offer),
            ) => {
                let named = core.policy().h323(context.slot);
                let believed = |address: &SocketAddr| {
                    address.ip() == context.source.ip() || policy::is_named_gatekeeper(named, address.ip())
                };
                let grant = Grant {
                    calls_from: call_signal.iter().find(believed),
                    aliases: registrations::names(aliases),
                    identifier: registrations::text(endpoint),
                    life: *time_to_live,
                    pre_granted: *pre_granted,
                };
                self.registrations.enter(core, context, from, *offer, grant);
            }
            (Body::RegistrationReject { reason }, What::Registration(_)) => {
                core.tell(Event::new(context, EventKind::Rejected, &from.ip().to_string(), reason));
                self.registrations.rejected(core, context, from, reason);
            }
            (Body::UnregistrationReject { .. }, What::Unregistration(gone)) => {
                for registration in gone {
                    self.registrations.restore(core, context, registration);
                }
            }
            (Body::AdmissionConfirm(admission), What::Admission { call, makes, emergency }) => {
                let told = [*admission];
                let call = (call, makes, emergency);
                return self.admit(core, context, (message.sequence, from), call, &told);
            }
            (Body::AdmissionConfirmSequence(told), What::Admission { call, makes, emergency }) => {
                let told: Vec<_> = told.iter().take(MAX_CHOICES).collect();
                let call = (call, makes, emergency);
                return self.admit(core, context, (message.sequence, from), call, &told);
            }
            (Body::LocationConfirm { call_signal, alternates, .. }, What::Location) => {
                for address in call_signal.iter().copied().chain(alternates.iter()) {
                    self.admissions.open(core, context, from, None, (address, Medium::H225));
                }
            }
            _ => {}
        }
        Verdict::Pass
    }

    /// A gatekeeper has admitted a call that `from` asked for, and tells where to make it.
    fn admit(
        &mut self,
        core: &mut Core,
        context: &Context,
        (sequence, from): (u16, SocketAddr),
        (call, makes, emergency): (Option<Guid>, bool, bool),
        told: &[ras::Admission],
    ) -> Verdict {
        let policy = core.policy().h323(context.slot);
        let direct = |admission: &ras::Admission| {
            let mut addresses = admission.destination.iter().copied().chain(admission.alternates.iter());
            admission.model == CallModel::Direct
                || addresses.any(|address| !policy::is_named_gatekeeper(policy, address.ip()))
        };
        if makes && policy.routed_only && !emergency && told.iter().any(direct) {
            let request = admission_request(sequence, call);
            return policy::refuse_answer(core, context, &request, Why::NotRouted);
        }
        for admission in told.iter().filter(|_| makes) {
            for address in admission.destination.iter().copied().chain(admission.alternates.iter()) {
                self.admissions.open(core, context, from, call, (address, Medium::H225));
            }
        }
        Verdict::Pass
    }

    /// A call is over, says the endpoint that was admitted to it, or its gatekeeper to it.
    fn disengage(&mut self, core: &mut Core, context: &Context, call: Guid) {
        let parties = [context.source.ip(), context.destination.ip()];
        self.admissions.disengage(core, parties, call);
        let [source, destination] = parties;
        let by_gatekeeper =
            !self.registrations.is_endpoint(source) && self.registrations.is_endpoint(destination);
        let endpoint = if by_gatekeeper { destination } else { source };
        for id in self.load.legs_of(call) {
            let ends = self.legs.get(&id).map(|leg| leg.ends.map(|end| end.ip()));
            if ends.is_some_and(|ends| ends.contains(&endpoint)) {
                self.end(core, id, EndReason::ReleaseComplete);
            }
        }
    }

    /// A call goes on, says one of its endpoints.
    pub(super) fn goes_on(&mut self, core: &mut Core, context: &Context, call: Guid) {
        for id in self.load.legs_of(call) {
            if self
                .legs
                .get(&id)
                .is_some_and(|leg| leg.ends.iter().any(|end| end.ip() == context.source.ip()))
            {
                core.alive(context.now, id);
            }
        }
    }

    /// What the rules file says of a RAS message.
    fn check_ras(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message<'_>,
    ) -> Result<(), Verdict> {
        let (policy, scope) = (core.policy().h323(context.slot), core.policy().h323_scope(context.slot));
        let asks = is_request(&message.body);
        if is_emergency(core, &message.body) {
            return Ok(());
        }
        if asks && !self.load.may_ask((scope, context.source.ip()), context.now, policy.ras_rate) {
            return Err(Verdict::Drop(Reason::AlgRefused));
        }
        let policy = core.policy().h323(context.slot);
        let checked = check_gatekeeper(policy, context, &message.body)
            .and_then(|()| check_contents(policy, message))
            .and_then(|()| self.check_call(core, context, &message.body))
            .and_then(|()| self.check_policy(core, context, &message.body));
        checked.map_err(|why| policy::refuse_request(core, context, message, why))
    }

    /// What the call policy says of a call that is to be made, and of who registers.
    fn check_policy(&self, core: &mut Core, context: &Context, body: &Body<'_>) -> Result<(), Why> {
        match body {
            Body::AdmissionRequest { call, answer: false, source, destination, .. } => {
                self.check_admission(core, context, (*call, source, destination))
            }
            Body::RegistrationRequest { keep_alive: false, aliases, .. } => {
                let names = registrations::names(aliases);
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let address = context.source.ip().to_string();
                // One without a name is known by where it is.
                let names = if names.is_empty() { vec![address.as_str()] } else { names };
                core.may_register(context, &names).map_err(Why::Policy)
            }
            _ => Ok(()),
        }
    }

    /// A BRQ must be of a call that is known.
    fn check_call(&self, core: &mut Core, context: &Context, body: &Body<'_>) -> Result<(), Why> {
        let Body::BandwidthRequest { call: Some(call), .. } = body else { return Ok(()) };
        let parties = [context.source.ip(), context.destination.ip()];
        if !self.load.legs_of(*call).is_empty() || self.admissions.knows(parties, *call) {
            return Ok(());
        }
        Self::check_state(core, context, body.name(), Why::UnknownCall)
    }
}

/// Whether it asks for an emergency call.
fn is_emergency(core: &Core, body: &Body<'_>) -> bool {
    let (Body::AdmissionRequest { destination, .. } | Body::LocationRequest { destination, .. }) = body
    else {
        return false;
    };
    let called: Vec<_> = destination.iter().map(|alias| alias.to_string()).collect();
    core.is_emergency(&called.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Most ACFs that are read of one sequence.
const MAX_CHOICES: usize = 16;

/// RAS is between an endpoint and a gatekeeper: what endpoints ask goes to one, what gatekeepers answer comes from
/// one, and of anything else one is at either end.
fn check_gatekeeper(policy: &H323Policy, context: &Context, body: &Body<'_>) -> Result<(), Why> {
    if policy.gatekeepers == Addresses::Any {
        return Ok(());
    }
    let is = |ip: IpAddr| policy.gatekeepers.contains(ip);
    let (from, to) = (context.source.ip(), context.destination.ip());
    let fits = match body {
        Body::GatekeeperRequest { .. } | Body::LocationRequest { .. } => is(to) || to.is_multicast(),
        Body::RegistrationRequest { .. } | Body::AdmissionRequest { .. } => is(to),
        Body::GatekeeperConfirm { .. }
        | Body::GatekeeperReject { .. }
        | Body::RegistrationConfirm { .. }
        | Body::RegistrationReject { .. }
        | Body::AdmissionConfirm(_)
        | Body::AdmissionConfirmSequence(_)
        | Body::AdmissionReject { .. }
        | Body::LocationConfirm { .. }
        | Body::LocationReject { .. } => is(from),
        _ => is(from) || is(to),
    };
    fits.then_some(()).ok_or(Why::NotAGatekeeper)
}

/// Tokens, names, and whether the message is known at all.
fn check_contents(policy: &H323Policy, message: &Message<'_>) -> Result<(), Why> {
    if policy.unknown == UnknownMessage::Drop && message.body == Body::Unknown {
        return Err(Why::Unknown);
    }
    let signed = match message.body {
        Body::RegistrationRequest { .. }
        | Body::UnregistrationRequest { .. }
        | Body::AdmissionRequest { .. }
        | Body::BandwidthRequest { .. }
        | Body::DisengageRequest { .. }
        | Body::LocationRequest { .. } => message.tokens.any(),
        _ => true,
    };
    if policy.require_tokens && !signed {
        return Err(Why::NoTokens);
    }
    match &message.body {
        Body::AdmissionRequest { source, destination, .. } => {
            policy::parties_permitted(policy, [(None, source), (None, destination)])
        }
        // Who asks need not say for whom.
        Body::LocationRequest { source, destination, .. } if source.is_empty() => {
            policy::called_permitted(policy, destination)
        }
        Body::LocationRequest { source, destination, .. } => {
            policy::parties_permitted(policy, [(None, source), (None, destination)])
        }
        _ => Ok(()),
    }
}

/// Whether somebody wants something by it, rather than answers.
fn is_request(body: &Body<'_>) -> bool {
    matches!(
        body,
        Body::GatekeeperRequest { .. }
            | Body::RegistrationRequest { .. }
            | Body::UnregistrationRequest { .. }
            | Body::AdmissionRequest { .. }
            | Body::BandwidthRequest { .. }
            | Body::DisengageRequest { .. }
            | Body::LocationRequest { .. }
            | Body::InfoRequest { .. }
            | Body::InfoRequestResponse { .. }
            | Body::ResourcesAvailableIndicate { .. }
            | Body::ServiceControlIndication
            | Body::NonStandardMessage
            | Body::Unknown
    )
}

/// Whether it ends the wait for an answer.
fn is_answer(body: &Body<'_>) -> bool {
    !is_request(body) && !matches!(body, Body::RequestInProgress { .. } | Body::UnknownMessageResponse)
}

/// The request that an ACF of this number has answered, as far as a reject of it needs.
fn admission_request(sequence: u16, call: Option<Guid>) -> Message<'static> {
    let body = Body::AdmissionRequest {
        call,
        conference: Guid::default(),
        reference: 0,
        answer: false,
        model: None,
        endpoint: Default::default(),
        source: Aliases::default(),
        destination: Aliases::default(),
        source_address: None,
        destination_address: None,
        bandwidth: 0,
    };
    Message { sequence, body, tokens: Default::default(), features: Features::default() }
}
