//! `node config check` and `node config show`.

use serde_json::{Value, json};

use super::keys::{Form, KEYS, Key, NAMES};
use super::queues::{self, QUEUE};
use super::settings::{Origin, Set, Settings};
use crate::args::{Config, NodeOptions};
use crate::exit::{Failure, Outcome};
use crate::format::write_out;

pub(super) fn run(options: &NodeOptions, verb: &Config) -> Outcome {
    match verb {
        Config::Check { file, json } => {
            let checked = Settings::load(options, file.as_deref());
            if *json {
                let errors: Vec<String> = match &checked {
                    Err(Failure::Usage(text)) => text.lines().map(str::to_owned).collect(),
                    _ => Vec::new(),
                };
                let object = json!({ "ok": checked.is_ok(), "errors": errors });
                write_out(format!("{object}\n"))?;
            }
            let settings = checked?;
            match json {
                true => Ok(()),
                false => {
                    let count = settings.layer.len();
                    write_out(format!("ok: keys that are set: {count}\n"))
                }
            }
        }
        Config::Show { file, origin, json } => {
            let settings = Settings::load(options, file.as_deref())?;
            write_out(match json {
                true => objects(&settings),
                false => text(&settings, *origin),
            })
        }
    }
}

/// What holds, as a file that says the same.
fn text(settings: &Settings, with_origin: bool) -> String {
    let mut text = String::new();
    let comment = |origin: &Origin| match with_origin {
        true => format!("  # {origin}"),
        false => String::new(),
    };
    for key in KEYS {
        text.push_str(&match settings.layer.keys.get(key.name) {
            Some(set) => format!(
                "{} = {}{}\n",
                key.name,
                value(key, set),
                comment(&set.origin)
            ),
            None => {
                let (name, default) = (key.name, key.default);
                format!("# {name}: {default}{}\n", comment(&Origin::Default))
            }
        });
    }
    if !settings.layer.names.is_empty() {
        text.push_str(&format!("\n[{NAMES}]\n"));
    }
    for (name, (id, origin)) in &settings.layer.names {
        text.push_str(&format!("{} = \"{id}\"{}\n", quoted(name), comment(origin)));
    }
    let mut table = None;
    for ((queue, name), (value, origin)) in &settings.layer.queues {
        if table != Some(queue) {
            text.push_str(&format!("\n[{QUEUE}.{}]\n", quoted(queue)));
            table = Some(queue);
        }
        let value = match value.bytes().all(|it| it.is_ascii_digit()) {
            true => value.clone(),
            false => quoted(value),
        };
        text.push_str(&format!("{name} = {value}{}\n", comment(origin)));
    }
    text
}

fn value(key: &Key, set: &Set) -> String {
    let items: Vec<String> = set.items.iter().map(|item| quoted(item)).collect();
    match key.many {
        true => format!("[{}]", items.join(", ")),
        false if key.form == Form::Flag => set.items.concat(),
        false => items.concat(),
    }
}

/// A string as TOML has it, which is as JSON has it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn objects(settings: &Settings) -> String {
    let keys = KEYS.iter().map(|key| {
        let set = settings.layer.keys.get(key.name);
        let value = match (set, key.many) {
            (Some(set), true) => json!(set.items),
            (Some(set), false) => json!(set.items.first()),
            (None, _) => Value::Null,
        };
        let origin = set.map_or(&Origin::Default, |set| &set.origin).to_string();
        json!({ "key": key.name, "value": value, "default": key.default, "origin": origin })
    });
    let names = settings.layer.names.iter().map(|(name, (id, origin))| {
        let key = format!("{NAMES}.{name}");
        json!({ "key": key, "value": id.to_string(), "origin": origin.to_string() })
    });
    let queues = settings.layer.queues.iter();
    let queues = queues.map(|((queue, name), (value, origin))| {
        let key = format!("{QUEUE}.{queue}.{name}");
        let default = queues::find(queue, name).map_or("", |setting| setting.default);
        json!({ "key": key, "value": value, "default": default, "origin": origin.to_string() })
    });
    let all = keys.chain(names).chain(queues);
    all.map(|it| format!("{it}\n")).collect()
}
