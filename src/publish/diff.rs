//! What differs between two texts, line by line, as a unified diff. Pure: whoever shows it decides how each line is shown.

use std::collections::HashMap;
use std::ops::Range;

/// Lines around a change.
const CONTEXT: usize = 3;
/// Beyond so many differing lines no shortest script is sought: what differs is replaced as a whole. Bounds time and
/// memory (4 × its square, bytes).
const MAX_EDITS: usize = 1000;

/// One line of a hunk, by its index in the old or the new text (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// In both: the old and the new index.
    Both(usize, usize),
    /// In the old text only.
    Old(usize),
    /// In the new text only.
    New(usize),
}

/// A run of changes with the lines around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// Lines of the old text.
    pub old: Range<usize>,
    /// Lines of the new text.
    pub new: Range<usize>,
    /// In the order that they are shown: of a change the old lines first.
    pub steps: Vec<Step>,
}

impl Hunk {
    /// `@@ -1,4 +1,5 @@`, as POSIX has it: a length of 1 is left out, and an empty range names the line before it.
    pub fn header(&self) -> String {
        let range = |range: &Range<usize>| match range.len() {
            0 => format!("{},0", range.start),
            1 => format!("{}", range.start + 1),
            n => format!("{},{n}", range.start + 1),
        };
        format!("@@ -{} +{} @@", range(&self.old), range(&self.new))
    }
}

/// The lines of a text, each with its newline; the last may have none.
pub fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The hunks that make `new` of `old`. Lines are equal when their bytes are.
pub fn hunks(old: &[&str], new: &[&str]) -> Vec<Hunk> {
    let steps = steps(old, new);
    let mut hunks: Vec<Hunk> = Vec::new();
    // Of every step the position in both texts before it.
    let (mut at_old, mut at_new) = (0, 0);
    let places: Vec<(usize, usize)> = steps
        .iter()
        .map(|step| {
            let place = (at_old, at_new);
            at_old += usize::from(!matches!(step, Step::New(_)));
            at_new += usize::from(!matches!(step, Step::Old(_)));
            place
        })
        .collect();
    let mut next = 0;
    while let Some(first) = steps[next..].iter().position(|step| !matches!(step, Step::Both(..))) {
        let start = (next + first).saturating_sub(CONTEXT).max(next);
        let mut end = next + first;
        // As long as no more than twice the context lies between, it is one hunk.
        while let Some(gap) = steps[end..].iter().position(|step| !matches!(step, Step::Both(..))) {
            if gap > 2 * CONTEXT {
                break;
            }
            end += gap + 1;
        }
        next = (end + CONTEXT).min(steps.len());
        let (old_start, new_start) = places[start];
        let (old_end, new_end) = places.get(next).copied().unwrap_or((old.len(), new.len()));
        hunks.push(Hunk { old: old_start..old_end, new: new_start..new_end, steps: steps[start..next].to_vec() });
    }
    hunks
}

/// Every line of both texts, in order.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let tail = old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(old, new)| old == new).count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let mut steps: Vec<Step> = (0..head).map(|at| Step::Both(at, at)).collect();
    let kept = common(&old[head..old_end], &new[head..new_end]).into_iter();
    let (mut from_old, mut from_new) = (head, head);
    for (to_old, to_new) in kept.map(|(old, new)| (head + old, head + new)).chain([(old_end, new_end)]) {
        steps.extend((from_old..to_old).map(Step::Old));
        steps.extend((from_new..to_new).map(Step::New));
        if to_old < old_end {
            steps.push(Step::Both(to_old, to_new));
        }
        (from_old, from_new) = (to_old + 1, to_new + 1);
    }
    steps.extend((0..tail).map(|at| Step::Both(old_end + at, new_end + at)));
    steps
}

/// Pairs of equal lines that a shortest script keeps, in order: Myers, "An O(ND) Difference Algorithm", 1986. Position
/// `x` of the old text and `y` of the new one are on the diagonal `x - y`.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let (old, new) = numbered(old, new);
    let (old_end, new_end) = (to_signed(old.len()), to_signed(new.len()));
    let most = (old.len() + new.len()).min(MAX_EDITS);
    let centre = to_signed(most) + 1;
    let slot = |diagonal: isize| usize::try_from(diagonal + centre).unwrap_or_default();
    let mut furthest = vec![0_isize; 2 * most + 3];
    // Of each round what was reached before it, on the diagonals that it can have touched.
    let mut trace: Vec<Vec<isize>> = Vec::new();
    let mut found = false;
    'rounds: for round in 0..=to_signed(most) {
        trace.push(furthest[slot(-round - 1)..=slot(round + 1)].to_vec());
        for diagonal in (-round..=round).step_by(2) {
            let (left, right) = (furthest[slot(diagonal - 1)], furthest[slot(diagonal + 1)]);
            let mut x = if inserts(diagonal, round, left, right) { right } else { left + 1 };
            while x < old_end && x - diagonal < new_end && at(&old, x) == at(&new, x - diagonal) {
                x += 1;
            }
            furthest[slot(diagonal)] = x;
            if x >= old_end && x - diagonal >= new_end {
                found = true;
                break 'rounds;
            }
        }
    }
    if !found {
        return Vec::new();
    }
    let mut pairs = Vec::new();
    let (mut x, mut y) = (old_end, new_end);
    for (round, before) in trace.iter().enumerate().rev() {
        let round = to_signed(round);
        let reached = |diagonal: isize| {
            usize::try_from(diagonal + round + 1).ok().and_then(|at| before.get(at)).copied().unwrap_or(0)
        };
        let diagonal = x - y;
        let (left, right) = (reached(diagonal - 1), reached(diagonal + 1));
        let (from_x, from_y) = match round {
            0 => (0, 0),
            _ if inserts(diagonal, round, left, right) => (right, right - diagonal - 1),
            _ => (left, left - diagonal + 1),
        };
        while x > from_x && y > from_y {
            (x, y) = (x - 1, y - 1);
            pairs.push((usize::try_from(x).unwrap_or_default(), usize::try_from(y).unwrap_or_default()));
        }
        (x, y) = (from_x, from_y);
    }
    pairs.reverse();
    pairs
}

/// Whether a diagonal's furthest position comes from the diagonal at its right, by a line of the new text; else it comes
/// from the left, by one of the old text.
fn inserts(diagonal: isize, round: isize, left: isize, right: isize) -> bool {
    diagonal == -round || diagonal != round && left < right
}

/// Equal lines get equal numbers: they compare faster.
fn numbered<'t>(a: &[&'t str], b: &[&'t str]) -> (Vec<usize>, Vec<usize>) {
    let mut numbers: HashMap<&'t str, usize> = HashMap::new();
    let mut number = |lines: &[&'t str]| {
        let number = |line: &&'t str| {
            let next = numbers.len();
            *numbers.entry(line).or_insert(next)
        };
        lines.iter().map(number).collect()
    };
    (number(a), number(b))
}

fn at(lines: &[usize], index: isize) -> Option<usize> {
    usize::try_from(index).ok().and_then(|index| lines.get(index)).copied()
}

fn to_signed(count: usize) -> isize {
    isize::try_from(count).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(old: &str, new: &str) -> String {
        let (old, new) = (lines(old), lines(new));
        let mut text = String::new();
        for hunk in hunks(&old, &new) {
            text.push_str(&hunk.header());
            text.push('\n');
            for step in hunk.steps {
                let (sign, line) = match step {
                    Step::Both(at, _) => (' ', old[at]),
                    Step::Old(at) => ('-', old[at]),
                    Step::New(at) => ('+', new[at]),
                };
                text.push(sign);
                text.push_str(line);
            }
        }
        text
    }

    fn numbers(word: &str, count: usize) -> String {
        (0..count).fold(String::new(), |text, n| text + &format!("{word}{n}\n"))
    }

    #[test]
    fn a_changed_line_with_three_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        assert_eq!(shown(old, &old.replace('5', "five")), "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
        assert_eq!(shown(old, old), "");
    }

    #[test]
    fn near_changes_share_a_hunk_and_far_ones_do_not() {
        let text = |count| numbers("", count);
        let change =
            |text: &str, a: &str, b: &str| text.replace(&format!("{a}\n"), "x\n").replace(&format!("\n{b}\n"), "\ny\n");
        let hunks_of = |a, b| shown(&text(30), &change(&text(30), a, b)).matches("@@ -").count();
        assert_eq!((hunks_of("10", "17"), hunks_of("10", "18")), (1, 2));
    }

    #[test]
    fn empty_sides() {
        assert_eq!(shown("", "a\nb\n"), "@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(shown("a\n", ""), "@@ -1 +0,0 @@\n-a\n");
        assert_eq!(shown("a", "a\n"), "@@ -1 +1 @@\n-a+a\n");
        assert_eq!(shown("", ""), "");
    }

    #[test]
    fn what_differs_everywhere_is_replaced_as_a_whole() {
        let (old, new) = (numbers("a", 5000), numbers("b", 5000));
        let found = hunks(&lines(&old), &lines(&new));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].old.len(), found[0].new.len(), found[0].steps.len()), (5000, 5000, 10_000));
    }

    fn some_lines() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[abc]\n", 0..40)
    }

    proptest! {
        #[test]
        fn applying_the_hunks_makes_the_new_text(old in some_lines(), new in some_lines()) {
            let (old, new): (Vec<&str>, Vec<&str>) =
                (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
            let mut made: Vec<&str> = Vec::new();
            let mut at = 0;
            for hunk in hunks(&old, &new) {
                made.extend(&old[at..hunk.old.start]);
                prop_assert_eq!(hunk.new.start, made.len());
                for step in &hunk.steps {
                    match *step {
                        Step::Both(a, b) => {
                            prop_assert_eq!(old[a], new[b]);
                            made.push(old[a]);
                        }
                        Step::Old(_) => {}
                        Step::New(b) => made.push(new[b]),
                    }
                }
                prop_assert_eq!(hunk.new.end, made.len());
                at = hunk.old.end;
            }
            made.extend(&old[at..]);
            prop_assert_eq!(made, new);
        }

        #[test]
        fn the_script_is_a_shortest_one(old in some_lines(), new in some_lines()) {
            let (a, b): (Vec<&str>, Vec<&str>) =
                (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
            let kept = steps(&a, &b).iter().filter(|step| matches!(step, Step::Both(..))).count();
            // The longest common subsequence, by the textbook.
            let mut best = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
            for x in 0..a.len() {
                for y in 0..b.len() {
                    best[x + 1][y + 1] =
                        if a[x] == b[y] { best[x][y] + 1 } else { best[x][y + 1].max(best[x + 1][y]) };
                }
            }
            prop_assert_eq!(kept, best[a.len()][b.len()]);
        }
    }
}
