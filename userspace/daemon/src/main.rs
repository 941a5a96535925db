//! `callgated`: attaches the kernel half, runs the ALG, serves the control socket.

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use callgated::audit::Audit;
use callgated::firewall::{Firewall, Outcome};
use callgated::interfaces::Interface;
use callgated::kernel::Kernel;
use callgated::lock::Lock;
use callgated::metrics::Exporter;
use callgated::options::Options;
use callgated::rulesfile::RulesError;
use callgated::tap::{self, Tap, VNET_HEADER};
use callgated::watch::Files;
use callgated::{control, log, preflight, privileges, views};
use clap::Parser;
use sd_notify::NotifyState;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

/// Frames read from one tap before the others get their turn.
const TURN: usize = 64;

fn main() -> ExitCode {
    let options = Options::parse();
    log::start(options.log_format);
    // Before there is another thread, and before anything a peer says is read.
    if let Err(error) = privileges::drop_all_but_kept() {
        warn!(%error, "capabilities that are not needed cannot be given up");
    }
    let result = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => LocalSet::new().block_on(&runtime, run(options)),
        Err(error) => Err(error.into()),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    error!("{error:#}");
    // A rules file that is wrong is an answer; anything else is a failure to run.
    match error.downcast_ref::<RulesError>() {
        Some(RulesError::Invalid { diagnostics, .. }) => {
            eprintln!("{}", callgate_rules::Report(diagnostics));
            ExitCode::from(1)
        }
        _ => ExitCode::from(2),
    }
}

async fn run(options: Options) -> Result<()> {
    let _lock = Lock::take(&options.state_dir)?;
    preflight::check()?;
    let Some(rules) = &options.rules else {
        Kernel::remove(&options.pin_dir)?;
        info!(pins = %options.pin_dir.display(), "taken down");
        return Ok(());
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (commands, mut queue) = control::queue();
    let audit = Arc::new(Mutex::new(Audit::new(&options.audit)));
    let group = options.group.as_deref();
    let server = control::Server::bind(&options.socket, group, Arc::clone(&audit), commands.clone())?;
    let mut entrance = server.entrance();
    let (mut exporter, mut files) = (Exporter::new(commands), Files::default());

    let firewall = Firewall::start(rules, &options.pin_dir, &options.state_dir, Arc::clone(&audit))?;
    let firewall = Rc::new(RefCell::new(firewall));
    let mut watched: Vec<Watched> = Vec::new();
    watch(&firewall, &mut watched);
    spawn_local(beat(Rc::clone(&firewall)));
    spawn_local(take_samples(Rc::clone(&firewall)));
    let server = spawn_local(server.run());
    info!(rules = %rules.display(), socket = %options.socket.display(), "ready");
    let control = firewall.borrow().rules().control().clone();
    entrance.follow(&control);
    exporter.follow(control.metrics).await;
    files.follow(firewall.borrow().rules());
    // Outside systemd nobody listens (sd_notify(3)).
    let _ = sd_notify::notify(false, &[NotifyState::Ready]);

    // Interfaces come and go by themselves.
    let mut look = interval(Duration::from_secs(1));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // What is wrong with the file has been logged.
            _ = hangup.recv() => reload(&firewall, "SIGHUP"),
            () = files.changed() => reload(&firewall, "a file has changed"),
            _ = look.tick() => {}
            Some(command) = queue.recv() => views::answer(&mut firewall.borrow_mut(), command),
        }
        watch(&firewall, &mut watched);
        let control = firewall.borrow().rules().control().clone();
        entrance.follow(&control);
        exporter.follow(control.metrics).await;
        files.follow(firewall.borrow().rules());
    }
    let _ = sd_notify::notify(false, &[NotifyState::Stopping]);

    server.abort();
    let _ = server.await;
    firewall.borrow_mut().rest();
    if options.detach {
        Kernel::remove(&options.pin_dir).context("cannot take the packet filter down")?;
        info!("stopped; the packet filter is down");
    } else {
        info!("stopped; the packet filter stays at work (`callgated --remove` takes it down)");
    }
    Ok(())
}

/// Reads the rules again, not because somebody has asked by the control socket.
fn reload(firewall: &Rc<RefCell<Firewall>>, why: &str) {
    let mut firewall = firewall.borrow_mut();
    let result = firewall.reload(None, None);
    let outcome = result.as_ref().map(drop).map_err(|error| error.error.as_str());
    firewall.note("reload", why, outcome);
}

/// An interface whose taps are read, while the value lives.
struct Watched {
    interface: Rc<Interface>,
    readers: [JoinHandle<()>; 2],
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

/// Reads the taps of the interfaces that are attached, and of no others.
fn watch(firewall: &Rc<RefCell<Firewall>>, watched: &mut Vec<Watched>) {
    let attached = firewall.borrow().attached().to_vec();
    watched.retain(|known| attached.iter().any(|interface| Rc::ptr_eq(&known.interface, interface)));
    for interface in attached {
        if watched.iter().all(|known| !Rc::ptr_eq(&known.interface, &interface)) {
            let reader =
                |direction| spawn_local(read_tap(Rc::clone(firewall), Rc::clone(&interface), direction));
            let readers = [reader(0), reader(1)];
            watched.push(Watched { interface, readers });
        }
    }
}

/// Reads one tap.
async fn read_tap(firewall: Rc<RefCell<Firewall>>, interface: Rc<Interface>, direction: usize) {
    let mut buffer = vec![0; tap::BUFFER];
    let tap = Rc::clone(&interface.taps[direction]);
    loop {
        if let Err(error) = tap.readable().await {
            error!(tap = tap.name(), %error, "tap lost");
            return;
        }
        for _ in 0..TURN {
            let length = match tap.read(&mut buffer) {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(error) => {
                    error!(tap = tap.name(), %error, "cannot read");
                    return;
                }
            };
            let outcome = firewall.borrow_mut().inspect(&interface, direction, &buffer[..length]);
            let other = &interface.taps[1 - direction];
            if let Err(error) = put_back(&tap, other, &buffer[..length], outcome) {
                warn!(tap = tap.name(), %error, "cannot put a packet back");
            }
        }
        tokio::task::yield_now().await;
    }
}

fn put_back(tap: &Tap, other: &Tap, frame: &[u8], outcome: Outcome) -> std::io::Result<()> {
    let bare = |frame: &[u8]| [&[0; VNET_HEADER], frame].concat();
    match outcome {
        Outcome::Return => tap.write(frame),
        Outcome::Instead(frame) => tap.write(&frame),
        Outcome::Keep => Ok(()),
        Outcome::Answer(answers) => {
            for (tap, frame) in [(tap, answers.to_receiver), (other, answers.to_sender)] {
                if let Some(frame) = frame {
                    tap.write(&bare(&frame))?;
                }
            }
            Ok(())
        }
    }
}

/// The heartbeat the kernel half listens for, and the passing of time.
async fn beat(firewall: Rc<RefCell<Firewall>>) {
    const BEATS_PER_TICK: u32 = 10;
    let mut beats = interval(Duration::from_millis(100));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 0_u32.. {
        beats.tick().await;
        let mut firewall = firewall.borrow_mut();
        firewall.heartbeat();
        if count.is_multiple_of(BEATS_PER_TICK) {
            firewall.tick();
            // The unit's WatchdogSec: a main loop that hangs is started anew, and finds its calls again.
            let _ = sd_notify::notify(false, &[NotifyState::Watchdog]);
        }
    }
}

/// Takes up the packets the kernel half has sampled.
async fn take_samples(firewall: Rc<RefCell<Firewall>>) {
    let ring = match firewall.borrow().events() {
        // SAFETY: the ring owns its map's descriptor, which nothing replaces or closes while the value lives.
        Ok(ring) => unsafe { AsyncFd::register(ring) },
        Err(error) => {
            warn!(%error, "packets cannot be sampled: none is logged, and no scan is seen");
            return;
        }
    };
    let Ok(mut ring) = ring else { return };
    loop {
        let Ok(mut guard) = ring.readable_mut().await else { return };
        while let Some(event) = guard.get_inner_mut().next() {
            firewall.borrow_mut().sampled(&event);
        }
        guard.clear_ready();
    }
}
