//! Whether two answers call the same tools with the same arguments, in any order.
use record::{Request, ToolCall};
use serde_json::Value;

use super::Compared;
use super::fault::{Fault, Found};
use super::matching::matching;
use super::schema::Schema;
use super::value::{difference, pointer};
use crate::Rules;

/// Compares call lists of which at least one is not empty.
pub(crate) fn compare(rules: &Rules, request: &Request, expected: &[ToolCall], got: &[ToolCall]) -> Compared {
    let found = |l: usize, r: usize| call_difference(rules, request, &expected[l], &got[r]);
    let same = matching(expected.len(), got.len(), |l, r| found(l, r).is_none());
    let matched = same.iter().flatten().count();
    let first = if matched == expected.len() && matched == got.len() { None } else { Some(why(rules, request, expected, got, &same)) };
    let named = matching(expected.len(), got.len(), |l, r| expected[l].name == got[r].name);
    let names = named.iter().flatten().count();
    let mut compared = Compared::exactly(first);
    compared.beside("name_accuracy", share(names, expected.len().max(got.len())));
    // Arguments are counted over the calls that match, then over those that share a name.
    let pairs = same.iter().zip(&named).enumerate().filter_map(|(l, (same, named))| Some((l, (*same).or(*named)?)));
    let (right, all) = pairs.fold((0, 0), |(right, all), (l, r)| {
        let (a, b) = arguments(rules, request, &expected[l], &got[r]);
        (right + a, all + b)
    });
    if all > 0 {
        compared.beside("argument_accuracy", share(right, all));
    }
    compared
}

/// The fault that says most about why two call lists differ.
fn why(rules: &Rules, request: &Request, expected: &[ToolCall], got: &[ToolCall], same: &[Option<usize>]) -> Found {
    match (expected.len(), got.len()) {
        (0, _) => return Found::at(Fault::CallWhenNoneExpected, ""),
        (_, 0) => return Found::at(Fault::NoCallWhenExpected, ""),
        (a, b) if a != b => return Found::at(Fault::WrongCount, ""),
        _ => {}
    }
    let missed = expected.iter().zip(same).filter(|(_, same)| same.is_none()).map(|(call, _)| call);
    let left: Vec<_> = (0..got.len()).filter(|r| !same.contains(&Some(*r))).map(|r| &got[r]).collect();
    for call in missed {
        let namesakes = left.iter().filter(|other| other.name == call.name);
        if let Some(found) = namesakes.filter_map(|other| call_difference(rules, request, call, other)).next() {
            return found;
        }
    }
    Found::at(Fault::WrongName, "")
}

fn call_difference(rules: &Rules, request: &Request, expected: &ToolCall, got: &ToolCall) -> Option<Found> {
    let place = pointer("", &expected.name);
    if expected.name != got.name {
        return Some(Found::at(Fault::WrongName, &place));
    }
    if got.arguments.is_string() && !expected.arguments.is_string() {
        return Some(Found::at(Fault::InvalidJson, &place));
    }
    difference(rules, &expected.arguments, &got.arguments, Schema::of(parameters(request, &expected.name)), &place)
}

/// Top-level arguments that agree, and all that are logged.
fn arguments(rules: &Rules, request: &Request, expected: &ToolCall, got: &ToolCall) -> (usize, usize) {
    let (Some(logged), schema) = (expected.arguments.as_object(), Schema::of(parameters(request, &expected.name))) else { return (0, 0) };
    let place = pointer("", &expected.name);
    let agrees = |(name, value): &(&String, &Value)| {
        let other = got.arguments.get(name.as_str());
        let inner = schema.property(name);
        difference(rules, value, other.unwrap_or_else(|| inner.default()), inner, &pointer(&place, name)).is_none()
    };
    (logged.iter().filter(agrees).count(), logged.len())
}

/// The schema of a tool's arguments as the request states it, or null.
pub(crate) fn parameters<'a>(request: &'a Request, name: &str) -> &'a Value {
    request.tools().find(|tool| tool.name() == name).map_or(&Value::Null, |tool| tool.parameters())
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::compare;
    use crate::{Fault, Rules};
    use record::{Request, ToolCall};
    use serde_json::{Value, json};

    fn calls(list: &[(&str, Value)]) -> Vec<ToolCall> {
        list.iter().map(|(name, arguments)| ToolCall { id: String::new(), name: (*name).into(), arguments: arguments.clone() }).collect()
    }

    fn fault(expected: &[(&str, Value)], got: &[(&str, Value)]) -> Option<Fault> {
        let request = Request(json!({"tools": [{"type": "function", "function": {"name": "get", "parameters": {
            "properties": {"id": {"type": "string"}, "limit": {"type": "integer", "default": 10}}, "required": ["id"]}}}]}));
        compare(&Rules::default(), &request, &calls(expected), &calls(got)).fault
    }

    #[test]
    fn parallel_calls_match_in_any_order_and_by_defaults() {
        let a = || ("get", json!({"id": "a"}));
        let b = || ("get", json!({"id": "b", "limit": 10}));
        assert_eq!(fault(&[a(), b()], &[("get", json!({"id": "b"})), ("get", json!({"id": "a", "limit": 10}))]), None);
        assert_eq!(fault(&[a(), b()], &[a(), a()]), Some(Fault::ValueError));
    }

    #[test]
    fn each_fault_has_its_name() {
        let call = || ("get", json!({"id": "a"}));
        let got = |arguments| fault(&[call()], &[("get", arguments)]);
        assert_eq!(fault(&[call()], &[]), Some(Fault::NoCallWhenExpected));
        assert_eq!(fault(&[], &[call()]), Some(Fault::CallWhenNoneExpected));
        assert_eq!(fault(&[call()], &[call(), call()]), Some(Fault::WrongCount));
        assert_eq!(fault(&[call()], &[("put", json!({"id": "a"}))]), Some(Fault::WrongName));
        assert_eq!(got(json!("{\"id\": ")), Some(Fault::InvalidJson));
        assert_eq!(got(json!({})), Some(Fault::MissingRequired));
        assert_eq!(got(json!({"id": "a", "x": 1})), Some(Fault::UnexpectedArg));
        assert_eq!(got(json!({"id": 1})), Some(Fault::TypeError));
        assert_eq!(got(json!({"id": "b"})), Some(Fault::ValueError));
    }
}
