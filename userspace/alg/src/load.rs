//! How many calls there are, by the rule that admitted them and by the caller's address.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::call::{Call, CallId};

/// Calls that count: one that passes the firewall several times counts once.
#[derive(Debug, Default)]
pub(crate) struct Load {
    counted: HashMap<CallId, (u32, IpAddr)>,
    slots: HashMap<u32, u32>,
    callers: HashMap<IpAddr, u32>,
}

impl Load {
    /// A call begins.
    pub(crate) fn enter(&mut self, call: &Call) {
        let (slot, caller) = (call.slot, call.signalling[0].ip());
        if self.counted.insert(call.id, (slot, caller)).is_none() {
            *self.slots.entry(slot).or_default() += 1;
            *self.callers.entry(caller).or_default() += 1;
        }
    }

    /// It is over.
    pub(crate) fn leave(&mut self, call: CallId) {
        if let Some((slot, caller)) = self.counted.remove(&call) {
            count_down(&mut self.slots, slot);
            count_down(&mut self.callers, caller);
        }
    }

    /// Calls that these rules have admitted.
    pub(crate) fn under(&self, these: impl Fn(u32) -> bool) -> u32 {
        self.slots.iter().filter(|(slot, _)| these(**slot)).map(|(_, count)| count).sum()
    }

    /// Calls of one caller.
    pub(crate) fn by(&self, caller: IpAddr) -> u32 {
        self.callers.get(&caller).copied().unwrap_or(0)
    }
}

/// One less of `key`; at 0 it is forgotten.
pub(crate) fn count_down<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
