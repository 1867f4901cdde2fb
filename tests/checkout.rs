//! Checkout, interrupted at every point and with every fault: no buyer is charged twice, and every response is correct.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bff_core::Error;
use futures_util::future::join;
use harness::{BackendState, CLAIM_TTL, CheckoutHarness, DECLINED_CARD, GOOD_CARD};
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};
use tokio::time::{sleep, timeout};

use crate::sim_fleet::run_simulated;
use crate::support::runs_all_cases;

mod endpoints;
mod harness;

/// The code and the steps in the problem document of an error.
fn code_and_steps(error: &Error) -> (&'static str, Value) {
    let problem: Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
    (error.code().name(), problem["steps"].clone())
}

/// How a request is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Interruption {
    /// The task is dropped, so its destructors run.
    Cancelled,
    /// The process is killed, and another process with the same store takes over.
    ProcessKilled,
    /// The process is killed, and the store is lost too.
    ProcessAndStoreLost,
}

const INTERRUPTIONS: [Interruption; 3] = [
    Interruption::Cancelled,
    Interruption::ProcessKilled,
    Interruption::ProcessAndStoreLost,
];

/// The times of an interruption in milliseconds; every second one in an ordinary run. Each step takes five.
fn interruption_times() -> impl Iterator<Item = u64> {
    (0..).step_by(if runs_all_cases() { 1 } else { 2 })
}

/// Sends a checkout and interrupts it after `at` milliseconds. Returns whether it had completed before.
async fn interrupt(
    harness: &mut CheckoutHarness,
    number: &str,
    at: u64,
    interruption: Interruption,
) -> bool {
    let mut request = Box::pin(harness.check_out(number));
    let result = timeout(Duration::from_millis(at), &mut request).await;
    let completed = result.is_ok();
    if interruption == Interruption::Cancelled {
        drop(request);
        return completed;
    }
    // A killed process runs no destructors.
    std::mem::forget(request);
    if interruption == Interruption::ProcessAndStoreLost {
        harness.restart_without_store();
        return completed;
    }
    harness.restart();
    if !completed {
        // Until the claim expires, no other process can detect that this one was killed.
        let running = harness.check_out(number).await.unwrap_err();
        assert_eq!(code_and_steps(&running).0, "in_progress", "{at} ms");
        assert_eq!(running.retry_hint(), Some(Duration::from_secs(1)));
        sleep(CLAIM_TTL).await;
    }
    completed
}

#[test]
fn a_checkout_interrupted_at_any_point_pays_once() {
    for interruption in INTERRUPTIONS {
        let mut points = 0;
        for at in interruption_times() {
            let completed = run_simulated(async move {
                let mut harness = CheckoutHarness::start(None).await;
                let before = harness.read_state().await;
                harness.slow_every_step();
                let completed = interrupt(&mut harness, GOOD_CARD, at, interruption).await;
                assert_paid_once(&harness, &before, &format!("{interruption:?} at {at} ms")).await;
                completed
            });
            points += 1;
            if completed {
                break;
            }
        }
        assert!(points > 10, "only {points} points");
    }
}

#[test]
fn a_checkout_interrupted_twice_pays_once() {
    for (n, (at, retry)) in (1..30)
        .step_by(3)
        .flat_map(|at| {
            let later = (0..30).step_by(3);
            later.map(move |retry| (at, retry))
        })
        .enumerate()
    {
        // An ordinary run has one kind of interruption at each pair of points.
        for (kind, interruption) in INTERRUPTIONS.into_iter().enumerate() {
            if !runs_all_cases() && kind != n % INTERRUPTIONS.len() {
                continue;
            }
            run_simulated(async move {
                let mut harness = CheckoutHarness::start(None).await;
                let before = harness.read_state().await;
                harness.slow_every_step();
                interrupt(&mut harness, GOOD_CARD, at, interruption).await;
                interrupt(&mut harness, GOOD_CARD, retry, Interruption::ProcessKilled).await;
                let case = format!("{interruption:?} at {at} ms, then killed at {retry} ms");
                assert_paid_once(&harness, &before, &case).await;
            });
        }
    }
}

/// Retries the checkout with the same key, and asserts that it succeeded exactly once.
async fn assert_paid_once(harness: &CheckoutHarness, before: &BackendState, case: &str) {
    let retry = harness.check_out(GOOD_CARD).await;
    retry.unwrap_or_else(|e| panic!("{case}: {:?}", code_and_steps(&e)));
    let state = harness.read_state().await;
    let once = BackendState {
        captured: before.captured + 1,
        cart: 0,
        // The mock ships paid orders by itself, so their number varies.
        paid: state.paid,
        ..before.clone()
    };
    assert_eq!(state, once, "{case}");
}

#[test]
fn a_declined_card_interrupted_at_any_point_is_compensated() {
    for interruption in INTERRUPTIONS {
        for at in interruption_times() {
            let completed = run_simulated(async move {
                let mut harness = CheckoutHarness::start(None).await;
                let before = harness.read_state().await;
                harness.slow_every_step();
                let completed = interrupt(&mut harness, DECLINED_CARD, at, interruption).await;
                let (code, steps) =
                    code_and_steps(&harness.check_out(DECLINED_CARD).await.unwrap_err());
                let case = format!("{interruption:?} at {at} ms: {code} {steps}");
                // A retry before the compensation is declined again; a retry after it finds a cancelled order.
                let recorded = completed && interruption != Interruption::ProcessAndStoreLost;
                let rejected = code == "payment_declined" || code == "order_cancelled";
                assert!(
                    rejected && (!recorded || code == "payment_declined"),
                    "{case}"
                );
                let compensated = [&steps["order"], &steps["cart"]];
                assert_eq!(compensated, ["cancelled", "restored"], "{case}");
                let state = harness.read_state().await;
                let cancelled = before.cancelled + 1;
                let expected = BackendState {
                    cancelled,
                    ..before
                };
                assert_eq!(state, expected, "{case}");
                // A further retry gets the same response.
                let retry = code_and_steps(&harness.check_out(DECLINED_CARD).await.unwrap_err());
                assert_eq!(retry, (code, steps), "{case}");
                completed
            });
            if completed {
                break;
            }
        }
    }
}

/// Backend faults, and connections to one backend whose responses are cut after a number of bytes.
#[derive(Clone, Debug, Default)]
struct FaultScenario {
    faults: Vec<(Backend, Fault)>,
    truncate_after: Option<(&'static str, usize)>,
}

impl FaultScenario {
    fn with_faults(faults: impl Into<Vec<(Backend, Fault)>>) -> Self {
        Self {
            faults: faults.into(),
            truncate_after: None,
        }
    }

    fn apply(&self, harness: &CheckoutHarness) {
        harness.lossy_connections.store(true, Ordering::Relaxed);
        for (backend, fault) in &self.faults {
            harness.mocks.set_fault(*backend, fault.clone()).unwrap();
        }
    }
}

const ORDER: Backend = Backend::Order;
const PAYMENT: Backend = Backend::Payment;
/// The path of the new order.
const ORDER_PATH: &str = "/orders/o-ada-24";
const CANCEL: &str = "/orders/o-ada-24/cancel";
const AUTHORIZE: &str = "/payments";
const CAPTURE: &str = "/payments/pay-ada-1/capture";
const VOID: &str = "/payments/pay-ada-1/void";

/// Every step at every backend with every fault, or completed with its response cut after some bytes.
fn fault_scenarios() -> Vec<FaultScenario> {
    let mut fault_scenarios = Vec::new();
    for (backend, route) in [(ORDER, "/orders"), (PAYMENT, AUTHORIZE), (PAYMENT, CAPTURE)] {
        let modes = [Mode::Hang, Mode::Reset, Mode::Truncate, Mode::Malformed];
        let statuses = [500, 503, 429, 422, 402, 409].map(Fault::status);
        for fault in modes.map(Fault::mode).into_iter().chain(statuses) {
            let fault = fault.on(route);
            fault_scenarios.push(FaultScenario::with_faults([(backend, fault.clone())]));
            fault_scenarios.push(FaultScenario::with_faults([(backend, fault.times(1))]));
        }
    }
    for backend in ["order", "payment"] {
        let step = if runs_all_cases() { 50 } else { 150 };
        fault_scenarios.extend((0..900).step_by(step).map(|bytes| FaultScenario {
            truncate_after: Some((backend, bytes)),
            ..FaultScenario::default()
        }));
    }
    // A step fails, and then the compensation of the step before it fails too.
    for fault in [
        Fault::status(503),
        Fault::status(409),
        Fault::mode(Mode::Hang),
    ] {
        let rejected = |route| (PAYMENT, Fault::status(503).on(route));
        fault_scenarios.push(FaultScenario::with_faults([
            rejected(CAPTURE),
            (PAYMENT, fault.clone().on(VOID)),
        ]));
        for compensation in [CANCEL, "/cart"] {
            fault_scenarios.push(FaultScenario::with_faults([
                rejected(AUTHORIZE),
                (ORDER, fault.clone().on(compensation)),
            ]));
        }
    }
    fault_scenarios
}

#[test]
fn every_fault_is_reported_correctly_and_a_retry_settles_it() {
    for scenario in fault_scenarios() {
        run_simulated(async {
            let case = format!("{scenario:?}");
            let harness = CheckoutHarness::start(scenario.truncate_after).await;
            let before = harness.read_state().await;
            scenario.apply(&harness);
            let first = harness.check_out(GOOD_CARD).await;
            let state = harness.read_state().await;
            match &first {
                Ok(_) => assert_eq!(state.captured, before.captured + 1, "{case}"),
                Err(error) => check(error, &state, &before, false, &case),
            }
            assert_settled(&harness, &before, &case).await;
        });
    }
}

#[test]
fn a_second_fault_is_reported_correctly_too() {
    let all = |backend| (backend, Fault::status(503));
    let later = [
        FaultScenario::with_faults([all(ORDER)]),
        FaultScenario::with_faults([(ORDER, Fault::status(503).on(ORDER_PATH))]),
        FaultScenario::with_faults([all(PAYMENT)]),
        FaultScenario::with_faults([(PAYMENT, Fault::status(503).on(CAPTURE))]),
        FaultScenario::with_faults([(PAYMENT, Fault::mode(Mode::Hang).on(CAPTURE))]),
    ];
    for (n, (first, second)) in (fault_scenarios().into_iter())
        .flat_map(|a| later.clone().map(|b| (a.clone(), b)))
        .enumerate()
    {
        // In an ordinary run each first fault has one second fault.
        if !runs_all_cases() && n % later.len() != n / later.len() % later.len() {
            continue;
        }
        run_simulated(async {
            let case = format!("{first:?}, then {second:?}");
            let mut harness = CheckoutHarness::start(first.truncate_after).await;
            let before = harness.read_state().await;
            first.apply(&harness);
            let first_result = harness.check_out(GOOD_CARD).await;
            harness.read_state().await;
            harness.restart();
            second.apply(&harness);
            harness.lossy_connections.store(false, Ordering::Relaxed);
            let retry = harness.check_out(GOOD_CARD).await;
            let state = harness.read_state().await;
            match retry {
                Ok(_) => assert_eq!(state.captured, before.captured + 1, "{case}"),
                // The error of the first attempt, returned again.
                Err(error)
                    if first_result
                        .as_ref()
                        .is_err_and(|e| code_and_steps(e) == code_and_steps(&error)) =>
                {
                    check(&error, &state, &before, true, &case);
                }
                Err(error) => {
                    assert!(
                        first_result.is_err(),
                        "{case}: it had succeeded before: {:?}",
                        code_and_steps(&error)
                    );
                    check(&error, &state, &before, true, &case);
                }
            }
            assert_settled(&harness, &before, &case).await;
        });
    }
}

#[test]
fn a_paid_order_is_not_cancelled_while_its_status_is_unavailable() {
    let statuses = [503, 500, 404, 418, 422].map(Fault::status);
    let modes = [Mode::Reset, Mode::Malformed].map(Fault::mode);
    for fault in statuses.into_iter().chain(modes) {
        run_simulated(async {
            let case = format!("{fault:?}");
            let mut harness = CheckoutHarness::start(None).await;
            let before = harness.read_state().await;
            assert!(harness.check_out(GOOD_CARD).await.is_ok(), "{case}");
            assert_eq!(
                format!("/orders/{}", harness.newest_order().await),
                ORDER_PATH
            );
            harness.restart_without_store();
            // Fails both reads of the order's status, but not a cancellation.
            let fault = fault.on(ORDER_PATH).times(2);
            harness.mocks.set_fault(ORDER, fault).unwrap();
            let retry = harness.check_out(GOOD_CARD).await;
            let state = harness.read_state().await;
            assert_eq!(state.cancelled, before.cancelled, "{case}: {state:?}");
            if let Err(error) = retry {
                check(&error, &state, &before, true, &case);
            }
            assert_settled(&harness, &before, &case).await;
        });
    }
}

/// During a rolling restart without a shared store, two gateways may process the same key at once.
#[test]
fn an_order_that_is_cancelled_during_authorization_is_not_paid() {
    run_simulated(async {
        let harness = CheckoutHarness::start(None).await;
        let before = harness.read_state().await;
        let slow = Fault::latency(Duration::from_millis(300)).on(AUTHORIZE);
        harness.mocks.set_fault(PAYMENT, slow).unwrap();
        let (result, ()) = join(harness.check_out(GOOD_CARD), async {
            sleep(Duration::from_millis(100)).await;
            harness.cancel_newest_order().await;
        })
        .await;
        let steps = json!({"order": "cancelled", "cart": "restored", "payment": "voided"});
        assert_eq!(
            code_and_steps(&result.unwrap_err()),
            ("order_cancelled", steps)
        );
        let cancelled = before.cancelled + 1;
        let expected = BackendState {
            cancelled,
            ..before
        };
        assert_eq!(harness.read_state().await, expected);
    });
}

/// Retries without faults, and asserts that the response matches the backends' state.
async fn assert_settled(harness: &CheckoutHarness, before: &BackendState, case: &str) {
    let retry = harness.check_out(GOOD_CARD).await;
    let state = harness.read_state().await;
    let captured = state.captured - before.captured;
    match retry {
        Ok(_) => {
            assert_eq!(captured, 1, "{case}: {state:?}");
            // A cancelled order must not be paid.
            assert_eq!(state.cancelled, before.cancelled, "{case}: {state:?}");
        }
        // A key whose checkout was compensated never succeeds later.
        Err(error) => {
            let (code, _) = code_and_steps(&error);
            let case = format!("{case}: {code}: {state:?}");
            assert!(code != "outcome_unknown" && captured == 0, "{case}");
            let open = (state.placed, state.authorized);
            assert_eq!(open, (before.placed, before.authorized), "{case}");
        }
    }
}

/// Compares the steps in an error with the backends' state. A retry whose outcome is unknown may omit a step.
fn check(error: &Error, state: &BackendState, before: &BackendState, retry: bool, case: &str) {
    let (code, steps) = code_and_steps(error);
    let case = format!("{case}: {code} {steps}: {state:?}");
    let default = if retry && code == "outcome_unknown" {
        "unknown"
    } else {
        ""
    };
    let step = |name: &str| steps[name].as_str().unwrap_or(default).to_owned();
    let (order, payment, cart) = (step("order"), step("payment"), step("cart"));
    let unknown = [&order, &payment, &cart]
        .into_iter()
        .any(|s| s == "unknown");
    assert_eq!(code == "outcome_unknown", unknown, "{case}");
    if order != "unknown" {
        let placed = usize::from(order == "placed");
        // An order that an earlier attempt paid is also reported as placed.
        let paid = state.paid - before.paid;
        assert_eq!(state.placed - before.placed + paid, placed, "{case}");
    }
    if payment != "unknown" {
        let authorized = usize::from(payment == "authorized");
        let now = (
            state.authorized - before.authorized,
            state.captured - before.captured,
        );
        assert_eq!(now, (authorized, 0), "{case}");
    }
    match &*cart {
        "unknown" => {}
        "emptied" => assert_eq!(state.cart, 0, "{case}"),
        _ => assert_eq!(state.cart, before.cart, "{case}"),
    }
}
