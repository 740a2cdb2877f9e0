use super::*;

const WRITE: &str = r#"11 1.0 pwrite64(7</d/p0000/1.log>, "\1\0key-1\2", 64, 4096) = 64"#;
const SYNC: &str = "11 1.1 fdatasync(7</d/p0000/1.log>) = 0";
const REPLY: &str = r#"12 1.2 sendto(9<TCP:[127.0.0.1:80->127.0.0.1:5000]>, "HTTP/1.1 200 OK\r\n", 90, MSG_NOSIGNAL, NULL, 0) = 90"#;

fn check(lines: &[&str]) -> Result<usize, String> {
    let keys = vec!["key-1".to_owned()];
    check_replies(&lines.join("\n"), &[Connection { port: 5000, keys }])
}

#[test]
fn a_reply_after_the_sync_of_its_key_is_right() {
    assert_eq!(check(&[WRITE, SYNC, REPLY]), Ok(1));
}

#[test]
fn a_call_that_others_overtook_returns_where_it_is_resumed() {
    let began = "11 1.1 fdatasync(7</d/p0000/1.log> <unfinished ...>";
    let returned = "11 1.3 <... fdatasync resumed>)        = 0";
    let failed = "11 1.3 <... fdatasync resumed>) = -1 EIO (Input/output error)";
    assert_eq!(check(&[WRITE, began, returned, REPLY]), Ok(1));
    check(&[WRITE, began, REPLY, returned]).unwrap_err();
    check(&[began, WRITE, returned, REPLY]).unwrap_err();
    check(&[WRITE, began, failed, REPLY]).unwrap_err();
    check(&[WRITE, began, REPLY, "11 1.4 +++ killed by SIGKILL +++"]).unwrap_err();
    let write_began = r#"11 1.0 pwrite64(7</d/p0000/1.log>, "key-1", 64, 4096 <unfinished ...>"#;
    let written = "11 1.2 <... pwrite64 resumed>) = 64";
    let sync = "13 1.1 fdatasync(7</d/p0000/1.log>) = 0";
    assert_eq!(check(&[write_began, written, sync, REPLY]), Ok(1));
    check(&[write_began, sync, written, REPLY]).unwrap_err();
}

#[test]
fn a_reply_without_the_sync_of_its_key_is_rejected() {
    check(&[WRITE, REPLY]).unwrap_err();
    check(&[WRITE, REPLY, SYNC]).unwrap_err();
    check(&[SYNC, WRITE, REPLY]).unwrap_err();
    let another = "11 1.1 fdatasync(8</d/p0000/2.log>) = 0";
    check(&[WRITE, another, REPLY]).unwrap_err();
}

#[test]
fn a_reply_or_a_write_that_is_not_in_the_trace_is_an_error() {
    check(&[WRITE, SYNC]).unwrap_err();
    check(&[SYNC, REPLY]).unwrap_err();
    check(&[WRITE, SYNC, REPLY, REPLY]).unwrap_err();
}
