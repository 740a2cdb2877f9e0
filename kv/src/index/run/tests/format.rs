use super::*;

/// Every byte of a tiny run: of each block, what stands before its zeros, and its sum.
const BLOCKS: [(&str, &str); 7] = [
    // Head.
    (
        "434149524e52554e0100000003000000746865206c6f6727\
         73206f776e2069642a000000000000000000004001000000\
         000000440100000000120040010000000068e5cf8b010000\
         020000000100000001000000040000000100000002000000\
         0300000004000000050000000600000007",
        "2819becc",
    ),
    // Buckets.
    (
        "01000000000000000200000000000000fffffffffffffffffeffffffffffff7f0012004001000000\
         09000000000000000200000000000000f7fffffffffffffff6ffffffffffff7f1000004001",
        "402b703c",
    ),
    // Controls.
    ("40", "bba45d0d"),
    // Fences.
    ("02", "26683a5b"),
    // Filter.
    (
        "01000000000000000000000000000001000000000000000000088000000000000000000000002000\
         000020200000100400200000020000000020",
        "4bbda3bd",
    ),
    // By hash.
    (
        "0200000000003000f0ff2f000000aaaa34120000340000010000aaaa1800000018000000\
         0000aaaa0000000100000003",
        "16e9fb07",
    ),
    // By key.
    (
        "3412000034000001180000001800000000003000f0ff2f000000000100000003",
        "1e1951d6",
    ),
];

fn tiny() -> Model {
    let mut model = Model::empty();
    let place = |record: u64, version: Option<u64>, is_tombstone| Place {
        record: BASE + record,
        version: version.map(|version| BASE + version),
        is_tombstone,
        is_superseded: false,
    };
    let entries = [
        (1, 0xaaaa_0000_0000_0001, place(0x1234, Some(0x1200), true)),
        (1, 0xaaaa_0000_0000_0001, place(0x18, Some(0), false)),
        (
            9,
            0x0000_0002_ffff_ffff,
            place(0x0030_0000, Some(0x10), false),
        ),
        (9, 0xaaaa_0000_1111_1111, place(0x0100_0000, None, true)),
    ];
    for (bucket, hash, place) in entries {
        model.push(bucket, RunEntry { hash, place });
    }
    model.head.last_version = BASE + 0x1200;
    model.head.newest_time_ms = 1_700_000_000_000;
    model.head.controls = vec![BASE + 0x40];
    model
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_run_are_held_to_their_word() {
    let disk = disk();
    let model = tiny();
    model.write(&disk).unwrap();
    let bytes = disk.read(directory().join(file_name(0x2a)));
    let blocks: Vec<(String, String)> = bytes
        .chunks(4096)
        .map(|block| {
            let (content, sum) = block.split_at(4092);
            let used = content
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |at| at + 1);
            (hex(&content[..used]), hex(sum))
        })
        .collect();
    assert_eq!(
        blocks,
        BLOCKS.map(|(content, sum)| (content.to_owned(), sum.to_owned()))
    );
    assert_eq!(model.compare(&model.open(&disk).unwrap()), 0);
}
