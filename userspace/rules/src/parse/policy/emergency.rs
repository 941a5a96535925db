//! That no emergency number is refused: shown for every rules file that is read.
//!
//! Two things are asked. Does a pattern of a permission, a block or a pin speak of an emergency number as if
//! it decided about it? The desk asks the emergency patterns first, alone; who wrote such a pattern meant
//! something that will not be, so it is an error. And does the desk permit every emergency number though all
//! else refuses everything? ([`Plan::proof`])

use callgate_policy::Plan;
use callgate_policy::plan::{Proof, ShadowedBy};

use super::super::checker::{Checker, Section};
use super::permissions::Permissions;
use crate::diagnostic::Place;

/// Contradictions that are shown.
const SHOWN: usize = 8;

pub(super) fn check(
    checker: &mut Checker<'_>,
    section: &Section<'_>,
    plan: &Plan,
    places: &[Place],
    permissions: &Permissions<'_>,
) {
    if plan.spec().emergency.is_empty() {
        let suggestion = "add `emergency = [\"911\"]`, with and without what is dialled for an outside line";
        checker.warn(&section.span, "no number is an emergency number: any could be refused", suggestion);
        return;
    }
    let spec = plan.spec();
    let back = checker.file();
    for shadow in plan.shadows().into_iter().take(SHOWN) {
        let Some(emergency) = spec.emergency.get(shadow.emergency) else { continue };
        let pattern = shadow.pattern;
        let (by, place) = match shadow.by {
            ShadowedBy::Permission(permission, at) => {
                let place = permissions.places.get(permission).and_then(|places| places.get(at));
                let name = spec.permissions.get(permission).map_or("", |permission| &permission.name);
                (format!("permission `{name}`"), place)
            }
            ShadowedBy::Block(block, _) => {
                let name = spec.blocks.get(block).map_or("", |block| &block.name);
                (format!("after-hours block `{name}`"), None)
            }
            ShadowedBy::Pin(_) => ("a pin".to_owned(), None),
        };
        // The other's place where it is known, otherwise that of the emergency pattern.
        let Some(place) = place.or(places.get(shadow.emergency)) else { continue };
        checker.enter(place.file);
        checker.error_with(
            &place.span,
            format!("`{pattern}` of {by} would decide about numbers that `{emergency}` of `emergency` has"),
            "emergency numbers are refused by nothing: take them out of the one or the other",
        );
    }
    checker.enter(back);
    if let Proof::Fails(number) = plan.proof() {
        let message = format!("the emergency number `{number}` would be refused");
        checker.error_with(&section.span, message, "this is a defect of Callgate: please report it");
    }
}
