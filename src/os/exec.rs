//! Becoming another program: everything is prepared here (strings, PATH, environment), so that between fork and exec
//! only system calls remain. And telling afterwards, in words, why a program could not be started.

use super::confine;
use super::fds;
use super::inherited::Inherited;
use crate::error::{Complaint, Failure, reason};
use crate::exit::Exit;
use crate::link::{Credentials, Kind, ProcessSpec};
use std::ffi::{OsStr, c_char};
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr;

/// What `execvp` uses where the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// A program, ready to be executed.
pub struct Image<'a> {
    spec: &'a ProcessSpec,
    credentials: Option<&'a Credentials>,
    /// All strings, NUL-terminated, one after the other; the vectors below point into it.
    _bytes: Vec<u8>,
    candidates: Vec<*const c_char>,
    paths: Vec<PathBuf>,
    /// `/bin/sh`, room for the script, the arguments, null.
    shell: Vec<*const c_char>,
    /// The arguments from the second on are shared with `shell`.
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    workdir: Option<*const c_char>,
    /// Where `LISTEN_PID`'s digits go, eleven bytes with the NUL.
    listen_pid: Option<*mut u8>,
    /// Descriptors that are closed on exec in proem but belong to this program.
    hand_over: [&'a [RawFd]; 2],
    /// A descriptor of proem's, and its number in the program.
    speaks_on: Option<(RawFd, RawFd)>,
    /// Descriptors of proem's that become its standard output and error.
    writes_to: Option<[RawFd; 2]>,
}

/// Which step was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// `setgroups`, `setresgid`, `setresuid`, or the proof that the old user cannot be regained.
    Credentials = 1,
    /// `chdir` to `workdir`.
    Workdir = 2,
    /// `execve`.
    Exec = 3,
    /// One of the limits.
    Limit = 4,
    /// The capabilities, or `no_new_privs`.
    Capabilities = 5,
}

/// Why a program was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What failed.
    pub step: Step,
    /// With which error.
    pub errno: i32,
    /// For `Exec`: on which of the places that were looked at. For `Limit`: which of the limits.
    pub candidate: usize,
}

impl Refusal {
    fn new(step: Step, errno: i32) -> Refusal {
        Refusal { step, errno, candidate: 0 }
    }
}

impl<'a> Image<'a> {
    /// Prepares a program. `listen_fds`: `LISTEN_PID` named proem, so it is to name the program instead, and these
    /// descriptors are the program's.
    pub fn new(spec: &'a ProcessSpec, listen_fds: Option<&'a [RawFd]>) -> Image<'a> {
        let paths = candidates(spec);
        let mut arena = Arena::default();
        let candidates: Vec<usize> = paths.iter().map(|path| arena.add(path.as_os_str().as_bytes())).collect();
        let shell = arena.add(b"/bin/sh");
        let argv: Vec<usize> = spec.argv.iter().map(|item| arena.add(item)).collect();
        let mut listen_pid = None;
        let env: Vec<usize> = spec
            .env
            .iter()
            .map(|item| {
                if listen_fds.is_some() && item.starts_with(b"LISTEN_PID=") {
                    let at = arena.add(b"LISTEN_PID=4294967295");
                    listen_pid = Some(at + b"LISTEN_PID=".len());
                    at
                } else {
                    arena.add(item)
                }
            })
            .collect();
        let workdir = spec.workdir.as_ref().map(|dir| arena.add(dir));

        let mut bytes = arena.0;
        let base = bytes.as_mut_ptr();
        // SAFETY: every offset was made by `add`, so it lies inside `bytes`, which neither grows nor moves from here on
        // (the vector's heap block stays where it is when the vector is moved).
        let at = |offset: usize| unsafe { base.add(offset) };
        let list = |offsets: &[usize]| -> Vec<*const c_char> {
            offsets.iter().map(|o| at(*o).cast_const().cast()).chain([ptr::null()]).collect()
        };
        let mut shell_argv = vec![at(shell).cast_const().cast(), ptr::null()];
        shell_argv.extend(list(argv.get(1..).unwrap_or_default()));
        Image {
            spec,
            credentials: needed(spec.user.as_ref()),
            candidates: list(&candidates),
            paths,
            shell: shell_argv,
            argv: list(&argv),
            env: list(&env),
            workdir: workdir.map(|offset| at(offset).cast_const().cast()),
            listen_pid: listen_pid.map(at),
            hand_over: [listen_fds.unwrap_or_default(), &[]],
            speaks_on: None,
            writes_to: None,
            _bytes: bytes,
        }
    }

    /// These descriptors, closed on exec in proem, are the program's, too.
    pub fn hand_over(&mut self, fds: &'a [RawFd]) {
        self.hand_over[1] = fds;
    }

    /// proem's descriptor `ours` becomes the program's `number`.
    pub fn speaks_on(&mut self, ours: RawFd, number: RawFd) {
        self.speaks_on = Some((ours, number));
    }

    /// These descriptors of proem's become the program's standard output and error.
    pub fn writes_to(&mut self, outputs: [RawFd; 2]) {
        self.writes_to = Some(outputs);
    }

    /// Becomes the program; returns only when that is refused. `give_back` restores the signals, right before exec.
    ///
    /// Async-signal-safe: system calls on prepared memory, no allocation, no lock, so it may run in a child that shares
    /// its parent's memory.
    pub fn become_it(&mut self, give_back: impl FnOnce()) -> Refusal {
        let confinement = &self.spec.confinement;
        // Both need what the change of user takes away.
        for (candidate, limit) in confinement.limits.iter().enumerate() {
            if let Err(errno) = limit.set() {
                return Refusal { step: Step::Limit, errno, candidate };
            }
        }
        if let Err(errno) = confinement.bound_capabilities() {
            return Refusal::new(Step::Capabilities, errno);
        }
        if let Some(errno) = self.credentials.and_then(drop_privileges) {
            return Refusal::new(Step::Credentials, errno);
        }
        if let Some(umask) = self.spec.umask {
            // SAFETY: umask(2) cannot fail and touches no memory.
            unsafe { libc::umask(umask) };
        }
        if let Some(dir) = self.workdir {
            // SAFETY: a NUL-terminated string in `bytes`.
            if unsafe { libc::chdir(dir) } != 0 {
                return Refusal::new(Step::Workdir, errno());
            }
        }
        for fd in self.hand_over.into_iter().flatten() {
            fds::set_cloexec(*fd, false);
        }
        if self.spec.care.kind != Kind::Main {
            // Two readers of one terminal would share what is typed.
            fds::null_stdin();
        }
        // Before the next: its number may be that of one of these.
        if let Some([output, error]) = self.writes_to {
            fds::become_fd(output, 1);
            fds::become_fd(error, 2);
        }
        if let Some((ours, number)) = self.speaks_on {
            fds::become_fd(ours, number);
        }
        if let Some(digits) = self.listen_pid {
            // SAFETY: `new` made room for ten digits and the NUL there.
            unsafe { write_pid(digits, libc::getpid().unsigned_abs()) };
        }
        if let Err(errno) = confinement.seal() {
            return Refusal::new(Step::Capabilities, errno);
        }
        give_back();
        self.exec()
    }

    /// `execvp`'s search: a place that does not have the program is passed over, one that refuses it is remembered.
    fn exec(&mut self) -> Refusal {
        let mut refusal = Refusal { step: Step::Exec, errno: libc::ENOENT, candidate: 0 };
        for (index, path) in self.candidates.iter().enumerate().take(self.paths.len()) {
            // SAFETY: null-terminated lists of NUL-terminated strings that outlive the call.
            unsafe { libc::execve(*path, self.argv.as_ptr(), self.env.as_ptr()) };
            let mut error = errno();
            // A program of another architecture would be read by the shell as nonsense.
            // SAFETY: a NUL-terminated string that outlives the call.
            if error == libc::ENOEXEC && !unsafe { is_elf(*path) } {
                // A script without `#!`, run as every shell and execvp do.
                self.shell[1] = *path;
                // SAFETY: as above; `shell[1]` has just been set.
                unsafe { libc::execve(self.shell[0], self.shell.as_ptr(), self.env.as_ptr()) };
                error = libc::ENOEXEC;
            }
            match error {
                libc::EACCES => refusal = Refusal { step: Step::Exec, errno: error, candidate: index },
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return Refusal { step: Step::Exec, errno: error, candidate: index },
            }
        }
        refusal
    }

    /// The refusal in words, and the code to end with.
    pub fn explain(&self, refusal: Refusal) -> Failure {
        let reason = reason(&std::io::Error::from_raw_os_error(refusal.errno));
        match refusal.step {
            Step::Credentials => {
                let user = self.spec.user.as_ref().map_or(0, |user| user.uid);
                // SAFETY: cannot fail and touches no memory.
                let hint = if unsafe { libc::geteuid() } == 0 {
                    "root may not do that here: keep CAP_SETUID and CAP_SETGID, and in a user namespace map the user and \
                     allow setgroups; or remove `user`"
                } else {
                    "start the container as root (no `USER`, no `runAsUser`), or remove `user`"
                };
                Complaint::new(format!("failed to become user {user}: {reason}")).hint(hint).exit(Exit::CONFIG)
            }
            Step::Workdir => {
                let dir = String::from_utf8_lossy(self.spec.workdir.as_deref().unwrap_or_default());
                Failure::new(Exit::CONFIG, format!("failed to change to the working directory `{dir}`: {reason}"))
            }
            Step::Limit => {
                let limit = self.spec.confinement.limits.get(refusal.candidate);
                let name = limit.map_or("?", |limit| confine::resource_name(limit.resource));
                Complaint::new(format!("failed to set the limit `{name}`: {reason}"))
                    .hint(format!("raise it for the container (`docker run --ulimit {name}=…`), or ask for less"))
                    .exit(Exit::CONFIG)
            }
            Step::Capabilities => Complaint::new(format!("failed to give up capabilities: {reason}"))
                .hint("this needs CAP_SETPCAP: start the container as root, or remove `capabilities`")
                .exit(Exit::CONFIG),
            Step::Exec => self.explain_exec(refusal, &reason),
        }
    }

    fn explain_exec(&self, refusal: Refusal, reason: &str) -> Failure {
        let program = String::from_utf8_lossy(self.spec.argv.first().map_or(&[][..], Vec::as_slice));
        let seen_from_child = |path: &PathBuf| match &self.spec.workdir {
            Some(dir) => Path::new(OsStr::from_bytes(dir)).join(path),
            None => path.clone(),
        };
        let path = self.paths.get(refusal.candidate).map(seen_from_child).unwrap_or_default();
        let failed = |what: String| format!("failed to start `{program}`: {what}");
        let shown = path.display();
        match refusal.errno {
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {
                if let Some(found) = self.paths.iter().map(seen_from_child).find(|path| path.is_file()) {
                    return missing_interpreter(&found, failed).exit(Exit::NOT_FOUND);
                }
                if program.contains('/') {
                    return Failure::new(Exit::NOT_FOUND, failed(format!("`{shown}` does not exist")));
                }
                let path = String::from_utf8_lossy(search_path(self.spec));
                let hint = if program.contains(char::is_whitespace) {
                    "this is one word with spaces in it: give each word by itself; a shell's line is `sh -c \"…\"`"
                } else {
                    "install it in the image, or give its whole path"
                };
                Complaint::new(failed(format!("not found in PATH (`{path}`)"))).hint(hint).exit(Exit::NOT_FOUND)
            }
            libc::EACCES => {
                let complaint = match fs::metadata(&path) {
                    Ok(meta) if meta.is_dir() => Complaint::new(failed(format!("`{shown}` is a directory"))),
                    Ok(meta) if meta.mode() & 0o111 == 0 => {
                        let mode = meta.mode() & 0o7777;
                        Complaint::new(failed(format!("`{shown}` is not executable (mode {mode:04o})")))
                            .hint(format!("`RUN chmod +x {shown}` in the image"))
                    }
                    _ => Complaint::new(failed(format!("permission denied on `{shown}`"))),
                };
                complaint.exit(Exit::NOT_EXECUTABLE)
            }
            libc::ENOEXEC => Complaint::new(failed(format!("`{shown}` has a format that this machine does not run")))
                .hint("a binary for another architecture, or a script without `#!` in an image without /bin/sh")
                .exit(Exit::NOT_EXECUTABLE),
            _ => Failure::new(Exit::NOT_EXECUTABLE, failed(format!("`{shown}`: {reason}"))),
        }
    }
}

/// Replaces proem by the program (`proem exec`): mask, dispositions, user, umask and directory as asked for. Returns
/// only on failure, with 126, 127 or 78.
pub fn become_process(spec: &ProcessSpec, inherited: &Inherited) -> Failure {
    hand_over_stdio(spec, [0, 1, 2]);
    let mut image = Image::new(spec, None);
    let refusal = image.become_it(|| {
        // After the change of user, which forgets it.
        if let Some(signal) = spec.parent_death_signal {
            confine::tell_parents_death(signal, inherited.parent());
        }
        inherited.restore_in_child();
    });
    image.explain(refusal)
}

/// Gives terminals, pipes and sockets on stdin, stdout and stderr to the user that the program runs as: otherwise
/// opening /dev/stdout is refused after the drop (moby#31243). Files and devices such as /dev/null belong to others.
/// What the kernel refuses (a read-only mount) is left as it is, as in runc. `stdio`: which descriptors these will be.
pub fn hand_over_stdio(spec: &ProcessSpec, stdio: [RawFd; 3]) {
    let Some(user) = needed(spec.user.as_ref()) else { return };
    for fd in stdio {
        // SAFETY: an all-zero `stat` is a valid value for the call to fill.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` is live; a closed descriptor is refused.
        if unsafe { libc::fstat(fd, &raw mut stat) } != 0 || stat.st_uid == user.uid {
            continue;
        }
        let ours = match stat.st_mode & libc::S_IFMT {
            libc::S_IFIFO | libc::S_IFSOCK => true,
            // SAFETY: asks whether the descriptor is a terminal; no memory of ours is involved.
            libc::S_IFCHR => unsafe { libc::isatty(fd) == 1 },
            _ => false,
        };
        if ours {
            // SAFETY: changes the owner of an open file; -1 leaves the group.
            unsafe { libc::fchown(fd, user.uid, u32::MAX) };
        }
    }
}

/// The credentials to change to: none where proem, not being root, is that user already.
fn needed(user: Option<&Credentials>) -> Option<&Credentials> {
    let user = user?;
    // SAFETY: these calls cannot fail and touch no memory.
    let (effective, uid, gid) = unsafe { (libc::geteuid(), libc::getuid(), libc::getgid()) };
    (effective == 0 || (user.uid, user.gid) != (uid, gid)).then_some(user)
}

/// Raw system calls: libc's wrappers would signal the other threads of the process, and a child that shares the
/// parent's memory must not even look for them. Returns the error, if any.
fn drop_privileges(user: &Credentials) -> Option<i32> {
    let Credentials { uid, gid, groups } = user;
    // SAFETY: `groups` is a live list of that length; the other calls take plain numbers.
    unsafe {
        if libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) != 0
            || libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid) != 0
            || libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid) != 0
        {
            return Some(errno());
        }
        let (mut real, mut effective, mut saved) = (0u32, 0u32, 0u32);
        let got = libc::syscall(libc::SYS_getresuid, &raw mut real, &raw mut effective, &raw mut saved);
        let all = got == 0 && [real, effective, saved] == [*uid; 3];
        // Fails closed: whoever can become root again was never dropped.
        let regained = *uid != 0 && libc::syscall(libc::SYS_setresuid, u32::MAX, 0u32, u32::MAX) == 0;
        (!all || regained).then_some(libc::EPERM)
    }
}

fn search_path(spec: &ProcessSpec) -> &[u8] {
    spec.env.iter().find_map(|item| item.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH)
}

/// Where the program may be: as written when it has a slash, else in each directory of the program's own PATH.
fn candidates(spec: &ProcessSpec) -> Vec<PathBuf> {
    let program = spec.argv.first().map_or(&[][..], Vec::as_slice);
    let as_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return vec![as_path(program)];
    }
    // An empty element is the working directory.
    search_path(spec)
        .split(|byte| *byte == b':')
        .map(|dir| as_path(if dir.is_empty() { b"." } else { dir }).join(OsStr::from_bytes(program)))
        .collect()
}

/// Whether a file is a program for some machine, not a script. Async-signal-safe.
///
/// # Safety
/// A NUL-terminated path.
unsafe fn is_elf(path: *const c_char) -> bool {
    let mut magic = [0u8; 4];
    // SAFETY: the path is as promised by the caller; `magic` is a live buffer of the length that is given.
    unsafe {
        let file = libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC);
        if file < 0 {
            return false;
        }
        libc::read(file, magic.as_mut_ptr().cast(), magic.len());
        libc::close(file);
    }
    magic == *b"\x7fELF"
}

fn missing_interpreter(path: &Path, failed: impl Fn(String) -> String) -> Complaint {
    let head = read_head(path);
    let shown = path.display();
    match head.strip_prefix(b"#!") {
        Some(line) => {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            let interpreter = line.split_whitespace().next().unwrap_or_default();
            let complaint =
                Complaint::new(failed(format!("its interpreter `{interpreter}` does not exist (`{shown}`)")));
            complaint.hint(if line.ends_with('\r') {
                "the file has Windows line ends: save it with those of Unix"
            } else {
                "install it in the image, or change the script's first line"
            })
        }
        None => Complaint::new(failed(format!("`{shown}` needs a loader that is not in this image")))
            .hint("it is dynamically linked, for another distribution's libc"),
    }
}

fn read_head(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let mut head = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        // What cannot be read explains nothing; the message is then about the loader.
        let _ = file.take(256).read_to_end(&mut head);
    }
    head
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Writes the number and a NUL.
///
/// # Safety
/// Room for eleven bytes.
unsafe fn write_pid(to: *mut u8, pid: u32) {
    let mut digits = [0u8; 10];
    let (mut rest, mut count) = (pid, 0);
    while rest > 0 || count == 0 {
        digits[count] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    for (i, digit) in digits[..count].iter().rev().enumerate() {
        // SAFETY: at most ten digits, as promised by the caller.
        unsafe { to.add(i).write(*digit) };
    }
    // SAFETY: the eleventh byte at most.
    unsafe { to.add(count).write(0) };
}

/// NUL-terminated strings in one block: one allocation for a whole environment.
#[derive(Default)]
struct Arena(Vec<u8>);

impl Arena {
    /// Adds a string, cut at a NUL if it has one inside, and says where it starts.
    fn add(&mut self, text: &[u8]) -> usize {
        let at = self.0.len();
        self.0.extend(text.iter().take_while(|byte| **byte != 0));
        self.0.push(0);
        at
    }
}
