use super::*;

const TABLE: &str = "\
|  cluster    | miss | category | key size | value size | kqps | freq | hit | compulsory | common TTL | WSS | WSS | operation | Zipf alpha  |
|:---------:  |:----:|:--------:|:--------:|:----------:|:----:|:----:|:---:|:----------:|:----------:|:---:|:---:|:---------:|:----------: |
|  cluster1   | 0.1  |    2     |    80    |    267     | 1.0  | 2.0  | 0.1 |     0      | 240s:1.00, |  0  |  0  |   get:0.99   |   2.6774    |
|  cluster5   | 0.7  |    3     |   N/A    |    N/A     | N/A  | N/A  | N/A |    N/A     |    N/A     | N/A | N/A |    N/A    |     NA      |
| cluster14   | 0.1  |    1     |    96    |    414     | 5.8  | 35.4 | 10  |    2.8     |  1d:1.00,  | 1   |  1  | get:0.65 delete:0.22 set:0.13 | 1.2959 |
| cluster43   | 0.1  |    2     |    44    |    304     | 5.8  | 35.4 | 10  |    2.8     |  8h:1.00,  | 1   |  1  | set:0.50 get:0.50 | NA |
";

#[test]
fn rows_with_all_figures_are_parsed_and_others_left_out() {
    let clusters = parse(TABLE);
    let numbers: Vec<u32> = clusters.iter().map(|cluster| cluster.number).collect();
    assert_eq!(numbers, [1, 14]);
    assert_eq!(
        clusters[1],
        Cluster {
            number: 14,
            shape: Shape {
                key_bytes: 96,
                value_bytes: 414
            },
            mix: vec![
                (Kind::Read, 0.65),
                (Kind::Delete, 0.22),
                (Kind::Write, 0.13)
            ],
            alpha: 1.2959,
        }
    );
}

#[test]
fn a_row_with_an_unknown_operation_is_left_out() {
    let odd = TABLE.replace("get:0.99", "get:0.99 touch:0.01");
    assert!(parse(&odd).iter().all(|cluster| cluster.number != 1));
}

#[test]
fn a_trace_follows_the_mix_and_the_skew() {
    let clusters = parse(TABLE);
    let trace = Trace::make(&clusters[1], 1 << 20);
    assert_eq!(trace.keys, (1 << 20) / 510);
    let share = |kind| {
        let of_kind = trace.operations.iter().filter(|(found, _)| *found == kind);
        of_kind.count() as f64 / OPERATIONS as f64
    };
    assert!((share(Kind::Read) - 0.65).abs() < 0.01);
    assert!((share(Kind::Delete) - 0.22).abs() < 0.01);
    assert!((share(Kind::Write) - 0.13).abs() < 0.01);
    let of_rank = |rank| {
        let at = trace.operations.iter().filter(|(_, found)| *found == rank);
        at.count() as f64
    };
    let expected = 2f64.powf(1.2959);
    assert!((of_rank(0) / of_rank(1) - expected).abs() < 0.1 * expected);
}

#[test]
fn a_trace_is_the_same_every_time() {
    let clusters = parse(TABLE);
    let (one, two) = (
        Trace::make(&clusters[0], 1 << 20),
        Trace::make(&clusters[0], 1 << 20),
    );
    assert_eq!(one.operations, two.operations);
}

#[test]
fn shares_that_do_not_reach_one_are_stretched() {
    let clusters = parse(TABLE);
    let trace = Trace::make(&clusters[0], 1 << 20);
    assert!(trace.operations.iter().all(|&(kind, _)| kind == Kind::Read));
}
