//! Hostile traffic: the three vectors of the March 2007 advisories, plain and with forged sources.
//!
//! Frames are made here and sent on a packet socket, so that any source address can be put in and the number
//! sent is exact. Every attack is bounded in number and rate.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use etherparse::PacketBuilder;
use pnet_datalink::{Channel, Config, DataLinkSender, MacAddr, NetworkInterface};

use crate::lab::{Family, Lab};
use crate::meter::{Direction, Meter};
use crate::netns::Netns;

/// Frames sent between two looks at the clock.
const BURST: u32 = 20;

/// An attack's vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vector {
    /// SYNs to SCCP, TCP 2000 and 2443, on every call manager.
    SccpScan,
    /// ICMP echo requests to a call manager.
    EchoFlood,
    /// Datagrams to UDP 8500, the cluster's IPsec manager.
    ClusterProbe,
}

impl Vector {
    /// Every vector.
    pub const ALL: [Self; 3] = [Self::SccpScan, Self::EchoFlood, Self::ClusterProbe];

    /// The nftables expression of its packets.
    pub const fn expression(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::SccpScan, _) => "tcp dport { 2000, 2443 }",
            (Self::EchoFlood, Family::V4) => "icmp type echo-request",
            (Self::EchoFlood, Family::V6) => "icmpv6 type echo-request",
            (Self::ClusterProbe, _) => "udp dport 8500",
        }
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SccpScan => "TCP 2000/2443 scan",
            Self::EchoFlood => "ICMP echo flood",
            Self::ClusterProbe => "UDP 8500 probes",
        })
    }
}

/// Whose address an attack gives as its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The attacker's own.
    Attacker,
    /// The other call manager's.
    Cluster,
    /// Another one in each packet, from a fixed sequence.
    Random,
    /// The management station's, which may send echo requests within a budget.
    Management,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attacker => "from its own address",
            Self::Cluster => "forged as the cluster's own address",
            Self::Random => "forged as random addresses",
            Self::Management => "forged as the management station",
        })
    }
}

/// A bounded attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What is sent.
    pub vector: Vector,
    /// Whose address it bears.
    pub source: Source,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Packets.
    pub count: u32,
    /// Packets per second.
    pub rate: u32,
    /// VLAN tags on each frame, 0 to 2.
    pub tags: u8,
}

/// What became of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Packets sent.
    pub sent: u64,
    /// Of these, seen at the call managers' interface.
    pub arrived: u64,
}

impl Attack {
    /// An attack of `count` untagged IPv4 packets, at 10,000 per second.
    pub const fn new(vector: Vector, source: Source, count: u32) -> Self {
        Self { vector, source, family: Family::V4, count, rate: 10_000, tags: 0 }
    }

    /// Carries it out and counts. The arrivals are counted where the call managers are; on a host there is no wire
    /// behind the firewall, and only `sent` is filled.
    ///
    /// # Errors
    /// When a frame cannot be sent.
    pub fn run(&self, lab: &Lab) -> Result<Effect> {
        let expression = self.vector.expression(self.family);
        let hits = [("hits", expression)];
        let meter = match lab.is_host() {
            true => None,
            false => Some(Meter::attach(lab.inside(), lab.arrival(), Direction::In, &hits)?),
        };
        let mut wire = Wire::open(lab)?;
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let started = Instant::now();
        for n in 0..self.count {
            if n % BURST == 0 {
                let due = Duration::from_secs_f64(f64::from(n) / f64::from(self.rate.max(1)));
                thread::sleep(due.saturating_sub(started.elapsed()));
            }
            wire.send(&self.frame(&wire, n, &mut numbers)?)?;
        }
        // What is queued between the namespaces arrives within this.
        thread::sleep(Duration::from_millis(50));
        let arrived = meter.map(|meter| meter.packets("hits")).transpose()?.unwrap_or_default();
        Ok(Effect { sent: self.count.into(), arrived })
    }

    fn frame(&self, wire: &Wire, n: u32, numbers: &mut Numbers) -> Result<Vec<u8>> {
        let source = match self.source {
            Source::Attacker => self.family.attacker(),
            Source::Cluster => self.family.call_manager(1),
            Source::Random => numbers.address(self.family),
            Source::Management => self.family.management(),
        };
        // The cluster's second address as source leaves the first as the target, everywhere else both are.
        let manager = if self.source == Source::Cluster { 0 } else { (n / 2 % 2) as u8 };
        let destination = self.family.call_manager(manager);
        let ether = PacketBuilder::ethernet2(wire.source.octets(), wire.gateway.octets());
        let ip = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ether.ipv4(source.octets(), destination.octets(), 64)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ether.ipv6(source.octets(), destination.octets(), 64)
            }
            _ => bail!("source and destination of different families"),
        };
        let port = 1_024 + (n % 60_000) as u16;
        let payload = b"callgate lab";
        let mut frame = Vec::with_capacity(128);
        match self.vector {
            Vector::SccpScan => {
                let service = if n.is_multiple_of(2) { 2_000 } else { 2_443 };
                ip.tcp(port, service, n, 65_535).syn().write(&mut frame, &[])
            }
            Vector::EchoFlood if self.family == Family::V4 => {
                ip.icmpv4_echo_request(port, n as u16).write(&mut frame, payload)
            }
            Vector::EchoFlood => ip.icmpv6_echo_request(port, n as u16).write(&mut frame, payload),
            Vector::ClusterProbe => ip.udp(port, 8_500).write(&mut frame, payload),
        }
        .context("building a frame")?;
        for _ in 0..self.tags {
            // Behind the two link-layer addresses: 802.1Q, VLAN 7.
            frame.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
        }
        Ok(frame)
    }
}

/// A packet socket on the `eth0` of a namespace beside the firewall.
pub struct Wire {
    sender: Box<dyn DataLinkSender>,
    source: MacAddr,
    gateway: MacAddr,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire({} to {})", self.source, self.gateway)
    }
}

impl Wire {
    /// The outside's way into the firewall.
    ///
    /// # Errors
    /// When the interfaces cannot be found or the socket cannot be opened.
    pub fn open(lab: &Lab) -> Result<Self> {
        Self::between(lab.outside(), lab.next_hop())
    }

    /// The inside's way into a firewall that routes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn inside(lab: &Lab) -> Result<Self> {
        Self::between(lab.inside(), (lab.fw(), "in0"))
    }

    fn between(from: &Netns, (ns, name): (&Netns, &str)) -> Result<Self> {
        let gateway = interface(ns, name)?.mac.context("the next hop has no link-layer address")?;
        let own = interface(from, "eth0")?;
        let source = own.mac.context("eth0 has no link-layer address")?;
        let channel = from.run(|| pnet_datalink::channel(&own, Config::default()))?;
        match channel.context("packet socket")? {
            Channel::Ethernet(sender, _) => Ok(Self { sender, source, gateway }),
            _ => Err(anyhow!("packet socket of an unexpected kind")),
        }
    }

    /// Sends an IP packet to the firewall, in an untagged frame.
    ///
    /// # Errors
    /// When the frame cannot be sent.
    pub fn ip(&mut self, packet: &[u8]) -> Result<()> {
        self.tagged(&[], packet)
    }

    /// Sends an IP packet behind VLAN tags, each `(type, id)`, the outer one first.
    ///
    /// # Errors
    /// When the frame cannot be sent.
    pub fn tagged(&mut self, tags: &[(u16, u16)], packet: &[u8]) -> Result<()> {
        let mut frame = [self.gateway.octets(), self.source.octets()].concat();
        for (ether_type, id) in tags {
            frame.extend([ether_type.to_be_bytes(), id.to_be_bytes()].concat());
        }
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let ether_type: u16 = if v6 { 0x86dd } else { 0x0800 };
        frame.extend(ether_type.to_be_bytes());
        frame.extend(packet);
        self.send(&frame)
    }

    /// Sends a frame to a group of the link; `body` begins with the type or length.
    ///
    /// # Errors
    /// When the frame cannot be sent.
    pub fn group(&mut self, to: [u8; 6], body: &[u8]) -> Result<()> {
        let mut frame = [to, self.source.octets()].concat();
        frame.extend(body);
        self.send(&frame)
    }

    fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.sender.send_to(frame, None).context("no room for a frame")?.context("sending a frame")
    }
}

pub(crate) fn interface(ns: &Netns, name: &str) -> Result<NetworkInterface> {
    let all = ns.run(pnet_datalink::interfaces)?;
    all.into_iter().find(|interface| interface.name == name).with_context(|| format!("no interface {name}"))
}

/// A fixed sequence of pseudo-random numbers (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A unicast address that is nobody's in the lab.
    fn address(&mut self, family: Family) -> IpAddr {
        let [a, b, c, d, ..] = self.next().to_be_bytes();
        match family {
            Family::V4 => Ipv4Addr::new(11 + a % 100, b, c, 1 + d % 250).into(),
            Family::V6 => {
                let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, high, low, 0, 1).into()
            }
        }
    }
}

/// One port as nmap saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its number.
    pub port: u16,
    /// `open`, `closed`, `filtered`.
    pub state: String,
}

/// A SYN scan of TCP 2000 and 2443 on a call manager by nmap, from the attacker's address.
///
/// # Errors
/// When nmap is missing or its answer cannot be read.
pub fn nmap(lab: &Lab, target: IpAddr) -> Result<Vec<Probe>> {
    let source = match target {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
    .attacker();
    let mut command = Command::new("nmap");
    command.args(["-sS", "-Pn", "-n", "-T4", "--max-retries", "1", "-p", "2000,2443", "-oG", "-"]);
    command.args(["-e", "eth0", "-S", &source.to_string()]);
    if target.is_ipv6() {
        command.arg("-6");
    }
    let output = lab.outside().output(command.arg(target.to_string()))?;
    ensure!(output.status.success(), "nmap: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ports = text.lines().find_map(|line| line.split_once("Ports: ")).context("nmap lists no ports")?.1;
    ports.split('\t').next().unwrap_or_default().split(',').map(probe).collect()
}

/// `2000/filtered/tcp//cisco-sccp///`
fn probe(text: &str) -> Result<Probe> {
    let mut fields = text.trim().split('/');
    let port = fields.next().and_then(|field| field.parse().ok());
    let state = fields.next().map(str::to_owned);
    port.zip(state).map(|(port, state)| Probe { port, state }).with_context(|| format!("nmap's `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::{Numbers, Probe, probe};
    use crate::lab::Family;

    #[test]
    fn random_sources_are_never_the_labs_own() {
        let mut numbers = Numbers(1);
        for _ in 0..10_000 {
            let ip = numbers.address(Family::V4).to_string();
            assert!(
                !ip.starts_with("10.") && !ip.starts_with("127.") && !ip.starts_with("203.0.113."),
                "{ip}"
            );
        }
    }

    #[test]
    fn nmap_ports_are_read() {
        let expected = Probe { port: 2000, state: "filtered".to_owned() };
        assert_eq!(probe(" 2000/filtered/tcp//cisco-sccp///").expect("port"), expected);
        assert!(probe("none").is_err());
    }
}
