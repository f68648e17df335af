//! Pictures and tables of `docs/experts.md`, from the tables that `sae experts` writes.
//!
//!     cargo run --release --example expert_plots -- sae-demo/data sae-demo/topk docs/experts      dataset, run, folder for pictures
//!     cargo run --release --example expert_plots -- --counts counts/olmoe docs/experts            imported counts
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::FontStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use storage::experts::{
    BalanceRow, FeatureExpertRow, MaskingRow, PairRow, SpecialisationRow, VocabularyRow, read_load,
};
use storage::{Dataset, features, row, schema, vocabulary};

/// Side of a cell in pixels.
const CELL: i32 = 15;

/// One grid of a picture.
struct Panel {
    title: String,
    rows: Vec<String>,
    columns: Vec<String>,
    /// Ratios to what chance gives; NaN is a gap.
    values: Vec<Vec<f64>>,
}

/// Blue below 1, white at 1, red above, by logarithm: 8 times and 1/8 are full.
fn colour(ratio: f64) -> RGBColor {
    let t = (ratio.max(1e-9).ln() / 8f64.ln()).clamp(-1.0, 1.0);
    let mix = |end: f64| (255.0 + (end - 255.0) * t.abs()) as u8;
    match t < 0.0 {
        true => RGBColor(mix(33.0), mix(102.0), mix(172.0)),
        false => RGBColor(mix(178.0), mix(24.0), mix(43.0)),
    }
}

/// Text of a size in pixels, anchored at a side of its lower edge.
fn text(size: f64, side: HPos) -> TextStyle<'static> {
    // The backend divides sizes by 1.24.
    TextStyle::from(("sans-serif", 1.24 * size)).color(&RGBColor(0, 0, 0)).pos(Pos::new(side, VPos::Bottom))
}

/// Panels below each other, one picture.
fn picture(path: &Path, panels: &[Panel], legend: &str) {
    let longest = panels.iter().flat_map(|p| &p.rows).map(|name| name.chars().count()).max().unwrap_or(0);
    let columns = panels.iter().map(|p| p.columns.len()).max().unwrap_or(0) as i32;
    let label = (longest as f64 * 6.2) as i32 + 12;
    let width = (columns * CELL + label + 12).max((legend.len() as f64 * 5.6) as i32 + 8);
    let height: i32 = panels.iter().map(|panel| panel.rows.len() as i32 * CELL + 36).sum();
    let root = SVGBackend::new(path, (width as u32, height as u32 + 24)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let mut y = 14;
    for panel in panels {
        let title =
            TextStyle { font: text(10.0, HPos::Left).font.style(FontStyle::Bold), ..text(10.0, HPos::Left) };
        root.draw(&Text::new(panel.title.clone(), (4, y), title)).unwrap();
        y += 14;
        for (i, name) in (0..).zip(&panel.columns) {
            let middle = label + i * CELL + CELL / 2;
            root.draw(&Text::new(name.clone(), (middle, y), text(8.0, HPos::Center))).unwrap();
        }
        y += 4;
        for (name, values) in panel.rows.iter().zip(&panel.values) {
            root.draw(&Text::new(name.clone(), (label - 6, y + 13), text(10.0, HPos::Right))).unwrap();
            for (i, &value) in (0..).zip(values).filter(|(_, value)| !value.is_nan()) {
                let (x, side) = (label + i * CELL, CELL - 1);
                root.draw(&Rectangle::new([(x, y), (x + side, y + side)], colour(value).filled())).unwrap();
            }
            y += CELL;
        }
        y += 18;
    }
    root.draw(&Text::new(legend.to_owned(), (4, y + 2), text(10.0, HPos::Left))).unwrap();
    root.present().unwrap();
    println!("{}", path.display());
}

fn read<R: row::Row>(path: &Path) -> Vec<R> {
    row::read(&row::open::<R>(path).unwrap(), Default::default()).unwrap()
}

fn numbers(n: usize) -> Vec<String> {
    (0..n).map(|i| i.to_string()).collect()
}

/// Share of a domain's tokens over what a balanced layer gives, domains × experts, one panel per layer.
fn by_domain(rows: &[SpecialisationRow]) -> Vec<Panel> {
    let mut layers: BTreeMap<u16, BTreeMap<String, BTreeMap<u32, f64>>> = BTreeMap::new();
    for row in rows {
        let ratio = row.share_of_domain.unwrap_or(f64::NAN) / row.baseline.unwrap_or(f64::NAN);
        layers.entry(row.layer).or_default().entry(row.domain.clone()).or_default().insert(row.expert, ratio);
    }
    let panel = |(layer, domains): (u16, BTreeMap<String, BTreeMap<u32, f64>>)| {
        let experts = domains.values().map(BTreeMap::len).max().unwrap_or(0);
        Panel {
            title: format!("layer {layer}"),
            columns: numbers(experts),
            values: domains.values().map(|of| of.values().copied().collect()).collect(),
            rows: domains.into_keys().collect(),
        }
    };
    layers.into_iter().map(panel).collect()
}

fn load(folder: &Path) -> Panel {
    let table = row::open::<storage::experts::ExpertLoadRow>(&folder.join("load.parquet")).unwrap();
    let mut layers: BTreeMap<u16, Vec<f64>> = BTreeMap::new();
    for row in read_load(&table).unwrap().into_iter().filter(|row| row.domain.is_none()) {
        layers.entry(row.layer).or_default().push(row.share);
    }
    let experts = layers.values().map(Vec::len).max().unwrap_or(0);
    Panel {
        title: "share of a layer's slots, over 1/E".into(),
        rows: layers.keys().map(|layer| format!("layer {layer}")).collect(),
        columns: numbers(experts),
        values: layers.into_values().map(|of| of.into_iter().map(|s| s * experts as f64).collect()).collect(),
    }
}

fn pairs(folder: &Path) -> Vec<Panel> {
    let mut layers: BTreeMap<u16, BTreeMap<(u32, u32), f64>> = BTreeMap::new();
    for row in read::<PairRow>(&folder.join("pairs.parquet")) {
        layers.entry(row.layer).or_default().insert((row.a, row.b), row.lift.unwrap_or(f64::NAN));
    }
    let panel = |(layer, lifts): (u16, BTreeMap<(u32, u32), f64>)| {
        let experts = lifts.keys().map(|pair| pair.1 + 1).max().unwrap_or(0);
        // The table has each pair once: the other half stays empty.
        let of = |a: u32, b: u32| lifts.get(&(a, b)).copied().unwrap_or(f64::NAN);
        Panel {
            title: format!("layer {layer}"),
            rows: numbers(experts as usize),
            columns: numbers(experts as usize),
            values: (0..experts).map(|a| (0..experts).map(|b| of(a, b)).collect()).collect(),
        }
    };
    layers.into_iter().map(panel).collect()
}

/// What masks cost, as text: rows masks, columns domains.
fn masking(folder: &Path) {
    let path = folder.join("masking.parquet");
    if !path.exists() {
        return;
    }
    let mut masks: BTreeMap<String, Vec<MaskingRow>> = BTreeMap::new();
    read::<MaskingRow>(&path)
        .into_iter()
        .for_each(|row| masks.entry(row.mask.clone()).or_default().push(row));
    for (mask, rows) in &masks {
        println!("\n| without {mask} | before | masked | others (lowest to highest) |\n|---|---:|---:|---:|");
        let most = rows.iter().map(|row| row.after - row.before).fold(f64::MIN, f64::max);
        for row in rows {
            let rise = row.after - row.before;
            let bold = if rise == most { "**" } else { "" };
            let control = row.control.map_or("–".into(), |mean| {
                let low = row.control_low.unwrap() - row.before;
                format!(
                    "{:+.3} ({low:+.3} to {:+.3})",
                    mean - row.before,
                    row.control_high.unwrap() - row.before
                )
            });
            println!("| {} | {:.3} | {bold}{rise:+.3}{bold} | {control} |", row.domain, row.before);
        }
    }
}

fn shown(text: &str) -> String {
    format!(
        "`{}`",
        text.replace('\n', "⏎").replace('\t', "⇥").replace(' ', "␣").replace('|', "\\|").replace('`', "ˋ")
    )
}

/// Experts by tokens: the ones with the highest lift, and what the 2× rules say.
fn experts(folder: &Path, texts: &[String]) {
    let special: Vec<SpecialisationRow> = read(&folder.join("specialisation.parquet"));
    let kinds: Vec<SpecialisationRow> = read(&folder.join("kinds.parquet"));
    let vocabulary: Vec<VocabularyRow> = read(&folder.join("vocabulary.parquet"));
    println!("\n| expert | domain (2×) | kind of token (2×) | tokens of highest lift |\n|---|---|---|---|");
    let mut seen: Vec<(u16, u32)> = special.iter().map(|row| (row.layer, row.expert)).collect();
    seen.dedup();
    for expert in seen {
        let of = |rows: &[SpecialisationRow]| {
            let home = rows.iter().find(|row| (row.layer, row.expert) == expert && row.specialised);
            home.map_or(String::new(), |row| {
                format!("{} {:.0} %", row.domain, 100.0 * row.share_of_domain.unwrap_or(f64::NAN))
            })
        };
        let mut own: Vec<&VocabularyRow> = vocabulary
            .iter()
            .filter(|row| (row.layer, row.expert) == expert && row.rank_by_lift.is_some() && row.count >= 50)
            .collect();
        own.sort_by_key(|row| row.rank_by_lift);
        let tokens: Vec<String> = own
            .iter()
            .take(8)
            .map(|row| shown(texts.get(row.token as usize).map_or("?", String::as_str)))
            .collect();
        println!("| {}:{} | {} | {} | {} |", expert.0, expert.1, of(&special), of(&kinds), tokens.join(" "));
    }
}

fn strongest_pairs(folder: &Path) {
    let mut rows: Vec<PairRow> = read(&folder.join("pairs.parquet"));
    rows.retain(|row| row.count >= 500);
    rows.sort_by(|a, b| b.lift.partial_cmp(&a.lift).unwrap());
    println!(
        "\n| layer | pair | tokens | P(b given a) | P(a given b) | lift |\n|---|---|---:|---:|---:|---:|"
    );
    for row in rows.iter().take(10) {
        let [b, a, lift] = [row.b_given_a, row.a_given_b, row.lift].map(Option::unwrap);
        println!("| {} | {}, {} | {} | {b:.3} | {a:.3} | {lift:.2} |", row.layer, row.a, row.b, row.count);
    }
}

fn lives_in(run: &Path, texts: &[String]) {
    let path = run.join("features/experts.parquet");
    if !path.exists() {
        return;
    }
    let mut rows: Vec<FeatureExpertRow> = read(&path);
    let all = rows.len();
    let significant = rows.iter().filter(|row| row.significant).count();
    let are = rows.iter().filter(|row| row.is_feature).count();
    rows.retain(|row| row.lives_in);
    let mut homes: BTreeMap<(u16, u32), usize> = BTreeMap::new();
    rows.iter().for_each(|row| *homes.entry((row.layer, row.expert)).or_default() += 1);
    println!(
        "\n{all} pairs, {significant} significant, {} of them live in an expert, {are} are one",
        rows.len()
    );
    let mut homes: Vec<_> = homes.into_iter().collect();
    homes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    println!(
        "features by home: {}",
        homes.iter().take(12).map(|((l, e), n)| format!("{l}:{e} {n}")).collect::<Vec<_>>().join(", ")
    );
    rows.sort_by(|a, b| b.mutual_information.total_cmp(&a.mutual_information));
    let index = row::open::<features::FeatureRow>(&run.join("features/features.parquet")).unwrap();
    println!(
        "\n| feature | fires on | expert | P(expert given feature) | P(feature given expert) | lift | bits | |\n|---|---|---|---:|---:|---:|---:|---|"
    );
    for row in rows.iter().take(14) {
        let at = u64::from(row.feature);
        let fires = &features::read(&index, at..at + 1).unwrap()[0].fires_on;
        let tokens: Vec<String> = fires.iter().take(5).map(|(t, _)| shown(&texts[*t as usize])).collect();
        println!(
            "| {} | {} | {}:{} | {:.3} ({:.3}–{:.3}) | {:.3} | {:.1} | {:.4} | {} |",
            row.feature,
            tokens.join(" "),
            row.layer,
            row.expert,
            row.expert_given_feature,
            row.expert_given_feature_low,
            row.expert_given_feature_high,
            row.feature_given_expert,
            row.lift,
            row.mutual_information,
            if row.is_feature { "is it" } else { "" }
        );
    }
}

/// Imported counts: domains × experts.
fn of_counts(model: &Path, out: &Path) {
    let name = model.file_name().unwrap().to_string_lossy();
    let folder = model.join("experts");
    let panels = by_domain(&read(&folder.join("specialisation.parquet")));
    picture(
        &out.join(format!("{name}.svg")),
        &panels,
        "share of a domain's tokens over k/E: red 8 times, white 1, blue an eighth",
    );
    for row in read::<BalanceRow>(&folder.join("balance.parquet")).iter().filter(|row| row.domain.is_none()) {
        println!(
            "{name} layer {}: CV {:.4}, effective experts {:.2}",
            row.layer,
            row.cv.unwrap(),
            row.effective_experts.unwrap()
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (data, run, out) = match &arguments[..] {
        [flag, model, out] if flag == "--counts" => {
            std::fs::create_dir_all(out).unwrap();
            return of_counts(Path::new(model), Path::new(out));
        }
        [data, run, out] => (Path::new(data), Path::new(run), Path::new(out)),
        _ => return println!("expert_plots DATASET RUN OUT | --counts OUT/MODEL OUT"),
    };
    std::fs::create_dir_all(out).unwrap();
    let folder = data.join("experts");
    let texts = vocabulary::read(&Dataset::open(data).unwrap().table(schema::VOCABULARY).unwrap()).unwrap();
    let legend = "red: 8 times what chance gives, white: as chance, blue: an eighth";
    picture(&out.join("load.svg"), &[load(&folder)], legend);
    picture(&out.join("domains.svg"), &by_domain(&read(&folder.join("specialisation.parquet"))), legend);
    picture(&out.join("kinds.svg"), &by_domain(&read(&folder.join("kinds.parquet"))), legend);
    picture(
        &out.join("pairs.svg"),
        &pairs(&folder),
        "lift of two experts of one token: red 8 times, white 1, blue an eighth",
    );
    experts(&folder, &texts);
    strongest_pairs(&folder);
    masking(&folder);
    lives_in(run, &texts);
}
