//! Tests that need a cluster: the entries of one screen are on all its nodes, and a node may fail.

use futures_util::future::join_all;

use super::gateway::Setup;
use super::*;
use bff_context::scope::{Language, Region};
use bff_store::testing::{store_at, store_with_timeouts, wait_until_available};
use test_servers::{RedisCluster, ask};

/// The number of addresses. Each is read publicly, in two languages, and by two callers.
const THINGS: u32 = 40;

/// The scope of a reader. Every value shows its scope.
#[derive(Clone, Copy, Debug)]
enum ReaderScope {
    Everyone,
    Language(&'static str),
    Caller(&'static str, &'static str),
}

const READER_SCOPES: [ReaderScope; 5] = [
    ReaderScope::Everyone,
    ReaderScope::Language("de"),
    ReaderScope::Language("en"),
    ReaderScope::Caller("ada", "kids"),
    ReaderScope::Caller("ben", "adult"),
];

/// The value fetched for a scope and an address.
fn value_of(reader_scope: usize, thing: u32) -> u32 {
    thing * 10 + u32::try_from(reader_scope).unwrap()
}

/// One read. The backend answers after 2 ms with a response, fresh for `fresh`. Returns the value and the result.
async fn read(
    scene: &Scene,
    reader_scope: usize,
    thing: u32,
    fresh: Duration,
) -> (u32, CacheResult) {
    let language = |language: &str| {
        let language: Language = language.parse().unwrap();
        bff_context::trusted::segment(language, Region::NONE, None).by_language()
    };
    let number = value_of(reader_scope, thing);
    let read = match READER_SCOPES[reader_scope] {
        ReaderScope::Everyone => read_in_scope(scene, Public, number, thing, fresh).await,
        ReaderScope::Language(name) => {
            read_in_scope(scene, language(name), number, thing, fresh).await
        }
        ReaderScope::Caller(account, profile) => {
            read_in_scope(scene, caller(account, profile), number, thing, fresh).await
        }
    };
    read.unwrap()
}

async fn read_in_scope<S: Scope>(
    scene: &Scene,
    scope: S,
    number: u32,
    thing: u32,
    fresh: Duration,
) -> Result<(u32, CacheResult), Failure> {
    let mut policy = CachePolicy::default_for(S::PERSONAL);
    if S::PERSONAL {
        policy.private_ttl(fresh);
    } else {
        policy.ttl(fresh);
    }
    let path = format!("/things/{thing}");
    let options = ReadThrough {
        read: ReadKey {
            key: (scene.shared.cache).key::<u32>("alpha", Method::GET, path, &scope),
            route: "/things/{id}",
            visibility: CacheVisibility::default(),
        },
        policy,
        revalidation_timeout: s(1),
        decode: Some(decode),
    };
    let calls = scene.calls.clone();
    let fetch = move |_| async move {
        calls.fetch_add(1, Relaxed);
        sleep(ms(2)).await;
        Ok(FetchResult::Full(FullResponse {
            value: Arc::new(number),
            status: StatusCode::OK,
            head: HeaderMap::new(),
            bytes: 100,
            body: Bytes::from(number.to_string()),
            omitted: 0,
            response_delay: Duration::ZERO,
        }))
    };
    // A read fails at its deadline.
    let cx = scene.cx(LIMIT);
    let read = (scene.shared.cache).get_or_fetch::<u32, S, _, _>(&cx, options, fetch);
    let read = read.await?;
    Ok((*read.value, read.provenance.cache_result))
}

async fn cluster() -> Option<RedisCluster> {
    let cluster = RedisCluster::start().await?;
    wait_until_available(&store_at(cluster.url())).await;
    Some(cluster)
}

/// The number of reads of all nodes from client sockets.
async fn reads(ports: &[u16]) -> i64 {
    let mut reads = 0;
    for port in ports {
        let stats: String = ask(*port, &["INFO", "stats"]).await;
        let line = stats
            .lines()
            .find_map(|language| language.strip_prefix("total_reads_processed:"));
        reads += line.unwrap().parse::<i64>().unwrap();
    }
    reads
}

#[tokio::test]
async fn the_entries_of_one_screen_are_on_every_node() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let setup = Setup::Cluster(cluster);
    let (ports, gateway) = (setup.ports(), setup.gateway().await);
    let screen = |scene| join_all((0..12).map(move |address| read(scene, 0, address, s(60))));
    let fetched = screen(gateway.one()).await;
    assert!(
        fetched
            .iter()
            .all(|(_, cache_result)| *cache_result == CacheResult::Miss)
    );
    gateway.wait_for_tasks().await;
    for port in &ports {
        let keys: Vec<String> = ask(*port, &["KEYS", "*:cache:*"]).await;
        assert!(!keys.is_empty(), "every node has some entries");
    }
    // Reading the counter and following purges cost reads too.
    let overhead = reads(&ports).await;
    let before = reads(&ports).await;
    let overhead = before - overhead;
    let found = screen(gateway.other()).await;
    let cost = reads(&ports).await - before - overhead;
    let expected: Vec<_> = (0..12)
        .map(|address| (value_of(0, address), CacheResult::Hit))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(gateway.one().calls(), 12);
    assert!(cost <= 3 * 4, "{cost} reads for 12 lookups at three nodes");
}

/// Readers at both replicas while a node is killed and restarted. No read fails, no reader gets the value of another
/// scope, and the entries of the node are shared again afterwards.
#[tokio::test]
async fn a_node_that_fails_and_recovers_fails_no_read() {
    let Some(cluster) = cluster().await else {
        return;
    };
    // The timeouts of a gateway, with reserve for a busy test machine.
    let store = || Some(store_with_timeouts(cluster.url(), ms(100), ms(250)));
    let stores = [store(), store()];
    let mut setup = Setup::Cluster(cluster);
    // A lease may be lost with its node, and then delays a read by this time.
    let gateway = setup.over(stores, ms(500)).await;
    let end = std::cell::Cell::new(false);
    let count = std::cell::Cell::new(0u32);
    let readers = (0..8u32).map(|reader| {
        let (gateway, end, count) = (&gateway, &end, &count);
        async move {
            let scenes = [gateway.one(), gateway.other()];
            let mut n = reader;
            while !end.get() {
                n = n.wrapping_add(7);
                let reader_scope = usize::try_from(n / 3).unwrap() % READER_SCOPES.len();
                let address = n % THINGS;
                let (value, _) = read(scenes[n as usize % 2], reader_scope, address, ms(20)).await;
                assert_eq!(
                    value,
                    value_of(reader_scope, address),
                    "{:?}",
                    READER_SCOPES[reader_scope]
                );
                count.set(count.get() + 1);
                sleep(ms(1)).await;
            }
        }
    });
    let faults = async {
        let Setup::Cluster(cluster) = &mut setup else {
            unreachable!()
        };
        let mut addresses = 2000..;
        for node in [0, 2] {
            wait_until(|| count.get() > 50).await;
            count.set(0);
            cluster.kill(node..node + 1);
            sleep(ms(700)).await;
            // Two thirds of the entries are on other nodes, and are shared meanwhile.
            let six_found = async {
                let mut found = 0;
                while found < 6 {
                    let address = addresses.next().unwrap();
                    read(gateway.one(), 1, address, s(60)).await;
                    let read = read(gateway.other(), 1, address, s(60)).await;
                    found += u32::from(read.1 == CacheResult::Hit);
                    sleep(ms(5)).await;
                }
            };
            let found = timeout(LIMIT, six_found).await;
            found.expect("entries of the other nodes must be shared");
            wait_until(|| count.get() > 50).await;
            count.set(0);
            cluster.restart(node..node + 1);
            cluster.wait_until_whole().await;
        }
        wait_until_available(&store_at(cluster.url())).await;
        count.set(0);
        wait_until(|| count.get() > 50).await;
        end.set(true);
    };
    tokio::join!(join_all(readers), faults);
    // Every slot is shared again, once the store has noticed that the node is back.
    let mut addresses = 30_000..;
    for slot in 0..40 {
        let started = Instant::now();
        loop {
            let address = addresses.next().unwrap();
            read(gateway.one(), 1, address, s(60)).await;
            gateway.wait_for_tasks().await;
            let calls = gateway.one().calls();
            let (value, cache_result) = read(gateway.other(), 1, address, s(60)).await;
            assert_eq!(value, value_of(1, address));
            if cache_result == CacheResult::Hit {
                assert_eq!(gateway.one().calls(), calls);
                break;
            }
            assert!(started.elapsed() < LIMIT, "{slot}: {cache_result:?}");
            sleep(ms(20)).await;
        }
    }
}
