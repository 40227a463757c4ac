//! Checks single values: what a setting may be, and what to say when it is not.
//!
//! It owns the kinds of values. It must never know which settings there are.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{Section, kind};
use super::tree::PerOwner;
use super::units::{ByteSize, Rate, parse_duration, parse_rate, parse_size, spell_duration};

/// How the absence of a limit or of a part is spelled.
const OFF: &str = "off";

/// How a limit that depends on other settings is spelled.
const AUTO: &str = "auto";

/// The most entries of a list.
const MAX_LIST: usize = 64;

impl<'t> Section<'_, 't> {
    /// A string.
    pub(super) fn string<T>(
        &self,
        key: &'static str,
        want: &str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.required(key, want, |value| check(text(value, want)?))
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let want = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ");
        self.string(key, &want, |found| {
            let word = words.iter().find(|(word, _)| *word == found);
            word.map(|(_, value)| *value).ok_or_else(|| format!("must be {want}, found {found:?}"))
        })
    }

    /// A duration within bounds.
    pub(super) fn duration(&self, key: &'static str, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
        self.string(key, "a duration such as \"15s\"", |found| duration(found, bounds))
    }

    /// A duration within bounds, or off.
    pub(super) fn duration_or_off(
        &self,
        key: &'static str,
        bounds: &RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        self.string(key, "a duration such as \"15s\", or \"off\"", |found| match found {
            OFF => Ok(None),
            found => duration(found, bounds).map(Some),
        })
    }

    /// A size within bounds.
    pub(super) fn size(&self, key: &'static str, bounds: &RangeInclusive<ByteSize>) -> Option<ByteSize> {
        self.string(key, "a size such as \"64MiB\"", |found| size(found, bounds))
    }

    /// A size within bounds, or off.
    pub(super) fn size_or_off(
        &self,
        key: &'static str,
        bounds: &RangeInclusive<ByteSize>,
    ) -> Option<Option<ByteSize>> {
        let want = "a size such as \"64MiB\", or \"off\"";
        self.string(key, want, |found| if found == OFF { Ok(None) } else { size(found, bounds).map(Some) })
    }

    /// A whole number within bounds.
    pub(super) fn count(&self, key: &'static str, bounds: &RangeInclusive<u32>) -> Option<NonZeroU32> {
        self.required(key, "a whole number", |value| number(value, bounds, "a whole number"))
    }

    /// A whole number within bounds, or off.
    pub(super) fn count_or_off(
        &self,
        key: &'static str,
        bounds: &RangeInclusive<u32>,
    ) -> Option<Option<NonZeroU32>> {
        let want = "a whole number or \"off\"";
        self.required(key, want, |value| match value.as_str() {
            Some(OFF) => Ok(None),
            _ => number(value, bounds, want).map(Some),
        })
    }

    /// A whole number within bounds, off, or what the other settings ask for.
    pub(super) fn per_owner(&self, key: &'static str, bounds: &RangeInclusive<u32>) -> Option<PerOwner> {
        let want = "a whole number, \"auto\" or \"off\"";
        self.required(key, want, |value| match value.as_str() {
            Some(OFF) => Ok(PerOwner::Off),
            Some(AUTO) => Ok(PerOwner::Auto),
            _ => number(value, bounds, want).map(PerOwner::Max),
        })
    }

    /// So many in such a time, both within bounds, or off.
    pub(super) fn rate_or_off(
        &self,
        key: &'static str,
        counts: &RangeInclusive<u32>,
        periods: &RangeInclusive<Duration>,
    ) -> Option<Option<Rate>> {
        self.string(key, "a rate such as \"30 per 60s\", or \"off\"", |found| match found {
            OFF => Ok(None),
            found => rate(found, counts, periods).map(Some),
        })
    }

    /// An IP address and a port.
    pub(super) fn address(&self, key: &'static str) -> Option<SocketAddr> {
        self.string(key, "an IP address and a port", address)
    }

    /// An IP address and a port, or off.
    pub(super) fn address_or_off(&self, key: &'static str) -> Option<Option<SocketAddr>> {
        let want = "an IP address and a port, or \"off\"";
        self.string(key, want, |found| if found == OFF { Ok(None) } else { address(found).map(Some) })
    }

    /// A list of strings, each read and checked by `check`.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let want = "a list of strings";
        self.required(key, want, |value| {
            let array = value.as_array().ok_or_else(|| format!("must be {want}, found {}", kind(value)))?;
            if array.len() > MAX_LIST {
                return Err(format!("has {} entries, at most {MAX_LIST} may be", array.len()));
            }
            let entries = array.iter().map(|entry| check(text(entry.get_ref(), want)?));
            let (good, wrong): (Vec<_>, Vec<_>) = entries.partition(Result::is_ok);
            if wrong.is_empty() {
                return Ok(good.into_iter().flatten().collect());
            }
            Err(wrong.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "))
        })
    }
}

/// The string that `value` is.
pub(super) fn text<'v>(value: &'v DeValue<'_>, want: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("must be {want}, found {}", kind(value)))
}

fn size(found: &str, bounds: &RangeInclusive<ByteSize>) -> Result<ByteSize, String> {
    let size = parse_size(found).ok_or_else(|| {
        format!("{found:?} is no size: write a whole number and B, KiB, MiB or GiB, such as \"64MiB\"")
    })?;
    within(size, found, bounds, ToString::to_string)
}

fn number(value: &DeValue<'_>, bounds: &RangeInclusive<u32>, want: &str) -> Result<NonZeroU32, String> {
    let found = value.as_integer().ok_or_else(|| match value.as_str() {
        Some(found) => format!("must be {want}, found {found:?}"),
        None => format!("must be {want}, found {}", kind(value)),
    })?;
    let number = i64::from_str_radix(found.as_str(), found.radix()).ok();
    let fits = number.and_then(|number| u32::try_from(number).ok()).filter(|number| bounds.contains(number));
    let refused = || format!("must be {} to {}, found {}", bounds.start(), bounds.end(), found.as_str());
    fits.and_then(NonZeroU32::new).ok_or_else(refused)
}

fn duration(found: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = parse_duration(found).ok_or_else(|| {
        format!("{found:?} is no duration: write a whole number and ms, s, m, h or d, such as \"15s\"")
    })?;
    within(duration, found, bounds, |bound| spell_duration(*bound))
}

fn rate(
    found: &str,
    counts: &RangeInclusive<u32>,
    periods: &RangeInclusive<Duration>,
) -> Result<Rate, String> {
    let (count, period) = parse_rate(found)
        .ok_or_else(|| format!("{found:?} is no rate: write it as \"30 per 60s\", or \"off\""))?;
    let refused = || format!("must be {} to {} in a time, found {found:?}", counts.start(), counts.end());
    let count = NonZeroU32::new(count).filter(|count| counts.contains(&count.get())).ok_or_else(refused)?;
    let period = within(period, found, periods, |bound| spell_duration(*bound))?;
    Ok(Rate { count, period })
}

fn within<T: PartialOrd>(
    value: T,
    found: &str,
    bounds: &RangeInclusive<T>,
    spell: impl Fn(&T) -> String,
) -> Result<T, String> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    Err(format!("must be {:?} to {:?}, found {found:?}", spell(bounds.start()), spell(bounds.end())))
}

fn address(found: &str) -> Result<SocketAddr, String> {
    let refused = |error: &dyn Display| {
        format!(
            "{found:?} is no address ({error}): write an IP address and a port, such as \"127.0.0.1:4700\" or \"[::1]:4700\""
        )
    };
    found.parse().map_err(|error: std::net::AddrParseError| refused(&error))
}
