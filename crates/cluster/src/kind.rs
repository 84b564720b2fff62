//! What the answers of a task are, from the shapes seen in training.
use std::collections::BTreeMap;

use record::TaskKind;

use crate::action::Action;

/// Share of answers with tool calls from which a task is one of tool calls: text beside them is expected.
const TOOLS: f64 = 0.05;
/// Share of answers that must be JSON, or short, for the task to be of that kind.
const MOST: f64 = 0.9;
/// Most labels a labelling task has.
const LABELS: usize = 64;

/// The kind of a task with these answer shapes.
#[expect(clippy::cast_precision_loss, reason = "shares of calls")]
pub(crate) fn of(actions: &BTreeMap<Action, u64>) -> TaskKind {
    let all: u64 = actions.values().sum();
    let share = |is: fn(&Action) -> bool| {
        let n: u64 = actions.iter().filter(|(action, _)| is(action)).map(|(_, n)| n).sum();
        n as f64 / all.max(1) as f64
    };
    if share(|a| matches!(a, Action::Tools(_))) >= TOOLS {
        return TaskKind::ToolCall;
    }
    if share(|a| matches!(a, Action::Json(_))) >= MOST {
        return TaskKind::Json;
    }
    let labels: Vec<u64> = actions.iter().filter(|(action, _)| matches!(action, Action::Short(_))).map(|(_, n)| *n).collect();
    let short: u64 = labels.iter().sum();
    // labels repeat; names and titles, as short as they are, do not
    let repeat = labels.len() <= LABELS && labels.len() as f64 <= 1.0 + 0.3 * short as f64;
    if share(|a| matches!(a, Action::Short(_))) >= MOST && repeat { TaskKind::Label } else { TaskKind::Text }
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::action::Action;
    use record::TaskKind;
    use std::collections::BTreeMap;

    #[test]
    fn kinds_follow_the_answers() {
        let labels = |distinct: u64, each: u64| (0..distinct).map(|i| (Action::Short(i), each)).collect::<BTreeMap<_, _>>();
        assert_eq!(of(&labels(4, 10)), TaskKind::Label);
        assert_eq!(of(&labels(40, 1)), TaskKind::Text);
        assert_eq!(of(&BTreeMap::from([(Action::Prose, 60), (Action::Tools(vec!["a".into()]), 40)])), TaskKind::ToolCall);
        assert_eq!(of(&BTreeMap::from([(Action::Json(vec!["a".into()]), 95), (Action::Prose, 5)])), TaskKind::Json);
        assert_eq!(of(&BTreeMap::from([(Action::Json(vec!["a".into()]), 50), (Action::Prose, 50)])), TaskKind::Text);
        assert_eq!(of(&BTreeMap::new()), TaskKind::Text);
    }
}
