//! Calls to backends, as a gateway sees them. The crate `bff-upstream` holds the rest.

pub use bff_upstream::outbound::{
    BaseUrl, Call, Config, Failure, Fetched, Freshness, GatewayHandles, Id, InvalidId, Provenance,
    Reason, Short, Upstream, backoff, balance, breaker, budget, bulkhead, deadline_filter,
    deserialize_id, hedge, latency, outcome, outlier_detection, retry, send, validate_id,
};
pub(crate) use bff_upstream::outbound::{
    ClientBodyError, ForwardRequest, ForwardResponse, InFlightGuard, InstanceClients, RequestBody,
    RetryPolicy, forward, read_response,
};
