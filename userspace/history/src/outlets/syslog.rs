//! Syslog (RFC 5424), a datagram a call: to a server by UDP (RFC 5426), or to this machine's socket.
//!
//! What a call is stands in structured data, `call@32473`: 32473 is the enterprise number of examples (RFC 5612),
//! since Callgate has none of its own. The text after it is for people.

use std::io;
use std::sync::Arc;

use callgate_api::history::Record;
use callgate_rules::ruleset::Syslog;
use callgate_syslog::{Socket, header, host_name, put_parameter};
use jiff::Timestamp;

use crate::queue::{Sink, Trouble};

/// Facility local0 (RFC 5424 table 1).
const FACILITY: u8 = 16;
/// Severities (table 2): informational, and notice for a call that was refused.
const SEVERITY: [u8; 2] = [6, 5];
/// Octets of one value: a datagram stays below the 2,048 that receivers should take (section 6.1).
const MAX_VALUE: usize = 96;

/// A place that takes datagrams.
#[derive(Debug)]
pub struct SyslogOutlet {
    to: Syslog,
    socket: Option<Socket>,
}

impl SyslogOutlet {
    /// Opens nothing yet.
    pub fn new(to: Syslog) -> Self {
        Self { to, socket: None }
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(Socket::open(&self.to)?),
        };
        socket.send(datagram)
    }
}

impl Sink for SyslogOutlet {
    fn write(&mut self, records: &[Arc<Record>]) -> Result<(), Trouble> {
        for (sent, record) in records.iter().enumerate() {
            let line = message(record, std::process::id());
            // A socket whose server was started anew refuses once; a second one reaches it.
            if self.send(line.as_bytes()).is_err() {
                self.socket = None;
                if let Err(error) = self.send(line.as_bytes()) {
                    self.socket = None;
                    // Those before it have been told, and must not be told again.
                    return Err(Trouble::lost(records.len() - sent, error));
                }
            }
        }
        Ok(())
    }
}

/// The message of a call (RFC 5424 section 6).
fn message(record: &Record, process: u32) -> String {
    let importance = (FACILITY, SEVERITY[usize::from(record.refused)]);
    let time = i64::try_from(record.ended_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"));
    let mut line = header(importance, time, &host_name(&record.host), process, "call");
    line.push_str(" [call@32473");
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
    let values = [
        ("id", record.call.to_string()),
        ("protocol", record.protocol.clone()),
        ("key", record.key.clone()),
        ("caller", record.caller.clone()),
        ("called", record.called.clone()),
        ("callerSignalled", record.caller_signalled.clone()),
        ("calledSignalled", record.called_signalled.clone()),
        ("device", record.device.clone()),
        ("callerAddress", record.caller_address.clone()),
        ("calledAddress", record.called_address.clone()),
        ("started", seconds(record.started_ms)),
        ("connected", record.connected_ms.map(seconds).unwrap_or_default()),
        ("duration", seconds(record.duration_ms)),
        ("reason", record.reason.clone()),
        ("cause", record.cause.clone().unwrap_or_default()),
        ("releasedBy", record.released_by.clone().unwrap_or_default()),
        ("permission", record.permission.clone()),
        ("verdict", record.verdict.clone()),
        ("rule", record.rule.clone().unwrap_or_default()),
        ("packetsToCaller", record.packets_to_caller.to_string()),
        ("packetsToCalled", record.packets_to_called.to_string()),
    ];
    for (name, value) in &values {
        put_parameter(&mut line, name, value, MAX_VALUE);
    }
    let what = if record.refused { "refused" } else { record.reason.as_str() };
    let text = format!("] {} -> {} {what}", record.caller, record.called);
    line.push_str(&text.chars().filter(|c| !c.is_control()).collect::<String>());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            host: "fw1".to_owned(),
            call: 7,
            protocol: "sip".to_owned(),
            key: "a\"b]c\\d".to_owned(),
            caller: "2001".to_owned(),
            called: "19005551234".to_owned(),
            started_ms: 1_795_221_667_000,
            connected_ms: Some(1_795_221_670_250),
            ended_ms: 1_795_221_680_500,
            duration_ms: 10_250,
            reason: "bye".to_owned(),
            permission: "premium".to_owned(),
            verdict: "permitted".to_owned(),
            ..Record::default()
        }
    }

    #[test]
    fn a_message_is_as_the_standard_has_it() {
        assert_eq!(
            message(&record(), 42),
            "<134>1 2026-11-21T00:41:20.500Z fw1 callgated 42 call [call@32473 id=\"7\" protocol=\"sip\" \
             key=\"a\\\"b\\]c\\\\d\" caller=\"2001\" called=\"19005551234\" started=\"1795221667.000\" \
             connected=\"1795221670.250\" duration=\"10.250\" reason=\"bye\" permission=\"premium\" \
             verdict=\"permitted\" packetsToCaller=\"0\" packetsToCalled=\"0\"] 2001 -> 19005551234 bye"
        );
        let refused = Record { refused: true, ..record() };
        assert!(message(&refused, 42).starts_with("<133>1 "));
        assert!(message(&refused, 42).ends_with("] 2001 -> 19005551234 refused"));
    }

    #[test]
    fn a_message_stays_within_what_receivers_take() {
        let long = "\"]\\€\n".repeat(400);
        let record = Record {
            host: "h".repeat(300),
            key: long.clone(),
            caller: long[..120].to_owned(),
            called_signalled: long.clone(),
            caller_signalled: long.clone(),
            device: long.clone(),
            rule: Some(long.clone()),
            cause: Some(long.clone()),
            verdict: long,
            ..record()
        };
        let line = message(&record, u32::MAX);
        assert!(line.len() <= 2_048, "{}", line.len());
        assert!(!line.contains('\n'));
    }
}
