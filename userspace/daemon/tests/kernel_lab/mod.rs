//! The real kernel half in a pin directory of its own, attached to nothing: frames go through its XDP program by
//! BPF_PROG_TEST_RUN.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use callgate_rules::{Compiled, Report, RuleSet, compile};
use callgate_shared::Reason;
use callgate_shared::counters::Count;
use callgated::kernel::Kernel;

/// The interface that packets of the tests come in by.
pub(crate) const INTERFACE: &str = "eth0";
/// Its slot.
pub(crate) const SLOT: u32 = 0;

const PROGRAM: &str = "callgate_xdp";
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Whether the test can run. Without root it says so and returns `false`; in CI nothing may be skipped.
pub(crate) fn root_or_skip(test: &str) -> bool {
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} needs root, and CI skips nothing");
    // Not by `eprintln`, which the test harness keeps to itself.
    let _ = writeln!(io::stderr(), "SKIPPED (needs root): {test}");
    false
}

/// The kernel half, loaded.
pub(crate) struct KernelLab {
    pub(crate) kernel: Kernel,
    instance: Ebpf,
    /// Removed when the test is over, however it ends.
    pins: PinDirectory,
}

impl KernelLab {
    /// Loads it; there is no policy yet.
    pub(crate) fn new(test: &str) -> Self {
        let pins = PinDirectory(PathBuf::from(format!("/sys/fs/bpf/callgate-{test}-{}", std::process::id())));
        let kernel = Kernel::open(&pins.0).expect("the maps");
        let mut instance = kernel.instance(SLOT).expect("an instance");
        let program: &mut Xdp = instance.program_mut(PROGRAM).expect("it is there").try_into().expect("XDP");
        program.load().expect("the verifier accepts it");
        Self { kernel, instance, pins }
    }

    /// Takes up the maps again by their pins, as another daemon would.
    pub(crate) fn reopen(&mut self) {
        self.kernel = Kernel::open(&self.pins.0).expect("the maps of before");
    }

    /// Compiles a rules file as the daemon would.
    pub(crate) fn compile(&mut self, rules: &str, generation: u32) -> Compiled {
        let set = RuleSet::parse("test.toml", rules).unwrap_or_else(|errors| panic!("{}", Report(&errors)));
        compile(&set, &[(SLOT as usize, INTERFACE)], generation, &mut self.kernel.slots()).expect("it fits")
    }

    /// Sends a frame into the XDP program: whether it passed. BPF_PROG_TEST_RUN takes no frame shorter than an
    /// Ethernet header.
    pub(crate) fn passes(&self, frame: &[u8]) -> bool {
        let program: &Xdp = self.instance.program(PROGRAM).expect("it is there").try_into().expect("XDP");
        let run = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        match program.test_run(run).expect("BPF_PROG_TEST_RUN").return_value {
            XDP_PASS => true,
            XDP_DROP => false,
            other => panic!("XDP verdict {other}"),
        }
    }

    /// Sends a frame: the one reason under which it was counted.
    pub(crate) fn reason(&self, frame: &[u8]) -> Reason {
        let before = self.counters();
        let passed = self.passes(frame);
        let mut delta = self.counters();
        for (reason, old) in before {
            let new = delta.entry(reason).or_default();
            *new = Count { packets: new.packets - old.packets, bytes: new.bytes - old.bytes };
        }
        delta.retain(|_, count| count.packets != 0);
        let counted: Vec<(Reason, u64)> =
            delta.iter().map(|(reason, count)| (*reason, count.packets)).collect();
        let [(reason, 1)] = counted[..] else { panic!("one packet was counted as {counted:?}") };
        assert_eq!(passed, !reason.is_drop(), "{}", reason.name());
        reason
    }

    /// What has been counted, by reason.
    pub(crate) fn counters(&self) -> BTreeMap<Reason, Count> {
        self.kernel.counters(SLOT as usize).into_iter().collect()
    }
}

struct PinDirectory(PathBuf);

impl Drop for PinDirectory {
    fn drop(&mut self) {
        if let Err(error) = Kernel::remove(&self.0) {
            let _ = writeln!(io::stderr(), "{} stays behind: {error}", self.0.display());
        }
    }
}
