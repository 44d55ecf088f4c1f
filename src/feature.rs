//! What documents may carry besides text and pictures, kind by kind. A policy switches each of them.

use crate::verdict::{ReasonCode, codes};

codes! {
    /// One kind of active, embedded or linked content. The names are keys of `policy.NAME.active_content`.
    pub enum Feature {
        PdfJavascript = "pdf_javascript",
        PdfLaunch = "pdf_launch",
        PdfSubmit = "pdf_submit",
        PdfXfa = "pdf_xfa",
        PdfMultimedia = "pdf_multimedia",
        PdfAttachments = "pdf_attachments",
        PdfRemote = "pdf_remote",
        Macros = "macros",
        OleObjects = "ole_objects",
        EmbeddedFiles = "embedded_files",
        Activex = "activex",
        AddIns = "add_ins",
        Dde = "dde",
        RemoteTemplate = "remote_template",
        RemoteContent = "remote_content",
        ScriptLinks = "script_links",
        FileLinks = "file_links",
    }
}

impl Feature {
    /// The reason that a document is rejected for because of it, and what it is, in words for an operator.
    #[must_use]
    pub const fn row(self) -> (ReasonCode, &'static str) {
        use ReasonCode::{ActiveContent, EmbeddedFile, ExternalReference, Macro};
        match self {
            Self::PdfJavascript => (ActiveContent, "Scripts in a PDF. Forms that calculate or check have them."),
            Self::PdfLaunch => (ActiveContent, "PDF actions that start a program, and those that are not known."),
            Self::PdfSubmit => (ActiveContent, "PDF actions that send or import form data."),
            Self::PdfXfa => (ActiveContent, "XFA forms in a PDF, which bring scripts of their own."),
            Self::PdfMultimedia => (ActiveContent, "Film, sound, 3D and rich media in a PDF."),
            Self::PdfAttachments => (EmbeddedFile, "Files attached to a PDF."),
            Self::PdfRemote => (ExternalReference, "PDF actions and content that open or fetch other files."),
            Self::Macros => (Macro, "Program code in a Word document (VBA, XLM)."),
            Self::OleObjects => (EmbeddedFile, "OLE objects and packages in a Word document, equations among them."),
            Self::EmbeddedFiles => (
                EmbeddedFile,
                "Other files and whole documents in a Word document: parts that are programs, archives, HTML.",
            ),
            Self::Activex => (ActiveContent, "ActiveX controls in a Word document."),
            Self::AddIns => (ActiveContent, "Web add-ins and changed menus in a Word document."),
            Self::Dde => (ActiveContent, "DDE fields in a Word document, which start programs."),
            Self::RemoteTemplate => {
                (ExternalReference, "A template from the network, loaded when Word opens the document.")
            }
            Self::RemoteContent => {
                (ExternalReference, "Pictures, objects and text from elsewhere, loaded when Word opens the document.")
            }
            Self::ScriptLinks => (ActiveContent, "Links that run code: javascript:, vbscript:, data:."),
            Self::FileLinks => (ExternalReference, "Links to files, to shares in the network, and of unknown schemes."),
        }
    }

    /// The reason that a document is rejected for because of it.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        self.row().0
    }
}
