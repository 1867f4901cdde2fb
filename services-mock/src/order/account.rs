//! The cart and the orders of one user, including the generated past orders.

use std::time::Duration;

use serde::Serialize;

use crate::catalogue::{CATALOGUE, Money, PRODUCTS};
use crate::clock::Time;
use crate::response::Problem;
use crate::seeded_rng::SeededRng;

/// Independent of the mocks' seed: past orders are always the same.
const RNG: SeededRng = SeededRng(0x000_0bde5);
/// The time from `paid` to `shipped`.
const SHIPPING_DELAY: Duration = Duration::from_secs(3);

/// The cart lines, and the orders, oldest first.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) lines: Vec<Line>,
    pub(super) orders: Vec<Order>,
}

/// A quantity of one product, with the price of one piece.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) product_id: String,
    quantity: u32,
    price: Money,
}

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Placed,
    Paid,
    Shipped,
    Cancelled,
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: String,
    items: Vec<Line>,
    placed_at: Time,
    /// Never empty. The last entry is the current status.
    pub(super) history: Vec<(Status, Time)>,
}

/// A cart in the wire format.
#[derive(Serialize)]
pub(super) struct Cart<'a> {
    items: &'a [Line],
    total: Money,
}

/// An order in the wire format.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderView<'a> {
    id: &'a str,
    status: Status,
    items: &'a [Line],
    total: Money,
    placed_at: Time,
}

impl Account {
    /// The account before the user's first call.
    pub(super) fn of(user: &str) -> Self {
        let past = match user {
            "ada" => 23,
            "ben" => 7,
            _ if user.starts_with("u-") => 3,
            _ => 0,
        };
        let orders = (1..=past).map(|n| Order::past(user, n, past)).collect();
        Self {
            lines: Vec::new(),
            orders,
        }
    }

    pub(super) fn cart(&self) -> Cart<'_> {
        Cart {
            items: &self.lines,
            total: total(&self.lines),
        }
    }

    /// Adds a line, or replaces the line of the same product.
    pub(super) fn put(&mut self, line: Line) {
        match self
            .lines
            .iter_mut()
            .find(|l| l.product_id == line.product_id)
        {
            Some(old) => *old = line,
            None => self.lines.push(line),
        }
    }

    /// Ids count per user, so they do not depend on the calls of other users.
    pub(super) fn next_id(&self, user: &str) -> String {
        format!("o-{user}-{}", self.orders.len() + 1)
    }
}

impl Line {
    pub(super) fn new(product: &str, quantity: u32) -> Result<Self, Problem> {
        let entry = CATALOGUE
            .by_id(product)
            .ok_or_else(|| Problem::not_found("product", product))?;
        if !(1..=99).contains(&quantity) {
            return Err(Problem::invalid("quantity must be between 1 and 99"));
        }
        Ok(Self {
            product_id: product.to_owned(),
            quantity,
            price: entry.product.price.clone(),
        })
    }
}

impl Order {
    pub(super) fn new(id: String, items: Vec<Line>, now: Time) -> Self {
        Self {
            id,
            items,
            placed_at: now,
            history: vec![(Status::Placed, now)],
        }
    }

    /// The `n`-th of `count` past orders, oldest first.
    fn past(user: &str, n: u64, count: u64) -> Self {
        let draw = |name: &str, i| RNG.index(&format!("{user} {name}"), n * 10 + i, PRODUCTS);
        let lines =
            (0..=draw("lines", 0) as u64 % 3).map(|i| format!("p-{}", 1 + draw("product", i)));
        let items = lines.filter_map(|id| Line::new(&id, 1).ok()).collect();
        let minutes = (count - n + 1) * 60 * 24 * 9;
        let at = |later| Time::before_june(minutes - later);
        let end = if draw("end", 0) % 8 == 0 {
            (Status::Cancelled, at(60))
        } else {
            (Status::Shipped, at(1500))
        };
        let history = vec![(Status::Placed, at(0)), (Status::Paid, at(2)), end];
        Self {
            id: format!("o-{user}-{n}"),
            items,
            placed_at: at(0),
            history,
        }
    }

    pub(super) fn status(&self) -> Status {
        self.history
            .last()
            .map_or(Status::Placed, |(status, _)| *status)
    }

    /// The time of the next automatic change, if there is one.
    pub(super) fn due(&self) -> Option<Time> {
        let (status, at) = self.history.last()?;
        (*status == Status::Paid).then(|| Time(at.0 + SHIPPING_DELAY))
    }

    /// Applies the automatic changes that are due.
    pub(super) fn apply_due_changes(&mut self, now: Time) {
        if let Some(due) = self.due().filter(|due| *due <= now) {
            self.history.push((Status::Shipped, due));
        }
    }

    pub(super) fn view(&self) -> OrderView<'_> {
        OrderView {
            id: &self.id,
            status: self.status(),
            items: &self.items,
            total: total(&self.items),
            placed_at: self.placed_at,
        }
    }
}

fn total(lines: &[Line]) -> Money {
    Money::eur(
        lines
            .iter()
            .map(|line| line.price.amount * u64::from(line.quantity))
            .sum(),
    )
}
