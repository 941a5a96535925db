//! What a test expects the firewall's counters to say once its calls are over.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::call::Outcome;
use crate::daemon::{Counters, Firewall};
use crate::rtp::Path;

/// Expectations, added up as a test goes along; nothing else may run meanwhile.
#[derive(Debug)]
pub struct Ledger<'a> {
    firewall: &'a Firewall,
    counters: Counters,
    refusals: BTreeMap<String, u64>,
    admitted: u64,
    dropped: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
}

impl<'a> Ledger<'a> {
    /// Counts from now on.
    ///
    /// # Errors
    /// When fwctl fails.
    pub fn open(firewall: &'a Firewall) -> Result<Self> {
        Ok(Self {
            firewall,
            counters: firewall.counters()?,
            refusals: firewall.status()?.alg.refusals,
            admitted: 0,
            dropped: BTreeMap::new(),
            refused: BTreeMap::new(),
        })
    }

    /// All of this media has passed by pinholes.
    pub fn media(&mut self, outcome: &Outcome) {
        let packets = |path: &Path| u64::from(path.sent) + u64::from(path.reports.0);
        self.admitted += packets(&outcome.forth) + packets(&outcome.back);
    }

    /// So many other packets have passed by pinholes. A TCP connection's SYN does; the rest of it is a flow.
    pub fn admitted(&mut self, packets: u32) {
        self.admitted += u64::from(packets);
    }

    /// So many packets were dropped for this reason.
    pub fn dropped(&mut self, reason: &str, packets: u32) {
        *self.dropped.entry(reason.to_owned()).or_default() += u64::from(packets);
    }

    /// So many announcements were refused for this reason.
    pub fn refused(&mut self, refusal: &str, count: u32) {
        *self.refused.entry(refusal.to_owned()).or_default() += u64::from(count);
    }

    /// Compares, once no call and no pinhole is left.
    ///
    /// # Errors
    /// With what is left over, or counted otherwise.
    pub fn close(self) -> Result<()> {
        self.firewall.settled()?;
        self.compare()
    }

    /// Compares, whatever is still open.
    ///
    /// # Errors
    /// With what is counted otherwise.
    pub fn compare(&self) -> Result<()> {
        let counters = self.firewall.counters()?;
        let dropped = counters.dropped_since(&self.counters);
        ensure!(dropped == self.dropped, "dropped {dropped:?}, expected {:?}", self.dropped);
        let admitted = counters.passed_since(&self.counters).get("pinhole").copied().unwrap_or(0);
        ensure!(admitted == self.admitted, "{admitted} packets admitted by pinhole, {} sent", self.admitted);
        let mut refused = self.firewall.status()?.alg.refusals;
        for (name, count) in &mut refused {
            *count -= self.refusals.get(name).copied().unwrap_or(0);
        }
        // Refused messages stand among dropped packets already.
        refused.retain(|name, count| *count > 0 && !name.starts_with("alg-"));
        ensure!(refused == self.refused, "refused {refused:?}, expected {:?}", self.refused);
        Ok(())
    }
}
