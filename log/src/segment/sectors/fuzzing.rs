//! Segment headers and footers as a fuzz target: a sector that verifies is the one that the encoder
//! makes of what it says, and what it says lies within limits.

use super::*;
use crate::fuzzing::Target;

pub(crate) const TARGET: Target = Target {
    name: "log_sectors",
    check,
    seeds,
};

/// The input is a header and a footer.
fn check(bytes: &[u8]) {
    let mut sectors = [[0; SECTOR_BYTES]; 2];
    for (sector, part) in sectors.iter_mut().zip(bytes.chunks(SECTOR_BYTES)) {
        sector[..part.len()].copy_from_slice(part);
    }
    encode_back(&sectors);
    encode_back(&sectors.map(finish));
}

fn encode_back([head, foot]: &[Sector; 2]) {
    let Ok(header) = Header::decode(head) else {
        return;
    };
    assert_eq!(header.encode(), *head);
    // No later arithmetic on these leaves its type.
    assert!(header.number < header.number.next());
    let limit = header.base.plus(header.file_bytes);
    assert!(header.previous_end <= header.base && header.base < limit);
    if let Ok(footer) = Footer::decode(foot, &header) {
        assert_eq!(footer.encode(&header), *foot);
        assert!((header.base..limit).contains(&footer.end));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let header = Header {
        log: LogId(*b"0123456789abcdef"),
        partition: PartitionId(3),
        number: SegmentNumber(7),
        incarnation: Incarnation(2),
        term: Term(0),
        base: Offset::new(1 << 30),
        previous_end: Offset::new((1 << 30) - 100),
        file_bytes: 64 << 20,
    };
    let end = header.base.plus(5000);
    let footer = Footer { end }.encode(&header);
    vec![[header.encode(), footer].concat(), header.encode().to_vec()]
}
