//! Who may call what: the call policy of `rules/toll-fraud.toml`, put to every number of the restriction list and of
//! the after-hours list in the CallManager Express security guide, for a plain and a privileged caller, over SIP,
//! H.323 and SCCP. What counts is what arrives at the far side, and what the caller reads.

use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_api::{Page, Record};
use callgate_lab::daemon::set_clock;
use callgate_lab::fixture::{Shared, Turn};
use callgate_lab::h323::new_call;
use callgate_lab::h323::session::{self, Dialogue, Host, Listener, released};
use callgate_lab::h323::wire::Setup;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::root_or_skip;
use callgate_lab::sccp::wire::{Version, id, state};
use callgate_lab::sccp::{CallManager, Session};
use callgate_lab::sip::Transport::Udp;
use callgate_lab::sip::stage::Stage;
use callgate_lab::sip::talk::{Line, Script, Side, status};
use callgate_protocols::build::{self, Parts};

/// Area codes that are billed as from abroad, or as premium: blocked all week.
const ONE_RING: [&str; 24] = [
    "242", "264", "268", "246", "441", "284", "345", "767", "809", "473", "876", "664", "787", "869", "758",
    "900", "976", "868", "649", "340", "784", "684", "590", "456",
];

/// Who gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// Everybody, at any time.
    Always,
    /// The privileged at any time, others while the site is open.
    InHours,
    /// The privileged alone.
    Privileged,
}

/// Each number, and who may call it.
fn list() -> Vec<(String, Open)> {
    let listed = [
        ("911", Open::Always),
        ("9911", Open::Always),
        ("918005550100", Open::Always),
        ("918665550100", Open::Always),
        ("918775550100", Open::Always),
        ("918885550100", Open::Always),
        ("97325550100", Open::Always),
        ("9411", Open::InHours),
        ("912125550100", Open::InHours),
        ("9011442071234567", Open::Privileged),
    ];
    let listed = listed.map(|(number, open)| (number.to_owned(), open));
    let areas = ONE_RING.map(|area| (format!("91{area}5550100"), Open::Privileged));
    listed.into_iter().chain(areas).collect()
}

/// Who calls, at which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who {
    privileged: bool,
    open: bool,
}

impl Who {
    fn may(self, open: Open) -> bool {
        self.privileged || open == Open::Always || self.open && open == Open::InHours
    }

    /// An extension: another for each protocol.
    fn number(self, protocol: usize) -> String {
        let place = protocol + 3 * usize::from(self.open);
        if self.privileged { format!("100{place}") } else { format!("115{place}") }
    }
}

/// A Wednesday in New Jersey, 10:00 and 20:00, in UTC.
const OPEN: &str = "2026-11-25 15:00:00";
const CLOSED: &str = "2026-11-26 01:00:00";
const SHIPPED: &str = include_str!("../../rules/toll-fraud.toml");

/// A lab under the shipped rules, at a time that the tests choose.
static SITE: Shared = Shared::under(Lab::gateway, |lab| {
    set_clock(lab, OPEN).expect("the daemon's clock");
    let link = lab
        .fw()
        .output(Command::new("ip").args(["link", "add", "wan0", "type", "veth", "peer", "name", "wan1"]));
    assert!(link.is_ok_and(|output| output.status.success()), "a link to nowhere");
    shipped(&[]).expect("the shipped rules")
});

/// The shipped rules with these changes. Interfaces and addresses are the lab's; beyond that nothing is other than it
/// is shipped.
fn shipped(changes: &[(&str, &str)]) -> Result<String> {
    let lab = [
        ("wan  = [\"eth0\"]", "wan  = [\"wan0\"]"),
        ("site = [\"eth1\"]", "site = [\"out0\", \"in0\"]"),
        ("cme    = [\"10.10.0.1\"]", "cme    = [\"10.1.1.10\", \"10.1.1.11\"]"),
        ("phones = [\"10.10.1.0/24\"]", "phones = [\"10.20.0.0/16\"]"),
    ];
    let mut text = SHIPPED.to_owned();
    for (passage, instead) in lab.iter().chain(changes) {
        ensure!(text.matches(passage).count() == 1, "the shipped rules have not one {passage}");
        text = text.replacen(passage, instead, 1);
    }
    Ok(text)
}

/// Runs a test that needs the lab, while the site is open.
fn with_lab(test: &str, run: impl FnOnce(&Turn) -> Result<()>) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    let turn = SITE.turn()?;
    turn.firewall.reload(&shipped(&[])?)?;
    turn.firewall.set_clock(OPEN)?;
    run(&turn)?;
    turn.firewall.settled()
}

/// Asserts that each number of the list gets through if, and only if, it should; `call` tells what happened.
fn each_number(turn: &Turn, protocol: usize, mut call: impl FnMut(&str, &str) -> Result<bool>) -> Result<()> {
    for open in [true, false] {
        turn.firewall.set_clock(if open { OPEN } else { CLOSED })?;
        for privileged in [false, true] {
            let who = Who { privileged, open };
            for (number, open) in list() {
                let through =
                    call(&who.number(protocol), &number).with_context(|| format!("{who:?} {number}"))?;
                ensure!(through == who.may(open), "{who:?} calls {number}: through is {through}");
            }
        }
    }
    Ok(())
}

/// An INVITE: whether it arrives; its caller reads 486 from there, or 403 and why.
fn by_sip(stage: &Stage<'_>, caller: &str, called: &str) -> Result<bool> {
    let mut line = Line::open(&stage.phone, &stage.manager, Udp)?;
    let mut script = Script::new(&line);
    script.users = [caller.to_owned(), called.to_owned()];
    let invite = script.first(Side::Near, "INVITE", "", "");
    line.send(Side::Near, &invite)?;
    let Some(came) = line.read(Side::Far, Duration::from_millis(150))? else {
        let answer = line.read(Side::Near, Duration::from_secs(2))?.context("no answer")?;
        ensure!(status(&answer) == "403", "{answer}");
        ensure!(answer.contains("\r\nReason: Q.850;cause=21;text=\""), "{answer}");
        return Ok(false);
    };
    ensure!(came == invite, "arrives as {came}");
    let call = stage.call(&script.call)?.context("it is not listed")?;
    ensure!(call.policy.is_some_and(|policy| !policy.permission.is_empty()), "no permission is shown");
    let busy = script.response(Side::Far, &invite, "486 Busy Here", "", "");
    line.say(Side::Far, &busy)?;
    Ok(true)
}

/// A Setup: whether it arrives; its caller reads a ReleaseComplete of cause 21 if not.
fn by_h323(caller: &Host, desk: &Listener, calling: &str, called: &str) -> Result<bool> {
    let setup = Setup { calling, called, ..Setup::default() };
    let (call, mut line) = (new_call(), caller.connect(desk)?);
    let octets = setup.encode(&call);
    let [near, far] = line.withheld(&octets)?;
    if far.is_empty() {
        ensure!(released(&near) == Some((call.reference, true, Some(21))), "the caller reads {near:02x?}");
        return Ok(false);
    }
    ensure!(far == octets, "arrives as {far:02x?}");
    line.back(&build::release_complete(&call, true, &Parts::default()))?;
    Ok(true)
}

/// A number, key by key: whether the call manager reads all of it and the phone what it makes of it. If not, the call
/// manager reads that the phone has hung up: in place of a key, or, where the digits could have been the beginning of a
/// number that may be called, once it has said what was dialled.
fn by_sccp(session: &mut Session, called: &str) -> Result<bool> {
    let channel = session.lift()?;
    for key in called.chars() {
        let message = session.press(key, channel)?;
        if message.id == id::ON_HOOK {
            session.call_state(state::ON_HOOK, channel)?;
            return Ok(false);
        }
        ensure!(message.id == id::KEYPAD_BUTTON, "message {:#06x} arrives", message.id);
    }
    if !session.dialled(called, channel)? {
        session.call_state(state::ON_HOOK, channel)?;
        return Ok(false);
    }
    session.call_state(state::RING_OUT, channel)?;
    session.call_state(state::ON_HOOK, channel)?;
    Ok(true)
}

/// A phone that is registered, its line having this number.
fn phone(turn: &Turn, manager: &CallManager, ip: IpAddr, number: &str) -> Result<Session> {
    let mut session = Session::registered(turn.lab.outside(), ip, manager, Version(17))?;
    session.has_number(number)?;
    Ok(session)
}

#[test]
fn each_number_over_sip() -> Result<()> {
    with_lab("each_number_over_sip", |turn| {
        let stage = Stage::new(turn, Family::V4);
        each_number(turn, 0, |caller, called| by_sip(&stage, caller, called))
    })
}

#[test]
fn each_number_over_h323() -> Result<()> {
    with_lab("each_number_over_h323", |turn| {
        let caller = Host::new(turn.lab.outside(), Family::V4.phone(0));
        let terminal = Host::new(turn.lab.inside(), Family::V4.call_manager(0));
        let desk = session::desk(&terminal)?;
        each_number(turn, 1, |calling, called| by_h323(&caller, &desk, calling, called))
    })
}

#[test]
fn each_number_over_sccp() -> Result<()> {
    with_lab("each_number_over_sccp", |turn| {
        let manager = CallManager::listen(turn.lab.inside(), Family::V4.call_manager(0))?;
        let mut current: Option<(String, Session)> = None;
        each_number(turn, 2, |caller, called| {
            if current.as_ref().is_none_or(|(number, _)| number != caller) {
                if let Some((_, session)) = current.take() {
                    session.leave()?;
                }
                current = Some((caller.to_owned(), phone(turn, &manager, Family::V4.phone(0), caller)?));
            }
            let (_, session) = current.as_mut().context("a phone")?;
            by_sccp(session, called)
        })?;
        current.map_or(Ok(()), |(_, session)| session.leave())
    })
}

/// A speed dial's digits are the call manager's: it reads that the phone which may not call there has hung up. The
/// phone's other calls, and its connection, know nothing of it.
#[test]
fn a_number_that_the_call_manager_dials() -> Result<()> {
    with_lab("a_number_that_the_call_manager_dials", |turn| {
        let manager = CallManager::listen(turn.lab.inside(), Family::V4.call_manager(0))?;
        for version in Version::ALL {
            let (ns, ip) = (turn.lab.outside(), Family::V4.phone(0));
            let mut session = Session::registered(ns, ip, &manager, version)?;
            session.has_number("1157")?;
            let held = session.lift()?;
            ensure!(session.dialled(FAR, held)?, "{version:?}: a call that is permitted is not heard of");
            session.call_state(state::CONNECTED, held)?;
            let channel = session.lift()?;
            ensure!(!session.dialled("9011442071234567", channel)?, "{version:?}: the phone hears it");
            session.call_state(state::ON_HOOK, channel)?;
            let calls = turn.firewall.calls()?;
            ensure!(calls.len() == 1 && calls[0].callee.party.ends_with(FAR), "{version:?}: {calls:?}");
            session.call_state(state::ON_HOOK, held)?;
            ensure!(by_sccp(&mut session, "918005550100")?, "{version:?}: the next call");
            session.leave()?;
        }
        Ok(())
    })
}

/// What calls a phone takes: the lobby's none from outside. It does not ring for one, the call manager reads that it has
/// ended the call, no media opens for it, and the history has it.
#[test]
fn a_call_that_comes_to_a_phone() -> Result<()> {
    with_lab("a_call_that_comes_to_a_phone", |turn| {
        let database = turn.lab.dir().join("comes.db");
        let history = format!("[history]\ndatabase = {database:?}\n\n[policy]\n");
        let takes = "outgoing = [\"internal\", \"toll-free\", \"local\"]";
        let inside = format!("{takes}\nincoming = [\"internal\"]");
        turn.firewall.reload(&shipped(&[("[policy]\n", &history), (takes, &inside)])?)?;
        let manager = CallManager::listen(turn.lab.inside(), Family::V4.call_manager(0))?;
        for version in Version::ALL {
            let (ns, ip) = (turn.lab.outside(), Family::V4.phone(0));
            let mut session = Session::registered(ns, ip, &manager, version)?;
            session.has_number("1801")?;
            // Within a call, which it must not disturb.
            let (talk, rings) = session.comes("1150", "1801")?;
            ensure!(rings, "{version:?}: a call from inside does not ring");
            session.call_state(state::CONNECTED, talk)?;
            let stream = session.open(talk, Family::V4.call_manager(0))?;
            let before = turn.firewall.last_event()?;
            let (channel, rings) = session.comes(FAR, "1801")?;
            ensure!(!rings, "{version:?}: a call from outside rings");
            let told = turn.firewall.events(before)?;
            ensure!(told.iter().any(|row| row.text.ends_with("(incoming)")), "{version:?}: {told:?}");
            ensure!(turn.firewall.calls()?.len() == 1, "{version:?}: it is listed");
            session.call_state(state::ON_HOOK, channel)?;
            let outcome = stream.finish()?;
            ensure!(outcome.is_whole(), "{version:?}: {outcome:?}");
            session.close(talk)?;
            session.call_state(state::ON_HOOK, talk)?;
            session.leave()?;
        }
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let output = turn.firewall.fwctl(&["history", "--refused", "--json"])?;
            let page: Result<Page<Record>, _> = serde_json::from_slice(&output.stdout);
            let rows = page.map(|page| page.rows).unwrap_or_default();
            let right = |row: &Record| {
                row.verdict == "incoming"
                    && row.caller_signalled == FAR
                    && row.called == "1801"
                    && row.released_by.as_deref() == Some("firewall")
            };
            if rows.len() == Version::ALL.len() && rows.iter().all(right) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the history has {rows:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    })
}

/// What can refuse a call: a passage of the shipped rules, what stands in its place, and the reason that follows.
const REFUSALS: [(&str, &str, &str); 15] = [
    (LONG_DISTANCE, "\"local\"]", "no-permission"),
    ("patterns = [\"91\"]", "patterns = [\"99999\"]", "no-pattern"),
    (HOURS, "when = \"00:00-24:00\"", "after-hours"),
    (STAFF, "each = { calls = 1 }", "caller-calls"),
    (STAFF, "together = { calls = 1 }", "group-calls"),
    ("longest  = \"4h\"", "calls = 1", "permission-calls"),
    ("calls            = 200", "calls            = 1", "all-calls"),
    (STAFF, "each = { minutes_per_day = 1 }", "caller-minutes"),
    (STAFF, "together = { minutes_per_day = 1 }", "group-minutes"),
    ("longest  = \"4h\"", "minutes_per_day = 1", "permission-minutes"),
    ("calls            = 200", "minutes_per_day = 1", "all-minutes"),
    ("calls_per_minute = 300", "calls_per_minute = 1", "all-rate"),
    (STAFF, "each = { calls_per_minute = 1 }", "caller-rate"),
    (STAFF, "together = { calls_per_minute = 1 }", "group-rate"),
    ("refuse      = 400", "refuse      = 1", "fraud"),
];
const STAFF: &str = "each     = { calls = 4, calls_per_minute = 60, minutes_per_day = 480 }";
const LONG_DISTANCE: &str = "\"local\", \"long-distance\"]\n\
     each     = { calls = 4, calls_per_minute = 60, minutes_per_day = 480 }";
const HOURS: &str = "when     = [\"mon-fri 00:00-08:00\", \"mon-fri 18:00-24:00\", \"sat,sun\"]";
/// A long-distance number.
const FAR: &str = "912125550100";

/// Emergency calls, while each limit there is has come: it refuses a plain caller's long-distance call, for that reason,
/// and neither emergency number, whatever signals it.
#[test]
fn emergency_calls_under_every_limit() -> Result<()> {
    with_lab("emergency_calls_under_every_limit", |turn| {
        let stage = Stage::new(turn, Family::V4);
        let caller = Host::new(turn.lab.outside(), Family::V4.phone(0));
        let terminal = Host::new(turn.lab.inside(), Family::V4.call_manager(0));
        let desk = session::desk(&terminal)?;
        let manager = CallManager::listen(turn.lab.inside(), Family::V4.call_manager(1))?;
        let mut session = phone(turn, &manager, Family::V4.phone(1), "1153")?;
        // A call that lasts, and one that has used a minute.
        let plain = |line: &Line| {
            let mut script = Script::new(line);
            script.users = ["1150".to_owned(), FAR.to_owned()];
            script
        };
        let mut lasting = Line::open(&stage.phone, &stage.manager, Udp)?;
        let mut its = plain(&lasting);
        let invite = its.first(Side::Near, "INVITE", "", "");
        lasting.say(Side::Near, &invite)?;
        lasting.say(Side::Far, &its.response(Side::Far, &invite, "180 Ringing", "", ""))?;
        let mut line = Line::open(&stage.phone, &stage.manager, Udp)?;
        let mut script = plain(&line);
        script.connect(&mut line, "", "")?;
        thread::sleep(Duration::from_secs(61));
        script.end(&mut line, Side::Near)?;

        for (passage, instead, reason) in REFUSALS {
            turn.firewall.reload(&shipped(&[(passage, instead)])?)?;
            if reason.ends_with("-rate") {
                // What the case before has called is paid off at the pace of the rules of now.
                thread::sleep(Duration::from_secs(2));
                ensure!(by_sip(&stage, "1150", FAR)?, "{reason}: the first in a minute");
            }
            let before = turn.firewall.last_event()?;
            let mut line = Line::open(&stage.phone, &stage.manager, Udp)?;
            let invite = plain(&line).first(Side::Near, "INVITE", "", "");
            let answer = line.say_in_vain(Side::Near, &invite).with_context(|| reason)?;
            let status = answer.as_deref().map(status).unwrap_or_default().to_owned();
            ensure!(["403", "503"].contains(&status.as_str()), "{reason}: {answer:?}");
            let told = turn.firewall.events(before)?;
            ensure!(told.iter().any(|row| row.text.contains(&format!("({reason})"))), "{reason}: {told:?}");
            for number in ["911", "9911"] {
                ensure!(by_sip(&stage, "1150", number)?, "{reason}: {number} by SIP");
                ensure!(by_h323(&caller, &desk, "1154", number)?, "{reason}: {number} by H.323");
                ensure!(by_sccp(&mut session, number)?, "{reason}: {number} by SCCP");
            }
            let told = turn.firewall.events(before)?;
            let emergencies = told.iter().filter(|row| row.kind.name() == "emergency-call").count();
            ensure!(emergencies == 6, "{reason}: {emergencies} emergency calls were told of");
        }
        session.leave()?;
        lasting.say(Side::Far, &its.response(Side::Far, &invite, "486 Busy Here", "", ""))
    })
}

/// The limits that SIP and H.323 have of their own do not refuse emergency calls either.
#[test]
fn emergency_calls_under_limits_of_the_protocols() -> Result<()> {
    with_lab("emergency_calls_under_limits_of_the_protocols", |turn| {
        let tables = "[inspect.sip]\ndialogs_max = 1\ndialogs_per_source = 1\nrates = { INVITE = \"1/m\" }\n\
                      called_deny = [\"9*\"]\n\n[inspect.h323]\ncalls_max = 1\ncalls_per_source = 1\n\
                      called_deny = [\"9*\"]\n\n[policy]\nrefuse_with = \"decline\"\n";
        turn.firewall.reload(&shipped(&[("[policy]\n", tables)])?)?;
        // The one call there may be.
        let stage = Stage::new(turn, Family::V4);
        let mut line = Line::open(&stage.phone, &stage.manager, Udp)?;
        let mut script = Script::new(&line);
        script.users = ["1160".to_owned(), "1234".to_owned()];
        let invite = script.first(Side::Near, "INVITE", "", "");
        line.say(Side::Near, &invite)?;

        // Any other is refused.
        let mut second = Line::open(&stage.other, &stage.manager, Udp)?;
        let mut other = Script::new(&second);
        other.users = ["1161".to_owned(), "1234".to_owned()];
        let answer = second.say_in_vain(Side::Near, &other.first(Side::Near, "INVITE", "", ""))?;
        ensure!(answer.as_deref().map(status) == Some("503"), "{answer:?}");
        let caller = Host::new(turn.lab.outside(), Family::V4.phone(0));
        let terminal = Host::new(turn.lab.inside(), Family::V4.call_manager(0));
        let desk = session::desk(&terminal)?;
        ensure!(!by_h323(&caller, &desk, "1164", "912125550100")?, "a long-distance call arrives");

        // An emergency call is not.
        for number in ["911", "9911"] {
            ensure!(by_sip(&stage, "1160", number)?, "{number} by SIP");
            let mut dialogue = Dialogue::connect(&caller, &desk)?;
            let setup = Setup { calling: "1164", called: number, ..Setup::default() };
            dialogue.line.forth(&setup.encode(&dialogue.call))?;
            dialogue.line.back(&build::connect(&dialogue.call, &Parts::default()))?;
            dialogue.release()?;
        }
        line.say(Side::Far, &script.response(Side::Far, &invite, "486 Busy Here", "", ""))
    })
}
