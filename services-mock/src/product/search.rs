//! Search by words, and suggestions for a letter grid.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{LIST_MAX_AGE_S, raw_json};
use crate::catalogue::{CATALOGUE, CatalogueEntry};
use crate::paging::{by_cursor, limit_of};
use crate::response::{HandlerResult, Problem, Query, public};

/// The maximum length of a search text, in bytes.
const MAX_TEXT_BYTES: usize = 200;

#[derive(Deserialize)]
pub(super) struct SearchQuery {
    q: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SearchResults<'a> {
    items: Vec<&'a RawValue>,
    total: usize,
    next_cursor: Option<String>,
}

/// Finds the products that contain every word. A match in the name scores higher. An empty text finds nothing.
pub(super) async fn search(Query(query): Query<SearchQuery>, headers: HeaderMap) -> HandlerResult {
    let text = lowercase(query.q.as_deref())?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let scored = CATALOGUE
        .products
        .iter()
        .filter_map(|l| score(l, &words).map(|s| (Reverse(s), l)));
    let mut scored: Vec<(Reverse<u32>, &CatalogueEntry)> = scored.collect();
    scored.sort_by_key(|(score, entry)| (*score, entry.number));
    let (page, next_cursor) = by_cursor(&scored, query.cursor.as_deref(), query.limit, 20)?;
    let items = raw_json(page.iter().map(|(_, entry)| *entry));
    Ok(public(
        &headers,
        LIST_MAX_AGE_S,
        &SearchResults {
            items,
            total: scored.len(),
            next_cursor,
        },
    ))
}

fn score(entry: &CatalogueEntry, words: &[&str]) -> Option<u32> {
    let mut total = 0;
    for word in words {
        let in_name = word_suffixes(&entry.lower_name).any(|remainder| remainder.starts_with(word));
        let elsewhere =
            || word_suffixes(&entry.lower_text).any(|remainder| remainder.starts_with(word));
        total += match in_name {
            true => 10,
            false if elsewhere() => 1,
            false => return None,
        };
    }
    (total > 0).then_some(total)
}

#[derive(Deserialize)]
pub(super) struct SuggestionQuery {
    prefix: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Suggestions<'a> {
    items: Vec<&'a str>,
    next_letters: BTreeSet<char>,
}

/// Returns names with a word that starts with the prefix, and the characters that may follow.
pub(super) async fn suggestions(
    Query(query): Query<SuggestionQuery>,
    headers: HeaderMap,
) -> HandlerResult {
    let prefix = lowercase(query.prefix.as_deref())?;
    let limit = limit_of(query.limit, 8)?;
    let mut found = Suggestions {
        items: Vec::new(),
        next_letters: BTreeSet::new(),
    };
    for entry in &CATALOGUE.products {
        let remainders: Vec<&str> = word_suffixes(&entry.lower_name)
            .filter_map(|s| s.strip_prefix(&*prefix))
            .collect();
        if !remainders.is_empty() && found.items.len() < limit {
            found.items.push(&entry.product.name);
        }
        found.next_letters.extend(
            remainders
                .into_iter()
                .filter_map(|remainder| remainder.chars().next()),
        );
    }
    Ok(public(&headers, LIST_MAX_AGE_S, &found))
}

/// The suffixes of the text that start at a word: "the quiet harbour", "quiet harbour", "harbour".
fn word_suffixes(text: &str) -> impl Iterator<Item = &str> {
    let after_space = text
        .match_indices([' ', '-'])
        .map(|(at, _)| &text[at + 1..]);
    std::iter::once(text).chain(after_space)
}

fn lowercase(text: Option<&str>) -> Result<String, Problem> {
    let text = text.unwrap_or_default().to_lowercase();
    if text.len() > MAX_TEXT_BYTES {
        return Err(Problem::bad_request("the search text is too long"));
    }
    Ok(text)
}
