//! Series that were counted before, each with a handle of its own: the SDK finds a series by hashing all its labels,
//! which costs ten times what counting does.

use std::cmp::Ordering;

use arc_swap::ArcSwap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};

/// An instrument whose series can be held.
pub(super) trait Bind {
    type Bound: Clone;
    fn bind_to(&self, labels: &[KeyValue]) -> Self::Bound;
}

impl Bind for Counter<u64> {
    type Bound = BoundCounter<u64>;

    fn bind_to(&self, labels: &[KeyValue]) -> Self::Bound {
        self.bind(labels)
    }
}

impl Bind for Histogram<f64> {
    type Bound = BoundHistogram<f64>;

    fn bind_to(&self, labels: &[KeyValue]) -> Self::Bound {
        self.bind(labels)
    }
}

/// No more series of an instrument are held than the SDK keeps apart.
const MOST: usize = 2000;

/// The series of an instrument that were counted before, in order of what tells them apart.
pub(super) struct SeriesCache<K, B>(ArcSwap<Vec<(K, B)>>);

impl<K, B> Default for SeriesCache<K, B> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<K: Clone, B: Clone> SeriesCache<K, B> {
    /// Counts in the series that `is` says is the one. At first it is made from a key and a handle of its own.
    pub(super) fn count(
        &self,
        is: impl Fn(&K) -> Ordering,
        new: impl FnOnce() -> (K, B),
        count: impl FnOnce(&B),
    ) {
        let known = self.0.load();
        if let Ok(at) = known.binary_search_by(|known| is(&known.0)) {
            return count(&known[at].1);
        }
        let new = new();
        count(&new.1);
        self.0.rcu(|known| {
            let mut more = Vec::clone(known);
            // Another thread may have been quicker.
            if let Err(at) = more.binary_search_by(|known| is(&known.0))
                && more.len() < MOST
            {
                more.insert(at, new.clone());
            }
            more
        });
    }
}

/// Where a label's value is in the program: what is the same there is the same text.
type Place = [(usize, usize); 3];

/// An instrument with three labels, whose values are part of the program.
pub(super) struct Series<I: Bind> {
    instrument: I,
    names: [&'static str; 3],
    known: SeriesCache<Place, I::Bound>,
}

impl<I: Bind> Series<I> {
    pub(super) fn new(instrument: I, names: [&'static str; 3]) -> Self {
        Self {
            instrument,
            names,
            known: SeriesCache::default(),
        }
    }

    /// Counts in the series of these values.
    pub(super) fn of(&self, values: [&'static str; 3], count: impl FnOnce(&I::Bound)) {
        let place = values.map(|value| (value.as_ptr().addr(), value.len()));
        let is = |known: &Place| known.cmp(&place);
        self.known.count(is, || (place, self.bind(values)), count);
    }

    /// The same for values that are made while the program runs, which is rare.
    pub(super) fn record_dynamic(&self, values: [&str; 3], count: impl FnOnce(&I::Bound)) {
        count(&self.bind(values));
    }

    fn bind(&self, values: [&str; 3]) -> I::Bound {
        let names = self.names.iter().copied();
        let labels = names.zip(values.map(str::to_owned));
        let labels: Vec<_> = labels.map(|(k, v)| KeyValue::new(k, v)).collect();
        self.instrument.bind_to(&labels)
    }
}
