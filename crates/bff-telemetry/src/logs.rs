//! The log of the process: one line per event on standard output, as JSON or as text.
//!
//! A thread writes the lines, so a request does not wait for the output. A killed process loses the lines that are not
//! yet written. A process that exits normally loses none.

use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Deserializer, Serialize};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub use tracing_appender::non_blocking::WorkerGuard;

use json::JsonFormat;

mod json;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// The maximum number of buffered lines, about 1 MB. With more, a request waits for the output, so no line is lost.
const MAX_LINES: usize = 2048;

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Json,
    /// `time LEVEL target: message name=value …`.
    Text,
}

/// The format and the filter of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `json`: one object per line. `text`: lines for people. Default `json`: log collectors need no parser rules for
    /// it.
    pub log_format: Format,
    /// The logged events: a level, then exceptions by target, as in `info,access=warn,hyper=off`. Default `info`: one
    /// line per request, and events that operators need.
    #[serde(deserialize_with = "deserialize_filter")]
    pub log_filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_format: Format::Json,
            log_filter: "info".to_owned(),
        }
    }
}

/// Installs the log of this process. `main` calls it once; a second call has no effect and returns an error.
///
/// Dropping the guard writes all buffered lines. Hold it until the process exits.
pub fn install(config: &Config) -> Result<WorkerGuard, String> {
    let filter = filter(&config.log_filter).map_err(|error| format!("log_filter: {error}"))?;
    let (writer, guard) = writer(io::stdout());
    tracing::subscriber::set_global_default(subscriber(config.log_format, filter, writer))
        .map_err(|_| "the log of this process is already installed".to_owned())?;
    Ok(guard)
}

/// Passes lines to a thread that writes them. The buffer joins lines that arrive together into one write.
fn writer(out: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_LINES)
        .lossy(false)
        .thread_name("log")
        .finish(BufWriter::new(out))
}

/// The filter applies to this layer, not to the registry: other layers get all events.
fn subscriber<W>(format: Format, filter: EnvFilter, writer: W) -> impl Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_ansi(false).with_writer(writer);
    let layer = match format {
        Format::Json => layer.event_format(JsonFormat).boxed(),
        Format::Text => layer.boxed(),
    };
    Registry::default().with(layer.with_filter(filter))
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    for directive in text.split(',').map(str::trim) {
        // `EnvFilter` parses a single unknown word as a target. A mistyped level would then disable all other events.
        let is_single_word = !directive.contains(['=', '[', '{', '}', ']']);
        // An empty word parses as a level.
        if is_single_word && (directive.is_empty() || directive.parse::<LevelFilter>().is_err()) {
            return Err(format!(
                "`{directive}` is not a level (off, error, warn, info, debug, trace); for a target write `target=level`"
            ));
        }
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("`{text}`: {error}"))
}

fn deserialize_filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    filter(&text).map_err(serde::de::Error::custom)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::testing::logged;
    use super::*;

    pub(super) const SPECIAL_CHARACTERS: &str =
        "a\nb\r\t\"\\\u{0}\u{1b}[31m\u{7f}\u{2028}ü\u{1f600}";

    #[test]
    fn the_guard_writes_all_lines_in_order() {
        let text = logged(Format::Json, "info", || {
            for n in 0..2 * MAX_LINES {
                tracing::info!("{n}");
            }
        });
        let numbers = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["message"].as_str().unwrap().parse::<usize>().unwrap()
        });
        assert!(numbers.eq(0..2 * MAX_LINES));
    }

    #[test]
    fn a_text_line_has_time_level_target_message_and_fields() {
        let text = logged(Format::Text, "info", || {
            tracing::warn!(target: "edge", id = "a-1", cause = SPECIAL_CHARACTERS, n = 3, "It broke");
        });
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok());
        let expected =
            format!(" WARN edge: It broke id=\"a-1\" cause={SPECIAL_CHARACTERS:?} n=3\n");
        assert_eq!(rest, expected);
    }

    #[test]
    fn the_filter_selects_events_by_level_and_target() {
        let text = logged(Format::Json, "warn,loud=debug", || {
            tracing::info!("no");
            tracing::warn!("yes");
            tracing::debug!(target: "loud", "yes");
        });
        assert_eq!(text.matches("yes").count(), 2);
        assert!(!text.contains("no\""));
    }

    #[test]
    fn an_invalid_filter_is_an_error() {
        for (text, message) in [
            ("inof", "`inof` is not a level"),
            ("", "`` is not a level"),
            ("info,", "`` is not a level"),
            ("info,access=loud", "error parsing level filter"),
        ] {
            let config = Config {
                log_filter: text.to_owned(),
                ..Config::default()
            };
            let error = install(&config).unwrap_err();
            assert!(error.starts_with("log_filter: "), "{error}");
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_configuration_is_checked_when_it_is_parsed() {
        let config: Config =
            toml("log_format = \"text\"\nlog_filter = \"info,hyper=off\"").unwrap();
        assert_eq!(config.log_format, Format::Text);
        assert_eq!(toml("").unwrap(), Config::default());
        for invalid in [
            "log_filter = \"inof\"",
            "log_format = \"xml\"",
            "log_level = \"info\"",
        ] {
            assert!(toml(invalid).is_err(), "{invalid}");
        }
    }

    fn toml(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn installing_twice_is_an_error() {
        let config = Config {
            log_filter: "off".to_owned(),
            ..Config::default()
        };
        // Another test can have installed a log before. The second call fails in any case.
        let _ = install(&config);
        assert!(install(&config).unwrap_err().contains("already"));
    }
}
