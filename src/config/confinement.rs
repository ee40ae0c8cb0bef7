//! What `[process.main]` says about limits and capabilities.

use super::read::Reader;
use super::tree::{Item, Raw, Table};
use super::units;
use crate::nearest::{nearest, suggestion};
use crate::os::confine::{self, Confinement, Limit, UNLIMITED};

/// Reads `limits`, `capabilities` and `no_new_privs`.
pub fn confinement(reader: &mut Reader<'_>, main: &Table) -> Confinement {
    Confinement {
        limits: limits(reader, main),
        capabilities: capabilities(reader, main),
        no_new_privs: reader.boolean(main, "no_new_privs").unwrap_or(false),
    }
}

fn limits(reader: &mut Reader<'_>, main: &Table) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (name, entry) in reader.table(main, "limits").map(Table::in_order).unwrap_or_default() {
        let known = confine::resource(name);
        if known.is_none() {
            let hint = suggestion(name, &confine::resource_names());
            reader.wrong(entry.key, format!("`limits`: there is no limit `{name}`"), hint);
        }
        let pair = limit(reader, name, known.is_some_and(|(_, bytes)| bytes), &entry.item);
        if let (Some((resource, _)), Some((soft, hard))) = (known, pair) {
            limits.push(Limit { resource, soft, hard });
        }
    }
    limits
}

/// `65536`, `"64MiB"`, `"unlimited"`, `"SOFT:HARD"`.
fn limit(reader: &mut Reader<'_>, name: &str, bytes: bool, item: &Item) -> Option<(u64, u64)> {
    let text = match &item.raw {
        Raw::Integer(digits) => digits.clone(),
        _ => reader.expanded("limits", item)?.0,
    };
    let pair = match text.split_once(':') {
        Some((soft, hard)) => amount(soft, bytes).zip(amount(hard, bytes)),
        None => amount(&text, bytes).map(|both| (both, both)),
    };
    match pair {
        Some((soft, hard)) if soft > hard => {
            let hint = "write `\"SOFT:HARD\"`";
            reader.wrong(item.spot, format!("`limits`: the soft limit of `{name}` is above the hard one"), hint);
            None
        }
        Some(pair) => Some(pair),
        None => {
            let hint = format!(
                "write `{name} = 1024`, `\"1024:4096\"` (soft and hard) or `\"unlimited\"`{}",
                if bytes { "; a number is bytes, `\"64MiB\"` works too" } else { "" }
            );
            reader.wrong(item.spot, format!("`limits`: the value of `{name}` is no limit"), hint);
            None
        }
    }
}

fn amount(text: &str, bytes: bool) -> Option<u64> {
    match text.trim() {
        "unlimited" | "infinity" | "-1" => Some(UNLIMITED),
        text => text.parse().ok().or_else(|| units::size(text).ok().filter(|_| bytes)),
    }
}

fn capabilities(reader: &mut Reader<'_>, main: &Table) -> Option<u64> {
    let item = main.get("capabilities")?;
    let items = match &item.raw {
        Raw::List(items) => items.as_slice(),
        _ => std::slice::from_ref(item),
    };
    let mut keep = 0;
    for item in items {
        let Some((name, written)) = reader.expanded("capabilities", item) else { continue };
        if let Some(bit) = confine::capability(&name) {
            keep |= bit;
            continue;
        }
        let bare = name.to_ascii_uppercase();
        let known = confine::capability_names().iter().copied();
        let hint = match nearest(bare.strip_prefix("CAP_").unwrap_or(&bare), known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "they are written as in capabilities(7): `NET_BIND_SERVICE`; `[]` keeps none".to_owned(),
        };
        reader.wrong(item.spot, format!("`capabilities`: there is no capability `{written}`"), hint);
    }
    Some(keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, Options};
    use crate::config::{Mode, resolve_in};
    use crate::os::environ::Environment;

    fn read(keys: &str) -> Result<Confinement, String> {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("proem.toml");
        std::fs::write(&file, format!("[process.main]\n{keys}\n")).unwrap();
        let cli = Cli { options: Options::default(), command: Command::Run { once: false, argv: vec!["x".into()] } };
        let environment = Environment::from([("SECRET".into(), "hunter2".into())]);
        match resolve_in(&cli, &environment, Mode::Run, root.path()) {
            Ok(plan) => Ok(plan.processes[0].confinement.clone()),
            Err(failure) => Err(failure.to_string().replace(&format!("{}:", file.display()), "")),
        }
    }

    #[test]
    fn limits_are_pairs() {
        let limit = |keys: &str| {
            let read = read(&format!("limits = {{ {keys} }}")).unwrap();
            (read.limits[0].soft, read.limits[0].hard)
        };
        assert_eq!(limit("nofile = 65536"), (65536, 65536));
        assert_eq!(limit(r#"nofile = "1024:4096""#), (1024, 4096));
        assert_eq!(limit(r#"core = "0:unlimited""#), (0, UNLIMITED));
        assert_eq!(limit(r#"memlock = "64MiB:infinity""#), (64 << 20, UNLIMITED));
        assert_eq!(read("").unwrap(), Confinement::default());
    }

    #[test]
    fn capabilities_are_a_set() {
        assert_eq!(read("capabilities = []").unwrap().capabilities, Some(0));
        let some = read(r#"capabilities = ["chown", "CAP_NET_BIND_SERVICE"]"#).unwrap();
        assert_eq!(some.capabilities, Some(1 | 1 << 10));
    }

    #[test]
    fn mistakes_name_the_nearest_and_no_value() {
        let mistakes = read(
            r#"limits = { nofil = 1, nofile = "1MiB", nproc = "2:1", core = "${SECRET}" }
capabilities = ["NET_BIND_SERVIC", "${SECRET}"]
no_new_privs = "yes""#,
        )
        .unwrap_err();
        assert_eq!(
            mistakes,
            "2:12: `limits`: there is no limit `nofil`\n  hint: did you mean `nofile`?\n\
             2:32: `limits`: the value of `nofile` is no limit\n  hint: write `nofile = 1024`, `\"1024:4096\"` (soft and \
             hard) or `\"unlimited\"`\n\
             2:48: `limits`: the soft limit of `nproc` is above the hard one\n  hint: write `\"SOFT:HARD\"`\n\
             2:62: `limits`: the value of `core` is no limit\n  hint: write `core = 1024`, `\"1024:4096\"` (soft and hard) or \
             `\"unlimited\"`; a number is bytes, `\"64MiB\"` works too\n\
             3:17: `capabilities`: there is no capability `NET_BIND_SERVIC`\n  hint: did you mean `NET_BIND_SERVICE`?\n\
             3:36: `capabilities`: there is no capability `${SECRET}`\n  hint: they are written as in capabilities(7): \
             `NET_BIND_SERVICE`; `[]` keeps none\n\
             4:16: `no_new_privs` is a string, not a boolean\n  hint: write `true` or `false`, without quotes"
        );
    }
}
