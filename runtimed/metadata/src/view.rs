//! Questions about the tables as a whole, asked alike of committed state and of a transaction.

use std::collections::BTreeSet;

use errors::Result;

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
        names.extend(next_parts(view, &table, &[])?);
    }
    Ok(names)
}

/// The parts that follow `prefix` in the keys of the namespaced table `table`, each once, sorted.
pub(crate) fn next_parts(view: &impl View, table: &str, prefix: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let start = key::compose(Sort::Namespaced, table, prefix)?;
    let mut from = start.clone();
    while let Some(next) = view.seek(&from)?.filter(|key| key.starts_with(&start)) {
        let part = key::decompose(&next)
            .and_then(|(_, mut parts)| (parts.len() > prefix.len()).then(|| parts.swap_remove(prefix.len())));
        // A record at the prefix itself has no next part; what follows it is one byte longer at least.
        let Some(part) = part else {
            from = next;
            from.push(0);
            continue;
        };
        let path: Vec<&str> = prefix.iter().copied().chain([part.as_str()]).collect();
        from = key::after(&key::compose(Sort::Namespaced, table, &path)?);
        found.push(part);
    }
    Ok(found)
}

/// The namespaced tables that have records, found by leaping from one to the next.
fn tables(view: &impl View) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut from = vec![Sort::Namespaced.byte()];
    while let Some(next) = view.seek(&from)?.filter(|key| key.first() == Some(&Sort::Namespaced.byte())) {
        let Some((table, _)) = key::decompose(&next) else { break };
        from = key::after(&key::compose(Sort::Namespaced, &table, &[])?);
        names.push(table);
    }
    Ok(names)
}
