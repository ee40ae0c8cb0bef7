//! `proem check`: what it finds, says and exits with. Exact, because CI reads it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use proem::template::{Escape, Input, Survey};
use support::proem::{Output, proem};
use support::{folder, text, write};
use tempfile::TempDir;

/// Every kind of mistake, in every place where one can be.
const FILES: &[(&str, &str)] = &[
    (
        "proem.toml",
        r#"wiat = "1s"
settle = "5"
template_dir = "templates"

[source]
app = "env:APP_"
db = "file:/db.json?format=jsn"

[template.names]
from = "names.tera"
to = "out/names"
reload = "HUPP"

[template.files]
from = "files.tera"
to = "out/files"

[template.broken]
from = "broken.tera"
to = "out/broken"
group = "nope"

[template.gone]
from = "gone.tera"
to = "out/gone"
"#,
    ),
    (
        "templates/names.tera",
        r#"{{ apq.host | uper }}{{ app.list | truncate(len=3) }}
{% if app.on is definde %}{{ dbb.x }}{% else %}{{ lookup(key="x") }}{% endif %}
{{ db.x | default(valeu=1) }}{{ db.y | round(precision="two") }}
"#,
    ),
    ("templates/files.tera", "{% include \"part.tera\" %}\n{% include \"missing.tera\" %}{{ nothing }}\n"),
    ("templates/part.tera", "{{ ap.x }} {% include \"files.tera\" %}\n"),
    ("templates/broken.tera", "{{ app.a | upper }}{{ ap.b }}\n{% if app.c %}{{ app.d | }}{{ never.seen }}\n"),
];

fn written(files: &[(&str, &str)]) -> TempDir {
    let dir = folder();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap(), content);
    }
    dir
}

fn check(dir: &TempDir, args: &[&str]) -> Output {
    let mut output = proem(["check"]).args(args.iter().copied()).dir(dir.path()).output();
    let folder = format!("{}/", text(dir.path()));
    output.stdout = output.stdout.replace(&folder, "DIR/");
    output.stderr = output.stderr.replace(&folder, "DIR/");
    output
}

fn ended(code: i32, stdout: &str, stderr: &str) -> Output {
    Output { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() }
}

#[test]
fn every_mistake_of_configuration_and_templates_is_said_at_once() {
    let dir = written(FILES);
    assert_eq!(check(&dir, &["-c", "proem.toml"]), ended(78, "", include_str!("check/mistakes.txt")));
}

#[test]
fn the_same_as_one_document() {
    let dir = written(FILES);
    let output = check(&dir, &["-c", "proem.toml", "--format", "json"]);
    let last = "proem: exit 78: 22 mistakes in configuration and templates\n";
    assert_eq!(output, ended(78, include_str!("check/mistakes.json"), last));
}

#[test]
fn the_same_for_github() {
    let dir = written(FILES);
    let output = check(&dir, &["-c", "proem.toml", "--format=github"]);
    let last = "proem: exit 78: 22 mistakes in configuration and templates\n";
    assert_eq!(output, ended(78, include_str!("check/mistakes.github"), last));
}

/// What CI checks: sources that are not there, and fixtures that stand for them.
const SHOP: &[(&str, &str)] = &[
    ("app.toml", "name = \"shop\"\non = false\n[db]\nhost = \"db1\"\n"),
    ("shop.json.tera", "{ \"name\": \"{{ app.name }}\", \"db\": {{ app.db | json }} }\n"),
    ("web.tera", "{{ app.name }} {{ web.port }}\n"),
    ("sound.tera", "{% if app.on %}{{ app.never.looked.at }}{% endif %}{{ app.db.host }}\n"),
];
const SOURCES: &[&str] = &["-s", "app=env:APP_", "-s", "web=env:WEB_"];

fn shop(args: &[&str]) -> Output {
    check(&written(SHOP), &[SOURCES, args].concat())
}

#[test]
fn templates_whose_fixtures_are_all_there_are_rendered_and_the_others_named() {
    let all = ["-t", "shop.json.tera:out.json", "-t", "web.tera:web", "-t", "sound.tera:sound"];
    let with = |fixtures: &[&'static str]| shop(&[&all[..], fixtures].concat());
    assert_eq!(
        with(&["--with", "app=file:app.toml"]),
        ended(
            0,
            "ok: 3 templates checked, 2 rendered with fixtures\n  not rendered: web, which needs `--with web=URI`\n",
            ""
        )
    );
    assert_eq!(
        with(&[]).stdout,
        "ok: 3 templates checked, 0 rendered with fixtures\n  \
         not rendered: shop.json, which needs `--with app=URI`\n  \
         not rendered: web, which needs `--with app=URI --with web=URI`\n  \
         not rendered: sound, which needs `--with app=URI`\n"
    );
    let output = with(&["--with", "app=file:app.toml", "--with", "web=file:app.toml"]);
    assert_eq!(
        output,
        ended(
            65,
            "",
            "proem: exit 65: DIR/web.tera:1:19: `web.port` is not defined in file:app.toml\n    1 | {{ app.name }} {{ web.port \
             }}\n      |                   ^^^^^^^^\n  hint: beside it: db, name, on; where it may be missing, write `web.port | \
             default(value=…)`\n"
        )
    );
}

#[test]
fn what_a_fixture_renders_to_is_held_against_its_format() {
    let dir = written(
        &[SHOP, &[("proem.toml", "[template.x]\nfrom = \"web.tera\"\nto = \"x\"\nformat = \"json\"\n")]].concat(),
    );
    let args = [SOURCES, &["-c", "proem.toml", "--with", "app=file:app.toml", "--with", "web=env:WEB_"]].concat();
    let output = proem(["check", "--format", "json"]).args(args).dir(dir.path()).env("WEB_PORT", "80").output();
    assert_eq!(output.code, 65, "{}", output.stderr);
    let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let complaint = &document["complaints"][0];
    assert_eq!((&complaint["kind"], &complaint["file"]), (&"format".into(), &"web.tera".into()));
    assert!(complaint["line"].is_null() && complaint["column"].is_null());
    assert_eq!(document["summary"]["rendered"], 1);
}

#[test]
fn a_name_in_a_branch_that_is_not_taken_is_checked_too() {
    let dir = written(&[("t.tera", "{% if app.on %}{{ wbe.x }}{% endif %}"), ("app.toml", "on = false")]);
    let output = check(&dir, &[SOURCES, &["-t", "t.tera:t", "--with", "app=file:app.toml"]].concat());
    assert_eq!(output.code, 65);
    assert!(output.stderr.contains("t.tera:1:19: `wbe` is not defined\n"), "{}", output.stderr);
    assert!(
        output.stderr.contains("  hint: did you mean `web`? sources: app, container, env, web\n"),
        "{}",
        output.stderr
    );
}

#[test]
fn every_value_that_is_missing_is_said_and_none_is_shown() {
    let template = "{{ app.nmae }}\n{{ app.db.hsot | upper }}\n{% for x in app.list %}{{ x.y }}{% endfor %}\n";
    let dir = written(&[("t.tera", template), ("app.toml", "name = \"s3cret\"\ndb.host = \"s3cret\"\n")]);
    let output = check(&dir, &[SOURCES, &["-t", "t.tera:t", "--with", "app=file:app.toml"]].concat());
    let places = ["t.tera:1:4: `app.nmae`", "t.tera:2:4: `app.db.hsot`", "t.tera:3:13: `app.list`"];
    assert!(places.iter().all(|place| output.stderr.contains(place)), "{}", output.stderr);
    assert!(output.stderr.ends_with("proem: exit 65: 3 mistakes in templates and values\n"), "{}", output.stderr);
    assert!(!output.stderr.contains("s3cret"), "{}", output.stderr);
}

#[test]
fn a_fixture_for_no_source_is_a_mistake() {
    assert_eq!(
        shop(&["-t", "web.tera:w", "--with", "wbe=file:app.toml"]),
        ended(78, "", "proem: exit 78: --with: there is no source `wbe`\n  hint: did you mean `web`?\n")
    );
    // Where no source is declared, they come at run time, and the fixtures say which there are.
    let dir = written(SHOP);
    let output = check(&dir, &["-t", "sound.tera:s", "--with", "app=file:app.toml"]);
    assert_eq!(output, ended(0, "ok: 1 template checked, 1 rendered with fixtures\n", ""));
}

#[test]
fn a_fixture_does_not_hide_what_is_wrong_with_its_source() {
    let dir = written(SHOP);
    let args = ["-s", "app=evn:APP_", "-t", "sound.tera:s", "--with", "app=file:app.toml"];
    let output = check(&dir, &args);
    assert_eq!(output.code, 78);
    assert!(output.stderr.contains("source `app`: `evn:APP_`: there is no kind of source `evn`"), "{}", output.stderr);
    // What depends on the environment need not be known here.
    let args = ["-s", "app=env:${PREFIX}_", "-t", "sound.tera:s", "--with", "app=file:app.toml"];
    assert_eq!(check(&dir, &args), ended(0, "ok: 1 template checked, 1 rendered with fixtures\n", ""));
}

#[test]
fn names_are_not_called_unknown_where_the_configuration_could_not_be_read() {
    let dir = written(&[("proem.toml", "[source\napp = \"env:\"\n"), ("t.tera", "{{ app.x | uper }}")]);
    let output = check(&dir, &["-c", "proem.toml", "-t", "t.tera:t"]);
    assert_eq!(output.code, 78);
    for said in ["proem.toml:1:", "t.tera:1:12: no filter is called `uper`"] {
        assert!(output.stderr.contains(said), "{}", output.stderr);
    }
    assert!(!output.stderr.contains("`app` is not defined"), "{}", output.stderr);
}

#[test]
fn a_reload_that_run_will_ask_for_is_warned_of() {
    let dir = written(SHOP);
    write(
        dir.path(),
        "proem.toml",
        "[source]\napp = \"file:app.toml\"\n[template.x]\nfrom = \"sound.tera\"\nto = \"x\"\n",
    );
    let hint =
        "  hint: state one: `reload = \"HUP\"` (a signal to main), \"restart\", \"exit\", { run = [\"PROGRAM\"] }";
    for fixtures in [&[][..], &["--with", "app=env:APP_"]] {
        let output = proem(["check", "-c", "proem.toml"])
            .args(fixtures.iter().copied())
            .dir(dir.path())
            .env("APP_ON", "x")
            .env("APP_NEVER__LOOKED__AT", "x")
            .env("APP_DB__HOST", "x")
            .output();
        assert_eq!(output.code, 0, "{}", output.stderr);
        let said = format!(
            "proem: proem.toml:3:11: template `x` uses the source `app`, which can change, and states no reload\n{hint}"
        );
        assert!(output.stderr.starts_with(&said), "{}", output.stderr);
    }
    let output = check(&dir, &["-c", "proem.toml", "--format", "github"]);
    assert!(
        output.stdout.starts_with("::warning file=proem.toml,line=3,col=11::template `x` uses"),
        "{}",
        output.stdout
    );
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

#[test]
fn exit_codes_and_formats() {
    let dir = written(SHOP);
    let code = |args: &[&str]| check(&dir, args).code;
    assert_eq!(code(&["-t", "gone.tera:x"]), 66);
    assert_eq!(code(&["-t", "gone.tera:x", "-t", "web.tera:y"]), 65);
    assert_eq!(code(&["-t", "gone.tera:x", "--wait", "1"]), 78);
    let empty = "{\n  \"complaints\": [],\n  \"summary\": {\n    \"errors\": 0,\n    \"warnings\": 0,\n    \"templates\": 0,\n    \
                 \"rendered\": 0,\n    \"not_rendered\": [],\n    \"exit\": 0\n  }\n}\n";
    assert_eq!(check(&dir, &["--format", "json"]), ended(0, empty, ""));
    assert_eq!(check(&dir, &["--format", "github"]), ended(0, "", ""));
    assert_eq!(check(&dir, &["--format", "text"]), ended(0, "ok: 0 templates checked, 0 rendered with fixtures\n", ""));
    assert_eq!(proem(["check"]).dir(dir.path()).env("PROEM_FORMAT", "json").output(), ended(0, empty, ""));
    assert_eq!(
        check(&dir, &["--format", "jsn"]),
        ended(64, "", "proem: exit 64: --format: there is no format `jsn` here\n  hint: did you mean `json`?\n")
    );
}

/// CPU time of this thread, seconds: other tests run beside this one.
fn cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is of a live value that the call fills.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    #[allow(clippy::cast_precision_loss, reason = "seconds of a test")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

/// Ten times as many templates take ten times as long, with mistakes in each and a file that all include.
#[test]
fn a_thousand_templates_take_ten_times_as_long_as_a_hundred() {
    let dir = written(&[("shared", "{{ apq }}{{ app.host | uper }}")]);
    let text = "{% include 'shared' %}{{ app.x | lowr }}{% if app.y %}{{ nothing.here }}{% endif %}\n".repeat(5);
    let inputs: Vec<Input> = (0..1000)
        .map(|number| Input {
            name: format!("{number}.tera"),
            path: dir.path().join(format!("{number}.tera")),
            text: Some(text.clone()),
            escape: Escape::None,
        })
        .collect();
    let sources = ["app".to_owned()].into();
    let took = |count: usize| {
        let start = cpu();
        let survey = Survey::new(&inputs[..count], dir.path(), Some(&sources));
        assert_eq!(survey.mistakes.len(), 2 + 6 * count);
        cpu() - start
    };
    let (few, many) = (took(100), took(1000));
    assert!(many < 25.0 * few + 0.2, "{few} s for 100, {many} s for 1000");
}
