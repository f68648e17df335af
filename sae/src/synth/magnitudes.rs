//! Magnitudes of a world's features. SAELens does not store them: it draws them again from the world's seed
//! with PyTorch's generator, so a world can only be read by a program that draws the same numbers.

/// The 32-bit Mersenne twister (Matsumoto and Nishimura 1998), which PyTorch's generator of the CPU is.
struct Twister {
    state: Vec<u32>,
    at: usize,
}

const N: usize = 624;
const M: usize = 397;

impl Twister {
    fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(N);
        let mut last = seed;
        state.push(last);
        for i in 1..N as u32 {
            last = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i);
            state.push(last);
        }
        Self { state, at: N }
    }

    fn turn(&mut self) {
        for i in 0..N {
            let both = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if both & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (both >> 1) ^ odd;
        }
        self.at = 0;
    }

    fn next(&mut self) -> u32 {
        if self.at == N {
            self.turn();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in [0, 1) with 24 bits, as PyTorch makes a float32.
    fn uniform(&mut self) -> f32 {
        (self.next() & 0x00ff_ffff) as f32 / 16_777_216.0
    }
}

/// The smallest number of normal numbers that PyTorch draws in groups; smaller tensors are drawn differently.
pub(super) const GROUP: usize = 16;

/// Standard normal numbers `[n]` as `torch.randn` draws them for float32 on the CPU; `n` is at least [`GROUP`].
fn torch_normal(n: usize, seed: u32) -> Vec<f32> {
    let mut twister = Twister::new(seed);
    let mut numbers: Vec<f32> = (0..n).map(|_| twister.uniform()).collect();
    let whole = n / GROUP * GROUP;
    for group in numbers[..whole].chunks_exact_mut(GROUP) {
        box_muller(group);
    }
    if whole < n {
        // PyTorch draws the last group anew, over some numbers that it has made already.
        let last = &mut numbers[n - GROUP..];
        last.fill_with(|| twister.uniform());
        box_muller(last);
    }
    numbers
}

fn box_muller(group: &mut [f32]) {
    let (first, second) = group.split_at_mut(GROUP / 2);
    for (a, b) in first.iter_mut().zip(second) {
        let radius = (-2.0 * (1.0 - *a).ln()).sqrt();
        let angle = std::f32::consts::TAU * *b;
        (*a, *b) = (radius * angle.cos(), radius * angle.sin());
    }
}

/// Standard deviations `[n]` of the features' magnitudes: |N(mean, std²)|, drawn from `seed`.
pub(super) fn folded_normal(n: usize, mean: f32, std: f32, seed: u32) -> Vec<f32> {
    torch_normal(n, seed).iter().map(|z| (mean + std * z).abs()).collect()
}

/// Means `[n]` of the features' magnitudes, from `start` to `end` in equal steps.
pub(super) fn linear(n: usize, start: f32, end: f32) -> Vec<f32> {
    (0..n).map(|i| start + (end - start) * i as f32 / (n.max(2) - 1) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_those_of_the_published_world() {
        // Printed by PyTorch for SynthSAEBench-16k (seed 42, deviations from seed 43).
        let s = folded_normal(16_384, 0.5, 0.5, 43);
        for (found, expected) in s.iter().zip([0.491_698, 0.266_603, 1.545_449, 0.807_451, 0.218_952]) {
            assert!((found - expected).abs() < 2e-6, "{found} is not {expected}");
        }
        let mean = s.iter().map(|&x| f64::from(x)).sum::<f64>() / s.len() as f64;
        assert!((mean - 0.581_383).abs() < 1e-6, "mean {mean}");
    }

    #[test]
    fn means_fall_in_equal_steps() {
        assert_eq!(linear(3, 5.0, 4.0), [5.0, 4.5, 4.0]);
    }
}
