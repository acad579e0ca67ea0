//! Tables: a name, the type of the records, and whether they live in namespaces.

use std::marker::PhantomData;

use crate::key::Sort;

/// A table by name, with the type of its records. Keys are lists of texts, ordered part by part; in
/// namespaced tables the namespace is the first part.
pub struct Table<V> {
    name: &'static str,
    sort: Sort,
    values: PhantomData<fn() -> V>,
}

impl<V> Table<V> {
    /// Names a table whose records belong to no namespace.
    pub const fn new(name: &'static str) -> Table<V> {
        Table { name, sort: Sort::Global, values: PhantomData }
    }

    /// Names a table whose records belong to the namespace that is the first part of their key: they make the
    /// namespace exist, and keep it from being deleted ([`crate::Reader::holders`]).
    pub const fn namespaced(name: &'static str) -> Table<V> {
        Table { name, sort: Sort::Namespaced, values: PhantomData }
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn sort(&self) -> Sort {
        self.sort
    }
}
