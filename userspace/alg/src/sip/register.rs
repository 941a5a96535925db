//! Registrations (RFC 3261 section 10): which addresses a party may call its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use callgate_protocols::sip::Message;

use crate::action::{Context, Time};
use crate::core::Core;

/// Most REGISTER requests waiting for their response.
const MAX_WAITING: usize = 16_384;
/// Most contacts of one request.
const MAX_CONTACTS: usize = 8;
/// How long a response is waited for (RFC 3261 section 17.1.2: Timer F).
const PATIENCE: Duration = Duration::from_secs(32);
/// Seconds a registration lasts where nobody says how long.
const DEFAULT_LIFE: u32 = 3_600;

/// REGISTER requests that wait for their response.
#[derive(Debug, Default)]
pub(super) struct Registrars {
    waiting: HashMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Time,
    number: u32,
    owner: IpAddr,
    contacts: Vec<IpAddr>,
}

impl Registrars {
    /// A REGISTER: notes the addresses it asks for. Contacts with host names own nothing.
    pub(super) fn request(&mut self, context: &Context, message: &Message, id: u64) {
        let contacts: Vec<_> = message
            .contacts()
            .filter_map(|contact| contact.ok()?.sip_uri()?.ip())
            .take(MAX_CONTACTS)
            .collect();
        if contacts.is_empty() {
            return;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.tick(context.now);
        }
        if self.waiting.len() < MAX_WAITING {
            let (since, number, owner) = (context.now, message.cseq.number, context.source.ip());
            self.waiting.insert(id, Waiting { since, number, owner, contacts });
        }
    }

    /// A response to it. A 2xx lists what is registered now (section 10.3 item 8): an address that was asked
    /// for is the client's until it expires, or no more if it is not listed. What others have registered
    /// under the same name is listed too and is none of the client's.
    pub(super) fn response(&mut self, core: &mut Core, context: &Context, message: &Message, id: u64) {
        let final_status = message.status().filter(|status| *status >= 200);
        let (Some(status), Some(waiting)) = (final_status, self.waiting.get(&id)) else { return };
        if waiting.number != message.cseq.number || waiting.owner != context.destination.ip() {
            return;
        }
        let Some(Waiting { owner, contacts, .. }) = self.waiting.remove(&id) else { return };
        if status >= 300 {
            return;
        }
        for ip in contacts {
            let life = message
                .contacts()
                .filter_map(Result::ok)
                .filter(|contact| contact.sip_uri().and_then(|uri| uri.ip()) == Some(ip))
                .map(|contact| contact.expires.or(message.expires()).unwrap_or(DEFAULT_LIFE))
                .max()
                .unwrap_or(0);
            match life {
                0 => core.unregister(owner, ip),
                _ => core.register(owner, ip, context.now + Duration::from_secs(life.into())),
            }
        }
    }

    /// Forgets requests that were never answered.
    pub(super) fn tick(&mut self, now: Time) {
        self.waiting.retain(|_, waiting| now.since(waiting.since) < PATIENCE);
    }
}
