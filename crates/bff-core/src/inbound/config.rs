//! The configuration of the edge.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::admission::{client_ip, load_shed};
use crate::scope::{Language, Region};

/// The configuration of the edge: timeouts, body limits, IP filters, rate limits and load shedding.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The time for a whole request. Default 2s, because users leave slower pages.
    #[serde(default = "Config::deadline", with = "crate::config::duration::some")]
    pub deadline: Duration,
    /// The largest value of a client's `Request-Timeout` header. Default 10s.
    #[serde(
        default = "Config::max_deadline",
        with = "crate::config::duration::some"
    )]
    pub max_deadline: Duration,
    /// The largest request body, unless a route has its own limit. Default 65536 (64 KiB).
    #[serde(default = "Config::max_body_bytes")]
    pub max_body_bytes: usize,
    /// The time in which the request's body must arrive, within the deadline. Default 5s.
    #[serde(
        default = "Config::body_timeout",
        with = "crate::config::duration::some"
    )]
    pub body_timeout: Duration,
    /// The languages for calls whose backend translates. The first one is the default language. Default `["en"]`.
    #[serde(default = "Config::languages")]
    pub languages: Vec<Language>,
    /// The regions served. Anonymous callers get the first one. Default `["DE"]`.
    #[serde(default = "Config::regions")]
    pub regions: Vec<Region>,
    /// The origins that CORS allows, exactly as browsers send them. Default none.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// Whether requests from those origins may carry credentials such as cookies. Default false.
    #[serde(default)]
    pub cors_credentials: bool,
    /// The time for which a browser may use only `https` for this host (RFC 6797). It is sent if a trusted proxy says
    /// that the client uses `https`, and never over plain HTTP. 0: not sent. Default 365d, as browsers recommend.
    #[serde(default = "Config::hsts_max_age", with = "crate::config::duration")]
    pub hsts_max_age: Duration,
    /// The proxies in front of this gateway, as addresses or networks. Only their `Forwarded` and `X-Forwarded-…`
    /// headers are trusted and forwarded. Those of other peers are replaced. Default none.
    #[serde(default, deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which those proxies write the client's address: `x-forwarded-for` or `forwarded`. Only this one is
    /// read, because a proxy may forward the other one as the client sent it. Default `x-forwarded-for`.
    #[serde(default)]
    pub client_ip_header: client_ip::ForwardedHeader,
    /// The allowed addresses or networks. Default none: every address that is not denied is allowed.
    #[serde(default, deserialize_with = "networks")]
    pub allow: Vec<IpNet>,
    /// The denied addresses or networks, which get 403. Default none.
    #[serde(default, deserialize_with = "networks")]
    pub deny: Vec<IpNet>,
    /// The rate limits. Default none.
    #[serde(default)]
    pub rate_limits: crate::rate_limit::Config,
    /// The limits of concurrent requests, and the order in which classes are shed.
    #[serde(default)]
    pub load_shedding: load_shed::Config,
}

impl Config {
    fn deadline() -> Duration {
        Duration::from_secs(2)
    }

    fn max_deadline() -> Duration {
        Duration::from_secs(10)
    }

    fn max_body_bytes() -> usize {
        64 << 10
    }

    fn body_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn hsts_max_age() -> Duration {
        Duration::from_secs(365 * 24 * 3600)
    }

    fn languages() -> Vec<Language> {
        "en".parse().into_iter().collect()
    }

    fn regions() -> Vec<Region> {
        "DE".parse().into_iter().collect()
    }
}

/// Reads addresses and networks. An address is a network of one address.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| {
        let network = text.trim().parse::<IpNet>();
        network.or_else(|_| text.trim().parse::<IpAddr>().map(IpNet::from))
    };
    let networks = texts.iter().map(|text| {
        parse(text).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is neither an IP address nor a network such as 10.0.0.0/8"
            ))
        })
    });
    networks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_network_of_one_address() {
        let read = |text: &str| {
            let texts = serde_json::json!([text]);
            networks(texts).map(|networks| networks[0].to_string())
        };
        for (text, network) in [
            ("127.0.0.1", "127.0.0.1/32"),
            (" ::1 ", "::1/128"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(read(text).unwrap(), network);
        }
        for invalid in ["", "localhost", "10.0.0.0/33", "10.0.0.0/8/8", "1.2.3"] {
            let error = read(invalid).unwrap_err().to_string();
            assert!(
                error.contains("neither an IP address nor a network"),
                "{error}"
            );
        }
    }
}
