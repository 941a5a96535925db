//! Callgate's main job, played on one machine and judged aloud: calls go through with all their media, and
//! the three attacks of the March 2007 advisories do not, while the calls are up.
//!
//! Prints a verdict per expectation, then what fwctl showed at the busiest moment. Exit status 0 when every
//! expectation held, 1 when one failed, 2 when the demonstration could not be run.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use callgate_lab::attack::{self, Attack, Effect, Probe, Source, Vector};
use callgate_lab::call::{Call, Outcome};
use callgate_lab::daemon::Firewall;
use callgate_lab::h323::{self, Form};
use callgate_lab::lab::{Family, GATEWAY, Lab};
use callgate_lab::sip::{self, Transport};
use callgate_lab::sipp::{self, Plan, Run, Story};
use clap::Parser;

/// Packets of one attack.
const COUNT: u32 = 5_000;
/// Packets per second of an attack.
const RATE: u32 = 20_000;
/// When the listings are taken, after the attacks have begun.
const BUSY: Duration = Duration::from_millis(900);
/// The listings shown at the end.
const LISTINGS: [&str; 5] = ["status", "calls", "pinholes", "rules", "counters"];

/// Plays calls and attacks through a firewall between network namespaces, and judges the outcome.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Rules file; its zones `outside` and `inside` get the lab's interfaces.
    #[arg(long, value_name = "FILE", default_value = "rules/cucm-mitigation.toml")]
    rules: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("callgate-demo makes network namespaces and loads eBPF programs: run it as root");
        return ExitCode::from(2);
    }
    match play(&arguments.rules, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("the demonstration could not be run: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Plays it; whether every expectation held.
fn play(rules: &Path, out: &mut dyn Write) -> Result<bool> {
    let started = Instant::now();
    let text = std::fs::read_to_string(rules).with_context(|| rules.display().to_string())?;
    let lab = Lab::gateway()?;
    writeln!(out, "Lab: outside (phones, attacker) -- firewall -- inside (call managers)")?;
    let mut firewall = Firewall::start(&lab, &fitted(&text))?;
    writeln!(out, "Rules: {}", rules.display())?;
    for interface in firewall.status()?.interfaces {
        let zone = interface.zone.as_deref().unwrap_or("none");
        writeln!(out, "Interface: {}, zone {zone}, {} XDP", interface.name, interface.xdp)?;
    }
    let ready = started.elapsed().as_secs_f32();
    writeln!(out, "Ready after {ready:.1} s. Calls and attacks take about fifteen more.\n")?;
    out.flush()?;

    let mut verdicts = Verdicts::default();
    let desks = Desks::open(&lab)?;
    let calls = desks.calls(&lab, &mut verdicts);
    let plan = Plan { family: Family::V4, transport: Transport::Udp, calls: 3, story: Story::Plain };
    let run = Run::start(&lab, plan)?;
    let (effects, listings) = thread::scope(|scope| {
        let attacks = scope.spawn(|| attack(&lab));
        thread::sleep(BUSY);
        let listings = listings(&firewall);
        (attacks.join(), listings)
    });
    let effects = effects.map_err(|_| anyhow!("the attacks' thread panicked"))??;
    verdicts.run("SIP calls by sipp, IPv4 over UDP", plan, run.finish());
    let plan = Plan { family: Family::V6, transport: Transport::Tcp, calls: 2, story: Story::Plain };
    verdicts.run("SIP calls by sipp, IPv6 over TCP", plan, Run::start(&lab, plan)?.finish());
    for (label, call) in calls {
        verdicts.call(label, call.finish(Duration::ZERO));
    }
    match firewall.settled() {
        Ok(()) => verdicts.add(true, "Afterwards: all calls ended, all pinholes closed".to_owned()),
        Err(error) => verdicts.add(false, format!("Afterwards: {error:#}")),
    }
    for (attack, Effect { sent, arrived }) in effects {
        let text = format!("{}, {}: sent {sent}, arrived {arrived}", attack.vector, attack.source);
        verdicts.add(sent > 0 && arrived == 0, text);
    }
    verdicts.scanner(attack::nmap(&lab, Family::V4.call_manager(0)));

    firewall.stop()?;

    writeln!(out, "What fwctl showed while the calls were up and the attacks ran:\n")?;
    for (name, text) in listings? {
        writeln!(out, "$ fwctl {name}\n{text}")?;
    }
    verdicts.print(out)
}

/// A rules file's text with the lab's interfaces in its zones `outside` and `inside`.
fn fitted(text: &str) -> String {
    text.lines()
        .map(|line| match line.split_once('=').map(|(zone, _)| zone.trim()) {
            Some("outside") => "outside = [\"out0\"]\n".to_owned(),
            Some("inside") => "inside = [\"in0\"]\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect()
}

/// The call managers' side, answering.
struct Desks {
    udp: sip::Callee,
    tcp: sip::Callee,
    h323: h323::Callee,
}

impl Desks {
    fn open(lab: &Lab) -> Result<Self> {
        let inside = lab.inside();
        Ok(Self {
            udp: sip::Callee::listen(inside, Family::V4.call_manager(0), Transport::Udp)?,
            tcp: sip::Callee::listen(inside, Family::V6.call_manager(0), Transport::Tcp)?,
            h323: h323::Callee::listen(inside, Family::V4.call_manager(0))?,
        })
    }

    /// Places one call of each kind; a call that does not come up has its verdict at once.
    fn calls(&self, lab: &Lab, verdicts: &mut Verdicts) -> Vec<(&'static str, Call)> {
        let (outside, v4, v6) = (lab.outside(), Family::V4, Family::V6);
        let gateway = GATEWAY.into();
        let mut up = Vec::new();
        for (label, call) in [
            ("SIP call, IPv4 over UDP", sip::place(outside, v4.phone(0), &self.udp)),
            ("SIP call, IPv6 over TCP", sip::place(outside, v6.phone(0), &self.tcp)),
            ("H.323 call, fast start", h323::place(outside, gateway, &self.h323, Form::FastStart)),
            ("H.323 call, separate H.245", h323::place(outside, gateway, &self.h323, Form::SeparateH245)),
        ] {
            match call {
                Ok(call) => up.push((label, call)),
                Err(error) => verdicts.add(false, format!("{label}: {error:#}")),
            }
        }
        up
    }
}

/// Carries out every attack, plain and with forged sources.
fn attack(lab: &Lab) -> Result<Vec<(Attack, Effect)>> {
    let sources = [Source::Attacker, Source::Cluster, Source::Random];
    let attacks = Vector::ALL.into_iter().flat_map(|vector| sources.map(|source| (vector, source)));
    attacks
        .map(|(vector, source)| {
            let attack = Attack { rate: RATE, ..Attack::new(vector, source, COUNT) };
            Ok((attack, attack.run(lab)?))
        })
        .collect()
}

fn listings(firewall: &Firewall) -> Result<Vec<(&'static str, String)>> {
    LISTINGS.iter().map(|name| Ok((*name, firewall.listing(name)?))).collect()
}

/// What was expected, and whether it held.
#[derive(Default)]
struct Verdicts(Vec<(bool, String)>);

impl Verdicts {
    fn add(&mut self, held: bool, text: String) {
        self.0.push((held, text));
    }

    fn call(&mut self, label: &str, outcome: Result<Outcome>) {
        match outcome {
            Ok(outcome) => self.add(outcome.is_whole(), format!("{label}: connected; {outcome}")),
            Err(error) => self.add(false, format!("{label}: {error:#}")),
        }
    }

    fn run(&mut self, label: &str, plan: Plan, outcome: Result<sipp::Outcome>) {
        match outcome {
            Ok(outcome) => {
                let sipp::Outcome { connected, forth, back } = outcome;
                let text = format!(
                    "{label}: {connected} of {} connected; to the callee RTP {} of {}, to the caller RTP {} of {}",
                    plan.calls, forth.1, forth.0, back.1, back.0
                );
                self.add(outcome.is_whole(&plan), text);
            }
            Err(error) => self.add(false, format!("{label}: {error:#}")),
        }
    }

    fn scanner(&mut self, probes: Result<Vec<Probe>>) {
        match probes {
            Ok(probes) => {
                let hidden = probes.iter().all(|probe| probe.state == "filtered");
                let seen: Vec<String> =
                    probes.iter().map(|probe| format!("{} {}", probe.port, probe.state)).collect();
                self.add(
                    hidden && !probes.is_empty(),
                    format!("nmap from the attacker sees: {}", seen.join(", ")),
                );
            }
            Err(error) => self.add(false, format!("nmap from the attacker: {error:#}")),
        }
    }

    /// Prints one line each; whether all held.
    fn print(&self, out: &mut dyn Write) -> Result<bool> {
        writeln!(out, "What was expected, and whether it held:\n")?;
        for (held, text) in &self.0 {
            writeln!(out, "{}  {text}", if *held { "ok  " } else { "FAIL" })?;
        }
        let failed = self.0.iter().filter(|(held, _)| !held).count();
        writeln!(out, "\n{} of {} expectations held", self.0.len() - failed, self.0.len())?;
        Ok(failed == 0)
    }
}
