//! The part of `bff-cache` that gateways use: settings and purges of the cache of backend responses.

pub use bff_cache::{
    Cache, CacheOverrides, CachePolicy, CacheResult, Config, Key, Purge, RouteCacheOverrides,
    SharedConfig, Tag, rfc9111, status,
};
pub(crate) use bff_cache::{
    DecodedBody, FetchContext, FetchResult, FullResponse, ReadKey, ReadThrough, length_prefixed,
};
