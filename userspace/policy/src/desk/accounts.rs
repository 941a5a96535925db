//! What is kept of each caller.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::bucket::{Bucket, Millis, Usage};
use super::cut;
use super::score::Score;
use crate::hash::BuildQuick;

/// Callers that are told apart at a time; others share one account.
pub const MOST_CALLERS: usize = 65_536;
/// After looking for idle accounts in vain it is not tried again for so long.
const REST: Millis = 10_000;

/// Bytes of a name that are kept; a longer one is its beginning.
const NAME: usize = 128;

/// What is kept of a caller.
#[derive(Debug)]
pub(super) struct Account {
    name: Box<str>,
    /// The name is an address.
    address: bool,
    /// It is to be remembered anew.
    pub(super) changed: bool,
    pub(super) bucket: Bucket,
    /// The entry it was last found to belong to.
    pub(super) entry: Option<u32>,
    /// Calls that name it, those that count towards nothing included.
    pub(super) calls: u32,
    /// By permission, the time of the day used.
    usages: Vec<(u8, Usage)>,
    /// Until when a pin exempts it.
    pub(super) unlocked: Millis,
    pub(super) score: Score,
}

impl Account {
    fn new(name: &str, address: bool) -> Self {
        Self {
            name: name[..name.floor_char_boundary(NAME)].into(),
            address,
            changed: false,
            bucket: Bucket::default(),
            entry: None,
            calls: 0,
            usages: Vec::new(),
            unlocked: 0,
            score: Score::default(),
        }
    }

    /// Who it is, for people.
    pub(super) fn label(&self) -> String {
        cut(&self.name)
    }

    /// Who it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether that is an address.
    pub(super) fn is_address(&self) -> bool {
        self.address
    }

    /// Time of the day used, by permission.
    pub(super) fn used_by_permission(&self, day: i32, at: Millis) -> impl Iterator<Item = (u8, Millis)> {
        self.usages.iter().map(move |(place, usage)| (*place, usage.at(day, at)))
    }

    /// Time of the day used with a permission.
    pub(super) fn used(&self, permission: u8, day: i32, at: Millis) -> Millis {
        let usage = self.usages.iter().find(|(place, _)| *place == permission);
        usage.map_or(0, |(_, usage)| usage.at(day, at))
    }

    pub(super) fn usage(&mut self, permission: u8) -> &mut Usage {
        let place = self.usages.iter().position(|(place, _)| *place == permission);
        let place = place.unwrap_or_else(|| {
            self.usages.push((permission, Usage::default()));
            self.usages.len() - 1
        });
        &mut self.usages[place].1
    }

    fn is_idle(&self, day: i32, at: Millis) -> bool {
        self.calls == 0
            && !self.changed
            && self.unlocked <= at
            && self.bucket.is_idle(day, at)
            && self.usages.iter().all(|(_, usage)| usage.at(day, at) == 0)
            && self.score.is_forgotten(at)
    }
}

/// The accounts, by what callers are told by.
#[derive(Debug)]
pub(super) struct Accounts {
    hasher: RandomState,
    slots: Vec<Account>,
    by_key: HashMap<u64, u32, BuildQuick>,
    keys: Vec<u64>,
    free: Vec<u32>,
    /// When idle accounts may be looked for again.
    rests: Millis,
    /// Up to where [`Self::running`] has come.
    looked: usize,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: vec![Account::new("others", false)],
            by_key: HashMap::default(),
            keys: vec![0],
            free: Vec::new(),
            rests: 0,
            looked: 0,
        }
    }
}

impl Accounts {
    /// The account of those who have none.
    pub(super) const SHARED: u32 = 0;

    pub(super) fn get(&self, slot: u32) -> &Account {
        // Slots are never taken away.
        self.slots.get(slot as usize).unwrap_or(&self.slots[0])
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Account {
        let slot = if (slot as usize) < self.slots.len() { slot as usize } else { 0 };
        &mut self.slots[slot]
    }

    pub(super) fn of_name(&mut self, name: &str, at: Millis, day: i32) -> u32 {
        let name = &name[..name.floor_char_boundary(NAME)];
        let key = self.hasher.hash_one((0_u8, name));
        self.of(key, at, day, || Account::new(name, false))
    }

    pub(super) fn of_address(&mut self, address: IpAddr, at: Millis, day: i32) -> u32 {
        let key = self.hasher.hash_one((1_u8, address));
        self.of(key, at, day, || Account::new(&address.to_string(), true))
    }

    /// Of the next accounts, one round after the other, those with calls that are answered and go on.
    pub(super) fn running(&mut self, most: usize) -> Vec<u32> {
        let count = most.min(self.slots.len());
        let places = (self.looked..self.looked + count).map(|place| place % self.slots.len());
        let running = places.filter(|place| self.slots[*place].bucket.usage.running() > 0);
        let running = running.map(|place| place as u32).collect();
        self.looked = (self.looked + count) % self.slots.len();
        running
    }

    /// A number for these bytes, another in each process.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one((2_u8, bytes))
    }

    /// Entries and permissions have other places.
    pub(super) fn renumber(
        &mut self,
        entry: impl Fn(u32) -> Option<u32>,
        permission: impl Fn(u8) -> Option<u8>,
    ) {
        for account in &mut self.slots {
            account.entry = account.entry.and_then(&entry);
            account.usages.retain_mut(|(place, _)| {
                let new = permission(*place);
                *place = new.unwrap_or_default();
                new.is_some()
            });
        }
    }

    fn of(&mut self, key: u64, at: Millis, day: i32, account: impl FnOnce() -> Account) -> u32 {
        if let Some(slot) = self.by_key.get(&key) {
            return *slot;
        }
        if self.by_key.len() >= MOST_CALLERS - 1 {
            self.sweep(at, day);
        }
        if self.by_key.len() >= MOST_CALLERS - 1 {
            return Self::SHARED;
        }
        let account = account();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = account;
                self.keys[slot as usize] = key;
                slot
            }
            None => {
                self.slots.push(account);
                self.keys.push(key);
                self.slots.len() as u32 - 1
            }
        };
        self.by_key.insert(key, slot);
        slot
    }

    /// Forgets those of whom nothing is to be remembered.
    fn sweep(&mut self, at: Millis, day: i32) {
        if at < self.rests {
            return;
        }
        self.rests = at + REST;
        let (slots, free) = (&self.slots, &mut self.free);
        self.by_key.retain(|_, slot| {
            let idle = slots[*slot as usize].is_idle(day, at);
            if idle {
                free.push(*slot);
            }
            !idle
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_callers_share_an_account_until_others_are_idle() {
        let mut accounts = Accounts::default();
        for number in 0..MOST_CALLERS as u32 - 1 {
            let slot = accounts.of_address(IpAddr::from(number.to_be_bytes()), 0, 1);
            assert_ne!(slot, Accounts::SHARED);
            accounts.get_mut(slot).calls = 1;
        }
        let other = IpAddr::from([203, 0, 113, 9]);
        assert_eq!(accounts.of_address(other, 0, 1), Accounts::SHARED);
        let idle = accounts.of_address(IpAddr::from([0, 0, 0, 7]), 0, 1);
        accounts.get_mut(idle).calls = 0;
        assert_eq!(accounts.of_address(other, REST - 1, 1), Accounts::SHARED, "not looked for so soon");
        assert_eq!(accounts.of_address(other, REST, 1), idle);
        assert_eq!(accounts.get(idle).label(), "203.0.113.9");
        assert_eq!(accounts.slots.len(), MOST_CALLERS);
    }
}
