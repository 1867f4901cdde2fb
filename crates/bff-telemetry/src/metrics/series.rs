//! Caches a handle for each series. The SDK finds a series by hashing all its labels, which takes ten times as long as
//! the count itself.

use std::cmp::Ordering;

use arc_swap::ArcSwap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};

/// An instrument that returns a handle for a series.
pub(super) trait BindSeries {
    type Bound: Clone;
    fn bind_to(&self, labels: &[KeyValue]) -> Self::Bound;
}

impl BindSeries for Counter<u64> {
    type Bound = BoundCounter<u64>;

    fn bind_to(&self, labels: &[KeyValue]) -> Self::Bound {
        self.bind(labels)
    }
}

impl BindSeries for Histogram<f64> {
    type Bound = BoundHistogram<f64>;

    fn bind_to(&self, labels: &[KeyValue]) -> Self::Bound {
        self.bind(labels)
    }
}

/// Maximum number of cached series of an instrument, the same as the SDK's limit.
const MAX_SERIES: usize = 2000;

/// The handles of an instrument's series, sorted by key.
pub(super) struct SeriesCache<K, B>(ArcSwap<Vec<(K, B)>>);

impl<K, B> Default for SeriesCache<K, B> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Clone, B: Clone> SeriesCache<K, B> {
    /// Records in the series whose key `compare` finds. If there is none, `new` creates the key and the handle.
    pub(super) fn record(
        &self,
        compare: impl Fn(&K) -> Ordering,
        new: impl FnOnce() -> (K, B),
        record: impl FnOnce(&B),
    ) {
        let series = self.0.load();
        if let Ok(index) = series.binary_search_by(|entry| compare(&entry.0)) {
            return record(&series[index].1);
        }
        let new = new();
        record(&new.1);
        self.0.rcu(|series| {
            let mut series = Vec::clone(series);
            // Another thread may have added the series meanwhile.
            if let Err(index) = series.binary_search_by(|entry| compare(&entry.0))
                && series.len() < MAX_SERIES
            {
                series.insert(index, new.clone());
            }
            series
        });
    }
}

/// Address and length of each label value. The values are constants of the program, so equal addresses and lengths mean
/// equal texts.
type LabelAddresses = [(usize, usize); 3];

/// An instrument with three labels whose values are constants of the program.
pub(super) struct Series<I: BindSeries> {
    instrument: I,
    names: [&'static str; 3],
    cache: SeriesCache<LabelAddresses, I::Bound>,
}

impl<I: BindSeries> Series<I> {
    pub(super) fn new(instrument: I, names: [&'static str; 3]) -> Self {
        Self {
            instrument,
            names,
            cache: SeriesCache::default(),
        }
    }

    /// Records in the series with these label values.
    pub(super) fn record(&self, values: [&'static str; 3], record: impl FnOnce(&I::Bound)) {
        let addresses = values.map(|value| (value.as_ptr().addr(), value.len()));
        let compare = |key: &LabelAddresses| key.cmp(&addresses);
        self.cache
            .record(compare, || (addresses, self.bind(values)), record);
    }

    /// Like [`Self::record`] for values that are created at run time, which is rare.
    pub(super) fn record_dynamic(&self, values: [&str; 3], record: impl FnOnce(&I::Bound)) {
        record(&self.bind(values));
    }

    fn bind(&self, values: [&str; 3]) -> I::Bound {
        let names = self.names.iter().copied();
        let labels = names.zip(values.map(str::to_owned));
        let labels: Vec<_> = labels.map(|(k, v)| KeyValue::new(k, v)).collect();
        self.instrument.bind_to(&labels)
    }
}
