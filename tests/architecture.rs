//! Keeps the tree as the design draws it: who may name whom, where `unsafe` and glommio may stand, how long a file may
//! be. It reads the sources as tokens, so neither comments nor strings count, and paths inside macros do.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops where it stands")]

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `shards` and what each may name: a room, or one type of it. A room may always name itself.
const ROOMS: &[(&str, &[&str])] = &[
    ("io", &[]),
    // The wheel turns in the seam's time.
    ("store", &["io::Instant"]),
    // The response writer writes straight into an outbox, and a Date.
    ("wire", &["io::Reply", "io::UnixTime"]),
    ("transaction", &["io", "store", "wire"]),
    ("location", &["io", "store", "wire"]),
    ("uas", &["io", "store", "wire", "transaction", "location"]),
    // RFC 3261 22.2: a challenge is the refusal of a UAS, and made for an address-of-record.
    ("auth", &["io", "store", "wire", "location", "uas"]),
    // RFC 3261 10.3: a registrar is a UAS; it answers and refuses as one.
    ("registrar", &["io", "store", "wire", "transaction", "location", "uas"]),
    // RFC 3261 22.3: a proxy asks for credentials, and refuses as a UAS does.
    ("proxy", &["io", "store", "wire", "transaction", "location", "auth", "uas"]),
    (
        "shard",
        &["io", "store", "wire", "transaction", "location", "auth", "registrar", "proxy", "uas"],
    ),
];

/// The crates of the workspace and those of them each may name.
const CRATES: &[(&str, &str, &[&str])] = &[
    ("shards/src", "shards", &[]),
    // It lies within src, since it is the first step of the configuration.
    ("src/config/toml-tree/src", "toml_tree", &[]),
    ("bench/src", "bench", &["shards", "toml_tree"]),
    ("src", "seawall", &["shards", "bench", "toml_tree"]),
];

/// The files of `src` that may name `bench`: those of these subcommands.
const BENCH_IS_FOR: &[&str] = &["storm", "plan"];

/// A test whose subject is unsafe by nature: an allocator that counts.
const UNSAFE_ELSEWHERE: &[&str] = &["perf/tests/allocations.rs"];

const FILE_LINES_MAX: usize = 700;

#[test]
fn rooms_of_a_shard_only_name_rooms_below_them() {
    let mut wrong = Vec::new();
    for source in sources(&["shards/src"]) {
        let Some(room) = source.module.first() else { continue };
        let Some((_, below)) = ROOMS.iter().find(|(name, _)| name == room) else {
            wrong.push(format!("{}: `{room}` is no room of the design", source.name));
            continue;
        };
        for path in source.paths_of_the_product() {
            if path.first().map(String::as_str) != Some("crate") {
                continue;
            }
            let Some(other) = path.get(1) else { continue };
            let inside = path[1..].join("::");
            let allowed =
                below.iter().any(|one| inside == *one || inside.starts_with(&format!("{one}::")));
            if ROOMS.iter().any(|(name, _)| name == other) && other != room && !allowed {
                wrong.push(format!("{}: {room} names {}", source.name, path.join("::")));
            }
        }
    }
    assert_none(wrong, "arrows between the rooms of shards go one way");
}

#[test]
fn crates_only_name_crates_below_them() {
    let mut wrong = Vec::new();
    for (folder, krate, below) in CRATES {
        for source in sources(&[folder]) {
            for path in source.paths() {
                // A path of one step is a local name.
                let [other, _, ..] = path.as_slice() else { continue };
                if CRATES.iter().all(|(_, name, _)| name != other) || other == krate {
                    continue;
                }
                let for_a_subcommand =
                    source.module.iter().any(|module| BENCH_IS_FOR.contains(&module.as_str()));
                if !below.contains(&other.as_str())
                    || (*krate == "seawall" && other == "bench" && !for_a_subcommand)
                {
                    wrong.push(format!("{}: {krate} names {}", source.name, path.join("::")));
                }
            }
        }
    }
    assert_none(wrong, "arrows between crates go one way");
}

#[test]
fn a_shard_is_pure() {
    let root = fs::read_to_string(workspace().join("shards/src/lib.rs")).unwrap();
    assert!(root.lines().any(|line| line == "#![no_std]"), "shards is no_std");
    assert!(
        root.lines().any(|line| line == "#![forbid(unsafe_code)]"),
        "shards forbids unsafe code"
    );
    let mut wrong = Vec::new();
    for source in sources(&["shards/src"]) {
        for path in source.paths_of_the_product() {
            if path[0] == "std" {
                wrong.push(format!("{}: {}", source.name, path.join("::")));
            }
        }
    }
    assert_none(wrong, "a shard has no clock, thread, file or socket: it never names std");
}

#[test]
fn glommio_is_named_in_one_file() {
    let files: Vec<String> = sources(ALL)
        .into_iter()
        .filter(|source| source.idents().any(|ident| ident == "glommio"))
        .map(|source| source.name)
        .collect();
    assert_eq!(files, ["src/readiness/uring.rs"], "glommio is named in one file");
}

#[test]
fn unsafe_code_stands_in_sys_modules_only() {
    let wrong = sources(ALL)
        .into_iter()
        .filter(|source| !source.module.iter().any(|module| module == "sys"))
        .filter(|source| !UNSAFE_ELSEWHERE.contains(&source.name.as_str()))
        .filter(|source| source.idents().any(|ident| ident == "unsafe"))
        .map(|source| source.name)
        .collect();
    assert_none(wrong, "unsafe code stands in modules named sys");
}

#[test]
fn a_file_tells_one_story() {
    let wrong = sources(ALL)
        .into_iter()
        .filter(|source| source.lines > FILE_LINES_MAX)
        .map(|source| format!("{}: {} lines", source.name, source.lines))
        .collect();
    assert_none(wrong, "a file has at most 700 lines");
}

fn assert_none(mut wrong: Vec<String>, rule: &str) {
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{rule}, but:\n  {}", wrong.join("\n  "));
}

/// Every folder with sources of ours.
const ALL: &[&str] = &["src", "shards", "bench", "perf", "tests"];

/// One source file.
struct Source {
    /// Its path in the workspace, for reports.
    name: String,
    /// The module it is, from the root of its crate.
    module: Vec<String>,
    tokens: TokenStream,
    lines: usize,
}

impl Source {
    /// Every path the file names, with `super` and `self` resolved and groups of `use` taken apart.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        collect_paths(self.tokens.clone(), &self.module, &|_| true, &mut paths);
        paths
    }

    /// The same without what stands in modules named `tests`.
    fn paths_of_the_product(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let product = |module: &[String]| module.iter().all(|name| name != "tests");
        collect_paths(self.tokens.clone(), &self.module, &product, &mut paths);
        paths
    }

    fn idents(&self) -> impl Iterator<Item = String> {
        let mut idents = Vec::new();
        collect_idents(self.tokens.clone(), &mut idents);
        idents.into_iter()
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut files = Vec::new();
    for folder in folders {
        collect_files(&workspace().join(folder), &mut files);
    }
    files.iter().map(|file| read(file)).collect()
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(file: &Path) -> Source {
    let name = file.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(file).unwrap();
    let tokens = text.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
    let inside = name.rsplit_once("src/").map_or(name.as_str(), |(_, inside)| inside);
    let mut module: Vec<String> =
        inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    Source { name, module, tokens, lines: text.lines().count() }
}

fn collect_idents(tokens: TokenStream, idents: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => idents.push(ident.to_string()),
            TokenTree::Group(group) => collect_idents(group.stream(), idents),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn collect_paths(
    tokens: TokenStream,
    module: &[String],
    wanted: &dyn Fn(&[String]) -> bool,
    paths: &mut Vec<Vec<String>>,
) {
    if !wanted(module) {
        return;
    }
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(ident) if *ident == "mod" => {
                // `mod name { .. }`: what stands inside is one level deeper.
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    let inner: Vec<String> =
                        module.iter().cloned().chain([name.to_string()]).collect();
                    collect_paths(body.stream(), &inner, wanted, paths);
                    at += 3;
                } else {
                    at += 1;
                }
            }
            TokenTree::Ident(_) => at = path_from(&tokens, at, &[], module, paths),
            TokenTree::Group(group) => {
                collect_paths(group.stream(), module, wanted, paths);
                at += 1;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
        }
    }
}

/// Reads the path that starts at `at`, after `prefix`; returns where it ends.
fn path_from(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    module: &[String],
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                // `use a::{b, c::d}`
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let mut start = 0;
                while start < inner.len() {
                    let end = path_from(&inner, start, &path, module, paths);
                    start = end.max(start + 1);
                    while start < inner.len() && !is_punct(inner.get(start - 1), ',') {
                        start += 1;
                    }
                }
                return at + 1;
            }
            Some(TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_)) | None => break,
        }
        at += 1;
        if !(is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')) {
            break;
        }
        at += 2;
    }
    paths.push(resolve(path, module));
    at.max(1)
}

fn is_punct(token: Option<&TokenTree>, punct: char) -> bool {
    matches!(token, Some(TokenTree::Punct(found)) if found.as_char() == punct)
}

/// `super::x` in module `a::b` is `crate::a::x`.
fn resolve(path: Vec<String>, module: &[String]) -> Vec<String> {
    if !matches!(path.first().map(String::as_str), Some("super" | "self")) {
        return path;
    }
    let mut base = module.to_vec();
    let mut rest = path.into_iter().peekable();
    while let Some(step) = rest.next_if(|step| step == "super" || step == "self") {
        if step == "super" {
            base.pop();
        }
    }
    ["crate".to_owned()].into_iter().chain(base).chain(rest).collect()
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = r#"
        //! crate::comment::is_no_path
        use crate::{io::{Peer, self}, shard};
        use super::super::wire;
        fn f() -> Option<crate::location::Domains> { assert!(crate::store::X > "crate::text".len()); None }
        mod tests { use super::*; use super::super::registrar::Policy; }
    "#;
    let source = Source {
        name: String::new(),
        module: vec!["location".into(), "record".into()],
        tokens: text.parse().unwrap(),
        lines: 0,
    };
    let found: Vec<String> = source.paths().iter().map(|path| path.join("::")).collect();
    for path in [
        "crate::io::Peer",
        "crate::shard",
        "crate::wire",
        "crate::location::Domains",
        "crate::store::X",
        "crate::location::registrar::Policy",
    ] {
        assert!(found.iter().any(|one| one == path), "{path} is missing in {found:?}");
    }
    assert!(!found.iter().any(|one| one.contains("comment") || one.contains("text")));
}
