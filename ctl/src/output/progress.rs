//! How far a pull or load is: bars on a terminal, a plain line for each finished part elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto_engine::v1;

use super::time::human_size;
use crate::failure::plain;

/// Shows the parts of one piece of work.
pub struct Progress {
    bars: Option<MultiProgress>,
    parts: HashMap<String, Part>,
}

struct Part {
    bar: Option<ProgressBar>,
    status: String,
}

impl Progress {
    /// Bars when stderr is a terminal; nothing at all when `quiet`.
    pub fn new(quiet: bool) -> Option<Progress> {
        if quiet {
            return None;
        }
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Some(Progress { bars, parts: HashMap::new() })
    }

    /// A part is so far.
    pub fn update(&mut self, progress: &v1::Progress) {
        let name = short(&progress.id);
        let bars = &self.bars;
        let part = self.parts.entry(progress.id.clone()).or_insert_with(|| {
            let bar = bars.as_ref().map(|bars| bars.add(bar(&name)));
            Part { bar, status: String::new() }
        });
        let changed = part.status != progress.status;
        part.status.clone_from(&progress.status);
        match &part.bar {
            Some(bar) => {
                bar.set_length(progress.total.max(1));
                bar.set_position(if finished(&progress.status) {
                    progress.total.max(1)
                } else {
                    progress.offset
                });
                bar.set_message(sentence(&progress.status));
            }
            None if changed && finished(&progress.status) => {
                eprintln!("{name}: {}", sentence(&progress.status))
            }
            None => {}
        }
    }

    /// The work has ended: the bars stay as they are.
    pub fn finish(self) {
        for part in self.parts.values() {
            if let Some(bar) = &part.bar {
                bar.abandon();
            }
        }
    }
}

/// How much was written to a file: a running count on a terminal, one line at the end elsewhere.
pub struct Written {
    bar: Option<ProgressBar>,
    bytes: u64,
}

impl Written {
    /// Nothing is written yet.
    pub fn new() -> Written {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {bytes} ({bytes_per_sec})");
            let bar = ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar
        });
        Written { bar, bytes: 0 }
    }

    /// So many bytes more.
    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes);
        }
    }

    /// All is written to `name`.
    pub fn finish(self, name: &str) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        let size = human_size(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        eprintln!("Saved {size} to {}", plain(name));
    }
}

fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(1);
    let style = ProgressStyle::with_template("{prefix}: {msg:12} [{bar:40}] {bytes}/{total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    bar
}

/// docker's twelve digits of a digest; anything else as it is.
fn short(id: &str) -> String {
    match id.split_once(':') {
        Some((_, hex)) if hex.len() == 64 => hex.chars().take(12).collect(),
        _ => plain(id),
    }
}

fn finished(status: &str) -> bool {
    matches!(status, "done" | "exists" | "saved")
}

fn sentence(status: &str) -> String {
    match status {
        "resolving" => "Resolving",
        "resolved" => "Resolved",
        "waiting" => "Waiting",
        "downloading" => "Downloading",
        "extracting" => "Extracting",
        "done" => "Pull complete",
        "exists" => "Already exists",
        "saved" => "Saved",
        other => other,
    }
    .to_owned()
}
