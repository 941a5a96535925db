//! HTTP/1.1 over the control socket: one request a connection, an answer with a Content-Length.
//!
//! Just what the daemon speaks (RFC 9112 without chunks, trailers or redirects); whatever else arrives is an
//! error. The answer's size and the time it may take are bounded.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callgate_api::ErrorReply;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::progress::Progress;

/// Largest answer read, in bytes; a full page of calls is well below.
const MAX_BODY: u64 = 1 << 30;
/// Longest header section read, in bytes.
const MAX_HEAD: u64 = 16 * 1024;
/// For each read or write: a little more than the daemon grants itself.
const PATIENCE: Duration = Duration::from_secs(35);

/// The daemon could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens there, or we may not go there.
    #[error("cannot reach the daemon at {} ({})", path.display(), advice(source))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke or the daemon took too long.
    #[error("the daemon does not answer; see its log")]
    Silent(#[source] io::Error),
    /// It is not HTTP, or not what this version understands.
    #[error("the daemon's answer makes no sense ({0}): are fwctl and callgated of the same version?")]
    Nonsense(String),
    /// It says that it cannot answer now.
    #[error("the daemon cannot answer: {}", reply.error)]
    Unable {
        /// What it says.
        reply: ErrorReply,
    },
    /// It says no.
    #[error("the daemon refuses: {}", reply.error)]
    Refused {
        /// What it says.
        reply: ErrorReply,
    },
}

/// A way to the daemon.
#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    /// The screen is somebody else's: nothing is shown of what takes long.
    silent: bool,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), silent: false }
    }

    /// A client that shows nothing by itself.
    pub(crate) fn silent(&self) -> Self {
        Self { socket: self.socket.clone(), silent: true }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange("GET", path, &[])
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Nonsense(error.to_string()))?;
        self.exchange("POST", path, &body)
    }

    /// An answer that is no JSON.
    pub(crate) fn text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.body("GET", path, &[])?;
        String::from_utf8(body).map_err(|error| ClientError::Nonsense(error.to_string()))
    }

    fn exchange<T: DeserializeOwned>(&self, method: &str, path: &str, body: &[u8]) -> Result<T, ClientError> {
        parse(&self.body(method, path, body)?)
    }

    fn body(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        let _progress = (!self.silent).then(|| Progress::of("the daemon works on it"));
        let mut stream = UnixStream::connect(&self.socket)
            .map_err(|source| ClientError::Unreachable { path: self.socket.clone(), source })?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(ClientError::Silent)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(ClientError::Silent)?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: callgate\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).map_err(ClientError::Silent)?;
        let answer = read_answer(&mut BufReader::new(stream))?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let reply = parse(&answer.body)?;
        Err(match answer.status {
            403 | 422 => ClientError::Refused { reply },
            500.. => ClientError::Unable { reply },
            _ => ClientError::Nonsense(reply.error),
        })
    }
}

/// An HTTP answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

fn read_answer(from: &mut impl BufRead) -> Result<Answer, ClientError> {
    let nonsense = |what: &str| ClientError::Nonsense(what.to_owned());
    let mut head = from.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    let mut next_line = |line: &mut String| {
        line.clear();
        head.read_line(line).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => nonsense("a header that is not text"),
            _ => ClientError::Silent(error),
        })?;
        match line.strip_suffix("\r\n") {
            Some(whole) => {
                line.truncate(whole.len());
                Ok(())
            }
            None if line.is_empty() => Err(ClientError::Silent(io::ErrorKind::UnexpectedEof.into())),
            None => Err(nonsense("a header line without an end")),
        }
    };

    next_line(&mut line)?;
    let status = line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| nonsense("no HTTP/1.1 status line"))?;
    let mut length = None;
    loop {
        next_line(&mut line)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| nonsense("a header without a colon"))?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let length =
        length.filter(|length| *length <= MAX_BODY).ok_or_else(|| nonsense("no usable Content-Length"))?;
    let mut body = Vec::new();
    from.take(length).read_to_end(&mut body).map_err(ClientError::Silent)?;
    if body.len() as u64 != length {
        return Err(ClientError::Silent(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Answer { status, body })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Nonsense(error.to_string()))
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "run fwctl as root, or as a member of a group that [control] of the rules names"
        }
        _ => "is callgated running, and with this --socket?",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use callgate_api::{CounterRow, Page};

    use super::*;

    fn read(text: &str) -> Result<Answer, ClientError> {
        read_answer(&mut text.as_bytes())
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let answer = read("HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\nDate: today\r\n\r\n{}trailing");
        assert_eq!(answer.expect("an answer"), Answer { status: 200, body: b"{}".to_vec() });
    }

    #[test]
    fn cut_or_foreign_answers_are_errors() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for foreign in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999\r\n\r\n",
            "HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(matches!(read(foreign), Err(ClientError::Nonsense(_))), "{foreign:?}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
        assert!(matches!(read(&endless), Err(ClientError::Nonsense(_))));
    }

    /// A daemon that gives one answer, whatever it is asked.
    fn daemon(answer: &'static str) -> (tempfile::TempDir, Client) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("a client that listens");
        });
        (directory, Client::new(&path))
    }

    #[test]
    fn the_daemons_no_is_told_from_its_cannot() {
        let (_directory, client) =
            daemon("HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}");
        let refused = client.post::<Page<CounterRow>>("/v1/reload", &()).expect_err("a no");
        assert!(matches!(refused, ClientError::Refused { reply } if reply.error == "no"));
        let (_directory, client) =
            daemon("HTTP/1.1 503 Unavailable\r\nContent-Length: 14\r\n\r\n{\"error\":\"no\"}");
        let unable = client.get::<Page<CounterRow>>("/v1/counters").expect_err("a cannot");
        assert!(matches!(unable, ClientError::Unable { .. }));
    }

    #[test]
    fn a_missing_daemon_is_unreachable() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let client = Client::new(&directory.path().join("socket"));
        let error = client.get::<Page<CounterRow>>("/v1/counters").expect_err("nobody listens");
        assert!(error.to_string().contains("is callgated running"), "{error}");
    }
}
