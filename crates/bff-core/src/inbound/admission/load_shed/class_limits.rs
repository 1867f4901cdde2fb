//! The fraction of the limit that each class may fill. The rest is reserved for higher classes.

use serde::{Deserialize, Serialize};

use super::PriorityClass;
use crate::config::Ratio;

/// The fraction of the limit up to which requests of a class are admitted. Writes may fill all of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassLimits {
    /// Prefetches (urgency 6 or 7). Default 0.5: they are shed first, when half of the limit is in use.
    pub prefetch: Ratio,
    /// Background polls (urgency 5). Default 0.6.
    pub background: Ratio,
    /// Reads without a credential. Default 0.75: a quarter is reserved for authenticated callers. The limit is twice
    /// what the backends process at once, so three quarters are enough to use them fully.
    pub anonymous: Ratio,
    /// Reads with a credential. Default 0.95: the rest is reserved for writes.
    pub signed_in: Ratio,
    /// Plans of callers, lowest first. The fractions of their reads rise in even steps from above `anonymous` to
    /// `signed_in`, which the last plan gets. A plan that is not listed counts as the lowest. Default none: plans make
    /// no difference.
    pub plans: Vec<String>,
}

impl Default for ClassLimits {
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

impl ClassLimits {
    /// Checks the values. The error is one line that names the wrong key.
    pub(super) fn check(&self) -> Result<(), String> {
        let ascending = [
            ("prefetch", self.prefetch),
            ("background", self.background),
            ("anonymous", self.anonymous),
            ("signed_in", self.signed_in),
        ];
        for pair in ascending.windows(2) {
            if let [(lower_name, lower), (name, value)] = pair
                && lower > value
            {
                let (lower, value) = (lower.get(), value.get());
                return Err(format!(
                    "{name}: {value} must not be less than {lower_name} ({lower}), which is shed first"
                ));
            }
        }
        if let Some(duplicate) = self.plans.iter().enumerate().find_map(|(at, plan)| {
            let repeated = self.plans.get(..at).unwrap_or_default().contains(plan);
            repeated.then_some(plan)
        }) {
            return Err(format!("plans: duplicate plan {duplicate:?}"));
        }
        Ok(())
    }

    /// The number of requests in flight, of `limit`, up to which this class is admitted. At least 1, so that an idle
    /// gateway admits every class.
    pub(super) fn for_class(&self, class: PriorityClass, limit: u32) -> u32 {
        let fraction = match class {
            PriorityClass::Prefetch => self.prefetch,
            PriorityClass::Background => self.background,
            PriorityClass::Anonymous => self.anonymous,
            PriorityClass::SignedIn => self.signed_in,
            PriorityClass::Write => return limit,
        };
        part(fraction.get(), limit)
    }

    /// The same for a read by a caller on this plan.
    pub(super) fn for_plan(&self, plan: Option<&str>, limit: u32) -> u32 {
        let at = self
            .plans
            .iter()
            .position(|listed| Some(listed.as_str()) == plan);
        let steps = f64::from(u32::try_from(self.plans.len()).unwrap_or(u32::MAX)).max(1.0);
        let step = f64::from(u32::try_from(at.unwrap_or(0)).unwrap_or(u32::MAX)) + 1.0;
        let (low, high) = (self.anonymous.get(), self.signed_in.get());
        part(low + (high - low) * (step / steps), limit)
    }
}

fn part(fraction: f64, limit: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a number of this type"
    )]
    // The addition corrects rounding: without it, 0.95 of 20 would be 18.
    let part = (fraction * f64::from(limit) + 1e-9) as u32;
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
    fn lower_classes_are_shed_first_and_writes_last() {
        let allowed = |limit| ALL.map(|class| ClassLimits::default().for_class(class, limit));
        assert_eq!(allowed(100), [50, 60, 75, 95, 100]);
        assert_eq!(allowed(20), [10, 12, 15, 19, 20]);
        assert_eq!(allowed(1), [1; 5]);
    }

    #[test]
    fn plans_rise_in_even_steps_to_signed_in() {
        let limits = ClassLimits {
            anonymous: Ratio::percent(50),
            signed_in: Ratio::percent(95),
            plans: ["bronze", "silver", "gold"].map(String::from).into(),
            ..ClassLimits::default()
        };
        let allowed = |plan| limits.for_plan(plan, 100);
        let plans = [Some("bronze"), Some("silver"), Some("gold")].map(allowed);
        assert_eq!(plans, [65, 80, 95]);
        assert_eq!((allowed(None), allowed(Some("lead"))), (65, 65));
    }

    #[test]
    fn without_a_list_plans_make_no_difference() {
        assert_eq!(ClassLimits::default().for_plan(Some("gold"), 100), 95);
        assert_eq!(ClassLimits::default().for_plan(None, 100), 95);
    }

    #[test]
    fn descending_fractions_and_duplicate_plans_are_rejected() {
        let mut limits = ClassLimits::default();
        assert_eq!(limits.check(), Ok(()));
        limits.background = Ratio::percent(40);
        assert_eq!(
            limits.check().unwrap_err(),
            "background: 0.4 must not be less than prefetch (0.5), which is shed first"
        );
        limits.background = Ratio::percent(50);
        limits.plans = ["gold", "silver", "gold"].map(String::from).into();
        assert_eq!(
            limits.check().unwrap_err(),
            "plans: duplicate plan \"gold\""
        );
    }

    proptest! {
        #[test]
        fn every_class_gets_from_one_to_the_limit(limit in 1_u32..5000) {
            let limits = ClassLimits::default();
            let allowed = ALL.map(|class| limits.for_class(class, limit));
            prop_assert!(
                allowed.is_sorted() && allowed[0] >= 1 && allowed[4] == limit,
                "{allowed:?}"
            );
        }
    }
}
