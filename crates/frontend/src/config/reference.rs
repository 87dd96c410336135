//! The reference page of `config.properties`, made from the table of keys and compared with it.

use crate::config::keys::{Env, GROUPS, Group, Key, State};

const INTRODUCTION: &str = "\
# config.properties

<!-- Generated from crates/frontend/src/config/keys; `UPDATE_REFERENCE=1 cargo test -p tserve-frontend
reference` rewrites this page. -->

Settings of the server, in the format of Java properties: one `key=value` per line, `#` starts a
comment, a `\\` at the end of a line continues it, and a `\\` in a value is written twice.

The file is, in this order: the one named by the environment variable `TS_CONFIG_FILE`; the one
named by `--ts-config`; the newest snapshot in `logs/config`, unless `--no-config-snapshots` is given;
`config.properties` in the working folder. Without any, every key has its default. The server log says
when a snapshot was used.

What is set later wins: default, file, flags of the command line, environment. Environment
variables only count when the file has `enable_envvars_config=true`. Inside a value, `$$NAME$$`
stands for the environment variable `NAME`, which must be set.

A value that cannot be used keeps the server from starting, with one line that names the file, the
line and the key. Unknown keys, and keys that have no effect (marked below), are warned about in the
server log.

These environment variables are always read: `LOG_LOCATION` and `METRICS_LOCATION` (folders of the
logs, default `logs`), `TMPDIR`, `TEMP`, `TMP` (folder of the pid file and of unpacked models), and
`TSERVE_LOG` (what the server log holds, such as `debug` or `info,tserve_frontend::worker=debug`).
";

/// The page, as Markdown.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in GROUPS {
        section(&mut page, group);
    }
    page
}

fn section(page: &mut String, group: &Group) {
    page.extend(["\n## ", group.title, "\n\n"]);
    page.push_str("| Key | Form | Default | Meaning | Variable |\n|---|---|---|---|---|\n");
    for key in group.keys {
        row(page, key);
    }
}

fn row(page: &mut String, key: &Key) {
    let default = key
        .default
        .map_or("not set".to_owned(), |it| format!("`{it}`"));
    let effect = match key.state {
        State::Built => String::new(),
        State::Planned(feature) => format!(" **No effect yet:** not built: {feature}."),
        State::Ignored(reason) => format!(" **No effect:** {reason}."),
        State::Record => " Written into snapshots; no meaning when read.".to_owned(),
    };
    let variable = match key.env {
        Env::None => String::new(),
        Env::Enabled(name) => format!("`{name}`"),
        Env::Gated(name) => format!("`{name}` (see `use_env_allowed_urls`)"),
        Env::Always(name) => format!("`{name}` (always)"),
        Env::Switch(name, on) => format!("`{name}` (always; `{on}` = `true`)"),
    };
    let cells = [
        format!("`{}`", key.name),
        key.form.to_owned(),
        default,
        format!("{}{effect}", key.doc),
        variable,
    ];
    let escaped = cells.map(|cell| cell.replace('|', "\\|"));
    page.extend(["| ", &escaped.join(" | "), " |\n"]);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::page;

    #[test]
    fn the_reference_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/config.md");
        let page = page();
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, page).unwrap();
            return;
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == page,
            "docs/reference/config.md is not what the table of keys says; run \
             `UPDATE_REFERENCE=1 cargo test -p tserve-frontend reference`"
        );
    }
}
