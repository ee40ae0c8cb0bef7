//! Links of the documentation: each relative one leads to a file that is there, and its anchor to a heading.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The pages: those of the root, of `docs` and of the examples.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name)).into();
    for folder in ["docs", "examples"] {
        below(&root().join(folder), &mut pages);
    }
    pages
}

fn below(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, pages);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
}

/// The lines of a page that are no code block's, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let start = line.trim_start();
        match (fence, ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark))) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => {
                fence = None;
                return false;
            }
            _ => {}
        }
        fence.is_none() && !line.starts_with("    ")
    })
}

/// A line without its code spans, which end with as many backticks as they begin with.
fn without_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let inside = from.trim_start_matches('`');
        let mark = &from[..from.len() - inside.len()];
        let end = inside
            .match_indices(mark)
            .map(|(end, _)| end)
            .find(|end| !inside[..*end].ends_with('`') && !inside[end + mark.len()..].starts_with('`'));
        rest = end.map_or("", |end| &inside[end + mark.len()..]);
    }
    out + rest
}

/// Where the links of a line lead: `[text](TARGET)` and `[name]: TARGET`.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut targets: Vec<String> =
        line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect();
    if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        targets.push(target.trim().to_owned());
    }
    targets
}

/// The anchors that GitHub gives a page's headings: lower case, blanks as `-`, no other punctuation than `-` and `_`; one
/// that comes again gets a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
        let anchor = title.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let times = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

/// What is wrong with a link of a page, if anything is.
fn mistake(page: &Path, target: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
    if !path.exists() {
        return Some("there is no such file".to_owned());
    }
    if anchor.is_empty() || path.extension().is_none_or(|ending| ending != "md") {
        return None;
    }
    let known = anchors(&std::fs::read_to_string(&path).unwrap());
    (!known.contains(anchor)).then(|| "there is no such heading".to_owned())
}

#[test]
fn every_relative_link_leads_somewhere() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for (number, line) in prose(&text) {
            for target in
                targets(line).iter().filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
            {
                seen += 1;
                let name = page.strip_prefix(root()).unwrap().display();
                wrong.extend(mistake(&page, target).map(|why| format!("{name}:{number}: `{target}`: {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 30, "only {seen} links were found");
}

#[test]
fn links_and_headings_are_read_as_markdown_has_them() {
    let line = "[`a`](b.md#c) and ``[x`](y)`` [d](e/), not `[f](g)`, but [h](#i-j)";
    assert_eq!(targets(line), ["b.md#c", "e/", "#i-j"]);
    assert_eq!(targets("[name]: ../x.md"), ["../x.md"]);
    let page = "# One `two`, three\n## A/B_c-d\n```sh\n# none\n[x](y)\n```\n## A/B_c-d\n#none\n";
    let expected = ["ab_c-d", "ab_c-d-1", "one-two-three"].map(str::to_owned);
    assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(prose(page).count(), 4);
    let readme = root().join("README.md");
    assert_eq!(mistake(&readme, "docs/none.md").as_deref(), Some("there is no such file"));
    assert_eq!(mistake(&readme, "#no-such-heading").as_deref(), Some("there is no such heading"));
}
