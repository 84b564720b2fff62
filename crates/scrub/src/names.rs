//! Names: the words that announce one, its parts, and made-up names that are known again as made up.
use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// Words that begin with a capital and are no name, where a name might stand.
const NO_NAME: &str = "Agent Service Support Care Customer Team Sir Madam Manager Dear Hello Hi Hey The This That There Thanks Thank Please Regards Best Kind Yours \
    Sincerely Cheers Department Desk Office Bank Card Account Order Number Date Address Phone Email Mail City State Street Total Price Gift Credit Debit Travel Flight \
    Airline Airlines Assistant User System Data Policy Reservation Success Relations Experience Representative Representatives Center Centre Monday Tuesday Wednesday \
    Thursday Friday Saturday Sunday January February March April May June July August September October November December English German French Spanish I A An And Or \
    Not No Yes OK If When Where What Who How Why Here Just My Your Our We You It He She They In On At To From For With Of By As Is Was Are Be Sorry Sure Also Can Could \
    Would Will All One Two Three New Old Mr Mrs Ms Dr Prof Everyone Anyone Someone Sender Recipient ID Id Feedback Name Information Details Loyalty Satisfaction";
/// Names that are words, months, places or colours too: replaced inside a full name, left alone when they stand alone.
const AMBIGUOUS: &str = "Will May Mark Grace Rose Hope Faith Joy June April August Summer Autumn Art Bill Chase Chance Drew Grant Major Miles Pat Ray Rich Rob Sue Sunny \
    Young Long Short Brown White Black Green Gray Grey Gold Silver Blue King Price Park Bank Day Love Law Case Page Banks Rice Wood Woods Field Fields Hill Hills Lane \
    Street Church Bell Best Good Rush Cook Baker Mason Paris London Houston Austin Dallas Jackson Madison Charlotte Lincoln Washington Florence Sydney Victoria Georgia \
    Virginia Carolina Dakota Jordan Chad Israel China India America Asia Europe Jersey Phoenix Denver Boston Berlin Milan Sky Star Sun Moon Snow Frost Rain Winter \
    Spring Christian Angel Dean Duke Earl Prince Bishop Pope Judge Marshal Sterling Penny Cash Rusty Sandy Dusty Misty Amber Ruby Pearl Jade Crystal Violet Iris Lily \
    Daisy Ivy Holly Heather Olive Basil Ginger Rosemary Clay Cliff Dale Glen Heath Forest Brook Brooks River Rivers Lake Ford Mercedes Porter Carter Taylor Tyler Cooper \
    Hunter Fisher Archer Shepherd Smart Small Little Great Noble Rose Stone Steel Iron Cotton Silk Marble Post Case Son Kid Boy Man Mann So Do An My He She We No Le La";

static REFUSED: LazyLock<HashSet<&'static str>> = LazyLock::new(|| NO_NAME.split_ascii_whitespace().collect());
static DOUBTFUL: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| AMBIGUOUS.split_ascii_whitespace().chain(NO_NAME.split_ascii_whitespace()).collect());

const ONE: &str = r"\p{Lu}[\p{L}'’]*\p{Ll}[\p{L}'’]*(?:-\p{Lu}[\p{L}'’]+)?";

static ANNOUNCED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let full = format!(r"({ONE}(?:[ \t]+(?:\p{{Lu}}\.|(?:van|von|de|der|del|da|di|la|bin|al)(?-u:\b)|{ONE})){{1,4}})");
    let some = format!(r"({ONE}(?:[ \t]+(?:\p{{Lu}}\.|{ONE})){{0,3}})");
    [
        format!(r"(?-u:\b)(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme|Señora?)\.?[ \t]+{some}"),
        format!(r"(?i:(?-u:\b)my (?:full )?name is|(?-u:\b)my name[’']s|(?-u:\b)name's|(?-u:\b)I am called|(?-u:\b)on behalf of|(?-u:\b)signed by)[ \t]+{some}"),
        format!(r"(?i:(?-u:\b)this is|(?-u:\b)I am|(?-u:\b)I'm|(?-u:\b)I’m|(?-u:\b)speaking with|(?-u:\b)spoke (?:to|with)|(?-u:\b)dear|(?-u:\b)hello|(?-u:\b)hi|(?-u:\b)attn\.?:?)[ \t]+{full}"),
        format!(r"(?i:(?-u:\b)(?:customer|client|patient|passenger|guest|contact|recipient|sender|applicant|employee|member|card to|addressed to)s?)(?:[ \t]+name)?:?[ \t]+{full}"),
        format!(r"(?i:(?-u:\b)(?:(?:full|first|last|middle|family|given|sur)[ _-]?name|name|passenger|attention))[ \t]*[:=][ \t]*{some}"),
        format!(
            r"(?i:(?:regards|wishes|sincerely|truly|faithfully|yours|cheers|thanks|thank you|best|love|greetings|grüßen|cordialement))[,!.]?[ \t]*\n+[ \t]*{some}[ \t]*(?:\n|$)"
        ),
    ]
    .iter()
    .map(|pattern| Regex::new(pattern).expect("the patterns are constants and tested"))
    .collect()
});
static COMPOSITE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[a-z]{2,}[._-][a-z]{2,}(?:[._-]?\d{1,8})?$").expect("a constant"));

/// Names that words before them announce, in order of their patterns.
pub fn announced(text: &str) -> Vec<Range<usize>> {
    if !text.bytes().any(|b| b.is_ascii_uppercase()) && text.is_ascii() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for pattern in ANNOUNCED.iter() {
        for captures in pattern.captures_iter(text) {
            let name = captures.get(1).expect("every pattern has one group");
            // "this is Anna Berg. Thanks": the name ends before the first word that is none.
            let words = words(name.as_str());
            let kept = words.iter().take_while(|word| !REFUSED.contains(&name.as_str()[(*word).clone()]));
            if let Some(last) = kept.last() {
                found.push(name.start()..name.start() + last.end);
            }
        }
    }
    found
}

/// Whether the value of a name key is a name: letters in at most five words.
pub fn plausible(text: &str) -> bool {
    let words = text.split_whitespace().count();
    let letters =
        text.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '\'' | '’' | '-' | '.' | ',')) && text.chars().any(char::is_alphabetic);
    (letters && (1..=5).contains(&words) && text.chars().count() > 1 && !REFUSED.contains(text)) || composite(text)
}

/// Whether a text is a user name made of two names: `mia_li_3668`.
pub fn composite(text: &str) -> bool {
    COMPOSITE.is_match(text)
}

/// The words of a name, initials and digits left out.
pub fn words(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut start) = (Vec::new(), None);
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if c.is_alphabetic() {
            start.get_or_insert(at);
        } else if let Some(from) = start.take()
            && text[from..at].chars().count() > 1
        {
            found.push(from..at);
        }
    }
    found
}

/// Whether a part of a name is safe to look for on its own.
pub fn stands_alone(word: &str) -> bool {
    let title: String = word.chars().next().into_iter().chain(word.to_lowercase().chars().skip(1)).collect();
    word.chars().next().is_some_and(char::is_uppercase) && word.chars().count() > 1 && !DOUBTFUL.contains(title.as_str())
}

/// Particles of names that stay.
pub fn particle(word: &str) -> bool {
    matches!(
        word,
        "van"
            | "von"
            | "de"
            | "der"
            | "den"
            | "del"
            | "da"
            | "di"
            | "la"
            | "le"
            | "bin"
            | "al"
            | "el"
            | "und"
            | "and"
            | "Jr"
            | "Sr"
            | "Dr"
            | "Mr"
            | "Mrs"
            | "Ms"
    )
}

const ONSETS: [&str; 24] = [
    "Vel", "Tav", "Mork", "Zel", "Brun", "Quor", "Fend", "Lurk", "Drav", "Nim", "Hask", "Jolv", "Kest", "Wyn", "Orl", "Pesk", "Gand",
    "Ruv", "Sint", "Yar", "Ulm", "Ebr", "Thal", "Crav",
];
const MIDDLES: [&str; 6] = ["", "a", "e", "i", "o", "u"];
const ENDINGS: [&str; 18] = [
    "mund", "vick", "dora", "lith", "sard", "quin", "bara", "thor", "nok", "zen", "rook", "vash", "pell", "gorn", "mir", "dax", "lund",
    "fosk",
];
/// How many made-up names there are.
pub const POOL: u64 = (ONSETS.len() * MIDDLES.len() * ENDINGS.len()) as u64;

/// A made-up name; in the real world hardly anybody bears one of them.
pub fn invented(number: u64) -> String {
    let number = usize::try_from(number % POOL).expect("the pool is small");
    let (onset, rest) = (number % ONSETS.len(), number / ONSETS.len());
    format!("{}{}{}", ONSETS[onset], MIDDLES[rest % MIDDLES.len()], ENDINGS[rest / MIDDLES.len()])
}

static INVENTED: LazyLock<HashSet<String>> = LazyLock::new(|| (0..POOL).map(|n| invented(n).to_lowercase()).collect());

/// Whether a word is one of the made-up names, in any case.
pub fn is_invented(word: &str) -> bool {
    INVENTED.contains(word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::{POOL, announced, composite, invented, is_invented, plausible, stands_alone};

    #[test]
    fn words_before_a_name_announce_it() {
        for (text, names) in [
            ("Hello, my name is Anna Berg and I need help", vec!["Anna Berg"]),
            ("Please ask Mrs. O'Brien.", vec!["O'Brien"]),
            ("Kind regards,\nSamuel L. Jackson\n+44", vec!["Samuel L. Jackson"]),
            ("Dear Customer Service, I am Happy", vec![]),
            ("Dear Wanda van der Berg,", vec!["Wanda van der Berg"]),
            ("I am Jon Snow. Thanks", vec!["Jon Snow"]),
            ("Thank you.\nOrder FM-1", vec![]),
            ("This is about order FM-12345.", vec![]),
        ] {
            let found: Vec<_> = announced(text).into_iter().map(|r| &text[r]).collect();
            assert_eq!(found, names, "{text}");
        }
    }

    #[test]
    fn shapes_of_names() {
        assert!(plausible("Marit Solheim") && plausible("mia_li_3668") && !plausible("FM-12345") && !plausible("X"));
        assert!(composite("sara_doe_496") && composite("mia.li") && !composite("u12345"));
        assert!(stands_alone("Marit") && stands_alone("Li") && !stands_alone("May") && !stands_alone("marit"));
    }

    #[test]
    fn invented_names_are_known_again() {
        let all: std::collections::BTreeSet<_> = (0..POOL).map(invented).collect();
        assert_eq!(all.len() as u64, POOL);
        assert!(all.iter().all(|name| is_invented(name) && is_invented(&name.to_uppercase())));
        assert!(!is_invented("Marit"));
    }
}
