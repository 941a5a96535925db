//! What may flow into each pinhole, as offers and answers have it.

use super::*;
use crate::contract::Contract;

/// The payload types of a contract.
fn types(contract: &Contract) -> Vec<u8> {
    (0..128).filter(|number| contract.payload_types.has(*number)).collect()
}

/// What the kernel is told of the pinhole to this port.
fn told(lab: &Lab, port: u16) -> Contract {
    let spec = lab.core.pinholes().find(|spec| spec.to.port() == port).expect("a pinhole");
    spec.contract
}

fn offer(extra: &str) -> String {
    let formats = "RTP/AVP 8 0 96 101\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n";
    sdp(ALICE, &format!("m=audio 20000 {formats}{extra}"))
}

fn answer(extra: &str) -> String {
    let formats = "RTP/AVP 0 97\r\na=rtpmap:97 telephone-event/8000\r\n";
    sdp(BOB, &format!("m=audio 30000 {formats}{extra}"))
}

#[test]
fn each_party_is_bound_to_what_the_other_receives() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&offer("a=ssrc:17 cname:x\r\n")));
    assert_eq!(types(&told(&lab, 20_000)), [0, 8, 96, 101], "whatever was offered may come early");
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&answer("a=ssrc:23 cname:y\r\n")));
    let (alice, bob) = (told(&lab, 20_000), told(&lab, 30_000));
    assert_eq!((types(&alice), types(&bob)), (vec![0, 101], vec![0, 97]));
    assert_eq!((alice.ssrc, bob.ssrc), (Some(23), Some(17)), "each receives what the other sends");
    assert_eq!((alice.clock, bob.clock), (8_000, 8_000));
    assert_eq!(bob.nominal.map(|nominal| (nominal.packets, nominal.bytes)), Some((50, 10_000)));
    // RTCP has its share of the rate, and neither payload types nor RTP's source.
    let control = told(&lab, 30_001);
    assert_eq!((types(&control), control.ssrc, control.nominal), (vec![], None, bob.nominal));
    assert_eq!(control, told(&lab, 20_001));
}

#[test]
fn another_negotiation_permits_another_source_and_a_repetition_does_not() {
    let mut lab = Lab::answered(0);
    let first = told(&lab, 30_000).negotiation;
    let hold = invite(2).to("b");
    lab.send(ALICE, BOB, hold.clone().sdp(&(audio(ALICE, 20_000) + "a=sendonly\r\n")));
    lab.send(BOB, ALICE, hold.clone().reply(200, "b").sdp(&audio(BOB, 30_000)));
    let second = told(&lab, 30_000).negotiation;
    assert_ne!(first, second);
    assert_eq!(lab.send(BOB, ALICE, hold.reply(200, "b").sdp(&audio(BOB, 30_000))), NOTHING);
    assert_eq!(told(&lab, 30_000).negotiation, second);
    // The same description once more, for the sake of a session timer: music may have taken the place of speech.
    let again = invite(3).to("b");
    lab.send(ALICE, BOB, again.clone().sdp(&audio(ALICE, 20_000)));
    let told_again = lab.send(BOB, ALICE, again.reply(200, "b").sdp(&audio(BOB, 30_000)));
    assert_eq!(
        told_again,
        ["update rtp 192.0.2.1:20000 from 198.51.100.7", "update rtp 198.51.100.7:30000 from 192.0.2.1"]
    );
}

#[test]
fn what_comes_beside_rtp_has_been_announced_by_both() {
    let ice = "a=ice-ufrag:x\r\na=ice-pwd:y\r\na=fingerprint:sha-256 00\r\na=setup:actpass\r\n";
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&offer(ice)));
    assert!(told(&lab, 20_000).stun && told(&lab, 20_000).dtls);
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&answer("")));
    for port in [20_000, 30_000] {
        let contract = told(&lab, port);
        assert!(
            !contract.stun && !contract.dtls && !contract.secure && !contract.zrtp,
            "{port}: {contract:?}"
        );
    }
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&offer(ice)));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&answer(ice)));
    assert!([20_000, 30_000].iter().all(|port| told(&lab, *port).stun && told(&lab, *port).dtls));
}

#[test]
fn a_contract_outlives_a_restart() {
    let mut lab = Lab::new(0);
    lab.send(ALICE, BOB, invite(1).sdp(&offer("")));
    lab.send(BOB, ALICE, invite(1).reply(200, "b").sdp(&answer("")));
    let json = serde_json::to_string(lab.call()).expect("a call");
    let restored: crate::Call = serde_json::from_str(&json).expect("a call");
    assert_eq!(&restored, lab.call());
    let mut again = Core::new(Policy::default(), crate::core::Bounds::default());
    again.restore(vec![restored], Time(5));
    let contract =
        |core: &Core| core.pinholes().find(|spec| spec.to.port() == 30_000).expect("a pinhole").contract;
    assert_eq!(contract(&again), contract(&lab.core));
    assert_eq!(types(&contract(&again)), [0, 97]);
}
