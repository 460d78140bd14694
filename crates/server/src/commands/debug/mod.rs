//! stub
use std::process::ExitCode;
/// x
#[derive(clap::Args, Debug)]
pub struct Arguments {}
pub fn run(_: &Arguments) -> crate::Result<ExitCode> {
    Err("unsupported".into())
}
