//! The real window without a display: frames from made-up mouse and keys, their shapes and triangles, and what they cost.

use std::path::Path;
use std::time::{Duration, Instant};

use app::address::Place;
use app::shell::{App, FixedPicker, Options, SettingsFile};
use cpu_time::ThreadTime;
use egui::accesskit::Node;
use egui::{
    Context, Event, Key, Modifiers, MouseWheelUnit, PointerButton, Pos2, RawInput, Rect, Shape, TouchPhase,
    Vec2, pos2, vec2,
};

/// Size of the window.
pub const SCREEN: Vec2 = Vec2::new(1920.0, 1080.0);
/// A screen's frame.
const FRAME: f64 = 1.0 / 60.0;

/// The window and the clock that it goes by.
pub struct Window {
    ctx: Context,
    app: App,
    time: f64,
    events: Vec<Event>,
    /// Events of the frame after the next.
    next: Vec<Event>,
    /// Texts of the last frame that was looked at.
    texts: Vec<String>,
    /// Sums up where everything of the last frame was drawn, so that two frames can be told apart.
    print: u64,
}

impl Window {
    /// A window that remembers nothing, with `root` open at `place`.
    pub fn open(root: &Path, place: Option<Place>) -> Self {
        let ctx = Context::default();
        let options = Options {
            folder: Some(root.to_owned()),
            place,
            settings: SettingsFile::nowhere(),
            picker: Box::new(FixedPicker::new(root)),
        };
        let app = App::new(&ctx, options).expect("threads can be started");
        Self { ctx, app, time: 0.0, events: Vec::new(), next: Vec::new(), texts: Vec::new(), print: 0 }
    }

    /// Where the person is.
    pub fn here(&self) -> Option<Place> {
        self.app.here()
    }

    /// One frame of a smooth screen; what of it was our own work: logic, layout and triangles, in CPU time of this thread.
    pub fn frame(&mut self) -> Duration {
        self.step(FRAME, false)
    }

    fn step(&mut self, seconds: f64, look: bool) -> Duration {
        self.time += seconds;
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, SCREEN)),
            time: Some(self.time),
            predicted_dt: FRAME as f32,
            events: std::mem::replace(&mut self.events, std::mem::take(&mut self.next)),
            focused: true,
            ..RawInput::default()
        };
        let before = ThreadTime::now();
        let mut output = self.ctx.run_ui(input, |ui| {
            self.app.logic(ui.ctx());
            self.app.draw(ui);
        });
        let mut spent = before.elapsed();
        let shapes = std::mem::take(&mut output.shapes);
        if look {
            self.texts.clear();
            shapes.iter().for_each(|clipped| texts(&clipped.shape, &mut self.texts));
        }
        let before = ThreadTime::now();
        let primitives = self.ctx.tessellate(shapes, output.pixels_per_point);
        spent += before.elapsed();
        self.print = print(&primitives);
        output.drop_without_applying_deltas();
        spent
    }

    /// What stands for the look of the last frame.
    pub fn print(&self) -> u64 {
        self.print
    }

    /// Frames until one shows what `done` looks for in its texts; how long that took by the clock on the wall.
    pub fn until(&mut self, what: &str, done: impl Fn(&[String]) -> bool) -> Duration {
        let start = Instant::now();
        let mut last = start;
        loop {
            let seconds = last.elapsed().as_secs_f64();
            last = Instant::now();
            self.step(seconds.max(0.001), true);
            if done(&self.texts) {
                return start.elapsed();
            }
            let shown = self.texts.join(" | ");
            assert!(start.elapsed() < Duration::from_secs(120), "waited for {what}; shown: {shown}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What is written on the screen.
    pub fn look(&mut self) -> &[String] {
        self.step(FRAME, true);
        &self.texts
    }

    /// Lets everything that moves or loads come to rest.
    pub fn settle(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            self.frame();
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    /// Presses a key.
    pub fn key(&mut self, modifiers: Modifiers, key: Key) {
        let event = |pressed| Event::Key { key, physical_key: None, pressed, repeat: false, modifiers };
        self.events.extend([Event::ModifiersChanged(modifiers), event(true)]);
        self.next.extend([event(false), Event::ModifiersChanged(Modifiers::NONE)]);
    }

    /// Writes into the field that has the keyboard.
    pub fn write(&mut self, text: &str) {
        self.events.push(Event::Text(text.to_owned()));
    }

    /// Chooses what the palette finds first for `text`, with the next frame.
    pub fn go(&mut self, text: &str) {
        self.key(Modifiers::COMMAND, Key::P);
        self.frame();
        self.frame();
        self.write(text);
        self.frame();
        self.frame();
        self.key(Modifiers::NONE, Key::Enter);
    }

    /// Moves the pointer.
    pub fn point(&mut self, at: Pos2) {
        self.events.push(Event::PointerMoved(at));
    }

    /// Presses the button of the mouse, or lets it go.
    pub fn button(&mut self, at: Pos2, pressed: bool) {
        let modifiers = Modifiers::NONE;
        self.events.push(Event::PointerButton {
            pos: at,
            button: PointerButton::Primary,
            pressed,
            modifiers,
        });
    }

    /// Turns the wheel by `lines`.
    pub fn wheel(&mut self, lines: f32) {
        self.scroll(vec2(0.0, lines));
    }

    /// Scrolls by lines to the right and down.
    pub fn scroll(&mut self, delta: Vec2) {
        self.events.push(Event::MouseWheel {
            unit: MouseWheelUnit::Line,
            delta,
            phase: TouchPhase::Move,
            source: egui::MouseWheelSource::Wheel,
            modifiers: Modifiers::NONE,
        });
    }

    /// Clicks on the widget of this accessible name.
    pub fn click(&mut self, name: &str) {
        let at = self.find(name).unwrap_or_else(|| panic!("there is no `{name}`")).center();
        self.point(at);
        self.frame();
        self.button(at, true);
        self.frame();
        self.button(at, false);
        self.frame();
    }

    /// Where the widget is whose accessible name begins so.
    pub fn find(&mut self, name: &str) -> Option<Rect> {
        let found = self.places().into_iter().find(|(label, _)| label.starts_with(name));
        found.map(|(_, rect)| rect)
    }

    /// All accessible names of the screen.
    pub fn names(&mut self) -> Vec<String> {
        self.places().into_iter().map(|(label, _)| label).collect()
    }

    /// All accessible names of the screen and where they are.
    pub fn places(&mut self) -> Vec<(String, Rect)> {
        let named = |node: &Node| node.label().map(ToOwned::to_owned);
        self.nodes(named)
    }

    /// Where the text is that begins so.
    pub fn find_text(&mut self, text: &str) -> Option<Rect> {
        let texts = self.nodes(|node| node.value().map(ToOwned::to_owned));
        texts.into_iter().find(|(shown, _)| shown.starts_with(text)).map(|(_, rect)| rect)
    }

    fn nodes(&mut self, said: impl Fn(&Node) -> Option<String>) -> Vec<(String, Rect)> {
        self.ctx.enable_accesskit();
        self.frame_tree(&said);
        let nodes = self.frame_tree(&said);
        self.ctx.disable_accesskit();
        nodes
    }

    fn frame_tree(&mut self, said: &impl Fn(&Node) -> Option<String>) -> Vec<(String, Rect)> {
        self.time += FRAME;
        let input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, SCREEN)),
            time: Some(self.time),
            focused: true,
            ..RawInput::default()
        };
        let mut output = self.ctx.run_ui(input, |ui| {
            self.app.logic(ui.ctx());
            self.app.draw(ui);
        });
        let update = output.platform_output.accesskit_update.take();
        output.drop_without_applying_deltas();
        let rect = |b: egui::accesskit::Rect| {
            Rect::from_min_max(pos2(b.x0 as f32, b.y0 as f32), pos2(b.x1 as f32, b.y1 as f32))
        };
        let nodes = update.into_iter().flat_map(|update| update.nodes);
        nodes.filter_map(|(_, node)| Some((said(&node)?, rect(node.bounds()?)))).collect()
    }
}

fn print(primitives: &[egui::ClippedPrimitive]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    for primitive in primitives {
        if let egui::epaint::Primitive::Mesh(mesh) = &primitive.primitive {
            // Every few vertices are enough to see that something moved.
            for vertex in mesh.vertices.iter().step_by(7) {
                hasher.write_u32(vertex.pos.x.to_bits() ^ vertex.pos.y.to_bits().rotate_left(16));
                hasher.write_u32(vertex.uv.x.to_bits() ^ vertex.uv.y.to_bits().rotate_left(16));
            }
        }
    }
    hasher.finish()
}

fn texts(shape: &Shape, found: &mut Vec<String>) {
    match shape {
        Shape::Text(text) => found.push(text.galley.text().to_owned()),
        Shape::Vec(shapes) => shapes.iter().for_each(|shape| texts(shape, found)),
        _ => {}
    }
}

/// Median and 99th percentile of frames, in milliseconds.
pub fn spread(mut frames: Vec<Duration>) -> (f64, f64) {
    frames.sort_unstable();
    let at = |share: f64| frames[((frames.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.99))
}

/// Prints one line: what, how much, and whether that is what we want.
pub fn line(what: &str, value: f64, unit: &str, target: Option<f64>) {
    let verdict = target.map_or(String::new(), |most| {
        format!("≤ {most} {unit}: {}", if value <= most { "met" } else { "MISSED" })
    });
    println!("{what:<58} {value:>9.2} {unit:<3} {verdict}");
}

/// Frames of one kind of work. Frames that all look alike would mean that nothing happened.
#[derive(Default)]
pub struct Frames {
    all: Vec<Duration>,
    prints: std::collections::HashSet<u64>,
}

impl Frames {
    /// One frame more.
    pub fn take(&mut self, window: &mut Window) {
        self.all.push(window.frame());
        self.prints.insert(window.print());
    }

    /// Prints their median and their 99th percentile.
    pub fn report(self, what: &str) {
        let n = self.all.len();
        assert!(self.prints.len() > n / 8, "{what}: of {n} frames only {} look different", self.prints.len());
        let (median, high) = spread(self.all);
        line(&format!("{what} ({n} frames), median"), median, "ms", Some(6.0));
        line(&format!("{what}, 99th percentile"), high, "ms", Some(16.0));
    }
}
