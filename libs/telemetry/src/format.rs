//! What a line looks like.

use std::fmt::Write;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// RFC 3339 in UTC with all nine digits, so that lines sort.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=info msg="..." key=value`
    Text,
    /// `{"level":"info","msg":"...","time":"...","key":"value"}`
    Json,
}

/// One event, ready to be written.
pub(crate) struct Line {
    pub(crate) time: OffsetDateTime,
    pub(crate) level: tracing::Level,
    pub(crate) message: String,
    /// Spans' fields first, outermost first.
    pub(crate) fields: Vec<(String, Value)>,
}

impl Format {
    /// Parses the configuration's word; empty means text.
    pub fn parse(word: &str) -> Result<Format, String> {
        match word {
            "" | "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(format!("not a valid log format: {word:?} (one of text, json)")),
        }
    }

    pub(crate) fn render(self, line: &Line) -> String {
        // The description has only parts that every time has.
        let time = line.time.to_offset(time::UtcOffset::UTC).format(TIME).unwrap_or_default();
        match self {
            Format::Text => text(&time, line),
            Format::Json => json(time, line),
        }
    }
}

fn text(time: &str, line: &Line) -> String {
    let mut text = format!("time=\"{time}\" level={} msg={}", name(line.level), quoted(&line.message));
    for (key, value) in &line.fields {
        let value = match value {
            Value::String(value) => quoted(value),
            other => quoted(&other.to_string()),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, " {key}={value}");
    }
    text.push('\n');
    text
}

fn json(time: String, line: &Line) -> String {
    let mut fields: Map<String, Value> = line.fields.iter().cloned().collect();
    fields.insert("time".to_owned(), time.into());
    fields.insert("level".to_owned(), name(line.level).into());
    fields.insert("msg".to_owned(), line.message.as_str().into());
    seen(&Value::Object(fields).to_string()) + "\n"
}

/// containerd's names: it says "warning".
fn name(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::TRACE => "trace",
        tracing::Level::DEBUG => "debug",
        tracing::Level::INFO => "info",
        tracing::Level::WARN => "warning",
        tracing::Level::ERROR => "error",
    }
}

/// The value as logfmt has it: in quotes unless it is a plain word. A line stays a line whatever it holds.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    // JSON's escapes are Go's too, but for characters that need none here.
    seen(&Value::from(value).to_string())
}

/// JSON leaves as they are: the commands of 8-bit terminals, and characters that turn the direction of text or end a line unseen. Somebody who
/// reads the log on a terminal is to see them, not to obey them.
fn seen(json: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match hidden(c) {
            // Writing to a String cannot fail.
            true => drop(write!(text, "\\u{:04x}", u32::from(c))),
            false => text.push(c),
        }
    }
    text
}
