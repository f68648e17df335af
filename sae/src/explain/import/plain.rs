//! Records of one's own: `{"feature": 12, "text": "trees", "score": 0.8, "method": "by hand", "author":
//! "Ada"}`. `scores` may hold several by kind, `{"f1": 0.8, "recall": 0.9}`; `score` alone is of the kind
//! `score`. Other fields are an error, so that a misspelt one is not lost in silence.

use serde_json::Value;
use storage::explanations::{Explanation, Score};

use super::{Reading, feature, number, text};

const FIELDS: [&str; 6] = ["feature", "text", "method", "author", "score", "scores"];

/// Takes the explanation of a record; what is wrong with it, without the place.
pub(super) fn read(record: &Value, reading: &mut Reading) -> Result<(), String> {
    let unknown =
        record.as_object().into_iter().flat_map(|o| o.keys()).find(|key| !FIELDS.contains(&key.as_str()));
    if let Some(key) = unknown {
        return Err(format!("`{key}` is not a field of an explanation, expected {}", FIELDS.join(", ")));
    }
    let feature = feature(record.get("feature"), "feature")?;
    let explained = text(record, "text")?.trim();
    if explained.is_empty() {
        reading.empty += 1;
        return Ok(());
    }
    let mut scores = Vec::new();
    if let Some(score) = record.get("score").filter(|score| !score.is_null()) {
        scores.push(Score { kind: "score".into(), value: number(score, "score")? });
    }
    match record.get("scores") {
        None | Some(Value::Null) => {}
        Some(Value::Object(all)) => {
            for (kind, value) in all {
                scores.push(Score { kind: kind.clone(), value: number(value, kind)? });
            }
        }
        Some(other) => return Err(format!("`scores` is {other}, expected an object of numbers")),
    }
    reading.rows.push(Explanation {
        feature,
        text: explained.to_owned(),
        method: text(record, "method")?.to_owned(),
        by: text(record, "author")?.to_owned(),
        scores,
    });
    Ok(())
}
