//! Every kind of active content has its reason and its switch, and no switch lets anything else through.

use super::samples::*;
use super::{Claims, examine};
use crate::feature::Feature;
use crate::policy::Policy;

/// A file that carries nothing but this.
fn carrier(feature: Feature) -> Vec<u8> {
    let related = |kind, target, external| docx_of(WORD_MAIN, "", &[(kind, target, external)], &[]);
    let action = |action: &str| pdf(&format!("/OpenAction << /S {action} >>"), &[]);
    match feature {
        Feature::PdfJavascript => action("/JavaScript /JS (x)"),
        Feature::PdfLaunch => action("/Launch /F (x.exe)"),
        Feature::PdfSubmit => action("/SubmitForm /F (x)"),
        Feature::PdfXfa => pdf("/AcroForm << /Fields [] /XFA (x) >>", &[]),
        Feature::PdfMultimedia => pdf("", &["<< /Type /Annot /Subtype /RichMedia /Rect [0 0 1 1] >>"]),
        Feature::PdfAttachments => pdf("", &["<< /Type /Filespec /F (x) /EF << /F 5 0 R >> >>"]),
        Feature::PdfRemote => action("/GoToR /F (x.pdf) /D [0 /Fit]"),
        Feature::Macros => related("vbaProject", "theme.bin", false),
        Feature::OleObjects => related("oleObject", "embeddings/x.bin", false),
        Feature::EmbeddedFiles => docx_of(WORD_MAIN, "", &[], &[("word/media/image1.png", b"MZ\x90\0")]),
        Feature::Activex => related("control", "x.xml", false),
        Feature::AddIns => related("webextension", "addin.xml", false),
        Feature::Dde => doc("\x13 DDEAUTO c:\\\\x \x14x\x15\r"),
        Feature::RemoteTemplate => related("attachedTemplate", "https://example.com/x.dotm", true),
        Feature::RemoteContent => related("image", "http://example.com/x.png", true),
        Feature::ScriptLinks => related("hyperlink", "javascript:x", true),
        Feature::FileLinks => pdf("", &["<< /S /URI /URI (file://host/x) >>"]),
    }
}

#[test]
fn each_feature_is_rejected_for_its_reason_and_allowed_by_its_switch_alone() {
    let claims = Claims { key_name: "a", key: Some("a"), filename: None, declared: &[] };
    for feature in Feature::ALL {
        let file = carrier(*feature);
        let found = examine(&file, &claims, &Policy::guide()).reasons;
        assert!(!found.is_empty() && found.iter().all(|r| r.code == feature.reason()), "{feature}: {found:?}");

        let (mut only, mut others) = (Policy::guide(), Policy::guide());
        only.active_content.allow(*feature);
        Feature::ALL.iter().filter(|other| *other != feature).for_each(|other| others.active_content.allow(*other));
        assert_eq!(examine(&file, &claims, &only).reasons, [], "{feature} is allowed");
        assert_eq!(examine(&file, &claims, &others).reasons, found, "{feature} is all that is not allowed");
    }
}
