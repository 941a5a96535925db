//! Who may call what: the call policy of `rules/toll-fraud.toml`, put to every number of the restriction list and of
//! the after-hours list in the CallManager Express security guide, for a plain and a privileged caller, over SIP,
//! H.323 and SCCP. What counts is what arrives at the far side, and what the caller reads.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use callgate_lab::fixture::{GATEWAY, Turn};
use callgate_lab::h323::new_call;
use callgate_lab::h323::session::{self, Dialogue, Host, Listener, released};
use callgate_lab::h323::wire::Setup;
use callgate_lab::lab::Family;
use callgate_lab::policy::Policy;
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
    const ALL: [Self; 3] = [
        Self { privileged: false, open: true },
        Self { privileged: false, open: false },
        Self { privileged: true, open: false },
    ];

    fn may(self, open: Open) -> bool {
        self.privileged || open == Open::Always || self.open && open == Open::InHours
    }

    /// An extension: another for each protocol.
    fn number(self, protocol: usize) -> String {
        let place = protocol + 3 * usize::from(self.open);
        if self.privileged { format!("100{place}") } else { format!("115{place}") }
    }
}

/// The shipped `[policy]` in the lab, while the site is open or closed, with these changes.
fn govern(turn: &Turn, open: bool, changes: &[(&str, &str)]) -> Result<()> {
    const SHIPPED: &str = include_str!("../../rules/toll-fraud.toml");
    let from = SHIPPED.find("[policy]\n").context("no [policy]")?;
    let to = SHIPPED.find("# --- What is read").context("no end of [policy]")?;
    let mut policy = SHIPPED[from..to].to_owned();
    let mut change = |passage: &str, instead: &str| -> Result<()> {
        ensure!(policy.contains(passage), "the shipped policy has no {passage}");
        policy = policy.replace(passage, instead);
        Ok(())
    };
    // The site is closed at every hour, or never.
    let hours = "when     = [\"mon-fri 18:00-08:00\", \"sat,sun\"]\n";
    let dates = "dates    = [\"01-01\", \"07-04\", \"12-25\", \"12-24 12:00-24:00\"]\n";
    change(dates, "")?;
    change(hours, if open { "dates = [\"1999-01-01\"]\n" } else { "when = \"00:00-24:00\"\n" })?;
    // What is tried here within seconds would look like fraud, by night at that, and too fast anyhow.
    change("refuse      = 400\n", "")?;
    change("calls_per_minute = 60", "calls_per_minute = 6000")?;
    change("calls_per_minute = 300", "calls_per_minute = 6000")?;
    for (passage, instead) in changes {
        change(passage, instead)?;
    }
    let rules = Policy::default().text(&turn.lab);
    let groups = "[groups]\ncme = [\"10.1.1.10\", \"10.1.1.11\"]\ntrunks = [\"203.0.113.10\"]\n";
    let rules = rules.replacen("[groups]\n", groups, 1);
    fs::write(turn.firewall.rules_file(), format!("{rules}\n{policy}"))?;
    let output = turn.firewall.fwctl(&["reload"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Runs a test that needs the lab.
fn with_lab(test: &str, run: impl FnOnce(&Turn) -> Result<()>) -> Result<()> {
    if !root_or_skip(test) {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    run(&turn)?;
    turn.firewall.settled()
}

/// Asserts that each number of the list gets through if, and only if, it should; `call` tells what happened.
fn each_number(turn: &Turn, protocol: usize, mut call: impl FnMut(&str, &str) -> Result<bool>) -> Result<()> {
    for who in Who::ALL {
        govern(turn, who.open, &[])?;
        for (number, open) in list() {
            let through =
                call(&who.number(protocol), &number).with_context(|| format!("{who:?} {number}"))?;
            ensure!(through == who.may(open), "{who:?} calls {number}: through is {through}");
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
    let Some(came) = line.read(Side::Far, std::time::Duration::from_millis(150))? else {
        let answer = line.read(Side::Near, std::time::Duration::from_secs(2))?.context("no answer")?;
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
/// manager reads that the phone has hung up; or the connection is over, where the digits could have been the beginning
/// of a number that may be called.
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
        ensure!(session.phone.is_closed() && session.manager.is_closed(), "the connection goes on");
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
            let through = by_sccp(session, called)?;
            if !through && session.phone.is_closed() {
                current = None;
            }
            Ok(through)
        })?;
        current.map_or(Ok(()), |(_, session)| session.leave())
    })
}

/// A speed dial's digits are the call manager's: the phone that may not call there loses its connection.
#[test]
fn a_number_that_the_call_manager_dials() -> Result<()> {
    with_lab("a_number_that_the_call_manager_dials", |turn| {
        govern(turn, true, &[])?;
        let manager = CallManager::listen(turn.lab.inside(), Family::V4.call_manager(0))?;
        let mut session = phone(turn, &manager, Family::V4.phone(0), "1157")?;
        let channel = session.lift()?;
        ensure!(!session.dialled("9011442071234567", channel)?, "the phone hears it");
        ensure!(session.phone.is_closed() && session.manager.is_closed(), "the connection goes on");
        Ok(())
    })
}

/// Emergency calls, while every limit there is has come: those of the policy, of SIP and of H.323.
#[test]
fn emergency_calls_under_every_limit() -> Result<()> {
    with_lab("emergency_calls_under_every_limit", |turn| {
        let limits = "calls            = 200\n";
        govern(
            turn,
            false,
            &[
                (limits, "calls = 1\nminutes_per_day = 1\n"),
                ("calls_per_minute = 6000\n", "calls_per_minute = 1\n"),
                ("unmatched = \"refuse\"\n", "unmatched = \"refuse\"\nrefuse_with = \"decline\"\n"),
            ],
        )?;
        let text = fs::read_to_string(turn.firewall.rules_file())?;
        let tables = "[inspect.sip]\ndialogs_max = 1\ndialogs_per_source = 1\nrates = { INVITE = \"1/m\" }\n\
                      called_deny = [\"9*\"]\n\n[inspect.h323]\ncalls_max = 1\ncalls_per_source = 1\n\
                      called_deny = [\"9*\"]\n\n[inspect.sccp]\n";
        ensure!(text.contains("[inspect.sccp]\n"), "the lab's rules are not what they were");
        fs::write(turn.firewall.rules_file(), text.replacen("[inspect.sccp]\n", tables, 1))?;
        let output = turn.firewall.fwctl(&["reload"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let before = turn.firewall.last_event()?;

        // The one call there may be.
        let stage = Stage::new(turn, Family::V4);
        let mut line = Line::open(&stage.phone, &stage.manager, Udp)?;
        let mut script = Script::new(&line);
        script.users = ["1150".to_owned(), "1234".to_owned()];
        let invite = script.first(Side::Near, "INVITE", "", "");
        line.say(Side::Near, &invite)?;

        // Any other is refused, whatever signals it.
        let mut second = Line::open(&stage.other, &stage.manager, Udp)?;
        let mut other = Script::new(&second);
        other.users = ["1151".to_owned(), "1234".to_owned()];
        let answer = second.say_in_vain(Side::Near, &other.first(Side::Near, "INVITE", "", ""))?;
        ensure!(answer.as_deref().map(status) == Some("503"), "{answer:?}");
        let caller = Host::new(turn.lab.outside(), Family::V4.phone(0));
        let terminal = Host::new(turn.lab.inside(), Family::V4.call_manager(0));
        let desk = session::desk(&terminal)?;
        let call = new_call();
        let [near, far] = caller
            .connect(&desk)?
            .withheld(&Setup { calling: "1152", called: "1234", ..Setup::default() }.encode(&call))?;
        ensure!(far.is_empty(), "{far:02x?} arrives");
        ensure!(released(&near) == Some((call.reference, true, Some(42))), "{near:02x?}");
        let manager = CallManager::listen(turn.lab.inside(), Family::V4.call_manager(1))?;
        let mut session = phone(turn, &manager, Family::V4.phone(1), "1153")?;

        // An emergency call is not.
        for number in ["911", "9911"] {
            ensure!(by_sip(&stage, "1150", number)?, "{number} by SIP");
            let mut dialogue = Dialogue::connect(&caller, &desk)?;
            let setup = Setup { calling: "1154", called: number, ..Setup::default() };
            dialogue.line.forth(&setup.encode(&dialogue.call))?;
            dialogue.line.back(&build::connect(&dialogue.call, &Parts::default()))?;
            dialogue.release()?;
            ensure!(by_sccp(&mut session, number)?, "{number} by SCCP");
        }
        session.leave()?;
        let told = turn.firewall.events(before)?;
        let emergencies = told.iter().filter(|row| row.kind.name() == "emergency-call").count();
        ensure!(emergencies == 6, "{emergencies} emergency calls were told of");
        line.say(Side::Far, &script.response(Side::Far, &invite, "486 Busy Here", "", ""))
    })
}
