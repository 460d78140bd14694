//! Tidiness that no lint sees: the order of the core's modules, words that are not ours, and a corpus folder and a
//! page for every verb.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the core from the ground up. A module may use its own level and those below. History, upkeep and
/// backup stand on one level and never use one another.
const LEVELS: &[&[&str]] = &[
    &["ids", "error", "env", "grants", "schema", "catalog", "rows", "jobs", "health", "room"],
    &["log", "hot", "cold"],
    &["store"],
    &["moment", "scan"],
    &["txn", "when"],
    &["db"],
    &["history", "upkeep", "backup"],
];

/// The verbs of history: each has `slt/<verb>/` and `docs/guide/<page>.md`.
const VERBS: &[(&str, &str)] = &[
    ("snapshot", "snapshot"),
    ("restore", "restore"),
    ("clone", "clone"),
    ("diff", "diff"),
    ("undo", "undo"),
    ("undrop", "undrop"),
    ("time_travel", "time-travel"),
    ("commits", "commits"),
    ("recovery_points", "recovery-points"),
    ("pitr", "pitr"),
    ("retention", "retention"),
    ("schedule", "schedule"),
    ("jobs", "jobs"),
    ("collect", "collect"),
    ("check", "check"),
    ("transactions", "transactions"),
    ("access", "users"),
];

/// Words that must not stand in a file, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("TODO", "nothing, and do it; or say what is missing where users read it"),
    ("FIXME", "a test that shows it, or the fix"),
    ("HACK", "why it must be so"),
    ("tombstone", "delete, or deletion vector"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns all files below `folder` whose name ends with `ending`; none if the folder is missing.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.map(|entry| entry.expect("a folder of the repository can be listed").path()) {
        if entry.is_dir() {
            found.extend(files(&entry, ending));
        } else if entry.to_string_lossy().ends_with(ending) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|modules| modules.contains(&module))
}

/// Returns why a file of `module` may not use `used`, if so.
fn upward(module: &str, used: &str) -> Option<String> {
    let (own, other) = (level(module)?, level(used)?);
    let top = LEVELS.len() - 1;
    if other > own {
        Some(format!("`{module}` is below `{used}`"))
    } else if own == top && other == top && module != used {
        Some(format!("`{module}` and `{used}` are siblings"))
    } else {
        None
    }
}

/// Returns the modules that a source names as `crate::module` outside comments; groups such as
/// `crate::{ids, log::Pin}` are taken apart.
fn used_modules(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut used = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let rest = &code[at + prefix.len()..];
        if !rest.starts_with('{') {
            used.push(word(rest));
            continue;
        }
        let mut depth = 0;
        let mut expects_name = false;
        for (at, c) in rest.char_indices() {
            match c {
                '{' => {
                    depth += 1;
                    expects_name = depth == 1;
                }
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                ',' => expects_name = depth == 1,
                c if expects_name && !c.is_whitespace() => {
                    used.push(word(&rest[at..]));
                    expects_name = false;
                }
                _ => {}
            }
        }
    }
    used
}

#[test]
fn modules_use_only_what_is_below_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in files(&source, ".rs") {
        let below = file.strip_prefix(&source).expect("listed below src");
        let first = below.components().next().expect("a file has a name").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        if level(module).is_none() {
            wrong.push(format!("{}: the module `{module}` has no place in LEVELS", below.display()));
        }
        let problems = used_modules(&read(&file)).into_iter().filter_map(|used| upward(module, &used));
        wrong.extend(problems.map(|why| format!("{}: {why}", below.display())));
    }
    assert!(wrong.is_empty(), "uses that go up:\n{}", wrong.join("\n"));
}

#[test]
fn an_upward_use_is_found() {
    let source = "use crate::{ids::{Version, Time}, history::restore};\n// use crate::db;\nfn f() { crate::scan::g() }";
    assert_eq!(used_modules(source), ["ids", "history", "scan"]);
    assert!(upward("log", "history").is_some());
    assert!(upward("history", "upkeep").is_some());
    assert!(upward("history", "log").is_none());
    assert!(upward("log", "cold").is_none());
}

#[test]
fn no_banned_words() {
    let mut wrong = Vec::new();
    for folder in ["crates", "xtask", "docs", "slt", "tests"] {
        for ending in [".rs", ".md", ".slt", ".py", ".sql"] {
            for file in files(&root().join(folder), ending) {
                if file.ends_with("tests/tidy.rs") {
                    continue;
                }
                let text = read(&file);
                let found = BANNED.iter().filter(|(word, _)| text.contains(word));
                wrong.extend(found.map(|(word, instead)| format!("{}: '{word}': write {instead}", file.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_verb_has_its_corpus_and_its_page() {
    let mut missing = Vec::new();
    for (verb, page) in VERBS {
        if files(&root().join("slt").join(verb), ".slt").is_empty() {
            missing.push(format!("slt/{verb}/ has no .slt file"));
        }
        if !root().join(format!("docs/guide/{page}.md")).is_file() {
            missing.push(format!("docs/guide/{page}.md is missing"));
        }
    }
    // A verb that the core gains must stand above.
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/history"), ".rs") {
        let verb_file = file.parent().is_some_and(|folder| folder.ends_with("history"));
        let name = file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        let known = matches!(name.as_str(), "mod" | "tests") || VERBS.iter().any(|(verb, _)| *verb == name);
        if verb_file && !known {
            missing.push(format!("history/{name}.rs is a verb that VERBS does not have"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut pages = files(&root().join("docs"), ".md");
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "STYLE.md", "CHANGELOG.md"];
    pages.extend(top.map(|name| root().join(name)));
    let mut broken = Vec::new();
    for page in pages {
        let text = read(&page);
        for (at, mark) in text.match_indices("](") {
            let link = text[at + mark.len()..].split(')').next().unwrap_or_default();
            let target = link.split('#').next().unwrap_or_default();
            let outside = target.is_empty() || target.contains("://");
            if !outside && !page.parent().expect("a page lies in a folder").join(target).exists() {
                broken.push(format!("{} → {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// A value in the text of a statement to the metastore is a way in for whoever chooses the value.
#[test]
fn statements_to_the_metastore_take_values_as_parameters() {
    let folder = root().join("crates/core/src/log");
    let mut texts = Vec::new();
    for file in files(&folder, ".rs") {
        let text = read(&file);
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text).to_owned();
        if !file.ends_with("tests.rs") {
            texts.push((file.display().to_string(), product));
        }
    }
    let sql = texts.iter().filter(|(_, text)| text.contains("SELECT ")).count();
    assert!(sql >= 2, "the statements are elsewhere: {texts:?}");
    let built: Vec<String> = texts
        .iter()
        .flat_map(|(file, text)| built_statements(text).into_iter().map(move |line| format!("{file}: {line}")))
        .collect();
    assert!(built.is_empty(), "bind the value instead:\n{}", built.join("\n"));
}

/// Returns the texts of `format!` that are SQL. A PRAGMA takes no parameters: its one use has a number of ours.
fn built_statements(source: &str) -> Vec<String> {
    const VERBS: [&str; 7] = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE ", "ATTACH ", "DROP "];
    let texts = source.split("format!(").skip(1).map(|rest| rest.trim_start().split('"').nth(1).unwrap_or_default());
    texts.filter(|text| VERBS.iter().any(|verb| text.trim_start().starts_with(verb))).map(str::to_owned).collect()
}

#[test]
fn a_built_statement_is_found() {
    let source = r#"let sql = format!("SELECT * FROM entry WHERE name = '{name}'"); let other = format!(
        "DELETE FROM {table}"); format!("The pin {id} is gone."); format!("PRAGMA incremental_vacuum({pages})")"#;
    assert_eq!(built_statements(source).len(), 2);
}
