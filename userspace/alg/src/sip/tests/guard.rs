//! Who guesses: the messages of svmap, svwar and svcrack (SIPVicious), and of honest clients beside them.

use callgate_rules::inspect::sip::Guard as Consequence;

use super::control::Ruled;
use super::*;
use crate::event::EventKind;

const SCANNER: &str = "203.0.113.9:5060";

/// svmap: `OPTIONS` to one server after the other, from and to the same made-up user.
fn svmap(server: &str, n: u32) -> String {
    format!(
        "OPTIONS sip:100@{server} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK-{n};rport\r\n\
         Max-Forwards: 70\r\nTo: \"sipvicious\"<sip:100@1.1.1.1>\r\n\
         From: \"sipvicious\"<sip:100@1.1.1.1>;tag=3533{n}\r\nUser-Agent: friendly-scanner\r\n\
         Call-ID: 72{n}\r\nContact: sip:100@203.0.113.9:5060\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// svwar: one extension after the other is registered, or called, without credentials.
fn svwar(method: &str, agent: &str, extension: u32) -> String {
    format!(
        "{method} sip:{extension}@198.51.100.7 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK-w{extension};rport\r\nMax-Forwards: 70\r\n\
         To: \"{extension}\"<sip:{extension}@198.51.100.7>\r\n\
         From: \"{extension}\"<sip:{extension}@198.51.100.7>;tag=3{extension}\r\nUser-Agent: {agent}\r\n\
         Call-ID: 31{extension}\r\nContact: \"{extension}\"<sip:{extension}@198.51.100.7>\r\nCSeq: 1 {method}\r\n\
         Accept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    )
}

/// svcrack: an extension is registered with one password after the other, to the server's latest nonce.
fn svcrack(n: u32, nonce: &str) -> String {
    let authorization = format!(
        "Authorization: Digest username=\"100\",realm=\"asterisk\",nonce=\"{nonce}\",uri=\"sip:198.51.100.7\",\
         response=\"{n:032x}\",algorithm=MD5\r\n"
    );
    format!(
        "REGISTER sip:198.51.100.7 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK-c{n};rport\r\nMax-Forwards: 70\r\n\
         To: \"100\"<sip:100@198.51.100.7>\r\nFrom: \"100\"<sip:100@198.51.100.7>;tag=9{n}\r\n\
         User-Agent: phone\r\nCall-ID: 55\r\nContact: sip:123@1.1.1.1\r\nCSeq: {n} REGISTER\r\n{authorization}\
         Content-Length: 0\r\n\r\n"
    )
}

/// The server's response to a request.
fn answer(request: &str, status: u16, more: &str) -> String {
    let kept = ["Via:", "From:", "Call-ID:", "CSeq:"];
    let mut text = format!("SIP/2.0 {status} Reason\r\n");
    for line in request.lines() {
        if kept.iter().any(|name| line.starts_with(name)) {
            text.push_str(&format!("{line}\r\n"));
        } else if line.starts_with("To:") {
            text.push_str(&format!("{line};tag=srv\r\n"));
        }
    }
    format!("{text}{more}Content-Length: 0\r\n\r\n")
}

fn challenge(nonce: &str) -> String {
    format!("WWW-Authenticate: Digest algorithm=MD5, realm=\"asterisk\", nonce=\"{nonce}\"\r\n")
}

/// Sends it, and what the server says to it.
fn exchange(ruled: &mut Ruled, transport: Transport, from: &str, request: &str, status: u16, more: &str) {
    assert_eq!(ruled.try_over(transport, from, BOB, request), Verdict::Pass);
    assert_eq!(ruled.try_over(transport, BOB, from, &answer(request, status, more)), Verdict::Pass);
}

fn accused(ruled: &Ruled) -> Vec<(String, bool, String)> {
    let suspects = ruled.suspects.iter();
    suspects.map(|suspect| (suspect.source.to_string(), suspect.proven, suspect.text.clone())).collect()
}

#[test]
fn svmap_is_found_by_what_it_says_of_itself() {
    let mut ruled = Ruled::new("scanners = [\"friendly-scanner\"]");
    let verdict = ruled.try_over(Transport::Udp, SCANNER, BOB, &svmap("198.51.100.7", 1));
    assert!(matches!(verdict, Verdict::Refuse(denial) if denial.reply.is_none()), "nothing is said");
    let expected = ("203.0.113.9".to_owned(), false, "a scanner: friendly-scanner".to_owned());
    assert_eq!(accused(&ruled), [expected]);
    assert!(ruled.events.iter().any(|event| event.kind == EventKind::Attack));
    assert_eq!(ruled.suspects[0].life, Duration::from_secs(600));
    // Said once, however often it comes.
    ruled.try_over(Transport::Udp, SCANNER, BOB, &svmap("198.51.100.7", 2));
    assert_eq!(ruled.suspects.len(), 1);
    Ruled::new("").try_over(Transport::Udp, SCANNER, BOB, &svmap("198.51.100.7", 1));
}

#[test]
fn svmap_is_found_by_its_sweep() {
    let sweep = |ruled: &mut Ruled, from: &str, servers: u32| {
        for n in 1..=servers {
            let server = format!("198.51.100.{n}");
            let to = format!("{server}:5060");
            let message = svmap(&server, n).replace("friendly-scanner", "phone");
            assert_eq!(ruled.try_over(Transport::Udp, from, &to, &message), Verdict::Pass);
        }
    };
    let mut ruled = Ruled::new("");
    sweep(&mut ruled, SCANNER, 64);
    assert_eq!(accused(&ruled), []);
    sweep(&mut ruled, SCANNER, 65);
    let text = "more than 64 addresses were tried within a minute".to_owned();
    assert_eq!(accused(&ruled), [("203.0.113.9".to_owned(), false, text)]);

    // A registrar has many clients.
    let mut ruled = Ruled::new("");
    register(&mut ruled, ALICE, "203.0.113.9:5060");
    sweep(&mut ruled, SCANNER, 200);
    assert_eq!(accused(&ruled), []);
}

/// Alice's telephone registers with a server.
fn register(ruled: &mut Ruled, phone: &str, server: &str) {
    let contact = format!("Contact: <sip:alice@{phone}>;expires=3600");
    let register = request("REGISTER", 1).header(&contact);
    for (from, to, message) in [(phone, server, register.clone()), (server, phone, register.reply(200, "r"))]
    {
        assert_eq!(ruled.try_over(Transport::Udp, from, to, &message.text()), Verdict::Pass);
    }
    assert_eq!(ruled.lab.tracker.bindings().count(), 1);
}

#[test]
fn svwar_is_found_whatever_the_server_says() {
    for (method, status) in
        [("REGISTER", 404), ("REGISTER", 401), ("INVITE", 404), ("OPTIONS", 404), ("INVITE", 407)]
    {
        let mut ruled = Ruled::new("");
        for extension in 100..200 {
            let more =
                if matches!(status, 401 | 407) { challenge(&extension.to_string()) } else { String::new() };
            let request = svwar(method, "phone", extension);
            exchange(&mut ruled, Transport::Udp, SCANNER, &request, status, &more);
            if extension == 158 {
                assert_eq!(accused(&ruled), [], "{method} {status}");
            }
        }
        let [(source, proven, _)] = &accused(&ruled)[..] else {
            panic!("{method} {status}: {:?}", accused(&ruled))
        };
        assert_eq!((source.as_str(), *proven), ("203.0.113.9", false), "it may be forged");
    }
}

#[test]
fn svwar_over_tcp_is_no_forgery() {
    let mut ruled = Ruled::new("");
    for extension in 100..200 {
        exchange(&mut ruled, Transport::Tcp, SCANNER, &svwar("REGISTER", "phone", extension), 404, "");
    }
    let kinds: Vec<_> = ruled.suspects.iter().map(|suspect| (suspect.proven, suspect.passwords)).collect();
    assert_eq!(kinds, [(true, false)]);
}

#[test]
fn svcrack_is_found_and_cannot_deny_that_it_was_there() {
    let mut ruled = Ruled::new("account_failures = \"1000/s\"");
    exchange(&mut ruled, Transport::Udp, SCANNER, &svwar("REGISTER", "phone", 100), 401, &challenge("0"));
    for n in 1..100 {
        let request = svcrack(n, &(n - 1).to_string());
        exchange(&mut ruled, Transport::Udp, SCANNER, &request, 401, &challenge(&n.to_string()));
    }
    let [(source, proven, text)] = &accused(&ruled)[..] else { panic!("{:?}", accused(&ruled)) };
    assert_eq!((source.as_str(), *proven), ("203.0.113.9", true));
    assert_eq!(text, "too many failures: credentials were refused");
    assert!(ruled.suspects[0].passwords);
}

#[test]
fn an_account_that_is_guessed_is_used_from_where_it_is_registered_only() {
    let mut ruled = Ruled::new("account_failures = \"20/min\"\nauth_failures = \"1000/s\"");
    // The phone itself is registered, with credentials.
    let own = |n: u32| {
        let text = svcrack(n, "own").replace("sip:123@1.1.1.1", "<sip:100@192.0.2.1:5060>");
        text.replace("203.0.113.9", "192.0.2.1")
    };
    let bound = "Contact: <sip:100@192.0.2.1:5060>;expires=60\r\n";
    exchange(&mut ruled, Transport::Udp, ALICE, &own(9_000), 200, bound);
    // Guesses come from many addresses.
    let mut refused = 0;
    for n in 1..40 {
        let from = format!("203.0.113.{n}:5060");
        let request = svcrack(n, "x");
        match ruled.try_over(Transport::Udp, &from, BOB, &request) {
            Verdict::Pass => {
                let answer = answer(&request, 401, &challenge("x"));
                assert_eq!(ruled.try_over(Transport::Udp, BOB, &from, &answer), Verdict::Pass);
            }
            Verdict::Refuse(denial) => {
                assert!(denial.reply.is_some_and(|reply| reply.starts_with(b"SIP/2.0 403 ")));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((17..=19).contains(&refused), "{refused}");
    assert_eq!(accused(&ruled), [], "none of them came often");
    exchange(&mut ruled, Transport::Udp, ALICE, &own(9_001), 200, bound);
    // Time makes it good.
    ruled.lab.wait(61);
    assert_eq!(ruled.try_over(Transport::Udp, SCANNER, BOB, &svcrack(99, "y")), Verdict::Pass);
}

#[test]
fn a_phone_that_is_registered_is_not_accused_of_what_is_forged_in_its_name() {
    let mut ruled = Ruled::new("");
    register(&mut ruled, SCANNER, BOB);
    for extension in 100..300 {
        exchange(&mut ruled, Transport::Udp, SCANNER, &svwar("REGISTER", "phone", extension), 404, "");
    }
    assert_eq!(accused(&ruled), []);
}

#[test]
fn honest_clients_are_not_accused() {
    let mut ruled = Ruled::new("");
    // A site behind one address whose phones register, each challenged first; now and then a nonce is too old.
    for n in 0..300 {
        let bare = svwar("REGISTER", "phone", 1_000 + n);
        exchange(&mut ruled, Transport::Udp, SCANNER, &bare, 401, &challenge(&format!("n{n}")));
        let stale = format!("{}, stale=true\r\n", challenge(&format!("s{n}")).trim_end());
        exchange(&mut ruled, Transport::Udp, SCANNER, &svcrack(2 * n, &format!("n{n}")), 401, &stale);
        exchange(&mut ruled, Transport::Udp, SCANNER, &svcrack(2 * n + 1, &format!("s{n}")), 200, "");
    }
    assert_eq!(accused(&ruled), []);
    // A PBX that asks two hundred others whether they are there.
    for n in 0..200 {
        let (to, text) = (
            format!("198.51.{}.{}:5060", n / 100, n % 100),
            svmap("198.51.100.7", n).replace("friendly-scanner", "pbx"),
        );
        assert_eq!(ruled.try_over(Transport::Udp, PROXY, &to, &text), Verdict::Pass);
        assert_eq!(ruled.try_over(Transport::Udp, &to, PROXY, &answer(&text, 200, "")), Verdict::Pass);
    }
    assert_eq!(accused(&ruled), []);
    // A trunk of which one call in three finds nobody.
    for n in 0..600 {
        let status = if n % 3 == 0 { 404 } else { 200 };
        exchange(&mut ruled, Transport::Udp, PROXY, &svwar("INVITE", "sbc", 5_000 + n), status, "");
    }
    assert_eq!(accused(&ruled), []);
}

#[test]
fn the_guard_can_only_tell_or_be_off() {
    let told = |guard: &str| {
        let mut ruled = Ruled::new(&format!("guard = \"{guard}\""));
        for extension in 100..200 {
            exchange(&mut ruled, Transport::Udp, SCANNER, &svwar("REGISTER", "phone", extension), 404, "");
        }
        let attacks = ruled.events.iter().filter(|event| event.kind == EventKind::Attack).count();
        (attacks, ruled.suspects.len())
    };
    assert_eq!([told("block"), told("event"), told("off")], [(1, 1), (1, 0), (0, 0)]);
    assert_eq!(callgate_rules::SipPolicy::default().guard, Consequence::Block);
}
