//! Reads `[[backends]]`.
//!
//! It owns what a backend must say about itself. It must never know how one is called.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use toml::de::DeValue;

use super::load::{Environment, hours, millis};
use super::reader::{Section, kind};
use super::secrets;
use super::tree::{Backend, BackendKind, Dialect, Models, OpenAi, Secret};
use super::values::text;

/// The longest name of a backend, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The longest name of a model or alias, in bytes.
const MAX_MODEL_BYTES: usize = 256;

/// Keys that only a backend with `kind = "openai"` has.
const OPENAI_ONLY: [&str; 7] = [
    "dialect",
    "base_url",
    "api_key_env",
    "api_key_file",
    "connect_timeout",
    "first_byte_timeout",
    "idle_timeout",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Demo,
    OpenAi,
}

/// All backends, or `None` if one of them is wrong.
pub(super) fn backends(root: &Section<'_, '_>, env: Environment<'_>) -> Option<Vec<Backend>> {
    let behind = root.table("backend_defaults");
    let sections = root.tables("backends", &behind);
    check_defaults(behind);
    let mut names = BTreeSet::new();
    let read = sections.into_iter().map(|section| backend(section, env, &mut names));
    // Every backend is read before the first wrong one ends it, so that no problem hides another.
    let read: Vec<_> = read.collect();
    (!read.is_empty()).then(|| read.into_iter().collect()).flatten()
}

fn check_defaults(section: Section<'_, '_>) {
    dialect(&section);
    places(&section);
    timeouts(&section);
    section.end();
}

fn backend(section: Section<'_, '_>, env: Environment<'_>, names: &mut BTreeSet<String>) -> Option<Backend> {
    let name = section.string("name", "the name of the backend", check_name);
    if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
        section.report("name", format!("{name:?} is the name of an earlier backend too"));
    }
    let kind = match section.word("kind", &[("openai", Kind::OpenAi), ("demo", Kind::Demo)]) {
        Some(Kind::OpenAi) => openai(&section, env).map(BackendKind::OpenAi),
        Some(Kind::Demo) => {
            section.refuse(&OPENAI_ONLY, "means nothing with kind = \"demo\": take it out");
            Some(BackendKind::Demo)
        }
        None => {
            section.refuse(&OPENAI_ONLY, "cannot be checked without a kind");
            None
        }
    };
    let named = section.optional("models", models);
    let models = if section.has("models") { named } else { Some(Models::Listed) };
    let (max_concurrency, queue, queue_timeout) = places(&section);
    section.end();
    Some(Backend {
        name: name?,
        kind: kind?,
        models: models?,
        max_concurrency: max_concurrency?,
        queue: queue?,
        queue_timeout: queue_timeout?,
    })
}

type Places = (Option<Option<NonZeroU32>>, Option<NonZeroU32>, Option<Duration>);

fn places(section: &Section<'_, '_>) -> Places {
    let bounds = 1..=100_000;
    let wait = section.duration("queue_timeout", &(millis(10)..=hours(1)));
    (section.count_or_off("max_concurrency", &bounds), section.count("queue", &bounds), wait)
}

fn dialect(section: &Section<'_, '_>) -> Option<Dialect> {
    section.word("dialect", &[("chat", Dialect::Chat), ("responses", Dialect::Responses)])
}

fn timeouts(section: &Section<'_, '_>) -> [Option<Duration>; 3] {
    [
        section.duration("connect_timeout", &(millis(10)..=millis(600_000))),
        section.duration("first_byte_timeout", &(millis(10)..=hours(1))),
        section.duration("idle_timeout", &(millis(10)..=hours(1))),
    ]
}

fn openai(section: &Section<'_, '_>, env: Environment<'_>) -> Option<OpenAi> {
    let dialect = dialect(section);
    let want = "kind = \"openai\" needs the URL before /chat/completions or /responses, such as \"http://127.0.0.1:8080/v1\"";
    let base_url = section.string("base_url", want, check_url);
    let [connect, first_byte, idle] = timeouts(section);
    let api_key = api_key(section, env);
    Some(OpenAi {
        dialect: dialect?,
        base_url: base_url?,
        api_key: api_key?,
        connect_timeout: connect?,
        first_byte_timeout: first_byte?,
        idle_timeout: idle?,
    })
}

/// The key: absent if none is named, `None` if it cannot be had.
fn api_key(section: &Section<'_, '_>, env: Environment<'_>) -> Option<Option<Secret>> {
    let named = (section.has("api_key_env"), section.has("api_key_file"));
    let from_env =
        section.optional("api_key_env", |value| key_from_env(text(value, "the name of a variable")?, env));
    let from_file =
        section.optional("api_key_file", |value| secrets::from_file(text(value, "the path of a file")?));
    match named {
        (false, false) => Some(None),
        (true, false) => from_env.map(Some),
        (false, true) => from_file.map(Some),
        (true, true) => {
            section.report(
                "api_key_file",
                "a key comes from one place: take out this or api_key_env".to_owned(),
            );
            None
        }
    }
}

fn key_from_env(name: &str, env: Environment<'_>) -> Result<Secret, String> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        // The text may be the key itself, put into the wrong place: it is not shown.
        return Err(
            "must be the NAME of an environment variable (letters, digits and _), not the key".to_owned()
        );
    }
    secrets::from_env(name, env)
}

fn check_name(name: &str) -> Result<String, String> {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if letters && (1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    Err(format!("must be 1 to {MAX_NAME_BYTES} letters, digits, \"-\", \"_\" or \".\", found {name:?}"))
}

fn check_url(found: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(found).map_err(|error| format!("is no URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("must begin with http:// or https:// and a host".to_owned());
    }
    // From here on the URL may hold a credential: it is not shown.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a credential: use api_key_env or api_key_file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn models(value: &DeValue<'_>) -> Result<Models, String> {
    let want = "a list of models, or a table alias = \"model\"";
    let named: BTreeMap<String, String> = match value {
        DeValue::Array(array) => {
            let model = |entry| check_model(text(entry, want)?).map(|model| (model.clone(), model));
            array.iter().map(|entry| model(entry.get_ref())).collect::<Result<_, String>>()?
        }
        DeValue::Table(table) => {
            let pair = |alias: &str, model| Ok((check_model(alias)?, check_model(text(model, want)?)?));
            table
                .iter()
                .map(|(alias, model)| pair(alias.get_ref(), model.get_ref()))
                .collect::<Result<_, String>>()?
        }
        other => return Err(format!("must be {want}, found {}", kind(other))),
    };
    if named.is_empty() {
        Err(format!("is empty: give {want}, or take it out"))
    } else {
        Ok(Models::Named(named))
    }
}

fn check_model(name: &str) -> Result<String, String> {
    let visible = !name.is_empty() && !name.chars().any(char::is_control);
    if visible && name.len() <= MAX_MODEL_BYTES {
        return Ok(name.to_owned());
    }
    Err(format!("a model's name is 1 to {MAX_MODEL_BYTES} bytes without control characters, found {name:?}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::super::load::{Loaded, Overrides, parse};
    use super::super::problem::Problems;
    use super::*;

    const KEY: &str = "sk-very-secret";

    fn read(text: &str) -> Result<Loaded, Problems> {
        let env = |name: &str| (name == "MODEL_KEY").then(|| KEY.to_owned());
        parse("file", text, Overrides::default(), &env)
    }

    fn entry(rest: &str) -> String {
        format!("[[backends]]\nname = \"a\"\nkind = \"openai\"\n{rest}")
    }

    fn problem(rest: &str) -> String {
        read(&entry(rest)).unwrap_err().to_string()
    }

    fn openai(rest: &str) -> (Backend, OpenAi) {
        let loaded = read(&entry(&format!("base_url = \"http://h/v1/\"\n{rest}"))).unwrap();
        let backend = loaded.config.backends[0].clone();
        match backend.kind.clone() {
            BackendKind::OpenAi(openai) => (backend, openai),
            BackendKind::Demo => panic!("not the demo backend"),
        }
    }

    #[test]
    fn named_backends_replace_the_demo_and_start_from_the_shared_defaults() {
        let (backend, openai) =
            openai("idle_timeout = \"5s\"\n[backend_defaults]\nidle_timeout = \"7s\"\nqueue = 3");
        assert_eq!((backend.name.as_str(), openai.base_url.as_str()), ("a", "http://h/v1"));
        assert_eq!((openai.idle_timeout, openai.connect_timeout), (millis(5000), millis(10_000)));
        assert_eq!((backend.queue.get(), backend.max_concurrency), (3, None));
        assert_eq!(read(&entry("base_url = \"http://h\"")).unwrap().config.backends.len(), 1);
    }

    #[test]
    fn keys_come_from_the_environment_or_a_file_and_are_never_shown() {
        let (_, from_env) = openai("api_key_env = \"MODEL_KEY\"");
        assert_eq!(from_env.api_key.unwrap().0.expose_secret(), KEY);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{KEY}\n")).unwrap();
        let text = entry(&format!("base_url = \"http://h\"\napi_key_file = {:?}", file.path()));
        let loaded = read(&text).unwrap();
        assert!(!format!("{loaded:?}{}", loaded.print()).contains(KEY));
        let BackendKind::OpenAi(openai) = &loaded.config.backends[0].kind else { panic!("not openai") };
        assert_eq!(openai.api_key.as_ref().unwrap().0.expose_secret(), KEY);
    }

    #[test]
    fn a_key_that_cannot_be_had_is_named_but_not_shown() {
        let url = "base_url = \"http://h\"\n";
        assert!(problem(&format!("{url}api_key_env = \"NOT_SET\"")).contains("variable NOT_SET is not set"));
        let pasted = problem(&format!("{url}api_key_env = \"{KEY}\""));
        assert!(pasted.contains("must be the NAME") && !pasted.contains(KEY), "{pasted}");
        let misplaced = problem(&format!("{url}api_key = \"{KEY}\""));
        assert!(misplaced.contains("did you mean `api_key_env`?") && !misplaced.contains(KEY), "{misplaced}");
        assert!(
            problem(&format!("{url}api_key_file = \"/no/such/file\""))
                .contains("/no/such/file cannot be read")
        );
        let both = format!("{url}api_key_env = \"MODEL_KEY\"\napi_key_file = \"/dev/null\"");
        assert!(problem(&both).contains("a key comes from one place"));
    }

    #[test]
    fn a_url_must_be_one_and_hold_no_credential() {
        assert!(problem("").contains("backends[0].base_url: is missing"));
        assert!(problem("base_url = \"h:80/v1\"").contains("must begin with http:// or https://"));
        assert!(problem("base_url = \"nothing\"").contains("is no URL"));
        assert!(problem("base_url = \"http://h?a=b\"").contains("must not have a query"));
        let credential = problem("base_url = \"http://me:hunter2@h\"");
        assert!(
            credential.contains("must not hold a credential") && !credential.contains("hunter2"),
            "{credential}"
        );
    }

    #[test]
    fn models_are_a_list_or_aliases() {
        let named = |rest| openai(rest).0.models;
        let pair = |alias: &str, model: &str| (alias.to_owned(), model.to_owned());
        assert_eq!(named(""), Models::Listed);
        assert_eq!(named("models = [\"m\"]"), Models::Named(BTreeMap::from([pair("m", "m")])));
        assert_eq!(
            named("models = { small = \"gemma\" }"),
            Models::Named(BTreeMap::from([pair("small", "gemma")]))
        );
        for wrong in ["models = []", "models = {}", "models = \"m\"", "models = [1]", "models = [\"\"]"] {
            assert!(
                problem(&format!("base_url = \"http://h\"\n{wrong}")).contains("backends[0].models"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_demo_backend_has_no_address_and_no_name_occurs_twice() {
        let demo = "[[backends]]\nname = \"a\"\nkind = \"demo\"\nbase_url = \"http://h\"\n";
        let problems = read(&demo.repeat(2)).unwrap_err().to_string();
        insta::assert_snapshot!(problems, @r#"
        backends[0].base_url (line 4): means nothing with kind = "demo": take it out
        backends[1].name (line 6): "a" is the name of an earlier backend too
        backends[1].base_url (line 8): means nothing with kind = "demo": take it out
        "#);
        assert!(read("backends = []").unwrap_err().to_string().contains("at least one table"));
    }
}
