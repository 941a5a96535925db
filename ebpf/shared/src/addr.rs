//! IP addresses as map keys.

/// An IPv4 or IPv6 address in 16 bytes of network order; IPv4 as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
///
/// The parser refuses IPv6 packets that carry such an address on the wire, so that the two never alias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Addr(
    /// The four 32-bit words as they lie in the packet (network order in memory).
    pub [u32; 4],
);

impl Addr {
    /// `::`, used where a key has no address.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    const V4_MARK: u32 = 0xffff_u32.to_be();

    /// The mapped form of an IPv4 address given as it lies in the packet.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, Self::V4_MARK, word])
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == Self::V4_MARK
    }

    /// The prefix of this many bits: the rest is 0. An IPv4 address has 96 bits before its own.
    #[inline(always)]
    pub const fn prefix(&self, bits: u8) -> Self {
        let mut words = self.0;
        let mut i = 0;
        while i < 4 {
            let kept = (bits as u32).saturating_sub(i as u32 * 32);
            if kept < 32 {
                words[i] &= (!(u32::MAX >> kept)).to_be();
            }
            i += 1;
        }
        Self(words)
    }

    /// The IPv4 address as it lies in the packet; meaningful only where [`Self::is_v4`].
    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }
}

#[cfg(feature = "std")]
impl From<std::net::IpAddr> for Addr {
    fn from(ip: std::net::IpAddr) -> Self {
        let octets = match ip {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Self(words)
    }
}

#[cfg(feature = "std")]
impl From<Addr> for std::net::IpAddr {
    fn from(addr: Addr) -> Self {
        let mut octets = [0; 16];
        for (bytes, word) in octets.as_chunks_mut::<4>().0.iter_mut().zip(addr.0) {
            *bytes = word.to_ne_bytes();
        }
        std::net::IpAddr::V6(octets.into()).to_canonical()
    }
}

#[cfg(feature = "std")]
impl core::fmt::Display for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        std::net::IpAddr::from(*self).fmt(f)
    }
}
