//! Who may call what.
//!
//! ```text
//!  [policy] ──callgate_rules──► Spec ──Plan::new──► Plan ─┐
//!                                                         ▼
//!  a tracker: who calls whom ──Attempt──► Desk::decide ──► Decision: permit or refuse, and why
//!             it is answered, it is over ► Desk::connected, Desk::ended
//!             time passes ─────────────► Desk::tick ──► calls whose limit has come
//! ```
//!
//! - [`name`], [`addresses`], [`hours`]: names of parties, where they are, times
//! - [`number`]: what was dialled, free of separators
//! - [`pattern`]: dial patterns, and how the one that counts is chosen
//! - [`spec`]: what a rules file says
//! - [`plan`]: the same, compiled: tries and tables
//! - [`decision`]: questions and answers
//! - [`desk`]: calls that are up, rates, minutes of the day, scores
//!
//! Knows no protocol, reads no file and no clock. What a peer sends is never trusted with memory: numbers and
//! names are cut, tables are bounded, and nothing here panics on them. A number that [`Spec::emergency`] has
//! is refused by nothing.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod decision;
pub mod desk;
mod hash;
pub mod hours;
pub mod name;
pub mod number;
pub mod pattern;
pub mod plan;
pub mod spec;
pub mod trie;

pub use addresses::AddressSet;
pub use decision::{
    Admission, Alarm, AlarmKind, Answer, Attempt, Decision, Now, Over, Party, Protocol, Registration, Ticket,
    Verdict, Why,
};
pub use desk::{Desk, Memory, Outcome, Way};
pub use hours::Hours;
pub use name::Pattern;
pub use number::Number;
pub use pattern::{DialPattern, Reach};
pub use plan::Plan;
pub use spec::Spec;
