//! "did you mean": the known name that is nearest to a mistyped one.

/// The candidate with the fewest typing mistakes between it and `name`, when few enough that it was probably meant: one
/// in three characters, at least one. Case, `-` and `_` do not count as mistakes.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(name);
    // A hostile name must not cost quadratic time; no known name is this long.
    if folded.is_empty() || folded.len() > 64 {
        return None;
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = fold(candidate);
            let bound = (folded.len().max(other.len()) / 3).max(1);
            let distance = distance(&folded, &other);
            (distance <= bound && distance < folded.len()).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `hint: did you mean …`, or else the list of what is known.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}

fn fold(text: &str) -> Vec<char> {
    text.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment distance).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_are_recognised_and_other_words_are_not() {
        let known = ["wait", "settle", "throttle", "template", "state_dir"];
        assert_eq!(nearest("wiat", known), Some("wait"));
        assert_eq!(nearest("templates", known), Some("template"));
        assert_eq!(nearest("trottle", known), Some("throttle"));
        assert_eq!(nearest("State-Dir", known), Some("state_dir"));
        assert_eq!(nearest("cache", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("hsot", ["port", "host"]), Some("host"));
        assert_eq!(nearest("tls_enabeld", ["tls_enabled", "tls"]), Some("tls_enabled"));
        assert_eq!(nearest("x", ["completely", "different"]), None);
    }

    #[test]
    fn a_list_when_nothing_is_near() {
        assert_eq!(suggestion("frm", &["from", "to"]), "did you mean `from`?");
        assert_eq!(suggestion("cache", &["from", "to"]), "known here: from, to");
    }
}
