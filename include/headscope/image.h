#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "headscope/tensor.h"

namespace headscope {

/// What is done to a picture before a model reads it, in the words of preprocessor_config.json.
struct ImageRules {
  enum class Filter : std::uint8_t { kNearest, kLanczos, kBilinear, kBicubic, kBox, kHamming };
  /// To height x width; or, where `shortest` is not 0, so that the shorter side is that long.
  bool resize = true;
  std::int64_t height = 224, width = 224, shortest = 0;
  Filter filter = Filter::kBilinear;
  bool crop = false;  ///< from the middle; black where the picture is smaller
  std::int64_t crop_height = 224, crop_width = 224;
  double rescale = 1.0 / 255.0;
  std::vector<double> mean = {0.5, 0.5, 0.5}, deviation = {0.5, 0.5, 0.5};  ///< empty: none

  /// Keys that are absent mean what the file's `image_processor_type` (or feature_extractor_type) means by it:
  /// ViT, DeiT, BEiT, CLIP, SigLIP, VideoMAE, Bit, or what `defaults` says.
  /// Errors: kFormat, kUnsupported (another type that changes pictures in its own way, crop_pct, a size that
  ///         is none of those above).
  static ImageRules parse(std::string_view json, std::string_view name, const ImageRules& defaults);
  /// Errors: also kNotFound, kIo.
  static ImageRules read(const std::filesystem::path& preprocessor_config,
                         const ImageRules& defaults);
};

/// A decoded picture as the numbers a model reads: resize, crop, rescale, normalise.
/// Shapes  rgb [H,W,3], last axis contiguous -> [channels,H',W'] f32; one channel: its luma (ITU-R 601).
/// Cost    O(H W' taps + H' W' taps), one byte a number of what is in between.
/// Numerics resizing in bytes and fixed point, to the bit what Pillow does.
/// Errors  kInput (an empty picture), kRange (channels neither 1 nor 3, or not those of the mean), kResources
///         (more than 2^28 numbers, which a thin picture may become).
Tensor pixels_from_rgb(View<const std::uint8_t, 3> rgb,
                       const ImageRules& rules,
                       std::int64_t channels = 3);

/// The part of a picture that resizing and cropping leave, in its own proportions, made smaller where a side is
/// longer than `most_side`. Shapes  [H,W,3] -> [h,w,3], at least one pixel. Errors: as pixels_from_rgb.
Tensor seen_part(View<const std::uint8_t, 3> rgb, const ImageRules& rules, std::int64_t most_side);

/// The picture in another size, in bytes. Shapes [H,W,N] -> [height,width,N].
Tensor resize(View<const std::uint8_t, 3> picture,
              std::int64_t height,
              std::int64_t width,
              ImageRules::Filter filter);

}  // namespace headscope
