//! Who may do what with the daemon, and whom it tells.

use std::net::SocketAddr;

use super::Syslog;

/// The `[control]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Groups, by name or number, whose members may look.
    pub viewers: Vec<String>,
    /// Groups whose members may also block, unblock, kill flows and end calls.
    pub operators: Vec<String>,
    /// Groups whose members may also change the rules.
    pub admins: Vec<String>,
    /// Who is told of each change by syslog, besides the audit file.
    pub syslog: Option<Syslog>,
    /// The rules are read again when a file of theirs changes.
    pub watch: bool,
    /// Where metrics can be fetched by HTTP.
    pub metrics: Option<SocketAddr>,
}

impl Control {
    /// The longest name of a group (useradd(8)).
    pub const GROUP: usize = 32;
}
