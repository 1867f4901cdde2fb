//! Worker threads that serve connections. Each has its own single-threaded runtime.
//!
//! A connection and its calls to backends stay on one thread. So no task is woken on another core, and no other core
//! touches its memory. There is no work stealing.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

thread_local! {
    /// The index of this worker thread, from 1; 0 for any other thread.
    static WORKER_INDEX: Cell<usize> = const { Cell::new(0) };
}

/// The index of the worker thread that drives a socket opened here, from 1; 0 outside of [`WorkerThreads`].
pub fn worker_index() -> usize {
    WORKER_INDEX.get()
}

/// The worker threads. They end when this is dropped.
#[derive(Debug, Default)]
pub struct WorkerThreads {
    running: Vec<Thread>,
    shutdown: CancellationToken,
    /// Tracks each thread until all its connections are dropped.
    active: TaskTracker,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// Counts one connection of a thread until it is dropped.
struct ConnectionGuard(Arc<AtomicUsize>);

impl WorkerThreads {
    /// No threads: the current runtime serves everything.
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts `count` threads; by default as many as there are cores for this process.
    pub fn start(count: Option<NonZeroUsize>) -> io::Result<Self> {
        let count = match count {
            Some(count) => count,
            None => thread::available_parallelism()?,
        };
        // If one does not start, dropping this ends the others.
        let mut threads = Self::default();
        for number in 1..=count.get() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let shutdown = threads.shutdown.clone().cancelled_owned();
            let active = threads.active.token();
            let serve = move || {
                WORKER_INDEX.set(number);
                runtime.block_on(shutdown);
                // Does not wait for a DNS lookup in progress.
                runtime.shutdown_background();
                drop(active);
            };
            let builder = thread::Builder::new().name(format!("serve-{number}"));
            builder.spawn(serve)?;
            threads.running.push(Thread {
                runtime: handle,
                connections: Arc::default(),
            });
        }
        Ok(threads)
    }

    /// The same, but without threads if none can be started. That is slower, but works.
    pub fn try_start(count: Option<NonZeroUsize>) -> Self {
        Self::start(count).unwrap_or_else(|error| {
            tracing::warn!(%error, "no worker threads started; one thread serves everything");
            Self::none()
        })
    }

    /// Serves a connection on the thread with the fewest connections.
    pub fn spawn(
        &self,
        tasks: &mut JoinSet<()>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let load = |thread: &&Thread| thread.connections.load(Relaxed);
        let Some(thread) = self.running.iter().min_by_key(load) else {
            tasks.spawn(connection);
            return;
        };
        thread.connections.fetch_add(1, Relaxed);
        let guard = ConnectionGuard(thread.connections.clone());
        let connection = async move {
            let _guard = guard;
            connection.await;
        };
        tasks.spawn_on(connection, &thread.runtime);
    }

    /// Ends the threads and waits until all their connections are dropped, so that everything is logged.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        self.active.close();
        self.active.wait().await;
    }
}

impl Drop for WorkerThreads {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_connection_goes_to_the_least_loaded_thread_and_stays_there() {
        let threads = WorkerThreads::start(NonZeroUsize::new(2)).unwrap();
        let mut tasks = JoinSet::new();
        let (sender, mut indexes) = mpsc::unbounded_channel();
        let mut open = Vec::new();
        let mut assigned = Vec::new();
        for _ in 0..4 {
            let (stop, stopped) = oneshot::channel::<()>();
            let sender = sender.clone();
            threads.spawn(&mut tasks, async move {
                sender.send(worker_index()).unwrap();
                stopped.await.ok();
                tokio::task::yield_now().await;
                sender.send(worker_index()).unwrap();
            });
            open.push(stop);
            assigned.push(indexes.recv().await.unwrap());
        }
        assert_eq!(assigned, [1, 2, 1, 2]);
        // Two connections of the second thread end, so it gets the next two.
        for n in [3, 1] {
            drop(open.remove(n));
            tasks.join_next().await.unwrap().unwrap();
            assert_eq!(indexes.recv().await, Some(2));
        }
        for _ in 0..2 {
            let sender = sender.clone();
            threads.spawn(&mut tasks, async move {
                sender.send(worker_index()).unwrap();
                std::future::pending::<()>().await;
            });
            assert_eq!(indexes.recv().await, Some(2));
        }
        // Dropping the threads drops their connections.
        drop(threads);
        drop(open);
        while tasks.join_next().await.is_some() {}
    }

    #[tokio::test]
    async fn without_threads_the_current_runtime_serves() {
        let mut tasks = JoinSet::new();
        WorkerThreads::none().spawn(&mut tasks, async { assert_eq!(worker_index(), 0) });
        tasks.join_next().await.unwrap().unwrap();
    }
}
