//! The report as Markdown.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;

use super::Plan;
use super::machine;
use super::timing::Samples;

/// The title, the machine, and how the numbers came to be.
pub fn head(plan: &Plan, facts: &[(String, String)]) -> String {
    let mut text = String::from("# Side by side\n\n");
    let _ = writeln!(
        text,
        "`cargo xtask bench --rounds {} --restarts {} --containers {}`: each does it once unwatched, then in turns. A ratio below 1 \
         means that ours needs less.\n",
        plan.rounds, plan.restarts, plan.containers
    );
    text.push_str("| machine | |\n|---|---|\n");
    for (name, value) in facts {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

/// How busy the machine was at the end.
pub fn foot() -> Result<String> {
    Ok(format!("\nLoad at the end: {}\n", machine::load()?))
}

/// A table that holds ours, a pair each, against others.
pub fn times(title: &str, pairs: &[(&Samples, &Samples)]) -> String {
    let mut text = format!(
        "\n## {title}\n\n| ours | against | ours min | peer min | ratio of min | ours median | peer median | ratio of medians |\n\
         |---|---|--:|--:|--:|--:|--:|--:|\n"
    );
    for (ours, peer) in pairs {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            ours.name,
            peer.name,
            shown(ours.min()),
            shown(peer.min()),
            ratio(ours.min().as_secs_f64(), peer.min().as_secs_f64()),
            shown(ours.median()),
            shown(peer.median()),
            ratio(ours.median().as_secs_f64(), peer.median().as_secs_f64()),
        );
    }
    text
}

/// How many times the peer's is ours.
pub fn ratio(ours: f64, peer: f64) -> String {
    if peer > 0.0 { format!("{:.2}", ours / peer) } else { "-".to_owned() }
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_both_and_their_ratios() {
        let of = |name: &str, times: [u64; 3]| {
            Samples::new(name.to_owned(), times.map(Duration::from_millis).to_vec())
        };
        let text = times("run", &[(&of("a", [10, 20, 30]), &of("b", [20, 80, 90]))]);
        assert!(
            text.ends_with("| a | b | 10.0 ms | 20.0 ms | 0.50 | 20.0 ms | 80.0 ms | 0.25 |\n"),
            "{text}"
        );
        assert_eq!(ratio(1.0, 0.0), "-");
    }
}
