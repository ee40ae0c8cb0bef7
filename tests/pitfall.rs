//! The classic pitfall side by side: a shell as the first process loses TERM, so `docker stop` waits out its patience
//! and kills; behind proem the same script ends at once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::time::Duration;
use support::docker::Container;
use support::images::{self, Context};

/// As everybody once writes it: no `exec`, no trap.
const INIT_SH: &str = "#!/bin/sh\necho starting\nhttpd -f -p 80\n";

/// What `docker stop` is given here instead of its ten seconds.
const PATIENCE: u32 = 3;

#[test]
fn a_shell_as_pid_1_loses_term_and_proem_does_not() {
    let image = Context::new()
        .file("init.sh", 0o755, INIT_SH)
        .on(&images::busybox(), &format!("COPY --from={} /proem /proem\nCMD [\"/init.sh\"]", images::proem()));
    let stop = |options: &[&str], command: &[&str]| {
        let container = Container::run(&image, options, command);
        let ip = container.ip();
        container.until("it serves", || support::http::request(&format!("{ip}:80"), "GET", "/", b""));
        container.stop(PATIENCE)
    };

    let (time, code) = stop(&[], &[]);
    assert_eq!(code, 137, "killed after all");
    assert!(time >= Duration::from_secs(u64::from(PATIENCE)), "it took only {time:?}: the pitfall is gone?");

    let (time, code) = stop(&["--entrypoint", "/proem"], &["--", "/init.sh"]);
    assert_eq!(code, 143, "ended by TERM");
    assert!(time < Duration::from_secs(1), "it took {time:?}");
}
