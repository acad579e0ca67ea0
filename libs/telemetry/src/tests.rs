//! Lines as they come out.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use crate::layer::Lines;
use crate::{Format, Level};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines of what `told` logs, without their time.
fn lines(level: &str, format: &str, told: impl FnOnce()) -> Vec<String> {
    let sink = Sink::default();
    let out = sink.clone();
    let layer = Lines::new(Format::parse(format).unwrap(), move || out.clone())
        .with_filter(Level::parse(level).unwrap().targets());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), told);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn tell() {
    tracing::trace!("trace");
    tracing::debug!("debug");
    tracing::info!(id = "c1", count = 3, empty = "", "it started");
    tracing::warn!(error = %"a \"b\"\nc", "line\nbreak");
    let span = tracing::info_span!("task", namespace = "default", id = "outer");
    let _in = span.enter();
    tracing::error!(id = "inner", path = ?"/x y", "failed");
    tracing::info!(target: "h2::codec", "chatter");
    tracing::warn!(target: "h2::codec", "trouble");
}

#[test]
fn text_is_logfmt() {
    let lines = lines("info", "text", tell);
    let rest: Vec<&str> = lines
        .iter()
        .map(|line| {
            let (time, rest) = line.strip_prefix("time=\"").unwrap().split_once("\" ").unwrap();
            assert_eq!((time.len(), time.ends_with('Z')), (30, true), "{time}");
            rest
        })
        .collect();
    assert_eq!(
        rest,
        [
            r#"level=info msg="it started" id=c1 count=3 empty="""#,
            r#"level=warning msg="line\nbreak" error="a \"b\"\nc""#,
            r#"level=error msg=failed namespace=default id=inner path="\"/x y\"""#,
            r#"level=warning msg=trouble namespace=default id=outer"#,
        ]
    );
}

#[test]
fn json_is_an_object_a_line() {
    let lines = lines("info", "json", tell);
    assert_eq!(lines.len(), 4);
    let value: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    assert_eq!(value["level"], "error");
    assert_eq!(value["msg"], "failed");
    assert_eq!(value["namespace"], "default");
    assert_eq!(value["id"], "inner");
    assert!(value["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_line_stays_a_line_and_commands_no_terminal() {
    let hostile = "a\nlevel=error msg=forged\r\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2028}";
    for format in ["text", "json"] {
        let lines = lines("info", format, || tracing::info!(id = hostile, error = %hostile, "{hostile}"));
        assert_eq!(lines.len(), 1, "{format}");
        assert!(lines[0].chars().all(|c| (' '..='~').contains(&c)), "{format}: {:?}", lines[0]);
        assert_eq!(lines[0].matches("\\u001b[2J").count(), 3, "{format}: {}", lines[0]);
    }
}

#[test]
fn levels_let_through_what_they_say() {
    for (level, count) in
        [("trace", 6), ("debug", 5), ("info", 4), ("WARNING", 3), ("error", 1), ("fatal", 0), ("panic", 0)]
    {
        assert_eq!(lines(level, "", tell).len(), count, "{level}");
    }
    assert!(Level::parse("loud").unwrap_err().contains("\"loud\""));
    assert!(Format::parse("xml").unwrap_err().contains("\"xml\""));
}
