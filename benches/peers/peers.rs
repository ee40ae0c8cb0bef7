//! Which programs there are to compare with.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Paths of the programs that are installed.
pub struct Peers {
    /// proem's release binary.
    pub proem: PathBuf,
    /// The reference of most rows.
    pub tini_static: Option<PathBuf>,
    /// The dynamic one.
    pub tini: Option<PathBuf>,
    /// Yelp's.
    pub dumb_init: Option<PathBuf>,
    /// podman's.
    pub catatonit: Option<PathBuf>,
    /// gettext's.
    pub envsubst: Option<PathBuf>,
    /// consul-template.
    pub ct: Option<PathBuf>,
    /// Debian's `supervisor`.
    pub supervisord: Option<PathBuf>,
    /// The server for all rows with a store.
    pub consul: Option<PathBuf>,
}

impl Peers {
    /// Looks in `PROEM`, `CONSUL_TEMPLATE` and the PATH.
    pub fn find() -> Result<Peers> {
        let proem = std::env::var_os("PROEM").context("PROEM names no binary\n  hint: run scripts/bench")?;
        let ct = std::env::var_os("CONSUL_TEMPLATE").map(PathBuf::from).filter(|p| p.is_file());
        Ok(Peers {
            proem: std::fs::canonicalize(&proem).with_context(|| format!("failed to find {}", proem.display()))?,
            tini_static: which("tini-static"),
            tini: which("tini"),
            dumb_init: which("dumb-init"),
            catatonit: which("catatonit"),
            envsubst: which("envsubst"),
            ct: ct.or_else(|| which("consul-template")),
            supervisord: which("supervisord"),
            consul: which("consul"),
        })
    }

    /// Name and version of each, and the names of those that are missing.
    pub fn versions(&self) -> (Vec<String>, Vec<&'static str>) {
        let mut there = vec![format!("proem: {}", version(&self.proem))];
        let mut missing = Vec::new();
        let peers = [
            ("tini-static", &self.tini_static),
            ("tini", &self.tini),
            ("dumb-init", &self.dumb_init),
            ("catatonit", &self.catatonit),
            ("envsubst", &self.envsubst),
            ("consul-template", &self.ct),
            ("supervisord", &self.supervisord),
            ("consul", &self.consul),
        ];
        for (name, path) in peers {
            match path {
                Some(path) => there.push(format!("{name}: {}", version(path))),
                None => missing.push(name),
            }
        }
        (there, missing)
    }
}

/// The first executable file of that name in PATH.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn version(program: &Path) -> String {
    let Ok(output) = Command::new(program).arg("--version").output() else { return "does not run".into() };
    // consul-template and dumb-init say it on stderr.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or("no version").trim().to_owned()
}
