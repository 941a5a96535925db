//! The last events of phones, gateways, file transfers and dropped packets: kept for whoever asks, and logged.
//!
//! Bounded in memory by [`CAPACITY`] and [`PACKETS`], in lines of the log by [`LINES_PER_SECOND`] and
//! [`PACKET_LINES_PER_SECOND`]: whoever makes events by the thousand fills neither. What is left out is counted.
//! Half of the memory is for what strangers can cause at will, so that they cannot have a registration forgotten;
//! dropped packets have a place of their own.

use std::collections::VecDeque;
use std::time::SystemTime;

use callgate_alg::action::Time;
use callgate_alg::event::{Event, EventKind};
use callgate_api::{EventPage, EventRow, PacketRow};
use tracing::{info, warn};

use crate::firewall::unix;
use crate::log::Lines;

/// Events that are remembered.
pub const CAPACITY: usize = 4_096;
/// Dropped packets that are remembered.
pub const PACKETS: usize = 2_048;
/// Events that are logged in a second; the others are told as a number when it is over.
pub const LINES_PER_SECOND: u32 = 100;
/// Dropped packets that are logged in a second, likewise.
pub const PACKET_LINES_PER_SECOND: u32 = 20;

/// The place of dropped packets among the rings.
const PACKET_RING: usize = 2;

/// Events in the order they happened.
#[derive(Debug)]
pub struct Events {
    /// What takes a device or a server, what takes no more than a packet, and packets.
    rings: [VecDeque<EventRow>; 3],
    /// The number before the first.
    base: u64,
    /// The number of the last.
    last: u64,
    log: Lines,
    packet_log: Lines,
}

impl Events {
    /// None yet. Numbers begin above those of a daemon that was at work before `now`.
    pub fn new(now: Time) -> Self {
        // Microseconds of a clock that never goes back: no daemon has made a million events a second.
        let base = now.0 / 1_000;
        Self {
            rings: [const { VecDeque::new() }; 3],
            base,
            last: base,
            log: Lines::new(LINES_PER_SECOND, now),
            packet_log: Lines::new(PACKET_LINES_PER_SECOND, now),
        }
    }

    /// Logs an event and remembers it.
    pub fn record(&mut self, event: Event) {
        self.log(&event);
        let ring = usize::from(is_cheap(event.kind));
        self.remember(ring, CAPACITY / 2, EventRow::new(self.last + 1, unix(SystemTime::now()), event));
    }

    /// Remembers a packet that was dropped at `now`, and logs it unless that is done.
    pub fn dropped(&mut self, packet: PacketRow, logged: bool, now: Time) {
        if !logged {
            self.log_packet(&packet, now);
        }
        let rule = packet.rule.as_ref().map(|rule| format!(" by rule {rule:?}")).unwrap_or_default();
        let row = EventRow {
            number: self.last + 1,
            at_unix: unix(SystemTime::now()),
            kind: EventKind::Dropped,
            protocol: packet.protocol.clone(),
            source: packet.from,
            subject: packet.to.to_string(),
            text: format!("{}{rule}, from zone {}", packet.reason, packet.zone),
            packet: Some(packet),
        };
        self.remember(PACKET_RING, PACKETS, row);
    }

    /// The row's number is one more than the last.
    fn remember(&mut self, ring: usize, most: usize, row: EventRow) {
        self.last = row.number;
        let ring = &mut self.rings[ring];
        if ring.len() == most {
            ring.pop_front();
        }
        ring.push_back(row);
    }

    /// At most `limit` events: the first after the number `after`, or without it the last; of these kinds only,
    /// if any are named.
    pub fn page(&self, after: Option<u64>, kinds: &[EventKind], limit: usize) -> EventPage {
        // A number from an earlier run: what happened since begins with this one.
        let from = after.unwrap_or_default().max(self.base);
        let mut following: Vec<&EventRow> =
            self.rings.iter().flatten().filter(|row| row.number > from).collect();
        following.sort_unstable_by_key(|row| row.number);
        let mut wanted = following.clone();
        wanted.retain(|row| kinds.is_empty() || kinds.contains(&row.kind));
        if after.is_none() {
            let first = wanted.len().saturating_sub(limit);
            let rows = wanted[first..].iter().copied().cloned().collect();
            return EventPage { rows, next: self.last, lost: 0 };
        }
        let more = wanted.len() > limit;
        let rows: Vec<EventRow> = wanted.into_iter().take(limit).cloned().collect();
        let next = if more { rows.last().map_or(from, |row| row.number) } else { self.last };
        let remembered = following.partition_point(|row| row.number <= next);
        EventPage { rows, next, lost: next.saturating_sub(from) - remembered as u64 }
    }

    fn log(&mut self, event: &Event) {
        let (admitted, left_out) = self.log.admit(event.time);
        if left_out > 0 {
            warn!(target: "event", events = left_out, "more events than are logged in a second");
        }
        if !admitted {
            return;
        }
        let Event { kind, protocol, source, subject, text, .. } = event;
        let (kind_name, protocol) = (kind.name(), protocol.name());
        if kind.is_warning() {
            warn!(target: "event", kind = kind_name, protocol, %source, subject, text);
        } else {
            info!(target: "event", kind = kind_name, protocol, %source, subject, text);
        }
    }

    fn log_packet(&mut self, packet: &PacketRow, now: Time) {
        let (admitted, left_out) = self.packet_log.admit(now);
        if left_out > 0 {
            warn!(target: "packet", packets = left_out, "more packets than are logged in a second");
        }
        if admitted {
            let PacketRow { interface, zone, reason, rule, from, to, protocol, length, start, .. } = packet;
            info!(
                target: "packet",
                interface, zone, reason, rule = rule.as_deref(), %from, %to, protocol, length, start, "dropped"
            );
        }
    }
}

/// Whether it takes no more than a packet to cause such an event.
const fn is_cheap(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Refused
            | EventKind::Violation
            | EventKind::Attack
            | EventKind::SecondSource
            | EventKind::FileAsked
            | EventKind::FileFailed
            | EventKind::CallStarted
            | EventKind::CallEnded
            | EventKind::H245Tunnelled
            | EventKind::Traversal
            | EventKind::Blocked
            | EventKind::Unblocked
            | EventKind::Dropped
            | EventKind::EmergencyCall
            | EventKind::NewDestination
            | EventKind::FraudSuspected
            | EventKind::LimitReached
            | EventKind::OneWayAudio
            | EventKind::NoAudio
            | EventKind::AudioRestored
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use callgate_shared::policy::Inspect;

    use super::*;

    const START: Time = Time(5_000_000_000);
    const BASE: u64 = 5_000_000;

    /// Of the kinds in turn.
    fn recorded(count: usize, kinds: &[EventKind]) -> Events {
        let source = "192.0.2.1:50000".parse().expect("an address");
        let mut events = Events::new(START);
        for kind in kinds.iter().cycle().take(count) {
            events.record(Event::at(START, *kind, Inspect::Sccp, source, "SEP0011AABBCCDD", ""));
        }
        events
    }

    fn numbers(page: &EventPage) -> Vec<u64> {
        page.rows.iter().map(|row| row.number - BASE).collect()
    }

    #[test]
    fn without_a_number_the_last_are_told() {
        let events = recorded(5, &[EventKind::Registered]);
        let page = events.page(None, &[], 2);
        assert_eq!((numbers(&page), page.next, page.lost), (vec![4, 5], BASE + 5, 0));
        assert_eq!(recorded(0, &[]).page(None, &[], 2), EventPage { rows: vec![], next: BASE, lost: 0 });
    }

    #[test]
    fn whoever_follows_misses_nothing() {
        let events = recorded(5, &[EventKind::Registered]);
        let first = events.page(Some(BASE + 1), &[], 2);
        assert_eq!((numbers(&first), first.next - BASE), (vec![2, 3], 3));
        let second = events.page(Some(first.next), &[], 2);
        assert_eq!((numbers(&second), second.next - BASE), (vec![4, 5], 5));
        let third = events.page(Some(second.next), &[], 2);
        assert_eq!((numbers(&third), third.next - BASE), (vec![], 5));
    }

    #[test]
    fn kinds_are_chosen() {
        let events = recorded(6, &[EventKind::Registered, EventKind::Refused]);
        let page = events.page(None, &[EventKind::Refused], 2);
        assert_eq!((numbers(&page), page.next - BASE), (vec![4, 6], 6));
        let page = events.page(Some(BASE), &[EventKind::Registered, EventKind::Alarm], 100);
        assert_eq!((numbers(&page), page.next - BASE), (vec![1, 3, 5], 6));
    }

    #[test]
    fn what_is_forgotten_is_counted() {
        let events = recorded(CAPACITY / 2 + 10, &[EventKind::Registered]);
        let page = events.page(Some(BASE + 4), &[], 1);
        assert_eq!((numbers(&page), page.lost), (vec![11], 6));
        assert_eq!(events.page(Some(BASE + 10), &[], 1).lost, 0);
        assert_eq!(events.page(None, &[], usize::MAX).rows.len(), CAPACITY / 2);
    }

    #[test]
    fn a_flood_of_refusals_leaves_registrations_remembered() {
        let source = "192.0.2.1:50000".parse().expect("an address");
        let mut events = recorded(1, &[EventKind::Registered]);
        for _ in 0..CAPACITY {
            events.record(Event::at(START, EventKind::Refused, Inspect::Sccp, source, "", ""));
        }
        let page = events.page(Some(BASE), &[], usize::MAX);
        assert_eq!((page.rows.len(), page.lost), (CAPACITY / 2 + 1, CAPACITY as u64 / 2));
        assert_eq!((page.rows[0].kind, page.rows[1].kind), (EventKind::Registered, EventKind::Refused));
        assert_eq!(page.rows[1].number, BASE + 2 + CAPACITY as u64 / 2);
        let first = events.page(Some(BASE), &[], 1);
        assert_eq!((numbers(&first), first.lost), (vec![1], 0), "the gap is behind it");
        assert_eq!(events.page(Some(first.next), &[], 1).lost, CAPACITY as u64 / 2, "told once");
    }

    #[test]
    fn a_number_of_an_earlier_run_loses_nothing_of_this_one() {
        let events = recorded(2, &[EventKind::Registered]);
        assert_eq!(
            events.page(Some(BASE + 17), &[], 100),
            EventPage { rows: vec![], next: BASE + 2, lost: 0 }
        );
        let page = events.page(Some(17), &[], 100);
        assert_eq!((numbers(&page), page.lost), (vec![1, 2], 0));
    }

    #[test]
    fn a_flood_of_events_does_not_fill_the_log() {
        let mut events = recorded(250, &[EventKind::Refused]);
        assert_eq!((events.log.lines, events.log.unlogged), (LINES_PER_SECOND, 150));
        let source = "192.0.2.1:50000".parse().expect("an address");
        let later = START + Duration::from_secs(1);
        events.record(Event::at(later, EventKind::Alarm, Inspect::Sccp, source, "", ""));
        assert_eq!((events.log.lines, events.log.unlogged), (1, 0));
    }

    fn packet(port: u16) -> PacketRow {
        PacketRow {
            interface: "eth0".to_owned(),
            zone: "outside".to_owned(),
            reason: "rule-drop".to_owned(),
            rule: Some("telnet".to_owned()),
            from: "192.0.2.1:50000".parse().expect("an address"),
            to: std::net::SocketAddr::new([10, 0, 0, 1].into(), port),
            protocol: "tcp".to_owned(),
            icmp_type: None,
            length: 60,
            start: "4500".to_owned(),
        }
    }

    #[test]
    fn a_flood_of_packets_leaves_all_else_remembered_and_logged() {
        let mut events = recorded(3, &[EventKind::Registered, EventKind::Refused, EventKind::Blocked]);
        for port in 0..5_000 {
            events.dropped(packet(port), false, START);
        }
        assert_eq!((events.packet_log.lines, events.packet_log.unlogged), (20, 4_980));
        assert_eq!(events.log.lines, 3);
        assert_eq!(numbers(&events.page(Some(BASE), &[], 3)), [1, 2, 3]);
        let page = events.page(Some(BASE), &[EventKind::Dropped], usize::MAX);
        assert_eq!((page.rows.len(), page.lost), (PACKETS, 5_000 - PACKETS as u64));
        let row = page.rows.last().expect("the last");
        assert_eq!((row.subject.as_str(), row.protocol.as_str()), ("10.0.0.1:4999", "tcp"));
        assert_eq!(row.text, "rule-drop by rule \"telnet\", from zone outside");
        assert_eq!(row.packet, Some(packet(4_999)));
        events.dropped(packet(1), true, START + Duration::from_secs(5));
        assert_eq!(events.packet_log.unlogged, 4_980, "logged elsewhere");
    }
}
