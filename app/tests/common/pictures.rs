//! Windows whose pictures are compared, dark and light. Without a graphics adapter (a software one is enough: mesa-vulkan-drivers) such
//! tests are skipped, and say so.
#![allow(clippy::print_stdout, reason = "what is skipped is said")]

use std::path::PathBuf;

use app::address::Place;
use app::shell::{App, Options, Settings, SettingsFile};
use app::theme::Choice;
use egui::Theme;
use egui_kittest::Harness;

use super::{builder, options};

/// Whether pictures can be made here; the reason is printed when they can not.
pub fn can_draw() -> bool {
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

/// A window that looks like `theme`, with `folder` open at `place`.
pub fn draw(theme: Theme, folder: Option<PathBuf>, place: Option<Place>) -> Harness<'static, App> {
    let file = tempfile::tempdir().unwrap().keep().join("window.json");
    let choice = if theme == Theme::Dark { Choice::Dark } else { Choice::Light };
    SettingsFile::at(&file).write(&Settings { theme: choice, ..Settings::default() }).unwrap();
    let options = Options { folder, place, settings: SettingsFile::at(file), ..options() };
    // The harness puts its own theme on after the window has chosen one, so it must be told too.
    builder().with_theme(theme).wgpu().build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
}

/// Lets everything come to rest and hides what differs from run to run: the path of the folder.
pub fn settle(window: &mut Harness<'static, App>) {
    for _ in 0..40 {
        window.step();
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    window.mask(egui::Rect::from_min_max(egui::pos2(160.0, 0.0), egui::pos2(1200.0, 36.0)));
}
