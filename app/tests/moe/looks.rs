//! Pictures in both looks. Without a graphics adapter (a software one is enough: mesa-vulkan-drivers) they are skipped.

use app::address::Place;
use app::shell::{App, Options, Settings, SettingsFile};
use app::theme::Choice;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::common::{builder, click, options, routed, wait, wait_for, wait_for_part};
use super::{Window, expert, experts, token};

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

fn draw(theme: Choice, place: Place) -> Window {
    let file = tempfile::tempdir().unwrap().keep().join("window.json");
    SettingsFile::at(&file).write(&Settings { theme, ..Settings::default() }).unwrap();
    let settings = SettingsFile::at(file);
    let look = if theme == Choice::Light { egui::Theme::Light } else { egui::Theme::Dark };
    let options = Options { folder: Some(routed::root()), place: Some(place), settings, ..options() };
    builder().with_theme(look).wgpu().build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
}

fn settle(window: &mut Window) {
    for _ in 0..40 {
        window.step();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // The path of the sample is a new one each time.
    window.mask(egui::Rect::from_min_max(egui::pos2(160.0, 0.0), egui::pos2(1200.0, 36.0)));
}

#[test]
fn load_in_the_light_look() {
    if can_draw() {
        let mut window = draw(Choice::Light, experts());
        wait_for(&mut window, "Load of the experts of layer 0");
        settle(&mut window);
        window.snapshot("moe_load_light");
    }
}

#[test]
fn co_activation() {
    if can_draw() {
        let mut window = draw(Choice::Dark, experts());
        wait_for(&mut window, "Co-activation");
        click(&mut window, "Co-activation");
        wait_for(&mut window, "Co-activation of 8 experts of layer 0");
        settle(&mut window);
        window.snapshot("coactivation_dark");
    }
}

#[test]
fn an_expert() {
    if can_draw() {
        let mut window = draw(Choice::Dark, expert(1, routed::CODE));
        wait_for_part(&mut window, "code · specialised");
        wait_for_part(&mut window, "Read on in document");
        wait_for(&mut window, "The whole table was looked through.");
        wait_for(&mut window, "Go to feature 5");
        settle(&mut window);
        window.snapshot("expert_dark");
    }
}

fn reading(theme: Choice, name: &str) {
    if can_draw() {
        let mut window = draw(theme, token(3, 10));
        wait_for_part(&mut window, "fn merge");
        wait_for(&mut window, "Colour the text by feature 5");
        wait_for_part(&mut window, "Values by dimension");
        wait(&mut window, "the routing", |w| {
            w.query_by_label("Colour by experts").is_some_and(|n| !n.accesskit_node().is_disabled())
        });
        click(&mut window, "Colour by experts");
        wait_for(&mut window, "Layer of the colours");
        settle(&mut window);
        assert!(window.query_by_label("Layer of the colours").is_some());
        window.snapshot(name);
    }
}

#[test]
fn a_document_in_the_dark_look() {
    reading(Choice::Dark, "document_dark");
}

#[test]
fn a_document_in_the_light_look() {
    reading(Choice::Light, "document_light");
}
