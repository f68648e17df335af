//! The documents of files and folders, one at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::chat::Chat;
use super::files::{self, Compression, Format, Found, TextFile};
use super::reader::{Records, STRETCH, TextOptions, damaged};
use super::record::{Reading, Report};
use super::{csv, json, plain, table};
use crate::{Error, Result};

/// A piece of text and what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<T = String> {
    /// Title, or the file's name.
    pub name: String,
    /// Where it is from: the field `source`, or the file's name.
    pub source: String,
    /// Domain, or the file's stem where the text does not say.
    pub domain: String,
    /// Whether its split is held out; None where neither a field nor a name says it.
    pub held_out: Option<bool>,
    /// The text itself, never empty.
    pub text: T,
}

/// What a document is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Characters.
    Text(String),
    /// Tokens, in runs that have nothing to do with each other: what lay between them is masked.
    Tokens(Vec<Vec<u32>>),
    /// Messages, for the model's own template.
    Chat(Chat),
}

/// A text longer than this, in bytes, is cut into stretches of [`STRETCH`]: what works on it then takes no
/// more memory than they do.
const LARGE: usize = 1 << 20;

/// All documents of some files and folders, read as they are asked for. Records without text are skipped and
/// counted.
///
/// Files come in order of name. Where only so many tokens are wanted and names of files say which are held out, these and
/// the others are read side by side, each as fast as it is long: otherwise `test.jsonl` alone would be read before
/// `train.jsonl`.
pub struct Documents {
    found: Found,
    options: TextOptions,
    queues: Vec<Queue>,
    report: Report,
}

/// Files that are read one after the other.
struct Queue {
    files: Vec<TextFile>,
    next: usize,
    current: Option<(Records, Reading)>,
    /// Stretches of a long document.
    waiting: VecDeque<Document<Content>>,
    /// Bytes of the files, and bytes of the documents that were given.
    bytes: u64,
    given: u64,
    ended: bool,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents")
            .field("found", &self.found)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// The files of `paths` that hold text, folders searched through, in order of name.
///
/// # Errors
/// [`Error::Request`] if a path is not there or there is no text at all, [`Error::Format`] for a file of
/// another format.
pub fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    Ok(files::find(paths)?.files.into_iter().map(|file| file.path).collect())
}

/// Opens files and folders; see [`Documents`].
///
/// # Errors
/// As [`files`].
pub fn documents(paths: &[PathBuf], options: &TextOptions) -> Result<Documents> {
    let found = files::find(paths)?;
    let (aside, others): (Vec<_>, Vec<_>) =
        found.files.iter().cloned().partition(|file| file.held_out == Some(true));
    let queues = match options.tokens {
        Some(_) if !aside.is_empty() && !others.is_empty() => vec![Queue::new(others), Queue::new(aside)],
        _ => vec![Queue::new(found.files.clone())],
    };
    Ok(Documents { found, options: options.clone(), queues, report: Report::default() })
}

/// The whole text of a file, decompressed, without a byte order mark.
///
/// # Errors
/// A file that cannot be read, or is not UTF-8.
pub fn whole(path: &Path) -> Result<String> {
    let compression = files::compression(path);
    let file =
        TextFile { path: path.to_owned(), format: Format::Plain, compression, held_out: None, named: true };
    let mut text = String::new();
    bytes(&file)?.read_to_string(&mut text).map_err(|e| damaged(path, &e))?;
    Ok(text)
}

/// Documents of characters alone: tokens and chats are errors. See [`open`].
#[derive(Debug)]
pub struct Texts(Documents);

/// Opens files and folders of plain texts.
///
/// # Errors
/// As [`files`].
pub fn open(paths: &[PathBuf]) -> Result<Texts> {
    texts(paths, &TextOptions::default())
}

/// The same with options.
///
/// # Errors
/// As [`files`].
pub fn texts(paths: &[PathBuf], options: &TextOptions) -> Result<Texts> {
    documents(paths, options).map(Texts)
}

impl Texts {
    /// What is read and what is passed over, a line each.
    pub fn notes(&self) -> Vec<String> {
        self.0.notes()
    }

    /// What was skipped and replaced so far.
    pub fn report(&self) -> &Report {
        self.0.report()
    }
}

impl Iterator for Texts {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        let Document { name, source, domain, held_out, text } = match self.0.next()? {
            Ok(document) => document,
            Err(error) => return Some(Err(error)),
        };
        let text = match text {
            Content::Text(text) => text,
            Content::Tokens(_) => {
                return Some(Err(Error::request(format!("{name} holds tokens; expected text"))));
            }
            Content::Chat(_) => {
                return Some(Err(Error::request(format!("{name} holds chats; expected text"))));
            }
        };
        Some(Ok(Document { name, source, domain, held_out, text }))
    }
}

impl Documents {
    /// What was skipped, replaced and decided by names so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What is read and what is passed over, a line each.
    pub fn notes(&self) -> Vec<String> {
        std::iter::once(self.found.read_note()).chain(self.found.passed_over_note()).collect()
    }

    /// Files of which nothing was read so far.
    pub fn not_reached(&self) -> Vec<&Path> {
        self.queues
            .iter()
            .flat_map(|queue| &queue.files[queue.next..])
            .map(|file| file.path.as_path())
            .collect()
    }

    /// The queue that is furthest behind, by its share of what there is.
    fn behind(&self) -> Option<usize> {
        let share = |queue: &Queue| queue.given as f64 / queue.bytes.max(1) as f64;
        let open = (0..self.queues.len()).filter(|i| !self.queues[*i].ended);
        open.min_by(|a, b| share(&self.queues[*a]).total_cmp(&share(&self.queues[*b])))
    }
}

impl Iterator for Documents {
    type Item = Result<Document<Content>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(at) = self.behind() {
            let alone = self.found.files.len() == 1;
            let last = self.queues.iter().filter(|queue| !queue.ended).count() == 1;
            let next = self.queues[at].next((alone, last), &self.options, &mut self.report);
            match next {
                Some(next) => return Some(next),
                None => self.queues[at].ended = true,
            }
        }
        None
    }
}

impl Queue {
    fn new(files: Vec<TextFile>) -> Self {
        let length = |file: &TextFile| std::fs::metadata(&file.path).map_or(0, |data| data.len());
        let bytes = files.iter().map(length).sum();
        Self { files, next: 0, current: None, waiting: VecDeque::new(), bytes, given: 0, ended: false }
    }

    /// At the end of a file: a file that was named and has no text is an error, one that was met in a folder
    /// is listed. `last`: whether all other queues have ended.
    fn close(&self, reading: Reading, last: bool, options: &TextOptions, report: &mut Report) -> Result<()> {
        let file = &self.files[self.next - 1];
        let last = last && self.next == self.files.len();
        match reading.finish(file, options) {
            // The last file speaks for all of them if there was no text at all.
            Some(error) if file.named || (report.documents == 0 && last) => Err(error),
            Some(error) => {
                report.files_without_text.push(error.to_string());
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn stretched(&mut self, document: Document<Content>, report: &mut Report) -> Document<Content> {
        let Document { name, source, domain, held_out, text: Content::Text(text) } = document else {
            return document;
        };
        if text.len() <= LARGE {
            return Document { name, source, domain, held_out, text: Content::Text(text) };
        }
        for (i, part) in plain::stretches(&text, STRETCH).enumerate() {
            let name = format!("{name}, stretch {}", i + 1);
            let text = Content::Text(part.to_owned());
            self.waiting.push_back(Document {
                name,
                source: source.clone(),
                domain: domain.clone(),
                held_out,
                text,
            });
        }
        report.documents += self.waiting.len() as u64 - 1;
        report.cut.push(format!("{name} is long and was cut into {} documents", self.waiting.len()));
        // A text of more than LARGE bytes has a first stretch.
        self.waiting.pop_front().unwrap_or(Document {
            name,
            source,
            domain,
            held_out,
            text: Content::Text(text),
        })
    }

    /// The next document; `alone`: whether its file is the only one of the text.
    fn next(
        &mut self,
        (alone, last): (bool, bool),
        options: &TextOptions,
        report: &mut Report,
    ) -> Option<Result<Document<Content>>> {
        loop {
            if let Some(document) = self.waiting.pop_front() {
                self.given += length(&document.text);
                return Some(Ok(document));
            }
            let Some((records, reading)) = &mut self.current else {
                let file = self.files.get(self.next)?;
                self.next += 1;
                match read(file, options, alone, report) {
                    Ok(records) => self.current = Some((records, Reading::default())),
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            match records.next() {
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(record)) => {
                    let file = &self.files[self.next - 1];
                    if let Some(document) = reading.document(record, file, options, report) {
                        let document = self.stretched(document, report);
                        self.given += length(&document.text);
                        return Some(Ok(document));
                    }
                }
                None => {
                    if let Some((_, reading)) = self.current.take()
                        && let Err(error) = self.close(reading, last, options, report)
                    {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

/// About how many bytes of a file a document is.
fn length(content: &Content) -> u64 {
    match content {
        Content::Text(text) => text.len() as u64,
        Content::Tokens(runs) => runs.iter().map(|run| 4 * run.len() as u64).sum(),
        Content::Chat(chat) => chat.bytes(),
    }
}

fn read(file: &TextFile, options: &TextOptions, alone: bool, report: &mut Report) -> Result<Records> {
    match file.format {
        Format::Plain => {
            let plan = plain::Plan::of(file, options, alone)?;
            report.cut.extend(plan.note(&file.path));
            plain::records(bytes(file)?, &file.path, plan)
        }
        Format::JsonLines => Ok(json::lines(bytes(file)?, &file.path, options)),
        Format::Json => json::whole(bytes(file)?, &file.path, options),
        Format::Csv(separator) => csv::rows(bytes(file)?, &file.path, separator, options),
        Format::Parquet => table::parquet(&file.path, options),
        Format::Arrow => table::arrow(&file.path, options),
    }
}

/// A file that is read again where a signal interrupted a read, as on a network's file system.
struct Uninterrupted(File);

impl Read for Uninterrupted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// The bytes of a file, decompressed, without a byte order mark.
fn bytes(file: &TextFile) -> Result<Box<dyn BufRead + Send>> {
    let path = &file.path;
    crate::pointer::refuse_file(path)?;
    let opened = BufReader::new(Uninterrupted(File::open(path).map_err(|e| Error::io(path, e))?));
    let mut bytes: Box<dyn BufRead + Send> = match file.compression {
        Compression::None => Box::new(opened),
        Compression::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(opened))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(opened).map_err(|e| Error::io(path, e))?;
            Box::new(BufReader::new(decoder))
        }
    };
    let mut begin = [0; 3];
    let mut have = 0;
    while have < begin.len() {
        match bytes.read(&mut begin[have..]).map_err(|e| damaged(path, &e))? {
            0 => break,
            n => have += n,
        }
    }
    match &begin[..have] {
        [0xEF, 0xBB, 0xBF] => Ok(bytes),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => Err(Error::format(path, "is UTF-16 text; expected UTF-8")
            .with_remedy("convert it, for example with: iconv -f UTF-16 -t UTF-8")),
        other => {
            let begin = std::io::Cursor::new(other.to_vec());
            Ok(Box::new(begin.chain(bytes)))
        }
    }
}

#[cfg(test)]
mod tests;
