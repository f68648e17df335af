//! Padding, splits, and types that have to be guessed.

use super::*;

/// Which of 3 × 4 rows are real: padded right, left, and one sequence whole.
const REAL: [bool; 12] = [true, true, false, false, false, true, true, true, true, true, true, true];

#[test]
fn padding_is_left_out_by_the_mask_that_comes_with_the_rows() {
    let desk = Desk::new();
    let values = counted(12, 2);
    let real: Vec<u32> = (0..12u32).filter(|row| REAL[*row as usize]).collect();
    let expected = Read {
        documents: vec![0, 0, 1, 1, 1, 2, 2, 2, 2],
        positions: vec![0, 1, 0, 1, 2, 0, 1, 2, 3],
        tokens: real.iter().map(|row| 100 + row).collect(),
        values: real.iter().flat_map(|row| values[*row as usize * 2..][..2].to_vec()).collect(),
    };
    let raw = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let ids: Vec<u8> = (100..112i64).flat_map(i64::to_le_bytes).collect();
    let mask: Vec<u8> = REAL.iter().map(|real| u8::from(*real)).collect();

    let floats_raw = raw(&values);
    let tensors = [
        ("hidden_states", TensorView::new(Stored::F32, vec![3, 4, 2], &floats_raw).unwrap()),
        ("input_ids", TensorView::new(Stored::I64, vec![3, 4], &ids).unwrap()),
        ("attention_mask", TensorView::new(Stored::BOOL, vec![3, 4], &mask).unwrap()),
    ];
    fs::write(desk.path("a.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    let tokens: ArrayRef = Arc::new(Int64Array::from_iter_values(100..112));
    let columns = |mask: ArrayRef| {
        vec![
            ("hidden_states", lists(lists(floats(&values), 2), 4)),
            ("input_ids", lists(tokens.clone(), 4)),
            ("attention_mask", lists(mask, 4)),
        ]
    };
    desk.parquet(
        "a.parquet",
        columns(Arc::new(Int64Array::from_iter_values(REAL.iter().map(|r| i64::from(*r))))),
    );
    desk.arrow(
        "a.arrow",
        &[RecordBatch::try_from_iter(columns(Arc::new(BooleanArray::from(REAL.to_vec())))).unwrap()],
    );
    desk.npy("a.npy", "<f4", false, "(3, 4, 2)", raw(&values));
    desk.npy("ids.npy", "<i8", false, "(3, 4)", ids.clone());
    desk.npy("mask.npy", "|b1", false, "(3, 4)", mask.clone());
    for name in ["a.safetensors", "a.parquet", "a.arrow", "a.npy"] {
        let mut config = desk.config(&[name]);
        if name == "a.npy" {
            let file = |name: &str| Some(desk.path(name).display().to_string());
            (config.tokens, config.mask) = (file("ids.npy"), file("mask.npy"));
        }
        assert_eq!(desk.import(&config).1, expected, "{name}");
        let plan = plan(&config).unwrap();
        assert!(plan.rows.is_none() && plan.notes[0].contains("are padding"), "{name}: {plan:?}");
        let all = ImportConfig { mask: Some("none".into()), ..config };
        assert_eq!(desk.import(&all).1.values, values, "{name}");
    }
    // Rows of no sequence keep their numbers in messages.
    let mut bad = values.clone();
    bad[2 * 9 + 1] = f32::INFINITY;
    let flat: ArrayRef = Arc::new(BooleanArray::from(REAL.to_vec()));
    desk.parquet("flat.parquet", vec![("acts", lists(floats(&bad), 2)), ("attention_mask", flat)]);
    let error = desk.refused(&desk.config(&["flat.parquet"]));
    assert!(error.contains("flat.parquet: row 9: number 1 is inf"), "{error}");
    let none: ArrayRef = Arc::new(BooleanArray::from(vec![false; 12]));
    desk.parquet("none.parquet", vec![("acts", lists(floats(&values), 2)), ("attention_mask", none)]);
    assert!(desk.refused(&desk.config(&["none.parquet"])).contains("every row is padding"));
}

/// As `DatasetDict.save_to_disk` leaves it, and as the Hub's converter names files: splits that are held out,
/// and nothing else is.
#[test]
fn splits_of_a_data_set_say_what_is_held_out() {
    let desk = Desk::new();
    let table = |sign: f32, sequences: usize| {
        let values: Vec<f32> = (0..sequences * 8).map(|i| sign * (1.0 + i as f32)).collect();
        RecordBatch::try_from_iter([("acts", lists(lists(floats(&values), 2), 4))]).unwrap()
    };
    for (split, sign, sequences) in [("train", 1.0, 30), ("test", -1.0, 10)] {
        fs::create_dir_all(desk.path(&format!("saved/{split}"))).unwrap();
        desk.arrow(&format!("saved/{split}/data-00000-of-00001.arrow"), &[table(sign, sequences)]);
        let state = r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}"#;
        fs::write(desk.path(&format!("saved/{split}/state.json")), state).unwrap();
        fs::create_dir_all(desk.path("hub")).unwrap();
        let columns = vec![("acts", table(sign, sequences).column(0).clone())];
        desk.parquet(&format!("hub/{split}-00000-of-00001.parquet"), columns);
    }
    fs::write(desk.path("saved/dataset_dict.json"), r#"{"splits": ["train", "test"]}"#).unwrap();
    for folder in ["saved", "hub"] {
        let (dataset, read) = desk.import(&desk.config(&[folder]));
        let documents = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
        assert_eq!(documents.len(), 40);
        for (row, document) in read.documents.iter().enumerate() {
            let held_out = documents[*document as usize].held_out;
            assert_eq!(held_out, read.values[2 * row] < 0.0, "{folder}: row {row}");
        }
        assert!(plan(&desk.config(&[folder])).unwrap().notes[0].contains("held out are the splits test"));
    }
    // A split alone is what somebody wants to train on.
    let (dataset, _) = desk.import(&desk.config(&["saved/test"]));
    assert!(documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap().iter().any(|d| !d.held_out));
    fs::write(desk.path("saved/dataset_dict.json"), r#"{"splits": ["train", "../hub"]}"#).unwrap();
    assert!(desk.refused(&desk.config(&["saved"])).contains("names the split `../hub`"));
}

#[test]
fn two_bytes_without_a_type_are_bfloat16_with_a_note() {
    let desk = Desk::new();
    let values = counted(200, 3);
    let bytes: Vec<u8> = values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
    for descr in ["|V2", "<V2"] {
        desk.npy("a.npy", descr, false, "(200, 3)", bytes.clone());
        let (dataset, read) = desk.import(&desk.config(&["a.npy"]));
        assert_eq!((read.values, dataset.manifest().dtype), (values.clone(), Dtype::F32));
        let notes = plan(&desk.config(&["a.npy"])).unwrap().notes;
        assert!(notes[0].contains("a.npy") && notes[0].contains("bfloat16"), "{notes:?}");
    }
}
