//! Activations from elsewhere become a dataset that everything else takes as it is.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use arrow::array::AsArray as _;
use lm::model::ModelSource;
use storage::schema::{ACTIVATIONS, TOKEN, VOCABULARY};
use storage::{Dataset, RowsAre, Run, examples, features};
use tests::{Chance, sae, small_text};

/// A `.npy` file of f32, `[rows, d]`: sums of a few directions.
fn array(path: &Path, rows: usize, d: usize) {
    let mut chance = Chance::new(7);
    let directions: Vec<f32> = (0..12 * d).map(|_| chance.unit() as f32 - 0.5).collect();
    let directions: Vec<&[f32]> = directions.chunks_exact(d).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {d}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for _ in 0..rows {
        let mut row = vec![0.5f32; d];
        for _ in 0..3 {
            let amount = 2.0 * chance.unit() as f32;
            row.iter_mut().zip(*chance.one_of(&directions)).for_each(|(x, v)| *x += amount * v);
        }
        bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn rows_without_tokens_are_trained_on_indexed_and_evaluated() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    array(&at.join("acts.npy"), 6000, 16);
    let planned = sae(at, "import acts.npy --out data --dry-run --json").ok().json();
    assert_eq!((planned["rows"].as_u64(), planned["tokens"].as_bool()), (Some(6000), Some(false)));
    assert!(!at.join("data").exists(), "a dry run writes nothing");
    let made = sae(at, "import acts.npy --out data --json").ok().json();
    assert_eq!((made["rows"].as_u64(), made["rows_are"].as_str()), (Some(6000), Some("rows")));
    let dataset = Dataset::open(&at.join("data")).unwrap();
    assert!(!dataset.has_table(VOCABULARY) && !dataset.table(ACTIVATIONS).unwrap().has_column(TOKEN));

    sae(at, "train --data data --d-sae 24 --k 3 --tokens 60000 --batch 512 --out run").ok();
    // There is no model to leave out.
    let evaluation = sae(at, "evaluate run --json").ok().json();
    assert!(evaluation["fve"].as_f64().unwrap() > 0.5, "{evaluation}");
    let index = sae(at, "index run --json").ok().json();
    assert_eq!((index["rows_are"].as_str(), index["tokens"].as_u64()), (Some("rows"), Some(6000)));
    let run = Run::open(&at.join("run")).unwrap();
    assert!(run.vocabulary().unwrap().is_none());
    let table = run.features().unwrap().unwrap();
    assert!(features::scalar_columns(&table).unwrap().count.iter().sum::<u64>() > 6000);
    let table = run.examples().unwrap().unwrap();
    let shown: Vec<_> = (0..24).flat_map(|feature| examples::read(&table, feature).unwrap()).collect();
    assert!(!shown.is_empty());
    assert!(shown.iter().all(|e| e.tokens.is_empty() && !e.values.is_empty()));
    sae(at, "evaluate run --model default").refused(2, &["not tokens", "--model"]);
    sae(at, "import acts.npy --out data").refused(1, &["already finished"]);
}

/// Our own table given back, with the model that made it: the analysis is that of the harvest.
#[test]
fn tokens_their_text_and_the_model_that_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 12);
    sae(at, "harvest --text text --hook blocks.1.hook_resid_post --dtype f32 --held-out 0.3 --out harvested")
        .ok();
    std::fs::create_dir(at.join("foreign")).unwrap();
    let harvested = Dataset::open(&at.join("harvested")).unwrap();
    for part in &harvested.manifest().tables[ACTIVATIONS].parts {
        std::fs::copy(at.join("harvested").join(&part.file), at.join("foreign").join(&part.file)).unwrap();
    }
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/model/tokenizer.json");
    let line = format!(
        "import foreign --model default --hook blocks.1.hook_resid_post --tokenizer {} --held-out 0.3 --out imported",
        tokenizer.display()
    );
    sae(at, &line).ok();
    let imported = Dataset::open(&at.join("imported")).unwrap();
    assert_eq!(imported.manifest().rows_are, RowsAre::Tokens);
    assert_eq!(imported.manifest().model.sha256, ModelSource::Default.sha256().unwrap());
    assert_eq!(imported.manifest().rows, harvested.manifest().rows);
    let texts = |d: &Dataset| storage::vocabulary::read(&d.table(VOCABULARY).unwrap()).unwrap();
    assert_eq!(texts(&imported), texts(&harvested));
    let tokens = |d: &Dataset| -> Vec<u32> {
        let batches = d.table(ACTIVATIONS).unwrap().columns(&[TOKEN]).unwrap();
        batches
            .flat_map(|b| {
                b.unwrap().column(0).as_primitive::<arrow::datatypes::UInt32Type>().values().to_vec()
            })
            .collect()
    };
    assert_eq!(tokens(&imported), tokens(&harvested));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    array(&at.join("acts.npy"), 50, 4);
    sae(at, "import --out data").refused(2, &["PATH"]);
    sae(at, "import nowhere.npy --out data").refused(2, &["nowhere.npy does not exist", ".parquet"]);
    sae(at, "import acts.npy --patch 8 --out data").refused(2, &["--images"]);
    sae(at, "import acts.npy --tokens ids.npy --out data").refused(1, &["ids.npy"]);
    sae(at, "import acts.npy --held-out 2 --out data").refused(2, &["held-out share"]);
    sae(at, "import --images . --out data").refused(2, &["no .png"]);
    std::fs::write(at.join("cut.npy"), &std::fs::read(at.join("acts.npy")).unwrap()[..300]).unwrap();
    sae(at, "import cut.npy --out data").refused(1, &["cut.npy: has", "bytes of numbers"]);
    assert!(!at.join("data").exists());
}
