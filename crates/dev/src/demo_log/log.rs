//! Turns asks into a log: conversations, repeats, a teacher who slips, time, tokens and cost. Knows no phrase.
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use record::{Call, Request, Response, Time};
use serde_json::{Map, Value, json};

use super::ask::{Ask, Asker, LABELS};
use super::grammar::Grammar;
use super::plan::plan;
use super::planted::Planted;
use super::ticket::{Ticket, pick};

/// How many calls of each task a night has.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Conversations that route, extract, look up and answer one ticket.
    pub journeys: usize,
    /// Further single calls: route, extract, look up, triage, status card, plan, refund mail, gift card.
    pub singles: [usize; 8],
}

/// The first log: about 3,600 calls.
pub const FIRST: Counts = Counts { journeys: 110, singles: [840, 120, 300, 1000, 560, 115, 31, 0] };
/// The next night: about 400 calls.
pub const NEXT: Counts = Counts { journeys: 15, singles: [55, 50, 50, 65, 50, 0, 0, 70] };

/// Share of learnable calls the teacher gets wrong.
const SLIPS: f64 = 0.008;
/// Share of learnable calls that are asked once more.
const REPEATS: f64 = 0.055;

/// A log and what was planted in it.
#[derive(Debug)]
pub struct Log {
    /// In order of time.
    pub calls: Vec<Call>,
    /// Every planted value and every value to keep, sorted.
    pub planted: Vec<Planted>,
}

struct Writer {
    rng: ChaCha8Rng,
    clock: i64,
    night: &'static str,
    conversations: u32,
    log: Log,
}

/// Generates the log; `next` is the night after.
pub fn generate(seed: u64, next: bool) -> Log {
    let grammar = Grammar::shipped();
    let asker = Asker { grammar: &grammar, next };
    let counts = if next { NEXT } else { FIRST };
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(next));
    let mut writer = Writer {
        rng: ChaCha8Rng::seed_from_u64(seed.wrapping_add(2 + u64::from(next))),
        clock: if next { 1_774_310_400_000 } else { 1_773_100_800_000 },
        night: if next { "n" } else { "d" },
        conversations: 0,
        log: Log { calls: Vec::new(), planted: Vec::new() },
    };
    let mut order: Vec<usize> = std::iter::repeat_n(8, counts.journeys).collect();
    for (task, count) in counts.singles.iter().enumerate() {
        order.extend(std::iter::repeat_n(task, *count));
    }
    for at in (1..order.len()).rev() {
        order.swap(at, rng.random_range(0..=at));
    }
    for task in order {
        let ticket = Ticket::new(&mut rng);
        let asks = if task == 8 { journey(&asker, &ticket, &mut rng) } else { vec![single(&asker, &ticket, task, &mut rng)] };
        writer.conversation(&ticket, &asks);
    }
    writer.log.planted.sort();
    writer.log.planted.dedup();
    writer.log
}

fn label(rng: &mut ChaCha8Rng) -> &'static str {
    pick(&["delivery", "delivery", "delivery", "return", "return", "billing", "billing", "account", "warranty", "product"], rng)
}

fn single(asker: &Asker<'_>, ticket: &Ticket, task: usize, rng: &mut ChaCha8Rng) -> Ask {
    match task {
        0 => asker.route(ticket, label(rng), rng),
        1 => asker.extract(ticket, rng),
        2 => asker.lookup(ticket, rng.random_range(0..3), rng),
        3 => asker.triage(ticket, rng),
        4 => asker.card(ticket, rng),
        5 => plan(ticket, rng),
        6 => asker.refund(ticket, rng),
        _ => asker.gift(ticket, rng),
    }
}

/// One ticket on its whole way: every step speaks of the same customer and order.
fn journey(asker: &Asker<'_>, ticket: &Ticket, rng: &mut ChaCha8Rng) -> Vec<Ask> {
    let label = LABELS[rng.random_range(0..3)];
    let asked = rng.random_range(0..2);
    vec![asker.route(ticket, label, rng), asker.extract(ticket, rng), asker.lookup(ticket, asked, rng), asker.card(ticket, rng)]
}

impl Writer {
    fn id(&mut self) -> String {
        self.conversations += 1;
        format!("fennmoor-{}{:04}", self.night, self.conversations)
    }

    fn conversation(&mut self, ticket: &Ticket, asks: &[Ask]) {
        let id = self.id();
        let mut step = 0;
        for ask in asks {
            self.call(&id, step, ticket, ask);
            step += 1;
            if !ask.slips.is_empty() && self.rng.random_bool(REPEATS) {
                // A prompt with a person in it is asked again in the same conversation, any other by somebody else.
                let personal = !ask.extras.is_empty() || ticket.personal().iter().any(|(_, value)| holds(&ask.messages, value));
                if personal {
                    self.call(&id, step, ticket, ask);
                    step += 1;
                } else {
                    let other = self.id();
                    self.call(&other, 0, ticket, ask);
                }
            }
        }
    }

    fn call(&mut self, id: &str, step: u32, ticket: &Ticket, ask: &Ask) {
        let slipped = !ask.slips.is_empty() && self.rng.random_bool(SLIPS);
        let answer = if slipped { ask.slips[self.rng.random_range(0..ask.slips.len())].clone() } else { ask.answer.clone() };
        let planning = ask.task.starts_with("plan");
        let model = if planning { "o3-mini-2025-01-31" } else { "gpt-4o-2024-08-06" };
        let mut request = json!({"model": model, "messages": ask.messages});
        for (name, value) in &ask.fields {
            request[*name] = value.clone();
        }
        let thinking = if planning { self.rng.random_range(1_400..2_600) } else { 0 };
        let prompt = request.to_string().chars().count() as u64 * 10 / 44;
        let words = answer["content"].as_str().map_or_else(|| answer["tool_calls"].to_string(), str::to_owned);
        let completion = words.chars().count() as u64 * 10 / 38 + 1 + thinking;
        let (per_prompt, per_answer) = if planning { (1.1e-6, 4.4e-6) } else { (2.5e-6, 1e-5) };
        let cost = prompt as f64 * per_prompt + completion as f64 * per_answer;
        let finish = if answer.get("tool_calls").is_some() { "tool_calls" } else { "stop" };
        let mut usage = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion});
        if planning {
            usage["completion_tokens_details"] = json!({"reasoning_tokens": thinking});
        }
        self.clock += self.rng.random_range(20_000..500_000);
        let response = json!({"id": format!("chatcmpl-{id}-{step}"), "object": "chat.completion", "created": self.clock / 1_000, "model": model,
            "choices": [{"index": 0, "message": answer, "finish_reason": finish}], "usage": usage});
        let call = Call {
            source_id: format!("{id}:{step}"),
            conversation_id: id.to_owned(),
            step,
            timestamp: Some(Time(self.clock)),
            workload_id: None,
            client_id: Some(format!("shop-{}", ["north", "south", "app"][self.rng.random_range(0..3)])),
            request: Request(request),
            response: Response(response),
            latency_ms: Some((220 + completion * 14 + self.rng.random_range(0..180)) as f64),
            cost_usd: Some((cost * 1e7).round() / 1e7),
            feedback: self.feedback(id, slipped),
            tags: self.tags(id),
            lossy: vec![],
        };
        self.plant(ticket, ask, &call);
        self.log.calls.push(call);
    }

    fn add(&mut self, id: &str, class: &'static str, value: &str) {
        self.log.planted.push(Planted { conversation_id: id.to_owned(), class, value: value.to_owned() });
    }

    /// One call in six was judged by a person, who sees half of the slips.
    fn feedback(&mut self, id: &str, slipped: bool) -> Map<String, Value> {
        let mut feedback = Map::new();
        if self.rng.random_bool(0.16) {
            feedback.insert("success".to_owned(), json!(!slipped || self.rng.random_bool(0.5)));
            if self.rng.random_bool(0.1) {
                let phone = super::planted::phone(&mut self.rng);
                feedback.insert("comment".to_owned(), json!(format!("called back on {phone}")));
                self.add(id, "phone", &phone);
            }
        }
        feedback
    }

    fn tags(&mut self, id: &str) -> Map<String, Value> {
        let mut tags = Map::new();
        tags.insert("release".to_owned(), json!("2026.3"));
        if self.rng.random_bool(0.04) {
            let ip = super::planted::ip(&mut self.rng);
            tags.insert("client_ip".to_owned(), json!(ip));
            self.add(id, "ip", &ip);
        }
        tags
    }

    /// Notes what the call holds: what has to go, and what has to stay.
    fn plant(&mut self, ticket: &Ticket, ask: &Ask, call: &Call) {
        let (id, messages) = (&call.conversation_id, [ask.messages.clone(), vec![ask.answer.clone()]].concat());
        for (class, value) in ticket.personal() {
            // A first name alone is personal where its owner is known to be meant; `plan` prints technicians too.
            if holds(&messages, value) && (class != "first_name" || ask.task == "status card") {
                self.add(id, class, value);
            }
        }
        for (class, value) in &ask.extras {
            self.add(id, class, value);
        }
        for slot in ["order", "tracking", "amount", "date", "item"] {
            if holds(&messages, ticket.get(slot)) {
                self.add(id, "keep", ticket.get(slot));
            }
        }
    }
}

fn holds(messages: &[Value], value: &str) -> bool {
    fn inside(leaf: &Value, value: &str) -> bool {
        match leaf {
            Value::String(text) => text.contains(value),
            Value::Array(items) => items.iter().any(|item| inside(item, value)),
            Value::Object(map) => map.values().any(|item| inside(item, value)),
            _ => false,
        }
    }
    messages.iter().any(|message| inside(message, value))
}
