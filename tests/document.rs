//! What proem says of itself: the man page and the completions come from the command line's one definition.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use support::proem::proem;

#[test]
fn the_man_page_explains_signals_and_exit_codes() {
    let output = proem(["man"]).output();
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert!(output.stdout.starts_with(".ie \\n(.g .ds Aq"), "{}", output.stdout);
    for text in ["forwarded", "CHLD", "126", "wait\\-for", "proem\\-probe"] {
        assert!(output.stdout.contains(text), "no {text} in\n{}", output.stdout);
    }
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
