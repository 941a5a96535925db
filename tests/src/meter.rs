//! Exact counts of what passes an interface: nftables counters at the edge of a namespace.
//!
//! They see every packet, raw ones too, at any rate: the hooks are at the device itself (Linux 4.2 for
//! ingress, 5.16 for egress). Use them in the namespaces around the firewall, not in the firewall's.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::netns::Netns;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by the interface.
    In,
    /// Sent by it.
    Out,
}

/// Counters at one interface; they end with it or with [`Drop`].
#[derive(Debug)]
pub struct Meter {
    ns: Netns,
    table: String,
}

impl Meter {
    /// Counts packets that match each of these nftables expressions, in one direction.
    ///
    /// # Errors
    /// When `nft` refuses an expression, with its text.
    pub fn attach(
        ns: &Netns,
        interface: &str,
        direction: Direction,
        counts: &[(&str, &str)],
    ) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let table = format!("meter{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let hook = match direction {
            Direction::In => "ingress",
            Direction::Out => "egress",
        };
        let mut text = format!("add table netdev {table}\n");
        let _ = writeln!(
            text,
            "add chain netdev {table} c {{ type filter hook {hook} device \"{interface}\" priority 0; }}"
        );
        for (name, expression) in counts {
            let _ = writeln!(text, "add counter netdev {table} {name}");
            let _ = writeln!(text, "add rule netdev {table} c {expression} counter name {name}");
        }
        let meter = Self { ns: ns.clone(), table };
        meter.nft(&["-c", &text])?;
        meter.nft(&[&text])?;
        Ok(meter)
    }

    /// Packets counted under `name` so far.
    ///
    /// # Errors
    /// When `nft` fails or has no such counter.
    pub fn packets(&self, name: &str) -> Result<u64> {
        let text = self.nft(&["-j", &format!("list counter netdev {} {name}", self.table)])?;
        let json: Value = serde_json::from_str(&text).context("nft's JSON")?;
        let items = json["nftables"].as_array().context("nft's list")?;
        items
            .iter()
            .find_map(|item| item["counter"]["packets"].as_u64())
            .with_context(|| format!("nft has no counter {name}"))
    }

    fn nft(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ns.output(Command::new("nft").args(arguments).stdin(Stdio::null()))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft: {}", error.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // The namespace may have gone before.
        let _ = self.nft(&[&format!("delete table netdev {}", self.table)]);
    }
}
