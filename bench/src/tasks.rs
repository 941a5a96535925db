//! CPU time of threads and processes other than this.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A thread.
#[derive(Debug)]
pub(crate) struct Task(PathBuf);

impl Task {
    /// The thread in which the kernel handles a CPU's packets when there are many.
    pub(crate) fn ksoftirqd(cpu: usize) -> Result<Self> {
        let name = format!("ksoftirqd/{cpu}\n");
        let is_it = |process: &Path| fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm == name);
        let mut processes = fs::read_dir("/proc").context("/proc")?.flatten().map(|entry| entry.path());
        let process = processes.find(|process| is_it(process));
        process.map(Self).context("ksoftirqd is not to be seen: run outside a container")
    }

    /// What it has taken so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        // Time on a CPU in ns, time waiting, turns.
        let text =
            fs::read_to_string(self.0.join("schedstat")).context("the kernel has no CONFIG_SCHED_INFO")?;
        let nanoseconds = text.split_whitespace().next().unwrap_or_default().parse()?;
        Ok(Duration::from_nanos(nanoseconds))
    }
}

/// What all threads of a process have taken so far.
pub(crate) fn cpu_time_of(pid: u32) -> Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")?;
    // One that ends meanwhile has no figures.
    Ok(tasks.flatten().filter_map(|task| Task(task.path()).cpu_time().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_takes_time() {
        let before = cpu_time_of(std::process::id()).expect("this process");
        let mut sum = 0_u64;
        while cpu_time_of(std::process::id()).expect("this process") < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time_of(u32::MAX).is_err());
    }
}
