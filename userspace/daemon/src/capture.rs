//! Captures of one call: its signalling, as far back as that is remembered, and its media from now on.
//!
//! Owns the last frames of signalling the daemon has read, with the calls each was about, and the captures
//! that are on their way. Signalling comes from the taps. Media is copied by packet sockets of the interfaces
//! Callgate stands on: a thread per capture reads them, so that nothing else waits, and a filter in the
//! kernel lets it see UDP to the call's ports alone. What XDP drops never gets there; what it would forward
//! by itself takes the stack meanwhile.
//!
//! Bounded: [`REMEMBERED`] bytes of signalling, [`CAPTURES`] captures of what their askers allow, of which
//! [`WAITING`] bytes may wait to be fetched; whoever does not fetch for [`PATIENCE`] has his capture ended.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use callgate_alg::action::{Time, Transport};
use callgate_alg::call::{Call, CallId, Medium};
use callgate_alg::pinholes::claims;
use callgate_api::explain::to_hex;
use callgate_api::{
    CallQuery, CapturePage, CaptureRequest, CaptureStarted, CaptureTake, CapturedFrame, ErrorReply,
    MAX_CAPTURE_BYTES, MAX_CAPTURE_S,
};
use callgate_shared::flow::{FlowKey, TCP};
use callgate_shared::packet::{self, Packet};
use tracing::warn;

use crate::firewall::{Firewall, now};
use crate::tap::interface_index;

/// Bytes of signalling that are remembered.
const REMEMBERED: usize = 8 << 20;
/// Captures at once.
const CAPTURES: usize = 4;
/// Bytes of one capture's frames that wait to be fetched.
const WAITING: usize = 16 << 20;
/// Bytes of frames in one answer.
const ANSWER: usize = 1 << 20;
/// A capture ends that nobody has fetched from for so long.
const PATIENCE: Duration = Duration::from_secs(15);
/// What still belongs to a call when it is over: the answer to its last request, the last reports.
const AFTERMATH: Duration = Duration::from_secs(3);
/// Ports of one call that are listened to.
const PORTS: usize = 64;
/// Largest frame.
const SNAP: usize = 65_536;

/// The frames of signalling that are remembered, and the captures.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    remembered: VecDeque<Signal>,
    /// Their bytes.
    bytes: usize,
    last: u64,
    running: Vec<Capture>,
}

/// A frame of signalling.
#[derive(Debug)]
struct Signal {
    at_unix_ns: u64,
    /// The calls it was about.
    calls: Vec<CallId>,
    /// The TCP connection it belongs to.
    connection: Option<FlowKey>,
    frame: Box<[u8]>,
}

#[derive(Debug)]
struct Capture {
    number: u64,
    call: CallId,
    key: String,
    queue: Arc<Queue>,
    /// TCP connections that its messages have come by: their segments are captured whoever they are about.
    connections: HashSet<FlowKey>,
    media: Option<Listener>,
    until: Time,
    fetched: Time,
    /// When its call was over.
    over: Option<Time>,
}

/// Frames on their way to whoever fetches them.
#[derive(Debug)]
struct Queue(Mutex<Frames>);

/// A frame, and when it was seen, in ns since 1970.
type Timed = (u64, Box<[u8]>);

#[derive(Debug)]
struct Frames {
    waiting: VecDeque<Timed>,
    /// Bytes that wait.
    bytes: usize,
    /// Bytes that may still be captured.
    left: u64,
    lost: u64,
}

impl Queue {
    fn new(bytes: u64) -> Self {
        Self(Mutex::new(Frames { waiting: VecDeque::new(), bytes: 0, left: bytes, lost: 0 }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Frames> {
        // Whoever has panicked with it has left whole frames.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, at_unix_ns: u64, frame: &[u8]) {
        let mut frames = self.lock();
        let length = frame.len() as u64;
        if length > frames.left {
            frames.left = 0;
        } else if frames.bytes + frame.len() > WAITING {
            frames.lost += 1;
        } else {
            frames.left -= length;
            frames.bytes += frame.len();
            frames.waiting.push_back((at_unix_ns, frame.into()));
        }
    }

    /// The next frames, as many as go into an answer, and whether there are more.
    fn take(&self) -> (Vec<Timed>, bool) {
        let mut frames = self.lock();
        // The two sources come one behind the other.
        frames.waiting.make_contiguous().sort_by_key(|(at, _)| *at);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < ANSWER
            && let Some((at, frame)) = frames.waiting.pop_front()
        {
            bytes += frame.len();
            taken.push((at, frame));
        }
        frames.bytes -= bytes;
        (taken, !frames.waiting.is_empty())
    }
}

impl Captures {
    /// A frame of signalling has been read, and was about these calls.
    pub(crate) fn signal(&mut self, frame: &[u8], packet: &Packet, calls: Vec<CallId>, wall: SystemTime) {
        let at_unix_ns = nanoseconds(wall);
        let connection = (packet.protocol == TCP).then(|| flow_of(packet));
        for capture in &mut self.running {
            if capture.wants(&calls, connection.as_ref(), frame) {
                capture.connections.extend(connection.filter(|_| calls.contains(&capture.call)));
                capture.queue.put(at_unix_ns, frame);
            }
        }
        self.bytes += frame.len();
        self.remembered.push_back(Signal { at_unix_ns, calls, connection, frame: frame.into() });
        while self.bytes > REMEMBERED
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.bytes -= oldest.frame.len();
        }
    }

    /// What is remembered of a call's signalling.
    fn recall(&self, capture: &mut Capture) {
        let about = |signal: &&Signal| signal.calls.contains(&capture.call);
        let connections = self.remembered.iter().filter(about).filter_map(|signal| signal.connection);
        capture.connections = connections.collect();
        for signal in &self.remembered {
            if capture.wants(&signal.calls, signal.connection.as_ref(), &signal.frame) {
                capture.queue.put(signal.at_unix_ns, &signal.frame);
            }
        }
    }
}

impl Capture {
    /// Whether a frame of signalling belongs to it. What comes when the call is over, or changes nothing of
    /// it, is known by its identifier in a datagram.
    fn wants(&self, calls: &[CallId], connection: Option<&FlowKey>, frame: &[u8]) -> bool {
        calls.contains(&self.call)
            || match connection {
                Some(connection) => self.connections.contains(connection),
                None => self.key.len() >= 8 && has(frame, self.key.as_bytes()),
            }
    }

    /// Why nothing more comes, if that is so.
    fn end(&self, now: Time) -> Option<&'static str> {
        match () {
            () if self.queue.lock().left == 0 => Some("it is as large as it may become"),
            () if now >= self.until => Some("its time is over"),
            () if self.over.is_some_and(|over| now.since(over) > AFTERMATH) => Some("the call is over"),
            () => None,
        }
    }
}

impl Firewall {
    /// Begins a capture.
    ///
    /// # Errors
    /// What to tell whoever asked.
    pub(crate) fn begin_capture(&mut self, request: &CaptureRequest) -> Result<CaptureStarted, ErrorReply> {
        let refuse = |error: &str, hint: &str| {
            Err(ErrorReply { error: error.to_owned(), hint: hint.to_owned(), details: Vec::new() })
        };
        if !(1..=MAX_CAPTURE_S).contains(&request.seconds) {
            return refuse("that is too long a capture, or none", "at most 3600 seconds");
        }
        if !(1..=MAX_CAPTURE_BYTES).contains(&request.bytes) {
            return refuse("that is too large a capture, or none", "at most 268435456 bytes");
        }
        if self.captures.running.len() >= CAPTURES {
            return refuse("there are as many captures as there may be", "end another one first");
        }
        let query = CallQuery(request.call.clone());
        let now = now();
        let live = self.engine.calls().find(|call| query.wants(call)).map(|call| (call.clone(), None));
        let ended = || self.engine.ended_calls().find(|ended| query.wants(&ended.call));
        let found = live.or_else(|| ended().map(|ended| (ended.call.clone(), Some(Time(0)))));
        let Some((call, over)) = found else {
            return refuse("there is no such call", "fwctl calls lists them, by number and identifier");
        };
        let mut capture = Capture {
            number: self.captures.last + 1,
            call: call.id,
            key: call.key.clone(),
            queue: Arc::new(Queue::new(request.bytes)),
            connections: HashSet::new(),
            media: None,
            until: now + Duration::from_secs(request.seconds),
            fetched: now,
            over,
        };
        self.captures.recall(&mut capture);
        if request.media && over.is_none() {
            match self.listener(&capture.queue) {
                Ok(listener) => capture.media = Some(listener),
                Err(error) => {
                    warn!(%error, "media cannot be captured");
                    return refuse("media cannot be captured", "see the daemon's log");
                }
            }
        }
        self.captures.last = capture.number;
        let started = CaptureStarted { capture: capture.number, call: call.id.0, key: call.key };
        self.captures.running.push(capture);
        self.tune_captures(now);
        Ok(started)
    }

    /// What has been captured since that was asked last.
    ///
    /// # Errors
    /// There is no such capture.
    pub(crate) fn take_captured(&mut self, request: &CaptureTake) -> Result<CapturePage, ErrorReply> {
        let now = now();
        self.tune_captures(now);
        let place = self.captures.running.iter().position(|capture| capture.number == request.capture);
        let Some(place) = place else {
            return Err(ErrorReply {
                error: "there is no such capture".to_owned(),
                hint: "it ends when nobody fetches from it for 15 s".to_owned(),
                details: Vec::new(),
            });
        };
        let capture = &mut self.captures.running[place];
        capture.fetched = now;
        let over = capture.end(now);
        let (frames, more) = capture.queue.take();
        let lost = capture.queue.lock().lost;
        let frames = frames
            .into_iter()
            .map(|(at_unix_ns, frame)| CapturedFrame { at_unix_ns, frame: to_hex(&frame) })
            .collect();
        let over = over.filter(|_| !more).map(str::to_owned);
        if over.is_some() {
            let capture = self.captures.running.remove(place);
            self.release(&capture);
        }
        Ok(CapturePage { frames, lost, over })
    }

    /// Has captures follow their calls, and ends those that nobody wants. To be called about every second.
    pub(crate) fn tune_captures(&mut self, now: Time) {
        let mut running = std::mem::take(&mut self.captures.running);
        running.retain_mut(|capture| {
            if now.since(capture.fetched) > PATIENCE {
                self.release(capture);
                return false;
            }
            let call = self.engine.call(capture.call);
            if call.is_none() {
                capture.over = capture.over.or(Some(now));
            }
            let places = call.map(media_of).unwrap_or_default();
            if let Some(media) = &mut capture.media
                && call.is_some()
                && *media.places() != places
            {
                let before = std::mem::take(&mut *media.places());
                for (to, on) in before.iter().map(|to| (to, false)).chain(places.iter().map(|to| (to, true)))
                {
                    if let Err(error) = self.kernel.capture_pinhole(*to, Transport::Udp, on) {
                        warn!(%error, %to, "its media may pass the capture by");
                    }
                }
                media.listen_to(places);
            }
            true
        });
        self.captures.running = running;
    }

    /// A capture is over: its media goes its own way again.
    fn release(&mut self, capture: &Capture) {
        let Some(media) = &capture.media else { return };
        for to in media.places().iter() {
            if let Err(error) = self.kernel.capture_pinhole(*to, Transport::Udp, false) {
                warn!(%error, %to, "its media goes on by the stack");
            }
        }
    }

    fn listener(&self, queue: &Arc<Queue>) -> io::Result<Listener> {
        let indices = self.attached().iter().filter_map(|interface| interface_index(&interface.name));
        Listener::start(indices, self.defence.addresses.clone(), Arc::clone(queue))
    }
}

/// Where a call's media is received.
fn media_of(call: &Call) -> Vec<SocketAddr> {
    let media = [Medium::Audio, Medium::Video, Medium::Image, Medium::Other];
    let streams = call.streams.iter().filter(|(_, stream)| media.contains(&stream.medium));
    let claims = streams.flat_map(|(key, stream)| claims(call.id, *key, stream, Duration::ZERO, 0));
    let mut places: Vec<_> =
        claims.filter(|(_, claim)| claim.transport == Transport::Udp).map(|(_, claim)| claim.to).collect();
    places.sort_unstable();
    places.dedup();
    places.truncate(PORTS);
    places
}

/// A thread that copies a call's media.
#[derive(Debug)]
struct Listener {
    sockets: Arc<Vec<OwnedFd>>,
    places: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Listener {
    /// Listens on the interfaces of these indices, to nothing yet. `own`: this machine's addresses.
    fn start(indices: impl Iterator<Item = u32>, own: Vec<IpAddr>, queue: Arc<Queue>) -> io::Result<Self> {
        let sockets: Vec<OwnedFd> =
            indices.map(|index| packet_socket(index, &filter(&[]))).collect::<io::Result<_>>()?;
        let listener = Self {
            sockets: Arc::new(sockets),
            places: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let (sockets, places) = (Arc::clone(&listener.sockets), Arc::clone(&listener.places));
        let stop = Arc::clone(&listener.stop);
        std::thread::Builder::new().name("capture".to_owned()).spawn(move || {
            let mut buffer = vec![0; SNAP];
            let mut wanted: Vec<_> = sockets
                .iter()
                .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
                .collect();
            while !stop.load(Ordering::Relaxed) {
                let count = libc::nfds_t::try_from(wanted.len()).unwrap_or(0);
                // SAFETY: a live array of so many entries.
                if unsafe { libc::poll(wanted.as_mut_ptr(), count, 100) } <= 0 {
                    continue;
                }
                for socket in sockets.iter() {
                    while let Some((length, outgoing, at)) = receive(socket, &mut buffer) {
                        let frame = &buffer[..length];
                        let places = places.lock().unwrap_or_else(PoisonError::into_inner);
                        if is_wanted(frame, outgoing, &places, &own) {
                            queue.put(at, frame);
                        }
                    }
                }
            }
        })?;
        Ok(listener)
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen_to(&self, places: Vec<SocketAddr>) {
        let mut ports: Vec<u16> = places.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        for socket in self.sockets.iter() {
            if let Err(error) = attach(socket, &filter(&ports)) {
                warn!(%error, "a capture cannot follow its call");
            }
        }
        *self.places() = places;
    }
}

/// Whether a frame is the call's media on its way in; what this machine sends itself never comes in.
fn is_wanted(frame: &[u8], outgoing: bool, places: &[SocketAddr], own: &[IpAddr]) -> bool {
    let Ok(packet) = packet::parse(&frame) else { return false };
    let to = SocketAddr::new(packet.destination.into(), packet.destination_port);
    places.contains(&to) && (!outgoing || own.contains(&packet.source.into()))
}

/// A packet socket of an interface, behind this filter from the first packet on.
pub(crate) fn packet_socket(index: u32, filter: &[Step]) -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: a system call without pointers; the descriptor is owned from here on. Protocol 0: it is not
    // bound, and hears nothing before its filter is there.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    attach(&socket, filter)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
    // As much as it may have: a second of many streams.
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &(4_i32 << 20))?;
    // SAFETY: `sockaddr_ll` is plain data, for which zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: a live address of this length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

fn set_option<T>(socket: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: a live value of this length.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has a socket hear only what a filter passes.
pub(crate) fn attach(socket: &OwnedFd, filter: &[Step]) -> io::Result<()> {
    let mut filter = filter.to_vec();
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // The kernel copies the program before the call returns.
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// A step of a classic BPF program (Documentation/networking/filter.rst).
pub(crate) type Step = libc::sock_filter;

/// What its steps do.
pub(crate) mod op {
    pub(crate) const LOAD_HALF: u16 = 0x28;
    pub(crate) const LOAD_BYTE: u16 = 0x30;
    /// X = four times the low half of a byte: the length of an IPv4 header.
    pub(crate) const LOAD_HEADER: u16 = 0xb1;
    /// Behind X.
    pub(crate) const LOAD_HALF_BEHIND: u16 = 0x48;
    pub(crate) const AND: u16 = 0x54;
    pub(crate) const JUMP: u16 = 0x05;
    pub(crate) const IF_EQUAL: u16 = 0x15;
    /// If any of these bits is set.
    pub(crate) const IF_ANY: u16 = 0x45;
    pub(crate) const RETURN: u16 = 0x06;
}

/// Jumps leave out so many of the next steps: `jt` where the condition holds, `jf` where it does not.
pub(crate) const fn step(code: u16, jt: u8, jf: u8, k: u32) -> Step {
    Step { code, jt, jf, k }
}

/// A program that passes UDP to these ports, at most [`PORTS`]:
/// over IPv4 with options or without, over IPv6 without extension headers.
fn filter(ports: &[u16]) -> Vec<Step> {
    const IPV4: u32 = 0x0800;
    const IPV6: u32 = 0x86dd;
    const UDP: u32 = callgate_shared::flow::UDP as u32;
    use op::*;
    let ports = &ports[..ports.len().min(PORTS)];
    // Jumps are told by the steps they leave out. Behind these eleven stand the ports, a step that drops, and
    // one that passes.
    let count = u8::try_from(ports.len()).unwrap_or(u8::MAX);
    let mut program = vec![
        step(LOAD_HALF, 0, 0, 12),
        step(IF_EQUAL, 0, 5, IPV4),
        step(LOAD_BYTE, 0, 0, 23),
        step(IF_EQUAL, 0, count + 7, UDP),
        step(LOAD_HEADER, 0, 0, 14),
        step(LOAD_HALF_BEHIND, 0, 0, 16),
        step(JUMP, 0, 0, 4),
        step(IF_EQUAL, 0, count + 3, IPV6),
        step(LOAD_BYTE, 0, 0, 20),
        step(IF_EQUAL, 0, count + 1, UDP),
        step(LOAD_HALF, 0, 0, 56),
    ];
    for (place, port) in ports.iter().enumerate() {
        let left = u8::try_from(ports.len() - place).unwrap_or(u8::MAX);
        program.push(step(IF_EQUAL, left, 0, u32::from(*port)));
    }
    program.extend([step(RETURN, 0, 0, 0), step(RETURN, 0, 0, SNAP as u32)]);
    program
}

/// The next frame, if one is there: its length, whether it goes out, and when it was seen.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, bool, u64)> {
    // SAFETY: plain data, for which zeros are valid.
    let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { std::mem::zeroed() };
    let mut control = [0_u64; 16];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: all of the message points to live memory of the lengths it says.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).ok()?;
    let mut at = None;
    // SAFETY: the kernel has filled in the control messages and their length; each is looked at within it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned();
                at = Some(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs());
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    let outgoing = address.sll_pkttype == libc::PACKET_OUTGOING;
    Some((length, outgoing, at.unwrap_or_else(|| nanoseconds(SystemTime::now()))))
}

pub(crate) fn nanoseconds(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn flow_of(packet: &Packet) -> FlowKey {
    let ends = [(packet.source, packet.source_port), (packet.destination, packet.destination_port)];
    FlowKey::of(ends[0], ends[1], packet.protocol).0
}

/// Whether these bytes occur in a frame.
fn has(frame: &[u8], wanted: &[u8]) -> bool {
    let Some(first) = wanted.first() else { return false };
    let starts = frame.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts.into_iter().any(|(at, _)| frame[at..].starts_with(wanted))
}

#[cfg(test)]
pub(crate) mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp(to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], to.0, 64).udp(5060, to.1);
        builder.write(&mut frame, payload).expect("a frame");
        frame
    }

    fn tcp(source_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [198, 51, 100, 7], 64)
            .tcp(source_port, 5060, 1, 1000);
        builder.write(&mut frame, payload).expect("a frame");
        frame
    }

    fn signal(captures: &mut Captures, frame: &[u8], calls: &[u64]) {
        let packet = packet::parse(&frame).expect("a packet");
        let calls = calls.iter().map(|call| CallId(*call)).collect();
        captures.signal(frame, &packet, calls, SystemTime::now());
    }

    fn capture(call: u64, key: &str) -> Capture {
        Capture {
            number: 1,
            call: CallId(call),
            key: key.to_owned(),
            queue: Arc::new(Queue::new(1_000_000)),
            connections: HashSet::new(),
            media: None,
            until: Time(100),
            fetched: Time(0),
            over: None,
        }
    }

    fn taken(capture: &Capture) -> usize {
        capture.queue.take().0.len()
    }

    const BOB: ([u8; 4], u16) = ([198, 51, 100, 7], 5060);

    #[test]
    fn a_call_is_captured_from_its_first_message_and_no_other_with_it() {
        let mut captures = Captures::default();
        signal(&mut captures, &udp(BOB, b"INVITE"), &[7]);
        signal(&mut captures, &udp(BOB, b"INVITE"), &[8]);
        let mut wanted = capture(7, "a84b4c76e66710@pc33");
        captures.recall(&mut wanted);
        assert_eq!(taken(&wanted), 1);
        captures.running.push(wanted);
        signal(&mut captures, &udp(BOB, b"BYE"), &[7]);
        // The answer, when the call is over; and somebody else's.
        signal(&mut captures, &udp(BOB, b"200 OK\r\nCall-ID: a84b4c76e66710@pc33\r\n"), &[]);
        signal(&mut captures, &udp(BOB, b"200 OK\r\nCall-ID: a84b4c76e66711@pc33\r\n"), &[]);
        assert_eq!(taken(&captures.running[0]), 2);
    }

    #[test]
    fn of_a_connection_all_segments_are_captured() {
        let mut captures = Captures::default();
        signal(&mut captures, &tcp(40_000, b"INV"), &[]);
        signal(&mut captures, &tcp(40_000, b"ITE"), &[7]);
        signal(&mut captures, &tcp(40_001, b"INVITE"), &[8]);
        let mut wanted = capture(7, "key");
        captures.recall(&mut wanted);
        assert_eq!(taken(&wanted), 2, "the one that was whole only with the next too");
    }

    #[test]
    fn memory_is_bounded() {
        let mut captures = Captures::default();
        let frame = udp(BOB, &[0; 60_000]);
        (0..300).for_each(|call| signal(&mut captures, &frame, &[call]));
        assert!(
            captures.bytes <= REMEMBERED && captures.remembered.len() < 140,
            "{}",
            captures.remembered.len()
        );
        let queue = Queue::new(100);
        queue.put(1, &[0; 60]);
        queue.put(2, &[0; 60]);
        queue.put(3, &[0; 10]);
        assert_eq!(
            (queue.take().0.len(), queue.lock().left),
            (1, 0),
            "it ends with the first that does not fit"
        );
        let queue = Queue::new(u64::MAX);
        (0..300).for_each(|at| queue.put(at, &[0; 60_000]));
        assert_eq!(queue.lock().lost, 300 - (WAITING / 60_000) as u64);
        let mut answers = 0;
        while queue.take().1 {
            answers += 1;
        }
        assert!(answers > 10, "{answers}");
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn an_end_has_a_reason() {
        let mut ended = capture(7, "key");
        assert_eq!(ended.end(Time(99)), None);
        assert_eq!(ended.end(Time(100)), Some("its time is over"));
        ended.until = Time(u64::MAX);
        ended.over = Some(Time(0));
        assert_eq!(ended.end(Time(3_000_000_000)), None);
        assert_eq!(ended.end(Time(3_000_000_001)), Some("the call is over"));
        ended.queue.lock().left = 0;
        assert_eq!(ended.end(Time(0)), Some("it is as large as it may become"));
    }

    /// Runs a program over a frame as the kernel would.
    pub(crate) fn passes(program: &[Step], frame: &[u8]) -> bool {
        let (mut a, mut x, mut at) = (0_u32, 0_usize, 0_usize);
        let half = |at: usize| frame.get(at..at + 2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]])));
        loop {
            let Step { code, jt, jf, k } = program[at];
            let k_at = k as usize;
            at += 1;
            match code {
                0x28 => a = half(k_at).unwrap_or(u32::MAX),
                0x48 => a = half(x + k_at).unwrap_or(u32::MAX),
                0x30 => a = frame.get(k_at).copied().map_or(u32::MAX, u32::from),
                0xb1 => x = usize::from(frame[k_at] & 15) * 4,
                0x05 => at += k_at,
                0x15 => at += usize::from(if a == k { jt } else { jf }),
                0x54 => a &= k,
                0x45 => at += usize::from(if a & k != 0 { jt } else { jf }),
                0x06 => return k > 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_passes_udp_to_the_ports_and_nothing_else() {
        let mut v6 = Vec::new();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 64).udp(9, 20_002);
        builder.write(&mut v6, b"rtp").expect("a frame");
        for ports in [vec![20_000, 20_002], (19_000..19_000 + PORTS as u16 - 1).chain([20_002]).collect()] {
            let program = filter(&ports);
            assert!(passes(&program, &udp(([10, 0, 0, 1], 20_002), b"rtp")));
            assert!(!passes(&program, &udp(([10, 0, 0, 1], 20_004), b"rtp")));
            assert!(passes(&program, &v6));
            assert!(!passes(&program, &tcp(20_002, b"rtp")));
            assert!(!passes(&program, &[0; 60]));
        }
        let mut options = udp(([10, 0, 0, 1], 20_002), b"rtp");
        options[14] = 0x46;
        options.splice(34..34, [1, 1, 1, 1]);
        assert!(passes(&filter(&[20_002]), &options));
        assert!(!passes(&filter(&[]), &v6));
    }

    #[test]
    fn media_is_captured_where_it_comes_in() {
        let places = [SocketAddr::from(([198, 51, 100, 7], 20_000))];
        let frame = udp(([198, 51, 100, 7], 20_000), b"rtp");
        assert!(is_wanted(&frame, false, &places, &[]));
        assert!(!is_wanted(&frame, true, &places, &[]), "it came in by another interface");
        assert!(is_wanted(&frame, true, &places, &[[192, 0, 2, 1].into()]), "this machine sends it");
        assert!(!is_wanted(&udp(([198, 51, 100, 8], 20_000), b"rtp"), false, &places, &[]));
    }
}
