//! Reads the workspace: packages, and their files without the tests inside them.

use std::path::{Path, PathBuf};

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::{Attribute, Item};

use crate::support::root;

/// One package of the workspace.
pub(super) struct Package {
    /// The folder, relative to the root.
    pub(super) folder: String,
    /// The name in its manifest.
    pub(super) name: String,
    /// The packages of the workspace that it depends on, dev-dependencies excluded.
    pub(super) dependencies: Vec<String>,
    /// The dev-dependencies on packages of the workspace.
    pub(super) dev_dependencies: Vec<String>,
}

/// One Rust file.
pub(super) struct Source {
    /// The path, relative to the root.
    pub(super) path: String,
    /// The text.
    pub(super) text: String,
    /// The parsed file.
    pub(super) code: syn::File,
}

/// Every package of the workspace, in the order of its members.
pub(super) fn packages() -> Vec<Package> {
    let manifest =
        |path: PathBuf| -> toml::Table { std::fs::read_to_string(path).unwrap().parse().unwrap() };
    let workspace = manifest(root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let folders: Vec<String> = members
        .iter()
        .map(|member| member.as_str().unwrap().to_owned())
        .collect();
    let name = |folder: &str| {
        let manifest = manifest(root().join(folder).join("Cargo.toml"));
        manifest["package"]["name"].as_str().unwrap().to_owned()
    };
    let names: Vec<String> = folders.iter().map(|folder| name(folder)).collect();
    let package = |folder: &String| {
        let manifest = manifest(root().join(folder).join("Cargo.toml"));
        let members_in = |table: &str| -> Vec<String> {
            let table = manifest.get(table).and_then(toml::Value::as_table);
            let keys = table.into_iter().flat_map(toml::Table::keys);
            keys.filter(|key| names.contains(key)).cloned().collect()
        };
        Package {
            folder: folder.clone(),
            name: name(folder),
            dependencies: members_in("dependencies"),
            dev_dependencies: members_in("dev-dependencies"),
        }
    };
    folders.iter().map(package).collect()
}

/// Every Rust file below a folder. Build output is left out.
pub(super) fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(parse(&path));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no Rust file");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn parse(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    let shown = path.strip_prefix(root()).unwrap_or(path);
    let code = syn::parse_file(&text);
    Source {
        path: shown.display().to_string(),
        code: code.unwrap_or_else(|error| panic!("{}: {error}", shown.display())),
        text,
    }
}

impl Source {
    /// Whether the whole file is compiled for tests only.
    pub(super) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| part == "tests" || part == "tests.rs")
    }

    /// The text without the items that are compiled for tests only: their lines become empty.
    pub(super) fn text_without_tests(&self) -> String {
        let mut lines: Vec<&str> = self.text.lines().collect();
        for item in &self.code.items {
            if is_for_tests(attributes(item)) {
                let span = syn::spanned::Spanned::span(item);
                lines[span.start().line - 1..span.end().line].fill("");
            }
        }
        lines.join("\n")
    }

    /// The number of lines before the tests, blank lines included.
    pub(super) fn lines_without_tests(&self) -> usize {
        self.text_without_tests().trim_end().lines().count()
    }

    /// Every identifier, including those inside macros.
    pub(super) fn identifiers(&self) -> Vec<Ident> {
        let mut found = Vec::new();
        let tokens: TokenStream = self.text.parse().unwrap();
        collect(tokens, &mut found);
        found
    }
}

fn collect(tokens: TokenStream, found: &mut Vec<Ident>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), found),
            TokenTree::Ident(ident) => found.push(ident),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The attributes of an item.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether attributes restrict an item to test builds.
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        list.path.is_ident("cfg")
            && list
                .tokens
                .to_string()
                .split(' ')
                .any(|word| word == "test")
    })
}
