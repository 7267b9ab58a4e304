//! Every public item has an example, which the documentation's own tests run.

use std::path::Path;

/// The names of public items, and methods of public traits, whose documentation holds no example that is compiled.
fn without_example(source: &str) -> Vec<String> {
    let (mut has_example, mut in_fence, mut in_trait, mut found) = (false, false, false, Vec::new());
    for line in source.lines() {
        let code = line.trim();
        if let Some(text) = code.strip_prefix("///") {
            if let Some(language) = text.trim().strip_prefix("```") {
                in_fence = !in_fence;
                has_example |= in_fence && ["", "rust", "no_run", "should_panic"].contains(&language);
            }
            continue;
        }
        if code.starts_with("#[") {
            continue;
        }
        in_trait = (in_trait || code.starts_with("pub trait ")) && line != "}";
        if (is_item(code) || in_trait && without_qualifiers(code).starts_with("fn ")) && !has_example {
            found.push(code.to_owned());
        }
        has_example = false;
    }
    found
}

fn is_item(code: &str) -> bool {
    let kinds = ["fn ", "struct ", "enum ", "trait ", "type ", "const ", "static "];
    let named = |item: &str| kinds.iter().any(|kind| item.starts_with(kind));
    code.strip_prefix("pub ").is_some_and(|item| named(without_qualifiers(item)))
}

/// What follows the words that may stand before `fn`; a constant stays as it is.
fn without_qualifiers(item: &str) -> &str {
    let words = ["const ", "async ", "unsafe ", "extern \"C\" "];
    let shorter = words.iter().find_map(|word| item.strip_prefix(word));
    shorter.map(without_qualifiers).filter(|rest| rest.starts_with("fn ")).unwrap_or(item)
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

const EXAMPLE: &str = "/// ```\n/// ```\n";

#[test]
fn items_without_an_example_are_found() {
    for item in [
        "pub fn bare() {}",
        "pub const fn bare() {}",
        "pub const async unsafe fn bare() {}",
        "pub const BARE: u32 = 7;",
        "pub struct Bare;",
    ] {
        assert_eq!(without_example(&format!("/// Words.\n{item}")), [item]);
        assert!(without_example(&format!("{EXAMPLE}#[inline]\n{item}")).is_empty(), "{item}");
    }
    assert!(without_example("pub(crate) fn own() {}\npub use self::other::Item;").is_empty());
}

#[test]
fn methods_of_public_traits_are_items() {
    let methods = ["fn one(self);", "async fn two(self);"];
    let body = format!("    {}\n    {}\n}}\nfn own() {{}}", methods[0], methods[1]);
    assert_eq!(without_example(&format!("{EXAMPLE}pub trait Shown {{\n{body}")), methods);
    assert!(without_example(&format!("trait Own {{\n{body}")).is_empty());
}

#[test]
fn text_is_no_example() {
    for language in ["text", "ignore", "sh"] {
        let source = format!("/// ```{language}\n/// ```\npub fn bare() {{}}");
        assert_eq!(without_example(&source), ["pub fn bare() {}"]);
    }
    assert!(without_example("/// ```no_run\n/// ```\npub fn shown() {}").is_empty());
}
