//! Cross-layer transcoders on datasets on disk.

use super::*;
use crate::dictionary::CrossLayerTranscoder;
use crate::interop::dictionaries::{Content, open_path};

const L: usize = 3;
const D: usize = 12;
const ROWS: usize = 4000;
/// Features of each layer of the world.
const PLANTED: usize = 10;

/// What the MLPs of three layers read and write. Each layer has features of its own; a feature has a direction that is read at its layer
/// and one that is written there and at every later layer. What a layer reads is its own features and, as in a residual stream, some of what
/// was written before.
struct World {
    /// `[layer][ROWS · D]`
    x: Vec<Vec<f32>>,
    y: Vec<Vec<f32>>,
    /// What feature f of a layer writes into all layers from its own on, `[layer][f][(L − layer) · D]`.
    written: Vec<Vec<Vec<f32>>>,
}

fn world() -> World {
    let direction = |stream: u64, width: usize| -> Vec<f32> {
        let mut rng = generator(51, Purpose::Directions, stream, 0);
        (0..width).map(|_| normal(&mut rng) / (D as f32).sqrt()).collect()
    };
    let of = |layer: usize, f: usize| (layer * PLANTED + f) as u64;
    let read: Vec<Vec<Vec<f32>>> =
        (0..L).map(|l| (0..PLANTED).map(|f| direction(of(l, f), D)).collect()).collect();
    let written: Vec<Vec<Vec<f32>>> =
        (0..L).map(|l| (0..PLANTED).map(|f| direction(1000 + of(l, f), (L - l) * D)).collect()).collect();
    let mut rng = generator(51, Purpose::Rows, 0, 0);
    let (mut x, mut y) = (vec![vec![0.0; ROWS * D]; L], vec![vec![0.0; ROWS * D]; L]);
    for row in 0..ROWS {
        let own = row * D..(row + 1) * D;
        for layer in 0..L {
            for _ in 0..2 {
                let f = rng.next_u32() as usize % PLANTED;
                let weight = 1.0 + (rng.next_u32() as f32) / 4.3e9;
                let x = &mut x[layer][own.clone()];
                x.iter_mut().zip(&read[layer][f]).for_each(|(x, v)| *x += 6.0 * weight * v);
                for (to, part) in written[layer][f].chunks_exact(D).enumerate() {
                    let y = &mut y[layer + to][own.clone()];
                    y.iter_mut().zip(part).for_each(|(y, v)| *y += weight * v);
                }
            }
            for earlier in 0..layer {
                let before: Vec<f32> = y[earlier][own.clone()].to_vec();
                x[layer][own.clone()].iter_mut().zip(before).for_each(|(x, y)| *x += 0.5 * y);
            }
        }
    }
    // Every layer in a unit of its own, off centre.
    for layer in 0..L {
        let unit = 10.0_f32.powi(layer as i32 - 1);
        x[layer].iter_mut().for_each(|x| *x = 2.0 + unit * *x);
        y[layer].iter_mut().for_each(|y| *y = unit * (*y - 0.1));
    }
    World { x, y, written }
}

fn harvest(folder: &Path, world: &World) -> PathBuf {
    let data = folder.join("data");
    for layer in 0..L {
        for (name, values) in [("mlp_in", &world.x[layer]), ("mlp_out", &world.y[layer])] {
            let hook = format!("blocks.{layer}.hook_{name}");
            write_at(&hook, &data.join(&hook), values, None, D, 50, |document| document % 5 == 4);
        }
    }
    data
}

fn config(method: Method) -> TrainConfig {
    TrainConfig {
        cross_layer: true,
        method,
        d_sae: Some(2 * PLANTED),
        k: 2,
        batch: 100,
        tokens: Some(100_000),
        learning_rate: Some(3e-3),
        dead_after: Some(5000),
        max_norm: MaxNorm::None,
        ..small_config()
    }
}

fn read(run: &Path) -> CrossLayerTranscoder {
    match open_path(run).unwrap().content {
        Content::CrossLayer(transcoder) => transcoder,
        other => panic!("{other:?}"),
    }
}

/// 1 − Σ‖y − ŷ‖² / Σ‖y − mean‖², in double precision from the definition.
fn explained(y: &[f32], made: &[f32]) -> f64 {
    let mean = |c: usize| y.iter().skip(c).step_by(D).map(|y| f64::from(*y)).sum::<f64>() / ROWS as f64;
    let means: Vec<f64> = (0..D).map(mean).collect();
    let wrong: f64 = y.iter().zip(made).map(|(y, made)| f64::from(y - made).powi(2)).sum();
    let all: f64 = y.iter().enumerate().map(|(i, y)| (f64::from(*y) - means[i % D]).powi(2)).sum();
    1.0 - wrong / all
}

fn explained_layers(world: &World, transcoder: &CrossLayerTranscoder) -> Vec<f64> {
    let codes = transcoder.encode(&world.x);
    let made = transcoder.decode_with(&codes, &world.x);
    world.y.iter().zip(&made).map(|(y, made)| explained(y, made)).collect()
}

fn files(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_planted_world_is_found_and_transcoders_of_single_layers_explain_less() {
    let (folder, world) = (tempfile::tempdir().unwrap(), world());
    let data = harvest(folder.path(), &world);
    let mut of_methods = Vec::new();
    for method in [Method::MutualChoice, Method::Topk] {
        let out = folder.path().join(method.name());
        let outcome = run(&config(method), &data, &out, false, &mut Quiet).unwrap();
        let (record, transcoder) = (RunRecord::read(&out).unwrap(), read(&out));
        assert_eq!((record.layers, record.d_in, record.d_sae), (Some(L as u64), D, 2 * PLANTED));
        assert_eq!(record.target_hook.as_deref(), Some("blocks.0.hook_mlp_out"));
        assert!((outcome.l0 - (2 * L) as f64).abs() < 0.5, "{method}: L0 {}", outcome.l0);
        let fve = explained_layers(&world, &transcoder);
        let mean = fve.iter().sum::<f64>() / L as f64;
        // All layers vary alike in training, so what is explained of all of them together is near the mean.
        assert!((mean - outcome.fve).abs() < 0.05, "{method}: {fve:?} on disk, {} in training", outcome.fve);
        assert!(fve.iter().all(|fve| *fve > 0.9), "{method}: {fve:?}");
        // Each planted feature has a learned one that writes the same into all layers, each in its unit.
        let cosine = |layer: usize, f: usize, planted: &[f32]| {
            let vectors = std::iter::once(&transcoder.layers[layer].w_dec).chain(&transcoder.later[layer]);
            let row: Vec<f32> = vectors
                .enumerate()
                .flat_map(|(to, vectors)| {
                    let unit = 10.0_f32.powi((layer + to) as i32 - 1);
                    vectors[f * D..(f + 1) * D].iter().map(move |w| w / unit).collect::<Vec<f32>>()
                })
                .collect();
            kernels::wide::dot(
                &kernels::wide::unit_rows(&row, row.len()),
                &kernels::wide::unit_rows(planted, planted.len()),
            )
        };
        // The last layer writes into itself alone, as any transcoder does.
        for (layer, planted) in world.written.iter().enumerate().take(L - 1) {
            let best = |planted: &Vec<f32>| {
                (0..2 * PLANTED).map(|f| cosine(layer, f, planted)).fold(-1.0_f64, f64::max)
            };
            let found = planted.iter().filter(|planted| best(planted) > 0.9).count();
            assert!(found >= PLANTED - 3, "{method}: {found} of {PLANTED} features of layer {layer}");
        }
        of_methods.push(fve);
    }
    for (layer, joint) in of_methods[0].iter().enumerate() {
        let [input, target] = ["in", "out"].map(|side| data.join(format!("blocks.{layer}.hook_mlp_{side}")));
        let out = folder.path().join(format!("single {layer}"));
        let single = TrainConfig { cross_layer: false, target: Some(target), ..config(Method::MutualChoice) };
        run(&single, &input, &out, false, &mut Quiet).unwrap();
        let dictionary = Dictionary::load(&out).unwrap();
        let x = &world.x[layer];
        let fve = explained(&world.y[layer], &dictionary.decode_with(&dictionary.encode(x), x));
        // Nothing is written into the first layer that it does not read itself.
        let least = if layer == 0 { -0.05 } else { 0.05 };
        assert!(joint - fve > least, "layer {layer}: {joint} and {fve} alone");
    }
}

#[test]
fn thresholds_and_penalties_explain_too() {
    let (folder, world) = (tempfile::tempdir().unwrap(), world());
    let data = harvest(folder.path(), &world);
    for (method, least) in [(Method::FeatureChoice, 0.3), (Method::Relu, 0.3), (Method::Jumprelu, 0.5)] {
        let out = folder.path().join(method.name());
        run(&TrainConfig { tokens: Some(60_000), ..config(method) }, &data, &out, false, &mut Quiet).unwrap();
        let fve = explained_layers(&world, &read(&out));
        assert!(fve.iter().all(|fve| *fve > least), "{method}: {fve:?}");
    }
}

#[test]
fn a_run_that_was_stopped_is_resumed_to_the_same_bits() {
    let (folder, world) = (tempfile::tempdir().unwrap(), world());
    let data = harvest(folder.path(), &world);
    for method in [Method::Topk, Method::MutualChoice] {
        let config = TrainConfig { tokens: Some(6000), ..config(method) };
        let (whole, parts) =
            (folder.path().join(format!("whole {method}")), folder.path().join(format!("parts {method}")));
        run(&TrainConfig { threads: Some(1), ..config.clone() }, &data, &whole, false, &mut Quiet).unwrap();
        for (i, steps) in [25, 7].into_iter().enumerate() {
            let stopped = run(&config, &data, &parts, i > 0, &mut StopAfter::new(steps));
            assert!(matches!(stopped, Err(Error::Stopped(_))), "{stopped:?}");
        }
        resume(&parts, &mut Quiet).unwrap();
        let expected = files(&whole);
        assert_eq!(expected.len(), 2 * L);
        assert_eq!(files(&parts), expected, "{method}");
        // A process that was killed leaves a checkpoint and a log that is behind.
        let checkpoint = std::fs::read_dir(parts.join("checkpoints")).unwrap().count();
        assert!(checkpoint > 0);
        let mut record = RunRecord::read(&parts).unwrap();
        record.status = RunStatus::Running;
        record.write(&parts).unwrap();
        files(&parts).iter().for_each(|(name, _)| std::fs::remove_file(parts.join(name)).unwrap());
        resume(&parts, &mut Quiet).unwrap();
        assert_eq!(files(&parts), expected, "{method}, killed");
    }
}

/// Rows that one layer's MLP writes far beyond all others change nothing of what is learned of any layer.
#[test]
fn sinks_of_one_layer_are_left_out_of_all() {
    let (folder, mut world) = (tempfile::tempdir().unwrap(), world());
    // The last row of every tenth document.
    let sinks: Vec<usize> = (0..ROWS).filter(|row| row % 500 == 49).collect();
    for row in &sinks {
        world.y[1][row * D..(row + 1) * D].iter_mut().for_each(|y| *y = 5000.0);
    }
    let data = harvest(folder.path(), &world);
    let out = folder.path().join("run");
    let config = TrainConfig { max_norm: MaxNorm::Multiple(10.0), ..config(Method::MutualChoice) };
    run(&config, &data, &out, false, &mut Quiet).unwrap();
    let record = RunRecord::read(&out).unwrap();
    let limits = record.target_norm_limits.clone().unwrap();
    assert_eq!((limits.len(), record.target_norm_limit), (L, Some(limits[0])));
    let norm = |row: &[f32]| row.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>().sqrt();
    for (y, limit) in world.y.iter().zip(&limits) {
        let mut norms: Vec<f64> = y.chunks_exact(D).map(norm).collect();
        norms.sort_by(f64::total_cmp);
        assert!((limit / (100.0 * norms[ROWS / 2]) - 1.0).abs() < 0.05, "{limit}");
    }
    // Of 4,000 rows 3,200 are trained on, and 8 are sinks; none of them is in a held-out document.
    let left_out = record.left_out.unwrap();
    assert!((left_out.share - sinks.len() as f64 / 3200.0).abs() < 1e-3, "{left_out:?}");
    let transcoder = read(&out);
    let made = transcoder.decode_with(&transcoder.encode(&world.x), &world.x);
    for (y, made) in world.y.iter().zip(&made) {
        let kept = |values: &[f32]| -> Vec<f32> {
            let rows = values.chunks_exact(D).enumerate().filter(|(row, _)| !sinks.contains(row));
            rows.flat_map(|(_, row)| row).copied().collect()
        };
        let (y, made) = (kept(y), kept(made));
        assert!(explained(&y, &made) > 0.85, "{}", explained(&y, &made));
    }
}

/// The index of all layers against codes of every row, counted one by one; by three processes it has the same bytes.
#[test]
fn the_index_has_the_features_of_all_layers() {
    use crate::features::{ExampleOptions, IndexOptions, index, index_merge, index_shard, map};
    use crate::shards::Shard;
    let (folder, world) = (tempfile::tempdir().unwrap(), world());
    let data = harvest(folder.path(), &world);
    let out = folder.path().join("run");
    let config = TrainConfig { tokens: Some(20_000), ..config(Method::MutualChoice) };
    run(&config, &data, &out, false, &mut Quiet).unwrap();
    let options = IndexOptions {
        model: crate::rows::ModelChoice::Without,
        batch: 700,
        examples: ExampleOptions::default(),
        ..IndexOptions::default()
    };
    let record = index(&out, &options, &mut Quiet).unwrap();
    assert_eq!((record.tokens, record.features), (ROWS as u64, (L * 2 * PLANTED) as u64));
    let table = Run::open(&out).unwrap().features().unwrap().unwrap();
    let rows = storage::features::read(&table, 0..record.features).unwrap();
    let transcoder = read(&out);
    let codes = transcoder.encode(&world.x);
    for layer in 0..L {
        for f in 0..2 * PLANTED {
            let row = &rows[layer * 2 * PLANTED + f];
            assert_eq!(row.feature as usize, layer * 2 * PLANTED + f);
            let of = |i: usize| {
                let (features, values) = codes[layer].row(i);
                features.iter().position(|feature| *feature as usize == f).map(|at| values[at])
            };
            let values: Vec<f32> = (0..ROWS).filter_map(of).collect();
            assert_eq!(row.count as usize, values.len());
            let largest = values.iter().copied().fold(0.0, f32::max);
            assert!((row.max - largest).abs() <= 1e-5 * largest, "{} and {largest}", row.max);
            assert_eq!(row.bias, transcoder.layers[layer].b_enc[f]);
            // Everything that it writes.
            let own = std::iter::once(&transcoder.layers[layer].w_dec).chain(&transcoder.later[layer]);
            let mut sum = [0.0_f64; D];
            for vectors in own {
                sum.iter_mut().zip(&vectors[f * D..]).for_each(|(sum, w)| *sum += f64::from(*w));
            }
            let norm = sum.iter().map(|w| w * w).sum::<f64>().sqrt();
            assert!((f64::from(row.decoder_norm) / norm - 1.0).abs() < 1e-5);
        }
    }
    let bytes = |name: &str| std::fs::read(out.join("features").join(name)).unwrap();
    let files = ["features.parquet", "examples.parquet", "activations-00000.parquet", "codes-00000.parquet"];
    let whole = files.map(bytes);
    for i in 0..3 {
        index_shard(&out, &options, Shard { index: i, count: 3 }, &mut Quiet).unwrap();
    }
    assert_eq!(index_merge(&out, &options, &mut Quiet).unwrap(), record);
    assert!(files.map(bytes) == whole);
    assert!(map(&out, None, 1, &mut Quiet).unwrap() > 0);
    // Datasets of fewer layers, and of other tokens.
    let away = folder.path().join("away");
    let last = data.join("blocks.2.hook_mlp_in");
    std::fs::rename(&last, &away).unwrap();
    let told = index(&out, &options, &mut Quiet).unwrap_err().to_string();
    assert!(told.contains("no dataset of blocks.2.hook_mlp_in"), "{told}");
    write_at("blocks.2.hook_mlp_in", &last, &world.x[2], None, D, 60, |document| document % 5 == 4);
    let told = index(&out, &options, &mut Quiet).unwrap_err().to_string();
    assert!(told.contains("of other tokens"), "{told}");
    assert!(files.map(bytes) == whole, "an index that cannot be made leaves the one that was there");
}

#[test]
fn data_that_does_not_belong_together_is_refused() {
    let (folder, world) = (tempfile::tempdir().unwrap(), world());
    let data = harvest(folder.path(), &world);
    let message = |config: &TrainConfig, data: &Path| {
        let error = run(config, data, &folder.path().join("run"), false, &mut Quiet).unwrap_err();
        assert!(!folder.path().join("run").exists());
        error.to_string()
    };
    let refused = |data: &Path| message(&config(Method::Topk), data);
    let layer = |layer: usize, side: &str| data.join(format!("blocks.{layer}.hook_mlp_{side}"));
    let away = folder.path().join("away");
    // Missing layers and sides.
    for (path, hook) in [(layer(1, "in"), "blocks.1.hook_mlp_in"), (layer(2, "out"), "blocks.2.hook_mlp_out")]
    {
        std::fs::rename(&path, &away).unwrap();
        let told = refused(&data);
        assert!(told.contains(&format!("no dataset of {hook}")), "{told}");
        std::fs::rename(&away, &path).unwrap();
    }
    // The same layer twice.
    let twice = data.join("again");
    write_at("blocks.1.hook_mlp_in", &twice, &world.x[1], None, D, 50, |document| document % 5 == 4);
    assert!(refused(&data).contains("are both of blocks.1.hook_mlp_in"));
    std::fs::remove_dir_all(&twice).unwrap();
    // Layers are known by their hooks, whatever their folders are called.
    let other = data.join("z");
    std::fs::rename(layer(0, "in"), &other).unwrap();
    let out = folder.path().join("named");
    run(&TrainConfig { tokens: Some(500), ..config(Method::Topk) }, &data, &out, false, &mut Quiet).unwrap();
    std::fs::rename(&other, layer(0, "in")).unwrap();
    // A different width, different tokens.
    std::fs::rename(layer(2, "out"), &away).unwrap();
    write_at("blocks.2.hook_mlp_out", &layer(2, "out"), &world.y[2], None, D / 2, 100, |d| d % 5 == 4);
    let told = refused(&data);
    assert!(told.contains("are 12 and 6 wide"), "{told}");
    std::fs::remove_dir_all(layer(2, "out")).unwrap();
    write_at("blocks.2.hook_mlp_out", &layer(2, "out"), &world.y[2], None, D, 60, |d| d % 5 == 4);
    let told = refused(&data);
    assert!(told.contains("do not hold the same tokens"), "{told}");
    std::fs::remove_dir_all(layer(2, "out")).unwrap();
    std::fs::rename(&away, layer(2, "out")).unwrap();
    // What it cannot have.
    let with = |change: &dyn Fn(&mut TrainConfig)| {
        let mut changed = config(Method::Topk);
        change(&mut changed);
        message(&changed, &data)
    };
    assert!(with(&|c| c.target = Some(layer(0, "out"))).contains("target is given"));
    assert!(with(&|c| c.multi_topk = Some(4.0)).contains("multi_topk is given"));
    assert!(with(&|c| c.history = Some(5)).contains("history is given"));
    assert!(with(&|c| c.from = Some(layer(0, "out"))).contains("from is given"));
    assert!(with(&|c| c.skip = true).contains("skip"));
    assert!(with(&|c| c.method = Method::Matryoshka).contains("method matryoshka is given"));
    assert!(with(&|c| c.method = Method::Gated).contains("method gated is given"));
    // One layer is a transcoder.
    let single = folder.path().join("single");
    for side in ["in", "out"] {
        let values = if side == "in" { &world.x[0] } else { &world.y[0] };
        let hook = format!("blocks.0.hook_mlp_{side}");
        write_at(&hook, &single.join(&hook), values, None, D, 50, |document| document % 5 == 4);
    }
    assert!(refused(&single).contains("at least two layers"));
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(refused(&empty).contains("no dataset of blocks.0.hook_mlp_in"));
}
