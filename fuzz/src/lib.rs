//! The fuzz targets of Airlock for libFuzzer. What they check is in `tests/it/fuzz`, which runs on stable Rust too.

#[path = "../../tests/it/fuzz/forms.rs"]
pub mod forms;
#[path = "../../tests/it/fuzz/targets.rs"]
pub mod targets;
#[path = "../../tests/it/fuzz/words.rs"]
pub mod words;

use std::backtrace::Backtrace;

/// Ends the process at a panic of ours. Those of image decoders are caught and refused: they are not findings.
pub fn init() {
    std::panic::set_hook(Box::new(|info| {
        let of_a_dependency = info.location().is_some_and(|at| at.file().contains("/registry/src/"));
        if !of_a_dependency {
            eprintln!("{info}\n{}", Backtrace::force_capture());
            std::process::abort();
        }
    }));
}

/// Runs the target of that name.
pub fn check(name: &str, data: &[u8]) {
    let target = targets::TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    (target.check)(data);
}
