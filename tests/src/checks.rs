//! What every call through an enforcing firewall has to satisfy, whoever signals it and wherever it runs.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use callgate_alg::call::State;

use crate::call::{Call, Outcome};
use crate::daemon::Firewall;
use crate::rtp::Path;

/// How long a checked call carries media.
const MEDIA: Duration = Duration::from_millis(600);

/// Carries one call through, while no other traffic runs, and checks:
///
/// - while it is up, it is listed as connected, with a pinhole for RTP and one for RTCP at both ends;
/// - every RTP and RTCP packet arrives, both ways, from the first on;
/// - the kernel admitted exactly these packets by pinhole, and dropped nothing at all;
/// - after the release neither the call nor a pinhole is left.
///
/// # Errors
/// With the first expectation that fails.
pub fn clean_call(firewall: &Firewall, place: impl FnOnce() -> Result<Call>) -> Result<Outcome> {
    let before = firewall.counters()?;
    let call = place().context("placing the call")?;
    thread::sleep(MEDIA);
    listed(firewall, &call)?;
    let signalling_pinholes = firewall.pinholes()?.iter().filter(|row| row.transport.name() == "tcp").count();
    let outcome = call.finish(Duration::ZERO).context("releasing the call")?;
    ensure!(outcome.is_whole(), "{outcome}");
    firewall.settled()?;
    let after = firewall.counters()?;
    let dropped = after.dropped_since(&before);
    ensure!(dropped.is_empty(), "dropped during a clean call: {dropped:?}");
    let media = packets(&outcome.forth) + packets(&outcome.back);
    let admitted = after.passed_since(&before).get("pinhole").copied().unwrap_or(0);
    // An H.245 connection's SYN enters by pinhole; the rest of it is a flow.
    let expected = media + signalling_pinholes as u64;
    ensure!(admitted == expected, "{admitted} packets admitted by pinhole, {expected} sent");
    Ok(outcome)
}

/// Checks that a call is listed as connected, with its four media pinholes.
///
/// # Errors
/// With the listing that lacks something.
pub fn listed(firewall: &Firewall, call: &Call) -> Result<()> {
    let calls = firewall.calls()?;
    ensure!(calls.iter().any(|row| row.state == State::Connected), "no connected call among {calls:?}");
    let pinholes = firewall.pinholes()?;
    for rtp in [call.caller.local(), call.callee.local()] {
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        for (to, kind) in [(rtp, "rtp"), (rtcp, "rtcp")] {
            ensure!(
                pinholes.iter().any(|row| row.to == to && row.kind == kind),
                "no {kind} pinhole to {to} among {pinholes:?}"
            );
        }
    }
    Ok(())
}

fn packets(path: &Path) -> u64 {
    u64::from(path.sent) + u64::from(path.reports.0)
}
