//! An issuer on an in-memory pipe, with keys made here.

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

/// A private key and its name.
pub(super) struct Signer {
    kid: &'static str,
    key: Private,
}

enum Private {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(super) fn rsa(kid: &'static str) -> Self {
        let key = Private::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap());
        Self { kid, key }
    }

    pub(super) fn ec(kid: &'static str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = Private::Ec(key);
        Self { kid, key }
    }

    fn alg(&self) -> &'static str {
        match self.key {
            Private::Rsa(_) => "RS256",
            Private::Ec(_) => "ES256",
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Private::Rsa(key) => {
                let numbers = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({"kty": "RSA", "n": encode(numbers.n), "e": encode(numbers.e)})
            }
            Private::Ec(key) => {
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
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Private::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        };
        format!("{signed}.{}", encode(signature))
    }
}

/// How the issuer answers.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Mood {
    Well,
    Fails,
    Slow,
}

/// The issuer's server.
pub(super) struct Issuer {
    keys: Mutex<Value>,
    mood: Mutex<Mood>,
    calls: Mutex<usize>,
}

/// How long a slow issuer takes.
pub(super) const SLOW: Duration = Duration::from_millis(500);

impl Issuer {
    /// Listens on `issuer:80`.
    pub(super) fn start(signers: &[&Signer]) -> (Arc<Self>, Arc<InMemoryNetwork>) {
        let pipes = InMemoryNetwork::new(|_, _, pipe| Ok(Connection::InMemory(Box::new(pipe))));
        let issuer = Arc::new(Self {
            keys: Mutex::new(Value::Null),
            mood: Mutex::new(Mood::Well),
            calls: Mutex::new(0),
        });
        issuer.publish(signers);
        tokio::spawn(serve(pipes.listen("issuer:80"), issuer.clone()));
        (issuer, pipes)
    }

    pub(super) fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|s| s.jwk()).collect();
        *self.keys.lock() = json!({ "keys": keys });
    }

    pub(super) fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    pub(super) fn calls(&self) -> usize {
        *self.calls.lock()
    }

    async fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        *self.calls.lock() += 1;
        let mood = *self.mood.lock();
        if mood == Mood::Slow {
            tokio::time::sleep(SLOW).await;
        }
        let body = self.keys.lock().to_string();
        let mut response = Response::new(Full::from(body));
        if mood == Mood::Fails || path != "/oidc/jwks" {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        response
    }
}

async fn serve(mut listener: Listener, issuer: Arc<Issuer>) {
    while let Some(wire) = listener.next().await {
        let issuer = issuer.clone();
        let service = hyper::service::service_fn(move |request: http::Request<_>| {
            let issuer = issuer.clone();
            let _: &hyper::body::Incoming = request.body();
            async move { Ok::<_, Infallible>(issuer.answer(request.uri().path()).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(wire), service);
        tokio::spawn(connection);
    }
}
