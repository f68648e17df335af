//! How many of the experts that tokens chose are predicted.

use rayon::prelude::*;

use super::gather::Choices;

/// Tokens of a task; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1024;

/// What a predictor found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recall {
    /// Mean over tokens of the share of their experts that were predicted.
    pub recall: f64,
    /// Tokens that chose any expert.
    pub tokens: u64,
    /// Of each expert, the tokens that chose it and are predicted to.
    pub hits: Vec<u64>,
}

impl Recall {
    /// Predicts for every token as many experts as it chose, those with the largest scores, ties to the lower
    /// number. `score` writes the scores `[E]` of a token.
    pub fn of(choices: &Choices, experts: usize, score: impl Fn(usize, &mut [f64]) + Sync) -> Self {
        let starts: Vec<usize> = (0..choices.len()).step_by(CHUNK).collect();
        let parts: Vec<(f64, u64, Vec<u64>)> = starts
            .into_par_iter()
            .map(|from| {
                let (mut sum, mut tokens, mut hits) = (0.0, 0, vec![0; experts]);
                let mut scores = vec![0.0; experts];
                for t in from..choices.len().min(from + CHUNK) {
                    let chosen = choices.of(t);
                    if chosen.is_empty() {
                        continue;
                    }
                    scores.fill(0.0);
                    score(t, &mut scores);
                    let predicted = best(&scores, chosen.len());
                    let found =
                        chosen.iter().filter(|e| predicted.contains(e)).inspect(|e| hits[**e as usize] += 1);
                    sum += found.count() as f64 / chosen.len() as f64;
                    tokens += 1;
                }
                (sum, tokens, hits)
            })
            .collect();
        let mut all = Self { hits: vec![0; experts], ..Self::default() };
        for (sum, tokens, hits) in parts {
            all.recall += sum;
            all.tokens += tokens;
            all.hits.iter_mut().zip(hits).for_each(|(all, n)| *all += n);
        }
        all.recall /= all.tokens.max(1) as f64;
        all
    }
}

/// Numbers of the `k` largest scores, ties to the lower number.
fn best(scores: &[f64], k: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(k + 1);
    for (e, score) in (0u32..).zip(scores) {
        let at = best.partition_point(|b| scores[*b as usize] >= *score);
        if at < k {
            best.insert(at, e);
            best.truncate(k);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_the_share_of_chosen_experts_among_as_many_predicted() {
        let mut choices = Choices::default();
        [&[1u32, 3][..], &[0], &[], &[2, 0]].into_iter().for_each(|c| choices.push(c));
        // Scores prefer 0, then 1 and 3 alike, then 2.
        let found = Recall::of(&choices, 4, |_, s| s.copy_from_slice(&[3.0, 2.0, 1.0, 2.0]));
        // Predicted {0, 1}, {0}, –, {0, 1}: ½ + 1 + ½ of three tokens.
        assert!((found.recall - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((found.tokens, found.hits), (3, vec![2, 1, 0, 0]));
    }
}
