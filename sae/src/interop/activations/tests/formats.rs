//! Files of every kind, type, order and compression give the rows that are in them.

use super::*;

#[test]
fn arrays_of_every_type_and_order() {
    let desk = Desk::new();
    let values = counted(300, 5);
    let turned: Vec<f32> = (0..1500).map(|i| values[i % 300 * 5 + i / 300]).collect();
    for (fortran, numbers) in [(false, &values), (true, &turned)] {
        let bytes: [(&str, Vec<u8>, Dtype); 3] = [
            ("<f2", numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(), Dtype::F16),
            ("<f4", numbers.iter().flat_map(|x| x.to_le_bytes()).collect(), Dtype::F32),
            ("<f8", numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect(), Dtype::F32),
        ];
        for (descr, bytes, dtype) in bytes {
            desk.npy("a.npy", descr, fortran, "(300, 5)", bytes);
            let (dataset, read) = desk.import(&desk.config(&["a.npy"]));
            assert_eq!(read.values, values, "{descr} {fortran}");
            assert_eq!((dataset.manifest().dtype, dataset.manifest().rows_are), (dtype, RowsAre::Rows));
            assert!(read.tokens.is_empty() && !dataset.has_table(VOCABULARY));
            // 300 rows make 100 documents of 3.
            assert_eq!((read.documents[299], read.positions[299]), (99, 2));
            let rows = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
            assert!(rows.iter().any(|d| d.held_out) && !rows.iter().all(|d| d.held_out));
        }
    }
}

#[test]
fn sequences_of_an_array_and_their_tokens() {
    let desk = Desk::new();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let values = counted(24, 2);
    desk.npy("a.npy", "<f4", false, "(2, 4, 2)", bytes(&values[..16]));
    desk.npy("b.npy", "<f4", false, "(4, 4, 2)", bytes(&values[16..]));
    desk.npy("ids.npy", "<i8", false, "(6, 4)", (0..24i64).flat_map(|t| (100 + t).to_le_bytes()).collect());
    let config = ImportConfig {
        tokens: Some(desk.path("ids.npy").display().to_string()),
        hook: Some("blocks.3.hook_mlp_out".into()),
        ..desk.config(&["a.npy", "b.npy"])
    };
    let (dataset, read) = desk.import(&config);
    assert_eq!(read.values, values);
    assert_eq!(read.tokens, (100..124).collect::<Vec<u32>>());
    assert_eq!(read.documents, (0..24).map(|row| row / 4).collect::<Vec<u32>>());
    assert_eq!(read.positions, (0..24).map(|row| row % 4).collect::<Vec<u32>>());
    let manifest = dataset.manifest();
    assert_eq!((manifest.context_length, manifest.rows_are), (4, RowsAre::Tokens));
    assert_eq!(manifest.hook.as_deref(), Some("blocks.3.hook_mlp_out"));
    let cut = ImportConfig { rows: Some(9), ..config };
    let (_, read) = desk.import(&cut);
    assert_eq!((read.values.len(), read.tokens.len(), read.documents[8]), (18, 9, 2));
}

#[test]
fn tensors_next_to_each_other() {
    let desk = Desk::new();
    let values = counted(6, 3);
    let brain: Vec<u8> = values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
    let small: Vec<u8> = [1i16, 2, 3, 4, 5, 6].iter().flat_map(|x| x.to_le_bytes()).collect();
    let groups: Vec<u8> = [7u32, 7, 2, 2, 2, 9].iter().flat_map(|x| x.to_le_bytes()).collect();
    let other = vec![0; 4 * 18];
    let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let write = |name: &str, activations: &str| {
        let tensors = [
            (activations, view(Stored::BF16, &[6, 3], &brain)),
            ("token_ids", view(Stored::I16, &[6], &small)),
            ("doc_id", view(Stored::U32, &[6], &groups)),
            ("other", view(Stored::F32, &[6, 3], &other)),
        ];
        fs::write(desk.path(name), safetensors::serialize(tensors, None).unwrap()).unwrap();
    };
    write("a.safetensors", "activations");
    let (dataset, read) = desk.import(&desk.config(&["a.safetensors"]));
    assert_eq!((read.values, dataset.manifest().dtype), (values.clone(), Dtype::F32));
    assert_eq!((read.tokens, read.documents), (vec![1, 2, 3, 4, 5, 6], vec![0, 0, 1, 1, 1, 2]));
    let named = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
    assert_eq!(named.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["7", "2", "9"]);

    write("b.safetensors", "x");
    let error = desk.refused(&desk.config(&["b.safetensors"]));
    assert!(
        error.contains("b.safetensors: has 2 tensors")
            && error.contains("other, x")
            && error.contains("--column"),
        "{error}"
    );
    let chosen = ImportConfig {
        column: Some("x".into()),
        tokens: Some("none".into()),
        ..desk.config(&["b.safetensors"])
    };
    let (dataset, read) = desk.import(&chosen);
    assert_eq!((read.values, dataset.manifest().rows_are), (values, RowsAre::Rows));
    let error = desk.refused(&ImportConfig { column: Some("y".into()), ..chosen.clone() });
    assert!(error.contains("has no `y`"), "{error}");
    let error = desk.refused(&ImportConfig { tokens: Some("other".into()), ..chosen });
    assert!(
        error.contains("tensor `other`") && error.contains("one integer for each of the 6 rows"),
        "{error}"
    );
}

#[test]
fn tables_of_lists_and_of_dimensions() {
    let desk = Desk::new();
    let values = counted(50, 4);
    let half: ArrayRef = Arc::new(Float16Array::from_iter_values(values.iter().map(|x| f16::from_f32(*x))));
    let double: ArrayRef = Arc::new(Float64Array::from_iter_values(values.iter().map(|x| f64::from(*x))));
    let positions: ArrayRef = Arc::new(Int32Array::from_iter_values((0..50).map(|row| row % 10 + 1)));
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..50).map(|row| format!("text {}", row / 10))));
    let tokens: ArrayRef = Arc::new(Int64Array::from_iter_values((0..50).map(|row| 1000 + row)));
    let kinds = [lists(half.clone(), 4), large_lists(floats(&values), 4), fixed_lists(double, 4)];
    for column in kinds {
        let columns = vec![
            ("acts", column),
            ("pos", positions.clone()),
            ("sample_id", texts.clone()),
            ("token_id", tokens.clone()),
        ];
        desk.parquet("a.parquet", columns.clone());
        desk.arrow(
            "a.arrow",
            &[
                RecordBatch::try_from_iter(columns.clone()).unwrap(),
                RecordBatch::try_from_iter(columns).unwrap().slice(0, 0),
            ],
        );
        for name in ["a.parquet", "a.arrow"] {
            let (dataset, read) = desk.import(&desk.config(&[name]));
            assert_eq!(read.values, values);
            assert_eq!(read.tokens, (1000..1050).collect::<Vec<u32>>());
            assert_eq!((read.documents[49], read.positions[0], read.positions[49]), (4, 1, 10));
            let named = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
            assert_eq!((named[3].name.as_str(), named[3].first_row, named[3].tokens), ("text 3", 30, 10));
        }
    }
    // Two files, each column a dimension, in the order of their numbers and not of the alphabet.
    let wide = counted(20, 12);
    let column = |c: usize| floats(&wide.iter().skip(c).step_by(12).copied().collect::<Vec<_>>());
    let names: Vec<String> = (0..12).map(|c| format!("dim_{c}")).collect();
    let mut columns: Vec<(&str, ArrayRef)> =
        names.iter().enumerate().map(|(c, name)| (name.as_str(), column(c))).collect();
    columns.sort_by_key(|(name, _)| *name);
    columns.push(("loss1", floats(&[0.0; 20])));
    desk.parquet("s0.parquet", columns.clone());
    desk.parquet("s1.parquet", columns.clone());
    let (_, read) = desk.import(&desk.config(&["s0.parquet", "s1.parquet"]));
    assert_eq!(read.values, [wide.clone(), wide].concat());
    columns.retain(|(name, _)| *name != "dim_7");
    desk.parquet("hole.parquet", columns);
    let error = desk.refused(&desk.config(&["hole.parquet"]));
    assert!(error.contains("no column `dim_7`"), "{error}");
}

/// As SAELens caches them: two shards of a dataset, a row a sequence.
#[test]
fn cached_folders_of_sequences() {
    let desk = Desk::new();
    let values = counted(40, 3);
    for (shard, numbers) in values.chunks(60).enumerate() {
        let folder = format!("cached/shard_{}", 9 + shard);
        fs::create_dir_all(desk.path(&folder)).unwrap();
        let ids: ArrayRef = Arc::new(Int32Array::from_iter_values((0..20).map(|i| (shard * 20 + i) as i32)));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("blocks.2.hook_resid_pre", lists(lists(floats(numbers), 3), 5)),
            ("token_ids", lists(ids, 5)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = format!("{folder}/data-00000-of-00001.arrow");
        desk.arrow(&file, &[batch.slice(0, 1), batch.slice(1, 3)]);
        let state = r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": null}"#;
        fs::write(desk.path(&format!("{folder}/state.json")), state).unwrap();
    }
    let (dataset, read) = desk.import(&desk.config(&["cached"]));
    assert_eq!(read.values, values);
    assert_eq!(read.tokens, (0..40).collect::<Vec<u32>>());
    assert_eq!((read.documents[39], read.positions[39]), (7, 4));
    assert_eq!(dataset.manifest().hook.as_deref(), Some("blocks.2.hook_resid_pre"));
    assert_eq!(dataset.manifest().context_length, 5);
    let plan = plan(&desk.config(&["cached"])).unwrap();
    assert_eq!((plan.files.len(), plan.documents.as_str(), plan.tokens), (2, "sequences of 5 rows", true));
    assert_eq!(plan.reads, "column `blocks.2.hook_resid_pre`, sequences of 3 numbers per token, float32");
    let state = r#"{"_data_files": [{"filename": "../data-00000-of-00001.arrow"}]}"#;
    fs::write(desk.path("cached/shard_9/state.json"), state).unwrap();
    assert!(desk.refused(&desk.config(&["cached"])).contains("expected a file next to it"));
}

#[test]
fn u32s_are_numbers_too() {
    let desk = Desk::new();
    let numbers: ArrayRef = Arc::new(UInt32Array::from(vec![u32::MAX, 0]));
    assert_eq!(numbers.data_type(), &DataType::UInt32);
    desk.parquet("a.parquet", vec![("acts", lists(floats(&[1.0; 4]), 2)), ("token", numbers)]);
    assert_eq!(desk.import(&desk.config(&["a.parquet"])).1.tokens, [u32::MAX, 0]);
}

#[test]
fn parquet_in_every_compression() {
    let desk = Desk::new();
    let values = counted(500, 6);
    let columns = || vec![("acts", lists(floats(&values), 6)), ("doc", floats_as_numbers(500))];
    let batch = RecordBatch::try_from_iter(columns()).unwrap();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(compression).build();
        let file = File::create(desk.path("a.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (_, read) = desk.import(&desk.config(&["a.parquet"]));
        assert_eq!((read.values == values, read.documents[499]), (true, 49), "{compression}");
    }
}

/// Row / 10.
fn floats_as_numbers(rows: i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values((0..rows).map(|row| row / 10)))
}

#[test]
fn arrow_streams_and_files_compressed_or_not() {
    let desk = Desk::new();
    let values = counted(500, 6);
    let columns = vec![("acts", lists(floats(&values), 6)), ("doc", floats_as_numbers(500))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let options = || IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let stream = File::create(desk.path("stream.arrow")).unwrap();
        let mut writer = StreamWriter::try_new_with_options(stream, &batch.schema(), options()).unwrap();
        writer.write(&batch.slice(0, 200)).unwrap();
        writer.write(&batch.slice(200, 300)).unwrap();
        writer.finish().unwrap();
        let file = File::create(desk.path("file.feather")).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &batch.schema(), options()).unwrap();
        writer.write(&batch.slice(0, 200)).unwrap();
        writer.write(&batch.slice(200, 300)).unwrap();
        writer.finish().unwrap();
        for name in ["stream.arrow", "file.feather"] {
            let (_, read) = desk.import(&desk.config(&[name]));
            assert_eq!((read.values == values, read.documents[499]), (true, 49), "{name} {compression:?}");
        }
    }
    let whole = fs::read(desk.path("file.feather")).unwrap();
    fs::write(desk.path("cut.arrow"), &whole[..whole.len() / 2]).unwrap();
    assert!(desk.refused(&desk.config(&["cut.arrow"])).contains("is a damaged Arrow file: it has no footer"));
    fs::write(desk.path("old.feather"), b"FEA1\0\0\0\0FEA1").unwrap();
    assert!(desk.refused(&desk.config(&["old.feather"])).contains("Feather file of version 1"));
    fs::write(desk.path("text.parquet"), "no table at all").unwrap();
    assert!(desk.refused(&desk.config(&["text.parquet"])).ends_with("text.parquet: is not a Parquet file"));
}

#[test]
fn tensors_of_fixed_shape_are_vectors_or_sequences() {
    let desk = Desk::new();
    let values = counted(24, 3);
    let table = |name: &str, width: i32, metadata: &str| {
        let element = Arc::new(Field::new("item", DataType::Float32, true));
        let data_type = DataType::FixedSizeList(element.clone(), width);
        let metadata = [
            ("ARROW:extension:name".to_owned(), "arrow.fixed_shape_tensor".to_owned()),
            ("ARROW:extension:metadata".to_owned(), metadata.to_owned()),
        ];
        let field = Field::new("acts", data_type, true).with_metadata(metadata);
        let column = FixedSizeListArray::new(element, width, floats(&values), None);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)]).unwrap();
        if name.ends_with("arrow") {
            return desk.arrow(name, &[batch.slice(0, 2), batch.slice(2, batch.num_rows() - 2)]);
        }
        let mut writer =
            ArrowWriter::try_new(File::create(desk.path(name)).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    for name in ["a.arrow", "a.parquet"] {
        table(name, 3, r#"{"shape": [3]}"#);
        let (dataset, read) = desk.import(&desk.config(&[name]));
        assert_eq!((read.values.clone(), dataset.manifest().context_length), (values.clone(), 0), "{name}");
        table(name, 12, r#"{"shape": [4, 3], "dim_names": ["token", "d"], "permutation": [0, 1]}"#);
        let (dataset, read) = desk.import(&desk.config(&[name]));
        assert_eq!((read.values, dataset.manifest().context_length), (values.clone(), 4), "{name}");
        assert_eq!((read.documents[23], read.positions[23]), (5, 3));
        for (metadata, expected) in [
            (r#"{"shape": [4, 3], "permutation": [1, 0]}"#, "stored in another order"),
            (r#"{"shape": [2, 2, 3]}"#, "expected [d] or [tokens, d]"),
            (r#"{"shape": [5, 3]}"#, "has 12 numbers; its shape is [5, 3]"),
            ("{}", "a tensor without a shape"),
        ] {
            table(name, 12, metadata);
            let error = desk.refused(&desk.config(&[name]));
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
