//! What only a cluster can show: what one screen asks for lies everywhere in it, and a part of it may go.

use futures_util::future::join_all;

use super::gateway::On;
use super::*;
use crate::scope::{Language, Region, Segment};
use crate::store::tests::ask;
use crate::store::tests::cluster::Cluster;
use crate::store::tests::until_there;

/// How many answers there are to ask for, each for everyone, for two languages and for two callers.
const THINGS: u32 = 40;

/// Who reads. Every answer says for whom it was made.
#[derive(Clone, Copy, Debug)]
enum Who {
    Everyone,
    Language(&'static str),
    Caller(&'static str, &'static str),
}

const WHO: [Who; 5] = [
    Who::Everyone,
    Who::Language("de"),
    Who::Language("en"),
    Who::Caller("ada", "kids"),
    Who::Caller("ben", "adult"),
];

/// What an answer to it says.
fn said(who: usize, thing: u32) -> u32 {
    thing * 10 + u32::try_from(who).unwrap()
}

/// One read, which a backend answers in a moment with something good for `fresh`: whose it is, and how it was found.
async fn read(scene: &Scene, who: usize, thing: u32, fresh: Duration) -> (u32, CacheResult) {
    let language = |language: &str| {
        let language: Language = language.parse().unwrap();
        Segment::of(language, Region::NONE, None).by_language()
    };
    let number = said(who, thing);
    let read = match WHO[who] {
        Who::Everyone => ask_for(scene, Public, number, thing, fresh).await,
        Who::Language(l) => ask_for(scene, language(l), number, thing, fresh).await,
        Who::Caller(account, profile) => {
            ask_for(scene, caller(account, profile), number, thing, fresh).await
        }
    };
    read.unwrap()
}

async fn ask_for<S: Scope>(
    scene: &Scene,
    scope: S,
    number: u32,
    thing: u32,
    fresh: Duration,
) -> Result<(u32, CacheResult), Failure> {
    let mut keep = CachePolicy::default_for(S::PERSONAL);
    if S::PERSONAL {
        keep.private_ttl(fresh);
    } else {
        keep.ttl(fresh);
    }
    let path = format!("/things/{thing}");
    let ask = ReadThrough {
        read: ReadKey {
            key: (scene.shared.cache).key::<u32>("alpha", Method::GET, path, &scope),
            route: "/things/{id}",
            sharing: CacheVisibility::default(),
        },
        keep,
        renew_within: s(1),
        recall: Some(recall),
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
            took: Duration::ZERO,
        }))
    };
    let read = get_or_fetch::<u32, S, _, _>(&scene.cx(s(5)), ask, fetch).await?;
    Ok((*read.value, read.provenance.cache_result))
}

async fn cluster() -> Option<Cluster> {
    let cluster = Cluster::start().await?;
    until_there(&cluster.store()).await;
    Some(cluster)
}

/// How often the nodes read from the sockets of those who ask them.
async fn reads(ports: &[u16]) -> i64 {
    let mut reads = 0;
    for port in ports {
        let stats: String = ask(*port, &["INFO", "stats"]).await;
        let line = stats
            .lines()
            .find_map(|l| l.strip_prefix("total_reads_processed:"));
        reads += line.unwrap().parse::<i64>().unwrap();
    }
    reads
}

#[tokio::test]
async fn what_one_screen_misses_lies_everywhere_and_is_found_there() {
    let Some(cluster) = cluster().await else {
        return;
    };
    let on = On::Cluster(cluster);
    let (ports, gateway) = (on.ports(), on.gateway().await);
    let screen = |scene| join_all((0..12).map(move |thing| read(scene, 0, thing, s(60))));
    let fetched = screen(gateway.one()).await;
    assert!(
        fetched
            .iter()
            .all(|(_, lookup)| *lookup == CacheResult::Miss)
    );
    gateway.settled().await;
    for port in &ports {
        let keys: Vec<String> = ask(*port, &["KEYS", "*:cache:*"]).await;
        assert!(!keys.is_empty(), "each node keeps some");
    }
    // Asking how often costs some too, and so does following purges.
    let asking = reads(&ports).await;
    let before = reads(&ports).await;
    let asking = before - asking;
    let found = screen(gateway.other()).await;
    let cost = reads(&ports).await - before - asking;
    let wanted: Vec<_> = (0..12)
        .map(|thing| (said(0, thing), CacheResult::Hit))
        .collect();
    assert_eq!(found, wanted);
    assert_eq!(gateway.one().calls(), 12);
    assert!(cost <= 3 * 4, "{cost} reads for 12 looks at three nodes");
}

/// Readers at both replicas while a node is killed and comes back: nobody is failed by it, nobody is shown another's
/// answer, and what lies there is shared again afterwards.
#[tokio::test]
async fn a_node_that_goes_and_comes_back_costs_no_answer() {
    let Some(cluster) = cluster().await else {
        return;
    };
    // As impatient as a gateway is, but for the machine that runs tests being busy.
    let store = || Some(cluster.store_that_waits(ms(100), ms(250)));
    let stores = [store(), store()];
    let mut on = On::Cluster(cluster);
    let gateway = on.over(stores).await;
    let end = std::cell::Cell::new(false);
    let count = std::cell::Cell::new(0u32);
    let readers = (0..8u32).map(|reader| {
        let (gateway, end, count) = (&gateway, &end, &count);
        async move {
            let scenes = [gateway.one(), gateway.other()];
            let mut n = reader;
            while !end.get() {
                n = n.wrapping_add(7);
                let who = usize::try_from(n / 3).unwrap() % WHO.len();
                let thing = n % THINGS;
                let began = Instant::now();
                let (value, _) = read(scenes[n as usize % 2], who, thing, ms(20)).await;
                assert_eq!(value, said(who, thing), "{:?}", WHO[who]);
                assert!(began.elapsed() < s(5), "{:?}", began.elapsed());
                count.set(count.get() + 1);
                sleep(ms(1)).await;
            }
        }
    });
    let killer = async {
        let On::Cluster(cluster) = &mut on else {
            unreachable!()
        };
        let mut counts = Vec::new();
        for node in [0, 2] {
            sleep(ms(300)).await;
            counts.push(count.replace(0));
            cluster.kill(node..node + 1);
            sleep(ms(700)).await;
            // Two thirds of it lie elsewhere and are shared meanwhile.
            let mut found = 0;
            for thing in 0..24 {
                let thing = 2000 + thing + u32::try_from(node).unwrap() * 100;
                read(gateway.one(), 1, thing, s(60)).await;
                let read = read(gateway.other(), 1, thing, s(60)).await;
                found += u32::from(read.1 == CacheResult::Hit);
                sleep(ms(5)).await;
            }
            assert!(found >= 6, "{found} of 24 were shared");
            counts.push(count.replace(0));
            cluster.restart(node..node + 1);
            cluster.until_whole().await;
        }
        until_there(&cluster.store()).await;
        sleep(ms(300)).await;
        counts.push(count.get());
        end.set(true);
        counts
    };
    let (_, counts) = tokio::join!(join_all(readers), killer);
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
    // Wherever it lies it is shared again, once the store has seen that the node is back.
    let mut things = 3000..;
    for slot in 0..40 {
        let began = Instant::now();
        loop {
            let thing = things.next().unwrap();
            read(gateway.one(), 1, thing, s(60)).await;
            gateway.settled().await;
            let calls = gateway.one().calls();
            let (value, lookup) = read(gateway.other(), 1, thing, s(60)).await;
            assert_eq!(value, said(1, thing));
            if lookup == CacheResult::Hit {
                assert_eq!(gateway.one().calls(), calls);
                break;
            }
            assert!(began.elapsed() < s(5), "{slot}: {lookup:?}");
            sleep(ms(20)).await;
        }
    }
}
