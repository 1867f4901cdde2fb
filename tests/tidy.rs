//! Rules that a program can check: directions, circles of imports, absences, words and sizes.

mod imports;
mod source;

use imports::Graph;
use source::{Package, packages, sources};

use crate::support::{file, root};

/// The packages of this workspace that each package may depend on.
const DIRECTIONS: [(&str, &[&str]); 11] = [
    ("bff-runtime", &[]),
    ("bff-config", &[]),
    ("bff-context", &["bff-runtime"]),
    ("bff-telemetry", &["bff-config", "bff-context"]),
    ("bff-store", &["bff-config", "bff-runtime"]),
    (
        "bff-cache",
        &[
            "bff-config",
            "bff-context",
            "bff-runtime",
            "bff-store",
            "bff-telemetry",
        ],
    ),
    (
        "bff-upstream",
        &[
            "bff-cache",
            "bff-config",
            "bff-context",
            "bff-runtime",
            "bff-store",
            "bff-telemetry",
        ],
    ),
    (
        "bff-rate-limit",
        &[
            "bff-config",
            "bff-context",
            "bff-runtime",
            "bff-store",
            "bff-telemetry",
        ],
    ),
    (
        "bff-auth",
        &["bff-config", "bff-context", "bff-runtime", "bff-upstream"],
    ),
    (
        "bff-core",
        &[
            "bff-auth",
            "bff-cache",
            "bff-config",
            "bff-context",
            "bff-rate-limit",
            "bff-runtime",
            "bff-store",
            "bff-telemetry",
            "bff-upstream",
        ],
    ),
    ("bff-services", &["bff-core"]),
];

/// The maximum number of lines of a file before its tests.
const MAX_LINES: usize = 300;

/// The code folders of packages that only tests use.
const TEST_PACKAGES: [&str; 2] = ["tests", "crates/test-servers/src"];

/// Words that no identifier may contain, each with the usual words.
const WORDS: [(&str, &str); 21] = [
    ("told", "recorded, reported, response headers"),
    ("tell", "report, write, record"),
    ("tells", "reports, writes, records"),
    ("kept", "stored, cached, retained"),
    ("unkept", "uncacheable, no_store, hit_for_miss"),
    ("errand", "lease"),
    ("whoever", "caller, client, reader"),
    ("whom", "caller, client, reader"),
    ("somebody", "caller, client"),
    ("anybody", "any client"),
    ("nobody", "no client, anonymous"),
    ("lent", "replayed"),
    ("begun", "started"),
    ("hopeless", "deadline_filter, deadline_exceeded"),
    ("leaving", "shutdown, draining"),
    ("heirs", "defaults"),
    ("town", "sim_fleet"),
    ("till", "harness, checkout"),
    ("storm", "fault_schedule"),
    ("calm", "recovery, unloaded"),
    ("doors", "endpoints, routes"),
];

/// The words of an identifier: `told_by` and `ToldBy` are `told` and `by`.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in identifier.chars() {
        if !c.is_ascii_alphabetic() || c.is_ascii_uppercase() && !identifier.contains('_') {
            words.push(String::new());
        }
        if c.is_ascii_alphabetic() {
            words.last_mut().unwrap().push(c.to_ascii_lowercase());
        }
    }
    words
}

/// The packages of the shared core: all `crates/bff-*` except the clients of backends.
fn core() -> Vec<Package> {
    let core = |package: &Package| {
        package.folder.starts_with("crates/bff-") && package.name != "bff-services"
    };
    packages().into_iter().filter(core).collect()
}

fn bffs() -> Vec<Package> {
    let bff = |package: &Package| package.folder.starts_with("bffs/");
    packages().into_iter().filter(bff).collect()
}

/// The folder with the Rust files of each package: `src`, or the package's folder if it has no `src`.
fn code_folders() -> Vec<String> {
    let src = |package: Package| {
        let src = match format!("{}/src", package.folder) {
            src if root().join(&src).is_dir() => src,
            // The package of the tests has no `src`.
            _ => package.folder.clone(),
        };
        if root().join(&src).is_dir() {
            src
        } else {
            package.folder
        }
    };
    packages().into_iter().map(src).collect()
}

fn report(title: &str, lines: &[String]) {
    assert!(lines.is_empty(), "{title}:\n{}", lines.join("\n"));
}

#[test]
fn packages_depend_in_the_written_directions() {
    let mut wrong = Vec::new();
    for package in packages() {
        let listed = DIRECTIONS.iter().find(|(name, _)| *name == package.name);
        let allowed: &[&str] = match listed {
            Some((_, allowed)) => allowed,
            None if package.folder.starts_with("bffs/") => &["bff-core", "bff-services"],
            None if package.name == "services-mock" => &[],
            // The fleet, the tests and the benchmarks may use every package.
            None if !package.name.starts_with("bff-") => continue,
            None => panic!("{} has no line in DIRECTIONS", package.name),
        };
        // Tests may also use test support and the mocks.
        let test_support = ["services-mock", "test-servers"];
        let is_wrong = |used: &&String| !allowed.contains(&used.as_str());
        let tests = package.dev_dependencies.iter().filter(is_wrong);
        let tests = tests.filter(|used| !test_support.contains(&used.as_str()));
        let forbidden = package.dependencies.iter().filter(is_wrong).chain(tests);
        wrong.extend(forbidden.map(|used| format!("{} depends on {used}", package.name)));
    }
    report("packages with a forbidden dependency", &wrong);
}

#[test]
fn no_crate_has_a_circle_of_imports() {
    let mut circles = Vec::new();
    for package in packages() {
        let src = match format!("{}/src", package.folder) {
            src if root().join(&src).is_dir() => src,
            // The package of the tests has no `src`.
            _ => package.folder.clone(),
        };
        let sources = sources(&src);
        let code: Vec<_> = sources
            .into_iter()
            .filter(|source| !source.is_test())
            .collect();
        for circle in Graph::new(&src, &code).circles() {
            circles.push(format!("{}:\n  {}", package.name, circle.join("\n  ")));
        }
    }
    report("files that use each other in a circle", &circles);
}

#[test]
fn identifiers_are_usual_words() {
    let mut wrong = Vec::new();
    for folder in code_folders() {
        for source in sources(&folder) {
            for identifier in source.identifiers() {
                let name = identifier.to_string();
                for word in words(&name) {
                    let banned = WORDS.iter().find(|(banned, _)| *banned == word);
                    if let Some((banned, usual)) = banned {
                        let line = identifier.span().start().line;
                        let place = format!("{}:{line}: `{name}`", source.path);
                        wrong.push(format!("{place}: instead of `{banned}` use {usual}"));
                    }
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    report("identifiers with unusual words", &wrong);
}

#[test]
fn the_core_names_no_domain() {
    const NOUNS: [&str; 7] = [
        "product",
        "review",
        "inventory",
        "payment",
        "playback",
        "cart",
        "orders",
    ];
    let mut wrong = Vec::new();
    for package in core() {
        for source in sources(&format!("{}/src", package.folder)) {
            if source.is_test() {
                continue;
            }
            let text = source.text_without_tests();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for (line, word) in
                code.flat_map(|line| words(line).into_iter().map(move |word| (line, word)))
            {
                // `MAX_PRODUCT` is a product of two numbers.
                if NOUNS.contains(&word.as_str()) && !line.contains("MAX_PRODUCT") {
                    wrong.push(format!("{}: {word}", source.path));
                }
            }
        }
    }
    report("nouns of the domain in the core", &wrong);
}

#[test]
fn screens_and_services_name_no_http() {
    let mut wrong = Vec::new();
    for source in sources("crates/bff-services/src") {
        if source.text.contains("axum") {
            wrong.push(format!("{}: axum", source.path));
        }
    }
    for bff in bffs() {
        for source in sources(&format!("{}/src", bff.folder)) {
            let inner = source.path.strip_prefix(&bff.folder).unwrap();
            let pure = ["/src/screens", "/src/actions"];
            if !pure.iter().any(|folder| inner.starts_with(folder)) {
                continue;
            }
            for word in ["axum", "StatusCode", "HeaderMap", "HeaderValue"] {
                if source.text_without_tests().contains(word) {
                    wrong.push(format!("{}: {word}", source.path));
                }
            }
        }
    }
    report("HTTP in screens, actions or clients", &wrong);
}

#[test]
fn no_bff_names_another() {
    let bffs = bffs();
    let mut wrong = Vec::new();
    for bff in &bffs {
        for source in sources(&bff.folder) {
            for other in bffs.iter().filter(|other| other.name != bff.name) {
                if source.text.contains(&other.name.replace('-', "_")) {
                    wrong.push(format!("{} names {}", source.path, other.name));
                }
            }
        }
    }
    report("BFFs that name each other", &wrong);
}

#[test]
fn inbound_and_outbound_never_name_each_other() {
    for source in sources("crates/bff-core/src") {
        let inbound = source.path.contains("src/inbound");
        let text = source.text_without_tests();
        for outbound in ["outbound::", "bff_upstream::"] {
            assert!(!(inbound && text.contains(outbound)), "{}", source.path);
        }
    }
}

#[test]
fn files_are_short_and_nothing_unwraps() {
    let mut wrong = Vec::new();
    for folder in code_folders() {
        let all_tests = TEST_PACKAGES.contains(&folder.as_str());
        for source in sources(&folder) {
            let path = &source.path;
            if path.ends_with("/mod.rs") {
                wrong.push(format!(
                    "{path}: use a file with the name of the folder, beside it"
                ));
            }
            if all_tests || source.is_test() {
                continue;
            }
            let lines = source.lines_without_tests();
            if lines > MAX_LINES {
                wrong.push(format!("{path}: {lines} lines before its tests"));
            }
            if source.text_without_tests().contains(".unwrap()") {
                wrong.push(format!("{path}: calls unwrap"));
            }
        }
    }
    report("files that break a rule", &wrong);
}

#[test]
fn the_readme_is_short() {
    let lines = file("README.md").unwrap().lines().count();
    assert!(lines <= 150, "README.md has {lines} lines");
}

#[test]
fn the_vendored_protocol_is_the_published_one() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let code = |text: String| -> Vec<String> {
        let lines = text.lines().map(|line| {
            line.split("//")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        });
        lines.filter(|line| !line.is_empty()).collect()
    };
    let vendored = code(read("crates/bff-services/proto/playback.proto"));
    assert_eq!(vendored, code(read("services-mock/proto/playback.proto")));
}
