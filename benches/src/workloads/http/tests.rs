use super::client::{http_body, redis_body};
use super::*;

#[test]
fn a_body_is_found_once_all_of_it_is_there() {
    let whole = b"HTTP/1.1 200 OK\r\ndate: x\r\nContent-Length: 3\r\n\r\nabc";
    for length in 0..whole.len() {
        assert_eq!(http_body(&whole[..length]).unwrap(), None, "{length}");
    }
    let body = http_body(whole).unwrap().unwrap();
    assert_eq!(&whole[body], b"abc");
    assert_eq!(
        http_body(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(),
        Some(27..27)
    );
}

#[test]
fn an_answer_that_is_no_success_is_an_error() {
    let refused = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
    assert!(http_body(refused).is_err());
    assert!(http_body(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "no length");
    assert!(redis_body(Operation::Put, b"-ERR full\r\n").is_err());
    assert!(redis_body(Operation::Get, b"$-1\r\n").is_err(), "no value");
}

#[test]
fn redis_answers_are_read_to_their_end() {
    let whole = b"$3\r\na\r\n\r\n";
    assert_eq!(redis_body(Operation::Get, &whole[..8]).unwrap(), None);
    assert_eq!(redis_body(Operation::Get, whole).unwrap(), Some(4..7));
    assert_eq!(redis_body(Operation::Put, b"+OK\r\n").unwrap(), Some(3..3));
}

#[test]
fn a_row_is_compared_with_axum_of_as_many_connections() {
    let row = |engine: &str, connections, rate| {
        let mut row = Row::new(GET, engine, "", connections);
        row.set(figure::OPS_PER_S, rate);
        row
    };
    let mut rows = [row(CAIRN, 1, 5.0), row(AXUM, 1, 10.0), row(CAIRN, 32, 8.0)];
    set_ratios(&mut rows);
    assert_eq!(rows[0].get(figure::AXUM_OPS_PER_S), Some(10.0));
    assert_eq!(rows[2].get(figure::AXUM_OPS_PER_S), None);
}

#[test]
fn base64_is_that_of_rfc_4648() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(topic::base64(bytes.as_bytes()), text);
    }
}

#[test]
fn a_record_is_right_only_in_its_topic_at_its_offset_with_its_bytes() {
    let mut record = [0; topic::RECORD_BYTES];
    crate::data::fill_value(503, 0, &mut record);
    let line = |offset: u64, topic: &str, data: &[u8]| {
        let data = topic::base64(data);
        format!(
            "{{\"offset\":{offset},\"kind\":\"topic\",\"topic\":\"{topic}\",\"size\":256,\
             \"data_b64\":\"{data}\"}}\n"
        )
    };
    let is_it = |line: String| topic::is_record(line.as_bytes(), 503, 77);
    assert!(is_it(line(77, "topic-003", &record)));
    assert!(!is_it(line(78, "topic-003", &record)));
    assert!(!is_it(line(77, "topic-004", &record)));
    record[255] ^= 1;
    assert!(!is_it(line(77, "topic-003", &record)));
    assert!(!is_it(String::new()), "there is no such record");
    let answer = b"{\"offset\":4212,\"next\":4300}";
    assert_eq!(topic::offset_of(answer).unwrap(), 4212);
    assert!(topic::offset_of(b"{}").is_err());
}

#[test]
fn appends_are_compared_with_puts_of_as_many_connections() {
    let row = |workload, engine: &str, connections, rate| {
        let mut row = Row::new(workload, engine, "", connections);
        row.set(figure::OPS_PER_S, rate);
        row
    };
    let mut rows = [
        row(PUT, CAIRN, 16, 5.0),
        row(PUT, REDIS, 64, 6.0),
        row(PUT, CAIRN, 64, 10.0),
        row(LOG, CAIRN, 64, 9.0),
    ];
    set_ratios(&mut rows);
    assert_eq!(rows[3].get(figure::HTTP_PUT_OPS_PER_S), Some(10.0));
    assert_eq!(rows[2].get(figure::HTTP_PUT_OPS_PER_S), None);
}
