//! The inspection taps: TAP devices by which signalling comes to user space and goes back.
//!
//! A packet read from a tap is whole: Ethernet frame, checksum and segmentation state included (in the
//! `virtio_net_hdr` in front), so that a 60 KB segment with a partial checksum goes back as it came.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context as _, Result};
use tokio::io::unix::AsyncFd;

/// Length of the `virtio_net_hdr` in front of every frame (virtio 1.2 section 5.1.6, legacy layout).
pub const VNET_HEADER: usize = 10;
/// Room for the largest frame a tap can hand over.
pub const BUFFER: usize = VNET_HEADER + 14 + 8 + 65_536;

// linux/if_tun.h
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUN_F_CSUM: libc::c_uint = 0x01;
const TUN_F_TSO4: libc::c_uint = 0x02;
const TUN_F_TSO6: libc::c_uint = 0x04;
/// The largest MTU a tap takes; nothing that fits the NIC may be refused here.
const MTU: libc::c_int = 65_521;
/// Frames that may wait to be read. A burst of calls while the daemon waits for a CPU must fit: what does not is
/// lost, and comes again by retransmission only. Beyond this a wait would itself be longer than SIP's T1.
const QUEUE: libc::c_int = 4_096;

/// One tap. It vanishes with the value.
#[derive(Debug)]
pub struct Tap {
    file: AsyncFd<File>,
    name: String,
    index: u32,
}

impl Tap {
    /// Makes a tap of this name (at most 15 bytes) and brings it up, without addresses of its own. To be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// What the system refuses: usually the capability CAP_NET_ADMIN, or `/dev/net/tun`.
    pub fn create(name: &str) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .context("cannot open /dev/net/tun")?;
        let mut request = interface_request(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
        ioctl(&file, TUNSETIFF, &raw mut request as libc::c_ulong)
            .with_context(|| format!("cannot make tap {name}"))?;
        let offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
        ioctl(&file, TUNSETOFFLOAD, offload.into())
            .with_context(|| format!("cannot set the offloads of tap {name}"))?;
        // No router solicitations and no listener reports of the host's own on it.
        let ipv6 = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        if std::path::Path::new(&ipv6).exists() {
            std::fs::write(&ipv6, "1").with_context(|| format!("cannot write {ipv6}"))?;
        }
        let index = bring_up(name).with_context(|| format!("cannot bring tap {name} up"))?;
        // SAFETY: the file owns its descriptor, which nothing replaces or closes while the value lives.
        let file = unsafe { AsyncFd::register(file) }.context("cannot watch a tap")?;
        Ok(Self { file, name: name.to_owned(), index })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its interface index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Waits until a frame can be read.
    ///
    /// # Errors
    /// What the system reports: the tap is gone.
    pub async fn readable(&self) -> io::Result<()> {
        // Level-triggered by hand: readiness is cleared only once a read has found nothing.
        self.file.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Reads a frame, `virtio_net_hdr` first; `None` when there is none for now.
    ///
    /// # Errors
    /// What the system reports.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.file.try_io(tokio::io::Interest::READABLE, |mut file| file.read(buffer)) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a frame back, `virtio_net_hdr` first.
    ///
    /// # Errors
    /// What the system reports.
    pub fn write(&self, frame: &[u8]) -> io::Result<()> {
        self.file.get_ref().write(frame).map(drop)
    }
}

/// Interface index by name; `None` where there is no such interface.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a C string that lives over the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::other(format!("interface name {name} is too long")));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

/// Sets MTU, queue length and the up flag; the interface's index.
fn bring_up(name: &str) -> io::Result<u32> {
    // SAFETY: a system call without pointers; the descriptor is owned from here on.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_mtu = MTU;
    ioctl(&socket, libc::SIOCSIFMTU, &raw mut request as libc::c_ulong)?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_metric = QUEUE;
    ioctl(&socket, libc::SIOCSIFTXQLEN, &raw mut request as libc::c_ulong)?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_NOARP) as i16;
    ioctl(&socket, libc::SIOCSIFFLAGS, &raw mut request as libc::c_ulong)?;
    interface_index(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

fn ioctl(fd: &impl AsRawFd, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: every caller passes the argument its request asks for: a live `ifreq`, or a plain integer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
