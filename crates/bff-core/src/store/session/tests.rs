//! Sessions on both sides of the store.

use super::*;
use crate::store::tests::sides;

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(60);

fn sessions(store: Store, idle: Duration, most: usize) -> Sessions {
    let world = Env::real();
    let seal = RecordCipher::open(&crate::store::Config::default(), &world).unwrap();
    let terms = Config {
        idle_timeout: idle,
        absolute_timeout: 10 * LONG,
        max_per_account: most,
    };
    Sessions::new(store, seal, &world, terms)
}

async fn holds(sessions: &Sessions, id: &str) -> Option<String> {
    let read = sessions.read::<String>(id).await.unwrap();
    read.map(|session| session.holds)
}

async fn listed(sessions: &Sessions, account: &str) -> Vec<SessionInfo<String>> {
    sessions.list(account).await.unwrap()
}

#[tokio::test]
async fn a_session_is_read_touched_listed_and_removed() {
    for (store, _server) in sides().await {
        let sessions = sessions(store, LONG, 10);
        let one = sessions.create("ada", "tv").await.unwrap();
        let two = sessions.create("ada", "phone").await.unwrap();
        let bens = sessions.create("ben", "laptop").await.unwrap();
        assert_eq!(holds(&sessions, &one).await.unwrap(), "tv");
        assert_eq!(holds(&sessions, "none").await, None);
        let changed = sessions.touch::<String>(&one, |holds| holds.push_str(" set"));
        assert!(changed.await.unwrap());
        let list = listed(&sessions, "ada").await;
        let of: Vec<&str> = list.iter().map(|l| l.session.holds.as_str()).collect();
        assert_eq!(of, ["tv set", "phone"]);
        // What is listed does not open it.
        assert_eq!(holds(&sessions, &list[0].name).await, None);
        assert!(!sessions.remove_named("ben", &list[0].name).await.unwrap());
        assert!(sessions.remove_named("ada", &list[0].name).await.unwrap());
        assert_eq!(holds(&sessions, &one).await, None);
        assert!(!sessions.touch::<String>(&one, |_| {}).await.unwrap());
        sessions.remove("ada", &two).await.unwrap();
        assert_eq!(listed(&sessions, "ada").await, []);
        assert_eq!(holds(&sessions, &bens).await.unwrap(), "laptop");
        sessions.create("ben", "tv").await.unwrap();
        sessions.remove_all("ben").await.unwrap();
        assert_eq!(holds(&sessions, &bens).await, None);
        assert_eq!(listed(&sessions, "ben").await, []);
    }
}

#[tokio::test]
async fn who_is_not_seen_is_signed_out_and_who_is_seen_is_not() {
    for (store, _server) in sides().await {
        let sessions = sessions(store, 5 * SHORT, 10);
        let (used, left) = (
            sessions.create("ada", "a").await.unwrap(),
            sessions.create("ada", "b").await.unwrap(),
        );
        for _ in 0..6 {
            tokio::time::sleep(SHORT).await;
            assert!(sessions.touch::<String>(&used, |_| {}).await.unwrap());
        }
        assert_eq!(holds(&sessions, &left).await, None);
        assert_eq!(listed(&sessions, "ada").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_stays_for_ever() {
    let world = Env::seeded(1, crate::net::Net::Tcp);
    let seal = RecordCipher::open(&crate::store::Config::default(), &world).unwrap();
    let terms = Config {
        idle_timeout: LONG,
        absolute_timeout: 3 * LONG,
        max_per_account: 10,
    };
    let sessions = Sessions::new(Store::memory(1 << 20, &world), seal, &world, terms);
    let id = sessions.create("ada", "a").await.unwrap();
    for seconds in 1..180 {
        tokio::time::advance(Duration::from_secs(1)).await;
        let touched = sessions.touch::<String>(&id, |_| {}).await.unwrap();
        assert!(touched, "after {seconds} s");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!sessions.touch::<String>(&id, |_| {}).await.unwrap());
    assert_eq!(holds(&sessions, &id).await, None);
}

#[tokio::test]
async fn an_account_has_so_many_and_the_oldest_goes() {
    for (store, _server) in sides().await {
        let sessions = sessions(store, LONG, 3);
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(sessions.create("ada", n.to_string()).await.unwrap());
        }
        let list = listed(&sessions, "ada").await;
        let of: Vec<&str> = list.iter().map(|l| l.session.holds.as_str()).collect();
        assert_eq!(of, ["2", "3", "4"]);
        assert_eq!(holds(&sessions, &ids[1]).await, None);
    }
}

/// Whoever signs out is out, however many requests are under way; and of many who sign in at once none is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn side_by_side_nobody_comes_back_and_nobody_is_lost() {
    for (store, _server) in sides().await {
        let sessions = sessions(store, LONG, 100);
        let ids = futures_util::future::join_all((0..6).map(|_| sessions.create("ada", 0)));
        let ids: Vec<String> = ids.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(sessions.list::<u32>("ada").await.unwrap().len(), 6);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (sessions, id) = (sessions.clone(), ids[0].clone());
            tasks.spawn(async move {
                while let Ok(true) = sessions.touch::<u32>(&id, |n| *n += 1).await {}
            });
        }
        tokio::time::sleep(SHORT).await;
        sessions.remove("ada", &ids[0]).await.unwrap();
        tasks.join_all().await;
        assert_eq!(sessions.read::<u32>(&ids[0]).await.unwrap(), None);
    }
}

#[tokio::test]
async fn nothing_of_a_session_is_in_the_store_as_it_is() {
    let world = Env::real();
    let store = Store::memory(1 << 20, &world);
    let sessions = sessions(store.clone(), LONG, 10);
    let id = sessions.create("ada", "token-abc").await.unwrap();
    for key in [key(&id), of("ada")] {
        assert!(!key.as_str().contains(&id) && !key.as_str().contains("ada"));
        let kept = store.get_many(&[key]).await.unwrap().remove(0).unwrap();
        for secret in ["token-abc", "ada", &id] {
            assert!(!kept.windows(secret.len()).any(|w| w == secret.as_bytes()));
        }
    }
    // Sealed by others, it is nobody's.
    assert_eq!(
        holds(&super::tests::sessions(store, LONG, 10), &id).await,
        None
    );
}
