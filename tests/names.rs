//! One name, every place: a backend and a gateway are called the same wherever they show.

use std::collections::{BTreeMap, BTreeSet};

use bff_core::context::Env;
use fleet::Callers;
use serde_json::Value;
use services_mock::Backend;

use crate::support::{file, root};

fn read(path: &str) -> String {
    file(path).unwrap_or_else(|| panic!("{path} is not there"))
}

/// What a folder holds that ends so, without that end.
fn names(folder: &str, end: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| Some(name.strip_suffix(end)?.to_owned()))
        .collect()
}

/// The backends, by the files of their clients; the issuer has no client.
fn backends() -> BTreeSet<String> {
    let mut backends = names("crates/bff-services/src", ".rs");
    backends.remove("lib");
    backends.insert("auth".to_owned());
    backends
}

/// The compose file, with the services of the files that it includes.
fn compose() -> Value {
    let mut whole: Value = serde_saphyr::from_str(&read("docker-compose.yml")).unwrap();
    let included = whole["include"].as_array().unwrap().clone();
    for path in included.iter().map(|path| path.as_str().unwrap()) {
        let part: Value = serde_saphyr::from_str(&read(path)).unwrap();
        for (name, service) in part["services"].as_object().unwrap() {
            assert!(whole["services"].get(name).is_none(), "{name} twice");
            whole["services"][name] = service.clone();
        }
    }
    whole
}

/// A gateway's variables in the compose file.
fn variables(compose: &Value, gateway: &str) -> Vec<(String, String)> {
    let service = &compose["services"][format!("{gateway}-bff")];
    let set = service["environment"].as_object().unwrap();
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    set.iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

#[test]
fn a_backend_has_one_name() {
    let backends = backends();
    let mocked: BTreeSet<String> = Backend::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(backends, mocked, "clients, and the list of the mocks");
    let compose = compose();
    for name in &backends {
        assert!(
            file(&format!("services-mock/src/{name}.rs")).is_some(),
            "{name} has no mock"
        );
        let service = &compose["services"][name];
        assert_eq!(
            service["command"],
            serde_json::json!([name]),
            "compose's {name}"
        );
        let port = name.parse::<Backend>().unwrap().port();
        let published = format!("127.0.0.1:{port}:{port}");
        assert_eq!(service["ports"][0], published, "compose's {name}");
    }
    for gateway in fleet::GATEWAYS {
        let used: BTreeSet<String> = gateway.upstreams().map(str::to_owned).collect();
        let unknown: Vec<_> = used.difference(&backends).collect();
        assert!(
            unknown.is_empty(),
            "{}: {unknown:?} are no backends",
            gateway.name
        );
    }
}

#[test]
fn a_gateway_has_one_name() {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let listed: BTreeSet<String> = fleet::GATEWAYS.iter().map(|g| g.name.to_owned()).collect();
    assert_eq!(names("bffs", ""), listed, "bffs/ and the fleet's list");
    let compose = compose();
    for name in &listed {
        let manifest: toml::Table = read(&format!("bffs/{name}/Cargo.toml")).parse().unwrap();
        let package = format!("{name}-bff");
        assert_eq!(manifest["package"]["name"].as_str(), Some(package.as_str()));
        // Without a table of its own, the binary is called as the package is.
        assert!(manifest.get("bin").is_none(), "{package} names its binary");
        assert!(
            file(&format!("bffs/{name}/src/main.rs")).is_some(),
            "{package} has no binary"
        );
        assert!(
            members.contains(&format!("bffs/{name}").into()),
            "{name} is no member"
        );
        assert!(
            file(&format!("tests/{name}.rs")).is_some(),
            "tests/{name}.rs is not there"
        );
        let service = &compose["services"][&package];
        assert_eq!(
            service["build"]["args"]["BIN"], *package,
            "compose's {package}"
        );
    }
    let services: BTreeSet<String> = compose["services"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let gateways = listed.iter().map(|name| format!("{name}-bff"));
    assert_eq!(
        services,
        backends().into_iter().chain(gateways).collect(),
        "compose's services"
    );
}

#[test]
fn an_image_is_built_from_every_member() {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let folders = members.iter().map(|m| m.as_str().unwrap());
    let folders: BTreeSet<_> = folders.map(|m| m.split('/').next().unwrap()).collect();
    let file = read("deploy/Dockerfile");
    let copied = file.lines().filter_map(|line| line.strip_prefix("COPY "));
    let copied = copied.filter_map(|line| line.split_once(' '));
    let copied: BTreeSet<_> = copied.filter(|(from, to)| from == to).collect();
    // The script that optimises gateways comes along.
    let needed = folders.into_iter().chain(["deploy/pgo"]);
    assert_eq!(copied, needed.map(|folder| (folder, folder)).collect());
}

#[tokio::test]
async fn compose_configures_every_gateway() {
    bff_core::auth::install_crypto();
    let compose = compose();
    for gateway in fleet::GATEWAYS {
        let name = gateway.name;
        let env = variables(&compose, name);
        let set: BTreeMap<_, _> = env.iter().cloned().collect();
        let foreign = env
            .iter()
            .find(|(n, _)| !n.starts_with(&format!("{}_", gateway.prefix())));
        assert_eq!(foreign, None, "{name} would not read it");
        let opened = gateway.open("", env, &Env::real());
        let server = opened
            .map_err(|line| format!("{name}: {line}"))
            .unwrap()
            .server;
        let service = &compose["services"][format!("{name}-bff")];
        let port = server.listen.port();
        assert_eq!(
            service["ports"],
            serde_json::json!([format!("127.0.0.1:{port}:{port}")])
        );
        let waits: BTreeSet<&str> = service["depends_on"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_str().unwrap())
            .collect();
        for backend in gateway.upstreams() {
            let port = backend.parse::<Backend>().unwrap().port();
            let variable = format!(
                "{}_UPSTREAMS__{}__URL",
                gateway.prefix(),
                backend.to_uppercase()
            );
            assert_eq!(
                set[&variable],
                format!("http://{backend}:{port}"),
                "{name}: {variable}"
            );
            assert!(
                waits.contains(backend),
                "{name}-bff does not wait for {backend}"
            );
        }
    }
}

#[test]
fn compose_signs_in_at_the_issuer_its_tokens_name_and_breaks_each_backend_at_its_own_port() {
    let compose = compose();
    let of = |name: &str| compose["services"][name].clone();
    for (place, backend) in (3990..).zip(Backend::ALL) {
        let control = format!("127.0.0.1:{place}:3999");
        assert_eq!(
            of(backend.name())["ports"][1],
            control,
            "compose's {backend}"
        );
    }
    let words = of("auth")["entrypoint"].as_array().unwrap().clone();
    let argument = words.iter().skip_while(|word| **word != "--issuer").nth(1);
    let issuer = argument.unwrap().as_str().unwrap();
    let published = format!("http://localhost:{}", Backend::Auth.port());
    assert_eq!(issuer, published, "as people reach it");
    for gateway in fleet::GATEWAYS {
        if gateway.callers() == Callers::Partners {
            continue;
        }
        let set: BTreeMap<_, _> = variables(&compose, gateway.name).into_iter().collect();
        let prefix = gateway.prefix();
        assert_eq!(set[&format!("{prefix}_AUTH__ISSUER")], issuer);
        let keys = format!("http://auth:{}", Backend::Auth.port());
        assert_eq!(set[&format!("{prefix}_AUTH__JWKS__URL")], keys);
    }
}

#[tokio::test]
async fn a_variable_that_no_gateway_knows_is_refused() {
    bff_core::auth::install_crypto();
    let [gateway, ..] = fleet::GATEWAYS else {
        panic!("no gateway")
    };
    let mut env = variables(&compose(), gateway.name);
    let unknown = format!("{}_UPSTREAMS__NOBODY__URL", gateway.prefix());
    env.push((unknown.clone(), "http://nobody:1".to_owned()));
    let line = gateway.open("", env, &Env::real()).err().unwrap();
    assert!(line.contains(&unknown), "{line}");
}
