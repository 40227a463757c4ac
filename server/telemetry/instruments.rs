//! What rooms count with.
//!
//! It owns three instruments, each a handle to atomics that clones share. It must never know what is counted, under which name,
//! or how it is shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Upper ends of the buckets of [`Durations`], in milliseconds; what is longer goes into one more.
pub(super) const BUCKETS_MS: [u64; 14] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000];

/// Something that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `count` at once; wraps around at `u64::MAX`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are now.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// Counts in a [`Gauge`] until it is dropped.
#[derive(Debug)]
pub struct Held(Gauge);

impl Gauge {
    /// Counts one more, as long as the answer lives.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self.clone())
    }

    /// How many there are.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long something took, in buckets from a millisecond to a minute.
#[derive(Clone, Debug, Default)]
pub struct Durations(Arc<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// The last one has no upper end.
    counts: [AtomicU64; BUCKETS_MS.len() + 1],
    micros: AtomicU64,
}

/// What [`Durations`] has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Distribution {
    /// How many there are in each bucket (not in those below).
    pub(super) counts: [u64; BUCKETS_MS.len() + 1],
    /// All of them together, in seconds.
    pub(super) sum: f64,
}

impl Durations {
    /// Notes one.
    pub fn observe(&self, took: Duration) {
        let index = BUCKETS_MS.partition_point(|end| Duration::from_millis(*end) < took);
        if let Some(count) = self.0.counts.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many were noted.
    pub fn count(&self) -> u64 {
        self.distribution().counts.iter().sum()
    }

    pub(super) fn distribution(&self) -> Distribution {
        let counts = std::array::from_fn(|index| {
            self.0.counts.get(index).map_or(0, |count| count.load(Ordering::Relaxed))
        });
        let sum = Duration::from_micros(self.0.micros.load(Ordering::Relaxed)).as_secs_f64();
        Distribution { counts, sum }
    }
}

/// A counter for each value of a label. Whoever counts sees to it that there are few.
#[derive(Clone, Debug)]
pub struct Family<K>(Arc<RwLock<BTreeMap<K, Counter>>>);

impl<K> Default for Family<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone> Family<K> {
    /// Counts one for this label.
    pub fn increment(&self, label: K) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&label).map(Counter::increment);
        if known.is_none() {
            self.0.write().unwrap_or_else(PoisonError::into_inner).entry(label).or_default().increment();
        }
    }

    /// All labels with what was counted so far.
    pub fn all(&self) -> Vec<(K, u64)> {
        let counters = self.0.read().unwrap_or_else(PoisonError::into_inner);
        counters.iter().map(|(label, counter)| (label.clone(), counter.get())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_falls_when_what_it_counts_is_dropped() {
        let gauge = Gauge::default();
        let (one, two) = (gauge.hold(), gauge.clone().hold());
        assert_eq!(gauge.get(), 2);
        drop(one);
        assert_eq!(gauge.get(), 1);
        drop(two);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for millis in [0, 1, 2, 3, 60_000, 60_001] {
            durations.observe(Duration::from_millis(millis));
        }
        let Distribution { counts, sum } = durations.distribution();
        assert_eq!((counts[0], counts[1], counts[2]), (2, 1, 1));
        assert_eq!((counts[BUCKETS_MS.len() - 1], counts[BUCKETS_MS.len()]), (1, 1));
        assert!((sum - 120.007).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn a_family_counts_each_label_alone() {
        let family = Family::default();
        for label in ["a", "b", "a"] {
            family.increment(label);
        }
        assert_eq!(family.all(), [("a", 2), ("b", 1)]);
    }
}
