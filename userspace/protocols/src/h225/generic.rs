//! What messages of all kinds may carry beside their own fields: the features of the H.460 series, and H.235's
//! tokens.

use super::types::{ALIAS, TRANSPORT};
use crate::per::Field::{May, Must};
use crate::per::Type::{self, Bits, Bytes, Integer, ListOf, Octets, OpenChoice, OpenInteger, SizedList};
use crate::per::{Alternative, Reader, Result, open};

/// Which recommendations of the H.460 series a message names, in a feature set or in generic data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(u64);

impl Features {
    /// Whether H.460.`number` is named; only numbers below 64 are kept.
    pub fn has(&self, number: u8) -> bool {
        self.0.checked_shr(number.into()).is_some_and(|rest| rest & 1 == 1)
    }

    /// Their numbers.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        (0..64).filter(|&number| self.has(number))
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Takes in an open type with a SEQUENCE OF GenericData or FeatureDescriptor. They are alike, and a fault
    /// within them harms nothing.
    pub(crate) fn list(&mut self, r: &mut Reader<'_>) -> Result<()> {
        r.open(|r| self.generic_data(r)).map(|_| ())
    }

    /// Takes in an open type with a FeatureSet.
    pub(crate) fn set(&mut self, r: &mut Reader<'_>) -> Result<()> {
        r.open(|r| self.feature_set(r)).map(|_| ())
    }

    /// Reads a FeatureSet.
    pub(crate) fn feature_set(&mut self, r: &mut Reader<'_>) -> Result<()> {
        let mut preamble = r.preamble(3)?;
        r.bool()?; // replacementFeatureSet
        for _ in 0..3 {
            if preamble.optional() {
                self.generic_data(r)?;
            }
        }
        r.skip_additions(preamble)
    }

    /// Reads a SEQUENCE OF GenericData.
    pub(crate) fn generic_data(&mut self, r: &mut Reader<'_>) -> Result<()> {
        for _ in 0..r.length()? {
            let mut preamble = r.preamble(1)?;
            self.identifier(r)?;
            r.skip_if(preamble.optional(), &PARAMETERS)?;
            r.skip_additions(preamble)?;
        }
        Ok(())
    }

    fn identifier(&mut self, r: &mut Reader<'_>) -> Result<()> {
        match r.choice(3)? {
            Alternative::Root(0) => {
                // standard: INTEGER (0..16383, ...)
                if r.bool()? {
                    return r.skip(&Bytes);
                }
                let number = r.integer(16_383)?;
                self.0 |= 1_u64.checked_shl(number).unwrap_or(0);
                Ok(())
            }
            Alternative::Root(1) => r.skip(&Bytes),
            Alternative::Root(_) => r.skip(&Octets(16)),
            Alternative::Added(_) => r.skip_open(),
        }
    }
}

/// Whether a message carries tokens of H.235. What they prove is for its receiver to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// tokens: at least one.
    pub clear: bool,
    /// cryptoTokens: at least one.
    pub crypto: bool,
}

impl Tokens {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.clear || self.crypto
    }
}

/// Whether the SEQUENCE OF in an open type has an element.
pub(crate) fn is_filled(r: &mut Reader<'_>) -> Result<bool> {
    Ok(r.open(Reader::length)?.is_ok_and(|count| count > 0))
}

/// Where the extension additions of a kind of message are that many kinds have; [`ABSENT`] for those it has not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    pub(crate) tokens: u8,
    pub(crate) crypto_tokens: u8,
    pub(crate) feature_set: u8,
    pub(crate) generic_data: u8,
}

/// No extension has this number.
pub(crate) const ABSENT: u8 = u8::MAX;

impl Common {
    /// Reads extension `index` if it is one of these, or else steps over it.
    #[inline]
    pub(crate) fn read(
        &self,
        r: &mut Reader<'_>,
        index: u8,
        tokens: &mut Tokens,
        features: &mut Features,
    ) -> Result<()> {
        if index == self.tokens {
            tokens.clear = is_filled(r)?;
        } else if index == self.crypto_tokens {
            tokens.crypto = is_filled(r)?;
        } else if index == self.feature_set {
            features.set(r)?;
        } else if index == self.generic_data {
            features.list(r)?;
        } else {
            r.skip_open()?;
        }
        Ok(())
    }
}

const GENERIC_IDENTIFIER: Type = OpenChoice(&[OpenInteger(16_383), Bytes, Octets(16)]);

/// SEQUENCE (SIZE (1..512)) OF EnumeratedParameter.
static PARAMETERS: Type = SizedList(512, &PARAMETER);

/// EnumeratedParameter; its content may hold parameters, and generic data, of its own.
static PARAMETER: Type = open(&[
    Must(GENERIC_IDENTIFIER),
    May(OpenChoice(&[
        Bytes,                        // raw
        Bytes,                        // text
        ListOf(&Octets(2)),           // unicode
        Bits(1),                      // bool
        Integer(255),                 // number8
        Integer(65_535),              // number16
        Integer(u32::MAX),            // number32
        GENERIC_IDENTIFIER,           // id
        ALIAS,                        // alias
        TRANSPORT,                    // transport
        SizedList(512, &PARAMETER),   // compound
        SizedList(16, &GENERIC_DATA), // nested
    ])),
]);

static GENERIC_DATA: Type = open(&[Must(GENERIC_IDENTIFIER), May(SizedList(512, &PARAMETER))]);
