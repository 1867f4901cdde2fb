//! The parts of a request that rate limits read, and the keys under which it counts.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::KeyPart;
use bff_context::scope::Caller;

/// The parts of a request that policies read.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The client's IP address. `None` if the connection has none, as on a pipe.
    pub address: Option<IpAddr>,
    /// The authenticated caller.
    pub caller: Option<&'a Caller>,
    /// The route template. `None` if the gateway has no such route.
    pub route: Option<&'a str>,
    /// Whether it is a proxy route.
    pub proxied: bool,
    /// The path.
    pub path: &'a str,
}

/// The value of one key part. The letter separates values of different kinds, such as an account and an API key.
pub(super) enum Subject<'a> {
    Text(u8, &'a str),
    Address(Option<IpAddr>),
}

pub(super) fn subject<'a>(by: KeyPart, request: &Request<'a>) -> Subject<'a> {
    let account = request.caller.map(bff_context::trusted::account);
    let caller = account.map_or(Subject::Address(request.address), |a| {
        Subject::Text(b'c', a)
    });
    match by {
        KeyPart::Address => Subject::Address(request.address),
        KeyPart::Caller => caller,
        KeyPart::ApiKey => match request.caller.and_then(bff_context::trusted::key_id) {
            Some(key) => Subject::Text(b'k', key),
            None => caller,
        },
        KeyPart::Plan => Subject::Text(
            b'p',
            request
                .caller
                .and_then(Caller::plan_name)
                .unwrap_or_default(),
        ),
        KeyPart::Route => Subject::Text(b'r', request.route.unwrap_or_default()),
    }
}

pub(super) fn hash_address(seed: u64, address: Option<IpAddr>) -> u64 {
    match address {
        None => seed,
        Some(IpAddr::V4(v4)) => xxh3_64_with_seed(&v4.octets(), seed),
        Some(IpAddr::V6(v6)) => xxh3_64_with_seed(&v6.octets(), seed),
    }
}
