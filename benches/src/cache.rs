//! `benches cache`: the cost of the cache per read, in one thread, with a backend on an in-memory pipe.

pub(crate) mod shop;

use std::fmt::Write;

use bff_core::cache::Config;

use crate::{Result, replicas};
use shop::Shop;

/// Reads per round of the rows without calls.
const CACHED_READS: u32 = 200_000;
/// Reads per round of the rows with calls.
const UNCACHED_READS: u32 = 20_000;
const ROUNDS: usize = 7;

/// Measures every row in alternating rounds. Reports the median, the minimum and the maximum of each row.
pub(crate) fn measure() -> Result<String> {
    // Both ends of the pipes and the clock are in one thread, as in a simulation.
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(rounds())
    });
    let result = thread.join();
    result.unwrap_or_else(|_| Err("the measuring thread panicked".into()))
}

async fn rounds() -> Result<String> {
    bff_core::auth::install_crypto();
    let cached = Config::default();
    let uncached = Config {
        max_bytes: 0,
        coalesce_requests: false,
        ..Config::default()
    };
    let rows = [
        ("a fresh entry", "max-age=86400", &cached, CACHED_READS),
        (
            "a stale entry, revalidated meanwhile",
            "max-age=0",
            &cached,
            CACHED_READS,
        ),
        (
            "a call with a cacheable response",
            "no-cache",
            &cached,
            UNCACHED_READS,
        ),
        (
            "a call with an uncacheable response",
            "no-store",
            &cached,
            UNCACHED_READS,
        ),
        (
            "the same, cache and coalescing off",
            "no-store",
            &uncached,
            UNCACHED_READS,
        ),
    ];
    let open = |(label, cache_control, config, reads)| {
        Ok((label, Shop::open(cache_control, config)?, reads))
    };
    let rows: Vec<(&str, Shop, u32)> = rows.map(open).into_iter().collect::<Result<_>>()?;
    let mut elapsed: Vec<Vec<u128>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, shop, reads), elapsed) in rows.iter().zip(&mut elapsed) {
            elapsed.push(shop.read(*reads).await?);
        }
    }
    let mut out = format!("\n{:<40}{:>12}{:>22}\n", "", "ns/read", "min to max");
    for ((label, ..), elapsed) in rows.iter().zip(&mut elapsed) {
        row(&mut out, label, elapsed)?;
    }
    let [l2_hits, concurrent] = &mut replicas::rounds(ROUNDS).await?;
    if l2_hits.is_empty() {
        writeln!(
            out,
            "Redis: not measured, because redis-server is not installed"
        )?;
    } else {
        row(&mut out, replicas::L2_HIT_LABEL, l2_hits)?;
        row(&mut out, replicas::CONCURRENT_LABEL, concurrent)?;
    }
    Ok(out)
}

fn row(out: &mut String, label: &str, elapsed: &mut [u128]) -> Result<()> {
    elapsed.sort_unstable();
    let (min, median, max) = (
        elapsed[0],
        elapsed[elapsed.len() / 2],
        elapsed[elapsed.len() - 1],
    );
    let span = format!("{min} to {max}");
    Ok(writeln!(out, "{label:<40}{median:>12}{span:>22}")?)
}
