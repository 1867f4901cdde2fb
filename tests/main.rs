//! What the whole promises, checked through real sockets: one binary, one module per concern.

mod contracts;
mod edge;
mod graphql;
mod isolation;
mod provenance;
mod support;
mod tidy;
