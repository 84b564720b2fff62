//! Sentence vectors against transformers. Goldens and their maker: fixtures/golden/infer.
use std::path::Path;

use candle_core::Device;
use model::{BertEmbedder, Embedder};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    vector: Vec<f32>,
}

fn close(found: &[f32], right: &[f32], tolerance: f32) {
    assert_eq!(found.len(), right.len());
    let worst = found.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < tolerance, "vectors differ by {worst}");
}

#[test]
fn a_random_bert_embeds_as_transformers_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/infer");
    let bytes = std::fs::read(folder.join("tiny-bert.json")).expect("a committed golden file");
    let cases: Vec<Case> = serde_json::from_slice(&bytes).expect("golden JSON");
    let bert = BertEmbedder::load(&folder.join("tiny-bert"), &Device::Cpu).expect("a committed model");
    let texts: Vec<_> = cases.iter().map(|case| case.text.as_str()).collect();
    let vectors = bert.embed(&texts).expect("vectors");
    for (case, vector) in cases.iter().zip(&vectors) {
        close(vector, &case.vector, 1e-5);
        let alone = bert.embed(&[&case.text]).expect("a vector");
        close(&alone[0], vector, 1e-6);
    }
}

/// all-MiniLM-L6-v2 of sentence-transformers, if a folder with it is named. First values as its model card's example gives them.
#[test]
fn minilm_embeds_as_published() {
    let Some(folder) = option_env!("MINILM_FOLDER") else {
        eprintln!("skipped: MINILM_FOLDER names no folder with all-MiniLM-L6-v2");
        return;
    };
    let bert = BertEmbedder::load(Path::new(folder), &Device::Cpu).expect("a model folder");
    let vectors = bert.embed(&["This is an example sentence", "Each sentence is converted"]).expect("vectors");
    close(&vectors[0][..3], &[0.067_66, 0.063_50, 0.048_71], 1e-4);
    assert_eq!(bert.dimension(), 384);
}
