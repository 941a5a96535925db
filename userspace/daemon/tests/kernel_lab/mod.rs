//! The real kernel half in a pin directory of its own, attached to nothing: frames go through its XDP program by
//! BPF_PROG_TEST_RUN.

#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod frames;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use callgate_rules::compile::{Caps, compile_within};
use callgate_rules::{Compiled, Machine, Report, RuleSet};
use callgate_shared::Reason;
use callgate_shared::counters::Count;
use callgated::kernel::{Kernel, Trial};

/// The interface that packets of the tests come in by.
pub(crate) const INTERFACE: &str = "eth0";
/// Its slot.
pub(crate) const SLOT: u32 = 0;

/// A time far from the clock's beginning, in ns.
const NOW: u64 = 1_000_000_000_000_000;

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
    pub(crate) trial: Trial,
    /// Removed when the test is over, however it ends.
    pins: PinDirectory,
}

impl KernelLab {
    /// Loads it; there is no policy yet.
    pub(crate) fn new(test: &str) -> Self {
        let pins = PinDirectory(PathBuf::from(format!("/sys/fs/bpf/callgate-{test}-{}", std::process::id())));
        let trial = Trial::new(&pins.0, SLOT + 1).expect("the kernel takes it");
        Self { trial, pins }
    }

    /// Takes up the maps again by their pins, as another daemon would.
    pub(crate) fn reopen(&mut self) {
        self.trial.reopen(&self.pins.0).expect("the maps of before");
    }

    /// Compiles a rules file as the daemon would.
    pub(crate) fn compile(&mut self, rules: &str, generation: u32) -> Compiled {
        self.compile_within(rules, generation, &Caps::KERNEL)
    }

    /// [`Self::compile`] for tables of other sizes.
    pub(crate) fn compile_within(&mut self, rules: &str, generation: u32, caps: &Caps) -> Compiled {
        let set = RuleSet::parse("test.toml", rules).unwrap_or_else(|errors| panic!("{}", Report(&errors)));
        let machine = Machine { interfaces: &[(SLOT as usize, INTERFACE)], ..Machine::default() };
        let slots = &mut self.trial.kernel.slots();
        compile_within(&set, &machine, generation, slots, caps).expect("it fits")
    }

    /// Sends a frame, at a time that stands still: the one reason under which it was counted.
    pub(crate) fn reason(&mut self, frame: &[u8]) -> Reason {
        self.trial.judge(SLOT as usize, frame, NOW).expect("it is judged").reason
    }

    /// What has been counted, by reason.
    pub(crate) fn counters(&self) -> BTreeMap<Reason, Count> {
        self.trial.kernel.counters(SLOT as usize).into_iter().collect()
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
