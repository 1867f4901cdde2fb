//! Paging by number, by cursor and by ids, for all backends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::response::Problem;

/// The maximum number of ids in a batch.
pub(crate) const MAX_IDS: usize = 100;

/// The slice of `items` that a cursor and a limit select, and the cursor after it.
///
/// A cursor is opaque to clients. It contains the number of items already returned.
pub(crate) fn by_cursor<'a, T>(
    items: &'a [T],
    cursor: Option<&str>,
    limit: Option<usize>,
    default: usize,
) -> Result<(&'a [T], Option<String>), Problem> {
    let limit = limit_of(limit, default)?;
    let from = cursor
        .filter(|c| !c.is_empty())
        .map_or(Ok(0), read_cursor)?;
    let from = from.min(items.len());
    let to = (from + limit).min(items.len());
    let next = (to < items.len()).then(|| URL_SAFE_NO_PAD.encode(format!("o{to}")));
    Ok((&items[from..to], next))
}

/// The slice of `items` on page `page` (from 1) of `per_page` items.
pub(crate) fn by_page<T>(items: &[T], page: usize, per_page: usize) -> Result<&[T], Problem> {
    if page == 0 {
        return Err(Problem::bad_request("page counts from 1"));
    }
    let per_page = limit_of(Some(per_page), 20)?;
    let from = (page - 1).saturating_mul(per_page).min(items.len());
    let to = (from + per_page).min(items.len());
    Ok(&items[from..to])
}

/// A limit of 1 to 100.
pub(crate) fn limit_of(limit: Option<usize>, default: usize) -> Result<usize, Problem> {
    match limit.unwrap_or(default) {
        n @ 1..=100 => Ok(n),
        n => Err(Problem::bad_request(format!(
            "the limit must be 1 to 100, not {n}"
        ))),
    }
}

/// The ids of a batch without duplicates, in the order of the request.
pub(crate) fn ids(text: &str) -> Result<Vec<&str>, Problem> {
    let mut unique = Vec::new();
    for id in text.split(',').map(str::trim).filter(|id| !id.is_empty()) {
        if !unique.contains(&id) {
            unique.push(id);
        }
    }
    match unique.len() {
        0 => Err(Problem::bad_request("ids is empty")),
        1..=MAX_IDS => Ok(unique),
        n => Err(Problem::bad_request(format!(
            "at most {MAX_IDS} ids, not {n}"
        ))),
    }
}

fn read_cursor(cursor: &str) -> Result<usize, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = bytes.and_then(|b| String::from_utf8(b).ok());
    let offset = text.and_then(|t| t.strip_prefix('o').and_then(|n| n.parse().ok()));
    offset.ok_or_else(|| Problem::bad_request("invalid cursor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_cover_the_whole_list_once() {
        let items: Vec<u32> = (0..45).collect();
        let (mut items_read, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let (part, next) = by_cursor(&items, cursor.as_deref(), Some(20), 10).unwrap();
            items_read.extend_from_slice(part);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(items_read, items);
        assert!(by_cursor(&items, Some("zzz"), None, 10).is_err());
        assert!(by_cursor(&items, None, Some(0), 10).is_err());
    }

    #[test]
    fn pages_past_the_end_are_empty_and_page_zero_is_rejected() {
        let items: Vec<u32> = (0..45).collect();
        assert_eq!(by_page(&items, 3, 20).unwrap(), &items[40..]);
        assert!(by_page(&items, 9, 20).unwrap().is_empty());
        assert!(by_page(&items, 0, 20).is_err());
    }

    #[test]
    fn ids_are_deduplicated_and_bounded() {
        assert_eq!(ids("p-1, p-2,p-1,").unwrap(), ["p-1", "p-2"]);
        let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        assert!(ids(&many.join(",")).is_err());
        assert!(ids(",").is_err());
    }
}
