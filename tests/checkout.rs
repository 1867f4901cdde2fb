//! Ordering and paying, killed at every moment and failed in every way: nothing is charged twice, and what is told is so.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bff_core::Error;
use futures_util::future::join;
use harness::{BROKE, BackendState, CLAIM, CheckoutHarness, GOOD};
use serde_json::{Value, json};
use services_mock::{Backend, Fault, Mode};
use tokio::time::{sleep, timeout};

mod endpoints;
mod harness;

/// In one thread, without sockets, on a clock that jumps.
fn simulated<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(story)
}

/// What a client is told: a code, and what came of each step.
fn told(error: &Error) -> (&'static str, Value) {
    let problem: Value = serde_json::from_slice(&error.problem("", "/", "r")).unwrap();
    (error.code().name(), problem["steps"].clone())
}

/// How a request ends halfway.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Its task is dropped, which can still say so.
    Dropped,
    /// Its process is killed, and another one takes over.
    Killed,
    /// So is all that was remembered.
    Forgotten,
}

const ENDS: [End; 3] = [End::Dropped, End::Killed, End::Forgotten];

/// Asks, and ends the request after `at` milliseconds. Whether it had ended by itself by then.
async fn ask_and_end(till: &mut CheckoutHarness, number: &str, at: u64, end: End) -> bool {
    let mut request = Box::pin(till.check_out(number));
    let ended = timeout(Duration::from_millis(at), &mut request).await;
    let ended = ended.is_ok();
    if end == End::Dropped {
        drop(request);
        return ended;
    }
    // A killed process runs nothing any more, what would happen on being dropped included.
    std::mem::forget(request);
    if end == End::Forgotten {
        till.restart_and_forget();
        return ended;
    }
    till.restart();
    if !ended {
        // Nobody knows yet that its process is gone.
        let running = till.check_out(number).await.unwrap_err();
        assert_eq!(told(&running).0, "in_progress", "{at} ms");
        assert_eq!(running.retry_hint(), Some(Duration::from_secs(1)));
        sleep(CLAIM).await;
    }
    ended
}

#[test]
fn killed_at_any_moment_the_same_key_pays_once() {
    for end in ENDS {
        let mut moments = 0;
        for at in 0.. {
            let ended = simulated(async move {
                let mut till = CheckoutHarness::open(None).await;
                let before = till.truth().await;
                till.steady();
                let ended = ask_and_end(&mut till, GOOD, at, end).await;
                pays_once(&till, &before, &format!("{end:?} at {at} ms")).await;
                ended
            });
            moments += 1;
            if ended {
                break;
            }
        }
        assert!(moments > 10, "only {moments} moments");
    }
}

#[test]
fn killed_twice_the_same_key_pays_once() {
    for (at, again) in (1..30).step_by(3).flat_map(|at| {
        let later = (0..30).step_by(3);
        later.map(move |again| (at, again))
    }) {
        for end in ENDS {
            simulated(async move {
                let mut till = CheckoutHarness::open(None).await;
                let before = till.truth().await;
                till.steady();
                ask_and_end(&mut till, GOOD, at, end).await;
                ask_and_end(&mut till, GOOD, again, End::Killed).await;
                let case = format!("{end:?} at {at} ms, killed again at {again} ms");
                pays_once(&till, &before, &case).await;
            });
        }
    }
}

/// The next to ask with the same key is told that it was done, and it was done once.
async fn pays_once(till: &CheckoutHarness, before: &BackendState, case: &str) {
    let again = till.check_out(GOOD).await;
    again.unwrap_or_else(|e| panic!("{case}: {:?}", told(&e)));
    let truth = till.truth().await;
    let once = BackendState {
        captured: before.captured + 1,
        cart: 0,
        // Paid orders ship by themselves; none is left placed.
        paid: truth.paid,
        ..before.clone()
    };
    assert_eq!(truth, once, "{case}");
}

#[test]
fn killed_at_any_moment_a_declined_card_leaves_nothing_behind() {
    for end in ENDS {
        for at in 0.. {
            let ended = simulated(async move {
                let mut till = CheckoutHarness::open(None).await;
                let before = till.truth().await;
                till.steady();
                let ended = ask_and_end(&mut till, BROKE, at, end).await;
                let (code, steps) = told(&till.check_out(BROKE).await.unwrap_err());
                let case = format!("{end:?} at {at} ms: {code} {steps}");
                // Ended before it was undone, it is declined again; afterwards there is nothing left to pay for.
                let remembered = ended && end != End::Forgotten;
                let refused = code == "payment_declined" || code == "order_cancelled";
                assert!(
                    refused && (!remembered || code == "payment_declined"),
                    "{case}"
                );
                let stands = [&steps["order"], &steps["cart"]];
                assert_eq!(stands, ["cancelled", "restored"], "{case}");
                let truth = till.truth().await;
                let cancelled = before.cancelled + 1;
                let wanted = BackendState {
                    cancelled,
                    ..before
                };
                assert_eq!(truth, wanted, "{case}");
                // The refusal stands: what is in the cart by now is the client's own.
                let again = told(&till.check_out(BROKE).await.unwrap_err());
                assert_eq!(again, (code, steps), "{case}");
                ended
            });
            if ended {
                break;
            }
        }
    }
}

/// Faults of backends, and connections to one that lose what comes after so many bytes.
#[derive(Clone, Debug, Default)]
struct Mishap {
    faults: Vec<(Backend, Fault)>,
    lossy: Option<(&'static str, usize)>,
}

impl Mishap {
    fn of(faults: impl Into<Vec<(Backend, Fault)>>) -> Self {
        Self {
            faults: faults.into(),
            lossy: None,
        }
    }

    fn befall(&self, till: &CheckoutHarness) {
        till.frail.store(true, Ordering::Relaxed);
        for (backend, fault) in &self.faults {
            till.mocks.set_fault(*backend, fault.clone()).unwrap();
        }
    }
}

const ORDER: Backend = Backend::Order;
const PAYMENT: Backend = Backend::Payment;
/// What is ordered here.
const ORDERED: &str = "/orders/o-ada-24";
const CANCEL: &str = "/orders/o-ada-24/cancel";
const AUTHORIZE: &str = "/payments";
const CAPTURE: &str = "/payments/pay-ada-1/capture";
const VOID: &str = "/payments/pay-ada-1/void";

/// Every step at every backend, failed in every way, or done with its answer lost after any number of bytes.
fn mishaps() -> Vec<Mishap> {
    let mut mishaps = Vec::new();
    for (backend, route) in [(ORDER, "/orders"), (PAYMENT, AUTHORIZE), (PAYMENT, CAPTURE)] {
        let modes = [Mode::Hang, Mode::Reset, Mode::Truncate, Mode::Malformed];
        let statuses = [500, 503, 429, 422, 402, 409].map(Fault::status);
        for fault in modes.map(Fault::mode).into_iter().chain(statuses) {
            let fault = fault.on(route);
            mishaps.push(Mishap::of([(backend, fault.clone())]));
            mishaps.push(Mishap::of([(backend, fault.times(1))]));
        }
    }
    for backend in ["order", "payment"] {
        mishaps.extend((0..900).step_by(50).map(|left| Mishap {
            lossy: Some((backend, left)),
            ..Mishap::default()
        }));
    }
    // A step that is not done, and then what undoes the one before it fails too.
    for fault in [
        Fault::status(503),
        Fault::status(409),
        Fault::mode(Mode::Hang),
    ] {
        let refused = |route| (PAYMENT, Fault::status(503).on(route));
        mishaps.push(Mishap::of([
            refused(CAPTURE),
            (PAYMENT, fault.clone().on(VOID)),
        ]));
        for undone in [CANCEL, "/cart"] {
            mishaps.push(Mishap::of([
                refused(AUTHORIZE),
                (ORDER, fault.clone().on(undone)),
            ]));
        }
    }
    mishaps
}

#[test]
fn whatever_fails_what_is_told_is_so_and_the_same_key_settles_it() {
    for mishap in mishaps() {
        simulated(async {
            let case = format!("{mishap:?}");
            let till = CheckoutHarness::open(mishap.lossy).await;
            let before = till.truth().await;
            mishap.befall(&till);
            let first = till.check_out(GOOD).await;
            let truth = till.truth().await;
            match &first {
                Ok(_) => assert_eq!(truth.captured, before.captured + 1, "{case}"),
                Err(error) => check(error, &truth, &before, false, &case),
            }
            settles(&till, &before, &case).await;
        });
    }
}

#[test]
fn whatever_fails_after_that_what_is_told_is_still_so() {
    let all = |backend| (backend, Fault::status(503));
    let later = [
        Mishap::of([all(ORDER)]),
        Mishap::of([(ORDER, Fault::status(503).on(ORDERED))]),
        Mishap::of([all(PAYMENT)]),
        Mishap::of([(PAYMENT, Fault::status(503).on(CAPTURE))]),
        Mishap::of([(PAYMENT, Fault::mode(Mode::Hang).on(CAPTURE))]),
    ];
    for (first, second) in
        (mishaps().into_iter()).flat_map(|a| later.clone().map(|b| (a.clone(), b)))
    {
        simulated(async {
            let case = format!("{first:?}, then {second:?}");
            let mut till = CheckoutHarness::open(first.lossy).await;
            let before = till.truth().await;
            first.befall(&till);
            let began = till.check_out(GOOD).await;
            till.truth().await;
            till.restart();
            second.befall(&till);
            till.frail.store(false, Ordering::Relaxed);
            let again = till.check_out(GOOD).await;
            let truth = till.truth().await;
            match again {
                Ok(_) => assert_eq!(truth.captured, before.captured + 1, "{case}"),
                // The refusal of the first try, told again.
                Err(error) if began.as_ref().is_err_and(|e| told(e) == told(&error)) => {
                    check(&error, &truth, &before, true, &case);
                }
                Err(error) => {
                    assert!(began.is_err(), "{case}: it was done: {:?}", told(&error));
                    check(&error, &truth, &before, true, &case);
                }
            }
            settles(&till, &before, &case).await;
        });
    }
}

#[test]
fn what_a_forgotten_try_paid_is_not_given_up_where_nobody_can_say_how_it_stands() {
    let statuses = [503, 500, 404, 418, 422].map(Fault::status);
    let modes = [Mode::Reset, Mode::Malformed].map(Fault::mode);
    for fault in statuses.into_iter().chain(modes) {
        simulated(async {
            let case = format!("{fault:?}");
            let mut till = CheckoutHarness::open(None).await;
            let before = till.truth().await;
            assert!(till.check_out(GOOD).await.is_ok(), "{case}");
            assert_eq!(format!("/orders/{}", till.newest().await), ORDERED);
            till.restart_and_forget();
            // As often as it is asked how the order stands, and not when it is cancelled.
            let asked = fault.on(ORDERED).times(2);
            till.mocks.set_fault(ORDER, asked).unwrap();
            let again = till.check_out(GOOD).await;
            let truth = till.truth().await;
            assert_eq!(truth.cancelled, before.cancelled, "{case}: {truth:?}");
            if let Err(error) = again {
                check(&error, &truth, &before, true, &case);
            }
            settles(&till, &before, &case).await;
        });
    }
}

/// A gateway that leaves and one that comes may be at the same key at once where they have no memory in common.
#[test]
fn what_another_gives_up_while_the_money_is_authorised_is_not_paid_for() {
    simulated(async {
        let till = CheckoutHarness::open(None).await;
        let before = till.truth().await;
        let slow = Fault::latency(Duration::from_millis(300)).on(AUTHORIZE);
        till.mocks.set_fault(PAYMENT, slow).unwrap();
        let (came, ()) = join(till.check_out(GOOD), async {
            sleep(Duration::from_millis(100)).await;
            till.give_up().await;
        })
        .await;
        let steps = json!({"order": "cancelled", "cart": "restored", "payment": "voided"});
        assert_eq!(told(&came.unwrap_err()), ("order_cancelled", steps));
        let cancelled = before.cancelled + 1;
        let wanted = BackendState {
            cancelled,
            ..before
        };
        assert_eq!(till.truth().await, wanted);
    });
}

/// Nothing fails any more: the same key says how it ended, and that is so.
async fn settles(till: &CheckoutHarness, before: &BackendState, case: &str) {
    let again = till.check_out(GOOD).await;
    let truth = till.truth().await;
    let captured = truth.captured - before.captured;
    match again {
        Ok(_) => {
            assert_eq!(captured, 1, "{case}: {truth:?}");
            // Nobody pays for an order that was given up.
            assert_eq!(truth.cancelled, before.cancelled, "{case}: {truth:?}");
        }
        // A refusal stands: what was undone is not done by the same key again.
        Err(error) => {
            let (code, _) = told(&error);
            let case = format!("{case}: {code}: {truth:?}");
            assert!(code != "outcome_unknown" && captured == 0, "{case}");
            let open = (truth.placed, truth.authorized);
            assert_eq!(open, (before.placed, before.authorized), "{case}");
        }
    }
}

/// What a failure says of its steps is what stands. A step that is not named is not spoken of when the outcome is
/// unknown to a try that is not the first.
fn check(error: &Error, truth: &BackendState, before: &BackendState, again: bool, case: &str) {
    let (code, steps) = told(error);
    let case = format!("{case}: {code} {steps}: {truth:?}");
    let silent = if again && code == "outcome_unknown" {
        "unknown"
    } else {
        ""
    };
    let step = |name: &str| steps[name].as_str().unwrap_or(silent).to_owned();
    let (order, payment, cart) = (step("order"), step("payment"), step("cart"));
    let unknown = [&order, &payment, &cart]
        .into_iter()
        .any(|s| s == "unknown");
    assert_eq!(code == "outcome_unknown", unknown, "{case}");
    if order != "unknown" {
        let stands = usize::from(order == "placed");
        // An order that an earlier try paid is placed, too.
        let paid = truth.paid - before.paid;
        assert_eq!(truth.placed - before.placed + paid, stands, "{case}");
    }
    if payment != "unknown" {
        let authorized = usize::from(payment == "authorized");
        let now = (
            truth.authorized - before.authorized,
            truth.captured - before.captured,
        );
        assert_eq!(now, (authorized, 0), "{case}");
    }
    match &*cart {
        "unknown" => {}
        "emptied" => assert_eq!(truth.cart, 0, "{case}"),
        _ => assert_eq!(truth.cart, before.cart, "{case}"),
    }
}
