//! One condition on one field.

use regex::Regex;

use crate::Fields;

/// A field path and what its value must be.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    pub(crate) path: Vec<String>,
    pub(crate) test: Test,
}

/// What a value must be.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    /// There.
    Present,
    /// There, and this.
    Equal(String),
    /// Not this; an absent value is none.
    NotEqual(String),
    /// Matched somewhere by this; an absent value counts as empty.
    Matches(Regex),
}

impl Selector {
    pub(crate) fn is_pattern(&self) -> bool {
        matches!(self.test, Test::Matches(_))
    }

    pub(crate) fn matches(&self, record: &impl Fields) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = record.field(&path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.as_ref() == Some(wanted),
            Test::NotEqual(unwanted) => value.unwrap_or_default() != *unwanted,
            Test::Matches(pattern) => pattern.is_match(&value.unwrap_or_default()),
        }
    }
}
