//! Arrays of two maps, with the maps in them kept open.
//!
//! To open a map within a map by its number takes `CAP_SYS_ADMIN`. Those an earlier run has left are opened once, when
//! the daemon begins and has it; those it has put there itself it never lets go of.

use aya::maps::{ArrayOfMaps, FromMapData, InnerMap, MapData, MapError};

/// An array of two maps: one in force, one to be filled.
pub(super) struct Pair<M> {
    outer: ArrayOfMaps<MapData, M>,
    inner: [Option<M>; 2],
}

impl<M: FromMapData + InnerMap> Pair<M> {
    /// Opens what is in an array.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn adopt(outer: ArrayOfMaps<MapData, M>) -> Result<Self, MapError> {
        let open = |slot| match outer.get(&slot, 0) {
            Ok(inner) => Ok(Some(inner)),
            Err(error) if super::maps::is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        };
        let inner = [open(0)?, open(1)?];
        Ok(Self { outer, inner })
    }

    /// The map in a slot.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn get(&self, slot: u32) -> Result<&M, MapError> {
        self.inner.get(slot as usize).and_then(Option::as_ref).ok_or(MapError::KeyNotFound)
    }

    /// Puts a map in a slot. The kernel waits for a grace period: no packet is still judged by the one before.
    ///
    /// # Errors
    /// What the kernel refuses: the one before stays.
    pub(super) fn set(&mut self, slot: u32, inner: M) -> Result<(), MapError> {
        self.outer.set(slot, &inner, 0)?;
        if let Some(place) = self.inner.get_mut(slot as usize) {
            *place = Some(inner);
        }
        Ok(())
    }

    /// Puts the map of a slot there again, for the sake of the grace period.
    ///
    /// # Errors
    /// As [`Self::get`] and [`Self::set`].
    pub(super) fn renew(&mut self, slot: u32) -> Result<(), MapError> {
        let Self { outer, inner } = self;
        let live = inner.get(slot as usize).and_then(Option::as_ref).ok_or(MapError::KeyNotFound)?;
        outer.set(slot, live, 0)
    }
}
