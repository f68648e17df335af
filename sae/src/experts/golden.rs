//! Published routing counts of OLMoE-1B-7B and Mixtral-8x7B give the published figures of balance.

use super::figures::Balance;

/// Slot counts of (model, layer, domain, routing), by expert.
fn slots(model: &str, layer: &str, domain: &str, routing: &str) -> Vec<u64> {
    let wanted = [model, layer, domain, routing];
    include_str!("../../tests/data/olmoe_mixtral_expert_counts.csv")
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|fields| fields[..4] == wanted)
        .enumerate()
        .map(|(expert, fields)| {
            assert_eq!(fields[4], expert.to_string(), "experts are listed in order");
            fields[5].parse().unwrap()
        })
        .collect()
}

/// Share in per cent and id of the most and the least used expert.
fn extremes(slots: &[u64]) -> ((f64, usize), (f64, usize)) {
    let total: u64 = slots.iter().sum();
    let per_cent = |e: usize| (100.0 * slots[e] as f64 / total as f64, e);
    let most = (0..slots.len()).max_by_key(|&e| slots[e]).unwrap();
    let least = (0..slots.len()).min_by_key(|&e| slots[e]).unwrap();
    (per_cent(most), per_cent(least))
}

fn assert_printed(found: f64, printed: f64, decimals: i32, what: &str) {
    assert!((found - printed).abs() <= 0.5001 * 10f64.powi(-decimals), "{what}: {found}, expected {printed}");
}

/// (model, layer, domain), then CV, H / ln E, effective experts, the largest and the smallest share in per
/// cent with ids.
type Anchor = ([&'static str; 3], f64, f64, f64, (f64, usize), (f64, usize));

const PER_DOMAIN: [Anchor; 8] = [
    (["olmoe", "0", "c4"], 0.3242, 0.98974, 61.33, (4.713, 41), (0.468, 23)),
    (["olmoe", "7", "c4"], 0.4023, 0.98173, 59.32, (4.153, 1), (0.313, 2)),
    (["olmoe", "15", "c4"], 0.5124, 0.96835, 56.11, (3.905, 7), (0.297, 33)),
    (["olmoe", "7", "github"], 1.3489, 0.85137, 34.49, (9.620, 17), (0.020, 51)),
    (["olmoe", "15", "arxiv"], 1.2495, 0.86381, 36.32, (11.711, 17), (0.001, 14)),
    (["olmoe", "0", "arxiv"], 0.9506, 0.94275, 50.44, (12.208, 0), (0.328, 12)),
    (["mistral", "7", "c4"], 0.0413, 0.99959, 7.99, (13.455, 4), (11.854, 5)),
    (["mistral", "15", "book"], 0.2478, 0.98236, 7.71, (16.181, 2), (5.037, 3)),
];

#[test]
fn load_per_domain() {
    for ([model, layer, domain], cv, entropy, effective, largest, smallest) in PER_DOMAIN {
        let slots = slots(model, layer, domain, "topk");
        let what = format!("{model} layer {layer} {domain}");
        let k = if model == "olmoe" { 8 } else { 2 };
        assert_eq!(slots.iter().sum::<u64>(), k * 208_896, "{what}");
        let balance = Balance::of(&slots).unwrap();
        assert_printed(balance.cv, cv, 4, &what);
        assert_printed(balance.load_entropy, entropy, 5, &what);
        assert_printed(balance.effective_experts, effective, 2, &what);
        assert_printed(balance.max_violation, largest.0 / 100.0 * slots.len() as f64 - 1.0, 3, &what);
        let (most, least) = extremes(&slots);
        assert_eq!((most.1, least.1), (largest.1, smallest.1), "{what}");
        assert_printed(most.0, largest.0, 3, &what);
        assert_printed(least.0, smallest.0, 3, &what);
    }
}

#[test]
fn fine_tuning_evens_the_load() {
    let anchors = [("7", [0.7644, 0.7028, 0.7023]), ("15", [0.8325, 0.7177, 0.7115])];
    for (layer, cvs) in anchors {
        for (model, cv) in ["olmoe", "olmoe-sft", "olmoe-dpo"].into_iter().zip(cvs) {
            let slots = slots(model, layer, "tulu", "topk");
            assert_eq!(slots.iter().sum::<u64>(), 8 * 205_243);
            assert_printed(Balance::of(&slots).unwrap().cv, cv, 4, &format!("{model} layer {layer} tulu"));
        }
    }
}

/// Mutual information, the 2× rule and the most specialised experts, pooled over the five domains.
#[test]
fn specialisation_over_five_domains() {
    let path = std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/olmoe_mixtral_expert_counts.csv"
    ));
    let text = std::fs::read_to_string(path).unwrap();
    // Tulu is another text that only some models were run on.
    let five: String = text.lines().filter(|l| !l.contains("tulu")).map(|l| format!("{l}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("five.csv");
    std::fs::write(&path, five).unwrap();
    let models = super::summarise_counts(&path, None).unwrap();
    let of = |name: &str| models.iter().find(|m| m.model == name).unwrap();
    let anchors: [(&str, u64, [f64; 3], [u32; 3]); 2] = [
        ("olmoe", 8, [0.1674, 0.4005, 0.5012], [9, 19, 17]),
        ("mistral", 2, [0.0031, 0.0037, 0.0090], [0, 0, 0]),
    ];
    for (name, k, bits, specialised) in anchors {
        let model = of(name);
        assert_eq!(model.k, Some(k));
        for (i, row) in model.information.iter().enumerate() {
            let what = format!("{name} layer {}", row.layer);
            assert_eq!((row.layer, row.domains), ([0, 7, 15][i], 5), "{what}");
            assert_printed(row.mutual_information.unwrap(), bits[i], 4, &what);
            assert_printed(row.domain_entropy.unwrap(), 2.3219, 4, &what);
            assert_eq!(row.specialised, Some(specialised[i]), "{what}");
        }
    }
    let share = |name: &str, layer, expert, domain: &str| {
        let rows = &of(name).specialisation;
        let row = rows.iter().find(|r| (r.layer, r.expert) == (layer, expert) && r.domain == domain).unwrap();
        100.0 * row.share_of_domain.unwrap()
    };
    for (layer, expert, domain, printed) in [
        (0, 0, "arxiv", 97.66),
        (15, 17, "arxiv", 93.69),
        (7, 27, "wikipedia", 84.76),
        (7, 17, "arxiv", 78.54),
        (7, 2, "github", 75.56),
    ] {
        assert_printed(
            share("olmoe", layer, expert, domain),
            printed,
            2,
            &format!("{layer} {expert} {domain}"),
        );
    }
    let most = of("mistral").specialisation.iter().map(|r| r.share_of_domain.unwrap()).fold(0.0, f64::max);
    assert_printed(100.0 * most, 33.0, 0, "Mixtral's most specialised expert");
    assert!(of("mistral").specialisation.iter().all(|r| r.baseline == Some(0.25)));
}
