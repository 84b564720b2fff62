//! First weights with copying planted in them.
//!
//! A small decoder finds induction (look for where the present token stood before, say what followed it) only after
//! many millions of tokens. Here the first layer starts with heads that look one and two tokens back, the next two
//! with heads that look for a match and repeat what follows (Olsson et al. 2022, arXiv 2209.11895). All of it is
//! only a start: every weight is trained on, and everything else begins random.
use anyhow::{Context, Result};
use candle_core::Tensor;
use model::train::TrainModel;

/// Coordinate of the residual stream that is the same for every token, for heads that look at places alone.
const ONE: usize = 0;
/// First coordinates of: a token's own mark, the mark of the token before, of the one before that.
const OWN: usize = 1;
const BACK: [usize; 2] = [33, 65];
/// Embeddings begin so much wider than a deviation of 0.02, and the last norm so much narrower: a step of the optimiser
/// moves every weight as far as the learning rate says, and narrow embeddings would lose what is planted at once.
const WIDE: f32 = 50.0;
/// Coordinates of a mark.
const MARK: usize = 32;
/// Size of a head and of half of it.
const HEAD: usize = 32;
const HALF: usize = HEAD / 2;
/// Attention heads that share one key and value.
const GROUP: usize = 3;
/// How much each of the fastest rotations counts for looking back.
const ROTATIONS: [f32; 6] = [2.0, 1.5, 1.0, 0.7, 0.5, 0.3];
/// Rotations slow enough to leave a match alone over some hundred tokens.
const SLOW: std::ops::Range<usize> = 10..16;
/// Layers that look for a match: the first coordinate of the mark they compare, and of what each group repeats.
const MATCHERS: [(usize, usize, [usize; 2]); 2] = [(1, 0, [97, 129]), (2, 12, [160, 1])];

/// Plants the heads in a fresh model of the shape of `shape.rs`.
pub fn plant(model: &TrainModel) -> Result<()> {
    edit(model, "model.embed_tokens.weight", |row| {
        row.iter_mut().for_each(|value| *value *= WIDE);
        row[ONE] = 7.0;
        row[BACK[0]..BACK[1] + MARK].fill(0.0);
    })?;
    let gain = &model.parameters()["model.norm.weight"];
    gain.set(&gain.affine(0.0, 1.5 / f64::from(WIDE))?)?;
    look_back(model)?;
    for (layer, mark, repeated) in MATCHERS {
        for (group, first) in repeated.into_iter().enumerate() {
            find_match(model, layer, group, mark)?;
            repeat(model, layer, group, first)?;
        }
    }
    Ok(())
}

/// Head 0 of layer 0 looks one back, head 1 two back; both bring the mark of what they see.
fn look_back(model: &TrainModel) -> Result<()> {
    const SCALE: f32 = 0.55;
    let mut keys = Matrix::of(model, 0, "k_proj")?;
    let mut queries = Matrix::of(model, 0, "q_proj")?;
    let mut values = Matrix::of(model, 0, "v_proj")?;
    let mut out = Matrix::of(model, 0, "o_proj")?;
    for (i, weight) in ROTATIONS.into_iter().enumerate() {
        let size = SCALE * weight.sqrt();
        let speed = 10_000_f32.powf(-(i as f32) / HALF as f32);
        keys.add(i, ONE, size);
        for back in 0..2 {
            let angle = speed * (back + 1) as f32;
            queries.add(back * HEAD + i, ONE, size * angle.cos());
            queries.add(back * HEAD + HALF + i, ONE, -size * angle.sin());
        }
    }
    for i in 0..MARK {
        values.add(i, OWN + i, 1.0);
        for (back, place) in BACK.iter().enumerate() {
            out.add(place + i, back * HEAD + i, 1.25);
        }
    }
    [keys, queries, values, out].into_iter().try_for_each(|matrix| matrix.set(model))
}

/// Group 0 compares the present token with the one before each place, group 1 the one before with the one two before.
fn find_match(model: &TrainModel, layer: usize, group: usize, mark: usize) -> Result<()> {
    const SCALE: f32 = 2.4;
    let (asked, known) = if group == 0 { (OWN, BACK[0]) } else { (BACK[0], BACK[1]) };
    let mut keys = Matrix::of(model, layer, "k_proj")?;
    let mut queries = Matrix::of(model, layer, "q_proj")?;
    for (i, place) in SLOW.chain(SLOW.start + HALF..SLOW.end + HALF).enumerate() {
        keys.add(group * HEAD + place, known + mark + i, SCALE);
        for head in 0..GROUP {
            queries.add((group * GROUP + head) * HEAD + place, asked + mark + i, SCALE);
        }
    }
    [keys, queries].into_iter().try_for_each(|matrix| matrix.set(model))
}

/// The heads of a group repeat `HEAD` coordinates of what they look at, from `first` on.
fn repeat(model: &TrainModel, layer: usize, group: usize, first: usize) -> Result<()> {
    let mut values = Matrix::of(model, layer, "v_proj")?;
    let mut out = Matrix::of(model, layer, "o_proj")?;
    for i in 0..HEAD {
        values.add(group * HEAD + i, first + i, 1.0);
        for head in 0..GROUP {
            out.add(first + i, (group * GROUP + head) * HEAD + i, 1.0);
        }
    }
    [values, out].into_iter().try_for_each(|matrix| matrix.set(model))
}

/// A weight matrix on its way from and to the model.
struct Matrix {
    name: String,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn of(model: &TrainModel, layer: usize, part: &str) -> Result<Self> {
        let name = format!("model.layers.{layer}.self_attn.{part}.weight");
        let variable = model.parameters().get(&name).context("the model has no such weight")?;
        let (_, columns) = variable.dims2()?;
        Ok(Self { columns, values: variable.flatten_all()?.to_vec1()?, name })
    }

    fn add(&mut self, row: usize, column: usize, value: f32) {
        self.values[row * self.columns + column] += value;
    }

    fn set(self, model: &TrainModel) -> Result<()> {
        let variable = &model.parameters()[&self.name];
        Ok(variable.set(&Tensor::from_vec(self.values, variable.shape(), variable.device())?)?)
    }
}

/// Changes every row of a matrix.
fn edit(model: &TrainModel, name: &str, change: impl Fn(&mut [f32])) -> Result<()> {
    let variable = model.parameters().get(name).context("the model has no such weight")?;
    let (_, columns) = variable.dims2()?;
    let mut values: Vec<f32> = variable.flatten_all()?.to_vec1()?;
    values.chunks_exact_mut(columns).for_each(change);
    Ok(variable.set(&Tensor::from_vec(values, variable.shape(), variable.device())?)?)
}
