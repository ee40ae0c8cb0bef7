//! Sources that are mounted file by file, as `docker run -v ./app.json:/app.json` and secrets are.

use super::Fixture;
use super::support::proem::{BINARY, Builder};
use super::support::write;
use std::io::Write as _;

/// In a mount namespace of its own; `host` is the host's side.
const ROOT: &str = "mount --make-rprivate / && touch d/app.json && mount --bind host/app.json d/app.json && \
    exec \"$0\" render --watch -c proem.toml --control none";

#[test]
fn a_file_that_is_mounted_by_itself_is_watched() {
    for (uri, value) in [("file:d/app.json", "app.a"), ("dir:d?format=json", "app[\"app.json\"].a")] {
        let fixture = Fixture::with(
            &format!("throttle = \"0s\"\n[source]\napp = \"{uri}\"\n"),
            "",
            "[template.t]\nfrom = \"t.tera\"\nto = \"out/t\"\nreload = \"none\"\n",
        );
        fixture.write("t.tera", &format!("{{{{ {value} }}}}"));
        let host = write(&fixture.path("host"), "app.json", r#"{"a": 1}"#);
        std::fs::create_dir_all(fixture.path("d")).unwrap();
        let process =
            Builder::new("unshare").args(["-m", "/bin/sh", "-c", ROOT, BINARY]).dir(fixture.dir.path()).start();
        fixture.becomes(&process, "out/t", "1");
        for value in 2..5 {
            // In place: whoever renames another file over it gives the mount nothing new.
            let mut file = std::fs::File::create(&host).unwrap();
            write!(file, r#"{{"a": {value}}}"#).unwrap();
            drop(file);
            fixture.becomes(&process, "out/t", &value.to_string());
        }
    }
}
