//! What a route says of itself in `[routes.NAME]`, and which mistakes are refused.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::path::{is_below, plain};

/// One pass-through route. `NAME` is what variables and error lines call it, as in `WEB_ROUTES__NAME__TIMEOUT`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the file"
)]
pub struct Config {
    /// The paths it answers, each with all that lies below it: `["/api/things"]` is `/api/things` and `/api/things/…`.
    /// Of several routes the one with the longest prefix answers, and a screen's own address always wins.
    pub prefixes: Vec<String>,
    /// The backend, as `[upstreams]` names it.
    pub upstream: String,
    /// The methods let through; any other is 405. Default `["GET"]`, which brings HEAD: a write is opened on purpose.
    #[serde(default = "Config::methods")]
    pub methods: Vec<String>,
    /// What is taken off the front of the path: with `"/api"`, `/api/things/1` is `/things/1` at the backend.
    /// Default nothing.
    #[serde(default)]
    pub strip_prefix: Option<String>,
    /// What stands at the backend in place of the prefix: with `"/v2/things"`, `/api/things/1` is `/v2/things/1`.
    /// Default nothing; not together with `strip_prefix`.
    #[serde(default)]
    pub rewrite: Option<String>,
    /// Whose name the backend reads as `Host`. Default `"upstream"`: its own, by which its certificate and virtual
    /// hosts know it; `"client"` is what the client asked for.
    #[serde(default)]
    pub host_header: Host,
    /// Whether nobody needs to be signed in. Default false: an open address is opened on purpose.
    #[serde(default)]
    pub allow_anonymous: bool,
    /// Who may: one of these roles is enough. Default none, which is everybody who is signed in.
    #[serde(default)]
    pub roles: Vec<String>,
    /// How long the head of the answer may take, attempts and the client's body included; after it only silence is
    /// bounded. Default `inbound.deadline`.
    #[serde(default, with = "crate::config::duration::option")]
    pub timeout: Option<Duration>,
    /// How long one attempt may take, up to the head of its answer. Default the backend's own `attempt_timeout`, and
    /// while a client's body streams through the whole `timeout`, for then the client takes the time.
    #[serde(default, with = "crate::config::duration::option")]
    pub attempt_timeout: Option<Duration>,
    /// The longest silence of a body that streams, either way, and of an upgraded connection. Default 30s: event
    /// streams that live send something that often.
    #[serde(default = "Config::idle", with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// Whether what failed may be sent again, under the backend's `retry` and `budget`: idempotent methods and
    /// requests with an `Idempotency-Key`, with no body or one that was kept; a body of which nothing was sent, always.
    /// Default true.
    #[serde(default = "Config::retries")]
    pub retries: bool,
    /// The largest announced body that is kept until it need not be sent again. Default 16384 (16 KiB): forms and
    /// commands, not uploads.
    #[serde(default = "Config::kept_body_bytes")]
    pub retry_buffer_bytes: usize,
    /// The largest body a client may send. Default `inbound.max_body_bytes`.
    #[serde(default)]
    pub max_body_bytes: Option<u64>,
    /// The media types a client's body may have, such as `"application/json"` or `"image/*"`. Default none, which is
    /// any.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// Which credentials of the client the backend sees. Default none: it learns who asks from `X-User-Id` and
    /// `X-User-Role`. On a public route that passes `"authorization"` the backend judges it, and the gateway does not.
    #[serde(default)]
    pub forward_credentials: Vec<Credential>,
    /// Whether a `WebSocket` may be opened. Default false.
    #[serde(default)]
    pub websocket: bool,
    /// Whether answers are kept as RFC 9111 lets a shared cache, and shared with other clients and replicas. Default
    /// false. What the backend says decides; of who is signed in only what it says is for all is kept.
    #[serde(default)]
    pub cache: bool,
    /// How long a kept answer is fresh, whatever positive lifetime the backend gives or does not give. Default none:
    /// what the backend says, and nothing is kept of which it says nothing.
    #[serde(default, with = "crate::config::duration::option")]
    pub cache_ttl: Option<Duration>,
    /// The largest body kept, in bytes as received; a longer one streams through. Default 262144 (256 KiB).
    #[serde(default = "Config::cache_max_bytes")]
    pub cache_max_bytes: usize,
    /// Whether `X-API-Version: v1` is spoken: JSON members and query parameters in `snake_case` outside, `camelCase` at
    /// the backend. Default false.
    #[serde(default)]
    pub v1_format: bool,
}

/// Whose name the backend reads as `Host`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// Its own.
    #[default]
    Upstream,
    /// The one that the client asked for.
    Client,
}

/// A credential that a client sends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// `Authorization`.
    Authorization,
    /// `Cookie`, and `Set-Cookie` back.
    Cookie,
}

impl Config {
    fn methods() -> Vec<String> {
        vec!["GET".to_owned()]
    }

    fn idle() -> Duration {
        Duration::from_secs(30)
    }

    fn retries() -> bool {
        true
    }

    fn cache_max_bytes() -> usize {
        256 << 10
    }

    fn kept_body_bytes() -> usize {
        16 << 10
    }

    /// Whether the backend sees this credential.
    pub(super) fn passes(&self, credential: Credential) -> bool {
        self.forward_credentials.contains(&credential)
    }

    /// The first mistake: its key within the route's table, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_paths()?;
        if self.methods.is_empty() {
            return Err("methods: no method could ever pass".to_owned());
        }
        if let Some(unknown) = self.methods.iter().find(|m| method(m).is_none()) {
            let known = METHODS.map(|m| m.to_string()).join(", ");
            return Err(format!("methods: {unknown:?} is none of {known}"));
        }
        if self.websocket && !self.methods.iter().any(|m| m == "GET") {
            return Err(
                "websocket: a WebSocket is opened with GET, which is not in methods".to_owned(),
            );
        }
        if self.allow_anonymous && !self.roles.is_empty() {
            return Err("roles: a public route asks nobody who they are".to_owned());
        }
        if self.roles.iter().any(|role| role.trim().is_empty()) {
            return Err("roles: a role has a name".to_owned());
        }
        let nothing = |time: Option<Duration>| time.is_some_and(|time| time.is_zero());
        for (key, time) in [
            ("timeout", self.timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("idle_timeout", Some(self.idle_timeout)),
        ] {
            if nothing(time) {
                return Err(format!("{key}: there would be no time for anything"));
            }
        }
        let bad = |media: &&String| {
            let (kind, rest) = media.split_once('/').unwrap_or_default();
            let token = |t: &str| {
                t.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-._".contains(&b))
            };
            kind.is_empty() || rest.is_empty() || !token(kind) || !(rest == "*" || token(rest))
        };
        match self.content_types.iter().find(bad) {
            Some(media) => Err(format!(
                "content_types: {media:?} is no media type such as \"application/json\" or \"image/*\""
            )),
            None => Ok(()),
        }
    }

    fn check_paths(&self) -> Result<(), String> {
        if self.prefixes.is_empty() {
            return Err("prefixes: no address would ever lead here".to_owned());
        }
        for prefix in &self.prefixes {
            plain(prefix).map_err(|why| format!("prefixes: {prefix:?} {why}"))?;
            if prefix == "/" {
                return Err(
                    "prefixes: \"/\" would be every address; name one segment at least".to_owned(),
                );
            }
        }
        match (&self.strip_prefix, &self.rewrite) {
            (Some(_), Some(_)) => {
                Err("rewrite: it is rewrite or strip_prefix, not both".to_owned())
            }
            (Some(strip), None) => {
                plain(strip).map_err(|why| format!("strip_prefix: {strip:?} {why}"))?;
                let strays = |prefix: &&String| !is_below(prefix, strip);
                match self.prefixes.iter().find(strays) {
                    Some(prefix) => Err(format!(
                        "strip_prefix: {prefix:?} does not lie below {strip:?}"
                    )),
                    None => Ok(()),
                }
            }
            (None, Some(to)) => plain(to).map_err(|why| format!("rewrite: {to:?} {why}")),
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

/// A method that may be let through, by its name.
pub(super) fn method(name: &str) -> Option<Method> {
    METHODS.into_iter().find(|method| method.as_str() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(over: &str) -> Option<String> {
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
    fn every_mistake_names_its_key() {
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
            let line = mistake(over).unwrap_or_default();
            assert!(line.starts_with(&format!("{key}: ")), "{over}: {line:?}");
        }
    }

    #[test]
    fn what_is_right_passes() {
        for over in [
            "",
            "strip_prefix = \"/api\"",
            "rewrite = \"/\"",
            "content_types = [\"image/*\"]",
        ] {
            assert_eq!(mistake(over), None, "{over}");
        }
    }
}
