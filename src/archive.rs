//! Reads archives: a thread decompresses ahead while the caller takes one tar entry after the other.
//! The format is known by the content, never by the name. Knows `error`, nothing of where entries go.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use liblzma::stream::{MtStreamBuilder, Stream as Lzma};

use crate::error::{Error, Kind, Result};

/// Bytes in a chunk that the decoder hands over: fits a core's second-level cache together with its copy.
const CHUNK: usize = 256 * 1024;
/// Bytes in a chunk for each byte of the archive; a chunk of a small archive would else be mostly zeros.
const GROWTH: usize = 16;
/// Chunks that the decoder may be ahead: a folder full of small files takes long to write.
const AHEAD: usize = 16;
/// Memory that a decompressor may take, in bytes; `xz -9` needs 64 MiB, `--long=31` and its like 2 GiB.
const MEMORY: u64 = 3 << 30;
/// How far to read for damage that a checksum will tell, in bytes.
const FAR: u64 = 64 << 20;
/// A block of a tar archive; headers take one, data is padded to whole ones.
const BLOCK: usize = 512;
/// Longest name, link target or extended header that is believed.
const LONGEST_HEADER: u64 = 1 << 20;

/// What the first bytes of an archive say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Gzip.
    Gz,
    /// Bzip2.
    Bz2,
    /// Xz.
    Xz,
    /// Zstandard.
    Zst,
    /// Lzip.
    Lz,
    /// Zip.
    Zip,
    /// None of the others: an uncompressed tar archive, or nothing that can be unpacked.
    Plain,
}

impl Format {
    /// Knows the format by its first bytes.
    pub fn of(start: &[u8]) -> Format {
        match start {
            [0x1f, 0x8b, ..] => Format::Gz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bz2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
            // The second is a frame to be skipped, which parallel compressors put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zst,
            [b'L', b'Z', b'I', b'P', ..] => Format::Lz,
            // The second is a zip archive without entries.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Format::Zip,
            _ => Format::Plain,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Gz => "gzip",
            Format::Bz2 => "bzip2",
            Format::Xz => "xz",
            Format::Zst => "zstd",
            Format::Lz => "lzip",
            Format::Zip => "zip",
            Format::Plain => "tar",
        })
    }
}

/// Whether these first bytes are those of a web page, which servers send in place of what is gone.
pub fn is_web_page(start: &[u8]) -> bool {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    ["<!doctype html", "<html"]
        .iter()
        .any(|mark| text.get(..mark.len()).is_some_and(|head| head.eq_ignore_ascii_case(mark.as_bytes())))
}

/// The error for an archive that cannot be unpacked, with its place.
pub fn refused(archive: &Path, reason: impl fmt::Display) -> Error {
    let file = archive.file_name().unwrap_or(archive.as_os_str());
    Error::new(Kind::Fetch, format!("cannot unpack `{}`: {reason}", Path::new(file).display()))
        .at(format!("archive: {}", archive.display()))
}

/// Decompressed bytes, made by a thread that works ahead.
pub struct Stream {
    archive: PathBuf,
    format: Format,
    chunks: Receiver<io::Result<Vec<u8>>>,
    spare: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    passed: u64,
    ended: bool,
}

impl Stream {
    /// Begins to decompress the file, which stays open until its end or until the stream is dropped.
    pub fn open(archive: &Path, format: Format) -> Result<Stream> {
        let file = fs_err::File::open(archive)?;
        let (give, chunks) = sync_channel(AHEAD);
        let (spare, take) = channel();
        std::thread::Builder::new()
            .name("decompress".to_owned())
            .spawn(move || decompress(file.into_parts().0, &give, &take))?;
        Ok(Stream {
            archive: archive.to_owned(),
            format,
            chunks,
            spare,
            chunk: Vec::new(),
            at: 0,
            passed: 0,
            ended: false,
        })
    }

    /// Bytes that were handed over by the decoder so far.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Bytes that can be had without waiting for more than one chunk; none at the end.
    pub fn fill(&mut self) -> Result<&[u8]> {
        if self.at == self.chunk.len() && !self.ended {
            let next = match self.chunks.recv() {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(self.damaged(&error));
                }
                Err(_) => return Err(Error::new(Kind::Internal, "the decompressing thread has died")),
            };
            // Used again by the decoder, which may have ended.
            let _ = self.spare.send(std::mem::replace(&mut self.chunk, next));
            self.at = 0;
            self.passed += self.chunk.len() as u64;
            self.ended = self.chunk.is_empty();
        }
        Ok(&self.chunk[self.at..])
    }

    /// Takes `count` of the bytes that `fill` has shown.
    pub fn consume(&mut self, count: usize) {
        self.at += count;
    }

    /// Fills `out`, or as much as there is; returns how much that was.
    fn read_up_to(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < out.len() {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&bytes[..count]);
            self.consume(count);
            done += count;
        }
        Ok(done)
    }

    /// Reads on, but not for long, to see whether the decoder finds damage.
    fn damage_ahead(&mut self) -> Option<Error> {
        let far = self.passed + FAR;
        while self.passed < far {
            match self.fill() {
                Ok([]) => return None,
                Ok(bytes) => self.at += bytes.len(),
                Err(error) => return Some(error),
            }
        }
        None
    }

    fn damaged(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => refused(&self.archive, format!("its {} data is damaged ({error})", self.format)),
        }
    }

    /// The error for an archive that ends too early.
    pub fn truncated(&self) -> Error {
        refused(&self.archive, "it is truncated")
    }
}

/// Sends all that `file` holds, decompressed, then an empty chunk; or an error.
fn decompress(file: std::fs::File, give: &SyncSender<io::Result<Vec<u8>>>, take: &Receiver<Vec<u8>>) {
    let last = match members(file, give, take) {
        Ok(true) => Ok(Vec::new()),
        Ok(false) => return,
        Err(error) => Err(error),
    };
    // Nobody listens any more when the archive's end mark came before its last byte.
    let _ = give.send(last);
}

/// Decompresses one member after the other, as parallel compressors and `cat` make them. What follows
/// the last one (padding, signatures) is left alone, as tar does. False: nobody listens.
fn members(
    file: std::fs::File,
    give: &SyncSender<io::Result<Vec<u8>>>,
    take: &Receiver<Vec<u8>>,
) -> io::Result<bool> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(CHUNK);
    let size = length.saturating_mul(GROWTH).clamp(4096, CHUNK);
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut first = true;
    loop {
        let mut start = [0; 6];
        let at = input.stream_position()?;
        let count = input.get_ref().read_at(&mut start, at)?;
        let format = Format::of(&start[..count]);
        if count == 0 || (format == Format::Plain && !first) {
            return Ok(true);
        }
        let listens = match format {
            Format::Gz => {
                let mut decoder = flate2::bufread::GzDecoder::new(&mut input);
                pump(&mut decoder, give, take, size)?
            }
            Format::Bz2 => pump(&mut bzip2::bufread::BzDecoder::new(&mut input), give, take, size)?,
            Format::Xz => pump(&mut lzma_reader(&mut input, xz_decoder()?), give, take, size)?,
            Format::Lz => {
                pump(&mut lzma_reader(&mut input, Lzma::new_lzip_decoder(MEMORY, 0)?), give, take, size)?
            }
            Format::Zst => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut input)?.single_frame();
                decoder.window_log_max(31)?;
                pump(&mut decoder, give, take, size)?
            }
            Format::Zip | Format::Plain => pump(&mut input, give, take, size)?,
        };
        if !listens {
            return Ok(false);
        }
        first = false;
    }
}

/// Decodes the blocks of an xz archive on all cores, when it has several and memory allows it.
fn xz_decoder() -> io::Result<Lzma> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    Ok(MtStreamBuilder::new()
        .threads(cores)
        .memlimit_threading(MEMORY / 2)
        .memlimit_stop(MEMORY)
        .decoder()?)
}

fn lzma_reader<R: BufRead>(input: R, decoder: Lzma) -> liblzma::bufread::XzDecoder<R> {
    liblzma::bufread::XzDecoder::new_stream(input, decoder)
}

/// Sends what a decoder yields in full chunks of this size; what came before an error is sent before it. False: nobody listens.
fn pump(
    decoder: &mut dyn Read,
    give: &SyncSender<io::Result<Vec<u8>>>,
    take: &Receiver<Vec<u8>>,
    size: usize,
) -> io::Result<bool> {
    loop {
        let mut chunk = take.try_recv().unwrap_or_default();
        chunk.resize(size, 0);
        let mut done = 0;
        let end = loop {
            match decoder.read(&mut chunk[done..]) {
                Ok(0) => break Some(Ok(true)),
                Ok(count) => done += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Some(Err(e)),
            }
            if done == size {
                break None;
            }
        };
        chunk.truncate(done);
        if done > 0 && give.send(Ok(chunk)).is_err() {
            return Ok(false);
        }
        if let Some(end) = end {
            return end;
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A file; its pieces are (offset, length) of what is stored, in the order in which it is stored.
    File(Vec<(u64, u64)>),
    /// A folder.
    Folder,
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// Another name of an earlier entry.
    Hardlink(Vec<u8>),
    /// A device, a pipe: whatever no source has.
    Device,
}

/// An entry of an archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name as it stands in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub what: What,
    /// Permission bits.
    pub mode: u32,
    /// When it was changed last: seconds since 1970 and nanoseconds.
    pub modified: (i64, i64),
    /// Length of the file, holes included.
    pub size: u64,
}

/// The entries of a tar archive (old, ustar, GNU, pax; sparse files of every kind), in order.
pub struct Tar {
    stream: Stream,
    /// Bytes up to the next header.
    rest: u64,
    first: bool,
}

/// What extended headers say about the entry that follows them.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<(i64, i64)>,
    sparse: Option<Sparse>,
}

/// GNU's description of a sparse file in pax headers; three versions of it are about.
#[derive(Default)]
struct Sparse {
    map_in_data: bool,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    pieces: Vec<(u64, u64)>,
    offset: u64,
}

impl Tar {
    /// Reads the entries of `stream`.
    pub fn new(stream: Stream) -> Tar {
        Tar { stream, rest: 0, first: true }
    }

    /// The bytes that follow the header of the last entry; take them in the order of its pieces.
    pub fn data(&mut self) -> Result<&[u8]> {
        if self.rest > 0 && self.stream.fill()?.is_empty() {
            return Err(self.stream.truncated());
        }
        let rest = self.rest;
        let bytes = self.stream.fill()?;
        Ok(&bytes[..bytes.len().min(usize::try_from(rest).unwrap_or(usize::MAX))])
    }

    /// Takes `count` of the bytes that `data` has shown.
    pub fn consume(&mut self, count: usize) {
        self.stream.consume(count);
        self.rest -= count as u64;
    }

    /// Goes over some of what follows the end mark; false at the end of the archive.
    pub fn skip_chunk(&mut self) -> Result<bool> {
        let count = self.stream.fill()?.len();
        self.stream.consume(count);
        Ok(count > 0)
    }

    /// Decompressed bytes so far.
    pub fn passed(&self) -> u64 {
        self.stream.passed()
    }

    /// Goes to the next entry, over what is left of the last one. None at the end mark or at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        // Damage shows in the checksums of what is compressed only after it has made a mess of the headers.
        self.read_entry().map_err(|error| self.stream.damage_ahead().unwrap_or(error))
    }

    fn read_entry(&mut self) -> Result<Option<Entry>> {
        let mut extended = Extended::default();
        let mut describing = 0;
        loop {
            self.skip()?;
            let mut header = [0; BLOCK];
            match self.stream.read_up_to(&mut header)? {
                BLOCK => {}
                0 if !self.first => return Ok(None),
                _ if self.first => return Err(self.no_tar(&header)),
                _ => return Err(self.stream.truncated()),
            }
            if header.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            if !checksum_fits(&header) {
                return Err(if self.first {
                    self.no_tar(&header)
                } else {
                    self.damaged("a header's checksum is wrong")
                });
            }
            self.first = false;
            let size =
                number(&header[124..136]).ok_or_else(|| self.damaged("a header's size is no number"))?;
            let kind = header[156];
            // A header that describes the next one is never itself described.
            match kind {
                b'L' | b'K' | b'x' | b'X' | b'g' => {
                    self.set_rest(size)?;
                    if kind == b'g' {
                        continue;
                    }
                    // Several may describe one entry, and what they say adds up.
                    describing += size as u64;
                    if describing > LONGEST_HEADER {
                        return Err(self.damaged("an extended header is longer than 1 MiB"));
                    }
                    let text = self.read_all(size)?;
                    match kind {
                        b'L' => extended.name = Some(until_nul(&text).to_vec()),
                        b'K' => extended.link = Some(until_nul(&text).to_vec()),
                        _ => self.read_pax(&text, &mut extended)?,
                    }
                    continue;
                }
                _ => {}
            }
            if let Some(entry) = self.entry(&header, size, std::mem::take(&mut extended))? {
                return Ok(Some(entry));
            }
            describing = 0;
        }
    }

    /// Makes an entry of its header; none for what stands for nothing in a file system.
    fn entry(&mut self, header: &[u8; BLOCK], size: i64, extended: Extended) -> Result<Option<Entry>> {
        let sparse = extended.sparse;
        let name = sparse.as_ref().and_then(|s| s.name.clone()).or(extended.name);
        let name = name.unwrap_or_else(|| header_name(header));
        let link = extended.link.unwrap_or_else(|| until_nul(&header[157..257]).to_vec());
        let stored = match extended.size {
            Some(size) => size,
            None => u64::try_from(size).map_err(|_| self.damaged("a header's size is negative"))?,
        };
        let modified = extended.modified.unwrap_or_else(|| (number(&header[136..148]).unwrap_or(0), 0));
        let mode = number(&header[100..108]).unwrap_or(0o644) as u32;
        let mut entry = Entry { name, what: What::Folder, mode, modified, size: 0 };
        entry.what = match header[156] {
            // The oldest archives mark a folder by its name alone.
            0 | b'0' if entry.name.ends_with(b"/") => What::Folder,
            0 | b'0' | b'7' => {
                self.set_rest(stored as i64)?;
                let (pieces, length) = match sparse {
                    Some(sparse) => self.pax_pieces(sparse, stored)?,
                    None => (vec![(0, stored)], stored),
                };
                entry.size = length;
                What::File(pieces)
            }
            b'S' => {
                let pieces = self.gnu_pieces(header)?;
                self.set_rest(stored as i64)?;
                entry.size = number(&header[483..495]).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                What::File(pieces)
            }
            // Nothing is stored for a link, whatever its size says.
            b'1' => What::Hardlink(link),
            b'2' => What::Symlink(link),
            b'3' | b'4' | b'6' => What::Device,
            b'5' | b'D' => {
                self.set_rest(stored as i64)?;
                What::Folder
            }
            _ => {
                self.set_rest(stored as i64)?;
                return Ok(None);
            }
        };
        if let What::File(pieces) = &entry.what {
            let mut end = 0;
            for &(offset, length) in pieces {
                let fits = offset >= end;
                end = offset
                    .checked_add(length)
                    .filter(|_| fits)
                    .ok_or_else(|| self.damaged("a sparse file's map is wrong"))?;
            }
            let stored: u64 = pieces.iter().map(|piece| piece.1).sum();
            if end > entry.size || stored > self.rest {
                return Err(self.damaged("a sparse file's map is wrong"));
            }
        }
        Ok(Some(entry))
    }

    /// The map of an old GNU sparse file: four pieces in the header, the rest in blocks of their own.
    fn gnu_pieces(&mut self, header: &[u8; BLOCK]) -> Result<Vec<(u64, u64)>> {
        let mut pieces = Vec::new();
        let mut fields = header[386..482].to_vec();
        let mut more = header[482] != 0;
        loop {
            // Fields that are not used are blank.
            for piece in fields.chunks_exact(24).filter(|piece| piece[0] != 0) {
                let field =
                    |range: std::ops::Range<usize>| number(&piece[range]).and_then(|n| u64::try_from(n).ok());
                let (offset, length) = (field(0..12), field(12..24));
                pieces.push(offset.zip(length).ok_or_else(|| self.damaged("a sparse file's map is wrong"))?);
            }
            if !more {
                return Ok(pieces);
            }
            let mut block = [0; BLOCK];
            if self.stream.read_up_to(&mut block)? < BLOCK {
                return Err(self.stream.truncated());
            }
            if pieces.len() as u64 > LONGEST_HEADER {
                return Err(self.damaged("a sparse file's map is wrong"));
            }
            fields = block[..504].to_vec();
            more = block[504] != 0;
        }
    }

    /// The pieces of a sparse file that pax headers describe, and its length.
    fn pax_pieces(&mut self, sparse: Sparse, stored: u64) -> Result<(Vec<(u64, u64)>, u64)> {
        let mut pieces = sparse.pieces;
        if sparse.map_in_data {
            let mut taken = 0;
            let mut next = |tar: &mut Tar| -> Result<u64> {
                let (start, mut value) = (taken, 0u64);
                loop {
                    let byte = tar.data()?.first().copied().unwrap_or(0);
                    match byte {
                        // No longer than any header, since all of it is kept.
                        _ if taken >= LONGEST_HEADER => {
                            return Err(tar.damaged("a sparse file's map is longer than 1 MiB"));
                        }
                        b'0'..=b'9' => {
                            value = value.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                        }
                        b'\n' if taken > start => {}
                        _ => return Err(tar.damaged("a sparse file's map is wrong")),
                    }
                    tar.consume(1);
                    taken += 1;
                    if byte == b'\n' {
                        return Ok(value);
                    }
                }
            };
            let count = next(self)?;
            for _ in 0..count {
                let offset = next(self)?;
                pieces.push((offset, next(self)?));
            }
            // The map fills whole blocks.
            let mut padding = (BLOCK as u64 - taken % BLOCK as u64) % BLOCK as u64;
            while padding > 0 {
                let count = self.data()?.len().min(padding as usize);
                if count == 0 {
                    return Err(self.damaged("a sparse file's map is wrong"));
                }
                self.consume(count);
                padding -= count as u64;
            }
        }
        Ok((pieces, sparse.size.unwrap_or(stored)))
    }

    /// Reads pax records: `LENGTH KEY=VALUE` and a newline each; values may hold anything.
    fn read_pax(&self, mut text: &[u8], into: &mut Extended) -> Result<()> {
        let wrong = || self.damaged("an extended header is wrong");
        while !text.is_empty() && text[0] != 0 {
            let space = text.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let length: usize = ascii(&text[..space]).ok_or_else(wrong)?;
            let record = text.get(space + 1..length).ok_or_else(wrong)?;
            let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let count = || ascii::<u64>(value).ok_or_else(wrong);
            match key {
                b"path" => into.name = Some(value.to_vec()),
                b"linkpath" => into.link = Some(value.to_vec()),
                b"size" => into.size = Some(count()?),
                b"mtime" => into.modified = Some(pax_time(value).ok_or_else(wrong)?),
                _ => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        let sparse = into.sparse.get_or_insert_default();
                        match key {
                            b"major" => sparse.map_in_data = value == b"1",
                            b"name" => sparse.name = Some(value.to_vec()),
                            b"size" | b"realsize" => sparse.size = Some(count()?),
                            b"offset" => sparse.offset = count()?,
                            b"numbytes" => sparse.pieces.push((sparse.offset, count()?)),
                            b"map" => {
                                let numbers: Option<Vec<u64>> =
                                    value.split(|b| *b == b',').map(ascii).collect();
                                let numbers = numbers.ok_or_else(wrong)?;
                                sparse.pieces =
                                    numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                            }
                            _ => {}
                        }
                    }
                }
            }
            text = &text[length..];
        }
        Ok(())
    }

    /// Notes how much follows a header.
    fn set_rest(&mut self, size: i64) -> Result<()> {
        let size = u64::try_from(size).map_err(|_| self.damaged("a header's size is negative"))?;
        self.rest = size
            .checked_next_multiple_of(BLOCK as u64)
            .ok_or_else(|| self.damaged("a header's size is wrong"))?;
        Ok(())
    }

    /// The whole content of an entry that describes the next one.
    fn read_all(&mut self, size: i64) -> Result<Vec<u8>> {
        let mut text = vec![0; size as usize];
        if self.stream.read_up_to(&mut text)? < text.len() {
            return Err(self.stream.truncated());
        }
        self.rest -= size as u64;
        Ok(text)
    }

    /// Goes over what is left of the last entry.
    fn skip(&mut self) -> Result<()> {
        while self.rest > 0 {
            let count = self.data()?.len();
            self.consume(count);
        }
        Ok(())
    }

    fn damaged(&self, reason: &str) -> Error {
        refused(&self.stream.archive, format!("{reason}: the archive is damaged"))
    }

    fn no_tar(&self, start: &[u8]) -> Error {
        let archive = &self.stream.archive;
        match self.stream.format {
            Format::Plain if is_web_page(start) => refused(archive, "it is a web page, not an archive"),
            Format::Plain => refused(archive, "it is no archive")
                .hint("tar (also compressed with gzip, bzip2, xz, zstd or lzip) and zip can be unpacked"),
            format => refused(archive, format!("its {format} data holds no tar archive")),
        }
    }
}

/// The name in a header; ustar keeps the front of a long one elsewhere, where GNU tar keeps times.
fn header_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let front = until_nul(&header[345..500]);
    if &header[257..263] != b"ustar\0" || front.is_empty() {
        return name.to_vec();
    }
    [front, b"/", name].concat()
}

/// The sum of a header's bytes, with its own field taken as spaces. Old writers added signed bytes.
fn checksum_fits(header: &[u8; BLOCK]) -> bool {
    let others = || header[..148].iter().chain(&header[156..]);
    let unsigned: i64 = others().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = others().map(|byte| i64::from(*byte as i8)).sum();
    number(&header[148..156]).is_some_and(|sum| sum == unsigned + 256 || sum == signed + 256)
}

/// A number of a header: octal digits among spaces and NULs, or big-endian binary when its first bit is set.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let (front, back) = field.split_at(field.len() - 8);
        let sign = if negative { 0xff } else { 0 };
        let front_fits = front
            .iter()
            .enumerate()
            .all(|(i, byte)| if i == 0 { byte | 0x80 == sign | 0x80 } else { *byte == sign });
        let mut bytes: [u8; 8] = back.try_into().ok()?;
        if front.is_empty() {
            // An eight-byte field carries the mark in the number's own first byte.
            bytes[0] = if negative { bytes[0] } else { bytes[0] & 0x7f };
        }
        let value = i64::from_be_bytes(bytes);
        return (front_fits && (value < 0) == negative).then_some(value);
    }
    let digits = field.split(|byte| *byte == 0).next()?.trim_ascii();
    // A blank field counts as zero: old writers leave those of links blank.
    digits.iter().try_fold(0i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds since 1970 with a fraction, possibly negative, as pax writes them.
fn pax_time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let nanos: i64 = format!("{:0<9.9}", fraction).parse().ok()?;
    Some(if text.starts_with('-') && nanos > 0 {
        (seconds - 1, 1_000_000_000 - nanos)
    } else {
        (seconds, nanos)
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

fn ascii<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"0000689\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]), Some((2 << 32) + 1));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0, 0, 0, 0x80, 0, 0, 2, 0, 0, 0, 1]), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
    }

    #[test]
    fn pax_times_have_a_fraction_and_a_sign() {
        assert_eq!(pax_time(b"12"), Some((12, 0)));
        assert_eq!(pax_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(pax_time(b"12.1234567891"), Some((12, 123_456_789)));
        assert_eq!(pax_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(pax_time(b"soon"), None);
    }

    #[test]
    fn a_web_page_is_known_in_any_case() {
        assert!(is_web_page(b"\xef\xbb\xbf \n<!DOCTYPE HTML PUBLIC"));
        assert!(is_web_page(b"<HTML>"));
        assert!(!is_web_page(b"<?xml"));
        assert!(!is_web_page(b""));
    }
}
