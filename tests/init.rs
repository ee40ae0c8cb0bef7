//! The plain init from outside, where tests/conformance does not look: the exact words of a start that fails, closed
//! standard descriptors, and what a start costs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::os::unix::fs::PermissionsExt;
use support::proem::{BINARY, Builder, Output, proem};
use support::{folder, images, read, text, write};

#[test]
fn what_cannot_be_started_is_named_with_its_reason() {
    let dir = folder();
    let file = |name: &str, content: &str, mode: u32| {
        let path = write(dir.path(), name, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        text(&path).to_owned()
    };
    let (plain, bad, dos) =
        (file("plain", "", 0o644), file("bad", "#!/nope\n", 0o755), file("dos", "#!/bin/sh\r\n", 0o755));
    let (folder, missing) = (text(dir.path()), format!("{}/missing", text(dir.path())));
    let fails = |program: &str| {
        let Output { code, stdout, stderr } = proem(["--", program]).env("PATH", "/bin:/nope").output();
        assert_eq!(stdout, "", "{program}");
        (code, stderr)
    };

    let expected =
        "proem: exit 127: failed to start `nope-nope`: not found in PATH (`/bin:/nope`)\n  hint: install it in the \
                    image, or give its whole path\n"
            .to_owned();
    assert_eq!(fails("nope-nope"), (127, expected));
    let expected = format!("proem: exit 127: failed to start `{missing}`: `{missing}` does not exist\n");
    assert_eq!(fails(&missing), (127, expected));
    let expected = format!(
        "proem: exit 126: failed to start `{plain}`: `{plain}` is not executable (mode 0644)\n  hint: `RUN chmod +x {plain}` in the image\n"
    );
    assert_eq!(fails(&plain), (126, expected));
    let expected = format!("proem: exit 126: failed to start `{folder}`: `{folder}` is a directory\n");
    assert_eq!(fails(folder), (126, expected));
    let expected = format!(
        "proem: exit 127: failed to start `{bad}`: its interpreter `/nope` does not exist (`{bad}`)\n  hint: install it in the \
                 image, or change the script's first line\n"
    );
    assert_eq!(fails(&bad), (127, expected));
    let (code, said) = fails(&dos);
    assert_eq!(code, 127);
    assert!(said.ends_with("hint: the file has Windows line ends: save it with those of Unix\n"), "{said}");
}

/// What Kubernetes shows of a container that ended is its last word, not that of a probe beside it.
#[test]
fn the_last_word_goes_to_the_termination_log_and_nobody_elses() {
    let dir = folder();
    let path = text(dir.path());
    let log = write(dir.path(), "termination-log", "");
    let script = format!(
        "mknod {path}/null c 1 3 && mount --bind {path} /dev || exit 99
         {BINARY} probe nonsense; {BINARY} status --control /nope; {BINARY} --nonsense
         exec {BINARY} \"$@\""
    );
    let container = |arguments: &[&str]| {
        let words = ["--mount", "--pid", "--fork", "/bin/sh", "-c", &script, "sh"];
        let words = words.into_iter().chain(arguments.iter().copied());
        let _ = std::fs::remove_file(dir.path().join("null"));
        let output = Builder::new("unshare").args(words).output();
        (output.code, read(&log))
    };
    let missing = "proem: exit 127: failed to start `/nope`: `/nope` does not exist\n";
    assert_eq!(container(&["--", "/nope"]), (127, missing.into()));
    write(dir.path(), "termination-log", "");
    let word = "proem: exit 64: unexpected argument `--nonsense` found\n  hint: `proem --help` lists what there is\n";
    assert_eq!(container(&["--nonsense"]), (64, word.into()));
    write(dir.path(), "termination-log", "");
    assert_eq!(container(&["--", "/bin/sh", "-c", "exit 3"]), (3, String::new()));
}

#[test]
fn closed_standard_descriptors_stay_closed_and_harmless() {
    let main = "for fd in 0 1 2; do [ -e /proc/self/fd/$fd ] && exit 1; done; exit 43";
    let script = format!("exec {BINARY} -- sh -c '{main}' <&- >&- 2>&-");
    assert_eq!(Builder::new("/bin/sh").args(["-c", &script]).output().code, 43);
}

#[test]
fn start_is_few_system_calls() {
    let dir = folder();
    let log = dir.path().join("trace");
    let strace = images::which("strace");
    let output = Builder::new(&strace).args(["-f", "-o", text(&log), BINARY, "--", "/bin/true"]).output();
    let trace = read(&log);
    assert_eq!(output.code, 0, "strace does not work here: {}{trace}", output.stderr);
    let main = |line: &&str| line.contains("execve(\"/bin/true\"");
    assert_eq!(trace.lines().filter(main).count(), 1, "{trace}");
    let calls = trace.lines().take_while(|line| !main(line)).count();
    assert!(calls <= 60, "{calls} system calls:\n{trace}");
}
