//! The configuration's JSON Schema says what the reader does: every key with every kind of value is given to both, and
//! every configuration that the documentation shows is valid.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

#[path = "schema/validator.rs"]
mod validator;

use proem::cli::parse;
use proem::config::{Mode, known, schema, understand};
use proem::os::environ::Environment;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use support::proem::proem;
#[cfg(feature = "consul")]
use support::read;
use validator::Validator;

/// Values of every kind, and for every shape of text one that has it.
const VALUES: &[&str] = &[
    r#""""#,
    r#""x""#,
    r#""x y""#,
    r#""2s""#,
    r#""1h30m""#,
    r#""30s1m""#,
    r#""1.5s""#,
    r#"".s""#,
    r#""0s""#,
    r#""60""#,
    r#""256MiB""#,
    r#""2GiB""#,
    r#""64M""#,
    r#""64X""#,
    r#""none""#,
    r#""0644""#,
    r#""07777""#,
    r#""10000""#,
    r#""0788""#,
    r#""7""#,
    r#""0777""#,
    r#""1000""#,
    r#""0""#,
    r#""64""#,
    r#""65""#,
    r#""HUP""#,
    r#""sigterm""#,
    r#""SIGFOO""#,
    r#""RTMIN+3""#,
    r#""rtmax""#,
    r#""restart""#,
    r#""main:HUP""#,
    r#""main:restart""#,
    r#""web:HUP""#,
    r#""main:exit""#,
    r#""exit""#,
    r#""drop""#,
    r#""app:web""#,
    r#"":web""#,
    r#""app:""#,
    r#"":""#,
    r#""a:b:c""#,
    r#""json""#,
    r#""yaml""#,
    r#""shell""#,
    r#""text""#,
    r#""debug""#,
    r#""Debug""#,
    r#""tcp:db:5432""#,
    r#""file:/run/x""#,
    r#""ftp:x""#,
    r#""chown""#,
    r#""CAP_NET_ADMIN""#,
    r#""env:APP_""#,
    r#""consul""#,
    r#""/a/b""#,
    r#""é""#,
    "0",
    "1",
    "7",
    "64",
    "65",
    "-1",
    "-2",
    "300",
    "1.5",
    "true",
    "false",
    "1979-05-27",
    "[]",
    r#"["x"]"#,
    r#"["x", "y"]"#,
    r#"[""]"#,
    r#"["", "x"]"#,
    r#"["x", ""]"#,
    "[7]",
    r#"[["x"]]"#,
    "[true]",
    r#"["HUP"]"#,
    r#"["HUP", "exit"]"#,
    r#"["tcp:db:5432"]"#,
    r#"["tcp:db:5432", "x"]"#,
    r#"["chown"]"#,
    r#"["env:"]"#,
    "{}",
    r#"{ x = "x" }"#,
    r#"{ run = ["x"] }"#,
    r#"{ run = "x" }"#,
    r#"{ probe = "tcp:db:5432" }"#,
    r#"{ probe = "tcp:db:5432", every = "1s", failures = 2 }"#,
    "{ fd = 3 }",
    r#"{ probe = "tcp:db:5432", within = "5s" }"#,
    r#"{ run = ["x"], within = "5s" }"#,
    r#"{ probe = "tcp:db:5432", run = ["x"] }"#,
    r#"{ run = ["x"], method = "PUT" }"#,
    r#"{ post = "ftp://h" }"#,
    r#"{ post = "http://h/x" }"#,
    r#"{ post = "https://h:1/x", method = "PUT", expect = ["2xx", 204], timeout = "1s" }"#,
    r#"{ post = "http://h/x", expect = [] }"#,
    r#"{ post = "http://h/x", expect = "6xx" }"#,
    r#"{ post = "http://h/x", headers = { X-A = "y" } }"#,
    r#"{ post = "http://h/x", headers = { Host = "y" } }"#,
    r#"{ post = "http://h:0/x" }"#,
    r#"{ post = "http://h/x", method = "put" }"#,
    r#"{ post = "http://h", run = ["x"] }"#,
    r#"{ signal = "HUP", pid_file = "/run/x" }"#,
    r#"{ signal = 1, exe = "/x" }"#,
    r#"{ signal = "HUP", pid_file = "/run/x", exe = "/x" }"#,
    r#"{ signal = "HUP" }"#,
    r#"{ exe = "/x" }"#,
    r#"{ signal = "HUP", exe = "x" }"#,
    r#"{ signal = "FOO", exe = "/x" }"#,
    r#"{ signal = "HUP", exe = "/x", timeout = "1s" }"#,
    r#"{ signal = "HUP", exe = "/x", run = ["x"] }"#,
    r#"{ touch = "/x" }"#,
    r#"{ touch = "x" }"#,
    r#"{ touch = "/x", timeout = "1s" }"#,
    "{ touch = 7 }",
    "{ fd = 2 }",
    "{ notify = true }",
    r#"{ fd = 3, every = "1s" }"#,
    r#"{ fd = 3, probe = "tcp:db:5432" }"#,
    "{ run = [] }",
    r#"{ timeout = "2s" }"#,
    r#"{ run = ["x"], timeout = "2s" }"#,
    r#"{ run = ["x"], timeout = "2" }"#,
    r#"{ run = ["x"], x = 1 }"#,
    r#"[{ run = ["x"] }, "HUP"]"#,
    r#"{ HUP = "USR1" }"#,
    r#"{ sighup = "none", 3 = "" }"#,
    "{ HUP = 1 }",
    "{ 143 = 0 }",
    r#"{ 143 = "0" }"#,
    "{ 143 = 256 }",
    "{ 256 = 0 }",
    r#"{ 143 = "x" }"#,
    "{ nofile = 1024 }",
    r#"{ nofile = "1024:4096" }"#,
    r#"{ nofile = "64MiB" }"#,
    r#"{ memlock = "64MiB" }"#,
    r#"{ core = "0:unlimited", nproc = -1 }"#,
    "{ nofile = -2 }",
    "{ nofile = true }",
];

/// Keys that say something about the others of their table: each is looked at by itself.
const ALONE: &[&str] = &["from", "to", "group", "kind", "after", "prune"];

/// Keys that only the process that signals go to has, which depends on `essential`.
const OF_MAIN: &[&str] = &["rewrite", "drain", "shutdown_timeout", "parent_death_signal"];

/// The strings of a value, or of a list.
fn strings(value: &str) -> Vec<String> {
    let value = as_json(&format!("v = {value}"))["v"].clone();
    let items = value.as_array().cloned().unwrap_or(vec![value]);
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A document with some keys of a section in it, and what they need beside them: its text, and the keys' lines. What is
/// wrong on other lines does not count.
fn document(section: &str, keys: &[&str], value: &str) -> (String, Vec<u32>) {
    let mut text = String::new();
    let mut beside: Vec<(&str, &str)> = Vec::new();
    match section {
        "" => {}
        "template" => {
            // A group of that name, so that only the shape of the name is looked at.
            if keys == ["group"] && value.starts_with('"') {
                let _ = writeln!(text, "[group.{value}]");
            } else {
                beside.push(("check", "[\"true\"]"));
            }
            text.push_str("[process.web]\ncommand = [\"x\"]\n");
            // Only directories are pruned.
            let (from, to) =
                if keys == ["prune"] { ("\"a/\"", "\"/nowhere/a/\"") } else { ("\"a.tera\"", "\"/nowhere/a\"") };
            beside.extend([("from", from), ("to", to)]);
            text.push_str("[template.a]\n");
        }
        "group" => {
            text.push_str("[process.web]\ncommand = [\"x\"]\n[template.a]\nfrom = \"a.tera\"\nto = \"/nowhere/a\"\ngroup = \"g\"\n[group.g]\n");
            beside.push(("check", "[\"true\"]"));
        }
        "dir" => text.push_str("[dir.\"/nowhere/a\"]\n"),
        section => {
            // The processes that `after` names, so that only its shape is looked at.
            for name in strings(value).iter().filter(|name| keys == ["after"] && !name.contains([':', '/'])) {
                let _ = writeln!(text, "[process.{name:?}]\ncommand = [\"x\"]");
            }
            let _ = writeln!(text, "[{section}]");
        }
    }
    for (key, value) in beside.into_iter().filter(|(key, _)| !keys.contains(key)) {
        let _ = writeln!(text, "{key} = {value}");
    }
    let first = u32::try_from(text.lines().count()).unwrap() + 1;
    for key in keys {
        let _ = writeln!(text, "{key} = {value}");
    }
    (text, (first..).take(keys.len()).collect())
}

/// What the reader has against the line of each key.
fn complaints(folder: &Path, text: &str, lines: &[u32]) -> Vec<Option<String>> {
    let file = folder.join("proem.toml");
    std::fs::write(&file, text).unwrap();
    let args = ["proem", "check"].map(Into::into).to_vec();
    let understood = understand(&parse(args).unwrap(), &Environment::new(), Mode::Check, folder);
    let all: Vec<String> =
        understood.mistakes.iter().flat_map(|failure| &failure.complaints).map(ToString::to_string).collect();
    let about = |line: &u32| {
        let place = format!("{}:{line}:", file.display());
        // Which sources there are is not for a schema to know.
        let seen = |said: &&String| said.starts_with(&place) && !said.contains("`env_from`: there is no source");
        all.iter().find(seen).cloned()
    };
    lines.iter().map(about).collect()
}

/// TOML as JSON, as an editor's checker sees it.
fn as_json(text: &str) -> Value {
    fn convert(value: toml::Value) -> Value {
        match value {
            // JSON has no such thing.
            toml::Value::Datetime(_) => Value::Null,
            toml::Value::Array(items) => items.into_iter().map(convert).collect(),
            toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, convert(value))).collect(),
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) => number.into(),
            toml::Value::Boolean(boolean) => boolean.into(),
        }
    }
    convert(toml::Value::Table(text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))))
}

/// Every section, and all the keys that its tables take, with one that they do not.
fn sections() -> Vec<(String, Vec<&'static str>)> {
    let with_nonsense = |keys: &[known::Key]| [known::names(keys), vec!["nonsense"]].concat();
    let mut sections = vec![(String::new(), with_nonsense(known::TOP))];
    for section in known::NAMED {
        if section.name == "process" {
            sections.push(("process.main".to_owned(), with_nonsense(section.keys)));
            let beside = with_nonsense(section.keys).into_iter().filter(|key| !OF_MAIN.contains(key));
            sections.push(("process.web".to_owned(), beside.collect()));
            continue;
        }
        sections.push((section.name.to_owned(), with_nonsense(section.keys)));
    }
    for (kind, settings) in known::STORES {
        sections.push((format!("store.{kind}"), [with_nonsense(settings), vec!["kind"]].concat()));
    }
    sections.push(("source".to_owned(), vec!["app", "if", "\"a-b\""]));
    sections
}

#[test]
fn the_schema_accepts_what_the_reader_accepts_and_nothing_else() {
    let folder = support::folder();
    let validator = Validator::new(schema::document());
    let mut different = String::new();
    let (mut accepted, mut refused) = (0, 0);
    for (section, keys) in sections() {
        let (alone, together): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| ALONE.contains(key));
        for keys in alone.iter().map(std::slice::from_ref).chain([together.as_slice()]) {
            for value in VALUES {
                let (text, lines) = document(&section, keys, value);
                let complaints = complaints(folder.path(), &text, &lines);
                for (key, complaint) in keys.iter().zip(complaints) {
                    let (text, _) = document(&section, &[key], value);
                    if complaint.is_none() != validator.accepts(&as_json(&text)) {
                        let reader = complaint.as_deref().unwrap_or("accepts it");
                        let _ = writeln!(different, "[{section}] {key} = {value}: the reader: {reader}");
                    }
                    *if complaint.is_none() { &mut accepted } else { &mut refused } += 1;
                }
            }
        }
    }
    assert_eq!(different, "");
    // Neither side may have said yes, or no, to everything.
    assert!(accepted > 700 && refused > 3000, "{accepted} accepted, {refused} refused");
}

#[test]
fn a_reference_may_become_anything() {
    let validator = Validator::new(schema::document());
    for text in
        ["wait = \"${WAIT:-2s}\"", "log = \"${LEVEL}\"", "[process.main]\nstop_signal = \"${S}\"\numask = \"0${M}\""]
    {
        assert!(validator.accepts(&as_json(text)), "{text}");
    }
    assert!(!validator.accepts(&as_json("wait = \"$WAIT\"")));
}

/// Every configuration in the repository: `proem.toml` of examples, and the `toml` blocks of the documentation.
#[cfg(feature = "consul")]
#[test]
fn every_configuration_that_is_shown_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let validator = Validator::new(schema::document());
    let mut shown = 0;
    let mut folders = vec![root.join("docs"), root.join("examples"), root.join("templates")];
    let mut files = vec![root.join("README.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let blocks: Vec<String> = if name == "proem.toml" || path.parent().unwrap().ends_with("conf.d") {
            vec![read(&path)]
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = read(&path);
            text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
        } else {
            Vec::new()
        };
        for block in blocks {
            assert!(
                validator.accepts(&as_json(&block)),
                "{}: this is no valid configuration:\n{block}",
                path.display()
            );
            shown += 1;
        }
    }
    assert!(shown >= 2, "only {shown} configurations were found");
}

#[test]
fn proem_schema_prints_it() {
    let output = proem(["schema"]).output();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let printed: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(printed, schema::document());
    assert_eq!(printed["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(printed["properties"]["wait"]["$ref"], "#/$defs/duration");
    let about = "how long start waits for stores, probes and values that are not there yet. Default: `60s`";
    assert_eq!(printed["properties"]["wait"]["description"], about);
}
