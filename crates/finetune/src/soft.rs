//! Soft targets from the log-probabilities that a log has: which tokens of the student may learn what the teacher expected there.
//!
//! A teacher's tokens are of another tokenizer. Its expectation is taken over only where both write the same text as a token of its
//! own: the bytes before are the same, and so are those of the token. There each alternative whose bytes are one token of the
//! student is that token's probability, and the mass of all others, named or not, is the rest that `Soft` leaves to all other tokens
//! together. Nothing is spread over tokens it was not said of. Everywhere else the logged token is learnt as ever. Knows no tensor.
use std::collections::{BTreeMap, BTreeSet};

use model::train::Soft;
use model::{Chat, TokenBytes};
use record::{Call, Clean, Logprob, Part, Response, Train};
use serde::Serialize;

use crate::examples::Example;

/// What of the answers learnt from has soft targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Softened {
    /// Calls whose log-probabilities came along.
    pub calls: u64,
    /// Tokens of all answers.
    pub tokens: u64,
    /// Those with a soft target.
    pub soft: u64,
}

impl Softened {
    /// Counts of examples of single calls.
    pub(crate) fn of(examples: &[Example], part: &Part<Train>) -> Self {
        let with = |example: &&Example| part[example.position].response.logprobs().is_some();
        let tokens = |example: &Example| example.sequence.targets.iter().flatten().count() as u64;
        Self {
            calls: examples.iter().filter(with).count() as u64,
            tokens: examples.iter().map(tokens).sum(),
            soft: examples.iter().map(|example| example.sequence.soft.len() as u64).sum(),
        }
    }

    /// Share of the answers' tokens with a soft target; none where no call has log-probabilities.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens")]
    pub fn known(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.soft as f64 / self.tokens.max(1) as f64)
    }
}

/// The bytes of the student's tokens, where a call has log-probabilities that are to count.
pub(crate) fn bytes(weight: f64, part: &[Clean<Call>], chat: &Chat) -> Option<TokenBytes> {
    let any = weight > 0.0 && part.iter().any(|call| call.response.logprobs().is_some());
    any.then(|| chat.tokenizer().token_bytes())
}

/// Soft targets of an answer's tokens by their places: `weight` of what the teacher expected, the rest of one on the token itself.
pub(crate) fn targets(response: &Response, completion: &[u32], bytes: &TokenBytes, weight: f64) -> BTreeMap<usize, Soft> {
    let said = response.logprobs().unwrap_or_default();
    let own: Option<Vec<&[u8]>> = completion.iter().map(|token| bytes.of(*token)).collect();
    let Some(own) = own else { return BTreeMap::new() };
    let Some(matches) = matches(&own, &said) else { return BTreeMap::new() };
    let soft = |(place, token): (usize, usize)| Some((place, expected(&said[token], completion[place], bytes, weight)?));
    matches.into_iter().filter_map(soft).collect()
}

/// Places of the student's tokens and of the teacher's that have the same bytes behind the same bytes.
fn matches(own: &[&[u8]], said: &[Logprob]) -> Option<Vec<(usize, usize)>> {
    let (text, theirs) = (own.concat(), said.iter().flat_map(|token| token.bytes.iter().copied()).collect::<Vec<u8>>());
    let (from, skipped) = begin(&text, &theirs)?;
    let same = text[from..].iter().zip(&theirs[skipped..]).take_while(|(one, other)| one == other).count();
    let spans = |lengths: &mut dyn Iterator<Item = usize>, offset: usize| -> Vec<(usize, usize)> {
        let ends = lengths.scan(0, |end, length| {
            let start = *end;
            *end += length;
            Some((start, *end))
        });
        ends.map(|(start, end)| (start + offset, end + offset)).collect()
    };
    let own = spans(&mut own.iter().map(|token| token.len()), 0);
    let said = spans(&mut said.iter().map(|token| token.bytes.len()), from);
    let places: BTreeMap<(usize, usize), usize> = own.into_iter().zip(0..).filter(|((start, end), _)| start < end).collect();
    let (first, last) = (from + skipped, from + skipped + same);
    let inside = said.into_iter().enumerate().filter(|(_, (start, end))| *start >= first && *end <= last);
    let found = inside.filter_map(|(token, (start, end))| Some((*places.get(&(start - skipped, end - skipped))?, token)));
    Some(found.collect())
}

/// Where in the student's text what the teacher wrote begins, and the blanks at its beginning that are passed over, as templates leave
/// them out: where all of it stands, if at the beginning or only once; else at the beginning, as far as both are the same.
fn begin(text: &[u8], theirs: &[u8]) -> Option<(usize, usize)> {
    let blanks = theirs.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let end = theirs.len() - theirs.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
    let all = theirs.get(blanks..end).filter(|all| !all.is_empty())?;
    let mut places = text.windows(all.len()).enumerate().filter(|(_, window)| *window == all).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), other) if place <= blanks || other.is_none() => Some((place, blanks)),
        _ if text.first() == theirs.first() => Some((0, 0)),
        _ => Some((0, blanks)),
    }
}

/// What the teacher expected in place of a token, as the student's tokens.
fn expected(said: &Logprob, target: u32, bytes: &TokenBytes, weight: f64) -> Option<Soft> {
    let mut named = BTreeMap::from([(target, said.logprob)]);
    for (alternative, logprob) in &said.top {
        if let Some(token) = bytes.token(alternative).filter(|_| *alternative != said.bytes) {
            named.entry(token).or_insert(*logprob);
        }
    }
    // a log of a probability of one may be a little above 0 by rounding
    let shares = named.into_iter().map(|(token, logprob)| (token, weight * logprob.exp().min(1.0)));
    Soft::new(shares.chain([(target, 1.0 - weight)]))
}

/// What several calls of the same tokens expect together, each as often as it is counted: by row the mean of their outcomes. Their teachers
/// may have named different tokens; only those that all of them named stay so, others join the rest, so that the mean of the
/// losses is the loss of the mean. A call without a soft target there expects its target.
pub(crate) fn mean(calls: &[(&BTreeMap<usize, Soft>, u64)], targets: &[Option<u32>]) -> BTreeMap<usize, Soft> {
    let rows: BTreeSet<usize> = calls.iter().flat_map(|(soft, _)| soft.keys().copied()).collect();
    let row = |row: usize| {
        let target = targets[row]?;
        let each = || calls.iter().map(|(soft, count)| (soft.get(&row), *count));
        let names = |soft: &Soft| soft.tokens().iter().map(|(token, _)| *token).collect::<BTreeSet<u32>>();
        let common = each().filter_map(|(soft, _)| soft).map(names).reduce(|one, other| &one & &other)?;
        #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
        let share = |count: u64| count as f64 / calls.iter().map(|(_, count)| *count).sum::<u64>() as f64;
        let all = each().flat_map(|(soft, count)| {
            let own = soft.map_or_else(|| vec![(target, 1.0)], |soft| soft.tokens().iter().map(|(t, p)| (*t, f64::from(*p))).collect());
            own.into_iter().map(move |(token, probability)| (token, probability * share(count))).collect::<Vec<_>>()
        });
        Some((row, Soft::new(all.filter(|(token, _)| common.contains(token)))?))
    };
    rows.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::train::Soft;
    use record::Logprob;

    use super::{matches, mean};

    /// Where the tokens of a student and a teacher meet.
    fn meet(own: &[&str], theirs: &[&str]) -> Vec<(usize, usize)> {
        let said: Vec<Logprob> =
            theirs.iter().map(|text| Logprob { bytes: text.as_bytes().to_vec(), logprob: -0.1, top: Vec::new() }).collect();
        let own: Vec<&[u8]> = own.iter().map(|text| text.as_bytes()).collect();
        matches(&own, &said).unwrap_or_default()
    }

    #[test]
    fn tokens_meet_where_both_have_the_same_bytes_behind_the_same_text() {
        let own = ["ref", "und", " the", " ord", "er", "<end>"];
        assert_eq!(meet(&own, &["ref", "und", " the", " order"]), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(meet(&own, &["refund", " the", " ", "ord", "er"]), [(2, 1), (4, 4)]);
        assert_eq!(meet(&own, &["ref", "use", " the"]), [(0, 0)], "behind another text nothing is the same");
        assert_eq!(meet(&own, &["x", "und"]), []);
        assert_eq!(meet(&own, &[" ", "\n"]), []);
        // the template leaves blanks out, or writes something before
        assert_eq!(meet(&own, &["\n", " ref", "und", " the", " ord", "er", "\n"]), [(1, 2), (2, 3), (3, 4), (4, 5)]);
        assert_eq!(meet(&["<think>", "</think>", "a", "b"], &["a", "b"]), [(2, 0), (3, 1)]);
        assert_eq!(meet(&["<t>", "a", "b", "a", "b"], &["a", "b"]), [], "it might be either");
        assert_eq!(meet(&["{\"a\"", ": ", "1", "}"], &["{\"a\"", ":", "1", "}"]), [(0, 0)], "written with other blanks");
    }

    #[test]
    fn calls_merged_have_the_mean_of_their_losses() {
        let soft = |pairs: &[(u32, f64)]| BTreeMap::from([(1, Soft::new(pairs.iter().copied()).expect("good probabilities"))]);
        let (one, other, none) = (soft(&[(4, 0.5), (5, 0.25), (6, 0.25)]), soft(&[(4, 0.25), (6, 0.5)]), BTreeMap::new());
        let targets = [None, Some(4)];
        let together = mean(&[(&one, 2), (&other, 1), (&none, 1)], &targets);
        // token 5 was named by one call alone: it joins the rest there
        assert_eq!(together, soft(&[(4, 0.5 * 0.5 + 0.25 * 0.25 + 0.25), (6, 0.5 * 0.25 + 0.25 * 0.5)]));
        assert_eq!(mean(&[(&one, 1)], &targets), one);
        assert_eq!(mean(&[(&none, 3)], &targets), none);
    }
}
