//! `forget`: a person, a conversation or a client leaves the store for good.
use std::process::ExitCode;

use report::number;
use store::{Forgotten, Subject};

use crate::cli::ForgetArgs;
use crate::context::{Context, cured};

pub fn command(context: &Context, args: &ForgetArgs) -> anyhow::Result<ExitCode> {
    let named = args.person.clone().map(Subject::Person).or_else(|| args.conversation.clone().map(Subject::Conversation));
    let Some(subject) = named.or_else(|| args.client.clone().map(Subject::Client)) else { return Ok(ExitCode::from(2)) };
    let forgotten = context.open()?.forget(&subject, args.dry.dry_run).map_err(cured)?;
    context.ui.value(&forgotten, || text(&forgotten, args.dry.dry_run))?;
    if !forgotten.made.is_empty() {
        context.ui.status("forget    what was made from these calls is left as it is: train or export it anew, or remove it");
    }
    if !forgotten.erased && !args.dry.dry_run {
        context.ui.status("forget    deleted bytes are still in the file (no room to write it anew, or a reader holds it): the next command that writes erases them");
    }
    Ok(ExitCode::SUCCESS)
}

fn text(forgotten: &Forgotten, dry: bool) -> String {
    let Forgotten { calls, conversations, clean, predictions, rejects, results, made, .. } = forgotten;
    let mut text = format!(
        "{} {} calls ({} clean), {} whole conversations, {} predictions, {} rejects, quotes in {} results\n",
        if dry { "would forget" } else { "forgot" },
        number(*calls),
        number(*clean),
        number(*conversations),
        number(*predictions),
        number(*rejects),
        number(*results)
    );
    for made in made {
        text += &format!("  {} `{}` of {} was made from {} of them\n", made.kind, made.name, made.made, number(made.calls));
    }
    text
}
