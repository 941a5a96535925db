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
/// Most calls whose refusal is remembered, and most questions that wait for an answer.
const MAX_REFUSED: usize = 8;
/// How long a call manager may go on with a call that it is told is over, and a phone take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

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
    pub(super) refused: VecDeque<Refused>,
    /// What the phone has been asked for the sake of its answer, the oldest first.
    questions: VecDeque<Question>,
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
    /// That line; 0 while it is not known.
    pub(super) line: u32,
}

/// A call that the call policy has refused, or that a limit has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) call: u32,
    pub(super) line: u32,
    /// It rings at the phone: the receiver that is lifted is lifted for it.
    pub(super) comes: bool,
    /// The call manager has said that it is over.
    over: bool,
    /// When the call manager was first told so, or first went on with it all the same.
    told: Option<Time>,
}

/// A question to the phone, whose answer is to end a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    call: Refused,
    asked: Time,
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
            questions: VecDeque::new(),
            limited: None,
        }
    }

    /// Silence of the phone after which it is lost.
    pub(super) fn patience(&self) -> Duration {
        self.keepalive * 4
    }

    /// Whether a call was refused, or ended by a limit.
    pub(super) fn has_refused(&self, call: u32) -> bool {
        self.refused.iter().any(|refused| refused.call == call)
    }

    /// The refused call that a channel is for. One that is for no call by name may be for any that is not over.
    pub(super) fn refused_channel(&self, call: u32) -> Option<u32> {
        let mut refused = self.refused.iter().rev();
        refused.find(|refused| if call == 0 { !refused.over } else { refused.call == call }).map(|r| r.call)
    }

    /// Whether a refused call rings at the phone; any, where none is named.
    pub(super) fn rings_in_vain(&self, call: u32) -> bool {
        self.refused.iter().any(|refused| refused.comes && !refused.over && [0, refused.call].contains(&call))
    }

    /// Nothing more is to be heard of a call on this line; `comes`: it rings at the phone.
    pub(super) fn refuse(&mut self, call: u32, line: u32, comes: bool) {
        if call == 0 {
            return;
        }
        self.refused.retain(|refused| refused.call != call);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(Refused { call, line, comes, over: false, told: None });
    }

    /// Asks the phone something, so that its answer can end a refused call: whether there is still time for that.
    pub(super) fn question(&mut self, call: u32, now: Time) -> bool {
        let Some(refused) = self.refused.iter_mut().find(|refused| refused.call == call) else {
            return false;
        };
        let in_time = now.since(*refused.told.get_or_insert(now)) <= PATIENCE;
        if in_time && self.questions.len() < MAX_REFUSED {
            self.questions.push_back(Question { call: *refused, asked: now });
        }
        in_time
    }

    /// Whether the call manager was told a moment ago that a refused call is over, or is about to be.
    pub(super) fn is_being_told(&self, call: u32, now: Time) -> bool {
        let told = self.refused.iter().find(|refused| refused.call == call).and_then(|refused| refused.told);
        told.is_some_and(|told| now.since(told) <= PATIENCE)
    }

    /// The phone answers: the call that its answer is to end.
    pub(super) fn answered(&mut self) -> Option<Refused> {
        self.questions.pop_front().map(|question| question.call)
    }

    /// Whether the phone owes an answer that does not come. It is not waited for any longer.
    pub(super) fn gives_up(&mut self, now: Time) -> bool {
        let silent = self.questions.front().is_some_and(|question| now.since(question.asked) > PATIENCE);
        if silent {
            self.questions.clear();
        }
        silent
    }

    /// The call manager says that a call is over.
    pub(super) fn is_over(&mut self, call: u32) {
        self.limited.take_if(|limited| *limited == call);
        self.questions.retain(|question| question.call.call != call);
        self.refused
            .iter_mut()
            .filter(|refused| refused.call == call)
            .for_each(|refused| refused.over = true);
        self.digits.remove(&0);
    }

    /// A call begins, whose number may be that of one that was refused. Unless the receiver is lifted for one that
    /// rings, that one is over.
    pub(super) fn begins(&mut self, call: u32, rings: bool) {
        if rings || !self.refused.iter().any(|refused| refused.call == call && refused.comes && !refused.over)
        {
            self.is_over(call);
            self.refused.retain(|refused| refused.call != call);
        }
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
    /// What a call's memo says of it: reference, whether it is on a line, which party the phone is, and the line.
    pub(super) fn memo(&self, reference: u32) -> String {
        let kind = if self.on_line { "line" } else { "media" };
        let phone = if self.phone == Party::Caller { "caller" } else { "callee" };
        format!("{reference} {kind} {phone} {}", self.line)
    }

    /// Reads a memo again.
    pub(super) fn from_memo(call: &Call) -> Option<(u32, Self)> {
        let mut words = call.memo.split(' ');
        let reference = words.next()?.parse().ok()?;
        let on_line = words.next()? == "line";
        let phone = if words.next()? == "caller" { Party::Caller } else { Party::Callee };
        let line = words.next().and_then(|line| line.parse().ok()).unwrap_or(0);
        Some((reference, Self { id: call.id, phone, on_line, line }))
    }

    /// The connection of its call.
    pub(super) fn connection(&self, call: &Call) -> Connection {
        let end = |party: Party| call.signalling[party as usize];
        Connection { phone: end(self.phone), manager: end(self.phone.other()) }
    }
}
