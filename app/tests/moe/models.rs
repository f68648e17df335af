//! Language models that were trained here, in the window.

use std::path::{Path, PathBuf};

use app::address::Place;
use app::shell::Options;
use common::{click, options, wait_for, wait_for_part, window};
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;
use lm::Quiet;
use lm::pretrain::{Kind, PretrainConfig};
use lm::progress::StopAfter;

use super::common;

/// A small model in the folder, of a text of two domains with held-out documents.
fn train(at: &Path, name: &str, kind: Kind, progress: &mut dyn lm::Progress) -> lm::Result<PathBuf> {
    let text = at.join("text");
    std::fs::create_dir_all(&text).unwrap();
    let line = |i: usize, part: &str| {
        let (domain, said) = [("sea", "the ships were at sea"), ("court", "the court held the seas")][i % 2];
        format!("{{\"text\": \"{} {part}\", \"domain\": \"{domain}\"}}\n", format!("{said}. ").repeat(20))
    };
    for (part, n) in [("train", 20), ("test", 4)] {
        let lines: String = (0..n).map(|i| line(i, part)).collect();
        std::fs::write(text.join(format!("{part}.jsonl")), lines).unwrap();
    }
    let config = PretrainConfig {
        text: vec![text],
        tokens: 1500,
        vocab_size: 512,
        d_model: 16,
        layers: 2,
        heads: 2,
        experts: 4,
        expert_width: 8,
        context_length: 32,
        batch_rows: 4,
        checkpoint_every: 2,
        log_every: 1,
        ..PretrainConfig::of(kind)
    };
    let out = at.join(name);
    lm::pretrain::run(&config, &out, false, progress)?;
    Ok(out)
}

#[test]
fn a_model_s_training_is_shown_as_its_files_have_it_next_to_that_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let evo = train(dir.path(), "evo", Kind::EvoMoe, &mut Quiet).unwrap();
    let dense = train(dir.path(), "dense", Kind::Dense, &mut Quiet).unwrap();
    let log = |model: &Path| storage::pretraining::read(model).unwrap();
    let (last, dense_last) = (log(&evo).pop().unwrap(), log(&dense).pop().unwrap());
    let record = |model: &Path| storage::pretraining::Pretraining::read(model).unwrap().unwrap().result;
    let place = Some(Place::Model { model: evo.clone() });
    let mut window = window(Options { folder: Some(dir.path().into()), place, ..options() });
    wait_for_part(&mut window, "evo-moe · ");
    wait_for_part(&mut window, &format!("tokens in {} steps", record(&evo).steps));
    // Values at the charts are the last logged ones.
    let value = |value: f32| app::words::format::value(f64::from(value));
    wait_for(&mut window, &format!("Cross-entropy of evo: {}", value(last.loss)));
    wait_for(&mut window, &format!("Entropy of the router of evo: {}", value(last.router_entropy.unwrap())));
    wait_for(&mut window, &format!("Gradient of evo: {}", value(last.gradient_norm)));
    for domain in ["sea", "court"] {
        wait_for(&mut window, domain);
        wait_for(&mut window, &format!("{:.3}", record(&evo).held_out[domain].bits_per_byte));
    }
    // The other one has no router.
    click(&mut window, "Draw dense");
    wait_for(&mut window, &format!("Cross-entropy of dense: {}", value(dense_last.loss)));
    wait_for(&mut window, &format!("{:.3}", record(&dense).held_out["sea"].bits_per_byte));
    wait_for(&mut window, &format!("Temperature of dense: {}", app::words::format::MISSING));
    // Its own page, from the tree.
    window.get_by_role_and_label(Role::TreeItem, "dense").click();
    wait_for_part(&mut window, "dense · ");
    assert!(window.query_by_label_contains("Entropy of the router of").is_none());
}

#[test]
fn a_training_that_was_stopped_says_so_and_shows_what_was_logged() {
    let dir = tempfile::tempdir().unwrap();
    train(dir.path(), "stopped", Kind::TopK, &mut StopAfter::new(4)).unwrap_err();
    let model = dir.path().join("stopped");
    let rows = storage::pretraining::read(&model).unwrap();
    assert!(!rows.is_empty() && !model.join("pretrain.json").exists());
    let mut window = window(Options { folder: Some(dir.path().into()), place: None, ..options() });
    // The only thing of the folder is what it opens with.
    wait_for_part(&mut window, "The training has not ended");
    let loss = app::words::format::value(f64::from(rows.last().unwrap().loss));
    wait_for(&mut window, &format!("Cross-entropy of stopped: {loss}"));
}
