//! docker's filters of `ps` and `images`.

use std::collections::BTreeMap;

use flows::{ImageLine, Line};
use ids::Reference;
use tonic::Status;

use crate::caller::bad_request;

/// `KEY=VALUE` texts; texts of one key are alternatives, keys are demands.
pub struct Filters {
    by_key: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Parses, and refuses keys that are not among `known`, with docker's words.
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Filters, Status> {
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                bad_request(format!(
                    "invalid argument {text:?} for filter: bad format of filter (expected name=value)"
                ))
            })?;
            if !known.contains(&key) {
                return Err(bad_request(format!("invalid filter '{key}'")));
            }
            by_key.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        Ok(Filters { by_key })
    }

    /// Is there any value under `key`?
    pub fn has(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// No value under `key`, or one that `matches`.
    fn allows(&self, key: &str, matches: impl Fn(&str) -> bool) -> bool {
        self.by_key.get(key).is_none_or(|values| values.iter().any(|value| matches(value)))
    }

    /// Every value under `key` `matches`: docker's way with labels.
    fn demands(&self, key: &str, matches: impl Fn(&str) -> bool) -> bool {
        self.by_key.get(key).is_none_or(|values| values.iter().all(|value| matches(value)))
    }

    /// `ps`: id, name, label, status, exited, ancestor.
    pub fn container(&self, line: &Line) -> bool {
        let name = line.name();
        self.allows("id", |id| line.container.id.as_str().starts_with(id))
            && self.allows("name", |part| name.contains(part.trim_start_matches('/')))
            && self.demands("label", |label| has_label(&line.container.labels, label))
            && self.allows("status", |status| status == line.phase.as_str())
            && self.allows("exited", |code| {
                line.phase == flows::Phase::Exited && code == line.state.exit_code.to_string()
            })
            && self.allows("ancestor", |image| ancestor(line, image))
    }

    /// `images`: reference, label.
    pub fn image(&self, line: &ImageLine) -> bool {
        let familiar =
            Reference::parse(&line.image.name).map_or(line.image.name.clone(), |name| name.familiar_name());
        let tag = Reference::parse(&line.image.name)
            .ok()
            .and_then(|name| name.tag().map(str::to_owned))
            .unwrap_or_default();
        self.demands("label", |label| has_label(&line.labels, label))
            && self.allows("reference", |pattern| {
                glob(pattern, &familiar)
                    || glob(pattern, &format!("{familiar}:{tag}"))
                    || glob(pattern, &line.image.name)
            })
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

fn ancestor(line: &Line, image: &str) -> bool {
    let full = Reference::parse(image).map(|name| name.to_string());
    let id = line.config.as_ref().map_or("", |config| config.image_id.as_str());
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    full.is_ok_and(|full| full == line.container.image)
        || line.container.image == image
        || id == image
        || (image.len() >= 4 && !hex.is_empty() && hex.starts_with(image))
}

/// `*` stands for any text without a slash, `?` for one character (Go's path.Match without classes). A pattern that is too large
/// matches nothing; matching takes linear time, whatever the pattern.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut expression = String::from("^");
    for c in pattern.chars() {
        match c {
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push('$');
    regex::RegexBuilder::new(&expression).size_limit(1 << 20).build().is_ok_and(|glob| glob.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stop_at_slashes() {
        assert!(glob("busy*", "busybox"));
        assert!(glob("*/app:?", "me/app:1"));
        assert!(!glob("*", "a/b"));
        assert!(!glob("b", "bb"));
    }

    #[test]
    fn unknown_keys_are_named() {
        let error = Filters::parse(&["nope=1".into()], &["id"]).err().unwrap();
        assert_eq!(error.message(), "invalid filter 'nope'");
        assert!(Filters::parse(&["id".into()], &["id"]).is_err());
    }
}
