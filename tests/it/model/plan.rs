//! What a seed says that uploaders and publishers do, and what must become of each upload: the reference model.

use crate::random::Random;
use crate::services::testdata;

/// What must become of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Clean,
    Rejected,
    /// Deleted before anybody hears of it: its messages are dead letters.
    Missing,
}

/// One version of one key.
pub struct Planned {
    pub key: String,
    pub uploader: String,
    pub bytes: Vec<u8>,
    pub fate: Fate,
    /// Another version of its key is uploaded too: of two that are clean, the older one may be superseded.
    pub rivals: bool,
}

/// What happens, in this order. Numbers are places in [`Plan::uploads`].
pub enum Step {
    Put(usize),
    /// The version that was put goes again.
    Delete(usize),
    /// Our own event.
    Announce(usize),
    /// One notification of the store about several uploads.
    Notify(Vec<usize>),
    /// A message that can never be understood, with what it is refused for.
    Poison(String, &'static str),
}

pub struct Plan {
    pub uploads: Vec<Planned>,
    pub steps: Vec<Step>,
}

/// Files of one kind: their extension, the file, and what must become of it.
const FILES: [(&str, &str, Fate); 6] = [
    ("jpg", "clean/skizze.jpg", Fate::Clean),
    ("jpg", "refused/random.jpg", Fate::Rejected),
    ("pdf", "clean/registration form.pdf", Fate::Clean),
    ("pdf", "refused/eicar.pdf.enc", Fate::Rejected),
    ("pdf", "refused/greeting.pdf", Fate::Rejected),
    ("png", "refused/statement.png", Fate::Rejected),
];

const UPLOADERS: usize = 12;

impl Plan {
    /// So many events: every record of every message counts.
    pub fn of(random: &mut Random, events: usize) -> Self {
        let mut plan = Self { uploads: Vec::new(), steps: Vec::new() };
        let mut done = 0;
        while done < events {
            done += plan.scene(random);
        }
        plan
    }

    /// One thing that happens; says how many events it makes.
    fn scene(&mut self, random: &mut Random) -> usize {
        match random.below(100) {
            0..62 => self.announced(random),
            62..72 => {
                let all = (0..2 + random.below(4)).map(|_| self.put(random)).collect::<Vec<_>>();
                let events = all.len();
                self.steps.push(Step::Notify(all));
                events
            }
            // Soon after the first, so that both are under way at once, or at any later time.
            72..87 if !self.uploads.is_empty() => {
                let back = if random.below(2) == 0 { 8 } else { self.uploads.len() };
                let nth = self.uploads.len() - 1 - random.below(back.min(self.uploads.len()));
                self.steps.push(Step::Announce(nth));
                1
            }
            87..91 => {
                let upload = self.put(random);
                self.uploads[upload].fate = Fate::Missing;
                self.steps.extend([Step::Delete(upload), Step::Announce(upload)]);
                1
            }
            91..95 => {
                self.steps.push(poison(random));
                1
            }
            // Its event is lost: the reconciler has to find it.
            95..100 => {
                self.put(random);
                0
            }
            _ => self.announced(random),
        }
    }

    fn announced(&mut self, random: &mut Random) -> usize {
        let upload = self.put(random);
        self.steps.push(Step::Announce(upload));
        1
    }

    /// An upload of bytes that no other upload has; now and then over an earlier one.
    fn put(&mut self, random: &mut Random) -> usize {
        let nth = self.uploads.len();
        let (mut extension, mut file, mut fate) = FILES[random.below(FILES.len())];
        // Half of all comes from one busy uploader.
        let uploader = if random.below(2) == 0 { 0 } else { random.below(UPLOADERS) };
        let mut key = format!("{uploader}/{nth}.{extension}");
        let mut rivals = false;
        if random.below(8) == 0
            && let Some(rival) = random.one(&(0..nth).collect::<Vec<_>>()).copied()
        {
            key.clone_from(&self.uploads[rival].key);
            self.uploads.iter_mut().filter(|other| other.key == key).for_each(|other| other.rivals = true);
            rivals = true;
            extension = key.rsplit('.').next().expect("an extension");
            let of_kind: Vec<_> = FILES.iter().filter(|(e, ..)| *e == extension).collect();
            (_, file, fate) = **random.one(&of_kind).expect("a file of each kind");
        }
        let bytes = marked(file, nth);
        self.uploads.push(Planned { key, uploader: format!("uploader-{uploader}"), bytes, fate, rivals });
        self.steps.push(Step::Put(nth));
        nth
    }
}

/// A file with a number inside, where its format has room for remarks.
fn marked(file: &str, number: usize) -> Vec<u8> {
    let mut bytes = testdata(file);
    let remark = format!("upload {number:08}");
    if bytes.starts_with(&[0xFF, 0xD8]) {
        let length = u16::try_from(remark.len() + 2).expect("a short remark").to_be_bytes();
        let segment = [&[0xFF, 0xFE], length.as_slice(), remark.as_bytes()].concat();
        bytes.splice(2..2, segment);
    } else {
        bytes.extend_from_slice(format!("\n% {remark}\n").as_bytes());
    }
    bytes
}

fn poison(random: &mut Random) -> Step {
    let number = random.next();
    let (body, code) = match random.below(4) {
        0 => (format!("no JSON {number}"), "event.malformed"),
        1 => {
            (format!(r#"{{"schema":"airlock.upload.v1","bucket":"in-box","key":"","n":{number}}}"#), "event.malformed")
        }
        2 => (format!(r#"{{"schema":"some.other.v{number}","bucket":"in-box"}}"#), "event.unknown_schema"),
        _ => (format!(r#"{{"bucket":"not-ours","key":"{number}.jpg"}}"#), "event.bucket_not_allowed"),
    };
    Step::Poison(body, code)
}
