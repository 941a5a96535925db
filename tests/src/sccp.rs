//! A scripted SCCP phone and its call manager, over real sockets.
//!
//! Both ends of a phone's connection are in one hand, so that a test knows at every step what each has received,
//! byte for byte. Media starts at the earliest moment the protocol permits: the far end's right behind the
//! OpenReceiveChannelAck, the phone's right behind the StartMediaTransmission.

pub mod wire;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use socket2::SockRef;

use crate::attack::interface;
use crate::call::{Call, Outcome, Signalling};
use crate::netns::Netns;
use crate::rtp::{self, Media, Port};
use wire::{Channel, Medium, Message, Version, id, state};

/// The port of SCCP.
pub const PORT: u16 = 2000;
/// How long a step may take here.
const STEP: Duration = Duration::from_secs(4);
/// The phone's SSRC.
const SSRC_PHONE: u32 = 0x5c5c_0001;
/// The far end's SSRC.
const SSRC_FAR: u32 = 0x5c5c_0002;

/// A call manager that waits for phones.
#[derive(Debug)]
pub struct CallManager {
    ns: Netns,
    address: SocketAddr,
    listener: TcpListener,
}

impl CallManager {
    /// Listens on [`PORT`] of this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn listen(ns: &Netns, ip: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(ip, PORT);
        let listener = ns.listen(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { ns: ns.clone(), address, listener })
    }

    fn accept(&self) -> Result<Line> {
        let until = Instant::now() + STEP;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Line::new(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("no SCCP connection"),
            }
        }
    }
}

/// A phone's connection, with both its ends.
#[derive(Debug)]
pub struct Session {
    /// The phone's end.
    pub phone: Line,
    /// The call manager's end.
    pub manager: Line,
    version: Version,
    ns: Netns,
    ip: IpAddr,
    far: (Netns, IpAddr),
}

impl Session {
    /// Connects a phone that has not registered yet.
    ///
    /// # Errors
    /// When the connection is refused or not answered in time.
    pub fn connect(ns: &Netns, ip: IpAddr, manager: &CallManager, version: Version) -> Result<Self> {
        let stream = ns.connect(SocketAddr::new(ip, 0), manager.address, STEP)?;
        let far = (manager.ns.clone(), manager.address.ip());
        Ok(Self { phone: Line::new(stream), manager: manager.accept()?, version, ns: ns.clone(), ip, far })
    }

    /// Connects a phone and registers it under its own name.
    ///
    /// # Errors
    /// When a step is not answered in time.
    pub fn registered(ns: &Netns, ip: IpAddr, manager: &CallManager, version: Version) -> Result<Self> {
        let mut session = Self::connect(ns, ip, manager, version)?;
        session.register(&name_of(ip))?;
        Ok(session)
    }

    /// Registers the phone under this name.
    ///
    /// # Errors
    /// When a step is not answered in time.
    pub fn register(&mut self, name: &str) -> Result<()> {
        let version = self.version;
        self.ask(&wire::register(version, name, self.ip), id::REGISTER)?;
        self.tell(&wire::register_ack(version), id::REGISTER_ACK)?;
        self.keep_alive()
    }

    /// The version that was agreed.
    pub fn version(&self) -> Version {
        self.version
    }

    /// One keep-alive and its answer.
    ///
    /// # Errors
    /// When a step is not answered in time.
    pub fn keep_alive(&mut self) -> Result<()> {
        self.ask(&wire::bare(self.version, id::KEEP_ALIVE), id::KEEP_ALIVE)?;
        self.tell(&wire::bare(self.version, id::KEEP_ALIVE_ACK), id::KEEP_ALIVE_ACK).map(drop)
    }

    /// Dials, and is connected; media does not flow yet.
    ///
    /// # Errors
    /// When a step is not answered in time.
    pub fn dial(&mut self) -> Result<Channel> {
        let (version, channel) = (self.version, new_channel());
        self.ask(&wire::bare(version, id::OFF_HOOK), id::OFF_HOOK)?;
        self.call_state(state::OFF_HOOK, channel)?;
        for digit in [1, 0, 0] {
            self.ask(&wire::keypad_button(version, digit, channel.call), id::KEYPAD_BUTTON)?;
        }
        self.tell(&wire::dialed_number(version, "100", channel.call), id::DIALED_NUMBER)?;
        self.call_state(state::RING_OUT, channel)?;
        self.call_state(state::CONNECTED, channel)?;
        Ok(channel)
    }

    /// The call manager tells the number of the phone's line.
    ///
    /// # Errors
    /// When the phone does not hear it in time.
    pub fn has_number(&mut self, number: &str) -> Result<()> {
        self.tell(&wire::line_stat(self.version, number), id::LINE_STAT).map(drop)
    }

    /// The receiver is lifted: the call it begins.
    ///
    /// # Errors
    /// When a step is not answered in time.
    pub fn lift(&mut self) -> Result<Channel> {
        let channel = new_channel();
        self.ask(&wire::bare(self.version, id::OFF_HOOK), id::OFF_HOOK)?;
        self.call_state(state::OFF_HOOK, channel)?;
        Ok(channel)
    }

    /// A key is pressed; what the call manager reads of it.
    ///
    /// # Errors
    /// When nothing arrives in time.
    pub fn press(&mut self, key: char, channel: Channel) -> Result<Message> {
        let key = match key {
            '*' => 14,
            '#' => 15,
            digit => digit.to_digit(10).context("no key of a phone")?,
        };
        self.phone.send(&wire::keypad_button(self.version, key, channel.call))?;
        self.manager.hear()
    }

    /// The call manager says what was dialled, and whether the phone hears it. If not, it is asked something, and the
    /// call manager reads that the phone has hung up.
    ///
    /// # Errors
    /// When something else arrives, or nothing in time.
    pub fn dialled(&mut self, number: &str, channel: Channel) -> Result<bool> {
        self.manager.send(&wire::dialed_number(self.version, number, channel.call))?;
        let heard = self.phone.hear()?;
        if heard.id == id::DIALED_NUMBER {
            return Ok(true);
        }
        let hook = self.answer(&heard, id::ON_HOOK)?;
        ensure!((hook.number(12)?, hook.number(16)?) == (1, channel.call), "it names {:02x?}", hook.bytes);
        Ok(false)
    }

    /// Somebody calls the phone: the call, and whether it rings. If not, it is asked something, and the call manager
    /// reads that the phone has ended the call.
    ///
    /// # Errors
    /// When something else arrives, or nothing in time.
    pub fn comes(&mut self, calling: &str, called: &str) -> Result<(Channel, bool)> {
        /// Behind the header: key, line, call.
        const END_CALL: u32 = 9;
        let (version, channel) = (self.version, new_channel());
        self.call_state(state::RING_IN, channel)?;
        let info = wire::call_info(version, calling, called, channel.call);
        self.manager.send(&[info, wire::ring(version, channel.call)].concat())?;
        let heard = self.phone.hear()?;
        let rings = self.phone.expect(id::SET_RINGER)?.number(12)? != 1;
        if heard.id != id::CAPABILITIES_REQ {
            return Ok((channel, rings));
        }
        let key = self.answer(&heard, id::SOFT_KEY_EVENT)?;
        let names = (key.number(12)?, key.number(16)?, key.number(20)?);
        ensure!(names == (END_CALL, 1, channel.call) && !rings, "it rings, and names {:02x?}", key.bytes);
        Ok((channel, false))
    }

    /// The phone answers what it is asked; what the call manager, which has not asked, reads instead.
    fn answer(&mut self, question: &Message, id: u32) -> Result<Message> {
        ensure!(question.id == id::CAPABILITIES_REQ, "message {:#06x} instead of a question", question.id);
        self.ask(&wire::capabilities(self.version), id)
    }

    /// The call manager says where a call stands.
    ///
    /// # Errors
    /// When the phone does not hear it in time.
    pub fn call_state(&mut self, state: u32, channel: Channel) -> Result<()> {
        self.tell(&wire::call_state(self.version, state, channel.call), id::CALL_STATE).map(drop)
    }

    /// Opens media between the phone and `far`, both ways.
    ///
    /// A far end that is not the call manager itself starts once the phone has been told its address: nothing on
    /// this connection says before who it is.
    ///
    /// # Errors
    /// When a step is not answered in time, or tells another address.
    pub fn open(&mut self, channel: Channel, far: IpAddr) -> Result<Stream> {
        let version = self.version;
        let port =
            |ns, ip| Ok::<_, anyhow::Error>(Port::bind(ns, ip)?.sending(channel.medium.payload_type()));
        let (own, port) = (port(&self.ns, self.ip)?, port(&self.far.0, far)?);
        let (near_rtp, far_rtp) = (own.rtp(), port.rtp());
        let invitation = wire::open_receive_channel(version, channel, self.far.1);
        self.tell(&invitation, channel.open())?;
        let ack = wire::open_receive_channel_ack(version, channel, near_rtp);
        let phone = self.ask(&ack, channel.open_ack())?.receiver(version)?;
        ensure!(phone == near_rtp, "the phone's address arrives as {phone}");

        if far == self.far.1 {
            let far = Media::start(port, phone, SSRC_FAR)?;
            let near = self.transmit(channel, own, far_rtp)?;
            return Ok(Stream { channel, near, far });
        }
        let near = self.transmit(channel, own, far_rtp)?;
        Ok(Stream { channel, near, far: Media::start(port, phone, SSRC_FAR)? })
    }

    /// Lets the phone, which goes on receiving at `phone`, speak with another far end.
    ///
    /// # Errors
    /// When a step is not answered in time, or the phone's port is not free again.
    pub fn redirect(&mut self, channel: Channel, phone: SocketAddr, far: IpAddr) -> Result<Stream> {
        let port =
            |ns, ip| Ok::<_, anyhow::Error>(Port::bind(ns, ip)?.sending(channel.medium.payload_type()));
        let (own, port) = (port(&self.ns, self.ip)?, port(&self.far.0, far)?);
        ensure!(own.rtp() == phone, "the phone's port is {} now", own.rtp());
        let stop = channel.stop();
        self.tell(&wire::end_channel(self.version, stop, channel), stop)?;
        let near = self.transmit(channel, own, port.rtp())?;
        Ok(Stream { channel, near, far: Media::start(port, phone, SSRC_FAR)? })
    }

    /// Closes a call's channels in both directions.
    ///
    /// # Errors
    /// When the phone does not hear it in time.
    pub fn close(&mut self, channel: Channel) -> Result<()> {
        for id in [channel.close(), channel.stop()] {
            self.tell(&wire::end_channel(self.version, id, channel), id)?;
        }
        Ok(())
    }

    /// Unregisters the phone and closes the connection in good order.
    ///
    /// # Errors
    /// When a step is not answered in time.
    pub fn leave(mut self) -> Result<()> {
        self.ask(&wire::bare(self.version, id::UNREGISTER), id::UNREGISTER)?;
        self.tell(&wire::unregister_ack(self.version), id::UNREGISTER_ACK).map(drop)
    }

    /// The phone loses its power: its end is reset (TCP RST). Returns the call manager's.
    ///
    /// # Errors
    /// When the kernel refuses to.
    pub fn cut(self) -> Result<Line> {
        self.phone.reset()?;
        Ok(self.manager)
    }

    /// The phone receives a StartMediaTransmission, sends at once, and says from where.
    fn transmit(&mut self, channel: Channel, own: Port, far: SocketAddr) -> Result<Media> {
        let (version, sender) = (self.version, own.rtp());
        let start = wire::start_media_transmission(version, channel, far);
        let target = self.tell(&start, channel.start())?.target(version)?;
        ensure!(target == far, "the far end's address arrives as {target}");
        let media = Media::start(own, target, SSRC_PHONE)?;
        let ack = wire::start_media_transmission_ack(version, channel, sender);
        self.ask(&ack, channel.start_ack())?;
        Ok(media)
    }

    /// The phone sends; what the call manager hears.
    fn ask(&mut self, message: &[u8], id: u32) -> Result<Message> {
        self.phone.send(message)?;
        self.manager.expect(id)
    }

    /// The call manager sends; what the phone hears.
    fn tell(&mut self, message: &[u8], id: u32) -> Result<Message> {
        self.manager.send(message)?;
        self.phone.expect(id)
    }
}

/// Media of a call, both ends.
#[derive(Debug)]
pub struct Stream {
    /// Which call's.
    pub channel: Channel,
    /// The phone's end.
    pub near: Media,
    /// The far end.
    pub far: Media,
}

impl Stream {
    /// Stops both ends and compares what was sent with what was seen. The signalling is left as it is.
    ///
    /// # Errors
    /// When an end's thread has panicked.
    pub fn finish(self) -> Result<Outcome> {
        rtp::mute_both(&self.near, &self.far);
        Ok(Outcome::of(self.near.finish()?, self.far.finish()?))
    }
}

/// Registers a phone at `ip`, and places a call from it to its call manager (as to a conference or an
/// announcement); returns once media flows.
///
/// # Errors
/// When a step is not answered in time.
pub fn place(ns: &Netns, ip: IpAddr, manager: &CallManager, version: Version) -> Result<Call> {
    let mut session = Session::registered(ns, ip, manager, version)?;
    let channel = session.dial()?;
    let Stream { near, far, .. } = session.open(channel, manager.address.ip())?;
    Ok(Call { caller: near, callee: far, signalling: Box::new(Release { session: Some(session), channel }) })
}

/// What it takes to hang up.
#[derive(Debug)]
struct Release {
    session: Option<Session>,
    channel: Channel,
}

impl Signalling for Release {
    fn release(&mut self) -> Result<()> {
        let mut session = self.session.take().context("released before")?;
        session.close(self.channel)?;
        session.call_state(state::ON_HOOK, self.channel)?;
        session.leave()
    }
}

/// A message no phone sends.
#[derive(Clone, Debug)]
pub struct Crafted {
    /// What is wrong with it.
    pub fault: &'static str,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Whether the phone registers before.
    pub registered: bool,
}

/// One message for each thing that can be wrong, as this phone would send it.
pub fn crafted(version: Version, phone: IpAddr) -> Vec<Crafted> {
    let header = version.header();
    let medium = Medium::Audio;
    let channel = Channel { conference: 0x00bad, party: 0x0bad0, call: 0xbad00, medium };
    let media = SocketAddr::new(phone, rtp::FIRST_PORT);
    let keep_alive = wire::bare(version, id::KEEP_ALIVE);
    // An honest message does not carry the one behind it through, nor do two segments.
    let behind = [keep_alive, wire::raw(2, header, id::KEYPAD_BUTTON, &[0xba; 8])].concat();
    let before = |fault, bytes| Crafted { fault, bytes, registered: false };
    let within = |fault, bytes| Crafted { fault, bytes, registered: true };
    vec![
        before("a length of 0", wire::raw(0, 0, id::REGISTER, &[0xba; 64])),
        before("a length of 3", wire::raw(3, 0, id::REGISTER, &[0xba; 64])),
        before("a length above any message's", wire::raw(0x0001_0000, 0, id::REGISTER, &[0xba; 256])),
        before("a length with the sign bit", wire::raw(0xffff_fff8, 0, id::REGISTER, &[0xba; 256])),
        before("an unknown header version", wire::raw(16, 0x0bad, id::REGISTER, &[0xba; 12])),
        before("a message id out of range", wire::raw(16, 0, 0x0bad_bad0, &[0xba; 12])),
        before("a key before registration", wire::keypad_button(version, 5, channel.call)),
        before("media before registration", wire::open_receive_channel_ack(version, channel, media)),
        within("a length of 1", wire::raw(1, header, id::KEYPAD_BUTTON, &[0xba; 12])),
        within("a length of 2 behind an honest message", behind),
        within("a message id out of range, registered", wire::raw(16, header, 0x7fff_ffff, &[0xba; 12])),
        within("a header version of its own", wire::raw(16, header ^ 0x40, id::KEYPAD_BUTTON, &[0xba; 12])),
        within("an acknowledgement from the wrong side", wire::register_ack(version)),
        within(
            "a call manager's order from a phone",
            wire::start_media_transmission(version, channel, media),
        ),
        within("a call manager's call state from a phone", wire::call_state(version, state::CONNECTED, 1)),
    ]
}

/// One end of a connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        // Without this a short message waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        Self { stream, pending: Vec::new() }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending SCCP")
    }

    /// The next message, which must have this id.
    ///
    /// # Errors
    /// When another comes, or none in time.
    pub fn expect(&mut self, id: u32) -> Result<Message> {
        let message = self.hear().with_context(|| format!("waiting for message {id:#06x}"))?;
        ensure!(message.id == id, "message {:#06x} instead of {id:#06x}", message.id);
        Ok(message)
    }

    /// The next message, whatever it is.
    ///
    /// # Errors
    /// When none comes in time, or the connection is over.
    pub fn hear(&mut self) -> Result<Message> {
        let until = Instant::now() + STEP;
        loop {
            if let Some((message, length)) = Message::split(&self.pending)? {
                self.pending.drain(..length);
                return Ok(message);
            }
            let left = until.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no message in time");
            match self.read(left)? {
                0 => bail!("closed instead of a message"),
                _ => continue,
            }
        }
    }

    /// All bytes that arrive until the line has been silent for `quiet`, or is closed or reset.
    pub fn rest(&mut self, quiet: Duration) -> Vec<u8> {
        while self.read(quiet).is_ok_and(|length| length > 0) {}
        std::mem::take(&mut self.pending)
    }

    /// Whether the far end, or somebody in between, has ended the connection.
    pub fn is_closed(&mut self) -> bool {
        match self.read(Duration::from_millis(1)) {
            Ok(length) => length == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }

    fn reset(self) -> Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).context("SO_LINGER")
    }

    fn read(&mut self, limit: Duration) -> io::Result<usize> {
        let mut buffer = [0; 4_096];
        self.stream.set_read_timeout(Some(limit))?;
        let length = self.stream.read(&mut buffer)?;
        self.pending.extend(&buffer[..length]);
        Ok(length)
    }
}

/// A device name that belongs to one address.
pub fn name_of(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
    };
    let [a, b, c, d] = octets;
    format!("SEP0011{a:02X}{b:02X}{c:02X}{d:02X}")
}

/// The device name a phone has whose frames come from this namespace's `eth0`.
///
/// # Errors
/// When there is no such interface.
pub fn name_on(ns: &Netns) -> Result<String> {
    let mac = interface(ns, "eth0")?.mac.context("eth0 has no link-layer address")?;
    Ok(format!("SEP{}", mac.octets().map(|octet| format!("{octet:02X}")).concat()))
}

/// A call nobody else has.
fn new_channel() -> Channel {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Channel {
        conference: 0x0100_0000 + number,
        party: 0x0200_0000 + number,
        call: 0x0300_0000 + number,
        medium: Medium::Audio,
    }
}
