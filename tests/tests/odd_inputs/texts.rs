//! Text and tokens: every reading of the same three documents gives the same number of rows.

use std::fs::{create_dir, write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, LargeStringArray, StringArray, StringViewArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow::record_batch::RecordBatch;
use serde_json::json;

use super::{Cell, Row, Table};

const DOCUMENTS: [&str; 3] =
    ["First document, with some words.", "Second document about a river.", "Third one tells of copper."];
/// Tokens of the three documents by the embedded model's tokenizer.
const ROWS: usize = 26;

fn lines() -> Vec<String> {
    DOCUMENTS.iter().map(|text| json!({ "text": text }).to_string()).collect()
}

/// A gzip member that is not compressed.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let crc = !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    });
    let n = bytes.len() as u16;
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(n.to_le_bytes());
    out.extend((!n).to_le_bytes());
    out.extend(bytes);
    out.extend(crc.to_le_bytes());
    out.extend(u32::from(n).to_le_bytes());
    out
}

/// A frame of Zstandard that is not compressed.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let n = bytes.len() as u32;
    let mut out = vec![0x28, 0xB5, 0x2F, 0xFD, 0xA0];
    out.extend(n.to_le_bytes());
    out.extend(&((n << 3) | 1).to_le_bytes()[..3]);
    out.extend(bytes);
    out
}

fn stream(path: &Path, column: ArrayRef) {
    let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
    let mut writer = StreamWriter::try_new(std::fs::File::create(path).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

fn file(path: &Path, name: &str, column: ArrayRef) {
    let batch = RecordBatch::try_from_iter([(name, column)]).unwrap();
    let mut writer = FileWriter::try_new(std::fs::File::create(path).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

#[cfg(unix)]
fn folder(at: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    let folder = at.join("folder");
    create_dir(&folder).unwrap();
    create_dir(folder.join(".git")).unwrap();
    write(folder.join(".git/notes.txt"), "not text of the corpus").unwrap();
    write(folder.join(std::ffi::OsStr::from_bytes(b"\xff\xfe.txt")), DOCUMENTS[0]).unwrap();
    write(folder.join("b.txt"), DOCUMENTS[1]).unwrap();
    write(folder.join("c.md"), DOCUMENTS[2]).unwrap();
    write(folder.join("empty.txt"), "").unwrap();
    write(folder.join("picture.png"), "no").unwrap();
    symlink("b.txt", folder.join("again.txt")).unwrap();
    symlink(".", folder.join("loop")).unwrap();
    symlink("nowhere", folder.join("dangling.txt")).unwrap();
}

fn inputs(at: &Path) {
    let put = |name: &str, bytes: &[u8]| write(at.join(name), bytes).unwrap();
    let joined = lines().join("\n");
    put("tidy.jsonl", joined.as_bytes());
    put("windows.jsonl.gz", &gzip(format!("\u{feff}{}\r\n", lines().join("\r\n")).as_bytes()));
    let parts = |pack: fn(&[u8]) -> Vec<u8>| -> Vec<u8> {
        lines().iter().flat_map(|line| pack(format!("{line}\n").as_bytes())).collect()
    };
    put("frames.jsonl.zst", &parts(zstd));
    put("members.jsonl.gz", &parts(gzip));
    put("cut.jsonl.gz", &parts(gzip)[..40]);
    put("blank.jsonl", format!("\n\n{}\n\n  \n", lines().join("\n\n")).as_bytes());
    put("cut.jsonl", &joined.as_bytes()[..joined.len() - 9]);
    put("list.json", format!("[{}]", lines().join(",\n")).as_bytes());
    let quoted = format!("id,text\r\n1,\"{}\"\r\n2,{}\r\n3,{}\r\n", DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[2]);
    put("quoted.csv", quoted.as_bytes());
    put("head.csv", b"text\n");
    put("columns.csv", b"prompt,answer\nA,B\n");
    let inside: Vec<String> = DOCUMENTS.iter().map(|t| json!({"doc": {"text": t}}).to_string()).collect();
    put("inside.jsonl", inside.join("\n").as_bytes());
    put("nulls.jsonl", format!("{joined}\n{{\"text\": null}}\n{{\"url\": 1}}\n{{\"text\": 7}}\n").as_bytes());
    put("python.jsonl", joined.replace(r#""text""#, r#""score": NaN, "text""#).as_bytes());
    let utf16: Vec<u8> = "\u{feff}text".encode_utf16().flat_map(u16::to_le_bytes).collect();
    put("utf16.txt", &utf16);
    put("pointer.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
    let array = StringArray::from(DOCUMENTS.to_vec());
    let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    stream(&at.join("dictionary.arrow"), cast(&array, &kind).unwrap());
    file(&at.join("large.arrow"), "text", Arc::new(LargeStringArray::from(DOCUMENTS.to_vec())));
    stream(&at.join("view.arrow"), Arc::new(StringViewArray::from(DOCUMENTS.to_vec())));
    let field = Arc::new(arrow::datatypes::Field::new("text", DataType::Utf8, false));
    let column: ArrayRef = Arc::new(array);
    file(&at.join("structure.arrow"), "doc", Arc::new(StructArray::from(vec![(field, column)])));
    #[cfg(unix)]
    folder(at);
    put("tokens.jsonl", br#"{"input_ids": [40, 41, 42, -100, 43], "attention_mask": [1, 1, 0, 1, 1]}"#);
    put("fractions.jsonl", br#"{"input_ids": [40, 41.5]}"#);
    put("written.jsonl", br#"{"input_ids": "[40, 41, 42]"}"#);
    put("semicolons.csv", b"text;split\nThe first.;train\n");
    put("mask.jsonl", br#"{"input_ids": [40, 41], "attention_mask": [1]}"#);
    put("beyond.jsonl", br#"{"input_ids": [40, 1000000]}"#);
    put("chat.jsonl", br#"{"messages": [{"role": "user", "content": "Hi"}]}"#);
}

pub fn table(at: &Path) -> Table {
    inputs(at);
    let mut number = 0;
    let mut row = |what: &'static str, input: &str, harvest: Cell, score: Cell| {
        number += 1;
        let harvest_line = format!(
            "harvest --text {input} --hook blocks.0.hook_resid_post --held-out 0 --out text-{number}"
        );
        Row { what, cells: vec![(harvest_line, harvest), (format!("score --text {input}"), score)] }
    };
    let rows = |n: usize, more: &[&str]| {
        let own = [format!("rows       {n}\n")];
        Cell::Right("the right rows", own.into_iter().chain(more.iter().map(|s| (*s).to_owned())).collect())
    };
    let all = || rows(ROWS, &["documents  3,"]);
    let scored = || Cell::Right("the right tokens", vec![format!("{ROWS} tokens of 3 documents")]);
    let refused = |parts: &'static [&'static str]| (Cell::Refused(1, parts), Cell::Refused(1, parts));
    let mut made = vec![
        row("three documents in tidy JSON lines", "tidy.jsonl", all(), scored()),
        row("gzip, byte order mark, Windows line ends", "windows.jsonl.gz", all(), scored()),
        row("Zstandard frames one after another", "frames.jsonl.zst", all(), scored()),
        row("gzip members one after another", "members.jsonl.gz", all(), scored()),
        row("blank lines between records", "blank.jsonl", all(), scored()),
        row("`.json` with a list of objects", "list.json", all(), scored()),
        row("`NaN` in another field, as Python writes it", "python.jsonl", all(), scored()),
        row("CSV with quotes and Windows line ends", "quoted.csv", all(), scored()),
        row("Arrow stream of dictionary-encoded strings", "dictionary.arrow", all(), scored()),
        row("Arrow file of large strings", "large.arrow", all(), scored()),
        row("Arrow stream of string views", "view.arrow", all(), scored()),
        row("text inside a structure", "structure.arrow --text-column doc.text", all(), scored()),
        row("text inside an object", "inside.jsonl --text-column doc.text", all(), scored()),
        row(
            "null, a missing field and a number among texts",
            "nulls.jsonl",
            rows(ROWS, &["3 records have no text", "nulls.jsonl, record 4"]),
            scored(),
        ),
    ];
    #[cfg(unix)]
    made.push(row(
        "folder with `.git`, links in a circle, a link to nothing, an empty file, a name that is not UTF-8, a picture",
        "folder",
        rows(ROWS, &["picture.png"]),
        Cell::None,
    ));
    let tokens =
        Cell::Right("tokens that are neither masked nor negative", vec!["rows       3\n".to_owned()]);
    made.push(row("tokens with −100 and a mask", "tokens.jsonl", tokens, Cell::None));
    let cases: [(&'static str, &str, &'static [&'static str]); 11] = [
        ("gzip that ends too early", "cut.jsonl.gz", &["cut.jsonl.gz", "cannot be read to its end"]),
        ("JSON lines whose last line is cut", "cut.jsonl", &["cut.jsonl", "line 3"]),
        ("CSV without a column of text", "columns.csv", &["its fields are prompt, answer", "--text-column"]),
        ("text inside an object, not named", "inside.jsonl", &["its fields are doc", "OUTER.INNER"]),
        ("UTF-16", "utf16.txt", &["utf16.txt", "is UTF-16 text", "iconv"]),
        ("a pointer of Git LFS", "pointer.parquet", &["pointer.parquet", "git lfs pull"]),
        (
            "tokens that are fractions",
            "fractions.jsonl",
            &["`input_ids` is a list of something other than whole numbers"],
        ),
        ("tokens that were written as a text", "written.jsonl", &["`input_ids` is text"]),
        (
            "CSV whose fields are divided by semicolons",
            "semicolons.csv",
            &["its fields are text;split", "commas divide fields"],
        ),
        ("a mask of a different length", "mask.jsonl", &["`attention_mask` is not as long as the tokens"]),
        ("a name without an ending", "/dev/null", &["has a name without an ending"]),
    ];
    for (what, input, parts) in cases {
        let (harvest, score) = refused(parts);
        made.push(row(what, input, harvest, score));
    }
    made.push(row(
        "a token beyond the vocabulary",
        "beyond.jsonl",
        Cell::Refused(1, &["1000000", "vocabulary"]),
        Cell::Refused(2, &["holds tokens; expected text"]),
    ));
    let parts: &[&str] = &["standard input", "mkfifo"];
    made.push(row("standard input", "-", Cell::Refused(2, parts), Cell::Refused(2, parts)));
    made.push(row(
        "CSV with a heading alone",
        "head.csv",
        Cell::Refused(2, &["it has no documents"]),
        Cell::None,
    ));
    made.push(row(
        "chats, and a model without a template",
        "chat.jsonl",
        Cell::Refused(2, &["chats", "template"]),
        Cell::None,
    ));
    Table { title: "Text and tokens", columns: &["harvest", "score"], rows: made }
}
