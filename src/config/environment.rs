//! The environment on its way through: which `PROEM_…` variables are not ours, and what the processes get.

use super::known::{OPTIONS, VARIABLES, variable};
use super::options;
use super::plan::{Plan, ProcessPlan};
use crate::nearest::nearest;
use crate::os::environ::{Environment, split};
use crate::source::kind;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

/// Set by proem for the commands that it runs: no option, and no typing mistake either.
const OURS: &[&str] = &["PROEM_CHANGED"];

/// A warning for each `PROEM_…` variable that proem does not know.
pub fn unknown(environment: &Environment) -> Vec<String> {
    if !options::any(environment) {
        return Vec::new();
    }
    let options: Vec<String> = ours().collect();
    environment
        .keys()
        .map(|name| name.to_string_lossy())
        .filter(|name| name.starts_with("PROEM_"))
        .filter(|name| !OURS.contains(&name.as_ref()) && !options.iter().any(|option| option == name))
        .map(|name| {
            // The common prefix would make any two names look near.
            let near = nearest(&name[6..], options.iter().map(|option| &option[6..]));
            let hint = match near {
                Some(near) => format!("did you mean `PROEM_{near}`?"),
                None => "`proem --help` lists the options, each is also a variable".to_owned(),
            };
            format!("the environment variable `{name}` is none of proem's\n  hint: {hint}")
        })
        .collect()
}

/// Every variable that says something to proem.
fn ours() -> impl Iterator<Item = String> {
    OPTIONS.iter().map(|(option, _)| variable(option)).chain(VARIABLES.iter().map(|name| (*name).to_owned()))
}

/// The variables of `environ` that no process and no command gets: proem's own options, and the credentials of the
/// sources that are used.
pub fn hidden(plan: &Plan, environ: &[Vec<u8>]) -> Vec<OsString> {
    let layers = plan.sources.iter().flat_map(|source| &source.layers);
    let credentials: Vec<&str> = layers
        .filter_map(|layer| kind::inspect(&layer.uri).ok())
        .flat_map(|facts| facts.credentials)
        .copied()
        .collect();
    let is_hidden = |name: &[u8]| is_ours(name) || credentials.iter().any(|credential| credential.as_bytes() == name);
    let names = environ.iter().map(|entry| split(entry).0).filter(|name| is_hidden(name));
    names.map(|name| OsString::from_vec(name.to_vec())).collect()
}

fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"PROEM_")
        && (OURS.iter().any(|ours| ours.as_bytes() == name) || ours().any(|ours| ours.as_bytes() == name))
}

/// The environment that a process gets: without proem's own options and without the credentials of the sources that
/// are used, except what `env_keep` lists (all but that where it is `pristine`); with `HOME` set when it runs as another user
/// (`home`: that user's, from /etc/passwd). Order, and bytes that are not UTF-8, are kept. `own` variables come last, of the
/// same name the later, and in the place of any other.
pub fn for_process(
    plan: &Plan,
    process: &ProcessPlan,
    home: Option<&[u8]>,
    environ: &[Vec<u8>],
    own: &[(Vec<u8>, Vec<u8>)],
) -> Vec<Vec<u8>> {
    let mut hidden: BTreeSet<Vec<u8>> = hidden(plan, environ).into_iter().map(OsString::into_vec).collect();
    for kept in &process.env_keep {
        hidden.remove(kept.as_bytes());
    }
    let mut passed: Vec<Vec<u8>> = environ
        .iter()
        .filter(|entry| {
            let (name, _) = split(entry);
            let replaced = home.is_some() && name == b"HOME";
            let kept = !process.env.pristine || process.env_keep.iter().any(|kept| kept.as_bytes() == name);
            !replaced && kept && !hidden.contains(name)
        })
        .cloned()
        .collect();
    if let Some(home) = home {
        passed.push([b"HOME=", home].concat());
    }
    if !own.is_empty() {
        let last: BTreeMap<&[u8], usize> =
            own.iter().enumerate().map(|(at, (name, _))| (name.as_slice(), at)).collect();
        passed.retain(|entry| !last.contains_key(split(entry).0));
        let counts = own.iter().enumerate().filter(|(at, (name, _))| last.get(name.as_slice()) == Some(at));
        passed.extend(counts.map(|(_, (name, value))| [name, b"=".as_slice(), value].concat()));
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, Options};
    use crate::os::environ::by_name;

    fn plan(keep: &[&str]) -> Plan {
        let argv = vec!["app".into()];
        let cli = Cli { options: Options::default(), command: Command::Run { once: false, argv } };
        let nowhere = std::path::Path::new("/nonexistent");
        let mut plan = super::super::resolve_in(&cli, &Environment::new(), super::super::Mode::Run, nowhere).unwrap();
        plan.processes[0].env_keep = keep.iter().map(|name| (*name).to_owned()).collect();
        plan
    }

    #[test]
    fn unknown_variables_are_named_with_the_nearest() {
        let environ = ["PROEM_WIAT=1s", "PROEM_FROBNICATE=1", "PROEM_WAIT=1s", "PROEM_CHANGED=/x", "PATH=/bin"];
        let environ: Vec<Vec<u8>> = environ.iter().map(|entry| entry.as_bytes().to_vec()).collect();
        assert_eq!(
            unknown(&by_name(&environ)),
            [
                "the environment variable `PROEM_FROBNICATE` is none of proem's\n  \
                 hint: `proem --help` lists the options, each is also a variable",
                "the environment variable `PROEM_WIAT` is none of proem's\n  hint: did you mean `PROEM_WAIT`?",
            ]
        );
    }

    #[test]
    fn own_variables_replace_inherited_ones_and_pristine_leaves_these_out() {
        let environ = [b"A=1".to_vec(), b"B=1".to_vec(), b"PROEM_LOG=x".to_vec(), b"A=2".to_vec()];
        let mut plan = plan(&["B"]);
        let own = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let all = [own("A", "3"), own("HOME", "/x"), own("A", "4")];
        let lines = |plan: &Plan| for_process(plan, &plan.processes[0], Some(b"/home/app"), &environ, &all);
        assert_eq!(lines(&plan), [b"B=1".to_vec(), b"HOME=/x".to_vec(), b"A=4".to_vec()]);
        plan.processes[0].env.pristine = true;
        assert_eq!(lines(&plan), [b"B=1".to_vec(), b"HOME=/x".to_vec(), b"A=4".to_vec()]);
        plan.processes[0].env_keep.clear();
        assert_eq!(lines(&plan), [b"HOME=/x".to_vec(), b"A=4".to_vec()]);
        assert_eq!(for_process(&plan, &plan.processes[0], None, &environ, &[]), [] as [Vec<u8>; 0]);
    }

    #[test]
    fn our_options_are_not_passed_on_and_bytes_are_kept() {
        let environ =
            [b"PROEM_WAIT=1s".to_vec(), b"A=\xff\n".to_vec(), b"HOME=/root".to_vec(), b"PROEM_LOG=x".to_vec()];
        let plan = plan(&["PROEM_LOG"]);
        let process = &plan.processes[0];
        assert_eq!(for_process(&plan, process, None, &environ, &[]), environ[1..]);
        assert_eq!(
            for_process(&plan, process, Some(b"/home/app"), &environ, &[]),
            [b"A=\xff\n".to_vec(), b"PROEM_LOG=x".to_vec(), b"HOME=/home/app".to_vec()]
        );
    }
}
