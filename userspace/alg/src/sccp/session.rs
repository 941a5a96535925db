//! One phone's connection to its call manager, and the calls and channels it has.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use callgate_protocols::sccp::Channel;

use super::phone::{Phone, Standing};
use crate::action::{Context, Time};
use crate::call::{Call, CallId, Granted, Party, StreamKey};

/// Channels remembered after they were closed: an answer on its way to the opening of one opens nothing.
const MAX_CLOSED: usize = 32;
/// Seconds between keep-alives where the call manager's word was not seen: the longest that are usual.
const KEEPALIVE: u32 = 60;
/// Most calls whose refusal is remembered.
const MAX_REFUSED: usize = 8;

/// A connection between a phone and a call manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Connection {
    pub(super) phone: SocketAddr,
    pub(super) manager: SocketAddr,
}

impl Connection {
    /// A message's context as if `from_phone` (or the call manager) had sent it.
    pub(super) fn context(self, context: &Context, from_phone: bool) -> Context {
        let (source, destination) =
            if from_phone { (self.phone, self.manager) } else { (self.manager, self.phone) };
        Context { source, destination, link: None, ..*context }
    }
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    /// Read from its handshake on: a registration would have been seen.
    pub(super) whole: bool,
    pub(super) standing: Standing,
    /// It counts among the registered devices, be it that it registers anew.
    pub(super) registered: bool,
    /// What registers, until its call manager has answered.
    pub(super) pending: Option<Box<Phone>>,
    /// The device's name; empty while not known.
    pub(super) name: String,
    /// When the phone was heard last.
    pub(super) heard: Time,
    /// When the call manager was last allowed to announce the phone's address.
    pub(super) vouched: Option<Time>,
    /// Time between keep-alives.
    pub(super) keepalive: Duration,
    /// Calls by call reference, or by what stands for it.
    pub(super) calls: BTreeMap<u32, Held>,
    /// Open channels.
    pub(super) channels: BTreeMap<StreamKey, Open>,
    /// Pass-through parties of channels that were closed last.
    closed: VecDeque<StreamKey>,
    /// The port an old phone receives RTP on.
    pub(super) rtp_port: u16,
    /// A number dialled before there was a call.
    pub(super) dialled: String,
    /// Numbers of the phone's lines.
    pub(super) lines: BTreeMap<u32, String>,
    /// What was granted to it.
    pub(super) granted: Option<Box<Granted>>,
    /// Keys pressed so far, by call reference.
    pub(super) digits: BTreeMap<u32, String>,
    /// Calls that were refused, the latest last.
    pub(super) refused: VecDeque<u32>,
    /// The call that a limit has ended, until the phone is on hook.
    pub(super) limited: Option<u32>,
}

/// A call of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: CallId,
    /// The phone's part in it.
    pub(super) phone: Party,
    /// It is shown on a line: the phone going on hook ends it. Else the last channel does.
    pub(super) on_line: bool,
}

/// A channel that is open in at least one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Key of its call in [`Session::calls`].
    pub(super) call: u32,
    pub(super) conference: u32,
    /// The phone was told to receive.
    pub(super) receiving: bool,
    /// The phone was told to send.
    pub(super) sending: bool,
    /// RTP address and RTCP port the phone has taken, where it told them.
    pub(super) ports: Option<(SocketAddr, u16)>,
}

impl Session {
    pub(super) fn new(connection: Connection, whole: bool, now: Time) -> Self {
        Self {
            connection,
            whole,
            standing: Standing::Connected,
            registered: false,
            pending: None,
            name: String::new(),
            heard: now,
            vouched: None,
            keepalive: Duration::from_secs(KEEPALIVE.into()),
            calls: BTreeMap::new(),
            channels: BTreeMap::new(),
            closed: VecDeque::new(),
            rtp_port: 0,
            dialled: String::new(),
            lines: BTreeMap::new(),
            granted: None,
            digits: BTreeMap::new(),
            refused: VecDeque::new(),
            limited: None,
        }
    }

    /// Silence of the phone after which it is lost.
    pub(super) fn patience(&self) -> Duration {
        self.keepalive * 4
    }

    /// Whether a call was refused, or ended by a limit.
    pub(super) fn has_refused(&self, reference: u32) -> bool {
        reference != 0 && self.refused.contains(&reference)
    }

    /// Nothing more is to be heard of a call.
    pub(super) fn refuse(&mut self, reference: u32) {
        if self.refused.len() >= MAX_REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(reference);
    }

    /// Forgets a channel, but not that it was closed.
    pub(super) fn forget(&mut self, key: StreamKey) {
        if self.channels.remove(&key).is_some() {
            self.closed.push_back(key);
            if self.closed.len() > MAX_CLOSED {
                self.closed.pop_front();
            }
        }
    }

    /// Whether the channel was closed, and not opened again since.
    pub(super) fn has_closed(&self, key: StreamKey) -> bool {
        self.closed.contains(&key)
    }

    /// The channel is opened again.
    pub(super) fn reopen(&mut self, key: StreamKey) {
        self.closed.retain(|closed| *closed != key);
    }

    /// Channels a message names: the one of its pass-through party, or all of its conference. The oldest messages
    /// name none, and mean the one that has no name either.
    pub(super) fn named(&self, branch: u32, names: Channel) -> Vec<StreamKey> {
        let this = |key: &StreamKey, open: &Open| match names.party {
            0 => names.conference == open.conference,
            party => key.index == party,
        };
        let of_branch = self.channels.iter().filter(|(key, _)| key.branch == branch);
        of_branch.filter(|(key, open)| this(key, open)).map(|(key, _)| *key).collect()
    }

    /// Forgets a call and its channels; what it was.
    pub(super) fn drop_call(&mut self, reference: u32) -> Option<Held> {
        let keys: Vec<_> =
            self.channels.iter().filter(|(_, open)| open.call == reference).map(|(key, _)| *key).collect();
        for key in keys {
            self.forget(key);
        }
        self.digits.remove(&reference);
        self.calls.remove(&reference)
    }
}

impl Held {
    /// What a call's memo says of it: reference, whether it is on a line, and which party the phone is.
    pub(super) fn memo(&self, reference: u32) -> String {
        let kind = if self.on_line { "line" } else { "media" };
        let phone = if self.phone == Party::Caller { "caller" } else { "callee" };
        format!("{reference} {kind} {phone}")
    }

    /// Reads a memo again.
    pub(super) fn from_memo(call: &Call) -> Option<(u32, Self)> {
        let mut words = call.memo.split(' ');
        let reference = words.next()?.parse().ok()?;
        let on_line = words.next()? == "line";
        let phone = if words.next()? == "caller" { Party::Caller } else { Party::Callee };
        Some((reference, Self { id: call.id, phone, on_line }))
    }

    /// The connection of its call.
    pub(super) fn connection(&self, call: &Call) -> Connection {
        let end = |party: Party| call.signalling[party as usize];
        Connection { phone: end(self.phone), manager: end(self.phone.other()) }
    }
}
