//! The local inference API over a real socket: every path, every kind of bad request.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dunlin_agent::api::{Alarm, ApiBounds, Listener, listen_tcp, listen_unix};
use dunlin_core::Digest;
use dunlin_core::code::Coded as _;
use serde_json::json;
use support::schema::Description;
use support::served::{BOUNDS, Served, status};
use support::{Answer, POLICY, card, get, input, post, post_bytes, raw, read_answer, serve, serve_stream};

const INFER: &str = "/v2/models/adder/infer";

#[test]
fn health_and_metadata_are_those_of_the_protocol() {
    let served = Served::start(BOUNDS);
    let at = served.address();
    let live = get(at, "/v2/health/live");
    assert_eq!((live.status, live.json()), (200, json!({"live": true})));
    let ready = get(at, "/v2/health/ready");
    assert_eq!((ready.status, ready.json()), (503, json!({"ready": false})));
    assert_eq!(get(at, "/v2/models/adder/ready").error(), (404, "model-unknown".into()));

    served.runtime.block_on(serve(&served.data, "adder", "1.2.0", &card(4), 0.5, ""));
    let ready = get(at, "/v2/health/ready");
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true})));
    let ready = get(at, "/v2/models/adder/ready");
    assert_eq!((ready.status, ready.json()), (200, json!({"name": "adder", "ready": true})));
    let server = get(at, "/v2").json();
    assert_eq!((&server["name"], &server["models"]), (&json!("dunlin"), &json!(["adder"])));
    let model = get(at, "/v2/models/adder").json();
    assert_eq!(model["versions"], json!(["1.2.0"]));
    assert_eq!(model["inputs"], json!([{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]));
    assert_eq!((&model["max_batch"], &model["max_samples"]), (&json!(4), &json!(1024)));

    served.runtime.block_on(served.data.stop("adder".parse().unwrap())).unwrap();
    let ready = get(at, "/v2/models/adder/ready");
    assert_eq!((ready.status, ready.json()), (503, json!({"name": "adder", "ready": false})));
    assert_eq!(get(at, "/v2/models/adder").error(), (503, "model-not-ready".into()));
    assert_eq!(post(at, INFER, &input("[1,2]", "[1,2]")).error(), (503, "model-not-ready".into()));
}

#[test]
fn tensors_go_in_flat_or_nested_and_come_out_with_shape_and_id() {
    let served = Served::adder();
    let at = served.address();
    // KServe's client names the model in the body as well.
    let body = input("[2,2]", "[1,2,3.25,-4]").replacen('{', r#"{"id":"42","model_name":"adder","#, 1);
    let answer = post(at, INFER, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let wanted = json!([{"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [1.5, 2.5, 3.75, -3.5]}]);
    assert_eq!(json["outputs"], wanted);
    assert_eq!((&json["id"], &json["model_version"]), (&json!("42"), &json!("1.2.0")));
    assert!(answer.head.to_ascii_lowercase().contains("content-type: application/json"));
    assert_eq!(post(at, INFER, &input("[2,2]", "[[1,2],[3.25,-4]]")).json()["outputs"], wanted);
    let seven = post(at, INFER, &input("[7,2]", &format!("{:?}", [0.5; 14]))).json();
    assert_eq!(seven["outputs"][0]["shape"], json!([7, 2]), "more than max_batch runs in slices");
}

/// A request as Triton's client sends it: JSON, and the elements behind it.
fn binary(at: SocketAddr, path: &str, json: &str, elements: &[u8]) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nInference-Header-Content-Length: {}\r\nContent-Length: \
         {}\r\n\r\n{json}",
        json.len(),
        json.len() + elements.len()
    );
    raw(at, &[head.as_bytes(), elements].concat())
}

#[test]
fn binary_tensors_go_in_and_come_out() {
    let served = Served::adder();
    let at = served.address();
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let json = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"parameters":{"binary_data_size":16}}],
        "parameters":{"binary_data_output":true}}"#;
    let x = bytes(&[1.0, 2.0, 3.25, -4.0]);
    let answer = binary(at, INFER, json, &x);
    assert_eq!(answer.status, 200, "{answer:?}");
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("content-type: application/octet-stream"), "{head}");
    let length =
        head.lines().find_map(|line| line.strip_prefix("inference-header-content-length: ")).unwrap();
    let (header, elements) = answer.bytes.split_at(length.parse().unwrap());
    let header: serde_json::Value = serde_json::from_slice(header).unwrap();
    let output =
        json!({"name": "y", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}});
    assert_eq!(header["outputs"], json!([output]));
    assert_eq!(elements, bytes(&[1.5, 2.5, 3.75, -3.5]));
    // Binary in, JSON out.
    let plain = binary(at, INFER, &json.replace("true", "false"), &x);
    assert_eq!(plain.json()["outputs"][0]["data"], json!([1.5, 2.5, 3.75, -3.5]));
    for (json, elements, code) in [
        (json.to_string(), &x[..15], "input-data"),
        (json.replace("16", "12"), &x[..12], "input-data"),
        (json.replace("[2,2]", "[4,1]"), &x[..], "input-shape"),
        (json.to_string(), &[&x[..], &[0]].concat(), "request-json"),
        (json.to_string(), &bytes(&[f32::NAN, 1.0, 1.0, 1.0]), "input-not-finite"),
    ] {
        assert_eq!(binary(at, INFER, &json, elements).error(), (400, code.into()), "{json}");
    }
}

#[test]
fn versions_and_the_index_name_what_serves() {
    let served = Served::adder();
    let at = served.address();
    let version = get(at, "/v2/models/adder/versions/1.2.0");
    assert_eq!((version.status, version.json()), (200, get(at, "/v2/models/adder").json()));
    let x = input("[1,2]", "[1,2]");
    assert_eq!(post(at, "/v2/models/adder/versions/1.2.0/infer", &x).status, 200);
    for path in ["/v2/models/adder/versions/1.3.0", "/v2/models/adder/versions/x%2Fy"] {
        assert_eq!(get(at, path).error(), (404, "model-version".into()));
    }
    assert_eq!(post(at, "/v2/models/adder/versions/2/infer", &x).error(), (404, "model-version".into()));
    for (path, status) in [("1.2.0", 200), ("1.3.0", 503)] {
        assert_eq!(get(at, &format!("/v2/models/adder/versions/{path}/ready")).status, status);
    }
    let index = |body: &str| post(at, "/v2/repository/index", body).json();
    let ready = json!([{"name": "adder", "version": "1.2.0", "state": "READY", "reason": ""}]);
    assert_eq!(index(""), ready);
    served.runtime.block_on(served.data.stop("adder".parse().unwrap())).unwrap();
    assert_eq!(index("{}")[0]["state"], "UNAVAILABLE");
    assert_eq!(index(r#"{"ready":true}"#), json!([]));
    assert_eq!(post(at, "/v2/repository/index", "{\"all\":1}").error(), (400, "request-json".into()));
}

#[test]
fn statistics_count_requests_samples_and_calls() {
    let served = Served::adder();
    let at = served.address();
    let path = "/v2/models/adder/stats";
    assert_eq!(
        get(at, path).json()["model_stats"][0]["inference_stats"]["success"],
        json!({"count": 0, "ns": 0})
    );
    // Seven samples in slices of four, one sample, and what never reaches the model.
    assert_eq!(post(at, INFER, &input("[7,2]", &format!("{:?}", [0.5; 14]))).status, 200);
    assert_eq!(post(at, INFER, &input("[1,2]", "[1,2]")).status, 200);
    assert_eq!(post(at, INFER, &input("[1,3]", "[1,2,3]")).status, 400);
    let stats = get(at, path).json()["model_stats"][0].clone();
    assert_eq!((&stats["name"], &stats["version"]), (&json!("adder"), &json!("1.2.0")));
    assert_eq!((&stats["inference_count"], &stats["execution_count"]), (&json!(8), &json!(3)));
    let of = |what: &str| stats["inference_stats"][what]["count"].as_u64().unwrap();
    assert_eq!((of("success"), of("fail"), of("queue"), of("compute_infer")), (2, 0, 2, 2));
    let ns = |what: &str| stats["inference_stats"][what]["ns"].as_u64().unwrap();
    assert!(ns("success") > 0, "{stats}");
    assert_eq!(ns("success"), ns("queue") + ns("compute_infer"), "{stats}");
    assert!(stats["last_inference"].as_u64().unwrap() > 1_700_000_000_000, "{stats}");
    for same in ["/v2/models/stats", "/v2/models/adder/versions/1.2.0/stats"] {
        assert_eq!(get(at, same).json()["model_stats"][0], stats, "{same}");
    }
    assert_eq!(get(at, "/v2/models/other/stats").error(), (404, "model-unknown".into()));
}

#[test]
fn a_stream_model_is_asked_by_sequences() {
    let served = Served::adder();
    let at = served.address();
    served.runtime.block_on(serve_stream(&served.data, "sum", "1"));
    let ask = |model: &str, parameters: &str, x: u8| {
        let body = input("[1,2]", &format!("[{x},0]"));
        let body = body.replacen('{', &format!(r#"{{"parameters":{{{parameters}}},"#), 1);
        post(at, &format!("/v2/models/{model}/infer"), &body)
    };
    let sum = |parameters: &str, x| ask("sum", parameters, x).json()["outputs"][0]["data"][0].clone();
    assert_eq!(sum(r#""sequence_id":42,"sequence_start":true"#, 5), 5.0);
    assert_eq!(sum(r#""sequence_id":"42","sequence_start":true"#, 100), 100.0, "a number is no text");
    assert_eq!(sum(r#""sequence_id":42"#, 6), 11.0);
    assert_eq!(sum(r#""sequence_id":"42","sequence_end":true"#, 7), 107.0);
    assert_eq!(ask("sum", r#""sequence_id":"42""#, 7).error(), (409, "sequence-lost".into()));
    assert_eq!(ask("sum", "", 7).error(), (400, "sequence-missing".into()));
    assert_eq!(ask("sum", r#""sequence_id":0"#, 7).error(), (400, "sequence-missing".into()));
    assert_eq!(ask("sum", r#""sequence_start":true"#, 7).error(), (400, "request-json".into()));
    assert_eq!(ask("adder", r#""sequence_id":42"#, 7).error(), (400, "sequence-stateless".into()));
    for number in 1..16 {
        ask("sum", &format!(r#""sequence_id":{number},"sequence_start":true"#), 5);
    }
    let full = ask("sum", r#""sequence_id":16,"sequence_start":true"#, 5);
    assert_eq!(full.error(), (503, "sequences-full".into()));
    assert!(full.head.to_ascii_lowercase().contains("retry-after"), "{}", full.head);
    let extensions = get(at, "/v2").json()["extensions"].clone();
    assert!(extensions.as_array().unwrap().contains(&json!("sequence(string_id)")), "{extensions}");
}

#[test]
fn each_bad_input_has_its_status_and_code() {
    let served = Served::adder();
    let at = served.address();
    let x = input("[1,2]", "[1,2]");
    for (body, status, code) in [
        (input("[1,3]", "[1,2,3]"), 400, "input-shape"),
        (input("[2]", "[1,2]"), 400, "input-shape"),
        (input("[1,2]", "[1]"), 400, "input-data"),
        (input("[1,2]", "[1,2,3]"), 400, "input-data"),
        (input("[1,2]", "[1,\"2\"]"), 400, "input-data"),
        (input("[1,2]", "[1,null]"), 400, "input-data"),
        (input("[1,2]", "[1,NaN]"), 400, "request-json"),
        (input("[1,2]", "[1,1e39]"), 400, "input-not-finite"),
        (input("[0,2]", "[]"), 400, "input-batch"),
        (input("[1025,2]", &format!("{:?}", [1u8; 2050])), 400, "input-batch"),
        (x.replace("FP32", "FP64"), 400, "input-dtype"),
        (x.replace("FP32", "FP16"), 400, "input-dtype"),
        (x.replace("\"x\"", "\"z\""), 400, "input-unknown"),
        (r#"{"inputs":[]}"#.into(), 400, "input-missing"),
        (x.replacen('{', r#"{"model_name":"other","#, 1), 400, "request-json"),
        (x.replace("]}]}", r#"]}],"outputs":[{"name":"z"}]}"#), 400, "output-unknown"),
        (x.replace("]}]}", "]}],\"priority\":1}"), 400, "request-json"),
        ("{".into(), 400, "request-json"),
        (String::new(), 400, "request-json"),
        ("[".repeat(10_000), 400, "request-json"),
    ] {
        assert_eq!(post(at, INFER, &body).error(), (status, code.to_string()), "{:.100}", body);
    }
    let twice = x.replace("}]}", r#"},{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#);
    assert_eq!(post(at, INFER, &twice).error(), (400, "input-twice".into()));
    assert_eq!(post(at, "/v2/models/other/infer", &x).error(), (404, "model-unknown".into()));
    assert_eq!(post(at, "/v2/models/..%2F..%2Fetc/infer", &x).error(), (404, "model-unknown".into()));
    assert_eq!(post(at, INFER, &x).status, 200, "and the next good request is answered");
}

#[test]
fn paths_and_methods_that_are_not_there_say_so() {
    let served = Served::adder();
    let at = served.address();
    assert_eq!(get(at, "/").error(), (404, "request-route".into()));
    assert_eq!(get(at, "/v2/models/adder/weights").error(), (404, "request-route".into()));
    assert_eq!(get(at, INFER).error(), (405, "request-method".into()));
    assert_eq!(post(at, "/v2/health/live", "").error(), (405, "request-method".into()));
}

#[test]
fn a_body_beyond_the_contract_is_refused_before_it_is_read() {
    let served = Served::adder();
    let at = served.address();
    // 16 KiB, and 1024 samples of 2 elements of 32 bytes.
    let most = 16 * 1024 + 1024 * 2 * 32;
    let head = |length: usize| {
        format!("POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
    };
    assert_eq!(raw(at, head(most + 1).as_bytes()).error(), (413, "request-too-large".into()));
    let chunked = format!(
        "POST {INFER} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}",
        most + 1,
        " ".repeat(most + 1)
    );
    assert_eq!(raw(at, chunked.as_bytes()).error(), (413, "request-too-large".into()));
    let garbled =
        format!("POST {INFER} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(raw(at, garbled.as_bytes()).error(), (400, "request-json".into()));
    let body = format!("{}{}", input("[1,2]", "[1,2]"), " ".repeat(most - 70));
    assert!(body.len() <= most);
    assert_eq!(post(at, INFER, &body).status, 200);
}

#[test]
fn a_body_with_binary_tensors_may_have_the_bytes_of_its_elements_and_an_envelope() {
    let served = Served::adder();
    let at = served.address();
    // 64 KiB, and 1024 samples of 2 elements of 4 bytes.
    let most = 64 * 1024 + 1024 * 2 * 4;
    let head = |length: usize| {
        format!(
            "POST {INFER} HTTP/1.1\r\nHost: localhost\r\nInference-Header-Content-Length: 10\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    let refused = raw(at, head(most + 1).as_bytes());
    assert_eq!(refused.error(), (413, "request-too-large".into()));
    assert!(refused.json()["error"].as_str().unwrap().contains(&most.to_string()), "{refused:?}");
    let json = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1024,2],"parameters":{"binary_data_size":8192}}]}"#;
    let padded = format!("{json}{}", " ".repeat(64 * 1024 - json.len()));
    assert_eq!(binary(at, INFER, &padded, &[0; 8192]).status, 200, "all of it is taken");
}

/// Every path of the description, once well and once or more with an error.
#[test]
fn real_answers_are_what_the_description_says() {
    let served = Served::adder();
    let at = served.address();
    served.runtime.block_on(serve_stream(&served.data, "sum", "1"));
    served.runtime.block_on(serve(&served.data, "gone", "1", &card(4), 0.5, ""));
    served.runtime.block_on(served.data.stop("gone".parse().unwrap())).unwrap();
    let answer = get(at, "/openapi.json");
    assert_eq!(answer.body, include_str!("../../../docs/openapi.json"));
    let description = Description::parse(&answer.body);
    let x = input("[1,2]", "[1,2]");
    let with = |parameters: &str| x.replacen('{', &format!(r#"{{"parameters":{{{parameters}}},"#), 1);
    let mut seen = std::collections::BTreeSet::new();
    let mut checked = 0;
    for (path, method) in description.operations() {
        let named = |model: &str, version: &str| path.replace("{model}", model).replace("{version}", version);
        let mut asks = vec![(named("adder", "1.2.0"), String::new())];
        if path.ends_with("/infer") {
            asks[0].1 = x.replacen('{', r#"{"id":"7","outputs":[{"name":"y"}],"#, 1);
            for body in [
                with(r#""binary_data_output":false"#),
                with(r#""sequence_id":1,"sequence_start":true"#),
                with(r#""priority":1"#),
                x.replace("[1,2]}", "[1]}"),
                " ".repeat(500_000),
            ] {
                asks.push((named("adder", "1.2.0"), body));
            }
            asks.push((named("sum", "1"), with(r#""sequence_id":"a","sequence_start":true"#)));
            asks.push((named("sum", "1"), with(r#""sequence_id":"b""#)));
        }
        if path.contains("{model}") {
            asks.push((named("other", "1"), x.clone()));
            asks.push((named("gone", "1"), x.clone()));
            asks.push((named("adder", "9"), x.clone()));
        }
        for (at_path, body) in asks {
            let answer = match method.as_str() {
                "get" => get(at, &at_path),
                _ => post(at, &at_path, &body),
            };
            description.check_answer(&path, &method, answer.status, &answer.json()).unwrap();
            if answer.status == 200 && method == "post" && !body.is_empty() {
                let body = serde_json::from_str(&body).unwrap();
                description.check_body(&path, &method, &body).unwrap();
            }
            seen.insert((path.clone(), answer.status));
            checked += 1;
        }
        let wrong = raw(
            at,
            format!("PUT {} HTTP/1.1\r\nHost: localhost\r\n\r\n", named("adder", "1.2.0")).as_bytes(),
        );
        assert_eq!(wrong.status, 405);
        description.check_answer(&path, &method, 405, &wrong.json()).unwrap();
        assert!(path == "/v2/health/ready" || seen.contains(&(path.clone(), 200)), "{path}: {seen:?}");
    }
    assert!(checked > 40, "{checked}");
    // The check itself: what is not described is found.
    let bad = json!({"live": true, "more": 1});
    assert!(description.check_answer("/v2/health/live", "get", 200, &bad).is_err());
    assert!(description.check_answer("/v2/health/live", "get", 200, &json!({"live": 1})).is_err());
    assert!(description.check_answer("/v2/health/live", "get", 418, &json!({"live": true})).is_err());
}

#[test]
fn only_this_device_may_ask_and_no_web_page() {
    let served = Served::adder();
    let at = served.address();
    let with = |lines: &str| raw(at, format!("GET /v2/health/live HTTP/1.1\r\n{lines}\r\n").as_bytes());
    for good in ["Host: localhost\r\n", "Host: 127.0.0.1:8500\r\n", "Host: [::1]:80\r\n"] {
        assert_eq!(with(good).status, 200, "{good}");
    }
    for bad in [
        "Host: evil.example\r\n",
        "Host: localhost.evil.example:8500\r\n",
        "Host: 10.0.0.7:8500\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
        "",
    ] {
        assert_eq!(with(bad).error(), (403, "request-host".into()), "{bad}");
    }
    let absolute = raw(at, b"GET http://evil.example/v2 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(absolute.error(), (403, "request-host".into()));
    let live = with("Host: localhost\r\n");
    assert!(!live.head.to_ascii_lowercase().contains("access-control"), "no page may read an answer");
}

#[test]
fn only_json_is_taken() {
    let served = Served::adder();
    let at = served.address();
    let good = post_bytes(INFER, &input("[1,2]", "[1,2]"));
    let with = |kind: &str| raw(at, good.replace("Content-Type: application/json\r\n", kind).as_bytes());
    assert_eq!(with("").status, 200);
    assert_eq!(with("Content-Type: text/plain\r\n").error(), (415, "request-content-type".into()));
    let binary = with("Inference-Header-Content-Length: 1000\r\n");
    assert_eq!(binary.error(), (400, "request-json".into()));
}

#[test]
fn failures_of_the_model_are_told_from_those_of_the_caller() {
    let served = Served::start(BOUNDS);
    let at = served.address();
    let body = "(if (f32.eq (f32.load (i32.const 1024)) (f32.const 2)) (then unreachable))
                (if (f32.eq (f32.load (i32.const 1024)) (f32.const 3)) (then (loop $ever (br $ever))))";
    served.runtime.block_on(serve(&served.data, "adder", "1", &card(4), 0.0, body));
    assert_eq!(post(at, INFER, &input("[1,2]", "[2,0]")).error(), (500, "model-trap".into()));
    assert_eq!(post(at, INFER, &input("[1,2]", "[3,0]")).error(), (504, "model-deadline".into()));
    assert_eq!(post(at, INFER, &input("[1,2]", "[4,0]")).status, 200);
}

#[test]
fn the_longest_idle_connection_gives_way() {
    let served = Served::start(ApiBounds { max_connections: 2, ..BOUNDS });
    let at = served.address();
    let request = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ask = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request).unwrap();
        read_answer(stream).status
    };
    let hold = || {
        let mut stream = TcpStream::connect(at).unwrap();
        assert_eq!(ask(&mut stream), 200);
        stream
    };
    let (mut first, mut second) = (hold(), hold());
    assert_eq!(ask(&mut first), 200);
    let mut third = hold();
    assert_eq!(second.read(&mut [0; 1]).unwrap(), 0, "it was idle for longest");
    assert_eq!((ask(&mut first), ask(&mut third)), (200, 200));
}

/// None of them sends its headers to the end.
#[test]
fn slow_connections_hold_up_no_caller() {
    let served = Served::adder();
    let at = served.address();
    let slow: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(b"GET /v2 HTTP/1.1\r\nHost: loc").unwrap();
            stream
        })
        .collect();
    assert_eq!(get(at, "/v2/health/live").status, 200);
    assert_eq!(post(at, INFER, &input("[1,2]", "[1,2]")).status, 200);
    drop(slow);
}

#[test]
fn health_is_answered_while_all_are_busy() {
    let served = Served::adder();
    let at = served.address();
    let head = format!(
        "POST {INFER} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 900\r\n\r\n"
    );
    let busy: Vec<TcpStream> = (0..BOUNDS.max_connections)
        .map(|_| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            // The body is waited for from here on.
            stream.read_exact(&mut [0; "HTTP/1.1 100 Continue\r\n\r\n".len()]).unwrap();
            stream
        })
        .collect();
    assert_eq!(get(at, "/v2").error(), (503, "api-connections-full".into()));
    assert_eq!(get(at, "/v2/health/live").status, 200);
    drop(busy);
}

#[test]
fn ambiguous_requests_are_json_errors() {
    let served = Served::adder();
    let at = served.address();
    for path in ["/v2/models/%ff", "/v2/models/%ff/infer", "/v2/models/adder/versions/%C3%28", "/%ff"] {
        assert_eq!(get(at, path).error(), (400, "request-route".into()), "{path}");
    }
    let body = input("[1,2]", "[1,2]");
    let with = |headers: &str| {
        let request = format!(
            "POST {INFER} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw(at, request.as_bytes())
    };
    assert_eq!(with("").status, 200);
    for headers in [
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Inference-Header-Content-Length: 3\r\nInference-Header-Content-Length: 4\r\n",
        "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    ] {
        assert_eq!(with(headers).error(), (400, "request-header-twice".into()), "{headers}");
    }
    for (from, to) in [
        ("{", r#"{"parameters":{"binary_data_output":true,"binary_data_output":false},"#),
        ("{", r#"{"id":"a","id":"b","#),
        (r#"{"name""#, r#"{"parameters":{"binary_data":false,"binary_data":false},"name""#),
    ] {
        let answer = post(at, INFER, &body.replacen(from, to, 1));
        assert_eq!(answer.error(), (400, "request-json".into()), "{to}");
    }
    // A bad chunk, and methods of other protocols.
    let chunked =
        format!("POST {INFER} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(raw(at, chunked.as_bytes()).error(), (400, "request-json".into()));
    let brew = b"BREW /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(raw(at, brew).error(), (405, "request-method".into()));
}

#[test]
fn the_device_is_told_of_as_control_last_saw_it() {
    let served = Served::start(BOUNDS);
    let told = get(served.address(), "/dunlin/v1/device");
    assert_eq!(told.status, 200);
    assert_eq!(told.json()["clock"], "unset");
    assert_eq!(told.json()["alarms"], json!([]));
    let alarm = Alarm { code: "root-expired", about: "the root".into(), detail: "root 2 ended".into() };
    let mut now = status();
    now.connected = true;
    now.alarms.push(alarm);
    served.board.send_replace(serde_json::to_string(&now).unwrap());
    let told = get(served.address(), "/dunlin/v1/device").json();
    assert_eq!((&told["connected"], &told["alarms"][0]["code"]), (&json!(true), &json!("root-expired")));
}

#[test]
fn a_token_is_asked_for_everywhere_but_for_health() {
    let token = Some(Digest::of(b"correct horse battery staple"));
    let served = Served::start(ApiBounds { token, ..BOUNDS });
    let at = served.address();
    let ask = |method: &str, path: &str, header: &str| {
        raw(
            at,
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: 0\r\n\r\n")
                .as_bytes(),
        )
    };
    let shown = "Authorization: Bearer correct horse battery staple\r\n";
    assert_eq!(ask("GET", "/v2/health/live", "").status, 200);
    assert_eq!(ask("GET", "/v2/health/ready", "").status, 503);
    for (method, path) in [
        ("GET", "/v2"),
        ("GET", "/dunlin/v1/device"),
        ("POST", INFER),
        ("GET", "/nowhere"),
        ("POST", "/v2/repository/index"),
    ] {
        let refused = ask(method, path, "");
        assert_eq!(refused.error(), (401, "request-token".into()), "{path}");
        assert!(refused.head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{}", refused.head);
        assert_ne!(ask(method, path, shown).status, 401, "{path}");
    }
    for wrong in [
        "Bearer wrong",
        "Basic correct horse battery staple",
        "Bearer",
        "correct horse battery staple",
        "Bearer ",
    ] {
        assert_eq!(ask("GET", "/v2", &format!("Authorization: {wrong}\r\n")).status, 401, "{wrong}");
    }
    assert_eq!(ask("GET", "/v2", &shown.replace("Bearer", "bearer")).status, 200);
}

/// A request over a Unix socket, with any Host.
fn over(socket: &std::path::Path, request: &str) -> Option<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

const FOREIGN: &str = "GET /v2/health/live HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";

#[test]
fn a_unix_socket_is_for_whom_its_file_lets_and_asks_for_no_host() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listen = || listen_unix(&path);
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    // One that nobody listens at any more is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let served = Served::with(BOUNDS, POLICY, vec![Listener::Unix(listen().unwrap(), Vec::new())]);
    assert_eq!(mode(), 0o660);
    assert!(over(&path, FOREIGN).unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(raw(served.address(), FOREIGN.as_bytes()).status, 403, "on TCP it is refused");
    // One that is listened at is not, and the one who listens does not notice.
    assert_eq!(listen().unwrap_err().code().id, "listen-address-in-use");
    assert!(over(&path, FOREIGN).unwrap().starts_with("HTTP/1.1 200"));
    served.runtime.block_on(served.api.stop(Duration::from_secs(1)));
    assert!(over(&path, FOREIGN).is_none(), "nobody listens any more");
    drop(listen().unwrap());
    // A file of another kind is left alone.
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(listen_unix(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    // A token is asked for all the same.
    let token = Some(Digest::of(b"correct horse battery staple"));
    let listener = Listener::Unix(listen().unwrap(), Vec::new());
    let _served = Served::with(ApiBounds { token, ..BOUNDS }, POLICY, vec![listener]);
    assert!(over(&path, &FOREIGN.replace("/v2/health/live", "/v2")).unwrap().starts_with("HTTP/1.1 401"));
}

/// As another user, where this one may become another: as root, and with `setpriv` and `curl` there.
#[test]
fn a_user_that_is_not_named_is_turned_away_from_the_socket() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = Listener::Unix(listen_unix(&path).unwrap(), vec![4242]);
    let _served = Served::with(BOUNDS, POLICY, vec![listener]);
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(folder.path(), 0o755);
    open(&path, 0o666);
    let ask = |user: &str| {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups", "curl", "-s", "--max-time", "10"]);
        command.arg("--unix-socket").arg(&path).arg("http://localhost/v2/health/live").output()
    };
    match ask("4242") {
        Ok(output) if output.status.success() => {
            assert_eq!(output.stdout, br#"{"live":true}"#);
            assert!(!ask("4243").unwrap().status.success(), "another user");
        }
        _cannot => eprintln!("another user cannot be tried here: that needs root, setpriv and curl"),
    }
    assert!(over(&path, FOREIGN).unwrap().starts_with("HTTP/1.1 200"), "the agent's own user");
}

#[test]
fn a_taken_port_and_a_foreign_address_are_refused() {
    let served = Served::start(BOUNDS);
    assert_eq!(listen_tcp(served.address()).unwrap_err().code().id, "listen-address-in-use");
    let error = listen_tcp("0.0.0.0:0".parse().unwrap()).unwrap_err();
    assert_eq!(error.code().id, "listen-address");
    assert!(error.to_string().contains("loopback"), "{error}");
}

#[test]
fn an_end_in_order_answers_what_is_open() {
    let served = Served::start(BOUNDS);
    let at = served.address();
    let slow = "(if (f32.eq (f32.load (i32.const 1024)) (f32.const 3)) (then (loop $ever (br $ever))))";
    served.runtime.block_on(serve(&served.data, "adder", "1", &card(4), 0.0, slow));
    let client = std::thread::spawn(move || post(at, INFER, &input("[1,2]", "[3,0]")));
    std::thread::sleep(Duration::from_millis(100));
    let Served { runtime, api, .. } = served;
    let started = Instant::now();
    runtime.block_on(api.stop(Duration::from_secs(10)));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(client.join().unwrap().error(), (504, "model-deadline".into()));
    assert!(TcpStream::connect(at).is_err(), "nobody listens any more");
}

#[test]
fn switches_under_load_fail_no_request() {
    let served = Served::adder();
    let at = served.address();
    let done = Arc::new(AtomicBool::new(false));
    let client = |done: Arc<AtomicBool>| {
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.set_nodelay(true).unwrap();
            let request = post_bytes(INFER, &input("[1,2]", "[1,2]"));
            let mut seen = [0u32; 2];
            while !done.load(Ordering::Relaxed) {
                stream.write_all(request.as_bytes()).unwrap();
                let answer = read_answer(&mut stream);
                assert_eq!(answer.status, 200, "{answer:?}");
                let json = answer.json();
                let old = json["outputs"][0]["data"] == json!([1.5, 2.5]);
                assert!(old || json["outputs"][0]["data"] == json!([2.5, 3.5]), "{json}");
                assert_eq!(json["model_version"].as_str().unwrap().starts_with("new"), !old, "{json}");
                seen[usize::from(!old)] += 1;
            }
            seen
        })
    };
    let clients = [client(done.clone()), client(done.clone())];
    for switch in 0..10 {
        let (version, addend) = if switch % 2 == 0 { ("new", 1.5) } else { ("old", 0.5) };
        let version = format!("{version}-{switch}");
        served.runtime.block_on(serve(&served.data, "adder", &version, &card(4), addend, ""));
        std::thread::sleep(Duration::from_millis(20));
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        let seen = client.join().unwrap();
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }
}
