//! The names of training methods on the screen.

/// How a method is called on the screen: by the name that the field knows it by, next to its name in
/// `train.toml`.
pub fn name(method: &str) -> &str {
    match method {
        "topk" => "TopK",
        "abs-topk" => "TopK of either sign (AbsTopK)",
        "mutual-choice" => "mutual choice (BatchTopK)",
        "feature-choice" => "feature choice",
        "block-choice" => "block choice (TopK in blocks)",
        "gradient" => "gradient TopK",
        "gradient-mutual" => "gradient, mutual choice",
        "gradient-feature" => "gradient, feature choice",
        "cosine" => "cosine score",
        "cosine-mutual" => "cosine score, mutual choice",
        "matching-pursuit" => "matching pursuit",
        "relu" => "ReLU (L1)",
        "jumprelu" => "JumpReLU",
        "gated" => "gated",
        "matryoshka" => "Matryoshka",
        "p-anneal" => "p-annealing",
        "shrinkage" => "shrinkage (proximal)",
        other => other,
    }
}
