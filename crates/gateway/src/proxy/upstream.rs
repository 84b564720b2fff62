//! The one address that requests are sent on to, and how a request's path stands under it.
use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};

use crate::ProxyError;

/// A server and the path its API lies under.
#[derive(Clone, Debug)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

impl Upstream {
    /// Reads `http://…` or `https://…`.
    ///
    /// # Errors
    /// When it is no such URL, or holds what belongs to requests: a query or credentials.
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let wrong = |problem| ProxyError::Upstream { url: url.split('@').next_back().unwrap_or_default().to_owned(), problem };
        let neither = || wrong("it begins with neither `http://` nor `https://`");
        if !url.contains("://") {
            return Err(neither());
        }
        let uri: Uri = url.trim().parse().map_err(|_| wrong("it is no URL"))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS).ok_or_else(neither)?;
        let authority = parts.authority.filter(|authority| !authority.host().is_empty()).ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it holds credentials, which come with each request"));
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(wrong("it has a query, which comes with each request"));
        }
        Ok(Self { scheme, authority, base: path.path().trim_end_matches('/').to_owned() })
    }

    /// Where a request for `path` goes. The upstream's own path is put before it unless it stands there already, so that a client may name
    /// the proxy with or without `/v1`.
    pub(crate) fn target(&self, path: &PathAndQuery) -> Option<Uri> {
        let given = path.as_str();
        let there = given.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with(['/', '?']) || rest.is_empty());
        let path = if there { path.clone() } else { format!("{}{given}", self.base).parse().ok()? };
        Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query(path).build().ok()
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::Upstream;

    #[test]
    fn paths_stand_under_the_upstreams_own() {
        let target = |upstream: &str, path: &str| {
            let upstream = Upstream::parse(upstream).expect("it is a URL");
            upstream.target(&path.parse().expect("it is a path")).expect("it can be joined").to_string()
        };
        assert_eq!(target("https://h/v1/", "/chat/completions?a=%20b"), "https://h/v1/chat/completions?a=%20b");
        assert_eq!(target("https://h/v1", "/v1/messages"), "https://h/v1/messages");
        assert_eq!(target("https://h/v1", "/v10/messages"), "https://h/v1/v10/messages");
        assert_eq!(target("http://h:8000", "/v1/messages"), "http://h:8000/v1/messages");
        assert_eq!(target("http://h:8000", "//x"), "http://h:8000//x");
    }

    #[test]
    fn what_is_no_upstream_says_why() {
        for (url, part) in [("h/v1", "neither"), ("ftp://h", "neither"), ("https://h?key=k", "query"), ("https://a:b@h", "credentials")] {
            let error = Upstream::parse(url).expect_err("it is no upstream").to_string();
            assert!(error.contains(part) && !error.contains("a:b"), "{error}");
        }
    }
}
