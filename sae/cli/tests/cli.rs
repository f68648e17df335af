//! The terminal program as a user meets it first: help, version, nonsense.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

fn sae(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sae")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let help = text(&sae(&["--help"]).stdout);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A longer description continues in a deeper column.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"pretrain"), "{help}");
    for command in commands {
        let output = sae(&[command, "--help"]);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("Example"), "`sae {command} --help` has no example");
    }
}

#[test]
fn the_version_is_printed() {
    assert!(text(&sae(&["--version"]).stdout).starts_with("sae "));
}

#[test]
fn nonsense_is_a_usage_error() {
    for args in
        [&["frobnicate"][..], &["pretrain"], &["pretrain", "--text", "/nowhere", "--out", "/tmp/never-made"]]
    {
        let output = sae(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    assert!(!std::path::Path::new("/tmp/never-made").exists());
}
