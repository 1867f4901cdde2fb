//! The problem documents of an operation, as one shared response for each status.

use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Components, Ref, RefOr, Response};

use super::operations::problem_document;
use super::rate_limits::{RATE_LIMIT_HEADERS, RETRY_AFTER, add_header_refs};
use crate::action::IDEMPOTENCY_KEY;
use crate::error::{Code, codes};

/// The statuses that the edge and the backends can cause for every operation.
const ALWAYS: [u16; 10] = [400, 403, 404, 406, 422, 431, 500, 502, 503, 504];
/// The statuses of an operation that reads a credential.
const WITH_CREDENTIAL: [u16; 1] = [401];
/// The statuses of an operation with a body.
const WITH_BODY: [u16; 3] = [408, 413, 415];
/// The codes of an operation with an `Idempotency-Key`.
const WITH_KEY: [Code; 2] = [codes::IN_PROGRESS, codes::KEY_REUSED];
/// The statuses that send `Retry-After`.
const RETRYABLE: [u16; 2] = [409, 503];

/// The error codes and response headers of a gateway.
#[derive(Clone, Copy)]
pub(super) struct Problems {
    /// The gateway's own codes, which its writes return.
    pub(super) domain_codes: &'static [Code],
    /// Whether callers can authenticate.
    pub(super) has_credentials: bool,
    /// Whether the gateway has rate limits, whose headers are on every response.
    pub(super) has_rate_limits: bool,
}

impl Problems {
    /// Adds the problem documents that this operation can return. A response that its author described stays.
    pub(super) fn add_to(self, operation: &mut Operation, components: &mut Components) {
        let mut statuses = ALWAYS.to_vec();
        if self.has_credentials {
            statuses.extend(WITH_CREDENTIAL);
        }
        if operation.request_body.is_some() {
            statuses.extend(WITH_BODY);
        }
        let has_key = has_key(operation);
        if has_key {
            let own = WITH_KEY.iter().chain(self.domain_codes);
            statuses.extend(own.map(|code| code.status().as_u16()));
        }
        for status in statuses {
            let codes = self.codes(status, has_key);
            if codes.is_empty() {
                continue;
            }
            let is_write = codes.iter().any(|code| self.is_of_write(*code));
            let name = format!("{}Problem{status}", if is_write { "Write" } else { "" });
            let response = Ref::from_response_name(&name);
            let responses = &mut operation.responses.responses;
            responses
                .entry(status.to_string())
                .or_insert(RefOr::Ref(response));
            let shared = components.responses.entry(name);
            shared.or_insert_with(|| RefOr::T(self.response(status, &codes)));
        }
        let other = components.responses.entry("Problem".to_owned());
        other.or_insert_with(|| RefOr::T(self.response(0, &[])));
        let other = Ref::from_response_name("Problem");
        (operation.responses.responses).insert("default".into(), RefOr::Ref(other));
    }

    /// The codes with this status.
    fn codes(self, status: u16, has_key: bool) -> Vec<Code> {
        let all = codes::ALL.iter().chain(self.domain_codes).copied();
        let own = all.filter(|code| has_key || !self.is_of_write(*code));
        own.filter(|code| code.status().as_u16() == status)
            .collect()
    }

    fn is_of_write(self, code: Code) -> bool {
        WITH_KEY.contains(&code) || self.domain_codes.contains(&code)
    }

    fn response(self, status: u16, codes: &[Code]) -> Response {
        let names: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
        let description = match &names[..] {
            [] => "A problem document (RFC 9457). Its `code` identifies the error.".to_owned(),
            [name] => format!("A problem document (RFC 9457) with the `code` {name}."),
            names => format!(
                "A problem document (RFC 9457). Its `code` is one of {}.",
                names.join(", ")
            ),
        };
        let mut response = problem_document(description);
        if self.has_rate_limits {
            add_header_refs(&mut response, &RATE_LIMIT_HEADERS);
        }
        if RETRYABLE.contains(&status) {
            add_header_refs(&mut response, &[RETRY_AFTER]);
        }
        response
    }
}

/// Whether an operation requires an `Idempotency-Key`.
fn has_key(operation: &Operation) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|parameter| match parameter {
        RefOr::T(parameter) => {
            parameter.parameter_in == ParameterIn::Header
                && parameter.name.eq_ignore_ascii_case(IDEMPOTENCY_KEY)
        }
        RefOr::Ref(_) => false,
    })
}
