//! Keys, cookies and addresses that loggers write beside a call. They are taken out of a row before any step sees it, and before a reject
//! keeps it. What was said to a model is not touched: that is for `scrub`.
use serde_json::{Map, Value};

/// Fields that hold a credential or the headers it came in, in lower case, `-` as `_`.
const FIELDS: [&str; 18] = [
    "authorization",
    "proxy_authorization",
    "api_key",
    "apikey",
    "x_api_key",
    "x_goog_api_key",
    "cookie",
    "cookies",
    "set_cookie",
    "headers",
    "extra_headers",
    "request_headers",
    "response_headers",
    "requester_custom_headers",
    "requester_ip_address",
    "aws_secret_access_key",
    "aws_session_token",
    "access_token",
];

/// Objects of a row in which loggers keep such fields.
const PLACES: [&str; 8] =
    ["metadata", "model_parameters", "proxy_server_request", "litellm_params", "request", "extra", "request_properties", "properties"];

/// Takes credentials out of a row; whether there were any.
pub fn strip(row: &mut Map<String, Value>) -> bool {
    let mut found = taken(row);
    for place in PLACES {
        if let Some(Value::Object(inner)) = row.get_mut(place) {
            found |= taken(inner);
            for deeper in ["metadata", "body", "invocation_params", "extra_headers"] {
                if let Some(Value::Object(inner)) = inner.get_mut(deeper) {
                    found |= taken(inner);
                }
            }
        }
    }
    found
}

fn taken(fields: &mut Map<String, Value>) -> bool {
    let before = fields.len();
    fields.retain(|key, _| {
        let key = key.to_lowercase().replace('-', "_");
        !FIELDS.contains(&key.as_str()) && !key.starts_with("user_api_key")
    });
    fields.len() < before
}

#[cfg(test)]
mod tests {
    use super::strip;
    use serde_json::json;

    #[test]
    fn credentials_beside_a_call_go_and_what_was_said_stays() {
        let row = json!({"call_type": "completion", "Headers": {"Authorization": "k"}, "metadata": {"user_api_key_hash": "k", "team": "a"},
            "model_parameters": {"extra_headers": {"x": "k"}, "temperature": 0}, "proxy_server_request": {"headers": {}, "body": {"api_key": "k", "model": "m"}},
            "messages": [{"role": "user", "content": "q", "headers": "said"}]});
        let mut row = row.as_object().expect("an object").clone();
        assert!(strip(&mut row) && !strip(&mut row));
        let expected = json!({"call_type": "completion", "metadata": {"team": "a"}, "model_parameters": {"temperature": 0},
            "proxy_server_request": {"body": {"model": "m"}}, "messages": [{"role": "user", "content": "q", "headers": "said"}]});
        assert_eq!(json!(row), expected);
    }
}
