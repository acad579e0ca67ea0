//! All layers at once, where a layer is a folder of its own: each is applied apart from its parents as soon as its bytes
//! come, and committed in order, together with those behind it that are ready by then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use diff::Unsettled;
use errors::{Context, Kind, Result, WithKind};
use ids::Labels;
use snapshot::{Snapshotter, Stacked};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;

use super::{Source, Step, Unpack, arrived, cut_off, extract_name};
use crate::images::Shared;
use crate::progress::tell;

/// What came of one layer.
enum Filled {
    /// It was there already.
    There,
    /// It lies in its folder, whole and verified.
    Ready(Unsettled),
}

/// One image's layers on their way.
struct Stack<'a> {
    unpack: &'a Arc<Unpack>,
    snapshotter: &'a Snapshotter,
    steps: Vec<Arc<Step>>,
    /// The keys that the layers are prepared under.
    keys: Vec<String>,
    tasks: JoinSet<(usize, Result<Filled>)>,
    filled: BTreeMap<usize, Filled>,
    /// How many layers are committed, from the base up, and the name of the last of them.
    committed: usize,
    parent: String,
    /// One for each layer that is not committed. They are taken from the base up, and who wants a chain wants all that is
    /// below it: nobody waits for another who waits for him.
    locks: VecDeque<OwnedMutexGuard<()>>,
}

/// Unpacks what is not there yet. After a failure, what was committed stays, and nothing else.
pub(super) async fn run(
    unpack: &Arc<Unpack>,
    snapshotter: &Snapshotter,
    steps: Vec<Step>,
    sources: Vec<Source>,
) -> Result<()> {
    let keys = steps.iter().map(|step| format!("{} {}", extract_name(), step.chain_id)).collect();
    let mut stack = Stack {
        unpack,
        snapshotter,
        steps: steps.into_iter().map(Arc::new).collect(),
        keys,
        tasks: JoinSet::new(),
        filled: BTreeMap::new(),
        committed: 0,
        parent: String::new(),
        locks: VecDeque::new(),
    };
    let done = stack.fill(sources).await;
    if done.is_err() {
        stack.give_up().await;
    }
    done
}

impl Stack<'_> {
    async fn fill(&mut self, sources: Vec<Source>) -> Result<()> {
        for (index, source) in sources.into_iter().enumerate() {
            self.begin(index, source).await.context(|| self.what(index))?;
        }
        while let Some(ended) = self.tasks.join_next().await {
            let (index, filled) =
                ended.kind(Kind::Internal, || "a task that unpacks a layer ended before its time")?;
            let filled = filled.context(|| self.what(index))?;
            self.filled.insert(index, filled);
            self.commit_ready().await?;
        }
        Ok(())
    }

    fn what(&self, index: usize) -> String {
        format!("unpack layer {} into {}", self.steps[index].layer.digest, self.snapshotter.name())
    }

    /// Waits for whoever works on the same layer, then starts its task.
    async fn begin(&mut self, index: usize, source: Source) -> Result<()> {
        let (unpack, step) = (self.unpack.clone(), self.steps[index].clone());
        let sort = format!("snapshots/{}", self.snapshotter.name());
        Shared::hold(unpack.hold.as_ref(), &sort, &step.chain_id).await?;
        let lock = format!("unpack {} {sort} {}", unpack.namespace, step.chain_id);
        self.locks.push_back(unpack.shared.locks.lock(lock).await);
        let (snapshotter, key) = (self.snapshotter.clone(), self.keys[index].clone());
        let is_there = unpack.is_there(&snapshotter, &step.chain_id)?;
        self.tasks.spawn(marks::carry(async move {
            let filled = match is_there {
                true => unpack.there(&step, source).await.map(|()| Filled::There),
                false => fill(&unpack, &snapshotter, &step, &key, source).await,
            };
            (index, filled)
        }));
        Ok(())
    }

    /// Commits as many layers as are ready in a row.
    async fn commit_ready(&mut self) -> Result<()> {
        loop {
            let mut row = Vec::new();
            while let Some(Filled::Ready(_)) = self.filled.get(&(self.committed + row.len())) {
                let Some(Filled::Ready(layer)) = self.filled.remove(&(self.committed + row.len())) else {
                    break;
                };
                row.push(layer);
            }
            if !row.is_empty() {
                let index = self.committed;
                self.commit(row).await.context(|| self.what(index))?;
                continue;
            }
            match self.filled.remove(&self.committed) {
                Some(_) => self.advance(),
                None => return Ok(()),
            }
        }
    }

    /// One layer more is committed.
    fn advance(&mut self) {
        self.parent.clone_from(&self.steps[self.committed].chain_id);
        self.committed += 1;
        drop(self.locks.pop_front());
    }

    async fn commit(&mut self, row: Vec<Unsettled>) -> Result<()> {
        let _step = marks::step("image.unpack.commit")?;
        let namespace = &self.unpack.namespace;
        let mut lower = self.snapshotter.trees(namespace, &self.parent)?;
        let mut layers = Vec::with_capacity(row.len());
        for (offset, layer) in row.into_iter().enumerate() {
            let index = self.committed + offset;
            let below = lower.clone();
            let settling = tokio::task::spawn_blocking(move || layer.settle(&below)).await;
            settling.kind(Kind::Internal, || "the thread that settled a layer ended")??;
            let key = self.keys[index].clone();
            lower.insert(0, self.snapshotter.tree(namespace, &key)?);
            layers.push(Stacked { key, name: self.steps[index].chain_id.clone() });
        }
        match self.snapshotter.commit_stack(namespace, &self.parent, &layers).await {
            Err(error) if error.is_already_exists() => self.commit_singly(&layers).await?,
            committed => committed?,
        }
        for _ in 0..layers.len() {
            let step = self.steps[self.committed].clone();
            self.unpack.unpacked(&step).await?;
            self.advance();
        }
        Ok(())
    }

    /// A client that knows nothing of our locks has made one of them: that one counts.
    async fn commit_singly(&self, layers: &[Stacked]) -> Result<()> {
        let namespace = &self.unpack.namespace;
        let mut parent = self.parent.as_str();
        for layer in layers {
            match self.snapshotter.commit_stack(namespace, parent, std::slice::from_ref(layer)).await {
                Err(error) if error.is_already_exists() => {
                    self.snapshotter.remove(namespace, &layer.key).await?;
                }
                committed => committed?,
            }
            parent = &layer.name;
        }
        Ok(())
    }

    /// Ends what still runs, and removes what is not committed.
    async fn give_up(&mut self) {
        self.unpack.stop.say();
        while self.tasks.join_next().await.is_some() {}
        for key in &self.keys[self.committed..] {
            self.unpack.remove(self.snapshotter, key).await;
        }
    }
}

/// Applies one layer to a folder of its own, and checks that it is what the config says.
async fn fill(
    unpack: &Unpack,
    snapshotter: &Snapshotter,
    step: &Step,
    key: &str,
    source: Source,
) -> Result<Filled> {
    let _step = marks::step("image.unpack.layer")?;
    let sort = format!("snapshots/{}", snapshotter.name());
    Shared::hold(unpack.hold.as_ref(), &sort, key).await?;
    let labels = Labels::from([("containerd.io/snapshot.ref".to_owned(), step.chain_id.clone())]);
    let mount = match snapshotter.prepare_apart(&unpack.namespace, key, labels).await {
        Err(error) if error.is_already_exists() && unpack.is_there(snapshotter, &step.chain_id)? => {
            return unpack.there(step, source).await.map(|()| Filled::There);
        }
        mount => mount?,
    };
    let apply = move |layer: super::Packed, compression, limits: &diff::Limits| {
        diff::apply_apart(&mount, layer, compression, limits)
    };
    let (applied, unsettled) = unpack.apply(step, source, apply).await?;
    step.expect(&applied)?;
    Ok(Filled::Ready(unsettled))
}

impl Unpack {
    /// It is unpacked already. Its packed form may still be on its way, for a later export or push.
    pub(super) async fn there(&self, step: &Step, source: Source) -> Result<()> {
        arrived(source.arrival()).await.map_err(|_| cut_off(&step.layer))?;
        tell(&self.progress, &step.layer, "exists", step.layer.length()?);
        Ok(())
    }
}
