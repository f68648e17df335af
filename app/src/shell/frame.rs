//! The window's state, and how a frame is made of it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use egui::{Context, Frame, Margin, Panel, RichText, Ui};

use super::help::Help;
use super::palette::{self, Palette};
use super::path_prompt::{PathAnswer, PathFor, PathPrompt};
use super::turns::Turns;
use super::{DesktopPicker, FolderPicker, Picked, Settings, SettingsFile, Workspace, tree};
use crate::action::{Action, Command, Menu, Save};
use crate::address::Place;
use crate::load::{Lane, Problem, Request, Workers};
use crate::theme::{self, space, tokens::height, tokens::size};
use crate::training::Jobs;
use crate::views::{Scene, welcome};
use crate::widgets::notice;
use crate::words::place;

/// Width of the window under which the tree is narrow, so that what it leads to has room.
const NARROW: f32 = 760.0;

/// How the window is started.
pub struct Options {
    /// Folder to open at once.
    pub folder: Option<PathBuf>,
    /// Place to go to in it.
    pub place: Option<Place>,
    /// Where settings are kept.
    pub settings: SettingsFile,
    /// How folders are chosen.
    pub picker: Box<dyn FolderPicker>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: None,
            place: None,
            settings: SettingsFile::of_user(),
            picker: Box::<DesktopPicker>::default(),
        }
    }
}

/// The window.
pub struct App {
    pub(super) workers: Workers,
    pub(super) settings: Settings,
    settings_file: SettingsFile,
    saved: Request<()>,
    /// Waits for the person to say where.
    pub(super) saving: Option<Save>,
    /// The path of a file that was saved.
    pub(super) exported: Request<String>,
    /// A picture of the window that is being taken, and its name.
    pub(super) picture: Option<(String, Receiver<egui::ColorImage>)>,
    pub(super) picker: Box<dyn FolderPicker>,
    /// Asks for a path where the desktop has no dialog.
    pub(super) path_prompt: PathPrompt,
    /// The commands that run next to the window.
    pub(super) jobs: Jobs,
    demo: welcome::Demo,
    pub(super) palette: Palette,
    pub(super) help: Help,
    tree: tree::TreeState,
    pub(super) workspace: Option<Workspace>,
    pub(super) actions: Vec<Action>,
    /// Keys of this frame that have the next one.
    turns: Turns,
    /// What went wrong and has no better place.
    pub(super) problems: Vec<Problem>,
    /// A word about what just happened, and until when.
    said: Option<(String, f64)>,
    pub(super) dark: bool,
    now: f64,
    title: String,
}

impl App {
    /// Starts the workers, puts on the look and opens what was asked for.
    ///
    /// # Errors
    /// The worker threads cannot be started.
    pub fn new(ctx: &Context, options: Options) -> Result<Self, Problem> {
        theme::install(ctx);
        // Zoom keys are commands like all others.
        ctx.options_mut(|o| o.zoom_with_keyboard = false);
        // Read once, before there is anything to hold up.
        let (settings, problem) = options.settings.read();
        ctx.set_theme(settings.theme.preference());
        ctx.set_zoom_factor(settings.zoom);
        theme::set_motion(ctx, settings.motion);
        let mut app = Self {
            workers: Workers::start(ctx)?,
            settings,
            settings_file: options.settings,
            saved: Request::new(),
            saving: None,
            exported: Request::new(),
            picture: None,
            picker: options.picker,
            path_prompt: PathPrompt::default(),
            jobs: Jobs::default(),
            demo: welcome::Demo::find(),
            palette: Palette::default(),
            help: Help::default(),
            tree: tree::TreeState::default(),
            workspace: None,
            actions: Vec::new(),
            turns: Turns::default(),
            problems: problem.into_iter().collect(),
            said: None,
            dark: true,
            now: 0.0,
            title: String::new(),
        };
        if let Some(folder) = options.folder {
            app.open(&folder, options.place);
        }
        Ok(app)
    }

    /// Opens `folder` and goes to `place` when it has been read.
    pub(super) fn open(&mut self, folder: &Path, place: Option<Place>) {
        let typed = folder;
        let folder = place::whole(folder);
        let place =
            place.map(|there| if there.folder() == Some(typed) { there.below(&folder) } else { there });
        // A place in a folder that was open before is shown among what else is there.
        let around =
            self.settings.recent.iter().filter(|recent| place.is_some() && folder.starts_with(recent));
        let folder = around.max_by_key(|recent| recent.as_os_str().len()).cloned().unwrap_or(folder);
        let layout = self.settings.layout(&folder).cloned();
        let trainings = self.workspace.take().map(|mut old| std::mem::take(&mut old.stores.trainings));
        let mut workspace = Workspace::open(&folder, place, layout, &self.workers);
        workspace.stores.trainings = trainings.unwrap_or_default();
        workspace.stores.trainings.program.clone_from(&self.settings.program);
        self.workspace = Some(workspace);
    }

    /// Where the person is.
    pub fn here(&self) -> Option<Place> {
        self.workspace.as_ref()?.tabs.as_ref()?.here()
    }

    /// The open folder, if any.
    pub fn workspace(&self) -> Option<&Workspace> {
        self.workspace.as_ref()
    }

    /// Whether nothing is at work in the background.
    pub fn idle(&self) -> bool {
        self.workers.idle()
    }

    pub(super) fn say(&mut self, what: String) {
        self.said = Some((what, self.now + 4.0));
    }

    /// Writes the settings in the background.
    pub(super) fn save(&mut self) {
        let (file, settings) = (self.settings_file.clone(), self.settings.clone());
        self.saved.ask(&self.workers, Lane::Settings, move || file.write(&settings));
    }

    /// Remembers the tabs of the open folder.
    pub(super) fn keep_layout(&mut self) {
        if let Some(workspace) = &self.workspace
            && let Some(layout) = workspace.tabs.as_ref().and_then(super::tabs::Tabs::to_json)
            && self.settings.layout(&workspace.root) != Some(&layout)
        {
            let root = workspace.root.clone();
            self.settings.set_layout(&root, layout);
            self.save();
        }
    }

    /// Everything but drawing; once per frame.
    pub fn logic(&mut self, ctx: &Context) {
        self.turns.take(ctx);
        self.now = ctx.input(|i| i.time);
        match self.picker.poll() {
            Some(Picked::Chosen(folder)) => self.actions.push(Action::Open(folder)),
            Some(Picked::NoDialog) => {
                let here = std::env::current_dir().unwrap_or_default();
                self.path_prompt.ask(PathFor::Open, &here);
            }
            Some(Picked::Cancelled) | None => {}
        }
        self.jobs.poll();
        self.open_what_was_made();
        let dropped = ctx.input(|i| i.raw.dropped_files.first().map(|f| f.path().to_owned()));
        self.actions.extend(dropped.map(Action::Open));
        self.keys(ctx);
        self.take_picture();
        self.apply(ctx);
        self.save_files();
        if self.saved.poll(&self.workers)
            && let Some(problem) = self.saved.problem()
            && !self.problems.contains(problem)
        {
            self.problems.push(problem.clone());
        }
        self.follow(ctx);
        self.look_up();
        // What the views asked for in their logic is under way before they are drawn.
        self.apply(ctx);
        let until = self.said.as_ref().map(|(_, until)| *until);
        if until.is_some_and(|until| until <= self.now) {
            self.said = None;
        } else if let Some(until) = until {
            ctx.request_repaint_after_secs((until - self.now) as f32);
        }
        self.set_title(ctx);
    }

    /// Lets the palette look for features by name.
    fn look_up(&mut self) {
        let here = self.here();
        let folder = self.workspace.as_ref().and_then(|workspace| workspace.folder.value().cloned());
        let scope = palette::SearchScope {
            folder: folder.as_deref(),
            here: here.as_ref(),
            recent: &self.settings.recent,
            stores: self.workspace.as_ref().map(|workspace| &workspace.stores),
        };
        self.palette.logic(scope, &self.workers);
    }

    fn follow(&mut self, ctx: &Context) {
        let Some(workspace) = &mut self.workspace else { return };
        let new = workspace.tabs.is_none();
        let lent = (&self.jobs, &self.settings.preferences);
        workspace.logic(&self.workers, lent, self.now, &mut self.actions);
        let running = workspace.is_live();
        if let Some(problem) = workspace.take_failure()
            && !self.problems.contains(&problem)
        {
            self.problems.push(problem);
        }
        ctx.request_repaint_after_secs(if running { 1.0 } else { super::workspace::IDLE as f32 });
        let holds = workspace.folder.value().is_some_and(|folder| !folder.is_empty());
        if new && workspace.tabs.is_some() && holds {
            let root = workspace.root.clone();
            self.settings.remember(&root);
            self.save();
        }
    }

    fn keys(&mut self, ctx: &Context) {
        let (typing, here) = (ctx.egui_wants_keyboard_input(), self.here());
        let blocked = self.palette.is_open() || self.path_prompt.is_open() || self.help.is_open();
        for command in Command::ALL {
            let Some(shortcut) = command.shortcut() else { continue };
            if (blocked && !matches!(command, Command::Palette | Command::Help))
                || (command.is_bare_key() && (typing || !command.key_acts(here.as_ref())))
            {
                continue;
            }
            if ctx.input_mut(|i| i.consume_shortcut(&shortcut)) {
                self.actions.push(Action::Do(command));
            }
        }
        // The same key without shift, as most keyboards have it.
        let plus = egui::KeyboardShortcut::new(egui::Modifiers::COMMAND, egui::Key::Equals);
        if ctx.input_mut(|i| i.consume_shortcut(&plus)) {
            self.actions.push(Action::Do(Command::ZoomIn));
        }
    }

    fn set_title(&mut self, ctx: &Context) {
        let title = match &self.workspace {
            Some(workspace) => {
                let name = workspace.root.file_name().unwrap_or(workspace.root.as_os_str());
                format!("{} – SAE Workbench", name.to_string_lossy())
            }
            None => "SAE Workbench".to_owned(),
        };
        if title != self.title {
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(title.clone()));
            self.title = title;
        }
    }

    /// Draws the window.
    pub fn draw(&mut self, ui: &mut Ui) {
        self.dark = ui.visuals().dark_mode;
        self.bar(ui);
        self.reports(ui);
        self.list_jobs(ui);
        let folder = self.workspace.as_ref().and_then(|w| w.folder.value().cloned());
        let here = self.here();
        if let (Some(folder), true) = (&folder, self.settings.tree) {
            let frame = Frame::new().fill(theme::palette(ui).side);
            let narrow = ui.available_width() < NARROW;
            let (id, width, range) = if narrow {
                ("narrow tree", 152.0_f32, 120.0_f32..=220.0)
            } else {
                ("tree", 248.0, 160.0..=480.0)
            };
            Panel::left(id).frame(frame).default_size(width).size_range(range).show(ui, |ui| {
                let preferences = &self.settings.preferences;
                tree::show(ui, folder, &mut self.tree, preferences, here.as_ref(), &mut self.actions);
            });
        }
        egui::CentralPanel::default()
            .frame(Frame::new().fill(theme::palette(ui).ground))
            .show(ui, |ui| self.centre(ui));
        let scope = palette::SearchScope {
            folder: folder.as_deref(),
            here: here.as_ref(),
            recent: &self.settings.recent,
            stores: self.workspace.as_ref().map(|workspace| &workspace.stores),
        };
        self.palette.show(ui.ctx(), scope, &mut self.actions);
        self.help.show(ui.ctx());
        match self.path_prompt.show(ui.ctx()) {
            Some(PathAnswer::Path(PathFor::Open | PathFor::Address, folder)) => {
                self.actions.push(Action::Open(folder));
            }
            Some(PathAnswer::Path(PathFor::Save, file)) => self.save_to(file),
            Some(PathAnswer::Cancelled(PathFor::Save)) => self.saving = None,
            Some(PathAnswer::Cancelled(PathFor::Open | PathFor::Address)) | None => {}
        }
        drop_here(ui.ctx());
        focus_ring(ui.ctx());
        if !self.actions.is_empty() {
            ui.ctx().request_repaint();
        }
    }

    fn centre(&mut self, ui: &mut Ui) {
        let (recent, jobs, demo) = (&self.settings.recent, &self.jobs, &self.demo);
        let page = |problem| welcome::Welcome { recent, problem, jobs, demo, foreign: None };
        let Some(workspace) = &mut self.workspace else {
            return welcome::show(ui, page(None), &mut self.actions);
        };
        let folder = workspace.folder.value().cloned();
        let waits = match folder {
            Some(_) => (None, None),
            None => (workspace.opening(), workspace.problem().cloned()),
        };
        let (Some(folder), Some(tabs)) = (folder, workspace.tabs.as_mut()) else {
            return match waits {
                (Some(what), _) => notice::loading(ui, &what),
                (None, Some(problem)) => welcome::show(ui, page(Some(&problem)), &mut self.actions),
                (None, None) => notice::loading(ui, "Looking for runs and datasets…"),
            };
        };
        if let Some(foreign) = &folder.foreign {
            let page = welcome::Welcome { foreign: Some(foreign), ..page(None) };
            return welcome::show(ui, page, &mut self.actions);
        }
        if folder.is_empty() {
            let nothing =
                Problem::new(format!("There are no runs or datasets in {}.", workspace.root.display()))
                    .with_remedy("Open a folder with runs or datasets, or make the demo below.");
            return welcome::show(ui, page(Some(&nothing)), &mut self.actions);
        }
        let before = tabs.here();
        let preferences = &self.settings.preferences;
        let mut scene =
            Scene::new(&folder, &workspace.stores, &self.jobs, preferences, self.now, &mut self.actions);
        let edited = tabs.ui(ui, &mut scene);
        let after = tabs.here();
        if after != before
            && let Some(place) = after
        {
            workspace.history.visit(place);
        }
        if edited {
            self.keep_layout();
        }
    }

    fn bar(&mut self, ui: &mut Ui) {
        let p = theme::palette(ui);
        let frame = Frame::new().fill(p.side).inner_margin(Margin::symmetric(space::S as i8, 0));
        Panel::top("bar").frame(frame).exact_size(height::BAR).show(ui, |ui| {
            ui.horizontal_centered(|ui| {
                ui.scope(|ui| {
                    egui::containers::menu::menu_style(ui.style_mut());
                    for menu in Menu::ALL {
                        ui.menu_button(menu.name(), |ui| self.menu(ui, menu));
                    }
                });
                ui.add_space(space::S);
                let (back, forward) = self
                    .workspace
                    .as_ref()
                    .map_or((false, false), |w| (w.history.can_go_back(), w.history.can_go_forward()));
                self.bar_button(ui, "←", Command::Back, back);
                self.bar_button(ui, "→", Command::Forward, forward);
                ui.add_space(space::S);
                if let Some(workspace) = &self.workspace {
                    let path = workspace.root.display().to_string();
                    let path = RichText::new(path).size(size::SMALL).color(p.weak);
                    let room = (ui.available_width() - 320.0).max(80.0);
                    ui.scope(|ui| {
                        ui.set_max_width(room);
                        let label = ui.add(egui::Label::new(path).truncate());
                        if workspace.is_remote() {
                            label.on_hover_text(
                                "A copy on this machine, as it was when it was opened. Reload (F5) asks the store what it has now.",
                            );
                        }
                    });
                }
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    self.bar_button(ui, "◐", Command::ToggleTheme, true);
                    if let Some((said, _)) = &self.said {
                        ui.add(
                            egui::Label::new(RichText::new(said).size(size::SMALL).color(p.good)).truncate(),
                        );
                    } else if let Some(opening) = self.workspace.as_ref().and_then(Workspace::opening) {
                        ui.add(egui::Label::new(RichText::new(opening).size(size::SMALL).color(p.weak)).truncate());
                    } else if self.workspace.as_ref().is_some_and(Workspace::is_live) {
                        ui.label(RichText::new("live").size(size::SMALL).color(p.accent))
                            .on_hover_text("A run is being trained; the window follows its files");
                    }
                });
            });
        });
    }

    fn menu(&mut self, ui: &mut Ui, menu: Menu) {
        ui.set_min_width(220.0);
        for command in Command::ALL.into_iter().filter(|c| c.menu() == menu) {
            let key = command.key_text(ui.ctx());
            if command.begins_group() {
                ui.separator();
            }
            let button = egui::Button::new(command.name()).shortcut_text(key);
            if ui.add(button).on_hover_text(command.tooltip()).clicked() {
                self.actions.push(Action::Do(command));
                ui.close();
            }
        }
        if menu == Menu::File && !self.settings.recent.is_empty() {
            ui.separator();
            ui.menu_button("Recent folders", |ui| {
                for folder in &self.settings.recent {
                    if ui.button(folder.display().to_string()).clicked() {
                        self.actions.push(Action::Open(folder.clone()));
                        ui.close();
                    }
                }
            });
        }
    }

    fn bar_button(&mut self, ui: &mut Ui, sign: &str, command: Command, enabled: bool) {
        let button = ui.add_enabled(enabled, egui::Button::new(sign).frame_when_inactive(false));
        button.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, enabled, command.name()));
        let key = command.key_text(ui.ctx());
        if button.on_hover_text(format!("{} ({key})", command.tooltip())).clicked() {
            self.actions.push(Action::Do(command));
        }
    }

    /// Problems that have no better place, each until it is dismissed.
    fn reports(&mut self, ui: &mut Ui) {
        if self.problems.is_empty() {
            return;
        }
        let frame = Frame::new().fill(theme::palette(ui).side).inner_margin(Margin::same(space::S as i8));
        let mut dismissed = None;
        Panel::bottom("reports").frame(frame).show(ui, |ui| {
            for (i, problem) in self.problems.iter().enumerate() {
                ui.horizontal(|ui| {
                    if ui.small_button("Dismiss").clicked() {
                        dismissed = Some(i);
                    }
                    notice::problem_line(ui, problem);
                });
            }
        });
        if let Some(i) = dismissed {
            self.problems.remove(i);
        }
    }
}

/// While something is dragged over the window: what happens when it is let go.
fn drop_here(ctx: &Context) {
    if ctx.input(|i| i.raw.hovered_files.is_empty()) {
        return;
    }
    let layer = egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop here"));
    let (painter, rect) = (ctx.layer_painter(layer), ctx.content_rect());
    let p = theme::tokens::of(ctx.theme());
    painter.rect_filled(rect, 0.0, p.shadow);
    painter.rect_stroke(rect.shrink(8.0), 8.0, egui::Stroke::new(2.0, p.accent), egui::StrokeKind::Inside);
    let font = egui::FontId::proportional(size::TITLE);
    painter.text(rect.center(), egui::Align2::CENTER_CENTER, "Drop a folder to open it", font, p.strong);
}

/// A ring around what has the keyboard. Fields show a cursor and a frame of their own.
fn focus_ring(ctx: &Context) {
    if ctx.egui_wants_keyboard_input() {
        return;
    }
    let Some(response) = ctx.memory(|m| m.focused()).and_then(|id| ctx.read_response(id)) else { return };
    let p = theme::tokens::of(ctx.theme());
    let painter = ctx.layer_painter(response.layer_id);
    painter.rect_stroke(
        response.interact_rect,
        theme::tokens::RADIUS,
        egui::Stroke::new(1.5, p.accent),
        egui::StrokeKind::Inside,
    );
}

impl eframe::App for App {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        App::logic(self, ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
    }

    fn on_exit(&mut self, _gl: Option<&eframe::glow::Context>) {
        if let Some(workspace) = &self.workspace
            && let Some(layout) = workspace.tabs.as_ref().and_then(super::tabs::Tabs::to_json)
        {
            let root = workspace.root.clone();
            self.settings.set_layout(&root, layout);
        }
        if let Some(workspace) = &mut self.workspace {
            // Notes that no worker has written yet. The window is gone: there is nobody left to tell.
            let _ = workspace.stores.finish();
        }
        // The same here.
        let _ = self.settings_file.write(&self.settings);
    }
}
