//! A picture of a prompt with a change.

use app::address::Place;
use egui::Theme;
use egui_kittest::kittest::Queryable as _;

use super::common::pictures::Look;
use super::common::{click, press, root, run, wait, wait_for};
use super::{TEXT, changed, listed, read, slide};

#[test]
fn a_changed_prompt() {
    let place = Place::Prompt { run: run(), feature: Some(changed()) };
    let look = Look {
        name: "prompt",
        folder: root(),
        place,
        size: [900.0, 560.0],
        themes: &[Theme::Dark],
        there: &["Type a text and press Enter"],
    };
    look.take(|window| {
        read(window, "Prompt", TEXT);
        click(window, &format!("clamp feature {}", changed()));
        slide(window, changed(), 30);
        wait_for(window, "KL, nats/token");
        window.key_press(egui::Key::Escape);
        window.run_steps(2);
        window.key_press(egui::Key::ArrowRight);
        window.key_press(egui::Key::ArrowRight);
        window.run_steps(2);
        wait(window, "the features", |w| !listed(w).is_empty());
        press(window, "Continue");
        wait_for(window, "Prompt continued, with a random direction of the same length");
        wait(window, "the end", |w| w.query_by_label("Stop").is_none());
    });
}
