//! Any order of messages, and any damage to them.

use proptest::prelude::*;

use super::*;

/// Steps of a call that the property below plays in any order.
fn steps() -> Vec<(&'static str, &'static str, Sip)> {
    let bye = request("BYE", 9).to("b");
    let replacing = invite(1).of("c2@host").header("Replaces: c1@host;to-tag=a;from-tag=b");
    let update = request("UPDATE", 5).to("b");
    let translated = invite(6).to("b");
    let checked = |who: &str, port: u16| {
        let ip = at(who).ip();
        let agent = "a=rtcp-mux\r\na=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\n";
        audio(who, port) + agent + &format!("a=candidate:1 1 UDP 1 {ip} {} typ srflx\r\n", port + 20)
    };
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
        (BOB, ALICE, replacing.clone().sdp(&audio(BOB, 30_200))),
        (ALICE, BOB, replacing.reply(200, "a2").sdp(&sdp(ALICE, "m=video 20200/3 RTP/AVP 31\r\n"))),
        (ALICE, BOB, update.clone().sdp(&checked(ALICE, 20_300))),
        (BOB, ALICE, update.reply(200, "b").sdp(&checked(BOB, 30_300))),
        (ALICE, BOB, translated.clone().sdp(&audio("10.0.0.5:1", 20_400))),
        (BOB, ALICE, translated.reply(200, "b").sdp(&audio(BOB, 30_400))),
    ]
}

/// How many there are.
const STEPS: usize = 23;

fn latch() -> Lab {
    Lab::with(|policy| policy.nat_clients = NatClients::Latch)
}

proptest! {
    #[test]
    fn any_order_of_messages_leaves_nothing_behind_a_call(order in prop::collection::vec(0..STEPS, 0..60)) {
        let mut lab = latch();
        let steps = steps();
        prop_assert_eq!(steps.len(), STEPS);
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
        step in 0..STEPS,
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
