//! Interactive connectivity establishment (RFC 8445, RFC 8839).

use super::*;

const SECOND: &str = "192.0.2.2:1";

fn candidate(component: u8, at: &str, port: u16, kind: &str) -> String {
    let ip = super::at(at).ip();
    format!("a=candidate:1 {component} UDP 2130706431 {ip} {port} typ {kind}\r\n")
}

const AGENT: &str = "a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n";

/// A description with two candidates besides the default one.
fn checked(who: &str, port: u16) -> String {
    let own = candidate(1, who, port, "host") + &candidate(2, who, port + 1, "host");
    let more = candidate(1, who, port + 10, "srflx") + &candidate(2, who, port + 11, "srflx");
    audio(who, port) + AGENT + &own + &more
}

#[test]
fn every_candidate_address_gets_what_it_needs() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&checked(ALICE, 20_000)));
    let offered = ["rtp 20000<7", "rtcp 20001<7", "rtp 20010<7", "rtcp 20011<7"];
    assert_eq!(lab.ports(), offered);
    assert!(lab.stream().ice.is_some());
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&checked(BOB, 30_000)));
    let agreed = ["rtp 30000<1", "rtcp 30001<1", "rtp 30010<1", "rtcp 30011<1"];
    assert_eq!(lab.ports(), [offered, agreed].concat());
    let bye = request("BYE", 2).to("b");
    lab.send(ALICE, BOB, bye.clone());
    lab.send(BOB, ALICE, bye.reply(200, "b"));
    lab.assert_empty();
}

#[test]
fn each_address_of_the_other_may_send_to_each_place() {
    let mut lab = Lab::new(ANY);
    let body = audio(ALICE, 20_000) + AGENT + &candidate(1, SECOND, 20_100, "host") + "a=rtcp-mux\r\n";
    lab.send(ALICE, BOB, invite(1).sdp(&body));
    let answer =
        audio(BOB, 30_000) + AGENT + &candidate(1, "198.51.100.8:1", 30_100, "host") + "a=rtcp-mux\r\n";
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&answer));
    assert_eq!(
        lab.ports(),
        ["rtcp-mux 20000<7,8", "rtcp-mux 20100<7,8", "rtcp-mux 30000<1,2", "rtcp-mux 30100<1,2"]
    );
}

#[test]
fn candidates_that_are_not_the_announcers_are_refused() {
    let mut lab = Lab::new(0);
    let foreign = candidate(1, "203.0.113.66:1", 20_100, "relay");
    let body = audio(ALICE, 20_000) + AGENT + &foreign + &candidate(1, ALICE, 22, "host");
    let told = lab.send(ALICE, BOB, invite(1).sdp(&body));
    assert_eq!(
        told[..2],
        ["refused 203.0.113.66:20100 not-the-announcers", "refused 192.0.2.1:22 privileged-port"]
    );
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&checked(BOB, 30_000)));
    assert!(lab.core.pinholes().flat_map(|spec| spec.senders).all(|s| s.ip != at("203.0.113.66:1").ip()));
    assert_eq!(lab.ports().len(), 6);
}

#[test]
fn an_answer_without_candidates_takes_the_offered_ones_back() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&checked(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(lab.ports(), ["rtp 20000<7", "rtcp 20001<7", "rtp 30000<1", "rtcp 30001<1"]);
    assert!(lab.stream().ice.is_none());
}

#[test]
fn the_chosen_pair_takes_the_place_of_the_candidates() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&checked(ALICE, 20_000)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&checked(BOB, 30_000)));
    // RFC 8839 section 4.4.1.1: the re-INVITE names what was chosen, and nothing else.
    let chosen = |who: &str, port: u16| {
        audio(who, port) + AGENT + &candidate(1, who, port, "srflx") + &candidate(2, who, port + 1, "srflx")
    };
    let again = invite(2).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&chosen(ALICE, 20_010)));
    lab.send(BOB, ALICE, again.reply(200, "b").sdp(&chosen(BOB, 30_010)));
    assert_eq!(lab.ports(), ["rtp 20010<7", "rtcp 20011<7", "rtp 30010<1", "rtcp 30011<1"]);
}

#[test]
fn candidates_may_come_without_a_default_place() {
    let mut lab = Lab::new(0);
    let body = audio("0.0.0.0:1", 9) + AGENT + &candidate(1, ALICE, 20_000, "host");
    lab.send(ALICE, BOB, invite(1).sdp(&body));
    assert_eq!(lab.ports(), ["rtp 20000<7"]);
}

#[test]
fn candidates_are_bounded_and_names_tcp_and_third_components_have_none() {
    let mut lab = Lab::new(0);
    let many: String = (0..100).map(|n| candidate(1, ALICE, 20_100 + 2 * n, "host")).collect();
    let odd = "a=candidate:1 1 UDP 1 a.local 20002 typ host\r\na=candidate:1 1 TCP 1 192.0.2.1 20004 typ host tcptype passive\r\n";
    let body = audio(ALICE, 20_000) + AGENT + odd + &candidate(3, ALICE, 20_006, "host") + &many;
    lab.send(ALICE, BOB, invite(1).sdp(&body));
    let ports = lab.ports();
    assert_eq!(ports.len(), 2 + crate::call::MAX_CANDIDATES, "{ports:?}");
    assert!(["20002", "20004", "20006"].iter().all(|odd| ports.iter().all(|open| !open.contains(odd))));
}
