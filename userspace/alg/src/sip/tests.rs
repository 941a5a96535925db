use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use callgate_shared::Reason;
use callgate_shared::policy::Inspect;
use proptest::prelude::*;

use super::*;
use crate::action::{Action, PinholeSpec, Transport};
use crate::call::{Party, State, Stream, StreamKey};
use crate::core::Bounds;
use crate::media::{Authority, Policy, RulePolicy};

const ALICE: &str = "192.0.2.1:5060";
const PROXY: &str = "192.0.2.10:5060";
const BOB: &str = "198.51.100.7:5060";
/// The slot whose rule says `media = "any"`; slot 0 has the default.
const ANY: u32 = 1;

/// A firewall and a clock.
struct Lab {
    core: Core,
    tracker: Tracker,
    now: Time,
    slot: u32,
}

impl Lab {
    fn new(slot: u32) -> Self {
        let rules = HashMap::from([(ANY, RulePolicy::from(Authority::Any))]);
        let core = Core::new(Policy { rules, ..Policy::default() }, Bounds::default());
        Self { core, tracker: Tracker::default(), now: Time(1_000_000_000), slot }
    }

    fn context(&self, from: &str, to: &str) -> Context {
        Context {
            now: self.now,
            source: at(from),
            destination: at(to),
            transport: Transport::Udp,
            protocol: Inspect::Sip,
            slot: self.slot,
            link: None,
        }
    }

    /// Sends a message that must pass; what it does to pinholes and calls, in words.
    fn send(&mut self, from: &str, to: &str, message: Sip) -> Vec<String> {
        self.now = self.now + Duration::from_millis(100);
        let context = self.context(from, to);
        let verdict = self.tracker.message(&mut self.core, &context, message.text().as_bytes());
        assert_eq!(verdict, Verdict::Pass);
        self.told()
    }

    /// `seconds` go by.
    fn wait(&mut self, seconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_secs(seconds);
        self.tracker.tick(&mut self.core, self.now);
        self.told()
    }

    fn told(&mut self) -> Vec<String> {
        let words = |verb: &str, spec: &PinholeSpec| {
            let from: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
            format!("{verb} {} {} from {}", spec.kind.name(), spec.to, from.join(","))
        };
        self.core
            .take_actions()
            .iter()
            .filter_map(|action| match action {
                Action::Open(spec) => Some(words("open", spec)),
                Action::Update(spec) => Some(words("update", spec)),
                Action::Close { to, reason, .. } => Some(format!("close {to} {}", reason.name())),
                Action::Refused { address, refusal, .. } => {
                    Some(format!("refused {address} {}", refusal.name()))
                }
                Action::Ended(_, reason) => Some(format!("ended {}", reason.name())),
                Action::Call(_) | Action::Event(_) => None,
            })
            .collect()
    }

    /// RTP pinholes that are open: `port<sender,sender`, in order.
    fn open(&self) -> Vec<String> {
        let mut open: Vec<_> = self
            .core
            .pinholes()
            .filter(|spec| spec.to.port() % 2 == 0)
            .map(|spec| {
                let senders: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
                format!("{}<{}", spec.to, senders.join(","))
            })
            .collect();
        open.sort();
        open
    }

    fn call(&self) -> &Call {
        self.core.calls().next().expect("a call")
    }

    fn stream(&self) -> &Stream {
        &self.call().streams[&StreamKey { branch: 0, index: 0 }]
    }

    /// Nothing may be left of any call.
    fn assert_empty(&self) {
        assert_eq!((self.core.calls().count(), self.core.pinholes().count()), (0, 0));
        assert!(self.tracker.calls.is_empty());
    }

    /// A call between Alice (20000) and Bob (30000) that has been answered.
    fn answered(slot: u32) -> Self {
        let mut lab = Self::new(slot);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
        lab.send(ALICE, BOB, request("ACK", 1).to("b"));
        assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
        lab
    }
}

/// A message under construction; Alice (tag `a`) calls Bob unless it says otherwise.
#[derive(Clone)]
struct Sip {
    start: String,
    method: &'static str,
    number: u32,
    via: String,
    from: &'static str,
    to: &'static str,
    more: String,
    body: String,
}

fn request(method: &'static str, number: u32) -> Sip {
    Sip {
        start: format!("{method} sip:bob@198.51.100.7 SIP/2.0"),
        method,
        number,
        via: format!("z9hG4bK{method}{number}"),
        from: "a",
        to: "",
        more: String::new(),
        body: String::new(),
    }
}

fn invite(number: u32) -> Sip {
    request("INVITE", number)
}

impl Sip {
    /// The response to this request.
    fn reply(mut self, status: u16, to: &'static str) -> Self {
        self.start = format!("SIP/2.0 {status} Reason");
        self.to = to;
        self.body.clear();
        self
    }

    fn to(mut self, tag: &'static str) -> Self {
        self.to = tag;
        self
    }

    /// From Bob, within the dialog.
    fn by_bob(mut self) -> Self {
        (self.from, self.to) = ("b", "a");
        self.via.push('b');
        self
    }

    fn via(mut self, branch: &str) -> Self {
        self.via = format!("z9hG4bK{branch}");
        self
    }

    fn header(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push_str("\r\n");
        self
    }

    fn sdp(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }

    fn text(&self) -> String {
        let tag = |tag: &str| if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
        let (from, to) = if self.from == "b" { ("bob", "alice") } else { ("alice", "bob") };
        let kind = if self.body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{}\r\nVia: SIP/2.0/UDP host;branch={}\r\nFrom: <sip:{from}@example.com>{}\r\n\
             To: <sip:{to}@example.com>{}\r\nCall-ID: c1@host\r\nCSeq: {} {}\r\n{}{kind}Content-Length: {}\r\n\r\n{}",
            self.start,
            self.via,
            tag(self.from),
            tag(self.to),
            self.number,
            self.method,
            self.more,
            self.body.len(),
            self.body,
        )
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

/// A description with the host part of `who`.
fn sdp(who: &str, media: &str) -> String {
    let ip = at(who).ip();
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{media}")
}

fn audio(who: &str, port: u16) -> String {
    sdp(who, &format!("m=audio {port} RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"))
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_call_opens_with_offer_and_answer_and_closes_with_bye() {
    let mut lab = Lab::new(0);
    assert_eq!(
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))),
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20001 from 198.51.100.7"]
    );
    assert_eq!(lab.call().state, State::Calling);
    assert_eq!(lab.call().parties, ["alice@example.com", "bob@example.com"]);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(100, "")), NOTHING);
    assert_eq!(lab.call().state, State::Calling);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(180, "b")), NOTHING);
    assert_eq!(lab.call().state, State::Ringing);
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    assert_eq!(lab.call().state, State::Connected);
    assert_eq!(lab.stream().codec, "PCMA");
    assert_eq!(lab.send(ALICE, BOB, request("ACK", 1).to("b")), NOTHING);
    assert_eq!(lab.send(BOB, ALICE, request("BYE", 1).by_bob()), NOTHING);
    assert_eq!(
        lab.send(ALICE, BOB, request("BYE", 1).by_bob().reply(200, "a")),
        [
            "close 192.0.2.1:20000 bye",
            "close 192.0.2.1:20001 bye",
            "close 198.51.100.7:30000 bye",
            "close 198.51.100.7:30001 bye",
            "ended bye"
        ]
    );
    lab.assert_empty();
}

#[test]
fn the_answers_media_address_replaces_the_signalling_address() {
    let mut lab = Lab::new(ANY);
    lab.send(ALICE, BOB, invite(1).sdp(&audio("192.0.2.5:1", 20_000)));
    assert_eq!(lab.open(), ["192.0.2.5:20000<198.51.100.7"], "only the other party's signalling address");
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio("198.51.100.99:1", 30_000)));
    assert_eq!(lab.open(), ["192.0.2.5:20000<198.51.100.99", "198.51.100.99:30000<192.0.2.5"]);
}

#[test]
fn ipv6_is_no_different() {
    let (alice, bob) = ("[2001:db8::1]:5060", "[2001:db8:7::7]:5060");
    let mut lab = Lab::new(0);
    let audio = |who, port| audio(who, port).replace("IP4", "IP6");
    lab.send(alice, bob, invite(1).sdp(&audio(alice, 20_000)));
    lab.send(bob, alice, invite(1).reply(200, "b").sdp(&audio(bob, 30_000)));
    assert_eq!(lab.open(), ["[2001:db8:7::7]:30000<2001:db8::1", "[2001:db8::1]:20000<2001:db8:7::7"]);
}

#[test]
fn early_media_opens_with_the_provisional_response() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    let early = lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(
        early,
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    assert_eq!(lab.call().state, State::Ringing);
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING, "the same");
    assert_eq!(lab.call().state, State::Connected);
}

#[test]
fn the_final_answer_may_move_early_media() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_010)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30010<192.0.2.1"]);
}

#[test]
fn every_fork_is_admitted_until_one_answers() {
    let mut lab = Lab::new(ANY);
    let fork = |status, tag, host: &str, port| invite(1).reply(status, tag).sdp(&audio(host, port));
    lab.send(ALICE, PROXY, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, ALICE, fork(183, "b1", "198.51.100.1:1", 30_000));
    lab.send(PROXY, ALICE, fork(183, "b2", "198.51.100.2:1", 30_000));
    lab.send(PROXY, ALICE, fork(183, "b3", "198.51.100.3:1", 30_000));
    assert_eq!(
        lab.open(),
        [
            "192.0.2.1:20000<198.51.100.1,198.51.100.2,198.51.100.3",
            "198.51.100.1:30000<192.0.2.1",
            "198.51.100.2:30000<192.0.2.1",
            "198.51.100.3:30000<192.0.2.1",
        ]
    );
    lab.send(PROXY, ALICE, fork(200, "b2", "198.51.100.2:1", 30_000));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.2", "198.51.100.2:30000<192.0.2.1"]);

    // A second fork that answered before it was cancelled is a dialog of its own, and is ended by its own BYE.
    lab.send(PROXY, ALICE, fork(200, "b3", "198.51.100.3:1", 30_000));
    assert_eq!(lab.open().len(), 3);
    let bye = request("BYE", 2).to("b3");
    lab.send(ALICE, PROXY, bye.clone());
    lab.send(PROXY, ALICE, bye.reply(200, "b3"));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.2", "198.51.100.2:30000<192.0.2.1"]);
    let bye = request("BYE", 3).to("b2");
    lab.send(ALICE, PROXY, bye.clone());
    lab.send(PROXY, ALICE, bye.reply(200, "b2"));
    lab.assert_empty();
}

#[test]
fn two_phones_behind_one_address_are_two_transactions_of_one_call() {
    let mut lab = Lab::new(0);
    let (first, second) = (invite(1).via("p1"), invite(1).via("p2"));
    lab.send(ALICE, BOB, first.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(ALICE, "198.51.100.7:5062", second.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.core.calls().count(), 1);
    lab.send(BOB, ALICE, first.clone().reply(200, "b1").sdp(&audio(BOB, 30_000)));
    lab.send(ALICE, "198.51.100.7:5062", request("CANCEL", 1).via("p2"));
    lab.send("198.51.100.7:5062", ALICE, second.reply(487, "b2"));
    assert_eq!(lab.open().len(), 2, "the answered one goes on");
    assert_eq!(lab.call().state, State::Connected);
    lab.wait(100);
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn one_tag_for_several_invites_keeps_the_media_of_each() {
    // A client with several sockets sends the call from each, every time with other ports; the server answers
    // each with the same tag.
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send("192.0.2.1:1032", BOB, invite(2).sdp(&audio(ALICE, 20_010)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    lab.send(BOB, "192.0.2.1:1032", invite(2).reply(200, "b").sdp(&audio(BOB, 30_010)));
    assert_eq!(lab.open().len(), 4);
    assert_eq!(lab.core.calls().count(), 1);
    let again = invite(3).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_020)));
    let ports = ["192.0.2.1:20000<", "192.0.2.1:20010<", "198.51.100.7:30010<", "198.51.100.7:30020<"];
    assert!(lab.open().iter().zip(ports).all(|(open, port)| open.starts_with(port)), "{:?}", lab.open());
    let bye = request("BYE", 4).to("b");
    lab.send(ALICE, BOB, bye.clone());
    lab.send(BOB, ALICE, bye.reply(200, "b"));
    lab.assert_empty();
}

#[test]
fn hold_and_resume_keep_the_pinholes() {
    for hold in [
        audio(ALICE, 20_000) + "a=sendonly\r\n",
        audio(ALICE, 20_000) + "a=inactive\r\n",
        audio(ALICE, 20_000).replace("m=audio", "a=sendonly\r\nm=audio"),
        audio("0.0.0.0:1", 20_000),
    ] {
        let mut lab = Lab::answered(0);
        let before = lab.open();
        lab.send(ALICE, BOB, invite(2).to("b").sdp(&hold));
        assert!(!lab.stream().held, "not before the answer");
        let answer = audio(BOB, 30_000) + "a=recvonly\r\n";
        lab.send(BOB, ALICE, invite(2).to("b").reply(200, "b").sdp(&answer));
        assert!(lab.stream().held, "{hold}");
        assert_eq!(lab.open(), before, "{hold}");
        lab.send(ALICE, BOB, invite(3).to("b").sdp(&audio(ALICE, 20_000)));
        lab.send(BOB, ALICE, invite(3).to("b").reply(200, "b").sdp(&audio(BOB, 30_000)));
        assert!(!lab.stream().held);
        assert_eq!(lab.open(), before, "{hold}");
    }
}

#[test]
fn a_description_without_an_address_opens_nothing() {
    let mut lab = Lab::new(0);
    assert_eq!(lab.send(ALICE, BOB, invite(1).sdp(&audio("0.0.0.0:1", 20_000))), NOTHING);
    let body = audio("[2001:db8::1]:1", 20_000).replace("IP4 2001:db8::1", "IP6 ::");
    assert_eq!(lab.send(ALICE, BOB, invite(2).sdp(&body)), NOTHING);
    let body = audio(ALICE, 20_000).replace("c=IN IP4 192.0.2.1\r\n", "");
    assert_eq!(lab.send(ALICE, BOB, invite(3).sdp(&body)), NOTHING);
}

#[test]
fn a_reinvite_opens_the_new_place_beside_the_old_until_it_is_answered() {
    let mut lab = Lab::answered(0);
    let again = invite(2).to("b");
    assert_eq!(
        lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100))),
        ["open rtp 192.0.2.1:20100 from 198.51.100.7", "open rtcp 192.0.2.1:20101 from 198.51.100.7"]
    );
    assert_eq!(
        lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000))),
        ["close 192.0.2.1:20000 moved", "close 192.0.2.1:20001 moved"]
    );
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
}

#[test]
fn the_other_party_may_move_too_by_update() {
    let mut lab = Lab::answered(0);
    let update = request("UPDATE", 1).by_bob();
    lab.send(BOB, ALICE, update.clone().sdp(&audio(BOB, 30_100)));
    assert_eq!(lab.open().len(), 3);
    lab.send(ALICE, BOB, update.reply(200, "a").sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30100<192.0.2.1"]);
}

#[test]
fn a_refused_reinvite_leaves_everything_as_it_was() {
    let mut lab = Lab::answered(0);
    let (before, stream) = (lab.open(), lab.stream().clone());
    let again = invite(2).to("b");
    let two = audio(ALICE, 20_100) + "a=sendonly\r\nm=video 20200 RTP/AVP 34\r\n";
    lab.send(ALICE, BOB, again.clone().sdp(&two));
    assert_eq!(lab.open().len(), 4);
    lab.send(BOB, ALICE, again.reply(488, "b"));
    assert_eq!(lab.open(), before);
    assert_eq!((lab.stream(), lab.call().streams.len()), (&stream, 1));
}

#[test]
fn a_refused_first_description_within_a_dialog_leaves_nothing_open() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1));
    lab.send(BOB, ALICE, invite(1).reply(200, "b"));
    let update = request("UPDATE", 2).to("b");
    lab.send(ALICE, BOB, update.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7"]);
    lab.send(BOB, ALICE, update.reply(488, "b"));
    assert_eq!(lab.open(), NOTHING);
}

#[test]
fn an_old_answer_does_not_undo_a_newer_offer() {
    let mut lab = Lab::answered(0);
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_100)));
    let before = lab.open();
    assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING);
    assert_eq!(lab.open(), before);
}

#[test]
fn streams_come_and_go_with_port_0() {
    let mut lab = Lab::answered(0);
    let add = invite(2).to("b");
    let video = |port: u16| format!("m=video {port} RTP/AVP 34\r\n");
    lab.send(ALICE, BOB, add.clone().sdp(&(audio(ALICE, 20_000) + &video(20_200))));
    lab.send(BOB, ALICE, add.reply(200, "b").sdp(&(audio(BOB, 30_000) + &video(30_200))));
    assert_eq!(lab.open().len(), 4);
    let drop = invite(3).to("b");
    lab.send(ALICE, BOB, drop.clone().sdp(&(audio(ALICE, 20_000) + &video(0))));
    assert_eq!(lab.open().len(), 4, "until it is answered");
    lab.send(BOB, ALICE, drop.reply(200, "b").sdp(&(audio(BOB, 30_000) + &video(0))));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);

    // A stream the answer refuses does not stay open on the offerer's side.
    let refuse = invite(4).to("b");
    lab.send(ALICE, BOB, refuse.clone().sdp(&(audio(ALICE, 20_000) + &video(20_200))));
    lab.send(BOB, ALICE, refuse.reply(200, "b").sdp(&(audio(BOB, 30_000) + &video(0))));
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn fax_takes_the_place_of_voice() {
    let mut lab = Lab::answered(0);
    let fax = invite(2).by_bob();
    let image = |who: &str, port: u16| sdp(who, &format!("m=image {port} udptl t38\r\n"));
    lab.send(BOB, ALICE, fax.clone().sdp(&image(BOB, 30_400)));
    lab.send(ALICE, BOB, fax.reply(200, "a").sdp(&image(ALICE, 20_400)));
    assert_eq!(lab.open(), ["192.0.2.1:20400<198.51.100.7", "198.51.100.7:30400<192.0.2.1"]);
    assert_eq!(lab.core.pinholes().map(|spec| spec.kind.name()).collect::<Vec<_>>(), ["t38", "t38"]);
}

#[test]
fn rtcp_shares_the_port_only_if_both_say_so() {
    let mux = |who: &str, port| audio(who, port) + "a=rtcp-mux\r\n";
    let kinds = |lab: &Lab| {
        let mut kinds: Vec<_> = lab.core.pinholes().map(|spec| (spec.to.port(), spec.kind.name())).collect();
        kinds.sort_unstable();
        kinds
    };
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&mux(ALICE, 20_000)));
    assert_eq!(kinds(&lab), [(20_000, "rtp"), (20_001, "rtcp")], "only offered");
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&mux(BOB, 30_000)));
    assert_eq!(kinds(&lab), [(20_000, "rtcp-mux"), (30_000, "rtcp-mux")]);
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&mux(ALICE, 20_000)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(kinds(&lab), [(20_000, "rtp"), (20_001, "rtcp"), (30_000, "rtp"), (30_001, "rtcp")]);
}

#[test]
fn rtcp_goes_where_the_attribute_says() {
    let mut lab = Lab::new(0);
    let body = audio(ALICE, 20_000) + "a=rtcp:20777\r\n";
    assert_eq!(
        lab.send(ALICE, BOB, invite(1).sdp(&body)),
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20777 from 198.51.100.7"]
    );
    let mut lab = Lab::new(0);
    let body = audio(ALICE, 20_000) + "a=rtcp:20777 IN IP4 203.0.113.5\r\n";
    assert_eq!(
        lab.send(ALICE, BOB, invite(1).sdp(&body)),
        ["refused 203.0.113.5:20777 not-the-announcers", "open rtp 192.0.2.1:20000 from 198.51.100.7"]
    );
}

#[test]
fn a_bundle_shares_the_first_lines_transport() {
    let mut lab = Lab::new(0);
    let body = |who: &str, audio: u16, video: u16| {
        let media = format!(
            "a=group:BUNDLE 0 1\r\nm=audio {audio} RTP/AVP 0\r\na=mid:0\r\nm=video {video} RTP/AVP 34\r\na=mid:1\r\n"
        );
        sdp(who, &media)
    };
    lab.send(ALICE, BOB, invite(1).sdp(&body(ALICE, 20_000, 20_002)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&body(BOB, 30_000, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    // What is in no bundle of the answer keeps its own transport.
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&body(ALICE, 20_000, 20_002)));
    let apart = body(BOB, 30_000, 30_002).replace("a=group:BUNDLE 0 1\r\n", "");
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&apart));
    assert_eq!(lab.open().len(), 4);
}

#[test]
fn cancel_closes_with_its_487_and_without_one_in_time() {
    let ringing = || {
        let mut lab = Lab::new(0);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
        let cancel = request("CANCEL", 1).via("INVITE1");
        assert_eq!(lab.send(ALICE, BOB, cancel.clone()), NOTHING);
        assert_eq!(lab.send(BOB, ALICE, cancel.reply(200, "b")), NOTHING);
        assert_eq!(lab.open().len(), 2);
        lab
    };
    let mut lab = ringing();
    let told = lab.send(BOB, ALICE, invite(1).reply(487, "b"));
    assert_eq!((told.len(), told[4].as_str()), (5, "ended cancel"));
    assert_eq!(lab.send(ALICE, BOB, request("ACK", 1).via("INVITE1").to("b")), NOTHING);
    lab.assert_empty();

    let mut lab = ringing();
    assert_eq!(lab.wait(31), NOTHING);
    assert_eq!(lab.wait(1).last().map(String::as_str), Some("ended cancel"));
    lab.assert_empty();

    // The answer may have crossed the CANCEL: then there is a call.
    let mut lab = ringing();
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.wait(100), NOTHING);
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn a_final_failure_ends_the_call() {
    for status in [302, 404, 486, 503, 603] {
        let mut lab = Lab::new(0);
        lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
        let told = lab.send(BOB, ALICE, invite(1).reply(status, "b"));
        assert_eq!(
            told,
            ["close 192.0.2.1:20000 failed", "close 192.0.2.1:20001 failed", "ended failed"],
            "{status}"
        );
        lab.assert_empty();
    }
}

#[test]
fn a_challenge_closes_early_holes_and_the_call_comes_again() {
    for status in [401, 407, 422] {
        challenged_with(status);
    }
}

fn challenged_with(status: u16) {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    let id = lab.call().id;
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(status, "x")),
        ["close 192.0.2.1:20000 failed", "close 192.0.2.1:20001 failed"]
    );
    lab.send(ALICE, BOB, request("ACK", 1).via("INVITE1").to("x"));
    lab.send(ALICE, BOB, invite(2).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(2).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 2);
    assert_eq!((lab.call().id, lab.core.calls().count()), (id, 1));
    assert!(lab.call().streams.contains_key(&StreamKey { branch: 0, index: 0 }));
}

#[test]
fn a_bye_counts_when_it_is_accepted_or_stays_unanswered() {
    for status in [200, 408, 481] {
        let mut lab = Lab::answered(0);
        let bye = request("BYE", 2).to("b");
        lab.send(ALICE, BOB, bye.clone());
        assert_eq!(lab.send(BOB, ALICE, bye.reply(status, "b")).len(), 5, "{status}");
        lab.assert_empty();
    }
    let mut lab = Lab::answered(0);
    let bye = request("BYE", 2).to("b");
    lab.send(ALICE, BOB, bye.clone());
    assert_eq!(lab.send(BOB, ALICE, bye.reply(401, "b")), NOTHING, "challenged");
    assert_eq!(lab.wait(60), NOTHING);
    lab.send(ALICE, BOB, request("BYE", 3).to("b"));
    assert_eq!(lab.wait(4), NOTHING);
    assert_eq!(lab.wait(1).len(), 5);
    lab.assert_empty();
}

#[test]
fn a_bye_with_foreign_tags_does_nothing() {
    let mut lab = Lab::answered(0);
    for bye in [request("BYE", 2).to("guess"), request("BYE", 3), request("BYE", 4).by_bob().to("guess")] {
        assert_eq!(lab.send(ALICE, BOB, bye.clone()), NOTHING);
        assert_eq!(lab.send(BOB, ALICE, bye.reply(200, "guess")), NOTHING);
    }
    assert_eq!(lab.wait(60), NOTHING);
    assert_eq!(lab.open().len(), 2);
}

#[test]
fn the_offer_may_come_with_the_response_and_the_answer_with_ack() {
    let mut lab = Lab::new(0);
    assert_eq!(lab.send(ALICE, BOB, invite(1)), NOTHING);
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    assert_eq!(
        lab.send(ALICE, BOB, request("ACK", 1).to("b").sdp(&audio(ALICE, 20_000))),
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20001 from 198.51.100.7"]
    );
    // And again within the dialog: the callee moves.
    let again = invite(2).to("b");
    assert_eq!(lab.send(ALICE, BOB, again.clone()), NOTHING);
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_100)));
    assert_eq!(lab.open().len(), 3);
    lab.send(ALICE, BOB, request("ACK", 2).to("b").sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30100<192.0.2.1"]);
}

#[test]
fn prack_carries_an_answer_or_an_offer() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1));
    lab.send(BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000)));
    let prack = request("PRACK", 2).to("b");
    lab.send(ALICE, BOB, prack.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    lab.send(BOB, ALICE, prack.reply(200, "b"));
    let prack = request("PRACK", 3).to("b");
    lab.send(ALICE, BOB, prack.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, prack.reply(200, "b").sdp(&audio(BOB, 30_100)));
    let moved = ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30100<192.0.2.1"];
    assert_eq!(lab.open(), moved);
    lab.send(BOB, ALICE, invite(1).reply(200, "b"));
    assert_eq!(lab.open(), moved);
}

#[test]
fn a_prack_without_a_body_does_not_spoil_the_final_answer() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(180, "b"));
    let prack = request("PRACK", 2).to("b");
    lab.send(ALICE, BOB, prack.clone());
    lab.send(BOB, ALICE, prack.reply(200, "b"));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 2);
}

/// The INVITE and its answer through a proxy whose both sides pass the firewall.
fn through_proxy() -> Lab {
    let mut lab = Lab::new(0);
    let (inner, outer) = (invite(1).via("a1"), invite(1).via("p1"));
    lab.send(ALICE, PROXY, inner.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, BOB, outer.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<192.0.2.10,198.51.100.7"]);
    lab.send(BOB, PROXY, outer.reply(200, "b").sdp(&audio(BOB, 30_000)));
    lab.send(PROXY, ALICE, inner.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.core.calls().count(), 2);
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    lab
}

#[test]
fn a_proxy_makes_two_hops_of_one_call() {
    let mut lab = through_proxy();
    let (inner, outer) = (request("BYE", 2).to("b").via("a2"), request("BYE", 2).to("b").via("p2"));
    lab.send(ALICE, PROXY, inner.clone());
    lab.send(PROXY, BOB, outer.clone());
    let told = lab.send(BOB, PROXY, outer.reply(200, "b"));
    assert_eq!(told.last().map(String::as_str), Some("ended bye"));
    assert!(told.iter().all(|told| !told.starts_with("close")), "the other hop still needs them: {told:?}");
    assert_eq!(lab.send(PROXY, ALICE, inner.reply(200, "b")).len(), 5);
    lab.assert_empty();
}

#[test]
fn parties_that_go_on_without_the_proxy_move_and_end_both_hops() {
    let mut lab = through_proxy();
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    let bye = request("BYE", 1).by_bob();
    lab.send(BOB, ALICE, bye.clone());
    lab.send(ALICE, BOB, bye.reply(200, "a"));
    lab.assert_empty();
}

#[test]
fn a_proxy_that_sends_the_call_back_where_it_came_from_makes_two_hops() {
    let mut lab = Lab::new(0);
    let phone = "192.0.2.1:5062";
    let (there, back) = (invite(1).via("a1"), invite(1).via("p1"));
    lab.send(ALICE, PROXY, there.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, phone, back.clone().sdp(&audio(ALICE, 20_000)));
    assert_eq!(lab.core.calls().count(), 2);
    lab.send(phone, PROXY, back.reply(200, "b").sdp(&audio(phone, 20_200)));
    lab.send(PROXY, ALICE, there.reply(200, "b").sdp(&audio(phone, 20_200)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<192.0.2.1", "192.0.2.1:20200<192.0.2.1"]);
    let (there, back) = (request("BYE", 2).to("b").via("a2"), request("BYE", 2).to("b").via("p2"));
    lab.send(ALICE, PROXY, there.clone());
    lab.send(PROXY, ALICE, there.reply(200, "b"));
    assert_eq!(lab.core.calls().count(), 1, "each hop has its own BYE");
    lab.send(PROXY, phone, back.clone());
    lab.send(phone, PROXY, back.reply(200, "b"));
    lab.assert_empty();
}

#[test]
fn options_and_unknown_methods_open_nothing() {
    let mut lab = Lab::new(0);
    for method in ["OPTIONS", "INFO", "NOTIFY", "X-CALL"] {
        let request = request(method, 1);
        assert_eq!(lab.send(ALICE, BOB, request.clone().sdp(&audio(ALICE, 20_000))), NOTHING);
        assert_eq!(lab.send(BOB, ALICE, request.reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING);
    }
    assert_eq!(
        lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        NOTHING,
        "never asked"
    );
    lab.assert_empty();
}

#[test]
fn a_registration_makes_an_address_the_clients_own() {
    let phone = "192.0.2.50:1";
    let may_announce = |lab: &mut Lab, number: u32| {
        let told = lab.send(ALICE, BOB, invite(number).sdp(&audio(phone, 20_000)));
        lab.send(BOB, ALICE, invite(number).reply(486, "b"));
        told.first().is_some_and(|first| first.starts_with("open"))
    };
    let mut lab = Lab::new(0);
    assert!(!may_announce(&mut lab, 1));
    let register = request("REGISTER", 1).header("Contact: <sip:alice@192.0.2.50:5060>;expires=60");
    lab.send(ALICE, BOB, register.clone());
    assert!(!may_announce(&mut lab, 2), "not before the registrar agrees");
    let listed = |n| request("REGISTER", n).reply(200, "r").header("m: <sip:alice@192.0.2.50>;expires=60");
    lab.send(BOB, ALICE, listed(1).header("Contact: <sip:alice@192.0.2.77>;expires=3600"));
    assert!(may_announce(&mut lab, 3));
    let told = lab.send(ALICE, BOB, invite(9).sdp(&audio("192.0.2.77:1", 20_000)));
    assert_eq!(told, ["refused 192.0.2.77:20000 not-the-announcers"], "listed, but another client's");
    lab.wait(61);
    assert!(!may_announce(&mut lab, 4), "expired");

    lab.send(ALICE, BOB, request("REGISTER", 2).header("Contact: <sip:alice@192.0.2.50>;expires=60"));
    lab.send(BOB, ALICE, listed(2));
    assert!(may_announce(&mut lab, 5));
    lab.send(ALICE, BOB, request("REGISTER", 3).header("Contact: <sip:alice@192.0.2.50>;expires=0"));
    lab.send(BOB, ALICE, request("REGISTER", 3).reply(200, "r"));
    assert!(!may_announce(&mut lab, 6), "taken back");

    lab.send(ALICE, BOB, request("REGISTER", 4).header("Contact: <sip:alice@192.0.2.50>"));
    lab.send(BOB, ALICE, request("REGISTER", 4).reply(403, "r").header("Contact: <sip:alice@192.0.2.50>"));
    assert!(!may_announce(&mut lab, 7), "refused");
}

#[test]
fn retransmissions_change_nothing() {
    let mut lab = Lab::new(0);
    let bye = request("BYE", 2).to("b");
    let script = [
        (ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))),
        (BOB, ALICE, invite(1).reply(183, "b").sdp(&audio(BOB, 30_000))),
        (BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        (ALICE, BOB, request("ACK", 1).to("b")),
        (ALICE, BOB, invite(2).to("b").sdp(&audio(ALICE, 20_100))),
        (BOB, ALICE, invite(2).to("b").reply(200, "b").sdp(&audio(BOB, 30_100))),
        (ALICE, BOB, bye.clone()),
        (BOB, ALICE, bye.reply(200, "b")),
    ];
    for (from, to, message) in script {
        lab.send(from, to, message.clone());
        assert_eq!(lab.send(from, to, message.clone()), NOTHING, "{}", message.start);
    }
    lab.assert_empty();
}

#[test]
fn a_retransmitted_invite_does_not_reopen_after_the_answer() {
    let mut lab = Lab::answered(0);
    let before = lab.open();
    assert_eq!(lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))), NOTHING);
    assert_eq!(lab.open(), before);
}

#[test]
fn what_may_not_be_announced_opens_nothing() {
    for (body, refusal) in [
        (audio(ALICE, 22), "refused 192.0.2.1:22 privileged-port"),
        (audio(ALICE, 40_000), "refused 192.0.2.1:40000 port-range"),
        (audio("203.0.113.5:1", 20_000), "refused 203.0.113.5:20000 not-the-announcers"),
        (audio("127.0.0.1:1", 20_000), "refused 127.0.0.1:20000 not-unicast"),
        (audio("239.1.2.3:1", 20_000), "refused 239.1.2.3:20000 not-unicast"),
        (
            audio(ALICE, 20_000).replace("c=IN IP4 192.0.2.1", "c=IN IP4 media.example"),
            "refused 0.0.0.0:20000 host-name",
        ),
    ] {
        let mut lab = Lab::new(0);
        assert_eq!(lab.send(ALICE, BOB, invite(1).sdp(&body)), [refusal]);
        assert_eq!(lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&body)).len(), 1, "nor in an answer");
        assert_eq!(lab.core.pinholes().count(), 0, "{body}");
    }
}

#[test]
fn a_move_to_a_foreign_address_is_not_smuggled_in_by_the_answer() {
    let mut lab = Lab::answered(0);
    let again = invite(2).to("b");
    let told = lab.send(ALICE, BOB, again.clone().sdp(&audio("203.0.113.5:1", 20_000)));
    assert_eq!(told, ["refused 203.0.113.5:20000 not-the-announcers"]);
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert!(lab.open().iter().all(|open| !open.starts_with("203.0.113.5")), "{:?}", lab.open());
}

#[test]
fn a_session_that_is_not_refreshed_expires() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    let answer = invite(1).reply(200, "b").header("Session-Expires: 90;refresher=uac");
    lab.send(BOB, ALICE, answer.sdp(&audio(BOB, 30_000)));
    lab.wait(80);
    let refresh = request("UPDATE", 2).to("b");
    lab.send(ALICE, BOB, refresh.clone());
    lab.send(BOB, ALICE, refresh.reply(200, "b").header("x: 90"));
    assert_eq!(lab.wait(121), NOTHING);
    assert_eq!(lab.wait(1).last().map(String::as_str), Some("ended expired"));
    lab.assert_empty();
}

#[test]
fn calls_go_on_after_a_restart() {
    let restart = |lab: &mut Lab| {
        let calls: Vec<_> = lab.core.calls().cloned().collect();
        let mut after = Lab::new(0);
        after.now = lab.now;
        after.tracker.restore(&calls.iter().collect::<Vec<_>>());
        after.core.restore(calls, lab.now);
        after
    };
    // Answered: it can move and end.
    let mut lab = restart(&mut Lab::answered(0));
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_100)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20100<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    let bye = request("BYE", 1).by_bob();
    lab.send(BOB, ALICE, bye.clone());
    lab.send(ALICE, BOB, bye.reply(200, "a"));
    lab.assert_empty();

    // Ringing: it can be answered.
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(180, "b"));
    let mut lab = restart(&mut lab);
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
}

#[test]
fn a_call_older_than_the_firewall_is_taken_up() {
    let mut lab = Lab::new(0);
    let again = invite(7).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open().len(), 2);
    let bye = request("BYE", 1).by_bob();
    lab.send(BOB, ALICE, bye.clone());
    lab.send(ALICE, BOB, bye.reply(200, "a"));
    lab.assert_empty();
}

#[test]
fn a_call_the_core_has_ended_is_forgotten() {
    let mut lab = Lab::answered(0);
    let call = lab.call().clone();
    lab.core.end_call(call.id, EndReason::Inactivity);
    lab.tracker.ended(&call);
    lab.assert_empty();
}

#[test]
fn hops_of_one_call_id_are_bounded() {
    let mut lab = Lab::new(0);
    for n in 1..=MAX_HOPS as u8 {
        let caller = SocketAddr::new(IpAddr::from([10, 0, 0, n]), 5060).to_string();
        lab.send(&caller, BOB, invite(1));
    }
    let context = lab.context(ALICE, BOB);
    let verdict = lab.tracker.message(&mut lab.core, &context, invite(1).text().as_bytes());
    assert_eq!(verdict, Verdict::Drop(Reason::AlgMemory));
    assert_eq!(lab.core.calls().count(), MAX_HOPS);
}

#[test]
fn transactions_of_one_call_are_bounded() {
    let mut lab = Lab::new(0);
    for n in 1..=100 {
        lab.send(ALICE, BOB, invite(n).via(&n.to_string()).sdp(&audio(ALICE, 20_000)));
    }
    let hop = &lab.tracker.calls["c1@host"][0];
    assert!(hop.transactions.len() <= 16);
    for n in 1..=100 {
        lab.send(BOB, ALICE, invite(n).via(&n.to_string()).reply(486, "b"));
    }
    lab.assert_empty();
}

#[test]
fn keep_alives_pass_and_what_is_no_sip_is_dropped() {
    let mut lab = Lab::new(0);
    let context = lab.context(ALICE, BOB);
    for quiet in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"hello"] {
        assert_eq!(lab.tracker.message(&mut lab.core, &context, quiet), Verdict::Pass);
    }
    let two = invite(1).header("Call-ID: other").text();
    for bad in [&b"not SIP at all"[..], b"GET / HTTP/1.1\r\n\r\n", two.as_bytes()] {
        let verdict = lab.tracker.message(&mut lab.core, &context, bad);
        assert_eq!(verdict, Verdict::Drop(Reason::AlgMalformed));
    }
    lab.assert_empty();
}

#[test]
fn an_unreadable_description_opens_nothing_and_passes() {
    let mut lab = Lab::new(0);
    for body in
        ["v=1\r\n", "v=0\r\nc=IN IP4\r\nm=audio 20000 RTP/AVP 0\r\n", "v=0\r\nm=audio 99999 RTP/AVP 0\r\n"]
    {
        assert_eq!(lab.send(ALICE, BOB, invite(1).sdp(body)), NOTHING);
    }
}

/// Steps of a call that the property below plays in any order.
fn steps() -> Vec<(&'static str, &'static str, Sip)> {
    let bye = request("BYE", 9).to("b");
    vec![
        (ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000))),
        (ALICE, BOB, invite(1).via("other")),
        (BOB, ALICE, invite(1).reply(180, "b")),
        (BOB, ALICE, invite(1).reply(183, "b2").sdp(&audio(BOB, 30_002))),
        (BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000))),
        (BOB, ALICE, invite(1).reply(401, "b")),
        (BOB, ALICE, invite(1).reply(486, "b")),
        (ALICE, BOB, request("CANCEL", 1).via("INVITE1")),
        (ALICE, BOB, request("ACK", 1).to("b").sdp(&audio(ALICE, 20_006))),
        (ALICE, BOB, invite(2).to("b").sdp(&audio(ALICE, 20_100))),
        (BOB, ALICE, invite(2).to("b").reply(200, "b").sdp(&audio(BOB, 30_100))),
        (BOB, ALICE, invite(2).to("b").reply(491, "b")),
        (BOB, ALICE, request("UPDATE", 3).by_bob().sdp(&sdp(BOB, "m=audio 0 RTP/AVP 0\r\n"))),
        (ALICE, BOB, request("UPDATE", 3).by_bob().reply(200, "a").sdp(&audio(ALICE, 20_100))),
        (ALICE, BOB, request("PRACK", 4).to("b2").sdp(&audio(ALICE, 20_004))),
        (ALICE, BOB, bye.clone()),
        (BOB, ALICE, bye.reply(200, "b")),
    ]
}

proptest! {
    #[test]
    fn any_order_of_messages_leaves_nothing_behind_a_call(order in prop::collection::vec(0_usize..17, 0..60)) {
        let mut lab = Lab::new(0);
        let steps = steps();
        for step in order {
            let (from, to, message) = &steps[step];
            lab.send(from, to, message.clone());
            let hops: usize = lab.tracker.calls.values().map(Vec::len).sum();
            prop_assert_eq!(hops, lab.core.calls().count(), "tracker and core know the same calls");
            for spec in lab.core.pinholes() {
                let alices = spec.to.ip() == at(ALICE).ip();
                let sender = if alices { at(BOB).ip() } else { at(ALICE).ip() };
                prop_assert!(spec.senders.iter().all(|s| s.ip == sender), "only the other party sends");
            }
        }
        let ids: Vec<_> = lab.core.calls().map(|call| call.id).collect();
        for id in ids {
            lab.core.end_call(id, EndReason::Operator);
        }
        prop_assert_eq!(lab.core.pinholes().count(), 0);
    }

    #[test]
    fn damaged_messages_never_panic(
        step in 0_usize..17,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        length in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let (mut lab, context) = (Lab::answered(0), Lab::new(0).context(ALICE, BOB));
        let mut bytes = steps()[step].2.text().into_bytes();
        for (place, byte) in cuts {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if shorten {
            bytes.truncate(length.index(bytes.len()));
        }
        lab.tracker.message(&mut lab.core, &context, &bytes);
        for spec in lab.core.pinholes() {
            let own = [at(ALICE).ip(), at(BOB).ip()].contains(&spec.to.ip());
            prop_assert!(own && (16_384..=32_767).contains(&spec.to.port()));
        }
    }
}

#[test]
fn parties_are_named_by_tag_not_by_address() {
    // Both ends on one host: only the tags tell who is who.
    let (left, right) = ("192.0.2.1:5070", "192.0.2.1:5080");
    let mut lab = Lab::new(0);
    lab.send(left, right, invite(1).sdp(&audio(left, 20_000)));
    lab.send(right, left, invite(1).reply(200, "b").sdp(&audio(right, 30_000)));
    let again = request("UPDATE", 1).by_bob();
    lab.send(right, left, again.clone().sdp(&audio(right, 30_100)));
    lab.send(left, right, again.reply(200, "a").sdp(&audio(left, 20_000)));
    let ends = lab.stream().ends;
    assert_eq!(ends[Party::Caller as usize].media, Some(at("192.0.2.1:20000")));
    assert_eq!(ends[Party::Callee as usize].media, Some(at("192.0.2.1:30100")));
}
