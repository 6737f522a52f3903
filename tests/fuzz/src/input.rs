//! Input as a source of decisions, for targets that need operations and not a wire format.

/// What is left of the input. Reading past the end gives zeros.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of the input.
    pub fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next octet.
    pub fn octet(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A number of the next two octets.
    pub fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.octet(), self.octet()]))
    }

    /// One of several, by the next octet.
    ///
    /// # Panics
    /// There is none to choose from.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.octet()) % choices.len()]
    }

    /// The next octets: so many, or what is left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    /// Changes octets as what is left says: cuts them, adds to them, or makes some others.
    pub fn change(&mut self, octets: &mut Vec<u8>) {
        while !self.is_empty() {
            let at = self.number();
            match self.octet() {
                0 => octets.truncate(at),
                1 => octets.push(at as u8),
                octet if !octets.is_empty() => {
                    let length = octets.len();
                    octets[at % length] ^= octet;
                }
                _ => {}
            }
        }
    }
}

/// A number of some octets, big-endian.
pub fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |sum, it| sum << 8 | u64::from(*it))
}
