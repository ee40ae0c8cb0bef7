//! What a check refused in place, and cannot be taken back for now: nobody uses it, and it is taken back as soon as that can be.

use super::Fixture;
use super::support::proem::{BINARY, Builder};
use super::support::service::Service;
use super::support::{procs, text};
use super::{main_of, throughout};

/// In a mount namespace of its own: `m` is read-only, so that there is no journal, and the target in it a mount.
const ROOT: &str = "mount --make-rprivate / && mkdir -p m && touch m/t && mount --bind m m && mount --bind file m/t && \
    mount -o remount,ro,bind m && exec \"$0\" -c proem.toml --control none -- /bin/sh main.sh";

/// Refuses what is marked; and the first time whoever wants to take it back cannot.
const CHECK: &str = "grep -q BAD m/t || exit 0\n[ -e broken ] || mount -o remount,ro,bind m/t\ntouch broken\nexit 1\n";

/// Ends that when it is told to.
const MAIN: &str = "while [ ! -e mend ]; do sleep 0.05; done\nmount -o remount,rw,bind m/t\nexec sleep 1000\n";

#[test]
fn without_a_journal_too() {
    let fixture = Fixture::new(r#"{"a": 1}"#, "");
    let service = Service::new(fixture.dir.path(), &fixture.path("m/t"));
    let toml = format!(
        "{}\n[template.a]\nfrom = \"a.tera\"\nto = \"m/t\"\nreload = \"side:HUP\"\ncheck = [\"/bin/sh\", \"check.sh\"]\n\
         [process.side]\ncommand = [\"/bin/sh\", \"{}\"]\n",
        fixture.read("proem.toml"),
        text(&service.script)
    );
    fixture.write("proem.toml", &toml);
    fixture.write("check.sh", CHECK);
    fixture.write("main.sh", MAIN);
    fixture.write("file", "");
    let process = Builder::new("unshare").args(["-m", "/bin/sh", "-c", ROOT, BINARY]).dir(fixture.dir.path()).start();
    process.file(&service.seen, "1");
    let side = || {
        let is_side = |child: &procs::Process| {
            let line = std::fs::read_to_string(format!("/proc/{}/cmdline", child.pid)).unwrap_or_default();
            line.contains("service.sh") && child.state != 'Z'
        };
        procs::children(process.pid()).into_iter().find(is_side).map(|child| child.pid)
    };
    fixture.set(r#"{"a": "BAD"}"#);
    process.says("failed to write");
    assert_eq!(fixture.read("file"), "BAD", "{}", process.stderr());
    procs::kill(side().unwrap(), libc::SIGKILL);
    process.until("it is gone", || side().is_none().then_some(()));
    // Longer than the first try to take it back takes to come.
    for _ in 0..3 {
        throughout("nothing starts on what was refused", || side().is_none() && fixture.read("seen") == "1");
    }
    fixture.touch("mend");
    main_of(&process, "sleep");
    process.until("the old content is back", || (fixture.read("file") == "1").then_some(()));
    process.until("who uses it starts", side);
    process.says("template `a`: its check has refused this content before");
    throughout("nobody has seen what was refused", || fixture.read("seen") == "1" && service.hups() == 0);
    fixture.set(r#"{"a": 2}"#);
    process.file(&service.seen, "2");
}
