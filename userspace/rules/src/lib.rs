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
//! - [`explain`]: a packet's way through the filter, step by step
//! - [`mod@lint`]: what a rules file says but probably does not mean
//! - [`model`]: the tables in ordinary collections: the kernel half's twin in user space
//!
//! Nothing here reads a file, a clock or the machine it runs on.

#![forbid(unsafe_code)]

pub mod compile;
pub mod diagnostic;
pub mod diff;
pub mod explain;
pub mod files;
pub mod inspect;
pub mod lint;
pub mod model;
pub mod oracle;
mod parse;
pub mod prefixes;
pub mod reference;
pub mod ruleset;
pub mod schedule;
pub mod service;
mod suggest;

pub use compile::{CompileError, Compiled, Machine, MemorySlots, Sizes, Slots, compile};
pub use diagnostic::{Diagnostic, Position, Report, Severity};
pub use files::{Disk, Files, LoadError};
pub use inspect::{
    Admission, H323Policy, InspectPolicies, MgcpPolicy, Mismatch, Pattern, SccpPolicy, SipPolicy, TftpPolicy,
    UnknownMessage,
};
pub use lint::{Lint, lint};
pub use model::Model;
pub use prefixes::{Addresses, PrefixSet};
pub use ruleset::{Handling, MediaAuthority, Rule, RuleSet, Settings};
pub use schedule::Schedule;
pub use service::{Ports, Service};
