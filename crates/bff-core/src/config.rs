//! One program's configuration: four layers of text become one typed value, or one clear line.
//!
//! From weakest to strongest:
//!
//! 1. the TOML compiled into the binary, which holds every tunable with its unit;
//! 2. an overlay given by a program that embeds the gateway (the development fleet);
//! 3. the file named by `--config FILE`;
//! 4. the environment: `PREFIX_SECTION__KEY`, as in `WEB_UPSTREAMS__ALPHA__URL=http://localhost:4001`.
//!
//! Sections merge key by key; a list or a value replaces the one below it. Keys are lower case. A variable's text
//! becomes the type its key wants: number, boolean, duration, or a list split at commas. An empty variable is
//! `None` for an optional key and an empty list for a list.
//!
//! **Backends inherit.** Each table of `[upstreams]` has the keys of `[upstream_defaults]` that it does not set itself,
//! down to single keys of inner tables.
//!
//! **Secrets from files.** `PREFIX_A__B_FILE=/path` sets `a.b` to that file's trimmed text. If the section has a
//! field really named `b_file`, or a lower layer sets that very key, the variable is that key's own value and no
//! file is read. A struct that has neither `b` nor `b_file` refuses the variable as unknown.
//!
//! **Mistakes.** Every variable with the prefix must be known, except those Kubernetes sets for every Service.
//! A key that no field reads is refused too, in a file as in the environment. Each mistake is one line that names
//! key and source; the caller prints it and exits with [`Error::EXIT_CODE`].

mod args;
pub mod duration;
mod error;
mod inherit;
mod mode;
mod print;
mod read;
mod secret;
mod share;
#[cfg(test)]
mod tests;
mod tree;
mod variables;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use args::{Args, not_to_run};
pub use duration::parse_duration;
pub use error::Error;
pub use mode::Mode;
pub use print::{print, print_with_sources};
pub use secret::Secret;
pub use share::Share;
use tree::{Source, Table};

/// Everything a configuration is read from. Reading it twice gives the same answer, files permitting.
#[derive(Clone)]
pub struct Sources<'a> {
    /// What every variable of this program starts with, without the underscore: `WEB`.
    pub prefix: &'a str,
    /// The TOML compiled into the binary.
    pub defaults: &'static str,
    /// TOML of the program that embeds this one, over the defaults.
    pub overlay: Option<&'a str>,
    /// The file of `--config`, over the overlay.
    pub file: Option<&'a Path>,
    /// The environment, over everything: [`environment`], or a test's own list. Other programs' variables are ignored.
    pub env: Vec<(String, String)>,
}

/// Reads all layers into a `C`. Its structs use `#[serde(deny_unknown_fields)]`, so that the line about an unknown
/// key lists the known ones.
pub fn load<C: DeserializeOwned>(sources: &Sources<'_>) -> Result<C, Error> {
    read::read(sources.merged()?).map_err(|fault| Error::of(fault, sources.prefix))
}

/// The environment of this process: the one place that reads it. A value that is not UTF-8 arrives with
/// replacement characters, so that the key it was meant for can refuse it.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the door the ban points to"
)]
pub fn environment() -> Vec<(String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

impl Sources<'_> {
    /// The line for a value that has the right type and is still wrong: a range, or two keys that contradict.
    /// `key` is dotted, as in `upstreams.alpha.url`; the value itself is not shown, for it may be a secret.
    pub fn refuse(&self, key: &str, why: &str) -> Error {
        match self.merged() {
            Ok(tree) => {
                let path: Vec<&str> = key.split('.').collect();
                // Of a section everybody who set a part: nobody else knows which part is wrong.
                let sources = tree::at(&tree, &path).map(tree::Node::sources);
                let sources = sources.unwrap_or_default();
                let (key, place) = match inherit::written_at(&path, &sources) {
                    Some((path, sources)) => (path.join("."), error::place(&sources)),
                    None => (key.to_owned(), error::place(&sources)),
                };
                Error::new(format!("{key}{place}: {why}"))
            }
            Err(error) => error,
        }
    }

    /// The layers as one tree, in which every value remembers who set it.
    fn merged(&self) -> Result<Table, Error> {
        let mut tree = tree::parse(self.defaults, &Source::Defaults)?;
        if let Some(text) = self.overlay {
            tree::merge(&mut tree, tree::parse(text, &Source::Overlay)?);
        }
        if let Some(path) = self.file {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::new(format!("cannot read file {shown}: {error}")))?;
            let source = Source::File(shown.to_string().into());
            tree::merge(&mut tree, tree::parse(&text, &source)?);
        }
        variables::apply(&mut tree, self.prefix, &self.env)?;
        inherit::hand_down(&mut tree)?;
        Ok(tree)
    }
}
