//! What the kernel half knows of addresses: who is blocked, who is a known peer, and the key of its challenges.

use std::net::IpAddr;

use aya::maps::{HashMap, MapData};
use callgate_alg::action::Time;
use callgate_shared::Addr;
use callgate_shared::peer::{BLOCK_WORDS, block_bit};

use super::maps::{Maps, Raw, is_absent};
use super::{Error, Kernel};

type Until = HashMap<MapData, Raw<Addr>, u64>;

impl Maps {
    /// Counts the blocked addresses by the bits of the filter, and sets the filter by them: what an earlier run was
    /// about to write may be missing.
    pub(super) fn count_blocks(&mut self) -> Result<(), Error> {
        let mut words = vec![0; BLOCK_WORDS];
        self.filtered.clear();
        for address in self.blocks.keys().flatten() {
            let (word, bit) = block_bit(&address.0);
            words[word as usize] |= bit;
            *self.filtered.entry((word, bit)).or_default() += 1;
        }
        for (index, word) in (0..).zip(words) {
            self.set_filter(index, |_| word)?;
        }
        Ok(())
    }

    /// One more, or one less, blocked address of a bit of the filter.
    fn count_block(&mut self, address: &Addr, more: bool) -> Result<(), Error> {
        let (word, bit) = block_bit(address);
        let count = self.filtered.entry((word, bit)).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count > 0 {
            return self.set_filter(word, |bits| bits | bit);
        }
        self.filtered.remove(&(word, bit));
        self.set_filter(word, |bits| bits & !bit)
    }

    fn set_filter(&mut self, word: u32, change: impl Fn(u64) -> u64) -> Result<(), Error> {
        let error = |source| Error::Map { name: "BLOCK_FILTER", source };
        let bits = self.block_filter.get(&word, 0).map_err(error)?;
        let wanted = change(bits);
        if wanted == bits { Ok(()) } else { self.block_filter.set(word, wanted, 0).map_err(error) }
    }
}

impl Kernel {
    /// Drops what comes from an address until then.
    ///
    /// # Errors
    /// [`Error::Map`], for instance when the table is full.
    pub fn block(&mut self, address: IpAddr, until: Time) -> Result<(), Error> {
        let key = Addr::from(address);
        let known = self.maps.blocks.get(&Raw(key), 0).is_ok();
        write("BLOCKS", &mut self.maps.blocks, key, until)?;
        if known { Ok(()) } else { self.maps.count_block(&key, true) }
    }

    /// Lets an address by again: whether it was blocked.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn unblock(&mut self, address: IpAddr) -> Result<bool, Error> {
        let key = Addr::from(address);
        let known = remove("BLOCKS", &mut self.maps.blocks, key)?;
        if known {
            self.maps.count_block(&key, false)?;
        }
        Ok(known)
    }

    /// Who is blocked, and until when.
    pub fn blocks(&self) -> impl Iterator<Item = (IpAddr, Time)> {
        read(&self.maps.blocks)
    }

    /// Makes an address a known peer until then.
    ///
    /// # Errors
    /// [`Error::Map`], for instance when the table is full.
    pub fn set_peer(&mut self, address: IpAddr, until: Time) -> Result<(), Error> {
        write("PEERS", &mut self.maps.peers, address.into(), until)
    }

    /// Makes a known peer a stranger again; one that is not known is no error.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn remove_peer(&mut self, address: IpAddr) -> Result<(), Error> {
        remove("PEERS", &mut self.maps.peers, address.into()).map(|_| ())
    }

    /// Who is a known peer, and until when.
    pub fn peers(&self) -> impl Iterator<Item = (IpAddr, Time)> {
        read(&self.maps.peers)
    }

    /// Whether an address has proven itself of late, by completing a handshake.
    pub fn is_vouched(&self, address: IpAddr, now: Time) -> bool {
        self.maps.vouched.get(&Raw(address.into()), 0).is_ok_and(|until| now.0 < until)
    }

    /// Makes the key of challenges, where there is none yet: flows that are being opened go by the one in place.
    ///
    /// # Errors
    /// [`Error::Map`]; [`Error::File`] where the system gives no random bytes.
    pub fn ensure_secret(&mut self) -> Result<(), Error> {
        let error = |source| Error::Map { name: "SECRET", source };
        if self.maps.secret.get(&0, 0).map_err(error)? != 0 {
            return Ok(());
        }
        self.set_secret(random()?.max(1))
    }
}

/// Eight bytes nobody can foresee.
fn random() -> Result<u64, Error> {
    use std::io::Read as _;
    let source = "/dev/urandom";
    let mut bytes = [0; 8];
    std::fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|cause| Error::File { path: source.into(), source: cause })?;
    Ok(u64::from_ne_bytes(bytes))
}

fn write(name: &'static str, map: &mut Until, key: Addr, until: Time) -> Result<(), Error> {
    map.insert(Raw(key), until.0, 0).map_err(|source| Error::Map { name, source })
}

fn remove(name: &'static str, map: &mut Until, key: Addr) -> Result<bool, Error> {
    match map.remove(&Raw(key)) {
        Ok(()) => Ok(true),
        Err(source) if is_absent(&source) => Ok(false),
        Err(source) => Err(Error::Map { name, source }),
    }
}

fn read(map: &Until) -> impl Iterator<Item = (IpAddr, Time)> {
    map.iter().flatten().map(|(key, until)| (key.0.into(), Time(until)))
}
