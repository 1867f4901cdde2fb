//! The scope of a call. Its type decides which callers may share the response.
//!
//! A call is [`Public`], of a [`Segment`], or of one [`Caller`]. It can use only the data that its scope holds. A
//! caller cannot be read as text, so an identity can only go into a call of that caller. Each program below that must
//! not compile is beside one that differs in one token and compiles.
//!
//! A public call cannot have the caller in its path:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller) {
//! Call::get(Public, "/people/{caller}/friends").caller_id();
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller) {
//! Call::get(caller, "/people/{caller}/friends").caller_id();
//! # }
//! ```
//!
//! A public call cannot depend on the region:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Public, Segment};
//! # fn f(segment: Segment) {
//! Call::get(Public, "/offers").region("region");
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Public, Segment};
//! # fn f(segment: Segment) {
//! Call::get(segment, "/offers").region("region");
//! # }
//! ```
//!
//! A caller is not text and cannot become a query parameter:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").query("for", caller);
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").query("for", number);
//! # }
//! ```
//!
//! A response of one caller cannot become public:
//! ```compile_fail
//! # use bff_core::{Caller, Fetched, Public};
//! # fn f(private: Fetched<u8, Caller>) {
//! let shared: Fetched<u8, Public> = private;
//! # }
//! ```
//! ```
//! # use bff_core::{Caller, Fetched, Public};
//! # fn f(private: Fetched<u8, Caller>) {
//! let shared: Fetched<u8, Caller> = private;
//! # }
//! ```
//!
//! A response of one caller cannot be cached like a shared one, nor served stale:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").ttl(Duration::from_secs(60));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").ttl(Duration::from_secs(60));
//! # }
//! ```
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").stale_if_error(Duration::from_secs(60));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").stale_if_error(Duration::from_secs(60));
//! # }
//! ```
//!
//! A public response cannot be cached as one caller's:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(Public, "/offers").private_ttl(Duration::from_secs(5));
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # use std::time::Duration;
//! # fn f(caller: Caller) {
//! Call::get(caller, "/offers").private_ttl(Duration::from_secs(5));
//! # }
//! ```
//!
//! A cache tag cannot name a caller:
//! ```compile_fail
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").cache_tag(caller);
//! # }
//! ```
//! ```
//! # use bff_core::{outbound::Call, Caller, Public};
//! # fn f(caller: Caller, number: u8) {
//! Call::get(Public, "/offers").cache_tag(number);
//! # }
//! ```
//!
//! A gateway cannot create a response of a scope itself:
//! ```compile_fail
//! # use bff_core::{Fetched, Public};
//! # fn f(own: Fetched<u8, Public>) {
//! let forged = Fetched::<u8, Public>::new(own.value, own.provenance);
//! # }
//! ```
//! ```
//! # use bff_core::{Fetched, Public};
//! # fn f(own: Fetched<u8, Public>) {
//! let parts = (own.value, own.provenance);
//! # }
//! ```
//!
//! It cannot read the account of a caller, nor the headers that identify the caller to a backend:
//! ```compile_fail
//! # use bff_core::Caller;
//! # fn f(caller: Caller) {
//! let text = caller.account();
//! # }
//! ```
//! ```
//! # use bff_core::Caller;
//! # fn f(caller: Caller) {
//! let text = caller.region();
//! # }
//! ```
//! ```compile_fail
//! # use bff_core::{Caller, scope::Scope};
//! # fn f(caller: Caller, mut headers: http::HeaderMap) {
//! caller.identify(&mut headers);
//! # }
//! ```
//! ```
//! # use bff_core::{Caller, scope::Scope};
//! # fn f(caller: Caller, mut headers: http::HeaderMap) {
//! caller.visibility();
//! # }
//! ```

pub use bff_context::scope::*;
