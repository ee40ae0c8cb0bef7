//! What a process is started with: `env`, `env_from`, `pristine`, `on_env_change`, and a command whose items are templates.

use super::groups::Defaults;
use super::known::ENV_FROM;
use super::plan::{EnvFromPlan, EnvPlan, GroupPlan, ProcessPlan, ReloadChoice, ReloadPlan, VariablePlan};
use super::read::Reader;
use super::tree::{Item, Raw, Spot, Table};
use crate::link::Kind;
use crate::nearest::nearest;

/// Reads a process's command, as written, and its environment.
pub fn injection(reader: &mut Reader<'_>, name: &str, kind: Kind, table: &Table) -> (Vec<std::ffi::OsString>, EnvPlan) {
    let mut items = Vec::new();
    let mut at = 0..;
    let command = reader.command_of(table, "command", |reader, item| {
        let at = at.next().unwrap_or_default();
        let (text, is_template) = reader.template("command", item)?;
        if is_template {
            items.push((at, reader.mistakes.place(item.spot)));
        }
        Some(text)
    });
    let command = command.unwrap_or_default();
    let env = EnvPlan {
        pristine: reader.boolean(table, "pristine").unwrap_or(false),
        from: sources(reader, table),
        set: variables(reader, table),
        items,
        on_change: on_change(reader, name, kind, table),
    };
    (command.into_iter().map(Into::into).collect(), env)
}

fn variables(reader: &mut Reader<'_>, table: &Table) -> Vec<VariablePlan> {
    let mut variables = Vec::new();
    for (name, entry) in reader.table(table, "env").map(Table::in_order).unwrap_or_default() {
        if name.is_empty() || name.contains(['=', '\0']) {
            reader.wrong(entry.key, format!("`{name}` is no name for a variable"), "a name has no `=`");
            continue;
        }
        let literal = |value: &str| VariablePlan { name: name.to_owned(), value: value.to_owned(), template: None };
        match &entry.item.raw {
            // A variable is text: `PORT = 8080` leaves no doubt.
            Raw::Integer(digits) => variables.push(literal(digits)),
            Raw::Bool(value) => variables.push(literal(&value.to_string())),
            Raw::Text(_) => {
                let Some((value, is_template)) = reader.template(&format!("env.{name}"), &entry.item) else { continue };
                let template = is_template.then(|| reader.mistakes.place(entry.item.spot));
                variables.push(VariablePlan { template, ..literal(&value) });
            }
            raw => {
                let message = format!("`env.{name}` is {}, not a string", raw.describe());
                reader.wrong(entry.item.spot, message, "write the variable's value in quotes");
            }
        }
    }
    variables
}

fn sources(reader: &mut Reader<'_>, table: &Table) -> Vec<EnvFromPlan> {
    let Some(item) = table.get("env_from") else { return Vec::new() };
    let items = match &item.raw {
        Raw::List(items) => items.as_slice(),
        _ => std::slice::from_ref(item),
    };
    items.iter().filter_map(|item| from(reader, item)).collect()
}

/// `"SOURCE"` or `{ source = "SOURCE", … }`.
fn from(reader: &mut Reader<'_>, item: &Item) -> Option<EnvFromPlan> {
    let empty = Table::default();
    let (source, spot, table) = match &item.raw {
        Raw::Text(_) => (reader.nonempty("env_from", item)?, item.spot, &empty),
        Raw::Table(table) => {
            reader.only(table, ENV_FROM);
            let Some(named) = table.get("source") else {
                reader.wrong(item.spot, "`env_from` names no source", "write { source = \"NAME\" }");
                return None;
            };
            (reader.nonempty("source", named)?, named.spot, table)
        }
        raw => {
            let message = format!("`env_from` is {}, not a source's name or a table", raw.describe());
            reader.wrong(item.spot, message, "write [\"NAME\"] or [{ source = \"NAME\", prefix = \"APP_\" }]");
            return None;
        }
    };
    is_declared(reader, &source, spot);
    let patterns = |reader: &mut Reader<'_>, key| {
        let list = reader.strings(table, key)?;
        Some(list.into_iter().map(|(pattern, _)| pattern).collect())
    };
    Some(EnvFromPlan {
        source,
        prefix: prefix(reader, table),
        upper: reader.boolean(table, "upper").unwrap_or(true),
        sanitize: reader.boolean(table, "sanitize").unwrap_or(true),
        allow: patterns(reader, "allow"),
        deny: patterns(reader, "deny").unwrap_or_default(),
        place: reader.mistakes.place(spot),
    })
}

fn is_declared(reader: &mut Reader<'_>, source: &str, spot: Spot) {
    if reader.sources.iter().any(|name| name == source) {
        return;
    }
    let hint = match nearest(source, reader.sources.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("declare `{source} = \"URI\"` below `[source]`, or `-s {source}=URI`"),
    };
    reader.wrong(spot, format!("`env_from`: there is no source `{source}`"), hint);
}

fn prefix(reader: &mut Reader<'_>, table: &Table) -> String {
    let Some(item) = table.get("prefix") else { return String::new() };
    let Some((prefix, written)) = reader.expanded("prefix", item) else { return String::new() };
    if prefix.contains('=') {
        reader.wrong(item.spot, format!("`prefix` is `{written}`: a name has no `=`"), "write it like `APP_`");
    }
    prefix
}

fn on_change(reader: &mut Reader<'_>, name: &str, kind: Kind, table: &Table) -> ReloadChoice {
    let said = reader.word(table, "on_env_change", &["restart", "exit", "none"], |word| match word {
        "restart" => Some(vec![ReloadPlan::Restart { process: name.to_owned() }]),
        "exit" => Some(vec![ReloadPlan::Exit]),
        "none" => Some(Vec::new()),
        _ => None,
    });
    if kind == Kind::Setup
        && let (Some([ReloadPlan::Restart { .. }]), Some(item)) = (said.as_deref(), table.get("on_env_change"))
    {
        let hint = "remove it: what changes after its run concerns it no more";
        reader.wrong(item.spot, "`on_env_change` is `restart` in a setup process, which runs once", hint);
    }
    match said {
        None if kind == Kind::Setup => ReloadChoice::Stated(Vec::new()),
        None => ReloadChoice::Unstated,
        Some(reloads) => ReloadChoice::Stated(reloads),
    }
}

/// What a process is started with is published like files where it depends on sources: a group of its own, without
/// templates, whose name is nobody else's.
pub fn groups(processes: &[ProcessPlan], defaults: &Defaults, groups: &mut Vec<GroupPlan>) {
    for process in processes {
        let Some(place) = process.env.depends() else { continue };
        let mut name = format!("environment of {}", process.name);
        while groups.iter().any(|group| group.name == name) {
            name.push('\'');
        }
        groups.push(defaults.environment(name, process, place.clone()));
    }
}
