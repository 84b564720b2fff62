//! Placeholder until model delivers its embedder.
use crate::segment;

pub trait Embedder: Sync {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, String>;
    fn dimension(&self) -> usize;
}
#[derive(Clone, Copy, Debug, Default)]
pub struct HashEmbedder;
impl Embedder for HashEmbedder {
    fn dimension(&self) -> usize { 256 }
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, String> {
        Ok(texts.iter().map(|t| {
            let mut v = vec![0.0f32; 256];
            let words: Vec<String> = t.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect();
            let mut add = |s: &str, w: f32| { let h = segment::hash(s.as_bytes()); let (c, g) = crate::leader::column(h, 256); v[c] += g * w; };
            for w in &words { add(w, if w.len() > 3 { 1.0 } else { 0.3 }); }
            for p in words.windows(2) { add(&p.join(" "), 0.5); }
            let n = v.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-9);
            v.iter_mut().for_each(|x| *x /= n);
            v
        }).collect())
    }
}
