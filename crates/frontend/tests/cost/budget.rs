//! What a request may cost: `budget.json`.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Allocations,
    Instructions,
    Syscalls,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Self::Allocations => "allocations",
            Self::Instructions => "instructions",
            Self::Syscalls => "system calls",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.key())
    }
}

/// What is thought of a figure.
#[derive(Debug)]
pub(crate) enum Verdict {
    Good(String),
    Bad(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(text) => write!(formatter, "(ok: {text})"),
            Self::Bad(text) => write!(formatter, "FAILED: {text}"),
        }
    }
}

/// The file's content.
pub(crate) struct Budget {
    all: Value,
    updates: bool,
}

impl Budget {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(file()).expect("the budget is checked in");
        Self {
            all: serde_json::from_str(&text).expect("JSON"),
            updates: std::env::var_os("UPDATE_COST_BUDGET").is_some(),
        }
    }

    /// Whether there is anything to compare figures of this kind with.
    pub(crate) fn knows(&self, kind: Kind) -> bool {
        let figures = self.all[kind.key()]["per request"].as_object();
        self.updates || figures.is_some_and(|figures| !figures.is_empty())
    }

    /// Whether a figure keeps within its budget; with an update, the figure becomes the budget.
    pub(crate) fn check(&mut self, kind: Kind, name: &str, figure: f64) -> Verdict {
        if self.updates {
            let rounded = (figure * 100.0).round() / 100.0;
            self.all[kind.key()]["per request"][name] = json!(rounded);
        }
        let Some((budget, slack)) = self.allowed(kind, name) else {
            return Verdict::Bad("no budget; UPDATE_COST_BUDGET=1 makes one".to_owned());
        };
        let text = format!("budget {budget}, slack {slack:.2}");
        if figure > budget + slack {
            Verdict::Bad(text)
        } else if figure < budget - slack {
            Verdict::Good(format!("{text}; cheaper: UPDATE_COST_BUDGET=1 keeps it so"))
        } else {
            Verdict::Good(text)
        }
    }

    /// Whether a request that is dearer on purpose would break the budget of the plain one.
    pub(crate) fn must_notice(&self, kind: Kind, figure: f64) -> Verdict {
        match self.allowed(kind, "predict 1 KiB") {
            Some((budget, slack)) if figure > budget + slack => {
                Verdict::Good("dearer on purpose, and noticed".to_owned())
            }
            _ => Verdict::Bad("dearer on purpose, and not noticed".to_owned()),
        }
    }

    /// The budget and how far a figure may be from it.
    fn allowed(&self, kind: Kind, name: &str) -> Option<(f64, f64)> {
        let section = &self.all[kind.key()];
        let budget = section["per request"][name].as_f64()?;
        let percent = section["slack percent"].as_f64()?;
        let least = section["slack at least"].as_f64()?;
        Some((budget, (budget * percent / 100.0).max(least)))
    }

    pub(crate) fn write_if_asked(&self) {
        if self.updates {
            let text = serde_json::to_string_pretty(&self.all).expect("JSON");
            fs::write(file(), text + "\n").expect("a writable checkout");
        }
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cost/budget.json")
}
