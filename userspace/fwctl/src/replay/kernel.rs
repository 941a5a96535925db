//! The kernel half itself, for replays: the eBPF program by BPF_PROG_TEST_RUN, attached to nothing.
//!
//! Its maps are its own: their pins are taken away as soon as they are open, so that nothing stays behind however the
//! replay ends. Its clock is the capture's, as its twin's is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use callgate_alg::action::PinholeSpec;
use callgate_alg::{Time, Transport};
use callgate_rules::Compiled;
use callgate_shared::Reason;
use callgate_shared::judge::Verdict;
use callgate_shared::media::Measures;
use callgate_shared::policy::ZONE_SELF;
use callgated::kernel::{Kernel, Trial, trial};

use super::Half;
use crate::explain::shortened;

/// Slots of the interfaces that frames come in by: of the zone that was asked for, and of the machine itself.
const SLOTS: u32 = 2;

/// The kernel half, and the zone of its first interface.
pub(super) struct RealHalf {
    trial: Trial,
    zone: u8,
}

impl RealHalf {
    /// Loads the kernel half and puts the rules in force; frames come from `zone`.
    pub(super) fn new(compiled: &Compiled, zone: u8) -> anyhow::Result<Self> {
        let pins = PathBuf::from(format!("/sys/fs/bpf/callgate-replay-{}", std::process::id()));
        let opened = Trial::new(&pins, SLOTS);
        let removed = Kernel::remove(&pins);
        let mut trial = opened.context("the kernel half cannot be loaded: --kernel needs root")?;
        removed?;
        let mut compiled = compiled.clone();
        compiled.policy.interfaces[..2].copy_from_slice(&[zone, ZONE_SELF]);
        trial.load_policy(&compiled)?;
        Ok(Self { trial, zone })
    }
}

impl Half for RealHalf {
    fn judge(&mut self, frame: &[u8], zone: u8, now: Time) -> anyhow::Result<Verdict> {
        if frame.len() < trial::SHORTEST {
            // The kernel takes no such frame for a trial; the program would find it truncated.
            return Ok(Verdict::of(Reason::Truncated));
        }
        let slot = usize::from(zone != self.zone);
        Ok(self.trial.judge(slot, &shortened(frame, trial::LONGEST), now.0)?)
    }

    fn open(&mut self, spec: &PinholeSpec, now: Time, life: Duration) -> anyhow::Result<()> {
        Ok(self.trial.kernel.open_pinhole(spec, now, life)?)
    }

    fn close(&mut self, to: SocketAddr, transport: Transport) -> anyhow::Result<Option<Measures>> {
        Ok(self.trial.kernel.close_pinhole(to, transport)?.map(|pinhole| pinhole.measures))
    }

    fn measures(&self, to: SocketAddr, transport: Transport) -> Option<Measures> {
        self.trial.kernel.pinhole(to, transport).map(|pinhole| pinhole.measures)
    }
}
