//! What the firewall says of its own when it ends a call, by UDP, and the answers to it.
//!
//! Said again until it is answered, as a client transaction of SIP is (RFC 3261 section 17.1.2.2) and a command of MGCP
//! (RFC 3435 section 3.5.2). Its answers concern nobody else, and go no further.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use crate::action::{Saying, Time};
use crate::core::Core;

/// Most that wait for their answers.
const MAX_WAITING: usize = 16_384;
/// The first and the longest pause before one is said again, and how long it is known (RFC 3261 section 17.1.2.2: T2
/// and 64*T1; T1 itself is shorter than the time between two ticks).
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(4);
/// How long one is known.
pub const PATIENCE: Duration = Duration::from_secs(32);

/// What has been said, by what its answer is known by.
#[derive(Debug)]
pub(crate) struct Farewells<K> {
    hasher: RandomState,
    waiting: HashMap<K, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    saying: Saying,
    answered: bool,
    pause: Duration,
    next: Time,
    until: Time,
}

impl<K> Default for Farewells<K> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), waiting: HashMap::new() }
    }
}

impl<K: Eq + Hash> Farewells<K> {
    /// A number nobody can guess.
    pub(crate) fn number(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }

    /// Says it, unless there is no room for its answer or it has been said.
    pub(crate) fn say(&mut self, core: &mut Core, now: Time, key: K, saying: Saying) {
        if self.waiting.len() >= MAX_WAITING || self.waiting.contains_key(&key) {
            return;
        }
        core.say(saying.clone());
        let waiting =
            Waiting { saying, answered: false, pause: FIRST, next: now + FIRST, until: now + PATIENCE };
        self.waiting.insert(key, waiting);
    }

    /// Whether an answer, final or not, is to one of them.
    pub(crate) fn answered(&mut self, key: &K, is_final: bool) -> bool {
        let waiting = self.waiting.get_mut(key);
        waiting.map(|waiting| waiting.answered |= is_final).is_some()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, core: &mut Core, now: Time) {
        self.waiting.retain(|_, waiting| waiting.until > now);
        for waiting in self.waiting.values_mut().filter(|waiting| !waiting.answered && waiting.next <= now) {
            core.say(waiting.saying.clone());
            waiting.pause = (2 * waiting.pause).min(LONGEST);
            waiting.next = now + waiting.pause;
        }
    }
}
