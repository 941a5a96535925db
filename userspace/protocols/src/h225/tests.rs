//! Call signalling messages as they ought to be, and as they ought not.

use proptest::prelude::*;

use super::*;
use crate::build::{self, Call, Media, Parts};
use crate::h245::OpenLogicalChannel;
use crate::q931;
use crate::writer::{Writer, encode};

const CALL: Call = Call { reference: 77, id: *b"0123456789abcdef" };

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn here() -> Media {
    Media { rtp: at("192.0.2.1:17000"), rtcp: at("192.0.2.1:17001") }
}

/// The H.225.0 part of a TPKT.
fn user_user(frame: &[u8]) -> Vec<u8> {
    q931::Message::parse(&frame[4..]).expect("Q.931").user_user.expect("User-User").to_vec()
}

/// Everything that can be in a message.
fn full(address: &str) -> Parts {
    Parts {
        h245_address: Some(at(address)),
        fast_start: build::proposals(here()),
        tunnelling: true,
        h245_control: vec![build::end_session(), build::terminal_capability_set(true)],
    }
}

#[test]
fn every_message_that_tells_channels() {
    for address in ["198.51.100.7:41000", "[2001:db8::7]:41000"] {
        let parts = full(address);
        let messages = [
            (Body::Setup, build::setup(&CALL, &parts)),
            (Body::CallProceeding, build::call_proceeding(&CALL, &parts)),
            (Body::Alerting, build::alerting(&CALL, &parts)),
            (Body::Progress, build::progress(&CALL, &parts)),
            (Body::Connect, build::connect(&CALL, &parts)),
            (Body::Facility, build::facility(&CALL, true, &parts)),
        ];
        for (body, frame) in messages {
            let encoding = user_user(&frame);
            let message = Message::parse(&encoding).expect("a message");
            assert_eq!(message.body, body);
            assert_eq!(message.call, Some(Guid(CALL.id)));
            assert_eq!(message.h245_address, Some(at(address)), "{body:?}");
            assert!(message.tunnelling);
            assert!(message.fast_start.eq(parts.fast_start.iter().map(Vec::as_slice)), "{body:?}");
            assert!(message.h245_control.eq(parts.h245_control.iter().map(Vec::as_slice)), "{body:?}");
        }
    }
}

#[test]
fn a_release_has_its_identifier() {
    let encoding = user_user(&build::release_complete(&CALL, false, &Parts::default()));
    let message = Message::parse(&encoding).expect("a message");
    assert_eq!((message.body, message.call), (Body::ReleaseComplete, Some(Guid(CALL.id))));
}

#[test]
fn a_forwarding_tells_where_to() {
    for address in ["198.51.100.7:2720", "[2001:db8::7]:2720"] {
        let encoding = user_user(&build::forward(&CALL, at(address)));
        let message = Message::parse(&encoding).expect("a message");
        assert_eq!(message.facility, Some(FacilityReason::CallForwarded));
        assert_eq!((message.alternative_address, message.h245_address), (Some(at(address)), None));
    }
}

#[test]
fn names_of_a_setup() {
    let encoding = user_user(&build::setup(&CALL, &Parts::default()));
    let message = Message::parse(&encoding).expect("a message");
    assert_eq!(message.source.first().map(|alias| alias.to_string()).as_deref(), Some("1000"));
    assert_eq!(message.destination.first().map(|alias| alias.to_string()).as_deref(), Some("2000"));
}

#[test]
fn aliases_of_every_form() {
    assert_eq!(Alias::Digits(3, &[0x30, 0x1f]).to_string(), "0#*");
    assert_eq!(Alias::Utf16(&[0, b'a', 0xd8, 0, 0, b'b']).to_string(), "a\u{fffd}b");
    assert_eq!(Alias::IsupDigits(3, &[0x19, 0xe0]).to_string(), "19E");
    assert_eq!(Alias::Text(b"h323:a@b\xff").to_string(), "h323:a@b?");
    assert_eq!(Alias::Other.to_string(), "");
}

#[test]
fn an_address_cut_short_makes_the_message_unreadable() {
    let whole = user_user(&build::facility(&CALL, true, &full("198.51.100.7:41000")));
    let place = whole.windows(4).position(|window| window == [198, 51, 100, 7]).expect("the address");
    // Two octets in front of it: the length of its open type, and the choice.
    let mut cut = whole.clone();
    assert_eq!(cut[place - 2], 7);
    cut[place - 2] = 4;
    assert!(Message::parse(&cut).is_err());
}

#[test]
fn an_extension_nobody_needs_may_hold_anything() {
    let whole = user_user(&build::setup(&CALL, &Parts::default()));
    // The four BOOLEANs at the end of Setup's extensions, each in an open type of one octet.
    let place = whole.windows(8).position(|w| w == [1, 0, 1, 0, 1, 0, 1, 0]).expect("the flags");
    let mut odd = whole.clone();
    odd[place + 1] = 0xff;
    assert_eq!(Message::parse(&odd).expect("readable").call, Some(Guid(CALL.id)));
}

#[test]
fn every_cut_is_refused() {
    let whole = user_user(&build::setup(&CALL, &full("198.51.100.7:41000")));
    for end in 0..whole.len() {
        assert!(Message::parse(&whole[..end]).is_err(), "{end} octets");
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        which in 0_usize..7,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let parts = full("[2001:db8::7]:41000");
        let mut encoding = user_user(&match which {
            0 => build::setup(&CALL, &parts),
            1 => build::call_proceeding(&CALL, &parts),
            2 => build::alerting(&CALL, &parts),
            3 => build::connect(&CALL, &parts),
            4 => build::facility(&CALL, true, &parts),
            5 => build::progress(&CALL, &parts),
            _ => build::release_complete(&CALL, true, &parts),
        });
        for (place, value) in damage {
            let place = place.index(encoding.len());
            encoding[place] = value;
        }
        if let Ok(message) = Message::parse(&encoding) {
            prop_assert!(message.fast_start.count() < encoding.len());
            for channel in message.fast_start {
                let _ = OpenLogicalChannel::parse(channel);
            }
        }
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::parse(&noise);
    }
}

/// An H323-UserInformation: h323-message-body, and H323-UU-PDU's additions, of which so many are known.
fn information(body: impl FnOnce(&mut Writer), known: u32, additions: &[(u32, Vec<u8>)]) -> Vec<u8> {
    encode(|w| {
        w.preamble(false, &[false]).preamble(known > 0, &[false]);
        body(w);
        if known > 0 {
            w.additions(known, additions);
        }
    })
}

/// Facility of a peer of version 1 (no additions), or with these.
fn facility(w: &mut Writer, known: u32, additions: &[(u32, Vec<u8>)]) {
    w.choice(6, 3).preamble(known > 0, &[false; 3]).bytes(&[0, 8, 0x91, 0x4a, 0, 1]).choice(1, 2);
    if known > 0 {
        w.additions(known, additions);
    }
}

#[test]
fn a_peer_of_the_first_version_has_no_additions() {
    let encoding = information(|w| facility(w, 0, &[]), 0, &[]);
    let message = Message::parse(&encoding).expect("a message");
    assert_eq!((message.facility, message.call), (Some(FacilityReason::CallForwarded), None));
}

#[test]
fn additions_of_later_versions_are_skipped_by_their_length() {
    let noise = vec![0xff; 200];
    let identifier = encode(|w| _ = w.preamble(false, &[]).octets(&CALL.id));
    let additions = [(0, identifier), (40, noise.clone()), (63, noise.clone())];
    let control = vec![1, 1, 0x7f];
    let outer = [(1, vec![0x80]), (2, control), (30, noise)];
    let encoding = information(|w| facility(w, 64, &additions), 31, &outer);
    let message = Message::parse(&encoding).expect("a message");
    assert_eq!((message.call, message.tunnelling), (Some(Guid(CALL.id)), true));
    assert!(message.h245_control.eq([&[0x7f][..]]));
}

#[test]
fn bodies_of_later_versions_are_skipped_by_their_length() {
    for index in [6, 13, 63] {
        let body = |w: &mut Writer| _ = w.added(index, |w| _ = w.octets(&[0xff; 150]));
        let encoding = information(body, 3, &[(1, vec![0x80])]);
        let message = Message::parse(&encoding).expect("a message");
        assert_eq!((message.body.name(), message.tunnelling), ("unknown", true));
    }
    // The 64th would be the last: a greater number has another form.
    let encoding =
        encode(|w| _ = w.preamble(false, &[false]).preamble(false, &[false]).bool(true).bits(64, 7));
    assert_eq!(Message::parse(&encoding).expect_err("refused").fault, Fault::Extensions);
}

#[test]
fn bodies_that_say_little_are_told_apart() {
    for (index, name) in
        [(1, "empty"), (2, "status"), (3, "statusInquiry"), (4, "setupAcknowledge"), (5, "notify")]
    {
        let body = |w: &mut Writer| {
            w.added(index, |w| {
                w.preamble(false, &[true, false]).bytes(&[0, 8, 0x91, 0x4a, 0, 5]);
                w.preamble(false, &[]).octets(&CALL.id);
                // tokens: one that cannot be read
                w.length(1).bytes(&[]);
            });
        };
        let encoding = information(body, 0, &[]);
        let message = Message::parse(&encoding).expect("a message");
        assert_eq!(message.body.name(), name);
        assert_eq!(message.call, (name != "empty").then_some(Guid(CALL.id)));
    }
}

#[test]
fn a_field_that_nobody_needs_may_hold_anything_and_an_address_may_not() {
    let with = |index: u32, octets: &[u8]| {
        let encoding = information(|w| facility(w, 16, &[(index, octets.to_vec())]), 9, &[(8, vec![9, 9])]);
        Message::parse(&encoding).map(|message| (message.h245_address, message.tokens, message.features))
    };
    // tokens, cryptoTokens, conferences, multipleCalls, maintainConnection, serviceControl, featureSet, destinationInfo
    for index in [3, 4, 5, 8, 9, 11, 13, 14] {
        for octets in [&[][..], &[0xff; 3], &[0xc1, 0xff]] {
            let read = with(index, octets);
            assert!(read.is_ok_and(|(address, ..)| address.is_none()), "{index} {octets:?}");
        }
    }
    // h245Address: nothing, a number that no alternative has, one cut short.
    for octets in [&[][..], &[0x70], &[0x00, 192, 0, 2]] {
        assert!(with(6, octets).is_err(), "{octets:?}");
    }
    // A form of address that a later version has.
    assert_eq!(with(6, &[0x80, 1, 0xff]).map(|(address, ..)| address), Ok(None));
    // callIdentifier and fastStart are needed too.
    assert!(with(0, &[0, 1]).is_err() && with(7, &[2, 1]).is_err());
}

#[test]
fn features_and_tokens_are_seen() {
    // A FeatureSet with H.460.18 and .19, one told by an object identifier, and H.460.9 with parameters.
    let standard = |w: &mut Writer, number: u16, parameters: bool| {
        w.preamble(false, &[parameters]).choice(0, 2).bool(false).u16(number);
    };
    let set = encode(|w| {
        w.preamble(false, &[true, false, true]).bool(false).length(2);
        standard(w, 18, false);
        standard(w, 19, false);
        w.length(2).preamble(false, &[false]).choice(1, 2).bytes(&[1, 2, 3]);
        standard(w, 9, true);
        // Two parameters: one without content; one of one generic data that has none.
        w.u16(1);
        w.preamble(false, &[false]).choice(0, 2).bool(false).u16(1);
        w.preamble(false, &[true]).choice(0, 2).bool(false).u16(2).choice(11, 4).bits(0, 4);
        standard(w, 1, false);
    });
    let generic = encode(|w| {
        w.length(1);
        standard(w, 24, false);
    });
    let token = vec![1, 0xff, 0xff];
    let encoding =
        information(|w| facility(w, 16, &[(3, token), (4, vec![0]), (13, set)]), 9, &[(8, generic)]);
    let message = Message::parse(&encoding).expect("a message");
    assert_eq!(message.features.iter().collect::<Vec<_>>(), [9, 18, 19, 24]);
    assert!(message.features.has(18) && !message.features.has(20) && !message.features.has(255));
    assert_eq!(message.tokens, Tokens { clear: true, crypto: false });
}

#[test]
fn parameters_within_parameters_have_an_end() {
    // compound, within compound, and so on: each a parameter whose content is one parameter.
    let nested = |depth: usize| {
        encode(|w| {
            w.length(1).preamble(false, &[true]).choice(0, 2).bool(false).u16(18).u16(0);
            for _ in 0..depth {
                w.preamble(false, &[true]).choice(0, 2).bool(false).u16(1).choice(10, 4).u16(0);
            }
            w.preamble(false, &[false]).choice(0, 2).bool(false).u16(1);
        })
    };
    let mut features = Features::default();
    let mut read = |depth| features.generic_data(&mut Reader::new(&nested(depth)));
    assert_eq!(read(5), Ok(()));
    assert_eq!(read(4_000).expect_err("refused").fault, Fault::Depth);
    // In a message it harms nothing.
    let encoding = information(|w| facility(w, 0, &[]), 9, &[(8, nested(1_000))]);
    assert!(Message::parse(&encoding).is_ok_and(|message| message.features.has(18)));
}

#[test]
fn fields_that_follow_tokens_are_found_behind_them() {
    let params = |w: &mut Writer| _ = w.preamble(false, &[false, true]).octets(&[7; 8]);
    let fast_start = strings(&[b"one", b"two"]);
    let body = |w: &mut Writer| {
        w.added(0, |w| {
            w.preamble(false, &[false, false, true, true, true]).bytes(&[0, 8, 0x91, 0x4a, 0, 5]);
            w.preamble(false, &[false; 6]).bits(0, 2); // destinationInfo
            w.preamble(false, &[]).octets(&CALL.id);
            // tokens: one that says nothing
            w.length(1).preamble(false, &[false; 8]);
            w.bytes(&[1, 2, 3]);
            // cryptoTokens: a hash for an endpoint, something signed, and something of a later version
            w.length(3).choice(0, 3);
            w.choice(0, 1).bits(0, 7).octets(&[]).bits(3, 4); // alias: 0
            w.bits(0, 2).u8(9).bytes(&[1, 2]); // time, algorithm
            params(w);
            w.length(12).bits(0xfff, 12);
            w.choice(6, 3).bytes(&[1, 2, 3, 4]).bytes(&[1]);
            params(w);
            w.length(8).octets(&[0xaa]);
            w.added(0, |w| _ = w.octets(&[1, 2, 3]));
            w.octets(&fast_start);
        });
    };
    let encoding = information(body, 0, &[]);
    let message = Message::parse(&encoding).expect("a message");
    assert!(message.fast_start.eq([&b"one"[..], b"two"]));
    assert_eq!(message.tokens, Tokens { clear: true, crypto: true });
}

/// A SEQUENCE OF OCTET STRING.
fn strings(strings: &[&[u8]]) -> Vec<u8> {
    encode(|w| {
        w.length(strings.len());
        strings.iter().for_each(|string| _ = w.bytes(string));
    })
}

#[test]
fn a_list_longer_than_its_message_is_refused_and_so_is_an_endless_one() {
    let with = |octets: Vec<u8>| {
        let encoding = information(|w| facility(w, 0, &[]), 3, &[(2, octets)]);
        Message::parse(&encoding).map(|message| message.h245_control.count()).map_err(|error| error.fault)
    };
    assert_eq!(with(vec![0xbf, 0xff]), Err(Fault::Truncated));
    assert_eq!(with(vec![0xc4]), Err(Fault::Fragmented));
    // Ten thousand messages of no octets.
    let mut many = vec![0xa7, 0x10];
    many.resize(2 + 10_000, 0);
    assert_eq!(with(many), Err(Fault::Budget));
    let mut few = vec![0x84, 0x00];
    few.resize(2 + 1_024, 0);
    assert_eq!(with(few), Ok(1_024));
}

#[test]
fn aliases_that_are_told_in_additions() {
    let party_number = |w: &mut Writer| {
        // e164Number, nationalNumber, digits 2000
        w.choice(0, 3).choice(2, 3).bits(3, 7).octets(&[0x53, 0x33]);
    };
    let encoding = encode(|w| {
        w.length(6);
        w.added(3, party_number);
        w.added(0, |w| _ = w.u16(2).octets(b"a@b"));
        w.added(1, |w| _ = w.choice(0, 3).octets(&[192, 0, 2, 1]).u16(1720));
        w.added(5, |w| _ = w.choice(1, 3).bits(1, 7).octets(&[0x1e]));
        w.added(0, |w| _ = w.octets(&[0xff]));
        w.added(9, |w| _ = w.octets(&[0xff]));
    });
    let aliases = Aliases::read(&mut Reader::new(&encoding)).expect("aliases");
    let told: Vec<_> = aliases.iter().map(|alias| alias.to_string()).collect();
    assert_eq!(told, ["2000", "a@b", "192.0.2.1:1720", "1E", "", ""]);
}
