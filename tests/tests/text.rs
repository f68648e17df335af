//! Text as people have it, from the files to the rows of a dataset.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use arrow::array::AsArray as _;
use arrow::datatypes::Float32Type;
use arrow::datatypes::{Float16Type, UInt32Type};
use storage::documents::DocumentRow;
use storage::schema::activations::ACTIVATION;
use storage::schema::{ACTIVATIONS, DOCUMENT, DOCUMENTS, POSITION, TOKEN};
use storage::{Dataset, column, documents};
use tests::sae;

const HOOK: &str = "--hook blocks.1.hook_resid_post --dtype f32";

/// Document, position and token of every row, and the activations one after another.
fn rows(folder: &Path) -> (Vec<[u32; 3]>, Vec<f32>) {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let table = Dataset::open(folder).unwrap().table(ACTIVATIONS).unwrap();
    for batch in table.columns(&[DOCUMENT, POSITION, TOKEN, ACTIVATION]).unwrap() {
        let batch = batch.unwrap();
        let columns =
            [DOCUMENT, POSITION, TOKEN].map(|name| column::primitive::<UInt32Type>(&batch, name).unwrap());
        keys.extend((0..batch.num_rows()).map(|i| columns.map(|column| column.value(i))));
        let vectors = batch.column_by_name(ACTIVATION).unwrap().as_fixed_size_list();
        assert!(vectors.values().as_primitive_opt::<Float16Type>().is_none());
        values.extend_from_slice(vectors.values().as_primitive::<Float32Type>().values());
    }
    (keys, values)
}

fn documents_of(folder: &Path) -> Vec<DocumentRow> {
    documents::read(&Dataset::open(folder).unwrap().table(DOCUMENTS).unwrap()).unwrap()
}

/// The embedded model as a folder, with this `tokenizer_config.json`.
fn model(folder: &Path, tokenizer_config: &serde_json::Value) {
    fs::create_dir(folder).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    put("config.json", lm::embedded::CONFIG);
    put("model.safetensors", lm::embedded::WEIGHTS);
    put("tokenizer.json", lm::embedded::TOKENIZER);
    put("tokenizer_config.json", tokenizer_config.to_string().as_bytes());
}

#[test]
fn the_begin_token_is_what_the_tokenizer_or_the_person_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = "It was a bright cold day in April.";
    fs::write(at.join("a.jsonl"), serde_json::json!({"text": text}).to_string()).unwrap();
    let own = serde_json::json!({"text": format!("<|endoftext|>{text}")});
    fs::write(at.join("own.jsonl"), own.to_string()).unwrap();
    model(&at.join("without"), &serde_json::json!({"add_bos_token": false, "bos_token": "<|endoftext|>"}));
    let harvest = |options: &str, out: &str| {
        sae(at, &format!("harvest {options} {HOOK} --out {out}")).ok();
        let bos = Dataset::open(&at.join(out)).unwrap().manifest().bos.clone().unwrap();
        (rows(&at.join(out)), bos.token)
    };
    let (default, token) = harvest("--text a.jsonl", "default");
    assert_eq!(token, Some(0));
    let (never, token) = harvest("--text a.jsonl --bos never", "never");
    assert_eq!(token, None);
    assert_eq!(default.0, never.0, "the begin token has no row");
    assert!(default.1 != never.1);
    assert_eq!(harvest("--model without --text a.jsonl", "folder"), (never, None));
    assert_eq!(harvest("--model without --text a.jsonl --bos always", "always"), (default.clone(), Some(0)));
    assert_eq!(harvest("--text own.jsonl", "own").0, default, "one begin token, not two");
    let (kept, _) = harvest("--text own.jsonl --bos never", "kept");
    assert_eq!((kept.0.len(), kept.0[0][2]), (default.0.len() + 1, 0), "a token as any other");
    let said = sae(at, &format!("harvest --text own.jsonl {HOOK} --out again")).ok().stderr;
    assert!(said.contains("begin token <|endoftext|>"), "{said}");
    sae(at, &format!("harvest --text a.jsonl --bos sometimes {HOOK} --out no"))
        .refused(2, &["sometimes", "never"]);
}

#[test]
fn tokens_and_special_tokens_are_what_the_files_say() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let lines = [
        serde_json::json!({"input_ids": [0, 40, 41, 42, -100]}),
        serde_json::json!({"input_ids": [1, 1, 50, 51, 0, 52], "attention_mask": [0, 0, 1, 1, 1, 1]}),
    ];
    fs::write(at.join("t.jsonl"), lines.map(|line| line.to_string()).join("\n")).unwrap();
    let line = format!("harvest --text t.jsonl {HOOK} --held-out 0");
    sae(at, &format!("{line} --out whole")).ok();
    let (keys, values) = rows(&at.join("whole"));
    let expected = [[0, 0, 40], [0, 1, 41], [0, 2, 42], [1, 0, 50], [1, 1, 51], [2, 0, 52]];
    assert_eq!(keys, expected);
    // A document that makes two sequences is counted as two in every shard.
    for shard in ["0/2", "1/2"] {
        sae(at, &format!("{line} --shard {shard} --out parts")).ok();
    }
    sae(at, "harvest --merge --out parts").ok();
    let (parts, part_values) = rows(&at.join("parts"));
    assert_eq!(parts, expected);
    assert!(values.iter().zip(&part_values).all(|(a, b)| (a - b).abs() <= 1e-4 * (1.0 + a.abs())));
    fs::write(at.join("far.jsonl"), r#"{"input_ids": [40, 1000000]}"#).unwrap();
    sae(at, &format!("harvest --text far.jsonl {HOOK} --out far")).refused(1, &["1000000", "vocabulary"]);
    fs::write(at.join("s.jsonl"), r#"{"text": "the string <|endoftext|> ends a document"}"#).unwrap();
    let said = sae(at, &format!("harvest --text s.jsonl {HOOK} --out special")).ok().stderr;
    assert!(said.contains("<|endoftext|> 1×"), "{said}");
}

#[test]
fn of_chats_the_rows_of_a_role_are_kept_and_the_model_sees_all() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let template =
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'].strip() }}\n{% endfor %}";
    let config =
        serde_json::json!({"add_bos_token": true, "bos_token": "<|endoftext|>", "chat_template": template});
    model(&at.join("m"), &config);
    let chat = serde_json::json!({"messages": [
        {"role": "user", "content": "What is copper? "},
        {"role": "assistant", "content": "A soft metal."}]});
    fs::write(at.join("c.jsonl"), format!("{chat}\n")).unwrap();
    let written = serde_json::json!({"text": "[user] What is copper?\n[assistant] A soft metal.\n"});
    fs::write(at.join("w.jsonl"), written.to_string()).unwrap();
    for (text, out) in [("c.jsonl", "chat"), ("w.jsonl", "written"), ("c.jsonl --roles assistant", "some")] {
        sae(at, &format!("harvest --model m --text {text} {HOOK} --out {out}")).ok();
    }
    let (chat, written, some) = (rows(&at.join("chat")), rows(&at.join("written")), rows(&at.join("some")));
    assert_eq!(chat, written);
    let d = chat.1.len() / chat.0.len();
    let kept: Vec<usize> = (0..chat.0.len()).filter(|&i| some.0.contains(&chat.0[i])).collect();
    assert_eq!(kept.len(), some.0.len());
    assert!(!kept.is_empty() && kept.len() < chat.0.len());
    let values: Vec<f32> = kept.iter().flat_map(|i| chat.1[i * d..(i + 1) * d].to_vec()).collect();
    assert_eq!(values, some.1, "the model saw what the user said");
    assert_eq!(documents_of(&at.join("some"))[0].tokens as usize, kept.len());
    let said = sae(at, "harvest --text c.jsonl --hook blocks.1.hook_resid_post --out no");
    said.refused(2, &["chats", "template"]);
    let nobody = sae(at, &format!("harvest --model m --text c.jsonl --roles asistant {HOOK} --out no"));
    nobody.refused(2, &["1 chats have no message of the role asistant"]);
    assert!(!at.join("no").exists());
}

#[test]
fn one_text_is_held_out_in_part_and_what_is_skipped_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let book: String = (0..2000).map(|i| format!("Chapter {i} tells of the river and the mill.\n")).collect();
    fs::write(at.join("book.txt"), book).unwrap();
    sae(at, &format!("harvest --text book.txt --tokens 3000 {HOOK} --out book")).ok();
    let book = documents_of(&at.join("book"));
    let held_out: u32 = book.iter().filter(|d| d.held_out).map(|d| d.tokens).sum();
    assert!((100..1500).contains(&held_out), "{book:?}");
    assert_eq!(book.iter().map(|d| d.tokens).sum::<u32>(), 3000);
    let lines = "{\"text\": \"one\"}\n{\"text\": null}\n{\"url\": 1}\n";
    fs::create_dir(at.join("folder")).unwrap();
    fs::write(at.join("folder/a.jsonl"), lines).unwrap();
    fs::write(at.join("folder/b.pdf"), "no").unwrap();
    let said = sae(at, &format!("harvest --text folder {HOOK} --out folder-data")).ok().stderr;
    for part in ["1 .jsonl", "b.pdf", "2 records have no text", "record 2"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_limit_on_tokens_leaves_rows_to_train_on_and_says_what_was_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("text")).unwrap();
    let lines = |n: usize| -> String {
        (0..n)
            .map(|i| {
                serde_json::json!({"text": format!("The {i}th ship was at sea that day.")}).to_string() + "\n"
            })
            .collect()
    };
    for (name, n) in [("test.jsonl", 200), ("train-0.jsonl", 400), ("train-1.jsonl", 400)] {
        fs::write(at.join("text").join(name), lines(n)).unwrap();
    }
    let ended = sae(at, &format!("harvest --text text --tokens 900 {HOOK} --out data")).ok();
    let found = documents_of(&at.join("data"));
    let aside = found.iter().filter(|row| row.held_out).count();
    assert!(aside > found.len() / 8 && aside < found.len() / 3, "{aside} of {} are held out", found.len());
    assert!(found.iter().all(|row| row.source != "train-1.jsonl"));
    assert!(ended.stderr.contains("1 file was not read: train-1.jsonl"), "{}", ended.stderr);
    // The same rows from shards.
    for i in 0..2 {
        sae(at, &format!("harvest --text text --tokens 900 {HOOK} --shard {i}/2 --out parts")).ok();
    }
    sae(at, "harvest --merge --out parts").ok();
    assert_eq!(rows(&at.join("parts")), rows(&at.join("data")));
}
