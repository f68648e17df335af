//! Imported counts: a CSV file with the columns `model, layer, domain, routing, expert, count`.
//!
//! `routing` is `topk` (all chosen experts) or `top1` (the strongest only). With both, the top-1 counts tell
//! how many tokens there were, and both together tell k.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::experts::{BalanceRow, InformationRow, SpecialisationRow};

use super::figures::{InDomain, specialisation, total};
use super::tables::{balance_of_slots, number_of};
use crate::{Error, Result, csv_file};

/// Columns that must be there, in any order.
const COLUMNS: [&str; 6] = ["model", "layer", "domain", "routing", "expert", "count"];
/// Layers and experts are counted in u16.
const MOST_EXPERTS: usize = 1 << 16;

/// Figures of one model.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CountsModel {
    /// Its name in the file.
    pub model: String,
    /// Experts per token; `None` if the counts do not tell.
    pub k: Option<u64>,
    /// By layer, and by layer and domain.
    pub balance: Vec<BalanceRow>,
    /// By layer, expert and domain.
    pub specialisation: Vec<SpecialisationRow>,
    /// By layer.
    pub information: Vec<InformationRow>,
    /// Figures that the counts cannot give, and why.
    pub gaps: Vec<String>,
}

/// Slots by expert.
type Slots = Vec<u64>;

/// Counts of one model: layer → domain → (all chosen experts, the strongest alone).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    layers: BTreeMap<u16, BTreeMap<String, [Slots; 2]>>,
}

/// Reads the file: model → counts.
///
/// # Errors
/// A file that cannot be read, a missing column, or a record that is damaged or counts something a second
/// time.
pub fn read_counts(path: &Path) -> Result<BTreeMap<String, Counts>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<BTreeMap<String, Counts>> {
    let wrong = |line: usize, problem: &str| Error::format(path, format!("line {line}: {problem}"));
    let records = csv_file::records(text).map_err(|(line, problem)| wrong(line, &problem))?;
    let mut records = records.into_iter();
    let (_, header) = records.next().unwrap_or_default();
    let mut places = [0; 6];
    for (place, name) in places.iter_mut().zip(COLUMNS) {
        *place = header.iter().position(|h| h.trim() == name).ok_or_else(|| {
            Error::format(
                path,
                format!("line 1: no column `{name}`; expected the columns {}", COLUMNS.join(", ")),
            )
        })?;
    }
    let mut models: BTreeMap<String, Counts> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (line, fields) in records {
        let row = Row::parse(&fields, &places, header.len()).map_err(|problem| wrong(line, &problem))?;
        let key = (row.model.clone(), row.layer, row.domain.clone(), row.top1, row.expert);
        if !seen.insert(key) {
            let problem = format!(
                "a second count for {}, layer {}, {}, expert {}, expected one",
                row.model, row.layer, row.domain, row.expert
            );
            return Err(wrong(line, &problem));
        }
        models.entry(row.model.clone()).or_default().add(row);
    }
    if models.is_empty() {
        return Err(Error::format(path, "has no counts"));
    }
    Ok(models)
}

struct Row {
    model: String,
    layer: u16,
    domain: String,
    top1: bool,
    expert: usize,
    count: u64,
}

impl Row {
    fn parse(fields: &[String], places: &[usize; 6], width: usize) -> std::result::Result<Self, String> {
        if fields.len() != width {
            return Err(format!("{} fields, expected {width}", fields.len()));
        }
        let [model, layer, domain, routing, expert, count] = places.map(|place| fields[place].trim());
        let wrong = |name: &str, value: &str, wanted: &str| format!("{name} is `{value}`, expected {wanted}");
        let top1 = match routing {
            "topk" => false,
            "top1" => true,
            other => return Err(wrong("routing", other, "topk or top1")),
        };
        let expert = expert.parse().ok().filter(|&e: &usize| e < MOST_EXPERTS);
        Ok(Self {
            model: model.to_owned(),
            layer: layer.parse().map_err(|_| wrong("layer", layer, "a number from 0 to 65535"))?,
            domain: domain.to_owned(),
            top1,
            expert: expert
                .ok_or_else(|| wrong("expert", fields[places[4]].trim(), "a number from 0 to 65535"))?,
            count: count.parse().map_err(|_| wrong("count", count, "a number, 0 or more"))?,
        })
    }
}

impl Counts {
    fn add(&mut self, row: Row) {
        let of = self.layers.entry(row.layer).or_default().entry(row.domain).or_default();
        let slots = &mut of[usize::from(row.top1)];
        if slots.len() <= row.expert {
            slots.resize(row.expert + 1, 0);
        }
        slots[row.expert] = row.count;
    }

    fn experts(&self) -> usize {
        self.layers.values().flat_map(BTreeMap::values).flatten().map(Vec::len).max().unwrap_or(0)
    }

    /// Experts per token, if top-k and top-1 counts agree everywhere.
    fn k(&self) -> std::result::Result<Option<u64>, String> {
        let mut k = None;
        for (layer, domains) in &self.layers {
            for (domain, [chosen, first]) in domains {
                let (chosen, first) = (total(chosen), total(first));
                if chosen == 0 || first == 0 {
                    continue;
                }
                let here = chosen / first;
                if here * first != chosen || k.is_some_and(|k| k != here) {
                    let expected = k.map_or("a whole number".to_owned(), |k| format!("{k}, as before"));
                    return Err(format!(
                        "layer {layer}, {domain}: {chosen} choices of {first} tokens are {:.3} per token, expected {expected}",
                        chosen as f64 / first as f64
                    ));
                }
                k = Some(here);
            }
        }
        Ok(k)
    }
}

/// The figures that counts alone can give. `k` is used where the counts do not tell it.
///
/// # Errors
/// As [`read_counts`]; counts that cannot be true, or a `k` that they contradict.
pub fn summarise_counts(path: &Path, k: Option<u64>) -> Result<Vec<CountsModel>> {
    let models = read_counts(path)?;
    models.into_iter().map(|(name, counts)| of_model(name, &counts, k, path)).collect()
}

fn of_model(model: String, counts: &Counts, k: Option<u64>, path: &Path) -> Result<CountsModel> {
    let own = counts.k().map_err(|problem| Error::format(path, format!("{model}: {problem}")))?;
    if let (Some(own), Some(k)) = (own, k)
        && own != k
    {
        return Err(Error::request(format!(
            "{model}: --k is {k}, but the counts have {own} experts per token"
        )));
    }
    let k = own.or(k).filter(|&k| k > 0);
    let experts = counts.experts();
    let mut found = CountsModel { model, k, ..CountsModel::default() };
    if k.is_none() {
        found.gaps.push(
            "experts per token are not known (no top-1 counts), so there are no shares of tokens: give --k"
                .into(),
        );
    }
    found
        .gaps
        .push("counts tell nothing about co-activation, transitions, vocabulary, weights or scores".into());
    for (&layer, domains) in &counts.layers {
        of_layer(layer, domains, experts, k, &mut found)
            .map_err(|problem| Error::format(path, format!("{}: {problem}", found.model)))?;
    }
    Ok(found)
}

fn of_layer(
    layer: u16,
    domains: &BTreeMap<String, [Slots; 2]>,
    experts: usize,
    k: Option<u64>,
    found: &mut CountsModel,
) -> std::result::Result<(), String> {
    let padded = |slots: &Slots| {
        let mut slots = slots.clone();
        slots.resize(experts, 0);
        slots
    };
    let mut chosen: Vec<(&String, Slots, Option<u64>)> = Vec::new();
    for (domain, [of, first]) in domains {
        let tokens = tokens(of, first, k).map_err(|problem| format!("layer {layer}, {domain}: {problem}"))?;
        chosen.push((domain, padded(of), tokens));
    }
    let mut all = vec![0; experts];
    chosen.iter().for_each(|(_, slots, _)| all.iter_mut().zip(slots).for_each(|(a, n)| *a += n));
    let tokens: Option<u64> = chosen.iter().map(|(_, _, tokens)| *tokens).sum();
    let filled = |row: BalanceRow, tokens| BalanceRow { k: k.map(|k| number_of(k as usize)), tokens, ..row };
    found.balance.push(filled(balance_of_slots(layer, None, &all), tokens));
    if experts == 1 {
        found.gaps.push(format!("layer {layer} has a single expert: balance is 1 by definition"));
    } else if tokens.is_some_and(|tokens| tokens < experts as u64) {
        found.gaps.push(format!(
            "layer {layer}: fewer tokens than its {experts} experts; figures of balance mean nothing below one token per expert"
        ));
    }
    for (domain, slots, tokens) in &chosen {
        if total(slots) == 0 {
            found.gaps.push(format!("layer {layer}, domain {domain}: no choices, its figures are left out"));
        }
        found.balance.push(filled(balance_of_slots(layer, Some(domain), slots), *tokens));
    }
    let of: Vec<InDomain<'_>> =
        chosen.iter().map(|(domain, slots, tokens)| InDomain { domain, tokens: *tokens, slots }).collect();
    let (rows, information) = specialisation(layer, k.map(|k| k as f64), &of);
    found.specialisation.extend(rows);
    found.information.push(information);
    Ok(())
}

/// Tokens of a domain, from the top-1 counts or by k; `None` if neither tells. A token chooses k different
/// experts.
fn tokens(chosen: &Slots, first: &Slots, k: Option<u64>) -> std::result::Result<Option<u64>, String> {
    let slots = total(chosen);
    let tokens = match (total(first), k) {
        (0, None) => return Ok(None),
        (0, Some(k)) if !slots.is_multiple_of(k) => {
            return Err(format!(
                "{slots} choices are not a whole number of tokens at {k} experts per token: check --k"
            ));
        }
        (0, Some(k)) => slots / k,
        (tokens, _) => tokens,
    };
    match chosen.iter().position(|&n| n > tokens) {
        Some(expert) => Err(format!(
            "expert {expert} was chosen {} times by {tokens} tokens; a token chooses an expert at most once: check the counts \
             and --k",
            chosen[expert]
        )),
        None => Ok(Some(tokens)),
    }
}

/// Writes `OUT/MODEL/experts/{balance, specialisation, information}.parquet` for every model; gives the
/// folders.
///
/// # Errors
/// A folder or file that cannot be written.
pub fn write_counts(out: &Path, models: &[CountsModel]) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for model in models {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = model.model.chars().map(plain).collect();
        let folder = out.join(name.trim_start_matches('.')).join("experts");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        storage::row::write(&folder.join("balance.parquet"), &model.balance)?;
        storage::row::write(&folder.join("specialisation.parquet"), &model.specialisation)?;
        storage::row::write(&folder.join("information.parquet"), &model.information)?;
        folders.push(folder);
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "model,layer,domain,routing,expert,count\n";

    fn message(body: &str) -> String {
        parse(&format!("{HEAD}{body}"), Path::new("c.csv")).unwrap_err().to_string()
    }

    #[test]
    fn bad_lines_are_named() {
        assert!(message("m,0,\"a,topk,0,1\n").contains("line 2: a quotation mark opens"));
        assert!(message("m,0,a,topk,0\n").contains("line 2: 5 fields, expected 6"));
        assert!(message("m,0,a,topk,0,1\nm,0,a,top2,0,1\n").contains("line 3: routing is `top2`"));
        assert!(message("m,0,a,topk,70000,1\n").contains("expert is `70000`"));
        assert!(message("m,0,a,topk,1,-4\n").contains("count is `-4`"));
        assert!(message("m,0,a,topk,1,4\nm,0,a,topk,1,5\n").contains("line 3: a second count"));
        assert!(message("").contains("no counts"));
        let text = parse("model,layer,expert,count\n", Path::new("c.csv")).unwrap_err().to_string();
        assert!(text.contains("no column `domain`"), "{text}");
    }

    #[test]
    fn k_comes_from_both_kinds_of_counts() {
        let file = |body: &str| parse(&format!("{HEAD}{body}"), Path::new("c.csv")).unwrap();
        let both = "m,0,a,topk,0,6\nm,0,a,topk,2,4\nm,0,a,top1,0,5\n";
        assert_eq!(file(both)["m"].k(), Ok(Some(2)));
        assert_eq!(
            file("\"m\",0,\"law, French\",topk, 0,6\n")["m"].layers[&0].keys().next().unwrap(),
            "law, French"
        );
        assert_eq!(file(both)["m"].experts(), 3);
        assert_eq!(file("m,0,a,topk,0,6\n")["m"].k(), Ok(None));
        let odd = file("m,0,a,topk,0,6\nm,0,a,top1,0,5\n")["m"].k().unwrap_err();
        assert!(odd.contains("1.200 per token"), "{odd}");
    }

    #[test]
    fn what_counts_do_not_tell_is_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.csv");
        std::fs::write(&path, format!("{HEAD}m,0,a,topk,0,60\nm,0,a,topk,1,40\nm,0,b,topk,0,0\n")).unwrap();
        let found = &summarise_counts(&path, None).unwrap()[0];
        assert_eq!((found.k, found.balance[0].tokens, found.balance[0].z_loss), (None, None, None));
        assert!(
            found.gaps.iter().any(|g| g.contains("--k")) && found.gaps.iter().any(|g| g.contains("domain b"))
        );
        assert_eq!((found.balance[2].cv, found.information[0].mutual_information), (None, None));
        let found = &summarise_counts(&path, Some(1)).unwrap()[0];
        assert_eq!(found.balance[0].tokens, Some(100));
        assert_eq!(found.specialisation[0].share_of_domain, Some(0.6));
        let folders = write_counts(folder.path(), &summarise_counts(&path, Some(1)).unwrap()).unwrap();
        assert!(folders[0].join("balance.parquet").exists());
        let few = format!("{HEAD}m,0,a,topk,0,3\nm,0,a,topk,5,2\nn,0,a,topk,0,9\nn,0,a,top1,0,9\n");
        std::fs::write(&path, few).unwrap();
        let found = summarise_counts(&path, Some(1)).unwrap();
        assert!(
            found[0].gaps.iter().any(|g| g.contains("fewer tokens than its 6 experts")),
            "{:?}",
            found[0].gaps
        );
        assert!(found[1].gaps.iter().any(|g| g.contains("single expert")), "{:?}", found[1].gaps);
    }

    #[test]
    fn impossible_counts_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.csv");
        let attempt = |body: &str, k| {
            std::fs::write(&path, format!("{HEAD}{body}")).unwrap();
            summarise_counts(&path, k).unwrap_err().to_string()
        };
        // Two experts per token: 50 tokens, of which 60 chose expert 0.
        let message = attempt("m,0,a,topk,0,60\nm,0,a,topk,1,40\n", Some(2));
        assert!(message.contains("expert 0 was chosen 60 times by 50 tokens"), "{message}");
        let message = attempt("m,3,a,topk,0,60\nm,3,a,topk,1,41\n", Some(2));
        assert!(message.contains("layer 3, a: 101 choices") && message.contains("--k"), "{message}");
    }
}
