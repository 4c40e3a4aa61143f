//! One seed, split into named, independent streams.
//!
//! A stream's key is SHA-256 over the seed and the stream's name; its output is ChaCha with eight rounds.
//! Both are fixed by their specifications (FIPS 180-4; Bernstein 2008), so what a seed means does not change
//! with a library's version: a seed in a corpus is a promise. A new draw on one stream leaves every other
//! stream as it was.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A probability in parts per million. Zero, the default, means never.
///
/// A type of its own, because a bare float invites both rounding and doubt about its unit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Ratio {
    parts_per_million: u32,
}

impl Ratio {
    /// Never.
    pub const ZERO: Self = Self { parts_per_million: 0 };
    /// Always.
    pub const ONE: Self = Self { parts_per_million: 1_000_000 };

    /// `parts` in a million; more than a million is always.
    pub const fn per_million(parts: u32) -> Self {
        Self { parts_per_million: if parts > 1_000_000 { 1_000_000 } else { parts } }
    }

    /// `parts` in a hundred; more than a hundred is always.
    pub const fn percent(parts: u32) -> Self {
        Self::per_million(parts.saturating_mul(10_000))
    }

    /// The ratio in parts per million.
    pub const fn parts_per_million(self) -> u32 {
        self.parts_per_million
    }

    /// True where the ratio is [`Ratio::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.parts_per_million == 0
    }
}

/// One named stream of random numbers.
#[derive(Clone, Debug)]
pub struct Entropy {
    generator: ChaCha8Rng,
}

impl Entropy {
    /// The stream called `name` of `seed`.
    pub fn stream(seed: u64, name: &str) -> Self {
        let key = Sha256::new()
            .chain_update(b"brownout entropy 1")
            .chain_update(seed.to_le_bytes())
            .chain_update(name.as_bytes())
            .finalize();
        Self { generator: ChaCha8Rng::from_seed(key.into()) }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }

    /// A number in `0..bound`, without bias worth speaking of: the high half of a 128-bit product
    /// (Lemire 2019), whose bias is below 2⁻³² for every bound below 2³².
    ///
    /// `bound` must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero was asked for");
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the high half of a 128-bit product has 64 bits")
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range {low}..={high}");
        match (high - low).checked_add(1) {
            Some(count) => low + self.below(count),
            None => self.next_u64(),
        }
    }

    /// True with probability `ratio`. Draws nothing where the ratio is zero, so that switching a fault off
    /// leaves the rest of its stream unmoved.
    pub fn chance(&mut self, ratio: Ratio) -> bool {
        !ratio.is_zero() && self.below(1_000_000) < u64::from(ratio.parts_per_million)
    }

    /// One of `items`, which must not be empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        assert!(!items.is_empty(), "a choice from nothing");
        let index = self.below(items.len() as u64);
        &items[usize::try_from(index).expect("an index below a length fits")]
    }

    /// Shuffles `items` (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).expect("an index below a length fits");
            items.swap(last, other);
        }
    }

    /// A waiting time with a heavy tail: exponential around `mean_ns`, and once in sixteen draws eight times
    /// that, never above `max_ns`. Integers only, so that no floating-point library decides a schedule.
    pub fn heavy_tail_ns(&mut self, mean_ns: u64, max_ns: u64) -> u64 {
        let bits = self.next_u64();
        let scale = if bits & 0xf == 0 { mean_ns.saturating_mul(8) } else { mean_ns };
        // −ln(u) of a uniform u is approximated by the count of leading zeros (its integer part in base
        // two, each worth ln 2 ≈ 0.693) and a linear fraction between.
        let uniform = (bits >> 4) | 1;
        let halvings = u64::from(uniform.leading_zeros()) - 4;
        let fraction = 1024 - ((uniform << (uniform.leading_zeros() + 1)) >> 54);
        let units = halvings * 1024 + fraction;
        let scaled = u128::from(scale) * u128::from(units) * 693 / (1000 * 1024);
        u64::try_from(scaled).unwrap_or(u64::MAX).min(max_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_promise() {
        let mut stream = Entropy::stream(42, "disk of node 1");
        let drawn: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        assert_eq!(drawn, [12946569293740167030, 15677943019515290789, 10179510303655991221]);
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let first = Entropy::stream(42, "link 1→2").next_u64();
        assert_ne!(first, Entropy::stream(42, "link 2→1").next_u64());
        assert_ne!(first, Entropy::stream(43, "link 1→2").next_u64());
    }

    #[test]
    fn a_zero_chance_draws_nothing() {
        let mut with = Entropy::stream(7, "x");
        let mut without = with.clone();
        assert!(!with.chance(Ratio::ZERO));
        assert_eq!(with.next_u64(), without.next_u64());
    }

    #[test]
    fn chances_come_out_near_their_ratio() {
        let mut stream = Entropy::stream(1, "chance");
        let hits = (0..100_000).filter(|_| stream.chance(Ratio::percent(10))).count();
        assert!((9_000..11_000).contains(&hits), "{hits} of 100000 at 10 %");
        assert!((0..100).all(|_| stream.chance(Ratio::ONE)));
    }

    #[test]
    fn heavy_tail_has_its_mean_and_its_bound() {
        let mut stream = Entropy::stream(1, "tail");
        let draws: Vec<u64> = (0..100_000).map(|_| stream.heavy_tail_ns(1_000, 20_000)).collect();
        let mean = draws.iter().sum::<u64>() / 100_000;
        assert!((1_000..2_000).contains(&mean), "mean {mean}");
        assert!(draws.iter().all(|&ns| ns <= 20_000) && draws.iter().any(|&ns| ns > 10_000));
    }
}
