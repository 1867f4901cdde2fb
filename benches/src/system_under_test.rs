//! A gateway in the contest: its process, its load, and what its turns have shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::Result;
use crate::load::Load;
use crate::server::Server;

/// One gateway and its results so far.
pub(crate) struct SystemUnderTest {
    server: Server,
    load: Load,
    /// The results of its measured turns.
    pub(crate) results: Results,
}

/// One row of the report.
pub(crate) struct Results {
    /// What the row is called.
    pub(crate) label: &'static str,
    /// CPU time per request, one entry a turn, in microseconds.
    pub(crate) cpu_us: Vec<f64>,
    /// How long every request took.
    pub(crate) latencies: Vec<Duration>,
}

impl SystemUnderTest {
    /// A gateway that answers at `to`; a complete answer contains `proof`.
    pub(crate) fn new(
        label: &'static str,
        server: Server,
        to: SocketAddr,
        connections: u16,
        proof: &'static str,
    ) -> Self {
        let load = Load {
            to,
            requests: 0,
            connections,
            tokens: Arc::default(),
            first: 0,
            proof,
        };
        Self {
            server,
            load,
            results: Results::new(label),
        }
    }

    /// From now on requests carry these tokens, in turns.
    pub(crate) fn carry(&mut self, tokens: Vec<HeaderValue>) {
        self.load.tokens = tokens.into();
        self.load.first = 0;
    }

    /// Sends requests that nobody counts, so that connections are open and caches of the machine are warm.
    pub(crate) async fn warm(&mut self, requests: usize) -> Result<()> {
        self.drive(requests).await.map(drop)
    }

    /// A measured turn that goes into the gateway's row.
    pub(crate) async fn turn(&mut self, requests: usize) -> Result<()> {
        let (cpu_us, latencies) = self.drive(requests).await?;
        self.results.add(cpu_us, latencies);
        Ok(())
    }

    /// A measured turn that is a row of its own.
    pub(crate) async fn apart(&mut self, label: &'static str, requests: usize) -> Result<Results> {
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
        // The next turn begins with the user after the last.
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
