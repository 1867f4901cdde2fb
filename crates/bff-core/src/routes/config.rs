//! The configuration `[routes.NAME]` and its checks.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::path::{check_plain, is_below};

/// One proxy route. `NAME` appears in environment variables and error lines, as in `WEB_ROUTES__NAME__TIMEOUT`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a separate key of the configuration"
)]
pub struct Config {
    /// The path prefixes of the route, by whole segments: `["/api/things"]` matches `/api/things` and `/api/things/…`.
    /// The longest prefix of all routes wins, and the path of a screen always wins. Required.
    pub prefixes: Vec<String>,
    /// The backend, by its name in `[upstreams]`. Required.
    pub upstream: String,
    /// The purpose of the route in one sentence, for `openapi.json`. Default none.
    #[serde(default)]
    pub description: Option<String>,
    /// The allowed methods. Others get 405. GET includes HEAD. Default `["GET"]`, so that writes must be allowed
    /// explicitly.
    #[serde(default = "Config::methods")]
    pub methods: Vec<String>,
    /// A prefix to remove from the path: with `"/api"`, `/api/things/1` becomes `/things/1` at the backend. Default
    /// none.
    #[serde(default)]
    pub strip_prefix: Option<String>,
    /// A path that replaces the route's prefix: with `"/v2/things"`, `/api/things/1` becomes `/v2/things/1`. Excludes
    /// `strip_prefix`. Default none.
    #[serde(default)]
    pub rewrite: Option<String>,
    /// The `Host` header for the backend. Default `"upstream"`: the backend's own name, which its certificate and
    /// virtual hosts need. `"client"` forwards the client's `Host`.
    #[serde(default)]
    pub host_header: Host,
    /// Whether anonymous callers are allowed. Default false, so that a public route must be declared explicitly.
    #[serde(default)]
    pub allow_anonymous: bool,
    /// The roles of which the caller must have at least one. Default none: every authenticated caller is allowed.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The time until the response's headers, including all attempts and the client's body. After that only
    /// `idle_timeout` applies. Default `inbound.deadline`.
    #[serde(default, with = "crate::config::duration::option")]
    pub timeout: Option<Duration>,
    /// The time of one attempt until the response's headers. Default: the backend's `attempt_timeout`. While the
    /// client's body streams, the default is the whole `timeout`, because the duration then depends on the client.
    #[serde(default, with = "crate::config::duration::option")]
    pub attempt_timeout: Option<Duration>,
    /// The longest time without data in a streaming body, in each direction, and in both directions of a `WebSocket`.
    /// Default 30s, because event streams usually send data more often.
    #[serde(default = "Config::idle_timeout", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// Whether failed requests are retried, within the backend's `retry` and `retry_budget`. This covers idempotent
    /// methods and requests with an `Idempotency-Key`, if the body is empty or buffered. A request of which nothing was
    /// sent is always retried. Default true.
    #[serde(default = "Config::retries")]
    pub retries: bool,
    /// The largest body, by `Content-Length`, that is buffered for retries. Default 16384 (16 KiB): forms and commands,
    /// not uploads.
    #[serde(default = "Config::retry_buffer_bytes")]
    pub retry_buffer_bytes: usize,
    /// The largest request body. Default `inbound.max_body_bytes`.
    #[serde(default)]
    pub max_body_bytes: Option<u64>,
    /// The allowed media types of request bodies, such as `"application/json"` or `"image/*"`. Default none: all are
    /// allowed.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// The client's credentials that are forwarded to the backend. Default none: the backend knows the caller from
    /// `X-User-Id` and `X-User-Role`. If a route allows anonymous callers and forwards `"authorization"`, the backend
    /// verifies it, and the gateway does not.
    #[serde(default)]
    pub forward_credentials: Vec<Credential>,
    /// Whether clients may open a `WebSocket`. Default false.
    #[serde(default)]
    pub websocket: bool,
    /// Whether responses are stored as in a shared cache of RFC 9111, for all clients and replicas. For an
    /// authenticated request, a response is stored only if the backend marks it as shareable. Default false.
    #[serde(default)]
    pub cache: bool,
    /// The freshness lifetime of stored responses. It replaces a missing or positive lifetime of the backend. Default
    /// none: the backend decides, and a response without a lifetime is not stored.
    #[serde(default, with = "crate::config::duration::option")]
    pub cache_ttl: Option<Duration>,
    /// The largest stored body, in bytes as received. A larger one is streamed and not stored. Default 262144 (256
    /// KiB).
    #[serde(default = "Config::cache_max_bytes")]
    pub cache_max_bytes: usize,
    /// Whether `X-API-Version: v1` is supported: JSON members and query parameters are `snake_case` for the client and
    /// `camelCase` at the backend. Default false.
    #[serde(default)]
    pub v1_format: bool,
}

/// The `Host` header for the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// The backend's own name.
    #[default]
    Upstream,
    /// The client's `Host`.
    Client,
}

/// A credential of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// `Authorization`.
    Authorization,
    /// `Cookie`, and `Set-Cookie` in responses.
    Cookie,
}

impl Config {
    fn methods() -> Vec<String> {
        vec!["GET".to_owned()]
    }

    fn idle_timeout() -> Duration {
        Duration::from_secs(30)
    }

    fn retries() -> bool {
        true
    }

    fn cache_max_bytes() -> usize {
        256 << 10
    }

    fn retry_buffer_bytes() -> usize {
        16 << 10
    }

    /// Whether this credential is forwarded to the backend.
    pub(super) fn forwards(&self, credential: Credential) -> bool {
        self.forward_credentials.contains(&credential)
    }

    /// Checks the values. The error is one line that begins with the wrong key within the route's table.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_paths()?;
        if self.methods.is_empty() {
            return Err("methods: must not be empty".to_owned());
        }
        if let Some(unknown) = self.methods.iter().find(|m| method(m).is_none()) {
            let allowed = METHODS.map(|m| m.to_string()).join(", ");
            return Err(format!(
                "methods: unknown method {unknown:?}; allowed are {allowed}"
            ));
        }
        if self.websocket && !self.methods.iter().any(|m| m == "GET") {
            return Err("websocket: needs GET in methods".to_owned());
        }
        if self.allow_anonymous && !self.roles.is_empty() {
            return Err("roles: must be empty if allow_anonymous is true".to_owned());
        }
        if self.roles.iter().any(|role| role.trim().is_empty()) {
            return Err("roles: a role must not be empty".to_owned());
        }
        for (key, timeout) in [
            ("timeout", self.timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("idle_timeout", Some(self.idle_timeout)),
        ] {
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Err(format!("{key}: must be more than 0"));
            }
        }
        let is_malformed = |media: &&String| {
            let (kind, subtype) = media.split_once('/').unwrap_or_default();
            let is_token = |text: &str| {
                text.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-._".contains(&b))
            };
            kind.is_empty()
                || subtype.is_empty()
                || !is_token(kind)
                || !(subtype == "*" || is_token(subtype))
        };
        match self.content_types.iter().find(is_malformed) {
            Some(media) => Err(format!(
                "content_types: {media:?} is not a media type such as \"application/json\" or \"image/*\""
            )),
            None => Ok(()),
        }
    }

    fn check_paths(&self) -> Result<(), String> {
        if self.prefixes.is_empty() {
            return Err("prefixes: must not be empty".to_owned());
        }
        for prefix in &self.prefixes {
            check_plain(prefix).map_err(|reason| format!("prefixes: {prefix:?} {reason}"))?;
            if prefix == "/" {
                return Err("prefixes: \"/\" is not allowed; name at least one segment".to_owned());
            }
        }
        match (&self.strip_prefix, &self.rewrite) {
            (Some(_), Some(_)) => Err("rewrite: must not be combined with strip_prefix".to_owned()),
            (Some(strip), None) => {
                check_plain(strip).map_err(|reason| format!("strip_prefix: {strip:?} {reason}"))?;
                let is_outside = |prefix: &&String| !is_below(prefix, strip);
                match self.prefixes.iter().find(is_outside) {
                    Some(prefix) => Err(format!(
                        "strip_prefix: the prefix {prefix:?} does not start with {strip:?}"
                    )),
                    None => Ok(()),
                }
            }
            (None, Some(to)) => {
                check_plain(to).map_err(|reason| format!("rewrite: {to:?} {reason}"))
            }
            (None, None) => Ok(()),
        }
    }
}

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// The method of this name, if a route may allow it.
pub(super) fn method(name: &str) -> Option<Method> {
    METHODS.into_iter().find(|method| method.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(over: &str) -> Option<String> {
        let base = "upstream = \"a\"\n";
        let prefixes = if over.contains("prefixes") {
            ""
        } else {
            "prefixes = [\"/api/a\", \"/api/b\"]\n"
        };
        let config: Config = toml::from_str(&format!("{base}{prefixes}{over}")).unwrap();
        config.check().err()
    }

    #[test]
    fn an_error_names_its_key() {
        for (over, key) in [
            ("prefixes = []", "prefixes"),
            ("prefixes = [\"/\"]", "prefixes"),
            ("prefixes = [\"api\"]", "prefixes"),
            ("prefixes = [\"/api/\"]", "prefixes"),
            ("prefixes = [\"/api/../b\"]", "prefixes"),
            ("prefixes = [\"/api/*\"]", "prefixes"),
            ("prefixes = [\"/api//b\"]", "prefixes"),
            ("methods = []", "methods"),
            ("methods = [\"get\"]", "methods"),
            ("methods = [\"CONNECT\"]", "methods"),
            ("strip_prefix = \"/other\"", "strip_prefix"),
            ("strip_prefix = \"/ap\"", "strip_prefix"),
            ("strip_prefix = \"/api\"\nrewrite = \"/x\"", "rewrite"),
            ("rewrite = \"x\"", "rewrite"),
            ("rewrite = \"/x?y\"", "rewrite"),
            ("rewrite = \"/../x\"", "rewrite"),
            ("allow_anonymous = true\nroles = [\"ADMIN\"]", "roles"),
            ("roles = [\" \"]", "roles"),
            ("timeout = \"0s\"", "timeout"),
            ("idle_timeout = \"0s\"", "idle_timeout"),
            ("content_types = [\"json\"]", "content_types"),
            ("websocket = true\nmethods = [\"POST\"]", "websocket"),
        ] {
            let line = check_error(over).unwrap_or_default();
            assert!(line.starts_with(&format!("{key}: ")), "{over}: {line:?}");
        }
    }

    #[test]
    fn a_valid_configuration_is_accepted() {
        for over in [
            "",
            "strip_prefix = \"/api\"",
            "rewrite = \"/\"",
            "content_types = [\"image/*\"]",
        ] {
            assert_eq!(check_error(over), None, "{over}");
        }
    }
}
