//! Greedy answers and logits against transformers. Goldens and their maker: fixtures/golden/infer.
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use model::{Config, Decoder, Limits, Weights};
use record::Silent;
use serde::Deserialize;

/// The families that are no Llama.
const FAMILIES: [&str; 7] = ["mistral", "qwen2", "qwen3", "smollm3", "phi3", "granite", "gemma3"];

#[derive(Deserialize)]
struct Golden {
    ends: Vec<u32>,
    new: usize,
    #[serde(default)]
    logits: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    /// Lead of the best logit over the second at each step.
    leads: Vec<f64>,
    confidence: f64,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn golden(name: &str) -> Golden {
    let path = root().join("fixtures/golden/infer").join(name);
    let bytes = std::fs::read(&path).expect("a committed golden file");
    serde_json::from_slice(&bytes).expect("golden JSON")
}

fn decoder(folder: &Path, adapter: Option<&Path>) -> Decoder {
    let mut weights = Weights::load(folder, DType::F32, &Device::Cpu).expect("weights");
    if let Some(adapter) = adapter {
        weights.merge_adapter(adapter).expect("an adapter that fits");
    }
    Decoder::new(&Config::load(folder).expect("a configuration"), &weights).expect("a decoder")
}

/// Compares greedy tokens; where the golden's two best logits lie within 1e-4 either may be chosen, and the rest is not compared.
/// Returns how many answers were compared to their end.
fn compare(decoder: &Decoder, golden: &Golden) -> usize {
    let prompts: Vec<_> = golden.cases.iter().map(|case| case.prompt.clone()).collect();
    let limits = Limits { max_new_tokens: golden.new, batch: 32, ends: &golden.ends };
    let answers = decoder.generate(&prompts, limits, &Silent).expect("answers");
    let mut whole = 0;
    for (i, (case, answer)) in golden.cases.iter().zip(&answers).enumerate() {
        let mut right = case.tokens.clone();
        let ends = right.last().is_some_and(|last| golden.ends.contains(last));
        if ends {
            right.pop();
        }
        if answer.tokens == right && answer.ended == ends {
            assert!((answer.confidence - case.confidence).abs() < 1e-3, "prompt {i}: {} {}", answer.confidence, case.confidence);
            whole += 1;
            continue;
        }
        let parted = answer.tokens.iter().zip(&right).take_while(|(a, b)| a == b).count();
        let lead = case.leads[parted.min(case.leads.len() - 1)];
        assert!(lead < 1e-4, "prompt {i} parts at {parted} with a lead of {lead}: {:?}, not {right:?}", answer.tokens);
    }
    whole
}

/// Compares the logits of the first prompt; gives the worst difference, and the largest logit.
fn compare_logits(decoder: &Decoder, golden: &Golden) -> (f32, f32) {
    let found = decoder.logits(&golden.cases[0].prompt).expect("logits");
    assert_eq!(found.len(), golden.logits.len());
    let size = golden.logits.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
    let worst = found.iter().zip(&golden.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-5 * size, "logits differ by {worst} of {size}");
    (worst, size)
}

#[test]
fn a_random_llama_with_every_option_answers_as_transformers_does() {
    let folder = root().join("fixtures/golden/infer/tiny-llama");
    let (decoder, golden) = (decoder(&folder, None), golden("tiny-llama.json"));
    compare_logits(&decoder, &golden);
    assert!(compare(&decoder, &golden) >= golden.cases.len() - 1);
}

/// The other families: the model in `golden/train`, its numbers in `golden/infer`. The first prompt is longer than every window and
/// than what a long rope calls short; answers are read from keys and values that are kept, and cross both.
#[test]
fn every_family_answers_as_transformers_does() {
    for name in FAMILIES {
        let decoder = decoder(&root().join("fixtures/golden/train").join(name), None);
        let golden = golden(&format!("{name}.json"));
        let (worst, size) = compare_logits(&decoder, &golden);
        let whole = compare(&decoder, &golden);
        eprintln!("{name}: logits up to {size:.1} within {worst:.1e}, {whole} of {} answers the same", golden.cases.len());
        assert!(worst < 1e-4 && whole + 1 >= golden.cases.len(), "{name}");
        let lengths = |case: &Case| (case.prompt.len(), case.prompt.len() + case.tokens.len());
        for length in decoder.config().layers.iter().filter_map(|look| look.window).chain(decoder.config().rope_switch()) {
            assert!(length < golden.cases[0].prompt.len());
            assert!(golden.cases.iter().map(lengths).any(|(prompt, all)| prompt <= length && length + 5 < all), "{name}: {length}");
        }
    }
}

#[test]
fn a_merged_peft_adapter_answers_as_peft_does() {
    let folder = root().join("fixtures/golden/infer");
    let (plain, golden) = (decoder(&folder.join("tiny-llama"), None), golden("tiny-llama-lora.json"));
    let adapted = decoder(&folder.join("tiny-llama"), Some(&folder.join("tiny-llama-lora")));
    compare_logits(&adapted, &golden);
    assert!(compare(&adapted, &golden) >= golden.cases.len() - 1);
    let unadapted = plain.logits(&golden.cases[0].prompt).expect("logits");
    assert!(unadapted.iter().zip(&golden.logits).any(|(a, b)| (a - b).abs() > 0.1), "the adapter changes something");
}

/// Model folders that are compared where they are present: their path from the root, and their golden file.
const REAL: [(&str, &str); 2] = [("../shared/data/models/stories260K-hf", "stories260K.json"), ("fixtures/nano", "nano.json")];

#[test]
fn real_models_answer_as_transformers_does() {
    for (folder, name) in REAL {
        let (folder, file) = (root().join(folder), root().join("fixtures/golden/infer").join(name));
        if !folder.join("config.json").exists() || !file.exists() {
            eprintln!("skipped: `{}` or `{}` is absent", folder.display(), file.display());
            continue;
        }
        let golden = golden(name);
        let whole = compare(&decoder(&folder, None), &golden);
        eprintln!("{name}: {whole} of {} answers the same to their end, the others within 1e-4 of a tie", golden.cases.len());
        assert!(whole * 100 >= golden.cases.len() * 95);
    }
}

#[test]
fn answers_do_not_depend_on_neighbours_or_threads() {
    let (decoder, golden) = (decoder(&root().join("fixtures/golden/infer/tiny-llama"), None), golden("tiny-llama.json"));
    let prompts: Vec<_> = golden.cases.iter().map(|case| case.prompt.clone()).collect();
    let limits = Limits { max_new_tokens: 20, batch: 32, ends: &golden.ends };
    let together = decoder.generate(&prompts, limits, &Silent).expect("answers");
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let again = pool.install(|| decoder.generate(&prompts, limits, &Silent)).expect("answers");
        assert_eq!(together, again, "{threads} threads");
    }
    for (prompt, answer) in prompts.iter().zip(&together) {
        let alone = decoder.generate(std::slice::from_ref(prompt), limits, &Silent).expect("an answer");
        assert!(like(&alone[0], answer), "alone: {:?}, together: {answer:?}", alone[0]);
    }
    let mut doubled = [prompts.clone(), prompts.clone()].concat();
    doubled.reverse();
    let mut answers = decoder.generate(&doubled, limits, &Silent).expect("answers");
    answers.reverse();
    assert!(answers.iter().zip([together.clone(), together].concat()).all(|(one, other)| like(one, &other)));
}

/// Prompts that begin alike, several to a thread: windows and ropes over keys and values that sequences share.
#[test]
fn answers_of_every_family_do_not_depend_on_neighbours() {
    for name in FAMILIES {
        let (decoder, golden) = (decoder(&root().join("fixtures/golden/train").join(name), None), golden(&format!("{name}.json")));
        let branch = |case: &Case, i: u32| [&case.prompt[..case.prompt.len() - i.min(2) as usize], &[i + 3, i + 9]].concat();
        let prompts: Vec<_> = golden.cases.iter().flat_map(|case| (0..6).map(move |i| branch(case, i))).collect();
        let limits = Limits { max_new_tokens: 12, batch: 32, ends: &golden.ends };
        let together = decoder.generate(&prompts, limits, &Silent).expect("answers");
        for (prompt, answer) in prompts.iter().zip(&together) {
            let alone = decoder.generate(std::slice::from_ref(prompt), limits, &Silent).expect("an answer");
            assert!(like(&alone[0], answer), "{name}, alone: {:?}, together: {answer:?}", alone[0]);
        }
    }
}

/// The same tokens, and a confidence that differs at most as sums in another order do: how many prompts are decoded
/// side by side changes the shape of the matrix products.
fn like(one: &model::Generation, other: &model::Generation) -> bool {
    one.tokens == other.tokens && one.ended == other.ended && (one.confidence - other.confidence).abs() < 1e-6
}

#[test]
fn limits_end_answers() {
    let decoder = decoder(&root().join("fixtures/golden/infer/tiny-llama"), None);
    let context = decoder.config().max_position_embeddings;
    let run = |prompt: Vec<u32>, max_new_tokens| {
        let limits = Limits { max_new_tokens, batch: 4, ends: &[] };
        decoder.generate(&[prompt], limits, &Silent)
    };
    let long = run(vec![5; context - 3], 10).expect("an answer");
    assert_eq!((long[0].tokens.len(), long[0].ended), (3, false));
    let none = run(vec![5; 4], 0).expect("no answer");
    assert_eq!((none[0].tokens.len(), none[0].confidence), (0, 0.0));
    assert!(run(vec![5, 96], 1).is_err());
    assert!(run(vec![], 1).is_err());
}
