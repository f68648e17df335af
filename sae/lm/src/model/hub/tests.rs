//! Against a small server on this machine that redirects, breaks off and refuses as the hub does.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Hub;
use crate::{Error, Progress, Quiet};

/// A request as the server saw it.
#[derive(Debug, Clone)]
struct Asked {
    path: String,
    range: Option<u64>,
    token: Option<String>,
}

/// What the server does.
#[derive(Debug, Default)]
struct Plan {
    files: HashMap<String, Vec<u8>>,
    /// The answer about the repository; its status.
    listing: (u16, String),
    /// A token that files and listing want.
    token: Option<String>,
    /// Large files are at another server, whose address this is.
    elsewhere: Option<String>,
    /// Bodies break off after so many bytes, so many times.
    breaks: Option<(usize, usize)>,
    /// Ranges are not known.
    whole_only: bool,
    asked: Vec<Asked>,
}

#[derive(Clone)]
struct Server {
    address: String,
    plan: Arc<Mutex<Plan>>,
}

impl Server {
    fn start(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let plan = Arc::new(Mutex::new(plan));
        let served = plan.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| drop(serve(stream, &served)));
        });
        Self { address, plan }
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub {
            endpoint: self.address.clone(),
            cache: cache.to_path_buf(),
            token: None,
            certificates: None,
            offline: false,
            pause: Duration::from_millis(1),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.plan.lock().unwrap().asked)
    }
}

fn serve(stream: TcpStream, plan: &Mutex<Plan>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let path = lines.next().unwrap_or(Ok(String::new()))?.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut asked = Asked { path, range: None, token: None };
    for line in lines {
        let line = line?;
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_lowercase().as_str() {
            "" => break,
            "range" => {
                asked.range =
                    value.trim().strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')?.parse().ok());
            }
            "authorization" => asked.token = value.trim().strip_prefix("Bearer ").map(str::to_owned),
            _ => {}
        }
    }
    let mut plan = plan.lock().unwrap();
    plan.asked.push(asked.clone());
    answer(stream, &mut plan, &asked)
}

fn answer(mut stream: TcpStream, plan: &mut Plan, asked: &Asked) -> std::io::Result<()> {
    if plan.token.is_some() && plan.token != asked.token && !asked.path.starts_with("/cdn/") {
        return write!(stream, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if asked.path.starts_with("/api/") {
        let (status, text) = &plan.listing;
        return write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
    }
    let name = asked.path.rsplit('/').next().unwrap_or_default().to_owned();
    let Some(bytes) = plan.files.get(&name).cloned() else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if name.ends_with(".safetensors") && asked.path.starts_with("/org/") {
        let elsewhere = plan.elsewhere.clone().unwrap_or_default();
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {elsewhere}/cdn/{name}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let from = asked.range.filter(|_| !plan.whole_only).unwrap_or(0) as usize;
    let head = match from {
        0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", bytes.len()),
        _ => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n",
            bytes.len() - from,
            bytes.len() - 1,
            bytes.len()
        ),
    };
    write!(stream, "{head}Connection: close\r\n\r\n")?;
    let mut end = bytes.len();
    if let Some((after, times)) = &mut plan.breaks
        && *times > 0
    {
        (*times, end) = (*times - 1, (from + *after).min(end));
    }
    stream.write_all(&bytes[from.min(end)..end])
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A repository with these files, large ones by their hash.
fn repository(files: &[(&str, Vec<u8>)]) -> Plan {
    let describe = |(name, bytes): &(&str, Vec<u8>)| {
        let lfs = name.ends_with("safetensors").then(|| serde_json::json!({"sha256": sha256(bytes)}));
        serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": format!("b{}", sha256(name.as_bytes())), "lfs": lfs})
    };
    let siblings: Vec<_> = files.iter().map(describe).collect();
    let listing = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
    Plan {
        files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect(),
        listing: (200, listing),
        ..Plan::default()
    }
}

fn weights(seed: u8) -> Vec<u8> {
    (0..900_000u32).map(|i| (i * 31 + u32::from(seed)) as u8 ^ (i >> 9) as u8).collect()
}

fn small_model() -> Plan {
    repository(&[
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"a\": 1}".to_vec()),
        ("README.md", b"no".to_vec()),
        ("model.safetensors", weights(1)),
    ])
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn a_model_is_fetched_once_and_found_without_a_network() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(small_model()));
    let hub = server.hub(dir.path());
    let folder = hub.fetch("org/name", None, &mut Quiet).unwrap();
    assert_eq!(read(&folder, "model.safetensors"), weights(1));
    assert_eq!(read(&folder, "tokenizer.json"), b"{\"a\": 1}");
    assert!(!folder.join("README.md").exists(), "only what is needed");
    let model = dir.path().join("models--org--name");
    assert_eq!(folder, model.join("snapshots").join(COMMIT));
    assert_eq!(read(&model, "refs/main"), COMMIT.as_bytes());
    assert!(model.join("blobs").join(sha256(&weights(1))).is_file());
    assert!(server.asked().iter().all(|a| a.token.is_none()));
    // Again, by branch and by commit: nobody is asked.
    let offline = Hub { offline: true, ..hub.clone() };
    for revision in [None, Some("main"), Some(COMMIT)] {
        assert_eq!(offline.fetch("org/name", revision, &mut Quiet).unwrap(), folder);
        assert_eq!(hub.fetch("org/name", revision, &mut Quiet).unwrap(), folder);
    }
    assert!(server.asked().is_empty());
    // A cache that was copied without its refs.
    std::fs::remove_dir_all(model.join("refs")).unwrap();
    assert_eq!(offline.fetch("org/name", None, &mut Quiet).unwrap(), folder);
    assert!(offline.fetch("org/name", Some("main"), &mut Quiet).is_err());
    let error = offline.fetch("org/other", None, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("org/other"), "{error}");
}

#[test]
fn shards_are_those_that_the_index_names() {
    let index = br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let files = [
        ("config.json", b"{}".to_vec()),
        ("vocab.json", b"{}".to_vec()),
        ("merges.txt", b"".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
        ("model-00001-of-00002.safetensors", weights(1)),
        ("model-00002-of-00002.safetensors", weights(2)),
        ("model-00003-of-00002.safetensors", weights(3)),
    ];
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(repository(&files)));
    let folder = server.hub(dir.path()).fetch("org/name", Some("refs/pr/1"), &mut Quiet).unwrap();
    assert_eq!(read(&folder, "model-00002-of-00002.safetensors"), weights(2));
    assert!(!folder.join("model-00003-of-00002.safetensors").exists());
    assert!(server.asked()[0].path.contains("revision/refs%2Fpr%2F1?"));
    assert!(dir.path().join("models--org--name/refs/refs/pr/1").is_file());
}

#[test]
fn numbered_files_make_a_model_without_an_index() {
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let config = || ("config.json", b"{}".to_vec());
    let tokenizer = || ("tokenizer.json", b"{}".to_vec());
    let files = [config(), tokenizer(), (one, weights(1)), (two, weights(2))];
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(repository(&files)));
    let folder = server.hub(dir.path()).fetch("org/name", None, &mut Quiet).unwrap();
    assert_eq!((read(&folder, one), read(&folder, two)), (weights(1), weights(2)));
    // All parts of a GGUF model, next to the configuration of the original.
    let files = [config(), ("m-00001-of-00002.gguf", vec![1]), ("m-00002-of-00002.gguf", vec![2])];
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(repository(&files)));
    let folder = server.hub(dir.path()).fetch("org/name", None, &mut Quiet).unwrap();
    assert_eq!(read(&folder, "m-00002-of-00002.gguf"), [2]);
}

#[test]
fn what_breaks_off_is_resumed_where_it_was() {
    for whole_only in [false, true] {
        let plan = Plan { breaks: Some((400_000, 2)), whole_only, ..small_model() };
        let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(plan));
        let hub = server.hub(dir.path());
        // The small files do not reach the break; two of the large one's bodies do.
        server.change(|plan| plan.breaks = Some((400_000, 4)));
        let folder = hub.fetch("org/name", None, &mut Quiet).unwrap();
        assert_eq!(read(&folder, "model.safetensors"), weights(1), "ranges known: {}", !whole_only);
        let ranges: Vec<Option<u64>> =
            server.asked().iter().filter(|a| a.path.starts_with("/cdn/")).map(|a| a.range).collect();
        assert_eq!(&ranges[..2], &[None, Some(400_000)]);
    }
}

#[test]
fn what_breaks_off_always_is_kept_and_gone_on_with_later() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(small_model()));
    server.change(|plan| plan.breaks = Some((0, usize::MAX)));
    let hub = server.hub(dir.path());
    let error = hub.fetch("org/name", None, &mut Quiet).unwrap_err();
    assert!(
        matches!(error, Error::Network(_)) && error.to_string().contains("Repeat the command"),
        "{error}"
    );
    // Half of it is there when it is interrupted.
    struct Stop(u64);
    impl Progress for Stop {
        fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}
        fn advance(&mut self, done: u64, _: &str) {
            self.0 = done;
        }
        fn end(&mut self, _: &str) {}
        fn remark(&mut self, _: &str) {}
        fn stop_requested(&self) -> bool {
            self.0 > 300_000
        }
    }
    server.change(|plan| plan.breaks = None);
    assert!(matches!(hub.fetch("org/name", None, &mut Stop(0)), Err(Error::Stopped(_))));
    assert!(!dir.path().join("models--org--name/refs/main").exists(), "not found by name before it is whole");
    server.asked();
    let folder = hub.fetch("org/name", None, &mut Quiet).unwrap();
    assert_eq!(read(&folder, "model.safetensors"), weights(1));
    assert!(server.asked().iter().any(|a| a.range.is_some_and(|from| from > 0)));
}

#[test]
fn damage_on_the_way_is_found() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(small_model()));
    server.change(|plan| plan.files.get_mut("model.safetensors").unwrap()[7] ^= 1);
    let hub = server.hub(dir.path());
    let error = hub.fetch("org/name", None, &mut Quiet).unwrap_err().to_string();
    assert!(
        error.contains("model.safetensors arrived damaged: SHA-256") && error.contains("repeat"),
        "{error}"
    );
    server.change(|plan| plan.files.get_mut("model.safetensors").unwrap()[7] ^= 1);
    hub.fetch("org/name", None, &mut Quiet).unwrap();
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let other = Server::start(small_model());
    let plan = Plan { token: Some("secret".into()), elsewhere: Some(other.address.clone()), ..small_model() };
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(plan));
    let without = server.hub(dir.path());
    let error = without.fetch("org/name", None, &mut Quiet).unwrap_err();
    assert!(matches!(error, Error::Request(_)));
    let error = error.to_string();
    assert!(
        error.contains("hf auth login") && error.contains("HF_TOKEN") && error.contains("gated"),
        "{error}"
    );
    let wrong = Hub { token: Some("wrong".into()), ..without.clone() };
    assert!(
        wrong.fetch("org/name", None, &mut Quiet).unwrap_err().to_string().contains("refused to your token")
    );
    server.asked();
    let right = Hub { token: Some("secret".into()), ..without };
    right.fetch("org/name", None, &mut Quiet).unwrap();
    assert!(server.asked().iter().all(|a| a.token.as_deref() == Some("secret")));
    let elsewhere = other.asked();
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|a| a.token.is_none()));
}

#[test]
fn what_cannot_be_fetched_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let error = |plan: Plan| {
        let server = Server::start(plan);
        server.hub(dir.path()).fetch("org/name", None, &mut Quiet).unwrap_err()
    };
    let missing = error(Plan { listing: (404, String::new()), ..Plan::default() });
    assert!(matches!(missing, Error::Request(_)) && missing.to_string().contains("no revision `main`"));
    let busy = error(Plan { listing: (503, String::new()), ..Plan::default() });
    assert!(matches!(busy, Error::Network(_)) && busy.to_string().contains("503"), "{busy}");
    let nonsense = error(Plan { listing: (200, "<html>".into()), ..Plan::default() });
    assert!(matches!(nonsense, Error::Network(_)));
    let evil =
        error(Plan { listing: (200, r#"{"sha": "../../x", "siblings": []}"#.into()), ..Plan::default() });
    assert!(evil.to_string().contains("`../../x`"));
    let pickled = error(repository(&[
        ("config.json", vec![]),
        ("tokenizer.json", vec![]),
        ("pytorch_model.bin", vec![]),
    ]));
    assert!(pickled.to_string().contains("only pytorch_model.bin"));
    let wordless = error(repository(&[("config.json", vec![]), ("model.safetensors", vec![])]));
    assert!(wordless.to_string().contains("neither tokenizer.json"));
    let parts = error(repository(&[("a-00001-of-00002.gguf", vec![])]));
    assert!(parts.to_string().contains("every part"), "{parts}");
    let several = error(repository(&[("a.gguf", vec![]), ("b.gguf", vec![])]));
    assert!(several.to_string().contains("a.gguf, b.gguf"));
    let hub = Hub {
        certificates: Some(dir.path().join("none.pem")),
        ..Server::start(small_model()).hub(dir.path())
    };
    assert!(hub.fetch("org/name", None, &mut Quiet).unwrap_err().to_string().contains("none.pem"));
    std::fs::write(dir.path().join("none.pem"), "text").unwrap();
    assert!(
        hub.fetch("org/name", None, &mut Quiet).unwrap_err().to_string().contains("found no certificates")
    );
    // Nobody there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = Hub {
        endpoint: format!("http://{free}"),
        cache: dir.path().to_path_buf(),
        token: None,
        certificates: None,
        offline: false,
        pause: Duration::from_millis(1),
    };
    let unreachable = hub.fetch("org/name", None, &mut Quiet).unwrap_err();
    let text = unreachable.to_string();
    assert!(matches!(unreachable, Error::Network(_)) && text.contains("without a network"), "{text}");
}
