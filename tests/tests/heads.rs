//! A dictionary of attention heads as a user makes it, on a small text and the embedded model: harvest, train, index.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use sae::dictionary::Dictionary;
use serde_json::Value;
use storage::attention::{AttributionRow, HeadsRow, read};
use storage::examples::{self, ExampleRow};
use storage::{Dataset, Run};
use tests::{sae, small_text};

const FEATURES: u32 = 96;
/// Of the embedded model.
const HEADS: usize = 4;

#[test]
fn heads_and_sources_of_a_dictionary_at_hook_z() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 12);
    let harvest = "harvest --model default --text text --hook blocks.1.attn.hook_z --out data --json";
    sae(at, harvest).ok();
    let train = format!(
        "train --data data --d-sae {FEATURES} --k 8 --batch 256 --tokens 4000 --seed 3 --out run --json"
    );
    sae(at, &train).ok();

    let json = sae(at, "index run --json").ok().json();
    assert_eq!(json["heads"], HEADS);
    assert!(json["attribution"].as_str().unwrap().contains("at most 64 tokens"), "{json:#}");
    let (run, data) = (Run::open(&at.join("run")).unwrap(), Dataset::open(&at.join("data")).unwrap());
    shares_are_those_of_the_decoder(&run);
    let rows = sources(&run);
    assert_eq!(json["attributed"], rows.len());
    assert!(rows.len() > 200, "{}", rows.len());
    rows_belong_to_examples(&run, &rows, usize::MAX);
    parts_are_the_example(&run, &data, &rows);

    fewer_or_none(at, &run);
}

fn shares_are_those_of_the_decoder(run: &Run) {
    let dictionary = Dictionary::load(run.dir()).unwrap();
    let table = run.heads().unwrap().unwrap();
    let width = dictionary.d_in / HEADS;
    for feature in 0..FEATURES {
        let [HeadsRow { norms, shares, .. }] = &read::<HeadsRow>(&table, feature).unwrap()[..] else {
            panic!("one row of feature {feature}")
        };
        let row = dictionary.decoder_row(feature as usize);
        assert_eq!((norms.len(), shares.len()), (HEADS, HEADS));
        for head in 0..HEADS {
            let norm = row[head * width..(head + 1) * width].iter().map(|w| w * w).sum::<f32>().sqrt();
            assert!((norms[head] - norm).abs() < 1e-5, "feature {feature}, head {head}");
            assert!((shares[head] - norm / norms.iter().sum::<f32>()).abs() < 1e-5);
        }
    }
}

fn sources(run: &Run) -> Vec<AttributionRow> {
    let table = run.attribution().unwrap().unwrap();
    (0..FEATURES).flat_map(|feature| read::<AttributionRow>(&table, feature).unwrap()).collect()
}

/// The strongest examples of every feature, the first `most` of them, and nothing else.
fn rows_belong_to_examples(run: &Run, rows: &[AttributionRow], most: usize) {
    let table = run.examples().unwrap().unwrap();
    let examples = (0..FEATURES).flat_map(|feature| examples::read(&table, feature).unwrap());
    let expected: Vec<_> = examples
        .filter(|example| example.interval == 0 && usize::from(example.rank) < most)
        .map(|example| (example.feature, example.rank, example.document, example.position))
        .collect();
    let found: Vec<_> = rows.iter().map(|row| (row.feature, row.rank, row.document, row.position)).collect();
    assert_eq!(found, expected);
}

/// Sums are the example's value, and sources are tokens of the text, before the example and in its context.
fn parts_are_the_example(run: &Run, data: &Dataset, rows: &[AttributionRow]) {
    let table = run.examples().unwrap().unwrap();
    let mut values = BTreeMap::new();
    for ExampleRow { feature, interval, rank, value, .. } in
        (0..FEATURES).flat_map(|feature| examples::read(&table, feature).unwrap())
    {
        values.insert((feature, interval, rank), value);
    }
    let context = data.manifest().context_length as u32;
    let mut far = 0;
    for row in rows {
        let value = values[&(row.feature, 0, row.rank)];
        // The dataset holds f16.
        assert!((row.pre_activation - value).abs() < 5e-3 * (1.0 + value), "{row:?}, value {value}");
        let sources = row.values.iter().sum::<f32>() + row.rest + row.bos.unwrap() + row.constant;
        let heads = row.heads.iter().sum::<f32>() + row.constant;
        for sum in [sources, heads] {
            assert!((sum - row.pre_activation).abs() < 1e-3 * (1.0 + value), "{row:?}: {sum}");
        }
        assert_eq!(row.start, row.position / (context - 1) * (context - 1));
        assert!(row.sources.iter().all(|source| (row.start..=row.position).contains(source)), "{row:?}");
        assert_eq!(row.heads.len(), HEADS);
        far += u32::from(row.start > 0);
    }
    assert!(far > 0, "no example lies in a later context of its document");
}

fn fewer_or_none(at: &Path, run: &Run) {
    let said = sae(at, "index run --sources-of 2").ok().stdout;
    assert!(said.contains("heads") && said.contains("sources"), "{said}");
    rows_belong_to_examples(run, &sources(run), 2);

    let json = sae(at, "index run --sources-of 0 --json").ok().json();
    assert_eq!((&json["heads"], &json["attributed"]), (&HEADS.into(), &0.into()));
    assert!(run.heads().unwrap().is_some() && run.attribution().unwrap().is_none());

    let json = sae(at, "index run --no-model --json").ok().json();
    assert_eq!((&json["heads"], &json["attributed"]), (&0.into(), &0.into()));
    assert!(json["attribution"].as_str().unwrap().contains("no model"), "{json:#}");
    assert!(run.heads().unwrap().is_none() && run.attribution().unwrap().is_none());

    sae(at, "harvest --model default --text text --hook blocks.1.hook_attn_out --out out --json").ok();
    sae(at, "train --data out --d-sae 32 --k 4 --batch 256 --tokens 1000 --out behind --json").ok();
    let json = sae(at, "index behind --json").ok().json();
    assert_eq!((&json["heads"], &json["attribution"]), (&0.into(), &Value::Null));
    assert!(Run::open(&at.join("behind")).unwrap().heads().unwrap().is_none());
}
