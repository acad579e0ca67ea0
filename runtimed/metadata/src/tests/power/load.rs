//! Something to do for a store, and what must be true of it afterwards.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;

use super::medium::{Event, Recorder};
use crate::disk::Disk;
use crate::{Durability, Store, Table};

const LEFT: Table<Vec<u8>> = Table::namespaced("left");
const RIGHT: Table<u64> = Table::new("right");
const WRITERS: u64 = 4;
/// Keys of each writer.
const KEYS: u64 = 3;

/// A transaction: under one key it writes two records, or deletes them.
#[derive(Debug, Clone, Copy)]
struct Step {
    number: u64,
    key: u64,
    size: Option<usize>,
}

impl Step {
    fn value(&self) -> Option<Vec<u8>> {
        self.size.map(|size| vec![self.number as u8; size])
    }
}

/// What stands under a key in the two tables.
type Pair = (Option<Vec<u8>>, Option<u64>);

/// All transactions, by number.
pub(super) struct Load {
    steps: Vec<Step>,
    flushed: Vec<bool>,
    /// What was there before, by key.
    before: Vec<Pair>,
}

/// What the events say must be on disk.
#[derive(Default, Clone)]
pub(super) struct Owed {
    position: usize,
    /// Those handed in so far.
    issued: Vec<u64>,
    issued_at: BTreeMap<u64, usize>,
    answered_at: BTreeMap<u64, usize>,
    /// All that was answered before this must be there: it came before a transaction that was flushed.
    before: usize,
    /// Flushed ones that were answered.
    flushed: Vec<u64>,
}

impl Load {
    /// `count` transactions of several writers, of all sizes, some lazy.
    pub(super) fn new(count: u64, random: &mut StdRng) -> Load {
        let step = |number: u64, random: &mut StdRng| {
            let size = match random.random_range(0..10) {
                0 | 1 => None,
                2 => Some(random.random_range(2000..6000)),
                _ => Some(random.random_range(0..700)),
            };
            Step { number, key: number % WRITERS * KEYS + random.random_range(0..KEYS), size }
        };
        let steps = (0..count).map(|number| step(number, random)).collect();
        let flushed = (0..count).map(|_| random.random_bool(0.4)).collect();
        Load { steps, flushed, before: vec![(None, None); (WRITERS * KEYS) as usize] }
    }

    /// Does it all, noting what is handed in and answered. Returns how many were answered well.
    pub(super) fn run(&self, disk: Disk, recorder: &Recorder) -> usize {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let store = Store::on(disk).unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let all = self.steps.iter().copied().zip(self.flushed.iter().copied());
                let mine: Vec<_> = all.skip(writer as usize).step_by(WRITERS as usize).collect();
                let (store, recorder) = (store.clone(), recorder.clone());
                runtime.spawn(async move {
                    let mut well = 0;
                    for (step, flushed) in mine {
                        recorder.note(Event::Issued(step.number));
                        if put(&store, step, flushed).await.is_ok() {
                            recorder.note(Event::Answered { number: step.number, flushed });
                            well += 1;
                        }
                    }
                    well
                })
            })
            .collect();
        let well = writers.into_iter().map(|writer| runtime.block_on(writer).unwrap()).sum();
        drop(store);
        well
    }

    /// Every key holds a whole transaction, none older than what is owed and none that was never handed in.
    pub(super) fn check(&self, disk: Disk, owed: &Owed) -> Result<(), String> {
        let pairs = pairs(disk).map_err(|error| error.chain())?;
        for (key, pair) in pairs.iter().enumerate() {
            let possible = self.possible(key as u64, owed);
            let fits = |number: &Option<u64>| match number.map(|number| self.steps[number as usize]) {
                None => *pair == self.before[key],
                Some(step) => *pair == (step.value(), step.size.map(|_| step.number)),
            };
            if !possible.iter().any(fits) {
                let length = pair.0.as_ref().map(Vec::len);
                let right = pair.1;
                return Err(format!("key {key} holds {right:?} ({length:?} bytes), may hold {possible:?}"));
            }
        }
        Ok(())
    }

    /// The same load over what is on `disk`.
    pub(super) fn over(self, disk: Disk) -> Load {
        Load { before: pairs(disk).unwrap(), ..self }
    }

    /// The transactions whose doing the key may show; `None` is that there was none.
    fn possible(&self, key: u64, owed: &Owed) -> Vec<Option<u64>> {
        let of_key = |number: &&u64| self.steps[**number as usize].key == key;
        let issued: Vec<u64> = owed.issued.iter().filter(of_key).copied().collect();
        match issued.iter().rposition(|number| owed.is_owed(*number)) {
            Some(last) => issued[last..].iter().copied().map(Some).collect(),
            None => std::iter::once(None).chain(issued.into_iter().map(Some)).collect(),
        }
    }
}

impl Owed {
    /// One more event has happened.
    pub(super) fn follow(&mut self, event: &Event) {
        self.position += 1;
        match event {
            Event::Issued(number) => {
                self.issued.push(*number);
                self.issued_at.insert(*number, self.position);
            }
            Event::Answered { number, flushed } => {
                self.answered_at.insert(*number, self.position);
                if *flushed {
                    self.flushed.push(*number);
                    self.before = self.before.max(self.issued_at[number]);
                }
            }
            _ => {}
        }
    }

    fn is_owed(&self, number: u64) -> bool {
        self.flushed.contains(&number) || self.answered_at.get(&number).is_some_and(|at| *at < self.before)
    }

    /// All that was answered, whether or not it was flushed.
    pub(super) fn all_answered(mut self) -> Owed {
        self.before = usize::MAX;
        self
    }
}

fn pairs(disk: Disk) -> errors::Result<Vec<Pair>> {
    let store = Store::on(disk).unwrap();
    let reader = store.read();
    let pair = |key: u64| {
        let name = key.to_string();
        Ok((reader.get(&LEFT, &["ns", &name])?, reader.get(&RIGHT, &[&name])?))
    };
    (0..WRITERS * KEYS).map(pair).collect()
}

async fn put(store: &Store, step: Step, flushed: bool) -> errors::Result<()> {
    let durability = if flushed { Durability::Flushed } else { Durability::Lazy };
    store
        .write_as(durability, move |transaction| {
            let name = step.key.to_string();
            match step.value() {
                Some(value) => {
                    transaction.put(&LEFT, &["ns", &name], &value)?;
                    transaction.put(&RIGHT, &[&name], &step.number)
                }
                None => {
                    transaction.delete(&LEFT, &["ns", &name])?;
                    transaction.delete(&RIGHT, &[&name]).map(drop)
                }
            }
        })
        .await
}
