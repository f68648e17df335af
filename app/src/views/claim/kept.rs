//! The claims of a run that were kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, Popup, PopupCloseBehavior, RichText, Role, TextEdit, Ui, WidgetInfo};

use crate::claims::{Bench, ClaimTest, Rule};
use crate::data::claims::{self, Claim, ClaimIntervention};
use crate::load::{Lane, Request, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format, notice, rule};
use crate::words::place;

/// What is kept, and what is to be.
#[derive(Debug, Default)]
pub struct Kept {
    read: Request<Vec<Claim>>,
    written: Request<Vec<Claim>>,
    /// What was written is sent to the store that the run is a copy of.
    sent: Request<()>,
    wanted: Option<Change>,
    by: Option<String>,
    /// What changing features did, to be kept with the claim.
    pub interventions: Vec<ClaimIntervention>,
    /// Whether a figure of the claim is to be made.
    pub figure_wanted: bool,
}

#[derive(Debug)]
enum Change {
    Keep(Arc<ClaimTest>, Vec<ClaimIntervention>, bool),
    Withdraw(Box<Claim>),
}

impl Kept {
    /// Once per frame: reads the file, and writes what was asked for.
    pub fn logic(&mut self, run: &Path, workers: &Workers) {
        let path: PathBuf = run.to_owned();
        if self.read.untouched() {
            let path = path.clone();
            self.read.ask(workers, Lane::Folders, move || claims::read(&path));
        }
        self.read.poll(workers);
        if !self.written.loading()
            && let Some(change) = self.wanted.take()
        {
            let (by, path) = (self.author().to_owned(), path.clone());
            self.written.ask(workers, Lane::Settings, move || match change {
                Change::Keep(test, interventions, looked) => {
                    Bench::keep(&path, &test, &interventions, by.trim(), looked)
                }
                Change::Withdraw(claim) => Bench::withdraw(&path, &claim),
            });
        }
        if self.written.poll(workers) && self.written.problem().is_none() {
            self.sent.ask(workers, Lane::Settings, move || claims::publish(&path));
        }
        self.sent.poll(workers);
    }

    /// Whether it is known what is kept, or that it cannot be read.
    pub fn is_loaded(&self) -> bool {
        !self.read.untouched() && !self.read.loading()
    }

    /// The claims about `feature`.
    pub fn of(&self, feature: u32) -> impl Iterator<Item = &Claim> {
        let all = self.written.value().or(self.read.value());
        all.into_iter().flat_map(|all| all.iter()).filter(move |claim| claim.feature == feature)
    }

    /// Adds what a change did; the same change at the same place takes the place of the one before.
    pub fn add(&mut self, one: ClaimIntervention) {
        let same = |other: &ClaimIntervention| {
            (other.document, other.position, &other.change) == (one.document, one.position, &one.change)
        };
        self.interventions.retain(|other| !same(other));
        self.interventions.push(one);
    }

    /// Draws what changing features did.
    fn changes(&mut self, ui: &mut Ui) {
        if self.interventions.is_empty() {
            return;
        }
        facts::caption(ui, "Changes in the model, kept and exported with the claim");
        let mut gone = None;
        for (i, one) in self.interventions.iter().enumerate() {
            ui.push_id(("intervention", i), |ui| {
                let words = in_words(one);
                ui.horizontal(|ui| {
                    let remove = ui.add(Button::new(RichText::new("×").color(palette(ui).weak)).frame(false));
                    remove.widget_info(|| {
                        WidgetInfo::labeled(Role::Button, true, format!("Remove: {}", one.change))
                    });
                    if remove.on_hover_text("Leave it out of the claim").clicked() {
                        gone = Some(i);
                    }
                    let random = one
                        .random_kl
                        .map_or_else(String::new, |[mean, ..]| format!(" · random {}", format::value(mean)));
                    let short = format!("{} · KL {}{random}", one.change, format::value(one.kl));
                    let label = ui.add(egui::Label::new(RichText::new(short).size(size::SMALL)).truncate());
                    label.widget_info(|| WidgetInfo::labeled(Role::Label, true, &words));
                    label.on_hover_text(&words);
                });
            });
        }
        if let Some(i) = gone {
            self.interventions.remove(i);
        }
        ui.add_space(space::S);
    }

    /// Who keeps: what was typed, or the name of the account.
    fn author(&mut self) -> &mut String {
        let account = || std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_default();
        self.by.get_or_insert_with(account)
    }

    /// The button that keeps a tested claim.
    pub fn keep_button(&mut self, ui: &mut Ui, run: &Path, test: Option<&Arc<ClaimTest>>, looked: bool) {
        let ready = test.is_some() && !self.written.loading();
        let button = ui.add_enabled(ready, Button::new("Keep"));
        let button = button
            .on_hover_text("Keep the claim with its scores and counter-examples in the run: claims.json");
        Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
            ui.set_min_width(220.0);
            facts::caption(ui, "Who claims it");
            let field = ui.add(TextEdit::singleline(self.author()));
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Who claims it"));
            if let Some(place) = place::written_to(run) {
                ui.label(RichText::new(place).size(size::SMALL).color(palette(ui).weak));
            }
            if looked {
                ui.label(
                    RichText::new("Marked: its held-back documents were looked at")
                        .color(palette(ui).warning),
                );
            }
            if let Some(test) = test
                && ui.button("Keep claim").clicked()
            {
                self.wanted = Some(Change::Keep(Arc::clone(test), self.interventions.clone(), looked));
                ui.close();
            }
        });
    }

    /// Draws the claims about a feature; a click puts one into the editor.
    pub fn show(&mut self, ui: &mut Ui, feature: u32, editor: &mut String) {
        for problem in
            [self.written.problem(), self.read.problem(), self.sent.problem()].into_iter().flatten()
        {
            notice::problem_line(ui, problem);
        }
        self.changes(ui);
        let claims: Vec<Claim> = self.of(feature).cloned().collect();
        if claims.is_empty() {
            return;
        }
        facts::caption(ui, "Kept claims, which `sae explain` scores next to its own rules");
        for (i, claim) in claims.iter().enumerate() {
            ui.push_id(("kept", i), |ui| self.line(ui, claim, editor));
        }
        ui.add_space(space::XS);
    }

    fn line(&mut self, ui: &mut Ui, claim: &Claim, editor: &mut String) {
        let p = palette(ui);
        ui.horizontal(|ui| {
            let f1 = claim.scores.map_or_else(|| "–".to_owned(), |scores| format!("{:.2}", scores.f1[0]));
            ui.label(RichText::new(format!("F1 {f1}")).size(size::SMALL).color(p.text));
            let remove = ui.add(Button::new(RichText::new("×").color(p.weak)).frame(false));
            remove
                .widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Withdraw {}", claim.rule)));
            if remove.on_hover_text("Withdraw this claim").clicked() {
                self.wanted = Some(Change::Withdraw(Box::new(claim.clone())));
            }
            let words = Rule::parse(&claim.rule).map_or_else(|_| claim.rule.clone(), |rule| rule.words());
            let by = match (claim.by.as_str(), claim.looked) {
                ("", false) => String::new(),
                (by, false) => format!("  {by}"),
                (by, true) => format!("  {by}, looked at held-back documents"),
            };
            let shown = RichText::new(format!("{}{by}", rule::short(&words, 44)));
            let link = ui.add(egui::Link::new(shown));
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Kept claim: {words}")));
            if link.on_hover_text(format!("{words}\nClick to test it again")).clicked() {
                editor.clone_from(&claim.rule);
            }
        });
    }
}

/// All of it in words.
fn in_words(one: &ClaimIntervention) -> String {
    let number = format::value;
    let spread = |of: Option<[f64; 3]>| {
        of.map_or_else(String::new, |[mean, low, high]| {
            format!(", random directions {} ({} to {})", number(mean), number(low), number(high))
        })
    };
    let loss = one.loss.map_or_else(String::new, |[before, after]| {
        format!("\nloss {} → {} nats/token{}", number(before), number(after), spread(one.random_loss))
    });
    format!(
        "{} at document {}, position {}, over {} tokens\nKL {} nats/token{}{loss}",
        one.change,
        one.document,
        one.position,
        one.tokens,
        number(one.kl),
        spread(one.random_kl)
    )
}
