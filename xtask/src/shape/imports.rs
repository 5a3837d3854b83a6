//! Which file of a crate imports from which, and which of them are in circles.

use super::Source;
use std::collections::{BTreeMap, BTreeSet};

type Module = Vec<String>;

/// The circles of a crate's files, each as the names of its modules.
pub fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules: BTreeSet<Module> =
        sources.iter().map(|s| s.module.clone()).filter(|m| !m.is_empty()).collect();
    let root = sources.iter().find(|s| s.module.is_empty());
    let shown = root.map(|root| re_exports(root, &modules)).unwrap_or_default();
    let mut arrows: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for source in sources.iter().filter(|s| !s.module.is_empty()) {
        let to = imports(source).into_iter().filter_map(|path| owner(&path, &modules, &shown));
        arrows.insert(&source.module, to.filter(|to| *to != source.module).collect());
    }
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        arrows.keys().map(|from| (*from, reached(from, &arrows))).collect();
    let mut left: BTreeSet<&Module> = arrows.keys().copied().collect();
    let mut circles = Vec::new();
    while let Some(from) = left.pop_first() {
        let both = |to: &&Module| {
            reach.get(from).is_some_and(|r| r.contains(*to))
                && reach.get(*to).is_some_and(|r| r.contains(from))
        };
        let others: Vec<&Module> = left.iter().copied().filter(both).collect();
        if others.is_empty() {
            continue;
        }
        for other in &others {
            left.remove(other);
        }
        circles.push(std::iter::once(from).chain(others).map(|module| module.join("::")).collect());
    }
    circles
}

fn reached(from: &Module, arrows: &BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<Module> = arrows.get(from).into_iter().flatten().cloned().collect();
    while let Some(module) = open.pop() {
        if seen.insert(module.clone()) {
            open.extend(arrows.get(&module).into_iter().flatten().cloned());
        }
    }
    seen
}

/// The file that a path from the crate's root leads to: its longest beginning that is one.
fn owner(path: &[String], modules: &BTreeSet<Module>, shown: &BTreeMap<String, Module>) -> Option<Module> {
    let longest = (1..=path.len())
        .rev()
        .map(|n| path.iter().take(n).cloned().collect::<Module>())
        .find(|m| modules.contains(m));
    longest.or_else(|| shown.get(path.first()?).cloned())
}

/// The names that the crate's root re-exports, and the files that they come from.
fn re_exports(root: &Source, modules: &BTreeSet<Module>) -> BTreeMap<String, Module> {
    let paths = uses(&root.text).into_iter();
    let named =
        paths.filter_map(|path| Some((path.last()?.clone(), owner(&path, modules, &BTreeMap::new())?)));
    named.collect()
}

/// Every path that a file imports from its own crate, from the crate's root.
fn imports(source: &Source) -> Vec<Vec<String>> {
    let absolute = |path: Vec<String>| -> Option<Vec<String>> {
        let mut base = source.module.clone();
        let mut rest = path.into_iter().peekable();
        match rest.next()?.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop();
                while rest.next_if(|word| word == "super").is_some() {
                    base.pop();
                }
            }
            _ => return None,
        }
        base.extend(rest);
        Some(base)
    };
    uses(&source.text).into_iter().filter_map(absolute).collect()
}

/// The paths of all `use` statements, braces taken apart, renames left out.
fn uses(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let code: Vec<&str> =
        text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect();
    for statement in code.join("\n").split(';') {
        let begins = |line: &&str| {
            let line = line.trim_start();
            line.starts_with("use ") || (line.starts_with("pub") && line.contains(" use "))
        };
        let Some(line) = statement.lines().position(|line| begins(&line)) else { continue };
        let whole: Vec<&str> = statement.lines().skip(line).collect();
        if let Some((_, tree)) = whole.join(" ").split_once("use ") {
            take_apart(&[], tree, &mut paths);
        }
    }
    paths
}

fn take_apart(before: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let words = |text: &str| -> Vec<String> {
        text.split("::").map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    };
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        paths.push([before, &words(path)].concat());
        return;
    };
    let before = [before, &words(head)].concat();
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner.get(begin..at).unwrap_or_default().trim();
                if !part.is_empty() {
                    take_apart(&before, part, paths);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: &str, text: &str) -> Source {
        Source {
            module: module.split("::").filter(|m| !m.is_empty()).map(str::to_owned).collect(),
            text: text.into(),
        }
    }

    #[test]
    fn what_reaches_itself_is_in_a_circle() {
        let sources = [
            source("", "mod a;\npub use c::{Deep, Name};\n"),
            source("a", "use crate::{\n    b::{self, Thing}, // crate::d\n};\nuse std::fmt;\n"),
            source("b", "use super::Name;\n"),
            source("c", "pub(crate) use self::inner::Deep;\nuse crate::d::D;\n"),
            source("c::inner", "use crate::a::A as Other;\n"),
            source("d", ""),
        ];
        assert_eq!(circles(&sources), [["a", "b", "c", "c::inner"]]);
        assert_eq!(
            uses("use a::{b, c::{d, e as f}};"),
            [["a", "b"].to_vec(), vec!["a", "c", "d"], vec!["a", "c", "e"]]
        );
    }
}
