//! Calls that are over: their records, which of them are wanted, their sums, and what looks odd among them.

use serde::{Deserialize, Serialize};

use crate::filter::{BadFilter, decoded, encoded};

/// A call that is over, or was refused. Moments are Unix time in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The firewall that saw it: its host's name.
    pub host: String,
    /// The call's number there; 0 where it was refused before it had one.
    pub call: u64,
    /// What signalled it: `sip`, `h225` …
    pub protocol: String,
    /// Its identifier in the protocol: Call-ID, or H.323 callIdentifier.
    pub key: String,
    /// Who called: the number as `[policy]` normalises it; else the user part of what was signalled; else the device's
    /// name, or the address.
    pub caller: String,
    /// Who was called, likewise.
    pub called: String,
    /// The calling party as signalled; empty where nothing was said.
    pub caller_signalled: String,
    /// The called party as signalled.
    pub called_signalled: String,
    /// The name under which the caller is registered; empty where none is known.
    pub device: String,
    /// Where the caller's signalling came from, with its port.
    pub caller_address: String,
    /// Where it went.
    pub called_address: String,
    /// When the first message was seen.
    pub started_ms: u64,
    /// When it was answered.
    pub connected_ms: Option<u64>,
    /// When it was over.
    pub ended_ms: u64,
    /// From its answer to its end; 0 where it was not answered.
    pub duration_ms: u64,
    /// Why it ended: `bye`, `cancel`, `refused` …
    pub reason: String,
    /// Why in the protocol's own words: `sip 486`, `q850 17` …
    pub cause: Option<String>,
    /// Who ended it: `caller`, `callee`, `firewall`, or `nobody` where it fell silent.
    pub released_by: Option<String>,
    /// The permission its number needs: its destination class; empty where it needs none.
    pub permission: String,
    /// `permitted`, or why the firewall refused it.
    pub verdict: String,
    /// The firewall refused it.
    pub refused: bool,
    /// It was an emergency call.
    pub emergency: bool,
    /// The rule that admitted its signalling.
    pub rule: Option<String>,
    /// Packets of media to the caller.
    pub packets_to_caller: u64,
    /// Their bytes, whole IP packets.
    pub bytes_to_caller: u64,
    /// Packets of media to the called party.
    pub packets_to_called: u64,
    /// Their bytes.
    pub bytes_to_called: u64,
    /// Share of audio packets lost, 0 to 1: of the direction that lost more; `None` where nothing was measured.
    pub loss: Option<f64>,
    /// Interarrival jitter of audio in ms, likewise.
    pub jitter_ms: Option<f64>,
    /// Mean opinion score, 1 to 4.5: of the direction that sounded worse.
    pub mos: Option<f64>,
    /// Of what the caller received.
    #[serde(default)]
    pub loss_to_caller: Option<f64>,
    /// Likewise.
    #[serde(default)]
    pub jitter_ms_to_caller: Option<f64>,
    /// Likewise.
    #[serde(default)]
    pub mos_to_caller: Option<f64>,
    /// Of what the called party received.
    #[serde(default)]
    pub loss_to_called: Option<f64>,
    /// Likewise.
    #[serde(default)]
    pub jitter_ms_to_called: Option<f64>,
    /// Likewise.
    #[serde(default)]
    pub mos_to_called: Option<f64>,
}

/// The verdict of a call that was let by.
pub const PERMITTED: &str = "permitted";

/// Which records are wanted: those for which all of it is true. The default is every record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Who called: a number or name, or its beginning followed by `*`.
    pub caller: Option<String>,
    /// Who was called, likewise.
    pub called: Option<String>,
    /// A name under which callers are registered, likewise.
    pub device: Option<String>,
    /// `caller` or `called` is enough; both are needed otherwise.
    pub any: bool,
    /// A permission.
    pub class: Option<String>,
    /// What it was that ended the call, or kept it from being: a reason, a cause or a verdict.
    pub cause: Option<String>,
    /// What signalled it.
    pub protocol: Option<String>,
    /// The firewall that saw it.
    pub host: Option<String>,
    /// Begun at this moment or later.
    pub since_ms: Option<u64>,
    /// Begun before this moment.
    pub until_ms: Option<u64>,
    /// Refused by the firewall, or not.
    pub refused: Option<bool>,
    /// Answered, or not.
    pub answered: Option<bool>,
    /// At least so many seconds.
    pub longer_s: Option<u64>,
    /// At most so many seconds, and answered.
    pub shorter_s: Option<u64>,
}

impl HistoryFilter {
    /// Takes up one `key=value` of a query, as [`Self::to_query`] writes it.
    ///
    /// # Errors
    /// [`BadFilter`]: another key, or a value that is none.
    pub fn take(&mut self, pair: &str) -> Result<(), BadFilter> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let bad = |hint| BadFilter { pair: pair.to_owned(), hint };
        let value = decoded(value).filter(|value| !value.is_empty()).ok_or_else(|| bad("use KEY=VALUE"))?;
        let number = || value.parse().map_err(|_| bad("use a whole number"));
        let yes_or_no = || value.parse().map_err(|_| bad("use true or false"));
        match key {
            "any" => self.any = yes_or_no()?,
            "since_ms" => self.since_ms = Some(number()?),
            "until_ms" => self.until_ms = Some(number()?),
            "longer_s" => self.longer_s = Some(number()?),
            "shorter_s" => self.shorter_s = Some(number()?),
            "refused" => self.refused = Some(yes_or_no()?),
            "answered" => self.answered = Some(yes_or_no()?),
            "caller" => self.caller = Some(value),
            "called" => self.called = Some(value),
            "device" => self.device = Some(value),
            "class" => self.class = Some(value),
            "cause" => self.cause = Some(value),
            "protocol" => self.protocol = Some(value),
            "host" => self.host = Some(value),
            _ => {
                return Err(bad(
                    "there are caller, called, device, any, class, cause, protocol, host, since_ms, until_ms, \
                     refused, answered, longer_s, shorter_s and limit",
                ));
            }
        }
        Ok(())
    }

    /// The query: `key=value` joined by `&`; empty where every record is wanted.
    pub fn to_query(&self) -> String {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let yes_or_no = |yes: Option<bool>| yes.map(|yes| yes.to_string());
        let pairs = [
            ("caller", self.caller.clone()),
            ("called", self.called.clone()),
            ("device", self.device.clone()),
            ("any", self.any.then(|| "true".to_owned())),
            ("class", self.class.clone()),
            ("cause", self.cause.clone()),
            ("protocol", self.protocol.clone()),
            ("host", self.host.clone()),
            ("since_ms", number(self.since_ms)),
            ("until_ms", number(self.until_ms)),
            ("refused", yes_or_no(self.refused)),
            ("answered", yes_or_no(self.answered)),
            ("longer_s", number(self.longer_s)),
            ("shorter_s", number(self.shorter_s)),
        ];
        let pairs = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(&value?))));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// What records are summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The permission their numbers need: destination classes.
    Class,
    /// Who called.
    Caller,
    /// Who was called.
    Called,
    /// What signalled them.
    Protocol,
    /// What the firewall said.
    Verdict,
    /// The firewall that saw them.
    Host,
}

impl By {
    /// Each.
    pub const ALL: [Self; 6] =
        [Self::Class, Self::Caller, Self::Called, Self::Protocol, Self::Verdict, Self::Host];

    /// The name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Class => "class",
            Self::Caller => "caller",
            Self::Called => "called",
            Self::Protocol => "protocol",
            Self::Verdict => "verdict",
            Self::Host => "host",
        }
    }

    /// That of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }
}

/// The sum of records that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryTotal {
    /// What they have in common.
    pub name: String,
    /// How many there are, refused ones included.
    pub calls: u64,
    /// Of these, were answered.
    pub answered: u64,
    /// Of these, the firewall refused.
    pub refused: u64,
    /// How long they lasted together.
    pub duration_s: u64,
    /// The first began at.
    pub first_ms: u64,
    /// The last began at.
    pub last_ms: u64,
}

/// Something that looks odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What: `short-calls`, `night-calls`, `failed-attempts`, `first-seen`.
    pub kind: String,
    /// Whose doing it is: a caller; or where the calls went to.
    pub subject: String,
    /// How odd: 1 is just worth a look, 100 is beyond doubt.
    pub score: u8,
    /// How many calls it is drawn from.
    pub calls: u64,
    /// The first began at.
    pub first_ms: u64,
    /// The last began at.
    pub last_ms: u64,
    /// Why it looks odd, for people.
    pub why: String,
}

/// How the history fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStatus {
    /// Where records go: the database's file or address, and every further place.
    pub places: Vec<HistoryPlace>,
}

/// A place records go to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPlace {
    /// What it is: `database`, `syslog`, `file`, `webhook`.
    pub kind: String,
    /// Where.
    pub place: String,
    /// Records that have got there since the daemon started or the rules changed it.
    pub written: u64,
    /// Records that never will: there was no room to wait, or it was tried often enough.
    pub lost: u64,
    /// Records that wait.
    pub waiting: u64,
    /// What is wrong with it; `None` where all is well.
    pub trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<HistoryFilter, BadFilter> {
        let mut filter = HistoryFilter::default();
        query.split('&').filter(|pair| !pair.is_empty()).try_for_each(|pair| filter.take(pair))?;
        Ok(filter)
    }

    #[test]
    fn a_query_says_what_the_filter_says() {
        let text = "caller=2001&called=1900%2A&device=SEP0011AABBCCDD&any=true&class=premium&cause=sip%20486\
                    &protocol=sip&host=fw1&since_ms=1&until_ms=2&refused=false&answered=true&longer_s=3&shorter_s=4";
        let read = filter(text).expect("a filter");
        assert_eq!((read.called.as_deref(), read.refused, read.any), (Some("1900*"), Some(false), true));
        assert_eq!(read.to_query(), text);
        assert_eq!(HistoryFilter::default().to_query(), "");
    }

    #[test]
    fn what_is_no_filter_is_told() {
        for wrong in ["caller=", "since_ms=yesterday", "refused=maybe", "colour=red", "called=%4"] {
            assert_eq!(filter(wrong).expect_err(wrong).pair, wrong);
        }
    }

    #[test]
    fn sums_have_names() {
        for by in By::ALL {
            assert_eq!(By::from_name(by.name()), Some(by));
        }
    }
}
