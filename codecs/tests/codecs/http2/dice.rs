//! Random numbers from a seed.

pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// A field whose name and value are often ones that came before.
    pub fn field(&mut self) -> (Vec<u8>, Vec<u8>) {
        const NAMES: [&str; 12] = [
            ":path",
            ":status",
            "content-type",
            "x-request-id",
            "authorization",
            "cookie",
            "accept",
            "via",
            "x-a",
            "x-b",
            "grpc-timeout",
            "te",
        ];
        const VALUES: [&str; 8] = ["", "/", "200", "application/grpc", "trailers", "1S", "a", "Bearer abc"];
        let name = match self.below(8) {
            0 => format!("x-{}", self.below(1000)).into_bytes(),
            _ => self.pick(&NAMES).as_bytes().to_vec(),
        };
        let value = match self.below(6) {
            0 => {
                let len = if self.one_in(20) { 5000 } else { 200 };
                (0..self.below(len)).map(|_| self.below(256) as u8).collect()
            }
            1 => format!("value-{}", self.below(50)).into_bytes(),
            _ => self.pick(&VALUES).as_bytes().to_vec(),
        };
        (name, value)
    }
}
