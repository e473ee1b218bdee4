//! Which files count: the one that is named, or directories of definitions in the order in which systemd looks.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{Config, DEFAULT_CONFIG, Definition, Error, MAX_FILE_SIZE, MAX_FILES, Surroundings, TextFile};
use super::{read, read_definitions};
use crate::kernel;
use crate::partition_type::Architecture;

type Result<T> = std::result::Result<T, Error>;

/// Where definitions are looked for, the first of a name counts (repart.d(5)).
pub const SEARCH_PATH: [&str; 4] = ["/etc/repart.d", "/run/repart.d", "/usr/local/lib/repart.d", "/usr/lib/repart.d"];

/// Reads the configuration that is named by a file, by directories of definitions, or both; where nothing is named,
/// what is in the usual places.
pub fn find(file: Option<&Path>, directories: &[PathBuf], architecture: Architecture) -> Result<Config> {
    let read_system = |path: &Path| kernel::read_file(path, MAX_FILE_SIZE);
    let surroundings = Surroundings { architecture, read: &read_system };
    if directories.is_empty() {
        let path = file.unwrap_or(Path::new(DEFAULT_CONFIG));
        return match text_file(path) {
            Ok(file) => read(path, &file.content, architecture),
            Err(reason) if file.is_none() && reason.kind() == io::ErrorKind::NotFound => search(surroundings),
            Err(reason) => Err(unreadable(path, reason)),
        };
    }
    let file = file.map(|path| text_file(path).map_err(|reason| unreadable(path, reason))).transpose()?;
    let config = read_definitions(&definitions(directories, true)?, file.as_ref(), surroundings)?;
    Ok(Config { directories: directories.to_vec(), ..config })
}

/// Reads what is in the usual places for definitions.
fn search(surroundings: Surroundings) -> Result<Config> {
    let definitions = definitions(&SEARCH_PATH.map(PathBuf::from), false)?;
    if definitions.is_empty() {
        return Err(Error::Nothing);
    }
    let has_one = |directory: &&&str| definitions.iter().any(|definition| definition.file.path.starts_with(directory));
    let directories = SEARCH_PATH.iter().filter(has_one).map(PathBuf::from).collect();
    Ok(Config { directories, ..read_definitions(&definitions, None, surroundings)? })
}

/// The definitions of several directories by the names of their files, each with its drop-ins.
fn definitions(directories: &[PathBuf], must_exist: bool) -> Result<Vec<Definition>> {
    let mut count = 0;
    let mut definitions = Vec::new();
    for path in conf_files(directories, must_exist)? {
        let mut drop_in_directory = path.file_name().unwrap_or_default().to_owned();
        drop_in_directory.push(".d");
        let file = counted(path.clone(), &mut count)?;
        // Empty, or a link to /dev/null: nobody wants this definition, nor what others add to it.
        if file.content.is_empty() {
            continue;
        }
        let directories: Vec<_> = directories.iter().map(|directory| directory.join(&drop_in_directory)).collect();
        let mut drop_ins = Vec::new();
        for path in conf_files(&directories, false)? {
            drop_ins.push(counted(path, &mut count)?);
        }
        definitions.push(Definition { file, drop_ins });
    }
    Ok(definitions)
}

/// The `*.conf` files of several directories by their names; where two have the same, that of the first directory.
fn conf_files(directories: &[PathBuf], must_exist: bool) -> Result<Vec<PathBuf>> {
    let mut found: Vec<(OsString, PathBuf)> = Vec::new();
    for directory in directories {
        let names = match kernel::names_in(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => continue,
            Err(reason) => return Err(Error::NoDirectory { path: directory.clone(), reason }),
            Ok(names) => names,
        };
        for name in names {
            // Not what an editor left: it has another ending, or a dot in front.
            let is_conf = name.as_encoded_bytes().ends_with(b".conf") && !name.as_encoded_bytes().starts_with(b".");
            if let (true, Err(at)) = (is_conf, found.binary_search_by(|(other, _)| other.cmp(&name))) {
                found.insert(at, (name.clone(), directory.join(&name)));
            }
        }
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// One more definition or drop-in, where there may be one more.
fn counted(path: PathBuf, count: &mut usize) -> Result<TextFile> {
    *count += 1;
    match *count > MAX_FILES {
        true => Err(Error::TooManyFiles { path }),
        false => text_file(&path).map_err(|reason| Error::UnreadableDefinition { path, reason }),
    }
}

fn text_file(path: &Path) -> io::Result<TextFile> {
    // Whoever opens a pipe that nobody writes to waits for ever, and the boot with it.
    if kernel::is_pipe(path)? {
        return Err(io::Error::other("it is a pipe, no file"));
    }
    Ok(TextFile { path: path.to_owned(), content: kernel::read_file(path, MAX_FILE_SIZE + 1)? })
}

fn unreadable(path: &Path, reason: io::Error) -> Error {
    Error::Unreadable { path: path.to_owned(), reason }
}
