//! Plain talk: notes and conversations about a world, for the language itself.
use super::super::dice::Dice;
use super::super::document::{Chat, Document};
use super::super::values::{self, Kind};
use super::super::world::World;

/// Draws a note or a conversation.
pub fn draw(dice: &mut Dice, world: &World) -> Document {
    if dice.chance(50) { note(dice, world) } else { talk(dice, world) }
}

fn note(dice: &mut Dice, world: &World) -> Document {
    let mut text = format!("Notes on {}, {}\n\n", world.name, values::text(dice, Kind::Date));
    for _ in 0..dice.between(3, 8) {
        text += &world.remark(dice);
        text += if dice.chance(20) { "\n" } else { " " };
    }
    let mut document = Document::default();
    document.given(text.trim_end()).answer("<|endoftext|>");
    document
}

/// A person writes, the desk answers and takes up the person's name and words.
fn talk(dice: &mut Dice, world: &World) -> Document {
    let mut chat = Chat::default();
    if dice.chance(60) {
        chat.system =
            format!("You are {}. {}", world.agent, dice.word(&["Be short.", "Be kind.", "Answer in one sentence.", "Help people."]));
    }
    let intents: Vec<_> = world.intents.keys().cloned().collect();
    let name = values::text(dice, Kind::Name);
    let intent = dice.pick(&intents).clone();
    let message = world.message(dice, &intent);
    let topic = intent.replace('_', " ");
    let first = match dice.below(4) {
        0 => format!("Hello {name}, I see that this is about {topic}. {}", world.expand(dice, "I will [look at|check] the {noun}.")),
        1 => format!("Thank you, {name}. {}", world.expand(dice, "We [will|can] {verb} the {noun} [today|soon|tomorrow].")),
        2 => format!("{name}, {}", world.expand(dice, "please {verb} the {noun} [first|again] and write to us.")),
        _ => format!("Sorry to hear that, {name}. Somebody will take care of the {topic}."),
    };
    chat.exchange(format!("{message} {}{name}", dice.word(&["I am ", "My name is ", "Yours, ", "- "])), first);
    if dice.chance(60) {
        let time = values::text(dice, Kind::Time);
        chat.exchange(format!("Good. Can you be there at {time}?"), format!("Yes, {name}, at {time}. {}", world.remark(dice)));
    }
    if dice.chance(40) {
        let (bye, answer) =
            *dice.pick(&[("Thanks!", "You are welcome, "), ("That is all.", "Goodbye, "), ("Great, bye.", "Have a nice day, ")]);
        chat.exchange(bye, format!("{answer}{name}."));
    }
    chat.document()
}
