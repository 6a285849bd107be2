#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "headscope/image.h"
#include "headscope/linear.h"
#include "models/weights.h"

namespace headscope::models {

/// How pictures are cut into patches, each of which becomes a row.
struct PatchFacts {
  std::string projection;  ///< a convolution that steps by the size of its window
  std::int64_t channels = 3;
  std::int64_t height = 0, width = 0;  ///< of the pictures that the model was trained on
  std::int64_t patch_height = 0, patch_width = 0;
  std::int64_t frames = 0;   ///< of the videos that it was trained on; 0: it reads pictures
  std::int64_t tubelet = 1;  ///< frames in a patch
  bool pads = false;         ///< what patches do not cover is filled with zeros, not left out
};

/// Patches of one picture or video: frames, each of rows and columns.
struct Grid {
  std::int64_t frames = 1, rows = 0, columns = 0;
  [[nodiscard]] std::int64_t count() const { return frames * rows * columns; }
  bool operator==(const Grid&) const = default;
};

/// Pictures [B,channels,H,W] or videos [B,frames,channels,H,W], f32, become rows.
class Patches {
 public:
  Patches(const Weights& weights, const PatchFacts& facts, std::int64_t C);

  [[nodiscard]] std::int64_t width() const { return projection_->out(); }  ///< C
  /// Of what the model was trained on.
  [[nodiscard]] Grid trained() const;
  /// Errors: kShape (another rank or number of channels), kInput (smaller than a patch, not finite).
  [[nodiscard]] Grid grid(const Tensor& pixels) const;
  /// Shapes  [B, frames*rows*columns, C], frame by frame, row by row. Cost 2*pixels*C flop.
  [[nodiscard]] Tensor operator()(const Tensor& pixels, const Grid& grid) const;

 private:
  PatchFacts facts_;
  std::optional<Linear> projection_;
};

/// The pixels of each patch in a row, channel by channel, frame by frame, row by row. Pixels and grid must fit.
/// Shapes  to [B * grid.count(), channels*tubelet*patch_height*patch_width].
void unfold(const PatchFacts& facts, const Tensor& pixels, const Grid& grid, float* to);

/// What the file of words says is done to pictures, or where there is none: to the size that the model was trained
/// on, as numbers from -1 to 1. Errors: those of ImageRules::read.
ImageRules rules_for(const PatchFacts& facts, const std::filesystem::path& preprocessor_config);

/// Pictures as the file of words wants them, or where there is none in the size that the model was trained on as
/// numbers from -1 to 1. Shapes  rgb [N,H,W,3] -> [N,channels,H',W'], or the frames of one video
/// [1,N,channels,H',W']. Errors: those of ImageRules::read and pixels_from_rgb, kInput (no picture).
Tensor pixels_for(const PatchFacts& facts,
                  View<const std::uint8_t, 4> rgb,
                  const std::filesystem::path& preprocessor_config);

/// How a table of positions made for one grid serves another.
enum class Fit : std::uint8_t {
  kBicubic,
  kBicubicSmooth,  ///< with antialias (DINOv2 with registers)
  kNearest,        ///< TimeSformer
};
/// Shapes  table [rows,columns,C] -> [rows',columns',C].
Tensor fitted(View<const float, 3> table, std::int64_t rows, std::int64_t columns, Fit fit);

/// Positions that are computed: sines on even numbers, cosines on odd ones. Source Vaswani 2017 s3.5.
Tensor sinusoid_table(std::int64_t rows, std::int64_t C);

}  // namespace headscope::models
