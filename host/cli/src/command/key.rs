//! `coffer key`

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};

use coffer_api::size;
use coffer_repository::{KeyInfo, Repository, RepositoryError};
use coffer_resolve::RepositorySelection;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::each_there;
use crate::args::{Key, NewPassword, Which};
use crate::context::{App, Place};
use crate::exit::{End, Failure, Outcome};
use crate::output::{Table, line};

/// Longer than any password; keeps a wrong file (a disk image, say) from being read whole.
const LONGEST: u64 = 64 << 10;
const VARIABLE: &str = "COFFER_NEW_PASSWORD";

pub(crate) fn run(key: Key, app: &App) -> Outcome {
    match key {
        Key::List { which } => list(&which, app),
        Key::Add { new, host, user, which } => {
            let (place, repository) = only(&which, app)?;
            let password = new_password(&new)?;
            let id = repository.add_key(&password, host, user).map_err(|error| place.failed(error))?;
            changed("key_added", &id, &place, app, || format!("key {} added", short(&id)));
            Ok(End::Done)
        }
        Key::Remove { id, dry_run, which } => remove(&id, dry_run, &which, app),
        Key::Passwd { new, which } => change_password(&new, &which, app),
    }
}

fn only(which: &Which, app: &App) -> Result<(Place, Repository), Failure> {
    let place = app.place(which)?;
    let repository = app.open(&place)?;
    Ok((place, repository))
}

fn changed(message: &str, id: &str, place: &Place, app: &App, text: impl FnOnce() -> String) {
    app.output.result(|| place.tag(message, json!({ "id": id })), || format!("{}: {}", place.label(), text()));
}

fn list(which: &Which, app: &App) -> Outcome {
    let places = app.places(which)?;
    each_there(app, &places, |place, repository| {
        let keys = repository.keys().map_err(|error| place.failed(error))?;
        if app.output.is_json() {
            for key in &keys {
                app.output.object(&place.tag("key", object(key)));
            }
            return Ok(End::Done);
        }
        app.output.note(|| format!("{} at {}", place.label(), repository.location()));
        let mut table = Table::new(&["", "ID", "User", "Host", "Created"], &[]);
        for key in keys {
            let mark = if key.current { "*" } else { "" };
            table.row([
                mark.to_owned(),
                short(&key.id).to_owned(),
                key.user.unwrap_or_default(),
                key.host.unwrap_or_default(),
                key.created.map(|created| created.to_string()).unwrap_or_default(),
            ]);
        }
        line(&table.render());
        Ok(End::Done)
    })
}

fn remove(id: &str, dry_run: bool, which: &Which, app: &App) -> Outcome {
    let (place, repository) = only(which, app)?;
    if dry_run {
        let keys = repository.keys().map_err(|error| place.failed(error))?;
        let matching: Vec<&KeyInfo> = keys.iter().filter(|key| !id.is_empty() && key.id.starts_with(id)).collect();
        let [key] = matching.as_slice() else {
            return Err(Failure::Other(format!(
                "{}: {} keys begin with {id:?}; `coffer key list` shows them",
                place.label(),
                matching.len()
            )));
        };
        let note = if key.current { ", but it is the one in use and stays" } else { "" };
        changed("would_remove_key", &key.id, &place, app, || format!("key {} would be removed{note}", short(&key.id)));
        return Ok(End::Done);
    }
    let removed = repository.remove_key(id).map_err(|error| place.failed(error))?;
    changed("key_removed", &removed, &place, app, || format!("key {} removed", short(&removed)));
    Ok(End::Done)
}

fn change_password(new: &NewPassword, which: &Which, app: &App) -> Outcome {
    let (place, repository) = only(which, app)?;
    let password = new_password(new)?;
    let others = others_with_password_of(&place, app)
        .inspect_err(|failure| {
            app.output.warning(&format!(
                "it is not known which other repositories have the same password: {failure}; before the encryption Secret gets \
                 the new one, change it in all that use this Secret"
            ));
        })
        .ok();
    let id = repository.change_password(&password).map_err(|error| place.failed(error))?;
    app.output.result(
        || place.tag("password_changed", json!({ "id": id, "others_with_old_password": others })),
        || {
            let next = match others.as_deref() {
                None | Some([]) => {
                    "put the new one into the encryption Secret as RESTIC_PASSWORD, otherwise the next backup fails; any other \
                     repository that uses this Secret needs the new password first"
                        .to_owned()
                }
                Some(others) => format!(
                    "leave the encryption Secret as it is: its password still opens {}, and nobody could read them without \
                     it; run `coffer key passwd` with the same new password for each of them, then put it into the Secret as \
                     RESTIC_PASSWORD; until then backups into this repository fail",
                    others.join(", ")
                ),
            };
            format!("{}: the password is replaced (new key {}); {next}", place.label(), short(&id))
        },
    );
    Ok(End::Done)
}

/// The other repositories of the manifests that the password of `place` opens. Those that cannot be opened for another reason
/// than a wrong password are named in warnings.
fn others_with_password_of(place: &Place, app: &App) -> Result<Vec<String>, Failure> {
    let password = place.destination.password.expose_secret();
    // Those of every namespace: one Secret can serve them all.
    let all = coffer_resolve::repositories(&app.manifests()?, &RepositorySelection::default())?;
    let mut others = Vec::new();
    for other in all.into_iter().map(Place::new) {
        if other.label() == place.label() || other.destination.password.expose_secret() != password {
            continue;
        }
        match app.open(&other) {
            Ok(_) => others.push(other.label()),
            Err(Failure::Repository(_, error)) if matches!(*error, RepositoryError::WrongPassword { .. }) => {}
            Err(failure) => app.output.warning(&format!(
                "a repository with the same password cannot be opened: {failure}; if it exists, change its password too before the \
                 encryption Secret gets the new one"
            )),
        }
    }
    Ok(others)
}

fn object(key: &KeyInfo) -> serde_json::Value {
    json!({ "id": key.id, "user": key.user, "host": key.host, "created": key.created, "current": key.current })
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Reads the new password from the file, the variable or standard input, in this order.
fn new_password(from: &NewPassword) -> Result<SecretString, Failure> {
    let text = match &from.new_password_file {
        Some(path) if path.as_os_str() == "-" => from_stdin()?,
        Some(path) => {
            let failed = |error| Failure::File(format!("cannot read the new password from {}", path.display()), error);
            limited(fs::File::open(path).map_err(failed)?).map_err(failed)?
        }
        None => match std::env::var(VARIABLE) {
            Ok(text) => text,
            Err(_) if io::stdin().is_terminal() => {
                return Err(Failure::Usage(format!(
                    "no new password: write it to a file and name it with --new-password-file, or set {VARIABLE}, or pipe it \
                     to standard input"
                )));
            }
            Err(_) => from_stdin()?,
        },
    };
    let password = SecretString::from(text.trim_end_matches(['\r', '\n']));
    if password.expose_secret().is_empty() {
        return Err(Failure::Usage("the new password is empty; choose one that is not".to_owned()));
    }
    Ok(password)
}

fn from_stdin() -> Result<String, Failure> {
    limited(io::stdin().lock())
        .map_err(|error| Failure::File("cannot read the new password from standard input".into(), error))
}

fn limited(reader: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    let bytes = reader.take(LONGEST + 1).read_to_string(&mut text)?;
    if bytes as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {}, which is no password", size::format(LONGEST))));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SecretString, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        fs::write(&path, text).unwrap();
        new_password(&NewPassword { new_password_file: Some(path) })
    }

    #[test]
    fn a_password_ends_before_its_line_end() {
        assert_eq!(read(" with spaces \r\n").unwrap().expose_secret(), " with spaces ");
    }

    #[test]
    fn an_empty_or_endless_password_is_refused() {
        assert!(read("\n").unwrap_err().to_string().contains("empty"));
        assert!(read(&"x".repeat(70_000)).unwrap_err().to_string().contains("no password"));
    }
}
