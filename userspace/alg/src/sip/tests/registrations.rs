//! REGISTER to its 200, and what follows from it.

use super::control::Ruled;
use super::*;
use crate::event::EventKind;

const DESK: &str = "<sip:alice@192.0.2.1:5060>";
const MOBILE: &str = "<sip:alice@192.0.2.50:5070;transport=tcp>;q=0.5";

fn register(number: u32, contacts: &[&str]) -> Sip {
    contacts
        .iter()
        .fold(request("REGISTER", number), |message, contact| message.header(&format!("Contact: {contact}")))
}

/// What the registrar says to it: with these lines and no others.
fn listed(request: &Sip, status: u16, lines: &[&str]) -> Sip {
    let bare = Sip { more: String::new(), ..request.clone() };
    lines.iter().fold(bare.reply(status, "r"), |message, line| message.header(line))
}

/// Alice registers, and Bob's server answers.
fn exchange(ruled: &mut Ruled, request: &Sip, status: u16, lines: &[&str]) {
    ruled.passes(ALICE, BOB, request.clone());
    ruled.passes(BOB, ALICE, listed(request, status, lines));
}

/// Bindings by contact, and the seconds they have left.
fn bindings(ruled: &Ruled) -> Vec<(String, u64)> {
    let now = ruled.lab.now;
    let bindings = ruled.lab.tracker.bindings();
    let mut bindings: Vec<_> =
        bindings.map(|binding| (binding.contact.clone(), binding.until.since(now).as_secs())).collect();
    bindings.sort();
    bindings
}

fn kinds(ruled: &mut Ruled) -> Vec<EventKind> {
    std::mem::take(&mut ruled.events).iter().map(|event| event.kind).collect()
}

#[test]
fn a_binding_is_what_the_registrar_says() {
    let mut ruled = Ruled::new("");
    let ask = register(1, &[DESK, MOBILE]).header("User-Agent: phone/1").header("Expires: 7200");
    exchange(
        &mut ruled,
        &ask,
        200,
        &[&format!("Contact: {DESK};expires=600"), &format!("Contact: {MOBILE}"), "Expires: 60"],
    );
    let two = [
        ("sip:alice@192.0.2.1:5060".to_owned(), 600),
        ("sip:alice@192.0.2.50:5070;transport=tcp".to_owned(), 60),
    ];
    assert_eq!(bindings(&ruled), two);
    let mobile =
        ruled.lab.tracker.bindings().find(|binding| binding.q.is_some()).expect("one has a q").clone();
    assert_eq!((mobile.aor.as_str(), mobile.q), ("bob@example.com", Some(500)));
    assert_eq!((mobile.address, mobile.transport), (Some(at("192.0.2.50:5070")), Some(Transport::Tcp)));
    assert_eq!((mobile.source, mobile.registrar), (at(ALICE), at(BOB)));
    assert_eq!(mobile.user_agent, "phone/1");
    assert_eq!(kinds(&mut ruled), [EventKind::Registered; 2]);

    // Refreshed: nothing new is told, and it lasts longer.
    ruled.lab.wait(50);
    exchange(
        &mut ruled,
        &register(2, &[DESK]),
        200,
        &[&format!("Contact: {DESK};expires=600"), &format!("Contact: {MOBILE};expires=9")],
    );
    assert_eq!(bindings(&ruled)[0].1, 600);
    assert_eq!(kinds(&mut ruled), []);
    // The one that was not asked about goes on as it was, and ends by itself.
    assert_eq!(bindings(&ruled).len(), 2);
    ruled.lab.now = ruled.lab.now + Duration::from_secs(10);
    let now = ruled.lab.now;
    ruled.lab.tracker.tick(&mut ruled.lab.core, now);
    assert_eq!(bindings(&ruled).len(), 1);
    let ended = ruled.lab.core.take_actions().into_iter().find_map(|action| match action {
        Action::Event(event) => Some(event.kind),
        _ => None,
    });
    assert_eq!(ended, Some(EventKind::UnregisteredAbnormally));
}

#[test]
fn bindings_are_taken_back() {
    let mut ruled = Ruled::new("");
    let both = [&*format!("Contact: {DESK}"), &*format!("Contact: {MOBILE}"), "Expires: 600"];
    exchange(&mut ruled, &register(1, &[DESK, MOBILE]), 200, &both);
    assert_eq!(bindings(&ruled).len(), 2);
    // One by expires=0: the registrar lists it no more.
    exchange(&mut ruled, &register(2, &[&format!("{MOBILE};expires=0")]), 200, &both[..1]);
    assert_eq!(bindings(&ruled).len(), 1);
    // All by `*`.
    exchange(&mut ruled, &register(3, &[MOBILE]), 200, &both);
    exchange(&mut ruled, &register(4, &["*"]).header("Expires: 0"), 200, &[]);
    assert_eq!(bindings(&ruled), []);
    let told = kinds(&mut ruled);
    assert_eq!(told.iter().filter(|kind| **kind == EventKind::Unregistered).count(), 3);
    assert!(!ruled.lab.tracker.registrations.knows(at(ALICE).ip()));
    assert!(!ruled.lab.tracker.registrations.knows(at(BOB).ip()));
    assert_eq!(ruled.lab.core.registrations().count(), 0);
}

#[test]
fn a_registrar_that_wants_longer_intervals_is_heard() {
    let mut ruled = Ruled::new("");
    let soon = register(1, &[DESK]).header("Expires: 10");
    exchange(&mut ruled, &soon, 423, &["Min-Expires: 60"]);
    assert_eq!(bindings(&ruled), []);
    exchange(
        &mut ruled,
        &register(2, &[DESK]).header("Expires: 60"),
        200,
        &[&format!("Contact: {DESK};expires=60")],
    );
    assert_eq!(bindings(&ruled)[0].1, 60);
    // A refreshment that is refused leaves what there is.
    for status in [401, 403, 423, 500] {
        exchange(&mut ruled, &register(3 + u32::from(status), &[DESK]), status, &[]);
    }
    assert_eq!(bindings(&ruled).len(), 1);
}

#[test]
fn lives_are_believed_within_bounds() {
    for (told, life) in [(5, 30), (100, 100), (1_000_000_000, 600)] {
        let mut ruled = Ruled::new("registration_min = \"30s\"\nregistration_max = \"10min\"");
        exchange(&mut ruled, &register(1, &[DESK]), 200, &[&format!("Contact: {DESK};expires={told}")]);
        assert_eq!(bindings(&ruled)[0].1, life);
    }
}

#[test]
fn only_the_registrar_answers_and_only_what_was_asked() {
    let mut ruled = Ruled::new("");
    let ask = register(1, &[DESK]);
    ruled.passes(ALICE, BOB, ask.clone());
    let yes = listed(
        &ask,
        200,
        &[&format!("Contact: {DESK};expires=60"), "Contact: <sip:eve@203.0.113.5>;expires=60"],
    );
    ruled.passes(BOB, PROXY, yes.clone());
    assert_eq!(bindings(&ruled), [], "not to whoever has asked");
    ruled.passes(BOB, ALICE, Sip { number: 2, ..yes.clone() });
    assert_eq!(bindings(&ruled), [], "not to what was asked");
    ruled.passes(BOB, ALICE, yes);
    assert_eq!(bindings(&ruled).len(), 1, "Eve's is listed, and none of Alice's");
    // What merely asks is answered with nothing for Alice.
    exchange(&mut ruled, &request("REGISTER", 3), 200, &["Contact: <sip:eve@203.0.113.5>;expires=60"]);
    assert_eq!(bindings(&ruled).len(), 1);
}

#[test]
fn what_is_encrypted_or_named_has_no_place_here() {
    let mut ruled = Ruled::new("");
    let contacts = [
        "<sips:alice@192.0.2.1>",
        "<sip:alice@192.0.2.1;transport=ws>",
        "<sip:alice@phone.example>",
        "<sip:alice@[2001:db8::1]:5062>",
    ];
    let lines: Vec<String> =
        contacts.iter().map(|contact| format!("Contact: {contact};expires=60")).collect();
    exchange(&mut ruled, &register(1, &contacts), 200, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let mut places: Vec<_> = ruled
        .lab
        .tracker
        .bindings()
        .map(|binding| (binding.transport, binding.address.map(|a| a.to_string())))
        .collect();
    places.sort();
    let text = |address: &str| Some(address.to_owned());
    let udp = Some(Transport::Udp);
    let expected = [
        (None, text("192.0.2.1:5060")),
        (None, text("192.0.2.1:5061")),
        (udp, None),
        (udp, text("[2001:db8::1]:5062")),
    ];
    assert_eq!(places, expected);
}

#[test]
fn bindings_of_one_source_are_bounded() {
    let mut ruled = Ruled::new("");
    for n in 0..5_000 {
        let contact = format!("<sip:u{n}@192.0.2.1>");
        exchange(&mut ruled, &register(n, &[&contact]), 200, &[&format!("Contact: {contact};expires=60")]);
    }
    assert_eq!(bindings(&ruled).len(), 4_096);
    ruled.lab.wait(61);
    assert_eq!(bindings(&ruled).len(), 0);
    assert_eq!(ruled.lab.core.registrations().count(), 0);
}

/// Pinholes that are open: kind, where to, from whom.
fn pinholes(ruled: &Ruled) -> Vec<String> {
    let word = |spec: PinholeSpec| {
        let from: Vec<_> =
            spec.senders.iter().map(|sender| format!("{}:{:?}", sender.ip, sender.port)).collect();
        format!("{} {}/{} from {}", spec.kind.name(), spec.transport.name(), spec.to, from.join(","))
    };
    let mut all: Vec<_> = ruled.lab.core.pinholes().map(word).collect();
    all.sort();
    all
}

#[test]
fn its_registrar_may_call_a_client_where_it_is_registered() {
    let mut ruled = Ruled::new("");
    let both = [&*format!("Contact: {DESK}"), &*format!("Contact: {MOBILE}"), "Expires: 60"];
    exchange(&mut ruled, &register(1, &[DESK, MOBILE]), 200, &both);
    let open =
        ["sip tcp/192.0.2.50:5070 from 198.51.100.7:None", "sip udp/192.0.2.1:5060 from 198.51.100.7:None"];
    assert_eq!(pinholes(&ruled), open);
    // Refreshed: it stays open.
    ruled.lab.wait(50);
    exchange(&mut ruled, &register(2, &[DESK, MOBILE]), 200, &both);
    assert_eq!(pinholes(&ruled), open);
    // It moves to another port: only the new one is open.
    let moved = "<sip:alice@192.0.2.1:5066>";
    exchange(
        &mut ruled,
        &register(3, &[moved, &format!("{DESK};expires=0")]),
        200,
        &[&format!("Contact: {moved};expires=60")],
    );
    assert_eq!(pinholes(&ruled), [open[0], "sip udp/192.0.2.1:5066 from 198.51.100.7:None"]);
    exchange(&mut ruled, &register(4, &["*"]).header("Expires: 0"), 200, &[]);
    assert_eq!(pinholes(&ruled), NOTHING);
    ruled.lab.assert_empty();

    // What is not taken back ends by itself.
    exchange(&mut ruled, &register(5, &[DESK]), 200, &both);
    ruled.lab.now = ruled.lab.now + Duration::from_secs(60);
    let now = ruled.lab.now;
    ruled.lab.tracker.tick(&mut ruled.lab.core, now);
    ruled.lab.core.take_actions();
    ruled.lab.assert_empty();
}

#[test]
fn no_pinhole_opens_to_a_privileged_port() {
    let mut ruled = Ruled::new("");
    let contact = "<sip:alice@192.0.2.1:22;transport=tcp>";
    exchange(&mut ruled, &register(1, &[contact]), 200, &[&format!("Contact: {contact};expires=60")]);
    assert_eq!((bindings(&ruled).len(), pinholes(&ruled).len()), (1, 0));
}

#[test]
fn registrations_outlive_a_restart() {
    let mut ruled = Ruled::new("");
    let ask = register(1, &[DESK, MOBILE]).header("User-Agent: phone/1");
    exchange(
        &mut ruled,
        &ask,
        200,
        &[&format!("Contact: {DESK}"), &format!("Contact: {MOBILE}"), "Expires: 60"],
    );
    ruled.lab.wait(20);
    let calls: Vec<Call> = ruled.lab.core.calls().cloned().collect();
    assert!(calls.iter().all(is_binding) && calls.len() == 2);
    let written = serde_json::to_string(&calls).expect("a record");
    let calls: Vec<Call> = serde_json::from_str(&written).expect("a record");

    let mut after = Ruled::new("");
    after.lab.now = ruled.lab.now;
    let now = after.lab.now;
    after.lab.core.restore(calls.clone(), now);
    after.lab.tracker.restore(&calls.iter().collect::<Vec<_>>());
    after.lab.tracker.restore_bindings(&mut after.lab.core, &calls, now);
    assert!(after.lab.tracker.calls.is_empty());
    assert_eq!(bindings(&after), bindings(&ruled));
    assert_eq!(pinholes(&after), pinholes(&ruled));
    let all = |ruled: &Ruled| {
        let mut all: Vec<_> = ruled.lab.tracker.bindings().cloned().collect();
        all.sort_by(|one, other| one.contact.cmp(&other.contact));
        all
    };
    assert_eq!(all(&after), all(&ruled));
    // It can be taken back, and what was written of one that is over by then is not taken up.
    exchange(&mut after, &register(4, &["*"]).header("Expires: 0"), 200, &[]);
    after.lab.assert_empty();
    let mut late = Ruled::new("");
    late.lab.now = ruled.lab.now + Duration::from_secs(100);
    let now = late.lab.now;
    late.lab.core.restore(calls.clone(), now);
    late.lab.tracker.restore_bindings(&mut late.lab.core, &calls, now);
    late.lab.assert_empty();
}
