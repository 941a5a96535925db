//! What the daemon may do: less than root, from its first moment.
//!
//! Whoever takes over a parser gets what the daemon has (`ARCHITECTURE.md`). So it gives up, before there is a second
//! thread, every capability (capabilities(7)) it does not use, for good: neither it nor a program it would run can get
//! one back. What is left: to load and attach programs ([`KEPT`]), to give the control socket to its groups, and to
//! read rules files whoever owns them.

use std::io;

/// Capabilities that are kept: numbers and names (linux/capability.h).
pub const KEPT: [(u32, &str); 7] = [
    // The control socket's group.
    (0, "CAP_CHOWN"),
    // Rules files and files of groups that root may not read by their mode.
    (2, "CAP_DAC_READ_SEARCH"),
    // XDP, TCX, taps, routes' addresses.
    (12, "CAP_NET_ADMIN"),
    // Packet sockets.
    (13, "CAP_NET_RAW"),
    // Maps within maps are opened by number, which the kernel permits to nobody else: at every load of rules.
    (21, "CAP_SYS_ADMIN"),
    // The verifier lets programs compute with pointers only for who has it.
    (38, "CAP_PERFMON"),
    // Maps and programs.
    (39, "CAP_BPF"),
];

/// The highest capability there can be: what the kernel does not know, it refuses.
const MOST: u32 = 63;
/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up everything but [`KEPT`], and the ability to get more by running a program. To be called before there are
/// other threads: each has capabilities of its own.
///
/// # Errors
/// What the kernel says.
pub fn drop_all_but_kept() -> io::Result<()> {
    let kept = |number: u32| KEPT.iter().any(|(kept, _)| *kept == number);
    for number in (0..=MOST).filter(|number| !kept(*number)) {
        // SAFETY: it touches no memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        let error = io::Error::last_os_error();
        // EINVAL: the kernel has no such capability. EPERM: who runs the daemon has given it less than this already.
        if result != 0 && !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) {
            return Err(error);
        }
    }
    // SAFETY: it touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: version 3 has two sets of 32 bits, and both are there.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for (half, set) in sets.iter_mut().enumerate() {
        let mask = KEPT
            .iter()
            .filter(|(number, _)| *number as usize / 32 == half)
            .fold(0, |mask, (number, _)| mask | 1 << (number % 32));
        *set = Sets { effective: set.permitted & mask, permitted: set.permitted & mask, inheritable: 0 };
    }
    header.version = VERSION;
    // SAFETY: as above.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The capability sets of the thread that reads it, as proc_pid_status(5) has them.
    fn sets() -> Vec<(String, u64)> {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
        let set = |line: &str| {
            let (name, value) = line.split_once(":\t")?;
            name.starts_with("Cap").then(|| Some((name.to_owned(), u64::from_str_radix(value, 16).ok()?)))?
        };
        status.lines().filter_map(set).collect()
    }

    #[test]
    fn what_is_given_up_is_gone_for_good() {
        // Capabilities are a thread's own: those of the other tests are left alone.
        let after = std::thread::spawn(|| {
            drop_all_but_kept().expect("it can be given up");
            sets()
        });
        let kept: u64 = KEPT.iter().map(|(number, _)| 1 << number).sum();
        let after = after.join().expect("no panic");
        for name in ["CapInh", "CapPrm", "CapEff"] {
            let (_, set) = after.iter().find(|(known, _)| known == name).expect(name);
            assert_eq!(set & !kept, 0, "{name}");
        }
        // SAFETY: it cannot fail and touches no memory.
        if unsafe { libc::geteuid() } == 0 {
            let (_, bounding) = after.iter().find(|(known, _)| known == "CapBnd").expect("CapBnd");
            assert_eq!(bounding & !kept, 0);
        }
    }
}
