//! The edits of [`super::strict`] change nothing where everything is defined: random templates, against plain Tera.

use super::{Context, Engine, Escape, Input, RenderErrorKind, load};
use crate::template::filters::parse::from_json;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn context() -> (Context, tera::Context) {
    let app = from_json(serde_json::json!({
        "n": 3, "f": 1.5, "s": "text", "yes": true, "off": false, "k": "n", "i": 1,
        "list": [1, 2, 3], "maps": [{"n": 1, "s": "a"}, {"n": 2, "s": "b"}], "map": {"n": 7, "s": "x", "k": "s"}
    }));
    let mut ours = Context::new();
    ours.insert("app", app.clone(), "file:/x");
    let mut plain = tera::Context::new();
    plain.insert_value("app", app);
    (ours, plain)
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("app.n"),
        Just("app.f"),
        Just("app.s"),
        Just("app.yes"),
        Just("app.off"),
        Just("app.list"),
        Just("app.map.n"),
        Just("app . map [ 'k' ]"),
        Just("app[app.k]"),
        Just("app.map[app.map.k]"),
        Just("app.list[0]"),
        Just("app.list[app.i:]"),
        Just("app.maps[-1].s"),
        Just("app?.map?.s"),
        Just("app.maps[app.list[0]].n"),
        Just("(app.n)"),
        Just("app.list[::-1]"),
        Just("app?.gone?.x"),
    ]
    .prop_map(str::to_owned)
}

fn expression() -> impl Strategy<Value = String> {
    let literal = prop_oneof![Just("1"), Just("2.5"), Just("'s'"), Just("true"), Just("none"), Just("[]"), Just("{}")];
    let leaf = prop_oneof![4 => path(), 1 => literal.prop_map(str::to_owned)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let operator = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("//"),
            Just("%"),
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">="),
            Just("and"),
            Just("or"),
            Just("in"),
            Just("not in"),
            Just("~")
        ];
        let filter = prop_oneof![
            Just("| str"),
            Just("| default(value=app.n)"),
            Just("| json"),
            Just("| length"),
            Just("|first"),
            Just("| default(value=app.gone) | default(value='d')"),
            Just("| upper | replace(from='T', to=app.s)"),
            Just("is string"),
            Just("is not defined"),
            Just("is defined"),
            Just("is divisible_by(divisor=app.n)"),
        ];
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), filter).prop_map(|(a, filter)| format!("{a} {filter}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.clone().prop_map(|a| format!("-{a}")),
            inner.clone().prop_map(|a| format!("({a})[0]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}, ...app.list]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{'a': {a}, 1: {b}, ...app.map}}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("{a} if {b} else {c}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[m.n ~ {a} for m in app.maps if m.s != {b}]")),
            inner.clone().prop_map(|a| format!("[{a} for k, v in app.map]")),
            inner.clone().prop_map(|a| format!("range(end=3, start={a})")),
            inner.prop_map(|a| format!("<c x={{{a}}} y=\"t\" />")),
        ]
    })
}

fn template() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        expression().prop_map(|e| format!("{{{{ {e} }}}}")),
        expression().prop_map(|e| format!("{{{{-{e}-}}}}")),
        expression().prop_map(|e| format!("{{% set v = {e} %}}")),
        Just(" text {# {{ app.gone }} #}{% raw %}{{ app.gone }}{% endraw %}\n".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}{b}")),
            (expression(), inner.clone(), inner.clone())
                .prop_map(|(e, a, b)| format!("{{% if {e} %}}{a}{{% elif app.n %}}-{{% else %}}{b}{{% endif %}}")),
            (expression(), inner.clone()).prop_map(|(e, a)| format!(
                "{{% for x in {e} -%}} {{{{ loop.index }}}}{a}{{% else %}}none{{% endfor %}}"
            )),
            inner.clone().prop_map(|a| format!("{{% filter upper | indent(width=app.n) %}}{a}{{% endfilter %}}")),
            inner.clone().prop_map(|a| format!("{{% set w | trim %}}{a}{{% endset %}}{{{{ w }}}}")),
            inner.clone().prop_map(|a| format!("{{% <c x={{app.n}} y=\"b\"> %}}{a}{{% </c> %}}")),
        ]
    })
    .prop_map(|body| {
        format!("{{% component c(x, y: string = \"d\", ...rest) %}}[{{{{ y }}}}]{{% endcomponent c %}}{body}")
    })
}

fn engine(text: &str) -> Option<Engine> {
    let input = Input { name: "t".into(), path: PathBuf::from("t"), text: Some(text.to_owned()), escape: Escape::None };
    Engine::load(&[input], Path::new("/nonexistent")).ok()
}

fn plain(text: &str) -> Option<tera::Tera> {
    let mut tera = load::instance(Escape::None);
    tera.add_raw_template("t", text).ok().map(|()| tera)
}

/// 400, or as many as PROPTEST_CASES says.
fn cases() -> ProptestConfig {
    let more = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig::with_cases(more.unwrap_or(400))
}

#[test]
fn an_attribute_may_have_a_keyword_for_a_name() {
    for name in ["not", "in", "is", "if", "else", "and", "or", "for"] {
        let component =
            format!("{{% component c({name} = 1, ...rest) %}}[{{{{ rest | length }}}}]{{% endcomponent c %}}");
        for call in ["{{ <c NAME /> }}", "{{ <c  x NAME y=\"1\" /> }}", "{% <c  NAME  x=\"1\"> %}{% </c> %}"] {
            let text = format!("{component}{}", call.replace("NAME", name));
            assert_eq!(plain(&text).is_some(), engine(&text).is_some(), "{text}");
        }
    }
    let text = "{% component c(x) %}{% endcomponent c %}{% <c not x=\"1\"> %}{% </c> %}";
    assert!(plain(text).is_some() && engine(text).is_some());
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_same_text_comes_out(text in template()) {
        let (ours, theirs) = context();
        let plain = plain(&text);
        let engine = engine(&text);
        // `app.gone` is the only name that is never defined, and only where that is allowed.
        prop_assert_eq!(plain.is_some(), engine.is_some(), "{}", text);
        let (Some(plain), Some(engine)) = (plain, engine) else { return Ok(()) };
        match (plain.render("t", &theirs), engine.render(0, &ours)) {
            (Ok(expected), Ok(found)) => prop_assert_eq!(found, expected),
            (Err(_), Err(_)) => {}
            (Err(error), Ok(_)) => {
                // Ours makes each step optional, and is content where `default` follows.
                prop_assert!(error.to_string().contains("is not defined"), "{text}: {error}");
            }
            (Ok(_), Err(error)) => {
                let message = &error.complaint.message;
                let refused = message.contains("has no text of its own");
                // Where Tera prints nothing for what is not there.
                let may_be_missing = ["app?.gone", "|first", ")[0]"].iter().any(|part| text.contains(part));
                let undefined = matches!(error.kind, RenderErrorKind::Undefined { .. });
                prop_assert!(refused || undefined && may_be_missing, "{text}: {message}");
            }
        }
    }

    #[test]
    fn whatever_tera_takes_we_take(
        text in template(),
        pieces in proptest::collection::vec((any::<prop::sample::Index>(), prop::sample::select(PIECES)), 0..4),
    ) {
        let mut text = text;
        for (at, piece) in pieces {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            text.insert_str(at, piece);
        }
        if plain(&text).is_some() {
            let complaint = |errors: Vec<super::LoadError>| errors[0].complaint.to_string();
            let input = Input { name: "t".into(), path: "t".into(), text: Some(text.clone()), escape: Escape::None };
            let loaded = Engine::load(&[input], Path::new("/nonexistent")).map(drop).map_err(complaint);
            let refused = loaded.err().filter(|why| !["no argument", "needs `"].iter().any(|ours| why.contains(ours)));
            prop_assert_eq!(refused, None, "{}", text);
        } else {
            prop_assert!(engine(&text).is_none(), "{}", text);
        }
    }
}

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    " ",
    "'",
    "\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    "?.",
    "?[",
    "|",
    ",",
    ":",
    "=",
    "==",
    "~",
    "@",
    "...",
    "app.n",
    " x ",
    " is ",
    " not ",
    " in ",
    " if ",
    " else ",
    " for ",
    " and ",
    "1",
    "1.",
    "<",
    "</",
    "/>",
    "ü",
    "\n",
    "{% raw %}",
    "{% endraw %}",
    "{% if app.n %}",
    "{% endif %}",
    "{% endfor %}",
    " default ",
    "`",
    "\\",
];
