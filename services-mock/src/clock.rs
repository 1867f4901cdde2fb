//! Reproducible wall time: a given start time plus tokio's clock.

use http::HeaderValue;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

/// The reference date of the generated data.
const JUNE: OffsetDateTime = time::macros::datetime!(2026-06-01 12:00 UTC);

/// The wall clock of the mocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: OffsetDateTime,
    start: Instant,
}

impl Clock {
    pub(crate) fn new(epoch: OffsetDateTime) -> Self {
        Self {
            epoch,
            start: Instant::now(),
        }
    }

    /// Wall time, in whole milliseconds.
    pub(crate) fn now(&self) -> Time {
        let now = self.epoch + self.start.elapsed();
        let rounded = now.replace_nanosecond(u32::from(now.millisecond()) * 1_000_000);
        Time(rounded.unwrap_or(now))
    }

    /// The `Date` header (RFC 9110 §5.6.7).
    pub(crate) fn date_header(&self) -> Option<HeaderValue> {
        let t = self.now().0;
        let text = format!(
            "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
            &t.weekday().to_string()[..3],
            t.day(),
            &t.month().to_string()[..3],
            t.year(),
            t.hour(),
            t.minute(),
            t.second()
        );
        HeaderValue::try_from(text).ok()
    }
}

/// A point in time: RFC 3339 in UTC on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) OffsetDateTime);

impl Time {
    /// Whole seconds since the Unix epoch.
    pub(crate) const fn unix(self) -> i64 {
        self.0.unix_timestamp()
    }

    /// The RFC 3339 text.
    pub(crate) fn text(self) -> String {
        self.0.format(&Rfc3339).unwrap_or_default()
    }

    /// A fixed time of the generated data: `minutes` before 1 June 2026.
    pub(crate) fn before_june(minutes: u64) -> Self {
        Self(JUNE - time::Duration::minutes(i64::try_from(minutes).unwrap_or(0)))
    }

    /// A fixed time of the generated data: `days` after 1 June 2026.
    pub(crate) fn after_june(days: u64) -> Self {
        Self(JUNE + time::Duration::days(i64::try_from(days).unwrap_or(0)))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn time_follows_the_runtime_clock() {
        let clock = Clock::new(time::macros::datetime!(2026-11-23 10:00 UTC));
        tokio::time::advance(Duration::from_millis(90_250)).await;
        assert_eq!(clock.now().text(), "2026-11-23T10:01:30.25Z");
        assert_eq!(
            clock.date_header().unwrap(),
            "Mon, 23 Nov 2026 10:01:30 GMT"
        );
    }
}
