//! docs/security.md names a test for each sentence: they exist.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The document.
const DOCUMENT: &str = "docs/security.md";
/// It has many: a document whose tests are not found any more in it is not checked.
const MANY: usize = 40;

/// Adds a line to `broken` for each test that is named and is not there.
pub fn check(root: &Path, broken: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("read {DOCUMENT}"))?;
    let mut named = 0;
    for (file, test) in text.split('`').filter_map(reference) {
        named += 1;
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        if !source.contains(&format!("fn {test}(")) {
            broken.push(format!("{DOCUMENT}: there is no test {test} in {file}"));
        }
    }
    ensure!(named >= MANY, "{DOCUMENT}: only {named} tests are named");
    Ok(())
}

/// `folder/file.rs: test`.
fn reference(quoted: &str) -> Option<(&str, &str)> {
    let (file, test) = quoted.split_once(": ")?;
    (file.ends_with(".rs") && !test.contains(' ')).then_some((file, test))
}
