use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray,
    StringViewArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Int64Type};

use super::*;

fn read_with(path: &Path, options: &TextOptions) -> (Vec<Result<Document<Content>>>, Report) {
    let mut all = documents(&[path.to_path_buf()], options).unwrap();
    let documents = all.by_ref().collect();
    (documents, all.report().clone())
}

/// Texts of all documents of `path`, and the report.
fn read_texts(path: &Path) -> (Vec<String>, Report) {
    let (documents, report) = read_with(path, &TextOptions::default());
    let text = |document: Result<Document<Content>>| match document.unwrap().text {
        Content::Text(text) => text,
        other => panic!("{other:?}"),
    };
    (documents.into_iter().map(text).collect(), report)
}

fn error(path: &Path) -> Error {
    read_with(path, &TextOptions::default()).0.into_iter().find_map(Result::err).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn parquet(&self, name: &str, columns: &[(&str, ArrayRef)]) -> PathBuf {
        let batch = RecordBatch::try_from_iter(columns.to_vec()).unwrap();
        let path = self.0.path().join(name);
        let file = File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_folder_of_every_kind_is_read_in_order_of_name() {
    let folder = Folder::new();
    let at = folder.0.path();
    folder.put("b.txt", "plain");
    folder.put("ignored.pdf", "no");
    std::fs::create_dir(at.join("a")).unwrap();
    let lines = "{\"text\":\"one\",\"domain\":\"law\",\"split\":\"heldout\"}\n\n{\"text\":\"\"}\n{\"text\":\"two\",\"split\":\"train\",\"title\":\"T\"}\n";
    folder.put("a/x.jsonl", lines);
    folder.parquet("c.parquet", &[("text", Arc::new(StringArray::from(vec![Some("three"), None])))]);
    folder.put("d.jsonl.gz", gzip(b"{\"text\": \"four\"}\n"));
    folder.put("e.ndjson.zst", zstd::encode_all(&b"{\"text\": \"five\"}"[..], 1).unwrap());
    folder.put("f.json", "[{\"text\": \"six\"},\n {\"text\": \"seven\"}]");
    folder.put("g.csv", "id,text\n1,\"eight, with\na line\"\n");
    folder.put("h.md", "# nine");
    folder.put("i.json", "{\n \"text\": \"ten\"\n}");
    let (documents, report) = read_with(at, &TextOptions::default());
    let documents: Vec<_> = documents.into_iter().map(Result::unwrap).collect();
    let facts: Vec<_> = documents.iter().map(|d| (d.domain.as_str(), d.held_out)).collect();
    assert_eq!(facts[..4], [("law", Some(true)), ("x", Some(false)), ("b", None), ("c", None)]);
    assert_eq!(documents[4].domain, "d", "without both endings");
    assert_eq!((documents[1].name.as_str(), documents[0].name.as_str()), ("T", "x.jsonl"));
    let all = read_texts(at).0;
    assert_eq!(
        all,
        [
            "one",
            "two",
            "plain",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight, with\na line",
            "# nine",
            "ten"
        ]
    );
    assert_eq!(report.skipped.values().sum::<u64>(), 2, "{report:?}");
}

#[test]
fn the_same_rule_in_every_format() {
    let folder = Folder::new();
    let lines = folder.put(
        "a.jsonl",
        b"\xef\xbb\xbf{\"text\": \"one\"}\n{\"text\": null}\n{\"url\": 1}\n{\"text\": 3}\n\"x\"\n{\"text\": \"caf\xe9\"}\n{\"text\": \"a\\ud83d\"}\n",
    );
    let (all, report) = read_texts(&lines);
    assert_eq!(all, ["one", "caf\u{fffd}", "a\u{fffd}"]);
    assert_eq!(report.replaced, 2);
    let reasons: Vec<_> = report.skipped.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    assert_eq!(
        reasons,
        [
            ("`text` is a number or truth value", 1),
            ("`text` is null", 1),
            ("a text and not an object", 1),
            ("no field `text`", 1)
        ]
    );
    assert!(report.first_skipped.as_ref().unwrap().ends_with("record 2"));
    assert_eq!(report.remarks().len(), 2);
    let bytes: Vec<Option<&[u8]>> = vec![Some(b"one"), None, Some(b"caf\xe9")];
    let (all, report) =
        read_texts(&folder.parquet("b.parquet", &[("text", Arc::new(BinaryArray::from(bytes)))]));
    assert_eq!((all, report.replaced), (vec!["one".to_owned(), "caf\u{fffd}".to_owned()], 1));
    assert_eq!(report.skipped["`text` is null"], 1);
    assert_eq!(read_texts(&folder.put("c.txt", b"\xef\xbb\xbfcaf\xe9")).0, ["caf\u{fffd}"]);
    let (all, report) = read_texts(&folder.put("d.csv", b"text,a\ncaf\xe9,1\n\xef\xbb\xbf,2\n"));
    assert_eq!((all.len(), report.replaced, report.skipped["empty text"]), (1, 1, 1));
}

#[test]
fn descriptions_of_any_type_end_nothing() {
    let folder = Folder::new();
    let line =
        r#"{"text": "x", "source": {"a": 1}, "domain": 3, "split": false, "title": ["a"], "name": null}"#;
    let (documents, report) = read_with(&folder.put("a.jsonl", line), &TextOptions::default());
    let document = documents.into_iter().next().unwrap().unwrap();
    let facts =
        (document.domain.as_str(), document.source.as_str(), document.name.as_str(), document.held_out);
    assert_eq!(facts, ("3", "a.jsonl", "a.jsonl", None));
    assert!(report.unknown_splits.contains("false") && report.remarks()[0].contains("`false`"));
}

#[test]
fn strings_of_any_type_are_text_and_other_columns_are_not() {
    let folder = Folder::new();
    let words = vec!["a", "b"];
    let large: ArrayRef = Arc::new(LargeStringArray::from(words.clone()));
    let view: ArrayRef = Arc::new(StringViewArray::from(words.clone()));
    let dictionary = arrow::compute::cast(
        &large,
        &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    )
    .unwrap();
    for (i, column) in [large, view, dictionary].into_iter().enumerate() {
        assert_eq!(read_texts(&folder.parquet(&format!("{i}.parquet"), &[("text", column)])).0, words);
    }
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let lists: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), None]));
    let strings: ArrayRef = Arc::new(StringArray::from(words.clone()));
    let field = Arc::new(Field::new("en", DataType::Utf8, false));
    let structure: ArrayRef = Arc::new(StructArray::from(vec![(field, strings.clone())]));
    for (column, part) in [(numbers, "a number"), (lists, "a list"), (structure, "a structure")] {
        let error = error(&folder.parquet("no.parquet", &[("text", column)]));
        assert!(
            error.to_string().contains(part) && error.remedy().unwrap().contains("--text-column"),
            "{error}"
        );
    }
    let named = folder.parquet("named.parquet", &[("content", strings.clone()), ("path", strings)]);
    let error = error(&named).to_string();
    assert!(error.contains("content, path"), "{error}");
    let options = TextOptions { column: Some("content".to_owned()), ..TextOptions::default() };
    assert_eq!(read_with(&named, &options).0.len(), 2);
}

#[test]
fn tokens_and_chats_are_read_as_they_are() {
    let folder = Folder::new();
    let content = |path: &Path| -> Vec<Content> {
        read_with(path, &TextOptions::default()).0.into_iter().map(|d| d.unwrap().text).collect()
    };
    let ids: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(5), Some(6), Some(-100)]),
        Some(vec![Some(0), Some(9), Some(8)]),
    ]));
    let mask: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), Some(1), Some(1)]),
        Some(vec![Some(0), Some(1), Some(1)]),
    ]));
    let expected = vec![Content::Tokens(vec![vec![5, 6]]), Content::Tokens(vec![vec![9, 8]])];
    assert_eq!(
        content(&folder.parquet("t.parquet", &[("input_ids", ids), ("attention_mask", mask)])),
        expected
    );
    let lines = "{\"input_ids\": [5, 6, -100]}\n{\"input_ids\": [0, 9, 8], \"attention_mask\": [false, true, true]}\n";
    assert_eq!(content(&folder.put("t.jsonl", lines)), expected);
    let lines = r#"{"id": 3, "messages": [{"role": "user", "content": "Hi"}]}"#;
    assert!(matches!(&content(&folder.put("c.jsonl", lines))[..], [Content::Chat(_)]));
    let error = open(&[folder.0.path().join("c.jsonl")]).unwrap().find_map(Result::err).unwrap();
    assert!(error.to_string().contains("chats"), "{error}");
}

#[test]
fn arrow_files_and_streams_are_read() {
    let folder = Folder::new();
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    assert_eq!(read_texts(&folder.put("s.arrow", stream.into_inner().unwrap())).0, ["a", "b"]);
    let mut file = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    assert_eq!(read_texts(&folder.put("f.feather", file.into_inner().unwrap())).0, ["a", "b"]);
}

#[test]
fn one_large_text_is_read_piece_by_piece() {
    let folder = Folder::new();
    let text: String = (0..20_000).map(|i| format!("This is line {i}.\n")).collect();
    let path = folder.put("book.txt", &text);
    let options = TextOptions { held_out_share: Some(0.05), tokens: Some(4000), ..TextOptions::default() };
    let (documents, report) = read_with(&path, &options);
    let documents: Vec<_> = documents.into_iter().map(Result::unwrap).collect();
    let held: Vec<bool> = documents.iter().map(|d| d.held_out.unwrap()).collect();
    // 4000 tokens are about eight stretches of 2 KB: one of them is held out, and seven are not.
    assert_eq!(held[..8].iter().filter(|h| **h).count(), 1);
    assert_eq!(documents[1].name, "book.txt, stretch 2");
    assert!(report.cut[0].contains("one of 8"), "{report:?}");
    assert_eq!(read_texts(&path).0, std::slice::from_ref(&text), "whole where nobody needs a share of it");
    let line = serde_json::json!({"text": text.repeat(4), "title": "T"}).to_string();
    let (parts, report) = read_texts(&folder.put("big.jsonl", line));
    assert_eq!((parts.concat(), report.documents), (text.repeat(4), parts.len() as u64));
    assert!(parts.len() > 20 && parts.iter().all(|p| p.len() <= STRETCH * 3 / 2));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let folder = Folder::new();
    let cases = [
        (folder.put("l.jsonl", b"{\"text\":\"a\"}\n{\"text\": \n"), "line 2"),
        (folder.put("u.txt", b"\xff\xfea\0b\0"), "UTF-16"),
        (folder.put("p.parquet", b"PAR1 not really"), "Parquet"),
        (folder.put("z.txt.gz", b"not gzip"), "z.txt.gz"),
        (folder.put("a.arrow", b"nonsense"), "Arrow"),
        (folder.put("j.json", b"[{\"text\": "), "JSON"),
    ];
    for (path, part) in cases {
        let error = error(&path);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(open(&[folder.0.path().join("nowhere")]).is_err());
}

#[test]
fn a_file_without_text_in_a_folder_is_listed_and_a_named_one_is_an_error() {
    let folder = Folder::new();
    folder.put("a.jsonl", "{\"text\": \"x\"}");
    let config = folder.put("b.json", "{\"learning_rate\": 1}");
    let (all, report) = read_texts(folder.0.path());
    assert_eq!((all.len(), report.files_without_text.len()), (1, 1));
    assert!(error(&config).to_string().contains("learning_rate"));
}

/// A limit on tokens must not be used up by `test.jsonl`, which comes first by name.
#[test]
fn with_a_limit_held_out_files_and_others_are_read_side_by_side() {
    let folder = Folder::new();
    let lines = |n: usize, what: &str| -> String {
        (0..n).map(|i| format!("{{\"text\": \"{what} {i:03} of the same length\"}}\n")).collect()
    };
    folder.put("test.jsonl", lines(20, "aside"));
    folder.put("train-b.jsonl", lines(100, "train"));
    folder.put("train-a.jsonl", lines(80, "train"));
    let options = TextOptions { tokens: Some(1), ..TextOptions::default() };
    let mut all = documents(&[folder.0.path().to_owned()], &options).unwrap();
    let of = |document: Result<Document<Content>>| {
        let document = document.unwrap();
        (document.source, document.held_out)
    };
    let first: Vec<_> = all.by_ref().take(50).map(of).collect();
    let aside = first.iter().filter(|(_, held_out)| *held_out == Some(true)).count();
    assert!((4..=6).contains(&aside), "a tenth of the text is held out, and {aside} of 50 documents");
    assert!(first.iter().all(|(source, _)| source != "train-b.jsonl"), "in order of name");
    assert_eq!(all.not_reached(), [folder.0.path().join("train-b.jsonl")]);
    let rest: Vec<_> = all.by_ref().map(of).collect();
    assert_eq!((first.len() + rest.len(), all.report().documents), (200, 200));
    assert!(all.not_reached().is_empty());
    // Without a limit all of the text is read anyway, in order of name.
    let (whole, _) = read_texts(folder.0.path());
    assert!(whole[..20].iter().all(|text| text.starts_with("aside")), "{whole:?}");
}
