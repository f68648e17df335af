//! What writes into the stream: features, errors and tokens with their vectors.

use rayon::prelude::*;

use super::graph::{Node, NodeKind};
use super::transcoders::Transcoders;
use crate::Result;
use kernels::encode::products;
use kernels::feature::norm_squared;
use lm::model::{Frozen, Site};

/// A place in the stream and what nodes write there.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// For each position the nodes that write there.
    nodes: Vec<Vec<u32>>,
    /// For each position their vectors, `[nodes, d_model]`.
    vectors: Vec<Vec<f32>>,
}

impl Written {
    fn new(len: usize) -> Self {
        Self { nodes: vec![Vec::new(); len], vectors: vec![Vec::new(); len] }
    }

    fn push(&mut self, position: usize, node: u32, vector: impl IntoIterator<Item = f32>) {
        self.nodes[position].push(node);
        self.vectors[position].extend(vector);
    }

    /// Adds to `rows` (each `[nodes]`) what the nodes here give each target whose gradient at this place is a row of
    /// `gradients [n, len, d]`.
    pub fn add(&self, rows: &mut [Vec<f32>], gradients: &[f32], d: usize) {
        let len = self.nodes.len();
        let parts: Vec<Vec<f32>> = (0..len)
            .into_par_iter()
            .map(|position| {
                let mut out = Vec::new();
                if !self.nodes[position].is_empty() {
                    let at = gradients
                        .chunks_exact(len * d)
                        .flat_map(|one| &one[position * d..(position + 1) * d]);
                    let at: Vec<f32> = at.copied().collect();
                    products(&mut out, &at, &self.vectors[position], d);
                }
                out
            })
            .collect();
        for (nodes, part) in self.nodes.iter().zip(&parts).filter(|(nodes, _)| !nodes.is_empty()) {
            for (row, gifts) in rows.iter_mut().zip(part.chunks_exact(nodes.len())) {
                nodes.iter().zip(gifts).for_each(|(&node, gift)| row[node as usize] += gift);
            }
        }
    }
}

/// Everything that writes.
#[derive(Debug)]
pub(super) struct Sources {
    /// Features, errors, tokens.
    pub nodes: Vec<Node>,
    pub features: usize,
    pub errors: usize,
    /// What is written at the end of each block.
    pub by_layer: Vec<Written>,
    /// The embedding.
    pub tokens: Written,
}

/// Reads the features that fire at the text. Position 0 has no features and no errors if `skip_first`.
pub(super) fn sources(
    frozen: &Frozen,
    transcoders: &Transcoders,
    tokens: &[u32],
    skip_first: bool,
) -> Result<Sources> {
    let (len, d, layers) = (frozen.len(), frozen.d_model(), frozen.layers());
    let first = usize::from(skip_first);
    let mut by_layer: Vec<Written> = (0..layers).map(|_| Written::new(len)).collect();
    let mut nodes = Vec::new();
    let mut rest: Vec<Vec<f32>> =
        (0..layers).map(|l| frozen.values(l, Site::MlpOut)).collect::<Result<_>>()?;
    for (&layer, transcoder) in &transcoders.layers {
        let dictionary = &transcoder.dictionary;
        let x = frozen.values(layer, transcoder.site)?;
        let codes = dictionary.encode(&x);
        // Without codes: the bias and the skip path, which belong to no feature.
        let mut none = crate::dictionary::Codes::default();
        (0..len).for_each(|_| none.push_row(&[], &[]));
        let constant = dictionary.decode_with(&none, &x);
        rest[layer].iter_mut().zip(&constant).for_each(|(rest, constant)| *rest -= constant);
        for position in first..len {
            let (features, values) = codes.row(position);
            for (&feature, &activation) in features.iter().zip(values) {
                let node = nodes.len() as u32;
                let value = activation - dictionary.b_enc[feature as usize];
                nodes.push(Node { kind: NodeKind::Feature { layer, position, feature, activation }, value });
                let own = std::iter::once(dictionary.decoder_row(feature as usize));
                let at = feature as usize * d..(feature as usize + 1) * d;
                let later = transcoder.later.iter().map(|decoder| &decoder[at.clone()]);
                for (written, row) in (layer..).zip(own.chain(later)) {
                    let vector: Vec<f32> = row.iter().map(|w| w * activation).collect();
                    let rest = &mut rest[written][position * d..(position + 1) * d];
                    rest.iter_mut().zip(&vector).for_each(|(rest, v)| *rest -= v);
                    by_layer[written].push(position, node, vector);
                }
            }
        }
    }
    let features = nodes.len();
    for layer in 0..layers {
        for position in 0..len {
            let vector = &rest[layer][position * d..(position + 1) * d];
            let kept = position >= first;
            let value = if kept { norm_squared(vector).sqrt() } else { 0.0 };
            if kept {
                by_layer[layer].push(position, nodes.len() as u32, vector.iter().copied());
            }
            nodes.push(Node { kind: NodeKind::Error { layer, position }, value });
        }
    }
    let errors = nodes.len() - features;
    let mut written = Written::new(len);
    for (position, (&token, vector)) in tokens.iter().zip(frozen.embedding().chunks_exact(d)).enumerate() {
        written.push(position, nodes.len() as u32, vector.iter().copied());
        let value = norm_squared(vector).sqrt();
        nodes.push(Node { kind: NodeKind::Token { position, token }, value });
    }
    Ok(Sources { nodes, features, errors, by_layer, tokens: written })
}
