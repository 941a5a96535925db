//! nmap and hping3: what an attacker would run, as it would be run.

use std::net::IpAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::lab::{Family, Lab};
use crate::process::Process;

/// What nmap has found out about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Ports it lists, with their states.
    pub ports: Vec<(u16, String)>,
    /// The state of the ports it does not list, and how many they are.
    pub others: Vec<(String, u32)>,
}

impl Scan {
    /// Ports that are known to let something by: `open`, `closed` and `unfiltered`.
    pub fn found(&self) -> Vec<(u16, &str)> {
        let tells = |state: &str| !matches!(state, "filtered" | "open|filtered");
        self.ports
            .iter()
            .filter(|(_, state)| tells(state))
            .map(|(port, state)| (*port, state.as_str()))
            .collect()
    }

    /// Ports it has tried.
    pub fn tried(&self) -> u32 {
        self.ports.len() as u32 + self.others.iter().map(|(_, ports)| ports).sum::<u32>()
    }
}

/// Runs nmap outside, from the attacker's address, against a call manager.
///
/// # Errors
/// When nmap is missing, fails, or its answer cannot be read.
pub fn nmap(lab: &Lab, target: IpAddr, arguments: &str) -> Result<Scan> {
    let family = if target.is_ipv4() { Family::V4 } else { Family::V6 };
    let mut command = Command::new("nmap");
    command.args(["-n", "-Pn", "-e", "eth0", "-S", &family.attacker().to_string(), "-oG", "-"]);
    command.args(arguments.split_whitespace());
    if target.is_ipv6() {
        command.arg("-6");
    }
    let output = lab.outside().output(command.arg(target.to_string())).context(MISSING)?;
    ensure!(output.status.success(), "nmap: {}", String::from_utf8_lossy(&output.stderr).trim());
    read(&String::from_utf8_lossy(&output.stdout))
}

const MISSING: &str = "nmap and hping3 are Debian packages; scripts/setup installs them";

/// Reads nmap's output of the form for grep.
fn read(text: &str) -> Result<Scan> {
    let mut scan = Scan { ports: Vec::new(), others: Vec::new() };
    let mut up = false;
    for field in text.lines().filter(|line| line.starts_with("Host: ")).flat_map(|line| line.split('\t')) {
        up |= field == "Status: Up";
        if let Some(ports) = field.strip_prefix("Ports: ") {
            for port in ports.split(", ").filter(|port| !port.trim().is_empty()) {
                let mut parts = port.trim().split('/');
                let number = parts.next().and_then(|number| number.parse().ok());
                let (number, state) =
                    number.zip(parts.next()).with_context(|| format!("nmap's port `{port}`"))?;
                scan.ports.push((number, state.to_owned()));
            }
        } else if let Some(state) = field.strip_prefix("Ignored State: ") {
            let (name, ports) = state.split_once(" (").with_context(|| format!("nmap's state `{state}`"))?;
            let ports = ports.trim_end_matches(')').parse().with_context(|| format!("nmap's `{state}`"))?;
            scan.others.push((name.to_owned(), ports));
        }
    }
    ensure!(up, "nmap says nothing of the host:\n{text}");
    Ok(scan)
}

/// hping3, flooding.
#[derive(Debug)]
pub struct Flood {
    process: Process,
    started: Instant,
}

impl Flood {
    /// Starts it outside, as fast as it can, on the first CPU: its packets are judged there too. It ends with
    /// [`Flood::stop`], or when it is dropped.
    ///
    /// # Errors
    /// When hping3 is missing.
    pub fn start(lab: &Lab, target: IpAddr, arguments: &str) -> Result<Self> {
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", "0", "hping3", "--flood", "--quiet", "--interface", "eth0"])
            .args(arguments.split_whitespace());
        let process = lab.outside().spawn(command.arg(target.to_string()), &lab.dir().join("hping3.log"));
        Ok(Self { process: process.context(MISSING)?, started: Instant::now() })
    }

    /// hping3's process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends it; how long it has lasted.
    ///
    /// # Errors
    /// With hping3's words when it has ended by itself.
    pub fn stop(mut self) -> Result<Duration> {
        let lasted = self.started.elapsed();
        let ended = self.process.ended()?;
        ensure!(ended.is_none(), "hping3 has ended with {ended:?}: {}", self.process.output());
        self.process.kill()?;
        Ok(lasted)
    }
}

/// Runs something on the first CPU, where a [`Flood`] is, and where its packets meet the same budgets.
///
/// # Errors
/// When the kernel does not let it, or the work panics.
pub fn beside_the_flood<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            let mut first = CpuSet::new();
            first.set(0).and_then(|()| sched_setaffinity(Pid::from_raw(0), &first)).context("affinity")?;
            Ok(work())
        });
        run.join().map_err(|_| anyhow!("what went on beside a flood has panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn nmaps_answers_are_read() {
        let scan = read(
            "# Nmap 7.93\nHost: 10.1.1.10 ()\tStatus: Up\n\
             Host: 10.1.1.10 ()\tPorts: 23/filtered/tcp//telnet///, 8080/open/tcp//http-proxy///\t\
             Ignored State: filtered (65533)\n",
        )
        .expect("scan");
        assert_eq!(scan.found(), [(8_080, "open")]);
        assert_eq!(scan.tried(), 65_535);
        assert!(read("# Nmap done: 1 IP address (0 hosts up)").is_err());
    }
}
