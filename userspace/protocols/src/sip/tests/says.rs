//! What a message says beyond the fields every message needs.

use super::*;
use crate::sip::says::{Event, RAck, Reason, Refresher, SubscriptionState};

fn with(fields: &str) -> Vec<u8> {
    message(INVITE, fields, "")
}

#[test]
fn credentials_and_challenges_are_read() {
    let bytes = with(
        "Authorization: Digest username=\"bob, \\\"the\\\" builder\",\r\n realm = \"a, b=c;d\" , NONCE=\"n\",\
         uri=\"sip:a@b,c\",qop=auth, response=\"6629fae49393a05397450978507c4ef1\"\r\n\
         Proxy-Authorization: Digest username*=UTF-8''J%C3%A4s,realm=\"p\"\r\nAuthorization: Bearer e30.x\r\n\
         WWW-Authenticate: Digest realm=\"r\", nonce=\"x\", stale=TRUE\r\n\
         Proxy-Authenticate: Digest realm=\"q\",stale=false,nonce=\"y\"\r\n",
    );
    let message = parse(&bytes).expect("valid");
    assert!(message.has_credentials());
    let [own, bearer, proxy] = &message.credentials().collect::<Vec<_>>()[..] else { panic!("three") };
    assert_eq!((own.proxy, own.scheme), (false, &b"Digest"[..]));
    assert_eq!(own.username(), Some(&br#"bob, \"the\" builder"#[..]));
    assert_eq!((own.realm(), own.nonce()), (Some(&b"a, b=c;d"[..]), Some(&b"n"[..])));
    assert_eq!(own.parameter("URI"), Some(&b"sip:a@b,c"[..]));
    assert_eq!(own.response(), Some(&b"6629fae49393a05397450978507c4ef1"[..]));
    assert_eq!((bearer.scheme, bearer.username()), (&b"Bearer"[..], None));
    assert_eq!((proxy.proxy, proxy.username()), (true, Some(&b"UTF-8''J%C3%A4s"[..])));
    let challenges: Vec<_> =
        message.challenges().map(|c| (c.proxy, c.realm(), c.nonce(), c.is_stale())).collect();
    let [r, q, x, y] = [b"r", b"q", b"x", b"y"].map(|text| Some(&text[..]));
    assert_eq!(challenges, [(false, r, x, true), (true, q, y, false)]);
    let bytes = with("");
    let message = parse(&bytes).expect("valid");
    assert!(!message.has_credentials() && message.credentials().next().is_none());
}

#[test]
fn subscriptions_are_read() {
    let bytes =
        with("o: refer ; id=93809824\r\nSubscription-State: Terminated;reason=noresource;expires=60\r\n");
    let message = parse(&bytes).expect("valid");
    assert_eq!(message.event(), Some(Event { package: "refer", id: Some("93809824") }));
    let state = message.subscription_state().expect("there");
    let want = SubscriptionState { state: "Terminated", expires: Some(60), reason: Some("noresource") };
    assert_eq!((state, state.is_terminated()), (want, true));
    for (fields, field) in
        [("o: a\r\nEvent: b\r\n", Field::Event), ("r: <sip:a@b>\r\nRefer-To: <sip:c@d>\r\n", Field::ReferTo)]
    {
        assert_eq!(error(&with(fields)), Error::Duplicate(field), "readers might take either");
    }
    let bytes = with("Event: ;id=1\r\nSubscription-State: \r\n");
    let message = parse(&bytes).expect("valid");
    assert_eq!((message.event(), message.subscription_state()), (None, None));
}

#[test]
fn dialogs_to_be_replaced_are_read() {
    let bytes = with("Replaces: 98732@a.example ;from-tag=r33th4x0r; to-tag=ff87ff;early-only\r\n");
    let replaces = parse(&bytes).expect("valid").replaces().expect("readable");
    assert_eq!((&replaces.call_id[..], &replaces.to_tag[..]), ("98732@a.example", "ff87ff"));
    assert_eq!((&replaces.from_tag[..], replaces.early_only), ("r33th4x0r", true));
    let bytes = with(
        "Refer-To: <sip:c@c.example;x=y?a=b&%52eplaces=1%40a.example%3Bto-tag%3D7%3Bfrom-tag%3D%31&Require=replaces>\r\n\
         b: <sip:r@r.example>\r\nRefer-Sub: false\r\nJoin: 5;to-tag=1;from-tag=2\r\n",
    );
    let message = parse(&bytes).expect("valid");
    let replaces = message.refer_replaces().expect("readable");
    assert_eq!((&replaces.call_id[..], &replaces.to_tag[..]), ("1@a.example", "7"));
    assert_eq!((&replaces.from_tag[..], replaces.early_only), ("1", false));
    assert_eq!(message.referred_by().map(|address| address.uri), Some("sip:r@r.example"));
    assert!(!message.refer_sub() && message.replaces().is_none());
    assert_eq!(message.join().map(|join| join.call_id.into_owned()), Some("5".to_owned()));
    for bad in ["", ";to-tag=1;from-tag=2", "a b;to-tag=1;from-tag=2", "a;to-tag=1", "a;from-tag=2;to-tag"] {
        let bytes = with(&format!("Replaces: {bad}\r\n"));
        let message = parse(&bytes).expect("valid");
        assert!(message.has_replaces() && message.replaces().is_none(), "{bad}");
    }
}

#[test]
fn provisional_responses_are_matched() {
    let bytes = message("SIP/2.0 183 Progress", "RSeq: 988789\r\nRequire: foo, 100rel\r\n", "");
    let response = parse(&bytes).expect("valid");
    assert!(response.is_reliable());
    assert_eq!(response.rseq(), Some(988_789));
    for fields in ["RSeq: 1\r\n", "Require: 100rel\r\n", "RSeq: 1\r\nSupported: 100rel\r\n"] {
        assert!(
            !parse(&message("SIP/2.0 183 Progress", fields, "")).expect("valid").is_reliable(),
            "{fields}"
        );
    }
    let bytes = with("RAck: 776656\t1  INVITE\r\n");
    let rack = RAck { rseq: 776_656, cseq: 1, method: Method::Invite };
    assert_eq!(parse(&bytes).expect("valid").rack(), Some(rack));
    for bad in ["", "1", "1 2", "1 2 INVITE x", "4294967296 2 INVITE", "-1 2 INVITE"] {
        assert_eq!(parse(&with(&format!("RAck: {bad}\r\n"))).expect("valid").rack(), None, "{bad}");
    }
}

#[test]
fn times_are_read() {
    let bytes = with(
        "x: 1800 ; refresher=UAC\r\nMin-SE: 90;x\r\nMin-Expires:60\r\nRetry-After: 18000 (I'm busy; really);duration=3600\r\n\
         Expires: 99999999999999999999999\r\n",
    );
    let message = parse(&bytes).expect("valid");
    assert_eq!((message.session_expires(), message.refresher()), (Some(1_800), Some(Refresher::Uac)));
    assert_eq!((message.min_se(), message.min_expires()), (Some(90), Some(60)));
    assert_eq!((message.retry_after(), message.expires()), (Some(18_000), Some(u32::MAX)));
    let message = parse(&with("Expires: -1\r\nx: soon\r\n")).expect("valid").expires();
    assert_eq!(message, None);
}

#[test]
fn lists_of_tokens_are_read_over_several_fields() {
    let bytes = with(
        "k: 100rel ,timer\r\nSupported:\r\nSupported: , Replaces\r\nRequire: outbound\r\nAllow: INVITE,BYE\r\n",
    );
    let message = parse(&bytes).expect("valid");
    assert_eq!(message.supported().collect::<Vec<_>>(), ["100rel", "timer", "Replaces"]);
    assert!(message.supports("replaces") && message.supports("outbound") && !message.supports("path"));
    assert!(message.requires("outbound") && !message.requires("timer"));
    assert_eq!(message.allowed().collect::<Vec<_>>(), ["INVITE", "BYE"]);
    assert_eq!((message.unsupported().count(), message.proxy_required().count()), (0, 0));
    assert_eq!((message.values(Field::Supported).count(), message.field_count()), (3, 10));
}

#[test]
fn reasons_are_read() {
    let bytes = with(
        "Reason: SIP ;cause=200 ;text=\"Call, completed; elsewhere\" , Q.850;cause=16\r\nReason: X;cause=99999\r\n",
    );
    let reasons: Vec<_> = parse(&bytes).expect("valid").reasons().collect();
    let text = Some(&b"Call, completed; elsewhere"[..]);
    let want = [("SIP", Some(200), text), ("Q.850", Some(16), None), ("X", None, None)];
    assert_eq!(reasons, want.map(|(protocol, cause, text)| Reason { protocol, cause, text }));
}

#[test]
fn contacts_say_how_much_they_are_wanted() {
    for (q, want) in [
        ("0", Some(0)),
        ("0.5", Some(500)),
        ("0.05", Some(50)),
        ("0.123", Some(123)),
        ("1", Some(1_000)),
        ("1.000", Some(1_000)),
        ("1.", Some(1_000)),
        ("1.001", None),
        ("0.1234", None),
        ("2", None),
        (".5", None),
        ("-1", None),
        ("0.x", None),
    ] {
        let bytes = with(&format!("Contact: <sip:a@h>;Q={q};expires=7\r\n"));
        let contact = parse(&bytes).expect("valid").contacts().next().expect("one").expect("readable");
        assert_eq!((contact.q(), contact.expires), (want, Some(7)), "{q}");
    }
    let bytes = with("m: *\r\n");
    assert!(parse(&bytes).expect("valid").contacts().next().expect("one").expect("readable").is_wildcard());
}

#[test]
fn who_is_meant_is_read_from_any_uri() {
    for (uri, want) in [
        ("tel:+49-30-123;phone-context=example.com", Some("+49-30-123")),
        ("TEL:7042", Some("7042")),
        ("sips:alice:secret@h;user=phone", Some("alice")),
        ("sip:+4930123;isub=1@h", Some("+4930123;isub=1")),
        ("sip:h", None),
        ("tel:", None),
        ("urn:service:sos", None),
        ("*", None),
    ] {
        assert_eq!(user_of(uri), want, "{uri}");
    }
    for (text, want) in [
        ("%31%33", "13"),
        ("a%2", "a%2"),
        ("%zz%", "%zz%"),
        ("%c3%bc", "\u{fc}"),
        ("%fc", "%fc"),
        ("%00", "\0"),
        ("%%30", "%0"),
    ] {
        assert_eq!(unescape(text), want, "{text}");
    }
}

#[test]
fn the_longest_uri_counts_wherever_it_stands() {
    let long = format!("sip:{}@h", "x".repeat(300));
    for field in ["Contact", "Route", "Record-Route", "Refer-To", "Referred-By"] {
        let bytes = with(&format!("{field}: <sip:a@h>\r\n{field}x: <{long}>\r\n"));
        assert!(parse(&bytes).expect("valid").longest_uri() < 300, "{field}");
        let bytes = with(&format!("{field}: \"x\" <{long}>\r\n"));
        assert_eq!(parse(&bytes).expect("valid").longest_uri(), long.len(), "{field}");
    }
    let bytes = message(&format!("INVITE {long} SIP/2.0"), "Route: <sip:a@h>, <sip:b@h;lr>\r\n", "");
    let message = parse(&bytes).expect("valid");
    assert_eq!((message.longest_uri(), message.routes().count()), (long.len(), 2));
}

#[test]
fn fields_are_found_again() {
    let bytes = with(
        "X-One: 1\r\n 2\r\nuser-agent: friendly\r\nServer: s\r\nP-Asserted-Identity: \"A\" <sip:a@h>, <tel:+1>\r\n",
    );
    let message = parse(&bytes).expect("valid");
    let one = message.fields().find(|(name, _)| name.eq_ignore_ascii_case(b"x-one"));
    assert_eq!(one, Some((&b"X-One"[..], &b"1\r\n 2"[..])));
    assert_eq!((message.user_agent(), message.server()), (Some(&b"friendly"[..]), Some(&b"s"[..])));
    let users: Vec<_> = message.asserted_identities().map(|who| who.expect("readable").user()).collect();
    assert_eq!(users, [Some("a"), Some("+1")]);
    assert_eq!(message.fields().count(), message.field_count());
    assert!(message.has(Field::Server) && !message.has(Field::Route));
}
