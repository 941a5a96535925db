//! Calls, their streams, and the pinholes opened for them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use callgate_alg::action::{Sender, Time, Transport};
use callgate_alg::call::{Call, Medium, Party, State, Stream, StreamKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::h323::H323Call;
use crate::media::MediaRow;

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRow {
    /// Its number in this firewall.
    pub id: u64,
    /// What signals it: `sip`, `h225` …
    pub protocol: String,
    /// Its identifier in the protocol: Call-ID, or H.323 callIdentifier.
    pub key: String,
    /// Where it stands.
    pub state: State,
    /// Who signalled first.
    pub caller: CallEnd,
    /// The other party.
    pub callee: CallEnd,
    /// Since its first message.
    pub age_s: u64,
    /// Since it was answered.
    pub connected_s: Option<u64>,
    /// The rule that admitted its signalling; `None` when that rule is gone.
    pub rule: Option<String>,
    /// Its media streams.
    pub streams: Vec<StreamRow>,
    /// What else is known of an H.323 call.
    #[serde(default)]
    pub h323: Option<H323Call>,
    /// What the call policy says of it; `None` where it was not asked.
    #[serde(default)]
    pub policy: Option<CallPolicy>,
}

/// What the call policy says of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPolicy {
    /// The permission that it needs; empty where it needs none.
    pub permission: String,
    /// The calling and the called number as normalised; empty where there is none.
    pub numbers: [String; 2],
    /// The name the caller has registered; empty where none is known.
    pub device: String,
    /// It is an emergency call.
    pub emergency: bool,
}

/// A party of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEnd {
    /// Its signalling address.
    pub signalling: SocketAddr,
    /// Its name or number as signalled; empty while unknown.
    pub party: String,
}

/// A media stream of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRow {
    /// The early dialog or leg it belongs to; 0 where there is one only.
    pub branch: u32,
    /// The m= line, or the H.245 session.
    pub index: u32,
    /// What it carries.
    pub medium: Medium,
    /// Codec or format as signalled; empty while unknown.
    pub codec: String,
    /// On hold.
    pub held: bool,
    /// RTP and RTCP share a port.
    pub mux: bool,
    /// Signalling says that it is encrypted.
    #[serde(default)]
    pub secure: bool,
    /// The parties look for a way by ICE.
    #[serde(default)]
    pub ice: bool,
    /// A party is behind address translation: where it receives is learnt from what it sends.
    #[serde(default)]
    pub learned: bool,
    /// Where the caller receives it; `None` while unknown.
    pub caller: Option<SocketAddr>,
    /// Where the caller receives RTCP, if elsewhere.
    pub caller_rtcp: Option<SocketAddr>,
    /// Where the callee receives it; `None` while unknown.
    pub callee: Option<SocketAddr>,
    /// Where the callee receives RTCP, if elsewhere.
    pub callee_rtcp: Option<SocketAddr>,
    /// What was measured of what the caller receives; `None` where nothing is received through the firewall.
    #[serde(default)]
    pub to_caller: Option<MediaRow>,
    /// What was measured of what the callee receives.
    #[serde(default)]
    pub to_callee: Option<MediaRow>,
}

/// An open pinhole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinholeRow {
    /// Where the stream is received.
    pub to: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// What flows through it: `rtp`, `rtcp` …
    pub kind: String,
    /// Who may send; with the port that was learnt, where one was to be.
    pub from: Vec<Peer>,
    /// It was not announced, but learnt from a packet: its sender's port, or, where a rule has `tls_media`, all of it.
    #[serde(default)]
    pub learned: bool,
    /// Number of the call it belongs to.
    pub call: u64,
    /// That call's identifier in its protocol; `None` when the call is no longer known.
    pub call_key: Option<String>,
    /// Packets admitted.
    pub packets: u64,
    /// Bytes admitted, whole IP packets.
    pub bytes: u64,
    /// Since the last packet (at first: since the opening).
    pub idle_s: u64,
    /// Until it closes if the silence lasts.
    pub idle_left_s: u64,
    /// Until it closes whatever happens.
    pub expiry_left_s: u64,
}

/// Who may send into a pinhole; in JSON `"192.0.2.1"` or, where the port is known, `"192.0.2.1:16400"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Address.
    pub ip: IpAddr,
    /// Port, where it is known.
    pub port: Option<u16>,
}

impl CallRow {
    /// The row of `call` at `now`, admitted by the rule of this name.
    pub fn new(call: &Call, now: Time, rule: Option<&str>) -> Self {
        let end = |party: Party| CallEnd {
            signalling: call.signalling[party as usize],
            party: call.parties[party as usize].clone(),
        };
        Self {
            id: call.id.0,
            protocol: call.protocol.name().to_owned(),
            key: call.key.clone(),
            state: call.state,
            caller: end(Party::Caller),
            callee: end(Party::Callee),
            age_s: now.since(call.started).as_secs(),
            connected_s: call.connected.map(|answered| now.since(answered).as_secs()),
            rule: rule.map(str::to_owned),
            streams: call.streams.iter().map(|(key, stream)| StreamRow::new(key, stream)).collect(),
            h323: None,
            policy: call.granted.as_deref().map(|granted| CallPolicy {
                permission: granted.permission.clone(),
                numbers: granted.numbers.clone(),
                device: granted.device.clone(),
                emergency: granted.emergency,
            }),
        }
    }
}

impl StreamRow {
    /// The row of a stream, with nothing measured.
    pub fn new(key: &StreamKey, stream: &Stream) -> Self {
        let [caller, callee] = &stream.ends;
        Self {
            branch: key.branch,
            index: key.index,
            medium: stream.medium,
            codec: stream.codec.clone(),
            held: stream.held,
            mux: stream.mux,
            secure: stream.secure,
            ice: stream.ice.is_some(),
            learned: stream.ends.iter().any(|end| end.behind.is_some()),
            caller: caller.media,
            caller_rtcp: caller.control,
            callee: callee.media,
            callee_rtcp: callee.control,
            to_caller: None,
            to_callee: None,
        }
    }
}

impl From<Sender> for Peer {
    fn from(sender: Sender) -> Self {
        Self { ip: sender.ip, port: sender.port }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl FromStr for Peer {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(Self { ip: address.ip(), port: Some(address.port()) }),
            Err(_) => Ok(Self { ip: text.parse()?, port: None }),
        }
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Peer;

    #[test]
    fn a_peer_reads_what_it_writes() {
        for text in ["192.0.2.1", "192.0.2.1:16400", "2001:db8::1", "[2001:db8::1]:16400"] {
            let peer: Peer = text.parse().expect(text);
            assert_eq!(peer.to_string(), text);
            assert_eq!(peer.port.is_some(), text.ends_with(":16400"), "{text}");
        }
        assert!("anybody".parse::<Peer>().is_err());
    }
}
