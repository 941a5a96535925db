//! Questions and answers: who wants to call whom, and whether it may.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::number::Number;

/// The time of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// What the clock on the wall shows: hours, dates and days are of this.
    pub wall: Timestamp,
    /// Time that only goes forward, from any beginning: rates, durations and minutes are of this.
    pub since: Duration,
}

/// What signals a call or a registration. Decisions are the same for each; registrations may be told apart by
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// SIP.
    Sip,
    /// H.323.
    H323,
    /// SCCP.
    Sccp,
    /// MGCP.
    Mgcp,
}

impl Protocol {
    /// Each by its name in a rules file.
    pub const NAMES: [(&'static str, Self); 4] =
        [("sip", Self::Sip), ("h323", Self::H323), ("sccp", Self::Sccp), ("mgcp", Self::Mgcp)];

    /// The name in a rules file.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, protocol)| *protocol == self).map_or("", |(name, _)| name)
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Party<'a> {
    /// What it calls itself, numbers and names alike, as signalled: what is best known first. A SIP address
    /// may come as its user, as `user@host`, or both; what cannot be read as a number is a name.
    pub names: &'a [&'a str],
    /// The name of the device it is, where one has registered: `SEP0011AABBCCDD`, an endpoint identifier.
    pub device: Option<&'a str>,
    /// Where it signals from.
    pub address: Option<IpAddr>,
}

/// An attempt to call.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Signalled by.
    pub protocol: Protocol,
    /// Who calls.
    pub caller: Party<'a>,
    /// Whom: each name of the called party as signalled. As nobody here knows which will be dialled, every
    /// number of it must be permitted, and the call is an emergency call only if each of them is an emergency
    /// number.
    pub called: &'a [&'a str],
    /// Where the call is sent to.
    pub to: Option<IpAddr>,
}

/// A call that was permitted, as the desk knows it. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub(crate) u64);

/// The answer to an [`Attempt`].
#[derive(Clone, Debug)]
#[must_use = "a call that is permitted holds a place until `Desk::ended`"]
pub struct Decision {
    /// Whether it may.
    pub verdict: Verdict,
    /// To be told to [`crate::Desk::connected`] and [`crate::Desk::ended`]; `None` where the call is refused.
    pub ticket: Option<Ticket>,
    /// The permission that the called number needs; `None` where no pattern has it.
    pub permission: Option<Arc<str>>,
    /// The place of the entry that the caller is, among [`crate::Spec::callers`]; `None` where it is none.
    pub caller_entry: Option<usize>,
    /// The caller's number, normalised; empty where it has none.
    pub caller: Number,
    /// The called number, normalised; empty where it has none, and where it is a pin.
    pub called: Number,
    /// It is an emergency call: nothing else may refuse it either.
    pub emergency: bool,
    /// What was dialled is a pin: it is not to be shown or kept.
    pub pin: bool,
    /// The longest the call may last from when it is answered. [`crate::Desk::tick`] tells when this or
    /// another limit has come.
    pub longest: Option<Duration>,
    /// What somebody should know.
    pub alarms: Vec<Alarm>,
}

impl Decision {
    /// Whether the call may go on.
    pub fn permits(&self) -> bool {
        self.verdict == Verdict::Permit
    }
}

/// Whether a call or a registration may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Permit,
    /// It may not.
    Refuse(Why),
}

/// Why a call is refused or ended, or a registration refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// The caller does not hold the permission that the number needs.
    NoPermission,
    /// No pattern has the number, and such numbers are refused.
    NoPattern,
    /// The called party takes no calls from numbers of this kind.
    Incoming,
    /// Calls of this kind do not go through this trunk.
    Trunk,
    /// The number is blocked at this time.
    AfterHours,
    /// The caller has as many calls as it may have.
    CallerCalls,
    /// Those of its entry have.
    GroupCalls,
    /// There are as many calls that need this permission as there may be.
    PermissionCalls,
    /// There are as many calls as there may be.
    AllCalls,
    /// The caller calls too often.
    CallerRate,
    /// Those of its entry do.
    GroupRate,
    /// There are too many calls in a minute.
    AllRate,
    /// The caller's minutes of the day are used up.
    CallerMinutes,
    /// Those of its entry are.
    GroupMinutes,
    /// The caller's minutes of the day with this permission are.
    PermissionMinutes,
    /// The minutes of all are.
    AllMinutes,
    /// The call has lasted as long as calls of its kind may.
    Duration,
    /// What the caller did looks like fraud.
    Fraud,
    /// The device is not known.
    UnknownDevice,
    /// The device may not register from where it is.
    Place,
    /// As many devices have registered as may.
    Registrations,
}

/// The kind of answer that fits; each protocol has words of its own for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is not permitted, and will not be: SIP 403, Q.850 cause 21 (call rejected), securityDenial.
    Forbidden,
    /// It is not permitted now; another day or hour it is: SIP 403, Q.850 cause 21.
    NotNow,
    /// There is no room at the moment: SIP 503, Q.850 cause 42 (congestion), resourceUnavailable.
    Busy,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; 21] = [
        Self::NoPermission,
        Self::NoPattern,
        Self::Incoming,
        Self::Trunk,
        Self::AfterHours,
        Self::CallerCalls,
        Self::GroupCalls,
        Self::PermissionCalls,
        Self::AllCalls,
        Self::CallerRate,
        Self::GroupRate,
        Self::AllRate,
        Self::CallerMinutes,
        Self::GroupMinutes,
        Self::PermissionMinutes,
        Self::AllMinutes,
        Self::Duration,
        Self::Fraud,
        Self::UnknownDevice,
        Self::Place,
        Self::Registrations,
    ];

    /// The name shown to people and programs; never given to another reason.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPermission => "no-permission",
            Self::NoPattern => "no-pattern",
            Self::Incoming => "incoming",
            Self::Trunk => "trunk",
            Self::AfterHours => "after-hours",
            Self::CallerCalls => "caller-calls",
            Self::GroupCalls => "group-calls",
            Self::PermissionCalls => "permission-calls",
            Self::AllCalls => "all-calls",
            Self::CallerRate => "caller-rate",
            Self::GroupRate => "group-rate",
            Self::AllRate => "all-rate",
            Self::CallerMinutes => "caller-minutes",
            Self::GroupMinutes => "group-minutes",
            Self::PermissionMinutes => "permission-minutes",
            Self::AllMinutes => "all-minutes",
            Self::Duration => "duration",
            Self::Fraud => "fraud",
            Self::UnknownDevice => "unknown-device",
            Self::Place => "place",
            Self::Registrations => "registrations",
        }
    }

    /// The reason of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.name() == name)
    }

    /// A few words for the caller: plain ASCII without quotes.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoPermission => "Not permitted to call this number",
            Self::NoPattern => "Number not in the dial plan",
            Self::Incoming => "Called party takes no such calls",
            Self::Trunk => "Not permitted through this trunk",
            Self::AfterHours => "Number blocked at this time",
            Self::CallerCalls | Self::GroupCalls | Self::PermissionCalls | Self::AllCalls => "Too many calls",
            Self::CallerRate | Self::GroupRate | Self::AllRate => "Too many calls in a minute",
            Self::CallerMinutes | Self::GroupMinutes | Self::PermissionMinutes | Self::AllMinutes => {
                "Minutes of the day used up"
            }
            Self::Duration => "Call has lasted as long as it may",
            Self::Fraud => "Call pattern looks like fraud",
            Self::UnknownDevice => "Device not known",
            Self::Place => "Not permitted to register from here",
            Self::Registrations => "Too many registrations",
        }
    }

    /// The kind of answer that fits.
    pub const fn answer(self) -> Answer {
        match self {
            Self::NoPermission
            | Self::NoPattern
            | Self::Incoming
            | Self::Trunk
            | Self::Fraud
            | Self::UnknownDevice
            | Self::Place => Answer::Forbidden,
            Self::AfterHours
            | Self::CallerMinutes
            | Self::GroupMinutes
            | Self::PermissionMinutes
            | Self::AllMinutes
            | Self::Duration => Answer::NotNow,
            Self::CallerCalls
            | Self::GroupCalls
            | Self::PermissionCalls
            | Self::AllCalls
            | Self::CallerRate
            | Self::GroupRate
            | Self::AllRate
            | Self::Registrations => Answer::Busy,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about.
    pub kind: AlarmKind,
    /// The same in words, with who and where to: one line. Names a peer gave stand in it.
    pub text: String,
}

/// What an [`Alarm`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlarmKind {
    /// An emergency number was called.
    Emergency,
    /// A destination that has not been called before.
    FirstSeen,
    /// Many short calls to one prefix of a permission that costs.
    ShortCalls,
    /// Calls at night with a permission that costs.
    NightCalls,
    /// Many attempts that failed.
    FailedAttempts,
    /// A device that is not known has registered, or tried to.
    UnknownDevice,
}

impl AlarmKind {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::FirstSeen => "first-seen",
            Self::ShortCalls => "short-calls",
            Self::NightCalls => "night-calls",
            Self::FailedAttempts => "failed-attempts",
            Self::UnknownDevice => "unknown-device",
        }
    }
}

/// A call that is to be ended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub ticket: Ticket,
    /// Why.
    pub why: Why,
}

/// An attempt to register.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// Signalled by.
    pub protocol: Protocol,
    /// The name it registers under: a device name, the user or `user@host` of an address of record, an alias.
    /// One that registers under several asks for each.
    pub name: &'a str,
    /// Where it signals from.
    pub address: IpAddr,
}

/// The answer to a [`Registration`].
#[derive(Clone, Debug)]
pub struct Admission {
    /// Whether it may.
    pub verdict: Verdict,
    /// What somebody should know.
    pub alarms: Vec<Alarm>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn reasons_have_names_of_their_own() {
        let names: HashSet<&str> = Why::ALL.iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), Why::ALL.len());
        for why in Why::ALL {
            assert_eq!(Why::named(why.name()), Some(why));
            assert!(why.text().bytes().all(|byte| byte.is_ascii() && byte != b'"'), "{why}");
        }
        assert_eq!(Why::named("nothing"), None);
    }
}
