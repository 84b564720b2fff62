//! Which requests are recorded: calls of the APIs that `collect` reads, less those that a rule excludes.
use hyper::http::HeaderName;
use hyper::{HeaderMap, Method};

use crate::ProxyError;

/// What is not recorded although it is a call: traffic of people, say.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    headers: Vec<(HeaderName, Option<String>)>,
    paths: Vec<String>,
}

/// What a request is to the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Call,
    /// A call that a rule excludes.
    Skipped,
    /// No call.
    Other,
}

impl Rules {
    /// Rules from `NAME` or `NAME=VALUE` for headers and from beginnings of paths.
    ///
    /// # Errors
    /// When one of them names no header or no path.
    pub fn new(headers: &[String], paths: &[String]) -> Result<Self, ProxyError> {
        let header = |rule: &String| {
            let (name, value) = rule.split_once('=').map_or((rule.as_str(), None), |(name, value)| (name, Some(value.trim().to_owned())));
            let wrong = |_| ProxyError::Rule { rule: rule.clone(), problem: "expected `NAME` or `NAME=VALUE`" };
            Ok((HeaderName::from_bytes(name.trim().as_bytes()).map_err(wrong)?, value))
        };
        let path = |rule: &String| {
            let wrong = || ProxyError::Rule { rule: rule.clone(), problem: "expected the beginning of a path, from its `/`" };
            if rule.starts_with('/') { Ok(rule.clone()) } else { Err(wrong()) }
        };
        Ok(Self {
            headers: headers.iter().map(header).collect::<Result<_, _>>()?,
            paths: paths.iter().map(path).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn kind(&self, method: &Method, path: &str, headers: &HeaderMap) -> Kind {
        if method != Method::POST || !is_call(path) {
            return Kind::Other;
        }
        let named = |(name, value): &(HeaderName, Option<String>)| {
            let is = |found: &hyper::http::HeaderValue| value.as_ref().is_none_or(|value| found.as_bytes() == value.as_bytes());
            headers.get_all(name).iter().any(is)
        };
        let skipped = self.headers.iter().any(named) || self.paths.iter().any(|rule| path.starts_with(rule.as_str()));
        if skipped { Kind::Skipped } else { Kind::Call }
    }
}

/// Whether a path is one of chat completions, responses or messages, whatever stands before it. Messages of a thread (OpenAI's Assistants)
/// are no calls.
fn is_call(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    ["/chat/completions", "/responses", "/messages"].iter().any(|end| path.ends_with(end)) && !path.contains("/threads/")
}

#[cfg(test)]
mod tests {
    use super::{Kind, Rules};
    use hyper::{HeaderMap, Method};

    fn kind(rules: &Rules, path: &str, header: &[(&'static str, &str)]) -> Kind {
        let header = header.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        rules.kind(&Method::POST, path, &header.collect::<HeaderMap>())
    }

    #[test]
    fn calls_are_told_by_their_paths() {
        let rules = Rules::default();
        for path in
            ["/v1/chat/completions", "/chat/completions/", "/openai/deployments/d/chat/completions", "/v1/responses", "/v1/messages"]
        {
            assert_eq!(kind(&rules, path, &[]), Kind::Call, "{path}");
        }
        for path in ["/v1/embeddings", "/v1/messages/count_tokens", "/v1/threads/t/messages", "/v1/responses/r/cancel", "/"] {
            assert_eq!(kind(&rules, path, &[]), Kind::Other, "{path}");
        }
        assert_eq!(rules.kind(&Method::GET, "/v1/responses", &HeaderMap::new()), Kind::Other);
    }

    #[test]
    fn rules_exclude_by_header_and_path() {
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let rules = Rules::new(&of(&["X-Human", "x-source=chat"]), &of(&["/people/"])).expect("the rules are well formed");
        assert_eq!(kind(&rules, "/v1/messages", &[("x-human", "")]), Kind::Skipped);
        assert_eq!(kind(&rules, "/v1/messages", &[("x-source", "chat")]), Kind::Skipped);
        assert_eq!(kind(&rules, "/v1/messages", &[("x-source", "agent")]), Kind::Call);
        assert_eq!(kind(&rules, "/people/v1/messages", &[]), Kind::Skipped);
        assert!(Rules::new(&of(&["no header"]), &[]).is_err() && Rules::new(&[], &of(&["people"])).is_err());
    }
}
