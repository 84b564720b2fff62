//! The families of documents and how often each is drawn.
mod answer;
mod drill;
mod extract;
mod label;
mod lookup;
mod prose;
mod reshape;
mod tools;

use super::dice::Dice;
use super::document::Document;
use super::world::World;

/// A kind of document.
pub struct Family {
    /// What it is called in figures.
    pub name: &'static str,
    /// Draws one document.
    pub draw: fn(&mut Dice, &World) -> Document,
    /// How often it is drawn at the start and at the end of the warm-up of the mix.
    pub weight: [u32; 2],
}

/// Every family. The drills lead at first, because copying is learned soonest where there is nothing else to learn.
pub const FAMILIES: [Family; 8] = [
    Family { name: "drill", draw: drill::draw, weight: [50, 18] },
    Family { name: "lookup", draw: lookup::draw, weight: [16, 13] },
    Family { name: "extract", draw: extract::draw, weight: [16, 24] },
    Family { name: "label", draw: label::draw, weight: [4, 20] },
    Family { name: "tools", draw: tools::draw, weight: [5, 18] },
    Family { name: "answer", draw: answer::draw, weight: [4, 14] },
    Family { name: "reshape", draw: reshape::draw, weight: [4, 4] },
    Family { name: "prose", draw: prose::draw, weight: [1, 3] },
];
