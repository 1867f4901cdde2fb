//! Checkouts under faults. The orders and payments at the backends must match the responses to the buyers: once when the
//! faults end, and once more after every buyer has retried.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::fault_schedule::ScheduledFault;
use super::response_invariants;
use super::schedule::{ClientRequest, Event, Scenario};
use crate::sim_fleet::{SeededRng, address};

pub(super) use ledger::LEDGER_REQUEST_ID;
use ledger::Ledger;

mod ledger;

const BUYERS: [&str; 2] = ["ada", "ben"];
/// The idempotency keys of each buyer.
const KEYS: [&str; 2] = ["k-1", "k-2"];
/// The gateways and paths of a checkout.
const ENDPOINTS: [(&str, &str); 2] = [("web", "/api/checkout"), ("mobile", "/v1/checkout")];
const GOOD_CARD: &str = "4111 1111 1111 1111";
const DECLINED_CARD: &str = "4000 0000 0000 0002";

/// The buyers of one schedule.
pub(super) struct CheckoutClients<'a> {
    scenario: &'a Scenario<'a>,
    endpoint: (&'static str, &'static str),
    /// The buyer and idempotency key of each request id.
    purchases: Mutex<BTreeMap<String, (&'static str, &'static str)>>,
    /// The orders of each buyer from before the schedule.
    earlier_orders: BTreeMap<&'static str, BTreeSet<String>>,
}

impl<'a> CheckoutClients<'a> {
    /// Fills every buyer's cart and picks an endpoint.
    pub(super) async fn start(scenario: &'a Scenario<'a>) -> Self {
        let mut rng = SeededRng::new(scenario.seed, "till", 0);
        let in_burst = |(gateway, _): &&(&str, &str)| scenario.burst_gateway == Some(*gateway);
        let mut clients = Self {
            scenario,
            endpoint: ENDPOINTS
                .iter()
                .find(in_burst)
                .copied()
                .unwrap_or_else(|| rng.pick(&ENDPOINTS)),
            purchases: Mutex::default(),
            earlier_orders: BTreeMap::new(),
        };
        for buyer in BUYERS {
            ledger::fill_cart(scenario.fleet, buyer).await;
            let orders = clients.read_ledger(buyer).await.orders;
            (clients.earlier_orders).insert(buyer, orders.into_keys().collect());
        }
        clients
    }

    /// Checks out a random buyer's cart with a random key, which may repeat an earlier checkout.
    pub(super) async fn send_checkout(&self, rng: &mut SeededRng, id: String) -> Event {
        let (buyer, key) = (rng.pick(&BUYERS), rng.pick(&KEYS));
        let request = ClientRequest::random(rng, self.endpoint.0, "checkout", Some(buyer));
        self.check_out(&request, (buyer, key), id).await
    }

    /// Cancels a shipped order through a proxy route of web: a write without an idempotency key.
    pub(super) async fn send_cancellation(&self, rng: &mut SeededRng, id: String) -> Event {
        let client = ClientRequest::random(rng, "web", "cancel", Some("ada"));
        let request = self.post("web", "/api/orders/o-ada-1/cancel", "ada");
        let request = request.body(Full::from("{}")).unwrap();
        let (mut event, result) = client.send(self.scenario, request, id).await;
        // A proxied response ends where the backend's response breaks off.
        let (from, until) = (event.at, event.at + event.elapsed);
        let connection_failed = || {
            let record = &self.scenario.fleet.record;
            !record.failures_between("order", from, until).is_empty()
        };
        let order_failed = |f: &ScheduledFault| f.instance == "order" && f.overlaps(from, until);
        if let Some(Err(error)) = result
            && !(connection_failed() || self.scenario.faults.iter().any(order_failed))
        {
            let violations =
                response_invariants::check_lost_connection(self.scenario, &event, &error);
            event.violations.extend(violations);
        }
        event
    }

    async fn check_out(
        &self,
        client: &ClientRequest,
        (buyer, key): (&'static str, &'static str),
        id: String,
    ) -> Event {
        self.purchases.lock().insert(id.clone(), (buyer, key));
        let declined = SeededRng::new(self.scenario.seed, &format!("{buyer} {key}"), 0).chance(20);
        let number = if declined { DECLINED_CARD } else { GOOD_CARD };
        let body = json!({"card": {"number": number, "expiry": "12/99", "cvc": "987"}});
        let request = self.post(self.endpoint.0, self.endpoint.1, buyer);
        let request = request.header("idempotency-key", key);
        let request = request.body(Full::from(body.to_string())).unwrap();
        let (mut event, result) = client.send(self.scenario, request, id).await;
        if let Some(Err(error)) = result {
            let violations =
                response_invariants::check_lost_connection(self.scenario, &event, &error);
            event.violations.extend(violations);
        }
        event
    }

    fn post(&self, gateway: &str, path: &str, user: &str) -> http::request::Builder {
        let token = self.scenario.fleet.mocks.token_for(user).unwrap();
        Request::post(format!("http://{}{path}", address(gateway)))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
    }

    /// Checks after the faults: no buyer pays against the response, and none pays twice.
    pub(super) async fn check_payments(&self, log: &mut [Event]) {
        for buyer in BUYERS {
            let ledger = self.read_ledger(buyer).await;
            let mut violations = ledger.violations();
            let responses: Vec<_> = self.checkout_responses(log, buyer).collect();
            let chargeable = responses
                .iter()
                .filter(|(_, response)| may_be_charged(response.as_ref()));
            let chargeable: BTreeSet<&str> = chargeable.map(|(key, _)| *key).collect();
            if ledger.captured().count() > chargeable.len() {
                violations.push(format!("paid {:?} after {responses:?}", ledger.payments));
            }
            for (_, response) in &responses {
                let Some((201, body)) = response else {
                    continue;
                };
                if !ledger.captured().any(|order| order == order_id(body)) {
                    violations.push(format!("reported as paid, but not paid: {body}"));
                }
            }
            add_to_last_checkout(log, buyer, &violations);
        }
    }

    /// Retries every purchase once. Afterwards each is paid once or not at all, as its response reports.
    pub(super) async fn retry_purchases(&self, log: &[Event]) -> Vec<Event> {
        let purchases: BTreeSet<_> = self.purchases.lock().values().copied().collect();
        let mut retries = Vec::new();
        for (buyer, key) in purchases {
            let request = ClientRequest::patient(self.endpoint.0, "checkout", Some(buyer));
            let id = format!("s-{buyer}-{key}");
            let mut event = self.check_out(&request, (buyer, key), id).await;
            let last = parse_response(event.response.as_ref());
            let earlier = self
                .checkout_responses(log, buyer)
                .filter(|(k, _)| *k == key);
            for (_, response) in earlier {
                let Some((201, body)) = response else {
                    continue;
                };
                if last != Some((201, body.clone())) {
                    let violation = format!("the response to an earlier attempt was {body}");
                    event.violations.push(violation);
                }
            }
            if last
                .is_none_or(|(status, body)| status != 201 && may_be_charged(Some(&(status, body))))
            {
                (event.violations).push("the outcome is still unknown".to_owned());
            }
            retries.push(event);
        }
        for buyer in BUYERS {
            let ledger = self.read_ledger(buyer).await;
            let mut violations = ledger.violations();
            let responses = self.checkout_responses(&retries, buyer);
            let reported: BTreeSet<String> = responses
                .filter_map(|(_, response)| response.filter(|(status, _)| *status == 201))
                .map(|(_, body)| order_id(&body).to_owned())
                .collect();
            let captured: BTreeSet<String> = ledger.captured().map(str::to_owned).collect();
            if reported != captured {
                violations.push(format!(
                    "the responses report {reported:?} as paid; the payments are {:?}",
                    ledger.payments
                ));
            }
            if let Some(open) = (ledger.orders.iter()).find(|(_, status)| *status == "placed") {
                violations.push(format!("{open:?} is neither paid nor cancelled"));
            }
            add_to_last_checkout(&mut retries, buyer, &violations);
        }
        retries
    }

    /// The response to each checkout of a buyer, with its key; `None` where the client got no response.
    fn checkout_responses<'e>(
        &self,
        log: &'e [Event],
        buyer: &'e str,
    ) -> impl Iterator<Item = (&'static str, Option<(u16, Value)>)> + use<'e> {
        let purchases = self.purchases.lock().clone();
        log.iter().filter_map(move |event| {
            let (_, key) = purchases
                .get(&event.request_id)
                .filter(|(owner, _)| *owner == buyer)?;
            Some((*key, parse_response(event.response.as_ref())))
        })
    }

    async fn read_ledger(&self, buyer: &str) -> Ledger {
        let none = BTreeSet::new();
        let earlier = self.earlier_orders.get(buyer).unwrap_or(&none);
        Ledger::read(self.scenario.fleet, buyer, earlier).await
    }
}

/// Adds violations to the last checkout of a buyer.
fn add_to_last_checkout(log: &mut [Event], buyer: &str, violations: &[String]) {
    let is_checkout = |e: &&mut Event| e.operation == "checkout" && e.caller == Some(buyer);
    match log.iter_mut().rfind(|e| is_checkout(e)) {
        Some(event) => event.violations.extend_from_slice(violations),
        None => assert!(
            violations.is_empty(),
            "{buyer} sent no checkout: {violations:?}"
        ),
    }
}

/// The status and the JSON body of a response.
fn parse_response(response: Option<&(u16, String)>) -> Option<(u16, Value)> {
    let (status, body) = response?;
    Some((*status, serde_json::from_str(body).unwrap()))
}

/// Whether a buyer with this response may have been charged.
fn may_be_charged(response: Option<&(u16, Value)>) -> bool {
    let Some((status, body)) = response else {
        return true;
    };
    let step = |name: &str| body["steps"][name].as_str().unwrap_or_default();
    *status == 201 || body["code"] == "outcome_unknown" || step("payment") == "captured"
}

fn order_id(body: &Value) -> &str {
    let id = body["order"].get("id").unwrap_or(&body["orderId"]);
    id.as_str().unwrap()
}
