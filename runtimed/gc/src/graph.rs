//! What there is and what keeps what alive: the mark, as a pure function.

use std::collections::{BTreeMap, BTreeSet};

/// One thing that may be collected, or that keeps such things alive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// The namespace.
    pub namespace: String,
    /// Which sort of thing: `content`, `ingests`, `snapshots/overlayfs`, `images`, `containers`, `leases`.
    pub kind: String,
    /// Its id within the sort.
    pub id: String,
}

/// How far a root's hold reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// To all that can be reached from it.
    Deep,
    /// To what it consists of: a snapshot's parents, an image's target; not to what labels refer to.
    Flat,
}

/// What there is, and what keeps what alive. Edges may lead to nodes that do not exist.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// What may be collected.
    collectable: BTreeSet<Node>,
    /// What is in use for itself.
    roots: Vec<(Node, Hold)>,
    /// What a node consists of.
    parts: BTreeMap<Node, Vec<Node>>,
    /// What a node refers to.
    references: BTreeMap<Node, Vec<Node>>,
}

impl Node {
    /// Names a node.
    pub fn new(namespace: &str, kind: &str, id: &str) -> Node {
        Node { namespace: namespace.to_owned(), kind: kind.to_owned(), id: id.to_owned() }
    }
}

impl Graph {
    /// There is `node`, and it goes when nothing reaches it.
    pub fn add(&mut self, node: Node) {
        self.collectable.insert(node);
    }

    /// `node` is in use for itself.
    pub fn root(&mut self, node: Node, hold: Hold) {
        self.roots.push((node, hold));
    }

    /// `part` is a part of `whole`, and cannot go before it.
    pub fn part(&mut self, whole: &Node, part: Node) {
        self.parts.entry(whole.clone()).or_default().push(part);
    }

    /// `from` keeps `to` alive.
    pub fn reference(&mut self, from: &Node, to: Node) {
        self.references.entry(from.clone()).or_default().push(to);
    }

    /// What can be collected and nothing in use reaches; wholes before their parts.
    pub fn unreachable(&self) -> Vec<Node> {
        let held = self.reached(Hold::Deep);
        let flat = self.reached(Hold::Flat);
        let dead: BTreeSet<&Node> =
            self.collectable.iter().filter(|node| !held.contains(node) && !flat.contains(node)).collect();
        self.in_order(&dead)
    }

    /// Marks from the roots of one sort: grey nodes are those reached and not looked at yet.
    fn reached(&self, hold: Hold) -> BTreeSet<&Node> {
        let mut black = BTreeSet::new();
        let mut grey: Vec<&Node> =
            self.roots.iter().filter(|(_, how)| *how == hold).map(|(node, _)| node).collect();
        while let Some(node) = grey.pop() {
            if !black.insert(node) {
                continue;
            }
            grey.extend(self.parts.get(node).into_iter().flatten());
            if hold == Hold::Deep {
                grey.extend(self.references.get(node).into_iter().flatten());
            }
        }
        black
    }

    /// The nodes, each before its parts. Parts in a circle, which no room makes, come in some order.
    fn in_order(&self, nodes: &BTreeSet<&Node>) -> Vec<Node> {
        let mut waiting: BTreeMap<&Node, usize> = nodes.iter().map(|node| (*node, 0)).collect();
        let parts = |node: &Node| self.parts.get(node).into_iter().flatten();
        for part in nodes.iter().flat_map(|node| parts(node)) {
            if let Some(wholes) = waiting.get_mut(part) {
                *wholes += 1;
            }
        }
        let mut ready: Vec<&Node> =
            waiting.iter().filter(|(_, wholes)| **wholes == 0).map(|(node, _)| *node).collect();
        let mut ordered = Vec::with_capacity(nodes.len());
        while let Some(node) = ready.pop() {
            waiting.remove(node);
            ordered.push(node.clone());
            for part in parts(node) {
                if let Some((part, wholes)) =
                    waiting.get_key_value(part).map(|(part, wholes)| (*part, *wholes))
                {
                    waiting.insert(part, wholes - 1);
                    if wholes == 1 {
                        ready.push(part);
                    }
                }
            }
        }
        ordered.extend(waiting.into_keys().cloned());
        ordered
    }
}
