//! Pictures that are compared with those in `app/tests/snapshots`. Without a graphics adapter (a software one is enough:
//! mesa-vulkan-drivers) they are reported as skipped. `UPDATE_SNAPSHOTS=true cargo test -p app looks` makes all of them again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use app::address::Place;
use app::shell::{App, Options, Settings, SettingsFile};
use app::theme::Choice;
use egui::{Rect, Theme, Vec2, ViewportId, pos2, vec2};
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{Harness, SnapshotResults};

use super::{builder, options, wait_for_part};

/// A picture of one view.
pub struct Look<'a> {
    /// Its file, without `_dark` or `_light`.
    pub name: &'a str,
    /// The open folder.
    pub folder: PathBuf,
    /// The view.
    pub place: Place,
    /// The view's size, without the bars of the window.
    pub size: [f32; 2],
    /// In which looks.
    pub themes: &'a [Theme],
    /// Names or parts of them that are there when it is complete.
    pub there: &'a [&'a str],
}

impl Look<'_> {
    /// Takes the picture, after `prepare` did what a person would.
    pub fn take(&self, prepare: impl Fn(&mut Harness<'static, App>)) {
        self.take_without(None, prepare);
    }

    /// The same with the widget whose name contains `hidden` painted over: what it shows differs between processors.
    pub fn take_without(&self, hidden: Option<&str>, prepare: impl Fn(&mut Harness<'static, App>)) {
        if !can_draw() {
            return;
        }
        let mut results = SnapshotResults::new();
        for theme in self.themes {
            // The tree and the bars are in the pictures of the whole window.
            let size = Vec2::from(self.size) + vec2(0.0, BARS);
            let mut window = draw(*theme, size, false, Some(self.folder.clone()), Some(self.place.clone()));
            self.there.iter().for_each(|part| wait_for_part(&mut window, part));
            // What arrives later would move what is scrolled to.
            settle(&mut window);
            prepare(&mut window);
            settle(&mut window);
            window.remove_cursor();
            let mut image = window.render().unwrap();
            if let Some(part) = hidden {
                paint_over(&mut image, window.get_by_label_contains(part).rect());
            }
            let view = below_the_bars(&image);
            results.add(egui_kittest::try_image_snapshot(&view, format!("{}{}", self.name, suffix(*theme))));
        }
    }
}

fn paint_over(image: &mut image::RgbaImage, rect: Rect) {
    for y in rect.top().max(0.0) as u32..(rect.bottom() as u32).min(image.height()) {
        for x in rect.left().max(0.0) as u32..(rect.right() as u32).min(image.width()) {
            image.put_pixel(x, y, image::Rgba([128, 128, 128, 255]));
        }
    }
}

fn below_the_bars(image: &image::RgbaImage) -> image::RgbaImage {
    let (width, height) = image.dimensions();
    image::imageops::crop_imm(image, 0, BARS as u32, width, height - BARS as u32).to_image()
}

/// Height of the window's bar and its tabs.
const BARS: f32 = 72.0;

fn suffix(theme: Theme) -> &'static str {
    if theme == Theme::Dark { "_dark" } else { "_light" }
}

/// Whether pictures can be made here; reported as skipped where they cannot.
pub fn can_draw() -> bool {
    let attempt = std::panic::catch_unwind(|| {
        let mut harness = Harness::builder().with_size([8.0, 8.0]).wgpu().build_ui(|ui| drop(ui.label("x")));
        harness.render().is_ok()
    });
    let can = attempt.unwrap_or(false);
    if !can {
        fixtures::skip("pictures of the window", "no graphics adapter (Debian: mesa-vulkan-drivers)");
    }
    can
}

/// A window that looks like `theme`, with `folder` open at `place`.
pub fn draw(
    theme: Theme,
    size: Vec2,
    tree: bool,
    folder: Option<PathBuf>,
    place: Option<Place>,
) -> Harness<'static, App> {
    // Kept: the window writes its settings there until it ends.
    let home = tempfile::tempdir().unwrap().keep();
    let file = SettingsFile::at(home.join("window.json"));
    let choice = if theme == Theme::Dark { Choice::Dark } else { Choice::Light };
    file.write(&Settings { theme: choice, tree, ..Settings::default() }).unwrap();
    let options = Options { folder, place, settings: file, ..options() };
    // The harness puts its own theme on after the window has chosen one, so it must be told too.
    let builder = builder().with_size(size).with_theme(theme).wgpu();
    builder.build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap())
}

/// The whole window, taken when everything in `there` is.
pub fn whole(name: &str, themes: &[Theme], folder: Option<&Path>, place: Option<&Place>, there: &[&str]) {
    if !can_draw() {
        return;
    }
    let mut results = SnapshotResults::new();
    for theme in themes {
        let mut window =
            draw(*theme, vec2(1280.0, 800.0), true, folder.map(Path::to_path_buf), place.cloned());
        there.iter().for_each(|part| wait_for_part(&mut window, part));
        settle(&mut window);
        // The path of the folder differs from run to run.
        window.mask(Rect::from_min_max(pos2(160.0, 0.0), pos2(1200.0, 36.0)));
        results.add(window.try_snapshot(format!("{name}{}", suffix(*theme))));
    }
}

/// Steps until nothing is at work in the background and no frame asks for another one.
pub fn settle(window: &mut Harness<'static, App>) {
    let start = Instant::now();
    let mut still = 0;
    // What is done in the background is seen in the next frame, and may ask for more there.
    while still < 3 {
        window.step();
        let asked = window.output().viewport_output.get(&ViewportId::ROOT).map(|output| output.repaint_delay);
        // Runs are looked at again every second or so; that is not movement.
        let moves = asked.is_some_and(|delay| delay < Duration::from_millis(200));
        still = if window.state().idle() && !moves { still + 1 } else { 0 };
        assert!(start.elapsed() < Duration::from_secs(30), "the window does not come to rest");
        if still == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
