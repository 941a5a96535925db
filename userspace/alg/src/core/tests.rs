use std::collections::HashMap;
use std::sync::Arc;

use callgate_shared::pinhole::Kind;
use callgate_shared::policy::Inspect;

use super::*;
use crate::call::End;
use crate::media::{AddressSet, RulePolicy};

const STREAM: StreamKey = StreamKey { branch: 0, index: 0 };
/// The slot whose rule says `any`; slot 0 has the default.
const ANY: u32 = 1;
/// The slot whose rule names the group of [`Group`].
const GROUP: u32 = 2;

#[derive(Debug)]
struct Group;

impl AddressSet for Group {
    fn contains(&self, ip: IpAddr) -> bool {
        ip == host("198.51.100.99") || ip == host("239.1.1.1")
    }
}

fn core() -> Core {
    let rules = HashMap::from([
        (ANY, RulePolicy::from(Authority::Any)),
        (GROUP, RulePolicy::from(Authority::Group(Arc::new(Group)))),
    ]);
    Core::new(Policy { rules, ..Policy::default() }, Bounds { streams_per_call: 4, ..Bounds::default() })
}

fn host(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

fn seconds(n: u64) -> Time {
    Time::default() + Duration::from_secs(n)
}

fn message(source: &str, destination: &str, slot: u32) -> Context {
    Context {
        now: seconds(1),
        source: SocketAddr::new(host(source), 5060),
        destination: SocketAddr::new(host(destination), 5060),
        transport: Transport::Udp,
        protocol: Inspect::Sip,
        slot,
        link: None,
    }
}

/// Announces RTP at `media` and RTCP beside it.
fn audio(media: SocketAddr, party: Party) -> impl FnOnce(&mut Stream) {
    move |stream| {
        stream.medium = Medium::Audio;
        stream.ends[party as usize].media = Some(media);
        stream.ends[party as usize].control = Some(SocketAddr::new(media.ip(), media.port() + 1));
    }
}

/// What was done to pinholes, in words.
fn told(core: &mut Core) -> Vec<String> {
    let words = |verb: &str, spec: &PinholeSpec| {
        let from: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
        format!("{verb} {} {} from {}", spec.kind.name(), spec.to, from.join(","))
    };
    core.take_actions()
        .iter()
        .filter_map(|action| match action {
            Action::Open(spec) => Some(words("open", spec)),
            Action::Update(spec) => Some(words("update", spec)),
            Action::Close { to, reason, .. } => Some(format!("close {to} {}", reason.name())),
            Action::Refused { address, refusal, .. } => Some(format!("refused {address} {}", refusal.name())),
            Action::Ended(_, reason) => Some(format!("ended {}", reason.name())),
            Action::Path(_) | Action::Say(_) => None,
            Action::Call(_) | Action::Finished(_) | Action::Event(_) | Action::Suspect(_) => None,
        })
        .collect()
}

/// A call between 192.0.2.1 and 198.51.100.7 with audio both ways; its actions are taken.
fn talking(core: &mut Core) -> CallId {
    let invite = message("192.0.2.1", "198.51.100.7", 0);
    let answer = message("198.51.100.7", "192.0.2.1", 0);
    let call = core.start_call(&invite, "a").expect("room");
    core.announce(&invite, call, STREAM, Party::Caller, audio(at("192.0.2.1:20000"), Party::Caller));
    core.announce(&answer, call, STREAM, Party::Callee, audio(at("198.51.100.7:30000"), Party::Callee));
    core.set_state(seconds(1), call, State::Connected);
    core.take_actions();
    call
}

#[test]
fn an_offer_opens_for_the_other_party_and_the_answer_narrows() {
    let mut core = core();
    let invite = message("192.0.2.1", "198.51.100.7", ANY);
    let answer = message("198.51.100.7", "192.0.2.1", ANY);
    let call = core.start_call(&invite, "a").expect("room");
    core.announce(&invite, call, STREAM, Party::Caller, audio(at("192.0.2.1:20000"), Party::Caller));
    assert_eq!(
        told(&mut core),
        ["open rtp 192.0.2.1:20000 from 198.51.100.7", "open rtcp 192.0.2.1:20001 from 198.51.100.7",]
    );
    core.announce(&answer, call, STREAM, Party::Callee, audio(at("198.51.100.8:30000"), Party::Callee));
    let want = [
        "update rtp 192.0.2.1:20000 from 198.51.100.8",
        "update rtcp 192.0.2.1:20001 from 198.51.100.8",
        "open rtp 198.51.100.8:30000 from 192.0.2.1",
        "open rtcp 198.51.100.8:30001 from 192.0.2.1",
    ];
    assert_eq!(told(&mut core), want, "the media address replaces the signalling address");
    core.announce(&answer, call, STREAM, Party::Callee, audio(at("198.51.100.8:30000"), Party::Callee));
    assert_eq!(told(&mut core), [""; 0], "a retransmission changes nothing");
}

#[test]
fn one_record_per_call_and_packet_after_its_pinholes() {
    let mut core = core();
    let invite = message("192.0.2.1", "198.51.100.7", 0);
    let call = core.start_call(&invite, "a").expect("room");
    core.announce(&invite, call, STREAM, Party::Caller, audio(at("192.0.2.1:20000"), Party::Caller));
    core.set_state(invite.now, call, State::Ringing);
    core.change_call(call, |call| call.parties = ["x".repeat(1000), "ü".repeat(100)]);
    let actions = core.take_actions();
    let [Action::Open(_), Action::Open(_), Action::Call(record)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!((record.state, record.streams.len()), (State::Ringing, 1));
    assert_eq!(record.parties.each_ref().map(String::len), [128, 128]);
    core.set_state(invite.now, call, State::Calling);
    assert!(core.take_actions().is_empty(), "never back");
}

#[test]
fn a_move_opens_the_new_place_and_closes_the_old() {
    let mut core = core();
    let call = talking(&mut core);
    let again = message("192.0.2.1", "198.51.100.7", 0);
    core.announce(&again, call, STREAM, Party::Caller, audio(at("192.0.2.1:20010"), Party::Caller));
    assert_eq!(
        told(&mut core),
        [
            "open rtp 192.0.2.1:20010 from 198.51.100.7",
            "open rtcp 192.0.2.1:20011 from 198.51.100.7",
            "close 192.0.2.1:20000 moved",
            "close 192.0.2.1:20001 moved",
        ]
    );
    core.announce(&again, call, STREAM, Party::Caller, |stream| {
        stream.ends[0] = End { media: None, control: None, ..stream.ends[0] };
    });
    assert_eq!(
        told(&mut core),
        ["close 192.0.2.1:20010 channel-closed", "close 192.0.2.1:20011 channel-closed"]
    );
    core.end_call(call, EndReason::Bye);
    assert_eq!(
        told(&mut core),
        ["close 198.51.100.7:30000 bye", "close 198.51.100.7:30001 bye", "ended bye"]
    );
    assert_eq!((core.calls().count(), core.pinholes().count()), (0, 0));
}

#[test]
fn sharing_a_port_closes_the_other() {
    let mut core = core();
    let call = talking(&mut core);
    let answer = message("198.51.100.7", "192.0.2.1", 0);
    core.announce(&answer, call, STREAM, Party::Callee, |stream| stream.mux = true);
    assert_eq!(
        told(&mut core),
        [
            "update rtcp-mux 192.0.2.1:20000 from 198.51.100.7",
            "update rtcp-mux 198.51.100.7:30000 from 192.0.2.1",
            "close 192.0.2.1:20001 moved",
            "close 198.51.100.7:30001 moved",
        ]
    );
}

#[test]
fn holding_keeps_the_pinholes_and_is_more_patient() {
    let mut core = core();
    let call = talking(&mut core);
    let hold = message("192.0.2.1", "198.51.100.7", 0);
    core.announce(&hold, call, STREAM, Party::Caller, |stream| stream.held = true);
    assert_eq!(told(&mut core), [""; 0]);
    core.tick(seconds(901));
    assert_eq!((core.calls().count(), core.pinholes().count()), (1, 4));
    core.tick(seconds(902));
    assert_eq!((core.calls().count(), core.pinholes().count()), (0, 0));
}

#[test]
fn a_muted_partys_pinhole_is_as_patient_as_a_held_one() {
    let mut core = core();
    talking(&mut core);
    assert!(core.pinholes().all(|spec| spec.idle == Lifetimes::default().held.default));
}

#[test]
fn addresses_are_refused_for_the_reason_that_comes_first() {
    let mut core = core();
    let own = message("192.0.2.1", "198.51.100.7", 0);
    let call = core.start_call(&own, "a").expect("room");
    let ask = |slot, transport, address: &str| {
        core.authorise(&Context { slot, ..own }, call, transport, at(address)).err()
    };
    use Refusal::*;
    use Transport::*;
    assert_eq!(ask(0, Udp, "192.0.2.1:16384"), None);
    assert_eq!(ask(0, Udp, "192.0.2.1:32767"), None);
    assert_eq!(ask(0, Udp, "192.0.2.1:32768"), Some(PortRange));
    assert_eq!(ask(0, Udp, "192.0.2.1:1023"), Some(PrivilegedPort));
    assert_eq!(ask(0, Tcp, "192.0.2.1:22"), Some(PrivilegedPort));
    assert_eq!(ask(0, Tcp, "192.0.2.1:1024"), None, "H.245 has no range");
    assert_eq!(ask(0, Udp, "192.0.2.2:20000"), Some(NotTheAnnouncers));
    assert_eq!(ask(ANY, Udp, "192.0.2.2:20000"), None);
    assert_eq!(ask(ANY, Tcp, "192.0.2.2:22"), Some(PrivilegedPort));
    assert_eq!(ask(GROUP, Udp, "192.0.2.2:20000"), Some(NotTheAnnouncers));
    assert_eq!(ask(GROUP, Udp, "198.51.100.99:20000"), None);
    assert_eq!(ask(GROUP, Udp, "239.1.1.1:20000"), None, "multicast the rule names");
    assert_eq!(ask(0, Udp, "239.1.1.1:20000"), Some(NotUnicast));
    for nobody in
        ["127.0.0.1", "0.0.0.0", "0.1.2.3", "255.255.255.255", "[::]", "[::1]", "[::ffff:192.0.2.2]"]
    {
        assert_eq!(ask(ANY, Udp, &format!("{nobody}:20000")), Some(NotUnicast), "{nobody}");
    }
}

#[test]
fn a_refused_address_opens_nothing_and_is_counted() {
    let mut core = core();
    let invite = message("192.0.2.1", "198.51.100.7", 0);
    let call = core.start_call(&invite, "a").expect("room");
    core.announce(&invite, call, STREAM, Party::Caller, audio(at("203.0.113.5:20000"), Party::Caller));
    assert_eq!(told(&mut core), ["refused 203.0.113.5:20000 not-the-announcers"], "and no RTCP either");
    assert_eq!(core.refusals().find(|(_, n)| *n > 0), Some((Refusal::NotTheAnnouncers, 1)));
    assert_eq!(core.call(call).and_then(|c| c.streams[&STREAM].ends[0].media), None);
}

#[test]
fn a_party_cannot_speak_for_the_other_one() {
    let mut core = core();
    let invite = message("192.0.2.1", "198.51.100.7", ANY);
    let call = core.start_call(&invite, "a").expect("room");
    core.announce(&invite, call, STREAM, Party::Caller, audio(at("198.51.100.7:20000"), Party::Callee));
    assert_eq!(told(&mut core), [""; 0]);
}

#[test]
fn a_registered_address_is_the_registrants_until_it_expires() {
    let mut core = core();
    let context = message("192.0.2.1", "198.51.100.7", 0);
    let call = core.start_call(&context, "a").expect("room");
    let phone = at("192.0.2.50:20000");
    core.register(context.source.ip(), phone.ip(), seconds(10));
    assert_eq!(core.authorise(&context, call, Transport::Udp, phone), Ok(()));
    let stranger = message("192.0.2.3", "198.51.100.7", 0);
    assert_eq!(core.authorise(&stranger, call, Transport::Udp, phone), Err(Refusal::NotTheAnnouncers));
    let late = Context { now: seconds(10), ..context };
    assert_eq!(core.authorise(&late, call, Transport::Udp, phone), Err(Refusal::NotTheAnnouncers));
    core.unregister(context.source.ip(), phone.ip());
    assert_eq!(core.authorise(&context, call, Transport::Udp, phone), Err(Refusal::NotTheAnnouncers));
}

#[test]
fn a_proxy_may_pass_on_what_its_peer_announced_to_it() {
    let mut core = core();
    let inbound = message("192.0.2.1", "192.0.2.10", 0);
    let outbound = message("192.0.2.10", "198.51.100.7", 0);
    let first = core.start_call(&inbound, "a").expect("room");
    core.announce(&inbound, first, STREAM, Party::Caller, audio(at("192.0.2.1:20000"), Party::Caller));
    let second = core.start_call(&outbound, "a").expect("room");
    core.announce(&outbound, second, STREAM, Party::Caller, audio(at("192.0.2.1:20000"), Party::Caller));
    assert_eq!(
        told(&mut core),
        [
            "open rtp 192.0.2.1:20000 from 192.0.2.10",
            "open rtcp 192.0.2.1:20001 from 192.0.2.10",
            "update rtp 192.0.2.1:20000 from 192.0.2.10,198.51.100.7",
            "update rtcp 192.0.2.1:20001 from 192.0.2.10,198.51.100.7",
        ]
    );
    core.end_call(first, EndReason::Bye);
    let open: Vec<_> = core.pinholes().map(|spec| (spec.to.port(), spec.senders.len())).collect();
    assert_eq!(open.len(), 2, "the other leg keeps them: {open:?}");
    assert!(open.iter().all(|(_, senders)| *senders == 1));
}

#[test]
fn a_stranger_may_not_announce_an_open_port_of_somebody_elses_call() {
    let mut core = core();
    talking(&mut core);
    let victim = at("192.0.2.1:20000");
    let attacker = message("203.0.113.66", "203.0.113.67", 0);
    let call = core.start_call(&attacker, "mine").expect("room");
    assert_eq!(core.authorise(&attacker, call, Transport::Udp, victim), Err(Refusal::NotTheAnnouncers));
    core.announce(&attacker, call, STREAM, Party::Caller, audio(victim, Party::Caller));
    assert_eq!(told(&mut core), ["refused 192.0.2.1:20000 not-the-announcers"]);

    // Being called by the victim's address does not help: the victim told this port to somebody else.
    let towards = message("203.0.113.66", "192.0.2.1", 0);
    let with_victim = core.start_call(&towards, "with the victim").expect("room");
    assert_eq!(core.authorise(&attacker, call, Transport::Udp, victim), Err(Refusal::NotTheAnnouncers));

    // Nor does a confederate under a laxer rule, who "announces" it to the attacker: it is not his own.
    let confederate = message("203.0.113.67", "203.0.113.66", ANY);
    let bait = core.start_call(&confederate, "bait").expect("room");
    core.announce(&confederate, bait, STREAM, Party::Caller, audio(victim, Party::Caller));
    core.take_actions();
    assert_eq!(core.authorise(&attacker, call, Transport::Udp, victim), Err(Refusal::NotTheAnnouncers));

    // The victim itself, and the one it talks to, may.
    let peer = message("198.51.100.7", "203.0.113.9", 0);
    let onward = core.start_call(&peer, "onward").expect("room");
    assert_eq!(core.authorise(&peer, onward, Transport::Udp, victim), Ok(()));
    // But only the port that was told, and only that transport.
    for (transport, port) in [(Transport::Udp, 20_002), (Transport::Tcp, 20_000)] {
        let other = SocketAddr::new(victim.ip(), port);
        assert_eq!(core.authorise(&peer, onward, transport, other), Err(Refusal::NotTheAnnouncers));
    }
    // And not once that call is over; nor does a call vouch for itself.
    core.end_call(with_victim, EndReason::Bye);
    let ids: Vec<_> = core.calls().filter(|call| call.key == "a").map(|call| call.id).collect();
    assert_eq!(core.authorise(&peer, ids[0], Transport::Udp, victim), Err(Refusal::NotTheAnnouncers));
    core.end_call(ids[0], EndReason::Bye);
    assert_eq!(core.authorise(&peer, onward, Transport::Udp, victim), Err(Refusal::NotTheAnnouncers));
}

#[test]
fn streams_and_calls_are_bounded() {
    let mut core = core();
    core.bounds.calls = 1;
    let invite = message("192.0.2.1", "198.51.100.7", 0);
    let call = core.start_call(&invite, "a").expect("room");
    for index in 0..6 {
        let media = SocketAddr::new(invite.source.ip(), 20_000 + index * 2);
        let key = StreamKey { branch: 0, index: index.into() };
        core.announce(&invite, call, key, Party::Caller, audio(media, Party::Caller));
    }
    assert_eq!(core.call(call).map(|call| call.streams.len()), Some(4));
    assert_eq!(core.start_call(&invite, "b"), None);
    let counted: Vec<_> = core.refusals().filter(|(_, n)| *n > 0).collect();
    assert_eq!(counted, [(Refusal::TooManyStreams, 2), (Refusal::TableFull, 1)]);
    core.close_stream(call, StreamKey { branch: 0, index: 3 }, EndReason::ChannelClosed);
    core.announce(&invite, call, STREAM, Party::Caller, audio(at("192.0.2.1:21000"), Party::Caller));
    assert_eq!(core.pinholes().count(), 6);
}

#[test]
fn silence_ends_an_answered_call_and_any_packet_keeps_it() {
    let mut core = core();
    talking(&mut core);
    core.touch(at("198.51.100.7:30001"), Transport::Udp, seconds(100));
    core.touch(at("198.51.100.7:30001"), Transport::Tcp, seconds(200));
    core.tick(seconds(220));
    assert_eq!(told(&mut core), [""; 0]);
    core.tick(seconds(221));
    assert_eq!(told(&mut core).last().map(String::as_str), Some("ended inactivity"));
    assert_eq!(core.pinholes().count(), 0);
}

#[test]
fn an_unanswered_call_may_ring_longer_than_silence_lasts() {
    let mut core = core();
    let invite = message("192.0.2.1", "198.51.100.7", 0);
    let call = core.start_call(&invite, "a").expect("room");
    core.announce(&invite, call, STREAM, Party::Caller, audio(at("192.0.2.1:20000"), Party::Caller));
    core.tick(seconds(301));
    assert_eq!(core.calls().count(), 1);
    core.tick(seconds(302));
    assert_eq!(told(&mut core).last().map(String::as_str), Some("ended expired"));
}

#[test]
fn a_restored_call_that_rang_may_have_ended_unread() {
    let mut before = core();
    let invite = message("192.0.2.1", "198.51.100.7", 0);
    let call = before.start_call(&invite, "a").expect("room");
    before.announce(&invite, call, STREAM, Party::Caller, audio(at("192.0.2.1:20000"), Party::Caller));

    let mut after = core();
    after.restore(before.calls().cloned().collect(), seconds(50));
    after.touch(at("192.0.2.1:20000"), Transport::Udp, seconds(100));
    after.tick(seconds(220));
    assert_eq!(after.calls().count(), 1);
    after.tick(seconds(221));
    assert_eq!(told(&mut after).last().map(String::as_str), Some("ended inactivity"));
    assert_eq!(after.pinholes().count(), 0);
}

#[test]
fn a_restored_call_goes_on_as_it_was() {
    let mut before = core();
    let call = talking(&mut before);
    let records: Vec<_> = before.calls().cloned().collect();

    let mut after = core();
    after.restore(records.clone(), seconds(50));
    assert!(after.take_actions().is_empty());
    assert_eq!(after.calls().collect::<Vec<_>>(), records.iter().collect::<Vec<_>>());
    let sorted = |core: &Core| {
        let mut list: Vec<_> =
            core.pinholes().map(|spec| (spec.to, spec.kind, spec.senders.clone())).collect();
        list.sort_unstable();
        list
    };
    assert_eq!(sorted(&before), sorted(&after));
    assert!(sorted(&after).iter().any(|(_, kind, _)| *kind == Kind::Rtcp));

    let next = after.start_call(&message("192.0.2.1", "198.51.100.7", 0), "b").expect("room");
    assert!(next > call, "numbers do not return");
    after.take_actions();
    after.end_call(call, EndReason::Bye);
    assert_eq!(told(&mut after).len(), 5, "four pinholes and the call");
}
