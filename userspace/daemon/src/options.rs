//! What the daemon's command line can say.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::{audit, journal, kernel};

/// Callgate's daemon: judges every packet of its interfaces and reads their telephony signalling.
///
/// Runs in the foreground. SIGHUP reloads the rules file; SIGTERM and SIGINT stop the daemon and leave the
/// packet filter at work (calls that are up go on, new ones open no media), unless --detach is given.
#[derive(Debug, Parser)]
#[command(name = "callgated", version)]
pub struct Options {
    /// The rules file; its [zones] name the interfaces to attach to.
    #[arg(long, required_unless_present = "remove")]
    pub rules: Option<PathBuf>,
    /// The control socket, for fwctl.
    #[arg(long, default_value = "/run/callgate/control.sock")]
    pub socket: PathBuf,
    /// Group (name or number) whose members may read from the control socket.
    #[arg(long)]
    pub group: Option<String>,
    /// Where programs, links and maps are pinned: a directory of a BPF filesystem.
    #[arg(long, default_value = kernel::PIN_DIR)]
    pub pin_dir: PathBuf,
    /// Where open calls are remembered for the next run.
    #[arg(long, default_value = journal::STATE_DIR)]
    pub state_dir: PathBuf,
    /// Where each change by an operator is noted, a line of JSON each.
    #[arg(long, default_value = audit::FILE)]
    pub audit: PathBuf,
    /// When the daemon stops, take the packet filter down too.
    #[arg(long)]
    pub detach: bool,
    /// Take down what an earlier run has left attached, and exit.
    #[arg(long, conflicts_with = "rules")]
    pub remove: bool,
    /// How the log is written (to stderr); RUST_LOG chooses what, `info` by default.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A line of JSON each.
    Json,
    /// To the journal (journald), field by field; to stderr where there is none.
    Journald,
    /// To this machine's syslog socket, /dev/log, as RFC 5424 has it; to stderr where there is none.
    Syslog,
}
