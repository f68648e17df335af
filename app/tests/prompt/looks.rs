//! Pictures of a prompt, dark and light.

use app::address::Place;
use egui::Theme;

use super::common::pictures::{can_draw, draw, settle};
use super::common::{click, prompted, wait, wait_for};
use super::{TEXT, listed, read, slide};

#[test]
fn a_changed_prompt() {
    if !can_draw() {
        return;
    }
    let mut results = egui_kittest::SnapshotResults::new();
    for (theme, look) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let place = Place::Prompt { run: prompted::run(), feature: Some(7) };
        let mut window = draw(theme, Some(prompted::root()), Some(place));
        read(&mut window, "Prompt", TEXT);
        click(&mut window, "Add a second prompt");
        read(&mut window, "Second prompt", "fn main() {");
        click(&mut window, "clamp feature 7");
        slide(&mut window, 7, 30);
        wait_for(&mut window, "loss, nats/token");
        window.key_press(egui::Key::Escape);
        window.run_steps(2);
        window.key_press(egui::Key::ArrowRight);
        window.key_press(egui::Key::ArrowRight);
        window.run_steps(2);
        wait(&mut window, "the features", |w| listed(w).len() == 8);
        let feature = listed(&window)[0];
        click(&mut window, &format!("Shade by feature {feature}"));
        click(&mut window, "Continue");
        wait_for(&mut window, "Second prompt continued, with a random direction of the same length");
        wait(&mut window, "the end", |w| {
            use egui_kittest::kittest::Queryable as _;
            w.query_by_label("Stop").is_none()
        });
        settle(&mut window);
        results.add(window.try_snapshot(format!("prompt_{look}")));
    }
}
