//! Tells the client how far a transfer is, in the words that containerd's clients know.

use std::sync::Arc;
use std::time::Duration;

use image::{Descriptor, ProgressSink, media_type};
use proto_containerd::types;
use proto_containerd::types::transfer::Progress;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::convert::{descriptor_to_wire, signed};
use crate::streaming::{Duplex, Outgoing};

/// Messages that wait for the client. When they are that many, further ones are dropped: each tells where a thing
/// stands, not what has changed.
const WAITING: usize = 1024;
/// How long a client may take to read the last of them.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to the client's progress stream, if it gave one.
pub(super) struct Reporter {
    messages: mpsc::Sender<Progress>,
    forwarder: JoinHandle<()>,
}

impl Reporter {
    /// Begins to tell.
    pub(super) fn start(stream: Option<Duplex>) -> Reporter {
        let (messages, receiver) = mpsc::channel(WAITING);
        let outgoing = stream.map(|stream| stream.outgoing);
        Reporter { messages, forwarder: tokio::spawn(forward(receiver, outgoing)) }
    }

    /// Tells what the transfer as a whole does.
    pub(super) fn event(&self, event: impl Into<String>) {
        self.send(Progress { event: event.into(), ..Default::default() });
    }

    /// Tells what an image has come to.
    pub(super) fn image(&self, event: &str, name: &str, target: Option<&Descriptor>) {
        let desc = target.cloned().map(descriptor_to_wire);
        self.send(Progress { event: event.to_owned(), name: name.to_owned(), desc, ..Default::default() });
    }

    /// Takes what the image room tells of the parts of `root`.
    pub(super) fn sink(&self, root: &str) -> ProgressSink {
        let (messages, root) = (self.messages.clone(), root.to_owned());
        Arc::new(move |progress| {
            if let Some(message) = translated(progress, &root) {
                let _ = messages.try_send(message);
            }
        })
    }

    /// Waits until the client has been told everything, but not for ever.
    pub(super) async fn finish(self) {
        drop(self.messages);
        let _ = tokio::time::timeout(PATIENCE, self.forwarder).await;
    }

    fn send(&self, message: Progress) {
        let _ = self.messages.try_send(message);
    }
}

async fn forward(mut messages: mpsc::Receiver<Progress>, outgoing: Option<Outgoing>) {
    while let Some(message) = messages.recv().await {
        let Some(outgoing) = &outgoing else { continue };
        if outgoing.send(&message).await.is_err() {
            return;
        }
    }
}

/// A part's step as containerd tells it; steps of names are told by the transfer itself, and those of an archive's files not
/// at all.
fn translated(progress: image::Progress, root: &str) -> Option<Progress> {
    let event = match progress.status.as_str() {
        _ if !progress.media_type.starts_with("application/") => return None,
        "done" => "complete",
        "exists" => "already exists",
        other => other,
    };
    let (offset, total) = (signed(progress.offset), signed(progress.total));
    let desc = types::Descriptor {
        media_type: progress.media_type.clone(),
        digest: progress.id.clone(),
        size: total,
        ..Default::default()
    };
    Some(Progress {
        event: event.to_owned(),
        name: format!("{}-{}", family(&progress.media_type), progress.id),
        parents: vec![root.to_owned()],
        progress: if matches!(event, "complete" | "already exists") { total } else { offset },
        total,
        desc: Some(desc),
    })
}

/// What clients show in front of a digest.
fn family(kind: &str) -> &'static str {
    match kind {
        kind if kind.ends_with("image.index.v1+json") || kind.contains("manifest.list") => "index",
        kind if kind.contains(".manifest.") => "manifest",
        kind if media_type::is_config(kind) => "config",
        kind if kind.contains(".layer.") || kind.contains(".rootfs.") => "layer",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(status: &str, media_type: &str) -> image::Progress {
        image::Progress {
            id: "sha256:0".into(),
            status: status.into(),
            offset: 3,
            total: 10,
            media_type: media_type.into(),
        }
    }

    #[test]
    fn steps_have_containerds_names() {
        let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
        let told = translated(step("downloading", layer), "root").unwrap();
        assert_eq!((told.event.as_str(), told.name.as_str()), ("downloading", "layer-sha256:0"));
        assert_eq!((told.progress, told.total, told.parents), (3, 10, vec!["root".to_owned()]));
        let told = translated(step("done", layer), "root").unwrap();
        assert_eq!((told.event.as_str(), told.progress), ("complete", 10));
        assert_eq!(translated(step("exists", layer), "root").unwrap().event, "already exists");
    }

    #[test]
    fn families_are_told_by_media_type() {
        for (kind, expected) in [
            ("application/vnd.oci.image.index.v1+json", "index"),
            ("application/vnd.docker.distribution.manifest.list.v2+json", "index"),
            ("application/vnd.docker.distribution.manifest.v2+json", "manifest"),
            ("application/vnd.oci.image.manifest.v1+json", "manifest"),
            ("application/vnd.docker.container.image.v1+json", "config"),
            ("application/vnd.oci.image.config.v1+json", "config"),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", "layer"),
            ("application/octet-stream", "unknown"),
        ] {
            assert_eq!(family(kind), expected, "{kind}");
        }
    }

    #[test]
    fn steps_of_names_and_files_are_left_out() {
        assert_eq!(translated(step("resolved", ""), "root"), None);
        assert_eq!(translated(step("done", "layer.tar"), "root"), None);
    }
}
