//! What can still be read of a store, whatever became of it: from its log, and from the log's copy.
//!
//! The state that is certain is the one up to the first damage, in whichever of the two that is later. On top of it come the
//! groups that can be read behind it, in order: should one between them be lost, what it changed is as it was before.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use errors::{Context, Error, Kind, Result};

use crate::export;
use crate::log::medium::{Folder, Handle, Medium};
use crate::log::scan::{self, Tail};
use crate::log::slot::Head;
use crate::log::{self, read_head};
use crate::map::Map;

/// The records of a store that may be damaged. Nothing on disk is changed, and a daemon may be using it.
pub struct Salvage {
    map: Map,
    groups: u64,
    findings: Vec<String>,
}

/// One of the two logs.
struct Source {
    file: Arc<dyn Handle>,
    head: Head,
    /// Up to how many groups it is whole.
    commit: u64,
}

impl Salvage {
    /// Reads what is in `directory` and in `copy`. `NotFound` when neither has anything that can be read.
    pub fn open(directory: &Path, copy: &Path) -> Result<Salvage> {
        Salvage::on(&[(directory, &Folder::new(directory.to_owned())), (copy, &Folder::new(copy.to_owned()))])
    }

    pub(crate) fn on(places: &[(&Path, &dyn Medium)]) -> Result<Salvage> {
        let mut findings = Vec::new();
        let mut sources = Vec::new();
        for (number, (place, medium)) in places.iter().enumerate() {
            let mut found = Vec::new();
            let source =
                Source::open(*medium, &mut |text| found.push(format!("{}: {text}", place.display())));
            // Beside a log that looks whole a copy matters only if it goes on where the log seems cut by a crash: damage to all of
            // the end looks like that.
            if number > 0 && findings.is_empty() {
                let known = sources.iter().map(|source: &Source| source.commit).max().unwrap_or_default();
                if let Ok(source) = source
                    && source.commit > known
                {
                    findings.push(format!("{}: goes on where the log ends", place.display()));
                    sources.push(source);
                }
                continue;
            }
            findings.append(&mut found);
            match source {
                Ok(source) => sources.push(source),
                Err(error) => findings.push(format!("{}: {}", place.display(), error.chain())),
            }
        }
        // The last of those that are equal: so the first place has it.
        let Some(best) = sources.iter().rev().max_by_key(|source| source.commit) else {
            return Err(Error::not_found(format!(
                "nothing of the store can be read: {}",
                findings.join("; ")
            )));
        };
        let mut map = Map::in_memory(places[0].0, best.file.clone());
        best.whole(&mut map).context(|| "read the log")?;
        let (groups, lost) =
            add_later(&mut map, &sources, best.commit).context(|| "read behind the damage")?;
        if lost > 0 {
            findings.push(format!("{lost} groups of changes are lost"));
        }
        Ok(Salvage { map, groups, findings })
    }

    /// Writes every record that can be read, as [`crate::Store::export`] does. Returns how many.
    pub fn export(&mut self, out: &mut impl Write) -> Result<usize> {
        let findings = &mut self.findings;
        export::export(&self.map, out, |error| {
            findings.push(error.chain());
            Ok(())
        })
    }

    /// What was found wrong, a sentence each.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// How many groups of changes the store had seen.
    pub fn groups(&self) -> u64 {
        self.groups
    }
}

impl Source {
    fn open(medium: &dyn Medium, find: &mut impl FnMut(String)) -> Result<Source> {
        let file = medium.open(log::NAME).context(|| "open the log")?;
        let head = match read_head(&*file) {
            Ok(head) => head,
            Err(error) => {
                find(error.chain());
                let head = Head::read(&*file).context(|| "read the log's head")?;
                let guessed = match head {
                    Some(head) => Some(head),
                    None => scan::guess_head(&*file).context(|| "search the log")?,
                };
                guessed.ok_or_else(|| Error::new(Kind::DataLoss, "there is nothing of a log in it"))?
            }
        };
        let (end, tail) = scan::scan(&*file, &head, |_| Ok(())).context(|| "read the log")?;
        if let Tail::Damaged(damage) = tail {
            find(damage.to_string());
        }
        Ok(Source { file, head, commit: end.commit })
    }

    /// Takes in all that comes before the first damage.
    fn whole(&self, map: &mut Map) -> io::Result<()> {
        let take = |frame: scan::Frame<'_>| {
            map.take(frame.body, frame.body_at);
            Ok(())
        };
        scan::scan(&*self.file, &self.head, take).map(drop)
    }
}

/// Takes in the groups after the first `commit` that any of the sources has. Returns how many groups there were in all, and how
/// many of them are missing.
fn add_later(map: &mut Map, sources: &[Source], commit: u64) -> io::Result<(u64, u64)> {
    let mut later: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for source in sources {
        scan::salvage(&*source.file, &source.head, |frame| {
            if frame.commit > commit && !frame.body.is_empty() {
                later.insert(frame.commit, frame.body.to_vec());
            } else if commit == 0 && frame.commit == 0 {
                // A log whose beginning is damaged: what is left of it stands for what was before all groups.
                map.take(frame.body, frame.body_at);
            }
            Ok(())
        })?;
    }
    later.values().for_each(|body| map.take(body, 0));
    let last = later.keys().next_back().copied().unwrap_or(commit);
    Ok((last, last - commit - later.len() as u64))
}
