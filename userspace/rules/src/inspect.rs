//! What the `[inspect]` tables say: how far each inspected protocol is trusted.
//!
//! Plain values; the defaults let ordinary phones, gateways and their servers work. Carrying them out is the
//! trackers' business. Guarantees that matching a name takes time linear in pattern times name, whatever a peer
//! sends.

pub mod h323;
pub mod sip;

use crate::prefixes::Addresses;
pub use callgate_policy::Pattern;
pub use h323::H323Policy;
pub use sip::SipPolicy;

/// The `[inspect.*]` tables of a rules file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InspectPolicies {
    /// `[inspect.h323]`.
    pub h323: H323Policy,
    /// `[inspect.sip]`.
    pub sip: SipPolicy,
    /// `[inspect.sccp]`.
    pub sccp: SccpPolicy,
    /// `[inspect.mgcp]`.
    pub mgcp: MgcpPolicy,
    /// `[inspect.tftp]`.
    pub tftp: TftpPolicy,
}

/// Which phones may register by SCCP, and which messages are let by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SccpPolicy {
    /// Device names that may register; empty: every name.
    pub allow: Vec<Pattern>,
    /// Device names that may not, even where [`Self::allow`] has them.
    pub deny: Vec<Pattern>,
    /// Device names that are known; see [`Self::unknown_phones`].
    pub phones: Vec<Pattern>,
    /// What becomes of a device whose name is not among [`Self::phones`].
    pub unknown_phones: Admission,
    /// While a device is registered from one address, no other may register under its name.
    ///
    /// A phone that lost its power and came back with another address has to wait until its old registration
    /// has fallen silent.
    pub one_address_per_device: bool,
    /// What becomes of a device that says it has another MAC address than its name, or another address than the
    /// one it is seen from.
    pub mismatch: Mismatch,
    /// What becomes of a phone whose name is not SEP and the source of its Ethernet frames; `None`: they are not
    /// compared.
    ///
    /// For phones on the firewall's own segment: behind a router the source is the router's.
    pub match_ethernet: Option<Mismatch>,
    /// Devices one address may have registered at a time; an analogue gateway registers each port as a device
    /// of its own.
    pub registrations_per_source: u32,
    /// Attempts to register that are read from one address in a second.
    pub registrations_per_second: u32,
    /// The greatest message identifier that is known. SPCP's, 0x8000 to 0x8101, are known besides.
    pub message_id_max: u32,
    /// What becomes of other messages.
    pub unknown: UnknownMessage,
    /// The greatest value of a message's length field: bytes from the message identifier on.
    pub length_max: u32,
}

impl SccpPolicy {
    /// What becomes of a device that registers under this name.
    pub fn admission(&self, device: impl AsRef<[u8]>) -> Admission {
        let device = device.as_ref();
        let among = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(device));
        if among(&self.deny) || !self.allow.is_empty() && !among(&self.allow) {
            return Admission::Refuse;
        }
        if among(&self.phones) { Admission::Allow } else { self.unknown_phones }
    }
}

impl Default for SccpPolicy {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            phones: Vec::new(),
            unknown_phones: Admission::Allow,
            one_address_per_device: true,
            mismatch: Mismatch::Event,
            match_ethernet: None,
            registrations_per_source: 256,
            registrations_per_second: 50,
            message_id_max: 0x0181,
            unknown: UnknownMessage::Pass,
            length_max: 4_096,
        }
    }
}

/// What becomes of a device that registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    #[default]
    Allow,
    /// It may, and an event says so.
    Flag,
    /// It may not.
    Refuse,
}

/// What becomes of a device that is not what its name says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mismatch {
    /// It may register, and an event says so.
    #[default]
    Event,
    /// It may not register.
    Refuse,
}

/// What becomes of a message whose identifier is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownMessage {
    /// It goes on, unread.
    #[default]
    Pass,
    /// It is refused.
    Drop,
}

/// Who may command whom by MGCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MgcpPolicy {
    /// Addresses that may command gateways, and answer for one another.
    pub call_agents: Addresses,
    /// Addresses that may be commanded.
    pub gateways: Addresses,
}

/// Which files may be transferred by TFTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TftpPolicy {
    /// Whether files may be written to the server.
    pub write: bool,
    /// Names that may be asked for; empty: every name.
    pub files: Vec<Pattern>,
    /// A file with a MAC address in its name is only for the phone of that name, where the phones at the asking
    /// address are known.
    pub match_mac: bool,
}

impl TftpPolicy {
    /// Whether a file of this name may be asked for.
    pub fn permits(&self, file: impl AsRef<[u8]>) -> bool {
        self.files.is_empty() || self.files.iter().any(|pattern| pattern.matches(file.as_ref()))
    }
}

impl Default for TftpPolicy {
    fn default() -> Self {
        Self { write: false, files: Vec::new(), match_mac: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::new(text).expect("a pattern")).collect()
    }

    #[test]
    fn deny_beats_allow_and_known_phones_are_never_flagged() {
        let policy = SccpPolicy {
            allow: patterns(&["SEP*", "CIPC*"]),
            deny: patterns(&["SEP00DEAD*"]),
            phones: patterns(&["SEP0011AABBCC??"]),
            unknown_phones: Admission::Flag,
            ..SccpPolicy::default()
        };
        assert_eq!(policy.admission("SEP0011AABBCCDD"), Admission::Allow);
        assert_eq!(policy.admission("CIPC1"), Admission::Flag);
        assert_eq!(policy.admission("SEP00DEADBEEF00"), Admission::Refuse);
        assert_eq!(policy.admission("ATA0011AABBCCDD"), Admission::Refuse);
        assert_eq!(SccpPolicy::default().admission("ATA0011AABBCCDD"), Admission::Allow);
    }

    #[test]
    fn tftp_reads_any_file_until_files_are_named() {
        assert!(TftpPolicy::default().permits("Ringlist.xml"));
        let policy = TftpPolicy { files: patterns(&["SEP*", "*.loads"]), ..TftpPolicy::default() };
        assert!(policy.permits("SEP0011AABBCCDD.cnf.xml") && policy.permits("term62.default.loads"));
        assert!(!policy.permits("/etc/passwd"));
    }
}
