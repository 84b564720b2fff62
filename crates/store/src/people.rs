//! Whose call it is: every field by which a call record names the person or tenant it was made for.
//!
//! Reads records; knows no key and no table.
use record::Call;
use serde_json::Value;

/// Where a request names its end user.
const REQUEST: [&str; 5] = ["/user", "/safety_identifier", "/metadata/user_id", "/metadata/userId", "/metadata/user"];
/// Tags under which logs name their end user.
const TAGS: [&str; 9] = ["user", "user_id", "userId", "user.id", "end_user", "end_user_id", "enduser.id", "customer_id", "customer"];

/// The persons a call names in its fields: its `client_id`, what its request says of the user, and its tags. Not its text.
pub fn of(call: &Call) -> Vec<String> {
    let request = REQUEST.iter().filter_map(|place| call.request.0.pointer(place));
    let tags = TAGS.iter().filter_map(|name| call.tags.get(*name));
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let mut people: Vec<String> = call.client_id.iter().cloned().chain(request.chain(tags).filter_map(text)).collect();
    people.retain(|name| !name.is_empty());
    people.sort();
    people.dedup();
    people
}

/// Whether `text` holds `name` as a whole word. Rejected rows have no fields to look in, only text.
pub fn names(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    !name.is_empty()
        && text
            .match_indices(name)
            .any(|(at, _)| !text[..at].chars().next_back().is_some_and(word) && !text[at + name.len()..].chars().next().is_some_and(word))
}

#[cfg(test)]
mod tests {
    use super::{names, of};

    #[test]
    fn a_call_names_its_people_in_fields() {
        let call = serde_json::json!({"source_id": "s", "conversation_id": "c", "client_id": "acme", "response": {},
            "request": {"user": "ann", "metadata": {"user_id": 7}, "messages": [{"role": "user", "content": "bob"}]}, "tags": {"userId": "ann"}});
        let call = serde_json::from_value(call).expect("the record has every required field");
        assert_eq!(of(&call), ["7", "acme", "ann"]);
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(names(r#"{"user":"u1"}"#, "u1") && names("ann@x.org wrote", "ann@x.org"));
        assert!(!names("u12", "u1") && !names("menu1", "u1") && !names("u1", ""));
    }
}
