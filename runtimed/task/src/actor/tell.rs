//! What an actor is at, in a line, for whoever has to find out why something does not end.

use std::time::Instant;

use super::Actor;

/// Calls to the shim that are under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    under_way: Vec<(u64, &'static str, Instant)>,
}

impl Calls {
    /// One begins; its number ends it.
    pub(super) fn begin(&mut self, name: &'static str) -> u64 {
        self.last += 1;
        self.under_way.push((self.last, name, Instant::now()));
        self.last
    }

    /// That call has ended.
    pub(super) fn end(&mut self, number: u64) {
        self.under_way.retain(|(of, ..)| *of != number);
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.under_way.len()
    }

    /// Each with the time that it has taken so far.
    fn tell(&self) -> Vec<String> {
        self.under_way.iter().map(|(_, name, since)| format!("{name} for {:?}", since.elapsed())).collect()
    }
}

impl Actor {
    /// What it is at.
    pub(super) fn tell(&self) -> String {
        let processes: Vec<String> = self
            .procs
            .iter()
            .map(|(exec_id, process)| {
                let watched = if process.watched { "" } else { ", not watched" };
                format!("{exec_id:?} {:?} pid {}{watched}", process.status(), process.pid())
            })
            .collect();
        let hangs = self.conn.as_ref().is_some_and(|conn| conn.hangs());
        format!(
            "{:?}, shim {:?}{}, {} jobs, {} notes, {} wait for its deletion, calls {:?}, processes {processes:?}",
            self.phase,
            self.shim_pid,
            if hangs { " hangs" } else { "" },
            self.jobs.len(),
            self.notes,
            self.deletes.len(),
            self.calls.tell(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_of_until_it_ends() {
        let mut calls = Calls::default();
        let (first, second) = (calls.begin("state"), calls.begin("kill"));
        calls.end(first);
        assert_eq!(calls.count(), 1);
        assert!(calls.tell()[0].starts_with("kill for "), "{:?}", calls.tell());
        calls.end(second);
        assert_eq!(calls.count(), 0);
    }
}
