//! What the call policy refuses, in which words, what it is told, and what it never refuses.

use callgate_protocols::sip::Message;

use super::*;
use crate::action::Denial;
use crate::core::gate::lab::{finished, govern};
use crate::event::EventKind;

/// What has been done since the last time.
struct Ruled {
    lab: Lab,
    actions: Vec<Action>,
}

impl Ruled {
    fn new(head: &str, change: impl FnOnce(&mut SipPolicy)) -> Self {
        let mut lab = Lab::with(change);
        govern(&mut lab.core, head);
        Self { lab, actions: Vec::new() }
    }

    /// Sends a message of a caller to a number: what stands for Alice and Bob in it.
    fn try_send(&mut self, from: &str, to: &str, (caller, called): (&str, &str), message: &Sip) -> Verdict {
        self.lab.now = self.lab.now + Duration::from_millis(100);
        let context = self.lab.context(from, to);
        let text = message.text().replace("sip:alice@", &format!("sip:{caller}@"));
        let text = text.replace("sip:bob@", &format!("sip:{called}@"));
        let verdict = self.lab.tracker.message(&mut self.lab.core, &context, text.as_bytes());
        self.actions.extend(self.lab.core.take_actions());
        verdict
    }

    /// A call's first INVITE: `Ok`, or the status and the Reason field its caller reads.
    fn invite(&mut self, from: &str, parties: (&str, &str), call: &str) -> Result<(), (u16, String)> {
        let verdict = self.try_send(from, BOB, parties, &invite(1).of(call).sdp(&audio(from, 20_000)));
        match verdict {
            Verdict::Pass => Ok(()),
            Verdict::Refuse(denial) => Err(read(&denial)),
            other => panic!("{other:?}"),
        }
    }

    /// Bob says so much to a call's INVITE.
    fn answer(&mut self, parties: (&str, &str), call: &str, status: u16) {
        let message = invite(1).of(call).reply(status, "b").sdp(&audio(BOB, 30_000));
        assert_eq!(self.try_send(BOB, ALICE, parties, &message), Verdict::Pass);
    }

    fn events(&mut self, kind: EventKind) -> Vec<String> {
        let of_kind = self.actions.iter().filter_map(|action| match action {
            Action::Event(event) if event.kind == kind => Some(event.text.clone()),
            _ => None,
        });
        of_kind.collect()
    }

    fn finished(&mut self) -> Vec<String> {
        finished(&std::mem::take(&mut self.actions))
    }

    /// `seconds` go by, as the engine lets them.
    fn wait(&mut self, seconds: u64) {
        self.lab.now = self.lab.now + Duration::from_secs(seconds);
        self.lab.core.tick(self.lab.now);
        let actions = self.lab.core.take_actions();
        for action in &actions {
            if let Action::Ended(call, reason) = action {
                if *reason == EndReason::Limit {
                    self.lab.tracker.limited(&mut self.lab.core, call, self.lab.now);
                }
                self.lab.tracker.ended(call);
            }
        }
        self.actions.extend(actions);
        self.lab.tracker.tick(&mut self.lab.core, self.lab.now);
        self.actions.extend(self.lab.core.take_actions());
    }

    /// What the firewall has said since: to whom, and what.
    fn said(&mut self) -> Vec<(String, String)> {
        let said = self.actions.iter().filter_map(|action| match action {
            Action::Say(saying) => {
                Some((saying.to.to_string(), String::from_utf8_lossy(&saying.payload).into_owned()))
            }
            _ => None,
        });
        let said = said.collect();
        self.actions.clear();
        said
    }
}

fn read(denial: &Denial) -> (u16, String) {
    let reply = denial.reply.as_deref().expect("an answer");
    let text = String::from_utf8_lossy(reply).into_owned();
    let reason = text.lines().find_map(|line| line.strip_prefix("Reason: ")).unwrap_or_default();
    (Message::parse(reply).expect("a response").status().expect("a status"), reason.to_owned())
}

#[test]
fn a_call_needs_the_permission_of_its_number() {
    let mut ruled = Ruled::new("", |_| {});
    let forbidden = Err((403, "Q.850;cause=21;text=\"Not permitted to call this number\"".to_owned()));
    assert_eq!(ruled.invite(ALICE, ("1100", "9011442071234567"), "one"), forbidden);
    assert_eq!(ruled.lab.core.calls().count(), 0);
    assert_eq!(
        ruled.events(EventKind::Refused),
        ["INVITE: Not permitted to call this number (no-permission)"]
    );
    assert_eq!(
        ruled.finished(),
        [
            "1100@example.com → 9011442071234567@example.com [international] refused no-permission sip 403 by firewall"
        ]
    );
    assert_eq!(ruled.invite(ALICE, ("1001", "9011442071234567"), "two"), Ok(()));
    assert_eq!(ruled.invite(ALICE, ("1100", "918005550100"), "three"), Ok(()));
    let granted = ruled.lab.core.calls().filter_map(|call| call.granted.as_deref());
    let mut granted: Vec<_> = granted.map(|g| (g.permission.as_str(), g.numbers[0].as_str())).collect();
    granted.sort_unstable();
    assert_eq!(granted, [("international", "1001"), ("toll-free", "1100")]);
    // A number is what is dialled, however it is written, and not what To says.
    for odd in ["90-11.44(20)7", "%39011442071", "9011442071;phone-context=x", "9011442071:secret"] {
        let (status, _) = ruled.invite(ALICE, ("1100", odd), odd).expect_err(odd);
        assert_eq!(status, 403, "{odd}");
    }
}

#[test]
fn refusals_may_be_declines() {
    let mut ruled = Ruled::new("refuse_with = \"decline\"", |_| {});
    assert_eq!(ruled.invite(ALICE, ("1100", "9011442071234567"), "one").map_err(|told| told.0), Err(603));
}

#[test]
fn an_attempt_is_asked_for_once() {
    let mut ruled = Ruled::new("", |_| {});
    let parties = ("1100", "2000");
    // Staff may have one call at a time: neither a repetition, nor one with credentials, nor another hop is a second.
    assert_eq!(ruled.invite(ALICE, parties, "one"), Ok(()));
    assert_eq!(ruled.invite(ALICE, parties, "one"), Ok(()));
    ruled.answer(parties, "one", 401);
    let again = invite(2).of("one").sdp(&audio(ALICE, 20_000));
    assert_eq!(ruled.try_send(ALICE, BOB, parties, &again), Verdict::Pass);
    let onward = invite(2).of("one").via("onward").sdp(&audio(ALICE, 20_000));
    assert_eq!(ruled.try_send(BOB, PROXY, parties, &onward), Verdict::Pass);
    // Where a hop passes it on to another number, it is asked for again, and may be refused.
    let elsewhere = invite(3).of("one").via("elsewhere");
    let verdict = ruled.try_send(BOB, PROXY, ("1100", "9011442071234567"), &elsewhere);
    assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
    let busy = Err((503, "Q.850;cause=42;text=\"Too many calls\"".to_owned()));
    assert_eq!(ruled.invite(ALICE, parties, "two"), busy);
    ruled.finished();
    // Bob hangs up; then there is room.
    let accepted = invite(2).of("one").reply(486, "b");
    assert_eq!(ruled.try_send(BOB, ALICE, parties, &accepted), Verdict::Pass);
    let told = ruled.finished();
    assert!(told[0].ends_with("[internal] failed sip 486 by callee"), "{told:?}");
    ruled.wait(1);
    assert_eq!(ruled.invite(ALICE, parties, "three"), Ok(()));
}

#[test]
fn emergency_calls_pass_all_that_refuses_others() {
    let keys = |policy: &mut SipPolicy| {
        (policy.dialogs_max, policy.dialogs_per_source) = (Some(1), Some(1));
        policy.message_max = 300;
        policy.called.deny = vec![callgate_rules::inspect::Pattern::new("9*").expect("a pattern")];
        policy.call_max = Some(Duration::from_secs(60));
        policy.methods = None;
    };
    let mut ruled = Ruled::new("limits = { calls = 1 }", keys);
    for (place, number) in ["911", "9911", "9-1-1"].into_iter().enumerate() {
        assert_eq!(ruled.invite(ALICE, ("1100", number), &format!("sos{place}")), Ok(()), "{number}");
        ruled.answer(("1100", number), &format!("sos{place}"), 200);
    }
    assert_eq!(ruled.events(EventKind::EmergencyCall).len(), 3);
    assert!(ruled.lab.core.calls().all(|call| call.granted.as_deref().is_some_and(|g| g.emergency)));
    // No limit ends one either: not even the longest life that SIP calls have.
    ruled.wait(61);
    assert_eq!(ruled.lab.core.calls().count(), 3);
    // What only looks like one is none.
    for number in ["9112", "91155501234"] {
        assert!(ruled.invite(ALICE, ("1100", number), number).is_err(), "{number}");
    }
}

#[test]
fn a_limit_ends_a_call() {
    let mut ruled = Ruled::new("", |_| {});
    let parties = ("1001", "919005550100");
    assert_eq!(ruled.invite(ALICE, parties, "hot"), Ok(()));
    ruled.answer(parties, "hot", 200);
    for _ in 0..9 {
        ruled.wait(60);
        ruled.lab.core.touch(at("192.0.2.1:20000"), Transport::Udp, ruled.lab.now);
    }
    assert_eq!(ruled.lab.core.calls().count(), 1);
    ruled.actions.clear();
    ruled.wait(61);
    ruled.lab.assert_empty();
    assert_eq!(ruled.events(EventKind::LimitReached), ["Call has lasted as long as it may (duration), hot"]);
    let told = ruled.finished();
    assert!(told[0].ends_with("[premium] limit by firewall"), "{told:?}");
    // What would open it again is answered so that its parties hang up, which they may.
    let again = invite(2).of("hot").to("b").sdp(&audio(ALICE, 20_000));
    let verdict = ruled.try_send(ALICE, BOB, parties, &again);
    let Verdict::Refuse(denial) = verdict else { panic!("{verdict:?}") };
    assert_eq!(read(&denial), (481, String::new()));
    assert_eq!(ruled.try_send(ALICE, BOB, parties, &request("BYE", 3).of("hot").to("b")), Verdict::Pass);
    ruled.lab.assert_empty();
}

#[test]
fn who_has_registered_is_who_that_is() {
    let mut ruled = Ruled::new("", |_| {});
    // Alice's phone registers as 1100, and may not register as what nobody knows.
    let contact = "Contact: <sip:1100@192.0.2.1:5060>;expires=600";
    let register = |number: u32| request("REGISTER", number).of("reg").header(contact);
    let verdict = ruled.try_send(ALICE, BOB, ("x", "9999"), &register(1));
    let Verdict::Refuse(denial) = verdict else { panic!("{verdict:?}") };
    assert_eq!(read(&denial), (403, "Q.850;cause=21;text=\"Device not known\"".to_owned()));
    // (The address of record of these messages is Bob's.)
    assert_eq!(ruled.try_send(ALICE, BOB, ("x", "1100"), &register(2)), Verdict::Pass);
    let listed = Sip { more: String::new(), ..register(2) }.reply(200, "r").header(contact);
    assert_eq!(ruled.try_send(BOB, ALICE, ("x", "1100"), &listed), Verdict::Pass);
    assert_eq!(ruled.lab.tracker.bindings().count(), 1);
    // What it says of itself afterwards makes it nobody else.
    let (status, _) = ruled.invite(ALICE, ("1001", "9011442071234567"), "one").expect_err("not permitted");
    assert_eq!(status, 403);
    assert_eq!(ruled.invite(ALICE, ("1100", "2000"), "two"), Ok(()));
    // Where several have, and it says none of them, it is nobody: what strangers may do is all.
    let register =
        |number: u32| request("REGISTER", number).of("boss").via(&format!("boss{number}")).header(contact);
    assert_eq!(ruled.try_send(ALICE, BOB, ("x", "1001"), &register(1)), Verdict::Pass);
    let listed = Sip { more: String::new(), ..register(1) }.reply(200, "r").header(contact);
    assert_eq!(ruled.try_send(BOB, ALICE, ("x", "1001"), &listed), Verdict::Pass);
    assert!(ruled.invite(ALICE, ("1002", "9011442071234567"), "three").is_err());
    assert_eq!(ruled.invite(ALICE, ("1001", "9011442071234567"), "four"), Ok(()));
}

#[test]
fn where_there_is_no_policy_nobody_is_asked() {
    let mut ruled = Ruled::new("", |_| {});
    ruled.lab.core.set_plan(None);
    assert_eq!(ruled.invite(ALICE, ("1100", "9011442071234567"), "one"), Ok(()));
    assert!(ruled.lab.call().granted.is_none());
    ruled.answer(("1100", "9011442071234567"), "one", 603);
    let told = ruled.finished();
    assert!(told[0].ends_with("[] failed sip 603 by callee"), "{told:?}");
}

#[test]
fn calls_count_again_after_a_restart() {
    let mut ruled = Ruled::new("", |_| {});
    assert_eq!(ruled.invite(ALICE, ("1100", "2000"), "one"), Ok(()));
    let calls: Vec<Call> = ruled.lab.core.calls().cloned().collect();
    let text = serde_json::to_string(&calls).expect("it can be written");
    let calls: Vec<Call> = serde_json::from_str(&text).expect("it can be read");
    let mut later = Ruled::new("", |_| {});
    later.lab.core.restore(calls, later.lab.now);
    let taken: Vec<_> = later.lab.core.calls().collect();
    later.lab.tracker.restore(&taken);
    assert_eq!(later.invite(ALICE, ("1100", "2001"), "two").map_err(|told| told.0), Err(503));
}

/// Executives call a premium number, answered.
fn answered(invite: Sip, ack: Sip) -> Ruled {
    let mut ruled = Ruled::new("", |_| {});
    let parties = ("1001", "91900555");
    let invite = invite.of("hot").sdp(&audio(ALICE, 20_000));
    assert_eq!(ruled.try_send(ALICE, BOB, parties, &invite), Verdict::Pass);
    ruled.answer(parties, "hot", 200);
    assert_eq!(ruled.try_send(ALICE, BOB, parties, &ack.of("hot").to("b")), Verdict::Pass);
    ruled.actions.clear();
    ruled
}

/// Such a call, and the limit of ten minutes comes.
fn limited(invite: Sip, ack: Sip) -> Ruled {
    until_limit(answered(invite, ack))
}

fn until_limit(mut ruled: Ruled) -> Ruled {
    for _ in 0..6 {
        ruled.wait(99);
        ruled.lab.core.touch(at("192.0.2.1:20000"), Transport::Udp, ruled.lab.now);
    }
    ruled.actions.clear();
    ruled.wait(99);
    ruled
}

#[test]
fn a_call_that_a_limit_ends_is_released() {
    let contact = "Contact: <sip:1001@192.0.2.1:5062;ob>";
    let routed = request("ACK", 1).header("Route: <sip:198.51.100.9;lr>, <sip:edge.example;lr>");
    let mut ruled = limited(invite(1).header(contact), routed);
    let said = ruled.said();
    let fields = |text: &str| -> Vec<String> {
        let kept = ["BYE", "Route:", "From:", "To:", "Call-ID:", "CSeq:"];
        text.lines()
            .filter(|line| kept.iter().any(|name| line.starts_with(name)))
            .map(str::to_owned)
            .collect()
    };
    let told: Vec<_> = said.iter().map(|(to, text)| (to.as_str(), fields(text))).collect();
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let to_bob = own(&[
        "BYE sip:91900555@198.51.100.7 SIP/2.0",
        "Route: <sip:198.51.100.9;lr>, <sip:edge.example;lr>",
        "From: <sip:1001@example.com>;tag=a",
        "To: <sip:91900555@example.com>;tag=b",
        "Call-ID: hot",
        "CSeq: 2 BYE",
    ]);
    let to_alice = own(&[
        "BYE sip:1001@192.0.2.1:5062;ob SIP/2.0",
        "From: <sip:91900555@example.com>;tag=b",
        "To: <sip:1001@example.com>;tag=a",
        "Call-ID: hot",
        "CSeq: 1 BYE",
    ]);
    assert_eq!(told, [(BOB, to_bob), ("192.0.2.1:5062", to_alice)]);
    for (_, text) in &said {
        let message = Message::parse(text.as_bytes()).expect("a message");
        assert_eq!(message.reasons().count(), 1, "{text}");
    }

    // It is said again until it is answered; the answers go no further.
    ruled.wait(2);
    let mut again = ruled.said();
    again.sort_by_key(|(to, _)| to != BOB);
    assert_eq!(again, said);
    let answer = |text: &str, status: &str| {
        text.replacen("BYE", "", 1).replacen(
            text.replacen("BYE", "", 1).lines().next().expect("a line"),
            status,
            1,
        )
    };
    for (from, place) in [(BOB, 0), ("192.0.2.1:5062", 1)] {
        let context = ruled.lab.context(from, if place == 0 { ALICE } else { BOB });
        let answer = answer(&said[place].1, "SIP/2.0 200 OK");
        let verdict = ruled.lab.tracker.message(&mut ruled.lab.core, &context, answer.as_bytes());
        assert_eq!(verdict, Verdict::Absorb, "{answer}");
        let other = answer.replace("branch=z9hG4bK", "branch=z9hG4bKx");
        let verdict = ruled.lab.tracker.message(&mut ruled.lab.core, &context, other.as_bytes());
        assert_eq!(verdict, Verdict::Pass, "nobody's but its own");
    }
    ruled.wait(3);
    ruled.wait(5);
    assert_eq!(ruled.said(), []);
    // Not for ever.
    ruled.wait(40);
    let context = ruled.lab.context(BOB, ALICE);
    let late = answer(&said[0].1, "SIP/2.0 200 OK");
    let verdict = ruled.lab.tracker.message(&mut ruled.lab.core, &context, late.as_bytes());
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn a_call_of_an_earlier_run_is_released_alike() {
    let contact = "Contact: <sip:1001@192.0.2.1:5062;ob>";
    let routed = || request("ACK", 1).header("Route: <sip:198.51.100.9;lr>, <sip:edge.example;lr>");
    let before = answered(invite(1).header(contact), routed());
    let calls: Vec<Call> = before.lab.core.calls().cloned().collect();
    let mut after = Ruled::new("", |_| {});
    after.lab.now = before.lab.now;
    after.lab.core.restore(calls.clone(), after.lab.now);
    after.lab.tracker.restore(&calls.iter().collect::<Vec<_>>());
    let unbranched = |mut ruled: Ruled| -> Vec<(String, String)> {
        let lines =
            |text: &str| text.lines().filter(|line| !line.starts_with("Via:")).collect::<Vec<_>>().join("\n");
        ruled.said().into_iter().map(|(to, text)| (to, lines(&text))).collect()
    };
    let said = unbranched(until_limit(after));
    assert_eq!(said.len(), 2);
    assert_eq!(said, unbranched(until_limit(before)));
}

#[test]
fn who_says_nothing_of_how_it_is_reached_is_not_released() {
    let mut ruled = limited(invite(1), request("ACK", 1));
    let said = ruled.said();
    assert_eq!(said.iter().map(|(to, _)| to.as_str()).collect::<Vec<_>>(), [BOB]);
}

#[test]
fn a_router_of_old_is_called_by_its_own_name() {
    let records = "Contact: <sip:1001@192.0.2.1>\r\nRecord-Route: <sip:192.0.2.1:5070>, <sip:192.0.2.10;lr>";
    let mut ruled = limited(invite(1).header(records), request("ACK", 1));
    let said = ruled.said();
    let (to, text) = said.iter().find(|(to, _)| to.starts_with("192.0.2.1:")).expect("Alice is told");
    assert_eq!(to, "192.0.2.1:5070");
    assert!(text.starts_with("BYE sip:192.0.2.1:5070 SIP/2.0\r\n"), "{text}");
    assert!(text.contains("\r\nRoute: <sip:192.0.2.10;lr>, <sip:1001@192.0.2.1>\r\n"), "{text}");
}

#[test]
fn a_call_that_finds_no_room_is_told_so_and_an_emergency_call_finds_some() {
    let mut ruled = Ruled::new("", |_| {});
    ruled.lab.core.set_bounds(Bounds { calls: 1, ..Bounds::default() });
    assert_eq!(ruled.invite(ALICE, ("1001", "2000"), "one"), Ok(()));
    assert_eq!(ruled.invite(ALICE, ("1002", "2000"), "two"), Err((503, String::new())));
    assert_eq!(ruled.events(EventKind::Refused), ["INVITE: there is no room for another call"]);
    assert_eq!(ruled.invite(ALICE, ("1002", "911"), "sos"), Ok(()));
    assert_eq!(ruled.lab.core.calls().count(), 2);
    // The one that was there goes on, and leaves its place.
    ruled.answer(("1001", "2000"), "one", 486);
    assert_eq!(ruled.lab.core.calls().count(), 1);
    ruled.answer(("1002", "911"), "sos", 486);
    assert_eq!(ruled.invite(ALICE, ("1002", "2000"), "again"), Ok(()));
}

#[test]
fn a_call_that_finds_no_room_for_its_media_is_refused_before_it_rings() {
    let mut ruled = Ruled::new("", |_| {});
    ruled.lab.core.set_bounds(Bounds { pinholes: 7, ..Bounds::default() });
    assert_eq!(ruled.invite(ALICE, ("1001", "2000"), "one"), Ok(()));
    ruled.answer(("1001", "2000"), "one", 200);
    assert_eq!(ruled.lab.core.pinholes().count(), 4);
    assert_eq!(ruled.invite("192.0.2.2:5060", ("1002", "2000"), "two"), Err((503, String::new())));
    assert_eq!(ruled.lab.core.refusals().find(|(_, n)| *n > 0), Some((Refusal::TableFull, 1)));
    assert_eq!(ruled.invite("192.0.2.2:5060", ("1002", "911"), "sos"), Ok(()));
    assert_eq!(ruled.lab.core.pinholes().count(), 6);
}

#[test]
fn a_call_that_nobody_answers_at_all_leaves_its_place_soon() {
    let mut ruled = Ruled::new("", |_| {});
    assert_eq!(ruled.invite(ALICE, ("1001", "2000"), "nobody"), Ok(()));
    assert_eq!(ruled.invite("192.0.2.2:5060", ("1002", "2000"), "rings"), Ok(()));
    let trying = invite(1).of("rings").reply(100, "b");
    assert_eq!(ruled.try_send(BOB, "192.0.2.2:5060", ("1002", "2000"), &trying), Verdict::Pass);
    ruled.wait(60);
    assert_eq!(ruled.lab.core.calls().count(), 2);
    ruled.wait(10);
    let left: Vec<_> = ruled.lab.core.calls().map(|call| call.key.as_str()).collect();
    assert_eq!(left, ["rings"]);
    ruled.wait(300);
    ruled.lab.assert_empty();
}
