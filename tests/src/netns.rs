//! Network namespaces: created, entered for the length of a closure, removed on drop.
//!
//! Sockets and processes belong to the namespace of the thread that made them. So everything that must live in
//! a namespace is made by a short-lived thread that has entered it; the mount namespace is left as it is, and a
//! process started here still finds `/sys/fs/bpf` (which `ip netns exec` would hide under a fresh `/sys`).

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use crate::process::Process;

/// Where iproute2 keeps the names of namespaces.
const NAMES: &str = "/run/netns";

/// A network namespace, by its name.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
}

/// A network namespace that is removed, with what runs in it, on drop.
#[derive(Debug)]
pub struct Owned(Netns);

impl Owned {
    /// Creates it, with its loopback up. What a dead process left under this name is removed first.
    ///
    /// # Errors
    /// Without root, or when `ip` fails.
    pub fn create(name: &str) -> Result<Self> {
        if Path::new(NAMES).join(name).exists() {
            remove(name);
        }
        ip(&["netns", "add", name], "")?;
        let owned = Self(Netns { name: name.to_owned() });
        // An address that is still being checked for duplicates cannot ask for neighbours.
        owned.sysctl("ipv6/conf/all/accept_dad", "0")?;
        owned.sysctl("ipv6/conf/default/accept_dad", "0")?;
        // A forged source must not be dropped by anyone but the firewall.
        owned.sysctl("ipv4/conf/all/rp_filter", "0")?;
        owned.sysctl("ipv4/conf/default/rp_filter", "0")?;
        owned.ip("link set lo up\n")?;
        Ok(owned)
    }
}

impl Deref for Owned {
    type Target = Netns;

    fn deref(&self) -> &Netns {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        remove(&self.0.name);
    }
}

impl Netns {
    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure in a thread that has entered the namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the closure panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(Path::new(NAMES).join(&self.name)).context(self.name.clone())?;
        thread::scope(|scope| {
            scope
                .spawn(move || {
                    setns(&file, CloneFlags::CLONE_NEWNET).context("setns")?;
                    Ok(work())
                })
                .join()
                .map_err(|_| anyhow!("a thread in namespace {} panicked", self.name))?
        })
    }

    /// Starts a process here; `log` receives its output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &mut Command, log: &Path) -> Result<Process> {
        self.run(|| Process::spawn(command, log))?
    }

    /// Runs a process here to its end.
    ///
    /// # Errors
    /// When it cannot be started; its exit status is the caller's to judge.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        let name = command.get_program().to_owned();
        self.run(|| command.stdin(Stdio::null()).output())?.with_context(|| format!("cannot run {name:?}"))
    }

    /// Carries out `ip` commands here, one per line.
    ///
    /// # Errors
    /// With the text `ip` printed.
    pub fn ip(&self, batch: &str) -> Result<()> {
        ip(&["-n", &self.name, "-batch", "-"], batch)
    }

    /// Sets a value below `/proc/sys/net`.
    ///
    /// # Errors
    /// When the kernel has no such key or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(key);
        self.run(|| std::fs::write(&path, value))?.with_context(|| format!("net/{key} = {value}"))
    }

    /// A UDP socket here.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn udp(&self, local: SocketAddr) -> Result<UdpSocket> {
        self.run(|| UdpSocket::bind(local))?.with_context(|| format!("udp {local}"))
    }

    /// A listening TCP socket here.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn listen(&self, local: SocketAddr) -> Result<TcpListener> {
        self.run(|| TcpListener::bind(local))?.with_context(|| format!("tcp {local}"))
    }

    /// A TCP connection from `local`; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When it is refused or not answered in time.
    pub fn connect(&self, local: SocketAddr, remote: SocketAddr, timeout: Duration) -> Result<TcpStream> {
        let connect = || -> std::io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
            socket.bind(&local.into())?;
            socket.connect_timeout(&remote.into(), timeout)?;
            Ok(socket.into())
        };
        self.run(connect)?.with_context(|| format!("connect {local} to {remote}"))
    }
}

/// Carries out `ip` with these arguments; `input` goes to its standard input.
///
/// # Errors
/// With the text it printed.
pub fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip (iproute2)")?;
    let mut pipe = child.stdin.take().context("no pipe to ip")?;
    pipe.write_all(input.as_bytes()).context("writing to ip")?;
    drop(pipe);
    let output = child.wait_with_output().context("waiting for ip")?;
    ensure!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Names of the namespaces that exist.
pub(crate) fn names() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(NAMES) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Removes a namespace and ends what still runs in it.
pub(crate) fn remove(name: &str) {
    for pid in pids(name).unwrap_or_default() {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if let Err(error) = ip(&["netns", "del", name], "") {
        eprintln!("lab: namespace {name} is left behind: {error:#}");
    }
}

/// The processes in a namespace, this one excepted.
fn pids(name: &str) -> Result<Vec<i32>> {
    let output = Command::new("ip").args(["netns", "pids", name]).output()?;
    if !output.status.success() {
        bail!("ip netns pids {name}");
    }
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != own).collect())
}
