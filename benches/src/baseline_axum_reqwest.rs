//! (b): a hand-written gateway with axum and reqwest. It parses the bodies to `Value`s and merges them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use crate::upstreams::Upstreams;
use crate::{Result, subprocess};

struct Gateway {
    client: reqwest::Client,
    upstreams: Upstreams,
}

/// Serves until the benchmark ends.
pub(crate) async fn serve(upstreams: Upstreams) -> Result<()> {
    let listener = subprocess::bind().await?;
    subprocess::announce(&[&listener])?;
    // reqwest requires a crypto provider even for plain HTTP. An error means that one is already installed.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    #[expect(
        clippy::disallowed_methods,
        reason = "this row measures a gateway without policies"
    )]
    let client = reqwest::Client::new();
    let app = Router::new()
        .route("/api/product-details/{id}", get(page))
        .with_state(Arc::new(Gateway { client, upstreams }));
    tokio::select! {
        () = subprocess::parent_ended() => Ok(()),
        end = async { axum::serve(listener, app).await } => Ok(end?),
    }
}

async fn page(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let to = &gateway.upstreams;
    let (product, reviews, availability) = tokio::try_join!(
        gateway.get(format!("http://{}/products/{id}", to.product)),
        gateway.get(format!(
            "http://{}/reviews?productId={id}&limit=10",
            to.review
        )),
        gateway.get(format!(
            "http://{}/availability/{id}?region=DE",
            to.inventory
        )),
    )
    .map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(json!({
        "product": product,
        "reviews": reviews,
        "availability": availability,
    })))
}

impl Gateway {
    #[expect(
        clippy::disallowed_methods,
        reason = "this row measures a gateway without policies"
    )]
    async fn get(&self, url: String) -> reqwest::Result<Value> {
        let response = self.client.get(url).send().await?.error_for_status()?;
        response.json().await
    }
}
