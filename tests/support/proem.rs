//! The binary under test as a child process, with an environment and a signal state of its own.

use super::{namespace, procs, read, wait};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The binary that cargo built for this test run.
pub const BINARY: &str = env!("CARGO_BIN_EXE_proem");

/// How long anything that should happen at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A command line being put together.
pub struct Builder {
    command: Command,
}

/// proem with these arguments, and nothing in its environment but PATH.
pub fn proem<const N: usize>(args: [&str; N]) -> Builder {
    Builder::new(BINARY).args(args)
}

/// How a process ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128+n when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Builder {
    /// Another program, for what is run beside proem to compare.
    pub fn new(program: &str) -> Builder {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null());
        // Tests in the background of a script (`cargo test &`) have INT and QUIT ignored, those under nohup HUP; a shell
        // cannot trap what it inherits as ignored, and proem passes that on to it, as it should.
        // SAFETY: system calls only.
        unsafe {
            command.pre_exec(|| {
                namespace::reset_signals();
                Ok(())
            })
        };
        Builder { command }
    }

    /// More arguments.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Builder {
        self.command.args(args);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Builder {
        self.command.env(name, value);
        self
    }

    /// The directory that it starts in.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Builder {
        self.command.current_dir(dir);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Proem {
        let folder = super::folder();
        let (stdout, stderr) = (folder.path().join("stdout"), folder.path().join("stderr"));
        self.command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let child = self.command.spawn().unwrap();
        Proem { child, stdout, stderr, _folder: folder }
    }

    /// Runs it to its end, which must come within a minute.
    pub fn output(self) -> Output {
        let mut process = self.start();
        process.ended(Duration::from_mins(1))
    }
}

/// A running process; ended with its descendants when dropped.
pub struct Proem {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    _folder: tempfile::TempDir,
}

impl Proem {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// How much that is, bytes.
    pub fn stdout_length(&self) -> u64 {
        std::fs::metadata(&self.stdout).unwrap().len()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        procs::kill(self.pid(), signal);
    }

    /// Waits until `look` gives something, showing proem's log when that does not happen.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait::until(SOON, what, || format!("its log:\n{}", self.stderr()), look)
    }

    /// Waits until standard error holds this text.
    pub fn says(&self, text: &str) {
        self.until(&format!("standard error says `{text}`"), || self.stderr().contains(text).then_some(()));
    }

    /// Waits until a file has exactly this content.
    pub fn file(&self, path: &Path, content: &str) {
        self.until(&format!("{} becomes {content:?}", path.display()), || (read(path) == content).then_some(()));
    }

    /// Its worker's process id.
    pub fn worker(&self) -> i32 {
        self.until("there is a worker", || procs::worker(self.pid()))
    }

    /// Waits for its end.
    pub fn ended(&mut self, limit: Duration) -> Output {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < limit, "no exit within {limit:?}; its log:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(2));
        };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap();
        Output { code, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Proem {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // Whatever a broken proem would leave behind ends, too: all that descends from it now.
        let mut left = vec![self.pid()];
        let mut at = 0;
        while let Some(&pid) = left.get(at) {
            left.extend(procs::children(pid).iter().map(|child| child.pid));
            at += 1;
        }
        for pid in left {
            // SAFETY: kill(2) touches no memory; the ids were just seen below our own child. It may be gone already.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}
