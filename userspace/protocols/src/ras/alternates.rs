//! Who else may be asked, or called.

use std::net::SocketAddr;

use crate::h225::Addresses;
use crate::h225::types::{ALIASES, CLEAR_TOKEN, CRYPTO_TOKEN, ENDPOINT_TYPE, IDENTIFIER, NON_STANDARD};
use crate::per::Type::{Integer, ListOf};
use crate::per::{List, Reader, Result};

/// Addresses of those that may take somebody's place, in the order of the message. A list that cannot be read is an
/// empty one: whoever may not be called harms nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alternates<'a> {
    list: List<'a>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    #[default]
    Gatekeepers,
    Endpoints,
}

impl<'a> Alternates<'a> {
    /// More than anybody tries one after the other: those behind are left out.
    pub const MOST: usize = 4;

    /// Reads the open type with a SEQUENCE OF AlternateGK; their RAS addresses count.
    pub(super) fn gatekeepers(r: &mut Reader<'a>) -> Result<Self> {
        let list = r.open(|r| r.list(gatekeeper))?.unwrap_or_default();
        Ok(Self { list, kind: Kind::Gatekeepers })
    }

    /// Reads the open type with a SEQUENCE OF Endpoint; their call signalling addresses count.
    pub(super) fn endpoints(r: &mut Reader<'a>) -> Result<Self> {
        let list = r.open(|r| r.list(endpoint))?.unwrap_or_default();
        Ok(Self { list, kind: Kind::Endpoints })
    }

    /// The addresses.
    pub fn iter(self) -> impl Iterator<Item = SocketAddr> {
        let read = match self.kind {
            Kind::Gatekeepers => gatekeeper,
            Kind::Endpoints => endpoint,
        };
        self.list.iter(read).flat_map(Addresses::iter).take(Self::MOST)
    }
}

impl PartialEq for Alternates<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Alternates<'_> {}

/// Reads AlternateGK.
fn gatekeeper<'a>(r: &mut Reader<'a>) -> Result<Addresses<'a>> {
    let mut preamble = r.preamble(1)?;
    let address = Addresses::read_one(r)?;
    r.skip_if(preamble.optional(), &IDENTIFIER)?;
    r.bits(1 + 7)?; // needToRegister, priority
    r.skip_additions(preamble)?;
    Ok(address)
}

/// Reads Endpoint.
fn endpoint<'a>(r: &mut Reader<'a>) -> Result<Addresses<'a>> {
    let mut preamble = r.preamble(10)?;
    r.skip_if(preamble.optional(), &NON_STANDARD)?;
    r.skip_if(preamble.optional(), &ALIASES)?; // aliasAddress
    let addresses = if preamble.optional() { Addresses::read(r)? } else { Addresses::default() };
    if preamble.optional() {
        Addresses::read(r)?; // rasAddress
    }
    r.skip_if(preamble.optional(), &ENDPOINT_TYPE)?;
    r.skip_if(preamble.optional(), &ListOf(&CLEAR_TOKEN))?;
    r.skip_if(preamble.optional(), &ListOf(&CRYPTO_TOKEN))?;
    r.skip_if(preamble.optional(), &Integer(127))?; // priority
    r.skip_if(preamble.optional(), &ALIASES)?; // remoteExtensionAddress
    r.skip_if(preamble.optional(), &ALIASES)?; // destExtraCallInfo
    r.skip_additions(preamble)?;
    Ok(addresses)
}
