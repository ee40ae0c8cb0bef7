//! The catalogue of errors: docs/reference/errors.md is what the real binary says, and leaves nothing out that its source
//! could say. `PROEM_BLESS=1` rewrites the page.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![cfg(all(feature = "consul", feature = "vault"))]

mod support;

#[path = "errors/literals.rs"]
mod literals;
#[path = "errors/page.rs"]
mod page;
#[path = "errors/run.rs"]
mod run;
#[path = "errors/scenario.rs"]
mod scenario;
#[path = "errors/unshown.rs"]
mod unshown;

use page::{Page, Run};
use scenario::Chapter;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::proem::Output;

/// How many scenarios run at a time: most of them wait for something.
const AT_ONCE: usize = 32;

const START: &str = include_str!("errors/start.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The chapters in the order of the page.
fn chapters() -> Vec<Chapter> {
    let folder = std::fs::read_dir(root().join("tests/errors")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let only = std::env::var("PROEM_ONLY").unwrap_or_default();
    files.retain(|path| path.to_str().unwrap().contains(&only));
    files.iter().map(|path| scenario::read(path)).collect()
}

/// Runs every scenario; the outputs in the same order. One that says what is not `known` yet is run again.
fn run_all<'a>(chapters: &'a [Chapter], known: &str) -> Vec<Vec<Run<'a>>> {
    let scenarios: Vec<_> = chapters.iter().flat_map(|chapter| &chapter.scenarios).collect();
    let outputs: Mutex<Vec<Option<Output>>> = Mutex::new(vec![None; scenarios.len()]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = scenarios.iter().position(|other| std::ptr::eq(*other, *scenario)).unwrap();
                    let mut output = run::run(scenario);
                    // A machine that stood still for a second makes a timeout of what is none.
                    for _ in 0..2 {
                        if page::messages(&output.stderr).iter().all(|message| known.contains(message.as_str())) {
                            break;
                        }
                        output = run::run(scenario);
                    }
                    outputs.lock().unwrap()[at] = Some(output);
                }
            });
        }
    });
    let mut outputs = outputs.into_inner().unwrap().into_iter().map(|output| output.expect("every one was run"));
    chapters.iter().map(|chapter| chapter.scenarios.iter().zip(outputs.by_ref()).collect()).collect()
}

#[test]
fn the_page_is_what_proem_says() {
    let chapters = chapters();
    let literals = literals::all();
    let path = root().join("docs/reference/errors.md");
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    let mut page = Page::new(START, &literals);
    let mut wrong = Vec::new();
    for (chapter, runs) in chapters.iter().zip(run_all(&chapters, &is)) {
        for (scenario, output) in &runs {
            if scenario.exit.or(chapter.exit).is_some_and(|exit| exit != output.code) {
                wrong.push(format!(
                    "{}: exit {}, not {:?}:\n{}",
                    scenario.place, output.code, chapter.exit, output.stderr
                ));
            }
        }
        page.chapter(chapter, &runs);
    }
    let listed = unshown::read(&root().join("tests/errors/unshown"));
    wrong.extend(unshown::compare(&listed, &page.unshown()));
    let text = page.rest(&unshown::for_users(&listed));
    let blessed = std::env::var_os("PROEM_BLESS").is_some();
    if blessed {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(wrong.is_empty(), "{} mistakes in the catalogue:\n{}", wrong.len(), wrong.join("\n"));
    if blessed {
        return;
    }
    for (line, (is, says)) in (1..).zip(is.lines().zip(text.lines())) {
        assert!(
            is == says,
            "docs/reference/errors.md:{line} is\n{is}\nand proem says\n{says}\n(PROEM_BLESS=1 rewrites it)"
        );
    }
    assert_eq!(is.lines().count(), text.lines().count(), "docs/reference/errors.md: PROEM_BLESS=1 rewrites it");
}
