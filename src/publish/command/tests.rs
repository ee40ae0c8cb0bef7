use super::*;

fn plan(argv: &[&str]) -> CommandPlan {
    let argv = argv.iter().map(|item| (*item).to_owned()).collect();
    CommandPlan { argv, timeout: Duration::from_secs(30), ..CommandPlan::default() }
}

fn run(plan: &CommandPlan) -> CommandResult {
    spawn(plan, &mut |_| ()).wait()
}

fn sh(script: &str) -> CommandResult {
    run(&plan(&["sh", "-c", script]))
}

#[test]
fn code_and_both_outputs_in_order() {
    let result = sh("echo one; echo two >&2; echo three; exit 3");
    assert_eq!(result, CommandResult { status: CommandStatus::Exited(3), output: "one\ntwo\nthree\n".into() });
    assert!(sh("exit 0").accepted());
}

#[test]
fn a_death_by_signal_is_told_real_time_ones_too() {
    assert_eq!(sh("kill -SEGV $$").status, CommandStatus::Signaled(libc::SIGSEGV));
    assert_eq!(sh("kill -40 $$").status, CommandStatus::Signaled(40));
}

#[test]
fn what_cannot_be_executed_is_told_as_a_shell_does() {
    // Of this process's own PATH, some directories may not be searched by its user.
    let path = |plan| CommandPlan { env: vec![("PATH".into(), "/usr/bin:/bin".into())], ..plan };
    let code = |argv: &[&str]| match run(&path(plan(argv))).status {
        CommandStatus::NotStarted { reason, exit } => (reason, exit),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&["proem-no-such-program"]), ("no such file or directory".into(), Exit::NOT_FOUND));
    assert_eq!(code(&["/no/such/file"]).1, Exit::NOT_FOUND);
    assert_eq!(code(&["/etc/passwd"]), ("permission denied".into(), Exit::NOT_EXECUTABLE));
    assert_eq!(code(&["/etc"]).1, Exit::NOT_EXECUTABLE);
    assert_eq!(code(&["a\0b"]).1, Exit::NOT_EXECUTABLE);
    assert_eq!(code(&[]).1, Exit::NOT_FOUND);
}

#[test]
fn the_group_is_told_before_anything_is_executed() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let mut told = None;
    let script = format!("touch {}; ps -o pgid= -p $$", mark.display());
    let running = spawn(&plan(&["sh", "-c", &script]), &mut |group| told = Some((group, mark.exists())));
    let group = running.group();
    let result = running.wait();
    assert_eq!(told, group.map(|group| (group, false)));
    assert!(mark.exists());
    assert_eq!(result.output.trim().parse().ok(), group);
}

#[test]
fn it_gets_a_clean_start() {
    let mut plan =
        plan(&["sh", "-c", "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status; ls -l /proc/self/fd; echo $A $B; pwd"]);
    plan.env = vec![("A".into(), "added".into())];
    plan.env_remove = vec!["B".into()];
    plan.dir = Some("/usr".into());
    let output = run(&plan).output;
    for line in ["SigBlk: 0000000000000000", "SigIgn: 0000000000000000", "0 -> /dev/null", "added\n/usr\n"] {
        assert!(output.contains(line), "{line}: {output}");
    }
    // 0, 1, 2 and the directory that ls reads.
    assert_eq!(output.matches(" -> ").count(), 4, "{output}");
}

#[test]
fn time_over_means_term_and_the_whole_group_ends() {
    let mut plan = plan(&["sh", "-c", "sleep 1000 & echo $!; trap 'echo ended; exit 0' TERM; wait"]);
    plan.timeout = Duration::from_millis(300);
    let started = Instant::now();
    let result = run(&plan);
    assert_eq!(result.status, CommandStatus::TimedOut(plan.timeout));
    assert!(result.output.ends_with("ended\n"), "{}", result.output);
    assert!(started.elapsed() < GRACE, "it obeyed TERM");
    let sleeper = result.output.lines().next().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(5);
    let gone = || match std::fs::read_to_string(format!("/proc/{sleeper}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    while !gone() {
        assert!(Instant::now() < deadline, "{sleeper} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn a_daemon_left_behind_holds_nobody_up() {
    let started = Instant::now();
    let result = sh("sleep 20 & echo $!");
    assert_eq!(result.status, CommandStatus::Exited(0));
    assert!(started.elapsed() < Duration::from_secs(10));
    let daemon = nix::unistd::Pid::from_raw(result.output.trim().parse().unwrap());
    // It was left alone; this test started it, so it ends it.
    nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn an_endless_writer_is_bounded_and_ended() {
    let mut plan = plan(&["sh", "-c", "echo first; yes"]);
    plan.timeout = Duration::from_millis(300);
    let result = run(&plan);
    assert_eq!(result.status, CommandStatus::TimedOut(plan.timeout));
    assert!(result.output.starts_with("first\ny\n") && result.output.len() < 70_000);
}

#[test]
fn messages_read_as_the_house_writes() {
    let argv = ["nginx".to_owned(), "-t".to_owned()];
    let result = |status, output: &str| CommandResult { status, output: output.to_owned() };
    let refused = result(CommandStatus::Exited(1), "nginx: [emerg] no servers are inside upstream x:3\n\n");
    assert_eq!(
        refused.complaint("check", &argv).message,
        "check `nginx -t` refused (exit 1): nginx: [emerg] no servers are inside upstream x:3"
    );
    let ended = result(CommandStatus::Signaled(libc::SIGSEGV), "");
    assert_eq!(ended.complaint("reload", &argv).message, "reload `nginx -t` was ended by SEGV");
    let late = result(CommandStatus::TimedOut(Duration::from_secs(30)), "");
    assert_eq!(late.complaint("check", &argv).message, "check `nginx -t` did not end within 30s");
    let missing = CommandStatus::NotStarted { reason: "no such file or directory".into(), exit: Exit::NOT_FOUND };
    assert_eq!(
        result(missing, "").complaint("check", &argv).message,
        "check `nginx -t` could not be started: no such file or directory"
    );
}
