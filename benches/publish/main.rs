//! What publishing costs in a folder of a real disk, beside the bare system calls; interleaved, in one process. Run by
//! scripts/bench, which hands what is printed to the tables: `NAME MILLISECONDS` a line.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on panics")]

use proem::config::plan::{GroupPlan, ParentsPlan, Place, TargetPlan, TemplatePlan};
use proem::publish::{Changes, OwnerLookup, Places, Present, Rendered};
use proem::template::Escape;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

const TARGETS: usize = 1_000;

fn template(to: PathBuf) -> TemplatePlan {
    TemplatePlan {
        name: to.display().to_string(),
        from: PathBuf::from("a.tera"),
        to: TargetPlan::File(to),
        escape: Escape::None,
        mode: None,
        owner: None,
        parents: ParentsPlan::Make { mode: 0o755 },
        format: None,
        directory: None,
        place: Place("bench".into()),
    }
}

fn group(to: PathBuf) -> GroupPlan {
    GroupPlan { name: "bench".into(), templates: vec![template(to)], ..GroupPlan::empty() }
}

const NOBODY: &OwnerLookup = &|_| Ok((None, None));

fn compare(group: &GroupPlan, content: &[u8]) -> Option<Changes> {
    let places = Places { state_dir: None, owner: NOBODY, present: Present::Stays };
    let rendered = vec![Rendered { template: &group.templates[0], content: content.to_vec(), secret: false }];
    Changes::compare(group, rendered, None, &places).unwrap()
}

/// Nine lines of ten bytes make the content another one each time.
fn content(round: usize) -> Vec<u8> {
    format!("{round:09}\n").repeat(1_024).into_bytes()
}

/// What everybody who replaces a file safely has to do.
fn bare(dir: &Path, content: &[u8]) {
    let staged = dir.join(".bare.new");
    let mut file = File::create(&staged).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
    std::fs::rename(&staged, dir.join("bare")).unwrap();
    File::open(dir).unwrap().sync_all().unwrap();
}

fn timed(name: &str, body: impl FnOnce()) {
    let start = Instant::now();
    body();
    println!("{name} {}", start.elapsed().as_secs_f64() * 1e3);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, rounds] = arguments.iter().filter(|word| !word.starts_with("--")).collect::<Vec<_>>()[..] else {
        // `cargo test --all-targets` runs it, too.
        println!("publish: run by scripts/bench");
        return;
    };
    let (dir, rounds) = (PathBuf::from(dir), rounds.parse::<usize>().unwrap());
    std::fs::create_dir_all(&dir).unwrap();
    let one = group(dir.join("ours"));
    for round in 0..rounds {
        let content = content(round);
        timed("bare", || bare(&dir, &content));
        timed("publish", || {
            let changes = compare(&one, &content).unwrap();
            let mut committed = changes.stage().unwrap().commit().unwrap_or_else(|error| panic!("{:?}", error.error));
            committed.checked().unwrap();
            committed.finish();
        });
    }
    let many: Vec<GroupPlan> = (0..TARGETS).map(|number| group(dir.join(format!("target{number}")))).collect();
    let same = content(0);
    for group in &many {
        let TargetPlan::File(path) = &group.templates[0].to else { continue };
        std::fs::write(path, &same).unwrap();
    }
    for _ in 0..rounds.min(50) {
        timed("compare", || assert!(many.iter().all(|group| compare(group, &same).is_none())));
    }
}
