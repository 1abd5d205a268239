//! What this crate adds to OpenDAL's services.

mod atomic;
mod stop;
mod subdirectory;

pub(crate) use atomic::{AtomicLayer, is_temporary};
pub(crate) use stop::StopLayer;
pub(crate) use subdirectory::SubdirectoryLayer;
