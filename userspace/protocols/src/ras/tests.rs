//! RAS messages as they ought to be, and as they ought not.

use proptest::prelude::*;

use super::*;
use crate::build::ras as build;
use crate::writer::{Writer, encode};

const CALL: [u8; 16] = *b"0123456789abcdef";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

/// Every message that is read, told by these addresses.
fn messages(signal: SocketAddr, ras: SocketAddr) -> [Vec<u8>; 10] {
    [
        build::gatekeeper_request(1, ras),
        build::gatekeeper_confirm(1, ras),
        build::registration_request(2, signal, ras, 60),
        build::registration_confirm(2, 90),
        build::unregistration_request(3, signal),
        build::admission_request(4, CALL),
        build::admission_confirm(4, signal),
        build::disengage_request(5, CALL),
        build::location_request(65_535, ras),
        build::location_confirm(6, signal, ras),
    ]
}

#[test]
fn every_message_that_is_read() {
    for (signal, ras) in [("192.0.2.1:1730", "192.0.2.1:1719"), ("[2001:db8::1]:1730", "[2001:db8::1]:1719")]
    {
        let (signal, ras) = (at(signal), at(ras));
        let encodings = messages(signal, ras);
        let read = encodings.each_ref().map(|encoding| Message::parse(encoding).expect("a message"));
        assert_eq!(read.each_ref().map(|message| message.sequence), [1, 1, 2, 2, 3, 4, 4, 5, 65_535, 6]);
        let [grq, gcf, rrq, rcf, urq, arq, acf, drq, lrq, lcf] = read.map(|message| message.body);
        assert!(matches!(grq, Body::GatekeeperRequest { ras: Some(it), .. } if it == ras));
        assert!(matches!(gcf, Body::GatekeeperConfirm { ras: Some(it), .. } if it == ras));
        let Body::RegistrationRequest {
            call_signal,
            ras: own,
            time_to_live: Some(60),
            keep_alive: false,
            ..
        } = rrq
        else {
            panic!("{rrq:?}")
        };
        assert!(call_signal.iter().eq([signal]) && own.iter().eq([ras]));
        let Body::RegistrationConfirm { time_to_live: Some(90), endpoint, .. } = rcf else {
            panic!("{rcf:?}")
        };
        assert_eq!(endpoint.to_string(), "E");
        assert!(matches!(urq, Body::UnregistrationRequest { call_signal: it, .. } if it == call_signal));
        let Body::AdmissionRequest { source, destination, .. } = &arq else { panic!("{arq:?}") };
        let names = [source, destination].map(|aliases| aliases.first().map(|alias| alias.to_string()));
        assert_eq!(names, [Some("1000".to_owned()), Some("2000".to_owned())]);
        assert!(matches!(
            arq,
            Body::AdmissionRequest {
                call: Some(Guid(CALL)),
                conference: Guid(CALL),
                reference: 7,
                answer: false,
                model: None,
                bandwidth: 1280,
                source_address: None,
                ..
            }
        ));
        let admission = Admission {
            destination: Some(signal),
            model: CallModel::Direct,
            bandwidth: 1280,
            alternates: Alternates::default(),
        };
        assert_eq!(acf, Body::AdmissionConfirm(admission));
        assert!(matches!(drq, Body::DisengageRequest { call: Some(Guid(CALL)), reference: 7, .. }));
        let Body::LocationRequest { reply: Some(reply), destination, .. } = lrq else { panic!("{lrq:?}") };
        assert_eq!((reply, destination.iter().count()), (ras, 1));
        assert!(matches!(
            lcf,
            Body::LocationConfirm { call_signal: Some(call), ras: Some(own), .. } if (call, own) == (signal, ras)
        ));
    }
}

#[test]
fn kinds_of_later_versions_are_skipped_by_their_length() {
    // requestInProgress: number 5, delay 4,000 ms.
    let delayed = Message::parse(&[0x80, 5, 0, 0, 4, 0x0f, 0x9f]).expect("a message");
    assert_eq!((delayed.sequence, delayed.body), (5, Body::RequestInProgress { delay: 4000 }));
    // One whose number is beyond those that are known.
    let unknown = Message::parse(&[0x90, 2, 0xff, 0xff]).expect("a message");
    assert_eq!((unknown.sequence, unknown.body.name()), (0, "unknown"));
    // No open type, one that ends within, a number beyond the root.
    for bad in [&[0x90][..], &[0x90, 2, 0xff], &[25 << 2]] {
        assert!(Message::parse(bad).is_err());
    }
}

#[test]
fn every_cut_is_refused() {
    for whole in messages(at("192.0.2.1:1730"), at("192.0.2.1:1719")) {
        for end in 0..whole.len() {
            // What follows the address in these is not read.
            let cut = Message::parse(&whole[..end]);
            assert!(
                !matches!(cut, Ok(Message { body: Body::RegistrationRequest { .. }, .. })),
                "{end} octets"
            );
            assert!(!matches!(cut, Ok(Message { body: Body::AdmissionConfirm { .. }, .. })), "{end} octets");
        }
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        which in 0_usize..10,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut encoding = messages(at("192.0.2.1:1730"), at("[2001:db8::1]:1719"))[which].clone();
        for (place, value) in damage {
            let place = place.index(encoding.len());
            encoding[place] = value;
        }
        let _ = Message::parse(&encoding);
    }
}

/// A message of this kind, whose root is written by `root`, with additions, if any.
fn message(
    kind: u32,
    optional: &[bool],
    known: u32,
    root: impl FnOnce(&mut Writer),
    additions: &[(u32, Vec<u8>)],
) -> Vec<u8> {
    encode(|w| {
        w.choice(kind, 5).preamble(known > 0, optional).u16(6);
        root(w);
        if known > 0 {
            w.additions(known, additions);
        }
    })
}

fn confirmed(w: &mut Writer) {
    w.bits(0, 2).u8(10).choice(1, 1); // bandWidth, callModel: gatekeeperRouted
    w.choice(0, 3).octets(&[192, 0, 2, 1]).u16(1720);
}

#[test]
fn additions_nobody_needs_may_hold_anything() {
    let noise = || vec![0xff; 40];
    // destinationInfo, alternateEndpoints, tokens, cryptoTokens, featureSet, genericData, and unknown ones.
    for index in [0, 4, 5, 6, 19, 20, 22, 40, 63] {
        for octets in [vec![], noise(), vec![2, 0, 0]] {
            let encoding = message(10, &[false; 2], 64, confirmed, &[(index, octets)]);
            let message = Message::parse(&encoding).expect("a message");
            let Body::AdmissionConfirm(admission) = message.body else { panic!("{message:?}") };
            assert_eq!(admission.destination, Some(at("192.0.2.1:1720")));
            assert_eq!((admission.model, admission.bandwidth), (CallModel::GatekeeperRouted, 10));
            assert_eq!(admission.alternates.iter().count(), 0, "{index}");
        }
    }
    let noise = message(10, &[false; 2], 0, |w| _ = w.bits(0, 2).u8(10).choice(1, 1).choice(0, 3).u8(1), &[]);
    assert!(Message::parse(&noise).is_err(), "a bad address");
}

#[test]
fn lives_and_identifiers_must_be_good() {
    let registered = |w: &mut Writer| {
        w.bytes(&[0, 8, 0x91, 0x4a, 0, 4]).length(0).bits(0, 7).u16(u16::from(b'E'));
    };
    let with = |index, octets: &[u8]| {
        let encoding = message(4, &[false; 3], 20, registered, &[(index, octets.to_vec())]);
        Message::parse(&encoding).map(|message| match message.body {
            Body::RegistrationConfirm { time_to_live, pre_granted, .. } => (time_to_live, pre_granted),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(with(1, &[0xc0, 0, 0, 0, 9]), Ok((Some(10), None)));
    // Five octets, in a number of four; none.
    assert!(with(1, &[]).is_err() && with(1, &[0xc0, 1]).is_err());
    let granted = PreGranted {
        make_call: true,
        make_through_gatekeeper: true,
        answer_call: false,
        answer_through_gatekeeper: true,
    };
    assert_eq!(with(6, &[0b0110_1000]), Ok((None, Some(granted))));
    // Whoever cannot read what is granted has been granted nothing.
    assert_eq!(with(6, &[]), Ok((None, None)));
    let asked = |w: &mut Writer| {
        w.bits(0, 7).u16(1).octets(&CALL).u16(7).choice(0, 2);
    };
    assert!(Message::parse(&message(15, &[false], 1, asked, &[(0, vec![0, 1])])).is_err());
}

#[test]
fn whoever_else_may_be_asked_or_called() {
    let place = |w: &mut Writer, last: u8| _ = w.choice(0, 3).octets(&[192, 0, 2, last]).u16(1720);
    let endpoints = encode(|w| {
        w.length(3);
        // One with an alias, addresses, and a priority; one without addresses; one with one of each.
        w.preamble(false, &[false, true, true, false, false, false, false, true, false, false]);
        w.length(1).choice(1, 1).u8(0).octets(&[0, b'x']);
        w.length(2);
        place(w, 2);
        place(w, 3);
        w.bits(7, 7);
        w.preamble(false, &[false; 10]);
        w.preamble(false, &[false, false, true, true, false, false, false, false, false, false]).length(3);
        (4..=6).for_each(|last| place(w, last));
        w.length(1);
        place(w, 7);
    });
    let encoding = message(10, &[false; 2], 23, confirmed, &[(4, endpoints.clone())]);
    let Body::AdmissionConfirm(admission) = Message::parse(&encoding).expect("a message").body else {
        panic!("another message")
    };
    // No more than four are kept.
    let wanted = (2..=5).map(|last| at(&format!("192.0.2.{last}:1720")));
    assert!(admission.alternates.iter().eq(wanted.clone()));

    let both = |w: &mut Writer| {
        place(w, 1);
        place(w, 1);
    };
    let encoding = message(19, &[false], 17, both, &[(4, endpoints)]);
    let Body::LocationConfirm { alternates, .. } = Message::parse(&encoding).expect("a message").body else {
        panic!("another message")
    };
    assert!(alternates.iter().eq(wanted));

    let gatekeepers = encode(|w| {
        w.length(2);
        for last in [8, 9] {
            w.preamble(false, &[true]);
            place(w, last);
            w.bits(0, 7).u16(u16::from(b'G')).bits(0, 8);
        }
    });
    let confirmed = |w: &mut Writer| {
        w.bytes(&[0, 8, 0x91, 0x4a, 0, 4]);
        place(w, 1);
    };
    let encoding = message(1, &[false; 2], 11, confirmed, &[(0, gatekeepers)]);
    let Body::GatekeeperConfirm { alternates, .. } = Message::parse(&encoding).expect("a message").body
    else {
        panic!("another message")
    };
    assert!(alternates.iter().eq([at("192.0.2.8:1720"), at("192.0.2.9:1720")]));
}

#[test]
fn an_incoming_call_told_of_by_h460_18_is_known() {
    let indication = encode(|w| {
        w.added(5, |w| {
            w.preamble(false, &[false, false, false, false, false, false, false, true]).u16(2).length(0);
            w.length(1).preamble(false, &[false]).choice(0, 2).bool(false).u16(18);
        });
    });
    let message = Message::parse(&indication).expect("a message");
    assert_eq!((message.sequence, message.body), (3, Body::ServiceControlIndication));
    assert!(message.features.has(18));
}
