//! Every example runs and prints what its README shows; images that users pull are stood in for by ours.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::{Path, PathBuf};
use support::images;
use support::proem::{BINARY, Builder, proem};
use support::{read, text};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the README shows below `$ ./run.sh` in its `console` block.
fn shown(example: &Path) -> String {
    let readme = read(&example.join("README.md"));
    let start = readme.find("```console\n$ ./run.sh\n").expect("the README shows `$ ./run.sh`");
    let block = &readme[start + "```console\n$ ./run.sh\n".len()..];
    block[..block.find("```").unwrap()].to_owned()
}

fn runs_as_shown(name: &str, env: &[(&str, &str)]) {
    let example = root().join("examples").join(name);
    let mut builder = Builder::new(text(&example.join("run.sh"))).env("PROEM", BINARY).env("DOCKER_BUILDKIT", "0");
    for (name, value) in env {
        builder = builder.env(name, value);
    }
    let output = builder.output();
    assert_eq!((output.code, output.stdout), (0, shown(&example)), "standard error:\n{}", output.stderr);
}

#[test]
fn quickstart() {
    runs_as_shown("quickstart", &[]);
}

#[cfg(feature = "consul")]
#[test]
fn ci_render() {
    runs_as_shown("ci-render", &[]);
}

#[cfg(feature = "consul")]
#[test]
fn nginx() {
    runs_as_shown(
        "nginx",
        &[
            ("PROEM_IMAGE", &images::proem()),
            ("NGINX_IMAGE", &images::nginx()),
            ("BUSYBOX_IMAGE", &images::busybox()),
            ("CONSUL_IMAGE", &images::consul()),
        ],
    );
}

#[cfg(feature = "consul")]
#[test]
fn php_nginx() {
    runs_as_shown(
        "php-nginx",
        &[("PROEM_IMAGE", &images::proem()), ("BASE_IMAGE", &images::php_nginx()), ("CONSUL_IMAGE", &images::consul())],
    );
}

#[cfg(feature = "consul")]
#[test]
fn envconsul() {
    runs_as_shown(
        "envconsul",
        &[
            ("PROEM_IMAGE", &images::proem()),
            ("BUSYBOX_IMAGE", &images::busybox()),
            ("CONSUL_IMAGE", &images::consul()),
        ],
    );
}

#[cfg(feature = "vault")]
#[test]
fn java() {
    runs_as_shown(
        "java",
        &[("PROEM_IMAGE", &images::proem()), ("JDK_IMAGE", &images::jdk()), ("VAULT_IMAGE", &images::vault())],
    );
}

#[test]
fn configmap() {
    runs_as_shown(
        "configmap",
        &[("PROEM_IMAGE", &images::proem()), ("NGINX_IMAGE", &images::nginx()), ("BUSYBOX_IMAGE", &images::busybox())],
    );
}

#[test]
fn sidecar_reloader() {
    runs_as_shown(
        "sidecar-reloader",
        &[("PROEM_IMAGE", &images::proem()), ("NGINX_IMAGE", &images::nginx()), ("BUSYBOX_IMAGE", &images::busybox())],
    );
}

#[test]
fn test_in_container() {
    runs_as_shown("test-in-container", &[("PROEM_IMAGE", &images::proem()), ("BUSYBOX_IMAGE", &images::busybox())]);
}

/// The Dockerfiles that no `run.sh` builds.
#[test]
fn the_other_dockerfiles_build() {
    let (proem, busybox) = (images::proem(), images::busybox());
    let arguments = [("PROEM", proem.as_str()), ("BASE", busybox.as_str())];
    let image = support::docker::build(&root().join("examples/quickstart"), &arguments);
    let output = support::docker::must(["run", "--rm", "--env", "APP_DB__HOST=db1", &image]);
    assert!(output.contains("database = db1:5432"), "{output}");
    if cfg!(feature = "consul") {
        support::docker::build(&root().join("examples/ci-render"), &arguments[..1]);
    }
}

/// A README's first command runs as it stands, from the root of the repository.
#[test]
fn the_first_command_of_a_readme_runs() {
    for readme in ["README.md", "examples/quickstart/README.md"] {
        let document = read(&root().join(readme));
        let (before, arguments) = document
            .lines()
            .find_map(|line| line.trim().trim_start_matches("$ ").split_once("cargo run --release -- "))
            .unwrap_or_else(|| panic!("{readme} shows no `cargo run --release -- …`"));
        let mut builder = proem([]).args(arguments.split_whitespace()).dir(root());
        for (name, value) in before.split_whitespace().filter_map(|word| word.split_once('=')) {
            builder = builder.env(name, value);
        }
        let output = builder.output();
        assert_eq!(output.code, 0, "{readme}: {arguments}\n{}", output.stderr);
        assert!(!output.stdout.is_empty(), "{readme}: {arguments}");
    }
}

/// The README's session, step by step: what is typed gives what is shown. Where it sleeps, this looks until it is so.
#[test]
fn the_session_of_the_readme_is_what_happens() {
    let dir = support::folder();
    let readme = read(&root().join("README.md"));
    let session = readme.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let port = support::ports::free::<1>()[0].to_string();
    let session = session.replace("/tmp/demo", text(dir.path())).replace("8088", &port);
    let mut steps = session.split("$ ").skip(1).map(|step| step.split_once('\n').unwrap()).collect::<Vec<_>>();
    let (_, files) = steps.remove(0);
    for (name, content) in ["nginx.conf", "shop.conf.tera", "shop.toml"].into_iter().zip(files.lines()) {
        support::write(dir.path(), name, &format!("{content}\n"));
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/bin", text(Path::new(BINARY).parent().unwrap()));
    let sh = |command: &str| Builder::new("/bin/sh").args(["-c", command]).env("PATH", &path).dir(dir.path());

    let (command, shown) = steps.remove(0);
    let mut process = sh(&format!("exec env {}", command.strip_suffix(" &").unwrap())).start();
    process.until("it starts as shown", || (process.stderr() == shown).then_some(()));
    let (last, code) = steps.pop().unwrap();
    assert_eq!(last, "kill $!; wait $!; echo $?");
    for (command, shown) in steps {
        let (change, look) = command.split_once("; sleep 3; ").unwrap_or(("", command));
        let before = process.stderr().len();
        assert_eq!(sh(change).output().code, 0);
        process.until(&format!("`{command}` gives what is shown"), || {
            let page = sh(look).output().stdout;
            (format!("{}{page}", &process.stderr()[before..]) == shown).then_some(())
        });
    }
    process.signal(libc::SIGTERM);
    assert_eq!(format!("{}\n", process.ended(support::proem::SOON).code), code);
}

/// The configurations that the README shows are right, and the command line takes its one-line recipes.
#[test]
fn the_recipes_of_the_readme_are_no_mistakes() {
    let readme = read(&root().join("README.md"));
    let block = |language: &'static str| {
        let open = format!("```{language}\n");
        let blocks: Vec<String> =
            readme.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
        blocks
    };
    let (configurations, lines) = (block("toml"), block("sh").concat());
    assert!(!configurations.is_empty());
    for configuration in configurations {
        let dir = support::folder();
        let path = support::write(dir.path(), "proem.toml", &configuration);
        let output = proem(["check", "-c", support::text(&path)]).output();
        assert_eq!(output.code, 0, "{configuration}\n{}", output.stderr);
    }
    let mut seen = 0;
    for line in lines.lines().filter(|line| line.starts_with("proem ")) {
        // Quoted are whole words only.
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        for (index, part) in line.split(" #").next().unwrap().split('\'').enumerate() {
            if index % 2 == 1 {
                words.push(part.into());
            } else {
                words.extend(part.split_whitespace().map(Into::into));
            }
        }
        let parsed = ::proem::cli::parse(words);
        assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
        seen += 1;
    }
    assert!(seen >= 7, "{seen}");
}

/// Every folder is listed and runnable.
#[test]
fn every_example_is_listed_and_has_its_parts() {
    let list = read(&root().join("examples/README.md"));
    let folders: Vec<PathBuf> =
        std::fs::read_dir(root().join("examples")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    assert_eq!(folders.len(), 9);
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("[{name}]({name}/)")), "{name} is not in examples/README.md");
        for part in ["README.md", "Dockerfile", "run.sh"] {
            assert!(folder.join(part).exists(), "{name} has no {part}");
        }
    }
}
