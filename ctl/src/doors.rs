//! Doors for tests: what a person types, and what a daemon, a registry or a container has them read.

use crate::failure::{plain, turns};
use crate::output::format::Format;
use crate::output::table::Table;
use crate::output::{familiar, time};
use crate::parse;

/// May a terminal be given this? Tabs and ends of lines are no commands.
fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || c == '\t' || !(c.is_control() || turns(c)))
}

/// A `--format`, applied to a record as the daemon may have sent it.
pub fn format(template: &str, record: &[u8]) {
    let Ok(format) = Format::parse(template) else { return };
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(record) else { return };
    let _ = format.render(std::slice::from_ref(&record));
}

/// Texts of others on their way to the terminal.
pub fn shown(text: &str) {
    assert!(is_harmless(&plain(text)), "{text:?}");
    assert!(is_harmless(&familiar(text)), "{text:?}");
    let mut table = Table::new(&["NAME", "IMAGE"]);
    table.row(vec![text.to_owned(), familiar(text)]);
    let table = table.render();
    assert!(is_harmless(&table) && table.lines().count() == 2, "{text:?}: {table:?}");
}

/// Values of flags. Sizes and shares that are taken are not negative, but for -1; paths are absolute.
pub fn flags(text: &str) {
    assert!(parse::size(text).is_ok_and(|size| size >= -1) || parse::size(text).is_err());
    assert!(parse::cpus(text).is_ok_and(|cpus| cpus >= 0) || parse::cpus(text).is_err());
    for mount in [parse::volume(text), parse::mount(text), parse::tmpfs(text)].into_iter().flatten() {
        assert!(!mount.target.is_empty(), "{text:?}");
        assert!(mount.r#type != "bind" || mount.source.starts_with('/'), "{text:?}");
    }
    let _ = (parse::ulimit(text), time::go_duration(text));
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = parse::labels(&lines);
    for entry in parse::environment(&[], &lines).unwrap_or_default() {
        assert!(entry.contains('=') && !entry.starts_with('='), "{text:?}");
    }
}
