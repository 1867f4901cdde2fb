//! Which part of the limit each class may fill: what is left above a class's share is kept for those above it.

use serde::{Deserialize, Serialize};

use super::PriorityClass;
use crate::config::Ratio;

/// How far the limit may be filled for a class to be let in. Writes may use all of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shares {
    /// By a prefetch (urgency 6 or 7). Default 0.5: it goes as soon as the limit is half in use.
    pub prefetch: Ratio,
    /// By a poll in the background (urgency 5). Default 0.6.
    pub background: Ratio,
    /// By a view without a credential. Default 0.75: a quarter is kept for those who signed in, and with the limit at
    /// twice what the backends work on, three quarters still keep them busy.
    pub anonymous: Ratio,
    /// By a view with a credential. Default 0.95: the rest is kept for writes.
    pub signed_in: Ratio,
    /// The plans of callers, the weakest first: their views fill the limit up to shares that rise in even steps from
    /// above `anonymous` to `signed_in`, which the last plan has. A plan that is not named counts as the weakest.
    /// Default none: plans make no difference.
    pub plans: Vec<String>,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            prefetch: Ratio::percent(50),
            background: Ratio::percent(60),
            anonymous: Ratio::percent(75),
            signed_in: Ratio::percent(95),
            plans: Vec::new(),
        }
    }
}

impl Shares {
    /// One line that names the key of a mistake.
    pub(super) fn check(&self) -> Result<(), String> {
        let rising = [
            ("prefetch", self.prefetch),
            ("background", self.background),
            ("anonymous", self.anonymous),
            ("signed_in", self.signed_in),
        ];
        for pair in rising.windows(2) {
            if let [(weaker, less), (name, share)] = pair
                && less > share
            {
                let (less, share) = (less.get(), share.get());
                return Err(format!(
                    "{name}: {share} is less than {weaker}, {less}, which is refused first"
                ));
            }
        }
        if let Some(twice) = self.plans.iter().enumerate().find_map(|(at, plan)| {
            let known = self.plans.get(..at).unwrap_or_default().contains(plan);
            known.then_some(plan)
        }) {
            return Err(format!("plans: {twice:?} is named twice"));
        }
        Ok(())
    }

    /// How many requests may be in flight, of `limit`, for one of this class to be among them. At least one: with
    /// nothing in flight everybody is let in.
    pub(super) fn of(&self, class: PriorityClass, limit: u32) -> u32 {
        let share = match class {
            PriorityClass::Prefetch => self.prefetch,
            PriorityClass::Background => self.background,
            PriorityClass::Anonymous => self.anonymous,
            PriorityClass::SignedIn => self.signed_in,
            PriorityClass::Write => return limit,
        };
        part(share.get(), limit)
    }

    /// The same for a view by somebody who turned out to be on this plan.
    pub(super) fn of_plan(&self, plan: Option<&str>, limit: u32) -> u32 {
        let at = self
            .plans
            .iter()
            .position(|known| Some(known.as_str()) == plan);
        let steps = f64::from(u32::try_from(self.plans.len()).unwrap_or(u32::MAX)).max(1.0);
        let step = f64::from(u32::try_from(at.unwrap_or(0)).unwrap_or(u32::MAX)) + 1.0;
        let (low, high) = (self.anonymous.get(), self.signed_in.get());
        part(low + (high - low) * (step / steps), limit)
    }
}

fn part(share: f64, limit: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of this type"
    )]
    // A hair more, or 0.95 of 20 were 18.
    let part = (share * f64::from(limit) + 1e-9) as u32;
    part.clamp(1, limit.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [PriorityClass; 5] = [
        PriorityClass::Prefetch,
        PriorityClass::Background,
        PriorityClass::Anonymous,
        PriorityClass::SignedIn,
        PriorityClass::Write,
    ];

    #[test]
    fn the_weaker_go_first_and_writes_last() {
        let of = |limit| ALL.map(|class| Shares::default().of(class, limit));
        assert_eq!(of(100), [50, 60, 75, 95, 100]);
        assert_eq!(of(20), [10, 12, 15, 19, 20]);
        assert_eq!(of(1), [1; 5]);
    }

    #[test]
    fn plans_rise_in_even_steps_to_the_share_of_the_signed_in() {
        let shares = Shares {
            anonymous: Ratio::percent(50),
            signed_in: Ratio::percent(95),
            plans: ["bronze", "silver", "gold"].map(String::from).into(),
            ..Shares::default()
        };
        let of = |plan| shares.of_plan(plan, 100);
        let plans = [Some("bronze"), Some("silver"), Some("gold")].map(of);
        assert_eq!(plans, [65, 80, 95]);
        assert_eq!((of(None), of(Some("lead"))), (65, 65));
    }

    #[test]
    fn without_an_order_plans_make_no_difference() {
        assert_eq!(Shares::default().of_plan(Some("gold"), 100), 95);
        assert_eq!(Shares::default().of_plan(None, 100), 95);
    }

    #[test]
    fn an_order_that_is_none_is_refused() {
        let mut shares = Shares::default();
        assert_eq!(shares.check(), Ok(()));
        shares.background = Ratio::percent(40);
        let line = shares.check().unwrap_err();
        assert!(
            line.starts_with("background: 0.4 is less than prefetch"),
            "{line}"
        );
        shares.background = Ratio::percent(50);
        shares.plans = ["gold", "silver", "gold"].map(String::from).into();
        assert_eq!(
            shares.check().unwrap_err(),
            "plans: \"gold\" is named twice"
        );
    }

    proptest! {
        #[test]
        fn nobody_stands_above_the_limit_and_nobody_below_one(limit in 1_u32..5000) {
            let shares = Shares::default();
            let of = ALL.map(|class| shares.of(class, limit));
            prop_assert!(of.is_sorted() && of[0] >= 1 && of[4] == limit, "{of:?}");
        }
    }
}
