//! One file per subcommand.
use crate::exit::Exit;
use crate::link::ProcessSpec;
use crate::os::inherited::Inherited;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// Runs proem.
pub fn main(args: Vec<OsString>, inherited: Inherited) -> Exit {
    let command: Vec<Vec<u8>> =
        args.into_iter().skip_while(|item| item != "--").skip(1).map(OsStringExt::into_vec).collect();
    let env = std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat()).collect();
    if command.is_empty() {
        crate::error!("no command");
        return Exit::USAGE;
    }
    let spec = ProcessSpec {
        name: "main".into(),
        argv: command,
        env,
        user: None,
        workdir: None,
        umask: None,
        stop_signal: None,
        stop_timeout: Duration::from_secs(10),
        shutdown_timeout: None,
        group: false,
        rewrite: BTreeMap::new(),
        exit_codes: BTreeMap::new(),
        linger: Duration::from_secs(2),
    };
    crate::init::run(Some(spec), None, &inherited)
}
