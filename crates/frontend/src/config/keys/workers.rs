//! Keys of worker processes: interpreter, environment, devices.

use super::super::value::{boolean, full_match, optional_path, optional_text, whole, whole_u32};
use super::{Group, Key, form};

pub(super) const GROUP: Group = Group {
    title: "Workers",
    keys: &[
        Key::new(
            "python",
            "program",
            None,
            "Python interpreter of the workers; not set: the one beside the server, then \
             `TSERVE_PYTHON`, then the search path.",
            |draft, text| {
                // A bare name is looked up in the search path; only a path is made absolute.
                let is_path = text.contains('/');
                let python = if is_path {
                    optional_path(text)?
                } else {
                    optional_text(text)?.map(Into::into)
                };
                draft.config.python = python;
                Ok(())
            },
        ),
        Key::new(
            "number_of_gpu",
            "0 to 65535",
            None,
            "GPUs that workers are spread over, at most; not set: as many as are found. The \
             variable is not limited to what is found.",
            |draft, text| whole_u32(text, 0, 65535).map(|it| draft.number_of_gpu = Some(it)),
        )
        .env("TS_NUMBER_OF_GPU"),
        Key::new(
            "isolate_gpus",
            form::BOOLEAN,
            Some("false"),
            "Whether each worker sees its own GPU only, through `CUDA_VISIBLE_DEVICES`, as number 0.",
            |draft, text| boolean(text).map(|it| draft.config.isolate_gpus = it),
        ),
        Key::new(
            "blacklist_env_vars",
            "regular expression",
            None,
            "Environment variables hidden from workers; the expression has to match the whole \
             name.",
            |draft, text| {
                draft.config.blacklist_env_vars = if text.is_empty() {
                    None
                } else {
                    Some(full_match(text, false)?)
                };
                Ok(())
            },
        )
        .env("TS_BLACKLIST_ENV_VARS"),
        Key::new(
            "initial_worker_port",
            "1 to 65535",
            Some("9000"),
            "Number of the first worker; numbers only grow and are never used twice. No port is \
             opened.",
            |draft, text| whole_u32(text, 1, 65535).map(|it| draft.config.initial_worker_port = it),
        )
        .env("TS_INITIAL_WORKER_PORT"),
        Key::new(
            "initial_distribution_port",
            "1 to 65535",
            Some("29500"),
            "Number of the first worker of several processes.",
            |_, text| whole(text, 1, 65535).map(drop),
        )
        .env("TS_INITIAL_DISTRIBUTION_PORT")
        .ignored("all workers are numbered alike, and ranks find each other on a free port"),
        Key::new(
            "ipex_enable",
            form::BOOLEAN,
            Some("false"),
            "Exported to workers as `TS_IPEX_ENABLE`.",
            |draft, text| boolean(text).map(|it| draft.config.ipex_enable = it),
        )
        .env("TS_IPEX_ENABLE"),
        Key::new(
            "ipex_gpu_enable",
            form::BOOLEAN,
            Some("false"),
            "Exported to workers as `TS_IPEX_GPU_ENABLE`.",
            |draft, text| boolean(text).map(|it| draft.config.ipex_gpu_enable = it),
        )
        .env("TS_IPEX_GPU_ENABLE"),
        Key::new(
            "cpu_launcher_enable",
            form::BOOLEAN,
            Some("false"),
            "Whether workers are started through PyTorch's CPU launcher.",
            |_, text| boolean(text).map(drop),
        )
        .env("TS_CPU_LAUNCHER_ENABLE")
        .planned("the CPU launcher"),
        Key::new(
            "cpu_launcher_args",
            form::TEXT,
            None,
            "Arguments of the CPU launcher.",
            |_, text| optional_text(text).map(drop),
        )
        .env("TS_CPU_LAUNCHER_ARGS")
        .planned("the CPU launcher"),
        Key::new(
            "debug",
            form::BOOLEAN,
            Some("false"),
            "Whether a worker is expected to be started by a person.",
            |_, text| boolean(text).map(drop),
        )
        .env("TS_DEBUG")
        .planned("attaching a worker that a person started"),
        Key::new(
            "cpp_log_config",
            form::FILE,
            None,
            "Logging configuration of C++ workers.",
            |_, text| optional_path(text).map(drop),
        )
        .env("TS_CPP_LOG_CONFIG")
        .ignored("there are no C++ workers"),
    ],
};
