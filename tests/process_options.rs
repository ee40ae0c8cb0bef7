//! What `[process.main]` and its options do to the command: limits, capabilities, signals, exit codes, restarts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::time::{Duration, Instant};
use support::proem::{BINARY, Builder, Output, Proem, SOON, proem};
use support::{folder, procs, text, write};

const SH: &str = "/bin/sh";

/// Runs a script by `run` and by `exec` with these keys of `[process.main]`.
fn both(keys: &str, script: &str) -> [Output; 2] {
    ["run", "exec"].map(|how| {
        let dir = folder();
        let config = write(dir.path(), "proem.toml", &format!("[process.main]\n{keys}\n"));
        proem([how, "-c", text(&config), "--", SH, "-c", script]).output()
    })
}

fn is_root() -> bool {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::getuid() == 0 }
}

#[test]
fn limits_are_set_soft_and_hard() {
    let keys = r#"limits = { nofile = 512, core = "0", fsize = "64MiB", cpu = "100:unlimited", stack = "1MiB:8MiB" }"#;
    let script = "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -f; ulimit -St; ulimit -Ht; ulimit -Ss; ulimit -Hs";
    for output in both(keys, script) {
        // The shell counts files in blocks of 512 bytes, stacks in KiB.
        assert_eq!(output.stdout, "512\n512\n0\n131072\n100\nunlimited\n1024\n8192\n", "{}", output.stderr);
    }
    let open = |pid: &str| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned()
    };
    let dir = folder();
    let config = write(dir.path(), "proem.toml", "[process.main]\nlimits = { nofile = 100 }\n");
    let process = proem(["-c", text(&config), "--", SH, "-c", "echo up; read x"]).start();
    process.until("main is up", || process.stdout().contains("up").then_some(()));
    assert_eq!(open(&process.pid().to_string()), open("self"), "proem keeps its own");
}

#[test]
fn a_limit_that_cannot_be_set_is_78_and_named() {
    // Nobody may have more open files than fs.nr_open says.
    for output in both("limits = { nofile = \"unlimited\" }", "echo started") {
        assert_eq!((output.code, output.stdout.as_str()), (78, ""), "{}", output.stderr);
        assert!(output.stderr.contains("failed to set the limit `nofile`: "), "{}", output.stderr);
        assert!(output.stderr.contains("hint: "), "{}", output.stderr);
    }
}

#[test]
fn no_new_privs_and_only_the_capabilities_that_are_named() {
    let script = "grep -E '^(NoNewPrivs|CapInh|CapPrm|CapBnd|CapAmb)' /proc/self/status | tr -d '\\t'";
    for output in both("no_new_privs = true", script) {
        assert!(output.stdout.contains("NoNewPrivs:1\n"), "{output:?}");
    }
    for output in both("no_new_privs = false", script) {
        assert!(output.stdout.contains("NoNewPrivs:0\n"), "{output:?}");
    }
    if !is_root() {
        return;
    }
    // Bit 10 is NET_BIND_SERVICE, bit 0 CHOWN.
    for output in both(r#"capabilities = ["NET_BIND_SERVICE", "cap_chown"]"#, script) {
        for line in ["CapBnd:0000000000000401\n", "CapPrm:0000000000000401\n", "CapAmb:0000000000000000\n"] {
            assert!(output.stdout.contains(line), "{output:?}");
        }
    }
    for output in both("user = \"65534:65534\"\ncapabilities = []", script) {
        for line in ["CapBnd:0000000000000000\n", "CapPrm:0000000000000000\n", "CapInh:0000000000000000\n"] {
            assert!(output.stdout.contains(line), "{output:?}");
        }
    }
}

#[test]
fn capabilities_that_cannot_be_given_up_start_nothing() {
    if !is_root() {
        return;
    }
    let dir = folder();
    let config = write(dir.path(), "proem.toml", "[process.main]\ncapabilities = []\n");
    let ids = ["--reuid=65534", "--regid=65534", "--clear-groups", BINARY, "-c", text(&config)];
    // The folder of the test is root's own.
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let readable = Builder::new("/usr/bin/setpriv").args(ids).args(["--", SH, "-c", "echo started"]).output();
    assert_eq!((readable.code, readable.stdout.as_str()), (78, ""), "{}", readable.stderr);
    assert!(readable.stderr.contains("failed to give up capabilities: "), "{}", readable.stderr);
}

/// Runs proem as nobody, or in a user namespace, by these tools.
fn under(tool: &str, arguments: &[&str], options: &[&str], script: &str) -> Output {
    let all = [arguments, &[BINARY], options, &["--", SH, "-c", script]].concat();
    Builder::new(tool).args(all).env("HOME", "/root").dir(std::path::Path::new("/")).output()
}

#[test]
fn the_user_is_complete_and_cannot_go_back() {
    if !is_root() {
        return;
    }
    let script = "id -u; id -g; id -G; echo $HOME; echo out > /dev/stdout; echo err > /dev/stderr; \
                  grep -E '^(Uid|Gid|CapPrm|CapEff)' /proc/self/status";
    let expected = "12345\n65533\n65533\n/\nout\nUid:\t12345\t12345\t12345\t12345\n\
                    Gid:\t65533\t65533\t65533\t65533\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n";
    for how in ["run", "exec"] {
        // Through pipes: a file of root's could not be opened by somebody else, and is not given away.
        let start = format!("{{ {BINARY} {how} --user 12345:65533 -- {SH} -c \"$1\" 2>&1 >&4 | cat >&2; }} 4>&1 | cat");
        let output = Builder::new(SH).args(["-c", &start, SH, script]).env("HOME", "/root").output();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (expected, "err\n"));
    }
}

#[test]
fn without_root_a_user_is_only_a_mistake_where_it_is_another() {
    if !is_root() {
        return;
    }
    let nobody = ["--reuid=65534", "--regid=60000", "--clear-groups"];
    for asked in ["65534", "65534:60000"] {
        let output = under("/usr/bin/setpriv", &nobody, &["--user", asked], "id -u; id -g");
        assert_eq!((output.code, output.stdout.as_str()), (0, "65534\n60000\n"), "{}", output.stderr);
        assert!(output.stderr.contains(&format!("user `{asked}` changes nothing")), "{}", output.stderr);
    }
    for asked in ["65534:1", "1:60000", "0"] {
        let output = under("/usr/bin/setpriv", &nobody, &["--user", asked], "echo started");
        assert_eq!((output.code, output.stdout.as_str()), (78, ""), "{asked}: {}", output.stderr);
        assert!(output.stderr.contains("failed to become user "), "{}", output.stderr);
    }
}

#[test]
fn a_user_namespace_that_denies_setgroups_is_78() {
    let deny = ["--user", "--map-root-user", "--setgroups=deny"];
    let allowed = under("/usr/bin/unshare", &deny, &[], "exit 3");
    if allowed.code != 3 {
        // This machine lets nobody have a user namespace.
        return;
    }
    for asked in ["65534", "0"] {
        let output = under("/usr/bin/unshare", &deny, &["--user", asked], "echo started");
        assert_eq!((output.code, output.stdout.as_str()), (78, ""), "{asked}: {}", output.stderr);
        assert!(output.stderr.contains("allow setgroups"), "{}", output.stderr);
    }
}

#[test]
fn a_target_belongs_to_the_user_of_its_process() {
    if !is_root() {
        return;
    }
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.X }}");
    let script = "stat -c '%u:%g %a' t";
    for how in ["run", "exec"] {
        let options = [how, "--user", "12345:65533", "-t", "t.tera:t", "--", SH, "-c", script];
        let output = proem(options).dir(dir.path()).env("X", how).output();
        assert_eq!(output.stdout, "12345:65533 644\n", "{}", output.stderr);
    }
}

#[test]
fn the_command_is_found_as_execvp_finds_it() {
    let dir = folder();
    let (plain, good) = (dir.path().join("plain"), dir.path().join("good"));
    for (folder, mode) in [(&plain, 0o644), (&good, 0o755)] {
        let tool = write(folder, "tool", &format!("#!{SH}\nexit 5\n"));
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    // One that cannot be executed is passed over, and is the reason only where there is no other.
    let (plain, good) = (text(&plain), text(&good));
    for how in ["run", "exec"] {
        let code = |path: &str| proem([how, "--", "tool"]).env("PATH", path).output().code;
        assert_eq!([code(&format!("/none:{plain}:{good}")), code(plain), code("/none")], [5, 126, 127], "{how}");
    }
}

#[test]
fn workdir_and_umask_from_the_command_line() {
    for how in ["run", "exec"] {
        let output = proem([how, "--workdir", "/usr", "--umask", "0027", "--", SH, "-c", "pwd; umask"]).output();
        assert_eq!(output.stdout, "/usr\n0027\n", "{}", output.stderr);
    }
    let output = proem(["--umask", "9", "--", "/bin/true"]).output();
    assert_eq!(output.code, 78, "{}", output.stderr);
}

#[test]
fn a_parents_death_is_forwarded_and_with_exec_the_programs_own() {
    for how in ["run", "exec"] {
        let dir = folder();
        let main = "trap 'echo told > out; exit 0' USR1; echo up > main; while :; do sleep 0.05 & wait; done";
        write(dir.path(), "main.sh", main);
        let start = format!("{BINARY} {how} --parent-death-signal USR1 -- {SH} main.sh");
        let script = format!("{start} & until [ -s main ]; do sleep 0.02; done; exit 0");
        assert_eq!(Builder::new(SH).args(["-c", &script]).dir(dir.path()).output().code, 0);
        let out = dir.path().join("out");
        support::wait::until(SOON, "main is told", String::new, || (support::read(&out) == "told\n").then_some(()));
    }
}

#[test]
fn plain_needs_no_template_no_store_and_no_readable_configuration() {
    let dir = folder();
    let broken = write(dir.path(), "proem.toml", "this is = not [toml\n");
    for how in ["run", "exec"] {
        let arguments =
            [how, "-c", text(&broken), "-t", "missing.tera:out", "-s", "a=consul:x", "--wait-for", "tcp:x:1"];
        let plain = || proem(arguments).args(["--exit-codes", "4=5", "--umask", "0077", "--"]);
        let output = plain().args([SH, "-c", "umask; env; exit 3"]).env("PROEM_PLAIN", "1").output();
        assert_eq!(output.code, 3, "{}", output.stderr);
        assert!(output.stdout.starts_with("0077\n"), "{}", output.stdout);
        assert!(!output.stdout.contains("PROEM_PLAIN"), "{}", output.stdout);
        assert_eq!(output.stderr, "");
        assert_eq!(plain().args(["/bin/true"]).env("PROEM_PLAIN", "0").output().code, 78);
    }
    let none = proem(["run"]).env("PROEM_PLAIN", "1").output();
    assert_eq!(none.code, 64, "{}", none.stderr);
}

/// A script that answers signals with exit codes and says `up` when it is ready.
fn answering(options: &[&str], script: &str) -> Proem {
    let process = Builder::new(BINARY).args(options.iter().copied()).args(["--", SH, "-c", script]).start();
    process.until("the script is up", || process.stdout().contains("up\n").then_some(()));
    process
}

const ANSWERS: &str = "trap 'exit 1' HUP; trap 'exit 3' QUIT; trap 'exit 12' USR2; trap 'exit 15' TERM; \
                       echo up; while :; do sleep 0.05 & wait; done";

#[test]
fn signals_are_rewritten_dropped_and_replaced() {
    for (options, signal, code) in [
        (&["--stop-signal", "QUIT"][..], libc::SIGTERM, 3),
        (&["--rewrite", "TERM=USR2"], libc::SIGTERM, 12),
        (&["--rewrite", "HUP=TERM"], libc::SIGHUP, 15),
        // An explicit rewrite says what TERM becomes, stop signal or not.
        (&["--rewrite", "TERM=HUP", "--stop-signal", "QUIT"], libc::SIGTERM, 1),
        (&["--rewrite", "15=1", "--exit-codes", "1=0"], libc::SIGTERM, 0),
        (&["--exit-codes", "15=0,143=0"], libc::SIGTERM, 0),
    ] {
        let mut process = answering(options, ANSWERS);
        process.signal(signal);
        assert_eq!(process.ended(SOON).code, code, "{options:?}");
    }
    let mut process = answering(&["--rewrite", "HUP="], ANSWERS);
    process.signal(libc::SIGHUP);
    process.signal(libc::SIGUSR2);
    assert_eq!(process.ended(SOON).code, 12);
}

#[test]
fn exit_codes_map_what_they_name_and_nothing_else() {
    for (script, code) in [("exit 3", 0), ("exit 0", 9), ("exit 4", 4), ("kill -TERM $$", 143), ("kill -KILL $$", 1)] {
        let options = ["--exit-codes", "3=0,0=9", "--exit-codes", "137=1", "--", SH, "-c", script];
        assert_eq!(proem(options).output().code, code, "{script}");
    }
}

#[test]
fn a_group_hears_what_main_hears() {
    // The child of main is in its group; without `--group` it would go on until main has ended.
    let script = "trap '' USR1; (trap 'echo child; exit 0' USR1; echo up; while :; do sleep 0.05 & wait; done) & \
                  while :; do wait $! && exit 6; done";
    let mut process = answering(&["--group"], script);
    process.signal(libc::SIGUSR1);
    let output = process.ended(SOON);
    assert_eq!((output.code, output.stdout.as_str()), (6, "up\nchild\n"));
}

#[test]
fn a_shutdown_that_takes_too_long_is_ended() {
    let dir = folder();
    let config = write(dir.path(), "proem.toml", "[process.main]\nshutdown_timeout = \"300ms\"\n");
    let begun = Instant::now();
    let mut process = answering(&["-c", text(&config)], "trap '' TERM; echo up; while :; do sleep 0.05 & wait; done");
    let asked = Instant::now();
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 137);
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[test]
fn what_is_left_over_lingers_no_longer_than_it_may() {
    let script = "trap '' TERM; sleep 1000 & echo up; exit 5";
    let begun = Instant::now();
    let output = proem(["--linger", "300ms", "--", SH, "-c", script]).output();
    assert_eq!(output.code, 5);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_restart_keeps_the_sockets_of_its_activation() {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ a }}");
    let value = write(dir.path(), "value.txt", "1");
    // Socket activation: descriptor 3 is open, and `LISTEN_PID` names the process that gets it.
    let main = write(
        dir.path(),
        "main.sh",
        "[ \"$LISTEN_PID\" = $$ ] && [ -e /dev/fd/3 ] && echo \"activated $LISTEN_FDS\" || echo not\n\
         trap 'exit 0' TERM; while :; do sleep 0.05 & wait; done\n",
    );
    let start = format!(
        "exec 3<>sock; export LISTEN_FDS=1 LISTEN_PID=$$; exec {BINARY} -s a=file:{} -t t.tera:out:restart -- {SH} {}",
        text(&value),
        text(&main)
    );
    let mut process = Builder::new(SH).args(["-c", &start]).dir(dir.path()).env("PROEM_THROTTLE", "1ms").start();
    process.until("it is activated", || (process.stdout() == "activated 1\n").then_some(()));
    write(dir.path(), "value.txt", "2");
    process.until("so is the next", || (process.stdout() == "activated 1\nactivated 1\n").then_some(()));
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 0);
}

#[test]
fn at_rest_little_memory_is_its_own() {
    let anonymous = |pid: i32| -> u64 {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.X }}");
    let plain = proem(["--", "/bin/sleep", "1000"]).start();
    let rendered = proem(["-t", "t.tera:t", "--", "/bin/sleep", "1000"]).dir(dir.path()).env("X", "1").start();
    for process in [&plain, &rendered] {
        process.until("only main is left, and 150 kB", || {
            let children = procs::children(process.pid());
            let alone = children.len() == 1 && children[0].name == "sleep";
            (alone && anonymous(process.pid()) <= 150).then_some(())
        });
    }
}
