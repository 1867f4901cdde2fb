//! The screens of the mobile gateway, one file each. They do not depend on HTTP.

use bff_services::product::Image;

pub mod home;
pub mod product;

/// The URL of an image, scaled to a width of `width` pixels.
fn scaled_url(image: &Image, width: u32) -> String {
    let separator = if image.url.contains('?') { '&' } else { '?' };
    format!("{}{separator}w={width}", image.url)
}
