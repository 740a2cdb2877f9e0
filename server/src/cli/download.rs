//! `cairn download`.
//!
//! The value goes to a file beside, `PATH.part`, which takes the name when it is whole and synced:
//! what stands under the name is never half a value.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cairn_sdk::{Cairn, Code, Error, ValueStream};
use clap::Args;
use serde::Serialize;

use super::place::ObjectPlace;
use super::progress::Progress;
use super::{Common, Failed};

/// Write a key's value, of any size, to a file
#[derive(Args)]
pub(super) struct Command {
    /// The key
    #[arg(value_name = "BUCKET/KEY")]
    from: ObjectPlace,
    /// The file; one that is there is replaced
    path: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

#[derive(Serialize)]
struct Downloaded {
    version: u64,
    size: u64,
}

pub(super) async fn run(command: Command) -> Result<(), Failed> {
    check_names_file(&command.path)?;
    let cairn = command.common.place.existing().await?;
    let outcome = download(&cairn, &command).await;
    cairn.close().await?;
    let downloaded = outcome?;
    let mut output = command.common.output();
    let words = format!("{} bytes", downloaded.size);
    output.line(&downloaded, &words)?;
    Ok(output.finish()?)
}

async fn download(cairn: &Cairn, command: &Command) -> Result<Downloaded, Failed> {
    let ObjectPlace { bucket, key } = &command.from;
    let found = cairn.bucket(&**bucket).get_stream(key.clone()).await?;
    let mut value = found.ok_or_else(|| {
        let key = key.escape_ascii();
        Error::new(
            Code::KeyNotFound,
            format!("{bucket:?} holds no key \"{key}\""),
        )
    })?;
    let part = beside(&command.path);
    let refused = |error| Failed::file(&part, &error);
    let file = File::create(&part).map_err(refused)?;
    let written = write(&mut value, &file, &part, command.common.json).await;
    let finished = written.and_then(|()| fs::rename(&part, &command.path).map_err(refused));
    if finished.is_err() {
        // It is of no use, and the next download makes another.
        let _ = fs::remove_file(&part);
    }
    finished.map(|()| Downloaded {
        version: value.version(),
        size: value.size(),
    })
}

/// Refuses a path that a file can not have. Else the file beside it would be the one that is told.
fn check_names_file(path: &Path) -> Result<(), Failed> {
    let ends_in_slash = path.as_os_str().as_bytes().ends_with(b"/");
    if !ends_in_slash && !path.is_dir() {
        return Ok(());
    }
    let path = path.display();
    Err(Failed::invalid(format!(
        "{path}: it is a directory; PATH names the file that the value goes to"
    )))
}

async fn write(
    value: &mut ValueStream,
    mut file: &File,
    path: &Path,
    json: bool,
) -> Result<(), Failed> {
    let refused = |error| Failed::file(path, &error);
    let mut progress = Progress::new("downloaded", json);
    let mut done = 0;
    while let Some(part) = value.next().await? {
        file.write_all(&part).map_err(refused)?;
        done += part.len() as u64;
        progress.at(done, Some(value.size()));
    }
    file.sync_all().map_err(refused)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    name.into()
}
