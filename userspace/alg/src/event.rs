//! What operators want to know of phones, gateways and file transfers, in their own words.
//!
//! An [`Event`] is made by a tracker and told by [`crate::Action::Event`]; keeping, counting and showing it is
//! the caller's business. Texts are cut to bounds and freed of control characters, whatever a peer sent.

use std::fmt;
use std::net::SocketAddr;

use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

use crate::action::{Context, EndReason, Time};
use crate::call::Call;

/// Something an operator wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Time,
    /// What.
    pub kind: EventKind,
    /// By which protocol.
    #[serde(with = "crate::call::protocol_name")]
    pub protocol: Inspect,
    /// Whose doing it is.
    pub source: SocketAddr,
    /// A device's name, a file, an endpoint; at most [`Self::MAX_SUBJECT`] bytes, may be empty.
    pub subject: String,
    /// More, for people; at most [`Self::MAX_TEXT`] bytes, may be empty.
    pub text: String,
}

impl Event {
    /// Most bytes of a subject.
    pub const MAX_SUBJECT: usize = 128;
    /// Most bytes of a text.
    pub const MAX_TEXT: usize = 256;

    /// An event of the sender of a message.
    pub fn new(context: &Context, kind: EventKind, subject: &str, text: &str) -> Self {
        Self::at(context.now, kind, context.protocol, context.source, subject, text)
    }

    /// An event nobody sent a message for: silence, say.
    pub fn at(
        time: Time,
        kind: EventKind,
        protocol: Inspect,
        source: SocketAddr,
        subject: &str,
        text: &str,
    ) -> Self {
        let (subject, text) = (printable(subject, Self::MAX_SUBJECT), printable(text, Self::MAX_TEXT));
        Self { time, kind, protocol, source, subject, text }
    }

    /// A call is over.
    pub fn call_ended(time: Time, call: &Call, reason: EndReason) -> Self {
        let lasted = call.connected.map_or_else(
            || "not answered".to_owned(),
            |answered| format!("lasted {} s", time.since(answered).as_secs()),
        );
        let text = format!("{}, {lasted}, {}", reason.name(), call.key);
        let [caller, _] = call.signalling;
        Self::at(time, EventKind::CallEnded, call.protocol, caller, &parties(call), &text)
    }
}

/// Both parties of a call as far as they are known.
pub(crate) fn parties(call: &Call) -> String {
    let [caller, callee] = [0, 1].map(|party| match call.parties[party].as_str() {
        "" => call.signalling[party].ip().to_string(),
        name => name.to_owned(),
    });
    format!("{caller} → {callee}")
}

/// What an event is; its `name` is shown to people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A phone or endpoint has registered.
    Registered,
    /// A device whose name the rules file does not know, or that was never seen before, has registered.
    NewlySeen,
    /// A device unregistered itself, or was told to.
    Unregistered,
    /// A device's connection was lost, or its keep-alives have stopped.
    UnregisteredAbnormally,
    /// A device or its server refused a registration of its own accord.
    Rejected,
    /// A device is not what, or not where, it was.
    Mismatch,
    /// A device's own alarm text.
    Alarm,
    /// A server told a device to reset or restart.
    Reset,
    /// A gateway has restarted, and its calls are over.
    Restarted,
    /// A device could not send or receive media.
    MediaFailed,
    /// The firewall refused a registration, a command or a file.
    Refused,
    /// A message could not be read, or broke the protocol.
    Violation,
    /// A file was asked for and is on its way.
    FileAsked,
    /// A file has been transferred to its last block.
    FileFetched,
    /// A transfer ended in an error, or in silence.
    FileFailed,
    /// A trust list is larger than phones can load.
    TrustListTooLarge,
    /// A call was set up.
    CallStarted,
    /// A call is over.
    CallEnded,
    /// A call carries H.245 within its call signalling.
    H245Tunnelled,
    /// An endpoint or a call uses the traversal procedures of H.460.18 or H.460.19.
    Traversal,
    /// Somebody guesses passwords, users or servers.
    Attack,
    /// Media came from another port than the one that was learnt.
    SecondSource,
    /// An address was blocked.
    Blocked,
    /// An address is let by again.
    Unblocked,
    /// A packet was dropped: a sample of them is told.
    Dropped,
    /// An emergency number was called.
    EmergencyCall,
    /// A destination was called for the first time.
    NewDestination,
    /// Somebody's calls look like fraud.
    FraudSuspected,
    /// A limit of the call policy has ended a call.
    LimitReached,
    /// A call is up, and one of its parties hears nothing.
    OneWayAudio,
    /// A call is up, and neither party hears anything.
    NoAudio,
    /// A call that had no audio, or one way only, has it both ways.
    AudioRestored,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 32] = [
        Self::Registered,
        Self::NewlySeen,
        Self::Unregistered,
        Self::UnregisteredAbnormally,
        Self::Rejected,
        Self::Mismatch,
        Self::Alarm,
        Self::Reset,
        Self::Restarted,
        Self::MediaFailed,
        Self::Refused,
        Self::Violation,
        Self::FileAsked,
        Self::FileFetched,
        Self::FileFailed,
        Self::TrustListTooLarge,
        Self::CallStarted,
        Self::CallEnded,
        Self::H245Tunnelled,
        Self::Traversal,
        Self::Attack,
        Self::SecondSource,
        Self::Blocked,
        Self::Unblocked,
        Self::Dropped,
        Self::EmergencyCall,
        Self::NewDestination,
        Self::FraudSuspected,
        Self::LimitReached,
        Self::OneWayAudio,
        Self::NoAudio,
        Self::AudioRestored,
    ];

    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::NewlySeen => "newly-seen",
            Self::Unregistered => "unregistered",
            Self::UnregisteredAbnormally => "unregistered-abnormally",
            Self::Rejected => "rejected",
            Self::Mismatch => "mismatch",
            Self::Alarm => "alarm",
            Self::Reset => "reset",
            Self::Restarted => "restarted",
            Self::MediaFailed => "media-failed",
            Self::Refused => "refused",
            Self::Violation => "violation",
            Self::FileAsked => "file-asked",
            Self::FileFetched => "file-fetched",
            Self::FileFailed => "file-failed",
            Self::TrustListTooLarge => "trust-list-too-large",
            Self::CallStarted => "call-started",
            Self::CallEnded => "call-ended",
            Self::H245Tunnelled => "h245-tunnelled",
            Self::Traversal => "traversal",
            Self::Attack => "attack",
            Self::SecondSource => "second-source",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
            Self::Dropped => "dropped",
            Self::EmergencyCall => "emergency-call",
            Self::NewDestination => "new-destination",
            Self::FraudSuspected => "fraud-suspected",
            Self::LimitReached => "limit-reached",
            Self::OneWayAudio => "one-way-audio",
            Self::NoAudio => "no-audio",
            Self::AudioRestored => "audio-restored",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it is bad news.
    pub const fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::Registered
                | Self::NewlySeen
                | Self::Unregistered
                | Self::Reset
                | Self::FileAsked
                | Self::FileFetched
                | Self::CallStarted
                | Self::CallEnded
                | Self::H245Tunnelled
                | Self::Traversal
                | Self::Unblocked
                | Self::AudioRestored
        )
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text up to so many bytes, a `?` in place of each character a terminal might obey.
fn printable(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most);
    text[..end].chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(subject: &str, text: &str) -> Event {
        let source = "192.0.2.1:50000".parse().expect("an address");
        Event::at(Time(1), EventKind::Alarm, Inspect::Sccp, source, subject, text)
    }

    #[test]
    fn texts_are_cut_between_characters_and_cannot_command_a_terminal() {
        let event = event("SEP\x1b[2J\u{9b}", &"ü".repeat(200));
        assert_eq!(event.subject, "SEP?[2J?");
        assert_eq!(event.text, "ü".repeat(128));
        let odd = self::event(&format!("x{}", "ü".repeat(100)), "");
        assert_eq!(odd.subject.len(), 127);
    }

    #[test]
    fn names_are_the_same_for_people_and_programs() {
        for kind in EventKind::ALL {
            let quoted = format!("\"{}\"", kind.name());
            assert_eq!(serde_json::to_string(&kind).expect("it has no map"), quoted);
            assert_eq!(EventKind::from_name(kind.name()), Some(kind));
        }
    }
}
