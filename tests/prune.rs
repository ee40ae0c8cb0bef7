//! `prune`: targets of a directory of templates go when their template goes, over restarts and while proem runs; and
//! template files that come and go while it runs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::PathBuf;
use support::proem::{Builder, Output, Proem, SOON, proem};
use support::{folder, procs, read, write};

const HEAD: &str = "throttle = \"0s\"\nstate_dir = \"STATE\"\n[source]\napp = \"file:app.json\"\n";
const STAY: [&str; 2] = ["/bin/sleep", "1000"];

/// A directory of templates `tpl/` that becomes `out/`, with these keys more.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(keys: &str) -> Fixture {
        Fixture::with(&HEAD.replace("state_dir = \"STATE\"\n", ""), keys)
    }

    fn with(head: &str, keys: &str) -> Fixture {
        let fixture = Fixture { dir: folder() };
        let tables = format!("[template.site]\nfrom = \"tpl/\"\nto = \"out/\"\nprune = true\n{keys}");
        fixture.write("proem.toml", &format!("{head}{tables}"));
        fixture.write("app.json", "{\"x\": 1}");
        fixture.template("a.conf");
        fixture.template("sub/b.conf");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// By a rename, so that nobody sees half of it.
    fn write(&self, name: &str, content: &str) {
        let new = write(self.dir.path(), &format!("{name}.new~"), content);
        std::fs::rename(&new, self.path(name)).unwrap();
    }

    fn template(&self, name: &str) {
        write(self.dir.path(), ".aside", &format!("{name} {{{{ app.x }}}}"));
        std::fs::create_dir_all(self.path(&format!("tpl/{name}")).parent().unwrap()).unwrap();
        std::fs::rename(self.path(".aside"), self.path(&format!("tpl/{name}.tera"))).unwrap();
    }

    fn without(&self, name: &str) {
        std::fs::remove_file(self.path(&format!("tpl/{name}.tera"))).unwrap();
    }

    fn command(&self, args: &[&str]) -> Builder {
        proem(["-c", "proem.toml"]).args(args.iter().copied()).dir(self.dir.path())
    }

    fn render(&self) -> Output {
        let output = self.command(&["render"]).output();
        assert_eq!(output.code, 0, "{}", output.stderr);
        output
    }

    fn run(&self) -> Proem {
        self.command(&["run", "--"]).args(STAY).start()
    }

    fn exists(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.path(name)).is_ok()
    }

    fn read(&self, name: &str) -> String {
        read(&self.path(name))
    }

    /// What proem keeps for itself there, but for lists of targets.
    fn left(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".proem") && !name.starts_with(".proem-manifest-")).collect()
    }

    fn appears(&self, process: &Proem, name: &str) {
        process.until(&format!("`{name}` appears"), || self.exists(name).then_some(()));
    }

    fn vanishes(&self, process: &Proem, name: &str) {
        process.until(&format!("`{name}` vanishes"), || (!self.exists(name)).then_some(()));
    }
}

/// A reload that writes what it is told into `told`, by a rename.
const TELL: &str = "reload = { run = [\"/bin/sh\", \"-c\", \"echo \\\"$PROEM_CHANGED\\\" >> told\"] }\n";

#[test]
fn a_template_that_went_between_two_starts_takes_its_target_along() {
    for head in [HEAD.replace("STATE", "state"), HEAD.replace("state_dir = \"STATE\"\n", "")] {
        let fixture = Fixture::with(&head, "");
        write(fixture.dir.path(), "out/by-hand.conf", "by hand");
        fixture.render();
        assert_eq!(fixture.read("out/sub/b.conf"), "sub/b.conf 1");
        fixture.without("sub/b.conf");
        let output = fixture.render();
        assert!(!fixture.exists("out/sub/b.conf"), "{}", output.stderr);
        assert_eq!(fixture.read("out/a.conf"), "a.conf 1");
        assert_eq!(fixture.read("out/by-hand.conf"), "by hand");
        assert_eq!(fixture.left("out"), Vec::<String>::new());
        assert_eq!(fixture.render().stderr, "");
    }
}

#[test]
fn without_prune_everything_stays() {
    let fixture = Fixture::new("");
    fixture.write("proem.toml", &fixture.read("proem.toml").replace("prune = true\n", ""));
    fixture.render();
    fixture.without("a.conf");
    fixture.render();
    assert!(fixture.exists("out/a.conf"));
    assert!(std::fs::read_dir(fixture.path("out")).unwrap().count() == 2);
}

#[test]
fn what_somebody_changed_since_stays_and_is_said_once() {
    let fixture = Fixture::new("");
    fixture.render();
    fixture.write("out/a.conf", "by hand now");
    fixture.without("a.conf");
    let output = fixture.render();
    assert!(output.stderr.contains("its template is gone, but it is not what proem put there: it stays"));
    assert_eq!(fixture.read("out/a.conf"), "by hand now");
    // From now on it is nobody's.
    assert_eq!(fixture.render().stderr, "");
}

#[test]
fn a_directory_of_templates_that_is_missing_or_empty_is_told_apart() {
    let fixture = Fixture::new("");
    fixture.render();
    std::fs::rename(fixture.path("tpl"), fixture.path("away")).unwrap();
    let output = fixture.command(&["render"]).output();
    assert_eq!(output.code, 66, "{}", output.stderr);
    assert!(fixture.exists("out/a.conf") && fixture.exists("out/sub/b.conf"));
    std::fs::create_dir(fixture.path("tpl")).unwrap();
    fixture.render();
    assert!(!fixture.exists("out/a.conf") && !fixture.exists("out/sub/b.conf"));
}

#[test]
fn it_is_for_directories_only() {
    let fixture = Fixture::new("");
    fixture.write("proem.toml", "[template.a]\nfrom = \"tpl/a.conf.tera\"\nto = \"a\"\nprune = true\n");
    let output = fixture.command(&["render"]).output();
    assert_eq!(output.code, 78);
    assert!(output.stderr.contains("proem.toml:4:9: `prune` is for a directory of templates"), "{}", output.stderr);
}

#[test]
fn check_removes_nothing() {
    let fixture = Fixture::new("reload = \"none\"\n");
    fixture.render();
    fixture.without("a.conf");
    let output = fixture.command(&["check"]).output();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(fixture.exists("out/a.conf"));
}

#[test]
fn templates_come_and_go_while_proem_runs() {
    let fixture = Fixture::new(TELL);
    let process = fixture.run();
    fixture.appears(&process, "out/sub/b.conf");
    process.until("main runs", || procs::children(process.pid()).into_iter().find(|child| child.name == "sleep"));
    fixture.template("new/c.conf");
    process.file(&fixture.path("out/new/c.conf"), "new/c.conf 1");
    let told = |name: &str| {
        let path = format!("{}\n", fixture.path(&format!("out/{name}")).display());
        process.until(&format!("{name} is told"), || fixture.read("told").contains(&path).then_some(()));
    };
    told("new/c.conf");
    fixture.without("sub/b.conf");
    fixture.vanishes(&process, "out/sub/b.conf");
    told("sub/b.conf");
    // A removal is told of as a change is, and what stays is not touched.
    assert_eq!(fixture.read("out/a.conf"), "a.conf 1");
    // It comes back, and follows its source.
    fixture.template("sub/b.conf");
    process.file(&fixture.path("out/sub/b.conf"), "sub/b.conf 1");
    fixture.write("app.json", "{\"x\": 2}");
    for name in ["a.conf", "sub/b.conf", "new/c.conf"] {
        process.file(&fixture.path(&format!("out/{name}")), &format!("{name} 2"));
    }
    assert_eq!(fixture.left("out"), Vec::<String>::new());
}

#[test]
fn a_removal_that_is_refused_comes_back_until_something_changes() {
    // Refused while `armed` is there and `b.conf` is not.
    let check = "check = [\"/bin/sh\", \"-c\", \"test ! -e armed || test -e out/sub/b.conf || { echo b is needed; exit 1; }\"]\n";
    let fixture = Fixture::new(&format!("{check}{TELL}"));
    let process = fixture.run();
    fixture.appears(&process, "out/sub/b.conf");
    process.until("main runs", || procs::children(process.pid()).into_iter().find(|child| child.name == "sleep"));
    fixture.write("armed", "");
    fixture.without("sub/b.conf");
    process.says("b is needed");
    process.until("it is back", || (fixture.read("out/sub/b.conf") == "sub/b.conf 1").then_some(()));
    assert_eq!(fixture.read("told"), "");
    // Any publish that is checked on the whole tree makes it worth another try.
    std::fs::remove_file(fixture.path("armed")).unwrap();
    fixture.write("app.json", "{\"x\": 2}");
    fixture.vanishes(&process, "out/sub/b.conf");
    process.file(&fixture.path("out/a.conf"), "a.conf 2");
    process.until("nothing is left over", || fixture.left("out").is_empty().then_some(()));
}

#[test]
fn in_a_group_a_removal_is_part_of_its_transaction() {
    let fixture =
        Fixture::new("group = \"g\"\n[group.g]\ncheck = [\"/bin/sh\", \"-c\", \"ls out >> seen; test ! -e refuse\"]\n");
    fixture.render();
    fixture.write("refuse", "");
    fixture.without("a.conf");
    fixture.template("z.conf");
    let output = fixture.command(&["render"]).output();
    assert_eq!(output.code, 65, "{}", output.stderr);
    // All or nothing.
    assert!(fixture.exists("out/a.conf") && !fixture.exists("out/z.conf"));
    assert_eq!(fixture.left("out"), Vec::<String>::new());
    std::fs::remove_file(fixture.path("refuse")).unwrap();
    fixture.write("seen", "");
    fixture.render();
    assert!(!fixture.exists("out/a.conf") && fixture.exists("out/z.conf"));
    // One check, on the tree with all of it.
    assert_eq!(fixture.read("seen"), "sub\nz.conf\n");
}

#[test]
fn a_group_may_lose_its_last_template() {
    let fixture = Fixture::new("group = \"g\"\n[group.g]\nreload = \"none\"\n");
    fixture.render();
    fixture.without("a.conf");
    fixture.without("sub/b.conf");
    fixture.render();
    assert!(!fixture.exists("out/a.conf") && !fixture.exists("out/sub/b.conf"));
}

#[test]
fn what_another_template_takes_over_stays() {
    let fixture = Fixture::new("");
    fixture.render();
    fixture.without("a.conf");
    fixture.write("other.tera", "a.conf 1");
    let tables = "[template.other]\nfrom = \"other.tera\"\nto = \"out/a.conf\"\n";
    fixture.write("proem.toml", &format!("{}{tables}", fixture.read("proem.toml")));
    fixture.render();
    assert_eq!(fixture.read("out/a.conf"), "a.conf 1");
}

#[test]
fn a_new_template_whose_target_is_taken_is_left_out() {
    let fixture = Fixture::new("reload = \"none\"\n");
    let process = fixture.run();
    fixture.appears(&process, "out/a.conf");
    // Another ending, the same target.
    fixture.write("again", "again");
    std::fs::rename(fixture.path("again"), fixture.path("tpl/a.conf.tmpl")).unwrap();
    process.says("is already that of `site/a.conf`");
    fixture.template("d.conf");
    process.file(&fixture.path("out/d.conf"), "d.conf 1");
    assert_eq!(fixture.read("out/a.conf"), "a.conf 1");
}

#[test]
fn a_removal_that_a_killed_worker_left_is_undone_by_the_next() {
    // The check never ends by itself: the worker dies while the removal is in place and unchecked.
    let check = "check = [\"/bin/sh\", \"-c\", \"test ! -e armed || test -e out/sub/b.conf || { : > checking; exec sleep 1000; }\"]\n";
    let fixture = Fixture::new(&format!("{check}reload = \"none\"\n"));
    let process = fixture.run();
    fixture.appears(&process, "out/sub/b.conf");
    process.until("main runs", || procs::children(process.pid()).into_iter().find(|child| child.name == "sleep"));
    fixture.write("armed", "");
    fixture.without("sub/b.conf");
    fixture.appears(&process, "checking");
    assert!(!fixture.exists("out/sub/b.conf"));
    let worker = process.worker();
    procs::kill(worker, libc::SIGKILL);
    procs::gone(worker, SOON);
    std::fs::remove_file(fixture.path("checking")).unwrap();
    // The next one takes it back first, and then tries again.
    fixture.appears(&process, "checking");
    std::fs::remove_file(fixture.path("armed")).unwrap();
    let second = process.worker();
    procs::kill(second, libc::SIGKILL);
    procs::gone(second, SOON);
    fixture.vanishes(&process, "out/sub/b.conf");
    process.until("nothing is left over", || fixture.left("out").is_empty().then_some(()));
}

#[test]
fn a_removal_that_is_not_verified_comes_back_and_is_not_tried_again() {
    let verify =
        "verify = { run = [\"/bin/sh\", \"-c\", \"test ! -e armed || test -e out/sub/b.conf\"], within = \"300ms\" }\n";
    let fixture = Fixture::new(&format!("{verify}{TELL}"));
    let process = fixture.run();
    fixture.appears(&process, "out/sub/b.conf");
    process.until("main runs", || procs::children(process.pid()).into_iter().find(|child| child.name == "sleep"));
    fixture.write("armed", "");
    fixture.without("sub/b.conf");
    process.says("not verified within 300ms, so the previous content is back");
    assert_eq!(fixture.read("out/sub/b.conf"), "sub/b.conf 1");
    // Somebody was told that it had gone, and that it is back.
    process.until("both are told", || (fixture.read("told").matches("sub/b.conf").count() == 2).then_some(()));
    process.until("nothing is left over", || fixture.left("out").is_empty().then_some(()));
    // The next start tries again.
    drop(process);
    std::fs::remove_file(fixture.path("armed")).unwrap();
    fixture.render();
    assert!(!fixture.exists("out/sub/b.conf"));
}

#[test]
fn a_dry_run_tells_of_removals_and_keeps_everything() {
    let fixture =
        Fixture::new("mode = \"0644\"\n[group.site]\ncheck = [\"/no/check\"]\nreload = { run = [\"/no/reload\"] }\n");
    fixture
        .write("proem.toml", &fixture.read("proem.toml").replace("prune = true\n", "prune = true\ngroup = \"site\"\n"));
    let first = fixture.read("proem.toml");
    fixture.write("proem.toml", &first.replace("check = [\"/no/check\"]\n", ""));
    fixture.render();
    fixture.write("proem.toml", &first);
    fixture.without("sub/b.conf");
    let dry = |more: &[&str]| fixture.command(&[&["render", "--dry-run", "--exit-code"], more].concat()).output();
    let listed = || {
        let entries =
            ["out", "out/sub"].into_iter().flat_map(|folder| std::fs::read_dir(fixture.path(folder)).unwrap());
        let mut all: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        let content = |path: PathBuf| (std::fs::read(&path).ok(), path);
        all.into_iter().map(content).collect::<Vec<_>>()
    };
    let before = listed();
    let output = dry(&["--diff"]);
    assert_eq!(output.code, 2, "{}", output.stderr);
    let path = fixture.path("out/sub/b.conf");
    let path = path.to_str().unwrap();
    let expected = format!(
        "remove {path}\n\
         diff --git a{path} b{path}\ndeleted file mode 100644\n--- a{path}\n+++ /dev/null\n@@ -1 +0,0 @@\n-sub/b.conf 1\n\
         \\ No newline at end of file\n\
         check of `site`: `/no/check`, after the rename\n\
         reload of `site`: `/no/reload`\n\
         0 to create, 0 to update, 0 to repair, 1 to remove, 1 unchanged\n"
    );
    assert_eq!((output.stdout, output.stderr), (expected, String::new()));
    let document: serde_json::Value = serde_json::from_str(&dry(&["--format", "json"]).stdout).unwrap();
    assert_eq!((&document["changes"], &document["summary"]["remove"]), (&true.into(), &1.into()));
    let target = &document["groups"][0]["targets"][1];
    assert_eq!((&target["action"], &target["path"]), (&"remove".into(), &path.into()));
    assert_eq!((&target["mode"]["before"], &target["mode"]["after"]), (&"0644".into(), &serde_json::Value::Null));
    assert_eq!(listed(), before, "nothing was touched, nor the list of targets");
    // What may hold a secret of which nobody knows any more is not shown: another source that is not read, and a private file.
    fixture.write("proem.toml", &first.replace("[source]\n", "[source]\nother = \"file:no.json\"\n"));
    assert!(dry(&["--diff"]).stdout.contains("\n-[redacted line]\n"));
    fixture.write("proem.toml", &first);
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(dry(&["--diff"]).stdout.contains("\n-[redacted line]\n"));
    // Below another root nothing that is on the machine goes.
    assert_eq!(fixture.command(&["render", "--out-dir", "root"]).output().code, 0);
    assert_eq!((fixture.read("root/out/a.conf").as_str(), listed()), ("a.conf 1", before));
    fixture.without("a.conf");
    let output = fixture.command(&["render", "--dry-run", "--out-dir", "root", "--format", "json"]).output();
    let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&document["changes"], &document["groups"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(fixture.command(&["render", "--out-dir", "root"]).output().code, 0);
    assert!(fixture.exists("root/out/a.conf"), "`prune` is left out there");
}

#[test]
fn templates_that_come_while_it_watches_stay_below_another_root() {
    let fixture = Fixture::new("reload = \"none\"\n");
    let process = fixture.command(&["render", "--watch", "--out-dir", "root"]).start();
    fixture.appears(&process, "root/out/a.conf");
    fixture.template("new.conf");
    fixture.appears(&process, "root/out/new.conf");
    fixture.without("a.conf");
    fixture.template("last.conf");
    fixture.appears(&process, "root/out/last.conf");
    assert!(fixture.exists("root/out/a.conf") && !fixture.exists("out"));
}
