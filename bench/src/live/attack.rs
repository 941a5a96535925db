//! Callgate while it is attacked: who still gets through, and how long new rules take.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use callgate_lab::converse::{converse, echo};
use callgate_lab::daemon::Firewall;
use callgate_lab::filter::{Filter, OPEN};
use callgate_lab::lab::{Family, Lab};
use callgate_lab::meter::{Direction, Meter};
use callgate_lab::policy::Policy;
use callgate_lab::sip::{self, Callee, Transport};
use callgate_lab::tools::{Flood, beside_the_flood};

use super::Effort;
use crate::report::{Case, rounded};
use crate::tasks::{Task, cpu_time_of};

/// Before anything is looked at, a flood is let come up.
const RISE: Duration = Duration::from_millis(300);
/// Rules that are put in force at once, besides those of the lab.
const RULES: u32 = 10_000;
/// The hping3 arguments of a flood that no rule admits, and its packets as the meter knows them.
const REFUSED: (&str, &str) = ("--udp -p 8500 --rand-source", "udp dport 8500");

/// Forged openings come in at a port that is open to everybody, while a stranger's client opens connections there.
pub(super) fn syn_flood(effort: &Effort) -> Result<Case> {
    let lab = Lab::gateway()?;
    lab.hears_xdp()?;
    let filter = Filter { settings: "replies = \"100000/s\"", ..Filter::default() };
    let firewall = Firewall::start(&lab, &filter.text()).context("starting callgated")?;
    let manager = SocketAddr::new(Family::V4.call_manager(0), OPEN.0);
    echo(lab.inside().listen(manager)?);
    let client = Family::V4.attacker();
    let quiet = converse(&lab, client, manager, effort.attack / 4);

    let of_the_flood = format!("tcp dport {} ip saddr != {client}", OPEN.0);
    let counts = [("flood", of_the_flood.as_str())];
    let sent = Meter::attach(lab.outside(), "eth0", Direction::Out, &counts)?;
    let arrived = Meter::attach(lab.inside(), "eth0", Direction::In, &counts)?;
    let kernel = Task::ksoftirqd(0)?;
    let flood = Flood::start(&lab, manager.ip(), &format!("--syn -p {} --rand-source", OPEN.0))?;
    thread::sleep(RISE);
    // What hping3 takes is the filter's time too: its packets are judged before its send returns.
    let spent = || Ok::<_, anyhow::Error>(cpu_time_of(flood.pid())? + kernel.cpu_time()?);
    let (started, before, first) = (Instant::now(), spent()?, sent.packets("flood")?);
    let connections = beside_the_flood(|| converse(&lab, client, manager, effort.attack))?;
    let (lasted, after, last) = (started.elapsed(), spent()?, sent.packets("flood")?);
    flood.stop()?;
    ensure!(connections.tried > 0, "no connection was tried");

    let rate = (last - first) as f64 / lasted.as_secs_f64();
    let share = (after - before).as_secs_f64() / lasted.as_secs_f64();
    let mut case = Case::new("syn-flood");
    case.time(vec![(after - before).as_nanos() as f64 / (last - first).max(1) as f64]);
    case.pps = Some(rounded(rate, 0));
    case.note = Some(format!(
        "{} of {} connections of a stranger opened and answered ({:.1} %, the slowest in {:.0} ms; without a flood \
         {} of {}), beside {rate:.0} forged SYNs a second, {} of which arrived; flood and filter took {:.0} % of \
         their CPU, which is the client's too; `ns` is for a packet made, sent and judged",
        connections.answered,
        connections.tried,
        100.0 * f64::from(connections.answered) / f64::from(connections.tried),
        connections.slowest.as_secs_f64() * 1e3,
        quiet.answered,
        quiet.tried,
        arrived.packets("flood")?,
        100.0 * share,
    ));
    drop(firewall);
    Ok(case)
}

/// Two lists of 10,000 rules take turns while a call is up and packets that neither admits flood in.
pub(super) fn reload(effort: &Effort) -> Result<Case> {
    let lab = Lab::gateway()?;
    let base = Policy::default().text(&lab);
    let lists = [172, 100].map(|net| many_rules(&base, net));
    let firewall = Firewall::start(&lab, &lists[0]).context("starting callgated")?;
    let callee = Callee::listen(lab.inside(), Family::V4.call_manager(1), Transport::Udp)?;
    let call = sip::place(lab.outside(), Family::V4.phone(0), &callee)?;
    let arrived = Meter::attach(lab.inside(), "eth0", Direction::In, &[("flood", REFUSED.1)])?;
    let sent = Meter::attach(lab.outside(), "eth0", Direction::Out, &[("flood", REFUSED.1)])?;
    let flood = Flood::start(&lab, Family::V4.call_manager(0), REFUSED.0)?;
    thread::sleep(RISE);

    let mut times = Vec::new();
    let started = Instant::now();
    for list in [1, 0].into_iter().cycle() {
        let start = Instant::now();
        firewall.reload(&lists[list])?;
        times.push(start.elapsed());
        if started.elapsed() > effort.attack {
            break;
        }
    }
    let lasted = flood.stop()?;
    let outcome = call.finish(Duration::from_millis(200))?;
    let (sent, arrived) = (sent.packets("flood")?, arrived.packets("flood")?);
    let slowest = times.iter().max().copied().unwrap_or_default();

    let mut case = Case::new("reload-10000");
    case.time(times.iter().map(|time| time.as_nanos() as f64).collect());
    case.note = Some(format!(
        "{} reloads of {RULES} rules, from `fwctl reload` to its answer, the slowest in {:.0} ms; beside them {:.0} \
         packets a second that no rule admits, {arrived} of which arrived, and a call: {outcome}",
        times.len(),
        slowest.as_secs_f64() * 1e3,
        sent as f64 / lasted.as_secs_f64(),
    ));
    Ok(case)
}

/// The lab's rules, and behind them many that name a host and a port each.
fn many_rules(base: &str, net: u8) -> String {
    let mut text = base.to_owned();
    for number in 0..RULES {
        let [_, _, high, low] = number.to_be_bytes();
        let port = 20_000 + number;
        let _ = write!(
            text,
            "\n[[rule]]\nname = \"host {number}\"\nfrom = \"{net}.16.{high}.{low}\"\nto = \"callmanagers\"\n\
             service = \"tcp/{port}\"\naction = \"track\"\n"
        );
    }
    text
}
