//! Blocked addresses: who is, why, and the requests that change it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// An address whose packets are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRow {
    /// The address.
    pub address: IpAddr,
    /// Who wanted it.
    pub cause: BlockCause,
    /// More about the cause, for people: the rule, the places that were probed; may be empty.
    pub text: String,
    /// Since when; `None` where an earlier daemon has blocked it.
    pub since_unix: Option<u64>,
    /// How long it will last.
    pub left_s: u64,
}

/// Who wanted an address blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockCause {
    /// An operator: `fwctl block`.
    Operator,
    /// It was refused at many places: `[scan]`.
    Scan,
    /// It was above the limit of a rule with `above = { block = … }`.
    Limit,
    /// It guessed passwords, users or servers: `guard` of `[inspect.sip]`.
    Attack,
    /// An earlier run of the daemon; why is not known any more.
    EarlierRun,
}

impl BlockCause {
    /// The name shown to people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Scan => "scan",
            Self::Limit => "limit",
            Self::Attack => "attack",
            Self::EarlierRun => "earlier-run",
        }
    }
}

/// Asks for an address to be blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRequest {
    /// The address.
    pub address: IpAddr,
    /// For how long, 1 to [`MAX_BLOCK_S`]; without it [`DEFAULT_BLOCK_S`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// Asks for an address to be let by again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnblockRequest {
    /// The address.
    pub address: IpAddr,
}

/// How long an operator's block lasts where the request does not say: an hour.
pub const DEFAULT_BLOCK_S: u64 = 3_600;
/// The longest block, 30 days: what is to be refused for good belongs in the rules.
pub const MAX_BLOCK_S: u64 = 30 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_for_people_and_programs() {
        for cause in [BlockCause::Operator, BlockCause::Scan, BlockCause::Limit, BlockCause::EarlierRun] {
            let quoted = format!("\"{}\"", cause.name());
            assert_eq!(serde_json::to_string(&cause).expect("it has no map"), quoted);
        }
    }
}
