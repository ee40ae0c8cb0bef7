//! The name that was probably meant.

/// The candidate with the fewest edits (insert, remove, replace, swap), if these are few for the name's length.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(LONGEST).collect();
    let allowed = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= 4 * allowed && candidate.len() < 4 * LONGEST)
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, _)| (1..=allowed).contains(distance))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Names beyond this are no typing mistakes of each other, and the work is quadratic.
const LONGEST: usize = 64;

/// Optimal string alignment, ASCII case ignored.
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let same = usize::from(!a.eq_ignore_ascii_case(b));
            let mut best = (above[j] + same).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typing_mistakes_are_seen_through() {
        assert_eq!(nearest("hsot", ["port", "host"]), Some("host"));
        assert_eq!(nearest("tls_enabeld", ["tls_enabled", "tls"]), Some("tls_enabled"));
        assert_eq!(nearest("x", ["completely", "different"]), None);
        assert_eq!(nearest("", [""]), None);
    }
}
