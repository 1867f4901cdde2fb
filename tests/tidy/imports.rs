//! The graph of uses between the files of a crate, and its circles.
//!
//! A file uses another file if it names an item that is defined there. Re-exports are followed, so `pub use` in a parent
//! module does not count as a use. Methods and fields are not detected.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Item, ItemUse, UseTree, Visibility};

use super::source::{Source, attributes, is_for_tests};

/// A module: its file, the items that it defines, the names that it imports, and its children.
#[derive(Default)]
struct Module {
    file: String,
    items: BTreeSet<String>,
    imports: BTreeMap<String, Vec<String>>,
    /// The names of its re-exports.
    exports: BTreeSet<String>,
    /// Imports without a name (`use X as _`).
    unnamed: Vec<Vec<String>>,
    globs: Vec<Vec<String>>,
    children: BTreeSet<String>,
    /// Paths in code: `a::b::c`, or one name.
    paths: BTreeSet<Vec<String>>,
}

/// The modules of one crate, by path.
pub(super) struct Graph {
    modules: BTreeMap<Vec<String>, Module>,
}

impl Graph {
    /// Reads the files of a crate whose root is `folder`/lib.rs or `folder`/main.rs.
    pub(super) fn new(folder: &str, sources: &[Source]) -> Self {
        let mut graph = Self {
            modules: BTreeMap::new(),
        };
        let has_library = sources
            .iter()
            .any(|source| source.path.ends_with("/lib.rs"));
        for source in sources {
            let inner = source.path.strip_prefix(folder).unwrap();
            let inner = inner.trim_start_matches('/').trim_end_matches(".rs");
            let module: Vec<String> = match inner {
                "lib" => Vec::new(),
                "main" if !has_library => Vec::new(),
                inner => inner.split('/').map(str::to_owned).collect(),
            };
            graph.add(&module, &source.path, &source.code.items);
        }
        graph
    }

    fn add(&mut self, path: &[String], file: &str, items: &[Item]) {
        let mut inline = Vec::new();
        let module = self.modules.entry(path.to_vec()).or_default();
        file.clone_into(&mut module.file);
        for item in items {
            if is_for_tests(attributes(item)) {
                continue;
            }
            match item {
                Item::Use(item) => module.import(item),
                Item::Mod(item) => {
                    module.children.insert(item.ident.to_string());
                    if let Some((_, items)) = &item.content {
                        inline.push((item.ident.to_string(), items));
                    }
                }
                Item::Macro(item) => match &item.ident {
                    // The paths in a `macro_rules!` belong to the code that calls it.
                    Some(name) => drop(module.items.insert(name.to_string())),
                    None => module.read(item.to_token_stream()),
                },
                other => {
                    module.items.extend(name(other));
                    module.read(other.to_token_stream());
                }
            }
        }
        for (name, items) in inline {
            let path = [path, &[name]].concat();
            self.add(&path, file, items);
        }
    }

    /// The files that each file uses, each with one path in the code that names it.
    pub(super) fn uses(&self) -> BTreeMap<&str, BTreeMap<&str, String>> {
        let mut uses: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
        for (at, module) in &self.modules {
            let named = module.imports.iter();
            let private = named.filter(|(name, _)| !module.exports.contains(*name));
            let paths = private.map(|(_, path)| path).chain(&module.unnamed);
            let mut add_use = |path: &Vec<String>, file: Option<&'_ str>| {
                if let Some(file) = file.filter(|file| *file != module.file) {
                    let file = self.modules.values().find(|m| m.file == file).unwrap();
                    let of_module = uses.entry(module.file.as_str()).or_default();
                    of_module
                        .entry(file.file.as_str())
                        .or_insert_with(|| path.join("::"));
                }
            };
            for path in paths {
                add_use(path, self.resolve(at, path, 0));
            }
            for path in &module.paths {
                let may_be_an_item = path.len() > 1 || module.exports.contains(&path[0]);
                if may_be_an_item {
                    add_use(path, self.resolve(at, path, 0));
                }
            }
        }
        uses
    }

    /// The file that defines the item of a path; `None` for a module or an item of another crate.
    fn resolve(&self, at: &[String], path: &[String], depth: usize) -> Option<&str> {
        if depth > 8 {
            return None;
        }
        let mut at = at.to_vec();
        let mut rest = path;
        loop {
            match rest.first().map(String::as_str) {
                Some("crate") => at.clear(),
                Some("super") => drop(at.pop()),
                Some("self") => {}
                _ => break,
            }
            rest = &rest[1..];
        }
        let (first, rest) = rest.split_first()?;
        let module = self.modules.get(&at)?;
        if module.children.contains(first) {
            let below = [at.as_slice(), std::slice::from_ref(first)].concat();
            if rest.is_empty() {
                return None;
            }
            let inner = [&["self".to_owned()], rest].concat();
            return self.resolve(&below, &inner, depth + 1);
        }
        if module.items.contains(first) {
            return Some(&module.file);
        }
        if let Some(target) = module.imports.get(first) {
            if target.first() == Some(first) && target.len() == 1 {
                return None;
            }
            let target = [target.as_slice(), rest].concat();
            return self.resolve(&at, &target, depth + 1);
        }
        module.globs.iter().find_map(|glob| {
            let target = [glob.as_slice(), std::slice::from_ref(first), rest].concat();
            self.resolve(&at, &target, depth + 1)
        })
    }

    /// The groups of files that use each other in a circle, with the uses inside each group.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let uses = self.uses();
        let reach = |from: &str| {
            let mut seen = BTreeSet::new();
            let mut open: Vec<&str> = uses
                .get(from)
                .into_iter()
                .flat_map(|u| u.keys().copied())
                .collect();
            while let Some(file) = open.pop() {
                if seen.insert(file) {
                    open.extend(uses.get(file).into_iter().flat_map(|u| u.keys().copied()));
                }
            }
            seen
        };
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            uses.keys().map(|file| (*file, reach(file))).collect();
        let mut groups: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
        for (file, seen) in &reached {
            if seen.contains(file) {
                let both = seen
                    .iter()
                    .filter(|other| reached.get(**other).is_some_and(|s| s.contains(file)));
                groups.insert(both.copied().collect());
            }
        }
        let lines = |group: &BTreeSet<&str>| {
            let inside = group.iter().flat_map(|file| {
                let uses = uses[file]
                    .iter()
                    .filter(|(other, _)| group.contains(**other));
                uses.map(move |(other, path)| format!("{file} uses {other} ({path})"))
            });
            inside.collect()
        };
        groups.iter().map(lines).collect()
    }
}

impl Module {
    fn import(&mut self, item: &ItemUse) {
        let public = !matches!(item.vis, Visibility::Inherited);
        let mut open = vec![(Vec::new(), &item.tree)];
        while let Some((mut path, tree)) = open.pop() {
            match tree {
                UseTree::Path(tree) => {
                    path.push(tree.ident.to_string());
                    open.push((path, &tree.tree));
                }
                UseTree::Group(tree) => {
                    open.extend(tree.items.iter().map(|tree| (path.clone(), tree)));
                }
                UseTree::Glob(_) => self.globs.push(path),
                UseTree::Name(tree) => {
                    let name = tree.ident.to_string();
                    if name == "self" {
                        let name = path.last().unwrap().clone();
                        self.add_import(name, path, public);
                    } else {
                        path.push(name.clone());
                        self.add_import(name, path, public);
                    }
                }
                UseTree::Rename(tree) => {
                    if tree.ident != "self" {
                        path.push(tree.ident.to_string());
                    }
                    if tree.rename == "_" {
                        self.unnamed.push(path);
                    } else {
                        self.add_import(tree.rename.to_string(), path, public);
                    }
                }
            }
        }
    }

    fn add_import(&mut self, name: String, path: Vec<String>, public: bool) {
        if public {
            self.exports.insert(name.clone());
        }
        self.imports.insert(name, path);
    }

    /// Collects the paths in code, including those inside macros.
    fn read(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.paths
                            .extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                        path.clear();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.paths
                        .extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.read(group.stream());
                    }
                }
            }
        }
        self.paths.extend((!path.is_empty()).then_some(path));
    }
}

fn name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}
