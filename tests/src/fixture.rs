//! A lab with a firewall that the tests of one file share: loading the kernel half takes seconds.
//!
//! Tests have it one after the other, and it ends with the last of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::daemon::Firewall;
use crate::lab::{Family, Lab};
use crate::policy::Policy;

/// A guarded lab.
#[derive(Debug)]
pub struct Stand {
    /// The firewall; dropped before its lab.
    pub firewall: Firewall,
    /// The lab.
    pub lab: Arc<Lab>,
}

/// One test's turn with a shared stand.
#[derive(Debug)]
pub struct Turn {
    stand: Arc<Stand>,
    _turn: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Turn {
    type Target = Stand;

    fn deref(&self) -> &Stand {
        &self.stand
    }
}

/// A place for a stand that several tests want.
#[derive(Debug)]
pub struct Shared {
    stand: Mutex<Weak<Stand>>,
    turn: Mutex<()>,
    make: fn() -> Result<Arc<Lab>>,
    rules: fn(&Lab) -> String,
}

/// The stand whose firewall routes.
pub static GATEWAY: Shared = Shared::new(Lab::gateway);
/// Another like it, so that two families, or two tests, are tried at a time.
pub static GATEWAY_V6: Shared = Shared::new(Lab::gateway);
/// The stand whose firewall is the call managers' host.
pub static HOST: Shared = Shared::new(Lab::host);

impl Shared {
    const fn new(make: fn() -> Result<Arc<Lab>>) -> Self {
        Self::under(make, |lab| Policy::default().text(lab))
    }

    /// A place for a stand under rules of its own.
    pub const fn under(make: fn() -> Result<Arc<Lab>>, rules: fn(&Lab) -> String) -> Self {
        Self { stand: Mutex::new(Weak::new()), turn: Mutex::new(()), make, rules }
    }

    /// Waits for the caller's turn; the first makes the stand.
    ///
    /// # Errors
    /// When the lab cannot be made or the firewall does not start.
    pub fn turn(&'static self) -> Result<Turn> {
        // Held while waiting, so that the stand outlives the test before.
        let stand = self.stand()?;
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Turn { stand, _turn: turn })
    }

    /// The stand, without a turn: it lives as long as anybody holds it, and making another takes seconds.
    ///
    /// # Errors
    /// As [`Self::turn`].
    pub fn stand(&self) -> Result<Arc<Stand>> {
        let mut place = self.stand.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stand) = place.upgrade() {
            return Ok(stand);
        }
        let lab = (self.make)()?;
        let firewall = Firewall::start(&lab, &(self.rules)(&lab))?;
        let stand = Arc::new(Stand { firewall, lab });
        *place = Arc::downgrade(&stand);
        Ok(stand)
    }
}

/// Runs a test with IPv4 and with IPv6, each on a stand of its own, at the same time: most of a test is waiting.
///
/// # Errors
/// The first family's error, or else the second's; each with its family's name.
pub fn each_family(
    stands: [&'static Shared; 2],
    run: impl Fn(&Turn, Family) -> Result<()> + Sync,
) -> Result<()> {
    // Held until both are done: the next test takes over both.
    let _stands = [stands[0].stand()?, stands[1].stand()?];
    let run = &run;
    thread::scope(|scope| {
        let families = [Family::V4, Family::V6].into_iter().zip(stands);
        let runs: Vec<_> = families
            .map(|(family, stand)| {
                scope.spawn(move || run(&stand.turn()?, family).with_context(|| format!("{family:?}")))
            })
            .collect();
        let outcomes: Vec<_> = runs.into_iter().map(|run| run.join()).collect();
        outcomes.into_iter().try_for_each(|run| run.map_err(|_| anyhow!("a family's thread panicked"))?)
    })
}
