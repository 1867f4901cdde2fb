//! A configuration with every kind of key, and functions that load it. No test reads the real environment.

mod inherits;
mod layers;
mod mistakes;
mod printout;
mod renames;
mod secrets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Config {
    mode: Mode,
    edge: Edge,
    inbound: Inbound,
    #[serde(default)]
    session: Option<Session>,
    upstreams: BTreeMap<String, Upstream>,
    #[serde(default)]
    keys: BTreeMap<String, Secret>,
    #[serde(default)]
    discovery: Option<Discovery>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    host: String,
    body_limit_bytes: u32,
    origins: Vec<String>,
    compress: bool,
    ratio: f64,
    shift: i16,
    #[serde(default)]
    ports: Vec<u16>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Inbound {
    #[serde(with = "crate::duration")]
    deadline: Duration,
    #[serde(default, with = "crate::duration::option")]
    idle: Option<Duration>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Session {
    key: Secret,
    #[serde(default)]
    older: Vec<Secret>,
    #[serde(default)]
    ca: Option<String>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    store: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Upstream {
    url: String,
    #[serde(default)]
    token: Option<Secret>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Discovery {
    Fixed {
        instances: Vec<String>,
    },
    Dns {
        name: String,
        every_seconds: u16,
        secret: Option<Secret>,
    },
}

/// The keys that all gateways share.
const CORE_DEFAULTS: &str = r#"
mode = "production"
[edge]
host = "127.0.0.2"
body_limit_bytes = 65536
"#;

/// The keys in which this gateway differs.
const DEFAULTS: &str = r#"
[edge]
host = "127.0.0.1"
origins = ["https://one.example"]
compress = true
ratio = 0.5
shift = -1
[inbound]
deadline = "2s"
[upstreams.alpha]
url = "http://defaults"
"#;

#[derive(Default)]
struct Layers<'a> {
    overlay: Option<&'a str>,
    file: Option<&'a str>,
    env: &'a [(&'a str, &'a str)],
}

/// Calls `then` with a new file, and deletes it.
fn on_disk<T>(name: &str, text: &str, then: impl FnOnce(&Path) -> T) -> T {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("bff-config-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    let result = then(&path);
    std::fs::remove_dir_all(&dir).unwrap();
    result
}

fn sources<'a>(layers: &Layers<'a>, file: Option<&'a Path>) -> Sources<'a> {
    let env = layers
        .env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        prefix: "WEB",
        core_defaults: CORE_DEFAULTS,
        defaults: DEFAULTS,
        overlay: layers.overlay,
        file,
        env: env.collect(),
    }
}

fn try_load(layers: &Layers<'_>) -> Result<Config, String> {
    match layers.file {
        None => load(&sources(layers, None)).map_err(|error| error.to_string()),
        Some(text) => on_disk("web.toml", text, |path| {
            let dir = format!("{}/", path.parent().unwrap().display());
            load(&sources(layers, Some(path))).map_err(|error| error.to_string().replace(&dir, ""))
        }),
    }
}

fn with_env(env: &[(&str, &str)]) -> Config {
    try_load(&Layers {
        env,
        ..Layers::default()
    })
    .unwrap()
}

fn env_error(env: &[(&str, &str)]) -> String {
    let line = try_load(&Layers {
        env,
        ..Layers::default()
    })
    .unwrap_err();
    assert!(!line.contains('\n'), "{line}");
    line
}

fn file_error(text: &str) -> String {
    let line = try_load(&Layers {
        file: Some(text),
        ..Layers::default()
    })
    .unwrap_err();
    assert!(!line.contains('\n'), "{line}");
    line
}
