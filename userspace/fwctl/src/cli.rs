//! What the command line can say.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{blocks, capture_call, check, doctor, events, explain, flows, history, operate, replay};

const AFTER_HELP: &str = "\
Data goes to stdout, talk to stderr. Colours are used on a terminal unless NO_COLOR is set.
Exit status: 0 yes; 1 a negative answer (a bad rules file, a daemon that says no);
2 wrong usage, or the question could not be put (no daemon, no such file).";

/// Shows what a Callgate firewall is doing and has it reload its rules; checks rules; explains verdicts; replays
/// captures.
#[derive(Debug, Parser)]
#[command(name = "fwctl", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = callgate_api::SOCKET)]
    pub(crate) socket: PathBuf,

    /// Print JSON for programs instead of a table for people
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How the firewall is doing
    ///
    /// Interfaces and how XDP runs on them, the rules in force, totals, what the ALG has read and refused.
    Status,
    /// Calls being tracked
    Calls {
        #[command(flatten)]
        listing: Listing,
        /// Show each call's signalling addresses, identifier and media streams too
        #[arg(long)]
        long: bool,
        /// Show the messages of one call and the figures of its media, by its number or its identifier in the protocol
        /// (Call-ID); the last 1024 calls that are over are remembered
        #[arg(long, value_name = "ID", conflicts_with = "long")]
        call: Option<String>,
    },
    /// Pinholes open for media, and how long they will last
    ///
    /// FROM is who may send, +N for others besides. LEFT is the time to closing if nothing more is sent.
    Pinholes {
        #[command(flatten)]
        listing: Listing,
    },
    Flows(Box<flows::Args>),
    /// Blocked addresses: who wanted it, and for how long yet
    Blocks {
        #[command(flatten)]
        listing: Listing,
    },
    Block(blocks::Block),
    Unblock(blocks::Unblock),
    /// Rules in force, in the order they are tried, with what each has decided
    ///
    /// Below them what is done where no rule matches, how the rules are laid out in the kernel and what that takes,
    /// and what always passes.
    Rules {
        /// Show each rule's zones, addresses, services and limit too
        #[arg(long)]
        long: bool,
    },
    /// Packets passed and dropped, by interface and reason
    Counters,
    /// What speaks SCCP
    #[command(subcommand)]
    Sccp(Sccp),
    /// What speaks H.323
    #[command(subcommand)]
    H323(H323),
    /// What speaks SIP
    #[command(subcommand)]
    Sip(Sip),
    /// What happened to phones, gateways, files, and packets that were dropped, the oldest first
    ///
    /// Registrations and their ends, alarms, refusals, transfers, blocks. The daemon remembers the last 4096, half
    /// of them for refusals and transfers; they are in its log too, under `event`. Of dropped packets
    /// (--kind dropped) a sample is told, and the last 2048 of them are remembered; --json has their first bytes.
    Events(events::Args),
    Capture(capture_call::Args),
    History(Box<history::Args>),
    Fraud(Box<history::Fraud>),
    Reload(operate::Reload),
    /// Keep rules that were put in force by `reload --confirm`
    Confirm,
    /// Bring back the rules before those in force
    ///
    /// They come back as they were when they were loaded, whatever their file says now. Run again, it goes forward
    /// again. This takes the role of an admin.
    Rollback,
    Diff(operate::DiffArgs),
    Hangup(operate::Hangup),
    /// A screen that stays: calls, refusals, who talks most, attacks, how full the tables are
    ///
    /// Keys: up and down choose a call, Enter shows its messages, x ends it, s and r sort, / filters, ? helps, q leaves.
    Top {
        /// Between two looks at the firewall
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
        every: u64,
    },
    /// What is counted, as Prometheus reads it
    Metrics,
    Doctor(doctor::Args),
    /// Write man pages and completions, for packages
    #[command(hide = true)]
    Generate {
        /// The directory they go to; made where it is missing
        directory: PathBuf,
    },
    Check(check::Args),
    Explain(Box<explain::Args>),
    Replay(replay::Args),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sccp {
    /// Phones and other devices that register by SCCP, by name
    ///
    /// SINCE is the time since STATE has been what it is. A dash in place of a name: the registration was not
    /// seen, the device was met in the middle of its connection.
    Phones {
        #[command(flatten)]
        listing: Listing,
        /// Show each phone's ports, protocol version, lines and firmware too
        #[arg(long)]
        long: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum H323 {
    /// Endpoints that are registered with a gatekeeper, by address
    ///
    /// LEFT is the time after which the registration ends unless it is refreshed.
    Registrations {
        #[command(flatten)]
        listing: Listing,
        /// Show each endpoint's other aliases, identifier and signalling addresses too
        #[arg(long)]
        long: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sip {
    /// Contacts that are registered with a registrar, by name
    ///
    /// LEFT is the time after which the registration ends unless it is refreshed.
    Registrations {
        #[command(flatten)]
        listing: Listing,
        /// Show each contact's URI, ports, account and user agent too
        #[arg(long)]
        long: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// Most rows to list; the daemon never sends more than 100000
    #[arg(long, value_name = "ROWS", default_value_t = callgate_api::DEFAULT_LIMIT)]
    pub(crate) limit: usize,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
