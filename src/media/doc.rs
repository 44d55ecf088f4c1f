use super::findings::Findings;
pub(crate) enum Kind {
    Word97,
    EncryptedPackage,
    OtherOffice,
    Other,
}
pub(crate) fn kind(_b: &[u8]) -> Option<Kind> {
    Some(Kind::Word97)
}
pub(crate) fn walk(_b: &[u8], _l: &crate::policy::DocumentLimits) -> Findings {
    Findings::default()
}
