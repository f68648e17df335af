//! Pinned nodes and supernodes in the files that circuit-tracer's and Neuronpedia's viewers read: `qParams` of a graph file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storage::graph_marks::{self, GraphMarks, Supernode, node_name};

use super::graph::NodeKind;
use super::import::{FileNode, kind_of};
use super::save::{SHOWN, bare};
use crate::{Error, Result};

/// What a graph file was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Pinned nodes in it.
    pub pinned: usize,
    /// Supernodes in it.
    pub supernodes: usize,
    /// Marked nodes that are not in it, because pruning left them out.
    pub missing: usize,
}

/// The marks of a graph file whose nodes are `nodes`; names that no node has are passed over, as viewers do.
pub(super) fn of_file(parameters: &Value, nodes: &[(NodeKind, &FileNode)]) -> GraphMarks {
    let own: HashMap<&str, String> =
        nodes.iter().map(|(kind, node)| (node.node_id.as_str(), node_name(&bare(kind)))).collect();
    let known = |names: &[Value]| -> Vec<String> {
        names.iter().filter_map(|name| own.get(name.as_str()?).cloned()).collect()
    };
    let list = |name: &str| parameters.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let supernode = |entry: &Value| {
        let (name, members) = entry.as_array()?.split_first()?;
        Some(Supernode { name: name.as_str()?.to_owned(), nodes: known(members) })
            .filter(|s| !s.nodes.is_empty())
    };
    let mut marks = GraphMarks { pinned: known(&list("pinnedIds")), supernodes: Vec::new() };
    for supernode in list("supernodes").iter().filter_map(supernode) {
        for node in supernode.nodes {
            marks.apply(&graph_marks::MarkEdit::Group { node, supernode: Some(supernode.name.clone()) });
        }
    }
    marks
}

/// Writes the graph file of the graph in `dir`, with its marks, to `out`.
///
/// # Errors
/// A folder without a graph file, marks that cannot be read, a file that cannot be written.
pub fn export(dir: &Path, out: &Path) -> Result<Exported> {
    let (bytes, exported) = with_marks(dir)?;
    storage::atomic::write(out, &bytes)?;
    Ok(exported)
}

/// The graph file of the graph in `dir` with its marks, and what of them is in it.
///
/// # Errors
/// A folder without a graph file, marks that cannot be read.
pub fn with_marks(dir: &Path) -> Result<(Vec<u8>, Exported)> {
    let marks = graph_marks::read(dir)?;
    let path = shown_file(dir)?;
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let damaged = |what: String| Error::format(&path, what).with_remedy("trace the text again");
    let mut file: Value =
        serde_json::from_slice(&bytes).map_err(|e| damaged(format!("is not a graph file: {e}")))?;
    let nodes: Vec<FileNode> = serde_json::from_value(file["nodes"].clone())
        .map_err(|e| damaged(format!("has a node that cannot be read: {e}")))?;
    let mut theirs = HashMap::new();
    for node in nodes {
        theirs.insert(node_name(&bare(&kind_of(&node).map_err(&damaged)?)), node.node_id);
    }
    let mut missing = 0;
    let mut known = |names: &[String]| -> Vec<Value> {
        let found: Vec<Value> = names.iter().filter_map(|name| Some(json!(theirs.get(name)?))).collect();
        missing += names.len() - found.len();
        found
    };
    let pinned = known(&marks.pinned);
    let mut supernodes = Vec::new();
    for supernode in &marks.supernodes {
        let members = known(&supernode.nodes);
        if !members.is_empty() {
            supernodes.push([vec![json!(supernode.name)], members].concat());
        }
    }
    let exported = Exported { pinned: pinned.len(), supernodes: supernodes.len(), missing };
    file["qParams"]["pinnedIds"] = json!(pinned);
    file["qParams"]["supernodes"] = json!(supernodes);
    let bytes = serde_json::to_vec_pretty(&file).map_err(|e| damaged(format!("cannot be written: {e}")))?;
    Ok((bytes, exported))
}

/// The file for viewers in a graph's folder.
fn shown_file(dir: &Path) -> Result<PathBuf> {
    let files = dir.join(SHOWN);
    let entries = std::fs::read_dir(&files).map_err(|e| Error::io(&files, e))?;
    let graph = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "json")
            && path.file_stem().is_some_and(|name| name != "graph-metadata")
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).find(graph).ok_or_else(|| {
        Error::format(&files, "holds no graph file").with_remedy("trace the text again with `sae trace`")
    })
}
