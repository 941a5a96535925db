//! Where media may be forwarded past the stack: devices that frames can be given to, as long as nobody on the stack's
//! way is to see them.
//!
//! Asked by netlink: which devices transmit what XDP redirects (family `netdev`, Linux 6.3), and whether netfilter has a
//! hook that forwarded packets pass (`NFNL_SUBSYS_HOOK`, Linux 5.14; else the chains of nftables and the tables of
//! iptables). Whatever cannot be found out counts against the fast path.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use aya::maps::MapError;
use callgate_alg::Time;

use super::{Error, Kernel};

/// `NETDEV_XDP_ACT_NDO_XMIT`: the device transmits what is redirected to it.
const CAN_TRANSMIT: u64 = 4;
/// Netfilter's hooks that a forwarded packet passes: PREROUTING, FORWARD, POSTROUTING.
const HOOKS: [u32; 3] = [0, 2, 4];
/// Between two looks at devices and hooks.
const LOOK: Duration = Duration::from_secs(2);
/// Most bytes of answers that are read.
const MOST: usize = 1 << 20;

/// What is known of the fast path.
#[derive(Debug, Default)]
pub(super) struct FastPath {
    looked: Option<Time>,
    /// Devices in the kernel half's table.
    devices: BTreeSet<u32>,
}

impl Kernel {
    /// Looks which devices media may be forwarded to, past the stack; does nothing where no rule asks for that, or where
    /// it was done lately.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn look_for_fast_paths(&mut self, now: Time) -> Result<(), Error> {
        let wanted = self.handlings.values().any(|handling| handling.fast);
        let idle = !wanted && self.fast_path.devices.is_empty();
        if idle || self.fast_path.looked.is_some_and(|looked| now.since(looked) < LOOK) {
            return Ok(());
        }
        self.fast_path.looked = Some(now);
        let devices = if wanted && !netfilter_sees() { transmitting(self.generic) } else { BTreeSet::new() };
        self.set_fast_paths(devices)
    }

    /// Puts exactly these devices, by index, into the table of those that media may be sent out by.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn set_fast_paths(&mut self, devices: BTreeSet<u32>) -> Result<(), Error> {
        let error = |source| Error::Map { name: "EGRESS", source };
        for gone in self.fast_path.devices.difference(&devices) {
            match self.maps.egress.remove(*gone) {
                // The kernel forgets a device by itself when it goes.
                Err(source) if !super::maps::is_absent(&source) => return Err(error(source)),
                _ => {}
            }
        }
        // All of them: a device that has gone and come back is another one.
        for device in &devices {
            if let Err(failure) = self.maps.egress.insert(*device, *device, None, 0) {
                return Err(error(MapError::IoError(io::Error::other(failure))));
            }
        }
        self.fast_path.devices = devices;
        Ok(())
    }
}

/// A station address as the programs compare it.
pub(super) fn station(address: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = address;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The station address of an interface; `None` where it has none.
///
/// Not by sysfs: that may be another network namespace's.
pub(super) fn station_of(interface: &str) -> Option<[u8; 6]> {
    let socket =
        std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("[::1]:0")).ok()?;
    // SAFETY: a structure of integers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return None;
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = byte.cast_signed();
    }
    // SAFETY: a structure that lives through the call, of the kind this request fills.
    let address = unsafe {
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) < 0 {
            return None;
        }
        request.ifr_ifru.ifru_hwaddr
    };
    let ethernet = address.sa_family == libc::ARPHRD_ETHER;
    let octets = address.sa_data.map(libc::c_char::cast_unsigned);
    octets.first_chunk().copied().filter(|_| ethernet)
}

/// Devices that can transmit what XDP redirects to them. In generic mode, all that are there: the stack's own way out
/// is taken.
fn transmitting(generic: bool) -> BTreeSet<u32> {
    if generic {
        let mut devices = BTreeSet::new();
        // SAFETY: a list that ends with an index of 0, read before it is given back.
        unsafe {
            let list = libc::if_nameindex();
            let mut device = list;
            while !device.is_null() && (*device).if_index != 0 {
                devices.insert((*device).if_index);
                device = device.add(1);
            }
            if !list.is_null() {
                libc::if_freenameindex(list);
            }
        }
        return devices;
    }
    let Ok(devices) = features() else { return BTreeSet::new() };
    devices
        .into_iter()
        .filter(|(_, features)| features & CAN_TRANSMIT != 0)
        .map(|(device, _)| device)
        .collect()
}

/// Whether netfilter is told of packets that are forwarded; `true` where that cannot be found out.
fn netfilter_sees() -> bool {
    const HOOK_GET: u16 = 12 << 8;
    [libc::AF_INET as u8, libc::AF_INET6 as u8].into_iter().any(|family| {
        HOOKS.into_iter().any(|hook| {
            // `nfgenmsg`, then NFNLA_HOOK_HOOKNUM.
            let body = [&[family, 0, 0, 0][..], &attribute(1, &hook.to_be_bytes())].concat();
            match ask(libc::NETLINK_NETFILTER, HOOK_GET, &body) {
                Ok(hooks) => !hooks.is_empty(),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
                Err(error) if is_unknown(&error) => tables_see(),
                Err(_) => true,
            }
        })
    })
}

/// The same where the kernel lists no hooks: whether nftables has a chain there, or iptables any table.
fn tables_see() -> bool {
    const CHAIN_GET: u16 = 10 << 8 | 4;
    const CHAIN_HOOK: u16 = 4;
    const HOOK_NUMBER: u16 = 1;
    const INET: u8 = 1;
    let sees = |chain: &Vec<u8>| {
        let routed = [INET, libc::AF_INET as u8, libc::AF_INET6 as u8];
        let number = value(chain.get(4..)?, CHAIN_HOOK).and_then(|hook| value(hook, HOOK_NUMBER))?;
        let number = u32::from_be_bytes(number.try_into().ok()?);
        (routed.contains(chain.first()?) && HOOKS.contains(&number)).then_some(())
    };
    let chains = match ask(libc::NETLINK_NETFILTER, CHAIN_GET, &[0; 4]) {
        Ok(chains) => chains,
        Err(error) if is_unknown(&error) => Vec::new(),
        Err(_) => return true,
    };
    let tables = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];
    chains.iter().any(|chain| sees(chain).is_some())
        || tables.iter().any(|names| std::fs::read(names).is_ok_and(|names| !names.is_empty()))
}

/// Whether the kernel does not know what it was asked for.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP))
}

/// `NETDEV_A_DEV_XDP_FEATURES` by device.
fn features() -> io::Result<Vec<(u32, u64)>> {
    const CONTROL: u16 = 0x10;
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    const DEVICE_GET: u8 = 1;
    const DEVICE: u16 = 1;
    const XDP_FEATURES: u16 = 3;
    let name = attribute(FAMILY_NAME, b"netdev\0");
    let families = ask_one(libc::NETLINK_GENERIC, CONTROL, &[&[GET_FAMILY, 1, 0, 0][..], &name].concat())?;
    let family = families
        .first()
        .and_then(|message| value(message.get(4..)?, FAMILY_ID)?.try_into().ok())
        .map(u16::from_ne_bytes)
        .ok_or(io::ErrorKind::Unsupported)?;
    let devices = ask(libc::NETLINK_GENERIC, family, &[DEVICE_GET, 1, 0, 0])?;
    let device = |message: &Vec<u8>| {
        let attributes = message.get(4..)?;
        let index = u32::from_ne_bytes(value(attributes, DEVICE)?.try_into().ok()?);
        Some((index, u64::from_ne_bytes(value(attributes, XDP_FEATURES)?.try_into().ok()?)))
    };
    Ok(devices.iter().filter_map(device).collect())
}

/// A netlink attribute, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The value of the first attribute of a kind.
fn value(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let [a, b, c, d, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = attributes.get(4..length)?;
        // Two bits of the kind are flags.
        if u16::from_ne_bytes([c, d]) & 0x3fff == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// The messages that answer a request for a whole list.
fn ask(protocol: i32, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    exchange(protocol, kind, libc::NLM_F_DUMP as u16, body)
}

/// The message that answers a request for one thing.
fn ask_one(protocol: i32, kind: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    exchange(protocol, kind, libc::NLM_F_ACK as u16, body)
}

/// Bytes of `nlmsghdr`.
const HEADER: usize = 16;

fn exchange(protocol: i32, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    // SAFETY: a system call without pointers; the descriptor is new and nobody else's.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // The kernel answers at once; this is for the day it does not.
    let patience = libc::timeval { tv_sec: 1, tv_usec: 0 };
    let size = libc::socklen_t::try_from(size_of_val(&patience)).unwrap_or_default();
    // SAFETY: a structure that lives through the call, and its size.
    unsafe {
        let place = (&raw const patience).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, place, size);
    }
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    let flags = flags | libc::NLM_F_REQUEST as u16;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    request.extend(body);
    // SAFETY: bytes that live through the call, and how many they are.
    let sent = unsafe { libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let (mut messages, mut buffer, mut read) = (Vec::new(), vec![0; 1 << 16], 0);
    while read < MOST {
        // SAFETY: as above.
        let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
        read += got;
        let mut rest = buffer.get(..got).unwrap_or_default();
        while let Some((header, after)) = rest.split_at_checked(HEADER) {
            let length = usize::try_from(u32::from_ne_bytes([header[0], header[1], header[2], header[3]]))
                .map_err(io::Error::other)?;
            let body = length.checked_sub(HEADER).and_then(|length| after.get(..length));
            let Some(body) = body else { return Err(io::ErrorKind::InvalidData.into()) };
            match i32::from(u16::from_ne_bytes([header[4], header[5]])) {
                libc::NLMSG_DONE => return Ok(messages),
                libc::NLMSG_ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 { Ok(messages) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => messages.push(body.to_vec()),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_their_kind() {
        let all = [attribute(1, &[1, 2, 3]), attribute(2, b"x"), attribute(0x8003, &[9; 8])].concat();
        assert_eq!(value(&all, 1), Some(&[1, 2, 3][..]));
        assert_eq!(value(&all, 2), Some(&b"x"[..]));
        assert_eq!(value(&all, 3), Some(&[9; 8][..]), "flags are no part of the kind");
        assert_eq!(value(&all, 4), None);
        assert_eq!(value(&[4, 0], 1), None);
        assert_eq!(value(&[2, 0, 1, 0], 1), None, "a length that is shorter than itself");
    }

    #[test]
    fn the_loopback_device_is_among_those_with_features() {
        // Kernels before 6.3 have no such family: nothing is forwarded past the stack there.
        if let Ok(devices) = features() {
            assert!(devices.iter().any(|(device, _)| *device == 1), "{devices:?}");
        }
        assert_eq!(station([2, 0, 0, 0, 0, 1]), 0x0100_0000_0002);
    }
}
