//! The nano base model: its corpus, its tokenizer, its pre-training and its export. See `docs/base-model.md`.
mod corpus;
mod dice;
mod document;
mod export;
mod family;
mod folder;
mod planted;
mod record;
mod shape;
mod tokenizer;
mod training;
mod values;
mod world;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tokenizers::Tokenizer;

use corpus::Corpus;
use folder::Folder;
use training::{Pace, Recipe};

/// Documents that the tokenizer is learned from.
const TOKENIZER_DOCUMENTS: usize = 20_000;

/// Makes the nano base model. A stopped run goes on where it was.
#[derive(Args)]
pub struct BaseModel {
    /// Folder that the model is written to.
    #[arg(long, default_value = "fixtures/nano")]
    out: PathBuf,
    /// Folder of the run: tokenizer, checkpoint, metrics.
    #[arg(long, default_value = "target/base-model")]
    run: PathBuf,
    /// Seed of corpus and weights.
    #[arg(long, default_value_t = 20_260_214)]
    seed: u64,
    /// Tokens of a step.
    #[arg(long, default_value_t = 8192)]
    batch: usize,
    /// Steps of the run.
    #[arg(long, default_value_t = 2000)]
    steps: u64,
    /// Step from which the learning rate falls.
    #[arg(long, default_value_t = 1700)]
    decay_from: u64,
    /// Peak learning rate.
    #[arg(long, default_value_t = 3e-3)]
    rate: f64,
    /// Layers of the model.
    #[arg(long, default_value_t = 5)]
    layers: usize,
    /// Steps between two checkpoints.
    #[arg(long, default_value_t = 25)]
    stretch: u64,
    /// Stop here, as if interrupted.
    #[arg(long)]
    until: Option<u64>,
    /// Print so many documents of the corpus, and no more.
    #[arg(long)]
    show: Option<usize>,
    /// Print figures of so many documents of the corpus, and no more.
    #[arg(long)]
    figures: Option<usize>,
}

#[expect(clippy::print_stdout, reason = "a chore speaks to the one who runs it")]
impl BaseModel {
    /// Does it.
    pub fn run(self) -> Result<()> {
        let corpus = Corpus::new(self.seed)?;
        if let Some(n) = self.show {
            for sample in corpus.stream(1 << 41, n, 1.0) {
                println!("=== {}\n{}", sample.family, sample.document.text());
            }
            return Ok(());
        }
        let mut folder = Folder::open(&self.run)?;
        let tokenizer = self.tokenizer(&corpus, &folder)?;
        if let Some(n) = self.figures {
            return figures(&corpus, &tokenizer, n);
        }
        let recipe = Recipe {
            seed: self.seed,
            batch: self.batch,
            steps: self.steps,
            decay_from: self.decay_from,
            rate: self.rate,
            layers: self.layers,
            warmup: 40,
            ramp: 200,
        };
        let model = recipe.model()?;
        let parameters: usize = model.parameters().values().map(|var| var.elem_count()).sum();
        println!("{recipe:?}: {parameters} parameters");
        export::write(&Folder::open(&self.out)?, &model, &tokenizer, &recipe.config())?;
        let (mut pace, mut last) = (Pace::start(), 0);
        let end = self.until.unwrap_or(self.steps).min(self.steps);
        while last < end {
            let rows = recipe.train((last / self.stretch + 1) * self.stretch, &model, &corpus, &tokenizer, &mut folder)?;
            let first = if last == 0 { rows.len() as u64 } else { last + 1 };
            println!("{}", pace.line(&rows, first));
            last = rows.last().map_or(end, |row| row.step);
            if last.is_multiple_of(100) || last >= end {
                let losses = training::held_out(&model, &corpus, &tokenizer, 25)?;
                println!("held out: {}", losses.iter().map(|(name, loss)| format!("{name} {loss:.3}")).collect::<Vec<_>>().join(", "));
                export::write(&Folder::open(&self.out)?, &model, &tokenizer, &recipe.config())?;
            }
        }
        Ok(())
    }

    /// The tokenizer of the run, learned if there is none yet.
    fn tokenizer(&self, corpus: &Corpus, folder: &Folder) -> Result<Tokenizer> {
        if let Some(bytes) = folder.get("tokenizer.json")? {
            return Tokenizer::from_bytes(bytes).map_err(anyhow::Error::msg);
        }
        let tokenizer = tokenizer::train(corpus, TOKENIZER_DOCUMENTS)?;
        folder.put("tokenizer.json", tokenizer.to_string(false).map_err(anyhow::Error::msg)?.as_bytes())?;
        Ok(tokenizer)
    }
}

/// Figures of the corpus: documents, tokens and answers by family; how many documents differ.
#[expect(clippy::print_stdout, reason = "a chore speaks to the one who runs it")]
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn figures(corpus: &Corpus, tokenizer: &Tokenizer, n: usize) -> Result<()> {
    let mut families: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for sample in corpus.stream(1 << 41, n, 1.0) {
        let (tokens, answer) = corpus::encode(tokenizer, &sample.document)?;
        let [documents, all, answers, longest] = families.entry(sample.family).or_default();
        *documents += 1;
        *all += tokens.len();
        *answers += answer.iter().filter(|answer| **answer).count();
        *longest = tokens.len().max(*longest);
        seen.insert(sample.document.text());
    }
    println!("family, documents, tokens each, answer tokens each, longest");
    for (family, [documents, all, answers, longest]) in families {
        let each = |count: usize| count as f64 / documents as f64;
        println!("{family}, {documents}, {:.1}, {:.1}, {longest}", each(all), each(answers));
    }
    println!("{} of {n} documents differ", seen.len());
    Ok(())
}
