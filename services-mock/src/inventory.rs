//! The inventory backend (3006): offers and stock in each region. Public: strong `ETag`, fresh for 10 s, 304.
//!
//! - `GET /availability/{productId}?region=DE` → `{"productId","region","stock":n|null,
//!   "offers":[{"kind":"buy|rent|stream","price":Money|null,"quality":"hd|uhd"}],"availableUntil":null|time}`
//! - `GET /availability?ids=p-1,p-2&region=DE` → `{"items":[...],"notFound":[...]}`; at most 100 ids
//!
//! Regions: DE, AT, CH, FR, GB, US; a missing or unknown region is 400, an unknown product 404. `stock` is the number of
//! discs, or null if discs are not sold. A region without a licence has no offers. Prices are in the region's currency;
//! `stream` is part of a subscription and has no price.

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::catalogue::{CATALOGUE, CatalogueEntry, Money};
use crate::clock::Time;
use crate::paging;
use crate::response::{HandlerResult, Problem, Query, public};
use crate::seeded_rng::SeededRng;

const MAX_AGE_S: u32 = 10;
/// Independent of the mocks' seed: licences are always the same.
const RNG: SeededRng = SeededRng(0x0011_ce75);
const REGIONS: [(&str, &str); 6] = [
    ("DE", "EUR"),
    ("AT", "EUR"),
    ("CH", "CHF"),
    ("FR", "EUR"),
    ("GB", "GBP"),
    ("US", "USD"),
];

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/availability", get(batch))
        .route("/availability/{productId}", get(show))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Availability<'a> {
    product_id: &'a str,
    region: &'static str,
    stock: Option<u64>,
    offers: Vec<Offer>,
    available_until: Option<Time>,
}

#[derive(Serialize)]
struct Offer {
    kind: &'static str,
    price: Option<Money>,
    quality: &'static str,
}

#[derive(Deserialize)]
struct RegionQuery {
    region: Option<String>,
    ids: Option<String>,
}

impl RegionQuery {
    fn region(&self) -> Result<(&'static str, &'static str), Problem> {
        let name = self.region.as_deref().unwrap_or_default();
        let found = REGIONS.into_iter().find(|(region, _)| *region == name);
        found.ok_or_else(|| Problem::bad_request(format!("unknown region `{name}`")))
    }
}

async fn show(
    Path(id): Path<String>,
    Query(query): Query<RegionQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    let region = query.region()?;
    let entry = CATALOGUE
        .by_id(&id)
        .ok_or_else(|| Problem::not_found("product", &id))?;
    Ok(public(&headers, MAX_AGE_S, &availability(entry, region)))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    items: Vec<Availability<'a>>,
    not_found: Vec<&'a str>,
}

async fn batch(Query(query): Query<RegionQuery>, headers: HeaderMap) -> HandlerResult {
    let region = query.region()?;
    let mut body = Batch {
        items: Vec::new(),
        not_found: Vec::new(),
    };
    for id in paging::ids(query.ids.as_deref().unwrap_or_default())? {
        match CATALOGUE.by_id(id) {
            Some(entry) => body.items.push(availability(entry, region)),
            None => body.not_found.push(id),
        }
    }
    Ok(public(&headers, MAX_AGE_S, &body))
}

/// `p-1` has a licence everywhere. One in ten of the other products has no licence in a region.
fn availability<'a>(
    entry: &'a CatalogueEntry,
    (region, currency): (&'static str, &'static str),
) -> Availability<'a> {
    let n = entry.number as u64;
    let draw = |name: &str, bound| RNG.below(&format!("{region} {name}"), n, bound);
    let first = n == 1;
    let licensed = first || draw("licence", 10) > 0;
    let price = entry.product.price.amount;
    let quality = if first || draw("quality", 3) > 0 {
        "uhd"
    } else {
        "hd"
    };
    let mut offers = Vec::new();
    if licensed {
        offers.push(Offer {
            kind: "buy",
            price: Some(Money::new(price, currency)),
            quality,
        });
        if first || draw("rent", 3) > 0 {
            offers.push(Offer {
                kind: "rent",
                price: Some(Money::new(price / 3, currency)),
                quality: "hd",
            });
        }
        if first || draw("stream", 2) > 0 {
            offers.push(Offer {
                kind: "stream",
                price: None,
                quality,
            });
        }
    }
    let disc = licensed && draw("disc", 4) > 0;
    let left_days = draw("until", 400) + 300;
    Availability {
        product_id: &entry.product.id,
        region,
        stock: if first {
            Some(42)
        } else {
            disc.then(|| draw("stock", 30))
        },
        offers,
        available_until: (licensed && !first && draw("ends", 5) == 0)
            .then(|| Time::after_june(left_days)),
    }
}
