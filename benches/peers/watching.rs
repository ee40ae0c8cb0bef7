//! proem and consul-template, each watching one prefix of the agent.

use crate::Bench;
use crate::consul::Agent;
use crate::process::{Running, command};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Something that renders into a folder.
pub struct Renderer {
    /// The process.
    pub running: Running,
    /// Its targets' folder.
    pub out: PathBuf,
}

/// A target's name, which is its template's file name, too, and the template's text.
pub type Template = (String, String);

/// `proem run` with the prefix as the source `app`.
pub fn proem(bench: &Bench, agent: &Agent, prefix: &str, templates: &[Template]) -> Result<Renderer> {
    let (from, out) = folders(bench, prefix, templates)?;
    let mut c = command(&bench.peers.proem);
    c.env("CONSUL_HTTP_ADDR", agent.address()).args(["run", "--settle", "0s", "--throttle", "0s", "-s"]);
    c.arg(format!("app=consul:{prefix}")).arg("-t");
    match templates {
        [(name, _)] => c.arg(format!("{}:{}:none", from.join(name).display(), out.join(name).display())),
        _ => c.arg(format!("{}/:{}/:none", from.display(), out.display())),
    };
    if std::env::var_os("BENCH_STDERR").is_some() {
        c.stderr(std::process::Stdio::inherit());
    }
    Ok(Renderer { running: Running::start(c.args(["--", "sleep", "100000"]))?, out })
}

/// consul-template without a child.
pub fn consul_template(bench: &Bench, agent: &Agent, prefix: &str, templates: &[Template]) -> Result<Renderer> {
    let program = bench.peers.ct.as_ref().context("consul-template is not installed")?;
    let (from, out) = folders(bench, prefix, templates)?;
    let mut configuration = format!("consul {{ address = \"127.0.0.1:{}\" }}\nlog_level = \"err\"\n", agent.port);
    for (name, _) in templates {
        let (source, target) = (from.join(name), out.join(name));
        writeln!(
            configuration,
            "template {{ source = \"{}\" destination = \"{}\" }}",
            source.display(),
            target.display()
        )?;
    }
    let path = from.join("ct.hcl");
    fs::write(&path, configuration)?;
    let mut c = command(program);
    Ok(Renderer { running: Running::start(c.arg("-config").arg(&path))?, out })
}

fn folders(bench: &Bench, prefix: &str, templates: &[Template]) -> Result<(PathBuf, PathBuf)> {
    let from = bench.folder(&format!("{prefix}.from"))?;
    let out = bench.folder(&format!("{prefix}.out"))?;
    for (name, text) in templates {
        fs::write(from.join(name), text)?;
    }
    Ok((from, out))
}
