//! The parts on which the passes are built; `sae::similar` has the whole against a naive search.

use super::*;

#[test]
fn rank_correlations_are_those_of_a_table() {
    // By hand: 8 / √95 with one tie, −3.75 / 4.5 with ties on both sides.
    let near = |a: &[f32], b: &[f32], expected: f64| {
        assert!((spearman(a, b).unwrap() - expected).abs() < 1e-9, "{:?}", spearman(a, b));
    };
    near(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0], 0.820_782_681_668_123_3);
    near(&[1.0, 1.0, 2.0, 3.0], &[4.0, 2.0, 2.0, 1.0], -0.833_333_333_333_333_3);
    near(&[3.0, 1.0, 2.0], &[30.0, 10.0, 20.0], 1.0);
    assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
    assert_eq!(spearman(&[], &[]), None);
}

#[test]
fn a_list_keeps_what_sorting_everything_keeps() {
    let score = |i: u32| f64::from((i.wrapping_mul(2_654_435_761) >> 24) % 40) - 3.0;
    for k in [0, 1, 7, 500] {
        let mut list = NearList::new(k);
        let all: Vec<Near> =
            (0..300).map(|i| Near { document: i / 9, position: i % 9, score: score(i) }).collect();
        all.iter().for_each(|near| list.offer(*near));
        list.offer(Near { document: 99, position: 0, score: f64::NAN });
        let mut expected: Vec<Near> = all.into_iter().filter(|near| near.score > 0.0).collect();
        expected.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place().cmp(&b.place())));
        expected.truncate(k);
        assert_eq!(list.finish(), expected, "{k}");
    }
}
