//! Search by words, and the suggestions behind a letter grid.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{LIST_MAX_AGE_S, raw};
use crate::catalogue::{CATALOGUE, Listed};
use crate::paging::{by_cursor, limit_of};
use crate::response::{Answer, Problem, Query, public};

/// The longest text worth searching for.
const MAX_TEXT: usize = 200;

#[derive(Deserialize)]
pub(super) struct SearchQuery {
    q: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found<'a> {
    items: Vec<&'a RawValue>,
    total: usize,
    next_cursor: Option<String>,
}

/// Every word must hit; hits in the name count more. An empty text finds nothing.
pub(super) async fn search(Query(query): Query<SearchQuery>, headers: HeaderMap) -> Answer {
    let text = lower(query.q.as_deref())?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let scored = CATALOGUE
        .products
        .iter()
        .filter_map(|l| score(l, &words).map(|s| (Reverse(s), l)));
    let mut scored: Vec<(Reverse<u32>, &Listed)> = scored.collect();
    scored.sort_by_key(|(score, listed)| (*score, listed.number));
    let (part, next_cursor) = by_cursor(&scored, query.cursor.as_deref(), query.limit, 20)?;
    let items = raw(part.iter().map(|(_, listed)| *listed));
    Ok(public(
        &headers,
        LIST_MAX_AGE_S,
        &Found {
            items,
            total: scored.len(),
            next_cursor,
        },
    ))
}

fn score(listed: &Listed, words: &[&str]) -> Option<u32> {
    let mut total = 0;
    for word in words {
        let in_name = starts(&listed.key).any(|rest| rest.starts_with(word));
        let elsewhere = || starts(&listed.haystack).any(|rest| rest.starts_with(word));
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

/// Names of which a word starts with the prefix, and what may be typed next.
pub(super) async fn suggestions(
    Query(query): Query<SuggestionQuery>,
    headers: HeaderMap,
) -> Answer {
    let prefix = lower(query.prefix.as_deref())?;
    let limit = limit_of(query.limit, 8)?;
    let mut found = Suggestions {
        items: Vec::new(),
        next_letters: BTreeSet::new(),
    };
    for listed in &CATALOGUE.products {
        let rests: Vec<&str> = starts(&listed.key)
            .filter_map(|s| s.strip_prefix(&*prefix))
            .collect();
        if !rests.is_empty() && found.items.len() < limit {
            found.items.push(&listed.product.name);
        }
        found
            .next_letters
            .extend(rests.into_iter().filter_map(|rest| rest.chars().next()));
    }
    Ok(public(&headers, LIST_MAX_AGE_S, &found))
}

/// The text from each of its words on: "the quiet harbour", "quiet harbour", "harbour".
fn starts(text: &str) -> impl Iterator<Item = &str> {
    let after_space = text
        .match_indices([' ', '-'])
        .map(|(at, _)| &text[at + 1..]);
    std::iter::once(text).chain(after_space)
}

fn lower(text: Option<&str>) -> Result<String, Problem> {
    let text = text.unwrap_or_default().to_lowercase();
    if text.len() > MAX_TEXT {
        return Err(Problem::bad_request("the text is too long"));
    }
    Ok(text)
}
