//! The directory of webhook passwords: one file a channel, named by its id, one or two passwords,
//! one a line. That is just how a mounted Kubernetes Secret looks.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use crate::config::Mistake;
use crate::contract::{ChannelId, Channels, Password};
use crate::text;

/// Reads the directory.
///
/// # Errors
/// Every mistake at once. None repeats a password.
pub fn load(directory: &Path) -> Result<Channels, Vec<Mistake>> {
    let names = file_names(directory).map_err(|error| {
        let problem = format!("can't be read: {error}; name the directory of channel files");
        vec![Mistake::of_file(directory, problem)]
    })?;
    let mut channels = Channels::default();
    let mut mistakes = Vec::new();
    for name in names {
        match read_channel(directory, &name) {
            Ok((channel, first, second)) => channels.insert(channel, first, second),
            Err(mut found) => mistakes.append(&mut found),
        }
    }
    if mistakes.is_empty() && channels.is_empty() {
        let problem = "holds no channel; add a file named by the channel's id that holds its \
                       webhook password";
        mistakes.push(Mistake::of_file(directory, problem.to_owned()));
    }
    if mistakes.is_empty() {
        Ok(channels)
    } else {
        Err(mistakes)
    }
}

/// The files' names in order; hidden ones are Kubernetes' own (`..data`) or an editor's.
fn file_names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let entries = fs::read_dir(directory)?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort();
    Ok(names)
}

type Channel = (ChannelId, Password, Option<Password>);

fn read_channel(directory: &Path, name: &OsStr) -> Result<Channel, Vec<Mistake>> {
    let path = directory.join(name);
    let one = |problem: String| vec![Mistake::of_file(&path, problem)];
    let channel = name
        .to_str()
        .ok_or(())
        .and_then(|name| ChannelId::parse(name).map_err(|_| ()));
    let channel = channel.map_err(|()| {
        one("its name is no channel id, which is 1 to 64 letters, digits, '_' or '-'".to_owned())
    })?;
    let bytes = text::read_small(&path).map_err(|error| one(format!("can't be read: {error}")))?;
    if text::is_utf16(&bytes) {
        return Err(one(format!("can't be used: {}", text::UTF_16)));
    }
    let (first, second) = passwords(&path, &bytes)?;
    Ok((channel, first, second))
}

/// One or two passwords, one a line; blank lines do not count, and `#` starts no comment.
fn passwords(path: &Path, text: &[u8]) -> Result<(Password, Option<Password>), Vec<Mistake>> {
    let mut good = Vec::new();
    let mut mistakes = Vec::new();
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        // A header can't hold a carriage return, so one before the line end belongs to it.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match Password::parse(line) {
            Ok(password) => good.push(password),
            Err(invalid) => {
                mistakes.push(Mistake::of_file(
                    path,
                    format!("the password on line {number} {invalid}"),
                ));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let count = good.len();
    let mut good = good.into_iter();
    match (good.next(), good.next(), good.next()) {
        (Some(first), second, None) => Ok((first, second)),
        (None, ..) => Err(vec![Mistake::of_file(
            path,
            "holds no password; write one on a line".to_owned(),
        )]),
        (Some(_), _, Some(_)) => {
            let problem = format!(
                "holds {count} passwords; keep one, or two while you change from one to the other"
            );
            Err(vec![Mistake::of_file(path, problem)])
        }
    }
}

#[cfg(test)]
mod tests;
