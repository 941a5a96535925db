//! TCP streams of signalling: segments in, whole messages out, once each and in order.
//!
//! Owns the connections that are being read. A segment may go on once every complete message that ends in it
//! has been read: the far end cannot act on less. What it guarantees:
//!
//! - Bytes that are sent again must be the bytes that were sent first (nobody reads one thing here and
//!   another there): every byte is kept until the far end has acknowledged it.
//! - A segment beyond a gap goes on, the far end cannot read past the gap either, and is remembered.
//! - Memory is bounded per direction and in total; what finds no room is dropped, and the sender tries again
//!   when there is some.
//! - A refused message that others on its connection must not suffer from may be replaced by one of the same length,
//!   where no octet of it has gone on before: then, and whenever it is sent again.
//! - After any other refused message nothing of that direction goes on; after one that was refused in the protocol's own
//!   words, nothing of the other one either, as both ends have been told that the connection is over.
//!
//! A connection whose handshake was not seen is picked up at the first segment that begins like a message.
//! What comes before that passes in the first minute (the daemon was restarted, its connections were not) and
//! is dropped later on. Until the receiver has acknowledged where reading began, nobody but the sender vouches
//! for it: then nothing out of order goes on either. A reset is believed, but does not make the state be
//! forgotten: it may never have reached the far end.
//!
//! Checksums and the receive window are left to the two ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use callgate_protocols::sccp;
use callgate_protocols::sip;
use callgate_protocols::tpkt;
use callgate_shared::Reason;

use crate::action::{Denial, Replacement, Time, Verdict};

/// Pieces of one direction between which bytes are missing.
const MAX_PIECES: usize = 32;
/// How long after the first segment of all mid-stream connections are taken as they come.
const GRACE: Duration = Duration::from_secs(60);
/// How long a connection is kept after both ends have closed it: its last segments may be sent again.
const CLOSING: Duration = Duration::from_secs(10);
/// Silence after which a connection is forgotten: the kernel half's default for TCP flows.
pub(crate) const SILENT: Duration = Duration::from_secs(7_200);

/// Flag bits of a TCP header (RFC 9293 section 3.1).
pub mod flag {
    /// The sender is done.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// The connection is no more.
    pub const RST: u8 = 4;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
}

/// A TCP segment's header, as the stream needs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// Sequence number of the first payload byte (of the SYN where set).
    pub sequence: u32,
    /// Acknowledgement number; counts where [`flag::ACK`] is set.
    pub acknowledgement: u32,
    /// Flag bits as in the header's byte 13.
    pub flags: u8,
}

impl Segment {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// How messages are told apart in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// H.225 and H.245: a TPKT each (RFC 1006). Its payload is the message; empty ones keep alive.
    Tpkt,
    /// SIP: by Content-Length (RFC 3261 section 18.3).
    Sip,
    /// SCCP: by the length in its header, which is part of the message.
    Sccp,
}

/// The beginning of a stream.
enum Frame {
    /// So many bytes, of which those in the range are the message.
    Message(usize, Range<usize>),
    /// So many bytes that say nothing.
    Skip(usize),
    /// More is needed.
    Incomplete,
    /// Not a message.
    Malformed,
}

impl Framing {
    fn first(self, bytes: &[u8]) -> Frame {
        match self {
            Self::Tpkt => match tpkt::length(bytes) {
                Ok(Some(tpkt::HEADER)) => Frame::Skip(tpkt::HEADER),
                Ok(Some(length)) if bytes.len() >= length => Frame::Message(length, tpkt::HEADER..length),
                Ok(_) => Frame::Incomplete,
                Err(_) => Frame::Malformed,
            },
            Self::Sip => match sip::frame_length(bytes) {
                sip::Framing::Message(length) => Frame::Message(length, 0..length),
                sip::Framing::KeepAlive(length) => Frame::Skip(length),
                sip::Framing::Incomplete => Frame::Incomplete,
                sip::Framing::Invalid(_) => Frame::Malformed,
            },
            Self::Sccp => match sccp::frame_length(bytes) {
                Ok(Some(length)) if bytes.len() >= length => Frame::Message(length, 0..length),
                Ok(_) => Frame::Incomplete,
                Err(_) => Frame::Malformed,
            },
        }
    }

    /// Whether a segment seen in mid-stream can begin a message. Rather too often than too rarely: a wrong
    /// guess is found out, a message that is not taken for one is never read.
    fn begins(self, payload: &[u8]) -> bool {
        match self {
            Self::Tpkt => tpkt::length(payload).is_ok(),
            Self::Sccp => {
                let id =
                    payload.get(8..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_le_bytes);
                sccp::frame_length(payload).is_ok() && id.is_none_or(|id| sccp::known(id, 0x0fff))
            }
            Self::Sip => {
                let line = payload.split(|byte| *byte == b'\n').next().unwrap_or(payload);
                line.windows(8).any(|word| word.eq_ignore_ascii_case(b" SIP/2.0"))
                    || line.get(..8).is_some_and(|word| word.eq_ignore_ascii_case(b"SIP/2.0 "))
            }
        }
    }
}

/// Bounds of the streams' memory.
#[derive(Clone, Copy, Debug)]
pub struct StreamBounds {
    /// Connections.
    pub connections: usize,
    /// Bytes kept of one direction: those not acknowledged, and those of an incomplete message.
    pub direction: usize,
    /// Bytes kept of all connections. What stands in for refused messages comes on top: never more than those.
    pub total: usize,
}

impl Default for StreamBounds {
    fn default() -> Self {
        Self { connections: 100_000, direction: 64 * 1024, total: 64 * 1024 * 1024 }
    }
}

/// How a connection ended, as far as its sender is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It has sent FIN.
    Fin,
    /// It has sent RST.
    Reset,
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is to be done with it.
    pub verdict: Verdict,
    /// Its sender has closed the connection with it.
    pub closing: Option<Closing>,
}

/// All connections that are being read.
#[derive(Debug)]
pub struct Streams {
    connections: HashMap<(SocketAddr, SocketAddr), Connection>,
    bounds: StreamBounds,
    /// Bytes kept of all connections.
    kept: usize,
    /// When the first segment came.
    first: Option<Time>,
    /// When room was made last.
    cleared: Time,
}

#[derive(Debug)]
struct Connection {
    /// By sender: the lesser address first.
    directions: [Direction; 2],
    last: Time,
    /// The end that has answered the handshake; `None` where that was not seen.
    server: Option<usize>,
    /// Both ends have closed it.
    over: bool,
    /// One end has reset it.
    reset: bool,
    /// Both ends were told that it is over, for this reason.
    refused: Option<Reason>,
}

/// One direction of a connection. Offsets count from `base`.
#[derive(Debug, Default)]
struct Direction {
    start: Start,
    /// Sequence number of the first byte kept.
    base: u32,
    /// Bytes from there on; only those in `pieces` are known.
    bytes: Vec<u8>,
    /// What is known of `bytes`: in order, neither empty nor touching.
    pieces: Vec<Range<usize>>,
    /// Up to where messages have been read.
    read: usize,
    /// The far end itself has said that it has read up to `base`, or beyond.
    acknowledged: bool,
    /// A SYN of this sequence number would begin the connection anew, if the other end agrees.
    reopening: Option<u32>,
    /// What the far end reads instead of refused messages, in order: no more than `bytes` has.
    patches: Vec<(usize, Vec<u8>)>,
    /// What was said of a message that was refused, and what its segment acknowledged.
    refused: Option<(Verdict, u32)>,
    closed: bool,
}

/// Where reading began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Start {
    /// Not yet.
    #[default]
    Unknown,
    /// At the handshake.
    Handshake,
    /// At a message somewhere in the stream.
    Midstream,
}

impl Streams {
    /// No connections.
    pub fn new(bounds: StreamBounds) -> Self {
        Self { connections: HashMap::new(), bounds, kept: 0, first: None, cleared: Time::default() }
    }

    /// How many connections are known.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Bytes kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Whom the connection between two addresses was made to; `None` where its handshake was not seen.
    pub fn server(&self, (source, destination): (SocketAddr, SocketAddr)) -> Option<SocketAddr> {
        let ends = [source.min(destination), source.max(destination)];
        Some(ends[self.connections.get(&(ends[0], ends[1]))?.server?])
    }

    /// Takes a segment and hands each message it completes to `read`.
    pub fn segment(
        &mut self,
        now: Time,
        (source, destination): (SocketAddr, SocketAddr),
        framing: Framing,
        segment: Segment,
        payload: &[u8],
        read: impl FnMut(&[u8]) -> Verdict,
    ) -> Outcome {
        let side = usize::from(source > destination);
        let key = if side == 0 { (source, destination) } else { (destination, source) };
        let pass = Outcome { verdict: Verdict::Pass, closing: None };
        let drop = |reason| Outcome { verdict: Verdict::Drop(reason), closing: None };

        // A byte marked urgent is taken out of the stream by the far end, but not here; data with a SYN is
        // read by the far end before the handshake has told where the stream begins. Signalling uses neither.
        if !payload.is_empty() && (segment.has(flag::URG) || segment.has(flag::SYN)) {
            return drop(Reason::AlgRefused);
        }
        let lenient = now.since(*self.first.get_or_insert(now)) <= GRACE;
        if !self.connections.contains_key(&key) {
            let opens = segment.has(flag::SYN) && segment.has(flag::ACK);
            if payload.is_empty() && !opens {
                // A lone SYN leaves no trace: the answer to it has all that must be known.
                return pass;
            }
            if self.connections.len() >= self.bounds.connections && !self.make_room(now) {
                return drop(Reason::AlgMemory);
            }
        }
        let connection = self.connections.entry(key).or_insert_with(|| Connection {
            directions: Default::default(),
            last: now,
            server: None,
            over: false,
            reset: false,
            refused: None,
        });
        connection.last = now;
        if segment.has(flag::SYN) {
            self.kept -= connection.handshake(side, segment);
            return pass;
        }
        if segment.has(flag::RST) {
            // Anybody can forge a reset; the two ends believe it only at the right place, and so do we.
            let believed = connection.directions[side].expects(segment.sequence) && !connection.reset;
            connection.reset |= believed;
            return Outcome { closing: believed.then_some(Closing::Reset), ..pass };
        }
        if let Some(reason) = connection.refused
            && (payload.is_empty() || connection.directions[side].refused.is_none())
        {
            // Whoever says more, or closes in turn, is told once more; an acknowledgement would be answered by a
            // reset from the far end, which could overtake the refusal.
            return match payload {
                [] if !segment.has(flag::FIN) => drop(reason),
                _ => Outcome { verdict: Verdict::Reset(reason), closing: None },
            };
        }
        if segment.has(flag::ACK) {
            self.kept -= connection.directions[1 - side].acknowledge(segment.acknowledgement);
        }
        let room = self.bounds.total - self.kept.min(self.bounds.total);
        let answer = connection.directions[1 - side].next();
        let direction = &mut connection.directions[side];
        let before = direction.bytes.len();
        let verdict = match payload {
            [] => Verdict::Pass,
            _ => {
                let limits = Limits { bound: self.bounds.direction, room, lenient };
                direction.take(framing, segment, payload, limits, read)
            }
        };
        let verdict = match verdict {
            Verdict::Refuse(denial) => {
                connection.refused = Some(denial.reason);
                Denial { sequence: answer.filter(|next| *next != segment.acknowledgement), ..*denial }.into()
            }
            other => other,
        };
        self.kept = self.kept + direction.bytes.len() - before;
        let end = segment.sequence.wrapping_add(payload.len() as u32);
        let closes = segment.has(flag::FIN)
            && !direction.closed
            && direction.expects(end)
            && verdict.reason().is_none();
        if closes {
            direction.closed = true;
            connection.over = connection.directions.iter().all(|direction| direction.closed);
        }
        let closing = closes.then_some(Closing::Fin);
        Outcome { verdict, closing }
    }

    /// Ends a connection for this reason: its ends, which are told so at once, count from the numbers given, by end. What
    /// comes after is refused.
    ///
    /// `None` where that cannot be done: it is not known, not from its handshake on, over already, or an end is in the
    /// midst of a message, so that whatever it is told would be read as the rest of it.
    pub fn end(&mut self, ends: [SocketAddr; 2], reason: Reason) -> Option<[u32; 2]> {
        let side = usize::from(ends[0] > ends[1]);
        let key = if side == 0 { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
        let connection = self.connections.get_mut(&key)?;
        let between = |direction: &Direction| {
            direction.start == Start::Handshake
                && direction.refused.is_none()
                && !direction.closed
                && direction.pieces.len() <= 1
                && direction.read == direction.whole()
        };
        if connection.over || connection.reset || connection.refused.is_some() {
            return None;
        }
        if !connection.directions.iter().all(between) {
            return None;
        }
        let next = |side: usize| connection.directions[side].next();
        let numbers = [next(side)?, next(1 - side)?];
        connection.refused = Some(reason);
        Some(numbers)
    }

    /// Forgets connections that are over or have long been silent. To be called about every second.
    pub fn tick(&mut self, now: Time) {
        let kept = &mut self.kept;
        self.connections.retain(|_, connection| {
            let stays = now.since(connection.last) <= if connection.over { CLOSING } else { SILENT };
            if !stays {
                *kept -= connection.kept();
            }
            stays
        });
    }
}

impl Streams {
    /// Forgets connections that were reset, at most once a second; whether there is room now.
    fn make_room(&mut self, now: Time) -> bool {
        if now.since(self.cleared) >= Duration::from_secs(1) {
            self.cleared = now;
            let kept = &mut self.kept;
            self.connections.retain(|_, connection| {
                if connection.reset {
                    *kept -= connection.kept();
                }
                !connection.reset
            });
        }
        self.connections.len() < self.bounds.connections
    }
}

/// What holds for one segment.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Bytes that may be kept of the direction.
    bound: usize,
    /// Bytes that may be kept besides, of all.
    room: usize,
    /// Mid-stream connections are taken as they come.
    lenient: bool,
}

impl Connection {
    fn kept(&self) -> usize {
        self.directions.iter().map(|direction| direction.bytes.len()).sum()
    }

    /// A SYN of `side`; gives the number of bytes let go.
    ///
    /// One end alone cannot begin a connection anew, else it could lead the reader away from where the other
    /// end is reading: it takes a SYN of one and an answer of the other that acknowledges it.
    fn handshake(&mut self, side: usize, segment: Segment) -> usize {
        let first = segment.sequence.wrapping_add(1);
        if !segment.has(flag::ACK) {
            self.directions[side].reopening = Some(first);
            return 0;
        }
        let fresh = self.directions.iter().all(|direction| direction.start != Start::Handshake);
        let agreed = self.directions[1 - side].reopening == Some(segment.acknowledgement);
        if !fresh && !agreed {
            return 0;
        }
        let gone = self.kept();
        self.directions[side] = Direction::beginning(first);
        self.directions[1 - side] =
            Direction { acknowledged: true, ..Direction::beginning(segment.acknowledgement) };
        (self.over, self.reset, self.refused) = (false, false, None);
        self.server = Some(side);
        gone
    }
}

impl Direction {
    fn beginning(base: u32) -> Self {
        Self { start: Start::Handshake, base, ..Self::default() }
    }

    /// Up to where bytes are known without a gap.
    fn whole(&self) -> usize {
        self.pieces.first().filter(|piece| piece.start == 0).map_or(0, |piece| piece.end)
    }

    /// The sequence number of the next byte.
    fn next(&self) -> Option<u32> {
        (self.start != Start::Unknown).then(|| self.base.wrapping_add(self.whole() as u32))
    }

    /// Whether this is the sequence number of the next byte.
    fn expects(&self, sequence: u32) -> bool {
        self.next() == Some(sequence)
    }

    /// The far end has everything before `number`; gives the number of bytes let go.
    fn acknowledge(&mut self, number: u32) -> usize {
        let ahead = number.wrapping_sub(self.base) as i32;
        if self.start == Start::Unknown || ahead < 0 {
            return 0;
        }
        let offset = ahead as usize;
        if offset > self.whole() {
            // It has bytes that never came by here: they cannot come any more.
            return self.lose_track();
        }
        self.acknowledged = true;
        self.forget(offset.min(self.read))
    }

    /// Starts again at the next message that is recognised; gives the number of bytes let go.
    fn lose_track(&mut self) -> usize {
        let gone = self.bytes.len();
        *self = Self {
            closed: self.closed,
            refused: self.refused.take(),
            reopening: self.reopening,
            ..Self::default()
        };
        gone
    }

    /// Lets `count` bytes go that have been read.
    fn forget(&mut self, count: usize) -> usize {
        if count == 0 {
            return 0;
        }
        self.bytes.drain(..count);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        self.base = self.base.wrapping_add(count as u32);
        self.read -= count;
        self.pieces.retain_mut(|piece| {
            *piece = piece.start.saturating_sub(count)..piece.end.saturating_sub(count);
            piece.start < piece.end
        });
        self.patches.retain_mut(|(at, octets)| {
            octets.drain(..octets.len().min(count.saturating_sub(*at)));
            *at = at.saturating_sub(count);
            !octets.is_empty()
        });
        count
    }

    /// The verdict on a segment of which nothing is refused: it goes on, with what stands in for what was.
    fn patched(&self, part: Range<usize>, skipped: usize) -> Verdict {
        let mut patches = Vec::new();
        for (at, octets) in &self.patches {
            let (from, to) = (part.start.max(*at), part.end.min(at + octets.len()));
            if from < to {
                patches.push((skipped + from - part.start, octets[from - at..to - at].to_vec()));
            }
        }
        if patches.is_empty() {
            return Verdict::Pass;
        }
        Verdict::Replace(Box::new(Replacement { patches, otherwise: Box::new(Verdict::Pass) }))
    }

    /// Has another message of the same length stand in for the one at `frame`, if all of it lies in the part of the
    /// stream that goes on for the first time now. Otherwise gives what is to be said of it.
    fn replace(&mut self, frame: Range<usize>, new: &Range<usize>, replacement: Replacement) -> Verdict {
        let whole = new.start <= frame.start && frame.end <= new.end;
        match <[_; 1]>::try_from(replacement.patches) {
            // Of a stream that was picked up on its way the next message may show that this was none.
            Ok([(0, octets)]) if whole && self.start == Start::Handshake && octets.len() == frame.len() => {
                self.patches.push((frame.start, octets));
                Verdict::Pass
            }
            _ => *replacement.otherwise,
        }
    }

    /// Takes a segment's payload and reads the messages it completes.
    fn take(
        &mut self,
        framing: Framing,
        Segment { sequence, acknowledgement, .. }: Segment,
        payload: &[u8],
        limits: Limits,
        mut read: impl FnMut(&[u8]) -> Verdict,
    ) -> Verdict {
        let unreadable = if limits.lenient { Verdict::Pass } else { Verdict::Drop(Reason::AlgMalformed) };
        match &self.refused {
            // The sender has read the refusal and goes on all the same.
            Some((Verdict::Refuse(denial), told)) if *told != acknowledgement => {
                return Verdict::Reset(denial.reason);
            }
            Some((verdict, _)) => return verdict.clone(),
            None => {}
        }
        if self.start == Start::Unknown {
            if !framing.begins(payload) {
                return unreadable;
            }
            (self.start, self.base) = (Start::Midstream, sequence);
        }
        let trusted = self.acknowledged || (limits.lenient && self.start == Start::Midstream);
        if self.start == Start::Midstream
            && self.bytes.len() + payload.len() > limits.bound
            && !self.acknowledged
        {
            // The other direction does not come this way: nothing tells what has arrived.
            self.forget(self.read);
        }
        // Sequence numbers are compared modulo 2^32 (RFC 9293 section 3.4).
        let ahead = sequence.wrapping_sub(self.base) as i32;
        let sent = payload.len();
        let (offset, payload) = if ahead >= 0 {
            (ahead as usize, payload)
        } else {
            let old = ahead.unsigned_abs() as usize;
            // What the far end has read it will not read again.
            if !trusted {
                return Verdict::Drop(Reason::AlgOverlap);
            }
            match payload.get(old..) {
                None | Some([]) => return Verdict::Pass,
                Some(rest) => (0, rest),
            }
        };
        if offset > self.whole() && !trusted {
            return Verdict::Drop(Reason::AlgRefused);
        }
        let end = offset + payload.len();
        // Up to where octets of the segment may have gone on before.
        let seen = self.pieces.iter().filter(|piece| piece.start < end).map(|piece| piece.end).max();
        let fresh = seen.map_or(offset, |seen| seen.max(offset));
        if let Err(reason) = self.insert(offset, payload, limits) {
            return Verdict::Drop(reason);
        }
        loop {
            let whole = self.whole();
            match framing.first(&self.bytes[self.read..whole]) {
                Frame::Incomplete => return self.patched(offset..end, sent - payload.len()),
                Frame::Skip(length) => self.read += length,
                Frame::Message(length, message) => {
                    let frame = self.read..self.read + length;
                    let said = match read(&self.bytes[self.read..][message]) {
                        Verdict::Replace(replacement) => self.replace(frame, &(fresh..end), *replacement),
                        other => other,
                    };
                    let verdict = match said {
                        Verdict::Pass => {
                            self.read += length;
                            continue;
                        }
                        // The far end has a part of the message: whatever it is told would be read as the rest.
                        Verdict::Refuse(denial) if self.read < offset || self.read + length > end => {
                            Denial { notify: None, ..*denial }.into()
                        }
                        other => other,
                    };
                    self.refused = Some((verdict.clone(), acknowledgement));
                    return verdict;
                }
                Frame::Malformed if self.start == Start::Midstream => {
                    // What looked like a message was none.
                    self.lose_track();
                    return unreadable;
                }
                Frame::Malformed => {
                    // Nothing after it can be read: the connection is over, and both ends should know.
                    let verdict = Verdict::Reset(Reason::AlgMalformed);
                    self.refused = Some((verdict.clone(), acknowledgement));
                    return verdict;
                }
            }
        }
    }

    /// Enters bytes at `offset`, which must agree with those that are there.
    fn insert(&mut self, offset: usize, payload: &[u8], limits: Limits) -> Result<(), Reason> {
        let end = offset + payload.len();
        let agrees = self.pieces.iter().all(|piece| {
            let (from, to) = (piece.start.max(offset), piece.end.min(end));
            from >= to || self.bytes[from..to] == payload[from - offset..to - offset]
        });
        if !agrees {
            return Err(Reason::AlgOverlap);
        }
        let apart = |piece: &Range<usize>| piece.end < offset || piece.start > end;
        let pieces = 1 + self.pieces.iter().filter(|piece| apart(piece)).count();
        if end > limits.bound || end.saturating_sub(self.bytes.len()) > limits.room || pieces > MAX_PIECES {
            return Err(Reason::AlgMemory);
        }
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(payload);
        let mut joined = offset..end;
        self.pieces.retain(|piece| {
            let stays = apart(piece);
            if !stays {
                joined = joined.start.min(piece.start)..joined.end.max(piece.end);
            }
            stays
        });
        let place = self.pieces.partition_point(|piece| piece.start < joined.start);
        self.pieces.insert(place, joined);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
