//! Holds the shape that ARCHITECTURE.md draws: which crate may depend on which, and what a crate's code may
//! not even mention. The tables below are the law; a change to one wants a decision record.
//!
//! The scan reads shipped code only: what stands after a file's `#[cfg(test)] mod tests` may do as it likes,
//! and so may comments.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our own crates each crate may depend on. A crate that is missing here may depend on none.
const ARROWS: &[(&str, &[&str])] = &[
    // Defects to be switched on in a test build: a list of names, and a constant that is false in all others.
    ("quorate-bug", &[]),
    ("quorate-consensus", &["quorate-bug"]),
    ("quorate-log", &["quorate-bug"]),
    ("quorate-machine", &["quorate-bug"]),
    ("quorate-resilience", &[]),
    ("quorate-client", &["quorate-resilience"]),
    ("quorate-node", &["quorate-bug", "quorate-consensus", "quorate-log", "quorate-machine"]),
    // Whoever drives a node speaks the types of the three crates that it ties together.
    (
        "quorate-sim",
        &[
            "quorate-bug",
            "quorate-node",
            "quorate-consensus",
            "quorate-log",
            "quorate-machine",
            "quorate-client",
        ],
    ),
    (
        "quorate",
        &[
            "quorate-node",
            "quorate-consensus",
            "quorate-log",
            "quorate-machine",
            "quorate-sim",
            "quorate-client",
        ],
    ),
    // Benches measure whatever can be measured; nothing depends on them.
    (
        "quorate-benches",
        &["quorate", "quorate-consensus", "quorate-log", "quorate-machine", "quorate-resilience"],
    ),
    // So do the fuzz targets with whatever reads foreign bytes.
    ("quorate-fuzz", &["quorate", "quorate-consensus", "quorate-log", "quorate-machine", "quorate-node"]),
    ("xtask", &[]),
];

/// Crates whose result must depend on their inputs alone, and other people's crates that would end that.
const PURE: &[&str] = &["quorate-consensus", "quorate-machine", "quorate-node", "quorate-sim"];
const IMPURE_DEPENDENCIES: &[&str] =
    &["tokio", "rustix", "socket2", "getrandom", "rand", "crossbeam-channel", "axum", "tempfile", "redis"];

/// Features that put defects, or what no release has yet, into a build: named on a command line alone.
const FOR_TESTS: &[&str] = &["seeded", "seeded-bugs", "next-version"];

/// What reads a clock, sleeps, reaches a network, or asks the operating system for randomness.
const OUTSIDE_WORLD: &[&str] = &[
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "Instant::now",
    "time::Instant",
    "SystemTime",
    "RandomState",
    "tokio",
    "async fn",
];

/// Folder of a crate below `crates/`, words its code may not mention, and files exempt from that.
struct MayNotMention {
    folder: &'static str,
    words: &'static [&'static [&'static str]],
    except: &'static [&'static str],
}

const MAY_NOT_MENTION: &[MayNotMention] = &[
    MayNotMention { folder: "consensus", words: &[OUTSIDE_WORLD, &["std::fs", "std::io"]], except: &[] },
    MayNotMention { folder: "machine", words: &[OUTSIDE_WORLD, &["std::fs"]], except: &[] },
    MayNotMention { folder: "node", words: &[OUTSIDE_WORLD, &["std::fs"]], except: &[] },
    MayNotMention { folder: "log", words: &[&["std::fs"]], except: &["os.rs"] },
    MayNotMention {
        folder: "log",
        words: &[&["tokio", "std::net", "std::thread", "SystemTime"]],
        except: &[],
    },
    // A lease is counted by the clock that goes on while the machine is suspended, and by no other.
    MayNotMention { folder: "client", words: &[&["SystemTime", "Instant"]], except: &[] },
    MayNotMention {
        folder: "sim",
        words: &[&["std::net", "std::fs", "std::env", "Instant::now", "SystemTime", "tokio"]],
        except: &[],
    },
];

/// Crates in which the order of a hash table must never decide anything.
const ORDERED: &[&str] = &["consensus", "machine", "node", "sim"];

/// The longest file; most are far shorter.
const FILE_LINES_MAX: usize = 800;

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).no_deps();
    command.exec().expect("cargo metadata describes this workspace")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies directly below the workspace's root")
}

/// Names of what a package depends on when it ships, or at all.
fn dependencies(package: &Package, also_for_tests: bool) -> BTreeSet<String> {
    let counts = |kind: DependencyKind| also_for_tests || kind != DependencyKind::Development;
    package.dependencies.iter().filter(|one| counts(one.kind)).map(|one| one.name.clone()).collect()
}

#[test]
fn crates_depend_along_the_arrows_only() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in &metadata.packages {
        let allowed = arrows.get(package.name.as_str()).copied().unwrap_or_default();
        for dependency in dependencies(package, true) {
            let legal = !ours.contains(dependency.as_str()) || allowed.contains(&dependency.as_str());
            assert!(legal, "{} may not depend on {dependency}", package.name);
        }
    }
}

#[test]
fn pure_crates_link_nothing_that_reaches_the_outside_world() {
    for package in metadata().packages.iter().filter(|package| PURE.contains(&package.name.as_str())) {
        for dependency in dependencies(package, false) {
            let legal = !IMPURE_DEPENDENCIES.contains(&dependency.as_str());
            assert!(legal, "{} may not depend on {dependency}", package.name);
        }
    }
}

#[test]
fn nothing_enables_what_only_tests_may_have() {
    for package in metadata().workspace_packages() {
        let by_default = package.features.get("default").into_iter().flatten();
        let of_dependencies = package.dependencies.iter().flat_map(|dependency| &dependency.features);
        for feature in by_default.chain(of_dependencies) {
            assert!(!FOR_TESTS.contains(&feature.as_str()), "{} enables {feature}", package.name);
        }
    }
}

/// There is a second program for a rehearsal of upgrades, and Cargo then asks which one is meant.
#[test]
fn first_command_of_the_readme_runs_the_product() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README is there");
    assert!(readme.contains("$ cargo run --release -- up"));
    let metadata = metadata();
    let defaults = metadata.workspace_default_packages();
    let run: Vec<_> = defaults.iter().map(|package| package.default_run.as_deref()).collect();
    assert_eq!(run, [Some("quorate")]);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for package in metadata().packages {
        let manifest = fs::read_to_string(&package.manifest_path).expect("a manifest is readable");
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert!(inherits, "{} does not take the lints of the workspace", package.name);
    }
}

#[test]
fn no_crate_mentions_what_it_may_not_know() {
    let mut found = Vec::new();
    for rule in MAY_NOT_MENTION {
        let sources = root().join("crates").join(rule.folder).join("src");
        for file in rust_files(&sources) {
            if rule.except.iter().any(|exempt| file.ends_with(exempt)) {
                continue;
            }
            for (number, line) in shipped_lines(&file) {
                let words = rule.words.iter().copied().flatten().filter(|word| mentions(&line, word));
                found.extend(words.map(|word| format!("{}:{number}: {word}", shown(&file))));
            }
        }
    }
    assert!(found.is_empty(), "a crate mentions what it may not know:\n{}", found.join("\n"));
}

#[test]
fn nothing_depends_on_the_order_of_a_hash_table() {
    let mut found = Vec::new();
    for folder in ORDERED {
        for file in rust_files(&root().join("crates").join(folder).join("src")) {
            let lines: Vec<(usize, String)> = shipped_lines(&file).collect();
            let tables: BTreeSet<String> =
                lines.iter().filter_map(|(_, line)| hash_table_name(line)).collect();
            for (number, line) in &lines {
                let walked = tables.iter().filter(|table| walks(line, table));
                found.extend(walked.map(|table| format!("{}:{number}: walks `{table}`", shown(&file))));
            }
        }
    }
    assert!(found.is_empty(), "a hash table's order would show:\n{}", found.join("\n"));
}

#[test]
fn no_source_file_is_too_long() {
    for file in ["crates", "benches", "xtask"].into_iter().flat_map(|folder| rust_files(&root().join(folder)))
    {
        let lines = fs::read_to_string(&file).expect("a source file is readable").lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines, of {FILE_LINES_MAX} at most", shown(&file));
    }
}

/// All Rust sources below a folder, in order. A folder that does not exist has none.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a folder's entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The numbered lines of a file up to its tests, without comments.
fn shipped_lines(file: &Path) -> impl Iterator<Item = (usize, String)> {
    let text = fs::read_to_string(file).expect("a source file is readable");
    let is_test = file.file_stem().is_some_and(|stem| stem == "tests" || stem == "testing");
    let end = text.find("#[cfg(test)]\nmod ").map_or(text.len(), |at| {
        // Only a module with a body ends the shipped part; a declaration of one does not.
        let body = text[at..].find('{').is_some_and(|brace| !text[at..at + brace].contains(';'));
        if body { at } else { text.len() }
    });
    let shipped = if is_test { String::new() } else { text[..end].to_owned() };
    let lines: Vec<String> = shipped.lines().map(without_comment).collect();
    lines.into_iter().enumerate().map(|(index, line)| (index + 1, line))
}

fn without_comment(line: &str) -> String {
    line.split("//").next().unwrap_or_default().to_owned()
}

/// Whether a line mentions a path or word as such, not as a part of a longer word.
fn mentions(line: &str, word: &str) -> bool {
    let part_of_word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        !part_of_word(before) && !part_of_word(after)
    })
}

/// The name that a line gives to a hash table: `name: HashMap<..>` or `let name = HashMap::..`.
fn hash_table_name(line: &str) -> Option<String> {
    let at = line.find("HashMap").or_else(|| line.find("HashSet"))?;
    let before = line[..at].trim_end();
    let before = before.strip_suffix("&mut").unwrap_or(before).trim_end_matches(['&', ' ']);
    let before = before.strip_suffix([':', '='])?.trim_end();
    let name = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Whether a line goes through a table in the table's own order.
fn walks(line: &str, table: &str) -> bool {
    const WALKS: &[&str] =
        &["iter", "iter_mut", "keys", "values", "values_mut", "drain", "into_iter", "into_values", "retain"];
    let by_method = WALKS.iter().any(|walk| mentions(line, &format!("{table}.{walk}")));
    let looped = line.split_once(" in ").map(|(_, walked)| walked.trim_end_matches([' ', '{']));
    let by_loop = looped.is_some_and(|walked| {
        let named = walked.trim_start_matches('&').trim_start_matches("mut ");
        named.strip_prefix("self.").unwrap_or(named) == table
    });
    by_method || by_loop
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

mod scanner {
    //! The scanner itself must be able to fail.
    use super::{hash_table_name, mentions, walks};

    #[test]
    fn a_word_is_found_as_a_whole_only() {
        assert!(mentions("use std::net::TcpStream;", "std::net"));
        assert!(!mentions("fn tokio_free() {}", "tokio"));
        assert!(mentions("tokio::spawn(work)", "tokio"));
    }

    #[test]
    fn a_hash_table_is_known_by_its_name() {
        assert_eq!(hash_table_name("    waiting: HashMap<u64, Reply>,"), Some("waiting".to_owned()));
        assert_eq!(hash_table_name("let mut seen = HashSet::new();"), Some("seen".to_owned()));
        assert_eq!(hash_table_name("fn take(seen: &mut HashSet<u64>) {"), Some("seen".to_owned()));
        assert_eq!(hash_table_name("use std::collections::HashMap;"), None);
    }

    #[test]
    fn walking_a_hash_table_is_noticed() {
        assert!(walks("for (id, reply) in &self.waiting {", "waiting"));
        assert!(walks("self.waiting.values().count()", "waiting"));
        assert!(!walks("self.waiting.get(&id)", "waiting"));
        assert!(!walks("self.waiting.len()", "waiting"));
    }
}
