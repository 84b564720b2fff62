//! A customer and what they bought: the values that every call of one conversation shares.
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::grammar::Slots;
use super::{planted, words};

/// One customer with one order.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Values by slot name, for the grammar.
    pub slots: Slots,
    /// Price paid, in cents.
    pub cents: u32,
    /// Pieces bought.
    pub quantity: usize,
    /// Where the order is.
    pub state: &'static str,
}

/// One of a list.
pub fn pick<'a, T: ?Sized>(list: &[&'a T], rng: &mut ChaCha8Rng) -> &'a T {
    list[rng.random_range(0..list.len())]
}

const COUNTS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

impl Ticket {
    /// A new customer and order.
    pub fn new(rng: &mut ChaCha8Rng) -> Self {
        let (first, last) = (pick(words::FIRST, rng), pick(words::LAST, rng));
        let (city, zip) = words::CITIES[rng.random_range(0..words::CITIES.len())];
        let digits = |rng: &mut ChaCha8Rng, n: usize| -> String { (0..n).map(|_| char::from(b'0' + rng.random_range(0..10_u8))).collect() };
        let cents = rng.random_range(6..400) * 100 + [5, 25, 45, 49, 75, 95, 99][rng.random_range(0..7)];
        let quantity = rng.random_range(1..7_usize);
        let month = rng.random_range(1..13_usize);
        let day = rng.random_range(1..29);
        let month_name = words::MONTHS[month - 1];
        let date = match rng.random_range(0..4) {
            0 | 1 => format!("2026-{month:02}-{day:02}"),
            2 => format!("{day} {month_name} 2026"),
            _ => format!("{day}/{month}/2026"),
        };
        let written = match rng.random_range(0..6) {
            0 => COUNTS[quantity - 1].to_owned(),
            _ => quantity.to_string(),
        };
        let amount = match rng.random_range(0..3) {
            0 => format!("${}.{:02}", cents / 100, cents % 100),
            1 => format!("{}.{:02} EUR", cents / 100, cents % 100),
            _ => format!("{}.{:02} euros", cents / 100, cents % 100),
        };
        let local = match rng.random_range(0..3) {
            0 => format!("{first}.{last}"),
            1 => format!("{}{last}", &first[..1]),
            _ => format!("{first}{}", digits(rng, 2)),
        };
        let slots = [
            ("first", first.to_owned()),
            ("name", format!("{first} {last}")),
            ("last", last.to_owned()),
            ("email", format!("{}@{}", local.to_lowercase(), pick(words::DOMAINS, rng))),
            ("phone", planted::phone(rng)),
            ("street", format!("{} {}", rng.random_range(2..180), pick(words::STREETS, rng))),
            ("city", city.to_owned()),
            ("zip", zip.to_owned()),
            ("order", format!("FM-{}", digits(rng, 5))),
            ("tracking", format!("KP{}X", digits(rng, 6))),
            ("item", format!("{} {}", pick(words::ADJECTIVES, rng), pick(words::NOUNS, rng))),
            ("quantity", written),
            ("amount", amount),
            ("date", date),
            ("days", rng.random_range(3..15).to_string()),
            ("month", month_name.to_owned()),
        ];
        Self { slots: slots.into_iter().collect(), cents, quantity, state: pick(words::STATES, rng) }
    }

    /// A value by its slot name.
    ///
    /// # Panics
    /// On a slot that no ticket has.
    pub fn get(&self, slot: &str) -> &str {
        self.slots.get(slot).unwrap_or_else(|| panic!("a ticket has no `{slot}`"))
    }

    /// What a scrubber has to find of the ticket, class and value, where a text holds it.
    pub fn personal(&self) -> [(&'static str, &str); 5] {
        [
            ("name", self.get("name")),
            ("email", self.get("email")),
            ("phone", self.get("phone")),
            ("street", self.get("street")),
            ("first_name", self.get("first")),
        ]
    }
}
