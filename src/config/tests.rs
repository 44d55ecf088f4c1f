//! The configuration as its users meet it: sources in, settings or mistakes out.

use std::time::Duration;

use super::keys::SECTIONS;
use super::*;
use crate::object::ByteSize;
use crate::policy::Policy;

/// A configuration file and what else is given.
#[derive(Default)]
struct Given {
    folder: Option<tempfile::TempDir>,
    sources: Sources,
}

impl Given {
    fn file(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("airlock.toml");
        std::fs::write(&path, text).unwrap();
        Self { folder: Some(folder), sources: Sources { file: Some(path), ..Sources::default() } }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, flag: &str) -> Self {
        self.sources.flags.push(flag.to_owned());
        self
    }

    fn settings(&self) -> Settings {
        load(&self.sources).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The mistakes, without the folder of the file.
    fn mistakes(&self) -> String {
        let errors = load(&self.sources).expect_err("there is a mistake").to_string();
        match &self.folder {
            Some(folder) => errors.replace(&format!("{}/", folder.path().display()), ""),
            None => errors,
        }
    }
}

fn none() -> Given {
    Given::default()
}

#[test]
fn without_any_source_the_defaults_hold() {
    let settings = none().settings();
    assert_eq!(*settings.policies["default"], Policy::guide(), "the table and the code have one guide policy");
    let route = &settings.routes[0];
    let buckets = [&route.quarantine, &route.clean, &route.rejected].map(crate::object::Bucket::as_str);
    assert_eq!((settings.routes.len(), buckets), (1, ["quarantine", "clean", "rejected"]));
    assert_eq!(settings.scan.engines, [EngineName::Clamd]);
    assert_eq!(settings.retry.tiers, [10, 60, 600, 3600].map(Duration::from_secs));
    assert!(settings.limits.jobs >= 1);
}

#[test]
fn the_sample_has_every_key_and_says_the_defaults() {
    let sample = sample();
    assert_eq!(format!("{:?}", Given::file(&sample).settings()), format!("{:?}", none().settings()));
    let blocks: Vec<&str> = sample.split("\n\n").collect();
    for section in SECTIONS {
        let header = format!("\n{}\n", section.header());
        let block =
            blocks.iter().find(|block| block.contains(&header)).unwrap_or_else(|| panic!("{header} is missing"));
        for key in section.keys {
            let line = |l: &str| l.trim_start_matches('#').starts_with(&format!("{} = ", key.name));
            assert!(block.lines().any(line), "{header} {} is missing", key.name);
        }
    }
}

#[test]
fn every_key_of_the_table_is_read() {
    for section in SECTIONS {
        for key in section.keys {
            let path = format!("{}.{}", section.path.replace("policy.*", "policy.default"), key.name);
            // A date fits no key: whoever reads it has to complain.
            let text = format!("{}\n{} = 1979-05-27\n", section.header(), key.name);
            let mistakes = Given::file(&text).mistakes();
            let path = path.replace("route.*", "route.1");
            assert!(mistakes.contains(&format!("airlock.toml:2: {path}")), "{path}: {mistakes}");
        }
    }
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let given = || Given::file("[clamd]\nconcurrency = 2\ntimeout = \"10s\"\n[s3]\nregion = \"eu-west-1\"\n");
    let given = given().env("AIRLOCK__CLAMD__CONCURRENCY", "3").env("AIRLOCK__CLAMD__TIMEOUT", "20s");
    let settings = given.flag("clamd.concurrency=4").flag("clamd.concurrency=5").settings();
    assert_eq!(settings.clamd.concurrency, 5, "the last flag");
    assert_eq!(settings.clamd.timeout, Duration::from_secs(20), "the variable");
    assert_eq!(settings.s3.region, "eu-west-1", "the file");
    assert_eq!(settings.log.level, LogLevel::Info, "the default");
}

#[test]
fn every_kind_of_value_can_come_from_a_variable() {
    let settings = none()
        .env("AIRLOCK__POLICY__DEFAULT__MAX_SIZE", "5 MiB")
        .env("AIRLOCK__POLICY__DEFAULT__TYPES", r#"["png", "image/jpeg", "jpeg"]"#)
        .env("AIRLOCK__POLICY__DEFAULT__ACTIVE_CONTENT__MACROS", "allow")
        .env("AIRLOCK__POLICY__DEFAULT__IMAGE__MAX_PIXELS", "20 MP")
        .env("AIRLOCK__CLAMD__ADDRESSES", r#"["tcp://a:1", "unix:///run/clamd.ctl"]"#)
        .env("AIRLOCK__S3__PATH_STYLE", "false")
        .env("AIRLOCK__OPS__LISTEN", "off")
        .env("AIRLOCK_CORPUS", "/somewhere")
        .env("HOME", "/root")
        .settings();
    let policy = &settings.policies["default"];
    assert_eq!(policy.max_size, ByteSize::mib(5));
    assert_eq!(policy.types, [crate::media::MediaType::Jpeg, crate::media::MediaType::Png]);
    assert!(policy.active_content.allows(crate::feature::Feature::Macros));
    assert_eq!(policy.image.max_pixels, 20_000_000);
    assert_eq!(
        settings.clamd.addresses,
        [ClamdAddress::Tcp("a:1".into()), ClamdAddress::Unix("/run/clamd.ctl".into())]
    );
    assert!(!settings.s3.path_style && settings.ops.listen.is_none());
}

#[test]
fn routes_and_policies_come_from_the_file() {
    let settings = Given::file(
        r#"
        [[route]]
        name = "photos"
        quarantine = "photos-in"
        rejected = "photos-bad"
        policy = "photos"
        key_template = "photos/{key}"
        [[route]]
        name = "papers"
        key_template = "papers/{source_id}"
        uploader_from = "prefix:1"
        [policy.photos]
        types = ["jpeg"]
        max_size = 1048576
        active_content = { macros = "allow" }
        image.output = "jpeg"
        "#,
    )
    .settings();
    let [photos, papers] = settings.routes.as_slice() else { panic!("two routes") };
    assert_eq!((photos.policy.name.as_str(), papers.policy.name.as_str()), ("photos", "default"));
    assert_eq!(photos.policy.max_size, ByteSize::mib(1));
    assert_eq!(photos.policy.image.output, crate::policy::OutputFormat::Jpeg);
    assert_eq!(photos.policy.image.jpeg_quality, 85, "what a policy leaves out is as in the guide");
    assert_eq!(papers.quarantine.as_str(), "quarantine");
}

#[test]
fn all_mistakes_are_reported_at_once_in_order() {
    let given = Given::file(
        "[amqp]\nulr = \"x\"\ntopology = \"maybe\"\n[clmad]\ntimeout = 1\n[clamd]\ntimeout = \"5 parsecs\"\n\
         concurrency = 0\naddresses = [\"tcp://a:1\", \"ftp://b\"]\n[limits]\nmemory = true\njobs = 99999999999999999999\n\
         [retry]\ntiers = []\n",
    );
    let mistakes =
        given.env("AIRLOCK__CLAMD__TIMEUOT", "1s").env("AIRLOCK__JOBS", "1").flag("log.level=loud").mistakes();
    let expected = r#"12 mistakes in the configuration:
  airlock.toml:2: amqp.ulr: unknown key; did you mean "amqp.url"?
  airlock.toml:3: amqp.topology = "maybe": allowed: "check", "declare", "off"
  airlock.toml:4: clmad: unknown key; did you mean "clamd"?
  airlock.toml:7: clamd.timeout = "5 parsecs": must be a whole number with a unit (ms, s, m, h, d), such as "30s"; allowed: 100ms to 1h
  airlock.toml:8: clamd.concurrency = 0: allowed: 1 to 256
  airlock.toml:9: clamd.addresses = ["tcp://a:1", "ftp://b"]: element 2: must be "tcp://HOST:PORT" or "unix:///PATH"
  airlock.toml:11: limits.memory = true: must be a whole number of bytes with an optional unit, such as "10 MiB" or "500 KB"; allowed: 16 MiB to 1024 GiB
  airlock.toml:12: limits.jobs: is a number too large for TOML
  airlock.toml:14: retry.tiers = []: allowed: list of 1 to 8, each 100ms to 7d
  AIRLOCK__CLAMD__TIMEUOT: clamd.timeuot: unknown key; did you mean "AIRLOCK__CLAMD__TIMEOUT"?
  AIRLOCK__JOBS: jobs: unknown key; did you mean "AIRLOCK__LIMITS__JOBS"?
  --set log.level: log.level = "loud": allowed: "error", "warn", "info", "debug", "trace""#;
    assert_eq!(mistakes, expected);
}

#[test]
fn each_mistake_is_explained() {
    let cases = [
        ("[limits]\njobs = 2\njobs = 3\n", "airlock.toml:3: not TOML: duplicate key"),
        ("[route]\nname = \"a\"\n", "double brackets"),
        ("route = [1]\n", "must be a table"),
        ("[[policy]]\n", "policy: is a section and must be a table"),
        ("clamd = 3\n", "clamd: is a section and must be a table"),
        ("[policy.Photos]\n", "policy.Photos: a name must have"),
        ("[policy.\"a.b\"]\n", "a name must have"),
        ("[policy.default]\ntypes = [\"exe\"]\n", "element 1: must be one of jpeg"),
        ("[policy.default]\ntypes = [\"png\", \"png\"]\n", "element 2: stands twice"),
        ("[policy.default.active_content]\nmalware = \"allow\"\n", "active_content.malware: unknown key"),
        ("[[route]]\nclean = \"UPPER\"\n", "route.1.clean = \"UPPER\": bucket may hold only"),
        ("[[route]]\nkey_template = \"same\"\n", "must hold exactly one of {key} and {source_id}"),
        ("[[route]]\nuploader_from = \"cookie\"\n", "must be \"event\""),
        ("[[route]]\npolicy = \"defualt\"\n", "there is no [policy.defualt]; did you mean \"default\"?"),
        ("[[route]]\nname = \"a\"\n[[route]]\nname = \"a\"\n", "two routes are called \"a\""),
        ("[scan]\nengines = []\n", "list of 1 to 2"),
        ("[s3]\nendpoint = \"http://me:secret@host\"\n", "without user, password and query"),
        ("[s3]\nregion = \"\"\n", "must not be empty"),
        ("[s3]\nregion = \"a\\nb\"\n", "must not hold control characters"),
        ("[ops]\nlisten = \"localhost\"\n", "must be an IP address with a port"),
        ("[policy.default]\nmax_size = \"5 GiB\"\n", "policy.default.max_size = \"5 GiB\": allowed: 1 B to 4 GiB"),
        ("[policy.default.image]\nmax_pixels = 0\n", "image.max_pixels = 0: allowed: 1 pixel to 1000 MP"),
        (&*"[[route]]\n".repeat(257), "airlock.toml:1: route: allowed: at most 256 routes"),
        ("[limits]\ngrace = \"10m\"\n", "allowed: 0s to 599s"),
        ("[limits]\njail = \"please\"\n", "allowed: \"require\", \"best_effort\", \"off\""),
    ];
    for (text, expected) in cases {
        let mistakes = Given::file(text).mistakes();
        assert!(mistakes.contains(expected), "{text}\n{mistakes}");
    }
}

#[test]
fn variables_and_flags_have_mistakes_of_their_own() {
    let cases = [
        (("AIRLOCK__ROUTE__1__CLEAN", "x"), "come only from the file"),
        (
            ("AIRLOCK__POLICY__DEFUALT__MAX_SIZE", "1 MiB"),
            "there is no [policy.defualt] in the file; did you mean \"default\"?",
        ),
        (("AIRLOCK__CLAMD__ADDRESSES", "tcp://a:1"), "must be a TOML array"),
        (("AIRLOCK__CLAMD", "x"), "names a section"),
        (("AIRLOCK__clamd__timeout", "1s"), "write it in capitals, AIRLOCK__CLAMD__TIMEOUT"),
        (("AIRLOCK__", "x"), "unknown key"),
        (("AIRLOCK__S3__REGION", "a\u{FFFD}"), "must be UTF-8"),
        (("AIRLOCK__S3__PATH_STYLE", "yes"), "must be true or false"),
    ];
    for ((name, value), expected) in cases {
        let mistakes = none().env(name, value).mistakes();
        assert!(mistakes.contains(expected), "{name}\n{mistakes}");
    }
    assert!(none().flag("s3.secret_key hunter2").mistakes().contains("--set number 1: must be section.key=value"));
}

#[test]
fn no_name_and_no_value_reaches_the_terminal_unescaped() {
    let mistakes = Given::file(
        "[policy.\"\\u001b\"]\n[x.\"\\u001b\"]\nmax_size = 1\n[s3]\n\"\\u001b\" = 1\nregion = \"\\u001b\"\n",
    )
    .env("AIRLOCK__X__\x1b__MAX_SIZE", "\x1b")
    .env("AIRLOCK__POLICY__\x1b__MAX_SIZE", "\x1b")
    .env("AIRLOCK__x\x1b", "\x1b")
    .env("AIRLOCK__RETRY__TIERS", "\x1b")
    .flag("x.\x1b.max_size=\x1b")
    .mistakes();
    assert!(mistakes.starts_with("9 mistakes") && !mistakes.contains('\x1b'), "{mistakes:?}");
}

#[test]
fn an_unreadable_file_is_named() {
    let given =
        Given { sources: Sources { file: Some("/nowhere/airlock.toml".into()), ..Sources::default() }, folder: None };
    let mistakes = given.env("AIRLOCK__POLICY__PHOTOS__MAX_SIZE", "1 MiB").mistakes();
    assert!(mistakes.contains("\n  /nowhere/airlock.toml: cannot be read: "), "{mistakes}");
    assert!(!mistakes.contains("photos"), "nobody knows which policies the file has");
}

#[test]
fn agreement_is_checked() {
    let cases = [
        (
            "[amqp]\nconsumer_timeout = \"9m\"\n",
            "twice limits.job_deadline (5m) must fit into amqp.consumer_timeout (9m)",
        ),
        ("[limits]\njob_deadline = \"16m\"\n", "airlock.toml:2: limits.job_deadline: twice"),
        ("[clamd]\ntimeout = \"5m\"\n", "clamd.timeout (5m) must be below limits.job_deadline (5m)"),
        ("[s3]\ntimeout = \"6m\"\n", "s3.timeout (6m) must be below"),
        (
            "[clamd]\nmax_file_size = \"1 MiB\"\n[policy.default]\ndocuments.part_bytes = \"1 MiB\"\n",
            "policy.default.max_size (10 MiB) must not be above clamd.max_file_size (1 MiB)",
        ),
        (
            "[policy.default]\ndocuments.part_bytes = \"70 MiB\"\n",
            "documents.part_bytes (70 MiB) must not be above clamd.max_file_size (64 MiB)",
        ),
        (
            "[limits]\ngrace = \"26s\"\n",
            "limits.grace (26s) and 4s for closing must be below limits.termination_grace (30s)",
        ),
        ("[limits]\ntermination_grace = \"29s\"\n", "raise limits.termination_grace here and in the orchestrator"),
        ("[limits]\nspool = \"1 MiB\"\n", "must not be above limits.spool (1 MiB)"),
        ("[limits]\nmemory = \"256 MiB\"\n", "one file under policy default may need"),
        (
            "[limits]\nsnapshot_memory = \"1 GiB\"\nmemory = \"512 MiB\"\n",
            "limits.snapshot_memory (1 GiB) must not be above",
        ),
        ("[policy.default.image]\nmax_total_pixels = \"1 MP\"\n", "image.max_pixels (50 MP) must not be above"),
        (
            "[policy.default.documents]\npart_bytes = \"64 MiB\"\ninflated_bytes = \"63 MiB\"\n",
            "documents.inflated_bytes (63 MiB)",
        ),
        ("[scan]\nwarn_signature_age = \"8d\"\n", "warn_signature_age (8d) must not be above max_signature_age (7d)"),
        ("[scan]\nengines = [\"yara\"]\n", "engine \"yara\" has no rules"),
        ("[retry]\ntiers = [\"1m\", \"10s\"]\n", "retry.tiers: the waits must ascend"),
        ("[retry]\ntiers = [\"60s\", \"1m\"]\n", "retry.tiers: the waits must ascend"),
        ("[amqp]\nuser = \"me\"\n", "user and password belong together"),
        ("[amqp]\nurl = \"amqp://me@h\"\nuser = \"me\"\npassword = \"x\"\n", "take it out of the URL"),
        ("[amqp.tls]\nca = \"/ca.pem\"\n", "amqp.tls.ca has no effect on amqp://"),
        ("[amqp.tls]\nkey = \"/key.pem\"\n", "certificate and key belong together"),
        ("[s3]\naccess_key = \"AK\"\n", "access key and secret key belong together"),
    ];
    for (text, expected) in cases {
        let mistakes = Given::file(text).mistakes();
        assert!(mistakes.starts_with("1 mistake") && mistakes.contains(expected), "{text}\n{mistakes}");
    }
}

#[test]
fn a_bucket_has_one_role() {
    let two = |a: &str, b: &str| format!("[[route]]\nname = \"a\"\n{a}\n[[route]]\nname = \"b\"\n{b}\n");
    let own = |name: &str| format!("quarantine = \"{name}-q\"\nclean = \"{name}-c\"\nrejected = \"{name}-r\"\n");
    let cases = [
        (
            "[[route]]\nclean = \"quarantine\"\n".to_owned(),
            "as quarantine (route.1.quarantine) and as clean (route.1.clean)",
        ),
        ("[[route]]\nrejected = \"clean\"\n".to_owned(), "as clean (route.1.clean) and as rejected (route.1.rejected)"),
        ("[ledger]\nbucket = \"clean\"\n".to_owned(), "as ledger (ledger.bucket) and as clean (route.1.clean)"),
        (
            two(&own("aaa"), &own("bbb").replace("bbb-c", "aaa-q")),
            "as quarantine (route.1.quarantine) and as clean (route.2.clean)",
        ),
        (two(&own("aaa"), &own("bbb").replace("bbb-q", "aaa-q")), "share the quarantine bucket \"aaa-q\""),
        (two(&own("aaa"), &own("bbb").replace("bbb-r", "aaa-r")), "share the rejected bucket \"aaa-r\""),
        (two(&own("aaa"), &own("bbb").replace("bbb-c", "aaa-c")), "share the clean bucket \"aaa-c\""),
    ];
    for (text, expected) in cases {
        let mistakes = Given::file(&text).mistakes();
        assert!(mistakes.contains(expected), "{text}\n{mistakes}");
    }
    for (left, right, sound) in
        [("a/{key}", "b/{key}", true), ("a/{key}", "a/b/{key}", false), ("{key}", "b/{key}", false)]
    {
        let shared = own("bbb").replace("bbb-c", "aaa-c");
        let template = |t: &str| format!("key_template = \"{t}\"\n");
        let given = Given::file(&two(&(own("aaa") + &template(left)), &(shared + &template(right))));
        assert_eq!(load(&given.sources).is_ok(), sound, "{left} {right}");
    }
}

#[test]
fn a_policy_that_nobody_uses_need_not_agree() {
    let text = "[clamd]\nmax_file_size = \"2 MiB\"\n[policy.small]\nmax_size = \"1 MiB\"\ndocuments.part_bytes = \"2 MiB\"\n[[route]]\n";
    Given::file(&format!("{text}policy = \"small\"\n")).settings();
    let mistakes = Given::file(text).mistakes();
    assert!(mistakes.contains("policy.default.max_size (10 MiB) must not be above"), "{mistakes}");
}

#[test]
fn a_key_can_disagree_with_several() {
    let mistakes =
        Given::file("[limits]\njob_deadline = \"20m\"\n[clamd]\ntimeout = \"30m\"\n[s3]\ntimeout = \"30m\"\n")
            .mistakes();
    assert!(mistakes.starts_with("3 mistakes"), "{mistakes}");
}

#[test]
fn a_cross_check_keeps_silent_about_values_that_are_wrong_by_themselves() {
    let mistakes = Given::file("[clamd]\ntimeout = \"6m\"\n[limits]\njob_deadline = \"20 minutes\"\n").mistakes();
    assert!(
        mistakes.starts_with("1 mistake") && mistakes.contains("limits.job_deadline = \"20 minutes\""),
        "{mistakes}"
    );
}

#[test]
fn a_secret_can_come_from_a_file() {
    let given = Given::file("[s3]\naccess_key = \"AK\"\nsecret_key_file = \"FOLDER/key\"\n");
    let folder = given.folder.as_ref().unwrap().path().to_owned();
    let path = folder.join("key");
    let variable = ("AIRLOCK__S3__SECRET_KEY_FILE", path.to_str().unwrap());
    let given = given.env(variable.0, variable.1);
    let missing = given.mistakes();
    assert!(missing.contains("s3.secret_key_file: file \"key\" cannot be read"), "{missing}");
    for (content, secret) in [("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), (" hunter2 ", " hunter2 ")] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(given.settings().s3.secret_key.unwrap().expose(), secret, "one line break is cut, nothing else");
    }
    let alone = none().env(variable.0, variable.1).mistakes();
    assert!(alone.contains("AIRLOCK__S3__SECRET_KEY_FILE: s3.secret_key: access key and secret key belong"), "{alone}");
    for (content, expected) in
        [("", "must not be empty"), ("a\nb\n", "control characters"), (&*"x".repeat(5000), "larger than")]
    {
        std::fs::write(&path, content).unwrap();
        assert!(given.mistakes().contains(expected), "{}", given.mistakes());
    }
    let both = given.env("AIRLOCK__S3__SECRET_KEY", "hunter2").mistakes();
    assert!(
        both.contains("given as s3.secret_key as well (AIRLOCK__S3__SECRET_KEY)") && !both.contains("hunter2"),
        "{both}"
    );
    assert!(both.starts_with("1 mistake"), "{both}");
}

#[test]
fn secrets_never_print() {
    let text = "[amqp]\nurl = \"amqps://me:hunter2@h/v\"\n[s3]\naccess_key = \"AK\"\nsecret_key = \"hunter3\"\n";
    let given = Given::file(text);
    let settings = given.settings();
    assert_eq!(settings.s3.secret_key.as_ref().unwrap().expose(), "hunter3");
    let shown = format!("{settings:?}{settings:#?}{}", effective_toml(&given.sources).unwrap());
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("amqps://me:[redacted]@h/v"), "{shown}");
    let sources = none().env("AIRLOCK__S3__SECRET_KEY", "hunter2").flag("s3.secret_key=hunter3").sources;
    assert!(!format!("{sources:?}").contains("hunter"), "{sources:?}");
    let wrong = [
        "[amqp]\nurl = \"amqps://me:hunter2@h@h\"\n",
        "[amqp]\npassword = \"hunter2\nx = 3\n",
        "[amqp]\npassword = [\"hunter2\"]\n",
        "[amqp]\npasswrod = \"hunter2\"\n",
        "[amqp]\npassword = \"hunter2\"\npassword = \"hunter3\"\n",
        "[amqp]\npassword = hunter2\n",
        "[s3]\nsecret_key = \"hunter2\\u0007\"\n",
        "[secrets]\nkey = \"hunter2\"\n",
    ];
    for text in wrong {
        let mistakes = Given::file(text).mistakes();
        assert!(!mistakes.contains("hunter"), "{mistakes}");
    }
    for given in
        [none().env("AIRLOCK__S3__SECRET", "hunter2"), none().flag("s3.secret=hunter2"), none().flag("hunter2")]
    {
        assert!(!given.mistakes().contains("hunter"), "{}", given.mistakes());
    }
}

#[test]
fn the_effective_configuration_is_a_configuration() {
    let text = "[amqp]\nurl = \"amqp://me:pw@h/v\"\n[s3]\naccess_key = \"AK\"\nsecret_key = \"x\"\n[[route]]\nname = \"a\"\n\
                [[route]]\nname = \"b\"\nquarantine = \"qqq\"\nclean = \"ccc\"\nrejected = \"rrr\"\npolicy = \"p\"\n[policy.p]\n\
                types = [\"pdf\"]\nimage.max_width = 9\n[limits]\njob_deadline = \"4m\"\n";
    let given = Given::file(text).env("AIRLOCK__LIMITS__JOBS", "3").flag("log.format=json");
    let effective = effective_toml(&given.sources).unwrap();
    assert!(effective.contains("jobs = 3  # AIRLOCK__LIMITS__JOBS\n"), "{effective}");
    assert!(effective.contains("format = \"json\"  # --set log.format\n"), "{effective}");
    let again = Given::file(&effective);
    assert_eq!(format!("{:?}", again.settings()), format!("{:?}", given.settings()).replace("pw@", "[redacted]@"));
    assert!(effective_toml(&none().flag("x=1").sources).is_err());
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let schema = json_schema();
    for section in SECTIONS {
        let mut at = &schema;
        for segment in section.path.split('.') {
            at = match segment {
                "*" if at["type"] == "array" => &at["items"],
                "*" => &at["additionalProperties"],
                name => &at["properties"][name],
            };
        }
        assert_eq!(at["description"], section.doc, "{}", section.path);
        for key in section.keys {
            assert!(at["properties"][key.name]["description"].is_string(), "{}.{}", section.path, key.name);
        }
    }
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["clamd"]["additionalProperties"], false);
    assert_eq!(schema["properties"]["log"]["properties"]["level"]["default"], "info");
}

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

#[test]
fn the_reference_page_is_current() {
    let page = std::fs::read_to_string(REFERENCE).unwrap_or_default();
    let hint = "docs/configuration.md is old: run `airlock config --reference > docs/configuration.md`";
    assert!(page == reference(), "{hint}");
}
