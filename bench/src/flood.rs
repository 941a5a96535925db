//! Packets per second under a flood that crosses a link.
//!
//! One generator for all cases: the kernel itself makes the frames (BPF_PROG_RUN with live frames, kernel 5.18)
//! and hands them to one end of a veth pair; the other end judges them as a driver would, by native XDP or
//! from there through the stack. Generator and judge share one CPU, so a case's time per packet is the sum of
//! both; `flood-generator` tells the first. It is CPU time: this thread's, in which the kernel also runs the
//! receiving end, and that of the CPU's ksoftirqd, which takes over when there is much to receive. What other
//! processes take is left out, so packets per second are those of a CPU that does nothing else.

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::programs;
use crate::report::{Case, rounded};
use crate::scenario::{CALL_MANAGER, FLOODED, FLOODER, STATION, frames};
use crate::sys;
use crate::tasks::Task;

/// Frames of a short stretch. A stretch is one call to the generator and has a cost of its own, for the page pool
/// that is made and taken down; so that it does not count, a run is the difference of a long and a short one.
const SHORT: u32 = 1 << 15;
/// The same where a frame takes so long that more would be waiting: what a stretch costs of its own is nothing then.
const SLOW: u32 = 1 << 12;
/// Time per frame, in ns, below which a stretch is not made longer.
const FAST: f64 = 50.0;
/// Most frames of a long stretch.
const LONGEST: u32 = 1 << 24;
/// Time the receiving end is given to finish what is queued (256 frames at most).
pub(crate) const DRAIN: Duration = Duration::from_millis(5);

/// What stands at the receiving end.
pub(crate) struct Defence<'a> {
    /// The case's name.
    pub(crate) name: &'static str,
    program: BorrowedFd<'a>,
    nftables: Option<String>,
}

impl<'a> Defence<'a> {
    /// An XDP program that drops.
    pub(crate) fn xdp(name: &'static str, program: BorrowedFd<'a>) -> Self {
        Self { name, program, nftables: None }
    }

    /// A file of nftables rules that drop, behind an XDP program that passes.
    pub(crate) fn nftables(name: &'static str, rules: String, pass: BorrowedFd<'a>) -> Self {
        Self { name, program: pass, nftables: Some(rules) }
    }
}

/// The veth pair, in this process's own network namespace.
pub(crate) struct Link {
    pub(crate) receiver: u32,
    pub(crate) sender: u32,
}

impl Link {
    /// Makes it and brings it up, and with it the loopback interface, by which BPF_PROG_RUN's frames come in. The
    /// receiving end has the call manager's address.
    pub(crate) fn create() -> Result<Self> {
        let station = STATION.map(|octet| format!("{octet:02x}")).join(":");
        ip(&format!("link add {FLOODED} address {station} type veth peer name {FLOODER}"))?;
        // Replies are not wanted from either end, nor are the kernel's own announcements.
        for name in [FLOODED, FLOODER] {
            let setting = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
            if fs::exists(&setting)? {
                fs::write(&setting, "1").with_context(|| setting)?;
            }
        }
        ip("link set lo up")?;
        ip(&format!("link set {FLOODER} up"))?;
        ip(&format!("link set {FLOODED} up"))?;
        ip(&format!("addr add {CALL_MANAGER}/16 dev {FLOODED}"))?;
        ip(&format!("route add default dev {FLOODED}"))?;
        Ok(Self { receiver: index(FLOODED)?, sender: index(FLOODER)? })
    }
}

/// Whether nftables can be used; the error says why not.
pub(crate) fn nftables_is_there() -> Result<()> {
    nft("list tables\n").context("nftables")
}

/// Floods each defence in turn, `rounds` times, for about `time` each. Every frame must have been dropped by the
/// defence: one that got further is an error.
pub(crate) fn measure(
    link: &Link,
    defences: &[Defence<'_>],
    cpu: usize,
    rounds: usize,
    time: Duration,
) -> Result<Vec<Case>> {
    let clock = FloodClock::of(cpu)?;
    let flood = programs::flood_to(link.sender)?;
    let mut runs = vec![Vec::with_capacity(rounds); defences.len()];
    for _ in 0..rounds {
        for (defence, runs) in defences.iter().zip(&mut runs) {
            let _attached = sys::attach_xdp(defence.program, link.receiver)
                .with_context(|| format!("{}: attaching by native XDP", defence.name))?;
            let _rules = defence.nftables.as_deref().map(Ruleset::load).transpose()?;
            let run = run(time, |frames| defence.withstand(&flood, frames, &clock));
            runs.push(run.context(defence.name)?);
        }
    }
    Ok(defences.iter().zip(runs).map(|(defence, runs)| case(defence.name, runs)).collect())
}

/// The generator's own time per frame: everything but the sending.
pub(crate) fn generator(cpu: usize, rounds: usize, time: Duration) -> Result<Case> {
    let clock = FloodClock::of(cpu)?;
    let idle = programs::flood_to_nowhere()?;
    let stretch = |frames| {
        let start = clock.read()?;
        generate(&idle, frames)?;
        Ok(Stretch { time: clock.read()? - start, judged: frames.into() })
    };
    let runs = (0..rounds).map(|_| run(time, stretch)).collect::<Result<_>>()?;
    let note = "the cost of making the frames, part of every other flood's".to_owned();
    Ok(Case { note: Some(note), ..case("flood-generator", runs) })
}

pub(crate) fn case(name: &'static str, runs: Vec<f64>) -> Case {
    let mut case = Case::new(name);
    case.time(runs);
    case.pps = case.ns.map(|ns| rounded(1e9 / ns, 0));
    case
}

/// A stretch of frames and the CPU time it took.
pub(crate) struct Stretch {
    pub(crate) time: Duration,
    pub(crate) judged: u64,
}

impl Stretch {
    /// Time for each frame that this has more than the other, in ns; `None` if it has no more, or took no longer.
    fn per_frame_beyond(&self, other: &Self) -> Option<f64> {
        let frames = self.judged.checked_sub(other.judged).filter(|frames| *frames > 0)?;
        let time = self.time.checked_sub(other.time).filter(|time| !time.is_zero())?;
        Some(time.as_nanos() as f64 / frames as f64)
    }
}

/// Time per frame, in ns, from a short stretch and a long one of about `time`.
pub(crate) fn run(time: Duration, stretch: impl Fn(u32) -> Result<Stretch>) -> Result<f64> {
    let first = stretch(SLOW / 2)?;
    let second = stretch(SLOW)?;
    let guess = second.per_frame_beyond(&first).unwrap_or(FAST).max(FAST);
    let frames = (time.as_nanos() as f64 / guess) as u32;
    let (short, least) = if frames < 4 * SHORT { (second, 4 * SLOW) } else { (stretch(SHORT)?, 4 * SHORT) };
    let long = stretch(frames.clamp(least, LONGEST))?;
    long.per_frame_beyond(&short).context("the machine is too busy to measure")
}

/// Makes the kernel send so many frames.
fn generate(program: &OwnedFd, frames: u32) -> Result<()> {
    sys::live_run(program.as_fd(), &frames::stranger(), frames).context("the generator")
}

impl Defence<'_> {
    /// Stands so many frames of the flood, and makes sure that it was this that dropped them.
    fn withstand(&self, flood: &OwnedFd, sent: u32, clock: &FloodClock) -> Result<Stretch> {
        let before = Counters::read()?;
        let start = clock.read()?;
        generate(flood, sent)?;
        thread::sleep(DRAIN);
        let time = clock.read()? - start;
        let after = Counters::read()?;

        let judged = after.received - before.received;
        let reached_stack = after.ip_received - before.ip_received;
        let delivered = after.ip_delivered - before.ip_delivered;
        ensure!(judged > u64::from(sent) / 2, "of {sent} frames sent only {judged} arrived");
        ensure!(delivered == 0, "{delivered} of {judged} packets were let by");
        match self.nftables {
            Some(_) => {
                ensure!(reached_stack > judged / 2, "{reached_stack} of {judged} packets met nftables")
            }
            None => ensure!(reached_stack == 0, "{reached_stack} of {judged} packets passed XDP"),
        }
        Ok(Stretch { time, judged })
    }
}

/// CPU time of everything that takes part in a flood.
pub(crate) struct FloodClock {
    ksoftirqd: Task,
}

impl FloodClock {
    /// The clock of a flood on this CPU, the one this thread is bound to.
    pub(crate) fn of(cpu: usize) -> Result<Self> {
        Ok(Self { ksoftirqd: Task::ksoftirqd(cpu)? })
    }

    pub(crate) fn read(&self) -> Result<Duration> {
        Ok(Duration::from_nanos(sys::thread_cpu_ns()?) + self.ksoftirqd.cpu_time()?)
    }
}

/// What the kernel counted so far in this namespace.
struct Counters {
    /// Frames the receiving end took from the link.
    received: u64,
    /// IPv4 packets that reached the stack.
    ip_received: u64,
    /// IPv4 packets that went on to a protocol.
    ip_delivered: u64,
}

impl Counters {
    fn read() -> Result<Self> {
        let received = received_by(FLOODED)?;
        // Two lines per protocol: names, then figures in the same order.
        let snmp = fs::read_to_string("/proc/self/net/snmp")?;
        let mut ip = snmp.lines().filter(|line| line.starts_with("Ip:"));
        let (names, figures) = ip.next().zip(ip.next()).context("/proc/self/net/snmp does not have Ip")?;
        let figure = |wanted: &str| {
            names
                .split_whitespace()
                .zip(figures.split_whitespace())
                .find(|(name, _)| *name == wanted)
                .and_then(|(_, figure)| figure.parse().ok())
                .with_context(|| format!("/proc/self/net/snmp does not have {wanted}"))
        };
        Ok(Self { received, ip_received: figure("InReceives")?, ip_delivered: figure("InDelivers")? })
    }
}

/// Frames that an interface has taken from its link so far.
pub(crate) fn received_by(interface: &str) -> Result<u64> {
    let devices = fs::read_to_string("/proc/self/net/dev")?;
    devices
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))
        .and_then(|figures| figures.split_whitespace().nth(1)?.parse().ok())
        .with_context(|| format!("/proc/self/net/dev does not have {interface}"))
}

/// nftables' rules, for as long as this is held.
pub(crate) struct Ruleset;

impl Ruleset {
    pub(crate) fn load(text: &str) -> Result<Self> {
        nft(text)?;
        Ok(Self)
    }
}

impl Drop for Ruleset {
    fn drop(&mut self) {
        if let Err(error) = nft("delete table ip callgate_bench") {
            eprintln!("callgate-bench: {error:#}");
        }
    }
}

/// Gives nft a file. It works on this process's own namespace.
fn nft(text: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("nft could not be started")?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    let status = nft.wait()?;
    ensure!(status.success(), "nft refused the rules ({status})");
    Ok(())
}

pub(crate) fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("ip could not be started")?;
    if !output.status.success() {
        bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

pub(crate) fn index(name: &str) -> Result<u32> {
    let name = std::ffi::CString::new(name)?;
    sys::interface_index(&name).context("the link is gone")
}
