//! Nothing overlaps or hides, from the smallest window to the widest: the places of all controls, by what a screen reader is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use app::address::Place;
use app::shell::{App, Options};
use common::{builder, click, options, places, press, root, run, wait};
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{By, NodeT as _, Queryable as _};

/// Widths of windows: the least that the program allows, a small laptop, a large screen, a wall.
const WIDTHS: [f32; 4] = [640.0, 1280.0, 1920.0, 3840.0];
/// High enough that hardly anything is scrolled out of sight: places of controls do not tell what is cut off.
const HEIGHT: f32 = 2600.0;

/// Where the strip of tabs begins and ends.
const TABS: (f32, f32) = (36.0, 68.0);

/// Controls that are drawn next to each other and never over each other.
const CONTROLS: [Role; 7] = [
    Role::Button,
    Role::CheckBox,
    Role::ComboBox,
    Role::TextInput,
    Role::MultilineTextInput,
    Role::SearchInput,
    Role::SpinButton,
];

fn window_of(width: f32, place: Option<Place>) -> Harness<'static, App> {
    let options = Options { folder: place.as_ref().map(|_| root()), place, ..options() };
    builder().with_size([width, HEIGHT]).build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
}

/// Names and places of the controls that can be seen.
fn controls(window: &Harness<'static, App>) -> Vec<(String, egui::Rect)> {
    let found = window.query_all(By::new().predicate(|node| CONTROLS.contains(&node.role())));
    let shown = found.filter(|node| node.accesskit_node().bounding_box().is_some());
    shown
        .map(|node| {
            let of = node.accesskit_node();
            (of.label().or(of.value()).unwrap_or_default(), node.rect())
        })
        .filter(|(_, rect)| rect.top() < HEIGHT && rect.bottom() > 0.0 && rect.area() > 0.0)
        // The strip of tabs scrolls, with arrows at its ends.
        .filter(|(_, rect)| rect.top() < TABS.0 || rect.bottom() > TABS.1)
        .collect()
}

/// What lies over something, or beyond the window's edge.
fn faults(window: &Harness<'static, App>, width: f32) -> Vec<String> {
    let all = controls(window);
    let mut faults = Vec::new();
    for (i, (name, rect)) in all.iter().enumerate() {
        if rect.left() < -1.0 || rect.right() > width + 1.0 {
            faults.push(format!("`{name}` at {rect:?} is cut off"));
        }
        for (other, place) in &all[i + 1..] {
            let common = rect.intersect(*place);
            // A field may hold a button that empties it.
            let within = rect.expand(1.0).contains_rect(*place) || place.expand(1.0).contains_rect(*rect);
            if common.width() > 2.0 && common.height() > 2.0 && !within {
                faults.push(format!("`{name}` at {rect:?} and `{other}` at {place:?} overlap"));
            }
        }
    }
    faults
}

fn check(places: &[Option<Place>]) {
    let mut failures = Vec::new();
    for place in places {
        let name = place.as_ref().map_or_else(|| "welcome".to_owned(), ToString::to_string);
        for width in WIDTHS {
            let mut window = window_of(width, place.clone());
            let least = if place.is_some() { 8 } else { 3 };
            wait(&mut window, &name, |w| w.query_all(By::new().role(Role::Button)).count() > least);
            for _ in 0..20 {
                window.step();
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            wait(&mut window, "all that is under way", |w| w.state().idle());
            window.run_steps(3);
            failures
                .extend(faults(&window, width).into_iter().map(|what| format!("{name}, {width}: {what}")));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn controls_of_runs_and_features_have_room_at_every_width() {
    let of_runs = places(&root()).into_iter().filter(|place| !of_text(place));
    check(&std::iter::once(None).chain(of_runs.map(Some)).collect::<Vec<_>>());
}

#[test]
fn controls_of_texts_and_experts_have_room_at_every_width() {
    // A prompt that looks for no feature has other controls.
    let prompt = Place::Prompt { run: run(), feature: None };
    check(&places(&root()).into_iter().filter(of_text).chain([prompt]).map(Some).collect::<Vec<_>>());
}

#[test]
fn controls_of_compared_graphs_have_room_at_every_width() {
    let root = fixtures::graphs();
    let mut failures = Vec::new();
    for width in WIDTHS {
        for others in [&["owner"][..], &["owner", "long"]] {
            let place = Some(Place::Graph { graph: root.join("graph") });
            let options = Options { folder: Some(root.to_owned()), place, ..options() };
            let mut window = builder()
                .with_size([width, HEIGHT])
                .build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap());
            press(&mut window, "Compare with…");
            for other in others {
                let name = format!("Compare with {other}");
                click(&mut window, &name);
            }
            failures
                .extend(of_graphs(faults(&window, width)).map(|what| format!("the menu, {width}: {what}")));
            window.key_press(egui::Key::Escape);
            wait(&mut window, "the edges", |w| w.query_all_by_label("Export").next().is_some());
            window.key_press(egui::Key::ArrowDown);
            wait(&mut window, "all that is under way", |w| w.state().idle());
            window.run_steps(3);
            let found = of_graphs(faults(&window, width));
            failures.extend(found.map(|what| format!("{} graphs, {width}: {what}", others.len() + 1)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Nodes and the list of edges are scrolled; a menu lies over what is below it.
fn of_graphs(faults: Vec<String>) -> impl Iterator<Item = String> {
    let scrolled = ["`A: ", "`B: ", "`Choose ", "`Sort by ", "`Compare with "];
    faults.into_iter().filter(move |what| !scrolled.iter().any(|name| what.contains(name)))
}

/// Half of the places: each half has a thread of its own.
fn of_text(place: &Place) -> bool {
    use Place::{Dataset, Expert, Experts, Prompt, Token};
    matches!(place, Prompt { .. } | Dataset { .. } | Token { .. } | Experts { .. } | Expert { .. })
}
