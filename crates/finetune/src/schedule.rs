//! Learning-rate schedules as pure functions of the step, so that a resumed run needs no schedule state.
use serde::{Deserialize, Serialize};

/// How the learning rate moves. Steps count from 1; the first step already learns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Linear warm-up, then half a cosine down to a tenth at the last step.
    Cosine {
        /// Steps of warm-up.
        warmup: u64,
        /// Steps of the run.
        steps: u64,
    },
    /// Linear warm-up, a plateau, then a fall of one minus a root towards zero (arXiv 2405.18392).
    ///
    /// On the plateau nothing depends on the length of the run: stop it anywhere, set `decay_from` to the
    /// step reached and `steps` somewhat later, resume, and the run ends as if it had been planned so.
    WarmupStableDecay {
        /// Steps of warm-up.
        warmup: u64,
        /// Last step of the plateau.
        decay_from: u64,
        /// Last step of the fall.
        steps: u64,
    },
}

/// Where the cosine ends, as a share of the peak.
const FLOOR: f64 = 0.1;

impl Schedule {
    /// The learning rate at `step` as a share of its peak, 0 to 1.
    #[must_use]
    pub fn factor(&self, step: u64) -> f64 {
        match *self {
            Self::Cosine { warmup, .. } | Self::WarmupStableDecay { warmup, .. } if step < warmup => share(step, warmup),
            Self::Cosine { warmup, steps } => {
                let done = share(step.saturating_sub(warmup), steps.saturating_sub(warmup));
                FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Self::WarmupStableDecay { decay_from, steps, .. } => {
                // one beyond the last, so that the last step still learns
                1.0 - share(step.saturating_sub(decay_from), (steps + 1).saturating_sub(decay_from)).sqrt()
            }
        }
    }
}

/// `part / whole`, at most one; a whole of zero is done.
#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { f64::from(u8::from(part > 0)) } else { (part as f64 / whole as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn the_cosine_warms_up_peaks_and_ends_at_a_tenth() {
        let schedule = Schedule::Cosine { warmup: 4, steps: 20 };
        let rates: Vec<f64> = (1..=20).map(|step| schedule.factor(step)).collect();
        assert_eq!(&rates[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!(rates[3..].windows(2).all(|pair| pair[0] > pair[1]), "{rates:?}");
        assert!((rates[19] - 0.1).abs() < 1e-12 && (rates[11] - 0.55).abs() < 1e-12);
        assert_eq!(Schedule::Cosine { warmup: 0, steps: 1 }.factor(1), 0.1);
    }

    #[test]
    fn the_plateau_knows_no_end_and_the_fall_never_stops_learning() {
        let open = Schedule::WarmupStableDecay { warmup: 10, decay_from: u64::MAX - 1, steps: u64::MAX - 1 };
        let closed = Schedule::WarmupStableDecay { warmup: 10, decay_from: 100, steps: 120 };
        assert!((1..=100).all(|step| (open.factor(step) - closed.factor(step)).abs() < f64::EPSILON));
        assert!((100..120).all(|step| closed.factor(step) > closed.factor(step + 1)) && closed.factor(120) > 0.0);
    }
}
