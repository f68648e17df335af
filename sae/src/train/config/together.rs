//! Options that do not go together with what is trained: crosscoders, transcoders, constrained rows, whitened rows.

use super::{InputNormalisation, Method, Resolved, TrainConfig};
use crate::{Error, Result};

impl Resolved {
    /// What a crosscoder cannot have.
    ///
    /// # Errors
    /// The first option that is given and has no meaning for it, with the reason.
    pub(crate) fn check_sites(&self) -> Result<()> {
        let config = &self.config;
        let cannot = [
            (config.target.is_some(), "target", "it reconstructs what it reads"),
            (config.from.is_some(), "from", "its rows begin alike at all sites"),
            (
                config.method == Method::MatchingPursuit,
                "matching-pursuit",
                "decoder rows have norms that add up to 1, not norm 1",
            ),
            (
                config.input_normalisation == InputNormalisation::Whiten,
                "input_normalisation whiten",
                "norms of the parts of a decoder row would not be those of the sites",
            ),
            (config.align_encoder, "align_encoder", "decoder rows have norms that add up to 1, not norm 1"),
            (
                config.method.scores_cosines(),
                "a cosine score",
                "its encoder rows begin as short as its decoder rows",
            ),
            (
                config.freeze_decoder.is_some(),
                "freeze_decoder",
                "frozen rows have norm 1, not norms that add up to 1",
            ),
            (
                config.resample_every.is_some(),
                "resample_every",
                "new rows would have norm 1, not norms that add up to 1",
            ),
        ];
        match cannot.iter().find(|(given, ..)| *given && self.sites > 1) {
            Some((_, name, why)) => Err(Error::request(format!(
                "{name} is given, but the dataset is joined, so a crosscoder is trained: {why}"
            ))
            .with_remedy(format!("leave {name} out"))),
            None => Ok(()),
        }
    }
}

impl TrainConfig {
    /// What rows that are tied to each other, or kept at norm 1, cannot have.
    pub(super) fn check_constraints(&self) -> Result<()> {
        let constrained = match (self.align_encoder, self.method.scores_cosines()) {
            (true, _) => "align_encoder",
            (_, true) => "a cosine score",
            _ => return Ok(()),
        };
        let given = [
            (self.from.is_some(), "from", "the rows of a dictionary are not of that kind"),
            (self.freeze_decoder.is_some(), "freeze_decoder", "encoder and decoder rows move together"),
            (self.freeze_encoder, "freeze_encoder", "encoder and decoder rows move together"),
        ];
        match given.iter().find(|(given, ..)| *given) {
            Some((_, name, why)) => {
                Err(Error::request(format!("{name} is given with {constrained}, but {why}"))
                    .with_remedy("leave one of them out"))
            }
            None => Ok(()),
        }
    }

    /// What whitened rows cannot have.
    pub(super) fn check_whitening(&self) -> Result<()> {
        if self.input_normalisation != InputNormalisation::Whiten {
            return Ok(());
        }
        let cannot = [
            (self.target.is_some(), "target", "a transcoder reads and writes in two spaces"),
            (self.cross_layer, "cross_layer", "a transcoder reads and writes in two spaces"),
            (self.from.is_some(), "from", "the rows of a dictionary are of activations as they are"),
            (self.method.scores_gradients(), "method", "gradients are those at activations as they are"),
            (
                self.method.scores_cosines(),
                "method",
                "norms of whitened rows are not those of the rows themselves",
            ),
            (
                self.method == Method::MatchingPursuit,
                "method",
                "the encoder of whitened rows is not the decoder of the rows themselves",
            ),
        ];
        match cannot.iter().find(|(given, ..)| *given) {
            Some((_, name, why)) => Err(Error::request(format!(
                "input_normalisation is whiten, which does not go with {name}: {why}"
            ))
            .with_remedy("leave one of them out")),
            None => Ok(()),
        }
    }

    /// What a transcoder cannot have.
    pub(super) fn check_target(&self) -> Result<()> {
        let cannot = [
            (
                self.skip && self.method == Method::Gated,
                "the reconstruction from the gate's codes holds everything else constant, and skip is not held",
            ),
            (self.resample_every.is_some(), "new rows for dead features are directions of the input"),
            (self.from.is_some(), "training from a dictionary needs one that reconstructs its input"),
            (self.align_encoder, "what is read and what is written are not in one space"),
            (self.method == Method::MatchingPursuit, "what is read and what is written are not in one space"),
            (self.lista_step.is_some(), "what the codes leave of the target is not an input"),
            (
                self.method.scores_cosines(),
                "the score needs the norm of the input about a bias, which a transcoder does not have",
            ),
        ];
        if self.skip && self.target.is_none() {
            return Err(Error::request("skip is given, but a dictionary that reconstructs its input has no use for a path past its features")
                .with_remedy("give target, the dataset of what a transcoder reconstructs, or leave skip out"));
        }
        match cannot.iter().find(|(given, _)| *given && self.target.is_some()) {
            Some((_, why)) => Err(Error::request(format!("target is given, but {why}")).with_remedy(
                "leave target out, or choose a method without that, such as topk, batch-topk or jumprelu",
            )),
            None => Ok(()),
        }
    }

    /// What a cross-layer transcoder cannot have.
    ///
    /// # Errors
    /// The first option that is given and has no meaning for it, with the reason.
    pub(crate) fn check_cross_layer(&self) -> Result<()> {
        if !self.cross_layer {
            return Ok(());
        }
        let cannot = [
            (self.target.is_some(), "target is given", "what the layers write is in the folder of --data"),
            (self.skip, "skip is given", "a path past the features of every layer is not trained"),
            (self.from.is_some(), "from is given", "it begins as the transcoders of its layers"),
            (
                self.freeze_decoder.is_some() || self.freeze_encoder,
                "freeze_decoder or freeze_encoder is given",
                "rows that write into later layers begin at 0",
            ),
            (self.multi_topk.is_some(), "multi_topk is given", "the loss has the errors of all layers once"),
            (self.tilt.is_some(), "tilt is given", "rows count the same for all layers"),
            (
                self.lista_step.is_some(),
                "lista_step is given",
                "codes of a layer explain what other layers write too",
            ),
            (self.align_encoder, "align_encoder is given", "a decoder row writes into several layers"),
            (
                self.history.is_some_and(|history| history > 0),
                "history is given",
                "the tables of a history have one decoder row per feature",
            ),
            (
                self.resample_every.is_some(),
                "resample_every is given",
                "new rows are directions of one layer's input",
            ),
        ];
        if let Some((_, what, why)) = cannot.iter().find(|(given, ..)| *given) {
            return Err(Error::request(format!("{what}, but a cross-layer transcoder is trained: {why}"))
                .with_remedy("leave it out"));
        }
        let trained = matches!(
            self.method,
            Method::Topk
                | Method::MutualChoice
                | Method::FeatureChoice
                | Method::Relu
                | Method::Jumprelu
                | Method::PAnneal
        );
        match trained {
            true => Ok(()),
            false => Err(Error::request(format!(
                "method {} is given, but cross-layer transcoders are trained by topk, batch-topk, feature-choice, relu, jumprelu and \
                 p-anneal",
                self.method
            ))
            .with_remedy("choose one of these methods")),
        }
    }
}
