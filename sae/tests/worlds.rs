//! The small world that SAELens 6.54.12 wrote: what is read, and whether its rows have the statistics that
//! SAELens's own sampler gave. `worlds/mini` holds its files as they were written.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use sae::synth::World;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/worlds/mini")
}

#[test]
fn the_corrected_probabilities_are_read() {
    let world = World::read(&folder()).unwrap();
    assert_eq!((world.features(), world.d), (2048, 256));
    let expected = [
        (0, 0.4),
        (15, 0.093_605),
        (16, 0.371_152),
        (17, 0.361_242),
        (79, 0.876_763),
        (80, 0.896_879),
        (335, 0.784_009),
        (336, 0.7863),
        (1359, 0.288_762),
        (1360, 0.002_546),
        (2047, 0.0005),
    ];
    for (feature, p) in expected {
        assert!(
            (world.probabilities[feature] - p).abs() < 1e-6,
            "{feature}: {}",
            world.probabilities[feature]
        );
    }
}

#[test]
fn features_fire_as_often_as_in_saelens() {
    let world = World::read(&folder()).unwrap();
    let rows = 200_000_u64;
    let mut counts = vec![0_u64; world.features()];
    for start in (0..rows).step_by(20_000) {
        for &feature in &world.rows(1, start..start + 20_000).codes.features {
            counts[feature as usize] += 1;
        }
    }
    let per_row = |counts: &[u64]| counts.iter().sum::<u64>() as f64 / rows as f64;
    // L0 10.90, and 8.34 of the first 512 features; the third digit is all that SAELens's figure has.
    assert!((per_row(&counts) - 10.90).abs() < 0.05, "L0 {}", per_row(&counts));
    assert!((per_row(&counts[..512]) - 8.34).abs() < 0.05, "L0 of the first 512 {}", per_row(&counts[..512]));
    let rates = [
        (15, 0.0938),
        (16, 0.0921),
        (79, 0.0235),
        (80, 0.0243),
        (335, 0.0058),
        (336, 0.0066),
        (1359, 0.0012),
    ];
    for (feature, expected) in rates {
        let found = counts[feature] as f64 / rows as f64;
        // Five standard errors, and the rounding of the figure.
        let allowed = 5.0 * (expected * (1.0 - expected) / rows as f64).sqrt() + 5e-5;
        assert!(
            (found - expected).abs() < allowed,
            "feature {feature}: {found}, expected {expected} ± {allowed}"
        );
    }
}

#[test]
fn a_row_is_the_sum_of_what_fired_in_it_in_whatever_range() {
    let world = World::read(&folder()).unwrap();
    let all = world.rows(7, 0..50);
    let one_thread = sae_rows_on_one_thread(&world);
    assert_eq!(all.activations, one_thread);
    let part = world.rows(7, 20..30);
    assert_eq!(all.activations[20 * world.d..30 * world.d], part.activations);
    for row in 0..part.codes.rows() {
        let (features, values) = part.codes.row(row);
        for j in 0..world.d {
            let sum = features.iter().zip(values).fold(f64::from(world.bias[j]), |sum, (&f, &v)| {
                sum + f64::from(v) * f64::from(world.directions[f as usize * world.d + j])
            });
            assert!((sum - f64::from(part.activations[row * world.d + j])).abs() < 1e-4);
        }
    }
    assert_ne!(all.activations, world.rows(8, 0..50).activations);
}

fn sae_rows_on_one_thread(world: &World) -> Vec<f32> {
    (0..50).flat_map(|row| world.rows(7, row..row + 1).activations).collect()
}

/// The world with `from` replaced by `to` in `file`, and what reading it says.
fn refused(file: &str, from: &str, to: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let text = std::fs::read_to_string(copy.path().join(file)).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(text, changed, "{file} does not hold {from}");
    std::fs::write(copy.path().join(file), changed).unwrap();
    World::read(copy.path()).unwrap_err().to_string()
}

#[test]
fn worlds_that_cannot_be_read_rightly_are_refused() {
    let hierarchy = "hierarchy.json";
    let config = "synthetic_model_config.json";
    let cases = [
        (
            hierarchy,
            "\"feature_index\": 16,",
            "\"feature_index\": 99999,",
            "feature 99999, but the world has 2048",
        ),
        (hierarchy, "\"feature_index\": 16,", "\"feature_index\": 17,", "has feature 17 twice"),
        (hierarchy, "parent\": false", "parent\": true", "scales the children of feature 0"),
        (config, "\"folded_normal\"", "\"uniform\"", "kind `uniform`, expected `folded_normal`"),
        (config, "\"num_features\": 2048", "\"num_features\": 8", "has 8 features"),
        (config, "\"rank\": 25", "\"rank\": 24", "correlation_factor"),
        (config, "\"seed\": 42", "\"sead\": 42", "seed"),
    ];
    for (file, from, to, expected) in cases {
        let message = refused(file, from, to);
        assert!(message.contains(expected), "{message}");
    }
}
