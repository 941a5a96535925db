//! What goes into the engine and what comes out.

use std::net::SocketAddr;
use std::time::Duration;

use callgate_shared::Reason;
use callgate_shared::pinhole::Kind;
use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

use crate::call::{Call, CallId};
use crate::contract::Contract;
use crate::event::Event;
use crate::finished::Finished;
use crate::media::Refusal;

/// Monotonic time in ns: the kernel's `CLOCK_MONOTONIC` on the live path, the capture's clock in a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// Time since an earlier moment; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A transport protocol that carries signalling or media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Transport {
    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Udp => callgate_shared::flow::UDP,
            Self::Tcp => callgate_shared::flow::TCP,
        }
    }

    /// `udp` or `tcp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// Where a message came from and under which rule.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// When it was seen.
    pub now: Time,
    /// Its sender.
    pub source: SocketAddr,
    /// Its receiver.
    pub destination: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// What is to be read in it.
    pub protocol: Inspect,
    /// Counter slot of the rule that admitted its flow: selects [`crate::media::Policy::rule`].
    pub slot: u32,
    /// The Ethernet source of the frame it came in; `None` for what came in none.
    pub link: Option<[u8; 6]>,
}

/// What is to be done with the packet that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it go on, byte for byte.
    Pass,
    /// Drop it.
    Drop(Reason),
    /// TCP: drop it and reset the connection at both ends.
    Reset(Reason),
    /// Drop it and say no in the protocol's own words; a TCP connection ends with them.
    Refuse(Box<Denial>),
    /// TCP: let it go on with other octets in some places.
    Replace(Box<Replacement>),
    /// It answers what the firewall itself has said ([`Action::Say`]), and concerns nobody else.
    Absorb,
}

impl Verdict {
    /// Why it does not go on; `None` if it does.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Pass | Self::Replace(_) | Self::Absorb => None,
            Self::Drop(reason) | Self::Reset(reason) => Some(*reason),
            Self::Refuse(denial) => Some(denial.reason),
        }
    }
}

/// A refusal in the protocol's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// As what the drop is counted.
    pub reason: Reason,
    /// What its sender is told, as if by its receiver: a datagram's payload, or the last bytes of a connection.
    /// `None`: nothing by UDP, a reset by TCP.
    pub reply: Option<Vec<u8>>,
    /// What its receiver is told instead of it, as if by its sender; `None` likewise.
    pub notify: Option<Vec<u8>>,
    /// TCP: the sequence number of the reply's first byte, where it is not the one that the packet acknowledges:
    /// its receiver has sent more meanwhile.
    pub sequence: Option<u32>,
}

/// Octets that a receiver reads instead of those that were sent, for the sake of what else its connection carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Where they begin, in the frame of a message or in a segment's payload, and what they are: as many as they
    /// take the place of.
    pub patches: Vec<(usize, Vec<u8>)>,
    /// What is said of a message that cannot be replaced, because a part of it has gone on already.
    pub otherwise: Box<Verdict>,
}

/// Words of the firewall's own, to a party of a call as if from the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saying {
    /// The call they are about: [`Action::Path`] has told how its parties are reached.
    pub call: CallId,
    /// As if from here.
    pub from: SocketAddr,
    /// To here.
    pub to: SocketAddr,
    /// What carries them.
    pub carrier: Carrier,
    /// The payload.
    pub payload: Vec<u8>,
}

/// What carries a [`Saying`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram of UDP.
    Datagram,
    /// The last segment of a TCP connection: both ends count from here.
    LastSegment {
        /// Of its first byte.
        sequence: u32,
        /// What its receiver has sent so far.
        acknowledgement: u32,
    },
}

impl From<Denial> for Verdict {
    fn from(denial: Denial) -> Self {
        Self::Refuse(Box::new(denial))
    }
}

/// A pinhole as the engine wants it; one per (receiver, transport).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinholeSpec {
    /// Where the stream is received.
    pub to: SocketAddr,
    /// What carries it.
    pub transport: Transport,
    /// Who may send: 1 to [`callgate_shared::pinhole::MAX_SENDERS`], port `None` where signalling has not told it.
    pub senders: Vec<Sender>,
    /// What flows through it.
    #[serde(with = "crate::call::kind_name")]
    pub kind: Kind,
    /// Silence after which the kernel half admits nothing more. Generous, because a muted party sends nothing
    /// while its call goes on: a call that is silent as a whole is ended by the engine, long before.
    pub idle: Duration,
    /// The sender's port is to be learnt from the first RTP or RTCP packet within this time of the opening; nobody
    /// else is admitted then, and the way back to it is open. `None`: nothing is learnt.
    #[serde(default)]
    pub latch: Option<Duration>,
    /// What was agreed of the stream.
    #[serde(default)]
    pub contract: Contract,
    /// The call that opened it.
    pub call: CallId,
    /// Counter slot of the rule that admitted the signalling.
    pub slot: u32,
}

/// Who may send into a pinhole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sender {
    /// Address.
    pub ip: std::net::IpAddr,
    /// Port, where it is known.
    pub port: Option<u16>,
}

/// Why a pinhole closed or a call ended; its `name` is shown to people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// SIP BYE.
    Bye,
    /// SIP CANCEL.
    Cancel,
    /// A final response that is a failure: SIP 300 to 699, MGCP 400 and above, a TFTP error.
    Failed,
    /// MGCP DLCX.
    Deleted,
    /// An MGCP gateway has lost its connections.
    Restarted,
    /// Its first packet has come, and the flow it began goes on without a pinhole.
    Locked,
    /// The last block of a file has been transferred.
    Completed,
    /// H.225 ReleaseComplete.
    ReleaseComplete,
    /// H.245 EndSession.
    EndSession,
    /// SCCP: the phone is on hook.
    OnHook,
    /// SCCP: the phone has unregistered, or was told to reset.
    Unregistered,
    /// The stream was closed by signalling (port 0, CloseLogicalChannel) and the call goes on.
    ChannelClosed,
    /// The stream's address was changed by signalling.
    Moved,
    /// Another call has taken its place (SIP Replaces).
    Replaced,
    /// TCP RST on the signalling connection.
    ConnectionReset,
    /// Silence.
    Inactivity,
    /// The session's own timer or the longest life a call may have.
    Expired,
    /// An operator, or a rules file that no longer permits it.
    Operator,
    /// The firewall has refused one of its messages.
    Refused,
    /// A limit of the call policy.
    Limit,
}

impl EndReason {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::Cancel => "cancel",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
            Self::Restarted => "restarted",
            Self::Locked => "locked",
            Self::Completed => "completed",
            Self::ReleaseComplete => "release-complete",
            Self::EndSession => "end-session",
            Self::OnHook => "on-hook",
            Self::Unregistered => "unregistered",
            Self::ChannelClosed => "channel-closed",
            Self::Moved => "moved",
            Self::Replaced => "replaced",
            Self::ConnectionReset => "connection-reset",
            Self::Inactivity => "inactivity",
            Self::Expired => "expired",
            Self::Operator => "operator",
            Self::Refused => "refused",
            Self::Limit => "limit",
        }
    }
}

/// Somebody who guesses passwords, users or servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Where that comes from.
    pub source: std::net::IpAddr,
    /// It really does: by TCP, or he has answered what was sent there. Else it may be forged.
    pub proven: bool,
    /// It is passwords that he guesses: no honest neighbour does.
    pub passwords: bool,
    /// For how long he is to be blocked.
    pub life: Duration,
    /// What he has done, for people.
    pub text: String,
}

/// What the engine wants done, in order. Pinhole actions are to be carried out before the message is let go.
#[derive(Clone, Debug)]
pub enum Action {
    /// Open this pinhole.
    Open(PinholeSpec),
    /// Its senders, kind, call or patience have changed: counters go on, its silence begins anew.
    Update(PinholeSpec),
    /// Close it.
    Close {
        /// Where the stream was received.
        to: SocketAddr,
        /// What carried it.
        transport: Transport,
        /// The call that owned it last.
        call: CallId,
        /// Why.
        reason: EndReason,
    },
    /// A call was set up or has changed: its whole record.
    Call(Box<Call>),
    /// A call is over: its last record. Its pinholes have been closed by earlier actions.
    Ended(Box<Call>, EndReason),
    /// A call is over, or was refused: what the history keeps of it. Once for each attempt; not for registrations,
    /// admissions and files.
    Finished(Box<Finished>),
    /// An announcement opened nothing.
    Refused {
        /// What was announced.
        address: SocketAddr,
        /// The call whose signalling announced it.
        call: CallId,
        /// Why.
        refusal: Refusal,
    },
    /// The packet that was read came from a party of this call: the way it took is a way to its parties, until the
    /// call is over and what is said then has been said.
    Path(CallId),
    /// Say this.
    Say(Box<Saying>),
    /// Something an operator wants to know.
    Event(Event),
    /// Somebody guesses, and is to be blocked unless he has business here.
    Suspect(Suspect),
}
