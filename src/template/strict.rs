//! Undefined is an error: the edits that make Tera see it so, and the way back from the edited text to the user's.
//!
//! Tera 2.4 has no strict mode: `{% if app.missing %}` is silently false. A filter does see an undefined value, so each
//! variable path goes through one of ours, and each step of the path becomes optional so that the filter, not Tera,
//! says which part of it is missing:
//!
//! ```text
//! {% if app.tls.on %}        {% if app?.tls?.on|__used(p="app.tls.on") %}
//! {{ app.host }}             {{ app?.host|__printed(p="app.host") }}
//! {{ a.x | default(value=1) }}   {{ (a?.x | default(value=1))|__printed }}
//! ```
//!
//! Edits insert within a line only, so line numbers stay; columns are mapped back.

use super::token::quote;
use std::ops::Range;

/// The filter that refuses undefined.
pub(super) const USED: &str = "__used";
/// The filter that refuses undefined, null, lists, maps and bytes, which have no text of their own.
pub(super) const PRINTED: &str = "__printed";

/// One change of the user's text.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    /// Where, in the user's text.
    pub at: usize,
    /// How many bytes of the user's text it replaces.
    pub removes: usize,
    pub insert: String,
    /// What an error inside the inserted text is about begins here; it ends at `at`.
    pub about: usize,
}

/// A variable path as the user wrote it.
#[derive(Debug)]
pub(super) struct Path {
    pub range: Range<usize>,
    /// Where its `.` and `[` are.
    pub steps: Vec<usize>,
    /// The user wrote `?.` or `?[`: it may be missing.
    pub optional: bool,
    /// `-` stands before it, which binds tighter than a filter.
    pub negated: bool,
}

/// The path may be missing: no step of it is an error, nor is the whole.
pub(super) fn optional(path: &Path, edits: &mut Vec<Edit>) {
    edits.extend(path.steps.iter().map(|at| Edit { at: *at, removes: 0, insert: "?".to_owned(), about: *at }));
}

/// The path's value is used; `printed`: as text.
pub(super) fn used(path: &Path, printed: bool, text: &str, edits: &mut Vec<Edit>) {
    optional(path, edits);
    let filter = match (printed, path.optional) {
        (true, _) => PRINTED,
        (false, false) => USED,
        (false, true) => return,
    };
    through(filter, path, text, edits);
}

/// The path is all that is printed.
pub(super) fn printed(path: &Path, text: &str, edits: &mut Vec<Edit>) {
    optional(path, edits);
    through(PRINTED, path, text, edits);
}

fn through(filter: &str, path: &Path, text: &str, edits: &mut Vec<Edit>) {
    let Range { start, end } = path.range.clone();
    let (open, close) = if path.negated { ("(", ")") } else { ("", "") };
    if path.negated {
        edits.push(Edit { at: start, removes: 0, insert: open.to_owned(), about: start });
    }
    // A name alone is there or is not: no more can be found out, and a call without arguments is four times faster.
    let argument =
        if text[start..end].contains(['.', '[']) { format!("(p={})", quote(&text[start..end])) } else { String::new() };
    let insert = format!("|{filter}{argument}{close}");
    edits.push(Edit { at: end, removes: 0, insert, about: start });
}

/// An expression is printed.
pub(super) fn printed_whole(range: Range<usize>, edits: &mut Vec<Edit>) {
    edits.push(Edit { at: range.start, removes: 0, insert: "(".to_owned(), about: range.start });
    edits.push(Edit { at: range.end, removes: 0, insert: format!(")|{PRINTED}"), about: range.start });
}

/// `<Name short />` stands for `short={short}`.
pub(super) fn attribute(name: Range<usize>, text: &str, edits: &mut Vec<Edit>) {
    let word = &text[name.clone()];
    edits.push(Edit { at: name.end, removes: 0, insert: format!("={{{word}|{USED}}}"), about: name.start });
}

/// The way from an offset of the edited text back to the user's.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// In order: where the edit is in the user's text, how much it removes and inserts there, what it is about.
    edits: Vec<(usize, usize, usize, usize)>,
}

/// The edited text. `edits` are sorted by place and do not overlap.
pub(super) fn apply(text: &str, edits: &[Edit]) -> (String, Map) {
    let mut out = String::with_capacity(text.len() + edits.iter().map(|edit| edit.insert.len()).sum::<usize>());
    let mut map = Map { edits: Vec::with_capacity(edits.len()) };
    let mut at = 0;
    for edit in edits {
        out.push_str(&text[at..edit.at]);
        out.push_str(&edit.insert);
        map.edits.push((edit.at, edit.removes, edit.insert.len(), edit.about));
        at = edit.at + edit.removes;
    }
    out.push_str(&text[at..]);
    (out, map)
}

impl Map {
    /// The user's bytes that a place of the edited text is about.
    pub fn back(&self, edited: Range<usize>) -> Range<usize> {
        let (start, whole) = self.offset(edited.start);
        if let Some(whole) = whole {
            return whole;
        }
        let (end, whole) = self.offset(edited.end);
        start..whole.map_or(end, |whole| whole.end).max(start)
    }

    /// The user's offset, and what the inserted text that it falls into is about.
    fn offset(&self, edited: usize) -> (usize, Option<Range<usize>>) {
        let (mut grown, mut shrunk) = (0, 0);
        for &(at, removes, inserts, about) in &self.edits {
            let begins = at + grown - shrunk;
            if edited < begins {
                break;
            }
            if edited < begins + inserts {
                return (at, Some(about..at.max(about + removes)));
            }
            grown += inserts;
            shrunk += removes;
        }
        (edited + shrunk - grown, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        apply(text, &super::super::scan::scan(text).unwrap().edits).0
    }

    #[test]
    fn every_use_goes_through_a_filter() {
        for (template, expected) in [
            ("{% if app.x %}{% endif %}", "{% if app?.x|__used(p=\"app.x\") %}{% endif %}"),
            ("{{ app.x }}", "{{ app?.x|__printed(p=\"app.x\") }}"),
            ("{{- (app.x) -}}", "{{- (app?.x|__printed(p=\"app.x\")) -}}"),
            ("{{ a[b.c]['d'] }}", "{{ a?[b?.c|__used(p=\"b.c\")]?['d']|__printed(p=\"a[b.c]['d']\") }}"),
            ("{{ 1 - -a.b }}", "{{ (1 - -(a?.b|__used(p=\"a.b\")))|__printed }}"),
            ("{{ a ~ 1 }}", "{{ (a|__printed ~ 1)|__printed }}"),
            ("{{ a.b | upper }}", "{{ a?.b|__used(p=\"a.b\") | upper }}"),
            ("{{ a.b | first }}", "{{ (a?.b|__used(p=\"a.b\") | first)|__printed }}"),
            ("{{ f(x=a.b) }}", "{{ (f(x=a?.b|__used(p=\"a.b\")))|__printed }}"),
            (
                "{% for k, v in a.b %}{{ loop.index }}{% endfor %}",
                "{% for k, v in a?.b|__used(p=\"a.b\") %}{{ (loop.index)|__printed }}{% endfor %}",
            ),
            ("{{ <B a={x.y} s c=\"t\" /> }}", "{{ <B a={x?.y|__used(p=\"x.y\")} s={s|__used} c=\"t\" /> }}"),
            ("{% set x = {'a': a.b, ...c} %}", "{% set x = {'a': a?.b|__used(p=\"a.b\"), ...c|__used} %}"),
        ] {
            assert_eq!(rewritten(template), expected);
        }
    }

    #[test]
    fn what_may_be_missing_stays_so() {
        for (template, expected) in [
            ("{% if a.b is defined %}{% endif %}", "{% if a?.b is defined %}{% endif %}"),
            ("{% if a.b is not defined %}{% endif %}", "{% if a?.b is not defined %}{% endif %}"),
            ("{% set x = a.b | default(value=1) %}", "{% set x = a?.b | default(value=1) %}"),
            ("{% set x = (a.b) | default(value=1) %}", "{% set x = (a?.b) | default(value=1) %}"),
            ("{% if a?.b %}{% endif %}", "{% if a?.b %}{% endif %}"),
            (
                "{% set x = a | default(value=b.c) | default(value=d) %}",
                "{% set x = a | default(value=b?.c) | default(value=d|__used) %}",
            ),
            ("{% raw %}{{ a.b }}{% endraw %}{# {{ a.b }} #}", "{% raw %}{{ a.b }}{% endraw %}{# {{ a.b }} #}"),
            ("{{ 'a.b' }}{{ 1 }}", "{{ 'a.b' }}{{ 1 }}"),
        ] {
            assert_eq!(rewritten(template), expected);
        }
        // `is` looks at the whole comparison here, not at `a.b`.
        assert!(rewritten("{% if 1 == a.b is defined %}{% endif %}").contains(USED));
    }

    #[test]
    fn places_map_back() {
        let text = "{{ ab.cd ~ ef }} {{ gh }}";
        let (edited, map) = apply(text, &super::super::scan::scan(text).unwrap().edits);
        let place = |needle: &str| edited.find(needle).unwrap();
        assert_eq!(&text[map.back(place("ef")..place("ef") + 2)], "ef");
        assert_eq!(&text[map.back(place("gh")..place("gh") + 2)], "gh");
        assert_eq!(&text[map.back(place("__printed")..place("__printed") + 9)], "ab.cd");
        let last = edited.rfind("__printed").unwrap();
        assert_eq!(&text[map.back(last..last + 9)], "gh");
    }
}
