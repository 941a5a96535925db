use std::collections::HashMap;
use std::net::SocketAddr;

use callgate_rules::PrefixSet;
use proptest::prelude::*;

use super::*;
use crate::action::{Action, PinholeSpec, Transport};
use crate::call::State;
use crate::core::Bounds;
use crate::media::Policy;

mod call_policy;

const AGENT: &str = "203.0.113.5:2727";
const OTHER_AGENT: &str = "203.0.113.6:2727";
const GW: &str = "192.0.2.1:2427";
const FAR_GW: &str = "198.51.100.7:2427";
const STRANGER: &str = "203.0.113.99:2427";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn addresses(list: &[&str]) -> Addresses {
    Addresses::In(list.iter().map(|text| text.parse().expect("a prefix")).collect::<PrefixSet>())
}

/// A session description of one stream.
fn sdp(ip: &str, port: u16) -> String {
    format!("\r\nv=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n")
}

fn create(number: u32, sdp: &str) -> String {
    format!("CRCX {number} aaln/1@gw MGCP 1.0\r\nC: A1\r\nL: p:20, a:PCMU\r\nM: recvonly\r\n{sdp}")
}

fn modify(number: u32, connection: &str, sdp: &str) -> String {
    format!("MDCX {number} aaln/1@gw MGCP 1.0\r\nC: A1\r\nI: {connection}\r\nM: sendrecv\r\n{sdp}")
}

fn delete(number: u32, parameters: &str) -> String {
    format!("DLCX {number} aaln/1@gw MGCP 1.0\r\n{parameters}")
}

fn last(told: &[String]) -> &str {
    told.last().map_or("", String::as_str)
}

/// A firewall and a clock.
struct Lab {
    core: Core,
    tracker: Tracker,
    now: Time,
}

impl Lab {
    fn new() -> Self {
        Self::with(MgcpPolicy::default())
    }

    fn with(mgcp: MgcpPolicy) -> Self {
        let core = Core::new(Policy { mgcp, rules: HashMap::new(), ..Policy::default() }, Bounds::default());
        Self { core, tracker: Tracker::default(), now: Time(1_000_000_000) }
    }

    /// The agents and gateways of these tests are named.
    fn named() -> Self {
        Self::with(MgcpPolicy {
            call_agents: addresses(&["203.0.113.4/30"]),
            gateways: addresses(&["192.0.2.0/24", "198.51.100.0/24"]),
        })
    }

    fn verdict(&mut self, from: &str, to: &str, text: &str) -> Verdict {
        self.now = self.now + Duration::from_millis(100);
        let context = Context {
            now: self.now,
            source: at(from),
            destination: at(to),
            transport: Transport::Udp,
            protocol: Inspect::Mgcp,
            slot: 0,
            link: None,
        };
        self.tracker.datagram(&mut self.core, &context, text.as_bytes())
    }

    /// Sends a datagram that must pass; what it does, in words.
    fn pass(&mut self, from: &str, to: &str, text: &str) -> Vec<String> {
        assert_eq!(self.verdict(from, to, text), Verdict::Pass, "{text}");
        self.told()
    }

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
                Action::Event(event) => Some(format!("{} {}", event.kind, event.subject)),
                Action::Path(_) | Action::Say(_) => None,
                Action::Call(_) | Action::Finished(_) | Action::Suspect(_) => None,
            })
            .collect()
    }

    /// The pinholes that ought to be open, RTCP left out.
    fn pinholes(&self) -> Vec<String> {
        let rtp = self.core.pinholes().filter(|spec| spec.to.port() % 2 == 0);
        let mut all: Vec<_> = rtp
            .map(|spec| {
                let from: Vec<_> = spec.senders.iter().map(|sender| sender.ip.to_string()).collect();
                format!("{} from {}", spec.to, from.join(","))
            })
            .collect();
        all.sort();
        all
    }

    fn only_call(&self) -> &Call {
        let mut calls = self.core.calls();
        let call = calls.next().expect("a call");
        assert_eq!(calls.next(), None, "one call");
        call
    }

    /// A call between the two gateways, answered.
    fn talk(&mut self) {
        self.pass(AGENT, GW, &create(1, ""));
        self.pass(GW, AGENT, &format!("200 1 OK\r\nI: 31\r\n{}", sdp("192.0.2.1", 20_000)));
        self.pass(AGENT, FAR_GW, &create(2, &sdp("192.0.2.1", 20_000)));
        self.pass(FAR_GW, AGENT, &format!("200 2 OK\r\nI: 72\r\n{}", sdp("198.51.100.7", 30_000)));
        self.pass(AGENT, GW, &modify(3, "31", &sdp("198.51.100.7", 30_000)));
        self.pass(GW, AGENT, "200 3 OK\r\n");
    }
}

#[test]
fn a_call_between_two_gateways_opens_and_closes_as_it_is_signalled() {
    let mut lab = Lab::new();
    assert_eq!(lab.pass(AGENT, GW, &create(1, "")), [""; 0], "no address yet");
    let told = lab.pass(GW, AGENT, &format!("200 1 OK\r\nI: 31\r\n{}", sdp("192.0.2.1", 20_000)));
    assert_eq!(
        told,
        ["open rtp 192.0.2.1:20000 from 203.0.113.5", "open rtcp 192.0.2.1:20001 from 203.0.113.5"]
    );
    assert_eq!(lab.only_call().state, State::Ringing);

    let told = lab.pass(AGENT, FAR_GW, &create(2, &sdp("192.0.2.1", 20_000)));
    assert_eq!(
        told,
        [
            "update rtp 192.0.2.1:20000 from 198.51.100.7,203.0.113.5",
            "update rtcp 192.0.2.1:20001 from 198.51.100.7,203.0.113.5"
        ]
    );
    let told = lab.pass(FAR_GW, AGENT, &format!("200 2 OK\r\nI: 72\r\n{}", sdp("198.51.100.7", 30_000)));
    assert_eq!(
        told,
        ["open rtp 198.51.100.7:30000 from 192.0.2.1", "open rtcp 198.51.100.7:30001 from 192.0.2.1"]
    );
    lab.pass(AGENT, GW, &modify(3, "31", &sdp("198.51.100.7", 30_000)));
    lab.pass(GW, AGENT, "200 3 OK\r\n");
    assert_eq!(lab.pinholes(), ["192.0.2.1:20000 from 198.51.100.7", "198.51.100.7:30000 from 192.0.2.1"]);
    assert!(lab.core.calls().all(|call| call.state == State::Connected && call.key == "A1"));
    assert!(lab.core.calls().all(|call| call.parties[1] == "aaln/1@gw"));

    assert_eq!(lab.pass(AGENT, GW, &delete(4, "C: A1\r\nI: 31\r\n")), [""; 0], "not before the response");
    let told = lab.pass(GW, AGENT, "250 4 OK\r\nP: PS=334, OS=53440\r\n");
    assert_eq!(last(&told), "end deleted");
    assert_eq!(lab.pinholes().len(), 2, "the other gateway's call holds the pinholes");
    lab.pass(AGENT, FAR_GW, &delete(5, "C: A1\r\nI: 72\r\n"));
    let told = lab.pass(FAR_GW, AGENT, "250 5 OK\r\n");
    assert_eq!(last(&told), "end deleted");
    assert_eq!((lab.core.pinholes().count(), lab.core.calls().count()), (0, 0));
}

#[test]
fn both_connections_through_one_gateway_are_one_call() {
    let mut lab = Lab::new();
    lab.pass(AGENT, GW, &create(1, ""));
    lab.pass(GW, AGENT, &format!("200 1 OK\r\nI: 31\r\n{}", sdp("192.0.2.1", 20_000)));
    let second = create(2, &sdp("192.0.2.1", 20_000)).replace("aaln/1", "aaln/2");
    lab.pass(AGENT, GW, &second);
    lab.pass(GW, AGENT, &format!("200 2 OK\r\nI: 32\r\n{}", sdp("192.0.2.1", 20_002)));
    assert_eq!(lab.only_call().streams.len(), 2);
    lab.pass(AGENT, GW, &delete(3, "C: A1\r\nI: 31\r\n"));
    lab.pass(GW, AGENT, "250 3 OK\r\n");
    assert_eq!(lab.only_call().streams.len(), 1, "the other connection goes on");
    lab.pass(AGENT, GW, &delete(4, "C: A1\r\n").replace("aaln/1", "*"));
    assert_eq!(last(&lab.pass(GW, AGENT, "250 4 OK\r\n")), "end deleted");
}

#[test]
fn piggybacked_messages_are_read_one_by_one() {
    let mut lab = Lab::new();
    let datagram = format!("RQNT 7 aaln/1@gw MGCP 1.0\r\nX: 1\r\n.\r\n{}", create(8, ""));
    lab.pass(AGENT, GW, &datagram);
    let answer = format!("200 7 OK\r\n.\r\n200 8 OK\r\nI: 1\r\n{}", sdp("192.0.2.1", 20_000));
    assert_eq!(lab.pass(GW, AGENT, &answer).len(), 2, "RTP and RTCP");
    // One that is malformed or forbidden takes the others with it.
    let bad = format!("{}.\r\nNONSENSE\r\n", create(9, "").replace("A1", "A2"));
    assert_eq!(lab.verdict(AGENT, GW, &bad), Verdict::Drop(Reason::AlgMalformed));
    assert_eq!(lab.only_call().key, "A1");
}

#[test]
fn a_command_that_is_repeated_changes_nothing() {
    let mut lab = Lab::new();
    lab.pass(AGENT, GW, &create(1, ""));
    lab.pass(AGENT, GW, &create(1, &sdp("203.0.113.5", 20_000)));
    assert_eq!(lab.core.pinholes().count(), 0);
    let answer = format!("200 1 OK\r\nI: 31\r\n{}", sdp("192.0.2.1", 20_000));
    assert_eq!(lab.pass(GW, AGENT, &answer).len(), 2);
    assert_eq!(lab.pass(GW, AGENT, &answer), [""; 0], "a response repeated");
    let other = answer.replace("20000", "20010");
    assert_eq!(lab.pass(GW, AGENT, &other), [""; 0], "a response may not change its mind");
    lab.pass(AGENT, GW, &create(1, ""));
    assert_eq!(lab.only_call().streams.len(), 1);
}

#[test]
fn only_an_agent_commands_and_only_a_gateway_notifies() {
    let refused = Verdict::Drop(Reason::AlgRefused);
    let notify = "NTFY 5 aaln/1@gw MGCP 1.0\r\nX: 1\r\nO: L/hd\r\n";
    let restart = "RSIP 6 *@gw MGCP 1.0\r\nRM: restart\r\n";
    let audit = "AUEP 7 *@gw MGCP 1.0\r\n";
    let mut lab = Lab::named();
    for (from, to, text) in [
        (STRANGER, GW, create(1, "").as_str()),
        (GW, FAR_GW, &create(1, "")),
        (GW, AGENT, &create(1, "")),
        (AGENT, STRANGER, &create(1, "")),
        (STRANGER, GW, &delete(2, "C: A1\r\n")),
        (GW, AGENT, audit),
        (GW, AGENT, "EPCF 8 aaln/1@gw MGCP 1.0\r\n"),
        (GW, AGENT, "RQNT 8 aaln/1@gw MGCP 1.0\r\nX: 1\r\n"),
        (AGENT, GW, notify),
        (AGENT, GW, restart),
        (STRANGER, AGENT, notify),
        (GW, STRANGER, "200 1 OK\r\n"),
        (STRANGER, AGENT, "200 1 OK\r\n"),
        (AGENT, OTHER_AGENT, audit),
    ] {
        assert_eq!(lab.verdict(from, to, text), refused, "{from} {to} {text}");
        let told = lab.told();
        assert!(told.len() == 1 && told[0].starts_with("refused"), "{told:?}");
    }
    for (from, to, text) in [
        (AGENT, GW, create(1, "").as_str()),
        (GW, AGENT, &delete(2, "C: A1\r\n")),
        (GW, AGENT, notify),
        (GW, AGENT, restart),
        (OTHER_AGENT, GW, audit),
        (GW, AGENT, "200 1 OK\r\n"),
        (AGENT, GW, "200 5\r\n"),
    ] {
        assert_eq!(lab.verdict(from, to, text), Verdict::Pass, "{from} {to} {text}");
    }
    let mut open = Lab::new();
    assert_eq!(open.verdict(STRANGER, GW, &create(1, "")), Verdict::Pass, "nobody is named");
}

#[test]
fn another_agent_of_the_group_may_be_answered_and_a_stranger_may_not() {
    let answer = format!("200 1 OK\r\nI: 31\r\n{}", sdp("192.0.2.1", 20_000));
    let mut lab = Lab::named();
    lab.pass(AGENT, GW, &create(1, ""));
    assert_eq!(lab.pass(GW, OTHER_AGENT, &answer).len(), 2);
    // It takes over, and may speak of the gateways that obeyed its colleague.
    lab.pass(OTHER_AGENT, FAR_GW, &create(1, &sdp("192.0.2.1", 20_000)));
    assert_eq!(lab.pinholes(), ["192.0.2.1:20000 from 198.51.100.7,203.0.113.5"]);

    let mut lab = Lab::new();
    lab.pass(AGENT, GW, &create(1, ""));
    assert_eq!(lab.pass(GW, OTHER_AGENT, &answer), [""; 0], "without a group");
    assert_eq!(lab.pass(FAR_GW, AGENT, &answer), [""; 0], "another gateway");
    assert_eq!(lab.core.pinholes().count(), 0);
}

#[test]
fn an_agent_announces_only_hosts_that_are_its_own() {
    let mut lab = Lab::new();
    let told = lab.pass(AGENT, GW, &create(1, &sdp("198.51.100.7", 30_000)));
    assert_eq!(told, ["refuse 198.51.100.7:30000 not-the-announcers"]);
    lab.pass(AGENT, FAR_GW, "AUEP 2 *@far MGCP 1.0\r\n");
    lab.pass(FAR_GW, AGENT, "500 2 unknown endpoint\r\n");
    let told = lab.pass(AGENT, GW, &create(3, &sdp("198.51.100.7", 30_000)).replace("A1", "A2"));
    assert_eq!(told, ["refuse 198.51.100.7:30000 not-the-announcers"], "a gateway that refused it");
    lab.pass(AGENT, FAR_GW, "AUEP 4 *@far MGCP 1.0\r\n");
    lab.pass(FAR_GW, AGENT, "200 4 OK\r\n");
    let told = lab.pass(AGENT, GW, &create(5, &sdp("198.51.100.7", 30_000)).replace("A1", "A3"));
    assert_eq!(told.first().map(String::as_str), Some("open rtp 198.51.100.7:30000 from 192.0.2.1"));
    let told = lab.pass(GW, AGENT, &format!("200 5 OK\r\nI: 1\r\n{}", sdp("192.0.2.99", 20_000)));
    assert_eq!(told, ["refuse 192.0.2.99:20000 not-the-announcers"], "a gateway speaks for itself");
}

#[test]
fn ports_that_are_no_media_ports_are_refused() {
    let mut lab = Lab::new();
    lab.pass(AGENT, GW, &create(1, ""));
    let told = lab.pass(GW, AGENT, &format!("200 1 OK\r\nI: 1\r\n{}", sdp("192.0.2.1", 22)));
    assert_eq!(told, ["refuse 192.0.2.1:22 privileged-port"]);
}

#[test]
fn a_modification_waits_for_the_gateway() {
    let mut lab = Lab::new();
    lab.talk();
    let before = lab.pinholes();
    lab.pass(AGENT, GW, &modify(10, "31", &sdp("203.0.113.5", 25_000)));
    assert_eq!(lab.pinholes().len(), 3, "the agent's own music, beside what was agreed");
    lab.pass(GW, AGENT, "526 10 insufficient bandwidth\r\n");
    assert_eq!(lab.pinholes(), before);

    lab.pass(AGENT, GW, &modify(11, "31", &sdp("203.0.113.5", 25_000)));
    lab.pass(GW, AGENT, "200 11 OK\r\n");
    assert_eq!(
        lab.pinholes(),
        [
            "192.0.2.1:20000 from 198.51.100.7,203.0.113.5",
            "198.51.100.7:30000 from 192.0.2.1",
            "203.0.113.5:25000 from 192.0.2.1"
        ]
    );

    lab.pass(AGENT, GW, &modify(12, "31", &sdp("203.0.113.5", 25_010)));
    lab.wait(31);
    assert_eq!(lab.pinholes().len(), 3, "no response: nothing has changed");
}

#[test]
fn each_end_of_a_connection_receives_what_its_description_says() {
    let mut lab = Lab::new();
    lab.talk();
    let contracts = |lab: &Lab| {
        let gateway = Some(at("192.0.2.1:20000"));
        let mut streams = lab.core.calls().flat_map(|call| call.streams.values());
        streams
            .find(|stream| stream.ends[Party::Callee as usize].media == gateway)
            .expect("a stream")
            .contracts
    };
    for accepted in contracts(&lab) {
        assert_eq!([0, 8].map(|number| accepted.payload_types.has(number)), [true, false]);
        assert_eq!(accepted.nominal.map(|nominal| (nominal.packets, nominal.bytes)), Some((50, 10_000)));
    }
    // The other gateway changes its codec, and this one goes along.
    let before = contracts(&lab).map(|accepted| accepted.negotiation);
    let other = |ip, port| sdp(ip, port).replace("RTP/AVP 0", "RTP/AVP 8");
    lab.pass(AGENT, GW, &modify(9, "31", &other("198.51.100.7", 30_000)));
    lab.pass(GW, AGENT, &format!("200 9 OK\r\n{}", other("192.0.2.1", 20_000)));
    let after = contracts(&lab);
    for (accepted, before) in after.iter().zip(before) {
        assert_eq!([0, 8].map(|number| accepted.payload_types.has(number)), [false, true], "{after:?}");
        assert_ne!(accepted.negotiation, before);
    }
}

#[test]
fn a_failed_or_unanswered_creation_leaves_no_trace() {
    let mut lab = Lab::new();
    lab.pass(AGENT, GW, &create(1, &sdp("203.0.113.5", 25_000)));
    assert_eq!(lab.pinholes(), ["203.0.113.5:25000 from 192.0.2.1"]);
    let told = lab.pass(GW, AGENT, "403 1 no resources\r\n");
    assert_eq!(last(&told), "end failed");
    lab.pass(AGENT, GW, &create(2, &sdp("203.0.113.5", 25_000)));
    lab.pass(GW, AGENT, "100 2 pending\r\n");
    assert_eq!(lab.wait(100), [""; 0], "patience after a provisional response");
    let told = lab.wait(100);
    assert_eq!(last(&told), "end failed");
    assert_eq!(lab.core.pinholes().count(), 0);
}

#[test]
fn a_deletion_is_done_when_the_gateway_says_so_or_nothing() {
    for (answer, over) in [("250 9 OK", true), ("515 9 unknown", true), ("400 9 transient error", false)] {
        let mut lab = Lab::new();
        lab.talk();
        lab.pass(AGENT, GW, &delete(9, "C: A1\r\nI: 31\r\n"));
        lab.pass(GW, AGENT, answer);
        assert_eq!(lab.core.calls().count() == 1, over, "{answer}");
    }
    let mut lab = Lab::new();
    lab.talk();
    lab.pass(AGENT, GW, &delete(9, ""));
    assert_eq!(lab.wait(4), [""; 0]);
    assert_eq!(last(&lab.wait(2)), "end deleted", "all of the endpoint's, without a response");
    assert!(!lab.wait(31).iter().any(|told| told.starts_with("end")));

    // A gateway deletes by itself (section 2.3.9).
    let mut lab = Lab::new();
    lab.talk();
    lab.pass(GW, AGENT, &delete(1, "C: A1\r\nI: 31\r\nE: 900 hardware error\r\n"));
    assert_eq!(last(&lab.pass(AGENT, GW, "250 1 OK\r\n")), "end deleted");
}

#[test]
fn a_deletion_is_about_one_connection() {
    let mut lab = Lab::new();
    let local = |number: u32, port| format!("200 {number} OK\r\nI: 1\r\n{}", sdp("192.0.2.1", port));
    lab.pass(AGENT, GW, &create(1, ""));
    lab.pass(GW, AGENT, &local(1, 20_000));
    lab.pass(AGENT, GW, &create(2, "").replace("aaln/1", "aaln/2"));
    lab.pass(GW, AGENT, &local(2, 20_002));
    // One is being modified, another being made on its endpoint.
    lab.pass(AGENT, GW, &modify(3, "1", ""));
    lab.pass(AGENT, GW, &create(4, &sdp("203.0.113.5", 25_000)));
    lab.pass(AGENT, GW, &delete(5, "C: A1\r\nI: 1\r\n"));
    lab.pass(GW, AGENT, "250 5 OK\r\n");
    assert_eq!(lab.pinholes(), ["192.0.2.1:20002 from 203.0.113.5", "203.0.113.5:25000 from 192.0.2.1"]);
    assert_eq!(lab.pass(GW, AGENT, &local(3, 20_010)), [""; 0], "too late");
}

#[test]
fn a_restart_clears_the_endpoints_it_names() {
    let restart = |lab: &mut Lab, number: u32, endpoints: &str, method: &str| {
        let text = format!("RSIP {number} {endpoints}@gw MGCP 1.0\r\nRM: {method}\r\n");
        let told = lab.pass(GW, AGENT, &text);
        let lost = matches!(method, "restart" | "forced");
        assert_eq!(told, if lost { vec![format!("restarted {endpoints}@gw")] } else { Vec::new() });
        lab.pass(AGENT, GW, &format!("200 {number} OK\r\n"))
    };
    let mut lab = Lab::new();
    lab.talk();
    assert_eq!(restart(&mut lab, 1, "*", "graceful"), [""; 0]);
    assert_eq!(restart(&mut lab, 2, "*", "disconnected"), [""; 0]);
    assert_eq!(restart(&mut lab, 3, "aaln/2", "restart"), [""; 0]);
    assert_eq!(lab.core.calls().count(), 2);
    assert_eq!(last(&restart(&mut lab, 4, "*", "restart")), "end restarted");
    assert_eq!(lab.only_call().signalling[1], at(FAR_GW));

    // A connection made after the restart is not of before it.
    lab.pass(GW, AGENT, "RSIP 5 *@gw MGCP 1.0\r\nRM: restart\r\n");
    lab.pass(AGENT, GW, &create(20, ""));
    lab.wait(6);
    assert_eq!(lab.core.calls().count(), 2);
}

#[test]
fn an_endpoint_the_gateway_chooses_is_known_by_its_name() {
    let mut lab = Lab::new();
    lab.pass(AGENT, GW, &create(1, "").replace("aaln/1", "aaln/$"));
    lab.pass(GW, AGENT, "200 1 OK\r\nI: 1\r\nZ: aaln/4@gw\r\n");
    assert_eq!(lab.only_call().parties[1], "aaln/4@gw");
    lab.pass(AGENT, GW, &delete(2, "").replace("aaln/1", "aaln/3"));
    assert_eq!(lab.pass(GW, AGENT, "250 2 OK\r\n"), [""; 0]);
    lab.pass(AGENT, GW, &delete(3, "").replace("aaln/1", "AALN/4"));
    assert_eq!(lab.pass(GW, AGENT, "250 3 OK\r\n"), ["end deleted"]);
}

#[test]
fn fax_takes_the_place_of_voice() {
    let mut lab = Lab::new();
    lab.talk();
    let image = |ip: &str, port| sdp(ip, port).replace("audio", "image").replace("RTP/AVP 0", "udptl t38");
    lab.pass(AGENT, GW, &modify(20, "31", &image("198.51.100.7", 30_000)));
    lab.pass(GW, AGENT, &format!("200 20 OK\r\n{}", image("192.0.2.1", 20_000)));
    let call = lab.core.calls().find(|call| call.signalling[1] == at(GW)).expect("a call");
    let stream = call.streams.values().next().expect("a stream");
    assert_eq!(stream.medium, crate::call::Medium::Image);
    assert_eq!(stream.ends[0].media, Some(at("198.51.100.7:30000")));
    assert_eq!(stream.ends[1].media, Some(at("192.0.2.1:20000")));
}

#[test]
fn malformed_messages_are_dropped() {
    let mut lab = Lab::new();
    for text in [
        "HELLO 1 aaln/1@gw MGCP 1.0\r\n",
        "CRCX 1 aaln/1@gw MGCP 1.0\r\nM: sendrecv\r\n",
        "MDCX 1 aaln/1@gw MGCP 1.0\r\nC: 1\r\n",
        "DLCX 1 aaln/1@gw MGCP 1.0\r\nI: 1\r\n",
        "\u{0}\u{1}",
    ] {
        assert_eq!(lab.verdict(AGENT, GW, text), Verdict::Drop(Reason::AlgMalformed), "{text:?}");
    }
    assert_eq!(lab.verdict(AGENT, GW, ""), Verdict::Pass, "nothing to read");
    assert!(lab.tracker.gateways.is_empty());
}

#[test]
fn a_call_goes_on_after_a_restart_of_the_firewall() {
    let mut lab = Lab::new();
    lab.talk();
    let calls: Vec<Call> = lab.core.calls().cloned().collect();
    let mut after = Lab::new();
    after.now = lab.now;
    after.core.restore(calls, after.now);
    after.tracker.restore(after.core.calls());
    assert_eq!(after.pinholes(), lab.pinholes());
    after.pass(AGENT, GW, &delete(50, "C: A1\r\nI: 31\r\n"));
    assert_eq!(last(&after.pass(GW, AGENT, "250 50 OK\r\n")), "end deleted");
    // A call of before all that is taken up where it is.
    let modified = modify(51, "9", &sdp("203.0.113.5", 25_000)).replace("A1", "B2");
    assert_eq!(after.pass(AGENT, GW, &modified).len(), 2);
}

#[test]
fn what_is_remembered_of_a_gateway_is_bounded() {
    let mut lab = Lab::new();
    for n in 0..1_000 {
        lab.pass(AGENT, GW, &format!("AUEP {} aaln/{n}@gw MGCP 1.0\r\n", n + 1));
    }
    assert_eq!(lab.tracker.gateways[&at(GW).ip()].transactions_len(), 128);
    let full = (0..1_000).find(|n| {
        let text = create(5_000 + n, "").replace("A1", &format!("C{n}"));
        lab.verdict(AGENT, GW, &text) != Verdict::Pass
    });
    assert_eq!(full, Some(128), "creations are not forgotten for others");
    lab.wait(31);
    lab.wait(31);
    lab.wait(3_600);
    assert!(lab.tracker.gateways.is_empty());

    let mut lab = Lab::new();
    let refused = (0..20).find(|n| lab.verdict(AGENT, GW, &create(n + 1, "")) != Verdict::Pass);
    assert_eq!(refused, Some(8), "connections of one call");
}

proptest! {
    /// Whatever is said in whatever order: nothing opens that is not the sender's or its gateways', and all
    /// is over when everybody has been silent.
    #[test]
    fn no_sequence_opens_a_strangers_port(
        steps in prop::collection::vec((0..9_usize, 1..6_u32, 0..3_u32, any::<bool>()), 0..60)
    ) {
        let mut lab = Lab::new();
        for (kind, number, call, up) in steps {
            let (from, to) = if up { (GW, AGENT) } else { (AGENT, GW) };
            let text = match kind {
                0 => create(number, &sdp("203.0.113.5", 25_000)),
                1 => create(number, &sdp("198.51.100.7", 22_000)),
                2 => modify(number, "1", &sdp("203.0.113.5", 25_100)),
                3 => delete(number, "C: A1\r\nI: 1\r\n"),
                4 => format!("200 {number} OK\r\nI: 1\r\n{}", sdp("192.0.2.1", 20_000)),
                5 => format!("500 {number} no\r\n"),
                6 => format!("RSIP {number} *@gw MGCP 1.0\r\nRM: restart\r\n"),
                7 => format!("150 {number} wait\r\nI: 1\r\n{}", sdp("192.0.2.1", 20_100)),
                _ => format!("AUCX {number} *@gw MGCP 1.0\r\n"),
            };
            lab.verdict(from, to, &text.replace("A1", &format!("A{call}")));
            prop_assert!(lab.core.pinholes().all(|spec| spec.to.ip() != at(FAR_GW).ip()));
            let tracked: usize = lab.tracker.gateways.values().map(Gateway::calls_len).sum();
            prop_assert_eq!(tracked, lab.core.calls().count());
        }
        lab.wait(200);
        lab.core.tick(lab.now + Duration::from_secs(86_401));
        prop_assert_eq!(lab.core.pinholes().count(), 0);
    }

    #[test]
    fn no_damage_makes_it_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut lab = Lab::new();
        let mut bytes = create(1, &sdp("203.0.113.5", 25_000)).into_bytes();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        lab.verdict(AGENT, GW, &text);
        lab.verdict(GW, AGENT, &text);
        prop_assert!(lab.core.pinholes().count() <= 4);
    }
}

#[test]
fn a_call_that_finds_no_room_is_told_so() {
    let mut lab = Lab::new();
    lab.core.set_bounds(Bounds { calls: 1, ..Bounds::default() });
    lab.pass(AGENT, GW, &create(1, ""));
    let Verdict::Refuse(denial) = lab.verdict(AGENT, GW, &create(2, "").replace("A1", "A2")) else {
        panic!("there is room")
    };
    let reply = String::from_utf8(denial.reply.expect("an answer")).expect("text");
    assert_eq!(reply, "403 2 there is no room for another call\r\n");
    assert_eq!(lab.only_call().key, "A1");
}
