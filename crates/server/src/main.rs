//! hikae: the server and its command line.

mod args;
mod cli;
mod edge;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "hikae", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Command::Serve(serve) => serve::run(arguments.connection.data, &serve),
        command => block_on(cli::run(arguments.connection, command)),
    }
}

fn block_on(client: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(client),
        Err(error) => {
            eprintln!("hikae: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
