use super::findings::Findings;
pub(crate) fn is_word_package(b: &[u8]) -> bool {
    memchr::memmem::find(b, b"[Content_Types].xml").is_some()
}
pub(crate) fn walk(_b: &[u8], _l: &crate::policy::DocumentLimits) -> Findings {
    Findings::default()
}
