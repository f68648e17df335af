//! Pictures in both looks. Without a graphics adapter (a software one is enough: mesa-vulkan-drivers) they are skipped.

use app::address::Place;
use egui::Theme;
use egui_kittest::kittest::{NodeT as _, Queryable as _};

use super::common::pictures::{self, can_draw, settle};
use super::common::{click, routed, wait, wait_for, wait_for_part};
use super::{Window, expert, experts, token};

fn draw(theme: Theme, place: Place) -> Window {
    pictures::draw(theme, Some(routed::root()), Some(place))
}

#[test]
fn load_in_the_light_look() {
    if can_draw() {
        let mut window = draw(Theme::Light, experts());
        wait_for(&mut window, "Load of the experts of layer 0");
        settle(&mut window);
        window.snapshot("moe_load_light");
    }
}

#[test]
fn co_activation() {
    if can_draw() {
        let mut window = draw(Theme::Dark, experts());
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
        let mut window = draw(Theme::Dark, expert(1, routed::CODE));
        wait_for_part(&mut window, "code · specialised");
        wait_for_part(&mut window, "Read on in document");
        wait_for(&mut window, "The whole table was looked through.");
        wait_for(&mut window, "Go to feature 5");
        settle(&mut window);
        window.snapshot("expert_dark");
    }
}

fn reading(theme: Theme, name: &str) {
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
    reading(Theme::Dark, "document_dark");
}

#[test]
fn a_document_in_the_light_look() {
    reading(Theme::Light, "document_light");
}
