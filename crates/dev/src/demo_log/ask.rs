//! What is asked: the prompt of each task and the right answer to it. Knows no log and no noise.
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::grammar::{Grammar, Slots, with_typos};
use super::planted;
use super::ticket::{Ticket, pick};

/// A prompt with its right answer.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Name of the task, for the list of counts; never written to the log.
    pub task: &'static str,
    /// Chat messages.
    pub messages: Vec<Value>,
    /// Fields of the request beside model and messages.
    pub fields: Vec<(&'static str, Value)>,
    /// The right assistant message.
    pub answer: Value,
    /// What else might be answered by mistake.
    pub slips: Vec<Value>,
    /// Personal data beyond the ticket's own.
    pub extras: Vec<(&'static str, String)>,
}

/// The labels of `route`; each is also a symbol of the grammar.
pub const LABELS: [&str; 6] = ["delivery", "return", "billing", "account", "warranty", "product"];
const ROUTE: &str =
    "You sort mail for the Fennmoor home store. Answer with one label only: delivery, return, billing, account, warranty or product.";
const ROUTE_NEXT: &str = "You are the mail sorter of the Fennmoor home store. Reply with exactly one word, the desk that should read the mail: delivery, return, billing, account, warranty or product.";
const EXTRACT: &str = "Read the customer's mail and fill the order form. Copy each value as it is written. Answer with JSON only.";
const LOOKUP: &str = "You are the look-up step of the Fennmoor support agent. Call the one tool that answers the customer.";
const TRIAGE: &str =
    "Judge the mood of a customer's message. Answer with JSON only: sentiment is positive, neutral or negative, urgency is low or high.";
const CARD: &str = "Make the status card for the app from the tool result. Answer with JSON only: to, order_id, state, arrives.";
const GIFT: &str = "You check the text of gift cards before they are printed. Answer print if it is friendly and hold if it is not.";
const REFUND: &str = "Write a short and friendly mail to the customer about the refund. Do not promise anything that is not in the notes.";

/// What a task is asked with.
#[derive(Debug)]
pub struct Asker<'a> {
    /// Phrases.
    pub grammar: &'a Grammar,
    /// Whether it is the next night: a changed prompt and new ways to say things.
    pub next: bool,
}

fn assistant(content: impl Into<String>) -> Value {
    json!({"role": "assistant", "content": content.into()})
}

fn called(name: &str, arguments: &Value) -> Value {
    json!({"id": format!("call_{name}"), "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
}

fn tool(name: &str, description: &str, argument: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "description": description,
        "parameters": {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}}})
}

impl Asker<'_> {
    /// A user mail: greeting, body, sometimes a signature, personal data and typos.
    fn mail(&self, body: &str, signed: f64, slots: &Slots, extras: &mut Vec<(&'static str, String)>, rng: &mut ChaCha8Rng) -> Value {
        let mut parts = Vec::new();
        if rng.random_bool(0.4) {
            parts.push(self.grammar.say("hello", slots, rng));
        }
        parts.push(if rng.random_bool(0.1) { with_typos(body, slots, rng) } else { body.to_owned() });
        if rng.random_bool(0.05) {
            parts.push(self.extra(extras, rng));
        }
        if rng.random_bool(0.2) {
            parts.push(self.grammar.say("thanks", slots, rng));
        }
        let mut text = parts.join(" ");
        if rng.random_bool(signed) {
            text = format!("{text}\n{}", self.grammar.say("sign", slots, rng));
        }
        json!({"role": "user", "content": text})
    }

    /// A sentence with a planted value that no task needs.
    fn extra(&self, extras: &mut Vec<(&'static str, String)>, rng: &mut ChaCha8Rng) -> String {
        let (symbol, class, written, hidden) = match rng.random_range(0..10) {
            0 => {
                let mail =
                    format!("{}{}@{}", ["lark", "otter", "comet"][rng.random_range(0..3)], rng.random_range(100..9999), "quillbox.test");
                ("extra_email", "email", mail.clone(), mail)
            }
            1 => both("extra_phone", "phone", planted::phone(rng)),
            2 => both("extra_card", "card", planted::card(rng)),
            3 => both("extra_iban", "iban", planted::iban(rng)),
            4 => both("extra_ssn", "ssn", planted::ssn(rng)),
            5 => both("extra_ip", "ip", planted::ip(rng)),
            6 => {
                let (url, secret) = planted::url(rng);
                ("extra_url", "url_credentials", url, secret)
            }
            7 => both("extra_jwt", "jwt", planted::jwt(rng)),
            8 => both("extra_key", "api_key", planted::api_key(rng)),
            _ => both("extra_pem", "private_key", planted::pem(rng)),
        };
        extras.push((class, hidden));
        self.grammar.say(symbol, &Slots::from([("extra", written)]), rng)
    }

    fn system(text: &str) -> Value {
        json!({"role": "system", "content": text})
    }

    /// Route a mail to one of [`LABELS`].
    pub fn route(&self, ticket: &Ticket, label: &'static str, rng: &mut ChaCha8Rng) -> Ask {
        let mut extras = Vec::new();
        let mut body = self.grammar.say(label, &ticket.slots, rng);
        if rng.random_bool(0.45) {
            body = format!("{} {body}", self.grammar.say("context", &ticket.slots, rng));
        }
        let user = self.mail(&body, 0.3, &ticket.slots, &mut extras, rng);
        let system = Self::system(if self.next { ROUTE_NEXT } else { ROUTE });
        let slips = LABELS.iter().filter(|other| **other != label).map(|other| assistant(*other)).collect();
        Ask { task: "route ticket", messages: vec![system, user], fields: vec![], answer: assistant(label), slips, extras }
    }

    /// Fill the order form from a mail.
    pub fn extract(&self, ticket: &Ticket, rng: &mut ChaCha8Rng) -> Ask {
        let mut extras = Vec::new();
        let body = format!("{} {}", self.grammar.say("extract", &ticket.slots, rng), self.grammar.say("extract_why", &ticket.slots, rng));
        let user = self.mail(&body, 0.3, &ticket.slots, &mut extras, rng);
        let form = |quantity: usize, cents: u32| {
            let amount = f64::from(cents) / 100.0;
            let value = json!({"order_id": ticket.get("order"), "item": ticket.get("item"), "quantity": quantity, "amount": amount,
                "date": ticket.get("date")});
            assistant(value.to_string())
        };
        let schema = json!({"type": "json_schema", "json_schema": {"name": "order_form", "strict": true, "schema": {"type": "object",
            "properties": {"order_id": {"type": "string"}, "item": {"type": "string"}, "quantity": {"type": "integer"},
                "amount": {"type": "number"}, "date": {"type": "string"}},
            "required": ["order_id", "item", "quantity", "amount", "date"], "additionalProperties": false}}});
        let slips = vec![form(ticket.quantity % 6 + 1, ticket.cents), form(ticket.quantity, ticket.cents + 10)];
        let (messages, answer) = (vec![Self::system(EXTRACT), user], form(ticket.quantity, ticket.cents));
        Ask { task: "extract order JSON", messages, fields: vec![("response_format", schema)], answer, slips, extras }
    }

    /// Choose a look-up tool and copy its argument.
    pub fn lookup(&self, ticket: &Ticket, which: usize, rng: &mut ChaCha8Rng) -> Ask {
        let mut extras = Vec::new();
        let (symbol, name, argument, slot) = [
            ("ask_order", "get_order", "order_id", "order"),
            ("ask_parcel", "track_parcel", "tracking_number", "tracking"),
            ("ask_account", "get_account", "email", "email"),
        ][which];
        let mut body = self.grammar.say(symbol, &ticket.slots, rng);
        if rng.random_bool(0.4) {
            let beside = if which == 1 && rng.random_bool(0.4) { "beside_order" } else { "beside_item" };
            body = format!("{body} {}", self.grammar.say(beside, &ticket.slots, rng));
        }
        let user = self.mail(&body, 0.15, &ticket.slots, &mut extras, rng);
        let answer = |name: &str| {
            let call = called(name, &json!({argument: ticket.get(slot)}));
            json!({"role": "assistant", "content": null, "tool_calls": [call]})
        };
        let tools = json!([
            tool("get_order", "Look up an order.", "order_id"),
            tool("track_parcel", "Follow a parcel.", "tracking_number"),
            tool("get_account", "Look up a customer.", "email"),
        ]);
        let slips =
            ["get_order", "track_parcel", "get_account"].iter().filter(|other| **other != name).map(|other| answer(other)).collect();
        let messages = vec![Self::system(LOOKUP), user];
        Ask { task: "look up", messages, fields: vec![("tools", tools)], answer: answer(name), slips, extras }
    }

    /// Rate a message by mood and haste.
    pub fn triage(&self, ticket: &Ticket, rng: &mut ChaCha8Rng) -> Ask {
        let mut extras = Vec::new();
        let sentiment = pick(&["positive", "neutral", "negative", "negative"], rng);
        let urgency = pick(&["high", "low", "low"], rng);
        let late = |symbol: &str, rng: &mut ChaCha8Rng| match symbol {
            "neutral" => symbol.to_owned(),
            _ if self.next && rng.random_bool(0.6) => format!("late_{symbol}"),
            _ => symbol.to_owned(),
        };
        let (mood, haste) = (late(sentiment, rng), late(urgency, rng));
        let mut parts = vec![self.grammar.say(&mood, &ticket.slots, rng), self.grammar.say(&haste, &ticket.slots, rng)];
        if rng.random_bool(0.25) {
            parts.swap(0, 1);
        }
        if rng.random_bool(0.35) {
            parts.insert(0, self.grammar.say("context", &ticket.slots, rng));
        }
        let user = self.mail(&parts.join(" "), 0.2, &ticket.slots, &mut extras, rng);
        let rated = |sentiment: &str, urgency: &str| assistant(json!({"sentiment": sentiment, "urgency": urgency}).to_string());
        let slips = vec![
            rated(sentiment, if urgency == "high" { "low" } else { "high" }),
            rated(if sentiment == "neutral" { "negative" } else { "neutral" }, urgency),
        ];
        let fields = vec![("response_format", json!({"type": "json_object"}))];
        let messages = vec![Self::system(TRIAGE), user];
        Ask { task: "triage", messages, fields, answer: rated(sentiment, urgency), slips, extras }
    }

    /// Make a status card from a tool result.
    pub fn card(&self, ticket: &Ticket, rng: &mut ChaCha8Rng) -> Ask {
        let mut extras = Vec::new();
        let mut body = self.grammar.say("ask_card", &ticket.slots, rng);
        if rng.random_bool(0.3) {
            body = format!("{} {body}", self.grammar.say("here", &ticket.slots, rng));
        }
        let user = self.mail(&body, 0.0, &ticket.slots, &mut extras, rng);
        let arrives = format!("2026-{:02}-{:02}", rng.random_range(1..13), rng.random_range(1..29));
        let mut customer = json!({"name": ticket.get("name")});
        let mut add = |key: &str, slot: &str, chance: f64, rng: &mut ChaCha8Rng| {
            if rng.random_bool(chance) {
                customer[key] = json!(ticket.get(slot));
            }
        };
        add("first_name", "first", 0.2, rng);
        add("email", "email", 0.4, rng);
        add("phone", "phone", 0.2, rng);
        add("street", "street", 0.2, rng);
        let order = json!({"order_id": ticket.get("order"), "state": ticket.state, "arrives": arrives,
            "carrier": pick(super::words::CARRIERS, rng), "customer": customer});
        let result = order.to_string();
        let call = called("get_order", &json!({"order_id": ticket.get("order")}));
        let messages = vec![
            Self::system(CARD),
            user,
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            json!({"role": "tool", "tool_call_id": "call_get_order", "content": result}),
        ];
        let card = |state: &str, arrives: &str| {
            assistant(json!({"to": ticket.get("name"), "order_id": ticket.get("order"), "state": state, "arrives": arrives}).to_string())
        };
        let other = if ticket.state == "delayed" { "in_transit" } else { "delayed" };
        let slips = vec![card(other, &arrives), card(ticket.state, &format!("{}1", &arrives[..9]))];
        let fields = vec![("response_format", json!({"type": "json_object"}))];
        Ask { task: "status card", messages, fields, answer: card(ticket.state, &arrives), slips, extras }
    }

    /// Write a refund mail; every answer is worded anew.
    pub fn refund(&self, ticket: &Ticket, rng: &mut ChaCha8Rng) -> Ask {
        let mut extras = Vec::new();
        let user = self.mail(&self.grammar.say("refund_ask", &ticket.slots, rng), 0.9, &ticket.slots, &mut extras, rng);
        let mut say = |symbol: &str| self.grammar.say(symbol, &ticket.slots, rng);
        let text = format!(
            "Dear {},\n\n{} {} {}\n\n{}",
            ticket.get("name"),
            say("refund_open"),
            say("refund_pay"),
            say("refund_extra"),
            say("refund_close")
        );
        let messages = vec![Self::system(REFUND), user];
        Ask {
            task: "write refund mail",
            messages,
            fields: vec![("temperature", json!(0.9))],
            answer: assistant(text),
            slips: vec![],
            extras,
        }
    }

    /// The next night's new task: may a gift card be printed?
    pub fn gift(&self, ticket: &Ticket, rng: &mut ChaCha8Rng) -> Ask {
        let good = rng.random_bool(0.6);
        let text = self.grammar.say(if good { "gift" } else { "gift_bad" }, &ticket.slots, rng);
        let user = json!({"role": "user", "content": format!("Gift card to {}: {text}", ticket.get("name"))});
        let (answer, slip) = if good { ("print", "hold") } else { ("hold", "print") };
        let messages = vec![Self::system(GIFT), user];
        Ask { task: "check gift card", messages, fields: vec![], answer: assistant(answer), slips: vec![assistant(slip)], extras: vec![] }
    }
}

fn both(symbol: &'static str, class: &'static str, value: String) -> (&'static str, &'static str, String, String) {
    (symbol, class, value.clone(), value)
}
