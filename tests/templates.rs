//! The template library: each renders for this machine, and the real program accepts it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use support::proem::proem;
use support::{folder, read, text};

fn library(name: &str) -> String {
    format!("{}/templates/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn nginx_accepts_its_configuration() {
    let dir = folder();
    let target = dir.path().join("nginx.conf");
    let output = proem(["render", "-t", &format!("{}:{}", library("nginx.conf.tera"), text(&target))]).output();
    assert_eq!(output.code, 0, "{}", output.stderr);
    // Its own pid file may belong to a server that runs here.
    let conf = read(&target).replace("pid /run/nginx.pid;", &format!("pid {}/pid;", text(dir.path())));
    std::fs::write(&target, conf).unwrap();
    let nginx = std::process::Command::new("nginx").args(["-t", "-q", "-c", text(&target)]).output().unwrap();
    assert!(nginx.status.success(), "{}", String::from_utf8_lossy(&nginx.stderr));
}

#[test]
fn a_jvm_gets_three_quarters_of_the_memory() {
    let output = proem(["render", "-t", &format!("{}:-", library("jvm.options.tera"))]).output();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", output.stdout);
    let number =
        |prefix: &str| lines.iter().find_map(|line| line.strip_prefix(prefix)).unwrap().parse::<u64>().unwrap();
    assert_eq!(number("-Xms"), number("-Xmx"));
    assert!(number("-XX:ActiveProcessorCount=") >= 1);
}
