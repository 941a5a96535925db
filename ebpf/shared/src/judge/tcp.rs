//! TCP connections: handshake, windows, and which segments may end one.
//!
//! What each end is ready to receive ([`Edge`]) is learnt from its acknowledgments. A reset is believed, and let by,
//! only if the other end could take it (RFC 9293 section 3.10.7.4, RFC 5961 section 3); a FIN outside the window
//! passes, as any old segment does, but ends nothing. A connection that was picked up in mid-stream has no known
//! scale: its windows are taken at their widest.

use crate::flow::{Edge, Flow, Side, Standing, state};
use crate::judge::{Tables, tcp_bits};
use crate::packet::{NO_SCALE, Packet};

/// What a segment does to its connection.
pub(super) enum Step {
    /// It goes on, in this state.
    Goes(u32, Event),
    /// The segment does not fit.
    Misfit,
}

/// What others want to know of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    None,
    /// The originator has completed the handshake; whether the connection had been counted as half-open.
    Completed(bool),
    /// A half-open connection was reset.
    Broken,
}

/// Window of an end that has not announced one yet: the widest without a scale.
const UNSCALED: u32 = 65_535;
/// The largest scale there is (RFC 7323 section 2.3).
const WIDEST: u32 = 14;
const SCALES: u32 = 0xf << Standing::SCALE[0] | 0xf << Standing::SCALE[1];

/// A segment of a known connection in state `old`.
#[inline(always)]
pub(super) fn step<T: Tables>(tables: &T, packet: &Packet, flow: &Flow, side: Side, old: u32) -> Step {
    let by_originator = side as u8 == flow.originator;
    let (mine, theirs, scale, other_scale) = match side {
        Side::Low => (&flow.edges[0], &flow.edges[1], Standing::SCALE[0], Standing::SCALE[1]),
        Side::High => (&flow.edges[1], &flow.edges[0], Standing::SCALE[1], Standing::SCALE[0]),
    };
    let own_word = tables.load(mine);
    let own = Edge::unpack(own_word);
    let peer = Edge::unpack(tables.load(theirs));
    let bits = packet.tcp_flags;

    if bits & tcp_bits::RST != 0 {
        let refuses_syn = !by_originator && old & (state::SYN | state::REPLIED) == state::SYN;
        let believed = if refuses_syn {
            bits & tcp_bits::ACK != 0 && takes(own, packet.acknowledgment)
        } else {
            takes(peer, packet.sequence)
        };
        if !believed {
            return Step::Misfit;
        }
        let event = if old & state::HALF_OPEN != 0 { Event::Broken } else { Event::None };
        return Step::Goes((old | state::RESET) & !state::HALF_OPEN, event);
    }

    if bits & tcp_bits::SYN != 0 {
        let offered = offered_scale(packet);
        let answers = bits & tcp_bits::ACK != 0;
        if by_originator && !answers && old & state::REPLIED == 0 {
            tables.store(theirs, opened_by(packet));
            return Step::Goes(old & !SCALES | offered << scale, Event::None);
        }
        if !by_originator && answers && old & (state::SYN | state::ESTABLISHED) == state::SYN {
            if !takes(own, packet.acknowledgment) {
                return Step::Misfit;
            }
            tables.store(theirs, opened_by(packet));
            tables.store(
                mine,
                Edge { next: packet.acknowledgment, window: packet.window.max(1) as u32 }.pack(),
            );
            let first = old >> other_scale & 0xf;
            let scales =
                if first > WIDEST || offered > WIDEST { 0 } else { first << other_scale | offered << scale };
            return Step::Goes(old & !SCALES | scales | state::SCALED | state::REPLIED, Event::None);
        }
        // A repeated opening, or both ends at once: they know what to make of it.
        return Step::Goes(if by_originator { old } else { old | state::REPLIED }, Event::None);
    }

    let fits = near(peer, packet.sequence);
    let mut new = if by_originator { old } else { old | state::REPLIED };
    let mut event = Event::None;
    if fits && bits & tcp_bits::FIN != 0 {
        new |= if by_originator { state::FIN_ORIGINATOR } else { state::FIN_RESPONDER };
    }
    if fits && bits & tcp_bits::ACK != 0 {
        if by_originator && old & (state::REPLIED | state::ESTABLISHED) == state::REPLIED {
            new = (new | state::ESTABLISHED) & !state::HALF_OPEN;
            if old & state::SYN != 0 {
                event = Event::Completed(old & state::HALF_OPEN != 0);
            }
        }
        let shift = if old & state::SCALED != 0 { (old >> scale & 0xf).min(WIDEST) } else { WIDEST };
        let word = advanced(own, packet, shift).pack();
        if word != own_word {
            tables.store(mine, word);
        }
    }
    Step::Goes(new, event)
}

/// State and edges of a connection whose first segment is this.
#[inline(always)]
pub(super) fn first(packet: &Packet, side: Side) -> (u32, [u64; 2]) {
    // Chosen, not indexed: the verifier does not follow a place on the stack that depends on a value.
    let low = matches!(side, Side::Low);
    let of_side = |value: u64| if low { [value, 0] } else { [0, value] };
    let of_other = |value: u64| if low { [0, value] } else { [value, 0] };
    if packet.tcp_flags & tcp_bits::SYN != 0 {
        let scale = if low { Standing::SCALE[0] } else { Standing::SCALE[1] };
        return (state::SYN | offered_scale(packet) << scale, of_other(opened_by(packet)));
    }
    let edges = of_side(advanced(Edge::default(), packet, WIDEST).pack());
    let state = if packet.tcp_flags & tcp_bits::FIN != 0 {
        // The end of a connection nobody knows: not to be kept as long as one that lives.
        state::REPLIED | state::FIN_ORIGINATOR
    } else {
        // Picked up in mid-stream.
        state::ESTABLISHED | state::REPLIED
    };
    (state, edges)
}

/// What the receiver of a SYN is ready for.
#[inline(always)]
fn opened_by(packet: &Packet) -> u64 {
    Edge { next: packet.sequence.wrapping_add(1), window: UNSCALED }.pack()
}

/// The scale a SYN offers; one beyond the widest where it offers none.
#[inline(always)]
fn offered_scale(packet: &Packet) -> u32 {
    match packet.window_scale {
        NO_SCALE => WIDEST + 1,
        scale if scale as u32 > WIDEST => WIDEST,
        scale => scale as u32,
    }
}

/// Whether an end would take a reset (or an acknowledgment of its opening) with this number.
#[inline(always)]
fn takes(edge: Edge, sequence: u32) -> bool {
    edge.window == 0 || sequence.wrapping_sub(edge.next) <= edge.window
}

/// Whether a segment lies in the window or not further before it than a window: it may be an old one.
#[inline(always)]
fn near(edge: Edge, sequence: u32) -> bool {
    let window = if edge.window > UNSCALED { edge.window } else { UNSCALED };
    edge.window == 0 || sequence.wrapping_sub(edge.next).wrapping_add(window) <= 2 * window
}

/// An end's edge after a segment it has sent. What it acknowledges lies within what it had room for.
#[inline(always)]
fn advanced(own: Edge, packet: &Packet, shift: u32) -> Edge {
    let room = (packet.window as u32) << shift;
    let window = if room == 0 { 1 } else { room };
    if own.window == 0 || packet.acknowledgment.wrapping_sub(own.next) <= own.window {
        Edge { next: packet.acknowledgment, window }
    } else {
        own
    }
}
