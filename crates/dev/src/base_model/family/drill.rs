//! Drills of copying: sequences said twice, pairs asked again, patterns continued. Plain text, no chat.
use super::super::dice::Dice;
use super::super::document::Document;
use super::super::values::{self, KINDS, Kind};
use super::super::world::World;

/// Draws a drill.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    match dice.below(6) {
        0 | 1 => again(dice, world),
        2 => repeat(dice, world),
        3 | 4 => pairs(dice, world),
        _ => pattern(dice, world),
    }
}

/// Words in a row, said several times over: what follows a word follows it again.
fn again(dice: &mut Dice, world: &World) -> Document {
    let word = |dice: &mut Dice| match dice.below(6) {
        0 => world.noun(dice),
        1 => world.verb(dice),
        2 => world.adjective(dice),
        3 => values::text(dice, Kind::Count),
        _ => values::pseudo(dice, 1),
    };
    let words: Vec<_> = (0..dice.between(6, 30)).map(|_| word(dice)).collect();
    let row = words.join(" ");
    let mut document = Document::default();
    document.given(format!("{row}\n{}", words[0]));
    document.answer(format!(" {}\n", words[1..].join(" ")));
    for _ in 0..dice.below(3) {
        document.answer(format!("{row}\n"));
    }
    document.answer("<|endoftext|>");
    document
}

fn item(dice: &mut Dice, world: &World, kind: Option<Kind>) -> String {
    match kind {
        Some(kind) => values::text(dice, kind),
        None if dice.chance(30) => world.noun(dice),
        None => {
            let kind = *dice.pick(&KINDS);
            values::text(dice, kind)
        }
    }
}

/// Items of a kind; in every third document some are easily taken for one before.
fn items(dice: &mut Dice, world: &World, kind: Option<Kind>, n: usize) -> Vec<String> {
    let alike = dice.chance(33);
    let mut items: Vec<String> = Vec::new();
    for _ in 0..n {
        let like = (alike && !items.is_empty() && dice.chance(60)).then(|| dice.pick(&items).clone());
        items.push(match like {
            Some(like) => values::kin(dice, &like).unwrap_or(like),
            None => item(dice, world, kind),
        });
    }
    items
}

fn kind(dice: &mut Dice) -> Option<Kind> {
    dice.chance(60).then(|| *dice.pick(&KINDS))
}

/// A sequence, then the same again, sometimes written with another separator.
fn repeat(dice: &mut Dice, world: &World) -> Document {
    let kind = kind(dice);
    let n = dice.between(3, 12);
    let items = items(dice, world, kind, n);
    let mut document = Document::default();
    document.given(items.join(dice.word(&[", ", "\n", " ", "; ", " | "])));
    let mut known = 1;
    for _ in 0..dice.between(1, 3) {
        document.given("\n\n");
        let separator = dice.word(&[", ", "\n", "; "]);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                document.answer(separator);
            }
            if i >= known {
                document.answer(item.as_str())
            } else {
                document.given(item.as_str())
            };
        }
        known = 0;
    }
    document.answer("<|endoftext|>");
    document
}

/// Named values, then some of the names asked in another order.
fn pairs(dice: &mut Dice, world: &World) -> Document {
    let (keys, kind) = (dice.chance(50), kind(dice));
    let n = dice.between(3, 9);
    let names = if keys { world.nouns(dice, n) } else { items(dice, world, Some(Kind::Word), n) };
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (key, value) in names.into_iter().zip(items(dice, world, kind, n)) {
        if pairs.iter().all(|(other, _)| *other != key) {
            pairs.push((key, value));
        }
    }
    let sign = dice.word(&[": ", " = ", " -> ", " is ", "\t"]);
    let mut document = Document::default();
    for (key, value) in &pairs {
        document.given(format!("{key}{sign}{value}\n"));
    }
    document.given("\n");
    let asked = dice.between(2, 6);
    for (key, value) in dice.sample(&pairs, asked) {
        document.given(format!("{key}{sign}")).answer(format!("{value}\n"));
    }
    document.answer("<|endoftext|>");
    document
}

/// Lines of one pattern in which a value stands twice; the second place is to be filled.
fn pattern(dice: &mut Dice, world: &World) -> Document {
    let kinds: Vec<_> = (0..dice.between(1, 3)).map(|_| *dice.pick(&KINDS)).collect();
    let (a, b, c) = (world.noun(dice), world.verb(dice), world.noun(dice));
    let order: Vec<usize> = dice.sample(&(0..kinds.len()).collect::<Vec<_>>(), kinds.len());
    let mut document = Document::default();
    let arrow = dice.word(&[" => ", " | ", "\n> ", " becomes "]);
    for line in 0..dice.between(3, 6) {
        let values: Vec<_> = kinds.iter().map(|kind| values::text(dice, *kind)).collect();
        let left = values.join(&format!(" {a} "));
        let right = order.iter().map(|i| values[*i].as_str()).collect::<Vec<_>>().join(&format!(" {b} "));
        document.given(format!("{left}{arrow}"));
        let right = format!("{c} {right}");
        if line == 0 {
            document.given(right)
        } else {
            document.answer(right)
        };
        document.answer("\n");
    }
    document.answer("<|endoftext|>");
    document
}
