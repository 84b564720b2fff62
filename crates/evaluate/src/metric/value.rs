//! Equality of JSON values under a schema and the rules of a task.
use record::Time;
use serde_json::{Map, Number, Value};

use super::fault::{Fault, Found};
use super::matching::matching;
use super::mode::{Mode, near};
use super::schema::Schema;
use crate::Rules;

/// The first difference between two values, or none. `place` is the JSON pointer of both, array
/// places written `*`, which is how [`Rules`] name them.
pub(crate) fn difference(rules: &Rules, expected: &Value, got: &Value, schema: Schema<'_>, place: &str) -> Option<Found> {
    let mode = rules.mode(place);
    if matches!(mode, Mode::Ignore) {
        return None;
    }
    let found = |fault| Some(Found::at(fault, place));
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => objects(rules, expected, got, schema, place),
        (Value::Array(expected), Value::Array(got)) => arrays(rules, (expected, got), schema, place, matches!(mode, Mode::Set)),
        (Value::String(expected), Value::String(got)) => {
            let same = mode.texts(expected, got) || (schema.is_moment() && same_moment(expected, got));
            if same { None } else { found(Fault::ValueError) }
        }
        (Value::Number(expected), Value::Number(got)) => {
            if schema.is_integer() && got.is_f64() && !expected.is_f64() {
                return found(Fault::TypeError);
            }
            let tolerance = if let Mode::Numeric(tolerance) = mode { *tolerance } else { rules.tolerance };
            if same_number(expected, got, tolerance) { None } else { found(Fault::ValueError) }
        }
        (expected, got) if expected == got => None,
        (Value::Bool(_), Value::Bool(_)) => found(Fault::ValueError),
        (expected, got) if matches!(mode, Mode::Numeric(_) | Mode::Regex(_)) => {
            if mode.texts(&plain(expected), &plain(got)) {
                None
            } else {
                found(Fault::ValueError)
            }
        }
        _ => found(Fault::TypeError),
    }
}

fn objects(rules: &Rules, expected: &Map<String, Value>, got: &Map<String, Value>, schema: Schema<'_>, place: &str) -> Option<Found> {
    for (name, value) in expected {
        let (below, inner) = (pointer(place, name), schema.property(name));
        let fault = match got.get(name) {
            Some(other) => difference(rules, value, other, inner, &below),
            None if stands_for_nothing(rules, value, schema, name, &below) => None,
            None => Some(Found::at(Fault::MissingRequired, &below)),
        };
        if fault.is_some() {
            return fault;
        }
    }
    got.iter().filter(|(name, _)| !expected.contains_key(*name)).find_map(|(name, value)| {
        let below = pointer(place, name);
        (!stands_for_nothing(rules, value, schema, name, &below)).then(|| Found::at(Fault::UnexpectedArg, &below))
    })
}

/// Whether giving `value` says no more than leaving the optional property out: it is the schema's
/// default, or null where there is none.
fn stands_for_nothing(rules: &Rules, value: &Value, schema: Schema<'_>, name: &str, place: &str) -> bool {
    let inner = schema.property(name);
    let optional = !schema.requires(name);
    matches!(rules.mode(place), Mode::Ignore) || (optional && difference(rules, inner.default(), value, inner, place).is_none())
}

fn arrays(rules: &Rules, (expected, got): (&[Value], &[Value]), schema: Schema<'_>, place: &str, unordered: bool) -> Option<Found> {
    let (below, items) = (format!("{place}/*"), schema.items());
    if expected.len() != got.len() {
        return Some(Found::at(Fault::ValueError, place));
    }
    if unordered {
        let fits = |l: usize, r: usize| difference(rules, &expected[l], &got[r], items, &below).is_none();
        let all = matching(expected.len(), got.len(), fits).iter().all(Option::is_some);
        return (!all).then(|| Found::at(Fault::ValueError, place));
    }
    expected.iter().zip(got).find_map(|(expected, got)| difference(rules, expected, got, items, &below))
}

/// The JSON pointer of a property.
pub(crate) fn pointer(place: &str, name: &str) -> String {
    format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn same_number(expected: &Number, got: &Number, tolerance: f64) -> bool {
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (whole(expected), whole(got)) {
        (Some(a), Some(b)) if a == b || tolerance == 0.0 => a == b,
        _ => expected.as_f64().zip(got.as_f64()).is_some_and(|(a, b)| near(a, b, tolerance)),
    }
}

fn same_moment(expected: &str, got: &str) -> bool {
    // A bare number is no date-time, whatever a lenient reader makes of it.
    let read = |text: &str| if text.contains('-') { Time::parse(text) } else { None };
    read(expected).is_some_and(|moment| read(got) == Some(moment))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{Schema, difference};
    use crate::{Fault, Rules};
    use serde_json::{Value, json};

    fn fault(expected: &Value, got: &Value, schema: &Value, rules: &Rules) -> Option<Fault> {
        difference(rules, expected, got, Schema::of(schema), "").map(|found| found.fault)
    }

    fn plain(expected: &Value, got: &Value, schema: &Value) -> Option<Fault> {
        fault(expected, got, schema, &Rules::default())
    }

    #[test]
    fn numbers_follow_the_schema() {
        let number = json!({"properties": {"x": {"type": "number"}}});
        let integer = json!({"properties": {"x": {"type": "integer"}}});
        assert_eq!(plain(&json!({"x": 5}), &json!({"x": 5.0}), &number), None);
        assert_eq!(plain(&json!({"x": 5}), &json!({"x": 5.0}), &integer), Some(Fault::TypeError));
        assert_eq!(plain(&json!({"x": 5}), &json!({"x": 5.5}), &integer), Some(Fault::TypeError));
        assert_eq!(plain(&json!({"x": 5}), &json!({"x": "5"}), &json!(null)), Some(Fault::TypeError));
        assert_eq!(plain(&json!({"x": true}), &json!({"x": 1}), &json!(null)), Some(Fault::TypeError));
        // Identifiers beyond 2^53 must not be compared as floats.
        assert_eq!(plain(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992_u64), &json!(null)), Some(Fault::ValueError));
    }

    #[test]
    fn an_omitted_optional_argument_is_its_default() {
        let schema = json!({"properties": {"unit": {"type": "string", "default": "C"}, "city": {"type": "string"}}, "required": ["city"]});
        let (short, long) = (json!({"city": "Ulm"}), json!({"city": "Ulm", "unit": "C"}));
        assert_eq!(plain(&short, &long, &schema), None);
        assert_eq!(plain(&long, &short, &schema), None);
        assert_eq!(plain(&short, &json!({"city": "Ulm", "unit": "F"}), &schema), Some(Fault::UnexpectedArg));
        assert_eq!(plain(&json!({"city": "Ulm", "unit": "F"}), &short, &schema), Some(Fault::MissingRequired));
        assert_eq!(plain(&short, &json!({}), &schema), Some(Fault::MissingRequired));
        assert_eq!(plain(&short, &json!({"city": "Ulm", "note": null}), &schema), None);
    }

    #[test]
    fn moments_arrays_and_references() {
        let schema = json!({
            "$defs": {"when": {"type": "string", "format": "date-time"}},
            "properties": {"at": {"anyOf": [{"$ref": "#/$defs/when"}, {"type": "null"}]}},
        });
        let (one, two) = (json!({"at": "2026-03-03T19:20:30Z"}), json!({"at": "2026-03-03T20:20:30+01:00"}));
        assert_eq!(plain(&one, &two, &schema), None);
        assert_eq!(plain(&one, &two, &json!(null)), Some(Fault::ValueError));
        let (ab, ba) = (json!({"tags": ["a", "b"]}), json!({"tags": ["b", "a"]}));
        assert_eq!(plain(&ab, &ba, &json!(null)), Some(Fault::ValueError));
        let rules = Rules::default().with("/tags", "set".parse().expect("a mode"));
        assert_eq!(fault(&ab, &ba, &json!(null), &rules), None);
        assert_eq!(fault(&ab, &json!({"tags": ["b", "b"]}), &json!(null), &rules), Some(Fault::ValueError));
    }

    #[test]
    fn modes_reach_nested_places() {
        let rules = Rules::default()
            .with("/lines/*/note", "ignore".parse().expect("a mode"))
            .with("/amount", "numeric:0.1".parse().expect("a mode"));
        let expected = json!({"lines": [{"id": 1, "note": "x"}], "amount": 100});
        assert_eq!(fault(&expected, &json!({"lines": [{"id": 1}], "amount": "101"}), &json!(null), &rules), None);
        assert_eq!(fault(&expected, &json!({"lines": [{"id": 2}], "amount": 101}), &json!(null), &rules), Some(Fault::ValueError));
    }
}
