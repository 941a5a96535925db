//! Media as the daemon watches it: the figures of streams, what their receivers report, and who hears
//! nothing.
//!
//! Owns the reports of living calls, the alarms that have been told, and the figures of calls that are over.
//! Guarantees that every figure comes from [`MediaRow::new`]. What a pinhole counts is the kernel half's
//! business.
//!
//! # Reports
//! RTCP is read as it goes by ([`crate::reports`]). What `party` sends tells how it receives the other one's
//! stream, and how long ago it had the other one's last sender report: together with when that report went by
//! here, this is the time from here to `party` and back. Both parties' halves make the round trip.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use callgate_alg::action::{Time, Transport};
use callgate_alg::call::{Call, CallId, Medium, Party, Stream, StreamKey};
use callgate_alg::event::{Event, EventKind};
use callgate_alg::finished::Finished;
use callgate_api::media::Aside;
use callgate_api::{MediaRow, StreamRow};
use callgate_quality::rtcp;
use callgate_shared::pinhole::Kind;
use tracing::warn;

use crate::firewall::Firewall;
use crate::kernel::PinholeRow;
use crate::reports::Heard;
use crate::tally::Tally;

/// Calls that are over whose figures are remembered: as many as have their messages remembered.
const MOST_OVER: usize = 1_024;
/// Streams whose reports are remembered.
const MOST_REPORTED: usize = 200_000;

/// What the daemon knows of media beside the kernel's counters.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    reports: HashMap<(CallId, StreamKey), [Reports; 2]>,
    /// Who was told to hear nothing.
    deaf: HashMap<(CallId, StreamKey), Deaf>,
    /// Pinholes that have been closed by the actions which are carried out.
    closed: HashMap<SocketAddr, PinholeRow>,
    over: VecDeque<(CallId, Vec<StreamRow>)>,
    /// How calls that are over have sounded.
    pub(crate) tally: Tally,
}

/// What one party's RTCP has told.
#[derive(Clone, Copy, Debug, Default)]
struct Reports {
    /// The stamp of its last sender report, and when that went by.
    stamp: Option<(u32, Time)>,
    /// From here to it and back, in 65,536ths of a second.
    trip: Option<u32>,
    /// How it receives: share lost in 256ths, lost in all, jitter.
    received: Option<(u8, i32, u32)>,
}

/// Which parties of a stream hear nothing, by [`Party`].
type Deaf = [bool; 2];

impl Watch {
    /// A pinhole was closed: its call's figures are wanted before the actions are over.
    pub(crate) fn closed(&mut self, pinhole: PinholeRow) {
        self.closed.insert(pinhole.to, pinhole);
    }

    /// The actions are carried out.
    pub(crate) fn settle(&mut self) {
        self.closed.clear();
    }

    /// The figures of a call that is over, as far as they are remembered.
    pub(crate) fn of_ended(&self, call: CallId) -> Option<&[StreamRow]> {
        self.over.iter().rev().find(|(id, _)| *id == call).map(|(_, rows)| rows.as_slice())
    }

    fn end(&mut self, call: &Call, rows: Vec<StreamRow>) {
        for key in call.streams.iter().map(|(key, _)| (call.id, *key)) {
            self.reports.remove(&key);
            self.deaf.remove(&key);
        }
        if self.over.len() == MOST_OVER {
            self.over.pop_front();
        }
        self.tally.note(&rows);
        self.over.push_back((call.id, rows));
    }

    /// Streams of which a party hears nothing, and was told of.
    pub(crate) fn unheard(&self) -> usize {
        self.deaf.len()
    }

    /// Forgets what belongs to streams that are gone, which a call may lose while it lives.
    fn forget(&mut self, lives: impl Fn(&(CallId, StreamKey)) -> bool) {
        self.reports.retain(|key, _| lives(key));
        self.deaf.retain(|key, _| lives(key));
    }

    /// RTCP that `sender` of a stream has sent.
    fn heard(&mut self, stream: (CallId, StreamKey), sender: Party, payload: &[u8], at: Time) {
        if self.reports.len() >= MOST_REPORTED && !self.reports.contains_key(&stream) {
            return;
        }
        let both = self.reports.entry(stream).or_default();
        let other = both[sender.other() as usize];
        let own = &mut both[sender as usize];
        for report in rtcp::reports(payload) {
            own.stamp = report.stamp.map(|stamp| (stamp, at)).or(own.stamp);
            // Where it receives several sources, the one that answers the last sender report is meant.
            let answers =
                |block: &rtcp::Block| other.stamp.is_some_and(|(stamp, _)| stamp == block.last_report);
            let Some(block) = report.blocks().find(answers).or(report.blocks().next()) else { continue };
            own.received = Some((block.fraction_lost, block.lost, block.jitter));
            if let Some((stamp, passed)) = other.stamp.filter(|_| answers(&block)) {
                // 2^16 / 10^9 as a fraction that cannot overflow within a day.
                let since = u32::try_from(at.since(passed).as_millis() * 65_536 / 1_000).unwrap_or(u32::MAX);
                own.trip = rtcp::round_trip(&block, stamp.wrapping_add(since)).or(own.trip);
            }
        }
    }

    /// From one party to the other and back.
    fn round_trip(&self, stream: (CallId, StreamKey)) -> Option<Duration> {
        let [caller, callee] = self.reports.get(&stream)?;
        let units = u64::from(caller.trip?) + u64::from(callee.trip?);
        Some(Duration::from_micros(units * 1_000_000 / 65_536))
    }

    /// What is known of what `receiver` receives.
    fn aside(&self, stream: (CallId, StreamKey), receiver: Party, pinhole: &PinholeRow) -> Aside {
        let received = self.reports.get(&stream).and_then(|both| both[receiver as usize].received);
        Aside {
            enforced: pinhole.enforced,
            fast: pinhole.fast,
            round_trip: self.round_trip(stream),
            reported: received,
        }
    }
}

impl Firewall {
    /// The streams of a call, with what was measured of them up to `now`.
    pub(crate) fn stream_rows(&self, call: &Call, now: Time) -> Vec<StreamRow> {
        let row = |(key, stream): (&StreamKey, &Stream)| {
            let received = |party: Party| {
                let (transport, _) = stream.medium.pinhole(stream.mux);
                let to = stream.ends[party as usize].media?;
                let closed = self.watch.closed.get(&to).filter(|pinhole| pinhole.transport == transport);
                let pinhole = closed.cloned().or_else(|| self.kernel.pinhole(to, transport))?;
                let aside = self.watch.aside((call.id, *key), party, &pinhole);
                Some(MediaRow::new(&pinhole.measures, stream, aside, now))
            };
            let (to_caller, to_callee) = (received(Party::Caller), received(Party::Callee));
            StreamRow { to_caller, to_callee, ..StreamRow::new(key, stream) }
        };
        call.streams.iter().map(row).collect()
    }

    /// A call is over; its pinholes have been closed by the actions before.
    pub(crate) fn media_over(&mut self, call: &Call, now: Time) {
        let rows = self.stream_rows(call, now);
        self.watch.end(call, rows);
    }

    /// The round trip of a call's audio, if its parties have told.
    pub(crate) fn round_trip(&self, call: &Finished) -> Option<Duration> {
        let audio = call.streams.iter().filter(|(_, stream)| stream.medium == Medium::Audio);
        audio.filter_map(|(key, _)| self.watch.round_trip((call.id, *key))).next()
    }

    /// Takes up the reports that went by. To be called about every second.
    pub(crate) fn hear_reports(&mut self, now: Time) {
        let names = self.interfaces.attached.iter().map(|interface| interface.name.as_str());
        if let Err(error) = self.ear.tune(names, &self.defence.addresses) {
            warn!(%error, "RTCP reports cannot be read");
        }
        for heard in self.ear.take() {
            self.reported(&heard, now);
        }
    }

    /// RTCP that went by, and belongs to a call or not.
    fn reported(&mut self, heard: &Heard, now: Time) {
        let to = heard.to;
        let Some(spec) = self.engine.pinhole(to, Transport::Udp) else { return };
        let Some(call) = self.engine.call(spec.call) else { return };
        let found = call.streams.iter().find_map(|(key, stream)| {
            let at = |party: Party| {
                let end = &stream.ends[party as usize];
                let here = if stream.mux || spec.kind != Kind::Rtcp { end.media } else { end.control };
                here == Some(to)
            };
            // Both parties may be at one address, and even at one port in turn.
            let receiver = [Party::Caller, Party::Callee].into_iter().find(|party| at(*party))?;
            Some((*key, receiver.other()))
        });
        let Some((key, sender)) = found else { return };
        let stream = (call.id, key);
        let at = Time(now.0.saturating_sub(heard.age_ns));
        self.watch.heard(stream, sender, &heard.payload, at);
    }

    /// Tells of calls that are up and have audio one way only, or none. `heard`: when RTP was last received
    /// at each place, or might have been: signalling begins its silence anew.
    pub(crate) fn listen(&mut self, heard: &HashMap<SocketAddr, Time>, now: Time) {
        let Self { engine, watch, .. } = self;
        watch.forget(|(call, key)| engine.call(*call).is_some_and(|call| call.streams.contains_key(key)));
        let patience = self.rules.settings().audio_alarm;
        if patience.is_zero() {
            return;
        }
        let mut told = Vec::new();
        for call in engine.calls() {
            let Some(connected) = call.connected else { continue };
            for (key, stream) in call.streams.iter().filter(|(_, stream)| stream.medium == Medium::Audio) {
                let before = watch.deaf.get(&(call.id, *key)).copied().unwrap_or_default();
                let Some(deaf) = deaf(stream, heard, connected, patience, now) else { continue };
                if deaf == before {
                    continue;
                }
                match deaf {
                    [false, false] => drop(watch.deaf.remove(&(call.id, *key))),
                    _ => drop(watch.deaf.insert((call.id, *key), deaf)),
                }
                told.push(alarm(call, stream, deaf, patience, now));
            }
        }
        told.into_iter().for_each(|event| self.events.record(event));
    }
}

/// Which parties hear nothing, where they are to hear something: `None` on hold, and while a place is not
/// known.
fn deaf(
    stream: &Stream,
    heard: &HashMap<SocketAddr, Time>,
    connected: Time,
    patience: Duration,
    now: Time,
) -> Option<Deaf> {
    let silent = |party: Party| {
        let last = heard.get(&stream.ends[party as usize].media?)?;
        Some(now.since(connected.max(*last)) > patience)
    };
    if stream.held {
        return None;
    }
    Some([silent(Party::Caller)?, silent(Party::Callee)?])
}

fn alarm(call: &Call, stream: &Stream, deaf: Deaf, patience: Duration, now: Time) -> Event {
    let place = |party: Party| {
        let to = stream.ends[party as usize].media;
        to.map_or_else(String::new, |to| format!(" at {to}"))
    };
    let name = |party: Party| match call.parties[party as usize].as_str() {
        "" => call.signalling[party as usize].ip().to_string(),
        name => name.to_owned(),
    };
    let seconds = patience.as_secs();
    let (kind, text) = match deaf {
        [true, true] => (EventKind::NoAudio, format!("neither party has received audio for {seconds} s")),
        [false, false] => (EventKind::AudioRestored, "both parties receive audio".to_owned()),
        [caller, _] => {
            let party = if caller { Party::Caller } else { Party::Callee };
            let text = format!("{}{} has received no audio for {seconds} s", name(party), place(party));
            (EventKind::OneWayAudio, text)
        }
    };
    let text = format!("{text}, call {} ({} → {})", call.key, name(Party::Caller), name(Party::Callee));
    let [caller, _] = call.signalling;
    Event::at(now, kind, call.protocol, caller, &call.id.0.to_string(), &text)
}

#[cfg(test)]
mod tests {
    use callgate_shared::policy::Inspect;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn stream() -> Stream {
        let mut stream =
            Stream::new(Medium::Audio, ["192.0.2.1", "198.51.100.7"].map(|ip| ip.parse().expect("ip")));
        stream.ends[0].media = Some(at("192.0.2.1:20000"));
        stream.ends[1].media = Some(at("198.51.100.7:30000"));
        stream
    }

    fn deaf_at(stream: &Stream, last: [u64; 2], now: u64) -> Option<Deaf> {
        let places = stream.ends.iter().filter_map(|end| end.media);
        let heard = places.zip(last).map(|(to, last)| (to, Time(last * SECOND))).collect();
        deaf(stream, &heard, Time(100 * SECOND), Duration::from_secs(10), Time(now * SECOND))
    }

    #[test]
    fn whoever_receives_nothing_is_told_of_and_nobody_on_hold() {
        let mut stream = stream();
        assert_eq!(deaf_at(&stream, [90, 90], 110), Some([false, false]), "not up for long enough");
        assert_eq!(deaf_at(&stream, [90, 90], 111), Some([true, true]));
        assert_eq!(deaf_at(&stream, [111, 90], 111), Some([false, true]));
        assert_eq!(deaf_at(&stream, [111, 120], 122), Some([true, false]));
        stream.held = true;
        assert_eq!(deaf_at(&stream, [90, 90], 200), None);
        stream.held = false;
        stream.ends[1].media = None;
        assert_eq!(deaf_at(&stream, [90, 90], 200), None, "nobody knows where it receives");
    }

    #[test]
    fn an_alarm_names_who_hears_nothing() {
        let call = Call {
            id: CallId(7),
            protocol: Inspect::Sip,
            key: "a@b".to_owned(),
            state: callgate_alg::call::State::Connected,
            signalling: [at("192.0.2.1:5060"), at("198.51.100.7:5060")],
            parties: ["alice".to_owned(), String::new()],
            started: Time(0),
            connected: Some(Time(0)),
            streams: Default::default(),
            memo: String::new(),
            slot: 0,
            granted: None,
            released_by: None,
            cause: None,
        };
        let of = |deaf| {
            let event = alarm(&call, &stream(), deaf, Duration::from_secs(10), Time(0));
            (event.kind, event.subject, event.text)
        };
        let (kind, subject, text) = of([false, true]);
        assert_eq!((kind, subject.as_str()), (EventKind::OneWayAudio, "7"));
        assert!(
            text.starts_with("198.51.100.7 at 198.51.100.7:30000 has received no audio for 10 s"),
            "{text}"
        );
        assert!(of([true, false]).2.starts_with("alice at 192.0.2.1:20000"));
        assert_eq!(of([true, true]).0, EventKind::NoAudio);
        assert_eq!(of([false, false]).0, EventKind::AudioRestored);
    }

    /// A sender report with this stamp, and a block about another source.
    fn report(stamp: u32, last_report: u32, delay: u32) -> Vec<u8> {
        let mut bytes = vec![0x81, 200, 0, 12, 0, 0, 0, 1, 0, 0];
        bytes.extend(stamp.to_be_bytes());
        bytes.extend([0; 2 + 12]);
        bytes.extend([0, 0, 0, 2, 64, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 160]);
        bytes.extend(last_report.to_be_bytes());
        bytes.extend(delay.to_be_bytes());
        bytes
    }

    #[test]
    fn two_halves_make_the_round_trip() {
        let mut watch = Watch::default();
        let stream = (CallId(7), StreamKey { branch: 0, index: 0 });
        let ms = |ms: u64| Time(SECOND + ms * 1_000_000);
        watch.heard(stream, Party::Caller, &report(1_000_000, 0, 0), ms(0));
        assert_eq!(watch.round_trip(stream), None);
        // The callee has waited for half a second, and is 40 ms away.
        watch.heard(stream, Party::Callee, &report(77, 1_000_000, 32_768), ms(540));
        assert_eq!(watch.round_trip(stream), None, "one half");
        // The caller has not waited, and is 20 ms away.
        watch.heard(stream, Party::Caller, &report(1_100_000, 77, 0), ms(560));
        let trip = watch.round_trip(stream).expect("both").as_millis();
        assert!((59..=60).contains(&trip), "{trip}");
        assert_eq!(watch.reports[&stream][0].received, Some((64, 5, 160)));
        watch.forget(|_| false);
        assert!(watch.reports.is_empty());
    }
}
