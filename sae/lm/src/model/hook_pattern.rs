//! Hooks as people name them: one, or the same one of every block.

use std::str::FromStr;

use super::{Hook, Site};
use crate::{Error, Result};

/// A hook, or with `*` in place of the block's number the same one of every block: `blocks.*.hook_mlp_in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPattern {
    /// One hook.
    One(Hook),
    /// That of every block.
    EveryBlock(Site),
}

impl HookPattern {
    /// The hooks of a model with so many blocks, in their order.
    pub fn hooks(self, blocks: usize) -> Vec<Hook> {
        match self {
            Self::One(hook) => vec![hook],
            Self::EveryBlock(site) => (0..blocks).map(|block| Hook::new(block, site)).collect(),
        }
    }
}

impl FromStr for HookPattern {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name.strip_prefix("blocks.*.") {
            None => Ok(Self::One(name.parse()?)),
            Some(site) => Ok(Self::EveryBlock(format!("blocks.0.{site}").parse::<Hook>()?.site)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_every_block() {
        let hooks = |name: &str| name.parse::<HookPattern>().map(|pattern| pattern.hooks(3));
        let names =
            |name: &str| -> Vec<String> { hooks(name).unwrap().iter().map(ToString::to_string).collect() };
        assert_eq!(names("blocks.1.hook_mlp_in"), ["blocks.1.hook_mlp_in"]);
        let every = ["blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out", "blocks.2.hook_mlp_out"];
        assert_eq!(names("blocks.*.hook_mlp_out"), every);
        for wrong in ["blocks.*", "blocks.*.hook_nothing", "*.hook_mlp_in", "blocks.*.*"] {
            assert!(hooks(wrong).is_err(), "{wrong}");
        }
    }
}
