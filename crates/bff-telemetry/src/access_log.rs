//! The one line each request leaves in the log, whatever became of it.

use std::time::Duration;

/// What a request whose client hung up is logged as: no answer with this status is ever sent.
const HUNG_UP: u16 = 499;

/// Whether somebody was signed in. Who it was is not for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthState {
    /// Nobody was signed in.
    #[default]
    Anonymous,
    /// Somebody was.
    SignedIn,
}

impl AuthState {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::SignedIn => "signed_in",
        }
    }
}

/// One request, ended. The time of the line is the subscriber's.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessLogRecord<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The path as sent. Its query is not logged: clients put secrets there.
    pub path: &'a str,
    /// The route's template, or empty when none matched.
    pub route: &'a str,
    /// The status answered.
    pub status: u16,
    /// From the request's head to the last byte of the answer.
    pub took: Duration,
    /// The id echoed to the client.
    pub request_id: &'a str,
    /// The trace it was part of, 32 hexadecimal digits.
    pub trace_id: &'a str,
    /// The gateway's client class.
    pub client: &'a str,
    /// What the client says it is: `X-App`.
    pub app: Option<&'a str>,
    /// Whether somebody was signed in.
    pub caller: AuthState,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes_out: u64,
    /// How many calls to backends it took, where that was counted.
    pub upstream_calls: Option<u32>,
    /// The stable code of the error the client saw.
    pub code: Option<&'a str>,
    /// What really happened; never shown to the client.
    pub cause: Option<&'a str>,
    /// The text of the `Sections` header.
    pub sections: Option<&'a str>,
    /// The client was gone before the answer was out.
    pub client_disconnected: bool,
}

/// One event with the same fields at either level, which `tracing` wants to know when compiling.
macro_rules! line {
    ($level:ident, $a:ident, $path:ident, $status:ident, $message:ident) => {
        tracing::$level!(
            target: "access",
            message = $message,
            method = $a.method,
            path = $path,
            route = $a.route,
            status = $status,
            duration_ms = milliseconds($a.took),
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
    /// Writes the line: a server's failure is an error, all else is information. A hang-up is neither ours
    /// nor an answer: it is logged as 499.
    pub fn log(&self) {
        let path = self.path.split('?').next().unwrap_or_default();
        let status = if self.client_disconnected {
            HUNG_UP
        } else {
            self.status
        };
        let message = [self.method, path, &status.to_string()].join(" ");
        let message = message.as_str();
        if status >= 500 {
            line!(error, self, path, status, message);
        } else {
            line!(info, self, path, status, message);
        }
    }
}

/// Milliseconds to the microsecond.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::logs::{Format, logged};

    fn line(access: AccessLogRecord<'_>) -> Value {
        let text = logged(Format::Json, "info", || access.log());
        assert_eq!(text.lines().count(), 1);
        let mut line: Value = serde_json::from_str(&text).unwrap();
        line.as_object_mut().unwrap().remove("timestamp").unwrap();
        line
    }

    fn some() -> AccessLogRecord<'static> {
        AccessLogRecord {
            method: "GET",
            path: "/things/1?token=secret",
            route: "/things/{id}",
            status: 200,
            took: Duration::from_nanos(12_345_678),
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
        let wanted = json!({
            "level": "INFO", "target": "access", "message": "GET /things/1 200",
            "method": "GET", "path": "/things/1", "route": "/things/{id}", "status": 200,
            "duration_ms": 12.346, "request_id": "r-1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "client": "web", "app": "ios/3.2.1", "caller": "signed_in", "bytes_out": 1234,
            "sections": "alpha=fresh, beta=stale;age=43", "client_disconnected": false,
        });
        assert_eq!(line(some()), wanted);
    }

    #[test]
    fn a_servers_failure_is_an_error_and_says_why() {
        let failed = AccessLogRecord {
            status: 502,
            code: Some("bad_response"),
            cause: Some("alpha: line one\nline \"two\""),
            upstream_calls: Some(3),
            ..some()
        };
        let line = line(failed);
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["code"], "bad_response");
        assert_eq!(line["cause"], "alpha: line one\nline \"two\"");
        assert_eq!(line["upstream_calls"], 3);
        let refused = AccessLogRecord {
            status: 404,
            ..some()
        };
        assert_eq!(self::line(refused)["level"], "INFO");
    }

    #[test]
    fn a_hang_up_is_499_whatever_the_answer_was_to_be() {
        for status in [200, 503] {
            let gone = AccessLogRecord {
                status,
                client_disconnected: true,
                ..some()
            };
            let line = line(gone);
            assert_eq!(line["status"], 499);
            assert_eq!(line["level"], "INFO");
            assert_eq!(line["client_disconnected"], true);
        }
    }
}
