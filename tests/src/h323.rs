//! A small H.323 endpoint pair (H.225.0, H.245) over real sockets: fast start, H.245 on a connection of its
//! own, and H.245 tunnelled in the call's. Beside it, [`session`]: calls and RAS by script, message by message,
//! with [`wire`] and [`ras`] for what they say.
//!
//! Media starts at the earliest moment the standard permits: the callee's right behind its Connect where fast
//! start told it everything (H.323 §8.1.7.1), else right behind the OpenLogicalChannelAck it was waiting for.

pub mod ledger;
mod line;
mod per;
pub mod ras;
pub mod session;
pub mod wire;

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use callgate_protocols::build::{self, Parts};
use callgate_protocols::h225::{Body, Message as CallMessage};
use callgate_protocols::h245::{Message as ControlMessage, OpenLogicalChannel};
use callgate_protocols::q931;

use crate::call::{Call, Signalling};
use crate::netns::Netns;
use crate::rtp::{Media, Port};
pub use line::Line;

/// The port of H.225.0 call signalling.
pub const PORT: u16 = 1720;
/// How long a step of a call may take here.
const STEP: Duration = Duration::from_secs(4);
/// How often a waiting thread looks whether it is to stop.
const POLL: Duration = Duration::from_millis(20);
/// The audio session (H.245 H2250LogicalChannelParameters).
const AUDIO: u8 = 1;
/// Number of the one channel each side opens.
const CHANNEL: u16 = 1;

/// How a call's media is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Channels offered in Setup and accepted in Connect (H.323 §8.1.7).
    FastStart,
    /// H.245 on a connection of its own, to the address in Connect.
    SeparateH245,
    /// H.245 in Facility messages of the call's own connection (H.323 §8.2.1).
    TunnelledH245,
}

/// A callee that answers every call, in the form its Setup asks for.
#[derive(Debug)]
pub struct Callee {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// What the callee's threads share.
#[derive(Debug)]
struct Desk {
    ns: Netns,
    address: SocketAddr,
    stopped: AtomicBool,
    /// By callIdentifier; taken by whoever placed the call.
    media: Mutex<HashMap<[u8; 16], Media>>,
}

impl Callee {
    /// Listens on [`PORT`] of this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn listen(ns: &Netns, ip: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(ip, PORT);
        let listener = ns.listen(address)?;
        listener.set_nonblocking(true)?;
        let desk = Arc::new(Desk {
            ns: ns.clone(),
            address,
            stopped: AtomicBool::new(false),
            media: Mutex::default(),
        });
        let clerk = Arc::clone(&desk);
        let thread = thread::spawn(move || {
            while !clerk.stopped() {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let clerk = Arc::clone(&clerk);
                        thread::spawn(move || clerk.serve(stream));
                    }
                    Err(_) => thread::sleep(POLL),
                }
            }
        });
        Ok(Self { desk, thread: Some(thread) })
    }

    /// The media of an answered call.
    fn take(&self, call: &[u8; 16]) -> Result<Media> {
        let until = Instant::now() + STEP;
        loop {
            if let Some(media) = lock(&self.desk.media).remove(call) {
                return Ok(media);
            }
            ensure!(Instant::now() < until, "the callee has no media");
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

    fn serve(&self, stream: TcpStream) {
        if let Err(error) = self.answer(Line::new(stream)) {
            eprintln!("lab: H.323 callee {}: {error:#}", self.address);
        }
    }

    /// One call, from its Setup to its ReleaseComplete.
    fn answer(&self, mut line: Line) -> Result<()> {
        let setup = line.expect(STEP)?;
        let (reference, message) = call_message(&setup)?;
        ensure!(message.body == Body::Setup, "{:?} instead of a Setup", message.body);
        let id = message.call.context("Setup without callIdentifier")?.0;
        let call = build::Call { reference, id };
        let port = Port::bind(&self.ns, self.address.ip())?;
        let own = own(&port);
        line.send(&build::call_proceeding(&call, &Parts::default()))?;
        line.send(&build::alerting(&call, &Parts::default()))?;

        let offered = channels(&message)?.iter().find_map(|channel| channel.reverse?.media?.media_channel);
        if let Some(caller) = offered {
            let parts = Parts { fast_start: build::acceptance(own, caller), ..Parts::default() };
            line.send(&build::connect(&call, &parts))?;
            self.keep(id, Media::start(port, caller, SSRC_CALLEE)?);
            return self.released(&mut line);
        }
        if message.tunnelling {
            line.send(&build::connect(&call, &Parts { tunnelling: true, ..Parts::default() }))?;
            let mut control = Tunnel { line: &mut line, call, to_origin: true };
            self.keep(id, negotiate(&mut control, port, SSRC_CALLEE)?);
            return self.released(&mut line);
        }
        let listener = self.ns.listen(SocketAddr::new(self.address.ip(), 0))?;
        let h245_address = Some(listener.local_addr()?);
        line.send(&build::connect(&call, &Parts { h245_address, ..Parts::default() }))?;
        let mut control = Line::new(accept(&listener)?);
        self.keep(id, negotiate(&mut control, port, SSRC_CALLEE)?);
        // H.323 §8.5: EndSession both ways, then the call's own release.
        while !self.stopped() {
            match control.receive(POLL) {
                Ok(Some(message)) if is_end(&message) => {
                    Control::send(&mut control, build::end_session())?;
                    break;
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.released(&mut line)
    }

    fn keep(&self, call: [u8; 16], media: Media) {
        lock(&self.media).insert(call, media);
    }

    /// Waits until the caller releases the call or closes its connection.
    fn released(&self, line: &mut Line) -> Result<()> {
        while !self.stopped() {
            match line.receive(POLL) {
                Ok(Some(message)) if call_message(&message)?.1.body == Body::ReleaseComplete => return Ok(()),
                Ok(_) => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// The caller's SSRC.
const SSRC_CALLER: u32 = 0x0c0c_0c0c;
/// The callee's SSRC.
const SSRC_CALLEE: u32 = 0x0d0d_0d0d;

/// Places a call from `ip` in `ns`, and returns once it is answered and media flows.
///
/// # Errors
/// When a step is not answered in time, or answered by something else.
pub fn place(ns: &Netns, ip: IpAddr, callee: &Callee, form: Form) -> Result<Call> {
    let call = new_call();
    let port = Port::bind(ns, ip)?;
    let remote = callee.desk.address;
    let mut line = Line::new(ns.connect(SocketAddr::new(ip, 0), remote, STEP)?);
    let fast_start = if form == Form::FastStart { build::proposals(own(&port)) } else { Vec::new() };
    let tunnelling = form == Form::TunnelledH245;
    line.send(&build::setup(&call, &Parts { fast_start, tunnelling, ..Parts::default() }))?;

    let answer = connected(&mut line)?;
    let (_, connect) = call_message(&answer)?;
    let mut control = None;
    let media = match form {
        Form::FastStart => {
            let accepted = channels(&connect)?;
            let peer = accepted.iter().find_map(|channel| channel.forward.media?.media_channel);
            Media::start(port, peer.context("Connect without an accepted channel")?, SSRC_CALLER)?
        }
        Form::SeparateH245 => {
            let address = connect.h245_address.context("Connect without an H.245 address")?;
            let mut separate = Line::new(ns.connect(SocketAddr::new(ip, 0), address, STEP)?);
            let media = negotiate(&mut separate, port, SSRC_CALLER)?;
            control = Some(separate);
            media
        }
        Form::TunnelledH245 => {
            negotiate(&mut Tunnel { line: &mut line, call, to_origin: false }, port, SSRC_CALLER)?
        }
    };
    let callee = callee.take(&call.id)?;
    Ok(Call { caller: media, callee, signalling: Box::new(Release { call, line, control }) })
}

/// What the caller needs to end a call.
#[derive(Debug)]
struct Release {
    call: build::Call,
    line: Line,
    /// A separate H.245 connection.
    control: Option<Line>,
}

impl Signalling for Release {
    fn release(&mut self) -> Result<()> {
        if let Some(control) = &mut self.control {
            Control::send(control, build::end_session())?;
            let until = Instant::now() + STEP;
            while !is_end(&control.expect(until.saturating_duration_since(Instant::now()))?) {}
        }
        self.line.send(&build::release_complete(&self.call, false, &Parts::default()))
    }
}

/// Carries H.245 messages, bare.
trait Control {
    fn send(&mut self, message: Vec<u8>) -> Result<()>;

    /// What has come, when something has come in time.
    fn receive(&mut self, limit: Duration) -> Result<Vec<ControlMessage>>;
}

impl Control for Line {
    fn send(&mut self, message: Vec<u8>) -> Result<()> {
        Self::send(self, &build::tpkt(&message))
    }

    fn receive(&mut self, limit: Duration) -> Result<Vec<ControlMessage>> {
        let message = Self::receive(self, limit)?;
        message.iter().map(|message| readable(ControlMessage::parse(message), "H.245")).collect()
    }
}

/// H.245 in the Facility messages of a call.
struct Tunnel<'a> {
    line: &'a mut Line,
    call: build::Call,
    /// Sent by the callee.
    to_origin: bool,
}

impl Control for Tunnel<'_> {
    fn send(&mut self, message: Vec<u8>) -> Result<()> {
        let parts = Parts { tunnelling: true, h245_control: vec![message], ..Parts::default() };
        self.line.send(&build::facility(&self.call, self.to_origin, &parts))
    }

    fn receive(&mut self, limit: Duration) -> Result<Vec<ControlMessage>> {
        let Some(message) = self.line.receive(limit)? else { return Ok(Vec::new()) };
        let (_, message) = call_message(&message)?;
        message.h245_control.map(|message| readable(ControlMessage::parse(message), "H.245")).collect()
    }
}

/// Exchanges capabilities, opens a channel each way, and starts media when the far end has granted ours.
fn negotiate(control: &mut dyn Control, port: Port, ssrc: u32) -> Result<Media> {
    let own = own(&port);
    let mut port = Some(port);
    let (mut media, mut granted) = (None, false);
    control.send(build::terminal_capability_set(false))?;
    control.send(build::master_slave_determination(ssrc as u8))?;
    let until = Instant::now() + STEP;
    while media.is_none() || !granted {
        ensure!(Instant::now() < until, "H.245 stands still: granted {granted}, sending {}", media.is_some());
        for message in control.receive(POLL)? {
            match message {
                ControlMessage::TerminalCapabilitySet { .. } => {
                    control.send(build::terminal_capability_set_ack())?;
                    control.send(build::open_logical_channel(CHANNEL, AUDIO, own.rtcp))?;
                }
                ControlMessage::Other("masterSlaveDetermination") => {
                    control.send(build::master_slave_determination_ack(ssrc == SSRC_CALLER))?;
                }
                ControlMessage::OpenLogicalChannel(channel) => {
                    control.send(build::open_logical_channel_ack(channel.number, AUDIO, own))?;
                    granted = true;
                }
                ControlMessage::OpenLogicalChannelAck(ack) => {
                    let peer = ack.forward.and_then(|media| media.media_channel);
                    let peer = peer.context("OpenLogicalChannelAck without a media address")?;
                    let port = port.take().context("a second OpenLogicalChannelAck")?;
                    media = Some(Media::start(port, peer, ssrc)?);
                }
                ControlMessage::OpenLogicalChannelReject(number) => bail!("channel {number} is rejected"),
                _ => {}
            }
        }
    }
    media.context("no media")
}

/// Reads call signalling up to the Connect.
fn connected(line: &mut Line) -> Result<Vec<u8>> {
    let until = Instant::now() + STEP;
    loop {
        let message = line.expect(until.saturating_duration_since(Instant::now()))?;
        match call_message(&message)?.1.body {
            Body::Connect => return Ok(message),
            Body::ReleaseComplete => bail!("the call is released"),
            _ => {}
        }
    }
}

/// The call reference and the H.225.0 message of a Q.931 message.
fn call_message(payload: &[u8]) -> Result<(u16, CallMessage<'_>)> {
    let outer = readable(q931::Message::parse(payload), "Q.931")?;
    let inner = outer.user_user.context("Q.931 without User-User")?;
    Ok((outer.call_reference, readable(CallMessage::parse(inner), "H.225.0")?))
}

/// The channels of a message's fastStart.
fn channels(message: &CallMessage<'_>) -> Result<Vec<OpenLogicalChannel>> {
    message.fast_start.map(|string| readable(OpenLogicalChannel::parse(string), "fastStart")).collect()
}

fn is_end(message: &[u8]) -> bool {
    ControlMessage::parse(message) == Ok(ControlMessage::EndSession)
}

fn readable<T, E: Debug>(read: std::result::Result<T, E>, what: &str) -> Result<T> {
    read.map_err(|error| anyhow!("unreadable {what}: {error:?}"))
}

/// A connection to a listener, within [`STEP`].
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + STEP;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("no H.245 connection"),
        }
    }
}

/// A port as messages tell it.
pub fn own(port: &Port) -> build::Media {
    build::Media { rtp: port.rtp(), rtcp: port.rtcp() }
}

/// A call nobody else has.
pub fn new_call() -> build::Call {
    static NUMBER: AtomicU16 = AtomicU16::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut id = [0xca; 16];
    id[..4].copy_from_slice(&std::process::id().to_be_bytes());
    id[4..6].copy_from_slice(&number.to_be_bytes());
    build::Call { reference: number & 0x7fff, id }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
