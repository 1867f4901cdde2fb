//! The way to Redis: one server, or a cluster, of which some nodes are named and the others are found.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, Pipeline, RedisFuture, Value};

use super::Config;
use crate::config::Secret;

/// How often a cluster may send a question elsewhere: a slot that moves is asked for at the node that has it. The store's
/// own timeout ends it before that in any case.
const REDIRECTIONS: u32 = 4;

/// One connection, or one to each node, that carries all questions side by side and comes back by itself. Cheap to clone.
#[derive(Clone)]
pub(super) enum RedisConnection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

/// The servers that were named, one after another: a subscriber may listen at any.
pub(super) struct SeedNodes {
    servers: Vec<Client>,
    next: AtomicUsize,
}

impl RedisConnection {
    /// Redis need not be there yet. The library's own words may quote the address, and so a password: they stay inside.
    pub(super) fn open(config: &Config, url: &Secret) -> Result<(Self, SeedNodes), String> {
        let (urls, cluster) = addresses(url.expose());
        let refuse = |_| {
            "store.url: it is redis://host:port/database or redis+cluster://host:port,host:port"
                .to_owned()
        };
        let servers = urls.iter().map(|url| Client::open(url.as_str()));
        let servers: Vec<Client> = servers.collect::<Result<_, _>>().map_err(refuse)?;
        let connecting = config.timeout.max(Duration::from_secs(1));
        let way = if cluster {
            let how = ClusterConfig::new()
                .set_connection_timeout(connecting)
                .set_response_timeout(config.timeout);
            let client = ClusterClient::builder(urls).retries(REDIRECTIONS).build();
            let client = client.map_err(refuse)?;
            Self::Cluster(client.get_pending_async_connection_with_config(how))
        } else {
            let how = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(connecting))
                .set_response_timeout(Some(config.timeout))
                // One attempt each time it is asked: `Link` says how often that is.
                .set_number_of_retries(0);
            let one = ConnectionManager::new_lazy_with_config(servers[0].clone(), how);
            Self::One(one.map_err(|error| format!("store.url: {}", error.category()))?)
        };
        let next = AtomicUsize::new(0);
        Ok((way, SeedNodes { servers, next }))
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl SeedNodes {
    /// Another one each time.
    pub(super) fn next(&self) -> &Client {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        &self.servers[at % self.servers.len()]
    }
}

/// `redis+cluster://user:password@a:7000,b:7000` is the same URL for each node that it names; any other is one server's.
fn addresses(url: &str) -> (Vec<String>, bool) {
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
            // Each key lies somewhere else: every command goes its own way, all of them side by side.
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
    fn a_cluster_is_named_by_some_of_its_nodes() {
        let cluster = |urls: &[&str]| (urls.iter().map(|u| (*u).to_owned()).collect(), true);
        let told = addresses("redis+cluster://a:7000,b:7001");
        assert_eq!(told, cluster(&["redis://a:7000", "redis://b:7001"]));
        let told = addresses("rediss+cluster://me:p@ss@a:7000, b:7001");
        let wanted = ["rediss://me:p@ss@a:7000", "rediss://me:p@ss@b:7001"];
        assert_eq!(told, cluster(&wanted));
        let one = "redis://a:6379/0".to_owned();
        assert_eq!(addresses(&one), (vec![one.clone()], false));
    }

    #[tokio::test]
    async fn a_url_that_is_none_is_refused_without_its_text() {
        for bad in ["secret", "http://secret:1", "redis+cluster://secret:x,b:1"] {
            let line = RedisConnection::open(&Config::default(), &Secret::new(bad))
                .err()
                .unwrap();
            assert!(
                line.starts_with("store.url: ") && !line.contains("secret"),
                "{line}"
            );
        }
    }
}
