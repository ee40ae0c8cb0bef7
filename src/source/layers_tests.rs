//! Orders and times of answers, without any I/O.
#![allow(clippy::unnecessary_wraps, reason = "an answer is a `Result` wherever it is used")]

use super::*;
use crate::config::plan::Place;
use crate::source::uri::Uri;
use std::time::Duration;

fn layers(uris: &[&str]) -> Layers {
    let layers = uris.iter().map(|uri| {
        let uri = Uri::parse(uri).unwrap();
        LayerPlan { optional: uri.option("optional").is_some(), uri }
    });
    Layers::new(&[SourcePlan { name: "app".to_owned(), layers: layers.collect(), place: Place(String::new()) }])
}

fn reading(json: &str) -> Result<Reading, SourceError> {
    let found = Found::Value(Format::Json.parse(json).unwrap());
    Ok(Reading { found, secret: false, warnings: Vec::new() })
}

fn missing(what: &str) -> Result<Reading, SourceError> {
    Ok(Reading { found: Found::Missing(what.to_owned()), secret: false, warnings: Vec::new() })
}

fn refused() -> Result<Reading, SourceError> {
    Err(SourceError::later("reach consul at http://127.0.0.1:8500: connection refused").hint("start it"))
}

fn show(layers: &Layers) -> String {
    match layers.snapshot(0) {
        State::Ready { value, .. } => serde_json::to_string(&value).unwrap(),
        State::Waiting(complaints) => {
            complaints.iter().map(|complaint| complaint.message.clone()).collect::<Vec<_>>().join("; ")
        }
    }
}

fn texts(applied: &Applied) -> Vec<&str> {
    applied.notices.iter().map(|notice| notice.complaint.message.as_str()).collect()
}

#[test]
fn complete_when_every_layer_is() {
    let now = Instant::now();
    let mut layers = layers(&["file:/d.toml", "etcd:app", "env:APP_"]);
    assert_eq!(show(&layers).matches("has not answered yet").count(), 3);
    assert!(!layers.apply(LayerId(0), reading(r#"{"port":80,"db":{"host":"h"}}"#), now).changed);
    assert!(!layers.apply(LayerId(2), reading(r#"{"port":"8080"}"#), now).changed);
    let applied = layers.apply(LayerId(1), refused(), now);
    assert_eq!(texts(&applied), ["source `app`: failed to reach consul at http://127.0.0.1:8500: connection refused"]);
    assert_eq!(applied.notices[0].complaint.hint.as_deref(), Some("start it"));
    assert_eq!(show(&layers), texts(&applied)[0]);
    let applied = layers.apply(LayerId(1), reading(r#"{"db":{"host":"x"}}"#), now);
    assert!(applied.changed);
    assert_eq!(texts(&applied), ["source `app`: etcd:app can be read now"]);
    assert_eq!(show(&layers), r#"{"db":{"host":"x"},"port":8080}"#);
    assert!(!layers.apply(LayerId(1), reading(r#"{"db":{"host":"x"}}"#), now).changed);
}

#[test]
fn an_outage_changes_nothing_and_is_said_once() {
    let start = Instant::now();
    let mut layers = layers(&["etcd:app"]);
    assert!(layers.apply(LayerId(0), reading(r#"{"a":"1"}"#), start).changed);
    let mut said = 0;
    for second in 1..=90 {
        let applied = layers.apply(LayerId(0), refused(), start + Duration::from_secs(second));
        assert!(!applied.changed);
        said += applied.notices.len();
    }
    assert_eq!(said, 2);
    assert_eq!(show(&layers), r#"{"a":"1"}"#);
    assert_eq!(layers.troubles(0).len(), 1);
    assert_eq!(layers.fresh_at(0), Some(start));
    let later = start + Duration::from_secs(200);
    assert_eq!(layers.fresh(LayerId(0), later).len(), 1);
    assert!(layers.troubles(0).is_empty());
    assert_eq!(layers.fresh_at(0), Some(later));
}

#[test]
fn a_required_thing_that_is_gone_keeps_its_value_and_an_optional_one_does_not() {
    let now = Instant::now();
    let mut one = layers(&["file:/d.toml"]);
    assert!(!one.apply(LayerId(0), missing("there is no file /d.toml"), now).changed);
    assert_eq!(show(&one), "source `app`: there is no file /d.toml");
    assert!(one.apply(LayerId(0), reading(r#"{"a":1}"#), now).changed);
    let applied = one.apply(LayerId(0), missing("there is no file /d.toml"), now);
    assert!(!applied.changed);
    assert_eq!(texts(&applied), ["source `app`: there is no file /d.toml; its last value stays in use"]);
    assert_eq!(show(&one), r#"{"a":1}"#);

    let mut two = layers(&["file:/d.toml", "file:/o.toml?optional"]);
    two.apply(LayerId(0), reading(r#"{"a":1}"#), now);
    assert!(two.apply(LayerId(1), missing("there is no file /o.toml"), now).changed, "a definite answer");
    assert!(two.apply(LayerId(1), reading(r#"{"a":2}"#), now).changed);
    assert_eq!(show(&two), r#"{"a":2}"#);
    assert!(two.apply(LayerId(1), missing("there is no file /o.toml"), now).changed);
    assert_eq!(show(&two), r#"{"a":1}"#);
}

#[test]
fn an_optional_store_is_waited_for_then_skipped_then_merged() {
    let now = Instant::now();
    let mut layers = layers(&["file:/d.toml", "etcd:app?optional"]);
    layers.apply(LayerId(0), reading(r#"{"a":1}"#), now);
    layers.apply(LayerId(1), refused(), now);
    assert!(matches!(layers.snapshot(0), State::Waiting(_)));
    assert_eq!(layers.give_up_optional(), [0]);
    assert_eq!(show(&layers), r#"{"a":1}"#);
    assert!(layers.give_up_optional().is_empty());
    assert!(layers.apply(LayerId(1), reading(r#"{"a":"2"}"#), now).changed);
    assert_eq!(show(&layers), r#"{"a":2}"#);
}

#[test]
fn content_that_is_wrong_is_never_skipped() {
    let now = Instant::now();
    let mut layers = layers(&["file:/d.toml?optional"]);
    layers.apply(LayerId(0), Err(SourceError::on_change("parse /d.toml: line 1: invalid key")), now);
    assert!(layers.give_up_optional().is_empty());
    assert_eq!(show(&layers), "source `app`: failed to parse /d.toml: line 1: invalid key");
}

#[test]
fn a_text_of_the_wrong_type_names_key_layer_and_type() {
    let now = Instant::now();
    let mut layers = layers(&["file:/d.toml", "env:APP_"]);
    layers.apply(LayerId(0), reading(r#"{"db":{"port":1}}"#), now);
    let applied = layers.apply(LayerId(1), reading(r#"{"db":{"port":"hunter2"}}"#), now);
    assert_eq!(texts(&applied), ["source `app`: `db.port` of env:APP_ is not an integer"]);
    assert_eq!(
        applied.notices[0].complaint.hint.as_deref(),
        Some("file:/d.toml has an integer there, and a text that replaces it must be one, too")
    );
    assert_eq!(show(&layers), texts(&applied)[0]);
    assert!(layers.apply(LayerId(0), reading(r#"{"db":{"port":"x"}}"#), now).changed);
    assert_eq!(show(&layers), r#"{"db":{"port":"hunter2"}}"#);
    assert!(!layers.apply(LayerId(0), reading(r#"{"db":{"port":2}}"#), now).changed);
    assert_eq!(show(&layers), r#"{"db":{"port":"hunter2"}}"#, "the last complete snapshot stays");
    assert_eq!(layers.troubles(0).len(), 1);
}

#[test]
fn options_of_a_layer() {
    let now = Instant::now();
    let mut typed = layers(&["env:?typed"]);
    typed.apply(LayerId(0), reading(r#"{"A":"1","B":"x","C":null}"#), now);
    assert_eq!(show(&typed), r#"{"A":1,"B":"x"}"#);
    let mut parsed = layers(&["etcd:app?format=json"]);
    let applied = parsed.apply(LayerId(0), reading(r#"{"a":{"b":"hunter2"}}"#), now);
    assert!(
        texts(&applied)[0].starts_with("source `app`: failed to parse `a.b` of etcd:app?format=json as JSON: line 1")
    );
    assert!(!texts(&applied)[0].contains("hunter2"));
    parsed.apply(LayerId(0), reading(r#"{"a":{"b":"[1]","c":"null"}}"#), now);
    assert_eq!(show(&parsed), r#"{"a":{"b":[1]}}"#);
}

#[test]
fn a_single_layers_tree_is_shared_not_copied() {
    let now = Instant::now();
    let mut layers = layers(&["etcd:app"]);
    let value = Format::Json.parse(r#"{"a":"1"}"#).unwrap();
    let at = value.as_map().map(std::ptr::from_ref);
    layers.apply(LayerId(0), Ok(Reading { found: Found::Value(value), secret: true, warnings: Vec::new() }), now);
    let State::Ready { value, secret } = layers.snapshot(0) else { panic!() };
    assert_eq!(value.as_map().map(std::ptr::from_ref), at);
    assert!(secret);
}

#[test]
fn what_can_change() {
    assert!(!layers(&["env:", "container:"]).can_change(0));
    assert!(layers(&["env:", "file:/x"]).can_change(0));
    assert_eq!(layers(&["env:"]).fresh_at(0), None);
}

#[test]
fn warnings_are_said_once_and_not_by_the_hundred() {
    let now = Instant::now();
    let mut layers = layers(&["etcd:app"]);
    let warn = |n: usize| {
        let warnings = (0..n).map(|i| format!("`{i}` is odd")).collect();
        Ok(Reading { found: Found::Value(Value::from(Map::new())), secret: false, warnings })
    };
    assert_eq!(texts(&layers.apply(LayerId(0), warn(1), now)), ["source `app`: etcd:app: `0` is odd"]);
    assert!(layers.apply(LayerId(0), warn(1), now).notices.is_empty());
    assert_eq!(layers.apply(LayerId(0), warn(500), now).notices.len(), 11);
}
