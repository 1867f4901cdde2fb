//! The production checks: all settings with which a gateway does not start in production.
//!
//! Development accepts all of them.

use http::Uri;

use crate::auth::api_key;
use crate::config::{Error, Sources};
use crate::server::Settings;

/// Reports the first setting that production does not allow, in the order below.
pub(super) fn check(settings: &Settings<'_>, sources: &Sources<'_>) -> Result<(), Error> {
    if !settings.mode.is_production() {
        return Ok(());
    }
    match find_violation(settings) {
        None => Ok(()),
        Some((key, reason)) => {
            Err(sources.invalid(&key, &format!("refused in production: {reason}")))
        }
    }
}

/// The dotted key of a setting that production does not allow, and the reason.
fn find_violation(settings: &Settings<'_>) -> Option<(String, &'static str)> {
    let (server, auth, inbound) = (settings.server, settings.auth, settings.inbound);
    for (id, key) in auth.api_keys.iter().filter(|(_, key)| !key.disabled) {
        if api_key::is_demo(id, key) {
            let reason = "this is the demo key, and its secret is public";
            return Some((format!("auth.api_keys.{id}"), reason));
        }
    }
    let violation = |key: &str, reason| Some((key.to_owned(), reason));
    // RFC 8414 §2 requires https for the issuer and its keys: a forged issuer could sign in as any user.
    if auth.issuer.as_deref().is_some_and(|url| !is_protected(url)) {
        return violation("auth.issuer", "an issuer on another machine must use https");
    }
    if auth
        .jwks
        .as_ref()
        .is_some_and(|keys| !is_protected(&keys.url.to_string()))
    {
        return violation("auth.jwks.url", "a JWKS on another machine must use https");
    }
    if !is_protected(&server.public_url) {
        return violation("server.public_url", "the public URL must use https");
    }
    if inbound.cors_credentials
        && !inbound
            .cors_origins
            .iter()
            .all(|origin| is_protected(origin))
    {
        let reason = "with cors_credentials each origin must be an exact https origin, \
                      because an attacker on the network can forge a page without https";
        return violation("inbound.cors_origins", reason);
    }
    if let Some(token) = &server.admin_token
        && token.expose().len() < 16
    {
        return violation(
            "server.admin_token",
            "it needs at least 16 bytes, because shorter tokens can be guessed",
        );
    }
    if settings.store.url.is_some() && settings.store.encryption_keys.is_empty() {
        let reason = "records in Redis must be encrypted, and store.encryption_keys is not set";
        return violation("store.url", reason);
    }
    if !server.admin_listen.ip().is_loopback() && !server.admin_allow_remote {
        let reason = "the admin port shows metrics and configuration without a sign-in; \
                      set server.admin_allow_remote if only operators can reach it";
        return violation("server.admin_listen", reason);
    }
    None
}

/// Whether requests to the URL are protected on the network: it uses https, or its host is this machine.
fn is_protected(url: &str) -> bool {
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
        // RFC 6761 §6.3: the name and all its subdomains.
        |_| {
            host.eq_ignore_ascii_case("localhost")
                || host.to_ascii_lowercase().ends_with(".localhost")
        },
        |address| address.is_loopback(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::gateway::{GatewayConfig, GatewayState, NoConfig};
    use crate::server::GatewayBuilder;

    /// The state of a gateway without backends.
    struct NoUpstreams;

    impl GatewayState for NoUpstreams {
        type Config = NoConfig;
        type Screens = NoConfig;

        fn open(_: &GatewayBuilder<'_>, _: &NoConfig, _: &NoConfig) -> Result<Self, String> {
            Ok(Self)
        }
    }

    type Config = GatewayConfig<NoUpstreams>;

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
        [upstreams]
    "#;

    /// The error line of the check with these variables, if it fails.
    fn check_error(mode: &str, variables: &[(&str, &str)]) -> Option<String> {
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

    /// Production fails with an error line that starts with `line`. Development accepts the variables.
    fn assert_only_in_development(variables: &[(&str, &str)], line: &str) {
        let error = check_error("production", variables).unwrap_or_default();
        assert!(
            error.starts_with(&format!("{line}: refused in production: ")),
            "{error}"
        );
        assert_eq!(check_error("development", variables), None);
    }

    fn assert_accepted(variables: &[(&str, &str)]) {
        assert_eq!(check_error("production", variables), None, "{variables:?}");
    }

    #[test]
    fn the_built_in_configuration_is_accepted() {
        assert_accepted(&[]);
    }

    #[test]
    fn demo_keys_are_recognized_by_id_and_by_secret() {
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
            let error = line(id, secret, "").unwrap_or_default();
            let expected = format!("auth.api_keys.{id} in the overlay: refused in production: ");
            assert!(error.starts_with(&expected), "{error}");
        }
        assert_eq!(line("demo", "6f1d0e", "disabled = true"), None);
        assert_eq!(line("demolition", "6f1d0e", ""), None);
    }

    #[test]
    fn urls_on_other_machines_must_use_https() {
        for (name, key) in [
            ("AUTH__ISSUER", "auth.issuer"),
            ("AUTH__JWKS__URL", "auth.jwks.url"),
            ("SERVER__PUBLIC_URL", "server.public_url"),
        ] {
            let line = format!("{key} in variable X_{name}");
            for url in [
                "http://shop.example",
                "http://127.0.0.1.example",
                "http://10.0.0.7:3000",
            ] {
                assert_only_in_development(&[(name, url)], &line);
            }
            for url in [
                "https://shop.example/x",
                "http://[::1]:3000",
                "http://LOCALHOST",
                "http://a.localhost:1",
            ] {
                assert_accepted(&[(name, url)]);
            }
        }
        for invalid in ["shop.example", "http://localhost@shop.example", ""] {
            let line = "server.public_url in variable X_SERVER__PUBLIC_URL";
            assert_only_in_development(&[("SERVER__PUBLIC_URL", invalid)], line);
        }
    }

    #[test]
    fn cors_with_credentials_needs_https_origins() {
        let line = "inbound.cors_origins in variable X_INBOUND__CORS_ORIGINS";
        let origins = |list| {
            [
                ("INBOUND__CORS_CREDENTIALS", "true"),
                ("INBOUND__CORS_ORIGINS", list),
            ]
        };
        assert_only_in_development(&origins("https://a.example,http://b.example"), line);
        assert_only_in_development(&origins("*"), line);
        assert_accepted(&origins("https://a.example,http://localhost:5173"));
        assert_accepted(&[("INBOUND__CORS_ORIGINS", "http://b.example")]);
    }

    #[test]
    fn an_admin_token_needs_16_bytes() {
        let line = "server.admin_token in variable X_SERVER__ADMIN_TOKEN";
        assert_only_in_development(&[("SERVER__ADMIN_TOKEN", "fifteen-letters")], line);
        assert_accepted(&[("SERVER__ADMIN_TOKEN", "sixteen-letters!")]);
    }

    #[test]
    fn redis_needs_an_encryption_key() {
        let line = "store.url in variable X_STORE__URL";
        let url = ("STORE__URL", "redis://127.0.0.1:6379");
        assert_only_in_development(&[url], line);
        assert_accepted(&[url, ("STORE__ENCRYPTION_KEYS", "c2VjcmV0")]);
    }

    #[test]
    fn a_remote_admin_port_needs_an_explicit_setting() {
        let line = "server.admin_listen in variable X_SERVER__ADMIN_LISTEN";
        for address in ["0.0.0.0:9080", "[::]:9080", "192.0.2.1:9080"] {
            let listen = ("SERVER__ADMIN_LISTEN", address);
            assert_only_in_development(&[listen], line);
            assert_accepted(&[listen, ("SERVER__ADMIN_ALLOW_REMOTE", "true")]);
        }
        assert_accepted(&[
            ("SERVER__ADMIN_LISTEN", "[::1]:9080"),
            ("SERVER__LISTEN", "0.0.0.0:80"),
        ]);
    }
}
