//! Numbers and bytes that look random.

/// Numbers that look random and are the same in each run.
#[derive(Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// Returns the next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }

    /// Returns bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8))
            .flat_map(|_| {
                let _ = self.below(1);
                self.0.to_be_bytes()
            })
            .take(len)
            .collect()
    }
}
