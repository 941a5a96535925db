//! Phones as listings see them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::action::Time;

/// Most phones remembered.
const MAX_PHONES: usize = 100_000;

/// A phone, or another device that registers with a call manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phone {
    /// Device name: SEP and a MAC address for phones; empty while it is not known, since its registration was
    /// not seen. At most 15 bytes.
    pub name: String,
    /// Model, or the number of its type; empty while not known.
    pub model: String,
    /// Protocol version that was agreed on; 0 while not known.
    pub protocol: u8,
    /// Its end of the signalling connection.
    pub address: SocketAddr,
    /// The address it says it has, where it says one.
    pub announced: Option<Ipv4Addr>,
    /// Its call manager.
    pub manager: SocketAddr,
    /// Lines it has at most; 0 while not known.
    pub lines: u32,
    /// Firmware load, at most 32 characters; empty while not known.
    pub load: String,
    /// Where it stands.
    pub state: Standing,
    /// Since when.
    pub since: Time,
    /// Its registration was not seen: it was taken as registered in the middle of its connection.
    pub picked_up: bool,
    /// The rules file does not know it, and lets it register all the same.
    pub unknown: bool,
}

/// Where a device stands with its call manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It has said nothing of a registration.
    Connected,
    /// It has asked to register, and was not answered yet.
    Registering,
    /// It is registered.
    Registered,
    /// It has asked to unregister, and was not answered yet.
    Unregistering,
    /// It has unregistered.
    Unregistered,
    /// Its connection was lost, or its keep-alives have stopped.
    Lost,
}

impl Standing {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::Unregistering => "unregistering",
            Self::Unregistered => "unregistered",
            Self::Lost => "lost",
        }
    }

    /// Whether its call manager takes it for registered.
    pub const fn is_registered(self) -> bool {
        matches!(self, Self::Registered | Self::Unregistering)
    }
}

/// All phones that are or were registered, by name, or by address where no name is known.
#[derive(Debug, Default)]
pub(super) struct Phones(BTreeMap<String, Phone>);

impl Phones {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Phone> {
        self.0.values()
    }

    pub(super) fn named(&self, name: &str) -> Option<&Phone> {
        self.0.get(&folded(name))
    }

    /// Enters a phone in place of what was known of it; whether nothing was.
    ///
    /// At the bound one that is not registered has to go; if all are, it is not listed.
    pub(super) fn enter(&mut self, phone: Phone) -> bool {
        let key = key(&phone.name, phone.address);
        let new = !self.0.contains_key(&key);
        if new && self.0.len() >= MAX_PHONES {
            let gone = self.0.iter().find(|(_, phone)| !phone.state.is_registered());
            let Some(gone) = gone.map(|(key, _)| key.clone()) else { return new };
            self.0.remove(&gone);
        }
        self.0.insert(key, phone);
        new
    }

    /// Changes where a phone stands, if it still is at this address.
    pub(super) fn set(&mut self, name: &str, address: SocketAddr, state: Standing, now: Time) {
        let key = key(name, address);
        let Some(phone) = self.0.get_mut(&key).filter(|phone| phone.address == address) else { return };
        if phone.state != state {
            (phone.state, phone.since) = (state, now);
        }
        // Nobody can tell a nameless phone that is gone from the next one.
        if name.is_empty() && !state.is_registered() {
            self.0.remove(&key);
        }
    }
}

fn key(name: &str, address: SocketAddr) -> String {
    if name.is_empty() { address.to_string() } else { folded(name) }
}

/// A name in the one case that stands for both: a call manager takes them for the same device.
fn folded(name: &str) -> String {
    name.to_ascii_uppercase()
}
