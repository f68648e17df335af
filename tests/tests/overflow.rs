//! A number too large for f16 comes late in a harvest: what was harvested stays, and the dataset is one of
//! f32.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use lm::model::encoding::F16;
use serde_json::{Value, json};
use storage::schema::activations::ACTIVATION;
use storage::schema::{ACTIVATIONS, DOCUMENT};
use storage::{Dataset, Dtype, Scan, vector};
use tests::sae;

/// The token `#`, which comes in the last document alone.
const RARE: usize = 4;
const LARGE: f32 = 1e5;
const EMBEDDING: &str = "model.embed_tokens.weight";

/// The embedded model with an embedding of f32 that has a row of large numbers.
fn model(folder: &Path) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/model");
    fs::create_dir_all(folder).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(own.join(name), folder.join(name)).unwrap();
    }
    let bytes = fs::read(own.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let old: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in old.iter().filter(|(name, _)| *name != "__metadata__") {
        let offset = |i: usize| 8 + length + tensor["data_offsets"][i].as_u64().unwrap() as usize;
        let (raw, start) = (&bytes[offset(0)..offset(1)], data.len());
        let mut tensor = tensor.clone();
        if name == EMBEDDING {
            assert_eq!(tensor["dtype"], "F16");
            let d = tensor["shape"][1].as_u64().unwrap() as usize;
            let mut numbers = vec![0f32; raw.len() / 2];
            (F16.decode)(raw, &mut numbers);
            numbers[RARE * d..(RARE + 1) * d].fill(LARGE);
            data.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
            tensor["dtype"] = json!("F32");
        } else {
            data.extend(raw);
        }
        tensor["data_offsets"] = json!([start, data.len()]);
        header.insert(name.clone(), tensor);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// Type, documents and values of every row.
fn read(folder: &Path) -> (Dtype, Vec<u32>, Vec<f32>) {
    let dataset = Dataset::open(folder).unwrap();
    let (mut documents, mut values) = (Vec::new(), Vec::new());
    for batch in dataset.table(ACTIVATIONS).unwrap().scan(Scan::default()).unwrap() {
        let batch = batch.unwrap();
        let column = storage::column::primitive::<arrow::datatypes::UInt32Type>(&batch, DOCUMENT).unwrap();
        documents.extend(column.values());
        vector::fixed_size_rows(&batch, ACTIVATION, &mut values).unwrap();
    }
    (dataset.manifest().dtype, documents, values)
}

#[test]
fn what_was_harvested_stays_and_becomes_f32() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    model(&at.join("model"));
    let line =
        |i: usize| if i == 999 { "#".to_owned() } else { format!("Line {i} of a text that has many lines.") };
    let text: Vec<String> = (0..1000).map(|i| json!({"text": line(i)}).to_string()).collect();
    fs::write(at.join("text.jsonl"), text.join("\n")).unwrap();
    let harvest = "harvest --model model --text text.jsonl --hook blocks.0.hook_resid_post";
    sae(at, &format!("{harvest} --dtype f32 --out wide")).ok();
    let ended = sae(at, &format!("{harvest} --out data")).ok();
    assert!(ended.stderr.contains("stored as f32"), "{ended}");
    let ((dtype, documents, values), (_, expected, wide)) = (read(&at.join("data")), read(&at.join("wide")));
    assert_eq!((dtype, &documents), (Dtype::F32, &expected));
    let d = values.len() / documents.len();
    let last = values.len() - d..values.len();
    assert!(values[last.clone()] == wide[last.clone()] && values[last].iter().all(|x| *x > 65_504.0));
    // What came before the large numbers was f16 for a while: eleven bits are exact, and subnormals below
    // 2⁻¹⁴.
    let close = |(x, y): (&f32, &f32)| (x - y).abs() <= y.abs() / 2048.0 + 2f32.powi(-25);
    assert!(values.iter().zip(&wide).all(close));
    assert!(values != wide, "nothing was f16 before: the test needs more batches");
}
