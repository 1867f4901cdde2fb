//! A measured gateway: its process, its load and its results.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::Result;
use crate::load::Load;
use crate::server::Server;

/// One measured gateway.
pub(crate) struct SystemUnderTest {
    server: Server,
    load: Load,
    /// The results of its turns so far.
    pub(crate) results: Results,
}

/// One row of the report.
pub(crate) struct Results {
    /// The label of the row.
    pub(crate) label: &'static str,
    /// The CPU time per request in microseconds, with one entry for each turn.
    pub(crate) cpu_us: Vec<f64>,
    /// The latency of every request.
    pub(crate) latencies: Vec<Duration>,
}

impl SystemUnderTest {
    /// A gateway with the address `to`. A complete response contains `marker`.
    pub(crate) fn new(
        label: &'static str,
        server: Server,
        to: SocketAddr,
        connections: u16,
        marker: &'static str,
    ) -> Self {
        let load = Load {
            to,
            requests: 0,
            connections,
            tokens: Arc::default(),
            first: 0,
            marker,
        };
        Self {
            server,
            load,
            results: Results::new(label),
        }
    }

    /// Sets the tokens of the following requests. They are used in rotation.
    pub(crate) fn use_tokens(&mut self, tokens: Vec<HeaderValue>) {
        self.load.tokens = tokens.into();
        self.load.first = 0;
    }

    /// Sends requests without measuring them, to open connections and to warm up caches.
    pub(crate) async fn warm_up(&mut self, requests: usize) -> Result<()> {
        self.drive(requests).await.map(drop)
    }

    /// Runs a measured turn and adds it to the gateway's results.
    pub(crate) async fn turn(&mut self, requests: usize) -> Result<()> {
        let (cpu_us, latencies) = self.drive(requests).await?;
        self.results.add(cpu_us, latencies);
        Ok(())
    }

    /// Runs a measured turn and returns its results as a separate row.
    pub(crate) async fn separate_turn(
        &mut self,
        label: &'static str,
        requests: usize,
    ) -> Result<Results> {
        let (cpu_us, latencies) = self.drive(requests).await?;
        let mut row = Results::new(label);
        row.add(cpu_us, latencies);
        Ok(row)
    }

    async fn drive(&mut self, requests: usize) -> Result<(f64, Vec<Duration>)> {
        self.server.check()?;
        let before = self.server.cpu()?;
        let load = Load {
            requests,
            ..self.load.clone()
        };
        let latencies = load.run().await?;
        let used = self.server.cpu()?.since(before);
        // The next turn continues with the next user.
        self.load.first += requests;
        let requests = u32::try_from(requests)?.max(1);
        Ok((used.as_secs_f64() * 1e6 / f64::from(requests), latencies))
    }
}

impl Results {
    fn new(label: &'static str) -> Self {
        Self {
            label,
            cpu_us: Vec::new(),
            latencies: Vec::new(),
        }
    }

    fn add(&mut self, cpu_us: f64, latencies: Vec<Duration>) {
        self.cpu_us.push(cpu_us);
        self.latencies.extend(latencies);
    }
}
