use super::*;

const STREAM: &str = ": a comment\r\n\r\nid: 7\r\n\r\nevent: put\ndata: {\"k\"}\n\n\n\
                      event: put\ndata:one\ndata: two\nid\nretry: 5\nunknown: x\n\nevent: cut";

fn message(event: Option<&str>, id: Option<&str>, data: Option<&str>) -> Message {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Message {
        event: owned(event),
        id: owned(id),
        data: owned(data),
    }
}

#[test]
fn messages_are_the_same_however_the_bytes_are_split() {
    let expected = [
        message(None, Some("7"), None),
        message(Some("put"), None, Some("{\"k\"}")),
        message(Some("put"), Some(""), Some("one\ntwo")),
    ];
    for size in 1..STREAM.len() {
        let mut parser = Parser::default();
        let mut told = Vec::new();
        for chunk in STREAM.as_bytes().chunks(size) {
            parser.push(chunk);
            while let Some(message) = parser.next().unwrap() {
                told.push(message);
            }
        }
        assert_eq!(told, expected, "in pieces of {size}");
    }
}

#[test]
fn a_line_is_taken_up_to_its_limit() {
    let mut parser = Parser::default();
    parser.push(&vec![b'x'; LINE_BYTES_MAX]);
    assert_eq!(parser.next(), Ok(None));
    parser.push(b"x");
    assert_eq!(parser.next(), Err(TooLong));
}
