//! Pictures of a prompt, dark and light.

use app::address::Place;
use app::shell::{App, Options, Settings, SettingsFile};
use app::theme::Choice;
use egui::Theme;
use egui_kittest::Harness;

use super::common::{builder, click, options, prompted, wait, wait_for};
use super::{TEXT, Window, listed, read, slide};

/// Whether pictures can be made here; the reason is printed when they can not.
fn can_draw() -> bool {
    let attempt = std::panic::catch_unwind(|| {
        let mut harness = Harness::builder().with_size([8.0, 8.0]).wgpu().build_ui(|ui| drop(ui.label("x")));
        harness.render().is_ok()
    });
    let can = attempt.unwrap_or(false);
    if !can {
        println!("SKIPPED: no graphics adapter; install mesa-vulkan-drivers to compare pictures");
    }
    can
}

fn draw(theme: Theme) -> Window {
    let file = tempfile::tempdir().unwrap().keep().join("window.json");
    let choice = if theme == Theme::Dark { Choice::Dark } else { Choice::Light };
    SettingsFile::at(&file).write(&Settings { theme: choice, ..Settings::default() }).unwrap();
    let place = Some(Place::Prompt { run: prompted::run(), feature: Some(7) });
    let folder = Some(prompted::root());
    let options = Options { folder, place, settings: SettingsFile::at(file), ..options() };
    builder().with_theme(theme).wgpu().build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
}

#[test]
fn a_changed_prompt() {
    if !can_draw() {
        return;
    }
    let mut results = egui_kittest::SnapshotResults::new();
    for (theme, look) in [(Theme::Dark, "dark"), (Theme::Light, "light")] {
        let mut window = draw(theme);
        read(&mut window, "Prompt", TEXT);
        click(&mut window, "Second prompt beside it");
        read(&mut window, "Second prompt", "fn main() {");
        click(&mut window, "clamp feature 7");
        slide(&mut window, 7, 30);
        wait_for(&mut window, "loss, nats a token");
        window.key_press(egui::Key::Escape);
        window.run_steps(2);
        window.key_press(egui::Key::ArrowRight);
        window.key_press(egui::Key::ArrowRight);
        window.run_steps(2);
        wait(&mut window, "the features", |w| listed(w).len() == 8);
        let feature = listed(&window)[0];
        click(&mut window, &format!("Shade by feature {feature}"));
        click(&mut window, "Continue");
        wait_for(&mut window, "Second prompt goes on with a random direction of the same length");
        for _ in 0..40 {
            window.step();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        wait(&mut window, "the end", |w| {
            use egui_kittest::kittest::Queryable as _;
            w.query_by_label("Stop").is_none()
        });
        // The path of the folder is a new one each time.
        window.mask(egui::Rect::from_min_max(egui::pos2(160.0, 0.0), egui::pos2(1200.0, 36.0)));
        results.add(window.try_snapshot(format!("prompt_{look}")));
    }
}
