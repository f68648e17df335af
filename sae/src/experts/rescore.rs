//! The router's scores of a dataset that did not keep them: the model is run over the dataset's tokens again.

use candle_core::DType;

use super::counts::Scores;
use super::routing::{Choice, Rows, ScoreKind, Source};
use crate::rows::{ModelChoice, load_model};
use crate::{Error, Progress, Result};
use lm::model::{Hook, LanguageModel, Routing, Tap};
use lm::text::{Contexts, pack};

/// Tokens through the model at a time.
const TOKENS: usize = 4096;

/// Runs the model that `choice` names; `None` when it names none. Its weights must be those that made the
/// dataset.
///
/// # Errors
/// A model that cannot be loaded or run on the tokens of the dataset, or [`Error::Stopped`].
pub fn rescore(source: &Source, choice: &ModelChoice, progress: &mut dyn Progress) -> Result<Option<Scores>> {
    let Some(model) = load_model(choice, source.dataset().manifest())? else { return Ok(None) };
    let documents = documents(source)?;
    let mut scores: Option<Scores> = None;
    let total: usize = documents.iter().map(|(_, tokens)| tokens.len()).sum();
    let mut done = 0;
    progress.begin("router scores", Some(total as u64), "tokens");
    for contexts in contexts(source, &model, documents)? {
        let contexts = contexts?;
        let mut tap = Watch { contexts: &contexts, source, scores: &mut scores };
        model.forward(&contexts, &mut tap)?;
        done += contexts.document_tokens() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the scores were not finished, nothing was written"));
        }
    }
    progress.end(&format!("{done} tokens"));
    Ok(scores)
}

/// Tokens of every document, from its first, as the routing table has them.
///
/// # Errors
/// Rows that are not in order or have gaps.
pub fn documents(source: &Source) -> Result<Vec<(u32, Vec<u32>)>> {
    let mut documents: Vec<(u32, Vec<u32>)> = Vec::new();
    let mut last = None;
    for batch in source.scan()? {
        let batch = batch?;
        let rows = Rows::of(&batch)?;
        for choice in (0..rows.len()).map(|i| rows.choice(i)) {
            let place = (choice.document, choice.position);
            if last == Some(place) {
                continue;
            }
            last = Some(place);
            if documents.last().is_none_or(|(document, _)| *document != choice.document) {
                documents.push((choice.document, Vec::new()));
            }
            let Some((_, tokens)) = documents.last_mut() else { continue };
            if tokens.len() != choice.position as usize {
                return Err(Error::data(format!(
                    "{}: position {} was expected; the model cannot be run over a dataset with gaps",
                    choice.place(),
                    tokens.len()
                ))
                .with_remedy("harvest it again"));
            }
            tokens.push(choice.token);
        }
    }
    Ok(documents)
}

/// The contexts that the dataset was harvested in, so that the model sees the same.
///
/// # Errors
/// Documents that the model cannot take.
pub fn contexts(
    source: &Source,
    model: &LanguageModel,
    documents: Vec<(u32, Vec<u32>)>,
) -> Result<impl Iterator<Item = Result<Contexts>> + use<>> {
    let length = source.dataset().manifest().context_length;
    let rows = (TOKENS / length.max(1)).clamp(1, 64);
    pack(documents.into_iter().map(Ok), length, model.config().bos_token_id, rows)
}

struct Watch<'a> {
    contexts: &'a Contexts,
    source: &'a Source,
    scores: &'a mut Option<Scores>,
}

impl Tap for Watch<'_> {
    fn wants(&self, _: &Hook) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, _: &candle_core::Tensor) -> Result<Option<candle_core::Tensor>> {
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        if routing.product.is_some() {
            return Err(Error::request(format!(
                "layer {} has no score for each of its {} experts: Monet's are products of two routers' gates",
                routing.layer, routing.experts
            ))
            .with_remedy("leave --model out; load, pairs and specialisation need no scores"));
        }
        if routing.switched {
            return Err(Error::request(format!(
                "layer {} has no distribution over its {} experts: they are modules that are switched on one by one",
                routing.layer, routing.experts
            ))
            .with_remedy("leave --model out; load, density, pairs and specialisation need no scores"));
        }
        let logits: Vec<f32> = routing.logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let (experts, domains) = (routing.experts, self.source.domains().len());
        let scores = self.scores.get_or_insert_with(|| Scores::new(ScoreKind::Logits, experts, domains));
        let mut chosen = Vec::with_capacity(routing.k);
        for (at, origin) in self.contexts.origin.iter().enumerate() {
            let Some((document, position)) = *origin else { continue };
            chosen.clear();
            chosen.extend(routing.of(at).0.iter().copied());
            let choice = Choice {
                document,
                position,
                token: self.contexts.tokens[at],
                layer: routing.layer as u16,
                experts: &chosen,
                scores: &logits[at * experts..(at + 1) * experts],
                ..Choice::default()
            };
            scores.add(self.source.domain_of(document)?, &choice)?;
        }
        Ok(())
    }
}
