//! Pictures embedded in a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::data::picture::Rgb8;
use crate::data::resize::{ResizeMethod, resize};
use crate::error::{Error, Result};

/// Encodes a picture as a JPEG data URL; `quality` is 1 to 100.
pub(super) fn data_uri(picture: &Rgb8, quality: u8) -> Result<String> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
    image::ImageEncoder::write_image(
        encoder,
        picture.pixels(),
        picture.width(),
        picture.height(),
        image::ExtendedColorType::Rgb8,
    )
    .map_err(|e| Error::input("a picture of the page", e))?;
    Ok(format!("data:image/jpeg;base64,{}", BASE64.encode(bytes)))
}

/// Scales the picture to at most `side` pixels on its longer side, keeping its aspect ratio; it is
/// never enlarged.
pub(super) fn fitted(picture: &Rgb8, side: u32) -> Rgb8 {
    let longest = picture.width().max(picture.height());
    if longest <= side {
        return picture.clone();
    }
    let part = |of: u32| (f64::from(of) * f64::from(side) / f64::from(longest)).round() as u32;
    let (width, height) = (part(picture.width()), part(picture.height()));
    resize(picture, width, height, ResizeMethod::Antialias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_fitted_whole_and_never_enlarged() {
        let side = |width, height, side| {
            let fitted = fitted(&Rgb8::filled(width, height, [9; 3]), side);
            (fitted.width(), fitted.height())
        };
        assert_eq!(side(400, 200, 100), (100, 50));
        assert_eq!(side(90, 60, 100), (90, 60));
        // A line remains one pixel wide.
        assert_eq!(side(1, 5000, 100), (1, 100));
    }
}
