//! The verbs, one a file. Each turns its arguments into a configuration, calls its step and speaks.
mod adapter;
mod approve;
mod assign;
mod bench;
pub mod cluster;
pub mod collect;
mod compact;
mod demo;
pub mod detect;
pub mod evaluate;
mod export;
pub mod finetune;
mod forget;
mod gates;
mod handover;
mod init;
mod iterate;
mod key;
mod manual;
pub mod on_policy;
mod report;
pub mod route;
mod run;
pub mod scrub;
pub mod select;
pub mod serve;
mod show;
mod status;
mod verify;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::config::flags;
use crate::context::Context;

/// Carries out one command line.
///
/// # Errors
/// Whatever the command says.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, global } = cli;
    let plain = |global| Context::new(global, &[]);
    match command {
        Command::Demo => demo::command(global),
        Command::Init => init::command(&plain(global)?),
        Command::Collect(args) => collect::command(&plain(global)?, &args),
        Command::Detect(args) => detect::command(&plain(global)?, &args),
        Command::Scrub(args) => scrub::command(&plain(global)?, &args),
        Command::Cluster(args) => cluster::command(&plain(global)?, args),
        Command::Assign(args) => assign::command(&plain(global)?, &args),
        Command::Select(args) => {
            let context = Context::new(global, &[("", flags(&args.local)?), ("select", flags(&args.flags)?)])?;
            select::command(&context, args.dry)
        }
        Command::Finetune(args) => {
            let seed = seed(args.seed);
            let context = Context::new(
                global,
                &[
                    ("", flags(&args.local)?),
                    ("", flags(&args.machine)?),
                    ("", seed),
                    ("finetune", flags(&args.flags)?),
                    ("on_policy", flags(&args.on_policy)?),
                ],
            )?;
            finetune::command(&context, &args)
        }
        Command::Adapter(args) => adapter::command(&plain(global)?, &args),
        Command::Bench(args) => {
            let context =
                Context::new(global, &[("", flags(&args.local)?), ("", flags(&args.machine)?), ("finetune", flags(&args.flags)?)])?;
            bench::command(&context, &args)
        }
        Command::Evaluate(args) => evaluate::command(&Context::new(global, &[("evaluate", flags(&args.flags)?)])?, &args),
        Command::Iterate(args) => iterate::command(&plain(global)?, &args),
        Command::Route(args) => route::command(&plain(global)?, &args),
        Command::Serve(args) => serve::command(&Context::new(global, &[("serve", flags(&args)?)])?),
        Command::Run(args) => {
            let top = [("", flags(&args.local)?), ("", flags(&args.machine)?), ("", seed(args.seed))];
            let steps = [("select", flags(&args.select)?), ("finetune", flags(&args.finetune)?), ("evaluate", flags(&args.evaluate)?)];
            run::command(&Context::new(global, &[&top[..], &steps].concat())?, &args)
        }
        Command::Status => status::command(&plain(global)?),
        Command::Show(args) => show::command(&plain(global)?, &args),
        Command::Report(args) => report::command(&plain(global)?, &args),
        Command::Verify => verify::command(&plain(global)?),
        Command::Forget(args) => forget::command(&plain(global)?, &args),
        Command::Compact(args) => compact::command(&Context::new(global, &[("store", flags(&args.flags)?)])?, &args),
        Command::Key(args) => key::command(&plain(global)?, &args),
        Command::Approve(args) => approve::command(&plain(global)?, &args),
        Command::Export(args) => export::command(&plain(global)?, &args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::pages(&folder),
        Command::Reference { config_keys } => manual::reference(&plain(global)?, config_keys),
    }
}

fn seed(seed: Option<u64>) -> toml::Table {
    let value = seed.and_then(|seed| i64::try_from(seed).ok());
    value.map(|seed| ("seed".to_owned(), toml::Value::Integer(seed))).into_iter().collect()
}
