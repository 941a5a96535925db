//! Where the daemon's own log goes: stderr as text or JSON, the journal, or syslog (RFC 5424).
//!
//! What a peer can cause by the packet or the call is at `debug`, or bounded in lines a second where it is not
//! ([`crate::events`], [`Lines`]).

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use callgate_alg::action::Time;
use callgate_syslog::{header, own_host_name};
use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::options::LogFormat;

/// This machine's syslog.
const DEV_LOG: &str = "/dev/log";
/// Facility "daemon" (RFC 5424 table 1).
const FACILITY: u8 = 3;
/// Octets of a message: receivers take 2,048 (section 6.1).
const MAX_MESSAGE: usize = 2_000;

/// Begins to log; `RUST_LOG` chooses what, `info` without it.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = std::io::stderr().is_terminal() && !no_colour;
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(stderr).init(),
        LogFormat::Json => registry.with(stderr.json()).init(),
        LogFormat::Journald => match tracing_journald::layer() {
            Ok(journal) => registry.with(journal).init(),
            Err(error) => {
                registry.with(stderr).init();
                warn!(%error, "the journal cannot be reached: the log goes to stderr");
            }
        },
        LogFormat::Syslog => match Syslog::open(DEV_LOG) {
            Ok(syslog) => registry.with(syslog).init(),
            Err(error) => {
                registry.with(stderr).init();
                warn!(%error, socket = DEV_LOG, "syslog cannot be reached: the log goes to stderr");
            }
        },
    }
}

/// How many lines of a kind have been written within this second: what a peer causes does not fill a disk.
#[derive(Debug)]
pub(crate) struct Lines {
    most: u32,
    second: Time,
    pub(crate) lines: u32,
    pub(crate) unlogged: u64,
}

impl Lines {
    pub(crate) const fn new(most: u32, second: Time) -> Self {
        Self { most, second, lines: 0, unlogged: 0 }
    }

    /// Whether one more may be written; when a second is over, how many were not.
    pub(crate) fn admit(&mut self, time: Time) -> (bool, u64) {
        let mut left_out = 0;
        if time.since(self.second) >= Duration::from_secs(1) {
            left_out = self.unlogged;
            (self.second, self.lines, self.unlogged) = (time, 0, 0);
        }
        let admitted = self.lines < self.most;
        if admitted {
            self.lines += 1;
        } else {
            self.unlogged += 1;
        }
        (admitted, left_out)
    }
}

/// Messages to a syslog server of this machine.
struct Syslog {
    socket: UnixDatagram,
    to: String,
    host: String,
}

impl Syslog {
    fn open(to: &str) -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A server that does not read is not waited for: signalling is read by the same thread.
        socket.set_nonblocking(true)?;
        socket.connect(to)?;
        Ok(Self { socket, to: to.to_owned(), host: own_host_name() })
    }
}

impl<S: Subscriber> Layer<S> for Syslog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let message = message(level, target, &self.host, &text);
        if self.socket.send(message.as_bytes()).is_err() {
            // A server that was started anew has another socket of that name.
            let _ = self.socket.connect(&self.to);
            let _ = self.socket.send(message.as_bytes());
        }
    }
}

/// A message (RFC 5424 section 6); fields stand behind the words, as `key=value`.
fn message(level: Level, target: &str, host: &str, text: &Text) -> String {
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    let target: String = target.chars().filter(char::is_ascii_graphic).take(32).collect();
    let now = format!("{:.3}", Timestamp::now());
    let mut line = header((FACILITY, severity), now, host, std::process::id(), &target);
    line.push_str(" - ");
    for c in text.words.chars().chain(text.fields.chars()) {
        if line.len() >= MAX_MESSAGE {
            break;
        }
        // A line feed would be another message for many a server.
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

/// An event's words and fields.
#[derive(Debug, Default)]
struct Text {
    words: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.words, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_in_the_standards_form() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("log");
        let server = UnixDatagram::bind(&path).expect("a socket");
        let syslog = Syslog::open(path.to_str().expect("UTF-8")).expect("it is there");
        let subscriber = tracing_subscriber::registry().with(syslog);
        tracing::subscriber::with_default(subscriber, || {
            warn!(target: "audit", uid = 7, what = "a\nb", "refused");
            tracing::info!("{}", "x".repeat(5_000));
        });
        let mut datagram = [0; 4_096];
        let mut next = || {
            let length = server.recv(&mut datagram).expect("a message");
            String::from_utf8_lossy(&datagram[..length]).into_owned()
        };
        let first = next();
        assert!(first.starts_with("<28>1 20"), "{first}");
        assert!(first.ends_with(" audit - refused uid=7 what=\"a\\nb\""), "{first}");
        let second = next();
        assert!(second.starts_with("<30>1 20") && second.len() <= MAX_MESSAGE + 4, "{second}");
    }

    #[test]
    fn lines_of_a_second_are_bounded_and_what_is_left_out_is_told() {
        let mut lines = Lines::new(2, Time(0));
        let admitted = (0..5).filter(|_| lines.admit(Time(1)).0).count();
        assert_eq!(admitted, 2);
        assert_eq!(lines.admit(Time(1_000_000_001)), (true, 3));
    }
}
