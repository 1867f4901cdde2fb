//! The carts and orders of all users.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::account::{Account, Order, Status};
use crate::clock::{Clock, Time};
use crate::idempotency::StoredResponses;

/// Carts and orders of all users.
pub(crate) struct State {
    pub(super) clock: Clock,
    pub(super) orders: Mutex<UserOrders>,
    /// Notified after every change of an order's status.
    pub(super) changed: Notify,
}

impl State {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            orders: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn reset(&self) {
        *self.orders.lock() = UserOrders::default();
        self.changed.notify_waiters();
    }

    /// Marks an order as paid. An unknown order belongs to another process and is ignored.
    pub(crate) fn mark_paid(&self, user: &str, id: &str) {
        let now = self.clock.now();
        let mut orders = self.orders.lock();
        if let Some(order) = orders.order(user, id, now)
            && order.status() == Status::Placed
        {
            order.history.push((Status::Paid, now));
            self.changed.notify_waiters();
        }
    }
}

#[derive(Default)]
pub(super) struct UserOrders {
    accounts: BTreeMap<String, Account>,
    pub(super) responses: StoredResponses,
}

impl UserOrders {
    pub(super) fn account(&mut self, user: &str) -> &mut Account {
        if !self.accounts.contains_key(user) {
            self.accounts.insert(user.to_owned(), Account::of(user));
        }
        self.accounts.entry(user.to_owned()).or_default()
    }

    pub(super) fn order(&mut self, user: &str, id: &str, now: Time) -> Option<&mut Order> {
        let order = self.account(user).orders.iter_mut().find(|o| o.id == id)?;
        order.apply_due_changes(now);
        Some(order)
    }
}
