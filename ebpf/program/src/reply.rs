//! Answers the firewall gives itself, written over the packet they answer and sent back from the driver (`XDP_TX`):
//! resets and "administratively prohibited" for rejected packets, and challenges to strangers.
//!
//! Only a whole packet without IP options or extension headers is answered, never a reset or an error, and never
//! what was sent to a group.

use core::hint::black_box;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use callgate_shared::Addr;
use callgate_shared::flow::{ICMP, ICMPV6, TCP};
use callgate_shared::judge::cookie;
use callgate_shared::packet::{Fragment, Packet, is_echo_request, tcp};

/// Bytes of Ethernet and two tags: where an IP header can begin at most.
const DEEPEST: usize = 22;
const HOP_LIMIT: u8 = 64;

/// Tells the sender of a packet that it was refused. False where it cannot be told.
#[inline(always)]
pub fn reject(ctx: *mut xdp_md, packet: &Packet) -> bool {
    if !answerable(packet) {
        return false;
    }
    if packet.protocol != TCP {
        return prohibited(ctx, packet);
    }
    if packet.tcp_flags & tcp::RST != 0 {
        return false;
    }
    // RFC 9293 section 3.10.7.1.
    if packet.tcp_flags & tcp::ACK != 0 {
        return segment(ctx, packet, packet.acknowledgment, 0, tcp::RST);
    }
    let occupied = (packet.tcp_flags & tcp::SYN != 0) as u32 + (packet.tcp_flags & tcp::FIN != 0) as u32;
    let end = packet.sequence.wrapping_add(packet.payload_length as u32).wrapping_add(occupied);
    segment(ctx, packet, 0, end, tcp::RST | tcp::ACK)
}

/// Asks a stranger who opens a connection to prove its address. False where it cannot be asked.
#[inline(always)]
pub fn challenge(ctx: *mut xdp_md, packet: &Packet, secret: u64, now: u64) -> bool {
    if !answerable(packet) {
        return false;
    }
    let cookie = cookie(packet, secret, now);
    segment(ctx, packet, !cookie, cookie, tcp::SYN | tcp::ACK)
}

#[inline(always)]
fn answerable(packet: &Packet) -> bool {
    let plain = if packet.source.is_v4() { 20 } else { 40 };
    packet.fragment == Fragment::Whole
        && packet.network_at as usize <= DEEPEST
        && packet.transport_at == packet.network_at + plain
        && packet.quoted.protocol == 0
        && !is_group(&packet.destination)
        && (packet.protocol != ICMP && packet.protocol != ICMPV6
            || is_echo_request(packet.protocol, packet.icmp_type))
}

/// Multicast, or IPv4's limited broadcast.
#[inline(always)]
fn is_group(address: &Addr) -> bool {
    if address.is_v4() {
        u32::from_be(address.v4_word()) >> 28 >= 14
    } else {
        u32::from_be(address.0[0]) >> 24 == 0xff
    }
}

/// Turns the packet into a TCP segment to its sender, without options or data.
#[inline(always)]
fn segment(ctx: *mut xdp_md, packet: &Packet, sequence: u32, acknowledgment: u32, flags: u8) -> bool {
    let at = packet.network_at as usize;
    let v4 = packet.source.is_v4();
    let header = if v4 { 20 } else { 40 };
    if at > DEEPEST || !resize(ctx, at + header + 20) {
        return false;
    }
    let Some(out) = Out::new(ctx, at, header + 20) else { return false };
    out.turn();
    let sum = out.ip(packet, v4, 20, TCP) + 20 + TCP as u32;
    let tcp = header;
    out.put16(tcp, packet.destination_port.to_be());
    out.put16(tcp + 2, packet.source_port.to_be());
    out.put32(tcp + 4, sequence.to_be());
    out.put32(tcp + 8, acknowledgment.to_be());
    out.put16(tcp + 12, (0x5000 | flags as u16).to_be());
    out.put16(tcp + 14, 0);
    out.put32(tcp + 16, 0);
    let sum = sum
        + packet.destination_port as u32
        + packet.source_port as u32
        + halves(sequence)
        + halves(acknowledgment)
        + (0x5000 | flags as u32);
    out.put16(tcp + 16, checksum(sum).to_be());
    true
}

/// Puts an ICMP "administratively prohibited" around the packet's beginning (RFC 1812 section 5.2.7.1, RFC 4443
/// section 3.1).
#[inline(always)]
fn prohibited(ctx: *mut xdp_md, packet: &Packet) -> bool {
    let at = packet.network_at as usize;
    let v4 = packet.source.is_v4();
    // The new headers, and what is quoted: the old header and eight bytes.
    let (header, quoted) = if v4 { (20, 28) } else { (40, 48) };
    let added = header + 8;
    if at > DEEPEST || !resize(ctx, at + quoted) {
        return false;
    }
    // SAFETY: the program's own context.
    if unsafe { bpf_xdp_adjust_head(ctx, -(added as i32)) } != 0 {
        return false;
    }
    let Some(link) = Out::new(ctx, 0, added + DEEPEST) else { return false };
    let mut i = 0;
    while i < DEEPEST {
        if i < at {
            link.put16(i, link.get16(added + i));
        }
        i += 2;
    }
    let Some(out) = Out::new(ctx, at, added + quoted) else { return false };
    out.turn();
    let length = (8 + quoted) as u16;
    let pseudo = out.ip(packet, v4, length, if v4 { ICMP } else { ICMPV6 });
    // ICMP's checksum is without addresses, ICMPv6's with them (RFC 4443 section 2.3).
    let (kind, pseudo) = if v4 { (0x030d, 0) } else { (0x0101, pseudo + length as u32 + ICMPV6 as u32) };
    out.put16(header, u16::to_be(kind));
    out.put16(header + 2, 0);
    out.put32(header + 4, 0);
    let mut sum = pseudo + kind as u32;
    let mut i = 0;
    while i < quoted {
        sum += u16::from_be(out.get16(added + i)) as u32;
        i += 2;
    }
    out.put16(header + 2, checksum(sum).to_be());
    true
}

/// Cuts the frame to this length; false where it is shorter.
#[inline(always)]
fn resize(ctx: *mut xdp_md, length: usize) -> bool {
    let (data, end) = bounds(ctx);
    let more = length as i64 - (end as i64 - data as i64);
    // SAFETY: the program's own context.
    more <= 0 && (more == 0 || unsafe { bpf_xdp_adjust_tail(ctx, more as i32) } == 0)
}

#[inline(always)]
fn bounds(ctx: *mut xdp_md) -> (usize, usize) {
    // SAFETY: the program's own context.
    unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) }
}

/// Checked bytes of the frame from an IP header on, to write to; the link header lies before them.
struct Out {
    frame: usize,
    at: usize,
}

impl Out {
    #[inline(always)]
    fn new(ctx: *mut xdp_md, at: usize, size: usize) -> Option<Self> {
        // One pointer each, hidden from the compiler: it would compute them anew where they are used, and the
        // comparison, which is the verifier's proof, would speak of others.
        let (data, end) = bounds(ctx);
        let frame = black_box(data);
        let at = black_box(frame + (at & 0x1f));
        if at + size > end || frame + 14 > end { None } else { Some(Self { frame, at }) }
    }

    #[inline(always)]
    fn put16(&self, i: usize, value: u16) {
        // SAFETY: `new` has checked the bytes; the verifier checks each access again.
        unsafe { *((self.at + i) as *mut u16) = value };
    }

    #[inline(always)]
    fn put32(&self, i: usize, value: u32) {
        // SAFETY: as above.
        unsafe { *((self.at + i) as *mut u32) = value };
    }

    #[inline(always)]
    fn get16(&self, i: usize) -> u16 {
        // SAFETY: as above.
        unsafe { *((self.at + i) as *const u16) }
    }

    /// Exchanges the stations' addresses.
    #[inline(always)]
    fn turn(&self) {
        let mut i = 0;
        while i < 6 {
            // SAFETY: as above: the first 14 bytes are there.
            unsafe {
                let (a, b) = ((self.frame + i) as *mut u16, (self.frame + 6 + i) as *mut u16);
                let first = *a;
                *a = *b;
                *b = first;
            }
            i += 2;
        }
    }

    /// The header of an answer with `length` bytes behind it. Returns the sum of its addresses.
    #[inline(always)]
    fn ip(&self, packet: &Packet, v4: bool, length: u16, protocol: u8) -> u32 {
        let (from, to) = (&packet.destination.0, &packet.source.0);
        if v4 {
            let addresses = halves(u32::from_be(from[3])) + halves(u32::from_be(to[3]));
            let total = 20 + length;
            let life = (HOP_LIMIT as u16) << 8 | protocol as u16;
            // Version and length, total length, no identification, don't fragment.
            let sum = 0x4500 + total as u32 + 0x4000 + life as u32 + addresses;
            self.put16(0, u16::to_be(0x4500));
            self.put16(2, total.to_be());
            self.put16(4, 0);
            self.put16(6, u16::to_be(0x4000));
            self.put16(8, life.to_be());
            self.put16(10, checksum(sum).to_be());
            self.put32(12, from[3]);
            self.put32(16, to[3]);
            return addresses;
        }
        self.put32(0, u32::to_be(0x6000_0000));
        self.put16(4, length.to_be());
        self.put16(6, ((protocol as u16) << 8 | HOP_LIMIT as u16).to_be());
        let mut sum = 0;
        let mut i = 0;
        while i < 4 {
            self.put32(8 + 4 * i, from[i]);
            self.put32(24 + 4 * i, to[i]);
            sum += halves(u32::from_be(from[i])) + halves(u32::from_be(to[i]));
            i += 1;
        }
        sum
    }
}

/// The sum of a word's halves.
#[inline(always)]
fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The checksum (RFC 1071) of what adds up to this.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    !(halves(halves(sum)) as u16)
}
