//! Timing in turns: what disturbs the machine disturbs everybody.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// One of those that are compared.
pub struct Contender<'a> {
    /// What it is called in the report.
    pub name: String,
    /// Does it once.
    pub once: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// How long each time took.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Whose.
    pub name: String,
    /// Sorted.
    times: Vec<Duration>,
}

impl Samples {
    /// Sorts them.
    pub fn new(name: String, mut times: Vec<Duration>) -> Samples {
        times.sort_unstable();
        Samples { name, times }
    }

    /// The shortest.
    pub fn min(&self) -> Duration {
        self.times.first().copied().unwrap_or_default()
    }

    /// The one in the middle; of two, the shorter.
    pub fn median(&self) -> Duration {
        self.times.get(self.times.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// All of them.
    pub fn times(&self) -> &[Duration] {
        &self.times
    }
}

/// Lets everybody do it once unwatched, then `rounds` times in turns, each round begun by another.
pub fn in_turns(rounds: usize, contenders: &mut [Contender]) -> Result<Vec<Samples>> {
    let count = contenders.len();
    for contender in contenders.iter_mut() {
        (contender.once)().with_context(|| contender.name.clone())?;
    }
    let mut times = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for turn in 0..count {
            let who = (round + turn) % count;
            let began = Instant::now();
            (contenders[who].once)().with_context(|| contenders[who].name.clone())?;
            times[who].push(began.elapsed());
        }
    }
    let names = contenders.iter().map(|contender| contender.name.clone());
    Ok(names.zip(times).map(|(name, times)| Samples::new(name, times)).collect())
}

/// Runs a command that has to succeed and to say nothing.
pub fn silently(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success() && said.is_empty(), "{command:?}: {}: {said}", output.status);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |times: &[u64]| {
            Samples::new(String::new(), times.iter().map(|time| Duration::from_millis(*time)).collect())
        };
        assert_eq!(of(&[3, 1, 2]).median(), Duration::from_millis(2));
        assert_eq!(of(&[4, 1, 3, 2]).median(), Duration::from_millis(2));
        assert_eq!(of(&[3, 1, 2]).min(), Duration::from_millis(1));
        assert_eq!(of(&[]).median(), Duration::ZERO);
    }

    #[test]
    fn everybody_has_as_many_turns() -> Result<()> {
        let order = std::cell::RefCell::new(Vec::new());
        let contender = |name: &str| {
            let (order, name) = (&order, name.to_owned());
            Contender {
                name: name.clone(),
                once: Box::new(move || {
                    order.borrow_mut().push(name.clone());
                    Ok(())
                }),
            }
        };
        let samples = in_turns(2, &mut [contender("a"), contender("b")])?;
        assert_eq!(samples.iter().map(|one| one.times().len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(order.into_inner(), ["a", "b", "a", "b", "b", "a"]);
        Ok(())
    }
}
