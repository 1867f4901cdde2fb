//! Stores and captured logs for tests. Only dev-dependencies enable the feature of this module.

use std::sync::Arc;
use std::time::Duration;

use crate::{Config, Key, Namespace, Store};
use bff_config::Secret;
use bff_runtime::net::Env;

/// A store at a URL. Its timeouts are generous, because a test machine is busy.
#[must_use]
pub fn store_at(url: String) -> Store {
    store_with_timeouts(url, Duration::from_secs(2), Duration::from_millis(20))
}

/// A store at a URL, with its own timeouts.
///
/// # Panics
///
/// Panics if the URL is invalid.
#[must_use]
pub fn store_with_timeouts(url: String, timeout: Duration, retry_interval: Duration) -> Store {
    let config = Config {
        url: Some(Secret::new(url)),
        timeout,
        retry_interval,
        ..Config::default()
    };
    Store::open(&config, &Env::real()).unwrap_or_else(|error| panic!("{error}"))
}

/// Waits until the server answers.
///
/// # Panics
///
/// Panics if it does not answer within ten seconds.
pub async fn wait_until_available(store: &Store) {
    let namespace = Namespace {
        name: "test",
        evictable: true,
    };
    let key = Key::of(namespace, b"there", &[]);
    for _ in 0..500 {
        if store.get_many(std::slice::from_ref(&key)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store never became available");
}

/// Captured log lines.
#[derive(Clone, Debug, Default)]
pub struct CapturedLogs(Arc<parking_lot::Mutex<Vec<u8>>>);

impl CapturedLogs {
    /// Captures the log lines of this thread while the guard lives.
    pub fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let logs = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(move || logs.clone()).finish())
    }

    /// The number of lines that contain `text`.
    pub fn count(&self, text: &str) -> usize {
        let logs = self.0.lock();
        let logs = String::from_utf8_lossy(&logs);
        logs.lines().filter(|line| line.contains(text)).count()
    }
}

impl std::io::Write for CapturedLogs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
