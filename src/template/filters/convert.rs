//! Conversions that either give exactly what was meant or are an error.

use super::{Args, Input, fail};
use crate::value::{Map, Value};
use std::collections::BTreeMap;
use tera::TeraResult;
use tera::value::{Key, ValueKind};

/// `default(value, boolean)`. Tera's own does not cover null.
pub(super) fn default(input: &Value, args: &Args) -> TeraResult<Value> {
    let fallback = args.0.must_get::<Value>("value")?;
    let keep = match args.flag("boolean")? {
        Some(true) => input.is_truthy(),
        _ => !matches!(input.kind(), ValueKind::Undefined | ValueKind::None),
    };
    Ok(if keep { input.clone() } else { fallback })
}

/// `bool`: `true` and `false` in any case; anything else is an error, so that no word is true by accident.
pub(super) fn bool(input: &Value) -> TeraResult<Value> {
    if input.is_bool() {
        return Ok(input.clone());
    }
    match Input(input).text()?.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true.into()),
        "false" => Ok(false.into()),
        _ => Err(fail("its input is neither `true` nor `false`")),
    }
}

/// `int(base)`.
pub(super) fn int(input: &Value, args: &Args) -> TeraResult<Value> {
    let base = match args.integer("base")? {
        None => 10,
        Some(base) => u32::try_from(base)
            .ok()
            .filter(|base| (2..=36).contains(base))
            .ok_or_else(|| fail("argument `base` must be between 2 and 36"))?,
    };
    if input.as_i128().is_some() {
        return Ok(input.clone());
    }
    if let ValueKind::F64 = input.kind() {
        return whole(input.as_f64().unwrap_or(f64::NAN)).ok_or_else(|| fail("its input is no whole number"));
    }
    let text = Input(input).text()?.trim();
    let digits = match base {
        2 => text.strip_prefix("0b").unwrap_or(text),
        8 => text.strip_prefix("0o").unwrap_or(text),
        16 => text.strip_prefix("0x").unwrap_or(text),
        _ => text,
    };
    let parsed = i128::from_str_radix(digits, base).ok().map(small);
    let parsed = parsed.or_else(|| text.parse::<f64>().ok().filter(|_| base == 10).and_then(whole));
    parsed.ok_or_else(|| fail(format_args!("its input is no whole number in base {base}")))
}

/// `float`.
pub(super) fn float(input: &Value) -> TeraResult<Value> {
    if let Some(number) = input.as_number() {
        return Ok(number.as_float().into());
    }
    let number = Input(input).text()?.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.map(Value::from).ok_or_else(|| fail("its input is no number"))
}

/// The smallest integer type, so that JSON and TOML can hold it.
fn small(value: i128) -> Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => value.into(),
        (_, Ok(value)) => value.into(),
        _ => value.into(),
    }
}

/// A float that is a whole number, as an integer. Beyond 2^53 a float is no count any more.
fn whole(value: f64) -> Option<Value> {
    #[allow(clippy::cast_possible_truncation, reason = "bounded by the condition, and whole")]
    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then(|| (value as i64).into())
}

/// `round(method, precision)`. Tera's own gives `402653184.0`, which no program takes for a size.
pub(super) fn round(input: &Value, args: &Args) -> TeraResult<Value> {
    let method: fn(f64) -> f64 = match args.text("method")? {
        None | Some("common") => f64::round,
        Some("ceil") => f64::ceil,
        Some("floor") => f64::floor,
        Some(_) => return Err(fail("argument `method` must be `common`, `ceil` or `floor`")),
    };
    let precision = args.integer("precision")?.unwrap_or(0);
    let precision = i32::try_from(precision)
        .ok()
        .filter(|digits| (-300..=300).contains(digits))
        .ok_or_else(|| fail("argument `precision` must be between -300 and 300"))?;
    if input.as_i128().is_some() && precision >= 0 {
        return Ok(input.clone());
    }
    let number = input.as_number().ok_or_else(|| Input(input).not("a number"))?.as_float();
    let scale = 10_f64.powi(precision);
    let rounded = method(number * scale) / scale;
    if precision > 0 { Ok(rounded.into()) } else { whole(rounded).ok_or_else(|| fail("its input is too large")) }
}

/// `clamp(min, max)`.
pub(super) fn clamp(input: &Value, args: &Args) -> TeraResult<Value> {
    if !input.is_number() {
        return Err(Input(input).not("a number"));
    }
    let (min, max) = (args.number("min")?, args.number("max")?);
    if let (Some(min), Some(max)) = (&min, &max)
        && min > max
    {
        return Err(fail("argument `min` is larger than `max`"));
    }
    let at_least = min.filter(|min| input < min);
    Ok(at_least.or(max.filter(|max| input > max)).unwrap_or_else(|| input.clone()))
}

/// `bytes(unit)`: `512MiB` → 536870912; with a unit, how many whole ones that is.
pub(super) fn bytes(input: &Value, args: &Args) -> TeraResult<Value> {
    let size = match input.as_i128() {
        Some(size) => size,
        None => size(Input(input).text()?).ok_or_else(|| fail("its input is no size such as `512MiB` or `2g`"))?,
    };
    let unit = match args.text("unit")? {
        None => 1,
        Some(unit) => unit_of(unit).ok_or_else(|| fail("argument `unit` must be a unit such as `MiB`, `MB` or `m`"))?,
    };
    Ok(small(size / unit))
}

fn size(text: &str) -> Option<i128> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let unit = unit_of(text[digits..].trim())?;
    if let Ok(count) = text[..digits].parse::<i64>() {
        return i128::from(count).checked_mul(unit);
    }
    let count: f64 = text[..digits].parse().ok()?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a fraction of a unit")]
    Some((count * unit as f64) as i128).filter(|size| *size < 1 << 62)
}

/// `KiB`, `Ki` and bare `k` are 1024 (as docker, nginx, PHP and the JVM read it), `kB` is 1000.
fn unit_of(unit: &str) -> Option<i128> {
    let lower = unit.to_ascii_lowercase();
    let mut chars = lower.chars();
    let power = match chars.next() {
        None | Some('b') => return (lower.len() <= 1).then_some(1),
        Some(prefix) => 1 + u32::try_from("kmgtpe".find(prefix)?).ok()?,
    };
    match chars.as_str() {
        "" | "i" | "ib" => Some(1024_i128.pow(power)),
        "b" => Some(1000_i128.pow(power)),
        _ => None,
    }
}

/// `duration(unit)`: `1m30s` → 90; a whole number where it is one.
pub(super) fn duration(input: &Value, args: &Args) -> TeraResult<Value> {
    let text = Input(input).text()?.trim();
    let wrong = || fail("its input is no duration such as `90s` or `1h30m`");
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let count: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        nanoseconds += count * length_of(&rest[digits..letters]).ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    let unit = args.text("unit")?.unwrap_or("s");
    let unit = length_of(unit).ok_or_else(|| fail("argument `unit` must be `ns`, `us`, `ms`, `s`, `m`, `h` or `d`"))?;
    let count = nanoseconds / unit;
    Ok(whole(count).unwrap_or_else(|| count.into()))
}

/// A unit of time, in nanoseconds.
fn length_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        "d" => 86_400e9,
        _ => return None,
    })
}

/// `first`. Tera's own gives null for an empty list, which prints as nothing.
pub(super) fn first(input: &Value) -> TeraResult<Value> {
    Ok(Input(input).list()?.first().cloned().unwrap_or_else(Value::undefined))
}

/// `last`.
pub(super) fn last(input: &Value) -> TeraResult<Value> {
    Ok(Input(input).list()?.last().cloned().unwrap_or_else(Value::undefined))
}

/// `get(key, default)`. Tera's own names the key, which may be a value, in its message.
pub(super) fn get(input: &Value, args: &Args) -> TeraResult<Value> {
    let map = Input(input).map()?;
    let key = args.text("key")?.unwrap_or_default();
    match (map.get(&Key::Str(key)), args.value("default")?) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(fallback)) => Ok(fallback),
        (None, None) => Err(fail("its input has no such key, and there is no `default`")),
    }
}

/// `group_by(attribute)`: a map from the attribute's value to the items that have it, sorted. Tera's own is in no
/// order, so it would not render the same bytes twice.
pub(super) fn group_by(input: &Value, args: &Args) -> TeraResult<Value> {
    let attribute = args.text("attribute")?.unwrap_or_default();
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for item in Input(input).list()? {
        let missing = || fail("an item of its input has no such attribute");
        let value = item.get_from_path(attribute).ok_or_else(missing)?;
        if matches!(value.kind(), ValueKind::Map | ValueKind::Array | ValueKind::Bytes) {
            return Err(fail("an item's attribute is neither text nor a number"));
        }
        groups.entry(value.to_string()).or_default().push(item.clone());
    }
    Ok(Value::from(groups.into_iter().map(|(key, items)| (key.into(), Value::from(items))).collect::<Map>()))
}
