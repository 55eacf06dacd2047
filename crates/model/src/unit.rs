//! Numbers that cannot be swapped have types of their own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    pub const fn plus_days(self, days: Days) -> Self {
        self.plus_seconds(days.0 as i64 * 86_400)
    }
}

/// Whole days of 86,400 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Days(pub u32);

/// How long a point is kept, counted from its creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Retention {
    Days(Days),
    /// Only an extended point can be kept for ever (semantics.md §11.6).
    Never,
}

/// An amount of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    pub const KIB: u64 = 1 << 10;
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;

    /// Whole GiB, rounded up: a disk's size as the wire shows it.
    pub const fn gib_ceil(self) -> u64 {
        self.0.div_ceil(Self::GIB)
    }
}

impl std::ops::Add for ByteCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl std::ops::AddAssign for ByteCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl std::iter::Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self(0), |sum, next| sum + next)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut scaled = self.0 as f64;
        let mut unit = 0;
        while scaled >= 1024.0 && unit + 1 < UNITS.len() {
            scaled /= 1024.0;
            unit += 1;
        }
        if unit == 0 { write!(f, "{} B", self.0) } else { write!(f, "{scaled:.1} {}", UNITS[unit]) }
    }
}

/// Bytes from the start of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskOffset(pub u64);

/// A range of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    pub offset: u64,
    pub len: u64,
}

impl Extent {
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// How far a job is, in hundredths of a percent. Only the wire knows it as 10000, 100 or "100%".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Progress(u16);

impl Progress {
    pub const ZERO: Self = Self(0);
    pub const FULL: Self = Self(10_000);

    /// `done` of `total`; nothing to do counts as done.
    pub fn of(done: u64, total: u64) -> Self {
        if total == 0 {
            return Self::FULL;
        }
        let hundredths = u128::from(done.min(total)) * 10_000 / u128::from(total);
        Self(u16::try_from(hundredths).unwrap_or(10_000))
    }

    pub const fn hundredths(self) -> u16 {
        self.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "never more than 100")]
    pub const fn percent(self) -> u8 {
        (self.0 / 100) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_stays_in_range() {
        assert_eq!(Progress::of(0, 0), Progress::FULL);
        assert_eq!(Progress::of(9, 4), Progress::FULL);
        assert_eq!(Progress::of(1, 3).hundredths(), 3333);
        assert_eq!(Progress::of(u64::MAX, u64::MAX), Progress::FULL);
    }

    #[test]
    fn bytes_print_in_binary_units() {
        assert_eq!(ByteCount(512).to_string(), "512 B");
        assert_eq!(ByteCount(1536).to_string(), "1.5 KiB");
        assert_eq!(ByteCount(3 << 30).to_string(), "3.0 GiB");
    }
}
