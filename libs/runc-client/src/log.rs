//! The executor's own log: where it says why it failed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

/// Only this much of the log's end is read.
const TAIL: u64 = 64 << 10;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The log's present end: errors before it belong to earlier verbs.
pub(crate) fn mark(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

/// The last error written after `mark`, in either of runc's two formats; `None` if there is none, or no log.
pub(crate) fn last_error(path: &Path, mark: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let end = file.metadata().ok()?.len();
    // A log that has shrunk was begun anew.
    let from = if end < mark { 0 } else { mark };
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL)))).ok()?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text).ok()?;
    String::from_utf8_lossy(&text).lines().rev().find_map(error_of)
}

/// The error that a line of the log tells of, in either format.
pub(crate) fn error_of(line: &str) -> Option<String> {
    if let Ok(line) = serde_json::from_str::<Line>(line) {
        let fatal = matches!(line.level.as_str(), "error" | "fatal" | "panic");
        return (fatal && !line.msg.is_empty()).then(|| line.msg.trim().to_owned());
    }
    let quoted = line.split_once("level=error msg=").map(|(_, rest)| rest)?;
    serde_json::from_str::<String>(quoted.trim()).ok().or_else(|| Some(quoted.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str, mark: u64) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        last_error(file.path(), mark)
    }

    #[test]
    fn the_last_error_counts() {
        let text = concat!(
            "{\"level\":\"error\",\"msg\":\"first\",\"time\":\"2024\"}\n",
            "{\"level\":\"error\",\"msg\":\" second \\\"x\\\" \",\"time\":\"2024\"}\n",
            "{\"level\":\"info\",\"msg\":\"later\"}\n",
        );
        assert_eq!(last(text, 0).as_deref(), Some("second \"x\""));
        assert_eq!(last(text, text.len() as u64), None, "errors of an earlier verb");
        assert_eq!(last(text, 1 << 20).as_deref(), Some("second \"x\""), "the log was begun anew");
    }

    #[test]
    fn the_text_format_is_read_too() {
        assert_eq!(last("time=\"x\" level=error msg=\"bad \\\"y\\\"\"\n", 0).as_deref(), Some("bad \"y\""));
    }

    #[test]
    fn only_the_tail_is_read_and_torn_lines_do_no_harm() {
        let mut text = "{\"level\":\"error\",\"msg\":\"old\"}\n".to_owned();
        text.push_str(&"x".repeat(TAIL as usize));
        text.push_str("\n{\"level\":\"err");
        assert_eq!(last(&text, 0), None);
        assert_eq!(last_error(Path::new("/nonexistent"), 0), None);
    }
}
