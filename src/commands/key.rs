//! `key`: who reads what, and changing it.
use std::process::ExitCode;

use report::number;
use store::{Keys, Resealed, Role};

use crate::cli::{KeyArgs, KeyCommand, Reader};
use crate::context::{Context, cured};

pub fn command(context: &Context, args: &KeyArgs) -> anyhow::Result<ExitCode> {
    match &args.what {
        KeyCommand::List => list(context)?,
        KeyCommand::Rotate => {
            context.open()?.rotate_origin().map_err(cured)?;
            context.ui.status("rotated the origin secret; `slm-migrate key export DIR` writes it for machines that collect");
            saved(context);
        }
        KeyCommand::Add { role, key } => {
            let resealed = context.open()?.add_reader(Role::from(*role), key).map_err(cured)?;
            say(context, &resealed)?;
            saved(context);
        }
        KeyCommand::Remove { role, key } => {
            let resealed = context.open()?.remove_reader(Role::from(*role), key).map_err(cured)?;
            say(context, &resealed)?;
            saved(context);
        }
        KeyCommand::Export { folder } => {
            let path = Keys::load(&context.keys()).map_err(cured)?.export_collector(folder).map_err(cured)?;
            context.ui.status(&format!("wrote `{}`: with it alone a machine appends calls and reads none", path.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context) -> anyhow::Result<()> {
    let keys = context.read()?.known_keys();
    context.ui.rows("keys", &keys, &["role", "key", "here"], |key| {
        vec![key.role.clone(), key.key.clone(), if key.held { "yes" } else { "no" }.into()]
    })
}

fn say(context: &Context, resealed: &Resealed) -> anyhow::Result<()> {
    context
        .ui
        .value(resealed, || format!("sealed {} segments and {} results anew\n", number(resealed.segments), number(resealed.results)))?;
    if !resealed.erased {
        context.ui.status("key       former seals are still in the file (no room to write it anew, or a reader holds it): the next command that writes erases them");
    }
    Ok(())
}

fn saved(context: &Context) {
    context.ui.status(&format!("back up `{}` anew", context.keys().join(Role::Collector.file_name()).display()));
}

impl From<Reader> for Role {
    fn from(reader: Reader) -> Self {
        match reader {
            Reader::Curator => Self::Curator,
            Reader::Trainer => Self::Trainer,
            Reader::Auditor => Self::Auditor,
        }
    }
}
