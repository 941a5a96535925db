//! What goes on within SIP calls, over real sockets: both ends are scripted, every message must arrive byte for
//! byte, and media is counted packet by packet.

use anyhow::{Context, Result, ensure};
use callgate_alg::call::Medium;
use callgate_api::CallRow;
use callgate_lab::lab::Family;
use callgate_lab::probe::{Shape, Socket, arrives, both_ways, is_shut};
use callgate_lab::sip::Transport::{Tcp, Udp};
use callgate_lab::sip::stage::{PACKETS, Stage, Talk, under};
use callgate_lab::sip::talk::{Line, Script, Side, audio, session};

/// [`PACKETS`] both ways.
const BOTH: u64 = 2 * PACKETS as u64;

/// A test under the lab's own rules.
fn plainly(test: &str, run: impl FnOnce(&Stage<'_>) -> Result<()>) -> Result<()> {
    under(test, "", "", run)
}

/// Formats of a call's streams.
fn codecs(row: &CallRow) -> Vec<&str> {
    row.streams.iter().map(|stream| stream.codec.as_str()).collect()
}

#[test]
fn hold_and_resume_in_all_spellings() -> Result<()> {
    plainly("hold_and_resume_in_all_spellings", |stage| {
        for transport in [Udp, Tcp] {
            let watch = stage.watch()?;
            let mut talk = stage.talk(transport)?;
            let port = talk.near[0].local.port();
            let nowhere = talk.offer.replace(&format!("c=IN IP4 {}", stage.phone.ip), "c=IN IP4 0.0.0.0");
            let spellings = [
                ("a=sendonly", session(stage.phone.ip, &audio(port, "a=sendonly\r\n")), "a=recvonly\r\n"),
                ("a=inactive", session(stage.phone.ip, &audio(port, "a=inactive\r\n")), "a=inactive\r\n"),
                ("c=0.0.0.0", nowhere, "a=recvonly\r\n"),
                ("port 0", session(stage.phone.ip, &audio(0, "")), ""),
            ];
            for (side, (name, hold, answer)) in [Side::Near; 4].into_iter().zip(spellings) {
                let own = talk.far[0].local.port();
                let held = if name == "port 0" { audio(0, "") } else { audio(own, answer) };
                let held = session(stage.manager.ip, &held);
                let Talk { line, script, offer, answer, .. } = &mut talk;
                script.exchange(line, side, "INVITE", [&hold, &held]).context(name)?;
                stage.connected(&script.call)?;
                script.exchange(line, side, "INVITE", [offer, answer]).context(name)?;
                talk.whole().with_context(|| format!("{transport:?}: resumed after {name}"))?;
            }
            watch.clean(5 * Talk::CARRIED)?;
            talk.end()?;
            stage.firewall().settled()?;
        }
        Ok(())
    })
}

#[test]
fn the_callee_may_hold_too() -> Result<()> {
    plainly("the_callee_may_hold_too", |stage| {
        let mut talk = stage.talk(Udp)?;
        let hold = talk.answer.clone() + "a=sendonly\r\n";
        let held = talk.offer.clone() + "a=recvonly\r\n";
        let Talk { line, script, offer, answer, .. } = &mut talk;
        script.exchange(line, Side::Far, "INVITE", [&hold, &held])?;
        script.exchange(line, Side::Far, "UPDATE", [answer, offer])?;
        talk.whole()?;
        let Talk { line, script, .. } = &mut talk;
        script.end(line, Side::Far)?;
        talk.shut()
    })
}

#[test]
fn early_media_flows_before_the_answer() -> Result<()> {
    plainly("early_media_flows_before_the_answer", |stage| {
        for (transport, reliable) in [(Udp, true), (Udp, false), (Tcp, true)] {
            let (mut line, mut script) = stage.line(transport)?;
            let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
            let watch = stage.watch()?;
            let offer = session(stage.phone.ip, &audio(near[0].local.port(), ""));
            let answer = session(stage.manager.ip, &audio(far[0].local.port(), ""));
            let supported = if reliable { "Supported: 100rel\r\n" } else { "" };
            let invite = script.first(Side::Near, "INVITE", supported, &offer);
            line.say(Side::Near, &invite)?;
            let lines = if reliable { "Require: 100rel\r\nRSeq: 1\r\n" } else { "" };
            let progress = script.response(Side::Far, &invite, "183 Session Progress", lines, &answer);
            line.say(Side::Far, &progress)?;
            both_ways(&far[0], &near[0], Shape::Rtp, PACKETS).context("early media")?;
            let acknowledging = script.clone();
            if reliable {
                let prack = script.next(Side::Near, "PRACK", "RAck: 1 1 INVITE\r\n", "");
                line.say(Side::Near, &prack)?;
                line.say(Side::Far, &script.response(Side::Far, &prack, "200 OK", "", ""))?;
            }
            let body = if reliable { "" } else { &answer };
            line.say(Side::Far, &script.response(Side::Far, &invite, "200 OK", "", body))?;
            let ack = acknowledging.same(Side::Near, "ACK", true, "");
            line.say(Side::Near, &ack)?;
            let row = stage.connected(&script.call)?;
            ensure!(codecs(&row) == ["PCMU"], "{row:?}");
            both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
            both_ways(&near[1], &far[1], Shape::Rtcp, PACKETS)?;
            watch.clean(3 * BOTH).with_context(|| format!("{transport:?} {reliable}"))?;
            script.end(&mut line, Side::Near)?;
            stage.firewall().settled()?;
        }
        Ok(())
    })
}

#[test]
fn every_fork_that_answers_is_heard_and_the_first_final_answer_wins() -> Result<()> {
    plainly("every_fork_that_answers_is_heard_and_the_first_final_answer_wins", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let near = stage.media(&stage.phone)?;
        let forks = [stage.media(&stage.manager)?, stage.media(&stage.manager)?];
        let watch = stage.watch()?;
        let offer = session(stage.phone.ip, &audio(near[0].local.port(), ""));
        let invite = script.first(Side::Near, "INVITE", "", &offer);
        line.say(Side::Near, &invite)?;
        let answers =
            forks.each_ref().map(|fork| session(stage.manager.ip, &audio(fork[0].local.port(), "")));
        for (tag, answer) in ["first", "second"].into_iter().zip(&answers) {
            script.tags[1] = tag.to_owned();
            line.say(Side::Far, &script.response(Side::Far, &invite, "183 Session Progress", "", answer))?;
        }
        for fork in &forks {
            both_ways(&fork[0], &near[0], Shape::Rtp, PACKETS)?;
        }
        watch.clean(2 * BOTH)?;
        // The second one answers.
        line.say(Side::Far, &script.response(Side::Far, &invite, "200 OK", "", &answers[1]))?;
        line.say(Side::Near, &script.same(Side::Near, "ACK", true, ""))?;
        stage.connected(&script.call)?;
        both_ways(&forks[1][0], &near[0], Shape::Rtp, PACKETS)?;
        is_shut(&near[0], &forks[0][0], Shape::Rtp, 5).context("the fork that lost")?;
        script.end(&mut line, Side::Near)
    })
}

#[test]
fn the_offer_may_come_in_the_answer() -> Result<()> {
    plainly("the_offer_may_come_in_the_answer", |stage| {
        for transport in [Udp, Tcp] {
            let (mut line, mut script) = stage.line(transport)?;
            let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
            let watch = stage.watch()?;
            let invite = script.first(Side::Near, "INVITE", "", "");
            line.say(Side::Near, &invite)?;
            let offer = session(stage.manager.ip, &audio(far[0].local.port(), ""));
            line.say(Side::Far, &script.response(Side::Far, &invite, "200 OK", "", &offer))?;
            let answer = session(stage.phone.ip, &audio(near[0].local.port(), ""));
            line.say(Side::Near, &script.same(Side::Near, "ACK", true, &answer))?;
            stage.connected(&script.call)?;
            both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
            both_ways(&near[1], &far[1], Shape::Rtcp, PACKETS)?;
            watch.clean(2 * BOTH)?;
            script.end(&mut line, Side::Far)?;
            is_shut(&near[0], &far[0], Shape::Rtp, 5)?;
        }
        Ok(())
    })
}

#[test]
fn a_call_turns_into_a_fax_and_back() -> Result<()> {
    plainly("a_call_turns_into_a_fax_and_back", |stage| {
        let mut talk = stage.talk(Udp)?;
        let fax = [stage.media(&stage.phone)?, stage.media(&stage.manager)?];
        let watch = stage.watch()?;
        let image = |ip, port: u16| {
            let lines = "a=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\n\
                         a=T38FaxUdpEC:t38UDPRedundancy\r\n";
            session(ip, &format!("m=image {port} udptl t38\r\n{lines}"))
        };
        let [near, far] = fax.each_ref().map(|sockets| sockets[0].local);
        let bodies = [image(stage.manager.ip, far.port()), image(stage.phone.ip, near.port())];
        // The answering machine asks for it (RFC 3362, T.38 annex D).
        let Talk { line, script, .. } = &mut talk;
        script.exchange(line, Side::Far, "INVITE", [&bodies[0], &bodies[1]])?;
        both_ways(&fax[0][0], &fax[1][0], Shape::Udptl, PACKETS)?;
        let row = stage.connected(&script.call)?;
        ensure!(row.streams.iter().any(|stream| stream.medium == Medium::Image), "{row:?}");
        watch.clean(BOTH)?;
        let Talk { line, script, offer, answer, .. } = &mut talk;
        script.exchange(line, Side::Near, "INVITE", [offer, answer])?;
        talk.whole()?;
        is_shut(&fax[0][0], &fax[1][0], Shape::Udptl, 5).context("the fax is over")?;
        talk.end()
    })
}

#[test]
fn an_invite_in_fragments_and_its_answer_are_read() -> Result<()> {
    plainly("an_invite_in_fragments_and_its_answer_are_read", |stage| {
        for family in [Family::V4, Family::V6] {
            let stage = Stage::new(stage.turn, family);
            let (mut line, mut script) = stage.line(Udp)?;
            let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
            // What counts stands at the very end, in the third fragment.
            let padding = format!("a=x-lab:{:054}\r\n", 0).repeat(60);
            let padded =
                |ip, port| session(ip, &format!("m=audio 0 RTP/AVP 8\r\n{padding}{}", audio(port, "")));
            let watch = stage.watch()?;
            let offer = padded(stage.phone.ip, near[0].local.port());
            let answer = padded(stage.manager.ip, far[0].local.port());
            script.connect(&mut line, &offer, &answer)?;
            both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
            watch.clean(BOTH).with_context(|| format!("{family:?}"))?;
            script.end(&mut line, Side::Near)?;
            stage.firewall().settled()?;
        }
        Ok(())
    })
}

#[test]
fn rtcp_comes_by_the_port_of_rtp_once_both_have_agreed() -> Result<()> {
    plainly("rtcp_comes_by_the_port_of_rtp_once_both_have_agreed", |stage| {
        for agreed in [true, false] {
            let (mut line, mut script) = stage.line(Udp)?;
            let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
            let offer = session(stage.phone.ip, &audio(near[0].local.port(), "a=rtcp-mux\r\n"));
            let accepted = if agreed { "a=rtcp-mux\r\n" } else { "" };
            let answer = session(stage.manager.ip, &audio(far[0].local.port(), accepted));
            let watch = stage.watch()?;
            script.connect(&mut line, &offer, &answer)?;
            both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
            if agreed {
                both_ways(&near[0], &far[0], Shape::Rtcp, PACKETS)?;
                watch.clean(2 * BOTH)?;
                is_shut(&near[1], &far[1], Shape::Rtcp, 5).context("the port of RTCP is not used")?;
                is_shut(&far[1], &near[1], Shape::Rtcp, 5).context("the port of RTCP is not used")?;
            } else {
                both_ways(&near[1], &far[1], Shape::Rtcp, PACKETS)?;
                watch.clean(2 * BOTH)?;
            }
            script.end(&mut line, Side::Near)?;
            stage.firewall().settled()?;
        }
        Ok(())
    })
}

#[test]
fn rtcp_may_have_a_port_of_its_own() -> Result<()> {
    plainly("rtcp_may_have_a_port_of_its_own", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
        let [_, apart] = stage.media(&stage.phone)?;
        let said = format!("a=rtcp:{}\r\n", apart.local.port());
        let offer = session(stage.phone.ip, &audio(near[0].local.port(), &said));
        let answer = session(stage.manager.ip, &audio(far[0].local.port(), ""));
        let watch = stage.watch()?;
        script.connect(&mut line, &offer, &answer)?;
        both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
        both_ways(&apart, &far[1], Shape::Rtcp, PACKETS)?;
        watch.clean(2 * BOTH)?;
        is_shut(&far[1], &near[1], Shape::Rtcp, 5)?;
        script.end(&mut line, Side::Near)
    })
}

#[test]
fn connectivity_checks_reach_every_candidate() -> Result<()> {
    plainly("connectivity_checks_reach_every_candidate", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
        let spare = stage.media(&stage.phone)?;
        let candidate = |number: u32, component: u32, socket: &Socket| {
            let local = socket.local;
            let priority = 2_130_706_431 - number;
            format!(
                "a=candidate:{number} {component} UDP {priority} {} {} typ host\r\n",
                local.ip(),
                local.port()
            )
        };
        let ice = |candidates: String| {
            format!("a=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8g\r\n{candidates}")
        };
        let ours = candidate(1, 1, &near[0]) + &candidate(1, 2, &near[1]) + &candidate(2, 1, &spare[0]);
        let theirs = candidate(1, 1, &far[0]) + &candidate(1, 2, &far[1]);
        let offer = session(stage.phone.ip, &audio(near[0].local.port(), &ice(ours)));
        let answer = session(stage.manager.ip, &audio(far[0].local.port(), &ice(theirs)));
        let watch = stage.watch()?;
        script.connect(&mut line, &offer, &answer)?;
        both_ways(&near[0], &far[0], Shape::Stun, PACKETS)?;
        both_ways(&spare[0], &far[0], Shape::Stun, PACKETS).context("the other candidate")?;
        both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
        watch.clean(3 * BOTH)?;
        script.end(&mut line, Side::Near)?;
        is_shut(&near[0], &far[0], Shape::Stun, 5)
    })
}

#[test]
fn a_thousand_calls_share_one_connection() -> Result<()> {
    plainly("a_thousand_calls_share_one_connection", |stage| {
        const CALLS: u16 = 1_000;
        let (mut line, first) = stage.line(Tcp)?;
        let port = |number: u16| 16_384 + 2 * number;
        let sockets = |number: u16| -> Result<[Socket; 2]> {
            Ok([
                Socket::bind(stage.phone.ns(), stage.phone.at(port(number)))?,
                Socket::bind(stage.manager.ns(), stage.manager.at(port(number)))?,
            ])
        };
        let watch = stage.watch()?;
        let mut calls = Vec::new();
        for number in 0..CALLS {
            let mut script = first.clone();
            script.call = format!("{number}-of-{}", first.call);
            let offer = session(stage.phone.ip, &audio(port(number), ""));
            let answer = session(stage.manager.ip, &audio(port(number), ""));
            script.connect(&mut line, &offer, &answer).with_context(|| format!("call {number}"))?;
            calls.push(script);
        }
        ensure!(stage.firewall().calls()?.len() == usize::from(CALLS));
        let chosen = [0, 499, 999];
        for number in chosen {
            let [near, far] = sockets(number)?;
            both_ways(&near, &far, Shape::Rtp, PACKETS)?;
        }
        watch.clean(3 * BOTH)?;
        // Every other call ends, and takes nothing of its neighbours with it.
        for script in calls.iter_mut().step_by(2) {
            script.end(&mut line, Side::Far)?;
        }
        ensure!(stage.firewall().calls()?.len() == usize::from(CALLS / 2));
        for number in chosen {
            let [near, far] = sockets(number)?;
            match number % 2 {
                0 => is_shut(&near, &far, Shape::Rtp, 5)?,
                _ => both_ways(&near, &far, Shape::Rtp, PACKETS)?,
            }
        }
        for script in calls.iter_mut().skip(1).step_by(2) {
            script.end(&mut line, Side::Near)?;
        }
        Ok(())
    })
}

#[test]
fn the_200_that_crosses_a_cancel_makes_a_call() -> Result<()> {
    plainly("the_200_that_crosses_a_cancel_makes_a_call", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
        let offer = session(stage.phone.ip, &audio(near[0].local.port(), ""));
        let answer = session(stage.manager.ip, &audio(far[0].local.port(), ""));
        let invite = script.first(Side::Near, "INVITE", "", &offer);
        line.say(Side::Near, &invite)?;
        line.say(Side::Far, &script.response(Side::Far, &invite, "180 Ringing", "", ""))?;
        let cancel = script.same(Side::Near, "CANCEL", false, "");
        line.say(Side::Near, &cancel)?;
        line.say(Side::Far, &script.response(Side::Far, &invite, "200 OK", "", &answer))?;
        line.say(Side::Far, &script.response(Side::Far, &cancel, "200 OK", "", ""))?;
        line.say(Side::Near, &script.same(Side::Near, "ACK", true, ""))?;
        stage.connected(&script.call)?;
        both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
        script.end(&mut line, Side::Near)?;

        // And one that does not: the 487 ends it.
        let (mut line, mut script) = stage.line(Udp)?;
        let invite = script.first(Side::Near, "INVITE", "", &offer);
        line.say(Side::Near, &invite)?;
        let cancel = script.same(Side::Near, "CANCEL", false, "");
        line.say(Side::Near, &cancel)?;
        line.say(Side::Far, &script.response(Side::Far, &cancel, "200 OK", "", ""))?;
        line.say(Side::Far, &script.response(Side::Far, &invite, "487 Request Terminated", "", ""))?;
        line.say(Side::Near, &script.same(Side::Near, "ACK", true, ""))?;
        is_shut(&far[0], &near[0], Shape::Rtp, 5)
    })
}

/// The phone transfers its call with the manager's party to the other phone (RFC 5589 §7), which takes its place
/// there by Replaces (RFC 3891).
#[test]
fn a_transferred_call_takes_the_place_of_the_first() -> Result<()> {
    plainly("a_transferred_call_takes_the_place_of_the_first", |stage| {
        let mut talk = stage.talk(Udp)?;
        let Talk { line, script, .. } = &mut talk;
        let refer_to = format!("Refer-To: <sip:other@{}>\r\n", stage.other.ip);
        let refer = script.next(Side::Near, "REFER", &refer_to, "");
        line.say(Side::Near, &refer)?;
        line.say(Side::Far, &script.response(Side::Far, &refer, "202 Accepted", "", ""))?;
        for (state, progress) in [("active", "SIP/2.0 100 Trying\r\n"), ("terminated", "SIP/2.0 200 OK\r\n")]
        {
            let lines = format!(
                "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n"
            );
            let notify = script.next(Side::Far, "NOTIFY", &lines, progress);
            line.say(Side::Far, &notify)?;
            line.say(Side::Near, &script.response(Side::Near, &notify, "200 OK", "", ""))?;
        }
        talk.whole()?;

        // The other phone calls the manager in the place of the first.
        let mut second = Line::open(&stage.other, &stage.manager, Udp)?;
        let mut taking = Script::new(&second);
        let (near, far) = (stage.media(&stage.other)?, stage.media(&stage.manager)?);
        let [own, theirs] = &talk.script.tags;
        let replaces = format!("Replaces: {};to-tag={theirs};from-tag={own}\r\n", talk.script.call);
        let offer = session(stage.other.ip, &audio(near[0].local.port(), ""));
        let answer = session(stage.manager.ip, &audio(far[0].local.port(), ""));
        let invite = taking.first(Side::Near, "INVITE", &replaces, &offer);
        second.say(Side::Near, &invite)?;
        second.say(Side::Far, &taking.response(Side::Far, &invite, "200 OK", "", &answer))?;
        second.say(Side::Near, &taking.same(Side::Near, "ACK", true, ""))?;
        both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
        // Its BYE still goes its way, and nothing of the first call is open.
        let Talk { line, script, .. } = &mut talk;
        script.end(line, Side::Far)?;
        talk.shut()?;
        both_ways(&near[0], &far[0], Shape::Rtp, PACKETS)?;
        taking.end(&mut second, Side::Near)
    })
}

#[test]
fn media_of_a_third_host_is_refused_and_counted() -> Result<()> {
    plainly("media_of_a_third_host_is_refused_and_counted", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let third = Socket::pair(stage.attacker.ns(), stage.attacker.ip)?;
        let far = stage.media(&stage.manager)?;
        let count = || -> Result<u64> {
            Ok(stage.firewall().status()?.alg.refusals.get("not-the-announcers").copied().unwrap_or(0))
        };
        let before = count()?;
        let offer = session(stage.attacker.ip, &audio(third[0].local.port(), ""));
        let answer = session(stage.manager.ip, &audio(far[0].local.port(), ""));
        script.connect(&mut line, &offer, &answer)?;
        ensure!(count()? > before, "the refusal is not counted");
        let watch = stage.watch()?;
        is_shut(&far[0], &third[0], Shape::Rtp, 5)?;
        is_shut(&third[0], &far[0], Shape::Rtp, 5)?;
        let dropped: u64 = watch.dropped()?.values().sum();
        ensure!(dropped == 10, "{:?}", watch.dropped()?);
        script.end(&mut line, Side::Near)
    })
}

/// RFC 4975, where the rules permit media over TCP.
#[test]
fn media_over_tcp_needs_a_word_of_the_rules() -> Result<()> {
    let words = |stage: &Stage<'_>, port: u16, setup: &str, near: bool| {
        let ip = if near { stage.phone.ip } else { stage.manager.ip };
        let path =
            format!("a=accept-types:text/plain\r\na=path:msrp://{ip}:{port}/s1;tcp\r\na=setup:{setup}\r\n");
        session(ip, &format!("m=message {port} TCP/MSRP *\r\n{path}"))
    };
    for (keys, open) in [("tcp_media = \"allow\"", true), ("tcp_media = \"refuse\"", false)] {
        under("media_over_tcp_needs_a_word_of_the_rules", keys, "", |stage| {
            let (mut line, mut script) = stage.line(Udp)?;
            let listener = stage.manager.listen(20_000)?;
            let (offer, answer) =
                (words(stage, 20_002, "active", true), words(stage, 20_000, "passive", false));
            script.connect(&mut line, &offer, &answer)?;
            if open {
                let mut link = stage.phone.connect(&listener)?;
                link.forth(b"MSRP a786hjs2 SEND\r\n")?;
                link.back(b"MSRP a786hjs2 200 OK\r\n")?;
            } else {
                ensure!(stage.phone.is_kept_from(&listener), "media over TCP is open");
            }
            script.end(&mut line, Side::Near)
        })?;
    }
    Ok(())
}

/// A phone behind address translation: its description has an address that means nothing here.
#[test]
fn media_of_a_translated_phone_is_learned() -> Result<()> {
    under("media_of_a_translated_phone_is_learned", "nat_clients = \"latch\"", "", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let far = stage.media(&stage.manager)?;
        // What the phone calls 192.168.7.2:20000 comes from another port of its public address.
        let (learned, second) = (stage.media(&stage.phone)?, stage.media(&stage.phone)?);
        let stranger = stage.media(&stage.other)?;
        let offer = session("192.168.7.2".parse()?, &audio(20_000, ""));
        let answer = session(stage.manager.ip, &audio(far[0].local.port(), ""));
        script.connect(&mut line, &offer, &answer)?;
        is_shut(&stranger[0], &far[0], Shape::Rtp, 5).context("another address")?;
        is_shut(&learned[0], &far[0], Shape::Text, 5).context("no RTP")?;
        let watch = stage.watch()?;
        arrives(&learned[0], &far[0], Shape::Rtp, PACKETS)?;
        arrives(&far[0], &learned[0], Shape::Rtp, PACKETS).context("the way back")?;
        both_ways(&learned[0], &far[0], Shape::Rtp, PACKETS)?;
        ensure!(watch.dropped()?.is_empty(), "{:?}", watch.dropped()?);
        is_shut(&second[0], &far[0], Shape::Rtp, 5).context("a second source")?;
        let dropped = watch.dropped()?;
        ensure!(dropped.get("second-source") == Some(&5), "{dropped:?}");
        let told = stage.firewall().events(0)?;
        ensure!(
            told.iter().any(|row| format!("{row:?}").contains(&script.call)),
            "no event names the call: {told:?}"
        );
        both_ways(&learned[0], &far[0], Shape::Rtp, PACKETS)?;
        script.end(&mut line, Side::Near)?;
        is_shut(&learned[0], &far[0], Shape::Rtp, 5)
    })?;
    // Without the word of the rules its media is refused: what it sends from where its signalling comes from is heard
    // by the one it calls, and there is no way back.
    plainly("media_of_a_translated_phone_is_learned", |stage| {
        let (mut line, mut script) = stage.line(Udp)?;
        let (near, far) = (stage.media(&stage.phone)?, stage.media(&stage.manager)?);
        let offer = session("192.168.7.2".parse()?, &audio(20_000, ""));
        script.connect(&mut line, &offer, &session(stage.manager.ip, &audio(far[0].local.port(), "")))?;
        arrives(&near[0], &far[0], Shape::Rtp, 5)?;
        is_shut(&far[0], &near[0], Shape::Rtp, 5)?;
        script.end(&mut line, Side::Near)?;
        is_shut(&near[0], &far[0], Shape::Rtp, 5)
    })
}
