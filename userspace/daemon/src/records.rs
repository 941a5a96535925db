//! The history as the daemon keeps it: what is made of a call that is over, and who is asked about it.
//!
//! Owns the packets that were counted by pinholes of calls that are not over yet. How and where records are
//! kept is `callgate_history`'s business; nothing here waits for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use callgate_alg::action::{EndReason, Time};
use callgate_alg::call::{Medium, Party};
use callgate_alg::finished::INSPECTION;
use callgate_alg::{CallId, Finished};
use callgate_api::media::measured;
use callgate_api::{ErrorReply, HistoryStatus, Page, Record};
use callgate_history::store::{Error, host};
use callgate_history::{History, PERMITTED, Question};
use callgate_quality::{Figures, Measured};
use callgate_rules::ruleset::History as Settings;
use callgate_shared::pinhole::Kind;
use tracing::warn;

use crate::control::Reply;
use crate::firewall::unix_ms;
use crate::kernel::PinholeRow;

/// Pinholes that are remembered of one call: it can have moved its media so often.
const MOST_PINHOLES: usize = 64;
/// How long the end of the daemon waits for records that are not written yet.
const FAREWELL: Duration = Duration::from_secs(2);

/// The records of one firewall.
#[derive(Debug)]
pub(crate) struct Records {
    history: Option<History>,
    host: String,
    /// What closed pinholes of living calls have counted.
    counted: HashMap<CallId, Vec<Counted>>,
}

/// What a pinhole has counted and measured.
#[derive(Clone, Copy, Debug)]
struct Counted {
    to: SocketAddr,
    packets: u64,
    bytes: u64,
    measured: Measured,
}

impl Records {
    /// As the rules want it.
    pub(crate) fn new(settings: Option<&Settings>) -> Self {
        Self { history: settings.map(History::start), host: host(), counted: HashMap::new() }
    }

    /// Goes over to other rules. What waits is still written where it was to go.
    pub(crate) fn adopt(&mut self, settings: Option<&Settings>) {
        if self.history.as_ref().map(History::settings) != settings {
            self.history = settings.map(History::start);
        }
    }

    /// Whether records are kept.
    pub(crate) fn are_kept(&self) -> bool {
        self.history.is_some()
    }

    /// A pinhole of a call has been closed: what it has counted is the call's.
    pub(crate) fn closed(&mut self, call: CallId, pinhole: &PinholeRow) {
        let media = [Kind::Rtp, Kind::RtcpMux, Kind::Udptl, Kind::T120, Kind::Stream];
        if pinhole.packets == 0 || !pinhole.kind.is_some_and(|kind| media.contains(&kind)) {
            return;
        }
        let counted = self.counted.entry(call).or_default();
        if counted.len() < MOST_PINHOLES {
            let measured = measured(&pinhole.measures, None);
            counted.push(Counted {
                to: pinhole.to,
                packets: pinhole.packets,
                bytes: pinhole.bytes,
                measured,
            });
        }
    }

    /// A call is over, or was refused, under the rule of this name: it is kept. `clock`: the same moment by
    /// the kernel's clock and by that on the wall.
    pub(crate) fn finished(
        &mut self,
        call: &Finished,
        rule: Option<&str>,
        clock: (Time, SystemTime),
        round_trip: Option<Duration>,
    ) {
        let mut counted = self.counted.remove(&call.id).unwrap_or_default();
        counted.iter_mut().for_each(|one| one.measured.round_trip = round_trip);
        if let Some(history) = &self.history {
            history.record(record(call, &counted, rule, &self.host, clock));
        }
    }

    /// A call is over for which no record is kept.
    pub(crate) fn forget(&mut self, call: CallId) {
        self.counted.remove(&call);
    }

    /// How the history fares; `None` where none is kept.
    pub(crate) fn status(&self) -> Option<HistoryStatus> {
        self.history.as_ref().map(History::status)
    }

    /// Asks; the answer goes to whoever wants it, without the caller.
    pub(crate) fn ask(&self, question: Question) {
        match &self.history {
            Some(history) => history.ask(question),
            None => question.refuse(Error::None),
        }
    }

    /// The daemon ends: what waits is written, unless that takes too long.
    pub(crate) fn close(&mut self) {
        if let Some(history) = self.history.take() {
            history.close(FAREWELL);
        }
    }
}

/// An answer's way back to the control socket.
pub(crate) fn reply<T: Send + 'static>(to: Reply<Page<T>>) -> callgate_history::reader::Reply<T> {
    Box::new(move |answer| {
        let answer = answer.map_err(|error| {
            let hint = match error {
                Error::None => "add `[history]` to the rules file, then fwctl reload",
                Error::Busy | Error::TooLong => "",
                _ => "is its first call not over yet? Else see the daemon's log, and fwctl status",
            };
            warn!(%error, "history: a question has no answer");
            ErrorReply { error: format!("history: {error}"), hint: hint.to_owned(), details: Vec::new() }
        });
        // Whoever asked may have gone away.
        drop(to.send(answer));
    })
}

fn record(
    call: &Finished,
    counted: &[Counted],
    rule: Option<&str>,
    host: &str,
    (now, wall): (Time, SystemTime),
) -> Record {
    let ms = |at: Time| unix_ms(wall.checked_sub(now.since(at)).unwrap_or(wall));
    let [caller, called] = [Party::Caller, Party::Callee].map(|party| named(call, party));
    let refused = call.refused.is_some() || call.reason == EndReason::Refused && call.connected.is_none();
    let verdict = call.refused.unwrap_or(if refused { INSPECTION } else { PERMITTED });
    let [to_caller, to_called] = by_party(call, counted);
    let directions = [Party::Caller, Party::Callee].map(|party| audio_to(call, counted, party));
    let worse = worse(directions);
    let [caller_heard, called_heard] = directions;
    Record {
        host: host.to_owned(),
        call: call.id.0,
        protocol: call.protocol.name().to_owned(),
        key: call.key.clone(),
        caller,
        called,
        caller_signalled: call.parties[Party::Caller as usize].clone(),
        called_signalled: call.parties[Party::Callee as usize].clone(),
        device: call.device.clone(),
        caller_address: call.signalling[Party::Caller as usize].to_string(),
        called_address: call.signalling[Party::Callee as usize].to_string(),
        started_ms: ms(call.started),
        connected_ms: call.connected.map(ms),
        ended_ms: ms(call.ended),
        duration_ms: call.connected.map_or(0, |at| millis(call.ended.since(at))),
        reason: call.reason.name().to_owned(),
        cause: call.cause.map(|cause| cause.to_string()),
        released_by: call.released_by.map(|by| by.name().to_owned()),
        permission: call.permission.clone(),
        verdict: verdict.to_owned(),
        refused,
        emergency: call.emergency,
        rule: rule.map(str::to_owned),
        packets_to_caller: to_caller.0,
        bytes_to_caller: to_caller.1,
        packets_to_called: to_called.0,
        bytes_to_called: to_called.1,
        loss: worse.loss,
        jitter_ms: worse.jitter_ms,
        mos: worse.mos,
        loss_to_caller: caller_heard.loss,
        jitter_ms_to_caller: caller_heard.jitter_ms,
        mos_to_caller: caller_heard.mos,
        loss_to_called: called_heard.loss,
        jitter_ms_to_called: called_heard.jitter_ms,
        mos_to_called: called_heard.mos,
    }
}

/// Of a call's two directions whichever is worse, figure by figure.
fn worse([a, b]: [Figures; 2]) -> Figures {
    let most = |of: fn(&Figures) -> Option<f64>| [of(&a), of(&b)].into_iter().flatten().reduce(f64::max);
    let least = |of: fn(&Figures) -> Option<f64>| [of(&a), of(&b)].into_iter().flatten().reduce(f64::min);
    Figures {
        loss: most(|figures| figures.loss),
        jitter_ms: most(|figures| figures.jitter_ms),
        mos: least(|figures| figures.mos),
        rating: least(|figures| figures.rating),
    }
}

/// The figures of the audio that a party has received, at its last place and at those before.
fn audio_to(call: &Finished, counted: &[Counted], party: Party) -> Figures {
    let audio = call.streams.iter().map(|(_, stream)| stream).filter(|stream| stream.medium == Medium::Audio);
    let of =
        |to: SocketAddr| audio.clone().find(|stream| stream.ends.iter().any(|end| end.media == Some(to)));
    let other = |to: SocketAddr| {
        let mut streams = call.streams.iter().map(|(_, stream)| stream);
        streams.any(|stream| {
            stream.medium != Medium::Audio && stream.ends.iter().any(|end| end.media == Some(to))
        })
    };
    let of_party =
        counted.iter().filter(|one| receiver(call, one.to) == Some(party as usize) && !other(one.to));
    let mut sum = Measured::default();
    let mut codec = audio.clone().next().map_or("", |stream| stream.codec.as_str());
    // Of the last place that had any: a call that has moved went on there.
    for one in of_party {
        let Measured { received, lost, jitter, clock, round_trip, .. } = one.measured;
        let (before, now) = (sum.received as f64, received as f64);
        if received > 0 && clock > 0 {
            // In the units of the last clock, weighed by packets.
            let earlier =
                if sum.clock > 0 { sum.jitter * f64::from(clock) / f64::from(sum.clock) } else { jitter };
            sum.jitter = (earlier * before + jitter * now) / (before + now);
            sum.clock = clock;
        }
        sum.received += received;
        sum.lost += lost;
        sum.round_trip = round_trip;
        codec = of(one.to).map_or(codec, |stream| stream.codec.as_str());
    }
    Figures::of(&sum, codec)
}

/// What a party is known by: its number, what was signalled, its device, its address, whichever there is.
fn named(call: &Finished, party: Party) -> String {
    let place = party as usize;
    let device = if party == Party::Caller { call.device.as_str() } else { "" };
    let names = [call.numbers[place].as_str(), user(&call.parties[place]), device];
    let named = names.into_iter().find(|name| !name.is_empty()).map(str::to_owned);
    named.unwrap_or_else(|| call.signalling[place].ip().to_string())
}

/// The user part of a SIP or tel URI; of anything else all of it.
fn user(party: &str) -> &str {
    let schemes = ["sips:", "sip:", "tel:"];
    let rest = schemes.iter().find_map(|scheme| party.strip_prefix(scheme)).unwrap_or(party);
    let user = rest.split_once('@').map_or(rest, |(user, _)| user);
    if rest.len() == party.len() { user } else { user.split(';').next().unwrap_or(user) }
}

/// Packets and bytes by who received them. A pinhole that stands at neither's last address, because the call
/// has moved its media, is the party's whose address it shares.
fn by_party(call: &Finished, counted: &[Counted]) -> [(u64, u64); 2] {
    let mut sums = [(0, 0); 2];
    for one in counted {
        // Where nobody can tell, it is counted for neither.
        if let Some(party) = receiver(call, one.to) {
            let sum = &mut sums[party];
            *sum = (sum.0 + one.packets, sum.1 + one.bytes);
        }
    }
    sums
}

/// Which party received at a place.
fn receiver(call: &Finished, to: SocketAddr) -> Option<usize> {
    let at = |party: usize| call.media[party].contains(&to);
    let near = |party: usize| {
        let mut addresses = call.media[party].iter().map(SocketAddr::ip);
        call.signalling[party].ip() == to.ip() || addresses.any(|ip| ip == to.ip())
    };
    match (at(0), at(1), near(0), near(1)) {
        (true, false, ..) | (false, false, true, false) => Some(0),
        (false, true, ..) | (false, false, false, true) => Some(1),
        _ => None,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use callgate_alg::call::{Stream, StreamKey};
    use callgate_alg::finished::{Cause, ReleasedBy};
    use callgate_shared::policy::Inspect;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn stream() -> Stream {
        let mut stream =
            Stream::new(Medium::Audio, ["192.0.2.1", "198.51.100.7"].map(|ip| ip.parse().expect("ip")));
        stream.codec = "PCMU".to_owned();
        stream.ends[0].media = Some(at("192.0.2.1:20000"));
        stream.ends[1].media = Some(at("198.51.100.9:30000"));
        stream
    }

    fn finished() -> Finished {
        Finished {
            id: CallId(7),
            protocol: Inspect::Sip,
            key: "a@b".to_owned(),
            slot: 1,
            signalling: [at("192.0.2.1:5060"), at("198.51.100.7:5060")],
            parties: ["sip:2001@192.0.2.1".to_owned(), "sip:919005551234;phone-context=x@pbx".to_owned()],
            numbers: [String::new(), "19005551234".to_owned()],
            device: "SEP001122334455".to_owned(),
            started: Time(10_000_000_000),
            connected: Some(Time(12_000_000_000)),
            ended: Time(72_500_000_000),
            reason: EndReason::Bye,
            cause: Some(Cause::Q850(16)),
            released_by: Some(ReleasedBy::Callee),
            permission: "premium".to_owned(),
            refused: None,
            emergency: false,
            media: [vec![at("192.0.2.1:20000")], vec![at("198.51.100.9:30000")]],
            streams: vec![(StreamKey { branch: 0, index: 0 }, stream())],
        }
    }

    fn made(call: &Finished, counted: &[Counted]) -> Record {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        record(call, counted, Some("sip"), "fw1", (Time(73_000_000_000), wall))
    }

    #[test]
    fn moments_are_told_by_the_clock_on_the_wall() {
        let record = made(&finished(), &[]);
        assert_eq!((record.started_ms, record.connected_ms), (1_794_999_937_000, Some(1_794_999_939_000)));
        assert_eq!((record.ended_ms, record.duration_ms), (1_794_999_999_500, 60_500));
        assert_eq!((record.reason.as_str(), record.cause.as_deref()), ("bye", Some("q850 16")));
        assert_eq!((record.released_by.as_deref(), record.verdict.as_str()), (Some("callee"), "permitted"));
    }

    #[test]
    fn a_party_is_known_by_the_best_name_there_is() {
        let mut call = finished();
        let names = |call: &Finished| [Party::Caller, Party::Callee].map(|party| named(call, party));
        assert_eq!(names(&call), ["2001", "19005551234"]);
        call.numbers = Default::default();
        assert_eq!(names(&call), ["2001", "919005551234"]);
        call.parties = Default::default();
        assert_eq!(names(&call), ["SEP001122334455", "198.51.100.7"]);
        assert_eq!(["tel:+1900;ext=1", "Bob", "bob@example.net"].map(user), ["+1900", "Bob", "bob"]);
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = Finished { refused: Some("no-permission"), connected: None, ..finished() };
        assert_eq!(
            (made(&refused, &[]).refused, made(&refused, &[]).verdict.as_str()),
            (true, "no-permission")
        );
        let inspected = Finished { reason: EndReason::Refused, connected: None, ..finished() };
        assert_eq!(
            (made(&inspected, &[]).refused, made(&inspected, &[]).verdict.as_str()),
            (true, "inspection")
        );
        let late = Finished { reason: EndReason::Refused, ..finished() };
        assert!(!made(&late, &[]).refused, "it was up");
    }

    fn counted(to: &str, packets: u64, lost: u64, jitter: f64) -> Counted {
        let measured = Measured { received: packets, lost, jitter, clock: 8_000, ..Measured::default() };
        Counted { to: at(to), packets, bytes: packets * 200, measured }
    }

    #[test]
    fn of_two_directions_the_worse_is_kept() {
        let call = finished();
        // To the caller at two places, one after the other; to the called party; and to nobody that is known.
        let counted = [
            counted("192.0.2.1:22222", 500, 0, 16.0),
            counted("192.0.2.1:20000", 500, 0, 48.0),
            counted("198.51.100.9:30000", 950, 50, 8.0),
            counted("203.0.113.1:4000", 1, 999, 8_000.0),
        ];
        let record = made(&call, &counted);
        assert_eq!((record.loss, record.jitter_ms), (Some(0.05), Some(4.0)), "32 units of 8 kHz");
        assert!((3.8..4.0).contains(&record.mos.expect("known")), "{:?}", record.mos);
        assert_eq!((record.loss_to_caller, record.jitter_ms_to_caller), (Some(0.0), Some(4.0)));
        assert_eq!((record.loss_to_called, record.jitter_ms_to_called), (Some(0.05), Some(1.0)));
        assert_eq!(record.mos, record.mos_to_called);
        assert!(record.mos_to_caller > record.mos);
        let figures = audio_to(&call, &counted, Party::Callee);
        assert_eq!((figures.loss, figures.jitter_ms), (Some(0.05), Some(1.0)));
        assert_eq!((made(&call, &[]).loss, made(&call, &[]).mos), (None, None));
        // Beside video, which has loss of its own.
        let mut call = call;
        call.media[1].push(at("198.51.100.9:30002"));
        let mut video = stream();
        video.medium = Medium::Video;
        video.ends[0].media = None;
        video.ends[1].media = Some(at("198.51.100.9:30002"));
        call.streams.push((StreamKey { branch: 0, index: 1 }, video));
        let lossy = super::tests::counted("198.51.100.9:30002", 100, 900, 0.0);
        assert_eq!(audio_to(&call, &[lossy], Party::Callee).loss, None);
    }

    #[test]
    fn packets_are_told_by_who_received_them() {
        let to = |to: &str, packets| counted(to, packets, 0, 0.0);
        let counted = [
            to("192.0.2.1:20000", 10),
            to("192.0.2.1:22222", 5),
            to("198.51.100.9:30000", 7),
            to("198.51.100.7:1024", 1),
            to("203.0.113.1:4000", 100),
        ];
        let record = made(&finished(), &counted);
        assert_eq!((record.packets_to_caller, record.bytes_to_caller), (15, 3_000));
        assert_eq!((record.packets_to_called, record.bytes_to_called), (8, 1_600));
        let mut behind_one = finished();
        behind_one.media = [vec![at("203.0.113.1:4000")], vec![at("203.0.113.1:4002")]];
        behind_one.signalling = [at("203.0.113.1:5060"); 2];
        let counted = [to("203.0.113.1:4000", 1), to("203.0.113.1:4002", 2), to("203.0.113.1:4004", 4)];
        let record = made(&behind_one, &counted);
        assert_eq!((record.packets_to_caller, record.packets_to_called), (1, 2));
    }
}
