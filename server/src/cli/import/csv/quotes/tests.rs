use super::*;

fn fault(text: &[u8]) -> Option<(u64, &'static str)> {
    let mut quotes = Quotes::default();
    let mut line = 1;
    for (offset, &byte) in (0..).zip(text) {
        quotes.take(byte, offset, line);
        line += u64::from(byte == b'\n');
    }
    quotes.end();
    let fault = quotes.fault_before(text.len() as u64)?;
    Some((fault.line(), fault.why))
}

fn parsed(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text);
    let records = reader.byte_records().map(|record| record.unwrap());
    records
        .map(|record| record.iter().map(<[u8]>::to_vec).collect())
        .collect()
}

#[test]
fn a_fault_names_the_line_on_which_the_quote_opens() {
    assert_eq!(fault(b"a,b\n1,\"x\n2,y\n"), Some((2, UNCLOSED)));
    assert_eq!(fault(b"a\n\"x\ny\",\"z\n"), Some((3, UNCLOSED)));
    assert_eq!(fault(b"\""), Some((1, UNCLOSED)));
    assert_eq!(fault(b"1,\"x\n2,\"y\"\n"), Some((1, GOES_ON)));
    assert_eq!(fault(b"1,\"x\" \n"), Some((1, GOES_ON)));
    for sound in [
        &b""[..],
        b"1,\"x\"",
        b"\"\"",
        b"\"a\"\"b\",\"\n\"\r\n",
        b"5\" disk,6\"\n",
    ] {
        assert_eq!(fault(sound), None, "{}", sound.escape_ascii());
    }
}

#[test]
fn a_mark_at_the_beginning_is_no_part_of_the_first_field() {
    assert_eq!(fault(b"\xef\xbb\xbf\"a\n"), Some((1, UNCLOSED)));
    assert_eq!(fault(b"\xef\xbb\"a\n"), None);
    assert_eq!(fault(b"a,\xef\xbb\xbf\"a\n"), None);
}

/// A line end after a text changes its records only where it lies in a quoted field, and a text
/// without faults comes back from its records.
#[test]
fn what_is_faulty_is_what_the_parser_reads_otherwise_than_it_was_written() {
    let alphabet = b"\",\na\r";
    let (mut unclosed, mut sound) = (0, 0);
    for number in 0..5_u32.pow(7) {
        let text: Vec<u8> = (0..7)
            .map(|digit| alphabet[(number / 5_u32.pow(digit) % 5) as usize])
            .collect();
        let told = fault(&text);
        let is_open = parsed(&text) != parsed(&[&text[..], b"\n"].concat());
        match told {
            Some((_, UNCLOSED)) => assert!(is_open, "{}", text.escape_ascii()),
            Some(_) => {}
            None => assert!(!is_open, "{}", text.escape_ascii()),
        }
        unclosed += u32::from(is_open);
        sound += u32::from(told.is_none());
    }
    assert!(unclosed > 1_000 && sound > 10_000, "{unclosed} {sound}");
}
