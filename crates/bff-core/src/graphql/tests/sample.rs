//! A schema with every kind of type: for the rules of the GraphQL specification.
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use async_graphql::{
    Context, EmptySubscription, Enum, ID, InputObject, Interface, MaybeUndefined, Object, Result,
    Schema, SchemaBuilder, SimpleObject,
};

use super::Mode;
use super::endpoint::TestEndpoint;
use crate::context::RequestContext;
use crate::graphql::{Config, resolve, selection};

/// The endpoint with this schema.
pub(super) fn endpoint() -> TestEndpoint {
    TestEndpoint::with_schema(schema(), &Config::default(), Mode::Production)
}

fn schema() -> SchemaBuilder<Query, Mutation, EmptySubscription> {
    Schema::build(Query, Mutation, EmptySubscription).data(AtomicI32::new(0))
}

pub(super) struct Query;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum Kind {
    Film,
    Series,
}

#[derive(Debug, InputObject)]
struct Filter {
    limit: i32,
    kind: Option<Kind>,
    #[graphql(default = 7)]
    page: i32,
    tags: Option<Vec<String>>,
}

/// Whether an argument is absent or null, or else its value.
fn state<T: std::fmt::Debug>(name: &str, value: &MaybeUndefined<T>) -> Option<String> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(format!("{name}=null")),
        MaybeUndefined::Value(value) => Some(format!("{name}={value:?}")),
    }
}

#[Object]
impl Query {
    /// The arguments as the resolver gets them.
    #[expect(clippy::too_many_arguments, reason = "one for each type")]
    async fn echo(
        &self,
        int: MaybeUndefined<i32>,
        float: MaybeUndefined<f64>,
        text: MaybeUndefined<String>,
        flag: MaybeUndefined<bool>,
        id: MaybeUndefined<ID>,
        kind: MaybeUndefined<Kind>,
        list: MaybeUndefined<Vec<Option<i32>>>,
        matrix: MaybeUndefined<Vec<Vec<i32>>>,
        filter: MaybeUndefined<Filter>,
    ) -> String {
        let states = [
            state("int", &int),
            state("float", &float),
            state("text", &text),
            state("flag", &flag),
            state("id", &id),
            state("kind", &kind),
            state("list", &list),
            state("matrix", &matrix),
            state("filter", &filter),
        ];
        states.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    async fn required(&self, n: i32) -> i32 {
        n
    }

    async fn defaulted(&self, #[graphql(default = 5)] n: i32) -> i32 {
        n
    }

    /// An argument with bounds that the type `Int` does not have.
    async fn byte(&self, n: u8) -> Option<u8> {
        Some(n)
    }

    async fn non_null_byte(&self, n: u8) -> u8 {
        n
    }

    async fn item(&self) -> Item {
        Item
    }

    async fn maybe_item(&self) -> Option<Item> {
        Some(Item)
    }

    async fn no_item(&self) -> Option<Item> {
        None
    }

    async fn nodes(&self) -> Vec<Node> {
        vec![
            Node::Leaf(Leaf { id: "l", size: 1 }),
            Node::Twig(Twig {
                id: "t",
                length: 2.5,
            }),
        ]
    }
}

/// A type with fields that fail.
struct Item;

#[Object]
impl Item {
    async fn name(&self) -> &'static str {
        "n"
    }

    /// Completes after its siblings.
    async fn slow(&self) -> &'static str {
        tokio::time::sleep(Duration::from_millis(5)).await;
        "s"
    }

    async fn fails(&self, ctx: &Context<'_>) -> Option<i32> {
        let (cx, _) = selection(ctx);
        resolve(ctx, RequestContext::require_caller(cx).map(|_| 1))
    }

    async fn non_null_fails(&self) -> Result<i32> {
        Err("host db-1 refused".into())
    }

    async fn large(&self) -> i64 {
        5_000_000_000
    }

    async fn nullable_large(&self) -> Option<i64> {
        Some(-2_147_483_649)
    }

    async fn smallest(&self) -> i64 {
        -2_147_483_648
    }

    async fn child(&self) -> Item {
        Item
    }

    async fn maybe(&self) -> Option<Item> {
        Some(Item)
    }

    async fn items(&self) -> Vec<Item> {
        vec![Item, Item]
    }

    async fn maybe_items(&self) -> Option<Vec<Option<Item>>> {
        Some(vec![Some(Item), None])
    }

    async fn matrix(&self) -> Vec<Vec<Item>> {
        vec![vec![Item], vec![]]
    }
}

#[derive(Interface)]
#[graphql(field(name = "id", ty = "&&'static str"))]
enum Node {
    Leaf(Leaf),
    Twig(Twig),
}

#[derive(SimpleObject)]
struct Leaf {
    id: &'static str,
    size: i32,
}

#[derive(SimpleObject)]
struct Twig {
    id: &'static str,
    length: f64,
}

pub(super) struct Mutation;

#[Object]
impl Mutation {
    /// The number of calls so far.
    async fn count(&self, ctx: &Context<'_>) -> Counted {
        let calls: &AtomicI32 = ctx.data_unchecked();
        Counted {
            calls: calls.fetch_add(1, Ordering::Relaxed) + 1,
            name: "c",
        }
    }
}

#[derive(SimpleObject)]
struct Counted {
    calls: i32,
    name: &'static str,
}
