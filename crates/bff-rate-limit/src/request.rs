//! A request as it counts, and whose it counts as.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::config::KeyPart;
use bff_context::scope::Caller;

/// What is known of a request that counts.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it came from; none on a pipe.
    pub address: Option<IpAddr>,
    /// Who asks.
    pub caller: Option<&'a Caller>,
    /// The route's template; none where the gateway has no route.
    pub route: Option<&'a str>,
    /// Whether the route passes it on.
    pub passed: bool,
    /// The path.
    pub path: &'a str,
}

/// One of the things that requests have in common; the letter keeps an account apart from an API key of its name.
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
