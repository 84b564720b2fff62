//! Finds what a sentence of a template tells the model to do: a verb and its object.
//!
//! A small list of verbs that prompts use, and where in a sentence they stand as verbs. English only; a template in
//! another language is named by its words, its workload or its tools.

/// Verbs that name a task.
const VERBS: &str = "answer ask extract classify categorize categorise summarize summarise write generate translate route triage plan \
    draft rewrite score rate judge evaluate detect identify convert parse label tag rank select choose decide search find book cancel \
    schedule review correct fix repair explain describe compare recommend predict moderate verify validate check count compute \
    calculate query retrieve normalize normalise compose reply resolve simulate play create build implement debug test analyze analyse \
    assess grade filter format match merge split transcribe paraphrase simplify expand refund recognize recognise solve guess name pick \
    assign deduce infer propose suggest edit shorten condense annotate modify update group cluster sort estimate forecast diagnose prioritize prioritise \
    escalate approve reject notify monitor log execute navigate browse control chat negotiate interview teach tutor outline fill complete";
/// Verbs that say little; they name a task only where nothing else does.
const WEAK: &str = "help assist handle manage respond provide return output use follow perform give make get process support act work read";
/// Words that carry no content.
const STOP: &str = "a an the this that these those your you i we they he she it its their his her our my of in on at by for from with \
    without to into onto about as and or but nor so if then than else when while where which who whom whose what how why is are was were \
    be been being do does did done has have had will would shall should can could may might must not no any all each every some one two \
    following given above below only always never also just very more most many much such same other another new based using please \
    step steps assistant agent ai model system user users task tasks job below per via able before after there here up out over under between \
    most good great helpful expert senior professional careful concise short brief single correct appropriate relevant important \
    provided exactly whether either both neither himself herself themselves itself me him them us let like need want able sure json word words label labels format";
/// Words that begin the clause behind a role.
const CLAUSE: &str = "that who which whose for in on at of with and to from as tasked working whenever when";
/// Before these a word is a noun, however much it looks like a verb.
const NOUN_BEFORE: &str = "a an the this that these those your its their our my of in on with for by at no any each every";

fn has(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|entry| entry == word)
}

fn tokens(sentence: &str) -> Vec<&str> {
    sentence.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-')).filter(|word| !word.is_empty()).collect()
}

/// The role a sentence gives the model, such as `customer service agent`: what stands between "you are a" and the clause behind.
pub(crate) fn role(sentence: &str) -> Option<String> {
    let clause = ["you are a ", "you are an ", "you are the "].iter().find_map(|start| sentence.split_once(start))?.1;
    let clause = clause.split(['.', ',', ':', ';', '(']).next()?;
    let words = tokens(clause).into_iter().take_while(|word| !has(CLAUSE, word) && base(word).is_none_or(|(_, continuous)| !continuous));
    let words: Vec<_> = words.collect();
    let first = words.iter().position(|word| !has(STOP, word) && word.len() > 2)?;
    let words = &words[first..];
    (words.len() <= 4).then(|| words.join(" "))
}

/// Words of a sentence that carry content, in order.
pub(crate) fn content(sentence: &str) -> Vec<String> {
    let words = tokens(sentence).into_iter().filter(|word| word.len() > 2 && !word.contains('\'') && word.chars().any(char::is_alphabetic));
    words.filter(|word| !has(STOP, word)).map(str::to_owned).collect()
}

/// The base form of a verb of the lists, and whether it was an -ing form.
fn base(word: &str) -> Option<(String, bool)> {
    let listed = |word: &str| has(VERBS, word) || has(WEAK, word);
    if listed(word) {
        return Some((word.to_owned(), false));
    }
    let stem = word.strip_suffix("ing")?;
    let doubled = stem.chars().rev().nth(1) == stem.chars().next_back();
    let mut forms = vec![stem.to_owned(), format!("{stem}e")];
    if doubled {
        forms.extend(stem.get(..stem.len().saturating_sub(1)).map(str::to_owned));
    }
    forms.into_iter().find(|form| listed(form)).map(|form| (form, true))
}

/// Verb and object phrases of weighted sentences (lower case), best first.
pub(crate) fn phrases(sentences: &[(&str, f64)]) -> Vec<String> {
    let mut found: Vec<(f64, String)> = Vec::new();
    for (at, (sentence, weight)) in sentences.iter().enumerate() {
        if sentence.starts_with("json.") {
            continue;
        }
        let clauses: Vec<Vec<&str>> = sentence.split([',', ';', ':', '(', ')']).map(tokens).collect();
        for (words, index) in clauses.iter().flat_map(|words| (0..words.len()).map(move |index| (words, index))) {
            let Some((verb, strength)) = verb_at(words, index) else { continue };
            let Some(object) = object(&words[index + 1..]) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "a handful of sentences")]
            let early = 1.0 / (1.0 + 0.15 * at as f64);
            found.push((weight * strength * early, format!("{verb} {object}")));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let mut seen = std::collections::BTreeSet::new();
    found.into_iter().filter(|(_, phrase)| seen.insert(phrase.clone())).map(|(_, phrase)| phrase).collect()
}

/// The verb at a place, and how surely it tells the model what to do.
fn verb_at(words: &[&str], index: usize) -> Option<(String, f64)> {
    let (verb, continuous) = base(words[index])?;
    let before = index.checked_sub(1).map_or("", |i| words[i]);
    let place = match before {
        "" | "you" if !continuous => 1.5,
        "are" | "is" | "tasked" if continuous => 1.5,
        "to" if !continuous => 1.3,
        "by" | "with" | "for" | "in" if continuous => 1.0,
        "must" | "should" | "will" | "and" | "or" | "then" | "please" if !continuous => 1.1,
        word if has(NOUN_BEFORE, word) => return None,
        _ => 0.5,
    };
    Some((verb.clone(), if has(WEAK, &verb) { 0.3 * place } else { place }))
}

/// The first one or two content words behind a verb, if they come soon.
fn object(words: &[&str]) -> Option<String> {
    let content = |word: &str| word.len() > 2 && !has(STOP, word) && word.chars().all(|c| c.is_alphabetic() || c == '-');
    let start = words.iter().take(5).position(|word| content(word))?;
    let second = words.get(start + 1).filter(|word| content(word) && base(word).is_none());
    Some(second.map_or_else(|| words[start].to_owned(), |second| format!("{} {second}", words[start])))
}

#[cfg(test)]
mod tests {
    use super::{phrases, role};

    #[test]
    fn the_phrase_is_what_the_model_is_told_to_do() {
        let first = |sentence: &str| phrases(&[(sentence, 1.0)]).into_iter().next();
        assert_eq!(first("you are answering questions in a game").as_deref(), Some("answer questions"));
        assert_eq!(first("your job is to extract entities from a given text.").as_deref(), Some("extract entities"));
        assert_eq!(first("classify the support ticket into a queue").as_deref(), Some("classify support ticket"));
        assert_eq!(first("you are an agent tasked with generating a secret for a game").as_deref(), Some("generate secret"));
        assert_eq!(first("the score should be a float"), None);
        assert_eq!(first("read the customer's mail and fill the order form.").as_deref(), Some("fill order form"));
        assert_eq!(first("answer with json only"), None);
        assert_eq!(
            first("you can help users **book**, **modify**, or **cancel** flight reservations.").as_deref(),
            Some("cancel flight reservations")
        );
    }

    #[test]
    fn roles_are_read_without_praise() {
        assert_eq!(role("you are a customer service agent that helps the user").as_deref(), Some("customer service agent"));
        assert_eq!(role("you are an expert haiku writer.").as_deref(), Some("haiku writer"));
        assert_eq!(role("you are a helpful assistant."), None);
        assert_eq!(role("you are the look-up step of the shop").as_deref(), Some("look-up step"));
        assert_eq!(role("you are answering questions"), None);
    }
}
