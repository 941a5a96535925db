//! The daemon is killed at random moments while calls are up and more arrive: nobody who talks may notice, and
//! nothing may stay open behind a call.
//!
//! A few kills by default; `scripts/soak` sets `CALLGATE_SOAK` and has many, among many calls.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use callgate_lab::call::Call;
use callgate_lab::daemon::Firewall;
use callgate_lab::lab::{Family, Lab};
use callgate_lab::policy::Policy;
use callgate_lab::root_or_skip;
use callgate_lab::sip::{self, Callee, Transport};

/// Silence after which media closes here. A call whose end nobody read lasts so long.
const IDLE: Duration = Duration::from_secs(8);
/// How much longer than that it may take until all is closed.
const SLACK: Duration = Duration::from_secs(12);
/// Calls that come and go at any moment.
const COMING: usize = 4;
/// The daemon lives at most so long before it is killed, and is left dead at most so long.
const LIFE: Duration = Duration::from_millis(1_500);

/// How much is done.
struct Size {
    /// Calls that are up from the first kill to the last.
    standing: usize,
    kills: usize,
}

const SHORT: Size = Size { standing: 20, kills: 5 };
const SOAK: Size = Size { standing: 200, kills: 100 };

#[test]
fn calls_do_not_notice_that_the_daemon_dies() -> Result<()> {
    if !root_or_skip("calls_do_not_notice_that_the_daemon_dies") {
        return Ok(());
    }
    let Size { standing, kills } = if env::var_os("CALLGATE_SOAK").is_some() { SOAK } else { SHORT };
    let lab = Lab::gateway()?;
    let idle = format!("[settings]\nmedia_idle = \"{}s\"", IDLE.as_secs());
    let mut firewall = Firewall::start(&lab, &Policy::default().text(&lab).replace("[settings]", &idle))?;
    let (phone, manager) = (Family::V4.phone(0), Family::V4.call_manager(0));
    let callee = Callee::listen(lab.inside(), manager, Transport::Udp)?;
    let place = || sip::place_patiently(lab.outside(), phone, &callee);
    let calls: Vec<Call> =
        (0..standing).map(|_| place()).collect::<Result<_>>().context("before any kill")?;

    let over = AtomicBool::new(false);
    let come_and_go = || -> Result<usize> {
        let mut placed = 0;
        while !over.load(Ordering::Relaxed) {
            let mut call = place().with_context(|| format!("call {placed}"))?;
            thread::sleep(at_random(LIFE));
            call.caller.mute();
            call.callee.mute();
            call.signalling.release().with_context(|| format!("end of call {placed}"))?;
            placed += 1;
        }
        Ok(placed)
    };
    let coming = thread::scope(|scope| -> Result<usize> {
        let callers: Vec<_> = (0..COMING).map(|_| scope.spawn(come_and_go)).collect();
        let killed = kill(&mut firewall, kills);
        over.store(true, Ordering::Relaxed);
        let mut placed = 0;
        for caller in callers {
            placed += caller.join().expect("a caller does not panic")?;
        }
        killed.map(|()| placed)
    })?;

    let (mut packets, known) = (0, firewall.calls()?.len());
    for call in calls {
        let outcome = call.finish(Duration::ZERO)?;
        ensure!(outcome.is_whole(), "a standing call: {outcome}");
        packets += u64::from(outcome.caller.sent) + u64::from(outcome.callee.sent);
    }
    let until = Instant::now() + IDLE + SLACK;
    let left = loop {
        let (calls, pinholes) = (firewall.calls()?, firewall.pinholes()?);
        if (calls.is_empty() && pinholes.is_empty()) || Instant::now() > until {
            break (calls, pinholes);
        }
        thread::sleep(Duration::from_millis(200));
    };
    ensure!(left.0.is_empty() && left.1.is_empty(), "left behind: {left:?}");
    eprintln!(
        "{kills} kills among {standing} standing calls: {packets} packets of RTP, 0 lost; {coming} more calls came \
         and went, 0 refused; {known} calls were known to the last daemon, 0 of their pinholes stayed open"
    );
    ensure!(coming >= COMING, "only {coming} calls came meanwhile");
    Ok(())
}

/// Kills the daemon so many times, and starts it again.
fn kill(firewall: &mut Firewall, times: usize) -> Result<()> {
    for number in 0..times {
        thread::sleep(at_random(LIFE));
        firewall.kill()?;
        thread::sleep(at_random(LIFE));
        firewall.restart().with_context(|| format!("after kill {number}"))?;
    }
    Ok(())
}

/// Some time up to `most`.
fn at_random(most: Duration) -> Duration {
    let number = RandomState::new().build_hasher().finish();
    most.mul_f64(number as f64 / u64::MAX as f64)
}
