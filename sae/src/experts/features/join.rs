//! A run's activations and the routing of the same tokens, joined on (document, position).

use std::path::{Path, PathBuf};

use arrow::record_batch::RecordBatch;
use serde::Serialize;
use storage::experts::FeatureExpertRow;
use storage::row::RowWriter;

use super::joint::Joint;
use super::pairs::{Criteria, PairTests, test};
use crate::dictionary::Encoder;
use crate::experts::routing::{Choice, Rows, Source, WeightRule};
use crate::rows::{RowBatch, RowReader, Subject, choose, documents};
use crate::{Error, Progress, Result};

/// What to join and what counts as a finding.
#[derive(Debug, Clone, Default)]
pub struct FeatureExpertsOptions {
    /// Dataset; the one that the run was trained on when `None`.
    pub data: Option<PathBuf>,
    /// Dataset with the routing table; `None`: that of the activations, or `routing/` next to it.
    pub routing: Option<PathBuf>,
    /// Layers; all when `None`.
    pub layers: Option<Vec<u16>>,
    /// Tokens at most, in whole documents drawn by seed.
    pub tokens: Option<u64>,
    /// Of the draw.
    pub seed: u64,
    /// What counts as a finding.
    pub criteria: Criteria,
}

/// What was found; the pairs of a run are in `RUN/features/experts.parquet`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureExperts {
    /// The table; `None` for a dictionary of a different program, next to whose files nothing is written.
    pub table: Option<PathBuf>,
    /// Tokens that were joined.
    pub tokens: u64,
    /// Features of the dictionary.
    pub features: u64,
    /// Layers looked at.
    pub layers: Vec<u16>,
    /// Experts per layer.
    pub experts: usize,
    /// Pairs of feature and expert that were tested, all layers.
    pub tests: u64,
    /// The largest p that stands after correction.
    pub threshold: Option<f64>,
    /// Pairs that stand.
    pub significant: u64,
    /// Pairs that never met although chance would have it; they have no row in the table.
    pub avoided: u64,
    /// Features that fired too rarely to be tested (or always), summed over layers.
    pub rare: u64,
    /// Features that live in one expert: pairs, the highest lift first.
    pub lives_in: Vec<FeatureExpertRow>,
    /// Experts that are a feature.
    pub is_feature: Vec<FeatureExpertRow>,
    /// What counted as a finding.
    pub criteria: Criteria,
}

/// Rows encoded at a time.
const BATCH: usize = 8192;

/// Joins and tests; writes `RUN/features/experts.parquet` if `run` is a run and not a dictionary of a different program.
///
/// # Errors
/// A run without a dictionary, activations and routing that are not of the same tokens and model, layers
/// without routing, or [`Error::Stopped`].
pub fn feature_experts(
    run: &Path,
    options: &FeatureExpertsOptions,
    progress: &mut dyn Progress,
) -> Result<FeatureExperts> {
    let subject = Subject::open(run, options.data.as_deref())?;
    let source = open_routing(&subject, options.routing.as_deref())?;
    let which: Vec<_> = documents(&subject.dataset)?.into_iter().map(|(_, which)| which).collect();
    let choice = choose(&which, options.tokens, options.seed);
    if choice.tokens == 0 {
        return Err(Error::data(format!("{} has no rows to join", subject.dataset.dir().display())));
    }
    let overview = source.overview(progress)?;
    let experts = source.declared().experts.unwrap_or(overview.highest);
    let layers = layers(options.layers.as_deref(), &overview.layers)?;
    let mut joint = Joint::new(subject.dictionary.d_sae, experts, &layers)?;
    let mut walk = Walk::new(&source, experts)?;
    let mut reader = RowReader::new(&subject.dataset, &choice.ranges, BATCH, subject.dictionary.d_in)?;
    let mut encoder = subject.dictionary.encoder();
    progress.begin("features and experts", Some(choice.tokens), "tokens");
    let mut done = 0;
    while let Some(rows) = reader.next_batch()? {
        count(&mut encoder, &rows, &mut walk, &mut joint)?;
        done += rows.len() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the join was not finished, nothing was written"));
        }
    }
    progress.end(&format!("{done} tokens"));
    let tested = test(&joint, &options.criteria);
    let table = match subject.is_run {
        true => Some(write(run, &tested)?),
        false => None,
    };
    Ok(found(table, &tested, &joint, options, experts, done))
}

/// A routing table of the same model, else the features of one would be joined with the experts of another.
pub(in crate::experts) fn open_routing(subject: &Subject, named: Option<&Path>) -> Result<Source> {
    let data = subject.dataset.dir();
    let source = match (named, data.parent()) {
        (Some(named), _) => Source::open(named)?,
        // Several hooks of one harvest are `NAME/HOOK`, their routing is `NAME/routing`.
        (None, Some(parent))
            if !subject.dataset.has_table(storage::schema::ROUTING)
                && parent.join(storage::schema::ROUTING).join(storage::dataset::MANIFEST).exists() =>
        {
            Source::open(parent)?
        }
        _ => Source::open(data)?,
    };
    let (of_data, of_routing) = (subject.dataset.manifest(), source.dataset().manifest());
    if !of_data.rows_are.tokens() {
        let what = of_data.rows_are.name();
        return Err(Error::request(format!("{}: rows are {what}, which no router sees", data.display())));
    }
    if of_data.model.sha256 != of_routing.model.sha256 {
        return Err(Error::request(format!(
            "the activations are of `{}`, weights {}, the routing of `{}`, weights {}",
            of_data.model.id, of_data.model.sha256, of_routing.model.id, of_routing.model.sha256
        ))
        .with_remedy("give the routing of the same model"));
    }
    Ok(source)
}

/// The layers that are wanted, of those that are there.
pub(in crate::experts) fn layers(
    wanted: Option<&[u16]>,
    there: &std::collections::BTreeSet<u16>,
) -> Result<Vec<u16>> {
    let Some(wanted) = wanted else { return Ok(there.iter().copied().collect()) };
    match wanted.iter().find(|layer| !there.contains(layer)) {
        Some(layer) => {
            let names: Vec<String> = there.iter().map(u16::to_string).collect();
            let names = names.join(", ");
            Err(Error::request(format!("layer {layer} has no routing; the layers with experts are {names}")))
        }
        None => Ok(wanted.to_vec()),
    }
}

/// Walks through the routing table, which has the tokens in the same order as the activations but maybe more
/// of them.
pub(in crate::experts) struct Walk {
    batches: storage::Batches,
    batch: Option<RecordBatch>,
    at: usize,
    experts: usize,
}

impl Walk {
    pub fn new(source: &Source, experts: usize) -> Result<Self> {
        Ok(Self { batches: source.scan()?, batch: None, at: 0, experts })
    }

    /// Gives every row of routing up to the last token of `places` to `take`, with the number of its token;
    /// rows of tokens that are not among them are passed over.
    pub fn up_to(
        &mut self,
        places: &[(u32, u32, u32)],
        mut take: impl FnMut(usize, &Choice<'_>),
    ) -> Result<()> {
        let mut next = 0;
        let mut met = false;
        loop {
            if self.batch.as_ref().is_none_or(|batch| self.at >= batch.num_rows()) {
                self.batch = self.batches.next().transpose()?;
                self.at = 0;
            }
            let Some(batch) = &self.batch else { break };
            let rows = Rows::of(batch)?;
            while self.at < rows.len() {
                let choice = rows.choice(self.at);
                let here = (choice.document, choice.position);
                while next < places.len() && (places[next].0, places[next].1) < here {
                    missing(met, places[next])?;
                    (next, met) = (next + 1, false);
                }
                let Some(&(document, position, token)) = places.get(next) else { return Ok(()) };
                if here == (document, position) {
                    check(&choice, token, self.experts)?;
                    take(next, &choice);
                    met = true;
                }
                self.at += 1;
            }
        }
        // The table has ended: the last token may have been seen, those after it have not.
        for place in &places[next..] {
            missing(met, *place)?;
            met = false;
        }
        Ok(())
    }
}

fn missing(met: bool, (document, position, _): (u32, u32, u32)) -> Result<()> {
    if met {
        return Ok(());
    }
    Err(Error::data(format!(
        "document {document}, position {position} has an activation but no row of routing"
    ))
    .with_remedy("give the routing table of the same harvest (--routing), in (document, position) order"))
}

fn check(choice: &Choice<'_>, token: u32, experts: usize) -> Result<()> {
    if choice.token != token {
        return Err(Error::data(format!(
            "{}: token {}, but the activation there belongs to token {token}",
            choice.place(),
            choice.token
        ))
        .with_remedy("give the routing table of the same harvest"));
    }
    choice.check(experts, WeightRule::Any)
}

fn count(encoder: &mut Encoder<'_>, rows: &RowBatch, walk: &mut Walk, joint: &mut Joint) -> Result<()> {
    let codes = encoder.encode(&rows.activations);
    let places: Vec<(u32, u32, u32)> =
        (0..rows.len()).map(|i| (rows.documents[i], rows.positions[i], rows.tokens[i])).collect();
    walk.up_to(&places, |i, choice| joint.choose(choice.layer, codes.row(i).0, choice.experts))
}

/// Writes the table into the run; its path.
fn write(run: &Path, tested: &PairTests) -> Result<PathBuf> {
    let folder = run.join("features");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let table = folder.join("experts.parquet");
    let mut writer = RowWriter::create(&table)?;
    writer.append(&tested.rows)?;
    writer.finish()?;
    Ok(table)
}

fn found(
    table: Option<PathBuf>,
    tested: &PairTests,
    joint: &Joint,
    options: &FeatureExpertsOptions,
    experts: usize,
    tokens: u64,
) -> FeatureExperts {
    let pick = |which: fn(&FeatureExpertRow) -> bool| {
        let mut rows: Vec<FeatureExpertRow> = tested.rows.iter().filter(|row| which(row)).cloned().collect();
        rows.sort_by(|a, b| b.lift.total_cmp(&a.lift).then((a.feature, a.layer).cmp(&(b.feature, b.layer))));
        rows
    };
    FeatureExperts {
        table,
        tokens,
        features: joint.features() as u64,
        layers: joint.layers().map(|(number, _)| number).collect(),
        experts,
        tests: tested.tests,
        threshold: tested.threshold,
        significant: tested.rows.iter().filter(|row| row.significant).count() as u64,
        avoided: tested.avoided,
        rare: tested.rare,
        lives_in: pick(|row| row.lives_in),
        is_feature: pick(|row| row.is_feature),
        criteria: options.criteria,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::rows::fixture::{self, Routed, header, texts};

    struct Case {
        folder: tempfile::TempDir,
        routed: Vec<Routed>,
        values: Vec<f32>,
    }

    /// Two documents of 60 and 41 tokens; feature 0 fires exactly where layer 1 chooses expert 2, feature 1
    /// on even tokens.
    fn case() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let texts = texts(&[60, 41], 50, 1);
        let (mut values, mut routed) = (Vec::new(), Vec::new());
        for (document, text) in texts.iter().enumerate() {
            for (position, &token) in text.tokens.iter().enumerate() {
                let chosen = (position * 7 + document) % 4;
                values.extend([
                    if chosen == 2 { 1.0 } else { -1.0 },
                    if position % 2 == 0 { 2.0 } else { -2.0 },
                    -1.0,
                ]);
                for layer in 0..2u16 {
                    let expert = if layer == 1 { chosen } else { position % 3 } as u32;
                    let place = (10 + document as u32, position as u32, token);
                    routed.push((place.0, place.1, place.2, layer, vec![expert], vec![1.0], 0.5));
                }
            }
        }
        fixture::dataset(&folder.path().join("all/hook"), header(3), &texts, &values, 2);
        let data = folder.path().join("all/hook");
        fixture::run(&folder.path().join("run"), &fixture::components(3), &data);
        Case { folder, routed, values }
    }

    fn joined(case: &Case, options: &FeatureExpertsOptions) -> Result<FeatureExperts> {
        let mut head = header(3);
        head.settings = serde_json::json!({ "experts": 4 });
        let routing = case.folder.path().join("all/routing");
        let _ = std::fs::remove_dir_all(&routing);
        fixture::routing(&routing, head, &texts(&[60, 41], 50, 1), &case.routed);
        feature_experts(&case.folder.path().join("run"), options, &mut Quiet)
    }

    #[test]
    fn rows_of_the_same_token_are_joined() {
        let case = case();
        let found = joined(&case, &FeatureExpertsOptions::default()).unwrap();
        assert_eq!((found.tokens, found.layers.as_slice(), found.experts), (101, &[0, 1][..], 4));
        let lives: Vec<_> = found.lives_in.iter().map(|r| (r.feature, r.layer, r.expert)).collect();
        assert_eq!(lives, [(0, 1, 2)]);
        assert_eq!(found.is_feature, found.lives_in);
        let row = &found.lives_in[0];
        let fired = case.values.chunks(3).filter(|v| v[0] > 0.0).count() as u64;
        assert_eq!(
            (row.joint, row.feature_tokens, row.expert_tokens, row.tokens),
            (fired, fired, fired, 101)
        );
        let table = storage::row::open::<FeatureExpertRow>(found.table.as_ref().unwrap()).unwrap();
        let rows = storage::row::read::<FeatureExpertRow>(&table, Default::default()).unwrap();
        // Every count again, from the routing as it was written.
        for row in &rows {
            let both = |(i, r): (usize, &Routed)| {
                r.3 == row.layer
                    && r.4[0] == row.expert
                    && case.values[i / 2 * 3 + row.feature as usize] > 0.0
            };
            let joint = case.routed.iter().enumerate().filter(|&(i, r)| both((i, r))).count();
            assert_eq!(row.joint, joint as u64, "{row:?}");
        }
        assert!(rows.iter().any(|row| row.layer == 0) && rows.len() > 8);
    }

    #[test]
    fn part_of_the_documents_and_layers() {
        let case = case();
        let options = FeatureExpertsOptions {
            layers: Some(vec![1]),
            tokens: Some(30),
            ..FeatureExpertsOptions::default()
        };
        let found = joined(&case, &options).unwrap();
        assert_eq!((found.tokens, found.layers.as_slice()), (30, &[1][..]));
        let options = FeatureExpertsOptions { layers: Some(vec![4]), ..FeatureExpertsOptions::default() };
        let message = joined(&case, &options).unwrap_err().to_string();
        assert!(message.contains("layer 4") && message.contains("0, 1"), "{message}");
    }

    #[test]
    fn tokens_without_routing_are_named() {
        let mut missing = case();
        missing.routed.retain(|r| (r.0, r.1) != (10, 33));
        let message = joined(&missing, &FeatureExpertsOptions::default()).unwrap_err().to_string();
        assert!(message.contains("document 10, position 33"), "{message}");
        let mut ends = case();
        ends.routed.truncate(2 * 100);
        let message = joined(&ends, &FeatureExpertsOptions::default()).unwrap_err().to_string();
        assert!(message.contains("document 11, position 40"), "{message}");
        let mut other = case();
        other.routed[6].2 += 1;
        let message = joined(&other, &FeatureExpertsOptions::default()).unwrap_err().to_string();
        assert!(message.contains("position 3") && message.contains("same harvest"), "{message}");
    }
}
