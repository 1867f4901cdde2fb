//! Series that were counted before, each with a handle of its own: the SDK finds a series by hashing all its labels,
//! which costs ten times what counting does.

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

/// Where a label's value is in the program: what is the same there is the same text.
type Place = [(usize, usize); 3];

/// An instrument with three labels, whose values are part of the program.
pub(super) struct Series<I: Bind> {
    instrument: I,
    names: [&'static str; 3],
    /// In order of their places.
    known: ArcSwap<Vec<(Place, I::Bound)>>,
}

impl<I: Bind> Series<I> {
    pub(super) fn new(instrument: I, names: [&'static str; 3]) -> Self {
        Self {
            instrument,
            names,
            known: ArcSwap::default(),
        }
    }

    /// Counts in the series of these values.
    pub(super) fn of(&self, values: [&'static str; 3], count: impl FnOnce(&I::Bound)) {
        let place = values.map(|value| (value.as_ptr().addr(), value.len()));
        let known = self.known.load();
        if let Ok(at) = known.binary_search_by_key(&place, |known| known.0) {
            return count(&known[at].1);
        }
        let bound = self.bind(values);
        count(&bound);
        self.known.rcu(|known| {
            let mut more = Vec::clone(known);
            // Another thread may have been quicker.
            if let Err(at) = more.binary_search_by_key(&place, |known| known.0) {
                more.insert(at, (place, bound.clone()));
            }
            more
        });
    }

    /// The same for values that are made while the program runs, which is rare.
    pub(super) fn of_made(&self, values: [&str; 3], count: impl FnOnce(&I::Bound)) {
        count(&self.bind(values));
    }

    fn bind(&self, values: [&str; 3]) -> I::Bound {
        let names = self.names.iter().copied();
        let labels = names.zip(values.map(str::to_owned));
        let labels: Vec<_> = labels.map(|(k, v)| KeyValue::new(k, v)).collect();
        self.instrument.bind_to(&labels)
    }
}
