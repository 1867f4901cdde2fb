//! Tests of all gateways, most of them through real sockets: one binary, one module per topic.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod cache;
mod chaos;
mod checkout;
mod contracts;
mod credentials;
mod defaults;
mod discovery;
mod docs;
mod drain;
mod edge;
mod fault_matrix;
mod faults;
mod graphql;
mod grpc;
mod http1;
mod isolation;
mod limits;
mod mobile;
mod names;
mod not_found;
mod overload;
mod partner;
mod pgo_workload;
mod playback_stream;
mod policies;
mod routes;
mod screens;
mod sim_fleet;
mod simulate;
mod slow;
mod store;
mod support;
mod tidy;
mod tv;
mod undecodable;
mod validation_errors;
mod vary;
mod web;
mod write_timeout;
mod writes;
