//! Who may begin a conversation, and how many at once: what stands between a flood and the table of flows.
//!
//! Entering a flow is the dearest thing a packet can ask for, and a forged source costs its sender nothing. So
//! strangers share a budget of new flows; known peers have one of their own, and a table of their own. A stranger
//! who opens a TCP connection above the budget is *challenged*: answered by a SYN+ACK whose acknowledgment number
//! is a [`cookie`] instead of the right one. Whoever really has the address resets that "half-open connection of
//! another time" with the cookie as its sequence number (RFC 9293 section 3.5.2, rule 2), is known from then on,
//! and has its next SYN let by. A forger never sees the cookie.

use crate::flow::{Flow, TCP, flags, state};
use crate::judge::{Budget, Tables, tcp, tcp_bits};
use crate::limit::{LimitKey, key};
use crate::packet::Packet;
use crate::policy::{Policy, ZONE_SELF, policy_flags};
use crate::{Addr, Reason};

/// Lets a new flow in, or says why not. Marks the flow with what it was let in as.
#[inline(always)]
pub(super) fn admit<T: Tables>(
    tables: &mut T,
    policy: &Policy,
    packet: &Packet,
    flow: &mut Flow,
    standing: &mut u32,
    now: u64,
) -> Result<(), Reason> {
    let opens = packet.protocol == TCP && *standing & state::SYN != 0;
    let own = flow.zone == ZONE_SELF;
    let known = own || tables.is_peer(&packet.source, now);
    let (budget, rate) =
        if known { (Budget::PeerFlows, &policy.peer_flows) } else { (Budget::NewFlows, &policy.new_flows) };
    if rate.interval != 0 && !tables.afford(budget, rate) {
        let challenged = opens && !known && policy.flags & policy_flags::CHALLENGE != 0;
        return Err(if challenged { Reason::Challenge } else { Reason::NewFlowBudget });
    }
    if known && !own {
        flow.flags |= flags::PEER;
    }
    if opens && !own && (policy.half_open_source.interval | policy.half_open_destination.interval) != 0 {
        let [source, destination] = half_open(&packet.source, &packet.destination);
        let rate = &policy.half_open_source;
        if rate.interval != 0 && !tables.conform(&source, rate, rate.interval) {
            return Err(Reason::HalfOpen);
        }
        let rate = &policy.half_open_destination;
        if !known && rate.interval != 0 && !tables.conform(&destination, rate, rate.interval) {
            return Err(Reason::HalfOpen);
        }
        *standing |= state::HALF_OPEN;
    }
    Ok(())
}

/// An event of a connection.
pub(super) struct Settled {
    /// Its originator has caused it.
    pub(super) by_originator: bool,
    /// What has happened.
    pub(super) event: tcp::Event,
    /// The originator was a known peer when it began.
    pub(super) known_peer: bool,
}

/// What follows from an event of a connection: half-open ones are given back, and whoever has completed a
/// handshake is known.
#[inline(never)]
pub(super) fn settle<T: Tables>(tables: &mut T, policy: &Policy, packet: &Packet, what: Settled, now: u64) {
    let Settled { by_originator, event, known_peer } = what;
    let (originator, responder) = if by_originator {
        (&packet.source, &packet.destination)
    } else {
        (&packet.destination, &packet.source)
    };
    let half_open_before = matches!(event, tcp::Event::Completed(true) | tcp::Event::Broken);
    if half_open_before {
        let [source, destination] = half_open(originator, responder);
        if policy.half_open_source.interval != 0 {
            tables.refund(&source, policy.half_open_source.interval);
        }
        if !known_peer && policy.half_open_destination.interval != 0 {
            tables.refund(&destination, policy.half_open_destination.interval);
        }
    }
    if matches!(event, tcp::Event::Completed(_)) {
        tables.vouch(originator, now);
    }
}

#[inline(always)]
fn half_open(source: &Addr, destination: &Addr) -> [LimitKey; 2] {
    [
        LimitKey { addr: *source, slot: key::HALF_OPEN_SOURCE },
        LimitKey { addr: *destination, slot: key::HALF_OPEN_DESTINATION },
    ]
}

/// Whether a reset proves its sender's address. It bears no acknowledgment: it answers a segment that had one.
#[inline(always)]
pub(super) fn answers_challenge<T: Tables>(tables: &T, policy: &Policy, packet: &Packet, now: u64) -> bool {
    if policy.flags & policy_flags::CHALLENGE == 0
        || packet.protocol != TCP
        || packet.tcp_flags & (tcp_bits::RST | tcp_bits::ACK) != tcp_bits::RST
    {
        return false;
    }
    let secret = tables.secret();
    packet.sequence == cookie(packet, secret, now)
        || packet.sequence == cookie(packet, secret, now.saturating_sub(COOKIE_LIFE))
}

/// How long a cookie is the same, in ns: 2³⁶, a little more than a minute.
const COOKIE_LIFE: u64 = 1 << 36;

/// The acknowledgment number of a challenge to a packet's sender; `secret` is what makes it unforeseeable.
#[inline(always)]
pub fn cookie(packet: &Packet, secret: u64, now: u64) -> u32 {
    let mut hash = secret ^ (now / COOKIE_LIFE).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let ports = (packet.source_port as u64) << 16 | packet.destination_port as u64;
    let (from, to) = (&packet.source.0, &packet.destination.0);
    let words = [
        (from[0] as u64) << 32 | from[1] as u64,
        (from[2] as u64) << 32 | from[3] as u64,
        (to[0] as u64) << 32 | to[1] as u64,
        (to[2] as u64) << 32 | to[3] as u64,
        ports,
        secret.rotate_left(32),
    ];
    let mut i = 0;
    while i < words.len() {
        // Two rounds of multiply, fold and rotate a word: every bit of the secret reaches every bit of the result.
        hash = (hash ^ words[i]).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 29;
        i += 1;
    }
    (hash >> 16) as u32
}
