//! What processes are started with: variables and arguments from sources, and what follows when these change. The real
//! binary, real processes, a real Consul; what a process got is read from `/proc`, not from what it says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

#[cfg(feature = "consul")]
#[path = "support/consul.rs"]
mod agent;

use std::path::{Path, PathBuf};
use support::proem::{Builder, Output, Proem, SOON, proem};
use support::{folder, procs, read, text, write};

/// A folder with a configuration, in which `$D` stands for the folder.
struct Case {
    dir: tempfile::TempDir,
    config: PathBuf,
}

/// main prints its variables but for those that its shell sets, and its arguments, and ends.
const PRINTS: &str = r#"command = ["/bin/sh", "-c", "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; printf '[%s]' \"$@\"", "sh"]"#;
/// main runs until it is told to end.
const STAYS: &str = r#"command = ["/bin/sleep", "1000"]"#;

impl Case {
    fn new(config: &str) -> Case {
        let dir = folder();
        let config = config.replace("$D", text(dir.path()));
        let config = write(dir.path(), "proem.toml", &config);
        Case { dir, config }
    }

    fn write(&self, name: &str, content: &str) {
        write(self.dir.path(), name, content);
    }

    /// A file that is there whole from its first moment.
    fn replace(&self, name: &str, content: &str) {
        self.write(&format!("{name}.new"), content);
        std::fs::rename(self.dir.path().join(format!("{name}.new")), self.dir.path().join(name)).unwrap();
    }

    fn proem(&self) -> Builder {
        proem(["-c", text(&self.config)])
    }

    fn output(&self) -> Output {
        self.proem().output()
    }
}

/// The variables of a process, as the kernel has them.
fn environ(pid: i32) -> Vec<String> {
    read(Path::new(&format!("/proc/{pid}/environ"))).split_terminator('\0').map(str::to_owned).collect()
}

fn arguments(pid: i32) -> Vec<String> {
    read(Path::new(&format!("/proc/{pid}/cmdline"))).split_terminator('\0').map(str::to_owned).collect()
}

/// The process among proem's children whose program is `sleep` with this argument, once it is there.
fn sleeper(process: &Proem, seconds: &str) -> i32 {
    process.until(&format!("sleep {seconds} runs"), || {
        let is = |pid: i32| arguments(pid) == ["/bin/sleep", seconds];
        procs::children(process.pid()).iter().map(|child| child.pid).find(|pid| is(*pid))
    })
}

/// Waits until main (`sleep 1000`) is another process than `before`, with this variable.
fn restarted_with(process: &Proem, before: i32, variable: &str) -> i32 {
    process.until(&format!("main runs anew with {variable}"), || {
        let is = |pid: i32| pid != before && arguments(pid) == ["/bin/sleep", "1000"];
        let pid = procs::children(process.pid()).iter().map(|child| child.pid).find(|pid| is(*pid))?;
        environ(pid).iter().any(|one| one == variable).then_some(pid)
    })
}

#[test]
fn variables_and_arguments_are_templates_over_the_sources() {
    let case = Case::new(&format!(
        r#"
[source]
db = "file:$D/db.toml"
app = "file:$D/app.json"
[process.main]
{}
env_from = [{{ source = "app", prefix = "APP_", deny = ["*.password"] }}, "db"]
env = {{ TZ = "UTC", PORT = 8080, URL = "db://{{{{ db.user }}}}@{{{{ app.db.host }}}}/$${{X}}", APP_DB_PORT = "one" }}
"#,
        PRINTS.replace(
            r#""sh"]"#,
            r#""sh", "-Xmx{{ (db.memory * 0.75) | round | int }}", "{% if db.user == 'u' %}yes{% endif %}", "{plain}"]"#
        )
    ));
    case.write("db.toml", "user = \"u\"\nmemory = 1000\n");
    case.write("app.json", r#"{"db":{"host":"h\"1","port":5432,"password":"p"},"list":["a",1]}"#);
    for command in [vec![], vec!["run", "--once"], vec!["exec"]] {
        if command.is_empty() {
            case.write("state.toml", "[process.main]\non_env_change = \"none\"\n");
        }
        let state = case.dir.path().join("state.toml");
        let more = if command.is_empty() { vec!["-c", text(&state)] } else { vec![] };
        let output = if command.is_empty() {
            // It watches: the change is to be stated, and main ends by itself.
            case.proem().args(more).output()
        } else {
            proem([]).args(command.iter().copied()).args(["-c", text(&case.config)]).output()
        };
        let expected = "APP_DB_HOST=h\"1\nAPP_DB_PORT=one\nAPP_LIST=[\"a\",1]\nMEMORY=1000\nPATH=";
        assert_eq!(output.code, 0, "{command:?}: {}", output.stderr);
        assert!(output.stdout.starts_with(expected), "{command:?}: {}", output.stdout);
        let rest = "\nPORT=8080\nTZ=UTC\nURL=db://u@h\"1/${X}\nUSER=u\n[-Xmx750][yes][{plain}]";
        assert!(output.stdout.ends_with(rest), "{command:?}: {}", output.stdout);
    }
}

#[test]
fn what_the_command_line_gives_is_no_template() {
    let case = Case::new("[process.main]\nenv = { A = \"{{ env.B | upper }}\" }\n");
    let script = "printf '%s' \"$A $1\"";
    let output = case.proem().args(["--", "/bin/sh", "-c", script, "sh", "{{ x }}"]).env("B", "b").output();
    assert_eq!((output.code, output.stdout.as_str()), (0, "B {{ x }}"), "{}", output.stderr);
}

#[test]
fn pristine_inherits_nothing_but_what_is_kept() {
    let case = Case::new(&format!(
        "[source]\napp = \"file:$D/app/\"\n[process.main]\n{PRINTS}\npristine = true\nenv_keep = [\"KEPT\"]\nenv_from = \"app\"\non_env_change = \"none\"\n"
    ));
    case.write("app/db-password", "s3cret\n");
    case.write("app/9lives", "x");
    let output = case.proem().env("KEPT", "1").env("OTHER", "2").output();
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "DB_PASSWORD=s3cret\nKEPT=1\n_9LIVES=x\n[]"),
        "{}",
        output.stderr
    );
}

#[test]
fn mistakes_are_found_before_anything_starts_and_show_no_value() {
    let case = Case::new(&format!(
        "[source]\napp = \"file:$D/app.json\"\n[process.main]\n{PRINTS}\nenv_from = [\"ap\"]\nenv = {{ A = \"{{{{ app.x }}}}${{HOST}}\" }}\n"
    ));
    let output = case.output();
    assert_eq!(output.code, 78);
    for line in [
        "`env_from`: there is no source `ap`\n  hint: did you mean `app`?",
        "`${HOST}` in a template\n  hint: a template reads the environment itself: write `{{ env.HOST }}`",
    ] {
        assert!(output.stderr.contains(line), "{}", output.stderr);
    }

    let case =
        Case::new(&format!("[source]\napp = \"file:$D/app.json\"\n[process.main]\n{PRINTS}\nenv_from = [\"app\"]\n"));
    case.write("app.json", r#"{"a":{"b":"v4lue"},"a_b":"v4lue"}"#);
    let output = case.output();
    assert_eq!(output.code, 78, "{}", output.stderr);
    let unstated = "proem.toml:5:13: what process `main` is started with uses the source `app`, which can change, and no `on_env_change` is stated";
    assert!(output.stderr.contains(unstated), "{}", output.stderr);
    let output = proem(["run", "--once", "-c", text(&case.config)]).output();
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("`a.b` and `a_b` both become `A_B`"), "{}", output.stderr);
    assert!(!output.stderr.contains("v4lue") && output.stdout.is_empty());
}

#[test]
fn check_knows_what_variables_use() {
    let case = Case::new(
        "[source]\napp = \"file:/nonexistent.json\"\n[process.main]\nenv = { A = \"{{ ap.x }}\", B = \"{{ app.b }}\" }\nenv_from = \"app\"\n",
    );
    let check = |more: &[&str]| proem(["check", "-c", text(&case.config)]).args(more.iter().copied()).output();
    let output = check(&[]);
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("(`env.A` of main):1:4: `ap` is not defined"), "{}", output.stderr);
    case.write("proem.toml", &read(&case.config).replace("ap.x", "app.x"));
    case.write("app.json", r#"{"x":1,"c":{"d":1},"c_d":2}"#);
    let fixture = format!("app=file:{}", text(&case.dir.path().join("app.json")));
    let output = check(&["--with", &fixture]);
    assert_eq!(output.code, 65);
    assert!(output.stderr.contains("(`env.B` of main):1:4: `app.b` is not defined"), "{}", output.stderr);
    assert!(output.stderr.contains("`c.d` and `c_d` both become `C_D`"), "{}", output.stderr);
    case.write("app.json", r#"{"x":1,"b":2}"#);
    let output = check(&["--with", &fixture]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "ok: 2 templates checked, 2 rendered with fixtures\n"));
}

#[test]
fn a_value_that_is_missing_is_waited_for_and_named() {
    let case = Case::new(&format!(
        "throttle = \"0s\"\nwait = \"20s\"\n[source]\ndb = \"file:$D/db.toml\"\n[process.main]\n{STAYS}\nenv = {{ U = \"{{{{ db.user }}}}\" }}\non_env_change = \"restart\"\n"
    ));
    case.write("db.toml", "host = \"h\"\n");
    let mut process = case.proem().start();
    process.says("(`env.U` of main):1:4: `db.user` is not defined");
    assert_eq!(procs::children(process.pid()).len(), 1, "only the worker runs");
    case.replace("db.toml", "user = \"u\"\n");
    assert!(environ(sleeper(&process, "1000")).contains(&"U=u".to_owned()));
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);

    case.write("db.toml", "host = \"h\"\n");
    let output = case.proem().args(["--wait", "1s"]).output();
    assert_eq!(output.code, 65, "{}", output.stderr);
    assert!(output.stderr.contains("`db.user` is not defined"), "{}", output.stderr);
}

#[test]
fn a_change_restarts_its_own_process_with_the_new_values() {
    let case = Case::new(&format!(
        "throttle = \"0s\"\n[source]\ndb = \"file:$D/db.toml\"\nside = \"file:$D/side.toml\"\n[process.main]\n{STAYS}\nenv = {{ U = \"{{{{ db.user }}}}\" }}\non_env_change = \"restart\"\n\
         [process.side]\ncommand = [\"/bin/sleep\", \"{{{{ side.seconds }}}}\"]\nenv_from = {{ source = \"db\", upper = false, allow = \"user\" }}\non_env_change = \"none\"\n"
    ));
    case.write("db.toml", "user = \"u1\"\n");
    case.write("side.toml", "seconds = 2001\n");
    let mut process = case.proem().start();
    let (main, side) = (sleeper(&process, "1000"), sleeper(&process, "2001"));
    assert!(environ(main).contains(&"U=u1".to_owned()) && !environ(main).contains(&"user=u1".to_owned()));
    assert!(environ(side).contains(&"user=u1".to_owned()) && !environ(side).contains(&"U=u1".to_owned()));
    case.replace("db.toml", "user = \"s3cret\"\n");
    let second = restarted_with(&process, main, "U=s3cret");
    assert_eq!(sleeper(&process, "2001"), side, "`none` leaves it running");
    // What leaves the result as it is does nothing: the next change is the first that follows.
    case.replace("db.toml", "user = \"s3cret\"\nother = 1\n");
    case.replace("side.toml", "seconds = 2002\n");
    let told = || process.stderr().matches("the environment of `side` changed").count();
    process.until("init knows both changes", || (told() == 2).then_some(()));
    procs::kill(side, libc::SIGKILL);
    let side = sleeper(&process, "2002");
    assert!(environ(side).contains(&"user=s3cret".to_owned()), "its next start has the new values");
    assert_eq!(sleeper(&process, "1000"), second);
    process.says("reloaded main by restart (the environment of `main` changed)");

    // A worker that follows another finds nothing to do.
    procs::kill(process.worker(), libc::SIGKILL);
    process.says("the worker died");
    case.replace("side.toml", "seconds = 2003\n");
    process.until("the next worker has looked at all", || (told() == 3).then_some(()));
    assert_eq!(sleeper(&process, "1000"), second);
    case.replace("db.toml", "user = \"u3\"\n");
    let third = restarted_with(&process, second, "U=u3");
    let restarts = || process.stderr().matches("reloaded main by restart").count();
    process.until("two restarts in all", || (restarts() >= 2).then_some(()));
    assert_eq!(restarts(), 2, "{}", process.stderr());
    // Nobody watches: the next worker finds out by what init knows.
    procs::kill(process.worker(), libc::SIGKILL);
    case.replace("db.toml", "user = \"u4\"\n");
    restarted_with(&process, third, "U=u4");
    let log = process.stderr();
    assert!(!log.contains("s3cret") && !log.contains("u4"), "{log}");
    for pid in [process.pid(), process.worker()] {
        assert!(!environ(pid).iter().chain(&arguments(pid)).any(|one| one.contains("u4")), "{pid}");
    }
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}

#[test]
fn a_change_ends_the_container_where_that_was_asked_for() {
    let case = Case::new(&format!(
        "throttle = \"0s\"\n[source]\ndb = \"file:$D/db.toml\"\n[process.main]\n{STAYS}\nenv = {{ U = \"{{{{ db.user }}}}\" }}\non_env_change = \"exit\"\n"
    ));
    case.write("db.toml", "user = \"u1\"\n");
    let mut process = case.proem().start();
    sleeper(&process, "1000");
    case.replace("db.toml", "user = \"u2\"\n");
    let output = process.ended(SOON);
    assert_eq!(output.code, 75, "{}", output.stderr);
    assert!(
        output
            .stderr
            .ends_with("proem: exit 75: the environment of `main` changed, and its `on_env_change` is `exit`\n"),
        "{}",
        output.stderr
    );
}

#[cfg(feature = "consul")]
#[test]
fn a_key_in_consul_changes_and_the_process_runs_anew() {
    let consul = agent::Consul::start();
    consul.put("config/app/db/user", "first");
    let case = Case::new(&format!(
        "throttle = \"0s\"\n[source]\napp = \"consul:config/app\"\n[process.main]\n{STAYS}\nenv_from = [\"app\"]\non_env_change = \"restart\"\n"
    ));
    let mut process = case.proem().env("CONSUL_HTTP_ADDR", &consul.address()).start();
    let main = sleeper(&process, "1000");
    assert!(environ(main).contains(&"DB_USER=first".to_owned()), "{:?}", environ(main));
    consul.put("config/app/db/user", "second");
    let second = restarted_with(&process, main, "DB_USER=second");
    consul.put("config/app/new", "x");
    restarted_with(&process, second, "NEW=x");
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}

#[test]
fn a_file_and_a_variable_that_change_together_are_one_restart() {
    let case = Case::new(&format!(
        "throttle = \"0s\"\n[source]\ndb = \"file:$D/db.toml\"\n[template.t]\nfrom = \"$D/t.tera\"\nto = \"$D/out\"\nreload = \"restart\"\n\
         [process.main]\n{STAYS}\nenv_from = [\"db\"]\non_env_change = \"restart\"\n"
    ));
    case.write("t.tera", "{{ db.user }}");
    case.write("db.toml", "user = \"u1\"\n");
    let mut process = case.proem().start();
    let main = sleeper(&process, "1000");
    case.replace("db.toml", "user = \"u2\"\n");
    let second = restarted_with(&process, main, "USER=u2");
    let out = case.dir.path().join("out");
    process.says("reloaded main by restart");
    assert_eq!(read(&out), "u2");
    // The next one proves that nothing else was owed before it.
    case.replace("db.toml", "user = \"u3\"\n");
    restarted_with(&process, second, "USER=u3");
    let both = format!("reloaded main by restart ({}, the environment of `main` changed)", text(&out));
    process.until("both are told of twice", || (process.stderr().matches(&both).count() == 2).then_some(()));
    assert_eq!(process.stderr().matches("reloaded main").count(), 2, "{}", process.stderr());
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}

/// Files and variables of one change arrive together, or not at all; also for who is started meanwhile.
#[test]
fn variables_wait_for_the_files_of_the_same_change() {
    for check in ["{staged}", "$D/out"] {
        let case = Case::new(&format!(
            "throttle = \"0s\"\n[source]\ndb = \"file:$D/db.toml\"\nother = \"file:$D/other.toml\"\n\
             [template.t]\nfrom = \"$D/t.tera\"\nto = \"$D/out\"\nreload = [\"HUP\", \"side:restart\"]\n\
             check = [\"/bin/sh\", \"$D/check.sh\", \"{check}\"]\n\
             [process.main]\n{STAYS}\nenv_from = [\"db\"]\non_env_change = \"restart\"\n\
             [process.side]\ncommand = [\"/bin/sleep\", \"2000\"]\nenv_from = [\"db\"]\non_env_change = \"none\"\n\
             [process.else]\ncommand = [\"/bin/sleep\", \"3000\"]\nenv_from = [\"other\"]\non_env_change = \"restart\"\n"
        ));
        case.write("t.tera", "{{ db.user }}");
        case.write("check.sh", "! grep -q BAD \"$1\"\n");
        case.write("db.toml", "user = \"u1\"\n");
        case.write("other.toml", "user = \"o1\"\n");
        let mut process = case.proem().start();
        let (main, side, another) = (sleeper(&process, "1000"), sleeper(&process, "2000"), sleeper(&process, "3000"));
        case.replace("db.toml", "user = \"BAD\"\n");
        process.says("refused (exit 1)");
        process.says("the environment of `main` has changed, too, and waits for template `t`, which is not in place");
        // Another source's change is another change.
        case.replace("other.toml", "user = \"o2\"\n");
        let third = process.until("the third one runs anew", || {
            let now = sleeper(&process, "3000");
            (now != another && environ(now).contains(&"USER=o2".to_owned())).then_some(now)
        });
        // Who ends by itself, meanwhile and after the worker has died, starts on what belongs to the files.
        procs::kill(side, libc::SIGKILL);
        let side = process.until("it runs anew", || Some(sleeper(&process, "2000")).filter(|now| *now != side));
        assert!(environ(side).contains(&"USER=u1".to_owned()), "{:?}", environ(side));
        procs::kill(process.worker(), libc::SIGKILL);
        process.says("has refused this content before");
        process.until("the next worker knows it, too", || {
            (process.stderr().matches("the environment of `main` has changed, too").count() == 2).then_some(())
        });
        assert_eq!((sleeper(&process, "1000"), sleeper(&process, "2000")), (main, side));
        assert!(!process.stderr().contains("reloaded main"), "{}", process.stderr());
        case.replace("db.toml", "user = \"u2\"\n");
        restarted_with(&process, main, "USER=u2");
        assert_eq!(read(&case.dir.path().join("out")), "u2");
        process.says("reloaded main by restart (");
        assert_eq!(process.stderr().matches("reloaded main").count(), 1, "{}", process.stderr());
        assert_eq!(sleeper(&process, "3000"), third);
        process.signal(libc::SIGTERM);
        assert_eq!(process.ended(SOON).code, 143);
    }
}

#[test]
fn a_change_that_cannot_be_used_leaves_the_process_as_it_is() {
    let case = Case::new(&format!(
        "throttle = \"0s\"\n[source]\ndb = \"file:$D/db.json\"\n[process.main]\n{STAYS}\nenv_from = [\"db\"]\nenv = {{ V = \"{{{{ db.user }}}}\" }}\non_env_change = \"restart\"\n"
    ));
    case.write("db.json", r#"{"user":"u1"}"#);
    let mut process = case.proem().start();
    let main = sleeper(&process, "1000");
    case.replace("db.json", r#"{"host":"s3cret"}"#);
    process.says("`db.user` is not defined");
    case.replace("db.json", &format!(r#"{{"user":"{}"}}"#, "s3cret".repeat(40_000)));
    process.says("process `main`: the variable `USER` would be longer than the 131071 bytes that the kernel takes");
    case.replace("db.json", r#"{"user":"s3\u0000cret"}"#);
    process.says("process `main`: the variable `V` would hold a NUL byte");
    assert_eq!(sleeper(&process, "1000"), main);
    case.replace("db.json", r#"{"user":"u2"}"#);
    restarted_with(&process, main, "V=u2");
    assert!(!process.stderr().contains("cret"), "{}", process.stderr());
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}

#[test]
fn a_process_of_a_configuration_that_is_read_anew_starts_with_its_values() {
    let case = Case::new(&format!(
        "control = \"$D/sock\"\nthrottle = \"0s\"\n[source]\ndb = \"file:$D/db.toml\"\n[process.main]\n{STAYS}\n"
    ));
    // While one worker follows another nobody answers for a moment.
    let ask = |words: &[&str]| {
        let socket = case.dir.path().join("sock");
        let output = proem([]).args(words.iter().copied()).args(["--control", text(&socket)]).output();
        (output.code == 0).then_some(output.stdout)
    };
    case.write("db.toml", "user = \"s3cret\"\n");
    let mut process = case.proem().start();
    let main = sleeper(&process, "1000");
    let side =
        "[process.side]\ncommand = [\"/bin/sleep\", \"2000\"]\nenv_from = [\"db\"]\non_env_change = \"restart\"\n";
    let config = read(&case.config);
    // What follows a change is not stated: the old configuration stays in use.
    case.write("proem.toml", &(config.clone() + &side.replace("on_env_change", "#")));
    process.until("a reload is refused", || {
        assert_eq!(ask(&["reload"]), None);
        process.stderr().contains("which can change, and no `on_env_change` is stated").then_some(())
    });
    case.write("proem.toml", &(config + side));
    process.until("the configuration is read anew", || ask(&["reload"]));
    let first = sleeper(&process, "2000");
    assert!(environ(first).contains(&"USER=s3cret".to_owned()));
    // The same once more restarts nobody.
    let before = process.worker();
    process.until("the configuration is read anew again", || ask(&["reload"]));
    process.until("another worker", || procs::worker(process.pid()).filter(|worker| *worker != before));
    let status = process.until("it has looked", || {
        let status: serde_json::Value = serde_json::from_str(&ask(&["status", "--format", "json"])?).unwrap();
        let target = status["targets"][0].clone();
        (target["in_place"] == true).then_some(status)
    });
    assert_eq!(status["targets"][0]["target"], "the environment of `side`");
    assert!(!status.to_string().contains("s3cret"), "{status}");
    assert_eq!((sleeper(&process, "1000"), sleeper(&process, "2000")), (main, first));
    case.replace("db.toml", "user = \"u2\"\n");
    process.until("the sidecar runs anew", || {
        (environ(sleeper(&process, "2000")).contains(&"USER=u2".to_owned())).then_some(())
    });
    assert_eq!(sleeper(&process, "1000"), main);
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}

#[test]
fn every_mistake_of_an_environment_is_listed() {
    let case = Case::new(
        r#"
[source]
app = "file:/x.json"
[process.main]
command = ["a", "{{ app.x }}${Y}"]
pristine = "yes"
on_env_change = "reload"
env = { "A=B" = "1", C = ["x"], D = 8080, E = true }
env_from = ["app", { sorce = "app" }, 5, { source = "app", prefix = "A=", upper = "no" }]
[process.migrate]
kind = "setup"
command = ["m"]
env = { X = "{{ app.x }}" }
on_env_change = "restart"
"#,
    );
    let output = case.output();
    assert_eq!(output.code, 78);
    for mistake in [
        ":5:17: `${Y}` in a template",
        ":6:12: `pristine` is a string, not a boolean",
        ":7:17: `on_env_change` is `reload`: this is not known",
        ":8:9: `A=B` is no name for a variable",
        ":8:26: `env.C` is a list, not a string",
        ":9:22: unknown key `sorce`",
        ":9:20: `env_from` names no source",
        ":9:39: `env_from` is an integer, not a source's name or a table",
        ":9:69: `prefix` is `A=`: a name has no `=`",
        ":9:83: `upper` is a string, not a boolean",
        ":14:17: `on_env_change` is `restart` in a setup process, which runs once",
    ] {
        assert!(output.stderr.contains(mistake), "no {mistake}:\n{}", output.stderr);
    }
    assert!(!output.stderr.contains("env.D") && !output.stderr.contains("env.E"), "{}", output.stderr);
}

#[test]
fn a_setup_process_gets_values_and_needs_no_word_about_their_change() {
    let case = Case::new(&format!(
        "[source]\ndb = \"file:$D/db.toml\"\n[process.migrate]\nkind = \"setup\"\ncommand = [\"/bin/sh\", \"-c\", \"echo $USER > $D/migrated\"]\nenv_from = \"db\"\n\
         [process.main]\nafter = [\"migrate\"]\n{STAYS}\n"
    ));
    case.write("db.toml", "user = \"u1\"\n");
    let mut process = case.proem().start();
    let main = sleeper(&process, "1000");
    assert_eq!(read(&case.dir.path().join("migrated")), "u1\n");
    assert!(!environ(main).contains(&"USER=u1".to_owned()));
    process.signal(libc::SIGTERM);
    assert_eq!(process.ended(SOON).code, 143);
}
