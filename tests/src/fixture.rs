//! A lab with a firewall that the tests of one file share: loading the kernel half takes seconds.
//!
//! Tests have it one after the other, and it ends with the last of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use anyhow::Result;

use crate::daemon::Firewall;
use crate::lab::Lab;
use crate::policy::Policy;

/// A lab guarded under the default policy.
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
}

/// The stand whose firewall routes.
pub static GATEWAY: Shared = Shared::new(Lab::gateway);
/// The stand whose firewall is the call managers' host.
pub static HOST: Shared = Shared::new(Lab::host);

impl Shared {
    const fn new(make: fn() -> Result<Arc<Lab>>) -> Self {
        Self { stand: Mutex::new(Weak::new()), turn: Mutex::new(()), make }
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

    fn stand(&self) -> Result<Arc<Stand>> {
        let mut place = self.stand.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stand) = place.upgrade() {
            return Ok(stand);
        }
        let lab = (self.make)()?;
        let firewall = Firewall::start(&lab, &Policy::default().text(&lab))?;
        let stand = Arc::new(Stand { firewall, lab });
        *place = Arc::downgrade(&stand);
        Ok(stand)
    }
}
