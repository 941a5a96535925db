//! MGCP: commands and responses → calls and their media (RFC 3435).
//!
//! Owns what is known of each gateway: its connections, and the transactions that have no response yet.
//! Guarantees that only a call agent commands a gateway, where the rules file names them; that every address a
//! session description names reaches a pinhole only through [`Core::announce`]; and that memory stays bounded
//! per gateway and in all.
//!
//! - A [`Call`] is what a gateway knows under one call identifier; the agent is its caller, the gateway its
//!   callee. Each connection is a branch of its streams: both connections of a call through one gateway are
//!   one call, the two gateways of a call are two. What one gateway announced vouches for what the agent tells
//!   the other (see [`Core::authorise`]); besides, a gateway that obeys an agent is registered to it.
//! - A connection's own description comes in the response, the other end's in the command. What a command
//!   changes is opened beside what was agreed, and takes its place when the gateway agrees.
//! - A connection closes when the gateway says that it is deleted, or [`DELETE_GRACE`] after the command.
//! - A command that is repeated changes nothing: the gateway repeats its response (section 3.5.1).

mod dialling;
mod gateway;
mod media;
mod release;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use callgate_protocols::mgcp::{self, Endpoint, Message, Restart, Start, Verb};
use callgate_rules::{Addresses, MgcpPolicy};
use callgate_shared::Reason;
use callgate_shared::policy::Inspect;

use crate::action::{Context, Time, Verdict};
use crate::call::{Call, Party};
use crate::core::Core;
use crate::event::{Event, EventKind};
use dialling::Dialling;
use gateway::{Gateway, Purpose, Scope, Transaction};
use release::Over;

/// How long a deletion or a restart may stay without a response before it counts as done.
pub const DELETE_GRACE: Duration = Duration::from_secs(5);
/// How long a transaction is remembered (section 3.5.4: T-HIST).
const HISTORY: Duration = Duration::from_secs(30);
/// The same after a provisional response (section 3.5.6 has no bound of its own).
const PENDING: Duration = Duration::from_secs(180);
/// How long a gateway that obeyed an agent counts as the agent's.
const OBEDIENCE: Duration = Duration::from_secs(3600);
/// Most gateways.
pub(crate) const MAX_GATEWAYS: usize = 10_000;

/// All gateways and their calls.
#[derive(Debug, Default)]
pub struct Tracker {
    gateways: HashMap<IpAddr, Gateway>,
    dialling: Dialling,
    over: Over,
}

impl Tracker {
    /// Gateways that are known.
    pub(crate) fn gateways(&self) -> usize {
        self.gateways.len()
    }

    /// Reads a datagram: one message, or several.
    ///
    /// All of them are checked before the first one is carried out: the datagram goes on as a whole or not
    /// at all.
    pub fn datagram(&mut self, core: &mut Core, context: &Context, bytes: &[u8]) -> Verdict {
        let messages: Result<Vec<_>, mgcp::Error> =
            mgcp::messages(bytes).map(|message| message.and_then(Message::parse)).collect();
        let Ok(messages) = messages else { return Verdict::Drop(Reason::AlgMalformed) };
        if messages.iter().any(|message| !is_complete(message)) {
            return Verdict::Drop(Reason::AlgMalformed);
        }
        let roles = Roles(&core.policy().mgcp);
        if let Some(message) = messages.iter().find(|message| !roles.permit(message, context)) {
            let subject = match message.start {
                Start::Command { endpoint, .. } => endpoint.name(),
                Start::Response { .. } => "",
            };
            let text = match message.start {
                Start::Command { verb, .. } => format!("{verb:?} from the wrong side"),
                Start::Response { code } => format!("response {code} from the wrong side"),
            };
            core.tell(Event::new(context, EventKind::Refused, subject, &text));
            return Verdict::Drop(Reason::AlgRefused);
        }
        if let [message] = messages.as_slice()
            && let Some(verdict) = self.over.read(context, message)
        {
            return verdict;
        }
        for message in &messages {
            let verdict = match message.start {
                Start::Command { verb, endpoint } => self.command(core, context, message, verb, endpoint),
                Start::Response { code } => {
                    self.response(core, context, message, code);
                    Verdict::Pass
                }
            };
            if verdict != Verdict::Pass {
                return verdict;
            }
        }
        Verdict::Pass
    }

    /// Time passes: carries out what has waited for a response for too long, and forgets old transactions.
    pub fn tick(&mut self, core: &mut Core, now: Time) {
        self.dialling.tick(core, now);
        self.over.tick(core, now);
        self.gateways.retain(|_, gateway| {
            gateway.tick(core, now);
            !gateway.is_idle(now)
        });
    }

    /// A limit of the call policy has ended this call: gateway and agent are told, and it is not opened again. To be
    /// called before [`Self::ended`].
    pub fn limited(&mut self, core: &mut Core, call: &Call, now: Time) {
        let gateway = self.gateways.get(&call.signalling[Party::Callee as usize].ip());
        let endpoints = gateway.map(|gateway| gateway.endpoints(&call.key)).unwrap_or_default();
        self.over.limited(core, call, endpoints, now);
    }

    /// The core has ended this call by itself.
    pub fn ended(&mut self, call: &Call) {
        if let Some(gateway) = self.gateways.get_mut(&call.signalling[Party::Callee as usize].ip()) {
            gateway.ended(call);
        }
    }

    /// Takes up the calls of an earlier run from their records; calls of other protocols are left alone.
    pub fn restore<'a>(&mut self, calls: impl IntoIterator<Item = &'a Call>) {
        for call in calls.into_iter().filter(|call| call.protocol == Inspect::Mgcp) {
            let ip = call.signalling[Party::Callee as usize].ip();
            self.gateways.entry(ip).or_default().restore(call);
        }
    }

    fn command(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        verb: Verb,
        endpoint: Endpoint,
    ) -> Verdict {
        let (source, destination) = (context.source.ip(), context.destination.ip());
        let scope = Scope::new(endpoint, message.call, message.connection, context.now);
        let by_gateway = match verb {
            Verb::Notify | Verb::Restart => true,
            Verb::Delete => !self.knows(destination, &scope) && self.knows(source, &scope),
            _ => false,
        };
        let (ip, agent) = if by_gateway { (source, destination) } else { (destination, source) };
        if verb == Verb::Notify
            && let Err(verdict) = self.notified(core, context, message, endpoint)
        {
            return verdict;
        }
        // Nothing depends on the response to these.
        let indifferent = match verb {
            Verb::Notify | Verb::Other => true,
            Verb::Restart => message.restart == Restart::Kept,
            _ => false,
        };
        if indifferent {
            return Verdict::Pass;
        }
        if self.gateways.len() >= MAX_GATEWAYS && !self.gateways.contains_key(&ip) {
            let opens = matches!(verb, Verb::Create | Verb::Modify);
            if opens {
                // Those that have no call are not missed as much as this one would be.
                self.gateways.retain(|_, gateway| gateway.has_calls());
            }
            if self.gateways.len() >= MAX_GATEWAYS {
                return if opens { full(core, context, message, endpoint) } else { Verdict::Pass };
            }
        }
        let lines = media::lines(message);
        self.vouch(core, context, &lines);
        let gateway = self.gateways.entry(ip).or_default();
        if gateway.find(message.transaction, by_gateway, |asked| asked == agent).is_some() {
            return Verdict::Pass;
        }
        let arrives = verb == Verb::Create
            && message.call.is_some_and(|key| gateway.call(key).is_none())
            && !self.dialling.has_granted((ip, endpoint));
        let arrival = match arrives.then(|| self.arrives(core, context, message, endpoint)).transpose() {
            Ok(arrival) => arrival.flatten(),
            Err(verdict) => return verdict,
        };
        let gateway = self.gateways.entry(ip).or_default();
        let (purpose, patience) = match verb {
            Verb::Create => (Purpose::Create, HISTORY),
            Verb::Modify => (Purpose::Modify, HISTORY),
            Verb::Delete => (Purpose::Delete(scope), DELETE_GRACE),
            Verb::Restart => (Purpose::Restart(scope), DELETE_GRACE),
            _ => (Purpose::Nothing, HISTORY),
        };
        let transaction = Transaction {
            number: message.transaction,
            agent,
            by_gateway,
            purpose,
            answered: false,
            place: None,
            mode: message.mode,
            until: context.now + patience,
        };
        let begun = gateway.begin(core, context, message, endpoint, &lines, transaction);
        if verb == Verb::Create
            && let Some(call) = message.call.and_then(|key| gateway.call(key))
        {
            match arrival {
                Some(granted) => core.grant(call, Some(granted)),
                None => self.dialling.claim(core, (ip, endpoint), call),
            }
            if core.has_policy() {
                core.path(call);
            }
        } else {
            core.give_back(arrival, context.now);
        }
        match begun {
            Ok(()) => Verdict::Pass,
            Err(gateway::Full) => full(core, context, message, endpoint),
        }
    }

    fn response(&mut self, core: &mut Core, context: &Context, message: &Message, code: u16) {
        let (source, destination) = (context.source.ip(), context.destination.ip());
        // The gateway answers its agent, or the agent the gateway; either agent may be another of its group.
        for (ip, agent, by_gateway) in [(source, destination, false), (destination, source, true)] {
            let Some(gateway) = self.gateways.get_mut(&ip) else { continue };
            let agents = &core.policy().mgcp.call_agents;
            let exactly = gateway.find(message.transaction, by_gateway, |asked| asked == agent);
            let by_group =
                || gateway.find(message.transaction, by_gateway, |asked| is_group(agents, asked, agent));
            if let Some(place) = exactly.or_else(by_group) {
                return gateway.response(core, context, message, code, place);
            }
        }
    }

    /// Whether a gateway is known to have something to delete.
    fn knows(&self, gateway: IpAddr, scope: &Scope) -> bool {
        self.gateways.get(&gateway).is_some_and(|gateway| gateway.has_connection(scope))
    }

    /// An agent may announce a gateway that obeys another agent of its group.
    fn vouch(&self, core: &mut Core, context: &Context, lines: &[media::Line]) {
        let sender = context.source.ip();
        for ip in lines.iter().filter_map(media::Line::ip) {
            if let Some((agent, until)) = self.gateways.get(&ip).and_then(|gateway| gateway.obeys)
                && agent != sender
                && is_group(&core.policy().mgcp.call_agents, agent, sender)
            {
                core.register(sender, ip, until);
            }
        }
    }
}

/// Who may say what, by the rules file.
struct Roles<'a>(&'a MgcpPolicy);

impl Roles<'_> {
    fn permit(&self, message: &Message, context: &Context) -> bool {
        let (source, destination) = (context.source.ip(), context.destination.ip());
        let pair = |agent, gateway| self.0.call_agents.contains(agent) && self.0.gateways.contains(gateway);
        let down = pair(source, destination);
        let up = pair(destination, source);
        match message.start {
            Start::Command { verb: Verb::Notify | Verb::Restart, .. } => up,
            Start::Command { verb: Verb::Delete | Verb::Other, .. } | Start::Response { .. } => down || up,
            Start::Command { .. } => down,
        }
    }
}

/// There is no room for what a command begins: its agent reads "insufficient resources at this time" (RFC 3435
/// section 2.4).
fn full(core: &mut Core, context: &Context, message: &Message, endpoint: Endpoint) -> Verdict {
    let text = "there is no room for another call";
    core.tell(Event::new(context, EventKind::Refused, endpoint.name(), text));
    release::refusal(message, 403, text)
}

/// Whether both are named as agents. Where nobody is named, nobody answers for another.
fn is_group(agents: &Addresses, one: IpAddr, other: IpAddr) -> bool {
    *agents != Addresses::Any && agents.contains(one) && agents.contains(other)
}

/// Whether a command has the parameters it must have (section 3.2.2, table).
fn is_complete(message: &Message) -> bool {
    match message.start {
        Start::Command { verb: Verb::Create, .. } => message.call.is_some() && message.connection.is_none(),
        Start::Command { verb: Verb::Modify, .. } => message.call.is_some() && message.connection.is_some(),
        Start::Command { verb: Verb::Delete, .. } => message.connection.is_none() || message.call.is_some(),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
