//! Holds `docs/hazards.md` to the tests: each test that it names is there, and says which hazard it stands for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The hazards whose parts of the product are there. The others wait for authentication (34, 36).
const PRESENT: &[std::ops::RangeInclusive<u32>] = &[1..=33, 35..=35, 37..=41];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies directly below the workspace's root")
}

/// The tests that the table names for each hazard.
fn table() -> BTreeMap<u32, Vec<PathBuf>> {
    let text = fs::read_to_string(root().join("docs/hazards.md")).expect("the table of hazards");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, tests] = cells[..] else { return None };
        let number = number.parse().ok()?;
        Some((number, tests.split('`').skip(1).step_by(2).map(path_of).collect()))
    });
    rows.collect()
}

fn path_of(name: &str) -> PathBuf {
    let folder = if name.starts_with("scripts/") { "crates/consensus/tests" } else { "" };
    root().join(folder).join(name)
}

/// The hazards that a text names: "hazard 7", "HAZARDS 20, 23", "hazards 5 to 8 and 10", `hazard_26_..`.
fn named_in(text: &str) -> BTreeSet<u32> {
    let text = text.to_lowercase();
    let mut named = BTreeSet::new();
    for after in text.split("hazard").skip(1) {
        let after = after.trim_start_matches('s').trim_start_matches([' ', '_']);
        let mut is_range = false;
        let mut last = None;
        for word in after.split(|sign: char| !sign.is_alphanumeric()).filter(|word| !word.is_empty()) {
            match (word, word.parse::<u32>()) {
                ("to", _) => is_range = true,
                ("and", _) => {}
                (_, Ok(number)) => {
                    let first = last.filter(|_| is_range).unwrap_or(number);
                    named.extend(first..=number);
                    (last, is_range) = (Some(number), false);
                }
                (_, Err(_)) => break,
            }
        }
    }
    named
}

#[test]
fn every_hazard_of_a_part_that_is_there_is_tried() {
    let table = table();
    for hazard in PRESENT.iter().cloned().flatten() {
        assert!(table.get(&hazard).is_some_and(|tests| !tests.is_empty()), "nothing tries hazard {hazard}");
    }
}

#[test]
fn every_test_in_the_table_says_its_hazard() {
    let mut wrong = Vec::new();
    for (hazard, tests) in table() {
        for path in tests {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if !named_in(&text).contains(&hazard) {
                wrong.push(format!("{} does not speak of hazard {hazard}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_of_hazards_are_read_as_they_are_written() {
    let text = "HAZARDS 20, 23. A hazard 7: x; hazards 1, 5 to 8 and 10; fn hazard_26_command; (hazard 3)";
    assert_eq!(named_in(text), BTreeSet::from([1, 3, 5, 6, 7, 8, 10, 20, 23, 26]));
    assert_eq!(named_in("a hazardous 5, hazard of 6"), BTreeSet::new());
}
