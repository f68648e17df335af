//! Hugging Face's cache on this machine: `models--ORG--NAME/{blobs, refs, snapshots}`.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Hugging Face's own folder.
fn home() -> PathBuf {
    variable("HF_HOME")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(variable("HOME")?.join(".cache/huggingface")))
        .unwrap_or_else(|| PathBuf::from(".cache/huggingface"))
}

/// The folder of the cache, by its own rules.
pub(in crate::model) fn cache() -> PathBuf {
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HUGGINGFACE_HUB_CACHE"))
        .unwrap_or_else(|| home().join("hub"))
}

/// The token that `hf auth login` left.
pub(super) fn token() -> Option<String> {
    let path = variable("HF_TOKEN_PATH").unwrap_or_else(|| home().join("token"));
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Whether a name can be that of a commit or blob: nothing that leads out of its folder.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The folder of one commit of a model: `models--ORG--NAME/snapshots/COMMIT`, found by `refs/REVISION`, by
/// the commit itself or, in a cache that was copied without its `refs`, as the only one there.
///
/// # Errors
/// [`Error::Request`]: it is not there, and how it is fetched.
pub(in crate::model) fn snapshot(cache: &Path, name: &str, revision: Option<&str>) -> Result<PathBuf> {
    let folder = cache.join(format!("models--{}", name.replace('/', "--")));
    let wanted = revision.unwrap_or("main");
    let commit = std::fs::read_to_string(folder.join("refs").join(wanted));
    let referred = commit.is_ok();
    let commit = commit.map_or_else(|_| wanted.to_owned(), |text| text.trim().to_owned());
    let found = folder.join("snapshots").join(&commit);
    if is_plain(&commit) && found.is_dir() {
        return Ok(found);
    }
    let commits = if revision.is_none() && !referred { commits(&folder) } else { Vec::new() };
    match &commits[..] {
        [only] => return Ok(folder.join("snapshots").join(only)),
        [] => {}
        several => {
            return Err(Error::request(format!(
                "{name} is in Hugging Face's cache, {}, in {} revisions, and no refs/main says which is meant",
                cache.display(),
                several.len()
            ))
            .with_remedy(format!("give one of them: {name}@{}", several.join(&format!(", {name}@")))));
        }
    }
    Err(Error::request(format!(
        "{name} at revision {wanted} is neither a folder nor in Hugging Face's cache, {}",
        cache.display()
    ))
    .with_remedy(format!(
        "where there is a network, `sae inspect {name}` fetches it; else run `hf download {name} --revision {wanted}` on another \
         machine and copy the cache, or put config.json, model.safetensors and tokenizer.json of \
         https://huggingface.co/{name}/tree/{wanted} into a folder and give that folder"
    )))
}

/// The commits that a cached model is there in.
fn commits(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("snapshots")).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| is_plain(name));
    names.sort();
    names
}

/// Notes that `revision` is `commit`.
pub(super) fn refer(model: &Path, revision: &str, commit: &str) -> Result<()> {
    if revision == commit {
        return Ok(());
    }
    let path = model.join("refs").join(revision);
    let folder = path.parent().unwrap_or(model);
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    storage::atomic::write(&path, commit.as_bytes())?;
    Ok(())
}

/// Makes `snapshots/COMMIT/FILE` stand for a blob.
pub(super) fn link(model: &Path, commit: &str, file: &str, blob: &Path) -> Result<()> {
    let path = model.join("snapshots").join(commit).join(file);
    let folder = path.parent().unwrap_or(model);
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    if path.is_file() {
        return Ok(());
    }
    // A link to a blob that somebody removed.
    if path.is_symlink() {
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    }
    let up = "../".repeat(2 + file.matches('/').count());
    point(&path, blob, &up)
        .or_else(|_| std::fs::hard_link(blob, &path))
        .or_else(|_| std::fs::copy(blob, &path).map(drop))
        .map_err(|e| Error::io(&path, e))
}

#[cfg(unix)]
fn point(path: &Path, blob: &Path, up: &str) -> std::io::Result<()> {
    let name = blob.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(Path::new(up).join("blobs").join(name), path)
}

#[cfg(not(unix))]
fn point(_: &Path, _: &Path, _: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
