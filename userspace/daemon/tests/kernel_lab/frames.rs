//! Frames of every kind a network, or an attacker, can send: the same ones for the same seed.
//!
//! Few hosts and ports take part, so that frames meet the flows, pinholes, fragments and limits of those before
//! them. TCP connections go through their states with sequence numbers that fit, and ones that do not; ICMP errors
//! quote frames that were sent, and ones that were not.

use std::collections::VecDeque;
use std::ops::Range;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Shortest frame that can be run: an Ethernet header.
pub(crate) const ETHERNET: usize = 14;

/// xorshift64* (Vigna 2016): the same numbers on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0) % bound
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A TCP connection that is going on.
#[derive(Clone, Copy)]
struct Connection {
    v6: bool,
    hosts: [u8; 2],
    ports: [u16; 2],
    /// What each end sends next.
    next: [u32; 2],
    /// Steps taken.
    age: u32,
}

/// A source of frames.
pub(crate) struct Frames {
    pub(crate) random: Random,
    connections: Vec<Connection>,
    /// IP packets that were sent of late, and their EtherTypes.
    recent: VecDeque<(u16, Vec<u8>)>,
    /// Of the last packet of RTP.
    sequence: u16,
    /// A frame that comes some times more: above the rate of its stream, if it is of one.
    again: Option<(Vec<u8>, u32)>,
}

impl Frames {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            connections: Vec::new(),
            recent: VecDeque::new(),
            sequence: 0,
            again: None,
        }
    }

    /// The next one: of a conversation, damaged, cut short, tagged, padded, or nothing but noise.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        if let Some((frame, times)) = self.again.take() {
            if times > 1 {
                self.again = Some((frame.clone(), times - 1));
            }
            return frame;
        }
        let mut frame = match self.random.below(40) {
            0 => self.link(),
            1 => self.noise(),
            2..5 => self.quoting(),
            5..21 => self.segment(),
            21..28 => self.datagram(),
            28..33 => self.media(),
            33..37 => self.icmp(),
            _ => self.other(),
        };
        let random = &mut self.random;
        match random.below(20) {
            0 => {
                for _ in 0..=random.below(3) {
                    // Mostly headers: damage to the payload changes nothing.
                    let at = random.below(frame.len().min(90));
                    frame[at] = random.next() as u8;
                }
            }
            1 => frame.truncate(random.below(frame.len()).max(ETHERNET)),
            2 => frame.resize(frame.len() + random.below(60), 0xee),
            3 | 4 => {
                for _ in 0..=random.below(3) {
                    let id = random.of(&[0_u16, 7, 100, 100, 4_095]) | random.of(&[0, 0x2000]);
                    let mut tag = random.of(&[[0x81, 0], [0x88, 0xa8]]).to_vec();
                    tag.extend(id.to_be_bytes());
                    frame.splice(12..12, tag);
                }
            }
            _ => {}
        }
        frame
    }

    /// A step of a TCP connection, or one that nobody can make sense of.
    fn segment(&mut self) -> Vec<u8> {
        const PORTS: [u16; 8] = [80, 80, 80, 1_720, 5_060, 22, 30_001, 443];
        let random = &mut self.random;
        if self.connections.len() < 24 || random.one_in(12) {
            let host = |random: &mut Random| 1 + random.below(4) as u8;
            let connection = Connection {
                v6: random.one_in(3),
                hosts: [host(random), host(random)],
                ports: [40_000 + random.below(12) as u16, random.of(&PORTS)],
                next: [random.next() as u32, random.next() as u32],
                age: 0,
            };
            if self.connections.len() == 24 {
                self.connections.swap_remove(random.below(24));
            }
            self.connections.push(connection);
        }
        let at = random.below(self.connections.len());
        let connection = &mut self.connections[at];
        let (mut from, flags) = match connection.age {
            0 => (0, SYN),
            1 => (1, SYN | ACK),
            2 => (0, ACK),
            _ => (random.below(2), random.of(&[ACK, ACK, ACK | PSH, ACK | PSH, FIN | ACK, RST, RST | ACK])),
        };
        let flags = match random.below(24) {
            0 => random.next() as u8 & 0x3f,
            1 => random.of(&[0, SYN | FIN, SYN | RST, FIN, FIN | PSH | 0x20, SYN, SYN | ACK, RST]),
            _ => flags,
        };
        if random.one_in(16) {
            from ^= 1;
        }
        connection.age += u32::from(!random.one_in(8));
        let (sequence, acknowledgment) = (connection.next[from], connection.next[from ^ 1]);
        let stray = |random: &mut Random| match random.below(20) {
            0 => random.next() as u32,
            1 => random.of(&[1, 65_534, 65_535, 65_536, 1 << 20, u32::MAX, u32::MAX - 65_535]),
            _ => 0,
        };
        let (sequence, acknowledgment) = (
            sequence.wrapping_add(stray(random)),
            if flags & ACK == 0 { 0 } else { acknowledgment.wrapping_add(stray(random)) },
        );
        let payload = if flags & (SYN | RST) == 0 { random.of(&[0, 0, 1, 100, 1_200]) } else { 0 };
        connection.next[from] = connection.next[from]
            .wrapping_add(payload as u32)
            .wrapping_add(u32::from(flags & (SYN | FIN) != 0));
        let options = if flags & SYN != 0 || random.one_in(16) { tcp_options(random) } else { Vec::new() };
        let words = 5 + options.len() as u8 / 4;
        let words = if random.one_in(60) { random.below(16) as u8 } else { words };
        let mut body = Vec::new();
        body.extend(connection.ports[from].to_be_bytes());
        body.extend(connection.ports[from ^ 1].to_be_bytes());
        body.extend(sequence.to_be_bytes());
        body.extend(acknowledgment.to_be_bytes());
        body.extend([words << 4, flags]);
        body.extend(random.of(&[0_u16, 1, 1_024, 65_535]).to_be_bytes());
        body.extend([0; 4]);
        body.extend(options);
        body.resize(body.len() + payload, 0x55);
        let (v6, ends) = (connection.v6, [connection.hosts[from], connection.hosts[from ^ 1]]);
        self.ip(v6, ends, TCP, &body)
    }

    fn datagram(&mut self) -> Vec<u8> {
        const PORTS: [u16; 9] = [5_060, 5_060, 1_719, 53, 69, 7, 500, 40_000, 0];
        const MEDIA: [u16; 5] = [16_400, 16_401, 16_402, 16_403, 32_767];
        let random = &mut self.random;
        let destination = if random.one_in(3) { random.of(&MEDIA) } else { random.of(&PORTS) };
        let source = if random.one_in(3) { random.of(&PORTS) } else { 40_000 + random.below(6) as u16 };
        let payload = random.of(&[0, 1, 20, 160, 1_200]);
        let length = match random.below(40) {
            0 => random.below(16) as u16,
            1 => (payload + 9) as u16,
            _ => (payload + 8) as u16,
        };
        let mut body = Vec::new();
        for word in [source, destination, length, 0] {
            body.extend(word.to_be_bytes());
        }
        // Of RTP's shape, or not.
        body.resize(body.len() + payload, random.of(&[0x55, 0x80]));
        let (v6, ends) = (random.one_in(3), [1 + random.below(4) as u8, 1 + random.below(4) as u8]);
        self.ip(v6, ends, UDP, &body)
    }

    /// A packet of one of the streams from host 1 to host 2: mostly as was agreed.
    fn media(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let destination = 16_402 + 2 * random.below(6) as u16;
        let mut payload = match random.below(16) {
            0 => [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat(),
            1 => [&[22, 0xfe, 0xfd][..], &[0; 30]].concat(),
            2 => [&[0x10, 0, 0, 1][..], b"ZRTP", &[0; 20]].concat(),
            3 | 4 => vec![0, 2, random.of(&[4, 4, 5, 0]), 1, 2, 3, 4, 0, 0],
            5..8 => {
                let mut reports = vec![0x80, random.of(&[201, 201, 201, 202, 199]), 0, 1, 1, 2, 3, 4];
                reports.extend([
                    0x81,
                    random.of(&[202, 202, 204, 198]),
                    0,
                    random.of(&[2, 2, 2, 1]),
                    1,
                    2,
                    3,
                    4,
                ]);
                reports.extend([1, 1, b'x', 0]);
                reports
            }
            _ => {
                self.sequence = self.sequence.wrapping_add(random.of(&[1, 1, 1, 1, 2, 40, 0, 0xfff0, 4_000]));
                let mut bytes = vec![
                    random.of(&[0x80, 0x80, 0x80, 0x90, 0xa0, 0x83]),
                    random.of(&[0, 0, 0, 0x80, 101, 3]),
                ];
                bytes.extend(self.sequence.to_be_bytes());
                bytes.extend((u32::from(self.sequence) * 160).to_be_bytes());
                bytes.extend(random.of(&[7_u32, 7, 7, 7, 7, 7, 7, 9]).to_be_bytes());
                bytes.resize(12 + 4 * 10, random.of(&[0, 1, 0x55]));
                bytes
            }
        };
        if random.one_in(20) {
            payload.truncate(random.below(payload.len() + 1));
        }
        let length = 8 + payload.len() as u16;
        let source = random.of(&[40_000, 40_000, 40_000, 40_000, 40_000, 40_000, 40_001]);
        let words = [source, destination, length, 0];
        let body: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).chain(payload).collect();
        let frame = self.ip(false, [1, 2], UDP, &body);
        if self.random.one_in(30) {
            self.again = Some((frame.clone(), 12));
        }
        frame
    }

    fn icmp(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let v6 = random.one_in(2);
        let (protocol, kind) = if v6 {
            (ICMPV6, random.of(&[128, 128, 129, 129, 1, 2, 133, 135, 136, 200]))
        } else {
            (ICMP, random.of(&[8, 8, 0, 0, 3, 5, 11, 13]))
        };
        let body = [kind, random.of(&[0, 0, 4]), 0, 0, 0, random.below(3) as u8, 0, 1, 0x55, 0x55];
        let ends = [1 + random.below(4) as u8, 1 + random.below(4) as u8];
        // A protocol of the other family: neither is judged as its own.
        let v6 = if random.one_in(30) { !v6 } else { v6 };
        self.ip(v6, ends, protocol, &body)
    }

    /// An ICMP error about a packet of late, to its sender or to somebody else.
    fn quoting(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let Some((ether_type, quoted)) = self.recent.get(random.below(self.recent.len().max(1))) else {
            return self.icmp();
        };
        let v6 = *ether_type == IPV6;
        let (protocol, kind, header) =
            if v6 { (ICMPV6, random.of(&[1, 3, 4]), 40) } else { (ICMP, random.of(&[3, 11, 12, 4]), 20) };
        let mut body = vec![kind, random.of(&[0, 1, 3, 13]), 0, 0, 0, 0, 0, 0];
        let kept = random.of(&[0, header / 2, header, header + 4, header + 8, header + 28]).min(quoted.len());
        body.extend(&quoted[..kept]);
        if kept > 8 && random.one_in(8) {
            let at = 8 + random.below(kept);
            if let Some(byte) = body.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        // The last octet of a host is its number.
        let last = if v6 { 23 } else { 15 };
        let sender = quoted.get(last).copied().unwrap_or(1);
        let to = if random.one_in(6) { 1 + random.below(4) as u8 } else { sender };
        let from = 1 + random.below(4) as u8;
        self.ip(v6, [from, to], protocol, &body)
    }

    fn other(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let protocol = random.of(&[47_u8, 50, 132, 1, 58, 6, 17, 255]);
        let body = random.of(&[0, 7, 8, 19, 20, 40]);
        let body = self.random.bytes(body);
        let (v6, ends) =
            (self.random.one_in(2), [1 + self.random.below(4) as u8, 1 + self.random.below(4) as u8]);
        self.ip(v6, ends, protocol, &body)
    }

    /// A packet to be sent whole, or as a fragment of itself.
    fn ip(&mut self, v6: bool, ends: [u8; 2], protocol: u8, body: &[u8]) -> Vec<u8> {
        let random = &mut self.random;
        let fragment = random.one_in(9).then(|| {
            let offset = random.of(&[0_u16, 0, 0, 1, 2, 8, 100, 8_191]);
            (offset, random.one_in(2), random.below(8) as u32)
        });
        let (ether_type, packet) = if v6 {
            (IPV6, ipv6(random, ends, protocol, body, fragment))
        } else {
            (IPV4, ipv4(random, ends, protocol, body, fragment))
        };
        if self.recent.len() == 64 {
            self.recent.pop_front();
        }
        self.recent.push_back((ether_type, packet.clone()));
        framed(ether_type, &packet)
    }

    fn link(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let mut frame = framed(random.of(&[0x0806, 0x88cc, 0x0026, IPV4, 0x8035]), &random.bytes(40));
        frame[..6].copy_from_slice(&random.of(&[
            [0x01, 0x80, 0xc2, 0, 0, 0x0e],
            [0x01, 0x80, 0xc2, 0, 0, 0x10],
            [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc],
            [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd],
            [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xce],
            [0xff; 6],
        ]));
        frame
    }

    fn noise(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        let ether_type = random.of(&[IPV4, IPV6, 0x8100, 0x88a8, 0x0806, 0x88cc, 0x1234]);
        let length = random.below(120);
        framed(ether_type, &random.bytes(length))
    }
}

fn framed(ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(packet);
    frame
}

/// Options of TCP that make sense, and ones that do not, in whole words.
fn tcp_options(random: &mut Random) -> Vec<u8> {
    let mut options = Vec::new();
    for _ in 0..random.below(4) {
        match random.below(10) {
            0..4 => options.extend([3, 3, random.below(17) as u8]),
            4 | 5 => options.extend([2, 4, 5, 180]),
            6 => options.push(1),
            7 => options.extend([8, 10, 0, 0, 0, 1, 0, 0, 0, 1]),
            8 => options.push(0),
            _ => options.extend([random.next() as u8, random.of(&[0, 1, 2, 3, 200])]),
        }
    }
    options.resize(options.len().next_multiple_of(4), random.of(&[0, 1]));
    options
}

/// Hosts are told apart by their last octet.
fn ipv4(
    random: &mut Random,
    ends: [u8; 2],
    protocol: u8,
    body: &[u8],
    fragment: Option<(u16, bool, u32)>,
) -> Vec<u8> {
    let host = |last: u8, random: &mut Random| match random.below(80) {
        0 => [127, 0, 0, 1],
        1 => [224, 0, 0, last],
        2 => [0, 0, 0, 0],
        3 => [198, 51, 100, last],
        4 => [255; 4],
        _ => [10, 0, 0, last],
    };
    let options = if random.one_in(8) { ipv4_options(random) } else { Vec::new() };
    let total = (20 + options.len() + body.len()) as u16;
    let total = if random.one_in(80) { random.next() as u16 % 100 } else { total };
    let (offset, more, identification) = fragment.unwrap_or((0, false, random.next() as u32));
    let field = offset | u16::from(more) << 13 | random.of(&[0, 0x4000]);
    let mut packet = vec![0x45 + options.len() as u8 / 4, random.of(&[0, 0, 0xb8, 0x68])];
    packet.extend(total.to_be_bytes());
    packet.extend((identification as u16).to_be_bytes());
    packet.extend(field.to_be_bytes());
    packet.extend([random.of(&[64, 255, 1]), protocol, 0, 0]);
    packet.extend(host(ends[0], random));
    packet.extend(host(ends[1], random));
    packet.extend(options);
    packet.extend(body);
    packet
}

fn ipv4_options(random: &mut Random) -> Vec<u8> {
    let mut options = match random.below(8) {
        0 => vec![131, 7, 4, 10, 0, 0, 9],
        1 => vec![137, 7, 4, 10, 0, 0, 9],
        2 => vec![random.next() as u8, random.of(&[0, 1, 41])],
        3 => vec![7, 7, 4, 0, 0, 0, 0],
        4 => vec![0, 131, 3, 4],
        5 => vec![1, 1, 1, 131, 3, 4],
        6 => vec![1; 4 * (1 + random.below(10))],
        _ => vec![148, 4, 0, 0],
    };
    options.resize(options.len().next_multiple_of(4), random.of(&[0, 1]));
    options
}

fn ipv6(
    random: &mut Random,
    ends: [u8; 2],
    protocol: u8,
    body: &[u8],
    fragment: Option<(u16, bool, u32)>,
) -> Vec<u8> {
    let host = |last: u8, random: &mut Random| {
        let mut address = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        match random.below(100) {
            0 => address = [0; 16],
            1 => {
                address[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
            }
            2 => address[..2].copy_from_slice(&[0xff, 2]),
            3 => address[..4].copy_from_slice(&[0xfe, 0x80, 0, 0]),
            4 => address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            _ => {}
        }
        address
    };
    // Each header, and the number it is announced by.
    let mut extensions: Vec<(u8, Vec<u8>)> = Vec::new();
    let count = if random.one_in(5) { random.of(&[1, 1, 2, 3, 6, 7]) } else { 0 };
    for _ in 0..count {
        let units = random.below(4);
        extensions.push(match random.below(5) {
            0 => (51, [vec![0, (units + 1) as u8, 0, 0], vec![0; 4 * units + 8]].concat()),
            1 => {
                let kind = random.of(&[0, 2, 4]);
                (43, [vec![0, units as u8, kind, 0, 0, 0, 0, 0], vec![0; 8 * units]].concat())
            }
            which => {
                let stated = if random.one_in(20) { 200 } else { units as u8 };
                (if which == 2 { 0 } else { 60 }, [vec![0, stated], vec![1; 6 + 8 * units]].concat())
            }
        });
    }
    if let Some((offset, more, identification)) = fragment {
        let field = offset << 3 | u16::from(more);
        let reserved = random.of(&[0, 8]);
        let mut header = vec![0, reserved];
        header.extend(field.to_be_bytes());
        header.extend(identification.to_be_bytes());
        extensions.insert(random.below(extensions.len() + 1), (44, header));
    }
    let mut next = protocol;
    for (number, header) in extensions.iter_mut().rev() {
        header[0] = next;
        next = *number;
    }
    let rest: Vec<u8> =
        extensions.into_iter().flat_map(|(_, header)| header).chain(body.iter().copied()).collect();
    let length = if random.one_in(80) { random.next() as u16 % 100 } else { rest.len() as u16 };
    let mut packet = vec![0x60, random.of(&[0, 0xb0]), 0, 0];
    packet[0] |= random.of(&[0, 0x0b]);
    packet.extend(length.to_be_bytes());
    packet.extend([next, random.of(&[64, 255, 255, 1])]);
    packet.extend(host(ends[0], random));
    packet.extend(host(ends[1], random));
    packet.extend(rest);
    packet
}
