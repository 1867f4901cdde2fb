//! The access log: one line per request.

use std::time::Duration;

/// The logged status if the client disconnected. This status is never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Whether the request had a signed-in caller. The log does not contain the identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthState {
    /// An anonymous request.
    #[default]
    Anonymous,
    /// A request with a caller.
    SignedIn,
}

impl AuthState {
    /// The value in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::SignedIn => "signed_in",
        }
    }
}

/// The fields of one log line, without the timestamp.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLogRecord<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The request's path. The log line has no query, because clients put secrets there.
    pub path: &'a str,
    /// The route's template; empty if no route matched.
    pub route: &'a str,
    /// The response's status.
    pub status: u16,
    /// The time from the request's headers to the last byte of the response.
    pub duration: Duration,
    /// The request id, which the client gets too.
    pub request_id: &'a str,
    /// The trace id, 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// The gateway's client class.
    pub client: &'a str,
    /// The client's application: the header `X-App`.
    pub app: Option<&'a str>,
    /// Whether the request had a signed-in caller.
    pub caller: AuthState,
    /// The bytes of the response's body that were passed to the connection.
    pub bytes_out: u64,
    /// The number of calls to backends, if it was counted.
    pub upstream_calls: Option<u32>,
    /// The code of the error that the client got.
    pub code: Option<&'a str>,
    /// The internal cause of the error. The client does not get it.
    pub cause: Option<&'a str>,
    /// The text of the `Sections` header.
    pub sections: Option<&'a str>,
    /// Whether the client disconnected before the end of the response.
    pub client_disconnected: bool,
}

/// Logs the event at a level. `tracing` needs the level at compile time.
macro_rules! log_at {
    ($level:ident, $a:ident, $path:ident, $status:ident, $message:ident) => {
        tracing::$level!(
            target: "access",
            message = $message.as_str(),
            method = $a.method,
            path = $path,
            route = $a.route,
            status = $status,
            duration_ms = milliseconds($a.duration),
            request_id = $a.request_id,
            trace_id = $a.trace_id,
            client = $a.client,
            app = $a.app,
            caller = $a.caller.as_str(),
            bytes_out = $a.bytes_out,
            upstream_calls = $a.upstream_calls,
            code = $a.code,
            cause = $a.cause,
            sections = $a.sections,
            client_disconnected = $a.client_disconnected,
        )
    };
}

impl AccessLogRecord<'_> {
    /// Writes the line: at level ERROR for a 5xx status, else at INFO. The status of a request whose client
    /// disconnected is 499.
    pub fn log(&self) {
        let path = self.path.split('?').next().unwrap_or_default();
        let status = if self.client_disconnected {
            CLIENT_CLOSED_REQUEST
        } else {
            self.status
        };
        let message = format!("{} {path} {status}", self.method);
        if status >= 500 {
            log_at!(error, self, path, status, message);
        } else {
            log_at!(info, self, path, status, message);
        }
    }
}

/// Milliseconds, rounded to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::logs::{Format, testing::logged};

    fn line(record: AccessLogRecord<'_>) -> Value {
        let text = logged(Format::Json, "info", || record.log());
        assert_eq!(text.lines().count(), 1);
        let mut line: Value = serde_json::from_str(&text).unwrap();
        line.as_object_mut().unwrap().remove("timestamp").unwrap();
        line
    }

    fn record() -> AccessLogRecord<'static> {
        AccessLogRecord {
            method: "GET",
            path: "/things/1?token=secret",
            route: "/things/{id}",
            status: 200,
            duration: Duration::from_nanos(12_345_678),
            request_id: "r-1",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            client: "web",
            app: Some("ios/3.2.1"),
            caller: AuthState::SignedIn,
            bytes_out: 1234,
            sections: Some("alpha=fresh, beta=stale;age=43"),
            ..AccessLogRecord::default()
        }
    }

    #[test]
    fn a_line_has_every_field_and_no_query() {
        let expected = json!({
            "level": "INFO", "target": "access", "message": "GET /things/1 200",
            "method": "GET", "path": "/things/1", "route": "/things/{id}", "status": 200,
            "duration_ms": 12.346, "request_id": "r-1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "client": "web", "app": "ios/3.2.1", "caller": "signed_in", "bytes_out": 1234,
            "sections": "alpha=fresh, beta=stale;age=43", "client_disconnected": false,
        });
        assert_eq!(line(record()), expected);
    }

    #[test]
    fn a_5xx_status_is_logged_as_an_error_with_its_cause() {
        let failed = AccessLogRecord {
            status: 502,
            code: Some("bad_response"),
            cause: Some("alpha: line one\nline \"two\""),
            upstream_calls: Some(3),
            ..record()
        };
        let line = line(failed);
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["code"], "bad_response");
        assert_eq!(line["cause"], "alpha: line one\nline \"two\"");
        assert_eq!(line["upstream_calls"], 3);
        let not_found = AccessLogRecord {
            status: 404,
            ..record()
        };
        assert_eq!(self::line(not_found)["level"], "INFO");
    }

    #[test]
    fn a_request_of_a_disconnected_client_is_logged_as_499() {
        for status in [200, 503] {
            let disconnected = AccessLogRecord {
                status,
                client_disconnected: true,
                ..record()
            };
            let line = line(disconnected);
            assert_eq!(line["status"], 499);
            assert_eq!(line["level"], "INFO");
            assert_eq!(line["client_disconnected"], true);
        }
    }
}
