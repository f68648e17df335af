//! Neuronpedia's explanations: rows of the export's `explanations/batch-N.jsonl` (`modelId`, `layer`,
//! `index`, `description`, `typeName`, `explanationModelName`, `authorId`, with `scores` where the export has
//! them), and the objects of its interface (`/api/feature`), which hold a feature's in `explanations`.

use serde_json::Value;
use storage::explanations::{Explanation, Score};

use super::{Reading, feature, number, text};

type Result<T> = std::result::Result<T, String>;

/// Takes the explanations of a record of `layer`; what is wrong with it, without the place.
pub(super) fn read(record: &Value, layer: Option<&str>, reading: &mut Reading) -> Result<()> {
    let of = (text(record, "modelId")?.to_owned(), text(record, "layer")?.to_owned());
    if layer.is_some_and(|wanted| wanted != of.1) {
        reading.others += 1;
        return Ok(());
    }
    match &reading.of {
        Some(first) if *first != of => {
            return Err(format!(
                "it is of model `{}`, layer `{}`, the records before of `{}`, `{}`; a run has one layer: choose it with --layer",
                of.0, of.1, first.0, first.1
            ));
        }
        Some(_) => {}
        None => reading.of = Some(of),
    }
    let number = feature(record.get("index"), "index")?;
    match record.get("explanations") {
        None => one(record, number, reading),
        Some(Value::Array(all)) => all.iter().try_for_each(|record| one(record, number, reading)),
        Some(other) => Err(format!("`explanations` is {other}, expected a list")),
    }
}

fn one(record: &Value, feature: u32, reading: &mut Reading) -> Result<()> {
    let description = text(record, "description")?.trim();
    if description.is_empty() {
        reading.empty += 1;
        return Ok(());
    }
    let model = text(record, "explanationModelName")?;
    let by = if model.is_empty() { text(record, "authorId")? } else { model };
    reading.rows.push(Explanation {
        feature,
        text: description.to_owned(),
        method: text(record, "typeName")?.to_owned(),
        by: by.to_owned(),
        scores: scores(record)?,
    });
    Ok(())
}

/// Every score with its type, and with the model that gave it if there is one.
fn scores(record: &Value) -> Result<Vec<Score>> {
    let all = match record.get("scores") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(all)) => all,
        Some(other) => return Err(format!("`scores` is {other}, expected a list")),
    };
    let one = |score: &Value| {
        let value = score.get("value").ok_or("a score has no `value`, expected a number")?;
        let (kind, model) =
            (text(score, "explanationScoreTypeName")?, text(score, "explanationScoreModelName")?);
        let kind = match (kind, model) {
            ("", _) => {
                return Err("a score has no `explanationScoreTypeName`, expected what it measures".to_owned());
            }
            (kind, "") => kind.to_owned(),
            (kind, model) => format!("{kind}, {model}"),
        };
        Ok(Score { kind, value: number(value, "value")? })
    };
    all.iter().map(one).collect()
}
