//! One gateway: its calls and connections, and the transactions between it and its agents.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use callgate_protocols::mgcp::{Endpoint, Message, Mode};

use super::media::{self, Line};
use super::{HISTORY, OBEDIENCE, PENDING};
use crate::action::{Context, EndReason, Time};
use crate::call::{Call, CallId, Party, State};
use crate::core::Core;
use crate::event::{Event, EventKind};

/// Most transactions remembered of one gateway. An agent that takes over audits all endpoints at once.
const MAX_TRANSACTIONS: usize = 128;
/// Most connections of one call on one gateway.
const MAX_CONNECTIONS: usize = 8;
/// Bytes of an endpoint's name in [`Call::memo`], so that all connections find room there.
const MAX_MEMO_ENDPOINT: usize = 70;
/// Return codes that say that there is nothing to delete: unknown endpoint, connection or call (RFC 3435
/// section 2.4).
const NOTHING_THERE: [u16; 3] = [500, 515, 516];

/// No room for another call, connection or transaction.
#[derive(Debug)]
pub(super) struct Full;

/// What is known of a gateway.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    /// By call identifier.
    calls: HashMap<String, Tracked>,
    /// Oldest first.
    transactions: Vec<Transaction>,
    /// The agent whose command it carried out last, and until when that counts.
    pub(super) obeys: Option<(IpAddr, Time)>,
}

#[derive(Debug)]
struct Tracked {
    id: CallId,
    connections: Vec<Connection>,
    /// The branch of the next connection.
    next: u32,
}

#[derive(Debug)]
struct Connection {
    /// [`crate::call::StreamKey::branch`] of its streams.
    branch: u32,
    /// The gateway's name for it; `None` until the gateway has said it.
    id: Option<String>,
    endpoint: String,
    since: Time,
}

/// A command whose response is awaited, or was given a short while ago.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) number: u32,
    /// The agent at its one end; the gateway is at the other.
    pub(super) agent: IpAddr,
    /// The gateway commands and the agent responds.
    pub(super) by_gateway: bool,
    pub(super) purpose: Purpose,
    pub(super) answered: bool,
    /// The connection it makes or changes.
    pub(super) place: Option<Place>,
    /// The mode it asks for.
    pub(super) mode: Option<Mode>,
    /// When it is carried out (or given up) without a response, and after the response: forgotten.
    pub(super) until: Time,
}

/// What a response brings about.
#[derive(Debug)]
pub(super) enum Purpose {
    Create,
    Modify,
    Delete(Scope),
    Restart(Scope),
    /// No more than that the gateway obeys its agent.
    Nothing,
}

/// Names a connection.
#[derive(Clone, Debug)]
pub(super) struct Place {
    call: String,
    branch: u32,
}

/// Which connections a command is about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    endpoint: String,
    call: Option<String>,
    connection: Option<String>,
    /// It says nothing of connections made after it.
    asked: Time,
}

impl Scope {
    pub(super) fn new(endpoint: Endpoint, call: Option<&str>, connection: Option<&str>, asked: Time) -> Self {
        let (call, connection) = (call.map(str::to_owned), connection.map(str::to_owned));
        Self { endpoint: endpoint.name().to_owned(), call, connection, asked }
    }

    /// Where a connection is named, the endpoint is not asked: the gateway may have another name for it.
    fn has(&self, call: &str, connection: &Connection) -> bool {
        let of_call = self.call.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(call));
        let named = match (&self.connection, &connection.id) {
            (Some(own), Some(id)) => own.eq_ignore_ascii_case(id),
            (Some(_), None) => false,
            (None, _) => connection.is_at(&self.endpoint),
        };
        of_call && named && connection.since <= self.asked
    }
}

impl Connection {
    /// Whether it may be at an endpoint of this name; either name may be a wildcard.
    fn is_at(&self, name: &str) -> bool {
        match (Endpoint::new(&self.endpoint), Endpoint::new(name)) {
            (Some(own), Some(other)) => own.covers(other) || other.covers(own),
            _ => false,
        }
    }
}

impl Gateway {
    /// The place of a transaction with an agent for whom `is_agent` holds.
    pub(super) fn find(
        &self,
        number: u32,
        by_gateway: bool,
        is_agent: impl Fn(IpAddr) -> bool,
    ) -> Option<usize> {
        // The youngest, should a number be used again.
        self.transactions
            .iter()
            .rposition(|t| t.number == number && t.by_gateway == by_gateway && is_agent(t.agent))
    }

    /// Whether a connection of this scope is known.
    pub(super) fn has_connection(&self, scope: &Scope) -> bool {
        self.calls.iter().any(|(key, call)| call.connections.iter().any(|c| scope.has(key, c)))
    }

    /// Where a call has connections.
    pub(super) fn endpoints(&self, key: &str) -> BTreeSet<String> {
        let connections = self.calls.get(key).into_iter().flat_map(|call| &call.connections);
        connections.map(|connection| connection.endpoint.clone()).collect()
    }

    /// The call of this identifier.
    pub(super) fn call(&self, key: &str) -> Option<CallId> {
        self.calls.get(key).map(|call| call.id)
    }

    /// The call that has a connection at this endpoint.
    pub(super) fn call_at(&self, endpoint: Endpoint) -> Option<CallId> {
        let mut calls = self.calls.values();
        calls.find(|call| call.connections.iter().any(|c| c.is_at(endpoint.name()))).map(|call| call.id)
    }

    /// Whether it has connections.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Nothing is left that would be missed.
    pub(super) fn is_idle(&self, now: Time) -> bool {
        let obeys = self.obeys.is_some_and(|(_, until)| until > now);
        self.calls.is_empty() && self.transactions.is_empty() && !obeys
    }

    /// A command goes to the gateway, or comes from it; `lines` is the session description it carries.
    pub(super) fn begin(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        endpoint: Endpoint,
        lines: &[Line],
        mut transaction: Transaction,
    ) -> Result<(), Full> {
        if self.transactions.len() >= MAX_TRANSACTIONS {
            let spare = |t: &Transaction| t.answered || matches!(t.purpose, Purpose::Nothing);
            match self.transactions.iter().position(spare) {
                Some(place) => drop(self.transactions.remove(place)),
                None if matches!(transaction.purpose, Purpose::Nothing) => return Ok(()),
                None => return Err(Full),
            }
        }
        match (&transaction.purpose, message.call) {
            (Purpose::Create, Some(key)) => {
                let (id, branch) = self.connect(core, context, key, None, endpoint)?;
                media::announce(core, context, id, branch, Party::Caller, lines);
                transaction.place = Some(Place { call: key.to_owned(), branch });
            }
            (Purpose::Modify, Some(key)) => {
                let (id, branch) = match self.connection(key, message.connection, endpoint) {
                    Some(known) => known,
                    // A call older than the firewall: taken up where it is.
                    None => self.connect(core, context, key, message.connection, endpoint)?,
                };
                media::propose(core, context, id, branch, lines);
                transaction.place = Some(Place { call: key.to_owned(), branch });
            }
            (Purpose::Restart(_), _) => {
                core.tell(Event::new(context, EventKind::Restarted, endpoint.name(), ""));
            }
            _ => {}
        }
        self.transactions.push(transaction);
        Ok(())
    }

    /// A response to the transaction at `place` of the list.
    pub(super) fn response(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        code: u16,
        place: usize,
    ) {
        let Some(transaction) = self.transactions.get_mut(place).filter(|t| !t.answered) else { return };
        let (agent, by_gateway, mode) = (transaction.agent, transaction.by_gateway, transaction.mode);
        let connection = transaction.place.clone();
        if code < 200 {
            if code >= 100 {
                transaction.until = context.now + PENDING;
            }
            // A provisional response may tell the connection already (section 3.5.6).
            if code >= 100 && matches!(transaction.purpose, Purpose::Create) {
                self.created(core, context, message, connection, mode, code);
            }
            return;
        }
        (transaction.answered, transaction.until) = (true, context.now + HISTORY);
        match (std::mem::replace(&mut transaction.purpose, Purpose::Nothing), code) {
            (Purpose::Create, 200..=299) => self.created(core, context, message, connection, mode, code),
            (Purpose::Modify, 200..=299) => self.modified(core, context, message, connection, mode),
            (Purpose::Create, _) => self.drop_connection(core, connection, EndReason::Failed),
            (Purpose::Modify, _) => self.withdraw(core, connection),
            (Purpose::Delete(scope), _) if code < 300 || NOTHING_THERE.contains(&code) => {
                self.close(core, &scope, EndReason::Deleted);
            }
            // Whatever the agent says to it.
            (Purpose::Restart(scope), _) => self.close(core, &scope, EndReason::Restarted),
            (Purpose::Delete(_) | Purpose::Nothing, _) => {}
        }
        if !by_gateway && (200..300).contains(&code) {
            let until = context.now + OBEDIENCE;
            let (gateway, receiver) = (context.source.ip(), context.destination.ip());
            self.obeys = Some((receiver, until));
            core.register(agent, gateway, until);
            if receiver != agent {
                core.register(receiver, gateway, until);
            }
        }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, core: &mut Core, now: Time) {
        let over = self.transactions.extract_if(.., |t| t.until <= now).collect::<Vec<_>>();
        for mut transaction in over.into_iter().filter(|t| !t.answered) {
            match &transaction.purpose {
                Purpose::Create => {
                    self.drop_connection(core, transaction.place.take(), EndReason::Failed);
                }
                Purpose::Modify => self.withdraw(core, transaction.place.take()),
                Purpose::Delete(scope) => self.close(core, scope, EndReason::Deleted),
                Purpose::Restart(scope) => self.close(core, scope, EndReason::Restarted),
                Purpose::Nothing => continue,
            }
            // The other end may still repeat it.
            (transaction.answered, transaction.until) = (true, now + HISTORY);
            self.transactions.push(transaction);
        }
    }

    /// The core has ended this call by itself.
    pub(super) fn ended(&mut self, call: &Call) {
        if self.calls.get(&call.key).is_some_and(|tracked| tracked.id == call.id) {
            self.calls.remove(&call.key);
        }
    }

    /// A call is over.
    pub(super) fn forget(&mut self, id: CallId) {
        self.calls.retain(|_, call| call.id != id);
    }

    /// Takes up a call from its record.
    pub(super) fn restore(&mut self, call: &Call) {
        let connection = |line: &str| {
            let mut words = line.split(' ');
            let branch = words.next()?.parse().ok()?;
            let id = words.next().filter(|id| *id != "-").map(str::to_owned);
            let endpoint = words.next().unwrap_or_default().to_owned();
            Some(Connection { branch, id, endpoint, since: call.started })
        };
        let connections: Vec<_> = call.memo.lines().filter_map(connection).take(MAX_CONNECTIONS).collect();
        let next = connections.iter().map(|c| c.branch + 1).max().unwrap_or(0);
        self.calls.insert(call.key.clone(), Tracked { id: call.id, connections, next });
    }

    /// A connection of a call by the gateway's name for it.
    fn connection(&self, key: &str, id: Option<&str>, endpoint: Endpoint) -> Option<(CallId, u32)> {
        let call = self.calls.get(key)?;
        let is_named = |c: &&Connection| match (&c.id, id) {
            (Some(own), Some(id)) => own.eq_ignore_ascii_case(id),
            _ => false,
        };
        let is_at = |c: &&Connection| c.is_at(endpoint.name());
        // Identifiers are unique per endpoint only (section 2.1.3.2).
        let found = call.connections.iter().find(|c| is_named(c) && is_at(c));
        let found = found.or_else(|| call.connections.iter().find(is_named));
        found.map(|connection| (call.id, connection.branch))
    }

    /// Enters a connection, and its call if that is new.
    fn connect(
        &mut self,
        core: &mut Core,
        context: &Context,
        key: &str,
        id: Option<&str>,
        endpoint: Endpoint,
    ) -> Result<(CallId, u32), Full> {
        if !self.calls.contains_key(key) {
            // Nobody knows yet whom the agent will have it call.
            let call = core.start(context, key, core.has_policy()).ok_or(Full)?;
            core.change_call(call, |call| {
                call.parties[Party::Callee as usize] = endpoint.name().to_owned();
            });
            self.calls.insert(key.to_owned(), Tracked { id: call, connections: Vec::new(), next: 0 });
        }
        let call = self.calls.get_mut(key).ok_or(Full)?;
        if call.connections.len() >= MAX_CONNECTIONS {
            return Err(Full);
        }
        let branch = call.next;
        call.next = (branch + 1) % media::OFFERED;
        call.connections.push(Connection {
            branch,
            id: id.map(str::to_owned),
            endpoint: endpoint.name().to_owned(),
            since: context.now,
        });
        call.remember(core);
        Ok((call.id, branch))
    }

    fn created(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        place: Option<Place>,
        mode: Option<Mode>,
        code: u16,
    ) {
        let Some((call, branch)) = place.and_then(|p| Some((self.calls.get_mut(&p.call)?, p.branch))) else {
            return;
        };
        let Some(connection) = call.connections.iter_mut().find(|c| c.branch == branch) else { return };
        if let Some(id) = message.connection {
            connection.id = Some(id.to_owned());
        }
        if let Some(endpoint) = message.specific {
            connection.endpoint = endpoint.name().to_owned();
            core.change_call(call.id, |call| {
                call.parties[Party::Callee as usize] = endpoint.name().to_owned();
            });
        }
        call.remember(core);
        media::announce(core, context, call.id, branch, Party::Callee, &media::lines(message));
        media::set_mode(core, context, call.id, branch, mode);
        if code >= 200 {
            call.progress(core, context.now, branch);
        }
    }

    fn modified(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        place: Option<Place>,
        mode: Option<Mode>,
    ) {
        let Some((call, branch)) = place.and_then(|p| Some((self.calls.get(&p.call)?, p.branch))) else {
            return;
        };
        // It may have been deleted in the meantime.
        if call.connections.iter().all(|connection| connection.branch != branch) {
            return;
        }
        media::agree(core, context, call.id, branch, &media::lines(message));
        media::set_mode(core, context, call.id, branch, mode);
        call.progress(core, context.now, branch);
    }

    fn withdraw(&mut self, core: &mut Core, place: Option<Place>) {
        if let Some((call, branch)) = place.and_then(|p| Some((self.calls.get(&p.call)?, p.branch))) {
            media::withdraw(core, call.id, branch, EndReason::Failed);
        }
    }

    fn drop_connection(&mut self, core: &mut Core, place: Option<Place>, reason: EndReason) {
        if let Some(place) = place {
            self.close_where(core, reason, |key, c| key == place.call && c.branch == place.branch);
        }
    }

    fn close(&mut self, core: &mut Core, scope: &Scope, reason: EndReason) {
        // Identifiers are unique per endpoint only (section 2.1.3.2).
        let at = |c: &Connection| scope.connection.is_none() || c.is_at(&scope.endpoint);
        let exactly = self.calls.iter().any(|(key, call)| {
            call.connections.iter().any(|connection| scope.has(key, connection) && at(connection))
        });
        self.close_where(core, reason, |key, connection| {
            scope.has(key, connection) && (!exactly || at(connection))
        });
    }

    fn close_where(
        &mut self,
        core: &mut Core,
        reason: EndReason,
        is_over: impl Fn(&str, &Connection) -> bool,
    ) {
        self.calls.retain(|key, call| {
            let before = call.connections.len();
            call.connections.retain(|connection| {
                let over = is_over(key, connection);
                if over {
                    media::close(core, call.id, connection.branch, reason);
                }
                !over
            });
            if call.connections.is_empty() {
                core.end_call(call.id, reason);
            } else if call.connections.len() < before {
                call.remember(core);
            }
            !call.connections.is_empty()
        });
    }
}

impl Tracked {
    /// The gateway has carried out a command: answered once both ends of a stream are known.
    fn progress(&self, core: &mut Core, now: Time, branch: u32) {
        let complete = media::is_complete(core, self.id, branch);
        core.set_state(now, self.id, if complete { State::Connected } else { State::Ringing });
    }

    /// Writes into the call's record what a restart must not lose.
    fn remember(&self, core: &mut Core) {
        let lines = self.connections.iter().map(|connection| {
            let name = &connection.endpoint;
            let end = name.floor_char_boundary(MAX_MEMO_ENDPOINT);
            format!("{} {} {}", connection.branch, connection.id.as_deref().unwrap_or("-"), &name[..end])
        });
        let memo = lines.collect::<Vec<_>>().join("\n");
        core.change_call(self.id, |call| call.memo = memo);
    }
}

#[cfg(test)]
impl Gateway {
    pub(super) fn transactions_len(&self) -> usize {
        self.transactions.len()
    }

    pub(super) fn calls_len(&self) -> usize {
        self.calls.len()
    }
}
