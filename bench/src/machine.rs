//! What the figures were taken on.

use std::fs;

use serde::Serialize;

/// The machine, and how busy others kept it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// As the processor names itself.
    pub(crate) cpu: String,
    /// CPUs online.
    pub(crate) cpus: usize,
    /// Kernel release.
    pub(crate) kernel: String,
    /// CPU everything was measured on.
    pub(crate) pinned_to: usize,
    /// Runnable processes, mean of the minute before the bench.
    pub(crate) load_before: Option<f64>,
    /// The same when it ended; the bench itself accounts for 1.
    pub(crate) load_after: Option<f64>,
    /// Why there are no instruction counts of packets, where there are none.
    pub(crate) no_instructions: Option<String>,
    /// Why there are none of messages.
    pub(crate) no_message_instructions: Option<String>,
    /// Some case's runs differed by more than [`crate::report::NOISY`]: compare only what differs by more.
    pub(crate) noisy: bool,
}

impl Machine {
    /// Looks at the machine, before anything is measured.
    pub(crate) fn survey(pinned_to: usize) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let named = info.lines().find(|line| line.starts_with("model name"));
        let cpu = named.and_then(|line| line.split_once(':')).map_or("unknown", |(_, model)| model.trim());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: cpu.to_owned(),
            cpus: info.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: release.trim().to_owned(),
            pinned_to,
            load_before: load(),
            load_after: None,
            no_instructions: None,
            no_message_instructions: None,
            noisy: false,
        }
    }

    /// Looks again, after everything is measured.
    pub(crate) fn resurvey(&mut self) {
        self.load_after = load();
    }
}

/// The one-minute load average.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
