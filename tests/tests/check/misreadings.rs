//! The ten likely misreadings in every layout that can have them: each dictionary was trained here and is published with one thing wrong.
//! What the check says of each is the table in docs/check.md, which this test writes (`UPDATE_DOCS=1`) or compares.

use std::path::{Path, PathBuf};

use sae::dictionary::{Dictionary, Selection};
use sae::train::Method;
use serde_json::json;
use storage::check::{Check, Judgement};
use tests::Chance;

use crate::layouts::{
    Bias, LAYOUTS, Layout, Published, SPARSIFY, circuit_tracer, exported, folded, gemma_scope_with_l0,
    llama_scope_with,
};
use crate::made::{
    D, HOOK, called, checked, checked_at, data, documented, drifting_and_centred, imported,
    in_a_different_basis, mean_norm, norm_folded_away, rows, table, trained, trained_on, with_rows_of_bos,
};
use crate::sets;

/// A dictionary and the rows that it was trained on.
struct Subject {
    dictionary: Dictionary,
    data: PathBuf,
}

impl Subject {
    fn of(data: PathBuf, d_sae: usize) -> Self {
        Self { dictionary: trained(&data, Method::MutualChoice, d_sae), data }
    }
}

/// What the cases are made of.
struct Subjects {
    _folder: tempfile::TempDir,
    usual: Subject,
    /// On rows twelve times as long, as other models have them.
    long: Subject,
    /// As many features as dimensions.
    square: Subject,
    /// On rows without their mean over the components, which drifts in `drifting`.
    centred: Subject,
    drifting: PathBuf,
    /// On rows after a norm without its gain.
    without_gain: Subject,
    /// On the rows of a different model.
    other: Subject,
    with_bos: PathBuf,
}

/// Where a norm is folded away.
const AFTER_NORM: &str = "blocks.1.hook_mlp_in";

fn subjects() -> Subjects {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut chance = Chance::new(3);
    let long: Vec<f32> = rows(&data(HOOK)).iter().map(|x| x * 12.0).collect();
    let other = in_a_different_basis(at, &mut chance);
    let [drifting, centred] = drifting_and_centred(at, &mut chance);
    Subjects {
        usual: Subject::of(data(HOOK), 512),
        long: Subject::of(imported(at, "long", &long), 512),
        square: Subject::of(data(HOOK), D),
        centred: Subject::of(centred, 512),
        drifting,
        without_gain: Subject::of(norm_folded_away(at), 512),
        other: Subject::of(other, 512),
        with_bos: with_rows_of_bos(at),
        _folder: folder,
    }
}

/// One cell of the table.
pub struct Case {
    layout: &'static str,
    wrong: &'static str,
    judgement: Judgement,
    /// What the remedy must name, if there is one.
    remedy: &'static str,
    check: Check,
}

/// One row: what is wrong, and what the check must say.
#[derive(Clone, Copy)]
pub struct Row {
    wrong: &'static str,
    judgement: Judgement,
    remedy: &'static str,
}

pub const fn row(wrong: &'static str, judgement: Judgement, remedy: &'static str) -> Row {
    Row { wrong, judgement, remedy }
}

impl Row {
    pub fn case(self, layout: &'static str, check: Check) -> Case {
        let Self { wrong, judgement, remedy } = self;
        Case { layout, wrong, judgement, remedy, check }
    }
}

/// How a case is published: rightly unless a field says otherwise.
struct Publication<'a> {
    subject: &'a Subject,
    /// The decoder's bias the other way round than it was trained.
    wrong_bias: bool,
    /// The square decoder on its side.
    turned: bool,
    /// Thresholds times this.
    thresholds: f32,
    hook: &'static str,
}

impl<'a> Publication<'a> {
    fn of(subject: &'a Subject) -> Self {
        Self { subject, wrong_bias: false, turned: false, thresholds: 1.0, hook: HOOK }
    }

    /// The check of it in `layout` on `data`, or on the model at `hook` or where its files say.
    fn check(&self, layout: &Layout, data: Option<&Path>, hook: Option<&str>) -> Check {
        let mut dictionary = self.subject.dictionary.clone();
        let k = layout.by_k && self.thresholds == 1.0;
        match &mut dictionary.selection {
            selection if k => *selection = Selection::TopK(16),
            Selection::Threshold(all) => all.iter_mut().for_each(|t| *t *= self.thresholds),
            other => panic!("{other:?}"),
        }
        if self.turned {
            let turned: Vec<f32> =
                (0..D).flat_map(|j| dictionary.w_dec.chunks_exact(D).map(move |row| row[j])).collect();
            dictionary.w_dec = turned;
        }
        // As trained it subtracts the bias first.
        let subtracts = match layout.bias {
            Bias::Subtracted => true,
            Bias::Kept => false,
            Bias::Said => !self.wrong_bias,
        };
        let as_trained = match layout.bias {
            Bias::Said => true,
            _ => subtracts != self.wrong_bias,
        };
        if !as_trained {
            dictionary = folded(&dictionary);
        }
        let at = tempfile::tempdir().unwrap();
        let norm = mean_norm(&self.subject.data);
        let published = Published { dictionary: &dictionary, hook: self.hook, subtracts, norm };
        checked_at(&(layout.write)(at.path(), &published), data, hook)
    }
}

/// The cells of one layout of sparse autoencoders.
fn cases_of(layout: &Layout, s: &Subjects) -> Vec<Case> {
    use Judgement::{Elsewhere, Fits, Foreign, Misread, Rows};
    let here = Some(&*s.usual.data);
    let usual = || Publication::of(&s.usual);
    let mut cases = Vec::new();
    let mut add = |row: Row, check: Check| cases.push(row.case(layout.name, check));
    add(row("nothing", Fits, ""), usual().check(layout, here, None));
    let bias = Publication { wrong_bias: true, ..usual() }.check(layout, here, None);
    match layout.bias {
        Bias::Subtracted => add(WITHOUT_PRE_BIAS, bias),
        Bias::Kept | Bias::Said => add(WITH_PRE_BIAS, bias),
    }
    let long = Some(&*s.long.data);
    // Llama Scope has its scale in its files.
    if layout.name != "Llama Scope" {
        let raw = Subject {
            dictionary: s.long.dictionary.clone().for_raw_activations(1.0 / scale(&s.long)),
            data: s.long.data.clone(),
        };
        let scaled = row("trained on x·√d/mean norm", Misread, "--reading with-scale");
        add(scaled, Publication::of(&raw).check(layout, long, None));
        // TopK has no thresholds; SAELens's layout has those of a JumpReLU, too.
        if !layout.by_k || layout.bias == Bias::Said {
            let unit = Publication { thresholds: 1.0 / scale(&s.long), ..Publication::of(&s.long) };
            let times =
                row("thresholds in units of x·√d/mean norm", Misread, "--reading thresholds-times-scale");
            add(times, unit.check(layout, long, None));
        }
    }
    let turned = Publication { turned: true, ..Publication::of(&s.square) };
    let on_its_side = row("a square decoder on its side", Misread, "--reading decoder-transposed");
    add(on_its_side, turned.check(layout, here, None));
    let centred = row("trained on a model with centred weights", Misread, "--reading centred");
    add(centred, Publication::of(&s.centred).check(layout, Some(&s.drifting), None));
    let gain = row("trained on rows after a norm without its gain", Misread, "fold_ln");
    add(gain, Publication::of(&s.without_gain).check(layout, None, Some(AFTER_NORM)));
    add(
        row("rows of BOS in the dataset", Rows, "--norm-limit"),
        usual().check(layout, Some(&s.with_bos), None),
    );
    let foreign = row("a dictionary of a different model", Foreign, "--model");
    add(foreign, Publication::of(&s.other).check(layout, here, None));
    for (wrong, hook) in [
        ("the hook of a different site", "blocks.2.hook_mlp_out"),
        ("the hook of a different layer", "blocks.0.hook_resid_post"),
    ] {
        let elsewhere = row(wrong, Elsewhere, "--hook blocks.2.hook_resid_post");
        add(elsewhere, Publication { hook, ..usual() }.check(layout, None, None));
    }
    cases
}

const WITH_PRE_BIAS: Row = row(
    "trained with a pre-bias, which its files or its format do not have",
    Judgement::Misread,
    "--reading with-pre-bias",
);
const WITHOUT_PRE_BIAS: Row = row(
    "trained without a pre-bias, which its files or its format have",
    Judgement::Misread,
    "--reading without-pre-bias",
);

/// `√d/mean norm`.
fn scale(subject: &Subject) -> f32 {
    ((D as f64).sqrt() / mean_norm(&subject.data)) as f32
}

/// What one layout alone can have.
fn special_cases(s: &Subjects) -> Vec<Case> {
    let here = Some(&*s.usual.data);
    let at = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let folder = at.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    };
    let mut by_k = s.usual.dictionary.clone();
    by_k.selection = Selection::TopK(16);
    let without = folded(&by_k);
    let saelens = Published { dictionary: &without, hook: HOOK, subtracts: true, norm: 0.0 };
    let saelens = (LAYOUTS[0].write)(&at("saelens"), &saelens);
    let many = exported(&at("sparsify"), &by_k, HOOK, SPARSIFY, &[("k", json!(64))]);
    let plain = folded(&s.usual.dictionary);
    let scope = Published { dictionary: &plain, hook: HOOK, subtracts: false, norm: 0.0 };
    let scope = gemma_scope_with_l0(&at("gemma"), &scope, 400);
    let long = folded(&s.long.dictionary);
    let long = Published { dictionary: &long, hook: HOOK, subtracts: false, norm: mean_norm(&s.long.data) };
    let scaled_threshold = llama_scope_with(&at("llama"), &long, true, false);
    let raw_weights = llama_scope_with(&at("llama raw"), &long, false, true);
    let misread = |wrong, remedy| row(wrong, Judgement::Misread, remedy);
    let long_rows = Some(&*s.long.data);
    vec![
        WITHOUT_PRE_BIAS.case("SAELens", checked(&saelens, here)),
        row("k 64 instead of 16 in `cfg.json`", Judgement::Fits, "").case("sparsify", checked(&many, here)),
        row("a folder of a different L0, 400", Judgement::Sparsity, "")
            .case("Gemma Scope", checked(&scope, here)),
        misread("the threshold is of scaled activations", "--reading thresholds-published")
            .case("Llama Scope", checked(&scaled_threshold, long_rows)),
        misread("weights for activations as they are", "--reading without-scale")
            .case("Llama Scope", checked(&raw_weights, long_rows)),
    ]
}

/// A transcoder has no pre-bias and no dataset with both of its hooks.
fn transcoders() -> Vec<Case> {
    const LAYOUT: &str = "circuit-tracer";
    let at = tempfile::tempdir().unwrap();
    let input = data(AFTER_NORM);
    // Imported as the inputs are that are changed: the rows of both are those of the same tokens.
    let target = imported(at.path(), "target", &rows(&data("blocks.1.hook_mlp_out")));
    let transcoder =
        |input: &Path, d_sae: usize| trained_on(input, Method::MutualChoice, d_sae, Some(target.as_path()));
    let check = |name: &str, transcoder: &Dictionary, hook: &str| {
        let folder = at.path().join(format!("set {name}"));
        std::fs::create_dir(&folder).unwrap();
        checked(&circuit_tracer(&folder, transcoder, hook), None)
    };
    let whole = imported(at.path(), "whole", &rows(&input));
    let right = transcoder(&whole, 512);
    let mut square = transcoder(&whole, D);
    square.w_dec = (0..D).flat_map(|j| square.w_dec.chunks_exact(D).map(move |row| row[j])).collect();
    let short: Vec<f32> = rows(&input).iter().map(|x| x / 12.0).collect();
    let short = transcoder(&imported(at.path(), "short", &short), 512);
    let gain = transcoder(&norm_folded_away(at.path()), 512);
    use Judgement::{Elsewhere, Fits, Foreign, Misread};
    vec![
        row("nothing", Fits, "").case(LAYOUT, check("right", &right, AFTER_NORM)),
        row("a square decoder on its side", Misread, "--reading decoder-transposed")
            .case(LAYOUT, check("square", &square, AFTER_NORM)),
        row("trained on rows after a norm without its gain", Misread, "fold_ln")
            .case(LAYOUT, check("gain", &gain, AFTER_NORM)),
        row("a transcoder of rows of a different length", Foreign, "--model")
            .case(LAYOUT, check("short", &short, AFTER_NORM)),
        row("the hook of a different layer, of a transcoder", Elsewhere, "--hook blocks.1.hook_mlp_in")
            .case(LAYOUT, check("layer", &right, "blocks.3.hook_mlp_in")),
        row("the hook of a different site, of a transcoder", Elsewhere, "--hook blocks.1.hook_mlp_in")
            .case(LAYOUT, check("site", &right, "blocks.1.hook_resid_mid")),
    ]
}

/// The cells of all layouts, several at once: one check uses hardly more than one core.
fn all_cases(subjects: &Subjects) -> Vec<Case> {
    std::thread::scope(|scope| {
        let (transcoders, sets) = (scope.spawn(transcoders), scope.spawn(sets::cases));
        let special = scope.spawn(|| special_cases(subjects));
        let layouts: Vec<_> =
            LAYOUTS.iter().map(|layout| scope.spawn(move || cases_of(layout, subjects))).collect();
        let in_order = layouts.into_iter().chain([special, transcoders, sets]);
        in_order.flat_map(|cases| cases.join().unwrap()).collect()
    })
}

#[test]
fn misreadings_in_the_layouts_of_other_programs_are_named() {
    let subjects = subjects();
    let cases = all_cases(&subjects);
    let mut failures = String::new();
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for case in &cases {
        let remedy = case.check.remedy.as_deref().unwrap_or_default();
        let good = case.check.judgement == case.judgement
            && remedy.contains(case.remedy)
            && (case.remedy.is_empty() || !remedy.is_empty());
        if !good {
            failures += &format!("{}, {}: {remedy}\n{}\n", case.layout, case.wrong, table(&case.check));
        }
        let shown = if case.remedy.is_empty() { String::new() } else { format!("`{}`", case.remedy) };
        let line = format!("| {} | {} | {shown} |", case.wrong, called(case.check.judgement));
        match lines.iter_mut().find(|(other, _)| *other == line) {
            Some((_, layouts)) => layouts.push(case.layout),
            None => lines.push((line, vec![case.layout])),
        }
    }
    let mut text = String::from("| what is wrong | verdict | remedy | layouts |\n|---|---|---|---|\n");
    for (line, layouts) in &lines {
        let every = LAYOUTS.iter().all(|layout| layouts.contains(&layout.name));
        let others =
            layouts.iter().filter(|name| !every || LAYOUTS.iter().all(|layout| layout.name != **name));
        let all: Vec<&str> = every.then_some("all SAEs").into_iter().chain(others.copied()).collect();
        text += &format!("{line} {} |\n", all.join(", "));
    }
    println!("{} cases\n{text}", cases.len());
    assert!(failures.is_empty(), "{failures}");
    documented("tests/tests/check", &text);
}
