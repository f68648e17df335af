//! A prediction by few features, in the panel, against the library's own answer.

use app::widgets::format;
use sae::Quiet;
use sae::prompt::{Measure, Rest, SufficientOptions, SufficientSet};

use egui_kittest::kittest::Queryable as _;

use super::common::{press, wait, wait_for, wait_for_part};
use super::{TEXT, chosen, prompt, prompter, read};

fn found(position: usize) -> SufficientSet {
    let prompter = prompter();
    let reading = prompter.read(TEXT).unwrap();
    let options = SufficientOptions {
        token: reading.predictions[position].top[0].0,
        position,
        measure: Measure::Probability,
        within: 0.1,
        rest: Rest::Zero,
        draws: app::prompt::CONTROLS,
        seed: 0,
    };
    prompter.sufficient_set(&reading, &options, &mut Quiet).unwrap()
}

#[test]
fn few_features_keep_the_likeliest_token() {
    let mut window = prompt(None);
    read(&mut window, "Prompt", TEXT);
    wait_for(&mut window, "Explain a prediction");
    press(&mut window, "Explain the prediction");
    let set = found(4);
    assert!(!set.members.is_empty(), "a test of nothing");
    wait_for_part(&mut window, &format!("{} of {} codes", set.members.len(), set.candidates));
    for member in &set.members {
        let name = format!("Go to feature {}, needed at token {}", member.feature, member.position);
        wait_for(&mut window, &name);
    }
    wait_for(&mut window, &format::percent(f64::from(set.value)));
    wait_for(&mut window, &format!("Probability by number of codes, {} points", set.curve.len()));
    let member = set.members[0];
    press(&mut window, &format!("Go to feature {}, needed at token {}", member.feature, member.position));
    wait(&mut window, "the feature's page", |w| w.query_by_label("Explain the prediction").is_none());
}

#[test]
fn the_selected_token_is_the_one_that_is_explained() {
    let mut window = chosen(2);
    wait_for(&mut window, "predicted after token 2; all other features are set to 0");
    press(&mut window, "Explain the prediction");
    let set = found(2);
    let wanted = match set.members.len() {
        0 => "no feature is needed".to_owned(),
        n => format!("{n} of {} codes", set.candidates),
    };
    wait_for_part(&mut window, &wanted);
}
