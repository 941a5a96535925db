//! The record of a call.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

use crate::action::Time;

/// A call's number in this firewall: unique while the pinned maps live, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The first message was seen.
    Calling,
    /// The callee is being alerted, or early media flows.
    Ringing,
    /// Answered.
    Connected,
}

/// Which party of a call: the one whose signalling started it, or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// Sender of the first message.
    Caller = 0,
    /// Its receiver.
    Callee = 1,
}

impl Party {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}

/// Names one media stream within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey {
    /// The early dialog or call leg it belongs to; 0 where there is one only.
    pub branch: u32,
    /// The m= line, or the H.245 session.
    pub index: u32,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// RTP audio.
    Audio,
    /// RTP video.
    Video,
    /// T.38 over UDPTL.
    Image,
    /// T.120 or other TCP data.
    Data,
    /// An H.245 control channel.
    Control,
    /// H.225 call signalling at an address that RAS has told.
    H225,
    /// Another gatekeeper's RAS address.
    Ras,
    /// A file by TFTP.
    File,
    /// Anything else over RTP.
    Other,
}

/// One party's end of a stream: where it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The address its signalling comes from: the only sender admitted to the other end until `media` is known.
    pub signalling: IpAddr,
    /// Where it receives RTP (or UDPTL, T.120, H.245); `None` while unknown, on hold, or refused.
    pub media: Option<SocketAddr>,
    /// Where it receives RTCP, if not on the same port.
    pub control: Option<SocketAddr>,
    /// Where it sends from, if signalling tells; else any port of where it receives.
    #[serde(default)]
    pub sends: Option<SocketAddr>,
}

/// A media stream: two ends, each of which may be unknown yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// What it carries.
    pub medium: Medium,
    /// RTP and RTCP share a port (RFC 5761, agreed by both).
    pub mux: bool,
    /// Held by one party: silence closes it later.
    pub held: bool,
    /// Codec or format as signalled, for people; empty while unknown. At most 32 bytes.
    pub codec: String,
    /// The ends, by [`Party`].
    pub ends: [End; 2],
}

/// A call as listings and the journal see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number here.
    pub id: CallId,
    /// What signals it.
    #[serde(with = "protocol_name")]
    pub protocol: Inspect,
    /// Its identifier in the protocol: Call-ID, H.323 callIdentifier, a file's name; at most 256 bytes.
    pub key: String,
    /// Where it stands.
    pub state: State,
    /// Signalling addresses, by [`Party`].
    pub signalling: [SocketAddr; 2],
    /// Calling and called party as signalled; at most 128 bytes each, empty while unknown.
    pub parties: [String; 2],
    /// When its first message was seen.
    pub started: Time,
    /// When it was answered.
    pub connected: Option<Time>,
    /// Its streams.
    #[serde(with = "stream_list")]
    pub streams: BTreeMap<StreamKey, Stream>,
    /// What the tracker needs to go on after a restart (tags, CRV …); opaque to everybody else, at most 1 KiB.
    pub memo: String,
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u32,
}

/// [`callgate_shared::pinhole::Kind`] by its name.
pub(crate) mod kind_name {
    use callgate_shared::pinhole::Kind;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(kind: &Kind, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Kind, D::Error> {
        let name = String::deserialize(from)?;
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| D::Error::custom(format!("unknown pinhole kind `{name}`")))
    }
}

/// [`Inspect`] by its name.
pub(crate) mod protocol_name {
    use callgate_shared::policy::Inspect;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(protocol: &Inspect, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(protocol.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Inspect, D::Error> {
        let name = String::deserialize(from)?;
        Inspect::ALL
            .into_iter()
            .find(|protocol| protocol.name() == name)
            .ok_or_else(|| D::Error::custom(format!("unknown protocol `{name}`")))
    }
}

/// Streams as a list of pairs: JSON has no structured keys.
mod stream_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Stream, StreamKey};

    pub(super) fn serialize<S: Serializer>(
        streams: &BTreeMap<StreamKey, Stream>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(streams)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<StreamKey, Stream>, D::Error> {
        Ok(Vec::<(StreamKey, Stream)>::deserialize(from)?.into_iter().collect())
    }
}
