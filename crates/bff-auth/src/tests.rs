//! Tests with real tokens and generated keys, an in-memory issuer, and a paused clock.

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;
use bff_config::Secret;
use bff_context::context::{Deadline, Env, RequestContextParts, RequestId, Trace, Urgency};
use bff_context::error::Code;
use bff_context::scope::{Identity, Language, Region};
use bff_runtime::net::Net;

use issuer::{Issuer, Signer};

mod issuer;
mod rejections;
mod rotation;
mod settings;

/// Generating an RSA key is slow, so all tests share one.
static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
static EC: LazyLock<Signer> = LazyLock::new(|| Signer::ec("ec"));

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn shared(net: Net) -> Arc<GatewayHandles> {
    install_crypto();
    Arc::new(GatewayHandles::in_process("test", Env::seeded(7, net)))
}

fn config() -> Config {
    // One attempt per fetch, so that the tests can count fetches. The tests of `bff-upstream` cover retries.
    let mut issuer = bff_upstream::Config::at("http://issuer".parse().unwrap());
    issuer.retry.max_attempts = std::num::NonZeroU32::MIN;
    Config {
        issuer: Some("https://issuer.example".into()),
        audience: Some("gateway".into()),
        jwks: Some(issuer),
        jwks_path: "/oidc/jwks".into(),
        ..Config::default()
    }
}

/// An issuer and the authenticator of a gateway that accepts its tokens.
struct TestGateway {
    issuer: Arc<Issuer>,
    auth: Authenticator,
    shared: Arc<GatewayHandles>,
}

impl TestGateway {
    fn new() -> Self {
        Self::with(&config())
    }

    fn with(config: &Config) -> Self {
        let (issuer, pipes) = Issuer::start(&[&RSA, &EC]);
        let shared = shared(Net::InMemory(pipes));
        let auth = Authenticator::new(config, &shared).unwrap();
        Self {
            issuer,
            auth,
            shared,
        }
    }

    fn now(&self) -> u64 {
        self.shared.env.unix_seconds()
    }

    /// Valid claims for an hour, with the changes in `edit`.
    fn claims(&self, edit: Value) -> Value {
        let mut claims = json!({
            "iss": "https://issuer.example", "aud": "gateway", "sub": "ada",
            "iat": self.now(), "exp": self.now() + 3600,
        });
        for (name, value) in edit.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    async fn send(&self, name: &'static str, value: &str) -> Result<Option<Caller>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        self.authenticate(&headers).await
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Caller>, Error> {
        let deadline = Instant::now() + seconds(5);
        self.auth.authenticate(headers, deadline).await
    }

    async fn bearer(&self, token: &str) -> Result<Caller, Error> {
        let caller = self.send("authorization", &format!("Bearer {token}")).await;
        caller.map(Option::unwrap)
    }

    /// Lets spawned tasks run without advancing the clock.
    async fn run_tasks(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

fn error_code(result: Result<Caller, Error>) -> Code {
    result.unwrap_err().code()
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_returns_its_caller_with_one_fetch_of_keys() {
    let gateway = TestGateway::new();
    let claims = gateway.claims(json!({"roles": ["ADMIN"], "region": "DE", "scope": "a b"}));
    for signer in [&RSA, &EC] {
        let token = signer.sign(&claims);
        for _ in 0..3 {
            let caller = gateway.bearer(&token).await.unwrap();
            assert_eq!(bff_context::trusted::account(&caller), "ada");
            assert_eq!(caller.region().unwrap().as_str(), "DE");
            assert!(caller.has_role("ADMIN") && caller.has_scope("b"));
        }
    }
    assert_eq!(gateway.issuer.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_key_hides_no_other_key() {
    let gateway = TestGateway::new();
    let mut invalid = EC.jwk();
    invalid["x5t"] = "SURROGATE".into();
    let keys = vec![invalid, json!(7), json!({"kty": []}), RSA.jwk()];
    gateway.issuer.publish_keys(keys);
    let token = RSA.sign(&gateway.claims(json!({})));
    assert!(gateway.bearer(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_credential_is_anonymous() {
    let gateway = TestGateway::new();
    let caller = gateway.authenticate(&HeaderMap::new()).await.unwrap();
    assert!(caller.is_none());
    assert_eq!(gateway.issuer.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_api_key_returns_its_account() {
    let key = ApiKey {
        hash: Secret::new(api_key::hash("s3cret")),
        account: "acme".into(),
        plan: None,
        scopes: Vec::new(),
        disabled: false,
    };
    let mut config = config();
    config.api_keys.insert("demo".into(), key);
    let gateway = TestGateway::with(&config);
    let caller = gateway.send("x-api-key", "bffp_demo_s3cret").await.unwrap();
    assert_eq!(bff_context::trusted::account(&caller.unwrap()), "acme");
    let mut texts = Vec::new();
    for wrong in ["bffp_demo_wrong", "bffp_other_s3cret", "bffp_demo", ""] {
        let error = gateway.send("x-api-key", wrong).await.unwrap_err();
        assert_eq!(error.code(), codes::UNAUTHENTICATED, "{wrong}");
        assert!(!error.cause().unwrap().contains("s3cret"));
        texts.push(error.detail().to_owned());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "all texts are the same: {texts:?}");
    assert_eq!(gateway.issuer.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn credentials_of_a_disabled_kind_are_rejected() {
    let gateway = TestGateway::with(&Config::default());
    for (name, value) in [("authorization", "Bearer a.b.c"), ("x-api-key", "bffp_a_b")] {
        let error = gateway.send(name, value).await.unwrap_err();
        assert_eq!(error.code(), codes::UNAUTHENTICATED);
        assert!(error.cause().unwrap().ends_with("are disabled here"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_required_role_is_checked() {
    let shared = shared(Net::Tcp);
    let context = |roles: Option<&str>| {
        let caller = roles.map(|roles| {
            let (account, roles) = ("ada".to_owned(), vec![roles.to_owned()]);
            Caller::new(Identity {
                account,
                roles,
                ..Identity::default()
            })
            .unwrap()
        });
        RequestContext::open(RequestContextParts {
            client: shared.client.clone(),
            public_url: Arc::from(""),
            uri: http::Uri::default(),
            shutdown: tokio_util::sync::CancellationToken::new(),
            request_id: RequestId::generate(&shared.env),
            trace: Trace::begin(&shared.env),
            deadline: Deadline::Total(Instant::now()),
            urgency: Urgency::LOWEST,
            language: Language::UNDETERMINED,
            region: Region::NONE,
            caller,
        })
    };
    let status = |context: &RequestContext| {
        require_role(context, "ADMIN")
            .map(|_| ())
            .map_err(|e| e.status())
    };
    assert_eq!(status(&context(None)), Err(StatusCode::UNAUTHORIZED));
    assert_eq!(status(&context(Some("admin"))), Err(StatusCode::FORBIDDEN));
    assert_eq!(status(&context(Some("ADMIN"))), Ok(()));
}
