//! `cargo run -- new watch`: a new BFF with one screen, its configuration, its tests and its registrations.
//!
//! Nothing is written before every check has passed, and no file is overwritten.

use std::fs;
use std::path::{Path, PathBuf};

use services_mock::Backend;

/// The files of a new BFF, with the templates that they are made from.
const FILES: [(&str, &str); 10] = [
    (
        "bffs/{name}/Cargo.toml",
        include_str!("../templates/Cargo.toml.in"),
    ),
    (
        "bffs/{name}/config.toml",
        include_str!("../templates/config.toml.in"),
    ),
    (
        "bffs/{name}/compose.yml",
        include_str!("../templates/compose.yml.in"),
    ),
    (
        "bffs/{name}/src/main.rs",
        include_str!("../templates/main.rs.in"),
    ),
    (
        "bffs/{name}/src/lib.rs",
        include_str!("../templates/lib.rs.in"),
    ),
    (
        "bffs/{name}/src/upstreams.rs",
        include_str!("../templates/upstreams.rs.in"),
    ),
    (
        "bffs/{name}/src/rest.rs",
        include_str!("../templates/rest.rs.in"),
    ),
    (
        "bffs/{name}/src/screens.rs",
        include_str!("../templates/screens.rs.in"),
    ),
    (
        "bffs/{name}/src/screens/title.rs",
        include_str!("../templates/title.rs.in"),
    ),
    ("tests/{name}.rs", include_str!("../templates/test.rs.in")),
];

/// The registrations: the file, the new line, and a text. The new line follows the last line with that text.
const LINES: [(&str, &str, &str); 5] = [
    ("Cargo.toml", "  \"bffs/{name}\",", "  \"bffs/"),
    (
        "Cargo.toml",
        "{name}-bff = { path = \"bffs/{name}\" }",
        "-bff = { path",
    ),
    (
        "crates/fleet/Cargo.toml",
        "{name}-bff.workspace = true",
        "-bff.workspace",
    ),
    (
        "crates/fleet/src/gateways.rs",
        "    Gateway::of(&{name}_bff::GATEWAY),",
        "    Gateway::of(&",
    ),
    (
        "docker-compose.yml",
        "  - bffs/{name}/compose.yml",
        "  - bffs/",
    ),
];

/// The file that declares the test modules, in alphabetical order.
const TEST_MODULES: &str = "tests/main.rs";

/// Words that Rust does not accept as the name of a module, and packages of this workspace.
const RESERVED: [&str; 44] = [
    "abstract", "as", "async", "await", "become", "bff", "box", "break", "const", "continue",
    "core", "crate", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "if",
    "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub",
    "ref", "return", "self", "static", "struct", "super", "trait", "true", "type", "use",
];
/// The maximum number of gateways: each has a port above the first one's.
const MAX_GATEWAYS: usize = 10;

/// Writes a new BFF into the workspace at `root`. Returns the next steps; the error is one line.
pub fn new_bff(root: &Path, name: &str) -> Result<String, String> {
    check_name(name)?;
    let values = Values::of(root, name)?;
    let mut files = Vec::new();
    for (path, template) in FILES {
        let path = root.join(values.fill(path));
        if path.exists() {
            return Err(format!(
                "the name `{name}` is taken: {} exists",
                relative(root, &path)
            ));
        }
        files.push((path, values.fill(template)));
    }
    let mut changed: Vec<(PathBuf, String)> = Vec::new();
    for (path, line, after) in LINES {
        let path = root.join(path);
        let text = match changed.iter().position(|(at, _)| *at == path) {
            Some(at) => changed.remove(at).1,
            None => read(&path)?,
        };
        let text = insert_after(&text, &values.fill(line), after)
            .ok_or_else(|| format!("{}: no line of another BFF", relative(root, &path)))?;
        changed.push((path, text));
    }
    let path = root.join(TEST_MODULES);
    let text = insert_module(&read(&path)?, name);
    changed.push((path, text));
    for (path, text) in files.iter().chain(&changed) {
        write(path, text)?;
    }
    Ok(values.fill(include_str!("../templates/next_steps.txt.in")))
}

/// The workspace around a folder: the closest ancestor that has BFFs.
pub fn workspace(folder: &Path) -> Result<&Path, String> {
    let is_root = |at: &&Path| at.join("Cargo.toml").is_file() && at.join("bffs").is_dir();
    let root = folder.ancestors().find(is_root);
    root.ok_or_else(|| "run it in the workspace: there is no folder bffs here".to_owned())
}

fn check_name(name: &str) -> Result<(), String> {
    let starts_with_letter = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_with_letter
        || !name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    {
        return Err(format!(
            "the name `{name}` is invalid: use a-z, then a-z or 0-9"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!("the name `{name}` is reserved"));
    }
    if name.parse::<Backend>().is_ok() {
        return Err(format!("the name `{name}` is taken: a backend has it"));
    }
    Ok(())
}

/// The values of the templates' placeholders.
struct Values([(&'static str, String); 5]);

impl Values {
    fn of(root: &Path, name: &str) -> Result<Self, String> {
        let folder = root.join("bffs");
        let entries = fs::read_dir(&folder).map_err(|error| format!("bffs: {error}"))?;
        let count = entries.count();
        if count >= MAX_GATEWAYS {
            return Err(format!("no port is left: there are {count} gateways"));
        }
        let (first, rest) = name.split_at(1);
        Ok(Self([
            ("{name}", name.to_owned()),
            ("{Name}", first.to_uppercase() + rest),
            ("{NAME}", name.to_uppercase()),
            ("{port}", (8080 + count).to_string()),
            ("{admin_port}", (9080 + count).to_string()),
        ]))
    }

    fn fill(&self, template: &str) -> String {
        let replace = |text: String, (key, value): &(&str, String)| text.replace(key, value);
        self.0.iter().fold(template.to_owned(), replace)
    }
}

/// Inserts a line after the last one that contains `after`; `None` without such a line.
fn insert_after(text: &str, line: &str, after: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|line| line.contains(after))?;
    lines.insert(last + 1, line);
    Some(lines.join("\n") + "\n")
}

/// Inserts `mod name;` into the alphabetical list of modules.
fn insert_module(text: &str, name: &str) -> String {
    let line = format!("mod {name};");
    let mut lines: Vec<&str> = text.lines().collect();
    let is_later = |l: &&str| l.starts_with("mod ") && **l > *line;
    let index = lines.iter().position(is_later).unwrap_or(lines.len());
    lines.insert(index, &line);
    lines.join("\n") + "\n"
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_must_be_valid_and_free() {
        assert_eq!(check_name("watch2"), Ok(()));
        for (name, line) in [
            (
                "Watch",
                "the name `Watch` is invalid: use a-z, then a-z or 0-9",
            ),
            (
                "2watch",
                "the name `2watch` is invalid: use a-z, then a-z or 0-9",
            ),
            (
                "my-watch",
                "the name `my-watch` is invalid: use a-z, then a-z or 0-9",
            ),
            ("", "the name `` is invalid: use a-z, then a-z or 0-9"),
            ("match", "the name `match` is reserved"),
            ("product", "the name `product` is taken: a backend has it"),
        ] {
            assert_eq!(check_name(name), Err(line.to_owned()));
        }
    }

    #[test]
    fn lines_and_modules_are_inserted_in_order() {
        let text = "a-bff.x\nb-bff.x\nother\n";
        let inserted = insert_after(text, "c-bff.x", "-bff.x");
        assert_eq!(inserted.unwrap(), "a-bff.x\nb-bff.x\nc-bff.x\nother\n");
        assert_eq!(insert_after(text, "c", "nothing"), None);
        let text = "//! Tests.\n\nmod tv;\nmod web;\n";
        assert_eq!(
            insert_module(text, "watch"),
            "//! Tests.\n\nmod tv;\nmod watch;\nmod web;\n"
        );
        assert_eq!(
            insert_module(text, "zoo"),
            "//! Tests.\n\nmod tv;\nmod web;\nmod zoo;\n"
        );
    }
}
