//! A feature followed back: through a head to a token, to a feature of a different run there, and to where that comes from.

use app::address::Place;
use app::shell::Options;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use sae::ModelChoice;
use sae::heads::PlacedDictionary;
use sae::prompt::Prompter;

use super::{TEXT, Window, read};
use crate::common::{numbered, options, press, wait_for, wait_for_part, window};

/// The prompt of the dictionary of heads, with the last token of the text chosen.
fn last_token() -> Window {
    let root = fixtures::sources().to_owned();
    let place = Place::Prompt { run: root.join("heads"), feature: None };
    let mut window = window(Options { folder: Some(root), place: Some(place), ..options() });
    read(&mut window, "Prompt", TEXT);
    window.key_press(egui::Key::Escape);
    window.run_steps(2);
    window.key_press(egui::Key::ArrowLeft);
    window.run_steps(3);
    window
}

/// The name of the first line that begins like this.
fn line(window: &Window, begins: &str) -> String {
    let lines = window.query_all_by_role(egui::accesskit::Role::Button);
    let mut names = lines.filter_map(|node| node.accesskit_node().label());
    names.find(|name| name.starts_with(begins)).unwrap_or_else(|| panic!("no line begins with `{begins}`"))
}

#[test]
fn a_step_back_shows_the_largest_part_first_and_leads_to_features_below() {
    let mut window = last_token();
    let feature = numbered(&window, "Go to feature ")[0];
    press(&mut window, &format!("Where feature {feature} comes from"));
    wait_for_part(&mut window, "heads by source token");

    // The library's own answer.
    let root = fixtures::sources();
    let prompter = Prompter::open(&root.join("heads"), None, &ModelChoice::OfTheData).unwrap();
    let reading = prompter.read(TEXT).unwrap();
    let text = prompter.hold(&reading).unwrap();
    let config = prompter.model().config();
    let placed = PlacedDictionary::open(&root.join("heads"), config).unwrap();
    let token = reading.len() - 1 + reading.begins();
    let reader = text.feature(&placed, feature, token).unwrap();
    let (layer, head, source, value) = reader.parts().unwrap().strongest(1)[0];
    let strongest = line(&window, &format!("{layer}.{head} from "));
    assert!(strongest.ends_with(&format!(", {value:+.3}")), "{strongest}, expected {value}");

    press(&mut window, &strongest);
    wait_for_part(&mut window, "of which error");
    let below = PlacedDictionary::open(&root.join("below"), config).unwrap();
    let through = reader.through(layer, Some(head), source).unwrap();
    let part = through.written(&below).unwrap().unwrap().features[0];
    let given = line(&window, &format!("feature {}", part.feature));
    assert!(given.ends_with(&format!(", {:+.3}", part.value)), "{given}, expected {}", part.value);

    // On from there: the feature below has parts of its own, and every step can be returned to.
    press(&mut window, &given);
    wait_for_part(&mut window, &format!("feature {} of below at ", part.feature));
    wait_for_part(&mut window, "MLPs");
    let step = window.query_all_by_role(egui::accesskit::Role::Link);
    let step = step.filter_map(|node| node.accesskit_node().label()).find(|name| name.starts_with("head "));
    press(&mut window, &step.unwrap());
    wait_for(&mut window, &given);
    press(&mut window, "Stop following it");
    window.run_steps(3);
    assert!(window.query_by_label("Where it comes from").is_none());
}
