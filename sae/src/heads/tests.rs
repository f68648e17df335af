//! Parts against models from which something is taken away, and against sums that other hooks give.

use candle_core::{Device, Tensor};

use super::*;
use crate::Result;
use crate::dictionary::{Dictionary, Selection};
use crate::rows::fixture::{self, family};
use lm::model::{Decoder, Hook, Site, Tap};
use lm::text::Contexts;

const LEN: usize = 9;
const FEATURES: usize = 7;
/// Families whose attention, MLPs and norms have no biases: grouped keys, norms after branches, norms on both sides, scaled
/// branches, a mixture of experts.
const WITHOUT_BIASES: [&str; 5] = ["llama", "olmo2", "gemma3", "granite", "mixtral"];

fn contexts() -> Contexts {
    let tokens = fixture::texts(&[LEN], 96, 5).remove(0).tokens;
    Contexts {
        rows: 1,
        len: LEN,
        tokens,
        segments: vec![1; LEN],
        positions: (0..LEN as u32).collect(),
        origin: vec![None; LEN],
    }
}

fn held(decoder: &Decoder) -> HeldText {
    HeldText::new(decoder, &contexts()).unwrap()
}

fn last_layer(decoder: &Decoder) -> usize {
    decoder.config().num_hidden_layers - 1
}

fn placed(decoder: &Decoder, hook: Hook, seed: u64) -> PlacedDictionary {
    let dictionary = fixture::dictionary(hook.width(decoder.config()).unwrap(), FEATURES, 4, seed);
    PlacedDictionary::new("made up".as_ref(), dictionary, hook, None).unwrap()
}

/// b_enc − W_enc · b_dec.
fn constant(dictionary: &Dictionary, feature: usize) -> f32 {
    let terms = dictionary.encoder_row(feature).iter().zip(&dictionary.b_dec).map(|(w, b)| w * b);
    dictionary.b_enc[feature] - terms.sum::<f32>()
}

fn close(found: f32, expected: f32, scale: f32, what: &str) {
    assert!((found - expected).abs() < 2e-5 * (1.0 + scale.abs()), "{what}: {found}, expected {expected}");
}

/// What the parts are made of, in size.
fn size(parts: &Parts) -> f32 {
    let heads = parts.heads.iter().flat_map(|head| &head.sources).map(|value| value.abs()).sum::<f32>();
    heads
        + parts.mlps.iter().map(|mlp| mlp.value.abs()).sum::<f32>()
        + parts.embedding.unwrap_or_default().abs()
}

fn sum(parts: &Parts) -> f32 {
    let heads = parts.heads.iter().map(HeadParts::sum).sum::<f32>();
    heads + parts.mlps.iter().map(|mlp| mlp.value).sum::<f32>() + parts.embedding.unwrap_or_default()
}

/// Takes the value of one head of keys and values away at one token, and keeps what stands at a hook after that.
struct Without {
    layer: usize,
    /// Numbers of the values that become 0, and the token.
    gone: (std::ops::Range<usize>, usize),
    at: Site,
    kept: Option<Tensor>,
}

impl Tap for Without {
    fn wants(&self, hook: &Hook) -> bool {
        hook.layer == self.layer && [Site::V, self.at].contains(&hook.site)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        if hook.site == self.at {
            self.kept = Some(value.clone());
            return Ok(None);
        }
        let width = value.dim(2)?;
        let mut numbers: Vec<f32> = value.flatten_all()?.to_vec1()?;
        self.gone.0.clone().for_each(|i| numbers[self.gone.1 * width + i] = 0.0);
        Ok(Some(Tensor::from_vec(numbers, value.shape(), &Device::Cpu)?))
    }
}

/// The value at a hook and the last token, without that of one value head at one token.
fn without(decoder: &Decoder, hook: Hook, gone: (std::ops::Range<usize>, usize)) -> Vec<f32> {
    let mut tap = Without { layer: hook.layer, gone, at: hook.site, kept: None };
    decoder.residual(&contexts(), hook.layer + 1, &mut tap).unwrap();
    let kept: Vec<Vec<f32>> = tap.kept.unwrap().squeeze(0).unwrap().to_vec2().unwrap();
    kept[LEN - 1].clone()
}

#[test]
fn what_heads_move_is_what_is_missing_without_their_values() {
    for name in ["llama", "gpt2", "gpt_neox", "qwen2", "granite", "gemma3", "olmo2"] {
        let decoder = family(name, |_| {});
        let layer = last_layer(&decoder);
        let attention = &decoder.config().blocks[layer].attention;
        let (shared, d_value) = (attention.heads / attention.kv_heads, attention.d_value);
        let text = held(&decoder);
        // A norm after attention is not linear when something is gone: there only the heads' outputs are compared.
        let sites: &[Site] = match name {
            "gemma3" | "olmo2" => &[Site::AttnZ],
            _ => &[Site::AttnZ, Site::AttnOut, Site::ResidMid],
        };
        for &site in sites.iter().filter(|site| name != "gpt_neox" || **site != Site::ResidMid) {
            let hook = Hook::new(layer, site);
            let placed = placed(&decoder, hook, 3);
            let parts = text.feature(&placed, 2, LEN - 1).unwrap().parts().unwrap();
            let row = placed.dictionary.encoder_row(2);
            let reads = |value: &[f32]| kernels::wide::dot(row, value) as f32;
            let whole = reads(&without(&decoder, hook, (0..0, 0)));
            for (group, source) in (0..attention.kv_heads).flat_map(|group| (0..LEN).map(move |s| (group, s)))
            {
                let gone = group * d_value..(group + 1) * d_value;
                let expected = whole - reads(&without(&decoder, hook, (gone, source)));
                let heads =
                    parts.heads.iter().filter(|head| head.layer == layer && head.head / shared == group);
                let found = heads.map(|head| head.sources[source]).sum::<f32>();
                close(
                    found,
                    expected,
                    size(&parts),
                    &format!("{name} {hook}, values {group} of token {source}"),
                );
            }
        }
    }
}

#[test]
fn parts_add_up_where_there_are_no_biases() {
    for name in WITHOUT_BIASES {
        let decoder = family(name, |_| {});
        let (layer, text) = (last_layer(&decoder), held(&decoder));
        assert!(layer > 0, "{name} has one layer, so nothing is below");
        for site in [Site::ResidPre, Site::ResidMid, Site::ResidPost, Site::MlpIn, Site::AttnZ, Site::AttnOut]
        {
            let placed = placed(&decoder, Hook::new(layer, site), 4);
            for token in [LEN - 1, 3, 0] {
                let reader = text.feature(&placed, 5, token).unwrap();
                let parts = reader.parts().unwrap();
                let what = format!("{name} {site:?} token {token}");
                close(parts.biases, constant(&placed.dictionary, 5), size(&parts), &what);
                assert!(parts.heads.iter().all(|head| head.sources.len() == token + 1), "{what}");
                // And so does what a head moved: its value, which attention's own hook gives, against the stream it read.
                for (layer, head, source, value) in parts.strongest(6) {
                    let through = reader.through(layer, Some(head), source).unwrap();
                    close(through.whole(), value, size(&parts), &what);
                    let below = through.parts().unwrap();
                    close(
                        sum(&below),
                        value,
                        size(&below),
                        &format!("{what} through {layer}.{head} from {source}"),
                    );
                    assert!(below.heads.iter().all(|part| part.layer < layer), "{what}");
                }
            }
        }
        let logit = text.logit(7).unwrap().parts().unwrap();
        close(sum(&logit), logit.whole, size(&logit), &format!("{name} logit"));
    }
}

#[test]
fn what_is_left_are_the_biases_of_attention() {
    // Of GPT-2: its values' biases are in the values, its MLPs' in what they write; those of W_O are left.
    let decoder = family("gpt2", |_| {});
    let folder = fixture::families().join("gpt2/model.safetensors");
    let mut weights = lm::model::Weights::open_safetensors(&folder).unwrap();
    let (layer, text) = (last_layer(&decoder), held(&decoder));
    let placed = placed(&decoder, Hook::new(layer, Site::ResidPost), 6);
    let parts = text.feature(&placed, 1, LEN - 1).unwrap().parts().unwrap();
    let row = placed.dictionary.encoder_row(1);
    let biases = (0..=layer).map(|layer| {
        let name = format!("h.{layer}.attn.c_proj.bias");
        let name = if weights.has(&name) { name } else { format!("transformer.{name}") };
        let bias: Vec<f32> = weights.take(&name, &[row.len()]).unwrap().to_vec1().unwrap();
        kernels::wide::dot(row, &bias) as f32
    });
    close(parts.biases, constant(&placed.dictionary, 1) + biases.sum::<f32>(), size(&parts), "biases");
    assert!(parts.biases != constant(&placed.dictionary, 1));
}

#[test]
fn features_below_are_what_stands_there() {
    for name in ["llama", "gemma3", "gpt_neox"] {
        let decoder = family(name, |_| {});
        let (layer, text) = (last_layer(&decoder), held(&decoder));
        let reader =
            text.feature(&placed(&decoder, Hook::new(layer, Site::ResidPost), 8), 3, LEN - 1).unwrap();
        let parts = reader.parts().unwrap();
        let of_layer = |layer: usize| parts.heads.iter().filter(move |head| head.layer == layer);
        let heads = |layer: usize| of_layer(layer).map(HeadParts::sum).sum::<f32>();
        let mlp = |layer: usize| parts.mlps.iter().find(|mlp| mlp.layer == layer).unwrap().value;
        let branches = heads(layer) + mlp(layer);
        // Without biases of W_O, which GPT-NeoX has.
        let exact = name != "gpt_neox";
        for (site, expected) in [
            (Site::ResidPre, exact.then(|| sum(&parts) - branches)),
            (Site::AttnZ, Some(heads(layer))),
            (Site::AttnOut, exact.then(|| heads(layer))),
            (Site::MlpOut, Some(mlp(layer))),
        ] {
            let below = placed(&decoder, Hook::new(layer, site), 9);
            let written = reader.written(&below).unwrap().unwrap();
            let what = format!("{name} {site:?}");
            if let Some(expected) = expected {
                close(written.whole, expected, size(&parts), &what);
            }
            assert!((1..=4).contains(&written.features.len()), "{what}");
            let features = written.features.iter().map(|part| part.value).sum::<f32>();
            close(features + written.bias + written.error, written.whole, size(&parts), &what);
        }
        // Nothing of a place is below itself, and nothing of a later layer.
        let own = placed(&decoder, Hook::new(layer, Site::ResidPost), 8);
        assert_eq!(reader.written(&own).unwrap(), None);
        let earlier = text.feature(&placed(&decoder, Hook::new(0, Site::ResidPost), 8), 3, LEN - 1).unwrap();
        let later = placed(&decoder, Hook::new(layer, Site::AttnZ), 9);
        assert_eq!(earlier.written(&later).unwrap(), None);
        // But what a head moved from a token is described by a dictionary of the very stream it read.
        let through = reader.through(layer, Some(0), 2).unwrap();
        let read = placed(&decoder, Hook::new(layer, Site::ResidPre), 9);
        let written = through.written(&read).unwrap().unwrap();
        if exact {
            close(written.whole, through.whole(), size(&parts), name);
        }
    }
}

#[test]
fn an_error_of_the_dictionary_is_what_it_leaves() {
    // Components of the stream reconstruct what is positive: the error is what is negative.
    let decoder = family("llama", |_| {});
    let (layer, text) = (last_layer(&decoder), held(&decoder));
    let reader = text.feature(&placed(&decoder, Hook::new(layer, Site::ResidPost), 8), 3, 4).unwrap();
    let d = decoder.config().hidden_size;
    let hook = Hook::new(layer, Site::ResidPre);
    let below = PlacedDictionary::new("made up".as_ref(), fixture::components(d), hook, None).unwrap();
    let written = reader.written(&below).unwrap().unwrap();
    let stream = text.row(hook, 4).unwrap();
    let reads = reader.at_stream(2 * layer).unwrap();
    let negative = stream.iter().zip(reads).filter(|(x, _)| **x < 0.0).map(|(x, r)| x * r).sum::<f32>();
    close(written.error, negative, negative, "error");
    let limited = PlacedDictionary { norm_limit: Some(1e-6), ..below };
    let left_out = reader.written(&limited).unwrap().unwrap();
    assert!(left_out.left_out && left_out.features.is_empty());
    close(left_out.error + left_out.bias, written.whole, written.whole, "all of it");
}

#[test]
fn codes_of_either_sign_say_what_is_written_but_cannot_be_traced() {
    let decoder = family("llama", |_| {});
    let (layer, text) = (last_layer(&decoder), held(&decoder));
    let reader = text.feature(&placed(&decoder, Hook::new(layer, Site::ResidPost), 8), 3, 4).unwrap();
    let d = decoder.config().hidden_size;
    let (hook, selection) = (Hook::new(layer, Site::ResidPre), Selection::AbsTopK(d));
    let signed = Dictionary { selection, ..fixture::components(d) };
    let below = PlacedDictionary::new("made up".as_ref(), signed, hook, None).unwrap();
    let written = reader.written(&below).unwrap().unwrap();
    // All components with their signs are all of the stream.
    assert!(written.features.iter().any(|part| part.activation < 0.0));
    close(written.error, 0.0, written.whole, "error");
    let error = text.feature(&below, 0, 4).unwrap_err().to_string();
    assert!(error.contains("codes of either sign"), "{error}");
}

#[test]
fn steps_that_lead_nowhere_are_refused_by_name() {
    let decoder = family("llama", |_| {});
    let (layer, text) = (last_layer(&decoder), held(&decoder));
    let own = placed(&decoder, Hook::new(layer, Site::ResidPre), 8);
    let reader = text.feature(&own, 0, 4).unwrap();
    let said = |result: Result<Reader<'_>>| result.unwrap_err().to_string();
    assert!(said(reader.through(layer, None, 1)).contains("do not write to what is read here"));
    assert!(said(reader.through(0, Some(99), 1)).contains("has no head 99"));
    assert!(said(reader.through(0, None, 5)).contains("comes after token 4"));
    assert!(said(reader.through(0, None, LEN)).contains("no token 9"));
    assert!(said(text.feature(&own, FEATURES as u32, 0)).contains("no feature 7"));
    assert!(said(text.feature(&own, 0, LEN)).contains("no token 9"));
    let inside = placed(&decoder, Hook::new(layer, Site::MlpOut), 8);
    assert!(said(text.feature(&inside, 0, 0)).contains("nothing linear leads to"));
    assert!(said(text.logit(1 << 30)).contains("no token"));
}
