//! Every public item has an example, which the documentation's own tests run.

use std::path::Path;

/// The names of public items, and methods of public traits, whose documentation holds no example.
fn without_example(source: &str) -> Vec<String> {
    let (mut has_example, mut in_trait, mut found) = (false, false, Vec::new());
    for line in source.lines() {
        let code = line.trim();
        if code.starts_with("///") {
            has_example |= code.contains("```");
            continue;
        }
        if code.starts_with("#[") {
            continue;
        }
        in_trait = (in_trait || code.starts_with("pub trait ")) && line != "}";
        let kinds = ["fn ", "struct ", "enum ", "trait ", "type "];
        let named = |item: &str| kinds.iter().any(|kind| item.starts_with(kind));
        let item = code.strip_prefix("pub ").map(|item| item.strip_prefix("async ").unwrap_or(item));
        let is_item = item.is_some_and(named) || in_trait && code.starts_with("fn ");
        if is_item && !has_example {
            found.push(code.to_owned());
        }
        has_example = false;
    }
    found
}

fn assert_documented(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_documented(&path);
        } else {
            let missing = without_example(&std::fs::read_to_string(&path).unwrap());
            assert!(missing.is_empty(), "{}: no example at {missing:?}", path.display());
        }
    }
}

#[test]
fn every_public_item_has_an_example() {
    assert_documented(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
}

#[test]
fn item_without_an_example_is_found() {
    let source = "/// Words.\npub fn bare() {}\n/// ```\n/// ```\n#[inline]\npub async fn shown() {}\npub(crate) fn own() {}";
    assert_eq!(without_example(source), ["pub fn bare() {}"]);
}
