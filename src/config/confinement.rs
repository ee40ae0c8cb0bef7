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
