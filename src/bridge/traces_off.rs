//! Replaces `traces` in a build without that feature. `Traces` has no values.

use prometheus_client::metrics::counter::Counter;

use super::delivery::{Promised, PublishError};
use super::metrics::ReportAnswer;
use crate::config;
use crate::contract::{Arrival, TraceContext};

#[derive(Clone, Copy, Debug)]
pub enum Destination {
    Events,
    Rejected,
}

#[derive(Debug)]
pub enum Traces {}

#[derive(Debug)]
pub struct RequestSpan;

#[derive(Debug)]
pub struct SendSpan;

impl Traces {
    /// # Errors
    /// Always. The configuration check refuses an endpoint first.
    pub fn start(_: &config::Traces, _: &config::Config, _: Counter) -> anyhow::Result<Self> {
        anyhow::bail!("this build of koobridge does not support traces")
    }

    pub fn finish(&self) {
        match *self {}
    }

    pub fn request(&self, _: &mut Arrival) -> RequestSpan {
        match *self {}
    }

    pub fn send(&self, _: &RequestSpan, _: Destination) -> SendSpan {
        match *self {}
    }
}

impl RequestSpan {
    pub fn end(self, _: u16, _: Option<ReportAnswer>) {}
}

impl SendSpan {
    pub fn context(&self) -> Option<&TraceContext> {
        None
    }

    pub fn end(self, _: Result<&Promised, &PublishError>) {}
}
