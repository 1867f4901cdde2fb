//! Limits as clients meet them: who is counted together, what is told, and that it comes true.

use std::time::Duration;

use services_mock::{Backend, Fault};

use crate::support::redis::Redis;
use crate::support::{JsonResponse, TestFleet};

const PAGE: &str = "/api/product-details/p-1";

async fn with(gateway: &'static str, config: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec![gateway.to_owned()];
        fleet.overlays.insert(gateway.to_owned(), config.to_owned());
    })
    .await
}

/// The web's screens, so many an hour.
async fn screens(algorithm: &str, limit: u32, period: &str, more: &str) -> TestFleet {
    let config = format!(
        "{more}\n[inbound.rate_limits.policies.screens]\nalgorithm = \"{algorithm}\"\nlimit = {limit}\nperiod = \"{period}\"\n"
    );
    with("web", &config).await
}

fn number(response: &JsonResponse, name: &str) -> u64 {
    response
        .header(name)
        .parse()
        .unwrap_or_else(|_| panic!("{name}: {:?}", response.headers))
}

fn is_refused(response: &JsonResponse) {
    assert_eq!(response.status, 429);
    assert_eq!(response.body["code"], "rate_limited");
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(number(response, "x-ratelimit-remaining"), 0);
    assert!(number(response, "retry-after") >= 1);
}

/// Both sides of the store, Redis where it is installed.
fn sides() -> Vec<(String, Option<Redis>)> {
    let mut sides = vec![(String::new(), None)];
    if let Some(redis) = Redis::start() {
        // The machine that runs tests is busy with other things too.
        sides.push((format!("{}timeout = \"2s\"\n", redis.config()), Some(redis)));
    }
    sides
}

#[tokio::test]
async fn what_the_headers_say_is_what_happens() {
    for (store, _redis) in sides() {
        for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
            let fleet = screens(algorithm, 5, "1h", &store).await;
            for left in (0..5).rev() {
                let response = fleet.get("web", PAGE).await;
                assert_eq!(response.status, 200, "{algorithm}");
                assert_eq!(number(&response, "x-ratelimit-limit"), 5);
                assert_eq!(
                    number(&response, "x-ratelimit-remaining"),
                    left,
                    "{algorithm}"
                );
                let reset = number(&response, "x-ratelimit-reset");
                assert_eq!(
                    response.header("ratelimit-policy"),
                    "\"screens\";q=5;w=3600"
                );
                assert_eq!(
                    response.header("ratelimit"),
                    format!("\"screens\";r={left};t={reset}")
                );
            }
            is_refused(&fleet.get("web", PAGE).await);
            // What is no screen is not counted.
            let health = fleet.get("web", "/health").await;
            assert_eq!(
                (health.status.as_u16(), health.header("ratelimit")),
                (200, "")
            );
        }
    }
}

#[tokio::test]
async fn who_comes_back_when_told_is_let_in() {
    for (store, _redis) in sides() {
        for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
            let fleet = screens(algorithm, 2, "2s", &store).await;
            let mut response = fleet.get("web", PAGE).await;
            for _ in 0..20 {
                if response.status == 429 {
                    break;
                }
                response = fleet.get("web", PAGE).await;
            }
            is_refused(&response);
            let after = Duration::from_secs(number(&response, "retry-after"));
            tokio::time::sleep(after).await;
            assert_eq!(fleet.get("web", PAGE).await.status, 200, "{algorithm}");
        }
    }
}

#[tokio::test]
async fn a_queue_lets_wait_and_then_refuses() {
    let config = "[inbound.rate_limits.policies.screens]\nalgorithm = \"leaky_bucket_queue\"\nlimit = 10\nperiod = \"5s\"\nburst = 2\n";
    let fleet = with("web", config).await;
    let begun = crate::support::instant();
    let four = futures_util::future::join_all((0..4).map(|_| fleet.get("web", PAGE))).await;
    let passed = four
        .iter()
        .filter(|response| response.status == 200)
        .count();
    let refused = four
        .iter()
        .filter(|response| response.status == 429)
        .count();
    assert_eq!((passed, refused), (3, 1));
    // The third left two turns after the first.
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn callers_are_counted_apart_and_addresses_are_for_the_rest() {
    for (store, _redis) in sides() {
        let fleet = screens("token_bucket", 2, "1h", &store).await;
        for user in ["u-1", "u-2"] {
            let bearer = fleet.bearer(user);
            let headers = [("authorization", bearer.as_str())];
            for _ in 0..2 {
                assert_eq!(fleet.get_with("web", PAGE, &headers).await.status, 200);
            }
            is_refused(&fleet.get_with("web", PAGE, &headers).await);
        }
        assert_eq!(fleet.get("web", PAGE).await.status, 200);
    }
}

#[tokio::test]
async fn the_strictest_of_several_answers() {
    let config = "[inbound.rate_limits.policies.proxied]\nlimit = 10\n\
                  [inbound.rate_limits.policies.payments]\nlimit = 2\n";
    let fleet = with("web", config).await;
    let bearer = fleet.bearer("u-1");
    let headers = [("authorization", bearer.as_str())];
    for left in [1, 0] {
        let response = fleet.get_with("web", "/api/payments/none", &headers).await;
        assert_ne!(response.status, 429);
        assert_eq!(number(&response, "x-ratelimit-remaining"), left);
        assert!(response.header("ratelimit").contains("\"proxied\";r="));
    }
    let refused = fleet.get_with("web", "/api/payments/none", &headers).await;
    is_refused(&refused);
    // The refused one took nothing from the other limit.
    assert!(
        refused.header("ratelimit").contains("\"proxied\";r=8;"),
        "{:?}",
        refused.headers
    );
    assert_ne!(
        fleet.get_with("web", "/api/orders", &headers).await.status,
        429
    );
}

#[tokio::test]
async fn a_refused_credential_costs_its_address_ten() {
    let fleet = with(
        "web",
        "[inbound.rate_limits.per_ip]\nlimit = 25\nperiod = \"1h\"\n",
    )
    .await;
    let bad = [("authorization", "Bearer not.a.token")];
    for _ in 0..2 {
        assert_eq!(fleet.get_with("web", PAGE, &bad).await.status, 401);
    }
    for _ in 0..5 {
        assert_eq!(fleet.get("web", PAGE).await.status, 200);
    }
    let refused = fleet.get("web", PAGE).await;
    is_refused(&refused);
    assert_eq!(
        refused.header("ratelimit-policy"),
        "\"address\";q=25;w=3600"
    );
}

#[tokio::test]
async fn a_partners_plan_is_its_limit() {
    let fleet = with("partner", "").await;
    let key = [("x-api-key", fleet::PARTNER_KEY)];
    let response = fleet.get_with("partner", "/v2/products/p-1", &key).await;
    assert_eq!(response.header("ratelimit-policy"), "\"plan\";q=600;w=60");
    assert_eq!(number(&response, "x-ratelimit-remaining"), 599);
}

#[tokio::test]
async fn addresses_are_let_in_or_not_and_a_trusted_proxy_says_which() {
    let config = "[inbound]\ndeny = [\"203.0.113.0/24\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let fleet = with("web", config).await;
    let from = async |address| {
        let headers = [("x-forwarded-for", address)];
        fleet.get_with("web", PAGE, &headers).await
    };
    assert_eq!(from("198.51.100.1").await.status, 200);
    let refused = from("198.51.100.1, 203.0.113.9").await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.body["code"], "forbidden");
    // What the client itself wrote is to the left.
    assert_eq!(from("203.0.113.9, 198.51.100.1").await.status, 200);
    let fleet = with("web", "[inbound]\nallow = [\"10.0.0.0/8\"]\n").await;
    assert_eq!(fleet.get("web", PAGE).await.status, 403);
}

#[tokio::test]
async fn of_two_replicas_on_one_redis_exactly_the_limit_passes() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let store = format!("{}timeout = \"5s\"\n", redis.config());
    for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
        // Each counts under a name of its own.
        let more = format!(
            "{store}[inbound.rate_limits.policies.{algorithm}]\nof = \"doors\"\nlimit = 100\nperiod = \"1h\"\nalgorithm = \"{algorithm}\"\n"
        );
        let (one, two) = (with("web", &more).await, with("web", &more).await);
        let asked = (0..260).map(|i| if i % 2 == 0 { &one } else { &two }.get("web", PAGE));
        let mut passed = 0;
        let mut waiting: Vec<_> = asked.collect();
        while !waiting.is_empty() {
            let some: Vec<_> = waiting.drain(..waiting.len().min(20)).collect();
            let responses = futures_util::future::join_all(some).await;
            assert!(responses.iter().all(|a| a.status == 200 || a.status == 429));
            passed += responses.iter().filter(|a| a.status == 200).count();
        }
        assert_eq!(passed, 100, "{algorithm}");
    }
}

/// Its backend fails: the limit shrinks, says so, and what it says is what happens; then it recovers by itself.
#[tokio::test]
async fn a_limit_that_follows_its_backend_tells_the_truth_all_the_way() {
    let window = Duration::from_millis(200);
    let config = "[inbound.rate_limits.policies.proxied]\nlimit = 16\nperiod = \"1h\"\nalgorithm = \"fixed_window\"\n\
                  adaptive = { window = \"200ms\", min_samples = 2, min_fraction = 0.5, recovery_step = 0.05 }\n";
    let fleet = with("web", config).await;
    let bearer = fleet.bearer("ada");
    let headers = [("authorization", bearer.as_str())];
    let ask = async || fleet.get_with("web", "/api/orders", &headers).await;
    let mocks = fleet.running.mocks();
    mocks.set_fault(Backend::Order, Fault::status(503)).unwrap();
    // At once, so that some of them fall into one window.
    for response in futures_util::future::join_all((0..6).map(|_| ask())).await {
        assert_eq!(number(&response, "x-ratelimit-limit"), 16);
    }
    tokio::time::sleep(window).await;
    let response = ask().await;
    assert_eq!(number(&response, "x-ratelimit-limit"), 8);
    assert_eq!(
        response.header("ratelimit-policy"),
        "\"proxied\";q=8;w=3600"
    );
    assert_eq!(number(&response, "x-ratelimit-remaining"), 1);
    assert_ne!(ask().await.status, 429);
    is_refused(&ask().await);
    mocks.clear_faults(None);
    // Nobody asks for a while.
    tokio::time::sleep(12 * window).await;
    let response = ask().await;
    assert_eq!(number(&response, "x-ratelimit-limit"), 16);
    assert_eq!(number(&response, "x-ratelimit-remaining"), 16 - 9);
    let left = number(&response, "x-ratelimit-remaining");
    for left in (0..left).rev() {
        let response = ask().await;
        assert_ne!(response.status, 429);
        assert_eq!(number(&response, "x-ratelimit-remaining"), left);
    }
    is_refused(&ask().await);
}

#[tokio::test]
async fn operators_see_decisions_by_policy() {
    let fleet = screens("token_bucket", 1, "1h", "").await;
    fleet.get("web", PAGE).await;
    fleet.get("web", PAGE).await;
    let url = format!("{}/metrics", fleet.running.admin_url("web"));
    let text = crate::support::send(fleet.http.get(url))
        .await
        .text()
        .await
        .unwrap();
    for outcome in ["allowed", "rejected"] {
        let found = text.lines().any(|line| {
            line.starts_with("bff_rate_limit_decisions_total")
                && line.contains("policy=\"screens\"")
                && line.contains(&format!("outcome=\"{outcome}\""))
                && line.ends_with(" 1")
        });
        assert!(found, "{outcome}: {text}");
    }
}

/// The contract names 429 and the headers where requests are counted, and nowhere else; pages of other origins may read
/// each of them.
#[tokio::test]
async fn the_contract_says_where_requests_are_counted_and_pages_may_read_it() {
    let config = "[inbound]\ncors_origins = [\"https://shop.example\"]\n\
                  [inbound.rate_limits.policies.screens]\npaths = [\"/api/home\"]\nlimit = 1\n";
    let fleet = with("web", config).await;
    let contract = fleet.get("web", "/openapi.json").await.body;
    let of = |path: &str| contract["paths"][path]["get"]["responses"].clone();
    let names = |headers: &serde_json::Value| -> Vec<String> {
        let headers = headers.as_object().into_iter().flatten();
        headers.map(|(name, _)| name.clone()).collect()
    };
    let counted = names(&of("/api/home")["200"]["headers"]);
    assert_eq!(counted.len(), 5);
    // Every address is counted, so 429 may come of each door; the headers of a quota come of one.
    assert!(of("/api/search")["200"]["headers"].is_null());
    // What is passed on is counted by a quota of its own.
    let orders = "/api/orders/{path}";
    assert_eq!(names(&of(orders)["2XX"]["headers"]), counted);
    for path in ["/api/home", "/api/search", orders] {
        let refused = &of(path)["429"]["$ref"];
        assert_eq!(refused, "#/components/responses/RateLimited");
    }
    let from = [("origin", "https://shop.example")];
    let passed = fleet.get_with("web", "/api/home", &from).await;
    let refused = fleet.get_with("web", "/api/home", &from).await;
    is_refused(&refused);
    let refusal = names(&contract["components"]["responses"]["RateLimited"]["headers"]);
    assert_eq!(refusal.len(), 6);
    for (response, told) in [(&passed, counted), (&refused, refusal)] {
        let exposed = response.header("access-control-expose-headers").split(',');
        let exposed: Vec<&str> = exposed.map(str::trim).collect();
        for name in told {
            let name = name.to_ascii_lowercase();
            assert_ne!(response.header(&name), "", "{name}");
            assert!(exposed.contains(&&*name), "{name}: {exposed:?}");
        }
    }
    let uncounted = fleet.get_with("web", "/api/search?q=a", &from).await;
    let told = ["ratelimit", "x-ratelimit-limit"].map(|name| uncounted.header(name));
    assert_eq!(told, ["", ""]);
}
