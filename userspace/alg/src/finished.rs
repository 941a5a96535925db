//! What is known of a call when it is over, or was refused: for the history, which outlives it.
//!
//! Told once for each attempt by [`crate::Action::Finished`], after its pinholes have been closed.

use std::net::SocketAddr;

use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

use crate::action::{Context, EndReason, Time};
use crate::call::{Call, CallId, Party, Stream, StreamKey};

/// Why a call was refused that a rule of `[inspect]` has refused.
pub const INSPECTION: &str = "inspection";

/// A call that is over, or was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its number here; 0 where it was refused before it had one.
    pub id: CallId,
    /// What signalled it.
    pub protocol: Inspect,
    /// Its identifier in the protocol, as [`Call::key`].
    pub key: String,
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u32,
    /// Signalling addresses, by [`Party`].
    pub signalling: [SocketAddr; 2],
    /// Calling and called party as signalled, as [`Call::parties`].
    pub parties: [String; 2],
    /// The same as normalised; empty where that says nothing.
    pub numbers: [String; 2],
    /// The name the caller has registered: a device's, an alias; empty where none is known.
    pub device: String,
    /// When its first message was seen.
    pub started: Time,
    /// When it was answered.
    pub connected: Option<Time>,
    /// When it was over.
    pub ended: Time,
    /// Why.
    pub reason: EndReason,
    /// Why in the protocol's own words, where it has said.
    pub cause: Option<Cause>,
    /// Who ended it, where that is known.
    pub released_by: Option<ReleasedBy>,
    /// The permission its called number needs; empty where it needs none.
    pub permission: String,
    /// Why the firewall refused it; `None` where it did not.
    pub refused: Option<&'static str>,
    /// It is an emergency call.
    pub emergency: bool,
    /// Where its streams were received last, by [`Party`].
    pub media: [Vec<SocketAddr>; 2],
    /// Its streams, as they were last.
    pub streams: Vec<(StreamKey, Stream)>,
}

/// Why a call ended, as its protocol says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A SIP status code.
    Sip(u16),
    /// A Q.850 cause, from H.225 or a SIP Reason field.
    Q850(u8),
    /// A RAS reason.
    Ras(u8),
    /// An SCCP device's status.
    Sccp(u32),
    /// An MGCP return code.
    Mgcp(u16),
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleasedBy {
    /// Who began it.
    Caller,
    /// Who was called.
    Callee,
    /// We did.
    Firewall,
    /// Nobody: it fell silent.
    Nobody,
}

impl Finished {
    /// What a call's record tells when it ends at `now`; the rest is for whoever knows it.
    pub fn of(call: &Call, reason: EndReason, now: Time) -> Self {
        let released_by = match reason {
            EndReason::Inactivity => Some(ReleasedBy::Nobody),
            EndReason::Expired | EndReason::Operator | EndReason::Refused | EndReason::Limit => {
                Some(ReleasedBy::Firewall)
            }
            EndReason::Cancel => Some(ReleasedBy::Caller),
            _ => None,
        };
        let granted = call.granted.as_deref().cloned().unwrap_or_default();
        Self {
            id: call.id,
            protocol: call.protocol,
            key: call.key.clone(),
            slot: call.slot,
            signalling: call.signalling,
            parties: call.parties.clone(),
            numbers: granted.numbers,
            device: granted.device,
            started: call.started,
            connected: call.connected,
            ended: now,
            reason,
            cause: call.cause,
            released_by: call.released_by.or(released_by),
            permission: granted.permission,
            refused: granted.refused,
            emergency: granted.emergency,
            media: [Party::Caller, Party::Callee].map(|party| media_of(call, party)),
            streams: call.streams.iter().map(|(key, stream)| (*key, stream.clone())).collect(),
        }
    }
}

impl Finished {
    /// An attempt that the rules of its protocol have refused before it became a call.
    pub(crate) fn refused(
        context: &Context,
        key: String,
        parties: [String; 2],
        cause: Option<Cause>,
    ) -> Self {
        Self {
            id: CallId(0),
            protocol: context.protocol,
            key,
            slot: context.slot,
            signalling: [context.source, context.destination],
            parties,
            numbers: Default::default(),
            device: String::new(),
            started: context.now,
            connected: None,
            ended: context.now,
            reason: EndReason::Refused,
            cause,
            released_by: Some(ReleasedBy::Firewall),
            permission: String::new(),
            refused: Some(INSPECTION),
            emergency: false,
            media: Default::default(),
            streams: Vec::new(),
        }
    }
}

/// Where a party's streams were received.
fn media_of(call: &Call, party: Party) -> Vec<SocketAddr> {
    call.streams.iter().filter_map(|(_, stream)| stream.ends[party as usize].media).collect()
}

impl ReleasedBy {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Firewall => "firewall",
            Self::Nobody => "nobody",
        }
    }
}

impl From<Party> for ReleasedBy {
    fn from(party: Party) -> Self {
        match party {
            Party::Caller => Self::Caller,
            Party::Callee => Self::Callee,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sip(status) => write!(f, "sip {status}"),
            Self::Q850(cause) => write!(f, "q850 {cause}"),
            Self::Ras(reason) => write!(f, "ras {reason}"),
            Self::Sccp(status) => write!(f, "sccp {status}"),
            Self::Mgcp(code) => write!(f, "mgcp {code}"),
        }
    }
}
