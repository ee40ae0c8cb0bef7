//! Quantities as they are written: durations, sizes, permission bits. Pure text to number.

use std::time::Duration;

/// The longest duration that means anything here; sums with the present stay far from any overflow.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// `500ms`, `2s`, `1.5s`, `1m`, `1h30m`, `0s`; units `ms`, `s`, `m`, `h`, `d`, the larger first. The mistake is the
/// rest of a sentence, and the remedy.
pub fn duration(text: &str) -> Result<Duration, (String, String)> {
    let example = "write it like `500ms`, `2s`, `1m30s`";
    if text.is_empty() {
        return Err(("a duration is a number and a unit".into(), example.into()));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(("a duration needs a unit (ms, s, m, h, d)".into(), format!("write `{text}s`")));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut larger = f64::INFINITY;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let Some(number) = number.parse::<f64>().ok().filter(|_| number.ends_with(|c: char| c.is_ascii_digit())) else {
            return Err(("this is no duration".into(), example.into()));
        };
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "" if tail.is_empty() => {
                return Err(("a duration needs a unit (ms, s, m, h, d)".into(), format!("write `{text}s`")));
            }
            "" => return Err(("this is no duration".into(), example.into())),
            unit => return Err((format!("`{unit}` is no unit of time"), "known units: ms, s, m, h, d".into())),
        };
        if seconds >= larger {
            return Err(("the larger unit comes first, each once".into(), example.into()));
        }
        larger = seconds;
        // Whole milliseconds are exact this way, which a product of floats is not.
        let part = Duration::try_from_secs_f64((number * seconds * 1e6).round() / 1e6).unwrap_or(Duration::MAX);
        total = total.saturating_add(part);
        rest = tail;
    }
    if total > LONGEST {
        return Err(("this is longer than ten years".into(), example.into()));
    }
    Ok(total)
}

/// `256MiB`, `64M`, `1GiB`, `4096B`: bytes. `K`, `M`, `G` are powers of 1024, as in docker and Kubernetes' `Ki`.
pub fn size(text: &str) -> Result<u64, (String, String)> {
    let example = || "write it like `256MiB` or `64M`".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let Ok(number) = number.parse::<u64>() else { return Err(("this is no size".into(), example())) };
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => return Err(("a size needs a unit (B, KiB, MiB, GiB)".into(), format!("write `{text}MiB`"))),
        "b" => 1,
        "k" | "ki" | "kib" | "kb" => 1 << 10,
        "m" | "mi" | "mib" | "mb" => 1 << 20,
        "g" | "gi" | "gib" | "gb" => 1 << 30,
        _ => return Err((format!("`{unit}` is no unit of size"), "known units: B, KiB, MiB, GiB".into())),
    };
    number.checked_mul(factor).ok_or_else(|| ("this is more than can be counted".into(), example()))
}

/// Permission bits in octal: `0644`, at most `limit`.
pub fn octal(text: &str, limit: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8).ok().filter(|bits| digits && *bits <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let ok = |text| duration(text).unwrap().as_millis();
        assert_eq!(ok("500ms"), 500);
        assert_eq!(ok("2s"), 2_000);
        assert_eq!(ok("1.5s"), 1_500);
        assert_eq!(ok("1h30m"), 5_400_000);
        assert_eq!(ok("0s"), 0);
        assert_eq!(duration("60").unwrap_err().1, "write `60s`");
        assert_eq!(duration("1m30").unwrap_err().1, "write `1m30s`");
        assert_eq!(duration("5 minutes").unwrap_err().1, "write it like `500ms`, `2s`, `1m30s`");
        assert_eq!(duration("5sec").unwrap_err().0, "`sec` is no unit of time");
        assert_eq!(duration("30s1m").unwrap_err().0, "the larger unit comes first, each once");
        for bad in ["", "s", "-1s", "1..5s", ".s", "99999999999999999999h", "1e3s", "5.s", "é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_modes() {
        assert_eq!(size("256MiB").unwrap(), 256 << 20);
        assert_eq!(size("64M").unwrap(), 64 << 20);
        assert_eq!(size("64").unwrap_err().1, "write `64MiB`");
        assert!(size("99999999999G").is_err());
        assert!(size("").is_err());
        assert_eq!(octal("0644", 0o7777), Some(0o644));
        assert_eq!(octal("+644", 0o7777), None);
        assert_eq!(octal("0999", 0o7777), None);
        assert_eq!(octal("10000", 0o7777), None);
    }

    proptest! {
        #[test]
        fn a_duration_reads_back(ms in 0_u64..86_400_000) {
            let duration_of = |text: String| duration(&text).unwrap();
            prop_assert_eq!(duration_of(format!("{ms}ms")), Duration::from_millis(ms));
            let (s, ms_left) = (ms / 1000, ms % 1000);
            prop_assert_eq!(duration_of(format!("{}h{}m{}s{ms_left}ms", s / 3600, s / 60 % 60, s % 60)), Duration::from_millis(ms));
        }

        #[test]
        fn no_text_panics(text in "\\PC*", number in "[0-9.]{0,30}[a-z]{0,3}") {
            let _ = (duration(&text), size(&text), octal(&text, 0o777));
            let _ = (duration(&number), size(&number), octal(&number, 0o777));
        }

        #[test]
        fn a_size_reads_back(mib in 0_u64..1 << 40) {
            prop_assert_eq!(size(&format!("{mib}MiB")).unwrap(), mib << 20);
        }
    }
}
