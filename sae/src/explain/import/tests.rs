//! Files as other tools write them, and files that are wrong.

use storage::RunRecord;
use storage::explanations::{Explanation, Score, read, sources};
use tempfile::TempDir;

use super::{ImportOptions, Imported, run};
use crate::{Quiet, Result};

/// A run of 100 features.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut record = RunRecord::new();
    record.d_sae = 100;
    record.write(folder.path()).unwrap();
    folder
}

fn import_as(folder: &TempDir, file: &str, content: &str, options: ImportOptions) -> Result<Imported> {
    let path = folder.path().join(file);
    std::fs::write(&path, content).unwrap();
    run(folder.path(), &ImportOptions { file: path, ..options }, &mut Quiet)
}

fn import(folder: &TempDir, file: &str, content: &str) -> Result<Imported> {
    import_as(folder, file, content, ImportOptions::default())
}

fn said(feature: u32, text: &str, method: &str, by: &str, scores: &[(&str, f32)]) -> Explanation {
    let scores = scores.iter().map(|(kind, value)| Score { kind: (*kind).into(), value: *value }).collect();
    Explanation { feature, text: text.into(), method: method.into(), by: by.into(), scores }
}

/// Lines as the export has them; what does not matter here is there, too.
const NEURONPEDIA: &str = r#"{"id":"c1","modelId":"gpt2-small","layer":"6-res-jb","index":"41","description":" references to trees","authorId":"a1","embedding":[0.1,0.2],"typeName":"oai_token-act-pair","explanationModelName":"gpt-4o-mini","notes":null,"createdAt":"2024-05-01T00:00:00.000Z"}
{"id":"c2","modelId":"gpt2-small","layer":"6-res-jb","index":"7","description":"numbers","authorId":"a1","typeName":"np_max-act-logits","explanationModelName":null,"scores":[{"id":"s","value":0.75,"explanationScoreTypeName":"eleuther_fuzz","explanationScoreModelName":"claude-4-5-haiku","jsonDetails":"[]"},{"value":-0.5,"explanationScoreTypeName":"recall_alt"}]}

{"id":"c3","modelId":"gpt2-small","layer":"6-res-jb","index":"8","description":"","typeName":"oai_token-act-pair"}
"#;

#[test]
fn neuronpedia_exports() {
    let folder = folder();
    let read_in = import(&folder, "batch-0.jsonl", NEURONPEDIA).unwrap();
    assert_eq!(
        (read_in.explanations, read_in.features, read_in.empty, read_in.format),
        (2, 2, 1, "Neuronpedia")
    );
    let found = read(folder.path(), "batch-0").unwrap();
    let scores = [("eleuther_fuzz, claude-4-5-haiku", 0.75), ("recall_alt", -0.5)];
    let expected = [
        said(7, "numbers", "np_max-act-logits", "a1", &scores),
        said(41, "references to trees", "oai_token-act-pair", "gpt-4o-mini", &[]),
    ];
    assert_eq!(found, expected);
    // Once more is the same, under a different name it is next to the first.
    import(&folder, "batch-0.jsonl", NEURONPEDIA).unwrap();
    assert_eq!(read(folder.path(), "batch-0").unwrap(), expected);
    let named = ImportOptions { name: Some("gpt 2".into()), ..ImportOptions::default() };
    import_as(&folder, "batch-0.jsonl", NEURONPEDIA, named).unwrap();
    assert_eq!(sources(folder.path()).unwrap(), ["batch-0", "gpt 2"]);
}

#[test]
fn features_of_the_interface_and_lists() {
    let folder = folder();
    let feature = r#"{"modelId":"m","layer":"l","index":"3","frac_nonzero":0.1,"explanations":[{"description":"a","typeName":"t","explanationModelName":"x"},{"description":"b"}]}"#;
    assert_eq!(import(&folder, "one.jsonl", feature).unwrap().explanations, 2);
    let found = read(folder.path(), "one").unwrap();
    assert_eq!(found, [said(3, "a", "t", "x", &[]), said(3, "b", "", "", &[])]);
    let list = r#"[{"modelId":"m","layer":"l","index":"1","description":"a"},{"modelId":"m","layer":"l","index":2,"description":"b"}]"#;
    assert_eq!(import(&folder, "list.json", list).unwrap().features, 2);
}

#[test]
fn layers_are_not_mixed() {
    let folder = folder();
    let two = "{\"modelId\":\"m\",\"layer\":\"1-res\",\"index\":\"1\",\"description\":\"a\"}\n{\"modelId\":\"m\",\"layer\":\"2-res\",\"index\":\"1\",\"description\":\"b\"}\n";
    let message = import(&folder, "two.jsonl", two).unwrap_err().to_string();
    assert!(
        message.contains("line 2") && message.contains("`2-res`") && message.contains("--layer"),
        "{message}"
    );
    assert_eq!(sources(folder.path()).unwrap(), [""; 0], "as a whole or not at all");
    let options = ImportOptions { layer: Some("2-res".into()), ..ImportOptions::default() };
    let read_in = import_as(&folder, "two.jsonl", two, options).unwrap();
    assert_eq!((read_in.explanations, read_in.others), (1, 1));
    assert_eq!(read(folder.path(), "two").unwrap()[0].text, "b");
}

#[test]
fn plain_lines_and_csv_say_the_same() {
    let folder = folder();
    let lines = r#"{"feature": 5, "text": "trees, \"tall\" ones", "score": 0.5, "method": "by hand", "author": "Ada"}
{"feature": 2, "text": "numbers", "scores": {"f1": 1, "recall": 0.25}}
{"feature": 5, "text": "woods"}
"#;
    import(&folder, "lines.jsonl", lines).unwrap();
    let table = "text,feature,score,score:f1,score:recall,author,method\r\n\"trees, \"\"tall\"\" ones\",5,0.5,,,Ada,by hand\r\n\r\nnumbers,2,,1,0.25,,\r\nwoods,5,,,,,";
    assert_eq!(import(&folder, "table.csv", table).unwrap().format, "CSV");
    let expected = [
        said(2, "numbers", "", "", &[("f1", 1.0), ("recall", 0.25)]),
        said(5, "trees, \"tall\" ones", "by hand", "Ada", &[("score", 0.5)]),
        said(5, "woods", "", "", &[]),
    ];
    assert_eq!(read(folder.path(), "lines").unwrap(), expected);
    assert_eq!(read(folder.path(), "table").unwrap(), expected);
}

#[test]
fn what_is_not_understood_is_named_by_its_line() {
    let folder = folder();
    for (file, content, wanted) in [
        ("a.jsonl", "{\"feature\":1,\"text\":\"x\"}\n{\"feature\":", "line 2"),
        (
            "a.jsonl",
            "{\"feature\":1,\"text\":\"x\"}\n{\"latent\":4,\"said\":\"x\"}",
            "line 2: found the fields latent, said, expected",
        ),
        ("a.jsonl", "[1]", "line 1: found no fields"),
        ("a.jsonl", "{\"feature\":-1,\"text\":\"x\"}", "`feature` is -1"),
        ("a.jsonl", "{\"text\":\"x\"}", "`feature` is missing"),
        ("a.jsonl", "{\"feature\":1,\"text\":4}", "`text` is 4, expected text"),
        ("a.jsonl", "{\"feature\":1,\"text\":\"x\",\"socre\":1}", "`socre` is not a field"),
        (
            "a.jsonl",
            "{\"feature\":1,\"text\":\"x\",\"score\":\"good\"}",
            "`score` is \"good\", expected a number",
        ),
        (
            "a.jsonl",
            "{\"feature\":100,\"text\":\"x\"}",
            "feature 100, but the dictionary's features are 0 to 99",
        ),
        (
            "a.jsonl",
            "{\"feature\":1,\"text\":\"x\"}\n{\"index\":1,\"description\":\"x\"}",
            "line 2: it has a different format",
        ),
        (
            "a.jsonl",
            "{\"index\":\"1\",\"description\":\"x\",\"scores\":[{\"value\":1}]}",
            "explanationScoreTypeName",
        ),
        ("a.jsonl", "\n", "no explanations"),
        ("a.json", "{}", "expected a JSON list"),
        ("a.csv", "feature,words\n1,x", "line 1: `words` is not a column"),
        ("a.csv", "feature,score\n1,2", "there is no column `text`"),
        ("a.csv", "feature,text,text\n1,x,y", "the column `text` appears twice"),
        ("a.csv", "feature,text\n1,x,y", "line 2: 3 fields, expected 2"),
        ("a.csv", "feature,text\n1,\"two\nlines\"\none,x", "line 4: `feature` is `one`"),
        ("a.csv", "feature,text,score\n1,x,nan", "`score` is `nan`"),
        ("a.csv", "feature,text\n1,\"x", "a quotation mark opens and none closes"),
        ("a.csv", "feature,text\n1,\"x\"y", "`y` after a closing quotation mark"),
        ("a.txt", "trees", "expected a file .jsonl, .json or .csv"),
    ] {
        let message = import(&folder, file, content).unwrap_err().to_string();
        assert!(message.contains(wanted) && message.contains(file), "{content:?}: {message}");
    }
    let packed = folder.path().join("b.jsonl");
    std::fs::write(&packed, [0x1f, 0x8b, 8, 0]).unwrap();
    let options = ImportOptions { file: packed, ..ImportOptions::default() };
    assert!(run(folder.path(), &options, &mut Quiet).unwrap_err().to_string().contains("gunzip"));
    assert_eq!(sources(folder.path()).unwrap(), [""; 0]);
    for name in ["rules", "", "../x", ".hidden"] {
        let options = ImportOptions { name: Some(name.into()), ..ImportOptions::default() };
        let message = import_as(&folder, "a.csv", "feature,text\n1,x", options).unwrap_err().to_string();
        assert!(message.contains("--name"), "{message}");
    }
}
