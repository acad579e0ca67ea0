//! Layers made apart from their parents and stacked afterwards: a layer of an overlay is a folder of its own, so several
//! of one chain may be filled at the same time.

use errors::{Error, Kind as ErrorKind, Result};
use ids::{Labels, Namespace};
use proto_containerd::events::{SnapshotCommit, SnapshotPrepare};

use crate::plan;
use crate::record;
use crate::snapshotter::{Snapshotter, blocking, to_end};
use crate::{Kind, Mount, tree};

/// One layer of a chain that is to be committed.
#[derive(Debug, Clone)]
pub struct Stacked {
    /// The key that it was prepared under, by [`Snapshotter::prepare_apart`].
    pub key: String,
    /// Its name from then on.
    pub name: String,
}

impl Snapshotter {
    /// Can layers be made apart from their parents?
    pub fn stacks(&self) -> bool {
        self.backend().is_stackable()
    }

    /// Makes a writable snapshot that gets its parent when it is committed, by [`Snapshotter::commit_stack`]. What is
    /// returned says where the layer goes and how its marks are written; it is not to be mounted, for it has no lower
    /// folders. `Unimplemented` unless [`Snapshotter::stacks`].
    pub async fn prepare_apart(&self, namespace: &Namespace, key: &str, labels: Labels) -> Result<Mount> {
        if !self.stacks() {
            return Err(Error::unimplemented(format!("snapshotter {} stacks no layers", self.name())));
        }
        self.create(namespace, Kind::Active, key, "", labels).await?;
        let event = SnapshotPrepare {
            key: key.to_owned(),
            parent: String::new(),
            snapshotter: self.name().to_owned(),
        };
        self.events().publish(namespace, "/snapshot/prepare", &event);
        let id = self.find(namespace, key)?.id;
        self.backend()
            .apart(id)
            .ok_or_else(|| Error::internal(format!("snapshot {key} of {} is no layer", self.name())))
    }

    /// The folders of the committed snapshot `name` and of all below it, nearest first.
    pub fn trees(&self, namespace: &Namespace, name: &str) -> Result<Vec<std::path::PathBuf>> {
        let ids = record::parents(&self.store().read(), namespace.as_str(), self.name(), name)?;
        Ok(ids.into_iter().map(|id| self.backend().tree(id)).collect())
    }

    /// The folder of the snapshot `key`.
    pub fn tree(&self, namespace: &Namespace, key: &str) -> Result<std::path::PathBuf> {
        Ok(self.backend().tree(self.find(namespace, key)?.id))
    }

    /// Commits `layers`, lowest first, on `parent` (empty: none): all or none, with one sync for all of them. Durable when
    /// this returns. `AlreadyExists` when one of the names is taken.
    pub async fn commit_stack(&self, namespace: &Namespace, parent: &str, layers: &[Stacked]) -> Result<()> {
        let (this, owner) = (self.clone(), namespace.clone());
        let (parent, stack) = (parent.to_owned(), layers.to_vec());
        // Goes on when the caller goes away: a folder must not be on its way to a parent and be removed.
        to_end(async move { this.carry_out_stack(owner, parent, stack).await }).await?;
        for layer in layers {
            let event = SnapshotCommit {
                key: layer.key.clone(),
                name: layer.name.clone(),
                snapshotter: self.name().to_owned(),
            };
            self.events().publish(namespace, "/snapshot/commit", &event);
        }
        Ok(())
    }

    async fn carry_out_stack(
        &self,
        namespace: Namespace,
        parent: String,
        layers: Vec<Stacked>,
    ) -> Result<()> {
        for layer in &layers {
            plan::check(&layer.name, Labels::new())?;
        }
        let mut step = marks::step("snapshot.stack.sync")?;
        let below = record::parents(&self.store().read(), namespace.as_str(), self.name(), &parent)?;
        let ids = layers
            .iter()
            .map(|layer| Ok(self.find(&namespace, &layer.key)?.id))
            .collect::<Result<Vec<u64>>>()?;
        let (backend, numbers, lowest) = (self.backend().clone(), ids.clone(), below.first().copied());
        let usages = blocking(move || {
            let mut under = lowest;
            for id in &numbers {
                if let Some(under) = under {
                    backend.adopt(*id, under)?;
                }
                under = Some(*id);
            }
            if let Some(any) = numbers.first() {
                tree::sync(&backend.tree(*any))?;
            }
            numbers.iter().map(|id| tree::usage(&backend.tree(*id))).collect::<Result<Vec<_>>>()
        })
        .await?;
        let snapshotter = self.name().to_owned();
        step.next("snapshot.stack.record")?;
        self.store()
            .write(move |transaction| {
                let (space, name) = (namespace.as_str(), snapshotter.as_str());
                if record::parents(transaction, space, name, &parent)? != below {
                    return Err(changed(&parent));
                }
                let mut on = parent.clone();
                for ((layer, id), usage) in layers.iter().zip(&ids).zip(&usages) {
                    let names = [space.to_owned(), name.to_owned(), layer.key.clone()];
                    let commit = plan::Commit { names, target: layer.name.clone(), labels: Labels::new() };
                    let old = commit.check(transaction)?;
                    if old.id != *id || !old.parent.is_empty() {
                        return Err(changed(&layer.key));
                    }
                    commit.record_on(transaction, *id, *usage, &on)?;
                    on.clone_from(&layer.name);
                }
                Ok(())
            })
            .await
    }
}

fn changed(key: &str) -> Error {
    Error::new(ErrorKind::Aborted, format!("snapshot {key:?} was changed meanwhile; try again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshotters;
    use events::Bus;
    use metadata::Store;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn stacked(key: &str, name: &str) -> Stacked {
        Stacked { key: key.into(), name: name.into() }
    }

    async fn overlay() -> (tempfile::TempDir, Snapshotters, Namespace) {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("metadata")).unwrap();
        let all = Snapshotters::open(&root.path().join("root"), store, Bus::new()).unwrap();
        (root, all, Namespace::parse("test").unwrap())
    }

    #[tokio::test]
    async fn layers_filled_in_any_order_make_one_chain() {
        let (_root, all, space) = overlay().await;
        let snapshotter = all.get("overlayfs").unwrap();
        // A base made as ever, whose root is somebody's.
        snapshotter.prepare(&space, "b", "", Labels::new()).await.unwrap();
        let base = snapshotter.tree(&space, "b").unwrap();
        std::os::unix::fs::chown(&base, Some(7), Some(8)).unwrap();
        std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o711)).unwrap();
        snapshotter.commit(&space, "base", "b", Labels::new()).await.unwrap();
        for key in ["two", "one"] {
            let mount = snapshotter.prepare_apart(&space, key, Labels::new()).await.unwrap();
            std::fs::write(format!("{}/{key}", mount.value("upperdir").unwrap()), key).unwrap();
        }
        let layers = [stacked("one", "C1"), stacked("two", "C2")];
        snapshotter.commit_stack(&space, "base", &layers).await.unwrap();
        assert_eq!(snapshotter.stat(&space, "C2").unwrap().parent, "C1");
        assert_eq!(snapshotter.stat(&space, "C1").unwrap().parent, "base");
        let trees = snapshotter.trees(&space, "C2").unwrap();
        assert_eq!(trees.len(), 3);
        assert!(trees[0].join("two").exists() && trees[1].join("one").exists());
        let top = std::fs::metadata(&trees[0]).unwrap();
        assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (7, 8, 0o711), "the root is the base's");
        assert!(snapshotter.remove(&space, "C1").await.unwrap_err().to_string().contains("with child"));
        assert_eq!(snapshotter.usage(&space, "C2").await.unwrap().inodes, 2);
        snapshotter.remove(&space, "C2").await.unwrap();
        snapshotter.remove(&space, "C1").await.unwrap();
    }

    #[tokio::test]
    async fn a_stack_is_committed_whole_or_not_at_all() {
        let (_root, all, space) = overlay().await;
        let snapshotter = all.get("overlayfs").unwrap();
        for key in ["one", "two"] {
            snapshotter.prepare_apart(&space, key, Labels::new()).await.unwrap();
        }
        snapshotter.prepare(&space, "x", "", Labels::new()).await.unwrap();
        snapshotter.commit(&space, "C2", "x", Labels::new()).await.unwrap();
        let layers = [stacked("one", "C1"), stacked("two", "C2")];
        let error = snapshotter.commit_stack(&space, "", &layers).await.unwrap_err();
        assert!(error.is_already_exists(), "{error:?}");
        assert_eq!(snapshotter.stat(&space, "one").unwrap().kind, Kind::Active);
        assert!(snapshotter.stat(&space, "C1").unwrap_err().is_not_found());
        let error = snapshotter.commit_stack(&space, "none", &layers).await.unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        let native = all.get("native").unwrap();
        assert!(!native.stacks());
        assert_eq!(
            native.prepare_apart(&space, "n", Labels::new()).await.unwrap_err().kind(),
            ErrorKind::Unimplemented
        );
    }
}
