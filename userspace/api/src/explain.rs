//! What would become of a packet, and why.

use std::net::SocketAddr;

use callgate_alg::{Call, CallId, Engine};
use callgate_rules::explain;
use callgate_shared::policy::Inspect;
use serde::{Deserialize, Serialize};

/// Asks what would become of a frame. Nothing is sent, counted, charged or remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The zone or interface it comes in by; `self` for what this machine sends.
    pub from: String,
    /// The frame from its Ethernet header on, in hexadecimal.
    pub frame: String,
}

/// A packet's way through the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether it passes.
    pub passes: bool,
    /// Why: the reason's name (`callgate_shared::Reason`).
    pub reason: String,
    /// The rule that decided, or that had admitted its flow; `None` where none did.
    pub rule: Option<ExplainedRule>,
    /// The signalling that is read in it before it goes on: `sip`, `h225` …
    pub inspect: Option<String>,
    /// What was asked on its way, in order; the last step is the verdict.
    pub steps: Vec<ExplainedStep>,
}

/// A rule of an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// The line of its name, from 1.
    pub line: u32,
}

/// One step of an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// What of the filter it is about: `parse`, `sanity`, `blocks`, `source`, `fragment`, `pinhole`, `flow`, `related`,
    /// `rules`, `limit`, `budget`, `memory`, `verdict`, `signalling`.
    pub stage: String,
    /// What was found, in one line for people.
    pub text: String,
    /// More of it, a line each.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl From<explain::Explanation> for Explanation {
    fn from(explanation: explain::Explanation) -> Self {
        let explain::Explanation { steps, verdict, rule } = explanation;
        let passes = !verdict.reason.is_drop();
        let inspect = Inspect::from_u8(if passes { verdict.inspect } else { 0 });
        Self {
            passes,
            reason: verdict.reason.name().to_owned(),
            rule: rule.map(|place| ExplainedRule {
                name: place.name,
                file: place.file,
                line: place.position.line,
            }),
            inspect: (inspect != Inspect::None).then(|| inspect.name().to_owned()),
            steps: steps.into_iter().map(ExplainedStep::from).collect(),
        }
    }
}

impl From<explain::Step> for ExplainedStep {
    fn from(step: explain::Step) -> Self {
        Self { stage: step.stage.name().to_owned(), text: step.text, notes: step.notes }
    }
}

/// A call in one line: what signals it, its identifier there, and its parties.
fn call(call: &Call) -> String {
    let [caller, callee] = &call.signalling;
    let named = |party: &str, at: &SocketAddr| match party {
        "" => at.to_string(),
        party => format!("{party} ({at})"),
    };
    let [from, to] = &call.parties;
    format!("{} {}, {} → {}", call.protocol.name(), call.key, named(from, caller), named(to, callee))
}

/// The calls of an engine, for explanations.
#[derive(Debug)]
pub struct EngineCalls<'a>(
    /// The engine.
    pub &'a Engine,
);

impl explain::Calls for EngineCalls<'_> {
    fn call(&self, number: u64) -> Option<String> {
        self.0.call(CallId(number)).map(call)
    }

    fn pinhole(&self, protocol: u8, to: SocketAddr) -> Option<u64> {
        let spec = self.0.pinholes().find(|spec| spec.to == to && spec.transport.number() == protocol);
        spec.map(|spec| spec.call.0)
    }
}

/// A frame in hexadecimal.
pub fn to_hex(frame: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    frame.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

/// A frame from hexadecimal; `None` where it is none.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_through_hexadecimal() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&every)), Some(every));
        assert_eq!(to_hex(&[0, 0x0f, 0xf0]), "000ff0");
        assert_eq!(from_hex("0A"), Some(vec![10]));
        for wrong in ["0", "0g", "+1", " 1", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
