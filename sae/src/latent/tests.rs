//! The truncated posterior with all states against one that adds up every state by its definition, iterations against numpy, bars.

use kernels::chance::{Generator, Purpose, generator, normal, uniform};
use lm::progress::StopAfter;
use storage::truncation::TruncationBars;

use super::expectation::{Sums, expect, expect_within, score};
use super::maximisation::maximise;
use super::posterior::Prepared;
use super::states::States;
use super::*;
use crate::dictionary::Dictionary;
use crate::dictionary::weights::Weights;
use crate::{Error, Quiet};

const H: usize = 4;
const D: usize = 5;
const ROWS: usize = 150;

fn numbers(n: usize, rng: &mut Generator) -> Vec<f64> {
    (0..n).map(|_| f64::from(normal(rng))).collect()
}

/// A model with parameters from nowhere, and rows that do not come from it.
fn some(kind: Kind) -> (Parameters, Vec<f32>) {
    let mut rng = generator(5, Purpose::Samples, kind as u64, 0);
    let rows: Vec<f32> = numbers(ROWS * D, &mut rng).into_iter().map(|x| 1.5 * x as f32).collect();
    let mut parameters = Parameters::first(kind, &rows, D, H, &[1.0, -0.5, 2.0], 3);
    parameters.w = numbers(H * D, &mut rng);
    if kind == Kind::Mca {
        parameters.w.iter_mut().for_each(|w| *w = w.abs() + 0.01);
    }
    parameters.sigma = 0.8;
    match kind {
        Kind::Dsc => parameters.rates = vec![0.2, 0.05, 0.1],
        Kind::Gsc => parameters.rates = (0..H).map(|_| 0.1 + 0.7 * uniform(&mut rng)).collect(),
        _ => parameters.rates = vec![0.3],
    }
    (parameters, rows)
}

/// A small dense matrix, by its rows.
type Matrix = Vec<Vec<f64>>;

/// A⁻¹ and log |A| by Gauss and Jordan.
fn inverse(a: &Matrix) -> (Matrix, f64) {
    let n = a.len();
    let mut rows: Matrix = (0..n)
        .map(|i| a[i].iter().copied().chain((0..n).map(|j| f64::from(u8::from(i == j)))).collect())
        .collect();
    let mut log = 0.0;
    for c in 0..n {
        let best = (c..n).max_by(|&i, &j| rows[i][c].abs().total_cmp(&rows[j][c].abs())).unwrap();
        rows.swap(c, best);
        let pivot = rows[c][c];
        log += pivot.abs().ln();
        rows[c].iter_mut().for_each(|x| *x /= pivot);
        for i in (0..n).filter(|i| *i != c) {
            let factor = rows[i][c];
            let source = rows[c].clone();
            rows[i].iter_mut().zip(source).for_each(|(x, y)| *x -= factor * y);
        }
    }
    (rows.into_iter().map(|row| row[n..].to_vec()).collect(), log)
}

/// One state of one row by the model's definition: log prior, log likelihood, codes, second moments of codes, reconstruction.
fn state(p: &Parameters, y: &[f64], s: &[f64], temperature: f64) -> (f64, f64, Vec<f64>, Matrix, Vec<f64>) {
    let prior: f64 = (0..H)
        .map(|h| {
            let rate = match p.kind {
                Kind::Gsc => p.rates[h],
                Kind::Dsc => p.rates.iter().sum(),
                _ => p.rates[0],
            };
            match p.kind {
                _ if s[h] == 0.0 => (1.0 - rate).ln(),
                Kind::Dsc => p.rates[p.values.iter().position(|v| *v == s[h]).unwrap()].ln(),
                Kind::Tsc => (rate / 2.0).ln(),
                _ => rate.ln(),
            }
        })
        .sum();
    let gauss = |rest: &[f64]| -> f64 {
        let squares: f64 = rest.iter().map(|r| r * r / (p.sigma * p.sigma)).sum();
        -0.5 * (squares + D as f64 * (std::f64::consts::TAU * p.sigma * p.sigma).ln())
    };
    let outer = |s: &[f64]| -> Matrix { s.iter().map(|a| s.iter().map(|b| a * b).collect()).collect() };
    if p.kind == Kind::Gsc {
        // y is normal with mean W(s∘μ) and covariance σ² + W diag(sΨ) Wᵀ; codes follow from their joint distribution with y.
        let mut c: Matrix = vec![vec![0.0; D]; D];
        let mut rest = y.to_vec();
        for i in 0..D {
            c[i][i] += p.sigma * p.sigma;
            for h in 0..H {
                rest[i] -= p.row(h)[i] * s[h] * p.mean[h];
                for j in 0..D {
                    c[i][j] += s[h] * p.variance[h] * p.row(h)[i] * p.row(h)[j];
                }
            }
        }
        let (inverse, log) = inverse(&c);
        let by = |a: &[f64], b: &[f64]| -> f64 {
            (0..D).map(|i| (0..D).map(|j| a[i] * inverse[i][j] * b[j]).sum::<f64>()).sum()
        };
        let likelihood = -0.5 * (by(&rest, &rest) + log + D as f64 * std::f64::consts::TAU.ln());
        let spread = |h: usize| s[h] * p.variance[h];
        let codes: Vec<f64> = (0..H).map(|h| s[h] * p.mean[h] + spread(h) * by(p.row(h), &rest)).collect();
        let mut second = outer(&codes);
        for h in 0..H {
            second[h][h] += spread(h);
            for k in 0..H {
                second[h][k] -= spread(h) * spread(k) * by(p.row(h), p.row(k));
            }
        }
        let made = (0..D).map(|i| (0..H).map(|h| codes[h] * p.row(h)[i]).sum()).collect();
        return (prior, likelihood, codes, second, made);
    }
    let made: Vec<f64> = (0..D)
        .map(|i| {
            let parts = (0..H).map(|h| s[h] * p.row(h)[i]);
            if !p.kind.is_maximum() {
                return parts.sum();
            }
            let rho = exponent(p.kind, temperature);
            let sum: f64 = parts.map(|w| w.signum() * w.abs().powf(rho)).sum();
            sum.signum() * sum.abs().powf(1.0 / rho)
        })
        .collect();
    let rest: Vec<f64> = y.iter().zip(&made).map(|(y, m)| y - m).collect();
    (prior, gauss(&rest), s.to_vec(), outer(s), made)
}

fn exponent(kind: Kind, temperature: f64) -> f64 {
    let t = if kind == Kind::Mca { temperature.max(1.05) } else { temperature.max(1.2) };
    t / (t - 1.0)
}

/// All sums over all (V + 1)^H states.
fn exhaustive(p: &Parameters, rows: &[f32], temperature: f64) -> Sums {
    let v = p.values.len();
    let maximum = p.kind.is_maximum();
    let mut sums = Sums {
        rows: ROWS as f64,
        free_energy: 0.0,
        squared: 0.0,
        error: 0.0,
        active: vec![0.0; H * v],
        with_row: vec![0.0; H * D],
        pairs: vec![0.0; H * if maximum { D } else { H }],
        codes: vec![0.0; if p.kind == Kind::Gsc { H } else { 0 }],
    };
    for y in rows.chunks_exact(D) {
        let y: Vec<f64> = y.iter().map(|y| f64::from(*y)).collect();
        let all: Vec<Vec<usize>> = (0..(v + 1).pow(H as u32))
            .map(|number| (0..H).map(|h| number / (v + 1).pow(h as u32) % (v + 1)).collect())
            .collect();
        let joint: Vec<_> = all
            .iter()
            .map(|which| {
                let s: Vec<f64> = which.iter().map(|w| if *w == 0 { 0.0 } else { p.values[w - 1] }).collect();
                (state(p, &y, &s, temperature), s)
            })
            .collect();
        let beta = 1.0 / temperature;
        let tempered = |prior: f64, likelihood: f64| match p.kind {
            Kind::Bsc | Kind::Tsc | Kind::Dsc => (prior + beta * likelihood).exp(),
            _ => (beta * (prior + likelihood)).exp(),
        };
        let total: f64 = joint.iter().map(|((p, l, ..), _)| tempered(*p, *l)).sum();
        sums.free_energy += joint.iter().map(|((p, l, ..), _)| (p + l).exp()).sum::<f64>().ln();
        sums.squared += y.iter().map(|y| y * y).sum::<f64>();
        for (which, ((prior, likelihood, codes, second, made), s)) in all.iter().zip(&joint) {
            let q = tempered(*prior, *likelihood) / total;
            if p.kind != Kind::Gsc {
                sums.error += q * y.iter().zip(made).map(|(y, m)| (y - m).powi(2)).sum::<f64>();
            }
            for h in 0..H {
                if which[h] > 0 {
                    sums.active[h * v + which[h] - 1] += q;
                }
                if p.kind == Kind::Gsc {
                    sums.codes[h] += q * codes[h];
                }
                if !maximum {
                    (0..D).for_each(|i| sums.with_row[h * D + i] += q * codes[h] * y[i]);
                    (0..H).for_each(|k| sums.pairs[h * H + k] += q * second[h][k]);
                    continue;
                }
                for i in (0..D).filter(|_| s[h] > 0.0) {
                    let ratio = (p.row(h)[i] / made[i]).abs();
                    let weight = ratio.powf(exponent(p.kind, temperature) - 1.0).min(1.0);
                    sums.with_row[h * D + i] += q * weight * y[i];
                    sums.pairs[h * D + i] += q * weight;
                }
            }
        }
    }
    sums
}

#[test]
fn with_all_states_it_is_the_exhaustive_posterior() {
    for kind in Kind::ALL {
        let (parameters, rows) = some(kind);
        let states = States::new(H, H, parameters.values.len()).unwrap();
        for temperature in [1.0, 1.7] {
            let prepared = Prepared::new(&parameters, &states, H, temperature);
            let found = expect(&prepared, &rows, H, 0.0);
            let expected = exhaustive(&parameters, &rows, temperature);
            let close = |name: &str, found: &[f64], expected: &[f64]| {
                assert_eq!(found.len(), expected.len(), "{kind:?} {name}");
                for (f, e) in found.iter().zip(expected) {
                    let error = (f - e).abs() / e.abs().max(1.0);
                    assert!(error < 1e-9, "{kind:?} at {temperature}: {name} {f} instead of {e}");
                }
            };
            close("free energy", &[found.free_energy], &[expected.free_energy]);
            close("rows, squares", &[found.rows, found.squared], &[expected.rows, expected.squared]);
            close("error", &[found.error], &[expected.error]);
            close("active", &found.active, &expected.active);
            close("with row", &found.with_row, &expected.with_row);
            close("pairs", &found.pairs, &expected.pairs);
            close("codes", &found.codes, &expected.codes);
        }
    }
}

#[test]
fn fewer_states_are_a_lower_bound() {
    for kind in Kind::ALL {
        let (parameters, rows) = some(kind);
        let mean = |candidates: usize, active: usize| {
            let states = States::new(candidates, active, parameters.values.len()).unwrap();
            let prepared = Prepared::new(&parameters, &states, candidates, 1.0);
            score(&prepared, &rows).free_energy
        };
        let bounds = [mean(1, 1), mean(2, 2), mean(3, 2), mean(3, 3), mean(4, 4)];
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{kind:?} {bounds:?}");
    }
}

/// Without annealing and with all states an iteration is one of exact EM, which never lowers the likelihood.
/// Rows are looked at twice where some are left out; whether the first look is kept does not matter.
#[test]
fn what_is_kept_of_a_first_look_is_what_a_second_finds() {
    for kind in Kind::ALL {
        let (parameters, rows) = some(kind);
        let states = States::new(3, 2, parameters.values.len()).unwrap();
        let prepared = Prepared::new(&parameters, &states, 3, 2.0);
        let kept = expect_within(&prepared, &rows, 2, 0.7, usize::MAX);
        assert!(0.0 < kept.rows && kept.rows < ROWS as f64, "{kind:?}: {} rows", kept.rows);
        assert_eq!(kept, expect_within(&prepared, &rows, 2, 0.7, 0));
    }
}

#[test]
fn exact_iterations_never_lower_the_free_energy() {
    for kind in [Kind::Bsc, Kind::Tsc, Kind::Dsc, Kind::Gsc] {
        let (mut parameters, rows) = some(kind);
        let states = States::new(H, H, parameters.values.len()).unwrap();
        let mut last = f64::NEG_INFINITY;
        for step in 0..60 {
            let sums = expect(&Prepared::new(&parameters, &states, H, 1.0), &rows, H, 0.0);
            assert!(sums.free_energy > last - 1e-7, "{kind:?} {step}: {} after {last}", sums.free_energy);
            last = sums.free_energy;
            parameters = maximise(&parameters, &sums, H);
        }
    }
}

/// Six iterations of binary sparse coding with 4 candidates, 3 of which may be active, by numpy (a program of its own, which computes every
/// state's reconstruction), on rows that are written down as formulas.
#[test]
fn iterations_are_those_of_numpy() {
    let (h, d, n) = (6, 9, 60);
    let bars = BarsOptions { amplitude: 6.0, ..BarsOptions::usual(Kind::Bsc, 3) }.truth();
    let on = |n: usize, h: usize| (n * 7 + h * 13 + (n * h) % 5).is_multiple_of(4);
    let pixel = |n: usize, i: usize| {
        let noise = ((n * 31 + i * 17 + (n * i) % 7) % 11) as f64 - 5.0;
        (0..h).filter(|b| on(n, *b)).map(|b| bars[b * d + i]).sum::<f64>() + noise / 4.0
    };
    let rows: Vec<f32> = (0..n * d).map(|at| pixel(at / d, at % d) as f32).collect();
    let mut options = ModelOptions::usual(Kind::Bsc, h);
    (options.candidates, options.active) = (4, 3);
    options.schedule = Schedule { iterations: 6, temperature: 2.0, noise: 0.0, cool: 0.5, cut: 2.0 / 3.0 };
    let mut model = Model::new(&options, &rows, d).unwrap();
    let mean = |i: usize| (0..n).map(|n| pixel(n, i)).sum::<f64>() / n as f64;
    let first = |h: usize, i: usize| mean(i) + (((h * 5 + i * 3 + (h * i) % 4) % 9) as f64 - 4.0) / 5.0;
    model.parameters.w = (0..h * d).map(|at| first(at / d, at % d)).collect();
    model.parameters.sigma = 1.5;
    for (rows_used, rate, sigma, w) in GOLDEN {
        let iteration = model.iterate(&rows).unwrap();
        let p = &model.parameters;
        assert_eq!(iteration.rows, rows_used);
        let found = [p.rates[0], p.sigma, p.row(0)[0], p.row(3)[4], p.row(5)[8], p.w.iter().sum()];
        let expected = [rate, sigma, w[0], w[1], w[2], w[3]];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-8 * expected.abs().max(1.0), "{found} {expected}");
        }
    }
    assert!(model.is_done());
}

/// Rows, rate, σ; W[0, 0], W[3, 4], W[5, 8], ΣW.
const GOLDEN: [(u64, f64, f64, [f64; 4]); 6] = [
    (
        60,
        0.172_646_040_987,
        3.193_180_785_182,
        [0.641_865_418_724, 1.353_051_760_585, 2.279_716_294_78, 160.259_198_603_606],
    ),
    (
        59,
        0.157_704_631_214,
        2.947_208_930_663,
        [0.423_825_743_889, 0.974_636_223_141, 1.401_610_138_141, 155.774_170_356_182],
    ),
    (
        59,
        0.165_185_003_365,
        2.587_549_535_164,
        [0.063_149_960_196, 0.430_502_436_472, 0.412_929_475_589, 154.144_261_185_951],
    ),
    (
        59,
        0.185_103_337_894,
        2.163_820_114_148,
        [-0.069_548_030_725, 0.338_192_920_259, -1.070_900_157_088, 148.691_600_148_438],
    ),
    (
        59,
        0.201_458_738_195,
        1.726_766_838_606,
        [0.019_600_174_235, 0.555_282_927_836, -1.754_641_834_738, 143.997_333_665_393],
    ),
    (
        58,
        0.198_555_791_802,
        1.526_926_273_412,
        [0.172_330_947_023, 0.459_700_090_654, -1.703_199_616_007, 142.465_232_698_619],
    ),
];

fn learned(kind: Kind, seed: u64) -> (Model, TruncationBars) {
    let bars = BarsOptions { seed, ..BarsOptions::usual(kind, 5) };
    learned_from(&bars, &ModelOptions { seed, ..ModelOptions::usual(kind, 10) })
}

fn learned_from(bars: &BarsOptions, options: &ModelOptions) -> (Model, TruncationBars) {
    let rows = bars.make(0..bars.rows);
    let mut model = Model::new(options, &rows, bars.size * bars.size).unwrap();
    while !model.is_done() {
        model.iterate(&rows).unwrap();
    }
    let found = bars.found(&model.parameters);
    (model, found)
}

#[test]
fn binary_coding_finds_all_bars_with_nine_of_ten_seeds() {
    let mut all = 0;
    for seed in 0..10 {
        let (model, found) = learned(Kind::Bsc, seed);
        if found.recovered < 10 {
            continue;
        }
        all += 1;
        // The anchors of the independent program: .113 to .131, .186 to .205, 1.978 to 1.991.
        assert!(found.error.unwrap() < 0.2, "{found:?}");
        assert!(
            (model.parameters.sigma - 2.0).abs() < 0.05 && (model.parameters.rates[0] - 0.2).abs() < 0.03
        );
    }
    assert!(all >= 9, "all bars with {all} of 10 seeds");
}

#[test]
fn the_other_models_find_their_bars() {
    for kind in [Kind::Dsc, Kind::Mca, Kind::Mmca, Kind::Gsc] {
        let bars = BarsOptions { rows: 800, seed: 1, ..BarsOptions::usual(kind, 4) };
        let mut options = ModelOptions { seed: 1, ..ModelOptions::usual(kind, 8) };
        options.schedule.iterations = 100;
        let (_, found) = learned_from(&bars, &options);
        assert_eq!(found.recovered, 8, "{kind:?} {found:?}");
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            Kind::ALL.map(|kind| {
                let bars = BarsOptions { rows: 300, ..BarsOptions::usual(kind, 4) };
                let rows = bars.make(0..300);
                let mut model = Model::new(&ModelOptions::usual(kind, 8), &rows, 16).unwrap();
                for _ in 0..4 {
                    model.iterate(&rows).unwrap();
                }
                model.parameters
            })
        })
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn a_run_that_is_stopped_continues_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("bars");
    let bars = BarsOptions { rows: 2000, held_out: 0.2, ..BarsOptions::usual(Kind::Gsc, 4) };
    write_bars(&bars, &data, &mut Quiet).unwrap();
    for kind in [Kind::Bsc, Kind::Gsc] {
        let mut model = ModelOptions::usual(kind, 8);
        model.schedule.iterations = 12;
        model.schedule.noise = 0.1;
        let options = LatentOptions { data: data.clone(), model, rows: 10_000, centre: true };
        let at = |name: &str| dir.path().join(format!("{}-{name}", kind.name()));
        let whole = run(&options, &at("whole"), &mut Quiet).unwrap();
        let stopped = run(&options, &at("parts"), &mut StopAfter::new(5)).unwrap_err();
        assert!(matches!(stopped, Error::Stopped(_)), "{stopped}");
        let other = LatentOptions { rows: 20, ..options.clone() };
        let message = run(&other, &at("parts"), &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("other options"), "{message}");
        let parts = run(&options, &at("parts"), &mut Quiet).unwrap();
        assert_eq!(parts.truncation, whole.truncation);
        assert_eq!(parts.steps.len(), 12);
        let bytes = |name: &str, file: &str| std::fs::read(at(name).join(file)).unwrap();
        for file in ["sae_weights.safetensors", "truncation/parameters.safetensors"] {
            assert!(bytes("parts", file) == bytes("whole", file), "{file}");
        }
        let dictionary = Dictionary::load(&at("whole")).unwrap();
        let file = Weights::read(&at("whole").join("truncation/parameters.safetensors")).unwrap();
        let w = file.wide("W", &[8, 16]).unwrap();
        for (row, unit) in w.chunks_exact(16).zip(dictionary.w_dec.chunks_exact(16)) {
            let norm = row.iter().map(|w| w * w).sum::<f64>().sqrt();
            let cosine: f64 = row.iter().zip(unit).map(|(w, u)| w / norm * f64::from(*u)).sum();
            assert!((cosine.abs() - 1.0).abs() < 1e-6);
        }
        let (training, held_out) = (whole.truncation.training.unwrap(), whole.truncation.held_out.unwrap());
        assert_eq!(training.rows + held_out.rows, 2000);
        // Of 400 rows the mean may fall on either side; nothing here is learned by heart.
        assert!((held_out.free_energy - training.free_energy).abs() < 3.0);
        assert!(training.fve.unwrap() > 0.3 && held_out.fve.unwrap() > 0.3);
        let again = run(&options, &at("whole"), &mut Quiet).unwrap_err().to_string();
        assert!(again.contains("finished"), "{again}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let rows = BarsOptions::usual(Kind::Dsc, 3).make(0..50);
    let refuse = |change: fn(&mut ModelOptions)| {
        let mut options = ModelOptions::usual(Kind::Dsc, 6);
        change(&mut options);
        Model::new(&options, &rows, 9).unwrap_err().to_string()
    };
    assert!(refuse(|o| o.candidates = 7).contains("7 candidates of 6 latents"));
    assert!(refuse(|o| o.active = 7).contains("7 active latents"));
    assert!(refuse(|o| o.values = vec![1.0, 0.0]).contains("values"));
    assert!(refuse(|o| o.schedule.temperature = 0.5).contains("temperature"));
    assert!(refuse(|o| o.schedule.iterations = 0).contains("1 iteration"));
    let message = Model::new(&ModelOptions::usual(Kind::Bsc, 6), &[1.0; 90], 9).unwrap_err().to_string();
    assert!(message.contains("do not vary"), "{message}");
}
