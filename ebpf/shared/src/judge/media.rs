//! Packets of a stream against the contract of its pinhole, and what is measured of them.
//!
//! ```text
//!  life, silence, sender ──► drop: pinhole-expired, pinhole-sender
//!  port that was learnt ──► second-source
//!  RTP: header, payload type, SSRC, sequence ──► rtp-header, payload-type, ssrc, rtp-sequence
//!  RTCP: report first, lengths, types ──► rtcp-compound, rtcp-length, rtcp-type
//!  STUN, DTLS, ZRTP ──► not-announced │ UDPTL ──► not-udptl │ anything else ──► not-rtp
//!  rate ──► media-rate
//! ```
//!
//! From the second line on, a pinhole that only observes counts what it would have refused, and lets it by.

use super::{Tables, Verdict, path};
use crate::limit;
use crate::media::{
    self, CONTROL_BURST, CONTROL_RATE, Ceiling, GAP_SHIFT, Place, RATE, RENEWAL, flags, halves, word,
};
use crate::packet::rtp::{faults, is_rtcp};
use crate::packet::{Fragment, Packet};
use crate::pinhole::{CONTROL_UNIT, Kind, Pinhole, PinholeKey, learns_port, learnt_port};
use crate::{Addr, Reason};

/// Magic cookie of STUN (RFC 8489 section 5), as it lies in the packet.
const STUN_COOKIE: u32 = 0x2112_a442_u32.to_be();
/// Magic cookie of ZRTP (RFC 6189 section 5).
const ZRTP_COOKIE: u32 = 0x5a52_5450_u32.to_be();
/// A bucket that was not used for so long is empty: its time of 32 bits goes round in 4,398 s.
const EMPTY_AFTER: u64 = 4 * CONTROL_BURST;

/// Judges a UDP packet to a media port, where a pinhole may be open. `None` where none is, or the packet belongs to the
/// flow of a way back that its pinhole has opened.
#[inline(always)]
pub fn admit_media<T: Tables + ?Sized>(tables: &T, packet: &Packet, now: u64) -> Option<Verdict> {
    let key = super::pinhole_key(packet);
    let pinhole = tables.pinhole(&key).filter(|pinhole| pinhole.inspect == 0)?;
    let reason = admits(tables, &key, pinhole, packet, now);
    if pinhole.latch != 0 && !reason.is_drop() {
        return None;
    }
    Some(Verdict { path: path(pinhole.flags), ..Verdict::of(reason) })
}

/// Whether a pinhole admits a packet of its stream; what it measures of it is noted.
#[inline(always)]
fn admits<T: Tables + ?Sized>(
    tables: &T,
    key: &PinholeKey,
    pinhole: &Pinhole,
    packet: &Packet,
    now: u64,
) -> Reason {
    let reason = through(tables, key, pinhole, &packet.source, packet.source_port, now);
    if reason != Reason::PassPinhole {
        return reason;
    }
    let one = pinhole.flags & (flags::STUN | flags::FURTHER) == 0;
    let locks = pinhole.latch != 0
        || (pinhole.port == 0 && one && !Place::unpack(tables.load(&pinhole.place)).shared);
    let known = if locks { tables.load(&pinhole.learnt) } else { 0 };
    let mut learns = false;
    let mut misfit = 0;
    if locks {
        match learnt_port(known) {
            None if pinhole.latch != 0 && now > pinhole.latch => return Reason::PinholeExpired,
            None if pinhole.latch != 0 && !packet.is_rtp_shaped() => return Reason::NotRtp,
            None => learns = true,
            Some(port) if port == packet.source_port => {}
            // Two senders behind one address are told apart by nothing else: here observing is not enough.
            Some(_) if pinhole.latch != 0 => return Reason::SecondSource,
            Some(_) => misfit = Reason::SecondSource as u8,
        }
    }
    let head = packet.payload_head;
    let udptl = pinhole.kind == Kind::Udptl as u8;
    let control = pinhole.kind == Kind::Rtcp as u8
        || (pinhole.kind == Kind::RtcpMux as u8 && is_rtcp(packet.second_byte()));
    let carries_rtp = pinhole.kind == Kind::Rtp as u8 || pinhole.kind == Kind::RtcpMux as u8;
    let refused = if udptl {
        other(tables, pinhole, packet, now, misfit, || is_udptl(packet), Flow::Stream)
    } else if !carries_rtp && !control {
        other(tables, pinhole, packet, now, misfit, || 0, Flow::Stream)
    } else if head >> 6 != 2 {
        other(tables, pinhole, packet, now, misfit, || beside(packet, pinhole.flags), Flow::Beside)
    } else if control {
        let flow = if carries_rtp { Flow::Beside } else { Flow::Control };
        other(tables, pinhole, packet, now, misfit, || rtcp(packet, pinhole.flags), flow)
    } else {
        rtp(tables, pinhole, packet, now, misfit)
    };
    if refused == 0 {
        if learns {
            tables.store(&pinhole.learnt, learns_port(known, packet.source_port));
        }
        return Reason::PassPinhole;
    }
    let (count, upper) = halves(tables.load(&pinhole.refusals));
    let upper = upper & 0x00ff_ffff | (refused as u32) << 24;
    tables.store(&pinhole.refusals, word(count.wrapping_add(1), upper));
    if pinhole.flags & flags::ENFORCE == 0 {
        return Reason::PassObserved;
    }
    match Reason::from_u8(refused) {
        Some(reason) => reason,
        None => Reason::NotRtp,
    }
}

/// [`path`] of what a pinhole with these flags admits.
#[inline(always)]
pub(super) const fn path(terms: u16) -> u8 {
    let fast = if terms & flags::FAST != 0 { path::FAST } else { 0 };
    let remark = if terms & flags::REMARK != 0 { path::REMARK } else { 0 };
    fast | remark | ((terms >> flags::DSCP) as u8) << path::DSCP
}

/// Notes the first packet of a flow that a pinhole has admitted.
#[inline(always)]
pub(super) fn began<T: Tables + ?Sized>(tables: &T, pinhole: &Pinhole, packet: &Packet, now: u64) {
    let (packets, due) = halves(tables.load(&pinhole.load));
    if packets == 0 {
        tables.store(&pinhole.first, now);
    }
    tables.store(&pinhole.last_seen, now);
    tables.store(&pinhole.load, word(packets.wrapping_add(1), due));
    count_bytes(tables, pinhole, packet.length as u64, 0);
}

/// Whether a pinhole is open to this sender.
#[inline(always)]
pub(super) fn through<T: Tables + ?Sized>(
    tables: &T,
    key: &PinholeKey,
    pinhole: &Pinhole,
    from: &Addr,
    port: u16,
    now: u64,
) -> Reason {
    let silent = now.saturating_sub(tables.load(&pinhole.last_seen));
    if now >= pinhole.expires || silent > pinhole.idle as u64 * 1_000_000 {
        return Reason::PinholeExpired;
    }
    if pinhole.from == *from && (pinhole.port == 0 || pinhole.port == port) {
        return Reason::PassPinhole;
    }
    if pinhole.flags & flags::FURTHER != 0
        && let Some(further) = tables.further_senders(key)
    {
        for sender in further {
            if sender.from == *from && (sender.port == 0 || sender.port == port) {
                return Reason::PassPinhole;
            }
        }
    }
    Reason::PinholeSender
}

/// What a packet that is no RTP counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The pinhole's own stream, of which nothing but the rate is known.
    Stream,
    /// The pinhole's own, and RTCP.
    Control,
    /// Beside the RTP: it does not keep the pinhole open.
    Beside,
}

/// A packet that is no RTP: 0, or why it is refused.
#[inline(always)]
fn other<T: Tables + ?Sized>(
    tables: &T,
    pinhole: &Pinhole,
    packet: &Packet,
    now: u64,
    misfit: u8,
    misfits: impl FnOnce() -> u8,
    flow: Flow,
) -> u8 {
    let enforce = pinhole.flags & flags::ENFORCE != 0;
    let bytes = packet.length as u64;
    let mut misfit = if misfit != 0 { misfit } else { misfits() };
    if misfit != 0 && enforce {
        return misfit;
    }
    let (packets, due) = halves(tables.load(&pinhole.load));
    let (others, control_due) = halves(tables.load(&pinhole.control));
    let (mut new_due, mut new_control) = (due, control_due);
    let at = tables.precise(now);
    if flow == Flow::Stream {
        match paid(pinhole, tables.load(&pinhole.last_seen), due, at, bytes) {
            Some(due) => new_due = due,
            None => misfit = Reason::MediaRate as u8,
        }
    } else {
        let unit = CONTROL_UNIT;
        let cost = pinhole.ceiling.control_cost(bytes);
        match limit::conform(&CONTROL_RATE, due_at(control_due, at, unit), at, cost) {
            Some(due) => new_control = (due / unit) as u32,
            None => misfit = Reason::MediaRate as u8,
        }
    }
    if misfit != 0 && enforce {
        return misfit;
    }
    let place = Place::unpack(tables.load(&pinhole.place));
    tables.store(&pinhole.load, word(packets.wrapping_add(1), new_due));
    let others = if flow == Flow::Stream { others } else { others.wrapping_add(1) };
    tables.store(&pinhole.control, word(others, new_control));
    count_bytes(tables, pinhole, bytes, 0);
    if flow != Flow::Beside {
        tables.store(&pinhole.last_seen, at);
    }
    note_first(tables, pinhole, packet, place, at);
    let dscp = packet.traffic_class >> 2;
    if !place.heard || place.dscp != dscp {
        tables.store(&pinhole.place, Place { heard: true, dscp, ..place }.pack());
    }
    misfit
}

/// A packet of RTP: 0, or why it is refused.
#[inline(always)]
fn rtp<T: Tables + ?Sized>(tables: &T, pinhole: &Pinhole, packet: &Packet, now: u64, misfit: u8) -> u8 {
    let enforce = pinhole.flags & flags::ENFORCE != 0;
    let secure = pinhole.flags & flags::SECURE != 0;
    let payload_type = packet.second_byte() & 0x7f;
    let types = pinhole.payload_types;
    let known = types[0] | types[1] != 0;
    let agreed = types[(payload_type >> 6) as usize & 1] >> (payload_type & 63) & 1 != 0;
    let unfit = if secure { faults::HEADER } else { faults::HEADER | faults::PADDING };
    let mut misfit = misfit;
    if misfit != 0 {
    } else if packet.payload_length < 12 || packet.rtp_faults & unfit != 0 {
        misfit = Reason::RtpHeader as u8;
    } else if known && !agreed {
        misfit = Reason::PayloadType as u8;
    }
    if misfit != 0 && enforce {
        return misfit;
    }

    let seen = tables.load(&pinhole.last_seen);
    let place = Place::unpack(tables.load(&pinhole.place));
    let at = tables.precise(now);
    let silence = at.saturating_sub(seen);
    let sequence = u32::from_be(packet.payload_start[0]) as u16;
    let timestamp = u32::from_be(packet.payload_start[1]);
    let ssrc = u32::from_be(packet.payload_start[2]);
    let ahead = sequence.wrapping_sub(place.sequence);
    let late = ahead.wrapping_neg() <= media::MAX_MISORDER && ahead != 0;
    let near = late || ahead < media::MAX_DROPOUT;
    let mut follows = place.locked && place.ssrc == ssrc && near;
    if pinhole.flags & flags::SSRC != 0 && place.ssrc != ssrc {
        misfit = if misfit != 0 { misfit } else { Reason::Ssrc as u8 };
    } else if place.locked && !follows && silence < RENEWAL && misfit == 0 {
        misfit = if place.ssrc == ssrc { Reason::RtpSequence } else { Reason::Ssrc } as u8;
    }
    let bytes = packet.length as u64;
    let (packets, due) = halves(tables.load(&pinhole.load));
    let mut new_due = due;
    match paid(pinhole, seen, due, at, bytes) {
        Some(due) => new_due = due,
        None if misfit == 0 => misfit = Reason::MediaRate as u8,
        None => {}
    }
    if misfit != 0 && enforce {
        return misfit;
    }

    // Nothing is measured against a packet of which nothing can be believed.
    let broken = misfit == Reason::RtpHeader as u8;
    follows &= !broken;
    let mut new = place;
    if follows {
        let (window, highest) = (tables.load(&pinhole.window), place.sequence);
        if late || ahead == 0 {
            let behind = highest.wrapping_sub(sequence) as u64;
            if behind < 64 && window >> behind & 1 != 0 {
                let refusals = tables.load(&pinhole.refusals);
                tables.store(&pinhole.refusals, counted_again(refusals));
            } else {
                if behind < 64 {
                    tables.store(&pinhole.window, window | 1 << behind);
                }
                let (lost, disordered) = halves(tables.load(&pinhole.faults));
                tables.store(&pinhole.faults, word(lost.saturating_sub(1), disordered.wrapping_add(1)));
            }
        } else {
            let window = if ahead < 64 { window << ahead | 1 } else { 1 };
            tables.store(&pinhole.window, window);
            new.sequence = sequence;
            if ahead > 1 {
                let (lost, disordered) = halves(tables.load(&pinhole.faults));
                tables.store(&pinhole.faults, word(lost.wrapping_add(ahead as u32 - 1), disordered));
            }
        }
        let (before, jitter) = halves(tables.load(&pinhole.timing));
        let elapsed = if silence >> media::PACE_BITS == 0 { silence } else { 1 << media::PACE_BITS };
        let (pace, _) = halves(tables.load(&pinhole.paths));
        let elapsed = (elapsed * pace as u64) >> media::PACE_BITS;
        // What the timestamps say has passed, in sixteenths too: perhaps less than nothing.
        let sent = ((timestamp.wrapping_sub(before) as i32 as i64) << 4) as u64;
        let skew = elapsed.wrapping_sub(sent);
        let skew = if (skew as i64) < 0 { skew.wrapping_neg() } else { skew };
        let jitter = if pace == 0 { 0 } else { media::jitter(jitter, skew) };
        tables.store(&pinhole.timing, word(timestamp, jitter));
    } else if !broken && !place.shared {
        new = Place { ssrc, sequence, locked: true, ..place };
        tables.store(&pinhole.window, 1);
        let (_, jitter) = halves(tables.load(&pinhole.timing));
        tables.store(&pinhole.timing, word(timestamp, jitter));
    }
    note_first(tables, pinhole, packet, place, at);
    new.heard = true;
    new.dscp = packet.traffic_class >> 2;
    tables.store(&pinhole.place, new.pack());
    tables.store(&pinhole.load, word(packets.wrapping_add(1), new_due));
    count_bytes(tables, pinhole, bytes, if place.locked { silence >> GAP_SHIFT } else { 0 });
    tables.store(&pinhole.last_seen, at);
    misfit
}

/// One more packet that came again: the middle 24 bits of [`Pinhole::refusals`].
#[inline(always)]
const fn counted_again(refusals: u64) -> u64 {
    let again = (refusals >> 32).wrapping_add(1) & 0x00ff_ffff;
    refusals & 0xff00_0000_ffff_ffff | again << 32
}

/// When the next packet is due, of a stream that pays for this one; `None` where it is above its ceiling.
#[inline(always)]
fn paid(pinhole: &Pinhole, seen: u64, due: u32, at: u64, bytes: u64) -> Option<u32> {
    let idle = at.saturating_sub(seen) > EMPTY_AFTER;
    let arrival = if idle { at } else { due_at(due, at, Ceiling::UNIT) };
    let due = limit::conform(&RATE, arrival, at, pinhole.ceiling.cost(bytes))?;
    Some((due / Ceiling::UNIT) as u32)
}

/// The time of those that end in so many units which is ahead of `at`, in ns; `at` itself where none is, within
/// [`EMPTY_AFTER`]. Nothing is ever due later: what seems to be is what was due when the count of units last went round,
/// or before the first packet.
#[inline(always)]
fn due_at(due: u32, at: u64, unit: u64) -> u64 {
    let ahead = due.wrapping_sub((at / unit) as u32) as u64 * unit;
    if ahead > EMPTY_AFTER { at } else { at + ahead }
}

#[inline(always)]
fn count_bytes<T: Tables + ?Sized>(tables: &T, pinhole: &Pinhole, bytes: u64, gap: u64) {
    let old = tables.load(&pinhole.bytes);
    let sum = old.wrapping_add(bytes) & ((1 << media::BYTES_BITS) - 1);
    let gap = if gap > 0xffff { 0xffff } else { gap };
    let longest = old >> media::BYTES_BITS;
    let longest = if gap > longest { gap } else { longest };
    tables.store(&pinhole.bytes, sum | longest << media::BYTES_BITS);
}

#[inline(always)]
fn note_first<T: Tables + ?Sized>(tables: &T, pinhole: &Pinhole, packet: &Packet, place: Place, at: u64) {
    let dscp = packet.traffic_class >> 2;
    if !place.heard {
        tables.store(&pinhole.first, at);
    }
    if !place.heard || place.dscp != dscp {
        let seen = tables.load(&pinhole.dscps);
        tables.store(&pinhole.dscps, seen | 1 << dscp);
    }
}

/// What is beside RTP and is not of its version: 0, or why it is refused (RFC 7983 section 7).
#[inline(always)]
fn beside(packet: &Packet, announced: u16) -> u8 {
    let head = packet.payload_head;
    let (flag, is) = if packet.payload_length < 12 {
        (0, false)
    } else if head < 4 {
        (flags::STUN, packet.payload_start[1] == STUN_COOKIE && packet.payload_length >= 20)
    } else if matches!(head, 20..=63) {
        (flags::DTLS, packet.payload_length >= 13)
    } else if matches!(head, 16..=19) {
        (flags::ZRTP, packet.payload_start[1] == ZRTP_COOKIE)
    } else {
        (0, false)
    };
    if !is {
        Reason::NotRtp as u8
    } else if announced & flag == 0 {
        Reason::NotAnnounced as u8
    } else {
        0
    }
}

/// RTCP: 0, or why it is refused (RFC 3550 section 6.1; encrypted, no more than the first header can be read).
#[inline(always)]
fn rtcp(packet: &Packet, terms: u16) -> u8 {
    let secure = terms & flags::SECURE != 0;
    let found = packet.rtp_faults;
    let length = if secure { faults::FIRST_LENGTH } else { faults::LENGTH };
    let unknown = if secure { faults::FIRST_TYPE } else { faults::TYPE };
    if !is_rtcp(packet.second_byte()) || found & unknown != 0 {
        Reason::RtcpType as u8
    } else if terms & flags::REDUCED_RTCP == 0 && found & faults::NO_REPORT != 0 {
        Reason::RtcpCompound as u8
    } else if packet.fragment != Fragment::Whole || found & length != 0 {
        Reason::RtcpLength as u8
    } else {
        0
    }
}

/// UDPTL: 0, or why it is refused. A sequence number, a first packet with its length, something for the correction of
/// errors behind it (T.38 section 9.1).
#[inline(always)]
fn is_udptl(packet: &Packet) -> u8 {
    let bytes = packet.payload_start[0].to_ne_bytes();
    let length = packet.payload_length;
    let (header, primary) = match bytes[2] {
        short if short < 0x80 => (3, short as u16),
        long if long < 0xc0 => (4, ((long & 0x3f) as u16) << 8 | bytes[3] as u16),
        _ => (4, u16::MAX / 2),
    };
    if primary == 0 || header + primary + 2 > length { Reason::NotUdptl as u8 } else { 0 }
}
