//! How long it takes to read and compile large rules files, and what becomes of them: milliseconds of this thread's
//! CPU, which others on the machine do not lengthen by taking turns.
//!
//! ```text
//! cargo run --release -p callgate-rules --example speed
//! ```

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use callgate_rules::{Machine, MemorySlots, Report, RuleSet, compile};

const HEAD: &str = "version = 1\n[zones]\noutside = \"eth0\"\ninside = \"eth1\"\n";
const RUNS: usize = 5;

fn main() {
    measure("10,000 rules, one destination", &rules(10_000, 1));
    measure("10,000 rules, 10,000 pairs of hosts", &rules(10_000, 10_000));
    measure("100 networks in a group", &group((0..100).map(network)));
    measure("100,000 networks in a group", &group((0..100_000).map(network)));
    measure("100,000 hosts in a group", &group((0..100_000).map(scattered).map(|host| host.to_string())));
    measure("1,000 rules about 100,000 networks", &{
        let mut text = group((0..100_000).map(network));
        text += &rules(1_000, 1_000)[HEAD.len()..]
            .replace("from = ", "to = \"many\"\nfrom = ")
            .replace("to = \"192", "# \"192");
        text
    });
}

/// The best of a few runs.
fn measure(what: &str, text: &str) {
    let mut best = [f64::MAX; 2];
    let mut size = None;
    for _ in 0..RUNS {
        let clock = Clock::start();
        let set = match RuleSet::parse("speed.toml", text) {
            Ok(set) => set,
            Err(errors) => {
                eprintln!("{}", Report(&errors));
                std::process::exit(1);
            }
        };
        let parsed = clock.elapsed();
        let compiled = compile(&set, &Machine::default(), 1, &mut MemorySlots::default());
        let all = clock.elapsed();
        size = Some(compiled.map(|compiled| compiled.size()));
        for (best, time) in best.iter_mut().zip([parsed, all - parsed]) {
            *best = best.min(time.as_secs_f64() * 1_000.0);
        }
    }
    println!("{what}: read {:.1} ms, compiled {:.1} ms", best[0], best[1]);
    match size {
        Some(Ok(size)) => println!("  {size:?}"),
        Some(Err(error)) => println!("  {error}"),
        None => {}
    }
}

struct Clock {
    cpu: Option<Duration>,
    wall: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { cpu: cpu_time(), wall: Instant::now() }
    }

    /// CPU time where the system tells it, else what a clock on the wall shows.
    fn elapsed(&self) -> Duration {
        match (self.cpu, cpu_time()) {
            (Some(start), Some(now)) => now - start,
            _ => self.wall.elapsed(),
        }
    }
}

fn cpu_time() -> Option<Duration> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(schedule.split(' ').next()?.parse().ok()?))
}

fn rules(count: u32, destinations: u32) -> String {
    let mut text = HEAD.to_owned();
    for n in 0..count {
        let source = Ipv4Addr::from_bits(0x0a00_0000 + n * 3);
        let destination = Ipv4Addr::from_bits(0xc0a8_0000 + n % destinations);
        let service = ["tcp/2000", "sip", "udp/2427", "icmp/8"][n as usize % 4];
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "[[rule]]\nname = \"{n}\"\nfrom = \"{source}\"\nto = \"{destination}\"\nservice = \"{service}\"\naction = \"track\"\n"
        );
    }
    text
}

fn group(members: impl Iterator<Item = String>) -> String {
    let members = members.map(|member| format!("\"{member}\"")).collect::<Vec<_>>().join(",\n");
    format!(
        "{HEAD}[groups]\nmany = [{members}]\n[[rule]]\nname = \"x\"\nfrom = \"many\"\naction = \"drop\"\n"
    )
}

fn network(n: u32) -> String {
    format!("{}/24", Ipv4Addr::from_bits(scattered(n).to_bits() & !0xff))
}

/// Addresses from all over.
fn scattered(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1) % 0xdf00_0000 + 0x0100_0000)
}
