//! A call that has lasted as long as it may: both parties are told by the protocol's own release where the firewall can
//! write it, and their answers concern nobody else.

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use callgate_lab::fixture::{GATEWAY, Turn};
use callgate_lab::h323::session::{self, Dialogue, Host, released};
use callgate_lab::lab::Family;
use callgate_lab::mgcp::{self, Station};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sccp::wire::{self, Version, id, state};
use callgate_lab::sccp::{CallManager, Session};
use callgate_lab::sip::Transport::{Tcp, Udp};
use callgate_lab::sip::stage::Stage;
use callgate_lab::sip::talk::{Line, Script, Side, audio, session, status};
use callgate_lab::sipp::{Plan, Run, Story};
use callgate_protocols::build::Parts;

/// No call lasts longer than a second.
const POLICY: &str = "\n[policy]\nunmatched = \"short\"\nstrangers = [\"short\"]\n\n\
                      [policy.permission.short]\npatterns = [\"T\"]\nlongest = \"1s\"\n";
/// Within this the limit has come and been noticed.
const SOON: Duration = Duration::from_secs(4);

/// Runs a test under [`POLICY`].
fn with_limit(test: &str, run: impl FnOnce(&Turn) -> Result<()>) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    fs::write(turn.firewall.rules_file(), Policy::default().text(&turn.lab) + POLICY)?;
    let output = turn.firewall.fwctl(&["reload"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run(&turn)?;
    turn.firewall.settled()
}

/// A call that is up, as its parties have described it.
fn connect(stage: &Stage<'_>, line: &mut Line) -> Result<Script> {
    let mut script = Script::new(line);
    let offer = session(stage.phone.ip, &audio(16_500, ""));
    let answer = session(stage.manager.ip, &audio(16_502, ""));
    script.connect(line, &offer, &answer)?;
    Ok(script)
}

#[test]
fn both_parties_of_a_sip_call_are_told() -> Result<()> {
    with_limit("both_parties_of_a_sip_call_are_told", |turn| {
        for family in [Family::V4, Family::V6] {
            let stage = Stage::new(turn, family);
            let mut line = Line::open(&stage.phone, &stage.manager, Udp)?;
            let script = connect(&stage, &mut line)?;
            let answered = Instant::now();
            let mut byes = Vec::new();
            for side in [Side::Near, Side::Far] {
                let bye = line.read(side, SOON)?.with_context(|| format!("{side:?} is not told"))?;
                ensure!(bye.starts_with("BYE sip:"), "{side:?} reads {bye}");
                ensure!(bye.contains(&format!("\r\nCall-ID: {}\r\n", script.call)), "{bye}");
                let own = if side == Side::Near { 0 } else { 1 };
                let tags = [&script.tags[1 - own], &script.tags[own]];
                let [from, to] = ["From", "To"].map(|name| {
                    bye.lines()
                        .find(|line| line.starts_with(&format!("{name}: ")))
                        .unwrap_or_default()
                        .to_owned()
                });
                ensure!(from.ends_with(tags[0].as_str()) && to.ends_with(tags[1].as_str()), "{bye}");
                ensure!(bye.contains("\r\nReason: Q.850;cause=31;"), "{bye}");
                byes.push((side, bye));
            }
            ensure!(answered.elapsed() >= Duration::from_secs(1), "after {:?}", answered.elapsed());
            ensure!(turn.firewall.calls()?.is_empty() && turn.firewall.pinholes()?.is_empty(), "it goes on");
            // One that is not answered comes again; what answers goes no further.
            let (side, bye) = byes.first().context("a BYE")?;
            let again = line.read(*side, SOON)?.context("it does not come again")?;
            ensure!(again == *bye, "{again}");
            for (side, bye) in &byes {
                line.send(*side, &script.response(*side, bye, "200 OK", "", ""))?;
            }
            // What had been said again before the answers came.
            for side in [Side::Near, Side::Far] {
                while let Some(more) = line.read(side, Duration::from_millis(300))? {
                    ensure!(byes.iter().any(|bye| *bye == (side, more.clone())), "{side:?} reads {more}");
                }
            }
            thread::sleep(Duration::from_millis(2_200));
            ensure!(line.is_quiet(), "{family:?}: somebody reads more");
        }
        Ok(())
    })
}

#[test]
fn sipp_is_told_on_both_sides() -> Result<()> {
    with_limit("sipp_is_told_on_both_sides", |turn| {
        for family in [Family::V4, Family::V6] {
            let plan = Plan { family, transport: Udp, calls: 3, story: Story::Cut };
            let outcome = Run::start(&turn.lab, plan)?.finish()?;
            ensure!(outcome.connected == 3, "{family:?}: {outcome:?}");
        }
        Ok(())
    })
}

/// An octet put into a TCP stream would shift it for good: by TCP a BYE is the last that is said.
#[test]
fn the_last_words_of_a_sip_connection_are_byes() -> Result<()> {
    with_limit("the_last_words_of_a_sip_connection_are_byes", |turn| {
        for family in [Family::V4, Family::V6] {
            let stage = Stage::new(turn, family);
            let mut line = Line::open(&stage.phone, &stage.manager, Tcp)?;
            let script = connect(&stage, &mut line)?;
            for side in [Side::Near, Side::Far] {
                let bye = line.read(side, SOON)?.with_context(|| format!("{side:?} is not told"))?;
                ensure!(bye.starts_with("BYE sip:") && bye.contains("\r\nVia: SIP/2.0/TCP "), "{bye}");
                ensure!(bye.contains(&format!("\r\nCall-ID: {}\r\n", script.call)), "{bye}");
            }
            for side in [Side::Near, Side::Far] {
                let more = line.read(side, SOON);
                ensure!(more.is_err(), "{side:?}: its connection goes on: {more:?}");
            }
            ensure!(turn.firewall.calls()?.is_empty() && turn.firewall.pinholes()?.is_empty(), "it goes on");
            // The next call opens another one.
            let mut line = Line::open(&stage.phone, &stage.manager, Tcp)?;
            connect(&stage, &mut line)?.end(&mut line, Side::Near)?;
        }
        Ok(())
    })
}

/// Two calls on one connection: the parties of the one that is over hang up when they speak of it next.
#[test]
fn a_sip_call_that_shares_its_connection_learns_of_it_when_it_speaks() -> Result<()> {
    with_limit("a_sip_call_that_shares_its_connection_learns_of_it_when_it_speaks", |turn| {
        let stage = Stage::new(turn, Family::V4);
        let mut line = Line::open(&stage.phone, &stage.manager, Tcp)?;
        let mut script = connect(&stage, &mut line)?;
        let mut other = Script::new(&line);
        let invite = other.first(Side::Near, "INVITE", "", "");
        line.say(Side::Near, &invite)?;
        let until = Instant::now() + SOON;
        while turn.firewall.calls()?.len() > 1 {
            ensure!(Instant::now() < until, "the call goes on");
        }
        ensure!(line.is_quiet(), "somebody is told");
        line.say(Side::Far, &other.response(Side::Far, &invite, "180 Ringing", "", ""))?;
        let refresh = script.next(Side::Near, "INVITE", "", &session(stage.phone.ip, &audio(16_500, "")));
        let answer = line.say_in_vain(Side::Near, &refresh)?.context("no answer")?;
        ensure!(status(&answer) == "481", "{answer}");
        let calls = turn.firewall.calls()?;
        ensure!(calls.len() == 1 && calls[0].key == other.call, "{calls:?}");
        // It goes on elsewhere.
        let mut line = Line::open(&stage.phone, &stage.manager, Tcp)?;
        line.say(Side::Far, &other.response(Side::Far, &invite, "486 Busy Here", "", ""))
    })
}

#[test]
fn both_parties_of_an_h323_call_are_told() -> Result<()> {
    with_limit("both_parties_of_an_h323_call_are_told", |turn| {
        for family in [Family::V4, Family::V6] {
            let caller = Host::new(turn.lab.outside(), family.phone(0));
            let terminal = Host::new(turn.lab.inside(), family.call_manager(0));
            let desk = session::desk(&terminal)?;
            let mut dialogue = Dialogue::answered(&caller, &desk, Parts::default(), &Parts::default())?;
            let reference = dialogue.call.reference;
            let near = dialogue.line.near.rest(SOON);
            let far = dialogue.line.far.rest(SOON);
            ensure!(released(&near) == Some((reference, true, Some(31))), "the caller reads {near:02x?}");
            ensure!(released(&far) == Some((reference, false, Some(31))), "the callee reads {far:02x?}");
            let link = &mut dialogue.line;
            ensure!(link.near.is_closed() && link.far.is_closed(), "its connection goes on");
            ensure!(turn.firewall.calls()?.is_empty(), "it goes on");
        }
        Ok(())
    })
}

/// Two calls on one connection: what ends the one must not end the other, so nobody is told.
#[test]
fn an_h323_call_that_shares_its_connection_leaves_the_others_alone() -> Result<()> {
    with_limit("an_h323_call_that_shares_its_connection_leaves_the_others_alone", |turn| {
        let caller = Host::new(turn.lab.outside(), Family::V4.phone(0));
        let terminal = Host::new(turn.lab.inside(), Family::V4.call_manager(0));
        let desk = session::desk(&terminal)?;
        let mut first = Dialogue::answered(&caller, &desk, Parts::default(), &Parts::default())?;
        let line = &mut first.line;
        let second = callgate_lab::h323::new_call();
        line.forth(&callgate_lab::h323::wire::Setup::default().encode(&second))?;
        line.back(&callgate_protocols::build::alerting(&second, &Parts::default()))?;
        let until = Instant::now() + SOON;
        while turn.firewall.calls()?.len() > 1 {
            ensure!(Instant::now() < until, "the first call goes on");
        }
        ensure!(
            line.near.rest(session::QUIET).is_empty() && line.far.rest(session::QUIET).is_empty(),
            "told"
        );
        line.back(&callgate_protocols::build::release_complete(&second, true, &Parts::default()))?;
        Ok(())
    })
}

#[test]
fn a_phone_of_sccp_hangs_up_with_its_next_sign_of_life() -> Result<()> {
    with_limit("a_phone_of_sccp_hangs_up_with_its_next_sign_of_life", |turn| {
        let manager = CallManager::listen(turn.lab.inside(), Family::V4.call_manager(0))?;
        let version = Version(17);
        let mut session = Session::registered(turn.lab.outside(), Family::V4.phone(0), &manager, version)?;
        session.has_number("1150")?;
        let channel = session.lift()?;
        for key in "5550100".chars() {
            session.press(key, channel)?;
        }
        ensure!(session.dialled("5550100", channel)?, "the phone does not hear it");
        session.call_state(state::RING_OUT, channel)?;
        session.call_state(state::CONNECTED, channel)?;
        let until = Instant::now() + SOON;
        while !turn.firewall.calls()?.is_empty() {
            ensure!(Instant::now() < until, "the call goes on");
        }
        let alive = wire::bare(version, id::KEEP_ALIVE);
        session.phone.send(&alive)?;
        session.manager.expect(id::ON_HOOK)?;
        session.call_state(state::ON_HOOK, channel)?;
        session.phone.send(&alive)?;
        session.manager.expect(id::KEEP_ALIVE)?;
        session.leave()
    })
}

#[test]
fn an_mgcp_gateway_and_its_agent_are_told() -> Result<()> {
    with_limit("an_mgcp_gateway_and_its_agent_are_told", |turn| {
        let family = Family::V4;
        let agent = Station::agent(turn.lab.inside(), family.call_manager(0))?;
        let gateway = Station::gateway(turn.lab.outside(), family.gateway())?;
        let number = mgcp::transaction();
        gateway.send(&agent, &mgcp::notify(number, "d/5,d/5,d/5,d/0,d/1"))?;
        ensure!(agent.receive(SOON)?.is_some(), "the digits do not arrive");
        agent.send(&gateway, &format!("200 {number} OK\r\n"))?;
        ensure!(gateway.receive(SOON)?.is_some(), "the answer does not arrive");
        let call = mgcp::place(&agent, &gateway, family.call_manager(0))?;
        for (own, other, name) in [(&gateway, &agent, "the gateway"), (&agent, &gateway, "the agent")] {
            let told = own.receive(SOON)?.with_context(|| format!("{name} is not told"))?;
            ensure!(told.starts_with("DLCX 9") && told.contains("\r\nC: "), "{name} reads {told}");
            let number = told.split(' ').nth(1).context("a number")?;
            own.send(other, &format!("250 {number} OK\r\n"))?;
        }
        let quiet = Duration::from_millis(1_500);
        ensure!(agent.receive(quiet)?.is_none() && gateway.receive(quiet)?.is_none(), "more is said");
        drop(call);
        Ok(())
    })
}
