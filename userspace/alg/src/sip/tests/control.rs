//! What the rules file refuses, in which words, and what it leaves alone.

use callgate_protocols::sip::Message;
use callgate_rules::RuleSet;
use callgate_rules::compile::MemorySlots;
use callgate_rules::{Machine, compile};

use super::*;
use crate::action::Denial;
use crate::event::{Event, EventKind};

/// A firewall under rules that have these keys in `[inspect.sip]`, its rule's slot, and what it has told.
pub(super) struct Ruled {
    pub(super) lab: Lab,
    pub(super) events: Vec<Event>,
    pub(super) suspects: Vec<crate::action::Suspect>,
}

impl Ruled {
    pub(super) fn new(keys: &str) -> Self {
        Self::with("", keys)
    }

    /// `rule` is added to the rule; it is from Alice's network to Bob's.
    pub(super) fn with(rule: &str, keys: &str) -> Self {
        let text = format!(
            "version = 1\n[inspect.sip]\n{keys}\n[[rule]]\nname = \"sip\"\nfrom = \"192.0.2.0/24\"\n\
             to = [\"198.51.100.0/24\"]\nservice = \"sip\"\naction = \"inspect\"\ninspect = \"sip\"\n{rule}\n"
        );
        let rules = RuleSet::parse("rules.toml", &text).expect("valid rules");
        let machine = Machine::at(jiff::Zoned::default());
        let compiled = compile(&rules, &machine, 1, &mut MemorySlots::default()).expect("it compiles");
        let mut lab = Lab::new(compiled.slots[0]);
        lab.core.set_policy(crate::policy::media(&rules, &compiled));
        Self { lab, events: Vec::new(), suspects: Vec::new() }
    }

    /// Sends a message, whatever becomes of it.
    pub(super) fn try_over(&mut self, transport: Transport, from: &str, to: &str, text: &str) -> Verdict {
        self.lab.now = self.lab.now + Duration::from_millis(10);
        let context = Context { transport, ..self.lab.context(from, to) };
        let verdict = self.lab.tracker.message(&mut self.lab.core, &context, text.as_bytes());
        for action in self.lab.core.take_actions() {
            match action {
                Action::Event(event) => self.events.push(event),
                Action::Suspect(suspect) => self.suspects.push(suspect),
                _ => {}
            }
        }
        verdict
    }

    fn try_send(&mut self, from: &str, to: &str, message: &Sip) -> Verdict {
        self.try_over(Transport::Udp, from, to, &message.text())
    }

    #[track_caller]
    pub(super) fn passes(&mut self, from: &str, to: &str, message: Sip) {
        assert_eq!(self.try_send(from, to, &message), Verdict::Pass, "{}", message.start);
    }

    /// A request that must be refused: the status its sender reads; the text of the event.
    #[track_caller]
    pub(super) fn refused(&mut self, from: &str, to: &str, message: Sip) -> (u16, String) {
        let denial = denial(self.try_send(from, to, &message));
        assert_eq!((denial.reason, denial.notify), (Reason::AlgRefused, None));
        let reply = denial.reply.expect("an answer");
        let reply = Message::parse(&reply).expect("a response");
        assert_eq!((reply.call_id, reply.cseq.number), ("c1@host", message.number));
        assert_eq!(reply.method().name(), message.method);
        let event = self.events.last().expect("an event");
        assert_eq!(event.kind, EventKind::Refused);
        (reply.status().expect("a status"), event.text.clone())
    }
}

fn denial(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Refuse(denial) => *denial,
        other => panic!("not refused: {other:?}"),
    }
}

/// A call of this policy that has been answered.
fn talking(keys: &str) -> Ruled {
    let mut ruled = Ruled::new(keys);
    ruled.passes(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    ruled.passes(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    ruled.passes(ALICE, BOB, request("ACK", 1).to("b"));
    ruled
}

#[test]
fn methods_are_permitted_by_direction() {
    let mut ruled = talking("methods = [\"INVITE\", \"OPTIONS\"]\nmethods_back = [\"NOTIFY\"]");
    ruled.passes(ALICE, BOB, request("OPTIONS", 2));
    let (status, text) = ruled.refused(ALICE, BOB, request("MESSAGE", 3));
    assert_eq!((status, text.as_str()), (403, "MESSAGE: this method is not permitted here"));
    assert_eq!(ruled.refused(ALICE, BOB, request("NOTIFY", 4)).0, 403);
    ruled.passes(BOB, ALICE, request("NOTIFY", 5));
    assert_eq!(ruled.refused(BOB, ALICE, request("OPTIONS", 6)).0, 403);
    // What belongs to INVITE goes with it; what belongs to a dialog is nobody's business.
    ruled.passes(ALICE, BOB, request("BYE", 7).to("unknown"));
    ruled.passes(ALICE, BOB, request("MESSAGE", 8).to("b"));
    ruled.passes(BOB, ALICE, request("BYE", 9).by_bob());
    assert_eq!(ruled.refused(BOB, ALICE, invite(10)).0, 403, "INVITE is not permitted back");
    ruled.passes(BOB, ALICE, request("ACK", 10));
    ruled.passes(BOB, ALICE, request("CANCEL", 10));
}

#[test]
fn a_to_tag_alone_makes_no_dialog() {
    let mut ruled = talking("message = \"in-dialog\"");
    assert_eq!(ruled.refused(ALICE, BOB, request("MESSAGE", 3).to("guess")).0, 403);
    let (status, text) = ruled.refused(ALICE, BOB, request("MESSAGE", 3));
    assert_eq!((status, text.as_str()), (403, "MESSAGE: outside a dialog"));
    ruled.passes(ALICE, BOB, request("MESSAGE", 4).to("b"));
}

#[test]
fn methods_of_no_standard_can_be_refused() {
    Ruled::new("").passes(ALICE, BOB, request("X-CALL", 1));
    let mut ruled = Ruled::new("unknown_methods = \"refuse\"");
    assert_eq!(ruled.refused(ALICE, BOB, request("X-CALL", 1)).0, 403);
    for method in ["INFO", "MESSAGE", "NOTIFY", "PUBLISH", "REFER", "SUBSCRIBE", "OPTIONS", "REGISTER"] {
        ruled.passes(ALICE, BOB, request(method, 2));
    }
}

#[test]
fn refer_subscribe_and_message_have_their_place() {
    for (key, method) in [("refer", "REFER"), ("subscribe", "SUBSCRIBE"), ("message", "MESSAGE")] {
        let of = |number| request(method, number).header("Refer-To: <sip:carol@example.com>");
        let mut ruled = talking("");
        ruled.passes(ALICE, BOB, of(2));
        let mut ruled = talking(&format!("{key} = \"in-dialog\""));
        assert_eq!(ruled.refused(ALICE, BOB, of(2)).0, 403, "{method}");
        ruled.passes(ALICE, BOB, of(3).to("b"));
        let mut ruled = talking(&format!("{key} = \"refuse\""));
        assert_eq!(ruled.refused(ALICE, BOB, of(2)).0, 403, "{method}");
        assert_eq!(ruled.refused(ALICE, BOB, of(3).to("b")).0, 403, "{method}");
    }
}

#[test]
fn notify_needs_a_subscription_where_the_rule_says_so() {
    let notify = |number| Sip { from: "b", to: "a", ..request("NOTIFY", number) };
    let ended = |number| notify(number).header("Subscription-State: terminated;reason=timeout");
    Ruled::new("").passes(BOB, ALICE, notify(1));
    let mut ruled = Ruled::new("notify = \"subscribed\"");
    assert_eq!(ruled.refused(BOB, ALICE, notify(1)).1, "NOTIFY: nobody has subscribed to it");
    let subscribe = request("SUBSCRIBE", 2).header("Event: presence").header("Expires: 60");
    ruled.passes(ALICE, BOB, subscribe.clone());
    ruled.passes(BOB, ALICE, notify(3));
    ruled.passes(BOB, ALICE, subscribe.clone().reply(200, "b"));
    ruled.lab.wait(50);
    ruled.passes(BOB, ALICE, notify(4));
    ruled.passes(BOB, ALICE, ended(5));
    ruled.passes(BOB, ALICE, notify(6));
    ruled.lab.wait(40);
    assert_eq!(ruled.refused(BOB, ALICE, notify(7)).0, 403);
    // One that was refused is none.
    ruled.passes(ALICE, BOB, subscribe.clone());
    ruled.passes(BOB, ALICE, subscribe.reply(489, "b"));
    assert_eq!(ruled.refused(BOB, ALICE, notify(8)).0, 403);
    // REFER subscribes too, and a call's own dialog needs no subscription.
    let refer = request("REFER", 9).header("Refer-To: <sip:carol@example.com>");
    ruled.passes(ALICE, BOB, refer.clone());
    ruled.passes(BOB, ALICE, refer.reply(202, "b"));
    ruled.passes(BOB, ALICE, notify(10));
    talking("notify = \"subscribed\"").passes(BOB, ALICE, notify(11));
    assert_eq!(talking("notify = \"refuse\"").refused(BOB, ALICE, notify(11)).0, 403);
}

#[test]
fn an_unanswered_subscription_is_no_dialog_for_other_methods() {
    let mut ruled = Ruled::new("refer = \"in-dialog\"\nmessage = \"in-dialog\"");
    let refer = |number| request("REFER", number).to("b").header("Refer-To: <sip:carol@example.com>");
    let subscribe = request("SUBSCRIBE", 2).header("Event: presence");
    ruled.passes(ALICE, BOB, subscribe.clone());
    assert_eq!(ruled.refused(ALICE, BOB, refer(3)).0, 403);
    ruled.passes(BOB, ALICE, subscribe.reply(200, "b"));
    ruled.passes(ALICE, BOB, refer(4));
    assert_eq!(ruled.refused(ALICE, BOB, request("MESSAGE", 5).to("b")).0, 403);
}

#[test]
fn replaces_must_name_a_known_dialog_where_the_rule_says_so() {
    let replaces = |number, to_tag: &str| {
        let line = format!("Replaces: c1@host;to-tag={to_tag};from-tag=a");
        Sip { from: "c", ..invite(number) }.header(&line)
    };
    talking("").passes(ALICE, BOB, replaces(5, "x"));
    let mut ruled = talking("replaces = \"known\"");
    let (status, text) = ruled.refused(ALICE, BOB, replaces(5, "x"));
    assert_eq!((status, text.as_str()), (403, "INVITE: it would take the place of another call"));
    ruled.passes(ALICE, BOB, replaces(6, "b"));
    assert_eq!(talking("replaces = \"refuse\"").refused(ALICE, BOB, replaces(5, "b")).0, 403);
}

#[test]
fn who_may_call_whom() {
    let to = |number: &str| Sip { start: format!("INVITE sip:{number}@198.51.100.7 SIP/2.0"), ..invite(1) };
    let mut ruled = Ruled::new("called_deny = [\"0900*\"]");
    ruled.passes(ALICE, BOB, to("0049301234"));
    for number in ["0900123", "09-00.123", "%30900123", "0900123;phone-context=x"] {
        let (status, text) = ruled.refused(ALICE, BOB, to(number));
        assert_eq!((status, text.as_str()), (403, "INVITE: this party may not be called"), "{number}");
    }
    assert_eq!(ruled.lab.core.calls().count(), 1, "no call begins that is refused");

    let mut ruled = Ruled::new("called_allow = [\"49*\"]");
    ruled.passes(ALICE, BOB, to("4930"));
    assert_eq!(ruled.refused(ALICE, BOB, to("0900")).0, 403);
    assert_eq!(ruled.refused(ALICE, BOB, to("bob")).0, 403);
    ruled.passes(ALICE, BOB, request("OPTIONS", 2));

    let mut ruled = Ruled::new("calling_deny = [\"mallory*\"]");
    ruled.passes(ALICE, BOB, invite(1));
    let asserted = invite(2).header("P-Asserted-Identity: \"M\" <sip:mallory@example.com>");
    assert_eq!(ruled.refused(ALICE, BOB, asserted).1, "INVITE: this party may not call");
    let refer = |to: &str| request("REFER", 3).header(&format!("Refer-To: <sip:{to}@example.com>"));
    let mut ruled = Ruled::new("called_deny = [\"0900*\"]");
    ruled.passes(ALICE, BOB, refer("carol"));
    assert_eq!(ruled.refused(ALICE, BOB, refer("0900")).0, 403);
    // A dialog's own re-INVITE is not asked again.
    let mut ruled = talking("called_deny = [\"0900*\"]");
    ruled.passes(ALICE, BOB, Sip { to: "b", ..to("0900") });
}

#[test]
fn messages_have_bounds() {
    let long = |bytes: usize| format!("X-Long: {}", "x".repeat(bytes));
    let mut ruled = Ruled::new("message_max = 1024\nheaders_max = 12\nuri_max = 64\nmax_forwards = 70");
    ruled.passes(ALICE, BOB, invite(1).header(&long(500)));
    assert_eq!(ruled.refused(ALICE, BOB, invite(2).header(&long(1_000))).0, 513);
    let many = (0..10).fold(invite(3), |message, n| message.header(&format!("X-{n}: y")));
    assert_eq!(ruled.refused(ALICE, BOB, many).0, 400);
    let start = format!("INVITE sip:{}@198.51.100.7 SIP/2.0", "b".repeat(64));
    assert_eq!(ruled.refused(ALICE, BOB, Sip { start, ..invite(4) }).0, 414);
    ruled.passes(ALICE, BOB, invite(5).header("Max-Forwards: 70"));
    assert_eq!(ruled.refused(ALICE, BOB, invite(6).header("Max-Forwards: 71")).0, 400);
    // Neither a response nor an ACK can be answered.
    let verdict = ruled.try_send(BOB, ALICE, &invite(1).reply(200, "b").header(&long(1_000)));
    assert_eq!(verdict, Verdict::Drop(Reason::AlgRefused));
    let verdict = ruled.try_send(ALICE, BOB, &request("ACK", 1).to("b").header(&long(1_000)));
    assert_eq!(denial(verdict).reply, None);
}

#[test]
fn bytes_that_are_no_sip_are_dropped_or_let_by() {
    let mut ruled = Ruled::new("");
    let junk = "not SIP at all";
    assert_eq!(ruled.try_over(Transport::Udp, ALICE, BOB, junk), Verdict::Drop(Reason::AlgMalformed));
    assert_eq!(ruled.events.last().map(|event| event.kind), Some(EventKind::Violation));
    assert_eq!(ruled.try_over(Transport::Udp, ALICE, BOB, "\r\n\r\n"), Verdict::Pass);
    let mut ruled = Ruled::new("not_sip = \"pass\"");
    assert_eq!(ruled.try_over(Transport::Udp, ALICE, BOB, junk), Verdict::Pass);
}

#[test]
fn calls_at_a_time_are_counted_until_they_end() {
    let call = |n: u32| Sip { more: String::new(), ..invite(n) };
    let sent = |ruled: &mut Ruled, from: &str, n: u32| {
        let text = call(n).text().replace("c1@host", &format!("c{n}@host"));
        ruled.try_over(Transport::Udp, from, BOB, &text)
    };
    let refused = |verdict: Verdict| {
        let reply = denial(verdict).reply.expect("an answer");
        Message::parse(&reply).expect("a response").status()
    };
    let mut ruled = Ruled::new("dialogs_max = 2");
    assert_eq!(sent(&mut ruled, ALICE, 1), Verdict::Pass);
    assert_eq!(sent(&mut ruled, PROXY, 2), Verdict::Pass);
    assert_eq!(refused(sent(&mut ruled, PROXY, 3)), Some(503));
    // The same INVITE again, and with another CSeq, is the same call.
    assert_eq!(sent(&mut ruled, ALICE, 1), Verdict::Pass);
    let again = invite(9).text().replace("c1@host", "c2@host");
    assert_eq!(ruled.try_over(Transport::Udp, PROXY, BOB, &again), Verdict::Pass);
    let over = invite(1).reply(486, "b").text();
    assert_eq!(ruled.try_over(Transport::Udp, BOB, ALICE, &over), Verdict::Pass);
    assert_eq!(sent(&mut ruled, PROXY, 4), Verdict::Pass);

    let mut ruled = Ruled::new("dialogs_per_source = 1");
    assert_eq!(sent(&mut ruled, ALICE, 1), Verdict::Pass);
    assert_eq!(refused(sent(&mut ruled, ALICE, 2)), Some(503));
    assert_eq!(sent(&mut ruled, PROXY, 3), Verdict::Pass);
}

#[test]
fn a_call_that_passes_twice_counts_once() {
    let mut ruled = Ruled::new("dialogs_max = 1");
    ruled.passes(ALICE, PROXY, invite(1).via("a1"));
    ruled.passes(PROXY, BOB, invite(1).via("p1"));
    assert_eq!(ruled.lab.core.calls().count(), 2);
    let another = Sip { from: "z", ..invite(2) };
    assert_eq!(ruled.refused(ALICE, BOB, another).0, 503);
}

#[test]
fn requests_keep_their_rates() {
    let options = |n: u32| request("OPTIONS", n);
    let mut ruled = Ruled::new("rates = { OPTIONS = \"2/s\" }");
    ruled.passes(ALICE, BOB, options(1));
    ruled.passes(ALICE, BOB, options(2));
    ruled.passes(ALICE, BOB, options(2));
    assert_eq!(ruled.refused(ALICE, BOB, options(3)).0, 503, "a retransmission does not count, another does");
    ruled.passes(ALICE, BOB, invite(4));
    ruled.passes(PROXY, BOB, options(5));
    ruled.lab.wait(1);
    ruled.passes(ALICE, BOB, options(6));

    let mut ruled = Ruled::new("rates = { any = \"2/s\" }\nrates_to = { any = \"3/s\" }");
    ruled.passes(ALICE, BOB, options(1));
    ruled.passes(ALICE, BOB, invite(2));
    assert_eq!(ruled.refused(ALICE, BOB, request("MESSAGE", 3)).0, 503);
    ruled.passes(PROXY, BOB, options(4));
    let (status, text) = ruled.refused(PROXY, BOB, options(5));
    assert_eq!(status, 503);
    assert_eq!(text, "OPTIONS: too many requests to one address in a short time");
    // What belongs to a call is not counted.
    ruled.passes(BOB, ALICE, invite(2).reply(200, "b"));
    ruled.passes(ALICE, BOB, request("BYE", 6).to("b"));
}

#[test]
fn a_call_has_a_longest_life() {
    let mut ruled = talking("call_max = \"1min\"");
    assert_eq!(ruled.lab.core.calls().count(), 1);
    ruled.lab.now = ruled.lab.now + Duration::from_secs(61);
    let now = ruled.lab.now;
    ruled.lab.core.tick(now);
    assert_eq!(ruled.lab.told().last().map(String::as_str), Some("ended expired"));
}

#[test]
fn a_success_without_credentials_is_refused() {
    let keys = "require_auth = [\"REGISTER\", \"INVITE\"]";
    let credentials =
        "Proxy-Authorization: Digest username=\"alice\",realm=\"r\",nonce=\"n\",uri=\"sip:x\",response=\"0\"";
    let told = |verdict: Verdict| {
        let denial = denial(verdict);
        assert_eq!(denial.reply, None);
        let notify = denial.notify.expect("words for the requester");
        let notify = Message::parse(&notify).expect("a response");
        (notify.status(), notify.method().name().to_owned(), notify.body.len())
    };
    // Challenged, as it should be; then with credentials.
    let mut ruled = Ruled::new(keys);
    ruled.passes(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    assert_eq!(ruled.lab.core.pinholes().count(), 0, "nothing is opened meanwhile");
    ruled.passes(BOB, ALICE, invite(1).reply(100, ""));
    ruled.passes(BOB, ALICE, invite(1).reply(407, "b"));
    ruled.passes(ALICE, BOB, request("ACK", 1).to("b"));
    ruled.passes(ALICE, BOB, invite(2).header(credentials).sdp(&audio(ALICE, 20_000)));
    ruled.passes(BOB, ALICE, invite(2).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(ruled.lab.open().len(), 2);
    // In its dialog nothing more is asked for.
    ruled.passes(ALICE, BOB, invite(3).to("b").sdp(&audio(ALICE, 20_100)));
    ruled.passes(BOB, ALICE, invite(3).to("b").reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(ruled.lab.open().len(), 2);

    // A server that does not ask.
    let mut ruled = Ruled::new(keys);
    ruled.passes(ALICE, BOB, invite(1).sdp(&audio(ALICE, 20_000)));
    for status in [180, 183, 200, 200] {
        let answer = invite(1).reply(status, "b").sdp(&audio(BOB, 30_000));
        let (told, method, body) = told(ruled.try_send(BOB, ALICE, &answer));
        assert_eq!((told, method.as_str(), body), (Some(403), "INVITE", 0));
    }
    ruled.lab.assert_empty();
    let register = request("REGISTER", 4).header("Contact: <sip:alice@192.0.2.1>");
    ruled.passes(ALICE, BOB, register.clone());
    let answer = register.clone().reply(200, "b").header("Contact: <sip:alice@192.0.2.1>;expires=60");
    assert_eq!(told(ruled.try_send(BOB, ALICE, &answer)).0, Some(403));
    assert_eq!(ruled.lab.tracker.bindings().count(), 0);
    ruled.passes(ALICE, BOB, request("OPTIONS", 5));
    ruled.passes(BOB, ALICE, request("OPTIONS", 5).reply(200, "b"));
}

#[test]
fn a_rule_has_its_own_policy() {
    let mut ruled = Ruled::with("sip = { message = \"allow\" }", "message = \"refuse\"\nrefer = \"refuse\"");
    ruled.passes(ALICE, BOB, request("MESSAGE", 1));
    assert_eq!(ruled.refused(ALICE, BOB, request("REFER", 2)).0, 403);
}

#[test]
fn refusals_are_answered_so_often_and_no_more() {
    let mut ruled = Ruled::new("message = \"refuse\"");
    let replies = (0..200)
        .filter(|n| {
            let context = ruled.lab.context(ALICE, BOB);
            let text = request("MESSAGE", *n).text();
            denial(ruled.lab.tracker.message(&mut ruled.lab.core, &context, text.as_bytes())).reply.is_some()
        })
        .count();
    assert_eq!(replies, 100);
}

#[test]
fn the_ladder_of_a_call_has_its_messages() {
    let mut ruled = talking("message = \"refuse\"");
    ruled.refused(ALICE, BOB, request("MESSAGE", 2).to("b"));
    let id = ruled.lab.call().id;
    let words = |ladder: &crate::ladder::Ladder| -> Vec<String> {
        let step = |step: &crate::ladder::Step| {
            let (way, media) =
                (if step.by == Party::Caller { "→" } else { "←" }, if step.media { " sdp" } else { "" });
            format!("{way} {}{media}{}", step.name(), if step.refused { " refused" } else { "" })
        };
        ladder.steps().iter().map(step).collect()
    };
    let before = ["→ INVITE sdp", "← 200 INVITE sdp", "→ ACK", "→ MESSAGE refused"];
    assert_eq!(words(ruled.lab.core.ladder(id).expect("a ladder")), before);
    ruled.passes(BOB, ALICE, request("BYE", 1).by_bob());
    ruled.passes(ALICE, BOB, request("BYE", 1).by_bob().reply(200, "a"));
    assert!(ruled.lab.core.ladder(id).is_none());
    let ended = ruled.lab.core.ended_calls().next().expect("it is remembered");
    assert_eq!((ended.call.id, ended.reason), (id, EndReason::Bye));
    assert_eq!(words(&ended.ladder)[4..], ["← BYE", "→ 200 BYE"]);
}

/// Every check at once, at its strictest.
const STRICT: &str = r#"
methods            = ["INVITE", "OPTIONS", "REGISTER"]
methods_back       = ["INVITE", "NOTIFY"]
unknown_methods    = "refuse"
refer              = "in-dialog"
subscribe          = "in-dialog"
message            = "refuse"
notify             = "subscribed"
replaces           = "known"
require_auth       = ["REGISTER", "INVITE"]
called_deny        = ["0900*"]
calling_deny       = ["mallory"]
dialogs_max        = 3
dialogs_per_source = 2
rates              = { INVITE = "5/s", any = "20/s" }
rates_to           = { any = "20/s" }
message_max        = 1024
headers_max        = 16
uri_max            = 64
max_forwards       = 70
scanners           = ["friendly*"]
auth_failures      = "5/min"
account_failures   = "5/min"
sweep              = 2
"#;

proptest::proptest! {
    #[test]
    fn whatever_comes_under_strict_rules_nothing_panics_and_nothing_stays(
        messages in proptest::collection::vec(
            (0_usize..12, 0_u8..4, proptest::collection::vec(
                (proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 0..3,
            )),
            1..60,
        ),
    ) {
        let mut ruled = Ruled::new(STRICT);
        let credentials = "Authorization: Digest username=\"alice\",realm=\"r\",nonce=\"n\",response=\"0\"";
        let kinds = [
            invite(1).sdp(&audio(ALICE, 20_000)),
            invite(2).header(credentials).sdp(&audio(ALICE, 20_000)),
            invite(2).reply(200, "b").sdp(&audio(BOB, 30_000)),
            invite(1).reply(407, "b").header("Proxy-Authenticate: Digest realm=\"r\",nonce=\"n\""),
            request("REGISTER", 3).header(credentials).header("Contact: <sip:alice@192.0.2.1>;expires=60"),
            request("REGISTER", 3).reply(200, "r").header("Contact: <sip:alice@192.0.2.1>;expires=60"),
            request("REGISTER", 3).reply(401, "r").header("WWW-Authenticate: Digest realm=\"r\",nonce=\"n\""),
            request("SUBSCRIBE", 4).header("Expires: 60"),
            request("NOTIFY", 5).by_bob().header("Subscription-State: terminated"),
            request("REFER", 6).to("b").header("Refer-To: <sip:carol@example.com>"),
            request("OPTIONS", 7).header("User-Agent: friendly-scanner"),
            request("BYE", 8).to("b"),
        ];
        for (kind, way, damage) in messages {
            let mut bytes = kinds[kind].text().into_bytes();
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let (from, to) = [(ALICE, BOB), (BOB, ALICE), (PROXY, BOB), (BOB, PROXY)][usize::from(way)];
            ruled.lab.now = ruled.lab.now + Duration::from_millis(100);
            let context = ruled.lab.context(from, to);
            ruled.lab.tracker.message(&mut ruled.lab.core, &context, &bytes);
        }
        let ids: Vec<_> = ruled.lab.core.calls().map(|call| call.id).collect();
        for id in ids {
            let call = ruled.lab.core.call(id).expect("it is there").clone();
            ruled.lab.core.end_call(id, EndReason::Operator);
            ruled.lab.tracker.ended(&call);
        }
        ruled.lab.now = ruled.lab.now + Duration::from_secs(90_000);
        let now = ruled.lab.now;
        ruled.lab.tracker.tick(&mut ruled.lab.core, now);
        ruled.lab.assert_empty();
        proptest::prop_assert_eq!(ruled.lab.tracker.bindings().count(), 0);
        proptest::prop_assert_eq!(ruled.lab.core.load().by(at(ALICE).ip()), 0);
    }
}
