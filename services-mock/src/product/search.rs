//! Search by words, and suggestions for a letter grid.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalogue::{CATALOGUE, CatalogueEntry};
use crate::paging::{by_cursor, limit_of};
use crate::response::Problem;

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
pub(super) struct SearchResults<'a> {
    items: Vec<&'a RawValue>,
    total: usize,
    next_cursor: Option<String>,
}

/// Finds the products that contain every word. A match in the name scores higher. An empty text finds nothing.
pub(super) fn search(query: &SearchQuery) -> Result<SearchResults<'static>, Problem> {
    let text = lowercase(query.q.as_deref())?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let scored = CATALOGUE
        .products
        .iter()
        .filter_map(|l| score(l, &words).map(|s| (Reverse(s), l)));
    let mut scored: Vec<(Reverse<u32>, &CatalogueEntry)> = scored.collect();
    scored.sort_by_key(|(score, entry)| (*score, entry.number));
    let (page, next_cursor) = by_cursor(&scored, query.cursor.as_deref(), query.limit, 20)?;
    Ok(SearchResults {
        items: page.iter().map(|(_, entry)| &*entry.raw_json).collect(),
        total: scored.len(),
        next_cursor,
    })
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
pub(super) struct Suggestions<'a> {
    items: Vec<&'a str>,
    next_letters: BTreeSet<char>,
}

/// Returns names with a word that starts with the prefix, and the characters that may follow.
pub(super) fn suggestions(query: &SuggestionQuery) -> Result<Suggestions<'static>, Problem> {
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
    Ok(found)
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
