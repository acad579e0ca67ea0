//! containerd's filter language: parse and match (facts: containerd `pkg/filters`).
//!
//! ```text
//! selectors := selector ("," selector)*
//! selector  := fieldpath (operator value)?
//! fieldpath := field ("." field)*
//! field     := quoted | [A-Za-z0-9_]+
//! operator  := "==" | "!=" | "~="
//! value     := quoted | [^\s,]+
//! quoted    := Go's string syntax between double quotes; after "~=" also between "/" or "|"
//! ```
//!
//! White space is skipped before a token, not behind one: `a==b, c==d` is fine, `a==b ,c==d` is not. Without an
//! operator a selector asks whether the field is there. All selectors of a text must match, and any of several texts.

mod fields;
mod parser;
mod quote;
mod scanner;
mod selector;
#[cfg(test)]
mod tests;

pub use fields::{Fields, map_field};

use errors::{Error, Result};
use selector::Selector;

/// The longest filter, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// The most filters in one question.
const MAX_TEXTS: usize = 1024;
/// The most regular expressions in one question: each may take up memory.
const MAX_PATTERNS: usize = 128;

/// Several filters, any of which may match; none at all matches everything.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    any: Vec<Vec<Selector>>,
}

impl Filters {
    /// Parses each text; bad syntax is `InvalidArgument` and names the text. An empty text matches everything.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Filters> {
        if texts.len() > MAX_TEXTS {
            let count = texts.len();
            return Err(Error::invalid(format!("filters: {count} filters are more than {MAX_TEXTS}")));
        }
        let any = texts.iter().map(|text| parse(text.as_ref())).collect::<Result<Vec<_>>>()?;
        let patterns = any.iter().flatten().filter(|selector| selector.is_pattern()).count();
        if patterns > MAX_PATTERNS {
            return Err(Error::invalid(format!(
                "filters: {patterns} regular expressions are more than {MAX_PATTERNS}"
            )));
        }
        Ok(Filters { any })
    }

    /// Does any filter match?
    pub fn matches(&self, record: &impl Fields) -> bool {
        self.any.is_empty() || self.any.iter().any(|all| all.iter().all(|selector| selector.matches(record)))
    }
}

fn parse(text: &str) -> Result<Vec<Selector>> {
    if text.len() > MAX_TEXT {
        let shown: String = text.chars().take(64).collect();
        return Err(Error::invalid(format!("filters: {shown:?}... is longer than {MAX_TEXT} bytes")));
    }
    if text.is_empty() {
        return Ok(Vec::new());
    }
    parser::parse(text)
}
