//! Orders placed and paid in a storm: what stands at the backends is held against what buyers were told, once when the
//! storm is over and once more when everybody has asked again.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::fault_schedule::Strike;
use super::response_invariants;
use super::schedule::{Errand, Event, Scene};
use crate::sim_fleet::{Draw, address};

pub(super) use ledger::BOOKS;
use ledger::Books;

mod ledger;

/// Who buys.
const BUYERS: [&str; 2] = ["ada", "ben"];
/// The keys of each.
const KEYS: [&str; 2] = ["k-1", "k-2"];
/// Where checkouts are posted.
const DOORS: [(&str, &str); 2] = [("web", "/api/checkout"), ("mobile", "/v1/checkout")];
const GOOD: &str = "4111 1111 1111 1111";
const BROKE: &str = "4000 0000 0000 0002";

/// Everything bought in one schedule.
pub(super) struct Till<'a> {
    scene: &'a Scene<'a>,
    door: (&'static str, &'static str),
    /// What each request was for: its buyer and key.
    bought: Mutex<BTreeMap<String, (&'static str, &'static str)>>,
    /// Orders of the past.
    past: BTreeMap<&'static str, BTreeSet<String>>,
}

impl<'a> Till<'a> {
    /// Every buyer has something in the cart.
    pub(super) async fn open(scene: &'a Scene<'a>) -> Self {
        let mut draw = Draw::of(scene.seed, "till", 0);
        let sells = |(gateway, _): &&(&str, &str)| scene.thronged == Some(*gateway);
        let mut till = Self {
            scene,
            door: DOORS
                .iter()
                .find(sells)
                .copied()
                .unwrap_or_else(|| draw.one(&DOORS)),
            bought: Mutex::default(),
            past: BTreeMap::new(),
        };
        for buyer in BUYERS {
            ledger::fill_cart(scene.town, buyer).await;
            let past = till.books(buyer).await.orders.into_keys().collect();
            till.past.insert(buyer, past);
        }
        till
    }

    /// Orders what is in the cart and pays for it, perhaps not for the first time.
    pub(super) async fn buy(&self, draw: &mut Draw, id: String) -> Event {
        let (buyer, key) = (draw.one(&BUYERS), draw.one(&KEYS));
        let errand = Errand::draw(draw, self.door.0, "checkout", Some(buyer));
        self.check_out(&errand, (buyer, key), id).await
    }

    /// Asks, through the web's older pages, to give up an order that was shipped long ago: a write without a key.
    pub(super) async fn cancel(&self, draw: &mut Draw, id: String) -> Event {
        let errand = Errand::draw(draw, "web", "cancel", Some("ada"));
        let request = self.post("web", "/api/orders/o-ada-1/cancel", "ada");
        let request = request.body(Full::from("{}")).unwrap();
        let (mut event, came) = errand.run(self.scene, request, id).await;
        // What is passed on breaks off where it breaks off at the backend.
        let (from, until) = (event.at, event.at + event.took);
        let broke = || {
            !self
                .scene
                .town
                .record
                .within("order", from, until)
                .is_empty()
        };
        let away = |s: &Strike| s.place == "order" && s.overlaps(from, until);
        if let Some(Err(why)) = came
            && !(broke() || self.scene.strikes.iter().any(away))
        {
            event
                .broken
                .extend(response_invariants::of_a_loss(self.scene, &event, &why));
        }
        event
    }

    async fn check_out(
        &self,
        errand: &Errand,
        (buyer, key): (&'static str, &'static str),
        id: String,
    ) -> Event {
        self.bought.lock().insert(id.clone(), (buyer, key));
        let broke = Draw::of(self.scene.seed, &format!("{buyer} {key}"), 0).chance(20);
        let number = if broke { BROKE } else { GOOD };
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        let request = self.post(self.door.0, self.door.1, buyer);
        let request = request.header("idempotency-key", key);
        let request = request.body(Full::from(body.to_string())).unwrap();
        let (mut event, came) = errand.run(self.scene, request, id).await;
        if let Some(Err(why)) = came {
            event
                .broken
                .extend(response_invariants::of_a_loss(self.scene, &event, &why));
        }
        event
    }

    fn post(&self, gateway: &str, path: &str, user: &str) -> http::request::Builder {
        let token = self.scene.town.mocks.token_for(user).unwrap();
        Request::post(format!("http://{}{path}", address(gateway)))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
    }

    /// When the storm is over: nobody is charged who was told otherwise, and nobody twice.
    pub(super) async fn count(&self, log: &mut [Event]) {
        for buyer in BUYERS {
            let books = self.books(buyer).await;
            let mut said = books.broken();
            let told: Vec<_> = self.told(log, buyer).collect();
            let perhaps = told
                .iter()
                .filter(|(_, told)| may_be_charged(told.as_ref()));
            let perhaps: BTreeSet<&str> = perhaps.map(|(key, _)| *key).collect();
            if books.captured().count() > perhaps.len() {
                said.push(format!("{:?} paid, of {told:?}", books.payments));
            }
            for (_, told) in &told {
                let Some((201, body)) = told else { continue };
                if !books.captured().any(|order| order == order_of(body)) {
                    said.push(format!("not paid: {body}"));
                }
            }
            blame(log, buyer, &said);
        }
    }

    /// Everybody asks once more for what they bought: then it is bought once, or not at all, and they know.
    pub(super) async fn settle(&self, log: &[Event]) -> Vec<Event> {
        let bought: BTreeSet<_> = self.bought.lock().values().copied().collect();
        let mut settled = Vec::new();
        for (buyer, key) in bought {
            let errand = Errand::patient(self.door.0, "checkout", Some(buyer));
            let id = format!("s-{buyer}-{key}");
            let mut event = self.check_out(&errand, (buyer, key), id).await;
            let last = last(event.told.as_ref());
            let earlier = self.told(log, buyer).filter(|(k, _)| *k == key);
            for (_, told) in earlier {
                let Some((201, body)) = told else { continue };
                if last != Some((201, body.clone())) {
                    event.broken.push(format!("it was {body}"));
                }
            }
            if last
                .is_none_or(|(status, body)| status != 201 && may_be_charged(Some(&(status, body))))
            {
                event.broken.push("it is not settled".to_owned());
            }
            settled.push(event);
        }
        for buyer in BUYERS {
            let books = self.books(buyer).await;
            let mut said = books.broken();
            let told = self.told(&settled, buyer);
            let paid: BTreeSet<String> = told
                .filter_map(|(_, told)| told.filter(|(status, _)| *status == 201))
                .map(|(_, body)| order_of(&body).to_owned())
                .collect();
            let captured: BTreeSet<String> = books.captured().map(str::to_owned).collect();
            if paid != captured {
                said.push(format!(
                    "told that {paid:?} are paid, of {:?}",
                    books.payments
                ));
            }
            if let Some(open) = books.orders.iter().find(|(_, status)| *status == "placed") {
                said.push(format!("{open:?} is neither paid nor given up"));
            }
            blame(&mut settled, buyer, &said);
        }
        settled
    }

    /// What a buyer was told, by key; nothing where nobody heard.
    fn told<'e>(
        &self,
        log: &'e [Event],
        buyer: &'e str,
    ) -> impl Iterator<Item = (&'static str, Option<(u16, Value)>)> + use<'e> {
        let bought = self.bought.lock().clone();
        log.iter().filter_map(move |event| {
            let (_, key) = bought
                .get(&event.request)
                .filter(|(who, _)| *who == buyer)?;
            Some((*key, last(event.told.as_ref())))
        })
    }

    async fn books(&self, buyer: &str) -> Books {
        let none = BTreeSet::new();
        let past = self.past.get(buyer).unwrap_or(&none);
        Books::read(self.scene.town, buyer, past).await
    }
}

/// Notes what is wrong with a buyer's orders at the last of them.
fn blame(log: &mut [Event], buyer: &str, said: &[String]) {
    let own = |e: &&mut Event| e.operation == "checkout" && e.asker == Some(buyer);
    match log.iter_mut().rfind(|e| own(e)) {
        Some(event) => event.broken.extend_from_slice(said),
        None => assert!(said.is_empty(), "{buyer} bought nothing: {said:?}"),
    }
}

/// The status and the document that somebody was told.
fn last(told: Option<&(u16, String)>) -> Option<(u16, Value)> {
    let (status, body) = told?;
    Some((*status, serde_json::from_str(body).unwrap()))
}

/// Whether somebody who was told so has to reckon with a charge.
fn may_be_charged(told: Option<&(u16, Value)>) -> bool {
    let Some((status, body)) = told else {
        return true;
    };
    let came = |step: &str| body["steps"][step].as_str().unwrap_or_default();
    *status == 201 || body["code"] == "outcome_unknown" || came("payment") == "captured"
}

fn order_of(body: &Value) -> &str {
    let id = body["order"].get("id").unwrap_or(&body["orderId"]);
    id.as_str().unwrap()
}
