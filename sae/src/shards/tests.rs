//! Shards of a job of two small files each.

use std::path::Path;

use serde_json::json;
use storage::{Part, work};

use super::*;
use crate::Quiet;

fn job(folder: &Path, k: u64) -> Job {
    Job::new("index", folder.join("shards"), json!({ "k": k, "least": 0.1 + 0.2 }))
}

fn write(path: &Path, text: &str) -> Result<Part> {
    storage::atomic::write(path, text.as_bytes())?;
    let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
    Ok(work::recorded(folder, name, 1)?)
}

/// Works on a shard until `stop`, an error of its second file.
fn shard(job: &Job, index: usize, stop: bool) -> Result<Work> {
    let mut working = match job.begin(Shard { index, count: 3 }, vec!["a".into(), "b".into()], &mut Quiet)? {
        Begun::Done(work) => return Ok(work),
        Begun::Working(working) => working,
    };
    let made = working.file("a", |path| write(path, &format!("first of {index}"))).and_then(|()| {
        working.file("b", |path| if stop { Err(Error::stopped("here")) } else { write(path, "second") })
    });
    working.end(made)
}

#[test]
fn shards_are_parsed_and_checked() {
    assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
    for bad in ["", "3", "8/8", "-1/2", "0/0", "1/2/3", "0/1000000"] {
        assert!(bad.parse::<Shard>().is_err(), "{bad}");
    }
}

#[test]
fn ranges_follow_each_other() {
    for (n, count) in [(0, 3), (1, 3), (10, 3), (1000, 7), (u64::MAX, 100_000)] {
        let mut next = 0;
        for index in 0..count {
            let range = Shard { index, count }.range(n);
            assert_eq!(range.start, next);
            assert!((range.end - range.start).abs_diff(n / count as u64) <= 1);
            next = range.end;
        }
        assert_eq!(next, n);
    }
}

#[test]
fn a_shard_continues_and_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 3);
    assert!(matches!(shard(&job, 1, true), Err(Error::Stopped(_))));
    let place = Shard { index: 1, count: 3 }.folder(&job.folder);
    let stopped = Work::read(&place).unwrap().unwrap();
    assert_eq!((stopped.status, stopped.files.len(), stopped.starts), (WorkStatus::Stopped, 1, 1));
    // What is recorded is not made again.
    let before = std::fs::metadata(place.join("a")).unwrap().modified().unwrap();
    let done = shard(&job, 1, false).unwrap();
    assert_eq!((done.status, done.files.len(), done.starts), (WorkStatus::Done, 2, 2));
    assert_eq!(std::fs::metadata(place.join("a")).unwrap().modified().unwrap(), before);
    assert_eq!(shard(&job, 1, true).unwrap(), done, "nothing is begun");
    assert!(!place.join(".lock").exists());
    // A file that was lost is made again, and keeps its place.
    std::fs::remove_file(place.join("a")).unwrap();
    let again = shard(&job, 1, false).unwrap();
    assert_eq!((again.starts, again.files[1].file.as_str()), (3, "a"));
    let finished = Finished { folder: place.clone(), work: again };
    assert_eq!(
        (finished.files(""), finished.files("b")),
        (vec![place.join("a"), place.join("b")], vec![place.join("b")])
    );
    // A shard that is at work is refused.
    let _lock = storage::Lock::take(&place).unwrap();
    assert!(shard(&job, 1, false).unwrap_err().to_string().contains("another process"));
}

#[test]
fn a_merge_takes_nothing_that_is_not_finished_or_foreign() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 3);
    let refused = |job: &Job| job.finished(&mut Quiet).unwrap_err().to_string();
    assert!(refused(&job).contains("no folders shard-I-of-N"));
    shard(&job, 0, false).unwrap();
    shard(&job, 2, true).unwrap_err();
    let text = refused(&job);
    assert!(text.contains("2 of 3 shards of this index") && text.contains("1/3: not begun"), "{text}");
    assert!(text.contains("2/3: stopped on") && text.contains("1 files are whole"), "{text}");

    let other = self::job(folder.path(), 4);
    let text = shard(&other, 2, false).unwrap_err().to_string();
    assert!(text.contains("k: 3 there, 4 here") && text.contains("shard-00002-of-00003"), "{text}");
    shard(&job, 1, false).unwrap();
    shard(&job, 2, false).unwrap();
    assert_eq!(job.finished(&mut Quiet).unwrap().shards.len(), 3);
    let text = refused(&other);
    assert!(text.contains("k: 3 there, 4 here") && text.contains("shard-00000-of-00003"), "{text}");
    let text = refused(&Job { name: "probe", ..job.clone() });
    assert!(text.contains("`index`; expected `probe`"), "{text}");

    let file = Shard { index: 1, count: 3 }.folder(&job.folder).join("b");
    std::fs::write(&file, "secund").unwrap();
    let text = refused(&job);
    assert!(text.contains("6 bytes with SHA-256") && text.contains("1/3 made"), "{text}");
    std::fs::remove_file(&file).unwrap();
    assert!(refused(&job).contains("is missing"));

    std::fs::create_dir(job.folder.join("shard-00000-of-00002")).unwrap();
    assert!(refused(&job).contains("expected one division"));
}

#[test]
fn what_is_merged_can_be_removed_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 3);
    (0..3).for_each(|index| drop(shard(&job, index, false).unwrap()));
    let shards = job.finished(&mut Quiet).unwrap();
    let twice = job.finished(&mut Quiet).unwrap_err().to_string();
    assert!(twice.contains("another process"), "one merge at a time: {twice}");
    shards.merged(false).unwrap();
    let shards = job.finished(&mut Quiet).unwrap();
    assert!(!shards.removed, "the files are there still");
    shards.merged(true).unwrap();
    assert!(job.finished(&mut Quiet).unwrap().removed);
    assert_eq!(shard(&job, 0, false).unwrap().status, WorkStatus::Merged, "nothing is left to do");
    let other = self::job(folder.path(), 4);
    assert_eq!(shard(&other, 0, false).unwrap().starts, 1, "a new job in the same place");
    let text = other.finished(&mut Quiet).unwrap_err().to_string();
    assert!(text.contains("shard-00001-of-00003") && text.contains("k: 3 there, 4 here"), "{text}");
}
