//! What a desk would lose with its process, in pieces that can be written down and told to the next one.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bucket::Millis;
use super::{Desk, millis};
use crate::decision::Now;
use crate::number::Number;

/// Accounts with calls that go on which are looked at in one [`Desk::remember`].
const ROUND: usize = 512;

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// A destination has been called, as [`crate::AlarmKind::FirstSeen`] names it.
    Destination(String),
    /// Time used by all calls.
    All(Used),
    /// Time used by the calls of an entry, by its name.
    Entry(String, Used),
    /// What is kept of a caller.
    Caller {
        /// Who it is.
        name: String,
        /// The name is an address.
        address: bool,
        /// Time its calls have used.
        used: Used,
        /// The same by permission.
        permissions: Vec<(String, Millis)>,
        /// Points for what looks like fraud: short calls, calls at night, failed attempts.
        points: [f32; 3],
    },
}

/// Time used on a day, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// A number for the day, where the policy's hours are told.
    pub day: i32,
    /// Of answered calls, those that go on included.
    pub used: Millis,
}

impl Desk {
    /// What has changed since it was asked last, or goes on changing: at most so many callers at a time, the others the
    /// next time. To be asked about once a second.
    pub fn remember(&mut self, most: usize, now: Now) -> Vec<Memory> {
        let at = self.at(now);
        let day = self.clock.day;
        let mut memories = Vec::new();
        memories.extend(self.new_destinations.drain(..).map(Memory::Destination));
        let used = |usage: &super::Usage| Used { day, used: usage.at(day, at) };
        if std::mem::take(&mut self.changed.all) || self.all.usage.running() > 0 {
            memories.push(Memory::All(used(&self.all.usage)));
        }
        let entries = std::mem::take(&mut self.changed.groups);
        for place in entries.into_iter().take(most) {
            let entry = self.plan.spec().callers.get(place as usize);
            if let (Some(entry), Some(bucket)) = (entry, self.groups.get(place as usize)) {
                memories.push(Memory::Entry(entry.name.to_string(), used(&bucket.usage)));
            }
        }
        for slot in self.accounts.running(ROUND.min(most)) {
            self.change(slot);
        }
        let later = self.changed.accounts.len().saturating_sub(most);
        for slot in self.changed.accounts.split_off(later) {
            let account = self.accounts.get_mut(slot);
            account.changed = false;
            let permissions = account.used_by_permission(day, at).filter_map(|(place, used)| {
                let permission = self.plan.spec().permissions.get(usize::from(place))?;
                (used > 0).then(|| (permission.name.to_string(), used))
            });
            memories.push(Memory::Caller {
                name: account.name().to_owned(),
                address: account.is_address(),
                permissions: permissions.collect(),
                used: used(&account.bucket.usage),
                points: account.score.points(at),
            });
        }
        memories
    }

    /// Is told what another desk has remembered so long ago. Calls that go on are told by [`Self::adopt`]: what was used
    /// before does not include what they use from then on.
    pub fn recall(&mut self, memory: &Memory, age: Duration, now: Now) {
        let at = self.at(now);
        let today = self.clock.day;
        match memory {
            Memory::Destination(destination) => {
                if let Some(number) = Number::read(destination) {
                    self.destinations.add(&number);
                }
            }
            Memory::All(used) => self.all.usage.recall(used, today, at),
            Memory::Entry(name, used) => {
                let place = self.plan.spec().callers.iter().position(|entry| *entry.name == **name);
                if let Some(bucket) = place.and_then(|place| self.groups.get_mut(place)) {
                    bucket.usage.recall(used, today, at);
                }
            }
            Memory::Caller { name, address, used, permissions, points } => {
                let slot = match (address, name.parse::<IpAddr>()) {
                    (true, Ok(ip)) => self.accounts.of_address(ip, at, today),
                    (true, Err(_)) => return,
                    (false, _) => self.accounts.of_name(name, at, today),
                };
                // Who has none of his own gets nothing of the crowd's.
                if slot == super::Accounts::SHARED {
                    return;
                }
                let plan = self.plan.clone();
                let account = self.accounts.get_mut(slot);
                account.bucket.usage.recall(used, today, at);
                for (name, spent) in permissions {
                    let permissions = &plan.spec().permissions;
                    let place = permissions.iter().position(|permission| *permission.name == **name);
                    if let Some(place) = place.and_then(|place| u8::try_from(place).ok()) {
                        account.usage(place).recall(&Used { used: *spent, ..*used }, today, at);
                    }
                }
                if let Some(fraud) = &plan.spec().fraud {
                    account.score.recall(fraud, *points, millis(age), at);
                }
            }
        }
    }

    /// Something of an account is to be remembered anew.
    pub(super) fn change(&mut self, slot: u32) {
        let account = self.accounts.get_mut(slot);
        if slot != super::Accounts::SHARED && !std::mem::replace(&mut account.changed, true) {
            self.changed.accounts.push(slot);
        }
    }
}

/// What has changed since it was remembered.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) all: bool,
    pub(super) groups: std::collections::BTreeSet<u32>,
    /// Each once.
    pub(super) accounts: Vec<u32>,
}
