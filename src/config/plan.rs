//! What proem will do: the resolved configuration. Types only; nothing here is optional that has a default.

use crate::error::Complaint;
use crate::os::confine::Confinement;
use crate::source::uri::Uri;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The whole resolved configuration.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long start waits for stores, probes and values that are not there yet.
    pub wait: Duration,
    /// Templates named by a relative path, and what they include, are looked up here.
    pub template_dir: PathBuf,
    /// Where the journal of a publish is kept; `None`: beside the group's first target.
    pub state_dir: Option<PathBuf>,
    /// The control socket.
    pub control: ControlPlan,
    /// Where `/metrics`, `/health` and `/ready` are served over HTTP.
    pub listen: Option<std::net::SocketAddr>,
    /// Soft limit of the worker's data segment, bytes; `None`: no limit.
    pub worker_memory: Option<u64>,
    /// In the order they were declared; names are unique; `env` and `container` are always there.
    pub sources: Vec<SourcePlan>,
    /// How to reach a store where the conventional variables are not enough, by store name.
    pub stores: BTreeMap<String, StorePlan>,
    /// Directories of templates, in the order in which they were declared.
    pub directories: Vec<DirectoryPlan>,
    /// Directories that processes need; parents before what is in them.
    pub dirs: Vec<DirPlan>,
    /// Every template belongs to exactly one group.
    pub groups: Vec<GroupPlan>,
    /// Start gate: all must be up before the first render.
    pub wait_for: Vec<crate::probe::Probe>,
    /// The processes to run, main first where there is one; empty for `render`.
    pub processes: Vec<ProcessPlan>,
    /// How long what is left over after main's exit may take to end before KILL.
    pub linger: Duration,
    /// The least important events that are logged.
    pub log: crate::log::Level,
    /// How a log line is written.
    pub log_format: crate::log::Format,
    /// What is odd but no mistake (an empty directory of templates): to be logged once, each after its place.
    pub warnings: Vec<String>,
}

/// Whether there is a control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlPlan {
    /// Nothing was said: at the usual place, while the worker runs anyway, and without a word where it cannot be made.
    Usual,
    /// There, as long as proem runs.
    At(PathBuf),
    /// None.
    Off,
}

/// Where something was written, for messages: `proem.toml:12:3`, `--template`, `PROEM_SOURCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(pub String);

/// A named source: its layers, the first the lowest.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    /// The name that templates use.
    pub name: String,
    /// At least one; later layers win.
    pub layers: Vec<LayerPlan>,
    /// Where it was declared.
    pub place: Place,
}

impl SourcePlan {
    /// Its URIs as written, for messages; the lowest layer first.
    pub fn origin(&self) -> String {
        let layers: Vec<&str> = self.layers.iter().map(|layer| layer.uri.text.as_str()).collect();
        layers.join(", ")
    }
}

/// One layer of a source.
#[derive(Debug, Clone)]
pub struct LayerPlan {
    /// The URI as written after expansion; every kind parses its own path and query.
    pub uri: Uri,
    /// `?optional`: skipped after `wait` when it is not available or has nothing.
    pub optional: bool,
}

/// `[store.NAME]`: settings that replace a store's conventional variables. Keys are those of the kind's table in the
/// reference (`address`, `token`, `token_file`, `ca_file`, `cert_file`, `key_file`, `tls_server_name`, `insecure`…).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePlan {
    /// The kind: `consul`.
    pub kind: String,
    /// Setting → value, already checked against the kind's known settings.
    pub settings: BTreeMap<String, String>,
    /// Where it was declared.
    pub place: Place,
}

/// Templates that are published together: one check, one reload, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlan {
    /// The group's name; a lone template's own name.
    pub name: String,
    /// At least one, unless the group only removes.
    pub templates: Vec<TemplatePlan>,
    /// Directories of templates whose targets are removed with this group when their templates are gone.
    pub prunes: Vec<PrunePlan>,
    /// Runs before (when it names `{staged}`) or after the renames, and before the reload.
    pub check: Option<CheckPlan>,
    /// What is told to whom after the files changed.
    pub reload: ReloadChoice,
    /// What must succeed after that, so that the new files stay.
    pub verify: Option<VerifyPlan>,
    /// Quiet time before a change is published.
    pub settle: Duration,
    /// The longest that `settle` may put a publish off.
    pub settle_max: Duration,
    /// At most one publish in this time, the first at once, the last never lost.
    pub throttle: Duration,
    /// Restarts and exits wait for a random part of this, so that a fleet does not restart at once.
    pub splay: Duration,
    /// There are no templates: what is published is what this process is started with, its environment and arguments.
    pub environment_of: Option<EnvironmentOf>,
}

/// Whose environment a group publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentOf {
    /// The process's name.
    pub process: String,
    /// Where the first of it that depends on a source was written.
    pub place: Place,
}

/// A directory of templates with `prune`: targets whose templates are gone are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunePlan {
    /// The name under which the directory was declared.
    pub name: String,
    /// Its number in [`Plan::directories`].
    pub directory: usize,
    /// Where its templates go: an absolute directory. Nothing else is ever removed from.
    pub to: PathBuf,
    /// The targets of all templates of the plan: none of them is removed.
    pub keep: BTreeSet<PathBuf>,
}

/// A template and the target it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatePlan {
    /// For logs, status and errors.
    pub name: String,
    /// The template file, absolute or relative to the working directory that proem was started in; already looked up
    /// in `template_dir`.
    pub from: PathBuf,
    /// What it becomes.
    pub to: TargetPlan,
    /// How a value is escaped inside a double-quoted scalar.
    pub escape: crate::template::Escape,
    /// Permission bits; `None`: the existing file's, else 0644, or 0600 when a secret source is used.
    pub mode: Option<u32>,
    /// `None`: the user of the process that is reloaded, else whoever proem runs as.
    pub owner: Option<OwnerPlan>,
    /// What is done about directories of the target that are missing.
    pub parents: ParentsPlan,
    /// Built-in check that the content parses as this; `None`: as what the target's ending says, by laxer rules.
    pub format: Option<crate::publish::Syntax>,
    /// The directory of templates (of [`Plan::directories`]) that it was found in.
    pub directory: Option<usize>,
    /// Where it was declared.
    pub place: Place,
}

/// A directory of templates as it was declared, to be listed anew while proem runs.
#[derive(Debug, Clone)]
pub struct DirectoryPlan {
    /// The names of its templates begin so; `None`: they are the targets' names.
    pub prefix: Option<String>,
    /// An absolute directory.
    pub from: PathBuf,
    /// A directory, or standard output.
    pub to: TargetPlan,
    /// What its templates have in common.
    pub template: TemplatePlan,
    /// As stated; `None`: by the target's ending.
    pub escape: Option<crate::template::Escape>,
    /// The group that all of them are in; `None`: each is its own.
    pub group: Option<String>,
    /// Whether targets are removed whose templates are gone.
    pub prune: bool,
    /// What a group of one of them is, but for name and template.
    pub alone: GroupPlan,
}

/// What is done about missing directories of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentsPlan {
    /// They are made and get the target's owner.
    Make {
        /// Their permission bits.
        mode: u32,
    },
    /// The publish fails (73).
    Refuse,
}

/// `[dir."PATH"]`: a directory that is there, with this mode and owner, before anything is published or started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirPlan {
    /// Absolute; neither `/` nor ending with `..`.
    pub path: PathBuf,
    /// Permission bits; `None`: the existing directory's, else 0755.
    pub mode: Option<u32>,
    /// `None`: main's user, else the existing directory's, else whoever proem runs as.
    pub owner: Option<OwnerPlan>,
    /// Where it was declared.
    pub place: Place,
}

/// Where a rendered template goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPlan {
    /// An absolute path.
    File(PathBuf),
    /// `-`: standard output.
    Stdout,
}

impl std::fmt::Display for TargetPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TargetPlan::File(path) => path.display().fmt(f),
            TargetPlan::Stdout => f.write_str("-"),
        }
    }
}

/// A target's owner, as written: names are looked up when it is used, because `/etc/passwd` may itself be a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerPlan {
    /// User name or number.
    pub user: Option<String>,
    /// Group name or number; `None`: the user's own group.
    pub group: Option<String>,
}

/// A command that accepts or refuses content. No shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckPlan {
    /// Program and arguments; `{staged}` or `{staged:TEMPLATE}` stands for the staged file.
    pub command: Vec<String>,
    /// Then TERM, and KILL.
    pub timeout: Duration,
}

impl CheckPlan {
    /// Whether it runs before the rename, on the staged content.
    pub fn on_staged(&self) -> bool {
        self.command.iter().any(|item| item.contains("{staged}") || item.contains("{staged:"))
    }
}

/// What must succeed after a reload: tried again and again, until it does or the time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyPlan {
    /// What is tried.
    pub what: VerifyWhat,
    /// For how long, counted from the end of the reload; then the previous content comes back.
    pub within: Duration,
}

/// What a verify tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyWhat {
    /// Something must be up.
    Probe(crate::probe::Probe),
    /// A command must exit with 0. No shell.
    Run(Vec<String>),
}

/// Whether the user said what follows a change of a group's files. Which sources a template uses is known only after
/// the template was loaded, so it is there that [`ReloadChoice::Unstated`] with a watched source becomes a mistake
/// ([`GroupPlan::unstated_reload`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadChoice {
    /// Nothing was said.
    Unstated,
    /// This, in the order written; empty: nothing is told (`reload = "none"`).
    Stated(Vec<ReloadPlan>),
}

impl GroupPlan {
    /// Nothing, and nothing that follows from it.
    pub fn empty() -> GroupPlan {
        GroupPlan {
            name: String::new(),
            templates: Vec::new(),
            prunes: Vec::new(),
            check: None,
            reload: ReloadChoice::Unstated,
            verify: None,
            settle: Duration::ZERO,
            settle_max: Duration::ZERO,
            throttle: Duration::ZERO,
            splay: Duration::ZERO,
            environment_of: None,
        }
    }

    /// What to tell after a change, in the order written; nothing where nothing was said.
    pub fn reloads(&self) -> &[ReloadPlan] {
        match &self.reload {
            ReloadChoice::Unstated => &[],
            ReloadChoice::Stated(reloads) => reloads,
        }
    }

    /// The mistake (exit 78) of a group that uses a watched source and says nothing about a reload: nobody's fleet
    /// restarts by default.
    pub fn unstated_reload(&self, source: &str) -> Complaint {
        if let Some(EnvironmentOf { process, place: Place(place) }) = &self.environment_of {
            return Complaint::new(format!(
                "{place}: what process `{process}` is started with uses the source `{source}`, which can change, and no \
                 `on_env_change` is stated"
            ))
            .hint(format!(
                "state one below `[process.{process}]`: `on_env_change = \"restart\"` (the process), \"exit\" (the \
                 container) or \"none\" (it counts from its next start on)"
            ));
        }
        let place = self.templates.first().map_or("", |template| template.place.0.as_str());
        Complaint::new(format!(
            "{place}: template `{}` uses the source `{source}`, which can change, and states no reload",
            self.name
        ))
        .hint(
            "state one: `reload = \"HUP\"` (a signal to main), \"restart\", \"exit\", { run = [\"PROGRAM\"] } or \"none\"; \
             on the command line `-t FROM:TO:HUP`",
        )
    }
}

/// What is told after the files of a group changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadPlan {
    /// A signal (its number) to a process of ours.
    Signal {
        /// The process's name.
        process: String,
        /// Signal number, from libc.
        signal: i32,
    },
    /// Stop and start a process of ours.
    Restart {
        /// The process's name.
        process: String,
    },
    /// End the container with 75.
    Exit,
    /// Run a command. No shell.
    Run {
        /// Program and arguments.
        command: Vec<String>,
        /// Then TERM, and KILL.
        timeout: Duration,
    },
    /// Send an HTTP request.
    Post(PostPlan),
    /// Signal a process that proem did not start.
    Neighbour(NeighbourPlan),
    /// Give a file the present time; it is made where it is not there.
    Touch(PathBuf),
}

impl ReloadPlan {
    /// Whether it concerns others than the processes that proem runs: it is owed over the container's end, too.
    pub fn is_for_others(&self) -> bool {
        match self {
            ReloadPlan::Signal { .. } | ReloadPlan::Restart { .. } | ReloadPlan::Exit => false,
            ReloadPlan::Run { .. } | ReloadPlan::Post(_) | ReloadPlan::Neighbour(_) | ReloadPlan::Touch(_) => true,
        }
    }
}

/// A signal to a process that proem did not start, in a PID namespace that is shared. At least one of file and program is
/// stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourPlan {
    /// Signal number, from libc.
    pub signal: i32,
    /// Holds the process's number.
    pub pid_file: Option<PathBuf>,
    /// What the process runs; without a file, the only topmost process of it.
    pub exe: Option<PathBuf>,
}

/// An HTTP request that tells somebody.
#[derive(Clone, PartialEq, Eq)]
pub struct PostPlan {
    /// The URL as written, before references were expanded (which may be secret): for messages.
    pub written: String,
    /// Whether it is `https:`.
    pub secure: bool,
    /// Name or address; IPv6 in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path and query, percent-encoded; begins with `/`.
    pub path: String,
    /// `POST`, `PUT`…
    pub method: String,
    /// Name → what the value is put together from.
    pub headers: Vec<(String, Vec<HeaderPart>)>,
    /// The statuses, inclusive ranges, that mean that it is done.
    pub expect: Vec<(u16, u16)>,
    /// For the whole exchange.
    pub timeout: Duration,
}

impl std::fmt::Debug for PostPlan {
    /// Without headers and the expanded URL: they may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostPlan")
            .field("method", &self.method)
            .field("written", &self.written)
            .field("expect", &self.expect)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A part of a header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderPart {
    /// This text.
    Text(String),
    /// The content of a file, read at each try.
    File(PathBuf),
}

/// How a process's readiness is found out by the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyPlan {
    /// Up means ready.
    pub probe: crate::probe::Probe,
    /// From the end of a try to the next.
    pub every: Duration,
    /// How long one try may take.
    pub timeout: Duration,
}

/// How it is found out that a process that runs is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlivePlan {
    /// Down means that it may not be.
    pub probe: crate::probe::Probe,
    /// From the end of a try to the next.
    pub every: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// After so many failures in a row it is restarted.
    pub failures: u32,
}

/// What a process is started with beyond what proem inherited.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvPlan {
    /// Nothing is inherited but what `env_keep` lists.
    pub pristine: bool,
    /// Sources each leaf of which is a variable; a later one wins.
    pub from: Vec<EnvFromPlan>,
    /// Single variables, in the order written; they win over those of sources.
    pub set: Vec<VariablePlan>,
    /// The items of the command that are templates: which, and where they are written.
    pub items: Vec<(usize, Place)>,
    /// What follows a change of any of it while the process runs.
    pub on_change: ReloadChoice,
}

impl EnvPlan {
    /// Whether nothing of it depends on a source.
    pub fn is_fixed(&self) -> bool {
        self.depends().is_none()
    }

    /// Where the first of it that depends on a source was written.
    pub fn depends(&self) -> Option<&Place> {
        let items = self.items.iter().map(|(_, place)| place);
        let from = self.from.iter().map(|from| &from.place);
        items.chain(from).chain(self.set.iter().filter_map(|variable| variable.template.as_ref())).next()
    }
}

impl std::fmt::Debug for EnvPlan {
    /// Without values: what was expanded into them may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvPlan")
            .field("pristine", &self.pristine)
            .field("from", &self.from)
            .field("set", &self.set.iter().map(|variable| &variable.name).collect::<Vec<_>>())
            .field("items", &self.items)
            .field("on_change", &self.on_change)
            .finish()
    }
}

/// A variable of `env`.
#[derive(Clone, PartialEq, Eq)]
pub struct VariablePlan {
    /// Not empty, without `=` and NUL.
    pub name: String,
    /// What it is, or the template that gives it.
    pub value: String,
    /// It is a template, written here.
    pub template: Option<Place>,
}

/// A source each leaf of which becomes a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFromPlan {
    /// The source's name; it is declared.
    pub source: String,
    /// Stands before each name, as it is.
    pub prefix: String,
    /// Names become upper-case.
    pub upper: bool,
    /// What a shell cannot have in a name becomes `_`.
    pub sanitize: bool,
    /// Patterns of the leaves that are taken; `None`: all.
    pub allow: Option<Vec<String>>,
    /// Patterns of the leaves that are left out, whatever `allow` says.
    pub deny: Vec<String>,
    /// Where it was written.
    pub place: Place,
}

/// A process that init runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessPlan {
    /// `main` is the one whose end is the container's end.
    pub name: String,
    /// Program and arguments; not empty (but for `check`). Bytes: what the command line gave need not be UTF-8. Which items
    /// are templates says `env`.
    pub command: Vec<OsString>,
    /// `name or uid[:gid]` as written.
    pub user: Option<String>,
    /// Working directory; `None`: the one proem was started in.
    pub workdir: Option<PathBuf>,
    /// umask; `None`: inherited.
    pub umask: Option<u32>,
    /// Replaces TERM towards this process, at shutdown and for restarts (a signal number).
    pub stop_signal: Option<i32>,
    /// For restarts; at shutdown only when `shutdown_timeout` is set.
    pub stop_timeout: Duration,
    /// Bound of the shutdown; `None`: the orchestrator's patience.
    pub shutdown_timeout: Option<Duration>,
    /// Signals are sent to the process's group instead of the process.
    pub group: bool,
    /// Signal number → the one sent instead; 0 drops it.
    pub rewrite: BTreeMap<i32, i32>,
    /// Exit code → the one reported instead.
    pub exit_codes: BTreeMap<u8, u8>,
    /// Limits and capabilities.
    pub confinement: Confinement,
    /// What proem gets when its own parent ends (a signal number); with `exec`, what the process gets.
    pub parent_death_signal: Option<i32>,
    /// Variables of proem's own that are passed on to the process all the same.
    pub env_keep: Vec<String>,
    /// Where what it writes goes.
    pub log: crate::link::Log,
    /// Its own environment, and what of its command depends on sources.
    pub env: EnvPlan,
    /// When it starts, and what its end means.
    pub care: crate::link::Care,
    /// Where its readiness is found out by a probe.
    pub ready: Option<ReadyPlan>,
    /// Where its liveness is.
    pub alive: Option<AlivePlan>,
}
