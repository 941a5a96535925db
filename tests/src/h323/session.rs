//! Scripted H.323: both ends of every connection in one hand, so that a test knows at every step what each has
//! received, octet for octet. Nothing here answers by itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use callgate_protocols::build::{self, Parts};
use callgate_protocols::q931;
use socket2::SockRef;

use super::line::Line;
use super::wire::{self, Data};
use super::{PORT, STEP, new_call, own};
use crate::call::Outcome;
use crate::netns::Netns;
use crate::probe::Shape;
use crate::rtp::{self, Media, Port};

/// The port of RAS.
pub const RAS_PORT: u16 = 1719;
/// Where gatekeepers are looked for (H.225.0 §7.2).
pub const DISCOVERY: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 1, 41), 1718);
/// Silence after which nothing more is expected.
pub const QUIET: Duration = Duration::from_millis(80);
/// How long a connection may take that the firewall does not let through.
const REFUSED: Duration = Duration::from_millis(150);
/// How long media runs.
const MEDIA: Duration = Duration::from_millis(100);
/// SSRCs of the two ends of a stream.
const SSRC: [u32; 2] = [0x0323_0001, 0x0323_0002];

/// Whoever can be spoken to: an address in a namespace.
#[derive(Clone, Debug)]
pub struct Host {
    ns: Netns,
    /// Its address.
    pub ip: IpAddr,
}

impl Host {
    /// An address that the namespace has.
    pub fn new(ns: &Netns, ip: IpAddr) -> Self {
        Self { ns: ns.clone(), ip }
    }

    /// Its namespace.
    pub fn ns(&self) -> &Netns {
        &self.ns
    }

    /// Its address with a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }

    /// Listens for connections; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn listen(&self, port: u16) -> Result<Listener> {
        let socket = patiently(|| self.ns.listen(self.at(port)))?;
        socket.set_nonblocking(true)?;
        Ok(Listener { host: self.clone(), address: socket.local_addr()?, socket })
    }

    /// A UDP socket.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn udp(&self, port: u16) -> Result<UdpSocket> {
        patiently(|| self.ns.udp(self.at(port)))
    }

    /// A free pair of media ports.
    ///
    /// # Errors
    /// As [`Port::bind`].
    pub fn media(&self) -> Result<Port> {
        Port::bind(&self.ns, self.ip)
    }

    /// Connects to a listener.
    ///
    /// # Errors
    /// When the connection is not made in time.
    pub fn connect(&self, to: &Listener) -> Result<Link> {
        let stream = self.ns.connect(self.at(0), to.address, STEP)?;
        Ok(Link { near: Line::new(stream), far: to.accept()? })
    }

    /// Whether the firewall keeps this host from connecting to a listener, which must hear nothing of it.
    pub fn is_kept_from(&self, to: &Listener) -> bool {
        self.ns.connect(self.at(0), to.address, REFUSED).is_err() && to.socket.accept().is_err()
    }

    /// Sends RTP that belongs to no stream.
    ///
    /// # Errors
    /// As [`rtp::stray`].
    pub fn stray(&self, from: u16, to: SocketAddr, count: u32) -> Result<()> {
        rtp::stray(&self.ns, self.at(from), to, count)
    }
}

/// Binds what a test before has bound: a process that another thread is just starting still has its socket.
fn patiently<T>(bind: impl Fn() -> Result<T>) -> Result<T> {
    let until = Instant::now() + STEP;
    loop {
        match bind() {
            Err(error) if is_taken(&error) && Instant::now() < until => {
                thread::sleep(Duration::from_millis(5))
            }
            outcome => return outcome,
        }
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    host: Host,
    socket: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Listener {
    fn accept(&self) -> Result<Line> {
        let until = Instant::now() + STEP;
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Line::new(stream));
                }
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                Err(error) => {
                    return Err(error).with_context(|| format!("no connection to {}", self.address));
                }
            }
        }
    }
}

/// A TCP connection through the firewall, with both its ends.
#[derive(Debug)]
pub struct Link {
    /// The end that connected.
    pub near: Line,
    /// The end that listened.
    pub far: Line,
}

impl Link {
    /// The near end sends; the far one must receive exactly that.
    ///
    /// # Errors
    /// When it does not, in time.
    pub fn forth(&mut self, octets: &[u8]) -> Result<()> {
        carry(&mut self.near, &mut self.far, octets).context("from the near end to the far one")
    }

    /// The far end sends; the near one must receive exactly that.
    ///
    /// # Errors
    /// When it does not, in time.
    pub fn back(&mut self, octets: &[u8]) -> Result<()> {
        carry(&mut self.far, &mut self.near, octets).context("from the far end to the near one")
    }

    /// The near end sends what must not arrive. Returns what each end reads instead: the near, the far.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn withheld(&mut self, octets: &[u8]) -> Result<[Vec<u8>; 2]> {
        self.near.send(octets)?;
        let far = self.far.rest(QUIET);
        Ok([self.near.rest(QUIET), far])
    }
}

fn carry(from: &mut Line, to: &mut Line, octets: &[u8]) -> Result<()> {
    from.send(octets)?;
    let arrived = to.octets(octets.len(), STEP);
    ensure!(arrived == octets, "{octets:02x?} arrives as {arrived:02x?}");
    Ok(())
}

/// What a ReleaseComplete says, when `octets` is one in its TPKT: call reference with its flag, and cause.
pub fn released(octets: &[u8]) -> Option<(u16, bool, Option<u8>)> {
    let payload = octets.get(4..)?;
    let message = q931::Message::parse(payload).ok()?;
    let whole = usize::from(u16::from_be_bytes([octets[2], octets[3]])) == octets.len();
    let release = whole && message.kind == q931::MessageType::ReleaseComplete;
    release.then_some((message.call_reference, message.to_origin, message.cause))
}

/// A party of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who called.
    Caller,
    /// Who was called.
    Callee,
}

/// A call of which both parties do as they are told.
#[derive(Debug)]
pub struct Dialogue {
    /// Its names.
    pub call: build::Call,
    /// The call's own connection; the caller's end is the near one.
    pub line: Link,
    /// A separate H.245 connection, and who made it.
    pub control: Option<(Link, Side)>,
    caller: Host,
    callee: Host,
}

impl Dialogue {
    /// A connection for a new call, on which nothing has been said.
    ///
    /// # Errors
    /// When it is not made in time.
    pub fn connect(caller: &Host, callee: &Listener) -> Result<Self> {
        let line = caller.connect(callee)?;
        let (caller, callee) = (caller.clone(), callee.host.clone());
        Ok(Self { call: new_call(), line, control: None, caller, callee })
    }

    /// A call, answered, without media: what the Setup and the Connect carry beside.
    ///
    /// # Errors
    /// When a message does not arrive as it was sent.
    pub fn answered(caller: &Host, callee: &Listener, setup: Parts, connect: &Parts) -> Result<Self> {
        let mut dialogue = Self::connect(caller, callee)?;
        dialogue.set_up(setup, connect)?;
        Ok(dialogue)
    }

    /// A call, answered, whose H.245 is tunnelled.
    ///
    /// # Errors
    /// As [`Self::answered`].
    pub fn tunnelled(caller: &Host, callee: &Listener) -> Result<Self> {
        let parts = Parts { tunnelling: true, ..Parts::default() };
        let mut dialogue = Self::answered(caller, callee, parts.clone(), &parts)?;
        dialogue.agree()?;
        Ok(dialogue)
    }

    /// A call, answered, whose H.245 goes on a connection that the caller makes.
    ///
    /// # Errors
    /// As [`Self::answered`].
    pub fn separate(caller: &Host, callee: &Listener) -> Result<Self> {
        let listener = callee.host.listen(0)?;
        let connect = Parts { h245_address: Some(listener.address), ..Parts::default() };
        let mut dialogue = Self::answered(caller, callee, Parts::default(), &connect)?;
        dialogue.control = Some((caller.connect(&listener)?, Side::Caller));
        dialogue.agree()?;
        Ok(dialogue)
    }

    /// A call with audio by fast start.
    ///
    /// # Errors
    /// As [`Self::answered`], and when media cannot be sent.
    pub fn fast(caller: &Host, callee: &Listener) -> Result<(Self, Stream)> {
        let mut dialogue = Self::connect(caller, callee)?;
        let stream = dialogue.fast_start()?;
        Ok((dialogue, stream))
    }

    /// Setup to Connect on the connection there is, for the call there is.
    ///
    /// # Errors
    /// As [`Self::answered`].
    pub fn set_up(&mut self, setup: Parts, connect: &Parts) -> Result<()> {
        let setup = wire::Setup { parts: setup, ..wire::Setup::default() };
        self.line.forth(&setup.encode(&self.call))?;
        self.line.back(&build::call_proceeding(&self.call, &Parts::default()))?;
        self.line.back(&build::alerting(&self.call, &Parts::default()))?;
        self.line.back(&build::connect(&self.call, connect))
    }

    /// As [`Self::set_up`], with audio by fast start.
    ///
    /// # Errors
    /// As [`Self::fast`].
    pub fn fast_start(&mut self) -> Result<Stream> {
        let (near, far) = (self.caller.media()?, self.callee.media()?);
        let setup = Parts { fast_start: build::proposals(own(&near)), ..Parts::default() };
        let fast_start = build::acceptance(own(&far), near.rtp());
        self.set_up(setup, &Parts { fast_start, ..Parts::default() })?;
        Stream::start(near, far)
    }

    /// Capability sets and master/slave, both ways.
    ///
    /// # Errors
    /// When a message does not arrive as it was sent.
    pub fn agree(&mut self) -> Result<()> {
        for (side, other, number) in [(Side::Caller, Side::Callee, 1), (Side::Callee, Side::Caller, 2)] {
            self.control(side, build::terminal_capability_set(false))?;
            self.control(other, build::terminal_capability_set_ack())?;
            self.control(side, build::master_slave_determination(number))?;
        }
        self.control(Side::Caller, build::master_slave_determination_ack(true))?;
        self.control(Side::Callee, build::master_slave_determination_ack(false))
    }

    /// One party sends an H.245 message: on its own connection where there is one, else tunnelled.
    ///
    /// # Errors
    /// When it does not arrive as it was sent.
    pub fn control(&mut self, from: Side, message: Vec<u8>) -> Result<()> {
        let message = self.carried(from, message);
        match &mut self.control {
            Some((link, maker)) if *maker == from => link.forth(&message),
            Some((link, _)) => link.back(&message),
            None if from == Side::Caller => self.line.forth(&message),
            None => self.line.back(&message),
        }
    }

    /// An H.245 message as [`Self::control`] sends it.
    pub fn carried(&self, from: Side, message: Vec<u8>) -> Vec<u8> {
        if self.control.is_some() {
            return build::tpkt(&message);
        }
        let parts = Parts { tunnelling: true, h245_control: vec![message], ..Parts::default() };
        build::facility(&self.call, from == Side::Callee, &parts)
    }

    /// Opens a channel of this number both ways, and media in it.
    ///
    /// # Errors
    /// When a message does not arrive as it was sent, or media cannot be sent.
    pub fn open(&mut self, number: u16, data: Data) -> Result<Stream> {
        let [near, far] =
            [self.caller.media()?, self.callee.media()?].map(|port| port.sending(data.payload_type()));
        self.grant(Side::Caller, number, data, own(&near).rtcp, own(&far))?;
        self.grant(Side::Callee, number, data, own(&far).rtcp, own(&near))?;
        Stream::start(near, far)
    }

    /// One party opens a channel, and takes RTCP at `rtcp`; the other receives it at `receiver`.
    ///
    /// # Errors
    /// When a message does not arrive as it was sent.
    pub fn grant(
        &mut self,
        opener: Side,
        number: u16,
        data: Data,
        rtcp: SocketAddr,
        receiver: build::Media,
    ) -> Result<()> {
        let granter = if opener == Side::Caller { Side::Callee } else { Side::Caller };
        self.control(opener, wire::open(number, data, None, rtcp))?;
        self.control(granter, build::open_logical_channel_ack(number, data.session(), receiver))
    }

    /// Closes the channels of this number, both ways.
    ///
    /// # Errors
    /// When a message does not arrive as it was sent.
    pub fn close(&mut self, number: u16) -> Result<()> {
        for (side, other) in [(Side::Caller, Side::Callee), (Side::Callee, Side::Caller)] {
            self.control(side, build::close_logical_channel(number))?;
            self.control(other, build::close_logical_channel_ack(number))?;
        }
        Ok(())
    }

    /// The caller hangs up: EndSession where H.245 has its own connection, and ReleaseComplete.
    ///
    /// # Errors
    /// When a message does not arrive as it was sent.
    pub fn release(&mut self) -> Result<()> {
        if self.control.is_some() {
            self.control(Side::Caller, build::end_session())?;
            self.control(Side::Callee, build::end_session())?;
        }
        self.line.forth(&build::release_complete(&self.call, false, &Parts::default()))
    }
}

/// Media of a channel, both ends.
#[derive(Debug)]
pub struct Stream {
    /// The caller's end.
    pub near: Media,
    /// The callee's end.
    pub far: Media,
}

impl Stream {
    /// Starts both ends.
    ///
    /// # Errors
    /// When a first packet cannot be sent.
    pub fn start(near: Port, far: Port) -> Result<Self> {
        let (caller, callee) = (near.rtp(), far.rtp());
        Ok(Self { far: Media::start(far, caller, SSRC[1])?, near: Media::start(near, callee, SSRC[0])? })
    }

    /// Where its ends receive RTP: the caller, the callee.
    pub fn ends(&self) -> [SocketAddr; 2] {
        [self.near.local(), self.far.local()]
    }

    /// Lets it run for a while, stops it, and compares what was sent with what was seen.
    ///
    /// # Errors
    /// When not every packet has arrived.
    pub fn whole(self) -> Result<Outcome> {
        thread::sleep(MEDIA);
        rtp::mute_both(&self.near, &self.far);
        let outcome = Outcome::of(self.near.finish()?, self.far.finish()?);
        ensure!(outcome.is_whole(), "{outcome}");
        Ok(outcome)
    }
}

/// RAS between an endpoint and its gatekeeper, both ends.
#[derive(Debug)]
pub struct Ras {
    endpoint: UdpSocket,
    gatekeeper: UdpSocket,
    sequence: u16,
}

impl Ras {
    /// Binds both ends.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn between(endpoint: &Host, gatekeeper: &Host) -> Result<Self> {
        Self::on((endpoint, RAS_PORT), (gatekeeper, RAS_PORT))
    }

    /// Binds both ends, to ports of their own.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn on(endpoint: (&Host, u16), gatekeeper: (&Host, u16)) -> Result<Self> {
        let (endpoint, gatekeeper) = (endpoint.0.udp(endpoint.1)?, gatekeeper.0.udp(gatekeeper.1)?);
        Ok(Self { endpoint, gatekeeper, sequence: 0 })
    }

    /// The endpoint's RAS address.
    ///
    /// # Errors
    /// When the socket has none.
    pub fn address(&self) -> Result<SocketAddr> {
        self.endpoint.local_addr().context("RAS address")
    }

    /// A request's number.
    pub fn number(&mut self) -> u16 {
        self.sequence += 1;
        self.sequence
    }

    /// The endpoint sends; the gatekeeper must receive exactly that.
    ///
    /// # Errors
    /// When it does not, in time.
    pub fn ask(&self, datagram: &[u8]) -> Result<()> {
        deliver(&self.endpoint, &self.gatekeeper, datagram).context("from the endpoint to its gatekeeper")
    }

    /// The gatekeeper sends; the endpoint must receive exactly that.
    ///
    /// # Errors
    /// When it does not, in time.
    pub fn tell(&self, datagram: &[u8]) -> Result<()> {
        deliver(&self.gatekeeper, &self.endpoint, datagram).context("from the gatekeeper to its endpoint")
    }

    /// Somebody else sends to the gatekeeper, which must receive exactly that.
    ///
    /// # Errors
    /// When it does not, in time.
    pub fn interject(&self, who: &Host, datagram: &[u8]) -> Result<()> {
        deliver(&who.udp(RAS_PORT)?, &self.gatekeeper, datagram).context("from a stranger to the gatekeeper")
    }

    /// A request and its answer.
    ///
    /// # Errors
    /// When one does not arrive as it was sent.
    pub fn exchange(
        &mut self,
        request: impl FnOnce(u16) -> Vec<u8>,
        answer: impl FnOnce(u16) -> Vec<u8>,
    ) -> Result<()> {
        let sequence = self.number();
        self.ask(&request(sequence))?;
        self.tell(&answer(sequence))
    }

    /// A request to the group in which gatekeepers are looked for, and the answer of one, from its own address.
    ///
    /// # Errors
    /// When one does not arrive as it was sent.
    pub fn discover(
        &mut self,
        gatekeeper: &Host,
        request: impl FnOnce(u16) -> Vec<u8>,
        answer: impl FnOnce(u16) -> Vec<u8>,
    ) -> Result<()> {
        let (IpAddr::V4(endpoint), IpAddr::V4(member)) = (self.address()?.ip(), gatekeeper.ip) else {
            bail!("the group is one of IPv4");
        };
        let group = gatekeeper.ns.udp(DISCOVERY.into())?;
        group.join_multicast_v4(&DISCOVERY.0, &member)?;
        SockRef::from(&self.endpoint).set_multicast_if_v4(&endpoint)?;
        let sequence = self.number();
        deliver(&self.endpoint, &group, &request(sequence)).context("from the endpoint to the group")?;
        self.tell(&answer(sequence))
    }

    /// The endpoint sends what its gatekeeper must not hear. Returns what the endpoint reads instead.
    ///
    /// # Errors
    /// When it cannot be sent, or arrives.
    pub fn ask_in_vain(&self, datagram: &[u8]) -> Result<Option<Vec<u8>>> {
        in_vain(&self.endpoint, &self.gatekeeper, datagram)
    }

    /// The gatekeeper sends what the endpoint must not hear as it is. Returns what the endpoint reads instead.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn tell_in_vain(&self, datagram: &[u8]) -> Result<Option<Vec<u8>>> {
        self.gatekeeper.send_to(datagram, self.endpoint.local_addr()?)?;
        let heard = hear(&self.endpoint, QUIET)?;
        ensure!(heard.as_deref() != Some(datagram), "{datagram:02x?} arrives");
        Ok(heard)
    }
}

/// Sends one datagram; exactly that must arrive.
fn deliver(from: &UdpSocket, to: &UdpSocket, datagram: &[u8]) -> Result<()> {
    from.send_to(datagram, to.local_addr()?)?;
    let heard = hear(to, STEP)?;
    ensure!(heard.as_deref() == Some(datagram), "{datagram:02x?} arrives as {heard:02x?}");
    Ok(())
}

fn in_vain(from: &UdpSocket, to: &UdpSocket, datagram: &[u8]) -> Result<Option<Vec<u8>>> {
    from.send_to(datagram, to.local_addr()?)?;
    let heard = hear(to, QUIET)?;
    ensure!(heard.is_none(), "{heard:02x?} arrives");
    hear(from, Duration::from_millis(1))
}

fn hear(socket: &UdpSocket, limit: Duration) -> Result<Option<Vec<u8>>> {
    let mut buffer = [0; 2_048];
    socket.set_read_timeout(Some(limit))?;
    match socket.recv(&mut buffer) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(error) if super::line::is_timeout(&error) => Ok(None),
        Err(error) => Err(error).context("hearing RAS"),
    }
}

/// What [`through`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// G.711, from the sources of a [`Stream`]'s ends.
    Rtp,
    /// Receiver reports.
    Rtcp,
    /// T.38.
    Udptl,
}

/// How many of `count` datagrams, sent one way and then the other between two UDP ports, arrive.
///
/// # Errors
/// When one cannot be sent.
pub fn through(what: Carried, near: &UdpSocket, far: &UdpSocket, count: u32) -> Result<[u32; 2]> {
    let mut arrived = [0; 2];
    for (place, (from, to)) in [(near, far), (far, near)].into_iter().enumerate() {
        for number in 0..count {
            let datagram = match what {
                Carried::Rtp => rtp::packet(0, number, SSRC[place]),
                Carried::Rtcp => Shape::Rtcp.packet(number),
                Carried::Udptl => Shape::Udptl.packet(number),
            };
            from.send_to(&datagram, to.local_addr()?)?;
        }
        while arrived[place] < count && hear(to, QUIET)?.is_some() {
            arrived[place] += 1;
        }
    }
    Ok(arrived)
}

/// The gateway's default port of call signalling, at this host.
///
/// # Errors
/// When it cannot be bound.
pub fn desk(host: &Host) -> Result<Listener> {
    host.listen(PORT)
}
