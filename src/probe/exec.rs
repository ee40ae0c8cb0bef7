//! A program: up is its exit with 0. For what no other probe can ask.

use super::options::Expand;
use super::{Down, last_line};
use crate::config::expand::split_outside;
use crate::error::Complaint;
use crate::os::signals;
use crate::publish::command::{self, CommandPlan, CommandStatus, Ending};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const FORM: &str = "it is written `exec:PROGRAM ARGUMENT…`, split at spaces without a shell, or as a list: \
                               `exec:[\"sh\", \"-c\", \"test -s /data/x\"]`";

/// What the programs of `exec:` probes get of their surroundings, and who is told of them. The default is a program that
/// is run as by hand: everything of this process's environment, its directory, and nobody is told.
#[derive(Default)]
pub struct Surroundings {
    /// Variables of this process that are not passed on.
    pub env_remove: Vec<OsString>,
    /// `None`: this process's directory.
    pub dir: Option<PathBuf>,
    /// The soft `RLIMIT_DATA` to give back, bytes, where this process lowered its own.
    pub data_limit: Option<u64>,
    /// Is told of each process group: before anything is executed in it, and when it has ended.
    pub groups: Option<Box<dyn Fn(Group) + Send>>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// What becomes of a process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// It is there; its program will be executed.
    Begins(i32),
    /// It has ended and was reaped.
    Ended(i32),
}

/// Parses what follows `exec:`. It is split before it is expanded: what a variable holds stays one argument.
pub(super) fn parse(rest: &str, expand: Expand<'_>) -> Result<Vec<String>, Complaint> {
    let rest = rest.trim();
    let words: Vec<String> = if rest.starts_with('[') {
        serde_json::from_str(rest)
            .map_err(|_| Complaint::new("a list of strings is expected: `[\"PROGRAM\", \"ARGUMENT\"]`"))?
    } else if rest.contains(['"', '\'']) {
        return Err(Complaint::new("a quote means nothing without a shell")
            .hint("write a list of strings: `exec:[\"PROGRAM\", \"an argument\"]`"));
    } else {
        split_outside(rest, ' ', usize::MAX).into_iter().filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let argv: Vec<String> = words.iter().map(|word| expand(word)).collect::<Result<_, _>>()?;
    match argv.first() {
        None => Err(Complaint::new("a program is expected")),
        Some(program) if program.is_empty() => Err(Complaint::new("a program is expected")),
        Some(_) if argv.iter().any(|word| word.contains('\0')) => Err(Complaint::new("it holds a NUL character")),
        Some(_) => Ok(argv),
    }
}

/// Runs it to its end. When its time is over, its whole process group gets KILL, as by Docker and Kubernetes.
pub(super) fn run(argv: &[String], timeout: Duration, surroundings: &Surroundings) -> Result<(), Down> {
    let tell = |group| {
        if let Some(groups) = &surroundings.groups {
            groups(group);
        }
    };
    let plan = CommandPlan {
        argv: argv.to_vec(),
        env: Vec::new(),
        env_remove: surroundings.env_remove.clone(),
        dir: surroundings.dir.clone(),
        data_limit: surroundings.data_limit,
        timeout,
        ending: Ending::Kill,
    };
    let running = command::spawn(&plan, &mut |pgid| tell(Group::Begins(pgid)));
    let group = running.group();
    let result = running.wait();
    if let Some(pgid) = group {
        tell(Group::Ended(pgid));
    }
    let why = match &result.status {
        CommandStatus::Exited(0) => return Ok(()),
        CommandStatus::Exited(code) => format!("exit {code}"),
        CommandStatus::Signaled(signal) => format!("it was ended by {}", signals::name(*signal)),
        CommandStatus::TimedOut(_) => "it did not end in time".to_owned(),
        CommandStatus::NotStarted { reason, .. } => {
            let hint = "the program must be an executable in this image, found in PATH; there is no shell";
            return Err(Down::new(format!("it could not be started: {reason}")).hint(hint));
        }
    };
    Err(match last_line(&result.output) {
        words if words.is_empty() => Down::new(why),
        words => Down::new(format!("{why}: {words}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_plain(text: &str) -> Result<Vec<String>, String> {
        parse(text, &|part| Ok(part.replace("${X}", "a b"))).map_err(|complaint| complaint.message)
    }

    #[test]
    fn words_or_a_list_and_no_shell() {
        assert_eq!(parse_plain("pg_isready  -q -h ${X}").unwrap(), ["pg_isready", "-q", "-h", "a b"]);
        assert_eq!(parse_plain(r#"["sh", "-c", "test -s '${X}'", ""]"#).unwrap(), ["sh", "-c", "test -s 'a b'", ""]);
        for (text, why) in [
            ("", "a program is expected"),
            ("[]", "a program is expected"),
            ("[\"\"]", "a program is expected"),
            ("[1]", "a list of strings is expected: `[\"PROGRAM\", \"ARGUMENT\"]`"),
            ("sh -c 'x y'", "a quote means nothing without a shell"),
            (r#"["a\u0000b"]"#, "it holds a NUL character"),
        ] {
            assert_eq!(parse_plain(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn who_asked_is_told_of_the_group_before_and_after() {
        let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = told.clone();
        let groups = Box::new(move |group| log.lock().unwrap().push(group));
        let surroundings =
            Surroundings { groups: Some(groups), env_remove: vec!["PATH".into()], ..Surroundings::default() };
        let argv = ["/bin/sh", "-c", "echo one; echo \"$$ $PATH\"; exit 3"].map(str::to_owned);
        let down = run(&argv, Duration::from_secs(20), &surroundings).unwrap_err();
        let told = told.lock().unwrap();
        let [Group::Begins(group), Group::Ended(ended)] = told[..] else { panic!("{told:?}") };
        assert_eq!(group, ended);
        assert!(down.why.starts_with(&format!("exit 3: {group} ")), "{}", down.why);
    }
}
