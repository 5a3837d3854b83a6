//! The rules of the house that Cargo does not hold by itself: which crate may import which, and that every crate keeps the lints.

use crate::support::parts::root;
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

crate::tests!("rules": crates_import_only_what_they_may, what_decides_knows_no_runtime, every_crate_keeps_the_lints, the_core_knows_no_protocol_by_name, the_storeys_of_drive_import_downwards_only);

/// Who may import whom, in full: what is not here is a mistake.
const MAY: &[(&str, &[&str])] = &[
    ("weir-codecs", &[]),
    ("weir-config", &[]),
    ("weir-decide", &["weir-codecs", "weir-config"]),
    ("weir-measure", &["weir-codecs", "weir-config", "weir-decide"]),
    ("weir-drive", &["weir-codecs", "weir-config", "weir-decide", "weir-measure"]),
    ("weir-http", &["weir-codecs", "weir-config", "weir-decide", "weir-measure", "weir-drive"]),
    ("weir-mongo", &["weir-codecs", "weir-config", "weir-decide", "weir-measure", "weir-drive"]),
    ("weir-grpc", &["weir-codecs", "weir-config", "weir-decide", "weir-measure", "weir-drive", "weir-http"]),
    (
        "weir-dynamodb",
        &["weir-codecs", "weir-config", "weir-decide", "weir-measure", "weir-drive", "weir-http"],
    ),
    ("weir-console", &["weir-codecs", "weir-config", "weir-decide", "weir-measure", "weir-drive"]),
    ("xtask", &[]),
];

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--offline".into(), "--locked".into()])
        .no_deps()
        .exec()
        .expect("cargo metadata runs");
    let normal = |package: &cargo_metadata::Package| {
        let kept = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
        kept.map(|d| d.name.clone()).collect()
    };
    metadata.workspace_packages().into_iter().map(|p| (p.name.to_string(), normal(p))).collect()
}

fn crates_import_only_what_they_may() {
    let found = normal_dependencies();
    for (name, dependencies) in &found {
        if name == "weir" {
            continue;
        }
        let (_, may) = MAY.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no rule for {name}"));
        for dependency in dependencies.iter().filter(|d| d.starts_with("weir")) {
            assert!(may.contains(&dependency.as_str()), "{name} may not import {dependency}");
        }
    }
    assert_eq!(found.len(), MAY.len() + 1, "a crate is missing from the rules, or gone");
}

fn what_decides_knows_no_runtime() {
    let found = normal_dependencies();
    for name in ["weir-codecs", "weir-config", "weir-decide", "weir-measure"] {
        for runtime in ["tokio", "hyper", "h2", "rand", "getrandom"] {
            assert!(!found[name].contains(runtime), "{name} decides and may not depend on {runtime}");
        }
    }
}

fn every_crate_keeps_the_lints() {
    for (name, _) in MAY.iter().filter(|(name, _)| *name != "xtask") {
        let folder = match *name {
            "weir-codecs" | "weir-console" => name.trim_start_matches("weir-").to_owned(),
            "weir-http" | "weir-mongo" | "weir-grpc" | "weir-dynamodb" => name.replace("weir-", "filters/"),
            _ => name.replace("weir-", "proxy-core/"),
        };
        let manifest = std::fs::read_to_string(root().join(&folder).join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not keep the workspace's lints");
    }
}

/// What only MongoDB has lives in its filter: its name stands in no code of the core, comments and tests left out.
fn the_core_knows_no_protocol_by_name() {
    let mut named = Vec::new();
    let mut read = 0;
    for folder in
        ["proxy-core/config", "proxy-core/decide", "proxy-core/measure", "proxy-core/drive", "console"]
    {
        each_source(&root().join(folder).join("src"), &mut |path, text| {
            read += 1;
            let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            for (line, code) in text[..tests].lines().enumerate() {
                let code = code.split_once("//").map_or(code, |(code, _)| code);
                if code.to_ascii_lowercase().contains("mongo") {
                    named.push(format!("{}:{}: {}", path.display(), line + 1, code.trim()));
                }
            }
        });
    }
    assert!(read > 100, "only {read} files were read");
    assert!(named.is_empty(), "the core names a protocol:\n{}", named.join("\n"));
}

/// The storeys of drive, from the ground up: each may import from those before it and from itself.
const STOREYS: [&str; 5] = ["ground", "upstream", "shells", "edge", "process"];

fn the_storeys_of_drive_import_downwards_only() {
    let src = root().join("proxy-core/drive/src");
    let (mut upwards, mut arrows) = (Vec::new(), 0);
    for (height, storey) in STOREYS.iter().enumerate() {
        each_source(&src.join(storey), &mut |path, text| {
            let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            for (line, code) in text[..tests].lines().enumerate() {
                let code = code.split_once("//").map_or(code, |(code, _)| code);
                for (at, _) in code.match_indices("crate::") {
                    let to =
                        code[at + "crate::".len()..].split([':', ';', ' ', ',']).next().unwrap_or_default();
                    let to = STOREYS.iter().position(|storey| *storey == to);
                    arrows += usize::from(to.is_some());
                    if to.is_none_or(|to| to > height) {
                        upwards.push(format!("{}:{}: {}", path.display(), line + 1, code.trim()));
                    }
                }
            }
        });
    }
    assert!(arrows > 100, "only {arrows} imports were read");
    assert!(upwards.is_empty(), "imports that lead upwards, or by the crate's root:\n{}", upwards.join("\n"));
}

/// Calls `see` with every source file below `folder`.
fn each_source(folder: &Path, see: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            each_source(&path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path, &std::fs::read_to_string(&path).expect("a text"));
        }
    }
}
