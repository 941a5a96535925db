//! The topologies.
//!
//! ```text
//! gateway:  outside ── eth0 ═══ out0 ── fw ── in0 ═══ eth0 ── inside      host:  outside ── eth0 ═══ out0 ── fw
//!           phones, management,         (routes)              call                                   (call managers
//!           attacker                                          managers                                run on it)
//! ```
//!
//! A bridge is wired like the gateway, and joins both sides instead of routing. All three have the same
//! addresses, so that a test runs in any. ARP, neighbour discovery and routing are left to the kernel: they have
//! to get through the firewall too.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::netns::{self, Netns, Owned};
use crate::xdp;

/// An H.323 gateway, outside.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 2);

/// What a name of ours begins with, before the process id.
const PREFIX: &str = "cg";
/// Where eBPF objects are pinned.
const BPFFS: &str = "/sys/fs/bpf";

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Phone number `n`, 0 to 9, outside.
    pub fn phone(self, n: u8) -> IpAddr {
        self.pick(
            Ipv4Addr::new(10, 20, 0, 10 + n),
            Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 0x10 + u16::from(n)),
        )
    }

    /// Call manager number `n`, 0 or 1, inside: the two are one cluster.
    pub fn call_manager(self, n: u8) -> IpAddr {
        self.pick(
            Ipv4Addr::new(10, 1, 1, 10 + n),
            Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10 + u16::from(n)),
        )
    }

    /// A voice gateway, outside: over IPv6 it is the last phone's address.
    pub fn gateway(self) -> IpAddr {
        self.pick(GATEWAY, Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 0x12))
    }

    /// The attacker, outside.
    pub fn attacker(self) -> IpAddr {
        self.pick(Ipv4Addr::new(203, 0, 113, 66), Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0x66))
    }

    /// The network management station, outside.
    pub fn management(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 9, 9, 5), Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 5))
    }

    /// The firewall's own address on the outside.
    pub fn firewall(self) -> IpAddr {
        self.pick(Ipv4Addr::new(10, 20, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0x20, 0, 0, 0, 0, 1))
    }

    fn pick(self, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
        match self {
            Self::V4 => v4.into(),
            Self::V6 => v6.into(),
        }
    }
}

/// What the firewall is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Router,
    Bridge,
    Host,
}

/// A topology that exists; dropping it removes its namespaces, its pins and its directory.
#[derive(Debug)]
pub struct Lab {
    place: Place,
    outside: Owned,
    inside: Option<Owned>,
    fw: Owned,
    id: String,
    dir: PathBuf,
}

impl Lab {
    /// Three namespaces; the firewall routes between two of them.
    ///
    /// # Errors
    /// When the kernel or iproute2 refuses a step.
    pub fn gateway() -> Result<Arc<Self>> {
        let lab = Self::wired(Place::Router)?;
        lab.fw.sysctl("ipv4/ip_forward", "1")?;
        lab.fw.sysctl("ipv6/conf/all/forwarding", "1")?;
        lab.fw.ip(&format!("{GATEWAY_OUTSIDE}{GATEWAY_INSIDE}"))?;
        lab.outside.ip(&format!("{OUTSIDE}{OUTSIDE_ROUTES}"))?;
        lab.inside().ip(&format!("{INSIDE}{INSIDE_ROUTES}"))?;
        Ok(Arc::new(lab))
    }

    /// Three namespaces; the firewall joins two of them as a bridge, without an address of its own.
    ///
    /// # Errors
    /// When the kernel or iproute2 refuses a step.
    pub fn bridge() -> Result<Arc<Self>> {
        let lab = Self::wired(Place::Bridge)?;
        lab.fw.ip(BRIDGE)?;
        lab.outside.ip(&format!("{OUTSIDE}{ON_LINK}"))?;
        lab.inside().ip(&format!("{INSIDE}{ON_LINK}"))?;
        Ok(Arc::new(lab))
    }

    /// Two namespaces; the call managers' addresses are the firewall's own.
    ///
    /// # Errors
    /// When the kernel or iproute2 refuses a step.
    pub fn host() -> Result<Arc<Self>> {
        let lab = Self::wired(Place::Host)?;
        lab.fw.ip(&format!("{GATEWAY_OUTSIDE}{HOST}"))?;
        lab.outside.ip(&format!("{OUTSIDE}{OUTSIDE_ROUTES}"))?;
        Ok(Arc::new(lab))
    }

    /// The firewall's outside interface goes away, and the outside's with it.
    ///
    /// # Errors
    /// When iproute2 refuses it.
    pub fn unplug(&self) -> Result<()> {
        self.fw.ip("link delete out0\n")
    }

    /// It comes back to a gateway, under another index.
    ///
    /// # Errors
    /// When iproute2 refuses a step.
    pub fn plug(&self) -> Result<()> {
        netns::ip(&["-batch", "-"], &link(&self.fw, "out0", &self.outside))?;
        self.fw.ip(GATEWAY_OUTSIDE)?;
        self.outside.ip(&format!("{OUTSIDE}{OUTSIDE_ROUTES}"))
    }

    /// Keeps back the outside's multicast listener reports, which its kernel sends when it likes: who counts packets
    /// one by one does not want them.
    ///
    /// # Errors
    /// When `nft` fails.
    pub fn hush(&self) -> Result<()> {
        let text = "add table netdev hush\n\
                    add chain netdev hush c { type filter hook egress device \"eth0\" priority 0; }\n\
                    add rule netdev hush c icmpv6 type mld2-listener-report drop\n";
        let output = self.outside.output(Command::new("nft").arg(text))?;
        ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Lets the outside hear what native XDP sends back: see [`xdp::pass`].
    ///
    /// # Errors
    /// As there.
    pub fn hears_xdp(&self) -> Result<()> {
        xdp::pass(&self.outside, "eth0", &self.dir)
    }

    /// The namespace of phones, management station and attacker; its interface is `eth0`.
    pub fn outside(&self) -> &Netns {
        &self.outside
    }

    /// The namespace the firewall runs in; its interfaces are `out0` and, unless it is a host, `in0`.
    pub fn fw(&self) -> &Netns {
        &self.fw
    }

    /// The namespace of the call managers: on a host the firewall's own.
    pub fn inside(&self) -> &Netns {
        self.inside.as_ref().unwrap_or(&self.fw)
    }

    /// Whether the call managers run on the firewall itself.
    pub fn is_host(&self) -> bool {
        self.place == Place::Host
    }

    /// The interface of [`Self::inside`] on which outside traffic arrives.
    pub fn arrival(&self) -> &'static str {
        if self.is_host() { "out0" } else { "eth0" }
    }

    /// The namespace and interface that outside frames for a call manager are addressed to.
    pub fn next_hop(&self) -> (&Netns, &'static str) {
        match self.place {
            Place::Router | Place::Host => (self.fw(), "out0"),
            Place::Bridge => (self.inside(), "eth0"),
        }
    }

    /// A directory for logs and sockets.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where this lab's firewall pins its maps and links.
    pub fn pins(&self) -> PathBuf {
        Path::new(BPFFS).join(&self.id)
    }

    /// The namespaces and the wires between them, without addresses.
    fn wired(place: Place) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_stale();
        let id = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&id);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let lab = Self {
            place,
            outside: Owned::create(&format!("{id}-out"))?,
            inside: (place != Place::Host).then(|| Owned::create(&format!("{id}-in"))).transpose()?,
            fw: Owned::create(&format!("{id}-fw"))?,
            id,
            dir,
        };
        let mut links = link(&lab.fw, "out0", &lab.outside);
        if let Some(inside) = &lab.inside {
            links += &link(&lab.fw, "in0", inside);
        }
        netns::ip(&["-batch", "-"], &links)?;
        Ok(lab)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove_tree(&self.pins());
        remove_tree(&self.dir);
    }
}

/// The addresses of phones, management station and attacker, all on one interface.
const OUTSIDE: &str = "\
link set eth0 up
address add 10.20.0.10/16 dev eth0
address add 10.20.0.11/16 dev eth0
address add 10.20.0.12/16 dev eth0
address add 203.0.113.66/24 dev eth0
address add 10.9.9.5/28 dev eth0
address add 10.30.0.2/28 dev eth0
address add 2001:db8:20::10/64 dev eth0 nodad
address add 2001:db8:20::11/64 dev eth0 nodad
address add 2001:db8:20::12/64 dev eth0 nodad
address add 2001:db8:66::66/64 dev eth0 nodad
address add 2001:db8:9::5/64 dev eth0 nodad
";

/// The outside's way to everywhere: the firewall. Who chooses no address of its own is the first phone; the
/// longest common prefix (RFC 6724 §5) would make it the management station.
const OUTSIDE_ROUTES: &str = "\
route add default via 10.20.0.1 src 10.20.0.10
route add default via 2001:db8:20::1 src 2001:db8:20::10
";

/// The firewall's outside interface.
const GATEWAY_OUTSIDE: &str = "\
link set out0 up
address add 10.20.0.1/16 dev out0
address add 203.0.113.1/24 dev out0
address add 10.9.9.1/28 dev out0
address add 10.30.0.1/28 dev out0
address add 2001:db8:20::1/64 dev out0 nodad
address add 2001:db8:66::1/64 dev out0 nodad
address add 2001:db8:9::1/64 dev out0 nodad
";

/// The firewall's inside interface.
const GATEWAY_INSIDE: &str = "\
link set in0 up
address add 10.1.1.1/24 dev in0
address add 2001:db8:1::1/64 dev in0 nodad
";

/// The call managers.
const INSIDE: &str = "\
link set eth0 up
address add 10.1.1.10/24 dev eth0
address add 10.1.1.11/24 dev eth0
address add 2001:db8:1::10/64 dev eth0 nodad
address add 2001:db8:1::11/64 dev eth0 nodad
";

/// The inside's way to everywhere: the firewall.
const INSIDE_ROUTES: &str = "\
route add default via 10.1.1.1
route add default via 2001:db8:1::1
";

/// Behind a bridge every address is on the link.
const ON_LINK: &str = "\
route add default dev eth0
route add ::/0 dev eth0
";

/// The firewall as a bridge.
const BRIDGE: &str = "\
link add br0 type bridge mcast_snooping 0
link set out0 master br0
link set in0 master br0
link set out0 up
link set in0 up
link set br0 up
";

/// The call managers on the firewall's own host.
const HOST: &str = "\
address add 10.1.1.10/32 dev out0
address add 10.1.1.11/32 dev out0
address add 2001:db8:1::10/128 dev out0 nodad
address add 2001:db8:1::11/128 dev out0 nodad
";

/// The `ip` line that joins `near` in the firewall with `eth0` of another namespace.
fn link(fw: &Netns, near: &str, far: &Netns) -> String {
    format!("link add {near} netns {} type veth peer name eth0 netns {}\n", fw.name(), far.name())
}

/// Removes what processes that are gone have left: namespaces, pins and directories.
fn remove_stale() {
    static ONCE: Mutex<bool> = Mutex::new(false);
    let mut done = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    if *done {
        return;
    }
    *done = true;
    netns::names().iter().filter(|name| is_stale(name)).for_each(|name| netns::remove(name));
    for place in [Path::new(BPFFS), &std::env::temp_dir()] {
        let Ok(entries) = fs::read_dir(place) else { continue };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(is_stale) {
                remove_tree(&entry.path());
            }
        }
    }
}

/// Whether a name is a lab's, and the lab's process is gone.
fn is_stale(name: &str) -> bool {
    let Some((pid, rest)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    pid.parse::<u32>().is_ok_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
        && rest.starts_with(|c: char| c.is_ascii_digit())
}

fn remove_tree(path: &Path) {
    if path.exists()
        && let Err(error) = fs::remove_dir_all(path)
    {
        eprintln!("lab: {} is left behind: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFIX, is_stale};

    #[test]
    fn only_what_a_dead_lab_left_is_stale() {
        let own = std::process::id();
        assert!(!is_stale(&format!("{PREFIX}{own}-0-fw")));
        // Process ids end at 2^22.
        assert!(is_stale(&format!("{PREFIX}4194305-0-fw")));
        assert!(!is_stale("cgroup-0"));
        assert!(!is_stale("production"));
    }
}
