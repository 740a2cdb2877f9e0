use super::*;
use clap::CommandFactory;

#[test]
fn the_commands_and_their_flags_agree() {
    Cli::command().debug_assert();
}

#[test]
fn exit_codes_tell_not_found_and_failed_conditions_apart() {
    let code = |code: &str| Failed::from(cairn_sdk::Error::new(Code::parse(code), "")).exit_code();
    assert_eq!(code("key_not_found"), 3);
    assert_eq!(code("bucket_not_found"), 3);
    assert_eq!(code("version_mismatch"), 4);
    assert_eq!(code("overloaded"), 1);
    assert_eq!(code("not_found"), 3);
    assert_eq!(Failed::invalid("anything").exit_code(), 1);
}

#[test]
fn a_flag_of_serve_may_be_bare_or_have_a_value() {
    for arguments in [
        &["cairn", "serve", "--memory"][..],
        &["cairn", "serve", "--memory=true", "--insecure"],
        &[
            "cairn",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--s3-listen",
            "127.0.0.1:0",
        ],
        &["cairn", "put", "b", "k", "-"],
        &["cairn", "put", "b", "k", "-1"],
        &["cairn", "scan", "b", "--prefix", "p", "--json"],
        &["cairn", "import", "b", "f.csv", "--key", "#"],
        &[
            "cairn", "watch", "b", "--prefix", "p", "--from", "0", "--json",
        ],
    ] {
        assert!(Cli::try_parse_from(arguments).is_ok(), "{arguments:?}");
    }
    for arguments in [
        &["cairn"][..],
        &["cairn", "serve", "--listen"],
        &["cairn", "put", "b"],
        &["cairn", "put", "b", "k", "v", "--durability", "paper"],
        &["cairn", "import", "b", "f.csv"],
    ] {
        assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
    }
}

#[test]
fn the_help_shows_the_default_of_each_setting() {
    let mut cli = Cli::command();
    let serve = cli.find_subcommand_mut("serve").unwrap();
    for argument in serve.get_arguments() {
        let name = argument.get_id().as_str();
        let help = argument.get_help().unwrap().to_string();
        let has_none = matches!(name, "config" | "s3_listen");
        assert_eq!(help.contains(" [default: "), !has_none, "{name}: {help}");
    }
    let help = serve.render_help().to_string();
    for default in [
        "./cairn-data",
        "127.0.0.1:7070",
        "1024",
        "true",
        "info",
        "text",
    ] {
        assert!(help.contains(&format!("[default: {default}]")), "{help}");
    }
    let get = cli.find_subcommand_mut("get").unwrap();
    let help = get.render_help().to_string();
    for shown in [store::URL_VARIABLE, store::URL_DEFAULT] {
        assert!(help.contains(shown), "{help}");
    }
}
