//! Phones that register by SCCP.

use std::net::{Ipv4Addr, SocketAddr};

use callgate_alg::action::Time;
use callgate_alg::sccp::{Phone, Standing};
use serde::{Deserialize, Serialize};

/// A phone, or another device that registers with a call manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneRow {
    /// Device name: SEP and a MAC address for phones; empty where its registration was not seen.
    pub name: String,
    /// Model, or the number of its type; empty while not known.
    pub model: String,
    /// Protocol version that was agreed on; `None` while not known.
    pub version: Option<u8>,
    /// Its end of the signalling connection.
    pub address: SocketAddr,
    /// The address it says it has, where it says one.
    pub announced: Option<Ipv4Addr>,
    /// Its call manager.
    pub manager: SocketAddr,
    /// Lines it has at most; `None` while not known.
    pub lines: Option<u32>,
    /// Firmware load; empty while not known.
    pub load: String,
    /// Where it stands with its call manager.
    pub state: Standing,
    /// Since it stands there.
    pub since_s: u64,
    /// Its registration was not seen: it was met in the middle of its connection.
    pub picked_up: bool,
    /// The rules file does not know its name.
    pub unknown: bool,
}

impl PhoneRow {
    /// The row of `phone` at `now`.
    pub fn new(phone: &Phone, now: Time) -> Self {
        Self {
            name: phone.name.clone(),
            model: phone.model.clone(),
            version: Some(phone.protocol).filter(|version| *version > 0),
            address: phone.address,
            announced: phone.announced,
            manager: phone.manager,
            lines: Some(phone.lines).filter(|lines| *lines > 0),
            load: phone.load.clone(),
            state: phone.state,
            since_s: now.since(phone.since).as_secs(),
            picked_up: phone.picked_up,
            unknown: phone.unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_phone_has_not_said_is_left_open() {
        let address = |text: &str| text.parse().expect("an address");
        let phone = Phone {
            name: "SEP0011AABBCCDD".to_owned(),
            model: "7960".to_owned(),
            protocol: 0,
            address: address("10.20.0.115:49170"),
            announced: None,
            manager: address("10.1.1.10:2000"),
            lines: 6,
            load: String::new(),
            state: Standing::Lost,
            since: Time(2_000_000_000),
            picked_up: false,
            unknown: true,
        };
        let row = PhoneRow::new(&phone, Time(9_900_000_000));
        assert_eq!((row.version, row.lines, row.since_s), (None, Some(6), 7));
        assert_eq!((row.address, row.manager), (phone.address, phone.manager));
        let json = serde_json::to_value(&row).expect("it has no map");
        assert_eq!((&json["state"], &json["unknown"]), (&"lost".into(), &true.into()));
        assert_eq!(serde_json::from_value::<PhoneRow>(json).expect("what it wrote"), row);
    }
}
