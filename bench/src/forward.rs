//! Media through a gateway: packets per second of one CPU, forwarded by XDP itself, by the stack behind Callgate, and by
//! nftables with connection tracking.
//!
//! Frames are made and sent as in [`crate::flood`]; behind the gateway a second link takes them, whose other end drops
//! and counts them. All of it is on one CPU, and its time is taken as there: what a frame costs is making it, the first
//! link, forwarding it and the second link.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context as _, Result, ensure};

use crate::callgate::Callgate;
use crate::flood::{self, DRAIN, FloodClock, Link, Ruleset, Stretch};
use crate::lineup::Selection;
use crate::programs::{self, XDP_DROP, XDP_PASS};
use crate::report::Case;
use crate::scenario::{RULES, callgate_rules, frames};
use crate::sys;

/// Streams: both directions of 20,000 calls.
const STREAMS: u32 = 40_000;
/// The network of their receivers, behind the gateway.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 0);
/// The gateway's interface there, and the other end of its link.
const OUT: &str = "cgb-out";
const SINK: &str = "cgb-sink";
/// The rule that has admitted the calls.
const RULE: &str = "sip 3";
/// How long the kernel may take to detach a program that nobody holds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most of the frames that may be lost in queues, one in so many.
const SPILT: u64 = 50;

/// The cases of this module that are selected, in turn.
pub(crate) fn measure(
    selection: &Selection,
    link: &Link,
    cpu: usize,
    rounds: usize,
    time: Duration,
) -> Result<Vec<Case>> {
    let ways = ["rtp-forward-bare", "rtp-forward-fast", "rtp-forward-stack", "rtp-forward-nftables"];
    let ways: Vec<_> = ways.into_iter().filter(|name| selection.has(name)).collect();
    if ways.is_empty() {
        return Ok(Vec::new());
    }
    let out = second_link()?;
    let drop = programs::constant("bench_drop", XDP_DROP)?;
    let pass = programs::constant("bench_pass", XDP_PASS)?;
    let redirect = programs::redirect_to(out)?;
    let _sink = sys::attach_xdp(drop.as_fd(), flood::index(SINK)?).context("the second link's end")?;
    let template = frames::rtp_from_nowhere(NETWORK);
    let media = programs::media_to(link.sender, STREAMS, &template)?;
    let clock = FloodClock::of(cpu)?;
    let measured = || flood::run(time, |frames| through(&media, frames, &clock));
    let mut runs = vec![Vec::with_capacity(rounds); ways.len()];
    for _ in 0..rounds {
        for (name, runs) in ways.iter().zip(&mut runs) {
            let ns = match *name {
                "rtp-forward-bare" => {
                    let _attached = attach_patiently(redirect.as_fd(), link.receiver)?;
                    measured()
                }
                "rtp-forward-nftables" => {
                    let _attached = attach_patiently(pass.as_fd(), link.receiver)?;
                    let _rules = Ruleset::load(CONNTRACK)?;
                    measured()
                }
                name => {
                    let path = if name == "rtp-forward-fast" { "fast" } else { "stack" };
                    let _callgate = guarded(path, out)?;
                    measured()
                }
            };
            runs.push(ns.context(*name)?);
        }
    }
    Ok(ways.into_iter().zip(runs).map(|(name, runs)| flood::case(name, runs)).collect())
}

/// Attaches a program; what was attached before goes away behind the back of who let go of it.
fn attach_patiently(program: BorrowedFd<'_>, interface: u32) -> Result<OwnedFd> {
    let until = Instant::now() + PATIENCE;
    loop {
        match sys::attach_xdp(program, interface) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                thread::sleep(DRAIN);
            }
            outcome => return outcome.context("attaching by native XDP"),
        }
    }
}

/// The gateway, with a pinhole for each stream.
fn guarded(path: &str, out: u32) -> Result<Callgate> {
    let rules = callgate_rules(RULES);
    let inspects = "inspect = \"sip\"";
    let mut callgate =
        Callgate::load(&rules.replace(inspects, &format!("{inspects}\nmedia_path = {path:?}")))?;
    callgate.attach().context("attaching")?;
    callgate.forward_to(out)?;
    let [a, b, c, _] = NETWORK.octets();
    for place in 0..STREAMS {
        let (host, port) = programs::stream_of(place);
        callgate.open_by(RULE, SocketAddrV4::new(Ipv4Addr::new(a, b, c, host), port))?;
    }
    Ok(callgate)
}

/// A filter that lets media by, and follows its connections.
const CONNTRACK: &str = "\
table ip callgate_bench {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct state new udp dport 16384-32767 accept
    }
}
";

/// The link behind the gateway; its interface there.
fn second_link() -> Result<u32> {
    flood::ip(&format!("link add {OUT} type veth peer name {SINK}"))?;
    for name in [OUT, SINK] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        flood::ip(&format!("link set {name} up"))?;
    }
    flood::ip(&format!("addr add 10.254.0.1/30 dev {OUT}"))?;
    flood::ip(&format!("neigh add 10.254.0.2 lladdr 02:00:00:00:00:09 dev {OUT}"))?;
    flood::ip(&format!("route add {NETWORK}/16 via 10.254.0.2"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forwarding")?;
    flood::index(OUT)
}

/// Sends so many frames, nearly all of which must come out behind the gateway.
fn through(media: &OwnedFd, sent: u32, clock: &FloodClock) -> Result<Stretch> {
    let before = flood::received_by(SINK)?;
    let start = clock.read()?;
    sys::live_run(media.as_fd(), &frames::rtp_from_nowhere(NETWORK), sent).context("the generator")?;
    thread::sleep(DRAIN);
    let time = clock.read()? - start;
    let judged = flood::received_by(SINK)? - before;
    ensure!(judged + u64::from(sent) / SPILT >= sent.into(), "of {sent} frames {judged} were forwarded");
    Ok(Stretch { time, judged })
}
