//! The picture of a trace: the steps of all programs, each below the one that it lies in, with when it began and how long it took.

use crate::failure::plain;

/// How many columns the whole time takes.
const COLUMNS: usize = 40;

/// A step that has ended; times in nanoseconds of one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    program: String,
    pid: String,
    name: String,
    start: u64,
    end: u64,
}

/// Draws the lines of a trace (`<program> <pid> <mark> <start> <end>`); what is no such line is left out.
pub fn draw(lines: &str) -> String {
    let mut spans: Vec<Span> = lines.lines().filter_map(span).collect();
    spans.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let Some(first) = spans.first().map(|span| span.start) else { return String::new() };
    let last = spans.iter().map(|span| span.end).max().unwrap_or(first);
    let depths = depths(&spans);
    let labels: Vec<String> = spans
        .iter()
        .zip(&depths)
        .map(|(span, depth)| format!("{:indent$}{}", "", plain(&span.name), indent = depth * 2))
        .collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max("STEP".len());
    let mut text =
        format!("{:<width$}   {:>9} {:>9}   {:<COLUMNS$}   PROCESS\n", "STEP", "AT (ms)", "FOR (ms)", "");
    for (span, label) in spans.iter().zip(&labels) {
        let (at, long) = (milliseconds(span.start - first), milliseconds(span.end - span.start));
        let bar = bar(span, first, last);
        let process = format!("{} {}", plain(&span.program), plain(&span.pid));
        text.push_str(&format!("{label:<width$}   {at:>9.3} {long:>9.3}   {bar:<COLUMNS$}   {process}\n"));
    }
    text
}

fn span(line: &str) -> Option<Span> {
    let mut words = line.split(' ');
    let mut word = || words.next().map(str::to_owned);
    let (program, pid, name) = (word()?, word()?, word()?);
    let (start, end) = (word()?.parse().ok()?, word()?.parse().ok()?);
    (end >= start).then_some(Span { program, pid, name, start, end })
}

/// How many steps each lies in. Steps that overlap without one lying in the other stand side by side.
fn depths(spans: &[Span]) -> Vec<usize> {
    let mut around: Vec<u64> = Vec::new();
    let depth_of = |span: &Span| {
        while around.last().is_some_and(|end| *end < span.end) {
            around.pop();
        }
        around.push(span.end);
        around.len() - 1
    };
    spans.iter().map(depth_of).collect()
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn bar(span: &Span, first: u64, last: u64) -> String {
    let total = (last - first).max(1) as u128;
    let column = |time: u64| (u128::from(time - first) * COLUMNS as u128 / total) as usize;
    let from = column(span.start).min(COLUMNS - 1);
    let long = (column(span.end).max(from + 1) - from).min(COLUMNS - from);
    format!("{}{}", " ".repeat(from), "=".repeat(long))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_below_those_they_lie_in() {
        let lines = "runtimed 2 b.c.d 1000000 3000000\nrctl 1 a.b.c 0 4000000\nrunc-rs 3 c.d.e 1500000 2000000\n\
                     runtimed 2 b.c.e 3000000 3500000\nno line\nx 1 y 5 4\n";
        let text = draw(lines);
        // The name ends at the first blank behind what it is indented by.
        let begins: Vec<&str> = text
            .lines()
            .skip(1)
            .map(|line| {
                let indent = line.len() - line.trim_start().len();
                let end = line[indent..].find(' ').map_or(line.len(), |at| indent + at);
                &line[..end]
            })
            .collect();
        assert_eq!(begins, ["a.b.c", "  b.c.d", "    c.d.e", "  b.c.e"]);
        assert!(text.lines().nth(3).unwrap().ends_with("runc-rs 3"), "{text}");
        assert!(text.contains("    1.500     0.500"), "{text}");
        assert_eq!(draw(""), "");
    }

    #[test]
    fn bars_stay_within_their_columns() {
        for (start, end) in [(0, 0), (0, 10), (10, 10), (9, 10)] {
            let span = Span { program: "p".into(), pid: "1".into(), name: "n".into(), start, end };
            let bar = bar(&span, 0, 10);
            assert!(bar.ends_with('=') && bar.len() <= COLUMNS, "{start} {end} {bar:?}");
        }
    }
}
