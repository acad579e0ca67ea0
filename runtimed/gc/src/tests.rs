//! The mark against its definition, and the collector's promises.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use errors::{Error, Result};
use proptest::prelude::*;
use tokio::sync::{Semaphore, watch};

use crate::{Collector, Graph, Heap, Hold, Node, Schedule};

fn node(id: usize) -> Node {
    Node::new("default", "content", &id.to_string())
}

#[derive(Debug, Clone)]
struct Plan {
    size: usize,
    roots: Vec<(usize, bool)>,
    parts: Vec<(usize, usize)>,
    references: Vec<(usize, usize)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (1usize..24).prop_flat_map(|size| {
        let edge = || proptest::collection::vec((0..size + 2, 0..size + 2), 0..size * 2);
        let roots = proptest::collection::vec((0..size + 2, any::<bool>()), 0..4);
        (Just(size), roots, edge(), edge()).prop_map(|(size, roots, parts, references)| Plan {
            size,
            roots,
            parts,
            references,
        })
    })
}

fn graph(plan: &Plan) -> Graph {
    let mut graph = Graph::default();
    (0..plan.size).for_each(|id| graph.add(node(id)));
    for &(id, flat) in &plan.roots {
        graph.root(node(id), if flat { Hold::Flat } else { Hold::Deep });
    }
    plan.parts.iter().for_each(|&(whole, part)| graph.part(&node(whole), node(part)));
    plan.references.iter().for_each(|&(from, to)| graph.reference(&node(from), node(to)));
    graph
}

/// What is alive, by the definition: the least set that has the roots and follows the edges.
fn alive(plan: &Plan) -> BTreeSet<usize> {
    let mut deep: BTreeSet<usize> = BTreeSet::new();
    let mut flat: BTreeSet<usize> = BTreeSet::new();
    for &(id, is_flat) in &plan.roots {
        if is_flat {
            flat.insert(id)
        } else {
            deep.insert(id)
        };
    }
    for _ in 0..plan.size + 2 {
        for &(from, to) in plan.parts.iter().chain(&plan.references) {
            if deep.contains(&from) {
                deep.insert(to);
            }
        }
        for &(from, to) in &plan.parts {
            if flat.contains(&from) {
                flat.insert(to);
            }
        }
    }
    deep.union(&flat).copied().collect()
}

proptest! {
    #[test]
    fn unreachable_is_what_is_not_alive(plan in plan()) {
        let dead = graph(&plan).unreachable();
        let alive = alive(&plan);
        let expected: BTreeSet<Node> =
            (0..plan.size).filter(|id| !alive.contains(id)).map(node).collect();
        prop_assert_eq!(dead.len(), expected.len());
        prop_assert_eq!(dead.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn wholes_come_before_their_parts(mut plan in plan()) {
        // Without circles: parts have higher numbers.
        plan.parts.retain(|(whole, part)| whole < part);
        let dead = graph(&plan).unreachable();
        let place = |id: usize| dead.iter().position(|dead| *dead == node(id));
        for (whole, part) in plan.parts {
            if let (Some(whole), Some(part)) = (place(whole), place(part)) {
                prop_assert!(whole < part);
            }
        }
    }
}

/// A heap that counts its collections; each waits for a permit.
struct Counted {
    collections: AtomicUsize,
    permits: Semaphore,
    swept: Mutex<Vec<usize>>,
    failing: bool,
    /// So many sweeps leave something behind.
    leaving: AtomicUsize,
    changes: watch::Sender<u64>,
}

fn counted(permits: usize, failing: bool) -> Arc<Counted> {
    Arc::new(Counted {
        collections: AtomicUsize::new(0),
        permits: Semaphore::new(permits),
        swept: Mutex::default(),
        failing,
        leaving: AtomicUsize::new(0),
        changes: watch::Sender::new(0),
    })
}

impl Heap for Counted {
    fn graph(&self) -> Result<Graph> {
        let count = self.collections.fetch_add(1, Ordering::SeqCst);
        let mut graph = Graph::default();
        graph.add(node(count));
        Ok(graph)
    }

    async fn sweep(&self) -> Result<usize> {
        self.permits.acquire().await.unwrap().forget();
        if self.failing {
            return Err(Error::internal("planned"));
        }
        let count = self.collections.load(Ordering::SeqCst);
        self.swept.lock().unwrap().push(count);
        let _ = self.leaving.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1));
        Ok(1)
    }

    fn has_leftovers(&self) -> bool {
        self.leaving.load(Ordering::SeqCst) > 0
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn quiet() -> Schedule {
    Schedule { startup_delay: Duration::from_secs(3600), ..Schedule::default() }
}

#[tokio::test]
async fn collect_waits_for_one_that_began_after_the_call() {
    let heap = counted(0, false);
    let collector = Collector::start_with(heap.clone(), quiet());
    let first = tokio::spawn({
        let collector = collector.clone();
        async move { collector.collect().await }
    });
    while heap.collections.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // The first has begun: these wait for the second, together.
    let second: Vec<_> = (0..3)
        .map(|_| {
            let collector = collector.clone();
            tokio::spawn(async move { collector.collect().await })
        })
        .collect();
    tokio::task::yield_now().await;
    heap.permits.add_permits(1);
    first.await.unwrap().unwrap();
    heap.permits.add_permits(1);
    for waiter in second {
        waiter.await.unwrap().unwrap();
    }
    assert_eq!(*heap.swept.lock().unwrap(), [1, 2]);
}

#[tokio::test]
async fn failures_reach_who_waits() {
    let collector = Collector::start_with(counted(1, true), quiet());
    let error = collector.collect().await.unwrap_err();
    assert_eq!(error.message(), "garbage collection failed: planned");
}

async fn swept(heap: &Counted, times: usize) -> bool {
    let all = async {
        while heap.swept.lock().unwrap().len() < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.is_ok()
}

#[tokio::test]
async fn deletions_changes_and_the_start_bring_collections() {
    let heap = counted(100, false);
    let collector = Collector::start(heap.clone());
    assert!(swept(&heap, 1).await);
    collector.schedule();
    assert!(swept(&heap, 2).await);
    heap.changes.send_modify(|count| *count += 100);
    assert!(swept(&heap, 3).await);
    // Fewer changes than the threshold bring none: the next is the one that is asked for.
    heap.changes.send_modify(|count| *count += 99);
    collector.collect().await.unwrap();
    assert_eq!(heap.swept.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn enough_deletions_bring_one_at_once() {
    let heap = counted(100, false);
    let schedule = Schedule { deletion_threshold: 3, ..quiet() };
    let collector = Collector::start_with(heap.clone(), schedule);
    (0..3).for_each(|_| collector.schedule());
    assert!(swept(&heap, 1).await);
}

#[tokio::test]
async fn what_a_sweep_leaves_behind_brings_another() {
    let heap = counted(100, false);
    heap.leaving.store(3, Ordering::SeqCst);
    let schedule = Schedule { retry_delay: Duration::ZERO, pause_threshold: 0.5, ..quiet() };
    let collector = Collector::start_with(heap.clone(), schedule);
    collector.collect().await.unwrap();
    assert!(swept(&heap, 3).await);
    // Nothing is left: the next is the one that is asked for.
    collector.collect().await.unwrap();
    assert_eq!(heap.swept.lock().unwrap().len(), 4);
}
