//! CURVE.
/// The name in the greeting.
pub const NAME: &str = "CURVE";
/// o
pub const OVERHEAD: usize = 33;
/// o
pub const PLAINTEXT_AT: usize = 32;
/// Seals.
#[derive(Debug)]
pub struct Sealer;
#[expect(missing_docs)]
impl Sealer {
    pub fn seal(&mut self, _: &mut [u8]) -> Result<(), ()> {
        Ok(())
    }
}
/// Opens.
#[derive(Debug)]
pub struct Opener;
#[expect(missing_docs)]
impl Opener {
    pub fn open<'a>(&mut self, b: &'a mut [u8]) -> Result<&'a mut [u8], ()> {
        Ok(&mut b[32..])
    }
}
