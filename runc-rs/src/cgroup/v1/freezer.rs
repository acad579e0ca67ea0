//! Controller freezer (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
//!
//! A write starts it, reading the state moves it on, and no event tells the end: so reading is repeated, within bounds.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cgroup::{Error, Result, file};

const STATE: &str = "freezer.state";
/// How long a cgroup may stay between the two states.
const WITHIN: Duration = Duration::from_secs(2);

/// Freezes, or leaves the cgroup thawed and says why not.
pub fn freeze(dir: &Path) -> Result<()> {
    let done = try_freeze(dir);
    if done.is_err() {
        // Half frozen is worse than not frozen: whoever forks would hang for good.
        thaw(dir)?;
    }
    done
}

/// A process that forks meanwhile can escape; writing the state again, after letting go once in a while, catches it.
fn try_freeze(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    for attempt in 1_u32.. {
        file::write(dir, STATE, "FROZEN")?;
        match file::read(dir, STATE)?.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" if Instant::now() > deadline => break,
            "FREEZING" if attempt.is_multiple_of(50) => {
                thaw(dir)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            "FREEZING" => std::thread::yield_now(),
            other => return Err(file::malformed(dir, STATE, format!("{other:?} while freezing"))),
        }
    }
    Err(Error::Timeout(format!("unable to freeze {}", dir.display())))
}

/// Thaws.
pub fn thaw(dir: &Path) -> Result<()> {
    file::write(dir, STATE, "THAWED")
}

/// Whether this very cgroup was told to freeze; one that only stands still because a parent does is not paused.
pub fn frozen(dir: &Path) -> Result<bool> {
    let Some(state) = file::optional(file::read(dir, STATE))? else { return Ok(false) };
    if state.trim() == "THAWED" {
        return Ok(false);
    }
    Ok(file::optional(file::read_u64(dir, "freezer.self_freezing"))?.is_none_or(|own| own == 1))
}
