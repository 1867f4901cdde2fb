//! The connection to Redis: one server, or a cluster, of which the URL names some nodes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, Pipeline, RedisFuture, Value};

use super::config::Config;
use bff_config::Secret;

/// The maximum number of redirections of one command in a cluster, as after a slot has moved. The store's timeout
/// applies too.
const REDIRECTIONS: u32 = 4;

/// One multiplexed connection, or one to each node. It reconnects by itself. Cheap to clone.
#[derive(Clone)]
pub(super) enum RedisConnection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

/// The servers that the URL names. A subscriber may use any of them.
pub(super) struct SeedNodes {
    servers: Vec<Client>,
    next: AtomicUsize,
}

impl RedisConnection {
    /// Connects lazily: Redis need not be running yet. The library's error texts may quote the URL, and so a password;
    /// they are not passed on.
    pub(super) fn open(config: &Config, url: &Secret) -> Result<(Self, SeedNodes), String> {
        let (urls, cluster) = node_urls(url.expose());
        let invalid = |_| {
            "store.url: must be redis://host:port/database or redis+cluster://host:port,host:port"
                .to_owned()
        };
        let servers = urls.iter().map(|url| Client::open(url.as_str()));
        let servers: Vec<Client> = servers.collect::<Result<_, _>>().map_err(invalid)?;
        let connect_timeout = config.timeout.max(Duration::from_secs(1));
        let connection = if cluster {
            let client_config = ClusterConfig::new()
                .set_connection_timeout(connect_timeout)
                .set_response_timeout(config.timeout);
            let client = ClusterClient::builder(urls).retries(REDIRECTIONS).build();
            let client = client.map_err(invalid)?;
            Self::Cluster(client.get_pending_async_connection_with_config(client_config))
        } else {
            let client_config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(connect_timeout))
                .set_response_timeout(Some(config.timeout))
                // One attempt for each call: `Availability` decides the time of the next one.
                .set_number_of_retries(0);
            let one = ConnectionManager::new_lazy_with_config(servers[0].clone(), client_config);
            Self::One(one.map_err(|error| format!("store.url: {}", error.category()))?)
        };
        let next = AtomicUsize::new(0);
        Ok((connection, SeedNodes { servers, next }))
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl SeedNodes {
    /// The next server, round robin.
    pub(super) fn next(&self) -> &Client {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        &self.servers[index % self.servers.len()]
    }
}

/// The URLs of all named nodes, and whether they are a cluster. `redis+cluster://user:password@a:7000,b:7000` becomes
/// one URL for each host.
fn node_urls(url: &str) -> (Vec<String>, bool) {
    let Some((scheme, rest)) = url.split_once("+cluster://") else {
        return (vec![url.to_owned()], false);
    };
    let (credentials, hosts) = match rest.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), rest),
    };
    let each = |host: &str| format!("{scheme}://{credentials}{}", host.trim());
    (hosts.split(',').map(each).collect(), true)
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(pipeline, offset, count),
            // The keys are in different slots: every command goes to its own node, all at once.
            Self::Cluster(cluster) => try_join_all(pipeline.cmd_iter().map(|cmd| {
                let mut cluster = cluster.clone();
                async move { cluster.req_packed_command(cmd).await }
            }))
            .boxed(),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_url_names_some_nodes() {
        let cluster = |urls: &[&str]| (urls.iter().map(|u| (*u).to_owned()).collect(), true);
        let parsed = node_urls("redis+cluster://a:7000,b:7001");
        assert_eq!(parsed, cluster(&["redis://a:7000", "redis://b:7001"]));
        let parsed = node_urls("rediss+cluster://me:p@ss@a:7000, b:7001");
        let expected = ["rediss://me:p@ss@a:7000", "rediss://me:p@ss@b:7001"];
        assert_eq!(parsed, cluster(&expected));
        let one = "redis://a:6379/0".to_owned();
        assert_eq!(node_urls(&one), (vec![one.clone()], false));
    }

    #[tokio::test]
    async fn an_invalid_url_is_refused_without_quoting_it() {
        for url in ["secret", "http://secret:1", "redis+cluster://secret:x,b:1"] {
            let line = RedisConnection::open(&Config::default(), &Secret::new(url))
                .err()
                .unwrap();
            assert!(
                line.starts_with("store.url: ") && !line.contains("secret"),
                "{line}"
            );
        }
    }
}
