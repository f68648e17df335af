//! How well scores tell two classes apart.

/// Area under the ROC curve: the share of pairs of a positive and a negative in which the positive has the larger score, ties half. 0.5 where
/// a class is missing.
pub fn auc(labels: &[bool], scores: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let positives = labels.iter().filter(|label| **label).count() as f64;
    let negatives = labels.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return 0.5;
    }
    let (mut won, mut below) = (0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let up = tied.iter().filter(|&&i| labels[i]).count() as f64;
        let down = tied.len() as f64 - up;
        won += up * (below + 0.5 * down);
        below += down;
    }
    won / (positives * negatives)
}

/// Share of rows whose score is above 0 exactly where the label is positive.
pub fn accuracy(labels: &[bool], scores: &[f64]) -> f64 {
    let right = labels.iter().zip(scores).filter(|(label, score)| **label == (**score > 0.0)).count();
    right as f64 / labels.len().max(1) as f64
}

/// F1 of both classes, each weighted by its share of the labels.
pub fn weighted_f1(labels: &[bool], scores: &[f64]) -> f64 {
    let of = |class: bool| {
        let (mut both, mut said, mut is) = (0.0, 0.0, 0.0);
        for (&label, &score) in labels.iter().zip(scores) {
            let (l, s) = (label == class, (score > 0.0) == class);
            both += f64::from(u8::from(l && s));
            said += f64::from(u8::from(s));
            is += f64::from(u8::from(l));
        }
        let f1 = if both > 0.0 { 2.0 * both / (said + is) } else { 0.0 };
        f1 * is / labels.len().max(1) as f64
    };
    of(true) + of(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_by_counting_all_pairs() {
        let labels: Vec<bool> = (0..60).map(|i| i * i % 5 < 2).collect();
        let scores: Vec<f64> = (0..60).map(|i| f64::from(i * 7 % 13) - 6.0).collect();
        let (mut won, mut pairs) = (0.0, 0.0);
        for i in (0..60).filter(|&i| labels[i]) {
            for j in (0..60).filter(|&j| !labels[j]) {
                pairs += 1.0;
                won += if scores[i] > scores[j] {
                    1.0
                } else if scores[i] == scores[j] {
                    0.5
                } else {
                    0.0
                };
            }
        }
        assert!((auc(&labels, &scores) - won / pairs).abs() < 1e-12);
        assert_eq!(auc(&[true; 3], &[1.0, 2.0, 3.0]), 0.5);
    }

    #[test]
    fn accuracy_and_f1_by_hand() {
        // Said + + − − +, is + − − + +: precision of + is 2/3, recall 2/3; of − 1/2 and 1/2.
        let (labels, scores) = ([true, false, false, true, true], [1.0, 0.5, -1.0, -2.0, 3.0]);
        assert!((accuracy(&labels, &scores) - 0.6).abs() < 1e-12);
        assert!((weighted_f1(&labels, &scores) - (0.6 * 2.0 / 3.0 + 0.4 * 0.5)).abs() < 1e-12);
    }
}
