//! The one GNU make jobserver that spans all packages: a token for each step that runs and each compiler beyond its first.
//! Knows no package.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use fs_err::os::unix::fs::OpenOptionsExt;

use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::error::{Error, Kind, Result};
use crate::room::Cancel;

/// The pool of tokens, a pipe that make knows how to read from and write to.
#[derive(Debug)]
pub struct Tokens {
    read: OwnedFd,
    write: OwnedFd,
    /// Tokens in all; `None` for a pool that belongs to another make.
    all: Option<usize>,
    /// The same pipe, read without waiting: whoever shares it may take a token between a look and a read.
    taker: OwnedFd,
    /// Held by the driver for running steps. Locked while one is taken or given back.
    held: Mutex<usize>,
    /// The caller's own slot, when the pool belongs to another make: the first step runs on it.
    own_slot: std::sync::atomic::AtomicBool,
}

/// A token that is given back when dropped.
#[derive(Debug)]
pub struct Token<'a> {
    tokens: &'a Tokens,
    /// `None`: the caller's own slot.
    byte: Option<u8>,
}

impl Tokens {
    /// A pool of `all` tokens.
    pub fn new(all: usize) -> Result<Tokens> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(std::io::Error::from)?;
        let tokens = Tokens::over(read, write, Some(all))?;
        tokens.put(&vec![b'+'; all]);
        Ok(tokens)
    }

    fn over(read: OwnedFd, write: OwnedFd, all: Option<usize>) -> Result<Tokens> {
        // A descriptor of its own, since O_NONBLOCK on the shared one would meet every make that shares it.
        let taker = fs_err::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(format!("/proc/self/fd/{}", read.as_raw_fd()))?;
        let taker = taker.into_parts().0.into();
        Ok(Tokens { read, write, all, taker, held: Mutex::new(0), own_slot: all.is_none().into() })
    }

    /// The pool that an outer make offers in MAKEFLAGS, if it does and its descriptors are open; the error says what is broken.
    pub fn inherited(makeflags: &str) -> Result<Option<Tokens>> {
        let broken = |why: String| {
            Error::new(Kind::Host, format!("the jobserver that MAKEFLAGS names cannot be used: {why}"))
        };
        let word = makeflags.split_whitespace().rev().find_map(|word| {
            word.strip_prefix("--jobserver-auth=").or_else(|| word.strip_prefix("--jobserver-fds="))
        });
        let Some(auth) = word else { return Ok(None) };
        let (read, write) = if let Some(path) = auth.strip_prefix("fifo:") {
            let open = || fs_err::OpenOptions::new().read(true).write(true).open(path);
            let file = open().map_err(|error| broken(error.to_string()))?;
            let copy = file.try_clone().map_err(|error| broken(error.to_string()))?;
            (file.into_parts().0.into(), copy.into_parts().0.into())
        } else {
            let numbers = auth
                .split_once(',')
                .and_then(|(r, w)| Some((r.parse::<i32>().ok()?, w.parse::<i32>().ok()?)));
            let Some((read, write)) = numbers else {
                return Err(broken(format!("`{}` are no descriptors", auth.escape_debug())));
            };
            if read < 0 || write < 0 {
                return Ok(None);
            }
            let open = |number: i32| {
                // SAFETY: only asks whether the number is an open descriptor; the duplicate is ours.
                let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
                if copy < 0 {
                    return Err(broken(format!(
                        "descriptor {number} is not open; start `mk` with `+` in that makefile"
                    )));
                }
                // SAFETY: a new descriptor that nobody else owns.
                Ok(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(copy) })
            };
            (open(read)?, open(write)?)
        };
        for fd in [&read, &write] {
            // Where an outer make closed its own, the numbers may be those of any other file by now.
            let meta = nix::sys::stat::fstat(fd).map_err(|error| broken(error.to_string()))?;
            if meta.st_mode & libc::S_IFMT != libc::S_IFIFO {
                return Err(broken(format!("`{}` is no pipe", auth.escape_debug())));
            }
        }
        Tokens::over(read, write, None).map(Some).map_err(|error| broken(error.message))
    }

    /// Both ends of the pipe.
    pub fn descriptors(&self) -> (&OwnedFd, &OwnedFd) {
        (&self.read, &self.write)
    }

    /// Waits for a token; `None` when the run is cancelled first.
    pub fn take(&self, cancel: &Cancel) -> Option<Token<'_>> {
        use std::sync::atomic::Ordering::SeqCst;
        loop {
            if cancel.is_cancelled() {
                return None;
            }
            if self.own_slot.swap(false, SeqCst) {
                return Some(Token { tokens: self, byte: None });
            }
            let mut fds = [PollFd::new(self.taker.as_fd(), PollFlags::POLLIN)];
            if !matches!(nix::poll::poll(&mut fds, PollTimeout::from(100_u8)), Ok(1..)) {
                continue;
            }
            let mut held = self.held();
            let mut byte = [0];
            if let Ok(1) = nix::unistd::read(&self.taker, &mut byte) {
                *held += 1;
                return Some(Token { tokens: self, byte: Some(byte[0]) });
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes back a driver's token. With the last one no step runs, and whatever is missing then was taken along by
    /// steps that were killed.
    fn give_back(&self, byte: u8) {
        let mut held = self.held();
        *held -= 1;
        self.put(&[byte]);
        let (0, Some(all)) = (*held, self.all) else { return };
        let mut waiting: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int.
        let asked = unsafe { libc::ioctl(self.read.as_raw_fd(), libc::FIONREAD, &mut waiting) };
        let there = usize::try_from(waiting).unwrap_or(0);
        if asked == 0 && there < all {
            self.put(&vec![b'+'; all - there]);
        }
    }

    fn put(&self, bytes: &[u8]) {
        let _ = nix::unistd::write(&self.write, bytes);
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        use std::sync::atomic::Ordering::SeqCst;
        match self.byte {
            Some(byte) => self.tokens.give_back(byte),
            None => self.tokens.own_slot.store(true, SeqCst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_limited_given_back_and_refilled() {
        let tokens = Tokens::new(2).unwrap();
        let cancel = Cancel::new().unwrap();
        let one = tokens.take(&cancel);
        let two = tokens.take(&cancel);
        assert!(one.is_some() && two.is_some());
        drop(one);
        assert!(tokens.take(&cancel).is_some());
        drop(two);
        // A killed make takes one with it; that comes back with the driver's last.
        let last = tokens.take(&cancel);
        nix::unistd::read(&tokens.read, &mut [0]).unwrap();
        drop(last);
        let again = (tokens.take(&cancel), tokens.take(&cancel));
        assert!(again.0.is_some() && again.1.is_some());
        cancel.cancel();
        assert!(tokens.take(&cancel).is_none());
    }

    #[test]
    fn a_broken_inherited_jobserver_is_told() {
        assert!(Tokens::inherited(" -k").unwrap().is_none());
        assert!(Tokens::inherited("-j --jobserver-auth=987,988").unwrap_err().message.contains("987"));
        assert!(Tokens::inherited("--jobserver-auth=zebra").is_err());
        assert!(Tokens::inherited("--jobserver-auth=fifo:/nowhere/at/all").is_err());
        assert!(Tokens::inherited("--jobserver-auth=-2,-2").unwrap().is_none());
        let file = tempfile::tempfile().unwrap();
        let number = file.as_raw_fd();
        let error = Tokens::inherited(&format!("--jobserver-auth={number},{number}")).unwrap_err();
        assert!(error.message.contains("no pipe"), "{error}");
    }
}
