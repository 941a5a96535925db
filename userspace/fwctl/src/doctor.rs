//! `fwctl doctor`: whether this machine is fit for a firewall, and what to do where it is not.
//!
//! Everything is read below one root, so that tests can show it another machine. It changes nothing.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use callgate_api::{Status, Version};
use serde::Serialize;

use crate::client::{Client, ClientError};
use crate::screen::{Screen, Tone, printable};
use crate::{Outcome, write_json};

/// The oldest kernel the programs load on: TCX came with 6.6.
const KERNEL: (u32, u32) = (6, 6);

/// Check whether this machine is fit for a firewall, and say what to do where it is not
///
/// Kernel, BPF, interfaces, other firewalls, time and disk; then the daemon, if it can be reached. Nothing is changed.
/// The exit status is 1 where something keeps the firewall from working.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Interfaces to look at besides those the daemon stands on
    #[arg(long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Good,
    /// It could not be seen.
    Unknown,
    /// It works, but not well.
    Warning,
    /// It does not work.
    Bad,
}

/// What was looked at, and what to do.
#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    grade: Grade,
    text: String,
    /// What to do; empty where nothing is to be done.
    remedy: String,
}

impl Finding {
    fn new(subject: &'static str, grade: Grade, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, grade, text: text.into(), remedy: remedy.into() }
    }

    fn good(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(subject, Grade::Good, text, "")
    }
}

pub(crate) fn run(client: &Client, args: &Args, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let machine = Machine { root: "/".into() };
    let status = client.get::<Status>("/v1/status");
    let mut interfaces = args.interfaces.clone();
    interfaces.extend(status.iter().flat_map(|status| &status.interfaces).map(|one| one.name.clone()));
    interfaces.sort();
    interfaces.dedup();
    let mut findings = machine.findings();
    findings.extend(interfaces.iter().flat_map(|name| machine.interface(name, &offloads_of(name))));
    findings.extend(other_firewalls(&said("nft", &["list", "tables"]), &said("iptables-save", &[])));
    findings.push(time(&said("timedatectl", &["show", "--property=NTPSynchronized"])));
    findings.push(daemon(&status, &client.get("/v1/version")));
    if json {
        write_json(&findings, out)?;
    } else {
        show(&findings, &mut Screen::of_stdout(out))?;
    }
    let bad = findings.iter().any(|finding| finding.grade == Grade::Bad);
    Ok(if bad { Outcome::No } else { Outcome::Yes })
}

fn show(findings: &[Finding], screen: &mut Screen<'_>) -> io::Result<()> {
    for finding in findings {
        let (mark, tone) = match finding.grade {
            Grade::Good => ("ok  ", Tone::Good),
            Grade::Unknown => ("?   ", Tone::Dim),
            Grade::Warning => ("warn", Tone::Warn),
            Grade::Bad => ("BAD ", Tone::Bad),
        };
        screen.put(mark, tone)?;
        screen.put(format!("  {:<12} {}", finding.subject, printable(&finding.text)), Tone::Plain)?;
        screen.end_line()?;
        if !finding.remedy.is_empty() {
            screen.put(format!("{:19}{}", "", printable(&finding.remedy)), Tone::Dim)?;
            screen.end_line()?;
        }
    }
    Ok(())
}

/// What a machine says of itself below `/proc` and `/sys`.
struct Machine {
    root: PathBuf,
}

impl Machine {
    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.root.join(path).exists()
    }

    fn findings(&self) -> Vec<Finding> {
        vec![self.kernel(), self.btf(), self.jit(), self.bpffs(), self.tun(), self.disk()]
    }

    fn kernel(&self) -> Finding {
        let Some(release) = self.read("proc/sys/kernel/osrelease") else {
            return Finding::new("kernel", Grade::Unknown, "its version cannot be read", "is /proc mounted?");
        };
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version >= KERNEL {
            return Finding::good("kernel", format!("Linux {release}"));
        }
        let (major, minor) = KERNEL;
        let text = format!("Linux {release} has no TCX: {major}.{minor} or later is needed");
        Finding::new(
            "kernel",
            Grade::Bad,
            text,
            "install a newer kernel (Debian 12: linux-image-amd64 of backports)",
        )
    }

    fn btf(&self) -> Finding {
        if self.exists("sys/kernel/btf/vmlinux") {
            return Finding::good("btf", "the kernel describes its types");
        }
        let remedy = "the kernel was built without CONFIG_DEBUG_INFO_BTF: use your distribution's";
        Finding::new("btf", Grade::Bad, "/sys/kernel/btf/vmlinux is missing", remedy)
    }

    fn jit(&self) -> Finding {
        match self.read("proc/sys/net/core/bpf_jit_enable").as_deref() {
            Some("0") => {
                let remedy = "sysctl net.core.bpf_jit_enable=1: each packet costs many times as much without";
                Finding::new("jit", Grade::Warning, "BPF programs are interpreted", remedy)
            }
            Some(_) => Finding::good("jit", "BPF programs are compiled"),
            // Kernels that are built with it for good do not have the switch for everybody.
            None => Finding::new(
                "jit",
                Grade::Unknown,
                "net.core.bpf_jit_enable cannot be read",
                "run it as root",
            ),
        }
    }

    fn bpffs(&self) -> Finding {
        let mounts = self.read("proc/self/mounts").unwrap_or_default();
        let mounted = mounts.lines().any(|line| {
            let mut fields = line.split(' ').skip(1);
            fields.next() == Some("/sys/fs/bpf") && fields.next() == Some("bpf")
        });
        if mounted {
            return Finding::good("bpffs", "mounted on /sys/fs/bpf");
        }
        let remedy = "mount -t bpf bpf /sys/fs/bpf (systemd does so by itself)";
        Finding::new("bpffs", Grade::Bad, "/sys/fs/bpf is not a BPF filesystem", remedy)
    }

    fn tun(&self) -> Finding {
        if self.exists("dev/net/tun") {
            return Finding::good("taps", "/dev/net/tun is there");
        }
        let remedy = "modprobe tun: signalling gets to the daemon by it";
        Finding::new("taps", Grade::Bad, "/dev/net/tun is missing", remedy)
    }

    fn disk(&self) -> Finding {
        let places = ["run", "var/lib", "var/log"];
        for place in places {
            let Ok(space) = nix::sys::statvfs::statvfs(&self.root.join(place)) else { continue };
            let (free, all) = (space.blocks_available(), space.blocks());
            if all > 0 && free * 20 < all {
                let text = format!("/{place} is {} % full", 100 - free * 100 / all);
                let remedy =
                    "calls, records and the audit cannot be written when it is full; the filter goes on";
                return Finding::new("disk", Grade::Warning, text, remedy);
            }
        }
        Finding::good("disk", "there is room for calls, records and the audit")
    }

    /// What an interface hides from XDP.
    fn interface(&self, name: &str, offloads: &Option<String>) -> Vec<Finding> {
        let folder = format!("sys/class/net/{name}");
        if !self.exists(&folder) {
            let remedy = "create it first, or name another in [zones]";
            return vec![Finding::new("interface", Grade::Bad, format!("there is no {name}"), remedy)];
        }
        let mut found = Vec::new();
        if self.read(&format!("{folder}/operstate")).as_deref() == Some("down") {
            let remedy = format!("ip link set {name} up");
            found.push(Finding::new("interface", Grade::Warning, format!("{name} is down"), remedy));
        }
        if self.exists(format!("{folder}/master")) {
            let remedy =
                "XDP on a port of a bond or bridge sees what belongs to it; attach to the ports you mean";
            found.push(Finding::new(
                "interface",
                Grade::Warning,
                format!("{name} belongs to another one"),
                remedy,
            ));
        }
        match offloads {
            None => {
                let text = format!("{name}: its offloads cannot be read");
                found.push(Finding::new("offloads", Grade::Unknown, text, "install ethtool, run it as root"));
            }
            Some(said) => found.push(offload(name, said)),
        }
        found
    }
}

/// `ethtool --show-features`: what takes VLAN tags off before XDP sees them.
fn offload(name: &str, features: &str) -> Finding {
    let on = |feature: &str| {
        features.lines().any(|line| {
            line.trim()
                .strip_prefix(feature)
                .and_then(|rest| rest.strip_prefix(": "))
                .is_some_and(|rest| rest.starts_with("on"))
        })
    };
    if on("rx-vlan-offload") {
        let text =
            format!("{name} takes VLAN tags off before rules see them: rules with `vlan` do not match");
        let remedy = format!("ethtool --offload {name} rxvlan off (not needed where no rule has `vlan`)");
        return Finding::new("offloads", Grade::Warning, text, remedy);
    }
    if on("large-receive-offload") {
        let remedy = format!("ethtool --offload {name} lro off");
        let text = format!("{name} merges packets in hardware (LRO): native XDP cannot run");
        return Finding::new("offloads", Grade::Warning, text, remedy);
    }
    Finding::good("offloads", format!("{name} hides nothing from the filter"))
}

/// What `nft list tables` and `iptables-save` say.
fn other_firewalls(nft: &Option<String>, iptables: &Option<String>) -> Vec<Finding> {
    let tables: Vec<&str> =
        nft.iter().flat_map(|said| said.lines()).filter_map(|line| line.strip_prefix("table ")).collect();
    let rules = iptables.iter().flat_map(|said| said.lines()).filter(|line| line.starts_with("-A ")).count();
    if nft.is_none() && iptables.is_none() {
        let text = "neither nft nor iptables can be asked";
        return vec![Finding::new(
            "others",
            Grade::Unknown,
            text,
            "run it as root where one of them is installed",
        )];
    }
    if tables.is_empty() && rules == 0 {
        return vec![Finding::good("others", "no other firewall has rules")];
    }
    let what = match (tables.len(), rules) {
        (0, rules) => format!("{rules} rules of iptables"),
        (_, 0) => format!("nftables: {}", tables.join(", ")),
        (_, rules) => format!("nftables: {}; {rules} rules of iptables", tables.join(", ")),
    };
    let remedy = "they judge what Callgate has let by: media it opens must be permitted there too (ports of \
                  `media_ports`), and the taps (cg*) must not be filtered";
    vec![Finding::new("others", Grade::Warning, what, remedy)]
}

fn time(said: &Option<String>) -> Finding {
    match said.as_deref().map(str::trim) {
        Some("NTPSynchronized=yes") => Finding::good("time", "synchronised"),
        Some("NTPSynchronized=no") => {
            let remedy = "timedatectl set-ntp true: rules with `when`, records and the audit go by the clock";
            Finding::new("time", Grade::Warning, "the clock is not synchronised", remedy)
        }
        _ => Finding::new(
            "time",
            Grade::Unknown,
            "timedatectl cannot be asked",
            "see that the clock is synchronised",
        ),
    }
}

fn daemon(status: &Result<Status, ClientError>, version: &Result<Version, ClientError>) -> Finding {
    match (status, version) {
        (Ok(status), Ok(version)) => {
            let own = env!("CARGO_PKG_VERSION");
            if version.version != own {
                let text = format!("callgated {} beside fwctl {own}", version.version);
                return Finding::new(
                    "daemon",
                    Grade::Warning,
                    text,
                    "restart it: systemctl restart callgate",
                );
            }
            if let Some(alarm) = status.alarms.first() {
                let grade = if alarm.critical { Grade::Bad } else { Grade::Warning };
                return Finding::new("daemon", grade, alarm.text.clone(), alarm.hint.clone());
            }
            Finding::good(
                "daemon",
                format!("callgated {}, and you are its {}", version.version, version.role),
            )
        }
        (Err(error), _) | (_, Err(error)) => {
            let remedy = "systemctl status callgate, journalctl -u callgate";
            Finding::new("daemon", Grade::Unknown, error.to_string(), remedy)
        }
    }
}

fn offloads_of(interface: &str) -> Option<String> {
    said("ethtool", &["--show-features", interface])
}

/// What a tool says; `None` where it is not there or says no.
fn said(tool: &str, arguments: &[&str]) -> Option<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(tool).args(arguments).env("PATH", path).env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        }
        let machine = Machine { root: directory.path().to_owned() };
        (directory, machine)
    }

    #[test]
    fn kernels_are_told_apart_by_version_and_not_by_text() {
        for (release, grade) in [
            ("6.6.0", Grade::Good),
            ("6.12.90+deb13-amd64", Grade::Good),
            ("10.0", Grade::Good),
            ("6.1.0-18-amd64", Grade::Bad),
            ("5.15.0", Grade::Bad),
        ] {
            let (_directory, machine) = machine(&[("proc/sys/kernel/osrelease", release)]);
            let finding = machine.kernel();
            assert_eq!(finding.grade, grade, "{release}");
            assert_eq!(finding.remedy.is_empty(), grade == Grade::Good);
        }
        let (_directory, machine) = machine(&[]);
        assert_eq!(machine.kernel().grade, Grade::Unknown);
    }

    #[test]
    fn what_is_missing_is_said_with_a_remedy() {
        let (_directory, bare) =
            machine(&[("proc/sys/net/core/bpf_jit_enable", "0\n"), ("proc/self/mounts", "")]);
        for finding in [bare.btf(), bare.jit(), bare.bpffs(), bare.tun()] {
            assert!(finding.grade >= Grade::Warning && !finding.remedy.is_empty(), "{finding:?}");
        }
        let (_directory, whole) = machine(&[
            ("proc/sys/net/core/bpf_jit_enable", "1\n"),
            ("proc/self/mounts", "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw,nosuid 0 0\n"),
            ("sys/kernel/btf/vmlinux", ""),
            ("dev/net/tun", ""),
        ]);
        for finding in [whole.btf(), whole.jit(), whole.bpffs(), whole.tun()] {
            assert_eq!(finding.grade, Grade::Good, "{finding:?}");
        }
    }

    #[test]
    fn offloads_that_hide_tags_are_found() {
        let said = |vlan: &str, lro: &str| {
            Some(format!(
                "Features for eth0:\nrx-vlan-offload: {vlan}\n\tlarge-receive-offload: {lro} [fixed]\n"
            ))
        };
        let (_directory, machine) = machine(&[("sys/class/net/eth0/operstate", "up\n")]);
        let grade = |vlan, lro| machine.interface("eth0", &said(vlan, lro))[0].grade;
        assert_eq!(grade("off", "off"), Grade::Good);
        assert_eq!(grade("on", "off"), Grade::Warning);
        assert_eq!(grade("off", "on"), Grade::Warning);
        assert_eq!(machine.interface("eth1", &None)[0].grade, Grade::Bad);
    }

    #[test]
    fn other_firewalls_and_clocks_are_found() {
        let none =
            other_firewalls(&Some(String::new()), &Some("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n".into()));
        assert_eq!(none[0].grade, Grade::Good);
        let some = other_firewalls(&Some("table inet filter\n".into()), &Some("-A INPUT -j DROP\n".into()));
        assert_eq!(some[0].grade, Grade::Warning);
        assert!(some[0].text.contains("inet filter; 1 rules"), "{}", some[0].text);
        assert_eq!(other_firewalls(&None, &None)[0].grade, Grade::Unknown);
        assert_eq!(time(&Some("NTPSynchronized=no\n".into())).grade, Grade::Warning);
        assert_eq!(time(&Some("NTPSynchronized=yes\n".into())).grade, Grade::Good);
    }

    #[test]
    fn findings_are_shown_with_their_remedies() {
        let mut out = Vec::new();
        let findings = [
            Finding::good("kernel", "Linux 6.6"),
            Finding::new("jit", Grade::Bad, "off\u{1b}[2J", "turn it on"),
        ];
        show(&findings, &mut Screen::plain(&mut out, None)).expect("a buffer takes everything");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "ok    kernel       Linux 6.6\nBAD   jit          off\\u{1b}[2J\n                   turn it on\n"
        );
    }
}
