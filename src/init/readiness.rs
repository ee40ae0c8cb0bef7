//! How a process tells init that it is ready: a newline on a descriptor, as s6's services do, or `READY=1` on a datagram
//! socket, as `sd_notify(3)` does.
//!
//! init reads what is there, a little at a time, and keeps nothing of it.

use crate::link::Readiness;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What is read in one go; more of a notification is not looked at.
const MESSAGE: usize = 4096;
/// Datagrams that are read before other things are looked at again.
const MESSAGES_A_ROUND: usize = 16;

/// A process's way of telling, before the process is there.
#[derive(Debug)]
pub enum Offer {
    /// It writes to `theirs`, which is its descriptor `number`.
    Pipe {
        /// Read by init.
        ours: OwnedFd,
        /// Closed in init once the process has it.
        theirs: OwnedFd,
        /// The descriptor's number in the process.
        number: RawFd,
    },
    /// It sends to the socket of this name.
    Socket {
        /// Read by init.
        ours: OwnedFd,
        /// `NOTIFY_SOCKET=@…`.
        variable: Vec<u8>,
    },
}

/// Somebody who may still tell.
#[derive(Debug)]
pub struct Teller {
    /// Index of the process.
    pub process: usize,
    /// Its pid, which is its process group too.
    pub pid: i32,
    fd: OwnedFd,
    socket: bool,
    told: bool,
}

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing that matters.
    Nothing,
    /// It is ready.
    Ready,
    /// It closed its descriptor and has not told.
    Never,
}

/// What a process of this readiness needs; `None`: nothing.
pub fn offer(readiness: Readiness) -> io::Result<Option<Offer>> {
    Ok(match readiness {
        Readiness::AtOnce | Readiness::Probe => None,
        Readiness::Fd(number) => {
            let mut fds = [0; 2];
            // SAFETY: room for two descriptors.
            if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the call succeeded, so both are open and nobody else's.
            let (ours, theirs) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
            // SAFETY: changes a flag of an open description that is ours.
            unsafe { libc::fcntl(ours.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            Some(Offer::Pipe { ours, theirs, number })
        }
        Readiness::Notify => Some(notify_socket()?),
    })
}

/// In the abstract namespace, with a name that the kernel chooses (unix(7), autobind): there on a read-only root, too, and
/// gone with its last descriptor.
fn notify_socket() -> io::Result<Offer> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes plain numbers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, nobody else's.
    let ours = unsafe { OwnedFd::from_raw_fd(fd) };
    let on: libc::c_int = 1;
    // SAFETY: all-zero is a valid address.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or_default();
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&address)).unwrap_or(0);
    let family = libc::socklen_t::try_from(mem::size_of_val(&address.sun_family)).unwrap_or(0);
    // SAFETY: live values with the sizes that are passed; with the family alone, bind(2) chooses a name.
    let failed = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PASSCRED, (&raw const on).cast(), 4) != 0
            || libc::bind(fd, (&raw const address).cast(), family) != 0
            || libc::getsockname(fd, (&raw mut address).cast(), &raw mut length) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    let named = usize::try_from(length).unwrap_or(0).saturating_sub(mem::size_of::<libc::sa_family_t>());
    // An abstract name begins with a NUL, which is written `@` (sd_notify(3)).
    let name = address.sun_path.iter().take(named).skip(1).map(|&c| c.cast_unsigned());
    let variable = b"NOTIFY_SOCKET=@".iter().copied().chain(name).collect();
    Ok(Offer::Socket { ours, variable })
}

impl Offer {
    /// The process is there.
    pub fn taken(self, process: usize, pid: i32) -> Teller {
        let (fd, socket) = match self {
            Offer::Pipe { ours, .. } => (ours, false),
            Offer::Socket { ours, .. } => (ours, true),
        };
        Teller { process, pid, fd, socket, told: false }
    }
}

impl Teller {
    /// What init waits for.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether it may still say something that matters. A socket stays open after that: who sends `STATUS=` to one that is
    /// gone takes that for an error.
    pub fn is_done(&self) -> bool {
        self.told && !self.socket
    }

    /// Reads what is there.
    pub fn read(&mut self) -> Told {
        let told = if self.socket { self.read_socket() } else { self.read_pipe() };
        if self.told {
            return Told::Nothing;
        }
        self.told = told != Told::Nothing;
        told
    }

    fn read_pipe(&self) -> Told {
        let mut buffer = [0_u8; 256];
        // SAFETY: a live buffer of the size that is passed.
        let got = unsafe { libc::read(self.fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(got) {
            Ok(0) => Told::Never,
            Ok(count) if buffer[..count].contains(&b'\n') => Told::Ready,
            _ => Told::Nothing,
        }
    }

    fn read_socket(&self) -> Told {
        let mut told = Told::Nothing;
        for _ in 0..MESSAGES_A_ROUND {
            let mut buffer = [0_u8; MESSAGE];
            match self.receive(&mut buffer) {
                None => break,
                Some((sender, count)) => {
                    let ready = buffer[..count].split(|&byte| byte == b'\n').any(|line| line == b"READY=1");
                    // Anybody in the network namespace can send to an abstract name.
                    if ready && self.is_of_the_process(sender) {
                        told = Told::Ready;
                    }
                }
            }
        }
        told
    }

    /// One datagram: its sender's pid as the kernel says it, and its length.
    fn receive(&self, buffer: &mut [u8]) -> Option<(i32, usize)> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // Room for one SCM_CREDENTIALS, which comes first, and no more: descriptors that somebody sends along do not fit, so
        // the kernel closes them (recvmsg(2), MSG_CTRUNC).
        let mut control = [0_u64; 4];
        // SAFETY: all-zero is a valid header.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&control) as _;
        // SAFETY: everything that the header points to is live and as long as it says.
        let got = unsafe { libc::recvmsg(self.fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        let count = usize::try_from(got).ok()?;
        let mut sender = 0;
        // SAFETY: the kernel filled the control buffer, and the macros stay inside what it says it filled.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            if !message.is_null()
                && ((*message).cmsg_level, (*message).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
            {
                sender = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::ucred>()).pid;
            }
        }
        Some((sender, count))
    }

    fn is_of_the_process(&self, sender: i32) -> bool {
        // SAFETY: takes plain numbers.
        sender > 0 && (sender == self.pid || unsafe { libc::getpgid(sender) } == self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn a_newline_on_the_descriptor_is_ready_and_its_end_is_never() {
        for (written, told) in [(&b"ok\n"[..], Told::Ready), (b"", Told::Never)] {
            let Some(offer) = offer(Readiness::Fd(3)).unwrap() else { panic!("no offer") };
            let Offer::Pipe { theirs, .. } = &offer else { panic!("no pipe") };
            let mut writer = std::fs::File::from(theirs.try_clone().unwrap());
            let mut teller = offer.taken(0, 1);
            assert_eq!(teller.read(), Told::Nothing);
            writer.write_all(written).unwrap();
            drop(writer);
            assert_eq!(teller.read(), told);
            assert!(teller.is_done());
            assert_eq!(teller.read(), Told::Nothing, "told once");
        }
    }

    #[test]
    fn ready_1_counts_from_the_process_group_only() {
        // SAFETY: cannot fail and touches no memory.
        let group = unsafe { libc::getpgid(0) };
        for (pid, told) in [(group, Told::Ready), (i32::MAX, Told::Nothing)] {
            let Some(offer) = offer(Readiness::Notify).unwrap() else { panic!("no offer") };
            let Offer::Socket { variable, .. } = &offer else { panic!("no socket") };
            let name = variable.strip_prefix(b"NOTIFY_SOCKET=@").unwrap().to_vec();
            let mut teller = offer.taken(0, pid);
            assert_eq!(teller.read(), Told::Nothing);
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            sender.send_to_addr(b"STATUS=warming up\nREADY=10", &address).unwrap();
            assert_eq!(teller.read(), Told::Nothing);
            sender.send_to_addr(b"STATUS=here\nREADY=1", &address).unwrap();
            assert_eq!(teller.read(), told);
            assert!(!teller.is_done());
        }
    }
}
