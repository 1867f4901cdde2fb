//! The log speaks of changes, not of questions.

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
async fn one_line_a_change_of_state_and_none_with_the_token() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    // While there is one subscriber only, a line that a test without one logs first is off for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let agent = FakeAgent::start().await;
    let mut config = consul(&agent.url);
    config.consul.as_mut().unwrap().token = Some(Secret::new("s3cret"));
    let mut followed = Followed::new(&config, &Env::real());
    agent.reply(Reply::ok(1, json!([instance("10.0.0.1", 1)])));
    for _ in 0..3 {
        agent.reply(Reply::status(500));
    }
    agent.reply(Reply::ok(2, json!([instance("10.0.0.1", 1)])));
    agent.reply(Reply::ok(3, json!([])));
    agent.reply(Reply::ok(4, json!([instance("10.0.0.1", 1)])));
    for instances in [1, 0, 1] {
        assert_eq!(followed.next().await.len(), instances);
    }
    drop(guard);
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let own = |line: &&str| line.contains(" discovery: ");
    let told: Vec<&str> = text.lines().filter(own).map(str::trim).collect();
    assert_eq!(
        told,
        [
            r#"INFO discovery: instances changed backend="alpha" instances=1"#,
            r#"WARN discovery: instances cannot be asked for: those known stay backend="alpha" known=1 error=it answered 500 Internal Server Error"#,
            r#"INFO discovery: instances are found again backend="alpha""#,
            r#"WARN discovery: instances changed backend="alpha" instances=0 left_out=0"#,
            r#"INFO discovery: instances changed backend="alpha" instances=1"#,
        ]
    );
    assert!(!text.contains("s3cret"), "{text}");
}
