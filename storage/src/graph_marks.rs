//! What people mark in an attribution graph: `GRAPH/marks.json`, with the nodes that they pinned and those that they put together as
//! supernodes. It outlives a graph that is traced again, and can be copied to a colleague's folder of the same text.
//!
//! Like [`notes`](crate::notes), a change is made to what the file holds at that moment, under a lock.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::Result;
use crate::graph::{self, GraphNodeRow};
use crate::json::read_versioned;
use crate::lock::wait_for_turn;
use crate::record::record;

/// The file's name.
pub const FILE: &str = "marks.json";
/// `format` of the file.
pub const FORMAT: &str = "sae-workbench graph marks";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The file that whoever changes the marks holds.
pub const LOCK: &str = ".marks.lock";

record! {
    /// Nodes that are looked at as one.
    #[derive(Default, Eq)]
    Supernode {
        /// What a person called it; different in each graph.
        name: String,
        /// Its nodes, by name ([`node_name`]). A node is in one supernode at most.
        nodes: Vec<String>,
    }
}

record! {
    /// The marks of a graph.
    #[derive(Default, Eq)]
    GraphMarks {
        /// Pinned nodes by name, in the order in which they were pinned.
        #[serde(default)]
        pinned: Vec<String>,
        /// Supernodes, in the order in which they were made.
        #[serde(default)]
        supernodes: Vec<Supernode>,
    }
}

/// One change of the marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkEdit {
    /// Pins a node, or lets it go.
    Pin {
        /// The node.
        node: String,
        /// Whether it is pinned afterwards.
        pinned: bool,
    },
    /// Puts a node into a supernode, which is made if it is not there, and takes it out of the one that it was in. Without a
    /// supernode it is only taken out.
    Group {
        /// The node.
        node: String,
        /// The supernode.
        supernode: Option<String>,
    },
    /// Gives a supernode a different name; that of another supernode puts both together.
    Rename {
        /// Its name.
        from: String,
        /// The new one.
        to: String,
    },
    /// Takes a supernode apart; its nodes stay.
    Dissolve {
        /// Its name.
        supernode: String,
    },
}

impl GraphMarks {
    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.pinned.is_empty() && self.supernodes.is_empty()
    }

    /// Whether a node is pinned.
    pub fn is_pinned(&self, node: &str) -> bool {
        self.pinned.iter().any(|pinned| pinned == node)
    }

    /// The supernode that a node is in.
    pub fn supernode_of(&self, node: &str) -> Option<&Supernode> {
        self.supernodes.iter().find(|supernode| supernode.nodes.iter().any(|member| member == node))
    }

    /// Makes one change. Making it twice changes nothing more.
    pub fn apply(&mut self, edit: &MarkEdit) {
        match edit {
            MarkEdit::Pin { node, pinned } => {
                match (pinned, self.is_pinned(node)) {
                    (true, false) => self.pinned.push(node.clone()),
                    (false, true) => self.pinned.retain(|other| other != node),
                    _ => {}
                };
            }
            MarkEdit::Group { node, supernode } => {
                if self.supernode_of(node).map(|of| &of.name) == supernode.as_ref() {
                    return;
                }
                self.supernodes.iter_mut().for_each(|other| other.nodes.retain(|member| member != node));
                if let Some(name) = supernode {
                    self.join(name, vec![node.clone()]);
                }
            }
            MarkEdit::Rename { from, to } if from != to && !to.is_empty() => {
                let Some(at) = self.supernodes.iter().position(|supernode| supernode.name == *from) else {
                    return;
                };
                if self.supernodes.iter().any(|other| other.name == *to) {
                    let nodes = self.supernodes.remove(at).nodes;
                    self.join(to, nodes);
                } else {
                    self.supernodes[at].name.clone_from(to);
                }
            }
            MarkEdit::Rename { .. } => {}
            MarkEdit::Dissolve { supernode } => self.supernodes.retain(|other| other.name != *supernode),
        }
        self.supernodes.retain(|supernode| !supernode.nodes.is_empty());
    }

    fn join(&mut self, name: &str, nodes: Vec<String>) {
        match self.supernodes.iter_mut().find(|supernode| supernode.name == name) {
            Some(supernode) => supernode.nodes.extend(nodes),
            None => self.supernodes.push(Supernode { name: name.to_owned(), nodes }),
        }
    }
}

/// The name of a node, which stays when its graph is traced again: `LAYER_FEATURE_POSITION`, `error_LAYER_POSITION`,
/// `E_TOKEN_POSITION`, `logit_TOKEN`, `target_NAME`.
pub fn node_name(node: &GraphNodeRow) -> String {
    let number = |n: Option<u32>| n.unwrap_or_default();
    let (layer, position) = (number(node.layer), number(node.position));
    match node.kind.as_str() {
        graph::FEATURE => format!("{layer}_{}_{position}", number(node.feature)),
        graph::ERROR => format!("error_{layer}_{position}"),
        graph::TOKEN => format!("E_{}_{position}", number(node.token)),
        graph::LOGIT => format!("logit_{}", number(node.token)),
        _ => format!("target_{}", node.name.as_deref().unwrap_or_default()),
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: String,
    version: u64,
    #[serde(flatten)]
    marks: GraphMarks,
}

/// The marks of the graph in `dir`; none when there is no file.
///
/// # Errors
/// A file that cannot be read, does not hold marks, or is of a newer version.
pub fn read(dir: &Path) -> Result<GraphMarks> {
    let path = dir.join(FILE);
    match path.exists() {
        true => Ok(read_versioned::<File>(&path, FORMAT, VERSION)?.marks),
        false => Ok(GraphMarks::default()),
    }
}

/// Writes marks to a folder that has none yet.
///
/// # Errors
/// A file that cannot be written.
pub fn write(dir: &Path, marks: &GraphMarks) -> Result<()> {
    let file = File { format: FORMAT.to_owned(), version: VERSION, marks: marks.clone() };
    atomic::write_json(&dir.join(FILE), &file)
}

/// Makes the changes, in order, and gives back all marks. A file that cannot be read is left as it is.
///
/// # Errors
/// As [`read`]; a file that cannot be locked or written.
pub fn change(dir: &Path, edits: &[MarkEdit]) -> Result<GraphMarks> {
    let _lock = wait_for_turn(&dir.join(LOCK))?;
    let mut marks = read(dir)?;
    edits.iter().for_each(|edit| marks.apply(edit));
    write(dir, &marks)?;
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(node: &str, supernode: Option<&str>) -> MarkEdit {
        MarkEdit::Group { node: node.to_owned(), supernode: supernode.map(str::to_owned) }
    }

    fn rename(from: &str, to: &str) -> MarkEdit {
        MarkEdit::Rename { from: from.to_owned(), to: to.to_owned() }
    }

    #[test]
    fn a_node_is_in_one_supernode_and_an_empty_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let marks = change(dir.path(), &[group("0_1_2", Some("court")), group("1_4_2", Some("court"))]);
        assert_eq!(marks.unwrap().supernodes[0].nodes, ["0_1_2", "1_4_2"]);
        let marks = change(dir.path(), &[group("0_1_2", Some("law"))]).unwrap();
        assert_eq!(marks.supernode_of("0_1_2").unwrap().name, "law");
        assert_eq!(marks.supernodes.len(), 2);
        let marks = change(dir.path(), &[rename("law", "court")]).unwrap();
        assert_eq!(marks.supernodes.len(), 1, "the name of another puts both together");
        assert_eq!(marks.supernodes[0].nodes, ["1_4_2", "0_1_2"]);
        let marks = change(dir.path(), &[group("0_1_2", None), group("1_4_2", None)]).unwrap();
        assert!(marks.is_empty());
        assert_eq!(read(dir.path()).unwrap(), marks);
    }

    #[test]
    fn an_edit_made_twice_changes_nothing_more() {
        let pin = |pinned| MarkEdit::Pin { node: "E_5_0".into(), pinned };
        for edits in [
            vec![pin(true)],
            vec![group("0_1_2", Some("a")), group("0_1_3", Some("a"))],
            vec![group("0_1_2", Some("a")), rename("a", "b")],
            vec![group("0_1_2", Some("a")), MarkEdit::Dissolve { supernode: "a".into() }],
        ] {
            let mut once = GraphMarks::default();
            edits.iter().for_each(|edit| once.apply(edit));
            let mut twice = once.clone();
            twice.apply(edits.last().unwrap());
            assert_eq!(once, twice);
        }
    }

    #[test]
    fn a_damaged_file_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "{\"format\": \"sae-workbench graph marks\", \"vers").unwrap();
        let error = change(dir.path(), &[group("0_1_2", Some("a"))]).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("vers"));
    }
}
