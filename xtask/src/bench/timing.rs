//! Timing in turns: what disturbs the machine disturbs everybody.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::client::Client;
use super::job::Job;

/// What is done around a measurement, for a round's number.
pub type Hook<'a> = Box<dyn FnMut(usize) -> Result<()> + 'a>;

/// One of those that are compared.
pub struct Contender<'a> {
    /// What it is called in the report.
    pub name: String,
    /// Who does it.
    pub client: &'a Client,
    /// What has to be there first.
    pub before: Hook<'a>,
    /// What is measured.
    pub job: Box<dyn Fn(usize) -> Job + 'a>,
    /// What has to go.
    pub after: Hook<'a>,
}

impl<'a> Contender<'a> {
    /// One that needs nothing around it.
    pub fn new(client: &'a Client, job: impl Fn(usize) -> Job + 'a) -> Contender<'a> {
        Contender {
            name: client.name.clone(),
            client,
            before: Box::new(|_| Ok(())),
            job: Box::new(job),
            after: Box::new(|_| Ok(())),
        }
    }

    /// The same with something done before each time.
    pub fn before(mut self, hook: impl FnMut(usize) -> Result<()> + 'a) -> Contender<'a> {
        self.before = Box::new(hook);
        self
    }

    /// The same with something done after each time.
    pub fn after(mut self, hook: impl FnMut(usize) -> Result<()> + 'a) -> Contender<'a> {
        self.after = Box::new(hook);
        self
    }

    fn once(&mut self, round: usize) -> Result<Cost> {
        (self.before)(round)?;
        let cost = measure(self.client, &(self.job)(round))?;
        (self.after)(round)?;
        Ok(cost)
    }
}

/// What one time took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// From the start of the client to its end.
    pub wall: Duration,
    /// CPU time of the whole tree, until it was at rest again.
    pub cpu: Duration,
}

/// Runs a job and says what it cost; a step that fails is an error.
pub fn measure(client: &Client, job: &Job) -> Result<Cost> {
    let before = client.tree.used_at_rest()?;
    let answer = client.ask(job)?;
    if let Some(failure) = answer.failures.first() {
        bail!("{}: {} steps failed, the first: {failure}", client.name, answer.failures.len());
    }
    let cpu = client.tree.used_at_rest()?.saturating_sub(before);
    Ok(Cost { wall: answer.wall(), cpu })
}

/// What somebody's times took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    /// Whose.
    pub name: String,
    /// Sorted.
    pub walls: Vec<Duration>,
    /// Sorted.
    pub cpus: Vec<Duration>,
}

impl Samples {
    /// Sorts them.
    pub fn new(name: impl Into<String>, costs: &[Cost]) -> Samples {
        let sorted = |one: fn(&Cost) -> Duration| {
            let mut all: Vec<Duration> = costs.iter().map(one).collect();
            all.sort_unstable();
            all
        };
        Samples { name: name.into(), walls: sorted(|cost| cost.wall), cpus: sorted(|cost| cost.cpu) }
    }
}

/// Of sorted times the one that so many hundredths are not above (nearest rank): 0 is the least, 50 the median.
pub fn percentile(sorted: &[Duration], hundredths: usize) -> Duration {
    let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Lets everybody do it once unwatched, then `rounds` times in turns, each round begun by another.
pub fn in_turns(rounds: usize, contenders: &mut [Contender]) -> Result<Vec<Samples>> {
    for contender in contenders.iter_mut() {
        contender.once(0).with_context(|| contender.name.clone())?;
    }
    let mut costs = vec![Vec::with_capacity(rounds); contenders.len()];
    for (round, who) in turns(rounds, contenders.len()) {
        let contender = &mut contenders[who];
        let cost = contender.once(round).with_context(|| format!("{}, round {round}", contender.name))?;
        costs[who].push(cost);
    }
    Ok(contenders.iter().zip(&costs).map(|(one, costs)| Samples::new(one.name.clone(), costs)).collect())
}

/// Rounds, counted from 1, and whose turn it is.
pub fn turns(rounds: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rounds).flat_map(move |round| (0..count).map(move |turn| (round + 1, (round + turn) % count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let of = |times: &[Duration], hundredths| percentile(times, hundredths).as_millis();
        assert_eq!([0, 50, 99, 100].map(|hundredths| of(&times, hundredths)), [1, 100, 198, 200]);
        assert_eq!([0, 50, 99].map(|hundredths| of(&times[..3], hundredths)), [1, 2, 3]);
        assert_eq!(of(&[], 50), 0);
    }

    #[test]
    fn samples_are_sorted_apart() {
        let cost = |wall, cpu| Cost { wall: Duration::from_millis(wall), cpu: Duration::from_millis(cpu) };
        let samples = Samples::new("a", &[cost(3, 1), cost(1, 2)]);
        assert_eq!(samples.walls, [1, 3].map(Duration::from_millis));
        assert_eq!(samples.cpus, [1, 2].map(Duration::from_millis));
    }

    #[test]
    fn everybody_has_as_many_turns_and_another_begins() {
        assert_eq!(turns(2, 2).collect::<Vec<_>>(), [(1, 0), (1, 1), (2, 1), (2, 0)]);
    }
}
