mod call_policy;
mod channels;
mod policy;
mod registrations;
mod signalling;
mod wire;

use std::collections::HashMap;
use std::time::Duration;

use callgate_protocols::build::{self, Media, Parts, ras, tpkt};
use proptest::prelude::*;

use super::*;
use callgate_rules::H323Policy;

use crate::action::{Action, Denial, PinholeSpec, Time, Transport};
use crate::core::Bounds;
use crate::media::{Authority, Policy, RulePolicy};

const ALICE: &str = "192.0.2.1:30000";
const BOB: &str = "198.51.100.7:1720";
const GATEKEEPER: &str = "203.0.113.5:1719";
/// The slot whose rule says `media = "any"`; slot 0 has the default.
const ANY: u32 = 1;

const CALL: build::Call = build::Call { reference: 77, id: *b"0123456789abcdef" };

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// Where a host receives: RTP at `port`, RTCP above.
fn media(host: &str, port: u16) -> Media {
    let ip = at(host).ip();
    Media { rtp: SocketAddr::new(ip, port), rtcp: SocketAddr::new(ip, port + 1) }
}

/// A message that carries these H.245 messages.
fn tunnel<const N: usize>(h245_control: [Vec<u8>; N]) -> Parts {
    Parts { tunnelling: true, h245_control: h245_control.to_vec(), ..Parts::default() }
}

fn fast(fast_start: Vec<Vec<u8>>) -> Parts {
    Parts { fast_start, ..Parts::default() }
}

/// A firewall and a clock.
struct Lab {
    policy: Policy,
    events: Vec<Event>,
    core: Core,
    tracker: Tracker,
    now: Time,
    slot: u32,
}

impl Lab {
    fn new(slot: u32) -> Self {
        Self { slot, ..Self::with(H323Policy::default()) }
    }

    /// With this in `[inspect.h323]`.
    fn with(h323: H323Policy) -> Self {
        let rules = HashMap::from([(ANY, RulePolicy::from(Authority::Any))]);
        let policy = Policy { rules, h323, ..Policy::default() };
        let core = Core::new(policy.clone(), Bounds::default());
        let (tracker, now) = (Tracker::default(), Time(1_000_000_000));
        Self { policy, events: Vec::new(), core, tracker, now, slot: 0 }
    }

    /// So many seconds pass.
    fn wait(&mut self, seconds: u64) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            self.core.tick(self.now);
            let ended = self.core.actions().iter().filter_map(|action| match action {
                Action::Ended(call, reason) => Some((call.clone(), *reason)),
                _ => None,
            });
            for (call, reason) in ended.collect::<Vec<_>>() {
                self.tracker.ended(&mut self.core, &call, reason);
            }
            self.tracker.tick(&mut self.core, self.now);
            told.extend(self.told());
        }
        told
    }

    /// The events of a kind so far, as subject and text.
    fn events(&self, kind: &str) -> Vec<String> {
        let of_kind = self.events.iter().filter(|event| event.kind.name() == kind);
        of_kind.map(|event| format!("{} {}", event.subject, event.text).trim().to_owned()).collect()
    }

    /// A call signalling message that must be refused, and what is said where nothing can stand in for it.
    fn refused(&mut self, from: &str, to: &str, frame: &[u8]) -> Denial {
        let context = self.context(from, to, Inspect::H225);
        let verdict = match self.tracker.call_signalling(&mut self.core, &context, &frame[4..]) {
            Verdict::Replace(replacement) => *replacement.otherwise,
            other => other,
        };
        match verdict {
            Verdict::Refuse(denial) => *denial,
            other => panic!("{other:?}"),
        }
    }

    /// A RAS message that must be refused.
    fn refused_ras(&mut self, from: &str, to: &str, message: &[u8]) -> Denial {
        let context = self.context(from, to, Inspect::Ras);
        match self.tracker.ras(&mut self.core, &context, message) {
            Verdict::Refuse(denial) => *denial,
            other => panic!("{other:?}"),
        }
    }

    fn context(&self, from: &str, to: &str, protocol: Inspect) -> Context {
        let transport = if protocol == Inspect::Ras { Transport::Udp } else { Transport::Tcp };
        Context {
            now: self.now,
            source: at(from),
            destination: at(to),
            transport,
            protocol,
            slot: self.slot,
            link: None,
        }
    }

    /// Sends a call signalling message that must pass; what it does, in words.
    fn signal(&mut self, from: &str, to: &str, frame: &[u8]) -> Vec<String> {
        self.now = self.now + Duration::from_millis(100);
        let context = self.context(from, to, Inspect::H225);
        assert_eq!(self.tracker.call_signalling(&mut self.core, &context, &frame[4..]), Verdict::Pass);
        self.told()
    }

    fn control(&mut self, from: &str, to: &str, message: &[u8]) -> Vec<String> {
        self.now = self.now + Duration::from_millis(100);
        let context = self.context(from, to, Inspect::H245);
        assert_eq!(self.tracker.control(&mut self.core, &context, message), Verdict::Pass);
        self.told()
    }

    fn ras(&mut self, from: &str, to: &str, message: &[u8]) -> Vec<String> {
        self.now = self.now + Duration::from_millis(100);
        let context = self.context(from, to, Inspect::Ras);
        assert_eq!(self.tracker.ras(&mut self.core, &context, message), Verdict::Pass);
        self.told()
    }

    fn closed(&mut self, from: &str, to: &str, reset: bool) -> Vec<String> {
        let context = self.context(from, to, Inspect::H225);
        self.tracker.closed(&mut self.core, &context, reset);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        let words = |verb: &str, spec: &PinholeSpec| {
            let from: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
            format!("{verb} {} {} from {}", spec.kind.name(), spec.to, from.join(","))
        };
        let told = self.core.take_actions();
        let events = told.iter().filter_map(|action| match action {
            Action::Event(event) => Some(event.clone()),
            _ => None,
        });
        self.events.extend(events);
        told.iter()
            .filter_map(|action| match action {
                Action::Open(spec) => Some(words("open", spec)),
                Action::Update(spec) => Some(words("update", spec)),
                Action::Close { to, reason, .. } => Some(format!("close {to} {}", reason.name())),
                Action::Refused { address, refusal, .. } => {
                    Some(format!("refuse {address} {}", refusal.name()))
                }
                Action::Ended(_, reason) => Some(format!("end {}", reason.name())),
                Action::Path(_) | Action::Say(_) => None,
                Action::Call(_) | Action::Finished(_) | Action::Event(_) | Action::Suspect(_) => None,
            })
            .collect()
    }

    fn only_call(&self) -> &Call {
        let mut calls = self.core.calls();
        let call = calls.next().expect("a call");
        assert_eq!(calls.next(), None, "one call");
        call
    }

    /// The pinholes that ought to be open.
    fn pinholes(&self) -> Vec<String> {
        let mut all: Vec<_> = self.core.pinholes().map(|spec| spec.to.to_string()).collect();
        all.sort();
        all
    }

    /// The daemon was killed and comes back.
    fn restart(&mut self) {
        let calls: Vec<Call> = self.core.calls().cloned().collect();
        self.core = Core::new(self.policy.clone(), Bounds::default());
        self.core.restore(calls, self.now);
        self.tracker = Tracker::default();
        let calls: Vec<Call> = self.core.calls().cloned().collect();
        self.tracker.restore(&mut self.core, &calls, self.now);
        self.core.take_actions();
    }
}

/// A call up to Connect, in which nothing is opened.
fn connected(lab: &mut Lab) {
    assert_eq!(lab.signal(ALICE, BOB, &build::setup(&CALL, &Parts::default())), [""; 0]);
    assert_eq!(lab.signal(BOB, ALICE, &build::call_proceeding(&CALL, &Parts::default())), [""; 0]);
    assert_eq!(lab.signal(BOB, ALICE, &build::alerting(&CALL, &Parts::default())), [""; 0]);
    assert_eq!(lab.only_call().state, State::Ringing);
    assert_eq!(lab.signal(BOB, ALICE, &build::connect(&CALL, &Parts::default())), [""; 0]);
}

#[test]
fn a_call_is_described() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    let call = lab.only_call();
    assert_eq!(call.key, "30313233343536373839616263646566");
    assert_eq!(call.parties, ["1000", "2000"]);
    assert_eq!(call.state, State::Connected);
    assert_eq!(call.signalling, [at(ALICE), at(BOB)]);
}

#[test]
fn fast_start_opens_on_the_proposal_and_narrows_on_the_answer() {
    let mut lab = Lab::new(0);
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    assert_eq!(
        lab.signal(ALICE, BOB, &build::setup(&CALL, &fast(build::proposals(a)))),
        [
            "open rtcp 192.0.2.1:17001 from 198.51.100.7",
            "open rtp 192.0.2.1:17000 from 198.51.100.7",
            "update rtcp 192.0.2.1:17001 from 198.51.100.7",
        ]
    );
    assert_eq!(
        lab.signal(BOB, ALICE, &build::connect(&CALL, &fast(build::acceptance(b, a.rtp)))),
        ["open rtcp 198.51.100.7:18001 from 192.0.2.1", "open rtp 198.51.100.7:18000 from 192.0.2.1"]
    );
    let stream = lab.only_call().streams.values().next().expect("a stream");
    assert_eq!((stream.medium, stream.codec.as_str()), (Medium::Audio, "PCMU"));
    for accepted in stream.contracts {
        let has = [0, 8, 18, 101].map(|number| accepted.payload_types.has(number));
        assert_eq!(
            (has, accepted.clock),
            ([true, false, false, true], 8_000),
            "of the proposals the accepted one"
        );
    }
    // A repetition changes nothing.
    assert_eq!(
        lab.signal(BOB, ALICE, &build::facility(&CALL, true, &fast(build::acceptance(b, a.rtp)))),
        [""; 0]
    );
    assert_eq!(
        lab.signal(ALICE, BOB, &build::release_complete(&CALL, false, &Parts::default()))
            .last()
            .expect("an end"),
        "end release-complete"
    );
    assert!(lab.pinholes().is_empty());
}

#[test]
fn of_several_proposals_only_the_accepted_one_stays() {
    let mut lab = Lab::new(0);
    let (a, other, b) = (media(ALICE, 17_000), media(ALICE, 17_100), media(BOB, 18_000));
    let proposals = [build::proposals(a), build::proposals(other)].concat();
    lab.signal(ALICE, BOB, &build::setup(&CALL, &fast(proposals)));
    assert_eq!(lab.pinholes(), ["192.0.2.1:17000", "192.0.2.1:17001", "192.0.2.1:17100", "192.0.2.1:17101"]);
    lab.signal(BOB, ALICE, &build::alerting(&CALL, &fast(build::acceptance(b, other.rtp))));
    assert_eq!(
        lab.pinholes(),
        ["192.0.2.1:17100", "192.0.2.1:17101", "198.51.100.7:18000", "198.51.100.7:18001"]
    );
    // The session goes on where it was accepted.
    assert_eq!(
        lab.signal(ALICE, BOB, &build::facility(&CALL, false, &tunnel([build::close_logical_channel(1)]))),
        ["close 198.51.100.7:18000 channel-closed"]
    );
}

#[test]
fn proposals_the_callee_does_not_take_close_on_connect() {
    let mut lab = Lab::new(0);
    let offer = fast(build::proposals(media(ALICE, 17_000)));
    lab.signal(ALICE, BOB, &build::setup(&CALL, &offer));
    assert_eq!(lab.signal(BOB, ALICE, &build::alerting(&CALL, &Parts::default())), [""; 0]);
    let closed = lab.signal(BOB, ALICE, &build::connect(&CALL, &Parts::default()));
    assert_eq!(closed, ["close 192.0.2.1:17000 channel-closed", "close 192.0.2.1:17001 channel-closed"]);
}

/// Opens both directions; how each message is sent is said by `send`.
fn slow_start(lab: &mut Lab, mut send: impl FnMut(&mut Lab, bool, Vec<u8>) -> Vec<String>) {
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    send(lab, true, build::terminal_capability_set(false));
    send(lab, false, build::master_slave_determination(9));
    assert_eq!(
        send(lab, true, build::open_logical_channel(3, 1, a.rtcp)),
        ["open rtcp 192.0.2.1:17001 from 198.51.100.7"]
    );
    assert_eq!(
        send(lab, false, build::open_logical_channel(4, 1, b.rtcp)),
        // What the caller receives is known only now, and with it RTCP's share of the rate.
        ["update rtcp 192.0.2.1:17001 from 198.51.100.7", "open rtcp 198.51.100.7:18001 from 192.0.2.1"]
    );
    assert_eq!(
        send(lab, false, build::open_logical_channel_ack(3, 1, b)),
        ["open rtp 198.51.100.7:18000 from 192.0.2.1"]
    );
    assert_eq!(
        send(lab, true, build::open_logical_channel_ack(4, 1, a)),
        ["open rtp 192.0.2.1:17000 from 198.51.100.7"]
    );
}

/// Alice's (`true`) or Bob's message in a Facility.
fn tunnelled(lab: &mut Lab, alice: bool, message: Vec<u8>) -> Vec<String> {
    let frame = build::facility(&CALL, !alice, &tunnel([message]));
    if alice { lab.signal(ALICE, BOB, &frame) } else { lab.signal(BOB, ALICE, &frame) }
}

/// Alice's or Bob's message on a connection from Alice to Bob's port 41,000.
fn separate(lab: &mut Lab, alice: bool, message: Vec<u8>) -> Vec<String> {
    let (a, b) = ("192.0.2.1:41001", "198.51.100.7:41000");
    if alice { lab.control(a, b, &message) } else { lab.control(b, a, &message) }
}

/// Connect with Bob's H.245 address.
fn with_control(lab: &mut Lab) {
    lab.signal(ALICE, BOB, &build::setup(&CALL, &Parts::default()));
    let parts = Parts { h245_address: Some(at("198.51.100.7:41000")), ..Parts::default() };
    assert_eq!(
        lab.signal(BOB, ALICE, &build::connect(&CALL, &parts)),
        ["open h245 198.51.100.7:41000 from 192.0.2.1"]
    );
}

#[test]
fn slow_start_through_the_tunnel() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    slow_start(&mut lab, tunnelled);
}

#[test]
fn several_messages_in_one_tunnel() {
    let mut lab = Lab::new(0);
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    connected(&mut lab);
    lab.signal(
        ALICE,
        BOB,
        &build::facility(&CALL, false, &tunnel([build::open_logical_channel(3, 1, a.rtcp)])),
    );
    let both = tunnel([build::open_logical_channel_ack(3, 1, b), build::open_logical_channel(4, 1, b.rtcp)]);
    lab.signal(BOB, ALICE, &build::facility(&CALL, true, &both));
    assert_eq!(lab.pinholes(), ["192.0.2.1:17001", "198.51.100.7:18000", "198.51.100.7:18001"]);
}

#[test]
fn slow_start_on_a_connection_of_its_own() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    assert_eq!(lab.only_call().streams.len(), 2);
}

#[test]
fn the_callee_connects_back_to_the_address_of_a_start_h245() {
    let mut lab = Lab::new(0);
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    lab.signal(ALICE, BOB, &build::setup(&CALL, &fast(build::proposals(a))));
    lab.signal(BOB, ALICE, &build::connect(&CALL, &fast(build::acceptance(b, a.rtp))));
    let parts = Parts { h245_address: Some(at("192.0.2.1:42000")), ..Parts::default() };
    assert_eq!(
        lab.signal(ALICE, BOB, &build::facility(&CALL, false, &parts)),
        ["open h245 192.0.2.1:42000 from 198.51.100.7"]
    );
    // Bob's end of the connection is the one that called: it is Bob who closes what he had opened.
    assert_eq!(
        lab.control("198.51.100.7:43000", "192.0.2.1:42000", &build::close_logical_channel(101)),
        ["close 192.0.2.1:17000 channel-closed"]
    );
    assert_eq!(
        lab.control("192.0.2.1:42000", "198.51.100.7:43000", &build::end_session()),
        [
            "close 192.0.2.1:17001 end-session",
            "close 198.51.100.7:18000 end-session",
            "close 198.51.100.7:18001 end-session"
        ]
    );
    assert_eq!(lab.pinholes(), ["192.0.2.1:42000"]);
}

#[test]
fn closing_a_channel_closes_its_direction_and_the_last_one_all() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    assert_eq!(
        separate(&mut lab, true, build::close_logical_channel(3)),
        ["close 198.51.100.7:18000 channel-closed"]
    );
    assert_eq!(separate(&mut lab, false, build::close_logical_channel_ack(3)), [""; 0]);
    separate(&mut lab, false, build::close_logical_channel(4));
    assert_eq!(lab.pinholes(), ["198.51.100.7:41000"]);
}

#[test]
fn a_new_channel_of_the_session_outlives_the_old_one() {
    let mut lab = Lab::new(0);
    let b = media(BOB, 18_000);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    separate(&mut lab, true, build::open_logical_channel(5, 1, media(ALICE, 17_000).rtcp));
    assert_eq!(separate(&mut lab, false, build::open_logical_channel_ack(5, 1, b)), [""; 0]);
    assert_eq!(separate(&mut lab, true, build::close_logical_channel(3)), [""; 0]);
    let moved = separate(&mut lab, false, build::open_logical_channel_ack(5, 1, media(BOB, 18_200)));
    assert!(moved.contains(&"open rtp 198.51.100.7:18200 from 192.0.2.1".to_owned()), "{moved:?}");
    assert!(moved.contains(&"close 198.51.100.7:18000 moved".to_owned()), "{moved:?}");
}

#[test]
fn a_rejected_channel_leaves_nothing() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    separate(&mut lab, true, build::open_logical_channel(3, 1, media(ALICE, 17_000).rtcp));
    assert_eq!(
        separate(&mut lab, false, build::open_logical_channel_reject(3)),
        ["close 192.0.2.1:17001 channel-closed"]
    );
}

#[test]
fn an_empty_capability_set_holds_the_call() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    let held = |lab: &Lab| lab.only_call().streams.values().filter(|stream| stream.held).count();
    separate(&mut lab, false, build::terminal_capability_set(true));
    assert_eq!(held(&lab), 1);
    separate(&mut lab, false, build::terminal_capability_set(false));
    assert_eq!(held(&lab), 0);
}

#[test]
fn calls_on_one_connection_do_not_disturb_each_other() {
    let mut lab = Lab::new(0);
    let other = build::Call { reference: 78, id: [7; 16] };
    let (a, b) = (media(ALICE, 17_000), media(ALICE, 17_100));
    lab.signal(ALICE, BOB, &build::setup(&CALL, &fast(build::proposals(a))));
    lab.signal(ALICE, BOB, &build::setup(&other, &fast(build::proposals(b))));
    // A call the other way may have the same reference: the flag tells them apart.
    let back = build::Call { reference: 77, id: [8; 16] };
    lab.signal(BOB, ALICE, &build::setup(&back, &fast(build::proposals(media(BOB, 19_000)))));
    assert_eq!(lab.core.calls().count(), 3);
    lab.signal(BOB, ALICE, &build::release_complete(&CALL, true, &Parts::default()));
    assert_eq!(
        lab.pinholes(),
        ["192.0.2.1:17100", "192.0.2.1:17101", "198.51.100.7:19000", "198.51.100.7:19001"]
    );
}

#[test]
fn a_release_with_a_stranger_s_identifier_ends_the_call_of_its_reference() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    let stray = build::Call { reference: CALL.reference, id: [9; 16] };
    assert_eq!(
        lab.signal(BOB, ALICE, &build::release_complete(&stray, true, &Parts::default())),
        ["end release-complete"]
    );
}

#[test]
fn somebody_else_cannot_end_a_call_by_its_identifier() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    let release = build::release_complete(&CALL, false, &Parts::default());
    assert_eq!(lab.signal("192.0.2.66:30000", BOB, &release), [""; 0]);
    assert_eq!(lab.core.calls().count(), 1);
}

#[test]
fn a_reset_ends_calls_and_a_fin_only_unanswered_ones() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    let other = build::Call { reference: 78, id: [7; 16] };
    lab.signal(ALICE, BOB, &build::setup(&other, &Parts::default()));
    assert_eq!(lab.closed(ALICE, BOB, false), ["end connection-reset"]);
    assert_eq!(lab.only_call().state, State::Connected);
    // It may go on, on another connection.
    let frame = build::facility(
        &CALL,
        false,
        &tunnel([build::open_logical_channel(3, 1, media(ALICE, 17_000).rtcp)]),
    );
    assert_eq!(lab.signal("192.0.2.1:30001", BOB, &frame), ["open rtcp 192.0.2.1:17001 from 198.51.100.7"]);
    assert_eq!(lab.closed(BOB, "192.0.2.1:30001", true).last().expect("an end"), "end connection-reset");
}

#[test]
fn addresses_of_others_are_refused_and_the_rest_goes_on() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    let own = media(BOB, 18_000);
    let stranger = Media { rtp: at("203.0.113.9:18000"), rtcp: at("203.0.113.9:18001") };
    let low = Media { rtp: at("198.51.100.7:22"), rtcp: at("198.51.100.7:23") };
    separate(&mut lab, true, build::open_logical_channel(3, 1, media(ALICE, 17_000).rtcp));
    assert_eq!(
        separate(&mut lab, false, build::open_logical_channel_ack(3, 1, stranger)),
        ["refuse 203.0.113.9:18000 not-the-announcers"]
    );
    assert_eq!(
        separate(&mut lab, false, build::open_logical_channel_ack(3, 1, low)),
        ["refuse 198.51.100.7:22 privileged-port"]
    );
    let opened = separate(&mut lab, false, build::open_logical_channel_ack(3, 1, own));
    assert!(opened.contains(&"open rtp 198.51.100.7:18000 from 192.0.2.1".to_owned()), "{opened:?}");
}

#[test]
fn t120_is_opened_where_its_stack_listens() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    assert_eq!(
        separate(&mut lab, false, build::open_data_channel(5, at("198.51.100.7:1503"))),
        ["open t120 198.51.100.7:1503 from 192.0.2.1"]
    );
    assert_eq!(
        separate(&mut lab, false, build::close_logical_channel(5)),
        ["close 198.51.100.7:1503 channel-closed"]
    );
}

#[test]
fn media_of_a_third_party_where_the_rule_permits_it() {
    let mut lab = Lab::new(ANY);
    with_control(&mut lab);
    let phone = Media { rtp: at("203.0.113.9:18000"), rtcp: at("203.0.113.9:18001") };
    separate(&mut lab, true, build::open_logical_channel(3, 1, media(ALICE, 17_000).rtcp));
    separate(&mut lab, false, build::open_logical_channel_ack(3, 1, phone));
    separate(&mut lab, false, build::open_logical_channel(4, 1, phone.rtcp));
    assert_eq!(
        separate(&mut lab, true, build::open_logical_channel_ack(4, 1, media(ALICE, 17_000))),
        ["open rtp 192.0.2.1:17000 from 203.0.113.9"]
    );
}

/// A gatekeeper that calls go through: it calls from `OUT` whom it was asked for on `IN`.
const IN: &str = "203.0.113.5:1720";
const OUT: &str = "203.0.113.5:30500";

#[test]
fn through_a_gatekeeper_media_goes_directly() {
    let mut lab = Lab::new(0);
    let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
    let (offer, answer) = (fast(build::proposals(a)), fast(build::acceptance(b, a.rtp)));
    let second = build::Call { reference: 900, ..CALL };
    lab.signal(ALICE, IN, &build::setup(&CALL, &offer));
    lab.signal(OUT, BOB, &build::setup(&second, &offer));
    lab.signal(BOB, OUT, &build::connect(&second, &answer));
    lab.signal(IN, ALICE, &build::connect(&CALL, &answer));
    assert_eq!(lab.core.calls().count(), 2);
    let admits = |lab: &Lab, to: &str| -> Vec<IpAddr> {
        let spec = lab.core.pinholes().find(|spec| spec.to == at(to)).expect("a pinhole");
        spec.senders.iter().map(|sender| sender.ip).collect()
    };
    assert_eq!(admits(&lab, "192.0.2.1:17000"), [at(BOB).ip()]);
    assert_eq!(admits(&lab, "198.51.100.7:18000"), [at(ALICE).ip()]);
    lab.signal(ALICE, IN, &build::release_complete(&CALL, false, &Parts::default()));
    assert_eq!(lab.pinholes().len(), 4);
    lab.signal(OUT, BOB, &build::release_complete(&second, false, &Parts::default()));
    assert!(lab.pinholes().is_empty());
}

#[test]
fn through_a_gatekeeper_h245_goes_directly() {
    let mut lab = Lab::new(0);
    let second = build::Call { reference: 900, ..CALL };
    let parts = Parts { h245_address: Some(at("198.51.100.7:41000")), ..Parts::default() };
    lab.signal(ALICE, IN, &build::setup(&CALL, &Parts::default()));
    lab.signal(OUT, BOB, &build::setup(&second, &Parts::default()));
    assert_eq!(
        lab.signal(BOB, OUT, &build::connect(&second, &parts)),
        ["open h245 198.51.100.7:41000 from 203.0.113.5"]
    );
    assert_eq!(
        lab.signal(IN, ALICE, &build::connect(&CALL, &parts)),
        ["update h245 198.51.100.7:41000 from 192.0.2.1,203.0.113.5"]
    );
    let (a, b) = ("192.0.2.1:41001", "198.51.100.7:41000");
    lab.control(b, a, &build::open_logical_channel(4, 1, media(BOB, 18_000).rtcp));
    lab.control(a, b, &build::open_logical_channel_ack(4, 1, media(ALICE, 17_000)));
    let call = lab.core.calls().find(|call| !call.streams.is_empty() && call.signalling[0] == at(ALICE));
    let stream =
        call.and_then(|call| call.streams.values().find(|s| s.medium == Medium::Audio)).expect("audio");
    assert_eq!(stream.ends[Party::Caller as usize].media, Some(media(ALICE, 17_000).rtp));
    assert_eq!(stream.ends[Party::Callee as usize].control, Some(media(BOB, 18_000).rtcp));
}

#[test]
fn a_forwarded_call_may_be_made_to_the_address_it_is_forwarded_to() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    assert_eq!(
        lab.signal(BOB, ALICE, &build::forward(&CALL, at("198.51.100.7:2720"))),
        ["open h225 198.51.100.7:2720 from 192.0.2.1"]
    );
    assert_eq!(
        lab.signal(BOB, ALICE, &build::forward(&CALL, at("203.0.113.9:2720"))),
        ["refuse 203.0.113.9:2720 not-the-announcers", "end refused"]
    );
    assert_eq!(
        lab.signal(BOB, ALICE, &build::forward(&CALL, at("203.0.113.9:1720"))),
        ["refuse 203.0.113.9:1720 not-the-announcers", "end refused"]
    );
}

#[test]
fn an_admission_outlives_a_restart() {
    let mut lab = Lab::new(0);
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(4, CALL.id));
    lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, at("203.0.113.5:2720")));
    lab.restart();
    assert_eq!(
        lab.ras(ALICE, GATEKEEPER, &ras::disengage_request(5, CALL.id)),
        ["close 203.0.113.5:2720 release-complete", "end release-complete"]
    );
}

#[test]
fn what_cannot_be_read_is_dropped() {
    let mut lab = Lab::new(0);
    let context = lab.context(ALICE, BOB, Inspect::H225);
    let malformed = Verdict::Drop(Reason::AlgMalformed);
    let empty_user_user = [0x08, 0x02, 0, 1, 0x62, 0x7e, 0, 0];
    assert_eq!(lab.tracker.call_signalling(&mut lab.core, &context, &empty_user_user), malformed);
    let cut = fast(vec![build::proposals(media(ALICE, 17_000))[0][..12].to_vec()]);
    assert_eq!(
        lab.tracker.call_signalling(&mut lab.core, &context, &build::setup(&CALL, &cut)[4..]),
        malformed
    );
    let cut = tunnel([build::open_logical_channel(3, 1, at(ALICE))[..8].to_vec()]);
    assert_eq!(
        lab.tracker.call_signalling(&mut lab.core, &context, &build::setup(&CALL, &cut)[4..]),
        malformed
    );
    assert_eq!(lab.tracker.control(&mut lab.core, &context, &[0x02]), malformed);
    assert_eq!(lab.tracker.ras(&mut lab.core, &context, &[0x0e]), malformed);
    assert!(lab.told().is_empty());
    // An empty frame keeps a connection alive.
    assert_eq!(lab.tracker.call_signalling(&mut lab.core, &context, &[]), Verdict::Pass);
}

#[test]
fn over_ipv6() {
    let mut lab = Lab::new(0);
    let (alice, bob) = ("[2001:db8::1]:30000", "[2001:db8:1::7]:1720");
    let (a, b) = (media(alice, 17_000), media(bob, 18_000));
    lab.signal(alice, bob, &build::setup(&CALL, &fast(build::proposals(a))));
    lab.signal(bob, alice, &build::connect(&CALL, &fast(build::acceptance(b, a.rtp))));
    assert_eq!(
        lab.pinholes(),
        ["[2001:db8:1::7]:18000", "[2001:db8:1::7]:18001", "[2001:db8::1]:17000", "[2001:db8::1]:17001"]
    );
}

#[test]
fn a_call_goes_on_after_a_restart() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    let before = lab.tracker.legs.clone();
    lab.restart();
    assert_eq!(lab.tracker.legs, before);
    assert_eq!(
        separate(&mut lab, true, build::close_logical_channel(3)),
        ["close 198.51.100.7:18000 channel-closed"]
    );
    lab.restart();
    let release = build::release_complete(&CALL, true, &Parts::default());
    assert_eq!(lab.signal(BOB, ALICE, &release).last().expect("an end"), "end release-complete");
    assert!(lab.pinholes().is_empty());
}

#[test]
fn an_offer_is_answered_after_a_restart() {
    let mut lab = Lab::new(0);
    let (a, other, b) = (media(ALICE, 17_000), media(ALICE, 17_100), media(BOB, 18_000));
    let proposals = [build::proposals(a), build::proposals(other)].concat();
    lab.signal(ALICE, BOB, &build::setup(&CALL, &fast(proposals)));
    lab.restart();
    lab.signal(BOB, ALICE, &build::connect(&CALL, &fast(build::acceptance(b, a.rtp))));
    assert_eq!(
        lab.pinholes(),
        ["192.0.2.1:17000", "192.0.2.1:17001", "198.51.100.7:18000", "198.51.100.7:18001"]
    );
}

#[test]
fn a_memo_keeps_its_bound() {
    let mut leg = Leg::new(CallId(1), Some(Guid([0xab; 16])), 32_767, [at("[2001:db8::1]:30000"); 2]);
    for number in 1..=u16::MAX {
        leg.enter(leg::Channel {
            opener: Party::Callee,
            number,
            stream: leg::unassigned(Party::Callee, number),
            refused: false,
        });
    }
    assert!(leg.memo().len() <= 1024);
    assert!(leg.channels.len() <= 64);
}

#[test]
fn calls_the_core_ends_are_forgotten() {
    let mut lab = Lab::new(0);
    with_control(&mut lab);
    slow_start(&mut lab, separate);
    let call = lab.only_call().clone();
    lab.core.end_call(call.id, EndReason::Inactivity);
    lab.tracker.ended(&mut lab.core, &call, EndReason::Inactivity);
    let tracker = &lab.tracker;
    assert!(tracker.legs.is_empty() && tracker.by_guid.is_empty() && tracker.by_reference.is_empty());
    assert!(tracker.connections.is_empty() && tracker.controls.is_empty() && tracker.listeners.is_empty());
}

#[test]
fn a_call_that_began_unseen_is_taken_up() {
    let mut lab = Lab::new(0);
    connected(&mut lab);
    lab = Lab::new(0);
    assert_eq!(lab.signal(BOB, ALICE, &build::facility(&CALL, true, &Parts::default())), [""; 0]);
    assert_eq!(lab.core.calls().count(), 0);
    slow_start(&mut lab, tunnelled);
    assert_eq!(lab.only_call().signalling, [at(ALICE), at(BOB)]);
}

#[test]
fn an_admission_opens_the_address_it_tells() {
    let mut lab = Lab::new(0);
    let callee = at("203.0.113.5:2720");
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(4, CALL.id));
    // Not the answer of the gatekeeper that was asked.
    assert_eq!(lab.ras("203.0.113.6:1719", ALICE, &ras::admission_confirm(4, callee)), [""; 0]);
    assert_eq!(
        lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, callee)),
        ["open h225 203.0.113.5:2720 from 192.0.2.1"]
    );
    assert_eq!(lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, callee)), [""; 0]);
    assert_eq!(lab.ras("192.0.2.9:1719", GATEKEEPER, &ras::disengage_request(5, CALL.id)), [""; 0]);
    assert_eq!(
        lab.ras(ALICE, GATEKEEPER, &ras::disengage_request(5, CALL.id)),
        ["close 203.0.113.5:2720 release-complete", "end release-complete"]
    );
}

#[test]
fn an_admission_opens_the_well_known_port_too() {
    let mut lab = Lab::new(0);
    lab.ras(ALICE, GATEKEEPER, &ras::admission_request(4, CALL.id));
    assert_eq!(
        lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(4, at("203.0.113.5:1720"))),
        ["open h225 203.0.113.5:1720 from 192.0.2.1"]
    );
}

#[test]
fn a_gatekeeper_tells_the_addresses_of_those_who_have_registered() {
    let mut lab = Lab::new(0);
    let bob = at("198.51.100.7:2720");
    let ask = |lab: &mut Lab, sequence| {
        lab.ras(ALICE, GATEKEEPER, &ras::admission_request(sequence, CALL.id));
        lab.ras(GATEKEEPER, ALICE, &ras::admission_confirm(sequence, bob))
    };
    assert_eq!(ask(&mut lab, 1), ["refuse 198.51.100.7:2720 not-the-announcers", "end refused"]);
    let from = "198.51.100.7:1719";
    lab.ras(from, GATEKEEPER, &ras::registration_request(2, bob, at(from), 60));
    lab.ras(GATEKEEPER, from, &ras::registration_confirm(2, 60));
    assert_eq!(ask(&mut lab, 3), ["update h225 198.51.100.7:2720 from 192.0.2.1,203.0.113.5"]);
}

#[test]
fn a_registered_address_may_be_announced_until_it_is_taken_back() {
    let mut lab = Lab::new(0);
    let phone = media("192.0.2.50:1720", 17_000);
    let (alice, second) = ("192.0.2.1:1719", at("192.0.2.50:1720"));
    lab.ras(alice, GATEKEEPER, &ras::registration_request(2, second, at(alice), 60));
    // Not confirmed yet.
    let setup = build::setup(&CALL, &fast(build::proposals(phone)));
    assert!(lab.signal(ALICE, BOB, &setup).iter().all(|told| told.starts_with("refuse")));
    lab.ras(GATEKEEPER, alice, &ras::registration_confirm(2, 60));
    assert_eq!(lab.signal(ALICE, BOB, &setup).len(), 2);
    assert_eq!(lab.pinholes(), ["192.0.2.50:17000", "192.0.2.50:17001", "192.0.2.50:1720"]);
    lab.signal(ALICE, BOB, &build::release_complete(&CALL, false, &Parts::default()));
    lab.ras(alice, GATEKEEPER, &ras::unregistration_request(3, second));
    lab.signal(ALICE, BOB, &setup);
    assert!(lab.pinholes().is_empty());
}

#[test]
fn a_gatekeeper_on_another_port_is_reached_by_who_has_discovered_it() {
    let mut lab = Lab::new(0);
    lab.ras(ALICE, "224.0.1.41:1718", &ras::gatekeeper_request(1, at(ALICE)));
    assert_eq!(
        lab.ras(GATEKEEPER, ALICE, &ras::gatekeeper_confirm(1, at("203.0.113.5:2719"))),
        ["open ras 203.0.113.5:2719 from 192.0.2.1"]
    );
}

#[test]
fn a_location_opens_the_address_it_tells() {
    let mut lab = Lab::new(0);
    let peer = "203.0.113.6:1719";
    lab.ras(GATEKEEPER, peer, &ras::location_request(1, at(GATEKEEPER)));
    assert_eq!(
        lab.ras(peer, GATEKEEPER, &ras::location_confirm(1, at("203.0.113.6:2720"), at(peer))),
        ["open h225 203.0.113.6:2720 from 203.0.113.5"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Damaged messages in any order: no panic, and no pinhole for anybody but the two.
    #[test]
    fn damage_opens_nothing_for_strangers(
        steps in prop::collection::vec((0_usize..8, any::<bool>(), 0_usize..200, any::<u8>()), 1..40),
    ) {
        let mut lab = Lab::new(0);
        let (a, b) = (media(ALICE, 17_000), media(BOB, 18_000));
        let messages = [
            build::setup(&CALL, &fast(build::proposals(a))),
            build::connect(&CALL, &fast(build::acceptance(b, a.rtp))),
            build::connect(&CALL, &Parts { h245_address: Some(at("198.51.100.7:41000")), ..Parts::default() }),
            build::facility(&CALL, true, &tunnel([build::open_logical_channel_ack(3, 1, b), build::end_session()])),
            build::facility(&CALL, false, &tunnel([build::open_logical_channel(3, 1, a.rtcp)])),
            build::release_complete(&CALL, false, &Parts::default()),
            tpkt(&build::open_logical_channel_ack(3, 1, b)),
            tpkt(&ras::admission_confirm(4, at(GATEKEEPER))),
        ];
        for (which, back, place, flip) in steps {
            let mut frame = messages[which].clone();
            let place = 4 + place % (frame.len() - 4);
            frame[place] ^= flip;
            let (from, to) = if back { (BOB, ALICE) } else { (ALICE, BOB) };
            let context = lab.context(from, to, Inspect::H225);
            let payload = &frame[4..];
            match which {
                6 => _ = lab.tracker.control(&mut lab.core, &context, payload),
                7 => _ = lab.tracker.ras(&mut lab.core, &context, payload),
                _ => _ = lab.tracker.call_signalling(&mut lab.core, &context, payload),
            }
            for spec in lab.core.pinholes() {
                for ip in spec.senders.iter().map(|sender| sender.ip).chain([spec.to.ip()]) {
                    prop_assert!(ip == at(ALICE).ip() || ip == at(BOB).ip(), "{spec:?}");
                }
            }
            let legs: Vec<_> = lab.tracker.legs.keys().collect();
            let calls: Vec<_> = lab.core.calls().map(|call| call.id).collect();
            prop_assert_eq!(legs.len(), calls.len());
            prop_assert!(legs.iter().all(|id| calls.contains(id)));
        }
    }
}
