//! Sessions in both stores.

use super::*;
use crate::tests::both_stores;

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(60);

fn sessions(store: Store, idle_timeout: Duration, max_per_account: usize) -> Sessions {
    let env = Env::real();
    let cipher = RecordCipher::open(&crate::Config::default(), &env).unwrap();
    let config = Config {
        idle_timeout,
        absolute_timeout: 10 * LONG,
        max_per_account,
    };
    Sessions::new(store, cipher, &env, config)
}

async fn data_of(sessions: &Sessions, id: &str) -> Option<String> {
    let read = sessions.read::<String>(id).await.unwrap();
    read.map(|session| session.data)
}

async fn list(sessions: &Sessions, account: &str) -> Vec<SessionInfo<String>> {
    sessions.list(account).await.unwrap()
}

#[tokio::test]
async fn a_session_is_read_touched_listed_and_removed() {
    for (store, _server) in both_stores().await {
        let sessions = sessions(store, LONG, 10);
        let one = sessions.create("ada", "tv").await.unwrap();
        let two = sessions.create("ada", "phone").await.unwrap();
        let session_of_ben = sessions.create("ben", "laptop").await.unwrap();
        assert_eq!(data_of(&sessions, &one).await.unwrap(), "tv");
        assert_eq!(data_of(&sessions, "none").await, None);
        let changed = sessions.touch::<String>(&one, |data| data.push_str(" set"));
        assert!(changed.await.unwrap());
        let sessions_of_ada = list(&sessions, "ada").await;
        let values: Vec<&str> = sessions_of_ada
            .iter()
            .map(|l| l.session.data.as_str())
            .collect();
        assert_eq!(values, ["tv set", "phone"]);
        // The public name does not give access.
        assert_eq!(data_of(&sessions, &sessions_of_ada[0].name).await, None);
        assert!(
            !sessions
                .remove_named("ben", &sessions_of_ada[0].name)
                .await
                .unwrap()
        );
        assert!(
            sessions
                .remove_named("ada", &sessions_of_ada[0].name)
                .await
                .unwrap()
        );
        assert_eq!(data_of(&sessions, &one).await, None);
        assert!(!sessions.touch::<String>(&one, |_| {}).await.unwrap());
        sessions.remove("ada", &two).await.unwrap();
        assert_eq!(list(&sessions, "ada").await, []);
        assert_eq!(data_of(&sessions, &session_of_ben).await.unwrap(), "laptop");
        sessions.create("ben", "tv").await.unwrap();
        sessions.remove_all("ben").await.unwrap();
        assert_eq!(data_of(&sessions, &session_of_ben).await, None);
        assert_eq!(list(&sessions, "ben").await, []);
    }
}

#[tokio::test]
async fn an_idle_session_ends_and_a_used_one_does_not() {
    for (store, _server) in both_stores().await {
        let sessions = sessions(store, 5 * SHORT, 10);
        let (used, idle) = (
            sessions.create("ada", "a").await.unwrap(),
            sessions.create("ada", "b").await.unwrap(),
        );
        for _ in 0..6 {
            tokio::time::sleep(SHORT).await;
            assert!(sessions.touch::<String>(&used, |_| {}).await.unwrap());
        }
        assert_eq!(data_of(&sessions, &idle).await, None);
        assert_eq!(list(&sessions, "ada").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_at_its_absolute_timeout() {
    let env = Env::seeded(1, bff_runtime::net::Net::Tcp);
    let cipher = RecordCipher::open(&crate::Config::default(), &env).unwrap();
    let config = Config {
        idle_timeout: LONG,
        absolute_timeout: 3 * LONG,
        max_per_account: 10,
    };
    let sessions = Sessions::new(Store::memory(1 << 20, &env), cipher, &env, config);
    let id = sessions.create("ada", "a").await.unwrap();
    for seconds in 1..180 {
        tokio::time::advance(Duration::from_secs(1)).await;
        let touched = sessions.touch::<String>(&id, |_| {}).await.unwrap();
        assert!(touched, "after {seconds} s");
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!sessions.touch::<String>(&id, |_| {}).await.unwrap());
    assert_eq!(data_of(&sessions, &id).await, None);
}

#[tokio::test]
async fn the_oldest_session_of_an_account_is_removed_beyond_the_limit() {
    for (store, _server) in both_stores().await {
        let sessions = sessions(store, LONG, 3);
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(sessions.create("ada", n.to_string()).await.unwrap());
        }
        let sessions_of_ada = list(&sessions, "ada").await;
        let values: Vec<&str> = sessions_of_ada
            .iter()
            .map(|l| l.session.data.as_str())
            .collect();
        assert_eq!(values, ["2", "3", "4"]);
        assert_eq!(data_of(&sessions, &ids[1]).await, None);
    }
}

/// A removed session stays removed, however many requests use it. Of many sessions created at once, none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_updates_restore_and_lose_no_session() {
    for (store, _server) in both_stores().await {
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
async fn no_session_data_is_readable_in_the_store() {
    let env = Env::real();
    let store = Store::memory(1 << 20, &env);
    let sessions = sessions(store.clone(), LONG, 10);
    let id = sessions.create("ada", "token-abc").await.unwrap();
    for key in [session_key(&id), list_key("ada")] {
        assert!(!key.as_str().contains(&id) && !key.as_str().contains("ada"));
        let bytes = store.get_many(&[key]).await.unwrap().remove(0).unwrap();
        for secret in ["token-abc", "ada", &id] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
        }
    }
    // Another process has another key, and cannot decrypt it.
    assert_eq!(
        data_of(&super::tests::sessions(store, LONG, 10), &id).await,
        None
    );
}
