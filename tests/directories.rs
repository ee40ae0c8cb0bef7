//! Directories that proem makes: the missing parents of targets, and those that `[dir]` names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use support::proem::{BINARY, Builder, Output, proem};
use support::{folder, read, text, write};

/// nobody, everywhere.
const NOBODY: u32 = 65534;

fn exited(output: &Output, code: i32) {
    assert_eq!(output.code, code, "standard error:\n{}", output.stderr);
}

fn says(output: &Output, parts: &[&str]) {
    for part in parts {
        assert!(output.stderr.contains(part), "standard error does not say `{part}`:\n{}", output.stderr);
    }
}

/// Mode, user and group.
fn is(path: &Path) -> (u32, u32, u32) {
    let of = std::fs::metadata(path).unwrap();
    (of.mode() & 0o7777, of.uid(), of.gid())
}

fn is_root() -> bool {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::geteuid() == 0 }
}

/// A folder with a template `t.tera` and this configuration.
fn fixture(configuration: &str) -> tempfile::TempDir {
    let dir = folder();
    write(dir.path(), "t.tera", "{{ env.X | default(value=\"x\") }}");
    write(dir.path(), "proem.toml", configuration);
    dir
}

fn run(dir: &Path, args: &[&str]) -> Output {
    proem(["-c", "proem.toml"]).args(args.iter().copied()).dir(dir).output()
}

/// A shell line, for what only a parent can arrange (a umask, mounts, another user); `$0` is proem.
fn shell(dir: &Path, line: &str) -> Output {
    Builder::new("/bin/sh").args(["-c", line, BINARY]).dir(dir).output()
}

#[test]
fn missing_parents_have_their_mode_and_the_targets_owner_whatever_the_umask() {
    let owner = if is_root() { "owner = \"65534:65533\"\n" } else { "" };
    let dir = fixture(&format!("[template.t]\nfrom = \"t.tera\"\nto = \"a/b/t\"\nparents_mode = \"2750\"\n{owner}"));
    let output = shell(dir.path(), "umask 077 && exec \"$0\" -c proem.toml render");
    exited(&output, 0);
    for made in ["a", "a/b"] {
        let (mode, uid, gid) = is(&dir.path().join(made));
        assert_eq!(mode, 0o2750);
        assert!(!is_root() || (uid, gid) == (65534, 65533));
    }
    assert_eq!(is(&dir.path().join("a/b/t")).0, 0o644);
    // Unstated: 0755.
    let output = shell(dir.path(), "umask 077 && exec \"$0\" render -t t.tera:c/d/t");
    exited(&output, 0);
    assert_eq!((is(&dir.path().join("c")).0, is(&dir.path().join("c/d")).0), (0o755, 0o755));
}

#[test]
fn parents_that_are_not_to_be_made_are_named() {
    let dir = fixture("[template.t]\nfrom = \"t.tera\"\nto = \"a/b/t\"\nparents = false\n");
    let output = run(dir.path(), &["render"]);
    exited(&output, 73);
    let missing = format!("the directory {} does not exist", text(&dir.path().join("a/b")));
    says(&output, &[&missing, "hint: make it, name it in `[dir]`, or let the template have `parents = true`"]);
    assert!(!dir.path().join("a").exists());
    std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
    exited(&run(dir.path(), &["render"]), 0);
    assert_eq!(read(&dir.path().join("a/b/t")), "x");
}

#[test]
fn the_keys_are_checked_with_the_rest_of_the_configuration() {
    let dir = fixture(
        "[template.t]\nfrom = \"t.tera\"\nto = \"t\"\nparents = false\nparents_mode = \"0700\"\n\
         [dir.\"/\"]\n[dir.cache]\nmode = 700\nowner = \":\"\nrecursive = true\n[dir.\"./cache\"]\n",
    );
    let output = run(dir.path(), &["check"]);
    exited(&output, 78);
    says(
        &output,
        &[
            "`parents_mode` says nothing where `parents` is false",
            "`dir.\"/\"` ends with no name",
            "permission bits are octal digits in a string",
            "`owner` names neither a user nor a group",
            "unknown key `recursive`",
            "cache` is declared at proem.toml:",
        ],
    );
}

#[test]
fn a_directory_behind_a_link_to_nothing_is_made_where_the_link_leads() {
    let dir = fixture("[template.t]\nfrom = \"t.tera\"\nto = \"link/deep/t\"\n");
    symlink("data/volume", dir.path().join("link")).unwrap();
    exited(&run(dir.path(), &["render"]), 0);
    assert_eq!(read(&dir.path().join("data/volume/deep/t")), "x");
}

#[test]
fn directories_are_there_before_main_starts_in_every_mode() {
    let main_user = if is_root() { "[process.main]\nuser = \"65534:65534\"\n" } else { "" };
    for mode in [&["run"][..], &["run", "--once"], &["exec"]] {
        let dir =
            fixture(&format!("[dir.\"cache/deep\"]\nmode = \"0750\"\n[dir.shared]\nmode = \"1777\"\n{main_user}"));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let made = dir.path().join("cache/deep");
        let file = format!("{}/by-main", text(&made));
        let args: Vec<&str> = mode.iter().copied().chain(["--", "/bin/sh", "-c", "echo x > \"$0\"", &file]).collect();
        exited(&run(dir.path(), &args), 0);
        assert_eq!(read(Path::new(&file)), "x\n", "{mode:?}");
        let (permissions, uid, gid) = is(&made);
        assert_eq!(permissions, 0o750);
        // Without a stated owner it is main's; so are the parents that were missing.
        assert!(
            !is_root() || (uid, gid) == (NOBODY, NOBODY) && is(&dir.path().join("cache")) == (0o755, NOBODY, NOBODY)
        );
        assert_eq!(is(&dir.path().join("shared")).0, 0o1777);
    }
}

#[test]
fn render_makes_directories_alone_too_and_check_makes_none() {
    let dir = fixture("[dir.cache]\n");
    exited(&run(dir.path(), &["check"]), 0);
    assert!(!dir.path().join("cache").exists());
    exited(&run(dir.path(), &["render"]), 0);
    assert_eq!(is(&dir.path().join("cache")).0, 0o755);
}

#[test]
fn what_drifted_is_repaired_on_the_directory_itself() {
    let owner = if is_root() { "owner = \"65534\"\n" } else { "" };
    let dir = fixture(&format!("[dir.cache]\nmode = \"0700\"\n{owner}"));
    let cache = dir.path().join("cache");
    write(&cache, "in/file", "");
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    let inside = (is(&cache.join("in")), is(&cache.join("in/file")));
    exited(&run(dir.path(), &["render"]), 0);
    assert_eq!(is(&cache).0, 0o700);
    assert!(!is_root() || is(&cache).1 == NOBODY);
    assert_eq!((is(&cache.join("in")), is(&cache.join("in/file"))), inside);
}

#[test]
fn what_is_no_directory_is_73_with_the_remedy() {
    let dir = fixture("[dir.cache]\nmode = \"0777\"\n");
    let cache = dir.path().join("cache");
    write(dir.path(), "cache", "a file");
    let output = run(dir.path(), &["render"]);
    exited(&output, 73);
    let message = format!("failed to make the directory {0}: {0} is not a directory", text(&cache));
    says(&output, &[&message, "hint: remove what is there, or name another directory"]);
    assert_eq!(read(&cache), "a file");
    // Nor is a link followed: where it leads would be given away.
    std::fs::remove_file(&cache).unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::set_permissions(dir.path().join("etc"), std::fs::Permissions::from_mode(0o700)).unwrap();
    symlink("etc", &cache).unwrap();
    let output = run(dir.path(), &["run", "--", "/bin/true"]);
    exited(&output, 73);
    says(&output, &["cache is a symbolic link", "hint: name the directory that it leads to"]);
    assert_eq!(is(&dir.path().join("etc")).0, 0o700);
}

#[test]
fn an_owner_who_is_published_first_is_known_in_the_end() {
    // A user of a name that nobody has can only be complained of once everything is published.
    let dir = fixture("[dir.cache]\nowner = \"nobody-has-this-name\"\n[template.t]\nfrom = \"t.tera\"\nto = \"t\"\n");
    let output = run(dir.path(), &["render"]);
    exited(&output, 73);
    says(&output, &["nobody-has-this-name"]);
    assert_eq!(read(&dir.path().join("t")), "x");
}

#[test]
fn an_ordinary_user_fails_only_where_what_is_differs_from_what_was_asked() {
    if !is_root() {
        return;
    }
    let dir = folder();
    let home = dir.path().join("home");
    std::fs::create_dir_all(home.join("right")).unwrap();
    std::fs::create_dir_all(home.join("roots")).unwrap();
    for path in [dir.path().join("home"), home.join("right")] {
        chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = |configuration: &str| {
        write(&home, "proem.toml", configuration);
        let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups --";
        // The binary's own directory may be closed to others.
        shell(&home, &format!("exec 9< \"$0\" && exec {nobody} /proc/self/fd/9 -c proem.toml render"))
    };
    // As asked already, or its own to give: nothing to complain of.
    let output =
        run("[dir.right]\nmode = \"0755\"\nowner = \"65534:65534\"\n[dir.new]\nmode = \"0700\"\n[dir.roots]\n");
    exited(&output, 0);
    assert_eq!(output.stderr, "");
    assert_eq!(is(&home.join("new")), (0o700, NOBODY, NOBODY));
    // Stated and different: 73, and what could not be made right is not left.
    let output = run("[dir.other]\nowner = \"0:0\"\n");
    exited(&output, 73);
    says(&output, &["failed to make the directory", "hint: run proem as root, or leave out `owner`"]);
    assert!(!home.join("other").exists());
    exited(&run("[dir.roots]\nmode = \"0700\"\n"), 73);
    assert_eq!(is(&home.join("roots")), (0o755, 0, 0));
}

#[test]
fn nothing_is_written_where_everything_is_right_on_a_read_only_file_system() {
    if !is_root() {
        return;
    }
    let dir = fixture("[dir.\"mount/cache\"]\nmode = \"0750\"\nowner = \"65534:65534\"\n");
    std::fs::create_dir(dir.path().join("mount")).unwrap();
    let mounted = "mount -t tmpfs tmpfs mount && mkdir -m 0750 mount/cache && chown 65534:65534 mount/cache";
    let read_only = "mount -o remount,ro mount && exec \"$0\" -c proem.toml render";
    let unshared =
        |line: &str| Builder::new("unshare").args(["-m", "/bin/sh", "-c", line, BINARY]).dir(dir.path()).output();
    exited(&unshared(&format!("{mounted} && {read_only}")), 0);
    let output = unshared(&format!("mount -t tmpfs tmpfs mount && {read_only}"));
    exited(&output, 73);
    says(&output, &["failed to make the directory", "read-only file system", "hint: mount a writable volume there"]);
}

#[test]
fn another_users_link_on_the_way_is_not_followed() {
    if !is_root() {
        return;
    }
    let dir = fixture("[dir.\"app/cache/nginx\"]\nowner = \"65534\"\n");
    std::fs::create_dir_all(dir.path().join("etc/nginx")).unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    symlink("../etc", dir.path().join("app/cache")).unwrap();
    std::os::unix::fs::lchown(dir.path().join("app/cache"), Some(NOBODY), None).unwrap();
    let output = run(dir.path(), &["render"]);
    exited(&output, 73);
    says(&output, &["app/cache is a symbolic link of another user"]);
    assert_eq!(is(&dir.path().join("etc/nginx")).1, 0);
}

#[test]
fn a_dry_run_tells_of_directories_and_makes_none() {
    let dir = fixture("[dir.new]\nmode = \"0750\"\n[dir.drifted]\nmode = \"0700\"\n[dir.\"right/below\"]\n");
    for (path, mode) in [("drifted", 0o755), ("right", 0o755), ("right/below", 0o2711)] {
        std::fs::create_dir(dir.path().join(path)).unwrap();
        std::fs::set_permissions(dir.path().join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let (_, uid, gid) = is(&dir.path().join("right"));
    let root = text(dir.path());
    let output = run(dir.path(), &["render", "--dry-run", "--exit-code"]);
    let expected = format!(
        "repair {root}/drifted/ (mode 0755 → 0700)\n\
         create {root}/new/ (mode 0750, owner {uid}:{gid})\n\
         1 to create, 0 to update, 1 to repair, 0 to remove, 1 unchanged\n"
    );
    assert_eq!((output.code, output.stdout, output.stderr), (2, expected, String::new()));
    assert!(!dir.path().join("new").exists());
    assert_eq!(is(&dir.path().join("drifted")).0, 0o755);
    let output = run(dir.path(), &["render", "--dry-run", "--format", "json", "--out-dir", "root"]);
    let document: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let one = |name: &str, mode: &str| {
        let owner = serde_json::json!({"before": null, "after": format!("{uid}:{gid}")});
        let mode = serde_json::json!({"before": null, "after": mode});
        serde_json::json!({"path": format!("{root}/root{root}/{name}"), "action": "create", "mode": mode, "owner": owner})
    };
    let expected = [one("drifted", "0700"), one("new", "0750"), one("right/below", "0755")];
    assert_eq!(document["directories"], serde_json::Value::from(expected.to_vec()));
    assert!(!dir.path().join("root").exists());
    exited(&run(dir.path(), &["render"]), 0);
    let output = run(dir.path(), &["render", "--dry-run", "--exit-code"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "nothing would change, 3 unchanged\n"));
    // What is in the way is what it is without `--dry-run`: the same code, the same words.
    write(dir.path(), "proem.toml", "[dir.\"t.tera/below\"]\n");
    let (real, dry) = (run(dir.path(), &["render"]), run(dir.path(), &["render", "--dry-run"]));
    exited(&dry, 73);
    assert_eq!(real.stderr, dry.stderr);
}
