//! Processes the lab starts: their output goes to a file, and none of them outlives its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; standard output and error are appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be written or the program cannot be started.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let file =
            File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let name = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("log")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("wait")
    }

    /// Waits for its end; `None` when it still runs after `limit`.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + limit;
        loop {
            let status = self.ended()?;
            if status.is_some() || Instant::now() >= until {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end, waits, and kills it when it does not. Returns the status of an orderly end.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn stop(mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let pid = i32::try_from(self.child.id()).context("process id")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("SIGTERM")?;
        self.wait(limit)
    }

    /// SIGKILL: it has no chance to tidy up.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("SIGKILL")?;
        self.child.wait().context("wait")?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and have been waited for, before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
