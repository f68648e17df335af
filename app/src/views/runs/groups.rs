//! Runs of one model, hook and dataset together: only those can be compared with each other.

use std::collections::HashSet;

use super::columns::data_name;
use crate::data::RunEntry;

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// The heading of the group of this number.
    Group(usize),
    /// A run.
    Run(&'a RunEntry),
}

/// What runs have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// `small-moe · blocks.2.hook_resid_post · data`.
    pub name: String,
    /// How many runs are of it.
    pub runs: usize,
    /// Whether they are listed.
    pub open: bool,
}

/// Name of the group of runs whose record cannot be read.
const UNREADABLE: &str = "runs that cannot be read";

fn name_of(run: &RunEntry) -> String {
    match &run.info {
        Ok(info) => {
            let data = data_name(info);
            let parts = [info.model.as_str(), &info.hook, &data].into_iter().filter(|part| !part.is_empty());
            parts.collect::<Vec<_>>().join(" · ")
        }
        Err(_) => UNREADABLE.to_owned(),
    }
}

/// The lines of the table: groups by name, those that cannot be read last, the runs of each in the order given.
pub fn grouped<'a>(runs: &[&'a RunEntry], folded: &HashSet<String>) -> (Vec<Line<'a>>, Vec<Group>) {
    let named: Vec<(String, &RunEntry)> = runs.iter().map(|run| (name_of(run), *run)).collect();
    let mut names: Vec<&String> = named.iter().map(|(name, _)| name).collect();
    names.sort_by_key(|name| (*name == UNREADABLE, *name));
    names.dedup();
    let (mut lines, mut groups) = (Vec::new(), Vec::new());
    for name in names {
        let of: Vec<&RunEntry> = named.iter().filter(|(of, _)| of == name).map(|(_, run)| *run).collect();
        let open = !folded.contains(name);
        lines.push(Line::Group(groups.len()));
        groups.push(Group { name: name.clone(), runs: of.len(), open });
        lines.extend(of.into_iter().filter(|_| open).map(Line::Run));
    }
    (lines, groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::RunInfo;
    use crate::load::Problem;

    #[test]
    fn runs_stand_under_what_they_have_in_common() {
        let run = |name: &str, hook: &str| RunEntry {
            path: name.into(),
            name: name.into(),
            info: Ok(RunInfo {
                model: "m".into(),
                hook: hook.into(),
                dataset: "/x/data".into(),
                ..RunInfo::default()
            }),
        };
        let broken = RunEntry { info: Err(Problem::new("no")), ..run("broken", "") };
        let all = [broken, run("a", "h2"), run("b", "h1"), run("c", "h2")];
        let runs: Vec<&RunEntry> = all.iter().collect();
        let shown = |folded: &[&str]| -> Vec<String> {
            let folded = folded.iter().map(|name| (*name).to_owned()).collect();
            let (lines, groups) = grouped(&runs, &folded);
            let text = |line: &Line<'_>| match line {
                Line::Group(i) => format!("{} ({})", groups[*i].name, groups[*i].runs),
                Line::Run(run) => run.name.clone(),
            };
            lines.iter().map(text).collect()
        };
        assert_eq!(
            shown(&[]),
            [
                "m · h1 · data (1)",
                "b",
                "m · h2 · data (2)",
                "a",
                "c",
                "runs that cannot be read (1)",
                "broken"
            ]
        );
        assert_eq!(
            shown(&["m · h2 · data", UNREADABLE]),
            ["m · h1 · data (1)", "b", "m · h2 · data (2)", "runs that cannot be read (1)"]
        );
    }
}
