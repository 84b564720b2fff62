//! The fitted tasks, and where a prompt belongs among them.
//!
//! A small value: what each task's prompts share, and how far a prompt may stray from it. Places a call from its
//! prompt alone and never sees an answer.
use model::{Embedder, HashEmbedder};
use record::{Assigner, Assignment, Prompt, TaskId, TaskKind};
use serde::{Deserialize, Serialize};

use crate::action::Key;
use crate::sparse::{self, Sparse};
use crate::summary::PromptView;

/// Name and id of the bucket of calls that belong to no task. They stay with the large model.
pub const UNASSIGNED: &str = "unassigned";
/// Share of the user message's weight in a template: much of what repeats there is chance.
const USER_SHARE: f32 = 0.5;
/// Beyond this distance a prompt has no nearest task.
const FAR: f32 = 0.6;

/// One task with what places a prompt in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// Stable identity, from what the task's calls shared at its birth.
    pub task: TaskId,
    /// Unique name that a person recognises.
    pub name: String,
    /// What its answers are, from the train split.
    pub kind: TaskKind,
    /// The task it was born from, when a prompt changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    /// Agreement of the clustering with itself on half samples (mean Jaccard index) or over seeds (adjusted Rand index).
    pub stability: Option<f64>,
    /// Calls of the train split it was fitted on, over all runs.
    pub train_calls: u64,
    /// What all its requests state beyond text.
    pub key: Key,
    /// The turn it is limited to, where tasks are split by turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
    /// The masked template segments it is known by, longest share first; empty for free text.
    pub template: Vec<String>,
    /// The answer shapes seen and their shares, most frequent first.
    pub answers: Vec<(String, f64)>,
    pub(crate) place: Place,
}

/// Where a task lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// Near a template: segment weights, the greatest share of unknown system text among its calls, the greatest distance.
    Template { segments: Sparse, slack: f32, radius: f32 },
    /// Near a point of the embedding space: centroid, greatest distance, whether its calls have a system text.
    Embedding { centroid: Vec<f32>, radius: f32, system: bool },
}

/// What `cluster` fits: all tasks of a log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// Version of this layout.
    pub schema_version: u32,
    /// Width of the embedding its free-text tasks lie in; 0 where there are none.
    pub(crate) dimension: usize,
    pub(crate) tasks: Vec<Fitted>,
}

impl Tasks {
    /// The tasks, most train calls first.
    #[must_use]
    pub fn describe(&self) -> &[Fitted] {
        &self.tasks
    }

    /// The task of this id or name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Fitted> {
        self.tasks.iter().find(|task| task.task.0 == name || task.name == name)
    }

    /// The bucket a call is counted in: its task where it is near enough, else [`UNASSIGNED`].
    #[must_use]
    pub fn bucket(assignment: &Assignment) -> TaskId {
        assignment.task.clone().filter(|_| assignment.known).unwrap_or_else(|| TaskId(UNASSIGNED.to_owned()))
    }

    /// These tasks with the embedder they were fitted with, where that was not the built-in one.
    #[must_use]
    pub const fn with<'a>(&'a self, embedder: &'a dyn Embedder) -> Placer<'a> {
        Placer { tasks: self, embedder }
    }

    /// Places a prompt that has been cut up already.
    pub(crate) fn place(&self, key: &Key, prompt: &PromptView, embedder: &dyn Embedder) -> Assignment {
        let same: Vec<_> = self.tasks.iter().filter(|t| t.key == *key && t.turn.as_ref().is_none_or(|turn| *turn == prompt.turn)).collect();
        let (near, radius) = nearest(same.iter().copied(), |task| task.template_distance(prompt));
        if let Some((task, distance)) = near.filter(|(_, distance)| *distance <= radius) {
            return known(task, distance);
        }
        if let Some((task, distance)) = self.place_free(&same, prompt, embedder) {
            return known(task, distance);
        }
        // nobody claims it: name the nearest, of any key, for a person and for drift
        let (other, _) = nearest(self.tasks.iter(), |task| task.template_distance(prompt));
        match near.or(other).filter(|(_, distance)| *distance <= FAR) {
            Some((task, distance)) => Assignment { task: Some(task.task.clone()), distance: f64::from(distance), known: false },
            None => Assignment { task: None, distance: 1.0, known: false },
        }
    }

    /// Places a prompt among the free-text tasks of its key.
    fn place_free<'a>(&self, same: &[&'a Fitted], prompt: &PromptView, embedder: &dyn Embedder) -> Option<(&'a Fitted, f32)> {
        let has_system = !prompt.system.is_empty();
        let mut free = same.iter().filter(|t| matches!(t.place, Place::Embedding { system, .. } if system == has_system)).peekable();
        free.peek()?;
        if embedder.dimension() != self.dimension {
            return None;
        }
        let vector = embedder.embed(&[prompt.excerpt.as_str()]).ok()?.pop()?;
        let (near, radius) = nearest(free.copied(), |task| task.embedding_distance(&vector));
        near.filter(|(_, distance)| *distance <= radius)
    }
}

impl Fitted {
    /// Distance of a prompt to the template, and the radius. Unknown system text counts beyond what the task's slots hold.
    fn template_distance(&self, prompt: &PromptView) -> Option<(f32, f32)> {
        let Place::Template { segments, slack, radius } = &self.place else { return None };
        let (vector, strange) = prompt.vector(|hash| segments.binary_search_by_key(&hash, |s| s.0).is_ok());
        let size = (sparse::square(&vector) + (strange - slack).max(0.0)) * sparse::square(segments);
        let cosine = if size > 0.0 { sparse::dot(&vector, segments) / size.sqrt() } else { 0.0 };
        Some(((1.0 - cosine).clamp(0.0, 1.0), *radius))
    }

    fn embedding_distance(&self, vector: &[f32]) -> Option<(f32, f32)> {
        let Place::Embedding { centroid, radius, .. } = &self.place else { return None };
        Some((distance(vector, centroid), *radius))
    }
}

/// One minus the cosine, from 0 to 1.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let size = (dot(a, a) * dot(b, b)).sqrt();
    if size > 0.0 { (1.0 - dot(a, b) / size).clamp(0.0, 1.0) } else { 1.0 }
}

impl PromptView {
    /// The prompt as a vector over the segments that `known` knows, and the squared weight of the system text it does not.
    pub(crate) fn vector(&self, known: impl Fn(u64) -> bool) -> (Sparse, f32) {
        let weigh = |segment: &crate::Segment| (segment.hash, crate::Segment::weight(&segment.text));
        let (mut system, mut strange) = (Sparse::new(), 0.0);
        for (hash, weight) in self.system.iter().map(weigh) {
            if known(hash) {
                system.push((hash, weight));
            } else {
                strange += weight * weight;
            }
        }
        let user = self.user.iter().map(weigh).filter(|(hash, _)| known(*hash)).collect();
        (join(system, user), strange)
    }
}

/// One template vector of the system text's segments and the user message's. The latter never outweigh the former: phrases
/// that many users write must not part prompts of one system text.
pub(crate) fn join(mut system: Sparse, user: Sparse) -> Sparse {
    let (main, beside) = (sparse::square(&system), sparse::square(&user));
    let share = if main > 0.0 && beside > 0.0 { USER_SHARE.min((main / beside).sqrt()) } else { USER_SHARE };
    system.extend(user.into_iter().map(|(hash, weight)| (hash, share * weight)));
    sparse::from_entries(system)
}

fn known(task: &Fitted, distance: f32) -> Assignment {
    Assignment { task: Some(task.task.clone()), distance: f64::from(distance), known: true }
}

/// The task of least distance (the first of equals) and its radius.
fn nearest<'a>(
    tasks: impl Iterator<Item = &'a Fitted>,
    distance: impl Fn(&Fitted) -> Option<(f32, f32)>,
) -> (Option<(&'a Fitted, f32)>, f32) {
    let mut best: (Option<(&Fitted, f32)>, f32) = (None, 0.0);
    for task in tasks {
        if let Some((away, radius)) = distance(task)
            && best.0.is_none_or(|(_, least)| away < least)
        {
            best = (Some((task, away)), radius);
        }
    }
    best
}

impl Assigner for Tasks {
    fn assign(&self, prompt: Prompt<'_>) -> Assignment {
        self.with(&HashEmbedder::default()).assign(prompt)
    }
}

/// Tasks and the embedder that their free-text channel needs.
pub struct Placer<'a> {
    tasks: &'a Tasks,
    embedder: &'a dyn Embedder,
}

impl std::fmt::Debug for Placer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placer").field("tasks", &self.tasks.tasks.len()).finish_non_exhaustive()
    }
}

impl Assigner for Placer<'_> {
    fn assign(&self, prompt: Prompt<'_>) -> Assignment {
        let key = Key::of(prompt.workload_id(), prompt.request());
        self.tasks.place(&key, &PromptView::of(prompt.request()), self.embedder)
    }
}
