//! Connections that begin, ask and are answered, one after the other: the permitted traffic beside a flood.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::lab::Lab;

/// How long a connection may take: five openings of a Linux client, of which the firewall may take the first for
/// its challenge.
const PATIENCE: Duration = Duration::from_secs(10);
/// What each connection asks, and is answered.
const QUESTION: &[u8] = b"are you there?";
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(5);

/// Connections that were tried.
#[derive(Debug, Default)]
pub struct Connections {
    /// How many.
    pub tried: u32,
    /// How many of them were opened, and answered.
    pub answered: u32,
    /// The longest time one has taken, answered or not.
    pub slowest: Duration,
}

/// Answers each connection's first words by the same, until the process ends.
pub fn echo(listener: TcpListener) {
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut words = [0; QUESTION.len()];
            if connection.set_read_timeout(Some(PATIENCE)).is_ok()
                && connection.read_exact(&mut words).is_ok()
            {
                // The client's time-out tells when it was lost.
                let _ = connection.write_all(&words);
            }
        }
    });
}

/// Opens connections one after the other for this time, from one address outside.
pub fn converse(lab: &Lab, from: IpAddr, to: SocketAddr, time: Duration) -> Connections {
    let mut connections = Connections::default();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let started = Instant::now();
        connections.tried += 1;
        match one(lab, from, to) {
            Ok(()) => connections.answered += 1,
            Err(error) => eprintln!("  connection {}: {error:#}", connections.tried),
        }
        connections.slowest = connections.slowest.max(started.elapsed());
        thread::sleep(PAUSE);
    }
    connections
}

fn one(lab: &Lab, from: IpAddr, to: SocketAddr) -> Result<()> {
    let mut connection = lab.outside().connect(SocketAddr::new(from, 0), to, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(QUESTION)?;
    let mut words = [0; QUESTION.len()];
    connection.read_exact(&mut words)?;
    ensure!(words == QUESTION, "other words came back");
    Ok(())
}
