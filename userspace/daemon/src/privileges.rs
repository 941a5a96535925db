//! What the daemon may do: less than root, from its first moment.
//!
//! Whoever takes over a parser gets what the daemon has (`ARCHITECTURE.md`). So it gives up, before there is a second
//! thread, every capability (capabilities(7)) it does not use, for good: neither it nor a program it would run can get
//! one back. What is left: to load and attach programs ([`KEPT`]), to give the control socket to its groups, and to
//! read rules files whoever owns them. Once it has opened what an earlier run has left in the kernel it gives up the
//! capability that this took too, and [`confine`] has the kernel refuse system calls it has no use for ([`FORBIDDEN`]):
//! to run a program, first of all.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Capabilities that are kept: numbers and names (linux/capability.h).
pub const KEPT: [(u32, &str); 6] = [
    // The control socket's group.
    (0, "CAP_CHOWN"),
    // Rules files and files of groups that root may not read by their mode.
    (2, "CAP_DAC_READ_SEARCH"),
    // XDP, TCX, taps, routes' addresses.
    (12, "CAP_NET_ADMIN"),
    // Packet sockets.
    (13, "CAP_NET_RAW"),
    // The verifier lets programs compute with pointers only for who has it.
    (38, "CAP_PERFMON"),
    // Maps and programs.
    (39, "CAP_BPF"),
];

/// `CAP_SYS_ADMIN`, kept until [`confine`]: maps within maps that an earlier run has left are opened by number, which the
/// kernel permits to nobody else.
const ADOPTS: u32 = 21;

/// System calls that are refused by [`confine`] with EPERM, whatever a library would do with them: running programs,
/// reaching into other processes, mounts and namespaces, the kernel itself, the clock, other users, keys, and what has
/// brought more holes than use.
pub const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
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

/// Gives up everything but [`KEPT`], for now what adopting takes, and the ability to get more by running a program. To be called before there are
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
    limit_to(&[&KEPT.map(|(number, _)| number)[..], &[ADOPTS]].concat())
}

/// Gives up what adopting took, and has [`FORBIDDEN`] refused. To be called before there are other threads: those that
/// begin later have it from this one.
///
/// # Errors
/// What the kernel says.
pub fn confine() -> io::Result<()> {
    limit_to(&KEPT.map(|(number, _)| number))?;
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let rules: BTreeMap<i64, _> = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

/// Limits the calling thread to these capabilities, as far as it has them.
fn limit_to(kept: &[u32]) -> io::Result<()> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: version 3 has two sets of 32 bits, and both are there.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for (half, set) in sets.iter_mut().enumerate() {
        let mask = kept
            .iter()
            .filter(|number| **number as usize / 32 == half)
            .fold(0, |mask, number| mask | 1 << (number % 32));
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
            confine().expect("it can be confined");
            // Whatever else is forbidden: no program is run.
            let error = std::process::Command::new("/bin/true").status().expect_err("it is refused");
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
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
