//! The table in the README says what the tests wrote down, no more and no less.
//!
//! `TRYCMD=overwrite cargo test -p parbake --test tested` writes it anew.

use std::fs;
use std::path::Path;

use parbake_test_support::tested::{Baked, FILE, Tested};

/// What is between these lines of the README is written here.
const BEGIN: &str = "<!-- What follows is written by `parbake/tests/tested.rs`. -->\n";
const END: &str = "<!-- What was written ends here. -->\n";

/// The table: a line for each combination.
fn table(tested: &Tested) -> String {
    let rows = tested.0.iter().map(|(baked, what)| {
        let what: Vec<&str> = what.iter().map(String::as_str).collect();
        let nodes = baked.nodes;
        format!(
            "| {} | `{}` | {nodes} | {} |\n",
            baked.provider,
            baked.source,
            what.join(", ")
        )
    });
    let head = "| provider | source | nodes | tested on real clusters |\n|---|---|---|---|\n";
    format!("\n{head}{}\n", rows.collect::<String>())
}

/// The README with `table` between the marks.
fn with_table(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[test]
fn the_readme_has_what_was_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = root.join("README.md");
    let tested = Tested::parse(&fs::read_to_string(root.join(FILE)).unwrap()).unwrap();
    let text = fs::read_to_string(&readme).unwrap();
    let expected = with_table(&text, &table(&tested)).expect("the README has both marks");
    if std::env::var("TRYCMD").is_ok_and(|act| act == "overwrite") {
        fs::write(readme, expected).unwrap();
        return;
    }
    assert!(
        text == expected,
        "README.md is not as docs/tested.toml; run `TRYCMD=overwrite cargo test -p parbake --test tested`:\n{}",
        table(&tested)
    );
}

#[test]
fn the_file_is_as_tests_write_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(FILE)).unwrap();
    assert_eq!(Tested::parse(&text).unwrap().text().unwrap(), text);
}

#[test]
fn every_provider_of_the_table_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tested = Tested::parse(&fs::read_to_string(root.join(FILE)).unwrap()).unwrap();
    for (baked, what) in &tested.0 {
        let recipe = root.join("providers").join(&baked.provider).join("provider.toml");
        assert!(recipe.exists(), "there is no `{}`", recipe.display());
        assert!(!what.is_empty(), "nothing was tested of {baked:?}");
    }
}

#[test]
fn what_was_tested_adds_up() {
    let baked = |nodes| Baked {
        provider: "p".to_owned(),
        source: "modules".to_owned(),
        nodes,
    };
    let mut tested = Tested::default();
    tested.add(baked(3), ["thaw".to_owned()]);
    tested.add(baked(1), ["bake".to_owned()]);
    let mut again = Tested::parse(&tested.text().unwrap()).unwrap();
    assert_eq!(again, tested);
    again.add(baked(3), ["bake".to_owned(), "thaw".to_owned()]);
    let rows = "| p | `modules` | 1 | bake |\n| p | `modules` | 3 | bake, thaw |\n";
    assert!(table(&again).contains(rows), "{}", table(&again));
    assert!(Tested::parse("[[tested]]\nprovider = 1\n").is_err());
    let readme = format!("a\n{BEGIN}old\n{END}b\n");
    let once = with_table(&readme, "new\n").unwrap();
    assert_eq!(once, format!("a\n{BEGIN}new\n{END}b\n"));
    assert_eq!(with_table(&once, "new\n").unwrap(), once);
    assert_eq!(with_table("a\n", "new\n"), None);
}
