//! A folder that a web server serves, which is only read.
//!
//! Which files there are is known from the server's own list of a folder (nginx, Apache, Python's and npm's small servers make one), followed
//! into its folders. Where a server has none, `dataset.json` names the files of a dataset; of a run those are looked for whose names do
//! not vary. Each file is asked for its length, and for its ETag or the time when it was changed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::address::{Address, is_a_path};
use super::client::{Answer, Ask, Client};
use super::objects::Object;
use super::parallel::each;
use super::record::is_content;
use super::xml::{percent_decoded, unescaped};
use crate::error::{Error, Result};
use crate::{Manifest, catalogue};

/// Files and folders that are taken note of at most, and how deep folders are followed.
const MOST: usize = 20_000;
const DEPTH: usize = 8;
/// How the titles of lists begin: of nginx, Apache, lighttpd and http-server; of Python; of `serve`.
const TITLES: [&str; 3] = ["index of", "directory listing for", "files within"];
/// What a server answers about something that is not there, or not to be listed.
const ABSENT: &[u16] = &[403, 404, 405, 410];

/// Every file below `address`, or the one of exactly that name.
///
/// # Errors
/// [`Error::Bucket`]: a server that refuses or stays away, that has nothing there, or does not tell what there is.
pub(super) fn below(client: &Client, address: &Address) -> Result<Vec<Object>> {
    if let Some(file) = file(client, address)? {
        return Ok(vec![file]);
    }
    let mut keys = Vec::new();
    if listed(client, address, &mut keys)? {
        return files(client, address, &keys);
    }
    keys = named(client, address)?;
    let found = files(client, address, &keys)?;
    if found.is_empty() {
        let problem =
            "the server gives no list of this folder, and there is neither dataset.json nor run.json in it";
        let remedy = "check the address; have the server list its folders (nginx: autoindex on), or copy the folder to this machine";
        return Err(Error::bucket(&address.to_string(), problem, Some(remedy)));
    }
    Ok(found)
}

/// The file of exactly this name. What a server answers with a page is a folder.
fn file(client: &Client, address: &Address) -> Result<Option<Object>> {
    if address.key.is_empty() {
        return Ok(None);
    }
    let answer = client.ask(address, &Ask { method: "HEAD", expected: ABSENT, ..Ask::default() })?;
    if answer.status > 299 || is_page(&answer) {
        return Ok(None);
    }
    object(client, address, &answer).map(Some)
}

fn object(client: &Client, address: &Address, answer: &Answer) -> Result<Object> {
    let bytes = answer.header("content-length").and_then(|n| n.parse().ok());
    match (bytes, client.identity(address, answer)) {
        (Some(bytes), Some(etag)) => Ok(Object { key: address.key.clone(), bytes, etag, md5: None }),
        _ => {
            let problem = "the server does not tell its length, or neither an ETag nor when it was changed";
            let remedy = "copy the folder to this machine, or serve it with nginx";
            Err(Error::bucket(&address.to_string(), problem, Some(remedy)))
        }
    }
}

fn is_page(answer: &Answer) -> bool {
    answer.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}

/// What the server has of these files, asked several at once.
fn files(client: &Client, address: &Address, keys: &[String]) -> Result<Vec<Object>> {
    let found = Mutex::new(Vec::new());
    each(keys.len(), &|i| {
        let address = address.with_key(&keys[i]);
        let answer = client.ask(&address, &Ask { method: "HEAD", expected: ABSENT, ..Ask::default() })?;
        if answer.status < 300 {
            let object = object(client, &address, &answer)?;
            found.lock().unwrap_or_else(PoisonError::into_inner).push(object);
        }
        Ok(())
    })?;
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// Follows the lists of a folder and of those in it; false where the server has no list of it.
fn listed(client: &Client, address: &Address, keys: &mut Vec<String>) -> Result<bool> {
    let mut folders = vec![(address.key.clone(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        let Some(names) = list(client, &address.with_key(&folder))? else {
            // A folder that may be looked into, but not that one.
            if depth == 0 {
                return Ok(false);
            }
            continue;
        };
        for name in names {
            seen += 1;
            if seen > MOST {
                let problem = format!("there are more than {MOST} files and folders in it");
                return Err(Error::bucket(
                    &address.to_string(),
                    &problem,
                    Some("give the address of a folder below"),
                ));
            }
            let plain = name.trim_end_matches('/');
            let key = if folder.is_empty() { plain.to_owned() } else { format!("{folder}/{plain}") };
            match name.ends_with('/') {
                true if depth < DEPTH => folders.push((key, depth + 1)),
                true => {}
                false => keys.push(key),
            }
        }
    }
    Ok(true)
}

/// The names in a folder, those of folders with a slash at the end; `None` where the server has no list of it.
fn list(client: &Client, folder: &Address) -> Result<Option<BTreeSet<String>>> {
    let slash =
        if folder.key.is_empty() { folder.clone() } else { folder.with_key(&format!("{}/", folder.key)) };
    let answer = client.ask(&slash, &Ask { method: "GET", expected: ABSENT, ..Ask::default() })?;
    if answer.status > 299 || !is_page(&answer) {
        return Ok(None);
    }
    Ok(names(&answer.text(), &slash.key))
}

/// The names that a list of the folder `key` links to; `None` for a page that is not a list.
fn names(page: &str, key: &str) -> Option<BTreeSet<String>> {
    let lower = page.to_ascii_lowercase();
    let title = lower.split_once("<title>")?.1.split_once("</title>")?.0.trim().to_owned();
    if !TITLES.iter().any(|begin| title.starts_with(begin)) {
        return None;
    }
    let mut names = BTreeSet::new();
    for (at, _) in lower.match_indices("href=") {
        let rest = &page[at + "href=".len()..];
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else { continue };
        let Some((link, _)) = rest[1..].split_once(quote) else { continue };
        names.extend(name_of(&unescaped(link), key));
    }
    Some(names)
}

/// The name of something directly in the folder `key` that `link` leads to. Other links of a list lead up, or sort it.
fn name_of(link: &str, key: &str) -> Option<String> {
    if link.contains(['?', '#']) {
        return None;
    }
    let link = percent_decoded(link)?;
    let whole = format!("/{key}");
    let below = if link.starts_with('/') { link.strip_prefix(whole.as_str())? } else { &link };
    let below = below.strip_prefix("./").unwrap_or(below);
    let name = below.strip_suffix('/').unwrap_or(below);
    let is_name = is_a_path(name) && !name.contains(['/', ':']) && is_content(name);
    is_name.then(|| below.to_owned())
}

/// What a server without lists may have: the files that `dataset.json` names, or those of a run whose names do not vary.
fn named(client: &Client, address: &Address) -> Result<Vec<String>> {
    let mut keys = BTreeSet::new();
    let manifest = address.join("dataset.json");
    let answer = client.ask(&manifest, &Ask { method: "GET", expected: ABSENT, ..Ask::default() })?;
    if answer.status < 300 && !is_page(&answer) {
        let named: Option<Manifest> = serde_json::from_slice(&answer.body).ok();
        let parts = named.iter().flat_map(|manifest| manifest.tables.values()).flat_map(|table| &table.parts);
        let names = parts.map(|part| part.file.as_str()).filter(|name| is_a_path(name));
        keys.extend(names.map(|name| address.join(name).key));
        keys.extend(fixed("DATASET").map(|name| address.join(name).key));
        keys.insert(manifest.key);
    }
    let run = address.join("run.json");
    if file(client, &run)?.is_some() {
        keys.extend(fixed("RUN").map(|name| address.join(name).key));
        for table in ["activations", "codes"] {
            for part in 0.. {
                let part = address.join(&format!("features/{table}-{part:05}.parquet"));
                if file(client, &part)?.is_none() {
                    break;
                }
                keys.insert(part.key);
            }
        }
    }
    Ok(keys.into_iter().collect())
}

/// Files of a kind of folder whose names do not vary.
fn fixed(folder: &str) -> impl Iterator<Item = &'static str> {
    let files = catalogue::folders()
        .into_iter()
        .filter(move |found| found.name == folder)
        .flat_map(|found| found.files);
    let names = files.flat_map(|file| file.path.split(", "));
    names.filter(|name| {
        let is_file = name.ends_with(".json")
            || name.ends_with(".parquet")
            || name.ends_with(".toml")
            || name.ends_with(".safetensors");
        is_file
            && !name.contains(|c: char| c.is_ascii_uppercase() || c == '`' || c == ' ')
            && name.split('/').all(is_content)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists as the servers write them, shortened: nginx 1.26, Apache 2.4, Python 3.12, http-server 14, serve 14.
    #[test]
    fn lists_of_servers() {
        let of = |page: &str| names(page, "runs/a b/").map(|found| found.into_iter().collect::<Vec<_>>());
        let all = Some(vec!["features/".to_owned(), "run.json".to_owned()]);
        for page in [
            "<html>\r\n<head><title>Index of /runs/a b/</title></head><h1>Index of /</h1><pre><a href=\"../\">../</a>\n\
             <a href=\"features/\">features/</a> 29-Nov-2026 -\n<a href=\"run.json\">run.json</a> 12</pre>",
            "<html><head>\n  <title>Index of /runs/a b</title></head><a href=\"?C=N;O=D\">Name</a>\
             <a href=\"/runs/\">Parent Directory</a><a href=\"features/\">features/</a><a href=\"run.json\">run.json</a>",
            "<title>Directory listing for /runs/a b/</title><li><a href=\"features/\">features/</a></li>\
             <li><a href=\"run.json\">run.json</a></li><li><a href=\".lock\">.lock</a></li><li><a href=\"checkpoints/\">c</a>",
            "<TITLE>Index of /runs/a b/</TITLE><a href=\"../\">../</a><a href=\"./features/\">f</a><a href='./run.json'>r</a>",
            "<title>Files within a b/</title><link href=\"https://elsewhere/x.css\"><a href=\"/runs/a%20b/features/\" title=\"f\">f</a>\
             <a href=\"/runs/a%20b/run.json\">r</a><a href=\"/other/x\">x</a><a href=\"mailto:a\">a</a>",
        ] {
            assert_eq!(of(page), all, "{page}");
        }
        for page in ["<title>My page</title><a href=\"run.json\">x</a>", "plain", ""] {
            assert_eq!(of(page), None, "{page}");
        }
        let hostile = "<title>Index of /</title><a href=\"..%2F..%2Fetc\"><a href=\"a/b\"><a href=\"a\\b\"><a href=\"%FF\">\
                       <a href=\"a&amp;b.json\"><a href=\"c:d\"><a href=\"\"><a href=\"..\"><a href=x><a href=\"open";
        assert_eq!(of(hostile), Some(vec!["a&b.json".to_owned()]));
    }

    #[test]
    fn names_that_do_not_vary() {
        let run: Vec<_> = fixed("RUN").collect();
        for name in [
            "run.json",
            "cfg.json",
            "sae_weights.safetensors",
            "features/features.parquet",
            "metrics.parquet",
        ] {
            assert!(run.contains(&name), "{name}");
        }
        assert!(!run.iter().any(|name| name.contains("NAME") || name.contains("NNNNN")), "{run:?}");
        let dataset: Vec<_> = fixed("DATASET").collect();
        assert!(
            dataset.contains(&"documents.parquet") && dataset.contains(&"vocabulary.parquet"),
            "{dataset:?}"
        );
    }
}
