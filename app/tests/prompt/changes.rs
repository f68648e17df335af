//! Features that are changed, and what that does.

use app::widgets::format;
use egui_kittest::kittest::Queryable as _;
use sae::Quiet;
use sae::prompt::{Change, Edit, Effect, Intervention, Prompter, Sampling, Scope};

use super::common::{click, wait, wait_for, wait_for_part};
use super::{TEXT, changed, chosen, listed, prompt, prompter, read, slide, strength};

fn effect(prompter: &Prompter, changes: &[Change]) -> Effect {
    let reading = prompter.read(TEXT).unwrap();
    let plan = prompter.plan(&reading, changes).unwrap();
    prompter.effect(&reading, &plan, (3, 0), &mut Quiet).unwrap()
}

#[test]
fn an_ablation_shows_what_the_library_measures() {
    let mut window = chosen(2);
    wait(&mut window, "the features", |w| !listed(w).is_empty());
    let feature = listed(&window)[0];
    click(&mut window, &format!("Change feature {feature}"));
    // A new row does something at once: it adds the feature's maximum.
    wait_for(&mut window, "KL, nats/token");
    assert_eq!(strength(&window, feature), 1.0);
    click(&mut window, &format!("ablate feature {feature}"));
    let prompter = prompter();
    let wanted = effect(&prompter, &[Change { feature, edit: Edit::Ablate, at: Scope::Everywhere }]);
    assert!(wanted.after.mean_kl() > 0.0);
    wait_for(&mut window, "KL, nats/token");
    wait_for(&mut window, &format::value(wanted.after.mean_kl()));
    wait_for(&mut window, &format::value(wanted.mean_ratio().unwrap()));
    let control = wanted.control_kl().unwrap();
    wait_for_part(&mut window, &format!("random direction {} (", format::value(control.mean)));
    let loss = (wanted.mean_before().unwrap(), wanted.after.mean_loss().unwrap());
    wait_for(&mut window, &format!("{} → {}", format::value(loss.0), format::value(loss.1)));
    click(&mut window, &format!("Remove the change of feature {feature}"));
    wait(&mut window, "no change", |w| w.query_by_label("KL, nats/token").is_none());
}

#[test]
fn a_slider_adds_in_units_of_the_features_maximum() {
    let mut window = prompt(Some(changed()));
    read(&mut window, "Prompt", TEXT);
    wait_for(&mut window, &format!("Remove the change of feature {}", changed()));
    slide(&mut window, changed(), 3);
    wait_for(&mut window, "KL, nats/token");
    let strength = strength(&window, changed());
    assert!(strength > 0.0, "the slider moved to {strength}");
    let prompter = prompter();
    let change = Change { feature: changed(), edit: Edit::Add(strength), at: Scope::Everywhere };
    let wanted = effect(&prompter, &[change]);
    wait_for(&mut window, &format::value(wanted.after.mean_kl()));
    let reading = prompter.read(TEXT).unwrap();
    let unit = format::value(f64::from(prompter.maximum(&reading, changed()).unwrap().value));
    wait_for(&mut window, &format!("1 is {unit}, its maximum in the index"));
}

#[test]
fn the_text_goes_on_with_and_without() {
    let mut window = prompt(Some(changed()));
    read(&mut window, "Prompt", TEXT);
    click(&mut window, &format!("clamp feature {}", changed()));
    slide(&mut window, changed(), 40);
    wait_for(&mut window, "KL, nats/token");
    let strength = strength(&window, changed());
    click(&mut window, "Continue");
    wait_for(&mut window, "Prompt continued, with a random direction of the same length");
    let prompter = prompter();
    let reading = prompter.read(TEXT).unwrap();
    let change = Change { feature: changed(), edit: Edit::Clamp(strength), at: Scope::Everywhere };
    let plan = prompter.plan(&reading, &[change]).unwrap();
    for (name, with) in
        [("unchanged", Intervention::Nothing), ("with the changes", Intervention::Changes(&plan))]
    {
        let said = prompter.continuation(&reading, with, 24, Sampling::Greedy, &mut Quiet).unwrap();
        wait_for(&mut window, &format!("Prompt continued, {name}"));
        wait_for(&mut window, &format!("{TEXT}{}", said.text));
    }
}

#[test]
fn a_feature_that_is_not_there_can_not_be_added() {
    let mut window = prompt(None);
    wait_for(&mut window, "Feature to change");
    window.get_by_label("Feature to change").focus();
    window.run_steps(2);
    window.get_by_label("Feature to change").type_text("256");
    wait_for(&mut window, "0 to 255");
    window.get_by_label("Feature to change").focus();
    window.run_steps(1);
    window.key_press(egui::Key::Backspace);
    window.run_steps(2);
    click(&mut window, "Add a change of this feature");
    wait_for(&mut window, "Remove the change of feature 25");
}
