//! The directory of webhook passwords. Each channel has a file that is named after its id and holds one or two
//! passwords, one per line. A mounted Kubernetes Secret has this form.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use crate::config::ConfigError;
use crate::contract::{ChannelId, Channels, Password};
use crate::text;

/// Reads the directory.
///
/// # Errors
/// All errors at once. They contain no passwords.
pub fn load(directory: &Path) -> Result<Channels, Vec<ConfigError>> {
    let names = file_names(directory).map_err(|error| {
        let problem = text::unreadable(
            &error,
            "set ingress.channels to the directory of the password files",
        );
        vec![ConfigError::of_file(directory, problem)]
    })?;
    let mut channels = Channels::default();
    let mut errors = Vec::new();
    for name in names {
        match read_channel(directory, &name) {
            Ok((channel, first, second)) => channels.insert(channel, first, second),
            Err(mut found) => errors.append(&mut found),
        }
    }
    if errors.is_empty() && channels.is_empty() {
        let problem = "holds no channel; add a file that is named after the channel's id and \
                       holds its webhook password";
        errors.push(ConfigError::of_file(directory, problem.to_owned()));
    }
    if errors.is_empty() {
        Ok(channels)
    } else {
        Err(errors)
    }
}

/// Returns the sorted names of the files, without hidden files, which belong to Kubernetes (`..data`) or to an editor.
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

fn read_channel(directory: &Path, name: &OsStr) -> Result<Channel, Vec<ConfigError>> {
    let path = directory.join(name);
    let one = |problem: String| vec![ConfigError::of_file(&path, problem)];
    let channel = name
        .to_str()
        .ok_or(())
        .and_then(|name| ChannelId::parse(name).map_err(|_| ()));
    let channel = channel.map_err(|()| {
        one(
            "its name is not a channel id, which has 1 to 64 letters, digits, '_' or '-'"
                .to_owned(),
        )
    })?;
    let bytes = text::read_small(&path)
        .map_err(|error| one(text::unreadable(&error, "replace it with a regular file")))?;
    if text::is_utf16(&bytes) {
        return Err(one(format!("can't be used: {}", text::UTF_16)));
    }
    let (first, second) = passwords(&path, &bytes)?;
    Ok((channel, first, second))
}

/// Parses one or two passwords, one per line. Blank lines are ignored, and `#` does not start a comment.
fn passwords(path: &Path, text: &[u8]) -> Result<(Password, Option<Password>), Vec<ConfigError>> {
    let mut good = Vec::new();
    let mut errors = Vec::new();
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        // A header can't contain a carriage return, so it belongs to the line end.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match Password::parse(line) {
            Ok(password) => good.push(password),
            Err(invalid) => {
                errors.push(ConfigError::of_file(
                    path,
                    format!("the password on line {number} {invalid}"),
                ));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let count = good.len();
    let mut good = good.into_iter();
    match (good.next(), good.next(), good.next()) {
        (Some(first), second, None) => Ok((first, second)),
        (None, ..) => Err(vec![ConfigError::of_file(
            path,
            "holds no password; write it on a line".to_owned(),
        )]),
        (Some(_), _, Some(_)) => {
            let problem =
                format!("holds {count} passwords; keep one, or two while you change the password");
            Err(vec![ConfigError::of_file(path, problem)])
        }
    }
}

#[cfg(test)]
mod tests;
