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
                bar.set_message(sentence(progress));
            }
            None if changed && finished(&progress.status) => {
                eprintln!("{name}: {}", sentence(progress))
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
        Some((_, hex)) if hex.len() == 64 => plain(&hex.chars().take(12).collect::<String>()),
        _ => plain(id),
    }
}

fn finished(status: &str) -> bool {
    matches!(status, "done" | "exists" | "saved")
}

/// docker's words for layers; what else an image is made of is not said to be the pull's end.
fn sentence(progress: &v1::Progress) -> String {
    match progress.status.as_str() {
        "resolving" => "Resolving",
        "resolved" => "Resolved",
        "waiting" => "Waiting",
        "downloading" => "Downloading",
        "extracting" => "Extracting",
        "done" if is_layer(&progress.media_type) => "Pull complete",
        "done" => "Download complete",
        "exists" => "Already exists",
        "saved" => "Saved",
        other => return plain(other),
    }
    .to_owned()
}

/// Is it a layer, as OCI and docker name them?
fn is_layer(media_type: &str) -> bool {
    media_type.contains(".layer.")
        || media_type.contains(".rootfs.diff.")
        || media_type.contains(".rootfs.foreign.diff.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_layer_completes_the_pull() {
        let said = |media_type: &str| {
            let progress =
                v1::Progress { status: "done".into(), media_type: media_type.into(), ..Default::default() };
            sentence(&progress)
        };
        assert_eq!(said("application/vnd.oci.image.layer.v1.tar+gzip"), "Pull complete");
        assert_eq!(said("application/vnd.docker.image.rootfs.diff.tar.gzip"), "Pull complete");
        assert_eq!(said("application/vnd.oci.image.config.v1+json"), "Download complete");
        assert_eq!(said("application/vnd.docker.distribution.manifest.v2+json"), "Download complete");
    }
}
