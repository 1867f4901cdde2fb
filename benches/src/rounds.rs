//! The contest: everything is started once, warmed, and then every gateway has its turn in every round.

use std::net::{Ipv4Addr, SocketAddr};

use crate::args::{Row, Settings, Upstreams};
use crate::report::Report;
use crate::server::Server;
use crate::system_under_test::{Results, SystemUnderTest};
use crate::tokens::Issuer;
use crate::web::{self, Variant};
use crate::{Result, core_latency};

/// How often each token is used after its first verification, at least.
const USES: usize = 50;
/// Requests before anything is counted.
const WARM: usize = 2_000;
/// Users of the warm-up, whom nobody meets again.
const WARM_USERS: usize = 50;

/// Runs all rounds; answers the report.
pub(crate) async fn run(settings: Settings) -> Result<String> {
    let issuer = Issuer::new()?;
    let jwks = issuer.jwks()?;
    let (_backends, ports) = Server::part("serve-backends", &["--jwks".to_owned(), jwks]).await?;
    let upstreams = Upstreams::at(&ports)?;

    let mut gateways = Vec::new();
    let mut report = Report::default();
    if settings.wants(Row::Floor) {
        let floor = own("(a) floor: hyper", "serve-floor", &settings, &upstreams).await?;
        gateways.push((floor, usize::try_from(settings.requests)?));
    }
    if settings.wants(Row::Plain) {
        let plain = own(
            "(b) plain: axum + reqwest",
            "serve-plain",
            &settings,
            &upstreams,
        )
        .await?;
        gateways.push((plain, usize::try_from(settings.requests)?));
    }
    if settings.wants(Row::Web) {
        let label = "(c) web product page";
        let (gateway, first) = ours(label, &[], &issuer, &settings, &upstreams).await?;
        report.first = Some(first);
        gateways.push((gateway, requests_with_tokens(&settings)?));
    }
    if settings.wants(Row::Bare) {
        let label = "(d) web, policies off";
        let (gateway, _) = ours(label, &web::BARE, &issuer, &settings, &upstreams).await?;
        gateways.push((gateway, requests_with_tokens(&settings)?));
    }

    for round in 0..usize::from(settings.rounds) {
        eprintln!("round {} of {}", round + 1, settings.rounds);
        // Another one begins each time, so that nobody always follows the same neighbour.
        let places = gateways.len().max(1);
        gateways.rotate_left(usize::from(round > 0) % places);
        report.apart.push(core_latency::round_trip()?);
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

/// A gateway that is a part of this binary, started and warm.
async fn own(
    label: &'static str,
    part: &str,
    settings: &Settings,
    upstreams: &Upstreams,
) -> Result<SystemUnderTest> {
    let (server, bound) = Server::part(part, &upstreams.to_args()).await?;
    let &[only] = &bound[..] else {
        return Err(format!("{part} announced {} ports", bound.len()).into());
    };
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, only));
    let proof = r#""availability":{"productId":"p-1""#;
    let mut gateway = SystemUnderTest::new(label, server, to, settings.connections, proof);
    gateway.warm(WARM).await?;
    Ok(gateway)
}

/// The web gateway, started and warm, and what it cost to see each token for the first time.
async fn ours(
    label: &'static str,
    more: &[(&'static str, &str)],
    issuer: &Issuer,
    settings: &Settings,
    upstreams: &Upstreams,
) -> Result<(SystemUnderTest, Results)> {
    eprintln!("signing {} tokens", settings.users);
    let warm = issuer.tokens(&users("warm", WARM_USERS))?;
    let tokens = issuer.tokens(&users("user", settings.users.into()))?;

    let variant = Variant {
        more,
        program: settings.gateway.as_deref(),
        ..Variant::default()
    };
    let (server, to) = web::start_as(upstreams, variant).await?;
    let proof = r#""complete":true"#;
    let mut gateway = SystemUnderTest::new(label, server, to, settings.connections, proof);
    gateway.carry(warm);
    gateway.warm(WARM).await?;

    let count = tokens.len();
    gateway.carry(tokens);
    let first = gateway.apart("(c) at first verification", count).await?;
    Ok((gateway, first))
}

/// Requests to (c) in a round: enough for every token to be used [`USES`] times in all rounds.
fn requests_with_tokens(settings: &Settings) -> Result<usize> {
    let uses = usize::from(settings.users) * USES;
    let asked = usize::try_from(settings.requests)?;
    Ok(asked.max(uses.div_ceil(settings.rounds.into())))
}

fn users(kind: &str, count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{kind}-{n:05}")).collect()
}
