//! What CI builds on: the exact exit code, standard output and standard error of `proem render` for whatever can fail, and
//! of a dry run. Where tests/render.rs asks what is meant, this asks for every byte.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::proem::{BINARY, Builder, Output, proem};
use support::{folder, read, text, write};

/// What is expected of a run: the code, standard output, standard error. `DIR` stands for the folder, `ME` for the user
/// and group that the test runs as.
#[track_caller]
fn golden(output: &Output, dir: &Path, code: i32, stdout: &str, stderr: &str) {
    // SAFETY: these calls cannot fail and touch no memory.
    let me = unsafe { format!("{}:{}", libc::geteuid(), libc::getegid()) };
    let dir = text(dir);
    let plain = |text: &str| {
        let sides = text.replace(&format!("a{dir}"), "a/DIR").replace(&format!("b{dir}"), "b/DIR");
        sides.replace(dir, "DIR").replace(&me, "ME")
    };
    let got = (output.code, plain(&output.stdout), plain(&output.stderr));
    assert_eq!(got, (code, stdout.to_owned(), stderr.to_owned()), "\n{}\n{}", got.1, got.2);
}

fn render(dir: &Path, arguments: &[&str]) -> Output {
    proem(["render"]).args(arguments.iter().copied()).dir(dir).output()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Every name, inode, mode and time below a folder: what a dry run must leave as it is.
fn state(dir: &Path) -> Vec<(String, u64, u32, i64, i64, String)> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = std::fs::symlink_metadata(&path).unwrap();
            let content = if found.is_file() { read(&path) } else { String::new() };
            all.push((
                text(&path).to_owned(),
                found.ino(),
                found.mode(),
                found.mtime_nsec(),
                found.ctime_nsec(),
                content,
            ));
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    all.sort();
    all
}

mod failures {
    use super::*;

    #[test]
    fn the_command_line_is_64() {
        let dir = folder();
        write(dir.path(), "t.tera", "x");
        for (arguments, stderr) in [
            (
                &["--no-such-option"][..],
                "proem: exit 64: unexpected argument `--no-such-option` found\n  hint: `proem --help` lists what there is\n",
            ),
            (
                &[],
                "proem: exit 64: there is no template to render\n  hint: name one, `-t FROM:TO`, or a configuration file, \
                 `-c PATH`\n",
            ),
            (
                &["-t", "t.tera:t", "--diff"],
                "proem: exit 64: `--diff` needs `--dry-run`\n  hint: `proem render --dry-run --diff` prints what would change \
                 and writes nothing\n",
            ),
            (
                &["-t", "t.tera:t", "--exit-code"],
                "proem: exit 64: `--exit-code` needs `--dry-run`\n  hint: `proem render --dry-run --exit-code` prints what \
                 would change and writes nothing\n",
            ),
            (
                &["-t", "t.tera:t", "--format", "json"],
                "proem: exit 64: `--format` needs `--dry-run`\n  hint: `proem render --dry-run --format` prints what would \
                 change and writes nothing\n",
            ),
            (
                &["-t", "t.tera:t", "--dry-run", "--format", "yaml"],
                "proem: exit 64: --format: there is no format `yaml`\n  hint: known here: text, json\n",
            ),
            (
                &["-t", "t.tera:t", "--dry-run", "--watch"],
                "proem: exit 64: the argument `--dry-run` cannot be used with `--watch`\n  hint: `proem --help` lists what there is\n",
            ),
            (
                &["-t", "t.tera:t", "--out-dir", ""],
                "proem: exit 64: `--out-dir` names no directory\n  hint: `--out-dir .` is the one that proem is started in\n",
            ),
        ] {
            golden(&render(dir.path(), arguments), dir.path(), 64, "", stderr);
        }
        let output = proem(["render", "--watch", "-t", "t.tera:t"]).dir(dir.path()).env("PROEM_DRY_RUN", "1").output();
        let stderr = "proem: exit 64: `--watch` and PROEM_DRY_RUN exclude one another\n  hint: leave out one of them\n";
        golden(&output, dir.path(), 64, "", stderr);
        assert!(!dir.path().join("t").exists());
    }

    #[test]
    fn an_undefined_name_is_65() {
        let dir = folder();
        write(dir.path(), "app.toml", "port = 80\nhost = \"h\"\n");
        write(dir.path(), "t.tera", "a\n{{ app.prt }}\n");
        for more in [&[][..], &["--dry-run"], &["--dry-run", "--diff", "--format", "json"], &["--out-dir", "out"]] {
            let arguments = [&["-s", "app=file:app.toml", "-t", "t.tera:t"], more].concat();
            let stderr = "proem: exit 65: DIR/t.tera:2:4: `app.prt` is not defined in file:app.toml\n    2 | {{ app.prt }}\n      \
                          |    ^^^^^^^\n  hint: did you mean `port`? beside it: host, port\n";
            golden(&render(dir.path(), &arguments), dir.path(), 65, "", stderr);
        }
    }

    #[test]
    fn a_source_that_is_not_there_is_65() {
        let dir = folder();
        write(dir.path(), "t.tera", "{{ app.port }}");
        let output = render(dir.path(), &["-s", "app=file:missing.toml", "-t", "t.tera:t"]);
        let stderr = "proem: exit 65: source `app`: there is no file DIR/missing.toml\n  hint: where it may be missing, \
                      write `file:missing.toml?optional`\n";
        golden(&output, dir.path(), 65, "", stderr);
    }

    #[test]
    fn a_format_that_is_refused_is_65() {
        let dir = folder();
        write(dir.path(), "t.tera", "{ \"a\": }");
        write(dir.path(), "p.toml", "[template.t]\nfrom = \"t.tera\"\nto = \"t.json\"\nformat = \"json\"\n");
        for (more, target) in
            [(&[][..], "DIR/t.json"), (&["--dry-run"], "DIR/t.json"), (&["--out-dir", "out"], "DIR/out/t.json")]
        {
            let stderr = format!(
                "proem: exit 65: template `t`: {target}:1:8 would not be valid JSON: expected value\n  hint: values inside \
                 quotes need the target's escaping, whole values the filter of that format\n"
            );
            golden(&render(dir.path(), &[&["-c", "p.toml"], more].concat()), dir.path(), 65, "", &stderr);
        }
    }

    #[test]
    fn a_check_that_refuses_is_65_with_its_words() {
        let dir = folder();
        write(dir.path(), "t.tera", "x");
        let check = "[\"sh\", \"-c\", \"echo no good; exit 3\", \"{staged}\"]";
        write(dir.path(), "p.toml", &format!("[template.t]\nfrom = \"t.tera\"\nto = \"t\"\ncheck = {check}\n"));
        let stderr =
            "proem: exit 65: template `t`: check `sh -c echo no good; exit 3 {staged}` refused (exit 3): no good\n";
        golden(&render(dir.path(), &["-c", "p.toml"]), dir.path(), 65, "", stderr);
        // It is not run for another machine, nor by a dry run.
        let output = render(dir.path(), &["-c", "p.toml", "--out-dir", "out"]);
        golden(&output, dir.path(), 0, "", "proem: published DIR/out/t\n");
        let stdout = "create DIR/t (mode 0644, owner ME)\n\
                      check of `t`: `sh -c echo no good; exit 3 {staged}`, before the rename\n\
                      1 to create, 0 to update, 0 to repair, 0 to remove, 0 unchanged\n";
        golden(&render(dir.path(), &["-c", "p.toml", "--dry-run"]), dir.path(), 0, stdout, "");
    }

    #[test]
    fn a_template_that_is_missing_is_66() {
        let dir = folder();
        write(dir.path(), "t.tera", "{% include \"nowhere.conf\" %}");
        for more in [&[][..], &["--dry-run"]] {
            let output = render(dir.path(), &[&["-t", "nowhere.tera:t"], more].concat());
            let stderr = "proem: exit 66: failed to read template `DIR/nowhere.tera`: no such file or directory\n  \
                          hint: is it in the image? a relative path is looked up in the current directory, then in \
                          `template_dir`\n";
            golden(&output, dir.path(), 66, "", stderr);
            let stderr = "proem: exit 66: DIR/t.tera:1:12: `nowhere.conf` is not found\n    \
                          1 | {% include \"nowhere.conf\" %}\n      |            ^^^^^^^^^^^^^^\n  \
                          hint: looked for `DIR/nowhere.conf` and `/etc/proem/templates/nowhere.conf`\n";
            golden(&render(dir.path(), &[&["-t", "t.tera:t"], more].concat()), dir.path(), 66, "", stderr);
        }
    }

    #[cfg(feature = "consul")]
    #[test]
    fn a_store_that_cannot_be_reached_is_69() {
        let dir = folder();
        write(dir.path(), "t.tera", "{{ app.x }}");
        let [port] = support::ports::free();
        let address = format!("http://127.0.0.1:{port}");
        for more in [&[][..], &["--dry-run", "--exit-code"]] {
            // What is said while it waits depends on when it looks.
            let output =
                proem(["render", "--log", "error", "--wait", "0s", "-s", "app=consul:config/app", "-t", "t.tera:t"])
                    .args(more.iter().copied())
                    .dir(dir.path())
                    .env("CONSUL_HTTP_ADDR", &address)
                    .output();
            let stderr = output.stderr.replace(&address, "ADDRESS");
            let expected = "proem: exit 69: source `app`: failed to reach consul at ADDRESS: connection refused\n  hint: a \
                            loopback address is this container; use the host's address\n";
            golden(&Output { stderr, ..output }, dir.path(), 69, "", expected);
        }
    }

    #[test]
    fn a_target_that_cannot_be_written_is_73() {
        let dir = folder();
        write(dir.path(), "t.tera", "x");
        write(dir.path(), "file", "not a directory");
        for (target, stderr) in [
            (
                "file/t",
                "DIR/file/t: not a directory\n  hint: remove what is in the way of the directory, or name another one\n",
            ),
            ("/proc/nothing/t", "/proc/nothing/t: no such file or directory\n"),
            (
                "/dev/null",
                "/dev/null: it is not a regular file\n  hint: `-` as a template's target is standard output\n",
            ),
        ] {
            let output = render(dir.path(), &["-t", &format!("t.tera:{target}")]);
            golden(&output, dir.path(), 73, "", &format!("proem: exit 73: failed to write {stderr}"));
        }
    }

    #[test]
    fn a_full_standard_output_is_73() {
        let dir = folder();
        write(dir.path(), "t.tera", "x");
        for (arguments, stderr) in [
            ("-t t.tera:t --dry-run", "proem: exit 73: failed to write standard output: no space left on device\n"),
            (
                "-t t.tera:-",
                "proem: exit 73: failed to write standard output: no space left on device\n  hint: free space on that file system\n",
            ),
        ] {
            let script = format!("{BINARY} render {arguments} > /dev/full");
            let output = Builder::new("/bin/sh").args(["-c", &script]).dir(dir.path()).output();
            golden(&output, dir.path(), 73, "", stderr);
        }
    }

    #[test]
    fn the_configuration_is_78_with_every_mistake() {
        let dir = folder();
        write(dir.path(), "p.toml", "wiat = \"1s\"\n[template.t]\nfrom = \"t.tera\"\nto = \"t\"\nmode = \"9\"\n");
        write(dir.path(), "t.tera", "x");
        for more in [&[][..], &["--dry-run", "--format", "json"]] {
            let stderr = "proem: p.toml:1:1: unknown key `wiat`\n  hint: did you mean `wait`?\n\
                          proem: p.toml:5:8: `mode` is `9`: these are no permission bits up to 7777\n  hint: write them like \
                          `0644`\nproem: exit 78: 2 mistakes in the configuration\n";
            golden(&render(dir.path(), &[&["-c", "p.toml"], more].concat()), dir.path(), 78, "", stderr);
        }
        let output = proem(["render", "-t", "t.tera:t"]).dir(dir.path()).env("PROEM_DRY_RUN", "perhaps").output();
        let stderr =
            "proem: exit 78: PROEM_DRY_RUN: `perhaps` is neither true nor false\n  hint: write `true` or `false`\n";
        golden(&output, dir.path(), 78, "", stderr);
        assert!(!dir.path().join("t").exists());
    }
}

mod dry_run {
    use super::*;

    /// One target of each kind: `a` changes, `b` is new, `c` has another mode, `d` is as it should be, `-` is printed.
    fn each_kind(dir: &Path) {
        write(dir, "app.toml", "port = 81\n");
        write(dir, "a.tera", "one\nlisten {{ app.port }}\nthree");
        set_mode(&write(dir, "a", "one\nlisten 80\nthree\n"), 0o644);
        write(dir, "b.tera", "new\r\n");
        write(dir, "c.tera", "c");
        set_mode(&write(dir, "c", "c"), 0o600);
        set_mode(&write(dir, "d", "c"), 0o644);
        let check = |name: &str| format!("[\"sh\", \"-c\", \"touch checked-{name}\"]");
        let config = format!(
            "source.app = \"file:app.toml\"\n\
             [template.a]\nfrom = \"a.tera\"\nto = \"a\"\ncheck = {}\n\
             reload = [\"HUP\", {{ run = [\"touch\", \"told\"] }}]\n\
             verify = {{ run = [\"touch\", \"verified\"], within = \"90s\" }}\n\
             [template.b]\nfrom = \"b.tera\"\nto = \"sub/b\"\nmode = \"0640\"\nreload = \"restart\"\n\
             [template.c]\nfrom = \"c.tera\"\nto = \"c\"\nmode = \"0644\"\ncheck = {}\nreload = \"exit\"\n\
             [template.d]\nfrom = \"c.tera\"\nto = \"d\"\ncheck = {}\nreload = \"exit\"\n\
             [template.e]\nfrom = \"c.tera\"\nto = \"-\"\n",
            check("a"),
            check("c"),
            check("d"),
        );
        write(dir, "p.toml", &config);
    }

    #[test]
    fn what_would_change_is_listed_and_nothing_is_touched() {
        let dir = folder();
        each_kind(dir.path());
        let before = state(dir.path());
        let output = render(dir.path(), &["-c", "p.toml", "--dry-run"]);
        let stdout = "update DIR/a\n\
                      check of `a`: `sh -c touch checked-a`, after the rename\n\
                      reload of `a`: main by HUP\n\
                      reload of `a`: `touch told`\n\
                      verify of `a`: `touch verified` within 90s\n\
                      create DIR/sub/b (mode 0640, owner ME)\n\
                      reload of `b`: main by restart\n\
                      repair DIR/c (mode 0600 → 0644)\n\
                      print -\n\
                      1 to create, 1 to update, 1 to repair, 0 to remove, 1 unchanged\n";
        golden(&output, dir.path(), 0, stdout, "");
        assert_eq!(state(dir.path()), before);
        let output = proem(["render"]).dir(dir.path()).env("PROEM_CONFIG", "p.toml").env("PROEM_DRY_RUN", "1");
        golden(&output.env("PROEM_WATCH", "1").output(), dir.path(), 0, stdout, "");
        assert_eq!(state(dir.path()), before);
    }

    /// In a root of its own. `zz` is published after what declares its owner, `aa` before.
    #[test]
    fn a_user_that_the_same_run_declares_is_known() {
        let root = folder();
        write(root.path(), "etc/passwd", "root:x:0:0::/:/bin/sh\n");
        write(root.path(), "etc/group", "root:x:0:\n");
        write(root.path(), "passwd.tera", "root:x:0:0::/:/bin/sh\nlate:x:1234:5::/:\n");
        write(root.path(), "group.tera", "root:x:0:\nlater:x:4321:\n");
        write(root.path(), "x.tera", "x");
        std::fs::copy(BINARY, root.path().join("proem")).unwrap();
        let declares = "[template.m]\nfrom = \"/passwd.tera\"\nto = \"/etc/passwd\"\n\
                        [template.n]\nfrom = \"/group.tera\"\nto = \"/etc/group\"\n";
        let owned =
            |name: &str| format!("[template.{name}]\nfrom = \"/x.tera\"\nto = \"/{name}\"\nowner = \"late:later\"\n");
        let chroot = |more: &[&str]| {
            let command = [&[text(root.path()), "/proem", "render", "-c", "/p.toml"], more].concat();
            Builder::new("chroot").args(command).output()
        };
        write(root.path(), "p.toml", &format!("{declares}{}", owned("zz")));
        let dry = chroot(&["--dry-run"]);
        let stdout = "update /etc/passwd\nupdate /etc/group\ncreate /zz (mode 0644, owner 1234:4321)\n\
                      1 to create, 2 to update, 0 to repair, 0 to remove, 0 unchanged\n";
        assert_eq!((dry.code, dry.stdout.as_str(), dry.stderr.as_str()), (0, stdout, ""));
        // Where it is needed before it is declared, both fail.
        write(root.path(), "p.toml", &format!("{}{declares}", owned("aa")));
        let said = "proem: exit 73: user `late` is not in /etc/passwd";
        for more in [&["--dry-run"][..], &[]] {
            let output = chroot(more);
            assert!(output.code == 73 && output.stderr.starts_with(said), "{} {}", output.code, output.stderr);
        }
        write(root.path(), "p.toml", &format!("{declares}{}", owned("zz")));
        assert_eq!(chroot(&[]).code, 0);
        let zz = std::fs::metadata(root.path().join("zz")).unwrap();
        assert_eq!((zz.uid(), zz.gid()), (1234, 4321));
    }

    #[test]
    fn the_exit_code_tells_whether_something_would_change() {
        let dir = folder();
        each_kind(dir.path());
        let dry = |more: &[&str]| render(dir.path(), &[&["-c", "p.toml", "--dry-run", "--exit-code"], more].concat());
        assert_eq!((dry(&[]).code, dry(&["--format", "json"]).code), (2, 2));
        // A lone repair is a change, what is printed is none.
        write(dir.path(), "a", "one\nlisten 81\nthree");
        set_mode(&write(dir.path(), "sub/b", "new\r\n"), 0o640);
        let stdout = "repair DIR/c (mode 0600 → 0644)\nprint -\n0 to create, 0 to update, 1 to repair, 0 to remove, 3 unchanged\n";
        golden(&dry(&[]), dir.path(), 2, stdout, "");
        set_mode(&dir.path().join("c"), 0o644);
        golden(&dry(&["--diff"]), dir.path(), 0, "print -\nnothing would change, 4 unchanged\n", "");
    }

    #[test]
    fn a_diff_is_one_that_git_would_write() {
        let dir = folder();
        each_kind(dir.path());
        write(dir.path(), "bin.tera", "text\n");
        std::fs::write(dir.path().join("bin"), b"\xff\0\x01").unwrap();
        set_mode(&dir.path().join("bin"), 0o644);
        let output = render(dir.path(), &["-c", "p.toml", "-t", "bin.tera:bin", "--dry-run", "--diff"]);
        let stdout = "update DIR/a\n\
                      diff --git a/DIR/a b/DIR/a\n\
                      --- a/DIR/a\n\
                      +++ b/DIR/a\n\
                      @@ -1,3 +1,3 @@\n \
                      one\n\
                      -listen 80\n\
                      -three\n\
                      +listen 81\n\
                      +three\n\
                      \\ No newline at end of file\n\
                      check of `a`: `sh -c touch checked-a`, after the rename\n\
                      reload of `a`: main by HUP\n\
                      reload of `a`: `touch told`\n\
                      verify of `a`: `touch verified` within 90s\n\
                      create DIR/sub/b (mode 0640, owner ME)\n\
                      diff --git a/DIR/sub/b b/DIR/sub/b\n\
                      new file mode 100640\n\
                      --- /dev/null\n\
                      +++ b/DIR/sub/b\n\
                      @@ -0,0 +1 @@\n\
                      +new\\r\n\
                      reload of `b`: main by restart\n\
                      repair DIR/c (mode 0600 → 0644)\n\
                      print -\n\
                      update DIR/bin\n\
                      diff --git a/DIR/bin b/DIR/bin\n\
                      Binary files a/DIR/bin and b/DIR/bin differ (what is there is binary)\n\
                      1 to create, 2 to update, 1 to repair, 0 to remove, 1 unchanged\n";
        golden(&output, dir.path(), 0, stdout, "");
    }

    /// One group of two, with all that may follow a change.
    const GROUP: &str = "[group.g]\nverify = { probe = \"tcp:127.0.0.1:9\", within = \"5s\" }\ncheck = [\"true\", \"{staged:a}\"]\nreload = [\"HUP\", \"restart\", { run = [\"x\", \"y\"] }]\n\
             [template.a]\nfrom = \"a.tera\"\nto = \"a\"\nmode = \"0664\"\ngroup = \"g\"\n\
             [template.b]\nfrom = \"a.tera\"\nto = \"b\"\ngroup = \"g\"\n";

    #[test]
    fn json_is_one_document() {
        let dir = folder();
        write(dir.path(), "a.tera", "b\n");
        set_mode(&write(dir.path(), "a", "a\n"), 0o644);
        write(dir.path(), "p.toml", GROUP);
        let stdout = r#"{
  "version": 1,
  "changes": true,
  "summary": {
    "create": 1,
    "update": 1,
    "repair": 0,
    "remove": 0,
    "print": 0,
    "unchanged": 0
  },
  "directories": [],
  "groups": [
    {
      "name": "g",
      "left_behind": null,
      "targets": [
        {
          "template": "a",
          "path": "DIR/a",
          "action": "update",
          "mode": {
            "before": "0644",
            "after": "0664"
          },
          "owner": {
            "before": "ME",
            "after": "ME"
          },
          "diff": "diff --git a/DIR/a b/DIR/a\nold mode 100644\nnew mode 100664\n--- a/DIR/a\n+++ b/DIR/a\n@@ -1 +1 @@\n-a\n+b\n",
          "redacted": false
        },
        {
          "template": "b",
          "path": "DIR/b",
          "action": "create",
          "mode": {
            "before": null,
            "after": "0644"
          },
          "owner": {
            "before": null,
            "after": "ME"
          },
          "diff": "diff --git a/DIR/b b/DIR/b\nnew file mode 100644\n--- /dev/null\n+++ b/DIR/b\n@@ -0,0 +1 @@\n+b\n",
          "redacted": false
        }
      ],
      "check": {
        "command": [
          "true",
          "{staged:a}"
        ],
        "when": "before-rename"
      },
      "reloads": [
        {
          "kind": "signal",
          "process": "main",
          "signal": "HUP"
        },
        {
          "kind": "restart",
          "process": "main"
        },
        {
          "kind": "run",
          "command": [
            "x",
            "y"
          ]
        }
      ],
      "verify": {
        "kind": "probe",
        "probe": "tcp:127.0.0.1:9",
        "within_seconds": 5.0
      }
    }
  ]
}
"#;
        let output = render(dir.path(), &["-c", "p.toml", "--dry-run", "--diff", "--format", "json"]);
        golden(&output, dir.path(), 0, stdout, "");
        let output = render(dir.path(), &["-c", "p.toml", "--dry-run", "--format", "json"]);
        let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        let reference = include_str!("../docs/reference/render.md").split("## The JSON document").nth(1).unwrap();
        for key in keys(&document) {
            assert!(reference.contains(&format!("{key}`")), "the reference does not list `{key}`");
        }
        assert_eq!(document["groups"][0]["targets"][1]["diff"], serde_json::Value::Null);
    }

    fn keys(value: &serde_json::Value) -> Vec<String> {
        match value {
            serde_json::Value::Object(map) => {
                map.iter().flat_map(|(key, value)| [vec![key.clone()], keys(value)].concat()).collect()
            }
            serde_json::Value::Array(items) => items.iter().flat_map(keys).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn colours_are_for_terminals() {
        let dir = folder();
        write(dir.path(), "a.tera", "b\n");
        set_mode(&write(dir.path(), "a", "a\n"), 0o644);
        let on_terminal = |name: &str, value: &str| {
            let mut pty = support::pty::Pty::open();
            let mut command = std::process::Command::new(BINARY);
            command.args(["render", "--dry-run", "--diff", "-t", "a.tera:a"]).current_dir(dir.path()).env_clear();
            let mut child = pty.lead(command.env("TERM", "xterm").env(name, value));
            assert_eq!(child.wait().unwrap().code(), Some(0));
            pty.says(support::proem::SOON, "0 unchanged")
        };
        let coloured = on_terminal("NO_COLOR", "");
        assert!(coloured.contains("\u{1b}[31m-a\u{1b}[m\r\n\u{1b}[32m+b\u{1b}[m\r\n"), "{coloured:?}");
        for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let plain = on_terminal(name, value);
            assert!(plain.contains("\r\n-a\r\n+b\r\n") && !plain.contains('\u{1b}'), "{plain:?}");
        }
        assert!(!render(dir.path(), &["--dry-run", "--diff", "-t", "a.tera:a"]).stdout.contains('\u{1b}'));
    }

    #[test]
    fn what_a_crash_left_is_told_and_left_alone() {
        let dir = folder();
        write(dir.path(), "t.tera", "new");
        write(dir.path(), "a", "old");
        let config = |check: &str| {
            let templates = "[template.a]\nfrom = \"t.tera\"\nto = \"a\"\ngroup = \"g\"\n\
                             [template.b]\nfrom = \"t.tera\"\nto = \"b\"\ngroup = \"g\"\n";
            write(dir.path(), "p.toml", &format!("{templates}[group.g]\ncheck = [\"sh\", \"-c\", \"{check}\"]\n"));
        };
        config("kill -KILL $PPID");
        assert_eq!(render(dir.path(), &["-c", "p.toml"]).code, 137);
        config("true");
        let before = state(dir.path());
        let journal = before.iter().find(|(name, ..)| name.contains(".proem-journal-")).expect("a journal was left");
        let journal = journal.0.replace(text(dir.path()), "DIR");
        let stderr = format!(
            "proem: group `g`: an earlier publish was interrupted; `render` first finishes or undoes it (its journal: \
             {journal})\n"
        );
        let output = render(dir.path(), &["-c", "p.toml", "--dry-run", "--exit-code"]);
        golden(&output, dir.path(), 0, "nothing would change, 2 unchanged\n", &stderr);
        let output = render(dir.path(), &["-c", "p.toml", "--dry-run", "--format", "json"]);
        assert!(output.stdout.contains("\"left_behind\": \"interrupted\""), "{}", output.stdout);
        assert_eq!(state(dir.path()), before);
        // What it left alone is dealt with by a real one.
        assert_eq!(render(dir.path(), &["-c", "p.toml"]).code, 0);
        assert_eq!((read(&dir.path().join("a")), read(&dir.path().join("b"))), ("new".into(), "new".into()));
        assert!(!state(dir.path()).iter().any(|(name, ..)| name.contains(".proem-")));
    }

    #[test]
    fn it_needs_no_permission_to_write() {
        // SAFETY: the call cannot fail and touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            return;
        }
        let dir = folder();
        write(dir.path(), "t.tera", "new\n");
        write(dir.path(), "locked/hidden", "old\n");
        write(dir.path(), "locked/shown", "old\n");
        write(
            dir.path(),
            "p.toml",
            "[template.a]\nfrom = \"t.tera\"\nto = \"locked/shown\"\nowner = \"root:root\"\n\
             [template.b]\nfrom = \"t.tera\"\nto = \"locked/hidden\"\ncheck = [\"true\"]\n\
             [template.c]\nfrom = \"t.tera\"\nto = \"/proc/new/c\"\n",
        );
        for (name, mode) in [
            ("", 0o755),
            ("t.tera", 0o644),
            ("p.toml", 0o644),
            ("locked", 0o755),
            ("locked/hidden", 0o600),
            ("locked/shown", 0o644),
        ] {
            set_mode(&dir.path().join(name), mode);
        }
        let before = state(dir.path());
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", BINARY];
        let output = Builder::new("/usr/bin/setpriv")
            .args(nobody)
            .args(["render", "-c", "p.toml", "--dry-run", "--diff"])
            .dir(dir.path())
            .output();
        let stdout = "update DIR/locked/shown\n\
                      diff --git a/DIR/locked/shown b/DIR/locked/shown\n\
                      --- a/DIR/locked/shown\n\
                      +++ b/DIR/locked/shown\n\
                      @@ -1 +1 @@\n\
                      -old\n\
                      +new\n\
                      update DIR/locked/hidden\n\
                      diff --git a/DIR/locked/hidden b/DIR/locked/hidden\n\
                      Binary files a/DIR/locked/hidden and b/DIR/locked/hidden differ (what is there is unreadable: \
                      permission denied)\n\
                      check of `b`: `true`, after the rename\n\
                      create /proc/new/c (mode 0644, owner 65534:65534)\n\
                      diff --git a/proc/new/c b/proc/new/c\n\
                      new file mode 100644\n\
                      --- /dev/null\n\
                      +++ b/proc/new/c\n\
                      @@ -0,0 +1 @@\n\
                      +new\n\
                      1 to create, 2 to update, 0 to repair, 0 to remove, 0 unchanged\n";
        golden(&output, dir.path(), 0, stdout, "");
        assert_eq!(state(dir.path()), before);
    }
}

mod secrets {
    use super::*;

    #[test]
    fn of_a_template_with_a_secret_source_the_structure_is_shown() {
        let dir = folder();
        set_mode(&write(dir.path(), "secret/pw", "hunter2\n"), 0o600);
        set_mode(&write(dir.path(), "secret/cert", "-----BEGIN X-----\nQUJDREVG\n-----END X-----\n"), 0o600);
        write(
            dir.path(),
            "t.tera",
            "user = app\nb64 = {{ s.pw | b64encode }}\npw = \"{{ s.pw }}\"\n{{ s.cert }}\nend\n",
        );
        set_mode(&write(dir.path(), "t", "user = app\npw = \"hunter1\"\nend\n"), 0o644);
        // Another target has the same value from elsewhere.
        write(dir.path(), "u.tera", "url = postgres://{{ env.DBUSER }}:{{ env.DBX }}@db/x\nx = {{ env.X }}\n");
        set_mode(&write(dir.path(), "u", "api_token: abc\nproxy_pass http://x\n"), 0o644);
        write(
            dir.path(),
            "p.toml",
            "source.s = \"file:secret/\"\n\
             [template.t]\nfrom = \"t.tera\"\nto = \"t\"\ncheck = [\"check\", \"--password=hunter2\"]\n\
             [template.u]\nfrom = \"u.tera\"\nto = \"u\"\n",
        );
        let output = proem(["render", "-c", "p.toml", "--dry-run", "--diff"])
            .dir(dir.path())
            .env("DBUSER", "bob")
            .env("DBX", "swordfish")
            .env("X", "is hunter2!")
            .output();
        let stdout = "update DIR/t\n\
                      diff --git a/DIR/t b/DIR/t\n\
                      --- a/DIR/t\n\
                      +++ b/DIR/t\n\
                      @@ -1,3 +1,7 @@\n \
                      user = app\n\
                      -[redacted line]\n\
                      +[redacted line]\n\
                      +pw = \"[redacted]\"\n\
                      +[redacted]\n\
                      +[redacted]\n\
                      +[redacted]\n \
                      end\n\
                      check of `t`: `check --password=[redacted]`, after the rename\n\
                      update DIR/u\n\
                      diff --git a/DIR/u b/DIR/u\n\
                      --- a/DIR/u\n\
                      +++ b/DIR/u\n\
                      @@ -1,2 +1,2 @@\n\
                      -[redacted line]\n\
                      -proxy_pass http://x\n\
                      +url = postgres://[redacted]@db/x\n\
                      +x = is [redacted]!\n\
                      0 to create, 2 to update, 0 to repair, 0 to remove, 0 unchanged\n";
        golden(&output, dir.path(), 0, stdout, "");
    }

    #[test]
    fn of_a_private_target_no_value_is_shown() {
        let dir = folder();
        write(dir.path(), "app.toml", "host = \"plainhost\"\nport = 77123\n");
        write(dir.path(), "t.tera", "host = {{ app.host }}\nport = {{ app.port }}\nfixed\n");
        for (stated, now) in [("0640", 0o644), ("0644", 0o640)] {
            set_mode(&write(dir.path(), "t", "oldhost\n"), now);
            let config = format!("[template.t]\nfrom = \"t.tera\"\nto = \"t\"\nmode = \"{stated}\"\n");
            write(dir.path(), "p.toml", &config);
            let output = render(dir.path(), &["-s", "app=file:app.toml", "-c", "p.toml", "--dry-run", "--diff"]);
            let stdout = format!(
                "update DIR/t (mode {now:04o} → {stated})\n\
                 diff --git a/DIR/t b/DIR/t\n\
                 old mode 10{now:04o}\n\
                 new mode 10{stated}\n\
                 --- a/DIR/t\n\
                 +++ b/DIR/t\n\
                 @@ -1 +1,3 @@\n\
                 -[redacted line]\n\
                 +host = [redacted]\n\
                 +port = [redacted]\n\
                 +fixed\n\
                 0 to create, 1 to update, 0 to repair, 0 to remove, 0 unchanged\n"
            );
            golden(&output, dir.path(), 0, &stdout, "");
        }
    }

    /// Whatever templates do with secrets, and whatever was there before: no value is printed, in no form.
    #[test]
    fn no_secret_is_printed_in_any_form() {
        let dir = folder();
        set_mode(&write(dir.path(), "s.toml", "pw = \"hunt\\\"er2\"\npin = 918273\nlist = [\"alpha77\"]\n"), 0o600);
        write(dir.path(), "app.toml", "db_password = \"correct-horse\"\n[api_key]\nx = [\"battery9\"]\n");
        let templates = [
            "{{ s.pw }}",
            "{{ s.pw | b64encode }}",
            "{{ s.pw | upper }}",
            "{{ s.pw | json }}\n{{ s | json }}\n{{ s | yaml }}",
            "{{ s.pin + 1 }}\nx",
            "{{ s.pin }}{% if s.pin > 5 %}\nmore{% endif %}",
            "{% for x in s.list %}{{ x }}\n{% endfor %}",
            "{{ s.pw | length }}{{ s.pw | truncate(length=5) }}",
            "{{ app.db_password }}\n{{ app.api_key.x[0] }}\n{{ app | json }}",
            "{{ app.db_password | b64encode }}",
            "{{ env.MY_TOKEN }}{{ env.MY_TOKEN | upper }}",
            "{% if \"hunt\" in s.pw %}yes\n{% endif %}hunt\"er2",
        ];
        let mut arguments = vec!["render".to_owned(), "--dry-run".to_owned(), "--diff".to_owned()];
        for source in ["s=file:s.toml", "app=file:app.toml"] {
            arguments.extend(["-s".to_owned(), source.to_owned()]);
        }
        let mut used = 0;
        let mut config = String::new();
        for (number, template) in templates.iter().enumerate() {
            for (mode, old) in [(0o644, "password=formerly1\nformerly2\n"), (0o600, "formerly3\nyes\n")] {
                let name = format!("t{number}-{mode:o}.yaml");
                write(dir.path(), &format!("{name}.tera"), template);
                // What was there before is of unknown origin where the template uses secrets.
                set_mode(&write(dir.path(), &name, old), mode);
                // Escaped as YAML, and checked by nobody: not all of it is.
                config.extend([
                    format!("[template.t{used}]\n"),
                    format!("from = \"{name}.tera\"\nto = \"{name}\"\nformat = \"text\"\n"),
                ]);
                used += 1;
            }
        }
        write(dir.path(), "proem.toml", &config);
        arguments.extend(["-c".to_owned(), "proem.toml".to_owned()]);
        for format in ["text", "json"] {
            let all: Vec<&str> = arguments.iter().map(String::as_str).chain(["--format", format]).collect();
            let output = proem([]).args(all).dir(dir.path()).env("MY_TOKEN", "tok-swordfish").output();
            assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{}", output.stdout);
            assert!(
                output.stdout.contains(&format!("{used}")) && output.stdout.contains("[redacted"),
                "{}",
                output.stdout
            );
            let leaks = [
                "hunt",
                "HUNT",
                "er2",
                "aHVudCJlcjI",
                "918",
                "alpha77",
                "correct",
                "horse",
                "Y29ycmVjdC1ob3JzZQ",
                "battery9",
                "swordfish",
                "SWORDFISH",
                "formerly",
            ];
            for leak in leaks {
                assert!(!output.stdout.contains(leak), "{leak} is in\n{}", output.stdout);
            }
        }
    }
}

mod out_dir {
    use super::*;

    #[test]
    fn every_target_is_written_below_it_and_nothing_else_happens() {
        let dir = folder();
        write(dir.path(), "t.tera", "x={{ env.X }}\n");
        write(
            dir.path(),
            "p.toml",
            "wait_for = [\"file:/nothing/is/here\"]\nstate_dir = \"/proc/nothing\"\n\
             [template.a]\nfrom = \"t.tera\"\nto = \"/etc/nginx/../app/a.conf\"\nmode = \"0600\"\nowner = \"nobody-at-all\"\n\
             check = [\"sh\", \"-c\", \"touch checked\"]\nreload = { run = [\"touch\", \"told\"] }\n\
             [template.b]\nfrom = \"t.tera\"\nto = \"relative/b\"\n\
             [template.c]\nfrom = \"t.tera\"\nto = \"-\"\n",
        );
        let run = |out: &str, more: &[&str]| {
            let arguments = [&["-c", "p.toml", "--out-dir", out], more].concat();
            proem(["render"]).args(arguments).dir(dir.path()).env("X", "1").output()
        };
        let stderr = "proem: published DIR/out/etc/app/a.conf\nproem: published DIR/out/relative/b\n";
        let dry = "create DIR/out/etc/app/a.conf (mode 0600, owner ME)\n\
                   create DIR/out/relative/b (mode 0644, owner ME)\n\
                   print -\n\
                   2 to create, 0 to update, 0 to repair, 0 to remove, 0 unchanged\n";
        golden(&run("out", &["--dry-run", "--exit-code"]), dir.path(), 2, dry, "");
        assert!(!dir.path().join("out").exists());
        golden(&run("out", &[]), dir.path(), 0, "x=1\n", stderr);
        let written = dir.path().join("out/etc/app/a.conf");
        assert_eq!((read(&written), read(&dir.path().join("out/relative/b"))), ("x=1\n".into(), "x=1\n".into()));
        assert_eq!(std::fs::metadata(&written).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::metadata(dir.path().join("out/etc/app")).unwrap().mode() & 0o7777, 0o755);
        let same = "print -\nnothing would change, 2 unchanged\n";
        golden(&run("out", &["--dry-run", "--exit-code"]), dir.path(), 0, same, "");
        // By a variable, and absolute.
        let other = dir.path().join("other");
        let output =
            proem(["render", "-c", "p.toml"]).dir(dir.path()).env("X", "2").env("PROEM_OUT_DIR", text(&other)).output();
        golden(&output, dir.path(), 0, "x=2\n", &stderr.replace("/out/", "/other/"));
        let mut names: Vec<String> =
            state(dir.path()).into_iter().map(|(name, ..)| name.replace(text(dir.path()), "")).collect();
        names.retain(|name| !name.contains("/other"));
        assert_eq!(
            names,
            [
                "/out",
                "/out/etc",
                "/out/etc/app",
                "/out/etc/app/a.conf",
                "/out/relative",
                "/out/relative/b",
                "/p.toml",
                "/t.tera"
            ]
        );
    }
}
