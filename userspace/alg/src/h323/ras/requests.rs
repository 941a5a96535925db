//! Requests that wait for their answers: a confirmation counts only as the answer to one that was seen, from the
//! gatekeeper that was asked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_protocols::h225::Guid;

use super::registrations::{Offer, Registration};
use crate::action::{Context, Time};

/// How long an answer is waited for: more than all retries take (H.225.0 table 17).
const PATIENCE: Duration = Duration::from_secs(30);
/// Most requests of one address that wait for an answer; the oldest go first.
const MAX_REQUESTS: usize = 256;
/// Most addresses of which requests wait.
const MAX_SOURCES: usize = 16_384;

/// Requests by the address of who asks.
#[derive(Debug, Default)]
pub(in crate::h323) struct Requests {
    waiting: HashMap<IpAddr, Vec<Request>>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Request {
    sequence: u16,
    until: Time,
    /// Who has sent it.
    pub(super) from: SocketAddr,
    /// Who was asked; many, by multicast.
    gatekeeper: IpAddr,
    pub(super) what: What,
}

/// What was asked.
#[derive(Debug)]
pub(super) enum What {
    Discovery,
    Registration(Box<Offer>),
    /// To take these back.
    Unregistration(Vec<Registration>),
    /// For a call; to make it, not to answer it, if `makes`.
    Admission {
        call: Option<Guid>,
        makes: bool,
        /// It is an emergency call.
        emergency: bool,
    },
    Location,
    /// Something whose answer opens nothing.
    Other,
}

impl Requests {
    pub(super) fn ask(&mut self, context: &Context, sequence: u16, what: What) {
        let source = context.source.ip();
        if self.waiting.len() >= MAX_SOURCES && !self.waiting.contains_key(&source) {
            self.tick(context.now);
            if self.waiting.len() >= MAX_SOURCES {
                return;
            }
        }
        let requests = self.waiting.entry(source).or_default();
        requests.retain(|request| (request.from, request.sequence) != (context.source, sequence));
        if requests.len() >= MAX_REQUESTS {
            requests.remove(0);
        }
        let until = context.now + PATIENCE;
        let (from, gatekeeper) = (context.source, context.destination.ip());
        requests.push(Request { sequence, until, from, gatekeeper, what });
    }

    /// The request that the sender of `context` answers.
    pub(super) fn answered(&mut self, context: &Context, sequence: u16) -> Option<Request> {
        let place = self.place(context, sequence)?;
        let requests = self.waiting.get_mut(&context.destination.ip())?;
        let request = requests.remove(place);
        if requests.is_empty() {
            self.waiting.remove(&context.destination.ip());
        }
        Some(request)
    }

    /// Its answer takes longer (RIP).
    pub(super) fn wait(&mut self, context: &Context, sequence: u16, delay: Duration) {
        if let Some(place) = self.place(context, sequence)
            && let Some(requests) = self.waiting.get_mut(&context.destination.ip())
        {
            requests[place].until = context.now + delay + PATIENCE;
        }
    }

    pub(in crate::h323) fn tick(&mut self, now: Time) {
        self.waiting.retain(|_, requests| {
            requests.retain(|request| request.until > now);
            !requests.is_empty()
        });
    }

    /// Answers go to the port the request came from or, with some, to the one that it names: of several requests of
    /// one number the first kind is meant.
    fn place(&self, context: &Context, sequence: u16) -> Option<usize> {
        let requests = self.waiting.get(&context.destination.ip())?;
        let answers = |request: &&Request| {
            let asked = request.gatekeeper == context.source.ip() || request.gatekeeper.is_multicast();
            request.sequence == sequence && asked && context.now < request.until
        };
        let there = |request: &Request| answers(&request) && request.from == context.destination;
        requests.iter().position(there).or_else(|| requests.iter().position(|request| answers(&request)))
    }
}
