//! The cache of backend responses, as a gateway sees it: settings and purges. The crate `bff-cache` holds the rest.

pub use bff_cache::{
    Cache, CacheOverrides, CachePolicy, CacheResult, Config, Key, Purge, RouteCacheOverrides,
    SharedConfig, Tag, rfc9111, status,
};
pub(crate) use bff_cache::{
    FetchContext, FetchResult, FullResponse, ReadKey, ReadThrough, length_prefixed,
};
