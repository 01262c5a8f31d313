//! Chance that can be repeated.

/// The seed of this run: `CEDARGATE_TEST_SEED`, or one that the machine gives. Printed, so that a failure can be repeated.
pub fn test_seed(of: &str) -> u64 {
    let seed = std::env::var("CEDARGATE_TEST_SEED").ok().map_or_else(
        || {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        },
        |text| text.parse().expect("CEDARGATE_TEST_SEED is a number"),
    );
    report(&format!("{of}: CEDARGATE_TEST_SEED={seed}"));
    seed
}

/// Says something that stands in the test's output when it fails, or with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the test's own output")]
pub fn report(line: &str) {
    println!("{line}");
}

/// A small generator (SplitMix64); the same seed throws the same.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below the limit.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// Once in so many throws.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// At most so many of them, each once.
    pub fn some<T: Clone>(&mut self, from: &[T], most: usize) -> Vec<T> {
        let mut left = from.to_vec();
        let count = self.below(most + 1);
        (0..count.min(from.len())).map(|_| left.swap_remove(self.below(left.len()))).collect()
    }
}

/// The moment so many days and not quite a minute less ago, as the wire writes it.
#[expect(clippy::disallowed_methods, reason = "a test of the real binary lives in real time")]
pub fn days_ago(days: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now - days * 86_400 + 50).unwrap().to_string()
}
