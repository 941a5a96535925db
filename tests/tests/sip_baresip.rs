//! Calls between two soft phones that are not ours, through a gateway in enforce mode.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use callgate_alg::call::State;
use callgate_lab::baresip::Run;
use callgate_lab::fixture::GATEWAY;
use callgate_lab::root_or_skip;
use callgate_lab::sip::Transport;

#[test]
fn baresip_talks_to_baresip() -> Result<()> {
    if !root_or_skip("baresip_talks_to_baresip") {
        return Ok(());
    }
    let turn = GATEWAY.turn()?;
    let (lab, firewall) = (&turn.lab, &turn.firewall);
    for transport in [Transport::Udp, Transport::Tcp] {
        let before = firewall.counters()?;
        let run = Run::start(lab, transport)?;
        let until = Instant::now() + Duration::from_secs(3);
        loop {
            let calls = firewall.calls()?;
            if calls
                .iter()
                .any(|row| row.state == State::Connected && row.streams.iter().any(|s| s.codec == "PCMU"))
            {
                break;
            }
            ensure!(Instant::now() < until, "{transport:?}: no call among {calls:?}");
            thread::sleep(Duration::from_millis(20));
        }
        let outcome = run.finish()?;
        // The thread that makes the tone may send one packet behind the 200 to the BYE.
        let whole = |(sent, arrived): (u64, u64)| sent >= 50 && sent - arrived <= 1;
        assert!(whole(outcome.forth) && whole(outcome.back), "{transport:?}: {outcome:?}");
        firewall.settled()?;
        // That one, and a last RTCP packet of either side; and RTCP that baresip begins with no report.
        let dropped = firewall.counters()?.dropped_since(&before);
        let late = |reason: &str| reason == "no-pinhole" || reason == "rtcp-compound";
        let late = dropped.iter().all(|(reason, count)| late(reason) && *count <= 8);
        assert!(late, "{transport:?}: {dropped:?}");
    }
    Ok(())
}
