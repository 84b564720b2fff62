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

/// Steps between two checkpoints.
const STRETCH: u64 = 25;
/// Stream of the documents that are shown and counted; no training step has it.
const SHOWN: u64 = 1 << 41;

/// Makes the nano base model. A stopped run goes on where it was.
#[derive(Args)]
pub struct BaseModel {
    /// Folder that the model is written to.
    #[arg(long, default_value = "fixtures/nano")]
    out: PathBuf,
    /// Folder of the run: tokenizer, checkpoint, metrics.
    #[arg(long, default_value = "target/base-model")]
    run: PathBuf,
    /// The same recipe at the size of a test.
    #[arg(long)]
    smoke: bool,
    /// Seed of corpus and weights.
    #[arg(long)]
    seed: Option<u64>,
    /// Steps of the run.
    #[arg(long)]
    steps: Option<u64>,
    /// Step from which the learning rate falls.
    #[arg(long)]
    decay_from: Option<u64>,
    /// Peak learning rate.
    #[arg(long)]
    rate: Option<f64>,
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
        let recipe = self.recipe();
        let corpus = Corpus::new(recipe.seed)?;
        if let Some(n) = self.show {
            for sample in corpus.stream(SHOWN, n, 1.0) {
                println!("=== {}\n{}", sample.family, sample.document.text());
            }
            return Ok(());
        }
        let mut folder = Folder::open(&self.run)?;
        let tokenizer = tokenizer(&corpus, &folder, recipe.documents)?;
        match self.figures {
            Some(n) => figures(&corpus, &tokenizer, n),
            None => self.train(&recipe, &corpus, &tokenizer, &mut folder),
        }
    }

    fn recipe(&self) -> Recipe {
        let base = if self.smoke { Recipe::SMOKE } else { Recipe::NANO };
        Recipe {
            seed: self.seed.unwrap_or(base.seed),
            steps: self.steps.unwrap_or(base.steps),
            decay_from: self.decay_from.unwrap_or(base.decay_from),
            rate: self.rate.unwrap_or(base.rate),
            ..base
        }
    }

    /// Trains in stretches; between them the checkpoint is on disk, and now and then the model is looked at and written.
    fn train(&self, recipe: &Recipe, corpus: &Corpus, tokenizer: &Tokenizer, folder: &mut Folder) -> Result<()> {
        let model = recipe.model()?;
        let parameters: usize = model.parameters().values().map(|var| var.elem_count()).sum();
        println!("{recipe:?}: {parameters} parameters");
        let out = Folder::open(&self.out)?;
        let end = self.until.unwrap_or(recipe.steps).min(recipe.steps);
        let (mut pace, mut last) = (Pace::start(), None);
        while last.is_none_or(|last| last < end) {
            let until = last.map_or(1, |last| (last / STRETCH + 1) * STRETCH);
            let rows = recipe.train(until.min(end), &model, corpus, tokenizer, folder)?;
            println!("{}", pace.line(&rows, last.map_or(rows.len() as u64, |last| last + 1)));
            let step = rows.last().map_or(end, |row| row.step);
            last = Some(step);
            if step.is_multiple_of(4 * STRETCH) || step >= end {
                let losses = training::held_out(&model, corpus, tokenizer, 25)?;
                println!("held out: {}", losses.iter().map(|(name, loss)| format!("{name} {loss:.3}")).collect::<Vec<_>>().join(", "));
                export::write(&out, &model, tokenizer, &recipe.config())?;
                out.put("loss.csv", training::curve(&rows).as_bytes())?;
            }
        }
        Ok(())
    }
}

/// The tokenizer of the run, learned if there is none yet.
fn tokenizer(corpus: &Corpus, folder: &Folder, documents: usize) -> Result<Tokenizer> {
    if let Some(bytes) = folder.get("tokenizer.json")? {
        return Tokenizer::from_bytes(bytes).map_err(anyhow::Error::msg);
    }
    let tokenizer = tokenizer::train(corpus, documents)?;
    folder.put("tokenizer.json", tokenizer.to_string(false).map_err(anyhow::Error::msg)?.as_bytes())?;
    Ok(tokenizer)
}

/// Figures of the corpus: documents, tokens and answers by family; how many documents differ.
#[expect(clippy::print_stdout, reason = "a chore speaks to the one who runs it")]
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn figures(corpus: &Corpus, tokenizer: &Tokenizer, n: usize) -> Result<()> {
    let mut families: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for sample in corpus.stream(SHOWN, n, 1.0) {
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
