//! Language negotiation (RFC 9110 §12.5.4, lookup by RFC 4647 §3.4).

use bff_context::field_value;
use http::{HeaderMap, header};

use crate::scope::Language;

/// The most ranges that are read.
const MAX_RANGES: usize = 20;

/// The best of the `supported` languages for `Accept-Language`. Without a match, the first one. A range with a
/// malformed weight is ignored.
pub(in crate::inbound) fn negotiate(headers: &HeaderMap, supported: &[Language]) -> Language {
    let default = supported.first().copied().unwrap_or(Language::UNDETERMINED);
    let ranges = field_value::members(headers, &header::ACCEPT_LANGUAGE).take(MAX_RANGES);
    let ranges: Vec<(&str, u16)> = ranges
        .map(field_value::with_weight)
        .filter_map(|(tag, weight)| Some((tag, weight?)))
        .collect();
    let mut best = (default, 0);
    for (tag, weight) in &ranges {
        let found = match *tag {
            // Every language that no other range names.
            "*" => supported.iter().copied().find(|language| {
                let names = |(tag, _): &(&str, u16)| lookup(tag, &[*language]).is_some();
                !ranges.iter().any(names)
            }),
            tag => lookup(tag, supported),
        };
        if let Some(language) = found.filter(|_| *weight > best.1) {
            best = (language, *weight);
        }
    }
    best.0
}

/// `de-AT` finds `de-AT`, else `de`.
fn lookup(tag: &str, supported: &[Language]) -> Option<Language> {
    let mut tag = tag;
    loop {
        let is_tag = |language: &&Language| language.as_str().eq_ignore_ascii_case(tag);
        if let Some(found) = supported.iter().find(is_tag) {
            return Some(*found);
        }
        tag = tag.rsplit_once('-')?.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_supported_language_of_highest_quality_wins() {
        let supported: Vec<Language> = ["en", "de"].iter().map(|l| l.parse().unwrap()).collect();
        for (lines, language) in [
            (&["de-AT, en;q=0.9"][..], "de"),
            (&["DE-at"], "de"),
            (&["de-Latn-DE-x-a"], "de"),
            (&["fr, en;q=0.2, de;q=0.3"], "de"),
            (&["fr, en;q=0.2", "de;q=0.3"], "de"),
            (&["de, en"], "de"),
            (&[", ,de,"], "de"),
            (&["de ; Q=0.3 , en;q=0.2"], "de"),
            (&["en;q=0.001, de;q=0.01"], "de"),
            (&["fr"], "en"),
            (&[""], "en"),
            (&["*"], "en"),
            (&["en;q=0, *"], "de"),
            (&["en;q=0.5, *"], "de"),
            (&["en-GB;q=0, *;q=0.1"], "de"),
            (&["de;q=0, *;q=0.1"], "en"),
            (&["de;Q=0, *;q=0.1"], "en"),
            (&["en;q=0"], "en"),
            (&["de;q=nonsense"], "en"),
            (&["de;q=1.5"], "en"),
            (&["de;q=0.1234"], "en"),
            (&["deutsch"], "en"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT_LANGUAGE, HeaderValue::from_static(line));
            }
            let negotiated = negotiate(&headers, &supported);
            assert_eq!(negotiated.as_str(), language, "{lines:?}");
        }
    }
}
