//! What the figures of several layers say: the rules of a single dictionary for the median layer, and which layers are mixed up.

use storage::check::{Check, CheckLayer, Judgement};

use super::super::remedy;
use super::super::verdict::{BELONGS, Numbers, Verdict, judge, number};
use crate::interop::dictionaries::Content;

pub(super) fn conclude(check: &mut Check, content: &Content) {
    let verdict = judge(&Numbers {
        readings: &check.readings,
        hooks: &check.hooks,
        hook: check.hook.as_deref().unwrap_or_default(),
        published_l0: None,
        d: check.d_in,
        what: "the targets, in the median layer,",
    });
    let moved: Vec<&CheckLayer> = check.layers.iter().filter(|layer| layer.home.is_some()).collect();
    let misread = verdict.judgement == Judgement::Misread;
    if !moved.is_empty() && !misread {
        let one = |layer: &&CheckLayer| {
            let (home, fve) = (layer.home.unwrap_or_default(), number(layer.home_fve));
            format!(
                "{} explains layer {home} (FVE {fve} there, {} at its own)",
                layer.layer,
                number(layer.fve)
            )
        };
        let text = moved.iter().map(one).collect::<Vec<_>>().join("; ");
        let remedy =
            moved.iter().map(|layer| format!("{} → {}", layer.layer, layer.home.unwrap_or_default()));
        check.remedy = Some(format!(
            "give the files the numbers of the layers that they are of: {}",
            remedy.collect::<Vec<_>>().join(", ")
        ));
        check.judgement = Judgement::Elsewhere;
        check.verdict = format!("layers are mixed up: {text}");
        return;
    }
    check.judgement = verdict.judgement;
    check.remedy = remedy_of(check, &verdict, content);
    check.verdict = verdict.text;
    let bad = next_to_nothing(check);
    if !bad.is_empty() && verdict.judgement.is_good() {
        check.judgement = Judgement::Weak;
        check.verdict += &format!("; next to nothing in layers {}", bad.join(", "));
        check.remedy =
            Some("see their lines in the table: leave them out, or bring their files again".to_owned());
    }
}

fn next_to_nothing(check: &Check) -> Vec<String> {
    let bad = |layer: &&CheckLayer| layer.fve.is_some_and(|fve| fve < BELONGS);
    check.layers.iter().filter(bad).map(|layer| layer.layer.to_string()).collect()
}

fn remedy_of(check: &Check, verdict: &Verdict, content: &Content) -> Option<String> {
    match (verdict.judgement, verdict.instead.as_deref()) {
        (Judgement::Weak, _) => None,
        (Judgement::Elsewhere, Some(hook)) => {
            let (from, to) = hook.split_once(" → ").unwrap_or((hook, ""));
            // TransformerLens means the value before the norm by our name of the one after it.
            let from = if from == "hook_mlp_in" { "mlp.hook_in" } else { from };
            Some(format!(
                "in its config.yaml write `feature_input_hook: {from}` and `feature_output_hook: {to}`"
            ))
        }
        (Judgement::Misread, Some("without-gain")) => remedy::of(check, verdict, 0.0),
        (Judgement::Misread, Some(id)) => Some(match content {
            Content::CrossLayer(_) => format!(
                "its files are to be read by `{id}`, and no run is made of a cross-layer transcoder: correct the files, or what wrote them"
            ),
            _ => format!(
                "import its layers so: sae import dictionary {}/layer_N.safetensors --out RUN --reading {id}",
                check.source
            ),
        }),
        _ => remedy::of(check, verdict, 0.0),
    }
}
