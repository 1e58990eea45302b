//! What must hold for any bytes: each check makes operations of them, does them with the core and with something slow and
//! plain, and panics where the two differ. `cargo test` runs them by `seeded.rs`, and `make soak-core` by `targets/`, where
//! libFuzzer looks for bytes that reach new code. What it finds goes to `corpus/`, for `cargo test` to try again.

pub mod aggregator;
pub mod packed;
pub mod table;
pub mod totals;
pub mod words;

/// Bytes that choices are made of. All choices are zero once there are none left.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// Whether there are no more bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below a bound of at most 65,536.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % bound
    }

    /// A number that is small, or at the ends of what there is, or any.
    pub fn number(&mut self) -> i64 {
        match self.byte() {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => i64::MAX / 2 + 1,
            3 => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            4..64 => -i64::from(self.byte()),
            _ => i64::from(self.byte()),
        }
    }

    /// A word that comes often, with others that begin alike, or any word.
    pub fn word(&mut self) -> Vec<u8> {
        match self.byte() {
            number @ ..240 => numbered(number.into()),
            length => (240..length).map(|_| self.byte()).collect(),
        }
    }
}

/// One of many words: of zeros, with zeros at its end, long, or plain ones. Their lengths are those at which a table or a
/// prefix treats them in another way.
pub fn numbered(number: usize) -> Vec<u8> {
    match number % 8 {
        0 => vec![0; number / 8 % 20],
        1 => [format!("{number:x}").into_bytes(), vec![0; number % 3]].concat(),
        2 => format!("beginning{number}")
            .repeat(1 + number % 40)
            .into_bytes(),
        _ => {
            let digits = format!("{number}").into_bytes();
            digits.iter().cycle().take(number % 19).copied().collect()
        }
    }
}
