use super::panels::Panels;
use super::tile::{Instructions, ROWS};
use super::{Fold, Pairs, Rows, Shortlist, Weights};

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next() + next() + next()).collect()
}

fn panels(w: &[f32], bias: &[f32], fold: &Fold) -> Panels {
    let mut panels = Panels::default();
    panels.pack(w, fold, |f| bias[f]);
    panels
}

/// The k largest positive, in double precision.
fn best(x: &[f32], w: &[f32], bias: &[f32], k: usize) -> Vec<u32> {
    let dot = |w: &[f32]| -> f64 { w.iter().zip(x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let z = w.chunks_exact(x.len()).zip(bias).map(|(w, b)| dot(w) + f64::from(*b));
    let mut all: Vec<(u32, f64)> = (0..).zip(z).filter(|(_, z)| *z > 0.0).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(k);
    all.into_iter().map(|(f, _)| f).collect()
}

fn check(x: &[f32], w: &[f32], bias: &[f32], fold: &Fold, k: usize) -> usize {
    let d = fold.width();
    let (mut rows, mut list) = (Rows::default(), Shortlist::default());
    rows.set(x, fold, ROWS);
    list.find(Pairs::plain(&rows, &panels(w, bias, fold)), k, Instructions::detect());
    let mut total = 0;
    for (i, x) in x.chunks_exact(d).enumerate() {
        let got: Vec<u32> = list.row(i).collect();
        assert!(got.is_sorted() && got.iter().all(|f| (*f as usize) < bias.len()));
        for f in best(x, w, bias, k) {
            assert!(got.contains(&f), "row {i} lost {f}");
        }
        total += got.len();
    }
    total
}

#[test]
fn nothing_that_belongs_to_the_best_is_lost() {
    for (n, d, f, k) in [(1, 64, 64, 8), (7, 96, 1000, 16), (40, 256, 3000, 32), (6, 33, 130, 1)] {
        let (x, w) = (numbers(n * d, 1), numbers(f * d, 2));
        let bias: Vec<f32> = numbers(f, 3).iter().map(|b| 0.3 * b).collect();
        let found = check(&x, &w, &bias, &Fold::none(d), k);
        assert!(found <= 2 * n * k, "{found} candidates for {n} · {k}");
    }
}

#[test]
fn outlier_dimensions_are_folded_away() {
    let (n, d, f, k) = (12, 256, 2000, 16);
    let (mut x, w) = (numbers(n * d, 4), numbers(f * d, 5));
    let mut rms = vec![1.0; d];
    for at in [17, 99, 200] {
        rms[at] = 60.0;
        x.iter_mut().skip(at).step_by(d).for_each(|v| *v *= 60.0);
    }
    let bias = vec![0.0; f];
    let plain = check(&x, &w, &bias, &Fold::none(d), k);
    let folded = check(&x, &w, &bias, &Fold::balancing(&rms), k);
    assert!(folded < 2 * n * k && folded < plain, "{folded} and {plain} candidates");
}

#[test]
fn ties_few_positive_columns_and_no_k() {
    let d = 16;
    let x = vec![1.0; d];
    // All columns alike: every one may be among the best.
    assert_eq!(check(&x, &vec![0.5; 200 * d], &[0.0; 200], &Fold::none(d), 3), 200);
    // Only two are positive.
    let mut w = vec![-0.5; 200 * d];
    w[64 * d..66 * d].fill(0.25);
    assert_eq!(check(&x, &w, &[0.0; 200], &Fold::none(d), 3), 2);
    assert_eq!(check(&x, &w, &[0.0; 200], &Fold::none(d), 0), 0);
}

#[test]
fn nothing_that_belongs_to_the_best_of_all_rows_is_lost() {
    let (n, d, f) = (30, 96, 900);
    let (x, w) = (numbers(n * d, 1), numbers(f * d, 2));
    let bias: Vec<f32> = numbers(f, 3).iter().map(|b| 0.3 * b).collect();
    let z = |i: usize| -> Vec<f64> {
        let dot = |w: &[f32]| -> f64 {
            w.iter().zip(&x[i * d..(i + 1) * d]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        w.chunks_exact(d).zip(&bias).map(|(w, b)| dot(w) + f64::from(*b)).collect()
    };
    let mut all: Vec<(f64, usize, u32)> =
        (0..n).flat_map(|i| z(i).into_iter().zip(0..).map(move |(z, f)| (z, i, f))).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut rows, mut list) = (Rows::default(), Shortlist::default());
    let fold = Fold::none(d);
    rows.set(&x, &fold, ROWS);
    let panels = panels(&w, &bias, &fold);
    for limit in [0, 1, 200, 480, 9000, 30_000] {
        let floor = list.find_all(Pairs::plain(&rows, &panels), limit, 0.0, Instructions::detect());
        let total: usize = (0..n).map(|i| list.bounds(i).len()).sum();
        let wanted = all.iter().take(limit).take_while(|(z, ..)| *z > 0.0);
        for (z, i, f) in wanted.clone() {
            let Some((upper, lower, _)) = list.bounds(*i).find(|(.., c)| c == f) else {
                panic!("limit {limit}: lost {f} of row {i}")
            };
            assert!(f64::from(lower) <= z + 1e-5 && *z <= f64::from(upper) + 1e-5);
        }
        assert!(total <= 2 * wanted.count() + 50, "{total} candidates for {limit}");
        let again: usize = {
            list.find_all(Pairs::plain(&rows, &panels), limit, floor, Instructions::detect());
            (0..n).map(|i| list.bounds(i).len()).sum()
        };
        assert_eq!(total, again, "to know the floor before only saves time");
    }
}

#[test]
fn nothing_that_belongs_to_a_rows_own_number_is_lost() {
    let (n, d, f) = (40, 96, 700);
    let (x, w) = (numbers(n * d, 1), numbers(f * d, 2));
    let (row_bias, bias) = (numbers(n, 5), vec![0.0; f]);
    let k: Vec<u32> = (0..n as u32).map(|i| [0, 1, 5, 300, 1000][i as usize % 5]).collect();
    let (mut rows, mut list) = (Rows::default(), Shortlist::default());
    let fold = Fold::none(d);
    rows.set(&x, &fold, ROWS);
    rows.set_biases(row_bias.iter().map(|b| 2.0 * b));
    list.find_each(Pairs::plain(&rows, &panels(&w, &bias, &fold)), &k, Instructions::detect());
    for (i, x) in x.chunks_exact(d).enumerate() {
        let got: Vec<u32> = list.row(i).collect();
        let biases = vec![2.0 * row_bias[i]; f];
        let wanted = best(x, &w, &biases, k[i] as usize);
        assert!(wanted.iter().all(|f| got.contains(f)), "row {i}");
        assert!(
            got.len() <= 2 * k[i] as usize + 40 && (k[i] > 0 || got.is_empty()),
            "{} of row {i}",
            got.len()
        );
    }
}

#[test]
fn nothing_that_belongs_to_the_best_by_weighted_worth_is_lost() {
    let (n, d, f, k) = (21, 96, 900, 16);
    let (x, w, g, v) = (numbers(n * d, 1), numbers(f * d, 2), numbers(n * d, 3), numbers(f * d, 4));
    let bias: Vec<f32> = numbers(f, 6).iter().map(|b| 0.3 * b).collect();
    // Rows that have no gradient count as 1.
    let silent = |i: usize| i.is_multiple_of(4);
    let g: Vec<f32> = g.iter().enumerate().map(|(i, g)| if silent(i / d) { 0.0 } else { 0.1 * g }).collect();
    let fold = Fold::none(d);
    let (mut rows, mut along) = (Rows::default(), Rows::default());
    rows.set(&x, &fold, ROWS);
    along.set(&g, &fold, ROWS);
    along.set_biases((0..n).map(|i| f32::from(u8::from(silent(i)))));
    let (panels, directions) = (panels(&w, &bias, &fold), panels(&v, &vec![0.0; f], &fold));
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    for (lambda, beta) in [(1.0, 1.0), (0.0, 0.7)] {
        let weights = Some(Weights { rows: &along, panels: &directions, lambda, beta });
        let pairs = Pairs { rows: &rows, panels: &panels, weights };
        let mut all = Vec::new();
        for i in 0..n {
            let worth = |f: usize| {
                let z = dot(&x[i * d..][..d], &w[f * d..][..d]) + f64::from(bias[f]);
                let a = if silent(i) { 1.0 } else { dot(&g[i * d..][..d], &v[f * d..][..d]).abs() };
                z.max(0.0) * (f64::from(lambda) + f64::from(beta) * a)
            };
            all.extend((0..f).map(|f| (worth(f), i, f as u32)).filter(|w| w.0 > 0.0));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut list = Shortlist::default();
        // The second search begins with a guess.
        for _ in 0..2 {
            list.find(pairs, k, Instructions::detect());
            let total: usize = (0..n).map(|i| list.row(i).len()).sum();
            assert!(total < 4 * n * k, "{total} candidates for {n} · {k}");
            for i in 0..n {
                let got: Vec<u32> = list.row(i).collect();
                let mut wanted = all.iter().filter(|w| w.1 == i).take(k);
                assert!(wanted.all(|w| got.contains(&w.2)), "row {i}");
            }
        }
        list.find_all(pairs, n * k, 0.0, Instructions::detect());
        for (worth, i, f) in all.iter().take(n * k) {
            let found = list.bounds(*i).find(|(.., c)| c == f);
            let (upper, lower, _) = found.unwrap_or_else(|| panic!("lost {f} of row {i}"));
            assert!(f64::from(lower) <= worth + 1e-5 && *worth <= f64::from(upper) + 1e-5);
        }
    }
}
