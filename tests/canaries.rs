//! The planted bugs still fit the code; `tests/canaries/check` shows that they are found.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::process::Command;

#[test]
fn each_canary_applies_and_names_its_suite() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = tests.parent().unwrap();
    let mut canaries = 0;
    for entry in tests.join("canaries").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_none_or(|extension| extension != "patch")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        assert!(!lines.next().unwrap().is_empty(), "what {path:?} is");
        assert!(lines.next().unwrap().starts_with("Suite: "), "{path:?}");
        let applies = Command::new("git")
            .args(["apply", "--check"])
            .arg(&path)
            .current_dir(root)
            .status();
        assert!(applies.unwrap().success(), "{path:?} does not apply");
        canaries += 1;
    }
    assert!(canaries >= 8, "{canaries} canaries");
}
