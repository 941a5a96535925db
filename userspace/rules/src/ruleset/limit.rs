//! Limits: how much a rule lets by, and what becomes of the rest.

use std::fmt;
use std::time::Duration;

use callgate_shared::limit::{self, Scope, Unit};

/// How many packets, bytes or new flows a rule lets by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub unit: Unit,
    /// Events per period: 1 to [`Limit::MOST_EVENTS`], or of bytes [`Limit::LEAST_BYTES`] to [`Limit::MOST_BYTES`].
    pub events: u64,
    /// The period.
    pub period: Period,
    /// Events that may come at once: 1 to [`Limit::MOST_BURST`], or of bytes to [`Limit::MOST_BURST_BYTES`].
    pub burst: u64,
    /// Over whom it is shared.
    pub per: Per,
    /// What becomes of what is above it.
    pub above: Above,
}

impl Limit {
    /// Most events per period.
    pub const MOST_EVENTS: u32 = 10_000_000;
    /// Most events at once: even at one an hour, the bucket's clock stays far from its end.
    pub const MOST_BURST: u32 = 1_000_000;
    /// Least bytes per period: with fewer, the time one packet takes would overflow.
    pub const LEAST_BYTES: u64 = 1_000;
    /// Most bytes per period.
    pub const MOST_BYTES: u64 = 40_000_000_000;
    /// Most bytes at once.
    pub const MOST_BURST_BYTES: u64 = 1_000_000_000;

    /// The limit as the kernel applies it. The interval of bytes is that of [`limit::BYTES`] of them, and a packet
    /// passes while less than the burst is used up.
    pub fn kernel(&self) -> limit::Limit {
        let period = self.period.nanoseconds();
        let (events, burst) = (self.events.max(1), self.burst.max(1));
        let (interval, tolerance) = if self.unit == Unit::Bytes {
            let interval = (period * limit::BYTES / events).max(1);
            (
                interval,
                whole(u128::from(interval) * u128::from(burst) / u128::from(limit::BYTES)).saturating_sub(1),
            )
        } else {
            let interval = (period / events).max(1);
            (interval, interval.saturating_mul(burst - 1))
        };
        let (prefix4, prefix6) = match self.per {
            Per::SourcePrefix(v4, v6) => (v4, v6),
            _ => (0, 0),
        };
        limit::Limit {
            rate: limit::Rate { interval, tolerance },
            unit: self.unit as u8,
            scope: self.per.scope() as u8,
            prefix4,
            prefix6,
            pad: 0,
        }
    }
}

impl fmt::Display for Limit {
    /// As in `20/s new, burst 40, per source, above: block 600s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = self.period.name();
        if self.unit == Unit::Bytes {
            write!(f, "{}/{period} bytes, burst {}", Bytes(self.events), Bytes(self.burst))?;
        } else {
            let unit = if self.unit == Unit::New { "new" } else { "packets" };
            write!(f, "{}/{period} {unit}, burst {}", self.events, self.burst)?;
        }
        match self.per {
            Per::Rule => f.write_str(", per rule")?,
            Per::Source => f.write_str(", per source")?,
            Per::SourcePrefix(v4, v6) => write!(f, ", per source /{v4} and /{v6}")?,
            Per::Destination => f.write_str(", per destination")?,
        }
        match self.above {
            Above::Drop => Ok(()),
            Above::Block(time) => write!(f, ", above: block {}s", time.as_secs()),
        }
    }
}

/// Over whom a limit is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Everybody.
    Rule,
    /// Each source address has one.
    Source,
    /// Each source network has one: the lengths of its IPv4 and its IPv6 prefix.
    SourcePrefix(u8, u8),
    /// Each destination address has one.
    Destination,
}

impl Per {
    /// The scope as the kernel knows it.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Rule => Scope::Rule,
            Self::Source => Scope::Source,
            Self::SourcePrefix(..) => Scope::SourcePrefix,
            Self::Destination => Scope::Destination,
        }
    }
}

/// What becomes of what is above a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Above {
    /// It is dropped.
    Drop,
    /// It is dropped, and its source is blocked for this long.
    Block(Duration),
}

/// The period of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// `/s`.
    Second,
    /// `/min`.
    Minute,
    /// `/h`.
    Hour,
}

impl Period {
    /// Its length.
    pub const fn nanoseconds(self) -> u64 {
        let seconds = match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        };
        seconds * 1_000_000_000
    }

    /// The name behind the `/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        }
    }
}

/// A number of bytes as it is written: `64KB`, `10MB`.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1_000_000_000) => {
                write!(f, "{}GB", bytes / 1_000_000_000)
            }
            bytes if bytes > 0 && bytes.is_multiple_of(1_000_000) => write!(f, "{}MB", bytes / 1_000_000),
            bytes if bytes > 0 && bytes.is_multiple_of(1_000) => write!(f, "{}KB", bytes / 1_000),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use callgate_shared::limit::{conform, cost};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(unit: Unit, events: u64, period: Period, burst: u64) -> Limit {
        Limit { unit, events, period, burst, per: Per::Source, above: Above::Drop }
    }

    #[test]
    fn a_limit_becomes_an_interval_and_a_tolerance() {
        let limit = limit(Unit::New, 20, Period::Second, 40);
        assert_eq!(limit.to_string(), "20/s new, burst 40, per source");
        let kernel = limit.kernel();
        assert_eq!((kernel.rate.interval, kernel.rate.tolerance), (50_000_000, 39 * 50_000_000));
        assert_eq!((kernel.unit, kernel.scope), (Unit::New as u8, Scope::Source as u8));
    }

    #[test]
    fn bytes_pass_up_to_the_burst_and_then_at_the_rate() {
        let limit = Limit {
            per: Per::SourcePrefix(24, 64),
            above: Above::Block(Duration::from_secs(60)),
            ..limit(Unit::Bytes, 128_000, Period::Second, 64_000)
        };
        assert_eq!(limit.to_string(), "128KB/s bytes, burst 64KB, per source /24 and /64, above: block 60s");
        let kernel = limit.kernel();
        assert_eq!((kernel.scope, kernel.prefix4, kernel.prefix6), (Scope::SourcePrefix as u8, 24, 64));
        let (mut tat, mut passed) = (0, 0);
        for now in (10 * SECOND..20 * SECOND).step_by(1_000_000) {
            if let Some(next) = conform(&kernel.rate, tat, now, cost(&kernel, 1_000)) {
                (tat, passed) = (next, passed + 1_000);
            }
        }
        let expected = 64_000 + 10 * 128_000;
        assert!((expected - 2_000..=expected + 2_000).contains(&passed), "{passed}");
    }

    #[test]
    fn the_largest_limit_does_not_overflow_the_clock() {
        let decade = 10 * 365 * 86_400 * SECOND;
        for limit in [
            limit(Unit::Packets, 1, Period::Hour, Limit::MOST_BURST.into()),
            limit(Unit::Bytes, Limit::LEAST_BYTES, Period::Hour, Limit::MOST_BURST_BYTES),
        ] {
            let kernel = limit.kernel();
            let packet = kernel.rate.interval.checked_mul(65_575).expect("the cost of the largest packet");
            assert!(kernel.rate.tolerance.checked_add(packet).and_then(|t| t.checked_add(decade)).is_some());
        }
    }
}
