//! What a process is to the container: `kind`, `after`, `ready`, `alive`, `restart` and what belongs to them.

use super::known::{ALIVE, NOT_OF_MAIN, READY};
use super::plan::{AlivePlan, ReadyPlan};
use super::read::Reader;
use super::tree::{Item, Raw, Spot, Table};
use crate::link::{Care, Exhausted, Kind, Readiness, Restart, RestartLimit};
use crate::nearest::nearest;
use crate::probe::Probe;
use std::collections::BTreeMap;
use std::time::Duration;

/// Keys of the process that signals and the terminal belong to.
const OF_MAIN: [&str; 4] = ["rewrite", "drain", "shutdown_timeout", "parent_death_signal"];

const READY_EVERY: Duration = Duration::from_millis(250);
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const FAILURES: u32 = 3;
const MAX_RESTARTS: u32 = 5;
const WITHIN: Duration = Duration::from_mins(1);
const STABLE: Duration = Duration::from_secs(10);

/// What was read of a process.
pub struct Said {
    pub care: Care,
    pub ready: Option<ReadyPlan>,
    pub alive: Option<AlivePlan>,
}

/// Reads a process's table.
pub fn care(reader: &mut Reader<'_>, name: &str, table: &Table) -> Said {
    let is_main = name == "main";
    let kind = kind(reader, is_main, table);
    for key in NOT_OF_MAIN.iter().filter(|_| is_main) {
        if let Some(item) = table.get(key) {
            let hint = "remove it, or give the process another name than `main`";
            reader.wrong(item.spot, format!("`{key}` in `[process.main]`: its end is the container's end"), hint);
        }
    }
    for key in OF_MAIN.iter().filter(|_| !matches!(kind, Kind::Main | Kind::Essential)) {
        if let Some(item) = table.get(key) {
            let hint = "it belongs to `[process.main]`, to whom signals go";
            reader.wrong(item.spot, format!("`{key}` in `[process.{name}]`, which is not main"), hint);
        }
    }
    let ready = table.get("ready").map(|item| ready(reader, item));
    let (readiness, probe) = match ready {
        None | Some(None) => (Readiness::AtOnce, None),
        Some(Some(said)) => said,
    };
    if kind == Kind::Setup {
        for key in ["ready", "alive", "restart"] {
            if let Some(item) = table.get(key) {
                let hint = "it is ready when it has ended with 0; its failure ends the container";
                reader.wrong(item.spot, format!("`{key}` in a setup process, which runs once"), hint);
            }
        }
    }
    let after = reader.strings(table, "after").unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    let restart = restart(reader, kind, table);
    let care = Care {
        kind,
        after,
        ready: readiness,
        restart,
        limit: limit(reader, kind, table),
        when_exhausted: reader
            .word(table, "when_exhausted", &["exit", "ignore"], |word| match word {
                "exit" => Some(Exhausted::Exit),
                "ignore" => Some(Exhausted::Ignore),
                _ => None,
            })
            .unwrap_or(Exhausted::Exit),
        stable: reader.duration(table, "stable").unwrap_or(STABLE),
        drain: reader.duration(table, "drain").unwrap_or_default(),
    };
    Said { care, ready: probe, alive: alive(reader, table) }
}

fn kind(reader: &mut Reader<'_>, is_main: bool, table: &Table) -> Kind {
    if is_main {
        return Kind::Main;
    }
    let kind = reader.word(table, "kind", &["sidecar", "setup"], |word| match word {
        "sidecar" => Some(Kind::Sidecar),
        "setup" => Some(Kind::Setup),
        _ => None,
    });
    match (kind.unwrap_or(Kind::Sidecar), reader.boolean(table, "essential").unwrap_or(false)) {
        (Kind::Setup, true) => {
            let spot = table.get("essential").map_or(Spot { origin: 0, line: 0, column: 0 }, |item| item.spot);
            reader.wrong(spot, "`essential` in a setup process, which is to end", "remove it, or `kind = \"setup\"`");
            Kind::Setup
        }
        (_, true) => Kind::Essential,
        (kind, false) => kind,
    }
}

fn restart(reader: &mut Reader<'_>, kind: Kind, table: &Table) -> Restart {
    let said = reader.word(table, "restart", &["always", "on-failure", "never"], |word| match word {
        "always" => Some(Restart::Always),
        "on-failure" => Some(Restart::OnFailure),
        "never" => Some(Restart::Never),
        _ => None,
    });
    if let (Kind::Essential, Some(Restart::Always | Restart::OnFailure), Some(item)) =
        (kind, said, table.get("restart"))
    {
        let hint = "an essential process ends the container: remove `essential` or `restart`; \
                    `when_exhausted = \"exit\"` ends it after too many restarts";
        reader.wrong(item.spot, "`restart` of an essential process", hint);
    }
    said.unwrap_or(if kind == Kind::Sidecar { Restart::Always } else { Restart::Never })
}

fn limit(reader: &mut Reader<'_>, kind: Kind, table: &Table) -> Option<RestartLimit> {
    let restarts = reader.count(table, "max_restarts", 0..=1000);
    let within = reader.duration(table, "within");
    (kind == Kind::Sidecar)
        .then(|| RestartLimit { restarts: restarts.unwrap_or(MAX_RESTARTS), within: within.unwrap_or(WITHIN) })
}

/// `"PROBE"`, `{ probe = … }`, `{ fd = 3 }`, `{ notify = true }`.
fn ready(reader: &mut Reader<'_>, item: &Item) -> Option<(Readiness, Option<ReadyPlan>)> {
    let by_probe = |probe, every, timeout| {
        let plan = ReadyPlan { probe, every, timeout };
        Some((Readiness::Probe, Some(plan)))
    };
    let table = match &item.raw {
        Raw::Text(_) => {
            return by_probe(reader.probe("ready", item)?, READY_EVERY, PROBE_TIMEOUT);
        }
        Raw::Table(table) => table,
        raw => {
            let hint = "write \"tcp:HOST:PORT\" or another probe, { fd = 3 } or { notify = true }";
            reader.wrong(item.spot, format!("`ready` is {}, not a probe or a table", raw.describe()), hint);
            return None;
        }
    };
    reader.only(table, READY);
    let ways = ["probe", "fd", "notify"].iter().filter(|key| table.get(key).is_some()).count();
    if ways != 1 {
        reader.wrong(item.spot, "`ready` needs one of `probe`, `fd` and `notify`", "write { fd = 3 }, for example");
        return None;
    }
    if let Some(fd) = reader.count(table, "fd", 3..=1023) {
        return Some((Readiness::Fd(i32::try_from(fd).unwrap_or(3)), None));
    }
    if reader.boolean(table, "notify") == Some(true) {
        return Some((Readiness::Notify, None));
    }
    let probe = probe(reader, table)?;
    let every = reader.interval(table, "every").unwrap_or(READY_EVERY);
    by_probe(probe, every, reader.interval(table, "timeout").unwrap_or(PROBE_TIMEOUT))
}

fn alive(reader: &mut Reader<'_>, table: &Table) -> Option<AlivePlan> {
    let item = table.get("alive")?;
    let Raw::Table(table) = &item.raw else {
        let hint = "write { probe = \"http://127.0.0.1/ping\", every = \"10s\" }";
        reader.wrong(item.spot, format!("`alive` is {}, not a table", item.raw.describe()), hint);
        return None;
    };
    reader.only(table, ALIVE);
    if table.get("probe").is_none() {
        reader.wrong(item.spot, "`alive` has no `probe`", "add `probe = \"tcp:127.0.0.1:80\"`, for example");
    }
    Some(AlivePlan {
        probe: probe(reader, table)?,
        every: reader.interval(table, "every").unwrap_or(ALIVE_EVERY),
        timeout: reader.interval(table, "timeout").unwrap_or(PROBE_TIMEOUT),
        failures: reader.count(table, "failures", 1..=1000).unwrap_or(FAILURES),
    })
}

fn probe(reader: &mut Reader<'_>, table: &Table) -> Option<Probe> {
    reader.probe("probe", table.get("probe")?)
}

/// Names in `after` that there are not, and processes that wait for each other.
pub fn graph(reader: &mut Reader<'_>, declared: &[(&str, Spot, &Table)]) {
    let names: Vec<&str> = declared.iter().map(|(name, ..)| *name).collect();
    let mut after: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, _, table) in declared {
        let mut known = Vec::new();
        // What is wrong with the list itself was said when it was read.
        for item in table.get("after").map(items).unwrap_or_default() {
            let Raw::Text(other) = &item.raw else { continue };
            if names.contains(&other.as_str()) {
                known.push(other.clone());
            } else if !other.contains('$') {
                let hint = match nearest(other, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("processes: {}", names.join(", ")),
                };
                reader.wrong(item.spot, format!("`after` of `{name}`: there is no process `{other}`"), hint);
            }
        }
        after.insert(name, known);
    }
    for (name, spot, _) in declared {
        if let Some(circle) = circle(&after, name)
            && circle.iter().min().map(String::as_str) == Some(*name)
        {
            let hint = "each waits for the other to be ready: remove one `after`";
            reader.wrong(*spot, format!("processes wait for each other: {}", circle.join(" after ")), hint);
        }
    }
}

fn items(item: &Item) -> &[Item] {
    match &item.raw {
        Raw::List(items) => items,
        _ => std::slice::from_ref(item),
    }
}

/// The shortest way from a process back to itself.
fn circle(after: &BTreeMap<&str, Vec<String>>, start: &str) -> Option<Vec<String>> {
    let mut ways = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = std::collections::BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in way.last().and_then(|last| after.get(last.as_str())).into_iter().flatten() {
            let further: Vec<String> = way.iter().cloned().chain([next.clone()]).collect();
            if next == start {
                return Some(further);
            }
            if seen.insert(next.clone()) {
                ways.push_back(further);
            }
        }
    }
    None
}
