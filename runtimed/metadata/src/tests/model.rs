//! Any sequence of transactions leaves what a plain map would hold, also after a restart.

use std::collections::BTreeMap;

use errors::{Error, Result};
use proptest::prelude::*;

use crate::{Store, Table, Transaction};

const RECORDS: Table<Vec<u32>> = Table::namespaced("records");
const OTHERS: Table<Vec<u32>> = Table::namespaced("others");

type Model = BTreeMap<Vec<String>, Vec<u32>>;

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<String>, Vec<u32>),
    Delete(Vec<String>),
    DeleteAll(Vec<String>),
}

#[derive(Debug, Clone)]
struct Plan {
    steps: Vec<Step>,
    fails: bool,
}

fn key() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[ab\u{0}\u{1}ÿ]{0,2}", 1..3)
}

fn value() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u32>(), 0..8),
        // Above the size of a piece.
        1 => proptest::collection::vec(any::<u32>(), 1000..6000),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let step = prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key().prop_map(Step::Delete),
        1 => key().prop_map(Step::DeleteAll),
    ];
    (proptest::collection::vec(step, 1..8), prop::bool::weighted(0.2))
        .prop_map(|(steps, fails)| Plan { steps, fails })
}

fn refs(key: &[String]) -> Vec<&str> {
    key.iter().map(String::as_str).collect()
}

/// Carries the plan out on both, and compares what the transaction sees on the way.
fn carry_out(plan: &Plan, transaction: &mut Transaction<'_>, model: &mut Model) -> Result<()> {
    for step in &plan.steps {
        match step {
            Step::Put(key, value) => {
                transaction.put(&RECORDS, &refs(key), value)?;
                model.insert(key.clone(), value.clone());
            }
            Step::Delete(key) => {
                assert_eq!(transaction.delete(&RECORDS, &refs(key))?, model.remove(key).is_some());
            }
            Step::DeleteAll(prefix) => {
                let before = model.len();
                model.retain(|key, _| !key.starts_with(prefix));
                assert_eq!(transaction.delete_all(&RECORDS, &refs(prefix))?, before - model.len());
            }
        }
        for first in model.keys().map(|key| &key[0]) {
            let mut expected: Vec<_> =
                model.keys().filter(|key| key[0] == *first).filter_map(|key| key.get(1)).cloned().collect();
            expected.dedup();
            assert_eq!(transaction.next_parts("records", &[first])?, expected);
        }
        let seen: Model = transaction.scan(&RECORDS, &[])?.into_iter().collect();
        assert_eq!(&seen, model);
    }
    if plan.fails { Err(Error::internal("planned")) } else { Ok(()) }
}

fn check(store: &Store, model: &Model) {
    let reader = store.read();
    let scanned: Vec<_> = reader.scan(&RECORDS, &[]).unwrap();
    assert_eq!(scanned, model.clone().into_iter().collect::<Vec<_>>());
    assert!(reader.scan(&OTHERS, &[]).unwrap().is_empty());
    for (key, value) in model {
        assert_eq!(reader.get(&RECORDS, &refs(key)).unwrap().as_ref(), Some(value));
        let namespace = &key[0];
        assert_eq!(reader.holders(namespace).unwrap(), ["records"]);
        let within: Vec<_> = reader.keys(&RECORDS, &[namespace]).unwrap();
        assert_eq!(within, model.keys().filter(|key| key[0] == *namespace).cloned().collect::<Vec<_>>());
    }
    let namespaces: std::collections::BTreeSet<String> = model.keys().map(|key| key[0].clone()).collect();
    assert_eq!(reader.namespaces().unwrap(), namespaces);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn behaves_like_a_map(plans in proptest::collection::vec(plan(), 1..12)) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut model = Model::new();
        for plan in plans {
            let (fails, mut changed) = (plan.fails, model.clone());
            let result = runtime.block_on(store.write(move |transaction| {
                carry_out(&plan, transaction, &mut changed).map(|()| changed)
            }));
            prop_assert_eq!(result.is_err(), fails);
            if let Ok(changed) = result {
                model = changed;
            }
            check(&store, &model);
        }
        drop(store);
        let store = Store::open(directory.path()).unwrap();
        check(&store, &model);

        let mut lines = Vec::new();
        store.export(&mut lines).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let copy = Store::open(copy.path()).unwrap();
        let count = runtime.block_on(copy.import(lines.as_slice())).unwrap();
        prop_assert_eq!(count, model.len());
        check(&copy, &model);
    }
}
