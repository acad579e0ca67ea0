//! The engine's own tables: who has a name, and how containers without a task ended.

use errors::{Error, Result};
use ids::{ContainerId, Namespace};
use metadata::{Store, Table, Transaction};

use crate::config::State;

/// (namespace, name) -> container id.
const NAMES: Table<String> = Table::new("engine_names");
/// (namespace, container id) -> state.
const STATES: Table<State> = Table::new("engine_states");

/// Takes `name` for `id`, and makes its state; docker's conflict text when another container has the name.
pub async fn take_name(store: &Store, namespace: &Namespace, name: &str, id: &ContainerId) -> Result<()> {
    let (ns, name, id) = (namespace.to_string(), name.to_owned(), id.to_string());
    store
        .write(move |tx| {
            if let Some(owner) = tx.get(&NAMES, &[&ns, &name])?
                && owner != id
            {
                return Err(Error::already_exists(format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
                     You have to remove (or rename) that container to be able to reuse that name."
                )));
            }
            tx.put(&NAMES, &[&ns, &name], &id)?;
            tx.put(&STATES, &[&ns, &id], &State::default())
        })
        .await
}

/// The id that has `name`.
pub fn id_of_name(store: &Store, namespace: &Namespace, name: &str) -> Result<Option<String>> {
    store.read().get(&NAMES, &[namespace.as_str(), name])
}

/// Forgets a container: its state, and its name if it still has it.
pub async fn forget(store: &Store, namespace: &Namespace, name: &str, id: &ContainerId) -> Result<()> {
    let (namespace, name, id) = (namespace.clone(), name.to_owned(), id.clone());
    store.write(move |tx| forget_within(tx, &namespace, &name, &id)).await
}

/// The same as a part of `tx`.
pub fn forget_within(
    tx: &mut Transaction<'_>,
    namespace: &Namespace,
    name: &str,
    id: &ContainerId,
) -> Result<()> {
    let (ns, id) = (namespace.as_str(), id.as_str());
    if tx.get(&NAMES, &[ns, name])?.as_deref() == Some(id) {
        tx.delete(&NAMES, &[ns, name])?;
    }
    tx.delete(&STATES, &[ns, id])?;
    Ok(())
}

/// The state of a container, if the engine keeps one.
pub fn state(store: &Store, namespace: &Namespace, id: &ContainerId) -> Result<Option<State>> {
    store.read().get(&STATES, &[namespace.as_str(), id.as_str()])
}

/// Changes the state of a container; does nothing when it is gone.
pub async fn change_state(
    store: &Store,
    namespace: &Namespace,
    id: &ContainerId,
    change: impl FnOnce(&mut State) + Send + 'static,
) -> Result<()> {
    let (ns, id) = (namespace.to_string(), id.to_string());
    store
        .write(move |tx| {
            let Some(mut state) = tx.get(&STATES, &[&ns, &id])? else { return Ok(()) };
            change(&mut state);
            tx.put(&STATES, &[&ns, &id], &state)
        })
        .await
}

/// Drops the names and states of containers that are not among `known` (namespace, id).
pub async fn keep_only(store: &Store, known: std::collections::HashSet<(String, String)>) -> Result<()> {
    store
        .write(move |tx| {
            for (key, id) in tx.scan(&NAMES, &[])? {
                if let [ns, name] = key.as_slice()
                    && !known.contains(&(ns.clone(), id))
                {
                    tx.delete(&NAMES, &[ns, name])?;
                }
            }
            for (key, _) in tx.scan(&STATES, &[])? {
                if let [ns, id] = key.as_slice()
                    && !known.contains(&(ns.clone(), id.clone()))
                {
                    tx.delete(&STATES, &[ns, id])?;
                }
            }
            Ok(())
        })
        .await
}
