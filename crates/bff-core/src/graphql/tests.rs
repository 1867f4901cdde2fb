//! Tests of the endpoint over HTTP, with a small schema of a shelf with books.
#![expect(clippy::unused_async, reason = "async-graphql needs async resolvers")]

use std::time::Duration;

use async_graphql::{EmptySubscription, Schema};
use axum::body::Body;
use http::{Request, header};
use serde_json::{Value, json};

use super::{Config, routes};
use crate::config::Mode;
use crate::error::codes;
use endpoint::{TestEndpoint, TestResponse};
use shelf::{BOOK, Mutation, NOTES, Query, WRITES};

mod documents;
mod endpoint;
mod execution;
mod inputs;
mod limits;
mod sample;
mod shelf;
mod transport;

#[test]
fn the_sdl_is_the_same_on_every_run() {
    let schema = || Schema::build(Query, Mutation, EmptySubscription);
    let sdl = |mode| {
        routes(schema(), &Config::default(), mode)
            .unwrap()
            .sdl
            .unwrap()()
    };
    let text = sdl(Mode::Production);
    assert_eq!(text, sdl(Mode::Development));
    assert!(text.contains("marginNotes: Book") && !text.contains("_service"));
}
