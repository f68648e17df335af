//! A run is opened with the model of its data, or says what is missing.

use super::*;

/// A run on a dataset of the small model, both in `folder`.
fn run(folder: &Path) -> (std::path::PathBuf, Dictionary) {
    let model = fixture::model(&folder.join("model"));
    let header = Manifest { model: fixture::model_ref(&model), ..fixture::header(16) };
    let texts = fixture::texts(&[10], 60, 1);
    fixture::dataset(&folder.join("data"), header, &texts, &fixture::activations(10, 16, 1), 1);
    let dictionary = fixture::dictionary(16, 40, 5, 3);
    (fixture::run(&folder.join("run"), &dictionary, &folder.join("data")), dictionary)
}

#[test]
fn a_run_opens_with_the_model_of_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let (run, dictionary) = run(folder.path());
    let open = || Prompter::open(&run, None, &ModelChoice::OfTheData);
    let prompter = open().unwrap();
    assert_eq!(prompter.dictionary, dictionary);
    let opened = prompter.info();
    assert_eq!((opened.hook.as_str(), opened.d_sae, opened.indexed), ("blocks.0.hook_resid_post", 40, false));
    assert_eq!(prompter.room(), 63);
    // With an index the maxima are its.
    std::fs::create_dir_all(run.join("features")).unwrap();
    let write = |features: u32| {
        let mut writer = FeatureWriter::create(&run.join("features/features.parquet")).unwrap();
        for feature in 0..features {
            let row = FeatureRow {
                feature,
                max: if feature == 7 { 0.0 } else { 2.0 + feature as f32 },
                histogram: vec![0; 40],
                ..FeatureRow::default()
            };
            writer.append(row).unwrap();
        }
        writer.finish().unwrap();
    };
    write(40);
    let indexed = open().unwrap();
    let reading = indexed.read(TEXT).unwrap();
    assert_eq!(
        indexed.maximum(&reading, 3).unwrap(),
        Maximum { feature: 3, value: 5.0, of: MaximumSource::Index }
    );
    let message = indexed.maximum(&reading, 7).unwrap_err().to_string();
    assert!(message.contains("feature 7 fired on none"), "{message}");
    write(39);
    let message = open().unwrap_err().to_string();
    assert!(message.contains("39 features") && message.contains("sae index"), "{message}");
}

#[test]
fn a_run_without_a_model_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (run, _) = run(folder.path());
    let open = |data: Option<&Path>| Prompter::open(&run, data, &ModelChoice::OfTheData).map(drop);
    let begun = folder.path().join("begun");
    std::fs::create_dir(&begun).unwrap();
    std::fs::copy(run.join("run.json"), begun.join("run.json")).unwrap();
    let message = Prompter::open(&begun, None, &ModelChoice::OfTheData).unwrap_err().to_string();
    assert!(message.contains("begun has no dictionary") && message.contains("--resume"), "{message}");
    let nothing = Prompter::open(&run, None, &ModelChoice::Without).unwrap_err().to_string();
    assert!(nothing.contains("no language model"), "{nothing}");
    // Rows that are not tokens.
    let model = ModelRef { id: "pictures".into(), path: None, sha256: String::new() };
    let patches = Manifest { rows_are: storage::RowsAre::Patches, model, ..fixture::header(16) };
    let texts = fixture::texts(&[10], 60, 1);
    fixture::dataset(&folder.path().join("patches"), patches, &texts, &fixture::activations(10, 16, 1), 1);
    let message = open(Some(&folder.path().join("patches"))).unwrap_err().to_string();
    assert!(message.contains("patches"), "{message}");
    // The dataset is gone: the record may still know the model.
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let message = open(None).unwrap_err().to_string();
    assert!(message.contains("data"), "{message}");
    let mut record = storage::RunRecord::read(&run).unwrap();
    let model = LanguageModel::load(&ModelSource::Folder(folder.path().join("model"))).unwrap();
    record.model = fixture::model_ref(&model);
    record.write(&run).unwrap();
    open(None).unwrap();
    std::fs::remove_file(folder.path().join("model/model.safetensors")).unwrap();
    assert!(open(None).is_err());
}
