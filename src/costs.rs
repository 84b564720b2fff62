//! What calls cost: as logged, by a price list, and had a small model answered them.
use anyhow::Context as _;
use evaluate::Costs;
use record::{Call, Clean, Dropped, Parts, Task, Usage};
use select::{Price, Prices};

use crate::context::Context;
use crate::models::Base;

/// The user's price list first, the built-in one after it.
///
/// # Errors
/// When the user's list cannot be read.
pub fn prices(context: &Context) -> anyhow::Result<Prices> {
    let Some(path) = &context.config.prices else { return Ok(Prices::built_in()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the prices `{name}`"))?;
    Ok(Prices::parse(&text, &name)?.or(Prices::built_in()))
}

/// Cost of one call in US dollars: what the log states, else its tokens at the model's price; none
/// where either is unknown.
pub fn of_call(prices: &Prices, call: &Call) -> Option<f64> {
    call.cost_usd.or_else(|| prices.lookup(call.model())?.cost(call.response.usage()))
}

/// Cost of a task before, and had the small model answered all of its calls: the tokens that the log
/// counted, widened by what a small tokenizer needs more, at the price of hosting the model. Of a prompt whose head the model is not
/// shown, what is left counts; a call that does not begin with that head costs what it did.
pub fn of(context: &Context, task: &Task, parts: &Parts, base: Option<&Base>, dropped: Option<&Dropped>) -> Costs {
    let before_usd = (task.cost_usd > 0.0).then_some(task.cost_usd);
    let calls = parts.train.iter().chain(parts.calibration.iter()).chain(parts.held.iter());
    let margin = context.config.select.context_margin;
    let each = base.and_then(|base| {
        let (small, large) = (small_price(context, base).ok()?, prices(context).ok()?);
        let cost = |call: &Clean<Call>| match dropped {
            Some(dropped) if dropped.shared.trim(&call.request).is_none() => of_call(&large, call),
            _ => Some(margin * small.cost(shown(call.response.usage(), dropped))?),
        };
        calls.map(cost).collect::<Option<Vec<f64>>>()
    });
    #[expect(clippy::cast_precision_loss, reason = "numbers of calls in an estimate of cost")]
    let small_usd = each.filter(|each| !each.is_empty()).map(|each| each.iter().sum::<f64>() / each.len() as f64 * task.calls as f64);
    Costs { before_usd, small_usd }
}

/// Tokens of a call whose prompt is shown without its head.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "token counts, rounded")]
fn shown(usage: Usage, dropped: Option<&Dropped>) -> Usage {
    let Some([whole, left]) = dropped.map(|dropped| dropped.prompt_tokens).filter(|[whole, _]| *whole > 0.0) else { return usage };
    // the provider counts the head in tokens of its own: the share of a prompt that is left is taken from the small model's
    let scale = |tokens: u64| (tokens as f64 * left / whole).round() as u64;
    Usage { prompt: usage.prompt.map(scale), cached: usage.cached.map(scale), ..usage }
}

fn small_price(context: &Context, base: &Base) -> anyhow::Result<Price> {
    let config = base.config()?;
    let (hidden, head) = (config.hidden_size as u64, config.head_dim as u64);
    let attention = 2 * hidden * head * (config.num_attention_heads + config.num_key_value_heads) as u64;
    let layer = attention + 3 * hidden * config.intermediate_size as u64;
    let parameters = config.num_hidden_layers as u64 * layer + config.vocab_size as u64 * hidden;
    Ok(context.config.hosting.price(parameters))
}

/// The prices that the models of a log were found under, and that of hosting a small one, in words.
///
/// # Errors
/// When the user's list cannot be read.
pub fn words(context: &Context, models: &[(String, u64)]) -> anyhow::Result<Vec<String>> {
    let prices = prices(context)?;
    let line = |name: &str, price: &Price| {
        let date = price.date.as_deref().map_or_else(String::new, |date| format!(" of {date}"));
        format!(
            "{name}: {:.4} USD per million prompt tokens, {:.4} answer tokens (`{}`, {}{date})",
            price.input, price.output, price.key, price.source
        )
    };
    let mut lines: Vec<String> = models
        .iter()
        .map(|(name, _)| match prices.lookup(name) {
            Some(price) => line(name, price),
            None => format!("{name}: no price known; what the log states is used"),
        })
        .collect();
    for base in Base::all(context)? {
        lines.push(line(&format!("{}, an estimate", base.name), &small_price(context, &base)?));
    }
    Ok(lines)
}
