//! What an addon implements.

use crate::{
    Context, Description, Entry, Error, Fact, Finished, Item, Plan, Reader, RestoreItem, Result, Stage, Target, Writer,
};

/// An addon: what it is, and the two types that do its work. Hand it to [`crate::export_addon!`].
pub trait Addon: 'static {
    /// One session of a backup.
    type Backup: Backup + 'static;
    /// One session of a restore.
    type Restore: Restore + 'static;

    /// What the addon is and can do. Called with nothing granted; must not depend on anything.
    fn describe() -> Description;
}

/// One sandboxed session of a backup. The host opens one in each of N sandboxes: the leader's `prepare` begins one consistent
/// view, the others `join` it, the leader's `release` gives up the locks, its `plan` lists the work; then every session gets
/// items to `run`, side by side, in the order of the paths; at last every session is closed. After an error the sandbox is
/// dropped and nothing is published.
pub trait Backup: Sized {
    /// Checks the parameters, connects and logs in.
    fn open(context: Context, target: Target) -> Result<Self>;

    /// Leader only. Begins the view and returns what the others need to join it; empty if there is nothing to say.
    fn prepare(&mut self) -> Result<String> {
        Ok(String::new())
    }

    /// Joins the view. May be called again with another one.
    fn join(&mut self, _view: &str) -> Result<()> {
        Ok(())
    }

    /// Leader only, when every other session has joined. `None`: all sessions read the same state, and locks are given up.
    /// `Some`: they do not; here is the next view to join.
    fn release(&mut self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Leader only. Lists the work as the view has it.
    fn plan(&mut self) -> Result<Plan>;

    /// Writes the item's stream and finishes it. Returns the proof of that and what is worth keeping about the stream, such as
    /// the number of rows.
    fn run(&mut self, item: &Item, out: Writer) -> Result<(Finished, Vec<Fact>)>;

    /// Ends the session in good order.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// One sandboxed session of a restore. The host opens one in each of N sandboxes; the leader plans; stage by stage every
/// session gets items to `run`; then the leader's `finish`, and every session is closed, after an error too where the host
/// still can.
pub trait Restore: Sized {
    /// Checks the parameters, connects and logs in.
    fn open(context: Context, target: Target) -> Result<Self>;

    /// Leader only. Decides what to restore, in which order. Changes nothing. `facts` are those of the backup's plan.
    fn plan(&mut self, entries: &[Entry], facts: &[Fact]) -> Result<Vec<Stage>>;

    /// Reads the item's stream to its end and applies it. Returns what is worth saying about it.
    fn run(&mut self, item: &RestoreItem, input: Reader) -> Result<Vec<Fact>>;

    /// Leader only. Puts back what was disabled and checks what can be checked.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Ends the session in good order, and leaves the server's settings as it found them.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The session type of a direction that an addon does not know: `type Restore = Unsupported;`.
#[derive(Debug)]
pub enum Unsupported {}

impl Unsupported {
    fn error(context: &Context) -> Error {
        Error::unsupported(format!(
            "this addon cannot do the task {:?}: it does not know that direction",
            context.task()
        ))
    }
}

impl Backup for Unsupported {
    fn open(context: Context, _target: Target) -> Result<Self> {
        Err(Self::error(&context))
    }

    fn plan(&mut self) -> Result<Plan> {
        match *self {}
    }

    fn run(&mut self, _item: &Item, _out: Writer) -> Result<(Finished, Vec<Fact>)> {
        match *self {}
    }
}

impl Restore for Unsupported {
    fn open(context: Context, _target: Target) -> Result<Self> {
        Err(Self::error(&context))
    }

    fn plan(&mut self, _entries: &[Entry], _facts: &[Fact]) -> Result<Vec<Stage>> {
        match *self {}
    }

    fn run(&mut self, _item: &RestoreItem, _input: Reader) -> Result<Vec<Fact>> {
        match *self {}
    }
}

/// Makes a component of an [`Addon`]: `export_addon!(MyAddon);`, once, at the top level of the crate. Outside of a guest it
/// only checks that the type is an addon.
#[macro_export]
macro_rules! export_addon {
    ($addon:ty) => {
        #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
        #[allow(unsafe_code, reason = "the component model's entry points, written by wit-bindgen")]
        const _: () = {
            type CofferComponent = $crate::guest::Component<$addon>;
    $crate::guest::bindings::export_component!(CofferComponent with_types_in $crate::guest::bindings);
        };
        #[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
        const _: fn() -> $crate::Description = <$addon as $crate::Addon>::describe;
    };
}
