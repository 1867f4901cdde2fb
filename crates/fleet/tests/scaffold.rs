//! `cargo run -- new NAME` in a copy of the tree. `.ci/run` builds the BFF that it makes, and runs its tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FLEET: &str = env!("CARGO_BIN_EXE_fleet");
/// The files of the workspace in which a BFF is registered.
const REGISTRATIONS: [&str; 5] = [
    "Cargo.toml",
    "crates/fleet/Cargo.toml",
    "crates/fleet/src/gateways.rs",
    "docker-compose.yml",
    "tests/main.rs",
];
/// The maximum number of lines of a new BFF, so that a second screen fits into 270.
const MAX_LINES: usize = 215;

/// A copy of the workspace's sources, removed at the end.
struct Copy(PathBuf);

impl Copy {
    fn of_the_tree(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        copy(&original(), &root);
        Self(root)
    }

    fn new_bff(&self, name: &str) -> Output {
        let mut command = Command::new(FLEET);
        command.args(["new", name]).current_dir(&self.0);
        command.output().unwrap()
    }

    fn lines(&self, path: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.join(path)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The files of one BFF.
    fn own(&self, name: &str) -> Vec<String> {
        let mut files = vec![format!("tests/{name}.rs")];
        let mut folders = vec![format!("bffs/{name}")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.0.join(&folder)).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn original() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name();
        let is_source = name != "target" && name != ".git";
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && is_source => copy(&source, &target),
            kind if kind.is_file() => {
                fs::copy(&source, &target).unwrap();
            }
            _ => {}
        }
    }
}

/// The line of a refusal, which has exit code 64.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line.trim_end().to_owned()
}

#[test]
fn a_new_bff_is_a_folder_a_test_and_a_few_lines() {
    let tree = Copy::of_the_tree("new");
    let before: Vec<usize> = REGISTRATIONS.map(|p| tree.lines(p).len()).to_vec();
    let made = tree.new_bff("gadget");
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(
        said.contains("UPDATE_CONTRACTS=1 cargo test -p tests contracts"),
        "{said}"
    );
    let own = tree.own("gadget");
    let lines: usize = own.iter().map(|path| tree.lines(path).len()).sum();
    assert!(lines <= MAX_LINES, "{lines} lines in {own:?}");
    for path in &own {
        for line in tree.lines(path) {
            let is_placeholder = ["{name}", "{Name}", "{NAME}", "{port}", "{admin_port}"]
                .iter()
                .any(|key| line.contains(key));
            assert!(!is_placeholder, "{path}: {line}");
        }
    }
    for (path, before) in REGISTRATIONS.iter().zip(before) {
        let added = tree.lines(path).len() - before;
        assert!((1..=3).contains(&added), "{path}: {added} lines");
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--no-deps", "--format-version=1"]);
    let metadata = cargo.current_dir(&tree.0).output().unwrap();
    assert!(metadata.status.success(), "{metadata:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.iter().any(|p| p["name"] == "gadget-bff"));
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--check", "--edition", "2024"]);
    rustfmt.args(own.iter().filter(|path| {
        std::path::Path::new(path)
            .extension()
            .is_some_and(|end| end == "rs")
    }));
    rustfmt.args(["crates/fleet/src/gateways.rs"]);
    let formatted = rustfmt.current_dir(&tree.0).output().unwrap();
    assert!(formatted.status.success(), "{formatted:?}");
}

#[test]
fn the_docs_show_the_files_as_they_are_made() {
    let tree = Copy::of_the_tree("docs");
    assert!(tree.new_bff("watch").status.success());
    let docs = tree.lines("docs/add-a-bff.md").join("\n");
    let shown = [
        "src/lib.rs",
        "src/main.rs",
        "src/rest.rs",
        "src/screens/title.rs",
    ];
    for file in shown {
        let text = tree.lines(&format!("bffs/watch/{file}")).join("\n");
        assert!(
            docs.contains(&text),
            "docs/add-a-bff.md shows another {file}"
        );
    }
}

#[test]
fn nothing_is_overwritten_and_a_bad_name_is_one_line() {
    let tree = Copy::of_the_tree("refused");
    let gateways = tree.lines("crates/fleet/src/gateways.rs");
    let web = tree.lines("bffs/web/config.toml");
    for (name, line) in [
        ("web", "the name `web` is taken: bffs/web/Cargo.toml exists"),
        ("cache", "the name `cache` is taken: tests/cache.rs exists"),
        ("order", "the name `order` is taken: a backend has it"),
        (
            "Watch",
            "the name `Watch` is invalid: use a-z, then a-z or 0-9",
        ),
        ("type", "the name `type` is reserved"),
    ] {
        assert_eq!(refusal(&tree.new_bff(name)), line);
    }
    let bare = Command::new(FLEET).arg("new").output().unwrap();
    assert!(refusal(&bare).contains("<NAME>"), "{bare:?}");
    assert_eq!(tree.lines("crates/fleet/src/gateways.rs"), gateways);
    assert_eq!(tree.lines("bffs/web/config.toml"), web);
    assert!(!tree.0.join("bffs/cache").exists());
}
