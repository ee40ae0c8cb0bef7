use super::parse::from_json;
use crate::template::{Context, Engine, Escape, Input};
use crate::value::Value;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn try_render(expression: &str, x: Value, escape: Escape) -> Result<String, String> {
    let text = Some(format!("{{{{ {expression} }}}}"));
    let input = Input { name: "t".to_owned(), path: PathBuf::from("t"), text, escape };
    let engine = Engine::load(&[input], Path::new("/")).map_err(|errors| errors[0].complaint.to_string())?;
    let mut context = Context::new();
    context.insert("x", x, "file:/x");
    engine.render(0, &context).map_err(|error| error.complaint.message)
}

fn render(expression: &str) -> String {
    try_render(expression, Value::from("unused"), Escape::None).unwrap_or_else(|error| error)
}

#[test]
fn conversions_are_exact_or_an_error() {
    for (expression, expected) in [
        ("'False' | bool", "false"),
        ("true | bool", "true"),
        ("'12' | int + 1", "13"),
        ("'0x1F' | int(base=16)", "31"),
        ("'3.0' | int", "3"),
        ("'1.5' | float", "1.5"),
        ("(1000000000 * 0.75) | round", "750000000"),
        ("2.345 | round(precision=2)", "2.35"),
        ("2.1 | round(method='ceil')", "3"),
        ("99 | clamp(min=1, max=8)", "8"),
        ("0 | clamp(min=1)", "1"),
        ("'512MiB' | bytes", "536870912"),
        ("'2g' | bytes(unit='m')", "2048"),
        ("'1.5kB' | bytes", "1500"),
        ("1073741824 | bytes(unit='MiB')", "1024"),
        ("'1h30m' | duration", "5400"),
        ("'1500ms' | duration", "1.5"),
        ("'2s' | duration(unit='ms')", "2000"),
        ("none | default(value='d')", "d"),
        ("'' | default(value='d', boolean=true)", "d"),
        ("{'a': 1} | get(key='a')", "1"),
        ("[{'n': 'x'}, {'n': 'a'}, {'n': 'x'}] | group_by(attribute='n') | keys | join(sep=',')", "a,x"),
    ] {
        assert_eq!(render(expression), expected, "{expression}");
    }
    for expression in [
        "'yes' | bool",
        "1 | bool",
        "'' | int",
        "'1.5' | int",
        "true | int",
        "'nan' | float",
        "'5 apples' | bytes",
        "'10' | duration",
        "'1x' | duration",
        "1 | clamp(min=3, max=2)",
        "1 | int(base=99)",
        "'MiB' | bytes",
        "1 | bytes(unit='apples')",
    ] {
        assert!(render(expression).starts_with("t:1:"), "{expression}: {}", render(expression));
    }
}

#[test]
fn text_filters() {
    for (expression, expected) in [
        ("'Man' | b64encode", "TWFu"),
        ("'Ma' | b64encode", "TWE="),
        ("'M' | b64encode", "TQ=="),
        ("'TWE=' | b64decode", "Ma"),
        ("'-_8' | b64decode", "t:1:12: filter `b64decode`: what its input encodes is not text"),
        ("'/a/b/c.d' | base", "c.d"),
        ("'/a/b/' | base", "b"),
        ("'/a/b/c.d' | dir", "/a/b"),
        ("'c' | dir", "."),
        ("'/c' | dir", "/"),
        ("'/' | dir", "/"),
        ("'a b/ü' | urlencode", "a%20b%2F%C3%BC"),
        ("'a b/c' | urlencode(keep='/')", "a%20b/c"),
        ("'{\"b\": [1, null], \"a\": null}' | parse_json | json", "{\"b\":[1,null]}"),
        ("'b: 1\\na: x' | parse_yaml | json", "{\"a\":\"x\",\"b\":1}"),
        ("'a = 1' | parse_toml | json", "{\"a\":1}"),
        ("[1, 'a'] | toml", "[1, \"a\"]"),
        ("\"it's\" | shell", "'it'\\''s'"),
        ("5 | quote", "\"5\""),
        ("5 | str ~ 'x'", "5x"),
        ("{'a': [1]} | json(pretty=true)", "{\n  \"a\": [\n    1\n  ]\n}"),
    ] {
        assert_eq!(
            render(expression).lines().take_while(|line| !line.contains(" | ")).collect::<Vec<_>>().join("\n"),
            expected,
            "{expression}"
        );
    }
    assert!(render("[1] | str").contains("filter `str`: its input must be a string"));
    assert!(render("[none] | toml").contains("filter `toml`: TOML cannot hold null"));
}

#[test]
fn binary_data_is_no_text() {
    let bytes = Value::bytes(vec![0xff, 0xfe]);
    assert_eq!(try_render("x | b64encode", bytes.clone(), Escape::None).unwrap(), "//4=");
    for expression in ["x", "x | json", "x | yaml", "x | toml", "x | quote", "x | upper"] {
        assert!(try_render(expression, bytes.clone(), Escape::None).is_err(), "{expression}");
    }
}

proptest! {
    #[test]
    fn trees_round_trip(json in super::yaml::tests::tree()) {
        let value = from_json(json);
        let written = try_render("x | json", value.clone(), Escape::Json).unwrap();
        prop_assert_eq!(from_json(serde_json::from_str(&written).unwrap()), value.clone());
        if value.is_map() {
            let written = try_render("x | toml", value.clone(), Escape::Toml).unwrap();
            let table: toml::Table = toml::from_str(&written).unwrap();
            prop_assert_eq!(from_json(serde_json::to_value(table).unwrap()), value, "{}", written);
        }
    }

    #[test]
    fn base64_round_trips(text in any::<String>()) {
        prop_assert_eq!(try_render("x | b64encode | b64decode", Value::from(text.clone()), Escape::None).unwrap(), text);
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        for filter in ["b64decode", "bytes", "duration", "int", "float", "bool", "base", "dir", "urlencode", "parse_json", "parse_yaml", "parse_toml"] {
            let _ = try_render(&format!("x | {filter}"), Value::from(text.clone()), Escape::None);
        }
    }
}
