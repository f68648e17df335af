//! Runs and datasets of an object store and of a web server in the window, against a server that can be told to fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;
#[path = "../../storage/src/bucket/scripted/mod.rs"]
#[allow(dead_code, reason = "the store's own tests use the rest")]
mod scripted;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use app::address::Place;
use app::shell::{App, Options, SettingsFile};
use common::{facts, options, wait, wait_for, wait_for_part, window};
use egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use scripted::{Fault, Manner, Ranges, Server};
use storage::bucket::{Credentials, Scheme, Settings, Store};

type Window = Harness<'static, App>;

/// A process has one S3 store: every test has its own folders in it.
fn store() -> &'static (Server, PathBuf) {
    static STORE: OnceLock<(Server, PathBuf)> = OnceLock::new();
    STORE.get_or_init(|| {
        let server = Server::start();
        let credentials = Some(Credentials::new("AKIDTEST", "verysecret", None));
        let cache = connect(Scheme::S3, &server, credentials);
        (server, cache)
    })
}

/// Where the copies are.
fn connect(scheme: Scheme, server: &Server, credentials: Option<Credentials>) -> PathBuf {
    let settings = Settings {
        scheme,
        endpoint: Some(server.endpoint.clone()),
        region: "us-east-1".into(),
        credentials,
        certificates: None,
        cache: tempfile::tempdir().unwrap().keep(),
        limit: 1 << 30,
        pause: Duration::from_millis(1),
    };
    let cache = settings.cache.canonicalize().unwrap();
    Store::connect(settings).unwrap();
    cache
}

/// Everything in `folder` that is not hidden, below `prefix`.
fn stock(server: &Server, folder: &Path, prefix: &str) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            _ if name.starts_with('.') => {}
            true => stock(server, &path, &format!("{prefix}/{name}")),
            false => server.put(&format!("{prefix}/{name}"), &std::fs::read(&path).unwrap()),
        }
    }
}

fn open(address: &str, place: impl FnOnce(PathBuf) -> Place) -> Window {
    let place = Some(place(format!("{address}/topk").into()));
    window(Options { folder: Some(address.into()), place, ..options() })
}

/// No text on the screen is a path of the cache.
fn shows_no(window: &Window, cache: &Path) {
    let cache = cache.to_str().unwrap();
    let named = window.query_all_by(|node| node.label().is_some_and(|label| label.contains(cache)));
    let labels: Vec<_> = named.filter_map(|node| node.accesskit_node().label()).collect();
    assert!(labels.is_empty(), "{labels:?}");
}

fn by_palette(window: &mut Window, words: &str) {
    window.key_press_modifiers(Modifiers::COMMAND, Key::P);
    window.run_steps(3);
    window.get_by_label("Palette").type_text(words);
    window.run_steps(3);
    window.key_press(Key::Enter);
    window.run_steps(3);
}

#[test]
fn runs_of_a_bucket_are_shown_under_their_address_and_notes_are_uploaded() {
    let (server, cache) = store();
    stock(server, &common::root(), "shown/runs");
    let settings = tempfile::tempdir().unwrap().keep().join("window.json");
    let feature = facts::explained().feature;
    let mut window = window(Options {
        folder: Some("s3://lake/shown/runs/".into()),
        place: Some(Place::Feature { run: "s3://lake/shown/runs/topk".into(), feature }),
        settings: SettingsFile::at(&settings),
        ..options()
    });
    wait_for(&mut window, "Nearest decoder rows");
    assert!(matches!(window.state().here(), Some(Place::Feature { feature: found, .. }) if found == feature));
    assert_eq!(window.state().workspace().unwrap().root, Path::new("s3://lake/shown/runs"));
    wait_for(&mut window, "s3://lake/shown/runs");
    wait_for(&mut window, "Kept on this machine and uploaded to s3://lake/shown/runs/topk");
    shows_no(&window, cache);
    by_palette(&mut window, "Copy address");
    wait_for(&mut window, &format!("Copied s3://lake/shown/runs/topk#feature={feature}"));

    window.key_press(Key::B);
    wait(&mut window, "the note in the store", |_| {
        server
            .get("shown/runs/topk/notes.json")
            .is_some_and(|notes| String::from_utf8_lossy(&notes).contains("bookmarked"))
    });
    // The store goes away: what is written stays on this machine, which the window says, and goes up with the next change.
    server.fail(|_, line| line.contains("/shown/").then_some(Fault::Drop));
    window.key_press(Key::B);
    wait_for_part(&mut window, "Kept on this machine, not in the store.");
    shows_no(&window, cache);
    server.fail(|_, _| None);
    let mut label = |text: &str| {
        window.get_by_label("Label").focus();
        window.run_steps(2);
        window.get_by_label("Label").type_text(text);
        window.run_steps(2);
        window.key_press(Key::Enter);
        wait(&mut window, "the label in the store", |_| {
            server
                .get("shown/runs/topk/notes.json")
                .is_some_and(|notes| String::from_utf8_lossy(&notes).contains(text))
        });
    };
    label("quarrels");
    let remembered = std::fs::read_to_string(&settings).unwrap();
    let remembered: serde_json::Value = serde_json::from_str(&remembered).unwrap();
    assert_eq!(remembered["recent"][0], "s3://lake/shown/runs");

    // An address in the folder that is open is gone to.
    by_palette(&mut window, "s3://lake/shown/runs/topk#features");
    wait(&mut window, "the features", |w| matches!(w.state().here(), Some(Place::Features { .. })));
    let asked = server
        .log()
        .iter()
        .filter(|line| line.contains("list-type") && line.contains("shown%2Fruns%2F&"))
        .count();
    assert_eq!(asked, 0, "a place in the open folder asks nobody");
}

#[test]
fn reload_asks_the_store_what_it_has_now() {
    let (server, cache) = store();
    stock(server, &common::run(), "again/runs/topk");
    let mut window = open("s3://lake/again/runs", |_| Place::Runs);
    wait_for(&mut window, "Run topk");
    stock(server, &common::run(), "again/runs/second");
    window.key_press(Key::F5);
    wait_for(&mut window, "Run second");
    assert!(matches!(window.state().here(), Some(Place::Runs | Place::Curves { .. })), "the place stays");
    // A store that is away leaves what was read, and why.
    server.fail(|_, line| line.contains("again").then_some(Fault::Status(503)));
    window.key_press(Key::F5);
    wait_for_part(&mut window, "8 attempts");
    assert!(window.query_by_label("Run second").is_some());
    shows_no(&window, cache);
    server.fail(|_, _| None);
}

#[test]
fn what_cannot_be_opened_says_why_and_what_to_do() {
    let (server, _) = store();
    let mut window = open("s3://lake/not/there", |run| Place::Features { run });
    wait_for_part(&mut window, "There is nothing at s3://lake/not/there.");
    server.fail(|_, line| line.contains("refused").then_some(Fault::Status(403)));
    let mut window = open("s3://lake/refused", |_| Place::Runs);
    wait_for_part(&mut window, "the store answered 403");
    wait_for_part(&mut window, "AWS_PROFILE");
    // Whoever mends it tries again.
    server.fail(|_, _| None);
    stock(server, &common::run(), "refused/topk");
    window.key_press(Key::F5);
    wait_for(&mut window, "Run topk");
    let mut window = open("s3://", |run| Place::Features { run });
    wait_for_part(&mut window, "Write s3://BUCKET/PREFIX.");
}

#[test]
fn an_address_is_typed_where_a_folder_is_opened() {
    let (server, _) = store();
    stock(server, &common::run(), "typed/topk");
    let mut window = window(options());
    wait_for(&mut window, "SAE Workbench");
    window.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::A);
    wait_for(&mut window, "Open address");
    window.get_by_label("Path").type_text("lake/typed");
    window.run_steps(2);
    window.key_press(Key::Enter);
    wait_for(&mut window, "Run topk");
    wait_for(&mut window, "s3://lake/typed");
}

#[test]
fn a_web_server_is_only_read_and_notes_stay_on_this_machine() {
    let server = Server::start_as(Manner::Web { lists: true, ranges: Ranges::Right });
    stock(&server, &common::root(), "runs");
    let cache = connect(Scheme::Http, &server, None);
    let address = format!("{}/lake/runs", server.endpoint);
    let feature = facts::explained().feature;
    let mut window = open(&address, |run| Place::Feature { run, feature });
    wait_for(&mut window, "Nearest decoder rows");
    wait_for(&mut window, &format!("Kept on this machine only: {address}/topk is only read"));
    shows_no(&window, &cache);
    window.key_press(Key::B);
    window.run_steps(4);
    common::finish_reading(&mut window);
    window.key_press(Key::F5);
    wait(&mut window, "the folder, read again", |w| w.state().workspace().unwrap().opening().is_none());
    let run = window.state().here().unwrap().folder().unwrap().to_owned();
    assert!(
        storage::notes::read(&run).unwrap().iter().any(|note| note.feature == feature && note.bookmarked)
    );
    assert!(server.log().iter().all(|line| line.starts_with("GET ") || line.starts_with("HEAD ")));
}
