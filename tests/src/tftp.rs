//! TFTP (RFC 1350): Debian's server and client, and a scripted client that can pause in mid-transfer.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::Lab;
use crate::netns::Netns;
use crate::process::Process;

/// The port requests go to.
pub const PORT: u16 = 69;
/// Bytes of a block, unless others are agreed on (RFC 2348).
pub const BLOCK: usize = 512;
/// How long a datagram may take here.
const STEP: Duration = Duration::from_secs(2);
/// How long the server may take to listen.
const READY: Duration = Duration::from_secs(5);

/// Debian's `in.tftpd` on a call manager's address, which also takes files.
#[derive(Debug)]
pub struct Server {
    lab: Arc<Lab>,
    address: SocketAddr,
    _process: Process,
}

impl Server {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn start(lab: &Arc<Lab>, ip: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(ip, PORT);
        let log = lab.dir().join("tftpd.log");
        let root = lab.dir().join("tftp");
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        // The server gives up its privileges, and is to create files here.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777))?;
        let mut command = Command::new("in.tftpd");
        let family = if ip.is_ipv4() { "--ipv4" } else { "--ipv6" };
        // A test that pauses is not to be sent anything twice meanwhile.
        command.args([
            "--foreground",
            "--secure",
            "--create",
            "--permissive",
            "--retransmit",
            "5000000",
            family,
        ]);
        command.args(["--address", &address.to_string()]).arg(&root);
        let mut process = lab.inside().spawn(&mut command, &log)?;
        let until = Instant::now() + READY;
        while !listens(lab.inside(), ip)? {
            if let Some(status) = process.ended()? {
                bail!("in.tftpd ended with {status}: {}", process.output());
            }
            ensure!(Instant::now() < until, "in.tftpd does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { lab: Arc::clone(lab), address, _process: process })
    }

    /// Where requests go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts a file of `length` bytes there to be fetched, and returns what is in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn offer(&self, name: &str, length: usize) -> Result<Vec<u8>> {
        let text: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let path = self.path(name);
        fs::write(&path, &text).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(text)
    }

    /// What has been written under this name, if anything has.
    pub fn written(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lab.dir().join("tftp").join(name)
    }

    /// Debian's client, outside, fetches a file; what it has then.
    ///
    /// # Errors
    /// With the client's words when it has nothing.
    pub fn get(&self, name: &str) -> Result<Vec<u8>> {
        let local = self.lab.dir().join(format!("got-{name}"));
        let output = self.client("get", &[name, &local.display().to_string()])?;
        let words = String::from_utf8_lossy(&output.stdout);
        // The client makes the file before it asks.
        ensure!(output.status.success(), "tftp get {name}: {}, {words}", output.status);
        fs::read(&local).with_context(|| local.display().to_string())
    }

    /// Debian's client, outside, stores a file.
    ///
    /// # Errors
    /// When the client cannot be run; whether it succeeds is told by [`Self::written`].
    pub fn put(&self, name: &str, text: &[u8]) -> Result<Output> {
        let local = self.lab.dir().join(format!("put-{name}"));
        fs::write(&local, text)?;
        self.client("put", &[&local.display().to_string(), name])
    }

    /// Runs the client; it tries five times for a second each, which is more patience than a test has.
    fn client(&self, verb: &str, files: &[&str]) -> Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["4", "tftp", "-m", "binary", &self.address.ip().to_string(), "-c", verb]).args(files);
        self.lab.outside().output(&mut command)
    }
}

/// Whether somebody has bound [`PORT`] here. A trial of our own could be what stands in the server's way.
fn listens(ns: &Netns, ip: IpAddr) -> Result<bool> {
    // Of the thread: the process has its own namespace's (proc_pid_net(5)).
    let table = if ip.is_ipv4() { "/proc/thread-self/net/udp" } else { "/proc/thread-self/net/udp6" };
    let text = ns.run(|| fs::read_to_string(table))?.context(table)?;
    let port = format!(":{PORT:04X}");
    Ok(text.lines().skip(1).any(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&port))))
}

/// A client that asks block by block.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    /// The server's port for this transfer, once it has answered.
    peer: Option<SocketAddr>,
    block_size: usize,
    /// What has arrived so far.
    pub text: Vec<u8>,
    /// Blocks that have arrived.
    blocks: u16,
    /// The last one, which is a short one (RFC 1350 §6), has arrived.
    complete: bool,
}

impl Client {
    /// Binds any port of this address.
    ///
    /// # Errors
    /// When it is not the namespace's.
    pub fn new(ns: &Netns, ip: IpAddr, server: SocketAddr) -> Result<Self> {
        let socket = ns.udp(SocketAddr::new(ip, 0))?;
        Ok(Self {
            socket,
            server,
            peer: None,
            block_size: BLOCK,
            text: Vec::new(),
            blocks: 0,
            complete: false,
        })
    }

    /// Where it receives: its transfer identifier.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn local(&self) -> Result<SocketAddr> {
        self.socket.local_addr().context("own address")
    }

    /// The server's transfer identifier, once it has answered.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Asks for a file, with options (RFC 2347), and takes the first answer: the options or the first block.
    ///
    /// # Errors
    /// When nothing comes, or an error.
    pub fn ask(&mut self, name: &str, options: &[(&str, &str)]) -> Result<()> {
        let mut request = vec![0, 1];
        let words = [name, "octet"].into_iter().chain(options.iter().flat_map(|(key, value)| [*key, *value]));
        for word in words {
            request.extend(word.bytes().chain([0]));
        }
        self.socket.send_to(&request, self.server)?;
        let answer = self.receive()?;
        if let [0, 6, options @ ..] = answer.as_slice() {
            let words: Vec<_> = options.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            let size = words.chunks(2).find(|pair| pair[0].eq_ignore_ascii_case("blksize"));
            if let Some([_, size]) = size {
                self.block_size = size.parse().with_context(|| format!("blksize {size}"))?;
            }
            return Ok(());
        }
        self.take(&answer)
    }

    /// Acknowledges what has come and takes the next block; `false` when the last one has been acknowledged.
    ///
    /// # Errors
    /// When it does not come, or an error.
    pub fn advance(&mut self) -> Result<bool> {
        let peer = self.peer.context("no transfer")?;
        let [high, low] = self.blocks.to_be_bytes();
        self.socket.send_to(&[0, 4, high, low], peer)?;
        if self.complete {
            return Ok(false);
        }
        let answer = self.receive()?;
        self.take(&answer)?;
        Ok(true)
    }

    /// Whether a datagram is waiting, from whomever.
    ///
    /// # Errors
    /// When the kernel refuses the timeout.
    pub fn hears_anything(&self, limit: Duration) -> Result<bool> {
        self.socket.set_read_timeout(Some(limit))?;
        Ok(self.socket.recv(&mut [0; 2_048]).is_ok())
    }

    fn take(&mut self, answer: &[u8]) -> Result<()> {
        match answer {
            [0, 3, high, low, data @ ..] => {
                let number = u16::from_be_bytes([*high, *low]);
                ensure!(number == self.blocks + 1, "block {number} after {}", self.blocks);
                self.blocks = number;
                self.text.extend(data);
                self.complete = data.len() < self.block_size;
                Ok(())
            }
            [0, 5, _, code, words @ ..] => bail!("error {code}: {}", String::from_utf8_lossy(words)),
            _ => bail!("neither data nor an error: {answer:?}"),
        }
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut buffer = [0; 65_536];
        self.socket.set_read_timeout(Some(STEP))?;
        let (length, from) = self.socket.recv_from(&mut buffer).context("the server is silent")?;
        let peer = *self.peer.get_or_insert(from);
        ensure!(peer == from, "{from} answers in place of {peer}");
        Ok(buffer[..length].to_vec())
    }
}

/// Sends a data block nobody has asked for.
///
/// # Errors
/// When the sender's address cannot be bound.
pub fn intrude(ns: &Netns, from: SocketAddr, to: SocketAddr, block: u16) -> Result<()> {
    let [high, low] = block.to_be_bytes();
    let socket = ns.udp(from)?;
    socket.send_to(&[0, 3, high, low, 0xba, 0xdb, 0xad], to).with_context(|| format!("{from} to {to}"))?;
    Ok(())
}
