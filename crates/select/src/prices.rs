//! Prices of hosted models: a list that comes along, one's own TOML, or a LiteLLM price map.
//!
//! A price map has traps: a sample row, prices of zero that mean unknown, rows wrong by a factor of 10⁵, and many
//! names for one model. Every answer names the key it matched and how old the list is.
use std::collections::BTreeMap;

use record::Usage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;

/// USD per million tokens above which a price is held to be a mistake …
const ABSURD: f64 = 300.0;
/// … except for these models, which really cost more.
const DEAR: [&str; 1] = ["o1-pro"];

/// What a model's tokens cost, in US dollars per million.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The row that was matched.
    pub key: String,
    /// The list it stands in.
    pub source: String,
    /// Day of the list, if it says.
    pub date: Option<String>,
    /// Prompt tokens.
    pub input: f64,
    /// Answer tokens.
    pub output: f64,
    /// Prompt tokens read from the provider's cache; none where they cost as much as others.
    pub cached: Option<f64>,
}

impl Price {
    /// Cost of a call in US dollars; none where the log counts no tokens.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "token counts")]
    pub fn cost(&self, usage: Usage) -> Option<f64> {
        let (prompt, answer) = (usage.prompt?, usage.completion?);
        let cached = usage.cached.unwrap_or_default().min(prompt);
        let read = (prompt - cached) as f64 * self.input + cached as f64 * self.cached.unwrap_or(self.input);
        Some((read + answer as f64 * self.output) / 1e6)
    }
}

/// Price lists, the one asked first first.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    lists: Vec<List>,
}

#[derive(Clone, Debug)]
struct List {
    /// Rows by full key, lower case.
    rows: BTreeMap<String, Price>,
    /// Full keys by bare name.
    names: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    date: Option<String>,
    source: Option<String>,
    #[serde(default)]
    price: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    model: String,
    input: f64,
    output: f64,
    cached: Option<f64>,
}

impl Prices {
    /// The list that comes with the program: common large models.
    #[must_use]
    pub fn built_in() -> Self {
        Self::from_toml(include_str!("../prices.toml"), "built-in price list")
            .expect("the file that comes along is well formed, which a test holds")
    }

    /// Reads one's own list, in US dollars per million tokens:
    ///
    /// ```
    /// # use select::Prices;
    /// let prices = Prices::from_toml(r#"
    /// date = "2026-01-31"
    /// [[price]]
    /// model = "our-model"
    /// input = 2.5
    /// output = 10
    /// cached = 1.25
    /// "#, "prices.toml")?;
    /// assert_eq!(prices.lookup("our-model").map(|price| price.output), Some(10.0));
    /// # Ok::<(), select::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the text is no such list, or a price is not positive.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, Error> {
        let wrong = |cause: String| Error::Prices { name: name.to_owned(), cause };
        let file: File = toml::from_str(text).map_err(|cause| wrong(cause.to_string()))?;
        let source = file.source.unwrap_or_else(|| name.to_owned());
        let mut rows = BTreeMap::new();
        for row in file.price {
            if !(row.input >= 0.0 && row.output >= 0.0 && row.input.is_finite() && row.output.is_finite()) {
                return Err(wrong(format!("the price of `{}` is no amount of money", row.model)));
            }
            let price = Price {
                key: row.model.clone(),
                source: source.clone(),
                date: file.date.clone(),
                input: row.input,
                output: row.output,
                cached: row.cached,
            };
            rows.insert(row.model.to_lowercase(), price);
        }
        Ok(Self { lists: vec![List::new(rows)] })
    }

    /// Reads a LiteLLM price map (USD per token). Rows without a price, of zero, or absurdly high, are left out: their
    /// price is unknown.
    ///
    /// # Errors
    /// When the text is no JSON object.
    pub fn from_json(text: &str, name: &str) -> Result<Self, Error> {
        let map: BTreeMap<String, Value> =
            serde_json::from_str(text).map_err(|cause| Error::Prices { name: name.to_owned(), cause: cause.to_string() })?;
        let rows = map.iter().filter(|(key, _)| *key != "sample_spec").filter_map(|(key, row)| {
            let money = |field: &str| row.get(field).and_then(Value::as_f64).map(|usd| usd * 1e6).filter(|usd| *usd > 0.0);
            let (input, output) = (money("input_cost_per_token")?, money("output_cost_per_token")?);
            let dear = DEAR.iter().any(|model| bare(key).starts_with(model));
            let price = Price {
                key: key.clone(),
                source: name.to_owned(),
                date: None,
                input,
                output,
                cached: money("cache_read_input_token_cost"),
            };
            (dear || input.max(output) <= ABSURD).then(|| (key.to_lowercase(), price))
        });
        Ok(Self { lists: vec![List::new(rows.collect())] })
    }

    /// Reads either form.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        if text.trim_start().starts_with('{') { Self::from_json(text, name) } else { Self::from_toml(text, name) }
    }

    /// Asks `self` first, then `other`.
    #[must_use]
    pub fn or(mut self, mut other: Self) -> Self {
        self.lists.append(&mut other.lists);
        self
    }

    /// The day of the lists that `self` was read from, where a file carries none.
    #[must_use]
    pub fn dated(mut self, date: &str) -> Self {
        for price in self.lists.iter_mut().flat_map(|list| list.rows.values_mut()) {
            price.date.get_or_insert_with(|| date.to_owned());
        }
        self
    }

    /// The price of a model: its name as logged, then without provider, then without date or version suffix.
    #[must_use]
    pub fn lookup(&self, model: &str) -> Option<&Price> {
        self.lists.iter().find_map(|list| list.lookup(model))
    }
}

impl List {
    fn new(rows: BTreeMap<String, Price>) -> Self {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for key in rows.keys() {
            names.entry(bare(key).to_owned()).or_default().push(key.clone());
        }
        Self { rows, names }
    }

    fn lookup(&self, model: &str) -> Option<&Price> {
        let model = model.trim().to_lowercase();
        if model.is_empty() {
            return None;
        }
        let name = bare(&model);
        let undated = without_date(name);
        let exact = self.rows.get(&model).or_else(|| self.rows.get(name));
        exact
            .or_else(|| self.named(name))
            .or_else(|| self.rows.get(undated))
            .or_else(|| self.named(undated))
            .or_else(|| self.dated_form(undated))
    }

    /// The row of some provider: of several prices the middle one, and the key tells which.
    fn named(&self, name: &str) -> Option<&Price> {
        let mut rows: Vec<&Price> = self.names.get(name)?.iter().filter_map(|key| self.rows.get(key)).collect();
        rows.sort_by(|a, b| (a.input + a.output).total_cmp(&(b.input + b.output)).then_with(|| a.key.cmp(&b.key)));
        rows.get(rows.len().saturating_sub(1) / 2).copied()
    }

    /// A row whose name is this one with a date: the newest.
    fn dated_form(&self, name: &str) -> Option<&Price> {
        let from = self.rows.range(name.to_owned()..).take_while(|(key, _)| key.starts_with(name));
        from.filter(|(key, _)| without_date(key) == name).map(|(_, price)| price).last()
    }
}

/// The name behind provider and region: `azure/eu/gpt-4o` → `gpt-4o`, `us.anthropic.claude-…` → `claude-…`.
fn bare(key: &str) -> &str {
    let name = key.rsplit('/').next().unwrap_or(key);
    const DOTTED: [&str; 8] = ["anthropic.", "amazon.", "meta.", "mistral.", "cohere.", "ai21.", "deepseek.", "openai."];
    DOTTED.iter().find_map(|provider| name.split_once(provider).map(|(_, rest)| rest)).unwrap_or(name)
}

/// Without `-2024-08-06`, `-20250514`, `@20250514`, `-v1:0`, `-latest`, `-preview-05-20`, `-0613` and the like.
fn without_date(name: &str) -> &str {
    let mut name = name;
    if let Some((head, version)) = name.rsplit_once("-v")
        && version.starts_with(|c: char| c.is_ascii_digit())
        && version.contains(':')
    {
        name = head;
    }
    name = name.split('@').next().unwrap_or(name);
    name = name.strip_suffix("-latest").unwrap_or(name);
    let digits = |part: &str, sizes: &[usize]| sizes.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = name.split('-').collect();
    let drop = match parts.as_slice() {
        [_, .., y, m, d] if digits(y, &[4]) && digits(m, &[2]) && digits(d, &[2]) => y.len() + m.len() + d.len() + 3,
        [_, .., date] if digits(date, &[8, 4]) => date.len() + 1,
        _ => 0,
    };
    &name[..name.len() - drop]
}

#[cfg(test)]
mod tests {
    use super::{Prices, bare, without_date};
    use record::Usage;

    const MAP: &str = r#"{
        "sample_spec": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6},
        "gpt-4o": {"input_cost_per_token": 2.5e-6, "output_cost_per_token": 1e-5, "cache_read_input_token_cost": 1.25e-6},
        "gpt-4o-2024-05-13": {"input_cost_per_token": 5e-6, "output_cost_per_token": 1.5e-5},
        "azure/eu/gpt-4o-mini": {"input_cost_per_token": 1.65e-7, "output_cost_per_token": 6.6e-7},
        "claude-haiku-4-5-20251001": {"input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6},
        "free": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
        "wandb/microsoft/Phi-4-mini-instruct": {"input_cost_per_token": 0.008, "output_cost_per_token": 0.035},
        "o1-pro": {"input_cost_per_token": 0.00015, "output_cost_per_token": 0.0006}
    }"#;

    #[test]
    fn names_match_with_and_without_provider_and_date() {
        let prices = Prices::from_json(MAP, "map.json").expect("a price map");
        let key = |model: &str| prices.lookup(model).map(|price| price.key.as_str());
        assert_eq!(key("gpt-4o"), Some("gpt-4o"));
        assert_eq!(key("openai/gpt-4o-2024-11-20"), Some("gpt-4o"));
        assert_eq!(key("gpt-4o-2024-05-13"), Some("gpt-4o-2024-05-13"));
        assert_eq!(key("gpt-4o-mini-2024-07-18"), Some("azure/eu/gpt-4o-mini"));
        assert_eq!(key("us.anthropic.claude-haiku-4-5-20251001-v1:0"), Some("claude-haiku-4-5-20251001"));
        assert_eq!(key("claude-haiku-4-5"), Some("claude-haiku-4-5-20251001"));
        assert_eq!(key("gpt-4o-audio"), None);
        assert_eq!(key(""), None);
    }

    #[test]
    fn rows_that_cannot_be_true_are_unknown() {
        let prices = Prices::from_json(MAP, "map.json").expect("a price map");
        for model in ["sample_spec", "free", "wandb/microsoft/Phi-4-mini-instruct", "microsoft/Phi-4-mini-instruct"] {
            assert_eq!(prices.lookup(model), None, "{model}");
        }
        assert!((prices.lookup("o1-pro").expect("it really costs that").output - 600.0).abs() < 1e-9);
    }

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let prices = Prices::built_in().or(Prices::default());
        let price = prices.lookup("gpt-4o-2024-08-06").expect("a common model");
        let usage = Usage { prompt: Some(1_000_000), completion: Some(100_000), cached: Some(400_000) };
        // 0.6 · 2.5 + 0.4 · 1.25 + 0.1 · 10
        assert!((price.cost(usage).expect("tokens are counted") - 3.0).abs() < 1e-9);
        assert_eq!(price.cost(Usage::default()), None);
        assert_eq!(price.date.as_deref(), Some("2026-11-23"));
    }

    #[test]
    fn one_s_own_list_goes_first_and_must_hold_money() {
        let own = Prices::from_toml("[[price]]\nmodel = \"gpt-4o\"\ninput = 1\noutput = 2\n", "own.toml").expect("a list");
        assert_eq!(own.or(Prices::built_in()).lookup("gpt-4o").map(|p| p.output), Some(2.0));
        assert!(Prices::parse("[[price]]\nmodel = \"x\"\ninput = -1\noutput = 2\n", "own.toml").is_err());
        assert!(Prices::parse("{\"a\": 1", "own.json").is_err());
    }

    #[test]
    fn suffixes_and_providers_fall_off() {
        assert_eq!(bare("eu.anthropic.claude-x"), "claude-x");
        assert_eq!(bare("openrouter/openai/gpt-4o"), "gpt-4o");
        for (name, short) in [
            ("gpt-4-0613", "gpt-4"),
            ("o3-2025-04-16", "o3"),
            ("claude-3-7-sonnet-20250219", "claude-3-7-sonnet"),
            ("a@20250101", "a"),
            ("gpt-4.1", "gpt-4.1"),
        ] {
            assert_eq!(without_date(name), short);
        }
    }
}
