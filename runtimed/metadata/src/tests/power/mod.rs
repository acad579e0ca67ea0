//! The power goes at every write; a bit flips; a file is cut; the disk is full, or fails. The store opens with all that was
//! flushed, or says what is wrong.
//!
//! `METADATA_POWER_ROUNDS` makes it longer, `METADATA_POWER_SEED` repeats a run: each prints its seed.

mod cuts;
mod damage;
mod faults;
mod load;
mod medium;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// How many rounds, unless the environment says another number.
fn rounds(usual: usize) -> usize {
    number("METADATA_POWER_ROUNDS").map_or(usual, |rounds| rounds as usize)
}

/// A random number generator whose seed is printed.
fn random() -> StdRng {
    let seed = number("METADATA_POWER_SEED").unwrap_or_else(rand::random);
    println!("METADATA_POWER_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
