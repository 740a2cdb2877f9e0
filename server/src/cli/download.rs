//! `cairn download`.
//!
//! The value goes to a file beside, `PATH.part`, which takes the name when it is whole and synced:
//! what stands under the name is never half a value.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
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
    let cairn = command.common.place.to_read().await?;
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
    let named = |error: io::Error| format!("{}: {error}", part.display());
    let file = File::create(&part).map_err(named)?;
    let written = write(&mut value, &file, command.common.json).await;
    let finished = match written {
        Ok(()) => fs::rename(&part, &command.path).map_err(|error| named(error).into()),
        Err(Failed::Other(error)) => Err(Failed::Other(format!("{}: {error}", part.display()))),
        Err(failed) => Err(failed),
    };
    if finished.is_err() {
        // It is of no use, and the next download makes another.
        let _ = fs::remove_file(&part);
    }
    finished.map(|()| Downloaded {
        version: value.version(),
        size: value.size(),
    })
}

async fn write(value: &mut ValueStream, mut file: &File, json: bool) -> Result<(), Failed> {
    let mut progress = Progress::new("downloaded", json);
    let mut done = 0;
    while let Some(part) = value.next().await? {
        file.write_all(&part).map_err(|error| error.to_string())?;
        done += part.len() as u64;
        progress.at(done, Some(value.size()));
    }
    Ok(file.sync_all().map_err(|error| error.to_string())?)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    name.into()
}
