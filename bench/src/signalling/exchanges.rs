//! Cases of the whole engine: messages that open what they tell of, and those that close it again.
//!
//! Every turn leaves the engine as it found it. A second passes in each, so that what is kept for a while is
//! forgotten in time; the engine's own work of that second, and taking its actions, is part of the turn.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use callgate_alg::core::Bounds;
use callgate_alg::engine::Segment;
use callgate_alg::media::Policy;
use callgate_alg::{Context, Engine, Time, Transport, Verdict};
use callgate_protocols::build::sccp;
use callgate_protocols::sccp::Channel;
use callgate_shared::policy::Inspect;

use super::Subject;

/// Who takes part.
pub(super) mod addresses {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

    const fn at(ip: [u8; 4], port: u16) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]), port))
    }

    /// A call manager, call agent, gatekeeper or TFTP server.
    pub(in crate::signalling) const MANAGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
    /// Phones' ends of their SCCP connections.
    pub(super) const PHONES: [SocketAddr; 2] = [at([192, 0, 2, 1], 50_000), at([198, 51, 100, 7], 50_000)];
    /// Where they receive RTP.
    pub(super) const MEDIA: [SocketAddr; 2] = [PHONE_MEDIA, at([198, 51, 100, 7], 20_000)];
    /// Where the first of them receives RTP.
    pub(in crate::signalling) const PHONE_MEDIA: SocketAddr = at([192, 0, 2, 1], 20_000);
    /// Where the first of them receives RTCP.
    pub(in crate::signalling) const PHONE_CONTROL: SocketAddr = at([192, 0, 2, 1], 20_001);
    /// A gateway that speaks MGCP.
    pub(super) const GATEWAY: SocketAddr = at([192, 0, 2, 1], 2_427);
    /// The host that asks for a file; its port is another one each time.
    pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
}

use addresses::{CLIENT, GATEWAY, MANAGER, MEDIA, PHONES};

/// Protocol versions of the two phones: with short addresses and with long ones.
const VERSIONS: [u32; 2] = [11, 20];
const NAMES: [&str; 2] = ["SEP0011AABBCCDD", "SEP0011AABBCCDE"];
const CHANNEL: Channel = Channel { conference: 9, party: 501, call: 77 };
/// G.711 µ-law.
const CODEC: u32 = 4;

/// The cases, in the order of the manual.
pub(super) fn subjects() -> Vec<Subject> {
    let mut phones = Phones::register();
    let mut gateway = Gateway::new();
    let mut client = Client::new();
    let subject = |name, messages, note: &str, turn| Subject { name, messages, note: note.to_owned(), turn };
    vec![
        subject(
            "sccp-message",
            10,
            "the mean of OpenReceiveChannel, its Ack, StartMediaTransmission and the two that close, versions 11 and 20",
            Box::new(move || phones.call() && phones.hang_up()),
        ),
        subject(
            "mgcp-message",
            4,
            "the mean of CRCX, its 200, DLCX, its 250",
            Box::new(move || gateway.create() && gateway.delete()),
        ),
        subject("tftp-message", 1, "RRQ with options", Box::new(move || client.ask())),
    ]
}

/// The engine and its clock.
struct Firewall {
    engine: Engine,
    now: Time,
}

impl Firewall {
    fn new() -> Self {
        Self { engine: Engine::new(Policy::default(), Bounds::default()), now: Time(1_000_000_000) }
    }

    fn context(&self, protocol: Inspect, source: SocketAddr, destination: SocketAddr) -> Context {
        let transport = if protocol == Inspect::Sccp { Transport::Tcp } else { Transport::Udp };
        Context { now: self.now, source, destination, transport, protocol, slot: 0, link: None }
    }

    /// Whether a datagram passes.
    fn datagram(&mut self, protocol: Inspect, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> bool {
        let context = self.context(protocol, from, to);
        self.engine.datagram(&context, black_box(bytes)) == Verdict::Pass
    }

    /// A second passes.
    fn second(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        self.engine.tick(self.now);
        black_box(self.engine.take_actions());
    }
}

/// Two registered phones and their call manager. Each message comes in a segment of its own.
struct Phones {
    firewall: Firewall,
    /// Next sequence number of each phone, and of its call manager.
    next: [[u32; 2]; 2],
    /// Each phone's messages of a call, and those that end it; whether they are the phone's own.
    opening: [[(bool, Vec<u8>); 3]; 2],
    closing: [[(bool, Vec<u8>); 2]; 2],
}

impl Phones {
    fn register() -> Self {
        let opening = [0, 1].map(|phone| {
            let (version, own, far) = (VERSIONS[phone], MEDIA[phone], MEDIA[1 - phone]);
            [
                (false, sccp::open_receive(version, CHANNEL, CODEC, false)),
                (true, sccp::open_receive_ack(version, CHANNEL, own, false)),
                (false, sccp::start(version, CHANNEL, far, CODEC, false)),
            ]
        });
        let closing =
            VERSIONS.map(|version| [0x0106, 0x008b].map(|id| (false, sccp::close(version, id, CHANNEL))));
        let mut phones = Self { firewall: Firewall::new(), next: [[0; 2]; 2], opening, closing };
        for (phone, version) in VERSIONS.into_iter().enumerate() {
            let version = version as u8;
            let register = sccp::register(NAMES[phone], PHONES[phone].ip(), version);
            phones.handshake(phone);
            phones.say(phone, true, &register);
            phones.say(phone, false, &sccp::register_ack(30, version));
        }
        phones
    }

    /// Both phones open their channels.
    fn call(&mut self) -> bool {
        let opening = std::mem::take(&mut self.opening);
        let passed = self.all(&opening);
        self.opening = opening;
        passed
    }

    /// Both phones close them.
    fn hang_up(&mut self) -> bool {
        let closing = std::mem::take(&mut self.closing);
        let passed = self.all(&closing);
        self.closing = closing;
        self.firewall.second();
        passed
    }

    fn all<const N: usize>(&mut self, messages: &[[(bool, Vec<u8>); N]; 2]) -> bool {
        let mut messages =
            messages.iter().enumerate().flat_map(|(phone, own)| own.iter().map(move |m| (phone, m)));
        messages.all(|(phone, (by_phone, frame))| self.say(phone, *by_phone, frame))
    }

    fn handshake(&mut self, phone: usize) {
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        self.segment(phone, true, SYN, b"");
        self.next[phone][0] = 1;
        self.segment(phone, false, SYN | ACK, b"");
        self.next[phone][1] = 1;
    }

    /// Whether a message of a phone, or to it, passes.
    fn say(&mut self, phone: usize, by_phone: bool, frame: &[u8]) -> bool {
        const PSH_ACK: u8 = 0x18;
        let passed = self.segment(phone, by_phone, PSH_ACK, frame);
        let next = &mut self.next[phone][usize::from(!by_phone)];
        *next = next.wrapping_add(frame.len() as u32);
        passed
    }

    fn segment(&mut self, phone: usize, by_phone: bool, flags: u8, payload: &[u8]) -> bool {
        let (own, manager) = (PHONES[phone], SocketAddr::new(MANAGER, 2_000));
        let [by, to] = self.next[phone];
        let ((source, sequence), (destination, acknowledgement)) =
            if by_phone { ((own, by), (manager, to)) } else { ((manager, to), (own, by)) };
        let context = self.firewall.context(Inspect::Sccp, source, destination);
        let segment = Segment { sequence, acknowledgement, flags };
        self.firewall.engine.segment(&context, segment, black_box(payload)) == Verdict::Pass
    }
}

/// OpenReceiveChannelAck and StartMediaTransmission in either form of address.
pub(super) fn sccp_media() -> Vec<Vec<u8>> {
    let messages = VERSIONS.map(|version| {
        [
            sccp::open_receive_ack(version, CHANNEL, MEDIA[0], false),
            sccp::start(version, CHANNEL, MEDIA[1], CODEC, false),
        ]
    });
    messages.into_iter().flatten().collect()
}

/// A gateway at whose end a connection is made and deleted, by new transactions each time.
struct Gateway {
    firewall: Firewall,
    transaction: u32,
    texts: [String; 4],
}

/// Digits of a transaction in [`mgcp_texts`], and where they stand: behind the verb or the code.
const TRANSACTION: std::ops::Range<usize> = 5..14;

/// CRCX and its 200, DLCX and its 250.
pub(super) fn mgcp_texts() -> [String; 4] {
    let sdp = |ip: &str, port: u16| {
        format!(
            "v=0\r\no=- 25678 753849 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
        )
    };
    let (own, far) = (sdp("192.0.2.1", 20_000), sdp("203.0.113.5", 24_000));
    [
        format!(
            "CRCX 100000000 aaln/1@gateway.example MGCP 1.0\r\nC: A3C47F21456789F0\r\n\
             L: p:20, a:PCMU\r\nM: sendrecv\r\nX: 0123456789AC\r\nR: L/hd\r\n\r\n{far}"
        ),
        format!("200  100000000 OK\r\nI: FDE234C8\r\n\r\n{own}"),
        "DLCX 100000000 aaln/1@gateway.example MGCP 1.0\r\nC: A3C47F21456789F0\r\nI: FDE234C8\r\n".to_owned(),
        "250  100000000 OK\r\nP: PS=1245, OS=62345, PR=0, OR=0, PL=10, JI=27, LA=48\r\n".to_owned(),
    ]
}

impl Gateway {
    fn new() -> Self {
        Self { firewall: Firewall::new(), transaction: 0, texts: mgcp_texts() }
    }

    /// A connection is made.
    fn create(&mut self) -> bool {
        self.transact(0)
    }

    /// And deleted.
    fn delete(&mut self) -> bool {
        let passed = self.transact(2);
        self.firewall.second();
        passed
    }

    /// Sends a command and its response as the next transaction.
    fn transact(&mut self, command: usize) -> bool {
        let agent = SocketAddr::new(MANAGER, 2_727);
        self.transaction = (self.transaction + 1) % 100_000_000;
        let digits = format!("{}", 100_000_000 + self.transaction);
        [(command, agent, GATEWAY), (command + 1, GATEWAY, agent)].into_iter().all(|(text, from, to)| {
            let text = &mut self.texts[text];
            text.replace_range(TRANSACTION, &digits);
            self.firewall.datagram(Inspect::Mgcp, from, to, text.as_bytes())
        })
    }
}

/// A host that asks for a file from another port each time; no server answers, and silence ends the transfer.
struct Client {
    firewall: Firewall,
    port: u16,
    request: Vec<u8>,
}

/// RRQ of a phone's configuration with the options of RFC 2348 and 2349.
pub(super) fn read_request() -> Vec<u8> {
    let words = ["SEP0011AABBCCDD.cnf.xml", "octet", "blksize", "1428", "timeout", "5", "tsize", "0"];
    let text = words.map(|word| format!("{word}\0")).concat();
    [b"\0\x01", text.as_bytes()].concat()
}

impl Client {
    fn new() -> Self {
        Self { firewall: Firewall::new(), port: 0, request: read_request() }
    }

    fn ask(&mut self) -> bool {
        self.port = (self.port + 1) % 16_384;
        let from = SocketAddr::new(CLIENT, 49_152 + self.port);
        let passed = self.firewall.datagram(Inspect::Tftp, from, SocketAddr::new(MANAGER, 69), &self.request);
        self.firewall.second();
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds longer than anything is kept.
    const LONG: usize = 5_000;

    fn open(firewall: &Firewall) -> (usize, usize) {
        (firewall.engine.calls().count(), firewall.engine.pinholes().count())
    }

    #[test]
    fn phones_call_and_hang_up() {
        let mut phones = Phones::register();
        for turn in 0..LONG {
            assert!(phones.call(), "turn {turn}");
            assert_eq!(open(&phones.firewall), (2, 4), "turn {turn}");
            assert!(phones.hang_up(), "turn {turn}");
            assert_eq!(open(&phones.firewall), (0, 0), "turn {turn}");
        }
    }

    #[test]
    fn gateway_creates_and_deletes() {
        let mut gateway = Gateway::new();
        for turn in 0..LONG {
            assert!(gateway.create(), "turn {turn}");
            assert_eq!(open(&gateway.firewall), (1, 4), "turn {turn}");
            assert!(gateway.delete(), "turn {turn}");
            assert_eq!(open(&gateway.firewall), (0, 0), "turn {turn}");
        }
    }

    #[test]
    fn a_request_opens_a_port_until_it_is_silent() {
        let mut client = Client::new();
        for turn in 1..=LONG {
            assert!(client.ask(), "turn {turn}");
            let (calls, pinholes) = open(&client.firewall);
            assert_eq!((calls, pinholes), (turn.min(15), turn.min(15)), "turn {turn}");
        }
    }
}
