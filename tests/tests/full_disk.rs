//! A full disk: a clear error, nothing that passes for whole, and with more space the same command continues. Needs root to mount a
//! small tmpfs; without it the test is reported as skipped.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use storage::{Dataset, RunRecord, RunStatus};
use tests::{Ended, dataset, sae, small_text};

/// A file system of 2 MB, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf) -> Option<Self> {
        std::fs::create_dir(&place).unwrap();
        let mounted = run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs"], &place);
        if mounted.is_none() {
            fixtures::skip("a full disk", "a tmpfs cannot be mounted here (it takes root)");
        }
        mounted.map(|()| Self(place))
    }

    fn grow(&self) {
        run("mount", &["-o", "remount,size=256m"], &self.0).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run("umount", &[], &self.0).or_else(|| run("umount", &["-l"], &self.0));
    }
}

fn run(program: &str, arguments: &[&str], place: &Path) -> Option<()> {
    let status = Command::new(program).args(arguments).arg(place).status().ok()?;
    status.success().then_some(())
}

fn full(ended: &Ended) {
    ended.refused(1, &["disk/", "No space left on device", "free some space"]);
}

#[test]
fn a_harvest_onto_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 100);
    let Some(disk) = SmallDisk::mount(at.join("disk")) else { return };
    let line = "harvest --text text --hook blocks.1.hook_resid_post --dtype f32 --out disk/data";
    full(&sae(at, line));
    let message = Dataset::open(&at.join("disk/data")).unwrap_err().to_string();
    assert!(message.contains("unfinished"), "{message}");

    disk.grow();
    sae(at, line).ok();
    Dataset::open(&at.join("disk/data")).unwrap().verify(&mut |_, _| {}).unwrap();
}

#[test]
fn training_onto_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dataset(&at.join("data"), 2000, 64);
    let Some(disk) = SmallDisk::mount(at.join("disk")) else { return };
    // The dictionary alone takes 4 MB.
    for (every, run) in [(3, "disk/at-a-checkpoint"), (0, "disk/at-the-end")] {
        let line = format!(
            "train --data data --d-sae 8192 --k 8 --batch 256 --tokens 1536 --checkpoint-every {every} --out {run}"
        );
        full(&sae(at, &line));
        assert!(!at.join(run).join("cfg.json").exists());
        assert_eq!(RunRecord::read(&at.join(run)).unwrap().status, RunStatus::Failed);
    }
    disk.grow();
    for run in ["disk/at-a-checkpoint", "disk/at-the-end"] {
        sae(at, &format!("train --out {run} --resume")).ok();
        assert_eq!(RunRecord::read(&at.join(run)).unwrap().status, RunStatus::Finished);
        assert!(at.join(run).join("cfg.json").exists());
    }
}
