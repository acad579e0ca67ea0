//! Chance that can be had again: SplitMix64, from a seed.

/// A row of numbers that the seed decides.
pub struct Dice(u64);

impl Dice {
    /// The row number `row` of `seed`.
    pub fn new(seed: u64, row: u64) -> Dice {
        Dice(seed ^ row.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
