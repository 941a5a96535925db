//! A small SIP user agent pair (RFC 3261, RFC 3264) over UDP or TCP, made for exact measurements.
//!
//! The callee sends its first RTP packet right behind its 200 OK, with nothing in between: whoever opens the
//! way for media too late loses that packet, and [`crate::rtp`] tells.

pub mod stage;
pub mod talk;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::call::{Call, Signalling};
use crate::netns::Netns;
use crate::rtp::{Media, Port};

/// The port of SIP.
pub const PORT: u16 = 5060;
/// RFC 3261 §17.1.1.1: T1, the first retransmission over UDP.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 §17.1.2.1: T2, the longest time between retransmissions.
const T2: Duration = Duration::from_secs(4);
/// How long a transaction may take here; a lab's round trip is a fraction of a millisecond.
const TRANSACTION: Duration = Duration::from_secs(4);
/// Longest datagram.
const MESSAGE: usize = 16_384;
/// How often a waiting thread looks whether it is to stop.
const POLL: Duration = Duration::from_millis(20);

/// What carries the signalling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Transport {
    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// A callee that answers every call at once.
#[derive(Debug)]
pub struct Callee {
    address: SocketAddr,
    transport: Transport,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// What the callee's threads share.
#[derive(Debug)]
struct Desk {
    ns: Netns,
    address: SocketAddr,
    transport: Transport,
    stopped: AtomicBool,
    /// By Call-ID; taken by whoever placed the call.
    media: Mutex<HashMap<String, Media>>,
    /// The final response to each INVITE, for its retransmissions.
    answered: Mutex<HashMap<String, String>>,
}

impl Callee {
    /// Listens on [`PORT`] of this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn listen(ns: &Netns, ip: IpAddr, transport: Transport) -> Result<Self> {
        let address = SocketAddr::new(ip, PORT);
        let desk = Arc::new(Desk {
            ns: ns.clone(),
            address,
            transport,
            stopped: AtomicBool::new(false),
            media: Mutex::default(),
            answered: Mutex::default(),
        });
        let clerk = Arc::clone(&desk);
        let thread = match transport {
            Transport::Udp => {
                let socket = ns.udp(address)?;
                socket.set_read_timeout(Some(POLL))?;
                thread::spawn(move || clerk.serve_datagrams(&socket))
            }
            Transport::Tcp => {
                let listener = ns.listen(address)?;
                listener.set_nonblocking(true)?;
                thread::spawn(move || {
                    while !clerk.stopped() {
                        match listener.accept() {
                            Ok((stream, _)) => {
                                let clerk = Arc::clone(&clerk);
                                thread::spawn(move || clerk.serve_stream(stream));
                            }
                            Err(_) => thread::sleep(POLL),
                        }
                    }
                })
            }
        };
        Ok(Self { address, transport, desk, thread: Some(thread) })
    }

    /// The media of an answered call.
    fn take(&self, call: &str) -> Result<Media> {
        let until = Instant::now() + TRANSACTION;
        loop {
            if let Some(media) = lock(&self.desk.media).remove(call) {
                return Ok(media);
            }
            ensure!(Instant::now() < until, "the callee has no media for {call}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.desk.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed already.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn serve_datagrams(&self, socket: &UdpSocket) {
        let mut buffer = [0; MESSAGE];
        while !self.stopped() {
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.answer(&message, &mut |reply| socket.send_to(reply.as_bytes(), peer).map(drop));
        }
    }

    fn serve_stream(&self, stream: TcpStream) {
        let mut wire = Wire::Tcp(stream, Vec::new());
        while !self.stopped() {
            match wire.receive(POLL) {
                Ok(Some(message)) => self.answer(&message, &mut |reply| wire.send(reply)),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    fn answer(&self, request: &str, send: &mut dyn FnMut(&str) -> io::Result<()>) {
        let outcome = match request.split(' ').next() {
            Some("INVITE") => self.invite(request, send),
            Some("BYE") => self.bye(request, send),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            eprintln!("lab: SIP callee {}: {error:#}", self.address);
        }
    }

    fn invite(&self, request: &str, send: &mut dyn FnMut(&str) -> io::Result<()>) -> Result<()> {
        let call = header(request, "Call-ID").context("INVITE without Call-ID")?.to_owned();
        if let Some(response) = lock(&self.answered).get(&call) {
            return send(response).context("200 again");
        }
        let peer = media_address(request).context("INVITE without a media address")?;
        let port = Port::bind(&self.ns, self.address.ip())?;
        send(&self.response(request, "180 Ringing", "")).context("180")?;
        let response = self.response(request, "200 OK", &description(port.rtp()));
        lock(&self.answered).insert(call.clone(), response.clone());
        send(&response).context("200")?;
        let media = Media::start(port, peer, 0x0b0b_0b0b)?;
        lock(&self.media).insert(call, media);
        Ok(())
    }

    /// Ends a call, and its media where nobody has taken that.
    fn bye(&self, request: &str, send: &mut dyn FnMut(&str) -> io::Result<()>) -> Result<()> {
        if let Some(call) = header(request, "Call-ID") {
            lock(&self.media).remove(call);
        }
        send(&self.response(request, "200 OK", "")).context("200 to BYE")
    }

    /// A response to `request` (RFC 3261 §8.2.6).
    fn response(&self, request: &str, status: &str, body: &str) -> String {
        let copied: String = ["Via", "From", "To", "Call-ID", "CSeq"]
            .iter()
            .filter_map(|name| {
                let value = header(request, name)?;
                let tag = if *name == "To" && !value.contains(";tag=") { ";tag=callee" } else { "" };
                Some(format!("{name}: {value}{tag}\r\n"))
            })
            .collect();
        let contact = format!("Contact: <sip:{};transport={}>\r\n", self.address, self.transport.name());
        format!("SIP/2.0 {status}\r\n{copied}{contact}{}", content(body))
    }
}

/// Places a call from `ip` in `ns` to a callee, and returns once it is answered and media flows.
///
/// # Errors
/// When it is not answered in time or is refused; the status line is in the error.
pub fn place(ns: &Netns, ip: IpAddr, callee: &Callee) -> Result<Call> {
    place_padded(ns, ip, callee, 0)
}

/// Like [`place`], with an INVITE that is longer by this many attributes of its description, 64 bytes each.
///
/// # Errors
/// As [`place`].
pub fn place_padded(ns: &Netns, ip: IpAddr, callee: &Callee, padding: usize) -> Result<Call> {
    placed(ns, ip, callee, padding, TRANSACTION)
}

/// Like [`place`], by a phone that repeats its requests for as long as RFC 3261 lets it: 32 s.
///
/// # Errors
/// As [`place`].
pub fn place_patiently(ns: &Netns, ip: IpAddr, callee: &Callee) -> Result<Call> {
    placed(ns, ip, callee, 0, 64 * T1)
}

fn placed(ns: &Netns, ip: IpAddr, callee: &Callee, padding: usize, patience: Duration) -> Result<Call> {
    let port = Port::bind(ns, ip)?;
    let offer = format!("{}{}", description(port.rtp()), format!("a=x-lab:{:054}\r\n", 0).repeat(padding));
    let mut dialog = Dialog::open(ns, ip, callee.address, callee.transport)?;
    dialog.patience = patience;
    let status = dialog.invite(&offer)?;
    ensure!(status.starts_with("SIP/2.0 200"), "INVITE: {}", status.lines().next().unwrap_or_default());
    let peer = media_address(&status).context("200 without a media address")?;
    dialog.acknowledge()?;
    let caller = Media::start(port, peer, 0x0a0a_0a0a)?;
    let callee = callee.take(&dialog.call)?;
    Ok(Call { caller, callee, signalling: Box::new(dialog) })
}

/// The caller's end of a dialog.
#[derive(Debug)]
pub struct Dialog {
    wire: Wire,
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    /// Its Call-ID.
    pub call: String,
    /// The `To` header once the callee has put its tag there.
    to: String,
    sequence: u32,
    /// How long a request is repeated.
    patience: Duration,
}

impl Dialog {
    /// A dialog that has sent nothing yet.
    ///
    /// # Errors
    /// When the address cannot be bound or, over TCP, the connection is not accepted.
    pub fn open(ns: &Netns, ip: IpAddr, remote: SocketAddr, transport: Transport) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let any = SocketAddr::new(ip, 0);
        let (wire, local) = match transport {
            Transport::Udp => {
                let socket = ns.udp(any)?;
                let local = socket.local_addr()?;
                (Wire::Udp(socket, remote), local)
            }
            Transport::Tcp => {
                let stream = ns.connect(any, remote, TRANSACTION)?;
                let local = stream.local_addr()?;
                (Wire::Tcp(stream, Vec::new()), local)
            }
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let call = format!("{number}-{}@{}", local.port(), host(ip));
        Ok(Self {
            wire,
            transport,
            local,
            remote,
            call,
            to: format!("<sip:desk@{}>", host(remote.ip())),
            sequence: 1,
            patience: TRANSACTION,
        })
    }

    /// Sends an INVITE with this body and returns the final response, whatever it is.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn invite(&mut self, body: &str) -> Result<String> {
        let request = self.request("INVITE", body);
        let response = self.transaction(&request, "INVITE")?;
        if let Some(to) = header(&response, "To") {
            self.to = to.to_owned();
        }
        Ok(response)
    }

    /// Sends the ACK of a 2xx response.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn acknowledge(&mut self) -> Result<()> {
        let request = self.request("ACK", "");
        self.wire.send(&request).context("ACK")
    }

    fn request(&self, method: &str, body: &str) -> String {
        let Self { transport, local, remote, call, to, sequence, .. } = self;
        format!(
            "{method} sip:desk@{remote} SIP/2.0\r\n\
             Via: SIP/2.0/{} {local};branch=z9hG4bK-{call}-{sequence}-{method}\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:phone@{}>;tag=caller\r\n\
             To: {to}\r\n\
             Call-ID: {call}\r\n\
             CSeq: {sequence} {method}\r\n\
             Contact: <sip:phone@{local};transport={}>\r\n{}",
            transport.name(),
            host(local.ip()),
            transport.name(),
            content(body)
        )
    }

    /// Sends a request until its final response comes (RFC 3261 §17.1).
    fn transaction(&mut self, request: &str, method: &str) -> Result<String> {
        let started = Instant::now();
        let mut pause = T1;
        self.wire.send(request).context(method.to_owned())?;
        let mut again = started + pause;
        while started.elapsed() < self.patience {
            match self.wire.receive(POLL)? {
                Some(message) if is_final(&message, method) => return Ok(message),
                Some(_) => {}
                None if self.transport == Transport::Udp && Instant::now() >= again => {
                    self.wire.send(request).context(method.to_owned())?;
                    pause = (pause * 2).min(T2);
                    again = Instant::now() + pause;
                }
                None => {}
            }
        }
        bail!("{method} to {} is not answered", self.remote)
    }
}

impl Signalling for Dialog {
    fn release(&mut self) -> Result<()> {
        self.sequence += 1;
        let request = self.request("BYE", "");
        let response = self.transaction(&request, "BYE")?;
        ensure!(response.starts_with("SIP/2.0 200"), "BYE: {}", response.lines().next().unwrap_or_default());
        Ok(())
    }
}

/// A session description with one G.711 stream (RFC 8866).
pub fn description(rtp: SocketAddr) -> String {
    let family = if rtp.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (rtp.ip(), rtp.port());
    format!(
        "v=0\r\no=lab 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
    )
}

/// One end of a signalling connection.
#[derive(Debug)]
enum Wire {
    Udp(UdpSocket, SocketAddr),
    Tcp(TcpStream, Vec<u8>),
}

impl Wire {
    fn send(&mut self, message: &str) -> io::Result<()> {
        match self {
            Self::Udp(socket, peer) => socket.send_to(message.as_bytes(), *peer).map(drop),
            Self::Tcp(stream, _) => stream.write_all(message.as_bytes()),
        }
    }

    /// The next message, or `None` when none came in time.
    fn receive(&mut self, limit: Duration) -> io::Result<Option<String>> {
        let mut buffer = [0; MESSAGE];
        match self {
            Self::Udp(socket, _) => {
                socket.set_read_timeout(Some(limit))?;
                Ok(timely(socket.recv(&mut buffer))?
                    .map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()))
            }
            Self::Tcp(stream, pending) => {
                if let Some(message) = cut(pending) {
                    return Ok(Some(message));
                }
                stream.set_read_timeout(Some(limit))?;
                match timely(stream.read(&mut buffer))? {
                    Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Some(length) => {
                        pending.extend(&buffer[..length]);
                        Ok(cut(pending))
                    }
                    None => Ok(None),
                }
            }
        }
    }
}

/// Cuts the first complete message off a stream (RFC 3261 §18.3).
fn cut(pending: &mut Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(pending).into_owned();
    let head = text.find("\r\n\r\n")? + 4;
    let length = head + header(&text[..head], "Content-Length").and_then(|n| n.parse().ok()).unwrap_or(0);
    if pending.len() < length {
        return None;
    }
    let message = pending.drain(..length).collect::<Vec<u8>>();
    Some(String::from_utf8_lossy(&message).into_owned())
}

/// A timeout is not an error.
fn timely(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_final(message: &str, method: &str) -> bool {
    message.starts_with("SIP/2.0 ")
        && !message.starts_with("SIP/2.0 1")
        && header(message, "CSeq").is_some_and(|value| value.ends_with(method))
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let lines = message.split("\r\n").take_while(|line| !line.is_empty());
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Where a description receives its first stream.
fn media_address(message: &str) -> Option<SocketAddr> {
    let value = |key: &str| message.split("\r\n").find_map(|line| line.strip_prefix(key));
    let ip = value("c=")?.split(' ').nth(2)?.parse().ok()?;
    let port = value("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

fn content(body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An address as SIP writes a host (RFC 3261 §25.1).
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{cut, description, media_address};

    #[test]
    fn a_stream_is_cut_at_content_length() {
        let mut pending = b"BYE sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nhiACK".to_vec();
        assert_eq!(cut(&mut pending).as_deref(), Some("BYE sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nhi"));
        assert_eq!(cut(&mut pending), None);
        assert_eq!(pending, b"ACK");
    }

    #[test]
    fn a_description_says_where_it_receives() {
        for text in ["192.0.2.1:16400", "[2001:db8::1]:16402"] {
            let address = text.parse().expect("address");
            assert_eq!(media_address(&description(address)), Some(address));
        }
    }
}
