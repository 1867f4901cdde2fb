//! Counters in Redis, shared by all replicas.

use ::redis::Script;
use futures_util::future::join_all;

use super::algorithm::Decision;
use super::limit::Counted;
use super::request::Request;
use bff_store::Redis;
use bff_store::{Key, StoreUnavailable};

/// Decides: one script for all keys, on a cluster for all that lie in one slot, and all scripts side by side.
pub(super) async fn decide(
    redis: &Redis,
    script: &Script,
    counted: &[Counted<'_>],
    request: &Request<'_>,
) -> Result<Vec<Decision>, StoreUnavailable> {
    let keys: Vec<Key> = counted.iter().map(|(l, _)| l.shared_key(request)).collect();
    // In the order of the policies, which those of one group keep.
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let tag = if redis.is_cluster() { key.tag() } else { "" };
        match groups.iter_mut().find(|(of, _)| *of == tag) {
            Some((_, group)) => group.push(at),
            None => groups.push((tag, vec![at])),
        }
    }
    let asked = groups.iter().map(|(_, group)| {
        let mut call = script.prepare_invoke();
        for &at in group {
            call.key(keys[at].as_str());
        }
        for number in group.iter().flat_map(|&at| counted[at].1.rule.numbers()) {
            call.arg(number);
        }
        let first = &keys[group[0]];
        async move { redis.invoke::<Vec<u64>>(first, &call).await }
    });
    let answers = join_all(asked).await;
    let mut decisions = vec![Decision::default(); counted.len()];
    for ((_, group), answer) in groups.iter().zip(answers) {
        let answer = answer?;
        for (&at, told) in group.iter().zip(answer.chunks_exact(5)) {
            decisions[at] = Decision {
                allowed: told[0] == 1,
                remaining: told[1],
                reset: told[2],
                retry_after: told[3],
                wait: told[4],
            };
        }
    }
    Ok(decisions)
}
