//! What the configuration becomes, and what is said when it is wrong: every mistake at once, with its place and remedy.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, too")]

use proem::cli::{Cli, parse};
#[cfg(feature = "net")]
use proem::config::plan::{GroupPlan, HeaderPart, VerifyPlan, VerifyWhat};
use proem::config::plan::{Plan, ReloadChoice, ReloadPlan, TargetPlan};
use proem::config::{Mode, resolve_in};
use proem::error::Failure;
use proem::exit::Exit;
use proem::os::environ::Environment;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder that stands for `/etc/proem`, and an environment.
struct Case {
    root: tempfile::TempDir,
    environment: Environment,
}

impl Case {
    fn new() -> Case {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("templates")).unwrap();
        Case { root, environment: Environment::new() }
    }

    /// One `proem.toml`.
    fn toml(text: &str) -> Case {
        Case::new().file("proem.toml", text)
    }

    fn file(self, path: &str, text: &str) -> Case {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Case {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn resolve(&self, words: &[&str]) -> Result<Plan, Failure> {
        let cli = cli(words);
        let mode = Mode::of(&cli, &self.environment).unwrap();
        resolve_in(&cli, &self.environment, mode, self.root.path())
    }

    /// What running `app` is resolved to.
    fn plan(&self, words: &[&str]) -> Plan {
        let words: Vec<&str> = words.iter().copied().chain(["--", "app"]).collect();
        self.resolve(&words).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Every mistake when it runs `app`, with the folder's name left out.
    fn mistakes(&self, words: &[&str]) -> String {
        let words: Vec<&str> = words.iter().copied().chain(["--", "app"]).collect();
        let failure = self.resolve(&words).unwrap_err();
        assert_eq!(failure.exit, Exit::CONFIG, "{failure}");
        failure.to_string().replace(&format!("{}/", self.root.path().display()), "")
    }
}

fn cli(words: &[&str]) -> Cli {
    parse(std::iter::once("proem").chain(words.iter().copied()).map(OsString::from).collect()).unwrap()
}

fn hup() -> ReloadPlan {
    ReloadPlan::Signal { process: "main".into(), signal: libc::SIGHUP }
}

fn file(path: &str) -> TargetPlan {
    TargetPlan::File(path.into())
}

#[test]
fn nothing_at_all_is_a_plain_init() {
    let plan = Case::new().plan(&[]);
    assert_eq!(plan.wait, Duration::from_mins(1));
    assert_eq!(plan.worker_memory, Some(256 << 20));
    assert_eq!(plan.linger, Duration::from_secs(2));
    assert!(plan.groups.is_empty() && plan.wait_for.is_empty() && plan.stores.is_empty());
    let names: Vec<&str> = plan.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["env", "container"]);
    assert_eq!(plan.processes.len(), 1);
    assert_eq!(plan.processes[0].command, ["app"]);
    assert_eq!(plan.processes[0].stop_timeout, Duration::from_secs(10));
}

#[cfg(feature = "consul")]
const EXAMPLE: &str = r#"
wait = "60s"
settle = "100ms"
worker_memory = "64MiB"
wait_for = ["tcp:db:5432"]

[source]
app = ["file:/app/defaults.toml", "consul:config/${APP_ENV:-dev}/shop?optional", "env:APP_"]
secret = "file:/run/secrets"

[store.consul]
token_file = "/run/secrets/consul-token"
insecure = true

[template.nginx]
from = "nginx.conf.tera"
to = "/etc/nginx/nginx.conf"
mode = "0640"
owner = "root:nginx"
check = ["nginx", "-t"]
reload = "HUP"

[template.haproxy]
from = "haproxy.cfg.tera"
to = "/etc/haproxy/haproxy.cfg"
group = "haproxy"
[template.haproxy-hosts]
from = "hosts.map.tera"
to = "/etc/haproxy/hosts.map"
group = "haproxy"
[group.haproxy]
check = ["haproxy", "-c", "-f", "{staged:haproxy}"]
check_timeout = "5s"
reload = ["USR2", { run = ["logger", "haproxy"], timeout = "1s" }]

[process.main]
command = ["java", "-jar", "/app.jar"]
user = "app"
stop_signal = "QUIT"
shutdown_timeout = "30s"
umask = "027"
rewrite = { HUP = "USR1", WINCH = "" }
exit_codes = { 143 = 0 }
env_keep = ["PROEM_LOG"]
"#;

#[cfg(feature = "consul")]
#[test]
fn a_whole_file_becomes_a_plan() {
    let case = Case::toml(EXAMPLE).file("templates/nginx.conf.tera", "");
    let plan = case.resolve(&[]).unwrap();
    assert_eq!(plan.sources[0].name, "app");
    let layers: Vec<&str> = plan.sources[0].layers.iter().map(|layer| layer.uri.text.as_str()).collect();
    assert_eq!(layers, ["file:/app/defaults.toml", "consul:config/dev/shop?optional", "env:APP_"]);
    assert!(plan.sources[0].layers[1].optional);
    assert_eq!(plan.stores["consul"].settings["insecure"], "true");
    assert_eq!(plan.wait_for.len(), 1);
    assert_eq!(plan.worker_memory, Some(64 << 20));

    let [nginx, haproxy] = plan.groups.as_slice() else { panic!("{:?}", plan.groups) };
    assert_eq!(nginx.name, "nginx");
    assert_eq!(nginx.reload, ReloadChoice::Stated(vec![hup()]));
    assert_eq!((nginx.settle, nginx.settle_max), (Duration::from_millis(100), Duration::from_millis(400)));
    let template = &nginx.templates[0];
    assert_eq!(template.from, case.path("templates/nginx.conf.tera"));
    assert_eq!(template.to, file("/etc/nginx/nginx.conf"));
    assert_eq!(template.mode, Some(0o640));
    assert_eq!(
        template.owner,
        Some(proem::config::plan::OwnerPlan { user: Some("root".into()), group: Some("nginx".into()) })
    );
    assert!(!nginx.check.as_ref().unwrap().on_staged());

    assert_eq!(haproxy.templates.len(), 2);
    let check = haproxy.check.as_ref().unwrap();
    assert!(check.on_staged() && check.timeout == Duration::from_secs(5));
    assert_eq!(haproxy.reloads().len(), 2);

    let main = &plan.processes[0];
    assert_eq!(main.command, ["java", "-jar", "/app.jar"]);
    assert_eq!((main.user.as_deref(), main.umask), (Some("app"), Some(0o027)));
    assert_eq!(main.rewrite[&libc::SIGHUP], libc::SIGUSR1);
    assert_eq!(main.rewrite[&libc::SIGWINCH], 0);
    assert_eq!(main.exit_codes[&143], 0);
    assert_eq!(main.shutdown_timeout, Some(Duration::from_secs(30)));
}

#[cfg(feature = "consul")]
const MISTAKEN: &str = r#"wiat = "1s"
wait = 60
settle = "5 minutes"
worker_memory = "lots"
log = "verbose"
cache = "/var/cache"

[source]
"my-app" = "env:"
for = "env:"
app = "/app/defaults.toml"
db = ["consul:config/${NOT_SET}/shop", 3]

[store.dc2]
address = "http://x"
[store.consul]
tokn = "x"

[templates.a]
[template.nginx]
frm = "a"
to = "/etc/nginx.conf"
mode = 644
check = "nginx -t"
reload = "HPU"
format = "jsn"
owner = ":"
[template.b]
from = "b"
to = "/b"
group = "haprxy"
reload = "wbe:HUP"
[group.haproxy]
check_timeout = "1s"

[process.web]
[process.main]
user = ""
stop_signal = "TREM"
rewrite = { HPU = "USR1", HUP = "USR9" }
exit_codes = { 143 = 256 }
group = "yes"
"#;

#[cfg(feature = "consul")]
#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    assert_eq!(Case::toml(MISTAKEN).mistakes(&[]), include_str!("config/mistakes.txt").trim_end());
}

#[test]
fn syntax_errors_do_not_hide_the_other_mistakes() {
    let case = Case::toml("wait = \nsettle = \"5\"\nlog = \"x\n").file("conf.d/a.toml", "throttle = \"1\"\n");
    let mistakes = case.mistakes(&[]);
    assert!(mistakes.contains("proem.toml:1:8: this is not TOML: "), "{mistakes}");
    assert!(mistakes.contains("\nproem.toml:2:10: `settle` is `5`: a duration needs a unit"), "{mistakes}");
    assert!(mistakes.contains("\nproem.toml:3:"), "{mistakes}");
    assert!(mistakes.contains("\nconf.d/a.toml:1:12: `throttle` is `1`"), "{mistakes}");
}

#[test]
fn later_files_override_by_name_then_the_environment_then_the_command_line() {
    let case = Case::toml("wait = \"1s\"\n[source]\na = \"env:A_\"\n[template.x]\nfrom = \"x\"\nto = \"/x\"\n")
        .file("conf.d/20.toml", "[template.x]\nto = \"/z\"\n[process.main]\nexit_codes = { 2 = 0 }\n")
        .file(
            "conf.d/10.toml",
            "wait = \"2s\"\n[template.x]\nto = \"/y\"\nmode = \"0600\"\n[process.main]\nexit_codes = { 1 = 0 }\n",
        )
        .file("conf.d/.hidden.toml", "nonsense")
        .file("conf.d/readme", "nonsense");
    let plan = case.plan(&[]);
    assert_eq!(plan.wait, Duration::from_secs(2));
    assert_eq!(plan.groups[0].templates[0].to, file("/z"));
    assert_eq!(plan.groups[0].templates[0].mode, Some(0o600));
    assert_eq!(plan.processes[0].exit_codes.len(), 2);

    let case = case
        .env("PROEM_WAIT", "3s")
        .env("PROEM_SOURCE", "a=env:B_\n\n b=env:C_ \n")
        .env("PROEM_EXIT_CODES", "3=0,4=0")
        .env("PROEM_GROUP", "yes")
        .env("PROEM_LINGER", "");
    let plan = case.plan(&[]);
    assert_eq!(plan.wait, Duration::from_secs(3));
    assert_eq!(plan.linger, Duration::from_secs(2));
    let layers = |plan: &Plan, name: &str| {
        let source = plan.sources.iter().find(|source| source.name == name).unwrap();
        source.layers.iter().map(|layer| layer.uri.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(layers(&plan, "a"), ["env:B_"]);
    assert_eq!(layers(&plan, "b"), ["env:C_"]);
    assert_eq!(plan.processes[0].exit_codes.len(), 4);
    assert!(plan.processes[0].group);
    let plan = case.plan(&["--wait", "4s", "-s", "b=env:D_,env:E_"]);
    assert_eq!(plan.wait, Duration::from_secs(4));
    assert_eq!(layers(&plan, "b"), ["env:D_", "env:E_"]);
}

#[test]
fn named_files_replace_the_default_ones() {
    let case = Case::toml("wait = \"1s\"").file("other/b.toml", "wait = \"2s\"").file("other/a.toml", "wait = \"3s\"");
    let other = case.path("other");
    assert_eq!(case.plan(&["-c", other.to_str().unwrap()]).wait, Duration::from_secs(2));
    let none = case.path("none.toml");
    let mistakes = case.mistakes(&["-c", none.to_str().unwrap()]);
    assert_eq!(mistakes, "none.toml: failed to read the configuration: no such file or directory");
}

#[test]
fn mistakes_on_the_command_line_name_the_option_or_variable() {
    let case = Case::new().env("PROEM_THROTTLE", "2").env("PROEM_ONCE", "maybe").env("SECRET", "2hunter");
    #[rustfmt::skip]
    let words = [
        "--wait", "60", "--settle", "${SECRET}", "-t", "a", "-t", "a:", "-t", "a:b:${NOPE}", "-s", "env:", "-s",
        "a=env:", "-s", "a=env:X_", "--rewrite", "HUP", "--exit-codes", "x=0", "--wait-for", "",
    ];
    assert_eq!(
        case.mistakes(&words),
        "\
PROEM_THROTTLE: `throttle` is `2`: a duration needs a unit (ms, s, m, h, d)
  hint: write `2s`
PROEM_ONCE: `maybe` is neither true nor false
  hint: write `true` or `false`
--source: `env:` names no source
  hint: write `NAME=env:`
--source: source `a` is given twice
  hint: layers of one source are written `a=URI,URI`, the later wins
--template: `a` is no template
  hint: write `FROM:TO` or `FROM:TO:RELOAD`
--template: `a:` is no template
  hint: write `FROM:TO` or `FROM:TO:RELOAD`
--template: `${NOPE}` is not set in the environment
  hint: set NOPE, or write `${NOPE:-default}`
--wait-for: `wait_for` is empty
  hint: give it a value, or leave it out
--wait: `wait` is `60`: a duration needs a unit (ms, s, m, h, d)
  hint: write `60s`
--settle: `settle` is `${SECRET}`, which does not expand to a duration such as `2s`
  hint: look at the variable that it names; its value is not shown
--rewrite: `HUP` has no `=`
  hint: write `FROM=TO`
--exit-codes: `exit_codes` maps codes from 0 to 255
  hint: write `{ 143 = 0 }`, on the command line `143=0`"
    );
}

#[test]
fn a_value_cannot_add_fields_layers_or_options() {
    let case = Case::new().env("X", "a,env:EVIL_?b:c").env("T", "/out:exit");
    let plan = case.plan(&["-s", "app=file:/${X},env:Y_", "-t", "from:${T}:HUP"]);
    assert_eq!(plan.sources[0].layers.len(), 2);
    assert_eq!(plan.sources[0].layers[0].uri.query, []);
    assert_eq!(plan.groups[0].templates[0].to, file("/out:exit"));
    assert_eq!(plan.groups[0].reload, ReloadChoice::Stated(vec![hup()]));
}

#[test]
fn a_directory_of_templates() {
    let case = Case::new()
        .file("t/default.conf.template", "")
        .file("t/sub/app.conf.tera", "")
        .file("t/plain.json", "")
        .file("t/.hidden", "")
        .file("t/..data/x.tera", "")
        .file("t/sub/.gitkeep", "");
    std::os::unix::fs::symlink("..", case.path("t/sub/loop")).unwrap();
    let directory = case.path("t");
    let plan = case.plan(&["-t", &format!("{}/:/etc/nginx/conf.d/:HUP", directory.display())]);
    let targets: Vec<&TargetPlan> = plan.groups.iter().map(|group| &group.templates[0].to).collect();
    assert_eq!(
        targets,
        [
            &file("/etc/nginx/conf.d/default.conf"),
            &file("/etc/nginx/conf.d/plain.json"),
            &file("/etc/nginx/conf.d/sub/app.conf"),
        ]
    );
    assert_eq!(plan.groups[2].name, "sub/app.conf");
    assert_eq!(plan.groups[2].templates[0].from, case.path("t/sub/app.conf.tera"));
    assert!(plan.groups.iter().all(|group| group.reloads() == [hup()]));
    assert_eq!(plan.groups[1].templates[0].escape, proem::template::Escape::Json);

    let plan = case.plan(&["-t", &format!("{}:/x/", case.path("templates").display())]);
    assert!(plan.groups.is_empty() && plan.warnings[0].ends_with("is empty"), "{:?}", plan.warnings);
}

#[test]
fn a_missing_template_is_no_configuration_mistake_and_a_missing_directory_is_66() {
    let case = Case::new();
    assert_eq!(case.plan(&["-t", "/nonexistent.tera:/x"]).groups.len(), 1);
    let failure = case.resolve(&["-t", "/nonexistent/:/x/", "--", "app"]).unwrap_err();
    assert_eq!(failure.exit, Exit::NO_INPUT);
    assert_eq!(
        failure.to_string(),
        "--template: the directory of templates `/nonexistent` cannot be listed: no such file or directory"
    );
    assert!(case.mistakes(&["-t", "/nonexistent/:/x/", "--wait", "1"]).contains("cannot be listed"));
}

#[test]
fn where_templates_are_looked_up() {
    let case =
        Case::toml("[template.a]\nfrom = \"Cargo.toml\"\nto = \"/a\"\n[template.b]\nfrom = \"b\"\nto = \"/b/\"\n")
            .file("templates/Cargo.toml", "")
            .file("templates/only-there.tera", "");
    let here = std::env::current_dir().unwrap();
    let plan = case.plan(&["-t", "Cargo.toml:out.toml", "-t", "only-there.tera:-"]);
    let found: Vec<_> =
        plan.groups.iter().map(|group| (group.templates[0].from.clone(), group.templates[0].to.clone())).collect();
    assert_eq!(
        found,
        [
            (case.path("templates/Cargo.toml"), file("/a")),
            (case.path("templates/b"), file("/b/b")),
            (here.join("Cargo.toml"), TargetPlan::File(here.join("out.toml"))),
            (case.path("templates/only-there.tera"), TargetPlan::Stdout),
        ]
    );
}

#[test]
fn a_target_has_one_template_and_a_name_is_unique() {
    let case = Case::toml("[template.x]\nfrom = \"x\"\nto = \"/t/x\"\n");
    assert_eq!(
        case.mistakes(&["-t", "/y:/t/./x", "-t", "/z:/z"]).replace(case.root.path().to_str().unwrap(), ""),
        "--template: the target `/t/x` is already that of `x`\n  hint: it is declared at proem.toml:1:11; \
         a target has one template\n--template: the template `/z` is its own target\n  hint: name another target"
    );
    let plan = case.plan(&["-t", "/a/n:/b", "-t", "/c/n:/d", "-t", "/e/n:-", "-t", "/f/n:-"]);
    let names: Vec<&str> = plan.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["x", "n", "/d", "n (2)", "n (3)"]);
}

#[test]
fn reloads_and_how_often() {
    let reload = |text: &str| {
        let plan = Case::new().plan(&["-t", &format!("/a:/b:{text}")]);
        (plan.groups[0].reloads().to_vec(), plan.groups[0].throttle.as_secs())
    };
    let restart = || ReloadPlan::Restart { process: "main".into() };
    assert_eq!(reload("main:HUP"), (vec![hup()], 2));
    assert_eq!(reload("1"), (vec![hup()], 2));
    assert_eq!(reload("restart"), (vec![restart()], 30));
    assert_eq!(reload("main:restart"), (vec![restart()], 30));
    assert_eq!(reload("exit"), (vec![ReloadPlan::Exit], 30));
    assert_eq!(reload("none"), (vec![], 2));
    let plan = Case::new().plan(&["-t", "/a:/b:restart", "--throttle", "0s"]);
    assert_eq!(plan.groups[0].throttle, Duration::ZERO);
    let plan = Case::new().plan(&["-t", "/a:/b"]);
    assert_eq!(plan.groups[0].reload, ReloadChoice::Unstated);
    let complaint = plan.groups[0].unstated_reload("app").to_string();
    assert!(complaint.starts_with("--template: template `a` uses the source `app`"), "{complaint}");
}

/// What follows a publish, and when, of a template or of a group.
#[cfg(feature = "net")]
#[test]
fn verify_post_and_timing() {
    let case = Case::toml(
        r#"
settle = "1s"
settle_max = "9s"
splay = "10s"
[template.a]
from = "a"
to = "/a"
reload = { post = "https://${HOST}:8443/-/reload?x", method = "PUT", headers = { A = "b {file:/t}" }, expect = [200, "3xx"] }
verify = { probe = "tcp:127.0.0.1:80" }
[template.b]
from = "b"
to = "/b"
group = "b"
[group.b]
reload = "restart"
verify = { run = ["smoke", "test"], within = "30s" }
settle = "2s"
settle_max = "3s"
splay = "0s"
"#,
    )
    .env("HOST", "h.test");
    let groups = case.plan(&[]).groups;
    let times = |group: &GroupPlan| (group.settle.as_secs(), group.settle_max.as_secs(), group.splay.as_secs());
    assert_eq!(groups.iter().map(times).collect::<Vec<_>>(), [(1, 9, 10), (2, 3, 0)]);
    let [ReloadPlan::Post(post)] = groups[0].reloads() else { panic!("{:?}", groups[0].reload) };
    assert_eq!((post.secure, post.host.as_str(), post.port), (true, "h.test", 8443));
    assert_eq!((post.method.as_str(), post.path.as_str()), ("PUT", "/-/reload?x"));
    assert_eq!((post.written.as_str(), post.timeout.as_secs()), ("https://${HOST}:8443/-/reload?…", 10));
    assert_eq!(post.expect, [(200, 200), (300, 399)]);
    let parts = vec![HeaderPart::Text("b ".into()), HeaderPart::File("/t".into())];
    assert_eq!(post.headers, [("A".to_owned(), parts)]);
    let probe = groups[0].verify.as_ref().unwrap();
    assert!(matches!(&probe.what, VerifyWhat::Probe(probe) if probe.text == "tcp:127.0.0.1:80"));
    assert_eq!(probe.within, Duration::from_secs(10));
    let run =
        VerifyPlan { what: VerifyWhat::Run(vec!["smoke".into(), "test".into()]), within: Duration::from_secs(30) };
    assert_eq!(groups[1].verify, Some(run));
}

#[cfg(feature = "net")]
#[test]
fn mistakes_in_what_follows_a_publish() {
    for (written, wanted) in [
        ("reload = { timeout = \"1s\" }", "`reload` has none of `run`, `post`, `signal` and `touch`"),
        ("reload = { signal = \"HUP\" }", "`reload` has `signal` and neither `pid_file` nor `exe`"),
        ("reload = { signal = \"HPU\", exe = \"/x\" }", "`signal` is `HPU`: this is no signal"),
        ("reload = { signal = \"HUP\", exe = \"x\" }", "`exe` is `x`: this is no absolute path"),
        (
            "reload = { signal = \"HUP\", exe = \"/x\", timeout = \"1s\" }",
            "`timeout` belongs to `run` and `post`, not to `signal`",
        ),
        ("reload = { touch = \"/x\", exe = \"/x\" }", "`exe` belongs to `signal`, not to `touch`"),
        ("reload = { signal = \"HUP\", touch = \"/x\" }", "`reload` has both `signal` and `touch`"),
        ("reload = { run = [\"a\"], post = \"http://h\" }", "`reload` has both `run` and `post`"),
        ("reload = { run = [\"a\"], expect = 200 }", "`expect` belongs to `post`, not to `run`"),
        ("reload = { pots = \"http://h\" }", "unknown key `pots`\n  hint: did you mean `post`?"),
        ("reload = { post = \"http://u:${SECRET}@h\" }", "`post` is no URL that a request can be sent to"),
        ("reload = { post = \"http://h\", method = \"PSOT\" }", "`method` is `PSOT`: this is not known"),
        ("reload = { post = \"http://h\", expect = 99 }", "`expect` is no HTTP status"),
        ("reload = { post = \"http://h\", expect = [] }", "`expect` names no status"),
        ("reload = { post = \"http://h\", headers = \"A: b\" }", "`headers` is a string, not a table"),
        ("reload = { post = \"http://h\", headers = { \"a b\" = \"c\" } }", "`a b` is no name of a header"),
        ("reload = { post = \"http://h\", headers = { Host = \"c\" } }", "the header `Host` is proem's to send"),
        ("reload = { post = \"http://h\", headers = { A = \"{file:t}\" } }", "the header `A` names a file that is not"),
        ("reload = \"HUP\"\nverify = \"http://h\"", "`verify` is a string, not a table"),
        ("reload = \"HUP\"\nverify = { within = \"1s\" }", "`verify` tries nothing: it has neither `probe` nor `run`"),
        ("reload = \"HUP\"\nverify = { probe = \"tcp:h:1\", run = [\"a\"] }", "`verify` has both `probe` and `run`"),
        ("reload = \"HUP\"\nverify = { probe = \"h:1\" }", "probe `h:1` cannot be used"),
        ("reload = \"HUP\"\nverify = { run = [\"a\"], within = \"0s\" }", "`within` leaves no time"),
        ("reload = \"HUP\"\nverify = { run = [\"a\"], timeout = \"1s\" }", "unknown key `timeout`"),
        ("reload = \"exit\"\nverify = { run = [\"a\"] }", "`verify` never runs: `reload` is `exit`"),
        ("reload = \"HUP\"\nsettle = \"2s\"\nsettle_max = \"1s\"", "`settle_max` is shorter than `settle`"),
        ("group = \"g\"\nverify = { run = [\"a\"] }", "`verify` belongs to the group `g`"),
    ] {
        let toml = "[group.g]\n[template.g2]\nfrom = \"g\"\nto = \"/g\"\ngroup = \"g\"\n";
        let case = Case::toml(&format!("{toml}[template.x]\nfrom = \"x\"\nto = \"/x\"\n{written}\n"));
        let said = case.env("SECRET", "s3cret").mistakes(&[]);
        assert!(said.contains(wanted) && !said.contains("s3cret"), "{written}:\n{said}");
        assert_eq!(said.matches("proem.toml").count(), 1, "{written}:\n{said}");
    }
}

#[cfg(not(feature = "net"))]
#[test]
fn a_post_needs_the_network() {
    let case = Case::toml("[template.x]\nfrom = \"x\"\nto = \"/x\"\nreload = { post = \"http://h\" }\n");
    assert!(case.mistakes(&[]).contains("`post` needs the network, and this proem was built without it"));
}

#[test]
fn render_has_no_process() {
    let case = Case::new();
    let plan = case.resolve(&["render", "-t", "/a:/b:HUP", "--user", "app"]).unwrap();
    assert_eq!(plan.groups[0].reload, ReloadChoice::Stated(vec![]));
    assert!(plan.processes.is_empty());
    let failure = case.resolve(&["render", "--watch", "-t", "/a:/b:HUP", "-t", "/c:/d:exit"]).unwrap_err();
    assert_eq!(
        failure.to_string(),
        "--template: `reload` is `HUP`: `render --watch` runs no process\n  hint: a process of another container is told by { signal = \"HUP\", exe = \"/PATH\" }, { post = \"http://…\" } or { touch = \"/PATH\" }; else write { run = [\"PROGRAM\"] } or \"none\", or run the process under `proem run`"
    );
}

#[test]
fn check_takes_fixtures_in_the_place_of_sources() {
    let case = Case::new().env("PROEM_WITH", "b=file:/b.json");
    let words = ["-t", "/a:/b:HUP", "-s", "app=file:/a.toml,env:A_", "-s", "b=env:B_"];
    let check = [&["check"], &words[..], &["--with", "app=file:/x.json"]].concat();
    let plan = case.resolve(&check).unwrap();
    let layers: Vec<&str> = plan.sources.iter().map(|source| source.layers[0].uri.text.as_str()).collect();
    assert_eq!(layers[..2], ["file:/b.json", "file:/x.json"]);
    assert_eq!(plan.groups[0].reloads(), [hup()]);
    let sources = case.plan(&words).sources;
    assert_eq!((sources[0].layers.len(), sources[1].layers[0].uri.text.as_str()), (2, "env:B_"));
}

#[test]
fn no_command_is_a_mistake_of_the_command_line() {
    for words in [&[][..], &["exec"], &["run", "--once"], &["--"]] {
        let failure = Case::new().resolve(words).unwrap_err();
        assert_eq!(failure.exit, Exit::USAGE);
        assert!(failure.to_string().starts_with("no command to run\n  hint: "), "{failure}");
        assert!(failure.to_string().contains("clears the `CMD`"), "{failure}");
    }
    let failure = Case::toml("wait = 1").resolve(&[]).unwrap_err();
    assert_eq!((failure.exit, failure.complaints.len()), (Exit::CONFIG, 2));
    assert!(Case::new().resolve(&["render"]).is_ok());
}

#[test]
fn bytes_of_the_command_are_kept() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(b"\xff${X}".to_vec());
    let cli = parse(vec!["proem".into(), "--".into(), "app".into(), odd.clone()]).unwrap();
    let plan = resolve_in(&cli, &Environment::new(), Mode::Run, Path::new("/nonexistent")).unwrap();
    assert_eq!(plan.processes[0].command, [OsString::from("app"), odd]);
}

#[test]
fn groups_are_declared_and_hold_what_belongs_to_them() {
    let case = Case::toml(
        "[template.a]\nfrom = \"a\"\nto = \"/a\"\ngroup = \"g\"\nreload = \"HUP\"\n[template.b]\nfrom = \"b\"\nto = \"/b\"\n\
         group = \"g\"\n[group.g]\ncheck = [\"x\", \"{staged}\", \"{staged:c}\"]\n[group.lost]\n",
    );
    assert_eq!(
        case.mistakes(&[]),
        "\
proem.toml:5:10: `reload` belongs to the group `g`, not to one of its templates
  hint: move it below `[group.g]`
proem.toml:11:9: `check` names `{staged}`, and its group has several templates
  hint: write `{staged:NAME}`; templates of this group: a, b
proem.toml:11:9: `check` names `{staged:c}`, which is not in its group
  hint: templates of this group: a, b
proem.toml:12:8: no template belongs to group `lost`
  hint: write `group = \"lost\"` in a template, or remove the group"
    );
}

#[test]
fn what_needs_a_worker_and_what_is_read_before_the_configuration() {
    use proem::config::{early_log, needs_worker, probe_timeout};
    use proem::log::{Format, Level};
    let none = Environment::new();
    for words in [["-t", "a:b"], ["-s", "a=env:"], ["--wait-for", "tcp:a:1"], ["-c", "x"]] {
        assert!(needs_worker(&cli(&words), &none));
    }
    let case = Case::new().env("PROEM_TEMPLATE", "a:b").env("PROEM_LOG", "debug").env("PROEM_TIMEOUT", "7");
    assert!(needs_worker(&cli(&["--", "app"]), &case.environment));
    assert_eq!(early_log(&cli(&["--log-format", "json"]), &case.environment), (Level::Debug, Format::Json));
    assert_eq!(early_log(&cli(&["--log", "nonsense"]), &case.environment), (Level::Info, Format::Text));
    assert_eq!(probe_timeout(None, &none).unwrap(), Duration::from_secs(5));
    assert_eq!(probe_timeout(Some("1s"), &case.environment).unwrap(), Duration::from_secs(1));
    let failure = probe_timeout(None, &case.environment).unwrap_err();
    assert_eq!(failure.exit, Exit::USAGE);
    assert_eq!(failure.to_string(), "PROEM_TIMEOUT: `7`: a duration needs a unit (ms, s, m, h, d)\n  hint: write `7s`");
}

#[test]
fn modes() {
    let none = Environment::new();
    let mode = |words: &[&str]| Mode::of(&cli(words), &none);
    assert_eq!(mode(&["--", "a"]), Some(Mode::Run));
    assert_eq!(mode(&["run", "--once", "--", "a"]), Some(Mode::RunOnce));
    assert_eq!(mode(&["exec", "--", "a"]), Some(Mode::Exec));
    assert_eq!(mode(&["render"]), Some(Mode::RenderOnce));
    assert_eq!(mode(&["render", "--watch"]), Some(Mode::RenderWatch));
    assert_eq!(mode(&["probe", "tcp:a:1"]), None);
    let case = Case::new().env("PROEM_ONCE", "1").env("PROEM_WATCH", "true");
    assert_eq!(Mode::of(&cli(&["--", "a"]), &case.environment), Some(Mode::RunOnce));
    assert_eq!(Mode::of(&cli(&["render"]), &case.environment), Some(Mode::RenderWatch));
    assert_eq!(Mode::of(&cli(&["render", "--once"]), &case.environment), Some(Mode::RenderOnce));
}

proptest::proptest! {
    /// Whatever a file says, it is a plan or mistakes, never a panic: this is read by the first process of a container.
    #[test]
    fn no_file_panics(lines in proptest::collection::vec(line(), 0..12)) {
        let _ = Case::toml(&lines.join("\n")).resolve(&["--", "app"]);
    }

    #[test]
    fn no_shorthand_panics(text in "([a-z:=,/$ -]|\\$\\{|\\}|é){0,20}") {
        let words = ["proem", "-t", &text, "-s", &text, "--rewrite", &text, "--exit-codes", &text, "--", "app"];
        let args = words.into_iter().map(OsString::from).collect();
        if let Ok(cli) = parse(args) {
            let _ = resolve_in(&cli, &Environment::new(), Mode::Run, Path::new("/nonexistent"));
        }
    }
}

/// Lines that are nearly a configuration.
fn line() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let key = prop::sample::select(vec![
        "wait",
        "from",
        "to",
        "group",
        "check",
        "reload",
        "mode",
        "rewrite",
        "exit_codes",
        "kind",
        "source",
        "template.a",
        "process.main",
        "command",
        "worker_memory",
        "wait_for",
        "umask",
        "owner",
    ]);
    let value = prop_oneof![
        Just("\"x\"".to_owned()),
        Just("{ run = [\"x\"] }".to_owned()),
        Just("[[1], {}]".to_owned()),
        Just("{ HUP = 1, 3 = \"USR1\" }".to_owned()),
        Just("'${X:-${Y}'".to_owned()),
        "[\"a-z0-9.:{}\\[\\]$=,-]{0,8}",
    ];
    let header = prop::sample::select(vec![
        "[template.a]",
        "[template]",
        "[group.x]",
        "[process.main]",
        "[source]",
        "[store.consul]",
        "[[template.a]]",
        "[process]",
    ]);
    prop_oneof![3 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")), 1 => header.prop_map(str::to_owned)]
}
