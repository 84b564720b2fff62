//! Validation loss by learning rate, to choose or doubt the default rule. Call records of one task come on stdin:
//!
//! `zstd -dc fixtures/demo.jsonl.zst | grep 'mood of a customer' | cargo run --release -p finetune --example rates -- fixtures/nano 40 16 1e-3 3e-3 1e-2`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a chore for a terminal, over calls that its caller vouches for")]
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device};
use finetune::{Finetune, InMemory, throughput};
use model::train::TrainModel;
use model::{Chat, Config, Weights};
use record::{Call, Clean, Shares, Silent, split};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("the first argument is the folder of a model")?;
    let steps: u64 = arguments.next().ok_or("the second argument is a number of steps")?.parse()?;
    let batch_size: usize = arguments.next().ok_or("the third argument is the answers of a step")?.parse()?;
    let rates = arguments.map(|rate| rate.parse()).collect::<Result<Vec<f64>, _>>()?;
    let folder = Path::new(&folder);
    let (config, chat, weights) = (Config::load(folder)?, Chat::load(folder)?, Weights::load(folder, DType::F32, &Device::Cpu)?);
    let calls = std::io::stdin().lock().lines().map(|line| Ok(Clean::vouch(serde_json::from_str::<Call>(&line?)?)));
    let part = split(calls.collect::<Result<Vec<_>, Box<dyn Error>>>()?, 7, Shares::default()).train;
    let settings = Finetune { max_steps: Some(steps), batch_size, epochs: 1e3, validations_per_run: 4, ..Finetune::default() };
    let examples = settings.examples(&part, &(), &chat, &config)?;
    println!("{} sequences, the rule says {:.1e}", examples.train.len(), settings.peak(&config));
    for rate in rates {
        let settings = Finetune { learning_rate: Some(rate), ..settings.clone() };
        let model = TrainModel::new(&config, weights.clone(), settings.trainable(), settings.seed)?;
        let (begin, plan) = (Instant::now(), settings.plan(&examples, &config, None)?);
        let speed = throughput(&model, &examples.train[..plan.examples], &settings, &mut || begin.elapsed().as_secs_f64())?;
        match settings.train(&model, &examples, &plan, &mut InMemory::default(), &Silent) {
            Ok(run) => println!(
                "{rate:.1e}: training loss {:.4}, validation {:.4} (at first {:.4}), best step {} of {}, {speed:.0} tokens/s, {:.0} s",
                run.train_loss,
                run.validation_loss.unwrap_or(f64::NAN),
                run.first_validation_loss.unwrap_or(f64::NAN),
                run.best_step,
                run.steps,
                begin.elapsed().as_secs_f64()
            ),
            Err(error) => println!("{rate:.1e}: {error}"),
        }
    }
    Ok(())
}
