//! Counters in Redis, shared by all replicas.

use ::redis::Script;
use futures_util::future::join_all;

use super::algorithm::Decision;
use super::limit::MatchedPolicy;
use super::request::Request;
use bff_store::Redis;
use bff_store::{Key, StoreUnavailable};

/// Decides on all policies in one script call. On a cluster, one call for each hash slot, all concurrently.
pub(super) async fn decide(
    redis: &Redis,
    script: &Script,
    matched: &[MatchedPolicy<'_>],
    request: &Request<'_>,
) -> Result<Vec<Decision>, StoreUnavailable> {
    let keys: Vec<Key> = matched
        .iter()
        .map(|(limit, _)| limit.redis_key(request))
        .collect();
    // Each group holds indices into `matched`, in order.
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let tag = if redis.is_cluster() { key.tag() } else { "" };
        match groups.iter_mut().find(|(other, _)| *other == tag) {
            Some((_, group)) => group.push(at),
            None => groups.push((tag, vec![at])),
        }
    }
    let calls = groups.iter().map(|(_, group)| {
        let mut call = script.prepare_invoke();
        for &at in group {
            call.key(keys[at].as_str());
        }
        for arg in group
            .iter()
            .flat_map(|&at| matched[at].1.rule.script_args())
        {
            call.arg(arg);
        }
        let first = &keys[group[0]];
        async move { redis.invoke::<Vec<u64>>(first, &call).await }
    });
    let replies = join_all(calls).await;
    let mut decisions = vec![Decision::default(); matched.len()];
    for ((_, group), reply) in groups.iter().zip(replies) {
        let reply = reply?;
        for (&at, numbers) in group.iter().zip(reply.chunks_exact(5)) {
            decisions[at] = Decision {
                allowed: numbers[0] == 1,
                remaining: numbers[1],
                reset: numbers[2],
                retry_after: numbers[3],
                wait: numbers[4],
            };
        }
    }
    Ok(decisions)
}
