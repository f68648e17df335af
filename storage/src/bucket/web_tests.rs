//! What is only read: web servers with and without lists and ranges, Azure's and Google's stores, each against servers that fail.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::scripted::{Fault, Manner, Ranges, Server};
use super::tests::{ROWS, at, dataset, quiet, rows, stock};
use super::*;
use crate::{Dataset, Scan, schema};

const WEB: Manner = Manner::Web { lists: true, ranges: Ranges::Right };

fn connect(
    scheme: Scheme,
    endpoint: String,
    credentials: Option<Credentials>,
    cache: &Path,
    limit: u64,
) -> Arc<Store> {
    let settings = Settings {
        scheme,
        endpoint: Some(endpoint),
        region: "auto".into(),
        credentials,
        certificates: None,
        cache: cache.to_owned(),
        limit,
        pause: Duration::from_millis(1),
    };
    Store::connect(settings).unwrap()
}

/// A dataset on the disk, and a server that has it at `prefix`.
fn stocked(manner: Manner, prefix: &str) -> (tempfile::TempDir, Dataset, Server) {
    let desk = tempfile::tempdir().unwrap();
    let local = dataset(&desk.path().join("data"));
    let server = Server::start_as(manner);
    stock(&server, local.dir(), prefix);
    (desk, local, server)
}

/// A server with a dataset below `a b/data`, its client, the dataset's address, and the dataset itself.
fn desk(manner: Manner, limit: u64) -> (tempfile::TempDir, Server, Arc<Store>, Address, Dataset) {
    let (desk, local, server) = stocked(manner, "a b/data");
    let store = connect(Scheme::Http, server.endpoint.clone(), None, &desk.path().join("cache"), limit);
    let address = at(&format!("{}/lake/a%20b/data/", server.endpoint));
    (desk, server, store, address, local)
}

/// Every seventh request is dropped, throttled or cut short.
fn fail(server: &Server) {
    server.fail(|n, _| match n % 7 {
        1 => Some(Fault::Drop),
        3 => Some(Fault::Status(503)),
        5 => Some(Fault::Truncate),
        _ => None,
    });
}

#[test]
fn a_web_servers_folder_is_read_in_blocks_whatever_fails() {
    let (_desk, server, store, address, local) = desk(WEB, DEFAULT_LIMIT);
    let mirror = store.open(&address, &quiet).unwrap();
    assert!(store.figures().received < 30_000, "opening fetches no rows: {:?}", store.figures());
    let remote = Dataset::open(&mirror.path).unwrap();
    assert_eq!(rows(&remote, 41_000..41_100), rows(&local, 41_000..41_100));
    let length = local.manifest().bytes();
    assert!(store.figures().received < length / 6, "{:?} of {length}", store.figures());
    fail(&server);
    assert_eq!(rows(&remote, 0..ROWS as u64), rows(&local, 0..ROWS as u64));
    assert!(store.figures().repeated > 0 && store.figures().received < length + length / 10);
    remote.verify(&mut |_, _| {}).unwrap();
    // The folder above, with what else is in it; and its names.
    server.fail(|_, _| None);
    server.put("a b/notes/x.json", b"{}");
    server.put("a b/.hidden/x.json", b"{}");
    let above = store.open(&at(&format!("{}/lake/a b", server.endpoint)), &quiet).unwrap();
    assert_eq!(fs::read(above.path.join("notes/x.json")).unwrap(), b"{}");
    assert!(!above.path.join(".hidden").exists());
    let shown = readable(&above.path.display().to_string()).into_owned();
    assert_eq!(shown, format!("{}/lake/a b", server.endpoint));
    assert_eq!(address_of(&mirror.path).as_ref(), Some(&address));
    // One file alone.
    let file = at(&format!("{}/lake/a b/notes/x.json", server.endpoint));
    assert_eq!(fs::read(store.open(&file, &quiet).unwrap().path).unwrap(), b"{}");
}

#[test]
fn nothing_is_written_to_a_web_server_and_nothing_made_here_is_lost() {
    let (_desk, server, store, address, _local) = desk(WEB, DEFAULT_LIMIT);
    let mirror = store.open(&address, &quiet).unwrap();
    let own = mirror.path.join("notes.json");
    fs::write(&own, "mine").unwrap();
    publish(&own).unwrap();
    assert!(mirror.upload(&quiet).unwrap_err().to_string().contains("only read"));
    let again = store.open(&address, &quiet).unwrap();
    assert_eq!((again.left_behind(), fs::read(&own).unwrap().as_slice()), (1, b"mine".as_slice()));
    assert!(server.log().iter().all(|line| line.starts_with("GET ") || line.starts_with("HEAD ")));
}

#[test]
fn without_ranges_files_are_fetched_whole_if_they_fit() {
    let manner = Manner::Web { lists: true, ranges: Ranges::Ignored };
    let (_desk, server, store, address, local) = desk(manner, DEFAULT_LIMIT);
    fail(&server);
    let mirror = store.open(&address, &quiet).unwrap();
    server.fail(|_, _| Some(Fault::Drop));
    assert_eq!(rows(&Dataset::open(&mirror.path).unwrap(), 0..ROWS as u64), rows(&local, 0..ROWS as u64));

    let (_desk, _server, store, address, _local) = desk(manner, 6 << 20);
    let error = store.open(&address, &quiet).unwrap_err();
    assert!(
        error.to_string().contains("does not send parts")
            && error.remedy().unwrap().contains("SAE_CACHE_SIZE"),
        "{error}"
    );
}

#[test]
fn a_wrong_part_is_an_error_and_not_a_mixture() {
    let (_desk, _server, store, address, _local) =
        desk(Manner::Web { lists: true, ranges: Ranges::Wrong }, DEFAULT_LIMIT);
    let mirror = store.open(&address, &quiet).unwrap();
    let error = Dataset::open(&mirror.path).and_then(|remote| {
        remote.table(schema::ACTIVATIONS)?.scan(Scan::default())?.find_map(Result::err).map_or(Ok(()), Err)
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("a different part"), "{error}");
}

#[test]
fn a_file_that_changes_on_a_web_server_is_an_error_and_not_a_mixture() {
    let (_desk, server, store, address, _local) = desk(WEB, DEFAULT_LIMIT);
    let mirror = store.open(&address, &quiet).unwrap();
    let remote = Dataset::open(&mirror.path).unwrap();
    rows(&remote, 0..10);
    let key = "a b/data/activations-00000.parquet";
    let mut other = server.get(key).unwrap();
    other[1000] ^= 1;
    server.put(key, &other);
    let table = remote.table(schema::ACTIVATIONS).unwrap();
    let error = table.scan(Scan::default()).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(
        error.contains("changed") && error.contains("/lake/a b/data/activations-00000.parquet"),
        "{error}"
    );
    store.open(&address, &quiet).unwrap();
    fill(&mirror.path.join("activations-00000.parquet")).unwrap();
    assert!(fs::read(mirror.path.join("activations-00000.parquet")).unwrap() == other);
}

#[test]
fn without_lists_records_name_the_files() {
    let manner = Manner::Web { lists: false, ranges: Ranges::Right };
    let (_desk, server, store, address, local) = desk(manner, DEFAULT_LIMIT);
    let mirror = store.open(&address, &quiet).unwrap();
    assert_eq!(rows(&Dataset::open(&mirror.path).unwrap(), 5..90), rows(&local, 5..90));
    for name in [
        "run.json",
        "sae_weights.safetensors",
        "features/index.json",
        "features/codes-00000.parquet",
        "features/codes-00001.parquet",
    ] {
        server.put(&format!("run/{name}"), name.as_bytes());
    }
    let run = at(&format!("{}/lake/run", server.endpoint));
    let mirror = store.open(&run, &quiet).unwrap();
    for name in ["run.json", "features/index.json", "features/codes-00001.parquet"] {
        assert_eq!(fs::read(mirror.path.join(name)).unwrap(), name.as_bytes());
    }
    let error = store.open(&at(&format!("{}/lake/nothing", server.endpoint)), &quiet).unwrap_err();
    assert!(
        error.to_string().contains("no list") && error.remedy().unwrap().contains("autoindex"),
        "{error}"
    );
}

#[test]
fn blobs_of_azure_are_read_in_blocks_whatever_fails() {
    let (desk, local, server) = stocked(Manner::Azure, "a b/data");
    // What a hierarchy of names has as blobs.
    server.put("a b", b"");
    server.put("a b/data", b"");
    let key = Credentials::account("acc", b"verysecret".to_vec());
    let endpoint = format!("{}/acc", server.endpoint);
    let store = connect(Scheme::Azure, endpoint, Some(key), &desk.path().join("cache"), DEFAULT_LIMIT);
    let mirror = store.open(&at("az://lake/a b/data"), &quiet).unwrap();
    let remote = Dataset::open(&mirror.path).unwrap();
    assert_eq!(rows(&remote, 41_000..41_100), rows(&local, 41_000..41_100));
    let length = local.manifest().bytes();
    assert!(store.figures().received < length / 6);
    fail(&server);
    assert_eq!(rows(&remote, 0..ROWS as u64), rows(&local, 0..ROWS as u64));
    assert!(server.contents.lock().unwrap().proofs.iter().all(|proof| proof.starts_with("SharedKey acc:")));
    server.fail(|_, _| None);
    store.open(&at("az://lake"), &quiet).unwrap();
    let part = "a b/data/activations-00001.parquet";
    let mut other = server.get(part).unwrap();
    other[9] ^= 1;
    server.put(part, &other);
    store.open(&at("az://lake"), &quiet).unwrap();
    fill(&mirror.path.join("activations-00001.parquet")).unwrap();
    assert!(fs::read(mirror.path.join("activations-00001.parquet")).unwrap() == other);
}

#[test]
fn refusals_of_other_stores_say_what_to_do_and_show_no_secret() {
    let desk = tempfile::tempdir().unwrap();
    let server = Server::start_as(Manner::Azure);
    server.fail(|_, _| Some(Fault::Status(403)));
    let cases = [
        (
            Scheme::Azure,
            Credentials::query("?sv=1&sig=very%2Fsecret"),
            "az://lake/a",
            "AZURE_STORAGE_SAS_TOKEN",
        ),
        (
            Scheme::Azure,
            Credentials::account("acc", b"verysecret".to_vec()),
            "az://lake/a",
            "AZURE_STORAGE_KEY",
        ),
        (Scheme::Google, Credentials::bearer("verysecret"), "gs://lake/a", "CLOUDSDK_AUTH_ACCESS_TOKEN"),
    ];
    for (i, (scheme, credentials, address, word)) in cases.into_iter().enumerate() {
        let cache = desk.path().join(i.to_string());
        let store = connect(scheme, server.endpoint.clone(), Some(credentials), &cache, DEFAULT_LIMIT);
        let error = store.open(&at(address), &quiet).unwrap_err();
        let shown = format!("{error} {error:?} {store:?}");
        assert!(error.remedy().unwrap().contains(word), "{error}");
        assert!(
            !["verysecret", "very/secret", "very%2Fsecret"].iter().any(|secret| shown.contains(secret)),
            "{shown}"
        );
    }
    assert!(server.log()[0].contains("sig=very%2Fsecret"));
    assert!(server.contents.lock().unwrap().proofs.iter().any(|proof| proof == "Bearer verysecret"));
    let gone = connect(
        Scheme::Azure,
        "http://127.0.0.1:9/acc".into(),
        Some(Credentials::query("sig=verysecret")),
        &desk.path().join("gone"),
        DEFAULT_LIMIT,
    );
    let error = gone.open(&at("az://lake/a"), &quiet).unwrap_err().to_string();
    assert!(error.contains("8 attempts") && !error.contains("verysecret"), "{error}");
}

#[test]
fn googles_store_is_read_in_blocks_whatever_fails() {
    let (desk, local, server) = stocked(Manner::Google, "a b/data");
    let token = Some(Credentials::bearer("token"));
    let store =
        connect(Scheme::Google, server.endpoint.clone(), token, &desk.path().join("cache"), DEFAULT_LIMIT);
    let mirror = store.open(&at("gs://lake/a b/data"), &quiet).unwrap();
    let remote = Dataset::open(&mirror.path).unwrap();
    assert_eq!(rows(&remote, 41_000..41_100), rows(&local, 41_000..41_100));
    let length = local.manifest().bytes();
    assert!(store.figures().received < length / 6);
    fail(&server);
    assert_eq!(rows(&remote, 0..ROWS as u64), rows(&local, 0..ROWS as u64));
    assert!(server.contents.lock().unwrap().proofs.iter().all(|proof| proof == "Bearer token"));
    server.fail(|_, _| None);
    assert_eq!(readable(&mirror.path.display().to_string()), "gs://lake/a b/data");
    // One object alone, which is compared with its MD5.
    server.put("note.json", b"{}");
    assert_eq!(fs::read(store.open(&at("gs://lake/note.json"), &quiet).unwrap().path).unwrap(), b"{}");
    server.put("note.json", b"[]");
    server.fail(|_, line| line.contains("alt=media").then_some(Fault::Damage));
    let error = store.open(&at("gs://lake/note.json"), &quiet).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    server.fail(|_, _| None);
    let error = store.open(&at("gs://sea/data"), &quiet).unwrap_err();
    assert!(
        error.to_string().contains("There is none.") && error.remedy().unwrap().contains("bucket"),
        "{error}"
    );
}

#[test]
fn an_object_of_google_that_changes_is_an_error_and_not_a_mixture() {
    let (desk, _local, server) = stocked(Manner::Google, "data");
    let cache = desk.path().join("cache");
    let store = connect(Scheme::Google, server.endpoint.clone(), None, &cache, DEFAULT_LIMIT);
    let mirror = store.open(&at("gs://lake/data"), &quiet).unwrap();
    let part = "data/activations-00001.parquet";
    let mut other = server.get(part).unwrap();
    other[9] ^= 1;
    server.put(part, &other);
    let file = mirror.path.join("activations-00001.parquet");
    let error = fill(&file).unwrap_err().to_string();
    assert!(error.contains("changed") && error.contains(part), "{error}");
    store.open(&at("gs://lake/data"), &quiet).unwrap();
    fill(&file).unwrap();
    assert!(fs::read(&file).unwrap() == other);
}

#[test]
fn googles_store_is_read_by_its_s3_protocol_with_an_hmac_key() {
    let (desk, local, server) = stocked(Manner::Store, "data");
    let key = Some(Credentials::new("GOOGTEST", "verysecret", None));
    let store =
        connect(Scheme::Google, server.endpoint.clone(), key, &desk.path().join("cache"), DEFAULT_LIMIT);
    fail(&server);
    let mirror = store.open(&at("gs://lake/data"), &quiet).unwrap();
    assert_eq!(rows(&Dataset::open(&mirror.path).unwrap(), 41_000..41_100), rows(&local, 41_000..41_100));
}
