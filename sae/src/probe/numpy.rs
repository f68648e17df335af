//! The random numbers of NumPy's `RandomState`, as far as published splits are made of them.
//!
//! Splits of the sae-probes protocol are drawn with them, so equal splits need equal bits: the Mersenne Twister MT19937 (Matsumoto and
//! Nishimura 1998) seeded by one number, bounded integers by masks and rejection, and Fisher and Yates's shuffle from the last place down.

const N: usize = 624;
const M: usize = 397;

/// A stream of numbers that a seed decides.
#[derive(Debug, Clone)]
pub struct RandomState {
    words: [u32; N],
    next: usize,
}

impl RandomState {
    /// `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut words = [seed; N];
        for i in 1..N {
            let before = words[i - 1];
            words[i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { words, next: N }
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let joined = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % N] & 0x7fff_ffff);
                let twisted = (joined >> 1) ^ if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[i] = self.words[(i + M) % N] ^ twisted;
            }
            self.next = 0;
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A whole number from 0 to `most`.
    fn up_to(&mut self, most: usize) -> usize {
        let Ok(most) = u32::try_from(most) else { return most };
        if most == 0 {
            return 0;
        }
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let value = self.word() & mask;
            if value <= most {
                return value as usize;
            }
        }
    }

    /// `shuffle`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let other = self.up_to(i);
            items.swap(i, other);
        }
    }

    /// `choice(items, size, replace=False)`; all items where there are no more than `size`.
    pub fn choice(&mut self, items: &[usize], size: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..items.len()).collect();
        self.shuffle(&mut places);
        places.into_iter().take(size).map(|place| items[place]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's 10,000th word after seed 5489 (C++'s standard gives it for `mt19937`).
    #[test]
    fn the_ten_thousandth_word_is_the_standards() {
        let mut state = RandomState::new(5489);
        assert_eq!((0..10_000).map(|_| state.word()).last(), Some(4_123_659_995));
    }

    /// `numpy.random.RandomState(42).permutation(10)` and `RandomState(7).choice(range(20, 40), 6, replace=False)`, NumPy 2.4.
    #[test]
    fn permutations_and_choices_are_numpys() {
        let mut order: Vec<usize> = (0..10).collect();
        RandomState::new(42).shuffle(&mut order);
        assert_eq!(order, PERMUTATION);
        let items: Vec<usize> = (20..40).collect();
        assert_eq!(RandomState::new(7).choice(&items, 6), CHOICE);
    }

    const PERMUTATION: [usize; 10] = [8, 1, 5, 0, 7, 2, 9, 4, 3, 6];
    const CHOICE: [usize; 6] = [21, 37, 22, 25, 31, 20];
}
