//! Numbers and shapes that do not fit are named, and an interrupted import continues.

use super::*;

#[test]
fn bad_numbers_are_named_with_their_place() {
    let desk = Desk::new();
    let mut values = counted(400, 5);
    values[5 * 321 + 2] = f32::NAN;
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    desk.npy("a.npy", "<f4", false, "(400, 5)", bytes.clone());
    let error = desk.refused(&desk.config(&["a.npy"]));
    assert!(error.contains("a.npy: row 321: number 2 is NaN"), "{error}");
    desk.npy("b.npy", "<f4", false, "(100, 4, 5)", bytes);
    let error = desk.refused(&desk.config(&["b.npy"]));
    assert!(error.contains("b.npy: sequence 80, position 1: number 2 is NaN"), "{error}");
    desk.parquet("a.parquet", vec![("acts", lists(floats(&values), 5))]);
    let error = desk.refused(&desk.config(&["a.parquet"]));
    assert!(error.contains("a.parquet: row 321: number 2 is NaN"), "{error}");
    values[5 * 321 + 2] = 70_000.0;
    desk.npy("c.npy", "<f4", false, "(400, 5)", values.iter().flat_map(|x| x.to_le_bytes()).collect());
    assert_eq!(desk.import(&desk.config(&["c.npy"])).1.values, values);
}

/// What was imported as f16 before stays, and the dataset is one of f32; so too where the import stopped in
/// between.
#[test]
fn a_number_too_large_for_f16_makes_an_import_f32() {
    let desk = Desk::new();
    let mut values = counted(800, 5);
    values[5 * 621 + 2] = 70_000.0;
    let bytes = |some: &[f32]| some.iter().flat_map(|x| x.to_le_bytes()).collect();
    desk.npy("a.npy", "<f4", false, "(400, 5)", bytes(&values[..2000]));
    desk.npy("b.npy", "<f4", false, "(400, 5)", bytes(&values[2000..]));
    let config =
        |names: &[&str]| ImportConfig { dtype: Some(Dtype::F16), rows_per_part: 100, ..desk.config(names) };
    let (dataset, read_at_once) = desk.import(&config(&["a.npy", "b.npy"]));
    assert_eq!((dataset.manifest().dtype, &read_at_once.values), (Dtype::F32, &values));
    assert_eq!(desk.import(&config(&["a.npy"])).0.manifest().dtype, Dtype::F16);
    for stop in [1, 2] {
        let (out, mut progress) = (desk.path(&format!("stopped-{stop}")), StopAfter::new(stop));
        assert!(run(&config(&["a.npy", "b.npy"]), &out, &mut progress).is_err());
        assert_eq!(progress.remarks.iter().any(|remark| remark.contains("too large for f16")), stop == 2);
        run(&config(&["a.npy", "b.npy"]), &out, &mut Quiet).unwrap();
        let (dataset, parts) = read(&out);
        assert_eq!((dataset.manifest().dtype, parts), (Dtype::F32, read_at_once.clone()));
    }
    // A number that no type holds is refused as such.
    values[5 * 622] = f32::INFINITY;
    desk.npy("b.npy", "<f4", false, "(400, 5)", bytes(&values[2000..]));
    let error = desk.refused(&config(&["a.npy", "b.npy"]));
    assert!(error.contains("b.npy: row 222: number 0 is inf"), "{error}");
}

#[test]
fn shapes_and_types_that_do_not_fit_are_named() {
    let desk = Desk::new();
    let bytes = |n: usize| vec![0u8; 4 * n];
    desk.npy("one.npy", "<f4", false, "(12,)", bytes(12));
    desk.npy("ints.npy", "<i4", false, "(6, 2)", bytes(12));
    desk.npy("long.npy", "<f4", false, "(6, 2)", bytes(13));
    desk.npy("big.npy", ">f4", false, "(6, 2)", bytes(12));
    desk.npy("none.npy", "<f4", false, "(0, 2)", bytes(0));
    desk.npy("wide.npy", "<f4", false, "(4, 3)", bytes(12));
    desk.npy("good.npy", "<f4", false, "(6, 2)", bytes(12));
    desk.npy("cube.npy", "<f4", true, "(2, 3, 2)", bytes(12));
    fs::write(desk.path("x.pt"), "").unwrap();
    fs::write(desk.path("x.npz"), "").unwrap();
    let ragged = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![
        Some(vec![Some(1.0), Some(2.0)]),
        Some(vec![Some(1.0)]),
    ]);
    desk.parquet("ragged.parquet", vec![("acts", Arc::new(ragged) as ArrayRef)]);
    let holes = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![
        Some(vec![Some(1.0), Some(2.0)]),
        None,
    ]);
    desk.parquet("holes.parquet", vec![("acts", Arc::new(holes) as ArrayRef)]);
    let nothing = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![Some(vec![
        Some(1.0),
        None,
    ])]);
    desk.parquet("nothing.parquet", vec![("acts", Arc::new(nothing) as ArrayRef)]);
    desk.parquet("two.parquet", vec![("a", lists(floats(&[1.0; 4]), 2)), ("b", lists(floats(&[1.0; 4]), 2))]);
    desk.parquet("text.parquet", vec![("text", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]);
    let negative: ArrayRef = Arc::new(Int64Array::from(vec![3, -1]));
    desk.parquet("negative.parquet", vec![("acts", lists(floats(&[1.0; 4]), 2)), ("token", negative)]);
    let cases: [(&[&str], &str); 16] = [
        (&["one.npy"], "has shape [12]; expected [rows, d]"),
        (&["ints.npy"], "ints.npy: holds integers"),
        (&["long.npy"], "has 52 bytes of numbers"),
        (&["big.npy"], "the byte order is turned around"),
        (&["none.npy"], "there are no numbers"),
        (&["good.npy", "wide.npy"], "wide.npy: has shape [4, 3], the first file [6, 2]"),
        (&["cube.npy"], "ascontiguousarray"),
        (&["x.pt"], "save_file"),
        (&["x.npz"], "numpy.save"),
        (&["ragged.parquet"], "ragged.parquet: row 1, column `acts`: has 1 numbers; the rows before have 2"),
        (&["holes.parquet"], "row 1, column `acts`: is null"),
        (&["nothing.parquet"], "row 0, column `acts`: number 1 is null"),
        (&["two.parquet"], "several columns of vectors: a, b"),
        (&["text.parquet"], "has no column of vectors"),
        (&["negative.parquet"], "row 1: -1 is not the number of a token"),
        (&["good.npy", "two.parquet"], "of different kinds"),
    ];
    for (files, expected) in cases {
        let error = desk.refused(&desk.config(files));
        assert!(error.contains(expected), "{files:?}: {error}");
    }
    assert!(desk.refused(&desk.config(&["nowhere.npy"])).contains("does not exist"));
    let tokenizer = ImportConfig { tokenizer: Some("x".into()), ..desk.config(&["good.npy"]) };
    assert!(!desk.refused(&tokenizer).is_empty());
}

#[test]
fn an_interrupted_import_continues() {
    let desk = Desk::new();
    let values = counted(150_000, 40);
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    desk.npy("a.npy", "<f4", false, "(150000, 40)", bytes);
    let config = ImportConfig { rows_per_part: 60_000, ..desk.config(&["a.npy"]) };
    let whole = desk.import(&config).1;
    let out = desk.path("parts");
    for chunks in [1, 2] {
        let stopped: Result<_> = run(&config, &out, &mut StopAfter::new(chunks));
        assert!(matches!(stopped, Err(Error::Stopped(_))));
        assert!(Dataset::open(&out).is_err());
    }
    let other = ImportConfig { seed: 9, ..config.clone() };
    assert!(run(&other, &out, &mut Quiet).is_err(), "other settings do not continue");
    run(&config, &out, &mut Quiet).unwrap();
    let (dataset, parts) = read(&out);
    assert!(whole == parts && whole.values == values);
    assert!(dataset.manifest().tables[ACTIVATIONS].parts.len() > 2);
    assert!(run(&config, &out, &mut Quiet).is_err(), "a finished dataset is not written again");
}
