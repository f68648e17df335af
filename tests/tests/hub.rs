//! Dictionaries of the hub as a user names them, from a small server on this machine that breaks off, refuses and lies.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::{Ended, sae, sae_with};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// A dictionary that Gemma Scope's own loader made, in a folder of the same name.
const SCOPE: &str = "layer_3/width_16k/average_l0_9";

/// One repository, `google/gemma-scope-2b-pt-res`, and what the server does about it.
#[derive(Default)]
struct Plan {
    files: BTreeMap<String, Vec<u8>>,
    /// A status in place of every answer.
    status: Option<u16>,
    /// Statuses in place of the next answers about files.
    statuses: Vec<u16>,
    /// Files are at another server, whose address this is.
    elsewhere: Option<String>,
    /// The first body of a file ends after so many bytes.
    breaks: Option<usize>,
    /// The listing takes this off every size.
    lie: u64,
    /// Lines of requests, with the range and the token.
    asked: Vec<String>,
}

struct Server {
    address: String,
    plan: Arc<Mutex<Plan>>,
}

impl Server {
    fn start(files: &[(&str, Vec<u8>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
        let plan = Arc::new(Mutex::new(Plan { files, ..Plan::default() }));
        let served = plan.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| drop(serve(stream, &mut served.lock().unwrap())));
        });
        Self { address, plan }
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
    }

    /// What was asked for since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.plan.lock().unwrap().asked)
    }

    /// `sae LINE` with this server as the hub and `folder/cache` as its cache.
    fn sae(&self, folder: &Path, line: &str, more: &[(&str, &str)]) -> Ended {
        let cache = folder.join("cache").display().to_string();
        let mut variables = vec![("HF_ENDPOINT", &*self.address), ("HF_HUB_CACHE", &cache), ("HF_TOKEN", "")];
        variables.extend([("HF_TOKEN_PATH", "/nowhere"), ("HF_HUB_OFFLINE", "")]);
        variables.extend(more);
        sae_with(folder, line, &variables)
    }
}

fn serve(stream: TcpStream, plan: &mut Plan) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut asked =
        lines.next().unwrap_or(Ok(String::new()))?.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = asked.clone();
    let mut from = 0;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
            asked.push_str(&format!(" from {from}"));
        }
        if let Some(token) = line.strip_prefix("authorization: bearer ") {
            asked.push_str(&format!(" as {token}"));
        }
    }
    plan.asked.push(asked);
    answer(stream, &path, from, plan)
}

fn answer(mut stream: TcpStream, path: &str, from: usize, plan: &mut Plan) -> std::io::Result<()> {
    let mut head = |status: &str, length: usize, more: &str| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n")
    };
    if let Some(status) = plan.status {
        return head(&format!("{status} X"), 0, "");
    }
    if path.starts_with("/api/models/google/gemma-scope-2b-pt-res/revision/main?") {
        let file = |(path, bytes): (&String, &Vec<u8>)| {
            let size = (bytes.len() as u64).saturating_sub(plan.lie);
            serde_json::json!({"rfilename": path, "size": size, "blobId": etag(path)})
        };
        let all: Vec<_> = plan.files.iter().map(file).collect();
        let text = serde_json::json!({ "sha": COMMIT, "siblings": all }).to_string();
        head("200 OK", text.len(), "")?;
        return stream.write_all(text.as_bytes());
    }
    if let Some(status) = plan.statuses.pop() {
        return head(&format!("{status} X"), 0, "");
    }
    let prefix = format!("/google/gemma-scope-2b-pt-res/resolve/{COMMIT}/");
    let decoded = path.replace("%23", "#").replace("%C3%A9", "é");
    let Some(bytes) = decoded.strip_prefix(&prefix).and_then(|file| plan.files.get(file)) else {
        return head("404 Not Found", 0, "");
    };
    if let Some(elsewhere) = &plan.elsewhere {
        let more = format!(
            "Location: {elsewhere}{path}\r\nX-Linked-Etag: \"{}\"\r\nX-Linked-Size: {}\r\n",
            etag(&decoded[prefix.len()..]),
            bytes.len()
        );
        return head("302 Found", 0, &more);
    }
    let left = &bytes[from..];
    match from {
        0 => head("200 OK", left.len(), "")?,
        _ => {
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            head("206 Partial Content", left.len(), &range)?;
        }
    }
    let end = plan.breaks.take().unwrap_or(left.len());
    stream.write_all(&left[..end])
}

/// The hub's name for the content of a file: 40 hexadecimal digits.
fn etag(path: &str) -> String {
    path.bytes()
        .chain(*b"the content of the file, as the hub has it")
        .take(20)
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn golden(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../sae/tests/dictionaries").join(path)).unwrap()
}

/// A repository with two dictionaries of Gemma Scope, one of SAELens, and more than either needs.
fn server() -> Server {
    let npz = golden(&format!("gemma-scope-2b-pt-res/{SCOPE}/params.npz"));
    Server::start(&[
        ("README.md", b"not needed".to_vec()),
        ("layer_3/width_16k/average_l0_9/params.npz", npz.clone()),
        ("layer_4/width_16k/average_l0_7/params.npz", npz),
        ("a/cfg.json", golden("saelens_v6/topk/cfg.json")),
        ("a/sae_weights.safetensors", golden("saelens_v6/topk/sae_weights.safetensors")),
        ("a/sparsity.safetensors", b"not needed".to_vec()),
    ])
}

fn named(path: &str) -> String {
    format!("check google/gemma-scope-2b-pt-res/{path} --json")
}

fn repository(folder: &Path) -> PathBuf {
    folder.join("cache/models--google--gemma-scope-2b-pt-res")
}

#[test]
fn a_dictionary_is_fetched_once_and_nothing_else_is() {
    let (at, server) = (tempfile::tempdir().unwrap(), server());
    let at = at.path();
    let first = server.sae(at, &named(SCOPE), &[]).ok();
    assert_eq!(first.json()["layout"], "Gemma Scope");
    assert!(first.stderr.contains(&format!("downloading {SCOPE}/params.npz, 0.0 MB")), "{first}");
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].ends_with(&format!("/{SCOPE}/params.npz")), "{asked:?}");
    let snapshot = repository(at).join("snapshots").join(COMMIT);
    assert_eq!(std::fs::read_to_string(repository(at).join("refs/main")).unwrap(), COMMIT);
    let file = snapshot.join(SCOPE).join("params.npz");
    assert_eq!(std::fs::read(&file).unwrap(), golden(&format!("gemma-scope-2b-pt-res/{SCOPE}/params.npz")));
    // Again, and offline: nobody is asked.
    for more in [&[][..], &[("HF_HUB_OFFLINE", "1")]] {
        let again = server.sae(at, &named(SCOPE), more).ok();
        assert_eq!(again.json(), first.json());
    }
    assert!(server.asked().is_empty());
    // A different one of the same repository: its configuration, then its weights.
    server.sae(at, &named("a"), &[]).ok();
    let files: Vec<String> =
        server.asked().iter().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(files[1..], ["cfg.json", "sae_weights.safetensors"]);
    assert!(!snapshot.join("a/sparsity.safetensors").exists() && !snapshot.join("README.md").exists());
    // It is a SOURCE like any other.
    let matched =
        "match google/gemma-scope-2b-pt-res/a google/gemma-scope-2b-pt-res/layer_4/width_16k/average_l0_7";
    let matched = server.sae(at, &format!("{matched} --json"), &[]).ok();
    assert_eq!(matched.json()["features"], 10);
}

/// As huggingface.co does: files are at another host, which gets no token; blobs have the names that the hub tells; busy servers are asked
/// again; a path may have any characters.
#[test]
fn files_at_another_host_come_from_there() {
    let (at, there) = (tempfile::tempdir().unwrap(), server());
    let files = [
        ("my-sae#2/é/cfg.json", golden("saelens_v6/topk/cfg.json")),
        ("my-sae#2/é/sae_weights.safetensors", golden("saelens_v6/topk/sae_weights.safetensors")),
    ];
    there.change(|plan| plan.files.extend(files.map(|(path, bytes)| (path.to_owned(), bytes))));
    let here = server();
    here.change(|plan| {
        plan.files = there.plan.lock().unwrap().files.clone();
        plan.elsewhere = Some(there.address.clone());
        plan.statuses = vec![503, 429];
    });
    there.change(|plan| plan.breaks = Some(300));
    here.sae(at.path(), &named(SCOPE), &[("HF_TOKEN", "hf_secret")]).ok();
    let asked = here.asked();
    assert!(asked.len() >= 5 && asked.iter().all(|line| line.contains(" as hf_secret")), "{asked:?}");
    let elsewhere = there.asked();
    assert!(elsewhere.len() == 2 && elsewhere[1].ends_with("params.npz from 300"), "{elsewhere:?}");
    assert!(!elsewhere.iter().any(|line| line.contains("hf_secret")), "{elsewhere:?}");
    let blob = repository(at.path()).join("blobs").join(etag(&format!("{SCOPE}/params.npz")));
    assert_eq!(std::fs::read(blob).unwrap(), golden(&format!("gemma-scope-2b-pt-res/{SCOPE}/params.npz")));
    let checked = here.sae(at.path(), &named("my-sae#2/é"), &[]).ok();
    assert_eq!(checked.json()["layout"], "SAELens v6");
    // A gated repository is listed to everybody; its files are not.
    here.change(|plan| plan.statuses = vec![403]);
    let other = "layer_4/width_16k/average_l0_7";
    here.sae(at.path(), &named(other), &[]).refused(2, &["gated", "hf auth login"]);
    here.sae(at.path(), &named(other), &[]).ok();
}

#[test]
fn what_breaks_off_is_resumed() {
    let (at, server) = (tempfile::tempdir().unwrap(), server());
    server.change(|plan| plan.breaks = Some(300));
    server.sae(at.path(), &named(SCOPE), &[]).ok();
    assert!(server.asked().last().unwrap().ends_with("params.npz from 300"));
}

#[test]
fn what_the_hub_refuses_is_explained() {
    let (at, server) = (tempfile::tempdir().unwrap(), server());
    let at = at.path();
    server.change(|plan| plan.status = Some(404));
    server.sae(at, &named(SCOPE), &[]).refused(2, &["no revision `main`", "no such repository"]);
    server.change(|plan| plan.status = Some(401));
    server.sae(at, &named(SCOPE), &[]).refused(2, &["hf auth login", "HF_TOKEN"]);
    server.sae(at, &named(SCOPE), &[("HF_TOKEN", "hf_secret")]).refused(2, &["refused to your token"]);
    assert!(server.asked().last().unwrap().ends_with("as hf_secret"));
    server.change(|plan| plan.status = None);
    // Several dictionaries, and a path that is not there: which there are.
    let several = server.sae(at, &named("layer_4"), &[]);
    several.refused(2, &["google/gemma-scope-2b-pt-res/layer_4/width_16k/average_l0_7"]);
    server.sae(at, &named("layer_9"), &[]).refused(2, &["has no `layer_9`", "the 3 in the repository"]);
    assert!(!repository(at).join("refs/main").exists());
    let offline = server.sae(at, &named(SCOPE), &[("HF_HUB_OFFLINE", "1")]);
    offline.refused(2, &[&format!("hf download google/gemma-scope-2b-pt-res --include \"{SCOPE}/*\"")]);
}

#[test]
fn a_file_of_the_wrong_size_is_not_taken() {
    let (at, server) = (tempfile::tempdir().unwrap(), server());
    let at = at.path();
    server.change(|plan| plan.lie = 100);
    let refused = server.sae(at, &named(SCOPE), &[]);
    refused.refused(1, &["params.npz arrived damaged"]);
    assert!(!repository(at).join("refs/main").exists());
    assert_eq!(std::fs::read_dir(repository(at).join("blobs")).unwrap().count(), 0);
    server.change(|plan| plan.lie = 0);
    server.sae(at, &named(SCOPE), &[]).ok();
}

#[test]
fn without_a_network_the_remedy_comes_at_once() {
    let at = tempfile::tempdir().unwrap();
    let cache = at.path().join("cache").display().to_string();
    // Nobody listens there; a name that does not exist is the same to a machine without a network.
    for endpoint in ["http://127.0.0.1:9", "http://no-such-host.invalid"] {
        let began = Instant::now();
        let variables = [("HF_ENDPOINT", endpoint), ("HF_HUB_CACHE", &*cache), ("HF_HUB_OFFLINE", "")];
        let refused = sae_with(at.path(), &named(SCOPE), &variables);
        refused.refused(
            1,
            &[
                "could not be fetched",
                &format!("hf download google/gemma-scope-2b-pt-res --include \"{SCOPE}/*\""),
            ],
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{endpoint}: {:?}", began.elapsed());
    }
    // A run whose name has a slip in it is not looked for on the hub.
    std::fs::create_dir(at.path().join("runs")).unwrap();
    sae(at.path(), "evaluate runs/topk").refused(1, &["runs/topk"]);
}
