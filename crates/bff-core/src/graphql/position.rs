//! Positions in a document, as async-graphql has them in errors.

use apollo_compiler::parser::{LineColumn, SourceMap, SourceSpan};
use async_graphql::Pos;

/// The start of a part of the document.
pub(super) fn position(location: Option<SourceSpan>, sources: &SourceMap) -> Pos {
    let start = location.and_then(|location| location.line_column(sources));
    start.map_or_else(Pos::default, from_line_column)
}

pub(super) fn from_line_column(start: LineColumn) -> Pos {
    Pos {
        line: start.line,
        column: start.column,
    }
}
