//! Every file of a dataset, a run and a sweep with its columns or fields, from the declarations that write and read them.
//! `docs/on-disk.md` is [`markdown`]; a test compares the two.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, Field};

use crate::record::{FieldDoc, Record};
use crate::row::Row;
use crate::schema::{self, Column, activations};
use crate::{
    Dtype, Manifest, RowsAre, RunRecord, attention, audit, cett, check, claims, codes, coding, comparison,
    difference, documents, evaluation, examples, experts, explanations, feature_activations, features,
    fields, graph, graph_marks, history, index, judged, layers, lens, manifest, map, matching, metrics,
    notes, pretraining, probe as probes, routing, run, sweep, task, token_features, truncation, truth,
    vocabulary, work,
};

/// A file and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct FileDoc {
    /// Its name inside the folder; what varies is in capitals.
    pub path: &'static str,
    /// What it is, or what a row of it is.
    pub about: String,
    /// What it holds.
    pub content: Content,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A Parquet table.
    Table(Vec<Column>),
    /// A JSON object.
    Record(&'static [FieldDoc]),
    /// Something that has a description of its own elsewhere.
    Other,
}

/// A folder and its files.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderDoc {
    /// What it is called.
    pub name: &'static str,
    /// What there is to know of all of it.
    pub about: &'static str,
    /// Its files.
    pub files: Vec<FileDoc>,
}

fn table<R: Row>(path: &'static str) -> FileDoc {
    let columns =
        R::fields().into_iter().zip(R::DOCS).map(|(field, about)| Column { field, about }).collect();
    FileDoc { path, about: words(R::ABOUT), content: Content::Table(columns) }
}

fn record<R: Record>(path: &'static str) -> FileDoc {
    FileDoc { path, about: words(R::ABOUT), content: Content::Record(R::FIELDS) }
}

fn columns(path: &'static str, about: &str, columns: Vec<Column>) -> FileDoc {
    FileDoc { path, about: about.to_owned(), content: Content::Table(columns) }
}

fn other(path: &'static str, about: &str) -> FileDoc {
    FileDoc { path, about: about.to_owned(), content: Content::Other }
}

/// Doc comments as one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All folders.
pub fn folders() -> Vec<FolderDoc> {
    vec![dataset(), run(), sweep(), probe(), attribution_graph(), jacobian_lens(), model()]
}

fn dataset() -> FolderDoc {
    // A row has all columns that any kind of rows has.
    let mut all = activations::columns(RowsAre::Patches, 1, Dtype::F16);
    let token = activations::columns(RowsAre::Tokens, 1, Dtype::F16).remove(2);
    all.insert(2, token);
    all.insert(5, activations::gradient(1));
    let mut routed = table::<routing::RoutingRow>("routing-NNNNN.parquet");
    if let Content::Table(columns) = &mut routed.content {
        columns.push(schema::documented(
            routing::SCORES,
            schema::list(DataType::Float32),
            routing::ABOUT_SCORES,
        ));
    }
    FolderDoc {
        name: "DATASET",
        about: DATASET,
        files: vec![
            record::<Manifest>("dataset.json"),
            record::<manifest::ModelRef>("dataset.json, `model`"),
            record::<manifest::Site>("dataset.json, `sites`"),
            record::<manifest::Bos>("dataset.json, `bos`"),
            record::<manifest::TextSource>("dataset.json, `text`"),
            record::<manifest::Table>("dataset.json, `tables`"),
            record::<manifest::Part>("dataset.json, `tables`, `parts`"),
            other(".lock", "Held while somebody writes."),
            other(
                "journal.json",
                "Only while the dataset is being written: the whole parts so far and where to continue.",
            ),
            other("merged.json", "Only while a merge removes the shards that it has merged."),
            columns(
                "activations-NNNNN.parquet",
                "One row of activations, in (document, position) order.",
                all,
            ),
            table::<documents::DocumentRow>("documents.parquet"),
            table::<vocabulary::TokenRow>("vocabulary.parquet"),
            routed,
            with_note(
                table::<truth::TrueCodesRow>("truth-NNNNN.parquet"),
                "Only datasets of a made world whose rows are on disk.",
            ),
            other(
                "world/",
                "The made world, in the files of SAELens's synthetic models. Only datasets of such a world.",
            ),
            columns(
                "whitening.parquet",
                "One component of a whitened activation, in order. Only whitened patches.",
                schema::whitening_columns(1),
            ),
            table::<experts::ExpertLoadRow>("experts/load.parquet"),
            table::<experts::BalanceRow>("experts/balance.parquet"),
            table::<experts::SpecialisationRow>("experts/specialisation.parquet"),
            with_note(
                table::<experts::SpecialisationRow>("experts/kinds.parquet"),
                "Here `domain` names a kind of token: line break, space, digits, punctuation, word begin, ….",
            ),
            table::<experts::InformationRow>("experts/information.parquet"),
            table::<experts::PairRow>("experts/pairs.parquet"),
            table::<experts::TransitionRow>("experts/transitions.parquet"),
            table::<experts::VocabularyRow>("experts/vocabulary.parquet"),
            table::<experts::AgainstRow>("experts/against.parquet"),
            table::<experts::SimilarityRow>("experts/similarity.parquet"),
            with_note(table::<experts::SparsityRow>("experts/sparsity.parquet"), "ReLU experts only."),
            table::<experts::WrittenRow>("experts/written.parquet"),
            table::<experts::MaskingRow>("experts/masking.parquet"),
            table::<experts::MaskedRow>("experts/masked.parquet"),
        ],
    }
}

fn with_note(mut file: FileDoc, note: &str) -> FileDoc {
    file.about = format!("{} {note}", file.about);
    file
}

fn run() -> FolderDoc {
    FolderDoc {
        name: "RUN",
        about: RUN,
        files: vec![
            record::<RunRecord>("run.json"),
            record::<run::ThresholdFit>("run.json, `thresholds`"),
            record::<run::ExactSearch>("run.json, `exact_search`"),
            record::<run::LeftOut>("run.json, `left_out`"),
            record::<run::Imported>("run.json, `imported`"),
            record::<run::ImportedFile>("run.json, `imported`, `files`"),
            record::<run::Decision>("run.json, `imported`, `decisions`"),
            other("train.toml", "The resolved configuration; giving it back reproduces the run."),
            table::<metrics::MetricsRow>("metrics.parquet"),
            other(
                "checkpoints/STEP/",
                "Weights, optimiser moments, counters, rates, budgets and the position in the data.",
            ),
            other(
                "cfg.json, sae_weights.safetensors",
                "The dictionary in SAELens's v6 layout, for raw activations: the input scale is folded into the biases.",
            ),
            columns(
                "history/STEP.parquet",
                "Only while the run is trained: every feature at a snapshot, sorted by feature.",
                history::snapshot_columns(1),
            ),
            table::<history::HistoryRow>("history/snapshots.parquet"),
            table::<history::EventsRow>("history/events.parquet"),
            with_note(record::<history::HistoryRecord>("history/history.json"), "It is written last."),
            record::<history::Moment>("history/history.json, `snapshots`"),
            record::<history::HistorySummary>("history/history.json, `summary`"),
            record::<history::Quantiles>("history/history.json, `summary`, `born` and `settled`"),
            record::<index::IndexRecord>("features/index.json"),
            record::<index::ExampleOptions>("features/index.json, `examples`"),
            table::<features::FeatureRow>("features/features.parquet"),
            table::<feature_activations::ActivationRow>("features/activations-NNNNN.parquet"),
            table::<codes::CodesRow>("features/codes-NNNNN.parquet"),
            with_note(
                table::<token_features::TokenFeatureRow>("features/token_features.parquet"),
                "Only where rows are tokens.",
            ),
            table::<examples::ExampleRow>("features/examples.parquet"),
            table::<attention::HeadsRow>("features/heads.parquet"),
            table::<attention::AttributionRow>("features/attribution.parquet"),
            table::<map::PointRow>("features/map.parquet"),
            with_note(
                table::<vocabulary::TokenRow>("features/vocabulary.parquet"),
                "A copy of the dataset's, so that a run shows text alone.",
            ),
            table::<experts::FeatureExpertRow>("features/experts.parquet"),
            table::<experts::RouterRow>("features/routers.parquet"),
            table::<experts::RouterExpertRow>("features/router_experts.parquet"),
            table::<experts::RouterFeatureRow>("features/router_features.parquet"),
            table::<experts::CellRow>("features/cells.parquet"),
            other(
                "shards/index/shard-I-of-N/codes-NNNNN.parquet, weights-NNNNN.parquet",
                "Only until `sae index --merge`: rows of `codes-NNNNN.parquet`, and of `features.parquet` the columns that the weights alone decide.",
            ),
            with_note(
                table::<explanations::RuleRow>("shards/explain/shard-I-of-N/rules-NNNNN.parquet"),
                "Only of a run that was explained in shards.",
            ),
            record::<evaluation::Evaluation>("evaluation/core.json"),
            other(
                "evaluation/threshold.json",
                "As `core.json`, of the dictionary with one threshold in place of the k best of a token.",
            ),
            other(
                "evaluation/pruned.json, pruned-documents.parquet",
                "As `core.json` and `documents.parquet`, of the dictionary with leave-one-out pruning.",
            ),
            other(
                "evaluation/recoded.json, recoded-documents.parquet",
                "As `core.json` and `documents.parquet`, with codes that were searched for from the dictionary's own.",
            ),
            record::<evaluation::BaselineEvaluation>("evaluation/pca.json, a list"),
            table::<evaluation::EvaluatedDocumentRow>("evaluation/documents.parquet"),
            other(
                "evaluation/threshold-documents.parquet",
                "As `documents.parquet`, of the evaluation in `threshold.json`.",
            ),
            with_note(
                record::<cett::CettRecord>("evaluation/cett.json"),
                "Written by `sae evaluate --cett`.",
            ),
            record::<cett::CettSparsity>("evaluation/cett.json, `neurons` and `codes`"),
            record::<cett::CettPoint>("evaluation/cett.json, `by_error`"),
            record::<cett::CettLoss>("evaluation/cett.json, `by_loss`"),
            record::<cett::CettLayer>("evaluation/cett.json, `layers`"),
            with_note(
                record::<layers::LayersEvaluation>("evaluation/layers.json"),
                "Only of a cross-layer transcoder, in place of `core.json`.",
            ),
            record::<layers::LayerEvaluation>("evaluation/layers.json, `layers`"),
            record::<layers::ReplacedEvaluation>("evaluation/layers.json, `together` and `replaced`"),
            with_note(
                record::<task::TaskRecord>("evaluation/task-NAME.json"),
                "Written by `sae evaluate --task`.",
            ),
            record::<task::TaskSite>("evaluation/task-NAME.json, `sites`"),
            record::<task::TaskResult>("evaluation/task-NAME.json, `results`"),
            record::<task::TaskFigure>(
                "evaluation/task-NAME.json, `sufficiency`, `necessity` and `agreement`",
            ),
            record::<task::TaskEdit>("evaluation/task-NAME.json, `results`, `edits`"),
            record::<task::TaskLabels>("evaluation/task-NAME.json, `results`, `labels`"),
            record::<check::Check>("check.json"),
            record::<check::CheckRows>("check.json, `rows`"),
            record::<check::CheckReading>("check.json, `readings`"),
            record::<check::CheckHook>("check.json, `hooks`"),
            record::<check::CheckLayer>("check.json, `layers`"),
            record::<check::Spread>("check.json, `encoder_norms`, `decoder_norms` and `thresholds`"),
            table::<explanations::Explanation>("explanations/NAME.parquet"),
            with_note(
                record::<judged::AnswerLine>("explanations/NAME/answers.jsonl, a line"),
                "Only of explanations by a language model, as are the next two.",
            ),
            table::<judged::JudgementRow>("explanations/NAME/judgements.parquet"),
            table::<judged::ExplanationScoreRow>("explanations/NAME/scores.parquet"),
            record::<notes::Note>("notes.json, `notes`"),
            record::<claims::Claim>("claims.json, `claims`"),
            record::<claims::ClaimScores>("claims.json, `claims`, `scores`"),
            record::<claims::ClaimPlace>("claims.json, `claims`, `counterexamples`"),
            record::<claims::ClaimIntervention>("claims.json, `claims`, `interventions`"),
            record::<difference::Difference>("difference/difference.json"),
            record::<difference::SiteFit>("difference/difference.json, `sites`"),
            table::<difference::FeatureDifference>("difference/features.parquet"),
            record::<matching::Matching>("matching/NAME/matching.json"),
            table::<matching::NearestRow>("matching/NAME/features.parquet, others.parquet"),
            record::<audit::Audit>("audit/audit.json"),
            table::<audit::AuditCodingRow>("audit/codings.parquet"),
            table::<audit::AuditFeatureRow>("audit/features.parquet"),
            with_note(
                record::<truncation::Truncation>("truncation/truncation.json"),
                "Only of a model that `sae latent` learned.",
            ),
            record::<truncation::TruncationOptions>("truncation/truncation.json, `options`"),
            record::<truncation::TruncationScore>("truncation/truncation.json, `training` and `held_out`"),
            record::<truncation::TruncationBars>("truncation/truncation.json, `bars`"),
            table::<truncation::TruncationStepRow>("truncation/steps.parquet"),
            other(
                "truncation/parameters.safetensors",
                "The model's parameters in f64, `W` `[H, d]` first, and the iterations that made them (`step`): what a run resumes from.",
            ),
            with_note(
                record::<coding::SparseCoding>("coding/coding.json"),
                "Only of a dictionary that `sae sparse-code` learned.",
            ),
            record::<coding::CodingScore>("coding/coding.json, `training` and `held_out`"),
            with_note(
                record::<fields::Fields>("fields/fields.json"),
                "Only of a dictionary of patches, after `sae fields`.",
            ),
            table::<fields::FieldRow>("fields/fields.parquet"),
            other("fields/fields.png", "All fields as one picture, each on its own scale."),
            with_note(
                record::<truth::TruthScore>("truth/truth.json; also in truth/pruned, truth/recoded"),
                "Only of a dictionary of a made world.",
            ),
            record::<truth::PlantedLossScore>("truth/truth.json, `loss`"),
            table::<truth::ScoredFeatureRow>("truth/features.parquet; also in truth/pruned, truth/recoded"),
            table::<truth::TrueFeatureRow>("truth/world.parquet; also in truth/pruned, truth/recoded"),
        ],
    }
}

fn model() -> FolderDoc {
    FolderDoc {
        name: "MODEL",
        about: MODEL,
        files: vec![
            other(
                "config.json, model.safetensors, tokenizer.json, tokenizer_config.json",
                "The model as transformers and every command here read it.",
            ),
            other("pretrain.json", "All options (`config`) and what came of them (`result`)."),
            table::<pretraining::PretrainingRow>("pretrain.parquet"),
            other(
                "checkpoint.safetensors",
                "Weights, moments and the position in the text: what a run resumes from.",
            ),
            with_note(
                table::<experts::UnitRow>("units.parquet"),
                "In the folder that `sae experts units` is given.",
            ),
        ],
    }
}

fn jacobian_lens() -> FolderDoc {
    FolderDoc {
        name: "LENS",
        about: LENS,
        files: vec![
            record::<lens::Lens>("lens.json"),
            other("lens.safetensors", "A matrix `[d_model, width]` for every hook, by the hook's name."),
        ],
    }
}

fn sweep() -> FolderDoc {
    FolderDoc {
        name: "SWEEP",
        about: SWEEP,
        files: vec![
            other("sweep.toml", "Every run with all its options; giving it back reproduces the sweep."),
            table::<sweep::SweepRow>("sweep.parquet"),
            other("NAME/", "A run each."),
            with_note(
                record::<work::Work>("shards/shard-I-of-N/work.json"),
                "Only of a sweep that was trained in shards. Datasets, folders of probes and runs (`shards/index/`, `shards/explain/`) have \
                 the same where they were made in shards.",
            ),
            table::<comparison::ComparisonRow>("comparison/runs.parquet"),
            table::<comparison::MeanRow>("comparison/means.parquet"),
            table::<comparison::DifferenceRow>("comparison/differences.parquet"),
            other("comparison/comparison.md, *.svg", "The same for people."),
        ],
    }
}

fn attribution_graph() -> FolderDoc {
    FolderDoc {
        name: "GRAPH",
        about: GRAPH,
        files: vec![
            with_note(record::<graph::Graph>("graph.json"), "It is written last."),
            record::<graph::GraphTranscoder>("graph.json, `transcoders`"),
            table::<graph::GraphNodeRow>("nodes.parquet"),
            table::<graph::GraphEdgeRow>("edges.parquet"),
            with_note(
                record::<graph_marks::GraphMarks>("marks.json"),
                "By people, in the window. It is kept when the graph is traced again.",
            ),
            record::<graph_marks::Supernode>("marks.json, `supernodes`"),
            other("graph_files/", "The kept nodes and edges as circuit-tracer and Neuronpedia show them."),
        ],
    }
}

fn probe() -> FolderDoc {
    FolderDoc {
        name: "PROBES",
        about: PROBES,
        files: vec![
            record::<probes::Probe>("probe.json"),
            table::<probes::ProbeRow>("probes.parquet"),
            other(
                "sets/SET-KEY.parquet",
                "The rows of `probes.parquet` of one set: what is finished of an interrupted probe.",
            ),
            table::<probes::ProbeSetRow>("sets.parquet"),
            table::<probes::ProbeMeanRow>("means.parquet"),
            table::<probes::PromptActivationRow>("activations/SET-KEY.parquet"),
            other(
                "sae_probes/DICTIONARY/sae_probes_MODEL/SETTING_setting/SET_HOOK_PENALTY.json",
                "The same as sae-probes writes it: the published splits with the first seed.",
            ),
        ],
    }
}

const MODEL: &str = "\
A language model that `sae pretrain` made.";

const GRAPH: &str = "\
Made by `sae trace`: which features of which tokens lead to a prediction. What the edges into a node add up to, together with
what biases give it, is the node's `value`.";

const PROBES: &str = "\
Made by `sae probe`. `probes.parquet` is written last; without it the folder is unfinished, and the same command resumes.";

const DATASET: &str = "\
Made by `sae harvest` and `sae import`. Without `dataset.json` it is unfinished.

A document longer than a context is cut into consecutive contexts, each begun with BOS when the model has one; contexts of
several short documents are packed into one row of a batch with block-diagonal attention, so a row is exactly what the model
would compute for that document alone.

Where rows are not tokens (`rows_are`), there is no column `token` and no vocabulary: nothing is made up. Documents are then
runs of rows, or pictures and the held-out bands of pictures. An imported dataset with tokens has a vocabulary only if a
tokenizer was given, and `model.sha256` is empty where nobody knows the weights. Several hooks in one pass: `NAME/HOOK/` is a
dataset each, and `NAME/routing/` holds the routing table.";

const RUN: &str = "\
A dictionary, trained by `sae train` or made of another program's files by `sae import dictionary`; `features/` by `sae index`, which replaces that folder as a whole, `evaluation/` by
`sae evaluate`, `matching/` by `sae match`, `difference/` by `sae diff`, `explanations/` by `sae explain` and imports, `notes.json` and `claims.json` by people.

`activations` and `codes` hold the same pairs twice. By feature, a page of rows spans all documents, so a document's codes
cannot be found by statistics; a reader of text needs them side by side, a reader of a feature the other way round.

`notes.json`, `claims.json` and `explanations/` lie next to `features/` and not in it, so that they outlive a new index; an explanation's
source is a file of its own, and reading it in again replaces it and no other.

`heads.parquet` and `attribution.parquet` exist for dictionaries at `attn.hook_z` alone: after W_O the heads have been added
up. The index computes the attribution with the model on the example's own context; the attention pattern counts as given.
It lists at most 64 sources, the largest in absolute value, by position; `rest` is the sum of the others. The table is left
out, with the reason in `index.json`, where the sum would be a different number: the parts do not add up to the value at the
hook, activations differ from the indexed ones by more than 2 %, or the text has gaps.";

const LENS: &str = "\
Jacobian lenses of a model, made by `sae lens`: the mean over texts and tokens t of Σ ∂h_final[t'] / ∂h[t] over t' ≥ t.";

const SWEEP: &str = "\
Made by `sae train --config sweep.toml` (docs/sweeps.md); `comparison/` by `sae compare`.";

/// `docs/on-disk.md`.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    for folder in folders() {
        let _ = write!(out, "\n## {}\n\n{}\n", folder.name, folder.about);
        for file in folder.files {
            let _ = write!(out, "\n### {}\n\n{}\n", file.path, file.about);
            match file.content {
                Content::Other => {}
                Content::Table(columns) => {
                    out += "\n| column | type | null | what it holds |\n|---|---|---|---|\n";
                    for Column { field, about } in columns {
                        let null = if field.is_nullable() { "yes" } else { "" };
                        let _ = writeln!(
                            out,
                            "| `{}` | {} | {null} | {} |",
                            field.name(),
                            type_name(field.data_type()),
                            cell(about)
                        );
                    }
                }
                Content::Record(fields) => {
                    out += "\n| field | type | what it holds |\n|---|---|---|\n";
                    for field in fields {
                        let _ = writeln!(
                            out,
                            "| `{}` | `{}` | {} |",
                            field.name,
                            cell(field.kind),
                            cell(field.about)
                        );
                    }
                }
            }
        }
    }
    unlinked(&out)
}

/// Without links between items of the code, which lead nowhere on a page: "[`FORMAT`]" and
/// "[`SHARE`](super::SHARE)" become names alone. Paths lose their `crate::`.
fn unlinked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("[`") {
        let (before, link) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = link.find("`]") else {
            rest = link;
            break;
        };
        out.push('`');
        out.push_str(link[2..end].trim_start_matches("crate::"));
        out.push('`');
        rest = &link[end + 2..];
        if let Some(target) = rest.strip_prefix('(') {
            rest = target.split_once(')').map_or(rest, |(_, after)| after);
        }
    }
    out.push_str(rest);
    out
}

const HEAD: &str = "\
# Files on disk

This page is generated from the declarations in `storage/src`; change them and run
`UPDATE_DOCS=1 cargo test -p storage --test catalogue`.

Everything but weights and configuration is Parquet that DuckDB, pyarrow and Polars read as it is. Spark does too, but has no
16-bit floats: harvest with `--dtype f32` for it, or name the columns that are wanted ([scale-out.md](scale-out.md)). JSON files are
written next to their name, fsynced and renamed. Lists are lists and structs are structs, never JSON in a string. A table may
have further columns; one that lacks a column of this page, or has it with a different type, is refused with its name.
`Option` in a JSON field's type means that it may be null or missing.
";

fn cell(text: &str) -> String {
    words(text).replace('|', "\\|")
}

/// A type in the words of Arrow, short.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::List(inner) => format!("List<{}>", type_name(inner.data_type())),
        DataType::FixedSizeList(inner, _) => match inner.data_type() {
            DataType::Float16 => "FixedSizeList<Float16 or Float32>".to_owned(),
            inner => format!("FixedSizeList<{}>", type_name(inner)),
        },
        DataType::FixedSizeBinary(_) => "FixedSizeBinary".to_owned(),
        DataType::Dictionary(_, values) => format!("{} (dictionary)", type_name(values)),
        DataType::Struct(fields) => {
            let field =
                |field: &std::sync::Arc<Field>| format!("{} {}", field.name(), type_name(field.data_type()));
            format!("Struct{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{markdown, unlinked};

    #[test]
    fn links_of_the_code_become_names() {
        let text =
            "Always [`FORMAT`]; a header for [`crate::Writer::begin`]; [`SHARE`](super::SHARE) of [0, 1].";
        assert_eq!(unlinked(text), "Always `FORMAT`; a header for `Writer::begin`; `SHARE` of [0, 1].");
        assert!(!markdown().contains("[`"));
    }
}
