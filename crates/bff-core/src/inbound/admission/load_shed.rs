//! Load shedding: under overload, some requests are rejected before any work is done, so that the others stay fast.
//!
//! A request takes a slot, or is rejected at once with 503 `overloaded` and `Retry-After`. Nothing waits for a slot: a
//! queue would delay every request, and under lasting overload it would reject as many. The limit is found by
//! measurement ([`concurrency_limit`]). Under overload it includes the short waits that keep the backends busy. The
//! fraction of it that a request may fill depends on its class ([`PriorityClass`], [`ClassLimits`]).
//!
//! The class is known from the request's headers. Two later facts cause a second check against the same slots. After
//! authentication it is the caller's plan (`AdmissionTicket::recheck_plan`). After the body is parsed it is a read
//! among possible writes (`AdmissionTicket::recheck_as_read`). Both come before any call to a backend.
//!
//! A slot is held until the body is fully sent. Streaming responses release it after the headers, because an idle
//! subscriber causes no load. They hold a slot of a second kind, of fixed number, until they end. If the client streams
//! its body too, the time to the response's headers depends on the client, so it is not measured. `/health` and other
//! pages that are not endpoints take no slot.
//!
//! A latency is measured without the wait for a rate limit. It is relative to the time that the route has: if a route
//! has five times the gateway's deadline, its latency counts as a fifth.

pub use class_limits::ClassLimits;
pub use config::Config;
pub use intent::PriorityClass;
pub(crate) use shedder::LoadShedder;
pub(in crate::inbound) use slots::Slot;
pub(in crate::inbound) use ticket::Admission;
pub(crate) use ticket::AdmissionTicket;

mod class_limits;
pub mod concurrency_limit;
mod config;
mod intent;
mod shedder;
mod slots;
mod ticket;
