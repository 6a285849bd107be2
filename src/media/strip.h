#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

/// What files of pictures say beside their pixels, taken out before a decoder sees it. Decoders complain of bad
/// metadata as they do of bad pixels, and some then refuse the picture: so they get none.
/// Errors  none: what is no such file, or is damaged, stays as it is from there on, for the decoder to judge.
namespace headscope::media {

using Octets = std::span<std::uint8_t>;

/// What strip_png may add.
inline constexpr std::size_t kPngEndBytes = 12;

/// Takes segments of applications up to the first scan out of a JPEG, in its place, but for those that say how
/// pixels are coded. `orientation` becomes what the Exif among them says, where it is 0 and one says it.
/// Returns the bytes that are left.
std::size_t strip_jpeg(Octets b, int& orientation);

/// Takes chunks that a picture can do without out of a PNG, in its place, and puts an end behind the others; but one
/// of those that is cut off stays so, without an end. The PNG is the first `size` bytes; `b` has kPngEndBytes more.
/// Returns the bytes that are left, with the end.
std::size_t strip_png(Octets b, std::size_t size);

/// A bitmap says in its bytes 2 to 5 how long it is, often wrongly, and FFmpeg believes it: writes the length that it
/// has into `part`, which begins at byte `at` of a bitmap of `size` bytes.
void right_bitmap_size(Octets part, std::size_t at, std::size_t size);

}  // namespace headscope::media
