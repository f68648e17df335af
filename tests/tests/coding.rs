//! Blocks of features, shrinkages, similar tokens, sparse coding and fields as a user asks for them.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use sae::dictionary::{Dictionary, Selection};
use serde_json::Value;
use tests::sae;

/// A small world, and rows of it to train on.
fn world(dir: &Path) {
    sae(dir, "synth make --features 48 --d-model 24 --roots 6 --branching 2 --depth 1 --out world").ok();
    sae(dir, "synth rows world --rows 60000 --out data").ok();
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[test]
fn blocks_are_trained_scored_and_exported_nowhere_that_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    world(dir);
    let train = "train --data data --method winner-take-all --d-sae 48 --k 6 --learning-rate 3e-3 --tokens 120000 --batch 512";
    sae(dir, &format!("{train} --blocks 5 --out no")).refused(2, &["blocks is 5", "d_sae = 48"]);
    sae(dir, &format!("{train} --blocks 4 --out no")).refused(2, &["k is 6 in 4 blocks"]);
    sae(dir, &format!("{train} --k-start 12 --out no"))
        .refused(2, &["k_start has no meaning for method block-choice"]);
    let trained = sae(dir, &format!("{train} --out blocks --json")).ok().json();
    // 6 blocks of 8, one winner each: 8⁶ codes.
    assert!((number(&trained["capacity_bits"][0]) - 18.0).abs() < 1e-9, "{trained}");
    assert!(number(&trained["capacity_bits"][1]) > 23.0 && number(&trained["l0"]) <= 6.0, "{trained}");
    let text = sae(dir, "train --out blocks --resume").ok();
    assert!(text.stdout.contains("2^18.0 codes"), "{text}");
    let dictionary = Dictionary::load(&dir.join("blocks")).unwrap();
    assert!(
        matches!(dictionary.selection, Selection::BlockTopK(blocks) if (blocks.count, blocks.k) == (6, 6))
    );
    let score = sae(dir, "synth score blocks --rows 5000 --json").ok().json();
    assert!(number(&score["score"]["f1"]).max(number(&score["f1"])) > 0.2, "{score}");
    sae(dir, "evaluate blocks --no-model --tokens 2000").ok();
    for format in ["saelens", "sparsify", "dictionary-learning"] {
        let out = format!("export blocks --to {format} --out out/{format}");
        sae(dir, &out).refused(2, &["no blocks of features", "html"]);
    }
}

#[test]
fn shrinkages_are_trained_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    world(dir);
    sae(dir, "train --data data --method topk --activation half --out no")
        .refused(2, &["activation has no meaning"]);
    for activation in ["soft", "hard", "half", "firm", "log-sum"] {
        let line = format!(
            "train --data data --method shrinkage --activation {activation} --d-sae 48 --learning-rate 3e-3 --tokens 120000 --batch 512 --out {activation} --json"
        );
        let trained = sae(dir, &line).ok().json();
        assert!(number(&trained["fve"]) > 0.5 && number(&trained["l0"]) < 24.0, "{activation}: {trained}");
        let dictionary = Dictionary::load(&dir.join(activation)).unwrap();
        assert!(
            matches!(dictionary.selection, Selection::Shrunk(shrunk) if shrunk.kind.name() == activation)
        );
        // On disk it is for raw rows: held-out rows are explained as training rows were.
        let core = sae(dir, &format!("evaluate {activation} --no-model --tokens 2000 --json")).ok().json();
        let difference = number(&core["fve"]) - number(&trained["fve"]);
        assert!(difference.abs() < 0.05, "{activation}: {trained}, on held-out rows {core}");
    }
    sae(dir, "export half --to saelens --out out").refused(2, &["no half shrinkage"]);
}

/// Every row and option of docs/methods.md: trained, evaluated on held-out rows by the dictionary on disk, indexed and exported, or
/// refused.
#[test]
fn scores_pursuits_corrections_and_whitening_are_trained_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    world(dir);
    let signed = Some("codes above zero");
    let cosine = Some("no score that is part cosine");
    let refined = Some("no encoder that corrects");
    for (name, options, index, saelens) in [
        ("abs", "--method abs-topk", signed, None),
        ("cosine", "--method cosine", None, cosine),
        ("shared", "--method cosine-mutual --cosine-alpha shared", None, cosine),
        ("pursuit", "--method matching-pursuit", None, None),
        ("aligned", "--method batch-topk --align-encoder", None, None),
        ("lista", "--method topk --lista-step 0.3", None, refined),
        ("tilted", "--method topk --tilt 0.01", None, None),
        ("whitened", "--method batch-topk --input-normalisation whiten", None, None),
        (
            "recipe",
            "--method matryoshka --detach-widths --sort-widths --tilt 0.002 --lista-step 0.3 --k-start 12",
            None,
            refined,
        ),
    ] {
        let train = "train --data data --d-sae 48 --k 6 --learning-rate 3e-3 --tokens 120000 --batch 512";
        let trained = sae(dir, &format!("{train} {options} --out {name} --json")).ok().json();
        assert!(number(&trained["fve"]) > 0.3, "{name}: {trained}");
        let core = sae(dir, &format!("evaluate {name} --no-model --tokens 2000 --json")).ok().json();
        if name != "whitened" {
            let difference = number(&core["fve"]) - number(&trained["fve"]);
            assert!(difference.abs() < 0.06, "{name}: {trained}, on held-out rows {core}");
        }
        let l0 = number(&core["l0"]);
        assert!(l0 > 2.0 && l0 < 7.5, "{name}: {core}");
        sae(dir, &format!("synth score {name} --rows 5000")).ok();
        match index {
            Some(why) => sae(dir, &format!("index {name}")).refused(2, &[why]),
            None => drop(sae(dir, &format!("index {name}")).ok()),
        }
        let export = sae(dir, &format!("export {name} --to saelens --out out/{name}"));
        match saelens {
            Some(why) => export.refused(2, &[why, "html"]),
            None => drop(export.ok()),
        }
        let config = std::fs::read_to_string(dir.join(name).join("cfg.json")).unwrap();
        assert_eq!(config.contains("folded into the weights"), name == "whitened", "{config}");
    }
    let loaded = |name: &str| Dictionary::load(&dir.join(name)).unwrap();
    assert!(matches!(loaded("out/abs").selection, Selection::AbsTopK(6)));
    let Selection::MatchingPursuit { max_iterations, .. } = loaded("out/pursuit").selection else {
        panic!("{:?}", loaded("out/pursuit").selection)
    };
    assert_eq!(max_iterations, Some(6));
    sae(dir, "export cosine --to sparsify --out out/no").refused(2, &["no score that is part cosine"]);
}

#[test]
fn codes_of_either_sign_are_split_and_codes_are_pruned_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    world(dir);
    let train = "train --data data --d-sae 48 --k 6 --learning-rate 3e-3 --tokens 120000 --batch 512";
    sae(dir, &format!("{train} --method abs-topk --out abs")).ok();
    sae(dir, &format!("{train} --method topk --out topk")).ok();
    sae(dir, &format!("{train} --method cosine --out cosine")).ok();
    let fve = |run: &str, options: &str| {
        let found =
            sae(dir, &format!("evaluate {run} --no-model --tokens 2000 {options} --json")).ok().json();
        let measured = if options.is_empty() { &found } else { &found["pruned"][0] };
        (number(&measured["fve"]), number(&measured["l0"]))
    };
    // Each side of a feature is a feature, and what needed codes above zero works.
    sae(dir, "index abs").refused(2, &["codes above zero", "--split-signs"]);
    sae(dir, "import dictionary topk --split-signs --out no").refused(2, &["topk", "have one"]);
    sae(dir, "import dictionary abs --split-signs --out sides").ok();
    assert_eq!(Dictionary::load(&dir.join("sides")).unwrap().d_sae, 96);
    let (before, after) = (fve("abs", ""), fve("sides", ""));
    assert!((before.0 - after.0).abs() < 1e-6 && (before.1 - after.1).abs() < 1e-9, "{before:?} {after:?}");
    sae(dir, "index sides").ok();
    sae(dir, "audit sides --tokens 200").ok();
    // What pruning costs for a moment it costs for good.
    sae(dir, "import dictionary topk --prune --out pruned").ok();
    let (asked, built_in) = (fve("topk", "--prune"), fve("pruned", ""));
    assert!(
        (asked.0 - built_in.0).abs() < 1e-6 && (asked.1 - built_in.1).abs() < 1e-9,
        "{asked:?} {built_in:?}"
    );
    assert!(built_in.1 < fve("topk", "").1);
    sae(dir, "index pruned").ok();
    sae(dir, "evaluate pruned --no-model --prune").refused(2, &["prunes its codes already"]);
    sae(dir, "export pruned --to saelens --out out").refused(2, &["no codes that are pruned"]);
    assert!(sae(dir, "inspect pruned").ok().stdout.contains("leave-one-out, below"));
    // What a run by batches had in training goes with it, so that its thresholds are not taken for a mistake.
    sae(dir, &format!("{train} --method batch-topk --out batches")).ok();
    sae(dir, "import dictionary batches --prune --out fewer").ok();
    let thresholds = |run: &str| storage::RunRecord::read(&dir.join(run)).unwrap().thresholds;
    assert!(thresholds("batches").is_some() && thresholds("batches") == thresholds("fewer"));
    // All α begin at one half.
    let check = sae(dir, "check cosine --json").ok().json();
    let tenths: Vec<f64> = check["alpha_tenths"].as_array().unwrap().iter().map(number).collect();
    assert_eq!((tenths.len(), tenths.iter().sum::<f64>()), (10, 48.0), "{check}");
    assert!(tenths[2..8].iter().sum::<f64>() > 40.0, "{check}");
}

#[test]
fn similar_tokens_are_found_of_one_token_and_of_many() {
    let copied = fixtures::copy(fixtures::sample());
    let dir = &copied.path();
    sae(dir, "similar topk --at 0").refused(2, &["DOCUMENT:POSITION"]);
    sae(dir, "similar topk").refused(2, &["--at", "--sample"]);
    let found = sae(dir, "similar topk --at 0:3 --limit 5 --json").ok().json();
    let similar = &found["similar"];
    for list in ["by_shared", "by_jaccard", "by_weighted", "by_activation"] {
        let list = similar[list].as_array().unwrap();
        assert_eq!(list.len(), 5, "{found}");
        let scores: Vec<f64> = list.iter().map(|one| number(&one["score"])).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert!(list.iter().all(|one| one["token"].as_str().is_some_and(|token| !token.is_empty())));
    }
    let text = sae(dir, "similar topk --at 0:3 --by weighted").ok();
    assert!(text.stdout.contains("weighted Jaccard") && text.stdout.contains("overlap@10"), "{text}");
    let many = sae(dir, "similar topk --sample 20 --seed 3 --json").ok().json();
    assert_eq!(many["agreement"].as_array().unwrap().len(), 3);
    assert_eq!(many["agreement"][1]["queries"], 20);
}

#[test]
fn pictures_are_coded_and_their_fields_measured() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::create_dir(dir.join("pictures")).unwrap();
    for i in 0..3_u32 {
        // Stripes in three directions.
        let stripes = image::GrayImage::from_fn(120, 120, |x, y| {
            let along = [x, y, x + y][i as usize] + (x / 40) * 3;
            image::Luma([if along % 12 < 6 { 60 + (x % 7) as u8 } else { 190 + (y % 5) as u8 }])
        });
        stripes.save(dir.join(format!("pictures/{i}.png"))).unwrap();
    }
    sae(dir, "import --images pictures --patch 8 --patches 3000 --out patches").ok();
    let line = "sparse-code --penalty half --data patches --units 32 --l0 4 --steps 40 --batch 128";
    let coded = sae(dir, &format!("{line} --out half --json")).ok().json();
    assert!(number(&coded["held_out"]["fve"]) > 0.3, "{coded}");
    sae(dir, &format!("{line} --out half")).refused(2, &["is there already"]);
    sae(dir, &format!("{line} --lambda 1 --out no")).refused(2, &["--lambda"]);
    let fields = sae(dir, "fields half --sort frequency --json").ok().json();
    assert_eq!(fields["fields"]["features"], 32);
    assert!(image::open(dir.join("half/fields/fields.png")).unwrap().width() > 100);
}
