//! Callgate as it runs: the daemon in a lab's gateway, endpoints on either side, and the same without it.

pub(crate) mod attack;
pub(crate) mod latency;
pub(crate) mod rate;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::Lab;
use callgate_lab::policy::Policy;

use crate::lineup::Selection;
use crate::report::Case;

/// How long and how often.
pub(crate) struct Effort {
    /// How long a rate must be held.
    pub(crate) hold: Duration,
    /// How long a rate is tried while it is looked for.
    pub(crate) probe: Duration,
    /// How long [`rate::STEADY`] must be held.
    pub(crate) steady: Duration,
    /// Calls whose messages are timed.
    pub(crate) calls: u32,
    /// How long an attack lasts.
    pub(crate) attack: Duration,
}

/// The cases of this module that are selected.
pub(crate) fn measure(selection: &Selection, effort: &Effort) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    if selection.has_any(&crate::lineup::CALL_RATE) {
        cases.extend(rate::measure(selection, effort)?);
    }
    if selection.has("sip-call-steady") {
        cases.push(rate::steady(effort)?);
    }
    if selection.has("sip-latency") {
        cases.push(latency::measure(effort)?);
    }
    if selection.has("syn-flood") {
        cases.push(attack::syn_flood(effort)?);
    }
    if selection.has("reload-10000") {
        cases.push(attack::reload(effort)?);
    }
    Ok(cases)
}

/// What stands between caller and callee.
#[derive(Debug)]
struct Gateway {
    /// Dropped before its lab.
    firewall: Option<Firewall>,
    lab: Arc<Lab>,
}

impl Gateway {
    /// A router and nothing else.
    fn plain() -> Result<Self> {
        Ok(Self { firewall: None, lab: Lab::gateway()? })
    }

    /// nftables with connection tracking and the kernel's SIP helper, which admits the media that signalling names.
    fn helper() -> Result<Self> {
        let gateway = Self::plain()?;
        let output = gateway.lab.fw().output(Command::new("nft").arg(HELPER))?;
        ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(gateway)
    }

    /// Callgate, with the rules of the end-to-end tests.
    fn callgate() -> Result<Self> {
        let lab = Lab::gateway()?;
        let firewall = Firewall::start(&lab, &Policy::default().text(&lab)).context("starting callgated")?;
        Ok(Self { firewall: Some(firewall), lab })
    }
}

/// Packets of connections that are known, or that the helper expects, pass; SIP may begin one.
const HELPER: &str = "\
add table ip bench
add ct helper ip bench sip { type \"sip\" protocol udp; l3proto ip; }
add chain ip bench early { type filter hook prerouting priority -150; policy accept; }
add rule ip bench early udp dport 5060 ct helper set \"sip\"
add chain ip bench across { type filter hook forward priority 0; policy drop; }
add rule ip bench across ct state established,related accept
add rule ip bench across iifname \"out0\" udp dport 5060 ct state new accept
";
