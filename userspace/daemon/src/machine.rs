//! This machine's own addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of all interfaces of this network namespace but loopback ones: ascending, each once.
///
/// # Errors
/// What the system says (getifaddrs(3)).
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: a live pointer to be written; the list is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: an entry of the list, which nobody changes and which is freed after its last use.
        let (address, next) = unsafe { (address((*entry).ifa_addr), (*entry).ifa_next) };
        addresses.extend(address.filter(|address| !address.is_loopback()));
        entry = next;
    }
    // SAFETY: the list that getifaddrs has made, freed once.
    unsafe { libc::freeifaddrs(list) };
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// An IP address of a socket address, if it is one.
///
/// # Safety
/// Null, or a pointer to a socket address that is as long as its family asks for.
unsafe fn address(from: *const libc::sockaddr) -> Option<IpAddr> {
    if from.is_null() {
        return None;
    }
    // SAFETY: not null; every socket address begins with its family; its kind follows from that. Reads need no
    // alignment.
    unsafe {
        match i32::from((&raw const (*from).sa_family).read_unaligned()) {
            libc::AF_INET => {
                let from = from.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(from.sin_addr.s_addr.to_ne_bytes()).into())
            }
            libc::AF_INET6 => {
                let from = from.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(from.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_those_one_can_bind_to() {
        let addresses = own_addresses().expect("the system tells them");
        assert!(addresses.is_sorted() && addresses.iter().all(|address| !address.is_loopback()));
        for address in addresses.iter().filter(|address| address.is_ipv4()) {
            std::net::UdpSocket::bind((*address, 0)).expect("it is ours");
        }
    }
}
