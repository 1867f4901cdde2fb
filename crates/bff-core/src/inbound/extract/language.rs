//! Which of our languages a client gets (RFC 9110 §12.5.4, lookup by RFC 4647 §3.4).

use http::{HeaderMap, header};

use crate::scope::Language;

/// The best of `ours` for `Accept-Language`; the first of ours when nothing fits.
pub(in crate::inbound) fn negotiate(headers: &HeaderMap, ours: &[Language]) -> Language {
    let default = ours.first().copied().unwrap_or(Language::UNDETERMINED);
    let lines = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    let ranges = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
    let mut best = (default, 0);
    for range in ranges.take(20) {
        let (tag, weight) = parse_quality(range);
        if let Some(language) = lookup(tag, ours).filter(|_| weight > best.1) {
            best = (language, weight);
        }
    }
    best.0
}

/// A range and its quality in thousandths; a malformed one weighs nothing.
pub(in crate::inbound) fn parse_quality(range: &str) -> (&str, u32) {
    let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
    let quality = match parameters.trim().strip_prefix("q=") {
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

/// `de-AT` finds `de-AT`, else `de`; `*` finds the first.
fn lookup(tag: &str, ours: &[Language]) -> Option<Language> {
    if tag == "*" {
        return ours.first().copied();
    }
    let mut tag = tag;
    loop {
        if let Some(found) = ours.iter().find(|l| l.as_str().eq_ignore_ascii_case(tag)) {
            return Some(*found);
        }
        tag = tag.rsplit_once('-')?.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn gets(sent: &'static str) -> String {
        let ours: Vec<Language> = ["en", "de"].iter().map(|l| l.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(sent));
        negotiate(&headers, &ours).as_str().to_owned()
    }

    #[test]
    fn the_best_weighed_language_we_have_wins() {
        assert_eq!(gets("de-AT, en;q=0.9"), "de");
        assert_eq!(gets("fr, en;q=0.2, de;q=0.3"), "de");
        assert_eq!(gets("fr"), "en");
        assert_eq!(gets("de;q=0, *;q=0.1"), "en");
        assert_eq!(gets("de;q=nonsense"), "en");
    }
}
