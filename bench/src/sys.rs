//! The system calls that no crate wraps: bpf(2), perf_event_open(2), namespaces and CPU affinity.
//!
//! All of the crate's `unsafe` is here, behind functions that own their arguments' lifetimes. Errors are the
//! kernel's, as [`io::Error`].

use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;

const BPF_MAP_TYPE_PROG_ARRAY: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_ATTACH_TYPE_XDP: u32 = 37;
/// The driver's own hook; attaching fails rather than fall back to the generic one.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Frames are real: a verdict of redirect sends them (kernel 5.18).
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Frames handed over between two flushes of a live run; the kernel's greatest is 256.
const LIVE_BATCH: u32 = 64;

/// What BPF_PROG_TEST_RUN says of a run.
pub(crate) struct TestRun {
    /// The program's return value for the last repetition.
    pub(crate) verdict: u32,
    /// Mean time of one repetition, in ns: the kernel's own division, rounded down.
    pub(crate) ns: u32,
}

/// Sizes of a loaded program.
#[derive(Clone, Copy)]
pub(crate) struct ProgramSize {
    /// eBPF after the verifier, in bytes (8 per instruction).
    pub(crate) translated: u32,
    /// Machine code, in bytes; 0 when the JIT is off.
    pub(crate) jited: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    name: [u8; 16],
    ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

/// The first fields of `struct bpf_prog_info`; the kernel fills no more than it is given room for.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// An array of programs with one in it, for a tail call.
pub(crate) fn program_array(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = MapAttr {
        map_type: BPF_MAP_TYPE_PROG_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
    };
    // SAFETY: `MapAttr` is a prefix of `union bpf_attr` and holds no pointers.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &mut attr)? };
    // SAFETY: BPF_MAP_CREATE returned a new descriptor that nothing else owns.
    let map = unsafe { OwnedFd::from_raw_fd(fd) };
    let (key, value) = (0_u32, program.as_raw_fd());
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd() as u32,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        ..Default::default()
    };
    // SAFETY: key and value outlive the call and have the map's sizes.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr)? };
    Ok(map)
}

/// Loads an XDP program from its instructions.
pub(crate) fn load_xdp(name: &str, insns: &[u64]) -> io::Result<OwnedFd> {
    let mut attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_XDP,
        // Programs that call one another must say the same.
        expected_attach_type: BPF_ATTACH_TYPE_XDP,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Default::default()
    };
    // The kernel wants a terminating zero within the 16 bytes.
    for (to, from) in attr.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: `insns` and the licence outlive the call; `LoadAttr` is a prefix of `union bpf_attr`.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut attr)? };
    // SAFETY: BPF_PROG_LOAD returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches an XDP program to an interface of this namespace by the driver's hook, for as long as the
/// returned link is held.
pub(crate) fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkAttr {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: ifindex,
        attach_type: BPF_ATTACH_TYPE_XDP,
        flags: XDP_FLAGS_DRV_MODE,
    };
    // SAFETY: `LinkAttr` is a prefix of `union bpf_attr` and holds no pointers.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &mut attr)? };
    // SAFETY: BPF_LINK_CREATE returned a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Runs an XDP program `repeat` times on one frame that came in by the loopback interface of this namespace.
pub(crate) fn test_run(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<TestRun> {
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat,
        ..Default::default()
    };
    // SAFETY: `frame` outlives the call and the kernel only reads it; no room for output is offered.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr)? };
    Ok(TestRun { verdict: attr.retval, ns: attr.duration })
}

/// Runs an XDP program on `repeat` frames made from a template, and carries out its verdicts.
pub(crate) fn live_run(program: BorrowedFd<'_>, template: &[u8], repeat: u32) -> io::Result<()> {
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: template.len() as u32,
        data_in: template.as_ptr() as u64,
        repeat,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: LIVE_BATCH,
        ..Default::default()
    };
    // SAFETY: `template` outlives the call and the kernel only reads it; no room for output is offered.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr)? };
    Ok(())
}

/// How large a loaded program is.
pub(crate) fn program_size(program: BorrowedFd<'_>) -> io::Result<ProgramSize> {
    let mut info = ProgramInfo::default();
    let mut attr = InfoAttr {
        fd: program.as_raw_fd() as u32,
        len: mem::size_of::<ProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` outlives the call and `len` is its size.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    Ok(ProgramSize { translated: info.xlated_prog_len, jited: info.jited_prog_len })
}

/// Issues bpf(2).
///
/// # Safety
/// `A` must be a prefix of `union bpf_attr` for this command, and what its pointers name must be valid for
/// the lengths it states until the call returns.
unsafe fn bpf<A>(command: libc::c_long, attr: &mut A) -> io::Result<i32> {
    // SAFETY: the caller vouches for the attribute; its size goes with it.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut A, mem::size_of::<A>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as i32) }
}

/// Counts instructions the kernel retires on behalf of this thread.
pub(crate) struct InstructionCounter(File);

/// `struct perf_event_attr`, first version (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PerfAttr {
    event_type: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
const PERF_TYPE_HARDWARE: u32 = 0;
const PERF_COUNT_HW_INSTRUCTIONS: u64 = 1;
/// Bits of `flags`: exclude_user, exclude_hv. The counter starts at once.
const PERF_KERNEL_ONLY: u64 = 1 << 4 | 1 << 6;

impl InstructionCounter {
    /// Opens the counter. Fails where the machine has none, as most virtual machines.
    pub(crate) fn open() -> io::Result<Self> {
        let attr = PerfAttr {
            event_type: PERF_TYPE_HARDWARE,
            size: mem::size_of::<PerfAttr>() as u32,
            config: PERF_COUNT_HW_INSTRUCTIONS,
            flags: PERF_KERNEL_ONLY,
            ..Default::default()
        };
        let (this_thread, any_cpu, no_group) = (0, -1, -1);
        // SAFETY: `attr` outlives the call and states its own size.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                this_thread,
                any_cpu,
                no_group,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: perf_event_open returned a new descriptor that nothing else owns.
        Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(fd as i32) })))
    }

    /// Instructions counted since the counter was opened.
    pub(crate) fn read(&self) -> io::Result<u64> {
        let mut value = [0; 8];
        (&self.0).read_exact(&mut value)?;
        Ok(u64::from_ne_bytes(value))
    }
}

/// Moves this process into a network namespace of its own, which goes when the process does.
pub(crate) fn enter_new_network() -> io::Result<()> {
    // SAFETY: takes no pointers.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Binds this thread to the last CPU it may use, and says which.
pub(crate) fn pin_to_last_cpu() -> io::Result<usize> {
    let size = mem::size_of::<libc::cpu_set_t>();
    // SAFETY: all zeroes is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `allowed` has the stated size.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let cpu = (0..libc::CPU_SETSIZE as usize)
        .rev()
        // SAFETY: the index is below CPU_SETSIZE.
        .find(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) })
        .ok_or_else(|| io::Error::other("this process may use no CPU"))?;
    // SAFETY: as above.
    let mut only: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the index is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(cpu, &mut only) };
    // SAFETY: `only` has the stated size.
    match unsafe { libc::sched_setaffinity(0, size, &raw const only) } {
        0 => Ok(cpu),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel's `CLOCK_MONOTONIC`, in ns.
pub(crate) fn monotonic_ns() -> io::Result<u64> {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Time this thread has spent on a CPU, in ns.
pub(crate) fn thread_cpu_ns() -> io::Result<u64> {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> io::Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call.
    match unsafe { libc::clock_gettime(clock, &raw mut now) } {
        0 => Ok(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes of the heap in use, large blocks included.
pub(crate) fn heap_in_use() -> usize {
    // SAFETY: takes no pointers, always succeeds.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    // SAFETY: always succeeds, takes no pointers.
    unsafe { libc::geteuid() == 0 }
}

/// The index of an interface of this namespace.
pub(crate) fn interface_index(name: &std::ffi::CStr) -> io::Result<u32> {
    // SAFETY: `name` is a terminated string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}
