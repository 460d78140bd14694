//! `workbench demo FLIGHTS | kill [ROUNDS] [SEED] | isolation | adya [RUNS] [SEED] | flood [SECONDS] | memory [MIB|CASE]…
//! | bench [NAME]`: run by `cargo xtask`.

use std::process::ExitCode;
use std::time::Duration;

use strandline_workbench::network::{flood, hostile};
use strandline_workbench::process::Result;
use strandline_workbench::{adya, isolation, kill};

mod bench;
mod demo;
mod memory;
mod tpch;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["demo", flights] => demo::run(flights.as_ref()).await,
        ["kill", rest @ ..] => {
            let rounds = rest.first().map_or(Ok(100), |text| text.parse())?;
            let seed = rest.get(1).map_or(Ok(rand::random()), |text| text.parse())?;
            kill::run(rounds, seed).await
        }
        ["memory", rest @ ..] => memory::run(rest).await,
        ["isolation"] => isolation::run().await,
        ["adya", rest @ ..] => {
            let runs = rest.first().map_or(Ok(200), |text| text.parse())?;
            let seed = rest.get(1).map_or(Ok(rand::random()), |text| text.parse())?;
            adya::run(runs, seed, adya::TRANSACTIONS).await
        }
        ["flood", rest @ ..] => {
            let seconds = rest.first().map_or(Ok(600), |text| text.parse())?;
            hostile::run(Duration::from_secs(seconds), rand::random()).await?;
            flood::few_files().await?;
            flood::run(flood::Size { storm: Duration::from_secs(seconds), ..flood::LONG }).await
        }
        ["bench", rest @ ..] => bench::run(rest).await,
        _ => {
            let usage = "usage: workbench demo FLIGHTS | kill [ROUNDS] [SEED] | isolation | adya [RUNS] [SEED] \
                         | flood [SECONDS] | memory [MIB|CASE]… | bench [NAME]";
            Err(usage.into())
        }
    }
}
