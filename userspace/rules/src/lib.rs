//! The rules language: text → [`RuleSet`] → [`Compiled`] tables.
//!
//! ```text
//!  file ──parse──► RuleSet ──compile──► Compiled ──► kernel maps (the daemon)
//!           │          │                    └──────► Model (replay, tests)
//!           │          └──oracle──► first match, one rule after the other
//!           └──► diagnostics: file:line:column, the line, what to write instead
//! ```
//!
//! - [`ruleset`]: what a rules file says, checked; a [`RuleSet`] that exists is a valid one
//! - [`diagnostic`]: errors and warnings for people
//! - [`mod@compile`]: field classes and the action table, "first match wins" resolved
//! - [`inspect`]: how far each inspected protocol is trusted
//! - [`oracle`]: the naive matcher the compiler is tested against
//! - [`model`]: the tables in ordinary collections: the kernel half's twin in user space
//!
//! Nothing here reads a file, a clock or the machine it runs on.

#![forbid(unsafe_code)]

pub mod compile;
pub mod diagnostic;
pub mod inspect;
pub mod model;
pub mod oracle;
mod parse;
pub mod prefixes;
pub mod ruleset;
pub mod service;
mod suggest;

pub use compile::{CompileError, Compiled, MemorySlots, Slots, compile};
pub use diagnostic::{Diagnostic, Position, Report, Severity};
pub use inspect::{
    Admission, InspectPolicies, MgcpPolicy, Mismatch, Pattern, SccpPolicy, TftpPolicy, UnknownMessage,
};
pub use model::Model;
pub use prefixes::{Addresses, PrefixSet};
pub use ruleset::{MediaAuthority, Rule, RuleSet, Settings};
pub use service::Service;
