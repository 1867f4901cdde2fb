//! Each backend and each gateway has the same name in code, folders, configuration and compose files.

use std::collections::{BTreeMap, BTreeSet};

use bff_core::context::Env;
use fleet::Callers;
use serde_json::Value;
use services_mock::Backend;

use crate::support::{file, root};

fn read(path: &str) -> String {
    file(path).unwrap_or_else(|| panic!("{path} does not exist"))
}

/// The names of the files and folders in `folder` that end with `end`, without that end.
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
    let mut compose: Value = serde_saphyr::from_str(&read("docker-compose.yml")).unwrap();
    let included = compose["include"].as_array().unwrap().clone();
    for path in included.iter().map(|path| path.as_str().unwrap()) {
        let part: Value = serde_saphyr::from_str(&read(path)).unwrap();
        for (name, service) in part["services"].as_object().unwrap() {
            assert!(compose["services"].get(name).is_none(), "{name} twice");
            compose["services"][name] = service.clone();
        }
    }
    compose
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
    assert_eq!(
        backends, mocked,
        "the clients differ from the list of the mocks"
    );
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
            "{name} in the compose file"
        );
        let port = name.parse::<Backend>().unwrap().port();
        let published = format!("127.0.0.1:{port}:{port}");
        assert_eq!(service["ports"][0], published, "{name} in the compose file");
    }
    for gateway in fleet::GATEWAYS {
        let used: BTreeSet<String> = gateway.upstreams().map(str::to_owned).collect();
        let unknown: Vec<_> = used.difference(&backends).collect();
        assert!(
            unknown.is_empty(),
            "{}: {unknown:?} are not backends",
            gateway.name
        );
    }
}

#[test]
fn a_gateway_has_one_name() {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let listed: BTreeSet<String> = fleet::GATEWAYS.iter().map(|g| g.name.to_owned()).collect();
    assert_eq!(
        names("bffs", ""),
        listed,
        "bffs/ differs from the list of the fleet"
    );
    let compose = compose();
    for name in &listed {
        let manifest: toml::Table = read(&format!("bffs/{name}/Cargo.toml")).parse().unwrap();
        let package = format!("{name}-bff");
        assert_eq!(manifest["package"]["name"].as_str(), Some(package.as_str()));
        // Without a `[[bin]]` table, the binary has the name of the package.
        assert!(manifest.get("bin").is_none(), "{package} names its binary");
        assert!(
            file(&format!("bffs/{name}/src/main.rs")).is_some(),
            "{package} has no binary"
        );
        assert!(
            members.contains(&format!("bffs/{name}").into()),
            "{name} is not a member"
        );
        assert!(
            file(&format!("tests/{name}.rs")).is_some(),
            "tests/{name}.rs does not exist"
        );
        let service = &compose["services"][&package];
        assert_eq!(
            service["build"]["args"]["BIN"], *package,
            "{package} in the compose file"
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
        "the services of the compose file"
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
    // The image also needs the script that optimises gateways.
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
        assert_eq!(foreign, None, "{name} does not read it");
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
        let dependencies: BTreeSet<&str> = service["depends_on"]
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
                dependencies.contains(backend),
                "{name}-bff does not depend on {backend}"
            );
        }
    }
}

#[test]
fn compose_has_one_issuer_url_and_a_control_port_for_each_backend() {
    let compose = compose();
    let service = |name: &str| compose["services"][name].clone();
    for (port, backend) in (3990..).zip(Backend::ALL) {
        let control = format!("127.0.0.1:{port}:3999");
        assert_eq!(
            service(backend.name())["ports"][1],
            control,
            "{backend} in the compose file"
        );
    }
    let words = service("auth")["entrypoint"].as_array().unwrap().clone();
    let argument = words.iter().skip_while(|word| **word != "--issuer").nth(1);
    let issuer = argument.unwrap().as_str().unwrap();
    let published = format!("http://localhost:{}", Backend::Auth.port());
    assert_eq!(issuer, published, "the URL that browsers use");
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
    let unknown = format!("{}_UPSTREAMS__UNKNOWN__URL", gateway.prefix());
    env.push((unknown.clone(), "http://unknown:1".to_owned()));
    let line = gateway.open("", env, &Env::real()).err().unwrap();
    assert!(line.contains(&unknown), "{line}");
}
