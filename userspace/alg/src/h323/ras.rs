//! RAS: what endpoints register, and the addresses at which gatekeepers say a call, or the gatekeeper, is found.
//!
//! A confirmation counts only as the answer to a request that was seen, from the gatekeeper that was asked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::h225::Guid;
use callgate_protocols::ras::{Body, Message};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use super::{H225_PORT, Tracker, leg};
use crate::action::{Context, EndReason, Time, Verdict};
use crate::call::{Call, CallId, Medium, Party, State, Stream};
use crate::core::Core;

/// Port of RAS: rules speak of it, so that it needs no pinhole.
const RAS_PORT: u16 = 1719;
/// How long an answer is waited for: more than all retries take (H.225.0 table 17).
const PATIENCE: Duration = Duration::from_secs(30);
/// Most requests waiting for an answer.
const MAX_REQUESTS: usize = 4096;
/// Most calls that were begun for an admission or a gatekeeper.
const MAX_ADMISSIONS: usize = 4096;
/// How the keys of calls begin that stand for an address told by RAS.
const KEY: &str = "ras-";
/// Life of a registration whose confirmation tells none, and the longest that is believed.
const DEFAULT_LIFE: u32 = 300;
const LONGEST_LIFE: u32 = 24 * 3600;

/// Requests that wait for their answers, and what answers have opened.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By who asks, and the request's number.
    waiting: HashMap<(IpAddr, u16), Request>,
    /// Addresses that were opened for a call to be made, by who may make it.
    admissions: HashMap<(IpAddr, SocketAddr), (CallId, Option<Guid>)>,
}

#[derive(Debug)]
struct Request {
    at: Time,
    /// Who has sent it.
    from: SocketAddr,
    /// Who was asked; many, by multicast.
    gatekeeper: IpAddr,
    what: What,
}

#[derive(Debug)]
enum What {
    Discovery,
    /// Of these addresses, for so many seconds.
    Registration(Vec<IpAddr>, Option<u32>),
    Admission(Option<Guid>),
    Location,
}

impl Tracker {
    /// Reads a RAS datagram.
    pub fn ras(&mut self, core: &mut Core, context: &Context, payload: &[u8]) -> Verdict {
        let Ok(Message { sequence, body }) = Message::parse(payload) else {
            return Verdict::Drop(Reason::AlgMalformed);
        };
        let requests = &mut self.ras;
        match body {
            Body::GatekeeperRequest { .. } => requests.ask(context, sequence, What::Discovery),
            Body::RegistrationRequest { call_signal, ras, time_to_live: life, .. } => {
                let addresses = call_signal.iter().chain(ras.iter()).map(|address| address.ip()).collect();
                requests.ask(context, sequence, What::Registration(addresses, life));
            }
            Body::AdmissionRequest { call, answer: false } => {
                requests.ask(context, sequence, What::Admission(call))
            }
            Body::LocationRequest { .. } => requests.ask(context, sequence, What::Location),
            Body::UnregistrationRequest { call_signal } => {
                // From the endpoint, or from its gatekeeper.
                let (from, to) = (context.source.ip(), context.destination.ip());
                core.unregister(to, from);
                for address in call_signal.iter() {
                    core.unregister(from, address.ip());
                }
            }
            Body::DisengageRequest { call: Some(call) } => requests.disengage(core, context, call),
            Body::GatekeeperConfirm { ras: Some(address) } => {
                if let Some(Request { what: What::Discovery, from, .. }) =
                    requests.answered(context, sequence)
                    && address.port() != RAS_PORT
                {
                    requests.open(core, context, from, None, address, Medium::Ras);
                }
            }
            Body::RegistrationConfirm { time_to_live, .. } => {
                if let Some(Request { what: What::Registration(addresses, life), from, .. }) =
                    requests.answered(context, sequence)
                {
                    let life = time_to_live.or(life).unwrap_or(DEFAULT_LIFE).min(LONGEST_LIFE);
                    register(core, context, from.ip(), &addresses, life);
                }
            }
            Body::AdmissionConfirm { destination: Some(address) } => {
                if let Some(Request { what: What::Admission(call), from, .. }) =
                    requests.answered(context, sequence)
                    && address.port() != H225_PORT
                {
                    requests.admit(core, context, from, call, address);
                }
            }
            Body::LocationConfirm { call_signal: Some(address), .. } => {
                if let Some(Request { what: What::Location, from, .. }) = requests.answered(context, sequence)
                    && address.port() != H225_PORT
                {
                    requests.admit(core, context, from, None, address);
                }
            }
            _ => {}
        }
        Verdict::Pass
    }
}

impl Requests {
    /// Opens `address` for call signalling from `from`, who was told by the sender of `context` to call there.
    pub(super) fn admit(
        &mut self,
        core: &mut Core,
        context: &Context,
        from: SocketAddr,
        call: Option<Guid>,
        address: SocketAddr,
    ) {
        self.open(core, context, from, call, address, Medium::H225);
    }

    /// Takes up what an answer has opened in an earlier run; what was not answered then is asked again.
    pub(super) fn restore(&mut self, call: &Call) {
        let guid = call.key.strip_prefix(KEY).and_then(leg::guid);
        let callee = |stream: &Stream| stream.ends[Party::Callee as usize].media;
        if let Some(address) = call.streams.values().find_map(callee) {
            self.admissions.insert((call.signalling[Party::Caller as usize].ip(), address), (call.id, guid));
        }
    }

    fn open(
        &mut self,
        core: &mut Core,
        context: &Context,
        from: SocketAddr,
        guid: Option<Guid>,
        address: SocketAddr,
        medium: Medium,
    ) {
        let place = (from.ip(), address);
        self.admissions.retain(|_, (id, _)| core.call(*id).is_some());
        let known = self.admissions.get(&place).map(|(id, _)| *id);
        if known.is_none() && self.admissions.len() >= MAX_ADMISSIONS {
            return;
        }
        let asker = Context { source: from, destination: context.source, protocol: Inspect::Ras, ..*context };
        let key = guid.map_or_else(|| format!("{KEY}{address}"), |guid| format!("{KEY}{guid}"));
        let Some(id) = known.or_else(|| core.start_call(&asker, &key)) else { return };
        self.admissions.insert(place, (id, guid));
        if medium == Medium::Ras {
            // It lasts as long as the endpoint refreshes its registration there.
            core.set_state(context.now, id, State::Connected);
        }
        core.announce(context, id, leg::signalling(medium, Party::Callee), Party::Callee, |stream| {
            stream.medium = medium;
            stream.held = medium == Medium::Ras;
            stream.ends[Party::Callee as usize].media = Some(address);
        });
    }

    fn ask(&mut self, context: &Context, sequence: u16, what: What) {
        if self.waiting.len() >= MAX_REQUESTS {
            self.waiting.retain(|_, request| context.now.since(request.at) < PATIENCE);
            if self.waiting.len() >= MAX_REQUESTS {
                return;
            }
        }
        let request =
            Request { at: context.now, from: context.source, gatekeeper: context.destination.ip(), what };
        self.waiting.insert((context.source.ip(), sequence), request);
    }

    /// The request that the sender of `context` answers.
    fn answered(&mut self, context: &Context, sequence: u16) -> Option<Request> {
        let place = (context.destination.ip(), sequence);
        let request = self.waiting.get(&place)?;
        let asked = request.gatekeeper == context.source.ip() || request.gatekeeper.is_multicast();
        if !asked || context.now.since(request.at) >= PATIENCE {
            return None;
        }
        self.waiting.remove(&place)
    }

    /// A call that was admitted is over, says the endpoint that was to make it, or its gatekeeper to it.
    fn disengage(&mut self, core: &mut Core, context: &Context, call: Guid) {
        let parties = [context.source.ip(), context.destination.ip()];
        self.admissions.retain(|(endpoint, _), (id, guid)| {
            let over = *guid == Some(call) && parties.contains(endpoint);
            if over {
                core.end_call(*id, EndReason::ReleaseComplete);
            }
            !over
        });
    }
}

/// The endpoint may announce the addresses it has registered, and its gatekeeper the endpoint's own.
fn register(core: &mut Core, context: &Context, endpoint: IpAddr, addresses: &[IpAddr], life: u32) {
    let until = context.now + Duration::from_secs(u64::from(life));
    core.register(context.source.ip(), endpoint, until);
    for address in addresses.iter().filter(|address| **address != endpoint) {
        core.register(endpoint, *address, until);
    }
}
