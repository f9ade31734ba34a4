//! The only randomness of a simulated world: xoshiro256** (Blackman and Vigna), its state filled by splitmix64 from the seed. It
//! reads no clock and no address, so the same seed gives the same numbers on every machine.

use std::time::Duration;

/// A generator of numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of a seed.
    #[must_use]
    pub fn new(mut seed: u64) -> Self {
        let mut next = || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        Random { state: [next(), next(), next(), next()] }
    }

    /// A generator of its own for a part of the world: what that part draws disturbs nobody else's numbers.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Random::new(self.bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The upper half of a product: biased by less than one in 2^32 for the small ends that are asked for.
        let product = u128::from(self.bits()) * u128::from(end);
        u64::try_from(product >> 64).unwrap()
    }

    /// A number from `first` to `last`, both included.
    pub fn within(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// An index into something of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// One of some values.
    pub fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())].clone()
    }

    /// Whether something happens that happens `in_thousand` times in a thousand.
    pub fn chance(&mut self, in_thousand: u32) -> bool {
        in_thousand > 0 && self.below(1000) < u64::from(in_thousand)
    }

    /// A number from `first` to `last` whose logarithm is spread evenly: as many small ones as large ones.
    pub fn log_within(&mut self, first: u64, last: u64) -> u64 {
        let octaves = u64::from((last / first).ilog2()) + 1;
        let base = first << self.below(octaves);
        self.within(base, (2 * base - 1).min(last).max(base)).min(last)
    }

    /// A time spread exponentially around a mean, at most twenty times as long.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        // -ln of a number in (0, 1], in steps of 2^-16, by its leading zeros and a parabola for the rest: no floating point, whose
        // logarithm may differ between machines.
        let bits = self.bits() | 1;
        let zeros = bits.leading_zeros();
        let rest = (bits << zeros << 1) >> 48;
        // log2(1 + x) is about x + 0.34 x (1 - x).
        let log2 =
            u64::from(zeros + 1) * 65_536 - rest - (rest * (65_536 - rest) / 65_536 * 34 / 100);
        let ln = log2 * 45_426 / 65_536;
        let nanos = mean.as_nanos() * u128::from(ln) / 65_536;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(mean * 20)
    }

    /// Lower-case hexadecimal digits.
    pub fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.index(16)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_numbers() {
        // splitmix64 of 0 and xoshiro256** from there, as in the reference implementations.
        let mut random = Random::new(0);
        assert_eq!(random.state[0], 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.state[1], 0x6e78_9e6a_a1b9_65f4);
        assert_eq!(random.bits(), 0x99ec_5f36_cb75_f2b4);
    }

    #[test]
    fn the_mean_of_an_exponential_is_the_mean() {
        let mut random = Random::new(7);
        let sum: Duration =
            (0..100_000).map(|_| random.exponential(Duration::from_millis(10))).sum();
        let mean = sum / 100_000;
        assert!(
            (Duration::from_micros(9_800)..Duration::from_micros(10_200)).contains(&mean),
            "{mean:?}"
        );
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            assert!((3..=900).contains(&random.log_within(3, 900)));
            assert!((5..=6).contains(&random.within(5, 6)));
            assert!(!random.chance(0) && random.chance(1000));
        }
    }
}
