//! Rate limits as clients see them: what is counted together, and what the response headers report.

use std::time::Duration;

use services_mock::{Backend, Fault};
use tokio::time::Instant;

use crate::sim_fleet::SimFleet;
use crate::support::{JsonResponse, TestFleet};
use test_servers::RedisServer;

const PAGE: &str = "/api/product-details/p-1";

async fn start_with(gateway: &'static str, config: &str) -> TestFleet {
    TestFleet::start_with(|fleet| {
        fleet.only = vec![gateway.to_owned()];
        fleet.overlays.insert(gateway.to_owned(), config.to_owned());
    })
    .await
}

/// Starts web with a limit for its screens.
async fn start_with_screen_policy(
    algorithm: &str,
    limit: u32,
    period: &str,
    more: &str,
) -> TestFleet {
    let config = format!(
        "{more}\n[inbound.rate_limits.policies.screens]\nalgorithm = \"{algorithm}\"\nlimit = {limit}\nperiod = \"{period}\"\n"
    );
    start_with("web", &config).await
}

fn number(response: &JsonResponse, name: &str) -> u64 {
    response
        .header(name)
        .parse()
        .unwrap_or_else(|_| panic!("{name}: {:?}", response.headers))
}

fn assert_rejected(response: &JsonResponse) {
    assert_eq!(response.status, 429);
    assert_eq!(response.body["code"], "rate_limited");
    assert_eq!(response.header("content-type"), "application/problem+json");
    assert_eq!(number(response, "x-ratelimit-remaining"), 0);
    assert!(number(response, "retry-after") >= 1);
}

/// The in-process store, and Redis where it is installed.
fn store_configs() -> Vec<(String, Option<RedisServer>)> {
    let mut configs = vec![(String::new(), None)];
    if let Some(redis) = RedisServer::start() {
        // Long enough on a busy machine.
        configs.push((
            format!("{}timeout = \"10s\"\n", redis.config()),
            Some(redis),
        ));
    }
    configs
}

#[tokio::test]
async fn the_headers_predict_the_decisions() {
    for (store, _redis) in store_configs() {
        for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
            let fleet = start_with_screen_policy(algorithm, 5, "1h", &store).await;
            for remaining in (0..5).rev() {
                let response = fleet.get("web", PAGE).await;
                assert_eq!(response.status, 200, "{algorithm}");
                assert_eq!(number(&response, "x-ratelimit-limit"), 5);
                assert_eq!(
                    number(&response, "x-ratelimit-remaining"),
                    remaining,
                    "{algorithm}"
                );
                let reset = number(&response, "x-ratelimit-reset");
                assert_eq!(
                    response.header("ratelimit-policy"),
                    "\"screens\";q=5;w=3600"
                );
                assert_eq!(
                    response.header("ratelimit"),
                    format!("\"screens\";r={remaining};t={reset}")
                );
            }
            assert_rejected(&fleet.get("web", PAGE).await);
            // Only screens are counted.
            let health = fleet.get("web", "/health").await;
            assert_eq!(
                (health.status.as_u16(), health.header("ratelimit")),
                (200, "")
            );
        }
    }
}

#[tokio::test]
async fn a_request_after_retry_after_is_allowed() {
    for (store, _redis) in store_configs() {
        let each = ["fixed_window", "sliding_window", "token_bucket"].map(async |algorithm| {
            let fleet = start_with_screen_policy(algorithm, 2, "2s", &store).await;
            let mut response = fleet.get("web", PAGE).await;
            for _ in 0..20 {
                if response.status == 429 {
                    break;
                }
                response = fleet.get("web", PAGE).await;
            }
            assert_rejected(&response);
            let after = Duration::from_secs(number(&response, "retry-after"));
            tokio::time::sleep(after).await;
            assert_eq!(fleet.get("web", PAGE).await.status, 200, "{algorithm}");
        });
        // All wait at the same time.
        futures_util::future::join_all(each).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_delays_requests_and_then_rejects_them() {
    let config = "[inbound.rate_limits.policies.screens]\nalgorithm = \"leaky_bucket_queue\"\nlimit = 10\nperiod = \"5s\"\nburst = 2\n";
    let fleet = SimFleet::start_web(config);
    let started = Instant::now();
    let responses = futures_util::future::join_all((0..4).map(|_| fleet.get("web", PAGE))).await;
    let allowed = responses
        .iter()
        .filter(|response| response.status == 200)
        .count();
    let rejected = responses
        .iter()
        .filter(|response| response.status == 429)
        .count();
    assert_eq!((allowed, rejected), (3, 1));
    // The third request waits two intervals of 500 ms.
    let elapsed = started.elapsed();
    assert!((1000..1010).contains(&elapsed.as_millis()), "{elapsed:?}");
}

#[tokio::test]
async fn callers_are_counted_separately_and_anonymous_ones_by_ip() {
    for (store, _redis) in store_configs() {
        let fleet = start_with_screen_policy("token_bucket", 2, "1h", &store).await;
        for user in ["u-1", "u-2"] {
            let bearer = fleet.bearer(user);
            let headers = [("authorization", bearer.as_str())];
            for _ in 0..2 {
                assert_eq!(fleet.get_with("web", PAGE, &headers).await.status, 200);
            }
            assert_rejected(&fleet.get_with("web", PAGE, &headers).await);
        }
        assert_eq!(fleet.get("web", PAGE).await.status, 200);
    }
}

#[tokio::test]
async fn the_strictest_policy_decides() {
    let config = "[inbound.rate_limits.policies.proxied]\nlimit = 10\n\
                  [inbound.rate_limits.policies.payments]\nlimit = 2\n";
    let fleet = start_with("web", config).await;
    let bearer = fleet.bearer("u-1");
    let headers = [("authorization", bearer.as_str())];
    for remaining in [1, 0] {
        let response = fleet.get_with("web", "/api/payments/none", &headers).await;
        assert_ne!(response.status, 429);
        assert_eq!(number(&response, "x-ratelimit-remaining"), remaining);
        assert!(response.header("ratelimit").contains("\"proxied\";r="));
    }
    let rejected = fleet.get_with("web", "/api/payments/none", &headers).await;
    assert_rejected(&rejected);
    // The rejected request used nothing of the other limit.
    assert!(
        rejected.header("ratelimit").contains("\"proxied\";r=8;"),
        "{:?}",
        rejected.headers
    );
    assert_ne!(
        fleet.get_with("web", "/api/orders", &headers).await.status,
        429
    );
}

#[tokio::test]
async fn a_rejected_credential_costs_ten_requests_of_its_ip() {
    let fleet = start_with(
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
    let rejected = fleet.get("web", PAGE).await;
    assert_rejected(&rejected);
    assert_eq!(
        rejected.header("ratelimit-policy"),
        "\"per_ip\";q=25;w=3600"
    );
}

#[tokio::test]
async fn a_partners_plan_sets_its_limit() {
    let fleet = start_with("partner", "").await;
    let key = [("x-api-key", fleet::PARTNER_KEY)];
    let response = fleet.get_with("partner", "/v2/products/p-1", &key).await;
    assert_eq!(response.header("ratelimit-policy"), "\"plan\";q=600;w=60");
    assert_eq!(number(&response, "x-ratelimit-remaining"), 599);
}

#[tokio::test]
async fn ip_filters_use_the_address_from_a_trusted_proxy() {
    let config = "[inbound]\ndeny = [\"203.0.113.0/24\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let fleet = start_with("web", config).await;
    let origin = async |address| {
        let headers = [("x-forwarded-for", address)];
        fleet.get_with("web", PAGE, &headers).await
    };
    assert_eq!(origin("198.51.100.1").await.status, 200);
    let rejected = origin("198.51.100.1, 203.0.113.9").await;
    assert_eq!(rejected.status, 403);
    assert_eq!(rejected.body["code"], "forbidden");
    // The client wrote the left address itself, so it does not count.
    assert_eq!(origin("203.0.113.9, 198.51.100.1").await.status, 200);
    let fleet = start_with("web", "[inbound]\nallow = [\"10.0.0.0/8\"]\n").await;
    assert_eq!(fleet.get("web", PAGE).await.status, 403);
}

#[tokio::test]
async fn two_replicas_share_one_exact_limit() {
    const LIMIT: usize = 40;
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let store = format!("{}timeout = \"5s\"\n", redis.config());
    for algorithm in ["fixed_window", "sliding_window", "token_bucket"] {
        // Each algorithm has its own policy name, and so its own counters.
        let more = format!(
            "{store}[inbound]\ndeadline = \"60s\"\nmax_deadline = \"60s\"\n\
             [upstream_defaults]\nattempt_timeout = \"30s\"\n\
             [inbound.rate_limits.policies.{algorithm}]\napplies_to = \"endpoints\"\nlimit = {LIMIT}\nperiod = \"1h\"\nalgorithm = \"{algorithm}\"\n"
        );
        let (one, two) = (
            start_with("web", &more).await,
            start_with("web", &more).await,
        );
        let requests =
            (0..2 * LIMIT + 20).map(|i| if i % 2 == 0 { &one } else { &two }.get("web", PAGE));
        let mut allowed = 0;
        let mut waiting: Vec<_> = requests.collect();
        while !waiting.is_empty() {
            let batch: Vec<_> = waiting.drain(..waiting.len().min(20)).collect();
            let responses = futures_util::future::join_all(batch).await;
            for response in &responses {
                let status = response.status.as_u16();
                assert!([200, 429].contains(&status), "{status}: {}", response.body);
            }
            allowed += responses.iter().filter(|a| a.status == 200).count();
        }
        assert_eq!(allowed, LIMIT, "{algorithm}");
    }
}

/// While its backend fails the limit shrinks, and its headers stay correct. Afterwards it recovers by itself.
#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_reports_its_changes() {
    let window = Duration::from_millis(200);
    let config = "[inbound.rate_limits.policies.proxied]\nlimit = 16\nperiod = \"1h\"\nalgorithm = \"fixed_window\"\n\
                  adaptive = { window = \"200ms\", min_samples = 2, min_fraction = 0.5, recovery_step = 0.05 }\n";
    let fleet = SimFleet::start_web(config);
    let mocks = &fleet.mocks;
    let bearer = format!("Bearer {}", mocks.token_for("ada").unwrap());
    let headers = [("authorization", bearer.as_str())];
    let send = async || fleet.get_with("web", "/api/orders", &headers).await;
    mocks.set_fault(Backend::Order, Fault::status(503)).unwrap();
    // All within one window.
    for response in futures_util::future::join_all((0..6).map(|_| send())).await {
        assert_eq!(number(&response, "x-ratelimit-limit"), 16);
    }
    tokio::time::sleep(window).await;
    let response = send().await;
    assert_eq!(number(&response, "x-ratelimit-limit"), 8);
    assert_eq!(
        response.header("ratelimit-policy"),
        "\"proxied\";q=8;w=3600"
    );
    assert_eq!(number(&response, "x-ratelimit-remaining"), 1);
    assert_ne!(send().await.status, 429);
    assert_rejected(&send().await);
    mocks.clear_faults(None);
    // A time without requests.
    tokio::time::sleep(12 * window).await;
    let response = send().await;
    assert_eq!(number(&response, "x-ratelimit-limit"), 16);
    assert_eq!(number(&response, "x-ratelimit-remaining"), 16 - 9);
    let remaining = number(&response, "x-ratelimit-remaining");
    for remaining in (0..remaining).rev() {
        let response = send().await;
        assert_ne!(response.status, 429);
        assert_eq!(number(&response, "x-ratelimit-remaining"), remaining);
    }
    assert_rejected(&send().await);
}

#[tokio::test]
async fn metrics_count_decisions_by_policy() {
    let fleet = start_with_screen_policy("token_bucket", 1, "1h", "").await;
    fleet.get("web", PAGE).await;
    fleet.get("web", PAGE).await;
    let url = format!("{}/metrics", fleet.running.admin_url("web"));
    let text = crate::support::send(fleet.http.get(url))
        .await
        .text()
        .await
        .unwrap();
    for outcome in ["allowed", "rejected"] {
        let counted = text.lines().any(|line| {
            line.starts_with("bff_rate_limit_decisions_total")
                && line.contains("policy=\"screens\"")
                && line.contains(&format!("outcome=\"{outcome}\""))
                && line.ends_with(" 1")
        });
        assert!(counted, "{outcome}: {text}");
    }
}

/// The contract describes 429 and the headers exactly where requests are counted. CORS exposes each header.
#[tokio::test]
async fn the_contract_describes_rate_limits_and_cors_exposes_their_headers() {
    let config = "[inbound]\ncors_origins = [\"https://shop.example\"]\n\
                  [inbound.rate_limits.policies.screens]\npaths = [\"/api/home\"]\nlimit = 1\n";
    let fleet = start_with("web", config).await;
    let contract = fleet.get("web", "/openapi.json").await.body;
    let responses = |path: &str| contract["paths"][path]["get"]["responses"].clone();
    let names = |headers: &serde_json::Value| -> Vec<String> {
        let headers = headers.as_object().into_iter().flatten();
        headers.map(|(name, _)| name.clone()).collect()
    };
    let allowed_headers = names(&responses("/api/home")["200"]["headers"]);
    assert_eq!(allowed_headers.len(), 5);
    // Every IP address has a limit, so any operation may return 429. Only a policy adds headers.
    assert!(responses("/api/search")["200"]["headers"].is_null());
    // Proxied requests have their own policy.
    let orders = "/api/orders/{path}";
    assert_eq!(names(&responses(orders)["2XX"]["headers"]), allowed_headers);
    for path in ["/api/home", "/api/search", orders] {
        let rejected = &responses(path)["429"]["$ref"];
        assert_eq!(rejected, "#/components/responses/RateLimited");
    }
    let origin = [("origin", "https://shop.example")];
    let allowed = fleet.get_with("web", "/api/home", &origin).await;
    let rejected = fleet.get_with("web", "/api/home", &origin).await;
    assert_rejected(&rejected);
    let rejected_headers = names(&contract["components"]["responses"]["RateLimited"]["headers"]);
    assert_eq!(rejected_headers.len(), 6);
    for (response, expected) in [(&allowed, allowed_headers), (&rejected, rejected_headers)] {
        let exposed = response.header("access-control-expose-headers").split(',');
        let exposed: Vec<&str> = exposed.map(str::trim).collect();
        for name in expected {
            let name = name.to_ascii_lowercase();
            assert_ne!(response.header(&name), "", "{name}");
            assert!(exposed.contains(&&*name), "{name}: {exposed:?}");
        }
    }
    let unlimited = fleet.get_with("web", "/api/search?q=a", &origin).await;
    let expected = ["ratelimit", "x-ratelimit-limit"].map(|name| unlimited.header(name));
    assert_eq!(expected, ["", ""]);
}
