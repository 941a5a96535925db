//! The messages of a call, in order.

use std::net::SocketAddr;

use callgate_alg::action::{EndReason, Time};
use callgate_alg::call::{Call, Party};
use callgate_alg::ladder::Ladder;
use serde::{Deserialize, Serialize};

use crate::calls::{CallEnd, StreamRow};
use crate::filter::{decoded, encoded};

/// A call and its messages. One that passes the firewall several times has several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LadderRow {
    /// Its number in this firewall.
    pub id: u64,
    /// What signals it.
    pub protocol: String,
    /// Its identifier in the protocol.
    pub key: String,
    /// Who signalled first.
    pub caller: CallEnd,
    /// The other party.
    pub callee: CallEnd,
    /// Why it has ended; `None` while it has not.
    pub ended: Option<String>,
    /// Messages that are left out between the first and the last ones.
    pub left_out: u64,
    /// Its messages.
    pub steps: Vec<StepRow>,
    /// Its streams and what was measured of them; of a call that is over, at its end.
    #[serde(default)]
    pub streams: Vec<StreamRow>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// When, in milliseconds of Unix time.
    pub at_unix_ms: u64,
    /// How long after the call's first message, in milliseconds.
    pub after_ms: u64,
    /// `->` from caller to callee, `<-` the other way.
    pub direction: String,
    /// Its sender.
    pub from: SocketAddr,
    /// Its receiver.
    pub to: SocketAddr,
    /// Method, or status and method; a message's name.
    pub message: String,
    /// It describes media.
    pub media: bool,
    /// It was refused.
    pub refused: bool,
}

impl LadderRow {
    /// The row of `call`, which has ended for this reason, where `now` is `now_unix_ms`.
    pub fn new(
        call: &Call,
        ended: Option<EndReason>,
        ladder: &Ladder,
        (now, now_unix_ms): (Time, u64),
    ) -> Self {
        let end = |party: Party| CallEnd {
            signalling: call.signalling[party as usize],
            party: call.parties[party as usize].clone(),
        };
        let ms =
            |later: Time, earlier: Time| u64::try_from(later.since(earlier).as_millis()).unwrap_or(u64::MAX);
        let first = ladder.steps().first().map_or(now, |step| step.time);
        let steps = ladder.steps().iter().map(|step| StepRow {
            at_unix_ms: now_unix_ms.saturating_sub(ms(now, step.time)),
            after_ms: ms(step.time, first),
            direction: if step.by == Party::Caller { "->" } else { "<-" }.to_owned(),
            from: call.signalling[step.by as usize],
            to: call.signalling[step.by.other() as usize],
            message: step.name().to_owned(),
            media: step.media,
            refused: step.refused,
        });
        Self {
            id: call.id.0,
            protocol: call.protocol.name().to_owned(),
            key: call.key.clone(),
            caller: end(Party::Caller),
            callee: end(Party::Callee),
            ended: ended.map(|reason| reason.name().to_owned()),
            left_out: ladder.left_out,
            steps: steps.collect(),
            streams: Vec::new(),
        }
    }
}

/// Which call is meant: its number in this firewall, or its identifier in the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallQuery(pub String);

impl CallQuery {
    /// `call=…`, as the daemon reads it.
    pub fn to_query(&self) -> String {
        format!("call={}", encoded(&self.0))
    }

    /// What [`Self::to_query`] has written; `None` where it is nothing of the kind.
    pub fn from_query(query: &str) -> Option<Self> {
        decoded(query.strip_prefix("call=")?).filter(|call| !call.is_empty()).map(Self)
    }

    /// Whether this call is meant.
    pub fn wants(&self, call: &Call) -> bool {
        call.key == self.0 || self.0.parse() == Ok(call.id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::CallQuery;

    #[test]
    fn a_query_reads_what_it_writes() {
        for text in ["17", "a84b4c76e66710@pc33.example", "x&y=%41+ü"] {
            let query = CallQuery(text.to_owned());
            assert_eq!(CallQuery::from_query(&query.to_query()), Some(query), "{text}");
        }
        assert_eq!(["", "call=", "call=%4", "id=3"].map(CallQuery::from_query), [const { None }; 4]);
    }
}
