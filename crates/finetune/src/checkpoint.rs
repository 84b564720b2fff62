//! The whole state of a run as one blob, so that a stopped run goes on bit by bit as if it had not stopped.
//!
//! Random state is not among it: batches are pure functions of seed and step.
use std::collections::{BTreeMap, HashMap};

use candle_core::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::clip::Flat;
use crate::optimizer::{AdamW, flat};
use crate::sink::CHECKPOINT;
use crate::trainer::{Best, Mark, Row, State};
use crate::{Error, Learner};

/// The part of the state that is not tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    identity: String,
    step: u64,
    stale: u32,
    stopped: bool,
    first_validation: Option<f64>,
    best: Option<(u64, Mark, f64)>,
    rows: Vec<Row>,
}

/// Key of the header in the file's metadata.
const HEADER: &str = "state";

/// Writes the state of `learner`'s run.
pub(crate) fn write(identity: &str, learner: &dyn Learner, state: &State) -> Result<Vec<u8>, Error> {
    let mut tensors = state.optimizer.tensors();
    for (name, var) in learner.parameters() {
        tensors.insert(format!("weight.{name}"), flat(var)?);
    }
    for (name, values) in state.best.iter().flat_map(|best| &best.weights) {
        tensors.insert(format!("best.{name}"), values.clone());
    }
    let header = Header {
        identity: identity.to_owned(),
        step: state.step,
        stale: state.stale,
        stopped: state.stopped,
        first_validation: state.first_validation,
        best: state.best.as_ref().map(|best| (best.step, best.mark, best.top)),
        rows: state.rows.clone(),
    };
    let header = serde_json::to_string(&header).expect("plain data always serialises");
    encode(&tensors, HashMap::from([(HEADER.to_owned(), header)]))
}

/// Little-endian bytes of numbers.
pub(crate) fn numbers(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn encode(tensors: &Flat, metadata: HashMap<String, String>) -> Result<Vec<u8>, Error> {
    let bytes: Vec<_> = tensors.iter().map(|(name, values)| (name.as_str(), numbers(values))).collect();
    let views: Vec<_> = bytes
        .iter()
        .map(|(name, bytes)| Ok((*name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
        .collect::<Result<_, Error>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// Takes up a written state: sets the learner's parameters and gives the rest back.
pub(crate) fn read(bytes: &[u8], identity: &str, learner: &dyn Learner, optimizer: AdamW) -> Result<State, Error> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER)).ok_or_else(|| broken("it has no header"))?;
    let header: Header = serde_json::from_str(header).map_err(|cause| broken(&cause.to_string()))?;
    if header.identity != identity {
        return Err(broken("it is of a run with other settings or other data; remove it to start anew"));
    }
    let tensors = SafeTensors::deserialize(bytes)?;
    let mut state = State { step: header.step, stale: header.stale, stopped: header.stopped, rows: header.rows, ..State::new(optimizer) };
    state.first_validation = header.first_validation;
    state.optimizer.restore(header.step, |name| values(&tensors, name))?;
    let mut best = BTreeMap::new();
    for (name, var) in learner.parameters() {
        let saved = values(&tensors, &format!("weight.{name}"))?;
        if saved.len() != var.elem_count() {
            return Err(broken(&format!("parameter `{name}` has {} numbers in it and {} in the model", saved.len(), var.elem_count())));
        }
        var.set(&Tensor::from_vec(saved, var.shape(), var.device())?)?;
        if header.best.is_some() {
            best.insert(name.clone(), values(&tensors, &format!("best.{name}"))?);
        }
    }
    state.best = header.best.map(|(step, mark, top)| Best { step, mark, top, weights: best });
    Ok(state)
}

fn values(tensors: &SafeTensors<'_>, name: &str) -> Result<Vec<f32>, Error> {
    let view = tensors.tensor(name).map_err(|_| broken(&format!("it lacks tensor `{name}`")))?;
    let (quads, _) = view.data().as_chunks::<4>();
    Ok(quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect())
}

fn broken(cause: &str) -> Error {
    Error::Checkpoint { name: CHECKPOINT.to_owned(), cause: cause.to_owned() }
}
