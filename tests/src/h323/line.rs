//! One end of a TCP connection that carries TPKTs (RFC 1006 §6).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use callgate_protocols::tpkt;
use socket2::SockRef;

/// One end of a connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Line {
    /// Takes over a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        // Without this a short message waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Self { stream, pending: Vec::new() }
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, octets: &[u8]) -> Result<()> {
        self.stream.write_all(octets).context("sending a TPKT")
    }

    /// The next TPKT's payload, or `None` when none came in time.
    ///
    /// # Errors
    /// When the connection is closed, or what comes is no TPKT.
    pub fn receive(&mut self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let until = Instant::now() + limit;
        loop {
            let frame = tpkt::split(&self.pending).map_err(|error| anyhow!("unreadable TPKT: {error:?}"))?;
            if let Some(tpkt::Frame { payload, rest }) = frame {
                let payload = payload.to_vec();
                self.pending = rest.to_vec();
                return Ok(Some(payload));
            }
            match self.read(until.saturating_duration_since(Instant::now())) {
                Ok(0) => bail!("the connection is closed"),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) => return Err(error).context("reading a TPKT"),
            }
        }
    }

    /// As [`Self::receive`], but it must come.
    ///
    /// # Errors
    /// As [`Self::receive`], and when nothing comes in time.
    pub fn expect(&mut self, limit: Duration) -> Result<Vec<u8>> {
        self.receive(limit)?.context("no TPKT in time")
    }

    /// The next `count` octets, whatever they are; fewer when the connection is silent for `limit`, or over.
    pub fn octets(&mut self, count: usize, limit: Duration) -> Vec<u8> {
        while self.pending.len() < count && self.read(limit).is_ok_and(|length| length > 0) {}
        let rest = self.pending.split_off(self.pending.len().min(count));
        std::mem::replace(&mut self.pending, rest)
    }

    /// All octets that arrive until the line has been silent for `quiet`, or is closed or reset.
    pub fn rest(&mut self, quiet: Duration) -> Vec<u8> {
        self.octets(usize::MAX, quiet)
    }

    /// Whether the far end, or somebody in between, has ended the connection.
    pub fn is_closed(&mut self) -> bool {
        match self.read(Duration::from_millis(1)) {
            Ok(length) => length == 0,
            Err(error) => !is_timeout(&error),
        }
    }

    /// Sends no more (FIN), but goes on reading.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn finish(&self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("FIN")
    }

    /// Ends the connection at once (RST).
    ///
    /// # Errors
    /// When the kernel refuses to.
    pub fn reset(self) -> Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).context("SO_LINGER")
    }

    fn read(&mut self, limit: Duration) -> io::Result<usize> {
        let mut buffer = [0; 4_096];
        // A timeout of zero would be none.
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1))))?;
        let length = self.stream.read(&mut buffer)?;
        self.pending.extend(&buffer[..length]);
        Ok(length)
    }
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
