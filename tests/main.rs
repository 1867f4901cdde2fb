//! What the whole promises, checked through real sockets: one binary, one module per concern.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod absences;
mod cache;
mod chaos;
mod checkout;
mod contracts;
mod credentials;
mod defaults;
mod discovery;
mod drain;
mod edge;
mod faults;
mod graphql;
mod grpc;
mod isolation;
mod limits;
mod mistakes;
mod mobile;
mod names;
mod overload;
mod partner;
mod playing;
mod policies;
mod routes;
mod screens;
mod simulate;
mod slow;
mod stalls;
mod store;
mod subsets;
mod support;
mod tidy;
mod town;
mod training;
mod tv;
mod web;
mod writes;
