//! A large mixture: 48 layers of 128 experts. What is drawn is what is seen.

use app::address::Place;
use app::shell::Options;
use app::widgets::format::grouped;
use egui_kittest::kittest::Queryable as _;
use lm::model::{LanguageModel, ModelSource};
use lm::pretrain::{Kind, PretrainConfig};
use sae::Quiet;
use sae::harvest::HarvestConfig;
use storage::experts::{BalanceRow, ExpertLoadRow, PairRow, TransitionRow, VocabularyRow};

use super::common::{click, options, wait_for, wait_for_part, window};

/// A number in 0..1 that depends on `a` and `b` alone.
fn chance(a: u64, b: u64) -> f64 {
    let mut x = (a << 20 | b).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    (x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / (1u64 << 53) as f64
}

const LAYERS: u16 = 48;
const EXPERTS: u32 = 128;

fn tables(dir: &std::path::Path) {
    std::fs::create_dir_all(dir).unwrap();
    let (mut load, mut layers, mut pairs, mut transitions, mut words) =
        (vec![], vec![], vec![], vec![], vec![]);
    for layer in 0..LAYERS {
        for expert in 0..EXPERTS {
            let share = 2.0 * chance(layer.into(), expert.into()) / f64::from(EXPERTS);
            let tokens = (share * 8e6) as u64;
            load.push(ExpertLoadRow {
                layer,
                expert,
                tokens,
                share,
                weight: 0.1,
                ..ExpertLoadRow::default()
            });
        }
        layers.push(BalanceRow {
            layer,
            experts: EXPERTS,
            k: Some(8),
            tokens: Some(1_000_000),
            ..BalanceRow::default()
        });
    }
    for a in 0..EXPERTS {
        for b in 0..EXPERTS {
            let count = (chance(a.into(), b.into()) * 1e4) as u64;
            if a < b {
                pairs.push(PairRow {
                    a,
                    b,
                    count,
                    lift: Some(0.5 + chance(a.into(), 7)),
                    ..PairRow::default()
                });
            }
            let to = TransitionRow { next_layer: 1, from: a, to: b, count, ..TransitionRow::default() };
            transitions.push(TransitionRow { probability: Some(0.01), lift: Some(1.2), ..to });
        }
        for i in 0..64u32 {
            let rank = Some(i);
            words.push(VocabularyRow {
                expert: a,
                token: 5 + i,
                count: 10,
                tokens: 20,
                share: 0.5,
                lift: 2.0,
                rank_by_count: rank,
                rank_by_lift: rank,
                layer: 0,
            });
        }
    }
    storage::experts::write_load(&dir.join("load.parquet"), &load).unwrap();
    storage::row::write(&dir.join("balance.parquet"), &layers).unwrap();
    storage::row::write(&dir.join("pairs.parquet"), &pairs).unwrap();
    storage::row::write(&dir.join("transitions.parquet"), &transitions).unwrap();
    storage::row::write(&dir.join("vocabulary.parquet"), &words).unwrap();
    storage::row::write::<storage::experts::SpecialisationRow>(&dir.join("specialisation.parquet"), &[])
        .unwrap();
    storage::row::write::<storage::experts::InformationRow>(&dir.join("information.parquet"), &[]).unwrap();
}

/// Milliseconds of a frame, the median of some.
fn frame(window: &mut super::Window) -> f64 {
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let start = std::time::Instant::now();
            window.step();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[10]
}

#[test]
fn forty_eight_layers_of_128_experts_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("wide");
    fixtures::uncounted_data(&data);
    tables(&data.join("experts"));
    let place = Some(Place::Experts { dataset: data });
    let mut window = window(Options { folder: Some(dir.path().into()), place, ..options() });
    wait_for(&mut window, "Expert load of 48 layers and 128 experts");
    println!("load: {:.2} ms a frame", frame(&mut window));
    for (page, there) in [
        ("Co-activation", "Co-activation of 128 experts of layer 0"),
        ("Transitions", "Transitions from layer 0 to layer 1"),
        ("Vocabulary", "Go to expert 0:0"),
    ] {
        click(&mut window, page);
        wait_for(&mut window, there);
        println!("{page}: {:.2} ms a frame", frame(&mut window));
    }
    // Of 128 lines those on the screen are drawn.
    let lines = window.query_all_by_label_contains("Go to expert 0:").count();
    assert!((10..60).contains(&lines), "{lines} lines are drawn");
    click(&mut window, "Domains");
    wait_for(&mut window, "No domains");
    wait_for_part(&mut window, "of no kind");
}

/// A layer of as many experts as a published Monet has, more than 16 bits can number: trained for a moment, harvested, counted and looked at.
#[test]
fn a_layer_of_262_144_experts_is_listed_and_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (text, model, data) =
        (dir.path().join("text.txt"), dir.path().join("model"), dir.path().join("data"));
    std::fs::write(&text, "the court held that the ships were at sea. ".repeat(300)).unwrap();
    let config = PretrainConfig {
        text: vec![text.clone()],
        tokens: 256,
        vocab_size: 512,
        d_model: 16,
        layers: 1,
        heads: 1,
        experts: 262_144,
        expert_width: 8,
        router_heads: 1,
        context_length: 32,
        batch_rows: 4,
        ..PretrainConfig::of(Kind::MonetVertical)
    };
    lm::pretrain::run(&config, &model, false, &mut Quiet).unwrap();
    let source = ModelSource::Folder(model);
    let model = LanguageModel::load(&source).unwrap();
    let hooks = vec!["blocks.0.hook_resid_post".parse().unwrap()];
    let config = HarvestConfig {
        model: source,
        text: vec![text],
        routing: true,
        tokens: Some(2000),
        hooks,
        ..HarvestConfig::default()
    };
    sae::harvest::run(&config, &model, &data, &mut Quiet).unwrap();
    let counted = sae::experts::summarise(&data, &mut Quiet).unwrap();
    let most = counted.load.iter().filter(|row| row.domain.is_none()).max_by_key(|row| row.tokens).unwrap();
    let last = counted.load.iter().rev().find(|row| row.tokens > 0).unwrap();
    assert!(last.expert > 65_535, "{last:?}");

    let place = Some(Place::Experts { dataset: data.clone() });
    let mut window = window(Options { folder: Some(dir.path().into()), place, ..options() });
    wait_for(&mut window, "Expert load of 1 layer and 262144 experts");
    println!("load: {:.2} ms a frame", frame(&mut window));
    // The map does not widen the page: the table is below the bars, the most used expert first.
    wait_for(&mut window, &format!("Go to expert 0:{}", most.expert));
    click(&mut window, "Co-activation");
    wait_for(&mut window, &format!("Pairs of {} experts were not counted", grouped(262_144)));
    let place = Some(Place::Expert { dataset: data, layer: 0, expert: last.expert });
    let mut window = super::common::window(Options { folder: Some(dir.path().into()), place, ..options() });
    wait_for(&mut window, &format!("Expert {} of layer 0", last.expert));
}
