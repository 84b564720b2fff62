//! The task that no tiny model can do: plan a repair under rules, with arithmetic. The teacher's answer is computed.
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::ask::Ask;
use super::ticket::{Ticket, pick};
use super::words;

const RULES: &str = "You plan repairs for the Fennmoor workshop. Rules: 1. One technician does all steps and must have every skill the steps need. \
2. Among those who are free on enough days before the deadline take the cheapest: hours times rate plus 0.40 per kilometre both ways; on a tie the first by id. \
3. At most 4 hours a day, steps in the order given, a step may be split over days, start on the first free day. \
4. Parts in stock cost their price; parts not in stock cost a quarter more and block the first two free days. \
5. The customer pays the whole sum out of warranty; within 24 months the share is months divided by 24; misuse always pays in full. \
6. Gold members get a tenth off, after the share. Round to cents, half up. A bill over 150.00 is paid in three equal instalments, the first takes the rest. \
7. If nobody can do it, do not book: call hand_over with the reason skills or time. Answer with tool calls only.";
const SKILLS: [&str; 6] = ["joinery", "upholstery", "glazing", "metalwork", "wiring", "lacquer"];

struct Technician {
    id: String,
    name: String,
    skills: Vec<&'static str>,
    rate: u32,
    kilometres: u32,
    days: Vec<u32>,
}

struct Step {
    skill: &'static str,
    hours: u32,
}

fn some(list: &[&'static str], least: usize, most: usize, rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    let mut list = list.to_vec();
    list.shuffle(rng);
    list.truncate(rng.random_range(least..=most));
    list
}

fn technicians(rng: &mut ChaCha8Rng) -> Vec<Technician> {
    let mut team: Vec<_> = (0..rng.random_range(3..6))
        .map(|_| {
            let mut days: Vec<u32> = (1..15).collect();
            days.shuffle(rng);
            days.truncate(rng.random_range(3..8));
            days.sort_unstable();
            Technician {
                id: format!("T{}", rng.random_range(10..99)),
                name: format!("{} {}", pick(words::FIRST, rng), pick(words::LAST, rng)),
                skills: some(&SKILLS, 2, 5, rng),
                rate: rng.random_range(28..64),
                kilometres: rng.random_range(3..70),
                days,
            }
        })
        .collect();
    team.sort_by(|a, b| a.id.cmp(&b.id));
    team.dedup_by(|a, b| a.id == b.id);
    team
}

/// A repair to plan with its worked-out plan.
pub fn plan(ticket: &Ticket, rng: &mut ChaCha8Rng) -> Ask {
    let team = technicians(rng);
    let steps: Vec<Step> = some(&SKILLS, 1, 3, rng).into_iter().map(|skill| Step { skill, hours: rng.random_range(1..6) }).collect();
    let part_cents = rng.random_range(5..90) * 100 + 50;
    let (in_stock, misuse, gold) = (rng.random_bool(0.6), rng.random_bool(0.2), rng.random_bool(0.3));
    let (months, deadline) = (rng.random_range(1..36), rng.random_range(8..15));
    let crew: Vec<String> = team
        .iter()
        .map(|t| format!("{} {}: {}; rate {}; {} km; free on days {:?}", t.id, t.name, t.skills.join(", "), t.rate, t.kilometres, t.days))
        .collect();
    let work: Vec<String> = steps.iter().enumerate().map(|(i, s)| format!("{}. {} for {} h", i + 1, s.skill, s.hours)).collect();
    let text = format!(
        "Order {}, {}. Customer {}{}, {}, {} {}, phone {}.\nBought {months} months ago{}. Deadline: day {deadline}.\nSteps: {}.\nPart: set of fittings, {}.{:02}, {}.\nTechnicians:\n{}",
        ticket.get("order"),
        ticket.get("item"),
        ticket.get("name"),
        if gold { " (gold member)" } else { "" },
        ticket.get("street"),
        ticket.get("zip"),
        ticket.get("city"),
        ticket.get("phone"),
        if misuse { ", damaged by misuse" } else { "" },
        work.join("; "),
        part_cents / 100,
        part_cents % 100,
        if in_stock { "in stock" } else { "not in stock" },
        crew.join("\n"),
    );
    let calls = solve(ticket, &team, &steps, &Terms { part_cents, in_stock, full: misuse || months > 24, months, gold, deadline });
    let answer = json!({"role": "assistant", "content": null, "tool_calls": calls});
    let messages = vec![json!({"role": "system", "content": RULES}), json!({"role": "user", "content": text})];
    Ask { task: "plan multi-step repair", messages, fields: vec![("tools", tools())], answer, slips: vec![], extras: vec![] }
}

struct Terms {
    part_cents: u32,
    in_stock: bool,
    full: bool,
    months: u32,
    gold: bool,
    deadline: u32,
}

fn call(name: &str, arguments: &Value) -> Value {
    json!({"id": format!("call_{name}"), "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
}

fn solve(ticket: &Ticket, team: &[Technician], steps: &[Step], terms: &Terms) -> Vec<Value> {
    let hours: u32 = steps.iter().map(|s| s.hours).sum();
    let days_needed = hours.div_ceil(4) as usize;
    let able: Vec<&Technician> = team.iter().filter(|t| steps.iter().all(|s| t.skills.contains(&s.skill))).collect();
    let free = |t: &Technician| -> Vec<u32> {
        let days = t.days.iter().copied().filter(|day| *day <= terms.deadline);
        days.skip(if terms.in_stock { 0 } else { 2 }).take(days_needed).collect()
    };
    let labour = |t: &Technician| hours * t.rate * 100 + 80 * t.kilometres;
    let reason = if able.is_empty() { "skills" } else { "time" };
    let Some(best) = able.into_iter().filter(|t| free(t).len() == days_needed).min_by_key(|t| labour(t)) else {
        return vec![call("hand_over", &json!({"order_id": ticket.get("order"), "reason": reason}))];
    };
    let parts = if terms.in_stock { terms.part_cents } else { (terms.part_cents * 5 + 2) / 4 };
    let sum = labour(best) + parts;
    // In units of 1/240 cent, so that the share and the tenth stay whole numbers until the one rounding.
    let share = if terms.full { 24 } else { terms.months };
    let bill = (u64::from(sum) * u64::from(share) * if terms.gold { 9 } else { 10 } + 120) / 240;
    let money = |cents: u64| json!(format!("{}.{:02}", cents / 100, cents % 100));
    let instalments = if bill > 15_000 { vec![money(bill - bill / 3 * 2), money(bill / 3), money(bill / 3)] } else { vec![money(bill)] };
    let mut calls = Vec::new();
    if !terms.in_stock {
        calls.push(call("order_parts", &json!({"order_id": ticket.get("order"), "price": money(u64::from(parts))})));
    }
    let mut left = hours;
    let slots: Vec<Value> = free(best)
        .into_iter()
        .map(|day| {
            let today = left.min(4);
            left -= today;
            json!({"day": day, "hours": today})
        })
        .collect();
    calls.push(call("book_technician", &json!({"technician": best.id, "order_id": ticket.get("order"), "slots": slots})));
    calls.push(call("bill", &json!({"order_id": ticket.get("order"), "instalments": instalments})));
    calls
}

fn tools() -> Value {
    let tool = |name: &str, description: &str, properties: Value| {
        json!({"type": "function", "function": {"name": name, "description": description,
            "parameters": {"type": "object", "properties": properties}}})
    };
    json!([
        tool("order_parts", "Order a part that is not in stock.", json!({"order_id": {"type": "string"}, "price": {"type": "string"}})),
        tool(
            "book_technician",
            "Book days of a technician.",
            json!({"technician": {"type": "string"}, "order_id": {"type": "string"}, "slots": {"type": "array"}})
        ),
        tool("bill", "Bill the customer.", json!({"order_id": {"type": "string"}, "instalments": {"type": "array"}})),
        tool(
            "hand_over",
            "Hand the case to a person.",
            json!({"order_id": {"type": "string"}, "reason": {"type": "string", "enum": ["skills", "time"]}})
        ),
    ])
}
