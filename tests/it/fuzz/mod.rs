//! Fuzzing on stable Rust: damaged files for every parser, for a second each with the other tests, longer by hand.
//!
//! ```text
//! AIRLOCK_FUZZ_SECONDS=600 AIRLOCK_FUZZ_SEED=7 cargo test --release --test it -- fuzz::pdf --nocapture
//! AIRLOCK_FUZZ_FILE=path/of/an/input           cargo test --release --test it -- fuzz::pdf
//! ```
//!
//! `AIRLOCK_CORPUS` adds the files of a corpus. Where no panic can be caught (the stack overflows, the memory is used
//! up), the same run with `AIRLOCK_FUZZ_LAST=1` leaves its last input in `target/tmp/fuzz`. What fails is made small and saved; once mended it goes to
//! `testdata/regressions/`, from where every run takes its first inputs. `fuzz/` has the same targets for libFuzzer.

mod forms;
mod mutate;
mod seeds;
mod targets;
mod words;

use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use airlock::object::Sha256;
use rustix::time::{ClockId, clock_gettime};

use crate::random::Random;
use crate::services::{decode, root};
use mutate::mutate;
use targets::{TARGETS, Target};

/// The longest that one input may keep a processor busy. Unoptimized code may take its time.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 2 });
/// How long a failing input is made smaller.
const SHRINKING: Duration = Duration::from_secs(20);
/// Inputs with a new answer that are damaged further.
const MAX_FOUND: usize = 4096;

macro_rules! one_test_each {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn every_target_has_its_test() {
            assert_eq!([$(stringify!($name)),*], TARGETS.map(|target| target.name));
        }
    };
}
one_test_each!(event key reply jpeg png gif webp image pdf doc docx parts);

/// For `fuzz/seeds`: every seed of a target as a file, and its words as a dictionary.
fn write_seeds(target: &Target, corpus: &Path) {
    let (folder, eicar) = (corpus.join(target.name), airlock::scanner::canary::eicar());
    std::fs::create_dir_all(&folder).expect("a folder");
    for seed in seeds::of(target.name).iter().filter(|seed| forms::find(seed, &eicar).is_none()) {
        std::fs::write(folder.join(Sha256::of(seed).to_string()), seed).expect("a seed");
    }
    let escaped = |word: &&[u8]| word.iter().fold(String::new(), |text, b| text + &format!("\\x{b:02x}"));
    let words = target.words.iter().map(|word| format!("\"{}\"\n", escaped(word)));
    std::fs::write(folder.with_extension("dict"), words.collect::<String>()).expect("a dictionary");
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn fuzz(name: &str) {
    watch_panics();
    let target = TARGETS.into_iter().find(|target| target.name == name).expect("a target of that name");
    if let Some(corpus) = std::env::var_os("AIRLOCK_FUZZ_CORPUS") {
        return write_seeds(&target, &root().join(corpus));
    }
    let file = std::env::var_os("AIRLOCK_FUZZ_FILE").map(PathBuf::from);
    for path in file.iter().cloned().chain(seeds::regressions(name)) {
        if let Err(why) = attempt(&target, &seeds::content(&path)) {
            panic!("{}: {why}", path.display());
        }
    }
    if file.is_none() {
        damage_for_a_while(&target);
    }
}

/// Feeds the target until its time is over. Seed and files decide every input; the clock decides only how many.
fn damage_for_a_while(target: &Target) {
    let mut random = Random::new(setting("AIRLOCK_FUZZ_SEED", 1));
    let (begin, time) = (Instant::now(), Duration::from_secs(setting("AIRLOCK_FUZZ_SECONDS", 1)));
    let mut pool = seeds::of(target.name);
    let (seeds, mut answers, mut inputs) = (pool.len(), HashSet::new(), 0usize);
    while begin.elapsed() < time || inputs < seeds {
        let input = if inputs < seeds {
            pool[inputs].clone()
        } else {
            // Half of the time one of the latest with a new answer: it may be close to the next.
            let latest = if random.below(2) == 0 { pool.len().saturating_sub(64) } else { 0 };
            let (seed, other) = (random.one(&pool[latest..]), random.below(pool.len()));
            let seed = seed.map_or(&[][..], Vec::as_slice);
            mutate(&mut random, seed, &pool[other], target.words)
        };
        inputs += 1;
        match attempt(target, &input) {
            Ok(answer) => {
                if answers.insert(answer) && inputs > seeds && pool.len() < seeds + MAX_FOUND {
                    pool.push(input);
                }
            }
            Err(why) => report(target, &input, &why),
        }
    }
    let rate = u128::try_from(inputs).unwrap_or(0) * 1000 / begin.elapsed().as_millis().max(1);
    println!("{}: {inputs} inputs, {rate} per second, {} answers, {seeds} seeds", target.name, answers.len());
}

thread_local! {
    /// The panics of this thread while a target runs: where and why. `None` while none does.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Has panics of targets noted instead of printed.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let noted = PANICS.with_borrow_mut(|panics| panics.as_mut().map(|p| p.push(info.to_string())).is_some());
            if !noted {
                usual(info);
            }
        }));
    });
}

/// Runs a target once: its answer, or what broke.
fn attempt(target: &Target, input: &[u8]) -> Result<String, String> {
    if setting("AIRLOCK_FUZZ_LAST", 0) > 0 {
        keep(&folder(target).join("last.enc"), input);
    }
    let busy = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("time goes on");
    PANICS.set(Some(Vec::new()));
    let begin = busy();
    let answer = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    let spent = busy().saturating_sub(begin);
    let panics = PANICS.take().unwrap_or_default();
    // The sanitizer catches panics, because decoders of others may have some. Ours may not.
    let ours = |panic: &&String| panic.starts_with("panicked at src/") || answer.is_err();
    match (panics.iter().find(ours), answer) {
        (Some(panic), _) => Err(panic.clone()),
        (None, Ok(_)) if spent > PATIENCE => Err(format!("took {} ms", spent.as_millis())),
        (None, Ok(answer)) => Ok(answer),
        (None, Err(_)) => Err("a panic without a message".to_owned()),
    }
}

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(target.name)
}

/// Saves an input, encoded: a seed may be a test signature.
fn keep(path: &Path, input: &[u8]) {
    let mut encoded = input.to_vec();
    decode(&mut encoded);
    let saved = std::fs::create_dir_all(path.parent().expect("a folder")).and_then(|()| std::fs::write(path, encoded));
    saved.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn report(target: &Target, input: &[u8], why: &str) -> ! {
    let small = shrink(target, input, why);
    let path = folder(target).join(&Sha256::of(&small).to_string()[..16]).with_extension("enc");
    keep(&path, &small);
    panic!(
        "{}: {why}\nsaved, {} bytes, XORed with 0x5A. To repeat:\n  \
         AIRLOCK_FUZZ_FILE={} cargo test --release --test it -- fuzz::{}",
        target.name,
        small.len(),
        path.display(),
        target.name
    );
}

/// Leaves away what the failure does not need.
fn shrink(target: &Target, input: &[u8], why: &str) -> Vec<u8> {
    let place = |why: &str| why.lines().next().map(str::to_owned);
    let (begin, mut small, mut size) = (Instant::now(), input.to_vec(), input.len() / 2);
    while size > 0 && begin.elapsed() < SHRINKING {
        let mut at = 0;
        while at < small.len() && begin.elapsed() < SHRINKING {
            let mut less = small.clone();
            less.drain(at..(at + size).min(small.len()));
            if attempt(target, &less).is_err_and(|other| place(&other) == place(why)) {
                small = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    small
}
