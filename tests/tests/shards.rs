//! A harvest divided among machines and merged is the harvest of one.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use arrow::array::AsArray as _;
use arrow::datatypes::{Float32Type, UInt32Type};
use storage::schema::activations::ACTIVATION;
use storage::schema::{ACTIVATIONS, DOCUMENT, DOCUMENTS, POSITION, ROUTING, TOKEN};
use storage::{Dataset, column, documents};
use tests::{sae, small_text};

/// Document, position, token and the activation of every row.
fn rows(folder: &Path) -> Vec<([u32; 3], Vec<f32>)> {
    let dataset = Dataset::open(folder).unwrap();
    let mut rows = Vec::new();
    let table = dataset.table(ACTIVATIONS).unwrap();
    for batch in table.columns(&[DOCUMENT, POSITION, TOKEN, ACTIVATION]).unwrap() {
        let batch = batch.unwrap();
        let keys =
            [DOCUMENT, POSITION, TOKEN].map(|name| column::primitive::<UInt32Type>(&batch, name).unwrap());
        let vectors = batch.column_by_name(ACTIVATION).unwrap().as_fixed_size_list();
        for i in 0..batch.num_rows() {
            let numbers = vectors.value(i).as_primitive::<Float32Type>().values().to_vec();
            rows.push((keys.map(|key| key.value(i)), numbers));
        }
    }
    rows
}

#[test]
fn shards_merged_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 30);
    let line = "harvest --text text --hook blocks.1.hook_resid_post --routing --tokens 2500 --dtype f32";
    sae(at, &format!("{line} --out whole")).ok();
    for shard in ["2/3", "0/3"] {
        sae(at, &format!("{line} --shard {shard} --out parts")).ok();
    }
    sae(at, "harvest --merge --out parts").refused(2, &["1/3"]);
    sae(at, &format!("{line} --shard 1/3 --out parts")).ok();
    sae(at, "harvest --merge --out parts").ok();
    assert!(!at.join("parts/shard-00000-of-00003").exists());

    let (whole, parts) =
        (Dataset::open(&at.join("whole")).unwrap(), Dataset::open(&at.join("parts")).unwrap());
    let of = |d: &Dataset| documents::read(&d.table(DOCUMENTS).unwrap()).unwrap();
    assert_eq!(of(&whole), of(&parts));
    let (whole_rows, part_rows) = (rows(whole.dir()), rows(parts.dir()));
    assert_eq!((whole_rows.len(), part_rows.len()), (2500, 2500));
    for ((key, a), (other, b)) in whole_rows.iter().zip(&part_rows) {
        assert_eq!(key, other);
        // Batches are cut elsewhere, which moves the last bits.
        let largest = a.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * largest), "{key:?}");
    }
    assert_eq!(whole.manifest().tables[ROUTING].rows, parts.manifest().tables[ROUTING].rows);
    sae(at, "harvest --merge --out parts").refused(2, &["shard-I-of-N"]);
    sae(at, &format!("{line} --shard 3/3 --out more")).refused(2, &["3/3"]);
}

#[test]
fn shards_of_other_settings_are_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 8);
    let line = "harvest --text text --hook blocks.0.hook_resid_post --out parts";
    sae(at, &format!("{line} --shard 0/2")).ok();
    sae(at, &format!("{line} --shard 1/2 --seed 9")).ok();
    sae(at, "harvest --merge --out parts").refused(1, &["shard-00001-of-00002", "other settings"]);
}
