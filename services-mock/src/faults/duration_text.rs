//! Durations as text with a unit. A number without a unit is rejected.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(super) fn serialize<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => serializer.collect_str(&format_args!("{}ms", duration.as_millis())),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse(&text).ok_or_else(|| invalid(&text)))
        .transpose()
}

fn invalid<E: de::Error>(text: &str) -> E {
    E::custom(format!(
        "`{text}` is not a duration; use a whole number with ms, s or m, such as \"200ms\""
    ))
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().ok()?;
    let number = u64::from(number);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        _ => None,
    }
}
