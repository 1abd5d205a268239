//! The sandboxes of one run, working side by side: one thread each, the first failure stops all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use coffer_api::cancel::Cancel;

use crate::ExecutorError;

/// Calls `act` for each member on a thread of its own and returns the results in the members' order.
///
/// The first failure cancels `cancel`, which the members' sandboxes share. Returned is the first that does not follow from
/// another one.
pub(crate) fn side_by_side<M, T, F>(members: &mut [M], cancel: &Cancel, act: F) -> Result<Vec<T>, ExecutorError>
where
    M: Send,
    T: Send,
    F: Fn(usize, &mut M) -> Result<T, ExecutorError> + Sync,
{
    let first_failure = Mutex::new(None);
    let fail = |error: ExecutorError| {
        let mut first = first_failure.lock().unwrap_or_else(PoisonError::into_inner);
        match first.as_ref() {
            None => {
                cancel.cancel(format!("another worker failed: {error}"));
                *first = Some(error);
            }
            // A stream that is given up fails the others before its own worker can say why.
            Some(known) if known.follows() && !error.follows() => *first = Some(error),
            Some(_) => {}
        }
    };
    let (act, fail) = (&act, &fail);
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = members
            .iter_mut()
            .enumerate()
            .map(|(index, member)| scope.spawn(move || act(index, member).map_err(fail)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| {
                    fail(ExecutorError::Internal("a worker thread panicked".to_owned()));
                    Err(())
                })
            })
            .collect::<Result<Vec<T>, ()>>()
    });
    match first_failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => results.map_err(|()| ExecutorError::Internal("a worker failed and did not say why".to_owned())),
    }
}

/// Hands out `items` in order to whichever member is free, until none is left or one fails.
///
/// The order matters: the archiver opens streams in the order of their paths, so the first item that is not done must always
/// be in somebody's hands (see the pipe in `coffer_repository`).
pub(crate) fn share_out<M, I, F>(members: &mut [M], items: &[I], cancel: &Cancel, act: F) -> Result<(), ExecutorError>
where
    M: Send,
    I: Sync,
    F: Fn(&mut M, usize, &I) -> Result<(), ExecutorError> + Sync,
{
    let next = AtomicUsize::new(0);
    side_by_side(members, cancel, |_, member| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return Ok(()) };
            if let Some(reason) = cancel.reason() {
                return Err(ExecutorError::Cancelled(reason));
            }
            act(member, index, item)?;
        }
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_members() {
        let mut members = [3, 1, 2];
        let doubled = side_by_side(&mut members, &Cancel::new(), |index, member| Ok((index, *member * 2))).unwrap();
        assert_eq!(doubled, [(0, 6), (1, 2), (2, 4)]);
    }

    #[test]
    fn the_first_failure_stops_the_others_and_is_the_one_told() {
        let cancel = Cancel::new();
        let error = side_by_side(&mut [0, 1], &cancel, |index, _| {
            if index == 1 {
                return Err::<(), _>(ExecutorError::Internal("root cause".into()));
            }
            cancel.wait(std::time::Duration::MAX);
            Err(ExecutorError::Internal("a consequence".into()))
        })
        .unwrap_err();
        assert!(error.to_string().contains("root cause"), "{error}");
    }

    #[test]
    fn a_cause_that_comes_late_is_told_before_its_consequence() {
        let cancel = Cancel::new();
        let error = side_by_side(&mut [0, 1], &cancel, |index, _| {
            if index == 1 {
                return Err::<(), _>(ExecutorError::Cancelled("another stream was given up".into()));
            }
            cancel.wait(std::time::Duration::MAX);
            Err(ExecutorError::Internal("root cause".into()))
        })
        .unwrap_err();
        assert!(error.to_string().contains("root cause"), "{error}");
    }

    #[test]
    fn a_panic_is_a_failure() {
        let error = side_by_side(&mut [0, 1], &Cancel::new(), |index, _| {
            assert_eq!(index, 0, "this panic is part of the test");
            Ok(())
        })
        .unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }

    #[test]
    fn every_item_is_handed_out_once_and_in_order() {
        let items: Vec<usize> = (0..1000).collect();
        let taken = Mutex::new(Vec::new());
        share_out(&mut [(); 4], &items, &Cancel::new(), |(), index, item| {
            assert_eq!(index, *item);
            taken.lock().unwrap().push(*item);
            Ok(())
        })
        .unwrap();
        let mut taken = taken.into_inner().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, items);
    }

    #[test]
    fn nothing_is_handed_out_after_a_failure() {
        let done = AtomicUsize::new(0);
        let error = share_out(&mut [()], &[1, 2, 3], &Cancel::new(), |(), _, item| {
            done.fetch_add(1, Ordering::Relaxed);
            if *item == 2 { Err(ExecutorError::Internal("two".into())) } else { Ok(()) }
        })
        .unwrap_err();
        assert!(error.to_string().contains("two"));
        assert_eq!(done.into_inner(), 2);
    }
}
