//! What a language model was asked about features and what it answered: the folder `RUN/explanations/NAME/`.
//!
//! Answers are lines of JSON and not Parquet: each is appended when it arrives, so that what was paid for outlives whatever
//! happens next. A line that was cut off is removed when the file is opened again.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::explanations::FOLDER;
use crate::record::record;
use crate::row::row;

/// The file of [`AnswerLine`]s.
pub const ANSWERS: &str = "answers.jsonl";
/// The table of [`JudgementRow`]s.
pub const JUDGEMENTS: &str = "judgements.parquet";
/// The table of [`ExplanationScoreRow`]s.
pub const SCORES: &str = "scores.parquet";

record! {
    /// One answer, a line each, in the order in which they came.
    AnswerLine {
        /// SHA-256 of the request. A request that has been answered is not sent again.
        key: String,
        /// The body of the request. The key of the server is not in it, and nowhere else.
        request: serde_json::Value,
        /// The body of the answer as it came.
        answer: serde_json::Value,
        /// What the model wrote.
        text: String,
        /// Tokens of the request, as the server counts them.
        prompt_tokens: Option<u64>,
        /// Tokens of the answer, as the server counts them.
        answer_tokens: Option<u64>,
    }
}

row! {
    /// One passage that a model or a rule judged by an explanation. Passages are of documents that no explanation was made from.
    #[layout(feature_rows)]
    JudgementRow {
        /// The feature that the passage is to be told apart by.
        feature: u32,
        /// Whose explanation: `model`, `rule`, or a control: `other feature`, `shuffled`, `top tokens`.
        source: String,
        /// `detection`: does the feature fire in the passage; `fuzzing`: are the marked tokens those that it fires on.
        test: String,
        /// Number of the document.
        document: u32,
        /// Position of the passage's first token.
        start: u32,
        /// Its tokens.
        tokens: Vec<u32>,
        /// The feature's activation at each token; 0 where it does not fire.
        values: Vec<f32>,
        /// Tokens that were marked, counted from the passage's first; empty for detection.
        marked: Vec<u32>,
        /// Tenth of the passages by largest activation, 0 the strongest; −1 where the feature does not fire.
        tenth: i8,
        /// Whether the feature fires in it, or the right tokens were marked.
        truth: bool,
        /// What was answered: 1, 0, or null where the answer could not be read.
        answer: Option<i8>,
    }
}

row! {
    /// The scores of one explanation of one feature.
    #[layout(feature_rows)]
    ExplanationScoreRow {
        /// The feature that it was scored on.
        feature: u32,
        /// See [`JudgementRow::source`].
        source: String,
        /// The explanation.
        text: String,
        /// `detection`, `fuzzing` or `simulation`.
        test: String,
        /// Detection and fuzzing: balanced accuracy, the mean of the shares of both classes that were told right; chance is 0.5.
        /// Simulation: correlation of the activation with what the explanation's words predict, over all tokens of the second half.
        /// Null where it does not exist.
        value: Option<f64>,
        /// Lower end of its 95 % interval over documents.
        low: Option<f64>,
        /// Its upper end.
        high: Option<f64>,
        /// Of what was said to be right, the share that is; of the simulation, of tokens. Null where nothing was.
        precision: Option<f64>,
        /// Of what is right, the share that was said to be.
        recall: Option<f64>,
        /// Passages that were answered; of the simulation, tokens.
        answered: u64,
        /// Passages without an answer that could be read. They count for nothing.
        unanswered: u64,
    }
}

/// The folder of the source `name` of the run in `dir`.
pub fn folder(dir: &Path, name: &str) -> PathBuf {
    dir.join(FOLDER).join(name)
}

/// The answers of a folder, and where further ones are appended.
#[derive(Debug)]
pub struct AnswerFile {
    path: PathBuf,
    file: File,
}

impl AnswerFile {
    /// Opens or begins the file in `folder`, and gives the answers that it has.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Json`] for a whole line that is not an answer.
    pub fn open(folder: &Path) -> Result<(Self, Vec<AnswerLine>)> {
        let path = folder.join(ANSWERS);
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = opened.map_err(Error::io(&path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io(&path))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(Error::io(&path))?;
        }
        file.seek(SeekFrom::Start(whole as u64)).map_err(Error::io(&path))?;
        let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read = |line| serde_json::from_slice(line).map_err(|e| Error::json(&path, &e));
        let answers = lines.map(read).collect::<Result<Vec<_>>>()?;
        Ok((Self { path, file }, answers))
    }

    /// Appends an answer; when this returns it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, answer: &AnswerLine) -> Result<()> {
        let mut line = serde_json::to_vec(answer).map_err(|e| Error::json(&self.path, &e))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(Error::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(key: &str) -> AnswerLine {
        AnswerLine {
            key: key.into(),
            request: serde_json::json!({"model": "m"}),
            answer: serde_json::json!({"choices": []}),
            text: "[1, 0]\n".into(),
            prompt_tokens: Some(7),
            answer_tokens: None,
        }
    }

    #[test]
    fn answers_outlive_a_cut_off_line() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, none) = AnswerFile::open(dir.path()).unwrap();
        assert_eq!(none, []);
        file.append(&answer("a")).unwrap();
        file.append(&answer("b")).unwrap();
        drop(file);
        let path = dir.path().join(ANSWERS);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let (mut file, read) = AnswerFile::open(dir.path()).unwrap();
        assert_eq!(read, [answer("a")]);
        file.append(&answer("c")).unwrap();
        assert_eq!(AnswerFile::open(dir.path()).unwrap().1, [answer("a"), answer("c")]);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(ANSWERS), "{\"key\": 1}\n").unwrap();
        let error = AnswerFile::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(ANSWERS), "{error}");
    }
}
