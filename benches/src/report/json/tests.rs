use super::*;

#[test]
fn json_text_is_escaped() {
    assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000ad\"");
}
