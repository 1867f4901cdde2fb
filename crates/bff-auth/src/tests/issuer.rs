//! An issuer on the in-memory network, with generated keys.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};

use bff_runtime::net::{Connection, InMemoryNetwork, Listener};

/// A private key and its id.
pub(super) struct Signer {
    kid: &'static str,
    key: PrivateKey,
}

enum PrivateKey {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(super) fn rsa(kid: &'static str) -> Self {
        let key = PrivateKey::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap());
        Self { kid, key }
    }

    pub(super) fn ec(kid: &'static str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = PrivateKey::Ec(key);
        Self { kid, key }
    }

    fn alg(&self) -> &'static str {
        match self.key {
            PrivateKey::Rsa(_) => "RS256",
            PrivateKey::Ec(_) => "ES256",
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            PrivateKey::Rsa(key) => {
                let numbers = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": encode(numbers.n), "e": encode(numbers.e)})
            }
            PrivateKey::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": self.alg(), "typ": "at+jwt", "kid": self.kid});
        self.sign_as(&header, claims)
    }

    pub(super) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let (message, random) = (signed.as_bytes(), SystemRandom::new());
        let signature = match &self.key {
            PrivateKey::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            PrivateKey::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", encode(signature))
    }
}

/// The behavior of the issuer.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Behavior {
    Normal,
    Failing,
    Slow,
}

/// The issuer's server.
pub(super) struct Issuer {
    keys: Mutex<Value>,
    behavior: Mutex<Behavior>,
    calls: Mutex<usize>,
}

/// The response time of a slow issuer.
pub(super) const SLOW_DELAY: Duration = Duration::from_millis(500);

impl Issuer {
    /// Listens on `issuer:80`.
    pub(super) fn start(signers: &[&Signer]) -> (Arc<Self>, Arc<InMemoryNetwork>) {
        let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let issuer = Arc::new(Self {
            keys: Mutex::new(Value::Null),
            behavior: Mutex::new(Behavior::Normal),
            calls: Mutex::new(0),
        });
        issuer.publish(signers);
        tokio::spawn(serve(pipes.listen("issuer:80"), issuer.clone()));
        (issuer, pipes)
    }

    pub(super) fn publish(&self, signers: &[&Signer]) {
        self.publish_keys(signers.iter().map(|s| s.jwk()).collect());
    }

    /// Publishes keys. A text `SURROGATE` in them is sent as a lone surrogate.
    pub(super) fn publish_keys(&self, keys: Vec<Value>) {
        *self.keys.lock() = json!({ "keys": keys });
    }

    pub(super) fn set_behavior(&self, behavior: Behavior) {
        *self.behavior.lock() = behavior;
    }

    pub(super) fn calls(&self) -> usize {
        *self.calls.lock()
    }

    async fn respond(&self, path: &str) -> Response<Full<Bytes>> {
        *self.calls.lock() += 1;
        let behavior = *self.behavior.lock();
        if behavior == Behavior::Slow {
            tokio::time::sleep(SLOW_DELAY).await;
        }
        let body = self.keys.lock().to_string();
        let body = body.replace("SURROGATE", "\\ud83d");
        let mut response = Response::new(Full::from(body));
        if behavior == Behavior::Failing || path != "/oidc/jwks" {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    }
}

async fn serve(mut listener: Listener, issuer: Arc<Issuer>) {
    while let Some(io) = listener.next().await {
        let issuer = issuer.clone();
        let service = hyper::service::service_fn(move |request: http::Request<_>| {
            let issuer = issuer.clone();
            let _: &hyper::body::Incoming = request.body();
            async move { Ok::<_, Infallible>(issuer.respond(request.uri().path()).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
        tokio::spawn(connection);
    }
}
