//! `proem render`, `check` and `exec` with sources that need no network: what they write, say and exit with.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::os::unix::fs::MetadataExt;
use support::proem::{Output, proem};
use support::{folder, read, text, write};

fn exited(output: &Output, code: i32) {
    assert_eq!(output.code, code, "standard error:\n{}", output.stderr);
}

fn says(output: &Output, parts: &[&str]) {
    for part in parts {
        assert!(output.stderr.contains(part), "standard error does not say `{part}`:\n{}", output.stderr);
    }
}

#[test]
fn layers_of_a_file_and_the_environment_become_a_file() {
    let dir = folder();
    write(dir.path(), "defaults.toml", "[db]\nhost = \"localhost\"\nport = 5432\n");
    write(dir.path(), "app.conf.tera", "host={{ app.db.host }} port={{ app.db.port + 1 }}\n");
    let output = proem(["render", "-s", "app=file:defaults.toml,env:APP_", "-t", "app.conf.tera:app.conf"])
        .dir(dir.path())
        .env("APP_DB__HOST", "db1")
        .env("APP_DB__PORT", "6000")
        .output();
    exited(&output, 0);
    assert_eq!(output.stdout, "");
    // The environment's text took the type of the lower layer, or `+ 1` would have failed.
    assert_eq!(read(&dir.path().join("app.conf")), "host=db1 port=6001\n");
    assert_eq!(std::fs::metadata(dir.path().join("app.conf")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn once_says_the_default_aloud() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.GREETING }}");
    exited(&proem(["render", "--once", "-t", "t.tera:t"]).dir(dir.path()).env("GREETING", "hello").output(), 0);
    assert_eq!(read(&dir.path().join("t")), "hello");
}

#[test]
fn a_dash_is_standard_output() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ app.name }}\n");
    let output =
        proem(["render", "-s", "app=env:APP_", "-t", "t.tera:-"]).dir(dir.path()).env("APP_NAME", "shop").output();
    exited(&output, 0);
    assert_eq!(output.stdout, "shop\n");
}

#[test]
fn options_can_all_come_from_the_environment() {
    let dir = folder();
    write(dir.path(), "a.tera", "{{ a.name }}");
    write(dir.path(), "b.tera", "{{ b.name }}");
    let output = proem(["render"])
        .dir(dir.path())
        .env("PROEM_SOURCE", "a=env:A_\nb=env:B_")
        .env("PROEM_TEMPLATE", "a.tera:a\nb.tera:b")
        .env("A_NAME", "first")
        .env("B_NAME", "second")
        .output();
    exited(&output, 0);
    assert_eq!((read(&dir.path().join("a")), read(&dir.path().join("b"))), ("first".to_owned(), "second".to_owned()));
}

#[test]
fn an_unknown_variable_of_ours_warns_with_the_nearest_name() {
    let dir = folder();
    write(dir.path(), "t.tera", "x");
    let output = proem(["render", "-t", "t.tera:-"]).dir(dir.path()).env("PROEM_TEMPLATES", "x").output();
    exited(&output, 0);
    says(&output, &["PROEM_TEMPLATES", "PROEM_TEMPLATE"]);
}

#[test]
fn a_directory_of_templates_becomes_a_directory() {
    let dir = folder();
    write(dir.path(), "templates/a.conf.tera", "a={{ env.X }}");
    write(dir.path(), "templates/sub/b.conf.tera", "b={{ env.X }}");
    exited(&proem(["render", "-t", "templates/:out/"]).dir(dir.path()).env("X", "1").output(), 0);
    assert_eq!(read(&dir.path().join("out/a.conf")), "a=1");
    assert_eq!(read(&dir.path().join("out/sub/b.conf")), "b=1");
}

#[test]
fn nothing_is_touched_when_nothing_differs() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.X }}");
    let target = dir.path().join("t");
    let render = || exited(&proem(["render", "-t", "t.tera:t"]).dir(dir.path()).env("X", "1").output(), 0);
    render();
    let before = std::fs::metadata(&target).unwrap();
    render();
    let after = std::fs::metadata(&target).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[test]
fn values_are_data_in_the_format_of_the_target() {
    let dir = folder();
    let source = r#"{"name": "a \"quoted\" \\ back\nslash: #"}"#;
    write(dir.path(), "app.json", source);
    for name in ["json", "yaml", "toml"] {
        let line = if name == "json" { r#"{"name": "{{ app.name }}"}"# } else { "name: \"{{ app.name }}\"" };
        let line = if name == "toml" { "name = \"{{ app.name }}\"" } else { line };
        write(dir.path(), "t.tera", line);
        let target = format!("t.tera:out.{name}");
        exited(&proem(["render", "-s", "app=file:app.json", "-t", &target]).dir(dir.path()).output(), 0);
        // Read back by proem itself as a source of that format.
        write(dir.path(), "back.tera", "{{ back | json }}");
        let back = format!("back=file:out.{name}");
        let output = proem(["render", "-s", &back, "-t", "back.tera:-"]).dir(dir.path()).output();
        exited(&output, 0);
        let (got, want): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&output.stdout).unwrap(), serde_json::from_str(source).unwrap());
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn an_undefined_name_is_shown_with_its_neighbours_and_no_value() {
    let dir = folder();
    write(dir.path(), "app.toml", "[db]\nhost = \"never-shown-1\"\nport = 77123\n");
    write(dir.path(), "up.conf.tera", "first\nsecond\n  {{ app.db.hsot }}\n");
    write(dir.path(), "up.conf", "old");
    let output = proem(["render", "-s", "app=file:app.toml", "-t", "up.conf.tera:up.conf"]).dir(dir.path()).output();
    exited(&output, 65);
    says(
        &output,
        &[
            "up.conf.tera:3:",
            "`app.db.hsot` is not defined in file:app.toml",
            "did you mean `host`?",
            "beside it: host, port",
        ],
    );
    assert!(!output.stderr.contains("never-shown-1") && !output.stderr.contains("77123"), "{}", output.stderr);
    assert_eq!(read(&dir.path().join("up.conf")), "old");
}

#[test]
fn undefined_is_an_error_in_conditions_too() {
    let dir = folder();
    write(dir.path(), "app.toml", "tls_enabled = true\n");
    let render = |template: &str| {
        write(dir.path(), "t.tera", template);
        proem(["render", "-s", "app=file:app.toml", "-t", "t.tera:-"]).dir(dir.path()).output()
    };
    for template in [
        "{% if app.tls_enabeld %}on{% endif %}",
        "{% if not app.tls_enabeld %}off{% endif %}",
        "{% if app.tls_enabeld == true %}on{% endif %}",
        "{% if app.tls_enabled and app.tls_enabeld %}on{% endif %}",
        "{% for x in app.tls_enabeld %}{% endfor %}",
        "{{ app.tls_enabeld | upper }}",
    ] {
        let output = render(template);
        exited(&output, 65);
        says(&output, &["app.tls_enabeld"]);
        assert_eq!(output.stdout, "", "{template}");
    }
    for (template, text) in [
        ("{% if app.tls_enabled %}on{% endif %}", "on"),
        ("{% if app.missing is defined %}on{% else %}off{% endif %}", "off"),
        ("{{ app.missing | default(value=\"d\") }}", "d"),
        ("{{ app.missing.below | default(value=\"d\") }}", "d"),
    ] {
        let output = render(template);
        exited(&output, 0);
        assert_eq!(output.stdout, text, "{template}");
    }
}

#[test]
fn text_that_does_not_fit_the_lower_layers_type_is_named_without_its_value() {
    let dir = folder();
    write(dir.path(), "defaults.toml", "[db]\nport = 5432\n");
    write(dir.path(), "t.tera", "{{ app.db.port }}");
    let output = proem(["render", "-s", "app=file:defaults.toml,env:APP_", "-t", "t.tera:-"])
        .dir(dir.path())
        .env("APP_DB__PORT", "never-shown-2")
        .output();
    exited(&output, 65);
    says(&output, &["db.port", "env:APP_"]);
    assert!(!output.stderr.contains("never-shown-2"), "{}", output.stderr);
}

#[test]
fn a_wrong_command_line_is_64() {
    let output = proem(["render", "--no-such-option"]).output();
    exited(&output, 64);
    says(&output, &["--no-such-option"]);
    exited(&proem(["exec"]).output(), 64);
    let output = proem([]).output();
    exited(&output, 64);
    // The classic surprise: an ENTRYPOINT in a Dockerfile clears the CMD of its base image.
    says(&output, &["ENTRYPOINT", "CMD"]);
}

#[test]
fn a_template_that_cannot_be_read_is_66() {
    let dir = folder();
    let output = proem(["render", "-t", "nowhere.tera:t"]).dir(dir.path()).output();
    exited(&output, 66);
    says(&output, &["nowhere.tera"]);
}

#[test]
fn a_template_that_does_not_parse_is_65() {
    let dir = folder();
    write(dir.path(), "t.tera", "line\n{% if %}\n");
    let output = proem(["render", "-t", "t.tera:t"]).dir(dir.path()).output();
    exited(&output, 65);
    says(&output, &["t.tera:2"]);
    assert!(!dir.path().join("t").exists());
}

#[test]
fn a_target_that_cannot_be_written_is_73() {
    let dir = folder();
    write(dir.path(), "t.tera", "x");
    write(dir.path(), "file", "not a directory");
    let output = proem(["render", "-t", "t.tera:file/t"]).dir(dir.path()).output();
    exited(&output, 73);
    says(&output, &["file/t"]);
}

#[cfg(feature = "consul")]
#[test]
fn a_store_that_does_not_answer_is_69_after_the_wait() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ app.x }}");
    let [port] = support::ports::free();
    let address = format!("http://127.0.0.1:{port}");
    let output = proem(["render", "--wait", "1s", "-s", "app=consul:config/app", "-t", "t.tera:t"])
        .dir(dir.path())
        .env("CONSUL_HTTP_ADDR", &address)
        .output();
    exited(&output, 69);
    says(&output, &["source `app`", &format!("failed to reach consul at {address}"), "refused", "proem: exit 69: "]);
    assert!(!dir.path().join("t").exists());
}

#[test]
fn every_mistake_of_the_configuration_is_reported_at_once_and_nothing_happens() {
    let dir = folder();
    write(
        dir.path(),
        "proem.toml",
        r#"waitt = "60s"
settle = "5"

[source]
app = "envv:APP_"
other = "env:${PROEM_TEST_UNSET}"

[template.t]
from = "t.tera"
to = "t"
mode = "999"

[template.u]
from = "t.tera"
tto = "u"
"#,
    );
    write(dir.path(), "t.tera", "x");
    let output = proem(["render", "-c", "proem.toml"]).dir(dir.path()).output();
    exited(&output, 78);
    says(
        &output,
        &[
            "proem.toml:1:",
            "`waitt`",
            "`wait`",
            "proem.toml:2:",
            "proem.toml:5:",
            "`envv`",
            "`env`",
            "proem.toml:6:",
            "PROEM_TEST_UNSET",
            "proem.toml:11:",
            "proem.toml:15:",
            "`tto`",
            "proem: exit 78: ",
        ],
    );
    assert!(!dir.path().join("t").exists());
}

#[test]
fn a_directory_of_configuration_merges_in_the_order_of_names() {
    let dir = folder();
    write(
        dir.path(),
        "conf/10-base.toml",
        "[source]\napp = \"env:APP_\"\n[template.t]\nfrom = \"t.tera\"\nto = \"first\"\n",
    );
    write(dir.path(), "conf/20-more.toml", "[template.t]\nto = \"second\"\n");
    write(dir.path(), "t.tera", "{{ app.x }}");
    exited(&proem(["render", "-c", "conf"]).dir(dir.path()).env("APP_X", "1").output(), 0);
    assert!(!dir.path().join("first").exists());
    assert_eq!(read(&dir.path().join("second")), "1");
}

#[test]
fn a_refusing_check_leaves_the_old_file_and_is_65_with_its_output() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.X }}");
    write(dir.path(), "t", "old");
    let check =
        write(dir.path(), "check", "#!/bin/sh\necho \"I saw $(cat \"$1\")\" >&2\n[ \"$(cat \"$1\")\" != bad ]\n");
    std::fs::set_permissions(&check, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for when in ["{staged}", text(&dir.path().join("t"))] {
        let config =
            format!("[template.t]\nfrom = \"t.tera\"\nto = \"t\"\ncheck = [\"{}\", \"{when}\"]\n", text(&check));
        write(dir.path(), "proem.toml", &config);
        let render = |x: &str| proem(["render", "-c", "proem.toml"]).dir(dir.path()).env("X", x).output();
        let output = render("bad");
        exited(&output, 65);
        says(&output, &["template `t`", "refused (exit 1)", "I saw bad"]);
        assert_eq!(read(&dir.path().join("t")), "old", "{when}");
        exited(&render("good"), 0);
        assert_eq!(read(&dir.path().join("t")), "good", "{when}");
        write(dir.path(), "t", "old");
    }
    // Nothing staged or kept aside is left over.
    let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["check", "proem.toml", "t", "t.tera"]);
}

#[test]
fn check_works_offline_and_renders_with_fixtures() {
    let dir = folder();
    write(dir.path(), "good.tera", "{{ app.name }}");
    let check = |args: &[&str]| {
        let base = ["check", "-s", "app=consul:config/app", "-t", "good.tera:good:none"];
        proem([]).args(base.into_iter().chain(args.iter().copied())).dir(dir.path()).output()
    };
    if cfg!(feature = "consul") {
        exited(&check(&[]), 0);
        write(dir.path(), "fixture.yaml", "name: shop\n");
        exited(&check(&["--with", "app=file:fixture.yaml"]), 0);
        write(dir.path(), "fixture.yaml", "other: shop\n");
        let output = check(&["--with", "app=file:fixture.yaml"]);
        exited(&output, 65);
        says(&output, &["`app.name`"]);
    } else {
        // Without that store the source itself is the mistake.
        let output = check(&[]);
        exited(&output, 78);
        says(&output, &["consul"]);
    }
    assert!(!dir.path().join("good").exists());
}

#[test]
fn check_finds_what_is_wrong_in_every_template() {
    let dir = folder();
    write(dir.path(), "a.tera", "{{ nothing.here }}");
    write(dir.path(), "b.tera", "{{ env.X | no_such_filter }}");
    let output = proem(["check", "-t", "a.tera:a", "-t", "b.tera:b"]).dir(dir.path()).output();
    exited(&output, 65);
    says(&output, &["a.tera:1", "nothing", "b.tera:1", "no_such_filter"]);
}

#[test]
fn exec_renders_and_becomes_the_command() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ app.x }}");
    let script = "cat t; echo \" pid $$ args $*\"; env; exit 9";
    let mut process =
        proem(["exec", "-s", "app=env:APP_", "-t", "t.tera:t", "--", "/bin/sh", "-c", script, "sh", "a b", "c"])
            .dir(dir.path())
            .env("APP_X", "rendered")
            .env("PROEM_LOG", "debug")
            .start();
    let pid = process.pid();
    let output = process.ended(support::proem::SOON);
    exited(&output, 9);
    let mut lines = output.stdout.lines();
    assert_eq!(lines.next(), Some(format!("rendered pid {pid} args a b c").as_str()));
    let variables: Vec<&str> = lines.collect();
    assert!(variables.contains(&"APP_X=rendered"), "{variables:?}");
    assert!(!output.stdout.contains("PROEM_"), "proem's own options were passed on: {variables:?}");
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let dir = folder();
    write(dir.path(), "plain", "text");
    for how in ["exec", "run"] {
        exited(&proem([how, "--", "/no/such/command"]).output(), 127);
        exited(&proem([how, "--", "no-such-command-in-the-path"]).output(), 127);
        exited(&proem([how, "--", text(&dir.path().join("plain"))]).output(), 126);
    }
}

#[test]
fn probe_says_up_and_down() {
    let dir = folder();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let up = format!("tcp:{}", listener.local_addr().unwrap());
    let [port] = support::ports::free();
    let down = format!("tcp:127.0.0.1:{port}");
    let file = format!("file:{}", text(&write(dir.path(), "ready", "")));
    exited(&proem(["probe", &up, &file]).output(), 0);
    exited(&proem(["probe", &up, &down]).output(), 1);
    exited(&proem(["probe", "file:/no/such/file"]).output(), 1);
}
