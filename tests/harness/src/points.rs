//! The marks in the source: every step at which a program can be made to die.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where marks are, and what their names begin with there; below `runtimed/` that is the crate's folder.
const PLACES: &[(&str, &str)] = &[("ctl/src", "rctl"), ("shim/src", "shim"), ("runc-rs/src", "runc-rs")];
/// How a mark is written, and whether it may fail.
const FORMS: &[(&str, bool)] =
    &[("marks::step(\"", true), (".next(\"", true), ("marks::begun(\"", false), ("marks::passed(\"", false)];

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// `<program or room>.<verb>.<step>`.
    pub name: String,
    /// Whether it can be made to fail, or only to die or to wait.
    pub may_fail: bool,
    /// The file, from the repository's root.
    pub file: PathBuf,
    /// What its name must begin with there.
    pub room: String,
}

impl Point {
    /// Is the name of the form that is agreed on?
    pub fn is_well_named(&self) -> bool {
        let parts: Vec<&str> = self.name.split('.').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        parts.len() == 3 && parts.iter().all(plain) && parts[0] == self.room
    }
}

/// All marks below the repository's `root`, in the order of their names. One that stands twice is there twice.
pub fn all(root: &Path) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for (folder, room) in places(root)? {
        for file in sources(&root.join(folder))? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let shown = file.strip_prefix(root).unwrap_or(&file).to_owned();
            points.extend(find(&text).into_iter().map(|(name, may_fail)| Point {
                name,
                may_fail,
                file: shown.clone(),
                room: room.clone(),
            }));
        }
    }
    points.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(points)
}

/// The names that stand more than once.
pub fn repeated(points: &[Point]) -> Vec<&Point> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for point in points {
        *counts.entry(&point.name).or_default() += 1;
    }
    points.iter().filter(|point| counts[point.name.as_str()] > 1).collect()
}

fn places(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut places: Vec<(PathBuf, String)> =
        PLACES.iter().map(|(folder, room)| (PathBuf::from(folder), (*room).to_owned())).collect();
    for entry in std::fs::read_dir(root.join("runtimed")).context("list runtimed/")?.flatten() {
        let room = entry.file_name().to_string_lossy().into_owned();
        if entry.path().join("src").is_dir() {
            places.push((Path::new("runtimed").join(&room).join("src"), room));
        }
    }
    Ok(places)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

fn find(text: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for (form, may_fail) in FORMS {
        for (at, _) in text.match_indices(form) {
            let rest = &text[at + form.len()..];
            if let Some((name, _)) = rest.split_once('"') {
                found.push((name.to_owned(), *may_fail));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_however_they_are_written() {
        let text = "let mut step = marks::step(\"a.b.c\")?;\nundo.or_back(step.next(\"a.b.d\").map_err(E::from)).await?;\n\
                    marks::passed(\"a.b.e\"); let _s = marks::begun(\"a.b.f\"); iterator.next();";
        let mut found = find(text);
        found.sort();
        let expected = [("a.b.c", true), ("a.b.d", true), ("a.b.e", false), ("a.b.f", false)];
        assert_eq!(found, expected.map(|(name, fails)| (name.to_owned(), fails)));
    }

    #[test]
    fn names_have_three_parts_and_begin_with_their_place() {
        let point = |name: &str| Point {
            name: name.into(),
            may_fail: true,
            file: PathBuf::new(),
            room: "flows".into(),
        };
        assert!(point("flows.create.user-id").is_well_named());
        for bad in ["flows.create", "task.create.x", "flows.create.", "flows.Create.x", "flows.a.b.c"] {
            assert!(!point(bad).is_well_named(), "{bad}");
        }
        let twice = [point("flows.a.b"), point("flows.a.c"), point("flows.a.b")];
        assert_eq!(repeated(&twice).len(), 2);
    }
}
