//! Ten thousand orphans at once, reaped by the PID 1 of a namespace of its own.

use crate::Bench;
use crate::process::{Running, Usage, children, command, halves, until};
use crate::stats::ms;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

const COUNT: usize = 10_000;

/// Runs under the init: forks children that fork grandchildren and exit; the grandchildren wait for the end of a pipe,
/// so that all end at once. Says when that is, and stays.
pub fn make(count: usize) -> Result<()> {
    let mut gate = [0; 2];
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::pipe(gate.as_mut_ptr()) } != 0 {
        bail!("failed to make a pipe: {}", std::io::Error::last_os_error());
    }
    for _ in 0..count {
        // SAFETY: there is one thread; both children only make plain syscalls and `_exit`.
        unsafe {
            match libc::fork() {
                -1 => bail!("failed to fork: {}", std::io::Error::last_os_error()),
                0 => {
                    if libc::fork() == 0 {
                        libc::close(gate[1]);
                        let mut byte = 0_u8;
                        libc::read(gate[0], (&raw mut byte).cast(), 1);
                    }
                    libc::_exit(0)
                }
                child => {
                    libc::waitpid(child, std::ptr::null_mut(), 0);
                }
            }
        }
    }
    println!("ready");
    // Until the one who measures has taken its first look.
    std::io::stdin().read_exact(&mut [0])?;
    // SAFETY: it is ours, and the last writing end.
    unsafe { libc::close(gate[1]) };
    println!("released");
    sleep(Duration::from_mins(10));
    Ok(())
}

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let unshare = crate::peers::which("unshare").context("unshare is not installed")?;
    let contenders: [(&str, Option<PathBuf>, &[&str]); 3] = [
        ("tini-static", bench.peers.tini_static.clone(), &["--"]),
        ("dumb-init", bench.peers.dumb_init.clone(), &["--"]),
        ("proem", Some(bench.peers.proem.clone()), &["--"]),
    ];
    let head =
        ["", "orphans", "all reaped after ms", "zombies after 1 s", "CPU ms of the init", "CPU ms in the 5 s after"];
    let mut table = vec![head.map(String::from).to_vec()];
    for (name, program, arguments) in contenders {
        let Some(program) = program else { continue };
        let mut c = command(&unshare);
        c.args(["--pid", "--fork", "--kill-child"]).arg(program).args(arguments).arg(std::env::current_exe()?);
        c.args(["orphans-of", &COUNT.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut running = Running::start(&mut c)?;
        let pipes = running.child();
        let (input, output) = (pipes.stdin.take(), pipes.stdout.take());
        let mut lines = BufReader::new(output.context("no stdout")?).lines();
        lines.next().with_context(|| format!("{name}: ended early"))??;
        let init = *children(running.pid()).first().context("unshare has no child")?;
        // The one orphan that stays is main itself; proem's worker is not one either.
        let own = halves(init).len();
        let adopted = || (children(init).len()).saturating_sub(own);
        let (orphans, before) = (adopted(), Usage::of(&[init]));
        drop(input.map(|mut input| std::io::Write::write_all(&mut input, b"x")));
        lines.next().with_context(|| format!("{name}: ended early"))??;
        let released = Instant::now();
        let none_left = until("all are reaped", Duration::from_secs(1), || adopted() == 0);
        let gone = ms(released, Instant::now());
        sleep(Duration::from_secs(1).saturating_sub(released.elapsed()));
        let (left, reaped) = (adopted(), Usage::of(&[init]));
        sleep(Duration::from_secs(5));
        let after = Usage::of(&[init]);
        let cpu = |from: Usage, to: Usage| (to.cpu_ns - from.cpu_ns) as f64 / 1e6;
        let late = cpu(reaped, after);
        let gone = if none_left.is_ok() { format!("{gone:.0}") } else { "more than 1000".into() };
        let figures = [orphans.to_string(), gone.clone(), left.to_string()];
        let spent = [format!("{:.1}", cpu(before, reaped)), format!("{late:.2}")];
        table.push(std::iter::once(name.to_owned()).chain(figures).chain(spent).collect());
        if name == "proem" {
            let reference = table.get(1).filter(|r| r[0] == "tini-static");
            let reference = reference.map_or("tini-static: not there".into(), |r| {
                format!("tini-static: {} zombies, gone after {} ms", r[3], r[2])
            });
            let found = format!("{left} zombies, gone after {gone} ms, {late:.2} ms of CPU in the 5 s after");
            let met = orphans >= COUNT && left == 0 && late < 0.05;
            let goal = "0 zombies within 1 s, no CPU after";
            bench.report.goal("10,000 orphans at once", reference, goal, found, Some(met));
        }
    }
    let note = "Forked twice, so that the init of a new PID namespace adopts them; a pipe ends them all at once.";
    bench.report.section("Orphans", note, &table);
    Ok(())
}
