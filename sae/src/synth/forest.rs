//! Which features fire only under others: the forest of `hierarchy.json`.

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

#[derive(Deserialize)]
struct File {
    roots: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    feature_index: Option<usize>,
    mutually_exclusive_children: bool,
    scale_children_by_parent: bool,
    #[serde(default)]
    children: Vec<Node>,
}

/// Features over features. One that is in no tree is a root without children.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    /// Features over which there are none, ascending.
    pub roots: Vec<u32>,
    /// `[n]` the features right under each.
    pub children: Vec<Vec<u32>>,
    /// `[n]` whether at most one of a feature's children fires.
    pub exclusive: Vec<bool>,
}

impl Forest {
    /// A forest without trees over `n` features.
    pub fn none(n: usize) -> Self {
        Self { roots: (0..n as u32).collect(), children: vec![Vec::new(); n], exclusive: vec![false; n] }
    }

    /// Reads the forest over `n` features.
    pub fn read(path: &Path, n: usize) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let file: File = serde_json::from_slice(&text).map_err(|e| {
            Error::format(path, format!("is not a hierarchy of SAELens: {e}"))
                .with_remedy("write the world again with SAELens 6.54 or later")
        })?;
        if file.roots.len() > n {
            return Err(Error::format(
                path,
                format!("has {} roots, but the world has {n} features", file.roots.len()),
            ));
        }
        let mut forest = Self::none(n);
        let mut seen = vec![false; n];
        let mut below = vec![false; n];
        let mut open: Vec<(&Node, Option<usize>)> = file.roots.iter().map(|root| (root, None)).collect();
        while let Some((node, parent)) = open.pop() {
            let feature = forest.take(path, node, parent, &mut seen)?;
            below[feature] = parent.is_some();
            open.extend(node.children.iter().map(|child| (child, Some(feature))));
        }
        forest.roots.retain(|&f| !below[f as usize]);
        forest.children.iter_mut().for_each(|children| children.sort_unstable());
        Ok(forest)
    }

    fn take(&mut self, path: &Path, node: &Node, parent: Option<usize>, seen: &mut [bool]) -> Result<usize> {
        let n = seen.len();
        let Some(feature) = node.feature_index else {
            return Err(Error::format(
                path,
                "has a node without a feature, which this version does not read",
            ));
        };
        if feature >= n {
            return Err(Error::format(
                path,
                format!("names feature {feature}, but the world has {n} features"),
            ));
        }
        if std::mem::replace(&mut seen[feature], true) {
            return Err(Error::format(
                path,
                format!("has feature {feature} twice; expected each at most once"),
            ));
        }
        if node.scale_children_by_parent {
            return Err(Error::format(
                path,
                format!("scales the children of feature {feature} by it, which this version does not read"),
            )
            .with_remedy("make the world with scale_children_by_parent = false, as the published ones are"));
        }
        self.exclusive[feature] = node.mutually_exclusive_children;
        if let Some(parent) = parent {
            self.children[parent].push(feature as u32);
        }
        Ok(feature)
    }
}
