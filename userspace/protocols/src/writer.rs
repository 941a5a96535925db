//! Aligned PER, the writing side: the mirror of [`crate::per`], for what a refusal says and for messages that
//! tests send.

/// An encoding in the making.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last octet still free.
    free: u32,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What was written, padded to an octet.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn bits(&mut self, value: u32, count: u32) -> &mut Self {
        for shift in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> shift & 1) as u8) << self.free;
            }
        }
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.bits(u32::from(value), 1)
    }

    /// Octets, from an octet boundary.
    pub(crate) fn octets(&mut self, octets: &[u8]) -> &mut Self {
        self.free = 0;
        self.bytes.extend_from_slice(octets);
        self
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.octets(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.octets(&value.to_be_bytes())
    }

    /// A length determinant, below 16 KiB.
    pub(crate) fn length(&mut self, length: usize) -> &mut Self {
        if length < 128 { self.u8(length as u8) } else { self.u16(0x8000 | length as u16) }
    }

    /// An OCTET STRING, an OBJECT IDENTIFIER's contents.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len()).octets(bytes)
    }

    /// An open type.
    pub(crate) fn open(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::new();
        write(&mut inner);
        match inner.into_bytes().as_slice() {
            // X.691 11.2.6: an empty value takes one octet.
            [] => self.bytes(&[0]),
            bytes => self.bytes(bytes),
        }
    }

    /// The preamble of a SEQUENCE with an extension marker.
    pub(crate) fn preamble(&mut self, extended: bool, optional: &[bool]) -> &mut Self {
        self.bool(extended);
        for &present in optional {
            self.bool(present);
        }
        self
    }

    /// A CHOICE's root alternative, in `bits` bits behind the extension bit.
    pub(crate) fn choice(&mut self, index: u32, bits: u32) -> &mut Self {
        self.bool(false).bits(index, bits)
    }

    /// An extension alternative of a CHOICE, and its value.
    pub(crate) fn added(&mut self, index: u32, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.bool(true).bits(index, 7).open(write)
    }

    /// Extension additions, `known` (at most 64) by this version: the encodings of those that are there.
    pub(crate) fn additions(&mut self, known: u32, present: &[(u32, Vec<u8>)]) -> &mut Self {
        self.bits(known - 1, 7);
        for index in 0..known {
            self.bool(present.iter().any(|(there, _)| *there == index));
        }
        for (_, encoding) in present {
            self.bytes(encoding);
        }
        self
    }
}

/// An encoding on its own, as within an open type.
pub(crate) fn encode(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    write(&mut writer);
    writer.into_bytes()
}
