//! Against a small server on this machine that is busy, silent, broken and strict.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::scripted::{Reply, start};
use super::{Address, ChatOptions, ChatRequest, ChatServer};
use crate::Error;

fn server(address: &str, key: Option<&str>) -> ChatServer {
    let options =
        ChatOptions { timeout: Duration::from_millis(400), retries: 2, pause: Duration::from_millis(5) };
    ChatServer::new(Address::parse(address).unwrap(), key.map(str::to_owned), options).unwrap()
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "m".into(),
        system: "be short".into(),
        user: "what?".into(),
        max_tokens: 9,
        seed: 3,
        schema: Some(json!({"type": "object"})),
    }
}

#[test]
fn an_answer_comes_with_its_tokens_and_the_request_with_its_key() {
    let address = start(|body, key| {
        assert_eq!(
            (body["model"].as_str(), body["messages"][1]["content"].as_str()),
            (Some("m"), Some("what?"))
        );
        assert_eq!((body["temperature"].as_f64(), body["seed"].as_u64()), (Some(0.0), Some(3)));
        assert_eq!(body["response_format"]["type"], "json_schema");
        Reply::said(key)
    })
    .unwrap();
    let server = server(&address, Some("sk-1"));
    let answer = server.ask(&request(), &|| false).unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.prompt_tokens, answer.answer_tokens),
        ("Bearer sk-1", Some(5), Some(2))
    );
    assert!(!format!("{server:?}").contains("sk-1"));
}

#[test]
fn a_schema_that_is_refused_is_left_out_from_then_on() {
    let mut asked = 0;
    let address = start(move |body, _| {
        asked += 1;
        match body.get("response_format") {
            Some(_) => Reply::Status(400, "", r#"{"error":{"message":"response_format: no"}}"#.into()),
            None => Reply::said(&asked.to_string()),
        }
    })
    .unwrap();
    let server = server(&address, None);
    assert_eq!(server.ask(&request(), &|| false).unwrap().text, "2");
    assert_eq!(server.ask(&request(), &|| false).unwrap().text, "3", "not tried again");
}

#[test]
fn busy_servers_are_given_the_time_that_they_ask_for() {
    let mut asked = 0;
    let address = start(move |_, _| {
        asked += 1;
        match asked {
            1..=4 => Reply::Status(429, "Retry-After: 0.05\r\n", "{}".into()),
            _ => Reply::said("yes"),
        }
    })
    .unwrap();
    let began = Instant::now();
    assert_eq!(server(&address, None).ask(&request(), &|| false).unwrap().text, "yes");
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());

    let address = start(|_, _| Reply::Status(429, "Retry-After: 86400\r\n", "{}".into())).unwrap();
    let error = server(&address, None).ask(&request(), &|| false).unwrap_err();
    assert!(matches!(error, Error::Network(_)) && error.to_string().contains("86400 s"), "{error}");
}

#[test]
fn what_breaks_is_repeated_and_then_named() {
    let (seen, count) = (Arc::new(Mutex::new(0)), |seen: &Mutex<i32>| *seen.lock().unwrap());
    let replies: [(fn() -> Reply, &str); 4] = [
        (|| Reply::Status(500, "", "boom".into()), "boom"),
        (|| Reply::Status(200, "", "<html>".into()), "not JSON"),
        (|| Reply::Status(200, "", "{\"choices\":[]}".into()), "choices[0].message"),
        (|| Reply::Silence(Duration::from_secs(1)), "timeout"),
    ];
    for (reply, named) in replies {
        *seen.lock().unwrap() = 0;
        let counted = seen.clone();
        let address = start(move |_, _| {
            *counted.lock().unwrap() += 1;
            reply()
        })
        .unwrap();
        let error = server(&address, None).ask(&request(), &|| false).unwrap_err();
        assert!(matches!(error, Error::Network(_)) && error.to_string().contains(named), "{error}");
        if named != "timeout" {
            assert_eq!(count(&seen), 3, "{named}: once and two repetitions");
        }
    }
}

#[test]
fn refusals_are_not_repeated_and_do_not_show_the_key() {
    let seen = Arc::new(Mutex::new(0));
    let counted = seen.clone();
    let address = start(move |_, key| {
        *counted.lock().unwrap() += 1;
        Reply::Status(401, "", json!({"error": {"message": format!("Incorrect API key: {key}")}}).to_string())
    })
    .unwrap();
    let error = server(&address, Some("sk-very-secret")).ask(&request(), &|| false).unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, Error::Request(_)) && text.contains("Incorrect API key") && !text.contains("very"),
        "{text}"
    );
    assert_eq!(*seen.lock().unwrap(), 1);

    let address =
        start(|_, _| Reply::Status(302, "Location: http://127.0.0.1:1/\r\n", String::new())).unwrap();
    let error = server(&address, None).ask(&request(), &|| false).unwrap_err().to_string();
    assert!(error.contains("redirects are not followed"), "{error}");
}

#[test]
fn a_stop_is_seen_in_a_pause() {
    let address = start(|_, _| Reply::Status(429, "Retry-After: 60\r\n", String::new())).unwrap();
    let began = Instant::now();
    let error =
        server(&address, None).ask(&request(), &|| began.elapsed() > Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, Error::Stopped(_)) && began.elapsed() < Duration::from_secs(5), "{error}");
}
