//! Durations, sizes and rates as they are written in the settings.
//!
//! It owns their spellings. It must never know which setting it reads.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Units of a duration with their length in milliseconds, largest first.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of a size with their length in bytes, largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size of so many bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// A size of so many KiB (1024 bytes).
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// A size of so many MiB (1024 KiB).
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// A size of so many GiB (1024 MiB).
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index, at most `usize::MAX`.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell(self.0, &SIZES))
    }
}

/// So many in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how long a time; not zero.
    pub period: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.count, spell_duration(self.period))
    }
}

/// The count and the time that `text` spells, such as `30 per 60s`, or `None`.
pub(super) fn parse_rate(text: &str) -> Option<(u32, Duration)> {
    let (count, period) = text.split_once(" per ")?;
    let digits = count.bytes().all(|byte| byte.is_ascii_digit());
    Some((count.parse().ok().filter(|_| digits)?, parse_duration(period)?))
}

/// The size that `text` spells, such as `64MiB`, or `None`.
pub(super) fn parse_size(text: &str) -> Option<ByteSize> {
    parse(text, &SIZES).map(ByteSize)
}

/// The duration that `text` spells, such as `15s`, or `None`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &DURATIONS).map(Duration::from_millis)
}

/// How a duration is written: in the largest unit that leaves no rest; less than a millisecond is dropped.
pub fn spell_duration(duration: Duration) -> String {
    spell(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn spell(count: u64, units: &[(&str, u64)]) -> String {
    let whole =
        units.iter().find(|(_, factor)| count != 0 && count.is_multiple_of(*factor)).or_else(|| units.last());
    whole.map_or_else(|| count.to_string(), |(name, factor)| format!("{}{name}", count / factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_unit() {
        let cases =
            [("500ms", 500), ("15s", 15_000), ("2m", 120_000), ("1h", 3_600_000), ("30d", 2_592_000_000)];
        for (text, millis) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        let cases = [("100B", 100), ("512KiB", 512 << 10), ("64MiB", 64 << 20), ("1GiB", 1 << 30)];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Some(ByteSize::bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_exactly_a_number_and_a_unit() {
        for text in [
            "",
            "15",
            "s",
            "-1s",
            "+1s",
            "1.5s",
            " 1s",
            "1 s",
            "1S",
            "1sec",
            "1w",
            "99999999999999999999s",
            "1s1m",
            "ü",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        for text in ["64MB", "64mib", "64M", "1e3B", "18446744073709551615GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_count_and_a_time() {
        assert_eq!(parse_rate("30 per 60s"), Some((30, Duration::from_secs(60))));
        assert_eq!(parse_rate("0 per 1m"), Some((0, Duration::from_secs(60))), "bounds are for the setting");
        for text in [
            "",
            "30",
            "30/60s",
            "30 per",
            "30 per 60",
            "+3 per 1s",
            "-3 per 1s",
            " 3 per 1s",
            "3 per 1s ",
            "9999999999 per 1s",
        ] {
            assert_eq!(parse_rate(text), None, "{text}");
        }
        let rate = Rate { count: NonZeroU32::new(30).unwrap(), period: Duration::from_secs(60) };
        assert_eq!(rate.to_string(), "30 per 1m");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(count in 0..u64::MAX / 2) {
            prop_assert_eq!(parse_size(&ByteSize::bytes(count).to_string()), Some(ByteSize::bytes(count)));
            let duration = Duration::from_millis(count);
            prop_assert_eq!(parse_duration(&spell_duration(duration)), Some(duration));
        }
    }
}
