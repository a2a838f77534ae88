//! `koobridge health`: asks a running bridge for its health.

use std::process::ExitCode;

use anyhow::anyhow;

use super::Output;
use crate::cli::{Health, Overrides};
use crate::tools::health::{self, Target, Url};

pub(super) fn run(args: &Health) -> anyhow::Result<ExitCode> {
    let (url, note) = match &args.target {
        Some(Target::Url(url)) => (url.clone(), ""),
        Some(Target::Path(path)) => configured_url(args, Some(path))?,
        None => configured_url(args, None)?,
    };
    super::block_on(async {
        let answered = health::ask(&url).await;
        answered.map_err(|why| anyhow!("{url}: {why:#}{note}"))
    })?;
    let mut out = Output::new();
    out.line(format_args!("{url}: the answer is 200"));
    out.end(ExitCode::SUCCESS)
}

/// Returns the URL at the configured address, and a note for the error message if the address may be wrong.
fn configured_url(args: &Health, path: Option<&str>) -> anyhow::Result<(Url, &'static str)> {
    let settings = super::serve::gather(args.config.as_deref(), &Overrides::default());
    let listen = settings.admin_listen()?;
    let note = if settings.is_incomplete() {
        "; also, the configuration can't be read: `koobridge serve --print-config` shows why"
    } else {
        ""
    };
    Ok((Url::at(listen, path), note))
}
