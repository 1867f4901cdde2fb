//! What production refuses to start with: all of it, in one list.
//!
//! A gateway in development takes any of these, which is what development is for.

use http::Uri;

use super::Settings;
use crate::auth::api_key;
use crate::config::{Error, Sources};

/// The first setting, in the order below, that is fine on one's own machine and nowhere else.
pub(super) fn check(settings: &Settings<'_>, sources: &Sources<'_>) -> Result<(), Error> {
    if !settings.mode.is_production() {
        return Ok(());
    }
    match refused(settings) {
        None => Ok(()),
        Some((key, why)) => Err(sources.invalid(&key, &format!("refused in production: {why}"))),
    }
}

/// A dotted key, and why it is refused.
fn refused(settings: &Settings<'_>) -> Option<(String, &'static str)> {
    let (server, auth, inbound) = (settings.server, settings.auth, settings.inbound);
    for (id, key) in auth.api_keys.iter().filter(|(_, key)| !key.disabled) {
        if api_key::is_demo(id, key) {
            let why = "this is the demo key, and everyone knows its secret";
            return Some((format!("auth.api_keys.{id}"), why));
        }
    }
    let found = |key: &str, why| Some((key.to_owned(), why));
    // RFC 8414 §2 asks for https of both the issuer and its keys: who can stand in for the issuer signs in as anyone.
    if auth.issuer.as_deref().is_some_and(|url| !is_private(url)) {
        return found(
            "auth.issuer",
            "an issuer that is not on this machine is https",
        );
    }
    if auth
        .jwks
        .as_ref()
        .is_some_and(|keys| !is_private(&keys.url.to_string()))
    {
        return found(
            "auth.jwks.url",
            "keys that do not come from this machine come over https",
        );
    }
    if !is_private(&server.public_url) {
        return found(
            "server.public_url",
            "how the world reaches this gateway is https",
        );
    }
    if inbound.cors_credentials && !inbound.cors_origins.iter().all(|origin| is_private(origin)) {
        let why = "a page that sends cookies has an exact https origin, or anyone on its network could be that page";
        return found("inbound.cors_origins", why);
    }
    if let Some(token) = &server.admin_token
        && token.expose().len() < 16
    {
        return found(
            "server.admin_token",
            "one of fewer than 16 bytes is guessed",
        );
    }
    if settings.store.url.is_some() && settings.store.encryption_keys.is_empty() {
        let why = "what leaves this process for Redis is sealed, and there is no store.encryption_keys to do it with";
        return found("store.url", why);
    }
    if !server.admin_listen.ip().is_loopback() && !server.admin_allow_remote {
        let why = "the admin port shows metrics and configuration to whoever reaches it; \
                   set server.admin_beyond_loopback where only operators can";
        return found("server.admin_listen", why);
    }
    None
}

/// Whether nobody between here and there can read or change what is sent: https, or it never leaves this machine.
fn is_private(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let scheme = url.scheme_str().unwrap_or_default();
    scheme.eq_ignore_ascii_case("https")
        || scheme.eq_ignore_ascii_case("http") && url.host().is_some_and(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    address.map_or_else(
        // RFC 6761 §6.3: the name, and every name below it.
        |_| {
            host.eq_ignore_ascii_case("localhost")
                || host.to_ascii_lowercase().ends_with(".localhost")
        },
        |address| address.is_loopback(),
    )
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::{Mode, load};
    use crate::server::GatewayConfig;
    use crate::{auth, cache, inbound, routes, server, store, telemetry::logs};

    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        mode: Mode,
        server: server::Config,
        inbound: inbound::Config,
        auth: auth::Config,
        #[serde(default)]
        telemetry: logs::Config,
        #[serde(default)]
        routes: routes::Configs,
        #[serde(default)]
        cache: cache::Config,
        #[serde(default)]
        store: store::Config,
    }

    impl GatewayConfig for Config {
        fn settings(&self) -> Settings<'_> {
            Settings {
                mode: self.mode,
                server: &self.server,
                inbound: &self.inbound,
                auth: &self.auth,
                telemetry: &self.telemetry,
                routes: &self.routes,
                cache: &self.cache,
                store: &self.store,
            }
        }
    }

    const DEFAULTS: &str = r#"
        mode = "production"
        [server]
        listen = "127.0.0.1:8080"
        admin_listen = "127.0.0.1:9080"
        public_url = "http://localhost:8080"
        [inbound]
        [auth]
        issuer = "http://127.0.0.1:3000"
        audience = "bff"
        jwks.url = "http://127.0.0.1:3000"
    "#;

    /// The line that refuses these variables, or nothing.
    fn refused(mode: &str, variables: &[(&str, &str)]) -> Option<String> {
        let all = [&[("MODE", mode)], variables].concat();
        let env = all
            .iter()
            .map(|(name, text)| (format!("X_{name}"), (*text).to_owned()));
        let sources = Sources {
            prefix: "X",
            defaults: DEFAULTS,
            env: env.collect(),
            ..Sources::default()
        };
        let config: Config = load(&sources).unwrap();
        check(&config.settings(), &sources)
            .err()
            .map(|error| error.to_string())
    }

    /// Refused in production by a line that begins like this, taken in development.
    fn only_in_development(variables: &[(&str, &str)], line: &str) {
        let said = refused("production", variables).unwrap_or_default();
        assert!(
            said.starts_with(&format!("{line}: refused in production: ")),
            "{said}"
        );
        assert_eq!(refused("development", variables), None);
    }

    fn taken(variables: &[(&str, &str)]) {
        assert_eq!(refused("production", variables), None, "{variables:?}");
    }

    #[test]
    fn what_is_compiled_in_stays_on_this_machine_and_is_taken() {
        taken(&[]);
    }

    #[test]
    fn demo_keys_are_known_by_their_id_and_by_their_secret() {
        let line = |id: &str, secret: &str, more: &str| {
            let hash = api_key::hash(secret);
            let overlay = format!("[auth.api_keys.{id}]\nhash = '{hash}'\naccount = 'a'\n{more}");
            let sources = Sources {
                prefix: "X",
                defaults: DEFAULTS,
                overlay: Some(&overlay),
                ..Sources::default()
            };
            let config: Config = load(&sources).unwrap();
            let line = check(&config.settings(), &sources).err()?.to_string();
            assert!(!line.contains(&hash), "{line}");
            Some(line)
        };
        for (id, secret) in [
            ("demo", "6f1d0e"),
            ("demo-2", "6f1d0e"),
            ("acme", api_key::DEMO_SECRET),
        ] {
            let said = line(id, secret, "").unwrap_or_default();
            let begins = format!("auth.api_keys.{id} in the overlay: refused in production: ");
            assert!(said.starts_with(&begins), "{said}");
        }
        assert_eq!(line("demo", "6f1d0e", "disabled = true"), None);
        assert_eq!(line("demolition", "6f1d0e", ""), None);
    }

    #[test]
    fn what_others_could_change_on_its_way_is_https() {
        for (name, key) in [
            ("AUTH__ISSUER", "auth.issuer"),
            ("AUTH__JWKS__URL", "auth.jwks.url"),
            ("SERVER__PUBLIC_URL", "server.public_url"),
        ] {
            let line = format!("{key} in variable X_{name}");
            for bad in [
                "http://shop.example",
                "http://127.0.0.1.example",
                "http://10.0.0.7:3000",
            ] {
                only_in_development(&[(name, bad)], &line);
            }
            for good in [
                "https://shop.example/x",
                "http://[::1]:3000",
                "http://LOCALHOST",
                "http://a.localhost:1",
            ] {
                taken(&[(name, good)]);
            }
        }
        for odd in ["shop.example", "http://localhost@shop.example", ""] {
            let line = "server.public_url in variable X_SERVER__PUBLIC_URL";
            only_in_development(&[("SERVER__PUBLIC_URL", odd)], line);
        }
    }

    #[test]
    fn cookies_go_to_https_pages_only() {
        let line = "inbound.cors_origins in variable X_INBOUND__CORS_ORIGINS";
        let origins = |list| {
            [
                ("INBOUND__CORS_CREDENTIALS", "true"),
                ("INBOUND__CORS_ORIGINS", list),
            ]
        };
        only_in_development(&origins("https://a.example,http://b.example"), line);
        only_in_development(&origins("*"), line);
        taken(&origins("https://a.example,http://localhost:5173"));
        taken(&[("INBOUND__CORS_ORIGINS", "http://b.example")]);
    }

    #[test]
    fn an_admin_token_cannot_be_guessed() {
        let line = "server.admin_token in variable X_SERVER__ADMIN_TOKEN";
        only_in_development(&[("SERVER__ADMIN_TOKEN", "fifteen-letters")], line);
        taken(&[("SERVER__ADMIN_TOKEN", "sixteen-letters!")]);
    }

    #[test]
    fn redis_goes_with_a_key_to_seal_with() {
        let line = "store.url in variable X_STORE__URL";
        let url = ("STORE__URL", "redis://127.0.0.1:6379");
        only_in_development(&[url], line);
        taken(&[url, ("STORE__ENCRYPTION_KEYS", "c2VjcmV0")]);
    }

    #[test]
    fn operators_from_elsewhere_are_let_in_by_name() {
        let line = "server.admin_listen in variable X_SERVER__ADMIN_LISTEN";
        for everyone in ["0.0.0.0:9080", "[::]:9080", "192.0.2.1:9080"] {
            let listen = ("SERVER__ADMIN_LISTEN", everyone);
            only_in_development(&[listen], line);
            taken(&[listen, ("SERVER__ADMIN_ALLOW_REMOTE", "true")]);
        }
        taken(&[
            ("SERVER__ADMIN_LISTEN", "[::1]:9080"),
            ("SERVER__LISTEN", "0.0.0.0:80"),
        ]);
    }
}
