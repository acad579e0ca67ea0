//! What an image's config may say of containers. Whoever made the image is a stranger: what no execution could carry, and
//! what would be read otherwise than it looks, is refused by name before a container is made of it.

use errors::{Error, Result};

use super::ImageDefaults;
use crate::kill::parse_signal;

/// The most entries of Env, and of Entrypoint and Cmd together.
const MAX_ENTRIES: usize = 4096;
/// The most bytes of one of them, with its NUL (execve(2), `MAX_ARG_STRLEN`).
const MAX_TEXT: usize = 128 << 10;
/// The most bytes of all of them (execve(2): a quarter of the stack's usual limit).
const MAX_ALL: usize = 2 << 20;
/// The most bytes of a path (path_resolution(7), `PATH_MAX`).
const MAX_PATH: usize = 4096;
/// The most bytes of USER: two names and a colon.
const MAX_USER: usize = 1024;
/// The most labels.
const MAX_LABELS: usize = 1024;

/// Refuses what cannot be; leaves out labels that are too long to store, as other runtimes do.
pub(super) fn check(mut image: ImageDefaults) -> Result<ImageDefaults> {
    texts("Env", image.env.iter())?;
    texts("Entrypoint and Cmd", image.entrypoint.iter().chain(&image.cmd))?;
    for entry in &image.env {
        if entry.is_empty() || entry.starts_with('=') {
            return refuse("Env", &format!("{:?} has no name", shown(entry)));
        }
    }
    if image.user.len() > MAX_USER || image.user.chars().any(char::is_control) {
        return refuse("User", &format!("{:?} is no user", shown(&image.user)));
    }
    if image.working_dir.len() >= MAX_PATH || image.working_dir.contains('\0') {
        return refuse("WorkingDir", &format!("{:?} is no path", shown(&image.working_dir)));
    }
    if !image.stop_signal.is_empty() && parse_signal(&image.stop_signal).is_err() {
        return refuse("StopSignal", &format!("{:?} is no signal", shown(&image.stop_signal)));
    }
    if image.labels.len() > MAX_LABELS {
        return refuse("Labels", &format!("{} of them, more than {MAX_LABELS}", image.labels.len()));
    }
    image.labels.retain(|key, value| {
        let fits = ids::validate_label(key, value).is_ok();
        if !fits {
            tracing::warn!(key = shown(key), "left out a label of the image that is too long");
        }
        fits
    });
    Ok(image)
}

fn texts<'a>(field: &str, all: impl Iterator<Item = &'a String> + Clone) -> Result<()> {
    let count = all.clone().count();
    if count > MAX_ENTRIES {
        return refuse(field, &format!("{count} entries, more than {MAX_ENTRIES}"));
    }
    let mut sum = 0;
    for text in all {
        sum += text.len() + 1;
        if text.len() >= MAX_TEXT {
            return refuse(
                field,
                &format!("{:?} has {} bytes, {MAX_TEXT} are too many", shown(text), text.len()),
            );
        }
        if text.contains('\0') {
            return refuse(field, &format!("{:?} has a NUL byte", shown(text)));
        }
    }
    match sum > MAX_ALL {
        true => refuse(field, &format!("{sum} bytes in all, more than {MAX_ALL}")),
        false => Ok(()),
    }
}

fn refuse<T>(field: &str, why: &str) -> Result<T> {
    Err(Error::invalid(format!("the image's config cannot be used: {field}: {why}")))
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: serde_json::Value) -> Result<ImageDefaults> {
        ImageDefaults::parse(json!({ "config": config }).to_string().as_bytes())
    }

    #[test]
    fn what_no_execution_carries_is_refused_by_name() {
        let many = vec!["A=1"; 5000];
        let heavy: Vec<String> = (0..40).map(|at| format!("A{at}={}", "x".repeat(100_000))).collect();
        for (config, words) in [
            (json!({ "Env": ["A=\u{0}"] }), "Env: \"A=\\0\" has a NUL byte"),
            (json!({ "Env": ["=x"] }), "Env: \"=x\" has no name"),
            (json!({ "Env": [""] }), "has no name"),
            (json!({ "Env": [format!("A={}", "x".repeat(1 << 20))] }), "has 1048578 bytes"),
            (json!({ "Env": many }), "5000 entries"),
            (json!({ "Env": heavy }), "bytes in all"),
            (json!({ "Entrypoint": ["/bin/\u{0}sh"] }), "Entrypoint and Cmd"),
            (json!({ "Entrypoint": "/bin/sh" }), "expected a sequence"),
            (json!({ "Cmd": [1] }), "expected a string"),
            (json!({ "User": "root\nx" }), "User: \"root\\nx\" is no user"),
            (json!({ "User": "x".repeat(5000) }), "User"),
            (json!({ "WorkingDir": "/a\u{0}b" }), "WorkingDir"),
            (json!({ "WorkingDir": "/x".repeat(4000) }), "WorkingDir"),
            (json!({ "StopSignal": "BOO" }), "StopSignal: \"BOO\" is no signal"),
            (
                json!({ "Labels": (0..2000).map(|at| (at.to_string(), "x")).collect::<std::collections::BTreeMap<_, _>>() }),
                "Labels",
            ),
        ] {
            let error = read(config).unwrap_err();
            assert_eq!(error.kind(), errors::Kind::InvalidArgument, "{words}");
            assert!(error.chain().contains(words), "{words}: {}", error.chain());
        }
    }

    #[test]
    fn what_is_merely_odd_is_taken() {
        let image = read(json!({
            "Env": ["A=line\nline", "PATH=", "EMPTY"],
            "WorkingDir": "/../../etc/..",
            "Volumes": { "/../x": {} },
            "ExposedPorts": { "99999999/tcp": {} },
            "Labels": { "long": "x".repeat(5000), "short": "y" },
        }));
        let image = image.unwrap();
        assert_eq!(image.env.len(), 3);
        assert_eq!(image.labels.into_iter().collect::<Vec<_>>(), [("short".into(), "y".into())]);
    }
}
