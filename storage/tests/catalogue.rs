//! `docs/on-disk.md` is what the declarations say, and the names that readers look rows up by are columns.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use storage::catalogue::{Content, folders, markdown};
use storage::schema;

#[test]
fn the_page_of_files_is_what_the_declarations_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/on-disk.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, markdown()).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(markdown().lines().map(str::to_owned)).find(|(a, b)| a != b);
    assert!(
        there == markdown(),
        "docs/on-disk.md is not what the code declares ({differs:?}); UPDATE_DOCS=1 cargo test -p storage --test catalogue \
         writes it"
    );
}

#[test]
fn every_column_and_field_has_words_and_every_name_is_a_column() {
    let mut names = std::collections::BTreeSet::new();
    for folder in folders() {
        for file in folder.files {
            assert!(!file.about.is_empty(), "{}", file.path);
            match file.content {
                Content::Table(columns) => {
                    for column in columns {
                        assert!(!column.about.trim().is_empty(), "{}: {}", file.path, column.field.name());
                        names.insert(column.field.name().clone());
                    }
                }
                Content::Record(fields) => {
                    for field in fields {
                        assert!(!field.about.trim().is_empty(), "{}: {}", file.path, field.name);
                    }
                }
                Content::Other => {}
            }
        }
    }
    use schema::{DOCUMENT, DOMAIN, EXPERT, FEATURE, LAYER, POSITION, TOKEN};
    for name in [DOCUMENT, DOMAIN, EXPERT, FEATURE, LAYER, POSITION, TOKEN] {
        assert!(names.contains(name), "{name}");
    }
}
