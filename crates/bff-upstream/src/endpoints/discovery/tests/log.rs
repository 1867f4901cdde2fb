//! The log reports changes, not queries.

use std::io::Write;

use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_change_of_state_logs_one_line_without_the_token() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    // With a single subscriber, a log call first reached by a test without subscriber would be disabled everywhere.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    config.consul.as_mut().unwrap().token = Some(Secret::new("s3cret"));
    let mut watched = Watched::new(&config, &Env::real());
    agent.reply(Reply::ok(1, json!([instance("10.0.0.1", 1)])));
    for _ in 0..3 {
        agent.reply(Reply::status(500));
    }
    agent.reply(Reply::ok(2, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::ok(3, json!([])));
    agent.reply(Reply::ok(4, json!([instance("10.0.0.1", 1)])));
    for instances in [1, 0, 1] {
        assert_eq!(watched.next().await.len(), instances);
    }
    drop(guard);
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let is_discovery = |line: &&str| line.contains(" discovery: ");
    let logged: Vec<&str> = text.lines().filter(is_discovery).map(str::trim).collect();
    assert_eq!(
        logged,
        [
            r#"INFO discovery: instances changed backend="alpha" instances=1"#,
            r#"WARN discovery: service discovery failed; keeping the last known endpoints backend="alpha" instances=1 error=Consul responded with 500 Internal Server Error"#,
            r#"INFO discovery: service discovery recovered backend="alpha""#,
            r#"WARN discovery: instances changed backend="alpha" instances=0 ignored=0"#,
            r#"INFO discovery: instances changed backend="alpha" instances=1"#,
        ]
    );
    assert!(!text.contains("s3cret"), "{text}");
}
