//! (b): what one would write by hand: axum, reqwest, and bodies merged as `Value`s.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use crate::args::Upstreams;
use crate::{Result, subprocess};

struct Plain {
    client: reqwest::Client,
    upstreams: Upstreams,
}

/// Serves until the benchmark is gone.
pub(crate) async fn serve(upstreams: Upstreams) -> Result<()> {
    let listener = subprocess::bind().await?;
    subprocess::announce(&[&listener])?;
    // reqwest wants a provider even for plain HTTP; one installed before is as good.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    #[expect(
        clippy::disallowed_methods,
        reason = "a gateway without policy is what this row measures"
    )]
    let client = reqwest::Client::new();
    let app = Router::new()
        .route("/api/product-details/{id}", get(page))
        .with_state(Arc::new(Plain { client, upstreams }));
    tokio::select! {
        () = subprocess::orphaned() => Ok(()),
        end = async { axum::serve(listener, app).await } => Ok(end?),
    }
}

async fn page(
    State(plain): State<Arc<Plain>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let to = &plain.upstreams;
    let (product, reviews, availability) = tokio::try_join!(
        plain.get(format!("http://{}/products/{id}", to.product)),
        plain.get(format!(
            "http://{}/reviews?productId={id}&limit=10",
            to.review
        )),
        plain.get(format!(
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

impl Plain {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is what one writes without a policy"
    )]
    async fn get(&self, url: String) -> reqwest::Result<Value> {
        let response = self.client.get(url).send().await?.error_for_status()?;
        response.json().await
    }
}
