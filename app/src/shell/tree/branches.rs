//! Names with slashes as a tree: of a hundred runs of five sweeps one sees five folders.

/// A folder with several things in it, or one of the things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Branch {
    /// A folder.
    Folder {
        /// Its name below the opened folder, by which its state is kept.
        path: String,
        /// What is shown: what the folder around it does not say.
        label: String,
        /// The things in and below it.
        count: usize,
        /// What is in it.
        inside: Vec<Branch>,
    },
    /// The thing of this number.
    Leaf {
        /// Its number.
        index: usize,
        /// What is shown.
        label: String,
    },
}

/// The tree of these names, which are sorted. A folder with one thing in it is a part of the name of that thing.
pub fn tree<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Branch> {
    let all: Vec<(usize, &str)> = names.enumerate().collect();
    below(&all, 0)
}

/// The branches of names that have their first `from` bytes, a folder with its slash, in common.
fn below(names: &[(usize, &str)], from: usize) -> Vec<Branch> {
    let mut branches = Vec::new();
    let mut rest = names;
    while let Some((index, name)) = rest.first() {
        let leaf = || Branch::Leaf { index: *index, label: name[from..].to_owned() };
        let Some(slash) = name[from..].find('/') else {
            branches.push(leaf());
            rest = &rest[1..];
            continue;
        };
        let mut end = from + slash + 1;
        let together = rest.iter().take_while(|(_, other)| other.starts_with(&name[..end])).count();
        let (inside, others) = rest.split_at(together);
        rest = others;
        if together == 1 {
            branches.push(leaf());
            continue;
        }
        // Folders in which there is nothing but one folder are one line.
        while let Some(next) = name[end..].find('/') {
            if !inside.iter().all(|(_, other)| other.starts_with(&name[..end + next + 1])) {
                break;
            }
            end += next + 1;
        }
        branches.push(Branch::Folder {
            path: name[..end - 1].to_owned(),
            label: name[from..end - 1].to_owned(),
            count: together,
            inside: below(inside, end),
        });
    }
    branches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(branches: &[Branch]) -> String {
        let one = |branch: &Branch| match branch {
            Branch::Folder { path, label, count, inside } => {
                format!("{label}={path}:{count}({})", shown(inside))
            }
            Branch::Leaf { index, label } => format!("{label}#{index}"),
        };
        branches.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn folders_with_several_runs_are_branches() {
        let tree = |names: &[&str]| shown(&tree(names.iter().copied()));
        assert_eq!(tree(&["a", "b/only"]), "a#0 b/only#1");
        assert_eq!(tree(&["a-x", "a/p", "a/q", "a0"]), "a-x#0 a=a:2(p#1 q#2) a0#3");
        assert_eq!(tree(&["s", "s/1", "s/2"]), "s#0 s=s:2(1#1 2#2)");
        assert_eq!(tree(&["w/s/1", "w/s/2"]), "w/s=w/s:2(1#0 2#1)");
        assert_eq!(tree(&["w/s/1", "w/s/2", "w/t/3", "w/u"]), "w=w:4(s=w/s:2(1#0 2#1) t/3#2 u#3)");
        assert_eq!(tree(&["größe/ä", "größe/ö"]), "größe=größe:2(ä#0 ö#1)");
        assert_eq!(tree(&[]), "");
    }
}
