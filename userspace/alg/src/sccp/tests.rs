use std::collections::HashMap;
use std::time::Duration;

use callgate_protocols::build::sccp as build;
use callgate_protocols::sccp::Channel;
use callgate_rules::{Admission, Mismatch, Pattern, SccpPolicy};
use proptest::prelude::*;

use super::*;
use crate::action::{Action, PinholeSpec, Transport};
use crate::call::{Party, State};
use crate::core::Bounds;
use crate::media::{Authority, Policy, RulePolicy};

mod call_policy;

const ALICE: &str = "192.0.2.1:50000";
const BOB: &str = "198.51.100.7:50000";
const MANAGER: &str = "203.0.113.5:2000";
/// The slot whose rule says `media = "any"`; slot 0 has the default.
const ANY: u32 = 1;
const CALL: Channel = Channel { conference: 9, party: 501, call: 77 };

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// A firewall and a clock.
struct Lab {
    core: Core,
    tracker: Tracker,
    now: Time,
    slot: u32,
    /// Connections are read from their handshake on.
    whole: bool,
    /// The Ethernet source of every frame.
    link: Option<[u8; 6]>,
}

impl Lab {
    fn new(slot: u32) -> Self {
        Self::with(slot, SccpPolicy::default())
    }

    fn with(slot: u32, sccp: SccpPolicy) -> Self {
        let rules = HashMap::from([(ANY, RulePolicy::from(Authority::Any))]);
        let core = Core::new(Policy { rules, sccp, ..Policy::default() }, Bounds::default());
        Self { core, tracker: Tracker::default(), now: Time(1_000_000_000), slot, whole: true, link: None }
    }

    fn context(&self, from: &str, to: &str) -> Context {
        Context {
            now: self.now,
            source: at(from),
            destination: at(to),
            transport: Transport::Tcp,
            protocol: Inspect::Sccp,
            slot: self.slot,
            link: self.link,
        }
    }

    fn verdict(&mut self, from: &str, to: &str, frame: &[u8]) -> Verdict {
        self.now = self.now + Duration::from_millis(10);
        let context = self.context(from, to);
        let server = if [at(from), at(to)].iter().any(|end| end.port() == 2_000) {
            [at(from), at(to)].into_iter().find(|end| end.port() == 2_000)
        } else {
            None
        };
        self.tracker.message(&mut self.core, &context, server.filter(|_| self.whole), frame)
    }

    /// Sends a message that must pass; what it does, in words.
    fn send(&mut self, from: &str, to: &str, frame: &[u8]) -> Vec<String> {
        assert_eq!(self.verdict(from, to, frame), Verdict::Pass, "{:?}", self.told());
        self.told()
    }

    fn manager_says(&mut self, to: &str, frame: &[u8]) -> Vec<String> {
        self.send(MANAGER, to, frame)
    }

    fn phone_says(&mut self, from: &str, frame: &[u8]) -> Vec<String> {
        self.send(from, MANAGER, frame)
    }

    fn closed(&mut self, from: &str, to: &str, reset: bool) -> Vec<String> {
        let context = self.context(from, to);
        self.tracker.closed(&mut self.core, &context, reset);
        self.told()
    }

    fn later(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        self.tracker.tick(&mut self.core, self.now);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        let words = |verb: &str, spec: &PinholeSpec| {
            let from = spec.senders.iter().map(|sender| match sender.port {
                Some(port) => SocketAddr::new(sender.ip, port).to_string(),
                None => sender.ip.to_string(),
            });
            let from: Vec<_> = from.collect();
            format!("{verb} {} {} from {}", spec.kind.name(), spec.to, from.join(","))
        };
        let told = self.core.take_actions();
        told.iter()
            .filter_map(|action| match action {
                Action::Open(spec) => Some(words("open", spec)),
                Action::Update(spec) => Some(words("update", spec)),
                Action::Close { to, reason, .. } => Some(format!("close {to} {}", reason.name())),
                Action::Refused { address, refusal, .. } => {
                    Some(format!("refuse {address} {}", refusal.name()))
                }
                Action::Ended(_, reason) => Some(format!("end {}", reason.name())),
                Action::Event(event) => Some(format!("{} {}: {}", event.kind, event.subject, event.text)),
                Action::Path(_) | Action::Say(_) => None,
                Action::Call(_) | Action::Finished(_) | Action::Suspect(_) => None,
            })
            .collect()
    }

    /// Registers a device that must be let in.
    fn register(&mut self, phone: &str, name: &str, version: u8) -> Vec<String> {
        let frame = build::register(name, at(phone).ip(), version);
        assert_eq!(self.phone_says(phone, &frame), [""; 0]);
        self.manager_says(phone, &build::register_ack(30, version))
    }

    /// Two registered phones.
    fn with_phones(slot: u32) -> Self {
        let mut lab = Self::new(slot);
        lab.register(ALICE, "SEPA", 17);
        lab.register(BOB, "SEPB", 17);
        lab
    }

    /// Alice's phone is told to receive, and does.
    fn receive(&mut self, version: u32, address: &str) -> Vec<String> {
        assert_eq!(self.manager_says(ALICE, &build::open_receive(version, CALL, 4, false)), [""; 0]);
        self.phone_says(ALICE, &build::open_receive_ack(version, CALL, at(address), false))
    }

    /// Alice's phone is told where to send.
    fn start(&mut self, version: u32, address: &str) -> Vec<String> {
        self.manager_says(ALICE, &build::start(version, CALL, at(address), 4, false))
    }

    fn pinholes(&self) -> Vec<String> {
        let mut all: Vec<_> = self.core.pinholes().map(|spec| spec.to.to_string()).collect();
        all.sort();
        all
    }

    fn only_call(&self) -> &Call {
        let mut calls = self.core.calls();
        let call = calls.next().expect("a call");
        assert_eq!(calls.next(), None, "one call");
        call
    }

    fn phone(&self, name: &str) -> &Phone {
        self.tracker.phones().find(|phone| phone.name == name).expect("a phone of this name")
    }
}

/// Registration, a call in both directions, hold and its end, in one version.
fn a_call(version: u8, [alice, bob, manager]: [&str; 3]) {
    let mut lab = Lab::new(0);
    let header = if version < 10 { 0 } else { u32::from(version) };
    for (phone, name) in [(alice, "SEPA"), (bob, "SEPB")] {
        lab.send(phone, manager, &build::register(name, at(phone).ip(), version));
        lab.send(manager, phone, &build::register_ack(30, version));
    }
    let rtp = |phone: &str, port| SocketAddr::new(at(phone).ip(), port);
    let (a, b) = (rtp(alice, 20_000), rtp(bob, 30_000));
    let (ip_a, ip_b, ip_m) = (a.ip(), b.ip(), at(manager).ip());
    lab.send(manager, alice, &build::call_state(header, 1, 77));
    lab.send(manager, alice, &build::open_receive(header, CALL, 4, false));
    let told = lab.send(alice, manager, &build::open_receive_ack(header, CALL, a, false));
    let rtcp = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + 1);
    let half = [format!("open rtp {a} from {ip_m}"), format!("open rtcp {} from {ip_m}", rtcp(a))];
    assert_eq!(told, half, "version {version}");
    let told = lab.send(manager, alice, &build::start(header, CALL, b, 4, false));
    let mut whole = vec![
        format!("update rtp {a} from {ip_b}"),
        format!("update rtcp {} from {ip_b}", rtcp(a)),
        format!("open rtp {b} from {ip_a}"),
        format!("open rtcp {} from {ip_a}", rtcp(b)),
    ];
    whole.sort();
    let mut told = told;
    told.sort();
    assert_eq!(told, whole, "version {version}");
    let mut gone = lab.send(manager, alice, &build::close(header, 0x0106, CALL));
    gone.extend(lab.send(manager, alice, &build::close(header, 0x008b, CALL)));
    gone.sort();
    let mut expected: Vec<_> =
        [a, rtcp(a), b, rtcp(b)].iter().map(|to| format!("close {to} channel-closed")).collect();
    expected.sort();
    assert_eq!(gone, expected, "on hold");
    lab.send(manager, alice, &build::open_receive(header, CALL, 4, false));
    lab.send(alice, manager, &build::open_receive_ack(header, CALL, a, false));
    assert_eq!(lab.pinholes().len(), 2, "resumed");
    let told = lab.send(manager, alice, &build::call_state(header, 2, 77));
    assert_eq!(told.last().map(String::as_str), Some("end on-hook"));
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn a_call_opens_what_both_legs_tell_and_closes_it_again() {
    for version in [3, 11, 17, 20, 22] {
        a_call(version, [ALICE, BOB, MANAGER]);
    }
    a_call(22, ["[2001:db8::1]:50000", "[2001:db8::7]:50000", "[2001:db8::5]:2000"]);
}

#[test]
fn the_transmission_may_be_told_first() {
    let mut lab = Lab::with_phones(0);
    lab.manager_says(ALICE, &build::open_receive(17, CALL, 4, false));
    let told = lab.start(17, "198.51.100.7:30000");
    assert_eq!(
        told,
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    let told = lab.phone_says(ALICE, &build::open_receive_ack(17, CALL, at("192.0.2.1:20000"), false));
    assert_eq!(
        told,
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20001 from 198.51.100.7"]
    );
}

#[test]
fn a_stranger_is_not_the_call_managers_to_announce() {
    let mut lab = Lab::with_phones(0);
    assert_eq!(lab.start(17, "192.0.2.66:20000"), ["refuse 192.0.2.66:20000 not-the-announcers"]);
    assert_eq!(lab.pinholes(), [""; 0]);
    assert_eq!(lab.start(17, "198.51.100.7:22"), ["refuse 198.51.100.7:22 privileged-port"]);
    assert_eq!(lab.start(17, "203.0.113.5:24000").len(), 2, "its own address");
    let mut lab = Lab::with_phones(ANY);
    assert_eq!(lab.start(17, "192.0.2.66:20000").len(), 2, "the rule says any");
}

#[test]
fn a_phone_may_announce_nothing_but_itself() {
    let mut lab = Lab::with_phones(0);
    assert_eq!(lab.receive(17, "198.51.100.7:20000"), ["refuse 198.51.100.7:20000 not-the-announcers"]);
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn a_phone_that_has_gone_is_not_announced_any_more() {
    let mut lab = Lab::with_phones(0);
    lab.closed(BOB, MANAGER, true);
    assert_eq!(lab.start(17, "198.51.100.7:30000"), ["refuse 198.51.100.7:30000 not-the-announcers"]);
}

#[test]
fn a_phone_may_send_from_another_port_than_it_receives_on() {
    let mut lab = Lab::with_phones(0);
    lab.receive(17, "192.0.2.1:20000");
    lab.start(17, "198.51.100.7:30000");
    let told = lab.phone_says(ALICE, &build::start_ack(17, CALL, at("192.0.2.1:21000"), false));
    assert_eq!(told, ["update rtp 198.51.100.7:30000 from 192.0.2.1:21000"]);
    let told = lab.phone_says(ALICE, &build::start_ack(17, CALL, at("192.0.2.66:21000"), false));
    assert_eq!(
        told,
        ["refuse 192.0.2.66:21000 not-the-announcers", "update rtp 198.51.100.7:30000 from 192.0.2.1"]
    );
    let told = lab.phone_says(ALICE, &build::start_ack(17, CALL, at("192.0.2.1:0"), false));
    assert_eq!(told, [""; 0], "no port is told");
}

#[test]
fn rtcp_has_the_port_the_phone_has_taken_for_it() {
    let mut lab = Lab::with_phones(0);
    lab.manager_says(ALICE, &build::open_receive(20, CALL, 4, false));
    let (a, b) = (at("192.0.2.1:20000"), at("198.51.100.7:30000"));
    lab.phone_says(ALICE, &build::port_response(20, CALL, a, 20_010));
    lab.phone_says(ALICE, &build::open_receive_ack(20, CALL, a, false));
    assert_eq!(lab.pinholes(), ["192.0.2.1:20000", "192.0.2.1:20010"]);
    // The other leg is told of it by RTP's port alone.
    lab.manager_says(BOB, &build::open_receive(20, CALL, 4, false));
    lab.phone_says(BOB, &build::port_response(20, CALL, at("192.0.2.1:22"), 22));
    lab.phone_says(BOB, &build::open_receive_ack(20, CALL, b, false));
    lab.manager_says(BOB, &build::start(20, CALL, a, 4, false));
    let all = ["192.0.2.1:20000", "192.0.2.1:20010", "198.51.100.7:30000", "198.51.100.7:30001"];
    assert_eq!(lab.pinholes(), all);
}

#[test]
fn each_direction_closes_by_itself() {
    let mut lab = Lab::with_phones(0);
    lab.receive(17, "192.0.2.1:20000");
    lab.start(17, "198.51.100.7:30000");
    lab.manager_says(ALICE, &build::close(17, 0x008b, CALL));
    assert_eq!(lab.pinholes(), ["192.0.2.1:20000", "192.0.2.1:20001"]);
    let told = lab.manager_says(ALICE, &build::close(17, 0x0106, CALL));
    assert_eq!(told.last().map(String::as_str), Some("end channel-closed"), "no line told of it");
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn an_answer_nobody_waits_for_opens_nothing() {
    let mut lab = Lab::with_phones(0);
    let answer = build::open_receive_ack(17, CALL, at("192.0.2.1:20000"), false);
    assert_eq!(lab.phone_says(ALICE, &answer), [""; 0], "nobody asked");
    lab.manager_says(ALICE, &build::open_receive(17, CALL, 4, false));
    lab.manager_says(ALICE, &build::close(17, 0x0106, CALL));
    assert_eq!(lab.phone_says(ALICE, &answer), [""; 0], "closed meanwhile");
    lab.manager_says(ALICE, &build::open_receive(17, CALL, 4, false));
    let refused = build::open_receive_nak(3, CALL, 1);
    assert_eq!(lab.phone_says(ALICE, &refused), [""; 0], "the phone could not");
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn video_has_channels_of_its_own() {
    let mut lab = Lab::with_phones(0);
    let video = Channel { party: 502, ..CALL };
    lab.receive(20, "192.0.2.1:20000");
    lab.manager_says(ALICE, &build::open_receive(20, video, 103, true));
    lab.phone_says(ALICE, &build::open_receive_ack(20, video, at("192.0.2.1:20002"), true));
    lab.manager_says(ALICE, &build::start(20, video, at("198.51.100.7:30002"), 103, true));
    lab.phone_says(ALICE, &build::start_ack(20, video, at("192.0.2.1:20002"), true));
    let media: Vec<_> = lab.only_call().streams.values().map(|s| (s.medium, s.codec.as_str())).collect();
    assert_eq!(
        media,
        [(crate::call::Medium::Audio, "G.711 u-law 64k"), (crate::call::Medium::Video, "H.264")]
    );
    let accepted =
        |port: u16| lab.core.pinholes().find(|spec| spec.to.port() == port).expect("a pinhole").contract;
    let (audio, video_in) = (accepted(20_000), accepted(20_002));
    assert_eq!(
        [0, 8, 13, 101, 34].map(|number| audio.payload_types.has(number)),
        [true, false, true, true, false]
    );
    assert_eq!((audio.clock, video_in.clock, accepted(30_002).clock), (8_000, 90_000, 90_000));
    assert_eq!(audio.nominal.map(|nominal| nominal.packets), Some(50));
    assert_eq!(lab.pinholes().len(), 6);
    lab.manager_says(ALICE, &build::close(20, 0x0133, video));
    lab.manager_says(ALICE, &build::close(20, 0x0136, video));
    assert_eq!(lab.pinholes(), ["192.0.2.1:20000", "192.0.2.1:20001"]);
}

#[test]
fn groups_need_a_rule() {
    let group = at("239.1.1.1:20480");
    let mut lab = Lab::with_phones(0);
    let told = lab.manager_says(ALICE, &build::multicast(17, 0x0101, CALL, group));
    assert_eq!(told, ["refuse 239.1.1.1:20480 not-unicast"]);
    let mut lab = Lab::with_phones(ANY);
    let told = lab.manager_says(ALICE, &build::multicast(17, 0x0101, CALL, group));
    assert_eq!(told[0], "open rtp 239.1.1.1:20480 from 203.0.113.5");
    let told = lab.manager_says(BOB, &build::multicast(17, 0x0102, CALL, group));
    assert_eq!(told[0], "update rtp 239.1.1.1:20480 from 198.51.100.7,203.0.113.5");
    lab.manager_says(ALICE, &build::close(17, 0x0103, CALL));
    lab.manager_says(BOB, &build::close(17, 0x0104, CALL));
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn a_phone_that_cannot_send_needs_no_receiver() {
    let mut lab = Lab::with_phones(0);
    lab.receive(17, "192.0.2.1:20000");
    lab.start(17, "198.51.100.7:30000");
    let frame = build::transmission_failure(17, CALL, at("198.51.100.7:30000"));
    let told = lab.phone_says(ALICE, &frame);
    assert_eq!(told[0], "media-failed SEPA: cannot send");
    assert_eq!(lab.pinholes(), ["192.0.2.1:20000", "192.0.2.1:20001"]);
}

#[test]
fn several_channels_of_one_conference_are_calls_of_their_own() {
    let mut lab = Lab::with_phones(0);
    let channels = [1, 2, 3].map(|n| Channel { conference: 9, party: 500 + n, call: 70 + n });
    for channel in channels {
        let port = 20_000 + 2 * channel.call as u16;
        let address = SocketAddr::new(at(ALICE).ip(), port);
        lab.manager_says(ALICE, &build::open_receive(17, channel, 4, false));
        lab.phone_says(ALICE, &build::open_receive_ack(17, channel, address, false));
    }
    assert_eq!((lab.core.calls().count(), lab.pinholes().len()), (3, 6));
    lab.manager_says(ALICE, &build::close(17, 0x0106, channels[1]));
    assert_eq!((lab.core.calls().count(), lab.pinholes().len()), (2, 4));
}

#[test]
fn the_oldest_phones_are_read() {
    let mut lab = Lab::with_phones(0);
    lab.phone_says(ALICE, &build::ip_port(20_000));
    lab.manager_says(ALICE, &build::oldest_reception(0x008c));
    lab.manager_says(ALICE, &build::oldest_start(at("198.51.100.7:30000")));
    let all = ["192.0.2.1:20000", "192.0.2.1:20001", "198.51.100.7:30000", "198.51.100.7:30001"];
    assert_eq!(lab.pinholes(), all);
    lab.manager_says(ALICE, &build::message(0, 0x008b, b"junk"));
    lab.manager_says(ALICE, &build::oldest_reception(0x008d));
    assert_eq!((lab.pinholes().len(), lab.core.calls().count()), (0, 0));
}

#[test]
fn lines_tell_who_talks_and_where_a_call_stands() {
    let mut lab = Lab::with_phones(0);
    lab.manager_says(ALICE, &build::call_state(17, 1, 77));
    lab.phone_says(ALICE, &build::keypad(17, 8, 77));
    lab.phone_says(ALICE, &build::keypad(17, 15, 77));
    assert_eq!(lab.only_call().parties, ["", "8#"]);
    lab.manager_says(ALICE, &build::dialed(17, "8001", 77));
    assert_eq!((lab.only_call().state, lab.only_call().parties[1].as_str()), (State::Calling, "8001"));
    lab.manager_says(ALICE, &build::call_state(17, 3, 77));
    lab.manager_says(ALICE, &build::call_info(17, 77, "8003", "8001"));
    assert_eq!((lab.only_call().state, lab.only_call().key.as_str()), (State::Ringing, "SEPA/77"));
    assert_eq!(lab.only_call().parties, ["8003", "8001"]);
    lab.manager_says(ALICE, &build::call_state(17, 5, 77));
    lab.phone_says(ALICE, &build::keypad(17, 1, 77));
    assert_eq!(lab.only_call().state, State::Connected);
    assert_eq!(lab.only_call().parties, ["8003", "8001"], "a digit of a call that is up is a tone");
    assert_eq!(lab.manager_says(ALICE, &build::call_state(17, 2, 77)), ["end on-hook"]);
}

#[test]
fn a_call_that_comes_in_has_the_phone_as_callee() {
    let mut lab = Lab::with_phones(0);
    lab.manager_says(ALICE, &build::call_state(17, 4, 77));
    assert_eq!(lab.only_call().signalling, [at(MANAGER), at(ALICE)]);
    lab.receive(17, "192.0.2.1:20000");
    let end = &lab.only_call().streams.values().next().expect("a stream").ends[Party::Callee as usize];
    assert_eq!(end.media, Some(at("192.0.2.1:20000")));
}

#[test]
fn a_number_may_be_dialled_at_once() {
    let mut lab = Lab::with_phones(0);
    lab.phone_says(ALICE, &build::enbloc(3, "0123"));
    lab.manager_says(ALICE, &build::call_state(3, 12, 77));
    assert_eq!(lab.only_call().parties, ["", "0123"]);
}

#[test]
fn registration_is_told_and_listed() {
    let mut lab = Lab::new(0);
    let told = lab.register(ALICE, "SEPA", 17);
    assert_eq!(told, ["registered SEPA: 7960", "newly-seen SEPA: never seen before"]);
    let phone = lab.phone("SEPA");
    assert_eq!((phone.state, phone.protocol, phone.lines), (Standing::Registered, 17, 2));
    assert_eq!((phone.load.as_str(), phone.picked_up), ("P0030801SR02", false));
    assert_eq!((phone.address, phone.manager), (at(ALICE), at(MANAGER)));
    assert_eq!(lab.phone_says(ALICE, &build::unregister()), [""; 0]);
    assert_eq!(lab.manager_says(ALICE, &build::unregister_ack(0)), ["unregistered SEPA: "]);
    assert_eq!(lab.phone("SEPA").state, Standing::Unregistered);
    assert_eq!(lab.closed(ALICE, MANAGER, false), [""; 0], "it has said good-bye");
    assert_eq!(lab.register(ALICE, "SEPA", 17), ["registered SEPA: 7960"], "seen before");
}

#[test]
fn unregistering_ends_calls_unless_the_call_manager_refuses() {
    let mut lab = Lab::with_phones(0);
    lab.receive(17, "192.0.2.1:20000");
    lab.phone_says(ALICE, &build::unregister());
    assert_eq!(lab.manager_says(ALICE, &build::unregister_ack(2)), [""; 0], "it talks");
    assert_eq!((lab.phone("SEPA").state, lab.pinholes().len()), (Standing::Registered, 2));
    lab.phone_says(ALICE, &build::unregister());
    let told = lab.manager_says(ALICE, &build::unregister_ack(0));
    assert_eq!(told.last().map(String::as_str), Some("end unregistered"));
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn a_reset_ends_calls() {
    let mut lab = Lab::with_phones(0);
    lab.receive(17, "192.0.2.1:20000");
    assert_eq!(lab.manager_says(ALICE, &build::reset(3)), ["reset SEPA: apply configuration"]);
    assert_eq!(lab.pinholes().len(), 2);
    let told = lab.manager_says(ALICE, &build::reset(2));
    assert_eq!(told.first().map(String::as_str), Some("reset SEPA: restart"));
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn media_outlives_the_connection_until_it_is_silent() {
    for reset in [false, true] {
        let mut lab = Lab::with_phones(0);
        lab.manager_says(BOB, &build::call_state(17, 1, 5));
        lab.receive(17, "192.0.2.1:20000");
        lab.start(17, "198.51.100.7:30000");
        let why = if reset { "connection reset" } else { "connection closed" };
        assert_eq!(lab.closed(ALICE, MANAGER, reset), [format!("unregistered-abnormally SEPA: {why}")]);
        assert_eq!((lab.phone("SEPA").state, lab.pinholes().len()), (Standing::Lost, 4));
        let told = lab.closed(MANAGER, BOB, reset);
        assert_eq!(told.last().map(String::as_str), Some("end connection-reset"), "it had no media");
        lab.now = lab.now + Duration::from_secs(121);
        lab.core.tick(lab.now);
        let told = lab.told();
        assert_eq!(told.last().map(String::as_str), Some("end inactivity"));
    }
}

#[test]
fn keep_alives_that_stop_are_told_and_media_stays() {
    let mut lab = Lab::with_phones(0);
    lab.receive(17, "192.0.2.1:20000");
    lab.now = lab.now + Duration::from_secs(100);
    lab.phone_says(BOB, &build::keep_alive());
    assert_eq!(lab.later(21), ["unregistered-abnormally SEPA: keep-alives have stopped"]);
    assert_eq!(lab.later(1), [""; 0], "once");
    assert_eq!((lab.phone("SEPA").state, lab.pinholes().len()), (Standing::Lost, 2));
    lab.phone_says(ALICE, &build::keep_alive());
    assert_eq!(lab.phone("SEPA").state, Standing::Registered, "heard again");
}

#[test]
fn a_connection_met_in_the_middle_counts_as_registered() {
    let mut lab = Lab::new(0);
    lab.whole = false;
    let answer = build::open_receive_ack(17, CALL, at("192.0.2.1:20000"), false);
    let told = lab.phone_says(ALICE, &answer);
    assert_eq!(told[0], "registered : met in the middle of its connection");
    assert_eq!(lab.pinholes(), ["192.0.2.1:20000", "192.0.2.1:20001"]);
    assert!(lab.phone("").picked_up);
    lab.phone_says(BOB, &build::keep_alive());
    assert_eq!(lab.start(17, "198.51.100.7:30000").len(), 4, "whom it has met it may announce");
    lab.manager_says(ALICE, &build::close(17, 0x0106, CALL));
    assert_eq!(lab.phone_says(ALICE, &answer), [""; 0], "closed meanwhile");
}

#[test]
fn a_connection_made_anew_is_not_registered_yet() {
    let mut lab = Lab::new(0);
    lab.whole = false;
    lab.phone_says(ALICE, &build::keep_alive());
    lab.whole = true;
    let told = lab.phone_says(ALICE, &build::keep_alive());
    assert_eq!(told, ["unregistered-abnormally : connection made anew"]);
    let frame = build::call_state(17, 1, 77);
    assert_eq!(lab.verdict(MANAGER, ALICE, &frame), Verdict::Drop(Reason::AlgRefused));
}

#[test]
fn a_silent_connection_is_forgotten() {
    let mut lab = Lab::with_phones(0);
    assert_eq!(lab.tracker.sessions.len(), 2);
    lab.later(7_201);
    assert_eq!(lab.tracker.sessions.len(), 0);
    assert!(lab.tracker.phones().all(|phone| phone.state == Standing::Lost));
}

#[test]
fn nobody_calls_before_registration() {
    for frame in [
        build::open_receive(17, CALL, 4, false),
        build::start(17, CALL, at("198.51.100.7:30000"), 4, false),
        build::call_state(17, 1, 77),
    ] {
        let mut lab = Lab::new(ANY);
        assert_eq!(lab.verdict(MANAGER, ALICE, &frame), Verdict::Drop(Reason::AlgRefused));
        assert_eq!((lab.core.calls().count(), lab.pinholes().len()), (0, 0));
    }
    let mut lab = Lab::new(ANY);
    lab.phone_says(ALICE, &build::keep_alive());
    lab.phone_says(ALICE, &build::register("SEPA", at(ALICE).ip(), 17));
    let frame = build::open_receive_ack(17, CALL, at("192.0.2.1:20000"), false);
    assert_eq!(lab.verdict(ALICE, MANAGER, &frame), Verdict::Drop(Reason::AlgRefused), "not answered yet");
    assert_eq!(lab.told(), ["violation : OpenReceiveChannelAck before registration"]);
    lab.manager_says(ALICE, &build::register_ack(30, 17));
    lab.phone_says(ALICE, &frame);
}

#[test]
fn each_side_says_what_is_its_own_to_say() {
    let mut lab = Lab::with_phones(ANY);
    let frame = build::start(17, CALL, at("198.51.100.7:30000"), 4, false);
    assert_eq!(lab.verdict(ALICE, MANAGER, &frame), Verdict::Drop(Reason::AlgRefused));
    assert_eq!(lab.told(), ["violation : StartMediaTransmission from the wrong side"]);
    let frame = build::open_receive_ack(17, CALL, at("192.0.2.1:20000"), false);
    assert_eq!(lab.verdict(MANAGER, ALICE, &frame), Verdict::Drop(Reason::AlgRefused));
    assert_eq!(lab.pinholes(), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_dropped() {
    let mut lab = Lab::with_phones(ANY);
    let mut frame = build::start(17, CALL, at("198.51.100.7:30000"), 4, false);
    frame[4] = 23;
    assert_eq!(lab.verdict(MANAGER, ALICE, &frame), Verdict::Drop(Reason::AlgMalformed));
    assert_eq!(lab.told(), ["violation : header version 23 is above 22"]);
    assert_eq!(lab.verdict(ALICE, MANAGER, &[3, 0, 0, 0, 0, 0, 0, 0]), Verdict::Drop(Reason::AlgMalformed));
}

#[test]
fn policy_bounds_messages() {
    let strict = SccpPolicy { unknown: UnknownMessage::Drop, length_max: 64, ..SccpPolicy::default() };
    let mut lab = Lab::with(0, strict);
    let (known, unknown) = (build::message(0, 0x0181, &[]), build::message(0, 0x0182, &[]));
    assert_eq!(lab.verdict(ALICE, MANAGER, &known), Verdict::Pass);
    assert_eq!(lab.verdict(ALICE, MANAGER, &unknown), Verdict::Reset(Reason::AlgRefused));
    assert_eq!(lab.told(), ["refused : unknown message 0x182"]);
    assert_eq!(lab.verdict(ALICE, MANAGER, &build::message(0, 0x0010, &[0; 60])), Verdict::Pass);
    let long = build::message(0, 0x0010, &[0; 61]);
    assert_eq!(lab.verdict(ALICE, MANAGER, &long), Verdict::Drop(Reason::AlgMalformed));
    let mut lab = Lab::new(0);
    assert_eq!(lab.verdict(ALICE, MANAGER, &unknown), Verdict::Pass, "the default");
}

#[test]
fn device_names_are_admitted_by_pattern() {
    let pattern = |text: &str| vec![Pattern::new(text).expect("a pattern")];
    let policy = SccpPolicy {
        allow: pattern("SEP*"),
        deny: pattern("SEPDEAD*"),
        phones: pattern("SEPA"),
        unknown_phones: Admission::Flag,
        ..SccpPolicy::default()
    };
    let mut lab = Lab::with(0, policy);
    for name in ["ATA1", "SEPDEAD1"] {
        for frame in [build::register(name, at(ALICE).ip(), 17), build::token_request(name)] {
            assert_eq!(lab.verdict(ALICE, MANAGER, &frame), Verdict::Reset(Reason::AlgRefused), "{name}");
            assert_eq!(lab.told(), [format!("refused {name}: this device may not register")]);
        }
    }
    lab.phone_says(ALICE, &build::token_request("SEPA"));
    lab.register(ALICE, "SEPA", 17);
    let told = lab.register(BOB, "SEPB", 17);
    assert_eq!(told[1], "newly-seen SEPB: not among the known phones");
    assert!(lab.phone("SEPB").unknown && !lab.phone("SEPA").unknown);
}

#[test]
fn a_device_has_one_address() {
    let mut lab = Lab::new(0);
    lab.register(ALICE, "SEPA", 17);
    for name in ["SEPA", "sepa"] {
        let imposter = build::register(name, at(BOB).ip(), 17);
        assert_eq!(lab.verdict(BOB, MANAGER, &imposter), Verdict::Reset(Reason::AlgRefused));
        assert_eq!(lab.told(), [format!("refused {name}: registered from 192.0.2.1 already")]);
    }
    assert_eq!(lab.phone("SEPA").address, at(ALICE), "and stays who it is");
    // The phone itself starts again, without a good-bye; what is left of its old connection says nothing.
    lab.register("192.0.2.1:50001", "SEPA", 17);
    assert_eq!(lab.closed(ALICE, MANAGER, true), [""; 0]);
    assert_eq!(lab.phone("SEPA").state, Standing::Registered);
    lab.closed("192.0.2.1:50001", MANAGER, true);
    lab.register(BOB, "SEPA", 17);
    assert_eq!(lab.phone("SEPA").address, at(BOB), "moved");
    let mut lab = Lab::with(0, SccpPolicy { one_address_per_device: false, ..SccpPolicy::default() });
    lab.register(ALICE, "SEPA", 17);
    lab.register(BOB, "SEPA", 17);
}

#[test]
fn what_does_not_fit_is_told() {
    let mut lab = Lab::new(0);
    let fits = build::register("SEP0011AABBCCDD", at(ALICE).ip(), 17);
    assert_eq!(lab.phone_says(ALICE, &fits), [""; 0]);
    let other = build::register("SEP0011AABBCCDE", at(BOB).ip(), 17);
    assert_eq!(
        lab.phone_says(ALICE, &other),
        [
            "mismatch SEP0011AABBCCDE: it says its address is 198.51.100.7",
            "mismatch SEP0011AABBCCDE: it says its MAC address is 0011AABBCCDD"
        ]
    );
}

#[test]
fn what_does_not_fit_is_refused_where_policy_says_so() {
    let mut lab = Lab::with(0, SccpPolicy { mismatch: Mismatch::Refuse, ..SccpPolicy::default() });
    let other_mac = build::register("SEP0011AABBCCDE", at(ALICE).ip(), 17);
    assert_eq!(lab.verdict(ALICE, MANAGER, &other_mac), Verdict::Reset(Reason::AlgRefused));
    assert_eq!(lab.told(), ["refused SEP0011AABBCCDE: it says its MAC address is 0011AABBCCDD"]);
    let other_address = build::register("SEP0011AABBCCDD", at(BOB).ip(), 17);
    assert_eq!(lab.verdict(ALICE, MANAGER, &other_address), Verdict::Reset(Reason::AlgRefused));
    assert_eq!(lab.told(), ["refused SEP0011AABBCCDD: it says its address is 198.51.100.7"]);
    assert_eq!(lab.tracker.phones().count(), 0);
    lab.register(ALICE, "sep0011aabbccdd", 17);
    lab.register(BOB, "ATA1", 17);
}

#[test]
fn a_phones_name_is_bound_to_its_frames() {
    let policy = |outcome| SccpPolicy { match_ethernet: outcome, ..SccpPolicy::default() };
    let link = Some([0x00, 0x11, 0xaa, 0xbb, 0xcc, 0xdd]);
    let register = |name| build::register(name, at(ALICE).ip(), 17);
    let mut lab = Lab { link, ..Lab::with(0, policy(Some(Mismatch::Refuse))) };
    for name in ["SEP0011AABBCCDE", "sep0011aabbccde", "SEP0011AABBCCD", "SEP"] {
        assert_eq!(
            lab.verdict(ALICE, MANAGER, &register(name)),
            Verdict::Reset(Reason::AlgRefused),
            "{name}"
        );
        assert!(lab.told().contains(&format!("refused {name}: its frames come from 0011AABBCCDD")), "{name}");
    }
    for name in ["SEP0011AABBCCDD", "sep0011aabbccdd", "ATA0011AABBCC"] {
        assert_eq!(lab.phone_says(ALICE, &register(name)), [""; 0], "{name}");
    }
    lab.link = None;
    assert_eq!(lab.phone_says(ALICE, &register("SEPA")), [""; 0], "came in no frame");

    let mut lab = Lab { link, ..Lab::with(0, policy(Some(Mismatch::Event))) };
    assert_eq!(
        lab.phone_says(ALICE, &register("SEPA")),
        ["mismatch SEPA: its frames come from 0011AABBCCDD"]
    );
    assert_eq!(lab.phone_says(ALICE, &register("SEP0011AABBCCDD")), [""; 0]);
    let mut lab = Lab { link, ..Lab::new(0) };
    assert_eq!(lab.phone_says(ALICE, &register("SEPA")), [""; 0], "the default");
}

#[test]
fn one_address_has_so_many_devices() {
    let mut lab = Lab::with(0, SccpPolicy { registrations_per_source: 2, ..SccpPolicy::default() });
    let from = |port: u16| format!("192.0.2.1:{port}");
    lab.register(&from(50_001), "AN1", 17);
    lab.register(&from(50_002), "AN2", 17);
    lab.register(&from(50_002), "AN2", 17);
    let third = build::register("AN3", at(ALICE).ip(), 17);
    assert_eq!(lab.verdict(&from(50_003), MANAGER, &third), Verdict::Reset(Reason::AlgRefused));
    assert_eq!(lab.told(), ["refused AN3: 2 devices are registered from this address"]);
    lab.register(BOB, "SEPB", 17);
    lab.closed(&from(50_001), MANAGER, false);
    lab.register(&from(50_003), "AN3", 17);
}

#[test]
fn attempts_to_register_are_limited_by_the_second() {
    let mut lab = Lab::with(0, SccpPolicy { registrations_per_second: 2, ..SccpPolicy::default() });
    let frame = build::register("SEPA", at(ALICE).ip(), 17);
    assert_eq!(lab.verdict(ALICE, MANAGER, &frame), Verdict::Pass);
    assert_eq!(lab.verdict(ALICE, MANAGER, &frame), Verdict::Pass);
    assert_eq!(lab.verdict(ALICE, MANAGER, &frame), Verdict::Reset(Reason::AlgRefused));
    let other = build::register("SEPB", at(BOB).ip(), 17);
    assert_eq!(lab.verdict(BOB, MANAGER, &other), Verdict::Pass);
    lab.later(1);
    assert_eq!(lab.verdict(ALICE, MANAGER, &frame), Verdict::Pass);
}

#[test]
fn alarms_and_rejections_are_told() {
    let mut lab = Lab::new(0);
    assert_eq!(lab.phone_says(ALICE, &build::alarm("Name=SEPA Load=1")), ["alarm : Name=SEPA Load=1"]);
    lab.phone_says(ALICE, &build::register("SEPA", at(ALICE).ip(), 17));
    assert_eq!(
        lab.manager_says(ALICE, &build::register_reject("not configured")),
        ["rejected SEPA: not configured"]
    );
    assert_eq!(lab.tracker.phones().count(), 0);
    lab.register(ALICE, "SEPA", 17);
    lab.phone_says(ALICE, &build::register("SEPA", at(ALICE).ip(), 17));
    let told = lab.manager_says(ALICE, &build::register_reject("no more"));
    assert_eq!(told, ["rejected SEPA: no more", "unregistered-abnormally SEPA: registration rejected"]);
}

#[test]
fn calls_go_on_after_a_restart() {
    let mut lab = Lab::with_phones(0);
    lab.manager_says(ALICE, &build::call_state(17, 4, 77));
    lab.receive(17, "192.0.2.1:20000");
    lab.start(17, "198.51.100.7:30000");
    let calls: Vec<Call> = lab.core.calls().cloned().collect();
    let mut after = Lab { now: lab.now, whole: false, ..Lab::new(0) };
    after.core.restore(calls.clone(), after.now);
    after.tracker.restore(&calls.iter().collect::<Vec<_>>(), after.now);
    after.manager_says(ALICE, &build::close(17, 0x008b, CALL));
    assert_eq!(after.pinholes(), ["192.0.2.1:20000", "192.0.2.1:20001"]);
    let told = after.manager_says(ALICE, &build::call_state(17, 2, 77));
    assert_eq!(told.last().map(String::as_str), Some("end on-hook"));
    assert_eq!((after.pinholes().len(), after.tracker.sessions.len()), (0, 1));
}

#[test]
fn a_call_that_was_ended_elsewhere_is_forgotten() {
    let mut lab = Lab::with_phones(0);
    lab.receive(17, "192.0.2.1:20000");
    let call = lab.only_call().clone();
    lab.core.end_call(call.id, EndReason::Operator);
    lab.tracker.ended(&call, EndReason::Operator);
    lab.told();
    assert_eq!(lab.manager_says(ALICE, &build::close(17, 0x0106, CALL)), [""; 0]);
    assert_eq!(lab.receive(17, "192.0.2.1:20000").len(), 2, "and may be made again");
}

/// Sometimes an octet is not as it should be.
fn change() -> impl Strategy<Value = Option<(prop::sample::Index, u8)>> {
    prop::option::weighted(0.2, any::<(prop::sample::Index, u8)>())
}

proptest! {
    /// Whatever two phones and their call manager say, nothing is opened for a stranger, and at the end of it
    /// nothing stays.
    #[test]
    fn any_conversation_opens_nothing_for_strangers(
        talk in prop::collection::vec(
            (0_usize..14, any::<bool>(), 0_u32..3, 0_u32..3, any::<u16>(), change()),
            0..60,
        ),
    ) {
        let mut lab = Lab::with_phones(0);
        for (what, alice, party, call, noise, change) in talk {
            let channel = Channel { conference: call, party, call };
            let phone = if alice { ALICE } else { BOB };
            let media = SocketAddr::new(at(phone).ip(), 20_000 + noise % 8);
            let peer = SocketAddr::new(at(if noise % 3 == 0 { "192.0.2.66:1" } else { ALICE }).ip(), 20_002);
            let (from, mut frame) = match what {
                0 => (MANAGER, build::open_receive(17, channel, 4, false)),
                1 => (phone, build::open_receive_ack(17, channel, media, false)),
                2 => (MANAGER, build::start(17, channel, peer, 4, false)),
                3 => (phone, build::start_ack(17, channel, media, false)),
                4 => (MANAGER, build::close(17, 0x0106, channel)),
                5 => (MANAGER, build::close(17, 0x008b, channel)),
                6 => (MANAGER, build::call_state(17, u32::from(noise % 9), call)),
                7 => (phone, build::port_response(17, channel, media, noise)),
                8 => (phone, build::transmission_failure(17, channel, media)),
                9 => (MANAGER, build::multicast(17, 0x0101, channel, at("239.1.1.1:20480"))),
                10 => (phone, build::unregister()),
                11 => (MANAGER, build::unregister_ack(u32::from(noise % 3))),
                12 => (phone, build::register(if alice { "SEPA" } else { "SEPB" }, media.ip(), 17)),
                _ => (MANAGER, build::register_ack(30, 17)),
            };
            let to = if from == MANAGER { phone } else { MANAGER };
            if let Some((place, octet)) = change {
                let place = place.index(frame.len());
                frame[place] = octet;
            }
            lab.verdict(from, to, &frame);
            for spec in lab.core.pinholes() {
                let ours = [ALICE, BOB, MANAGER].map(|host| at(host).ip());
                prop_assert!(ours.contains(&spec.to.ip()), "{spec:?}");
                prop_assert!(spec.senders.iter().all(|sender| ours.contains(&sender.ip)), "{spec:?}");
            }
        }
        for phone in [ALICE, BOB] {
            for (id, call) in [1, 2].into_iter().flat_map(|call| [(0x0106, call), (0x008b, call)]) {
                for party in 0..3 {
                    lab.verdict(MANAGER, phone, &build::close(17, id, Channel { conference: call, party, call }));
                }
            }
        }
        lab.now = lab.now + Duration::from_secs(86_401);
        lab.core.tick(lab.now);
        prop_assert_eq!((lab.pinholes().len(), lab.core.calls().count()), (0, 0));
    }
}
