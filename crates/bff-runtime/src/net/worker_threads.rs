//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on the thread that it was given to, and so does what it asks of backends: nothing is woken on
//! another core, and no other core touches its memory. What one thread has too much of, no other takes over.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::coarse_clock::FrozenClock;

thread_local! {
    /// The number of this thread among those that serve, from 1; 0 is any other.
    static HOME: Cell<usize> = const { Cell::new(0) };
}

/// The longest that a thread that serves sleeps.
const TICK: Duration = Duration::from_millis(100);

/// Has a timer run out soon at any time. tokio wakes its driver, by a system call, for each new timer that is the
/// earliest, even if the driver is the thread that sets it and awake: every call's would be, on a thread with no other.
async fn keep_timer_armed() {
    loop {
        sleep(TICK).await;
    }
}

/// Which thread drives a socket that is opened here: a number from 1, or 0 where it is none of [`Threads`].
pub fn worker_index() -> usize {
    HOME.get()
}

/// Threads that serve. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Threads {
    running: Vec<Thread>,
    ending: CancellationToken,
    /// Counts each thread until all that it served is dropped.
    serving: TaskTracker,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// One connection of a thread, until it is dropped.
struct Connection(Arc<AtomicUsize>);

impl Threads {
    /// No threads: everything is served by the runtime that it is served in.
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts so many threads, or as many as the process may use cores.
    pub fn start(count: Option<NonZeroUsize>) -> io::Result<Self> {
        let count = match count {
            Some(count) => count,
            None => thread::available_parallelism()?,
        };
        // Those that have started end with it if one does not.
        let mut all = Self::default();
        for number in 1..=count.get() {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let until = all.ending.clone().cancelled_owned();
            let serving = all.serving.token();
            let serve = move || {
                HOME.set(number);
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = until => {}
                        () = keep_timer_armed() => {}
                    }
                });
                // Nobody waits for a name that is still being looked up.
                runtime.shutdown_background();
                drop(serving);
            };
            let named = thread::Builder::new().name(format!("serve-{number}"));
            named.spawn(serve)?;
            all.running.push(Thread {
                runtime: handle,
                connections: Arc::default(),
            });
        }
        Ok(all)
    }

    /// The same, or none where the machine gives none: slower, and no worse.
    pub fn try_start(count: Option<NonZeroUsize>) -> Self {
        Self::start(count).unwrap_or_else(|error| {
            tracing::warn!(%error, "no threads to serve with; one does everything");
            Self::none()
        })
    }

    /// Serves a connection on the thread that has the fewest.
    pub fn spawn(
        &self,
        tasks: &mut JoinSet<()>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let fewest = |thread: &&Thread| thread.connections.load(Relaxed);
        let Some(thread) = self.running.iter().min_by_key(fewest) else {
            tasks.spawn(FrozenClock::new(connection));
            return;
        };
        thread.connections.fetch_add(1, Relaxed);
        let one = Connection(thread.connections.clone());
        let connection = async move {
            let _one = one;
            connection.await;
        };
        tasks.spawn_on(FrozenClock::new(connection), &thread.runtime);
    }

    /// Ends them, and waits until all that they served is dropped, so that it has said its last word.
    pub async fn end(&self) {
        self.ending.cancel();
        self.serving.close();
        self.serving.wait().await;
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Drop for Connection {
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
    async fn each_connection_goes_to_the_thread_that_has_the_fewest_and_stays_there() {
        let threads = Threads::start(NonZeroUsize::new(2)).unwrap();
        let mut tasks = JoinSet::new();
        let (told, mut homes) = mpsc::unbounded_channel();
        let mut open = Vec::new();
        let mut at = Vec::new();
        for _ in 0..4 {
            let (end, ended) = oneshot::channel::<()>();
            let told = told.clone();
            threads.spawn(&mut tasks, async move {
                told.send(worker_index()).unwrap();
                ended.await.ok();
                tokio::task::yield_now().await;
                told.send(worker_index()).unwrap();
            });
            open.push(end);
            at.push(homes.recv().await.unwrap());
        }
        assert_eq!(at, [1, 2, 1, 2]);
        // Both of the second thread end, so the next two are its own.
        for n in [3, 1] {
            drop(open.remove(n));
            tasks.join_next().await.unwrap().unwrap();
            assert_eq!(homes.recv().await, Some(2));
        }
        for _ in 0..2 {
            let told = told.clone();
            threads.spawn(&mut tasks, async move {
                told.send(worker_index()).unwrap();
                std::future::pending::<()>().await;
            });
            assert_eq!(homes.recv().await, Some(2));
        }
        // Dropped, they take what is left with them.
        drop(threads);
        drop(open);
        while tasks.join_next().await.is_some() {}
    }

    #[tokio::test]
    async fn without_threads_all_is_served_here() {
        let mut tasks = JoinSet::new();
        Threads::none().spawn(&mut tasks, async { assert_eq!(worker_index(), 0) });
        tasks.join_next().await.unwrap().unwrap();
    }
}
