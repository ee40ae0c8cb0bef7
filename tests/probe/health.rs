//! `ready` and `alive` of a process by the probes that this folder is about: the worker asks, init decides.

use super::support::fpm::{Fpm, Listen};
use super::support::proem::{SOON, proem};
use super::support::{folder, procs, read, text, wait, write};

/// A program says when a sidecar is ready, and php-fpm's ping whether it stays alive.
#[test]
fn a_sidecar_is_ready_by_a_program_and_alive_by_fcgi() {
    let dir = folder();
    let fpm = Fpm::start(Listen::Unix, "");
    let config = format!(
        "[process.side]\nkind = \"sidecar\"\ncommand = [\"sh\", \"-c\", \"echo $$ >>lives; exec sleep 1000\"]\nrestart = \"always\"\n\
         ready = {{ probe = \"exec:sh ready.sh ${{FILE}}\", every = \"50ms\" }}\n\
         alive = {{ probe = \"{}\", every = \"100ms\", timeout = \"300ms\", failures = 2 }}\n\
         [process.main]\ncommand = [\"sh\", \"-c\", \"echo >started; exec sleep 1000\"]\nafter = [\"side\"]\n",
        fpm.probe("/ping")
    );
    let config = write(dir.path(), "proem.toml", &config);
    // What a variable holds stays one argument, and proem's own options are not passed on.
    write(
        dir.path(),
        "ready.sh",
        "[ $# = 1 ] && [ -z \"$PROEM_LOG\" ] && [ -e \"$1\" ] || { echo \"$# $PROEM_LOG\"; exit 1; }\n",
    );
    let process = proem(["-c", text(&config)]).env("FILE", "is ready").env("PROEM_LOG", "info").dir(dir.path()).start();
    let lives =
        || read(&dir.path().join("lives")).lines().filter_map(|line| line.parse::<i32>().ok()).collect::<Vec<_>>();
    wait::until(SOON, "the sidecar runs", || process.stderr(), || (!lives().is_empty()).then_some(()));
    assert!(!dir.path().join("started").exists());
    write(dir.path(), "is ready", "");
    wait::until(SOON, "main is started", || process.stderr(), || dir.path().join("started").exists().then_some(()));
    assert_eq!(lives().len(), 1, "{}", process.stderr());
    fpm.signal_worker(libc::SIGSTOP);
    wait::until(SOON, "the sidecar is started anew", || process.stderr(), || (lives().len() > 1).then_some(()));
    procs::gone(lives()[0], SOON);
    process.says("no answer in time");
    fpm.signal_worker(libc::SIGCONT);
}
