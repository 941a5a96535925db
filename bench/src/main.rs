//! Measures Callgate against named peers, in one run and on one CPU.
//!
//! Three kinds of case: [`prog_run`] times a program by itself on one frame over and over; [`flood`] sends frames
//! over a link and counts how many are dropped per second; [`signalling`] reads messages. Cases that are compared take turns (A B C A B C …),
//! so that whatever else the machine does falls on all of them alike; a figure is the median of its runs, and
//! their spread stands beside it. The bench works in a network namespace of its own, which vanishes with it.

#![deny(unsafe_code)]

mod callgate;
mod flood;
mod forward;
mod history;
mod lineup;
mod live;
mod machine;
mod media;
mod prog_run;
mod programs;
mod report;
mod scenario;
mod signalling;
#[expect(unsafe_code, reason = "the one place for system calls no crate wraps")]
mod sys;
mod tasks;

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use regex::Regex;

use crate::callgate::Callgate;
use crate::flood::{Defence, Link};
use crate::lineup::Selection;
use crate::machine::Machine;
use crate::prog_run::Subject;
use crate::programs::{Varied, Vary, XDP_DROP, XDP_PASS, XdpFilter};
use crate::report::{Case, Report};
use crate::scenario::{RULES, callgate_rules, frames, prefix_rules};

/// Measures Callgate against named peers. Needs root, but for signalling.
#[derive(Parser)]
#[command(version, after_help = CASES, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Options {
    /// Only cases whose name matches (and those they are compared with)
    #[arg(long, value_name = "REGEX")]
    only: Option<Regex>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Few and short runs: shows that it works, not how fast
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a case's messages and does nothing else, for those who count instructions
    #[command(hide = true)]
    Repeat {
        /// A case of signalling
        case: String,
        /// How often
        turns: u64,
    },
}

const CASES: &str = "\
Time of one program on one frame (BPF_PROG_RUN):
  pass-only        a program that only returns XDP_PASS: the floor
  xdp-filter       xdp-tools' filter, all features, policy allow, a few entries; passes a UDP packet
  drop-stranger    Callgate, 100 rules: drops UDP 8500 from outside the cluster
  rtp-closed       Callgate: drops RTP to a port no call has announced
  established-tcp  Callgate: passes a segment of a known connection
  xdp-filter-varied  xdp-filter behind a program that gives every packet another source
  new-flow-100     Callgate behind the same, 100 rules: a new flow, judged and entered
  new-flow-10000   the same with 10,000 rules
  prefixes-100     Callgate: dropped, with a group of 100 networks of which the source may be
  prefixes-100000  the same with 100,000 networks
  stage-link       Callgate: an ARP frame, of which only the Ethernet type is read
  stage-broken     a datagram that is read and found broken
  stage-land       one that is sane in itself, but comes from its own destination
  stage-no-pinhole one to a media port, through flows and rules
  stage-default    one that no rule names

Media (BPF_PROG_RUN):
  xdp-filter-stream  xdp-filter behind a program that makes each frame the next one of its RTP stream
  rtp-pinhole        Callgate behind the same: an open pinhole, all checks and measures
  rtp-pinhole-1000   RTP to a random one of 1,024 open pinholes
  rtp-pinhole-1m     the same of 1,048,576
  pinhole-bytes      memory of the kernel for each
  pinhole-open       from a message of SIP to its pinholes in force: 100,000 calls back to back, and their RTP

A flood of UDP 8500 from 65,536 forged addresses over a link (veth, native XDP):
  flood-generator     the cost of making the frames, part of the others
  flood-xdp-drop      a program that only returns XDP_DROP
  flood-callgate      Callgate, the same 100 rules
  flood-nftables      the same rules as an input chain, in order, with conntrack
  flood-nftables-set  the same rules as an input chain of one set look-up, with conntrack
  flood-rules-N       Callgate with 10, 1,000 or 10,000 rules
  flood-nftables-N    the same rules as an input chain, in order, with conntrack

RTP of 20,000 calls through a gateway, from one link to another (veth):
  rtp-forward-bare      a program that only redirects: the cost of making the frames and of both links
  rtp-forward-fast      Callgate, forwarded by XDP
  rtp-forward-stack     Callgate, forwarded by the stack
  rtp-forward-nftables  nftables with conntrack, forwarded by the stack

Signalling, a decoder alone (instructions by valgrind; against the count of Linux's own H.323 decoder):
  sip-invite-parse  INVITE with SDP
  sip-invite-ezk    the same, by another parser: ezk-sip-types and ezk-sdp-types
  h225-setup-14     Setup with 14 channels in fastStart
  h225-setup-4      the same with 4
  h245-olc          OpenLogicalChannel
  h245-olc-ack      OpenLogicalChannelAck
  ras-acf           AdmissionConfirm
  ras-arq           AdmissionRequest
  sccp-decode       OpenReceiveChannelAck and StartMediaTransmission, versions 11 and 20
  mgcp-decode       CRCX with SDP, and its 200
  tftp-decode       RRQ with options

Calls by SIPp through a gateway in namespaces, without media:
  sip-call-rate    Callgate: highest rate held without a failed call, and 1,000 per second for a minute
  sip-call-helper  nftables with the kernel's SIP helper: highest rate
  sip-call-plain   forwarding alone: highest rate
  sip-latency      what Callgate adds to a message: p50, p99, p99.9
  sip-100k-calls   100,000 calls at once: bytes of user space per call

Callgate under attack, in a gateway:
  syn-flood         connections of a client while hping3 sends SYNs from forged addresses to the same port
  reload-10000      10,000 rules put in force during such a flood and a call

Signalling, the whole engine, with pinholes:
  sccp-message      channels of two phones open and close, versions 11 and 20
  mgcp-message      CRCX, its 200, DLCX, its 250
  tftp-message      RRQ with options

Call policy:
  policy-decision   who may call what: 100,000 patterns, 10,000 callers

History, in a file of SQLite:
  history-500k      500,000 records: which numbers a phone has called within a week, and who has tried 1-900";

/// How long and how often.
struct Effort {
    rounds: usize,
    repeat: u32,
    flood_rounds: usize,
    flood: Duration,
    signalling: Duration,
    live: live::Effort,
}

impl Effort {
    /// Whether it is only to be shown that it works.
    const fn is_quick(&self) -> bool {
        self.repeat < Self::FULL.repeat
    }

    const FULL: Self = Self {
        rounds: 11,
        repeat: 1_000_000,
        flood_rounds: 7,
        flood: Duration::from_millis(400),
        signalling: Duration::from_millis(20),
        live: live::Effort {
            hold: Duration::from_secs(30),
            probe: Duration::from_secs(5),
            steady: Duration::from_secs(60),
            calls: 5_000,
            attack: Duration::from_secs(20),
        },
    };
    const QUICK: Self = Self {
        rounds: 3,
        repeat: 20_000,
        flood_rounds: 3,
        flood: Duration::from_millis(40),
        signalling: Duration::from_millis(2),
        live: live::Effort {
            hold: Duration::from_secs(3),
            probe: Duration::from_secs(1),
            steady: Duration::from_secs(3),
            calls: 200,
            attack: Duration::from_secs(2),
        },
    };
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callgate-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some(Command::Repeat { case, turns }) = &options.command {
        return signalling::repeat(case, *turns);
    }
    let selection = Selection::new(options.only.as_ref());
    ensure!(!selection.is_empty(), "no case has such a name; --help lists them");
    let mut machine = Machine::survey(0);
    let effort = if options.quick { Effort::QUICK } else { Effort::FULL };
    let mut cases = Vec::new();
    // Those take as many CPUs as there are, and what they start would be pinned too.
    if selection.has_any(&lineup::LIVE) {
        ensure!(sys::is_root(), "must be run as root");
        cases.extend(live::measure(&selection, &effort.live)?);
    }
    machine.pinned_to = sys::pin_to_last_cpu().context("pinning to a CPU")?;
    if selection.has(signalling::crowd::NAME) {
        cases.push(signalling::crowd::measure(options.quick)?);
    }
    if selection.has(history::NAME) {
        cases.push(history::measure(options.quick, effort.rounds)?);
    }
    if selection.has_packets() {
        cases.extend(packets(&selection, &effort, &mut machine)?);
    }
    if selection.has_any(&lineup::SIGNALLING) {
        let (signalling, uncounted) = signalling::measure(&selection, effort.rounds, effort.signalling)?;
        cases.extend(signalling);
        machine.no_message_instructions = uncounted;
    }
    machine.resurvey();

    let report = Report::new(machine, cases);
    let mut out = io::stdout().lock();
    if options.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.table(&mut out)?;
    }
    Ok(())
}

/// The cases of [`prog_run`] and [`flood`], in a network of their own.
fn packets(selection: &Selection, effort: &Effort, machine: &mut Machine) -> Result<Vec<Case>> {
    ensure!(sys::is_root(), "must be run as root");
    sys::enter_new_network().context("making a network namespace")?;
    let link = Link::create()?;
    let counter = sys::InstructionCounter::open()
        .inspect_err(|error| machine.no_instructions = Some(format!("perf_event_open: {error}")))
        .ok();
    let mut callgate = match selection.has_any(&lineup::CALLGATE) {
        true => Some(Callgate::load(&callgate_rules(RULES)).context("loading Callgate")?),
        false => None,
    };
    let mut cases = programs_alone(selection, effort, callgate.as_mut(), counter.as_ref())?;
    cases.extend(many_sources(selection, effort, callgate.as_ref(), counter.as_ref())?);
    cases.extend(media::measure(selection, effort, counter.as_ref())?);
    cases.extend(floods(selection, effort, callgate.as_ref(), &link, machine.pinned_to)?);
    cases.extend(forward::measure(selection, &link, machine.pinned_to, effort.flood_rounds, effort.flood)?);
    Ok(cases)
}

/// The cases of [`prog_run`].
fn programs_alone(
    selection: &Selection,
    effort: &Effort,
    callgate: Option<&mut Callgate>,
    counter: Option<&sys::InstructionCounter>,
) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let pass = programs::constant("bench_pass", XDP_PASS)?;
    let mut subjects = vec![Subject::new("pass-only", pass.as_fd(), frames::rtp(), XDP_PASS)];
    let filter = selection.has("xdp-filter").then(XdpFilter::load).transpose();
    match &filter {
        Ok(Some(filter)) => {
            subjects.push(Subject::new("xdp-filter", filter.program()?, frames::rtp(), XDP_PASS));
        }
        Ok(None) => {}
        Err(error) => cases.push(Case::missing("xdp-filter", &format!("{error:#}"))),
    }
    if let Some(callgate) = callgate {
        let program = callgate.program()?;
        for segment in frames::handshake() {
            Subject::new("established-tcp", program, segment, XDP_PASS).check()?;
        }
        subjects.extend([
            Subject::new("drop-stranger", program, frames::stranger(), XDP_DROP),
            Subject::new("rtp-closed", program, frames::rtp_unannounced(), XDP_DROP),
            Subject::new("established-tcp", program, frames::segment(), XDP_PASS),
            Subject::new("stage-link", program, frames::arp(), XDP_PASS),
            Subject::new("stage-broken", program, frames::broken(), XDP_DROP),
            Subject::new("stage-land", program, frames::land(), XDP_DROP),
            Subject::new("stage-no-pinhole", program, frames::unannounced(), XDP_DROP),
            Subject::new("stage-default", program, frames::unnamed(), XDP_DROP),
        ]);
    }
    subjects.retain(|subject| selection.has(subject.name));
    cases.extend(prog_run::measure(&subjects, effort.rounds, effort.repeat, counter)?);
    Ok(cases)
}

/// The cases of [`prog_run`] in which each packet has another source.
fn many_sources(
    selection: &Selection,
    effort: &Effort,
    callgate: Option<&Callgate>,
    counter: Option<&sys::InstructionCounter>,
) -> Result<Vec<Case>> {
    let (phones, anywhere) = (Vary(frames::PHONES), Vary(frames::ANYWHERE));
    let wanted = |name| selection.has(name);
    let load = |name, rules: &dyn Fn() -> String| {
        wanted(name).then(|| Callgate::load(&rules()).context(name)).transpose()
    };
    let many = load("new-flow-10000", &|| callgate_rules(10_000))?;
    let few_networks = load("prefixes-100", &|| prefix_rules(100))?;
    let many_networks = load("prefixes-100000", &|| prefix_rules(100_000))?;
    // Where it is not to be had, it is missing among the cases of `programs_alone`.
    let filter = wanted("xdp-filter-varied").then(XdpFilter::load).transpose().ok().flatten();

    let mut varied = Vec::new();
    if let Some(filter) = &filter {
        varied.push((
            "xdp-filter-varied",
            Varied::new(filter.program()?, &phones)?,
            frames::question(),
            XDP_PASS,
        ));
    }
    let of_phones =
        [("new-flow-100", callgate.filter(|_| wanted("new-flow-100"))), ("new-flow-10000", many.as_ref())];
    for (name, callgate) in of_phones {
        if let Some(callgate) = callgate {
            varied.push((name, Varied::new(callgate.program()?, &phones)?, frames::question(), XDP_PASS));
        }
    }
    for (name, callgate) in [("prefixes-100", &few_networks), ("prefixes-100000", &many_networks)] {
        if let Some(callgate) = callgate {
            varied.push((
                name,
                Varied::new(callgate.program()?, &anywhere)?,
                frames::from_anywhere(),
                XDP_DROP,
            ));
        }
    }
    let subjects: Vec<_> = varied
        .iter()
        .map(|(name, program, frame, verdict)| Subject::new(name, program.program(), frame.clone(), *verdict))
        .collect();
    prog_run::measure(&subjects, effort.rounds, effort.repeat, counter)
}

/// The cases of [`flood`].
fn floods(
    selection: &Selection,
    effort: &Effort,
    callgate: Option<&Callgate>,
    link: &Link,
    cpu: usize,
) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    if selection.has("flood-generator") {
        cases.push(flood::generator(cpu, effort.flood_rounds, effort.flood)?);
    }
    let pass = programs::constant("bench_pass", XDP_PASS)?;
    let drop = programs::constant("bench_drop", XDP_DROP)?;
    let mut defences = vec![Defence::xdp("flood-xdp-drop", drop.as_fd())];
    if let Some(callgate) = callgate {
        defences.push(Defence::xdp("flood-callgate", callgate.program()?));
    }
    let sizes = [("flood-rules-10", 10), ("flood-rules-1000", 1_000), ("flood-rules-10000", 10_000)];
    let of_size: Vec<(&str, Callgate)> = sizes
        .into_iter()
        .filter(|(name, _)| selection.has(name))
        .map(|(name, rules)| Ok((name, Callgate::load(&callgate_rules(rules)).context(name)?)))
        .collect::<Result<_>>()?;
    for (name, callgate) in &of_size {
        defences.push(Defence::xdp(name, callgate.program()?));
    }
    let nftables = [
        ("flood-nftables", scenario::nftables_rules(RULES)),
        ("flood-nftables-set", scenario::nftables_set_rules()),
        ("flood-nftables-10", scenario::nftables_rules(10)),
        ("flood-nftables-1000", scenario::nftables_rules(1_000)),
        ("flood-nftables-10000", scenario::nftables_rules(10_000)),
    ];
    match flood::nftables_is_there() {
        Ok(()) => defences
            .extend(nftables.into_iter().map(|(name, rules)| Defence::nftables(name, rules, pass.as_fd()))),
        Err(error) => {
            let missing = nftables.iter().map(|(name, _)| Case::missing(name, &format!("{error:#}")));
            cases.extend(missing.filter(|case| selection.has(case.name)));
        }
    }
    defences.retain(|defence| selection.has(defence.name));
    cases.extend(flood::measure(link, &defences, cpu, effort.flood_rounds, effort.flood)?);
    Ok(cases)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
