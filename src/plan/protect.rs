//! `protect`: what is never destroyed or replaced without `--unprotect`.

use super::build::Draft;
use super::change::{Action, Cause};
use super::error::{Refusal, RefusalKind};
use crate::address::Address;

/// Refuses to destroy or replace what is protected.
pub(super) fn check(protect: &[String], unprotect: &[Address], draft: &mut Draft<'_>) {
    if protect.is_empty() {
        return;
    }
    for change in &draft.changes {
        let goes = match change.action {
            Action::Delete | Action::DestroyThenCreate => true,
            // A snapshot that is built anew stays as a resource: older recipes of it go. The one of
            // its recipe goes only because the command asks for it.
            Action::CreateThenDestroy => {
                let mut reasons = change.reasons.iter();
                reasons.any(|reason| reason.cause == Cause::Command)
            }
            Action::Create | Action::Update | Action::Keep => false,
        };
        if !goes || unprotect.contains(&change.address) {
            continue;
        }
        let Some(pattern) = protect
            .iter()
            .find(|pattern| change.address.matches(pattern))
        else {
            continue;
        };
        let verb = if change.action == Action::Delete {
            "destroyed"
        } else {
            "replaced"
        };
        draft.refusals.push(Refusal {
            address: Some(change.address.clone()),
            kind: RefusalKind::Protected,
            reason: format!("it would be {verb}, and `protect` lists `{pattern}`"),
            help: format!("add `--unprotect {}` if that is meant", change.address),
        });
    }
}
