//! One program's configuration: layers of TOML and variables become one typed value, or an error of one line.
//!
//! The layers, weakest first:
//!
//! 1. the core defaults: the keys that all gateways share, each with its unit;
//! 2. the gateway's defaults: the keys in which this gateway differs. Both are compiled in;
//! 3. an overlay from a program that embeds the gateway, such as the development fleet;
//! 4. the file of `--config FILE`;
//! 5. the environment: `PREFIX_SECTION__KEY`, for example `WEB_UPSTREAMS__ALPHA__URL=http://localhost:4001`.
//!
//! Sections merge key by key. A list or any other value replaces the one of a weaker layer. Keys are in lower case.
//! The text of a variable becomes the type that its key needs: a number, a boolean, a duration, or a list with commas.
//! An empty variable is `None` for an optional key and an empty list for a list.
//!
//! **Defaults of backends.** Each table of `[upstreams]` inherits the keys of `[upstream_defaults]`, including single
//! keys of inner tables.
//!
//! **Secrets in files.** `PREFIX_A__B_FILE=/path` sets `a.b` to the trimmed text of that file. If the section has a key
//! named `b_file`, or a weaker layer sets that key, the variable sets that key and no file is read.
//!
//! **Mistakes.** A key that no type reads is an error, in a file and in a variable. A key with an old name is an error
//! that contains the new name. Each error is one line that names key and source. The caller prints it and exits with
//! [`Error::EXIT_CODE`].
//!
//! **Variables of others.** A variable with the prefix belongs to this program if its first name is a section or a key of
//! the root. Any other one is ignored, with a warning from [`unknown_variables`]. The variables that Kubernetes sets for
//! each Service are ignored without a warning.
//!
//! The crate knows no key except `upstreams`, `upstream_defaults` and the renamed ones. Read this file first, then
//! `layers.rs`.

mod args;
mod deserialize;
pub mod duration;
mod env_vars;
mod error;
mod inherit;
mod layers;
mod mode;
mod print;
mod ratio;
mod renamed;
mod report;
mod secret;
#[cfg(test)]
mod tests;
mod unknown_variables;

use std::path::Path;

use serde::de::DeserializeOwned;

pub use args::{Args, Configured, exit_code_for};
pub use duration::parse_duration;
pub use error::Error;
use layers::{Kind, Node, Source, Table};
pub use mode::Mode;
pub use print::{print, print_with_sources};
pub use ratio::Ratio;
pub use secret::Secret;

/// All layers of a configuration.
#[derive(Clone, Default)]
pub struct Sources<'a> {
    /// The first part of the name of each variable of this program, without the underscore: `WEB`.
    pub prefix: &'a str,
    /// The TOML of the keys that all gateways share.
    pub core_defaults: &'static str,
    /// The TOML of this gateway, over the core defaults.
    pub defaults: &'static str,
    /// The TOML of a program that embeds this one, over the defaults.
    pub overlay: Option<&'a str>,
    /// The file of `--config`, over the overlay.
    pub file: Option<&'a Path>,
    /// The environment, over all other layers: [`environment`], or a list of a test. Variables without the prefix are
    /// ignored.
    pub env: Vec<(String, String)>,
}

/// Reads all layers into a `C`. Its structs use `#[serde(deny_unknown_fields)]`, so that the error for an unknown key
/// lists the known ones.
pub fn load<C: DeserializeOwned>(sources: &Sources<'_>) -> Result<C, Error> {
    let mut tree = sources.files()?;
    for variable in sources.split_variables::<C>(&tree).own {
        env_vars::set(&mut tree, &variable);
    }
    let mut effective = tree.clone();
    inherit::apply_defaults(&mut effective)?;
    let root = Node {
        kind: Kind::Table(effective),
        source: Source::CoreDefaults,
    };
    serde_path_to_error::deserialize(root)
        .map_err(|error| report::of_serde(&error, &tree, sources.prefix))
}

/// The lines about variables with the prefix that [`load`] ignores, because their first name is no section or key.
pub fn unknown_variables<C: DeserializeOwned>(sources: &Sources<'_>) -> Result<Vec<String>, Error> {
    let unknown = sources.split_variables::<C>(&sources.files()?).unknown;
    let lines = unknown.iter();
    let lines = lines.map(|variable| unknown_variables::warning::<C>(sources.prefix, variable));
    Ok(lines.collect())
}

/// The environment of this process. Only this function reads it. A value that is not UTF-8 has replacement characters,
/// so that its key can refuse it.
#[expect(
    clippy::disallowed_methods,
    reason = "the lint recommends this function"
)]
pub fn environment() -> Vec<(String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

impl Sources<'_> {
    /// The error for a value of the right type that is still invalid: out of its range, or contrary to another key.
    /// `key` has dots, for example `upstreams.alpha.url`. The line does not contain the value, which may be a secret.
    pub fn invalid(&self, key: &str, why: &str) -> Error {
        let path: Vec<&str> = key.split('.').collect();
        self.merged()
            .map_or_else(|error| error, |tree| report::invalid_at(&tree, &path, why))
    }

    /// All layers as one tree, in which every value has its source. Backends do not have inherited keys yet. The keys of
    /// unknown variables are in it too, at paths that no type reads.
    fn merged(&self) -> Result<Table, Error> {
        let mut tree = self.files()?;
        for variable in env_vars::with_prefix(&self.env, self.prefix) {
            if !variable.replaces_section(&tree) {
                env_vars::set(&mut tree, &variable);
            }
        }
        Ok(tree)
    }

    fn split_variables<C: DeserializeOwned>(&self, files: &Table) -> unknown_variables::Split<'_> {
        unknown_variables::split::<C>(env_vars::with_prefix(&self.env, self.prefix), files)
    }

    /// All layers below the variables.
    fn files(&self) -> Result<Table, Error> {
        let mut layers = vec![
            (Source::CoreDefaults, self.core_defaults.to_owned()),
            (Source::GatewayDefaults, self.defaults.to_owned()),
        ];
        layers.extend(self.overlay.map(|text| (Source::Overlay, text.to_owned())));
        if let Some(path) = self.file {
            let name = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::new(format!("cannot read file {name}: {error}")))?;
            layers.push((Source::File(name.to_string()), text));
        }
        let mut tree = Table::new();
        for (source, text) in &layers {
            layers::merge(&mut tree, layers::parse(text, source)?);
        }
        Ok(tree)
    }
}
