//! What the worst files cost: peak memory above an idle process, and processor time, file by file.
//!
//! Each is judged by a process of its own, so that the kernel's figures are about nothing else. The table is printed
//! also when the test passes. Bombs are those of the corpus, where there is one, and those that are built here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::airlock;
use crate::services::root;

/// What a file may cost above a harmless one.
const MEMORY_KIB: u64 = 64 << 10;
const CPU: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Cost {
    peak_kib: u64,
    cpu: Duration,
}

/// Judges a file with an engine that costs next to nothing.
fn judge(file: &Path, rules: &Path) -> (Cost, String) {
    let mut command = airlock();
    command.args(["scan", "--json", "--jobs", "1", "--engine", "yara", "--rules"]).arg(rules).arg(file);
    let (cost, output) = run(command);
    let record: serde_json::Value = serde_json::from_str(&output).unwrap_or_else(|e| panic!("{e}: {output}"));
    assert_ne!(record["schema"], "airlock.fault.v1", "a bomb is never our fault: {record}");
    let reasons = record["reasons"].as_array().into_iter().flatten();
    let codes: Vec<_> = reasons.filter_map(|r| r["code"].as_str()).collect();
    (cost, format!("{} {}", record["verdict"].as_str().unwrap_or("-"), codes.join(" ")))
}

/// Runs a program to its end. The kernel keeps a dead process's time until it is reaped; its memory is asked for again
/// and again while it lives.
fn run(mut command: Command) -> (Cost, String) {
    let output = tempfile::NamedTempFile::new().expect("a temporary file");
    command.stdin(Stdio::null()).stdout(output.reopen().expect("it opens again")).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let (proc, started) = (PathBuf::from(format!("/proc/{}", child.id())), Instant::now());
    let mut peak_kib = 0;
    loop {
        let status = fs::read_to_string(proc.join("status")).expect("a process that is not reaped");
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim();
        if let Some(kib) = field("VmHWM:").split(' ').next().and_then(|n| n.parse().ok()) {
            peak_kib = kib;
        }
        if field("State:").starts_with('Z') {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "{command:?} does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stat = fs::read_to_string(proc.join("stat")).expect("a process that is not reaped");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // utime and stime (proc(5)), in hundredths of a second on every Linux.
    let ticks: u64 = fields[11..13].iter().map(|n| n.parse::<u64>().expect("ticks")).sum();
    child.wait().expect("it is reaped");
    let output = fs::read_to_string(output.path()).expect("its output");
    (Cost { peak_kib, cpu: Duration::from_millis(10 * ticks) }, output)
}

/// Bombs of the corpus: what its names and expectations call so.
fn of_the_corpus(folder: &Path) -> Vec<PathBuf> {
    let Ok(corpus) = std::env::var("AIRLOCK_CORPUS") else { return Vec::new() };
    let manifest = fs::read_to_string(Path::new(&corpus).join("MANIFEST.tsv")).expect("a manifest");
    let mut files = Vec::new();
    for columns in manifest.lines().skip(1).map(|l| l.split('\t').collect::<Vec<_>>()) {
        let (path, reasons) = (columns[0], columns[3]);
        let called = ["bomb", "flood", "loop", "deep", "many", "frames-", "laughs", "huge_"];
        let expected = ["archive_bomb", "image_too_large", "too_many_frames"];
        let is_bomb = called.iter().any(|c| path.contains(c)) || expected.iter().any(|c| reasons.contains(c));
        if is_bomb && !path.starts_with("benign/") {
            let copy = folder.join(path.replace('/', "-"));
            fs::copy(Path::new(&corpus).join(path), &copy).expect("a copy");
            files.push(copy);
        }
    }
    assert!(files.len() > 20, "a corpus without bombs");
    files
}

#[test]
fn no_bomb_costs_more_than_its_share() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("none.yar");
    fs::write(&rules, "rule none { condition: false }").expect("rules");
    let mut files = of_the_corpus(folder.path());
    for (name, bytes) in built() {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("a file");
        files.push(file);
    }
    let (idle, verdict) = judge(&root().join("testdata/clean/logo-small.png"), &rules);
    assert_eq!(verdict, "clean ");
    let mut table = format!("\n{:>8} {:>8}  bomb (idle: {} MiB)", "MiB", "CPU s", idle.peak_kib >> 10);
    let mut dear = Vec::new();
    for file in files {
        let (cost, verdict) = judge(&file, &rules);
        let (kib, cpu) = (cost.peak_kib.saturating_sub(idle.peak_kib), cost.cpu.saturating_sub(idle.cpu));
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        table.push_str(&format!("\n{:>8} {:>8.2}  {name}: {verdict}", kib >> 10, cpu.as_secs_f32()));
        if kib > MEMORY_KIB || cpu > CPU {
            dear.push(name);
        }
    }
    writeln!(std::io::stderr(), "{table}").expect("standard error");
    assert!(dear.is_empty(), "more than {} MiB or {CPU:?}: {dear:?}", MEMORY_KIB >> 10);
}

/// Files that cost as much as the limits let them.
fn built() -> Vec<(&'static str, Vec<u8>)> {
    // Just below what the policy accepts as a whole.
    let full = (10 << 20) - 1024;
    vec![
        (
            "pdf-object-stream-of-tiny-tokens.pdf",
            pdf_with_object_stream(&[b"[", &b"1 ".repeat(23 << 20)[..], b"]"].concat()),
        ),
        ("pdf-object-stream-of-brackets.pdf", pdf_with_object_stream(&b"[".repeat(60 << 20))),
        ("pdf-object-stream-of-names.pdf", pdf_with_object_stream(&b"/#4A#53 ".repeat(7 << 20))),
        ("pdf-of-object-heads.pdf", pdf_of(&b"1 0 obj\n".repeat(full / 8))),
        ("pdf-of-open-dictionaries.pdf", pdf_of(&b"<<".repeat(full / 2))),
        ("pdf-of-open-strings.pdf", pdf_of(&b"(".repeat(full))),
        ("pdf-of-end-marks.pdf", pdf_of(&b"startxref\n9\n%%EOF\n".repeat(full / 18))),
        ("docx-of-empty-elements.docx", docx_with(&b"<a/>".repeat(15 << 20))),
        ("docx-of-attributes.docx", docx_with(&[b"<a ", &b"b='' ".repeat(10 << 20)[..], b"/>"].concat())),
        ("docx-of-field-codes.docx", docx_with(&b"<w:instrText>D</w:instrText>".repeat(2 << 20))),
        ("docx-of-open-fields.docx", docx_with(&b"<w:fldChar w:fldCharType='begin'/>".repeat(1 << 20))),
        ("gif-of-empty-frames.gif", gif_of(&b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\0".repeat(full / 12))),
        ("gif-of-comments.gif", gif_of(&b"\x21\xfe\x01a\0".repeat(full / 5))),
        ("jpeg-of-scans.jpg", jpeg_of(&b"\xff\xda\0\x08\x01\x01\0\0\x3f\0".repeat(full / 10))),
        ("png-of-chunks.png", png_of(full)),
    ]
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn pdf_of(body: &[u8]) -> Vec<u8> {
    let end = b"\ntrailer\n<< /Root 1 0 R /Size 9 >>\nstartxref\n9\n%%EOF\n";
    [b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n", body, end].concat()
}

fn pdf_with_object_stream(content: &[u8]) -> Vec<u8> {
    let data = zlib(&[b"9 0 ", content].concat());
    let head =
        format!("3 0 obj\n<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode /Length {} >>\nstream\n", data.len());
    pdf_of(&[head.as_bytes(), &data, b"\nendstream\nendobj\n"].concat())
}

/// A real document whose main part has this content.
fn docx_with(content: &[u8]) -> Vec<u8> {
    let head = b"<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'><w:body>";
    let main = [&head[..], content, b"</w:body></w:document>"].concat();
    let types = b"<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'><Default Extension='rels' \
        ContentType='application/vnd.openxmlformats-package.relationships+xml'/><Override PartName='/word/document.xml' \
        ContentType='application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml'/></Types>";
    let rels =
        b"<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'><Relationship Id='a' \
        Type='http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument' \
        Target='word/document.xml'/></Relationships>";
    zip(&[("[Content_Types].xml", types), ("_rels/.rels", rels), ("word/document.xml", &main)])
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut zip, mut directory) = (Vec::new(), Vec::new());
    let number = |n: usize| u32::try_from(n).expect("small").to_le_bytes();
    for (name, content) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let whole = zlib(content);
        // A zlib stream without its header and checksum is a Deflate stream.
        let data = &whole[2..whole.len() - 4];
        let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend([number(data.len()), number(content.len())].concat());
        common.extend([u8::try_from(name.len()).expect("short"), 0, 0, 0]);
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &number(zip.len()), name.as_bytes()].concat());
        zip.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
    }
    let count = [u8::try_from(entries.len()).expect("few"), 0];
    let end =
        [b"PK\x05\x06\0\0\0\0", &count[..], &count, &number(directory.len()), &number(zip.len()), &[0, 0]].concat();
    [zip, directory, end].concat()
}

fn gif_of(blocks: &[u8]) -> Vec<u8> {
    [b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff", blocks, b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0\x3b"]
        .concat()
}

fn jpeg_of(scans: &[u8]) -> Vec<u8> {
    [b"\xff\xd8\xff\xc2\0\x0b\x08\0\x08\0\x08\x01\x01\x11\0", scans, b"\xff\xd9"].concat()
}

fn png_of(size: usize) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(&[&kind[..], data].concat());
        let length = u32::try_from(data.len()).expect("small").to_be_bytes();
        [&length, &kind[..], data, &crc.sum().to_be_bytes()].concat()
    };
    let head = chunk(b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0");
    let text = chunk(b"tEXt", b"a\0").repeat(size / 14);
    [b"\x89PNG\r\n\x1a\n".as_slice(), &head, &text, &chunk(b"IDAT", &zlib(b"\0\0")), &chunk(b"IEND", b"")].concat()
}
