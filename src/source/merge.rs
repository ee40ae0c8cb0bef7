//! One layer over another: maps merge, null removes, what is later wins; and text takes the type of what it replaces.

use crate::value::{self, Map, Value, key_text};
use tera::value::{Key, ValueKind};

/// What is known of the upper layer's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct How {
    /// A string in it is text that has no type of its own (the environment, a store), not a document's string.
    pub(super) text: bool,
    /// `?typed`: text over nothing gets the type that it looks like.
    pub(super) infer: bool,
}

/// A text that is not of the type that it has in a lower layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// The key's path, outermost first.
    pub(super) path: Vec<String>,
    /// The type: `integer`.
    pub(super) wanted: &'static str,
}

/// `upper` over `lower`; `None` when nothing is left. Both keep the rules of [`crate::value`], `upper` may hold nulls; so
/// does the result keep them. What only one layer has is shared, not copied.
pub(super) fn merge(lower: Option<&Value>, upper: &Value, how: How) -> Result<Option<Value>, Mismatch> {
    merge_at(lower, upper, how).map_err(|mut mismatch| {
        mismatch.path.reverse();
        mismatch
    })
}

/// The path of a mismatch is gathered from the inside out.
fn merge_at(lower: Option<&Value>, upper: &Value, how: How) -> Result<Option<Value>, Mismatch> {
    if let Some(above) = upper.as_map() {
        return maps(lower.and_then(Value::as_map), upper, above, how).map(Some);
    }
    match upper.as_str() {
        Some(text) if how.text => typed(text, lower, how.infer)
            .map(|typed| Some(typed.unwrap_or_else(|| upper.clone())))
            .map_err(|wanted| Mismatch { path: Vec::new(), wanted }),
        _ => Ok(value::without_null(upper)),
    }
}

fn maps(lower: Option<&Map>, upper: &Value, above: &Map, how: How) -> Result<Value, Mismatch> {
    // Over nothing, and with nothing to infer, only nulls make a difference.
    if lower.is_none_or(Map::is_empty) && !how.infer {
        return Ok(value::without_null(upper).unwrap_or_else(|| upper.clone()));
    }
    let mut merged = lower.cloned().unwrap_or_default();
    for (key, value) in above {
        let below = lower.and_then(|lower| lower.get(key));
        let value = merge_at(below, value, how).map_err(|mut mismatch| {
            mismatch.path.push(key_text(key).to_owned());
            mismatch
        })?;
        match value {
            Some(value) => merged.insert(key.clone(), value),
            None => merged.shift_remove(key),
        };
    }
    if !merged.keys().is_sorted() {
        merged.sort_unstable_keys();
    }
    Ok(Value::from(merged))
}

/// The value at a path, outermost key first.
pub(super) fn at<'v>(value: &'v Value, path: &'v [String]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| value.as_map()?.get(&Key::Str(key)))
}

/// A text as the type of what it replaces; `None`: it stays text. The error is the type that it is not.
fn typed(text: &str, lower: Option<&Value>, infer: bool) -> Result<Option<Value>, &'static str> {
    let Some(lower) = lower else { return Ok(if infer { inferred(text) } else { None }) };
    // Values in stores often end in the newline of the `echo` that wrote them.
    let trimmed = text.trim();
    match lower.kind() {
        ValueKind::Bool => boolean(trimmed).map(Some).ok_or("boolean"),
        ValueKind::U64 | ValueKind::I64 | ValueKind::U128 | ValueKind::I128 => {
            integer(trimmed).map(Some).ok_or("integer")
        }
        ValueKind::F64 => float(trimmed).map(Some).ok_or("number"),
        ValueKind::Array => {
            let lower = lower.as_array().unwrap_or_default();
            list(trimmed, lower).map(Some).ok_or_else(|| match model(lower).map(Value::kind) {
                _ if trimmed.starts_with('[') => "list",
                Some(ValueKind::Bool) => "list of booleans",
                Some(ValueKind::F64) => "list of numbers",
                Some(ValueKind::U64 | ValueKind::I64 | ValueKind::U128 | ValueKind::I128) => "list of integers",
                _ => "list",
            })
        }
        _ => Ok(None),
    }
}

fn boolean(text: &str) -> Option<Value> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match () {
        () if is(["true", "yes", "on", "1"]) => Some(Value::from(true)),
        () if is(["false", "no", "off", "0"]) => Some(Value::from(false)),
        () => None,
    }
}

fn integer(text: &str) -> Option<Value> {
    // The smallest type, as a document's parser gives it.
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
}

fn float(text: &str) -> Option<Value> {
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
}

/// A JSON array, or items separated by commas. Where all items below are of one type, so are these.
fn list(text: &str, lower: &[Value]) -> Option<Value> {
    if text.starts_with('[') {
        let list = super::format::Format::Json.parse(text).ok()?;
        return list.as_array().and_then(|_| value::without_null(&list));
    }
    if text.is_empty() {
        return Some(Value::from(Vec::<Value>::new()));
    }
    let model = model(lower);
    let items = text.split(',').map(|item| {
        let item = item.trim();
        match model {
            Some(model) if !model.is_array() => {
                Some(typed(item, Some(model), false).ok()?.unwrap_or_else(|| Value::from(item)))
            }
            _ => Some(Value::from(item)),
        }
    });
    items.collect::<Option<Vec<_>>>().map(Value::from)
}

/// What all items are like, if they are of one type.
fn model(list: &[Value]) -> Option<&Value> {
    list.first().filter(|first| list.iter().all(|item| item.kind() == first.kind()))
}

/// `?typed`: what the text is when it is written as JSON writes it. `007`, `1e5` and ` 1` stay text: they are more often
/// identifiers than numbers.
fn inferred(text: &str) -> Option<Value> {
    match text {
        "true" => return Some(Value::from(true)),
        "false" => return Some(Value::from(false)),
        _ => {}
    }
    if text.starts_with(['[', '{']) {
        return super::format::Format::Json.parse(text).ok().and_then(|value| value::without_null(&value));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    match fraction {
        None => integer(text),
        Some(fraction) if is_number(fraction) => float(text),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::format::Format;
    use proptest::prelude::*;

    const DOCUMENT: How = How { text: false, infer: false };
    const TEXT: How = How { text: true, infer: false };
    const TYPED: How = How { text: true, infer: true };

    fn json(text: &str) -> Value {
        Format::Json.parse(text).unwrap()
    }

    fn show(lower: &str, upper: &str, how: How) -> String {
        serde_json::to_string(&merge(Some(&json(lower)), &json(upper), how).unwrap()).unwrap()
    }

    fn wanted(lower: &str, upper: &str) -> (String, &'static str) {
        let mismatch = merge(Some(&json(lower)), &json(upper), TEXT).unwrap_err();
        (mismatch.path.join("."), mismatch.wanted)
    }

    #[test]
    fn maps_merge_and_null_removes() {
        let lower = r#"{"a":{"x":1,"y":2},"b":1,"d":{"e":1}}"#;
        assert_eq!(
            show(lower, r#"{"a":{"y":null,"w":3},"b":null,"c":[1,null]}"#, DOCUMENT),
            r#"{"a":{"w":3,"x":1},"c":[1],"d":{"e":1}}"#
        );
        assert_eq!(show(lower, r#"{"a":1,"b":{"n":null,"m":1}}"#, DOCUMENT), r#"{"a":1,"b":{"m":1},"d":{"e":1}}"#);
        assert_eq!(merge(Some(&json("1")), &Value::none(), DOCUMENT).unwrap(), None);
    }

    #[test]
    fn text_takes_the_type_below() {
        let lower = r#"{"b":true,"f":1.5,"i":1,"l":[80,443],"s":"1","t":["a"],"e":[]}"#;
        let upper = r#"{"b":"OFF","f":"2","i":"-3\n","l":"8080, 8443","s":"2","t":"x,y","e":"1,b","new":"5"}"#;
        assert_eq!(
            show(lower, upper, TEXT),
            r#"{"b":false,"e":["1","b"],"f":2.0,"i":-3,"l":[8080,8443],"new":"5","s":"2","t":["x","y"]}"#
        );
        assert_eq!(show(r#"{"l":[1]}"#, r#"{"l":"[\"a\",2]"}"#, TEXT), r#"{"l":["a",2]}"#);
        assert_eq!(show(r#"{"l":[1]}"#, r#"{"l":" "}"#, TEXT), r#"{"l":[]}"#);
        // A document's string is a string because its author wrote quotes.
        assert_eq!(show(r#"{"i":1}"#, r#"{"i":"x"}"#, DOCUMENT), r#"{"i":"x"}"#);
    }

    #[test]
    fn what_does_not_parse_is_named() {
        assert_eq!(wanted(r#"{"a":{"b":1}}"#, r#"{"a":{"b":"1.5"}}"#), ("a.b".to_owned(), "integer"));
        assert_eq!(wanted(r#"{"a":true}"#, r#"{"a":"maybe"}"#), ("a".to_owned(), "boolean"));
        assert_eq!(wanted(r#"{"a":1.0}"#, r#"{"a":"inf"}"#), ("a".to_owned(), "number"));
        assert_eq!(wanted(r#"{"a":[1]}"#, r#"{"a":"1,b"}"#), ("a".to_owned(), "list of integers"));
        assert_eq!(wanted(r#"{"a":[true]}"#, r#"{"a":"1,b"}"#), ("a".to_owned(), "list of booleans"));
        assert_eq!(wanted(r#"{"a":[1]}"#, r#"{"a":"[1"}"#), ("a".to_owned(), "list"));
    }

    #[test]
    fn types_are_inferred_over_nothing_only() {
        let upper = r#"{"a":"true","b":"12","c":"-1.50","d":"007","e":"1e5","f":"[1,\"x\"]","g":"{\"k\":null}","h":"[","s":"1","n":""}"#;
        assert_eq!(
            show(r#"{"s":"0"}"#, upper, TYPED),
            r#"{"a":true,"b":12,"c":-1.5,"d":"007","e":"1e5","f":[1,"x"],"g":{},"h":"[","n":"","s":"1"}"#
        );
    }

    /// Trees of documents; a map is never empty, because an empty map over a scalar is not nothing.
    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![(0..5_i64).prop_map(Value::from), "[a-b]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::vec(("[a-c]", inner), 1..4).prop_map(value::sorted_map)
        })
    }

    fn over(lower: &Value, upper: &Value) -> Value {
        merge(Some(lower), upper, DOCUMENT).unwrap().unwrap()
    }

    /// Whether a map meets a scalar anywhere: there associativity cannot hold, because the scalar hides what is below.
    fn clash(a: &Value, b: &Value) -> bool {
        match (a.as_map(), b.as_map()) {
            (Some(a), Some(b)) => a.iter().any(|(key, a)| b.get(key).is_some_and(|b| clash(a, b))),
            (a, b) => a.is_some() != b.is_some(),
        }
    }

    proptest! {
        #[test]
        fn merging_is_associative_where_maps_meet_maps(a in tree(), b in tree(), c in tree()) {
            prop_assume!(!clash(&a, &b) && !clash(&b, &c) && !clash(&a, &c));
            prop_assert_eq!(over(&over(&a, &b), &c), over(&a, &over(&b, &c)));
        }

        #[test]
        fn merging_is_idempotent_and_keeps_the_upper_whole(a in tree(), b in tree()) {
            prop_assert_eq!(over(&a, &a), a.clone());
            let merged = over(&a, &b);
            prop_assert_eq!(over(&merged, &b), merged.clone());
        }

        #[test]
        fn text_of_any_kind_never_panics(text in "[\\[\\]{}0-9a-z.,\" -]{0,12}") {
            for lower in ["true", "1", "1.5", "[1]", "[[1]]", "{}", "\"\""] {
                let _ = typed(&text, Some(&json(lower)), true);
            }
            let _ = inferred(&text);
        }
    }
}
