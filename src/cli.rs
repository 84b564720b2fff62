//! What can be asked on the command line. Flags that settle how a step works are configuration keys
//! of the same name, merged by `config`.
mod keeping;
mod training;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

pub use crate::flags::{EvaluateFlags, FinetuneFlags, GateFlags, LocalFlags, MachineFlags, OnPolicyFlags, SelectFlags, ServeFlags};
use crate::ui::Format;
pub use keeping::{CompactArgs, ForgetArgs, KeyArgs, KeyCommand, Reader};
pub use training::{
    AdapterArgs, AdapterCommand, BenchArgs, BenchStep, ExportArgs, Exported, FinetuneArgs, ImportArgs, Quantisation, Trainer,
};

/// Moves the tasks of an LLM agent to small language models, with proof.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Settings of every command
    #[command(flatten)]
    pub global: Global,
}

/// Settings of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// The store; artifacts lie in a folder of the same stem beside it
    #[arg(long, global = true, default_value = "slm-migrate.db", env = "SLM_MIGRATE_STORE", value_name = "FILE")]
    pub store: PathBuf,
    /// Folder of the role keys [default: `keys` in the artifact folder]
    #[arg(long, global = true, env = "SLM_MIGRATE_KEYS", value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// The configuration file [default: slm-migrate.toml, if there is one]
    #[arg(long, global = true, env = "SLM_MIGRATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets any configuration key, such as `evaluate.bar=0.97`; beats the file and the environment
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How data is printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// Says nothing but data and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Draws no bars
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Migrates a synthetic agent log with the built-in nano model, in under three minutes
    Demo,
    /// Writes a commented configuration file and the role keys
    Init,
    /// Takes logs into the store (step 1)
    Collect(CollectArgs),
    /// Prints what scrubbing would replace, as JSON lines
    Detect(InputArgs),
    /// Replaces personal data and secrets in the stored calls (step 2)
    Scrub(ScrubArgs),
    /// Finds the tasks in the clean calls (step 3)
    Cluster(DryRun),
    /// Places requests in known tasks from their prompts alone, as JSON lines
    Assign(InputArgs),
    /// Ranks small models for each task (step 4)
    Select(SelectArgs),
    /// Trains an adapter for each task (step 5)
    Finetune(FinetuneArgs),
    /// Takes adapters that were trained elsewhere
    Adapter(AdapterArgs),
    /// Judges small models on held-out conversations
    Evaluate(EvaluateArgs),
    /// Takes new logs, compares with the run before and plans what to do (step 6)
    Iterate(IterateArgs),
    /// Writes the routing table and configuration files of model servers
    Route(RouteArgs),
    /// Passes an agent's calls on to their API and records them: the agent changes its base URL
    Serve(ServeFlags),
    /// All steps, from logs to the report; stopped halfway, the same command goes on
    Run(RunArgs),
    /// Says which steps are done
    Status,
    /// Prints what the store knows
    Show(ShowArgs),
    /// Writes the report of the last run
    Report(ReportArgs),
    /// Recomputes the audit trail, the segments and the artifact manifests
    Verify,
    /// Removes a person's, a conversation's or a client's calls everywhere and keeps them out
    Forget(ForgetArgs),
    /// Drops raw calls that are old enough, merges small segments and gives room back
    Compact(CompactArgs),
    /// Lists, rotates, adds, removes and exports keys
    Key(KeyArgs),
    /// Records who accepted a test set or a promotion
    Approve(ApproveArgs),
    /// Writes a task's dataset or its fine-tune to a folder, and reads the fine-tune back
    Export(ExportArgs),
    /// Measures how fast a step is on this machine
    Bench(BenchArgs),
    /// Prints a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes man pages into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Prints the command line reference as Markdown (docs/cli.md)
    #[command(hide = true)]
    Reference {
        /// Prints the configuration keys with their defaults instead (docs/config.md)
        #[arg(long)]
        config_keys: bool,
    },
}

/// Whether to write.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct DryRun {
    /// Says what would be done, and writes nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `collect`.
#[derive(Debug, Args)]
pub struct CollectArgs {
    /// Files, folders, or `-` for standard input; .gz and .zst are read as they are
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The logs' format, instead of finding out
    #[arg(long, value_name = "NAME")]
    pub input_format: Option<String>,
    /// Fails if a larger share of the rows than this, from 0 to 1, is rejected; what was taken stays
    #[arg(long, value_name = "SHARE")]
    pub max_reject_share: Option<f64>,
    /// Whether to write
    #[command(flatten)]
    pub dry: DryRun,
}

/// A file of JSON lines.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// JSON lines, or `-` for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `scrub`.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// Works as a filter: call records in, scrubbed call records out, nothing stored
    #[arg(long)]
    pub stdin: bool,
    /// Whether to write
    #[command(flatten)]
    pub dry: DryRun,
}

/// Arguments of `select`.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Which models may be chosen
    #[command(flatten)]
    pub flags: SelectFlags,
    /// Models and prices on disk
    #[command(flatten)]
    pub local: LocalFlags,
    /// Whether to write
    #[command(flatten)]
    pub dry: DryRun,
}

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Only this task (id or name); may be repeated
    #[arg(long, value_name = "TASK")]
    pub task: Vec<String>,
    /// Judges this model folder or GGUF file instead of the trained adapters
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Adapter for `--model`: a PEFT folder or a GGUF file
    #[arg(long, value_name = "PATH", requires = "model")]
    pub adapter: Option<PathBuf>,
    /// Judges an OpenAI-compatible server (base URL before `/chat/completions`)
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "predictions"])]
    pub endpoint: Option<String>,
    /// Model name to ask the endpoint for
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub endpoint_model: Option<String>,
    /// Judges a file of predictions (JSON lines: source_id, response)
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub predictions: Option<PathBuf>,
    /// How to judge
    #[command(flatten)]
    pub flags: EvaluateFlags,
    /// Gates for CI
    #[command(flatten)]
    pub gates: GateFlags,
}

/// Arguments of `iterate`.
#[derive(Debug, Args)]
pub struct IterateArgs {
    /// New logs
    #[arg(long = "new", num_args = 1.., value_name = "PATH")]
    pub new: Vec<PathBuf>,
    /// Carries out a plan written before
    #[arg(long, value_name = "PLAN", conflicts_with = "new")]
    pub apply: Option<PathBuf>,
    /// Where to write the plan [default: beside the store's artifacts]
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Gates for CI
    #[command(flatten)]
    pub gates: GateFlags,
}

/// Arguments of `route`.
#[derive(Debug, Args)]
pub struct RouteArgs {
    /// What to write
    #[arg(long, value_enum, value_delimiter = ',', default_value = "table")]
    pub export: Vec<ExportKind>,
    /// Folder to write to [default: print the table]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A server's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportKind {
    /// The routing table as JSON
    Table,
    /// vllm serve --config
    Vllm,
    /// litellm --config
    Litellm,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Files, folders, or `-` for standard input
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The logs' format, instead of finding out
    #[arg(long, value_name = "NAME")]
    pub input_format: Option<String>,
    /// Which models may be chosen
    #[command(flatten)]
    pub select: SelectFlags,
    /// Models and prices on disk
    #[command(flatten)]
    pub local: LocalFlags,
    /// What of this machine may be used
    #[command(flatten)]
    pub machine: MachineFlags,
    /// How to train
    #[command(flatten)]
    pub finetune: FinetuneFlags,
    /// How to judge
    #[command(flatten)]
    pub evaluate: EvaluateFlags,
    /// Seed of the whole run
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Gates for CI
    #[command(flatten)]
    pub gates: GateFlags,
    /// Whether to write
    #[command(flatten)]
    pub dry: DryRun,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// What to show
    #[arg(value_enum)]
    pub what: Shown,
    /// Only this task (id or name)
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// With `tasks`: one line a call, its task
    #[arg(long)]
    pub members: bool,
    /// With `answers`: only where small and large model differ
    #[arg(long)]
    pub divergent: bool,
    /// Rows at most
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    /// Tasks
    Tasks,
    /// Models considered
    Candidates,
    /// Scores of all contenders, with the verdicts
    Scores,
    /// Held-out answers side by side
    Answers,
    /// Rows that could not be taken
    Rejects,
    /// The last plan of `iterate`
    Plan,
    /// Runs
    Runs,
    /// The audit trail
    Trail,
    /// The configuration in force
    Config,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder to write report.html, report.md and report.json to [default: beside the artifacts]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Opens the page in a browser
    #[arg(long)]
    pub open: bool,
}

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The task (id or name)
    #[arg(long, value_name = "TASK")]
    pub task: String,
    /// What is accepted
    #[arg(value_enum)]
    pub what: Approved,
    /// Who accepts it
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// A remark
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub remark: String,
}

/// What can be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approved {
    /// The held-out calls are a fair test
    TestSet,
    /// The small model may take over
    Promotion,
}
