//! One dataset out of the shards of a harvest: their parts in order, one table of documents.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use storage::documents::DocumentRow;
use storage::{Dataset, DatasetWriter, Dtype, Layout, Manifest, documents, schema};

use super::Harvested;
use crate::shards::{SHARDS, Shard, Work, WorkStatus, division};
use crate::{Error, Progress, Result};

/// How many shards are in the dataset already.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Cursor {
    shards: usize,
}

/// Makes one dataset (one per hook, if there are several) of the shards in `out` and removes their folders.
/// Files are linked, not copied, where the file system can. A merge that was interrupted continues when it is
/// asked for again.
///
/// # Errors
/// A shard that is missing, unfinished or of a different harvest; no tokens in all of them; files that cannot
/// be written; a stop that was asked for.
pub fn merge(out: &Path, progress: &mut dyn Progress) -> Result<Harvested> {
    let merged = out.join(MERGED);
    let (shards, names): (Vec<PathBuf>, Vec<String>) = match merged.exists() {
        true => {
            let Merged { count, names } = storage::read_json(&merged)?;
            ((0..count).map(|index| Shard { index, count }.folder(out)).collect(), names)
        }
        false => {
            let shards = shards(out)?;
            let names = names(&shards[0])?;
            (shards, names)
        }
    };
    progress.begin("merge", Some((shards.len() * names.len()) as u64), "shards");
    let begun = Instant::now();
    let mut made = Harvested { datasets: Vec::new(), rows: 0, documents: 0, held_out: 0, seconds: 0.0 };
    let mut done = 0;
    for name in &names {
        let folder = out.join(name);
        let dataset = match folder.join(storage::MANIFEST).exists() {
            true => {
                DatasetWriter::tidy(&folder);
                Dataset::open(&folder)?
            }
            false => one(&folder, &shards, name, &mut done, progress)?,
        };
        let rows = documents::read(&dataset.table(schema::DOCUMENTS)?)?;
        made.rows = rows.iter().map(|d| u64::from(d.tokens)).sum();
        made.documents = rows.len() as u64;
        made.held_out = rows.iter().filter(|d| d.held_out).count() as u64;
        made.datasets.push(folder);
    }
    if made.rows == 0 {
        return Err(Error::request("the text has no tokens: it has no documents, or all of them are empty"));
    }
    record(out, shards.len())?;
    remove(out, &shards, names)?;
    made.seconds = begun.elapsed().as_secs_f64();
    progress.end(&format!("{} rows of {} shards in {}", made.rows, shards.len(), out.display()));
    Ok(made)
}

/// What is written when everything is merged and before the first shard is removed, so that a removal that was interrupted is not taken
/// for shards that are missing.
#[derive(Debug, Serialize, Deserialize)]
struct Merged {
    /// How many shards there were.
    count: usize,
    /// The datasets of each.
    names: Vec<String>,
}

/// Where [`Merged`] is while shards are removed.
const MERGED: &str = "merged.json";

fn remove(out: &Path, shards: &[PathBuf], names: Vec<String>) -> Result<()> {
    let path = out.join(MERGED);
    storage::atomic::write_json(&path, &Merged { count: shards.len(), names })?;
    for shard in shards.iter().filter(|shard| shard.exists()) {
        std::fs::remove_dir_all(shard).map_err(|e| Error::io(shard, e))?;
    }
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))
}

/// Says in the shards' records of work that they are merged. Datasets from before there were any have none.
fn record(out: &Path, count: usize) -> Result<()> {
    for index in 0..count {
        let folder = Shard { index, count }.folder(&out.join(SHARDS));
        if let Some(work) = Work::read(&folder)? {
            Work { status: WorkStatus::Merged, updated: storage::clock::now(), ..work }.write(&folder)?;
        }
    }
    Ok(())
}

/// The folders of all shards, in order; an error names those that are not there.
fn shards(out: &Path) -> Result<Vec<PathBuf>> {
    let Some((count, found)) = division(out)? else {
        let merged = if out.join(storage::MANIFEST).exists() { " is merged already: it" } else { "" };
        let text = format!("{}{merged} has no folders shard-I-of-N", out.display());
        return Err(Error::request(text));
    };
    let missing: Vec<String> =
        (0..count).filter(|index| !found.contains(index)).map(|index| format!("{index}/{count}")).collect();
    if !missing.is_empty() {
        return Err(Error::request(format!(
            "{} lacks the shards {}; make them before the merge",
            out.display(),
            missing.join(", ")
        )));
    }
    Ok((0..count).map(|index| Shard { index, count }.folder(out)).collect())
}

/// The datasets of a shard, by their folders inside it: itself, or one per hook.
fn names(shard: &Path) -> Result<Vec<String>> {
    let is_one =
        |folder: &Path| [storage::MANIFEST, storage::JOURNAL].iter().any(|f| folder.join(f).exists());
    if is_one(shard) {
        return Ok(vec![String::new()]);
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shard).map_err(|e| Error::io(shard, e))? {
        let entry = entry.map_err(|e| Error::io(shard, e))?;
        if is_one(&entry.path()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    match names.is_empty() {
        true => Err(Error::request(format!("{} holds no dataset", shard.display()))),
        false => Ok(names),
    }
}

/// What all shards of a dataset share. One of them may have met a number too large for f16.
fn header(manifest: &Manifest, dtype: Dtype) -> Manifest {
    Manifest { dtype, rows: 0, tables: Default::default(), ..manifest.clone() }
}

fn one(
    folder: &Path,
    shards: &[PathBuf],
    name: &str,
    done: &mut u64,
    progress: &mut dyn Progress,
) -> Result<Dataset> {
    let datasets: Vec<Dataset> =
        shards.iter().map(|shard| Ok(Dataset::open(&shard.join(name))?)).collect::<Result<_>>()?;
    let wide = datasets.iter().any(|dataset| dataset.manifest().dtype == Dtype::F32);
    let dtype = if wide { Dtype::F32 } else { Dtype::F16 };
    let common = header(datasets[0].manifest(), dtype);
    for dataset in &datasets {
        if header(dataset.manifest(), dtype) != common {
            return Err(Error::format(
                dataset.dir().join(storage::MANIFEST),
                format!("was made with other settings than {}", datasets[0].dir().display()),
            ));
        }
    }
    let mut writer = DatasetWriter::begin(folder, common)?;
    writer.note().iter().for_each(|note| progress.remark(note));
    let cursor: Cursor = match writer.cursor() {
        None => Cursor::default(),
        Some(value) => serde_json::from_value(value.clone()).map_err(|e| {
            Error::format(folder.join(storage::JOURNAL), format!("was not begun by a merge: {e}"))
        })?,
    };
    for (i, dataset) in datasets.iter().enumerate() {
        if i >= cursor.shards {
            let whole = *done;
            adopt(&mut writer, dataset, i + 1, &mut |rows| progress.advance(whole, &rewritten(rows)))?;
        }
        *done += 1;
        progress.advance(*done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the shards are all there still; give the same command again"));
        }
    }
    // A merge that ended between these tables and the manifest has them already.
    if !writer.tables().contains_key(schema::DOCUMENTS) {
        let mut part = writer.next_part(schema::DOCUMENTS, schema::documents(), &Layout::small_table())?;
        part.write(&documents::to_batch(&all_documents(&datasets)?)?)?;
        let mut parts = vec![(schema::DOCUMENTS.to_owned(), part.finish()?)];
        parts.extend(adopted(&mut writer, &datasets[0], schema::VOCABULARY, &mut |_| ())?);
        writer.commit(parts, serde_json::json!(Cursor { shards: shards.len() }))?;
    }
    Ok(writer.finish()?)
}

/// What is shown while activations of f16 are written again as f32.
fn rewritten(rows: u64) -> String {
    format!("{rows} rows of a part rewritten as f32")
}

/// Takes a shard's rows over; `report` is told the rows of a part that are written again as f32.
fn adopt(
    writer: &mut DatasetWriter,
    dataset: &Dataset,
    shards: usize,
    report: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut parts = Vec::new();
    for table in dataset.manifest().tables.keys() {
        if table != schema::DOCUMENTS && table != schema::VOCABULARY {
            parts.extend(adopted(writer, dataset, table, report)?);
        }
    }
    writer.commit(parts, serde_json::json!(Cursor { shards }))?;
    Ok(())
}

fn adopted(
    writer: &mut DatasetWriter,
    dataset: &Dataset,
    table: &str,
    report: &mut dyn FnMut(u64),
) -> Result<Vec<(String, storage::Part)>> {
    let parts = dataset.manifest().tables.get(table).map_or(&[][..], |t| t.parts.as_slice());
    let widens = table == schema::ACTIVATIONS && dataset.manifest().dtype != writer.dtype();
    let adopt = |part| {
        let from = dataset.dir();
        let adopted = match widens {
            true => writer.adopt_widened(from, part, report),
            false => writer.adopt_part(table, from, part),
        };
        Ok((table.to_owned(), adopted?))
    };
    parts.iter().map(adopt).collect()
}

/// The documents of all shards; their rows follow each other.
fn all_documents(datasets: &[Dataset]) -> Result<Vec<DocumentRow>> {
    let (mut all, mut rows) = (Vec::<DocumentRow>::new(), 0);
    for dataset in datasets {
        for document in documents::read(&dataset.table(schema::DOCUMENTS)?)? {
            if document.document as usize != all.len() {
                return Err(Error::format(
                    dataset.dir(),
                    format!(
                        "has document {}; expected {} after the shards before it",
                        document.document,
                        all.len()
                    ),
                ));
            }
            let tokens = u64::from(document.tokens);
            all.push(DocumentRow { first_row: rows, ..document });
            rows += tokens;
        }
    }
    Ok(all)
}
