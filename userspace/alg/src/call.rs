//! The record of a call.

mod stream_map;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_policy::Ticket;
use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

use crate::action::Time;
use crate::contract::Contract;
use crate::finished::{Cause, ReleasedBy};
pub use stream_map::StreamMap;

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
    /// T.120, MSRP or other data over TCP.
    Data,
    /// An H.245 control channel.
    Control,
    /// H.225 call signalling at an address that RAS has told.
    H225,
    /// Another gatekeeper's RAS address.
    Ras,
    /// SIP over UDP, at an address that is registered.
    Sip,
    /// SIP over TCP, likewise.
    SipTcp,
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
    /// Where it sends from, if signalling tells; else any port of where it receives. Port 0: any port.
    #[serde(default)]
    pub sends: Option<SocketAddr>,
    /// Further pairs of ports behind `media` and `control`, two apart (RFC 8866 section 5.14); at most
    /// [`MAX_EXTRA`].
    #[serde(default)]
    pub extra: u8,
    /// It receives behind address translation: where is learnt from what `signalling` sends.
    #[serde(default)]
    pub behind: Option<Behind>,
}

/// Most [`End::extra`].
pub const MAX_EXTRA: u8 = 3;
/// Most [`Ice::candidates`] of one party.
pub const MAX_CANDIDATES: usize = 16;

/// A place behind address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// What was announced: a private address, which nobody on this side can reach.
    pub announced: SocketAddr,
    /// How long after its pinhole has opened the first packet is waited for.
    pub window: Duration,
}

/// Other places the parties can receive at, by [`Party`] (RFC 8445). Where it is known, STUN may come to each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ice {
    /// At most [`MAX_CANDIDATES`] of each.
    pub candidates: [Vec<Candidate>; 2],
}

/// One such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Where.
    pub address: SocketAddr,
    /// RTCP is received there; else RTP, or both.
    pub control: bool,
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
    /// Signalling says that it is encrypted: SRTP, or DTLS.
    #[serde(default)]
    pub secure: bool,
    /// What the parties have told of other places they can be reached at; `None` where they do not look for a way.
    #[serde(default)]
    pub ice: Option<Box<Ice>>,
    /// What each party accepts, by [`Party`]: what the other is to send it.
    #[serde(default)]
    pub contracts: [Contract; 2],
    /// The ends, by [`Party`].
    pub ends: [End; 2],
}

impl Stream {
    /// A stream of which nothing has been said but who signals it, by [`Party`].
    pub fn new(medium: Medium, signalling: [IpAddr; 2]) -> Self {
        let end =
            |signalling| End { signalling, media: None, control: None, sends: None, extra: 0, behind: None };
        Self {
            medium,
            mux: false,
            held: false,
            codec: String::new(),
            secure: false,
            ice: None,
            contracts: Default::default(),
            ends: signalling.map(end),
        }
    }
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
    pub streams: StreamMap,
    /// What the tracker needs to go on after a restart (tags, CRV …); opaque to everybody else, at most 1 KiB.
    pub memo: String,
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u32,
    /// What the call policy has said of it; `None` where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Box<Granted>>,
    /// Who ends it, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<ReleasedBy>,
    /// Why it ends, in the protocol's own words, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl Call {
    /// Whether anything says who is called.
    pub(crate) fn is_to_somebody(&self) -> bool {
        self.connected.is_some() || !self.parties[Party::Callee as usize].is_empty() || self.granted.is_some()
    }
}

/// What the call policy says of a call that it permits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The permission that it needs; empty where it needs none.
    pub permission: String,
    /// The calling and the called number as normalised, by [`Party`].
    pub numbers: [String; 2],
    /// The name the caller has registered: a device's, an alias; empty where none is known.
    pub device: String,
    /// The called number as it was put to the policy.
    pub called: String,
    /// It is an emergency call: nothing refuses it, and no limit ends it.
    pub emergency: bool,
    /// The firewall has seen it come to the called party, not its caller make it.
    #[serde(default)]
    pub comes: bool,
    /// Why it is refused after all, and about to end.
    #[serde(skip)]
    pub(crate) refused: Option<&'static str>,
    /// What the desk knows it by; `None` where it does not count.
    #[serde(skip)]
    pub(crate) ticket: Option<Ticket>,
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
