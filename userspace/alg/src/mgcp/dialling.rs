//! What the call policy says of what is dialled at a gateway's endpoints.
//!
//! The digits come in NTFY, as many at once as the digit map of the agent has the gateway gather. A notification that
//! makes a number which may not be called is answered in the agent's stead (RFC 3435 section 2.4), so that the agent
//! never hears of it. What is granted belongs to the call that has, or next gets, a connection at the endpoint.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use callgate_policy::Why;
use callgate_protocols::mgcp::{Endpoint, Message};

use super::{Tracker, release};
use crate::action::{Context, EndReason, Time, Verdict};
use crate::call::{CallId, Granted, State};
use crate::core::Core;
use crate::core::gate::{self, Asking};
use crate::event::{Event, EventKind};

/// Most endpoints at which somebody dials; at more nobody is asked before a call has begun.
const MAX_ENDPOINTS: usize = 16_384;
/// Most digits of a number, and most bytes of an endpoint's name.
const MAX_DIGITS: usize = 46;
const MAX_NAME: usize = 128;
/// How long what was dialled counts, without a call.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is being dialled.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    endpoints: HashMap<(IpAddr, String), Number>,
}

#[derive(Debug)]
struct Number {
    digits: String,
    granted: Option<Box<Granted>>,
    /// The notification that was read last, and what was said of it.
    last: (u32, Option<Why>),
    until: Time,
}

impl Dialling {
    /// A call has a connection at an endpoint: what was granted there is granted to it.
    pub(super) fn claim(&mut self, core: &mut Core, (ip, endpoint): (IpAddr, Endpoint), call: CallId) {
        if let Some(number) = self.endpoints.get_mut(&(ip, name(endpoint)))
            && core.call(call).is_some_and(|call| call.granted.is_none())
        {
            core.grant(call, number.granted.take());
        }
    }

    /// Whether something was dialled at an endpoint that may be called.
    pub(super) fn has_granted(&self, (ip, endpoint): (IpAddr, Endpoint)) -> bool {
        self.endpoints.get(&(ip, name(endpoint))).is_some_and(|number| number.granted.is_some())
    }

    /// Time passes.
    pub(super) fn tick(&mut self, core: &mut Core, now: Time) {
        for (_, number) in self.endpoints.extract_if(|_, number| number.until <= now) {
            core.give_back(number.granted, now);
        }
    }
}

impl Tracker {
    /// An agent begins a call at an endpoint at which nothing was dialled: one that comes to it. What it is granted.
    ///
    /// # Errors
    /// It may not; the agent is told so in the gateway's stead.
    pub(super) fn arrives(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        endpoint: Endpoint,
    ) -> Result<Option<Box<Granted>>, Verdict> {
        if !core.has_policy() {
            return Ok(None);
        }
        let (key, agent) = (message.call.unwrap_or_default(), context.source.ip().to_string());
        let called = [endpoint.name(), endpoint.local()];
        let parties = [agent.as_str(), endpoint.name()];
        let asking = Asking { names: &[], device: None, called: &called, key, parties };
        core.receive(context, &asking).map_err(|why| {
            let code = gate::mgcp_code(why);
            self.over.refused(context.destination.ip(), key, code, context.now);
            let text = format!("{} ({})", why.text(), why.name());
            core.tell(Event::new(context, EventKind::Refused, endpoint.name(), &text));
            release::refusal(message, code, why.text())
        })
    }

    /// Whether a notification may go on.
    pub(super) fn notified(
        &mut self,
        core: &mut Core,
        context: &Context,
        message: &Message,
        endpoint: Endpoint,
    ) -> Result<(), Verdict> {
        if !core.has_policy() {
            return Ok(());
        }
        let key = (context.source.ip(), name(endpoint));
        if message.begins_anew()
            && let Some(number) = self.dialling.endpoints.remove(&key)
        {
            core.give_back(number.granted, context.now);
        }
        let digits: String = message.digits().take(MAX_DIGITS).collect();
        let call = self.gateways.get(&key.0).and_then(|gateway| gateway.call_at(endpoint));
        // Behind the number keys are no digits of it, but tones.
        let talking = call.and_then(|id| core.call(id)).is_some_and(|call| call.state == State::Connected);
        if digits.is_empty() || talking {
            return Ok(());
        }
        let room = self.dialling.endpoints.len() < MAX_ENDPOINTS;
        let until = context.now + PATIENCE;
        let mut number = match self.dialling.endpoints.remove(&key) {
            // It is sent again.
            Some(number) if number.last.0 == message.transaction => {
                let said = number.last.1;
                self.dialling.endpoints.insert(key, number);
                return said.map_or(Ok(()), |why| Err(refuse(message, why)));
            }
            Some(number) => Number { until, ..number },
            None => Number { digits: String::new(), granted: None, last: (0, None), until },
        };
        let whole = digits.chars().nth(1).is_some();
        let ends = digits.ends_with('#');
        let more = digits.trim_end_matches('#');
        if number.digits.len() + more.len() <= MAX_DIGITS {
            number.digits.push_str(more);
        }
        core.give_back(number.granted.take(), context.now);
        let dialled = number.digits.clone();
        let names = [endpoint.local(), endpoint.name()];
        let asking = Asking {
            names: &names,
            device: Some(endpoint.name()),
            called: &[&dialled],
            key: endpoint.name(),
            parties: [endpoint.name(), &dialled],
        };
        // A single digit may be the first of many.
        let waits = !whole && !ends && core.hopeless(context, &asking).is_none();
        let answer = match call {
            _ if waits => Ok(None),
            Some(id) => core.ask_again(context, id, &asking).map(|()| None),
            None => core.ask(context, &asking),
        };
        let why = answer.as_ref().err().copied();
        number.last = (message.transaction, why);
        if let Ok(granted) = answer {
            number.granted = granted;
        } else {
            number.digits.clear();
        }
        match room {
            true => drop(self.dialling.endpoints.insert(key, number)),
            false => core.give_back(number.granted.take(), context.now),
        }
        let Some(why) = why else { return Ok(()) };
        let text = format!("{dialled}: {} ({})", why.text(), why.name());
        core.tell(Event::new(context, EventKind::Refused, endpoint.name(), &text));
        if let Some(id) = call {
            core.end_call(id, EndReason::Refused);
            if let Some(gateway) = self.gateways.get_mut(&context.source.ip()) {
                gateway.forget(id);
            }
        }
        Err(refuse(message, why))
    }
}

/// What the gateway reads instead of its agent's answer.
fn refuse(message: &Message, why: Why) -> Verdict {
    release::refusal(message, gate::mgcp_code(why), why.text())
}

fn name(endpoint: Endpoint) -> String {
    let name = endpoint.name();
    name[..name.floor_char_boundary(MAX_NAME)].to_ascii_lowercase()
}
