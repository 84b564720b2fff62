//! What a small model's tokens cost on one's own hardware. An estimate, with every assumption a field.
use serde::{Deserialize, Serialize};

use crate::Price;

/// Decode throughput of Qwen3-8B (8.19 B parameters) in bfloat16 on one H100 at its best batch, tokens a second:
/// ml-energy leaderboard, `lm-arena-chat`.
const MEASURED: (f64, f64) = (8_535.0, 8.19e9);
/// Above this many tokens a second a server is bound by its own overhead and not by the weights it reads.
const CEILING: f64 = 25_000.0;

/// A GPU that serves small models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hosting {
    /// US dollars an hour for the GPU.
    pub gpu_usd_per_hour: f64,
    /// Share of the hour in which it works for these calls: adapters of several tasks share one GPU.
    pub utilisation: f64,
    /// Answer tokens a second over all concurrent prompts; none estimates it from an H100's measured figure, scaled by size.
    pub tokens_per_second: Option<f64>,
    /// How much faster prompt tokens are read than answer tokens are written.
    pub prompt_speedup: f64,
}

impl Default for Hosting {
    fn default() -> Self {
        Self { gpu_usd_per_hour: 2.5, utilisation: 0.3, tokens_per_second: None, prompt_speedup: 5.0 }
    }
}

impl Hosting {
    /// Price of a model of so many parameters, with the assumptions written out.
    ///
    /// USD per million answer tokens is `gpu_usd_per_hour / (3.6 · tokens_per_second · utilisation) · 1000`. There is no
    /// measured figure below eight billion parameters, so anything smaller is extrapolated and says so.
    #[must_use]
    pub fn price(&self, parameters: u64) -> Price {
        let speed = self.speed(parameters);
        let output = self.gpu_usd_per_hour / (3.6 * speed * self.utilisation) * 1000.0;
        let how = if self.tokens_per_second.is_some() { "as configured" } else { "extrapolated from Qwen3-8B on one H100" };
        Price {
            key: "self-hosted".to_owned(),
            source: format!("{:.2} USD/h at {:.0} % use, {speed:.0} tokens/s {how}", self.gpu_usd_per_hour, 100.0 * self.utilisation),
            date: None,
            input: output / self.prompt_speedup,
            output,
            cached: None,
        }
    }

    /// Calls an hour from which one GPU costs less than the hosted price of a call.
    #[must_use]
    pub fn break_even_calls_per_hour(&self, hosted_usd_per_call: f64) -> Option<f64> {
        (hosted_usd_per_call > 0.0).then(|| self.gpu_usd_per_hour / hosted_usd_per_call)
    }

    #[expect(clippy::cast_precision_loss, reason = "a parameter count for an estimate")]
    fn speed(&self, parameters: u64) -> f64 {
        self.tokens_per_second.unwrap_or_else(|| (MEASURED.0 * MEASURED.1 / parameters.max(1) as f64).min(CEILING))
    }
}

#[cfg(test)]
mod tests {
    use super::Hosting;

    #[test]
    fn the_price_follows_the_formula() {
        let hosting = Hosting { gpu_usd_per_hour: 3.6, utilisation: 0.5, tokens_per_second: Some(1000.0), prompt_speedup: 4.0 };
        let price = hosting.price(1);
        assert!((price.output - 2.0).abs() < 1e-12 && (price.input - 0.5).abs() < 1e-12);
        // by hand: 2.5 / (3.6 · 8535 · .3) · 1000
        let estimate = Hosting::default().price(8_190_000_000);
        assert!((estimate.output - 0.2712).abs() < 1e-3, "{}", estimate.output);
        assert_eq!(Hosting::default().break_even_calls_per_hour(0.01), Some(250.0));
        assert_eq!(Hosting::default().break_even_calls_per_hour(0.0), None);
    }
}
