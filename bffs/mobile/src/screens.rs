//! The screens of mobile, one file each. They know no HTTP.

use bff_services::product::Image;

pub mod home;
pub mod product;

/// Where a picture is at `width` pixels.
fn scaled(image: &Image, width: u32) -> String {
    let joint = if image.url.contains('?') { '&' } else { '?' };
    format!("{}{joint}w={width}", image.url)
}
