//! What the check says of dictionaries that have nothing to do with the rows: those of the golden folders, whose weights are random.

use std::collections::BTreeMap;
use std::path::Path;

use sae::interop::dictionaries::{Content, open_path};
use serde_json::Value;
use storage::check::Judgement;
use tests::sae;

use crate::made::{D, HOOK, called, checked, data, documented, imported_as, rows, table};

#[path = "../../../sae/tests/dictionaries/mod.rs"]
mod folders;

/// Width of the golden dictionaries.
const WIDTH: usize = 6;

/// The rows that a golden folder has with it.
fn own_rows(folder: &Path) -> Option<Vec<f32>> {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let row = |row: &Value| -> Option<Vec<f32>> {
        row.as_array()?.iter().map(|x| x.as_f64().map(|x| x as f32)).collect()
    };
    let rows: Option<Vec<Vec<f32>>> = expected["x"].as_array()?.iter().map(row).collect();
    Some(rows?.concat())
}

/// On six components of real rows, and on the few random rows that each has with it.
#[test]
fn random_dictionaries_of_all_formats_belong_to_nothing() {
    let at = tempfile::tempdir().unwrap();
    let whole = rows(&data(HOOK));
    let narrow: Vec<f32> = whole.chunks_exact(D).flat_map(|row| row[..WIDTH].to_vec()).collect();
    let narrow = imported_as(at.path(), "narrow", &narrow, WIDTH, None);
    let mut verdicts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (number, folder) in folders::folders().into_iter().enumerate() {
        let source = folders::place(&folder);
        let content = open_path(&source).unwrap().content;
        // Sets and cross-layer transcoders are of several hooks, and a dataset is of one: that is an error.
        let Content::Dictionary(dictionary) = content else { continue };
        let kind = if dictionary.target.is_some() { "transcoder" } else { "SAE" };
        let own = own_rows(&folder).unwrap();
        let name = format!("own{number}");
        imported_as(at.path(), &name, &own, WIDTH, None);
        // All four rows, none held out.
        sae(at.path(), &format!("import {name}.npy --held-out 0 --out all{number} --dtype f32")).ok();
        let own = at.path().join(format!("all{number}"));
        for (name, data) in
            [("six components of a model's rows", &narrow), ("its own four random rows", &own)]
        {
            let check = checked(&source, Some(data));
            let expected = if dictionary.target.is_some() { "not measured" } else { "does not belong" };
            let verdict = called(check.judgement);
            println!("{}, {name}: {verdict}: {}", folder.display(), check.verdict);
            assert_ne!(check.judgement, Judgement::Fits, "{}: {}", folder.display(), table(&check));
            assert!(check.remedy.is_some(), "{expected}: {}", table(&check));
            *verdicts
                .entry((kind, if verdict == expected { verdict } else { "misread, or weak" }))
                .or_default() += 1;
        }
    }
    println!("{verdicts:?}");
    let lines = verdicts.iter().map(|((kind, verdict), n)| format!("| {kind} | {verdict} | {n} |\n"));
    let text = "| kind | verdict | checks |\n|---|---|---|\n".to_owned() + &lines.collect::<String>();
    documented("tests/tests/check/golden.rs", &text);
}
