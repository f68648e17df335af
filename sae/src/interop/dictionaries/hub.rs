//! Which files of a repository of the hub make a dictionary.

use super::{circuit_tracer, dictionary_learning, gemma_scope, gemma_scope2, llama_scope, sparsify};
use crate::dictionary::WEIGHTS;
use crate::{Error, Result};
use lm::model::HubFile;

/// Files by which a folder is one dictionary.
const WHOLE: [&str; 6] = [
    WEIGHTS,
    sparsify::FILE,
    gemma_scope::FILE,
    gemma_scope2::FILE,
    dictionary_learning::FILE,
    llama_scope::WEIGHTS,
];
/// What is read besides the weights, where it is there.
const BESIDES: [&str; 6] = [
    "cfg.json",
    "config.json",
    llama_scope::CONFIG,
    circuit_tracer::CONFIG,
    "activation_scaler.json",
    "activation_whitening.safetensors",
];
/// Endings of files that are a dictionary by themselves.
const SINGLE: [&str; 4] = [".pt", ".pth", ".npz", ".safetensors"];
/// Dictionaries that an error lists.
const LISTED: usize = 8;

/// The files of the dictionary at `inside`, configurations first and weights last, so that a folder with weights is whole.
///
/// # Errors
/// A path that the repository does not have, or one with no dictionary or several in it, and where they are.
pub(super) fn wanted(name: &str, inside: &str, files: &[HubFile]) -> Result<Vec<String>> {
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let has = |path: &str| paths.contains(&path);
    let (folder, weights) = match has(inside) {
        true => (inside.rsplit_once('/').map_or("", |(folder, _)| folder), vec![inside.to_owned()]),
        false => (inside, of_folder(inside, &paths)),
    };
    if weights.is_empty() {
        return Err(nothing(name, inside, &paths));
    }
    let mut all: Vec<String> =
        BESIDES.iter().map(|file| join(folder, file)).filter(|path| has(path)).collect();
    all.retain(|path| !weights.contains(path));
    all.extend(weights);
    Ok(all)
}

/// The weights of the one dictionary, or the one set of transcoders, that lies in a folder.
fn of_folder(folder: &str, paths: &[&str]) -> Vec<String> {
    let whole = WHOLE.iter().map(|file| join(folder, file)).find(|path| paths.contains(&path.as_str()));
    if let Some(weights) = whole {
        return vec![weights];
    }
    let within = |path: &&&str| {
        let rest = if folder.is_empty() {
            Some(**path)
        } else {
            path.strip_prefix(folder).and_then(|p| p.strip_prefix('/'))
        };
        rest.is_some_and(|rest| !rest.contains('/') && SINGLE.iter().any(|end| rest.ends_with(end)))
    };
    let direct: Vec<String> = paths.iter().filter(within).map(|path| (*path).to_owned()).collect();
    let layers: Vec<String> = direct.iter().filter(|path| is_layer(path)).cloned().collect();
    match (layers.is_empty(), direct.len()) {
        (false, _) => layers,
        (true, 1) => direct,
        _ => Vec::new(),
    }
}

/// Whether a file is one layer of a set or of a cross-layer transcoder.
fn is_layer(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default();
    let starts = ["layer_", "W_enc_", "W_dec_", gemma_scope2::LAYER];
    starts.iter().any(|start| file.starts_with(start)) && file.ends_with(".safetensors")
}

fn join(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
}

/// Says what there is instead.
fn nothing(name: &str, inside: &str, paths: &[&str]) -> Error {
    let under = |path: &&&str| inside.is_empty() || path.starts_with(&format!("{inside}/"));
    let (there, all): (Vec<&&str>, bool) = match paths.iter().filter(under).collect::<Vec<_>>() {
        empty if empty.is_empty() => (paths.iter().collect(), true),
        found => (found, false),
    };
    let place = |path: &str| -> Option<String> {
        let whole =
            WHOLE.iter().find_map(|file| path.strip_suffix(file)?.strip_suffix('/').map(str::to_owned));
        let set = || path.strip_suffix(circuit_tracer::CONFIG)?.strip_suffix('/').map(str::to_owned);
        let single =
            || [".pt", ".pth", ".npz"].iter().any(|end| path.ends_with(end)).then(|| path.to_owned());
        whole.or_else(set).or_else(single)
    };
    let found: Vec<String> = there.iter().filter_map(|path| place(path)).collect();
    let what = match (all, inside.is_empty()) {
        (true, false) => format!("{name} has no `{inside}`"),
        _ => format!("{name}{}{inside} is not one dictionary", if inside.is_empty() { "" } else { "/" }),
    };
    let error = Error::request(what);
    match found.len() {
        0 => error.with_remedy(
            "it has no files of a format that is read; docs/dictionaries.md lists what files each format has",
        ),
        n => error.with_remedy(format!(
            "give one of the {n} in {}: {}{}",
            if all || inside.is_empty() { "the repository" } else { "it" },
            found.iter().take(LISTED).map(|place| format!("{name}/{place}")).collect::<Vec<_>>().join(", "),
            if n > LISTED { ", …" } else { "" }
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(inside: &str, paths: &[&str]) -> Result<Vec<String>> {
        let files: Vec<HubFile> =
            paths.iter().map(|path| HubFile { path: (*path).to_owned(), size: None }).collect();
        wanted("o/n", inside, &files)
    }

    #[test]
    fn configurations_come_before_the_weights_and_nothing_else_comes() {
        let scope = [
            "README.md",
            "layer_3/width_16k/average_l0_59/params.npz",
            "layer_3/width_16k/average_l0_9/params.npz",
        ];
        assert_eq!(chosen("layer_3/width_16k/average_l0_59", &scope).unwrap(), [scope[1]]);
        let saelens = [
            "a/sae_weights.safetensors",
            "a/cfg.json",
            "a/sparsity.safetensors",
            "a/activation_scaler.json",
            "cfg.json",
        ];
        let expected = ["a/cfg.json", "a/activation_scaler.json", "a/sae_weights.safetensors"];
        assert_eq!(chosen("a", &saelens).unwrap(), expected);
        assert_eq!(chosen("a/sae_weights.safetensors", &saelens).unwrap(), expected);
        let llama = [
            "L4/hyperparams.json",
            "L4/lm_config.json",
            "L4/checkpoints/final.safetensors",
            "L4/checkpoints/x.pt",
        ];
        assert_eq!(
            chosen("L4", &llama).unwrap(),
            ["L4/hyperparams.json", "L4/checkpoints/final.safetensors"]
        );
        let set = [
            "config.yaml",
            "layer_0.safetensors",
            "layer_1.safetensors",
            "features/layer_0.bin",
            "README.md",
        ];
        assert_eq!(chosen("", &set).unwrap(), ["config.yaml", "layer_0.safetensors", "layer_1.safetensors"]);
        assert_eq!(chosen("layer_1.safetensors", &set).unwrap(), ["config.yaml", "layer_1.safetensors"]);
        assert_eq!(chosen("", &["README.md", "saes/x.pth", "one.pth"]).unwrap(), ["one.pth"]);
    }

    #[test]
    fn what_is_not_one_dictionary_is_listed() {
        let error = |inside: &str, paths: &[&str]| {
            let error = chosen(inside, paths).unwrap_err();
            format!("{error} {}", error.remedy().unwrap_or_default())
        };
        let scope =
            ["layer_0/width_16k/average_l0_5/params.npz", "layer_1/width_16k/average_l0_6/params.npz"];
        let text = error("", &scope);
        assert!(
            text.contains("the 2 in the repository: o/n/layer_0/width_16k/average_l0_5, o/n/layer_1/"),
            "{text}"
        );
        let text = error("layer_1", &scope);
        assert!(text.contains("the 1 in it: o/n/layer_1/width_16k/average_l0_6"), "{text}");
        assert!(error("layer_9", &scope).contains("has no `layer_9`"));
        let qwen = ["layer0.sae.pt", "layer1.sae.pt"];
        assert!(error("", &qwen).contains("o/n/layer0.sae.pt, o/n/layer1.sae.pt"), "{}", error("", &qwen));
        assert!(error("", &["README.md"]).contains("docs/dictionaries.md"));
    }
}
