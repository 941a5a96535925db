//! Syslog messages (RFC 5424), a datagram each, and the sockets they leave by: to a server by UDP (RFC 5426), or to
//! this machine's. What a message says is its sender's: the audit's, the log's, the history's.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::{fs, io};

use callgate_rules::ruleset::Syslog;

/// A way to a server.
#[derive(Debug)]
pub enum Socket {
    /// To any machine.
    Udp(UdpSocket),
    /// To this one.
    Unix(UnixDatagram),
}

impl Socket {
    /// A socket that is connected to a server.
    ///
    /// # Errors
    /// What the system says: nobody listens on the socket of that name.
    pub fn open(to: &Syslog) -> io::Result<Self> {
        match to {
            Syslog::Udp(address) => {
                let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(own)?;
                socket.connect(address)?;
                Ok(Self::Udp(socket))
            }
            Syslog::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Self::Unix(socket))
            }
        }
    }

    /// From now on a server of this machine whose queue is full is not waited for. One elsewhere never is.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait_for_nobody(&self) -> io::Result<()> {
        match self {
            Self::Udp(_) => Ok(()),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// What the system says: the server was started anew, or its queue is full.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(datagram).map(drop),
            Self::Unix(socket) => socket.send(datagram).map(drop),
        }
    }
}

/// What a message begins with (section 6.2), from PRI to MSGID: facility and severity (tables 1 and 2), the time as
/// RFC 3339 has it, the host by [`host_name`], the process, and what kind of message it is.
pub fn header(
    (facility, severity): (u8, u8),
    time: impl std::fmt::Display,
    host: &str,
    process: u32,
    kind: &str,
) -> String {
    let priority = u16::from(facility) * 8 + u16::from(severity);
    format!("<{priority}>1 {time} {host} callgated {process} {kind}")
}

/// A machine's name as HOSTNAME has it (section 6.2.4).
pub fn host_name(name: &str) -> String {
    let host: String = name.chars().filter(char::is_ascii_graphic).take(255).collect();
    if host.is_empty() { "-".to_owned() } else { host }
}

/// This machine's name as HOSTNAME has it.
pub fn own_host_name() -> String {
    host_name(&fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}

/// Puts a parameter behind those of a structured element (section 6.3.3), its value cut to so many octets; none where
/// the value is empty.
pub fn put_parameter(line: &mut String, name: &str, value: &str, most: usize) {
    if value.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = write!(line, " {name}=\"");
    let start = line.len();
    for c in value.chars().filter(|c| !c.is_control()) {
        if line.len() - start + 2 > most {
            break;
        }
        if matches!(c, '"' | '\\' | ']') {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_begin_as_the_standard_has_it() {
        let host = host_name("edge 1\n");
        assert_eq!(header((16, 6), "2026-11-20T08:00:00Z", &host, 42, "call"), {
            "<134>1 2026-11-20T08:00:00Z edge1 callgated 42 call"
        });
        assert_eq!([host_name("\n"), host_name(&"x".repeat(300))], ["-".to_owned(), "x".repeat(255)]);
    }

    #[test]
    fn values_are_escaped_and_cut() {
        let parameter = |value, most| {
            let mut line = String::new();
            put_parameter(&mut line, "n", value, most);
            line
        };
        assert_eq!(parameter("a\"b\\c]d\ne", usize::MAX), r#" n="a\"b\\c\]de""#);
        assert_eq!(parameter("", usize::MAX), "");
        assert_eq!(parameter("abcdef", 4), r#" n="abc""#);
    }
}
