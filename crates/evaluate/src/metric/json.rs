//! Whether two answers hold the same JSON value, and how many fields they share.
use std::collections::BTreeMap;

use serde_json::Value;

use super::Compared;
use super::fault::{Fault, Found};
use super::matching::matching;
use super::mode::Mode;
use super::schema::Schema;
use super::text::f1;
use super::value::{difference, pointer};
use crate::Rules;

/// Reads an answer as JSON. A fenced block counts only where the logged answers of the task are
/// fenced too: a strict reader would fail on it.
pub(crate) fn parse(text: &str, fenced: bool) -> Option<Value> {
    let text = text.trim();
    let body = if fenced { inside_fence(text).unwrap_or(text) } else { text };
    serde_json::from_str(body).ok()
}

/// The inside of a Markdown code block that is the whole text.
pub(crate) fn inside_fence(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("```")?.strip_suffix("```")?;
    inside.split_once('\n').map(|(_, body)| body)
}

/// Compares two values; field F1 beside.
pub(crate) fn compare(rules: &Rules, schema: &Value, expected: &Value, got: &Value) -> Compared {
    let mut compared = Compared::exactly(difference(rules, expected, got, Schema::of(schema), ""));
    let (logged, given) = (fields(rules, expected), fields(rules, got));
    let shared: usize = logged.iter().map(|(place, values)| shared(rules, schema, place, values, given.get(place))).sum();
    let (all, got_all) = (count(&logged), count(&given));
    compared.beside("field_f1", f1(shared, all, got_all));
    let invented: usize = given.iter().filter(|(place, _)| !logged.contains_key(*place)).map(|(_, values)| values.len()).sum();
    if got_all > 0 {
        compared.beside("invented_fields", invented as f64 / got_all as f64);
    }
    compared
}

/// The answer is no JSON.
pub(crate) fn unreadable() -> Compared {
    let mut compared = Compared::exactly(Some(Found::at(Fault::InvalidJson, "")));
    compared.beside("field_f1", 0.0);
    compared
}

/// A leaf's place: where it lies (array positions kept unless the order is free), and its rule's name.
type Fields<'a> = BTreeMap<(String, String), Vec<&'a Value>>;

fn fields<'a>(rules: &Rules, value: &'a Value) -> Fields<'a> {
    let mut found = Fields::new();
    gather(rules, value, (String::new(), String::new()), &mut found);
    found
}

fn gather<'a>(rules: &Rules, value: &'a Value, (exact, rule): (String, String), found: &mut Fields<'a>) {
    match (value, rules.mode(&rule)) {
        (_, Mode::Ignore) => {}
        (Value::Object(members), _) if !members.is_empty() => {
            members.iter().for_each(|(name, inner)| gather(rules, inner, (pointer(&exact, name), pointer(&rule, name)), found));
        }
        (Value::Array(items), mode) if !items.is_empty() => {
            let free = matches!(mode, Mode::Set);
            for (place, inner) in items.iter().enumerate() {
                let step = if free { "*".to_owned() } else { place.to_string() };
                gather(rules, inner, (format!("{exact}/{step}"), format!("{rule}/*")), found);
            }
        }
        _ => found.entry((exact, rule)).or_default().push(value),
    }
}

fn shared(rules: &Rules, schema: &Value, (_, rule): &(String, String), logged: &[&Value], given: Option<&Vec<&Value>>) -> usize {
    let Some(given) = given else { return 0 };
    let place = rule.split('/').skip(1).fold(Schema::of(schema), |schema, step| {
        if step == "*" { schema.items() } else { schema.property(&step.replace("~1", "/").replace("~0", "~")) }
    });
    let fits = |l: usize, r: usize| difference(rules, logged[l], given[r], place, rule).is_none();
    matching(logged.len(), given.len(), fits).iter().flatten().count()
}

fn count(fields: &Fields<'_>) -> usize {
    fields.values().map(Vec::len).sum()
}

/// Means over labels of the F1 of each label, as scikit-learn's `f1_score(average="macro")`: over all
/// labels that are logged or given.
pub(crate) fn macro_f1(pairs: &[(String, String)]) -> Option<f64> {
    // Of each label: both, logged, given.
    let mut labels: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (expected, got) in pairs {
        labels.entry(expected).or_default()[1] += 1;
        labels.entry(got).or_default()[2] += 1;
        labels.entry(expected).or_default()[0] += usize::from(expected == got);
    }
    let scores = labels.values().map(|[both, logged, given]| f1(*both, *logged, *given));
    (!labels.is_empty()).then(|| scores.sum::<f64>() / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{compare, inside_fence, macro_f1, parse};
    use crate::{Fault, Rules};
    use serde_json::{Value, json};

    fn field_f1(expected: &Value, got: &Value, rules: &Rules) -> (bool, f64) {
        let compared = compare(rules, &json!(null), expected, got);
        (compared.exact, compared.beside.iter().find(|(name, _)| *name == "field_f1").map_or(-1.0, |(_, value)| *value))
    }

    #[test]
    fn fields_are_counted_by_place() {
        let expected = json!({"id": "A", "lines": [{"sku": "x", "n": 1}, {"sku": "y", "n": 2}]});
        let plain = Rules::default();
        assert_eq!(field_f1(&expected, &expected, &plain), (true, 1.0));
        // Five fields logged, five given, four shared.
        let wrong = json!({"id": "A", "lines": [{"sku": "x", "n": 1}, {"sku": "y", "n": 3}]});
        assert_eq!(field_f1(&expected, &wrong, &plain), (false, 0.8));
        let turned = json!({"id": "A", "lines": [{"sku": "y", "n": 2}, {"sku": "x", "n": 1}]});
        assert_eq!(field_f1(&expected, &turned, &plain), (false, 0.2));
        assert_eq!(field_f1(&expected, &turned, &Rules::default().with("/lines", "set".parse().expect("a mode"))), (true, 1.0));
        assert_eq!(field_f1(&json!({}), &json!({}), &plain), (true, 1.0));
    }

    #[test]
    fn fences_count_only_where_the_log_has_them() {
        let text = "```json\n{\"a\": 1}\n```";
        assert_eq!(inside_fence(text), Some("{\"a\": 1}\n"));
        assert_eq!((parse(text, true), parse(text, false)), (Some(json!({"a": 1})), None));
        assert_eq!(super::unreadable().fault, Some(Fault::InvalidJson));
    }

    #[test]
    fn macro_f1_weighs_labels_alike() {
        let pairs: Vec<_> = [("a", "a"), ("a", "a"), ("b", "a"), ("b", "b")].map(|(e, g)| (e.to_owned(), g.to_owned())).to_vec();
        // sklearn: F1(a) = 0.8, F1(b) = 2/3.
        assert!((macro_f1(&pairs).unwrap_or(0.0) - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(macro_f1(&[]), None);
    }
}
