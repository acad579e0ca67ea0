//! Questions about the tables as a whole, asked alike of committed state and of a transaction.

use std::collections::BTreeSet;

use errors::Result;

use crate::disk::first_of;
use crate::key::{self, Sort};

/// Something that can tell which key comes next.
pub(crate) trait View {
    /// The first record's key that is not less than `from`.
    fn seek(&self, from: &[u8]) -> Result<Option<Vec<u8>>>;
}

/// The names of the namespaced tables with records in `namespace`, sorted.
pub(crate) fn holders(view: &impl View, namespace: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for table in tables(view)? {
        let prefix = key::compose(Sort::Namespaced, &table, &[namespace])?;
        if view.seek(&prefix)?.is_some_and(|key| key.starts_with(&prefix)) {
            names.push(table);
        }
    }
    Ok(names)
}

/// The namespaces that any namespaced table has records in.
pub(crate) fn namespaces(view: &impl View) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for table in tables(view)? {
        let prefix = key::compose(Sort::Namespaced, &table, &[])?;
        let mut from = prefix.clone();
        while let Some(next) = view.seek(&from)?.filter(|key| key.starts_with(&prefix)) {
            let Some(name) = key::decompose(&next).and_then(|(_, parts)| parts.into_iter().next()) else {
                break;
            };
            from = key::after(&key::compose(Sort::Namespaced, &table, &[&name])?);
            names.insert(name);
        }
    }
    Ok(names)
}

/// The namespaced tables that have records, found by leaping from one to the next.
fn tables(view: &impl View) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut from = first_of(Sort::Namespaced);
    while let Some(next) = view.seek(&from)?.filter(|key| key.first() == Some(&Sort::Namespaced.byte())) {
        let Some((table, _)) = key::decompose(&next) else { break };
        from = key::after(&key::compose(Sort::Namespaced, &table, &[])?);
        names.push(table);
    }
    Ok(names)
}
