//! The main measurement: all processes are started once and warmed up. Then every gateway has a turn in every round.

use std::net::{Ipv4Addr, SocketAddr};

use crate::args::{Row, Settings};
use crate::report::Report;
use crate::server::Server;
use crate::system_under_test::{Results, SystemUnderTest};
use crate::tokens::Issuer;
use crate::upstreams::Upstreams;
use crate::web::{self, Variant};
use crate::{Result, core_latency};

/// The minimum number of uses of each token after its first verification.
const MIN_USES: usize = 50;
/// The number of requests of the warm-up.
const WARM_UP_REQUESTS: usize = 2_000;
/// The number of users of the warm-up. They are not used later.
const WARM_UP_USERS: usize = 50;

/// Runs all rounds and returns the report.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let issuer = Issuer::new()?;
    let jwks = issuer.jwks()?;
    let (_backends, ports) = Server::part("serve-backends", &["--jwks".to_owned(), jwks]).await?;
    let upstreams = Upstreams::at(&ports)?;

    let mut gateways = Vec::new();
    let mut report = Report::default();
    if settings.includes(Row::Floor) {
        let floor =
            start_baseline("(a) floor: hyper", "serve-floor", &settings, &upstreams).await?;
        gateways.push((floor, usize::try_from(settings.requests)?));
    }
    if settings.includes(Row::Plain) {
        let plain = start_baseline(
            "(b) plain: axum + reqwest",
            "serve-plain",
            &settings,
            &upstreams,
        )
        .await?;
        gateways.push((plain, usize::try_from(settings.requests)?));
    }
    if settings.includes(Row::Web) {
        let label = "(c) web product page";
        let (gateway, first_use) =
            start_gateway(label, &[], &issuer, &settings, &upstreams).await?;
        report.first_use = Some(first_use);
        gateways.push((gateway, requests_with_tokens(&settings)?));
    }
    if settings.includes(Row::Bare) {
        let label = "(d) web, policies off";
        let (gateway, _) =
            start_gateway(label, &web::POLICIES_OFF, &issuer, &settings, &upstreams).await?;
        gateways.push((gateway, requests_with_tokens(&settings)?));
    }

    for round in 0..usize::from(settings.rounds) {
        eprintln!("round {} of {}", round + 1, settings.rounds);
        // Each round starts with another gateway, so no gateway always follows the same one.
        let count = gateways.len().max(1);
        gateways.rotate_left(usize::from(round > 0) % count);
        report.core_latencies.push(core_latency::round_trip()?);
        for (gateway, requests) in &mut gateways {
            gateway.turn(*requests).await?;
        }
    }
    report.rows = gateways
        .into_iter()
        .map(|(gateway, _)| gateway.results)
        .collect();
    Ok(report.print(&settings))
}

/// Starts and warms up a baseline, which is part of this binary.
async fn start_baseline(
    label: &'static str,
    program: &str,
    settings: &Settings,
    upstreams: &Upstreams,
) -> Result<SystemUnderTest> {
    let (server, ports) = Server::part(program, &upstreams.to_args()).await?;
    let &[port] = &ports[..] else {
        return Err(format!("{program} announced {} ports", ports.len()).into());
    };
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let marker = r#""availability":{"productId":"p-1""#;
    let mut gateway = SystemUnderTest::new(label, server, to, settings.connections, marker);
    gateway.warm_up(WARM_UP_REQUESTS).await?;
    Ok(gateway)
}

/// Starts and warms up the web gateway. Also returns the results of the first use of each token.
async fn start_gateway(
    label: &'static str,
    env: &[(&'static str, &str)],
    issuer: &Issuer,
    settings: &Settings,
    upstreams: &Upstreams,
) -> Result<(SystemUnderTest, Results)> {
    eprintln!("signing {} tokens", settings.users);
    let warm_up_tokens = issuer.tokens(&users("warm", WARM_UP_USERS))?;
    let tokens = issuer.tokens(&users("user", settings.users.into()))?;

    let variant = Variant {
        env,
        program: settings.gateway.as_deref(),
        ..Variant::default()
    };
    let (server, to) = web::start_as(upstreams, variant).await?;
    let marker = r#""complete":true"#;
    let mut gateway = SystemUnderTest::new(label, server, to, settings.connections, marker);
    gateway.use_tokens(warm_up_tokens);
    gateway.warm_up(WARM_UP_REQUESTS).await?;

    let count = tokens.len();
    gateway.use_tokens(tokens);
    let first_use = gateway
        .separate_turn("(c) at first verification", count)
        .await?;
    Ok((gateway, first_use))
}

/// The number of requests to (c) in a round. Every token is used at least [`MIN_USES`] times in all rounds.
fn requests_with_tokens(settings: &Settings) -> Result<usize> {
    let uses = usize::from(settings.users) * MIN_USES;
    let requests = usize::try_from(settings.requests)?;
    Ok(requests.max(uses.div_ceil(settings.rounds.into())))
}

fn users(kind: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{kind}-{n:05}")).collect()
}
