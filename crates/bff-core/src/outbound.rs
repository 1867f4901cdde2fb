//! The part of `bff-upstream` that gateways use: calls to backends, and their results.

pub use bff_context::context::{
    Failure, Fetched, Freshness, Id, InvalidId, Provenance, Reason, Short, deserialize_id,
    validate_id,
};
pub use bff_upstream::endpoints::balance;
pub use bff_upstream::policies::{
    backoff, breaker, budget, bulkhead, deadline_filter, hedge, latency, outcome,
    outlier_detection, retry,
};
pub use bff_upstream::{
    BaseUrl, Call, Config, GatewayHandles, Upstream, omit_failed, omit_undecodable,
    omit_undecodable_or_null,
};
pub(crate) use bff_upstream::{
    ClientBodyError, ForwardRequest, ForwardResponse, InFlightGuard, InstanceClients, RequestBody,
    RetryPolicy, forward, read_response,
};
