//! Language negotiation (RFC 9110 §12.5.4, lookup by RFC 4647 §3.4).

use http::{HeaderMap, header};

use crate::scope::Language;

/// The best of the `supported` languages for `Accept-Language`. Without a match, the first one.
pub(in crate::inbound) fn negotiate(headers: &HeaderMap, supported: &[Language]) -> Language {
    let default = supported.first().copied().unwrap_or(Language::UNDETERMINED);
    let lines = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    let ranges = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
    let mut best = (default, 0);
    for range in ranges.take(20) {
        let (tag, weight) = parse_quality(range);
        if let Some(language) = lookup(tag, supported).filter(|_| weight > best.1) {
            best = (language, weight);
        }
    }
    best.0
}

/// A range and its quality in thousandths. A malformed quality is 0.
pub(in crate::inbound) fn parse_quality(range: &str) -> (&str, u32) {
    let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
    let parameters = parameters.trim();
    let quality = match parameters
        .strip_prefix("q=")
        .or(parameters.strip_prefix("Q="))
    {
        None => Some(1.0),
        Some(q) => q
            .trim()
            .parse::<f32>()
            .ok()
            .filter(|q| (0.0..=1.0).contains(q)),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1000"
    )]
    let weight = quality.map_or(0, |q| (q * 1000.0) as u32);
    (tag.trim(), weight)
}

/// `de-AT` finds `de-AT`, else `de`. `*` finds the first language.
fn lookup(tag: &str, supported: &[Language]) -> Option<Language> {
    if tag == "*" {
        return supported.first().copied();
    }
    let mut tag = tag;
    loop {
        if let Some(found) = supported
            .iter()
            .find(|l| l.as_str().eq_ignore_ascii_case(tag))
        {
            return Some(*found);
        }
        tag = tag.rsplit_once('-')?.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn negotiated(sent: &'static str) -> String {
        let supported: Vec<Language> = ["en", "de"].iter().map(|l| l.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(sent));
        negotiate(&headers, &supported).as_str().to_owned()
    }

    #[test]
    fn the_supported_language_of_highest_quality_wins() {
        assert_eq!(negotiated("de-AT, en;q=0.9"), "de");
        assert_eq!(negotiated("fr, en;q=0.2, de;q=0.3"), "de");
        assert_eq!(negotiated("fr"), "en");
        assert_eq!(negotiated("de;q=0, *;q=0.1"), "en");
        assert_eq!(negotiated("de;Q=0, *;q=0.1"), "en");
        assert_eq!(negotiated("de;q=nonsense"), "en");
    }
}
