//! The one GNU make jobserver that spans all packages: a token for each step that runs and each compiler beyond its first.
//! Knows no package.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

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
    /// Held by the driver for running steps.
    held: std::sync::atomic::AtomicUsize,
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
        let tokens = Tokens { read, write, all: Some(all), held: 0.into(), own_slot: false.into() };
        tokens.put(&vec![b'+'; all]);
        Ok(tokens)
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
        Ok(Some(Tokens { read, write, all: None, held: 0.into(), own_slot: true.into() }))
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
            let mut fds = [PollFd::new(self.read.as_fd(), PollFlags::POLLIN)];
            if !matches!(nix::poll::poll(&mut fds, PollTimeout::from(100_u8)), Ok(1..)) {
                continue;
            }
            // Another process may take it between the two calls; then this waits a little in `read`, as make does.
            let mut byte = [0];
            if let Ok(1) = nix::unistd::read(&self.read, &mut byte) {
                self.held.fetch_add(1, SeqCst);
                return Some(Token { tokens: self, byte: Some(byte[0]) });
            }
        }
    }

    /// Puts back what steps that were killed took with them. To be called when no step runs.
    pub fn refill(&self) {
        let Some(all) = self.all else { return };
        let mut waiting: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int.
        let asked = unsafe { libc::ioctl(self.read.as_raw_fd(), libc::FIONREAD, &mut waiting) };
        let there =
            usize::try_from(waiting).unwrap_or(0) + self.held.load(std::sync::atomic::Ordering::SeqCst);
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
            Some(byte) => {
                self.tokens.held.fetch_sub(1, SeqCst);
                self.tokens.put(&[byte]);
            }
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
        // A killed make takes one with it.
        nix::unistd::read(&tokens.read, &mut [0]).unwrap();
        tokens.refill();
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
    }
}
