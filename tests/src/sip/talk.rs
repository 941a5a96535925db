//! Scripted SIP: both ends in one hand, so that a test knows at every step what each has received, byte for byte.
//! Nothing here answers by itself.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use super::{PORT, Transport, Wire, content, header, host};
use crate::h323::session::Host;
use crate::netns::Netns;

/// How long a message may take.
const STEP: Duration = Duration::from_secs(2);
/// Silence after which nothing more is expected.
const QUIET: Duration = Duration::from_millis(80);

/// One of the two ends of a [`Line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who opened it.
    Near,
    /// The other.
    Far,
}

impl Side {
    /// The other side.
    pub const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// What carries messages between two addresses.
#[derive(Debug)]
pub struct Line {
    near: Wire,
    far: Wire,
    transport: Transport,
    locals: [SocketAddr; 2],
}

impl Line {
    /// From a port of its own choice to [`PORT`] of another host.
    ///
    /// # Errors
    /// When an address cannot be bound or the connection is not made.
    pub fn open(near: &Host, far: &Host, transport: Transport) -> Result<Self> {
        Self::between(near, 0, far, PORT, transport)
    }

    /// Between two ports.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn between(near: &Host, from: u16, far: &Host, to: u16, transport: Transport) -> Result<Self> {
        let to = far.at(to);
        if transport == Transport::Udp {
            let caller = shared_udp(near.ns(), near.at(from))?;
            let from = caller.local_addr()?;
            let callee = shared_udp(far.ns(), to)?;
            // Others may have this address too: each reads its own peer alone.
            caller.connect(to)?;
            callee.connect(from)?;
            let (near, far) = (Wire::Udp(caller, to), Wire::Udp(callee, from));
            return Ok(Self { near, far, transport, locals: [from, to] });
        }
        let listener = far.ns().run(|| listen(to))??;
        let caller = near.ns().connect(near.at(from), to, STEP)?;
        let (callee, from) = listener.accept().context("accept")?;
        for stream in [&caller, &callee] {
            stream.set_nodelay(true)?;
        }
        let (near, far) = (Wire::Tcp(caller, Vec::new()), Wire::Tcp(callee, Vec::new()));
        Ok(Self { near, far, transport, locals: [from, to] })
    }

    /// An end's own address.
    pub fn local(&self, side: Side) -> SocketAddr {
        match side {
            Side::Near => self.locals[0],
            Side::Far => self.locals[1],
        }
    }

    /// A message from one end, which must arrive at the other as it is.
    ///
    /// # Errors
    /// When it does not, or something else does.
    pub fn say(&mut self, from: Side, message: &str) -> Result<()> {
        self.send(from, message)?;
        let title = message.lines().next().unwrap_or_default().to_owned();
        let came = self.read(from.other(), STEP).with_context(|| title.clone())?;
        let came = came.with_context(|| format!("{title} does not arrive"))?;
        ensure!(came == message, "{title} arrives as {came}");
        Ok(())
    }

    /// A message that must not arrive; what its sender reads instead.
    ///
    /// # Errors
    /// When it arrives.
    pub fn say_in_vain(&mut self, from: Side, message: &str) -> Result<Option<String>> {
        self.send(from, message)?;
        let answer = self.read(from, STEP / 4).unwrap_or(None);
        let title = message.lines().next().unwrap_or_default();
        let came = self.read(from.other(), QUIET).unwrap_or(None);
        ensure!(came.is_none(), "{title} arrives as {came:?}; its sender reads {answer:?}");
        Ok(answer)
    }

    /// Puts a message on the line.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn send(&mut self, from: Side, message: &str) -> Result<()> {
        Ok(self.wire(from).send(message)?)
    }

    /// The next message an end reads; `None` when none came in time.
    ///
    /// # Errors
    /// When the socket fails, or a connection is over.
    pub fn read(&mut self, at: Side, limit: Duration) -> Result<Option<String>> {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.wire(at).receive(left)? {
                None if Instant::now() < until => {}
                outcome => return Ok(outcome),
            }
        }
    }

    /// Whether nothing waits to be read at either end.
    pub fn is_quiet(&mut self) -> bool {
        [Side::Near, Side::Far].into_iter().all(|side| matches!(self.read(side, QUIET), Ok(None)))
    }

    fn wire(&mut self, side: Side) -> &mut Wire {
        match side {
            Side::Near => &mut self.near,
            Side::Far => &mut self.far,
        }
    }
}

/// A UDP socket on an address that others may have too.
fn shared_udp(ns: &Netns, local: SocketAddr) -> Result<UdpSocket> {
    ns.run(|| -> Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(local), Type::DGRAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&local.into()).with_context(|| format!("udp {local}"))?;
        Ok(socket.into())
    })?
}

fn listen(local: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&local.into()).with_context(|| format!("tcp {local}"))?;
    socket.listen(8)?;
    Ok(socket.into())
}

/// Two parties, and what they have to say to each other under one Call-ID.
#[derive(Clone, Debug)]
pub struct Script {
    transport: Transport,
    locals: [SocketAddr; 2],
    /// Its Call-ID.
    pub call: String,
    /// Tags of the two sides; the far one's once it has answered.
    pub tags: [String; 2],
    /// User names of the two sides.
    pub users: [String; 2],
    sequence: [u32; 2],
}

impl Script {
    /// A call over this line that nobody has spoken of yet.
    pub fn new(line: &Line) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            transport: line.transport,
            locals: line.locals,
            call: format!("talk-{number}-{}@{}", line.locals[0].port(), host(line.locals[0].ip())),
            tags: ["near".to_owned(), "far".to_owned()],
            users: ["phone".to_owned(), "desk".to_owned()],
            sequence: [0, 100],
        }
    }

    /// A request outside any dialog, with these header lines (each with its CRLF) and this body.
    pub fn first(&mut self, from: Side, method: &str, lines: &str, body: &str) -> String {
        self.request(from, method, false, lines, body)
    }

    /// A request within the dialog.
    pub fn next(&mut self, from: Side, method: &str, lines: &str, body: &str) -> String {
        self.request(from, method, true, lines, body)
    }

    /// The ACK of an INVITE, or its CANCEL: with the INVITE's own number.
    pub fn same(&self, from: Side, method: &str, tagged: bool, body: &str) -> String {
        let mut script = self.clone();
        script.sequence[index(from)] -= 1;
        script.request(from, method, tagged, "", body)
    }

    fn request(&mut self, from: Side, method: &str, tagged: bool, lines: &str, body: &str) -> String {
        let (own, far) = (index(from), index(from.other()));
        self.sequence[own] += 1;
        let [near_host, far_host] = [own, far].map(|side| host(self.locals[side].ip()));
        let to_tag = if tagged { format!(";tag={}", self.tags[far]) } else { String::new() };
        let Self { call, sequence, .. } = self;
        let (number, name) = (sequence[own], self.transport.name());
        // RFC 3261 §9.1: a CANCEL has its INVITE's branch.
        let branch = if method == "CANCEL" { "INVITE" } else { method };
        format!(
            "{method} sip:{}@{} SIP/2.0\r\nVia: SIP/2.0/{name} {};branch=z9hG4bK{own}-{number}-{branch}-{}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{}@{near_host}>;tag={}\r\nTo: <sip:{}@{far_host}>{to_tag}\r\n\
             Call-ID: {call}\r\nCSeq: {number} {method}\r\nContact: <sip:{}@{};transport={name}>\r\n{lines}{}",
            self.users[far],
            self.locals[far],
            self.locals[own],
            call.replace(['@', '[', ']', ':'], ""),
            self.users[own],
            self.tags[own],
            self.users[far],
            self.users[own],
            self.locals[own],
            typed(lines, body)
        )
    }

    /// A response to a request, with the sender's tag.
    pub fn response(&self, from: Side, request: &str, status: &str, lines: &str, body: &str) -> String {
        let own = index(from);
        let copied: String = ["Via", "From", "To", "Call-ID", "CSeq"]
            .iter()
            .filter_map(|name| {
                let value = header(request, name)?;
                let untagged = *name == "To" && !value.contains(";tag=") && !status.starts_with("100");
                let tag = if untagged { format!(";tag={}", self.tags[own]) } else { String::new() };
                Some(format!("{name}: {value}{tag}\r\n"))
            })
            .collect();
        let contact = match header(request, "Contact") {
            // A registrar says what is bound (RFC 3261 §10.3): nothing, once it is taken back.
            Some(_) if request.starts_with("REGISTER") && header(request, "Expires") == Some("0") => {
                String::new()
            }
            Some(bound) if request.starts_with("REGISTER") => format!("Contact: {bound}\r\n"),
            _ => format!("Contact: <sip:{}@{}>\r\n", self.users[own], self.locals[own]),
        };
        format!("SIP/2.0 {status}\r\n{copied}{contact}{lines}{}", typed(lines, body))
    }

    /// An INVITE from the near side and its answer: offer and answer.
    ///
    /// # Errors
    /// When a message does not arrive as it is.
    pub fn connect(&mut self, line: &mut Line, offer: &str, answer: &str) -> Result<()> {
        let invite = self.first(Side::Near, "INVITE", "", offer);
        line.say(Side::Near, &invite)?;
        line.say(Side::Far, &self.response(Side::Far, &invite, "180 Ringing", "", ""))?;
        line.say(Side::Far, &self.response(Side::Far, &invite, "200 OK", "", answer))?;
        line.say(Side::Near, &self.same(Side::Near, "ACK", true, ""))
    }

    /// A request within the dialog and its 200, with their bodies; an INVITE with its ACK.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn exchange(&mut self, line: &mut Line, from: Side, method: &str, bodies: [&str; 2]) -> Result<()> {
        let request = self.next(from, method, "", bodies[0]);
        line.say(from, &request)?;
        line.say(from.other(), &self.response(from.other(), &request, "200 OK", "", bodies[1]))?;
        if method == "INVITE" {
            line.say(from, &self.same(from, "ACK", true, ""))?;
        }
        Ok(())
    }

    /// Hangs up.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn end(&mut self, line: &mut Line, from: Side) -> Result<()> {
        self.exchange(line, from, "BYE", ["", ""])
    }
}

/// A session description: `media` is everything behind the session's own lines.
pub fn session(ip: IpAddr, media: &str) -> String {
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!("v=0\r\no=lab 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n{media}")
}

/// A G.711 stream, with further attribute lines.
pub fn audio(port: u16, lines: &str) -> String {
    format!("m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n{lines}")
}

/// Where a message's status stands: `403`; empty where it is no response.
pub fn status(message: &str) -> &str {
    message.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).unwrap_or_default()
}

fn typed(lines: &str, body: &str) -> String {
    if lines.contains("Content-Type:") {
        return format!("Content-Length: {}\r\n\r\n{body}", body.len());
    }
    content(body)
}

const fn index(side: Side) -> usize {
    match side {
        Side::Near => 0,
        Side::Far => 1,
    }
}
