//! Addresses: every place in the window can be written down, copied and opened again.
//!
//! `FOLDER` · `RUN#features` · `RUN#feature=123` · `RUN#feature=123&example=4` · `RUN#map` · `RUN#truth` · `RUN#fields` ·
//! `RUN#matching=NAME` · `RUN#prompt` · `RUN#prompt=123` (looking for feature 123) · `RUN#curves` ·
//! `DATASET#documents` · `DATASET#document=4` · `DATASET#document=4&token=40` · `DATASET#experts` ·
//! `DATASET#expert=2:11` (layer 2, expert 11) · `MODEL#training` · `GRAPH#graph` ·
//! `GRAPH#node=2_417_8` (feature 417 of layer 2 at token 8) · `GRAPH#compare=OTHER&compare=OTHER` (next to other graphs; a path is from where
//! GRAPH lies, with `%`, `#` and `&` as in a URL)

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A place in the window: what is shown, and of which folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// All runs, with the curves of the selected ones.
    Runs,
    /// The curves of one run.
    Curves {
        /// Folder of the run.
        run: PathBuf,
    },
    /// The table of features of a run.
    Features {
        /// Folder of the run.
        run: PathBuf,
    },
    /// The features of a run in the plane.
    Map {
        /// Folder of the run.
        run: PathBuf,
    },
    /// What a run found of the made world that its rows come from.
    Truth {
        /// Folder of the run.
        run: PathBuf,
    },
    /// The features of a run as fields of pixels.
    Fields {
        /// Folder of the run.
        run: PathBuf,
    },
    /// The features of a run compared with those of a different run.
    Matching {
        /// Folder of the run.
        run: PathBuf,
        /// Name of the matching in the run's folder `matching`.
        with: String,
    },
    /// One feature's page.
    Feature {
        /// Folder of the run.
        run: PathBuf,
        /// Which feature.
        feature: u32,
    },
    /// A text of one's own, read by the model and the run's dictionary.
    Prompt {
        /// Folder of the run.
        run: PathBuf,
        /// The feature to look for, if any.
        feature: Option<u32>,
    },
    /// One example on a feature's page.
    Example {
        /// Folder of the run.
        run: PathBuf,
        /// Which feature.
        feature: u32,
        /// Which of its examples, in the order of the index, from 0.
        example: u32,
    },
    /// A claim about where one feature fires.
    Claim {
        /// Folder of the run.
        run: PathBuf,
        /// The feature.
        feature: u32,
    },
    /// What a dataset is, and its documents.
    Dataset {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// The document that is read, if any.
        document: Option<u32>,
    },
    /// A token of a document.
    Token {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// The document.
        document: u32,
        /// Position of the token in it.
        token: u32,
    },
    /// The experts' load.
    Experts {
        /// Folder of the dataset.
        dataset: PathBuf,
    },
    /// An attribution graph.
    Graph {
        /// Folder of the graph.
        graph: PathBuf,
    },
    /// A node of an attribution graph.
    Node {
        /// Folder of the graph.
        graph: PathBuf,
        /// Its name in `marks.json`: of a feature `LAYER_FEATURE_POSITION`.
        node: String,
    },
    /// An attribution graph next to others.
    Compared {
        /// Folder of the graph.
        graph: PathBuf,
        /// Folders of the others.
        with: Vec<PathBuf>,
    },
    /// Probes of labelled prompts.
    Probes {
        /// Folder of the probes.
        probes: PathBuf,
    },
    /// How a language model was trained.
    Model {
        /// Folder of the model.
        model: PathBuf,
    },
    /// One expert's page.
    Expert {
        /// Folder of the dataset.
        dataset: PathBuf,
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
    },
}

impl Place {
    /// The folder it belongs to.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Runs => None,
            Self::Graph { graph: folder }
            | Self::Node { graph: folder, .. }
            | Self::Compared { graph: folder, .. }
            | Self::Probes { probes: folder }
            | Self::Model { model: folder } => Some(folder),
            Self::Curves { run }
            | Self::Features { run }
            | Self::Map { run }
            | Self::Truth { run }
            | Self::Fields { run }
            | Self::Matching { run, .. }
            | Self::Feature { run, .. }
            | Self::Claim { run, .. }
            | Self::Prompt { run, .. }
            | Self::Example { run, .. } => Some(run),
            Self::Dataset { dataset, .. }
            | Self::Token { dataset, .. }
            | Self::Experts { dataset }
            | Self::Expert { dataset, .. } => Some(dataset),
        }
    }

    /// The same place with its folder put at `folder`: addresses may be typed
    /// relative, the window works with whole paths.
    #[must_use]
    pub fn below(self, folder: &Path) -> Self {
        let at = folder.to_owned();
        match self {
            Self::Runs => Self::Runs,
            Self::Graph { .. } => Self::Graph { graph: at },
            Self::Node { node, .. } => Self::Node { graph: at, node },
            Self::Compared { graph, with } => {
                let with = with.iter().map(|other| beside(folder, &from(&graph, other))).collect();
                Self::Compared { graph: at, with }
            }
            Self::Probes { .. } => Self::Probes { probes: at },
            Self::Model { .. } => Self::Model { model: at },
            Self::Curves { .. } => Self::Curves { run: at },
            Self::Features { .. } => Self::Features { run: at },
            Self::Map { .. } => Self::Map { run: at },
            Self::Truth { .. } => Self::Truth { run: at },
            Self::Fields { .. } => Self::Fields { run: at },
            Self::Matching { with, .. } => Self::Matching { run: at, with },
            Self::Feature { feature, .. } => Self::Feature { run: at, feature },
            Self::Claim { feature, .. } => Self::Claim { run: at, feature },
            Self::Prompt { feature, .. } => Self::Prompt { run: at, feature },
            Self::Example { feature, example, .. } => Self::Example { run: at, feature, example },
            Self::Dataset { document, .. } => Self::Dataset { dataset: at, document },
            Self::Token { document, token, .. } => Self::Token { dataset: at, document, token },
            Self::Experts { .. } => Self::Experts { dataset: at },
            Self::Expert { layer, expert, .. } => Self::Expert { dataset: at, layer, expert },
        }
    }

    /// Whether a pane that shows `self` can show `other` by turning to it (another feature of the same run).
    pub fn same_pane(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Runs | Self::Curves { .. }, Self::Runs | Self::Curves { .. }) => true,
            (
                Self::Feature { run: a, .. } | Self::Example { run: a, .. },
                Self::Feature { run: b, .. } | Self::Example { run: b, .. },
            )
            | (Self::Prompt { run: a, .. }, Self::Prompt { run: b, .. })
            | (Self::Claim { run: a, .. }, Self::Claim { run: b, .. }) => a == b,
            (
                Self::Dataset { dataset: a, .. } | Self::Token { dataset: a, .. },
                Self::Dataset { dataset: b, .. } | Self::Token { dataset: b, .. },
            ) => a == b,
            (Self::Expert { dataset: a, .. }, Self::Expert { dataset: b, .. }) => a == b,
            (
                Self::Graph { graph: a } | Self::Node { graph: a, .. } | Self::Compared { graph: a, .. },
                Self::Graph { graph: b } | Self::Node { graph: b, .. } | Self::Compared { graph: b, .. },
            ) => a == b,
            _ => self == other,
        }
    }

    /// Whether going from `other` to here is a step inside one text, which the way back need not repeat.
    pub fn is_step_from(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Token { dataset: a, document: x, .. }, Self::Token { dataset: b, document: y, .. }) if a == b && x == y
        )
    }
}

/// `other` from the folder in which `graph` lies, if it is below that.
fn from(graph: &Path, other: &Path) -> PathBuf {
    let below = graph.parent().and_then(|folder| other.strip_prefix(folder).ok());
    below.unwrap_or(other).to_owned()
}

/// What [`from`] gave, from the folder in which `graph` lies.
fn beside(graph: &Path, other: &Path) -> PathBuf {
    graph.parent().map_or_else(|| other.to_owned(), |folder| folder.join(other))
}

/// A path in an address, without the characters that part an address.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace('%', "%25").replace('#', "%23").replace('&', "%26")
}

fn unquoted(path: &str) -> PathBuf {
    path.replace("%26", "&").replace("%23", "#").replace("%25", "%").into()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => f.write_str("#runs"),
            Self::Graph { graph } => write!(f, "{}#graph", graph.display()),
            Self::Node { graph, node } => write!(f, "{}#node={node}", graph.display()),
            Self::Compared { graph, with } => {
                let others: Vec<String> = with.iter().map(|other| quoted(&from(graph, other))).collect();
                write!(f, "{}#compare={}", graph.display(), others.join("&compare="))
            }
            Self::Probes { probes } => write!(f, "{}#probes", probes.display()),
            Self::Model { model } => write!(f, "{}#training", model.display()),
            Self::Curves { run } => write!(f, "{}#curves", run.display()),
            Self::Features { run } => write!(f, "{}#features", run.display()),
            Self::Map { run } => write!(f, "{}#map", run.display()),
            Self::Truth { run } => write!(f, "{}#truth", run.display()),
            Self::Fields { run } => write!(f, "{}#fields", run.display()),
            Self::Matching { run, with } => write!(f, "{}#matching={with}", run.display()),
            Self::Feature { run, feature } => write!(f, "{}#feature={feature}", run.display()),
            Self::Claim { run, feature } => write!(f, "{}#claim={feature}", run.display()),
            Self::Prompt { run, feature: None } => write!(f, "{}#prompt", run.display()),
            Self::Prompt { run, feature: Some(n) } => write!(f, "{}#prompt={n}", run.display()),
            Self::Example { run, feature, example } => {
                write!(f, "{}#feature={feature}&example={example}", run.display())
            }
            Self::Dataset { dataset, document: None } => write!(f, "{}#documents", dataset.display()),
            Self::Dataset { dataset, document: Some(d) } => write!(f, "{}#document={d}", dataset.display()),
            Self::Token { dataset, document, token } => {
                write!(f, "{}#document={document}&token={token}", dataset.display())
            }
            Self::Experts { dataset } => write!(f, "{}#experts", dataset.display()),
            Self::Expert { dataset, layer, expert } => {
                write!(f, "{}#expert={layer}:{expert}", dataset.display())
            }
        }
    }
}

/// What was typed after `sae-app`: a folder, and perhaps a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The folder before the `#`.
    pub folder: PathBuf,
    /// The place after it.
    pub place: Option<Place>,
}

impl Address {
    /// Reads an address. A `#` in a folder's own name is fine: only a known place after the last `#` counts.
    ///
    /// # Errors
    /// The part after the `#` is not a place; the message lists the places.
    pub fn parse(text: &str) -> Result<Self, String> {
        if Path::new(text).exists() {
            return Ok(Self { folder: PathBuf::from(text), place: None });
        }
        let Some((folder, place)) = text.rsplit_once('#') else {
            return Ok(Self { folder: PathBuf::from(text), place: None });
        };
        let path = PathBuf::from(folder);
        let number = |digits: &str| {
            digits
                .parse::<u32>()
                .map_err(|_| format!("`{place}`: `{digits}` is not a number from 0 to 4294967295."))
        };
        let here = match place.split_once('=') {
            Some(("feature", n)) => match n.split_once("&example=") {
                Some((n, example)) => {
                    Place::Example { run: path.clone(), feature: number(n)?, example: number(example)? }
                }
                None => Place::Feature { run: path.clone(), feature: number(n)? },
            },
            Some(("claim", n)) => Place::Claim { run: path.clone(), feature: number(n)? },
            Some(("prompt", n)) => Place::Prompt { run: path.clone(), feature: Some(number(n)?) },
            Some(("node", node)) if !node.is_empty() => {
                Place::Node { graph: path.clone(), node: node.to_owned() }
            }
            Some(("compare", others)) if !others.is_empty() => {
                let with = others.split("&compare=").map(|other| beside(&path, &unquoted(other))).collect();
                Place::Compared { graph: path.clone(), with }
            }
            Some(("matching", with)) => Place::Matching { run: path.clone(), with: with.to_owned() },
            Some(("document", n)) => match n.split_once("&token=") {
                Some((n, token)) => {
                    Place::Token { dataset: path.clone(), document: number(n)?, token: number(token)? }
                }
                None => Place::Dataset { dataset: path.clone(), document: Some(number(n)?) },
            },
            Some(("expert", pair)) => {
                let wrong = |digits: &str| {
                    format!("`{place}`: `{digits}` is not such a number; an expert is LAYER:EXPERT.")
                };
                let (layer, expert) = pair.split_once(':').unwrap_or((pair, ""));
                Place::Expert {
                    dataset: path.clone(),
                    layer: layer.parse().map_err(|_| wrong(layer))?,
                    expert: expert.parse().map_err(|_| wrong(expert))?,
                }
            }
            None if place == "features" => Place::Features { run: path.clone() },
            None if place == "prompt" => Place::Prompt { run: path.clone(), feature: None },
            None if place == "truth" => Place::Truth { run: path.clone() },
            None if place == "fields" => Place::Fields { run: path.clone() },
            None if place == "map" => Place::Map { run: path.clone() },
            None if place == "curves" => Place::Curves { run: path.clone() },
            None if place == "documents" => Place::Dataset { dataset: path.clone(), document: None },
            None if place == "experts" => Place::Experts { dataset: path.clone() },
            None if place == "graph" => Place::Graph { graph: path.clone() },
            None if place == "probes" => Place::Probes { probes: path.clone() },
            None if place == "training" => Place::Model { model: path.clone() },
            None if place == "runs" => Place::Runs,
            _ => {
                return Err(format!(
                    "`#{place}` is not a place. Places are #features, #feature=N, #feature=N&example=N, #claim=N, #map, #truth, #fields, #matching=NAME, #prompt, #prompt=N, #curves, #documents, #document=N, \
                     #document=N&token=N, #experts, #expert=LAYER:EXPERT, #graph, #node=LAYER_FEATURE_POSITION, #compare=GRAPH, \
                     #probes and #training."
                ));
            }
        };
        Ok(Self { folder: path, place: Some(here) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_being_written_and_read() {
        let run = PathBuf::from("demo/run");
        for place in [
            Place::Features { run: run.clone() },
            Place::Feature { run: run.clone(), feature: 123 },
            Place::Example { run: run.clone(), feature: 123, example: 4 },
            Place::Claim { run: run.clone(), feature: 5 },
            Place::Curves { run: run.clone() },
            Place::Map { run: run.clone() },
            Place::Truth { run: run.clone() },
            Place::Fields { run: run.clone() },
            Place::Prompt { run: run.clone(), feature: None },
            Place::Prompt { run: run.clone(), feature: Some(9) },
            Place::Matching { run: run.clone(), with: "topk-4k".into() },
            Place::Dataset { dataset: run.clone(), document: None },
            Place::Dataset { dataset: run.clone(), document: Some(4) },
            Place::Token { dataset: run.clone(), document: 4, token: 40 },
            Place::Experts { dataset: run.clone() },
            Place::Expert { dataset: run.clone(), layer: 2, expert: 11 },
            Place::Graph { graph: run.clone() },
            Place::Node { graph: run.clone(), node: "2_417_8".into() },
            Place::Compared {
                graph: run.clone(),
                with: vec!["demo/other".into(), "demo/R&D #2, 5%26".into(), "/elsewhere/graph".into()],
            },
            Place::Probes { probes: run.clone() },
            Place::Model { model: run.clone() },
        ] {
            let read = Address::parse(&place.to_string()).unwrap();
            assert_eq!(read, Address { folder: run.clone(), place: Some(place) });
        }
        assert_eq!(Address::parse("demo").unwrap().place, None);
        let compared = Address::parse("graphs/a#compare=b").unwrap().place.unwrap();
        let whole = Path::new("/home/me/graphs/a");
        let expected = Place::Compared { graph: whole.into(), with: vec!["/home/me/graphs/b".into()] };
        assert_eq!(compared.below(whole), expected);
    }

    #[test]
    fn nonsense_is_refused_with_what_is_allowed() {
        assert!(Address::parse("run#feature=x").unwrap_err().contains("not a number"));
        assert!(Address::parse("run#feature=-1").unwrap_err().contains("not a number"));
        assert!(Address::parse("run#feature=3&example=x").unwrap_err().contains("not a number"));
        assert!(Address::parse("data#expert=3").unwrap_err().contains("LAYER:EXPERT"));
        assert!(Address::parse("data#document=3&token=x").unwrap_err().contains("not a number"));
        assert!(Address::parse("run#nowhere").unwrap_err().contains("#feature=N"));
    }
}
