//! A scripted MGCP call agent and its gateway (RFC 3435), over real sockets.
//!
//! Both are in one hand. Media starts at the earliest moment the protocol permits: the far end's right behind the
//! response with the gateway's session description, the gateway's right behind the command with the far end's.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::call::{Call, Signalling};
use crate::netns::Netns;
use crate::rtp::{Media, Port};

/// Where a gateway listens (RFC 3435 §3.6).
pub const GATEWAY_PORT: u16 = 2427;
/// Where a call agent listens.
pub const AGENT_PORT: u16 = 2727;
/// How long a datagram may take here.
const STEP: Duration = Duration::from_secs(2);
/// The gateway's SSRC.
const SSRC_GATEWAY: u32 = 0x3435_0001;
/// The far end's SSRC.
const SSRC_FAR: u32 = 0x3435_0002;
/// The endpoint all calls are made at.
const ENDPOINT: &str = "aaln/1@gw.example.net";

/// An address that speaks MGCP, in its namespace.
#[derive(Debug)]
pub struct Station {
    ns: Netns,
    socket: UdpSocket,
    address: SocketAddr,
}

impl Station {
    /// Binds [`AGENT_PORT`] of this address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn agent(ns: &Netns, ip: IpAddr) -> Result<Self> {
        Self::bind(ns, SocketAddr::new(ip, AGENT_PORT))
    }

    /// Binds [`GATEWAY_PORT`] of this address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn gateway(ns: &Netns, ip: IpAddr) -> Result<Self> {
        Self::bind(ns, SocketAddr::new(ip, GATEWAY_PORT))
    }

    fn bind(ns: &Netns, address: SocketAddr) -> Result<Self> {
        let socket = ns.udp(address)?;
        Ok(Self { ns: ns.clone(), socket, address })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn send(&self, to: &Self, text: &str) -> Result<()> {
        self.socket.send_to(text.as_bytes(), to.address).with_context(|| format!("to {}", to.address))?;
        Ok(())
    }

    /// The next datagram, or `None` when none comes in time.
    ///
    /// # Errors
    /// When the kernel refuses the timeout.
    pub fn receive(&self, limit: Duration) -> Result<Option<String>> {
        let mut buffer = [0; 4_096];
        self.socket.set_read_timeout(Some(limit))?;
        let Ok(length) = self.socket.recv(&mut buffer) else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(&buffer[..length]).into_owned()))
    }

    /// Sends, and returns what arrives there, which must be what was sent.
    fn say(&self, to: &Self, text: &str) -> Result<String> {
        self.send(to, text)?;
        let heard = to.receive(STEP)?;
        let heard = heard.with_context(|| format!("{} does not hear: {text}", to.address))?;
        ensure!(heard == text, "{} hears: {heard}", to.address);
        Ok(heard)
    }
}

/// A gateway restarts, and its agent answers: from then on they know one another.
///
/// # Errors
/// When a datagram does not arrive.
pub fn restart(agent: &Station, gateway: &Station) -> Result<()> {
    let number = transaction();
    gateway.say(agent, &format!("RSIP {number} *@gw.example.net MGCP 1.0\r\nRM: restart\r\n"))?;
    agent.say(gateway, &format!("200 {number} OK\r\n")).map(drop)
}

/// The agent lets the gateway's endpoint speak with `far`, an address of the agent's namespace; returns once
/// media flows.
///
/// # Errors
/// When a datagram does not arrive.
pub fn place(agent: &Station, gateway: &Station, far: IpAddr) -> Result<Call> {
    let own = Port::bind(&gateway.ns, gateway.address.ip())?;
    let port = Port::bind(&agent.ns, far)?;
    let (near_rtp, far_rtp) = (own.rtp(), port.rtp());
    let call = Connection::new();

    let number = transaction();
    agent.say(gateway, &call.create(number))?;
    let answer = format!("200 {number} OK\r\nI: {}\r\n\r\n{}", call.id, description(near_rtp));
    gateway.say(agent, &answer)?;
    let far_is_agent = far == agent.address.ip();
    let mut port = Some(port);
    let mut start = || Media::start(port.take().context("started before")?, near_rtp, SSRC_FAR);
    let early = if far_is_agent { Some(start()?) } else { None };

    let number = transaction();
    agent.say(gateway, &call.modify(number, far_rtp))?;
    let near = Media::start(own, far_rtp, SSRC_GATEWAY)?;
    let far = early.map_or_else(start, Ok)?;
    gateway.say(agent, &format!("200 {number} OK\r\n"))?;
    let signalling = Release { agent: agent.twin()?, gateway: gateway.twin()?, call };
    Ok(Call { caller: near, callee: far, signalling: Box::new(signalling) })
}

impl Station {
    /// The same socket once more.
    fn twin(&self) -> Result<Self> {
        Ok(Self { ns: self.ns.clone(), socket: self.socket.try_clone()?, address: self.address })
    }
}

/// What names a connection at the gateway.
#[derive(Clone, Debug)]
pub struct Connection {
    /// CallId.
    pub call: String,
    /// ConnectionId.
    pub id: String,
}

impl Connection {
    /// A connection nobody else has.
    pub fn new() -> Self {
        let number = transaction();
        Self { call: format!("A{number:X}"), id: format!("F{number:X}") }
    }

    /// CreateConnection, without knowledge of the far end (RFC 3435 §2.3.5).
    pub fn create(&self, number: u32) -> String {
        let call = &self.call;
        format!("CRCX {number} {ENDPOINT} MGCP 1.0\r\nC: {call}\r\nL: p:20, a:PCMU\r\nM: recvonly\r\n")
    }

    /// ModifyConnection, with the far end's address (§2.3.6).
    pub fn modify(&self, number: u32, far: SocketAddr) -> String {
        let (Self { call, id }, remote) = (self, description(far));
        format!("MDCX {number} {ENDPOINT} MGCP 1.0\r\nC: {call}\r\nI: {id}\r\nM: sendrecv\r\n\r\n{remote}")
    }

    /// DeleteConnection (§2.3.7).
    pub fn delete(&self, number: u32) -> String {
        let Self { call, id } = self;
        format!("DLCX {number} {ENDPOINT} MGCP 1.0\r\nC: {call}\r\nI: {id}\r\n")
    }
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

/// What it takes to hang up.
#[derive(Debug)]
struct Release {
    agent: Station,
    gateway: Station,
    call: Connection,
}

impl Signalling for Release {
    fn release(&mut self) -> Result<()> {
        let number = transaction();
        self.agent.say(&self.gateway, &self.call.delete(number))?;
        self.gateway.say(&self.agent, &format!("250 {number} OK\r\n")).map(drop)
    }
}

/// A gateway's Notify: these events have occurred at the endpoint (RFC 3435 §2.3.4).
pub fn notify(number: u32, events: &str) -> String {
    format!("NTFY {number} {ENDPOINT} MGCP 1.0\r\nX: 1\r\nO: {events}\r\n")
}

/// A transaction identifier nobody else has (§3.2.1.2).
pub fn transaction() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(1_001);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The session description of an end that receives G.711 here.
fn description(media: SocketAddr) -> String {
    let (ip, port) = (media.ip(), media.port());
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 25678 753849 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}
