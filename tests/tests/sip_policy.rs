//! What `[inspect.sip]` and a rule's `sip` forbid, and what they let by: for each key a message that must not come
//! through, with what its sender reads instead, and one that must.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use callgate_lab::sip::Transport::{Tcp, Udp};
use callgate_lab::sip::stage::{Stage, under};
use callgate_lab::sip::talk::{Line, Script, Side, status};

/// A message that must not come through: its sender reads this status, or nothing where it is empty.
fn refused(stage: &Stage<'_>, line: &mut Line, from: Side, message: &str, code: &str) -> Result<()> {
    let title = message.lines().next().unwrap_or_default();
    let watch = stage.watch()?;
    let answer = line.say_in_vain(from, message)?.unwrap_or_default();
    ensure!(status(&answer) == code, "{title}: its sender reads {answer:?} instead of {code}");
    if !code.is_empty() {
        for name in ["Via: ", "Call-ID: ", "CSeq: ", "From: "] {
            let copied = |text: &str| text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
            ensure!(copied(&answer) == copied(message), "{title}: {name}of {answer}");
        }
    }
    let dropped = watch.dropped()?;
    ensure!(dropped.values().sum::<u64>() == 1, "{title}: {dropped:?}");
    if !code.is_empty() {
        ensure!(dropped.contains_key("alg-refused"), "{title}: {dropped:?}");
        ensure!(!watch.events("refused")?.is_empty(), "{title}: no event");
    }
    Ok(())
}

/// Requests outside dialogs, each on a line of its own: those that are refused, and those that pass.
fn outside(stage: &Stage<'_>, code: &str, refuse: &[(&str, &str)], pass: &[(&str, &str)]) -> Result<()> {
    for (method, lines) in refuse {
        let (mut line, mut script) = stage.line(Udp)?;
        let message = script.first(Side::Near, method, lines, "");
        refused(stage, &mut line, Side::Near, &message, code)?;
    }
    for (method, lines) in pass {
        let (mut line, mut script) = stage.line(Udp)?;
        let message = script.first(Side::Near, method, lines, "");
        line.say(Side::Near, &message)?;
        if *method != "ACK" {
            line.say(Side::Far, &script.response(Side::Far, &message, "486 Busy Here", "", ""))?;
        }
    }
    Ok(())
}

const REFER_TO: &str = "Refer-To: <sip:other@10.20.0.11>\r\n";
const WAITING: &str = "Event: message-summary\r\n";
const TOLD: &str = "Event: message-summary\r\nSubscription-State: active\r\n";

#[test]
fn methods() -> Result<()> {
    under("methods", "methods = [\"INVITE\", \"REGISTER\"]", "", |stage| {
        outside(stage, "403", &[("OPTIONS", ""), ("MESSAGE", "")], &[("INVITE", ""), ("REGISTER", "")])?;
        // What goes with INVITE, within its dialog.
        let mut talk = stage.talk(Udp)?;
        for method in ["INFO", "UPDATE"] {
            talk.script.exchange(&mut talk.line, Side::Near, method, ["", ""]).context(method)?;
        }
        talk.end()?;
        // The other direction is free.
        let (mut line, mut script) = stage.line(Udp)?;
        let register = script.first(Side::Near, "REGISTER", "", "");
        line.say(Side::Near, &register)?;
        line.say(Side::Far, &script.first(Side::Far, "OPTIONS", "", ""))
    })
}

#[test]
fn methods_of_one_rule_and_of_its_other_direction() -> Result<()> {
    under(
        "methods_of_one_rule_and_of_its_other_direction",
        "",
        "sip = { methods_back = [\"INVITE\"] }",
        |stage| {
            let (mut line, mut script) = stage.line(Udp)?;
            line.say(Side::Near, &script.first(Side::Near, "OPTIONS", "", ""))?;
            let back = script.first(Side::Far, "OPTIONS", "", "");
            refused(stage, &mut line, Side::Far, &back, "403")?;
            let invite = script.first(Side::Far, "INVITE", "", "");
            line.say(Side::Far, &invite)?;
            line.say(Side::Near, &script.response(Side::Near, &invite, "486 Busy Here", "", ""))
        },
    )
}

/// Over TCP the answer is the last that comes.
#[test]
fn refusal_over_tcp() -> Result<()> {
    under("refusal_over_tcp", "methods = [\"INVITE\"]", "", |stage| {
        let (mut line, mut script) = stage.line(Tcp)?;
        let message = script.first(Side::Near, "OPTIONS", "", "");
        refused(stage, &mut line, Side::Near, &message, "403")?;
        ensure!(line.read(Side::Near, Duration::from_millis(200)).is_err(), "the connection goes on");
        let mut talk = stage.talk(Tcp)?;
        talk.end()
    })
}

#[test]
fn unknown_methods() -> Result<()> {
    under("unknown_methods", "unknown_methods = \"refuse\"", "", |stage| {
        outside(stage, "403", &[("FROBNICATE", "")], &[("OPTIONS", ""), ("PUBLISH", "Event: presence\r\n")])
    })?;
    under("unknown_methods", "", "", |stage| outside(stage, "", &[], &[("FROBNICATE", "")]))
}

#[test]
fn requests_that_belong_into_dialogs() -> Result<()> {
    for (key, method, lines) in
        [("refer", "REFER", REFER_TO), ("subscribe", "SUBSCRIBE", WAITING), ("message", "MESSAGE", "")]
    {
        under("requests_that_belong_into_dialogs", &format!("{key} = \"in-dialog\""), "", |stage| {
            outside(stage, "403", &[(method, lines)], &[("OPTIONS", "")])?;
            let mut talk = stage.talk(Udp)?;
            // A tag alone makes no dialog.
            let mut forged = Script::new(&talk.line);
            let message = forged.next(Side::Near, method, lines, "");
            refused(stage, &mut talk.line, Side::Near, &message, "403")?;
            let message = talk.script.next(Side::Near, method, lines, "");
            talk.line.say(Side::Near, &message)?;
            talk.line.say(Side::Far, &talk.script.response(Side::Far, &message, "200 OK", "", ""))?;
            talk.end()
        })?;
        under("requests_that_belong_into_dialogs", &format!("{key} = \"refuse\""), "", |stage| {
            let mut talk = stage.talk(Udp)?;
            let message = talk.script.next(Side::Near, method, lines, "");
            refused(stage, &mut talk.line, Side::Near, &message, "403")?;
            talk.whole()?;
            talk.end()
        })?;
    }
    Ok(())
}

#[test]
fn notify() -> Result<()> {
    under("notify", "notify = \"subscribed\"", "", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        line.say(Side::Near, &script.first(Side::Near, "OPTIONS", "", ""))?;
        let unasked = script.first(Side::Far, "NOTIFY", TOLD, "");
        refused(stage, &mut line, Side::Far, &unasked, "403")?;
        let mut asked = Script::new(&line);
        let subscribe = asked.first(Side::Near, "SUBSCRIBE", &format!("{WAITING}Expires: 60\r\n"), "");
        line.say(Side::Near, &subscribe)?;
        line.say(Side::Far, &asked.response(Side::Far, &subscribe, "200 OK", "Expires: 60\r\n", ""))?;
        let notify = asked.next(Side::Far, "NOTIFY", TOLD, "");
        line.say(Side::Far, &notify)?;
        line.say(Side::Near, &asked.response(Side::Near, &notify, "200 OK", "", ""))
    })
}

#[test]
fn replaces() -> Result<()> {
    under("replaces", "replaces = \"known\"", "", |stage| {
        outside(stage, "403", &[("INVITE", "Replaces: nobody@nowhere;to-tag=1;from-tag=2\r\n")], &[])?;
        let mut talk = stage.talk(Udp)?;
        let named = format!("Replaces: {};to-tag=far;from-tag=near\r\n", talk.script.call);
        outside(stage, "", &[], &[("INVITE", &named)])?;
        talk.end()
    })?;
    under("replaces", "replaces = \"refuse\"", "", |stage| {
        let mut talk = stage.talk(Udp)?;
        let named = format!("Replaces: {};to-tag=far;from-tag=near\r\n", talk.script.call);
        outside(stage, "403", &[("INVITE", &named)], &[("INVITE", "")])?;
        talk.end()
    })
}

#[test]
fn require_auth() -> Result<()> {
    const CREDENTIALS: &str = "Authorization: Digest username=\"phone\", realm=\"lab\", nonce=\"84a4cc6f\", \
                               uri=\"sip:lab\", response=\"7587245234b3434cc3412213e5f113a5\"\r\n";
    under("require_auth", "require_auth = [\"REGISTER\", \"INVITE\"]", "", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let challenge = "WWW-Authenticate: Digest realm=\"lab\", nonce=\"84a4cc6f\"\r\n";
        let plain = script.first(Side::Near, "REGISTER", "Expires: 60\r\n", "");
        line.say(Side::Near, &plain)?;
        line.say(Side::Far, &script.response(Side::Far, &plain, "401 Unauthorized", challenge, ""))?;
        let proven = script.first(Side::Near, "REGISTER", &format!("Expires: 60\r\n{CREDENTIALS}"), "");
        line.say(Side::Near, &proven)?;
        line.say(Side::Far, &script.response(Side::Far, &proven, "200 OK", "Expires: 60\r\n", ""))?;
        // Both of a server that asks nobody.
        for (method, lines) in [("REGISTER", "Expires: 60\r\n"), ("INVITE", "")] {
            let (mut line, mut script) = stage.line(Udp)?;
            let request = script.first(Side::Near, method, lines, "");
            line.say(Side::Near, &request)?;
            line.send(Side::Far, &script.response(Side::Far, &request, "200 OK", lines, ""))?;
            let read = line.read(Side::Near, Duration::from_secs(1))?.unwrap_or_default();
            ensure!(status(&read) == "403", "{method}: its sender reads {read}");
        }
        let rows = stage.registrations()?;
        ensure!(rows.len() == 1, "{rows:?}");
        let gone = script.first(Side::Near, "REGISTER", &format!("Expires: 0\r\n{CREDENTIALS}"), "");
        line.say(Side::Near, &gone)?;
        line.say(Side::Far, &script.response(Side::Far, &gone, "200 OK", "", ""))
    })
}

#[test]
fn parties() -> Result<()> {
    let tables = [
        ("calling_deny = [\"anonymous\"]", ["anonymous", "desk"], ["phone", "desk"]),
        ("calling_allow = [\"49*\"]", ["331234", "desk"], ["49-30-1234", "desk"]),
        ("called_deny = [\"0900*\"]", ["phone", "0900-1234"], ["phone", "08001234"]),
        ("called_allow = [\"0049*\"]", ["phone", "00331"], ["phone", "00491"]),
    ];
    for (keys, denied, allowed) in tables {
        under("parties", keys, "", |stage| {
            let (mut line, mut script) = stage.line(Udp)?;
            script.users = denied.map(str::to_owned);
            let invite = script.first(Side::Near, "INVITE", "", "");
            refused(stage, &mut line, Side::Near, &invite, "403")?;
            let (mut line, mut script) = stage.line(Udp)?;
            script.users = allowed.map(str::to_owned);
            let invite = script.first(Side::Near, "INVITE", "", "");
            line.say(Side::Near, &invite)?;
            line.say(Side::Far, &script.response(Side::Far, &invite, "486 Busy Here", "", ""))
        })?;
    }
    Ok(())
}

#[test]
fn calls_at_a_time() -> Result<()> {
    under("calls_at_a_time", "dialogs_max = 1", "", |stage| {
        let mut talk = stage.talk(Udp)?;
        outside(stage, "503", &[("INVITE", "")], &[("OPTIONS", "")])?;
        talk.whole()?;
        talk.end()?;
        stage.talk(Udp)?.end()
    })?;
    under("calls_at_a_time", "dialogs_per_source = 1", "", |stage| {
        let mut talk = stage.talk(Udp)?;
        outside(stage, "503", &[("INVITE", "")], &[])?;
        let mut line = Line::open(&stage.other, &stage.manager, Udp)?;
        let mut script = Script::new(&line);
        let invite = script.first(Side::Near, "INVITE", "", "");
        line.say(Side::Near, &invite)?;
        line.say(Side::Far, &script.response(Side::Far, &invite, "486 Busy Here", "", ""))?;
        talk.end()
    })
}

#[test]
fn call_max() -> Result<()> {
    under("call_max", "call_max = \"2s\"", "", |stage| {
        let talk = stage.talk(Udp)?;
        talk.whole()?;
        thread::sleep(Duration::from_millis(3_300));
        ensure!(stage.call(&talk.script.call)?.is_none(), "the call goes on");
        talk.shut()
    })
}

#[test]
fn rates() -> Result<()> {
    for keys in
        ["rates = { OPTIONS = \"2/s\" }", "rates = { any = \"2/s\" }", "rates_to = { OPTIONS = \"2/s\" }"]
    {
        under("rates", keys, "", |stage| {
            let (mut line, mut script) = stage.line(Udp)?;
            let mut passed = 0;
            for _ in 0..10 {
                line.send(Side::Near, &script.first(Side::Near, "OPTIONS", "", ""))?;
                passed += u32::from(line.read(Side::Far, Duration::from_millis(20))?.is_some());
            }
            let answer = line.read(Side::Near, Duration::from_millis(200))?.unwrap_or_default();
            ensure!((2..=4).contains(&passed), "{passed} of 10 arrive");
            ensure!(status(&answer) == "503", "{answer:?}");
            thread::sleep(Duration::from_millis(1_100));
            // Within a call nothing of it holds.
            let mut talk = stage.talk(Udp)?;
            for _ in 0..5 {
                talk.script.exchange(&mut talk.line, Side::Near, "OPTIONS", ["", ""])?;
            }
            talk.end()
        })?;
    }
    Ok(())
}

#[test]
fn bounds_of_a_message() -> Result<()> {
    let long = format!("Subject: {}\r\n", "x".repeat(600));
    let many: String = (0..20).map(|number| format!("X-Lab-{number}: 1\r\n")).collect();
    let tables = [("message_max = 900", "513", long), ("headers_max = 20", "400", many)];
    for (keys, code, lines) in &tables {
        under("bounds_of_a_message", keys, "", |stage| {
            outside(stage, code, &[("OPTIONS", lines)], &[("OPTIONS", "")])
        })?;
    }
    under("bounds_of_a_message", "max_forwards = 70", "", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let message = script.first(Side::Near, "OPTIONS", "", "");
        line.say(Side::Near, &message)?;
        let message =
            script.first(Side::Near, "OPTIONS", "", "").replace("Max-Forwards: 70", "Max-Forwards: 71");
        refused(stage, &mut line, Side::Near, &message, "400")
    })?;
    under("bounds_of_a_message", "uri_max = 64", "", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let message = script.first(Side::Near, "OPTIONS", "", "");
        line.say(Side::Near, &message)?;
        script.users[1] = "9".repeat(64);
        let message = script.first(Side::Near, "OPTIONS", "", "");
        refused(stage, &mut line, Side::Near, &message, "414")
    })
}

#[test]
fn bytes_that_are_no_sip() -> Result<()> {
    under("bytes_that_are_no_sip", "", "", |stage| {
        let (mut line, _) = stage.line(Udp)?;
        for keep_alive in ["\r\n\r\n", "\r\n", "\0\0\0\0"] {
            line.say(Side::Near, keep_alive)?;
        }
        refused(stage, &mut line, Side::Near, "GET / HTTP/1.1\r\nHost: desk\r\n\r\n", "")
    })?;
    under("bytes_that_are_no_sip", "not_sip = \"pass\"", "", |stage| {
        let (mut line, _) = stage.line(Udp)?;
        line.say(Side::Near, "GET / HTTP/1.1\r\nHost: desk\r\n\r\n")
    })
}

#[test]
fn registrations_and_calls_to_where_they_point() -> Result<()> {
    under("registrations_and_calls_to_where_they_point", "", "", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        script.users = ["alice".to_owned(), "alice".to_owned()];
        // It wants to be called at another port than the one it sends from.
        let port = 20_062;
        let contact = format!("<sip:alice@{}:{port}>", stage.phone.ip);
        let register = |script: &mut Script, expires: u32| {
            let own = script.first(Side::Near, "REGISTER", &format!("Expires: {expires}\r\n"), "");
            let from = own.find("Contact: ").map(|at| (at, at + own[at..].find("\r\n").unwrap_or(0)));
            match from {
                Some((start, end)) => format!("{}Contact: {contact}{}", &own[..start], &own[end..]),
                None => own,
            }
        };
        let request = register(&mut script, 60);
        line.say(Side::Near, &request)?;
        ensure!(stage.registrations()?.is_empty(), "registered before the registrar has said so");
        line.say(Side::Far, &script.response(Side::Far, &request, "200 OK", "Expires: 60\r\n", ""))?;
        let rows = stage.registrations()?;
        let [row] = &rows[..] else { anyhow::bail!("{rows:?}") };
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        ensure!(text("aor").contains("alice") && text("contact").contains("20062"), "{row}");
        ensure!(row["left_s"].as_u64().is_some_and(|left| (50..=60).contains(&left)), "{row}");

        let mut inward = Line::between(&stage.manager, 5060, &stage.phone, port, Udp)?;
        let mut call = Script::new(&inward);
        let invite = call.first(Side::Near, "INVITE", "", "");
        inward.say(Side::Near, &invite).context("a call to the contact")?;
        inward.say(Side::Far, &call.response(Side::Far, &invite, "486 Busy Here", "", ""))?;
        inward.say(Side::Near, &call.same(Side::Near, "ACK", true, ""))?;

        let request = register(&mut script, 0);
        line.say(Side::Near, &request)?;
        line.say(Side::Far, &script.response(Side::Far, &request, "200 OK", "", ""))?;
        ensure!(stage.registrations()?.is_empty(), "still registered");
        Ok(())
    })
}

#[test]
fn the_ladder_of_a_call() -> Result<()> {
    under("the_ladder_of_a_call", "", "", |stage| {
        let mut talk = stage.talk(Udp)?;
        let row = stage.connected(&talk.script.call)?;
        ensure!(row.caller.party.contains("phone") && row.callee.party.contains("desk"), "{row:?}");
        ensure!(row.streams.len() == 1 && row.streams[0].codec == "PCMU", "{row:?}");
        let output = stage.firewall().fwctl(&["calls", "--call", &row.id.to_string(), "--json"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut rest = text.as_str();
        for step in ["\"INVITE\"", "\"180 INVITE\"", "\"200 INVITE\"", "\"ACK\""] {
            let at = rest.find(step).with_context(|| format!("{step} is not in {text}"))?;
            rest = &rest[at + step.len()..];
        }
        talk.end()
    })
}

/// SIP over TLS cannot be read: the media comes by the word of the inside.
#[test]
fn media_of_secure_signalling_is_learned_from_inside() -> Result<()> {
    use callgate_lab::h323::session::Host;
    use callgate_lab::probe::{Shape, Socket, arrives, both_ways, is_shut};
    let rule = "\n[[rule]]\nname = \"sips from phones\"\nfrom = \"phones\"\nto = \"callmanagers\"\nservice = \"sips\"\n\
                action = \"track\"\ntls_media = \"from-inside\"\n";
    under("media_of_secure_signalling_is_learned_from_inside", "", rule, |stage| {
        let listener = stage.manager.listen(5061)?;
        let mut link = stage.phone.connect(&listener)?;
        link.forth(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0])?;
        // Ports of its own: what is learned here stays for a while.
        let bind = |host: &Host, port| Ok::<_, anyhow::Error>([Socket::bind(host.ns(), host.at(port))?]);
        let (near, far) = (bind(&stage.phone, 30_000)?, bind(&stage.manager, 30_002)?);
        is_shut(&near[0], &far[0], Shape::Rtp, 5).context("from outside first")?;
        arrives(&far[0], &near[0], Shape::Rtp, 5).context("from inside")?;
        both_ways(&near[0], &far[0], Shape::Rtp, 20).context("the way back")?;
        is_shut(&near[0], &far[0], Shape::Text, 5).context("no RTP")?;
        let learned = stage.firewall().pinholes()?;
        ensure!(learned.iter().any(|row| row.learned), "not labelled: {learned:?}");
        let other = stage.media(&stage.other)?;
        is_shut(&other[0], &far[0], Shape::Rtp, 5).context("another phone")
    })?;
    under("media_of_secure_signalling_is_learned_from_inside", "", "", |stage| {
        let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
        is_shut(&far[0], &near[0], Shape::Rtp, 5)?;
        is_shut(&near[0], &far[0], Shape::Rtp, 5)
    })
}
