//! Pictures of experts and documents.

use app::address::Place;
use egui::Theme;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::common::pictures::Look;
use super::common::{click, facts, root, wait, wait_for, wait_for_part};
use super::{expert, experts, token};

fn look<'a>(name: &'a str, place: Place, there: &'a [&'a str]) -> Look<'a> {
    Look { name, folder: root(), place, size: [640.0, 480.0], themes: &[Theme::Dark], there }
}

#[test]
fn co_activation() {
    look("coactivation", experts(), &["Co-activation"]).take(|window| {
        click(window, "Co-activation");
        wait_for(window, "Co-activation of 16 experts of layer 0");
    });
}

#[test]
fn an_expert() {
    let (layer, number, domain) = facts::specialised();
    let domain = format!("{domain} · specialised");
    let there = [domain.as_str(), "Read on in document", "The whole table was looked through."];
    look("expert", expert(layer, number), &there).take(|_| {});
}

#[test]
fn a_document() {
    let there = ["fn merge", "Values by dimension"];
    Look {
        size: [1000.0, 480.0],
        themes: &[Theme::Dark, Theme::Light],
        ..look("document", token(3, 10), &there)
    }
    .take(|window| {
        wait(window, "the routing", |w| {
            w.query_by_label("Colour by experts").is_some_and(|n| !n.accesskit_node().is_disabled())
        });
        click(window, "Colour by experts");
        wait_for_part(window, "Layer of the colours");
    });
}
