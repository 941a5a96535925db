//! Subscriptions (RFC 6665): who has asked to be notified, so that others' NOTIFYs can be told apart.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use callgate_protocols::sip::{Message, Method};

use crate::action::Time;

/// Most of them.
const MAX_SUBSCRIPTIONS: usize = 65_536;
/// How long one stands that was not answered yet, and one that was ended: NOTIFYs may cross.
const PATIENCE: Duration = Duration::from_secs(32);
/// The life of one whose answer tells none, and of one by REFER (RFC 3515 section 2.4.4 leaves it to the notifier).
const DEFAULT_LIFE: Duration = Duration::from_secs(3_600);
/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Subscription {
    /// Until when it stands.
    until: Time,
    /// It was answered by a 2xx.
    agreed: bool,
}

/// Subscriptions by Call-ID and the subscriber's tag.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    known: HashMap<u64, Subscription>,
    hasher: RandomState,
}

impl Subscriptions {
    /// A SUBSCRIBE or REFER goes on.
    pub(super) fn request(&mut self, message: &Message, now: Time) {
        if !subscribes(message.method()) {
            return;
        }
        let key = self.key(message.call_id, message.from.tag);
        if self.known.len() < MAX_SUBSCRIPTIONS {
            // NOTIFY may come before the 2xx (RFC 6665 section 4.1.2.4).
            self.known.entry(key).or_insert(Subscription { until: now + PATIENCE, agreed: false });
        }
    }

    /// A final response to one.
    pub(super) fn response(&mut self, message: &Message, status: u16, now: Time) {
        if !subscribes(message.method()) || status < 200 {
            return;
        }
        let key = self.key(message.call_id, message.from.tag);
        let Some(known) = self.known.get_mut(&key) else { return };
        if status < 300 {
            let told = message.expires().map(|seconds| Duration::from_secs(seconds.into()));
            let until = now + told.unwrap_or(DEFAULT_LIFE).clamp(PATIENCE, LONGEST_LIFE);
            *known = Subscription { until, agreed: true };
        } else if !known.agreed && !matches!(status, 401 | 407) {
            self.known.remove(&key);
        }
    }

    /// A NOTIFY goes on: one that ends its subscription may be followed by a few that have crossed.
    pub(super) fn notified(&mut self, message: &Message, now: Time) {
        if !message.subscription_state().is_some_and(|state| state.is_terminated()) {
            return;
        }
        let key = self.key(message.call_id, message.to.tag);
        if let Some(known) = self.known.get_mut(&key) {
            known.until = known.until.min(now + PATIENCE);
        }
    }

    /// Whether a NOTIFY is of one.
    pub(super) fn expects(&self, notify: &Message, now: Time) -> bool {
        let key = self.key(notify.call_id, notify.to.tag);
        self.known.get(&key).is_some_and(|known| known.until > now)
    }

    /// Whether a request is within the dialog of one that was agreed to: its own SUBSCRIBE, NOTIFY or REFER.
    pub(super) fn has(&self, message: &Message, now: Time) -> bool {
        let agreed = |tag: Option<&str>| {
            let known = tag.and_then(|tag| self.known.get(&self.key(message.call_id, Some(tag))));
            known.is_some_and(|known| known.agreed && known.until > now)
        };
        let its = matches!(message.method(), Method::Other("SUBSCRIBE" | "NOTIFY" | "REFER"));
        its && message.to.tag.is_some() && (agreed(message.to.tag) || agreed(message.from.tag))
    }

    /// Forgets those that are over.
    pub(super) fn tick(&mut self, now: Time) {
        self.known.retain(|_, known| known.until > now);
    }

    fn key(&self, call_id: &str, tag: Option<&str>) -> u64 {
        self.hasher.hash_one((call_id, tag))
    }
}

/// Whether a request of this method subscribes its sender to something.
fn subscribes(method: Method<'_>) -> bool {
    matches!(method, Method::Other("SUBSCRIBE" | "REFER"))
}
