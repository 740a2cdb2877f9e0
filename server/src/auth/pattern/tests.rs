use super::*;

#[test]
fn a_star_stands_for_any_run_and_the_rest_for_itself() {
    for (pattern, name, fits) in [
        ("logs", "logs", true),
        ("logs", "logs-1", false),
        ("logs", "log", false),
        ("*", "anything", true),
        ("*", "", true),
        ("logs-*", "logs-", true),
        ("logs-*", "logs-2024", true),
        ("logs-*", "logs", false),
        ("*-logs", "a-logs", true),
        ("*-logs", "-logs-x", false),
        ("a*b*c", "abc", true),
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "acb", false),
        ("a*a", "a", false),
        ("a*a", "aa", true),
        ("a**b", "ab", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(
            Pattern::new(pattern).matches(name),
            fits,
            "{pattern:?} {name:?}"
        );
    }
}
