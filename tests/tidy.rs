//! Rules of the house that a program can check: directions, absences, sizes.

use std::path::Path;

use crate::support::root;

/// Every Rust file below a folder, with the part before its tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\n").next().unwrap().to_owned();
                found.push((name(&path), code));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no code");
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The words of a text, split at everything but letters and again at capitals.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in text.chars() {
        if !c.is_ascii_alphabetic() || c.is_ascii_uppercase() {
            words.push(String::new());
        }
        if c.is_ascii_alphabetic() {
            words.last_mut().unwrap().push(c.to_ascii_lowercase());
        }
    }
    words
}

#[test]
fn the_core_knows_no_domain() {
    const NOUNS: [&str; 7] = [
        "product",
        "review",
        "inventory",
        "payment",
        "playback",
        "cart",
        "orders",
    ];
    for (file, code) in sources("crates/bff-core/src") {
        if file.contains("tests") {
            continue;
        }
        let code = code.lines().filter(|l| !l.trim_start().starts_with("//"));
        for word in code.flat_map(words) {
            assert!(!NOUNS.contains(&word.as_str()), "{file} says {word:?}");
        }
    }
}

#[test]
fn vocabulary_and_screens_know_no_http() {
    for (file, code) in sources("crates/bff-services/src") {
        assert!(!code.contains("axum"), "{file} knows axum");
    }
    for gateway in fleet::GATEWAYS.iter().map(|g| g.name) {
        for (file, code) in sources(&format!("bffs/{gateway}/src")) {
            let screens = file.contains("/screens");
            for forbidden in ["axum", "StatusCode", "HeaderMap", "HeaderValue"] {
                assert!(
                    !screens || !code.contains(forbidden),
                    "{file} says {forbidden}"
                );
            }
            for other in fleet::GATEWAYS.iter().map(|g| g.name) {
                let names_it = code.contains(&format!("{other}_bff"));
                assert!(other == gateway || !names_it, "{file} names {other}");
            }
        }
    }
}

#[test]
fn the_ways_in_and_out_never_name_each_other() {
    for (file, code) in sources("crates/bff-core/src") {
        let inbound = file.contains("src/inbound");
        let outbound = file.contains("src/outbound");
        assert!(!(inbound && code.contains("outbound::")), "{file}");
        assert!(!(outbound && code.contains("inbound::")), "{file}");
    }
}

#[test]
fn the_fakes_depend_on_nothing_of_ours() {
    let manifest = std::fs::read_to_string(root().join("services-mock/Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("bff"),
        "services-mock depends on the gateways"
    );
}

#[test]
fn files_stay_short_and_nothing_unwraps() {
    for folder in ["crates", "bffs", "services-mock/src", "benches/src"] {
        for (file, code) in sources(folder) {
            let test = file.contains("/tests");
            assert!(
                test || code.lines().count() <= 300,
                "{file} has over 300 lines before its tests"
            );
            assert!(test || !code.contains(".unwrap()"), "{file} unwraps");
            assert!(!file.ends_with("mod.rs"), "{file}");
        }
    }
}

#[test]
fn the_vendored_protocol_is_the_published_one() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let code = |text: String| -> Vec<String> {
        let lines = text
            .lines()
            .map(|l| l.split("//").next().unwrap_or_default().trim().to_owned());
        lines.filter(|l| !l.is_empty()).collect()
    };
    let vendored = code(read("crates/bff-services/proto/playback.proto"));
    assert_eq!(vendored, code(read("services-mock/proto/playback.proto")));
}
