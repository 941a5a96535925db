//! Who may announce what.

use super::*;

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

/// Alice asks Bob to send to this address; what is told.
fn announce(lab: &mut Lab, number: u32, address: &str) -> Vec<String> {
    let told = lab.send(ALICE, BOB, invite(number).sdp(&audio(address, 20_000)));
    lab.send(BOB, ALICE, invite(number).reply(486, "b"));
    told
}

#[test]
fn a_third_hosts_address_is_refused_and_counted_in_offer_and_answer() {
    let mut lab = Lab::new(0);
    assert_eq!(announce(&mut lab, 1, "203.0.113.5:1"), ["refused 203.0.113.5:20000 not-the-announcers"]);
    lab.send(ALICE, BOB, invite(2).sdp(&audio(ALICE, 20_000)));
    let told = lab.send(BOB, ALICE, invite(2).reply(200, "b").sdp(&audio("203.0.113.5:1", 30_000)));
    assert_eq!(told, ["refused 203.0.113.5:30000 not-the-announcers"]);
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7"], "nor is it a sender");
    let counted = lab.core.refusals().find(|(refusal, _)| *refusal == Refusal::NotTheAnnouncers);
    assert_eq!(counted.map(|(_, times)| times), Some(2));
}

#[test]
fn the_rules_group_may_be_announced_by_who_is_under_it() {
    #[derive(Debug)]
    struct Servers;
    impl AddressSet for Servers {
        fn contains(&self, ip: IpAddr) -> bool {
            ip == at("203.0.113.5:1").ip()
        }
    }
    let mut lab = Lab::new(0);
    let mut policy = lab.core.policy().clone();
    policy.rules.insert(7, RulePolicy::from(Authority::Group(std::sync::Arc::new(Servers))));
    lab.core.set_policy(policy);
    assert!(announce(&mut lab, 1, "203.0.113.5:1")[0].starts_with("refused"), "under another rule");
    lab.slot = 7;
    assert!(announce(&mut lab, 2, "203.0.113.5:1")[0].starts_with("open"));
    assert!(announce(&mut lab, 3, "203.0.113.6:1")[0].starts_with("refused"));
}

#[test]
fn what_is_registered_by_another_protocol_may_be_announced_by_its_server() {
    // As SCCP and RAS do it: the call manager may announce its phone.
    let mut lab = Lab::new(0);
    assert!(announce(&mut lab, 1, "192.0.2.60:1")[0].starts_with("refused"));
    let until = lab.now + Duration::from_secs(60);
    lab.core.register(at(ALICE).ip(), at("192.0.2.60:1").ip(), until);
    assert!(announce(&mut lab, 2, "192.0.2.60:1")[0].starts_with("open"));
    lab.wait(60);
    assert!(announce(&mut lab, 3, "192.0.2.60:1")[0].starts_with("refused"), "expired");
}

#[test]
fn a_back_to_back_agent_may_pass_on_what_was_announced_to_it() {
    // Two calls with nothing in common but the agent in the middle.
    let mut lab = Lab::new(0);
    let (first, second) = (invite(1), invite(1).of("c2@agent"));
    lab.send(ALICE, PROXY, first.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(PROXY, BOB, second.clone().sdp(&audio(ALICE, 20_000)));
    lab.send(BOB, PROXY, second.reply(200, "b").sdp(&audio(BOB, 30_000)));
    lab.send(PROXY, ALICE, first.reply(200, "p").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.open(), ["192.0.2.1:20000<198.51.100.7", "198.51.100.7:30000<192.0.2.1"]);
    // Another port of Alice's has never been announced to it, and a stranger was not told the first.
    let told = lab.send(PROXY, BOB, invite(1).of("c3@agent").sdp(&audio(ALICE, 20_002)));
    assert_eq!(told, ["refused 192.0.2.1:20002 not-the-announcers"]);
    let told = lab.send("203.0.113.66:5060", BOB, invite(1).of("c4@x").sdp(&audio(ALICE, 20_000)));
    assert_eq!(told, ["refused 192.0.2.1:20000 not-the-announcers"]);
}
