//! The whole of it against a store that fails: tables that the product wrote, read and written through mirrors.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, DictionaryArray, UInt32Array};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;

use super::scripted::{Fault, Server};
use super::*;
use crate::{Dataset, DatasetWriter, Dtype, Layout, Manifest, ModelRef, Scan, schema, vector};

const WIDTH: usize = 64;
pub(super) const ROWS: usize = 80_000;

pub(super) fn quiet(_: u64, _: u64) -> bool {
    false
}

/// The store's client with a cache of its own.
pub(super) fn connect(server: &Server, cache: &Path, limit: u64) -> Arc<Store> {
    let settings = Settings {
        scheme: Scheme::S3,
        endpoint: Some(server.endpoint.clone()),
        region: "us-east-1".into(),
        credentials: Some(Credentials::new("AKIDTEST", "verysecret", Some("sessiontoken".into()))),
        certificates: None,
        cache: cache.to_owned(),
        limit,
        pause: Duration::from_millis(1),
    };
    Store::connect(settings).unwrap()
}

pub(super) fn at(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A dataset of 10 MB in two parts.
pub(super) fn dataset(dir: &Path) -> Dataset {
    let model = ModelRef { id: "tiny".into(), path: None, sha256: "00".into() };
    let header = Manifest::new(model, Some("blocks.0.hook_resid_post".into()), WIDTH, Dtype::F16);
    let mut writer = DatasetWriter::begin(dir, header).unwrap();
    for part in 0..2 {
        let numbers = |of: &dyn Fn(usize) -> usize| {
            Arc::new(UInt32Array::from_iter_values((0..ROWS / 2).map(|row| of(row + part * ROWS / 2) as u32)))
                as ArrayRef
        };
        let mut n = part as u64;
        let mut noise = || {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (n >> 40) as f32 / 1e6
        };
        let rows: Vec<f32> = (0..ROWS / 2 * WIDTH).map(|_| noise()).collect();
        let (activation, _) = vector::column_from_rows(&rows, WIDTH, Dtype::F16).unwrap();
        let domain: DictionaryArray<Int32Type> = vec!["prose"; ROWS / 2].into_iter().collect();
        let columns = vec![
            numbers(&|row| row / 100),
            numbers(&|row| row % 100),
            numbers(&|row| row % 50),
            Arc::new(domain) as ArrayRef,
            Arc::new(activation) as ArrayRef,
        ];
        let columns_of = schema::activations(WIDTH, Dtype::F16, false);
        let mut file =
            writer.next_part(schema::ACTIVATIONS, columns_of.clone(), &Layout::activations()).unwrap();
        file.write(&RecordBatch::try_new(columns_of, columns).unwrap()).unwrap();
        let done = file.finish().unwrap();
        writer.commit(vec![(schema::ACTIVATIONS.into(), done)], serde_json::json!(part)).unwrap();
    }
    writer.finish().unwrap()
}

pub(super) fn stock(server: &Server, dir: &Path, prefix: &str) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with('.') {
            server.put(&format!("{prefix}/{name}"), &fs::read(&path).unwrap());
        }
    }
}

pub(super) fn rows(dataset: &Dataset, range: std::ops::Range<u64>) -> Vec<f32> {
    let table = dataset.table(schema::ACTIVATIONS).unwrap();
    let mut found = Vec::new();
    for batch in table.scan(Scan { rows: Some(range), ..Scan::default() }).unwrap() {
        vector::fixed_size_rows(&batch.unwrap(), schema::activations::ACTIVATION, &mut found).unwrap();
    }
    found
}

#[test]
fn a_dataset_is_read_in_blocks_and_the_same_whatever_fails() {
    let desk = tempfile::tempdir().unwrap();
    let local = dataset(&desk.path().join("data"));
    let server = Server::start();
    stock(&server, local.dir(), "a b/data");
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    let mirror = store.open(&at("s3://lake/a b/data/"), &quiet).unwrap();
    let opening = store.figures();
    assert!(opening.received < 20_000, "opening fetches no rows: {opening:?}");

    let remote = Dataset::open(&mirror.path).unwrap();
    assert_eq!(rows(&remote, 41_000..41_100), rows(&local, 41_000..41_100));
    let page = store.figures();
    let length = local.manifest().bytes();
    assert!(page.received < length / 6, "{page:?} of {length}");
    // Again: from this machine.
    assert_eq!(rows(&Dataset::open(&mirror.path).unwrap(), 41_000..41_100), rows(&local, 41_000..41_100));
    assert_eq!(store.figures().received, page.received);

    server.fail(|n, _| match n % 7 {
        1 => Some(Fault::Drop),
        3 => Some(Fault::Status(503)),
        5 => Some(Fault::Truncate),
        _ => None,
    });
    let expected = rows(&local, 0..ROWS as u64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(rows(&remote, 0..ROWS as u64), expected));
        }
    });
    let all = store.figures();
    assert!(
        all.repeated > 0 && all.received < length + length / 10,
        "nothing is fetched twice: {all:?} of {length}"
    );
    remote.verify(&mut |_, _| {}).unwrap();
    let opened = store.open(&mirror.address, &quiet).unwrap();
    assert!(!opened.has_changed().unwrap(), "reading is not a change");
}

#[test]
fn an_object_that_changes_while_it_is_read_is_an_error_and_not_a_mixture() {
    let desk = tempfile::tempdir().unwrap();
    let local = dataset(&desk.path().join("data"));
    let server = Server::start();
    stock(&server, local.dir(), "data");
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    let mirror = store.open(&at("s3://lake/data"), &quiet).unwrap();
    let remote = Dataset::open(&mirror.path).unwrap();
    rows(&remote, 0..10);
    let key = "data/activations-00000.parquet";
    let mut other = server.get(key).unwrap();
    other[1000] ^= 1;
    server.put(key, &other);
    let table = remote.table(schema::ACTIVATIONS).unwrap();
    let error = table.scan(Scan::default()).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(
        error.contains("s3://lake/data/activations-00000.parquet") && error.contains("changed"),
        "{error}"
    );
    // Opened again, it is the new one: no block of the old is left.
    store.open(&mirror.address, &quiet).unwrap();
    fill(&mirror.path.join("activations-00000.parquet")).unwrap();
    assert!(fs::read(mirror.path.join("activations-00000.parquet")).unwrap() == other);
}

#[test]
fn the_cache_keeps_to_its_size_and_reads_stay_right() {
    let desk = tempfile::tempdir().unwrap();
    let local = dataset(&desk.path().join("data"));
    let server = Server::start();
    stock(&server, local.dir(), "data");
    let limit = 4 << 20;
    let store = connect(&server, &desk.path().join("cache"), limit);
    let mirror = store.open(&at("s3://lake/data"), &quiet).unwrap();
    let remote = Dataset::open(&mirror.path).unwrap();
    let expected = rows(&local, 0..ROWS as u64);
    for _ in 0..2 {
        assert_eq!(rows(&remote, 0..ROWS as u64), expected);
    }
    assert!(store.figures().received > local.manifest().bytes(), "what left had to come again");
    // What is fetched ahead may arrive after the last read; who fetched it makes room for it then.
    let began = std::time::Instant::now();
    loop {
        store.make_room();
        let held = room::measured(store.root()).unwrap();
        if held <= limit {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{held}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn whole_files_are_compared_with_their_sum() {
    let desk = tempfile::tempdir().unwrap();
    let server = Server::start();
    let put = |etag: &str| {
        server
            .contents
            .lock()
            .unwrap()
            .objects
            .insert("a/x.txt".into(), (b"hello".to_vec(), etag.to_owned()));
    };
    put("5d41402abc4b2a76b9719d911017c592");
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    server.fail(|_, line| (line == "GET /lake/a/x.txt").then_some(Fault::Damage));
    let error = store.open(&at("s3://lake/a"), &quiet).unwrap_err().to_string();
    assert!(error.contains("arrived damaged") && error.contains("s3://lake/a/x.txt"), "{error}");
    assert!(!store.path_of(&at("s3://lake/a/x.txt")).exists());
    server.fail(|_, _| None);
    // The file alone, and the folder.
    for address in ["s3://lake/a/x.txt", "s3://lake/a"] {
        store.open(&at(address), &quiet).unwrap();
        assert_eq!(fs::read(store.path_of(&at("s3://lake/a/x.txt"))).unwrap(), b"hello");
    }
    // What the store has no longer, the mirror has no longer.
    server.contents.lock().unwrap().objects.clear();
    assert!(store.open(&at("s3://lake/a"), &quiet).unwrap().left.is_empty());
    assert!(!store.path_of(&at("s3://lake/a/x.txt")).exists());
}

#[test]
fn refusals_say_what_to_do_and_show_no_secret() {
    let desk = tempfile::tempdir().unwrap();
    let server = Server::start();
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    for (status, word) in [(403, "AWS_PROFILE"), (503, "try again")] {
        server.fail(move |_, _| Some(Fault::Status(status)));
        let error = store.open(&at("s3://lake/a"), &quiet).unwrap_err();
        let shown = format!("{error} {error:?} {store:?}");
        assert!(error.remedy().unwrap().contains(word), "{error}");
        assert!(
            !shown.contains("verysecret") && !shown.contains("sessiontoken") && !shown.contains("AKIDTEST"),
            "{shown}"
        );
    }
    assert_eq!(server.log().len(), 1 + 8, "a refusal is not repeated");
    server.fail(|_, _| None);
    server.put("a/../b", b"x");
    assert!(store.open(&at("s3://lake/a"), &quiet).unwrap_err().to_string().contains("s3://lake/a/../b"));
}

#[test]
fn what_is_made_here_is_uploaded_with_records_last() {
    let desk = tempfile::tempdir().unwrap();
    let server = Server::start();
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    let mirror = store.open(&at("s3://lake/new/data"), &quiet).unwrap();
    assert!(!mirror.exists());
    let made = dataset(&mirror.path);
    // Three parts of 16 MiB and one that is shorter.
    let large: Vec<u8> = (0..50_000_000_u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    fs::write(mirror.path.join("weights.safetensors"), &large).unwrap();
    server.log();
    server.fail(|n, line| match n % 5 {
        1 if !line.starts_with("POST") => Some(Fault::Drop),
        3 => Some(Fault::Status(503)),
        // What was done is asked for a second time.
        4 if line.starts_with("PUT") => Some(Fault::Lost),
        _ => None,
    });
    assert!(mirror.has_changed().unwrap());
    let error = mirror.upload(&quiet);
    server.fail(|_, _| None);
    // ETags of this server are not MD5, so a lost answer to a conditional write cannot be told from somebody else's write.
    if let Err(error) = &error {
        assert!(error.to_string().contains("somebody else"), "{error}");
        assert!(!server.keys().contains(&"new/data/dataset.json".to_owned()), "the manifest is last");
    }
    for key in server.keys() {
        let name = key.rsplit_once('/').unwrap().1;
        assert!(
            server.get(&key).unwrap() == fs::read(mirror.path.join(name)).unwrap(),
            "{key}: half written"
        );
    }

    let mirror = store.open(&at("s3://lake/second"), &quiet).unwrap();
    let made_again = dataset(&mirror.path);
    fs::write(mirror.path.join("weights.safetensors"), &large).unwrap();
    server.log();
    let uploaded = mirror.upload(&quiet).unwrap();
    assert_eq!(uploaded.files, 4);
    let log = server.log();
    let puts: Vec<_> = log.iter().filter(|line| !line.starts_with("GET")).collect();
    assert!(puts.last().unwrap().starts_with("PUT /lake/second/dataset.json"), "{puts:?}");
    assert!(server.get("second/weights.safetensors").unwrap() == large);
    assert!(
        !server
            .keys()
            .iter()
            .any(|key| key.contains("/.") || key.contains("partial") || key.contains("journal"))
    );
    assert!(
        !mirror.has_changed().unwrap()
            && !store.open(&mirror.address, &quiet).unwrap().has_changed().unwrap()
    );

    // A second cache sees the same rows; what it removes and changes follows.
    let other = connect(&server, &desk.path().join("other"), DEFAULT_LIMIT);
    let seen = other.open(&mirror.address, &quiet).unwrap();
    assert_eq!(rows(&Dataset::open(&seen.path).unwrap(), 5..50), rows(&made_again, 5..50));
    fs::remove_file(seen.path.join("weights.safetensors")).unwrap();
    let manifest = fs::read_to_string(seen.path.join("dataset.json")).unwrap();
    fs::write(seen.path.join("dataset.json"), manifest + " ").unwrap();
    assert_eq!(
        seen.upload(&quiet).unwrap(),
        Uploaded { files: 1, bytes: fs::metadata(seen.path.join("dataset.json")).unwrap().len(), removed: 1 }
    );
    assert!(server.get("second/weights.safetensors").is_none());

    // What an earlier command left here is a change only once it is changed again.
    fs::write(seen.path.join("left.txt"), "1").unwrap();
    let again = other.open(&mirror.address, &quiet).unwrap();
    assert!(again.left_behind() == 1 && !again.has_changed().unwrap());
    fs::write(seen.path.join("left.txt"), "22").unwrap();
    assert!(again.has_changed().unwrap());
    fs::remove_file(seen.path.join("left.txt")).unwrap();

    // The first cache has changed it, too, and is refused.
    fs::write(mirror.path.join("dataset.json"), "mine").unwrap();
    let error = mirror.upload(&quiet).unwrap_err().to_string();
    assert!(error.contains("somebody else") && error.contains("s3://lake/second/dataset.json"), "{error}");
    drop(made);
}

#[test]
fn a_record_is_withdrawn_before_its_data_is_replaced() {
    let desk = tempfile::tempdir().unwrap();
    let server = Server::start();
    for (key, text) in
        [("run/features/f.parquet", "1"), ("run/features/index.json", "1"), ("run/run.json", "1")]
    {
        server.put(key, text.as_bytes());
    }
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    let mirror = store.open(&at("s3://lake/run"), &quiet).unwrap();
    for name in ["features/f.parquet", "features/index.json"] {
        fs::write(mirror.path.join(name), "22").unwrap();
    }
    server.log();
    mirror.upload(&quiet).unwrap();
    let log: Vec<_> = server.log().into_iter().filter(|line| !line.starts_with("GET")).collect();
    assert_eq!(
        log,
        [
            "DELETE /lake/run/features/index.json",
            "PUT /lake/run/features/f.parquet",
            "PUT /lake/run/features/index.json"
        ]
    );
}

#[test]
fn records_name_addresses() {
    let desk = tempfile::tempdir().unwrap();
    let server = Server::start();
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    let data = store.path_of(&at("s3://lake/data"));
    let path = desk.path().join("run.json");
    crate::atomic::write_json(&path, &serde_json::json!({"data": data, "other": "/x"})).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"s3://lake/data\"") && text.contains("\"/x\""), "{text}");
    assert_eq!(readable(&data.display().to_string()), "s3://lake/data");
    // A record is not a person: what it names in a bucket that nobody gave is not asked for.
    server.log();
    let error = Dataset::open(&data).unwrap_err();
    assert!(error.remedy().unwrap().contains("--data s3://lake/data"), "{error}");
    assert!(server.log().is_empty());
}

#[test]
fn a_bucket_that_only_a_record_names_is_not_asked() {
    let desk = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.put("run/run.json", b"{}");
    let store = connect(&server, &desk.path().join("cache"), DEFAULT_LIMIT);
    store.open(&at("s3://lake/run"), &quiet).unwrap();
    server.log();
    let error = super::at(&store.path_of(&at("s3://elsewhere/data"))).unwrap_err();
    assert!(error.remedy().unwrap().contains("--data s3://elsewhere/data"), "{error}");
    assert_eq!(server.log(), [""; 0], "nothing was sent");
    // What is in the bucket of the command itself is followed.
    server.put("data/dataset.json", b"{}");
    let path = store.path_of(&at("s3://lake/data"));
    assert_eq!(&*super::at(&path).unwrap(), path);
    assert!(path.join("dataset.json").exists());
}
