use super::*;
use crate::template::filters::parse::from_json;
use std::fmt::Write as _;

fn input(name: &str, text: &str, escape: Escape) -> Input {
    Input { name: name.to_owned(), path: PathBuf::from(name), text: Some(text.to_owned()), escape }
}

fn load(text: &str, escape: Escape) -> Result<Engine, Vec<LoadError>> {
    Engine::load(&[input("t.tera", text, escape)], Path::new("/nonexistent"))
}

fn context() -> Context {
    let mut context = Context::new();
    let app = serde_json::json!({
        "db": {"host": "db1", "port": 5432, "secret": "hunter2"},
        "list": [{"name": "a"}, {"name": "b"}],
        "empty": {}, "none": [], "off": false, "quoted": "a\"b\\c\nd", "number": "12", "word": "s3cret"
    });
    context.insert("app", from_json(app), "consul:config/prod/shop");
    context.insert("env", from_json(serde_json::json!({"HOME": "/root", "PATH": "/bin"})), "env:");
    context
}

fn render_as(text: &str, escape: Escape) -> Result<String, RenderError> {
    load(text, escape).unwrap_or_else(|errors| panic!("{errors:#?}")).render(0, &context())
}

fn render(text: &str) -> String {
    render_as(text, Escape::None).unwrap_or_else(|error| panic!("{text}: {}", error.complaint))
}

fn fails(text: &str) -> RenderError {
    render_as(text, Escape::None).expect_err(text)
}

fn refused(text: &str) -> String {
    let errors = load(text, Escape::None).expect_err(text);
    errors.iter().map(|error| error.complaint.to_string()).collect::<Vec<_>>().join("\n")
}

#[test]
fn undefined_is_an_error_everywhere() {
    for (text, path) in [
        ("{{ app.missing }}", "app.missing"),
        ("{{ app.dbb.host }}", "app.dbb"),
        ("{{ missing }}", "missing"),
        ("{% if app.missing %}{% endif %}", "app.missing"),
        ("{% if not app.missing %}{% endif %}", "app.missing"),
        ("{% if app.off or app.missing %}{% endif %}", "app.missing"),
        ("{% if app.missing == 1 %}{% endif %}", "app.missing"),
        ("{% if app.off %}{% elif app.missing %}{% endif %}", "app.missing"),
        ("{{ app.missing ~ 'x' }}", "app.missing"),
        ("{% set x = [app.missing] %}", "app.missing"),
        ("{% set x = {'a': app.missing} %}", "app.missing"),
        ("{% set x = app.missing %}", "app.missing"),
        ("{% for x in app.missing %}{% endfor %}", "app.missing"),
        ("{% for x in app.list %}{{ x.nam }}{% endfor %}", "x.nam"),
        ("{{ app.list[7].name }}", "app.list[7]"),
        ("{{ app.db['hsot'] }}", "app.db['hsot']"),
        ("{{ app.missing | upper }}", "app.missing"),
        ("{{ 1 if app.missing else 2 }}", "app.missing"),
        ("{{ app.db.host | replace(from='a', to=app.missing) }}", "app.missing"),
        ("{% if 'x' in app.missing %}{% endif %}", "app.missing"),
        ("{{ -app.missing }}", "app.missing"),
        ("{% if app.missing is string %}{% endif %}", "app.missing"),
        ("{% if app.off %}{% set x = 1 %}{% endif %}{% if x %}{% endif %}", "x"),
        ("{% component c(a) %}{{ a.missing }}{% endcomponent c %}{{ <c a={app} /> }}", "a.missing"),
        ("{{ app?.missing }}", "app.missing"),
    ] {
        match fails(text).kind {
            RenderErrorKind::Undefined { path: found, .. } => assert_eq!(found, path, "{text}"),
            RenderErrorKind::Other => panic!("{text}: {}", fails(text).complaint),
        }
    }
}

#[test]
fn what_may_be_missing_may() {
    for (text, expected) in [
        ("{{ app.a.b.c | default(value='d') }}", "d"),
        ("{{ nothing.at.all | default(value='d') }}", "d"),
        ("{{ (app.a.b) | default(value='d') }}", "d"),
        ("{{ app.a | default(value=app.b) | default(value='c') }}", "c"),
        ("{{ app.list[9].x | default(value='d') }}", "d"),
        ("{{ app.none | first | default(value='d') }}", "d"),
        ("{% if app.a.b is defined %}1{% else %}2{% endif %}", "2"),
        ("{% if app.a.b is not defined %}1{% endif %}", "1"),
        ("{% if app.db.host is defined and app.db.host == 'db1' %}1{% endif %}", "1"),
        ("{% if app?.a?.b %}1{% else %}2{% endif %}", "2"),
        ("{% for x in app.list %}{{ loop.index }}{{ x.name }}{% endfor %}", "1a2b"),
        ("{% for k, v in app.db %}{{ k }}={{ v }} {% endfor %}", "host=db1 port=5432 secret=hunter2 "),
        ("{% set x = app.db %}{{ x.port + 1 }}", "5433"),
        ("{{ [i.name for i in app.list if i.name != 'a'] | join(sep=',') }}", "b"),
        ("{% component c(a, @env) %}{{ a }}{{ env.HOME }}{% endcomponent c %}{{ <c a={app.db.host} /> }}", "db1/root"),
        ("{% component c() %}[{{ body }}]{% endcomponent c %}{% <c> %}{{ app.db.host }}{% </c> %}", "[db1]"),
        ("{% raw %}{{ app.x }}{% endraw %}{# {{ app.x }} #}", "{{ app.x }}"),
        ("{% filter upper %}{{ app.db.host }}{% endfilter %}", "DB1"),
        ("{% set x | trim %} {{ app.db.host }} {% endset %}{{ x }}", "db1"),
        ("{{ 10 - app.db.port * 2 }}", "-10854"),
        ("{{- -app.db.port -}}", "-5432"),
        ("{{ app[\"db\"].host }}", "db1"),
        ("{% set k = 'db' %}{{ app[k].host[0:2] }}", "db"),
        ("{{ env(name='HOME') }}{{ env(name='X', default='y') }}", "/rooty"),
    ] {
        assert_eq!(render(text), expected, "{text}");
    }
}

#[test]
fn the_error_says_what_where_and_the_remedy() {
    let error = fails("upstream {\n  server\n\n    x {{ app.db.hsot }};\n}");
    assert_eq!(
        error.complaint.to_string(),
        "t.tera:4:10: `app.db.hsot` is not defined in consul:config/prod/shop\n    \
         4 |     x {{ app.db.hsot }};\n      |          ^^^^^^^^^^^\n  \
         hint: did you mean `host`? beside it: host, port, secret"
    );
    assert_eq!(
        error.kind,
        RenderErrorKind::Undefined { source: Some("app".to_owned()), path: "app.db.hsot".to_owned() }
    );
    let error = fails("{{ ap.db }}");
    assert!(error.complaint.message.starts_with("t.tera:1:4: `ap` is not defined\n"), "{}", error.complaint);
    assert_eq!(error.complaint.hint.unwrap(), "did you mean `app`? sources: app, env");
    assert_eq!(error.kind, RenderErrorKind::Undefined { source: None, path: "ap".to_owned() });
    let hint = |text| fails(text).complaint.hint.unwrap();
    assert_eq!(hint("{{ web.x }}"), "no source has this name: declare it with `-s web=URI`; sources: app, env");
    assert!(hint("{{ app.empty.x }}").starts_with("`app.empty` is empty; "));
    assert!(hint("{{ app.list[5] }}").starts_with("`app.list` is a list of 2; "));
    assert!(hint("{{ app.word.x }}").starts_with("`app.word` is a string"));
    assert!(hint("{% for s in app.list %}{{ s.nmae }}{% endfor %}").contains("did you mean `name`?"));
}

#[test]
fn the_environment_is_not_listed() {
    let complaint = fails("{{ env.NOTHING }}").complaint.to_string();
    assert!(complaint.contains("`env.NOTHING` is not defined in env:") && !complaint.contains("PATH"), "{complaint}");
    assert!(fails("{{ env.PAHT }}").complaint.to_string().contains("did you mean `PATH`?"));
}

#[test]
fn ten_names_are_shown_at_most() {
    let many: serde_json::Map<_, _> = (0..500).map(|n| (format!("key{n:03}"), "v".into())).collect();
    let mut context = Context::new();
    context.insert("app", from_json(serde_json::Value::Object(many)), "file:/x");
    let error = load("{{ app.other }}", Escape::None).unwrap().render(0, &context).unwrap_err();
    let hint = error.complaint.hint.unwrap();
    assert!(hint.contains("key009 and 490 more;") && !hint.contains("key010"), "{hint}");
}

#[test]
fn no_error_shows_a_value() {
    for text in [
        "{{ app.word | int }}",
        "{{ app.word | float }}",
        "{{ app.word | bool }}",
        "{{ app | get(key=app.word) }}",
        "{{ throw(message=app.word) }}",
        "{{ fail(message='x ' ~ app.word) }}",
        "{{ range(end=app.word) }}",
        "{{ app.word | bytes }}",
        "{{ app.word | duration }}",
        "{{ app.word | b64decode }}",
        "{{ app.word | parse_json }}",
        "{{ ('{' ~ app.word) | parse_yaml }}",
        "{{ app.word | parse_toml }}",
        "{{ app.list | group_by(attribute=app.word) }}",
        "{{ app[app.word].x }}",
        "{{ app.word + 1 }}",
        "{{ app.word * 1 }}",
        "{{ app.word < 1 }}",
        "{{ -app.word }}",
        "{{ app.word | round(method=app.word) }}",
        "{{ 3.5 | round(method=app.word) }}",
        "{{ app.word | nth(n=1) }}",
        "{{ app.word | truncate(length=app.word) }}",
        "{% if app.word is odd %}{% endif %}",
        "{% if 1 is containing(pat=app.word) %}{% endif %}",
        "{{ app.list | sort(attribute=app.word) }}",
        "{{ env(name=app.word) }}",
        "{{ app.word | indent(indentation=app.word) }}",
        "{{ app.word | pluralize }}",
        "{{ app }}",
        "{{ app.list }}",
        "{{ 'x' ~ app.db }}",
        "{% component c(a: integer) %}{{ a }}{% endcomponent c %}{{ <c a={app.word} /> }}",
    ] {
        let complaint = fails(text).complaint.to_string();
        assert!(!complaint.contains("s3cret") && !complaint.contains("hunter2"), "{text}: {complaint}");
        assert!(complaint.starts_with("t.tera:1:"), "{text}: {complaint}");
    }
}

#[test]
fn failures_name_the_filter() {
    let message = |text| fails(text).complaint.message;
    assert!(message("a\n{{ app.word | int }}").starts_with("t.tera:2:15: filter `int`: its input is no whole number"));
    assert!(
        message("{{ app.word | yaml(indent='x') }}").contains("argument `indent` must be an integer, not a string")
    );
    assert!(
        message("{{ fail(message=\"no, thanks\") }}").starts_with("t.tera:1:4: the template refuses: no, thanks\n")
    );
    assert!(message("{{ app.word | abs }}").contains("filter `abs` could not convert its input"));
    assert!(message("{{ app.word < 1 }}").contains("cannot compare `string` with `i64`"));
    assert!(message("{{ app.list | upper }}").contains("expected `string` but got `array`"));
    assert!(message("{{ app.db }}").starts_with("t.tera:1:4: a map has no text of its own"));
    assert!(message("{{ app.none | nth(n=3) }}").contains("null has no text of its own"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let inputs = [
        input("a.tera", "{% if %}", Escape::None),
        input("b.tera", "x\n {{ app.x | uper }}{{ app.y | json(prety=true) }}", Escape::Json),
        input("c.tera", "{{ f() }}{% if app.x is defind %}{% endif %}{{ 1 | default }}", Escape::None),
        input("d.tera", "{{ __tera_context }}{% include 'no.tera' %}", Escape::None),
        Input { text: None, ..input("/nonexistent/e.tera", "", Escape::None) },
    ];
    let errors = Engine::load(&inputs, Path::new("/nonexistent")).unwrap_err();
    let all: Vec<String> = errors.iter().map(|error| error.complaint.to_string()).collect();
    let all = all.join("\n");
    for expected in [
        "a.tera:1:",
        "b.tera:2:13: no filter is called `uper`\n",
        "hint: did you mean `upper`?",
        "b.tera:2:36: filter `json` has no argument `prety`\n",
        "hint: did you mean `pretty`?",
        "c.tera:1:4: no function is called `f`",
        "c.tera:1:25: no test is called `defind`",
        "c.tera:1:52: filter `default` needs `value`",
        "d.tera:1:4: `__tera_context` would print every value",
        "d.tera:1:32: `no.tera` is not found",
        "failed to read template `/nonexistent/e.tera`: no such file or directory",
    ] {
        assert!(all.contains(expected), "{expected}\n---\n{all}");
    }
    let order: Vec<_> = all.lines().filter_map(|line| line.split_once(".tera")).map(|(file, _)| file).collect();
    assert!(order.iter().filter(|file| file.len() == 1).is_sorted() && all.ends_with("`template_dir`"), "{all}");
    assert_eq!(errors.iter().filter(|error| error.exit == Exit::NO_INPUT).count(), 2);
    assert_eq!(errors.iter().filter(|error| error.exit == Exit::DATA).count(), 7);
}

#[test]
fn what_tera_refuses_is_said_in_the_users_lines() {
    assert!(refused("a\n{{ app.x +  }}").starts_with("t.tera:2:13: "), "{}", refused("a\n{{ app.x +  }}"));
    assert!(refused("{{ app.x }}{% for loop in app.y %}{% endfor %}").starts_with("t.tera:1:19: loop is a reserved"));
    assert!(refused("{{ app.x }}\n {{ <nope /> }}").starts_with("t.tera:2:6: unknown component `nope`"));
    assert!(refused("{% if app.x %}").contains("t.tera:1:"));
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(60), ")".repeat(60));
    assert!(refused(&deep).contains("too complex"));
}

#[test]
fn files_include_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let shared = tempfile::tempdir().unwrap();
    let write = |dir: &Path, name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write(dir.path(), "main.tera", "{% include 'part.tera' %}{% include \"lib.tera\" %}{{ app.off }}");
    write(dir.path(), "part.tera", "part {{ app.db.hsot }}\n");
    write(shared.path(), "lib.tera", "lib {{ web.x }}");
    write(shared.path(), "part.tera", "never read");
    write(
        dir.path(),
        "child.tera",
        "{% extends 'base.tera' %}{% block a %}{{ super() }}{{ app.db.host }}{% endblock %}",
    );
    write(shared.path(), "base.tera", "<{% block a %}base {{ env.HOME }} {% endblock %}>");
    write(dir.path(), "round.tera", "{% include 'round.tera' %}");
    let file = |name: &str, escape| Input { name: name.to_owned(), path: dir.path().join(name), text: None, escape };
    let inputs = [file("main.tera", Escape::None), file("child.tera", Escape::None), file("child.tera", Escape::Json)];
    let engine = Engine::load(&inputs, shared.path()).unwrap();
    assert_eq!(engine.uses(0).iter().collect::<Vec<_>>(), ["app", "web"]);
    let files: Vec<_> = engine.files(0).map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["main.tera", "part.tera", "lib.tera"]);
    assert_eq!(engine.uses(1).iter().collect::<Vec<_>>(), ["app", "env"]);
    assert_eq!(engine.render(1, &context()).unwrap(), "<base /root db1>");
    assert_eq!(engine.render(2, &context()).unwrap(), "<base /root db1>");
    let error = engine.render(0, &context()).unwrap_err().complaint.message;
    assert!(error.starts_with(&format!("{}:1:9: `app.db.hsot`", dir.path().join("part.tera").display())), "{error}");
    let sources = BTreeSet::from(["app".to_owned(), "env".to_owned()]);
    let unknown = Survey::new(&inputs, shared.path(), Some(&sources)).mistakes;
    assert_eq!(unknown.len(), 1);
    assert!(unknown[0].complaint.message.contains("lib.tera:1:8: `web` is not defined"));
    std::fs::write(dir.path().join("latin.tera"), b"caf\xe9").unwrap();
    let errors = Engine::load(&[file("latin.tera", Escape::None)], shared.path()).unwrap_err();
    assert!(errors[0].complaint.message.ends_with("byte 3 is not UTF-8") && errors[0].exit == Exit::NO_INPUT);
}

/// Writes files, looks at those whose names do not begin with `_`, and gives the mistakes without excerpts and folder.
fn surveyed(files: &[(&str, &str)]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let inputs: Vec<Input> = files
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(name, _)| dir.path().join(name))
        .map(|path| Input { name: path.display().to_string(), path, text: None, escape: Escape::None })
        .collect();
    let sources = BTreeSet::from(["app".to_owned()]);
    let survey = Survey::new(&inputs, Path::new("/nonexistent"), Some(&sources));
    let folder = format!("{}/", dir.path().display());
    let line = |mistake: &LoadError| mistake.complaint.message.replace(&folder, "");
    survey.mistakes.iter().map(|mistake| line(mistake).lines().next().unwrap().to_owned()).collect()
}

#[test]
fn circles_of_files_are_found_however_they_are_closed() {
    assert_eq!(surveyed(&[("a", "{% include 'a' %}")]), ["a:1:12: the file includes itself: a → a"]);
    assert_eq!(
        surveyed(&[("a", "{% extends 'b' %}"), ("b", "\n{% extends 'a' %}")]),
        ["b:2:12: the file extends itself: b → a → b"]
    );
    // Tera looks at parents and includes separately, and would render this until its stack is full.
    assert_eq!(
        surveyed(&[("a", "{% extends 'b' %}"), ("b", "x{% include 'c' %}"), ("c", "{% include 'a' %}")]),
        ["c:1:12: the file includes itself: c → a → b → c"]
    );
    // Twice the same file is no circle.
    assert_eq!(
        surveyed(&[("a", "{% include 'b' %}{% include 'c' %}"), ("b", "{% include 'c' %}"), ("c", "")]),
        [""; 0]
    );
}

#[test]
fn a_syntax_error_hides_nothing_that_stands_before_it() {
    assert_eq!(
        surveyed(&[
            ("a", "{{ apq.x | uper }}{% include 'no' %}{{ [x.y for x in ] }}{{ never }}"),
            ("b", "{{ aqp }}{{ 'x }}")
        ]),
        [
            "a:1:4: `apq` is not defined",
            "a:1:12: no filter is called `uper`",
            "a:1:30: `no` is not found",
            "a:1:54: found `]` but expected one of: integer, float, string, bool, ident, `-`, `not`, `<`, `{`, `[` or `(`",
            "b:1:4: `aqp` is not defined",
            "b:1:13: string opened with `'` is missing its closing `'`",
        ]
    );
    // What a file that is not read to its end, or a parent that is not there, may set is not called unknown.
    let late = "{% include '_b' %}{% set late = 1 %}{% if %}";
    assert_eq!(surveyed(&[("a", late), ("_b", "{{ late }}{{ late | uper }}")]).len(), 2);
    assert_eq!(surveyed(&[("a", "{% extends 'no' %}{% block x %}{{ inherited }}{% endblock %}")]).len(), 1);
}

#[test]
fn a_shared_file_has_its_mistakes_once() {
    assert_eq!(
        surveyed(&[("a", "{% include 'c' %}"), ("b", "{% include 'c' %}{{ <x /> }}"), ("c", "{{ apq | uper }}")]),
        ["c:1:4: `apq` is not defined", "c:1:10: no filter is called `uper`"]
    );
    let mut found = surveyed(&[("a", "{{ <x /> }}"), ("b", "{{ <y /> }}{{ <z /> }}")]);
    found.sort();
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_print_that_fails_does_not_hide_the_next() {
    let text = "{{ app.a }}\n{{\n  app.db.hsot | upper }} {{ app.list | int }}{{ app.db.port }}\n{% for x in app.list %}{{ x.nme }}{% endfor %}\
                {% if app.no %}{{ app.never }}{% endif %}";
    let inputs = [input("t.tera", text, Escape::None)];
    let survey = Survey::new(&inputs, Path::new("/nonexistent"), None);
    let complaints = survey.render(&inputs, 0, &context()).unwrap_err();
    let lines: Vec<&str> = complaints.iter().map(|complaint| complaint.message.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "t.tera:1:4: `app.a` is not defined in consul:config/prod/shop",
            "t.tera:3:3: `app.db.hsot` is not defined in consul:config/prod/shop",
            "t.tera:3:40: filter `int`: its input must be a string, not a list",
            "t.tera:4:27: `x.nme` is not defined",
            "t.tera:4:53: `app.no` is not defined in consul:config/prod/shop",
        ]
    );
    // The line that is shown is the user's, with what was left out.
    assert!(complaints[2].message.contains("    3 |   app.db.hsot | upper }} {{ app.list | int }}"));
}

#[test]
fn names_that_no_source_has_are_known_without_rendering() {
    let sources = BTreeSet::from(["app".to_owned()]);
    let unknown = |text: &str| -> Vec<String> {
        let survey = Survey::new(&[input("t.tera", text, Escape::None)], Path::new("/nonexistent"), Some(&sources));
        survey.mistakes.iter().map(|mistake| mistake.complaint.to_string()).collect()
    };
    assert_eq!(
        unknown("{% for x in apq.list %}{{ x.y }}{% endfor %}{{ x }}"),
        ["t.tera:1:13: `apq` is not defined\n    1 | {% for x in apq.list %}{{ x.y }}{% endfor %}{{ x }}\n      \
             |             ^^^\n  hint: did you mean `app`? sources: app"]
    );
    assert!(unknown("{% if app.x %}{% set y = 1 %}{% endif %}{{ y }}").is_empty());
    assert!(unknown("{{ [x.y for x in app.l if x.z] }}{{ app.a ~ app.b }}").is_empty());
    assert!(unknown("{% component c(a, @app) %}{{ a }}{{ app.x }}{% endcomponent %}").is_empty());
    assert!(
        unknown("{% component c(a) %}{{ app.x }}{% endcomponent %}")[0]
            .contains("is not an argument of this component")
    );
    let uses = |text: &str| load(text, Escape::None).unwrap().uses(0).iter().cloned().collect::<Vec<_>>();
    assert_eq!(uses("{% for app in web %}{{ app.x }}{% endfor %}"), ["web"]);
    assert_eq!(uses("{% for app in web %}{% endfor %}{{ app.x }}{{ env(name='X') }}"), ["app", "env", "web"]);
}

#[test]
fn components_of_two_templates_do_not_meet() {
    let text = "{% component c(a) %}<{{ a }}>{% endcomponent c %}{{ <c a={app.db.host} /> }}";
    let inputs = [input("a", text, Escape::None), input("b", text, Escape::None), input("c", "x", Escape::None)];
    let engine = Engine::load(&inputs, Path::new("/nonexistent")).unwrap();
    assert_eq!(engine.render(1, &context()).unwrap(), "<db1>");
    assert_eq!(engine.render(2, &context()).unwrap(), "x");
}

#[test]
fn values_are_escaped_for_the_target() {
    let text = "x: \"{{ app.quoted }}\" {{ app.db.port }} {{ app.off }}";
    assert_eq!(render_as(text, Escape::Json).unwrap(), "x: \"a\\\"b\\\\c\\nd\" 5432 false");
    assert_eq!(render_as(text, Escape::None).unwrap(), "x: \"a\"b\\c\nd\" 5432 false");
    assert_eq!(
        render_as("{{ app.db | json }}", Escape::Json).unwrap(),
        r#"{"host":"db1","port":5432,"secret":"hunter2"}"#
    );
    assert_eq!(
        render_as("X=\"{{ app.list | json }}\"", Escape::Shell).unwrap(),
        r#"X="[{\"name\":\"a\"},{\"name\":\"b\"}]""#
    );
    assert_eq!(
        render_as("{{ app.db | yaml | indent(width=2) }}", Escape::Yaml).unwrap(),
        "host: db1\n  port: 5432\n  secret: hunter2"
    );
    assert_eq!(
        render_as("{{ app.db | toml }}", Escape::Toml).unwrap(),
        "host = \"db1\"\nport = 5432\nsecret = \"hunter2\""
    );
    assert_eq!(render_as("{{ app.quoted | quote }}", Escape::Toml).unwrap(), "\"a\\\"b\\\\c\\nd\"");
    assert_eq!(
        render_as("{{ app.word | quote }} {{ 'it''s' | quote }}".replace("''", "\\'").as_str(), Escape::Shell).unwrap(),
        "'s3cret' 'it'\\''s'"
    );
    assert_eq!(render_as("{% set x = app.quoted %}{{ x ~ '\"' }}", Escape::Json).unwrap(), "a\\\"b\\\\c\\nd\\\"");
}

#[test]
fn a_whole_tree_as_yaml() {
    let mut context = Context::new();
    let tree = serde_json::json!({"mijndomein": {"example": "data", "on": "yes"}, "a": {"z": [1, 2]}});
    context.insert("config", from_json(tree), "consul:config");
    let engine = load("{{ config | yaml }}\n", Escape::Yaml).unwrap();
    let expected = "a:\n  z:\n    - 1\n    - 2\nmijndomein:\n  example: data\n  \"on\": \"yes\"\n";
    assert_eq!(engine.render(0, &context).unwrap(), expected);
}

#[test]
fn every_filter_and_test_of_the_catalog_exists_and_no_other() {
    let mut text = "{% set v = 1 %}".to_owned();
    for entry in catalog::FILTERS {
        let args: Vec<_> = entry.args.iter().map(|arg| format!("{}=v", arg.trim_end_matches('!'))).collect();
        let _ = write!(text, "{{{{ 1 | {}({}) }}}}", entry.name, args.join(","));
    }
    for entry in catalog::TESTS {
        let args: Vec<_> = entry.args.iter().map(|arg| format!("{}=v", arg.trim_end_matches('!'))).collect();
        let _ = write!(text, "{{% if 1 is {}({}) %}}{{% endif %}}", entry.name, args.join(","));
    }
    load(&text, Escape::None).unwrap();
    // Tera prints how many it has: ours must not lack one that is really there.
    let counts = format!("{:?}", load::instance(Escape::None));
    let expected = format!(
        "filters: {}, tests: {}, functions: {}",
        catalog::FILTERS.len() + 2,
        catalog::TESTS.len(),
        catalog::FUNCTIONS.len() - 1
    );
    assert!(counts.contains(&expected), "{counts}, not {expected}");
}

/// What a literal argument is refused for is refused when it is rendered, too: nothing that works is called a mistake.
#[test]
fn literal_arguments_are_refused_only_where_rendering_refuses_them() {
    use catalog::Takes;
    let right = |takes: Takes| match takes {
        Takes::Any | Takes::Text => "'a'",
        Takes::Word(words) => ["'ceil'", "'s'"][usize::from(words.contains(&"s"))],
        Takes::Number => "2",
        Takes::Flag => "true",
    };
    let inputs = ["'12 ab'", "12", "[1, 2]", "{'a': 1}", "[{'a': 1}]", "'2m'"];
    let mut refused = 0;
    for (what, entries) in [("|", catalog::FILTERS), ("is", catalog::TESTS), ("", catalog::FUNCTIONS)] {
        for entry in entries.iter().filter(|entry| !matches!(entry.name, "fail" | "throw")) {
            let names: Vec<&str> = entry.args.iter().map(|arg| arg.trim_end_matches('!')).collect();
            for arg in &names {
                let takes = catalog::takes(entry.name, arg);
                for wrong in ["'x'", "7", "true"].into_iter().filter(|literal| takes.refuses(literal).is_some()) {
                    refused += 1;
                    // The value comes from a variable, so that only rendering can tell; all other arguments are right.
                    let args: Vec<String> = names
                        .iter()
                        .map(|name| {
                            if name == arg {
                                "v".to_owned()
                            } else {
                                right(catalog::takes(entry.name, name)).to_owned()
                            }
                        })
                        .zip(&names)
                        .map(|(value, name)| format!("{name}={value}"))
                        .collect();
                    for input in inputs {
                        let call = format!("{}({})", entry.name, args.join(", "));
                        let call = if what.is_empty() { call } else { format!("{input} {what} {call}") };
                        let text = format!("{{% set v = {wrong} %}}{{{{ ({call}) | json }}}}");
                        let rendered = render_as(&text, Escape::None);
                        assert!(rendered.is_err(), "{text}: {rendered:?}");
                    }
                    let literal = format!(
                        "{{% if 1 {} %}}{{% endif %}}",
                        match what {
                            "|" => format!("| {}({arg}={wrong})", entry.name),
                            "is" => format!("is {}({arg}={wrong})", entry.name),
                            _ => format!("== {}({arg}={wrong})", entry.name),
                        }
                    );
                    assert!(refused_at(&literal, arg), "{literal}");
                }
            }
        }
    }
    assert!(refused > 60, "only {refused} were looked at");
}

/// Whether a survey names the argument.
fn refused_at(text: &str, arg: &str) -> bool {
    let survey = Survey::new(&[input("t.tera", text, Escape::None)], Path::new("/nonexistent"), None);
    let said = format!("argument `{arg}` must be ");
    survey.mistakes.iter().any(|mistake| mistake.complaint.message.contains(&said))
}
