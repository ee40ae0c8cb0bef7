//! What proem says of itself: the man page and the completions come from the command line's one definition.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use support::proem::proem;

#[test]
fn the_man_page_explains_signals_and_exit_codes() {
    let output = proem(["man"]).output();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert!(output.stdout.starts_with(".ie \\n(.g .ds Aq"), "{}", output.stdout);
    for text in ["forwarded", "CHLD", "126", "wait\\-for", "proem probe <URI>", "max\\-stale", "dry\\-run"] {
        assert!(output.stdout.contains(text), "no {text} in\n{}", output.stdout);
    }
    // There is no other page to point at, and a table keeps its columns.
    assert!(!output.stdout.contains("(1)"), "{}", output.stdout);
    let table = output.stdout.split_once("Signals that proem gets:").map(|(before, _)| before).unwrap_or_default();
    assert!(table.ends_with(".nf\n"), "{}", output.stdout);
}

#[test]
fn help_explains_every_signal_in_a_table() {
    let output = proem(["--help"]).output();
    let after = |head: &str| output.stdout.split_once(head).map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    let table = after("Signals that proem gets:\n");
    let first = |line: &str| line.trim_start().split("  ").next().unwrap_or_default().to_owned();
    let rows: Vec<String> = table.lines().take_while(|line| !line.is_empty()).map(first).collect();
    let expected = ["KILL, STOP", "CHLD", "TERM, INT, QUIT", "TERM", "all others", "--rewrite", "--group"];
    assert_eq!(rows, expected, "{table}");
    assert!(after("When CMD has ended:\n").contains("128+n"), "{}", output.stdout);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = proem(["completions", shell]).output();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{shell}");
        assert!(output.stdout.contains("render") && output.stdout.contains("wait-for"), "{shell}");
    }
    let output = proem(["completions", "csh"]).output();
    assert_eq!(output.code, 64);
    assert!(output.stderr.contains("csh"), "{}", output.stderr);
}
