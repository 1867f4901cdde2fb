//! A configuration with every kind of key, and how the tests load it. No test reads the real environment.

mod inherits;
mod layers;
mod mistakes;
mod printout;
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
    #[serde(with = "crate::config::duration")]
    deadline: Duration,
    #[serde(default, with = "crate::config::duration::option")]
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

const DEFAULTS: &str = r#"
mode = "production"
[edge]
host = "127.0.0.1"
body_limit_bytes = 65536
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
struct Given<'a> {
    overlay: Option<&'a str>,
    file: Option<&'a str>,
    env: &'a [(&'a str, &'a str)],
}

/// A file of its own for each test, in the directory that vanishes with it.
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

fn sources<'a>(given: &Given<'a>, file: Option<&'a Path>) -> Sources<'a> {
    let env = given
        .env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources {
        prefix: "WEB",
        defaults: DEFAULTS,
        overlay: given.overlay,
        file,
        env: env.collect(),
    }
}

fn try_load(given: &Given<'_>) -> Result<Config, String> {
    match given.file {
        None => load(&sources(given, None)).map_err(|error| error.to_string()),
        Some(text) => on_disk("web.toml", text, |path| {
            let dir = format!("{}/", path.parent().unwrap().display());
            load(&sources(given, Some(path))).map_err(|error| error.to_string().replace(&dir, ""))
        }),
    }
}

fn with_env(env: &[(&str, &str)]) -> Config {
    try_load(&Given {
        env,
        ..Given::default()
    })
    .unwrap()
}

fn refused_env(env: &[(&str, &str)]) -> String {
    let line = try_load(&Given {
        env,
        ..Given::default()
    })
    .unwrap_err();
    assert!(!line.contains('\n'), "{line}");
    line
}

fn refused_file(text: &str) -> String {
    let line = try_load(&Given {
        file: Some(text),
        ..Given::default()
    })
    .unwrap_err();
    assert!(!line.contains('\n'), "{line}");
    line
}
